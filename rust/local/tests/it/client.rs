//! A small HTTP client that shows what really came over the wire.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use seakernel_local::LocalServer;
use serde_json::{Value, json};

/// One response: a body shorter than its `content-length` says is kept as it came.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Sends one request on a connection of its own. `Err` is a connection closed before the end of the head.
pub(crate) fn request(
    address: &str,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Reply> {
    let host = address.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut head = format!("{method} {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
    for (name, value) in headers {
        let _ = std::fmt::Write::write_fmt(&mut head, format_args!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        let _ = std::fmt::Write::write_fmt(&mut head, format_args!("content-length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    // The server may answer and hang up before it has read a huge body.
    let _ = stream.write_all(body);
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok()).unwrap();
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Ok(Reply { status, headers, body: bytes[end + 4..].to_vec() })
}

/// A client of one server, with its token.
pub(crate) struct Client<'server> {
    pub(crate) server: &'server LocalServer,
}

impl Client<'_> {
    pub(crate) fn api(&self, method: &str, target: &str, body: &Value) -> Reply {
        self.try_api(method, target, body).unwrap()
    }

    pub(crate) fn try_api(&self, method: &str, target: &str, body: &Value) -> std::io::Result<Reply> {
        let token = format!("Bearer {}", self.server.access_token());
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let headers = [("authorization", token.as_str()), ("content-type", "application/json")];
        request(self.server.address(), method, target, &headers, &body)
    }

    pub(crate) fn open_session(&self) -> String {
        let body = json!({"warehouse_id": self.server.warehouse_id()});
        self.api("POST", "/api/2.0/sql/sessions", &body).json()["session_id"].as_str().unwrap().to_owned()
    }

    /// Submits `sql`; `more` are further fields of the body.
    pub(crate) fn execute(&self, sql: &str, more: &Value) -> Reply {
        self.api("POST", "/api/2.0/sql/statements", &self.body(sql, more))
    }

    pub(crate) fn body(&self, sql: &str, more: &Value) -> Value {
        let mut body = json!({"warehouse_id": self.server.warehouse_id(), "statement": sql});
        for (key, value) in more.as_object().unwrap() {
            body[key] = value.clone();
        }
        body
    }

    pub(crate) fn poll(&self, statement_id: &Value) -> Value {
        self.api("GET", &format!("/api/2.0/sql/statements/{}", id(statement_id)), &Value::Null).json()
    }

    pub(crate) fn chunk(&self, statement_id: &Value, chunk_index: u64) -> Reply {
        let target = format!("/api/2.0/sql/statements/{}/result/chunks/{chunk_index}", id(statement_id));
        self.api("GET", &target, &Value::Null)
    }

    pub(crate) fn close(&self, statement_id: &Value) -> Reply {
        self.api("DELETE", &format!("/api/2.0/sql/statements/{}", id(statement_id)), &Value::Null)
    }
}

/// Gets the file behind a link, or what the store says instead.
pub(crate) fn download(link: &Value, headers: &[(&str, &str)]) -> std::io::Result<Reply> {
    let (address, target) = split(link["external_link"].as_str().unwrap());
    request(address, "GET", target, headers, b"")
}

/// Cuts a URL before its path.
pub(crate) fn split(url: &str) -> (&str, &str) {
    let start = "http://".len();
    url.split_at(start + url[start..].find('/').unwrap())
}

pub(crate) fn id(statement_id: &Value) -> &str {
    statement_id.as_str().unwrap()
}
