//! Result columns as the manifest describes them, and the Arrow schema that follows from them.

use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Fields, IntervalUnit, Schema, SchemaRef, TimeUnit};

use crate::error::{Error, ErrorKind, Result};
use crate::sea::wire::ColumnInfo;

/// Deepest nesting of a type text that is read.
const MAX_NESTING: usize = 64;

/// One column of a result, as the manifest describes it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Column {
    /// Name or expression text; names may repeat.
    pub name: String,
    /// Full SQL type text, for example `DECIMAL(10,2)`.
    pub type_text: String,
    /// Base type, for example `DECIMAL`, `LONG`, `STRING`.
    pub type_name: String,
    /// Precision, for DECIMAL only.
    pub type_precision: Option<i64>,
    /// Scale, for DECIMAL only.
    pub type_scale: Option<i64>,
}

impl From<ColumnInfo> for Column {
    fn from(info: ColumnInfo) -> Self {
        Self {
            name: info.name,
            type_text: if info.type_text.is_empty() { info.type_name.clone() } else { info.type_text },
            type_name: info.type_name,
            type_precision: info.type_precision,
            type_scale: info.type_scale,
        }
    }
}

/// Builds the Arrow schema of a result that carries none: one without rows, or one in JSON.
///
/// The types are those a warehouse puts on the wire for the same columns, except that the session's time zone is not
/// known here: TIMESTAMP gets `Etc/UTC`, the warehouse's default.
pub(crate) fn from_manifest(columns: &[Column]) -> Result<SchemaRef> {
    let fields: Result<Vec<Field>> =
        columns.iter().map(|column| Ok(Field::new(&column.name, data_type(&column.type_text)?, true))).collect();
    Ok(Arc::new(Schema::new(fields?)))
}

/// Checks a chunk's schema against the manifest and returns it with the manifest's names and every field nullable.
///
/// Names are bound by position because they may repeat; nullability flags on the wire are not reliable (literals and
/// counts come as non-null).
pub(crate) fn from_chunk(chunk: &Schema, columns: &[Column]) -> Result<SchemaRef> {
    if chunk.fields().len() != columns.len() {
        let text = format!("a chunk has {} columns and the manifest {}", chunk.fields().len(), columns.len());
        return Err(Error::new(ErrorKind::DataLoss, text));
    }
    let fields: Vec<Field> = chunk
        .fields()
        .iter()
        .zip(columns)
        .map(|(field, column)| field.as_ref().clone().with_name(&column.name).with_nullable(true))
        .collect();
    Ok(Arc::new(Schema::new(fields)))
}

/// Returns the Arrow type of a SQL type text. Unknown types are text on the wire.
fn data_type(type_text: &str) -> Result<DataType> {
    TypeText { rest: type_text.trim() }
        .parse(0)
        .ok_or_else(|| Error::new(ErrorKind::Protocol, format!("the column type `{type_text}` is not understood")))
}

/// A recursive reader of type texts such as `MAP<STRING, STRUCT<a: INT NOT NULL COMMENT 'x', b: DECIMAL(10,2)>>`.
struct TypeText<'a> {
    rest: &'a str,
}

impl<'a> TypeText<'a> {
    fn parse(&mut self, depth: usize) -> Option<DataType> {
        if depth > MAX_NESTING {
            return None;
        }
        let name = self.word()?.to_ascii_uppercase();
        let parsed = match name.as_str() {
            "ARRAY" if self.eat("<") => {
                let element = self.parse(depth + 1)?;
                self.close()?;
                DataType::List(Arc::new(Field::new("element", element, true)))
            }
            "MAP" if self.eat("<") => {
                let key = self.parse(depth + 1)?;
                self.eat(",").then_some(())?;
                let value = self.parse(depth + 1)?;
                self.close()?;
                let entries = Fields::from(vec![Field::new("key", key, false), Field::new("value", value, true)]);
                DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
            }
            "STRUCT" if self.eat("<") => DataType::Struct(self.fields(depth)?),
            "DECIMAL" | "NUMERIC" | "DEC" => {
                let (precision, scale) = self.decimal()?;
                DataType::Decimal128(precision, scale)
            }
            "INTERVAL" => self.interval(),
            _ => {
                self.arguments();
                simple(&name)
            }
        };
        if depth == 0 && !self.rest.trim().is_empty() && !matches!(parsed, DataType::Utf8) {
            return None;
        }
        Some(parsed)
    }

