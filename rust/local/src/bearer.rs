//! Who may use the API: the fixed token, and tokens that the identity provider issued.

use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, HeaderMap};

use crate::identity::{Audience, TokenState};
use crate::submission::Refused;
use crate::warehouse::Warehouse;

/// Refuses a request as recorded servers do, with numeric codes.
pub(crate) fn check(warehouse: &Warehouse, headers: &HeaderMap) -> Result<(), Refused> {
    let unauthorized = |message| Refused::new(StatusCode::UNAUTHORIZED, 401, message);
    let forbidden = |message| Refused::new(StatusCode::FORBIDDEN, 403, message);
    let token = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    let Some(token) = token.filter(|token| !token.is_empty()) else {
        return Err(unauthorized("Credential was not sent or was of an unsupported type for this API."));
    };
    if token == warehouse.options.access_token {
        return Ok(());
    }
    match warehouse.identity.ledger.state(token) {
        TokenState::Valid(Audience::Workspace) => Ok(()),
        TokenState::Valid(Audience::AzureWorkspace) => {
            warehouse.identity.check_azure_headers(headers).map_err(forbidden)
        }
        TokenState::Valid(_) => Err(forbidden("The token is for another resource.")),
        TokenState::Expired => Err(unauthorized("Access token has expired.")),
        TokenState::Revoked => Err(unauthorized("Access token was revoked.")),
        TokenState::Unknown => Err(forbidden("Invalid access token.")),
    }
}
