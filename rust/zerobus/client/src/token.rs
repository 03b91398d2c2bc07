//! The bearer token, which is good for one table: asked for once, renewed before its end, dropped where it is refused.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use rand::Rng;
use seakernel::{ErrorKind, Grant, ScopedTokens, TlsConfig};
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::authorities::Authorities;
use crate::config::WrapperConfiguration;
use crate::error::{Failure, ZerobusError};
use crate::flight::{Flight, launch};
use crate::retry::{LONGEST_ASKED, Refusal, Verdict};
use crate::telemetry::{Span, Telemetry, TokenNeed};

/// Shortest and longest pause after a token could not be renewed while the last one is good yet.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));
/// Longest time before its end in which a token is not sent any more.
const MARGIN: Duration = Duration::from_secs(10);

/// A token as it is sent.
#[derive(Clone)]
pub(crate) struct Token {
    /// `Bearer ...`, marked as sensitive.
    pub(crate) header: HeaderValue,
    /// Which of the tokens so far it is, for whoever must say that it was refused.
    pub(crate) generation: u64,
}

/// The tokens of one wrapper: one service principal, one table, one workspace.
pub(crate) struct Tokens {
    source: ScopedTokens,
    resource: String,
    details: String,
    buffer: Duration,
    telemetry: Arc<Telemetry>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    asking: Option<Flight<Result<Token, Refusal>>>,
    generation: u64,
    /// When it may be renewed early again.
    not_before: Option<Instant>,
}

impl State {
    /// The request for a token that has no answer yet; one whose task died has one, and will not come to clear it away.
    fn under_way(&self) -> Option<Flight<Result<Token, Refusal>>> {
        self.asking.clone().filter(|asking| asking.peek().is_none())
    }
}

struct Held {
    token: Token,
    renewed_from: Instant,
    good_until: Instant,
}

impl Token {
    /// Returns a server's words without the token, should they repeat it.
    pub(crate) fn masked(&self, text: &str) -> String {
        let header = self.header.to_str().unwrap_or_default();
        match header.split_once(' ') {
            Some((_, secret)) if !secret.is_empty() => text.replace(secret, "***"),
            _ => text.to_owned(),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Token").field("generation", &self.generation).finish_non_exhaustive()
    }
}

impl Tokens {
    /// # Errors
    /// `ConfigurationError` for a missing credential, or an address that is none.
    pub(crate) fn new(
        config: &WrapperConfiguration,
        workspace_id: &str,
        further: Option<Authorities>,
        telemetry: Arc<Telemetry>,
    ) -> Result<Arc<Self>, ZerobusError> {
        let missing = |name: &str| ZerobusError::configuration(format!("`{name}` is missing"));
        let url = config.unity_catalog_url.as_deref().ok_or_else(|| missing("unity_catalog_url"))?;
        let client_id = config.client_id.as_deref().ok_or_else(|| missing("client_id"))?;
        let secret = config.client_secret.as_ref().ok_or_else(|| missing("client_secret"))?;
        let limit = Duration::from_millis(config.connect_timeout_ms);
        // Who looks into the traffic to the service looks into that to the workspace as well.
        let ca_certificates_pem = further.map(|further| further.pem);
        let tls = TlsConfig { ca_certificates_pem, ..TlsConfig::default() };
        let source = ScopedTokens::new(url, client_id, secret, tls, limit)
            .map_err(|error| ZerobusError::configuration(format!("`unity_catalog_url`: {error}")))?;
        Ok(Arc::new(Self {
            source,
            resource: format!("api://databricks/workspaces/{workspace_id}/zerobusDirectWriteApi"),
            details: authorization_details(&config.table_name)?,
            buffer: Duration::from_secs(config.token_refresh_buffer_secs),
            telemetry,
            state: Mutex::default(),
        }))
    }

    /// Returns the token to send now; the one that was refused, if any, is not returned again.
    pub(crate) async fn get(self: &Arc<Self>, refused: Option<u64>, span: &Span) -> Result<Token, Refusal> {
        let asking = {
            let mut state = self.state();
            let mut need = TokenNeed::Cold;
            if refused.is_some() {
                need = TokenNeed::Rejected;
                // Another may have had it renewed meanwhile.
                state.held.take_if(|held| Some(held.token.generation) == refused);
            }
            let now = Instant::now();
            match &state.held {
                Some(held) if now < held.good_until => {
                    let token = held.token.clone();
                    let is_due = now >= held.renewed_from && state.not_before.is_none_or(|moment| now >= moment);
                    if is_due && state.under_way().is_none() {
                        drop(self.ask(&mut state, TokenNeed::Refresh, span));
                    }
                    return Ok(token);
                }
                _ => match state.under_way() {
                    Some(asking) => asking,
                    None => self.ask(&mut state, need, span),
                },
            }
        };
        asking.await
    }

