//! Against real sockets: a server that stalls must show in the tail.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use super::{Plan, Request, run};

/// Serves one connection; the request with number `stall_at` is answered 200 ms late.
fn serve(stall_at: usize) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0; 4096];
        for number in 0.. {
            if stream.read(&mut buffer).unwrap_or(0) == 0 {
                return;
            }
            if number == stall_at {
                thread::sleep(Duration::from_millis(200));
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
        }
    });
    address
}

fn plan(target: std::net::SocketAddr) -> Plan {
    Plan {
        target,
        request: Request::Http { path: "/".to_owned() },
        requests_per_second: 200,
        connections: 1,
        warm_up: Duration::ZERO,
        duration: Duration::from_secs(1),
    }
}

#[test]
fn every_request_that_a_stall_delays_is_counted_as_late() {
    let outcome = run(&plan(serve(50))).unwrap();
    let figures = outcome.latencies.percentiles();
    assert_eq!((outcome.latencies.count(), outcome.failed), (200, 0));
    // 200 ms of stall at 200 requests per second: some 40 requests were due in it, not the one that was sent.
    assert!(figures.p90_us > 50_000, "{figures:?}");
}

#[test]
fn a_dead_target_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    assert!(run(&plan(address)).unwrap_err().to_string().contains("cannot connect"));
}
