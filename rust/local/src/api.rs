//! The endpoints of the API origin.

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::header::HeaderMap;
use hyper::{StatusCode, header::HeaderName};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::bearer;
use crate::delivery::Delivery;
use crate::engine::SqlError;
use crate::identity::IdentityRequest;
use crate::request_log::{LogEntry, unescaped};
use crate::route::Route;
use crate::statement::{Progress, Statement};
use crate::submission::{Refused, Submission};
use crate::switches::{SqlStatePlace, Switches};
use crate::warehouse::Warehouse;
use crate::wire::{CloseSession, Execute, OpenSession, SessionOpened, StatementResponse, Status, StatusError};

/// One request to the API, read to its end.
#[derive(Debug)]
pub(crate) struct ApiRequest<'request> {
    pub(crate) route: Route<'request>,
    pub(crate) query: Option<&'request str>,
    pub(crate) headers: &'request HeaderMap,
    pub(crate) body: &'request [u8],
    /// The parsed body of a submission.
    pub(crate) execute: Option<Result<Execute, String>>,
    /// The chunk a fault serves instead of the one asked for.
    pub(crate) other_chunk: Option<u64>,
}

/// Answers one request.
pub(crate) async fn answer(warehouse: &Arc<Warehouse>, request: ApiRequest<'_>, entry: &LogEntry) -> Answer {
    if !request.route.is_public()
        && let Err(refused) = bearer::check(warehouse, request.headers)
    {
        return refused.into();
    }
    dispatch(warehouse, request, entry).await.unwrap_or_else(Answer::from)
}

async fn dispatch(warehouse: &Arc<Warehouse>, request: ApiRequest<'_>, entry: &LogEntry) -> Result<Answer, Refused> {
    match request.route {
        Route::OpenSession { warehouse_id } => open_session(warehouse, warehouse_id, request.body).await,
        Route::CloseSession { session_id } => close_session(warehouse, session_id, &request).await,
        Route::Execute => execute(warehouse, request, entry).await,
        Route::Poll { statement_id } => {
            let statement = find(warehouse, statement_id)?;
            Ok(tell(warehouse, &statement))
        }
        Route::Cancel { statement_id } => {
            if let Some(statement) = warehouse.statements.get(statement_id) {
                statement.cancel();
            }
            // Clients cancel finished and closed statements too, and take an error for a failure.
            Ok(Answer::json(&json!({})))
        }
        Route::CloseStatement { statement_id } => {
            if warehouse.close_statement(statement_id) {
                Ok(Answer::json(&json!({})))
            } else {
                Err(no_statement(statement_id))
            }
        }
        Route::Chunk { statement_id, .. } => chunk(warehouse, statement_id, &request),
        Route::Warehouses => Ok(Answer::json(&json!({"warehouses": [describe(warehouse)]}))),
        Route::Warehouse { warehouse_id } => {
            check_warehouse(warehouse, Some(warehouse_id))?;
            Ok(Answer::json(&describe(warehouse)))
        }
        Route::WellKnownConfig => {
            Ok(Answer::json(&json!({"oidc_endpoint": format!("{}/oidc", warehouse.api_address)})))
        }
        Route::Identity(route) => {
            let ApiRequest { query, headers, body, .. } = request;
            let request = IdentityRequest { route, query, headers, body };
            Ok(warehouse.identity.answer(&request, &warehouse.switches()))
        }
        Route::FeatureFlags => Ok(Answer::json(&json!({"flags": [], "ttl_seconds": 3600}))),
        Route::Telemetry => Ok(Answer::json(&json!({"errors": [], "numSuccess": 0, "numProtoSuccess": 0}))),
        Route::Thrift => Ok(thrift_refused()),
        Route::Unknown => {
            Err(Refused::new(StatusCode::NOT_FOUND, "ENDPOINT_NOT_FOUND", "the local warehouse has no such endpoint"))
        }
    }
}

