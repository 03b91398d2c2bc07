//! Arrow batches to Python rows, column by column.

use std::fmt::Write;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, DurationMicrosecondType, DurationMillisecondType,
    DurationNanosecondType, DurationSecondType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    IntervalDayTimeType, IntervalYearMonthType, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, Field, IntervalUnit, Schema, TimeUnit};
use pyo3::IntoPyObjectExt;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyList, PyString, PyTuple};

use crate::row_class::RowClass;
use crate::{error, visit};

/// Rows converted at a time: the objects of a block stay in the processor's cache until its tuples are made.
const BLOCK: usize = 2048;
const DAY_MICROS: i64 = 86_400_000_000;
/// 0001-01-01 and 9999-12-31, counted from 1970-01-01.
const FIRST_DAY: i64 = -719_162;
const LAST_DAY: i64 = 2_932_896;

type Objects<'py> = PyResult<Vec<Bound<'py, PyAny>>>;

/// Converts batches of one schema.
pub(crate) struct RowConverter {
    columns: Vec<(String, Conversion)>,
    class: RowClass,
}

/// How the values of one Arrow type become Python objects, with the classes needed at hand.
enum Conversion {
    Null,
    Boolean,
    Int8,
    Int16,
    Int32,
    Int64,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
    Float32,
    Float64,
    Decimal { class: Py<PyAny>, scale: usize, recent: Recent<i128> },
    Text,
    LargeText,
    TextView,
    Binary,
    LargeBinary,
    BinaryView,
    Date { class: Py<PyAny>, recent: Recent<i32> },
    Timestamp { unit: TimeUnit, class: Py<PyAny>, zone: Zone },
    Duration { unit: TimeUnit, class: Py<PyAny> },
    YearMonth,
    DayTime { class: Py<PyAny> },
    List(Box<Conversion>),
    LargeList(Box<Conversion>),
    Struct(Vec<(Py<PyString>, Conversion)>),
    Map { key: Box<Conversion>, value: Box<Conversion>, as_pairs: bool },
}

/// The zone of a timestamp column.
enum Zone {
    /// `TIMESTAMP_NTZ`: a wall clock without a place.
    Naive,
    /// UTC by any of its names: `datetime.timezone.utc`, no arithmetic needed.
    Utc(Py<PyAny>),
    Other(Py<PyAny>),
}

impl RowConverter {
    /// Chooses a conversion per column; fails with `NotSupportedError` for Arrow types that no SQL type arrives as.
    pub(crate) fn new(py: Python<'_>, schema: &Schema) -> PyResult<Self> {
        let column = |field: &Field| Ok((field.name().clone(), Conversion::new(py, field.data_type(), field.name())?));
        let columns = schema.fields().iter().map(|field| column(field)).collect::<PyResult<_>>()?;
        let names = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let is_flat = !schema.fields().iter().any(|field| field.data_type().is_nested());
        Ok(Self { columns, class: RowClass::new(py, names, is_flat)? })
    }

    /// Appends the rows of `batch` to `rows`. Checks for signals per block of rows.
    pub(crate) fn convert<'py>(
        &mut self,
        py: Python<'py>,
        batch: &RecordBatch,
        rows: &mut Vec<Bound<'py, PyTuple>>,
    ) -> PyResult<()> {
        for start in (0..batch.num_rows()).step_by(BLOCK) {
            py.check_signals()?;
            let length = BLOCK.min(batch.num_rows() - start);
            let mut columns = Vec::with_capacity(self.columns.len());
            for ((name, conversion), array) in self.columns.iter_mut().zip(batch.columns()) {
                columns.push(conversion.objects(py, &array.slice(start, length), name)?.into_iter());
            }
            rows.reserve(length);
            for _ in 0..length {
                let values = PyTuple::new(py, columns.iter_mut().map(Iterator::next))?;
                rows.push(self.class.row(values)?);
            }
        }
        Ok(())
    }
}

