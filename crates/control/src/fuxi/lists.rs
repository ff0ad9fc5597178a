//! Input lists: taken by a worker, kept in `ConfigMaps` of the job, given out piece by piece.
//!
//! ```text
//!   worker's result ──► ConfigMaps ──► the job's status names them ──► instances with their pieces
//! ```
//! The status is what counts: `ConfigMaps` that it does not name are of a master that died, and go with the job.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fuxi::inputs::{Entries, Inputs, InvalidEntries, MAX_LIST};
use fuxi::job::{Event, Listed};
use fuxi::protocol::{Attempt, AttemptResult, Exit, FromMaster, LISTING, MAX_INPUT, Program, spans};
use fuxi::{TaskIdx, WorkerId};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::PostParams;
use kube::{Api, Client};
use model::dagjob::{InputStatus, Mode};

use super::jobs::{JobEntry, JobUid};
use super::master::Master;
use super::raw::RawJob;
use super::{Input, pod, stores};
use crate::act::Cause;

/// The most bytes of a list in one `ConfigMap`, which may have one MiB.
const PART: usize = 700 * 1024;
const KEY: &str = "list";
/// How often storing a part is tried before the attempt that took the list has failed.
const TRIES: u32 = 10;

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListError {
    #[error("the input list is no text of base64 and zstd")]
    Garbled { source: Box<dyn std::error::Error + Send + Sync> },
    #[error("the input list cannot be used")]
    Entries { source: InvalidEntries },
    #[error("cannot keep the input list in the ConfigMap `{name}`")]
    Store { name: String, source: Cause },
    #[error("cannot read the input list from the ConfigMap `{name}`")]
    Load { name: String, source: Cause },
    #[error(
        "the ConfigMap `{name}` with a part of the input list is gone, and the job cannot go on without it"
    )]
    Gone { name: String },
}

impl ListError {
    /// Whether another try would end the same.
    pub(super) fn is_for_good(&self) -> bool {
        match self {
            Self::Garbled { .. } | Self::Entries { .. } | Self::Gone { .. } => true,
            Self::Store { .. } | Self::Load { .. } => false,
        }
    }
}

/// A list that is kept, of a worker's attempt.
pub(super) struct Kept {
    pub(super) uid: JobUid,
    pub(super) task: TaskIdx,
    pub(super) worker: WorkerId,
    pub(super) attempt: Attempt,
    list: Result<(InputStatus, Entries), ListError>,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").field("uid", &self.uid).field("task", &self.task).finish_non_exhaustive()
    }
}

/// Takes the input lists out of results: they are told to the job when they are kept.
pub(super) fn lists_in(results: &mut Vec<AttemptResult>) -> Vec<AttemptResult> {
    // One that comes of another attempt is a failure like any other.
    let is_list = |result: &AttemptResult| {
        result.attempt.index == LISTING && matches!(result.exit, Exit::Listed { .. })
    };
    results.extract_if(.., |result| is_list(result)).collect()
}

/// Assignments of what a line may hold.
pub(super) fn assignments(attempts: &[Attempt], inputs: Option<&Inputs>) -> Vec<FromMaster> {
    let Some(inputs) = inputs else {
        return vec![FromMaster::Assign { attempts: spans(attempts), inputs: Vec::new() }];
    };
    let mut messages = Vec::new();
    let (mut pieces, mut size, mut first) = (Vec::new(), 0, 0);
    for (position, attempt) in attempts.iter().enumerate() {
        let piece = inputs.piece(attempt.index);
        if size + piece.len() > MAX_INPUT && position > first {
            let inputs = std::mem::take(&mut pieces);
            messages.push(FromMaster::Assign { attempts: spans(&attempts[first..position]), inputs });
            (size, first) = (0, position);
        }
        size += piece.len();
        pieces.push(piece);
    }
    messages.push(FromMaster::Assign { attempts: spans(&attempts[first..]), inputs: pieces });
    messages
}

