//! `crest token`: bootstrap tokens, by which further machines join.
//!
//! A token is a Secret of `kube-system` in the form that Kubernetes' own tools use; what it may is up to roles, which
//! are bound the first time.

use anyhow::Context;
use clap::Subcommand;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, Role, RoleBinding};
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::{Client, Resource};
use rand::Rng;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::settings::Settings;
use crate::status;

#[derive(Debug, Subcommand)]
pub(crate) enum TokenVerb {
    /// Make a token, and print the command by which another machine joins with it
    Create {
        /// For how long it can be used, for example `2h` or `30m`
        #[arg(long, default_value = "24h", value_parser = parse_ttl)]
        ttl: SignedDuration,
    },
    /// List the tokens that can be used
    #[command(alias = "ls")]
    List,
    /// Make a token useless; machines that joined with it stay
    #[command(alias = "rm")]
    Delete {
        /// The token, or its part before the dot
        token: String,
    },
}

const NAMESPACE: &str = "kube-system";
const TYPE: &str = "bootstrap.kubernetes.io/token";
/// Who holds a token of ours, beside what Kubernetes says of every token's holder.
const GROUP: &str = "system:bootstrappers:crest:node";
const RBAC: &str = "rbac.authorization.k8s.io";
/// Where a machine that knows nobody finds the cluster's authority.
pub(crate) const CLUSTER_INFO: &str = "cluster-info";

pub(crate) fn execute(settings: &Settings, verb: TokenVerb) -> anyhow::Result<()> {
    kit::tls::install_default_provider();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = status::client(settings).await?;
        match verb {
            TokenVerb::Create { ttl } => create(settings, &client, ttl).await,
            TokenVerb::List => list(client).await,
            TokenVerb::Delete { token } => delete(client, &token).await,
        }
    })
}

async fn create(settings: &Settings, client: &Client, ttl: SignedDuration) -> anyhow::Result<()> {
    let authority = std::fs::read_to_string(settings.pki_dir().join("ca.crt"))
        .context("cannot read the cluster's authority; run this where the API server runs")?;
    let hash = kit::tls::key_hash(&authority).context("the cluster's authority is no certificate")?;
    prepare(client, settings, &authority).await?;
    let (id, secret) = (random(6), random(16));
    let object = token(&id, &secret, kit::clock::wall() + ttl);
    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    let object = serde_json::from_value(object).context("the token has no form")?;
    secrets.create(&PostParams::default(), &object).await.context("cannot store the token")?;
    println!(
        "crest node join https://{} --token {id}.{secret} --ca-cert-hash {hash}",
        settings.api_address()
    );
    if settings.address.is_loopback() {
        eprintln!(
            "note: the API listens on {} only; start it with --address to let others in",
            settings.address
        );
    }
    Ok(())
}

fn token(id: &str, secret: &str, end: Timestamp) -> Value {
    json!({
        "metadata": { "name": format!("bootstrap-token-{id}"), "namespace": NAMESPACE },
        "type": TYPE,
        "stringData": {
            "token-id": id,
            "token-secret": secret,
            "expiration": end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "usage-bootstrap-authentication": "true",
            "usage-bootstrap-signing": "true",
            "auth-extra-groups": GROUP,
        },
    })
}

