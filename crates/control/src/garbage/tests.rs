//! Families of objects, and what happens to them.

use expect_test::{Expect, expect};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::decide::{Graph, Identity, Node, Verdict};
use crate::key::ObjectKey;

/// `name` and words: `<owner` (blocks it), `going`, `foreground`, `orphan`, `in:<namespace>`.
fn node(text: &str) -> Node {
    let mut words = text.split_whitespace();
    let name = words.next().unwrap();
    let identity = Identity {
        api_version: "v1".to_owned(),
        kind: "ConfigMap".to_owned(),
        key: ObjectKey::new("n", name),
        uid: name.to_owned(),
    };
    let mut node = Node { identity, owners: vec![], finalizers: vec![], is_going: false };
    for word in words {
        match word {
            "going" => node.is_going = true,
            "foreground" => node.finalizers.push("foregroundDeletion".to_owned()),
            "orphan" => node.finalizers.push("orphan".to_owned()),
            _ => match word.split_once(':') {
                Some((_, namespace)) => node.identity.key.namespace = namespace.to_owned(),
                None => node.owners.push(OwnerReference {
                    uid: word[1..].to_owned(),
                    name: word[1..].to_owned(),
                    block_owner_deletion: Some(true),
                    ..OwnerReference::default()
                }),
            },
        }
    }
    node
}

fn show(verdict: &Verdict) -> String {
    let names = |nodes: &[Node]| {
        nodes.iter().map(|node| node.identity.key.name.clone()).collect::<Vec<_>>().join(" ")
    };
    match verdict {
        Verdict::Keep => "keep".to_owned(),
        Verdict::Collect { is_foreground, unknown } => {
            format!("collect foreground={is_foreground} unknown={}", unknown.len())
        }
        Verdict::Trim { waiting, unknown } => {
            format!("trim {} waiting, {} unknown", waiting.len(), unknown.len())
        }
        Verdict::Await { dependents } => format!("await {}", names(dependents)),
        Verdict::Orphan => "orphan".to_owned(),
        Verdict::Release { finalizer } => format!("release {finalizer}"),
    }
}

/// Builds the family line by line (`-name` removes), then prints the verdict on each object concerned last.
fn check(family: &str, expect: Expect) {
    let mut graph = Graph::default();
    let mut concerned = Vec::new();
    for line in family.lines().map(str::trim).filter(|line| !line.is_empty()) {
        concerned = match line.strip_prefix('-') {
            Some(name) => graph.remove(name),
            None => graph.set(node(line)),
        };
    }
    let lines: Vec<String> =
        concerned.iter().map(|uid| format!("{uid}: {}", show(&graph.decide(uid)))).collect();
    expect.assert_eq(&lines.join("\n"));
}

#[test]
fn dependents_go_when_their_last_owner_is_gone() {
    check(
        "a\n b <a\n c <a <b\n -a",
        expect![[r#"
            b: collect foreground=false unknown=1
            c: trim 0 waiting, 1 unknown"#]],
    );
    check("b <never", expect!["b: collect foreground=false unknown=1"]);
    check("a in:other\n b <a", expect!["b: collect foreground=false unknown=1"]);
}

#[test]
fn an_owner_in_the_foreground_waits_for_its_dependents() {
    check(
        "a\n b <a\n c <b\n a going foreground",
        expect![[r#"
        a: await b
        b: collect foreground=true unknown=0"#]],
    );
    check(
        "a going foreground\n b <a going",
        expect![[r#"
        b: keep
        a: keep"#]],
    );
    check("a going foreground\n b <a going\n -b", expect!["a: release foregroundDeletion"]);
    check(
        "x\n b <a <x\n a going foreground",
        expect![[r#"
            a: keep
            b: trim 1 waiting, 0 unknown"#]],
    );
}

#[test]
fn an_orphaning_owner_leaves_its_dependents_behind() {
    check(
        "a\n b <a\n a going orphan",
        expect![[r#"
        a: orphan
        b: keep"#]],
    );
    check("a going orphan", expect!["a: orphan"]);
}

#[test]
fn an_owner_that_was_seen_to_go_is_remembered_while_others_depend_on_it() {
    let mut graph = Graph::default();
    graph.set(node("a"));
    graph.set(node("b <a"));
    graph.remove("a");
    assert!(graph.is_gone("a"));
    graph.remove("b");
    assert!(!graph.is_gone("a"), "nobody asks any more");
    graph.set(node("c"));
    graph.set(node("d <c"));
    graph.forget("c");
    assert!(!graph.is_gone("c"), "it may be there");
}
