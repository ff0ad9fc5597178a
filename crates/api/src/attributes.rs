//! What a request is about, told from its method and path alone, before anything is known of kinds: what is forbidden
//! is forbidden whether or not it is served.

use http::Method;
use http::request::Parts;
use kinds::selector::Fields;

use crate::authorization::{Action, ObjectAction};
use crate::query::Query;
use crate::request;

/// Subresources of namespaces; any other third part is a resource in the namespace.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

/// A request, in the words of authorization.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) verb: String,
    pub(crate) path: String,
    /// `None` for paths that are no objects.
    pub(crate) object: Option<Target>,
}

/// The objects that a path names, known or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) resource: String,
    pub(crate) subresource: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    /// The node by which a list or watch of Pods selects.
    pub(crate) on_node: Option<String>,
}

impl Attributes {
    pub(crate) fn of(parts: &Parts) -> Self {
        let path = parts.uri.path().to_owned();
        let mut verb = parts.method.as_str().to_ascii_lowercase();
        let mut object = request::segments(&path).and_then(|segments| target(&segments));
        if let Some((target, is_watch_path)) = &mut object {
            let query = Query::parse(&parts.uri).unwrap_or_default();
            let named = target.name.is_some();
            let watches = *is_watch_path || (!named && query.flag("watch"));
            verb = object_verb(&parts.method, named, watches).to_owned();
            if matches!(verb.as_str(), "list" | "watch" | "deletecollection") {
                let fields = query.get("fieldSelector").and_then(|text| Fields::parse(text).ok());
                let equal = |field: &str| fields.as_ref()?.requirement(field).map(str::to_owned);
                if !named {
                    target.name = equal("metadata.name").filter(|name| !name.is_empty());
                }
                target.on_node = equal("spec.nodeName");
            }
        }
        Self { verb, path, object: object.map(|(target, _)| target) }
    }

    pub(crate) fn action(&self) -> Action<'_> {
        match &self.object {
            None => Action::Path { verb: &self.verb, path: &self.path },
            Some(target) => Action::Object(target.action(&self.verb)),
        }
    }
}

impl Target {
    pub(crate) fn action<'a>(&'a self, verb: &'a str) -> ObjectAction<'a> {
        ObjectAction {
            verb,
            group: &self.group,
            resource: &self.resource,
            subresource: self.subresource.as_deref(),
            namespace: self.namespace.as_deref(),
            name: self.name.as_deref(),
            on_node: self.on_node.as_deref(),
        }
    }
}

#[expect(clippy::fn_params_excessive_bools, reason = "what a request says of itself")]
fn object_verb(method: &Method, named: bool, watches: bool) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if named => "delete",
        Method::DELETE => "deletecollection",
        Method::GET | Method::HEAD if watches => "watch",
        Method::GET | Method::HEAD if named => "get",
        Method::GET | Method::HEAD => "list",
        _ => "",
    }
}

/// The target, and whether the path is of the old form `/api/v1/watch/...`.
fn target(segments: &[String]) -> Option<(Target, bool)> {
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (group, version, rest) = match segments.as_slice() {
        ["api", version, rest @ ..] => ("", version, rest),
        ["apis", group, version, rest @ ..] => (*group, version, rest),
        _ => return None,
    };
    let (watches, rest) = match rest {
        ["watch", rest @ ..] if !rest.is_empty() => (true, rest),
        rest => (false, rest),
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, subresource, ..] if NAMESPACE_SUBRESOURCES.contains(subresource) => {
            (Some(namespace), rest)
        }
        ["namespaces", namespace, inner @ ..] if !inner.is_empty() => (Some(namespace), inner),
        ["namespaces", namespace] => (Some(namespace), rest),
        rest => (None, rest),
    };
    let text = |index: usize| rest.get(index).map(|text| (*text).to_owned());
    let target = Target {
        group: group.to_owned(),
        version: (*version).to_owned(),
        resource: text(0)?,
        subresource: text(2),
        namespace: namespace.map(|name| (*name).to_owned()),
        name: text(1),
        on_node: None,
    };
    Some((target, watches))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::Attributes;

    fn check(method: &str, uri: &str, expected: Expect) {
        let (parts, ()) = http::Request::builder().method(method).uri(uri).body(()).unwrap().into_parts();
        let attributes = Attributes::of(&parts);
        let said = attributes.object.map_or_else(
            || format!("{} {}", attributes.verb, attributes.path),
            |target| {
                let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
                let group = if target.group.is_empty() { "core" } else { &target.group };
                format!(
                    "{} {group} {} {} in {} named {} on {}",
                    attributes.verb,
                    target.resource,
                    or(&target.subresource),
                    or(&target.namespace),
                    or(&target.name),
                    or(&target.on_node)
                )
            },
        );
        expected.assert_eq(&said);
    }

    #[test]
    fn paths_tell_what_they_are_about() {
        check("GET", "/healthz", expect!["get /healthz"]);
        check("POST", "/api/v1", expect!["post /api/v1"]);
        check("GET", "/apis/apps/v1", expect!["get /apis/apps/v1"]);
        check("GET", "/api/v1/pods?watch=1", expect!["watch core pods - in - named - on -"]);
        check("GET", "/api/v1/watch/pods", expect!["watch core pods - in - named - on -"]);
        check(
            "PUT",
            "/api/v1/namespaces/x/finalize",
            expect!["update core namespaces finalize in x named x on -"],
        );
        check("DELETE", "/api/v1/namespaces/x", expect!["delete core namespaces - in x named x on -"]);
        check(
            "DELETE",
            "/apis/apps/v1/namespaces/x/deployments",
            expect!["deletecollection apps deployments - in x named - on -"],
        );
        check("POST", "/api/v1/namespaces/x/pods/p/exec", expect!["create core pods exec in x named p on -"]);
        check("GET", "/apis/nope/v1/foos", expect!["list nope foos - in - named - on -"]);
        check(
            "GET",
            "/api/v1/pods?fieldSelector=spec.nodeName%3Dn,metadata.name%3Dp",
            expect!["list core pods - in - named p on n"],
        );
    }
}
