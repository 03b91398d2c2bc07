//! The grammar of SQL type texts.

use crate::spark_type::SparkType;
use crate::type_reader::TypeReader;

/// Deeper nesting than any real type; it bounds the recursion on hostile text.
const MAX_DEPTH: usize = 64;

const YEAR_MONTH_QUALIFIERS: [&str; 3] = ["YEAR", "MONTH", "YEAR TO MONTH"];
const DAY_TIME_QUALIFIERS: [&str; 10] = [
    "DAY",
    "DAY TO HOUR",
    "DAY TO MINUTE",
    "DAY TO SECOND",
    "HOUR",
    "HOUR TO MINUTE",
    "HOUR TO SECOND",
    "MINUTE",
    "MINUTE TO SECOND",
    "SECOND",
];

/// Reads a whole type text.
pub(crate) fn parse(text: &str) -> Result<SparkType, String> {
    let mut reader = TypeReader::new(text);
    let parsed = spark_type(&mut reader, 0)?;
    if reader.rest().is_empty() { Ok(parsed) } else { Err(format!("`{}` is left over", reader.rest())) }
}

/// A struct field's name, in backticks when it is not a plain word.
pub(crate) fn quoted(name: &str) -> String {
    let plain = name.chars().all(|character| character.is_alphanumeric() || character == '_');
    if plain && !name.is_empty() { name.to_owned() } else { format!("`{}`", name.replace('`', "``")) }
}

fn spark_type(reader: &mut TypeReader<'_>, depth: usize) -> Result<SparkType, String> {
    if depth > MAX_DEPTH {
        return Err("it is nested too deeply".to_owned());
    }
    let name = reader.word().to_ascii_uppercase();
    let spark_type = match name.as_str() {
        "BOOLEAN" => SparkType::Boolean,
        "TINYINT" | "BYTE" => SparkType::Byte,
        "SMALLINT" | "SHORT" => SparkType::Short,
        "INT" | "INTEGER" => SparkType::Int,
        "BIGINT" | "LONG" => SparkType::Long,
        "FLOAT" | "REAL" => SparkType::Float,
        "DOUBLE" => SparkType::Double,
        "DECIMAL" | "DEC" | "NUMERIC" => decimal(reader)?,
        "STRING" => text("STRING", "STRING"),
        "VARCHAR" => sized(reader, "STRING", "VARCHAR")?,
        "CHAR" | "CHARACTER" => sized(reader, "CHAR", "CHAR")?,
        "VARIANT" => text("VARIANT", "VARIANT"),
        "OBJECT" => sized(reader, "OBJECT", "OBJECT")?,
        "GEOMETRY" => sized(reader, "GEOMETRY", "GEOMETRY")?,
        "GEOGRAPHY" => sized(reader, "GEOGRAPHY", "GEOGRAPHY")?,
        "BINARY" => SparkType::Binary,
        "DATE" => SparkType::Date,
        "TIMESTAMP" | "TIMESTAMP_LTZ" => SparkType::Timestamp,
        "TIMESTAMP_NTZ" => SparkType::TimestampNtz,
        "INTERVAL" => interval(reader)?,
        "ARRAY" => {
            reader.expect('<')?;
            let element = spark_type(reader, depth + 1)?;
            reader.expect('>')?;
            SparkType::Array(Box::new(element))
        }
        "MAP" => {
            reader.expect('<')?;
            let key = spark_type(reader, depth + 1)?;
            reader.expect(',')?;
            let value = spark_type(reader, depth + 1)?;
            reader.expect('>')?;
            SparkType::Map(Box::new(key), Box::new(value))
        }
        "STRUCT" => SparkType::Struct(struct_fields(reader, depth)?),
        "VOID" | "NULL" => SparkType::Void,
        _ => return Err(format!("`{name}` is not a known type")),
    };
    if reader.keyword("COLLATE") {
        reader.word();
    }
    Ok(spark_type)
}

