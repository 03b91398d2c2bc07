//! The text of single values, as the service writes it in JSON rows.
//!
//! Every reader is exact: text that is not wholly a value of its type is refused, and so is text that the type could
//! only hold rounded, except for the nearest floating-point number, which is what such a text means.

use std::str::FromStr;

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
/// The calendar repeats after this many years, and days.
const YEARS_PER_ERA: i64 = 400;
const DAYS_PER_ERA: i64 = 146_097;
/// Days from 0000-03-01, where the eras here start, to 1970-01-01.
const EPOCH_DAY: i64 = 719_468;
/// More digits than the year of any day or instant that Arrow can hold.
const MAX_YEAR_DIGITS: usize = 7;

/// `true` or `false`, in any case.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// A floating-point number; `NaN` and `Infinity` by name. Numbers too large or too small for the type are refused.
pub(crate) fn float<F: FromStr + Copy + Into<f64>>(text: &str) -> Option<F> {
    let value: F = text.parse().ok()?;
    let wide: f64 = value.into();
    let lost = if wide.is_infinite() {
        text.bytes().any(|byte| byte.is_ascii_digit())
    } else {
        wide == 0.0
            && text.bytes().take_while(|byte| !matches!(byte, b'e' | b'E')).any(|byte| matches!(byte, b'1'..=b'9'))
    };
    (!lost).then_some(value)
}

/// A plain decimal number in units of its last fraction digit; `precision` and `scale` are at most 38.
pub(crate) fn decimal(text: &str, precision: u8, scale: u8) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut units: i128 = 0;
    for digit in whole.bytes() {
        units = with_digit(units, digit)?;
    }
    let mut missing = scale;
    for digit in fraction.bytes() {
        if missing > 0 {
            units = with_digit(units, digit)?;
            missing -= 1;
        } else if digit != b'0' {
            return None;
        }
    }
    let units = units.checked_mul(10_i128.checked_pow(u32::from(missing))?)?;
    let limit = 10_i128.checked_pow(u32::from(precision))?;
    (units < limit).then_some(if negative { -units } else { units })
}

fn with_digit(number: i128, digit: u8) -> Option<i128> {
    digit.is_ascii_digit().then_some(())?;
    number.checked_mul(10)?.checked_add(i128::from(digit - b'0'))
}

/// Days since 1970-01-01 of a date such as `2024-02-29`. Years outside 0000 to 9999 have a sign.
pub(crate) fn date(text: &str) -> Option<i32> {
    let mut reader = Reader { rest: text.as_bytes() };
    let days = reader.date()?;
    reader.rest.is_empty().then_some(())?;
    i32::try_from(days).ok()
}

/// Microseconds since 1970-01-01 UTC of an instant such as `2021-06-15T12:34:56.789-07:00`; the offset, or `Z`, must
/// be there.
pub(crate) fn instant(text: &str) -> Option<i64> {
    let (micros, offset) = date_time(text)?;
    i64::try_from(micros - i128::from(offset?) * i128::from(MICROS_PER_SECOND)).ok()
}

/// Microseconds from 1970-01-01 00:00 on the same clock to a time such as `2021-06-15T12:34:56.789`; it has no offset,
/// or that of UTC.
pub(crate) fn wall_clock(text: &str) -> Option<i64> {
    let (micros, offset) = date_time(text)?;
    if offset.is_some_and(|offset| offset != 0) { None } else { i64::try_from(micros).ok() }
}

