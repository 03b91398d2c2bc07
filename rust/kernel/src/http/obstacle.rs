//! What is in the way of a connection, in words that tell what to do: certificates, old TLS, proxies.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, InvalidMessage, PeerIncompatible};
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use url::Url;

use super::clients::Network;
use super::host_and_port;
use crate::proxy::Proxy;

/// Longest time that asking a proxy for its reason may take.
const REASON_LIMIT: Duration = Duration::from_secs(3);
/// Names of other hosts that a message repeats.
const MOST_NAMES: usize = 3;

/// What is in the way of a connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Obstacle {
    pub(crate) text: String,
    pub(crate) hold: Hold,
    /// The status with which a proxy refused.
    pub(crate) http_status: Option<u16>,
}

/// How firm it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Hold {
    /// Another attempt may succeed.
    Passing,
    /// A proxy refuses, now and later.
    Refused,
    /// The two ends do not agree on TLS, now and later.
    Untrusted,
}

impl Obstacle {
    /// Finds out what was in the way of a request to `url`; `None` where the cause says all there is.
    pub(crate) async fn of(network: &Network, url: &Url, error: &reqwest::Error) -> Option<Self> {
        let host = host_and_port(url);
        let proxy = network.proxy_for(url);
        let tunnel = causes(error).find_map(Tunnel::of);
        // Of two TLS sessions, the one with the proxy comes first.
        let of_proxy = proxy.filter(|proxy| {
            let is_outer = tunnel == Some(Tunnel::NoConnection) || url.scheme() == "http";
            is_outer && proxy.address().scheme() == "https"
        });
        if let Some(tls) = causes(error).find_map(in_tls) {
            let other_end = of_proxy.map_or_else(|| host.clone(), |proxy| format!("proxy {}", proxy.host_and_port()));
            return tls_obstacle(&other_end, tls);
        }
        let proxy = proxy?;
        let (address, way) = (proxy.host_and_port(), what_to_do(proxy));
        let passing = |text: String| Some(Self { text, hold: Hold::Passing, http_status: None });
        match tunnel {
            Some(Tunnel::WantsCredentials) => Some(Self::wants_credentials(proxy)),
            Some(Tunnel::Refused) => match refusal(proxy, url).await {
                Some(407) => Some(Self::wants_credentials(proxy)),
                None | Some(200..=299) => passing(format!("the proxy {address} does not connect to {host}: {way}")),
                Some(status @ (502..=504)) => Some(Self {
                    text: format!("the proxy {address} has no connection to {host} (HTTP {status})"),
                    hold: Hold::Passing,
                    http_status: Some(status),
                }),
                Some(status) => Some(Self {
                    text: format!(
                        "the proxy {address} refuses to connect to {host} (HTTP {status}): have its administrators let \
                         that host through, or leave the host out with `no_proxy`"
                    ),
                    hold: Hold::Refused,
                    http_status: Some(status),
                }),
            },
            Some(Tunnel::Broken) => passing(format!("the proxy {address} broke off the connection to {host}: {way}")),
            Some(Tunnel::NoConnection) => passing(no_proxy_there(error, &address, &way)),
            None if error.is_connect() && url.scheme() == "http" => passing(no_proxy_there(error, &address, &way)),
            None => None,
        }
    }

    /// The answer 407, whichever way it came.
    pub(crate) fn wants_credentials(proxy: &Proxy) -> Self {
        let address = proxy.host_and_port();
        let text = if proxy.has_credentials() {
            format!(
                "the proxy {address} refuses the user name or the password (HTTP 407): correct them; in an address, special \
                 characters of both are percent-encoded"
            )
        } else {
            format!(
                "the proxy {address} wants a user name and a password (HTTP 407): give them in its address, \
                 `http://user:password@host:port`, with special characters percent-encoded"
            )
        };
        Self { text, hold: Hold::Refused, http_status: Some(407) }
    }
}

fn no_proxy_there(error: &reqwest::Error, address: &str, way: &str) -> String {
    let is_name = causes(error).any(|cause| cause.to_string().starts_with("dns error"));
    let what = if is_name { "the name of the proxy is not known here" } else { "no connection to the proxy" };
    format!("{what}, {address}: {way}")
}

fn what_to_do(proxy: &Proxy) -> String {
    let kind = proxy.address().scheme();
    format!("check `proxy` or `HTTPS_PROXY`, and that it is a proxy for {kind}; without one, pass `proxy=False`")
}

/// How a tunnel through a proxy failed. The error has no public type, but is the only one with these words.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Tunnel {
    NoConnection,
    WantsCredentials,
    Refused,
    Broken,
}

