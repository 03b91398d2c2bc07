//! The endpoints of the identity provider.

use crate::faults::Operation;

/// An endpoint, with the tenant in its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdentityRoute<'path> {
    Discovery,
    Jwks,
    Token,
    Authorize { decided: bool },
    AuthorizeRedirector,
    AzureTenant,
    AzureToken { tenant: &'path str, version: AzureVersion },
    ManagedIdentity,
}

/// The two dialects of Entra.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AzureVersion {
    /// Asks for a `resource`.
    V1,
    /// Asks for a `scope`.
    V2,
}

impl<'path> IdentityRoute<'path> {
    pub(crate) fn of(method: &str, segments: &[&'path str]) -> Option<Self> {
        Some(match (method, segments) {
            ("GET", ["oidc", ".well-known", _] | ["oidc", "accounts", _, ".well-known", _]) => Self::Discovery,
            ("GET", ["oidc", "jwks.json"]) => Self::Jwks,
            ("POST", ["oidc", "v1", "token"] | ["oidc", "accounts", _, "v1", "token"]) => Self::Token,
            ("GET", ["oidc", "v1", "authorize"]) => Self::Authorize { decided: false },
            ("POST", ["oidc", "v1", "authorize"]) => Self::Authorize { decided: true },
            ("GET", ["oidc", "oauth2", "v2.0", "authorize"]) => Self::AuthorizeRedirector,
            ("GET", ["aad", "auth"]) => Self::AzureTenant,
            ("GET", ["metadata", "identity", "oauth2", "token"]) => Self::ManagedIdentity,
            ("POST", [tenant, "oauth2", "token"]) => Self::AzureToken { tenant, version: AzureVersion::V1 },
            ("POST", [tenant, "oauth2", "v2.0", "token"]) => Self::AzureToken { tenant, version: AzureVersion::V2 },
            _ => return None,
        })
    }

    /// The operation that faults and the log know the endpoint by.
    pub(crate) fn operation(self) -> Operation {
        match self {
            Self::Discovery => Operation::Discovery,
            Self::Jwks => Operation::Jwks,
            Self::Token => Operation::Token,
            Self::Authorize { .. } | Self::AuthorizeRedirector => Operation::Authorize,
            Self::AzureTenant => Operation::AzureTenant,
            Self::AzureToken { .. } => Operation::AzureToken,
            Self::ManagedIdentity => Operation::Imds,
        }
    }
}
