//! From cut rows to bodies, on as many threads as the options allow.

use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use bytes::Bytes;

use crate::arrow_body::{self, ArrowBody};
use crate::chunking::{Cut, rows_between, split};
use crate::engine::SqlError;
use crate::json_rows::{csv_rows, json_rows};
use crate::result::{Chunk, Format, ResultPlan, internal};
use crate::spark_type::SparkType;

/// Turns cuts into bodies; used from several threads.
pub(crate) struct ChunkEncoder<'plan> {
    plan: &'plan ResultPlan,
    types: &'plan [SparkType],
    schema: SchemaRef,
}

impl<'plan> ChunkEncoder<'plan> {
    pub(crate) fn new(plan: &'plan ResultPlan, types: &'plan [SparkType], schema: SchemaRef) -> Self {
        Self { plan, types, schema }
    }

    pub(crate) fn chunk(&self, mut cut: Cut) -> Result<Chunk, SqlError> {
        let body = match self.plan.format {
            Format::JsonArray => plain(json_rows(&cut.batches, self.types)),
            Format::Csv => plain(csv_rows(&cut.batches, self.types, cut.row_offset == 0)),
            Format::ArrowStream => {
                self.add_surplus(&mut cut.batches);
                let bodies = arrow_body::encode(&self.schema, &[cut.batches], self.plan.lz4).map_err(internal)?;
                bodies.into_iter().next().unwrap_or_else(|| plain(String::new()))
            }
        };
        Ok(finished(cut.row_offset, cut.row_count, body))
    }

    /// The inline form of a whole result: one body, or as many as the switch wants.
    pub(crate) fn pieces(&self, cut: &Cut) -> Result<Vec<Chunk>, SqlError> {
        let mut groups = split(&cut.batches, self.plan.inline_chunks);
        let row_counts: Vec<u64> =
            groups.iter().map(|group| group.iter().map(|batch| batch.num_rows() as u64).sum()).collect();
        let bodies = if self.plan.format == Format::JsonArray {
            groups.iter().map(|group| plain(json_rows(group, self.types))).collect()
        } else {
            if let Some(last) = groups.last_mut() {
                self.add_surplus(last);
            }
            arrow_body::encode(&self.schema, &groups, self.plan.lz4).map_err(internal)?
        };
        let mut row_offset = cut.row_offset;
        let mut piece = |(row_count, body): (u64, ArrowBody)| {
            let chunk = finished(row_offset, row_count, body);
            row_offset += row_count;
            chunk
        };
        Ok(row_counts.into_iter().zip(bodies).map(&mut piece).collect())
    }

    fn add_surplus(&self, batches: &mut Vec<RecordBatch>) {
        let surplus = rows_between(batches, 0, self.plan.surplus_rows);
        batches.extend(surplus);
    }

    /// Encodes on `threads` threads while this one reads the engine.
    pub(crate) fn chunks(
        &self,
        cuts: impl Iterator<Item = Result<Cut, SqlError>>,
        threads: usize,
    ) -> Result<Vec<Chunk>, SqlError> {
        let threads = threads.clamp(1, 64);
        let (sender, receiver) = sync_channel::<Cut>(threads);
        let receiver = Arc::new(Mutex::new(receiver));
        thread::scope(|scope| {
            let workers: Vec<_> = (0..threads)
                .map(|_| {
                    let receiver = Arc::clone(&receiver);
                    scope.spawn(move || self.work(&receiver))
                })
                .collect();
            // The last worker to fail closes the channel; a copy kept here would leave the send below waiting.
            drop(receiver);
            let mut reading = Ok(());
            for cut in cuts {
                let sent = cut.map(|cut| sender.send(cut).is_ok());
                if !matches!(sent, Ok(true)) {
                    reading = sent.map(drop);
                    break;
                }
            }
            drop(sender);
            let mut chunks = Vec::new();
            for worker in workers {
                chunks.extend(worker.join().unwrap_or_else(|_| Err(internal("an encoder thread died")))?);
            }
            reading?;
            chunks.sort_unstable_by_key(|chunk| chunk.row_offset);
            Ok(chunks)
        })
    }

    fn work(&self, cuts: &Mutex<Receiver<Cut>>) -> Result<Vec<Chunk>, SqlError> {
        let mut chunks = Vec::new();
        loop {
            let cut = cuts.lock().unwrap_or_else(PoisonError::into_inner).recv();
            match cut {
                Ok(cut) => chunks.push(self.chunk(cut)?),
                Err(_) => return Ok(chunks),
            }
        }
    }
}

fn plain(text: String) -> ArrowBody {
    let body = Bytes::from(text);
    ArrowBody { uncompressed_bytes: body.len() as u64, body }
}

fn finished(row_offset: u64, row_count: u64, body: ArrowBody) -> Chunk {
    Chunk { row_offset, row_count, uncompressed_bytes: body.uncompressed_bytes, body: body.body }
}
