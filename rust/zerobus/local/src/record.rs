//! Records decoded against their plan, and checked against the table.

use prost_types::field_descriptor_proto::Type;
use serde::de::IgnoredAny;

use crate::plan::{MessagePlan, Scalar, ValuePlan};
use crate::uc_type::UcType;

/// The first and the last day of the years 1 to 9999, from 1970-01-01.
const DAYS: (i64, i64) = (-719_162, 2_932_896);
const DAY_MICROSECONDS: i64 = 86_400_000_000;

/// A value of a row, within the bytes of its record.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value<'r> {
    Boolean(bool),
    Integer(i64),
    Float(f32),
    Double(f64),
    /// Strings, decimals, JSON.
    Text(&'r str),
    Bytes(&'r [u8]),
    /// An element that is missing is null, which Protobuf does not know.
    List(Vec<Option<Self>>),
    /// A value that is missing is null.
    Map(Vec<(Self, Option<Self>)>),
    Struct(Row<'r>),
}

/// The values of a row or a struct in the order of its columns.
pub(crate) type Row<'r> = Vec<Option<Value<'r>>>;

/// Why a record is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadRecord {
    pub(crate) reason: String,
    /// Whether it is no record of its descriptor at all, rather than one that the table does not take.
    pub(crate) malformed: bool,
}

type Outcome<T> = Result<T, BadRecord>;

fn malformed<T>(reason: impl Into<String>) -> Outcome<T> {
    Err(BadRecord { reason: reason.into(), malformed: true })
}

fn unfit<T>(reason: impl Into<String>) -> Outcome<T> {
    Err(BadRecord { reason: reason.into(), malformed: false })
}

impl MessagePlan {
    /// Reads a record and checks what the table demands of it.
    pub(crate) fn row<'r>(&self, record: &'r [u8]) -> Outcome<Row<'r>> {
        let mut row = vec![None; self.columns.len()];
        self.read(record, &mut row)?;
        self.complete(&mut row)?;
        Ok(row)
    }

    fn read<'r>(&self, mut input: &'r [u8], row: &mut Row<'r>) -> Outcome<()> {
        while !input.is_empty() {
            let (number, wire_type) = tag(&mut input)?;
            let Some(field) = self.field(number) else {
                return malformed(format!("field {number} is not in the descriptor"));
            };
            let Some((slot, column)) = row.get_mut(field.column).zip(self.columns.get(field.column)) else { continue };
            field.value.read(&mut input, wire_type, slot).map_err(|bad| bad.within(&column.name))?;
        }
        Ok(())
    }

    /// Checks that nothing is missing; a list that must be there and has no elements cannot be told from one that is not.
    fn complete(&self, row: &mut Row<'_>) -> Outcome<()> {
        for ((value, column), required) in row.iter_mut().zip(&self.columns).zip(&self.required) {
            match (&mut *value, &column.kind) {
                (None, UcType::Array(_)) if *required => *value = Some(Value::List(Vec::new())),
                (None, UcType::Map(..)) if *required => *value = Some(Value::Map(Vec::new())),
                (None, _) if *required => return unfit(format!("column `{}` is required and missing", column.name)),
                _ => {}
            }
        }
        for field in &self.fields {
            let column = self.columns.get(field.column).map_or("", |column| &column.name);
            match (&field.value, row.get_mut(field.column)) {
                (ValuePlan::Message(inner), Some(Some(Value::Struct(row)))) => {
                    inner.complete(row).map_err(|bad| bad.within(column))?;
                }
                (ValuePlan::List(element), Some(Some(Value::List(elements)))) => {
                    let ValuePlan::Message(inner) = &**element else { continue };
                    for element in elements {
                        let Some(Value::Struct(row)) = element else { continue };
                        inner.complete(row).map_err(|bad| bad.within(column))?;
                    }
                }
                (ValuePlan::Map(_, value), Some(Some(Value::Map(entries)))) => {
                    let ValuePlan::Message(inner) = &**value else { continue };
                    for (_, value) in entries {
                        let Some(Value::Struct(row)) = value else { continue };
                        inner.complete(row).map_err(|bad| bad.within(column))?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl BadRecord {
    pub(crate) fn within(mut self, column: &str) -> Self {
        self.reason = match self.reason.strip_prefix("column `") {
            Some(inner) => format!("column `{column}.{inner}"),
            None => format!("column `{column}`: {}", self.reason),
        };
        self
    }
}

impl ValuePlan {
    /// Reads one field into the value it belongs to.
    fn read<'r>(&self, input: &mut &'r [u8], wire_type: u8, slot: &mut Option<Value<'r>>) -> Outcome<()> {
        match self {
            Self::Scalar(scalar) => *slot = Some(scalar.read(input, wire_type)?),
            Self::Message(plan) => {
                let bytes = delimited(input, wire_type)?;
                // Messages that come in pieces are merged.
                let mut row = match slot.take() {
                    Some(Value::Struct(row)) => row,
                    _ => vec![None; plan.columns.len()],
                };
                plan.read(bytes, &mut row)?;
                *slot = Some(Value::Struct(row));
            }
            Self::List(element) => {
                let Value::List(elements) = slot.get_or_insert_with(|| Value::List(Vec::new())) else { return Ok(()) };
                if let Self::Scalar(scalar) = &**element
                    && wire_type == DELIMITED
                    && scalar.wire_type() != DELIMITED
                {
                    let mut packed = delimited(input, wire_type)?;
                    while !packed.is_empty() {
                        elements.push(Some(scalar.read(&mut packed, scalar.wire_type())?));
                    }
                    return Ok(());
                }
                let mut value = None;
                element.read(input, wire_type, &mut value)?;
                elements.push(value);
            }
            Self::Map(key, value) => {
                let Value::Map(entries) = slot.get_or_insert_with(|| Value::Map(Vec::new())) else { return Ok(()) };
                let mut entry = delimited(input, wire_type)?;
                let (mut this_key, mut this_value) = (None, None);
                while !entry.is_empty() {
                    match tag(&mut entry)? {
                        (1, wire_type) => this_key = Some(key.read(&mut entry, wire_type)?),
                        (2, wire_type) => value.read(&mut entry, wire_type, &mut this_value)?,
                        (number, _) => return malformed(format!("an entry of a map has field {number}")),
                    }
                }
                entries.push((this_key.unwrap_or_else(|| key.default()), this_value));
            }
        }
        Ok(())
    }
}

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const DELIMITED: u8 = 2;
const FIXED32: u8 = 5;

impl Scalar {
    fn wire_type(&self) -> u8 {
        match self.wire {
            Type::Double | Type::Fixed64 | Type::Sfixed64 => FIXED64,
            Type::Float | Type::Fixed32 | Type::Sfixed32 => FIXED32,
            Type::String | Type::Bytes | Type::Message | Type::Group => DELIMITED,
            _ => VARINT,
        }
    }

    /// What a key is that an entry leaves out.
    fn default<'r>(&self) -> Value<'r> {
        match self.wire {
            Type::Bool => Value::Boolean(false),
            Type::String => Value::Text(""),
            _ => Value::Integer(0),
        }
    }

    fn read<'r>(&self, input: &mut &'r [u8], wire_type: u8) -> Outcome<Value<'r>> {
        if wire_type != self.wire_type() {
            let expected = self.wire.as_str_name();
            return malformed(format!("it comes as wire type {wire_type}, which {expected} is not"));
        }
        let value = match self.wire {
            Type::Bool => match varint(input)? {
                0 => Value::Boolean(false),
                1 => Value::Boolean(true),
                other => return malformed(format!("{other} is no bool")),
            },
            Type::Int64 => Value::Integer(varint(input)?.cast_signed()),
            // Five bytes would be read as a negative number by many, and are written by none that follows the rules.
            Type::Int32 | Type::Enum => match i32::try_from(varint(input)?.cast_signed()) {
                Ok(number) => Value::Integer(number.into()),
                Err(_) => return malformed("an int32 is not within 32 bits, or not extended to 64"),
            },
            Type::Uint32 => match u32::try_from(varint(input)?) {
                Ok(number) => Value::Integer(number.into()),
                Err(_) => return malformed("a uint32 is not within 32 bits"),
            },
            Type::Uint64 => unsigned(varint(input)?)?,
            Type::Sint32 => match u32::try_from(varint(input)?) {
                Ok(number) => Value::Integer(zigzag(number.into())),
                Err(_) => return malformed("a sint32 is not within 32 bits"),
            },
            Type::Sint64 => Value::Integer(zigzag(varint(input)?)),
            Type::Fixed32 => Value::Integer(u32::from_le_bytes(fixed(input)?).into()),
            Type::Sfixed32 => Value::Integer(i32::from_le_bytes(fixed(input)?).into()),
            Type::Fixed64 => unsigned(u64::from_le_bytes(fixed(input)?))?,
            Type::Sfixed64 => Value::Integer(i64::from_le_bytes(fixed(input)?)),
            Type::Float => Value::Float(f32::from_le_bytes(fixed(input)?)),
            Type::Double => Value::Double(f64::from_le_bytes(fixed(input)?)),
            Type::String => match std::str::from_utf8(delimited(input, wire_type)?) {
                Ok(text) => Value::Text(text),
                Err(_) => return malformed("a string is not UTF-8"),
            },
            Type::Bytes => Value::Bytes(delimited(input, wire_type)?),
            Type::Message | Type::Group => return malformed("a group"),
        };
        check(&self.kind, &value)?;
        Ok(value)
    }
}

/// Checks a value against its column.
pub(crate) fn check(kind: &UcType, value: &Value<'_>) -> Outcome<()> {
    match (kind, value) {
        (UcType::Byte, Value::Integer(number)) if i8::try_from(*number).is_err() => {
            unfit(format!("{number} is no TINYINT"))
        }
        (UcType::Short, Value::Integer(number)) if i16::try_from(*number).is_err() => {
            unfit(format!("{number} is no SMALLINT"))
        }
        (UcType::Int, Value::Integer(number)) if i32::try_from(*number).is_err() => {
            unfit(format!("{number} is no INT"))
        }
        (UcType::Date, Value::Integer(days)) if !(DAYS.0..=DAYS.1).contains(days) => {
            unfit(format!("day {days} is not within the years 1 to 9999"))
        }
        (UcType::Timestamp | UcType::TimestampNtz, Value::Integer(microseconds))
            if !(DAYS.0..=DAYS.1).contains(&microseconds.div_euclid(DAY_MICROSECONDS)) =>
        {
            unfit(format!("microsecond {microseconds} is not within the years 1 to 9999"))
        }
        (UcType::Decimal { precision, scale }, Value::Text(text)) if decimal(text, *precision, *scale).is_none() => {
            unfit(format!("`{text}` is no DECIMAL({precision},{scale})"))
        }
        (UcType::Variant, Value::Text(text)) if serde_json::from_str::<IgnoredAny>(text).is_err() => {
            unfit("a VARIANT is not JSON")
        }
        _ => Ok(()),
    }
}

/// The number `text` is, in units of its scale.
pub(crate) fn decimal(text: &str, precision: u8, scale: u8) -> Option<i128> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let dangling = digits.ends_with('.') || whole.is_empty();
    let significant = whole.trim_start_matches('0').len();
    let plain = whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit());
    if dangling || !plain || fraction.len() > usize::from(scale) || significant > usize::from(precision - scale) {
        return None;
    }
    let padding = usize::from(scale) - fraction.len();
    let digits = whole.bytes().chain(fraction.bytes()).chain(std::iter::repeat_n(b'0', padding));
    let mut number = 0_i128;
    for digit in digits {
        number = number.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
    }
    Some(if negative { -number } else { number })
}

