//! How a result's columns are handed over: decided once per result, done batch by batch, and for most results not at all.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, BinaryArray, Int32Array, LargeListArray, ListArray, MapArray, OffsetSizeTrait, RecordBatch,
    RecordBatchOptions, StructArray,
};
use arrow_buffer::{BooleanBufferBuilder, NullBuffer, OffsetBuffer};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Fields, Schema, SchemaRef};

use super::render::Texts;
use super::{geospatial, render};
use crate::config::{ResultConfig, ValueForm};
use crate::error::{Error, ErrorKind, Result};
use crate::schema::Column;
use crate::sql_type::{GeospatialType, SqlType, element_field, entries_field};

/// Why a value cannot be handed over as asked.
type Reason = String;

/// The schema of a result, and the way to it from the batches on the wire.
#[derive(Debug)]
pub(crate) struct Presentation {
    schema: SchemaRef,
    /// Column types of the first chunk, which every other must have.
    wire_types: Vec<DataType>,
    /// Position and conversion of the columns that need one.
    conversions: Vec<(usize, Conversion)>,
    /// Most bytes that a converted column of a batch may become.
    byte_limit: usize,
}

#[derive(Debug)]
enum Conversion {
    /// The same values under a type with other names and nullability inside.
    List(FieldRef, Option<Box<Self>>),
    LargeList(FieldRef, Option<Box<Self>>),
    Map(FieldRef, Option<Box<Self>>, Option<Box<Self>>),
    Struct(Fields, Vec<Option<Self>>),
    /// EWKT to bytes; the SRID is that of values without one.
    GeospatialBytes(i32, Fields),
    GeospatialText,
    IntervalText,
    NullText,
    /// JSON text of what the inner conversion makes.
    Json(Option<Box<Self>>),
}

impl Presentation {
    /// Plans how columns with the schema `wire` are handed over.
    ///
    /// Names, nullability and metadata come from the manifest, so that they are the same whether or not there are rows:
    /// names are bound by position because they may repeat, and nullability flags on the wire are not reliable (literals
    /// and counts come as non-null).
    pub(crate) fn new(columns: &[Column], wire: &Schema, config: &ResultConfig) -> Result<Self> {
        if wire.fields().len() != columns.len() {
            let text = format!("a chunk has {} columns and the manifest {}", wire.fields().len(), columns.len());
            return Err(Error::new(ErrorKind::DataLoss, text));
        }
        let mut fields = Vec::with_capacity(columns.len());
        let mut conversions = Vec::new();
        for (position, (column, field)) in columns.iter().zip(wire.fields()).enumerate() {
            let sql_type = column.sql_type();
            let (data_type, conversion) = planned(sql_type.as_ref(), field.data_type(), config)
                .map_err(|reason| unfit(column, field.data_type(), reason))?;
            conversions.extend(conversion.map(|conversion| (position, conversion)));
            fields.push(Field::new(&column.name, data_type, true).with_metadata(column.metadata()));
        }
        Ok(Self {
            schema: Arc::new(Schema::new(fields)),
            wire_types: types_of(wire),
            conversions,
            byte_limit: config.max_chunk_bytes,
        })
    }

    /// Returns the schema that every batch is handed over with; all its fields are nullable.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Checks that a further chunk has the column types of the first.
    pub(crate) fn check(&self, wire: &Schema) -> Result<()> {
        let fields = wire.fields();
        let differs = |(expected, got): &(&DataType, &FieldRef)| *expected != got.data_type();
        let text = match self.wire_types.iter().zip(fields).find(differs) {
            Some((expected, got)) => format!(
                "column `{}` has type {} in a chunk and {expected} in the first one",
                got.name(),
                got.data_type()
            ),
            None if self.wire_types.len() == fields.len() => return Ok(()),
            None => format!("a chunk has {} columns and the first one {}", fields.len(), self.wire_types.len()),
        };
        Err(Error::new(ErrorKind::DataLoss, text))
    }

