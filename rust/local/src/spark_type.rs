//! SQL types: their text, their names in a manifest, and the Arrow types they travel as.

use std::fmt;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, IntervalUnit, Schema, SchemaRef, TimeUnit};

use crate::engine::{EngineColumn, SqlError};
use crate::type_text;

/// The label of session time zones nobody set, as recorded servers spell it.
pub(crate) const DEFAULT_ZONE: &str = "Etc/UTC";

/// A SQL type as the warehouse declares it for a result column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SparkType {
    Boolean,
    Byte,
    Short,
    Int,
    Long,
    Float,
    Double,
    Decimal {
        precision: u8,
        scale: u8,
    },
    /// Everything that travels as UTF-8: strings, but also `VARIANT` and `GEOMETRY`.
    Text {
        type_name: &'static str,
        type_text: String,
    },
    Binary,
    Date,
    Timestamp,
    TimestampNtz,
    /// Holds the qualifier, such as `YEAR TO MONTH`.
    YearMonthInterval(&'static str),
    /// Holds the qualifier, such as `DAY TO SECOND`.
    DayTimeInterval(&'static str),
    Array(Box<Self>),
    Map(Box<Self>, Box<Self>),
    Struct(Vec<(String, Self)>),
    Void,
}

impl SparkType {
    /// Reads a type text such as `MAP<STRING, DECIMAL(10,2)>`, in any case.
    pub(crate) fn parse(text: &str) -> Result<Self, SqlError> {
        type_text::parse(text).map_err(|reason| {
            SqlError::new("INTERNAL_ERROR", format!("the engine declared the unreadable type `{text}`: {reason}"))
        })
    }

    /// The name in `manifest.schema.columns[].type_name`.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Boolean => "BOOLEAN",
            Self::Byte => "BYTE",
            Self::Short => "SHORT",
            Self::Int => "INT",
            Self::Long => "LONG",
            Self::Float => "FLOAT",
            Self::Double => "DOUBLE",
            Self::Decimal { .. } => "DECIMAL",
            Self::Text { type_name, .. } => type_name,
            Self::Binary => "BINARY",
            Self::Date => "DATE",
            Self::Timestamp => "TIMESTAMP",
            Self::TimestampNtz => "TIMESTAMP_NTZ",
            Self::YearMonthInterval(_) | Self::DayTimeInterval(_) => "INTERVAL",
            Self::Array(_) => "ARRAY",
            Self::Map(..) => "MAP",
            Self::Struct(_) => "STRUCT",
            Self::Void => "NULL",
        }
    }

    /// The Arrow type on the wire; `zone` labels timestamps with a time zone.
    pub(crate) fn arrow_type(&self, zone: &Arc<str>) -> DataType {
        match self {
            Self::Boolean => DataType::Boolean,
            Self::Byte => DataType::Int8,
            Self::Short => DataType::Int16,
            Self::Int => DataType::Int32,
            Self::Long => DataType::Int64,
            Self::Float => DataType::Float32,
            Self::Double => DataType::Float64,
            Self::Decimal { precision, scale } => DataType::Decimal128(*precision, scale.cast_signed()),
            Self::Text { .. } => DataType::Utf8,
            Self::Binary => DataType::Binary,
            Self::Date => DataType::Date32,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::clone(zone))),
            Self::TimestampNtz => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::YearMonthInterval(_) => DataType::Interval(IntervalUnit::YearMonth),
            Self::DayTimeInterval(_) => DataType::Duration(TimeUnit::Microsecond),
            Self::Array(element) => DataType::List(Arc::new(element_field(element, zone))),
            Self::Map(key, value) => DataType::Map(Arc::new(entries_field(key, value, zone)), false),
            Self::Struct(fields) => DataType::Struct(struct_fields(fields, zone)),
            Self::Void => DataType::Null,
        }
    }
}

impl fmt::Display for SparkType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Byte => formatter.write_str("TINYINT"),
            Self::Short => formatter.write_str("SMALLINT"),
            Self::Long => formatter.write_str("BIGINT"),
            Self::Void => formatter.write_str("VOID"),
            Self::Decimal { precision, scale } => write!(formatter, "DECIMAL({precision},{scale})"),
            Self::Text { type_text, .. } => formatter.write_str(type_text),
            Self::YearMonthInterval(qualifier) | Self::DayTimeInterval(qualifier) => {
                write!(formatter, "INTERVAL {qualifier}")
            }
            Self::Array(element) => write!(formatter, "ARRAY<{element}>"),
            Self::Map(key, value) => write!(formatter, "MAP<{key}, {value}>"),
            Self::Struct(fields) => {
                formatter.write_str("STRUCT<")?;
                for (position, (name, field)) in fields.iter().enumerate() {
                    let separator = if position == 0 { "" } else { ", " };
                    write!(formatter, "{separator}{}: {field}", type_text::quoted(name))?;
                }
                formatter.write_str(">")
            }
            other => formatter.write_str(other.type_name()),
        }
    }
}

/// The field of the values of a list.
pub(crate) fn element_field(element: &SparkType, zone: &Arc<str>) -> Field {
    Field::new("element", element.arrow_type(zone), true)
}

/// The field of the key and value pairs of a map.
pub(crate) fn entries_field(key: &SparkType, value: &SparkType, zone: &Arc<str>) -> Field {
    Field::new("entries", DataType::Struct(entry_fields(key, value, zone)), false)
}

/// The two fields inside the entries of a map.
pub(crate) fn entry_fields(key: &SparkType, value: &SparkType, zone: &Arc<str>) -> Fields {
    Fields::from(vec![
        Field::new("key", key.arrow_type(zone), false),
        Field::new("value", value.arrow_type(zone), true),
    ])
}

/// The fields of a struct.
pub(crate) fn struct_fields(fields: &[(String, SparkType)], zone: &Arc<str>) -> Fields {
    fields.iter().map(|(name, field)| Field::new(name, field.arrow_type(zone), true)).collect()
}

/// The schema of `columns` on the wire, in the default time zone.
pub(crate) fn wire_schema(columns: &[EngineColumn]) -> Result<SchemaRef, SqlError> {
    let zone = Arc::from(DEFAULT_ZONE);
    let fields: Result<Fields, SqlError> = columns
        .iter()
        .map(|column| Ok(Field::new(&column.name, SparkType::parse(&column.type_text)?.arrow_type(&zone), true)))
        .collect();
    Ok(SchemaRef::new(Schema::new(fields?)))
}
