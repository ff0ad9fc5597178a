use expect_test::{Expect, expect};
use http::Method;
use proptest::prelude::*;

use super::ObjectPath;
use crate::catalog::Served;

fn describe(method: &Method, path: &str) -> String {
    match ObjectPath::parse(path, &Served::default()) {
        Err(failure) => failure.code().to_string(),
        Ok(target) => match target.verb(method, false) {
            Err(failure) => failure.code().to_string(),
            Ok(verb) => format!(
                "{} {} {:?} {:?} {:?}",
                verb.as_str(),
                target.kind.qualified_resource(),
                target.namespace.as_deref().unwrap_or("-"),
                target.name(),
                target.subresource.as_deref().unwrap_or("-"),
            ),
        },
    }
}

fn check(method: Method, paths: &[&str], expect: Expect) {
    let lines: Vec<String> = paths.iter().map(|path| describe(&method, path)).collect();
    expect.assert_eq(&lines.join("\n"));
}

#[test]
fn paths_of_objects() {
    check(
        Method::GET,
        &[
            "/api/v1/pods",
            "/api/v1/namespaces/default/pods/",
            "/api/v1/namespaces/default/pods/web",
            "/api/v1/namespaces/default/pods/web/status",
            "/api/v1/namespaces/default",
            "/api/v1/namespaces/default/status",
            "/apis/apps/v1/namespaces/a/deployments/d%2De",
            "/api/v1/watch/namespaces/a/pods",
        ],
        expect![[r#"
            list pods "-" "" "-"
            list pods "default" "" "-"
            get pods "default" "web" "-"
            get pods "default" "web" "status"
            get namespaces "-" "default" "-"
            get namespaces "-" "default" "status"
            get deployments.apps "a" "d-e" "-"
            watch pods "a" "" "-""#]],
    );
}

#[test]
fn paths_that_are_served_nowhere() {
    check(
        Method::GET,
        &[
            "/api/v1//pods",
            "/api/v1/namespaces/a/pods/b%2Fc",
            "/api/v1/pods/b",
            "/api/v1/namespaces/a/nodes",
            "/api/v2/pods",
            "/apis/apps/v1/nopes",
            "/api/v1/namespaces/a/pods/p/nope",
            "/api/v1/namespaces/a/pods/p/log/more",
            "/api/v1/namespaces/a/pods/%",
        ],
        expect![[r#"
            404
            404
            404
            404
            404
            404
            404
            404
            404"#]],
    );
}

#[test]
fn methods_that_a_path_does_not_allow() {
    check(
        Method::DELETE,
        &["/api/v1/namespaces", "/api/v1/namespaces/a/pods"],
        expect![[r#"
        405
        deletecollection pods "a" "" "-""#]],
    );
    check(
        Method::POST,
        &["/api/v1/pods", "/api/v1/namespaces/a/pods/p"],
        expect![[r#"
        405
        405"#]],
    );
    check(Method::HEAD, &["/api/v1/pods"], expect!["405"]);
}

proptest! {
    #[test]
    fn no_path_panics(path in "/[ -~]{0,60}") {
        drop(describe(&Method::GET, &path));
    }
}