    fn fields(&mut self, depth: usize) -> Option<Fields> {
        let mut fields: Vec<FieldRef> = Vec::new();
        if self.eat(">") {
            return Some(Fields::from(fields));
        }
        loop {
            let name = self.identifier()?;
            self.eat(":");
            let parsed = self.parse(depth + 1)?;
            self.skip_attributes()?;
            fields.push(Arc::new(Field::new(name, parsed, true)));
            if self.eat(">") {
                return Some(Fields::from(fields));
            }
            self.eat(",").then_some(())?;
        }
    }

    /// Skips `NOT NULL`, `COLLATE x`, `COMMENT 'text'` after a field's type.
    fn skip_attributes(&mut self) -> Option<()> {
        loop {
            self.rest = self.rest.trim_start();
            if self.rest.starts_with(['>', ',']) {
                return Some(());
            }
            if let Some(quoted) = self.rest.strip_prefix('\'') {
                let end = quoted.char_indices().scan(false, |escaped, (at, c)| {
                    let ends = c == '\'' && !*escaped;
                    *escaped = c == '\\' && !*escaped;
                    Some(ends.then_some(at))
                });
                let end = end.flatten().next()?;
                self.rest = quoted.get(end + 1..)?;
            } else {
                self.word()?;
            }
        }
    }

    fn decimal(&mut self) -> Option<(u8, i8)> {
        // SQL's default where nothing is said.
        let Some(arguments) = self.arguments() else { return Some((10, 0)) };
        let (precision, scale) = arguments.split_once(',').unwrap_or((arguments, "0"));
        let (precision, scale): (u8, i8) = (precision.trim().parse().ok()?, scale.trim().parse().ok()?);
        ((1..=38).contains(&precision) && scale >= 0 && scale as u8 <= precision).then_some((precision, scale))
    }

    /// Year-month intervals are months on the wire, day-time ones a duration in microseconds (recorded in 2025).
    fn interval(&mut self) -> DataType {
        let unit = self.word().unwrap_or_default().to_ascii_uppercase();
        if self.rest.trim_start().to_ascii_uppercase().starts_with("TO ") {
            self.word();
            self.word();
        }
        match unit.as_str() {
            "YEAR" | "MONTH" => DataType::Interval(IntervalUnit::YearMonth),
            _ => DataType::Duration(TimeUnit::Microsecond),
        }
    }

    fn word(&mut self) -> Option<&'a str> {
        let text = self.rest.trim_start();
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
        let (word, rest) = text.split_at_checked(end)?;
        self.rest = rest;
        (!word.is_empty()).then_some(word)
    }

    /// Reads a field name, plain or in backticks with doubled backticks inside.
    fn identifier(&mut self) -> Option<String> {
        self.rest = self.rest.trim_start();
        let Some(mut quoted) = self.rest.strip_prefix('`') else {
            let end = self.rest.find([':', ' ', '<', '>', ','])?;
            let (name, rest) = self.rest.split_at_checked(end)?;
            self.rest = rest;
            return (!name.is_empty()).then(|| name.to_owned());
        };
        let mut name = String::new();
        loop {
            let (part, rest) = quoted.split_once('`')?;
            name.push_str(part);
            let Some(more) = rest.strip_prefix('`') else {
                self.rest = rest;
                return Some(name);
            };
            name.push('`');
            quoted = more;
        }
    }

    fn arguments(&mut self) -> Option<&'a str> {
        let (arguments, rest) = self.rest.trim_start().strip_prefix('(')?.split_once(')')?;
        self.rest = rest;
        Some(arguments)
    }

    fn eat(&mut self, token: &str) -> bool {
        match self.rest.trim_start().strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn close(&mut self) -> Option<()> {
        self.eat(">").then_some(())
    }
}