/// What machines need that join: leave to ask for a certificate, and the authority's certificate for all to read.
async fn prepare(client: &Client, settings: &Settings, authority: &str) -> anyhow::Result<()> {
    let nodes = "system:nodes";
    let self_renewal = "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient";
    let approval = "system:certificates.k8s.io:certificatesigningrequests:nodeclient";
    for (name, role, group) in [
        ("crest:node-bootstrapper", "system:node-bootstrapper", GROUP),
        ("crest:node-approval", approval, GROUP),
        ("crest:node-renewal", self_renewal, nodes),
    ] {
        let binding = json!({
            "metadata": { "name": name },
            "roleRef": { "apiGroup": RBAC, "kind": "ClusterRole", "name": role },
            "subjects": [{ "apiGroup": RBAC, "kind": "Group", "name": group }],
        });
        ensure::<ClusterRoleBinding>(Api::all(client.clone()), binding).await?;
    }
    let role = json!({
        "metadata": { "name": "crest:cluster-info" },
        "rules": [{ "apiGroups": [""], "resources": ["configmaps"], "resourceNames": [CLUSTER_INFO], "verbs": ["get"] }],
    });
    ensure::<Role>(Api::namespaced(client.clone(), "kube-public"), role).await?;
    let binding = json!({
        "metadata": { "name": "crest:cluster-info" },
        "roleRef": { "apiGroup": RBAC, "kind": "Role", "name": "crest:cluster-info" },
        "subjects": [{ "apiGroup": RBAC, "kind": "User", "name": "system:anonymous" }],
    });
    ensure::<RoleBinding>(Api::namespaced(client.clone(), "kube-public"), binding).await?;
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config",
        "clusters": [{ "name": "", "cluster": {
            "server": format!("https://{}", settings.api_address()),
            "certificate-authority-data": k8s_openapi::ByteString(authority.as_bytes().to_vec()),
        }}],
    });
    let info = json!({
        "metadata": { "name": CLUSTER_INFO },
        "data": { "kubeconfig": serde_yaml_ng::to_string(&kubeconfig)? },
    });
    ensure::<ConfigMap>(Api::namespaced(client.clone(), "kube-public"), info).await
}

/// Creates the object unless there is one of that name.
async fn ensure<K>(api: Api<K>, object: Value) -> anyhow::Result<()>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    let object: K = serde_json::from_value(object).context("an object of ours has no form")?;
    match api.create(&PostParams::default(), &object).await {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        created => {
            let name = object.meta().name.as_deref().unwrap_or_default();
            created.map(drop).with_context(|| format!("cannot create {} `{name}`", K::kind(&())))
        }
    }
}

async fn list(client: Client) -> anyhow::Result<()> {
    let secrets: Api<Secret> = Api::namespaced(client, NAMESPACE);
    let tokens = ListParams::default().fields(&format!("type={TYPE}"));
    let tokens = secrets.list(&tokens).await.context("cannot list tokens")?;
    println!("{:<26}EXPIRES", "TOKEN");
    for token in &tokens {
        let text = |field: &str| {
            let bytes = token.data.as_ref().and_then(|data| data.get(field));
            bytes.map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned()).unwrap_or_default()
        };
        let end = text("expiration");
        if end.parse::<Timestamp>().map_or(end.is_empty(), |end| end > kit::clock::wall()) {
            let end = if end.is_empty() { "never" } else { &end };
            println!("{:<26}{end}", format!("{}.{}", text("token-id"), text("token-secret")));
        }
    }
    Ok(())
}

async fn delete(client: Client, token: &str) -> anyhow::Result<()> {
    let id = token.split('.').next().unwrap_or_default();
    let secrets: Api<Secret> = Api::namespaced(client, NAMESPACE);
    let name = format!("bootstrap-token-{id}");
    secrets
        .delete(&name, &DeleteParams::default())
        .await
        .with_context(|| format!("cannot delete token `{id}`; `crest token list` lists them"))?;
    println!("deleted {id}");
    Ok(())
}

fn random(length: usize) -> String {
    const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut random = rand::rng();
    (0..length).map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())])).collect()
}

fn parse_ttl(text: &str) -> Result<SignedDuration, String> {
    let ttl: SignedDuration =
        text.parse().map_err(|error| format!("`{text}` is no span of time: {error}"))?;
    if ttl.is_positive() { Ok(ttl) } else { Err("a token must be good for some time".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::{parse_ttl, random};

    #[test]
    fn tokens_have_the_form_of_kubernetes() {
        let token = format!("{}.{}", random(6), random(16));
        let is_plain =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let (id, secret) = token.split_once('.').unwrap();
        assert!(id.len() == 6 && secret.len() == 16 && is_plain(id) && is_plain(secret));
    }

    #[test]
    fn spans_of_time_are_read() {
        assert_eq!(parse_ttl("2h").unwrap().as_secs(), 7200);
        assert!(parse_ttl("-1h").is_err() && parse_ttl("soon").is_err());
    }
}
