//! Where metrics and spans go: a collector by gRPC, and lines of OTLP JSON in files.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use opentelemetry_otlp::{ExporterBuildError, WithExportConfig, WithTonicConfig};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, SpanData, SpanExporter, TracerProviderBuilder,
};
use serde::Serialize;
use tonic::transport::ClientTlsConfig;

use crate::config::OtlpSdkConfig;
use crate::error::ZerobusError;

/// How long one export may take, and the last one.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of a file of lines, and of the one before it, which is all that stays.
const MOST_BYTES: u64 = 64 << 20;

/// Makes the providers of one wrapper. They have threads of their own, which end with them.
pub(super) fn providers(
    options: &OtlpSdkConfig,
    service: &str,
) -> Result<(SdkTracerProvider, SdkMeterProvider), ZerobusError> {
    let resource = Resource::builder().with_service_name(service.to_owned()).build();
    let interval = Duration::from_secs(options.write_interval_secs);
    let mut tracers = SdkTracerProvider::builder().with_resource(resource.clone());
    let mut meters = SdkMeterProvider::builder().with_resource(resource);
    if let Some(endpoint) = &options.endpoint {
        let refused = |failure: ExporterBuildError| {
            ZerobusError::configuration(format!("`observability_config.endpoint` is `{endpoint}`: {failure}"))
        };
        let spans =
            opentelemetry_otlp::SpanExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(PATIENCE);
        let metrics =
            opentelemetry_otlp::MetricExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(PATIENCE);
        let (spans, metrics) = if endpoint.starts_with("https://") {
            let tls = ClientTlsConfig::new().with_native_roots();
            (spans.with_tls_config(tls.clone()), metrics.with_tls_config(tls))
        } else {
            (spans, metrics)
        };
        tracers = with_exporter(tracers, spans.build().map_err(refused)?, interval);
        meters = meters
            .with_reader(PeriodicReader::builder(metrics.build().map_err(refused)?).with_interval(interval).build());
    }
    if let Some(folder) = &options.output_dir {
        tracers =
            with_exporter(tracers, JsonSpans { file: JsonLines::new(folder, "traces"), resource: None }, interval);
        let metrics = JsonMetrics { file: JsonLines::new(folder, "metrics") };
        meters = meters.with_reader(PeriodicReader::builder(metrics).with_interval(interval).build());
    }
    Ok((tracers.build(), meters.build()))
}

fn with_exporter(
    tracers: TracerProviderBuilder,
    exporter: impl SpanExporter + 'static,
    interval: Duration,
) -> TracerProviderBuilder {
    let config = BatchConfigBuilder::default().with_scheduled_delay(interval).build();
    tracers.with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(config).build())
}

/// A file to which each export adds a line. A full one takes the place of the one before it.
#[derive(Debug)]
struct JsonLines {
    path: PathBuf,
    most_bytes: u64,
}

impl JsonLines {
    fn new(folder: &Path, kind: &str) -> Self {
        Self { path: folder.join(format!("zerobus-{kind}.jsonl")), most_bytes: MOST_BYTES }
    }

    fn add(&self, request: &impl Serialize) -> OTelSdkResult {
        self.written(request).map_err(|failure| {
            OTelSdkError::InternalFailure(format!("`{}` not written: {failure}", self.path.display()))
        })
    }

    fn written(&self, request: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        loop {
            let mut file = OpenOptions::new().create(true).append(true).open(&self.path)?;
            // Other wrappers and processes may write here as well. Where files cannot be locked, lines stay whole all the same.
            drop(file.lock());
            let bytes = file.metadata()?.len();
            if bytes == 0 || bytes + line.len() as u64 <= self.most_bytes {
                return file.write_all(&line);
            }
            // Unless somebody else has done so while we waited.
            if fs::metadata(&self.path).is_ok_and(|newest| newest.len() == bytes) {
                fs::rename(&self.path, self.path.with_extension("1.jsonl"))?;
            }
        }
    }
}

#[derive(Debug)]
struct JsonSpans {
    file: JsonLines,
    resource: Option<Resource>,
}

impl SpanExporter for JsonSpans {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let resource = self.resource.clone().unwrap_or_else(|| Resource::builder_empty().build());
        let resource = ResourceAttributesWithSchema::from(&resource);
        let resource_spans = group_spans_by_resource_and_scope(batch, &resource);
        self.file.add(&ExportTraceServiceRequest { resource_spans })
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.resource = Some(resource.clone());
    }
}

struct JsonMetrics {
    file: JsonLines,
}

impl PushMetricExporter for JsonMetrics {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        self.file.add(&ExportMetricsServiceRequest::from(metrics))
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn temporality(&self) -> Temporality {
        Temporality::Cumulative
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_lines_have_an_end() {
        let folder = std::env::temp_dir().join(format!("zerobus-lines-{}", std::process::id()));
        let lines = |most_bytes| JsonLines { most_bytes, ..JsonLines::new(&folder, "traces") };
        let write = |writer: usize| {
            let lines = lines(1000);
            for line in 0..50 {
                lines.add(&format!("line {writer} {line}")).unwrap();
            }
        };
        std::thread::scope(|threads| {
            for writer in 0..4 {
                threads.spawn(move || write(writer));
            }
        });
        let mut names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort_unstable();
        assert_eq!(names, ["zerobus-traces.1.jsonl", "zerobus-traces.jsonl"]);
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        let full = read("zerobus-traces.1.jsonl");
        assert!((900..=1000).contains(&full.len()), "{}", full.len());
        for text in [full, read("zerobus-traces.jsonl")] {
            assert!(text.lines().all(|line| serde_json::from_str::<String>(line).is_ok()), "{text}");
        }
        // What alone is too much has a file of its own.
        lines(1000).add(&"x".repeat(2000)).unwrap();
        lines(1000).add(&"y").unwrap();
        assert_eq!((read("zerobus-traces.1.jsonl").len(), read("zerobus-traces.jsonl").len()), (2003, 4));
        fs::remove_dir_all(&folder).unwrap();
    }
}
