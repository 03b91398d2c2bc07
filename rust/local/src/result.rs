//! From the engine's rows to the finished bodies of a result.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, RecordBatchReader};
use arrow_schema::{ArrowError, DataType, Field, Fields, Schema, SchemaRef};
use bytes::Bytes;

use crate::arrow_body::Lz4;
use crate::chunk_encoder::ChunkEncoder;
use crate::chunking::{ChunkLimits, Chunker, Cut, arrow_bytes};
use crate::conform::{conform, is_utc};
use crate::engine::{EngineColumn, EngineOutput, SqlError};
use crate::spark_type::SparkType;
use crate::wire::ColumnInfo;

/// The format of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Format {
    JsonArray,
    ArrowStream,
    Csv,
}

impl Format {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::JsonArray => "JSON_ARRAY",
            Self::ArrowStream => "ARROW_STREAM",
            Self::Csv => "CSV",
        }
    }
}

/// The way the rows travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Disposition {
    Inline,
    ExternalLinks,
    Hybrid,
}

/// Everything that decides the bytes of a result.
#[derive(Clone, Debug)]
pub(crate) struct ResultPlan {
    pub(crate) format: Format,
    pub(crate) disposition: Disposition,
    pub(crate) lz4: Option<Lz4>,
    pub(crate) limits: ChunkLimits,
    pub(crate) row_limit: Option<u64>,
    pub(crate) byte_limit: Option<u64>,
    pub(crate) inline_bytes: u64,
    pub(crate) inline_limit_bytes: u64,
    pub(crate) inline_chunks: usize,
    pub(crate) surplus_rows: usize,
    pub(crate) schema_only: bool,
    pub(crate) encoder_threads: usize,
    /// The session's own zone; without one the engine's label counts, then the default.
    pub(crate) zone: Option<Arc<str>>,
    pub(crate) default_zone: Arc<str>,
}

/// A finished result: its columns and its bodies, ready to be sent any number of times.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts that the manifest tells")]
pub(crate) struct StatementResult {
    pub(crate) columns: Vec<ColumnInfo>,
    pub(crate) format: Format,
    pub(crate) compressed: bool,
    /// Whether the chunks ride in answers of the API instead of the store.
    pub(crate) inline: bool,
    pub(crate) truncated: bool,
    pub(crate) row_count: u64,
    pub(crate) chunks: Vec<Chunk>,
    /// Whether the one row tells the client which file to transfer.
    pub(crate) volume_operation: bool,
}

/// One encoded chunk.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    pub(crate) row_offset: u64,
    pub(crate) row_count: u64,
    pub(crate) uncompressed_bytes: u64,
    pub(crate) body: Bytes,
}

impl StatementResult {
    /// The bytes the result occupies.
    pub(crate) fn stored_bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.body.len() as u64).sum()
    }
}

/// Reads all rows and encodes them; checks `cancelled` before each batch.
pub(crate) fn encode(
    output: EngineOutput,
    plan: &ResultPlan,
    cancelled: &AtomicBool,
) -> Result<StatementResult, SqlError> {
    let types: Result<Vec<SparkType>, SqlError> =
        output.columns.iter().map(|column| SparkType::parse(&column.type_text)).collect();
    let types = types?;
    let columns = column_infos(&output.columns, &types);
    let mut rows = Rows::new(output, &types, plan, cancelled)?;
    let encoder = ChunkEncoder::new(plan, &types, SchemaRef::clone(&rows.schema));
    let first = rows.next().transpose()?;
    let second = rows.next().transpose()?;
    let inline_allowed = plan.disposition != Disposition::ExternalLinks && plan.format != Format::Csv;
    let mut inline = plan.disposition == Disposition::Inline;
    let chunks = match (first, second) {
        (None, _) if types.is_empty() || !plan.schema_only => Vec::new(),
        (first, None) => {
            let cut = first.unwrap_or_default();
            let pieces = if inline_allowed { encoder.pieces(&cut)? } else { Vec::new() };
            let bytes: u64 = pieces.iter().map(|piece| piece.body.len() as u64).sum();
            if plan.disposition == Disposition::Inline && bytes > plan.inline_limit_bytes {
                return Err(too_large_for_inline(plan));
            }
            inline |= inline_allowed && bytes <= plan.inline_bytes;
            // A single piece is the whole stream, and so as good a file as any.
            if inline || pieces.len() == 1 { pieces } else { vec![encoder.chunk(cut)?] }
        }
        (Some(_), Some(_)) if inline => return Err(too_large_for_inline(plan)),
        (Some(first), Some(second)) => {
            encoder.chunks([Ok(first), Ok(second)].into_iter().chain(&mut rows), plan.encoder_threads)?
        }
        // No chunk can follow none.
        (None, Some(_)) => return Err(SqlError::new("INTERNAL_ERROR", "rows out of order")),
    };
    Ok(StatementResult {
        columns,
        format: plan.format,
        compressed: plan.lz4.is_some() && !types.is_empty(),
        inline,
        truncated: rows.truncated,
        row_count: rows.row_count,
        chunks,
        volume_operation: false,
    })
}

