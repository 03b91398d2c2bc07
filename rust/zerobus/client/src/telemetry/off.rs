//! Builds without OpenTelemetry: nothing is counted, and a configuration that asks for it is refused.

#![expect(clippy::unused_self, clippy::unused_async, reason = "the face of the other build")]

use std::future::Future;
use std::time::Duration;

use super::{Opening, Parent, Recovery, TokenNeed};
use crate::config::WrapperConfiguration;
use crate::error::ZerobusError;
use crate::result::TransmissionResult;

#[derive(Debug)]
pub(crate) struct Telemetry;

#[derive(Debug)]
pub(crate) struct Span;

pub(super) fn in_context<F: Future>(_parent: Parent, call: F) -> F {
    call
}

impl Telemetry {
    #[expect(clippy::unnecessary_wraps, reason = "the face of the other build")]
    pub(crate) fn new(_config: &WrapperConfiguration) -> Result<Self, ZerobusError> {
        Ok(Self)
    }

    pub(crate) fn send_batch(&self, _rows: usize, _bytes: usize) -> Span {
        Span
    }

    pub(crate) fn batch_sent(&self, _span: &Span, _result: &TransmissionResult) {}

    pub(crate) fn stream_opened(&self, _reason: Opening) {}

    pub(crate) fn stream_recovered(&self, _reason: Recovery) {}

    pub(crate) fn token_fetched(&self, _need: TokenNeed, _succeeded: bool) {}

    pub(crate) fn retried(&self, _reason: &ZerobusError) {}

    pub(crate) fn acked(&self, _latency: Duration) {}

    pub(crate) fn in_flight(&self, _requests: i64, _bytes: i64) {}

    pub(crate) async fn flush(&self) {}

    pub(crate) async fn shutdown(&self) {}
}

impl Span {
    pub(crate) fn child(&self, _name: &'static str) -> Self {
        Self
    }

    pub(crate) fn failed(&self, _error: &ZerobusError) {}
}

impl Drop for Span {
    /// As in the other build, where the end of a span is one of its points.
    fn drop(&mut self) {}
}
