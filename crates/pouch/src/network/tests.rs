//! On the real kernel: the whole pod network inside a namespace of its own, so that the host is never touched.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sched::CloneFlags;

use super::{HostPort, Network, NetworkConfig, NetworkError, Protocol};

/// A namespace that lives as long as this does; no mount, no name.
struct Netns(File);

impl Netns {
    fn new() -> Self {
        let make = || {
            nix::sched::unshare(CloneFlags::CLONE_NEWNET).unwrap();
            File::open("/proc/thread-self/ns/net").unwrap()
        };
        Self(std::thread::spawn(make).join().unwrap())
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }

    /// Runs `work` on a thread inside.
    fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let enter = || {
            nix::sched::setns(&self.0, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        };
        std::thread::scope(|scope| scope.spawn(enter).join().unwrap())
    }

    /// As a node's own namespace: an async test inside.
    fn test<F: Future<Output = ()>>(&self, work: impl FnOnce(PathBuf) -> F + Send) {
        let state = tempfile::tempdir().unwrap();
        self.run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(work(state.path().to_owned()));
        });
    }
}

fn network(state: &Path) -> Network {
    Network::new(NetworkConfig {
        bridge: "crest-test0".to_owned(),
        pod_cidr: "10.213.0.0/24".to_owned(),
        nft_table: "crest_test".to_owned(),
        state_dir: state.to_owned(),
    })
    .unwrap()
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = std::process::Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn connect(address: impl Into<SocketAddr>) -> std::io::Result<TcpStream> {
    TcpStream::connect_timeout(&address.into(), Duration::from_secs(5))
}

/// Answers one connection with the address it came from.
fn serve_once(listener: &TcpListener) {
    let (mut stream, peer) = listener.accept().unwrap();
    write!(stream, "{}", peer.ip()).unwrap();
}

fn ask(address: impl Into<SocketAddr>) -> String {
    let mut answer = String::new();
    connect(address).unwrap().read_to_string(&mut answer).unwrap();
    answer
}

fn port(host_port: u16) -> HostPort {
    HostPort { protocol: Protocol::Tcp, host_ip: None, host_port, container_port: 80 }
}

/// Serves port 80 of `pod` for one connection that `client` makes.
fn exchange(pod: &Netns, client: impl FnOnce() -> String) -> String {
    let listener = pod.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 80)).unwrap());
    // Not joined: if the client cannot connect, the server waits for ever.
    std::thread::spawn(move || serve_once(&listener));
    client()
}

#[test]
fn pods_reach_each_other_and_the_host_reaches_their_ports() {
    let (one, two) = (Netns::new(), Netns::new());
    Netns::new().test(async |state| {
        let network = network(&state);
        Network::loopback_up(Path::new("/proc/thread-self/ns/net")).await.unwrap();
        network.ensure().await.unwrap();
        let first = network.attach("one", &one.path(), &[port(8080)]).await.unwrap();
        let second = network.attach("two", &two.path(), &[]).await.unwrap();
        assert_eq!((first.ip, first.prefix), (Ipv4Addr::new(10, 213, 0, 2), 24));
        assert_eq!((second.ip, second.gateway), (Ipv4Addr::new(10, 213, 0, 3), Ipv4Addr::new(10, 213, 0, 1)));
        assert_eq!(second.mac, "0a:58:0a:d5:00:03");

        let direct = exchange(&one, || two.run(|| ask((first.ip, 80))));
        assert_eq!(direct, "10.213.0.3", "pods see each other's own address");
        assert_eq!(exchange(&one, || ask((first.ip, 80))), "10.213.0.1");
        // By a port of the host: from the host itself, from another pod, from the very same pod.
        assert_eq!(exchange(&one, || ask((Ipv4Addr::LOCALHOST, 8080))), "10.213.0.1");
        assert_eq!(exchange(&one, || two.run(|| ask((first.gateway, 8080)))), "10.213.0.1");
        assert_eq!(exchange(&one, || one.run(|| ask((first.gateway, 8080)))), "10.213.0.1");
        network.detach("one").await.unwrap();
        network.detach("one").await.unwrap();
        assert!(connect((Ipv4Addr::LOCALHOST, 8080)).is_err());
        network.teardown().await.unwrap();
    });
}

