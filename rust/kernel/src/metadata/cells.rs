//! Columns of an answer, whatever their width.

use std::borrow::Cow;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int8Type, Int16Type, Int32Type, Int64Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Int8Array, Int16Array, Int32Array, Int64Array, LargeStringArray, StringArray,
};
use arrow_schema::DataType;

/// A column of the server's answer: texts or whole numbers, whatever their width.
#[derive(Debug)]
pub(super) enum Cells<'a> {
    Absent,
    Text(&'a StringArray),
    LargeText(&'a LargeStringArray),
    /// `true` or `false` as a text, 1 or 0 as a number.
    Flag(&'a BooleanArray),
    Int8(&'a Int8Array),
    Int16(&'a Int16Array),
    Int32(&'a Int32Array),
    Int64(&'a Int64Array),
}

impl<'a> Cells<'a> {
    /// Returns `None` for a type that no such column has.
    pub(super) fn of(array: &'a ArrayRef) -> Option<Self> {
        Some(match array.data_type() {
            DataType::Null => Self::Absent,
            DataType::Utf8 => Self::Text(array.as_string_opt()?),
            DataType::LargeUtf8 => Self::LargeText(array.as_string_opt()?),
            DataType::Boolean => Self::Flag(array.as_boolean_opt()?),
            DataType::Int8 => Self::Int8(array.as_primitive_opt::<Int8Type>()?),
            DataType::Int16 => Self::Int16(array.as_primitive_opt::<Int16Type>()?),
            DataType::Int32 => Self::Int32(array.as_primitive_opt::<Int32Type>()?),
            DataType::Int64 => Self::Int64(array.as_primitive_opt::<Int64Type>()?),
            _ => return None,
        })
    }

    pub(super) fn text(&self, row: usize) -> Option<Cow<'a, str>> {
        match self {
            Self::Text(array) => array.is_valid(row).then(|| Cow::Borrowed(array.value(row))),
            Self::LargeText(array) => array.is_valid(row).then(|| Cow::Borrowed(array.value(row))),
            Self::Flag(array) => {
                array.is_valid(row).then(|| Cow::Borrowed(if array.value(row) { "true" } else { "false" }))
            }
            Self::Absent | Self::Int8(_) | Self::Int16(_) | Self::Int32(_) | Self::Int64(_) => {
                self.number(row).map(|number| Cow::Owned(number.to_string()))
            }
        }
    }

    /// Returns the number; a text that is none is NULL, not known.
    pub(super) fn number(&self, row: usize) -> Option<i64> {
        match self {
            Self::Absent => None,
            Self::Text(_) | Self::LargeText(_) => self.text(row)?.trim().parse().ok(),
            Self::Flag(array) => array.is_valid(row).then(|| array.value(row).into()),
            Self::Int8(array) => array.is_valid(row).then(|| array.value(row).into()),
            Self::Int16(array) => array.is_valid(row).then(|| array.value(row).into()),
            Self::Int32(array) => array.is_valid(row).then(|| array.value(row).into()),
            Self::Int64(array) => array.is_valid(row).then(|| array.value(row)),
        }
    }
}

/// Returns the texts of a column, without those that are NULL.
pub(super) fn texts(column: &ArrayRef) -> Vec<String> {
    let cells = Cells::of(column).unwrap_or(Cells::Absent);
    (0..column.len()).filter_map(|row| cells.text(row).map(Cow::into_owned)).collect()
}

/// Returns the first of them.
pub(super) fn first_text(column: &ArrayRef) -> Option<String> {
    texts(column).into_iter().next()
}
