//! How many bytes rows are once none of them shares anything.

use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int16Type, Int32Type, Int64Type, RunEndIndexType};
use arrow_array::{Array, OffsetSizeTrait, RunArray, downcast_integer_array};
use arrow_buffer::ArrowNativeType;
use arrow_schema::DataType;

use super::{place, run_of, texts, values, view_span, within};

/// Takes from `budget` about the bytes that `rows` of an array have in the types of the service, where each row has values of
/// its own; none where there are more. Takes no more steps than that.
pub(crate) fn expanded(array: &dyn Array, rows: Range<usize>, budget: &mut usize) -> Option<()> {
    use DataType as D;
    let rows = within(&rows, array.len());
    let count = rows.len();
    let one = std::slice::from_ref(&rows);
    match array.data_type() {
        D::Utf8 => spend(texts(array.as_string_opt::<i32>()?, one).checked_add(count * 4)?, budget),
        D::LargeUtf8 => spend(texts(array.as_string_opt::<i64>()?, one), budget),
        D::Binary => spend(texts(array.as_binary_opt::<i32>()?, one).checked_add(count * 4)?, budget),
        D::LargeBinary => spend(texts(array.as_binary_opt::<i64>()?, one), budget),
        D::List(_) => {
            let lists = array.as_list_opt::<i32>()?;
            lists_of(lists.value_offsets(), lists.values(), rows, budget)
        }
        D::LargeList(_) => {
            let lists = array.as_list_opt::<i64>()?;
            lists_of(lists.value_offsets(), lists.values(), rows, budget)
        }
        D::Map(..) => {
            let maps = array.as_map_opt()?;
            lists_of(maps.value_offsets(), maps.entries(), rows, budget)
        }
        D::ListView(_) => {
            let lists = array.as_list_view_opt::<i32>()?;
            let span = |row| Some(view_span(lists.value_offsets(), lists.value_sizes(), row));
            picked(array, rows, lists.values(), span, budget)
        }
        D::LargeListView(_) => {
            let lists = array.as_list_view_opt::<i64>()?;
            let span = |row| Some(view_span(lists.value_offsets(), lists.value_sizes(), row));
            picked(array, rows, lists.values(), span, budget)
        }
        D::FixedSizeList(_, length) => {
            let length = usize::try_from(*length).ok()?;
            spend(count.checked_mul(size_of::<i32>())?, budget)?;
            let elements = rows.start.saturating_mul(length)..rows.end.saturating_mul(length);
            expanded(array.as_fixed_size_list_opt()?.values(), elements, budget)
        }
        D::Struct(_) => {
            array.as_struct_opt()?.columns().iter().try_for_each(|column| expanded(column, rows.clone(), budget))
        }
        D::Dictionary(..) => {
            let dictionary = array.as_any_dictionary_opt()?;
            let keys = dictionary.keys();
            picked(keys, rows, dictionary.values(), |row| key(keys, row).map(|key| key..key.saturating_add(1)), budget)
        }
        D::RunEndEncoded(ends, _) => match ends.data_type() {
            D::Int16 => expanded_runs::<Int16Type>(array, rows, budget),
            D::Int32 => expanded_runs::<Int32Type>(array, rows, budget),
            _ => expanded_runs::<Int64Type>(array, rows, budget),
        },
        // Their text, about.
        D::Decimal32(digits, _) | D::Decimal64(digits, _) | D::Decimal128(digits, _) | D::Decimal256(digits, _) => {
            spend(count.checked_mul(size_of::<i64>() + usize::from(*digits) / 2)?, budget)
        }
        _ => spend(values(array, one, count)?, budget),
    }
}

fn spend(bytes: usize, budget: &mut usize) -> Option<()> {
    *budget = budget.checked_sub(bytes)?;
    Some(())
}

/// Spends what the rows have of `elements`; each has a part of its own, but for those that are null.
fn picked(
    array: &dyn Array,
    mut rows: Range<usize>,
    elements: &dyn Array,
    span: impl Fn(usize) -> Option<Range<usize>>,
    budget: &mut usize,
) -> Option<()> {
    rows.try_for_each(|row| {
        spend(1, budget)?;
        match span(row).filter(|_| array.is_valid(row)) {
            Some(span) => expanded(elements, span, budget),
            None => Some(()),
        }
    })
}

