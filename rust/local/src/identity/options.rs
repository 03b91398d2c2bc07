//! Whom the identity provider knows.

use std::fmt;

use serde::Deserialize;

use super::key::PublicKey;
use crate::options::OauthClient;

/// The issuer of the tokens that [`crate::LocalServer::foreign_token`] signs.
pub const FOREIGN_ISSUER: &str = "https://identity.example.com";

/// Clients, issuers and identities of the provider; as JSON, an object of the field names, every one optional.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IdentityOptions {
    /// Service principals and applications.
    pub clients: Vec<IdentityClient>,
    /// Ids of clients without a secret, for people who sign in with a browser. Default: those of Databricks' tools.
    pub public_clients: Vec<String>,
    /// Issuers whose tokens are exchanged, besides [`FOREIGN_ISSUER`], which is always known.
    pub issuers: Vec<ForeignIssuer>,
    /// A service principal of Entra.
    pub azure: Option<AzureOptions>,
    /// The identity of the machine, which the metadata endpoint of Azure's machines tells.
    pub managed_identity: Option<ManagedIdentity>,
}

impl Default for IdentityOptions {
    fn default() -> Self {
        let public = ["databricks-cli", "databricks-sql-python", "databricks-sql-connector"];
        Self {
            clients: Vec::new(),
            public_clients: public.map(str::to_owned).to_vec(),
            issuers: Vec::new(),
            azure: None,
            managed_identity: None,
        }
    }
}

/// A client that proves who it is: by its secret, or with a token it signs.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityClient {
    /// The client id.
    pub client_id: String,
    /// The client secret; without one only signed tokens are taken.
    #[serde(default)]
    pub client_secret: Option<String>,
    /// The keys whose signatures are taken.
    #[serde(default)]
    pub public_keys: Vec<RegisteredKey>,
}

/// A public key and its id.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisteredKey {
    /// The key.
    pub pem: PublicKey,
    /// The `kid` that the header of a token must have; by default any will do.
    #[serde(default)]
    pub key_id: Option<String>,
}

impl RegisteredKey {
    /// Whether a token with this `kid` may be signed with the key.
    pub(crate) fn answers_to(&self, key_id: Option<&str>) -> bool {
        self.key_id.is_none() || self.key_id.as_deref() == key_id
    }
}

/// Another identity provider.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForeignIssuer {
    /// The `iss` of its tokens.
    pub issuer: String,
    /// The keys it signs with.
    pub public_keys: Vec<RegisteredKey>,
    /// The `aud` its tokens must have one of; by default any will do.
    #[serde(default)]
    pub audiences: Vec<String>,
}

/// A service principal of Entra, and what the workspace demands of it.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AzureOptions {
    /// The tenant.
    pub tenant_id: String,
    /// The client id.
    pub client_id: String,
    /// The client secret.
    pub client_secret: String,
    /// The resource id that requests must name in `X-Databricks-Azure-Workspace-Resource-Id`; by default they need not.
    #[serde(default)]
    pub workspace_resource_id: Option<String>,
    /// Requests must carry a management token in `X-Databricks-Azure-SP-Management-Token`.
    #[serde(default)]
    pub require_management_token: bool,
}

/// A managed identity.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManagedIdentity {
    /// Its client id.
    pub client_id: String,
    /// Its object id.
    #[serde(default)]
    pub object_id: Option<String>,
    /// Its resource id.
    #[serde(default)]
    pub resource_id: Option<String>,
    /// Requests that name no identity get this one. Default: true.
    #[serde(default = "yes")]
    pub is_default: bool,
}

fn yes() -> bool {
    true
}

impl From<OauthClient> for IdentityClient {
    fn from(client: OauthClient) -> Self {
        Self { client_id: client.client_id, client_secret: Some(client.client_secret), public_keys: Vec::new() }
    }
}

impl fmt::Debug for IdentityClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("IdentityClient").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

impl fmt::Debug for AzureOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("AzureOptions")
            .field("tenant_id", &self.tenant_id)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}
