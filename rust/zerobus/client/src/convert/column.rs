//! Columns of one batch, bound to their plans.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int16Type, Int32Type, Int64Type, RunEndIndexType};
use arrow_array::{Array, ArrayRef, OffsetSizeTrait, RunArray};
use arrow_buffer::{NullBuffer, ScalarBuffer};
use arrow_schema::DataType;

use super::leaf::{Ints, Leaf};
use super::plan::{FieldPlan, Kind, MessagePlan, Scalar};
use super::variant;
use super::wire::{Tag, Writer, varint_len};
use crate::error::ZerobusError;

/// Length of what is not written: failed rows, null messages. No sum gets below it again.
pub(super) const SKIP: usize = usize::MAX;
/// The row that a null key of a dictionary leads to.
const NULL: usize = usize::MAX;
/// Where a key that is no position leads to.
const NOWHERE: usize = usize::MAX - 1;
const MALFORMED: &str = "the array is malformed";

/// Which rows of an array are meant.
#[derive(Clone, Copy)]
pub(super) enum Rows<'a> {
    From(usize),
    Picked(&'a [usize]),
}

impl Rows<'_> {
    #[inline]
    pub(super) fn get(self, index: usize) -> usize {
        match self {
            Self::From(start) => start + index,
            Self::Picked(rows) => rows.get(index).copied().unwrap_or(NULL),
        }
    }

    #[inline]
    pub(super) fn is_null(row: usize, nulls: Option<&NullBuffer>) -> bool {
        match nulls {
            Some(nulls) => row >= nulls.len() || nulls.is_null(row),
            None => row == NULL,
        }
    }
}

/// What came up while rows were measured.
pub(super) struct Measured {
    /// Failures, by the index of the row in the call.
    pub(super) failures: Vec<CellFailure>,
    /// Bytes of the largest record: no list has more elements.
    pub(super) record_bytes: usize,
}

pub(super) struct CellFailure {
    pub(super) index: usize,
    pub(super) path: Arc<str>,
    pub(super) why: Cow<'static, str>,
}

impl Measured {
    pub(super) fn fail(&mut self, index: usize, path: &Arc<str>, why: impl Into<Cow<'static, str>>) {
        self.failures.push(CellFailure { index, path: Arc::clone(path), why: why.into() });
    }
}

/// A column with all that is needed to write it as a field.
#[derive(Debug)]
pub(super) struct Column {
    path: Arc<str>,
    tag: Tag,
    on_null: Option<&'static str>,
    nulls: Option<NullBuffer>,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Leaf(Leaf),
    Message(Message),
    List(List),
    Variant(Variant),
    /// Dictionaries and runs.
    Mapped(Mapped),
    /// All null.
    Null,
}

/// Columns that become one message a row.
#[derive(Debug)]
pub(super) struct Message {
    fields: Vec<Column>,
    missing: Option<Arc<str>>,
    /// Of each row last measured, the length of its message.
    sizes: Vec<usize>,
}