/// What the `count` instances of a task are, as its workers are told; without a count one of them is to take the list.
pub(super) fn program(job: &JobEntry, task: TaskIdx, count: Option<u32>) -> Program {
    let definition = &job.spec.tasks[task.0];
    // Processes have the parameters in their environment.
    let parameters = match definition.mode {
        Mode::Exec => BTreeMap::new(),
        Mode::Stream => job.spec.parameters.clone(),
    };
    let input = definition.input.as_ref();
    Program {
        job: job.key.name.clone(),
        task: definition.name.clone(),
        count: count.unwrap_or(0),
        command: definition.command.clone(),
        mode: definition.mode,
        timeout_seconds: definition.timeout_seconds,
        disk: Some(Box::new(stores::disk(&job.spec, definition))),
        has_files: input.is_some_and(|input| input.files.is_some()),
        output: definition.output.as_ref().map(|output| output.path.clone()).filter(|path| !path.is_empty()),
        input_store: stores::of_input(definition).map(Box::new),
        output_store: stores::of_output(definition).map(Box::new),
        list: input.filter(|_| count.is_none()).cloned().map(Box::new),
        parameters,
    }
}

impl Master {
    /// Sees to it that lists which a worker has taken are kept. Until they are, its share is taken.
    pub(super) fn keep_lists<Share: Send + Sync + 'static>(
        &mut self,
        uid: &JobUid,
        (task, worker): (TaskIdx, WorkerId),
        lists: Vec<AttemptResult>,
        share: &Arc<Share>,
    ) {
        for result in lists {
            let (Some(job), Exit::Listed { list }) = (self.jobs.get(uid), result.exit) else { continue };
            if !job.core.is_listing(task) {
                // Another one was faster.
                let (attempt, list) = (result.attempt, Listed::default());
                self.tell(uid, Event::Listed { task, worker, attempt, list });
                continue;
            }
            let (client, raw, inputs) = (self.config.client.clone(), job.raw.clone(), self.inputs.clone());
            let input = job.spec.tasks[task.0].input.clone().unwrap_or_default();
            let (uid, attempt, share) = (uid.clone(), result.attempt, Arc::clone(share));
            kit::task::spawn("keep-input-list", async move {
                let list = keep(&client, &raw, &input, list).await;
                drop(share);
                // The loop is ending if it does not listen.
                let _ending = inputs.send(Input::Listed(Box::new(Kept { uid, task, worker, attempt, list })));
            });
        }
    }

    pub(super) fn on_listed(&mut self, kept: Kept) {
        let Kept { uid, task, worker, attempt, list } = kept;
        let Some(job) = self.jobs.get_mut(&uid) else { return };
        let (status, entries) = match list {
            Ok(list) => list,
            Err(error) => {
                let exit = Exit::Failed { message: kit::Chain(&error).to_string() };
                let result = AttemptResult::without_run(attempt, exit);
                self.tell(&uid, Event::Results { worker, results: vec![result] });
                return;
            }
        };
        let input = job.spec.tasks[task.0].input.clone().unwrap_or_default();
        let count = input.count_for(u64::from(status.entries));
        if job.core.is_listing(task) {
            tracing::info!(job = %job.key, task = task.0, entries = status.entries, "Input list taken");
            job.tasks[task.0].inputs = Some(Inputs::taken(entries, &input));
            let program = program(job, task, Some(count));
            self.workers.tell_program(&uid, task, &program);
        }
        self.tell(&uid, Event::Listed { task, worker, attempt, list: Listed { input: status, count } });
    }
}

async fn keep(
    client: &Client,
    job: &RawJob,
    input: &model::dagjob::Input,
    list: String,
) -> Result<(InputStatus, Entries), ListError> {
    let bytes = STANDARD.decode(list).map_err(|error| ListError::Garbled { source: error.into() })?;
    let entries = decode(&bytes, input)?;
    let mut status = InputStatus { entries: entries.len(), list: String::new(), parts: 0 };
    if entries.is_empty() {
        return Ok((status, entries));
    }
    let api: Api<ConfigMap> =
        Api::namespaced(client.clone(), job.metadata.namespace.as_deref().unwrap_or_default());
    status.list = pod::list_name(job);
    for part in bytes.chunks(PART) {
        let name = part_name(&status, status.parts);
        let map = pod::list_part(job, &name, (KEY, part));
        store(&api, &map).await.map_err(|source| ListError::Store { name, source: source.into() })?;
        status.parts += 1;
    }
    Ok((status, entries))
}

