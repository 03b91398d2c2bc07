//! What the driver and the server are.

use std::collections::HashSet;
use std::sync::Arc;

use adbc_core::constants::ADBC_VERSION_1_1_0;
use adbc_core::error::Result;
use adbc_core::options::InfoCode;
use adbc_core::schemas::GET_INFO_SCHEMA;
use arrow_array::{
    ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, UInt32Array, UnionArray, new_empty_array,
};
use arrow_buffer::ScalarBuffer;
use arrow_schema::DataType;

use crate::error::error;
use crate::reader::{Batches, BoxedReader};

/// Of arrow-rs, in the form that other drivers have.
const ARROW_VERSION: &str = "v59.3.2";

enum Value {
    Text(Option<String>),
    Flag(bool),
    Number(i64),
}

/// Every code, in the order of their numbers.
const CODES: [InfoCode; 11] = [
    InfoCode::VendorName,
    InfoCode::VendorVersion,
    InfoCode::VendorArrowVersion,
    InfoCode::VendorSql,
    InfoCode::VendorSubstrait,
    InfoCode::VendorSubstraitMinVersion,
    InfoCode::VendorSubstraitMaxVersion,
    InfoCode::DriverName,
    InfoCode::DriverVersion,
    InfoCode::DriverArrowVersion,
    InfoCode::DriverAdbcVersion,
];

/// Returns the rows for `codes`, for all where there are none; codes that are not known have no row.
pub(crate) fn read(
    codes: Option<&HashSet<InfoCode>>,
    server_version: impl FnOnce() -> Option<String>,
) -> Result<BoxedReader> {
    let wanted: Vec<InfoCode> =
        CODES.into_iter().filter(|code| codes.is_none_or(|codes| codes.is_empty() || codes.contains(code))).collect();
    let version = if wanted.contains(&InfoCode::VendorVersion) { server_version() } else { None };
    let (mut numbers, mut kinds, mut offsets) = (Vec::new(), Vec::new(), Vec::new());
    let (mut texts, mut flags, mut counts) = (Vec::new(), Vec::new(), Vec::new());
    for code in &wanted {
        let (kind, offset) = match value(*code, version.as_deref()) {
            Value::Text(text) => (0, push(&mut texts, text)),
            Value::Flag(flag) => (1, push(&mut flags, flag)),
            Value::Number(number) => (2, push(&mut counts, number)),
        };
        numbers.push(u32::from(code));
        kinds.push(kind);
        offsets.push(offset);
    }
    let schema = Arc::clone(&GET_INFO_SCHEMA);
    let DataType::Union(fields, _) = schema.field(1).data_type() else {
        return Err(error(adbc_core::error::Status::Internal, "the values of the info have another type"));
    };
    let mut children: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(texts)),
        Arc::new(BooleanArray::from(flags)),
        Arc::new(Int64Array::from(counts)),
    ];
    children.extend(fields.iter().skip(children.len()).map(|(_, field)| new_empty_array(field.data_type())));
    let values =
        UnionArray::try_new(fields.clone(), ScalarBuffer::from(kinds), Some(ScalarBuffer::from(offsets)), children)?;
    let batch =
        RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(UInt32Array::from(numbers)), Arc::new(values)])?;
    Ok(Batches::boxed(schema, vec![batch]))
}

fn push<T>(values: &mut Vec<T>, value: T) -> i32 {
    values.push(value);
    values.len() as i32 - 1
}

fn value(code: InfoCode, server_version: Option<&str>) -> Value {
    let text = |text: &str| Value::Text(Some(text.to_owned()));
    match code {
        InfoCode::VendorName => text("Databricks"),
        InfoCode::VendorVersion => Value::Text(server_version.map(str::to_owned)),
        InfoCode::VendorSql => Value::Flag(true),
        InfoCode::VendorSubstrait => Value::Flag(false),
        InfoCode::DriverName => text("seakernel ADBC driver for Databricks"),
        InfoCode::DriverVersion => text(concat!("v", env!("CARGO_PKG_VERSION"))),
        InfoCode::DriverArrowVersion => text(ARROW_VERSION),
        InfoCode::DriverAdbcVersion => Value::Number(i64::from(ADBC_VERSION_1_1_0)),
        // Not told by the server, and no Substrait.
        _ => Value::Text(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_arrow_is_that_of_the_lock_file() {
        let lock = include_str!("../../../Cargo.lock");
        let version = lock.split("name = \"arrow-array\"\nversion = \"").nth(1).and_then(|rest| rest.split('"').next());
        assert_eq!(version.map(|version| format!("v{version}")).as_deref(), Some(ARROW_VERSION));
    }

    #[test]
    fn codes_are_filtered_and_unknown_ones_have_no_row() {
        let rows = |codes: &[InfoCode]| {
            let codes = codes.iter().copied().collect();
            read(Some(&codes), || None).unwrap().next().unwrap().unwrap().num_rows()
        };
        assert_eq!(rows(&[InfoCode::VendorName, InfoCode::Other(9999)]), 1);
        assert_eq!(rows(&[InfoCode::Other(9999)]), 0);
        let all = read(None, || Some("2026.40".to_owned())).unwrap().next().unwrap().unwrap();
        assert_eq!(all.num_rows(), CODES.len());
    }
}
