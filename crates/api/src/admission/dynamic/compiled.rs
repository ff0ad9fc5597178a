//! Configurations in the form in which they are used, made once for each of their states.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kinds::admission::policy::{Conditions, Policy};
use kinds::admission::{FailurePolicy, Matcher, review};
use kinds::selector::Labels;
use kinds::status::Failure;
use kit::Chain;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::lister::Lister;
use crate::object;
use crate::registry::Registry;
use crate::webhook::Endpoint;

const GROUP: &str = "admissionregistration.k8s.io";

/// What an object is compiled to.
pub(super) trait Compile {
    fn compile(object: &Value) -> Self;
}

/// The state of an object that was compiled, and what came out.
type Known<T> = HashMap<String, (Arc<Value>, Arc<T>)>;

/// All objects of a kind, compiled.
#[derive(Debug)]
pub(super) struct Source<T> {
    plural: &'static str,
    /// Found once: to look for it would be most of what a request costs where nothing is configured.
    lister: OnceCell<Option<Arc<Lister>>>,
    known: Mutex<Known<T>>,
}

impl<T: Compile> Source<T> {
    pub(super) fn new(plural: &'static str) -> Self {
        Self { plural, lister: OnceCell::new(), known: Mutex::default() }
    }

    /// Everything that is configured now, by name.
    pub(super) async fn current(&self, registry: &Registry) -> Result<Vec<Arc<T>>, Failure> {
        let lister = self.lister.get_or_try_init(|| registry.lister(GROUP, self.plural)).await?;
        let Some(lister) = lister else { return Ok(Vec::new()) };
        lister.catch_up().await;
        if lister.is_empty() {
            return Ok(Vec::new());
        }
        let objects = lister.all();
        let mut known = self.known.lock();
        let mut next = Known::with_capacity(objects.len());
        let mut current = Vec::with_capacity(objects.len());
        for object in objects {
            let name = object::name(&object).to_owned();
            let compiled = match known.remove(&name) {
                Some((state, compiled)) if Arc::ptr_eq(&state, &object) => compiled,
                _ => Arc::new(T::compile(&object)),
            };
            current.push(Arc::clone(&compiled));
            next.insert(name, (object, compiled));
        }
        *known = next;
        Ok(current)
    }
}

/// A webhook configuration.
pub(super) type Configuration = Vec<Arc<Hook>>;

/// A webhook.
#[derive(Debug)]
pub(super) struct Hook {
    pub(super) configuration: String,
    pub(super) name: String,
    /// Or why it cannot be called.
    pub(super) endpoint: Result<Endpoint, String>,
    pub(super) matcher: Matcher,
    pub(super) conditions: Arc<Conditions>,
    pub(super) failure: FailurePolicy,
    pub(super) limit: Duration,
    /// Whether a call leaves no trace when it is told that nothing is stored.
    pub(super) bears_dry_runs: bool,
    pub(super) reinvoked: bool,
}

impl Hook {
    /// By which it is known among all webhooks.
    pub(super) fn id(&self) -> String {
        format!("{}/{}", self.configuration, self.name)
    }

    fn compile(configuration: &str, webhook: &Value) -> Self {
        let text = |field: &str| webhook[field].as_str().unwrap_or_default();
        let versions = webhook["admissionReviewVersions"].as_array().into_iter().flatten();
        let endpoint = match versions.clone().any(|version| *version == review::VERSION) {
            true => Endpoint::parse(&webhook["clientConfig"]).map_err(|error| Chain(&error).to_string()),
            false => Err("it speaks no version of AdmissionReview that this server does: v1".to_owned()),
        };
        let matcher = Matcher::of_webhook(webhook);
        let conditions = Conditions::of_webhook(webhook, "");
        let endpoint = endpoint
            .and_then(|endpoint| matcher.as_ref().map_err(ToString::to_string).map(|_| endpoint))
            .and_then(|endpoint| match &conditions {
                Ok(_) => Ok(endpoint),
                Err(faults) => Err(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
            });
        let seconds = webhook["timeoutSeconds"].as_u64().unwrap_or(10).clamp(1, 30);
        Self {
            configuration: configuration.to_owned(),
            name: text("name").to_owned(),
            endpoint,
            matcher: matcher.unwrap_or_default(),
            conditions: Arc::new(conditions.unwrap_or_default()),
            failure: FailurePolicy::of(webhook),
            limit: Duration::from_secs(seconds),
            bears_dry_runs: matches!(text("sideEffects"), "None" | "NoneOnDryRun"),
            reinvoked: text("reinvocationPolicy") == "IfNeeded",
        }
    }
}

impl Compile for Configuration {
    fn compile(object: &Value) -> Self {
        let webhooks = object["webhooks"].as_array().into_iter().flatten();
        webhooks.map(|webhook| Arc::new(Hook::compile(object::name(object), webhook))).collect()
    }
}

/// What was compiled, or why it could not be, which validation should have told before.
#[derive(Debug)]
pub(super) struct Configured<T> {
    pub(super) name: String,
    pub(super) failure: FailurePolicy,
    pub(super) inner: Result<T, String>,
}

impl Compile for Configured<Policy> {
    fn compile(object: &Value) -> Self {
        let inner = Policy::compile(object)
            .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
        let failure = FailurePolicy::of(&object["spec"]);
        Self { name: object::name(object).to_owned(), failure, inner }
    }
}

/// Where a policy applies, and what follows from it.
#[derive(Debug)]
pub(super) struct Binding {
    pub(super) policy: String,
    pub(super) matcher: Matcher,
    pub(super) actions: Vec<String>,
    pub(super) parameters: Option<ParameterRef>,
}

/// Which objects are the parameters.
#[derive(Debug)]
pub(super) struct ParameterRef {
    pub(super) name: String,
    pub(super) namespace: String,
    /// Instead of a name.
    pub(super) selector: Option<Labels>,
    pub(super) must_exist: bool,
}

impl Compile for Configured<Binding> {
    fn compile(object: &Value) -> Self {
        let inner = Binding::compile(&object["spec"]).map_err(|failure| failure.to_string());
        Self { name: object::name(object).to_owned(), failure: FailurePolicy::Fail, inner }
    }
}

impl Binding {
    fn compile(spec: &Value) -> Result<Self, Failure> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let actions = spec["validationActions"].as_array().into_iter().flatten();
        let parameters = &spec["paramRef"];
        let parameters = match parameters.is_object() {
            false => None,
            true => Some(ParameterRef {
                name: text(&parameters["name"]),
                namespace: text(&parameters["namespace"]),
                selector: Labels::from_spec(&parameters["selector"])?,
                must_exist: parameters["parameterNotFoundAction"] != "Allow",
            }),
        };
        Ok(Self {
            policy: text(&spec["policyName"]),
            matcher: Matcher::of_resources(&spec["matchResources"])?,
            actions: actions.map(text).collect(),
            parameters,
        })
    }
}
