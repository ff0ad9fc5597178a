//! The lines as they stand on the wire.

use expect_test::{Expect, expect};

use super::{
    Attempt, AttemptResult, Exit, FromMaster, FromWorker, Hello, MAX_HELLO, Program, Span, Usage, attempts,
    spans,
};

fn check<T>(message: &T, expected: Expect)
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let line = serde_json::to_string(message).unwrap();
    expected.assert_eq(&line);
    assert_eq!(&serde_json::from_str::<T>(&line).unwrap(), message);
}

#[test]
fn lines() {
    let attempt = Attempt { index: 4, number: 1 };
    let exit = Exit::NotStarted { code: 127, message: "cannot run `x`".to_owned() };
    let result =
        AttemptResult { attempt, exit, duration_ms: 12, gap_micros: None, usage: None, tail: String::new() };
    check(
        &FromWorker::Hello(Hello {
            worker: "default/count-1".to_owned(),
            token: "t".to_owned(),
            held: vec![attempt],
            ended: 2,
            full: false,
        }),
        expect![[
            r#"{"kind":"hello","worker":"default/count-1","token":"t","held":[{"index":4,"number":1}],"ended":2}"#
        ]],
    );
    let done = AttemptResult {
        exit: Exit::Code(0),
        gap_micros: Some(80),
        usage: Some(Usage { cpu_micros: 900, memory_kib: 1200 }),
        ..result.clone()
    };
    check(
        &FromWorker::Results { results: vec![result, done] },
        expect![[
            r#"{"kind":"results","results":[{"attempt":{"index":4,"number":1},"exit":{"notStarted":{"code":127,"message":"cannot run `x`"}},"durationMs":12},{"attempt":{"index":4,"number":1},"exit":{"code":0},"durationMs":12,"gapMicros":80,"usage":{"cpuMicros":900,"memoryKib":1200}}]}"#
        ]],
    );
    check(
        &FromWorker::Returned { attempts: vec![attempt] },
        expect![[r#"{"kind":"returned","attempts":[{"index":4,"number":1}]}"#]],
    );
    check(
        &FromMaster::Program(Program {
            job: "words".to_owned(),
            task: "count".to_owned(),
            count: 9,
            command: vec!["wc".to_owned()],
            ..Program::default()
        }),
        expect![[r#"{"kind":"program","job":"words","task":"count","count":9,"command":["wc"]}"#]],
    );
    let some = Span { first: 4, last: 9, number: 1 };
    check(
        &FromMaster::Assign { attempts: vec![some], inputs: Vec::new() },
        expect![[r#"{"kind":"assign","attempts":[[4,9,1]]}"#]],
    );
    check(&FromMaster::Ack { attempts: vec![some] }, expect![[r#"{"kind":"ack","attempts":[[4,9,1]]}"#]]);
    check(&FromMaster::Recall, expect![[r#"{"kind":"recall"}"#]]);
    check(&FromMaster::Stop, expect![[r#"{"kind":"stop"}"#]]);
}

#[test]
fn limits_are_told_as_they_are_written() {
    let sizes = [(64 << 20, "64Mi"), (3 << 30, "3Gi"), (1536 << 10, "1536Ki"), (1000, "1000"), (0, "0")];
    for (limit, expected) in sizes {
        let told = Exit::OutOfMemory { limit }.to_string();
        assert!(told.starts_with(&format!("out of memory: limit {expected},")), "{told}");
    }
}

#[test]
fn neighbours_on_the_same_try_make_a_span() {
    let all = [(4, 1), (5, 1), (6, 2), (7, 2), (9, 2), (8, 2), (u32::MAX, 1), (0, 1)];
    let all = all.map(|(index, number)| Attempt { index, number });
    let spans = spans(&all);
    let ends: Vec<(u32, u32)> = spans.iter().map(|span| (span.first, span.last)).collect();
    assert_eq!(ends, [(4, 5), (6, 7), (9, 9), (8, 8), (u32::MAX, u32::MAX), (0, 0)]);
    assert_eq!(attempts(&spans).collect::<Vec<_>>(), all);
}

/// Whatever a worker holds, its hello is a line that is read.
#[test]
fn the_longest_hello_is_no_longer_than_it_may_be() {
    let held = vec![Attempt { index: u32::MAX, number: u32::MAX }; crate::job::MAX_HELD];
    let name = |length| "n".repeat(length);
    let hello = Hello {
        worker: format!("{}/{}", name(63), name(253)),
        token: name(64),
        held,
        ended: u32::MAX,
        full: true,
    };
    let line = serde_json::to_string(&FromWorker::Hello(hello)).unwrap();
    assert!(line.len() < MAX_HELLO, "{}", line.len());
}
