//! Starting, looking into, and stopping.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, TcpListener as StdListener};
use std::process;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::faults::FaultRule;
use crate::log::Log;
use crate::options::{ServerOptions, Settings, TlsIdentity};
use crate::service::Service;
use crate::store::{Column, Store, StoredRow, Tables};
use crate::{connection, http};

/// More connections wait in the listen queue.
const MAX_CONNECTIONS: usize = 1024;
/// How long `stop` waits for threads that tables elsewhere may hold.
const STOP_LIMIT: Duration = Duration::from_secs(3);

/// A running server; stops when dropped.
///
/// It has a runtime on threads of its own, so it works from synchronous code and from inside any async runtime.
pub struct ZerobusServer {
    service: Arc<Service>,
    endpoint: String,
    unity_catalog_url: String,
    shutdown: watch::Sender<bool>,
    stopped: Mutex<Receiver<()>>,
    /// Where the threads live; a fork does not copy them.
    process: u32,
}

impl ZerobusServer {
    /// Binds both ports and starts to serve tables that it creates itself.
    ///
    /// # Errors
    /// A port cannot be bound, the certificate cannot be used, or the threads cannot be started.
    pub fn start(options: ServerOptions) -> io::Result<Self> {
        Self::start_over(options, None)
    }

    /// The same, with tables that are somewhere else beside those.
    ///
    /// # Errors
    /// As for `start`.
    pub fn start_with(options: ServerOptions, tables: Arc<dyn Tables>) -> io::Result<Self> {
        Self::start_over(options, Some(tables))
    }

    fn start_over(options: ServerOptions, tables: Option<Arc<dyn Tables>>) -> io::Result<Self> {
        let grpc = StdListener::bind((Ipv4Addr::LOCALHOST, options.port))?;
        let http = StdListener::bind((Ipv4Addr::LOCALHOST, options.http_port))?;
        let acceptor = |protocol: &[u8]| options.tls.as_ref().map(|identity| acceptor(identity, protocol)).transpose();
        let (grpc_tls, http_tls) = (acceptor(b"h2")?, acceptor(b"http/1.1")?);
        let origin = |listener: &StdListener| {
            let port = listener.local_addr()?.port();
            // The name that certificates for loopback have.
            Ok::<_, io::Error>(match &options.tls {
                None => format!("http://127.0.0.1:{port}"),
                Some(_) => format!("https://localhost:{port}"),
            })
        };
        let (endpoint, unity_catalog_url) = (origin(&grpc)?, origin(&http)?);
        let runtime =
            Builder::new_multi_thread().worker_threads(2).thread_name("seakernel-zerobus").enable_all().build()?;
        let service = Arc::new(Service::new(options, Store::new(tables), grpc_tls));
        let (shutdown, stop) = watch::channel(false);
        let (done, stopped) = channel();
        let served = Arc::clone(&service);
        thread::Builder::new().name("seakernel-zerobus-main".to_owned()).spawn(move || {
            if let Err(error) = run(&runtime, grpc, (http, http_tls), &served, stop) {
                tracing::error!(%error, "the local Zerobus server stopped");
            }
            runtime.shutdown_timeout(STOP_LIMIT);
            // In this order: whoever stopped the server may count on having the last hold of the tables.
            drop(served);
            drop(done);
        })?;
        let process = process::id();
        Ok(Self { service, endpoint, unity_catalog_url, shutdown, stopped: Mutex::new(stopped), process })
    }

    /// Where streams are opened, such as `http://127.0.0.1:40001`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Where tokens are had; also the origin of the control paths.
    pub fn unity_catalog_url(&self) -> &str {
        &self.unity_catalog_url
    }

    /// The client that gets tokens.
    pub fn client_id(&self) -> &str {
        &self.service.options.client_id
    }

    /// Its secret.
    pub fn client_secret(&self) -> &str {
        &self.service.options.client_secret
    }

    /// Creates a table, or gives it other columns, which streams opened from now on are checked against.
    ///
    /// # Errors
    /// The type of a column is none that can be ingested.
    pub fn create_table(&self, name: &str, columns: &[Column]) -> Result<(), String> {
        self.service.store.create(name, columns)
    }

    /// Replaces the fault rules; their counting starts anew.
    pub fn set_faults(&self, rules: Vec<FaultRule>) {
        self.service.faults.replace(rules);
    }

    /// Replaces the settings.
    pub fn set_settings(&self, settings: Settings) {
        self.service.set_settings(settings);
    }

    /// The rows of a table in the order they came.
    pub fn rows(&self, table: &str) -> Vec<StoredRow> {
        self.service.store.rows(table)
    }

    /// The same rows as they came, those of Protobuf: its messages.
    pub fn records(&self, table: &str) -> Vec<Bytes> {
        self.service.store.records(table)
    }

    /// How many rows came into a table.
    pub fn row_count(&self, table: &str) -> u64 {
        self.service.store.row_count(table)
    }

    /// How often each value of a column came, by its text: more than once is a duplicate.
    pub fn keys(&self, table: &str, column: &str) -> BTreeMap<String, u64> {
        self.service.store.keys(table, column)
    }

    /// What the server has seen.
    pub fn log(&self) -> Log {
        self.service.log.read()
    }

    /// Forgets rows, log, faults and changed settings. Tables and tokens stay.
    pub fn reset(&self) {
        self.service.reset();
    }

    /// Closes all connections and waits for the threads, a few seconds at most.
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

impl Drop for ZerobusServer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for ZerobusServer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ZerobusServer").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

fn acceptor(identity: &TlsIdentity, protocol: &[u8]) -> io::Result<TlsAcceptor> {
    let unusable =
        |error: rustls::pki_types::pem::Error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string());
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(identity.certificate_pem.as_bytes()).collect();
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).map_err(unusable)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut configuration = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain.map_err(|_| no_chain())?, key))
        .map_err(io::Error::other)?;
    configuration.alpn_protocols = vec![protocol.to_vec()];
    Ok(TlsAcceptor::from(Arc::new(configuration)))
}

fn no_chain() -> rustls::Error {
    rustls::Error::General("the certificate is not PEM".to_owned())
}

fn run(
    runtime: &Runtime,
    grpc: StdListener,
    (http, http_tls): (StdListener, Option<TlsAcceptor>),
    service: &Arc<Service>,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    runtime.block_on(async {
        let (alive, mut ended) = mpsc::channel(1);
        let (streams, stopping) = (Arc::clone(service), stop.clone());
        listen(grpc, stop.clone(), move |stream| {
            connection::serve(stream, Arc::clone(&streams), stopping.clone(), alive.clone())
        })?;
        let (control, stopping) = (Arc::clone(service), stop.clone());
        listen(http, stop.clone(), move |stream| {
            http::serve(stream, Arc::clone(&control), http_tls.clone(), stopping.clone())
        })?;
        // An error means the server itself is gone, which is as good a reason to stop.
        drop(stop.wait_for(|stop| *stop).await);
        // A stream that is just storing would look for the time once more, which a runtime that shuts down does not have.
        drop(timeout(STOP_LIMIT, ended.recv()).await);
        Ok(())
    })
}

fn listen<F>(
    listener: StdListener,
    mut stop: watch::Receiver<bool>,
    serve: impl Fn(TcpStream) -> F + Send + 'static,
) -> io::Result<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    tokio::spawn(async move {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let accepted = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let served = serve(stream);
                    tokio::spawn(async move {
                        served.await;
                        drop(place);
                    });
                }
                // Out of file handles, most likely: others will be closed soon.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    });
    Ok(())
}
