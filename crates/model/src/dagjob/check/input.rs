//! What must hold of a task's input list.

use super::{Fault, FaultKind, MAX_INSTANCES};
use crate::dagjob::{Input, MAX_ITEMS, MAX_PIECE, NumberRange, Task};

/// The most entries of one instance.
const MAX_PER_INSTANCE: u32 = 1000;

/// Collects faults of one field after another.
struct Faults<'a> {
    path: String,
    found: &'a mut Vec<Fault>,
}

impl Faults<'_> {
    fn invalid(&mut self, field: &str, value: impl ToString, message: impl Into<String>) {
        let field = format!("{}{field}", self.path);
        self.found.push(Fault::new(FaultKind::Invalid, field, &value.to_string(), message));
    }
}

pub(super) fn faults(path: &str, task: &Task, input: &Input, found: &mut Vec<Fault>) {
    if task.instances != 0 {
        let message = "leave it out: there are as many instances as the input list has pieces";
        let value = task.instances.to_string();
        found.push(Fault::new(FaultKind::Invalid, format!("{path}.instances"), &value, message));
    }
    if input.is_listed() && task.min_parallelism.is_some() {
        let message = "leave it out: how many instances there are is known only when the list is taken";
        let value = task.min_parallelism.unwrap_or_default().to_string();
        found.push(Fault::new(FaultKind::Invalid, format!("{path}.minParallelism"), &value, message));
    }
    let mut faults = Faults { path: format!("{path}.input"), found };
    let given = [
        ("files", input.files.is_some()),
        ("objects", input.objects.is_some()),
        ("range", input.range.is_some()),
        // An empty list is the same as none to Kubernetes' clients.
        ("items", input.items.as_ref().is_some_and(|items| !items.is_empty())),
    ];
    let given: Vec<&str> = given.iter().filter(|(_, is_given)| *is_given).map(|(name, _)| *name).collect();
    if given.len() != 1 {
        faults.invalid(
            "",
            given.join(", "),
            "give just one of files, objects, range and items; a list of items is not empty",
        );
        return;
    }
    per_instance(input, &mut faults);
    if let Some(files) = &input.files {
        self::files(files, &mut faults);
    }
    if let Some(objects) = &input.objects {
        super::objects::faults(&format!("{path}.input.objects"), (task, objects), true, faults.found);
    }
    if let Some(range) = &input.range {
        self::range(range, input, &mut faults);
    }
    if let Some(items) = &input.items {
        self::items(items, input, &mut faults);
    }
    if let Some(count) = task.count().filter(|count| *count > MAX_INSTANCES) {
        let message = format!(
            "this is more than {MAX_INSTANCES} instances; let perInstance give several entries to each"
        );
        faults.invalid("", count, message);
    }
}

fn per_instance(input: &Input, faults: &mut Faults<'_>) {
    if let Some(count) = input.per_instance.filter(|count| !(1..=MAX_PER_INSTANCE).contains(count)) {
        faults.invalid(".perInstance", count, format!("must be between 1 and {MAX_PER_INSTANCE}"));
    }
}

fn files(pattern: &str, faults: &mut Faults<'_>) {
    if !pattern.starts_with('/') {
        let message =
            "an absolute path, as the task's containers see it: a folder, or a pattern such as /data/*.csv";
        faults.invalid(".files", pattern, message);
    } else if pattern.contains(['\n', '\0']) {
        faults.invalid(".files", pattern, "must not contain line breaks or zero bytes");
    } else if let Err(error) = glob::Pattern::new(pattern) {
        let message = format!("is no pattern: {} (at character {})", error.msg, error.pos);
        faults.invalid(".files", pattern, message);
    }
}

fn range(range: &NumberRange, input: &Input, faults: &mut Faults<'_>) {
    if range.is_empty() {
        let message = format!("must not be less than from, which is {}", range.from);
        faults.invalid(".range.to", range.to, message);
    }
    if range.step == Some(0) {
        faults.invalid(".range.step", 0, "must be at least 1");
    }
    let Some(chunks) = range.chunks else { return };
    if range.step.is_some() || input.per_instance.is_some() {
        faults.invalid(".range.chunks", chunks, "goes with neither step nor perInstance");
    } else if chunks == 0 || u64::from(chunks) > range.len() && !range.is_empty() {
        let message = format!("must be between 1 and the numbers that there are, {}", range.len());
        faults.invalid(".range.chunks", chunks, message);
    }
}

fn items(items: &[String], input: &Input, faults: &mut Faults<'_>) {
    if items.len() > MAX_ITEMS {
        let message = format!("a job holds at most {MAX_ITEMS} items; put more into files");
        faults.invalid(".items", items.len(), message);
    }
    if let Some(index) = items.iter().position(|item| item.contains(['\n', '\0'])) {
        let message = "must not contain line breaks or zero bytes";
        faults.invalid(&format!(".items[{index}]"), &items[index], message);
    }
    let pieces = items.chunks(usize::try_from(input.per_instance()).unwrap_or(usize::MAX));
    let size = |piece: &[String]| piece.iter().map(|item| item.len() + 1).sum::<usize>();
    if let Some(size) = pieces.map(size).find(|size| *size > MAX_PIECE) {
        let message = format!(
            "the items of one instance have {size} bytes; at most {MAX_PIECE}: shorten them, or lower perInstance"
        );
        faults.invalid(".items", size, message);
    }
}
