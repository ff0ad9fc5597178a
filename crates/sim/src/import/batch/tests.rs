use std::fs;
use std::path::{Path, PathBuf};

use expect_test::{Expect, expect};

use super::*;

fn written(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path
}

/// What is read of two tables: each task with its parents and durations, or the error.
fn check(tasks: &str, instances: Option<&str>, expected: Expect) {
    let folder = tempfile::tempdir().unwrap();
    let tasks = written(folder.path(), "tasks.csv", tasks);
    let instances = instances.map(|text| written(folder.path(), "instances.csv", text));
    let shown = match read(&tasks, instances.as_deref()) {
        Err(error) => error.to_string().replace(&format!("{}/", folder.path().display()), ""),
        Ok(workload) => workload.jobs.iter().map(shown).collect::<String>().trim_end().to_owned(),
    };
    expected.assert_eq(&shown);
}

fn shown(job: &BatchJob) -> String {
    let mut text = format!("{} at {:?} of {:?}\n", job.name, job.arrival, job.tenant);
    for task in &job.tasks {
        let memory = task.memory.0 as f64 / MEMORY_PERCENT.0 as f64;
        text.push_str(&format!(
            "  {} after {:?}: {}m, {memory:.2}%, {:?}\n",
            task.name, task.parents, task.cpu.0, task.durations
        ));
    }
    text
}

#[test]
fn jobs_stand_in_the_order_of_their_arrival() {
    let tasks = "arrival_s,job,task_name,duration_s,plan_cpu,plan_mem,instances,tenant\n\
                 9,late,M1,2,50,0.39,2,ads\n\
                 1,early,R2_1,3,200,1,1,\n\
                 1,early,M1,1.5,,,1,\n";
    check(
        tasks,
        None,
        expect![[r#"
        early at 1s of None
          R2_1 after [1]: 2000m, 1.00%, [3s]
          M1 after []: 1000m, 0.00%, [1.5s]
        late at 9s of Some("ads")
          M1 after []: 500m, 0.39%, [2s, 2s]"#]],
    );
}

#[test]
fn instances_have_their_own_durations_and_the_rest_their_tasks() {
    let expected = expect![[r#"
        j at 1s of None
          M1 after []: 500m, 0.39%, [4s, 11s]"#]];
    let tasks = "1,j,M1,11,50.0,0.39,2\n";
    check(tasks, Some("1,j,M1,ins_1,4,27.0,0.03\n"), expected);
    let whole =
        "ins_9,M1,j,1,Failed,100,101,m_1,1,1,1,1,1,1\nins_9,M1,j,1,Terminated,100,104,m_1,1,1,1,1,1,1\n";
    let expected = expect![[r#"
        j at 100s of None
          M1 after []: 500m, 0.39%, [4s, 11s]"#]];
    check("M1,2,j,1,Terminated,100,111,50,0.39\n", Some(whole), expected);
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    let head = "job,task_name,instances,duration_s\n";
    let of = |rows: &str, expected: Expect| check(&format!("{head}{rows}"), None, expected);
    check("", None, expect!["`tasks.csv` holds no rows: is it the right file?"]);
    of("", expect!["`tasks.csv` holds no rows: is it the right file?"]);
    check(
        "job,task\na,M1\n",
        None,
        expect![
            "`tasks.csv` has no column `task_name`: its first line must name the columns job, task_name, instances"
        ],
    );
    of(
        "a,M1,x,1\n",
        expect![
            "tasks.csv:2: column `instances` holds `x`: a whole number from 1 to 1000000 is expected there; mend the line or leave it out"
        ],
    );
    of(
        "a,M1,1,1\na,M2,0,1\n",
        expect![
            "tasks.csv:3: column `instances` holds `0`: a whole number from 1 to 1000000 is expected there; mend the line or leave it out"
        ],
    );
    of(
        "a,M1,1,-1\n",
        expect![
            "tasks.csv:2: column `duration_s` holds `-1`: a number of seconds, 0 or more, is expected there; mend the line or leave it out"
        ],
    );
    of(
        "a,M1,1,1\na,M1,1,1\n",
        expect!["tasks.csv:3: `a M1` is there twice: names must differ; rename one of the two lines"],
    );
    of(
        "a,M1,1,1\na,R2_7,1,1\n",
        expect!["tasks.csv:3: job `a`: task `R2_7`: it waits for task 7, and no task has this number"],
    );
    of(
        "b,M1,1,1\na,M1_2,1,1\na,R2_1,1,1\n",
        expect![
            "tasks.csv:3: job `a`: these tasks wait for each other: m1 -> r2 -> m1; remove one of the dependencies"
        ],
    );
    of(
        "a,M1,1,\n",
        expect![
            "tasks.csv:2: job `a`: nothing says how long the instances of task `M1` run: give `duration_s` or `start_time` and `end_time`, or leave the job out"
        ],
    );
}

#[test]
fn instances_must_belong_to_the_tasks() {
    let tasks = "job,task_name,instances,duration_s\na,M1,1,1\n";
    check(
        tasks,
        Some("job,task_name,duration_s\na,M1,1\na,M1,2\n"),
        expect![
            "instances.csv:3: column `task_name` holds `M1`: no more instances than the table of tasks says is expected there; mend the line or leave it out"
        ],
    );
    check(
        tasks,
        Some("job,task_name,duration_s\na,M2,1\n"),
        expect![
            "instances.csv:2: column `task_name` holds `M2`: a task that the table of tasks has in this job is expected there; mend the line or leave it out"
        ],
    );
    check(
        tasks,
        Some("job,task_name,duration_s\na,M1,\n"),
        expect![
            "instances.csv:2: column `duration_s` holds ``: a number of seconds, 0 or more, is expected there; mend the line or leave it out"
        ],
    );
}

#[test]
fn packed_tables_are_unpacked() {
    use std::io::Write;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tasks.csv.gz");
    let mut packer =
        flate2::write::GzEncoder::new(fs::File::create(&path).unwrap(), flate2::Compression::fast());
    packer.write_all(b"1,j,M1,11,50.0,0.39,2\n").unwrap();
    packer.finish().unwrap();
    assert_eq!(read(&path, None).unwrap().jobs[0].tasks[0].durations.len(), 2);
}

#[test]
fn names_that_no_task_may_have_are_replaced() {
    let names = ["task_ABC", "task_abc", "==", "M1"].map(TaskName::parse);
    assert_eq!(labels(&names), ["task-number-0", "task-number-1", "task-number-2", "m1"]);
}