fn parse<T: serde::de::DeserializeOwned + Default>(body: &[u8]) -> Result<T, Refused> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(T::default());
    }
    serde_json::from_slice(body).map_err(|error| malformed(&error.to_string()))
}

fn malformed(reason: &str) -> Refused {
    Refused::new(StatusCode::BAD_REQUEST, "MALFORMED_REQUEST", format!("the body could not be read: {reason}"))
}

fn check_warehouse(warehouse: &Warehouse, id: Option<&str>) -> Result<(), Refused> {
    match id {
        Some(id) if id == warehouse.options.warehouse_id => Ok(()),
        Some(id) => Err(Refused::missing(format!("SQL warehouse {id} does not exist."))),
        None => Err(Refused::invalid("warehouse_id is missing")),
    }
}

async fn open_session(
    warehouse: &Arc<Warehouse>,
    warehouse_in_path: Option<&str>,
    body: &[u8],
) -> Result<Answer, Refused> {
    let request: OpenSession = parse(body)?;
    check_warehouse(warehouse, warehouse_in_path.or(request.warehouse_id.as_deref()))?;
    let configuration: BTreeMap<String, String> = request
        .session_confs
        .unwrap_or_default()
        .into_iter()
        .map(|(name, value)| (name, if let Value::String(text) = value { text } else { value.to_string() }))
        .collect();
    let some = |text: Option<String>| text.filter(|text| !text.is_empty());
    match warehouse.open_session(some(request.catalog), some(request.schema), configuration).await {
        Ok(session_id) => Ok(Answer::json(&SessionOpened { session_id: &session_id })),
        Err(error) => Err(Refused::new(StatusCode::BAD_REQUEST, error.error_code.as_str(), error.wire_message())),
    }
}

async fn close_session(
    warehouse: &Arc<Warehouse>,
    session_id: &str,
    request: &ApiRequest<'_>,
) -> Result<Answer, Refused> {
    let in_body: CloseSession = parse(request.body)?;
    check_warehouse(warehouse, query_value(request.query, "warehouse_id").or(in_body.warehouse_id).as_deref())?;
    if warehouse.close_session(session_id).await {
        Ok(Answer::json(&json!({})))
    } else {
        Err(Refused::missing(format!("Session {session_id} does not exist or was closed.")))
    }
}

async fn execute(warehouse: &Arc<Warehouse>, request: ApiRequest<'_>, entry: &LogEntry) -> Result<Answer, Refused> {
    let request = request.execute.unwrap_or_else(|| Ok(Execute::default())).map_err(|reason| malformed(&reason))?;
    check_warehouse(warehouse, request.warehouse_id.as_deref())?;
    let submission = Submission::check(request, warehouse.switches().hybrid_supported)?;
    let (wait, cancel_after_wait) = (submission.wait, submission.cancel_after_wait);
    let statement = warehouse.submit(submission)?;
    entry.update(|record| record.statement_id = Some(statement.id.clone()));
    if !wait.is_zero() {
        statement.wait(wait).await;
        if cancel_after_wait && !statement.progress().is_terminal() {
            statement.cancel();
        }
    }
    Ok(tell(warehouse, &statement))
}

fn find(warehouse: &Warehouse, statement_id: &str) -> Result<Arc<Statement>, Refused> {
    warehouse.statements.get(statement_id).ok_or_else(|| no_statement(statement_id))
}

fn no_statement(statement_id: &str) -> Refused {
    Refused::missing(format!("The statement {statement_id} was not found."))
}

