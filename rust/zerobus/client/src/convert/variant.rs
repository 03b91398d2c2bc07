//! Values of the Parquet type VARIANT as JSON.
//!
//! Source: Parquet format, "Variant Binary Encoding".

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::decimal;

/// Arrays and objects in one another.
const MAX_DEPTH: usize = 128;
pub(super) const TOO_LONG: &str = "a variant is too long for a record";
const MICROS: i64 = 1_000_000;
const DAY: i64 = 86_400;

/// Writes a value as JSON behind `text`, which is left as it was where the value is malformed or gets longer than `limit`.
pub(super) fn write_json(metadata: &[u8], value: &[u8], text: &mut String, limit: usize) -> Result<(), &'static str> {
    let start = text.len();
    let written = match Metadata::read(metadata) {
        Some(metadata) => json(metadata, value, text, start.saturating_add(limit), MAX_DEPTH),
        None => None,
    };
    if written.is_some() {
        return Ok(());
    }
    let long = text.len() - start > limit;
    text.truncate(start);
    Err(if long { TOO_LONG } else { "a variant is malformed" })
}

/// The names of the fields of objects.
#[derive(Clone, Copy)]
struct Metadata<'a> {
    count: usize,
    width: usize,
    offsets: &'a [u8],
    names: &'a [u8],
}

impl<'a> Metadata<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let header = *bytes.first()?;
        if header & 0x0f != 1 {
            return None;
        }
        let width = usize::from(header >> 6) + 1;
        let count = uint(bytes, 1, width)?;
        let (offsets, names) = bytes.get(1 + width..)?.split_at_checked(count.checked_add(1)?.checked_mul(width)?)?;
        Some(Self { count, width, offsets, names })
    }

    fn name(self, id: usize) -> Option<&'a str> {
        let at = |id: usize| uint(self.offsets, id * self.width, self.width);
        let range = (id < self.count).then(|| Some(at(id)?..at(id + 1)?))??;
        std::str::from_utf8(self.names.get(range)?).ok()
    }
}

/// The `width` bytes at `at`, the lowest first.
fn uint(bytes: &[u8], at: usize, width: usize) -> Option<usize> {
    let bytes = bytes.get(at..at.checked_add(width)?)?;
    Some(bytes.iter().rev().fold(0, |number, byte| (number << 8) | usize::from(*byte)))
}

fn bytes<const N: usize>(value: &[u8], at: usize) -> Option<[u8; N]> {
    value.get(at..)?.first_chunk().copied()
}

fn json(metadata: Metadata<'_>, value: &[u8], text: &mut String, end: usize, depth: usize) -> Option<()> {
    if text.len() > end {
        return None;
    }
    let first = *value.first()?;
    let header = first >> 2;
    match first & 3 {
        0 => return primitive(header, value, text, end),
        1 => string(value.get(1..1 + usize::from(header))?, text, end)?,
        2 => {
            let (width, id_width) = (usize::from(header & 3) + 1, usize::from(header >> 2 & 3) + 1);
            let elements = Elements::read(value, header & 0x10 != 0, id_width, width)?;
            text.push('{');
            for index in 0..elements.count {
                let id = uint(value, elements.ids + index * id_width, id_width)?;
                text.push_str(if index > 0 { "," } else { "" });
                string(metadata.name(id)?.as_bytes(), text, end)?;
                text.push(':');
                json(metadata, elements.get(value, index)?, text, end, depth.checked_sub(1)?)?;
            }
            text.push('}');
        }
        _ => {
            let elements = Elements::read(value, header & 4 != 0, 0, usize::from(header & 3) + 1)?;
            text.push('[');
            for index in 0..elements.count {
                text.push_str(if index > 0 { "," } else { "" });
                json(metadata, elements.get(value, index)?, text, end, depth.checked_sub(1)?)?;
            }
            text.push(']');
        }
    }
    (text.len() <= end).then_some(())
}

/// Where the parts of an array or object are.
struct Elements {
    count: usize,
    ids: usize,
    offsets: usize,
    width: usize,
    values: usize,
}

impl Elements {
    fn read(value: &[u8], large: bool, id_width: usize, width: usize) -> Option<Self> {
        let count_width = if large { 4 } else { 1 };
        let count = uint(value, 1, count_width)?;
        let ids = 1 + count_width;
        let offsets = ids + count * id_width;
        Some(Self { count, ids, offsets, width, values: offsets + (count + 1) * width })
    }

    fn get<'a>(&self, value: &'a [u8], index: usize) -> Option<&'a [u8]> {
        let offset = uint(value, self.offsets + index * self.width, self.width)?;
        value.get(self.values.checked_add(offset)?..)
    }
}

