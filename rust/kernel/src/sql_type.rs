//! SQL types: their texts, and the Arrow types they travel as.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, IntervalUnit, TimeUnit};

/// Deepest nesting of a type text that is read.
const MAX_NESTING: usize = 64;

/// A SQL type, as far as it decides how values travel and how they are handed over.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SqlType {
    Timestamp,
    Geospatial(GeospatialType),
    Array(Box<Self>),
    Map(Box<Self>, Box<Self>),
    Struct(Vec<(String, Self)>),
    /// Every other one, by its Arrow type. Unknown types are text on the wire.
    Plain(DataType),
}

/// GEOMETRY or GEOGRAPHY.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct GeospatialType {
    pub(crate) is_geography: bool,
    /// The SRID of values that do not name theirs.
    pub(crate) srid: i32,
    /// Values may have any SRID.
    pub(crate) is_mixed: bool,
}

impl SqlType {
    /// Reads a type text such as `MAP<STRING, DECIMAL(10,2)>`, in any case; `None` where it is not understood.
    pub(crate) fn parse(type_text: &str) -> Option<Self> {
        TypeText { rest: type_text.trim() }.parse(0)
    }

    /// Returns the Arrow type of the values on the wire of a session in `zone`.
    pub(crate) fn wire_type(&self, zone: &Arc<str>) -> DataType {
        match self {
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::clone(zone))),
            Self::Geospatial(_) => DataType::Utf8,
            Self::Array(element) => DataType::List(Arc::new(element_field(element.wire_type(zone)))),
            Self::Map(key, value) => {
                DataType::Map(Arc::new(entries_field(key.wire_type(zone), value.wire_type(zone))), false)
            }
            Self::Struct(fields) => DataType::Struct(
                fields.iter().map(|(name, field)| Field::new(name, field.wire_type(zone), true)).collect(),
            ),
            Self::Plain(data_type) => data_type.clone(),
        }
    }
}

/// Returns the Arrow type of an ARRAY, MAP or STRUCT as its text says it; `None` for every other text.
pub fn nested_type(type_text: &str) -> Option<DataType> {
    let data_type = SqlType::parse(type_text)?.wire_type(&Arc::from("UTC"));
    data_type.is_nested().then_some(data_type)
}

/// The field of the values of a list.
pub(crate) fn element_field(element: DataType) -> Field {
    Field::new("element", element, true)
}

/// The field of the entries of a map.
pub(crate) fn entries_field(key: DataType, value: DataType) -> Field {
    let entries = Fields::from(vec![Field::new("key", key, false), Field::new("value", value, true)]);
    Field::new("entries", DataType::Struct(entries), false)
}

/// A recursive reader of type texts such as `MAP<STRING, STRUCT<a: INT NOT NULL COMMENT 'x', b: DECIMAL(10,2)>>`.
struct TypeText<'a> {
    rest: &'a str,
}

impl<'a> TypeText<'a> {
    fn parse(&mut self, depth: usize) -> Option<SqlType> {
        if depth > MAX_NESTING {
            return None;
        }
        let name = self.word()?.to_ascii_uppercase();
        let parsed = match name.as_str() {
            "ARRAY" if self.eat("<") => {
                let element = self.parse(depth + 1)?;
                self.close()?;
                SqlType::Array(Box::new(element))
            }
            "MAP" if self.eat("<") => {
                let key = self.parse(depth + 1)?;
                self.eat(",").then_some(())?;
                let value = self.parse(depth + 1)?;
                self.close()?;
                SqlType::Map(Box::new(key), Box::new(value))
            }
            "STRUCT" if self.eat("<") => SqlType::Struct(self.fields(depth)?),
            "DECIMAL" | "NUMERIC" | "DEC" => {
                let (precision, scale) = self.decimal()?;
                SqlType::Plain(DataType::Decimal128(precision, scale))
            }
            "INTERVAL" => SqlType::Plain(self.interval()),
            "GEOMETRY" | "GEOGRAPHY" => self.geospatial(name == "GEOGRAPHY"),
            "OBJECT" if self.rest.trim_start().starts_with('<') => {
                self.skip_brackets()?;
                SqlType::Plain(DataType::Utf8)
            }
            "TIMESTAMP" | "TIMESTAMP_LTZ" => SqlType::Timestamp,
            _ => {
                self.arguments();
                if self.next_is("COLLATE") {
                    self.word();
                    self.word();
                }
                SqlType::Plain(simple(&name))
            }
        };
        if depth == 0 && !self.rest.trim().is_empty() && parsed != SqlType::Plain(DataType::Utf8) {
            return None;
        }
        Some(parsed)
    }