#[derive(Debug)]
struct List {
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

#[derive(Debug)]
struct Variant {
    metadata: Leaf,
    value: Leaf,
    /// Of the rows last measured, their JSON, and where that of each ends.
    text: String,
    ends: Vec<usize>,
}

#[derive(Debug)]
struct Mapped {
    map: Map,
    values: Box<Column>,
    count: usize,
    /// Of each row last measured, which of the values it is.
    picked: Vec<usize>,
}

/// Which elements a row has.
#[derive(Debug)]
enum Spans {
    /// Offsets, counted from the second.
    Offsets(Ints, usize),
    Views(Ints, Ints),
    Fixed(usize),
}

/// Which value a row has.
#[derive(Debug)]
enum Map {
    Keys(Ints, Option<NullBuffer>),
    Runs { ends: Ints, count: usize, offset: usize },
}

fn malformed(path: &str, array: &dyn Array) -> ZerobusError {
    ZerobusError::conversion(format!("column `{path}` of type {} is malformed", array.data_type()))
}

impl Message {
    /// Binds the columns of a batch or struct; `parents` are the nulls of the structs they are in.
    pub(super) fn bind(
        plan: &MessagePlan,
        columns: &[ArrayRef],
        parents: Option<&NullBuffer>,
    ) -> Result<Self, ZerobusError> {
        for (column, path) in &plan.unknown {
            let Some(array) = columns.get(*column) else { continue };
            let nulls = NullBuffer::union(parents, array.logical_nulls().as_ref());
            if nulls.map_or(0, |nulls| nulls.null_count()) < array.len() {
                return Err(ZerobusError::configuration(format!("column `{path}` is not in the descriptor")));
            }
        }
        let fields = plan.fields.iter().map(|field| match columns.get(field.column) {
            Some(array) => Column::bind(field, array, parents),
            None => Err(ZerobusError::configuration(format!("column `{}` is missing", field.path))),
        });
        Ok(Self { fields: fields.collect::<Result<_, _>>()?, missing: plan.missing.clone(), sizes: Vec::new() })
    }

    /// Measures the messages of `rows`, one for each of `before` that is not [`SKIP`]; their lengths are in
    /// [`sizes`](Self::sizes) then.
    pub(super) fn measure(&mut self, rows: Rows<'_>, before: impl Iterator<Item = usize>, measured: &mut Measured) {
        self.sizes.clear();
        self.sizes.extend(before);
        if let Some(path) = &self.missing {
            for (index, size) in self.sizes.iter_mut().enumerate().filter(|(_, size)| **size != SKIP) {
                *size = SKIP;
                measured.fail(index, path, "a required field has no column");
            }
        }
        for field in &mut self.fields {
            field.measure(rows, &mut self.sizes, measured);
        }
    }

    /// Of each row last measured, the length of its message or [`SKIP`].
    pub(super) fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// Writes the message of the row `row`, which was the `index`-th to be measured.
    #[inline]
    pub(super) fn write(&self, index: usize, row: usize, writer: &mut Writer) {
        for field in &self.fields {
            field.write(index, row, writer);
        }
    }
}

impl Column {
    fn bind(plan: &FieldPlan, array: &ArrayRef, parents: Option<&NullBuffer>) -> Result<Self, ZerobusError> {
        let wrong = || malformed(&plan.path, array);
        let column = |values, on_null| Self {
            path: Arc::clone(&plan.path),
            tag: plan.tag,
            on_null,
            nulls: array.nulls().filter(|nulls| nulls.null_count() > 0).cloned(),
            values,
        };
        match array.data_type() {
            DataType::Dictionary(..) => {
                let dictionary = array.as_any_dictionary_opt().ok_or_else(wrong)?;
                let keys = Ints::of(dictionary.keys()).ok_or_else(wrong)?;
                let map = Map::Keys(keys, dictionary.keys().nulls().cloned());
                return Ok(column(Values::Mapped(Mapped::bind(plan, map, dictionary.values())?), None));
            }
            DataType::RunEndEncoded(ends, _) => {
                let runs = match ends.data_type() {
                    DataType::Int16 => runs::<Int16Type>(array),
                    DataType::Int32 => runs::<Int32Type>(array),
                    _ => runs::<Int64Type>(array),
                };
                let (map, values) = runs.ok_or_else(wrong)?;
                return Ok(column(Values::Mapped(Mapped::bind(plan, map, &values)?), None));
            }
            _ => {}
        }
        let values = match &plan.kind {
            Kind::Null => Values::Null,
            Kind::Scalar(scalar) => Values::Leaf(Leaf::bind(scalar, array).ok_or_else(wrong)?),
            Kind::Variant => {
                let array = array.as_struct_opt().ok_or_else(wrong)?;
                let leaf = |name| Leaf::bind(&Scalar::Bytes, array.column_by_name(name)?);
                let (metadata, value) = leaf("metadata").zip(leaf("value")).ok_or_else(wrong)?;
                Values::Variant(Variant { metadata, value, text: String::new(), ends: Vec::new() })
            }
            Kind::Message(message) => {
                let array = array.as_struct_opt().ok_or_else(wrong)?;
                let nulls = NullBuffer::union(parents, array.nulls());
                Values::Message(Message::bind(message, array.columns(), nulls.as_ref())?)
            }
            Kind::List { element, packed } => {
                let (spans, elements) = elements(array).ok_or_else(wrong)?;
                Values::List(List {
                    spans,
                    count: elements.len(),
                    element: Self::bind(element, &elements, None)?.into(),
                    packed: *packed,
                    starts: Vec::new(),
                    first: 0,
                    picked: None,
                    sizes: Vec::new(),
                })
            }
        };
        Ok(column(values, plan.on_null))
    }

