//! Keeps the objects that every cluster has, tells the gate what all of them say, and schemas whether their level is
//! there.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kinds::Kind;
use kinds::flow::Bootstrap;
use kinds::managed::Writer;
use kinds::status::Failure;
use serde_json::{Value, json};
use store::Revision;

use crate::context::Context;
use crate::feed::{Ended, Source};
use crate::object;
use crate::registry::{Next, gone_is_fine};
use crate::request::ObjectPath;
use crate::strategy::{self, Part};

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
/// Who owns the fields that are written here.
const PRODUCER: &str = "api-priority-and-fairness-config-producer-v1";
const CONSUMER: &str = "api-priority-and-fairness-config-consumer-v1";
/// How often it is looked whether all is as it should be, should nothing have been told.
const PERIOD: Duration = Duration::from_secs(60);
/// After a failure, such as that of the store.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The two kinds.
#[derive(Clone, Copy)]
struct Pair {
    schemas: &'static Kind,
    levels: &'static Kind,
}

/// Configures the gate before the first request, and goes on doing so.
pub(crate) async fn start(context: &Arc<Context>) -> Result<(), Failure> {
    let (Some(schemas), Some(levels)) =
        (kinds::find(GROUP, "v1", "flowschemas"), kinds::find(GROUP, "v1", "prioritylevelconfigurations"))
    else {
        return Ok(());
    };
    let pair = Pair { schemas, levels };
    let at = pair.settle(context).await?;
    let keeper = pair.keep(Arc::clone(context), at);
    let shutdown = context.shutdown.clone();
    kit::task::spawn("flow control", async move {
        shutdown.run_until_cancelled(keeper).await;
    });
    Ok(())
}

impl Pair {
    /// Brings the objects and the gate in order; answers up to when it has seen what others did.
    async fn settle(self, context: &Context) -> Result<Revision, Failure> {
        let at = context.registry.revision().await?;
        for wanted in kinds::flow::bootstrap() {
            let kind = if wanted.object["kind"] == "FlowSchema" { self.schemas } else { self.levels };
            ensure(context, kind, &wanted).await?;
        }
        let levels = context.registry.all(self.levels).await?;
        let schemas = context.registry.all(self.schemas).await?;
        context.gate.configure(&schemas, &levels);
        let names: BTreeSet<String> = levels.iter().map(|level| object::name(level).to_owned()).collect();
        for schema in &schemas {
            self.tell(context, schema, &names).await?;
        }
        Ok(at)
    }

    async fn keep(self, context: Arc<Context>, mut at: Revision) {
        loop {
            let told = tokio::time::timeout(PERIOD, self.news(&context, at)).await;
            if let Ok(Err(Ended::Closed)) = told {
                return;
            }
            match self.settle(&context).await {
                Ok(revision) => at = revision,
                Err(failure) => {
                    tracing::warn!(error = %failure, "Cannot look after flow schemas; the old ones hold");
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        }
    }

    /// Waits for a change of either kind.
    async fn news(self, context: &Context, at: Revision) -> Result<(), Ended> {
        let follow = async |kind: &Kind| context.feeds.follow(&kind.storage_prefix(), at).await;
        let (Ok(mut schemas), Ok(mut levels)) = (follow(self.schemas).await, follow(self.levels).await)
        else {
            tokio::time::sleep(RETRY_AFTER).await;
            return Ok(());
        };
        let next = async |source: &mut Source| source.next().await.map(drop);
        tokio::select! {
            told = next(&mut schemas) => told,
            told = next(&mut levels) => told,
        }
    }

    /// Writes down whether the level of a schema is there, if that is not what it says.
    async fn tell(self, context: &Context, schema: &Value, levels: &BTreeSet<String>) -> Result<(), Failure> {
        let now = object::time(context.now());
        if kinds::flow::dangling(schema, levels, &now).is_none() {
            return Ok(());
        }
        let path = ObjectPath::of(self.schemas, schema);
        let changed = context.registry.modify(&path, false, |current| {
            let Some(conditions) = kinds::flow::dangling(current, levels, &now) else {
                return Ok(Next::Keep(current.clone()));
            };
            let mut new = current.clone();
            new["status"] = json!({"conditions": conditions});
            let writer = Writer { manager: CONSUMER, subresource: "status", now: &now };
            kinds::managed::update(self.schemas, &writer, Some(current), &mut new);
            strategy::prepare_update(self.schemas, &mut new, current, Part::Status)?;
            Ok(Next::Replace(new))
        });
        gone_is_fine(changed.await)
    }
}

/// Creates an object that is missing, or mends one.
async fn ensure(context: &Context, kind: &'static Kind, wanted: &Bootstrap) -> Result<(), Failure> {
    let name = object::name(&wanted.object);
    let Some(current) = context.registry.find(kind, "", name).await? else {
        return create(context, kind, &wanted.object).await;
    };
    if kinds::flow::mended(&current, wanted).is_none() {
        return Ok(());
    }
    let now = object::time(context.now());
    let path = ObjectPath::of(kind, &current);
    let changed = context.registry.modify(&path, false, |current| {
        let Some(mut new) = kinds::flow::mended(current, wanted) else {
            return Ok(Next::Keep(current.clone()));
        };
        let writer = Writer { manager: PRODUCER, subresource: "", now: &now };
        kinds::managed::update(kind, &writer, Some(current), &mut new);
        strategy::prepare_update(kind, &mut new, current, Part::Main)?;
        Ok(Next::Replace(new))
    });
    gone_is_fine(changed.await)
}

async fn create(context: &Context, kind: &'static Kind, wanted: &Value) -> Result<(), Failure> {
    let mut object = wanted.clone();
    let now = object::time(context.now());
    kinds::managed::update(
        kind,
        &Writer { manager: PRODUCER, subresource: "", now: &now },
        None,
        &mut object,
    );
    strategy::prepare_create(kind, &mut object, &context.birth());
    match context.registry.create(kind, object).await {
        // Another server was first.
        Err(failure) if failure.reason() == "AlreadyExists" => Ok(()),
        created => created.map(drop),
    }
}
