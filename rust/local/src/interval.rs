//! Intervals: Spark has two families of them, engines often have one.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType, DurationSecondType, IntervalDayTimeType,
    IntervalMonthDayNanoType, IntervalYearMonthType,
};
use arrow_array::{Array, ArrayRef, PrimitiveArray};
use arrow_schema::{DataType, IntervalUnit, TimeUnit};

use crate::conform::{Mismatch, unfit};

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Intervals of whole months.
pub(crate) fn year_months(array: &ArrayRef) -> Result<ArrayRef, Mismatch> {
    let DataType::Interval(IntervalUnit::MonthDayNano) = array.data_type() else { return Err(unfit(array)) };
    let months = array.as_primitive::<IntervalMonthDayNanoType>().try_unary::<_, IntervalYearMonthType, Mismatch>(
        |value| match (value.days, value.nanoseconds) {
            (0, 0) => Ok(value.months),
            _ => Err("an interval has days or seconds besides its months".to_owned()),
        },
    )?;
    Ok(Arc::new(months))
}

/// Intervals without months, as durations in microseconds; a day is 24 hours.
pub(crate) fn day_times(array: &ArrayRef) -> Result<ArrayRef, Mismatch> {
    let too_large = || "an interval is too large".to_owned();
    let durations: PrimitiveArray<DurationMicrosecondType> = match array.data_type() {
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            array.as_primitive::<IntervalMonthDayNanoType>().try_unary(|value| {
                if value.months != 0 {
                    return Err("an interval has months besides its days".to_owned());
                }
                let micros = whole_micros(value.nanoseconds)?;
                i64::from(value.days)
                    .checked_mul(MICROS_PER_DAY)
                    .and_then(|days| days.checked_add(micros))
                    .ok_or_else(too_large)
            })?
        }
        DataType::Interval(IntervalUnit::DayTime) => {
            array.as_primitive::<IntervalDayTimeType>().try_unary(|value| {
                i64::from(value.days)
                    .checked_mul(MICROS_PER_DAY)
                    .and_then(|days| days.checked_add(i64::from(value.milliseconds) * 1_000))
                    .ok_or_else(too_large)
            })?
        }
        DataType::Duration(TimeUnit::Second) => array
            .as_primitive::<DurationSecondType>()
            .try_unary(|value| value.checked_mul(1_000_000).ok_or_else(too_large))?,
        DataType::Duration(TimeUnit::Millisecond) => array
            .as_primitive::<DurationMillisecondType>()
            .try_unary(|value| value.checked_mul(1_000).ok_or_else(too_large))?,
        DataType::Duration(TimeUnit::Nanosecond) => {
            array.as_primitive::<DurationNanosecondType>().try_unary(whole_micros)?
        }
        _ => return Err(unfit(array)),
    };
    Ok(Arc::new(durations))
}

fn whole_micros(nanoseconds: i64) -> Result<i64, Mismatch> {
    match nanoseconds % 1_000 {
        0 => Ok(nanoseconds / 1_000),
        _ => Err("an interval is finer than a microsecond".to_owned()),
    }
}

/// The text of a year-month interval, such as `2-6` for 30 months.
pub(crate) fn year_month_text(months: i32) -> String {
    let sign = if months < 0 { "-" } else { "" };
    let months = months.unsigned_abs();
    format!("{sign}{}-{}", months / 12, months % 12)
}

/// The text of a day-time interval, such as `3 12:30:15.000000000`.
pub(crate) fn day_time_text(micros: i64) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    let micros = micros.unsigned_abs();
    let seconds = micros / 1_000_000;
    format!(
        "{sign}{} {:02}:{:02}:{:02}.{:09}",
        seconds / 86_400,
        seconds / 3_600 % 24,
        seconds / 60 % 60,
        seconds % 60,
        micros % 1_000_000 * 1_000,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interval_texts() {
        assert_eq!([year_month_text(30), year_month_text(-1), year_month_text(0)], ["2-6", "-0-1", "0-0"]);
        assert_eq!(day_time_text(((3 * 24 + 12) * 3_600 + 30 * 60 + 15) * 1_000_000), "3 12:30:15.000000000");
        assert_eq!(day_time_text(-1), "-0 00:00:00.000001000");
    }
}