    fn measure(&mut self, rows: Rows<'_>, out: &mut [usize], measured: &mut Measured) {
        let nulls = self.nulls.as_ref();
        if let Some(why) = self.on_null
            && (nulls.is_some() || matches!(rows, Rows::Picked(_)) || matches!(self.values, Values::Null))
        {
            for (index, out) in out.iter_mut().enumerate() {
                let null = matches!(self.values, Values::Null) || Rows::is_null(rows.get(index), nulls);
                if *out != SKIP && null {
                    *out = SKIP;
                    measured.fail(index, &self.path, why);
                }
            }
        }
        match &mut self.values {
            Values::Null => {}
            Values::Leaf(leaf) => leaf.measure(rows, nulls, self.tag, &self.path, out, measured),
            Values::Message(message) => {
                let is_null = |index: usize| Rows::is_null(rows.get(index), nulls);
                let before =
                    out.iter().enumerate().map(|(index, out)| if *out == SKIP || is_null(index) { SKIP } else { 0 });
                message.measure(rows, before, measured);
                for (index, (out, size)) in out.iter_mut().zip(&message.sizes).enumerate() {
                    if *size != SKIP {
                        *out = out.saturating_add(self.tag.len() + varint_len(*size as u64)).saturating_add(*size);
                    } else if !is_null(index) {
                        *out = SKIP;
                    }
                }
            }
            Values::Variant(variant) => variant.measure(rows, nulls, self.tag, &self.path, out, measured),
            Values::List(list) => list.measure(rows, nulls, self.tag, &self.path, out, measured),
            Values::Mapped(mapped) => {
                mapped.picked.clear();
                mapped.map.pick(rows, out.len(), &mut mapped.picked);
                for (index, (picked, out)) in mapped.picked.iter().zip(out.iter_mut()).enumerate() {
                    if *picked >= mapped.count && *picked != NULL && *out != SKIP {
                        *out = SKIP;
                        measured.fail(index, &self.path, MALFORMED);
                    }
                }
                mapped.values.measure(Rows::Picked(&mapped.picked), out, measured);
            }
        }
    }

