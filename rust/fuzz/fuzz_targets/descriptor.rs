//! Schemas of Arrow on their way to descriptors and plans, descriptors that no schema gave, and what the look-alike makes
//! of both and of the records of clients.
#![no_main]

use std::sync::Arc;

use arbitrary::Arbitrary;
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow_schema::{DataType, Field, FieldRef, Fields, IntervalUnit, Schema, TimeUnit, UnionFields, UnionMode};
use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use prost_types::{DescriptorProto, FieldDescriptorProto, FieldOptions, FileDescriptorProto, MessageOptions};
use seakernel_zerobus::{Converter, NullListElement, RequestLimits};
use seakernel_zerobus_local::{Column, fuzzing};

const ROWS: usize = 3;

#[derive(Arbitrary, Debug)]
enum Name {
    Usual(u8),
    Any(String),
}

impl Name {
    fn text(&self) -> String {
        const USUAL: [&str; 9] =
            ["a", "b", "c", "key", "value", "ZerobusMessage", "ZerobusMessage_a", "ZerobusMessage_a_b", "_1"];
        match self {
            Self::Usual(index) => USUAL[usize::from(*index) % USUAL.len()].to_owned(),
            Self::Any(text) => text.clone(),
        }
    }
}

#[derive(Arbitrary, Debug)]
struct Child {
    name: Name,
    kind: Kind,
    nullable: bool,
}

#[derive(Arbitrary, Debug)]
enum Kind {
    Plain(u8),
    Timestamp(u8, bool),
    Decimal(u8, u8, i8),
    List(u8, Box<Child>),
    Struct(Vec<Child>),
    Map(Box<Child>, Box<Child>, bool),
    Dictionary(u8, Box<Kind>),
    Runs(u8, Box<Kind>),
    Union(Vec<Child>),
}

const UNITS: [TimeUnit; 4] = [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond];
const PLAIN: [(DataType, &str); 30] = [
    (DataType::Boolean, "BOOLEAN"),
    (DataType::Int8, "TINYINT"),
    (DataType::Int16, "SMALLINT"),
    (DataType::Int32, "INT"),
    (DataType::Int64, "BIGINT"),
    (DataType::UInt8, "SMALLINT"),
    (DataType::UInt16, "INT"),
    (DataType::UInt32, "BIGINT"),
    (DataType::UInt64, "BIGINT"),
    (DataType::Float16, "FLOAT"),
    (DataType::Float32, "FLOAT"),
    (DataType::Float64, "DOUBLE"),
    (DataType::Utf8, "STRING"),
    (DataType::LargeUtf8, "STRING"),
    (DataType::Utf8View, "STRING"),
    (DataType::Binary, "BINARY"),
    (DataType::LargeBinary, "BINARY"),
    (DataType::BinaryView, "BINARY"),
    (DataType::FixedSizeBinary(3), "BINARY"),
    (DataType::Date32, "DATE"),
    (DataType::Date64, "DATE"),
    (DataType::Null, ""),
    // Without a column.
    (DataType::Time32(TimeUnit::Second), ""),
    (DataType::Time32(TimeUnit::Millisecond), ""),
    (DataType::Time64(TimeUnit::Microsecond), ""),
    (DataType::Time64(TimeUnit::Nanosecond), ""),
    (DataType::Duration(TimeUnit::Second), ""),
    (DataType::Duration(TimeUnit::Nanosecond), ""),
    (DataType::Interval(IntervalUnit::MonthDayNano), ""),
    (DataType::Interval(IntervalUnit::DayTime), ""),
];

impl Child {
    fn field(&self) -> FieldRef {
        Arc::new(Field::new(self.name.text(), self.kind.data_type(), self.nullable))
    }

    fn has_arrays(&self) -> bool {
        self.kind.has_arrays()
    }

    /// The column that a table must have for it; `None` where there is none, which is the rows' own business for `Null`.
    fn column(&self) -> Option<String> {
        let not_null = if self.nullable { "" } else { " NOT NULL" };
        Some(format!("`{}`: {}{not_null}", self.name.text(), self.kind.type_text()?))
    }
}

