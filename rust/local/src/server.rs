//! Starting, serving and stopping.

use std::fmt;
use std::io;
use std::net::TcpListener as StdListener;
use std::process;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::engine::Engine;
use crate::exchange::exchange;
use crate::faults::FaultRule;
use crate::identity::FOREIGN_ISSUER;
use crate::options::ServerOptions;
use crate::request_log::{Origin, RequestRecord};
use crate::switches::Switches;
use crate::tls::Tls;
use crate::warehouse::{Counters, Warehouse};

/// More connections wait in the listen queue.
const MAX_CONNECTIONS: usize = 1024;
/// How long a client may take to agree on TLS.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// How long `stop` waits for threads that an engine may hold.
const STOP_LIMIT: Duration = Duration::from_secs(3);

/// A running local warehouse; stops when dropped.
///
/// It has a runtime on threads of its own, so it works from synchronous code and from inside any async runtime.
pub struct LocalServer {
    warehouse: Arc<Warehouse>,
    shutdown: watch::Sender<bool>,
    stopped: Mutex<Receiver<()>>,
    /// Where the threads live; a fork does not copy them.
    process: u32,
}

impl LocalServer {
    /// Binds both origins and starts to serve.
    ///
    /// # Errors
    /// The address cannot be bound, or the threads cannot be started.
    pub fn start(options: ServerOptions, engine: Arc<dyn Engine>) -> io::Result<Self> {
        let api = StdListener::bind((options.host, options.port))?;
        let storage = StdListener::bind((options.host, 0))?;
        let tls = options.tls.map(Tls::new).transpose()?;
        let address = |listener: &StdListener| {
            let address = listener.local_addr()?;
            Ok::<_, io::Error>(match &tls {
                None => format!("http://{address}"),
                // The name in the certificate, as with real hosts.
                Some(_) if address.ip().is_loopback() => format!("https://localhost:{}", address.port()),
                Some(_) => format!("https://{address}"),
            })
        };
        let (api_address, storage_address) = (address(&api)?, address(&storage)?);
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            // Statements are held back by permits, so cancels and sessions always find a thread.
            .max_blocking_threads(usize::from(options.running_limit()) + 64)
            .thread_name("seakernel-local")
            .enable_all()
            .build()?;
        let warehouse = Arc::new(Warehouse::new(options, engine, api_address, storage_address, tls)?);
        let (shutdown, stop) = watch::channel(false);
        let (done, stopped) = channel();
        let served = Arc::clone(&warehouse);
        thread::Builder::new().name("seakernel-local-main".to_owned()).spawn(move || {
            if let Err(error) = run(&runtime, &served, [(api, Origin::Api), (storage, Origin::Storage)], stop) {
                tracing::error!(%error, "the local warehouse stopped");
            }
            // An error means that an engine does not listen; then its thread is left behind.
            drop(runtime.block_on(async { tokio::time::timeout(STOP_LIMIT, served.cancel_all()).await }));
            runtime.shutdown_timeout(STOP_LIMIT);
            // In this order: whoever stopped the server may count on having the last hold of the engine.
            drop(served);
            drop(done);
        })?;
        Ok(Self { warehouse, shutdown, stopped: Mutex::new(stopped), process: process::id() })
    }

    /// The API's address, such as `http://127.0.0.1:40001`.
    pub fn address(&self) -> &str {
        &self.warehouse.api_address
    }

    /// The address of the result files.
    pub fn storage_address(&self) -> &str {
        &self.warehouse.storage_address
    }

    /// The path clients know the warehouse by: `/sql/1.0/warehouses/{id}`.
    pub fn http_path(&self) -> String {
        format!("/sql/1.0/warehouses/{}", self.warehouse.options.warehouse_id)
    }

    /// The id of the warehouse.
    pub fn warehouse_id(&self) -> &str {
        &self.warehouse.options.warehouse_id
    }

    /// The bearer token clients must send.
    pub fn access_token(&self) -> &str {
        &self.warehouse.options.access_token
    }