/// Tells where a statement stands, with its result if it is done.
fn tell(warehouse: &Warehouse, statement: &Statement) -> Answer {
    let switches = warehouse.switches();
    let answer = |state, error, sql_state| {
        let status = Status { state, error, sql_state };
        Answer::json(&StatementResponse { statement_id: &statement.id, status, manifest: None, result: None })
    };
    match statement.tell() {
        Progress::Pending => answer("PENDING", None, None),
        Progress::Running => answer("RUNNING", None, None),
        Progress::Canceled => answer("CANCELED", None, None),
        Progress::Failed(error) => {
            let (error, sql_state) = failure(&error, &switches);
            answer("FAILED", Some(error), sql_state)
        }
        Progress::Succeeded(result) => {
            let delivery = Delivery {
                statement_id: &statement.id,
                disposition: statement.disposition,
                result: &result,
                switches: &switches,
                signer: &warehouse.signer,
                storage_address: &warehouse.storage_address,
            };
            let closed = switches.close_with_result && delivery.is_complete_inline();
            if closed {
                warehouse.statements.remove(&statement.id);
            }
            Answer::json(&StatementResponse {
                statement_id: &statement.id,
                status: Status { state: if closed { "CLOSED" } else { "SUCCEEDED" }, error: None, sql_state: None },
                manifest: Some(delivery.manifest()),
                result: Some(delivery.data(0)),
            })
        }
    }
}

fn failure(error: &SqlError, switches: &Switches) -> (StatusError, Option<String>) {
    let sql_state = |place| if switches.sql_state == place { error.sql_state.clone() } else { None };
    let detail = StatusError {
        error_code: error.error_code.clone(),
        message: error.wire_message(),
        sql_state: sql_state(SqlStatePlace::Error),
    };
    (detail, sql_state(SqlStatePlace::Status))
}

fn chunk(warehouse: &Warehouse, statement_id: &str, request: &ApiRequest<'_>) -> Result<Answer, Refused> {
    let statement = find(warehouse, statement_id)?;
    let chunk_index = request.route.chunk_index();
    let chunk_index = chunk_index.ok_or_else(|| Refused::invalid("the chunk index in the path is not a number"))?;
    let row_offset = match query_value(request.query, "row_offset") {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| Refused::invalid(format!("row_offset `{text}` is not a number")))?),
    };
    let Progress::Succeeded(result) = statement.progress() else {
        return Err(Refused::invalid(format!("The statement {statement_id} has no result to fetch.")));
    };
    let switches = warehouse.switches();
    let delivery = Delivery {
        statement_id,
        disposition: statement.disposition,
        result: &result,
        switches: &switches,
        signer: &warehouse.signer,
        storage_address: &warehouse.storage_address,
    };
    let data = match request.other_chunk {
        Some(other) => delivery.chunk(other, None)?,
        None => delivery.chunk(chunk_index, row_offset)?,
    };
    Ok(Answer::json(&data))
}

/// The value of a key in a query.
pub(crate) fn query_value(query: Option<&str>, key: &str) -> Option<String> {
    let pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.into_iter().find(|(name, _)| *name == key).map(|(_, value)| unescaped(value))
}

fn describe(warehouse: &Warehouse) -> Value {
    let id = &warehouse.options.warehouse_id;
    let (protocol, host) = warehouse.api_address.split_once("://").unwrap_or_default();
    let (hostname, port) = host.rsplit_once(':').unwrap_or((host, ""));
    json!({
        "id": id,
        "name": "local",
        "state": warehouse.switches().warehouse_state,
        "size": "2X-Small",
        "cluster_size": "2X-Small",
        "warehouse_type": "PRO",
        "enable_serverless_compute": true,
        "num_clusters": 1,
        "num_active_sessions": warehouse.sessions.count(),
        "odbc_params": {
            "hostname": hostname, "path": format!("/sql/1.0/warehouses/{id}"), "port": port.parse().unwrap_or(0), "protocol": protocol,
        },
        "health": {"status": "HEALTHY"},
    })
}

/// Drivers whose default is the other protocol get told how to switch; a bare 404 reads as a network failure.
fn thrift_refused() -> Answer {
    let message = "This local warehouse speaks only the Statement Execution API, not Thrift. Switch the client over: \
                   UseThriftClient=0 (JDBC), useKernel: true (Node), use_sea=True or use_kernel=True (databricks-sql-connector).";
    let mut answer = Answer::error(StatusCode::BAD_REQUEST, "UNSUPPORTED_PROTOCOL", message);
    answer.insert(HeaderName::from_static("x-thriftserver-error-message"), message);
    answer
}
