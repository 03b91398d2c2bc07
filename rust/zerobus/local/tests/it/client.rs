//! A client made of bytes.

use std::future::poll_fn;
use std::io::{Read as _, Write as _};
use std::net::TcpStream as StdStream;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use bytes::{Buf as _, Bytes, BytesMut};
use h2::client::{self, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request};
use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use seakernel_zerobus_local::{Column, FaultRule, ServerOptions, ZerobusServer};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::form_urlencoded;

pub(crate) const TABLE: &str = "main.default.events";
/// For `localhost`, until the year 2126.
pub(crate) const CERTIFICATE: &str = include_str!("certificate.pem");
pub(crate) const KEY: &str = include_str!("key.pem");
/// Far longer than anything takes.
const LIMIT: Duration = Duration::from_secs(60);

/// A server with a table of `id BIGINT NOT NULL, text STRING`.
pub(crate) fn start() -> ZerobusServer {
    let server = ZerobusServer::start(ServerOptions::default()).unwrap();
    server.create_table(TABLE, &[Column::new("id", "BIGINT").not_null(), Column::new("text", "STRING")]).unwrap();
    server
}

/// A server disturbed by these rules.
pub(crate) fn start_with(rules: &Value) -> ZerobusServer {
    let server = start();
    server.set_faults(FaultRule::list_from_json(&rules.to_string()).unwrap());
    server
}

/// The descriptor of that table.
pub(crate) fn descriptor() -> DescriptorProto {
    message(
        "Events",
        vec![field("id", 1, Type::Int64, Label::Required), field("text", 2, Type::String, Label::Optional)],
    )
}

pub(crate) fn message(name: &str, field: Vec<FieldDescriptorProto>) -> DescriptorProto {
    DescriptorProto { name: Some(name.to_owned()), field, ..DescriptorProto::default() }
}

pub(crate) fn field(name: &str, number: i32, kind: Type, label: Label) -> FieldDescriptorProto {
    FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        label: Some(label.into()),
        r#type: Some(kind.into()),
        ..FieldDescriptorProto::default()
    }
}

/// A record of that table.
pub(crate) fn row(id: i64, text: &str) -> Vec<u8> {
    [int(1, id), bytes(2, text.as_bytes())].concat()
}

pub(crate) fn varint(mut value: u64) -> Vec<u8> {
    let mut encoded = Vec::new();
    while value > 0x7f {
        encoded.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    encoded.push(value as u8);
    encoded
}

pub(crate) fn int(number: u64, value: i64) -> Vec<u8> {
    [varint(number << 3), varint(value.cast_unsigned())].concat()
}

pub(crate) fn bytes(number: u64, value: &[u8]) -> Vec<u8> {
    [&varint(number << 3 | 2)[..], &varint(value.len() as u64), value].concat()
}

pub(crate) fn create_message(table: &str, descriptor: &[u8]) -> Vec<u8> {
    bytes(1, &[bytes(1, table.as_bytes()), bytes(3, descriptor), int(4, 1)].concat())
}

pub(crate) fn record_message(offset: i64, record: &[u8]) -> Vec<u8> {
    bytes(2, &[int(1, offset), bytes(2, record)].concat())
}

pub(crate) fn batch_message(offset: i64, records: &[Vec<u8>]) -> Vec<u8> {
    let records: Vec<u8> = records.iter().flat_map(|record| bytes(1, record)).collect();
    bytes(3, &[int(1, offset), bytes(2, &records)].concat())
}

/// What a server says on a stream.
#[derive(Debug, PartialEq)]
pub(crate) enum Event {
    Created(Option<String>),
    Ack(Option<i64>),
    /// Milliseconds.
    Close(Option<u64>),
    Status(Status),
    /// The call or the connection broke.
    Broken,
}

#[derive(Debug, Default, PartialEq)]
pub(crate) struct Status {
    pub(crate) code: u16,
    pub(crate) message: String,
    /// Of the details, the strings in them.
    pub(crate) details: String,
}

impl Event {
    pub(crate) fn code(&self) -> u16 {
        let Self::Status(status) = self else { panic!("a status expected, not {self:?}") };
        status.code
    }
}

/// A call on a connection of its own.
pub(crate) struct Call {
    pub(crate) send: SendStream<Bytes>,
    pub(crate) requests: SendRequest<Bytes>,
    pub(crate) headers: HeaderMap,
    body: RecvStream,
    buffer: BytesMut,
}

pub(crate) async fn connect(server: &ZerobusServer) -> Result<SendRequest<Bytes>, Box<dyn std::error::Error>> {
    if let Some(address) = server.endpoint().strip_prefix("https://") {
        return speak_http2(tls(address, b"h2").await?).await;
    }
    let stream = TcpStream::connect(server.endpoint().strip_prefix("http://").unwrap()).await?;
    stream.set_nodelay(true)?;
    speak_http2(stream).await
}

/// Agrees on TLS with a server of the one certificate.
pub(crate) async fn tls(address: &str, protocol: &[u8]) -> Result<TlsStream<TcpStream>, Box<dyn std::error::Error>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(CERTIFICATE.as_bytes())?)?;
    let mut configuration = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    configuration.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(address.replace("localhost", "127.0.0.1")).await?;
    let stream =
        TlsConnector::from(Arc::new(configuration)).connect(ServerName::try_from("localhost")?, stream).await?;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol));
    Ok(stream)
}

