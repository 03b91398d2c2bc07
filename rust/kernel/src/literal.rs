//! Parameter values as text, checked against their SQL type: pure functions.
//!
//! Which types a parameter may have, and how each is written, is what the platform's own kernel does (measured in November
//! 2026), except where that loses or changes a value.

use std::fmt::Write;

use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset};

/// Most digits of a DECIMAL.
const MOST_DIGITS: i64 = 38;

/// A value as it is sent.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Literal {
    pub(crate) sql_type: String,
    /// `None` for NULL.
    pub(crate) value: Option<String>,
}

/// Checks `value` against `sql_type`; an error says why, without the value, which may be personal data.
pub(crate) fn check(sql_type: &str, value: Option<&str>) -> Result<Literal, String> {
    let sql_type = sql_type.trim().to_ascii_uppercase();
    let (base, arguments) = match sql_type.split_once('(') {
        Some((base, rest)) => (base.trim_end(), Some(rest.strip_suffix(')').ok_or_else(|| unknown(&sql_type))?)),
        None => (sql_type.as_str(), None),
    };
    if let Some(interval) = interval_type(base, arguments) {
        return Ok(literal(&interval, value.map(str::to_owned)));
    }
    let simple = |name: &str, text: Option<Result<String, String>>| {
        if arguments.is_some() { Err(unknown(&sql_type)) } else { Ok(literal(name, text.transpose()?)) }
    };
    match base {
        "VOID" | "NULL" => simple("VOID", None),
        "BOOLEAN" | "BOOL" => simple("BOOLEAN", value.map(boolean)),
        "TINYINT" | "BYTE" => simple("TINYINT", value.map(|text| integer(text, i8::MIN.into(), i8::MAX.into()))),
        "SMALLINT" | "SHORT" => simple("SMALLINT", value.map(|text| integer(text, i16::MIN.into(), i16::MAX.into()))),
        "INT" | "INTEGER" => simple("INT", value.map(|text| integer(text, i32::MIN.into(), i32::MAX.into()))),
        "BIGINT" | "LONG" => simple("BIGINT", value.map(|text| integer(text, i64::MIN, i64::MAX))),
        "FLOAT" | "REAL" => simple("FLOAT", value.map(|text| floating(text, f64::from(f32::MAX)))),
        "DOUBLE" => simple("DOUBLE", value.map(|text| floating(text, f64::MAX))),
        "DATE" => simple("DATE", value.map(|text| date(text).map(date_text))),
        "TIMESTAMP" => simple("TIMESTAMP", value.map(timestamp)),
        "TIMESTAMP_NTZ" => simple("TIMESTAMP_NTZ", value.map(|text| instant(text).map(|at| at.text(' ', "")))),
        "TIMESTAMP_LTZ" => simple("TIMESTAMP_LTZ", value.map(|text| instant(text).map(|at| at.text('T', "Z")))),
        "BINARY" => simple("BINARY", value.map(hexadecimal)),
        "VARIANT" => simple("STRING", value.map(|text| Ok(text.to_owned()))),
        "STRING" => simple("STRING", value.map(|text| Ok(text.to_owned()))),
        "VARCHAR" | "CHAR" | "CHARACTER" => characters(base, arguments, value),
        "DECIMAL" | "DEC" | "NUMERIC" => {
            let arguments = arguments.ok_or("DECIMAL needs its precision, as in `DECIMAL(10,2)`")?;
            decimal(arguments, value)
        }
        "GEOMETRY" | "GEOGRAPHY" => geospatial(base, arguments, value),
        "ARRAY" | "MAP" | "STRUCT" => Err(complex(base)),
        _ if ["ARRAY<", "MAP<", "STRUCT<"].iter().any(|start| sql_type.starts_with(start)) => Err(complex(&sql_type)),
        _ => Err(unknown(&sql_type)),
    }
}

fn literal(sql_type: &str, value: Option<String>) -> Literal {
    Literal { sql_type: sql_type.to_owned(), value }
}

fn unknown(sql_type: &str) -> String {
    let shown: String = sql_type.chars().take(60).collect();
    format!("`{shown}` is not a type that a parameter can have")
}

fn complex(sql_type: &str) -> String {
    let shown: String = sql_type.chars().take(60).collect();
    format!("a parameter cannot be `{shown}`; pass JSON text and use `from_json` in the SQL")
}