    /// Gives a batch the result's schema; only columns that need it are converted.
    pub(crate) fn present(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let (_, mut columns, _) = batch.into_parts();
        for (position, conversion) in &self.conversions {
            let Some(column) = columns.get_mut(*position) else { continue };
            *column = conversion.apply(column, None, self.byte_limit).map_err(|reason| {
                let text = format!("column `{}` cannot be handed over as asked", self.schema.field(*position).name());
                Error::new(ErrorKind::DataLoss, text).with_source(reason)
            })?;
        }
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options).map_err(|error| {
            Error::new(ErrorKind::DataLoss, "a batch does not fit the result's schema").with_source(error)
        })
    }
}

fn types_of(schema: &Schema) -> Vec<DataType> {
    schema.fields().iter().map(|field| field.data_type().clone()).collect()
}

fn unfit(column: &Column, wire: &DataType, reason: Reason) -> Error {
    let text = format!("column `{}` ({}) arrived as Arrow {wire}", column.name, column.type_text);
    Error::new(ErrorKind::DataLoss, text).with_source(reason)
}

/// Decides for a whole column.
fn planned(
    sql_type: Option<&SqlType>,
    wire: &DataType,
    config: &ResultConfig,
) -> Result<(DataType, Option<Conversion>), Reason> {
    let (data_type, conversion) = typed(sql_type, wire, config.geospatial)?;
    let is_geospatial = matches!(sql_type, Some(SqlType::Geospatial(_)));
    Ok(match &data_type {
        DataType::List(_) | DataType::LargeList(_) | DataType::Map(..) | DataType::Struct(_)
            if config.complex_types == ValueForm::Text && !is_geospatial =>
        {
            render::check(&data_type)?;
            (DataType::Utf8, Some(Conversion::Json(conversion.map(Box::new))))
        }
        DataType::Interval(_) | DataType::Duration(_) if config.intervals == ValueForm::Text => {
            render::check(&data_type)?;
            (DataType::Utf8, Some(Conversion::IntervalText))
        }
        DataType::Null if config.void == ValueForm::Text => (DataType::Utf8, Some(Conversion::NullText)),
        _ => (data_type, conversion),
    })
}

/// Decides for a value or a part of one: the type it gets, and how, where that is not the one on the wire.
fn typed(
    sql_type: Option<&SqlType>,
    wire: &DataType,
    geospatial: ValueForm,
) -> Result<(DataType, Option<Conversion>), Reason> {
    let part = |sql_type, field: &Field| typed(sql_type, field.data_type(), geospatial);
    let (data_type, conversion) = match (sql_type, wire) {
        (Some(SqlType::Geospatial(declared)), _) => return geospatial_value(*declared, wire, geospatial),
        (Some(SqlType::Array(element)), DataType::List(field)) => {
            let (item, conversion) = part(Some(element), field)?;
            let field = Arc::new(element_field(item));
            (DataType::List(Arc::clone(&field)), Conversion::List(field, conversion.map(Box::new)))
        }
        (Some(SqlType::Array(element)), DataType::LargeList(field)) => {
            let (item, conversion) = part(Some(element), field)?;
            let field = Arc::new(element_field(item));
            (DataType::LargeList(Arc::clone(&field)), Conversion::LargeList(field, conversion.map(Box::new)))
        }
        (Some(SqlType::Map(key, value)), DataType::Map(entries, sorted)) => match entries.data_type() {
            DataType::Struct(fields) => match fields.as_ref() {
                [key_field, value_field] => {
                    let (key, key_conversion) = part(Some(key), key_field)?;
                    let (value, value_conversion) = part(Some(value), value_field)?;
                    let entries = Arc::new(entries_field(key, value));
                    let conversion = Conversion::Map(
                        Arc::clone(&entries),
                        key_conversion.map(Box::new),
                        value_conversion.map(Box::new),
                    );
                    (DataType::Map(entries, *sorted), conversion)
                }
                _ => return Err("a map has keys and values".to_owned()),
            },
            _ => return Err("a map has entries".to_owned()),
        },
        (Some(SqlType::Struct(types)), DataType::Struct(fields)) if types.len() == fields.len() => {
            let mut conversions = Vec::with_capacity(fields.len());
            let mut made = Vec::with_capacity(fields.len());
            for ((_, sql_type), field) in types.iter().zip(fields) {
                let (data_type, conversion) = part(Some(sql_type), field)?;
                made.push(Field::new(field.name(), data_type, true));
                conversions.push(conversion);
            }
            let fields = Fields::from(made);
            (DataType::Struct(fields.clone()), Conversion::Struct(fields, conversions))
        }
        _ => return Ok((wire.clone(), None)),
    };
    let conversion = Some(conversion).filter(|_| data_type != *wire);
    Ok((data_type, conversion))
}

