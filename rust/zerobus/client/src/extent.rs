//! How many bytes the rows of a slice are, without those of the arrays it is a slice of.

#[cfg(feature = "flight")]
mod expanded;

use std::ops::Range;
use std::slice;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    BinaryViewType, ByteArrayType, ByteViewType, Int16Type, Int32Type, Int64Type, RunEndIndexType, StringViewType,
};
use arrow_array::{Array, ArrayRef, GenericByteArray, GenericByteViewArray, OffsetSizeTrait, RecordBatch, RunArray};
use arrow_buffer::ArrowNativeType;
use arrow_schema::{DataType, UnionMode};

#[cfg(feature = "flight")]
pub(crate) use self::expanded::expanded;

/// Views of up to so many bytes hold them themselves.
const INLINE: u32 = 12;

/// Bytes of the rows of a batch. What rows share counts once: elements of lists, and the values of a dictionary.
pub(crate) fn slice_bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().fold(0, |sum: usize, column| sum.saturating_add(whole(column)))
}

/// Bytes of the rows `rows` of an array: ascending ranges that do not overlap. Takes no more steps than there are rows in
/// them and, once for each dictionary, values in it.
fn bytes(array: &dyn Array, rows: &[Range<usize>]) -> usize {
    // Broken offsets may say otherwise of them.
    let mut done = 0;
    let ascending = |range: &Range<usize>| {
        let range = within(&(range.start.max(done)..range.end), array.len());
        done = range.end;
        range
    };
    let rows: Vec<Range<usize>> = rows.iter().map(ascending).collect();
    let count: usize = rows.iter().map(ExactSizeIterator::len).sum();
    if count == 0 {
        return 0;
    }
    let nulls = if array.nulls().is_some() { count.div_ceil(8) } else { 0 };
    nulls.saturating_add(values(array, &rows, count).unwrap_or_default())
}

/// Bytes of `count` rows beside those that tell which are null; none for an array that is not what its type says.
fn values(array: &dyn Array, rows: &[Range<usize>], count: usize) -> Option<usize> {
    use DataType as D;
    Some(match array.data_type() {
        D::Null => 0,
        D::Boolean => count.div_ceil(8),
        D::FixedSizeBinary(width) => count.saturating_mul(usize::try_from(*width).ok()?),
        D::Utf8 => texts(array.as_string_opt::<i32>()?, rows),
        D::LargeUtf8 => texts(array.as_string_opt::<i64>()?, rows),
        D::Binary => texts(array.as_binary_opt::<i32>()?, rows),
        D::LargeBinary => texts(array.as_binary_opt::<i64>()?, rows),
        D::Utf8View => views(array.as_byte_view_opt::<StringViewType>()?, rows),
        D::BinaryView => views(array.as_byte_view_opt::<BinaryViewType>()?, rows),
        D::List(_) => {
            let lists = array.as_list_opt::<i32>()?;
            list(lists.value_offsets(), lists.values(), rows)
        }
        D::LargeList(_) => {
            let lists = array.as_list_opt::<i64>()?;
            list(lists.value_offsets(), lists.values(), rows)
        }
        D::Map(..) => {
            let maps = array.as_map_opt()?;
            list(maps.value_offsets(), maps.entries(), rows)
        }
        D::ListView(_) => {
            let lists = array.as_list_view_opt::<i32>()?;
            list_views(lists.value_offsets(), lists.value_sizes(), lists.values(), rows)
        }
        D::LargeListView(_) => {
            let lists = array.as_list_view_opt::<i64>()?;
            list_views(lists.value_offsets(), lists.value_sizes(), lists.values(), rows)
        }
        D::FixedSizeList(_, length) => {
            let length = usize::try_from(*length).ok()?;
            let elements = |range: &Range<usize>| range.start.saturating_mul(length)..range.end.saturating_mul(length);
            bytes(array.as_fixed_size_list_opt()?.values(), &rows.iter().map(elements).collect::<Vec<_>>())
        }
        D::Struct(_) => {
            let columns = array.as_struct_opt()?.columns();
            columns.iter().fold(0, |sum: usize, column| sum.saturating_add(bytes(column, rows)))
        }
        D::Dictionary(key, _) => {
            let values = array.as_any_dictionary_opt()?.values();
            count.saturating_mul(key.primitive_width()?).saturating_add(whole(values))
        }
        D::RunEndEncoded(ends, _) => match ends.data_type() {
            D::Int16 => runs::<Int16Type>(array, rows)?,
            D::Int32 => runs::<Int32Type>(array, rows)?,
            _ => runs::<Int64Type>(array, rows)?,
        },
        D::Union(fields, mode) => {
            let union = array.as_union_opt()?;
            let child = |id: i8| match mode {
                UnionMode::Sparse => bytes(union.child(id), rows),
                UnionMode::Dense => whole(union.child(id)),
            };
            let ids = if *mode == UnionMode::Dense { size_of::<i8>() + size_of::<i32>() } else { size_of::<i8>() };
            fields.iter().fold(count.saturating_mul(ids), |sum, (id, _)| sum.saturating_add(child(id)))
        }
        other => count.saturating_mul(other.primitive_width()?),
    })
}

