//! Sends records with the official Rust client, unmodified, or by gRPC alone, and prints what it took as JSON.
//!
//! The one argument is a JSON object, see [`Job`].

mod bare;

use std::error::Error;
use std::fs;
use std::time::Instant;

use bytes::Bytes;
use databricks_zerobus_ingest_sdk::{ProtoBytes, ZerobusSdk, ZerobusStream};
use prost::Message as _;
use prost_types::DescriptorProto;
use serde::Deserialize;

#[derive(Deserialize)]
struct Job {
    /// `official` or `bare`.
    client: String,
    endpoint: String,
    unity_catalog_url: String,
    client_id: String,
    client_secret: String,
    table: String,
    /// A file with a serialised DescriptorProto.
    descriptor: String,
    /// A file with the records of one send, each preceded by its length as a varint.
    records: String,
    /// Bytes of the records of one request, at most.
    request_bytes: usize,
    warm_up: usize,
    /// Fewest sends, and for how long they go on.
    sends: usize,
    seconds: f64,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    let job: Job = serde_json::from_str(&std::env::args().nth(1).ok_or("the job is missing")?)?;
    let descriptor = fs::read(&job.descriptor)?;
    let records = records(&fs::read(&job.records)?)?;
    let mut client = match job.client.as_str() {
        "official" => Client::official(&job, &descriptor).await?,
        "bare" => Client::Bare(
            bare::Stream::open(&job, descriptor).await?,
            bare::encoded(requests(&records, job.request_bytes)),
        ),
        other => return Err(format!("`client` is `{other}`; expected `official` or `bare`").into()),
    };
    for _ in 0..job.warm_up {
        client.send(&records, job.request_bytes).await?;
    }
    let (began, cpu_before) = (Instant::now(), usage().0);
    let mut latencies_ms = Vec::new();
    while latencies_ms.len() < job.sends || began.elapsed().as_secs_f64() < job.seconds {
        let start = Instant::now();
        client.send(&records, job.request_bytes).await?;
        latencies_ms.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    let (wall_s, (cpu_after, peak_mib)) = (began.elapsed().as_secs_f64(), usage());
    let figures = serde_json::json!({
        "wall_s": wall_s,
        "cpu_s": cpu_after - cpu_before,
        "peak_mib": peak_mib,
        "latencies_ms": latencies_ms,
    });
    client.close().await?;
    println!("{figures}");
    Ok(())
}

enum Client {
    Official(ZerobusStream),
    /// With the requests of a send.
    Bare(bare::Stream, Vec<Bytes>),
}

impl Client {
    async fn official(job: &Job, descriptor: &[u8]) -> Result<Self, Box<dyn Error>> {
        let sdk =
            ZerobusSdk::builder().endpoint(&job.endpoint).unity_catalog_url(&job.unity_catalog_url).no_tls().build()?;
        let stream = sdk
            .stream_builder()
            .table(&job.table)
            .oauth(&job.client_id, &job.client_secret)
            .compiled_proto(DescriptorProto::decode(descriptor)?)
            .build()
            .await?;
        Ok(Self::Official(stream))
    }

    /// Sends all records, and waits until they are acknowledged.
    async fn send(&mut self, records: &[Vec<u8>], request_bytes: usize) -> Result<(), Box<dyn Error>> {
        match self {
            Self::Official(stream) => {
                let mut last = None;
                for request in requests(records, request_bytes) {
                    let request: Vec<_> = request.iter().cloned().map(ProtoBytes).collect();
                    last = stream.ingest_records_offset(request).await?;
                }
                if let Some(offset) = last {
                    stream.wait_for_offset(offset).await?;
                }
                Ok(())
            }
            Self::Bare(stream, requests) => stream.send(requests).await,
        }
    }

    async fn close(self) -> Result<(), Box<dyn Error>> {
        match self {
            Self::Official(mut stream) => Ok(stream.close().await?),
            Self::Bare(stream, _) => stream.close().await,
        }
    }
}

/// Cuts a file into its records.
fn records(mut file: &[u8]) -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
    let mut records = Vec::new();
    while !file.is_empty() {
        let length = prost::decode_length_delimiter(&mut file)?;
        let (record, rest) = file.split_at_checked(length).ok_or("the last record is cut off")?;
        records.push(record.to_vec());
        file = rest;
    }
    Ok(records)
}

/// Cuts the records into requests of at most `bytes`.
fn requests(records: &[Vec<u8>], bytes: usize) -> Vec<&[Vec<u8>]> {
    let (mut requests, mut from, mut held) = (Vec::new(), 0, 0);
    for (index, record) in records.iter().enumerate() {
        if held + record.len() > bytes && index > from {
            requests.push(&records[from..index]);
            (from, held) = (index, 0);
        }
        held += record.len();
    }
    requests.push(&records[from..]);
    requests
}

/// CPU seconds of this process so far, and the most memory it had, in MiB. `ru_maxrss` would begin with the parent's.
fn usage() -> (f64, f64) {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to a structure of the right size, which the call fills.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")).and_then(|text| text.split_whitespace().next());
    let peak_kib: f64 = peak.and_then(|number| number.parse().ok()).unwrap_or(f64::NAN);
    (seconds(usage.ru_utime) + seconds(usage.ru_stime), peak_kib / 1024.0)
}