impl Tunnel {
    fn of(cause: &(dyn StdError + 'static)) -> Option<Self> {
        match cause.to_string().strip_prefix("tunnel error: ")? {
            "failed to create underlying connection" => Some(Self::NoConnection),
            "proxy authorization required" => Some(Self::WantsCredentials),
            "unsuccessful" => Some(Self::Refused),
            _ => Some(Self::Broken),
        }
    }
}

/// Asks a proxy that has refused a tunnel once more, for the status of its refusal: the client keeps that to itself.
async fn refusal(proxy: &Proxy, url: &Url) -> Option<u16> {
    if proxy.address().scheme() != "http" {
        return None;
    }
    let asked = async {
        let address = proxy.address();
        let host = address.host_str()?.trim_matches(['[', ']']);
        let mut connection = TcpStream::connect((host, address.port_or_known_default()?)).await.ok()?;
        let target = format!("{}:{}", url.host_str()?, url.port_or_known_default()?);
        let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{}\r\n", authorization(proxy));
        connection.write_all(head.as_bytes()).await.ok()?;
        let mut line = Vec::new();
        while line.len() < 64 && !line.contains(&b'\n') {
            let byte = connection.read_u8().await.ok()?;
            line.push(byte);
        }
        let line = String::from_utf8_lossy(&line);
        let status = line.strip_prefix("HTTP/1.")?.split_whitespace().nth(1)?;
        status.parse().ok().filter(|status| (100..=999).contains(status))
    };
    tokio::time::timeout(REASON_LIMIT, asked).await.ok()?
}

fn authorization(proxy: &Proxy) -> String {
    let matcher =
        hyper_util::client::proxy::matcher::Matcher::builder().http(proxy.complete().expose().to_owned()).build();
    let intercept = "http://any/".parse().ok().and_then(|any| matcher.intercept(&any));
    let value = intercept.as_ref().and_then(|intercept| intercept.basic_auth()?.to_str().ok());
    value.map_or_else(String::new, |value| format!("Proxy-Authorization: {value}\r\n"))
}

/// The chain of causes; those that errors of the standard library hold inside are among them.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |cause| {
        let cause: &'a (dyn StdError + 'static) = *cause;
        match cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => cause.source(),
        }
    })
}

fn in_tls<'a>(cause: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    cause.downcast_ref()
}

fn tls_obstacle(host: &str, error: &rustls::Error) -> Option<Obstacle> {
    let text = match error {
        rustls::Error::InvalidCertificate(wrong) => certificate_text(host, wrong),
        rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)
        | rustls::Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13 | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => format!("{host} speaks only TLS older than 1.2, which is not safe: have TLS 1.2 or 1.3 turned on there"),
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied,
        ) => format!(
            "{host} wants a client certificate, or another one than it gets: give `client_certificate_pem` and \
             `client_key_pem` that its authority has signed"
        ),
        rustls::Error::AlertReceived(AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity)
        | rustls::Error::PeerIncompatible(_) => format!(
            "{host} wants a client certificate, or has no way of encryption in common with this client: give \
             `client_certificate_pem` and `client_key_pem`, or have TLS 1.2 or 1.3 with the usual ciphers turned on there"
        ),
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => format!(
            "{host} answers with something that is not TLS: check the port and the proxy; where a proxy speaks plain HTTP, \
             its address starts with `http://`"
        ),
        _ => return None,
    };
    Some(Obstacle { text, hold: Hold::Untrusted, http_status: None })
}

fn certificate_text(host: &str, wrong: &CertificateError) -> String {
    match wrong {
        CertificateError::UnknownIssuer => format!(
            "the certificate of {host} is signed by an authority that is not trusted here: where a proxy of your network \
             signs anew, give its authority as `ca_certificates_file`"
        ),
        CertificateError::NotValidForNameContext { presented, .. } => {
            let names = presented.iter().take(MOST_NAMES).map(|name| plain_name(name)).collect::<Vec<_>>();
            let more = if presented.len() > MOST_NAMES { ", ..." } else { "" };
            let is_for = if names.is_empty() { "no host" } else { &format!("{}{more}", names.join(", ")) };
            format!("the certificate of {host} is for {is_for}: check the host name")
        }
        CertificateError::NotValidForName => {
            format!("the certificate of {host} is for another host: check the host name")
        }
        CertificateError::ExpiredContext { time, not_after } => format!(
            "the certificate of {host} has expired on {}, and it is {} by this machine's clock: correct the clock, or have \
             the certificate renewed",
            Date(*not_after),
            Date(*time)
        ),
        CertificateError::Expired => format!("the certificate of {host} has expired: have it renewed"),
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "the certificate of {host} is not valid before {}, and it is {} by this machine's clock: correct the clock",
            Date(*not_before),
            Date(*time)
        ),
        CertificateError::NotValidYet => format!("the certificate of {host} is not valid yet: correct the clock"),
        CertificateError::Revoked => format!("the certificate of {host} was revoked: have it renewed"),
        // Of the verifier's own errors this one has no kind.
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            format!(
                "the certificate of {host} is that of an authority, which may not be a server's: have another one made"
            )
        }
        _ => format!("the certificate of {host} cannot be accepted: have it corrected"),
    }
}

/// A name as the verifier writes it, such as `DnsName("other.example")`, without what surrounds it.
fn plain_name(written: &str) -> String {
    let inner = written.split_once('(').map_or(written, |(_, rest)| rest.trim_end_matches(')'));
    let inner = inner.trim_matches('"');
    inner.chars().filter(char::is_ascii_graphic).take(80).collect()
}

/// A point in time, to the minute.
struct Date(UnixTime);

impl fmt::Display for Date {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = i64::try_from(self.0.as_secs()).unwrap_or(i64::MAX);
        let text = OffsetDateTime::from_unix_timestamp(seconds)
            .map(|time| format!("{} {:02}:{:02} UTC", time.date(), time.hour(), time.minute()));
        formatter.write_str(text.as_deref().unwrap_or("an unknown day"))
    }
}