async fn speak_http2<S>(stream: S) -> Result<SendRequest<Bytes>, Box<dyn std::error::Error>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (requests, connection) = client::Builder::new().initial_window_size(1 << 20).handshake(stream).await?;
    tokio::spawn(connection);
    Ok(requests.ready().await?)
}

/// Opens a call and waits for its headers, as clients do before they send anything.
pub(crate) async fn call(server: &ZerobusServer, headers: &[(&str, &str)]) -> Result<Call, Box<dyn std::error::Error>> {
    let mut requests = connect(server).await?;
    let mut request = Request::post(format!("{}/databricks.zerobus.Zerobus/EphemeralStream", server.endpoint()))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (response, send) = requests.send_request(request.body(()).unwrap(), false)?;
    let (head, body) = timeout(LIMIT, response).await.expect("the headers in time")?.into_parts();
    assert_eq!(head.status, 200);
    Ok(Call { send, requests, headers: head.headers, body, buffer: BytesMut::new() })
}

/// Opens a call with a token.
pub(crate) async fn open(server: &ZerobusServer) -> Call {
    let token = token(server);
    open_with(server, &token).await
}

pub(crate) async fn open_with(server: &ZerobusServer, token: &str) -> Call {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", &*bearer), ("x-databricks-zerobus-table-name", TABLE)];
    call(server, &headers).await.unwrap()
}

/// Opens a call and creates the stream.
pub(crate) async fn stream(server: &ZerobusServer) -> Call {
    let mut call = open(server).await;
    let event = call.create().await;
    assert!(matches!(&event, Event::Created(Some(id)) if !id.is_empty()), "{event:?}");
    call
}

impl Call {
    /// Creates the stream and returns the answer.
    pub(crate) async fn create(&mut self) -> Event {
        self.create_with(&descriptor()).await
    }

    pub(crate) async fn create_with(&mut self, descriptor: &DescriptorProto) -> Event {
        self.write(&create_message(TABLE, &descriptor.encode_to_vec()));
        self.event().await
    }

    /// Sends a message; what a window does not take waits in memory.
    pub(crate) fn write(&mut self, message: &[u8]) {
        let frame = [&[0][..], &(message.len() as u32).to_be_bytes(), message].concat();
        self.write_raw(frame);
    }

    pub(crate) fn write_raw(&mut self, frame: impl Into<Bytes>) {
        // The server may have ended the call: its status tells.
        let _ = self.send.send_data(frame.into(), false);
    }

    pub(crate) fn record(&mut self, offset: i64, id: i64) {
        self.write(&record_message(offset, &row(id, "text")));
    }

    pub(crate) fn half_close(&mut self) {
        let _ = self.send.send_data(Bytes::new(), true);
    }

    /// Waits for what the server says next.
    pub(crate) async fn event(&mut self) -> Event {
        timeout(LIMIT, self.next()).await.expect("an event in time")
    }

    /// Waits a little for what the server should not say.
    pub(crate) async fn silence(&mut self, ms: u64) {
        if let Ok(event) = timeout(Duration::from_millis(ms), self.next()).await {
            panic!("silence expected, not {event:?}");
        }
    }

    /// Acknowledgements up to this one, and what comes instead.
    pub(crate) async fn acked(&mut self, offset: i64) {
        loop {
            match self.event().await {
                Event::Ack(Some(acked)) if acked == offset => return,
                Event::Ack(Some(acked)) if acked < offset => {}
                event => panic!("an acknowledgement of {offset} expected, not {event:?}"),
            }
        }
    }

