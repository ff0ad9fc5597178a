//! The file by which kubectl finds the cluster and is let in.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

/// What a kubeconfig of one cluster and one user says; the last three in PEM.
#[derive(Clone, Copy, Debug)]
pub struct Kubeconfig<'a> {
    pub server: &'a str,
    pub user: &'a str,
    pub authority: &'a str,
    pub certificate: &'a str,
    pub key: &'a str,
}

impl fmt::Display for Kubeconfig<'_> {
    /// Values are written as JSON strings, which are YAML too: nothing in them can break the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (server, user) = (json!(self.server), json!(self.user));
        writeln!(f, "apiVersion: v1\nkind: Config\ncurrent-context: crest")?;
        writeln!(f, "clusters:\n- name: crest\n  cluster:\n    server: {server}")?;
        writeln!(f, "    certificate-authority-data: {}", STANDARD.encode(self.authority))?;
        writeln!(f, "contexts:\n- name: crest\n  context:\n    cluster: crest\n    user: {user}")?;
        writeln!(f, "users:\n- name: {user}\n  user:")?;
        writeln!(f, "    client-certificate-data: {}", STANDARD.encode(self.certificate))?;
        writeln!(f, "    client-key-data: {}", STANDARD.encode(self.key))
    }
}