fn geospatial_value(
    declared: GeospatialType,
    wire: &DataType,
    form: ValueForm,
) -> Result<(DataType, Option<Conversion>), Reason> {
    let fields = geospatial_fields(declared);
    let native = DataType::Struct(fields.clone());
    match (wire, form) {
        (DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View, ValueForm::Text) => Ok((wire.clone(), None)),
        (DataType::Utf8, ValueForm::Native) => Ok((native, Some(Conversion::GeospatialBytes(declared.srid, fields)))),
        (DataType::Struct(from), _) if is_geospatial(from) => Ok(match form {
            ValueForm::Text => (DataType::Utf8, Some(Conversion::GeospatialText)),
            ValueForm::Native => (native, Some(Conversion::Struct(fields, vec![None, None]))),
        }),
        _ => Err("expected text, or struct<srid: int32, wkb: binary>".to_owned()),
    }
}

/// The fields of a geometry in bytes, marked as databricks-sql-kernel 1.3.0 does, so that tools know what the bytes are.
fn geospatial_fields(declared: GeospatialType) -> Fields {
    let kind = if declared.is_geography { "geography" } else { "geometry" };
    let srid = if declared.is_mixed { -1 } else { declared.srid };
    let mark = HashMap::from([(kind.to_owned(), "true".to_owned()), ("srid".to_owned(), srid.to_string())]);
    let wkb = Field::new("wkb", DataType::Binary, false).with_metadata(mark);
    Fields::from(vec![Field::new("srid", DataType::Int32, false), wkb])
}

fn is_geospatial(fields: &Fields) -> bool {
    match fields.as_ref() {
        [srid, wkb] => {
            (srid.name().as_str(), srid.data_type()) == ("srid", &DataType::Int32)
                && (wkb.name().as_str(), wkb.data_type()) == ("wkb", &DataType::Binary)
        }
        _ => false,
    }
}

