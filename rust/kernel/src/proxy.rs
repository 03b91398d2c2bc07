//! Which proxy requests go through: the environment's, a given one, or none.

use std::fmt;

use hyper_util::client::proxy::matcher::Matcher;
use url::Url;

use crate::auth::Secret;
use crate::config::is_loopback;
use crate::error::{Error, ErrorKind, Result};

/// Hosts that a proxy of the network is not for, whoever names it: it has another machine at these addresses, and would see
/// what is sent there without TLS.
const THIS_MACHINE: &str = "localhost,127.0.0.0/8,::1";

/// Which proxy requests go through; the same for the workspace, for storage hosts and for volumes.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ProxyConfig {
    /// That of `HTTPS_PROXY`, `HTTP_PROXY` and `ALL_PROXY`, in small letters or in capitals, except for the hosts of
    /// `NO_PROXY` and for this machine.
    #[default]
    Environment,
    /// None, whatever the environment says.
    Off,
    /// This one, for every host but those it leaves out; for this machine only where the proxy is on this machine, too.
    Through(Proxy),
}

impl ProxyConfig {
    /// Returns the address of the proxy that requests to `url` go through, with its user name and password, which are secret.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] names a variable of the environment that holds no address of a proxy, or `url`.
    pub fn address_for(&self, url: &str) -> Result<Option<String>> {
        let url = Url::parse(url).map_err(|_| Error::new(ErrorKind::InvalidArgument, "`url` is no address"))?;
        Ok(Proxies::of(self)?.matching(&url).map(|proxy| proxy.complete.expose().to_owned()))
    }
}

/// An HTTP proxy.
#[derive(Clone, PartialEq)]
pub struct Proxy {
    /// Without user name and password.
    address: Url,
    /// With them, percent-encoded.
    complete: Secret,
    has_credentials: bool,
    exceptions: String,
}

impl Proxy {
    /// Reads an address such as `http://host:port` or `http://user:password@host:port`, whose user name and password are
    /// percent-encoded; `http://` may be left out.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] says what is expected, and repeats nothing of the address.
    pub fn new(address: &str) -> Result<Self> {
        Self::named("proxy", address)
    }

    /// The same, in the words of the option or variable that `name` is.
    fn named(name: &str, address: &str) -> Result<Self> {
        let invalid = |why: &str| {
            Error::new(
                ErrorKind::InvalidArgument,
                format!("`{name}` {why}; expected an address like `http://host:port`"),
            )
        };
        let text = address.trim();
        if text.is_empty() {
            return Err(invalid("is empty"));
        }
        let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        // What the parser says could repeat the password.
        let mut complete = Url::parse(&text).map_err(|_| invalid("is no address of a proxy"))?;
        if !matches!(complete.scheme(), "http" | "https") {
            let kind = complete.scheme().to_owned();
            return Err(invalid(&format!("is of the kind `{kind}`, and only HTTP proxies can be used")));
        }
        if complete.host_str().is_none_or(str::is_empty) {
            return Err(invalid("names no host"));
        }
        complete.set_path("/");
        complete.set_query(None);
        complete.set_fragment(None);
        let has_credentials = !complete.username().is_empty() || complete.password().is_some();
        let mut bare = complete.clone();
        if bare.set_username("").is_err() || bare.set_password(None).is_err() {
            return Err(invalid("is no address of a proxy"));
        }
        Ok(Self { address: bare, complete: Secret::new(complete.as_str()), has_credentials, exceptions: String::new() })
    }

    /// Has the proxy get a user name and a password, both as they are.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] where the address has a user name or password already, or the name is empty.
    pub fn with_credentials(mut self, username: &str, password: &Secret) -> Result<Self> {
        let invalid = |why: &str| Error::new(ErrorKind::InvalidArgument, format!("`proxy` {why}"));
        if self.has_credentials {
            return Err(invalid("has a user name or password in its `url`, too; give them once"));
        }
        if username.is_empty() {
            return Err(invalid("has an empty `username`; leave it out where the proxy wants none"));
        }
        let mut complete = self.address.clone();
        // What the setters write is decoded later, and they leave percent signs as they are.
        let (username, password) = (username.replace('%', "%25"), password.expose().replace('%', "%25"));
        if complete.set_username(&username).is_err() || complete.set_password(Some(&password)).is_err() {
            return Err(invalid("cannot have a user name and password"));
        }
        (self.complete, self.has_credentials) = (Secret::new(complete.as_str()), true);
        Ok(self)
    }

    /// Leaves out hosts, as `NO_PROXY` does: names with all below them, addresses, networks such as `10.0.0.0/8`, or `*`.
    #[must_use]
    pub fn except(mut self, hosts: &[String]) -> Self {
        self.exceptions = exceptions(&hosts.join(","));
        self
    }

