//! What batch does to a machine, in five kinds. Each goes on until it is killed.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context;

/// A kind of batch work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hog {
    /// Computes in registers.
    Cpu,
    /// Copies memory, far more of it than caches hold.
    Memory,
    /// Writes files through to the disk and reads them again, so that the page cache is turned over.
    Cache,
    /// Starts processes that end at once, one after another.
    Forks,
    /// Sends datagrams to the host's end of the Pod network.
    Network,
}

impl Hog {
    pub const ALL: [Self; 5] = [Self::Cpu, Self::Memory, Self::Cache, Self::Forks, Self::Network];

    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Cache => "cache",
            Self::Forks => "forks",
            Self::Network => "network",
        }
    }

    pub fn named(name: &str) -> anyhow::Result<Self> {
        let found = Self::ALL.into_iter().find(|hog| hog.name() == name);
        found.with_context(|| format!("no hog is named `{name}`: cpu, memory, cache, forks or network"))
    }

    /// Works until it is killed. Files are written below `folder`.
    pub fn work(self, folder: &Path) -> anyhow::Result<()> {
        match self {
            Self::Cpu => compute(),
            Self::Memory => copy_memory(),
            Self::Cache => churn(folder),
            Self::Forks => fork(),
            Self::Network => send(),
        }
    }
}

fn compute() -> ! {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    loop {
        state = black_box(state.rotate_left(23).wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ 1);
    }
}

fn copy_memory() -> ! {
    const WORDS: usize = 16 << 20;
    let mut source = vec![1_u64; WORDS];
    let mut target = vec![2_u64; WORDS];
    loop {
        target.copy_from_slice(&source);
        std::mem::swap(&mut source, &mut target);
        black_box(&target);
    }
}

/// 64 MiB written and synchronised, then what was written before it read again.
fn churn(folder: &Path) -> anyhow::Result<()> {
    const FILES: usize = 8;
    const MIB: usize = 1 << 20;
    let folder = folder.join(format!("churn-{}", std::process::id()));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
    let mut block = vec![7_u8; MIB];
    for round in 0.. {
        let path = |number: usize| folder.join((number % FILES).to_string());
        let mut file = File::create(path(round))?;
        for _ in 0..64 {
            file.write_all(&block)?;
        }
        file.sync_all()?;
        let Ok(mut before) = File::open(path(round + 1)) else { continue };
        while before.read(&mut block)? > 0 {}
    }
    Ok(())
}

fn fork() -> anyhow::Result<()> {
    let this = std::env::current_exe()?;
    loop {
        let mut child = Command::new(&this);
        child.args(["role", "nothing"]).stdin(Stdio::null()).stdout(Stdio::null());
        child.status().context("cannot start a process")?;
    }
}

/// To a port where nobody listens: the datagrams pass the Pod's interface and end there.
fn send() -> anyhow::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let target = (gateway()?, 9);
    let datagram = [0_u8; 1400];
    loop {
        // Refused or without room: the next one is tried at once, as whoever floods does.
        let _lost = socket.send_to(&datagram, target);
    }
}

/// The default route's gateway, as `/proc/net/route` has it.
fn gateway() -> anyhow::Result<Ipv4Addr> {
    let routes = fs::read_to_string("/proc/net/route")?;
    let default = routes.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        (words.next()? == "00000000").then_some(())?;
        u32::from_str_radix(words.next()?, 16).ok()
    });
    let default = default.context("there is no default route")?;
    Ok(Ipv4Addr::from(default.to_le_bytes()))
}
