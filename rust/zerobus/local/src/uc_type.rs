//! The column types of Unity Catalog, and their grammar.

use std::fmt;

use arrow_schema::{DataType, Field, Fields, TimeUnit};
use seakernel_local::TypeReader;

/// Deeper nesting than any real type; it bounds the recursion on hostile text.
const MAX_DEPTH: usize = 32;

/// A type, with what of it is nullable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UcType {
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
    String,
    Binary,
    Date,
    Timestamp,
    TimestampNtz,
    /// Semi-structured data, which comes as JSON text.
    Variant,
    Array(Box<Self>),
    Map(Box<Self>, Box<Self>),
    Struct(Vec<UcField>),
}

/// A column, or a field of a struct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UcField {
    pub(crate) name: String,
    pub(crate) kind: UcType,
    pub(crate) nullable: bool,
}

impl UcType {
    /// Reads a type text such as `ARRAY<STRUCT<a: INT NOT NULL>>`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut reader = TypeReader::new(text);
        let kind = read(&mut reader, 0)?;
        if reader.rest().is_empty() { Ok(kind) } else { Err(format!("`{}` is left over", reader.rest())) }
    }

    pub(crate) fn arrow_type(&self) -> DataType {
        match self {
            Self::Boolean => DataType::Boolean,
            Self::Byte => DataType::Int8,
            Self::Short => DataType::Int16,
            Self::Int => DataType::Int32,
            Self::Long => DataType::Int64,
            Self::Float => DataType::Float32,
            Self::Double => DataType::Float64,
            Self::Decimal { precision, scale } => DataType::Decimal128(*precision, scale.cast_signed()),
            Self::String | Self::Variant => DataType::Utf8,
            Self::Binary => DataType::Binary,
            Self::Date => DataType::Date32,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::TimestampNtz => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Array(element) => DataType::List(element_field(element).into()),
            Self::Map(key, value) => {
                let entries = DataType::Struct(entry_fields(key, value));
                DataType::Map(Field::new("entries", entries, false).into(), false)
            }
            Self::Struct(fields) => DataType::Struct(arrow_fields(fields)),
        }
    }
}

impl fmt::Display for UcType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Boolean => "BOOLEAN",
            Self::Byte => "TINYINT",
            Self::Short => "SMALLINT",
            Self::Int => "INT",
            Self::Long => "BIGINT",
            Self::Float => "FLOAT",
            Self::Double => "DOUBLE",
            Self::Decimal { .. } => "DECIMAL",
            Self::String => "STRING",
            Self::Binary => "BINARY",
            Self::Date => "DATE",
            Self::Timestamp => "TIMESTAMP",
            Self::TimestampNtz => "TIMESTAMP_NTZ",
            Self::Variant => "VARIANT",
            Self::Array(_) => "ARRAY",
            Self::Map(..) => "MAP",
            Self::Struct(_) => "STRUCT",
        })
    }
}

/// The field of the elements of a list.
pub(crate) fn element_field(element: &UcType) -> Field {
    Field::new("element", element.arrow_type(), true)
}

/// The two fields of the entries of a map.
pub(crate) fn entry_fields(key: &UcType, value: &UcType) -> Fields {
    Fields::from(vec![Field::new("key", key.arrow_type(), false), Field::new("value", value.arrow_type(), true)])
}

/// The fields of a table or a struct.
pub(crate) fn arrow_fields(fields: &[UcField]) -> Fields {
    fields.iter().map(|field| Field::new(&field.name, field.kind.arrow_type(), field.nullable)).collect()
}

fn read(reader: &mut TypeReader<'_>, depth: usize) -> Result<UcType, String> {
    if depth > MAX_DEPTH {
        return Err("it is nested too deeply".to_owned());
    }
    let name = reader.word().to_ascii_uppercase();
    Ok(match name.as_str() {
        "BOOLEAN" => UcType::Boolean,
        "TINYINT" | "BYTE" => UcType::Byte,
        "SMALLINT" | "SHORT" => UcType::Short,
        "INT" | "INTEGER" => UcType::Int,
        "BIGINT" | "LONG" => UcType::Long,
        "FLOAT" | "REAL" => UcType::Float,
        "DOUBLE" => UcType::Double,
        "DECIMAL" | "DEC" | "NUMERIC" => {
            let (precision, scale) = reader.precision_and_scale()?;
            UcType::Decimal { precision, scale }
        }
        "STRING" => UcType::String,
        "VARCHAR" | "CHAR" => {
            if reader.take('(') {
                reader.word();
                reader.expect(')')?;
            }
            UcType::String
        }
        "VARIANT" => UcType::Variant,
        "BINARY" => UcType::Binary,
        "DATE" => UcType::Date,
        "TIMESTAMP" | "TIMESTAMP_LTZ" => UcType::Timestamp,
        "TIMESTAMP_NTZ" => UcType::TimestampNtz,
        "ARRAY" => {
            reader.expect('<')?;
            let element = read(reader, depth + 1)?;
            reader.expect('>')?;
            UcType::Array(Box::new(element))
        }
        "MAP" => {
            reader.expect('<')?;
            let key = read(reader, depth + 1)?;
            reader.expect(',')?;
            let value = read(reader, depth + 1)?;
            reader.expect('>')?;
            UcType::Map(Box::new(key), Box::new(value))
        }
        "STRUCT" => UcType::Struct(fields(reader, depth)?),
        _ => return Err(format!("`{name}` is no type that can be ingested")),
    })
}

fn fields(reader: &mut TypeReader<'_>, depth: usize) -> Result<Vec<UcField>, String> {
    reader.expect('<')?;
    let mut fields = Vec::new();
    while !reader.take('>') {
        if !fields.is_empty() {
            reader.expect(',')?;
        }
        let name = reader.field_name()?;
        let kind = read(reader, depth + 1)?;
        fields.push(UcField { name, kind, nullable: reader.is_nullable()? });
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read() {
        let parse = |text: &str| UcType::parse(text).unwrap();
        assert_eq!(parse("bigint"), UcType::Long);
        assert_eq!(parse("Decimal(18, 2)"), UcType::Decimal { precision: 18, scale: 2 });
        let field = |name: &str, kind, nullable| UcField { name: name.to_owned(), kind, nullable };
        assert_eq!(
            parse("ARRAY<STRUCT<a: INT NOT NULL COMMENT 'it\\'s > this', `b``c` map<string, DATE>>>"),
            UcType::Array(Box::new(UcType::Struct(vec![
                field("a", UcType::Int, false),
                field("b`c", UcType::Map(Box::new(UcType::String), Box::new(UcType::Date)), true),
            ])))
        );
    }

    #[test]
    fn broken_types_are_refused() {
        for text in ["", "HUGEINT", "DECIMAL(39,0)", "ARRAY<INT", "INT INT", "STRUCT<a INT NOT>", &"ARRAY<".repeat(99)]
        {
            assert!(UcType::parse(text).is_err(), "{text}");
        }
    }
}
