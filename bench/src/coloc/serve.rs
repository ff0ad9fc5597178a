//! A service that computes for every request: HTTP/1.1, a thread for each connection.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

/// What is worked through for each request: more than a core's first cache holds, less than its second.
const TABLE_WORDS: usize = 32 * 1024;
/// Times that it is worked through: about a millisecond.
const ROUNDS: u64 = 24;

/// Serves on `port` until it is killed.
pub fn serve(port: u16) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", port))?;
    for stream in listener.incoming() {
        let stream = stream?;
        std::thread::Builder::new().stack_size(128 << 10).spawn(move || answer(stream))?;
    }
    Ok(())
}

fn answer(mut stream: TcpStream) {
    let mut table: Vec<u64> = (0..TABLE_WORDS as u64).collect();
    let mut request = [0; 4096];
    let _late_packets_only = stream.set_nodelay(true);
    // Requests are short and come one at a time: each is one read.
    while stream.read(&mut request).is_ok_and(|size| size > 0) {
        let body = format!("{:016x}", work(&mut table));
        let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        if stream.write_all(text.as_bytes()).is_err() {
            return;
        }
    }
}

fn work(table: &mut [u64]) -> u64 {
    let mut state = 1_u64;
    for round in 0..ROUNDS {
        for word in table.iter_mut() {
            state = (state ^ *word).rotate_left(17).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            *word = state ^ round;
        }
    }
    black_box(state)
}
