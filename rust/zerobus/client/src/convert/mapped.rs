//! Dictionaries and runs.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int16Type, Int32Type, Int64Type, RunEndIndexType};
use arrow_array::{Array, ArrayRef, RunArray};
use arrow_buffer::{NullBuffer, ScalarBuffer};
use arrow_schema::DataType;

use super::column::{Column, MALFORMED, Measured, NULL, Rows, SKIP};
use super::leaf::Ints;
use super::plan::FieldPlan;
use super::wire::Writer;
use crate::error::ZerobusError;

/// Where a key that is no position leads to.
const NOWHERE: usize = usize::MAX - 1;

/// Rows that share values with others.
#[derive(Debug)]
pub(super) struct Mapped {
    map: Map,
    values: Box<Column>,
    count: usize,
    /// Of each row last measured, which of the values it is.
    picked: Vec<usize>,
}

/// Which value a row has.
#[derive(Debug)]
enum Map {
    Keys(Ints, Option<NullBuffer>),
    Runs { ends: Ints, count: usize, offset: usize },
}

impl Mapped {
    /// None where `array` is none of dictionaries and runs.
    pub(super) fn bind(plan: &FieldPlan, array: &ArrayRef) -> Result<Option<Self>, ZerobusError> {
        let mapped = match array.data_type() {
            DataType::Dictionary(..) => keys(array),
            DataType::RunEndEncoded(ends, _) => match ends.data_type() {
                DataType::Int16 => runs::<Int16Type>(array),
                DataType::Int32 => runs::<Int32Type>(array),
                _ => runs::<Int64Type>(array),
            },
            _ => None,
        };
        let Some((map, values)) = mapped else { return Ok(None) };
        let column = Column::bind(plan, &values, None)?;
        Ok(Some(Self { map, values: column.into(), count: values.len(), picked: Vec::new() }))
    }

    pub(super) fn measure(&mut self, rows: Rows<'_>, path: &Arc<str>, out: &mut [usize], measured: &mut Measured) {
        self.picked.clear();
        self.map.pick(rows, out.len(), &mut self.picked);
        for (index, (picked, out)) in self.picked.iter().zip(out.iter_mut()).enumerate() {
            if *picked >= self.count && *picked != NULL && *out != SKIP {
                *out = SKIP;
                measured.fail(index, path, MALFORMED);
            }
        }
        self.values.measure(Rows::Picked(&self.picked), out, measured);
    }

    pub(super) fn write(&self, index: usize, writer: &mut Writer) {
        self.values.write(index, self.picked.get(index).copied().unwrap_or(NULL), writer);
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

fn keys(array: &ArrayRef) -> Option<(Map, ArrayRef)> {
    let dictionary = array.as_any_dictionary_opt()?;
    let keys = dictionary.keys();
    Some((Map::Keys(Ints::of(keys)?, keys.nulls().cloned()), Arc::clone(dictionary.values())))
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
