use expect_test::{Expect, expect};
use http::Request;

use super::{Level, Policy, Stage};
use crate::attributes::Attributes;
use crate::authentication::User;

fn attributes(method: &str, uri: &str) -> Attributes {
    let (parts, ()) = Request::builder().method(method).uri(uri).body(()).unwrap().into_parts();
    Attributes::of(&parts)
}

fn policy(rules: &str) -> Policy {
    Policy::parse(&format!("{{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{rules}]}}")).unwrap()
}

/// Whether a rule that has `selector` means a request.
fn check(selector: &str, (method, uri): (&str, &str), expected: bool) {
    let judgement = policy(&format!("{{level: Request, {selector}}}"))
        .judge(Some(&User::new("jane", ["team"])), &attributes(method, uri));
    assert_eq!(judgement.level == Level::Request, expected, "{selector}: {method} {uri}");
}

#[test]
fn what_the_cluster_itself_reads_is_left_out() {
    let check = |user: User, method: &str, uri: &str, expected: Level| {
        let judgement = Policy::default().judge(Some(&user), &attributes(method, uri));
        assert_eq!(judgement.level, expected, "{method} {uri}");
        assert!(!judgement.wants(Stage::RequestReceived));
    };
    let controllers = || User::component("controllers");
    check(User::node("one"), "GET", "/api/v1/pods", Level::None);
    check(User::node("one"), "PATCH", "/api/v1/nodes/one/status", Level::Metadata);
    check(controllers(), "GET", "/api/v1/secrets", Level::None);
    check(controllers(), "PUT", "/apis/coordination.k8s.io/v1/namespaces/n/leases/l", Level::None);
    check(controllers(), "POST", "/api/v1/namespaces/n/events", Level::None);
    check(controllers(), "DELETE", "/api/v1/namespaces/n/secrets/s", Level::Metadata);
    check(User::component("fuxi"), "GET", "/api/v1/pods", Level::None);
    check(User::new("jane", []), "GET", "/api/v1/namespaces/n/secrets/s", Level::Metadata);
    check(User::anonymous(), "GET", "/healthz/ping", Level::None);
    check(User::anonymous(), "GET", "/metrics", Level::Metadata);
}

#[test]
fn a_rule_means_who_it_names() {
    let pods = ("GET", "/api/v1/namespaces/n/pods");
    check("users: [jane]", pods, true);
    check("users: [john]", pods, false);
    check("userGroups: [team, other]", pods, true);
    check("userGroups: [other]", pods, false);
    check("users: [jane], userGroups: [other]", pods, false);
    check("verbs: [list]", pods, true);
    check("verbs: [get]", pods, false);
    let nobody =
        policy("{level: Request, users: [jane]}, {level: Metadata}").judge(None, &attributes("GET", "/"));
    assert_eq!(nobody.level, Level::Metadata, "who is not known is nobody's user");
}

#[test]
fn a_rule_means_what_it_names() {
    let pods = "resources: [{group: '', resources: [pods]}]";
    let logs = ("GET", "/api/v1/namespaces/n/pods/p/log");
    check(pods, ("GET", "/api/v1/pods"), true);
    check(pods, logs, false);
    check(pods, ("GET", "/apis/apps/v1/deployments"), false);
    check(pods, ("GET", "/healthz"), false);
    check("resources: [{resources: [pods/log]}]", logs, true);
    check("resources: [{resources: [pods/status]}]", logs, false);
    check("resources: [{resources: ['pods/*']}]", logs, true);
    check("resources: [{resources: ['*/log']}]", logs, true);
    check("resources: [{resources: ['*/status']}]", logs, false);
    check("resources: [{resources: ['*']}]", logs, true);
    check("resources: [{group: apps}]", ("GET", "/apis/apps/v1/deployments"), true);
    check("resources: [{resources: ['pods/*'], resourceNames: [p]}]", logs, true);
    check("resources: [{resources: ['pods/*'], resourceNames: [q]}]", logs, false);
    check("namespaces: ['n']", logs, true);
    check("namespaces: [m]", logs, false);
    check("namespaces: ['']", ("GET", "/api/v1/nodes"), true);
    check("namespaces: ['n']", ("GET", "/healthz"), false);
    check("nonResourceURLs: ['/health*']", ("GET", "/healthz"), true);
    check("nonResourceURLs: ['/health']", ("GET", "/healthz"), false);
    check("nonResourceURLs: ['*']", ("GET", "/api/v1/pods"), false);
}

