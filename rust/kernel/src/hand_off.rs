//! Record batches as one block of plain memory: what goes where, and the bytes.
//!
//! For memory that no Arrow library owns, such as that of a WASM instance or a shared segment. Slices are made whole: only
//! their live part is laid out, offsets start at 0 and bitmaps at their first bit, so that equal batches have equal bytes.

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use arrow_buffer::{ArrowNativeType, BooleanBuffer, Buffer, NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, Field, Schema};

/// Where buffers begin, relative to the memory; what the Arrow format recommends.
pub const ALIGNMENT: usize = 64;
/// Bytes that are put together at a time where they are not copied as they are.
const SCRATCH_BYTES: usize = 4096;

/// Tells whether a batch of `schema` can be laid out. Dictionaries, unions, views, run ends and the types with 64-bit offsets
/// cannot, also within others.
pub fn has_layout(schema: &Schema) -> bool {
    schema.fields().iter().all(|field| is_laid_out(field))
}

fn is_laid_out(field: &Field) -> bool {
    match field.data_type() {
        DataType::Null | DataType::Boolean | DataType::Utf8 | DataType::Binary | DataType::FixedSizeBinary(_) => true,
        DataType::List(item) | DataType::FixedSizeList(item, _) | DataType::Map(item, _) => is_laid_out(item),
        DataType::Struct(fields) => fields.iter().all(|field| is_laid_out(field)),
        other => other.primitive_width().is_some(),
    }
}

/// Where a buffer is in the memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BufferPlace {
    /// Bytes before it, a multiple of [`ALIGNMENT`].
    pub offset: usize,
    /// Bytes of it; up to the next multiple of [`ALIGNMENT`] follow zeros.
    pub length: usize,
}

/// Where a column is, or a column within one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ColumnLayout {
    /// Values, nulls included.
    pub length: usize,
    /// Those of them that are null.
    pub null_count: usize,
    /// The buffers in the order of the Arrow format; no place where every value is valid and so no bitmap is needed.
    pub buffers: Vec<Option<BufferPlace>>,
    /// The columns within it, in the order of the Arrow format.
    pub children: Vec<Self>,
}

/// A batch on its way into memory.
#[derive(Debug)]
pub struct BatchLayout {
    /// Rows of the batch.
    pub row_count: usize,
    /// Bytes that it takes, a multiple of [`ALIGNMENT`] and never 0.
    pub byte_count: usize,
    /// One for each column.
    pub columns: Vec<ColumnLayout>,
    parts: Vec<(BufferPlace, Content)>,
}

/// What a buffer is made of.
#[derive(Debug)]
enum Content {
    Bytes(Buffer),
    Bits(BooleanBuffer),
    Offsets(OffsetBuffer<i32>),
}

impl Content {
    fn length(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Bits(bits) => bits.len().div_ceil(8),
            Self::Offsets(offsets) => size_of_val::<[i32]>(offsets),
        }
    }
}

impl BatchLayout {
    /// Lays `batch` out; nothing is copied yet. `None` where [`has_layout`] says so.
    pub fn new(batch: &RecordBatch) -> Option<Self> {
        let mut layout = Self { row_count: batch.num_rows(), byte_count: 0, columns: Vec::new(), parts: Vec::new() };
        let columns: Option<_> = batch.columns().iter().map(|column| layout.column(column)).collect();
        layout.columns = columns?;
        layout.byte_count = layout.byte_count.max(ALIGNMENT);
        Some(layout)
    }

    /// Has `put` write each byte of the memory once, from the first to the last: bytes, and how many are before them.
    pub fn write(&self, put: &mut dyn FnMut(usize, &[u8])) {
        let mut end = 0;
        for (BufferPlace { offset, length }, content) in &self.parts {
            put(end, ZEROS.get(..offset - end).unwrap_or_default());
            write_content(content, *offset, put);
            end = offset + length;
        }
        put(end, ZEROS.get(..self.byte_count - end).unwrap_or_default());
    }