    async fn next(&mut self) -> Event {
        loop {
            if self.buffer.len() >= 5 {
                let length = (&self.buffer[1..5]).get_u32() as usize;
                if self.buffer.len() >= 5 + length {
                    self.buffer.advance(5);
                    return event(&self.buffer.split_to(length));
                }
            }
            match poll_fn(|context| self.body.poll_data(context)).await {
                Some(Ok(data)) => {
                    self.body.flow_control().release_capacity(data.len()).unwrap();
                    self.buffer.extend_from_slice(&data);
                }
                Some(Err(_)) => return Event::Broken,
                None => break,
            }
        }
        match poll_fn(|context| self.body.poll_trailers(context)).await {
            Ok(Some(trailers)) => Event::Status(status(&trailers)),
            Ok(None) | Err(_) => Event::Broken,
        }
    }
}

fn status(trailers: &HeaderMap) -> Status {
    let text = |name| trailers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    let details = STANDARD_NO_PAD.decode(text("grpc-status-details-bin")).unwrap();
    Status {
        code: text("grpc-status").parse().unwrap(),
        message: text("grpc-message"),
        details: String::from_utf8_lossy(&details).into_owned(),
    }
}

/// Reads an `EphemeralStreamResponse`.
fn event(message: &[u8]) -> Event {
    let [(number, payload)] = fields(message)[..] else { panic!("one field expected: {message:?}") };
    let payload = fields(payload);
    match number {
        1 => Event::Created(payload.first().map(|(_, id)| String::from_utf8(id.to_vec()).unwrap())),
        2 => Event::Ack(payload.first().map(|(_, offset)| read_varint(&mut &**offset).cast_signed())),
        3 => Event::Close(payload.first().map(|(_, duration)| {
            let part = |wanted| {
                let fields = fields(duration);
                let found = fields.iter().find(|(number, _)| *number == wanted);
                found.map_or(0, |(_, value)| read_varint(&mut &**value))
            };
            part(1) * 1000 + part(2) / 1_000_000
        })),
        _ => panic!("an unknown event: {message:?}"),
    }
}

fn fields(mut message: &[u8]) -> Vec<(u64, &[u8])> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let tag = read_varint(&mut message);
        let start = message;
        let length = if tag & 7 == 2 {
            let length = read_varint(&mut message) as usize;
            fields.push((tag >> 3, &message[..length]));
            length
        } else {
            read_varint(&mut message);
            let length = start.len() - message.len();
            fields.push((tag >> 3, &start[..length]));
            0
        };
        message = &message[length..];
    }
    fields
}

fn read_varint(input: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = input.get_u8();
        value |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return value;
        }
    }
}

/// An HTTP request to the other port: status, head and body.
pub(crate) fn http(
    server: &ZerobusServer,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> (u16, String, String) {
    let address = server.unity_catalog_url().strip_prefix("http://").unwrap();
    let mut stream = StdStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    // 0 for no answer at all.
    (head.split(' ').nth(1).map_or(0, |status| status.parse().unwrap()), head.to_owned(), body.to_owned())
}

/// Asks for a token.
pub(crate) fn ask_for_token(server: &ZerobusServer, table: &str) -> (u16, String, String) {
    let mut parts = table.split('.');
    let (catalog, schema) = (parts.next().unwrap(), parts.next().unwrap());
    let kind = "unity_catalog_privileges";
    let details = json!([
        {"type": kind, "privileges": ["USE CATALOG"], "object_type": "CATALOG", "object_full_path": catalog},
        {"type": kind, "privileges": ["USE SCHEMA"], "object_type": "SCHEMA",
            "object_full_path": format!("{catalog}.{schema}")},
        {"type": kind, "privileges": ["SELECT", "MODIFY"], "object_type": "TABLE", "object_full_path": table,
            "operations": ["zerobuswrite"]},
    ]);
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", "client_credentials")
        .append_pair("scope", "all-apis")
        .append_pair("resource", "api://databricks/workspaces/127/zerobusDirectWriteApi")
        .append_pair("authorization_details", &details.to_string())
        .finish();
    let basic = STANDARD.encode(format!("{}:{}", server.client_id(), server.client_secret()));
    let headers = format!("authorization: Basic {basic}\r\ncontent-type: application/x-www-form-urlencoded\r\n");
    http(server, "POST", "/oidc/v1/token", &headers, &form)
}

/// A token for the table.
pub(crate) fn token(server: &ZerobusServer) -> String {
    token_for(server, TABLE)
}

pub(crate) fn token_for(server: &ZerobusServer, table: &str) -> String {
    let (status, _, body) = ask_for_token(server, table);
    assert_eq!(status, 200, "{body}");
    let body: Value = serde_json::from_str(&body).unwrap();
    body["access_token"].as_str().unwrap().to_owned()
}

/// The ids in the table, in the order they came.
pub(crate) fn ids(server: &ZerobusServer) -> Vec<i64> {
    server.rows(TABLE).iter().map(|row| row.values["id"].as_i64().unwrap()).collect()
}