fn not_a(sql_type: &str) -> String {
    format!("the value is not a {sql_type}")
}

/// Returns an interval's type with its qualifier; without one the server reads it from the value.
fn interval_type(base: &str, arguments: Option<&str>) -> Option<String> {
    const UNITS: [&str; 6] = ["YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND"];
    let words: Vec<&str> = base.split_ascii_whitespace().collect();
    let position = |unit: &str| UNITS.iter().position(|known| *known == unit);
    let fits = match words.as_slice() {
        ["INTERVAL"] => true,
        ["INTERVAL", unit] => position(unit).is_some(),
        ["INTERVAL", from, "TO", to] => match (position(from), position(to)) {
            (Some(from), Some(to)) => from < to && (from >= 2 || to <= 1),
            _ => false,
        },
        _ => false,
    };
    (fits && arguments.is_none()).then(|| words.join(" "))
}

fn boolean(text: &str) -> Result<String, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" => Ok("true".to_owned()),
        "false" | "0" => Ok("false".to_owned()),
        _ => Err("the value is not a BOOLEAN: `true`, `false`, `1` or `0`".to_owned()),
    }
}

fn integer(text: &str, least: i64, most: i64) -> Result<String, String> {
    let out_of_range = || format!("the value is not a whole number from {least} to {most}");
    let number: i64 = text.parse().map_err(|_| out_of_range())?;
    if (least..=most).contains(&number) { Ok(number.to_string()) } else { Err(out_of_range()) }
}

fn floating(text: &str, most: f64) -> Result<String, String> {
    let number: f64 = text.parse().map_err(|_| "the value is not a number".to_owned())?;
    if number.is_nan() {
        return Ok("NaN".to_owned());
    }
    if number.is_infinite() {
        // A number that became infinite only by being read was too large.
        let named = text.trim_start_matches(['+', '-']).starts_with(['i', 'I']);
        let sign = if number < 0.0 { "-" } else { "" };
        return if named { Ok(format!("{sign}Infinity")) } else { Err("the number is too large".to_owned()) };
    }
    if number.abs() > most {
        return Err("the number is too large".to_owned());
    }
    // As given: to write it anew could lose digits of a FLOAT.
    Ok(text.to_owned())
}

fn hexadecimal(text: &str) -> Result<String, String> {
    if text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(text.to_ascii_uppercase());
    }
    Err("a BINARY value is written as pairs of hexadecimal digits".to_owned())
}

fn characters(base: &str, arguments: Option<&str>, value: Option<&str>) -> Result<Literal, String> {
    let value = value.map(str::to_owned);
    let Some(arguments) = arguments else { return Ok(literal("STRING", value)) };
    let length: usize = arguments
        .trim()
        .parse()
        .ok()
        .filter(|length| *length > 0)
        .ok_or_else(|| format!("the length of `{base}` is not a positive number"))?;
    if value.as_deref().is_some_and(|text| text.chars().count() > length) {
        return Err(format!("the value has more than {length} characters"));
    }
    // The server has no such parameter type. The text is checked here, and CHAR is padded as a column of it would be.
    let value = value.map(|text| if base == "VARCHAR" { text } else { format!("{text:length$}") });
    Ok(literal("STRING", value))
}

fn decimal(arguments: &str, value: Option<&str>) -> Result<Literal, String> {
    let (precision, scale) = arguments.split_once(',').unwrap_or((arguments, "0"));
    let number = |text: &str| text.trim().parse::<i64>().ok();
    let (Some(precision), Some(scale)) = (number(precision), number(scale)) else {
        return Err("DECIMAL is written with numbers, as in `DECIMAL(10,2)`".to_owned());
    };
    if !(1..=MOST_DIGITS).contains(&precision) {
        return Err(format!("the precision of a DECIMAL is 1 to {MOST_DIGITS}"));
    }
    if !(0..=precision).contains(&scale) {
        return Err("the scale of a DECIMAL is 0 to its precision".to_owned());
    }
    let Some(text) = value else { return Ok(literal(&format!("DECIMAL({precision},{scale})"), None)) };
    let (whole, fraction) = digits(text).ok_or_else(|| not_a("DECIMAL"))?;
    let scale = scale.max(fraction);
    let precision = precision.max(whole + scale).max(1);
    if precision > MOST_DIGITS {
        return Err(format!("the value needs more than {MOST_DIGITS} digits"));
    }
    Ok(literal(&format!("DECIMAL({precision},{scale})"), Some(text.to_owned())))
}