    fn column(&mut self, column: &dyn Array) -> Option<ColumnLayout> {
        let nulls = column.nulls().filter(|nulls| nulls.null_count() > 0);
        let mut null_count = nulls.map_or(0, NullBuffer::null_count);
        let validity = nulls.map(|nulls| self.place(Content::Bits(nulls.inner().clone())));
        let mut buffers = vec![validity];
        let mut children = Vec::new();
        match column.data_type() {
            DataType::Null => {
                null_count = column.len();
                buffers.clear();
            }
            DataType::Boolean => buffers.push(Some(self.place(Content::Bits(column.as_boolean().values().clone())))),
            DataType::Utf8 => {
                let texts = column.as_string::<i32>();
                buffers.extend(self.texts(texts.offsets(), texts.values()));
            }
            DataType::Binary => {
                let texts = column.as_binary::<i32>();
                buffers.extend(self.texts(texts.offsets(), texts.values()));
            }
            DataType::List(_) => {
                let list = column.as_list::<i32>();
                buffers.push(Some(self.place(Content::Offsets(list.offsets().clone()))));
                let (start, length) = live(list.offsets());
                children.push(self.column(&list.values().slice(start, length))?);
            }
            DataType::Map(..) => {
                let map = column.as_map();
                buffers.push(Some(self.place(Content::Offsets(map.offsets().clone()))));
                let (start, length) = live(map.offsets());
                children.push(self.column(&map.entries().slice(start, length))?);
            }
            DataType::FixedSizeList(..) => children.push(self.column(column.as_fixed_size_list().values())?),
            DataType::Struct(_) => {
                for field in column.as_struct().columns() {
                    children.push(self.column(field)?);
                }
            }
            DataType::FixedSizeBinary(width) => buffers.push(Some(self.fixed(column, width.as_usize())?)),
            other => buffers.push(Some(self.fixed(column, other.primitive_width()?)?)),
        }
        Some(ColumnLayout { length: column.len(), null_count, buffers, children })
    }

    fn texts(&mut self, offsets: &OffsetBuffer<i32>, values: &Buffer) -> [Option<BufferPlace>; 2] {
        let (start, length) = live(offsets);
        let offsets = self.place(Content::Offsets(offsets.clone()));
        [Some(offsets), Some(self.place(Content::Bytes(values.slice_with_length(start, length))))]
    }

    fn fixed(&mut self, column: &dyn Array, width: usize) -> Option<BufferPlace> {
        let data = column.to_data();
        let values = data.buffers().first()?;
        Some(self.place(Content::Bytes(values.slice_with_length(data.offset() * width, data.len() * width))))
    }

    fn place(&mut self, content: Content) -> BufferPlace {
        let place = BufferPlace { offset: self.byte_count, length: content.length() };
        self.byte_count = (place.offset + place.length).next_multiple_of(ALIGNMENT);
        self.parts.push((place, content));
        place
    }
}

const ZEROS: [u8; ALIGNMENT] = [0; ALIGNMENT];

/// Returns where the values begin that `offsets` refer to, and how many there are.
fn live(offsets: &OffsetBuffer<i32>) -> (usize, usize) {
    let start = offsets.first().map_or(0, |first| first.as_usize());
    (start, offsets.last().map_or(0, |last| last.as_usize()) - start)
}

fn write_content(content: &Content, offset: usize, put: &mut dyn FnMut(usize, &[u8])) {
    match content {
        Content::Bytes(bytes) => put(offset, bytes),
        Content::Offsets(offsets) => match offsets.first() {
            None | Some(0) => put(offset, offsets.inner().inner()),
            Some(first) => put_words(offset, offsets.iter().map(|offset| (offset - first).to_le_bytes()), put),
        },
        Content::Bits(bits) => {
            let chunks = bits.bit_chunks();
            put_words(offset, chunks.iter().map(u64::to_le_bytes), put);
            let rest = chunks.remainder_bits().to_le_bytes();
            let end = offset + bits.len().div_ceil(8);
            let length = bits.len() % 64;
            put(end - length.div_ceil(8), rest.get(..length.div_ceil(8)).unwrap_or_default());
        }
    }
}

