//! The kernel's switches for passing packets on.

use std::fs;
use std::io;

const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

/// Switches forwarding on; says whether it was off.
pub(super) fn enable() -> io::Result<bool> {
    let was_off = fs::read_to_string(FORWARD)?.trim() == "0";
    if was_off {
        fs::write(FORWARD, "1")?;
    }
    Ok(was_off)
}

pub(super) fn disable() -> io::Result<()> {
    fs::write(FORWARD, "0")
}

/// Lets the host reach host ports on 127.0.0.1: such packets leave by the bridge. The rules' guard keeps pods from
/// using the same way to reach what the host offers to itself only.
pub(super) fn route_localnet(bridge: &str) -> io::Result<()> {
    fs::write(format!("/proc/sys/net/ipv4/conf/{bridge}/route_localnet"), "1")
}
