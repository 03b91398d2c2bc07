//! The caller's own headers.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tracing::warn;

use crate::auth::Secret;
use crate::error::{Error, ErrorKind, Result};

/// Headers that the protocol sets itself, or that decide how a body is framed.
const RESERVED: [&str; 11] = [
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "transfer-encoding",
    "upgrade",
    "x-databricks-org-id",
];

/// Tells whether a header is the session's own to set.
pub(super) fn is_reserved(header: &HeaderName) -> bool {
    RESERVED.contains(&header.as_str())
}

/// Puts the caller's headers over `defaults`; those that are reserved are left out with one warning each.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] names a header that cannot be one. Values are not repeated: they may be credentials.
pub(super) fn add_own(defaults: &mut HeaderMap, own: &[(String, Secret)]) -> Result<()> {
    let mut accepted = HeaderMap::new();
    for (name, value) in own {
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|error| {
            let text = format!("`{}` is not the name of an HTTP header", name.escape_debug());
            Error::new(ErrorKind::InvalidArgument, text).with_source(error)
        })?;
        if is_reserved(&header) {
            warn!(header = header.as_str(), "own header left out: the session sets it");
            continue;
        }
        let mut value = HeaderValue::from_bytes(value.expose().as_bytes()).map_err(|_| {
            let text = format!("the value of the header `{header}` holds characters that no header may hold");
            Error::new(ErrorKind::InvalidArgument, text)
        })?;
        value.set_sensitive(true);
        accepted.append(header, value);
    }
    for name in accepted.keys() {
        defaults.remove(name);
    }
    for (name, value) in &accepted {
        defaults.append(name, value.clone());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use reqwest::header::USER_AGENT;

    use super::*;

    fn added(own: &[(&str, &str)]) -> Result<HeaderMap> {
        let own: Vec<_> = own.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(value))).collect();
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static("seakernel/0"));
        add_own(&mut headers, &own).map(|()| headers)
    }

    #[test]
    fn own_headers_are_added_and_the_protocols_own_stay() {
        let headers =
            added(&[("X-Trace", "1"), ("x-trace", "2"), ("Authorization", "Bearer x"), ("CONTENT-TYPE", "text/plain")])
                .unwrap();
        let traces: Vec<_> = headers.get_all("x-trace").iter().collect();
        assert_eq!(traces, ["1", "2"]);
        assert_eq!(headers.len(), 3);
        assert_eq!(headers[USER_AGENT], "seakernel/0");
        assert_eq!(added(&[("User-Agent", "mine/1")]).unwrap()[USER_AGENT], "mine/1");
    }

    #[test]
    fn what_is_no_header_is_refused_without_its_value() {
        for (name, value) in [("", "canary"), ("a b", "canary"), ("a\n", "canary"), ("x", "canary\r\nY: 1")] {
            let error = added(&[(name, value)]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(!format!("{error} {error:?}").contains("canary"));
        }
    }
}
