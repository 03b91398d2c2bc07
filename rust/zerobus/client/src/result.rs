//! What became of each row of a batch.

use std::collections::BTreeMap;

use crate::error::ZerobusError;

/// What became of a batch.
///
/// Without `error`, the indices of failed and of successful rows are disjoint and cover `0..total_rows`.
#[derive(Clone, Debug, Default)]
pub struct TransmissionResult {
    /// Whether any row was stored, or there was none.
    pub success: bool,
    /// Why nothing of the batch was put on the wire.
    pub error: Option<ZerobusError>,
    /// Rounds of transmission, 1 where the first did.
    pub attempts: u32,
    /// Milliseconds of the whole call.
    pub latency_ms: Option<u64>,
    /// Bytes of the rows in Arrow.
    pub batch_size_bytes: usize,
    /// Bytes of the rows as sent.
    pub wire_bytes: usize,
    /// Each failed row with its error, by index; none where no row failed.
    pub failed_rows: Option<Vec<(usize, ZerobusError)>>,
    /// The stored rows, ascending; none where no row was stored.
    pub successful_rows: Option<Vec<usize>>,
    /// The failed rows that were written to the socket and may be stored, ascending.
    pub uncertain_rows: Vec<usize>,
    /// Rows of the batch.
    pub total_rows: usize,
    /// Length of `successful_rows`.
    pub successful_count: usize,
    /// Length of `failed_rows`.
    pub failed_count: usize,
}

/// Counts of a [`TransmissionResult`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ErrorStatistics {
    /// Rows of the batch.
    pub total_rows: usize,
    /// Rows that were stored.
    pub successful_count: usize,
    /// Rows that failed.
    pub failed_count: usize,
    /// Share of the stored rows, 0 to 1; 0 for an empty batch.
    pub success_rate: f64,
    /// Share of the failed rows, 0 to 1; 0 for an empty batch.
    pub failure_rate: f64,
    /// Failed rows by name of the error's variant.
    pub error_type_counts: BTreeMap<String, usize>,
}
