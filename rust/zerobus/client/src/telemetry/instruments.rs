//! Metrics and spans of OpenTelemetry, with providers of our own: the process's global ones are left alone.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use opentelemetry::metrics::{Counter, Histogram, Meter, MeterProvider as _, UpDownCounter};
use opentelemetry::trace::{
    FutureExt as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState,
    Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tracing::warn;

use super::{Opening, Parent, Recovery, TokenNeed, export};
use crate::config::WrapperConfiguration;
use crate::error::ZerobusError;
use crate::result::TransmissionResult;

/// Name of the instrumentation scope.
const SCOPE: &str = "seakernel-zerobus";

/// The instruments of one wrapper; they do nothing where observability is off.
#[derive(Debug)]
pub(crate) struct Telemetry(Option<Arc<Instruments>>);

/// One span, which ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Span(Option<(SdkTracer, Context)>);

struct Instruments {
    tracers: SdkTracerProvider,
    meters: SdkMeterProvider,
    tracer: SdkTracer,
    /// What all have.
    common: Vec<KeyValue>,
    batch_size: Histogram<u64>,
    batch_latency: Histogram<u64>,
    batch_success: Counter<u64>,
    batch_failure: Counter<u64>,
    rows_sent: Counter<u64>,
    rows_failed: Counter<u64>,
    retry_attempts: Counter<u64>,
    stream_opened: Counter<u64>,
    stream_recovered: Counter<u64>,
    token_fetch: Counter<u64>,
    ack_latency: Histogram<f64>,
    inflight_requests: UpDownCounter<i64>,
    inflight_bytes: UpDownCounter<i64>,
    is_shut_down: AtomicBool,
}

impl fmt::Debug for Instruments {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Instruments").finish_non_exhaustive()
    }
}

/// Polls `call` below `parent`.
pub(super) fn in_context<F: Future>(parent: Parent, call: F) -> impl Future<Output = F::Output> + use<F> {
    let flags = if parent.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
    let (trace_id, span_id) = (TraceId::from(parent.trace_id), SpanId::from(parent.span_id));
    let remote = SpanContext::new(trace_id, span_id, flags, true, TraceState::default());
    call.with_context(Context::new().with_remote_span_context(remote))
}

impl Telemetry {
    pub(crate) fn new(config: &WrapperConfiguration) -> Result<Self, ZerobusError> {
        if !config.observability_enabled {
            return Ok(Self(None));
        }
        let options = config.observability_config.clone().unwrap_or_default();
        if options.endpoint.is_none() && options.output_dir.is_none() {
            warn!("metrics and traces go nowhere: neither `endpoint` nor `output_dir` is set");
        }
        let service = config.application_name.as_deref().unwrap_or(SCOPE);
        let (tracers, meters) = export::providers(&options, service)?;
        let mut common = vec![KeyValue::new("table", config.table_name.clone())];
        if config.zerobus_writer_disabled {
            common.push(KeyValue::new("writer_disabled", true));
        }
        let meter = meters.meter(SCOPE);
        let counter = |name: &'static str| meter.u64_counter(name).build();
        Ok(Self(Some(Arc::new(Instruments {
            tracer: tracers.tracer(SCOPE),
            common,
            batch_size: meter.u64_histogram("zerobus.batch.size_bytes").with_unit("By").build(),
            batch_latency: meter.u64_histogram("zerobus.batch.latency_ms").with_unit("ms").build(),
            batch_success: counter("zerobus.batch.success"),
            batch_failure: counter("zerobus.batch.failure"),
            rows_sent: counter("zerobus.rows.sent"),
            rows_failed: counter("zerobus.rows.failed"),
            retry_attempts: counter("zerobus.retry.attempts"),
            stream_opened: counter("zerobus.stream.opened"),
            stream_recovered: counter("zerobus.stream.recovered"),
            token_fetch: counter("zerobus.token.fetch"),
            ack_latency: meter.f64_histogram("zerobus.ack.latency_ms").with_unit("ms").build(),
            inflight_requests: up_down(&meter, "zerobus.inflight.requests", "{request}"),
            inflight_bytes: up_down(&meter, "zerobus.inflight.bytes", "By"),
            tracers,
            meters,
            is_shut_down: AtomicBool::new(false),
        }))))
    }

