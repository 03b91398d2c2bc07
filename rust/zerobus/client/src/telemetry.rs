//! What is counted, measured and traced.

#[cfg(feature = "observability")]
mod export;
#[cfg(feature = "observability")]
mod instruments;
#[cfg(not(feature = "observability"))]
mod off;

use std::future::Future;

use crate::error::ZerobusError;

#[cfg(feature = "observability")]
use instruments::in_context;
#[cfg(feature = "observability")]
pub(crate) use instruments::{Span, Telemetry};
#[cfg(not(feature = "observability"))]
use off::in_context;
#[cfg(not(feature = "observability"))]
pub(crate) use off::{Span, Telemetry};

/// Why a stream was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// There was none of its kind.
    First,
    /// In the place of another.
    Again(Recovery),
}

/// Why a stream was opened again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recovery {
    /// The service asked for it, or ended the stream in order.
    ServerClose,
    /// The stream broke, could not be opened, or ended for a row.
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

impl Opening {
    /// The value of the attribute `reason`.
    #[cfg_attr(not(feature = "observability"), expect(dead_code, reason = "for the instruments"))]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Again(recovery) => recovery.name(),
        }
    }
}

impl Recovery {
    /// The value of the attribute `reason`.
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
    #[cfg_attr(not(feature = "observability"), expect(dead_code, reason = "for the instruments"))]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Refresh => "refresh",
            Self::Rejected => "rejected",
        }
    }
}

/// A position in somebody else's trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parent {
    trace_id: u128,
    span_id: u64,
    sampled: bool,
}

impl Parent {
    /// Reads what W3C Trace Context calls `traceparent`.
    fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.trim().split('-').collect();
        let [version, trace_id, span_id, flags, ..] = parts.as_slice() else { return None };
        let is_hex = |part: &&str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let lengths = [version.len(), trace_id.len(), span_id.len(), flags.len()];
        // Later versions may have more parts.
        let more = parts.len() > 4 && *version == "00";
        if lengths != [2, 32, 16, 2] || more || *version == "ff" || !parts.iter().take(4).all(is_hex) {
            return None;
        }
        let parent = Self {
            trace_id: u128::from_str_radix(trace_id, 16).ok()?,
            span_id: u64::from_str_radix(span_id, 16).ok()?,
            sampled: u8::from_str_radix(flags, 16).ok()? & 1 == 1,
        };
        (parent.trace_id != 0 && parent.span_id != 0).then_some(parent)
    }
}

/// Makes the spans of `call` parts of the trace that `traceparent` is of, as W3C Trace Context writes it.
///
/// # Errors
/// `ConfigurationError` for a text that is none.
pub fn in_trace<F: Future>(
    traceparent: &str,
    call: F,
) -> Result<impl Future<Output = F::Output> + use<F>, ZerobusError> {
    let parent = Parent::parse(traceparent).ok_or_else(|| {
        let accepted = "`00-<32 digits>-<16 digits>-<2 digits>`, hexadecimal and in lower case";
        ZerobusError::configuration(format!("`traceparent` is `{}`; accepted: {accepted}", traceparent.escape_debug()))
    })?;
    Ok(in_context(parent, call))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f43_a_traceparent_is_read() {
        let parent = Parent::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
        assert_eq!(
            (parent.trace_id, parent.span_id),
            (0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c, 0xb7ad_6b71_6920_3331)
        );
        assert!(parent.sampled);
        for text in [
            "",
            "00-0-0-0",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(Parent::parse(text), None, "{text}");
        }
        assert!(in_trace("x", async {}).err().unwrap().to_string().contains("`traceparent` is `x`"));
    }
}