    #[inline]
    fn write(&self, index: usize, row: usize, writer: &mut Writer) {
        if let Some(nulls) = &self.nulls {
            if row >= nulls.len() || nulls.is_null(row) {
                return;
            }
        } else if row == NULL {
            return;
        }
        match &self.values {
            Values::Null => {}
            Values::Leaf(leaf) => {
                writer.tag(self.tag);
                leaf.write(row, writer);
            }
            Values::Message(message) => {
                if let Some(size) = message.sizes.get(index).filter(|size| **size != SKIP) {
                    writer.tag(self.tag);
                    writer.varint(*size as u64);
                    message.write(index, row, writer);
                }
            }
            Values::Variant(variant) => {
                writer.tag(self.tag);
                writer.bytes(variant.json(index).as_bytes());
            }
            Values::List(list) => list.write(index, self.tag, writer),
            Values::Mapped(mapped) => {
                mapped.values.write(index, mapped.picked.get(index).copied().unwrap_or(NULL), writer);
            }
        }
    }
}

impl Variant {
    fn measure(
        &mut self,
        rows: Rows<'_>,
        nulls: Option<&NullBuffer>,
        tag: Tag,
        path: &Arc<str>,
        out: &mut [usize],
        measured: &mut Measured,
    ) {
        self.text.clear();
        self.ends.clear();
        for (index, out) in out.iter_mut().enumerate() {
            let row = rows.get(index);
            if *out != SKIP && !Rows::is_null(row, nulls) {
                let before = self.text.len();
                let (metadata, value) = (self.metadata.bytes(row), self.value.bytes(row));
                let (metadata, value) = (metadata.unwrap_or_default(), value.unwrap_or_default());
                match variant::write_json(metadata, value, &mut self.text, measured.record_bytes) {
                    Ok(()) => {
                        let length = self.text.len() - before;
                        *out = out.saturating_add(tag.len() + varint_len(length as u64) + length);
                    }
                    Err(why) => {
                        *out = SKIP;
                        measured.fail(index, path, why);
                    }
                }
            }
            self.ends.push(self.text.len());
        }
    }

    fn json(&self, index: usize) -> &str {
        let end = |index: usize| self.ends.get(index).copied().unwrap_or_default();
        let start = index.checked_sub(1).map_or(0, end);
        self.text.get(start..end(index)).unwrap_or_default()
    }
}

impl Mapped {
    fn bind(plan: &FieldPlan, map: Map, values: &ArrayRef) -> Result<Self, ZerobusError> {
        let column = Column::bind(plan, values, None)?;
        Ok(Self { map, values: column.into(), count: values.len(), picked: Vec::new() })
    }
}

impl List {
    fn measure(
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

    fn write(&self, index: usize, tag: Tag, writer: &mut Writer) {
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

impl Map {
    /// Adds to `picked` which value each of the first `len` of `rows` has.
    fn pick(&self, rows: Rows<'_>, len: usize, picked: &mut Vec<usize>) {
        match self {
            Self::Keys(keys, nulls) => picked.extend((0..len).map(|index| {
                let row = rows.get(index);
                if Rows::is_null(row, nulls.as_ref()) {
                    return NULL;
                }
                keys.get(row).and_then(|key| usize::try_from(key).ok()).unwrap_or(NOWHERE)
            })),
            Self::Runs { ends, count, offset } => {
                let end = |run: usize| ends.get(run).and_then(|end| usize::try_from(end).ok());
                let (mut run, mut begin) = (0, 0);
                picked.extend((0..len).map(|index| {
                    let row = rows.get(index);
                    if row == NULL {
                        return NULL;
                    }
                    let Some(row) = row.checked_add(*offset) else { return NOWHERE };
                    // Most often that of the row before.
                    if row < begin || end(run).is_none_or(|end| row >= end) {
                        let (mut low, mut high) = (0, *count);
                        while low < high {
                            let middle = low.midpoint(high);
                            if end(middle).is_some_and(|end| end <= row) { low = middle + 1 } else { high = middle }
                        }
                        run = low;
                        begin = run.checked_sub(1).and_then(end).unwrap_or(0);
                    }
                    run
                }));
            }
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

fn runs<R: RunEndIndexType>(array: &ArrayRef) -> Option<(Map, ArrayRef)> {
    let runs = array.as_any().downcast_ref::<RunArray<R>>()?;
    let ends = runs.run_ends();
    let buffer = ends.inner().inner().clone();
    let count = ends.values().len();
    let values = match R::DATA_TYPE {
        DataType::Int16 => Ints::I16(ScalarBuffer::from(buffer)),
        DataType::Int32 => Ints::I32(ScalarBuffer::from(buffer)),
        _ => Ints::I64(ScalarBuffer::from(buffer)),
    };
    Some((Map::Runs { ends: values, count, offset: ends.offset() }, Arc::clone(runs.values())))
}
