//! Looks after definitions of kinds: which names are accepted, what is served, and that the objects go with the kind.
//!
//! ```text
//!   written ──► settle: names accepted? established?     (before the writer is answered)
//!   changed ──► settle all; clean up what is terminating (a task of every server; whoever comes first does it)
//! ```
//! What is decided stands in [`kinds::custom::status`].

use std::sync::Arc;
use std::time::Duration;

use kinds::Kind;
use kinds::custom::status;
use kinds::status::Failure;
use serde_json::Value;
use store::Range;

use crate::bootstrap::services;
use crate::catalog::DEFINITIONS;
use crate::context::Context;
use crate::deletion::{self, DeleteOptions};
use crate::lister::Lister;
use crate::registry::{Next, Written, gone_is_fine};
use crate::request::ObjectPath;
use crate::{object, record, verbs};

/// How long to wait for objects that others have to let go of.
const PATIENCE: Duration = Duration::from_secs(1);

pub(crate) fn is_definition(kind: &Kind) -> bool {
    kind.table_name() == "CustomResourceDefinition"
}

/// Starts the task that keeps every definition settled.
pub(crate) fn start(context: &Arc<Context>) {
    let context = Arc::clone(context);
    let shutdown = context.shutdown.clone();
    kit::task::spawn("definitions", async move {
        shutdown.run_until_cancelled(run(context)).await;
    });
}

async fn run(context: Arc<Context>) {
    loop {
        match lister(&context).await {
            Ok(lister) => {
                let seen = lister.generation();
                let mut is_waiting = look_after(&context, &lister).await;
                if let Err(failure) = services::settle(&context).await {
                    tracing::warn!(%failure, "Cannot look after the APIServices of user-defined kinds");
                    is_waiting = true;
                }
                let patience = if is_waiting { PATIENCE } else { Duration::MAX };
                lister.changed_since(seen, patience).await;
            }
            Err(failure) => {
                tracing::warn!(%failure, "Cannot read the definitions of kinds");
                tokio::time::sleep(PATIENCE).await;
            }
        }
    }
}

async fn lister(context: &Context) -> Result<Arc<Lister>, Failure> {
    let (group, plural) = DEFINITIONS;
    let lister = context.registry.lister(group, plural).await?;
    lister.ok_or_else(|| Failure::internal("definitions of kinds are not in the table"))
}

/// Settles every definition; whether some are waiting for their objects to go. One that cannot be looked after now keeps
/// no other waiting.
async fn look_after(context: &Context, lister: &Lister) -> bool {
    let mut is_waiting = false;
    for definition in lister.all() {
        match look_after_one(context, lister, &definition).await {
            Ok(is_done) => is_waiting |= !is_done,
            Err(failure) => {
                let name = object::name(&definition);
                tracing::warn!(%failure, definition = name, "Cannot look after a definition of kinds");
                is_waiting = true;
            }
        }
    }
    is_waiting
}

async fn look_after_one(
    context: &Context,
    lister: &Lister,
    definition: &Arc<Value>,
) -> Result<bool, Failure> {
    settle(context, lister, definition).await?;
    if object::is_being_deleted(definition) { clean_up(context, definition).await } else { Ok(true) }
}

/// Settles what a write of this server may have changed.
pub(crate) async fn written(context: &Context, kind: &Kind, written: &Written) -> Result<(), Failure> {
    if !is_definition(kind) {
        return Ok(());
    }
    let written = &match written {
        Written::Entry(entry) => record::decode(kind, entry)?,
        Written::Object(object) => object.clone(),
    };
    let lister = lister(context).await?;
    // The newest first: its writer waits for it. Others of the group may have waited for a name.
    let group = &written["spec"]["group"];
    let (newest, others): (Vec<_>, Vec<_>) = lister
        .all()
        .into_iter()
        .filter(|definition| definition["spec"]["group"] == *group)
        .partition(|definition| object::name(definition) == object::name(written));
    for definition in newest.iter().chain(&others) {
        settle(context, &lister, definition).await?;
    }
    Ok(())
}

async fn settle(context: &Context, lister: &Lister, definition: &Value) -> Result<(), Failure> {
    let now = object::time(context.now());
    let others = lister.all();
    let settled = |current: &Value| {
        let group = &current["spec"]["group"];
        let of_group = |other: &&Arc<Value>| {
            other["spec"]["group"] == *group && object::name(other) != object::name(current)
        };
        status::settled(current, others.iter().filter(of_group).map(AsRef::as_ref), &now)
    };
    if settled(definition).is_none() {
        return Ok(());
    }
    let Some(path) = path(object::name(definition)) else { return Ok(()) };
    let changed = context.registry.modify(&path, false, |current| {
        let Some(status) = settled(current) else { return Ok(Next::Keep(current.clone())) };
        let mut next = current.clone();
        next["status"] = status;
        verbs::by_server(&path.kind, "status", &now, Some(current), &mut next);
        Ok(Next::Replace(next))
    });
    gone_is_fine(changed.await)
}

/// Deletes the objects of a definition that is to go, and then lets it go. Whether that is done.
async fn clean_up(context: &Context, definition: &Arc<Value>) -> Result<bool, Failure> {
    if !object::finalizers(definition).any(|finalizer| finalizer == status::CLEANUP) {
        return Ok(true);
    }
    let kinds = kinds::custom::stored_kinds(definition);
    if let Some(any) = kinds.first()
        && !empty(context, &kinds, any).await?
    {
        return Ok(false);
    }
    let Some(path) = path(object::name(definition)) else { return Ok(true) };
    let changed = context.registry.modify(&path, false, |current| {
        let mut next = current.clone();
        let left: Vec<&str> =
            object::finalizers(current).filter(|finalizer| *finalizer != status::CLEANUP).collect();
        object::set_metadata(&mut next, "finalizers", left);
        Ok(Next::Replace(next))
    });
    gone_is_fine(changed.await)?;
    Ok(true)
}

/// Deletes all objects of a definition; whether all are gone.
async fn empty(context: &Context, kinds: &[Kind], any: &Kind) -> Result<bool, Failure> {
    let all = Range { prefix: any.storage_prefix(), ..Range::default() };
    let mut first_failure = None;
    for entry in context.registry.range(all.clone()).await?.entries {
        let found = record::parse(any, &entry.value)?;
        // In the version in which it stands, so that it can go even where nobody can convert it.
        let kind = kinds.iter().find(|kind| found["apiVersion"] == kind.api_version()).unwrap_or(any);
        if let Err(failure) = delete(context, kind, &found).await {
            first_failure.get_or_insert(failure);
        }
    }
    match first_failure {
        Some(failure) => Err(failure),
        None => Ok(context.registry.range(all).await?.entries.is_empty()),
    }
}

async fn delete(context: &Context, kind: &Kind, found: &Value) -> Result<(), Failure> {
    let path = ObjectPath::of(kind, found);
    let options = DeleteOptions::default();
    let decide = |current: &Value| deletion::decide(kind, current, &options, context.now());
    gone_is_fine(context.registry.modify(&path, false, decide).await)
}

fn path(name: &str) -> Option<ObjectPath> {
    let (group, plural) = DEFINITIONS;
    let kind = kinds::find(group, "v1", plural)?.clone();
    Some(ObjectPath {
        kind,
        namespace: None,
        name: Some(name.to_owned()),
        subresource: None,
        legacy_watch: false,
    })
}