fn expanded_runs<R: RunEndIndexType>(array: &dyn Array, rows: Range<usize>, budget: &mut usize) -> Option<()> {
    let runs = array.as_any().downcast_ref::<RunArray<R>>()?;
    let run = |row| Some(run_of(runs, row)).map(|run| run..run.saturating_add(1));
    picked(array, rows, runs.values(), run, budget)
}

/// The value that a row has.
fn key(keys: &dyn Array, row: usize) -> Option<usize> {
    downcast_integer_array!(
        keys => keys.values().get(row)?.to_usize(),
        _ => None
    )
}

fn lists_of<O: OffsetSizeTrait>(
    offsets: &[O],
    elements: &dyn Array,
    rows: Range<usize>,
    budget: &mut usize,
) -> Option<()> {
    spend(rows.len().checked_mul(size_of::<i32>())?, budget)?;
    expanded(elements, place(offsets, rows.start)..place(offsets, rows.end), budget)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{
        ArrayRef, DictionaryArray, Int32Array, Int64Array, LargeStringArray, ListArray, ListViewArray, StringArray,
        StringViewArray, StructArray,
    };
    use arrow_buffer::OffsetBuffer;
    use arrow_schema::Field;

    use super::*;

    fn bytes(array: &dyn Array, rows: Range<usize>) -> Option<usize> {
        let most = 1 << 20;
        let mut budget = most;
        expanded(array, rows, &mut budget).map(|()| most - budget)
    }

    fn item(array: &dyn Array) -> Arc<Field> {
        Arc::new(Field::new("item", array.data_type().clone(), true))
    }

    #[test]
    fn f46_rows_that_share_values_count_each() {
        let words: ArrayRef = Arc::new(LargeStringArray::from(vec!["x".repeat(1000), String::new()]));
        assert_eq!(bytes(&words, 0..2), Some(3 * 8 + 1000));
        let keys = (0..6000).map(|row| (row % 3 > 0).then_some(row % 3 - 1)).collect::<Int32Array>();
        let dictionary: ArrayRef = Arc::new(DictionaryArray::new(keys, Arc::clone(&words)));
        // Of three rows, one is null, one is long, one is empty.
        let three = 3 + (1000 + 16) + 16;
        assert_eq!(bytes(&dictionary, 0..3), Some(three));
        assert_eq!(bytes(&dictionary, 300..600), Some(100 * three));
        assert_eq!(bytes(&dictionary, 0..6000), None);
        let views = |offsets: Vec<i32>, sizes: Vec<i32>, array: &ArrayRef| -> ArrayRef {
            Arc::new(ListViewArray::new(item(array), offsets.into(), sizes.into(), Arc::clone(array), None))
        };
        let lists = views(vec![0, 3, 0], vec![3, 3, 0], &dictionary);
        assert_eq!(bytes(&lists, 0..3), Some(3 + 2 * three));
        // All rows of these together would take years to count.
        let shared = views(vec![0; 1000], vec![3000; 1000], &dictionary);
        let shared = views(vec![0; 1000], vec![1000; 1000], &shared);
        assert_eq!(bytes(&shared, 0..1), None);
        let runs = RunArray::<Int32Type>::try_new(&Int32Array::from(vec![700, 1000]), &words).unwrap();
        assert_eq!(bytes(&runs, 690..710), Some(20 + 10 * 1016 + 10 * 16));
        assert_eq!(bytes(&runs.slice(690, 310), 0..20), Some(20 + 10 * 1016 + 10 * 16));
    }

    #[test]
    fn f46_rows_that_share_nothing_count_their_part() {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..100));
        let lists: ArrayRef = Arc::new(ListArray::new(
            item(&numbers),
            OffsetBuffer::from_lengths([10, 20, 70]),
            Arc::clone(&numbers),
            None,
        ));
        assert_eq!(bytes(&lists, 1..2), Some(4 + 20 * 8));
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["a", "bcd", "ef"]));
        let views: ArrayRef = Arc::new(StringViewArray::from(vec!["a", "longer than a view", "ef"]));
        let fields = [("l", lists), ("t", texts), ("v", views)];
        let fields =
            fields.into_iter().map(|(name, array)| (Arc::new(item(&array).as_ref().clone().with_name(name)), array));
        let structs = StructArray::from(fields.collect::<Vec<_>>());
        assert_eq!(bytes(&structs, 1..3), Some((2 * 4 + 90 * 8) + (3 * 4 + 2 * 4 + 5) + (2 * 16 + 18)));
        assert_eq!(bytes(&structs, 2..90), bytes(&structs, 2..3));
    }
}