    fn ask(self: &Arc<Self>, state: &mut State, need: TokenNeed, span: &Span) -> Flight<Result<Token, Refusal>> {
        let (tokens, span) = (Arc::clone(self), span.child("zerobus.token.fetch"));
        let lost = || {
            Err(Refusal::of(ZerobusError::TokenRefreshError(Failure {
                message: "the request for a token was broken off".into(),
                retryable: true,
                ..Failure::default()
            })))
        };
        let asking = launch(
            async move {
                let fields =
                    [("resource", tokens.resource.as_str()), ("authorization_details", tokens.details.as_str())];
                let answer = tokens.source.ask(&fields).await;
                let answer = answer.and_then(|grant| Ok((grant.token.bearer()?, grant)));
                tokens.telemetry.token_fetched(need, answer.is_ok());
                let answer = tokens.answered(answer);
                if let Err(refusal) = &answer {
                    span.failed(&refusal.error);
                }
                answer
            },
            lost,
        );
        state.asking = Some(asking.clone());
        asking
    }

    fn answered(&self, answer: seakernel::Result<(HeaderValue, Grant)>) -> Result<Token, Refusal> {
        let mut state = self.state();
        state.asking = None;
        match answer {
            Ok((header, grant)) => {
                state.generation += 1;
                let token = Token { header, generation: state.generation };
                state.not_before = None;
                let now = Instant::now();
                // One without a life is for those who wait for it.
                state.held = grant.lifetime.map(|life| Held {
                    token: token.clone(),
                    renewed_from: now + life - self.buffer.min(life / 4),
                    good_until: now + life - MARGIN.min(life / 20),
                });
                debug!(generation = token.generation, "a token was given");
                Ok(token)
            }
            Err(error) => {
                let pause = rand::rng().random_range(PAUSE.0..=PAUSE.1);
                state.not_before = Some(Instant::now() + pause);
                if state.held.is_some() {
                    warn!(cause = %error, "the token could not be renewed before its end");
                }
                Err(refused(&error))
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The rights that the token is to have.
fn authorization_details(table_name: &str) -> Result<String, ZerobusError> {
    let mut parts = table_name.split('.');
    let (Some(catalog), Some(schema), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(ZerobusError::configuration(format!("`table_name` `{table_name}` is not `catalog.schema.table`")));
    };
    let kind = "unity_catalog_privileges";
    let details = serde_json::json!([
        {"type": kind, "privileges": ["USE CATALOG"], "object_type": "CATALOG", "object_full_path": catalog},
        {
            "type": kind,
            "privileges": ["USE SCHEMA"],
            "object_type": "SCHEMA",
            "object_full_path": format!("{catalog}.{schema}"),
        },
        {
            "type": kind,
            "privileges": ["SELECT", "MODIFY"],
            "object_type": "TABLE",
            "object_full_path": table_name,
            "operations": ["zerobuswrite"],
        },
    ]);
    Ok(details.to_string())
}

/// Reads the endpoint's refusal, or its silence.
///
/// What may pass was asked for again already, by the rule that the kernel has for all tokens: 408, 429 and 5xx, at the time
/// that `Retry-After` names where that is within the time to open a stream. Whatever else is 4xx is final.
fn refused(error: &seakernel::Error) -> Refusal {
    let failure = |retryable| Failure { message: error.to_string().into(), retryable, ..Failure::default() };
    let may_pass = match error.http_status() {
        Some(429) => {
            // Nothing that credentials are to blame for. As where the service itself is exhausted, whoever comes back early is
            // refused again.
            let asked = error.retry_after().map(|asked| asked.min(LONGEST_ASKED));
            let error = ZerobusError::TokenRefreshError(failure(true));
            return Refusal { error, verdict: Verdict::RetryLater(asked) };
        }
        Some(status) => status >= 500 || status == 408,
        None => matches!(
            error.kind(),
            ErrorKind::Network | ErrorKind::Timeout | ErrorKind::Unavailable | ErrorKind::ResourceExhausted
        ),
    };
    Refusal::of(if may_pass {
        ZerobusError::TokenRefreshError(failure(true))
    } else {
        ZerobusError::AuthenticationError(failure(false))
    })
}

impl fmt::Debug for Tokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Tokens(...)")
    }
}
