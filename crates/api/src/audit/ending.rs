//! A stream whose request is over when the stream is.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::Request;

/// The body; dropped at its end or when the client goes, and with it goes the last line.
#[derive(Debug)]
pub(super) struct Ending {
    body: Body,
    request: Request,
}

impl Ending {
    pub(super) fn new(body: Body, request: Request) -> Self {
        Self { body, request }
    }
}

impl HttpBody for Ending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.request.complete();
    }
}
