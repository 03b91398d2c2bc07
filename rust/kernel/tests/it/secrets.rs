use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::{BoxFuture, FutureExt, ready};
use seakernel::{Credentials, Parameter, Secret, Session, TokenSource};
use seakernel_local::{Fault, FaultRule, Operation};
use tracing_subscriber::fmt::MakeWriter;

use crate::warehouse::{NUMBERS, Warehouse, ids};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Gives a token that is refused, or panics with it.
struct Source {
    panics: bool,
}

impl TokenSource for Source {
    fn token(
        &self,
        _rejected: Option<Secret>,
    ) -> BoxFuture<'_, Result<Secret, Box<dyn std::error::Error + Send + Sync>>> {
        assert!(!self.panics, "dapi-canary-renewed");
        ready(Ok(Secret::new("dapi-canary-renewed"))).boxed()
    }
}

/// Everything at every level, of the kernel and of the crates below it, while things go well and while they go wrong.
#[tokio::test]
async fn no_secret_appears_in_any_log_error_or_debug_text() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone()).finish();
    // For all threads, and so for the tests that run beside: whether an event is wanted is remembered for the process.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let warehouse = Warehouse::start();
    let token = warehouse.server.access_token().to_owned();
    let mut texts = Vec::new();
    for fault in [
        None,
        Some(Fault::Expire),
        Some(Fault::DropBeforeResponse),
        Some(Fault::Truncate { bytes: 10 }),
        Some(Fault::Html),
    ] {
        warehouse.server.set_faults(
            fault.map(|fault| FaultRule::new(Operation::Download, fault).chunk(2).always()).into_iter().collect(),
        );
        let session = Session::open(warehouse.config()).await.unwrap();
        let statement = session.statement(NUMBERS).bind(Parameter::named("p", "STRING", Some("parameter-canary")));
        texts.push(format!("{statement:?} {session:?}"));
        let executed = statement.execute().await.unwrap();
        texts.push(format!("{executed:?}"));
        let mut results = executed.results().await.unwrap();
        texts.push(format!("{results:?}"));
        if let Err(error) = ids(&mut results).await {
            texts.push(format!("{error} {error:?}"));
        }
    }
    let wrong = Credentials::access_token("dapi-canary-wrong");
    let config =
        seakernel::SessionConfig::new(warehouse.server.address(), &warehouse.server.http_path(), wrong).unwrap();
    let error = Session::open(config).await.unwrap_err();
    texts.push(format!("{error} {error:?}"));
    let unauthenticated = Fault::Status { code: 401, retry_after: None, error_code: None, body: None };
    warehouse.server.set_faults(vec![FaultRule::new(Operation::OpenSession, unauthenticated)]);
    for panics in [false, true] {
        let credentials = Credentials::TokenSource(Arc::new(Source { panics }));
        texts.push(format!("{credentials:?}"));
        let config =
            seakernel::SessionConfig::new(warehouse.server.address(), &warehouse.server.http_path(), credentials);
        let error = Session::open(config.unwrap()).await.unwrap_err();
        texts.push(format!("{error} {error:?}"));
    }
    texts.push(String::from_utf8_lossy(&log.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned());
    let all = texts.join("\n");
    assert!(all.contains("result read") && all.contains("chunk fetched"), "the log is there");
    let line = all.lines().find(|line| line.contains("result read")).unwrap();
    for field in [
        "statement_id",
        "rows",
        "chunks",
        "wire_bytes",
        "decoded_bytes",
        "link_requests",
        "renewals",
        "download_requests",
        "range_requests",
        "retries",
        "trimmed_rows",
        "reader_wait_ms",
        "memory_wait_ms",
        "truncated",
    ] {
        assert!(line.contains(&format!("{field}=")), "{field} in {line}");
    }
    for secret in [token.as_str(), "Signature=", "parameter-canary", "dapi-canary-wrong", "dapi-canary-renewed"] {
        let line = all.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "`{secret}` leaked");
    }
}
