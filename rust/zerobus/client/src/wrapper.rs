//! The face of it all.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use prost_types::DescriptorProto;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::breaker::Breaker;
use crate::call::Call;
use crate::config::{IngestMode, WrapperConfiguration};
use crate::debug::DebugFiles;
use crate::encoder::Encoder;
use crate::error::ZerobusError;
use crate::extent::slice_bytes;
use crate::in_flight::InFlight;
use crate::lanes::Lanes;
use crate::result::TransmissionResult;
use crate::service::Service;
use crate::telemetry::Telemetry;

/// Plans of conversion that are kept.
const MOST_ENCODERS: usize = 8;

/// Sends batches into one table. Clones share streams, token, limits and pauses; all may send at once.
///
/// The last clone that is dropped without [`ZerobusWrapper::shutdown`] waits for no collector: what is left of metrics and
/// traces is exported in the background, as far as the process lives.
#[derive(Clone, Debug)]
pub struct ZerobusWrapper(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: WrapperConfiguration,
    /// None where the writer is disabled.
    lanes: Option<Lanes>,
    breaker: Arc<Breaker>,
    in_flight: Arc<InFlight>,
    encoders: Mutex<Vec<(Plan, Arc<Encoder>)>>,
    debug: Arc<DebugFiles>,
    telemetry: Arc<Telemetry>,
    is_shut_down: AtomicBool,
    shut_down: OnceCell<Result<(), ZerobusError>>,
}

/// What an encoder was made for.
#[derive(Debug)]
struct Plan {
    schema: SchemaRef,
    descriptor: Option<DescriptorProto>,
}

impl ZerobusWrapper {
    /// Checks `config`. Nothing is sent before the first batch.
    ///
    /// # Errors
    /// `ConfigurationError` names the option that is wrong.
    #[expect(clippy::unused_async, reason = "what it does may come to wait")]
    pub async fn new(config: WrapperConfiguration) -> Result<Self, ZerobusError> {
        config.validate()?;
        if config.ingest_mode == IngestMode::Arrow {
            if !cfg!(feature = "flight") {
                let text = "`ingest_mode` is `arrow`; it is left out of this build (cargo feature `flight`)";
                return Err(ZerobusError::configuration(text));
            }
            if config.debug_protobuf_enabled == Some(true) {
                let text =
                    "`debug_protobuf_enabled` is true, and where `ingest_mode` is `arrow` there is no Protobuf to keep";
                return Err(ZerobusError::configuration(text));
            }
        }
        let telemetry = Arc::new(Telemetry::new(&config)?);
        let debug = Arc::new(DebugFiles::new(&config)?);
        let breaker = Arc::new(Breaker::of(&config));
        let lanes = if config.zerobus_writer_disabled {
            None
        } else {
            let service = Service::new(&config, &telemetry)?;
            Some(Lanes::new(service, Arc::clone(&breaker), Arc::clone(&telemetry)))
        };
        let in_flight = InFlight::new(&config, &telemetry);
        Ok(Self(Arc::new(Inner {
            config,
            lanes,
            breaker,
            in_flight,
            encoders: Mutex::default(),
            debug,
            telemetry,
            is_shut_down: AtomicBool::new(false),
            shut_down: OnceCell::new(),
        })))
    }

    /// The options it was made with.
    pub fn config(&self) -> &WrapperConfiguration {
        &self.0.config
    }

    /// Sends a batch and waits until each of its rows is stored or has failed; the result tells which.
    ///
    /// Dropping the future stops the waiting: rows that are on the wire may still be stored, others are not sent.
    ///
    /// # Errors
    /// `ConfigurationError` after [`ZerobusWrapper::shutdown`]. All else is in the result.
    pub async fn send_batch(&self, batch: RecordBatch) -> Result<TransmissionResult, ZerobusError> {
        self.send_batch_with_descriptor(batch, None).await
    }