impl Kind {
    fn data_type(&self) -> DataType {
        let keys = [DataType::Int8, DataType::Int32, DataType::UInt16, DataType::Int64];
        match self {
            Self::Plain(index) => PLAIN[usize::from(*index) % PLAIN.len()].0.clone(),
            Self::Timestamp(unit, zone) => {
                DataType::Timestamp(UNITS[usize::from(*unit) % 4], zone.then(|| "+02:00".into()))
            }
            Self::Decimal(width, precision, scale) => match width % 4 {
                0 => DataType::Decimal32(*precision, *scale),
                1 => DataType::Decimal64(*precision, *scale),
                2 => DataType::Decimal128(*precision, *scale),
                _ => DataType::Decimal256(*precision, *scale),
            },
            Self::List(kind, item) => match kind % 5 {
                0 => DataType::List(item.field()),
                1 => DataType::LargeList(item.field()),
                2 => DataType::FixedSizeList(item.field(), i32::from(kind / 5 % 4)),
                3 => DataType::ListView(item.field()),
                _ => DataType::LargeListView(item.field()),
            },
            Self::Struct(children) => DataType::Struct(children.iter().map(Child::field).collect()),
            Self::Map(key, value, sorted) => {
                let key = Field::new(key.name.text(), key.kind.data_type(), false);
                let entries = Fields::from(vec![Arc::new(key), value.field()]);
                DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), *sorted)
            }
            Self::Dictionary(key, values) => {
                let key = keys[usize::from(*key) % 4].clone();
                DataType::Dictionary(Box::new(key), Box::new(values.data_type()))
            }
            Self::Runs(ends, values) => {
                let ends = [DataType::Int16, DataType::Int32, DataType::Int64][usize::from(*ends) % 3].clone();
                let ends = Field::new("run_ends", ends, false);
                let values = Field::new("values", values.data_type(), true);
                DataType::RunEndEncoded(Arc::new(ends), Arc::new(values))
            }
            Self::Union(children) => {
                let fields: UnionFields =
                    children.iter().take(4).enumerate().map(|(id, child)| (id as i8, child.field())).collect();
                DataType::Union(fields, UnionMode::Sparse)
            }
        }
    }

    /// Whether Arrow can make arrays of it that are valid.
    fn has_arrays(&self) -> bool {
        match self {
            Self::Plain(_) | Self::Timestamp(..) => true,
            Self::Decimal(width, precision, scale) => {
                let most = [9, 18, 38, 76][usize::from(width % 4)];
                (1..=most).contains(precision) && i16::from(*scale).abs() <= i16::from(*precision)
            }
            Self::List(_, item) => item.has_arrays(),
            Self::Struct(children) => children.iter().all(Child::has_arrays),
            Self::Map(key, value, _) => key.has_arrays() && value.has_arrays(),
            Self::Dictionary(_, values) => matches!(**values, Self::Plain(_) | Self::Timestamp(..)),
            Self::Runs(_, values) => values.has_arrays(),
            Self::Union(_) => false,
        }
    }

    fn type_text(&self) -> Option<String> {
        Some(match self {
            Self::Plain(index) => {
                let text = PLAIN[usize::from(*index) % PLAIN.len()].1;
                return (!text.is_empty()).then(|| text.to_owned());
            }
            Self::Timestamp(_, true) => "TIMESTAMP".to_owned(),
            Self::Timestamp(_, false) => "TIMESTAMP_NTZ".to_owned(),
            Self::Decimal(_, precision, scale) => {
                let digits = i16::from(*precision) - i16::from((*scale).min(0));
                if digits > 38 {
                    return None;
                }
                format!("DECIMAL({digits},{})", (*scale).max(0))
            }
            Self::List(_, item) => format!("ARRAY<{}>", item.kind.type_text()?),
            Self::Struct(children) => {
                // A field of no type is in no message either.
                let columns = children.iter().filter(|child| !matches!(child.kind.data_type(), DataType::Null));
                let columns: Option<Vec<String>> = columns.map(Child::column).collect();
                format!("STRUCT<{}>", columns?.join(", "))
            }
            Self::Map(key, value, _) => format!("MAP<{}, {}>", key.kind.type_text()?, value.kind.type_text()?),
            Self::Dictionary(_, values) | Self::Runs(_, values) => values.type_text()?,
            Self::Union(_) => return None,
        })
    }
}

