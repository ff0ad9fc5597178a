//! The lines as they stand on the wire.

use expect_test::{Expect, expect};

use super::{Assign, Attempt, AttemptResult, Exit, FromMaster, FromWorker, Hello};

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
    let result = AttemptResult { attempt, exit, duration_ms: 12, tail: String::new() };
    check(
        &FromWorker::Hello(Hello {
            worker: "default/count-1".to_owned(),
            token: "t".to_owned(),
            running: Some(attempt),
            results: vec![result.clone()],
        }),
        expect![[
            r#"{"kind":"hello","worker":"default/count-1","token":"t","running":{"index":4,"number":1},"results":[{"attempt":{"index":4,"number":1},"exit":{"notStarted":{"code":127,"message":"cannot run `x`"}},"duration_ms":12}]}"#
        ]],
    );
    check(
        &FromWorker::Result(AttemptResult { exit: Exit::Code(0), ..result }),
        expect![[r#"{"kind":"result","attempt":{"index":4,"number":1},"exit":{"code":0},"duration_ms":12}"#]],
    );
    check(
        &FromMaster::Assign(Assign {
            attempt,
            job: "words".to_owned(),
            task: "count".to_owned(),
            count: 9,
            command: vec!["wc".to_owned()],
            timeout_seconds: None,
        }),
        expect![[
            r#"{"kind":"assign","attempt":{"index":4,"number":1},"job":"words","task":"count","count":9,"command":["wc"]}"#
        ]],
    );
    check(
        &FromMaster::Ack { attempts: vec![attempt] },
        expect![[r#"{"kind":"ack","attempts":[{"index":4,"number":1}]}"#]],
    );
    check(&FromMaster::Stop, expect![[r#"{"kind":"stop"}"#]]);
}
