//! Columns in the types of the service, beside what Arrow's own casts make of them.

use std::sync::Arc;

use arrow_array::builder::{Int32Builder, MapBuilder, StringBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, Decimal256Array, DictionaryArray, FixedSizeListArray, Float32Array, Int32Array, LargeListArray,
    ListArray, RecordBatch, RunArray, StringArray, StringViewArray, StructArray, Time32SecondArray,
    TimestampMillisecondArray, TimestampSecondArray, UInt8Array, UInt32Array,
};
use arrow_buffer::{NullBuffer, OffsetBuffer, i256};
use arrow_cast::cast;
use arrow_schema::{DataType, Field, Fields};

use super::*;

const LIMITS: RequestLimits = RequestLimits { record_bytes: 1 << 20, request_bytes: 1 << 20, request_rows: 2 };

fn requests(batch: &RecordBatch) -> (Vec<ArrowRows>, Vec<(usize, String)>) {
    let mut requests = ArrowConverter::new(&batch.schema()).unwrap().requests(batch.clone(), LIMITS);
    let mut rows = Vec::new();
    while let Next::Rows(next) = requests.within(1 << 20) {
        rows.push(next);
    }
    let failed = requests.take_failed();
    (rows, failed.into_iter().map(|(row, error)| (row, error.to_string())).collect())
}

fn batch(name: &str, array: ArrayRef) -> RecordBatch {
    let field = Field::new(name, array.data_type().clone(), true);
    RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![array]).unwrap()
}

fn arrays() -> Vec<ArrayRef> {
    let text: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("bc"), Some(""), Some("def")]));
    let numbers = [Some(vec![Some(1), None]), None, Some(vec![]), Some(vec![Some(4)]), Some(vec![Some(5), Some(6)])];
    let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(numbers.clone()));
    let item = || Arc::new(Field::new("element", DataType::Int32, true));
    let pairs = [Some(vec![Some(1), None]), None, Some(vec![Some(3), Some(4)]), Some(vec![None, None]), None];
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    for entries in 0..5_i32 {
        for value in 0..entries {
            map.keys().append_value(format!("k{value}"));
            map.values().append_option((value != 1).then_some(value));
        }
        map.append(entries != 2).unwrap();
    }
    let keys = Int32Array::from(vec![Some(1), None, Some(0), Some(2), Some(1)]);
    let values = StringArray::from(vec![Some("x"), Some("y"), None]);
    let runs = Int32Array::from(vec![2, 3, 5]);
    let wide = [Some(-1), Some(123_456), None, Some(0), Some(7)].map(|value| value.map(i256::from_i128));
    let fields =
        Fields::from(vec![Field::new("t", DataType::Utf8, true), Field::new("l", list.data_type().clone(), true)]);
    let nulls = NullBuffer::from(vec![true, true, false, true, true]);
    vec![
        Arc::clone(&text),
        cast(&text, &DataType::LargeUtf8).unwrap(),
        Arc::new(StringViewArray::from(vec![Some("a"), None, Some("longer than twelve bytes"), Some(""), Some("d")])),
        cast(&text, &DataType::Binary).unwrap(),
        cast(&text, &DataType::BinaryView).unwrap(),
        Arc::new(UInt8Array::from(vec![Some(0), None, Some(255), Some(1), Some(2)])),
        Arc::new(UInt32Array::from(vec![0, u32::MAX, 1, 2, 3])),
        cast(&Float32Array::from(vec![0.5, -1.0, 2.0, 0.0, f32::INFINITY]), &DataType::Float16).unwrap(),
        Arc::new(
            TimestampMillisecondArray::from(vec![Some(-1), None, Some(1), Some(0), Some(5)]).with_timezone("+01:00"),
        ),
        Arc::new(wide.into_iter().collect::<Decimal256Array>().with_precision_and_scale(50, 3).unwrap()),
        Arc::clone(&list),
        Arc::new(LargeListArray::from_iter_primitive::<Int32Type, _, _>(numbers)),
        Arc::new(FixedSizeListArray::from_iter_primitive::<Int32Type, _, _>(pairs, 2)),
        cast(&list, &DataType::ListView(item())).unwrap(),
        cast(&list, &DataType::LargeListView(item())).unwrap(),
        Arc::new(map.finish()),
        Arc::new(DictionaryArray::<Int32Type>::try_new(keys, Arc::new(values.clone())).unwrap()),
        Arc::new(RunArray::<Int32Type>::try_new(&runs, &values).unwrap()),
        Arc::new(StructArray::try_new(fields, vec![text, list], Some(nulls)).unwrap()),
    ]
}

#[test]
fn f46_columns_are_cast_slices_and_all() {
    for array in arrays() {
        let (from, to) =
            (array.data_type(), super::cast::service_type(&Field::new("c", array.data_type().clone(), true), "c", 0));
        let to = to.unwrap();
        for (offset, length) in [(0, 5), (1, 4), (2, 3), (3, 1)] {
            let slice = array.slice(offset, length);
            let (rows, failed) = requests(&batch("c", Arc::clone(&slice)));
            assert!(failed.is_empty(), "{from}: {failed:?}");
            assert!(rows.iter().flat_map(|rows| rows.indices().to_vec()).eq(0..length));
            let made: Vec<ArrayRef> = rows.iter().map(|rows| Arc::clone(rows.batch.column(0))).collect();
            let made: Vec<&dyn Array> = made.iter().map(AsRef::as_ref).collect();
            let made = arrow_select::concat::concat(&made).unwrap();
            assert_eq!(&made, &cast(&slice, &to).unwrap(), "{from}, {offset}, {length}");
        }
    }
}

