//! The columns of a table, and which of them the warehouse and DataFusion compare alike.

use arrow_schema::{DataType, TimeUnit};

/// A column as the warehouse knows it.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) data_type: DataType,
}

/// How values compare, in the warehouse as in DataFusion.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Boolean,
    /// Whole numbers and decimals.
    Number,
    Float,
    /// STRING, which may be CHAR or have a collation in the warehouse: its bytes compare.
    Text,
    Binary,
    Date,
    Timestamp,
    TimestampNtz,
    /// Only NULL can be told from the rest.
    Opaque,
    /// VARIANT, collated strings, types that travel as text: nothing is alike.
    Foreign,
}

impl Column {
    pub(crate) fn new(name: &str, type_text: &str, data_type: &DataType) -> Self {
        let mut column =
            Self { name: name.to_owned(), kind: Kind::of(type_text, data_type), data_type: data_type.clone() };
        if !column.is_nameable() {
            column.kind = Kind::Foreign;
        }
        column
    }

    /// Tells whether a statement can name it: the warehouse replaces variables also within backticks.
    pub(crate) fn is_nameable(&self) -> bool {
        !self.name.contains("${")
    }

    /// The name in SQL.
    pub(crate) fn sql(&self) -> String {
        quoted(&self.name)
    }
}

/// Returns a name in backticks.
pub(crate) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

impl Kind {
    /// Both must agree: options of the connection have types arrive as others, and the SQL type has the collation.
    fn of(type_text: &str, data_type: &DataType) -> Self {
        let text = type_text.trim().to_ascii_uppercase();
        let base = text.split(['(', '<', ' ']).next().unwrap_or_default();
        match (base, data_type) {
            ("BOOLEAN", DataType::Boolean) => Self::Boolean,
            ("TINYINT" | "BYTE", DataType::Int8)
            | ("SMALLINT" | "SHORT", DataType::Int16)
            | ("INT" | "INTEGER", DataType::Int32)
            | ("BIGINT" | "LONG", DataType::Int64)
            | ("DECIMAL", DataType::Decimal128(..)) => Self::Number,
            ("FLOAT" | "REAL", DataType::Float32) | ("DOUBLE", DataType::Float64) => Self::Float,
            ("STRING", DataType::Utf8) if text == "STRING" => Self::Text,
            ("BINARY", DataType::Binary) => Self::Binary,
            ("DATE", DataType::Date32) => Self::Date,
            ("TIMESTAMP", DataType::Timestamp(TimeUnit::Microsecond, Some(_))) => Self::Timestamp,
            ("TIMESTAMP_NTZ", DataType::Timestamp(TimeUnit::Microsecond, None)) => Self::TimestampNtz,
            ("ARRAY", DataType::List(_))
            | ("MAP", DataType::Map(..))
            | ("STRUCT", DataType::Struct(_))
            | ("INTERVAL", DataType::Interval(_) | DataType::Duration(_)) => Self::Opaque,
            _ => Self::Foreign,
        }
    }
}