    fn fields(&mut self, depth: usize) -> Option<Vec<(String, SqlType)>> {
        let mut fields = Vec::new();
        if self.eat(">") {
            return Some(fields);
        }
        loop {
            let name = self.identifier()?;
            self.eat(":");
            let parsed = self.parse(depth + 1)?;
            self.skip_attributes()?;
            fields.push((name, parsed));
            if self.eat(">") {
                return Some(fields);
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
        if self.next_is("TO") {
            self.word();
            self.word();
        }
        match unit.as_str() {
            "YEAR" | "MONTH" => DataType::Interval(IntervalUnit::YearMonth),
            _ => DataType::Duration(TimeUnit::Microsecond),
        }
    }

    /// Reads `(4326)`; where no number stands, as in `(ANY)`, values without an SRID have the one usual for the type.
    fn geospatial(&mut self, is_geography: bool) -> SqlType {
        let usual = if is_geography { 4326 } else { 0 };
        let argument = self.arguments().and_then(|arguments| arguments.split(',').next()).unwrap_or_default().trim();
        SqlType::Geospatial(GeospatialType {
            is_geography,
            srid: argument.parse().unwrap_or(usual),
            is_mixed: argument.eq_ignore_ascii_case("ANY"),
        })
    }

    /// Skips `<...>` with what it contains; the fields of an OBJECT do not change how it travels.
    fn skip_brackets(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        for (at, character) in self.rest.char_indices() {
            match character {
                '<' => depth += 1,
                '>' => depth -= 1,
                _ => {}
            }
            if depth == 0 && character == '>' {
                self.rest = self.rest.get(at + 1..)?;
                return Some(());
            }
        }
        None
    }

    /// Tells whether `word` comes next, in any case, with a blank behind it.
    fn next_is(&self, word: &str) -> bool {
        let rest = self.rest.trim_start();
        let found = rest.get(..word.len()).is_some_and(|found| found.eq_ignore_ascii_case(word));
        found && rest.get(word.len()..).is_some_and(|rest| rest.starts_with(char::is_whitespace))
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
        "TIMESTAMP_NTZ" => DataType::Timestamp(TimeUnit::Microsecond, None),
        "VOID" | "NULL" => DataType::Null,
        _ => DataType::Utf8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data_type(text: &str) -> Option<DataType> {
        SqlType::parse(text).map(|sql_type| sql_type.wire_type(&Arc::from("Etc/UTC")))
    }

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
            ("OBJECT", DataType::Utf8),
            ("ARRAY<STRING COLLATE UTF8_LCASE>", list(DataType::Utf8)),
            ("ARRAY<OBJECT<a: ARRAY<INT>, b: STRING>>", list(DataType::Utf8)),
            ("ARRAY<GEOGRAPHY(4326)>", list(DataType::Utf8)),
            ("TIMESTAMP", DataType::Timestamp(TimeUnit::Microsecond, Some("Etc/UTC".into()))),
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
    fn hostile_type_texts_are_refused() {
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
            "OBJECT<a: INT",
            "GEOMETRY(0) GEOMETRY",
            &deep,
        ] {
            assert_eq!(SqlType::parse(text), None, "{}", &text[..text.len().min(20)]);
        }
    }

    #[test]
    fn a_geospatial_type_says_which_srid_is_meant_without_one() {
        for (text, expected) in [
            ("GEOMETRY(4326)", 4326),
            ("geometry( 3857 )", 3857),
            ("GEOMETRY(ANY)", 0),
            ("GEOMETRY", 0),
            ("GEOGRAPHY", 4326),
            ("GEOGRAPHY(ANY)", 4326),
            ("GEOGRAPHY(4326, SPHERICAL)", 4326),
            ("GEOMETRY(99999999999)", 0),
        ] {
            let (is_geography, is_mixed) = (text.starts_with("GEOG"), text.contains("ANY"));
            let expected = GeospatialType { is_geography, srid: expected, is_mixed };
            assert_eq!(SqlType::parse(text), Some(SqlType::Geospatial(expected)), "{text}");
        }
    }
}
