use arrow_array::*;
use arrow_schema::*;
use seakernel_zerobus::*;
use seakernel_zerobus_local::{Column, ServerOptions, Settings, ZerobusServer};
use std::sync::Arc;
use std::time::Instant;

fn batch(rows: usize) -> RecordBatch {
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("text", DataType::Utf8, true),
        Field::new("x", DataType::Float64, true),
    ]);
    RecordBatch::try_new(
        Arc::new(schema),
        vec![
            Arc::new(Int64Array::from_iter_values(0..rows as i64)) as ArrayRef,
            Arc::new(StringArray::from_iter_values((0..rows).map(|i| format!("{i:016}")))),
            Arc::new(Float64Array::from_iter_values((0..rows).map(|i| i as f64))),
        ],
    )
    .unwrap()
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let settings = Settings { check_records: false, keep_rows: false, ack_interval_ms: 0, ..Settings::default() };
    let server =
        ZerobusServer::start(ServerOptions { settings: settings.clone(), ..ServerOptions::default() }).unwrap();
    server
        .create_table(
            "a.b.c",
            &[Column::new("id", "BIGINT").not_null(), Column::new("text", "STRING"), Column::new("x", "DOUBLE")],
        )
        .unwrap();
    let config = WrapperConfiguration::new(server.endpoint(), "a.b.c")
        .with_credentials(server.client_id(), server.client_secret())
        .with_unity_catalog(server.unity_catalog_url());
    let wrapper = ZerobusWrapper::new(config).await.unwrap();
    for rows in [1, 2_800, 28_000, 280_000] {
        let batch = batch(rows);
        let rounds = if rows > 100_000 { 60 } else { 300 };
        let mut times = Vec::new();
        let mut bytes = 0;
        let started = Instant::now();
        for _ in 0..rounds {
            let one = Instant::now();
            let result = wrapper.send_batch(batch.clone()).await.unwrap();
            assert_eq!(result.successful_count, rows);
            bytes = result.batch_size_bytes;
            times.push(one.elapsed());
        }
        let all = started.elapsed();
        times.sort();
        println!(
            "{rows} rows, {bytes} bytes: p50 {:?} p95 {:?}; {:.0} rows/s, {:.0} MB/s",
            times[times.len() / 2],
            times[times.len() * 95 / 100],
            (rows * rounds) as f64 / all.as_secs_f64(),
            (bytes * rounds) as f64 / all.as_secs_f64() / 1e6
        );
    }
    for senders in [1, 2, 4] {
        let batch = batch(28_000);
        let started = Instant::now();
        let tasks: Vec<_> = (0..senders)
            .map(|_| {
                let (w, b) = (wrapper.clone(), batch.clone());
                tokio::spawn(async move {
                    for _ in 0..400 / senders {
                        w.send_batch(b.clone()).await.unwrap();
                    }
                })
            })
            .collect();
        for t in tasks {
            t.await.unwrap();
        }
        println!("{senders} senders: {:.0} rows/s", (28_000 * 400) as f64 / started.elapsed().as_secs_f64());
    }
    server.set_settings(Settings { ack_delay_ms: 20, ..settings });
    for senders in [1, 4] {
        let batch = batch(28_000);
        let started = Instant::now();
        let tasks: Vec<_> = (0..senders)
            .map(|_| {
                let (w, b) = (wrapper.clone(), batch.clone());
                tokio::spawn(async move {
                    for _ in 0..100 / senders {
                        w.send_batch(b.clone()).await.unwrap();
                    }
                })
            })
            .collect();
        for t in tasks {
            t.await.unwrap();
        }
        println!("20 ms: {senders} senders: {:.0} rows/s", (28_000 * 100) as f64 / started.elapsed().as_secs_f64());
    }
}
