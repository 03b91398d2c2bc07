//! Which requests may be repeated, and when: one pure function.

use std::time::Duration;

use crate::config::RetryConfig;

/// What a request does on the server, which decides whether it may be sent twice.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum RequestClass {
    OpenSession,
    CloseSession,
    /// Not idempotent: an accepted statement must never be sent again.
    Execute,
    Poll,
    Cancel,
    CloseStatement,
    ChunkLinks,
    Download,
    /// Of the same bytes to the same place.
    Upload,
    RemoveFile,
    /// Where the identity provider of a workspace is.
    Discovery,
    Token,
    /// For what is good once: where it may have been used, asking again brings a refusal.
    TokenOnce,
}

impl RequestClass {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OpenSession => "open session",
            Self::CloseSession => "close session",
            Self::Execute => "execute statement",
            Self::Poll => "statement status",
            Self::Cancel => "cancel statement",
            Self::CloseStatement => "close statement",
            Self::ChunkLinks => "chunk links",
            Self::Download => "download",
            Self::Upload => "upload",
            Self::RemoveFile => "deletion of a file",
            Self::Discovery | Self::Token | Self::TokenOnce => "sign-in",
        }
    }

    /// Tells whether the request only ends something, for which nobody is asked to sign in.
    pub(crate) fn ends_something(self) -> bool {
        matches!(self, Self::CloseSession | Self::Cancel | Self::CloseStatement)
    }
}

/// Attempts to close a session.
const MOST_CLOSES: u32 = 2;

/// How one attempt failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Failure {
    /// The server answered with this status, and perhaps said when to come back.
    Status { status: u16, retry_after: Option<Duration> },
    /// No connection was made, so nothing reached the server.
    NotSent,
    /// A proxy refuses to make one.
    Refused,
    /// The two ends do not agree on TLS.
    Untrusted,
    /// The connection broke after the request may have been sent, or the answer broke off.
    Broken,
}

/// Tells whether a request may be sent again after `failure`.
///
/// A statement may only where it cannot have been accepted: no connection, 429, and 503 with `Retry-After`.
/// Source: the platform's ADBC driver separates its request classes in the same way.
pub(crate) fn may_be_repeated(class: RequestClass, failure: Failure) -> bool {
    let good_once = matches!(class, RequestClass::Execute | RequestClass::TokenOnce);
    match failure {
        Failure::NotSent | Failure::Status { status: 429, .. } => true,
        Failure::Status { status: 503, retry_after } => retry_after.is_some() || !good_once,
        Failure::Broken => !good_once,
        // They would be again.
        Failure::Refused | Failure::Untrusted => false,
        Failure::Status { status, .. } => !good_once && (status == 408 || (status >= 500 && status != 501)),
    }
}

/// Returns how long to wait before the next attempt, or `None` where the failure is final.
///
/// `attempts` counts those already made, `elapsed` since the first; `jitter` is a random number in 0..1. Without a
/// `Retry-After` the wait is drawn evenly below `min_wait` doubled per attempt (full jitter). A `Retry-After` is honoured
/// as long as it fits into `max_elapsed`; a longer one is final, for a client that comes back early is refused again.
pub(crate) fn next_wait(
    class: RequestClass,
    failure: Failure,
    attempts: u32,
    elapsed: Duration,
    jitter: f64,
    config: &RetryConfig,
) -> Option<Duration> {
    // The end of a program waits for it, and the server ends idle sessions by itself.
    let most =
        if class == RequestClass::CloseSession { config.max_attempts.min(MOST_CLOSES) } else { config.max_attempts };
    if !may_be_repeated(class, failure) || attempts >= most {
        return None;
    }
    let doubled = config.min_wait.saturating_mul(1 << attempts.saturating_sub(1).min(20)).min(config.max_wait);
    let backoff = doubled.mul_f64(jitter.clamp(0.0, 1.0));
    let wait = match failure {
        // Spread the crowd that was told the same second.
        Failure::Status { retry_after: Some(retry_after), .. } => retry_after + backoff.min(retry_after / 4),
        _ => backoff,
    };
    (elapsed + wait <= config.max_elapsed).then_some(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASSES: [RequestClass; 13] = [
        RequestClass::OpenSession,
        RequestClass::CloseSession,
        RequestClass::Execute,
        RequestClass::Poll,
        RequestClass::Cancel,
        RequestClass::CloseStatement,
        RequestClass::ChunkLinks,
        RequestClass::Download,
        RequestClass::Upload,
        RequestClass::RemoveFile,
        RequestClass::Discovery,
        RequestClass::Token,
        RequestClass::TokenOnce,
    ];

    fn status(status: u16) -> Failure {
        Failure::Status { status, retry_after: None }
    }

    fn wait(class: RequestClass, failure: Failure) -> Option<Duration> {
        next_wait(class, failure, 1, Duration::ZERO, 1.0, &RetryConfig::default())
    }

    /// Behaviour 8.
    #[test]
    fn what_may_be_repeated() {
        let later = |code| Failure::Status { status: code, retry_after: Some(Duration::from_secs(2)) };
        // failure, repeatable for what is good once, repeatable for the rest
        let table = [
            (Failure::NotSent, true, true),
            (Failure::Broken, false, true),
            (status(429), true, true),
            (later(429), true, true),
            (status(503), false, true),
            (later(503), true, true),
            (status(408), false, true),
            (status(500), false, true),
            (later(500), false, true),
            (status(501), false, false),
            (status(502), false, true),
            (status(504), false, true),
            (status(307), false, false),
            (status(400), false, false),
            (status(401), false, false),
            (status(403), false, false),
            (status(404), false, false),
            (status(409), false, false),
        ];
        for (failure, statement, rest) in table {
            for class in CLASSES {
                let good_once = matches!(class, RequestClass::Execute | RequestClass::TokenOnce);
                let expected = if good_once { statement } else { rest };
                assert_eq!(wait(class, failure).is_some(), expected, "{class:?} {failure:?}");
            }
        }
    }

    #[test]
    fn waits_double_up_to_the_cap_and_are_jittered() {
        let config = RetryConfig { max_attempts: 20, ..RetryConfig::default() };
        let seconds = |attempts, jitter| {
            next_wait(RequestClass::Poll, status(503), attempts, Duration::ZERO, jitter, &config).unwrap().as_secs_f64()
        };
        for (attempts, jitter, expected) in
            [(1, 1.0, 1.0), (2, 1.0, 2.0), (3, 0.5, 2.0), (7, 1.0, 60.0), (19, 1.0, 60.0), (4, 0.0, 0.0)]
        {
            assert!((seconds(attempts, jitter) - expected).abs() < 1e-9, "{attempts} {jitter}");
        }
    }

    #[test]
    fn attempts_and_time_are_bounded_and_retry_after_is_honoured() {
        let config = RetryConfig::default();
        let told = |after| Failure::Status { status: 429, retry_after: Some(Duration::from_secs(after)) };
        let next = |failure, attempts, elapsed| {
            next_wait(RequestClass::Poll, failure, attempts, Duration::from_secs(elapsed), 0.0, &config)
        };
        assert_eq!(next(status(503), 6, 0), None);
        assert_eq!(next(told(120), 1, 0), Some(Duration::from_secs(120)), "longer than max_wait");
        assert_eq!(next(told(120), 1, 800), None, "does not fit into max_elapsed");
        assert_eq!(next(status(503), 1, 901), None);
    }
}