async fn store(api: &Api<ConfigMap>, map: &ConfigMap) -> kube::Result<()> {
    let mut tries = 1;
    loop {
        match api.create(&PostParams::default(), map).await {
            Ok(_) => return Ok(()),
            // A try of ours that was thought to have failed: nobody else knows the name.
            Err(error) if super::status::is_code(&error, 409) => return Ok(()),
            Err(error) if tries == TRIES => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(u64::from(100 * tries))).await,
        }
        tries += 1;
    }
}

fn part_name(status: &InputStatus, part: u32) -> String {
    format!("{}-{part}", status.list)
}

/// The list that a job's status names.
pub(super) async fn load(
    client: &Client,
    job: &RawJob,
    (status, input): (&InputStatus, &model::dagjob::Input),
) -> Result<Inputs, ListError> {
    let api: Api<ConfigMap> =
        Api::namespaced(client.clone(), job.metadata.namespace.as_deref().unwrap_or_default());
    let mut bytes = Vec::new();
    for part in 0..status.parts {
        let name = part_name(status, part);
        let found = api.get_opt(&name).await;
        let found = found.map_err(|source| ListError::Load { name: name.clone(), source: source.into() })?;
        let data = found.and_then(|map| map.binary_data?.remove(KEY));
        bytes.extend(data.ok_or(ListError::Gone { name })?.0);
    }
    let entries = if bytes.is_empty() { Entries::default() } else { decode(&bytes, input)? };
    Ok(Inputs::taken(entries, input))
}

/// The entries of a compressed list, which a worker may have made up.
fn decode(bytes: &[u8], input: &model::dagjob::Input) -> Result<Entries, ListError> {
    use std::io::Read;
    let garbled = |error: std::io::Error| ListError::Garbled { source: error.into() };
    let mut text = String::new();
    let decoder = zstd::Decoder::with_buffer(bytes).map_err(garbled)?;
    let limit = u64::try_from(MAX_LIST).unwrap_or(u64::MAX) + 1;
    decoder.take(limit).read_to_string(&mut text).map_err(garbled)?;
    Entries::try_new(text, input).map_err(|source| ListError::Entries { source })
}

#[cfg(test)]
mod tests {
    use fuxi::inputs::Inputs;
    use fuxi::protocol::{Attempt, FromMaster, MAX_LINE};
    use model::dagjob::Input;

    use super::{assignments, decode};

    #[test]
    fn no_assignment_is_longer_than_a_line() {
        // Each byte of these takes six as text of JSON.
        let items: Vec<String> = (0..40).map(|_| "\u{1}".repeat(60_000)).collect();
        let inputs = Inputs::known(&Input { items: Some(items), ..Input::default() });
        let attempts: Vec<Attempt> = (0..40).map(|index| Attempt { index, number: 1 }).collect();
        let mut told = Vec::new();
        for message in assignments(&attempts, inputs.as_ref()) {
            assert!(serde_json::to_string(&message).unwrap().len() < MAX_LINE);
            let FromMaster::Assign { attempts, inputs } = message else { panic!("{message:?}") };
            told.extend(fuxi::protocol::attempts(&attempts));
            assert_eq!(inputs.len(), fuxi::protocol::attempts(&attempts).count());
        }
        assert_eq!(told, attempts);
    }

    #[test]
    fn what_a_worker_makes_up_is_refused() {
        let input = Input::default();
        assert!(decode(b"nonsense", &input).is_err());
        assert!(decode(&zstd::encode_all(&b"\xff\n"[..], 1).unwrap(), &input).is_err());
        // Small when compressed, and far too large.
        let bomb = zstd::encode_all(std::io::Read::take(std::io::repeat(b'\n'), 1 << 30), 1).unwrap();
        assert!(bomb.len() < 1 << 20 && decode(&bomb, &input).is_err());
    }
}