impl Conversion {
    fn new(py: Python<'_>, data_type: &DataType, column: &str) -> PyResult<Self> {
        let datetime = |class| -> PyResult<Py<PyAny>> { Ok(py.import("datetime")?.getattr(class)?.unbind()) };
        Ok(match data_type {
            DataType::Null => Self::Null,
            DataType::Boolean => Self::Boolean,
            DataType::Int8 => Self::Int8,
            DataType::Int16 => Self::Int16,
            DataType::Int32 => Self::Int32,
            DataType::Int64 => Self::Int64,
            DataType::UInt8 => Self::UInt8,
            DataType::UInt16 => Self::UInt16,
            DataType::UInt32 => Self::UInt32,
            DataType::UInt64 => Self::UInt64,
            DataType::Float32 => Self::Float32,
            DataType::Float64 => Self::Float64,
            DataType::Decimal128(_, scale) if *scale >= 0 => Self::Decimal {
                class: visit::import(py, "decimal")?.getattr("Decimal")?.unbind(),
                scale: usize::from(scale.unsigned_abs()),
                recent: Recent::default(),
            },
            DataType::Utf8 => Self::Text,
            DataType::LargeUtf8 => Self::LargeText,
            DataType::Utf8View => Self::TextView,
            DataType::Binary => Self::Binary,
            DataType::LargeBinary => Self::LargeBinary,
            DataType::BinaryView => Self::BinaryView,
            DataType::Date32 => Self::Date { class: datetime("date")?, recent: Recent::default() },
            DataType::Timestamp(unit, zone) => Self::Timestamp {
                unit: *unit,
                class: datetime("datetime")?,
                zone: zone.as_ref().map_or(Ok(Zone::Naive), |zone| Zone::named(py, zone, column))?,
            },
            DataType::Duration(unit) => Self::Duration { unit: *unit, class: datetime("timedelta")? },
            DataType::Interval(IntervalUnit::YearMonth) => Self::YearMonth,
            DataType::Interval(IntervalUnit::DayTime) => Self::DayTime { class: datetime("timedelta")? },
            DataType::List(item) => Self::List(Box::new(Self::new(py, item.data_type(), column)?)),
            DataType::LargeList(item) => Self::LargeList(Box::new(Self::new(py, item.data_type(), column)?)),
            DataType::Struct(fields) => Self::Struct(
                fields
                    .iter()
                    .map(|field| {
                        Ok((PyString::new(py, field.name()).unbind(), Self::new(py, field.data_type(), column)?))
                    })
                    .collect::<PyResult<_>>()?,
            ),
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(fields) => match fields.as_ref() {
                    [key, value] => Self::Map {
                        as_pairs: key.data_type().is_nested(),
                        key: Box::new(Self::new(py, key.data_type(), column)?),
                        value: Box::new(Self::new(py, value.data_type(), column)?),
                    },
                    _ => return Err(unsupported(py, data_type, column)),
                },
                _ => return Err(unsupported(py, data_type, column)),
            },
            _ => return Err(unsupported(py, data_type, column)),
        })
    }

    fn objects<'py>(&mut self, py: Python<'py>, array: &dyn Array, column: &str) -> Objects<'py> {
        match self {
            Self::Null => Ok(vec![py.None().into_bound(py); array.len()]),
            Self::Boolean => {
                let booleans = array.as_boolean_opt().ok_or_else(|| mismatch(py, array, column))?;
                each(py, booleans.iter(), |value| Ok(PyBool::new(py, value).to_owned().into_any()))
            }
            Self::Int8 => primitive::<Int8Type>(py, array, column, |value| value.into_bound_py_any(py)),
            Self::Int16 => primitive::<Int16Type>(py, array, column, |value| value.into_bound_py_any(py)),
            Self::Int32 => primitive::<Int32Type>(py, array, column, |value| value.into_bound_py_any(py)),
            Self::Int64 => primitive::<Int64Type>(py, array, column, |value| value.into_bound_py_any(py)),
            Self::UInt8 => primitive::<UInt8Type>(py, array, column, |value| value.into_bound_py_any(py)),
            Self::UInt16 => primitive::<UInt16Type>(py, array, column, |value| value.into_bound_py_any(py)),
            Self::UInt32 => primitive::<UInt32Type>(py, array, column, |value| value.into_bound_py_any(py)),
            Self::UInt64 => primitive::<UInt64Type>(py, array, column, |value| value.into_bound_py_any(py)),
            Self::Float32 => {
                primitive::<Float32Type>(py, array, column, |value| Ok(PyFloat::new(py, f64::from(value)).into_any()))
            }
            Self::Float64 => {
                primitive::<Float64Type>(py, array, column, |value| Ok(PyFloat::new(py, value).into_any()))
            }
            Self::Decimal { class, scale, recent } => decimals(py, array, column, class.bind(py), *scale, recent),
            Self::Text => {
                let texts = array.as_string_opt::<i32>().ok_or_else(|| mismatch(py, array, column))?;
                each(py, texts.iter(), |value| Ok(PyString::new(py, value).into_any()))
            }
            Self::LargeText => {
                let texts = array.as_string_opt::<i64>().ok_or_else(|| mismatch(py, array, column))?;
                each(py, texts.iter(), |value| Ok(PyString::new(py, value).into_any()))
            }
            Self::TextView => {
                let texts = array.as_string_view_opt().ok_or_else(|| mismatch(py, array, column))?;
                each(py, texts.iter(), |value| Ok(PyString::new(py, value).into_any()))
            }
            Self::Binary => {
                let binaries = array.as_binary_opt::<i32>().ok_or_else(|| mismatch(py, array, column))?;
                each(py, binaries.iter(), |value| Ok(PyBytes::new(py, value).into_any()))
            }
            Self::LargeBinary => {
                let binaries = array.as_binary_opt::<i64>().ok_or_else(|| mismatch(py, array, column))?;
                each(py, binaries.iter(), |value| Ok(PyBytes::new(py, value).into_any()))
            }
            Self::BinaryView => {
                let binaries = array.as_binary_view_opt().ok_or_else(|| mismatch(py, array, column))?;
                each(py, binaries.iter(), |value| Ok(PyBytes::new(py, value).into_any()))
            }
            Self::Date { class, recent } => dates(py, array, column, class.bind(py), recent),
            Self::Timestamp { unit, class, zone } => timestamps(py, array, column, *unit, class.bind(py), zone),
            Self::Duration { unit, class } => durations(py, array, column, *unit, class.bind(py)),
            Self::YearMonth => primitive::<IntervalYearMonthType>(py, array, column, |months| {
                Ok(PyString::new(py, &year_month_text(months)).into_any())
            }),
            Self::DayTime { class } => {
                let class = class.bind(py);
                primitive::<IntervalDayTimeType>(py, array, column, |value| {
                    let micros =
                        i128::from(value.days) * i128::from(DAY_MICROS) + i128::from(value.milliseconds) * 1_000;
                    timedelta(py, class, micros, column)
                })
            }
            Self::List(item) => {
                let lists = array.as_list_opt::<i32>().ok_or_else(|| mismatch(py, array, column))?;
                let items = item.objects(py, &window(lists.values(), lists.offsets()), column)?;
                regroup(py, items, lists.offsets(), lists.nulls(), |items| Ok(PyList::new(py, items)?.into_any()))
            }
            Self::LargeList(item) => {
                let lists = array.as_list_opt::<i64>().ok_or_else(|| mismatch(py, array, column))?;
                let items = item.objects(py, &window(lists.values(), lists.offsets()), column)?;
                regroup(py, items, lists.offsets(), lists.nulls(), |items| Ok(PyList::new(py, items)?.into_any()))
            }
            Self::Struct(fields) => structs(py, array, column, fields),
            Self::Map { key, value, as_pairs } => {
                let maps = array.as_map_opt().ok_or_else(|| mismatch(py, array, column))?;
                let keys = key.objects(py, &window(maps.keys(), maps.offsets()), column)?;
                let values = value.objects(py, &window(maps.values(), maps.offsets()), column)?;
                let entries = keys.into_iter().zip(values).collect();
                regroup(py, entries, maps.offsets(), maps.nulls(), |entries| {
                    if *as_pairs {
                        return Ok(PyList::new(py, entries)?.into_any());
                    }
                    let map = PyDict::new(py);
                    for (key, value) in entries {
                        map.set_item(key, value)?;
                    }
                    Ok(map.into_any())
                })
            }
        }
    }
}

