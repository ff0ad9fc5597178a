//! The queue by the real clock: pauses are bounded from below only, so that a busy machine fails no test.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Next, queue};

#[derive(Debug, thiserror::Error)]
#[error("not yet")]
struct NotYet;

#[tokio::test]
async fn a_failing_key_is_tried_again_after_growing_pauses() {
    let (keys, work) = queue::<String>();
    keys.add("a".to_owned());
    let token = CancellationToken::new();
    let start = Instant::now();
    let tries = Arc::new(Mutex::new(Vec::new()));
    let (seen, stop) = (Arc::clone(&tries), token.clone());
    work.run("test", 2, token, move |_| {
        let (seen, stop) = (Arc::clone(&seen), stop.clone());
        async move {
            seen.lock().push(start.elapsed().as_millis());
            if seen.lock().len() < 4 {
                return Err(NotYet);
            }
            stop.cancel();
            Ok(Next::Rest)
        }
    })
    .await;
    let tries = tries.lock();
    let pauses: Vec<u128> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses.iter().zip([10, 20, 40]).all(|(pause, least)| *pause >= least), "{pauses:?}");
}

#[tokio::test]
async fn a_key_added_while_it_runs_runs_once_more_and_never_twice_at_once() {
    let (keys, work) = queue::<String>();
    let token = CancellationToken::new();
    let (running, runs) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    keys.add("a".to_owned());
    let (again, stop, n_runs) = (keys.clone(), token.clone(), Arc::clone(&runs));
    work.run("test", 4, token, move |key| {
        let (running, runs, again, stop) =
            (Arc::clone(&running), Arc::clone(&runs), again.clone(), stop.clone());
        async move {
            assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0);
            if runs.fetch_add(1, Ordering::SeqCst) == 0 {
                again.add(key.clone());
                again.add(key);
            } else {
                stop.cancel();
            }
            tokio::task::yield_now().await;
            running.fetch_sub(1, Ordering::SeqCst);
            Ok::<_, NotYet>(Next::Rest)
        }
    })
    .await;
    assert_eq!(n_runs.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_key_comes_again_when_asked_and_the_sooner_time_counts() {
    let (keys, work) = queue::<String>();
    keys.add_after("a".to_owned(), Duration::from_secs(600));
    keys.add_after("a".to_owned(), Duration::from_millis(20));
    let token = CancellationToken::new();
    let (start, stop) = (Instant::now(), token.clone());
    let was_here = Arc::new(AtomicBool::new(false));
    work.run("test", 1, token, move |_| {
        let (stop, was_here) = (stop.clone(), Arc::clone(&was_here));
        async move {
            if !was_here.swap(true, Ordering::SeqCst) {
                return Ok::<_, NotYet>(Next::Again(Duration::from_millis(30)));
            }
            stop.cancel();
            Ok(Next::Rest)
        }
    })
    .await;
    let elapsed = start.elapsed();
    assert!(elapsed >= Duration::from_millis(50) && elapsed < Duration::from_secs(600), "{elapsed:?}");
}
