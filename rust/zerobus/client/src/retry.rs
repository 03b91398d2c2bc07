//! What a failure of the service means: whose fault it is, and when to try again.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use rand::Rng;
use tonic::{Code, Status};

use crate::config::WrapperConfiguration;
use crate::error::{Failure, ZerobusError};
use crate::token::Token;
use crate::wire::{ErrorInfo, RetryInfo, StatusDetails};

/// Code with which the service refuses new streams into a table whose recent ones failed.
const TABLE_BLOCKED: &str = "6006";
/// Longest delay that a server may ask for.
pub(crate) const LONGEST_ASKED: Duration = Duration::from_secs(300);
/// Most characters of a server's message that are repeated.
const MAX_MESSAGE: usize = 2000;

/// Where a stream was when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It was being opened: a refusal is about the table, the descriptor or the credentials.
    Opening,
    /// It had been opened: a refusal is about rows.
    Open,
}

/// What to do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Try again, after a random part of the delay.
    Retry,
    /// Try again, after the whole delay, and no sooner than the server asks for.
    RetryLater(Option<Duration>),
    /// Try again, once, with a new token.
    NewToken,
    /// Leave the table alone for a while.
    Blocked,
    /// That is being done.
    Paused,
    /// One of the rows is refused.
    BadRow,
    /// Nothing helps.
    Final,
}

/// A failure and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) error: ZerobusError,
    pub(crate) verdict: Verdict,
}

impl Refusal {
    /// A failure of the connection, which may pass.
    pub(crate) fn connection(message: impl Into<Arc<str>>) -> Self {
        Self { error: ZerobusError::connection(message), verdict: Verdict::Retry }
    }

    /// A failure that is told as it is.
    pub(crate) fn of(error: ZerobusError) -> Self {
        let verdict = if error.is_retryable() { Verdict::Retry } else { Verdict::Final };
        Self { error, verdict }
    }

    /// Reads the status with which a call ended that was made with `token`; by its code and details, for messages are for
    /// people.
    pub(crate) fn of_status(status: &Status, phase: Phase, token: &Token) -> Self {
        let details = Details::of(status, token);
        let code = status.code();
        let server_code = details.error_code.clone().or_else(|| {
            let blocked = phase == Phase::Opening && has_token(status.message(), TABLE_BLOCKED);
            blocked.then(|| TABLE_BLOCKED.to_owned())
        });
        let is_blocked = server_code.as_deref() == Some(TABLE_BLOCKED);
        let verdict = match code {
            _ if is_blocked => Verdict::Blocked,
            Code::InvalidArgument | Code::OutOfRange if phase == Phase::Open => Verdict::BadRow,
            Code::InvalidArgument | Code::OutOfRange | Code::NotFound | Code::Unimplemented => Verdict::Final,
            Code::PermissionDenied | Code::Unauthenticated => Verdict::NewToken,
            Code::ResourceExhausted => Verdict::RetryLater(details.retry_delay),
            _ => Verdict::Retry,
        };
        let is_retryable = matches!(verdict, Verdict::Retry | Verdict::RetryLater(_) | Verdict::Blocked);
        let text = message(status, phase, &details, token);
        let (message, server_code) = (text.into(), server_code.map(Into::into));
        let failure = Failure { message, grpc_code: Some(code_name(code)), server_code, retryable: is_retryable };
        let error = match code {
            _ if is_blocked => ZerobusError::ConnectionError(failure),
            Code::InvalidArgument if details.is_schema => ZerobusError::ConfigurationError(failure),
            Code::InvalidArgument | Code::OutOfRange => ZerobusError::TransmissionError(failure),
            Code::NotFound | Code::Unimplemented => ZerobusError::ConfigurationError(failure),
            Code::PermissionDenied | Code::Unauthenticated => ZerobusError::AuthenticationError(failure),
            _ => ZerobusError::ConnectionError(failure),
        };
        Self { error, verdict }
    }
}

/// What a status says besides its code and message.
#[derive(Debug, Default)]
struct Details {
    is_schema: bool,
    causes: Vec<String>,
    error_code: Option<String>,
    retry_delay: Option<Duration>,
}

impl Details {
    fn of(status: &Status, token: &Token) -> Self {
        let mut details = Self::default();
        let Ok(all) = StatusDetails::decode(status.details()) else { return details };
        for any in all.details {
            match any.type_url.rsplit('/').next() {
                Some("google.rpc.ErrorInfo") => {
                    let Ok(info) = ErrorInfo::decode(any.value.as_slice()) else { continue };
                    details.is_schema |= info.reason == "SCHEMA_VALIDATION_FAILED";
                    if let Some(causes) = info.metadata.get("causes") {
                        let causes = token.masked(causes);
                        let causes = causes.split(',').map(str::trim).filter(|cause| !cause.is_empty());
                        details.causes.extend(causes.map(|cause| shown(cause, 100)));
                    }
                    if let Some(code) = info.metadata.get("error_code") {
                        details.error_code = Some(shown(&token.masked(code), 20));
                    }
                }
                Some("google.rpc.RetryInfo") => {
                    let Ok(info) = RetryInfo::decode(any.value.as_slice()) else { continue };
                    let delay = info.retry_delay.and_then(|delay| Duration::try_from(delay).ok());
                    details.retry_delay = delay.map(|delay| delay.min(LONGEST_ASKED));
                }
                _ => {}
            }
        }
        details
    }
}

