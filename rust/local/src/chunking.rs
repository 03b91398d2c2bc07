//! Cutting a stream of batches into chunks.

use arrow_array::{Array, RecordBatch};

/// Where chunks and the batches in them end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChunkLimits {
    /// Uncompressed bytes of a chunk.
    pub(crate) bytes: u64,
    /// Rows of a chunk.
    pub(crate) rows: u64,
    /// Rows of a batch.
    pub(crate) batch_rows: usize,
}

/// The batches of one chunk, not encoded yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cut {
    pub(crate) row_offset: u64,
    pub(crate) row_count: u64,
    pub(crate) batches: Vec<RecordBatch>,
    bytes: u64,
}

/// Collects batches until a chunk is full.
#[derive(Debug)]
pub(crate) struct Chunker {
    limits: ChunkLimits,
    open: Cut,
}

impl Chunker {
    pub(crate) fn new(limits: ChunkLimits) -> Self {
        let limits =
            ChunkLimits { bytes: limits.bytes.max(1), rows: limits.rows.max(1), batch_rows: limits.batch_rows.max(1) };
        Self { limits, open: Cut::default() }
    }

    /// Adds the rows of `batch` and hands the chunks they completed to `full`.
    pub(crate) fn push(&mut self, batch: &RecordBatch, mut full: impl FnMut(Cut)) {
        let mut start = 0;
        while start < batch.num_rows() {
            let room = usize::try_from(self.limits.rows - self.open.row_count).unwrap_or(usize::MAX);
            let rows = (batch.num_rows() - start).min(self.limits.batch_rows).min(room);
            let piece = batch.slice(start, rows);
            let bytes = arrow_bytes(&piece);
            if self.open.row_count > 0 && self.open.bytes + bytes > self.limits.bytes {
                full(self.cut());
            }
            start += rows;
            self.open.row_count += rows as u64;
            self.open.bytes += bytes;
            self.open.batches.push(piece);
            if self.open.row_count >= self.limits.rows {
                full(self.cut());
            }
        }
    }

    /// The last chunk, if any rows are left.
    pub(crate) fn finish(mut self) -> Option<Cut> {
        (self.open.row_count > 0).then(|| self.cut())
    }

    fn cut(&mut self) -> Cut {
        let next = Cut { row_offset: self.open.row_offset + self.open.row_count, ..Cut::default() };
        std::mem::replace(&mut self.open, next)
    }
}

/// The bytes of a batch's own rows, whatever it was sliced from.
pub(crate) fn arrow_bytes(batch: &RecordBatch) -> u64 {
    let bytes = |column: &arrow_array::ArrayRef| column.to_data().get_slice_memory_size().unwrap_or_default();
    batch.columns().iter().map(|column| bytes(column) as u64).sum()
}

/// Deals the rows of `batches` out to `count` groups of nearly equal size, in order.
pub(crate) fn split(batches: &[RecordBatch], count: usize) -> Vec<Vec<RecordBatch>> {
    let total: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let mut groups = vec![Vec::new(); count.clamp(1, total.max(1))];
    let group_count = groups.len();
    let mut start = 0;
    for (position, group) in groups.iter_mut().enumerate() {
        let end = total * (position + 1) / group_count;
        *group = rows_between(batches, start, end);
        start = end;
    }
    groups
}

/// The rows `start..end` of `batches` taken together.
pub(crate) fn rows_between(batches: &[RecordBatch], start: usize, end: usize) -> Vec<RecordBatch> {
    let mut before = 0;
    let mut found = Vec::new();
    for batch in batches {
        let after = before + batch.num_rows();
        let (from, to) = (start.max(before), end.min(after));
        if from < to {
            found.push(batch.slice(from - before, to - from));
        }
        before = after;
    }
    found
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;
    use arrow_array::{Int64Array, record_batch};

    use super::*;

    fn numbers(batch: &RecordBatch) -> Vec<i64> {
        batch.column(0).as_primitive::<Int64Type>().values().to_vec()
    }

    fn cuts(limits: ChunkLimits, batch_sizes: &[i64]) -> Vec<Cut> {
        let mut chunker = Chunker::new(limits);
        let mut cuts = Vec::new();
        let mut next = 0;
        for size in batch_sizes {
            let values = Int64Array::from_iter_values(next..next + size);
            next += size;
            let batch = RecordBatch::try_from_iter([("id", std::sync::Arc::new(values) as _)]).unwrap();
            chunker.push(&batch, |cut| cuts.push(cut));
        }
        cuts.extend(chunker.finish());
        cuts
    }

    #[test]
    fn chunks_end_at_rows_or_bytes_and_keep_every_row_in_order() {
        for (limits, sizes, expected) in [
            (ChunkLimits { bytes: 1 << 20, rows: 10, batch_rows: 4 }, vec![25], vec![10, 10, 5]),
            (ChunkLimits { bytes: 1 << 20, rows: 10, batch_rows: 100 }, vec![7, 7, 6], vec![10, 10]),
            (ChunkLimits { bytes: 80, rows: u64::MAX, batch_rows: 5 }, vec![25], vec![10, 10, 5]),
            (ChunkLimits { bytes: 1, rows: u64::MAX, batch_rows: 2 }, vec![3, 0], vec![2, 1]),
            (ChunkLimits { bytes: 1 << 20, rows: 5, batch_rows: 5 }, vec![0, 0], vec![]),
        ] {
            let cuts = cuts(limits, &sizes);
            assert_eq!(cuts.iter().map(|cut| cut.row_count).collect::<Vec<_>>(), expected, "{limits:?}");
            let rows: Vec<i64> = cuts.iter().flat_map(|cut| cut.batches.iter().flat_map(numbers)).collect();
            assert_eq!(rows, (0..sizes.iter().sum()).collect::<Vec<_>>());
            for cut in &cuts {
                assert_eq!(cut.row_offset, numbers(&cut.batches[0])[0] as u64);
                assert!(cut.batches.iter().all(|batch| batch.num_rows() <= limits.batch_rows));
            }
        }
    }

    #[test]
    fn splitting_keeps_the_rows_and_makes_no_empty_group() {
        let batches = [record_batch!(("id", Int64, [0, 1, 2])).unwrap(), record_batch!(("id", Int64, [3, 4])).unwrap()];
        for (count, expected) in [(1, vec![5]), (2, vec![2, 3]), (9, vec![1, 1, 1, 1, 1])] {
            let groups = split(&batches, count);
            let sizes: Vec<usize> = groups.iter().map(|group| group.iter().map(RecordBatch::num_rows).sum()).collect();
            assert_eq!(sizes, expected);
            assert_eq!(groups.iter().flatten().flat_map(numbers).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        }
        assert_eq!(split(&[], 3), [Vec::new()]);
    }
}