    /// Begins `zerobus.send_batch`, below the context that is current.
    pub(crate) fn send_batch(&self, rows: usize, bytes: usize) -> Span {
        let Some(instruments) = &self.0 else { return Span(None) };
        let span = Span::begin(&instruments.tracer, "zerobus.send_batch", SpanKind::Producer, &Context::current());
        span.set(instruments.common.iter().cloned());
        span.set([KeyValue::new("rows", rows as i64), KeyValue::new("bytes", bytes as i64)]);
        span
    }

    /// Counts a batch and its rows, and writes them into its span.
    pub(crate) fn batch_sent(&self, span: &Span, result: &TransmissionResult) {
        let Some(instruments) = &self.0 else { return };
        let outcome = match (result.success, result.has_failed_rows()) {
            (true, false) => "success",
            (true, true) => "partial",
            (false, _) => "failure",
        };
        span.set([KeyValue::new("attempts", i64::from(result.attempts)), KeyValue::new("outcome", outcome)]);
        let groups = result.group_errors_by_type();
        let first =
            result.error.as_ref().or_else(|| result.failed_rows.iter().flatten().map(|(_, error)| error).next());
        if !result.success
            && let Some(error) = first
        {
            span.failed(error);
        }
        let by_success = instruments.with([KeyValue::new("success", result.success)]);
        instruments.batch_size.record(result.batch_size_bytes as u64, &by_success);
        if let Some(milliseconds) = result.latency_ms {
            instruments.batch_latency.record(milliseconds, &by_success);
        }
        if result.success {
            instruments.batch_success.add(1, &instruments.common);
        } else {
            let error_type = first.map_or("unknown", ZerobusError::error_type);
            instruments.batch_failure.add(1, &instruments.with([KeyValue::new("error.type", error_type)]));
        }
        if result.successful_count > 0 {
            instruments.rows_sent.add(result.successful_count as u64, &instruments.common);
        }
        for (error_type, rows) in groups {
            let attributes = instruments.with([KeyValue::new("error.type", error_type)]);
            instruments.rows_failed.add(rows.len() as u64, &attributes);
        }
        // Rows that nothing lists one by one.
        if let (Some(error), false) = (&result.error, result.has_failed_rows()) {
            let attributes = instruments.with([KeyValue::new("error.type", error.error_type())]);
            instruments.rows_failed.add(result.total_rows as u64, &attributes);
        }
    }

    pub(crate) fn stream_opened(&self, reason: Opening) {
        if let Some(instruments) = &self.0 {
            instruments.stream_opened.add(1, &instruments.with([KeyValue::new("reason", reason.name())]));
        }
    }

    pub(crate) fn stream_recovered(&self, reason: Recovery) {
        if let Some(instruments) = &self.0 {
            instruments.stream_recovered.add(1, &instruments.with([KeyValue::new("reason", reason.name())]));
        }
    }

    pub(crate) fn token_fetched(&self, need: TokenNeed, succeeded: bool) {
        if let Some(instruments) = &self.0 {
            let outcome = if succeeded { "success" } else { "failure" };
            let attributes = [KeyValue::new("reason", need.name()), KeyValue::new("outcome", outcome)];
            instruments.token_fetch.add(1, &instruments.with(attributes));
        }
    }

    /// Counts one more try, made for this error.
    pub(crate) fn retried(&self, reason: &ZerobusError) {
        if let Some(instruments) = &self.0 {
            let reason = reason.failure().grpc_code.unwrap_or(reason.error_type());
            instruments.retry_attempts.add(1, &instruments.with([KeyValue::new("reason", reason)]));
        }
    }

    /// Takes the time from when the connection took the head of a request to its acknowledgement: what it waits for the
    /// service's window is in it.
    pub(crate) fn acked(&self, latency: Duration) {
        if let Some(instruments) = &self.0 {
            instruments.ack_latency.record(latency.as_secs_f64() * 1000.0, &instruments.common);
        }
    }