    /// Returns host and port, for messages.
    pub(crate) fn host_and_port(&self) -> String {
        let port = self.address.port_or_known_default().unwrap_or(80);
        format!("{}:{port}", self.address.host_str().unwrap_or_default())
    }

    /// Returns the address without user name and password.
    pub(crate) fn address(&self) -> &Url {
        &self.address
    }

    /// Returns the address with user name and password, for the one place that sends them.
    pub(crate) fn complete(&self) -> &Secret {
        &self.complete
    }

    pub(crate) fn has_credentials(&self) -> bool {
        self.has_credentials
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Proxy")
            .field("address", &self.address.as_str())
            .field("has_credentials", &self.has_credentials)
            .field("exceptions", &self.exceptions)
            .finish_non_exhaustive()
    }
}

/// The proxies in use, by the scheme of what is asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies {
    pub(crate) http: Option<Proxy>,
    pub(crate) https: Option<Proxy>,
    /// Hosts reached without them, as `NO_PROXY` lists them.
    pub(crate) no_proxy: String,
}

impl Proxies {
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] names a variable of the environment that holds no address of a proxy.
    pub(crate) fn of(config: &ProxyConfig) -> Result<Self> {
        match config {
            ProxyConfig::Off => Ok(Self::default()),
            ProxyConfig::Through(proxy) => {
                let no_proxy = if is_loopback(&proxy.address) {
                    proxy.exceptions.clone()
                } else {
                    format!("{},{THIS_MACHINE}", proxy.exceptions)
                };
                Ok(Self { http: Some(proxy.clone()), https: Some(proxy.clone()), no_proxy })
            }
            ProxyConfig::Environment => Self::from_environment(|name| std::env::var(name).ok()),
        }
    }

    /// Returns the addresses and exceptions as one text, empty without a proxy; no user name and no password is in it.
    pub(crate) fn shown(&self) -> String {
        let address = |proxy: &Option<Proxy>| proxy.as_ref().map_or("", |proxy| proxy.address.as_str()).to_owned();
        match (address(&self.http), address(&self.https)) {
            (http, https) if http.is_empty() && https.is_empty() => String::new(),
            (http, https) => format!("{http} {https} {}", self.no_proxy),
        }
    }

    /// Returns the proxy that requests to `url` go through.
    pub(crate) fn matching(&self, url: &Url) -> Option<&Proxy> {
        let mut matcher = Matcher::builder().no(self.no_proxy.clone());
        if let Some(proxy) = &self.http {
            matcher = matcher.http(proxy.address.as_str());
        }
        if let Some(proxy) = &self.https {
            matcher = matcher.https(proxy.address.as_str());
        }
        let port = url.port_or_known_default()?;
        let place = format!("{}://{}:{port}/", url.scheme(), url.host_str()?).parse().ok()?;
        matcher.build().intercept(&place)?;
        if url.scheme() == "https" { self.https.as_ref() } else { self.http.as_ref() }
    }

    /// Small letters go first, as with curl and with Python. Under CGI, `HTTP_PROXY` is a header of whoever asks.
    fn from_environment(read: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let is_cgi = read("REQUEST_METHOD").is_some();
        let proxy = |names: &[&str]| -> Result<Option<Proxy>> {
            let mut found = names.iter().filter(|name| !(is_cgi && **name == "HTTP_PROXY"));
            let Some((name, value)) = found.find_map(|name| Some((name, read(name)?))) else {
                return Ok(None);
            };
            if value.trim().is_empty() { Ok(None) } else { Proxy::named(name, &value).map(Some) }
        };
        let own = (proxy(&["http_proxy", "HTTP_PROXY"])?, proxy(&["https_proxy", "HTTPS_PROXY"])?);
        let (http, https) = match own {
            // One for all that nobody uses may be of any kind.
            (Some(http), Some(https)) => (Some(http), Some(https)),
            (http, https) => {
                let all = proxy(&["all_proxy", "ALL_PROXY"])?;
                (http.or_else(|| all.clone()), https.or(all))
            }
        };
        let given = read("no_proxy").or_else(|| read("NO_PROXY")).unwrap_or_default();
        Ok(Self { http, https, no_proxy: format!("{},{THIS_MACHINE}", exceptions(&given)) })
    }
}