/// Returns the microseconds as written and the offset in seconds, where there is one.
fn date_time(text: &str) -> Option<(i128, Option<i64>)> {
    let mut reader = Reader { rest: text.as_bytes() };
    let days = reader.date()?;
    (reader.eat(b'T') || reader.eat(b' ')).then_some(())?;
    let hour = reader.number(2, 2).filter(|hour| *hour < 24)?;
    reader.eat(b':').then_some(())?;
    let minute = reader.below_sixty()?;
    reader.eat(b':').then_some(())?;
    let second = reader.below_sixty()?;
    let micros = if reader.eat(b'.') { reader.micros()? } else { 0 };
    let offset = if reader.rest.is_empty() { None } else { Some(reader.offset()?) };
    reader.rest.is_empty().then_some(())?;
    let seconds = days * SECONDS_PER_DAY + hour * 3_600 + minute * 60 + second;
    Some((i128::from(seconds) * i128::from(MICROS_PER_SECOND) + i128::from(micros), offset))
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn eat(&mut self, wanted: u8) -> bool {
        match self.rest.split_first() {
            Some((byte, rest)) if *byte == wanted => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn digit(&mut self) -> Option<i64> {
        let (byte, rest) = self.rest.split_first().filter(|(byte, _)| byte.is_ascii_digit())?;
        self.rest = rest;
        Some(i64::from(byte - b'0'))
    }

    /// Reads as many digits as there are, up to `most`; fewer than `least` are no number.
    fn number(&mut self, least: usize, most: usize) -> Option<i64> {
        let (mut number, mut count) = (0, 0);
        while count < most
            && let Some(digit) = self.digit()
        {
            number = number * 10 + digit;
            count += 1;
        }
        (count >= least).then_some(number)
    }

    fn below_sixty(&mut self) -> Option<i64> {
        self.number(2, 2).filter(|number| *number < 60)
    }

    /// Reads a date as days since 1970-01-01.
    fn date(&mut self) -> Option<i64> {
        let year = if self.eat(b'-') {
            -self.number(4, MAX_YEAR_DIGITS)?
        } else if self.eat(b'+') {
            self.number(4, MAX_YEAR_DIGITS)?
        } else {
            self.number(4, 4)?
        };
        self.eat(b'-').then_some(())?;
        let month = self.number(2, 2)?;
        self.eat(b'-').then_some(())?;
        let day = self.number(2, 2)?;
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let length = match month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            4 | 6 | 9 | 11 => 30,
            2 if leap => 29,
            2 => 28,
            _ => return None,
        };
        (1..=length).contains(&day).then_some(())?;
        // Years that start in March have their leap day last.
        let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let (era, year) = (year.div_euclid(YEARS_PER_ERA), year.rem_euclid(YEARS_PER_ERA));
        let day_of_year = (153 * month + 2) / 5 + day - 1;
        Some(era * DAYS_PER_ERA + year * 365 + year / 4 - year / 100 + day_of_year - EPOCH_DAY)
    }

    /// Reads a fraction of a second; digits beyond the sixth must be zeros.
    fn micros(&mut self) -> Option<i64> {
        let mut micros = self.digit()? * 100_000;
        let mut unit = 10_000;
        while let Some(digit) = self.digit() {
            if unit == 0 && digit != 0 {
                return None;
            }
            micros += digit * unit;
            unit /= 10;
        }
        Some(micros)
    }

    /// Reads `Z`, or an offset such as `-07:00`, in seconds.
    fn offset(&mut self) -> Option<i64> {
        let sign = if self.eat(b'+') {
            1
        } else if self.eat(b'-') {
            -1
        } else {
            return self.eat(b'Z').then_some(0);
        };
        let hours = self.number(2, 2).filter(|hours| *hours < 24)?;
        self.eat(b':').then_some(())?;
        let minutes = self.below_sixty()?;
        let seconds = if self.eat(b':') { self.below_sixty()? } else { 0 };
        Some(sign * (hours * 3_600 + minutes * 60 + seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans() {
        for (text, expected) in [("true", Some(true)), ("FALSE", Some(false)), ("True", Some(true))] {
            assert_eq!(boolean(text), expected, "{text}");
        }
        for text in ["", " true", "true ", "t", "yes", "1", "0", "null", "ｔrue"] {
            assert_eq!(boolean(text), None, "{text}");
        }
    }

    #[test]
    fn doubles() {
        for (text, expected) in [
            ("0.0", 0.0),
            ("1.5", 1.5),
            ("-2.5E-3", -0.0025),
            ("1.0E10", 1e10),
            ("0e999", 0.0),
            ("0.1", 0.1),
            ("1.7976931348623157E308", f64::MAX),
            ("-1.7976931348623157E308", f64::MIN),
            ("2.2250738585072014E-308", f64::MIN_POSITIVE),
            ("4.9E-324", 5e-324),
            ("9007199254740993", 9_007_199_254_740_992.0),
            ("Infinity", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
        ] {
            assert_eq!(float::<f64>(text).map(f64::to_bits), Some(expected.to_bits()), "{text}");
        }
        assert_eq!(float::<f64>("-0.0").map(f64::to_bits), Some((-0.0_f64).to_bits()));
        assert!(float::<f64>("NaN").is_some_and(f64::is_nan));
        for text in ["", " 1", "1 ", "1.8E308", "-1e999", "1E-999", "-0.01e-400", "1,5", "0x1", "1.5f", "١", "--1"] {
            assert_eq!(float::<f64>(text), None, "{text}");
        }
    }

    #[test]
    fn floats() {
        for (text, expected) in [
            ("3.4028235E38", f32::MAX),
            ("1.4E-45", f32::from_bits(1)),
            ("0.1", 0.1),
            // The nearest double lies halfway between two floats: to read it first would round to the wrong one.
            ("1.00000005960464477541", 1.000_000_1),
            ("-Infinity", f32::NEG_INFINITY),
        ] {
            assert_eq!(float::<f32>(text).map(f32::to_bits), Some(expected.to_bits()), "{text}");
        }
        assert!(float::<f32>("NaN").is_some_and(f32::is_nan));
        assert_eq!(float::<f32>("-0.0").map(f32::to_bits), Some((-0.0_f32).to_bits()));
        for text in ["3.5E38", "1e39", "1e-46", ""] {
            assert_eq!(float::<f32>(text), None, "{text}");
        }
    }

    #[test]
    fn decimals() {
        let most = 10_i128.pow(38) - 1;
        let nines = "9".repeat(38);
        for (text, precision, scale, expected) in [
            ("0", 1, 0, 0),
            ("-0", 1, 0, 0),
            ("-0.00", 3, 2, 0),
            ("123.45", 10, 2, 12_345),
            ("-123.45", 10, 2, -12_345),
            ("+1", 1, 0, 1),
            ("1.5", 10, 3, 1_500),
            ("1", 10, 3, 1_000),
            ("1.500", 10, 1, 15),
            ("007", 1, 0, 7),
            (".5", 1, 1, 5),
            ("5.", 1, 0, 5),
            ("99.9", 3, 1, 999),
            (nines.as_str(), 38, 0, most),
            (&format!("-{nines}"), 38, 0, -most),
            (&format!("0.{nines}"), 38, 38, most),
            (&format!("-{}.{}", &nines[..20], &nines[20..]), 38, 18, -most),
            (&format!("{}1", "0".repeat(100)), 1, 0, 1),
            (&format!("1.{}", "0".repeat(100)), 1, 0, 1),
        ] {
            assert_eq!(decimal(text, precision, scale), Some(expected), "{text}");
        }
        for (text, precision, scale) in [
            ("", 10, 2),
            ("-", 10, 2),
            (".", 10, 2),
            ("+-1", 10, 2),
            (" 1", 10, 2),
            ("1 ", 10, 2),
            ("1e2", 10, 2),
            ("1.2.3", 10, 2),
            ("1,5", 10, 2),
            ("1.-5", 10, 2),
            ("NaN", 10, 2),
            ("١", 10, 2),
            ("１", 10, 2),
            ("1.005", 10, 2),
            ("1.00x", 10, 1),
            ("100.0", 3, 1),
            ("-100.0", 3, 1),
            ("10", 1, 0),
            (&format!("1{}", "0".repeat(38)), 38, 0),
            (&format!("{nines}9"), 38, 0),
            ("1", 38, 38),
            (&i128::MAX.to_string(), 38, 0),
            (&i128::MIN.to_string(), 38, 0),
            ("340282366920938463463374607431768211457", 38, 0),
        ] {
            assert_eq!(decimal(text, precision, scale), None, "{text}");
        }
    }

    #[test]
    fn dates() {
        for (text, expected) in [
            ("1970-01-01", 0),
            ("1969-12-31", -1),
            ("2000-02-29", 11_016),
            ("2024-02-29", 19_782),
            ("2024-12-31", 20_088),
            ("0001-01-01", -719_162),
            ("0000-02-29", -719_469),
            ("0000-01-01", -719_528),
            ("9999-12-31", 2_932_896),
            ("+9999-12-31", 2_932_896),
            ("+10000-01-01", 2_932_897),
            ("-0001-12-31", -719_529),
            ("-0004-02-29", -719_469 - 1_461),
            ("+5881580-07-11", i32::MAX),
            ("-5877641-06-23", i32::MIN),
        ] {
            assert_eq!(date(text), Some(expected), "{text}");
        }
        for text in [
            "",
            "yesterday",
            "2023-02-29",
            "1900-02-29",
            "2100-02-29",
            "2024-02-30",
            "2024-04-31",
            "2024-00-01",
            "2024-13-01",
            "2024-01-00",
            "2024-01-32",
            "2024-1-1",
            "20240101",
            "10000-01-01",
            "999-01-01",
            "+999-01-01",
            "+5881580-07-12",
            "-5877641-06-22",
            "+12345678-01-01",
            "+99999999999999999999-01-01",
            " 2024-01-01",
            "2024-01-01 ",
            "2024-01-01T00:00:00",
            "2024-01-0１",
            "--2024-01-01",
        ] {
            assert_eq!(date(text), None, "{text}");
        }
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut expected = date("1583-01-01").unwrap();
        for year in 1583..=2421 {
            for month in 1..=12 {
                for day in 1..=31 {
                    if let Some(days) = date(&format!("{year:04}-{month:02}-{day:02}")) {
                        assert_eq!(days, expected, "{year}-{month}-{day}");
                        expected += 1;
                    }
                }
            }
        }
        assert_eq!(date("2422-01-01"), Some(expected));
    }

    #[test]
    fn instants() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01 00:00:00.000001Z", 1),
            ("1969-12-31T23:59:59.999999Z", -1),
            ("1970-01-01T00:00:00.5Z", 500_000),
            ("1970-01-01T00:00:00.123456000Z", 123_456),
            ("1970-01-01T00:00:00+01:00", -3_600_000_000),
            ("1970-01-01T00:00:00-00:30", 1_800_000_000),
            ("1970-01-01T00:00:00+00:34:08", -2_048_000_000),
            ("2021-06-15T12:34:56.789-07:00", 1_623_785_696_789_000),
            ("9999-12-31T23:59:59.999999Z", 253_402_300_799_999_999),
            ("0001-01-01T00:00:00Z", -62_135_596_800_000_000),
            ("+294247-01-10T04:00:54.775807Z", i64::MAX),
            ("-290308-12-21T19:59:05.224192Z", i64::MIN),
        ] {
            assert_eq!(instant(text), Some(expected), "{text}");
        }
        for text in [
            "",
            "1970-01-01",
            "1970-01-01T00:00:00",
            "1970-01-01T00:00Z",
            "1970-01-01T00:00:00.Z",
            "1970-01-01T00:00:00.0000001Z",
            "1970-01-01T24:00:00Z",
            "1970-01-01T00:60:00Z",
            "1970-01-01T00:00:60Z",
            "1970-01-01T00:00:00 Z",
            "1970-01-01T00:00:00ZZ",
            "1970-01-01T00:00:00+24:00",
            "1970-01-01T00:00:00+01:60",
            "1970-01-01T00:00:00+1:00",
            "1970-01-01T00:00:00 Europe/Zurich",
            "1970-01-01X00:00:00Z",
            "1970-02-29T00:00:00Z",
            " 1970-01-01T00:00:00Z",
            "1970-01-01T00:00:00Z ",
            "1970-01-01T0０:00:00Z",
            "+294247-01-10T04:00:54.775808Z",
            "-290308-12-21T19:59:05.224191Z",
        ] {
            assert_eq!(instant(text), None, "{text}");
        }
    }

    #[test]
    fn wall_clocks() {
        for (text, expected) in [
            ("1970-01-01T00:00:00", 0),
            ("1970-01-01 00:00:01.5", 1_500_000),
            ("1970-01-01T00:00:00.000Z", 0),
            ("1970-01-01T00:00:00+00:00", 0),
            ("2024-02-29T12:34:56.789", 1_709_210_096_789_000),
            ("+294247-01-10T04:00:54.775807", i64::MAX),
        ] {
            assert_eq!(wall_clock(text), Some(expected), "{text}");
        }
        for text in
            ["", "1970-01-01", "1970-01-01T00:00:00+01:00", "2023-02-29T00:00:00", "1970-01-01T00:00:00.1234567"]
        {
            assert_eq!(wall_clock(text), None, "{text}");
        }
    }
}
