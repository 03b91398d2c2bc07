//! The Statement Execution API: one method per endpoint.

pub(crate) mod wire;

use std::collections::HashSet;
use std::sync::{LazyLock, Mutex, OnceLock};

use bytes::Bytes;
use reqwest::Method;
use serde::de::DeserializeOwned;
use tracing::{info, warn};

use crate::config::{CloudFetch, SessionConfig};
use crate::error::{Error, ErrorKind, Result};
use crate::http::reach::unless_held;
use crate::http::retry::RequestClass;
use crate::http::{ApiRequest, HttpClient};
use crate::params::Parameter;
use crate::schema::SessionZone;
use wire::{
    CreateSessionRequest, CreateSessionResponse, ExecuteStatementRequest, QueryTag, ResultData, StatementParameter,
    StatementResponse,
};

/// Host and id.
type Warehouse = (String, String);

/// Warehouses that refused the hybrid disposition, by host and id. Whether it is offered depends on the workspace, so the
/// refusal is remembered for the life of the process and costs one request, not one per statement.
static WITHOUT_HYBRID: LazyLock<Mutex<HashSet<Warehouse>>> = LazyLock::new(Mutex::default);

/// How the server shall answer a statement.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Wait {
    /// When it is done, or after the server's own limit.
    UntilDone,
    /// At once.
    No,
}

/// A statement as it is sent.
#[derive(Debug, Default)]
pub(crate) struct Submission {
    pub(crate) sql: String,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) row_limit: Option<i64>,
    pub(crate) query_tags: Vec<(String, Option<String>)>,
    pub(crate) metadata_call: Option<MetadataCall>,
}

/// Which metadata a statement asks for, said in headers beside it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MetadataCall {
    /// The operation of the older Thrift interface that it stands for.
    pub(crate) operation: &'static str,
    /// The rows may have the columns of that interface.
    pub(crate) native_rows: bool,
}

impl MetadataCall {
    pub(crate) const fn native(operation: &'static str) -> Self {
        Self { operation, native_rows: true }
    }

    pub(crate) const fn named(operation: &'static str) -> Self {
        Self { operation, native_rows: false }
    }

    /// In no public reference; the platform's own drivers send them.
    fn headers(self) -> Vec<(&'static str, &'static str)> {
        let mut headers = vec![
            ("x-databricks-sea-can-run-fully-sync", "true"),
            ("x-databricks-metadata-operation-type", self.operation),
        ];
        if self.native_rows {
            headers.push(("x-databricks-require-thrift-native-metadata", "true"));
        }
        headers
    }
}

/// The endpoints of one warehouse.
#[derive(Debug)]
pub(crate) struct SeaClient {
    http: HttpClient,
    zone: SessionZone,
    /// The storage host that could not be reached, so that results are asked for inside the answers.
    unreachable_storage: OnceLock<String>,
}

impl SeaClient {
    pub(crate) fn new(config: SessionConfig) -> Result<Self> {
        let zone = SessionZone::new(&config.session_configuration);
        let tokens = config.sign_ins.tokens(&config)?;
        Ok(Self { http: HttpClient::new(config, tokens)?, zone, unreachable_storage: OnceLock::new() })
    }

    /// Returns the time zone of the one session of this client.
    pub(crate) fn zone(&self) -> &SessionZone {
        &self.zone
    }

    pub(crate) fn config(&self) -> &SessionConfig {
        self.http.config()
    }

    pub(crate) fn http(&self) -> &HttpClient {
        &self.http
    }

    fn warehouse(&self) -> Warehouse {
        (self.config().host.as_str().to_owned(), self.config().warehouse_id.clone())
    }

    /// Notes that the storage host `host` cannot be reached. True where later results are now asked for without.
    pub(crate) fn do_without_storage(&self, host: &str) -> bool {
        if self.config().results.cloud_fetch != CloudFetch::Auto {
            return false;
        }
        self.http.remember_no_contact(host);
        self.settle_for_answers(host);
        true
    }

