//! Entra and the metadata endpoint of Azure's machines, as far as workspaces need them.

use std::time::Duration;

use hyper::header::LOCATION;
use hyper::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};

use super::client::basic_credentials;
use super::form::Form;
use super::ledger::{Audience, TokenState};
use super::route::AzureVersion;
use super::{Identity, OauthError, token_answer, unix_seconds};
use crate::answer::Answer;
use crate::switches::Switches;

/// The application of workspaces, and those of two stages before it.
const WORKSPACE_APPLICATIONS: [&str; 3] = [
    "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d",
    "62a912ac-b58e-4c1d-89ea-b2dbfc7358fc",
    "4a67d088-db5c-48f1-9ff2-0aace800ae68",
];
/// Every cloud has a management endpoint of its own.
const MANAGEMENT: &str = "https://management.";

const MANAGEMENT_TOKEN_HEADER: &str = "x-databricks-azure-sp-management-token";
const RESOURCE_ID_HEADER: &str = "x-databricks-azure-workspace-resource-id";

/// Answers `GET /aad/auth`: the redirect by which clients find out the tenant.
pub(super) fn tenant(identity: &Identity) -> Result<Answer, OauthError> {
    let Some(azure) = &identity.azure else {
        return Err(OauthError {
            status: StatusCode::NOT_FOUND,
            ..OauthError::request("this workspace is not on Azure")
        });
    };
    let (address, tenant) = (&identity.api_address, &azure.tenant_id);
    let mut answer = Answer::bytes(StatusCode::FOUND, bytes::Bytes::new());
    answer.insert(LOCATION, &format!("{address}/{tenant}/oauth2/authorize?client_id={}", azure.client_id));
    Ok(answer)
}

/// Says what a request with a token of Entra lacks.
pub(super) fn check_headers(identity: &Identity, headers: &HeaderMap) -> Result<(), &'static str> {
    let Some(azure) = &identity.azure else { return Ok(()) };
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match header(MANAGEMENT_TOKEN_HEADER) {
        Some(token) if identity.ledger.state(token) == TokenState::Valid(Audience::AzureManagement) => {}
        Some(_) => return Err("X-Databricks-Azure-SP-Management-Token is not a valid management token."),
        None if azure.require_management_token => {
            return Err("X-Databricks-Azure-SP-Management-Token is missing.");
        }
        None => {}
    }
    if azure.workspace_resource_id.is_some() && header(RESOURCE_ID_HEADER) != azure.workspace_resource_id.as_deref() {
        return Err("X-Databricks-Azure-Workspace-Resource-Id does not name this workspace.");
    }
    Ok(())
}

/// A request for a token of Entra.
pub(super) struct AzureTokenRequest<'request> {
    pub(super) identity: &'request Identity,
    pub(super) switches: &'request Switches,
    pub(super) form: &'request Form,
    pub(super) headers: &'request HeaderMap,
}

