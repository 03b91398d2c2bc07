//! Lists and maps.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, OffsetSizeTrait};
use arrow_buffer::{NullBuffer, ScalarBuffer};
use arrow_schema::DataType;

use super::column::{Column, MALFORMED, Measured, NULL, Rows, SKIP};
use super::leaf::Ints;
use super::plan::FieldPlan;
use super::wire::{Tag, Writer, varint_len};
use crate::error::ZerobusError;

/// Lists and maps: values of which a row has any number.
#[derive(Debug)]
pub(super) struct List {
    spans: Spans,
    /// Elements of all rows of the array.
    count: usize,
    /// Its tag is that of the list, or empty.
    element: Box<Column>,
    packed: bool,
    /// Of each row last measured, where its elements begin among all that were; one more than there are rows.
    starts: Vec<usize>,
    /// The first element measured, if all that follow are consecutive.
    first: usize,
    /// The elements measured, if they are not.
    picked: Option<Vec<usize>>,
    /// Of each element, its length.
    sizes: Vec<usize>,
}

/// Which elements a row has.
#[derive(Debug)]
enum Spans {
    /// Offsets, counted from the second.
    Offsets(Ints, usize),
    Views(Ints, Ints),
    Fixed(usize),
}

impl List {
    /// None where `array` is none of lists.
    pub(super) fn bind(element: &FieldPlan, packed: bool, array: &ArrayRef) -> Result<Option<Self>, ZerobusError> {
        let Some((spans, elements)) = elements(array) else { return Ok(None) };
        Ok(Some(Self {
            spans,
            count: elements.len(),
            element: Column::bind(element, &elements, None)?.into(),
            packed,
            starts: Vec::new(),
            first: 0,
            picked: None,
            sizes: Vec::new(),
        }))
    }

    pub(super) fn measure(
        &mut self,
        rows: Rows<'_>,
        nulls: Option<&NullBuffer>,
        tag: Tag,
        path: &Arc<str>,
        out: &mut [usize],
        measured: &mut Measured,
    ) {
        self.starts.clear();
        self.starts.push(0);
        self.picked = None;
        let mut next = None;
        let mut count = 0;
        for (index, out) in out.iter_mut().enumerate() {
            let row = rows.get(index);
            if *out != SKIP && !Rows::is_null(row, nulls) {
                match self.spans.get(row).filter(|(start, length)| self.count.checked_sub(*start) >= Some(*length)) {
                    Some((_, 0)) => {}
                    Some((_, length)) if length > measured.record_bytes => {
                        *out = SKIP;
                        measured.fail(index, path, format!("a list of {length} elements is too long for a record"));
                    }
                    Some((_, length)) if !measured.spend(length) => *out = SKIP,
                    Some((start, length)) => {
                        let first = *next.get_or_insert_with(|| {
                            self.first = start;
                            start
                        });
                        if self.picked.is_none() && first != start {
                            self.picked = Some((self.first..self.first + count).collect());
                        }
                        if let Some(picked) = &mut self.picked {
                            picked.extend(start..start + length);
                        }
                        next = Some(start + length);
                        count += length;
                    }
                    None => {
                        *out = SKIP;
                        measured.fail(index, path, MALFORMED);
                    }
                }
            }
            self.starts.push(count);
        }
        self.sizes.clear();
        self.sizes.resize(count, 0);
        let earlier = measured.failures.len();
        let elements = self.picked.as_ref().map_or(Rows::From(self.first), |picked| Rows::Picked(picked));
        self.element.measure(elements, &mut self.sizes, measured);
        for failure in measured.failures.iter_mut().skip(earlier) {
            failure.index = self.starts.partition_point(|start| *start <= failure.index).saturating_sub(1);
        }
        for (index, out) in out.iter_mut().enumerate() {
            let size = self.size(index);
            if !self.packed || size == 0 || size == SKIP {
                *out = out.saturating_add(size);
            } else {
                *out = out.saturating_add(tag.len() + varint_len(size as u64)).saturating_add(size);
            }
        }
    }