/// Writes exceptions as the matcher reads them: `*.host` says the same as `.host`.
fn exceptions(text: &str) -> String {
    let hosts = text.split([',', ' ']).map(str::trim).filter(|host| !host.is_empty());
    let hosts = hosts.map(|host| if host.len() > 2 { host.strip_prefix('*').unwrap_or(host) } else { host });
    hosts.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_proxies() {
        for (text, expected, has_credentials) in [
            ("http://proxy.example:3128", "proxy.example:3128", false),
            (" proxy.example:3128 ", "proxy.example:3128", false),
            ("http://proxy.example", "proxy.example:80", false),
            ("https://proxy.example/", "proxy.example:443", false),
            ("http://me:pass-canary@[::1]:8080/x?y", "[::1]:8080", true),
            ("http://me@10.0.0.1:1", "10.0.0.1:1", true),
        ] {
            let proxy = Proxy::new(text).unwrap();
            assert_eq!(
                (proxy.host_and_port().as_str(), proxy.has_credentials()),
                (expected, has_credentials),
                "{text}"
            );
            assert!(!format!("{proxy:?}").contains("canary"));
        }
        for (text, expected) in [
            ("", "is empty"),
            ("http://", "no address"),
            ("http://u:pass-canary@/", "no address"),
            ("http://u:pass-canary@host:port", "no address"),
            ("socks5://u:pass-canary@host:1080", "kind `socks5`"),
        ] {
            let error = Proxy::new(text).unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(text.contains(expected) && text.contains("`proxy`") && !text.contains("canary"), "{text}");
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        }
    }

    #[test]
    fn credentials_are_taken_as_they_are() {
        let proxy = Proxy::new("host:1").unwrap().with_credentials("a b%41@x", &Secret::new("p:/%40")).unwrap();
        assert_eq!(proxy.complete().expose(), "http://a%20b%2541%40x:p%3A%2F%2540@host:1/");
        assert!(Proxy::new("u@host:1").unwrap().with_credentials("u", &Secret::new("p")).is_err());
        assert!(Proxy::new("host:1").unwrap().with_credentials("", &Secret::new("p")).is_err());
    }

    #[test]
    fn this_machine_is_reached_through_a_proxy_of_its_own_alone() {
        let address_for = |proxy: &str, url: &str| {
            ProxyConfig::Through(Proxy::new(proxy).unwrap()).address_for(url).unwrap().is_some()
        };
        for own in ["http://127.0.0.1:8181", "http://[::1]:1", "http://localhost:8181", "http://127.8.8.8:1"] {
            let url = format!("{own}/oidc");
            assert!(!address_for("http://proxy.example:3128", &url), "{url}");
            assert!(address_for("http://127.0.0.1:3128", &url), "{url}");
        }
        for other in ["https://dbc-1.cloud.databricks.com", "http://localhost.example", "http://10.0.0.1"] {
            assert!(address_for("http://proxy.example:3128", other) && address_for("localhost:1", other), "{other}");
        }
    }

    #[test]
    fn the_environment_as_curl_reads_it() {
        let read = |set: &'static [(&'static str, &'static str)]| {
            move |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        let hosts = |set| {
            let found = Proxies::from_environment(read(set)).unwrap();
            (found.http.map(|proxy| proxy.host_and_port()), found.https.map(|proxy| proxy.host_and_port()))
        };
        let (a, b, c) = (Some("a:1".to_owned()), Some("b:2".to_owned()), Some("c:3".to_owned()));
        assert_eq!(hosts(&[]), (None, None));
        assert_eq!(hosts(&[("HTTP_PROXY", "a:1"), ("HTTPS_PROXY", "http://b:2")]), (a.clone(), b.clone()));
        assert_eq!(hosts(&[("https_proxy", "b:2"), ("HTTPS_PROXY", "c:3")]), (None, b.clone()));
        assert_eq!(hosts(&[("https_proxy", ""), ("HTTPS_PROXY", "c:3")]), (None, None));
        assert_eq!(hosts(&[("ALL_PROXY", "c:3"), ("http_proxy", "a:1")]), (a.clone(), c));
        assert_eq!(hosts(&[("HTTP_PROXY", "a:1"), ("REQUEST_METHOD", "GET")]), (None, None));
        assert_eq!(hosts(&[("http_proxy", "a:1"), ("REQUEST_METHOD", "GET")]), (a, None));
        assert_eq!(hosts(&[("HTTPS_PROXY", "b:2"), ("REQUEST_METHOD", "GET")]), (None, b));
        let unused = read(&[("http_proxy", "a:1"), ("https_proxy", "a:1"), ("ALL_PROXY", "socks5://c:3")]);
        assert!(Proxies::from_environment(unused).is_ok());
        let error = Proxies::from_environment(read(&[("ALL_PROXY", "socks5://u:canary@c:3")])).unwrap_err().to_string();
        assert!(error.contains("`ALL_PROXY`") && !error.contains("canary"), "{error}");
        let found = Proxies::from_environment(read(&[("NO_PROXY", "a.example, *.b.example,*")])).unwrap();
        assert_eq!(found.no_proxy, format!("a.example,.b.example,*,{THIS_MACHINE}"));
    }
}