fn simple(name: &str) -> DataType {
    match name {
        "BOOLEAN" => DataType::Boolean,
        "BYTE" | "TINYINT" => DataType::Int8,
        "SHORT" | "SMALLINT" => DataType::Int16,
        "INT" | "INTEGER" => DataType::Int32,
        "LONG" | "BIGINT" => DataType::Int64,
        "FLOAT" | "REAL" => DataType::Float32,
        "DOUBLE" => DataType::Float64,
        "BINARY" => DataType::Binary,
        "DATE" => DataType::Date32,
        "TIMESTAMP" | "TIMESTAMP_LTZ" => DataType::Timestamp(TimeUnit::Microsecond, Some("Etc/UTC".into())),
        "TIMESTAMP_NTZ" => DataType::Timestamp(TimeUnit::Microsecond, None),
        "VOID" | "NULL" => DataType::Null,
        _ => DataType::Utf8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_texts() {
        let list = |inner| DataType::List(Arc::new(Field::new("element", inner, true)));
        for (text, expected) in [
            ("BIGINT", DataType::Int64),
            ("tinyint", DataType::Int8),
            ("DECIMAL(10,2)", DataType::Decimal128(10, 2)),
            ("DECIMAL(38, 38)", DataType::Decimal128(38, 38)),
            ("DECIMAL", DataType::Decimal128(10, 0)),
            ("VARCHAR(20)", DataType::Utf8),
            ("VARIANT", DataType::Utf8),
            ("geometry(0)", DataType::Utf8),
            ("STRING COLLATE UTF8_LCASE", DataType::Utf8),
            ("TIMESTAMP_NTZ", DataType::Timestamp(TimeUnit::Microsecond, None)),
            ("INTERVAL YEAR TO MONTH", DataType::Interval(IntervalUnit::YearMonth)),
            ("INTERVAL MONTH", DataType::Interval(IntervalUnit::YearMonth)),
            ("INTERVAL DAY TO SECOND", DataType::Duration(TimeUnit::Microsecond)),
            ("INTERVAL MINUTE", DataType::Duration(TimeUnit::Microsecond)),
            ("ARRAY<ARRAY<INT>>", list(list(DataType::Int32))),
            ("ARRAY<INTERVAL DAY TO SECOND>", list(DataType::Duration(TimeUnit::Microsecond))),
            ("STRUCT<>", DataType::Struct(Fields::empty())),
        ] {
            assert_eq!(data_type(text).unwrap(), expected, "{text}");
        }
        let DataType::Struct(fields) =
            data_type("STRUCT<a: INT NOT NULL COMMENT 'it\\'s > 1, 2', `b``c`: MAP<STRING, DECIMAL(5,1)>, d STRING>")
                .unwrap()
        else {
            panic!("not a struct")
        };
        let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names, ["a", "b`c", "d"]);
        assert_eq!(fields[0].data_type(), &DataType::Int32);
        assert!(matches!(fields[1].data_type(), DataType::Map(_, false)));
    }

    #[test]
    fn hostile_type_texts_are_errors() {
        let deep = "ARRAY<".repeat(100_000);
        for text in [
            "",
            "ARRAY<",
            "ARRAY<INT",
            "MAP<INT>",
            "STRUCT<a",
            "STRUCT<a:>",
            "DECIMAL(39,0)",
            "DECIMAL(1,2)",
            "INT INT",
            &deep,
        ] {
            assert_eq!(data_type(text).unwrap_err().kind(), ErrorKind::Protocol, "{}", &text[..text.len().min(20)]);
        }
    }
}