/// A type with arguments that only its text keeps, such as `VARCHAR(10)`.
fn sized(reader: &mut TypeReader<'_>, type_name: &'static str, name: &str) -> Result<SparkType, String> {
    let (open, close) = match reader.rest().chars().next() {
        Some('(') => ('(', ')'),
        Some('<') => ('<', '>'),
        _ => return Ok(text(type_name, name)),
    };
    let mut depth = 0_usize;
    for (position, character) in reader.rest().char_indices() {
        if character == open {
            depth += 1;
        } else if character == close {
            depth = depth.saturating_sub(1);
        }
        if depth == 0 {
            let arguments = reader.bytes(position + close.len_utf8());
            return Ok(text(type_name, &format!("{name}{arguments}")));
        }
    }
    Err(format!("`{close}` is missing"))
}

fn interval(reader: &mut TypeReader<'_>) -> Result<SparkType, String> {
    let mut qualifier = reader.word().to_ascii_uppercase();
    if reader.keyword("TO") {
        qualifier = format!("{qualifier} TO {}", reader.word().to_ascii_uppercase());
    }
    let find = |known: &[&'static str]| known.iter().copied().find(|known| *known == qualifier);
    if let Some(known) = find(&YEAR_MONTH_QUALIFIERS) {
        return Ok(SparkType::YearMonthInterval(known));
    }
    find(&DAY_TIME_QUALIFIERS)
        .map(SparkType::DayTimeInterval)
        .ok_or_else(|| format!("`{qualifier}` is no interval qualifier"))
}

fn decimal(reader: &mut TypeReader<'_>) -> Result<SparkType, String> {
    reader.precision_and_scale().map(|(precision, scale)| SparkType::Decimal { precision, scale })
}

fn struct_fields(reader: &mut TypeReader<'_>, depth: usize) -> Result<Vec<(String, SparkType)>, String> {
    reader.expect('<')?;
    let mut fields = Vec::new();
    if reader.take('>') {
        return Ok(fields);
    }
    loop {
        let name = reader.field_name()?;
        fields.push((name, spark_type(reader, depth + 1)?));
        reader.is_nullable()?;
        if !reader.take(',') {
            break;
        }
    }
    reader.expect('>')?;
    Ok(fields)
}

fn text(type_name: &'static str, type_text: &str) -> SparkType {
    SparkType::Text { type_name, type_text: type_text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_and_written_back_in_the_servers_spelling() {
        for (text, expected) in [
            ("bigint", "BIGINT"),
            ("Decimal(18, 2)", "DECIMAL(18,2)"),
            ("decimal", "DECIMAL(10,0)"),
            ("varchar(10)", "VARCHAR(10)"),
            ("STRING COLLATE UTF8_LCASE", "STRING"),
            ("interval day to second", "INTERVAL DAY TO SECOND"),
            ("interval year", "INTERVAL YEAR"),
            ("array< map<string,int> >", "ARRAY<MAP<STRING, INT>>"),
            (
                "struct<a:int, `b c`: string NOT NULL COMMENT 'it\\'s > this', d ARRAY<VOID>>",
                "STRUCT<a: INT, `b c`: STRING, d: ARRAY<VOID>>",
            ),
            ("STRUCT<>", "STRUCT<>"),
            ("geometry(4326)", "GEOMETRY(4326)"),
            ("OBJECT<a: INT>", "OBJECT<a: INT>"),
        ] {
            assert_eq!(parse(text).unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn broken_types_are_refused_with_a_reason() {
        for text in [
            "",
            "HUGEINT",
            "DECIMAL(39,0)",
            "DECIMAL(2,3)",
            "ARRAY<INT",
            "INT INT",
            "INTERVAL",
            "INTERVAL DAY TO YEAR",
            "MAP<INT>",
            "STRUCT<`a: INT>",
            "STRUCT<a: INT COMMENT 'x>",
            "VARCHAR(10",
            &"ARRAY<".repeat(1000),
        ] {
            assert!(!parse(text).unwrap_err().is_empty(), "{text}");
        }
    }
}
