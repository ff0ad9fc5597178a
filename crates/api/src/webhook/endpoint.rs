//! Where a webhook answers, as the `clientConfig` of a configuration says it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// The port of a Service that says none.
const SERVICE_PORT: u16 = 443;

/// Why a `clientConfig` cannot be used. Validation refuses such objects; this is for those stored before it did.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EndpointError {
    #[error("the configuration names neither a url nor a service")]
    Nowhere,
    #[error("`{url}` is no https URL")]
    Url { url: String, source: Option<http::uri::InvalidUri> },
    #[error("the port {port} is none")]
    Port { port: i64 },
    #[error("the caBundle is not encoded as base64")]
    Bundle { source: base64::DecodeError },
}

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Peer {
    Host { host: String, port: u16 },
    Service { namespace: String, name: String, port: u16 },
}

/// Who answers, and who vouches for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Server {
    pub(super) peer: Peer,
    /// In PEM; where it is empty, the machine's own authorities do.
    pub(super) authority: Vec<u8>,
}

/// Where a webhook answers. Several may share one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(super) server: Server,
    /// With the query, if there is one.
    path: String,
}

impl Server {
    /// The name that its certificate must have.
    pub(super) fn name(&self) -> String {
        match &self.peer {
            Peer::Host { host, .. } => host.clone(),
            Peer::Service { namespace, name, .. } => format!("{name}.{namespace}.svc"),
        }
    }
}

impl Endpoint {
    /// Reads a `clientConfig` of a webhook configuration or of a conversion.
    pub(crate) fn parse(config: &Value) -> Result<Self, EndpointError> {
        let bundle = config["caBundle"].as_str().unwrap_or_default();
        let authority = STANDARD.decode(bundle).map_err(|source| EndpointError::Bundle { source })?;
        let (peer, path) = match (&config["url"], &config["service"]) {
            (Value::String(url), _) => host(url)?,
            (_, service @ Value::Object(_)) => of_service(service)?,
            _ => return Err(EndpointError::Nowhere),
        };
        Ok(Self { server: Server { peer, authority }, path })
    }

    /// As messages name it.
    pub(crate) fn url(&self) -> String {
        let (Peer::Host { port, .. } | Peer::Service { port, .. }) = &self.server.peer;
        let host = self.server.name();
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        format!("https://{host}:{port}{}", self.path)
    }
}

fn host(url: &str) -> Result<(Peer, String), EndpointError> {
    let wrong = |source| EndpointError::Url { url: url.to_owned(), source };
    let uri: http::Uri = url.parse().map_err(|error| wrong(Some(error)))?;
    let host = uri.host().filter(|host| uri.scheme_str() == Some("https") && !host.is_empty());
    let host = host.ok_or_else(|| wrong(None))?.trim_matches(['[', ']']).to_owned();
    let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    Ok((Peer::Host { host, port: uri.port_u16().unwrap_or(SERVICE_PORT) }, path))
}

fn of_service(service: &Value) -> Result<(Peer, String), EndpointError> {
    let text = |field: &str| service[field].as_str().unwrap_or_default().to_owned();
    let port = service["port"].as_i64().unwrap_or(i64::from(SERVICE_PORT));
    let port = u16::try_from(port).map_err(|_| EndpointError::Port { port })?;
    let path = text("path");
    let slash = if path.starts_with('/') { "" } else { "/" };
    let peer = Peer::Service { namespace: text("namespace"), name: text("name"), port };
    Ok((peer, format!("{slash}{path}")))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Endpoint;

    fn url(config: &Value) -> String {
        Endpoint::parse(config).map_or_else(|error| error.to_string(), |endpoint| endpoint.url())
    }

    #[test]
    fn an_endpoint_is_a_url_or_a_service() {
        assert_eq!(
            url(&json!({"url": "https://hooks.example.com/a?b=c"})),
            "https://hooks.example.com:443/a?b=c"
        );
        assert_eq!(url(&json!({"url": "https://[::1]:9443"})), "https://[::1]:9443/");
        let service = json!({"service": {"namespace": "n", "name": "s", "path": "/p", "port": 8443}});
        assert_eq!(url(&service), "https://s.n.svc:8443/p");
        assert_eq!(url(&json!({"service": {"namespace": "n", "name": "s"}})), "https://s.n.svc:443/");
    }

    #[test]
    fn what_cannot_be_called_is_told() {
        assert_eq!(
            url(&json!({"url": "http://hooks.example.com"})),
            "`http://hooks.example.com` is no https URL"
        );
        assert_eq!(url(&json!({"url": "https://"})), "`https://` is no https URL");
        assert_eq!(url(&json!({})), "the configuration names neither a url nor a service");
        let service = json!({"service": {"namespace": "n", "name": "s", "port": 70000}});
        assert_eq!(url(&service), "the port 70000 is none");
        let bundle = json!({"url": "https://a/", "caBundle": "%"});
        assert_eq!(url(&bundle), "the caBundle is not encoded as base64");
    }
}
