//! One chunk of about 20 MiB: from LZ4 frames to Arrow batches, ours and the usual way.
#![allow(missing_docs, clippy::print_stderr, reason = "criterion's macros write undocumented items")]

use std::error::Error;
use std::hint::black_box;
use std::io::{Cursor, Read};

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use criterion::{Criterion, Throughput};
use lz4_flex::frame::FrameDecoder;
use seakernel::decode::{ipc_stream, lz4_frames, lz4_frames_into};

const LIMIT: usize = 1 << 30;

/// Reads a body as most clients do: frames through a reader into a growing buffer, batches copied out of it.
fn usual_way(body: &[u8]) -> Result<Vec<RecordBatch>, Box<dyn Error>> {
    let mut content = Vec::new();
    let mut input = Cursor::new(body);
    while (input.position() as usize) < body.len() {
        FrameDecoder::new(&mut input).read_to_end(&mut content)?;
    }
    Ok(StreamReader::try_new(Cursor::new(content), None)?.collect::<Result<_, _>>()?)
}

fn our_way(body: &[u8]) -> Result<Vec<RecordBatch>, Box<dyn Error>> {
    Ok(ipc_stream(&lz4_frames(body, LIMIT)?)?.batches)
}

fn main() -> Result<(), Box<dyn Error>> {
    let batches: Vec<RecordBatch> = (0..12).map(|_| seakernel_benches::rows(25_000)).collect::<Result<_, _>>()?;
    let body = seakernel_benches::body(&batches)?;
    let content = lz4_frames(&body, LIMIT)?;
    assert!(our_way(&body)? == batches && usual_way(&body)? == batches, "a decoder is wrong");

    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Bytes(content.len() as u64)).sample_size(20);
    group.bench_function("lz4_frames", |bencher| bencher.iter(|| black_box(lz4_frames(&body, LIMIT))));
    let mut memory = Vec::new();
    group.bench_function("lz4_frames_into_used_memory", |bencher| {
        bencher.iter(|| match lz4_frames_into(std::mem::take(&mut memory), None, &body, LIMIT) {
            Ok((used, _)) => memory = used,
            Err(error) => eprintln!("{error}"),
        });
    });
    group.bench_function("ipc_stream", |bencher| bencher.iter(|| black_box(ipc_stream(&content))));
    group.bench_function("body_to_batches", |bencher| bencher.iter(|| black_box(our_way(&body))));
    group.bench_function("body_to_batches_by_readers", |bencher| bencher.iter(|| black_box(usual_way(&body))));
    group.finish();
    criterion.final_summary();
    Ok(())
}
