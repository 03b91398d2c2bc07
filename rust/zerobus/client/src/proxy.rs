//! The proxy that the environment names for gRPC, if any.

use std::env;

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;

use crate::error::ZerobusError;

/// The first that is set leads the way, whatever the address; as in gRPC's own clients.
const PROXY: [&str; 3] = ["grpc_proxy", "https_proxy", "http_proxy"];
/// The first that is set names the hosts that need none.
const NO_PROXY: [&str; 2] = ["no_grpc_proxy", "no_proxy"];

/// Returns the way to `endpoint` through its proxy, or nothing where none is in between.
///
/// # Errors
/// `ConfigurationError` for a proxy that is not spoken to by plain HTTP.
pub(crate) fn tunnel(endpoint: &Uri) -> Result<Option<Tunnel<HttpConnector>>, ZerobusError> {
    tunnel_by(endpoint, |name| env::var(name).ok())
}

fn tunnel_by(
    endpoint: &Uri,
    read: impl Fn(&str) -> Option<String>,
) -> Result<Option<Tunnel<HttpConnector>>, ZerobusError> {
    let host = endpoint.host().unwrap_or_default();
    let is_loopback = host == "localhost" || host.starts_with("127.") || host == "[::1]";
    if is_loopback {
        return Ok(None);
    }
    let first = |names: &[&str]| {
        let of = |name: &&str| [read(name), read(&name.to_ascii_uppercase())];
        names.iter().flat_map(of).flatten().find(|value| !value.is_empty())
    };
    let Some(proxy) = first(&PROXY) else { return Ok(None) };
    let matcher = Matcher::builder().all(proxy).no(first(&NO_PROXY).unwrap_or_default()).build();
    let Some(found) = matcher.intercept(endpoint) else { return Ok(None) };
    let scheme = found.uri().scheme_str().unwrap_or_default();
    if scheme != "http" {
        let names = PROXY.join("`, `");
        let text = format!("the proxy that the environment names (`{names}`) is of scheme `{scheme}`; expected `http`");
        return Err(ZerobusError::configuration(text));
    }
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.enforce_http(false);
    let tunnel = Tunnel::new(found.uri().clone(), connector);
    Ok(Some(match found.basic_auth() {
        Some(auth) => tunnel.with_auth(auth.clone()),
        None => tunnel,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has_proxy(endpoint: &str, variables: &[(&str, &str)]) -> bool {
        let read =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        tunnel_by(&endpoint.parse().unwrap(), read).unwrap().is_some()
    }

    #[test]
    fn the_environment_names_the_proxy_and_whom_it_is_not_for() {
        let endpoint = "https://1.zerobus.eu.cloud.databricks.com";
        let proxy = "http://user:secret@proxy:3128";
        assert!(!has_proxy(endpoint, &[]));
        assert!(!has_proxy(endpoint, &[("grpc_proxy", "")]));
        for name in ["grpc_proxy", "GRPC_PROXY", "https_proxy", "HTTPS_PROXY", "http_proxy"] {
            assert!(has_proxy(endpoint, &[(name, proxy)]), "{name}");
            assert!(!has_proxy(endpoint, &[(name, proxy), ("no_grpc_proxy", "databricks.com")]));
            assert!(!has_proxy("http://127.0.0.1:50051", &[(name, proxy)]));
        }
        // The one for gRPC stands in the place of the other.
        assert!(has_proxy(
            endpoint,
            &[("http_proxy", proxy), ("no_grpc_proxy", "a.b"), ("no_proxy", "databricks.com")]
        ));
    }

    #[test]
    fn a_proxy_that_is_not_spoken_to_in_the_clear_is_refused() {
        let endpoint = "https://1.zerobus.eu.cloud.databricks.com".parse().unwrap();
        for scheme in ["https", "socks5"] {
            let read = |name: &str| (name == "https_proxy").then(|| format!("{scheme}://user:secret@proxy:3128"));
            let text = tunnel_by(&endpoint, read).unwrap_err().to_string();
            assert!(text.contains(&format!("`{scheme}`")) && !text.contains("secret"), "{text}");
        }
    }
}
