//! Arrow IPC streams.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_buffer::Buffer;
use arrow_ipc::convert::fb_to_schema;
use arrow_ipc::reader::read_record_batch;
use arrow_ipc::{DictionaryBatch, MessageHeader, MetadataVersion, root_as_message_with_opts};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use flatbuffers::VerifierOptions;

use super::{DecodeError, broken, guarded, read_u32};

/// Largest IPC message header accepted; those of wide tables stay far below.
const MAX_METADATA_BYTES: usize = 16 << 20;
/// Deepest nesting of column types accepted.
const MAX_NESTING: usize = 64;
/// Limits on what an IPC message header unfolds to: parts of it may be referred to many times, and each time counts.
/// A column takes two or three tables.
const HEADER_LIMITS: VerifierOptions = VerifierOptions {
    // Above the field of a column are the message and its schema, below the innermost one is its type.
    max_depth: MAX_NESTING + 3,
    max_tables: 1 << 20,
    max_apparent_size: 4 * MAX_METADATA_BYTES,
    ignore_missing_null_terminator: false,
};

/// The batches of an IPC stream, and its schema.
#[derive(Debug)]
pub struct Decoded {
    /// Schema as on the wire.
    pub schema: SchemaRef,
    /// Batches with at least one row, in order.
    pub batches: Vec<RecordBatch>,
}

/// Decodes the one Arrow IPC stream that `body` holds; bytes after its end marker are an error.
///
/// # Errors
/// Where the stream is malformed or truncated. A stream that stops cleanly between two messages without its end marker
/// is accepted, for writers may leave it out: the caller counts rows.
pub fn ipc_stream(body: &Buffer) -> Result<Decoded, DecodeError> {
    guarded(|| {
        let mut rest = body.clone();
        let decoded = next_stream(&mut rest)?;
        if !rest.is_empty() {
            return broken(format!("{} bytes follow the end of the Arrow stream", rest.len()));
        }
        Ok(decoded)
    })
}

/// Decodes consecutive IPC streams until the bytes run out; all must have the schema of the first.
///
/// An inline result in several chunks is one stream in pieces; a server that sends a whole stream per chunk is read too.
pub fn ipc_streams(body: &Buffer) -> Result<Decoded, DecodeError> {
    guarded(|| {
        let mut rest = body.clone();
        let mut all = next_stream(&mut rest)?;
        while !rest.is_empty() {
            let next = next_stream(&mut rest)?;
            if next.schema != all.schema {
                return broken("the pieces of an inline result have different schemas");
            }
            all.batches.extend(next.batches);
        }
        Ok(all)
    })
}

fn next_stream(rest: &mut Buffer) -> Result<Decoded, DecodeError> {
    let mut schema: Option<SchemaRef> = None;
    let (mut dictionary_types, mut dictionaries) = (HashMap::new(), HashMap::new());
    let mut batches = Vec::new();
    while let Some(header) = next_header(rest)? {
        let message = root_as_message_with_opts(&HEADER_LIMITS, &header)
            .map_err(|error| DecodeError(format!("the header of an Arrow message is damaged: {error}")))?;
        let length = usize::try_from(message.bodyLength());
        let body = split(rest, length.or_else(|_| broken("an Arrow message has a negative length"))?)?;
        let kind = message.header_type();
        if let Some(found) = message.header_as_schema() {
            let found = fb_to_schema(found);
            dictionary_types = check_types(&found)?;
            if schema.replace(Arc::new(found)).is_some() {
                return broken("the Arrow stream has a second schema");
            }
        } else if kind != MessageHeader::NONE {
            let Some(schema) = &schema else { return broken("the Arrow stream does not start with its schema") };
            let version = message.version();
            if let Some(batch) = message.header_as_record_batch() {
                check_buffers(batch, body.len())?;
                let batch = read_record_batch(&body, batch, Arc::clone(schema), &dictionaries, None, &version);
                batches.push(batch.map_err(|error| damaged(&error))?);
            } else if let Some(batch) = message.header_as_dictionary_batch() {
                let values = dictionary_values(&body, batch, &dictionary_types, &dictionaries, version)?;
                dictionaries.insert(batch.id(), values);
            } else {
                return broken(format!("the Arrow stream has a message of kind {kind:?}"));
            }
        }
    }
    let Some(schema) = schema else { return broken("the Arrow stream has no schema") };
    batches.retain(|batch| batch.num_rows() > 0);
    Ok(Decoded { schema, batches })
}

