//! The image `bench:coloc`: this program, nginx and Redis with the libraries that they load, and a page.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::cluster::Cluster;

pub const TAG: &str = "bench:coloc";

const NGINX: &str = "\
user root;
worker_processes auto;
daemon off;
pid /tmp/nginx.pid;
error_log stderr warn;
events { worker_connections 1024; }
http {
    access_log off;
    default_type text/html;
    keepalive_requests 1000000;
    gzip on;
    gzip_types text/html;
    server { listen 80 reuseport; root /page; }
}
";

/// Builds the image into the cluster's store.
pub fn build(cluster: &Cluster) -> anyhow::Result<()> {
    let rootfs = cluster.state_dir().join("coloc");
    for folder in ["bin", "page", "tmp", "etc", "var/log/nginx", "var/lib/nginx"] {
        fs::create_dir_all(rootfs.join(folder))?;
    }
    fs::copy(std::env::current_exe()?, rootfs.join("bin/coloc"))?;
    for program in ["/usr/sbin/nginx", "/usr/bin/redis-server", "/usr/bin/redis-cli"] {
        add(&rootfs, Path::new(program))?;
    }
    fs::copy("/bin/busybox", rootfs.join("bin/busybox")).context("busybox-static is not installed")?;
    symlink("busybox", rootfs.join("bin/sh"))?;
    fs::write(rootfs.join("etc/nginx.conf"), NGINX)?;
    fs::write(rootfs.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
    fs::write(rootfs.join("etc/group"), "root:x:0:\n")?;
    fs::write(rootfs.join("page/index.html"), page())?;
    cluster.crest(&["image", "build-rootfs", &rootfs.display().to_string(), "--tag", TAG])
}

/// Copies a program and what its loader says that it needs.
fn add(rootfs: &Path, program: &Path) -> anyhow::Result<()> {
    let listed = Command::new("ldd").arg(program).output().context("cannot run ldd")?;
    anyhow::ensure!(
        listed.status.success(),
        "`{}` is not installed: run `sh scripts/packages.sh bench`",
        program.display()
    );
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    let libraries = text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from);
    for file in libraries.chain([program.to_owned()]) {
        let target = rootfs.join(file.strip_prefix("/")?);
        fs::create_dir_all(target.parent().context("a library has no folder")?)?;
        fs::copy(&file, &target).with_context(|| format!("cannot copy `{}`", file.display()))?;
    }
    Ok(())
}

/// Some 100 KiB of words, which a server compresses for every request.
fn page() -> String {
    const WORDS: [&str; 16] = [
        "capacity", "margin", "peak", "online", "batch", "quota", "pressure", "tide", "service", "window",
        "offer", "ledger", "worker", "claim", "place", "host",
    ];
    let mut state = 1_u32;
    let mut text = String::from("<html><body><p>");
    while text.len() < 100 << 10 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let word = WORDS[(state >> 16) as usize % WORDS.len()];
        let _infallible = write!(text, "{word} {} ", state >> 24);
    }
    text + "</p></body></html>\n"
}
