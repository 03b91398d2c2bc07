//! One request from arrival to answer, with its fault and its record.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{HeaderName, LOCATION, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use serde_json::Value;
use time::OffsetDateTime;
use tokio::time::sleep;

use crate::answer::{Answer, AnswerBody};
use crate::api::{self, ApiRequest, query_value};
use crate::faults::{Fault, NumberOrText, Operation, Target};
use crate::identity::{self, Form};
use crate::request_log::{Arrival, LogEntry, Origin, loggable, unescaped};
use crate::route::Route;
use crate::statement::Progress;
use crate::store::{self, Refusal, StoreRequest, linked_file};
use crate::volumes::{self, VolumeRequest};
use crate::warehouse::{Warehouse, new_id};

/// A statement of 16 MiB and the JSON around it.
const MAX_BODY_BYTES: usize = 17 << 20;
/// Blanks a fault may add to a body.
const MAX_PADDING: usize = 1 << 30;

/// The connection is to be closed without an answer.
#[derive(Debug)]
pub(crate) struct Dropped;

impl fmt::Display for Dropped {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the connection was dropped on purpose")
    }
}

impl std::error::Error for Dropped {}

/// Answers one request of a connection.
pub(crate) async fn exchange(
    warehouse: Arc<Warehouse>,
    origin: Origin,
    connection: u64,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Dropped> {
    let (head, body) = request.into_parts();
    let entry = warehouse.log.begin(&Arrival {
        origin,
        connection,
        method: head.method.as_str(),
        path: head.uri.path(),
        query: head.uri.query(),
        headers: &head.headers,
    });
    if origin == Origin::Storage && head.uri.path().starts_with(volumes::FOLDER) {
        let answer = to_volume(&warehouse, &head, body, &entry).await?;
        return Ok(finished(answer, &entry));
    }
    let answered = match Limited::new(body, MAX_BODY_BYTES).collect().await {
        Ok(body) => {
            let body = body.to_bytes();
            match origin {
                Origin::Api => to_api(&warehouse, &head, &body, &entry).await,
                Origin::Storage => to_store(&warehouse, &head, &entry).await,
            }
        }
        Err(_) => Ok(Answer::error(
            StatusCode::PAYLOAD_TOO_LARGE,
            "REQUEST_TOO_LARGE",
            "the body is longer than 17 MiB or did not arrive whole",
        )),
    };
    Ok(finished(answered?, &entry))
}

fn finished(mut answer: Answer, entry: &LogEntry) -> Response<AnswerBody> {
    answer.insert(HeaderName::from_static("x-request-id"), &new_id());
    entry.finish(answer.status.as_u16(), answer.body.len() as u64);
    answer.into_response()
}

async fn to_api(
    warehouse: &Arc<Warehouse>,
    head: &hyper::http::request::Parts,
    body: &Bytes,
    entry: &LogEntry,
) -> Result<Answer, Dropped> {
    let route = Route::of(&head.method, head.uri.path());
    let execute = (route == Route::Execute)
        .then(|| serde_json::from_slice::<crate::wire::Execute>(body).map_err(|error| error.to_string()));
    let statement = route.statement_id().and_then(|id| warehouse.statements.get(id));
    let sql = match &execute {
        Some(Ok(execute)) => execute.statement.as_deref(),
        _ => statement.as_ref().map(|statement| statement.sql.as_str()),
    };
    let operation = route.operation();
    let form = matches!(route, Route::Identity(_)).then(|| Form::of_body(body));
    let grant_type = form.as_ref().and_then(|form| form.get("grant_type"));
    let fault = operation.and_then(|operation| {
        warehouse.faults.choose(&Target { operation, chunk_index: route.chunk_index(), sql, grant_type })
    });
    entry.update(|record| {
        record.operation = operation;
        record.statement_id = route.statement_id().map(str::to_owned);
        record.chunk_index = route.chunk_index();
        record.row_offset = query_value(head.uri.query(), "row_offset").and_then(|text| text.parse().ok());
        record.fault = fault.as_ref().map(Fault::name);
        match &form {
            Some(form) => {
                record.grant_type = grant_type.map(str::to_owned);
                record.form = Some(form.loggable());
            }
            None => record.body = loggable(body),
        }
    });
    sleep_ms(warehouse.switches().api_delay_ms).await;
    let place = if form.is_some() { Place::Identity } else { Place::Api };
    if let Some(answer) = fault.as_ref().and_then(|fault| instead(fault, place, warehouse)) {
        return Ok(answer);
    }
    let other_chunk = match fault {
        Some(Fault::WrongChunk { index }) => Some(index),
        _ => None,
    };
    let request = ApiRequest { route, query: head.uri.query(), headers: &head.headers, body, execute, other_chunk };
    let answer = api::answer(warehouse, request, entry).await;
    disturbed(answer, fault.as_ref()).await
}

async fn to_store(
    warehouse: &Arc<Warehouse>,
    head: &hyper::http::request::Parts,
    entry: &LogEntry,
) -> Result<Answer, Dropped> {
    let path = head.uri.path();
    let named = linked_file(path);
    let statement = named.and_then(|file| warehouse.statements.get(file.statement_id));
    let chunk_index = named.map(|file| file.chunk_index as u64);
    let target = Target {
        operation: Operation::Download,
        chunk_index,
        sql: statement.as_ref().map(|statement| statement.sql.as_str()),
        grant_type: None,
    };
    let fault = if head.method == Method::GET { warehouse.faults.choose(&target) } else { None };
    entry.update(|record| {
        record.operation = Some(Operation::Download);
        record.statement_id = named.map(|file| file.statement_id.to_owned());
        record.chunk_index = chunk_index;
        record.fault = fault.as_ref().map(Fault::name);
    });
    let switches = warehouse.switches();
    sleep_ms(switches.store_first_byte_ms).await;
    if let Some(answer) = fault.as_ref().and_then(|fault| instead(fault, Place::Storage, warehouse)) {
        return Ok(answer);
    }
    let file = if named.is_some() {
        warehouse.signer.open(path, head.uri.query(), OffsetDateTime::now_utc())
    } else {
        Err(Refusal::BadSignature)
    };
    let result = match statement.map(|statement| statement.progress()) {
        Some(Progress::Succeeded(result)) => Some(result),
        _ => None,
    };
    let mut answer = store::serve(&StoreRequest {
        method: &head.method,
        headers: &head.headers,
        file,
        result,
        switches: &switches,
        fault: fault.as_ref(),
    });
    answer.bytes_per_second = switches.store_bytes_per_second;
    disturbed(answer, fault.as_ref()).await
}

async fn to_volume(
    warehouse: &Arc<Warehouse>,
    head: &hyper::http::request::Parts,
    body: Incoming,
    entry: &LogEntry,
) -> Result<Answer, Dropped> {
    let operation = match head.method {
        Method::PUT => Operation::VolumePut,
        Method::DELETE => Operation::VolumeRemove,
        _ => Operation::VolumeGet,
    };
    let fault = warehouse.faults.choose(&Target { operation, chunk_index: None, sql: None, grant_type: None });
    entry.update(|record| {
        record.operation = Some(operation);
        record.fault = fault.as_ref().map(Fault::name);
    });
    let switches = warehouse.switches();
    sleep_ms(switches.store_first_byte_ms).await;
    if let Some(answer) = fault.as_ref().and_then(|fault| instead(fault, Place::Storage, warehouse)) {
        return Ok(answer);
    }
    let (path, query) = (head.uri.path(), head.uri.query());
    let opened = warehouse.signer.check(path, query, &head.method, OffsetDateTime::now_utc());
    let path = opened.map(|()| unescaped(path.strip_prefix(volumes::FOLDER).unwrap_or(path).trim_start_matches('/')));
    let request = VolumeRequest { head, path, switches: &switches, fault: fault.as_ref() };
    let mut answer = warehouse.volumes.serve(request, body).await.ok_or(Dropped)?;
    if operation == Operation::VolumePut {
        // Both have disturbed the upload.
        let rest = fault.filter(|fault| !matches!(fault, Fault::Truncate { .. } | Fault::Slow { .. }));
        return disturbed(answer, rest.as_ref()).await;
    }
    answer.bytes_per_second = switches.store_bytes_per_second;
    disturbed(answer, fault.as_ref()).await
}

async fn sleep_ms(milliseconds: u64) {
    if milliseconds > 0 {
        sleep(Duration::from_millis(milliseconds)).await;
    }
}

/// Whose words a refusal is in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Api,
    Identity,
    Storage,
}

