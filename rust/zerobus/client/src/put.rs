//! The messages of `DoPut` of Arrow Flight, as far as this client writes and reads them.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::{encode_varint, encoded_len_varint};
use serde::Deserialize;

use crate::wire::{Answer, FRAME, Mark};

/// Path of the call.
pub(crate) const PATH: &str = "/arrow.flight.protocol.FlightService/DoPut";
/// Tags of `FlightData`: a header of Arrow, the service's own data, the body.
const DATA_HEADER: u64 = 2 << 3 | 2;
const APP_METADATA: u64 = 3 << 3 | 2;
const DATA_BODY: u64 = 1000 << 3 | 2;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PutResult {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) app_metadata: Bytes,
}

/// What the service writes into it.
#[derive(Deserialize)]
struct Acknowledgement {
    ack_up_to_offset: Option<i64>,
    ack_up_to_records: Option<u64>,
    close_stream_duration_ms: Option<u64>,
}

/// Returns the first message of a stream, framed: the schema alone.
pub(crate) fn schema(header: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    start(&mut frame, field_len(DATA_HEADER, header.len()));
    field(&mut frame, DATA_HEADER, header.len());
    frame.put_slice(header);
    frame.freeze()
}

/// Returns what precedes a body of this length in the frame of a record batch.
pub(crate) fn batch_head(offset: i64, header: &[u8], body: usize) -> Bytes {
    let metadata = format!(r#"{{"offset_id":{offset}}}"#);
    let length = field_len(DATA_HEADER, header.len()) + field_len(APP_METADATA, metadata.len());
    let mut head = BytesMut::with_capacity(FRAME + length + 12);
    start(&mut head, length + field_len(DATA_BODY, body));
    field(&mut head, DATA_HEADER, header.len());
    head.put_slice(header);
    field(&mut head, APP_METADATA, metadata.len());
    head.put_slice(metadata.as_bytes());
    field(&mut head, DATA_BODY, body);
    head.freeze()
}

fn start(frame: &mut BytesMut, length: usize) {
    frame.put_u8(0);
    frame.put_u32(length as u32);
}

fn field(frame: &mut BytesMut, tag: u64, length: usize) {
    encode_varint(tag, frame);
    encode_varint(length as u64, frame);
}

fn field_len(tag: u64, length: usize) -> usize {
    encoded_len_varint(tag) + encoded_len_varint(length as u64) + length
}

/// Reads an answer.
pub(crate) fn answer(result: &PutResult) -> Result<Answer, serde_json::Error> {
    let said: Acknowledgement = serde_json::from_slice(&result.app_metadata)?;
    let mark = Mark::Rows { offset: said.ack_up_to_offset, rows: said.ack_up_to_records };
    // What announces the end need not acknowledge anything.
    let is_announcement = said.close_stream_duration_ms.is_some() && said.ack_up_to_records.is_none();
    Ok(Answer {
        created: None,
        stored: (!is_announcement).then_some(mark),
        close: said.close_stream_duration_ms.map(Duration::from_millis),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, PartialEq, Message)]
    struct FlightData {
        #[prost(bytes = "vec", tag = "2")]
        data_header: Vec<u8>,
        #[prost(bytes = "vec", tag = "3")]
        app_metadata: Vec<u8>,
        #[prost(bytes = "vec", tag = "1000")]
        data_body: Vec<u8>,
    }

    #[test]
    fn head_and_body_are_one_message() {
        for (offset, header, body) in [(0, 3, 8), (127, 200, 300_000), (i64::MAX, 20_000, 1)] {
            let (data_header, data_body) = (vec![1; header], vec![2; body]);
            let frame = [&batch_head(offset, &data_header, body)[..], &data_body].concat();
            assert_eq!(frame[0], 0);
            assert_eq!(u32::from_be_bytes(frame[1..5].try_into().unwrap()) as usize, frame.len() - FRAME);
            let app_metadata = format!(r#"{{"offset_id":{offset}}}"#).into_bytes();
            assert_eq!(
                FlightData::decode(&frame[FRAME..]).unwrap(),
                FlightData { data_header, app_metadata, data_body }
            );
        }
        let first = FlightData::decode(&schema(&[7; 300])[FRAME..]).unwrap();
        assert_eq!(first, FlightData { data_header: vec![7; 300], ..FlightData::default() });
    }

    #[test]
    fn answers_are_read() {
        let read = |text: &'static str| answer(&PutResult { app_metadata: text.into() });
        let ready = read(r#"{"ack_up_to_offset":-1,"ack_up_to_records":0}"#).unwrap();
        assert!(ready.opens().is_ok());
        let ack =
            read(r#"{"ack_up_to_offset":3,"ack_up_to_records":70,"close_stream_duration_ms":5,"more":1}"#).unwrap();
        assert!(ack.opens().is_err());
        assert_eq!(ack.stored, Some(Mark::Rows { offset: Some(3), rows: Some(70) }));
        assert_eq!(ack.close, Some(Duration::from_millis(5)));
        assert_eq!(read(r#"{"close_stream_duration_ms":0}"#).unwrap().stored, None);
        assert!(read("ok").is_err());
    }
}
