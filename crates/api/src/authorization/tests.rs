//! The table, asked line by line.

use expect_test::{Expect, expect};

use super::{Action, ObjectAction, may, refusal};
use crate::authentication::User;

/// Lines of `verb group/resource[/subresource] namespace name` or `verb /path`; `-` is none or the core group.
fn check(user: &User, actions: &str, expected: Expect) {
    let mut answers = String::new();
    for line in actions.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words = line.split_whitespace().collect::<Vec<_>>();
        let given = |word: &'_ str| word != "-";
        let action = match words[..] {
            [verb, path] if path.starts_with('/') => Action::Path { verb, path },
            [verb, resource, namespace, name] => {
                let mut parts = resource.split('/');
                Action::Object(ObjectAction {
                    verb,
                    group: parts.next().filter(|group| given(group)).unwrap_or_default(),
                    resource: parts.next().unwrap(),
                    subresource: parts.next(),
                    namespace: Some(namespace).filter(|name| given(name)),
                    name: Some(name).filter(|name| given(name)),
                })
            }
            _ => panic!("cannot understand `{line}`"),
        };
        let answer = if may(user, action) { "yes".to_owned() } else { refusal(user, action) };
        answers.push_str(&format!("{line}: {answer}\n"));
    }
    expected.assert_eq(&answers);
}

#[test]
fn masters_may_do_everything() {
    check(
        &User::new("kubernetes-admin", ["system:masters"]),
        "delete -/secrets kube-system -
         create -/pods/exec default web
         put /anything",
        expect![[r#"
            delete -/secrets kube-system -: yes
            create -/pods/exec default web: yes
            put /anything: yes
        "#]],
    );
}

#[test]
fn nobody_sees_health_and_version_only() {
    check(
        &User::anonymous(),
        "get /healthz
         get /livez/ping
         get /readyz
         get /version
         post /version
         get /versions
         get /api
         get /apis/apps/v1
         list -/pods default -
         get -/nodes - one",
        expect![[r#"
            get /healthz: yes
            get /livez/ping: yes
            get /readyz: yes
            get /version: yes
            post /version: User "system:anonymous" cannot post path "/version"
            get /versions: User "system:anonymous" cannot get path "/versions"
            get /api: User "system:anonymous" cannot get path "/api"
            get /apis/apps/v1: User "system:anonymous" cannot get path "/apis/apps/v1"
            list -/pods default -: User "system:anonymous" cannot list resource "pods" in API group "" in the namespace "default"
            get -/nodes - one: User "system:anonymous" cannot get resource "nodes" in API group "" at the cluster scope
        "#]],
    );
}

#[test]
fn a_stranger_with_a_certificate_finds_the_way_but_no_objects() {
    check(
        &User::new("jane", ["dev"]),
        "get /api
         get /openapi/v3/apis/apps/v1
         get /metrics
         get -/configmaps default settings",
        expect![[r#"
            get /api: yes
            get /openapi/v3/apis/apps/v1: yes
            get /metrics: User "jane" cannot get path "/metrics"
            get -/configmaps default settings: User "jane" cannot get resource "configmaps" in API group "" in the namespace "default"
        "#]],
    );
}

#[test]
fn an_agent_serves_its_own_node() {
    check(
        &User::node("one"),
        "list -/pods - -
         get -/secrets default token
         patch -/pods/status default web
         delete -/pods default web
         create -/pods default -
         deletecollection -/pods default -
         create -/pods/exec default web
         update -/pods default web
         create -/nodes - -
         create -/nodes - one
         create -/nodes - two
         patch -/nodes/status - one
         patch -/nodes/status - two
         delete -/nodes - one
         create coordination.k8s.io/leases kube-node-lease -
         update coordination.k8s.io/leases kube-node-lease one
         update coordination.k8s.io/leases kube-node-lease two
         update coordination.k8s.io/leases kube-system one
         create -/events default -
         patch events.k8s.io/events default web.1
         update -/secrets default token
         list apps/deployments default -
         get /api/v1",
        expect![[r#"
            list -/pods - -: yes
            get -/secrets default token: yes
            patch -/pods/status default web: yes
            delete -/pods default web: yes
            create -/pods default -: User "system:node:one" cannot create resource "pods" in API group "" in the namespace "default"
            deletecollection -/pods default -: User "system:node:one" cannot deletecollection resource "pods" in API group "" in the namespace "default"
            create -/pods/exec default web: User "system:node:one" cannot create resource "pods/exec" in API group "" in the namespace "default"
            update -/pods default web: User "system:node:one" cannot update resource "pods" in API group "" in the namespace "default"
            create -/nodes - -: yes
            create -/nodes - one: yes
            create -/nodes - two: User "system:node:one" cannot create resource "nodes" in API group "" at the cluster scope
            patch -/nodes/status - one: yes
            patch -/nodes/status - two: User "system:node:one" cannot patch resource "nodes/status" in API group "" at the cluster scope
            delete -/nodes - one: User "system:node:one" cannot delete resource "nodes" in API group "" at the cluster scope
            create coordination.k8s.io/leases kube-node-lease -: yes
            update coordination.k8s.io/leases kube-node-lease one: yes
            update coordination.k8s.io/leases kube-node-lease two: User "system:node:one" cannot update resource "leases" in API group "coordination.k8s.io" in the namespace "kube-node-lease"
            update coordination.k8s.io/leases kube-system one: User "system:node:one" cannot update resource "leases" in API group "coordination.k8s.io" in the namespace "kube-system"
            create -/events default -: yes
            patch events.k8s.io/events default web.1: yes
            update -/secrets default token: User "system:node:one" cannot update resource "secrets" in API group "" in the namespace "default"
            list apps/deployments default -: User "system:node:one" cannot list resource "deployments" in API group "apps" in the namespace "default"
            get /api/v1: yes
        "#]],
    );
}

#[test]
fn only_the_group_makes_an_agent() {
    check(
        &User::new("system:node:one", ["dev"]),
        "list -/pods - -",
        expect![[r#"
            list -/pods - -: User "system:node:one" cannot list resource "pods" in API group "" at the cluster scope
        "#]],
    );
}

#[test]
fn parts_of_crest_may_all_but_read_secrets_without_need() {
    let actions = "create -/pods/binding default web
                   get -/secrets default token
                   get /metrics";
    check(
        &User::component("sigma"),
        actions,
        expect![[r#"
            create -/pods/binding default web: yes
            get -/secrets default token: User "system:crest:sigma" cannot get resource "secrets" in API group "" in the namespace "default"
            get /metrics: yes
        "#]],
    );
    check(
        &User::component("fuxi"),
        actions,
        expect![[r#"
            create -/pods/binding default web: yes
            get -/secrets default token: yes
            get /metrics: yes
        "#]],
    );
}