impl Conversion {
    /// Converts an array; `shown` are the places that the value around it shows, where not all. What lies elsewhere, below
    /// a null or outside of every list, may be anything.
    fn apply(&self, array: &ArrayRef, shown: Option<&NullBuffer>, byte_limit: usize) -> Result<ArrayRef, Reason> {
        let part = |conversion: Option<&Self>, array: &ArrayRef, shown: Option<&NullBuffer>| match conversion {
            Some(conversion) => conversion.apply(array, shown, byte_limit),
            None => Ok(Arc::clone(array)),
        };
        let made: Result<ArrayRef, ArrowError> = match self {
            Self::List(field, item) => {
                let list = array.as_list::<i32>();
                let shown = items_shown(&[item], list.offsets(), list.nulls(), shown, list.values().len());
                let values = part(item.as_deref(), list.values(), shown.as_ref())?;
                ListArray::try_new(Arc::clone(field), list.offsets().clone(), values, list.nulls().cloned()).map(arc)
            }
            Self::LargeList(field, item) => {
                let list = array.as_list::<i64>();
                let shown = items_shown(&[item], list.offsets(), list.nulls(), shown, list.values().len());
                let values = part(item.as_deref(), list.values(), shown.as_ref())?;
                LargeListArray::try_new(Arc::clone(field), list.offsets().clone(), values, list.nulls().cloned())
                    .map(arc)
            }
            Self::Map(field, key, value) => {
                let map = array.as_map();
                let shown = items_shown(&[key, value], map.offsets(), map.nulls(), shown, map.keys().len());
                let keys = part(key.as_deref(), map.keys(), shown.as_ref())?;
                let values = part(value.as_deref(), map.values(), shown.as_ref())?;
                let DataType::Struct(fields) = field.data_type() else { return Err("a map has entries".to_owned()) };
                let sorted = matches!(array.data_type(), DataType::Map(_, true));
                let (offsets, nulls) = (map.offsets().clone(), map.nulls().cloned());
                StructArray::try_new(fields.clone(), vec![keys, values], None)
                    .and_then(|entries| MapArray::try_new(Arc::clone(field), offsets, entries, nulls, sorted))
                    .map(arc)
            }
            Self::Struct(fields, conversions) => {
                let from = array.as_struct();
                let shown = NullBuffer::union(shown, from.nulls());
                let columns = conversions.iter().zip(from.columns());
                let columns: Result<Vec<ArrayRef>, Reason> =
                    columns.map(|(conversion, column)| part(conversion.as_ref(), column, shown.as_ref())).collect();
                StructArray::try_new_with_length(fields.clone(), columns?, from.nulls().cloned(), from.len()).map(arc)
            }
            Self::GeospatialBytes(srid, fields) => return geospatial_bytes(array, shown, *srid, fields, byte_limit),
            Self::GeospatialText => return geospatial_texts(array, shown, byte_limit),
            Self::IntervalText => return render::intervals(array, byte_limit),
            Self::NullText => return render::nulls(array.len(), byte_limit),
            Self::Json(inner) => return render::json(&part(inner.as_deref(), array, shown)?, byte_limit),
        };
        made.map_err(|error| error.to_string())
    }

    /// Tells whether values are looked at, so that those which nothing shows must be known.
    fn reads_values(&self) -> bool {
        match self {
            Self::List(_, item) | Self::LargeList(_, item) => item.as_ref().is_some_and(|item| item.reads_values()),
            Self::Map(_, key, value) => [key, value].into_iter().flatten().any(|part| part.reads_values()),
            Self::Struct(_, parts) => parts.iter().flatten().any(Self::reads_values),
            _ => true,
        }
    }
}

fn arc(array: impl Array + 'static) -> ArrayRef {
    Arc::new(array)
}

/// Returns the places of items that some list shows; nothing where no conversion looks at them.
fn items_shown<O: OffsetSizeTrait>(
    conversions: &[&Option<Box<Conversion>>],
    offsets: &OffsetBuffer<O>,
    nulls: Option<&NullBuffer>,
    shown: Option<&NullBuffer>,
    length: usize,
) -> Option<NullBuffer> {
    if !conversions.iter().copied().flatten().any(|conversion| conversion.reads_values()) {
        return None;
    }
    let rows = NullBuffer::union(shown, nulls);
    let mut items = BooleanBufferBuilder::new(length);
    for (row, span) in offsets.windows(2).enumerate() {
        if let [start, end] = span
            && rows.as_ref().is_none_or(|rows| rows.is_valid(row))
        {
            items.append_n(start.as_usize().saturating_sub(items.len()), false);
            items.append_n(end.as_usize().saturating_sub(items.len()), true);
        }
    }
    items.append_n(length.saturating_sub(items.len()), false);
    Some(NullBuffer::new(items.finish()))
}

fn geospatial_bytes(
    array: &ArrayRef,
    shown: Option<&NullBuffer>,
    srid: i32,
    fields: &Fields,
    limit: usize,
) -> Result<ArrayRef, Reason> {
    let texts = array.as_string::<i32>();
    let nulls = NullBuffer::union(texts.nulls(), shown);
    let (mut srids, mut values) = (Vec::with_capacity(texts.len()), Vec::new());
    let mut offsets = Vec::with_capacity(texts.len() + 1);
    offsets.push(0);
    for row in 0..texts.len() {
        srids.push(if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            0
        } else {
            geospatial::wkb_of_text(texts.value(row), srid, &mut values, limit)
                .map_err(|reason| format!("row {row} is no geometry: {reason}"))?
        });
        offsets.push(i32::try_from(values.len()).map_err(|_| "a batch of geometries is too large".to_owned())?);
    }
    let wkb = BinaryArray::try_new(OffsetBuffer::new(offsets.into()), values.into(), None)
        .map_err(|error| error.to_string())?;
    StructArray::try_new(fields.clone(), vec![arc(Int32Array::from(srids)), arc(wkb)], nulls)
        .map(arc)
        .map_err(|error| error.to_string())
}

