//! Against a collector of OpenTelemetry's own services.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;

use arrow_array::{Int64Array, RecordBatch};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::trace::v1::Span as ExportedSpan;
use seakernel_zerobus_local::{Column, FaultRule, ServerOptions, ZerobusServer};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response};

use super::*;
use crate::config::OtlpSdkConfig;
use crate::telemetry::in_trace;
use crate::wrapper::ZerobusWrapper;

const TABLE: &str = "main.default.events";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// What came in.
#[derive(Clone, Debug, Default)]
struct Collector(Arc<Mutex<Collected>>);

#[derive(Debug, Default)]
struct Collected {
    spans: Vec<ExportedSpan>,
    /// The attribute keys of the points of each metric.
    metrics: BTreeMap<String, BTreeSet<String>>,
    /// The values of `reason` of each.
    reasons: BTreeMap<String, BTreeSet<String>>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, tonic::Status> {
        let scopes = request.into_inner().resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        self.0.lock().unwrap().spans.extend(scopes.flat_map(|scope| scope.spans));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, tonic::Status> {
        let scopes = request.into_inner().resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
        for metric in scopes.flat_map(|scope| scope.metrics) {
            let attributes: Vec<_> = match metric.data {
                Some(Data::Sum(sum)) => sum.data_points.into_iter().flat_map(|point| point.attributes).collect(),
                Some(Data::Histogram(all)) => all.data_points.into_iter().flat_map(|point| point.attributes).collect(),
                other => panic!("{other:?}"),
            };
            let mut collected = self.0.lock().unwrap();
            for attribute in attributes {
                if attribute.key == "reason"
                    && let Some(Value::StringValue(reason)) = attribute.value.and_then(|value| value.value)
                {
                    collected.reasons.entry(metric.name.clone()).or_default().insert(reason);
                }
                collected.metrics.entry(metric.name.clone()).or_default().insert(attribute.key);
            }
        }
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

impl Collector {
    async fn start() -> (Self, String) {
        let collector = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let services = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(collector.clone()))
            .add_service(MetricsServiceServer::new(collector.clone()));
        tokio::spawn(services.serve_with_incoming(TcpListenerStream::new(listener)));
        (collector, endpoint)
    }

    fn spans(&self, name: &str) -> Vec<ExportedSpan> {
        let collected = self.0.lock().unwrap();
        collected.spans.iter().filter(|span| span.name == name).cloned().collect()
    }
}

fn batch() -> RecordBatch {
    RecordBatch::try_from_iter([("id", Arc::new(Int64Array::from(vec![1, 2, 3])) as _)]).unwrap()
}

fn attribute(span: &ExportedSpan, key: &str) -> Option<Value> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    found.value.clone()?.value
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f43_a_collector_gets_every_instrument_and_span() {
    let (collector, endpoint) = Collector::start().await;
    let folder = std::env::temp_dir().join(format!("zerobus-telemetry-{}", std::process::id()));
    let server = ZerobusServer::start(ServerOptions::default()).unwrap();
    server.create_table(TABLE, &[Column::new("id", "BIGINT"), Column::new("more", "BIGINT")]).unwrap();
    // The first stream is opened in vain, and the second breaks.
    let rules = r#"[{"on": "open", "do": {"status": {"code": "UNAVAILABLE"}}},
                    {"on": "message", "do": {"status": {"code": "UNAVAILABLE"}}}]"#;
    server.set_faults(FaultRule::list_from_json(rules).unwrap());
    let otlp = OtlpSdkConfig {
        endpoint: Some(endpoint),
        output_dir: Some(folder.clone()),
        write_interval_secs: 3600,
        ..OtlpSdkConfig::default()
    };
    let config = WrapperConfiguration::new(server.endpoint(), TABLE)
        .with_credentials(server.client_id(), server.client_secret())
        .with_unity_catalog(server.unity_catalog_url())
        .with_retry_config(5, 1, 2)
        .with_observability(otlp);
    let secret = server.client_secret().to_owned();
    let wrapper = ZerobusWrapper::new(config).await.unwrap();
    let traceparent = format!("00-{TRACE}-b7ad6b7169203331-01");
    let sent = in_trace(&traceparent, wrapper.send_batch(batch())).unwrap().await.unwrap();
    assert_eq!((sent.successful_count, sent.failed_count), (3, 0));
    let more = RecordBatch::try_from_iter([("more", Arc::new(Int64Array::from(vec![1])) as _)]).unwrap();
    assert!(wrapper.send_batch(more).await.unwrap().success);
    // The table has no such column, so all rows fail.
    let other = RecordBatch::try_from_iter([("other", Arc::new(Int64Array::from(vec![1])) as _)]).unwrap();
    assert!(!wrapper.send_batch(other).await.unwrap().success);
    wrapper.flush().await.unwrap();
    wrapper.shutdown().await.unwrap();

    let sends = collector.spans("zerobus.send_batch");
    assert_eq!(sends.len(), 3);
    let stored = sends.iter().find(|span| span.parent_span_id == 0xb7ad_6b71_6920_3331_u64.to_be_bytes()).unwrap();
    assert_eq!(attribute(stored, "outcome"), Some(Value::StringValue("success".into())));
    assert_eq!(attribute(stored, "rows"), Some(Value::IntValue(3)));
    assert_eq!(attribute(stored, "attempts"), Some(Value::IntValue(i64::from(sent.attempts))));
    assert!(attribute(stored, "bytes").is_some());
    for name in ["zerobus.convert", "zerobus.transmit", "zerobus.stream.open"] {
        let children: Vec<_> =
            collector.spans(name).into_iter().filter(|span| span.parent_span_id == stored.span_id).collect();
        assert!(!children.is_empty(), "{name}");
        assert!(children.iter().all(|span| span.trace_id == u128::from_str_radix(TRACE, 16).unwrap().to_be_bytes()));
        assert!(children.iter().all(|span| span.start_time_unix_nano <= span.end_time_unix_nano));
    }
    let opens: BTreeSet<_> = collector.spans("zerobus.stream.open").into_iter().map(|span| span.span_id).collect();
    let tokens = collector.spans("zerobus.token.fetch");
    assert!(!tokens.is_empty() && tokens.iter().all(|span| opens.contains(&span.parent_span_id)), "{tokens:?}");

    let collected = collector.0.lock().unwrap();
    let expected = [
        ("zerobus.ack.latency_ms", vec![]),
        ("zerobus.batch.failure", vec!["error.type"]),
        ("zerobus.batch.latency_ms", vec!["success"]),
        ("zerobus.batch.size_bytes", vec!["success"]),
        ("zerobus.batch.success", vec![]),
        ("zerobus.inflight.bytes", vec![]),
        ("zerobus.inflight.requests", vec![]),
        ("zerobus.retry.attempts", vec!["reason"]),
        ("zerobus.rows.failed", vec!["error.type"]),
        ("zerobus.rows.sent", vec![]),
        ("zerobus.stream.opened", vec!["reason"]),
        ("zerobus.stream.recovered", vec!["reason"]),
        ("zerobus.token.fetch", vec!["outcome", "reason"]),
    ];
    let expected: BTreeMap<String, BTreeSet<String>> = expected
        .into_iter()
        .map(|(name, keys)| (name.to_owned(), keys.into_iter().chain(["table"]).map(str::to_owned).collect()))
        .collect();
    assert_eq!(collected.metrics, expected);
    let reasons = |name: &str| collected.reasons[name].iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(reasons("zerobus.stream.opened"), ["error", "first"]);
    assert_eq!(reasons("zerobus.stream.recovered"), ["error"]);

    for kind in ["traces", "metrics"] {
        let text = std::fs::read_to_string(folder.join(format!("zerobus-{kind}.jsonl"))).unwrap();
        assert!(!text.contains(&secret));
        for line in text.lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(line.get(if kind == "traces" { "resourceSpans" } else { "resourceMetrics" }).is_some());
        }
        assert!(text.contains(if kind == "traces" { "zerobus.send_batch" } else { "zerobus.rows.sent" }));
    }
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(!format!("{:?}", collected.spans).contains(&secret));
}

