//! Questions about who one is and what one may do: objects that are answered and never stored.

use axum::body::Body;
use http::{Response, StatusCode};
use kinds::status::{Failure, FieldError};
use serde_json::{Value, json};

use crate::admission::{self, Review};
use crate::authentication::{self, User};
use crate::authorization::{Action, Decision, ObjectAction};
use crate::call::Call;
use crate::{object, respond, verbs};

const AUTHORIZATION: &str = "authorization.k8s.io";

/// Whether objects of this group are only answered.
pub(crate) fn is_review(group: &str) -> bool {
    group == "authentication.k8s.io" || group == AUTHORIZATION
}

pub(crate) async fn handle(mut call: Call) -> Result<Response<Body>, Failure> {
    let kind = &call.path.kind.clone();
    let options = crate::query::WriteOptions::parse(&call.query, "CreateOptions")?;
    let body = call.take_body().await?;
    let decoded = kinds::decode::body(kind, call.media_type(), &body)?;
    let mut review = verbs::checked(&call, decoded, options.field_validation)?;
    object::metadata_mut(&mut review);
    verbs::complete(&call, None, &mut review);
    let admitted = admission::admit(Review::of_create(&call, review, options.dry_run)).await?;
    call.warnings.add(admitted.warnings);
    let mut review = admitted.object;
    match kind.plural {
        "selfsubjectreviews" => {
            let created = object::time(call.context.now());
            object::set_metadata(&mut review, "creationTimestamp", created);
            review["status"] = json!({"userInfo": call.user.to_value()});
        }
        "tokenreviews" => token(&call, &mut review).await?,
        "selfsubjectrulesreviews" => rules(&call, &mut review)?,
        plural => access(&call, plural, &mut review)?,
    }
    respond::object(StatusCode::CREATED, call.accept, kind, review)
}

async fn token(call: &Call, review: &mut Value) -> Result<(), Failure> {
    let token = review["spec"]["token"].as_str().unwrap_or_default();
    if token.is_empty() {
        return Err(Failure::bad_request("token is required for TokenReview in authentication"));
    }
    let audiences = texts(&review["spec"]["audiences"]);
    review["status"] = match authentication::token::review(&call.context, token, &audiences).await {
        Ok(authenticated) => json!({
            "authenticated": true, "user": authenticated.user.to_value(), "audiences": authenticated.audiences,
        }),
        Err(error) => {
            tracing::debug!(error = %kit::Chain(&error), "Refused a token for review");
            json!({"user": {}, "error": "invalid bearer token"})
        }
    };
    Ok(())
}

fn rules(call: &Call, review: &mut Value) -> Result<(), Failure> {
    let namespace = review["spec"]["namespace"].as_str().unwrap_or_default().to_owned();
    if namespace.is_empty() {
        return Err(Failure::bad_request("no namespace on request"));
    }
    let rules = call.context.authorizer.rules_of(&call.user, Some(&namespace));
    let (mut objects, mut paths) = (Vec::new(), Vec::new());
    for rule in rules {
        let mut entry = json!({"verbs": rule.verbs});
        let mut set = |field: &str, list: &Option<Vec<String>>| {
            if let Some(list) = list.as_ref().filter(|list| !list.is_empty()) {
                entry[field] = json!(list);
            }
        };
        if rule.resources.as_ref().is_some_and(|resources| !resources.is_empty()) {
            set("apiGroups", &rule.api_groups);
            set("resources", &rule.resources);
            set("resourceNames", &rule.resource_names);
            objects.push(entry);
        } else {
            set("nonResourceURLs", &rule.non_resource_urls);
            paths.push(entry);
        }
    }
    // The answer is no longer what the client wrote.
    object::remove_metadata(review, "managedFields");
    review["spec"] = json!({});
    review["status"] = json!({"resourceRules": objects, "nonResourceRules": paths, "incomplete": false});
    Ok(())
}

