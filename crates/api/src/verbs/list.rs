//! GET of all objects of a kind: selected, in pages from one snapshot, in the shape that the client accepts.

use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Response, StatusCode};
use kinds::status::Failure;
use kinds::table::IncludeObject;
use serde_json::{Value, json};
use store::{Entry, Page, Range, Revision};

use crate::accept::{Encoding, Shape};
use crate::call::Call;
use crate::query::{Freshness, Selection, must_agree_for_list};
use crate::record::{self, Place};
use crate::registry::too_large_revision;
use crate::respond;

/// How many entries a selective list reads at a time.
const CHUNK: usize = 500;

/// A page of a list.
#[derive(Debug)]
pub(crate) struct Selected {
    pub(crate) entries: Vec<Entry>,
    pub(crate) revision: Revision,
    /// How the next page is asked for; empty after the last.
    token: String,
    remaining: Option<usize>,
    /// How many entries there are, or were looked through.
    seen: usize,
}

/// What a `continue` token says: which snapshot, and after which key.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Token {
    revision: Revision,
    after: String,
}

pub(crate) async fn handle(call: &Call) -> Result<Response<Body>, Failure> {
    if call.query.number("timeoutSeconds")?.is_some_and(|seconds| seconds < 0) {
        return Err(Failure::bad_request("timeoutSeconds must not be negative"));
    }
    let selection = Selection::parse(&call.path.kind, &call.query)?;
    let selected = select(call, &selection).await?;
    call.context.gate.sizes.note(call.path.place(), selected.seen);
    render(call, &selected)
}

/// The entries that the request's options and `selection` pick.
pub(crate) async fn select(call: &Call, selection: &Selection) -> Result<Selected, Failure> {
    must_agree_for_list(&call.query)?;
    let limit =
        call.query.number("limit")?.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0);
    let mut range = Range { prefix: call.path.prefix(), limit, ..Range::default() };
    match call.query.get("continue").filter(|token| !token.is_empty()) {
        Some(_) if !matches!(call.query.get("resourceVersion").unwrap_or_default(), "" | "0") => {
            let message = "specifying resource version is not allowed when using continue";
            return Err(Failure::bad_request(message));
        }
        Some(token) => {
            let token = parse_token(token, &range.prefix)?;
            range.after = Some(token.after);
            range.at = Some(token.revision);
        }
        None => range.at = snapshot(call).await?,
    }
    if selection.is_all() { whole_page(call, range).await } else { filtered(call, range, selection).await }
}

/// The revision at which the list is to be read; `None` for now.
async fn snapshot(call: &Call) -> Result<Option<Revision>, Failure> {
    match Freshness::parse(&call.query)? {
        Freshness::Latest => Ok(None),
        Freshness::Exact(revision) => Ok(Some(Revision(revision))),
        Freshness::NotOlderThan(revision) => {
            let current = call.context.registry.revision().await?;
            if revision > current.0 { Err(too_large_revision(revision, current)) } else { Ok(None) }
        }
    }
}

/// The entries in the version that is asked for: selectors look at what the client sees.
async fn read(call: &Call, range: Range) -> Result<Page, Failure> {
    let registry = &call.context.registry;
    let page = registry.range(range).await?;
    Ok(Page { entries: registry.served(&call.path.kind, page.entries).await?, ..page })
}

async fn whole_page(call: &Call, range: Range) -> Result<Selected, Failure> {
    let at = range.at;
    let page = read(call, range).await?;
    let revision = at.unwrap_or(page.revision);
    let token = match page.entries.last() {
        Some(last) if page.remaining > 0 => token(revision, &last.key)?,
        _ => String::new(),
    };
    let remaining = (page.remaining > 0).then_some(page.remaining);
    let seen = page.entries.len() + page.remaining;
    Ok(Selected { entries: page.entries, revision, token, remaining, seen })
}