    /// Adds to what waits for acknowledgement, or takes from it.
    pub(crate) fn in_flight(&self, requests: i64, bytes: i64) {
        if let Some(instruments) = &self.0 {
            instruments.inflight_requests.add(requests, &instruments.common);
            instruments.inflight_bytes.add(bytes, &instruments.common);
        }
    }

    /// Exports what there is.
    pub(crate) async fn flush(&self) {
        self.at_the_exporters(|instruments| {
            let (spans, metrics) = (instruments.tracers.force_flush(), instruments.meters.force_flush());
            spans.and(metrics)
        })
        .await;
    }

    /// Exports what there is and ends the exporters.
    pub(crate) async fn shutdown(&self) {
        self.at_the_exporters(|instruments| {
            instruments.is_shut_down.store(true, Ordering::SeqCst);
            shut_down(&instruments.tracers, &instruments.meters)
        })
        .await;
    }

    /// Does what waits for exporters where that holds up nobody. Their failures fail nothing.
    async fn at_the_exporters(&self, work: impl FnOnce(&Instruments) -> OTelSdkResult + Send + 'static) {
        let Some(instruments) = self.0.clone() else { return };
        let done = tokio::task::spawn_blocking(move || work(&instruments)).await;
        told(&done.unwrap_or(Ok(())));
    }
}

impl Drop for Instruments {
    fn drop(&mut self) {
        if *self.is_shut_down.get_mut() {
            return;
        }
        // Whoever lets go of a provider last waits for its exporters, and that may be anybody's thread, or an event loop.
        let (tracers, meters) = (self.tracers.clone(), self.meters.clone());
        let ending = thread::Builder::new().name("zerobus-telemetry".to_owned());
        // Without a thread to be had it is waited for here.
        drop(ending.spawn(move || told(&shut_down(&tracers, &meters))));
    }
}

fn shut_down(tracers: &SdkTracerProvider, meters: &SdkMeterProvider) -> OTelSdkResult {
    let spans = tracers.shutdown_with_timeout(export::PATIENCE);
    spans.and(meters.shutdown_with_timeout(export::PATIENCE))
}

fn told(outcome: &OTelSdkResult) {
    if let Err(failure) = outcome {
        warn!(cause = %failure, "metrics or traces could not be exported");
    }
}

impl Instruments {
    fn with<const N: usize>(&self, more: [KeyValue; N]) -> Vec<KeyValue> {
        self.common.iter().cloned().chain(more).collect()
    }
}

impl Span {
    fn begin(tracer: &SdkTracer, name: &'static str, kind: SpanKind, parent: &Context) -> Self {
        let span = tracer.span_builder(name).with_kind(kind).start_with_context(tracer, parent);
        Self(Some((tracer.clone(), parent.with_span(span))))
    }

    /// Begins a span below this one: `zerobus.convert`, `zerobus.transmit`, `zerobus.stream.open` or `zerobus.token.fetch`.
    pub(crate) fn child(&self, name: &'static str) -> Self {
        let Some((tracer, context)) = &self.0 else { return Self(None) };
        Self::begin(tracer, name, SpanKind::Internal, context)
    }

    /// Says that what the span is about failed.
    pub(crate) fn failed(&self, error: &ZerobusError) {
        if let Some((_, context)) = &self.0 {
            context.span().set_status(Status::error(error.to_string()));
            self.set([KeyValue::new("error.type", error.error_type())]);
        }
    }

    fn set(&self, attributes: impl IntoIterator<Item = KeyValue>) {
        if let Some((_, context)) = &self.0 {
            context.span().set_attributes(attributes);
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        // Children hold their own context, which has no part in this one's end.
        if let Some((_, context)) = &self.0 {
            context.span().end();
        }
    }
}

fn up_down(meter: &Meter, name: &'static str, unit: &'static str) -> UpDownCounter<i64> {
    meter.i64_up_down_counter(name).with_unit(unit).build()
}

#[cfg(test)]
mod tests;