/// The reviews of access: of oneself, of anybody, and of anybody in one namespace.
fn access(call: &Call, plural: &str, review: &mut Value) -> Result<(), Failure> {
    let spec = &review["spec"];
    let faults = faults(spec, plural != "selfsubjectaccessreviews");
    if !faults.is_empty() {
        return Err(Failure::invalid_object(AUTHORIZATION, "", "", &faults));
    }
    if plural == "localsubjectaccessreviews" {
        must_be_local(call.namespace(), spec)?;
        object::set_metadata(review, "namespace", call.namespace());
    }
    let spec = &review["spec"];
    let user = if plural == "selfsubjectaccessreviews" { call.user.clone() } else { subject(spec) };
    let decision = call.context.authorizer.decide(&user, action(spec));
    let mut status = json!({"allowed": decision.is_allowed()});
    let (Decision::Allowed(reason) | Decision::NoOpinion(reason)) = decision;
    if !reason.is_empty() {
        status["reason"] = reason.into();
    }
    review["status"] = status;
    Ok(())
}

fn faults(spec: &Value, names_subject: bool) -> Vec<FieldError> {
    let (object, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let mut faults = Vec::new();
    if object.is_object() && path.is_object() {
        let why = "cannot be specified in combination with resourceAttributes";
        faults.push(FieldError::invalid("spec.nonResourceAttributes", path.clone(), why));
    }
    if !object.is_object() && !path.is_object() {
        let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        faults.push(FieldError::invalid("spec.resourceAttributes", Value::Null, why));
    }
    let is_nobody = spec["user"].as_str().unwrap_or_default().is_empty() && texts(&spec["groups"]).is_empty();
    if names_subject && is_nobody {
        let why = "at least one of user or group must be specified";
        faults.push(FieldError::invalid("spec.user", "", why));
    }
    faults
}

fn must_be_local(namespace: &str, spec: &Value) -> Result<(), Failure> {
    let said = spec["resourceAttributes"]["namespace"].as_str().unwrap_or_default();
    let (field, why) = if spec["nonResourceAttributes"].is_object() {
        ("spec.nonResourceAttributes", "disallowed on this kind of request")
    } else if said != namespace {
        ("spec.resourceAttributes.namespace", "must match metadata.namespace")
    } else {
        return Ok(());
    };
    Err(Failure::invalid_object(AUTHORIZATION, "", "", &[FieldError::invalid(field, said, why)]))
}

fn subject(spec: &Value) -> User {
    let extra = spec["extra"].as_object().into_iter().flatten();
    User {
        name: spec["user"].as_str().unwrap_or_default().to_owned(),
        uid: spec["uid"].as_str().unwrap_or_default().to_owned(),
        groups: texts(&spec["groups"]),
        extra: extra.map(|(key, values)| (key.clone(), texts(values))).collect(),
    }
}

fn action(spec: &Value) -> Action<'_> {
    let path = &spec["nonResourceAttributes"];
    if path.is_object() {
        let verb = field(path, "verb").unwrap_or_default();
        return Action::Path { verb, path: field(path, "path").unwrap_or_default() };
    }
    let object = &spec["resourceAttributes"];
    let requirements = object["fieldSelector"]["requirements"].as_array().into_iter().flatten();
    let node = requirements.filter(|requirement| requirement["key"] == "spec.nodeName");
    let node =
        node.filter(|requirement| requirement["operator"] == "In").find_map(|one| one["values"][0].as_str());
    Action::Object(ObjectAction {
        verb: field(object, "verb").unwrap_or_default(),
        group: field(object, "group").unwrap_or_default(),
        resource: field(object, "resource").unwrap_or_default(),
        subresource: field(object, "subresource"),
        namespace: field(object, "namespace"),
        name: field(object, "name"),
        on_node: node,
    })
}

fn field<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value[name].as_str().filter(|text| !text.is_empty())
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}