fn geospatial_texts(array: &ArrayRef, shown: Option<&NullBuffer>, limit: usize) -> Result<ArrayRef, Reason> {
    let structs = array.as_struct();
    let nulls = NullBuffer::union(structs.nulls(), shown);
    let [srids, values] = structs.columns() else { return Err("a geometry has two fields".to_owned()) };
    let (srids, values) = (srids.as_primitive::<Int32Type>(), values.as_binary::<i32>());
    let mut texts = Texts::new(structs.len(), limit)?;
    for row in 0..structs.len() {
        if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
            if srids.is_null(row) || values.is_null(row) {
                return Err(format!("row {row} is a geometry without SRID or without bytes"));
            }
            let is_small = |texts: &Texts| texts.check().map_err(|_| "its text is too large");
            geospatial::text_of_wkb(values.value(row), srids.value(row), &mut texts, is_small)
                .map_err(|reason| format!("row {row} is no geometry: {reason}"))?;
        }
        texts.end_row()?;
    }
    texts.finish(nulls)
}

#[cfg(test)]
mod tests {
    use arrow_array::builder::{Int32Builder, ListBuilder, StringBuilder};
    use arrow_array::types::IntervalYearMonthType;
    use arrow_array::{DurationMicrosecondArray, Int64Array, NullArray, PrimitiveArray, StringArray, new_null_array};
    use arrow_schema::TimeUnit;

    use super::*;
    use crate::schema::from_manifest;

    fn column(type_text: &str) -> Column {
        Column {
            name: "c".to_owned(),
            type_text: type_text.to_owned(),
            type_name: type_text.split(['(', '<', ' ']).next().unwrap().to_owned(),
            type_precision: None,
            type_scale: None,
            type_interval_type: None,
        }
    }

    fn all(form: ValueForm) -> ResultConfig {
        ResultConfig { complex_types: form, intervals: form, geospatial: form, void: form, ..ResultConfig::default() }
    }

    fn wire_of(array: &ArrayRef) -> Schema {
        // As on the wire: a name and flags that are not to be relied on.
        Schema::new(vec![Field::new("wire", array.data_type().clone(), false)])
    }

    fn presented(type_text: &str, array: ArrayRef, config: &ResultConfig) -> Result<ArrayRef> {
        let wire = wire_of(&array);
        let presentation = Presentation::new(&[column(type_text)], &wire, config)?;
        let nullable = Schema::new(vec![Field::new("wire", array.data_type().clone(), true)]);
        let batch = RecordBatch::try_new(Arc::new(nullable), vec![array]).unwrap();
        let batch = presentation.present(batch)?;
        assert_eq!(&batch.schema(), presentation.schema());
        Ok(Arc::clone(batch.column(0)))
    }

    fn point() -> Vec<u8> {
        let mut wkb = Vec::new();
        geospatial::wkb_of_text("POINT(1 2)", 0, &mut wkb, 21).unwrap();
        wkb
    }

    fn points(srids: Vec<Option<i32>>, nullable: bool, nulls: Option<Vec<bool>>) -> ArrayRef {
        let wkb = point();
        let fields = Fields::from(vec![
            Field::new("srid", DataType::Int32, nullable),
            Field::new("wkb", DataType::Binary, nullable),
        ]);
        let values = BinaryArray::from_iter_values(srids.iter().map(|_| &wkb));
        let columns: Vec<ArrayRef> = vec![Arc::new(Int32Array::from(srids)), Arc::new(values)];
        Arc::new(StructArray::new(fields, columns, nulls.map(Into::into)))
    }