#[derive(Arbitrary, Debug)]
struct Member {
    name: Name,
    number: Option<i32>,
    label: i8,
    kind: i8,
    type_name: Option<Vec<Name>>,
    packed: Option<bool>,
    oneof: Option<i8>,
}

#[derive(Arbitrary, Debug)]
struct Declared {
    name: Option<Name>,
    members: Vec<Member>,
    nested: Vec<Declared>,
    map_entry: bool,
}

impl Declared {
    fn descriptor(&self) -> DescriptorProto {
        let member = |(place, member): (usize, &Member)| FieldDescriptorProto {
            name: Some(member.name.text()),
            number: Some(member.number.unwrap_or(place as i32 + 1)),
            label: Some((member.label % 5).into()),
            r#type: Some((member.kind % 20).into()),
            type_name: member.type_name.as_ref().map(|parts| {
                let parts: Vec<String> = parts.iter().map(Name::text).collect();
                parts.join(".")
            }),
            options: member.packed.map(|packed| FieldOptions { packed: Some(packed), ..FieldOptions::default() }),
            oneof_index: member.oneof.map(i32::from),
            ..FieldDescriptorProto::default()
        };
        let options = MessageOptions { map_entry: Some(true), ..MessageOptions::default() };
        DescriptorProto {
            name: self.name.as_ref().map(Name::text),
            field: self.members.iter().enumerate().map(member).collect(),
            nested_type: self.nested.iter().map(Self::descriptor).collect(),
            options: self.map_entry.then_some(options),
            ..DescriptorProto::default()
        }
    }
}

#[derive(Arbitrary, Debug)]
enum Given {
    /// As generated, with some bytes changed.
    Altered(Vec<(u16, u8)>),
    Declared(Declared),
    Bytes(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
enum Table {
    OfSchema,
    Any(Vec<(Name, String, bool)>),
    Other(Vec<Child>),
}

#[derive(Arbitrary, Debug)]
struct Input {
    columns: Vec<Child>,
    given: Given,
    table: Table,
    drop_nulls: bool,
    record: Vec<u8>,
}

fn columns(children: &[Child]) -> Option<Vec<Column>> {
    let children = children.iter().filter(|child| child.kind.data_type() != DataType::Null);
    let column = |child: &Child| {
        let column = Column::new(&child.name.text(), &child.kind.type_text()?);
        Some(if child.nullable { column } else { column.not_null() })
    };
    children.map(column).collect()
}

fn pool(descriptor: &DescriptorProto) -> Result<MessageDescriptor, String> {
    let file = FileDescriptorProto {
        name: Some("rows.proto".to_owned()),
        message_type: vec![descriptor.clone()],
        ..FileDescriptorProto::default()
    };
    let mut pool = DescriptorPool::new();
    pool.add_file_descriptor_proto(file).map_err(|error| format!("{error:?}"))?;
    pool.get_message_by_name(descriptor.name()).ok_or_else(|| "it has no name".to_owned())
}

/// Encodes a batch of nulls and returns the records, each row once or failed.
fn records(converter: &Converter, schema: &Schema) -> Vec<Vec<u8>> {
    let arrays: Vec<ArrayRef> = schema.fields().iter().map(|field| new_null_array(field.data_type(), ROWS)).collect();
    let fields: Fields = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(ROWS));
    let Ok(batch) = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options) else {
        return Vec::new();
    };
    let limits = RequestLimits { record_bytes: 1 << 20, request_bytes: 1 << 20, request_rows: 2 };
    let Ok(mut requests) = converter.requests(batch, limits) else { return Vec::new() };
    let (mut rows, mut records) = (Vec::new(), Vec::new());
    for request in requests.by_ref() {
        rows.extend_from_slice(request.rows());
        records.extend((0..request.len()).map(|index| request.record(index).to_vec()));
    }
    rows.extend(requests.failed().iter().map(|(row, _)| *row));
    rows.sort_unstable();
    assert_eq!(rows, (0..ROWS).collect::<Vec<_>>(), "each row once");
    records
}

