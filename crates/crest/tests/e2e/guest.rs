//! The same tests on a host with cgroup v2: this very test program runs again inside a virtual machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::cluster::{find_kubectl, run};

/// What runs in the guest. Emulation is slow, so these two stand for the rest: they start, adopt, squeeze, stop.
const IN_THE_GUEST: &str = "lifecycle survival";

#[test]
fn the_same_on_cgroup_v2() {
    if !Path::new("/usr/bin/qemu-system-x86_64").exists() {
        println!("skipped: qemu-system-x86 is not installed");
        return;
    }
    let Some(kubectl) = find_kubectl() else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/guest.sh");
    let this = std::env::current_exe().unwrap();
    let files = [this.clone(), PathBuf::from(env!("CARGO_BIN_EXE_crest")), kubectl.clone()];
    let folder = kubectl.parent().unwrap().display();
    let command = format!("PATH=$PATH:{folder} {} --test-threads 1 {IN_THE_GUEST}", this.display());
    let said = run(Command::new("sh").arg(script).arg(command).args(files), "");
    assert_eq!(said.code, 0, "{}\n{}", said.stdout, said.stderr);
    assert!(said.stdout.contains("test result: ok"), "{}", said.stdout);
}