#[test]
fn f46_what_is_sent_is_what_arrow_reads() {
    let columns: Vec<(String, ArrayRef)> =
        arrays().into_iter().enumerate().map(|(at, array)| (format!("c{at}"), array)).collect();
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true))).unwrap();
    let converter = ArrowConverter::new(&batch.schema()).unwrap();
    let Next::Rows(all) = converter.requests(batch, RequestLimits { request_rows: 5, ..LIMITS }).within(1 << 20) else {
        panic!("no rows")
    };
    for (start, end) in [(0, 5), (0, 2), (2, 5), (4, 5)] {
        let rows = all.slice(start..end);
        assert!(rows.indices().iter().copied().eq(start..end));
        let Ok(Message::Batch { header, body }) = rows.message() else { panic!("no message") };
        let message = arrow_ipc::root_as_message(&header).unwrap();
        let read = arrow_ipc::reader::read_record_batch(
            &arrow_buffer::Buffer::from(body.as_ref()),
            message.header_as_record_batch().unwrap(),
            Arc::clone(&converter.schema),
            &std::collections::HashMap::new(),
            None,
            &message.version(),
        );
        assert_eq!(read.unwrap(), rows.batch);
    }
}

#[test]
fn f46_exactly_the_rows_fail_that_cannot_be_cast() {
    let times: ArrayRef = Arc::new(TimestampSecondArray::from(vec![0, i64::MAX, 2, i64::MAX, 4, 5]));
    let item = Arc::new(Field::new("item", times.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths([1, 1, 0, 2, 2]);
    // Of two lists with such a time, one is null.
    let nulls = NullBuffer::from(vec![true, false, true, true, true]);
    let list = ListArray::try_new(item, offsets, times, Some(nulls)).unwrap();
    let (rows, failed) = requests(&batch("c", Arc::new(list)));
    let text = "Conversion error: Field encoding failed: field='c', row=3, error=a timestamp out of range";
    assert_eq!(failed, [(3, text.to_owned())]);
    assert!(rows.iter().flat_map(|rows| rows.indices().to_vec()).eq([0, 1, 2, 4]));
}

#[test]
fn f46_columns_without_a_type_are_named() {
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    let plan = |fields: Vec<Field>| ArrowConverter::new(&Schema::new(fields));
    let error = plan(vec![field("t", Time32SecondArray::from(vec![1]).data_type().clone())]).unwrap_err();
    assert!(error.to_string().contains("column `t` of type Time32(s)"), "{error}");
    assert_eq!(error.error_type(), "ConversionError");
    let error = plan(vec![field("a", DataType::Int32), field("a", DataType::Utf8)]).unwrap_err();
    assert_eq!(error.error_type(), "ConfigurationError");
    assert!(plan(vec![field("n", DataType::Null)]).is_err());
    let made = plan(vec![field("n", DataType::Null), field("a", DataType::Int32)]).unwrap();
    assert_eq!((made.schema.fields().len(), made.columns.to_vec()), (1, vec![1]));
    let mut deep = DataType::Int32;
    for _ in 0..20 {
        deep = DataType::Struct(vec![field("s", deep)].into());
    }
    assert!(plan(vec![field("s", deep)]).is_err());
}

#[test]
fn f46_rows_that_share_values_fit_their_messages_or_fail() {
    // Each row has a value of its own then: 1.5 GB, were it all at once.
    let words = StringArray::from(vec!["x".repeat(300_000), "y".repeat(2 << 20)]);
    let keys = Int32Array::from_iter_values((0..5000).map(|row| i32::from(row % 1000 == 500)));
    let batch = batch("c", Arc::new(DictionaryArray::<Int32Type>::try_new(keys, Arc::new(words)).unwrap()));
    let limits = RequestLimits { request_rows: 10_000, ..LIMITS };
    let mut requests = ArrowConverter::new(&batch.schema()).unwrap().requests(batch, limits);
    let (mut rows, mut count) = (Vec::new(), 0);
    while let Next::Rows(next) = requests.within(1 << 20) {
        assert!(next.byte_count() <= 1 << 20);
        rows.extend_from_slice(next.indices());
        count += 1;
        if count == 400 {
            break;
        }
    }
    assert!((800..=1200).contains(&rows.len()), "{} rows", rows.len());
    let (good, bad): (Vec<usize>, Vec<usize>) = (0..=rows[rows.len() - 1]).partition(|row| row % 1000 != 500);
    assert_eq!(rows, good);
    let failed = requests.take_failed();
    assert_eq!(failed.iter().map(|(row, _)| *row).collect::<Vec<_>>(), bad);
    assert!(failed[0].1.to_string().contains("row=500, error=a record of "), "{}", failed[0].1);
}
