//! Whom the API server trusts beside its own authority, and what it writes down of who does what; the options have the
//! names that Kubernetes gives them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use api::authentication::oidc::ProviderConfig;
use clap::Args;

/// Options of every command that serves the API.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct SecurityOptions {
    /// Rules that say how much of which requests the audit log holds (a Policy of audit.k8s.io/v1, YAML)
    #[arg(long, value_name = "FILE")]
    audit_policy_file: Option<PathBuf>,
    /// Where the audit log is written; by default `audit.log` in the state folder
    #[arg(long, value_name = "FILE")]
    audit_log_path: Option<PathBuf>,
    /// Who the tokens of service accounts say has made them, an https URL
    #[arg(long, value_name = "URL", value_parser = parse_issuer)]
    service_account_issuer: Option<String>,
    /// Believe the identity tokens of this OpenID Connect issuer, an https URL
    #[arg(long, value_name = "URL", requires = "oidc_client_id", value_parser = parse_issuer)]
    oidc_issuer_url: Option<String>,
    /// The audience of identity tokens that are meant for this cluster
    #[arg(long, value_name = "ID", requires = "oidc_issuer_url")]
    oidc_client_id: Option<String>,
    /// The claim that names the user
    #[arg(long, value_name = "CLAIM", default_value = "sub", requires = "oidc_issuer_url")]
    oidc_username_claim: String,
    /// Stands before each name; `-` for nothing. By default the issuer and `#`, but nothing before e-mail addresses
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, requires = "oidc_issuer_url")]
    oidc_username_prefix: Option<String>,
    /// The claim that holds the user's groups
    #[arg(long, value_name = "CLAIM", requires = "oidc_issuer_url")]
    oidc_groups_claim: Option<String>,
    /// Stands before each group
    #[arg(long, value_name = "TEXT", requires = "oidc_issuer_url")]
    oidc_groups_prefix: Option<String>,
    /// A claim that tokens must have, as hd=example.com; repeat for more
    #[arg(long = "oidc-required-claim", value_name = "CLAIM=VALUE", value_parser = parse_claim, requires = "oidc_issuer_url")]
    oidc_required_claims: Vec<(String, String)>,
    /// Who signed the certificate of the issuer's server (PEM); by default whom this host trusts
    #[arg(long, value_name = "FILE", requires = "oidc_issuer_url")]
    oidc_ca_file: Option<PathBuf>,
}

impl SecurityOptions {
    /// Lays what was asked for over what an instance has by itself.
    pub(crate) fn apply(&self, config: &mut api::SecurityConfig) {
        if let Some(path) = &self.audit_log_path {
            config.audit.log = Some(path.clone());
        }
        config.audit.policy.clone_from(&self.audit_policy_file);
        if let Some(issuer) = &self.service_account_issuer {
            config.issuer.clone_from(issuer);
        }
        config.identity_providers.extend(self.identity_provider());
    }

    fn identity_provider(&self) -> Option<ProviderConfig> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        Some(ProviderConfig {
            issuer: self.oidc_issuer_url.clone()?,
            client_id: text(&self.oidc_client_id),
            username_claim: self.oidc_username_claim.clone(),
            username_prefix: self.oidc_username_prefix.clone(),
            groups_claim: text(&self.oidc_groups_claim),
            groups_prefix: text(&self.oidc_groups_prefix),
            required_claims: self.oidc_required_claims.iter().cloned().collect::<BTreeMap<_, _>>(),
            authority: self.oidc_ca_file.clone(),
        })
    }

    /// The same options on the command line of another process, which may run in another folder.
    pub(crate) fn arguments(&self) -> Vec<OsString> {
        let path = |path: &Option<PathBuf>| {
            let path = path.clone()?;
            Some(std::path::absolute(&path).unwrap_or(path).into_os_string())
        };
        let text = |text: &Option<String>| text.clone().map(OsString::from);
        let has_issuer = self.oidc_issuer_url.is_some();
        let claim = has_issuer.then(|| OsString::from(&self.oidc_username_claim));
        let named = [
            ("--audit-policy-file", path(&self.audit_policy_file)),
            ("--audit-log-path", path(&self.audit_log_path)),
            ("--service-account-issuer", text(&self.service_account_issuer)),
            ("--oidc-issuer-url", text(&self.oidc_issuer_url)),
            ("--oidc-client-id", text(&self.oidc_client_id)),
            ("--oidc-username-claim", claim),
            ("--oidc-username-prefix", text(&self.oidc_username_prefix)),
            ("--oidc-groups-claim", text(&self.oidc_groups_claim)),
            ("--oidc-groups-prefix", text(&self.oidc_groups_prefix)),
            ("--oidc-ca-file", path(&self.oidc_ca_file)),
        ];
        let named = named.into_iter().filter_map(|(name, value)| Some([OsString::from(name), value?]));
        let claims = self.oidc_required_claims.iter();
        let claims = claims.map(|(claim, value)| {
            [OsString::from("--oidc-required-claim"), format!("{claim}={value}").into()]
        });
        named.chain(claims).flatten().collect()
    }
}

fn parse_issuer(text: &str) -> Result<String, String> {
    if text.starts_with("https://") && text.len() > "https://".len() {
        return Ok(text.to_owned());
    }
    Err("an issuer is named by an https URL, such as https://id.example.com".to_owned())
}

fn parse_claim(text: &str) -> Result<(String, String), String> {
    let (claim, value) = text.split_once('=').ok_or("write CLAIM=VALUE")?;
    Ok((claim.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::SecurityOptions;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        options: SecurityOptions,
    }

    fn parse(arguments: &[&str]) -> Result<SecurityOptions, String> {
        let parsed = Program::try_parse_from([&["crest"], arguments].concat());
        parsed.map(|program| program.options).map_err(|error| error.to_string())
    }

    #[test]
    fn options_are_handed_on_as_they_came() {
        let check = |arguments: &[&str]| {
            let handed = parse(arguments).unwrap().arguments();
            assert_eq!(handed, arguments, "{arguments:?}");
        };
        check(&[]);
        check(&["--audit-policy-file", "/a", "--audit-log-path", "/b"]);
        check(&["--service-account-issuer", "https://a"]);
        let issuer =
            ["--oidc-issuer-url", "https://a", "--oidc-client-id", "c", "--oidc-username-claim", "email"];
        check(&issuer);
        let more = ["--oidc-username-prefix", "-", "--oidc-groups-claim", "g", "--oidc-groups-prefix", "p:"];
        let rest =
            ["--oidc-ca-file", "/ca", "--oidc-required-claim", "a=b", "--oidc-required-claim", "c=d=e"];
        check(&[issuer.as_slice(), &more, &rest].concat());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for wrong in [
            ["--oidc-issuer-url", "https://a"].as_slice(),
            &["--oidc-client-id", "c"],
            &["--oidc-ca-file", "/ca"],
            &["--oidc-issuer-url", "http://a", "--oidc-client-id", "c"],
            &["--oidc-issuer-url", "https://a", "--oidc-client-id", "c", "--oidc-required-claim", "a"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
