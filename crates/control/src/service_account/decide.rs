//! What every namespace must have.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::world::ROOT_CERTIFICATE;

pub(crate) const DEFAULT: &str = "default";
const CERTIFICATE_KEY: &str = "ca.crt";

/// What a namespace lacks.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Missing {
    pub(crate) account: Option<ServiceAccount>,
    pub(crate) certificate: Option<Certificate>,
}

/// The namespace's copy of the CA certificate.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Certificate {
    Create(Box<ConfigMap>),
    /// It says something else.
    Correct(BTreeMap<String, String>),
}

pub(crate) fn decide(
    namespace: &Namespace,
    account: Option<&ServiceAccount>,
    certificate: Option<&ConfigMap>,
    root_ca_pem: &str,
) -> Missing {
    if namespace.metadata.deletion_timestamp.is_some() {
        return Missing::default();
    }
    let meta = |name: &str| ObjectMeta {
        name: Some(name.to_owned()),
        namespace: namespace.metadata.name.clone(),
        ..ObjectMeta::default()
    };
    let new_account = || ServiceAccount { metadata: meta(DEFAULT), ..ServiceAccount::default() };
    let data = BTreeMap::from([(CERTIFICATE_KEY.to_owned(), root_ca_pem.to_owned())]);
    let certificate = match certificate {
        Some(known) if known.data.as_ref() == Some(&data) => None,
        Some(_) => Some(Certificate::Correct(data)),
        None => {
            let metadata = meta(ROOT_CERTIFICATE);
            let map = ConfigMap { metadata, data: Some(data), ..ConfigMap::default() };
            Some(Certificate::Create(Box::new(map)))
        }
    };
    Missing { account: account.is_none().then(new_account), certificate }
}
