//! The messages of the service, as far as this client writes and reads them.

use std::collections::HashMap;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::{encode_varint, encoded_len_varint};
use tonic::Status;
use tonic::codec::{DecodeBuf, Decoder};

use crate::config::IngestMode;

/// Path of the one call there is.
pub(crate) const PATH: &str = "/databricks.zerobus.Zerobus/EphemeralStream";
/// Name of the header with the table.
pub(crate) const TABLE_HEADER: &str = "x-databricks-zerobus-table-name";
/// `RecordType.PROTO`.
const PROTO: i32 = 1;
/// Flag and length that precede each message of gRPC.
pub(crate) const FRAME: usize = 5;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CreateIngestStreamRequest {
    #[prost(string, optional, tag = "1")]
    pub(crate) table_name: Option<String>,
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub(crate) descriptor_proto: Option<Bytes>,
    #[prost(int32, optional, tag = "4")]
    pub(crate) record_type: Option<i32>,
}

/// `EphemeralStreamRequest` with its first payload; the others are written by [`ingest_head`].
#[derive(Clone, PartialEq, Message)]
pub(crate) struct CreateRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) create_stream: Option<CreateIngestStreamRequest>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CreateIngestStreamResponse {
    #[prost(string, optional, tag = "1")]
    pub(crate) stream_id: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct IngestRecordResponse {
    #[prost(int64, optional, tag = "1")]
    pub(crate) durability_ack_up_to_offset: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CloseStreamSignal {
    #[prost(message, optional, tag = "1")]
    pub(crate) duration: Option<prost_types::Duration>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Payload {
    #[prost(message, tag = "1")]
    Created(CreateIngestStreamResponse),
    #[prost(message, tag = "2")]
    Ack(IngestRecordResponse),
    #[prost(message, tag = "3")]
    Close(CloseStreamSignal),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct EphemeralStreamResponse {
    #[prost(oneof = "Payload", tags = "1, 2, 3")]
    pub(crate) payload: Option<Payload>,
}

/// `google.rpc.Status`, which comes as `grpc-status-details-bin`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct StatusDetails {
    #[prost(message, repeated, tag = "3")]
    pub(crate) details: Vec<prost_types::Any>,
}

/// `google.rpc.ErrorInfo`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ErrorInfo {
    #[prost(string, tag = "1")]
    pub(crate) reason: String,
    #[prost(string, tag = "2")]
    pub(crate) domain: String,
    #[prost(map = "string, string", tag = "3")]
    pub(crate) metadata: HashMap<String, String>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    pub(crate) retry_delay: Option<prost_types::Duration>,
}

/// Returns the first message of a stream, framed.
pub(crate) fn create_stream(table_name: &str, descriptor: &Bytes) -> Bytes {
    let request = CreateRequest {
        create_stream: Some(CreateIngestStreamRequest {
            table_name: Some(table_name.to_owned()),
            descriptor_proto: Some(descriptor.clone()),
            record_type: Some(PROTO),
        }),
    };
    let length = request.encoded_len();
    let mut frame = BytesMut::with_capacity(FRAME + length);
    frame.put_u8(0);
    frame.put_u32(length as u32);
    request.encode_raw(&mut frame);
    frame.freeze()
}

/// Returns what precedes a run of `records` fields of this length in the frame of an `ingest_record_batch`.
pub(crate) fn ingest_head(offset: i64, records: usize) -> Bytes {
    // Tags: EphemeralStreamRequest.ingest_record_batch = 3, IngestRecordBatchRequest.offset_id = 1 and
    // .proto_encoded_batch = 2.
    let (records, offset) = (records as u64, offset as u64);
    let batch = 1 + encoded_len_varint(offset) as u64 + 1 + encoded_len_varint(records) as u64 + records;
    let length = 1 + encoded_len_varint(batch) as u64 + batch;
    let mut head = BytesMut::with_capacity(FRAME + 33);
    head.put_u8(0);
    head.put_u32(length as u32);
    head.put_u8(3 << 3 | 2);
    encode_varint(batch, &mut head);
    head.put_u8(1 << 3);
    encode_varint(offset, &mut head);
    head.put_u8(2 << 3 | 2);
    encode_varint(records, &mut head);
    head.freeze()
}

/// What the service says, in either mode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The name of the stream that was created; empty where it has none.
    pub(crate) created: Option<String>,
    pub(crate) stored: Option<Mark>,
    /// It wants the stream closed, and gives this long.
    pub(crate) close: Option<Duration>,
}

/// How far rows are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Up to the end of a request.
    Offset(Option<i64>),
    /// So many rows since the stream was opened; the offset is that of the last request of which all are.
    #[cfg_attr(not(feature = "flight"), expect(dead_code, reason = "of that mode"))]
    Rows { offset: Option<i64>, rows: Option<u64> },
}