fn damaged(error: &ArrowError) -> DecodeError {
    DecodeError(format!("the Arrow stream is damaged: {error}"))
}

/// Returns the types of the dictionaries by their ids, once every column is of a type that may come.
///
/// Views may all refer to the same bytes, and each is read to check it: a small body could keep a thread busy for hours.
/// No warehouse sends them.
fn check_types(schema: &Schema) -> Result<HashMap<i64, DataType>, DecodeError> {
    let mut dictionaries = HashMap::new();
    for field in schema.flattened_fields() {
        let values = match field.data_type() {
            DataType::Dictionary(_, values) => {
                #[expect(deprecated, reason = "nothing else knows which field a dictionary belongs to")]
                dictionaries.extend(field.dict_id().map(|id| (id, values.as_ref().clone())));
                values.as_ref()
            }
            other => other,
        };
        if matches!(values, DataType::Utf8View | DataType::BinaryView) {
            return broken(format!("a column of the Arrow stream has the type {values}, which no warehouse sends"));
        }
    }
    Ok(dictionaries)
}

/// Checks that the buffers of a batch lie in its body and do not share bytes: one that is not aligned is copied, and a
/// header can name the same megabytes a million times. What is in the buffers is checked by arrow-ipc.
fn check_buffers(batch: arrow_ipc::RecordBatch<'_>, body_bytes: usize) -> Result<(), DecodeError> {
    let mut left = body_bytes;
    for buffer in batch.buffers().into_iter().flatten() {
        let (Ok(offset), Ok(length)) = (usize::try_from(buffer.offset()), usize::try_from(buffer.length())) else {
            return broken("a buffer of an Arrow message has a negative place");
        };
        if offset.checked_add(length).is_none_or(|end| end > body_bytes) {
            return broken("a buffer of an Arrow message lies outside its body");
        }
        left = match left.checked_sub(length) {
            Some(left) => left,
            None => return broken("the buffers of an Arrow message are larger than its body"),
        };
    }
    Ok(())
}

/// Reads a whole dictionary; no warehouse sends one in pieces.
fn dictionary_values(
    body: &Buffer,
    batch: DictionaryBatch<'_>,
    types: &HashMap<i64, DataType>,
    dictionaries: &HashMap<i64, ArrayRef>,
    version: MetadataVersion,
) -> Result<ArrayRef, DecodeError> {
    if batch.isDelta() {
        return broken("the Arrow stream adds to a dictionary");
    }
    let (Some(values), Some(data)) = (types.get(&batch.id()), batch.data()) else {
        return broken("the Arrow stream has a dictionary that no column uses");
    };
    check_buffers(data, body.len())?;
    let schema = Arc::new(Schema::new(vec![Field::new("", values.clone(), true)]));
    let batch = read_record_batch(body, data, schema, dictionaries, None, &version).map_err(|error| damaged(&error))?;
    match batch.columns() {
        [values] => Ok(Arc::clone(values)),
        _ => broken("the Arrow stream has a dictionary without values"),
    }
}

/// Cuts the header of the next message off `rest`; `None` at the end of the stream, with or without its marker.
fn next_header(rest: &mut Buffer) -> Result<Option<Buffer>, DecodeError> {
    if rest.is_empty() {
        return Ok(None);
    }
    let mut at = 0;
    let mut size = read_u32(rest, &mut at)?;
    if size == u32::MAX {
        size = read_u32(rest, &mut at)?;
    }
    rest.advance(at);
    match size as usize {
        0 => Ok(None),
        size if size > MAX_METADATA_BYTES => broken("the header of an Arrow message is larger than allowed"),
        size => split(rest, size).map(Some),
    }
}

/// Cuts `length` bytes off the start of `rest`.
fn split(rest: &mut Buffer, length: usize) -> Result<Buffer, DecodeError> {
    if length > rest.len() {
        return broken("the body ends early");
    }
    let start = rest.slice_with_length(0, length);
    rest.advance(length);
    Ok(start)
}

#[cfg(test)]
mod tests {
    use arrow_array::DictionaryArray;
    use arrow_array::types::Int8Type;
    use arrow_ipc::root_as_message;
    use arrow_ipc::writer::{DictionaryHandling, IpcWriteOptions, StreamWriter};

    use super::super::bodies::{batch, stream};
    use super::*;

