//! Columns of one batch, bound to their plans.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;

use super::leaf::Leaf;
use super::list::List;
use super::mapped::Mapped;
use super::plan::{FieldPlan, Kind, MessagePlan, Scalar};
use super::variant;
use super::wire::{Tag, Writer, varint_len};
use crate::error::ZerobusError;

/// Length of what is not written: failed rows, null messages. No sum gets below it again.
pub(super) const SKIP: usize = usize::MAX;
/// The row that a null key of a dictionary leads to.
pub(super) const NULL: usize = usize::MAX;
pub(super) const MALFORMED: &str = "the array is malformed";

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
    /// Elements of lists and bytes of variants that may still be measured, each at least a byte of a record: of elements that
    /// rows share there can be far more than the batch has bytes.
    pub(super) budget: usize,
    /// Whether there were more. What was measured says nothing then.
    pub(super) is_spent: bool,
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

    /// Tells whether so much may be measured.
    pub(super) fn spend(&mut self, count: usize) -> bool {
        let left = self.budget.checked_sub(count);
        self.is_spent |= left.is_none();
        self.budget = left.unwrap_or(0);
        left.is_some()
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

/// Where a message is written: how far it is, and where it ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) at: usize,
    pub(super) end: usize,
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
struct Variant {
    metadata: Leaf,
    value: Leaf,
    /// Of the rows last measured, their JSON, and where that of each ends.
    text: String,
    ends: Vec<usize>,
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

    /// Writes the messages of consecutive rows, each in its place, column by column: what a value needs is the same for all of
    /// a column. Malformed arrays can write beyond their places; these do not end where they should then.
    pub(super) fn write_rows(&self, index: usize, row: usize, places: &mut [Place], writer: &mut Writer) {
        for field in &self.fields {
            field.write_rows(index, row, places, writer);
        }
    }
}

impl Column {
    pub(super) fn bind(plan: &FieldPlan, array: &ArrayRef, parents: Option<&NullBuffer>) -> Result<Self, ZerobusError> {
        let wrong = || malformed(&plan.path, array);
        let column = |values, on_null| Self {
            path: Arc::clone(&plan.path),
            tag: plan.tag,
            on_null,
            nulls: array.nulls().filter(|nulls| nulls.null_count() > 0).cloned(),
            values,
        };
        if matches!(array.data_type(), DataType::Dictionary(..) | DataType::RunEndEncoded(..)) {
            let mapped = Mapped::bind(plan, array)?.ok_or_else(wrong)?;
            return Ok(column(Values::Mapped(mapped), None));
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
            Kind::List { element, packed } => Values::List(List::bind(element, *packed, array)?.ok_or_else(wrong)?),
        };
        Ok(column(values, plan.on_null))
    }

    /// Adds to `out` what the field takes in each of `rows`.
    pub(super) fn measure(&mut self, rows: Rows<'_>, out: &mut [usize], measured: &mut Measured) {
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
                mapped.measure(rows, &self.path, out, measured);
            }
        }
    }

    /// Writes the field of the row `row`, which was the `index`-th to be measured.
    #[inline]
    pub(super) fn write(&self, index: usize, row: usize, writer: &mut Writer) {
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
                mapped.write(index, writer);
            }
        }
    }

    /// Writes the field of consecutive rows, each in its place.
    fn write_rows(&self, index: usize, row: usize, places: &mut [Place], writer: &mut Writer) {
        match &self.values {
            Values::Null => {}
            Values::Leaf(leaf) => leaf.write_rows(self.tag, self.nulls.as_ref(), row, places, writer),
            _ => {
                for (step, place) in places.iter_mut().enumerate() {
                    writer.seek(place.at, place.end);
                    self.write(index + step, row + step, writer);
                    place.at = writer.len();
                }
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
            if *out != SKIP && measured.is_spent {
                *out = SKIP;
            } else if *out != SKIP && !Rows::is_null(row, nulls) {
                let before = self.text.len();
                let (metadata, value) = (self.metadata.bytes(row), self.value.bytes(row));
                let (metadata, value) = (metadata.unwrap_or_default(), value.unwrap_or_default());
                let limit = measured.record_bytes.min(measured.budget);
                match variant::write_json(metadata, value, &mut self.text, limit) {
                    Ok(()) => {
                        let length = self.text.len() - before;
                        measured.spend(length);
                        *out = out.saturating_add(tag.len() + varint_len(length as u64) + length);
                    }
                    Err(variant::TOO_LONG) if limit < measured.record_bytes => {
                        *out = SKIP;
                        measured.is_spent = true;
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
