//! The column types of Unity Catalog, and their grammar.

use std::fmt;

use arrow_schema::{DataType, Field, Fields, TimeUnit};

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
        let mut reader = Reader { rest: text };
        let kind = reader.kind(0)?;
        if reader.skip().is_empty() { Ok(kind) } else { Err(format!("`{}` is left over", reader.rest)) }
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

struct Reader<'text> {
    rest: &'text str,
}

impl<'text> Reader<'text> {
    fn skip(&mut self) -> &'text str {
        self.rest = self.rest.trim_start();
        self.rest
    }

    fn take(&mut self, symbol: char) -> bool {
        let rest = self.skip().strip_prefix(symbol);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, symbol: char) -> Result<(), String> {
        if self.take(symbol) { Ok(()) } else { Err(format!("`{symbol}` expected before `{}`", self.rest)) }
    }

    fn word(&mut self) -> &'text str {
        let rest = self.skip();
        let end = rest.find(|character: char| !(character.is_alphanumeric() || character == '_')).unwrap_or(rest.len());
        let (word, rest) = rest.split_at(end);
        self.rest = rest;
        word
    }

    fn keyword(&mut self, word: &str) -> bool {
        let before = self.rest;
        let found = self.word().eq_ignore_ascii_case(word);
        if !found {
            self.rest = before;
        }
        found
    }

    fn number(&mut self) -> Result<u8, String> {
        let word = self.word();
        word.parse().map_err(|_| format!("`{word}` is not a small number"))
    }

    fn kind(&mut self, depth: usize) -> Result<UcType, String> {
        if depth > MAX_DEPTH {
            return Err("it is nested too deeply".to_owned());
        }
        let name = self.word().to_ascii_uppercase();
        Ok(match name.as_str() {
            "BOOLEAN" => UcType::Boolean,
            "TINYINT" | "BYTE" => UcType::Byte,
            "SMALLINT" | "SHORT" => UcType::Short,
            "INT" | "INTEGER" => UcType::Int,
            "BIGINT" | "LONG" => UcType::Long,
            "FLOAT" | "REAL" => UcType::Float,
            "DOUBLE" => UcType::Double,
            "DECIMAL" | "DEC" | "NUMERIC" => self.decimal()?,
            "STRING" => UcType::String,
            "VARCHAR" | "CHAR" => {
                if self.take('(') {
                    self.word();
                    self.expect(')')?;
                }
                UcType::String
            }
            "VARIANT" => UcType::Variant,
            "BINARY" => UcType::Binary,
            "DATE" => UcType::Date,
            "TIMESTAMP" | "TIMESTAMP_LTZ" => UcType::Timestamp,
            "TIMESTAMP_NTZ" => UcType::TimestampNtz,
            "ARRAY" => {
                self.expect('<')?;
                let element = self.kind(depth + 1)?;
                self.expect('>')?;
                UcType::Array(Box::new(element))
            }
            "MAP" => {
                self.expect('<')?;
                let key = self.kind(depth + 1)?;
                self.expect(',')?;
                let value = self.kind(depth + 1)?;
                self.expect('>')?;
                UcType::Map(Box::new(key), Box::new(value))
            }
            "STRUCT" => UcType::Struct(self.fields(depth)?),
            _ => return Err(format!("`{name}` is no type that can be ingested")),
        })
    }

    /// A bare `DECIMAL` is `DECIMAL(10,0)` in SQL.
    fn decimal(&mut self) -> Result<UcType, String> {
        let (mut precision, mut scale) = (10, 0);
        if self.take('(') {
            precision = self.number()?;
            if self.take(',') {
                scale = self.number()?;
            }
            self.expect(')')?;
        }
        if precision == 0 || precision > 38 || scale > precision {
            return Err(format!("`DECIMAL({precision},{scale})` is out of range"));
        }
        Ok(UcType::Decimal { precision, scale })
    }

    fn fields(&mut self, depth: usize) -> Result<Vec<UcField>, String> {
        self.expect('<')?;
        let mut fields = Vec::new();
        while !self.take('>') {
            if !fields.is_empty() {
                self.expect(',')?;
            }
            let name = self.name()?;
            self.take(':');
            let kind = self.kind(depth + 1)?;
            let nullable = !self.keyword("NOT");
            if !nullable && !self.keyword("NULL") {
                return Err("`NOT` without `NULL`".to_owned());
            }
            fields.push(UcField { name, kind, nullable });
        }
        Ok(fields)
    }

    fn name(&mut self) -> Result<String, String> {
        let name = if self.take('`') {
            let (name, rest) = self.rest.split_once('`').ok_or("a backtick is missing")?;
            self.rest = rest;
            name
        } else {
            self.word()
        };
        if name.is_empty() { Err(format!("a name is missing at `{}`", self.rest)) } else { Ok(name.to_owned()) }
    }
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
            parse("ARRAY<STRUCT<a: INT NOT NULL, `b c` map<string, DATE>>>"),
            UcType::Array(Box::new(UcType::Struct(vec![
                field("a", UcType::Int, false),
                field("b c", UcType::Map(Box::new(UcType::String), Box::new(UcType::Date)), true),
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
