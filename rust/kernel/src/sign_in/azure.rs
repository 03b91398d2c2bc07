//! Azure: service principals of Entra, and the identities of Azure's machines.

use std::env;
use std::error::Error as StdError;
use std::net::Ipv4Addr;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, try_join};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, LOCATION};
use tokio::sync::OnceCell;
use tokio::time::Instant;
use url::{Host, Url};

use super::identity::{FormValue, Identity, TokenAnswer, TokenRequest, is_safe, refused};
use crate::auth::{Demand, Grant, Secret, TokenSource};
use crate::error::{Error, ErrorKind, Result};
use crate::http::host_and_port;

const MANAGEMENT_TOKEN_HEADER: &str = "x-databricks-azure-sp-management-token";
const RESOURCE_ID_HEADER: &str = "x-databricks-azure-workspace-resource-id";
const METADATA_SERVICE: &str = "http://169.254.169.254/metadata/identity/oauth2/token";

/// One of Azure's clouds. Source: the platform's SDKs.
struct Cloud {
    login: &'static str,
    management: &'static str,
    /// The application that workspaces are to Entra.
    workspaces: &'static str,
}

const PUBLIC: Cloud = Cloud {
    login: "https://login.microsoftonline.com/",
    management: "https://management.core.windows.net/",
    workspaces: "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d",
};

impl Cloud {
    fn of(workspace: &Url) -> Self {
        let host = workspace.host_str().unwrap_or_default();
        if host.ends_with(".databricks.azure.us") {
            let login = "https://login.microsoftonline.us/";
            Self { login, management: "https://management.core.usgovcloudapi.net/", ..PUBLIC }
        } else if host.ends_with(".databricks.azure.cn") {
            let login = "https://login.chinacloudapi.cn/";
            Self { login, management: "https://management.core.chinacloudapi.cn/", ..PUBLIC }
        } else if host.ends_with(".staging.azuredatabricks.net") {
            Self { workspaces: "4a67d088-db5c-48f1-9ff2-0aace800ae68", ..PUBLIC }
        } else if host.ends_with(".dev.azuredatabricks.net") {
            Self { workspaces: "62a912ac-b58e-4c1d-89ea-b2dbfc7358fc", ..PUBLIC }
        } else {
            PUBLIC
        }
    }
}

/// Makes one grant of the token for the workspace and the one for the management of Azure, which are renewed together.
fn both(workspace: TokenAnswer, management: Option<TokenAnswer>, resource_id: Option<&str>) -> Grant {
    let mut grant = workspace.into_grant();
    if let Some(management) = management {
        let management = management.into_grant();
        grant.lifetime = grant.lifetime.min(management.lifetime);
        grant.headers.push((MANAGEMENT_TOKEN_HEADER.into(), management.token));
    }
    if let Some(id) = resource_id {
        grant.headers.push((RESOURCE_ID_HEADER.into(), Secret::new(id)));
    }
    grant
}

/// A service principal of Entra with its secret.
pub(super) struct ServicePrincipal {
    identity: Identity,
    cloud: Cloud,
    client_id: String,
    client_secret: Secret,
    tenant: OnceCell<String>,
    resource_id: Option<String>,
    login: Url,
}

impl ServicePrincipal {
    pub(super) fn new(
        identity: Identity,
        client_id: &str,
        client_secret: &Secret,
        tenant_id: Option<&str>,
        resource_id: Option<&str>,
        login: Option<Url>,
    ) -> Result<Self> {
        if tenant_id.is_some_and(|tenant| !is_tenant(tenant)) {
            let text = "`azure_tenant_id` is neither an id nor a domain name";
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        let cloud = Cloud::of(identity.workspace());
        let login = match login {
            Some(login) => login,
            None => Url::parse(cloud.login)
                .map_err(|error| Error::new(ErrorKind::Internal, "no address to log in").with_source(error))?,
        };
        Ok(Self {
            identity,
            cloud,
            client_id: client_id.to_owned(),
            client_secret: client_secret.clone(),
            tenant: OnceCell::new_with(tenant_id.map(str::to_owned)),
            resource_id: resource_id.map(str::to_owned),
            login,
        })
    }

    async fn ask(&self) -> Result<Grant> {
        let deadline = self.identity.deadline();
        let tenant = self.tenant.get_or_try_init(|| self.discover_tenant(deadline)).await?;
        let mut url = self.login.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend([tenant, "oauth2", "v2.0", "token"]);
        }
        let (workspace, management) = try_join(self.token(&url, self.cloud.workspaces, deadline), async {
            match &self.resource_id {
                Some(_) => self.token(&url, self.cloud.management, deadline).await.map(Some),
                None => Ok(None),
            }
        })
        .await?;
        Ok(both(workspace, management, self.resource_id.as_deref()))
    }