impl Zone {
    fn named(py: Python<'_>, name: &str, column: &str) -> PyResult<Self> {
        const UTC: [&str; 13] = [
            "UTC",
            "Etc/UTC",
            "Z",
            "GMT",
            "Etc/GMT",
            "+00:00",
            "-00:00",
            "UCT",
            "Etc/UCT",
            "Zulu",
            "Etc/Zulu",
            "Universal",
            "Etc/Universal",
        ];
        let timezone = py.import("datetime")?.getattr("timezone")?;
        if UTC.contains(&name) {
            return Ok(Self::Utc(timezone.getattr("utc")?.unbind()));
        }
        if let Some(seconds) = offset_seconds(name) {
            let offset = py.import("datetime")?.getattr("timedelta")?.call1((0, seconds))?;
            return Ok(Self::Other(timezone.call1((offset,))?.unbind()));
        }
        let zone = visit::import(py, "zoneinfo")?.getattr("ZoneInfo")?.call1((name,)).map_err(|_| {
            let message = format!(
                "column `{column}` is in time zone `{name}`, which this Python does not know: install the package \
                 `tzdata`, fetch Arrow, or set the session's `TIMEZONE`"
            );
            error::raise(py, "NotSupportedError", "InvalidArgument", &message)
        })?;
        Ok(Self::Other(zone.unbind()))
    }

