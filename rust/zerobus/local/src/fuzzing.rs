//! Doors into the look-alike for the fuzz targets in `rust/fuzz`. Only cargo-fuzz compiles this module.

use prost::Message as _;
use prost_types::DescriptorProto;
use serde_json::{Map, Value};

use crate::batch::record_batch;
use crate::json::row_as_json;
use crate::plan::MessagePlan;
use crate::store::{Column, read_columns};

/// A descriptor of a client, laid beside a table.
#[derive(Debug)]
pub struct Plan(MessagePlan);

/// Lays the bytes that a client sends beside the columns of a table, or says why not; `None` where there can be no such
/// table or the bytes are no descriptor at all.
pub fn plan(descriptor: &[u8], columns: &[Column]) -> Option<Result<Plan, String>> {
    let columns = read_columns(columns).ok()?;
    let descriptor = DescriptorProto::decode(descriptor).ok()?;
    Some(MessagePlan::new(&descriptor, &columns).map(Plan).map_err(|status| format!("{status:?}")))
}

impl Plan {
    /// Reads a record as it is shown, once it was made a batch of; or why it is refused, and whether it is none of this
    /// descriptor at all.
    ///
    /// # Errors
    /// Of the batch, which there must be.
    pub fn row(&self, record: &[u8]) -> Result<Result<Map<String, Value>, (String, bool)>, String> {
        let row = match self.0.row(record) {
            Ok(row) => row,
            Err(bad) => return Ok(Err((bad.reason, bad.malformed))),
        };
        let shown = row_as_json(&self.0.columns, &row);
        record_batch(&self.0.columns, &[row]).map_err(|error| error.to_string())?;
        Ok(Ok(shown))
    }
}