/// Counts the digits before and after the point that a number needs when written without an exponent.
fn digits(text: &str) -> Option<(i64, i64)> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let are_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !are_digits(whole) || !are_digits(fraction) {
        return None;
    }
    let length = |part: &str| i64::try_from(part.len()).unwrap_or(i64::MAX / 4);
    let all: String = [whole, fraction].concat();
    let leading_zeros = length(&all) - length(all.trim_start_matches('0'));
    if leading_zeros == length(&all) {
        return Some((0, length(fraction).saturating_sub(exponent.into()).max(0)));
    }
    let point = length(whole) + i64::from(exponent);
    Some(((point - leading_zeros).max(0), (length(&all) - point).max(0)))
}

fn geospatial(base: &str, arguments: Option<&str>, value: Option<&str>) -> Result<Literal, String> {
    let of_type = match arguments {
        Some(srid) => Some(srid.trim().parse::<u32>().map_err(|_| format!("the SRID of {base} is not a number"))?),
        None => None,
    };
    let Some(text) = value else { return Ok(literal("STRING", None)) };
    let has_srid = text.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("SRID="));
    let (of_value, shape) = match text.get(5..).filter(|_| has_srid) {
        Some(rest) => {
            let (srid, shape) = rest.split_once(';').ok_or_else(|| format!("the value is not EWKT of a {base}"))?;
            (Some(srid.trim().parse::<u32>().map_err(|_| "the SRID of the value is not a number".to_owned())?), shape)
        }
        None => (None, text),
    };
    if let (Some(of_type), Some(of_value)) = (of_type, of_value)
        && of_type != of_value
    {
        return Err(format!("the SRID of the type is {of_type} and that of the value {of_value}"));
    }
    if shape.trim().is_empty() {
        return Err(format!("the value holds no shape of a {base}"));
    }
    Ok(literal("STRING", Some(shape.to_owned())))
}

/// A point in time as written: what the clock shows, and the offset if there was one.
struct Moment {
    shown: PrimitiveDateTime,
    /// Digits behind the seconds, as given.
    fraction: String,
    has_offset: bool,
}

impl Moment {
    fn text(&self, between: char, zone: &str) -> String {
        let mut text = date_text(self.shown.date());
        let (hour, minute, second) = self.shown.time().as_hms();
        // Writing into a `String` cannot fail.
        let _ = write!(text, "{between}{hour:02}:{minute:02}:{second:02}");
        if !self.fraction.is_empty() {
            let _ = write!(text, ".{}", self.fraction);
        }
        text + zone
    }
}

/// With an offset it is an instant and goes out in UTC, saying so; without one it is of the session's zone.
fn timestamp(text: &str) -> Result<String, String> {
    instant(text).map(|moment| moment.text(' ', if moment.has_offset { "+00:00" } else { "" }))
}

/// Reads `2024-02-29 12:34:56.789+05:00`, in UTC where it has an offset.
fn instant(text: &str) -> Result<Moment, String> {
    let wrong =
        || "the value is not a TIMESTAMP such as `2024-02-29 12:34:56.789`, with or without an offset".to_owned();
    let (day, clock) = text.split_once([' ', 'T']).ok_or_else(wrong)?;
    let day = date(day).map_err(|_| wrong())?;
    let split = clock.find(['Z', '+', '-']).unwrap_or(clock.len());
    let (clock, zone) = clock.split_at_checked(split).ok_or_else(wrong)?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let is_fraction = fraction.len() <= 9 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    if !is_fraction {
        return Err(wrong());
    }
    let [hour, minute, second] = numbers(clock, ':').ok_or_else(wrong)?;
    let part = |number: u32| u8::try_from(number).map_err(|_| wrong());
    let clock = Time::from_hms(part(hour)?, part(minute)?, part(second)?).map_err(|_| wrong())?;
    let shown = PrimitiveDateTime::new(day, clock);
    let offset = offset(zone).ok_or_else(wrong)?;
    let shown = match offset {
        None => shown,
        Some(offset) => {
            let utc: OffsetDateTime = shown
                .assume_offset(offset)
                .checked_to_offset(UtcOffset::UTC)
                .filter(|utc| (1..=9999).contains(&utc.year()))
                .ok_or("the value is outside the years 1 to 9999 in UTC")?;
            PrimitiveDateTime::new(utc.date(), utc.time())
        }
    };
    Ok(Moment { shown, fraction: fraction.to_owned(), has_offset: offset.is_some() })
}