    fn datetime<'py>(
        &self,
        py: Python<'py>,
        class: &Bound<'py, PyAny>,
        micros: i64,
        column: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        let too_far = || out_of_range(py, column, &format!("TIMESTAMP of {micros} microseconds since 1970-01-01"));
        let (days, rest) = (micros.div_euclid(DAY_MICROS), micros.rem_euclid(DAY_MICROS));
        let [century, year, month, day] = date_state(days).ok_or_else(too_far)?;
        let (seconds, fraction) = (rest / 1_000_000, rest % 1_000_000);
        let [hour, minute, second] = [seconds / 3600, seconds / 60 % 60, seconds % 60].map(|part| part as u8);
        let [_, high, middle, low] = (fraction as u32).to_be_bytes();
        let state = PyBytes::new(py, &[century, year, month, day, hour, minute, second, high, middle, low]);
        match self {
            Self::Naive => class.call1((state,)),
            Self::Utc(zone) => class.call1((state, zone.bind(py))),
            Self::Other(zone) => {
                let zone = zone.bind(py);
                zone.call_method1(intern!(py, "fromutc"), (class.call1((state, zone))?,)).map_err(|_| too_far())
            }
        }
    }
}

/// Objects made lately, by their value. Columns of days and amounts repeat themselves, and an object costs twenty times as
/// much as a look.
struct Recent<T> {
    slots: Vec<Option<(T, Py<PyAny>)>>,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self { slots: Vec::new() }
    }
}

impl<T: Copy + Eq> Recent<T> {
    /// Makes room for the objects of `length` values; a column that is longer than a block can have more.
    fn reserve(&mut self, length: usize) {
        let slots = 2 * length.next_power_of_two();
        if self.slots.len() < slots {
            self.slots.clear();
            self.slots.resize_with(slots, || None);
        }
    }

    fn get<'py>(
        &mut self,
        py: Python<'py>,
        value: T,
        hash: usize,
        make: impl FnOnce() -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let slot = hash & self.slots.len().wrapping_sub(1);
        let Some(slot) = self.slots.get_mut(slot) else { return make() };
        if let Some((known, object)) = slot
            && *known == value
        {
            return Ok(object.bind(py).clone());
        }
        let object = make()?;
        *slot = Some((value, object.clone().unbind()));
        Ok(object)
    }
}

/// Converts every value, nulls to `None`.
fn each<'py, T>(
    py: Python<'py>,
    values: impl ExactSizeIterator<Item = Option<T>>,
    mut convert: impl FnMut(T) -> PyResult<Bound<'py, PyAny>>,
) -> Objects<'py> {
    let mut objects = Vec::with_capacity(values.len());
    for value in values {
        objects.push(value.map_or_else(|| Ok(py.None().into_bound(py)), &mut convert)?);
    }
    Ok(objects)
}

fn primitive<'py, T: ArrowPrimitiveType>(
    py: Python<'py>,
    array: &dyn Array,
    column: &str,
    convert: impl FnMut(T::Native) -> PyResult<Bound<'py, PyAny>>,
) -> Objects<'py> {
    let array = array.as_primitive_opt::<T>().ok_or_else(|| mismatch(py, array, column))?;
    each(py, array.iter(), convert)
}

fn decimals<'py>(
    py: Python<'py>,
    array: &dyn Array,
    column: &str,
    class: &Bound<'py, PyAny>,
    scale: usize,
    recent: &mut Recent<i128>,
) -> Objects<'py> {
    let mut text = String::new();
    recent.reserve(array.len());
    primitive::<Decimal128Type>(py, array, column, |value| {
        recent.get(py, value, value as usize, || {
            decimal_text(value, scale, &mut text);
            class.call1((text.as_str(),))
        })
    })
}