/// A wrapper that sends nothing, with telemetry.
async fn offline(folder: &Path, otlp: OtlpSdkConfig) -> ZerobusWrapper {
    let config = WrapperConfiguration::new("http://127.0.0.1:1", "t")
        .with_debug_output(folder.join("debug"))
        .with_zerobus_writer_disabled(true)
        .with_observability(otlp);
    ZerobusWrapper::new(config).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f43_a_disabled_writer_and_a_dead_collector() {
    let folder = std::env::temp_dir().join(format!("zerobus-telemetry-off-{}", std::process::id()));
    let otlp = OtlpSdkConfig {
        endpoint: Some("http://127.0.0.1:1".to_owned()),
        output_dir: Some(folder.clone()),
        ..OtlpSdkConfig::default()
    };
    let wrapper = offline(&folder, otlp).await;
    assert!(wrapper.send_batch(batch()).await.unwrap().success);
    wrapper.shutdown().await.unwrap();
    let text = std::fs::read_to_string(folder.join("zerobus-traces.jsonl")).unwrap();
    assert!(text.contains(r#""writer_disabled""#), "{text}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f43_a_wrapper_that_is_dropped_waits_for_no_collector() {
    // Connections are made, and nothing is ever answered.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = std::env::temp_dir().join(format!("zerobus-telemetry-dropped-{}", std::process::id()));
    let otlp = OtlpSdkConfig {
        endpoint: Some(format!("http://{}", silent.local_addr().unwrap())),
        output_dir: Some(folder.clone()),
        write_interval_secs: 3600,
        ..OtlpSdkConfig::default()
    };
    let wrapper = offline(&folder, otlp).await;
    assert!(wrapper.send_batch(batch()).await.unwrap().success);
    let started = std::time::Instant::now();
    drop(wrapper);
    // An exporter is given five seconds.
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    // It is done nonetheless.
    let metrics = folder.join("zerobus-metrics.jsonl");
    while !metrics.exists() {
        assert!(started.elapsed() < Duration::from_secs(120), "nothing is exported");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