    /// Tells whether this session asks for results inside the answers since a storage host cannot be reached.
    pub(crate) fn does_without_storage(&self) -> bool {
        if self.unreachable_storage.get().is_some() {
            return true;
        }
        if self.config().results.cloud_fetch != CloudFetch::Auto || self.http.has_reached_storage() {
            return false;
        }
        let known = self.http.known_out_of_reach();
        if let Some(host) = &known {
            self.settle_for_answers(host);
        }
        known.is_some()
    }

    /// Says why a result was asked for inside the answer, where the server finds it too large for that.
    pub(crate) fn explain_limit(&self, error: Error) -> Error {
        match self.unreachable_storage.get() {
            Some(host) if error.message().to_ascii_lowercase().contains("inline byte limit") => {
                let state = error.sql_state().map(str::to_owned);
                let statement_id = error.statement_id().unwrap_or_default().to_owned();
                let text = format!(
                    "the result is too large to come inside the answer, which was asked for since storage host {host} \
                     could not be reached; once it can be, a new session fetches it from there"
                );
                error.within(text).with_sql_state(state).with_statement_id(&statement_id)
            }
            _ => error,
        }
    }

    /// Stays so for the life of the session, and warns once.
    fn settle_for_answers(&self, host: &str) {
        if self.unreachable_storage.set(host.to_owned()).is_ok() {
            warn!(
                storage_host = host,
                "the storage host cannot be reached from here: this session asks for results inside the answers, 25 MiB at \
                 most; so do new ones of this process, on this warehouse and through the same proxy, for ten minutes or \
                 until storage answers"
            );
        }
    }

    /// Waits for a token, if that takes anything.
    pub(crate) async fn sign_in(&self) -> Result<()> {
        self.http.sign_in().await
    }

    pub(crate) async fn open_session(&self) -> Result<CreateSessionResponse> {
        let config = self.config();
        let body = json(&CreateSessionRequest {
            warehouse_id: &config.warehouse_id,
            catalog: config.catalog.as_deref(),
            schema: config.schema.as_deref(),
            session_confs: &config.session_configuration,
        })?;
        self.call(RequestClass::OpenSession, Method::POST, "sessions", &[], Some(body)).await
    }

    pub(crate) async fn close_session(&self, session_id: &str) -> Result<()> {
        let path = format!("sessions/{}", segment(session_id)?);
        let query = [("warehouse_id", self.config().warehouse_id.as_str())];
        self.gone_is_done(RequestClass::CloseSession, Method::DELETE, &path, &query, None).await
    }

    /// Sends a statement, with the hybrid disposition unless this warehouse is known to refuse it.
    ///
    /// A refusal is an answer from before execution, so asking again with external links cannot run anything twice.
    pub(crate) async fn execute(
        &self,
        session: &CreateSessionResponse,
        submission: &Submission,
        wait: Wait,
        is_wanted: &(dyn Fn() -> bool + Sync),
    ) -> Result<StatementResponse> {
        let headers = submission.metadata_call.map(MetadataCall::headers).unwrap_or_default();
        let config = self.config();
        let warehouse = self.warehouse();
        let files = match config.results.cloud_fetch {
            CloudFetch::Auto | CloudFetch::On => !self.does_without_storage(),
            CloudFetch::Off => false,
        };
        let hybrid = files && unless_held(&WITHOUT_HYBRID).is_none_or(|known| !known.contains(&warehouse));
        let mut request = ExecuteStatementRequest {
            warehouse_id: &config.warehouse_id,
            session_id: &session.session_id,
            session_version: session.session_version.as_ref(),
            statement: &submission.sql,
            parameters: wire_parameters(&submission.parameters),
            row_limit: submission.row_limit,
            query_tags: query_tags(&submission.query_tags),
            disposition: match (files, hybrid) {
                (false, _) => "INLINE",
                (true, true) => "INLINE_OR_EXTERNAL_LINKS",
                (true, false) => "EXTERNAL_LINKS",
            },
            // INLINE takes no Arrow. Source: Statement Execution API, "format".
            format: if files { "ARROW_STREAM" } else { "JSON_ARRAY" },
            result_compression: (files && config.results.compression).then_some("LZ4_FRAME"),
            // Never a positive number: with the hybrid disposition it takes an older path of the service that announces
            // N chunks and delivers the first (the platform's JDBC driver, issue 1476). Absent means direct results.
            wait_timeout: (wait == Wait::No).then_some("0s"),
            on_wait_timeout: (wait == Wait::No).then_some("CONTINUE"),
        };
        match self.send_statement(&request, &headers, is_wanted).await {
            Err(error) if hybrid && names_the_disposition(&error) => {
                info!(
                    warehouse_id = config.warehouse_id,
                    "the warehouse refuses the hybrid disposition; using external links"
                );
                if let Some(mut known) = unless_held(&WITHOUT_HYBRID) {
                    known.insert(warehouse);
                }
                request.disposition = "EXTERNAL_LINKS";
                self.send_statement(&request, &headers, is_wanted).await
            }
            answer => answer,
        }
    }

