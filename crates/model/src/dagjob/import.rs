//! Tasks named as in Alibaba's published traces: `R4_2_3` is task 4, a reduce, after tasks 2 and 3.

/// A task's name, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskName {
    name: String,
    /// The task's number; `None` for a name of another form, which depends on nothing.
    number: Option<u32>,
    after: Vec<u32>,
}

/// A task waits for one that is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it waits for task {number}, and no task has this number")]
pub struct UnknownTask {
    number: u32,
}

impl TaskName {
    /// Letters, the task's number, and after each `_` the number of a task that it waits for. Any other name is taken as
    /// it is.
    pub fn parse(name: &str) -> Self {
        let other = || Self { name: name.to_owned(), number: None, after: Vec::new() };
        let mut parts = name.split('_');
        let own = parts.next().unwrap_or_default();
        let digits = own.trim_start_matches(|letter: char| letter.is_ascii_alphabetic());
        let is_lettered = digits.len() < own.len();
        let Some(number) = digits.parse().ok().filter(|_| is_lettered) else { return other() };
        // What follows and is no number says nothing of dependencies: `M1_Stg2`.
        let after = parts.filter_map(|part| part.parse().ok()).collect();
        Self { name: name.to_owned(), number: Some(number), after }
    }

    /// A name that a task of a job may have: `r4` of `R4_2_3`.
    pub fn label(&self) -> String {
        let text = match self.number {
            Some(_) => self.name.split('_').next().unwrap_or_default(),
            None => &self.name,
        };
        let text: String = text
            .to_ascii_lowercase()
            .chars()
            .map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' })
            .take(40)
            .collect();
        text.trim_matches('-').to_owned()
    }
}

/// The labels of the tasks that `task` waits for, among `all` of its job.
pub fn depends_on(task: &TaskName, all: &[TaskName]) -> Result<Vec<String>, UnknownTask> {
    let label = |number: &u32| {
        let found = all.iter().find(|other| other.number == Some(*number));
        found.map(TaskName::label).ok_or(UnknownTask { number: *number })
    };
    task.after.iter().map(label).collect()
}

#[cfg(test)]
mod tests {
    use super::{TaskName, UnknownTask, depends_on};

    #[test]
    fn names_say_what_they_wait_for() {
        let names = ["M1", "R2_1", "J3_1_2", "task_Nzg3", "M4_Stg5"].map(TaskName::parse);
        let labels: Vec<String> = names.iter().map(TaskName::label).collect();
        assert_eq!(labels, ["m1", "r2", "j3", "task-nzg3", "m4"]);
        let after = |index: usize| depends_on(&names[index], &names).unwrap();
        assert_eq!([after(0), after(3), after(4)], [const { Vec::<String>::new() }; 3]);
        assert_eq!((after(1), after(2)), (vec!["m1".to_owned()], vec!["m1".to_owned(), "r2".to_owned()]));
    }

    #[test]
    fn a_task_that_is_not_there_is_named() {
        let name = TaskName::parse("R2_9");
        assert_eq!(depends_on(&name, std::slice::from_ref(&name)), Err(UnknownTask { number: 9 }));
    }
}
