//! What became of each row of a batch.

use std::collections::BTreeMap;

use arrow_array::{RecordBatch, RecordBatchOptions, UInt64Array};
use arrow_select::take::take;

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

impl TransmissionResult {
    /// Whether some rows were stored and some failed.
    pub fn is_partial_success(&self) -> bool {
        self.has_successful_rows() && self.has_failed_rows()
    }

    /// Whether any row failed.
    pub fn has_failed_rows(&self) -> bool {
        !self.failures().is_empty()
    }

    /// Whether any row was stored.
    pub fn has_successful_rows(&self) -> bool {
        self.successful_rows.as_ref().is_some_and(|rows| !rows.is_empty())
    }

    /// The failed rows, ascending.
    pub fn get_failed_row_indices(&self) -> Vec<usize> {
        self.failures().iter().map(|(row, _)| *row).collect()
    }

    /// The stored rows, ascending.
    pub fn get_successful_row_indices(&self) -> Vec<usize> {
        self.successful_rows.clone().unwrap_or_default()
    }

    /// The failed rows that were written to the socket and never acknowledged: they may be stored, so sending them again can
    /// store them twice.
    pub fn get_uncertain_row_indices(&self) -> Vec<usize> {
        self.uncertain_rows.clone()
    }

    /// The failed rows whose error is of a kind, ascending.
    pub fn get_failed_row_indices_by_error_type(&self, is_meant: impl Fn(&ZerobusError) -> bool) -> Vec<usize> {
        self.failures().iter().filter(|(_, error)| is_meant(error)).map(|(row, _)| *row).collect()
    }

    /// The failed rows by name of their error's variant.
    pub fn group_errors_by_type(&self) -> BTreeMap<String, Vec<usize>> {
        let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (row, error) in self.failures() {
            groups.entry(error.error_type().to_owned()).or_default().push(*row);
        }
        groups
    }

    /// The messages of the failed rows, in their order.
    pub fn get_error_messages(&self) -> Vec<String> {
        self.failures().iter().map(|(_, error)| error.to_string()).collect()
    }

    /// Counts and shares.
    pub fn get_error_statistics(&self) -> ErrorStatistics {
        let share = |count: usize| if self.total_rows == 0 { 0.0 } else { count as f64 / self.total_rows as f64 };
        let groups = self.group_errors_by_type();
        ErrorStatistics {
            total_rows: self.total_rows,
            successful_count: self.successful_count,
            failed_count: self.failed_count,
            success_rate: share(self.successful_count),
            failure_rate: share(self.failed_count),
            error_type_counts: groups.into_iter().map(|(name, rows)| (name, rows.len())).collect(),
        }
    }

    /// The failed rows of the batch that this is the result of; none where no row failed.
    ///
    /// # Errors
    /// `ConfigurationError` where `original` has another number of rows, `ConversionError` where Arrow refuses.
    pub fn extract_failed_batch(&self, original: &RecordBatch) -> Result<Option<RecordBatch>, ZerobusError> {
        self.extract(original, &self.get_failed_row_indices())
    }

    /// The stored rows of the batch that this is the result of; none where no row was stored.
    ///
    /// # Errors
    /// As of [`Self::extract_failed_batch`].
    pub fn extract_successful_batch(&self, original: &RecordBatch) -> Result<Option<RecordBatch>, ZerobusError> {
        self.extract(original, &self.get_successful_row_indices())
    }

