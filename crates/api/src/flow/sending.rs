//! Large answers keep their seat while they are sent: it is work for the server as well, and there must not be more of it
//! at once than there are seats. A client that takes its time does not keep others waiting for it, though.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::task::AbortHandle;

use super::Seat;

/// What fits into the buffers of a connection is as good as sent.
const SMALL: u64 = 64 << 10;
/// As much of an answer as is handed on at once.
const PIECE: usize = 32 << 10;
/// After so many pieces others have their turn at the core: a fast reader would take the whole answer at once.
const PIECES_IN_A_ROW: u8 = 4;
/// The largest answers are sent by then to a client that reads as fast as it can.
const PATIENCE: Duration = Duration::from_millis(500);

/// A seat that whoever holds it may leave for all.
#[derive(Clone, Debug)]
pub(crate) struct Held(Arc<Mutex<Option<Seat>>>);

impl Held {
    pub(crate) fn new(seat: Option<Seat>) -> Self {
        Self(Arc::new(Mutex::new(seat)))
    }

    pub(crate) fn leave(&self) {
        drop(self.0.lock().take());
    }

    /// Keeps the seat until `response` is sent, if there is still a seat and much to send.
    pub(crate) fn until_sent(self, response: Response<Body>) -> Response<Body> {
        self.while_sent(response, PATIENCE)
    }

    /// As [`Held::until_sent`], and no longer than `patience`.
    pub(super) fn while_sent(self, response: Response<Body>, patience: Duration) -> Response<Body> {
        // A stream that does not know its end has left its seat.
        let is_large = response.body().size_hint().exact().is_some_and(|size| size > SMALL);
        if !is_large || self.0.lock().is_none() {
            self.leave();
            return response;
        }
        let impatient = self.clone();
        let timer = kit::task::spawn("patience with a slow reader", async move {
            tokio::time::sleep(patience).await;
            impatient.leave();
        });
        let timer = timer.abort_handle();
        response.map(|body| Body::new(Sending { body, left: Bytes::new(), in_a_row: 0, seat: self, timer }))
    }
}

/// A body in pieces, so that what is not yet sent is not yet handed on.
#[derive(Debug)]
struct Sending {
    body: Body,
    /// What was taken from the body and not handed on yet.
    left: Bytes,
    in_a_row: u8,
    seat: Held,
    timer: AbortHandle,
}

impl HttpBody for Sending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        while self.left.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.left = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                ended => return Poll::Ready(ended),
            }
        }
        if self.in_a_row == PIECES_IN_A_ROW {
            self.in_a_row = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.in_a_row += 1;
        let piece = self.left.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.left.split_to(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, left) = (self.body.size_hint(), self.left.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(left));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(left));
        }
        hint
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.timer.abort();
        self.seat.leave();
    }
}
