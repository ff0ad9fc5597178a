//! Whom a server believes beside its own authority: an OpenID Connect issuer, for which another server stands, since that
//! is one; and what it writes down of it all.

use std::path::Path;

use k8s_openapi::api::authentication::v1::{SelfSubjectReview, TokenRequest};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::{Api, PostParams};
use serde_json::json;
use tempfile::TempDir;

use super::{Server, crest, text, until};

const ARGUMENTS: [&str; 4] = ["--controllers", "none", "--log", "error"];

/// A server whose tokens others can verify.
async fn issuer(folder: &Path) -> (Server, kube::Client, String) {
    let mut issuer = Server::new(folder.to_owned(), &ARGUMENTS);
    let url = format!("https://127.0.0.1:{}", issuer.port);
    issuer.arguments.extend(["--service-account-issuer".to_owned(), url.clone()]);
    let client = issuer.start().await;
    // Kubernetes shows the keys to service accounts only.
    let binding: ClusterRoleBinding = serde_json::from_value(json!({"metadata": {"name": "keys-for-all"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
            "name": "system:service-account-issuer-discovery"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:unauthenticated"}]}))
    .unwrap();
    Api::all(client.clone()).create(&PostParams::default(), &binding).await.unwrap();
    (issuer, client, url)
}

/// A token of the account `robot` that is meant for `audience`.
async fn token(client: &kube::Client, audience: &str) -> String {
    let accounts = Api::<ServiceAccount>::default_namespaced(client.clone());
    let robot: ServiceAccount = serde_json::from_value(json!({"metadata": {"name": "robot"}})).unwrap();
    accounts.entry("robot").await.unwrap().or_insert(|| robot).commit(&PostParams::default()).await.unwrap();
    let asked: TokenRequest = serde_json::from_value(json!({"spec": {"audiences": [audience]}})).unwrap();
    let made = accounts.create_token_request("robot", &PostParams::default(), &asked).await.unwrap();
    made.status.unwrap().token.unwrap()
}

/// The name by which `server` knows who has `token`, or the code with which it refuses.
async fn known_as(server: &Server, token: &str) -> Result<String, String> {
    let mut config = kube::Config::new(format!("https://127.0.0.1:{}", server.port).parse().unwrap());
    let authority = kit::tls::certificates(&server.folder.join("pki/ca.crt")).unwrap();
    config.root_cert = Some(authority.iter().map(|certificate| certificate.to_vec()).collect());
    config.auth_info.token = Some(token.to_owned().into());
    let client = kube::Client::try_from(config).unwrap();
    let reviews = Api::<SelfSubjectReview>::all(client);
    let answer = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await;
    let answer = answer.map_err(|error| match error {
        kube::Error::Api(status) => status.code.to_string(),
        other => other.to_string(),
    });
    Ok(answer?.status.unwrap().user_info.unwrap().username.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_an_issuer_are_believed_and_written_down() {
    let directory = TempDir::new().unwrap();
    let (issuer, at_issuer, url) = issuer(&directory.path().join("issuer")).await;
    let authority = issuer.folder.join("pki/ca.crt");
    let policy = directory.path().join("policy.yaml");
    let rules = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- {level: Request, verbs: [create]}\n";
    std::fs::write(&policy, rules).unwrap();
    let log = directory.path().join("who.log");
    let options = [
        "--oidc-issuer-url",
        &url,
        "--oidc-client-id",
        "other",
        "--oidc-ca-file",
        text(&authority),
        "--oidc-username-prefix",
        "oidc:",
        "--audit-policy-file",
        text(&policy),
        "--audit-log-path",
        text(&log),
    ];
    let mut server = Server::new(directory.path().join("server"), &[ARGUMENTS.as_slice(), &options].concat());
    server.start().await;

    let good = token(&at_issuer, "other").await;
    let name = "oidc:system:serviceaccount:default:robot";
    assert_eq!(known_as(&server, &good).await.as_deref(), Ok(name));
    let for_others = token(&at_issuer, "somebody-else").await;
    assert_eq!(known_as(&server, &for_others).await, Err("401".to_owned()), "not meant for this server");
    let forged = format!("{}AAAA", &good[..good.len() - 4]);
    assert_eq!(known_as(&server, &forged).await, Err("401".to_owned()), "not signed by the issuer");
    assert_eq!(known_as(&issuer, &good).await, Err("401".to_owned()), "nor may it be used where it was made");

    let line = until("the request is in the log", async || {
        let lines = std::fs::read_to_string(&log).ok()?;
        lines.lines().find(|line| line.contains(name) && line.contains("ResponseComplete")).map(str::to_owned)
    })
    .await;
    assert!(line.contains(r#""requestObject":"#) && !line.contains(&good), "{line}");
}

#[test]
fn a_wrong_policy_keeps_a_server_from_starting() {
    let directory = TempDir::new().unwrap();
    let policy = directory.path().join("policy.yaml");
    std::fs::write(&policy, "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: All}]\n").unwrap();
    let folder = directory.path().join("state");
    let said =
        crest(&["server", "--state-dir", text(&folder), "--port", "0", "--audit-policy-file", text(&policy)]);
    let told = String::from_utf8_lossy(&said.stderr);
    assert!(
        !said.status.success() && told.contains("rules[0]") && told.contains("RequestResponse"),
        "{told}"
    );
}