    async fn send_statement(
        &self,
        request: &ExecuteStatementRequest<'_>,
        headers: &[(&'static str, &'static str)],
        is_wanted: &(dyn Fn() -> bool + Sync),
    ) -> Result<StatementResponse> {
        let (class, path, body) = (RequestClass::Execute, "statements", Some(json(request)?));
        let request = ApiRequest { class, method: Method::POST, path, query: &[], headers, body, is_wanted };
        self.answer(&request).await
    }

    pub(crate) async fn status(&self, statement_id: &str) -> Result<StatementResponse> {
        let path = format!("statements/{}", segment(statement_id)?);
        let answer = self.call(RequestClass::Poll, Method::GET, &path, &[], None).await;
        answer.map_err(|error| error.with_statement_id(statement_id))
    }

    pub(crate) async fn cancel(&self, statement_id: &str) -> Result<()> {
        let path = format!("statements/{}/cancel", segment(statement_id)?);
        let body = Some(Bytes::from_static(b"{}"));
        let answer = self.gone_is_done(RequestClass::Cancel, Method::POST, &path, &[], body).await;
        answer.map_err(|error| error.with_statement_id(statement_id))
    }

    pub(crate) async fn close_statement(&self, statement_id: &str) -> Result<()> {
        let path = format!("statements/{}", segment(statement_id)?);
        let answer = self.gone_is_done(RequestClass::CloseStatement, Method::DELETE, &path, &[], None).await;
        answer.map_err(|error| error.with_statement_id(statement_id))
    }

    /// Asks for the chunk whose first row is `row_offset`, and whatever follows it that the server gives along.
    pub(crate) async fn chunk(&self, statement_id: &str, chunk_index: i64, row_offset: i64) -> Result<ResultData> {
        let path = format!("statements/{}/result/chunks/{chunk_index}", segment(statement_id)?);
        let row_offset = row_offset.to_string();
        let query = [("row_offset", row_offset.as_str())];
        let answer = self.call(RequestClass::ChunkLinks, Method::GET, &path, &query, None).await;
        answer.map_err(|error| error.with_statement_id(statement_id).with_chunk_index(chunk_index))
    }

    async fn call<T: DeserializeOwned>(
        &self,
        class: RequestClass,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<Bytes>,
    ) -> Result<T> {
        self.answer(&ApiRequest { class, method, path, query, headers: &[], body, is_wanted: &|| true }).await
    }

