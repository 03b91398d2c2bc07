//! Bodies and queries of the form `a=b&c=d`.

use std::collections::BTreeMap;

use crate::request_log::unescaped;

/// More pairs than any flow has; a body of others is not read to its end.
const MAX_PAIRS: usize = 100;
/// Names whose values are no secret; all other values are left out of the log.
const LOGGED: [&str; 16] = [
    "api-version",
    "client_assertion_type",
    "client_id",
    "code_challenge_method",
    "decision",
    "grant_type",
    "identity_federation_client_id",
    "mi_res_id",
    "object_id",
    "redirect_uri",
    "requested_token_type",
    "resource",
    "response_type",
    "return_original_token_if_authenticated",
    "scope",
    "subject_token_type",
];

/// Unescaped pairs. A parameter without a value counts as one that was not sent (RFC 6749, section 3.2).
pub(crate) struct Form(Vec<(String, String)>);

impl Form {
    pub(crate) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter_map(|pair| pair.split_once('=')).take(MAX_PAIRS);
        Self(pairs.map(|(name, value)| (unescaped(name), unescaped(value))).collect())
    }

    pub(crate) fn of_body(body: &[u8]) -> Self {
        Self::parse(&String::from_utf8_lossy(body))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// A name that stands there twice, which no request may have.
    pub(crate) fn repeated(&self) -> Option<&str> {
        let names = self.0.iter().enumerate().map(|(place, (name, _))| (place, name));
        names
            .into_iter()
            .find(|(place, name)| self.0.iter().take(*place).any(|(other, _)| other == *name))
            .map(|(_, name)| name.as_str())
    }

    /// The pairs fit for the log.
    pub(crate) fn loggable(&self) -> BTreeMap<String, String> {
        let shown = |(name, value): &(String, String)| {
            let value = if LOGGED.contains(&name.as_str()) { shortened(value) } else { "REDACTED".to_owned() };
            (shortened(name), value)
        };
        self.0.iter().map(shown).collect()
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(500).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_unescaped_and_empty_ones_are_absent() {
        let form = Form::parse("grant_type=refresh_token&refresh_token=a%2Fb+c&scope=&x");
        assert_eq!(form.get("refresh_token"), Some("a/b c"));
        assert_eq!((form.get("scope"), form.get("x"), form.repeated()), (None, None, None));
        assert_eq!(Form::parse("a=1&b=2&a=3").repeated(), Some("a"));
    }

    #[test]
    fn the_log_sees_no_secret() {
        let form = Form::parse("grant_type=refresh_token&refresh_token=secret&client_id=app&client_secret=x&new=y");
        let shown: Vec<_> = form.loggable().into_iter().filter(|(_, value)| value != "REDACTED").collect();
        assert_eq!(shown, [("client_id".into(), "app".into()), ("grant_type".into(), "refresh_token".into())]);
    }
}