fn too_large_for_inline(plan: &ResultPlan) -> SqlError {
    SqlError::new(
        "BAD_REQUEST",
        format!(
            "Inline byte limit exceeded. Statements executed with disposition=INLINE can have a result size of at most \
             {} bytes. Please execute the statement with disposition=EXTERNAL_LINKS if you want to download the full \
             result.",
            plan.inline_limit_bytes
        ),
    )
}

fn column_infos(columns: &[EngineColumn], types: &[SparkType]) -> Vec<ColumnInfo> {
    let info = |(position, (column, spark_type)): (usize, (&EngineColumn, &SparkType))| ColumnInfo {
        name: column.name.clone(),
        type_text: spark_type.to_string(),
        type_name: spark_type.type_name(),
        position,
        type_precision: match spark_type {
            SparkType::Decimal { precision, .. } => Some(*precision),
            _ => None,
        },
        type_scale: match spark_type {
            SparkType::Decimal { scale, .. } => Some(*scale),
            _ => None,
        },
        type_interval_type: match spark_type {
            SparkType::YearMonthInterval(qualifier) | SparkType::DayTimeInterval(qualifier) => Some(qualifier),
            _ => None,
        },
    };
    columns.iter().zip(types).enumerate().map(info).collect()
}

/// The engine's rows, conformed, limited and cut into chunks; reads the engine only as far as asked.
struct Rows<'plan> {
    batches: Box<dyn RecordBatchReader + Send>,
    columns: Vec<EngineColumn>,
    types: &'plan [SparkType],
    zones: Vec<Arc<str>>,
    schema: SchemaRef,
    plan: &'plan ResultPlan,
    cancelled: &'plan AtomicBool,
    chunker: Option<Chunker>,
    ready: VecDeque<Cut>,
    row_count: u64,
    byte_count: u64,
    truncated: bool,
}

impl<'plan> Rows<'plan> {
    fn new(
        output: EngineOutput,
        types: &'plan [SparkType],
        plan: &'plan ResultPlan,
        cancelled: &'plan AtomicBool,
    ) -> Result<Self, SqlError> {
        let delivered = output.batches.schema();
        if !types.is_empty() && delivered.fields().len() != types.len() {
            let counts = (types.len(), delivered.fields().len());
            return Err(internal(format!("the engine declared {} columns and delivered {}", counts.0, counts.1)));
        }
        let zones: Vec<Arc<str>> = delivered.fields().iter().map(|field| zone_of(field.data_type(), plan)).collect();
        let field = |((column, spark_type), zone): ((&EngineColumn, &SparkType), &Arc<str>)| {
            Field::new(&column.name, spark_type.arrow_type(zone), true)
        };
        let fields: Fields = output.columns.iter().zip(types).zip(&zones).map(field).collect();
        let limits = match plan.disposition {
            // All in one body; the limit only bounds the memory, for text can be shorter than Arrow.
            Disposition::Inline => {
                ChunkLimits { bytes: plan.inline_limit_bytes.saturating_mul(4), rows: u64::MAX, ..plan.limits }
            }
            _ => plan.limits,
        };
        Ok(Self {
            batches: output.batches,
            columns: output.columns,
            types,
            zones,
            schema: SchemaRef::new(Schema::new(fields)),
            plan,
            cancelled,
            chunker: (!types.is_empty()).then(|| Chunker::new(limits)),
            ready: VecDeque::new(),
            row_count: 0,
            byte_count: 0,
            truncated: false,
        })
    }

