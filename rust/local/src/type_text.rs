//! The grammar of SQL type texts.

use crate::spark_type::SparkType;

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
    let mut reader = Reader { rest: text };
    let parsed = reader.spark_type(0)?;
    if reader.skip_blanks().is_empty() { Ok(parsed) } else { Err(format!("`{}` is left over", reader.rest)) }
}

/// A struct field's name, in backticks when it is not a plain word.
pub(crate) fn quoted(name: &str) -> String {
    let plain = name.chars().all(|character| character.is_alphanumeric() || character == '_');
    if plain && !name.is_empty() { name.to_owned() } else { format!("`{}`", name.replace('`', "``")) }
}

struct Reader<'text> {
    rest: &'text str,
}

impl<'text> Reader<'text> {
    fn skip_blanks(&mut self) -> &'text str {
        self.rest = self.rest.trim_start();
        self.rest
    }

    fn take(&mut self, symbol: char) -> bool {
        match self.skip_blanks().strip_prefix(symbol) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, symbol: char) -> Result<(), String> {
        if self.take(symbol) { Ok(()) } else { Err(format!("`{symbol}` expected before `{}`", self.rest)) }
    }

    fn word(&mut self) -> &'text str {
        let rest = self.skip_blanks();
        let end = rest.find(|character: char| !(character.is_alphanumeric() || character == '_')).unwrap_or(rest.len());
        let (word, rest) = rest.split_at(end);
        self.rest = rest;
        word
    }

    /// Takes `word` if it comes next, in any case.
    fn keyword(&mut self, word: &str) -> bool {
        let before = self.rest;
        let found = self.word().eq_ignore_ascii_case(word);
        if !found {
            self.rest = before;
        }
        found
    }

    fn spark_type(&mut self, depth: usize) -> Result<SparkType, String> {
        if depth > MAX_DEPTH {
            return Err("it is nested too deeply".to_owned());
        }
        let name = self.word().to_ascii_uppercase();
        let spark_type = match name.as_str() {
            "BOOLEAN" => SparkType::Boolean,
            "TINYINT" | "BYTE" => SparkType::Byte,
            "SMALLINT" | "SHORT" => SparkType::Short,
            "INT" | "INTEGER" => SparkType::Int,
            "BIGINT" | "LONG" => SparkType::Long,
            "FLOAT" | "REAL" => SparkType::Float,
            "DOUBLE" => SparkType::Double,
            "DECIMAL" | "DEC" | "NUMERIC" => self.decimal()?,
            "STRING" => text("STRING", "STRING"),
            "VARCHAR" => self.sized("STRING", "VARCHAR")?,
            "CHAR" | "CHARACTER" => self.sized("CHAR", "CHAR")?,
            "VARIANT" => text("VARIANT", "VARIANT"),
            "OBJECT" => self.sized("OBJECT", "OBJECT")?,
            "GEOMETRY" => self.sized("GEOMETRY", "GEOMETRY")?,
            "GEOGRAPHY" => self.sized("GEOGRAPHY", "GEOGRAPHY")?,
            "BINARY" => SparkType::Binary,
            "DATE" => SparkType::Date,
            "TIMESTAMP" | "TIMESTAMP_LTZ" => SparkType::Timestamp,
            "TIMESTAMP_NTZ" => SparkType::TimestampNtz,
            "INTERVAL" => self.interval()?,
            "ARRAY" => {
                self.expect('<')?;
                let element = self.spark_type(depth + 1)?;
                self.expect('>')?;
                SparkType::Array(Box::new(element))
            }
            "MAP" => {
                self.expect('<')?;
                let key = self.spark_type(depth + 1)?;
                self.expect(',')?;
                let value = self.spark_type(depth + 1)?;
                self.expect('>')?;
                SparkType::Map(Box::new(key), Box::new(value))
            }
            "STRUCT" => SparkType::Struct(self.struct_fields(depth)?),
            "VOID" | "NULL" => SparkType::Void,
            _ => return Err(format!("`{name}` is not a known type")),
        };
        if self.keyword("COLLATE") {
            self.word();
        }
        Ok(spark_type)
    }

    fn number(&mut self) -> Result<u8, String> {
        let word = self.word();
        word.parse().map_err(|_| format!("`{word}` is not a small number"))
    }

    /// A bare `DECIMAL` is `DECIMAL(10,0)` in SQL.
    fn decimal(&mut self) -> Result<SparkType, String> {
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
        Ok(SparkType::Decimal { precision, scale })
    }

    /// A type with arguments that only its text keeps, such as `VARCHAR(10)`.
    fn sized(&mut self, type_name: &'static str, name: &str) -> Result<SparkType, String> {
        let (open, close) = match self.skip_blanks().chars().next() {
            Some('(') => ('(', ')'),
            Some('<') => ('<', '>'),
            _ => return Ok(text(type_name, name)),
        };
        let mut depth = 0_usize;
        for (position, character) in self.rest.char_indices() {
            if character == open {
                depth += 1;
            } else if character == close {
                depth = depth.saturating_sub(1);
            }
            if depth == 0 {
                let (arguments, rest) = self.rest.split_at(position + close.len_utf8());
                self.rest = rest;
                return Ok(text(type_name, &format!("{name}{arguments}")));
            }
        }
        Err(format!("`{close}` is missing"))
    }

    fn interval(&mut self) -> Result<SparkType, String> {
        let mut qualifier = self.word().to_ascii_uppercase();
        if self.keyword("TO") {
            qualifier = format!("{qualifier} TO {}", self.word().to_ascii_uppercase());
        }
        let find = |known: &[&'static str]| known.iter().copied().find(|known| *known == qualifier);
        if let Some(known) = find(&YEAR_MONTH_QUALIFIERS) {
            return Ok(SparkType::YearMonthInterval(known));
        }
        find(&DAY_TIME_QUALIFIERS)
            .map(SparkType::DayTimeInterval)
            .ok_or_else(|| format!("`{qualifier}` is no interval qualifier"))
    }

    fn struct_fields(&mut self, depth: usize) -> Result<Vec<(String, SparkType)>, String> {
        self.expect('<')?;
        let mut fields = Vec::new();
        if self.take('>') {
            return Ok(fields);
        }
        loop {
            let name = self.field_name()?;
            self.take(':');
            fields.push((name, self.spark_type(depth + 1)?));
            if self.keyword("NOT") && !self.keyword("NULL") {
                return Err("`NOT` without `NULL`".to_owned());
            }
            if self.keyword("COMMENT") {
                self.comment()?;
            }
            if !self.take(',') {
                break;
            }
        }
        self.expect('>')?;
        Ok(fields)
    }

    fn field_name(&mut self) -> Result<String, String> {
        if !self.take('`') {
            let name = self.word();
            return if name.is_empty() {
                Err(format!("a name is missing at `{}`", self.rest))
            } else {
                Ok(name.to_owned())
            };
        }
        let mut name = String::new();
        loop {
            let Some((part, rest)) = self.rest.split_once('`') else {
                return Err("a backtick is missing".to_owned());
            };
            name.push_str(part);
            self.rest = rest;
            match rest.strip_prefix('`') {
                Some(rest) => {
                    name.push('`');
                    self.rest = rest;
                }
                None => return Ok(name),
            }
        }
    }

    fn comment(&mut self) -> Result<(), String> {
        self.expect('\'')?;
        let mut escaped = false;
        for (position, character) in self.rest.char_indices() {
            match character {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '\'' => {
                    self.rest = self.rest.split_at(position + 1).1;
                    return Ok(());
                }
                _ => {}
            }
        }
        Err("a comment does not end".to_owned())
    }
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
