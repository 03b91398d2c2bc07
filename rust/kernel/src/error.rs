//! The one error type of the kernel.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The result of every fallible call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, as a caller would branch on it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument, option or parameter was refused before or by the server; the same call fails again.
    InvalidArgument,
    /// The server did not accept the credentials (HTTP 401).
    Unauthenticated,
    /// The credentials are known and not allowed to do this (HTTP 403).
    PermissionDenied,
    /// The statement, session or warehouse does not exist (HTTP 404).
    NotFound,
    /// A rate limit or quota (HTTP 429) that outlasted the retries.
    ResourceExhausted,
    /// The service could not be reached or answered 5xx, and the retries are used up.
    Unavailable,
    /// A deadline passed.
    Timeout,
    /// The statement was cancelled, by this client or another.
    Cancelled,
    /// Rows are missing, surplus, out of order or unreadable. Nothing of the result may be trusted.
    DataLoss,
    /// The server ran the statement and it failed; see [`Error::sql_state`].
    Sql,
    /// A handle was used after it was closed.
    Closed,
    /// The connection failed: name resolution, TLS, reset; the cause is in the chain.
    Network,
    /// The server's answer does not follow the protocol.
    Protocol,
    /// A presigned link expired and could not be renewed.
    LinkExpired,
    /// A defect of this crate.
    Internal,
}

impl ErrorKind {
    /// Returns the stable name of the kind, for example `DataLoss`.
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidArgument => "InvalidArgument",
            Self::Unauthenticated => "Unauthenticated",
            Self::PermissionDenied => "PermissionDenied",
            Self::NotFound => "NotFound",
            Self::ResourceExhausted => "ResourceExhausted",
            Self::Unavailable => "Unavailable",
            Self::Timeout => "Timeout",
            Self::Cancelled => "Cancelled",
            Self::DataLoss => "DataLoss",
            Self::Sql => "Sql",
            Self::Closed => "Closed",
            Self::Network => "Network",
            Self::Protocol => "Protocol",
            Self::LinkExpired => "LinkExpired",
            Self::Internal => "Internal",
        }
    }
}