#[test]
fn the_first_rule_that_matches_decides() {
    let policy = Policy::parse(
        "{apiVersion: audit.k8s.io/v1, kind: Policy, omitStages: [RequestReceived], omitManagedFields: true, rules: [
          {level: None, verbs: [watch]},
          {level: RequestResponse, verbs: [create], omitStages: [ResponseComplete], omitManagedFields: false}]}",
    )
    .unwrap();
    let judge = |method, uri| policy.judge(None, &attributes(method, uri));
    assert_eq!(judge("GET", "/api/v1/pods?watch=1").level, Level::None);
    assert_eq!(judge("GET", "/api/v1/pods").level, Level::None, "no rule, no line");
    let create = judge("POST", "/api/v1/namespaces/n/pods");
    assert_eq!((create.level, create.omits_managed_fields), (Level::RequestResponse, false));
    let wanted = [Stage::RequestReceived, Stage::ResponseStarted, Stage::ResponseComplete, Stage::Panic]
        .map(|stage| create.wants(stage));
    assert_eq!(wanted, [false, true, false, true]);
}

#[test]
fn a_wrong_policy_is_refused_with_the_place() {
    let check = |text: &str, expected: Expect| {
        let (at, message) = Policy::parse(text).unwrap_err();
        expected.assert_eq(&format!("{at}: {message}"));
    };
    let rules = |rules: &str| format!("{{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{rules}]}}");
    check(
        "a: [",
        expect![
            ": error converting YAML to JSON: yaml: while parsing a node, did not find expected node content at byte 4 line 2 column 1"
        ],
    );
    check(
        "{apiVersion: v1, kind: Policy, rules: []}",
        expect!["apiVersion: it is a Policy of v1, not a Policy of audit.k8s.io/v1"],
    );
    check("{kind: Policy, rules: []}", expect!["the top: missing field `apiVersion`"]);
    check(&rules(""), expect!["rules: without a rule nothing would be written"]);
    check(
        &rules("{level: Metadata}, {level: Everything}"),
        expect![
            "rules[1]: unknown variant `Everything`, expected one of `None`, `Metadata`, `Request`, `RequestResponse`"
        ],
    );
    check(
        &rules("{level: Metadata, verb: [get]}"),
        expect![
            "rules[0]: unknown field `verb`, expected one of `level`, `users`, `userGroups`, `verbs`, `resources`, `namespaces`, `nonResourceURLs`, `omitStages`, `omitManagedFields`"
        ],
    );
    check(
        &rules("{level: Metadata, omitStages: [Begun]}"),
        expect![
            "rules[0]: unknown variant `Begun`, expected one of `RequestReceived`, `ResponseStarted`, `ResponseComplete`, `Panic`"
        ],
    );
    check(
        &rules("{level: Metadata, namespaces: [a], nonResourceURLs: ['/a']}"),
        expect!["rules[0].nonResourceURLs: a rule is about resources or about other paths, not both"],
    );
    check(
        &rules("{level: Metadata, nonResourceURLs: ['/a/*/b']}"),
        expect!["rules[0].nonResourceURLs: `/a/*/b` must begin with `/` and may have a `*` at its end only"],
    );
    check(
        &rules("{level: Metadata, resources: [{group: apps, resourceNames: [a]}]}"),
        expect!["rules[0].resources[0].resourceNames: names say nothing without resources"],
    );
}
