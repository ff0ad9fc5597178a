//! `pods/proxy`, `services/proxy`, `nodes/proxy`: a request passed on to what answers there, whatever it is.
//!
//! ```text
//!   .../pods/[scheme:]name[:port]/proxy/path ──► path at the Pod's address
//!   .../services/...                         ──► path at a ready endpoint of the Service
//!   .../nodes/...                            ──► path at the node's agent
//! ```

use axum::body::Body;
use http::{Response, Uri};
use kinds::status::Failure;
use kit::Chain;
use kit::tunnel::Upstream;
use serde_json::Value;

use super::connect;
use crate::call::Call;
use crate::{endpoints, respond};

/// What a name in a path says beside the name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Target {
    scheme: String,
    name: String,
    /// A number, or the name of a port.
    port: String,
}

impl Target {
    /// Reads `name`, `name:port` or `scheme:name:port`.
    fn parse(text: &str) -> Result<Self, Failure> {
        let parts: Vec<&str> = text.split(':').collect();
        let (scheme, name, port) = match parts.as_slice() {
            [name] => ("", *name, ""),
            [name, port] => ("", *name, *port),
            [scheme @ ("http" | "https" | ""), name, port] => (*scheme, *name, *port),
            _ => return Err(Failure::bad_request(format!("invalid proxy target \"{text}\""))),
        };
        Ok(Self { scheme: scheme.to_owned(), name: name.to_owned(), port: port.to_owned() })
    }
}

pub(super) async fn handle(mut call: Call) -> Result<Response<Body>, Failure> {
    let target = Target::parse(call.path.name())?;
    call.path.name = Some(target.name.clone());
    let found = call.context.registry.get(&call.path).await?;
    let uri = rest(call.uri_path(), call.query_text())?;
    let warnings = connect::admitted(&call, &[("path", uri.path().into())]).await?;
    if target.scheme == "https" && call.path.kind.kind != "Node" {
        // Nobody vouches for the certificate that would answer.
        return Err(Failure::bad_request("only plain HTTP can be passed on to Pods and Services"));
    }
    let upstream = match call.path.kind.kind {
        "Node" => connect::upstream(&call.context, &target.name).await?,
        "Pod" => of_pod(&found, &target)?,
        _ => of_service(&call, &found, &target).await?,
    };
    let mut request = call.into_request();
    *request.uri_mut() = uri;
    match kit::tunnel::forward(request, &upstream).await {
        Ok(response) => Ok(respond::with_warnings(connect::passed_on(response), &warnings)),
        Err(error) => Err(Failure::unavailable(format!("error trying to reach service: {}", Chain(&error)))),
    }
}

/// What stands behind `/proxy`, with the client's query.
fn rest(path: &str, query: &str) -> Result<Uri, Failure> {
    let (_, rest) = path.split_once("/proxy").unwrap_or((path, ""));
    let slash = if rest.starts_with('/') { "" } else { "/" };
    let query = if query.is_empty() { String::new() } else { format!("?{query}") };
    let uri = format!("{slash}{rest}{query}");
    uri.parse().map_err(|_| Failure::bad_request("the request cannot be passed on"))
}

fn of_pod(pod: &Value, target: &Target) -> Result<Upstream, Failure> {
    let host = pod["status"]["podIP"].as_str().filter(|address| !address.is_empty());
    let Some(host) = host else {
        return Err(Failure::unavailable(format!("pod {} has no address yet", target.name)));
    };
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let mut ports = containers.flat_map(|container| container["ports"].as_array().into_iter().flatten());
    let port = match target.port.as_str() {
        "" => ports.next().and_then(|port| port["containerPort"].as_u64()).or(Some(80)),
        text => text.parse().ok().or_else(|| {
            ports.find(|port| port["name"] == *text).and_then(|port| port["containerPort"].as_u64())
        }),
    };
    plain(host, port, target)
}

async fn of_service(call: &Call, service: &Value, target: &Target) -> Result<Upstream, Failure> {
    let ports = service["spec"]["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    let wanted = ports.iter().find(|port| match target.port.as_str() {
        "" => ports.len() == 1,
        text => port["name"] == *text || text.parse() == Ok(port["port"].as_u64().unwrap_or_default()),
    });
    let Some(wanted) = wanted else {
        return Err(Failure::unavailable(format!(
            "no port \"{}\" found for service \"{}\"",
            target.port, target.name
        )));
    };
    let name = wanted["name"].as_str().unwrap_or_default();
    let ready = endpoints::ready(&call.context.registry, call.namespace(), &target.name, name).await?;
    match ready.into_iter().next() {
        Some(endpoint) => plain(&endpoint.host, Some(u64::from(endpoint.port)), target),
        None => Err(Failure::unavailable(format!("no endpoints available for service \"{}\"", target.name))),
    }
}

fn plain(host: &str, port: Option<u64>, target: &Target) -> Result<Upstream, Failure> {
    let port = port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0);
    let Some(port) = port else {
        return Err(Failure::bad_request(format!("\"{}\" is no port of \"{}\"", target.port, target.name)));
    };
    Ok(Upstream { host: host.to_owned(), port, tls: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_scheme_and_port() {
        let read = |text| Target::parse(text).map(|target| (target.scheme, target.name, target.port));
        let all = |scheme: &str, name: &str, port: &str| Ok((scheme.into(), name.into(), port.into()));
        assert_eq!(read("web"), all("", "web", ""));
        assert_eq!(read("web:80"), all("", "web", "80"));
        assert_eq!(read("https:web:api"), all("https", "web", "api"));
        assert!(read("ftp:web:80").is_err() && read("a:b:c:d").is_err());
    }

    #[test]
    fn the_rest_of_the_path_is_kept() {
        let path = "/api/v1/namespaces/n/pods/p/proxy";
        assert_eq!(rest(path, "").unwrap(), "/");
        assert_eq!(rest(&format!("{path}/a/b/proxy/"), "x=1").unwrap(), "/a/b/proxy/?x=1");
    }
}