    /// Behaviour 10.
    #[test]
    fn a_message_header_larger_than_16_mib_is_refused() {
        let head = |size: u32| [u32::MAX.to_le_bytes(), size.to_le_bytes()].concat();
        for (size, expected) in [
            (MAX_METADATA_BYTES as u32 + 1, "the header of an Arrow message is larger than allowed"),
            (u32::MAX, "the header of an Arrow message is larger than allowed"),
            (MAX_METADATA_BYTES as u32, "the body ends early"),
        ] {
            let error = ipc_stream(&Buffer::from(head(size))).unwrap_err();
            assert_eq!(error, DecodeError(expected.to_owned()), "{size}");
        }
        // The same within the limit: a column whose name fills the header is read.
        let schema = |bytes: usize| Schema::new(vec![Field::new("n".repeat(bytes), DataType::Int8, true)]);
        let content = |bytes: usize| StreamWriter::try_new(Vec::new(), &schema(bytes)).unwrap().into_inner().unwrap();
        assert!(ipc_stream(&Buffer::from(content(MAX_METADATA_BYTES - 1024))).is_ok());
        assert!(ipc_stream(&Buffer::from(content(MAX_METADATA_BYTES))).is_err());
    }

    /// Behaviour 10.
    #[test]
    fn nesting_deeper_than_64_is_refused() {
        let content = |levels: usize| {
            let nested =
                (0..levels).fold(DataType::Int32, |inner, _| DataType::List(Arc::new(Field::new("e", inner, true))));
            let schema = Schema::new(vec![Field::new("deep", nested, true)]);
            StreamWriter::try_new(Vec::new(), &schema).unwrap().into_inner().unwrap()
        };
        assert!(ipc_stream(&Buffer::from(content(MAX_NESTING - 1))).is_ok(), "64 types in each other");
        for levels in [MAX_NESTING, 1000] {
            let error = ipc_stream(&Buffer::from(content(levels))).unwrap_err();
            assert!(error.to_string().starts_with("the header of an Arrow message is damaged"), "{levels}: {error}");
        }
    }

    /// Writes one batch, and lets `edit` change the places of its buffers: offset and length, 16 bytes each.
    fn with_buffers(edit: impl Fn(&mut [u8], usize)) -> Vec<u8> {
        let mut content = stream(&[batch(100)]);
        let mut rest = Buffer::from(content.as_slice());
        next_header(&mut rest).unwrap();
        let header = next_header(&mut rest).unwrap().unwrap();
        let message = root_as_message(&header).unwrap();
        let buffers = message.header_as_record_batch().unwrap().buffers().unwrap();
        let header_at = content.len() - rest.len() - header.len();
        let at = header_at + (buffers.bytes().as_ptr() as usize - header.as_ptr() as usize);
        edit(&mut content[at..at + 16 * buffers.len()], message.bodyLength() as usize);
        content
    }

    #[test]
    fn buffers_outside_their_message_or_over_each_other_are_refused() {
        let place = |bytes: &mut [u8], position: usize, offset: i64, length: i64| {
            bytes[16 * position..16 * position + 8].copy_from_slice(&offset.to_le_bytes());
            bytes[16 * position + 8..16 * position + 16].copy_from_slice(&length.to_le_bytes());
        };
        assert!(ipc_stream(&Buffer::from(with_buffers(|_, _| ()))).is_ok());
        for (what, offset, length, expected) in [
            ("negative offset", -8, 8, "a negative place"),
            ("negative length", 0, -8, "a negative place"),
            ("too far", i64::MAX, 8, "outside its body"),
            ("too long", 8, i64::MAX, "outside its body"),
        ] {
            let content = with_buffers(|bytes, _| place(bytes, 1, offset, length));
            let error = ipc_stream(&Buffer::from(content)).unwrap_err().to_string();
            assert!(error.ends_with(expected), "{what}: {error}");
        }
        // Each alone would be right; together they could make a small body need any amount of memory.
        let content = with_buffers(|bytes, body| {
            for position in 0..bytes.len() / 16 {
                place(bytes, position, 0, body as i64);
            }
        });
        let error = ipc_stream(&Buffer::from(content)).unwrap_err().to_string();
        assert_eq!(error, "the buffers of an Arrow message are larger than its body");
    }