/// A pod that may send a mebibyte a second takes two seconds for two of them less what the bucket lets through at once;
/// what it receives is another matter.
#[test]
fn what_a_pod_sends_is_held_to_its_bandwidth() {
    const MIB: usize = 1 << 20;
    let (one, two) = (Netns::new(), Netns::new());
    Netns::new().test(async |state| {
        let network = network(&state);
        network.ensure().await.unwrap();
        let first = network.attach("one", &one.path(), &[]).await.unwrap();
        let second = network.attach("two", &two.path(), &[]).await.unwrap();
        let send = |from: &Netns, to: &Netns, ip: Ipv4Addr| {
            let listener = to.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 80)).unwrap());
            let receiver = std::thread::spawn(move || {
                let mut received = Vec::new();
                listener.accept().unwrap().0.read_to_end(&mut received).unwrap();
                received.len()
            });
            let started = kit::clock::monotonic();
            from.run(|| TcpStream::connect((ip, 80)).unwrap().write_all(&vec![0; 2 * MIB]).unwrap());
            assert_eq!(receiver.join().unwrap(), 2 * MIB);
            started.elapsed()
        };
        let free = send(&one, &two, second.ip);
        let bandwidth = |egress, ingress| super::Bandwidth { egress, ingress };
        // The second one counts.
        for rate in [1 << 10, 1 << 20] {
            network.shape("one", &one.path(), bandwidth(Some(rate), None)).await.unwrap();
        }
        let held = send(&one, &two, second.ip);
        let received = send(&two, &one, first.ip);
        network.shape("two", &two.path(), bandwidth(None, Some(1 << 20))).await.unwrap();
        network.shape("one", &one.path(), bandwidth(Some(1 << 30), None)).await.unwrap();
        let held_on_the_way_in = send(&one, &two, second.ip);
        let least = Duration::from_millis(1600);
        assert!(held >= least && held_on_the_way_in >= least, "{free:?} {held:?} {held_on_the_way_in:?}");
        assert!(free < least && received < least, "{free:?} {received:?}");
        let missing = network.shape("nobody", &one.path(), bandwidth(None, Some(1))).await.unwrap_err();
        assert!(matches!(missing, NetworkError::Link(super::LinkError::NoDevice { .. })), "{missing:?}");
        network.teardown().await.unwrap();
    });
}

#[test]
fn packets_leave_under_the_hosts_address() {
    let (node, outside, pod) = (Netns::new(), Netns::new(), Netns::new());
    // An uplink: 192.0.2.1 is the node, 192.0.2.2 the world.
    node.run(|| output("ip", &["link", "add", "up0", "type", "veth", "peer", "name", "world0"]));
    let target = format!("/proc/{}/fd/{}", std::process::id(), outside.0.as_raw_fd());
    node.run(|| {
        output(
            "nsenter",
            &["--net=/proc/thread-self/ns/net", "ip", "link", "set", "world0", "netns", &target],
        )
    });
    node.run(|| {
        output("ip", &["address", "add", "192.0.2.1/24", "dev", "up0"]);
        output("ip", &["link", "set", "up0", "up"]);
    });
    let listener = outside.run(|| {
        output("ip", &["address", "add", "192.0.2.2/24", "dev", "world0"]);
        output("ip", &["link", "set", "world0", "up"]);
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, 80)).unwrap()
    });
    node.test(async |state| {
        let network = network(&state);
        network.ensure().await.unwrap();
        network.attach("pod", &pod.path(), &[]).await.unwrap();
        std::thread::spawn(move || serve_once(&listener));
        let answer = pod.run(|| ask((Ipv4Addr::new(192, 0, 2, 2), 80)));
        assert_eq!(answer, "192.0.2.1");
        network.teardown().await.unwrap();
    });
}