fn message(status: &Status, phase: Phase, details: &Details, token: &Token) -> String {
    let what = match phase {
        Phase::Opening => "the service refused the stream",
        Phase::Open => "the service ended the stream",
    };
    let mut text = format!("{what} with {}", code_name(status.code()));
    // Before it is cut, which could leave a part of the token.
    let said = shown(&token.masked(status.message()), MAX_MESSAGE);
    if !said.is_empty() {
        text = format!("{text}: {said}");
    }
    let mut notes = Vec::new();
    if !details.causes.is_empty() {
        notes.push(format!("causes: {}", details.causes.join(", ")));
    }
    if let Some(code) = &details.error_code {
        notes.push(format!("error code {code}"));
    }
    if notes.is_empty() { text } else { format!("{text} ({})", notes.join("; ")) }
}

/// Makes a server's words fit to be told.
fn shown(text: &str, most: usize) -> String {
    text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(most).collect()
}

/// Tells whether `token` is in `text` by itself: no part of a name or of another number.
fn has_token(text: &str, token: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-');
    text.match_indices(token).any(|(start, _)| {
        let before = text.get(..start).and_then(|before| before.chars().next_back());
        let after = text.get(start + token.len()..).unwrap_or_default();
        // The end of a sentence is no part of it.
        let mut after = after.chars();
        let ends = match after.next() {
            None => true,
            Some('.') => after.next().is_none_or(|next| !is_part(next)),
            Some(next) => !is_part(next),
        };
        ends && before.is_none_or(|before| !is_part(before))
    })
}

/// The name of a code, as gRPC writes it.
pub(crate) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// The tries of one call.
#[derive(Debug)]
pub(crate) struct Tries {
    max_attempts: u32,
    base: Duration,
    longest: Duration,
    failed: u32,
}

impl Tries {
    pub(crate) fn new(config: &WrapperConfiguration) -> Self {
        Self {
            max_attempts: config.retry_max_attempts,
            base: Duration::from_millis(config.retry_base_delay_ms),
            longest: Duration::from_millis(config.retry_max_delay_ms),
            failed: 0,
        }
    }

    /// Counts a failed try and returns the pause before the next, or the error that ends the call.
    pub(crate) fn failed(&mut self, refusal: &Refusal) -> Result<Duration, ZerobusError> {
        self.failed += 1;
        let is_final = !matches!(refusal.verdict, Verdict::Retry | Verdict::RetryLater(_));
        if is_final {
            return Err(refusal.error.clone());
        }
        if self.failed >= self.max_attempts {
            return Err(self.exhausted(&refusal.error));
        }
        let doubled = self.base.saturating_mul(2_u32.saturating_pow(self.failed - 1));
        let bound = doubled.min(self.longest);
        Ok(match refusal.verdict {
            Verdict::RetryLater(asked) => bound.max(asked.unwrap_or_default()),
            _ => rand::rng().random_range(Duration::ZERO..=bound),
        })
    }