    async fn token(&self, url: &Url, resource: &str, deadline: Instant) -> Result<TokenAnswer> {
        let scope = format!("{resource}/.default");
        let request = TokenRequest {
            form: vec![
                ("grant_type", "client_credentials".into()),
                ("client_id", self.client_id.as_str().into()),
                ("client_secret", FormValue::Secret(&self.client_secret)),
                ("scope", scope.as_str().into()),
            ],
            basic: None,
            may_be_repeated: true,
        };
        self.identity.token(url, request, deadline).await
    }

    /// Asks the workspace, which sends users who sign in to their tenant.
    async fn discover_tenant(&self, deadline: Instant) -> Result<String> {
        let mut url = self.identity.workspace().clone();
        url.set_path("/aad/auth");
        let answer = self.identity.get(&url, HeaderMap::new(), deadline).await?;
        let location = answer.headers.get(LOCATION).and_then(|value| Url::parse(value.to_str().ok()?).ok());
        let tenant = location
            .as_ref()
            .filter(|_| answer.status.is_redirection())
            .and_then(|location| location.path_segments()?.next().filter(|tenant| is_tenant(tenant)));
        tenant.map(str::to_owned).ok_or_else(|| {
            let (host, status) = (host_and_port(&url), answer.status.as_u16());
            let text = format!(
                "sign-in: {host} did not name its Azure tenant (HTTP {status}): is it on Azure? Give `azure_tenant_id`"
            );
            Error::new(ErrorKind::Unauthenticated, text).with_http_status(status)
        })
    }
}

impl TokenSource for ServicePrincipal {
    fn grant(&self, _demand: Demand) -> BoxFuture<'_, Result<Grant, Box<dyn StdError + Send + Sync>>> {
        async { Ok(self.ask().await?) }.boxed()
    }

    fn time_limit(&self) -> Duration {
        self.identity.time_limit()
    }
}

/// The identity of the Azure machine that this process runs on.
pub(super) struct ManagedIdentity {
    identity: Identity,
    cloud: Cloud,
    client_id: Option<String>,
    resource_id: Option<String>,
    endpoint: Option<Url>,
}

/// Whom a machine asks, and in which dialect.
struct Endpoint {
    url: Url,
    version: &'static str,
    headers: HeaderMap,
}

impl ManagedIdentity {
    /// `identity` must not go through a proxy.
    pub(super) fn new(
        identity: Identity,
        client_id: Option<&str>,
        resource_id: Option<&str>,
        endpoint: Option<Url>,
    ) -> Self {
        let cloud = Cloud::of(identity.workspace());
        let [client_id, resource_id] = [client_id, resource_id].map(|text| text.map(str::to_owned));
        Self { identity, cloud, client_id, resource_id, endpoint }
    }

    async fn ask(&self) -> Result<Grant> {
        let deadline = self.identity.deadline();
        let endpoint = self.endpoint()?;
        let (workspace, management) = try_join(self.token(&endpoint, self.cloud.workspaces, deadline), async {
            match &self.resource_id {
                Some(_) => self.token(&endpoint, self.cloud.management, deadline).await.map(Some),
                None => Ok(None),
            }
        })
        .await?;
        Ok(both(workspace, management, self.resource_id.as_deref()))
    }

    /// The service of virtual machines, or what App Service, Functions and Container Apps say in the environment.
    fn endpoint(&self) -> Result<Endpoint> {
        let invalid = |text: &str| Error::new(ErrorKind::InvalidArgument, text);
        let metadata =
            || HeaderMap::from_iter([(HeaderName::from_static("metadata"), HeaderValue::from_static("true"))]);
        if let Some(url) = &self.endpoint {
            return Ok(Endpoint { url: url.clone(), version: "2018-02-01", headers: metadata() });
        }
        if let (Ok(url), Ok(header)) = (env::var("IDENTITY_ENDPOINT"), env::var("IDENTITY_HEADER")) {
            let url = Url::parse(&url).ok().filter(is_metadata_service);
            let url = url.ok_or_else(|| invalid("`IDENTITY_ENDPOINT` is no address of this machine"))?;
            let mut value =
                HeaderValue::from_str(&header).map_err(|_| invalid("`IDENTITY_HEADER` cannot be sent as a header"))?;
            value.set_sensitive(true);
            let headers = HeaderMap::from_iter([(HeaderName::from_static("x-identity-header"), value)]);
            return Ok(Endpoint { url, version: "2019-08-01", headers });
        }
        let url = Url::parse(METADATA_SERVICE)
            .map_err(|error| Error::new(ErrorKind::Internal, "no metadata service").with_source(error))?;
        Ok(Endpoint { url, version: "2018-02-01", headers: metadata() })
    }