    /// The result of consecutive parts of one batch, as if they had been sent at once.
    ///
    /// Where some part was put on the wire and another was not, the rows of the latter are failed ones.
    pub fn merged(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut merged = Self { attempts: 1, ..Self::default() };
        let (mut failed, mut stored, mut first_error, mut any_sent) = (Vec::new(), Vec::new(), None, false);
        for part in parts {
            let start = merged.total_rows;
            merged.total_rows += part.total_rows;
            merged.attempts = merged.attempts.max(part.attempts);
            merged.batch_size_bytes += part.batch_size_bytes;
            merged.wire_bytes += part.wire_bytes;
            if let Some(milliseconds) = part.latency_ms {
                *merged.latency_ms.get_or_insert(0) += milliseconds;
            }
            merged.uncertain_rows.extend(part.uncertain_rows.iter().map(|row| start + row));
            any_sent |= part.error.is_none() && part.total_rows > 0;
            if let Some(error) = part.error {
                match part.failed_rows {
                    // Where nothing could be sent, a row may have failed for a reason of its own.
                    Some(rows) => failed.extend(rows.into_iter().map(|(row, error)| (start + row, error))),
                    None => failed.extend((start..merged.total_rows).map(|row| (row, error.clone()))),
                }
                first_error.get_or_insert(error);
            } else {
                failed.extend(part.failed_rows.into_iter().flatten().map(|(row, error)| (start + row, error)));
                stored.extend(part.successful_rows.into_iter().flatten().map(|row| start + row));
            }
        }
        merged.success = !stored.is_empty() || (merged.total_rows == 0 && first_error.is_none());
        (merged.successful_count, merged.failed_count) = (stored.len(), failed.len());
        merged.error = first_error.filter(|_| !any_sent);
        merged.failed_rows = (!failed.is_empty()).then_some(failed);
        merged.successful_rows = (!stored.is_empty()).then_some(stored);
        merged
    }

    fn failures(&self) -> &[(usize, ZerobusError)] {
        self.failed_rows.as_deref().unwrap_or_default()
    }