    fn exhausted(&self, last: &ZerobusError) -> ZerobusError {
        let tries = if self.failed == 1 { "1 try".to_owned() } else { format!("{} tries", self.failed) };
        let Failure { grpc_code, server_code, .. } = last.failure().clone();
        let message = format!("not stored after {tries}; the last error: {last}").into();
        ZerobusError::RetryExhausted(Failure { message, grpc_code, server_code, retryable: false })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use http::HeaderValue;

    use super::*;

    fn token() -> Token {
        Token { header: HeaderValue::from_static("Bearer the-token"), generation: 1 }
    }

    fn tries(max_attempts: u32) -> Tries {
        let config = WrapperConfiguration::new("http://127.0.0.1:1", "a.b.c").with_retry_config(max_attempts, 100, 350);
        Tries::new(&config)
    }

    #[test]
    fn f21_pauses_are_random_below_a_bound_that_doubles() {
        let refusal = Refusal::connection("broken");
        let mut longest = [Duration::ZERO; 4];
        for _ in 0..500 {
            let mut tries = tries(5);
            for (longest, bound) in longest.iter_mut().zip([100, 200, 350, 350]) {
                let pause = tries.failed(&refusal).unwrap();
                assert!(pause <= Duration::from_millis(bound), "{pause:?} of {bound} ms");
                *longest = pause.max(*longest);
            }
            let error = tries.failed(&refusal).unwrap_err();
            assert_eq!(error.error_type(), "RetryExhausted");
            assert!(error.to_string().contains("5 tries") && error.to_string().contains("broken"), "{error}");
        }
        for (longest, bound) in longest.into_iter().zip([100, 200, 350, 350]) {
            assert!(longest > Duration::from_millis(bound * 4 / 5), "{longest:?} of {bound} ms");
        }
    }

    #[test]
    fn f21_whoever_is_asked_to_wait_waits() {
        let later = |asked| Refusal { verdict: Verdict::RetryLater(asked), ..Refusal::connection("too much") };
        let mut tries = tries(5);
        assert_eq!(tries.failed(&later(None)), Ok(Duration::from_millis(100)));
        assert_eq!(tries.failed(&later(Some(Duration::from_secs(7)))), Ok(Duration::from_secs(7)));
        assert_eq!(tries.failed(&later(Some(Duration::from_millis(1)))), Ok(Duration::from_millis(350)));
    }

    #[test]
    fn f21_what_does_not_help_is_not_tried_again() {
        for verdict in [Verdict::NewToken, Verdict::Blocked, Verdict::Paused, Verdict::BadRow, Verdict::Final] {
            let refusal = Refusal { verdict, ..Refusal::connection("no") };
            assert_eq!(tries(5).failed(&refusal), Err(refusal.error));
        }
    }

    #[test]
    fn f29_a_code_is_a_word_of_its_own() {
        for (text, is_there) in [
            ("6006", true),
            ("error 6006.", true),
            ("(6006)", true),
            ("code: 6006, retry later", true),
            ("[6006] blocked", true),
            ("t_6006", false),
            ("main.default.6006", false),
            ("6006.events", false),
            ("16006", false),
            ("60061", false),
            ("table-6006", false),
            ("6006_old", false),
        ] {
            assert_eq!(has_token(text, TABLE_BLOCKED), is_there, "{text}");
            let status = Status::new(Code::Unavailable, text);
            let opening = Refusal::of_status(&status, Phase::Opening, &token()).verdict;
            assert_eq!(opening, if is_there { Verdict::Blocked } else { Verdict::Retry }, "{text}");
            // A stream that was created was not refused.
            assert_eq!(Refusal::of_status(&status, Phase::Open, &token()).verdict, Verdict::Retry);
        }
    }

    #[test]
    fn details_are_read_and_nonsense_is_passed_over() {
        let any =
            |name: &str, value: Vec<u8>| prost_types::Any { type_url: format!("type.googleapis.com/{name}"), value };
        let metadata = [("causes", "FIELD_NOT_IN_TABLE, NEW_ONE"), ("error_code", "8001")];
        let info = ErrorInfo {
            reason: "SCHEMA_VALIDATION_FAILED".to_owned(),
            domain: String::new(),
            metadata: metadata.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        };
        let details = StatusDetails {
            details: vec![
                any("google.rpc.RetryInfo", vec![0xff]),
                any("google.rpc.Help", vec![1, 2, 3]),
                any("google.rpc.ErrorInfo", info.encode_to_vec()),
            ],
        };
        let status = Status::with_details(Code::InvalidArgument, "no\nsuch field", details.encode_to_vec().into());
        let refusal = Refusal::of_status(&status, Phase::Opening, &token());
        assert_eq!((refusal.verdict, refusal.error.error_type()), (Verdict::Final, "ConfigurationError"));
        assert_eq!(refusal.error.failure().server_code.as_deref(), Some("8001"));
        let text = refusal.error.to_string();
        assert!(text.ends_with("no such field (causes: FIELD_NOT_IN_TABLE, NEW_ONE; error code 8001)"), "{text}");
        let status = Status::with_details(Code::Internal, "", Bytes::from_static(&[0xff; 9]));
        assert_eq!(Refusal::of_status(&status, Phase::Open, &token()).verdict, Verdict::Retry);
    }

    #[test]
    fn f03_a_token_that_is_repeated_is_hidden() {
        let metadata = [("causes", "A, the-token"), ("error_code", "the-token")];
        let info = ErrorInfo {
            reason: String::new(),
            domain: String::new(),
            metadata: metadata.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        };
        let value = info.encode_to_vec();
        let any = prost_types::Any { type_url: "type.googleapis.com/google.rpc.ErrorInfo".to_owned(), value };
        let details = StatusDetails { details: vec![any] }.encode_to_vec();
        // Where it is cut, no part of the token stays.
        let said = format!("{}the-token", " x".repeat(MAX_MESSAGE / 2 - 2));
        for message in ["invalid token `Bearer the-token`", &said] {
            let status = Status::with_details(Code::Unauthenticated, message, details.clone().into());
            for phase in [Phase::Opening, Phase::Open] {
                let refusal = Refusal::of_status(&status, phase, &token());
                assert_eq!(refusal.error.failure().server_code.as_deref(), Some("***"));
                let text = format!("{refusal:?} {}", refusal.error);
                assert!(text.contains("***") && !text.contains("the-t"), "{text}");
            }
        }
    }
}