    /// The same, with messages of this descriptor.
    ///
    /// # Errors
    /// As of [`ZerobusWrapper::send_batch`].
    pub async fn send_batch_with_descriptor(
        &self,
        batch: RecordBatch,
        descriptor: Option<DescriptorProto>,
    ) -> Result<TransmissionResult, ZerobusError> {
        let inner = &self.0;
        let started = Instant::now();
        let active = inner.in_flight.begin();
        // After it was entered, so that a shutdown waits for it or it sees the shutdown.
        if inner.is_shut_down.load(Ordering::SeqCst) {
            return Err(ZerobusError::configuration("the wrapper was shut down"));
        }
        let bytes = slice_bytes(&batch);
        let span = inner.telemetry.send_batch(batch.num_rows(), bytes);
        let call = Call {
            config: &inner.config,
            bytes,
            lanes: inner.lanes.as_ref(),
            breaker: &inner.breaker,
            debug: &inner.debug,
            telemetry: &inner.telemetry,
            span: &span,
            active,
        };
        let mut result = if batch.num_rows() == 0 {
            TransmissionResult { success: true, attempts: 1, ..TransmissionResult::default() }
        } else {
            match inner.encoder(&batch.schema(), descriptor) {
                Ok(encoder) => call.send(batch, encoder).await,
                Err(error) => refused(batch.num_rows(), error),
            }
        };
        result.batch_size_bytes = bytes;
        result.latency_ms = Some(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX));
        inner.telemetry.batch_sent(&span, &result);
        Ok(result)
    }

    /// Waits until every batch given so far is done with, and brings debug files and telemetry to where they go.
    ///
    /// # Errors
    /// `ConfigurationError` after [`ZerobusWrapper::shutdown`], `ConnectionError` where it takes longer than
    /// `flush_timeout_ms`.
    pub async fn flush(&self) -> Result<(), ZerobusError> {
        if self.0.is_shut_down.load(Ordering::SeqCst) {
            return Err(ZerobusError::configuration("the wrapper was shut down"));
        }
        let done = self.0.done().await;
        let debug = Arc::clone(&self.0.debug);
        on_disk(move || debug.flush()).await;
        self.0.telemetry.flush().await;
        done
    }

    /// Takes no more batches, waits as [`ZerobusWrapper::flush`] does, and ends streams, debug files and telemetry.
    ///
    /// Once is enough; any further call waits for the same end.
    ///
    /// # Errors
    /// `ConnectionError` where the batches under way take longer than `flush_timeout_ms`; all has ended nonetheless.
    pub async fn shutdown(&self) -> Result<(), ZerobusError> {
        self.0.is_shut_down.store(true, Ordering::SeqCst);
        let inner = &self.0;
        let ending = inner.shut_down.get_or_init(|| async {
            let done = inner.done().await;
            if let Some(lanes) = &inner.lanes {
                lanes.close(Duration::ZERO).await;
            }
            let debug = Arc::clone(&inner.debug);
            on_disk(move || debug.finish()).await;
            inner.telemetry.shutdown().await;
            done
        });
        ending.await.clone()
    }
}

impl Inner {
    async fn done(&self) -> Result<(), ZerobusError> {
        let limit = Duration::from_millis(self.config.flush_timeout_ms);
        tokio::time::timeout(limit, self.in_flight.done())
            .await
            .map_err(|_| ZerobusError::connection(format!("not all was acknowledged within {} s", limit.as_secs_f64())))
    }

    fn encoder(&self, schema: &SchemaRef, descriptor: Option<DescriptorProto>) -> Result<Arc<Encoder>, ZerobusError> {
        let is_it = |plan: &Plan| {
            (Arc::ptr_eq(&plan.schema, schema) || plan.schema == *schema) && plan.descriptor == descriptor
        };
        let known = || {
            let mut encoders = self.encoders.lock().unwrap_or_else(PoisonError::into_inner);
            let position = encoders.iter().position(|(plan, _)| is_it(plan))?;
            let found = encoders.remove(position);
            let encoder = Arc::clone(&found.1);
            encoders.insert(0, found);
            Some(encoder)
        };
        if let Some(encoder) = known() {
            return Ok(encoder);
        }
        let encoder = Arc::new(Encoder::new(&self.config, schema, descriptor.as_ref())?);
        let mut encoders = self.encoders.lock().unwrap_or_else(PoisonError::into_inner);
        encoders.insert(0, (Plan { schema: Arc::clone(schema), descriptor }, Arc::clone(&encoder)));
        encoders.truncate(MOST_ENCODERS);
        Ok(encoder)
    }
}

/// The result of a batch of which nothing was put on the wire.
pub(crate) fn refused(total_rows: usize, error: ZerobusError) -> TransmissionResult {
    TransmissionResult { error: Some(error), attempts: 1, total_rows, ..TransmissionResult::default() }
}

/// Does what waits for a disk where that holds up nobody.
async fn on_disk(work: impl FnOnce() + Send + 'static) {
    // A panic in it is logged by the runtime, and debug files fail nothing.
    drop(tokio::task::spawn_blocking(work).await);
}