fn whole(array: &ArrayRef) -> usize {
    bytes(array, slice::from_ref(&(0..array.len())))
}

/// What of a range there is.
fn within(range: &Range<usize>, len: usize) -> Range<usize> {
    let start = range.start.min(len);
    start..range.end.clamp(start, len)
}

/// Where something of an array begins; whatever a broken offset says, not beyond the end.
fn place<O: ArrowNativeType>(offsets: &[O], at: usize) -> usize {
    offsets.get(at).and_then(|offset| offset.to_usize()).unwrap_or_default()
}

/// The offsets of rows, and what lies between the first and the last.
fn spans<O: ArrowNativeType>(offsets: &[O], rows: &[Range<usize>]) -> (usize, Vec<Range<usize>>) {
    let count: usize = rows.iter().map(|range| range.len() + 1).sum();
    let spans = rows.iter().map(|range| place(offsets, range.start)..place(offsets, range.end)).collect();
    (count.saturating_mul(size_of::<O>()), spans)
}

fn texts<T: ByteArrayType>(array: &GenericByteArray<T>, rows: &[Range<usize>]) -> usize {
    let (offsets, spans) = spans(array.value_offsets(), rows);
    let data = array.value_data().len();
    spans.iter().fold(offsets, |sum, span| sum.saturating_add(within(span, data).len()))
}

fn views<T: ByteViewType + ?Sized>(array: &GenericByteViewArray<T>, rows: &[Range<usize>]) -> usize {
    let views = rows.iter().filter_map(|range| array.views().get(range.clone())).flatten();
    views.fold(0, |sum: usize, view| {
        // The lowest part of a view is the length.
        let length = *view as u32;
        let elsewhere = if length > INLINE { length as usize } else { 0 };
        sum.saturating_add(size_of::<u128>()).saturating_add(elsewhere)
    })
}

fn list<O: OffsetSizeTrait>(offsets: &[O], elements: &dyn Array, rows: &[Range<usize>]) -> usize {
    let (offsets, spans) = spans(offsets, rows);
    offsets.saturating_add(bytes(elements, &spans))
}

fn list_views<O: OffsetSizeTrait>(offsets: &[O], sizes: &[O], elements: &dyn Array, rows: &[Range<usize>]) -> usize {
    let span = |row| view_span(offsets, sizes, row);
    let mut spans: Vec<Range<usize>> = rows.iter().flat_map(Clone::clone).map(span).collect();
    let own = spans.len().saturating_mul(2 * size_of::<O>());
    spans.sort_unstable_by_key(|span| span.start);
    // Rows may share elements.
    spans.dedup_by(|next, last| {
        let joined = next.start <= last.end;
        if joined {
            last.end = last.end.max(next.end);
        }
        joined
    });
    own.saturating_add(bytes(elements, &spans))
}

fn view_span<O: ArrowNativeType>(offsets: &[O], sizes: &[O], row: usize) -> Range<usize> {
    let start = place(offsets, row);
    start..start.saturating_add(place(sizes, row))
}

