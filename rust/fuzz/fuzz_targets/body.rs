//! Bodies of result files: LZ4 frames, and the Arrow stream in them.
#![no_main]

use std::cell::RefCell;

use arrow_buffer::Buffer;
use libfuzzer_sys::fuzz_target;
use seakernel::decode::{self, Decoded};

/// Decoded bytes allowed per body.
const LIMIT: usize = 64 << 20;
/// Comparing takes a step per row, and an array of nulls has any number of rows in no bytes.
const MAX_COMPARED_ROWS: usize = 1 << 20;

thread_local! {
    /// What the last body left behind, which the next must not see.
    static MEMORY: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// arrow-ipc panics on some malformed schemas, which `decode` turns into errors; any other panic is a finding.
fn watch_panics() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !panic.location().is_some_and(|location| location.file().contains("/arrow-")) {
            report(panic);
        }
    }));
}

/// What is accepted must be valid: readers downstream trust offsets, keys and lengths.
fn assert_valid(decoded: &Decoded) {
    for batch in &decoded.batches {
        assert_eq!(batch.schema(), decoded.schema);
        assert!(batch.num_rows() > 0);
        for column in batch.columns() {
            assert_eq!(column.len(), batch.num_rows());
            column.to_data().validate_full().expect("an accepted column is valid Arrow");
        }
    }
}

fuzz_target!(init: watch_panics(), |body: &[u8]| {
    let content = if decode::looks_like_lz4(body) {
        let fresh = decode::lz4_frames(body, LIMIT);
        let used = MEMORY.take();
        let reused = decode::lz4_frames_into(used, Some(body.len()), body, LIMIT);
        let content = match (fresh, reused) {
            (Ok(fresh), Ok((memory, range))) => {
                assert!(fresh.len() <= LIMIT);
                assert_eq!(fresh.as_slice(), &memory[range], "used memory decodes to something else");
                MEMORY.set(memory);
                fresh
            }
            (Err(_), Err(_)) => return,
            (fresh, _) => panic!("accepted once and refused once: {fresh:?}"),
        };
        content
    } else {
        Buffer::from(body)
    };
    let one = decode::ipc_stream(&content);
    let many = decode::ipc_streams(&content);
    if let Ok(many) = &many {
        assert_valid(many);
    }
    if let Ok(one) = one {
        assert_valid(&one);
        let many = many.expect("one stream is some streams");
        assert_eq!(one.schema, many.schema);
        if one.batches.iter().all(|batch| batch.num_rows() <= MAX_COMPARED_ROWS) {
            assert_eq!(one.batches, many.batches);
        }
    }
});
