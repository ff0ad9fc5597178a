//! The functions that an expression may call: those of CEL and the libraries of Kubernetes.

use super::check::Type;
use super::forms::{WITH_ENTRIES, WITH_ENTRY};

/// How a function is called and what it yields. What an argument may be is told when the function runs.
#[derive(Debug)]
pub(super) struct Signature {
    pub(super) name: &'static str,
    /// Whether the library has it as a method, of its first argument.
    pub(super) is_method: bool,
    /// How many arguments, with the one before the dot.
    pub(super) least: usize,
    pub(super) most: usize,
    pub(super) result: Type,
}

const ANY: usize = 64;

const fn function(name: &'static str, least: usize, most: usize, result: Type) -> Signature {
    Signature { name, is_method: false, least, most, result }
}

const fn method(name: &'static str, least: usize, most: usize, result: Type) -> Signature {
    Signature { name, is_method: true, least, most, result }
}

const QUANTITY: Type = Type::Opaque("kubernetes.Quantity");
const SEMVER: Type = Type::Opaque("kubernetes.Semver");
const URL: Type = Type::Opaque("kubernetes.URL");
const IP: Type = Type::Opaque("net.IP");
const CIDR: Type = Type::Opaque("net.CIDR");
const FORMAT: Type = Type::Opaque("kubernetes.NamedFormat");
const AUTHORIZER: Type = Type::Opaque("kubernetes.authorization.Authorizer");
const DECISION: Type = Type::Opaque("kubernetes.authorization.Decision");

/// The names that stand before the dot of a library's functions.
pub(super) const LIBRARIES: [&str; 9] =
    ["base64", "format", "ip", "jsonpatch", "lists", "math", "optional", "sets", "strings"];

pub(super) fn find(name: &str) -> Option<&'static Signature> {
    SIGNATURES.iter().find(|signature| signature.name == name)
}

