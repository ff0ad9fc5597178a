//! Roles and bindings, and the rules of agents, asked line by line.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::node::Placement;
use super::{Action, Authorizer, Decision, ObjectAction, refusal};
use crate::authentication::User;

/// An authorizer that knows the cluster's own roles, and `more`.
fn authorizer(more: &[Value]) -> Authorizer {
    let authorizer = Authorizer::default();
    for object in crate::bootstrap::roles::objects().iter().chain(more) {
        let plural = format!("{}s", object["kind"].as_str().unwrap().to_lowercase());
        if plural == "pods" {
            authorizer.graph.write().put(Placement::of(object));
        } else {
            authorizer.policy.write().put(&plural, object);
        }
    }
    authorizer
}

/// Lines of `verb group/resource[/subresource] namespace name` or `verb /path`; `-` is none or the core group.
fn check(authorizer: &Authorizer, user: &User, actions: &str, expected: Expect) {
    let mut answers = String::new();
    for line in actions.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words = line.split_whitespace().collect::<Vec<_>>();
        let given = |word: &'_ &str| *word != "-";
        let action = match words[..] {
            [verb, path] if path.starts_with('/') => Action::Path { verb, path },
            [verb, resource, namespace, name, ..] => {
                let mut parts = resource.split('/');
                Action::Object(ObjectAction {
                    verb,
                    group: parts.next().filter(given).unwrap_or_default(),
                    resource: parts.next().unwrap(),
                    subresource: parts.next(),
                    namespace: Some(namespace).filter(given),
                    name: Some(name).filter(given),
                    on_node: words.get(4).copied(),
                })
            }
            _ => panic!("cannot understand `{line}`"),
        };
        let answer = match authorizer.decide(user, action) {
            Decision::Allowed(why) => format!("yes {why}").trim_end().to_owned(),
            Decision::NoOpinion(why) => refusal(user, action, &why),
        };
        answers.push_str(&format!("{line}: {answer}\n"));
    }
    expected.assert_eq(&answers);
}

