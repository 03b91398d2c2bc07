//! Records of every type, in every way that the wire allows.

use std::sync::{Arc, Mutex};

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray as _;
use arrow_array::types::{Decimal128Type, Int64Type};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, MessageOptions};
use seakernel_zerobus_local::{Column, ServerOptions, Tables, ZerobusServer};
use serde_json::{Value, json};

use crate::client::{Event, TABLE, batch_message, bytes, field, int, message, open, start, varint};

/// Stores one record in a table of one column `c`, which is field 1.
async fn stored(kind: &str, descriptor: &DescriptorProto, record: &[u8]) -> Result<Value, String> {
    let server = start();
    server.create_table(TABLE, &[Column::new("c", kind)]).unwrap();
    let mut stream = open(&server).await;
    match stream.create_with(descriptor).await {
        Event::Created(Some(_)) => {}
        event => panic!("{event:?}"),
    }
    stream.write(&batch_message(0, &[record.to_vec()]));
    match stream.event().await {
        Event::Ack(Some(0)) => Ok(server.rows(TABLE)[0].values["c"].clone()),
        Event::Status(status) => Err(status.message),
        event => panic!("{event:?}"),
    }
}

fn plain(kind: Type) -> DescriptorProto {
    message("M", vec![field("c", 1, kind, Label::Optional)])
}

fn of_type(mut field: FieldDescriptorProto, name: &str) -> FieldDescriptorProto {
    field.type_name = Some(name.to_owned());
    field
}

