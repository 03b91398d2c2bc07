//! Files with what was sent, for whoever looks for a fault.

use arrow_array::RecordBatch;

use crate::config::WrapperConfiguration;
use crate::convert::{Converter, EncodedRows};
use crate::error::ZerobusError;

/// The debug files of one wrapper; shared by all its clones. Whatever goes wrong with them is logged and fails no send.
///
/// Everything here but `new` waits for the disk and is called on threads that may.
#[derive(Debug)]
pub(crate) struct DebugFiles {}

impl DebugFiles {
    pub(crate) fn new(_config: &WrapperConfiguration) -> Result<Self, ZerobusError> {
        Ok(Self {})
    }

    /// Tells whether anything is kept at all, and so whether a batch must come here.
    pub(crate) fn are_on(&self) -> bool {
        false
    }

    /// Keeps a batch as it was given, before its conversion.
    pub(crate) fn batch(&self, _batch: &RecordBatch) {}

    /// Keeps the records of one request, before they are sent.
    pub(crate) fn records(&self, _rows: &EncodedRows, _converter: &Converter) {}

    /// Brings what there is to the disk.
    pub(crate) fn flush(&self) {}

    /// Ends the files, so that each is whole; nothing comes after.
    pub(crate) fn finish(&self) {}
}
