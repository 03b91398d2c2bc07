//! The messages of `databricks.zerobus.Zerobus/EphemeralStream`, as the service reads and writes them.

use bytes::{Buf, BufMut, Bytes};
use prost::encoding::{self, DecodeContext, WireType};
use prost::{DecodeError, Message, Oneof};
use prost_types::Duration;

/// The path of the one call.
pub(crate) const EPHEMERAL_STREAM: &str = "/databricks.zerobus.Zerobus/EphemeralStream";

/// `record_type` of Protobuf records, also meant where the field is missing.
pub(crate) const PROTO: i32 = 1;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct EphemeralStreamRequest {
    #[prost(oneof = "RequestPayload", tags = "1, 2, 3")]
    pub(crate) payload: Option<RequestPayload>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum RequestPayload {
    #[prost(message, tag = "1")]
    CreateStream(CreateIngestStreamRequest),
    #[prost(message, tag = "2")]
    IngestRecord(IngestRecordRequest),
    #[prost(message, tag = "3")]
    IngestRecordBatch(IngestRecordBatchRequest),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CreateIngestStreamRequest {
    #[prost(string, optional, tag = "1")]
    pub(crate) table_name: Option<String>,
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub(crate) descriptor_proto: Option<Bytes>,
    #[prost(int32, optional, tag = "4")]
    pub(crate) record_type: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct IngestRecordRequest {
    #[prost(int64, optional, tag = "1")]
    pub(crate) offset_id: Option<i64>,
    #[prost(oneof = "Record", tags = "2, 3, 4")]
    pub(crate) record: Option<Record>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Record {
    #[prost(bytes = "bytes", tag = "2")]
    Proto(Bytes),
    #[prost(string, tag = "3")]
    Json(String),
    #[prost(bytes = "bytes", tag = "4")]
    Avro(Bytes),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct IngestRecordBatchRequest {
    #[prost(int64, optional, tag = "1")]
    pub(crate) offset_id: Option<i64>,
    #[prost(oneof = "Batch", tags = "2, 3, 4")]
    pub(crate) batch: Option<Batch>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Batch {
    #[prost(message, tag = "2")]
    Proto(Records),
    #[prost(message, tag = "3")]
    Json(Records),
    #[prost(message, tag = "4")]
    Avro(Records),
}

/// The most records of a message that are kept; of an empty one the handle is longer than it is on the wire, by far.
pub(crate) const MOST_RECORDS: usize = 2_000_000;

/// The records of a batch; those of JSON are text, which on the wire is the same.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Records {
    pub(crate) records: Vec<Bytes>,
    /// Those beyond [`MOST_RECORDS`].
    pub(crate) surplus: usize,
}

impl Message for Records {
    fn encode_raw(&self, buffer: &mut impl BufMut) {
        encoding::bytes::encode_repeated(1, &self.records, buffer);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buffer: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        if tag == 1 && self.records.len() < MOST_RECORDS {
            return encoding::bytes::merge_repeated(wire_type, &mut self.records, buffer, context);
        }
        self.surplus += usize::from(tag == 1);
        encoding::skip_field(wire_type, tag, buffer, context)
    }

    fn encoded_len(&self) -> usize {
        encoding::bytes::encoded_len_repeated(1, &self.records)
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct EphemeralStreamResponse {
    #[prost(oneof = "ResponsePayload", tags = "1, 2, 3")]
    pub(crate) payload: Option<ResponsePayload>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum ResponsePayload {
    #[prost(message, tag = "1")]
    CreateStream(CreateIngestStreamResponse),
    #[prost(message, tag = "2")]
    IngestRecord(IngestRecordResponse),
    #[prost(message, tag = "3")]
    CloseStream(CloseStreamSignal),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CreateIngestStreamResponse {
    #[prost(string, optional, tag = "1")]
    pub(crate) stream_id: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct IngestRecordResponse {
    #[prost(int64, optional, tag = "1")]
    pub(crate) durability_ack_up_to_offset: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CloseStreamSignal {
    #[prost(message, optional, tag = "1")]
    pub(crate) duration: Option<Duration>,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RpcStatus {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) details: Vec<prost_types::Any>,
}

/// `google.rpc.ErrorInfo`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RpcErrorInfo {
    #[prost(string, tag = "1")]
    pub(crate) reason: String,
    #[prost(string, tag = "2")]
    pub(crate) domain: String,
    #[prost(btree_map = "string, string", tag = "3")]
    pub(crate) metadata: std::collections::BTreeMap<String, String>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RpcRetryInfo {
    #[prost(message, optional, tag = "1")]
    pub(crate) retry_delay: Option<Duration>,
}