#[test]
fn masters_may_do_everything() {
    check(
        &authorizer(&[]),
        &User::new("kubernetes-admin", ["system:masters"]),
        "delete -/secrets kube-system -
         put /anything",
        expect![[r#"
            delete -/secrets kube-system -: yes
            put /anything: yes
        "#]],
    );
}

#[test]
fn nobody_and_strangers_find_what_is_open_to_them() {
    let actions = "get /healthz
                   get /version
                   get /healthz/ping
                   post /version
                   get /api
                   get /apis/apps/v1
                   get /openid/v1/jwks
                   list -/pods default -
                   create authorization.k8s.io/selfsubjectaccessreviews - -";
    check(
        &authorizer(&[]),
        &User::anonymous(),
        actions,
        expect![[r#"
        get /healthz: yes RBAC: allowed by ClusterRoleBinding "system:public-info-viewer" of ClusterRole "system:public-info-viewer" to Group "system:unauthenticated"
        get /version: yes RBAC: allowed by ClusterRoleBinding "system:public-info-viewer" of ClusterRole "system:public-info-viewer" to Group "system:unauthenticated"
        get /healthz/ping: User "system:anonymous" cannot get path "/healthz/ping"
        post /version: User "system:anonymous" cannot post path "/version"
        get /api: User "system:anonymous" cannot get path "/api"
        get /apis/apps/v1: User "system:anonymous" cannot get path "/apis/apps/v1"
        get /openid/v1/jwks: User "system:anonymous" cannot get path "/openid/v1/jwks"
        list -/pods default -: User "system:anonymous" cannot list resource "pods" in API group "" in the namespace "default"
        create authorization.k8s.io/selfsubjectaccessreviews - -: User "system:anonymous" cannot create resource "selfsubjectaccessreviews" in API group "authorization.k8s.io" at the cluster scope
    "#]],
    );
    check(
        &authorizer(&[]),
        &User::new("jane", ["dev"]),
        actions,
        expect![[r#"
        get /healthz: yes RBAC: allowed by ClusterRoleBinding "system:discovery" of ClusterRole "system:discovery" to Group "system:authenticated"
        get /version: yes RBAC: allowed by ClusterRoleBinding "system:discovery" of ClusterRole "system:discovery" to Group "system:authenticated"
        get /healthz/ping: User "jane" cannot get path "/healthz/ping"
        post /version: User "jane" cannot post path "/version"
        get /api: yes RBAC: allowed by ClusterRoleBinding "system:discovery" of ClusterRole "system:discovery" to Group "system:authenticated"
        get /apis/apps/v1: yes RBAC: allowed by ClusterRoleBinding "system:discovery" of ClusterRole "system:discovery" to Group "system:authenticated"
        get /openid/v1/jwks: User "jane" cannot get path "/openid/v1/jwks"
        list -/pods default -: User "jane" cannot list resource "pods" in API group "" in the namespace "default"
        create authorization.k8s.io/selfsubjectaccessreviews - -: yes RBAC: allowed by ClusterRoleBinding "system:basic-user" of ClusterRole "system:basic-user" to Group "system:authenticated"
    "#]],
    );
}

fn role(namespace: &str, name: &str, rules: Value) -> Value {
    let kind = if namespace.is_empty() { "ClusterRole" } else { "Role" };
    json!({"kind": kind, "metadata": {"name": name, "namespace": namespace}, "rules": rules})
}

fn binding(namespace: &str, name: &str, role: &str, subject: Value) -> Value {
    let kind = if namespace.is_empty() { "ClusterRoleBinding" } else { "RoleBinding" };
    let (role_kind, role) = role.split_once('/').unwrap();
    json!({"kind": kind, "metadata": {"name": name, "namespace": namespace},
        "roleRef": {"kind": role_kind, "name": role}, "subjects": [subject]})
}

#[test]
fn rules_are_read_as_kubernetes_reads_them() {
    let rules = json!([
        {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["ok"]},
        {"verbs": ["*"], "apiGroups": [""], "resources": ["secrets", "pods/log"]},
        {"verbs": ["get"], "apiGroups": ["apps"], "resources": ["*"]},
        {"verbs": ["update"], "apiGroups": ["*"], "resources": ["*/scale"]},
    ]);
    let authorizer = authorizer(&[
        role("n", "r", rules),
        binding("n", "rb", "Role/r", json!({"kind": "User", "name": "u"})),
        binding("n", "gone", "Role/none", json!({"kind": "User", "name": "u"})),
        binding("m", "view", "ClusterRole/system:kube-dns", json!({"kind": "ServiceAccount", "name": "a"})),
    ]);
    check(
        &authorizer,
        &User::new("u", []),
        "get -/configmaps n ok
         get -/configmaps n no
         list -/configmaps n -
         deletecollection -/secrets n -
         get -/pods/log n p
         get -/pods n p
         get apps/deployments/scale n x
         list apps/deployments n -
         update apps/deployments/scale n x
         get -/secrets m -
         get -/secrets - -",
        expect![[r#"
            get -/configmaps n ok: yes RBAC: allowed by RoleBinding "rb/n" of Role "r" to User "u"
            get -/configmaps n no: User "u" cannot get resource "configmaps" in API group "" in the namespace "n": RBAC: role.rbac.authorization.k8s.io "none" not found
            list -/configmaps n -: User "u" cannot list resource "configmaps" in API group "" in the namespace "n": RBAC: role.rbac.authorization.k8s.io "none" not found
            deletecollection -/secrets n -: yes RBAC: allowed by RoleBinding "rb/n" of Role "r" to User "u"
            get -/pods/log n p: yes RBAC: allowed by RoleBinding "rb/n" of Role "r" to User "u"
            get -/pods n p: User "u" cannot get resource "pods" in API group "" in the namespace "n": RBAC: role.rbac.authorization.k8s.io "none" not found
            get apps/deployments/scale n x: yes RBAC: allowed by RoleBinding "rb/n" of Role "r" to User "u"
            list apps/deployments n -: User "u" cannot list resource "deployments" in API group "apps" in the namespace "n": RBAC: role.rbac.authorization.k8s.io "none" not found
            update apps/deployments/scale n x: yes RBAC: allowed by RoleBinding "rb/n" of Role "r" to User "u"
            get -/secrets m -: User "u" cannot get resource "secrets" in API group "" in the namespace "m"
            get -/secrets - -: User "u" cannot get resource "secrets" in API group "" at the cluster scope
        "#]],
    );
    check(
        &authorizer,
        &User::service_account("m", "a", ""),
        "list -/services m -
         list -/services n -",
        expect![[r#"
            list -/services m -: yes RBAC: allowed by RoleBinding "view/m" of ClusterRole "system:kube-dns" to ServiceAccount "a"
            list -/services n -: User "system:serviceaccount:m:a" cannot list resource "services" in API group "" in the namespace "n"
        "#]],
    );
}

#[test]
fn an_agent_reaches_what_its_own_pods_speak_of() {
    let pod = |name: &str, node: &str, secret: &str| {
        json!({"kind": "Pod", "metadata": {"name": name, "namespace": "n"},
            "spec": {"nodeName": node, "serviceAccountName": "sa", "volumes": [{"secret": {"secretName": secret}}],
                "containers": [{"env": [{"valueFrom": {"configMapKeyRef": {"name": "settings"}}}]}]}})
    };
    check(
        &authorizer(&[pod("p", "one", "mine"), pod("q", "two", "theirs")]),
        &User::node("one"),
        "get -/secrets n mine
         list -/secrets n mine
         get -/secrets n theirs
         list -/secrets n -
         get -/secrets m mine
         update -/secrets n mine
         get -/configmaps n settings
         create -/serviceaccounts/token n sa
         create -/serviceaccounts/token n other
         get -/pods n p
         get -/pods n q
         list -/pods - -
         list -/pods - - one
         list -/pods - - two
         patch -/pods/status n p
         create -/pods/exec n p
         update -/pods n p
         get -/nodes - one
         get -/nodes - two
         list -/nodes - -
         delete -/nodes - one
         update coordination.k8s.io/leases kube-node-lease one
         update coordination.k8s.io/leases kube-node-lease two
         update coordination.k8s.io/leases kube-system one
         list apps/deployments n -
         watch crest.dev/colocationpolicies - -
         update crest.dev/colocationpolicies - gentle
         get /api",
        expect![[r#"
            get -/secrets n mine: yes
            list -/secrets n mine: yes
            get -/secrets n theirs: User "system:node:one" cannot get resource "secrets" in API group "" in the namespace "n": no relationship found between node 'one' and this object
            list -/secrets n -: User "system:node:one" cannot list resource "secrets" in API group "" in the namespace "n": No Object name found
            get -/secrets m mine: User "system:node:one" cannot get resource "secrets" in API group "" in the namespace "m": no relationship found between node 'one' and this object
            update -/secrets n mine: User "system:node:one" cannot update resource "secrets" in API group "" in the namespace "n"
            get -/configmaps n settings: yes
            create -/serviceaccounts/token n sa: yes
            create -/serviceaccounts/token n other: User "system:node:one" cannot create resource "serviceaccounts/token" in API group "" in the namespace "n": no relationship found between node 'one' and this object
            get -/pods n p: yes
            get -/pods n q: User "system:node:one" cannot get resource "pods" in API group "" in the namespace "n": no relationship found between node 'one' and this object
            list -/pods - -: User "system:node:one" cannot list resource "pods" in API group "" at the cluster scope: can only list/watch pods with spec.nodeName field selector
            list -/pods - - one: yes
            list -/pods - - two: User "system:node:one" cannot list resource "pods" in API group "" at the cluster scope: can only list/watch pods with spec.nodeName field selector
            patch -/pods/status n p: yes
            create -/pods/exec n p: User "system:node:one" cannot create resource "pods/exec" in API group "" in the namespace "n"
            update -/pods n p: User "system:node:one" cannot update resource "pods" in API group "" in the namespace "n"
            get -/nodes - one: yes
            get -/nodes - two: User "system:node:one" cannot get resource "nodes" in API group "" at the cluster scope: node 'one' cannot read 'two', only its own Node object
            list -/nodes - -: User "system:node:one" cannot list resource "nodes" in API group "" at the cluster scope: node 'one' cannot read all nodes, only its own Node object
            delete -/nodes - one: User "system:node:one" cannot delete resource "nodes" in API group "" at the cluster scope
            update coordination.k8s.io/leases kube-node-lease one: yes
            update coordination.k8s.io/leases kube-node-lease two: User "system:node:one" cannot update resource "leases" in API group "coordination.k8s.io" in the namespace "kube-node-lease": can only access node lease with the same name as the requesting node
            update coordination.k8s.io/leases kube-system one: User "system:node:one" cannot update resource "leases" in API group "coordination.k8s.io" in the namespace "kube-system": can only access leases in the "kube-node-lease" system namespace
            list apps/deployments n -: User "system:node:one" cannot list resource "deployments" in API group "apps" in the namespace "n"
            watch crest.dev/colocationpolicies - -: yes RBAC: allowed by ClusterRoleBinding "system:crest:node" of ClusterRole "system:crest:node" to Group "system:nodes"
            update crest.dev/colocationpolicies - gentle: User "system:node:one" cannot update resource "colocationpolicies" in API group "crest.dev" at the cluster scope
            get /api: yes RBAC: allowed by ClusterRoleBinding "system:discovery" of ClusterRole "system:discovery" to Group "system:authenticated"
        "#]],
    );
    check(
        &authorizer(&[]),
        &User::new("system:node:one", ["dev"]),
        "get -/nodes - one",
        expect![[r#"
        get -/nodes - one: User "system:node:one" cannot get resource "nodes" in API group "" at the cluster scope
    "#]],
    );
}

#[test]
fn parts_of_crest_may_do_their_work() {
    let actions = "create -/pods/binding default web
                   get -/secrets default token
                   update crest.dev/dagjobs/status default j
                   delete apps/deployments default web
                   impersonate -/users - admin
                   get /metrics
                   watch scheduling.k8s.io/podgroups - -";
    for component in ["sigma", "fuxi", "controllers"] {
        let authorizer = authorizer(&[]);
        let mut said = String::new();
        for line in actions.lines().map(str::trim) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let action = match words[..] {
                [verb, path] => Action::Path { verb, path },
                [verb, resource, namespace, name] => {
                    let mut parts = resource.split('/');
                    Action::Object(ObjectAction {
                        verb,
                        group: parts.next().unwrap().trim_start_matches('-'),
                        resource: parts.next().unwrap(),
                        subresource: parts.next(),
                        namespace: Some(namespace).filter(|name| *name != "-"),
                        name: Some(name),
                        on_node: None,
                    })
                }
                _ => unreachable!(),
            };
            let allowed = authorizer.decide(&User::component(component), action).is_allowed();
            said.push(if allowed { 'y' } else { 'n' });
        }
        let expected = match component {
            "sigma" => "ynnnnyn",
            "fuxi" => "yyynnyy",
            _ => "yyyynyy",
        };
        assert_eq!(said, expected, "{component}");
    }
}