    async fn token(&self, endpoint: &Endpoint, resource: &str, deadline: Instant) -> Result<TokenAnswer> {
        let mut url = endpoint.url.clone();
        url.query_pairs_mut().append_pair("api-version", endpoint.version).append_pair("resource", resource);
        if let Some(client_id) = &self.client_id {
            url.query_pairs_mut().append_pair("client_id", client_id);
        }
        let answer = self.identity.get(&url, endpoint.headers.clone(), deadline).await.map_err(|error| {
            let text = format!(
                "sign-in: the metadata service of Azure at {} cannot be reached: managed identities are there on Azure's machines only",
                host_and_port(&url)
            );
            Error::new(error.kind(), text).with_retryable(error.is_retryable()).with_source(error)
        })?;
        if !answer.status.is_success() {
            let header = endpoint.headers.get("x-identity-header").and_then(|value| value.to_str().ok());
            let secrets: Vec<&str> = header.into_iter().collect();
            return Err(refused(&url, &answer, "this machine has no such identity", &secrets));
        }
        TokenAnswer::read(&url, &answer)
    }
}

impl TokenSource for ManagedIdentity {
    fn grant(&self, _demand: Demand) -> BoxFuture<'_, Result<Grant, Box<dyn StdError + Send + Sync>>> {
        async { Ok(self.ask().await?) }.boxed()
    }

    fn time_limit(&self) -> Duration {
        self.identity.time_limit()
    }
}

/// Tells whether `url` is on this machine, or on the link where Azure answers for it.
pub(super) fn is_metadata_service(url: &Url) -> bool {
    let is_link_local = matches!(url.host(), Some(Host::Ipv4(address)) if Ipv4Addr::is_link_local(&address));
    is_safe(url) || (url.scheme() == "http" && is_link_local)
}

/// Ids and domain names; nothing that could lead to another place of the login host.
fn is_tenant(text: &str) -> bool {
    let is_usual = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    text.chars().all(is_usual) && text.chars().any(|c| c.is_ascii_alphanumeric()) && text.len() <= 253
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clouds_are_told_by_the_host() {
        for (host, login, workspaces) in [
            ("adb-1.2.azuredatabricks.net", "microsoftonline.com", "2ff814a6"),
            ("adb-1.2.dev.azuredatabricks.net", "microsoftonline.com", "62a912ac"),
            ("adb-1.2.staging.azuredatabricks.net", "microsoftonline.com", "4a67d088"),
            ("adb-1.2.databricks.azure.us", "microsoftonline.us", "2ff814a6"),
            ("adb-1.2.databricks.azure.cn", "chinacloudapi.cn", "2ff814a6"),
            ("dbc-1.cloud.databricks.com", "microsoftonline.com", "2ff814a6"),
        ] {
            let cloud = Cloud::of(&Url::parse(&format!("https://{host}/")).unwrap());
            assert!(cloud.login.ends_with(&format!("{login}/")) && cloud.workspaces.starts_with(workspaces), "{host}");
            assert!(cloud.management.starts_with("https://management.core.") && cloud.management.ends_with('/'));
        }
    }

    #[test]
    fn tenants_and_metadata_services_are_told_from_other_things() {
        for text in ["9f2c1d6a-0000-4000-8000-0123456789ab", "contoso.onmicrosoft.com"] {
            assert!(is_tenant(text), "{text}");
        }
        for text in ["", "..", ".", "a/b", "a b", "a?b", "é"] {
            assert!(!is_tenant(text), "{text}");
        }
        let is = |text: &str| is_metadata_service(&Url::parse(text).unwrap());
        assert!(is(METADATA_SERVICE) && is("http://localhost:4141/msi/token") && is("https://a/b"));
        assert!(!is("http://10.0.0.1/a") && !is("http://a.b/c") && !is("ftp://169.254.169.254/"));
    }
}