    fn extract(&self, original: &RecordBatch, rows: &[usize]) -> Result<Option<RecordBatch>, ZerobusError> {
        if original.num_rows() != self.total_rows {
            let (given, expected) = (original.num_rows(), self.total_rows);
            let message =
                format!("the batch has {given} rows, and that of this result had {expected}: it is another one");
            return Err(ZerobusError::configuration(message));
        }
        if rows.is_empty() {
            return Ok(None);
        }
        // Before arrow takes them, for it panics on some.
        if let Some(row) = rows.iter().find(|row| **row >= self.total_rows) {
            let message = format!("the result names row {row} of {}", self.total_rows);
            return Err(ZerobusError::configuration(message));
        }
        let indices: UInt64Array = rows.iter().map(|row| *row as u64).collect::<Vec<u64>>().into();
        let columns = original.columns().iter().map(|column| take(column, &indices, None)).collect::<Result<_, _>>();
        // There may be no column that tells the number of rows.
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let taken = columns.and_then(|columns| RecordBatch::try_new_with_options(original.schema(), columns, &options));
        taken.map(Some).map_err(|failure| ZerobusError::conversion(failure.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Array, ArrayRef, DictionaryArray, Int64Array, ListArray, types::Int8Type, types::Int32Type};
    use arrow_schema::{Field, Schema};

    use super::*;

    fn batch(rows: i64) -> RecordBatch {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
        let words: DictionaryArray<Int8Type> = (0..rows).map(|row| (row % 3 != 0).then_some("word")).collect();
        let lists = (0..rows).map(|row| (row % 4 != 0).then(|| vec![Some(row as i32), None]));
        let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(lists);
        RecordBatch::try_from_iter([("n", numbers), ("word", Arc::new(words)), ("list", Arc::new(lists))]).unwrap()
    }

    fn result(stored: &[usize], failed: &[(usize, ZerobusError)]) -> TransmissionResult {
        TransmissionResult {
            success: !stored.is_empty() || failed.is_empty(),
            attempts: 1,
            failed_rows: (!failed.is_empty()).then(|| failed.to_vec()),
            successful_rows: (!stored.is_empty()).then(|| stored.to_vec()),
            total_rows: stored.len() + failed.len(),
            successful_count: stored.len(),
            failed_count: failed.len(),
            ..TransmissionResult::default()
        }
    }

    fn conversion(row: usize) -> (usize, ZerobusError) {
        (row, ZerobusError::conversion(format!("row {row}")))
    }

    fn connection(row: usize) -> (usize, ZerobusError) {
        (row, ZerobusError::connection(format!("row {row}")))
    }

    #[test]
    fn f17_helpers_of_a_partial_success() {
        let partial = result(&[0, 2], &[conversion(1), connection(3), conversion(4)]);
        assert!(partial.is_partial_success() && partial.has_failed_rows() && partial.has_successful_rows());
        assert_eq!(partial.get_failed_row_indices(), [1, 3, 4]);
        assert_eq!(partial.get_successful_row_indices(), [0, 2]);
        let retryable = partial.get_failed_row_indices_by_error_type(ZerobusError::is_retryable);
        assert_eq!(retryable, [3]);
        let groups = partial.group_errors_by_type();
        assert_eq!(groups["ConversionError"], [1, 4]);
        assert_eq!(partial.get_error_messages()[1], "Connection error: row 3");
        let statistics = partial.get_error_statistics();
        assert_eq!((statistics.total_rows, statistics.successful_count, statistics.failed_count), (5, 2, 3));
        assert!((statistics.success_rate - 0.4).abs() < 1e-9 && (statistics.failure_rate - 0.6).abs() < 1e-9);
        assert_eq!(statistics.error_type_counts["ConversionError"], 2);
    }

    #[test]
    fn f17_helpers_of_the_other_outcomes() {
        let empty = result(&[], &[]);
        assert!(empty.success && !empty.is_partial_success());
        let rates = empty.get_error_statistics();
        assert_eq!((rates.success_rate, rates.failure_rate), (0.0, 0.0));
        assert!(empty.extract_failed_batch(&batch(0)).unwrap().is_none());

        let stored = result(&[0, 1, 2], &[]);
        assert!(!stored.is_partial_success() && !stored.has_failed_rows() && stored.group_errors_by_type().is_empty());
        assert_eq!(stored.extract_successful_batch(&batch(3)).unwrap().unwrap(), batch(3));

        let failed = result(&[], &[conversion(0), conversion(1)]);
        assert!(!failed.success && !failed.is_partial_success() && !failed.has_successful_rows());
        assert_eq!(failed.extract_failed_batch(&batch(2)).unwrap().unwrap(), batch(2));

        let refused =
            TransmissionResult { error: Some(ZerobusError::connection("no")), ..TransmissionResult::default() };
        assert!(refused.get_error_messages().is_empty() && !refused.has_failed_rows());
    }

    #[test]
    fn f18_extracted_rows_keep_schema_order_and_types() {
        let original = batch(10).slice(2, 5);
        let partial = result(&[0, 3, 4], &[conversion(1), conversion(2)]);
        let failed = partial.extract_failed_batch(&original).unwrap().unwrap();
        assert_eq!(failed, batch(10).slice(3, 2));
        let stored = partial.extract_successful_batch(&original).unwrap().unwrap();
        assert_eq!(stored.schema(), original.schema());
        assert_eq!(stored.column(0).as_ref(), &Int64Array::from(vec![2, 5, 6]) as &dyn Array);
    }

    #[test]
    fn f18_another_batch_is_refused() {
        let partial = result(&[0], &[conversion(1)]);
        let refusal = partial.extract_failed_batch(&batch(3)).unwrap_err();
        assert_eq!(refusal.error_type(), "ConfigurationError");
        assert!(refusal.to_string().contains("3 rows, and that of this result had 2"));
        let odd = TransmissionResult { total_rows: 2, failed_rows: Some(vec![conversion(7)]), ..result(&[], &[]) };
        assert!(odd.extract_failed_batch(&batch(2)).unwrap_err().to_string().contains("names row 7 of 2"));
    }

    #[test]
    fn f18_rows_without_columns_are_counted() {
        let options = RecordBatchOptions::new().with_row_count(Some(2));
        let schema = Arc::new(Schema::new(Vec::<Field>::new()));
        let original = RecordBatch::try_new_with_options(schema, vec![], &options).unwrap();
        let partial = result(&[0], &[conversion(1)]);
        assert_eq!(partial.extract_failed_batch(&original).unwrap().unwrap().num_rows(), 1);
    }

    #[test]
    fn f16_merged_parts_cover_all_rows() {
        let part = |error: bool, rows: usize| {
            let error = error.then(|| ZerobusError::connection("refused"));
            TransmissionResult { error, total_rows: rows, ..TransmissionResult::default() }
        };
        let merged = TransmissionResult::merged([result(&[0, 2], &[conversion(1)]), part(true, 2), result(&[0], &[])]);
        assert_eq!(merged.get_successful_row_indices(), [0, 2, 5]);
        assert_eq!(merged.get_failed_row_indices(), [1, 3, 4]);
        assert!(merged.success && merged.error.is_none());
        assert_eq!((merged.total_rows, merged.successful_count, merged.failed_count), (6, 3, 3));

        let refused = TransmissionResult::merged([part(true, 2), part(true, 1)]);
        assert!(!refused.success && refused.error.is_some());
        assert!(TransmissionResult::merged([]).success);
    }
}