    /// Every request so far to both origins, in order of arrival.
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.warehouse.log.records()
    }

    /// Replaces the fault rules; their counting starts anew.
    pub fn set_faults(&self, rules: Vec<FaultRule>) {
        self.warehouse.faults.replace(rules);
    }

    /// Replaces the switches.
    pub fn set_switches(&self, switches: Switches) {
        self.warehouse.set_switches(switches);
    }

    /// What the server has done and what it holds at the moment.
    pub fn counters(&self) -> Counters {
        self.warehouse.counters()
    }

    /// The certificate of the authority made at start, in PEM; empty without TLS.
    pub fn authority_certificate(&self) -> &str {
        self.warehouse.tls.as_ref().map_or("", |tls| &tls.authority_pem)
    }

    /// The certificate and the key that a client may have to show, in PEM; empty without TLS.
    pub fn client_certificate(&self) -> (&str, &str) {
        self.warehouse.tls.as_ref().map_or(("", ""), |tls| (&tls.client_pem, &tls.client_key_pem))
    }

    /// Signs claims as another identity provider: one whose issuer, unless they name another, is [`FOREIGN_ISSUER`].
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn foreign_token(&self, mut claims: Map<String, Value>) -> io::Result<String> {
        claims.entry("iss").or_insert_with(|| FOREIGN_ISSUER.into());
        self.warehouse.identity.foreign_token(&claims)
    }

    /// Makes every access token issued so far worthless: the API answers 401. The fixed token stays valid.
    pub fn revoke_tokens(&self) {
        self.warehouse.identity.ledger.revoke_access_tokens();
    }

    /// Makes every refresh token issued so far worthless.
    pub fn revoke_refresh_tokens(&self) {
        self.warehouse.identity.ledger.revoke_refresh_tokens();
    }

    /// Cancels what runs, closes all connections and waits for the threads, a few seconds at most.
    ///
    /// May be repeated. Does nothing in a process that was forked from the server's.
    pub fn stop(&self) {
        if process::id() != self.process {
            return;
        }
        self.shutdown.send_replace(true);
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        // The channel carries nothing: it closes when the last thread is done.
        let _ = stopped.recv_timeout(STOP_LIMIT + STOP_LIMIT);
    }
}

impl Drop for LocalServer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for LocalServer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("LocalServer").field("address", &self.address()).finish_non_exhaustive()
    }
}

fn run(
    runtime: &Runtime,
    warehouse: &Arc<Warehouse>,
    listeners: [(StdListener, Origin); 2],
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    runtime.block_on(async {
        for (listener, origin) in listeners {
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(listener)?;
            tokio::spawn(accept(listener, origin, Arc::clone(warehouse)));
        }
        // An error means the server itself is gone, which is as good a reason to stop.
        drop(stop.wait_for(|stop| *stop).await);
        Ok(())
    })
}

async fn accept(listener: TcpListener, origin: Origin, warehouse: Arc<Warehouse>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let warehouse = Arc::clone(&warehouse);
                tokio::spawn(async move {
                    serve(stream, origin, warehouse).await;
                    drop(place);
                });
            }
            // Out of file handles, most likely: others will be closed soon.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn serve(stream: TcpStream, origin: Origin, warehouse: Arc<Warehouse>) {
    // Only costs latency where it fails.
    drop(stream.set_nodelay(true));
    let number = warehouse.next_connection.fetch_add(1, Ordering::Relaxed);
    let service = service_fn(|request| exchange(Arc::clone(&warehouse), origin, number, request));
    let open = OpenConnection::new(Arc::clone(&warehouse));
    let stream = match &warehouse.tls {
        None => Box::new(stream) as Box<dyn Connection>,
        Some(tls) => match timeout(HANDSHAKE_LIMIT, tls.acceptor(origin).accept(stream)).await {
            Ok(Ok(stream)) => Box::new(stream),
            Ok(Err(error)) => {
                tracing::debug!(%error, "no TLS connection came about");
                warehouse.failed_handshakes.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Err(_) => return,
        },
    };
    // Clients and faults break connections all the time; the log of requests tells what there is to tell.
    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
    drop(open);
}

/// A connection with or without TLS. Boxed: hyper is large, and is compiled for one kind of connection so.
trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<C: AsyncRead + AsyncWrite + Send + Unpin> Connection for C {}

/// Counts a connection for as long as it lives.
struct OpenConnection(Arc<Warehouse>);

impl OpenConnection {
    fn new(warehouse: Arc<Warehouse>) -> Self {
        warehouse.open_connections.fetch_add(1, Ordering::Relaxed);
        Self(warehouse)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.open_connections.fetch_sub(1, Ordering::Relaxed);
    }
}
