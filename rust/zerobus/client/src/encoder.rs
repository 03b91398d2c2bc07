//! What a batch travels as: messages of Protobuf, or Arrow itself. All that sends knows rows and messages alone.

use std::ops::Range;

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use bytes::Bytes;
use prost_types::DescriptorProto;

#[cfg(feature = "flight")]
use crate::arrow::{ArrowConverter, ArrowRequests, ArrowRows};
use crate::config::{IngestMode, WrapperConfiguration};
use crate::convert::{Converter, EncodedRows, Next, RequestLimits, Requests};
use crate::debug::DebugFiles;
use crate::error::ZerobusError;
#[cfg(feature = "flight")]
use crate::put;
use crate::wire;

/// How batches of one schema are sent. Made once per schema.
#[derive(Debug)]
pub(crate) enum Encoder {
    Messages(Box<Converter>),
    #[cfg(feature = "flight")]
    Arrow(ArrowConverter),
}

/// The requests of one batch, made as they are asked for.
pub(crate) enum Encoding {
    Messages(Requests),
    #[cfg(feature = "flight")]
    Arrow(Box<ArrowRequests>),
}

/// Rows of one request.
#[derive(Clone, Debug)]
pub(crate) enum Rows {
    Messages(EncodedRows),
    #[cfg(feature = "flight")]
    Arrow(ArrowRows),
}

/// A request as it is written.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    /// The fields of its records.
    Records(Bytes),
    /// Header and body of a record batch.
    #[cfg(feature = "flight")]
    Batch { header: Bytes, body: Bytes },
}

impl Encoder {
    /// Plans the way of the columns of `schema`.
    ///
    /// # Errors
    /// As of [`Converter::new`], in either mode.
    pub(crate) fn new(
        config: &WrapperConfiguration,
        schema: &Schema,
        descriptor: Option<&DescriptorProto>,
    ) -> Result<Self, ZerobusError> {
        match config.ingest_mode {
            IngestMode::Proto => {
                Ok(Self::Messages(Box::new(Converter::new(schema, descriptor, config.null_list_element)?)))
            }
            #[cfg(feature = "flight")]
            IngestMode::Arrow if descriptor.is_none() => Ok(Self::Arrow(ArrowConverter::new(schema)?)),
            IngestMode::Arrow => Err(ZerobusError::configuration(
                "a descriptor is of Protobuf, which is not sent where `ingest_mode` is `arrow`",
            )),
        }
    }

    pub(crate) fn mode(&self) -> IngestMode {
        match self {
            Self::Messages(_) => IngestMode::Proto,
            #[cfg(feature = "flight")]
            Self::Arrow(_) => IngestMode::Arrow,
        }
    }

    /// What a stream for its messages is opened with.
    pub(crate) fn opening(&self) -> &Bytes {
        match self {
            Self::Messages(converter) => converter.descriptor_bytes(),
            #[cfg(feature = "flight")]
            Self::Arrow(converter) => converter.opening(),
        }
    }

    /// Encodes `batch` request by request.
    ///
    /// # Errors
    /// As of [`Converter::requests`].
    pub(crate) fn requests(&self, batch: RecordBatch, limits: RequestLimits) -> Result<Encoding, ZerobusError> {
        match self {
            Self::Messages(converter) => converter.requests(batch, limits).map(Encoding::Messages),
            #[cfg(feature = "flight")]
            Self::Arrow(converter) => Ok(Encoding::Arrow(Box::new(converter.requests(batch, limits)))),
        }
    }

    /// Keeps rows that it has encoded in the debug files.
    pub(crate) fn keep(&self, rows: &Rows, debug: &DebugFiles) {
        match (self, rows) {
            (Self::Messages(converter), Rows::Messages(rows)) => debug.records(rows, converter),
            // There are no records; the batch is in the files of Arrow.
            #[cfg(feature = "flight")]
            _ => {}
        }
    }
}

impl Encoding {
    /// Rows that were not looked at yet, or are ready.
    pub(crate) fn left(&self) -> usize {
        match self {
            Self::Messages(requests) => requests.left(),
            #[cfg(feature = "flight")]
            Self::Arrow(requests) => requests.left(),
        }
    }

    /// Takes the rows that cannot be sent, and were not taken before.
    pub(crate) fn take_failed(&mut self) -> Vec<(usize, ZerobusError)> {
        match self {
            Self::Messages(requests) => requests.take_failed(),
            #[cfg(feature = "flight")]
            Self::Arrow(requests) => requests.take_failed(),
        }
    }

    /// Makes the next request, of no more than so many bytes or, of Arrow, about so many.
    pub(crate) fn within(&mut self, bytes: usize) -> Next<Rows> {
        match self {
            Self::Messages(requests) => requests.within(bytes).map(Rows::Messages),
            #[cfg(feature = "flight")]
            Self::Arrow(requests) => requests.within(bytes).map(Rows::Arrow),
        }
    }
}

impl Rows {
    /// Their indices in the batch, ascending.
    pub(crate) fn indices(&self) -> &[usize] {
        match self {
            Self::Messages(rows) => rows.rows(),
            #[cfg(feature = "flight")]
            Self::Arrow(rows) => rows.indices(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.indices().len()
    }

    /// Bytes on the wire, near enough.
    pub(crate) fn byte_count(&self) -> usize {
        match self {
            Self::Messages(rows) => rows.byte_count(),
            #[cfg(feature = "flight")]
            Self::Arrow(rows) => rows.byte_count(),
        }
    }

    /// Some of them.
    pub(crate) fn slice(&self, range: Range<usize>) -> Self {
        match self {
            Self::Messages(rows) => Self::Messages(rows.slice(range)),
            #[cfg(feature = "flight")]
            Self::Arrow(rows) => Self::Arrow(rows.slice(range)),
        }
    }

    /// The message that they are sent as.
    ///
    /// # Errors
    /// `ConversionError` where Arrow cannot write them.
    #[cfg_attr(not(feature = "flight"), expect(clippy::unnecessary_wraps, reason = "as with the feature"))]
    pub(crate) fn message(&self) -> Result<Message, ZerobusError> {
        match self {
            Self::Messages(rows) => Ok(Message::Records(rows.fields().clone())),
            #[cfg(feature = "flight")]
            Self::Arrow(rows) => rows.message(),
        }
    }
}

impl Message {
    /// The two parts of its frame at this offset; the second is not copied.
    pub(crate) fn frame(self, offset: i64) -> (Bytes, Bytes) {
        match self {
            Self::Records(records) => (wire::ingest_head(offset, records.len()), records),
            #[cfg(feature = "flight")]
            Self::Batch { header, body } => (put::batch_head(offset, &header, body.len()), body),
        }
    }
}
