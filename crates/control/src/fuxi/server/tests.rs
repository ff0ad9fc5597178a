//! Workers with the right token that behave badly. The loop is played by the test.

use std::time::Duration;

use fuxi::WorkerId;
use fuxi::protocol::{FromMaster, FromWorker, Hello};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Admission, Connection, Entrance, Input, MAX_LINE, Origin, Patience, SHARE, Said};

/// The loop's end of the queue.
struct Loop {
    entrance: Entrance,
    inputs: mpsc::UnboundedReceiver<Input>,
}

fn line(message: &FromWorker) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).unwrap();
    line.push(b'\n');
    line
}

impl Loop {
    fn new() -> Self {
        let (sender, inputs) = mpsc::unbounded_channel();
        Self { entrance: Entrance::new(sender, CancellationToken::new()), inputs }
    }

    /// A worker that has said hello, and the loop's side of it.
    async fn connect(&mut self, worker: u64, origin: Origin) -> (DuplexStream, Connection) {
        let (mut ours, theirs) = tokio::io::duplex(64 << 10);
        self.entrance.admit(theirs, &origin);
        let hello = Hello {
            worker: worker.to_string(),
            token: "right".into(),
            held: Vec::new(),
            ended: 0,
            full: false,
        };
        ours.write_all(&line(&FromWorker::Hello(hello))).await.unwrap();
        let Some(Input::Knock(knock)) = self.inputs.recv().await else { panic!("no knock") };
        knock.reply.send(Admission::As(WorkerId(worker))).unwrap();
        let Some(Input::Hello(_, connection, _)) = self.inputs.recv().await else { panic!("no hello") };
        (ours, connection)
    }
}

fn container(name: &str) -> Origin {
    Origin::Container(name.to_owned())
}

/// Writes a line again and again as long as somebody reads, after so many bytes; how many there are then.
async fn flood(stream: &mut DuplexStream, text: &[u8], mut written: usize) -> usize {
    while let Ok(part) =
        tokio::time::timeout(Duration::from_millis(200), stream.write(&text[written % text.len()..])).await
    {
        written += part.unwrap();
    }
    written
}

#[tokio::test]
async fn a_flood_waits_in_its_own_connection_and_others_are_heard() {
    let little = line(&FromWorker::Returned { attempts: Vec::new() });
    let mut words = vec![b' '; 100_000];
    words.extend(&little);
    let mut large = vec![b' '; MAX_LINE - 100];
    large.extend(&little);
    // So many lines may wait for the loop: by their number, by their bytes, and one however long it is.
    for (text, n_waiting) in [(little, 64), (words, 10), (large, 1)] {
        let mut place = Loop::new();
        let (mut wild, _wild) = place.connect(1, container("wild")).await;
        let (mut calm, _calm) = place.connect(2, container("calm")).await;
        let written = flood(&mut wild, &text, 0).await;
        assert_eq!(place.inputs.len(), n_waiting, "{}", text.len());
        assert!(written < SHARE as usize + 3 * MAX_LINE, "{written}");
        calm.write_all(&line(&FromWorker::Returned { attempts: Vec::new() })).await.unwrap();
        for _ in 0..n_waiting {
            let Some(Input::Said(_, Said::Returned(_), _share)) = place.inputs.recv().await else {
                panic!("not what was said")
            };
        }
        // The calm one was heard after no more than the share of the wild one, which is read further now.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let mut heard = std::iter::from_fn(|| place.inputs.try_recv().ok());
        assert!(heard.any(|input| matches!(input, Input::Said(id, ..) if id.0 == 1)));
        while place.inputs.try_recv().is_ok() {}
        assert!(flood(&mut wild, &text, written).await > written);
    }
}

#[tokio::test]
async fn a_hello_counts_as_a_stranger_until_it_is_heard() {
    let mut place = Loop::new();
    let mut open = Vec::new();
    for _ in 0..16 {
        let (mut ours, theirs) = tokio::io::duplex(64 << 10);
        place.entrance.admit(theirs, &container("one"));
        let hello =
            Hello { worker: "1".into(), token: "right".into(), held: Vec::new(), ended: 0, full: false };
        ours.write_all(&line(&FromWorker::Hello(hello))).await.unwrap();
        let Some(Input::Knock(knock)) = place.inputs.recv().await else { panic!("no knock") };
        knock.reply.send(Admission::As(WorkerId(1))).unwrap();
        let hello = place.inputs.recv().await;
        assert!(matches!(hello, Some(Input::Hello(..))));
        open.push((ours, hello));
    }
    let (mut ours, theirs) = tokio::io::duplex(64);
    place.entrance.admit(theirs, &container("one"));
    assert!(ours.write_all(b"{").await.is_err(), "one too many");
    open.pop();
    assert!(matches!(place.inputs.recv().await, Some(Input::Closed(_))));
    place.connect(1, container("one")).await;
}

#[tokio::test]
async fn nonsense_ends_the_connection_and_no_other() {
    for nonsense in [
        "nonsense\n",
        "{}\n",
        "{\"kind\":\"returned\"}\n",
        "{\"kind\":\"hello\",\"worker\":\"\",\"token\":\"\"}\n",
    ] {
        let mut place = Loop::new();
        let (mut wild, _connection) = place.connect(1, container("wild")).await;
        let (mut calm, _calm) = place.connect(2, container("calm")).await;
        wild.write_all(nonsense.as_bytes()).await.unwrap();
        assert!(matches!(place.inputs.recv().await, Some(Input::Closed(id)) if id.0 == 0), "{nonsense}");
        calm.write_all(&line(&FromWorker::Pong)).await.unwrap();
        calm.write_all(&line(&FromWorker::Returned { attempts: Vec::new() })).await.unwrap();
        assert!(matches!(place.inputs.recv().await, Some(Input::Said(id, ..)) if id.0 == 1), "{nonsense}");
    }
}

/// A worker of another host that says nothing is asked, and is gone when it does not answer for long.
#[tokio::test]
async fn the_silent_of_other_hosts_are_asked_and_given_up() {
    let mut place = Loop::new();
    let (ping, silence) = (Duration::from_millis(20), Duration::from_millis(200));
    place.entrance.patience = Patience { ping, silence };
    let (stream, connection) = place.connect(1, Origin::Node("far".to_owned())).await;
    let (_near, _connection) = place.connect(2, container("near")).await;
    let began = tokio::time::Instant::now();
    let (reader, mut writer) = tokio::io::split(stream);
    let mut asked = BufReader::new(reader).lines();
    let question = serde_json::to_string(&FromMaster::Ping).unwrap();
    while began.elapsed() < silence * 2 {
        assert_eq!(asked.next_line().await.unwrap().as_ref(), Some(&question), "who answers stays");
        writer.write_all(&line(&FromWorker::Pong)).await.unwrap();
    }
    let silent = tokio::time::Instant::now();
    while asked.next_line().await.unwrap().is_some() {}
    assert!(silent.elapsed() >= silence, "{:?}", silent.elapsed());
    assert!(matches!(place.inputs.recv().await, Some(Input::Closed(id)) if id == connection.id));
    assert!(place.inputs.is_empty(), "who is of this host is not asked");
}
