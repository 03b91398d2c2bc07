//! Tokens that other tools of the platform have kept for a user: read, and never written.
//!
//! Source: databricks-sdk 0.156.0, `oauth.TokenCache`; the SDK for Go, `credentials/u2m/cache`, which the CLI uses.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use ring::digest::{SHA256, digest};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::warn;
use zeroize::Zeroizing;

use super::browser::{CLI_CLIENT_ID, DEFAULT_SCOPES};
use super::cache::{About, MAX_FILE_BYTES, UserTokens, after_epoch};
use super::jwt::Claims;
use crate::auth::Secret;
use crate::local_file::{self, Links, Unread};

/// Tokens of another tool.
pub(super) struct ForeignTokens {
    pub(super) owner: &'static str,
    pub(super) tokens: UserTokens,
}

#[derive(Deserialize)]
struct CliFile {
    version: u32,
    tokens: HashMap<String, Entry>,
}

#[derive(Deserialize)]
struct SdkFile {
    token: Entry,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    access_token: Zeroizing<String>,
    #[serde(default)]
    refresh_token: Option<Zeroizing<String>>,
    #[serde(default)]
    expiry: Option<String>,
}

/// Returns what other tools have kept of the same sign-in.
pub(super) fn read(home: &Path, about: &About, profile: Option<&str>) -> Vec<ForeignTokens> {
    // A token endpoint of the user's choice is not where these came from.
    if about.token_url.is_some() {
        return Vec::new();
    }
    let cli = || {
        // The CLI keeps one sign-in per host, always of this client.
        let same = about.client_id == CLI_CLIENT_ID
            && about.scopes.len() == DEFAULT_SCOPES.len()
            && DEFAULT_SCOPES.iter().all(|scope| about.scopes.iter().any(|given| given == scope));
        let path = home.join(".databricks").join("token-cache.json");
        let mut file: CliFile = if same { parsed(&path)? } else { return None };
        let entry = if file.version == 1 { file.tokens.remove(&about.host) } else { None };
        Some(ForeignTokens { owner: "the Databricks CLI", tokens: entry?.tokens() })
    };
    let sdk = |profile: &str| {
        let path = home.join(".config").join("databricks-sdk-py").join("oauth").join(sdk_file_name(about, profile));
        let file: SdkFile = parsed(&path)?;
        Some(ForeignTokens { owner: "the Databricks SDK", tokens: file.token.tokens() })
    };
    [cli(), profile.and_then(sdk), sdk("")].into_iter().flatten().collect()
}

fn parsed<T: DeserializeOwned>(path: &Path) -> Option<T> {
    // Some keep their home as links to elsewhere.
    let why = match local_file::read_private(path, MAX_FILE_BYTES, Links::Followed) {
        // What the parser says could quote a token.
        Ok(content) => match serde_json::from_slice(&content) {
            Ok(parsed) => return Some(parsed),
            Err(_) => "it is damaged, or of another version".to_owned(),
        },
        Err(Unread::Absent(_)) => return None,
        Err(Unread::Failed(error)) => error.to_string(),
        Err(unread) => format!("it {}", unread.words(MAX_FILE_BYTES).0),
    };
    warn!(file = %path.display(), "the token cache of another tool is not used: {why}");
    None
}

impl Entry {
    fn tokens(self) -> UserTokens {
        let secret = |text: &str| (!text.is_empty()).then(|| Secret::new(text));
        // The SDK writes times of an unnamed zone.
        let told = self.expiry.and_then(|text| OffsetDateTime::parse(&text, &Rfc3339).ok());
        let access_token = secret(&self.access_token);
        let end = match told {
            Some(moment) => u64::try_from(moment.unix_timestamp()).ok().map(Duration::from_secs),
            None => access_token.as_ref().and_then(Claims::of).and_then(|claims| claims.end()),
        };
        UserTokens {
            access_token,
            refresh_token: self.refresh_token.as_deref().and_then(|text| secret(text)),
            expires: after_epoch(end.unwrap_or_default()),
            lifetime: None,
        }
    }
}

/// The name is a digest of what Python's `json.dumps` makes of the sign-in, keys sorted.
fn sdk_file_name(about: &About, profile: &str) -> String {
    let scopes: Vec<String> = about.scopes.iter().map(|scope| python_text(scope)).collect();
    let key = format!(
        r#"{{"client_id": {}, "host": {}, "profile": {}, "scopes": [{}]}}"#,
        python_text(&about.client_id),
        python_text(&about.host),
        python_text(profile),
        scopes.join(", ")
    );
    let mut name = String::new();
    for byte in digest(&SHA256, key.as_bytes()).as_ref() {
        let _ = write!(name, "{byte:02x}");
    }
    name + ".json"
}

fn python_text(text: &str) -> String {
    let json = serde_json::to_string(text).unwrap_or_default();
    json.chars().fold(String::new(), |mut written, character| {
        if character.is_ascii() {
            written.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(written, "\\u{unit:04x}");
            }
        }
        written
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names that databricks-sdk 0.156.0 gave its files.
    #[test]
    fn files_of_the_sdk_are_found() {
        let about = |client_id: &str, scopes: &[&str]| About {
            host: "https://dbc-a1b2.cloud.databricks.com".to_owned(),
            client_id: client_id.to_owned(),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            token_url: None,
        };
        for (about, profile, name) in [
            (
                about("databricks-cli", &["all-apis", "offline_access"]),
                "",
                "5e7cdb9fc0af2934718e53cde93db76027dce3a7ef48c56fc14a2cb6b368cecd",
            ),
            (about("app \"ä𝄞\"", &["sql"]), "dev", "2f72b704a2f6ba1c9453c42a111d8b0ef771dfb9684d7aee135b92e0f4870d33"),
        ] {
            assert_eq!(sdk_file_name(&about, profile), format!("{name}.json"));
        }
    }
}