    fn span(&self, index: usize) -> std::ops::Range<usize> {
        let at = |index| self.starts.get(index).copied().unwrap_or_default();
        at(index)..at(index + 1)
    }

    /// Length of the elements of a row.
    fn size(&self, index: usize) -> usize {
        let sizes = self.sizes.get(self.span(index)).unwrap_or_default();
        sizes.iter().fold(0, |sum: usize, size| sum.saturating_add(*size))
    }

    pub(super) fn write(&self, index: usize, tag: Tag, writer: &mut Writer) {
        let span = self.span(index);
        if self.packed {
            let size = self.size(index);
            if size == 0 {
                return;
            }
            writer.tag(tag);
            writer.varint(size as u64);
        }
        for index in span {
            let row = match &self.picked {
                Some(picked) => picked.get(index).copied().unwrap_or(NULL),
                None => self.first + index,
            };
            self.element.write(index, row, writer);
        }
    }
}

impl Spans {
    /// Start and length of the list in `row`.
    fn get(&self, row: usize) -> Option<(usize, usize)> {
        let at = |values: &Ints, row| values.get(row).and_then(|value| usize::try_from(value).ok());
        match self {
            Self::Offsets(offsets, first) => {
                let (start, end) = (at(offsets, row)?, at(offsets, row + 1)?);
                Some((start.checked_sub(*first)?, end.checked_sub(start)?))
            }
            Self::Views(offsets, sizes) => Some((at(offsets, row)?, at(sizes, row)?)),
            Self::Fixed(length) => Some((row.checked_mul(*length)?, *length)),
        }
    }
}

/// The elements of an array of lists, and which of them each row has.
fn elements(array: &ArrayRef) -> Option<(Spans, ArrayRef)> {
    Some(match array.data_type() {
        DataType::List(_) => lists::<i32>(array)?,
        DataType::LargeList(_) => lists::<i64>(array)?,
        DataType::FixedSizeList(_, length) => {
            (Spans::Fixed(usize::try_from(*length).ok()?), Arc::clone(array.as_fixed_size_list_opt()?.values()))
        }
        DataType::ListView(_) => {
            let array = array.as_list_view_opt::<i32>()?;
            let spans = Spans::Views(Ints::I32(array.offsets().clone()), Ints::I32(array.sizes().clone()));
            (spans, Arc::clone(array.values()))
        }
        DataType::LargeListView(_) => {
            let array = array.as_list_view_opt::<i64>()?;
            let spans = Spans::Views(Ints::I64(array.offsets().clone()), Ints::I64(array.sizes().clone()));
            (spans, Arc::clone(array.values()))
        }
        DataType::Map(..) => {
            let array = array.as_map_opt()?;
            let entries: ArrayRef = Arc::new(array.entries().clone());
            within(Ints::I32(array.offsets().inner().clone()), array.len(), &entries)?
        }
        _ => return None,
    })
}

fn lists<O: OffsetSizeTrait>(array: &ArrayRef) -> Option<(Spans, ArrayRef)> {
    let array = array.as_list_opt::<O>()?;
    let offsets = array.offsets().inner().inner().clone();
    let offsets =
        if O::IS_LARGE { Ints::I64(ScalarBuffer::from(offsets)) } else { Ints::I32(ScalarBuffer::from(offsets)) };
    within(offsets, array.len(), array.values())
}

/// Leaves out elements that are not between the first and the last of `len + 1` offsets: those of other slices.
fn within(offsets: Ints, len: usize, elements: &ArrayRef) -> Option<(Spans, ArrayRef)> {
    let at = |row| usize::try_from(offsets.get(row)?).ok();
    let (first, last) = (at(0)?, at(len)?);
    let elements = match last.checked_sub(first) {
        Some(count) if last <= elements.len() => elements.slice(first, count),
        _ => return None,
    };
    Some((Spans::Offsets(offsets, first), elements))
}