static SIGNATURES: &[Signature] = &[
    // The language itself.
    function("size", 1, 1, Type::Int),
    function("type", 1, 1, Type::Type),
    function("dyn", 1, 1, Type::Dyn),
    function("bool", 1, 1, Type::Bool),
    function("int", 1, 1, Type::Int),
    function("uint", 1, 1, Type::Uint),
    function("double", 1, 1, Type::Double),
    function("string", 1, 1, Type::String),
    function("bytes", 1, 1, Type::Bytes),
    function("duration", 1, 1, Type::Duration),
    function("timestamp", 1, 1, Type::Timestamp),
    method("contains", 2, 2, Type::Bool),
    method("startsWith", 2, 2, Type::Bool),
    method("endsWith", 2, 2, Type::Bool),
    method("matches", 2, 2, Type::Bool),
    method("getFullYear", 1, 2, Type::Int),
    method("getMonth", 1, 2, Type::Int),
    method("getDayOfYear", 1, 2, Type::Int),
    method("getDayOfMonth", 1, 2, Type::Int),
    method("getDate", 1, 2, Type::Int),
    method("getDayOfWeek", 1, 2, Type::Int),
    method("getHours", 1, 2, Type::Int),
    method("getMinutes", 1, 2, Type::Int),
    method("getSeconds", 1, 2, Type::Int),
    method("getMilliseconds", 1, 2, Type::Int),
    // Optional values.
    function("optional.of", 1, 1, Type::Optional),
    function("optional.none", 0, 0, Type::Optional),
    function("optional.ofNonZeroValue", 1, 1, Type::Optional),
    method("hasValue", 1, 1, Type::Bool),
    method("value", 1, 1, Type::Dyn),
    method("or", 2, 2, Type::Optional),
    method("orValue", 2, 2, Type::Dyn),
    // Texts.
    method("charAt", 2, 2, Type::String),
    method("format", 2, 2, Type::String),
    method("indexOf", 2, 3, Type::Int),
    method("lastIndexOf", 2, 3, Type::Int),
    method("join", 1, 2, Type::String),
    method("lowerAscii", 1, 1, Type::String),
    method("upperAscii", 1, 1, Type::String),
    method("replace", 3, 4, Type::String),
    method("split", 2, 3, Type::List),
    method("substring", 2, 3, Type::String),
    method("trim", 1, 1, Type::String),
    method("reverse", 1, 1, Type::Dyn),
    method("find", 2, 2, Type::String),
    method("findAll", 2, 3, Type::List),
    function("strings.quote", 1, 1, Type::String),
    function("base64.encode", 1, 1, Type::String),
    function("base64.decode", 1, 1, Type::Bytes),
    function("jsonpatch.escapeKey", 1, 1, Type::String),
    // Lists and sets.
    method("isSorted", 1, 1, Type::Bool),
    method("sum", 1, 1, Type::Dyn),
    method("min", 1, 1, Type::Dyn),
    method("max", 1, 1, Type::Dyn),
    method("first", 1, 1, Type::Optional),
    method("last", 1, 1, Type::Optional),
    method("distinct", 1, 1, Type::List),
    method("flatten", 1, 2, Type::List),
    method("slice", 3, 3, Type::List),
    method("sort", 1, 1, Type::List),
    function("lists.range", 1, 1, Type::List),
    function("sets.contains", 2, 2, Type::Bool),
    function("sets.equivalent", 2, 2, Type::Bool),
    function("sets.intersects", 2, 2, Type::Bool),
    // What loops over two variables are rewritten to.
    function(WITH_ENTRY, 3, 3, Type::Map),
    function(WITH_ENTRIES, 2, 2, Type::Map),
    // Numbers.
    function("math.abs", 1, 1, Type::Dyn),
    function("math.bitAnd", 2, 2, Type::Dyn),
    function("math.bitNot", 1, 1, Type::Dyn),
    function("math.bitOr", 2, 2, Type::Dyn),
    function("math.bitShiftLeft", 2, 2, Type::Dyn),
    function("math.bitShiftRight", 2, 2, Type::Dyn),
    function("math.bitXor", 2, 2, Type::Dyn),
    function("math.ceil", 1, 1, Type::Double),
    function("math.floor", 1, 1, Type::Double),
    function("math.greatest", 1, ANY, Type::Dyn),
    function("math.least", 1, ANY, Type::Dyn),
    function("math.isFinite", 1, 1, Type::Bool),
    function("math.isInf", 1, 1, Type::Bool),
    function("math.isNaN", 1, 1, Type::Bool),
    function("math.round", 1, 1, Type::Double),
    function("math.sign", 1, 1, Type::Dyn),
    function("math.sqrt", 1, 1, Type::Double),
    function("math.trunc", 1, 1, Type::Double),
    // Quantities and versions.
    function("quantity", 1, 1, QUANTITY),
    function("isQuantity", 1, 1, Type::Bool),
    method("sign", 1, 1, Type::Int),
    method("isInteger", 1, 1, Type::Bool),
    method("asInteger", 1, 1, Type::Int),
    method("asApproximateFloat", 1, 1, Type::Double),
    method("add", 2, 2, QUANTITY),
    method("sub", 2, 2, QUANTITY),
    method("isGreaterThan", 2, 2, Type::Bool),
    method("isLessThan", 2, 2, Type::Bool),
    method("compareTo", 2, 2, Type::Int),
    function("semver", 1, 2, SEMVER),
    function("isSemver", 1, 2, Type::Bool),
    method("major", 1, 1, Type::Int),
    method("minor", 1, 1, Type::Int),
    method("patch", 1, 1, Type::Int),
    // Addresses.
    function("url", 1, 1, URL),
    function("isURL", 1, 1, Type::Bool),
    method("getScheme", 1, 1, Type::String),
    method("getHost", 1, 1, Type::String),
    method("getHostname", 1, 1, Type::String),
    method("getPort", 1, 1, Type::String),
    method("getEscapedPath", 1, 1, Type::String),
    method("getQuery", 1, 1, Type::Map),
    function("ip", 1, 1, IP),
    function("isIP", 1, 1, Type::Bool),
    function("ip.isCanonical", 1, 1, Type::Bool),
    method("family", 1, 1, Type::Int),
    method("isGlobalUnicast", 1, 1, Type::Bool),
    method("isLinkLocalMulticast", 1, 1, Type::Bool),
    method("isLinkLocalUnicast", 1, 1, Type::Bool),
    method("isLoopback", 1, 1, Type::Bool),
    method("isUnspecified", 1, 1, Type::Bool),
    function("cidr", 1, 1, CIDR),
    function("isCIDR", 1, 1, Type::Bool),
    method("containsIP", 2, 2, Type::Bool),
    method("containsCIDR", 2, 2, Type::Bool),
    method("masked", 1, 1, CIDR),
    method("prefixLength", 1, 1, Type::Int),
    // Named formats.
    function("format.named", 1, 1, Type::Optional),
    function("format.byte", 0, 0, FORMAT),
    function("format.date", 0, 0, FORMAT),
    function("format.datetime", 0, 0, FORMAT),
    function("format.dns1035Label", 0, 0, FORMAT),
    function("format.dns1035LabelPrefix", 0, 0, FORMAT),
    function("format.dns1123Label", 0, 0, FORMAT),
    function("format.dns1123LabelPrefix", 0, 0, FORMAT),
    function("format.dns1123Subdomain", 0, 0, FORMAT),
    function("format.dns1123SubdomainPrefix", 0, 0, FORMAT),
    function("format.labelValue", 0, 0, FORMAT),
    function("format.qualifiedName", 0, 0, FORMAT),
    function("format.uri", 0, 0, FORMAT),
    function("format.uuid", 0, 0, FORMAT),
    method("validate", 2, 2, Type::Optional),
    // Who may do what.
    method("path", 2, 2, AUTHORIZER),
    method("group", 2, 2, AUTHORIZER),
    method("serviceAccount", 3, 3, AUTHORIZER),
    method("resource", 2, 2, AUTHORIZER),
    method("subresource", 2, 2, AUTHORIZER),
    method("namespace", 2, 2, AUTHORIZER),
    method("name", 2, 2, AUTHORIZER),
    method("fieldSelector", 2, 2, AUTHORIZER),
    method("labelSelector", 2, 2, AUTHORIZER),
    method("check", 2, 2, DECISION),
    method("allowed", 1, 1, Type::Bool),
    method("reason", 1, 1, Type::String),
    method("errored", 1, 1, Type::Bool),
    method("error", 1, 1, Type::String),
];