    fn conformed(&self, batch: &RecordBatch) -> Result<RecordBatch, SqlError> {
        let columns: Result<Vec<ArrayRef>, SqlError> = batch
            .columns()
            .iter()
            .zip(&self.columns)
            .zip(self.types.iter().zip(&self.zones))
            .map(|((array, column), (spark_type, zone))| {
                conform(array, spark_type, zone).map_err(|reason| {
                    let message = format!(
                        "[LOCAL_RESULT_TYPE_MISMATCH] column `{}` declared as {spark_type}: {reason}.",
                        column.name
                    );
                    SqlError { sql_state: Some("22003".to_owned()), ..SqlError::new("INTERNAL_ERROR", message) }
                })
            })
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(SchemaRef::clone(&self.schema), columns?, &options).map_err(internal)
    }

    /// Applies the client's limits; an exact row limit, a byte limit good to a batch's average row.
    fn limited(&mut self, batch: RecordBatch) -> RecordBatch {
        let rows = batch.num_rows() as u64;
        let bytes = arrow_bytes(&batch);
        let mut kept = self.plan.row_limit.map_or(rows, |limit| rows.min(limit - self.row_count.min(limit)));
        if let Some(limit) = self.plan.byte_limit
            && self.byte_count + bytes > limit
        {
            let room = limit.saturating_sub(self.byte_count);
            kept =
                kept.min(u64::try_from(u128::from(rows) * u128::from(room) / u128::from(bytes.max(1))).unwrap_or(rows));
        }
        self.truncated |= kept < rows;
        self.row_count += kept;
        self.byte_count += bytes;
        if kept < rows { batch.slice(0, usize::try_from(kept).unwrap_or_default()) } else { batch }
    }

    fn read(&mut self) -> Result<(), SqlError> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(SqlError::new("CANCELLED", "the statement was cancelled"));
        }
        let batch = if self.truncated { None } else { self.batches.next() };
        let Some(batch) = batch else {
            self.ready.extend(self.chunker.take().and_then(Chunker::finish));
            return Ok(());
        };
        let batch = self.conformed(&batch.map_err(engine_failed)?)?;
        let batch = self.limited(batch);
        if let Some(chunker) = &mut self.chunker {
            chunker.push(&batch, |cut| self.ready.push_back(cut));
        }
        Ok(())
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<Cut, SqlError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() && self.chunker.is_some() {
            if let Err(error) = self.read() {
                self.chunker = None;
                return Some(Err(error));
            }
        }
        self.ready.pop_front().map(Ok)
    }
}

/// The label of a column's instants. An engine that follows `SET TIME ZONE` labels its arrays, and then knows better
/// than what the session was opened with.
fn zone_of(data_type: &DataType, plan: &ResultPlan) -> Arc<str> {
    labelled(data_type).unwrap_or_else(|| Arc::clone(plan.zone.as_ref().unwrap_or(&plan.default_zone)))
}

/// The zone other than UTC that the first labelled instant in a type has.
fn labelled(data_type: &DataType) -> Option<Arc<str>> {
    match data_type {
        DataType::Timestamp(_, zone) => zone.as_ref().filter(|zone| !is_utc(zone)).map(Arc::clone),
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => labelled(field.data_type()),
        DataType::Struct(fields) => fields.iter().find_map(|field| labelled(field.data_type())),
        _ => None,
    }
}

pub(crate) fn internal(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> SqlError {
    SqlError::new("INTERNAL_ERROR", error.into().to_string())
}

/// An engine may fail while its rows are read; a reader can carry the `SqlError` itself.
fn engine_failed(error: ArrowError) -> SqlError {
    match error {
        ArrowError::ExternalError(source) => match source.downcast::<SqlError>() {
            Ok(error) => *error,
            Err(other) => internal(other),
        },
        other => internal(other),
    }
}