#[test]
fn a_restart_finds_everything_and_teardown_leaves_nothing() {
    let pod = Netns::new();
    Netns::new().test(async |state| {
        // A new namespace takes the switch over from the host.
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
        let before = output("ip", &["-brief", "link"]);
        let first = network(&state);
        first.ensure().await.unwrap();
        let attachment = first.attach("pod", &pod.path(), &[port(80)]).await.unwrap();
        let device = pod.run(|| output("ip", &["-brief", "link", "show", "eth0"]));

        let again = network(&state);
        again.ensure().await.unwrap();
        assert_eq!(again.attach("pod", &pod.path(), &[port(80)]).await.unwrap(), attachment);
        assert_eq!(
            pod.run(|| output("ip", &["-brief", "link", "show", "eth0"])),
            device,
            "the device was replaced"
        );
        assert_eq!(again.attached().unwrap(), ["pod"]);
        assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap(), "1\n");

        again.teardown().await.unwrap();
        again.teardown().await.unwrap();
        assert_eq!(output("ip", &["-brief", "link"]), before);
        assert_eq!(output("nft", &["list", "ruleset"]), "");
        assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap(), "0\n");
        assert_eq!(std::fs::read_dir(&state).unwrap().count(), 0);
    });
}

#[test]
fn a_namespace_that_came_back_gets_its_address_again() {
    Netns::new().test(async |state| {
        let network = network(&state);
        network.ensure().await.unwrap();
        let gone = Netns::new();
        let before = network.attach("pod", &gone.path(), &[]).await.unwrap();
        drop(gone);
        let fresh = Netns::new();
        assert_eq!(network.attach("pod", &fresh.path(), &[]).await.unwrap(), before);
        assert!(fresh.run(|| output("ip", &["route"])).starts_with("default via 10.213.0.1"));
        network.teardown().await.unwrap();
    });
}

#[test]
fn refusals_are_precise_and_take_nothing() {
    let (one, two) = (Netns::new(), Netns::new());
    Netns::new().test(async |state| {
        let network = network(&state);
        network.ensure().await.unwrap();
        network.attach("one", &one.path(), &[port(8080)]).await.unwrap();
        let clash = network.attach("two", &two.path(), &[port(8080)]).await.unwrap_err();
        let shown = kit::Chain(&clash).to_string();
        assert_eq!(shown, "cannot give sandbox two an address: port 8080 of the host belongs to sandbox one");
        let nowhere = network.attach("three", Path::new("/nowhere"), &[]).await.unwrap_err();
        assert!(matches!(nowhere, NetworkError::Namespace { .. }));
        assert_eq!(network.attached().unwrap(), ["one"]);
        network.teardown().await.unwrap();

        output("ip", &["address", "add", "10.213.0.200/32", "dev", "lo"]);
        let overlap = network.ensure().await.unwrap_err();
        assert!(overlap.to_string().starts_with("the pod network 10.213.0.0/24 overlaps 10.213.0.200"));
        output("ip", &["address", "del", "10.213.0.200/32", "dev", "lo"]);
        output("ip", &["link", "add", "crest-test0", "type", "veth", "peer", "name", "other0"]);
        let taken = network.ensure().await.unwrap_err();
        assert_eq!(taken.to_string(), "a device `crest-test0` is there already and is no bridge");
    });
    let bad = NetworkConfig {
        bridge: "a name; flush ruleset".to_owned(),
        pod_cidr: "10.0.0.0/24".to_owned(),
        nft_table: "t".to_owned(),
        state_dir: PathBuf::new(),
    };
    assert!(matches!(Network::new(bad), Err(NetworkError::Name { .. })));
}
