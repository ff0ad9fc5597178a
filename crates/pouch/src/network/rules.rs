//! The packet filter: one table of ours, always written whole and in one transaction.

use std::io;
use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::ipam::Cidr;
use super::state::State;
use super::{HostPort, Protocol};

#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    #[error("the program `nft` is missing; install the package nftables")]
    Missing,
    #[error("cannot run `nft`")]
    Run { source: io::Error },
    #[error("`nft` refused the rules: {message}")]
    Refused { message: String },
}

/// The table as `nft -f` reads it. Naming it first makes the deletion safe where there is none yet.
pub fn render(table: &str, bridge: &str, cidr: &Cidr, state: &State) -> String {
    let ports = host_ports(state);
    format!(
        r#"table ip {table}
delete table ip {table}
table ip {table} {{
  chain guard {{
    type filter hook prerouting priority raw; policy accept;
    iifname "{bridge}" ip daddr 127.0.0.0/8 drop
  }}
  chain redirects {{
    type filter hook output priority filter; policy accept;
    oifname "{bridge}" icmp type redirect drop
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
{ports}  }}
  chain output {{
    type nat hook output priority -100; policy accept;
{ports}  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {cidr} oifname != "{bridge}" masquerade
    ip saddr {cidr} ip daddr {cidr} ct status dnat masquerade
    ip saddr 127.0.0.0/8 oifname "{bridge}" masquerade
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    iifname "{bridge}" accept
    oifname "{bridge}" accept
  }}
}}
"#
    )
}

fn host_ports(state: &State) -> String {
    let mut text = String::new();
    for lease in state.leases.values() {
        for port in &lease.host_ports {
            let HostPort { host_port, container_port, .. } = port;
            let protocol = match port.protocol {
                Protocol::Tcp => "tcp",
                Protocol::Udp => "udp",
                Protocol::Sctp => "sctp",
            };
            let address = match port.host_ip {
                Some(ip) if !ip.is_unspecified() => format!("ip daddr {ip}"),
                _ => "fib daddr type local".to_owned(),
            };
            let ip = lease.ip;
            text += &format!("    {address} {protocol} dport {host_port} dnat to {ip}:{container_port}\n");
        }
    }
    text
}

/// Sets the rules, all or none.
pub(super) async fn apply(text: &str) -> Result<(), RulesError> {
    let output = nft(&["-f", "-"], text).await?;
    if output.status.success() { Ok(()) } else { Err(refused(&output)) }
}

/// No error if the table is not there, or if there is no nft that could have made it.
pub(super) async fn remove(table: &str) -> Result<(), RulesError> {
    match apply(&format!("table ip {table}\ndelete table ip {table}\n")).await {
        Err(RulesError::Missing) => Ok(()),
        other => other,
    }
}

fn refused(output: &Output) -> RulesError {
    let text = String::from_utf8_lossy(&output.stderr);
    RulesError::Refused { message: text.lines().next().unwrap_or("it gave no reason").trim().to_owned() }
}

async fn nft(arguments: &[&str], input: &str) -> Result<Output, RulesError> {
    let spawned = Command::new("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = spawned.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => RulesError::Missing,
        _ => RulesError::Run { source },
    })?;
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(input.as_bytes()).await {
            // It ended without reading on; its own message says why.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            written => written.map_err(|source| RulesError::Run { source })?,
        }
    }
    child.wait_with_output().await.map_err(|source| RulesError::Run { source })
}
