//! Values as text: intervals by themselves, and nested values as JSON.
//!
//! The forms are those of databricks-sql-kernel 1.3.0, measured in 2026-11, except where they lose the value: it writes
//! `null` for NaN and infinities, 1970-01-01 for times it cannot format, and leaves the reader to guess that times are in
//! UTC. Here they are `"NaN"`, `"Infinity"`, `"-Infinity"`, the time, and a `Z` where the session is not in UTC itself.

use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, DecimalType, DurationMicrosecondType, DurationMillisecondType,
    DurationNanosecondType, DurationSecondType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    IntervalDayTimeType, IntervalYearMonthType, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, LargeBinaryArray, LargeStringArray, PrimitiveArray, StringArray,
    StringViewArray,
};
use arrow_buffer::{ArrowNativeType, Buffer, NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, IntervalUnit, TimeUnit};
use base64::display::Base64Display;
use base64::prelude::BASE64_STANDARD;

use crate::error::{Error, ErrorKind};

const NANOS_PER_SECOND: i128 = 1_000_000_000;
const NANOS_PER_DAY: i128 = 86_400 * NANOS_PER_SECOND;

/// Why values have no text.
pub(crate) type Reason = String;

/// The texts of one column, gathered row by row.
#[derive(Debug)]
pub(crate) struct Texts {
    text: String,
    offsets: Vec<i32>,
    limit: usize,
}

impl Texts {
    /// Makes room for `rows` texts of `limit` bytes together, at most what Arrow's text type holds.
    ///
    /// The places of the texts count as well, for an array of nulls can have any number of rows and no bytes.
    pub(crate) fn new(rows: usize, limit: usize) -> Result<Self, Reason> {
        let limit = limit.min(i32::MAX as usize);
        if rows >= limit / size_of::<i32>() {
            return Err(format!("the texts of {rows} rows need more than {limit} bytes"));
        }
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Ok(Self { text: String::new(), offsets, limit })
    }

    /// Ends the text of a row; a row without any text is empty or null.
    pub(crate) fn end_row(&mut self) -> Result<(), Reason> {
        self.check()?;
        self.offsets.push(i32::try_from(self.text.len()).map_err(|_| self.too_large())?);
        Ok(())
    }

    /// Fails once the text is larger than allowed: a few bytes of hostile data can stand for any number of values.
    pub(crate) fn check(&self) -> Result<(), Reason> {
        if self.text.len() <= self.limit { Ok(()) } else { Err(self.too_large()) }
    }

    fn too_large(&self) -> Reason {
        format!("the text of a batch is larger than {} bytes", self.limit)
    }

    pub(crate) fn finish(self, nulls: Option<NullBuffer>) -> Result<ArrayRef, Reason> {
        let offsets = OffsetBuffer::new(self.offsets.into());
        StringArray::try_new(offsets, Buffer::from(self.text.into_bytes()), nulls)
            .map(|texts| Arc::new(texts) as ArrayRef)
            .map_err(|error| error.to_string())
    }
}

impl Write for Texts {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.text.push_str(text);
        Ok(())
    }
}

/// Renders an array of intervals, of any type that they travel as.
pub(crate) fn intervals(array: &dyn Array, limit: usize) -> Result<ArrayRef, Reason> {
    let values = Values::of(array)?;
    texts(array, limit, |row, texts| values.write_plain(row, texts))
}

/// Renders an array of nested values as compact JSON.
pub(crate) fn json(array: &dyn Array, limit: usize) -> Result<ArrayRef, Reason> {
    let values = Values::of(array)?;
    texts(array, limit, |row, texts| values.write_json(row, texts))
}

/// Renders nested values as the JSON that `from_json` reads back, for parameters; NULL stays NULL.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] for Arrow types that no value of the server has, and for more than 1 GiB of text.
pub fn json_texts(array: &dyn Array) -> crate::error::Result<ArrayRef> {
    json(array, 1 << 30).map_err(|why| Error::new(ErrorKind::InvalidArgument, why))
}

