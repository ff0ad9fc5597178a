//! A request's path: which objects it is about.
//!
//! ```text
//!   /api/v1/namespaces/default/pods/web/log
//!          └────── namespace ─┘plural name subresource
//! ```

use http::Method;
use kinds::Kind;
use kinds::status::Failure;
use serde_json::Value;

use crate::catalog::Served;
use crate::object;

/// What a request does to objects, in the words of Kubernetes' authorization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

impl Verb {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }
}

/// An object, or all objects of a kind, in one namespace or in all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ObjectPath {
    pub(crate) kind: Kind,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
    /// `/api/v1/watch/...`: the old spelling of `?watch=true`.
    pub(crate) legacy_watch: bool,
}

impl ObjectPath {
    /// Reads `/api/v1/...` or `/apis/<group>/<version>/...`; anything else is served nowhere.
    pub(crate) fn parse(path: &str, served: &Served) -> Result<Self, Failure> {
        let segments = segments(path).ok_or_else(Failure::no_such_path)?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        match segments.as_slice() {
            ["api", version, rest @ ..] => Self::parse_objects(served, ["", version], rest),
            ["apis", group, version, rest @ ..] if !group.is_empty() => {
                Self::parse_objects(served, [group, version], rest)
            }
            _ => None,
        }
        .ok_or_else(Failure::no_such_path)
    }

    fn parse_objects(served: &Served, [group, version]: [&str; 2], rest: &[&str]) -> Option<Self> {
        let (legacy_watch, rest) = match rest {
            ["watch", rest @ ..] => (true, rest),
            _ => (false, rest),
        };
        let (namespace, rest) = match rest {
            // `namespaces/<name>/status` is about the namespace itself, `namespaces/<name>/pods` is not.
            ["namespaces", _, "status" | "finalize"] | ["namespaces", _] | ["namespaces"] => (None, rest),
            ["namespaces", namespace, rest @ ..] => (Some((*namespace).to_owned()), rest),
            _ => (None, rest),
        };
        let (plural, name, subresource) = match rest {
            [plural] => (plural, None, None),
            [plural, name] => (plural, Some(name), None),
            [plural, name, subresource] => (plural, Some(name), Some(subresource)),
            // What follows is for whoever the request is passed on to.
            [plural, name, subresource @ "proxy", ..] => (plural, Some(name), Some(subresource)),
            _ => return None,
        };
        let kind = served.find(group, version, plural)?;
        let fits =
            if kind.is_namespaced() { namespace.is_some() || name.is_none() } else { namespace.is_none() };
        let owned = |text: Option<&&str>| text.map(|text| (*text).to_owned());
        fits.then(|| Self {
            kind,
            namespace,
            name: owned(name),
            subresource: owned(subresource),
            legacy_watch,
        })
    }

    /// What `method` means here.
    pub(crate) fn verb(&self, method: &Method, watch: bool) -> Result<Verb, Failure> {
        let named = self.name.is_some();
        let is_unnamed_kind =
            !["get", "update", "patch", "delete"].iter().any(|verb| self.kind.verbs.contains(verb));
        if named && self.subresource.is_none() && is_unnamed_kind {
            return Err(Failure::no_such_path());
        }
        if matches!(self.name(), "." | "..") {
            let message = format!("{:?} is no name of an object: it would lead elsewhere", self.name());
            return Err(Failure::bad_request(message));
        }
        let verb = match *method {
            Method::GET if self.subresource.is_some() => Verb::Get,
            Method::GET if self.legacy_watch => Verb::Watch,
            Method::GET if named => Verb::Get,
            Method::GET if watch => Verb::Watch,
            Method::GET => Verb::List,
            Method::POST if !named || self.subresource.is_some() => Verb::Create,
            Method::PUT if named => Verb::Update,
            Method::PATCH if named => Verb::Patch,
            Method::DELETE if named => Verb::Delete,
            Method::DELETE => Verb::DeleteCollection,
            _ => return Err(Failure::method_not_allowed()),
        };
        let served = match &self.subresource {
            None => self.kind.verbs,
            Some(name) => self.kind.subresource(name).ok_or_else(|| self.no_such_part())?.verbs,
        };
        let creates_nowhere = verb == Verb::Create && self.kind.is_namespaced() && self.namespace.is_none();
        if served.contains(&verb.as_str()) && !creates_nowhere {
            Ok(verb)
        } else {
            Err(Failure::method_not_allowed())
        }
    }

    /// Whether objects of a user-defined kind have a part is a matter of each of them, as clients see it.
    fn no_such_part(&self) -> Failure {
        match self.kind.custom() {
            Some(_) => Failure::not_found(&self.kind, self.name()),
            None => Failure::no_such_path(),
        }
    }

    /// Where `object` of `kind` is.
    pub(crate) fn of(kind: &Kind, object: &Value) -> Self {
        let namespace = Some(object::namespace(object).to_owned()).filter(|namespace| !namespace.is_empty());
        let name = Some(object::name(object).to_owned());
        Self { kind: kind.clone(), namespace, name, subresource: None, legacy_watch: false }
    }

    /// The name, of a path whose verb has one.
    pub(crate) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// Group, resource and namespace; the latter is empty for all.
    pub(crate) fn place(&self) -> (&str, &str, &str) {
        (self.kind.group, self.kind.plural, self.namespace.as_deref().unwrap_or_default())
    }

    /// Where the object with this name is stored.
    pub(crate) fn key(&self) -> String {
        key(&self.kind, self.namespace.as_deref().unwrap_or_default(), self.name())
    }

    /// Where all objects of this path are stored.
    pub(crate) fn prefix(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{}{namespace}/", self.kind.storage_prefix()),
            None => self.kind.storage_prefix(),
        }
    }
}

/// Where an object is stored.
pub(crate) fn key(kind: &Kind, namespace: &str, name: &str) -> String {
    key_below(&kind.storage_prefix(), namespace, name)
}

/// As [`key`] for a kind whose objects are stored below `prefix`.
pub(crate) fn key_below(prefix: &str, namespace: &str, name: &str) -> String {
    let slash = if namespace.is_empty() { "" } else { "/" };
    [prefix, namespace, slash, name].concat()
}

/// The decoded segments of a path. A slash at the end is allowed; an empty segment elsewhere, or an encoded slash
/// (which would name an object in another place), is not.
pub(crate) fn segments(path: &str) -> Option<Vec<String>> {
    let path = path.strip_prefix('/')?;
    let path = path.strip_suffix('/').unwrap_or(path);
    path.split('/')
        .map(percent_decoded)
        .map(|segment| segment.filter(|text| !text.is_empty() && !text.contains(['/', '\0'])))
        .collect()
}

/// `None` if what follows a `%` is no number, or the whole no text.
pub(crate) fn percent_decoded(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests;
