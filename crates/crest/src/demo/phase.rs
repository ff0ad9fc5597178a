//! The load of every phase of the demo, and what the figures were measured on.

use std::fs;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use drill::load::{Plan, Request};

/// A page of Debian's policy manual, some 100 KB, which nginx compresses for every request.
const PAGE: &str = "/debian-policy/policy.html/ch-controlfields.html";
/// Enough that the kernel, which deals connections out to nginx's workers, gives each about the same load in every phase.
const CONNECTIONS: u32 = 64;
const WARM_UP: Duration = Duration::from_secs(2);

pub(super) fn plan(target: SocketAddr, requests_per_second: u32, duration: Duration) -> Plan {
    Plan {
        target,
        request: Request::Http { path: PAGE.to_owned() },
        requests_per_second,
        connections: CONNECTIONS,
        warm_up: WARM_UP,
        duration,
    }
}

pub(super) fn machine() -> String {
    let processors = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").context("no kernel release");
    let kernel = kernel.map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned());
    format!("{processors} CPUs, Linux {kernel}; the load generator runs on the same machine")
}
