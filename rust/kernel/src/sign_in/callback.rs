//! Where a browser comes back to after its user has decided: a listener on loopback, and the page it shows.

use std::future::pending;
use std::io::{self, ErrorKind as IoErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use crate::auth::Secret;
use crate::error::{Error, ErrorKind, Result};

/// Largest head of a request that is read. Codes have a few hundred characters, cookies of other programs on `localhost` more.
const MAX_HEAD: usize = 32 << 10;
/// Connections that are looked at at once; browsers open some ahead and send nothing on them. Further ones wait.
const MAX_VISITORS: usize = 16;
/// Longest time for a connection to say what it wants, and to take its answer.
const VISIT_LIMIT: Duration = Duration::from_secs(15);
/// Pause after a connection could not be taken, as when the process has no file descriptor left.
const PAUSE: Duration = Duration::from_millis(100);
/// Ports that the system may choose before one is free for both families of addresses.
const MAX_CHOICES: usize = 16;

/// Listens for the browser, at `localhost` under all its addresses.
pub(super) struct Callback {
    listener: TcpListener,
    /// Where there is IPv6. Browsers try it first, so another program must not be there.
    second: Option<TcpListener>,
    port: u16,
}

/// What the provider has sent the browser back with.
pub(super) enum Outcome {
    Code(Secret),
    /// The provider's error and its explanation.
    Refusal {
        error: String,
        description: Option<String>,
    },
    /// The state is not the one that was sent.
    WrongState,
}

/// A browser that waits for a page.
pub(super) struct Visitor(TcpStream);

impl Callback {
    /// Listens at the first of `ports` that is free; at port 0, at one that the system chooses.
    pub(super) async fn listen(ports: &[u16]) -> Result<Self> {
        let mut last = None;
        for port in ports {
            match Self::listen_at(*port).await {
                Ok(callback) => return Ok(callback),
                Err(error) => last = Some(error),
            }
        }
        let tried: Vec<String> = ports.iter().map(u16::to_string).collect();
        let text = format!(
            "sign-in: no port of `redirect_ports` is free for the browser to come back to (tried {}): end the program that \
             listens there, perhaps another sign-in, or name a port that the app is registered with",
            tried.join(", ")
        );
        let error = Error::new(ErrorKind::Unauthenticated, text);
        Err(match last {
            Some(last) => error.with_source(last),
            None => error,
        })
    }

    async fn listen_at(port: u16) -> io::Result<Self> {
        let mut choices = if port == 0 { MAX_CHOICES } else { 1 };
        loop {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
            let port = listener.local_addr()?.port();
            choices -= 1;
            match TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await {
                Ok(second) => return Ok(Self { listener, second: Some(second), port }),
                Err(error) if error.kind() != IoErrorKind::AddrInUse => {
                    return Ok(Self { listener, second: None, port });
                }
                Err(error) if choices == 0 => return Err(error),
                Err(_) => {}
            }
        }
    }

    /// The address as the app is registered with it.
    pub(super) fn redirect_uri(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    /// Waits until a browser comes with an outcome; what else asks for something gets nothing.
    pub(super) async fn outcome(&self, state: &Secret) -> (Outcome, Visitor) {
        let mut visitors = FuturesUnordered::new();
        loop {
            tokio::select! {
                stream = self.accept(), if visitors.len() < MAX_VISITORS => match stream {
                    Ok(stream) => visitors.push(timeout(VISIT_LIMIT, look_at(stream, state))),
                    Err(_) => sleep(PAUSE).await,
                },
                Some(visit) = visitors.next(), if !visitors.is_empty() => {
                    if let Ok(Some(outcome)) = visit {
                        return outcome;
                    }
                }
            }
        }
    }

    async fn accept(&self) -> io::Result<TcpStream> {
        let second = async {
            match &self.second {
                Some(listener) => listener.accept().await,
                None => pending().await,
            }
        };
        let (stream, _) = tokio::select! {
            accepted = self.listener.accept() => accepted?,
            accepted = second => accepted?,
        };
        Ok(stream)
    }
}

impl Visitor {
    /// Shows whether it worked. Nothing depends on the page's arrival.
    pub(super) async fn show(mut self, heading: &str, text: &str) {
        let page = format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{heading}</title><style>\
             body{{font:16px/1.5 system-ui,sans-serif;max-width:32rem;margin:15vh auto;padding:0 1rem;\
             color:#1b2733;background:#fff}}@media(prefers-color-scheme:dark){{body{{color:#e6edf3;background:#10161c}}}}\
             </style></head><body><h1>{heading}</h1><p>{text}</p></body></html>",
            heading = escaped(heading),
            text = escaped(text)
        );
        let _ = timeout(VISIT_LIMIT, answer(&mut self.0, "200 OK", &page)).await;
    }
}

/// Reads one request; returns its outcome where it has one, and answers it otherwise.
async fn look_at(mut stream: TcpStream, state: &Secret) -> Option<(Outcome, Visitor)> {
    let mut head = Zeroizing::new(Vec::with_capacity(MAX_HEAD));
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        if head.len() >= MAX_HEAD {
            let _ = answer(&mut stream, "431 Request Header Fields Too Large", "").await;
            return None;
        }
        // Never more than the capacity: a copy that a larger buffer leaves behind would not be overwritten.
        let room = (MAX_HEAD - head.len()) as u64;
        if (&mut stream).take(room).read_buf(&mut *head).await.ok()? == 0 {
            return None;
        }
    }
    let outcome = outcome_of(&head, state);
    if outcome.is_none() {
        let _ = answer(&mut stream, "404 Not Found", "").await;
    }
    outcome.map(|outcome| (outcome, Visitor(stream)))
}

/// Returns what a request says of a sign-in; `None` for other requests, such as for an icon.
fn outcome_of(head: &[u8], state: &Secret) -> Option<Outcome> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    let ("GET", target) = (words.next()?, words.next()?) else { return None };
    let query = target.strip_prefix("/?")?;
    let value = |name: &str| {
        url::form_urlencoded::parse(query.as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| Zeroizing::new(value.into_owned()))
    };
    let (code, error) = (value("code"), value("error"));
    if code.is_none() && error.is_none() {
        return None;
    }
    match (value("state"), error) {
        (Some(given), _) if *given != state.expose() => Some(Outcome::WrongState),
        // A provider that fails may have lost the state, and whoever else says so can do no more than end the sign-in.
        (_, Some(error)) => {
            let description = value("error_description").map(|text| text.to_string());
            Some(Outcome::Refusal { error: error.to_string(), description })
        }
        (None, None) => Some(Outcome::WrongState),
        (Some(_), None) => code.map(|code| Outcome::Code(Secret::new(&code))),
    }
}

async fn answer(stream: &mut TcpStream, status: &str, page: &str) -> io::Result<()> {
    let length = page.len();
    let text = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {length}\r\n\
         Connection: close\r\nCache-Control: no-store\r\nReferrer-Policy: no-referrer\r\n\
         X-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\n\
         Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'\r\n\r\n{page}"
    );
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}

fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut html, character| {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            other => html.push(other),
        }
        html
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(request: &str) -> Option<String> {
        let head = format!("{request} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        outcome_of(head.as_bytes(), &Secret::new("the state")).map(|outcome| match outcome {
            Outcome::Code(code) => format!("code {}", code.expose()),
            Outcome::Refusal { error, description } => format!("{error} {description:?}"),
            Outcome::WrongState => "wrong state".to_owned(),
        })
    }

    #[test]
    fn only_requests_about_a_sign_in_count() {
        for other in ["GET /favicon.ico", "GET /", "GET /?", "GET /?a=b", "POST /?code=1&state=the+state", "GET", ""] {
            assert_eq!(outcome(other), None, "{other}");
        }
        assert!(outcome_of(b"GET /?code=\xff HTTP/1.1\r\n\r\n", &Secret::new("")).is_none());
        for (request, expected) in [
            ("GET /?code=a%2Fb&state=the+state", "code a/b"),
            ("GET /?state=the%20state&code=c&code=d", "code c"),
            ("GET /?code=c", "wrong state"),
            ("GET /?code=c&state=", "wrong state"),
            ("GET /?code=c&state=another", "wrong state"),
            ("GET /?error=access_denied&state=another", "wrong state"),
            ("GET /?error=access_denied&error_description=No%21&state=the+state", "access_denied Some(\"No!\")"),
            ("GET /?error=server_error", "server_error None"),
            ("GET /?error=server_error&code=c&state=the+state", "server_error None"),
        ] {
            assert_eq!(outcome(request).as_deref(), Some(expected), "{request}");
        }
    }
}