/// Why a call failed: what, which statement, after how many attempts, and the cause.
///
/// Holds no token, presigned query string or statement parameter: those types cannot be printed.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    sql_state: Option<String>,
    error_code: Option<String>,
    statement_id: Option<String>,
    http_status: Option<u16>,
    chunk_index: Option<i64>,
    attempts: u32,
    elapsed: Option<Duration>,
    retry_after: Option<Duration>,
    retryable: bool,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Returns an error of `kind`; for sources of tokens that tell why there is none.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            sql_state: None,
            error_code: None,
            statement_id: None,
            http_status: None,
            chunk_index: None,
            attempts: 0,
            elapsed: None,
            retry_after: None,
            retryable: matches!(
                kind,
                ErrorKind::ResourceExhausted | ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Network
            ),
            source: None,
        }))
    }

    /// Returns what went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the message without the chain of causes; [`fmt::Display`] adds them.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Returns the five-character SQLSTATE, where the server gave one.
    pub fn sql_state(&self) -> Option<&str> {
        self.0.sql_state.as_deref()
    }

    /// Returns the server's symbolic code, for example `BAD_REQUEST`.
    pub fn error_code(&self) -> Option<&str> {
        self.0.error_code.as_deref()
    }

    /// Returns the id of the statement concerned, once it is known.
    pub fn statement_id(&self) -> Option<&str> {
        self.0.statement_id.as_deref()
    }

    /// Returns the HTTP status of the last answer, where the failure came with one.
    pub fn http_status(&self) -> Option<u16> {
        self.0.http_status
    }

    /// Returns the index of the result chunk concerned.
    pub fn chunk_index(&self) -> Option<i64> {
        self.0.chunk_index
    }

    /// Returns how many requests were sent; 0 where the failure is not about a request.
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// Returns the time from the first request to the failure.
    pub fn elapsed(&self) -> Option<Duration> {
        self.0.elapsed
    }

    /// Returns how long a provider of tokens asked to be left alone, where that is more than its request had time for.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Tells whether the same call may succeed later. Never true for a statement that may have been accepted.
    pub fn is_retryable(&self) -> bool {
        self.0.retryable
    }

    /// Tells whether nothing could be asked for want of a token: no server has answered, and only a user could change that.
    pub(crate) fn is_want_of_token(&self) -> bool {
        matches!(self.kind(), ErrorKind::Unauthenticated | ErrorKind::Cancelled) && self.http_status().is_none()
    }

    pub(crate) fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(Arc::from(source.into()));
        self
    }

    /// Returns an error of the same kind, status and code that says `message` and has this one as its cause.
    pub(crate) fn within(self, message: impl Into<String>) -> Self {
        let kind = self.kind();
        self.within_kind(kind, message)
    }

    /// Returns the same with another kind, where what failed says more than how.
    pub(crate) fn within_kind(self, kind: ErrorKind, message: impl Into<String>) -> Self {
        let mut outer = Self::new(kind, message).with_retryable(self.is_retryable());
        (outer.0.attempts, outer.0.elapsed) = (self.0.attempts, self.0.elapsed);
        outer.0.http_status = self.0.http_status;
        outer.0.retry_after = self.0.retry_after;
        outer.0.error_code.clone_from(&self.0.error_code);
        // The attempts are told once, by the outer error.
        outer.with_source(self.with_attempts(0, Duration::ZERO))
    }

    pub(crate) fn with_sql_state(mut self, sql_state: Option<String>) -> Self {
        self.0.sql_state = sql_state;
        self
    }

    pub(crate) fn with_error_code(mut self, error_code: Option<String>) -> Self {
        self.0.error_code = error_code;
        self
    }

    /// Names the statement concerned; an id that is already there stays.
    pub(crate) fn with_statement_id(mut self, statement_id: &str) -> Self {
        if self.0.statement_id.is_none() {
            self.0.statement_id = Some(statement_id.to_owned());
        }
        self
    }

    pub(crate) fn with_http_status(mut self, http_status: u16) -> Self {
        self.0.http_status = Some(http_status);
        self
    }

    pub(crate) fn with_chunk_index(mut self, chunk_index: i64) -> Self {
        self.0.chunk_index = Some(chunk_index);
        self
    }

    pub(crate) fn with_attempts(mut self, attempts: u32, elapsed: Duration) -> Self {
        self.0.attempts = attempts;
        self.0.elapsed = Some(elapsed);
        self
    }

    pub(crate) fn with_retry_after(mut self, retry_after: Option<Duration>) -> Self {
        self.0.retry_after = retry_after;
        self
    }

    pub(crate) fn with_retryable(mut self, retryable: bool) -> Self {
        self.0.retryable = retryable;
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.message)?;
        if self.0.attempts > 1 {
            write!(formatter, " after {} attempts", self.0.attempts)?;
            if let Some(elapsed) = self.0.elapsed {
                write!(formatter, " in {:.1} s", elapsed.as_secs_f64())?;
            }
        }
        let mut cause = self.source();
        while let Some(error) = cause {
            write!(formatter, ": {error}")?;
            // Our own Display already prints its chain.
            cause = if error.is::<Self>() { None } else { error.source() };
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &self.to_string())
            .field("sql_state", &self.0.sql_state)
            .field("error_code", &self.0.error_code)
            .field("statement_id", &self.0.statement_id)
            .field("http_status", &self.0.http_status)
            .field("chunk_index", &self.0.chunk_index)
            .field("attempts", &self.0.attempts)
            .field("elapsed", &self.0.elapsed)
            .finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// Finds `SQLSTATE: xxxxx` in a message.
pub(crate) fn sql_state_in(message: &str) -> Option<&str> {
    let rest = message.split_once("SQLSTATE:")?.1.trim_start();
    let code = rest.get(..5)?;
    let ends = rest.as_bytes().get(5).is_none_or(|byte| !byte.is_ascii_alphanumeric());
    (ends && code.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sql_state_is_found_in_messages() {
        for (message, expected) in [
            ("[PARSE_SYNTAX_ERROR] near 'SELEC'. SQLSTATE: 42601 (line 1, pos 0)", Some("42601")),
            ("x SQLSTATE:KP001", Some("KP001")),
            ("SQLSTATE: 4260", None),
            ("SQLSTATE: 426011", None),
            ("SQLSTATE: ÄÖÜäö", None),
            ("nothing", None),
        ] {
            assert_eq!(sql_state_in(message), expected, "{message}");
        }
    }

    #[test]
    fn display_names_attempts_and_the_whole_chain() {
        let cause = std::io::Error::other("connection reset by peer");
        let inner = Error::new(ErrorKind::Network, "storage.example:443 did not answer").with_source(cause);
        let error = Error::new(ErrorKind::Network, "chunk 17 (rows 340000..360000) not downloaded")
            .with_statement_id("01ef")
            .with_statement_id("later")
            .with_chunk_index(17)
            .with_attempts(5, Duration::from_millis(12_400))
            .with_source(inner);
        assert_eq!(
            error.to_string(),
            "chunk 17 (rows 340000..360000) not downloaded after 5 attempts in 12.4 s: \
             storage.example:443 did not answer: connection reset by peer"
        );
        assert_eq!(error.statement_id(), Some("01ef"));
        assert!(error.is_retryable());
    }
}