/// Reads `Z`, `+05:00`, `+0500` or nothing.
#[expect(clippy::option_option, reason = "wrong, absent or there")]
fn offset(zone: &str) -> Option<Option<UtcOffset>> {
    let (sign, rest) = match zone.split_at_checked(1) {
        None => return zone.is_empty().then_some(None),
        Some(("Z", "")) => return Some(Some(UtcOffset::UTC)),
        Some(("+", rest)) => (1, rest),
        Some(("-", rest)) => (-1, rest),
        Some(_) => return None,
    };
    let (hours, minutes) = match rest.split_once(':') {
        Some(parts) => parts,
        None => rest.split_at_checked(2)?,
    };
    let number = |text: &str| (text.len() == 2).then(|| text.parse::<i8>().ok()).flatten();
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    UtcOffset::from_hms(sign * hours, sign * minutes, 0).ok().map(Some)
}

fn date(text: &str) -> Result<Date, String> {
    let wrong = || "the value is not a DATE such as `2024-02-29`".to_owned();
    let [year, month, day] = numbers(text, '-').ok_or_else(wrong)?;
    let month = u8::try_from(month).ok().and_then(|month| Month::try_from(month).ok()).ok_or_else(wrong)?;
    let year = i32::try_from(year).ok().filter(|year| (1..=9999).contains(year)).ok_or_else(wrong)?;
    let day = u8::try_from(day).map_err(|_| wrong())?;
    if text.find('-') != Some(4) {
        return Err(wrong());
    }
    Date::from_calendar_date(year, month, day).map_err(|_| wrong())
}

fn date_text(date: Date) -> String {
    format!("{:04}-{:02}-{:02}", date.year(), u8::from(date.month()), date.day())
}

