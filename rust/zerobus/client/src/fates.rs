//! What becomes of each row.

use crate::error::ZerobusError;
use crate::result::TransmissionResult;

/// What is known of the rows so far.
pub(crate) struct Fates {
    rows: Vec<Fate>,
    errors: Vec<(usize, ZerobusError)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Unknown,
    /// Written to a socket.
    Written,
    Stored,
    /// Its error is known.
    Failed,
    /// The same, and it was written.
    FailedWritten,
}

impl Fates {
    /// Nothing is known of this many rows.
    pub(crate) fn new(rows: usize) -> Self {
        Self { rows: vec![Fate::Unknown; rows], errors: Vec::new() }
    }

    fn set(&mut self, rows: &[usize], change: fn(Fate) -> Fate) {
        for row in rows {
            if let Some(fate) = self.rows.get_mut(*row) {
                *fate = change(*fate);
            }
        }
    }

    /// These are acknowledged.
    pub(crate) fn stored(&mut self, rows: &[usize]) {
        self.set(rows, |_| Fate::Stored);
    }

    /// These may have reached the service.
    pub(crate) fn written(&mut self, rows: &[usize]) {
        self.set(rows, |fate| if fate == Fate::Unknown { Fate::Written } else { fate });
    }

    /// The service refuses these rows.
    pub(crate) fn refused(&mut self, rows: &[usize], error: &ZerobusError) {
        self.set(rows, |_| Fate::FailedWritten);
        self.errors.extend(rows.iter().map(|row| (*row, error.clone())));
    }

    /// These cannot be converted.
    pub(crate) fn failed(&mut self, rows: Vec<(usize, ZerobusError)>) {
        for (row, error) in rows {
            if let Some(fate) = self.rows.get_mut(row).filter(|fate| **fate == Fate::Unknown) {
                *fate = Fate::Failed;
                self.errors.push((row, error));
            }
        }
    }

    /// Makes the result; `error` is that of all rows of which nothing is known.
    pub(crate) fn into_result(
        mut self,
        error: Option<ZerobusError>,
        attempts: u32,
        wire_bytes: usize,
    ) -> TransmissionResult {
        let nothing_written =
            !self.rows.iter().any(|fate| matches!(fate, Fate::Stored | Fate::Written | Fate::FailedWritten));
        let batch_error = error.clone().filter(|_| nothing_written);
        let error = error.unwrap_or_else(|| ZerobusError::connection("it is not known what became of the row"));
        let unknown = |fate: &Fate| matches!(fate, Fate::Unknown | Fate::Written);
        for (row, fate) in self.rows.iter().enumerate() {
            if unknown(fate) {
                self.errors.push((row, error.clone()));
            }
        }
        self.errors.sort_by_key(|(row, _)| *row);
        let of = |wanted: fn(&Fate) -> bool| -> Vec<usize> {
            self.rows.iter().enumerate().filter(|(_, fate)| wanted(fate)).map(|(row, _)| row).collect()
        };
        let stored = of(|fate| *fate == Fate::Stored);
        let uncertain_rows = of(|fate| matches!(fate, Fate::Written | Fate::FailedWritten));
        TransmissionResult {
            success: !stored.is_empty(),
            error: batch_error,
            attempts,
            wire_bytes,
            uncertain_rows,
            total_rows: self.rows.len(),
            successful_count: stored.len(),
            failed_count: self.errors.len(),
            successful_rows: (!stored.is_empty()).then_some(stored),
            failed_rows: (!self.errors.is_empty()).then_some(self.errors),
            ..TransmissionResult::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn rows_that_fail_for_one_reason_share_its_text() {
        let (refused, lost) = (ZerobusError::conversion("x".repeat(8000)), ZerobusError::connection("y".repeat(8000)));
        let mut fates = Fates::new(1000);
        fates.stored(&[0]);
        fates.refused(&(1..500).collect::<Vec<_>>(), &refused);
        let result = TransmissionResult::merged([fates.into_result(Some(lost.clone()), 1, 0)]);
        let failed = result.failed_rows.unwrap();
        assert_eq!(failed.len(), 999);
        for (row, error) in failed {
            let shared = if row < 500 { &refused } else { &lost };
            assert!(Arc::ptr_eq(&error.failure().message, &shared.failure().message), "row {row}");
        }
    }
}
