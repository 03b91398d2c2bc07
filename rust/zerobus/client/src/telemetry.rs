//! What is counted, measured and traced.

use std::time::Duration;

use crate::config::WrapperConfiguration;
use crate::error::ZerobusError;
use crate::result::TransmissionResult;

/// The instruments of one wrapper; they do nothing where observability is off.
#[derive(Debug)]
pub(crate) struct Telemetry {}

/// One span, which ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Span {}

/// Why a stream was opened again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recovery {
    /// The service asked for it, or ended the stream in order.
    ServerClose,
    /// The stream broke.
    Error,
    /// No acknowledgement came in time.
    AckTimeout,
}

/// Why a token was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenNeed {
    /// There was none.
    Cold,
    /// The last one ends soon.
    Refresh,
    /// The service refused the last one.
    Rejected,
}

impl Recovery {
    /// The value of the attribute `reason`.
    #[expect(dead_code, reason = "for the instruments")]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ServerClose => "server_close",
            Self::Error => "error",
            Self::AckTimeout => "ack_timeout",
        }
    }
}

impl TokenNeed {
    /// The value of the attribute `reason`.
    #[expect(dead_code, reason = "for the instruments")]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Refresh => "refresh",
            Self::Rejected => "rejected",
        }
    }
}

impl Telemetry {
    pub(crate) fn new(_config: &WrapperConfiguration) -> Result<Self, ZerobusError> {
        Ok(Self {})
    }

    /// Begins `zerobus.send_batch`, below the context that is current.
    pub(crate) fn send_batch(&self, _rows: usize, _bytes: usize) -> Span {
        Span {}
    }

    /// Counts a batch and its rows, and writes them into its span.
    pub(crate) fn batch_sent(&self, _span: &Span, _result: &TransmissionResult) {}

    pub(crate) fn stream_opened(&self) {}

    pub(crate) fn stream_recovered(&self, _reason: Recovery) {}

    pub(crate) fn token_fetched(&self, _need: TokenNeed, _succeeded: bool) {}

    /// Counts one more try, made for this error.
    pub(crate) fn retried(&self, _reason: &ZerobusError) {}

    /// Takes the time from the end of a request to its acknowledgement.
    pub(crate) fn acked(&self, _latency: Duration) {}

    /// Adds to what waits for acknowledgement, or takes from it.
    pub(crate) fn in_flight(&self, _requests: i64, _bytes: i64) {}

    /// Exports what there is.
    pub(crate) async fn flush(&self) {}

    /// Exports what there is and ends the exporters.
    pub(crate) async fn shutdown(&self) {}
}

impl Span {
    /// Begins a span below this one: `zerobus.convert`, `zerobus.transmit`, `zerobus.stream.open` or `zerobus.token.fetch`.
    pub(crate) fn child(&self, _name: &'static str) -> Self {
        Self {}
    }

    /// Says that what the span is about failed.
    pub(crate) fn failed(&self, _error: &ZerobusError) {}
}
