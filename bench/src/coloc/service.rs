//! The services: one Pod of each, as any user would write it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use drill::load::{Plan, Request};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::{Value, json};

use super::image::TAG;

/// Keys that one request to Redis asks for, and the size of each value.
const KEYS: usize = 100;
const VALUE_BYTES: usize = 512;
const CONNECTIONS: u32 = 32;
const WARM_UP: Duration = Duration::from_secs(1);

/// A kind of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Compresses a page of 100 KiB for every request.
    Nginx,
    /// Answers with 100 values of 512 bytes.
    Redis,
    /// Computes for a millisecond.
    Compute,
}

impl Service {
    pub const ALL: [Self; 3] = [Self::Nginx, Self::Redis, Self::Compute];

    pub fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Redis => "redis",
            Self::Compute => "compute",
        }
    }

    pub fn named(name: &str) -> anyhow::Result<Self> {
        let found = Self::ALL.into_iter().find(|service| service.name() == name);
        found.with_context(|| format!("no service is named `{name}`: nginx, redis or compute"))
    }

    fn port(self) -> u16 {
        match self {
            Self::Nginx | Self::Compute => 80,
            Self::Redis => 6379,
        }
    }

    fn command(self) -> Vec<String> {
        // Redis is filled by one command that puts every key.
        let redis = format!(
            "redis-server --save '' --appendonly no --protected-mode no & \
             until redis-cli ping; do sleep 0.1; done; \
             i=0; while [ $i -lt {KEYS} ]; do redis-cli set k$i {}; i=$((i+1)); done; wait",
            "v".repeat(VALUE_BYTES)
        );
        match self {
            Self::Nginx => ["/usr/sbin/nginx", "-c", "/etc/nginx.conf"].map(str::to_owned).to_vec(),
            Self::Redis => vec!["/bin/sh".to_owned(), "-c".to_owned(), redis],
            Self::Compute => ["/bin/coloc", "role", "serve", "80"].map(str::to_owned).to_vec(),
        }
    }

    fn pod(self) -> Value {
        let path = json!({"name": "PATH", "value": "/bin:/usr/bin:/usr/sbin"});
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": self.name()},
            "spec": {
                "priorityClassName": "crest-online", "terminationGracePeriodSeconds": 1,
                "containers": [{
                    "name": "service", "image": TAG, "imagePullPolicy": "Never", "command": self.command(), "env": [path],
                    "resources": {"requests": {"cpu": "1", "memory": "128Mi"}},
                    "readinessProbe": {"tcpSocket": {"port": self.port()}, "periodSeconds": 1},
                }],
            },
        })
    }

    /// Starts the service and returns the address at which it answers.
    pub async fn start(self, client: &kube::Client) -> anyhow::Result<SocketAddr> {
        let pods: Api<Pod> = Api::default_namespaced(client.clone());
        pods.create(&PostParams::default(), &serde_json::from_value(self.pod())?).await?;
        let only = watcher::Config::default().fields(&format!("metadata.name={}", self.name()));
        let mut changes = watcher(pods, only).applied_objects().boxed();
        while let Some(pod) = changes.try_next().await? {
            if let Some(address) = address_if_ready(&pod) {
                // Redis listens before its keys are there.
                tokio::time::sleep(Duration::from_secs(1)).await;
                return Ok(SocketAddr::new(address, self.port()));
            }
        }
        anyhow::bail!("the watch on {} ended", self.name())
    }

    pub async fn stop(self, client: &kube::Client) -> anyhow::Result<()> {
        let pods: Api<Pod> = Api::default_namespaced(client.clone());
        let pod = pods.get(self.name()).await?;
        let uid = pod.metadata.uid.unwrap_or_default();
        pods.delete(self.name(), &DeleteParams::default()).await?;
        await_condition(pods, self.name(), conditions::is_deleted(&uid)).await?;
        Ok(())
    }

    /// The load on it; the rate is to be found.
    pub fn plan(self, target: SocketAddr, duration: Duration) -> Plan {
        let request = match self {
            Self::Nginx | Self::Compute => Request::Http { path: "/index.html".to_owned() },
            Self::Redis => {
                let keys = (0..KEYS).map(|number| format!("k{number}"));
                Request::Redis { command: ["MGET".to_owned()].into_iter().chain(keys).collect() }
            }
        };
        Plan { target, request, requests_per_second: 1, connections: CONNECTIONS, warm_up: WARM_UP, duration }
    }
}

fn address_if_ready(pod: &Pod) -> Option<IpAddr> {
    let status = pod.status.as_ref()?;
    let mut conditions = status.conditions.iter().flatten();
    let ready = conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True");
    if ready { status.pod_ip.as_ref()?.parse().ok() } else { None }
}