async fn filtered(call: &Call, mut range: Range, selection: &Selection) -> Result<Selected, Failure> {
    let kind = &call.path.kind;
    let limit = range.limit;
    let mut selected = Selected {
        entries: Vec::new(),
        revision: Revision(0),
        token: String::new(),
        remaining: None,
        seen: 0,
    };
    range.limit = Some(CHUNK);
    loop {
        let page = read(call, range.clone()).await?;
        let revision = *range.at.get_or_insert(page.revision);
        selected.revision = revision;
        range.after = page.entries.last().map(|entry| entry.key.to_string());
        let last = page.entries.len();
        selected.seen += last;
        for (index, entry) in page.entries.into_iter().enumerate() {
            if !record::is_selected(kind, &entry, selection)? {
                continue;
            }
            let key = entry.key.clone();
            selected.entries.push(entry);
            let is_full = limit.is_some_and(|limit| selected.entries.len() >= limit);
            if is_full && (index + 1 < last || page.remaining > 0) {
                selected.token = token(revision, &key)?;
                return Ok(selected);
            }
        }
        if page.remaining == 0 {
            return Ok(selected);
        }
    }
}

fn token(revision: Revision, after: &str) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    record::write_json(&mut bytes, &Token { revision, after: after.to_owned() })?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn parse_token(text: &str, prefix: &str) -> Result<Token, Failure> {
    let refused = || Failure::bad_request("continue key is not valid");
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| refused())?;
    let token: Token = serde_json::from_slice(&bytes).map_err(|_| refused())?;
    if token.after.starts_with(prefix) { Ok(token) } else { Err(refused()) }
}

fn render(call: &Call, selected: &Selected) -> Result<Response<Body>, Failure> {
    let accept = call.accept;
    let kind = &call.path.kind;
    let metadata = metadata(selected, kind.custom().is_some() && accept.shape == Shape::Object);
    let list = match accept.shape {
        Shape::Object if accept.encoding == Encoding::Json => return spliced(call, selected, &metadata),
        Shape::Object => {
            let listed =
                objects(call, selected)?.into_iter().map(|value| record::listed(kind, value, Place::InList));
            let items: Vec<Value> = listed.collect();
            json!({"kind": kind.list_kind(), "apiVersion": kind.api_version(), "metadata": metadata, "items": items})
        }
        Shape::Table => {
            let include = call.query.get("includeObject").unwrap_or_default();
            let include = IncludeObject::parse(include).ok_or_else(|| {
                Failure::bad_request(format!("unrecognized includeObject value: {include:?}"))
            })?;
            let mut table =
                kinds::table::render(kind, &objects(call, selected)?, call.context.now(), include);
            table["metadata"] = metadata;
            table
        }
        Shape::MetadataList => {
            let heads =
                selected.entries.iter().map(|entry| record::head_at(kind, &entry.value, entry.modified));
            let heads = heads.map(|head| Ok(kinds::table::partial_metadata(head?)));
            let items: Vec<Value> = heads.collect::<Result<_, Failure>>()?;
            json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                "metadata": metadata, "items": items})
        }
        Shape::Metadata => {
            let what = kind.list_kind();
            let message =
                format!("you requested PartialObjectMetadata, but the requested object is a list ({what})");
            return Err(Failure::new(406, "NotAcceptable", message));
        }
    };
    respond::shaped(StatusCode::OK, accept, list)
}

fn objects(call: &Call, selected: &Selected) -> Result<Vec<Value>, Failure> {
    selected.entries.iter().map(|entry| record::decode(&call.path.kind, entry)).collect()
}

/// `says_end`: whether the last page says that it is the last.
fn metadata(selected: &Selected, says_end: bool) -> Value {
    let mut metadata = json!({"resourceVersion": selected.revision.0.to_string()});
    if !selected.token.is_empty() || says_end {
        metadata["continue"] = json!(selected.token);
    }
    if let Some(remaining) = selected.remaining {
        metadata["remainingItemCount"] = json!(remaining);
    }
    metadata
}

/// The JSON list put together from the stored bytes.
fn spliced(call: &Call, selected: &Selected, metadata: &Value) -> Result<Response<Body>, Failure> {
    let kind = &call.path.kind;
    let size: usize = selected.entries.iter().map(|entry| entry.value.len() + 48).sum();
    let mut bytes = Vec::with_capacity(size + 256);
    let head = format!(
        "{{\"kind\":\"{}\",\"apiVersion\":\"{}\",\"metadata\":{metadata},\"items\":[",
        kind.list_kind(),
        kind.api_version()
    );
    bytes.extend_from_slice(head.as_bytes());
    for (index, entry) in selected.entries.iter().enumerate() {
        if index > 0 {
            bytes.push(b',');
        }
        record::splice(kind, &entry.value, entry.modified, Place::InList, &mut bytes)?;
    }
    bytes.extend_from_slice(b"]}\n");
    Ok(respond::bytes_of(StatusCode::OK, "application/json", bytes))
}