/// Puts words, many at a time.
fn put_words<const WIDTH: usize>(
    mut offset: usize,
    words: impl Iterator<Item = [u8; WIDTH]>,
    put: &mut dyn FnMut(usize, &[u8]),
) {
    let mut scratch = [0; SCRATCH_BYTES];
    let mut words = words.peekable();
    while words.peek().is_some() {
        let mut length = 0;
        for (place, word) in scratch.chunks_exact_mut(WIDTH).zip(words.by_ref()) {
            place.copy_from_slice(&word);
            length += WIDTH;
        }
        put(offset, scratch.get(..length).unwrap_or_default());
        offset += length;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::types::{Decimal128Type, Float64Type, Int8Type, Int64Type, IntervalYearMonthType};
    use arrow_array::{
        ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, FixedSizeListArray, Int32Array, LargeStringArray,
        ListArray, MapArray, NullArray, PrimitiveArray, StringArray, StructArray, make_array,
    };
    use arrow_buffer::{MutableBuffer, ScalarBuffer};
    use arrow_data::ArrayData;
    use arrow_ipc::reader::StreamReader;
    use arrow_ipc::writer::StreamWriter;
    use arrow_schema::{Fields, IntervalUnit, TimeUnit, UnionFields, UnionMode};
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    /// Memory as `write` fills it; fails where it does not go through it from the first byte to the last.
    fn written(layout: &BatchLayout) -> Buffer {
        let mut memory = MutableBuffer::with_capacity(layout.byte_count);
        layout.write(&mut |offset, bytes| {
            assert!(bytes.is_empty() || offset == memory.len(), "{offset} after {}", memory.len());
            memory.extend_from_slice(bytes);
        });
        assert_eq!(memory.len(), layout.byte_count);
        memory.into()
    }

    fn read(data_type: &DataType, layout: &ColumnLayout, memory: &Buffer) -> ArrayRef {
        fn data(data_type: &DataType, layout: &ColumnLayout, memory: &Buffer) -> ArrayData {
            let buffer = |place: &Option<BufferPlace>| {
                place.map(|place| {
                    assert_eq!(place.offset % ALIGNMENT, 0);
                    memory.slice_with_length(place.offset, place.length)
                })
            };
            let children: Vec<ArrayData> = match data_type {
                DataType::List(item) | DataType::FixedSizeList(item, _) | DataType::Map(item, _) => {
                    vec![data(item.data_type(), &layout.children[0], memory)]
                }
                DataType::Struct(fields) => {
                    assert_eq!(fields.len(), layout.children.len());
                    fields.iter().zip(&layout.children).map(|(f, child)| data(f.data_type(), child, memory)).collect()
                }
                _ => Vec::new(),
            };
            let validity = layout.buffers.first().and_then(buffer);
            let buffers = layout.buffers.iter().skip(1).map(|place| buffer(place).unwrap()).collect();
            let data = ArrayData::try_new(data_type.clone(), layout.length, validity, 0, buffers, children).unwrap();
            data.validate_full().unwrap();
            if *data_type != DataType::Null {
                assert_eq!(data.null_count(), layout.null_count);
            }
            data
        }
        make_array(data(data_type, layout, memory))
    }

    fn read_batch(batch: &RecordBatch, layout: &BatchLayout, memory: &Buffer) -> RecordBatch {
        let fields = batch.schema_ref().fields();
        let columns = fields.iter().zip(&layout.columns).map(|(field, column)| read(field.data_type(), column, memory));
        RecordBatch::try_new(batch.schema(), columns.collect()).unwrap()
    }

    fn field(data_type: DataType) -> Arc<Field> {
        Arc::new(Field::new("item", data_type, true))
    }

    fn random_type(rng: &mut StdRng, depth: usize) -> DataType {
        match rng.random_range(0..if depth == 0 { 10 } else { 14 }) {
            0 => DataType::Boolean,
            1 => DataType::Int8,
            2 => DataType::Int64,
            3 => DataType::Float64,
            4 => DataType::Decimal128(38, 2),
            5 => DataType::Utf8,
            6 => DataType::Binary,
            7 => DataType::FixedSizeBinary(3),
            8 => DataType::Interval(IntervalUnit::YearMonth),
            9 => DataType::Null,
            10 => DataType::List(field(random_type(rng, depth - 1))),
            11 => DataType::FixedSizeList(field(random_type(rng, depth - 1)), rng.random_range(0..3)),
            12 => {
                let fields = (0..rng.random_range(1..3)).map(|_| field(random_type(rng, depth - 1))).collect();
                DataType::Struct(fields)
            }
            _ => {
                let key = Field::new("key", DataType::Utf8, false);
                let value = Field::new("value", random_type(rng, depth - 1), true);
                let entries = DataType::Struct(Fields::from(vec![key, value]));
                DataType::Map(Arc::new(Field::new("entries", entries, false)), false)
            }
        }
    }

    fn random_nulls(rng: &mut StdRng, length: usize) -> Option<NullBuffer> {
        let valid = [0.0, 0.7, 1.0][rng.random_range(0..3)];
        rng.random_bool(0.7).then(|| (0..length).map(|_| rng.random_bool(valid)).collect())
    }

    fn random_offsets(rng: &mut StdRng, length: usize) -> OffsetBuffer<i32> {
        OffsetBuffer::from_lengths((0..length).map(|_| rng.random_range(0..4)))
    }

    fn random_primitive<T: arrow_array::ArrowPrimitiveType>(
        rng: &mut StdRng,
        length: usize,
        data_type: &DataType,
        nulls: Option<NullBuffer>,
        value: impl Fn(u64) -> T::Native,
    ) -> ArrayRef {
        let values: ScalarBuffer<T::Native> = (0..length).map(|_| value(rng.random())).collect();
        Arc::new(PrimitiveArray::<T>::new(values, nulls).with_data_type(data_type.clone()))
    }

    /// An array that is itself a slice of a longer one.
    fn random_array(rng: &mut StdRng, data_type: &DataType, length: usize) -> ArrayRef {
        let (before, behind) = (rng.random_range(0..70), rng.random_range(0..5));
        whole_array(rng, data_type, before + length + behind).slice(before, length)
    }

    fn whole_array(rng: &mut StdRng, data_type: &DataType, length: usize) -> ArrayRef {
        let nulls = random_nulls(rng, length);
        match data_type {
            DataType::Null => Arc::new(NullArray::new(length)),
            DataType::Boolean => {
                Arc::new(BooleanArray::new((0..length).map(|_| rng.random_bool(0.5)).collect(), nulls))
            }
            DataType::Int8 => random_primitive::<Int8Type>(rng, length, data_type, nulls, |value| value as i8),
            DataType::Int64 => random_primitive::<Int64Type>(rng, length, data_type, nulls, |value| value as i64),
            DataType::Float64 => random_primitive::<Float64Type>(rng, length, data_type, nulls, f64::from_bits),
            DataType::Decimal128(..) => {
                random_primitive::<Decimal128Type>(rng, length, data_type, nulls, |value| i128::from(value) << 40)
            }
            DataType::Interval(_) => {
                random_primitive::<IntervalYearMonthType>(rng, length, data_type, nulls, |value| value as i32)
            }
            DataType::Utf8 => {
                let offsets = random_offsets(rng, length);
                let letters: String = (0..*offsets.last().unwrap()).map(|_| rng.random_range('a'..='z')).collect();
                Arc::new(StringArray::new(offsets, Buffer::from(letters.as_bytes()), nulls))
            }
            DataType::Binary => {
                let offsets = random_offsets(rng, length);
                let bytes: Vec<u8> = (0..*offsets.last().unwrap()).map(|_| rng.random()).collect();
                Arc::new(BinaryArray::new(offsets, Buffer::from(bytes), nulls))
            }
            DataType::FixedSizeBinary(width) => {
                let bytes: Vec<u8> = (0..length * width.as_usize()).map(|_| rng.random()).collect();
                Arc::new(FixedSizeBinaryArray::new(*width, Buffer::from(bytes), nulls))
            }
            DataType::List(item) => {
                let offsets = random_offsets(rng, length);
                let values = random_array(rng, item.data_type(), offsets.last().unwrap().as_usize());
                Arc::new(ListArray::new(Arc::clone(item), offsets, values, nulls))
            }
            DataType::FixedSizeList(item, size) => {
                let values = random_array(rng, item.data_type(), length * size.as_usize());
                let list = FixedSizeListArray::try_new_with_length(Arc::clone(item), *size, values, nulls, length);
                Arc::new(list.unwrap())
            }
            DataType::Struct(fields) => {
                let columns = fields.iter().map(|field| random_array(rng, field.data_type(), length)).collect();
                Arc::new(StructArray::new(fields.clone(), columns, nulls))
            }
            DataType::Map(entries, _) => {
                let DataType::Struct(fields) = entries.data_type() else { unreachable!() };
                let offsets = random_offsets(rng, length);
                let count = offsets.last().unwrap().as_usize();
                let keys: ArrayRef = Arc::new((0..count).map(|key| Some(key.to_string())).collect::<StringArray>());
                let values = random_array(rng, fields[1].data_type(), count);
                let within = StructArray::new(fields.clone(), vec![keys, values], None);
                Arc::new(MapArray::new(Arc::clone(entries), offsets, within, nulls, false))
            }
            other => unreachable!("{other}"),
        }
    }

    #[test]
    fn any_slice_of_any_batch_is_read_back_and_has_the_bytes_of_its_compact_form() {
        for seed in 0..if cfg!(debug_assertions) { 400 } else { 4000 } {
            let rng = &mut StdRng::seed_from_u64(seed);
            let length = [0, 1, 7, 64, 65, 300, 20_000][rng.random_range(0..if seed % 50 == 0 { 7 } else { 6 })];
            let columns: Vec<_> = (0..rng.random_range(1..4))
                .map(|_| {
                    let data_type = random_type(rng, if length > 1000 { 1 } else { 3 });
                    let column = random_array(rng, &data_type, length);
                    ("v", column, true)
                })
                .collect();
            let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
            assert!(has_layout(batch.schema_ref()));
            let start = rng.random_range(0..=length);
            let slice = batch.slice(start, rng.random_range(0..=length - start));
            let layout = BatchLayout::new(&slice).unwrap();
            let memory = written(&layout);
            assert_eq!(layout.row_count, slice.num_rows());
            assert_eq!(read_batch(&slice, &layout, &memory), slice, "seed {seed}");

            let mut writer = StreamWriter::try_new(Vec::new(), slice.schema_ref()).unwrap();
            writer.write(&slice).unwrap();
            let stream = writer.into_inner().unwrap();
            let compact = StreamReader::try_new(stream.as_slice(), None).unwrap().next().unwrap().unwrap();
            let compact_layout = BatchLayout::new(&compact).unwrap();
            assert_eq!(compact_layout.columns, layout.columns, "seed {seed}");
            assert!(written(&compact_layout) == memory, "seed {seed}: other bytes");
        }
    }

    #[test]
    fn the_layout_of_a_slice_is_this_one() {
        let texts = StringArray::from(vec![Some("dropped"), Some("ab"), None, Some("c")]).slice(1, 3);
        let list = ListArray::new(
            field(DataType::Int32),
            OffsetBuffer::from_lengths([1, 2, 0, 1]),
            Arc::new(Int32Array::from(vec![9, 1, 2, 3])),
            None,
        );
        let batch = RecordBatch::try_from_iter([("t", Arc::new(texts) as ArrayRef), ("l", Arc::new(list.slice(1, 3)))])
            .unwrap();
        let layout = BatchLayout::new(&batch).unwrap();
        let place = |offset, length| Some(BufferPlace { offset, length });
        let items = ColumnLayout { length: 3, null_count: 0, buffers: vec![None, place(256, 12)], children: vec![] };
        let wanted = vec![
            ColumnLayout {
                length: 3,
                null_count: 1,
                buffers: vec![place(0, 1), place(64, 16), place(128, 3)],
                children: vec![],
            },
            ColumnLayout { length: 3, null_count: 0, buffers: vec![None, place(192, 16)], children: vec![items] },
        ];
        assert_eq!((layout.row_count, layout.byte_count, &layout.columns), (3, 320, &wanted));
        let memory = written(&layout);
        assert_eq!(memory[..1], [0b101]);
        assert_eq!(memory[64..80], [0, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]);
        assert_eq!(&memory[128..131], b"abc");
        assert_eq!(memory[192..208], [0, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]);
        assert_eq!(memory[256..268], [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]);
    }

    #[test]
    fn a_batch_without_bytes_still_takes_some() {
        let batch = RecordBatch::try_from_iter([("n", Arc::new(NullArray::new(3)) as ArrayRef)]).unwrap();
        let layout = BatchLayout::new(&batch).unwrap();
        assert_eq!(layout.columns, [ColumnLayout { length: 3, null_count: 3, buffers: vec![], children: vec![] }]);
        assert_eq!(written(&layout).as_slice(), [0; ALIGNMENT]);
    }

    #[test]
    fn types_without_a_layout_are_found_within_others() {
        let union = UnionFields::try_new([0], [Field::new("a", DataType::Int32, true)]).unwrap();
        let without = [
            DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
            DataType::Union(union, UnionMode::Dense),
            DataType::LargeUtf8,
            DataType::LargeBinary,
            DataType::LargeList(field(DataType::Int32)),
            DataType::ListView(field(DataType::Int32)),
            DataType::Utf8View,
            DataType::BinaryView,
            DataType::RunEndEncoded(field(DataType::Int32), field(DataType::Utf8)),
        ];
        for data_type in without {
            for within in [data_type.clone(), DataType::Struct(vec![field(data_type.clone())].into())] {
                assert!(!has_layout(&Schema::new(vec![field(DataType::Int32), field(within)])), "{data_type}");
            }
        }
        let with = [DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), DataType::Decimal256(76, 0)];
        assert!(with.into_iter().all(|data_type| has_layout(&Schema::new(vec![field(data_type)]))));
        let large: ArrayRef = Arc::new(LargeStringArray::from(vec!["x"]));
        assert!(BatchLayout::new(&RecordBatch::try_from_iter([("v", large)]).unwrap()).is_none());
    }
}