fn dates<'py>(
    py: Python<'py>,
    array: &dyn Array,
    column: &str,
    class: &Bound<'py, PyAny>,
    recent: &mut Recent<i32>,
) -> Objects<'py> {
    recent.reserve(array.len());
    primitive::<Date32Type>(py, array, column, |days| {
        recent.get(py, days, days as usize, || {
            let state = date_state(i64::from(days))
                .ok_or_else(|| out_of_range(py, column, &format!("DATE of {days} days since 1970-01-01")))?;
            class.call1((PyBytes::new(py, &state),))
        })
    })
}

fn timestamps<'py>(
    py: Python<'py>,
    array: &dyn Array,
    column: &str,
    unit: TimeUnit,
    class: &Bound<'py, PyAny>,
    zone: &Zone,
) -> Objects<'py> {
    let convert = |micros| zone.datetime(py, class, micros, column);
    match unit {
        // A product that saturates is outside year 9999 as well.
        TimeUnit::Second => {
            primitive::<TimestampSecondType>(py, array, column, |value| convert(value.saturating_mul(1_000_000)))
        }
        TimeUnit::Millisecond => {
            primitive::<TimestampMillisecondType>(py, array, column, |value| convert(value.saturating_mul(1_000)))
        }
        TimeUnit::Microsecond => primitive::<TimestampMicrosecondType>(py, array, column, convert),
        TimeUnit::Nanosecond => {
            primitive::<TimestampNanosecondType>(py, array, column, |value| convert(whole_micros(py, value, column)?))
        }
    }
}

fn durations<'py>(
    py: Python<'py>,
    array: &dyn Array,
    column: &str,
    unit: TimeUnit,
    class: &Bound<'py, PyAny>,
) -> Objects<'py> {
    let convert = |value: i64, micros: i128| timedelta(py, class, i128::from(value) * micros, column);
    match unit {
        TimeUnit::Second => primitive::<DurationSecondType>(py, array, column, |value| convert(value, 1_000_000)),
        TimeUnit::Millisecond => primitive::<DurationMillisecondType>(py, array, column, |value| convert(value, 1_000)),
        TimeUnit::Microsecond => primitive::<DurationMicrosecondType>(py, array, column, |value| convert(value, 1)),
        TimeUnit::Nanosecond => {
            primitive::<DurationNanosecondType>(py, array, column, |value| convert(whole_micros(py, value, column)?, 1))
        }
    }
}

fn structs<'py>(
    py: Python<'py>,
    array: &dyn Array,
    column: &str,
    fields: &mut [(Py<PyString>, Conversion)],
) -> Objects<'py> {
    let structs = array.as_struct_opt().ok_or_else(|| mismatch(py, array, column))?;
    let mut columns = Vec::with_capacity(fields.len());
    for ((name, conversion), child) in fields.iter_mut().zip(structs.columns()) {
        columns.push((name.bind(py), conversion.objects(py, child, column)?.into_iter()));
    }
    let mut objects = Vec::with_capacity(structs.len());
    for row in 0..structs.len() {
        let object = PyDict::new(py);
        for (name, values) in &mut columns {
            object.set_item(*name, values.next())?;
        }
        objects.push(if structs.is_null(row) { py.None().into_bound(py) } else { object.into_any() });
    }
    Ok(objects)
}

/// Returns the part of `values` that the offsets of a sliced list speak of.
fn window<O: arrow_buffer::ArrowNativeType>(values: &ArrayRef, offsets: &OffsetBuffer<O>) -> ArrayRef {
    let edge = |offset: Option<&O>| offset.map_or(0, |offset| offset.as_usize());
    let (start, end) = (edge(offsets.first()), edge(offsets.last()));
    values.slice(start, end - start)
}