/// The run that a row is in.
fn run_of<R: RunEndIndexType>(runs: &RunArray<R>, row: usize) -> usize {
    let row = row.saturating_add(runs.run_ends().offset());
    runs.run_ends().values().partition_point(|end| end.to_usize().is_none_or(|end| end <= row))
}

fn runs<R: RunEndIndexType>(array: &dyn Array, rows: &[Range<usize>]) -> Option<usize> {
    let runs = array.as_any().downcast_ref::<RunArray<R>>()?;
    let mut next = 0;
    let mut span = |range: &Range<usize>| {
        // Two ranges may be in one run.
        let first = run_of(runs, range.start).max(next);
        let end =
            range.end.checked_sub(1).filter(|last| *last >= range.start).map_or(first, |last| run_of(runs, last) + 1);
        next = next.max(end);
        first..end
    };
    let spans: Vec<Range<usize>> = rows.iter().map(&mut span).collect();
    let count: usize = spans.iter().map(|span| within(span, runs.run_ends().values().len()).len()).sum();
    Some(count.saturating_mul(size_of::<R::Native>()).saturating_add(bytes(runs.values(), &spans)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{
        BooleanArray, DictionaryArray, FixedSizeBinaryArray, FixedSizeListArray, Int16Array, Int32Array, Int64Array,
        LargeListArray, ListViewArray, MapArray, StringArray, StringViewArray, StructArray, UnionArray,
    };
    use arrow_buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
    use arrow_schema::{Field, Fields};

    use super::*;

    fn slice(array: impl Array + 'static, offset: usize, length: usize) -> usize {
        let array: ArrayRef = Arc::new(array);
        let field = Field::new("c", array.data_type().clone(), true);
        let batch = RecordBatch::try_new(Arc::new(arrow_schema::Schema::new(vec![field])), vec![array]).unwrap();
        slice_bytes(&batch.slice(offset, length))
    }

    fn item(data_type: DataType) -> Arc<Field> {
        Arc::new(Field::new("item", data_type, true))
    }

    /// A thousand lists of ten numbers.
    fn lists<O: OffsetSizeTrait>() -> arrow_array::GenericListArray<O> {
        let numbers = Arc::new(Int64Array::from_iter_values(0..10_000));
        let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(10, 1000));
        arrow_array::GenericListArray::new(item(DataType::Int64), offsets, numbers, None)
    }

    #[test]
    fn f10_bytes_are_those_of_the_slice() {
        assert_eq!(slice(Int32Array::from_iter_values(0..1000), 10, 20), 80);
        assert_eq!(slice(BooleanArray::from(vec![Some(true), None, Some(false)]), 1, 2), 2);
        assert_eq!(slice(StringArray::from_iter_values((0..1000).map(|n| format!("{n:05}"))), 5, 4), 5 * 4 + 4 * 5);
        let fixed = FixedSizeBinaryArray::try_from_iter((0..9).map(|n| [n; 7])).unwrap();
        assert_eq!(slice(fixed, 2, 3), 21);
        // Half of the views are longer than what fits one.
        let views = (0..1000).map(|n| if n % 2 == 0 { "short".to_owned() } else { "long".repeat(5) });
        assert_eq!(slice(StringViewArray::from_iter_values(views), 10, 10), 10 * 16 + 5 * 20);
    }

    #[test]
    fn f10_children_count_as_far_as_the_slice_reaches() {
        assert_eq!(slice(lists::<i32>(), 7, 2), 3 * 4 + 20 * 8);
        assert_eq!(slice(lists::<i64>(), 7, 2), 3 * 8 + 20 * 8);
        let numbers = Arc::new(Int64Array::from_iter_values(0..300));
        assert_eq!(slice(FixedSizeListArray::new(item(DataType::Int64), 3, numbers, None), 50, 2), 6 * 8);
        let column: ArrayRef = Arc::new(lists::<i32>());
        let fields = Fields::from(vec![Field::new("l", column.data_type().clone(), true)]);
        let nulls: NullBuffer = (0..1000).map(|row| row % 3 > 0).collect();
        assert_eq!(slice(StructArray::new(fields, vec![column], Some(nulls)), 990, 8), 1 + 9 * 4 + 80 * 8);
        let keys: ArrayRef = Arc::new(StringArray::from_iter_values((0..1000).map(|n| format!("{n:05}"))));
        let values: ArrayRef = Arc::new(LargeListArray::from(lists::<i64>()));
        let fields = Fields::from(vec![
            Field::new("keys", DataType::Utf8, false),
            Field::new("values", values.data_type().clone(), true),
        ]);
        let entries = StructArray::new(fields.clone(), vec![keys, values], None);
        let field = Arc::new(Field::new("entries", DataType::Struct(fields), false));
        let maps = MapArray::new(field, OffsetBuffer::from_lengths([400, 100, 500]), entries, None, false);
        assert_eq!(slice(maps, 1, 1), 2 * 4 + (101 * 4 + 100 * 5) + (101 * 8 + 1000 * 8));
    }

    #[test]
    fn f10_what_rows_share_counts_once() {
        let words: ArrayRef = Arc::new(StringArray::from_iter_values((0..10).map(|n| format!("{n:05}"))));
        let once = 11 * 4 + 50;
        let keys = Int16Array::from_iter_values((0..1000).map(|n| n % 10));
        assert_eq!(slice(DictionaryArray::new(keys, Arc::clone(&words)), 30, 10), 20 + once);
        // The same of a dictionary in lists that have gaps between them.
        let keys = Int16Array::from_iter_values((0..1000).map(|n| n % 10));
        let elements: ArrayRef = Arc::new(DictionaryArray::new(keys, Arc::clone(&words)));
        let view = |offsets: Vec<i32>, sizes: Vec<i32>, elements: &ArrayRef| {
            let field = item(elements.data_type().clone());
            ListViewArray::new(field, offsets.into(), sizes.into(), Arc::clone(elements), None)
        };
        let gaps = view(vec![100, 0, 500], vec![10, 10, 10], &elements);
        assert_eq!(slice(gaps, 0, 3), 3 * 8 + 30 * 2 + once);
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1000));
        let overlapping = view(vec![10, 0, 5, 900], vec![10, 10, 10, 0], &numbers);
        assert_eq!(slice(overlapping.clone(), 0, 4), 4 * 8 + 20 * 8);
        assert_eq!(slice(overlapping, 2, 1), 8 + 10 * 8);
        // A hundred million pairs of a row and an element of it, and no more steps than rows.
        let shared = view(vec![0; 100_000], vec![1000; 100_000], &elements);
        assert_eq!(slice(shared, 0, 100_000), 100_000 * 8 + 1000 * 2 + once);
        let runs = RunArray::<Int32Type>::try_new(&Int32Array::from(vec![500, 800, 1000]), &words.slice(0, 3)).unwrap();
        assert_eq!(slice(runs.clone(), 0, 1000), 3 * 4 + 4 * 4 + 15);
        assert_eq!(slice(runs, 600, 300), 2 * 4 + 3 * 4 + 10);
    }

    #[test]
    fn f10_unions_count() {
        let fields = [(0, item(DataType::Int64)), (1, item(DataType::Int32))];
        let (a, b): (ArrayRef, ArrayRef) =
            (Arc::new(Int64Array::from_iter_values(0..10)), Arc::new(Int32Array::from_iter_values(0..10)));
        let union =
            UnionArray::try_new(fields.into_iter().collect(), ScalarBuffer::from(vec![0_i8; 10]), None, vec![a, b]);
        assert_eq!(slice(union.unwrap(), 4, 2), 2 + 2 * 8 + 2 * 4);
    }

    #[test]
    fn f10_broken_offsets_are_survived() {
        let (numbers, views) =
            (Int64Array::from_iter_values(0..10), StringViewArray::from_iter_values(["longer than a view is"; 10]));
        let broken = [5, i32::MAX, -7, 3, 2];
        let mut rows: Vec<Range<usize>> = Vec::new();
        for end in 1..5 {
            rows.push(end - 1..end);
            assert!(list(&broken, &numbers, &rows) <= 8 * 4 + 10 * 8);
            assert!(list(&broken, &views, &rows) <= 8 * 4 + 10 * (16 + 21));
            assert!(list_views(&broken, &broken, &numbers, &rows) <= 4 * 8 + 10 * 8);
        }
    }
}