    async fn answer<T: DeserializeOwned>(&self, request: &ApiRequest<'_>) -> Result<T> {
        let (class, answer) = (request.class, self.http.api(request).await?);
        serde_json::from_slice(&answer).map_err(|error| {
            // The answer itself may hold links or rows: only its size and the parser's position are told.
            let text = format!("{}: the answer ({} bytes) is not what the protocol says", class.name(), answer.len());
            Error::new(ErrorKind::Protocol, text).with_source(format!(
                "{} at line {}, column {}",
                match error.classify() {
                    serde_json::error::Category::Data => "a field is missing or has another type",
                    serde_json::error::Category::Eof => "it ends early",
                    _ => "it is not JSON",
                },
                error.line(),
                error.column()
            ))
        })
    }

    /// Sends a request whose answer says nothing and whose 404 means that it was done before.
    async fn gone_is_done(
        &self,
        class: RequestClass,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<Bytes>,
    ) -> Result<()> {
        match self.http.api(&ApiRequest { class, method, path, query, headers: &[], body, is_wanted: &|| true }).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            answer => answer.map(drop),
        }
    }
}

fn json(body: &impl serde::Serialize) -> Result<Bytes> {
    let text = serde_json::to_vec(body).map_err(|error| {
        Error::new(ErrorKind::Internal, "a request could not be written as JSON").with_source(error)
    })?;
    Ok(text.into())
}

/// Checks that a server's id can stand in a path: it must not be able to name another endpoint.
fn segment(id: &str) -> Result<&str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'|' | b'~');
    if id.is_empty() || id.len() > 256 || id.starts_with('.') || !id.bytes().all(plain) {
        return Err(Error::new(ErrorKind::Protocol, "the id of a statement or session is not usable in a path"));
    }
    Ok(id)
}

/// Tells whether `id` could be the id of a statement.
pub(crate) fn is_id(id: &str) -> bool {
    segment(id).is_ok()
}

fn query_tags(tags: &[(String, Option<String>)]) -> Vec<QueryTag<'_>> {
    tags.iter().map(|(key, value)| QueryTag { key, value: value.as_deref() }).collect()
}

fn wire_parameters(parameters: &[Parameter]) -> Vec<StatementParameter<'_>> {
    parameters
        .iter()
        .enumerate()
        .map(|(position, parameter)| StatementParameter {
            name: parameter.name.as_deref(),
            ordinal: parameter.name.is_none().then_some(position + 1),
            sql_type: &parameter.sql_type,
            value: parameter.value.as_deref(),
        })
        .collect()
}

/// Tells whether a 400 is about the disposition. The wordings seen name it ("not a supported disposition").
fn names_the_disposition(error: &Error) -> bool {
    error.http_status() == Some(400) && {
        let message = error.message().to_ascii_lowercase();
        message.contains("disposition") || message.contains("inline_or_external_links")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbered_only_where_they_have_no_name() {
        let parameters = [Parameter::positional("INT", Some("4")), Parameter::positional("STRING", None)];
        let text = serde_json::to_string(&wire_parameters(&parameters)).unwrap();
        assert_eq!(text, r#"[{"ordinal":1,"type":"INT","value":"4"},{"ordinal":2,"type":"STRING","value":null}]"#);
        let text = serde_json::to_string(&wire_parameters(&[Parameter::named("lo", "BIGINT", Some("10"))])).unwrap();
        assert_eq!(text, r#"[{"name":"lo","type":"BIGINT","value":"10"}]"#);
    }

    #[test]
    fn query_tags_without_a_value_are_keys_alone() {
        let tags = [("team".to_owned(), Some("x".to_owned())), ("bare".to_owned(), None)];
        let text = serde_json::to_string(&query_tags(&tags)).unwrap();
        assert_eq!(text, r#"[{"key":"team","value":"x"},{"key":"bare"}]"#);
    }

    #[test]
    fn ids_cannot_leave_their_place_in_the_path() {
        assert!(segment("01f0aaaa-bbbb-1ccc-8ddd-0123456789ab").is_ok());
        for id in ["", "../sessions", "a/b", "a?b", "a%2fb", ".."] {
            assert!(segment(id).is_err(), "{id}");
        }
    }
}
