//! Hand-out, counting once, and what survives a restart.

use std::fmt::Write;

use expect_test::{Expect, expect};

use super::Instances;
use crate::job::WorkerId;
use crate::protocol::Attempt;

fn next(instances: &mut Instances, worker: WorkerId) -> Option<Attempt> {
    match instances.waiting_again().first().copied() {
        Some(index) => instances.next_again(index, worker),
        None => instances.next_fresh(worker),
    }
}

/// Runs a script of `verb worker index/number` against `count` instances with three attempts each.
fn check(count: u32, script: &str, expected: Expect) {
    let mut instances = Instances::new(count, 3);
    let mut log = String::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split(' ').collect();
        let worker = WorkerId(words.get(1).map_or(0, |word| word.parse().unwrap()));
        let (index, number) = words.get(2).map_or(("0", "0"), |word| word.split_once('/').unwrap());
        let attempt = Attempt { index: index.parse().unwrap(), number: number.parse().unwrap() };
        let answer = match words[0] {
            "next" => match next(&mut instances, worker) {
                Some(attempt) => format!("{}/{}", attempt.index, attempt.number),
                None => "nothing".to_owned(),
            },
            "adopt" => instances.adopt(worker, attempt).to_string(),
            "backup" => match instances.back_up(attempt.index, worker) {
                Some(attempt) => format!("{}/{}", attempt.index, attempt.number),
                None => "nothing".to_owned(),
            },
            "ok" => instances.succeed(attempt).to_string(),
            "fail" => format!("{:?}", instances.fail(worker, attempt, "broke".to_owned())),
            "lose" => format!("{:?}", instances.lose(worker, attempt, "lost".to_owned())),
            "restart" => {
                instances = Instances::restore(count, 3, &instances.status());
                let status = instances.status();
                format!("finished [{}] retries [{}]", status.finished, status.retries)
            }
            other => other.to_owned(),
        };
        writeln!(log, "{line}: {answer}").unwrap();
    }
    let status = instances.status();
    writeln!(
        log,
        "= {} done, {} running, {} failed",
        status.succeeded, status.running, status.failed_attempts
    )
    .unwrap();
    expected.assert_eq(&log);
}

#[test]
fn duplicates_count_once() {
    check(
        2,
        "next 1\nnext 2\nnext 3\nok 1 0/1\nok 1 0/1\nok 2 0/7\nfail 1 0/1\nfail 2 1/1\nfail 2 1/1\nnext 1\nok 1 1/2\nnext 1",
        expect![[r#"
            next 1: 0/1
            next 2: 1/1
            next 3: nothing
            ok 1 0/1: true
            ok 1 0/1: false
            ok 2 0/7: false
            fail 1 0/1: Stale
            fail 2 1/1: Again
            fail 2 1/1: Stale
            next 1: 1/2
            ok 1 1/2: true
            next 1: nothing
            = 2 done, 0 running, 1 failed
        "#]],
    );
}

#[test]
fn the_last_attempt_exhausts_also_across_a_restart() {
    check(
        9,
        "next 1\nfail 1 0/1\nnext 1\nlose 1 0/2\nnext 2\nok 2 0/2\nnext 1\nfail 1 1/1\nrestart\nfail 1 1/1\nnext 3\nfail 3 1/2\nnext 3\nfail 3 1/3",
        expect![[r#"
            next 1: 0/1
            fail 1 0/1: Again
            next 1: 0/2
            lose 1 0/2: Again
            next 2: 0/3
            ok 2 0/2: true
            next 1: 1/1
            fail 1 1/1: Again
            restart: finished [0] retries [1:1/1]
            fail 1 1/1: Stale
            next 3: 1/2
            fail 3 1/2: Again
            next 3: 1/3
            fail 3 1/3: Exhausted
            = 1 done, 0 running, 5 failed
        "#]],
    );
}

#[test]
fn what_a_worker_still_runs_is_not_handed_out() {
    check(
        3,
        "adopt 7 1/1\nadopt 8 1/1\nadopt 7 1/1\nadopt 9 5/1\nnext 1\nnext 1\nnext 1\nlose 7 1/1\nnext 1",
        expect![[r#"
            adopt 7 1/1: true
            adopt 8 1/1: false
            adopt 7 1/1: true
            adopt 9 5/1: false
            next 1: 0/1
            next 1: 2/1
            next 1: nothing
            lose 7 1/1: Again
            next 1: 1/2
            = 0 done, 3 running, 1 failed
        "#]],
    );
}

#[test]
fn a_worthless_status_means_that_nothing_was_done() {
    let status = model::dagjob::TaskStatus {
        finished: "0-1,zebra".to_owned(),
        retries: "0:1,9:1/1,1:4/2,x".to_owned(),
        ..Default::default()
    };
    let restored = Instances::restore(3, 3, &status).status();
    expect![["finished [] retries [1:4/4]"]]
        .assert_eq(&format!("finished [{}] retries [{}]", restored.finished, restored.retries));
}

#[test]
fn of_two_that_run_the_first_to_end_well_counts() {
    check(
        2,
        "next 1
         backup 1 0/0
         backup 2 0/0
         backup 3 0/0
         backup 2 1/0
         ok 2 0/2
         fail 1 0/1
         ok 1 0/1",
        expect![[r#"
            next 1: 0/1
            backup 1 0/0: nothing
            backup 2 0/0: 0/2
            backup 3 0/0: nothing
            backup 2 1/0: nothing
            ok 2 0/2: true
            fail 1 0/1: Stale
            ok 1 0/1: false
            = 1 done, 0 running, 0 failed
        "#]],
    );
}

#[test]
fn who_is_left_of_two_runs_on() {
    // The first one fails: its backup is the attempt, and may have one itself.
    check(
        1,
        "next 1
         backup 2 0/0
         fail 1 0/1
         next 3
         fail 2 0/2
         next 3
         fail 3 0/3",
        expect![[r#"
            next 1: 0/1
            backup 2 0/0: 0/2
            fail 1 0/1: Again
            next 3: nothing
            fail 2 0/2: Again
            next 3: 0/3
            fail 3 0/3: Exhausted
            = 0 done, 0 running, 3 failed
        "#]],
    );
    // The backup fails: the first one runs on, and is not begun again meanwhile.
    check(
        1,
        "next 1
         backup 2 0/0
         lose 2 0/2
         next 3
         backup 3 0/0
         fail 1 0/1
         ok 3 0/3
         restart",
        expect![[r#"
            next 1: 0/1
            backup 2 0/0: 0/2
            lose 2 0/2: Again
            next 3: nothing
            backup 3 0/0: 0/3
            fail 1 0/1: Again
            ok 3 0/3: true
            restart: finished [0] retries []
            = 1 done, 0 running, 2 failed
        "#]],
    );
    check(
        1,
        "adopt 1 0/1
         adopt 2 0/2
         adopt 3 0/3
         lose 1 0/1
         next 3
         ok 2 0/2",
        expect![[r#"
            adopt 1 0/1: true
            adopt 2 0/2: true
            adopt 3 0/3: false
            lose 1 0/1: Again
            next 3: nothing
            ok 2 0/2: true
            = 1 done, 0 running, 1 failed
        "#]],
    );
}