fn primitive(kind: u8, value: &[u8], text: &mut String, end: usize) -> Option<()> {
    let int = |width: usize| -> Option<i64> {
        Some(match width {
            1 => i8::from_le_bytes(bytes(value, 1)?).into(),
            2 => i16::from_le_bytes(bytes(value, 1)?).into(),
            4 => i32::from_le_bytes(bytes(value, 1)?).into(),
            _ => i64::from_le_bytes(bytes(value, 1)?),
        })
    };
    let long = || value.get(5..5_usize.checked_add(uint(value, 1, 4)?)?);
    let written = match kind {
        0 => text.write_str("null"),
        1 => text.write_str("true"),
        2 => text.write_str("false"),
        3..=6 => write!(text, "{}", int(1 << (kind - 3))?),
        7 => double(f64::from_le_bytes(bytes(value, 1)?), text),
        8..=10 => {
            let number = match kind {
                8 => i32::from_le_bytes(bytes(value, 2)?).into(),
                9 => i64::from_le_bytes(bytes(value, 2)?).into(),
                _ => i128::from_le_bytes(bytes(value, 2)?),
            };
            let scale = *value.get(1)?;
            (scale <= 38).then_some(())?;
            text.write_str(std::str::from_utf8(decimal::text(number, scale.cast_signed()).as_bytes()).ok()?)
        }
        11 => quoted(text, |text| date(int(4)?, text)),
        12 | 13 => quoted(text, |text| timestamp(int(8)?, 6, kind == 12, text)),
        14 => {
            let float = f32::from_le_bytes(bytes(value, 1)?);
            // Its own shortest digits, not those of the double.
            if float.is_finite() { write!(text, "{float:?}") } else { double(float.into(), text) }
        }
        15 => {
            let long = long()?;
            (long.len() <= end.checked_sub(text.len())?).then_some(())?;
            write!(text, "\"{}\"", STANDARD.encode(long))
        }
        16 => return string(long()?, text, end),
        17 => quoted(text, |text| {
            let micros = int(8)?;
            (0..DAY * MICROS).contains(&micros).then_some(())?;
            time(micros / MICROS, micros % MICROS, 6, text)
        }),
        18 | 19 => quoted(text, |text| timestamp(int(8)?, 9, kind == 18, text)),
        20 => {
            let id = u128::from_be_bytes(bytes(value, 1)?);
            let part = |from: u32, digits: u32| id >> from & ((1 << (digits * 4)) - 1);
            write!(
                text,
                "\"{:08x}-{:04x}-{:04x}-{:04x}-{:012x}\"",
                part(96, 8),
                part(80, 4),
                part(64, 4),
                part(48, 4),
                part(0, 12)
            )
        }
        _ => return None,
    };
    written.ok()
}

fn double(value: f64, text: &mut String) -> std::fmt::Result {
    // JSON has no word for the others.
    if value.is_finite() {
        write!(text, "{value:?}")
    } else if value.is_nan() {
        text.write_str("\"NaN\"")
    } else {
        text.write_str(if value > 0.0 { "\"Infinity\"" } else { "\"-Infinity\"" })
    }
}

fn string(bytes: &[u8], text: &mut String, end: usize) -> Option<()> {
    let string = std::str::from_utf8(bytes).ok()?;
    if bytes.len() > end.checked_sub(text.len())? {
        // Longer than it may be, and so found out.
        text.push_str(string);
        return None;
    }
    text.push_str(&serde_json::to_string(string).ok()?);
    Some(())
}

fn quoted(text: &mut String, write: impl FnOnce(&mut String) -> Option<()>) -> std::fmt::Result {
    text.push('"');
    write(text).ok_or(std::fmt::Error)?;
    text.write_char('"')
}

/// Days since 1970 as `YYYY-MM-DD`.
fn date(days: i64, text: &mut String) -> Option<()> {
    // Years begin in March, so that the leap day is the last; 400 of them are a whole number of days.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    write!(text, "{year:04}-{month:02}-{day:02}").ok()
}