/// The answer of a fault that keeps the request from being worked on.
fn instead(fault: &Fault, place: Place, warehouse: &Warehouse) -> Option<Answer> {
    let status = |code: u16| StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match fault {
        Fault::Status { code, retry_after, error_code, body } => {
            let status = status(*code);
            let error_code = match error_code {
                None => Value::from("TEMPORARILY_UNAVAILABLE"),
                Some(NumberOrText::Number(number)) => Value::from(*number),
                Some(NumberOrText::Text(text)) => Value::from(text.as_str()),
            };
            let mut answer = match (body, place) {
                (Some(body), _) => Answer::typed(status, "text/plain", body.clone().into_bytes()),
                (None, Place::Api) => Answer::error(status, error_code, "a fault was asked for"),
                (None, Place::Identity) => {
                    let error = error_code.as_str().unwrap_or("server_error").to_lowercase();
                    Answer::typed(status, "application/json", identity::fault_body(&error))
                }
                (None, Place::Storage) => Answer::xml(status, "ServiceUnavailable", "a fault was asked for"),
            };
            match retry_after {
                None => {}
                Some(NumberOrText::Number(seconds)) => answer.insert(RETRY_AFTER, &seconds.to_string()),
                Some(NumberOrText::Text(text)) => answer.insert(RETRY_AFTER, text),
            }
            Some(answer)
        }
        Fault::Redirect { status: code, location } => {
            let mut answer = Answer::bytes(status(*code), Bytes::new());
            answer.insert(LOCATION, location);
            Some(answer)
        }
        Fault::Html => {
            let page = "<!doctype html><html><head><title>Sign in</title></head><body>Sign in</body></html>";
            Some(Answer::typed(StatusCode::OK, "text/html; charset=utf-8", page.as_bytes().to_vec()))
        }
        Fault::Expire if place == Place::Storage => Some(store::expired(warehouse.switches().cloud)),
        Fault::Expire => {
            Some(Answer::error(StatusCode::NOT_FOUND, "NOT_FOUND", "The result of the statement has expired."))
        }
        _ => None,
    }
}