    #[test]
    fn dictionaries_are_read_and_replaced() {
        let batch = |texts: &[Option<&str>]| {
            let column: DictionaryArray<Int8Type> = texts.iter().copied().collect();
            RecordBatch::try_from_iter_with_nullable([("s", Arc::new(column) as ArrayRef, true)]).unwrap()
        };
        let batches = [batch(&[Some("a"), None, Some("b"), Some("a")]), batch(&[Some("c"), Some("b"), None])];
        let mut writer = StreamWriter::try_new(Vec::new(), &batches[0].schema()).unwrap();
        for batch in &batches {
            writer.write(batch).unwrap();
        }
        let content = writer.into_inner().unwrap();
        assert_eq!(ipc_stream(&Buffer::from(content.as_slice())).unwrap().batches, batches);

        let options = IpcWriteOptions::default().with_dictionary_handling(DictionaryHandling::Delta);
        let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batches[0].schema(), options).unwrap();
        writer.write(&batch(&[Some("a")])).unwrap();
        writer.write(&batch(&[Some("a"), Some("b")])).unwrap();
        let content = writer.into_inner().unwrap();
        let error = ipc_stream(&Buffer::from(content.as_slice())).unwrap_err();
        assert_eq!(error, DecodeError("the Arrow stream adds to a dictionary".to_owned()));
    }

    #[test]
    fn views_are_refused_wherever_they_are() {
        for views in [DataType::Utf8View, DataType::BinaryView] {
            let item = Arc::new(Field::new("e", views.clone(), true));
            for column in [
                views.clone(),
                DataType::List(Arc::clone(&item)),
                DataType::Struct(vec![Arc::clone(&item)].into()),
                DataType::Dictionary(Box::new(DataType::Int8), Box::new(views.clone())),
                DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::List(Arc::clone(&item)))),
            ] {
                let schema = Schema::new(vec![Field::new("v", column.clone(), true)]);
                let content = StreamWriter::try_new(Vec::new(), &schema).unwrap().into_inner().unwrap();
                let error = ipc_stream(&Buffer::from(content)).unwrap_err().to_string();
                assert!(
                    error.ends_with(&format!("has the type {views}, which no warehouse sends")),
                    "{column}: {error}"
                );
            }
        }
    }

    #[test]
    fn messages_out_of_order_are_errors() {
        let content = stream(&[batch(10)]);
        let mut rest = Buffer::from(content.as_slice());
        let header = next_header(&mut rest).unwrap().unwrap();
        assert_eq!(root_as_message(&header).unwrap().header_type(), MessageHeader::Schema);
        let error = ipc_stream(&rest).unwrap_err();
        assert_eq!(error, DecodeError("the Arrow stream does not start with its schema".to_owned()));
        let twice = [&content[..content.len() - rest.len()], &content].concat();
        let error = ipc_stream(&Buffer::from(twice.as_slice())).unwrap_err();
        assert_eq!(error, DecodeError("the Arrow stream has a second schema".to_owned()));
    }

    #[test]
    fn bytes_after_the_end_marker_are_an_error() {
        let mut content = stream(&[batch(10)]);
        content.extend([0; 8]);
        assert!(ipc_stream(&Buffer::from(content.as_slice())).is_err());
    }

    #[test]
    fn a_schema_without_batches_is_an_empty_result_and_an_empty_body_is_not() {
        let content = stream(&[]);
        for length in [content.len(), content.len() - 8] {
            let decoded = ipc_stream(&Buffer::from(&content[..length])).unwrap();
            assert_eq!((decoded.schema.fields().len(), decoded.batches.len()), (2, 0));
        }
        assert!(ipc_stream(&Buffer::from(&[] as &[u8])).is_err());
    }

    #[test]
    fn batches_without_columns_keep_their_rows_also_at_the_end() {
        let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(5));
        let schema = Arc::new(Schema::empty());
        let empty = RecordBatch::try_new_with_options(Arc::clone(&schema), vec![], &options).unwrap();
        let mut writer = StreamWriter::try_new(Vec::new(), &schema).unwrap();
        writer.write(&empty).unwrap();
        writer.write(&empty).unwrap();
        let content = writer.into_inner().unwrap();
        for length in [content.len(), content.len() - 8] {
            let decoded = ipc_stream(&Buffer::from(&content[..length])).unwrap();
            assert_eq!(decoded.batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 10, "{length}");
        }
    }

    #[test]
    fn inline_pieces_are_one_stream_or_one_each() {
        let one = stream(&[batch(10), batch(20)]);
        let each = [stream(&[batch(10)]), stream(&[batch(20)])].concat();
        for content in [one, each] {
            let decoded = ipc_streams(&Buffer::from(content.as_slice())).unwrap();
            assert_eq!(decoded.batches, [batch(10), batch(20)]);
        }
    }
}
