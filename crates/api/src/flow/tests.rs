//! The desk itself: who waits is told, who gives up is forgotten, who waited too long is sent away.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use http::Request;
use http_body_util::BodyExt;
use kinds::flow::Flow;

use super::{Gate, Held, known_as, mark};
use crate::attributes::Attributes;
use crate::authentication::User;

const LONG: Duration = Duration::from_secs(3600);

/// A gate of so many seats, all of the same level, and a flow of its.
fn gate(seats: u32) -> (Arc<Gate>, Flow) {
    let gate = Gate::new(seats);
    let (parts, ()) = Request::get("/api/v1/pods").body(()).unwrap().into_parts();
    let flow = gate.classify(&User::new("jane", []), &Attributes::of(&parts));
    (gate, flow)
}

#[tokio::test]
async fn who_waits_is_told_in_turn() {
    let (gate, flow) = gate(1);
    let first = gate.enter(&flow, 1, LONG).await.unwrap();
    let mut second = Box::pin(gate.enter(&flow, 1, LONG));
    let mut third = Box::pin(gate.enter(&flow, 1, LONG));
    assert!(second.as_mut().now_or_never().is_none() && third.as_mut().now_or_never().is_none());
    drop(first);
    let seat = second.await.unwrap();
    assert!(third.as_mut().now_or_never().is_none());
    drop(seat);
    third.await.unwrap();
}

#[tokio::test]
async fn who_gives_up_is_passed_over() {
    let (gate, flow) = gate(1);
    let first = gate.enter(&flow, 1, LONG).await.unwrap();
    let mut gone = Box::pin(gate.enter(&flow, 1, LONG));
    let mut second = Box::pin(gate.enter(&flow, 1, LONG));
    assert!(gone.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
    drop(gone);
    drop(first);
    second.await.unwrap();
    assert!(gate.desk.lock().waiting.is_empty());
}

#[tokio::test]
async fn who_has_its_seat_and_gives_up_before_it_looks_leaves_it_to_others() {
    let (gate, flow) = gate(1);
    let first = gate.enter(&flow, 1, LONG).await.unwrap();
    let mut gone = Box::pin(gate.enter(&flow, 1, LONG));
    assert!(gone.as_mut().now_or_never().is_none());
    drop(first);
    drop(gone);
    gate.enter(&flow, 1, Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn nobody_waits_for_ever() {
    let (gate, flow) = gate(1);
    let _seat = gate.enter(&flow, 1, LONG).await.unwrap();
    let refused = gate.enter(&flow, 1, Duration::from_millis(5)).await.unwrap_err();
    assert_eq!((refused.code(), refused.reason()), (429, "TooManyRequests"));
    assert!(gate.desk.lock().waiting.is_empty());
}

#[test]
fn parts_of_crest_are_known_by_kubernetes_names() {
    assert_eq!(known_as(&User::component("sigma").name), "system:kube-scheduler");
    assert_eq!(known_as(&User::component("controllers").name), "system:kube-controller-manager");
    assert_eq!(known_as("jane"), "jane");
}

#[test]
fn an_answer_says_how_its_request_was_classified() {
    let (_, mut flow) = gate(1);
    (flow.schema_uid, flow.level_uid) = ("schema".into(), "level".into());
    let mut response = http::Response::new(());
    mark(&mut response, &flow);
    assert_eq!(response.headers()["X-Kubernetes-PF-FlowSchema-UID"], "schema");
    assert_eq!(response.headers()["X-Kubernetes-PF-PriorityLevel-UID"], "level");
}

/// An answer of so many bytes, and the body of it that a client reads.
async fn answered(gate: &Arc<Gate>, flow: &Flow, size: usize, patience: Duration) -> axum::body::Body {
    let seat = Held::new(Some(gate.enter(flow, 1, LONG).await.unwrap()));
    let body = axum::body::Body::from(vec![b'x'; size]);
    seat.while_sent(http::Response::new(body), patience).into_body()
}

#[tokio::test]
async fn a_large_answer_keeps_its_seat_until_it_is_sent() {
    let (gate, flow) = gate(1);
    let mut body = answered(&gate, &flow, 200_000, LONG).await;
    assert_eq!(http_body::Body::size_hint(&body).exact(), Some(200_000));
    let mut next = Box::pin(gate.enter(&flow, 1, LONG));
    let mut received = 0;
    while received < 200_000 {
        assert!(next.as_mut().now_or_never().is_none(), "the seat is free after {received} bytes");
        received += body.frame().await.unwrap().unwrap().into_data().unwrap().len();
        assert_eq!(http_body::Body::size_hint(&body).exact(), Some(200_000 - received as u64));
    }
    assert!(body.frame().await.is_none());
    drop(body);
    drop(next.await.unwrap());
    // A small one is as good as sent.
    let small = answered(&gate, &flow, 100, LONG).await;
    drop(gate.enter(&flow, 1, LONG).await.unwrap());
    drop(small);
}

#[tokio::test]
async fn a_client_that_does_not_read_keeps_no_seat() {
    let (gate, flow) = gate(1);
    let unread = answered(&gate, &flow, 200_000, Duration::from_millis(20)).await;
    drop(gate.enter(&flow, 1, LONG).await.unwrap());
    assert_eq!(unread.collect().await.unwrap().to_bytes().len(), 200_000);
}
