//! One TCP connection: HTTP/2 on it, and the ways to spoil it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, server};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::faults::{Fault, Operation, Target};
use crate::service::Service;
use crate::stream;

/// How long a client may take to agree on TLS and HTTP/2.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// Streams of one connection; each may hold a message that is not there whole.
const MAX_STREAMS: u32 = 100;

/// Frames of a few bytes that may wait, by the count of h2: those of a stalled stream are no attack here.
const FRAME_BUDGET: usize = 256 << 20;

/// What a stream asks of its connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Command {
    /// Break it with a TCP reset.
    Reset,
    /// Say GOAWAY, and whether at once.
    GoAway { abrupt: bool },
}

/// A stream's hold of its connection.
#[derive(Clone, Debug)]
pub(crate) struct Control {
    commands: mpsc::UnboundedSender<Command>,
    /// Whether the server ends the connection.
    ending: Arc<AtomicBool>,
    /// The server waits for the last of these before it ends.
    #[expect(dead_code, reason = "held")]
    alive: mpsc::Sender<()>,
}

impl Control {
    /// Spoils the connection.
    pub(crate) fn command(&self, command: Command) {
        // It may be gone already, which is no worse.
        let _ = self.commands.send(command);
    }

    /// Whether it is the server that ends the connection.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// Waits until the connection is gone.
    pub(crate) async fn closed(&self) {
        self.commands.closed().await;
    }
}

/// A socket that can end with a reset.
struct Socket {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Relaxed) {
            // Without it the connection ends in good order, which a test will notice.
            drop(self.stream.set_zero_linger());
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Serves a connection to its end, or until the server stops.
pub(crate) async fn serve(
    stream: TcpStream,
    service: Arc<Service>,
    mut stop: watch::Receiver<bool>,
    alive: mpsc::Sender<()>,
) {
    // Only costs latency where it fails.
    drop(stream.set_nodelay(true));
    service.log.write(|log| log.connections += 1);
    let reset = Arc::new(AtomicBool::new(false));
    let socket = Socket { stream, reset: Arc::clone(&reset) };
    match service.faults.first(&Target::new(Operation::Connect, None)) {
        Some(Fault::Refuse) => {
            reset.store(true, Ordering::Relaxed);
            return;
        }
        Some(_) => {
            drop(stop.wait_for(|stop| *stop).await);
            return;
        }
        None => {}
    }
    let Some(acceptor) = service.tls.clone() else { return serve_http2(socket, reset, service, stop, alive).await };
    match timeout(HANDSHAKE_LIMIT, acceptor.accept(socket)).await {
        Ok(Ok(socket)) => serve_http2(socket, reset, service, stop, alive).await,
        Ok(Err(error)) => tracing::debug!(%error, "no TLS connection came about"),
        Err(_) => {}
    }
}

async fn serve_http2<S>(
    socket: S,
    reset: Arc<AtomicBool>,
    service: Arc<Service>,
    mut stop: watch::Receiver<bool>,
    alive: mpsc::Sender<()>,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut builder = server::Builder::new();
    builder
        .initial_window_size(service.options.stream_window)
        .initial_connection_window_size(service.options.connection_window)
        .max_frame_size(1 << 18)
        .data_frame_budget(FRAME_BUDGET)
        .max_header_list_size(64 << 10)
        .max_concurrent_streams(MAX_STREAMS);
    let Ok(Ok(mut connection)) = timeout(HANDSHAKE_LIMIT, builder.handshake::<_, Bytes>(socket)).await else { return };
    let (commands, mut commanded) = mpsc::unbounded_channel();
    let ending = Arc::new(AtomicBool::new(false));
    let control = Control { commands, ending: Arc::clone(&ending), alive };
    service.log.write(|log| log.open_connections += 1);
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => {
                ending.store(true, Ordering::Relaxed);
                break;
            }
            command = commanded.recv() => match command {
                Some(Command::Reset) => {
                    ending.store(true, Ordering::Relaxed);
                    reset.store(true, Ordering::Relaxed);
                    break;
                }
                Some(Command::GoAway { abrupt: true }) => {
                    ending.store(true, Ordering::Relaxed);
                    connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                }
                Some(Command::GoAway { abrupt: false }) => connection.graceful_shutdown(),
                None => break,
            },
            accepted = connection.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    tokio::spawn(stream::serve(Arc::clone(&service), control.clone(), request, respond));
                }
                // Clients and faults break connections all the time; the log of streams tells what there is to tell.
                Some(Err(_)) | None => break,
            },
        }
    }
    service.log.write(|log| log.open_connections -= 1);
}