impl AzureTokenRequest<'_> {
    /// Answers `POST /{tenant}/oauth2/token` and `POST /{tenant}/oauth2/v2.0/token`.
    pub(super) fn answer(&self, tenant: &str, version: AzureVersion) -> Result<Answer, OauthError> {
        let bad = |code, number, text: &str| Err(OauthError::azure(StatusCode::BAD_REQUEST, code, number, text));
        let Some(azure) = self.identity.azure.as_ref().filter(|azure| azure.tenant_id == tenant) else {
            return bad("invalid_request", 90002, "Tenant not found.");
        };
        match self.form.get("grant_type") {
            Some("client_credentials") => {}
            Some(_) => return bad("unsupported_grant_type", 70003, "The app requested an unsupported grant type."),
            None => return bad("invalid_request", 900_144, "The request body must contain: 'grant_type'."),
        }
        let basic = self.headers.get("authorization").and_then(|value| basic_credentials(value.to_str().ok()?));
        let in_form = || Some((self.form.get("client_id")?.to_owned(), self.form.get("client_secret")?.to_owned()));
        let Some((client_id, client_secret)) = basic.or_else(in_form) else {
            return bad("invalid_request", 900_144, "The request body must contain: 'client_id', 'client_secret'.");
        };
        if client_id != azure.client_id {
            return bad("unauthorized_client", 700_016, "Application was not found in the directory.");
        }
        if client_secret != azure.client_secret {
            let text = "Invalid client secret provided.";
            return Err(OauthError::azure(StatusCode::UNAUTHORIZED, "invalid_client", 7_000_215, text));
        }
        let resource = match version {
            // Version 1 does not read `scope`, which some clients send all the same.
            AzureVersion::V1 => self.form.get("resource"),
            AzureVersion::V2 => self.form.get("scope").and_then(|scope| scope.strip_suffix("/.default")),
        };
        match (resource, version) {
            (Some(resource), _) => self.issue(tenant, &client_id, resource, version, "azure_client_credentials"),
            (None, AzureVersion::V1) => bad("invalid_resource", 900_144, "The request body must contain: 'resource'."),
            (None, AzureVersion::V2) => bad("invalid_scope", 70011, "The provided value for 'scope' is not valid."),
        }
    }

    /// Answers `GET /metadata/identity/oauth2/token`.
    pub(super) fn managed_identity(&self) -> Result<Answer, OauthError> {
        let metadata = self.headers.get("metadata").and_then(|value| value.to_str().ok());
        if !metadata.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Err(OauthError::request("Required metadata header not specified"));
        }
        if self.headers.contains_key("x-forwarded-for") {
            return Err(OauthError::request(
                "Required audience parameter not specified: requests come through no proxy",
            ));
        }
        if self.form.get("api-version").is_none() {
            return Err(OauthError::request("Required query variable 'api-version' is missing"));
        }
        let Some(resource) = self.form.get("resource") else {
            return Err(OauthError::request("Required query variable 'resource' is missing"));
        };
        let missing = || OauthError::request("Identity not found");
        let known = self.identity.machine.as_ref().ok_or_else(missing)?;
        let asked = [
            (self.form.get("client_id"), Some(known.client_id.as_str())),
            (self.form.get("object_id"), known.object_id.as_deref()),
            (self.form.get("mi_res_id").or_else(|| self.form.get("msi_res_id")), known.resource_id.as_deref()),
        ];
        let named = asked.iter().filter(|(asked, _)| asked.is_some()).count();
        let fits = asked.iter().all(|(asked, known)| asked.is_none() || asked == known);
        if named > 1 {
            return Err(OauthError::request("Only one of client_id, object_id and mi_res_id may be given"));
        }
        if !fits || (named == 0 && !known.is_default) {
            return Err(missing());
        }
        let tenant = self.identity.azure.as_ref().map_or("local", |azure| azure.tenant_id.as_str());
        self.issue(tenant, &known.client_id, resource, AzureVersion::V1, "managed_identity")
    }

    fn issue(
        &self,
        tenant: &str,
        client_id: &str,
        resource: &str,
        version: AzureVersion,
        grant: &'static str,
    ) -> Result<Answer, OauthError> {
        let audience = if WORKSPACE_APPLICATIONS.contains(&resource) {
            Audience::AzureWorkspace
        } else if resource.starts_with(MANAGEMENT) {
            Audience::AzureManagement
        } else {
            Audience::Elsewhere
        };
        let mut claims = Map::new();
        for (name, value) in [("aud", resource), ("appid", client_id), ("sub", client_id), ("tid", tenant)] {
            claims.insert(name.to_owned(), Value::from(value));
        }
        let issuer = format!("{}/{tenant}/", self.identity.api_address);
        let token = self.identity.access_token(claims, &issuer, self.switches)?;
        let lifetime = self.switches.oauth_lifetime_seconds;
        self.identity.ledger.issue(&token, audience, Duration::from_secs(u64::from(lifetime)), grant);
        Ok(token_answer(&match version {
            // Version 1 and the machines write numbers as texts.
            AzureVersion::V1 => {
                let now = unix_seconds() as u64;
                json!({
                    "token_type": "Bearer", "expires_in": lifetime.to_string(), "ext_expires_in": lifetime.to_string(),
                    "expires_on": (now + u64::from(lifetime)).to_string(), "not_before": now.to_string(),
                    "resource": resource, "client_id": client_id, "access_token": token,
                })
            }
            AzureVersion::V2 => json!({
                "token_type": "Bearer", "expires_in": lifetime, "ext_expires_in": lifetime, "access_token": token,
            }),
        }))
    }
}