    #[test]
    fn nothing_is_converted_that_need_not_be() {
        for type_text in [
            "BIGINT",
            "STRING",
            "TIMESTAMP",
            "DECIMAL(10,2)",
            "VOID",
            "VARIANT",
            "INTERVAL DAY TO SECOND",
            "INTERVAL YEAR TO MONTH",
            "GEOMETRY(4326)",
            "ARRAY<MAP<STRING, STRUCT<a: INT, b: ARRAY<GEOGRAPHY(4326)>>>>",
        ] {
            let columns = [column(type_text)];
            let wire = from_manifest(&columns, &Arc::from("Asia/Tokyo")).unwrap();
            let presentation = Presentation::new(&columns, &wire, &ResultConfig::default()).unwrap();
            assert!(presentation.conversions.is_empty(), "{type_text}");
            assert_eq!(presentation.schema().field(0).data_type(), wire.field(0).data_type());
            assert_eq!(presentation.schema().field(0).metadata(), &columns[0].metadata());
        }
        let array: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let same = presented("BIGINT", Arc::clone(&array), &all(ValueForm::Text)).unwrap();
        assert_eq!(same.to_data().buffers()[0].as_ptr(), array.to_data().buffers()[0].as_ptr());
    }

    #[test]
    fn a_result_with_rows_has_the_schema_of_one_without() {
        let zone = Arc::from("Etc/UTC");
        let strict = |field: Field| Arc::new(field.with_nullable(false));
        let list = |name: &str, item| DataType::List(strict(Field::new(name, item, true)));
        let pairs = |key, value| {
            let fields = Fields::from(vec![Field::new("k", key, false), Field::new("v", value, false)]);
            DataType::Map(Arc::new(Field::new("key_value", DataType::Struct(fields), false)), false)
        };
        for (type_text, wire) in [
            ("BIGINT", DataType::Int64),
            ("ARRAY<ARRAY<INT>>", list("item", list("item", DataType::Int32))),
            ("MAP<STRING, ARRAY<INT>>", pairs(DataType::Utf8, list("item", DataType::Int32))),
            (
                "STRUCT<a: INT NOT NULL, b: MAP<INT, INT>>",
                DataType::Struct(Fields::from(vec![
                    Field::new("a", DataType::Int32, false),
                    Field::new("b", pairs(DataType::Int32, DataType::Int32), false),
                ])),
            ),
            ("ARRAY<TIMESTAMP>", list("item", DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::clone(&zone))))),
            ("ARRAY<GEOMETRY(0)>", list("item", DataType::Utf8)),
        ] {
            for config in [ResultConfig::default(), all(ValueForm::Native), all(ValueForm::Text)] {
                let columns = [column(type_text)];
                let empty = from_manifest(&columns, &zone).unwrap();
                let empty = Presentation::new(&columns, &empty, &config).unwrap();
                let wire = Schema::new(vec![Field::new("x", wire.clone(), false)]);
                let full = Presentation::new(&columns, &wire, &config).unwrap();
                assert_eq!(full.schema(), empty.schema(), "{type_text}");
                let rows: ArrayRef = new_null_array(wire.field(0).data_type(), 2);
                let batch = RecordBatch::try_new(
                    Arc::new(Schema::new(vec![wire.field(0).clone().with_nullable(true)])),
                    vec![rows],
                );
                let batch = full.present(batch.unwrap()).unwrap();
                assert_eq!((&batch.schema(), batch.num_rows()), (empty.schema(), 2));
                assert_eq!(batch.column(0).logical_null_count(), 2);
            }
        }
    }

    #[test]
    fn renamed_inner_fields_share_their_memory() {
        let mut lists = ListBuilder::new(Int32Builder::new());
        lists.append_value([Some(1), None]);
        lists.append_null();
        lists.append_value([]);
        let array: ArrayRef = Arc::new(lists.finish());
        let made = presented("ARRAY<INT>", Arc::clone(&array), &ResultConfig::default()).unwrap();
        assert_eq!(made.data_type(), &DataType::List(Arc::new(Field::new("element", DataType::Int32, true))));
        assert_eq!(made.as_list::<i32>().offsets(), array.as_list::<i32>().offsets());
        assert_eq!(made.nulls(), array.nulls());
        let values = |array: &ArrayRef| array.as_list::<i32>().values().to_data().buffers()[0].as_ptr();
        assert_eq!(values(&made), values(&array));
    }

    #[test]
    fn geometries_become_what_is_asked_for() {
        let (native, text) = (all(ValueForm::Native), ResultConfig::default());
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("POINT(1 2)"), None, Some("SRID=0;POINT(1 2)")]));
        let bytes = presented("GEOGRAPHY(4326)", Arc::clone(&texts), &native).unwrap();
        let structs = bytes.as_struct();
        assert_eq!(structs.column(0).as_primitive::<Int32Type>().values(), &[4326, 0, 0]);
        assert_eq!(structs.column(1).as_binary::<i32>().value(2), point());
        assert_eq!(structs.nulls(), texts.nulls());
        assert_eq!(
            structs.fields(),
            &geospatial_fields(GeospatialType { is_geography: true, srid: 4326, is_mixed: false })
        );
        assert_eq!(&presented("GEOMETRY(4326)", Arc::clone(&texts), &text).unwrap(), &texts);

        for nullable in [true, false] {
            let wire = points(vec![Some(4326), Some(1), Some(0)], nullable, Some(vec![true, false, true]));
            let made = presented("GEOMETRY(4326)", Arc::clone(&wire), &text).unwrap();
            let made: Vec<_> = made.as_string::<i32>().iter().collect();
            assert_eq!(made, [Some("SRID=4326;POINT(1 2)"), None, Some("POINT(1 2)")]);
            let made = presented("GEOMETRY(4326)", wire, &native).unwrap();
            assert_eq!(
                made.as_struct().fields(),
                &geospatial_fields(GeospatialType { is_geography: false, srid: 4326, is_mixed: false })
            );
        }

        let mut lists = ListBuilder::new(StringBuilder::new());
        lists.append_value([Some("POINT(1 2)"), None]);
        let array: ArrayRef = Arc::new(lists.finish());
        let json = ResultConfig { complex_types: ValueForm::Text, ..native };
        let made = presented("ARRAY<GEOMETRY(7)>", array, &json).unwrap();
        assert_eq!(made.as_string::<i32>().value(0), r#"[{"srid":7,"wkb":"AQEAAAAAAAAAAADwPwAAAAAAAABA"},null]"#);
        // A geometry by itself is not a complex type.
        let made = presented("GEOMETRY(7)", Arc::clone(&texts), &json).unwrap();
        assert!(made.as_struct_opt().is_some());
    }

    #[test]
    fn what_nothing_shows_need_not_be_a_geometry() {
        let native = all(ValueForm::Native);
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["POINT(1 2)", "", "junk", "POINT(1 2)", "junk"]));
        let field = |name: &str| Arc::new(Field::new(name, DataType::Utf8, false));
        let place = |shown: &[usize]| (0..5).map(|row| shown.contains(&row)).collect::<Vec<bool>>();

        let structs: ArrayRef =
            Arc::new(StructArray::new(vec![field("g")].into(), vec![Arc::clone(&texts)], Some(place(&[0, 3]).into())));
        let made = presented("STRUCT<g: GEOMETRY(0)>", structs, &native).unwrap();
        assert_eq!(made.as_struct().column(0).nulls(), Some(&place(&[0, 3]).into()));

        // The lists start behind the first place, and the second of them is null.
        let offsets = OffsetBuffer::new(vec![3, 4, 5].into());
        let nulls = Some(NullBuffer::from(vec![true, false]));
        let lists = ListArray::new(field("item"), offsets.clone(), Arc::clone(&texts), nulls.clone());
        let made = presented("ARRAY<GEOMETRY(0)>", Arc::new(lists), &native).unwrap();
        assert_eq!(made.as_list::<i32>().values().nulls(), Some(&place(&[3]).into()));

        let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(0..5));
        let fields = vec![Arc::new(Field::new("key", DataType::Int64, false)), field("value")];
        let entries = StructArray::new(fields.into(), vec![keys, texts], None);
        let entries_field = Arc::new(Field::new("entries", entries.data_type().clone(), false));
        let maps = MapArray::new(entries_field, offsets, entries, nulls, false);
        let made = presented("MAP<BIGINT, GEOMETRY(0)>", Arc::new(maps), &native).unwrap();
        assert_eq!(made.as_map().values().nulls(), Some(&place(&[3]).into()));

        // Of a null structure around a geometry in bytes, the bytes may be missing.
        let points = points(vec![Some(1), None, Some(3)], true, None);
        let field = Arc::new(Field::new("g", points.data_type().clone(), true));
        let structs = StructArray::new(vec![field].into(), vec![points], Some(vec![true, false, true].into()));
        let made = presented("STRUCT<g: GEOMETRY(0)>", Arc::new(structs), &all(ValueForm::Text)).unwrap();
        let made: Vec<_> = made.as_string::<i32>().iter().collect();
        assert_eq!(made, [Some(r#"{"g":"SRID=1;POINT(1 2)"}"#), None, Some(r#"{"g":"SRID=3;POINT(1 2)"}"#)]);
    }

    #[test]
    fn what_is_no_geometry_is_data_loss() {
        let native = all(ValueForm::Native);
        let junk: ArrayRef = Arc::new(StringArray::from(vec![Some("POINT(1 2)"), Some("junk")]));
        let error = presented("GEOMETRY(0)", junk, &native).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DataLoss);
        assert!(error.to_string().contains("column `c`") && error.to_string().contains("row 1"), "{error}");
        for (config, reason) in [(&native, "SRID"), (&ResultConfig::default(), "without SRID")] {
            let error = presented("GEOMETRY(0)", points(vec![Some(1), None], true, None), config).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::DataLoss, "{reason}");
        }
        let number: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        let error = presented("GEOMETRY(0)", number, &native).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DataLoss);
        assert!(error.to_string().contains("arrived as Arrow Int64"), "{error}");
    }

    #[test]
    fn intervals_and_nulls_become_text_where_asked() {
        let months: ArrayRef = Arc::new(PrimitiveArray::<IntervalYearMonthType>::from(vec![Some(30), None]));
        let days: ArrayRef = Arc::new(DurationMicrosecondArray::from(vec![Some(93_784_500_000), None]));
        let nothing: ArrayRef = Arc::new(NullArray::new(2));
        let text = all(ValueForm::Text);
        for (type_text, array, expected) in [
            ("INTERVAL YEAR TO MONTH", &months, Some("2-6")),
            ("INTERVAL DAY TO SECOND", &days, Some("1 02:03:04.500000000")),
            ("VOID", &nothing, None),
        ] {
            let made = presented(type_text, Arc::clone(array), &text).unwrap();
            assert_eq!(made.as_string::<i32>().iter().collect::<Vec<_>>(), [expected, None], "{type_text}");
            assert_eq!(&presented(type_text, Arc::clone(array), &all(ValueForm::Native)).unwrap(), array);
        }
    }

    #[test]
    fn further_chunks_are_held_against_the_wire_and_not_the_presented_schema() {
        let mut lists = ListBuilder::new(Int32Builder::new());
        lists.append_value([Some(1)]);
        let array: ArrayRef = Arc::new(lists.finish());
        let wire = wire_of(&array);
        let presentation = Presentation::new(&[column("ARRAY<INT>")], &wire, &all(ValueForm::Text)).unwrap();
        assert_eq!(presentation.schema().field(0).data_type(), &DataType::Utf8);
        presentation.check(&wire).unwrap();
        let error = presentation.check(presentation.schema()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DataLoss);
        let two = [column("INT"), column("INT")];
        let error = Presentation::new(&two, &wire, &ResultConfig::default()).unwrap_err();
        assert!(error.to_string().contains("1 columns and the manifest 2"), "{error}");
    }
}