#[tokio::test]
async fn scalars_are_read_by_their_wire_rules() {
    let fixed = |number: u64, wire: u64, value: &[u8]| [&varint(number << 3 | wire)[..], value].concat();
    for (kind, wire, record, expected) in [
        ("BOOLEAN", Type::Bool, int(1, 1), json!(true)),
        ("TINYINT", Type::Int32, int(1, -128), json!(-128)),
        ("SMALLINT", Type::Sint32, int(1, 3), json!(-2)),
        ("INT", Type::Int32, int(1, -1), json!(-1)),
        ("INT", Type::Sfixed32, fixed(1, 5, &(-5_i32).to_le_bytes()), json!(-5)),
        ("INT", Type::Enum, int(1, 4), json!(4)),
        ("BIGINT", Type::Int64, int(1, i64::MIN), json!(i64::MIN)),
        ("BIGINT", Type::Uint32, int(1, 4_000_000_000), json!(4_000_000_000_u32)),
        ("BIGINT", Type::Fixed64, fixed(1, 1, &7_u64.to_le_bytes()), json!(7)),
        ("BIGINT", Type::Sint64, int(1, 1), json!(-1)),
        ("FLOAT", Type::Float, fixed(1, 5, &1.5_f32.to_le_bytes()), json!(1.5)),
        ("DOUBLE", Type::Double, fixed(1, 1, &f64::NAN.to_le_bytes()), json!("NaN")),
        ("STRING", Type::String, bytes(1, "ü".as_bytes()), json!("ü")),
        ("BINARY", Type::Bytes, bytes(1, &[0xff]), json!("/w==")),
        ("DATE", Type::Int32, int(1, -719_162), json!(-719_162)),
        ("TIMESTAMP", Type::Int64, int(1, -1), json!(-1)),
        ("TIMESTAMP_NTZ", Type::Int64, int(1, 1), json!(1)),
        ("DECIMAL(5,2)", Type::String, bytes(1, b"-123.40"), json!("-123.40")),
        ("VARIANT", Type::String, bytes(1, br#"{"a": [1]}"#), json!(r#"{"a": [1]}"#)),
        ("STRING", Type::String, Vec::new(), Value::Null),
        ("INT", Type::Int32, [int(1, 1), int(1, 2)].concat(), json!(2)),
    ] {
        assert_eq!(stored(kind, &plain(wire), &record).await, Ok(expected), "{kind} {wire:?}");
    }
}

#[tokio::test]
async fn values_out_of_range_and_bytes_out_of_order_are_refused() {
    for (kind, wire, record, reason) in [
        ("TINYINT", Type::Int32, int(1, 128), "128 is no TINYINT"),
        ("SMALLINT", Type::Int32, int(1, 40_000), "no SMALLINT"),
        ("INT", Type::Uint32, int(1, 4_000_000_000), "no INT"),
        ("BIGINT", Type::Uint64, int(1, -1), "no BIGINT"),
        ("INT", Type::Int32, int(1, 0xffff_ffff), "not extended"),
        ("DATE", Type::Int32, int(1, 3_000_000), "years 1 to 9999"),
        ("TIMESTAMP", Type::Int64, int(1, i64::MAX), "years 1 to 9999"),
        ("DECIMAL(5,2)", Type::String, bytes(1, b"1234.5"), "no DECIMAL(5,2)"),
        ("VARIANT", Type::String, bytes(1, b"{"), "not JSON"),
        ("STRING", Type::String, bytes(1, &[0xff]), "not UTF-8"),
        ("BOOLEAN", Type::Bool, int(1, 2), "no bool"),
        ("STRING", Type::String, int(1, 2), "wire type 0"),
        ("STRING", Type::String, bytes(2, b""), "field 2 is not in the descriptor"),
        ("STRING", Type::String, vec![0x0a, 0x05, b'a'], "cut off"),
    ] {
        let refused = stored(kind, &plain(wire), &record).await.unwrap_err();
        assert!(refused.contains(reason) && refused.contains("offset 0, position 0"), "{kind}: {refused}");
    }
}

#[tokio::test]
async fn lists_come_packed_or_not() {
    let descriptor = message("M", vec![field("c", 1, Type::Int32, Label::Repeated)]);
    let unpacked = [int(1, 1), int(1, -1)].concat();
    let packed = bytes(1, &[varint(1), varint(u64::MAX)].concat());
    for record in [&unpacked, &packed, &[packed.clone(), unpacked.clone()].concat()] {
        let list = stored("ARRAY<INT>", &descriptor, record).await.unwrap();
        assert_eq!(list.as_array().unwrap()[..2], [json!(1), json!(-1)]);
    }
    let texts = message("M", vec![field("c", 1, Type::String, Label::Repeated)]);
    let record = [bytes(1, b"a"), bytes(1, b"")].concat();
    assert_eq!(stored("ARRAY<STRING>", &texts, &record).await, Ok(json!(["a", ""])));
}

#[tokio::test]
async fn structs_and_maps_are_read() {
    let mut descriptor = message("M", vec![of_type(field("c", 1, Type::Message, Label::Repeated), "S")]);
    descriptor.nested_type = vec![message("S", vec![field("x", 1, Type::Int32, Label::Required)])];
    let kind = "ARRAY<STRUCT<x: INT NOT NULL, y: STRING>>";
    let record = [bytes(1, &int(1, 5)), bytes(1, &int(1, 6))].concat();
    let expected = json!([{"x": 5, "y": null}, {"x": 6, "y": null}]);
    assert_eq!(stored(kind, &descriptor, &record).await, Ok(expected));
    let refused = stored(kind, &descriptor, &bytes(1, &[])).await.unwrap_err();
    assert!(refused.contains("`c.x` is required"), "{refused}");

    let mut descriptor = message("M", vec![of_type(field("c", 1, Type::Message, Label::Repeated), ".M.CEntry")]);
    let key = field("key", 1, Type::String, Label::Optional);
    let mut entry = message("CEntry", vec![key, field("value", 2, Type::Int32, Label::Optional)]);
    entry.options = Some(MessageOptions { map_entry: Some(true), ..MessageOptions::default() });
    descriptor.nested_type = vec![entry];
    let entries = [bytes(1, &[bytes(1, b"a"), int(2, 1)].concat()), bytes(1, &bytes(1, b"b")), bytes(1, &int(2, 3))];
    let expected = json!([["a", 1], ["b", null], ["", 3]]);
    assert_eq!(stored("MAP<STRING, INT>", &descriptor, &entries.concat()).await, Ok(expected));
}

/// Tables that refuse rows in which `id` is 13.
#[derive(Default)]
struct Elsewhere {
    batches: Mutex<Vec<RecordBatch>>,
}

impl Tables for Elsewhere {
    fn describe(&self, name: &str) -> Result<Option<Vec<Column>>, String> {
        let columns = [
            ("id", "BIGINT"),
            ("price", "DECIMAL(5,2)"),
            ("tags", "ARRAY<STRING>"),
            ("at", "TIMESTAMP"),
            ("inner", "STRUCT<x: INT, m: MAP<STRING, DATE>>"),
        ];
        Ok((name == TABLE).then(|| columns.iter().map(|(name, kind)| Column::new(name, kind)).collect()))
    }

    fn append(&self, _: &str, rows: &RecordBatch) -> Result<(), String> {
        if rows.column(0).as_primitive::<Int64Type>().iter().any(|id| id == Some(13)) {
            return Err("13 is unlucky".to_owned());
        }
        self.batches.lock().unwrap().push(rows.clone());
        Ok(())
    }
}

#[tokio::test]
async fn rows_go_elsewhere_as_arrow() {
    let tables = Arc::new(Elsewhere::default());
    let server = ZerobusServer::start_with(ServerOptions::default(), Arc::clone(&tables) as Arc<dyn Tables>).unwrap();
    let descriptor = message(
        "M",
        vec![
            field("price", 7, Type::String, Label::Optional),
            field("id", 8, Type::Int64, Label::Optional),
            field("tags", 9, Type::String, Label::Repeated),
        ],
    );
    let mut stream = open(&server).await;
    stream.create_with(&descriptor).await;
    let full = [bytes(9, b"a"), bytes(9, b"b"), int(8, 1), bytes(7, b"1.5")].concat();
    stream.write(&batch_message(0, &[full, Vec::new()]));
    stream.acked(0).await;
    let batch = tables.batches.lock().unwrap()[0].clone();
    assert_eq!((batch.num_rows(), batch.num_columns()), (2, 5));
    assert_eq!(batch.column(1).as_primitive::<Decimal128Type>().value(0), 150);
    assert_eq!(batch.column(2).as_list::<i32>().value(0).as_string::<i32>().value(1), "b");
    assert!(batch.columns().iter().all(|column| column.is_null(1)));
    stream.write(&batch_message(1, &[int(8, 12), int(8, 13)]));
    let Event::Status(status) = stream.event().await else { panic!("a status expected") };
    assert!(status.code == 3 && status.message.contains("13 is unlucky"), "{status:?}");
    assert_eq!(server.row_count(TABLE), 2);
}

/// Tables that take their time.
struct Slow;

impl Tables for Slow {
    fn describe(&self, _: &str) -> Result<Option<Vec<Column>>, String> {
        Ok(Some(vec![Column::new("id", "BIGINT")]))
    }

    fn append(&self, _: &str, _: &RecordBatch) -> Result<(), String> {
        std::thread::sleep(std::time::Duration::from_millis(500));
        Ok(())
    }
}

#[tokio::test]
async fn a_server_stops_while_it_stores() {
    let server = ZerobusServer::start_with(ServerOptions::default(), Arc::new(Slow)).unwrap();
    let mut stream = open(&server).await;
    stream.create_with(&message("M", vec![field("id", 1, Type::Int64, Label::Optional)])).await;
    stream.write(&batch_message(0, &[int(1, 1)]));
    while server.log().messages == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    tokio::task::spawn_blocking(move || {
        server.stop();
        assert_eq!(server.row_count(TABLE), 1);
        assert!(server.log().streams[0].ended.is_some());
    })
    .await
    .unwrap();
}
