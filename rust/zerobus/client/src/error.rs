//! What can go wrong, by what the caller can do about it.

use std::fmt;
use std::sync::Arc;

/// What a failure is about, besides its kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// The text, without the prefix of the variant. All rows that fail for one reason share it.
    pub message: Arc<str>,
    /// The gRPC status code, such as `INVALID_ARGUMENT`, where the service gave one.
    pub grpc_code: Option<&'static str>,
    /// The service's own code, such as `6006`.
    pub server_code: Option<Arc<str>>,
    /// Whether it may help to send the same again.
    pub retryable: bool,
}

/// Why a batch or a row was not stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ZerobusError {
    /// An option, a descriptor or the schema is wrong, or the wrapper was shut down.
    ConfigurationError(Failure),
    /// The credentials were refused.
    AuthenticationError(Failure),
    /// The service cannot be reached, the stream broke, or writes are paused.
    ConnectionError(Failure),
    /// A row, or a whole schema, cannot be written as Protobuf.
    ConversionError(Failure),
    /// The service refused the data.
    TransmissionError(Failure),
    /// All attempts are used; the text has their count and the last error.
    RetryExhausted(Failure),
    /// No token could be had, and none is left.
    TokenRefreshError(Failure),
}

impl ZerobusError {
    /// The name of the variant.
    pub fn error_type(&self) -> &'static str {
        self.parts().0
    }

    /// What is known of the failure.
    pub fn failure(&self) -> &Failure {
        self.parts().2
    }

    /// Whether it may help to send the same again.
    pub fn is_retryable(&self) -> bool {
        self.failure().retryable
    }

    /// Whether a new token may help: true of every `AuthenticationError`.
    pub fn is_token_expired(&self) -> bool {
        matches!(self, Self::AuthenticationError(_))
    }

    /// A `ConfigurationError` with this text.
    pub fn configuration(message: impl Into<Arc<str>>) -> Self {
        Self::ConfigurationError(Failure { message: message.into(), ..Failure::default() })
    }

    /// A `ConversionError` with this text.
    pub fn conversion(message: impl Into<Arc<str>>) -> Self {
        Self::ConversionError(Failure { message: message.into(), ..Failure::default() })
    }

    /// A `ConnectionError` with this text, which may pass.
    pub fn connection(message: impl Into<Arc<str>>) -> Self {
        Self::ConnectionError(Failure { message: message.into(), retryable: true, ..Failure::default() })
    }

    /// Reads an error as [`Display`](fmt::Display) writes it, or with the name of the variant in front; a text without
    /// either is a `ConversionError`.
    pub fn from_text(text: &str) -> Self {
        let (prefix, message) = text.split_once(':').unwrap_or(("", text));
        let variant: fn(Failure) -> Self = match prefix.trim() {
            "ConfigurationError" | "Configuration error" => Self::ConfigurationError,
            "AuthenticationError" | "Authentication error" => Self::AuthenticationError,
            "ConnectionError" | "Connection error" => Self::ConnectionError,
            "ConversionError" | "Conversion error" => Self::ConversionError,
            "TransmissionError" | "Transmission error" => Self::TransmissionError,
            "RetryExhausted" | "Retry exhausted" => Self::RetryExhausted,
            "TokenRefreshError" | "Token refresh error" => Self::TokenRefreshError,
            _ => return Self::conversion(text),
        };
        let failure = |retryable| Failure { message: message.trim_start().into(), retryable, ..Failure::default() };
        match variant(failure(false)) {
            // The variants that are always worth another try.
            Self::ConnectionError(_) | Self::TokenRefreshError(_) => variant(failure(true)),
            other => other,
        }
    }

    fn parts(&self) -> (&'static str, &'static str, &Failure) {
        match self {
            Self::ConfigurationError(failure) => ("ConfigurationError", "Configuration error", failure),
            Self::AuthenticationError(failure) => ("AuthenticationError", "Authentication error", failure),
            Self::ConnectionError(failure) => ("ConnectionError", "Connection error", failure),
            Self::ConversionError(failure) => ("ConversionError", "Conversion error", failure),
            Self::TransmissionError(failure) => ("TransmissionError", "Transmission error", failure),
            Self::RetryExhausted(failure) => ("RetryExhausted", "Retry exhausted", failure),
            Self::TokenRefreshError(failure) => ("TokenRefreshError", "Token refresh error", failure),
        }
    }
}

impl fmt::Display for ZerobusError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, prefix, failure) = self.parts();
        write!(formatter, "{prefix}: {}", failure.message)
    }
}

impl std::error::Error for ZerobusError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f07_texts_map_back_to_their_variants() {
        let read = |text: &str| {
            let error = ZerobusError::from_text(text);
            (error.error_type(), error.failure().message.to_string(), error.is_retryable())
        };
        assert_eq!(read("ConversionError: a: b"), ("ConversionError", "a: b".to_owned(), false));
        assert_eq!(read("Conversion error: a: b"), ("ConversionError", "a: b".to_owned(), false));
        assert_eq!(read("Connection error: gone"), ("ConnectionError", "gone".to_owned(), true));
        assert_eq!(read("TokenRefreshError: 503"), ("TokenRefreshError", "503".to_owned(), true));
        assert_eq!(read("RetryExhausted: 5 tries"), ("RetryExhausted", "5 tries".to_owned(), false));
        assert_eq!(read("row 3: odd"), ("ConversionError", "row 3: odd".to_owned(), false));
        assert_eq!(read(""), ("ConversionError", String::new(), false));
    }
}