/// What a fault does to an answer on its way out.
async fn disturbed(mut answer: Answer, fault: Option<&Fault>) -> Result<Answer, Dropped> {
    match fault {
        Some(Fault::Delay { ms }) => sleep_ms(*ms).await,
        Some(Fault::DropBeforeResponse) => return Err(Dropped),
        Some(Fault::DropAfterHeaders) => answer.break_after = Some(0),
        Some(Fault::Truncate { bytes }) => answer.break_after = Some(*bytes),
        Some(Fault::Stall { bytes }) => {
            answer.break_after = Some(*bytes);
            answer.falls_silent = true;
        }
        Some(Fault::ShortBody { bytes }) => {
            answer.body.truncate(usize::try_from(*bytes).unwrap_or(usize::MAX));
        }
        Some(Fault::Padded { bytes }) => {
            let blanks = usize::try_from(*bytes).unwrap_or(usize::MAX).min(MAX_PADDING);
            let mut body = answer.body.to_vec();
            body.resize(body.len().saturating_add(blanks), b' ');
            answer.body = Bytes::from(body);
        }
        Some(Fault::Corrupt { offset, count, seed }) => {
            answer.body = corrupted(&answer.body, *offset, *count, *seed);
        }
        Some(Fault::Slow { bytes_per_second }) => answer.bytes_per_second = Some(*bytes_per_second),
        _ => {}
    }
    Ok(answer)
}

fn corrupted(body: &Bytes, offset: Option<u64>, count: u64, seed: u64) -> Bytes {
    let mut bytes = body.to_vec();
    let mut random = StdRng::seed_from_u64(seed);
    let length = bytes.len().max(1) as u64;
    for step in 0..count.min(length) {
        let place = offset.map_or_else(|| random.next_u64() % length, |offset| offset.saturating_add(step));
        if let Some(byte) = usize::try_from(place).ok().and_then(|place| bytes.get_mut(place)) {
            // Never zero: the byte must change.
            *byte ^= (random.next_u32() % 255) as u8 + 1;
        }
    }
    Bytes::from(bytes)
}
