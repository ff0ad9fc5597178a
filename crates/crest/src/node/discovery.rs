//! How a machine that knows nobody comes to know the cluster: it asks the server without trusting it, and believes the
//! answer only if the authority in it has the key whose hash it was given.

use anyhow::Context;
use http::Request;
use http_body_util::{BodyExt, Empty, Limited};
use k8s_openapi::api::core::v1::ConfigMap;
use kit::tunnel::Upstream;
use kube::config::Kubeconfig;

use crate::token::CLUSTER_INFO;

/// More than this no server has to say of itself.
const LONGEST: usize = 64 << 10;

/// The certificate of the authority behind `server`, in PEM.
pub(super) async fn authority(server: &str, hash: &str) -> anyhow::Result<String> {
    let (host, port) = address(server)?;
    let upstream = Upstream { host, port, tls: Some(kit::tls::client_without_trust()?) };
    let request = Request::get(format!("/api/v1/namespaces/kube-public/configmaps/{CLUSTER_INFO}"));
    let request = request.body(Empty::<bytes::Bytes>::new()).context("the request has no form")?;
    let response = kit::tunnel::forward(request, &upstream).await?;
    anyhow::ensure!(
        response.status().is_success(),
        "`{server}` does not say who it is ({}); run `crest token create` there first",
        response.status()
    );
    let body = Limited::new(response.into_body(), LONGEST).collect().await;
    let body =
        body.map_err(|error| anyhow::anyhow!(error)).context("cannot read what the server says of itself")?;
    believed(&body.to_bytes(), hash)
}

/// Pure: the authority in an answer, if it is the right one.
fn believed(answer: &[u8], hash: &str) -> anyhow::Result<String> {
    let info: ConfigMap = serde_json::from_slice(answer).context("the server's answer is no ConfigMap")?;
    let text = info.data.unwrap_or_default().remove("kubeconfig").context("the answer has no kubeconfig")?;
    let kubeconfig = Kubeconfig::from_yaml(&text).context("the answer's kubeconfig cannot be read")?;
    let cluster = kubeconfig.clusters.into_iter().find_map(|named| named.cluster);
    let data = cluster.and_then(|cluster| cluster.certificate_authority_data);
    let data = data.context("the answer names no authority")?;
    let quoted = serde_json::to_string(&data).context("the authority has no form")?;
    let bytes: k8s_openapi::ByteString =
        serde_json::from_str(&quoted).context("the answer's authority cannot be read")?;
    let authority = String::from_utf8(bytes.0).context("the answer's authority is no text")?;
    let found = kit::tls::key_hash(&authority).context("the answer's authority is no certificate")?;
    anyhow::ensure!(
        found == hash,
        "the server's authority is another than was expected: it has the hash {found}. Do not go on unless you know why"
    );
    Ok(authority)
}

/// Host and port of an address such as `https://10.0.0.1:6443`.
fn address(server: &str) -> anyhow::Result<(String, u16)> {
    let uri: http::Uri = server.parse().with_context(|| format!("`{server}` is no address"))?;
    anyhow::ensure!(uri.scheme_str() == Some("https"), "`{server}` must begin with `https://`");
    let host = uri.host().with_context(|| format!("`{server}` names no host"))?;
    Ok((host.trim_matches(['[', ']']).to_owned(), uri.port_u16().unwrap_or(443)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{address, believed};

    fn info(authority: &str) -> Vec<u8> {
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config",
            "clusters": [{ "name": "", "cluster": {
                "server": "https://a:1",
                "certificate-authority-data": k8s_openapi::ByteString(authority.as_bytes().to_vec()),
            }}],
        });
        serde_json::to_vec(
            &json!({ "data": { "kubeconfig": serde_yaml_ng::to_string(&kubeconfig).unwrap() } }),
        )
        .unwrap()
    }

    #[test]
    fn only_the_right_authority_is_believed() {
        let folder = tempfile::tempdir().unwrap();
        let made = api::authority::Authority::build(folder.path(), kit::clock::wall()).unwrap();
        let pem = std::fs::read_to_string(made.certificate_path()).unwrap();
        let hash = kit::tls::key_hash(&pem).unwrap();
        assert_eq!(believed(&info(&pem), &hash).unwrap(), pem);
        let other = format!("sha256:{}", "0".repeat(64));
        assert!(believed(&info(&pem), &other).unwrap_err().to_string().contains("another"));
        assert!(believed(&info("no certificate"), &hash).is_err());
        assert!(believed(b"{}", &hash).is_err());
    }

    #[test]
    fn addresses_are_read() {
        assert_eq!(address("https://10.0.0.1:6443").unwrap(), ("10.0.0.1".to_owned(), 6443));
        assert_eq!(address("https://[::1]").unwrap(), ("::1".to_owned(), 443));
        assert!(address("http://10.0.0.1").is_err() && address("10.0.0.1:6443").is_err());
    }
}