fn unsigned<'r>(number: u64) -> Outcome<Value<'r>> {
    i64::try_from(number).map_or_else(|_| unfit(format!("{number} is no BIGINT")), |number| Ok(Value::Integer(number)))
}

fn zigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

fn tag(input: &mut &[u8]) -> Outcome<(u32, u8)> {
    let tag = varint(input)?;
    match u32::try_from(tag >> 3) {
        Ok(number) if number != 0 => Ok((number, (tag & 7) as u8)),
        _ => malformed("a tag has no number"),
    }
}

fn varint(input: &mut &[u8]) -> Outcome<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let Some((byte, rest)) = input.split_first() else { return malformed("a varint is cut off") };
        *input = rest;
        if shift == 63 && *byte > 1 {
            return malformed("a varint is longer than 64 bits");
        }
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    malformed("a varint does not end")
}

fn fixed<const N: usize>(input: &mut &[u8]) -> Outcome<[u8; N]> {
    let Some((bytes, rest)) = input.split_first_chunk() else { return malformed("a number is cut off") };
    *input = rest;
    Ok(*bytes)
}

fn delimited<'r>(input: &mut &'r [u8], wire_type: u8) -> Outcome<&'r [u8]> {
    if wire_type != DELIMITED {
        return malformed(format!("it comes as wire type {wire_type} instead of length-delimited"));
    }
    let length = varint(input)?;
    let split = usize::try_from(length).ok().and_then(|length| input.split_at_checked(length));
    let Some((bytes, rest)) = split else { return malformed("a value is cut off") };
    *input = rest;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_fit_or_do_not() {
        for (text, number) in [
            ("1.5", Some(150)),
            ("-1.50", Some(-150)),
            ("0", Some(0)),
            ("007.1", Some(710)),
            ("999.99", Some(99_999)),
            ("1000", None),
            ("1.555", None),
            ("1e2", None),
            ("", None),
            ("-", None),
            (".5", None),
            ("5.", None),
            ("+1", None),
            ("1.5.2", None),
            ("１", None),
        ] {
            assert_eq!(decimal(text, 5, 2), number, "{text}");
        }
        assert_eq!(decimal(&"9".repeat(38), 38, 0), Some(10_i128.pow(38) - 1));
    }

    #[test]
    fn varints_end() {
        assert_eq!(varint(&mut &[0xff; 9].iter().copied().chain([1]).collect::<Vec<_>>()[..]), Ok(u64::MAX));
        for bytes in [&[0x80][..], &[0xff; 11], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]] {
            assert!(varint(&mut &*bytes).is_err());
        }
        assert_eq!((zigzag(1), zigzag(2), zigzag(u64::MAX)), (-1, 1, i64::MIN));
    }
}