/// A time of day; `fraction` has up to `digits` digits.
fn time(seconds: i64, fraction: i64, digits: usize, text: &mut String) -> Option<()> {
    write!(text, "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60).ok()?;
    if fraction > 0 {
        let all = format!("{fraction:0digits$}");
        write!(text, ".{}", all.trim_end_matches('0')).ok()?;
    }
    Some(())
}

fn timestamp(value: i64, digits: u32, utc: bool, text: &mut String) -> Option<()> {
    let units = 10_i64.pow(digits);
    let (seconds, fraction) = (value.div_euclid(units), value.rem_euclid(units));
    date(seconds.div_euclid(DAY), text)?;
    text.push(' ');
    time(seconds.rem_euclid(DAY), fraction, digits as usize, text)?;
    if utc {
        text.push_str("+00:00");
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(names: &[&str], value: &[u8]) -> Result<String, &'static str> {
        let mut metadata = vec![1, names.len() as u8, 0];
        let mut end = 0;
        for name in names {
            end += name.len() as u8;
            metadata.push(end);
        }
        metadata.extend(names.concat().bytes());
        let mut text = "before".to_owned();
        let result = write_json(&metadata, value, &mut text, 1000);
        let json = text.strip_prefix("before").unwrap().to_owned();
        assert!(result.is_ok() || json.is_empty());
        result.map(|()| json)
    }

    fn with(kind: u8, bytes: &[u8]) -> Vec<u8> {
        [&[kind << 2], bytes].concat()
    }

    #[test]
    fn f09_variants_are_json() {
        let cases: Vec<(Vec<u8>, &str)> = vec![
            (with(0, &[]), "null"),
            (with(1, &[]), "true"),
            (with(2, &[]), "false"),
            (with(3, &[0xff]), "-1"),
            (with(4, &300_i16.to_le_bytes()), "300"),
            (with(5, &i32::MIN.to_le_bytes()), "-2147483648"),
            (with(6, &i64::MAX.to_le_bytes()), "9223372036854775807"),
            (with(7, &1.5_f64.to_le_bytes()), "1.5"),
            (with(7, &1e300_f64.to_le_bytes()), "1e300"),
            (with(7, &f64::NAN.to_le_bytes()), "\"NaN\""),
            (with(14, &0.1_f32.to_le_bytes()), "0.1"),
            (with(14, &f32::NEG_INFINITY.to_le_bytes()), "\"-Infinity\""),
            (with(8, &[&[2], 123_i32.to_le_bytes().as_slice()].concat()), "1.23"),
            (with(9, &[&[0], (-5_i64).to_le_bytes().as_slice()].concat()), "-5"),
            (with(10, &[&[38], 1_i128.to_le_bytes().as_slice()].concat()), "0.00000000000000000000000000000000000001"),
            (with(11, &0_i32.to_le_bytes()), "\"1970-01-01\""),
            (with(11, &(-1_i32).to_le_bytes()), "\"1969-12-31\""),
            (with(11, &19_782_i32.to_le_bytes()), "\"2024-02-29\""),
            (with(11, &(-719_529_i32).to_le_bytes()), "\"-001-12-31\""),
            (with(12, &1_500_000_i64.to_le_bytes()), "\"1970-01-01 00:00:01.5+00:00\""),
            (with(13, &(-1_i64).to_le_bytes()), "\"1969-12-31 23:59:59.999999\""),
            (with(18, &1_i64.to_le_bytes()), "\"1970-01-01 00:00:00.000000001+00:00\""),
            (with(17, &45_296_000_000_i64.to_le_bytes()), "\"12:34:56\""),
            (with(15, &[2, 0, 0, 0, 0xff, 0xfe]), "\"//4=\""),
            (with(16, &[3, 0, 0, 0, b'a', b'"', 10]), "\"a\\\"\\n\""),
            (vec![1 | 2 << 2, b'h', b'i'], "\"hi\""),
            (with(20, &(0..16).collect::<Vec<u8>>()), "\"00010203-0405-0607-0809-0a0b0c0d0e0f\""),
            // An array of true and of an object of two fields, the values of which stand the other way round.
            (vec![3, 2, 0, 1, 12, 4, 2, 2, 0, 1, 2, 0, 4, 12, 1, 12, 2], "[true,{\"a\":2,\"b\":1}]"),
            (vec![3, 0, 0], "[]"),
            (vec![2, 0, 0], "{}"),
        ];
        for (value, json) in cases {
            assert_eq!(read(&["a", "b"], &value).as_deref(), Ok(json), "{value:?}");
            if json.len() > 4 {
                let cut = value.get(..value.len() - 1).unwrap();
                assert!(read(&["a", "b"], cut).is_err(), "{cut:?}");
            }
        }
    }

    #[test]
    fn f11_malformed_variants() {
        for value in [&[][..], &[21 << 2], &[2, 1, 9, 0, 1, 4], &[1 | 1 << 2, 0xff], &[8 << 2, 39, 0, 0, 0, 0]] {
            assert_eq!(read(&["a"], value), Err("a variant is malformed"), "{value:?}");
        }
        // Each of 15 elements is the same array of 15 elements, and so on.
        let nest = (0..20).fold(vec![4_u8], |inner, _| [&[3 | 3 << 2, 15], [0; 64].as_slice(), &inner].concat());
        assert_eq!(read(&[], &nest), Err("a variant is too long for a record"));
        // An array that contains itself cannot be said; one in one in one can.
        let nest = (0..200).fold(vec![4_u8], |inner, _| [&[3, 1, 0, 0], inner.as_slice()].concat());
        assert_eq!(read(&[], &nest), Err("a variant is malformed"));
        assert!(write_json(&[2, 0, 0], &[4], &mut String::new(), 100).is_err());
        let long = [&[16 << 2, 0xd0, 7, 0, 0][..], &[b'x'; 2000]].concat();
        assert_eq!(read(&[], &long), Err("a variant is too long for a record"));
    }
}