/// Hands the items of each list to `make`, nulls to nobody.
fn regroup<'py, T, O: arrow_buffer::ArrowNativeType>(
    py: Python<'py>,
    items: Vec<T>,
    offsets: &OffsetBuffer<O>,
    nulls: Option<&NullBuffer>,
    mut make: impl FnMut(Vec<T>) -> PyResult<Bound<'py, PyAny>>,
) -> Objects<'py> {
    let mut items = items.into_iter();
    let mut objects = Vec::with_capacity(offsets.len());
    for (row, length) in offsets.lengths().enumerate() {
        let group = items.by_ref().take(length).collect();
        let is_null = nulls.is_some_and(|nulls| nulls.is_null(row));
        objects.push(if is_null { py.None().into_bound(py) } else { make(group)? });
    }
    Ok(objects)
}

/// Writes `value / 10^scale` in plain notation with all its digits, which `Decimal(text)` takes exactly.
fn decimal_text(value: i128, scale: usize, text: &mut String) {
    text.clear();
    if value < 0 {
        text.push('-');
    }
    let start = text.len();
    // Writing to a String cannot fail.
    let _ = match u64::try_from(value.unsigned_abs()) {
        Ok(digits) => write!(text, "{digits:0width$}", width = scale + 1),
        Err(_) => write!(text, "{:0width$}", value.unsigned_abs(), width = scale + 1),
    };
    if scale > 0 {
        text.insert(text.len().saturating_sub(scale).max(start), '.');
    }
}

/// Writes months as the platform prints such intervals: `2-6`, `-0-1`.
fn year_month_text(months: i32) -> String {
    let sign = if months < 0 { "-" } else { "" };
    let months = months.unsigned_abs();
    format!("{sign}{}-{}", months / 12, months % 12)
}

fn timedelta<'py>(
    py: Python<'py>,
    class: &Bound<'py, PyAny>,
    micros: i128,
    column: &str,
) -> PyResult<Bound<'py, PyAny>> {
    let day = i128::from(DAY_MICROS);
    let (days, rest) = (micros.div_euclid(day), micros.rem_euclid(day));
    class
        .call1((days, rest / 1_000_000, rest % 1_000_000))
        .map_err(|_| out_of_range(py, column, &format!("INTERVAL of {micros} microseconds")))
}

fn whole_micros(py: Python<'_>, nanos: i64, column: &str) -> PyResult<i64> {
    if nanos % 1_000 == 0 {
        return Ok(nanos / 1_000);
    }
    Err(out_of_range(py, column, &format!("value of {nanos} nanoseconds")))
}

/// Returns a day counted from 1970-01-01, within the years 1 to 9999, as the bytes in which `date` pickles itself: the year
/// in two, month, day. `datetime` adds hour, minute, second and three of microseconds.
///
/// The classes take those bytes back in a third of the time that numbers need (60 against 180 ns, 2026-11), and the
/// limited API has no faster way.
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms" (`civil_from_days`).
fn date_state(days: i64) -> Option<[u8; 4]> {
    if !(FIRST_DAY..=LAST_DAY).contains(&days) {
        return None;
    }
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let [high, low] = ((year_of_era + era * 400 + i64::from(month <= 2)) as u16).to_be_bytes();
    Some([high, low, month as u8, day as u8])
}

/// Reads a zone that is an offset: `+05:30`, `-08:00`, `GMT+8`, `UTC+02:00`.
fn offset_seconds(name: &str) -> Option<i64> {
    let offset = ["UTC", "GMT", "UT"].iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    let (sign, digits) = match offset.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let mut seconds = 0;
    for (part, unit) in digits.split(':').zip([3600, 60, 1]) {
        seconds += part.parse::<u8>().ok().map(i64::from)? * unit;
    }
    (digits.split(':').count() <= 3 && seconds < 86_400).then_some(sign * seconds)
}

fn out_of_range(py: Python<'_>, column: &str, value: &str) -> PyErr {
    let message = format!(
        "column `{column}` holds a {value}, which Python's datetime types (years 1 to 9999, microseconds) cannot hold; \
         fetch Arrow, or cast the column to STRING in the query"
    );
    error::raise(py, "DataError", "OutOfRange", &message)
}

fn unsupported(py: Python<'_>, data_type: &DataType, column: &str) -> PyErr {
    let message = format!("column `{column}` has Arrow type {data_type}, which has no row form; fetch Arrow instead");
    error::raise(py, "NotSupportedError", "InvalidArgument", &message)
}

fn mismatch(py: Python<'_>, array: &dyn Array, column: &str) -> PyErr {
    let message = format!("column `{column}` arrived as {} against its own schema", array.data_type());
    error::raise(py, "InternalError", "Internal", &message)
}
