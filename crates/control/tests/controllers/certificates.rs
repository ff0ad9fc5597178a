//! Requests for certificates from the sender to the certificate, as `kubectl certificate approve` and agents do it.

use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::harness::{Cluster, PATIENCE, until};

fn request(name: &str, signer: &str, usages: &[&str], [user, group]: [&str; 2]) -> CertificateSigningRequest {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, user);
    params.distinguished_name.push(rcgen::DnType::OrganizationName, group);
    let pem = params.serialize_request(&rcgen::KeyPair::generate().unwrap()).unwrap().pem().unwrap();
    serde_json::from_value(json!({
        "metadata": { "name": name },
        "spec": {
            "request": ByteString(pem.into_bytes()), "signerName": signer, "usages": usages,
            "expirationSeconds": 3600,
        },
    }))
    .unwrap()
}

fn is_issued(request: Option<&CertificateSigningRequest>) -> bool {
    request.and_then(|request| request.status.as_ref()?.certificate.as_ref()).is_some()
}

fn condition(kind: &str) -> Patch<Value> {
    let condition = json!({ "type": kind, "status": "True", "reason": "Tested" });
    Patch::Merge(json!({ "status": { "conditions": [condition] } }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approved_user_gets_a_certificate() {
    let cluster = Cluster::start().await;
    let requests: Api<CertificateSigningRequest> = cluster.all();
    let signer = "kubernetes.io/kube-apiserver-client";
    let jane = request("jane", signer, &["client auth"], ["jane", "dev"]);
    let sent = requests.create(&PostParams::default(), &jane).await.unwrap();
    assert_eq!(sent.spec.username.as_deref(), Some("admin"));
    let approve = condition("Approved");
    requests.patch_subresource("approval", "jane", &PatchParams::default(), &approve).await.unwrap();
    let issued = until(requests.clone(), "jane", is_issued).await.unwrap();
    let certificate = issued.status.unwrap().certificate.unwrap().0;
    let (_, pem) = x509_parser::pem::parse_x509_pem(&certificate).unwrap();
    let certificate = pem.parse_x509().unwrap();
    assert_eq!(certificate.subject().to_string(), "CN=jane, O=dev");
    let validity = certificate.validity();
    assert_eq!(validity.not_after.timestamp() - validity.not_before.timestamp(), 3600 + 300);
    let bad = request("bad", signer, &["server auth"], ["jane", "dev"]);
    requests.create(&PostParams::default(), &bad).await.unwrap();
    requests.patch_subresource("approval", "bad", &PatchParams::default(), &approve).await.unwrap();
    let is_failed = |request: Option<&CertificateSigningRequest>| {
        let status = request.and_then(|request| request.status.as_ref());
        let mut conditions = status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.any(|condition| condition.type_ == "Failed")
    };
    until(requests.clone(), "bad", is_failed).await;
    let master = request("master", signer, &["client auth"], ["jane", "system:masters"]);
    let refused = requests.create(&PostParams::default(), &master).await;
    assert!(matches!(refused, Err(kube::Error::Api(status)) if status.code == 403));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_node_is_approved_once_a_role_says_so() {
    let cluster = Cluster::start().await;
    let requests: Api<CertificateSigningRequest> = Api::all(cluster.joining.clone());
    let usages = ["digital signature", "client auth"];
    let signer = "kubernetes.io/kube-apiserver-client-kubelet";
    let bind = |name: &str, role: &str| -> ClusterRoleBinding {
        let api = "rbac.authorization.k8s.io";
        serde_json::from_value(json!({
            "metadata": { "name": name },
            "roleRef": { "apiGroup": api, "kind": "ClusterRole", "name": role },
            "subjects": [{ "apiGroup": api, "kind": "Group", "name": "system:bootstrappers" }],
        }))
        .unwrap()
    };
    let bindings: Api<ClusterRoleBinding> = cluster.all();
    let joins = bind("joins", "system:node-bootstrapper");
    bindings.create(&PostParams::default(), &joins).await.unwrap();
    let role = "system:certificates.k8s.io:certificatesigningrequests:nodeclient";
    bindings.create(&PostParams::default(), &bind("approves", role)).await.unwrap();
    let node = request("node", signer, &usages, ["system:node:a", "system:nodes"]);
    // The right is there once the server has heard of the binding.
    let asked = async {
        while let Err(error) = requests.create(&PostParams::default(), &node).await {
            assert!(matches!(&error, kube::Error::Api(status) if status.code == 403), "{error}");
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap();
    let issued = until(requests.clone(), "node", is_issued).await.unwrap();
    let conditions = issued.status.unwrap().conditions.unwrap();
    assert_eq!(conditions[0].reason.as_deref(), Some("AutoApproved"));
    // Whoever may ask may not approve.
    let (how, denied) = (PatchParams::default(), condition("Denied"));
    let verdict = requests.patch_subresource("approval", "node", &how, &denied).await;
    assert!(matches!(verdict, Err(kube::Error::Api(status)) if status.code == 403));
}
