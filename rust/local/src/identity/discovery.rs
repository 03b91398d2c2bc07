//! What the provider tells about itself.

use serde_json::json;

use super::key::ALGORITHMS;
use super::{EXCHANGE_GRANT, Identity, JWT_BEARER_GRANT};
use crate::answer::Answer;

/// The document of RFC 8414; other names of it get the same.
pub(super) fn document(identity: &Identity) -> Answer {
    let issuer = &identity.issuer;
    Answer::json(&json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/v1/authorize"),
        "token_endpoint": identity.token_endpoint(),
        "jwks_uri": format!("{issuer}/jwks.json"),
        "scopes_supported": ["all-apis", "sql", "offline_access", "openid", "email", "profile"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported":
            ["client_credentials", "authorization_code", "refresh_token", EXCHANGE_GRANT, JWT_BEARER_GRANT],
        "token_endpoint_auth_methods_supported":
            ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"],
        "token_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
        "id_token_signing_alg_values_supported": ["ES256"],
        "subject_types_supported": ["public"],
        "code_challenge_methods_supported": ["S256"],
    }))
}

/// The keys that access tokens are signed with (RFC 7517).
pub(super) fn keys(identity: &Identity) -> Answer {
    Answer::json(&json!({"keys": [identity.signer.jwk()]}))
}
