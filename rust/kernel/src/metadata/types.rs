//! The constants of JDBC: type codes, and the two listings that need no server.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Int16Array, Int32Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};

use super::listing::Listing;
use crate::error::Result;

/// JDBC's code for what has none of its own.
const OTHER: i32 = 1111;

/// Returns the JDBC type code of a type text such as `DECIMAL(10,2)`.
pub(super) fn type_code(type_text: &str) -> i32 {
    let end = type_text.find(['(', '<']).unwrap_or(type_text.len());
    let base = type_text.get(..end).unwrap_or_default().trim().to_ascii_uppercase();
    let base = base.split_once(" COLLATE ").map_or(base.as_str(), |(base, _)| base);
    match base {
        "BOOLEAN" => 16,
        "BYTE" | "TINYINT" => -6,
        "SHORT" | "SMALLINT" => 5,
        "INT" | "INTEGER" => 4,
        "LONG" | "BIGINT" => -5,
        "FLOAT" | "REAL" => 6,
        "DOUBLE" => 8,
        "DECIMAL" | "NUMERIC" | "DEC" => 3,
        "CHAR" => 1,
        // The official kernel's codes; a VOID column can be read as text only, too.
        "STRING" | "VARCHAR" | "VOID" | "NULL" | "INTERVAL" => 12,
        "BINARY" => -2,
        "DATE" => 91,
        "TIMESTAMP" | "TIMESTAMP_LTZ" | "TIMESTAMP_NTZ" => 93,
        "ARRAY" => 2003,
        "MAP" => 2000,
        "STRUCT" => 2002,
        _ => OTHER,
    }
}

/// Returns the kinds of tables that there are.
pub(super) fn table_types() -> Result<Listing> {
    let names = StringArray::from(vec!["SYSTEM TABLE", "TABLE", "VIEW", "METRIC_VIEW"]);
    listing(vec![("TABLE_TYPE", DataType::Utf8, false, Arc::new(names))])
}

/// Name, JDBC type code and, for numbers, the digits.
const TYPES: [(&str, i32, Option<i32>); 20] = [
    ("VOID", 0, None),
    ("BOOLEAN", 16, None),
    ("STRING", 12, None),
    ("BINARY", -2, None),
    ("TINYINT", -6, Some(3)),
    ("SMALLINT", 5, Some(5)),
    ("INT", 4, Some(10)),
    ("BIGINT", -5, Some(19)),
    ("FLOAT", 6, Some(7)),
    ("DOUBLE", 8, Some(15)),
    ("DECIMAL", 3, Some(38)),
    ("DATE", 91, None),
    ("TIMESTAMP", 93, None),
    ("ARRAY", 2003, None),
    ("MAP", 2000, None),
    ("STRUCT", 2002, None),
    ("CHAR", 1, None),
    ("VARCHAR", 12, None),
    ("INTERVAL_YEAR_MONTH", OTHER, None),
    ("INTERVAL_DAY_TIME", OTHER, None),
];

/// Returns what JDBC wants to know of every type.
pub(super) fn type_info() -> Result<Listing> {
    let texts = |value: fn(&'static str) -> Option<&'static str>| -> ArrayRef {
        Arc::new(TYPES.iter().map(|(name, ..)| value(name)).collect::<StringArray>())
    };
    let integers = |value: fn(i32, Option<i32>) -> Option<i32>| -> ArrayRef {
        Arc::new(TYPES.iter().map(|(_, code, digits)| value(*code, *digits)).collect::<Int32Array>())
    };
    let shorts = |value: fn(&str) -> i16| -> ArrayRef {
        Arc::new(Int16Array::from_iter_values(TYPES.iter().map(|(name, ..)| value(name))))
    };
    let flags = |value: fn(&str, bool) -> bool| -> ArrayRef {
        let flags: Vec<bool> = TYPES.iter().map(|(name, _, digits)| value(name, digits.is_some())).collect();
        Arc::new(BooleanArray::from(flags))
    };
    listing(vec![
        ("TYPE_NAME", DataType::Utf8, true, texts(Some)),
        ("DATA_TYPE", DataType::Int32, true, integers(|code, _| Some(code))),
        ("PRECISION", DataType::Int32, true, integers(|_, digits| digits)),
        ("LITERAL_PREFIX", DataType::Utf8, true, texts(|_| None)),
        ("LITERAL_SUFFIX", DataType::Utf8, true, texts(|_| None)),
        ("CREATE_PARAMS", DataType::Utf8, true, texts(|_| None)),
        ("NULLABLE", DataType::Int16, true, shorts(|_| 1)),
        ("CASE_SENSITIVE", DataType::Boolean, true, flags(|name, _| name == "STRING")),
        (
            "SEARCHABLE",
            DataType::Int16,
            true,
            shorts(|name| if matches!(name, "ARRAY" | "MAP" | "STRUCT") { 0 } else { 3 }),
        ),
        ("UNSIGNED_ATTRIBUTE", DataType::Boolean, true, flags(|_, is_number| !is_number)),
        ("FIXED_PREC_SCALE", DataType::Boolean, true, flags(|_, _| false)),
        ("AUTO_INCREMENT", DataType::Boolean, true, flags(|_, _| false)),
        ("LOCAL_TYPE_NAME", DataType::Utf8, true, texts(|_| None)),
        ("MINIMUM_SCALE", DataType::Int16, true, shorts(|_| 0)),
        ("MAXIMUM_SCALE", DataType::Int16, true, shorts(|_| 0)),
        ("SQL_DATA_TYPE", DataType::Int32, true, integers(|_, _| None)),
        ("SQL_DATETIME_SUB", DataType::Int32, true, integers(|_, _| None)),
        ("NUM_PREC_RADIX", DataType::Int32, true, integers(|_, digits| digits.map(|_| 10))),
    ])
}

fn listing(columns: Vec<(&str, DataType, bool, ArrayRef)>) -> Result<Listing> {
    let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns
        .into_iter()
        .map(|(name, data_type, nullable, array)| (Field::new(name, data_type, nullable), array))
        .unzip();
    Listing::of_batch(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_codes() {
        for (text, code) in [
            ("BOOLEAN", 16),
            (" decimal(10,2)", 3),
            ("STRING", 12),
            ("STRING COLLATE UTF8_LCASE", 12),
            ("VARCHAR(20) COLLATE UNICODE", 12),
            ("CHAR(5)", 1),
            ("timestamp_ntz", 93),
            ("ARRAY<DECIMAL(10,2)>", 2003),
            ("MAP<STRING, INT>", 2000),
            ("STRUCT<a: INT>", 2002),
            ("INTERVAL", 12),
            ("INTERVAL DAY TO SECOND", 1111),
            ("INTERVAL YEAR", 1111),
            ("VOID", 12),
            ("VARIANT", 1111),
            ("GEOMETRY(4326)", 1111),
            ("", 1111),
            ("(", 1111),
            ("É<", 1111),
        ] {
            assert_eq!(type_code(text), code, "{text}");
        }
    }
}