/// Returns as many null texts.
pub(crate) fn nulls(rows: usize, limit: usize) -> Result<ArrayRef, Reason> {
    let mut texts = Texts::new(rows, limit)?;
    for _ in 0..rows {
        texts.end_row()?;
    }
    texts.finish(Some(NullBuffer::new_null(rows)))
}

/// Tells whether values of this Arrow type have a text form.
pub(crate) fn check(data_type: &DataType) -> Result<(), Reason> {
    Values::of(&arrow_array::new_empty_array(data_type)).map(drop)
}

fn texts(
    array: &dyn Array,
    limit: usize,
    write: impl Fn(usize, &mut Texts) -> Result<(), Reason>,
) -> Result<ArrayRef, Reason> {
    let nulls = array.logical_nulls();
    let mut texts = Texts::new(array.len(), limit)?;
    for row in 0..array.len() {
        if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
            write(row, &mut texts)?;
        }
        texts.end_row()?;
    }
    texts.finish(nulls)
}

/// An array with its type resolved, so that values need no look at it any more.
enum Values<'a> {
    Null,
    Boolean(&'a BooleanArray),
    Int8(&'a PrimitiveArray<Int8Type>),
    Int16(&'a PrimitiveArray<Int16Type>),
    Int32(&'a PrimitiveArray<Int32Type>),
    Int64(&'a PrimitiveArray<Int64Type>),
    Float32(&'a PrimitiveArray<Float32Type>),
    Float64(&'a PrimitiveArray<Float64Type>),
    Decimal(&'a PrimitiveArray<Decimal128Type>),
    Text(&'a StringArray),
    LargeText(&'a LargeStringArray),
    TextView(&'a StringViewArray),
    Binary(&'a BinaryArray),
    LargeBinary(&'a LargeBinaryArray),
    Date(&'a PrimitiveArray<Date32Type>),
    /// Counts of units since 1970-01-01, nanoseconds of a unit, and whether a `Z` must tell the zone.
    Timestamp(&'a [i64], i128, bool),
    Duration(&'a [i64], i128),
    YearMonth(&'a PrimitiveArray<IntervalYearMonthType>),
    DayTime(&'a PrimitiveArray<IntervalDayTimeType>),
    List(&'a OffsetBuffer<i32>, Box<Nullable<'a>>),
    LargeList(&'a OffsetBuffer<i64>, Box<Nullable<'a>>),
    Struct(Vec<(&'a str, Nullable<'a>)>),
    Map(&'a OffsetBuffer<i32>, Box<Self>, Box<Nullable<'a>>),
}

/// Values with the rows in which there is none.
struct Nullable<'a> {
    nulls: Option<NullBuffer>,
    values: Values<'a>,
}

impl<'a> Nullable<'a> {
    fn of(array: &'a dyn Array) -> Result<Self, Reason> {
        Ok(Self { nulls: array.logical_nulls(), values: Values::of(array)? })
    }

    fn write_json(&self, row: usize, texts: &mut Texts) -> Result<(), Reason> {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            texts.text.push_str("null");
            return Ok(());
        }
        self.values.write_json(row, texts)
    }

    fn write_list(&self, span: Range<usize>, texts: &mut Texts) -> Result<(), Reason> {
        texts.text.push('[');
        for item in span.clone() {
            separate(item == span.start, texts)?;
            self.write_json(item, texts)?;
        }
        texts.text.push(']');
        Ok(())
    }
}

impl<'a> Values<'a> {
    fn of(array: &'a dyn Array) -> Result<Self, Reason> {
        fn counts<T: ArrowPrimitiveType<Native = i64>>(array: &dyn Array) -> &[i64] {
            array.as_primitive::<T>().values()
        }
        Ok(match array.data_type() {
            DataType::Null => Self::Null,
            DataType::Boolean => Self::Boolean(array.as_boolean()),
            DataType::Int8 => Self::Int8(array.as_primitive()),
            DataType::Int16 => Self::Int16(array.as_primitive()),
            DataType::Int32 => Self::Int32(array.as_primitive()),
            DataType::Int64 => Self::Int64(array.as_primitive()),
            DataType::Float32 => Self::Float32(array.as_primitive()),
            DataType::Float64 => Self::Float64(array.as_primitive()),
            DataType::Decimal128(..) => Self::Decimal(array.as_primitive()),
            DataType::Utf8 => Self::Text(array.as_string()),
            DataType::LargeUtf8 => Self::LargeText(array.as_string()),
            DataType::Utf8View => Self::TextView(array.as_string_view()),
            DataType::Binary => Self::Binary(array.as_binary()),
            DataType::LargeBinary => Self::LargeBinary(array.as_binary()),
            DataType::Date32 => Self::Date(array.as_primitive()),
            DataType::Timestamp(unit, zone) => {
                let needs_z = zone.as_ref().is_some_and(|zone| !is_utc(zone));
                let counts = match unit {
                    TimeUnit::Second => counts::<TimestampSecondType>(array),
                    TimeUnit::Millisecond => counts::<TimestampMillisecondType>(array),
                    TimeUnit::Microsecond => counts::<TimestampMicrosecondType>(array),
                    TimeUnit::Nanosecond => counts::<TimestampNanosecondType>(array),
                };
                Self::Timestamp(counts, nanos(*unit), needs_z)
            }
            DataType::Duration(unit) => {
                let counts = match unit {
                    TimeUnit::Second => counts::<DurationSecondType>(array),
                    TimeUnit::Millisecond => counts::<DurationMillisecondType>(array),
                    TimeUnit::Microsecond => counts::<DurationMicrosecondType>(array),
                    TimeUnit::Nanosecond => counts::<DurationNanosecondType>(array),
                };
                Self::Duration(counts, nanos(*unit))
            }
            DataType::Interval(IntervalUnit::YearMonth) => Self::YearMonth(array.as_primitive()),
            DataType::Interval(IntervalUnit::DayTime) => Self::DayTime(array.as_primitive()),
            DataType::List(_) => {
                let lists = array.as_list::<i32>();
                Self::List(lists.offsets(), Box::new(Nullable::of(lists.values())?))
            }
            DataType::LargeList(_) => {
                let lists = array.as_list::<i64>();
                Self::LargeList(lists.offsets(), Box::new(Nullable::of(lists.values())?))
            }
            DataType::Struct(fields) => {
                let children = fields.iter().zip(array.as_struct().columns());
                let children = children.map(|(field, child)| Ok((field.name().as_str(), Nullable::of(child)?)));
                Self::Struct(children.collect::<Result<_, Reason>>()?)
            }
            DataType::Map(..) => {
                let maps = array.as_map();
                let (keys, values) = (Values::of(maps.keys())?, Nullable::of(maps.values())?);
                Self::Map(maps.offsets(), Box::new(keys), Box::new(values))
            }
            other => return Err(format!("Arrow type {other} has no text form")),
        })
    }

    /// Writes a value that is not null as JSON.
    fn write_json(&self, row: usize, texts: &mut Texts) -> Result<(), Reason> {
        match self {
            Self::List(offsets, items) => items.write_list(span(offsets, row), texts)?,
            Self::LargeList(offsets, items) => items.write_list(span(offsets, row), texts)?,
            Self::Struct(fields) => {
                texts.text.push('{');
                for (position, (name, values)) in fields.iter().enumerate() {
                    separate(position == 0, texts)?;
                    write_quoted(name, &mut texts.text);
                    texts.text.push(':');
                    values.write_json(row, texts)?;
                }
                texts.text.push('}');
            }
            Self::Map(offsets, keys, values) => {
                let entries = span(offsets, row);
                texts.text.push('{');
                for entry in entries.clone() {
                    separate(entry == entries.start, texts)?;
                    keys.write_key(entry, texts)?;
                    texts.text.push(':');
                    values.write_json(entry, texts)?;
                }
                texts.text.push('}');
            }
            Self::Text(_) | Self::LargeText(_) | Self::TextView(_) => write_quoted(self.text(row), &mut texts.text),
            Self::Float32(values) if !values.value(row).is_finite() => self.write_in_quotes(row, texts)?,
            Self::Float64(values) if !values.value(row).is_finite() => self.write_in_quotes(row, texts)?,
            Self::Binary(_)
            | Self::LargeBinary(_)
            | Self::Date(_)
            | Self::Timestamp(..)
            | Self::Duration(..)
            | Self::YearMonth(_)
            | Self::DayTime(_) => self.write_in_quotes(row, texts)?,
            _ => self.write_plain(row, texts)?,
        }
        Ok(())
    }

    /// Writes a value as the name of a member, which JSON wants to be a string.
    fn write_key(&self, row: usize, texts: &mut Texts) -> Result<(), Reason> {
        match self {
            Self::Text(_) | Self::LargeText(_) | Self::TextView(_) => write_quoted(self.text(row), &mut texts.text),
            Self::List(..) | Self::LargeList(..) | Self::Struct(_) | Self::Map(..) => {
                let mut key = Texts::new(1, texts.limit)?;
                self.write_json(row, &mut key)?;
                write_quoted(&key.text, &mut texts.text);
            }
            _ => self.write_in_quotes(row, texts)?,
        }
        Ok(())
    }

    /// Writes a value whose text has nothing to escape.
    fn write_in_quotes(&self, row: usize, texts: &mut Texts) -> Result<(), Reason> {
        texts.text.push('"');
        self.write_plain(row, texts)?;
        texts.text.push('"');
        Ok(())
    }

    fn text(&self, row: usize) -> &'a str {
        match self {
            Self::Text(values) => values.value(row),
            Self::LargeText(values) => values.value(row),
            Self::TextView(values) => values.value(row),
            _ => "",
        }
    }

    /// Writes a value that is not null as text: nested ones as JSON, the others without quotes.
    fn write_plain(&self, row: usize, texts: &mut Texts) -> Result<(), Reason> {
        let out = &mut texts.text;
        // Writing to a String cannot fail.
        let _ = match self {
            Self::Null => out.write_str("null"),
            Self::Boolean(values) => write!(out, "{}", values.value(row)),
            Self::Int8(values) => write!(out, "{}", values.value(row)),
            Self::Int16(values) => write!(out, "{}", values.value(row)),
            Self::Int32(values) => write!(out, "{}", values.value(row)),
            Self::Int64(values) => write!(out, "{}", values.value(row)),
            // As the double it is: what a JSON reader makes of fewer digits is another number.
            Self::Float32(values) => write_double(f64::from(values.value(row)), out),
            Self::Float64(values) => write_double(values.value(row), out),
            Self::Decimal(values) => {
                out.write_str(&Decimal128Type::format_decimal(values.value(row), values.precision(), values.scale()))
            }
            Self::Text(_) | Self::LargeText(_) | Self::TextView(_) => out.write_str(self.text(row)),
            Self::Binary(values) => write!(out, "{}", Base64Display::new(values.value(row), &BASE64_STANDARD)),
            Self::LargeBinary(values) => write!(out, "{}", Base64Display::new(values.value(row), &BASE64_STANDARD)),
            Self::Date(values) => write_date(i64::from(values.value(row)), out),
            Self::Timestamp(counts, nanos, needs_z) => {
                let count = counts.get(row).copied().unwrap_or_default();
                write_time(i128::from(count) * nanos, *needs_z, out)
            }
            Self::Duration(counts, nanos) => {
                let count = counts.get(row).copied().unwrap_or_default();
                write_day_time(i128::from(count) * nanos, out)
            }
            Self::YearMonth(values) => write_year_month(values.value(row), out),
            Self::DayTime(values) => {
                let value = values.value(row);
                write_day_time(
                    i128::from(value.days) * NANOS_PER_DAY
                        + i128::from(value.milliseconds) * nanos(TimeUnit::Millisecond),
                    out,
                )
            }
            Self::List(..) | Self::LargeList(..) | Self::Struct(_) | Self::Map(..) => {
                return self.write_json(row, texts);
            }
        };
        Ok(())
    }
}

/// Returns where the values of a list or map stand.
fn span<O: ArrowNativeType>(offsets: &OffsetBuffer<O>, row: usize) -> Range<usize> {
    let edge = |at: usize| offsets.get(at).map_or(0, |offset| offset.as_usize());
    edge(row)..edge(row + 1)
}

fn separate(is_first: bool, texts: &mut Texts) -> Result<(), Reason> {
    if !is_first {
        texts.text.push(',');
    }
    texts.check()
}

fn nanos(unit: TimeUnit) -> i128 {
    match unit {
        TimeUnit::Second => NANOS_PER_SECOND,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

/// Tells whether a zone's name means UTC.
fn is_utc(zone: &str) -> bool {
    const NAMES: [&str; 9] = ["UTC", "Etc/UTC", "Z", "GMT", "Etc/GMT", "+00:00", "Etc/UCT", "Zulu", "Etc/Zulu"];
    NAMES.iter().any(|name| zone.eq_ignore_ascii_case(name))
}

/// Writes text as JSON does, with short escapes where there are some.
fn write_quoted(text: &str, out: &mut String) {
    out.push('"');
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        let (plain, special) = rest.split_at(at);
        out.push_str(plain);
        let mut characters = special.chars();
        match characters.next() {
            Some('\n') => out.push_str("\\n"),
            Some('\r') => out.push_str("\\r"),
            Some('\t') => out.push_str("\\t"),
            Some('\u{8}') => out.push_str("\\b"),
            Some('\u{c}') => out.push_str("\\f"),
            Some(character @ ('"' | '\\')) => out.extend(['\\', character]),
            // Writing to a String cannot fail.
            Some(character) => drop(write!(out, "\\u{:04x}", u32::from(character))),
            None => {}
        }
        rest = characters.as_str();
    }
    out.push_str(rest);
    out.push('"');
}

/// Writes the fewest digits that mean the number: plain between 0.001 and ten million, else with an exponent.
fn write_double(value: f64, out: &mut String) -> std::fmt::Result {
    if value.is_nan() {
        return out.write_str("NaN");
    }
    if value.is_infinite() {
        return out.write_str(if value > 0.0 { "Infinity" } else { "-Infinity" });
    }
    if value == 0.0 || (1e-3..1e7).contains(&value.abs()) {
        return write!(out, "{value:?}");
    }
    let text = format!("{value:E}");
    match text.split_once('E') {
        Some((digits, exponent)) if !digits.contains('.') => write!(out, "{digits}.0E{exponent}"),
        _ => out.write_str(&text),
    }
}

/// Writes a day counted from 1970-01-01, such as `2024-02-29`; years outside 0000 to 9999 have a sign.
///
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms" (`civil_from_days`).
fn write_date(days: i64, out: &mut String) -> std::fmt::Result {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    match year {
        0..=9999 => write!(out, "{year:04}-{month:02}-{day:02}"),
        _ => write!(out, "{year:+05}-{month:02}-{day:02}"),
    }
}

/// Writes nanoseconds since 1970-01-01, with as many fraction digits as the value needs: none, 3, 6 or 9.
fn write_time(nanos: i128, needs_z: bool, out: &mut String) -> std::fmt::Result {
    let (days, rest) = (nanos.div_euclid(NANOS_PER_DAY), nanos.rem_euclid(NANOS_PER_DAY));
    write_date(i64::try_from(days).map_err(|_| std::fmt::Error)?, out)?;
    let (seconds, fraction) = (rest / NANOS_PER_SECOND, rest % NANOS_PER_SECOND);
    write!(out, " {:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)?;
    match fraction {
        0 => {}
        _ if fraction % 1_000_000 == 0 => write!(out, ".{:03}", fraction / 1_000_000)?,
        _ if fraction % 1_000 == 0 => write!(out, ".{:06}", fraction / 1_000)?,
        _ => write!(out, ".{fraction:09}")?,
    }
    if needs_z { out.write_char('Z') } else { Ok(()) }
}

/// Writes months as the platform does: `2-6`, `-0-1`.
fn write_year_month(months: i32, out: &mut String) -> std::fmt::Result {
    let sign = if months < 0 { "-" } else { "" };
    let months = months.unsigned_abs();
    write!(out, "{sign}{}-{}", months / 12, months % 12)
}

/// Writes a span as the platform does: `3 12:30:15.000000000`.
fn write_day_time(nanos: i128, out: &mut String) -> std::fmt::Result {
    let sign = if nanos < 0 { "-" } else { "" };
    let (seconds, fraction) = (nanos.abs() / NANOS_PER_SECOND, nanos.abs() % NANOS_PER_SECOND);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    write!(out, "{sign}{days} {hours:02}:{minutes:02}:{:02}.{fraction:09}", seconds % 60)
}

#[cfg(test)]
mod tests {
    use arrow_array::builder::{Int32Builder, MapBuilder, StringBuilder};
    use arrow_array::types::{Float64Type, Int32Type};
    use arrow_array::{
        BinaryArray, Date32Array, Decimal128Array, DurationMicrosecondArray, Float32Array, Float64Array, Int8Array,
        IntervalDayTimeArray, IntervalYearMonthArray, ListArray, NullArray, StructArray, TimestampMicrosecondArray,
        TimestampNanosecondArray, TimestampSecondArray,
    };
    use arrow_buffer::IntervalDayTime;
    use arrow_schema::Field;

    use super::*;

    const MAX: usize = 1 << 20;

    fn list(values: impl Array + 'static) -> ListArray {
        let field = Arc::new(Field::new("element", values.data_type().clone(), true));
        let offsets = OffsetBuffer::new(vec![0, i32::try_from(values.len()).unwrap()].into());
        ListArray::new(field, offsets, Arc::new(values), None)
    }

    fn rows(texts: &ArrayRef) -> Vec<Option<&str>> {
        texts.as_string::<i32>().iter().collect()
    }

    fn json_of(array: &dyn Array) -> String {
        rows(&json(array, MAX).unwrap())
            .into_iter()
            .map(|row| row.unwrap_or("NULL").to_owned())
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn every_type_has_its_json() {
        let utc = |values: Vec<i64>| TimestampMicrosecondArray::from(values).with_timezone("Etc/UTC");
        for (array, expected) in [
            (list(BooleanArray::from(vec![Some(true), Some(false), None])), "[true,false,null]"),
            (list(Int8Array::from(vec![1, -128])), "[1,-128]"),
            (
                list(Float32Array::from(vec![1.5, 0.1, f32::NAN, -0.0, 1e30])),
                r#"[1.5,0.10000000149011612,"NaN",-0.0,1.0000000150474662E30]"#,
            ),
            (
                list(Float64Array::from(vec![
                    0.0,
                    0.1,
                    f64::NEG_INFINITY,
                    1e7,
                    9_999_999.5,
                    1e-3,
                    1e-5,
                    5e-324,
                    f64::MAX,
                ])),
                r#"[0.0,0.1,"-Infinity",1.0E7,9999999.5,0.001,1.0E-5,5.0E-324,1.7976931348623157E308]"#,
            ),
            (
                list(Decimal128Array::from(vec![120, -5, 0]).with_precision_and_scale(10, 2).unwrap()),
                "[1.20,-0.05,0.00]",
            ),
            (
                list(StringArray::from(vec!["", "a\"b\\c/", "\n\r\t\u{8}\u{c}\0\u{1f}\u{7f}", "é€🦭\u{2028}"])),
                concat!(r#"["","a\"b\\c/","\n\r\t\b\f\u0000\u001f"#, "\u{7f}\",\"é€🦭\u{2028}\"]"),
            ),
            (list(BinaryArray::from_vec(vec![b"", b"\x00\xff"])), r#"["","AP8="]"#),
            (
                list(Date32Array::from(vec![19_782, -719_162, 2_932_896, -1, 3_000_000, -800_000, i32::MAX, i32::MIN])),
                r#"["2024-02-29","0001-01-01","9999-12-31","1969-12-31","+10183-09-21","-0221-09-04","+5881580-07-11","-5877641-06-23"]"#,
            ),
            (
                list(utc(vec![0, -1, 1_709_210_096_789_000, 253_402_300_799_999_999, i64::MAX, i64::MIN])),
                r#"["1970-01-01 00:00:00","1969-12-31 23:59:59.999999","2024-02-29 12:34:56.789","9999-12-31 23:59:59.999999","+294247-01-10 04:00:54.775807","-290308-12-21 19:59:05.224192"]"#,
            ),
            (list(TimestampMicrosecondArray::from(vec![500_000])), r#"["1970-01-01 00:00:00.500"]"#),
            (list(TimestampSecondArray::from(vec![i64::MAX / 1_000])), r#"["+292278994-08-17 07:12:55"]"#),
            (list(TimestampNanosecondArray::from(vec![1])), r#"["1970-01-01 00:00:00.000000001"]"#),
            (
                list(TimestampMicrosecondArray::from(vec![1]).with_timezone("America/Los_Angeles")),
                r#"["1970-01-01 00:00:00.000001Z"]"#,
            ),
            (
                list(DurationMicrosecondArray::from(vec![0, -5_000_000, 93_784_500_000])),
                r#"["0 00:00:00.000000000","-0 00:00:05.000000000","1 02:03:04.500000000"]"#,
            ),
            (list(IntervalYearMonthArray::from(vec![30, -1])), r#"["2-6","-0-1"]"#),
            (list(NullArray::new(1)), "[null]"),
            (list(list(Int8Array::from(vec![7]))), "[[7]]"),
        ] {
            assert_eq!(json_of(&array), expected);
        }
    }

    #[test]
    fn nested_values_keep_order_names_and_nulls() {
        let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), Some(vec![]), None]);
        assert_eq!(json_of(&lists), "[1,null] [] NULL");
        assert_eq!(json_of(&lists.slice(1, 2)), "[] NULL");
        let mut maps = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
        for (key, value) in [("b", Some(1)), ("a\"", None)] {
            maps.keys().append_value(key);
            maps.values().append_option(value);
        }
        maps.append(true).unwrap();
        maps.append(true).unwrap();
        maps.append(false).unwrap();
        let maps = maps.finish();
        assert_eq!(json_of(&maps), r#"{"b":1,"a\"":null} {} NULL"#);
        assert_eq!(json_of(&maps.slice(1, 2)), "{} NULL");
        let fields = vec![
            Arc::new(Field::new("a\"b", DataType::Int32, true)),
            Arc::new(Field::new("a", lists.data_type().clone(), true)),
        ];
        let numbers = arrow_array::Int32Array::from(vec![Some(1), None, Some(3)]);
        let columns: Vec<ArrayRef> = vec![Arc::new(numbers), Arc::new(lists)];
        let nulls = Some(NullBuffer::from(vec![true, true, false]));
        let structs = StructArray::new(fields.into(), columns, nulls);
        assert_eq!(json_of(&structs), r#"{"a\"b":1,"a":[1,null]} {"a\"b":null,"a":[]} NULL"#);
        assert_eq!(json_of(&StructArray::new_empty_fields(2, None)), "{} {}");
    }

    #[test]
    fn keys_are_always_strings() {
        fn map(keys: ArrayRef) -> arrow_array::MapArray {
            let values = Arc::new(Int8Array::from(vec![1; keys.len()])) as ArrayRef;
            let fields =
                vec![Field::new("key", keys.data_type().clone(), false), Field::new("value", DataType::Int8, true)];
            let offsets = OffsetBuffer::new(vec![0, i32::try_from(keys.len()).unwrap()].into());
            let entries = StructArray::new(fields.into(), vec![keys, values], None);
            let field = Arc::new(Field::new("entries", entries.data_type().clone(), false));
            arrow_array::MapArray::new(field, offsets, entries, None, false)
        }
        let lists = ListArray::from_iter_primitive::<Float64Type, _, _>([Some(vec![Some(1.0), Some(f64::NAN)])]);
        for (keys, expected) in [
            (Arc::new(Int8Array::from(vec![1, -2])) as ArrayRef, r#"{"1":1,"-2":1}"#),
            (Arc::new(Float64Array::from(vec![1.0, f64::NAN])), r#"{"1.0":1,"NaN":1}"#),
            (Arc::new(BooleanArray::from(vec![true])), r#"{"true":1}"#),
            (Arc::new(BinaryArray::from_vec(vec![b"\xff"])), r#"{"/w==":1}"#),
            (Arc::new(Date32Array::from(vec![0])), r#"{"1970-01-01":1}"#),
            (Arc::new(IntervalYearMonthArray::from(vec![30])), r#"{"2-6":1}"#),
            (Arc::new(StringArray::from(vec!["\"\n"])), r#"{"\"\n":1}"#),
            (Arc::new(lists), r#"{"[1.0,\"NaN\"]":1}"#),
        ] {
            assert_eq!(json_of(&map(keys)), expected);
        }
    }

    #[test]
    fn interval_texts() {
        let months = IntervalYearMonthArray::from(vec![Some(14), None, Some(-25), Some(i32::MAX), Some(i32::MIN)]);
        let texts = intervals(&months, MAX).unwrap();
        assert_eq!(rows(&texts), [Some("1-2"), None, Some("-2-1"), Some("178956970-7"), Some("-178956970-8")]);
        let durations =
            DurationMicrosecondArray::from(vec![Some(-86_405_000_000), None, Some(1), Some(i64::MAX), Some(i64::MIN)]);
        let expected = [
            Some("-1 00:00:05.000000000"),
            None,
            Some("0 00:00:00.000001000"),
            Some("106751991 04:00:54.775807000"),
            Some("-106751991 04:00:54.775808000"),
        ];
        assert_eq!(rows(&intervals(&durations, MAX).unwrap()), expected);
        assert_eq!(rows(&intervals(&durations.slice(1, 2), MAX).unwrap()), expected[1..3]);
        let day_times = IntervalDayTimeArray::from(vec![IntervalDayTime::new(-1, -5_000)]);
        assert_eq!(rows(&intervals(&day_times, MAX).unwrap()), [Some("-1 00:00:05.000000000")]);
    }

    #[test]
    fn texts_keep_to_their_limit() {
        let million_nulls = list(NullArray::new(1_000_000));
        assert!(json(&million_nulls, 1_000).unwrap_err().contains("larger than 1000 bytes"));
        assert_eq!(rows(&json(&list(NullArray::new(3)), 16).unwrap()), [Some("[null,null,null]")]);
        let endless = StructArray::new_empty_fields(usize::MAX / 2, None);
        assert!(json(&endless, usize::MAX).unwrap_err().contains("rows need more than"));
        assert!(nulls(usize::MAX, usize::MAX).is_err());
        assert_eq!(rows(&nulls(2, MAX).unwrap()), [None, None]);
        assert!(json(&list(NullArray::new(3)), 15).is_err());
    }

    #[test]
    fn types_without_a_text_are_refused() {
        for data_type in [DataType::UInt8, DataType::Interval(IntervalUnit::MonthDayNano), DataType::Float16] {
            assert!(check(&data_type).unwrap_err().contains("no text form"), "{data_type}");
            let nested = DataType::List(Arc::new(Field::new("element", data_type, true)));
            assert!(check(&nested).is_err(), "{nested}");
        }
    }
}