/// A descriptor that we made is one for everybody: for pools, for ourselves, and for the table that the schema means.
fn check_generated(converter: &Converter, schema: &Schema, input: &Input, nulls: NullListElement) {
    let descriptor = converter.descriptor();
    assert_eq!(DescriptorProto::decode(converter.descriptor_bytes().clone()).as_ref(), Ok(descriptor));
    let message = pool(descriptor).expect("a pool takes it");
    drop(Converter::new(schema, Some(descriptor), nulls).expect("our own descriptor fits"));
    let table = columns(&input.columns);
    let plan = table.map(|table| {
        let plan = fuzzing::plan(converter.descriptor_bytes(), &table);
        plan.map(|plan| plan.expect("the look-alike takes it"))
    });
    if !input.columns.iter().all(Child::has_arrays) {
        return;
    }
    for record in records(converter, schema) {
        DynamicMessage::decode(message.clone(), record.as_slice()).expect("a record of its descriptor");
        if let Some(Some(plan)) = &plan {
            let row = plan.row(&record).expect("rows make batches");
            assert!(!row.as_ref().is_err_and(|(_, malformed)| *malformed), "{row:?}");
        }
    }
}

fuzz_target!(|input: Input| {
    let nulls = if input.drop_nulls { NullListElement::Drop } else { NullListElement::Error };
    let schema = Schema::new(input.columns.iter().map(Child::field).collect::<Fields>());
    let generated = Converter::new(&schema, None, nulls);
    match &generated {
        Ok(converter) => check_generated(converter, &schema, &input, nulls),
        Err(error) => drop(format!("{error} {error:?}")),
    }
    let bytes = match &input.given {
        Given::Bytes(bytes) => bytes.clone(),
        Given::Declared(declared) => declared.descriptor().encode_to_vec(),
        Given::Altered(changes) => {
            let mut bytes = generated.map_or_else(|_| Vec::new(), |converter| converter.descriptor_bytes().to_vec());
            for (place, byte) in changes {
                let len = bytes.len().max(1);
                if let Some(old) = bytes.get_mut(usize::from(*place) % len) {
                    *old = *byte;
                }
            }
            bytes
        }
    };
    let table = match &input.table {
        Table::OfSchema => columns(&input.columns),
        Table::Other(children) => columns(children),
        Table::Any(listed) => Some(
            listed
                .iter()
                .map(|(name, kind, nullable)| Column {
                    name: name.text(),
                    type_text: kind.clone(),
                    nullable: *nullable,
                })
                .collect(),
        ),
    };
    if let Some(Some(Ok(plan))) = table.map(|table| fuzzing::plan(&bytes, &table)) {
        let row = plan.row(&input.record).expect("rows make batches");
        let again = plan.row(&input.record).expect("rows make batches");
        assert_eq!(format!("{row:?}"), format!("{again:?}"));
    }
    let Ok(descriptor) = DescriptorProto::decode(bytes.as_slice()) else { return };
    match Converter::new(&schema, Some(&descriptor), nulls) {
        Ok(converter) if input.columns.iter().all(Child::has_arrays) => {
            let records = records(&converter, &schema);
            if let Ok(message) = pool(&descriptor) {
                for record in records {
                    drop(
                        DynamicMessage::decode(message.clone(), record.as_slice()).expect("a record of its descriptor"),
                    );
                }
            }
        }
        Ok(_) => {}
        Err(error) => drop(format!("{error} {error:?}")),
    }
});