/// Reads three numbers of up to four digits.
fn numbers(text: &str, between: char) -> Option<[u32; 3]> {
    let numbers: Option<Vec<u32>> = text
        .split(between)
        .map(|part| {
            let fits = (1..=4).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
            fits.then(|| part.parse().ok()).flatten()
        })
        .collect();
    numbers?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_go_out_as_the_server_reads_them() {
        let table = [
            ("boolean", "True", "BOOLEAN", "true"),
            ("BOOL", "0", "BOOLEAN", "false"),
            ("TINYINT", "-128", "TINYINT", "-128"),
            ("LONG", "+007", "BIGINT", "7"),
            ("SHORT", "5", "SMALLINT", "5"),
            ("DOUBLE", "1e3", "DOUBLE", "1e3"),
            ("DOUBLE", "nan", "DOUBLE", "NaN"),
            ("FLOAT", "-inf", "FLOAT", "-Infinity"),
            ("DOUBLE", "Infinity", "DOUBLE", "Infinity"),
            ("VARCHAR(3)", "äöü", "STRING", "äöü"),
            ("CHAR(3)", "ä", "STRING", "ä  "),
            ("CHAR", "x", "STRING", "x"),
            ("BINARY", "00ff", "BINARY", "00FF"),
            ("DATE", "2024-2-9", "DATE", "2024-02-09"),
            ("TIMESTAMP", "2024-02-29T12:34:56", "TIMESTAMP", "2024-02-29 12:34:56"),
            ("TIMESTAMP", "2024-02-29 00:34:56.7+05:00", "TIMESTAMP", "2024-02-28 19:34:56.7+00:00"),
            ("TIMESTAMP", "2024-02-29 12:34:56-0030", "TIMESTAMP", "2024-02-29 13:04:56+00:00"),
            ("TIMESTAMP_NTZ", "2024-02-29 12:34:56+05:00", "TIMESTAMP_NTZ", "2024-02-29 07:34:56"),
            ("TIMESTAMP_LTZ", "2024-02-29 12:34:56Z", "TIMESTAMP_LTZ", "2024-02-29T12:34:56Z"),
            ("INTERVAL", "1 02:03:04", "INTERVAL", "1 02:03:04"),
            ("interval  day to second", "1 02:03:04", "INTERVAL DAY TO SECOND", "1 02:03:04"),
            ("DECIMAL(3,2)", "1.234", "DECIMAL(4,3)", "1.234"),
            ("DECIMAL(3,2)", "123.45", "DECIMAL(5,2)", "123.45"),
            ("DECIMAL(4,0)", "1E+5", "DECIMAL(6,0)", "1E+5"),
            ("DECIMAL(3,1)", "-1.23E-5", "DECIMAL(7,7)", "-1.23E-5"),
            ("decimal(5, 2)", "0.00", "DECIMAL(5,2)", "0.00"),
            ("NUMERIC(1)", "0", "DECIMAL(1,0)", "0"),
            ("VARIANT", "{}", "STRING", "{}"),
            ("GEOMETRY(4326)", "srid=4326;POINT(1 2)", "STRING", "POINT(1 2)"),
            ("GEOGRAPHY", "POINT(1 2)", "STRING", "POINT(1 2)"),
        ];
        for (sql_type, value, expected_type, expected) in table {
            let expected = literal(expected_type, Some(expected.to_owned()));
            assert_eq!(check(sql_type, Some(value)).unwrap(), expected, "{sql_type} {value}");
        }
    }

    #[test]
    fn null_keeps_its_type() {
        for (sql_type, expected) in [
            ("INT", "INT"),
            ("VOID", "VOID"),
            ("DECIMAL(5,2)", "DECIMAL(5,2)"),
            ("BINARY", "BINARY"),
            ("VARCHAR(3)", "STRING"),
            ("INTERVAL YEAR", "INTERVAL YEAR"),
            ("GEOMETRY(1)", "STRING"),
        ] {
            assert_eq!(check(sql_type, None).unwrap(), literal(expected, None), "{sql_type}");
        }
        assert_eq!(check("VOID", Some("x")).unwrap().value, None);
    }

    #[test]
    fn what_is_no_value_of_its_type_is_refused_and_not_repeated() {
        let table: [(&str, &[&str]); 14] = [
            ("BOOLEAN", &["yes", "", " true"]),
            ("TINYINT", &["128", "1.0", " 1", "", "1e2", "99999999999999999999"]),
            ("DOUBLE", &["abc", "1e400", "", "1_0"]),
            ("FLOAT", &["1e39"]),
            ("DATE", &["2023-02-29", "10000-01-01", "20240229", "24-01-01", "2024-02-29 00:00:00", "", "0000-01-01"]),
            ("TIMESTAMP", &["2024-02-28", "2024-02-28 12:34", "2024-02-29 25:00:00", "2024-02-29 12:34:60", "x"]),
            (
                "TIMESTAMP",
                &[
                    "0001-01-01 00:00:00+05:00",
                    "2024-02-29 12:34:56 UTC",
                    "2024-02-29 12:34:56+5",
                    "2024-02-29 12:34:56é",
                ],
            ),
            ("DECIMAL(5,2)", &["abc", "", "NaN", "1e", ".", "1e9999999999", "1E40", "--1"]),
            ("BINARY", &["0", "0g", "é"]),
            ("VARCHAR(3)", &["four"]),
            ("GEOMETRY(4326)", &["SRID=3857;POINT(1 2)", "", "SRID=x;POINT(1 2)", "SRID=4326;", "SRID=4326"]),
            ("DECIMAL(38,38)", &["1.5"]),
            ("DECIMAL(38,0)", &["111111111111111111111111111111111111111"]),
            ("INT", &["99999999999"]),
        ];
        for (sql_type, values) in table {
            for value in values {
                let error = check(sql_type, Some(value)).unwrap_err();
                assert!(value.len() < 4 || !error.contains(value), "{sql_type} {value}: {error}");
            }
        }
    }

    #[test]
    fn types_that_no_parameter_has_are_refused() {
        for sql_type in [
            "",
            "foo",
            "TIME",
            "DECIMAL",
            "DECIMAL(39,0)",
            "DECIMAL(2,3)",
            "DECIMAL(5,-2)",
            "DECIMAL(0,0)",
            "DECIMAL(x)",
            "DECIMAL(5,2",
            "VARCHAR(0)",
            "INT(5)",
            "ARRAY<INT>",
            "MAP",
            "STRUCT<a: INT>",
            "GEOMETRY(ANY)",
            "INTERVAL WEEK",
            "INTERVAL SECOND TO DAY",
            "INTERVAL YEAR TO DAY",
            "INTERVAL DAY(2)",
        ] {
            assert!(check(sql_type, Some("1")).is_err(), "{sql_type}");
        }
    }
}