impl Answer {
    /// Checks the answer to the first message; returns the name of the stream, where streams have names.
    pub(crate) fn opens(&self) -> Result<&str, &'static str> {
        match self {
            Self { created: Some(name), .. } if name.is_empty() => Err("the service named no stream"),
            Self { created: Some(name), .. } => Ok(name),
            Self { stored: Some(Mark::Rows { offset: Some(-1), rows: Some(0) }), close: None, .. } => Ok(""),
            _ => Err("the service did not answer the creation of the stream"),
        }
    }
}

impl From<EphemeralStreamResponse> for Answer {
    fn from(response: EphemeralStreamResponse) -> Self {
        match response.payload {
            Some(Payload::Created(created)) => {
                Self { created: Some(created.stream_id.unwrap_or_default()), ..Self::default() }
            }
            Some(Payload::Ack(ack)) => {
                Self { stored: Some(Mark::Offset(ack.durability_ack_up_to_offset)), ..Self::default() }
            }
            Some(Payload::Close(signal)) => {
                let duration = signal.duration.and_then(|duration| Duration::try_from(duration).ok());
                Self { close: Some(duration.unwrap_or_default()), ..Self::default() }
            }
            None => Self::default(),
        }
    }
}

/// Reads the answers of one mode.
#[derive(Debug)]
pub(crate) struct Answers(pub(crate) IngestMode);

impl Decoder for Answers {
    type Item = Answer;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<Answer>, Status> {
        let strange = |error: &dyn std::fmt::Display| Status::internal(format!("an answer is not understood: {error}"));
        match self.0 {
            #[cfg(feature = "flight")]
            IngestMode::Arrow => {
                let result = crate::put::PutResult::decode(source).map_err(|error| strange(&error))?;
                crate::put::answer(&result).map(Some).map_err(|error| strange(&error))
            }
            _ => EphemeralStreamResponse::decode(source).map(|said| Some(said.into())).map_err(|error| strange(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, PartialEq, Message)]
    struct Records {
        #[prost(bytes = "vec", repeated, tag = "1")]
        records: Vec<Vec<u8>>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Batch {
        #[prost(int64, optional, tag = "1")]
        offset_id: Option<i64>,
        #[prost(message, optional, tag = "2")]
        proto_encoded_batch: Option<Records>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Request {
        #[prost(message, optional, tag = "3")]
        ingest_record_batch: Option<Batch>,
    }

    #[test]
    fn head_and_records_are_one_message() {
        for (offset, sizes) in [(0, vec![3]), (127, vec![0, 200]), (128, vec![70_000; 3]), (i64::MAX, vec![])] {
            let records = Records { records: sizes.into_iter().map(|size| vec![7; size]).collect() };
            let bytes = records.encode_to_vec();
            let frame = [&ingest_head(offset, bytes.len())[..], &bytes].concat();
            assert_eq!(frame[0], 0);
            assert_eq!(u32::from_be_bytes(frame[1..5].try_into().unwrap()) as usize, frame.len() - FRAME);
            let batch = Batch { offset_id: Some(offset), proto_encoded_batch: Some(records) };
            assert_eq!(Request::decode(&frame[FRAME..]).unwrap().ingest_record_batch, Some(batch));
        }
    }
}
