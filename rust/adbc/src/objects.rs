//! Catalogs, schemas, tables, columns and constraints in the one nested answer of `GetObjects`.

use std::collections::HashMap;
use std::sync::Arc;

use adbc_core::constants::ADBC_STATISTIC_ROW_COUNT_KEY;
use adbc_core::error::{Result, Status};
use adbc_core::options::ObjectDepth;
use adbc_core::schemas::{GET_OBJECTS_SCHEMA, GET_STATISTICS_SCHEMA};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int16Type, Int32Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Int16Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray,
    StructArray, UnionArray, new_null_array,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, FieldRef};
use seakernel::{Listing, Metadata, ParentTable};
use tokio::task::JoinSet;

use crate::error::error;

/// Requests under way at once where each catalog or table needs its own.
const AT_ONCE: usize = 8;

/// Which objects are asked for; all but `types` are LIKE patterns.
pub(crate) struct Filter<'a> {
    pub(crate) catalog: Option<&'a str>,
    pub(crate) schema: Option<&'a str>,
    pub(crate) table: Option<&'a str>,
    pub(crate) types: Option<Vec<String>>,
    pub(crate) column: Option<&'a str>,
}

/// What was found, in the server's order. A level that was not asked for is `None`.
pub(crate) struct Objects(Vec<Catalog>);

struct Catalog {
    name: String,
    schemas: Option<Vec<Schema>>,
}

struct Schema {
    name: String,
    tables: Option<Vec<Table>>,
}

struct Table {
    name: String,
    kind: String,
    columns: Option<Vec<Column>>,
    constraints: Option<Vec<Constraint>>,
}

#[derive(Default)]
struct Column {
    name: String,
    position: Option<i32>,
    remarks: Option<String>,
    type_code: Option<i32>,
    type_name: Option<String>,
    size: Option<i32>,
    digits: Option<i32>,
    radix: Option<i32>,
    nullable: Option<i32>,
    is_nullable: Option<String>,
    is_autoincrement: Option<bool>,
}

#[derive(Default)]
struct Constraint {
    name: Option<String>,
    kind: &'static str,
    columns: Vec<String>,
    /// Catalog, schema, table and column of each column's parent.
    usage: Option<Vec<[Option<String>; 4]>>,
}

/// Finds the objects down to `depth`. Constraints, which cost two requests for each table, are asked for where the filter
/// names tables.
pub(crate) async fn find(metadata: &Metadata, depth: ObjectDepth, filter: &Filter<'_>) -> seakernel::Result<Objects> {
    let pattern = filter.catalog.filter(|pattern| !pattern.chars().all(|c| c == '%') || pattern.is_empty());
    let names = texts(&metadata.catalogs().await?, "TABLE_CAT");
    let mut catalogs: Vec<Catalog> = names
        .into_iter()
        .flatten()
        .filter(|name| pattern.is_none_or(|pattern| is_like(pattern, name)))
        .map(|name| Catalog { name, schemas: None })
        .collect();
    if depth == ObjectDepth::Catalogs || catalogs.is_empty() {
        return Ok(Objects(catalogs));
    }
    let place: HashMap<String, usize> =
        catalogs.iter().enumerate().map(|(place, catalog)| (catalog.name.to_lowercase(), place)).collect();
    for catalog in &mut catalogs {
        catalog.schemas = Some(Vec::new());
    }
    // One request is for one catalog, or for all.
    let only = match catalogs.as_slice() {
        [catalog] => Some(catalog.name.clone()),
        _ => None,
    };
    let schemas = metadata.schemas(only.as_deref(), filter.schema).await?;
    for (schema, catalog) in texts(&schemas, "TABLE_SCHEM").into_iter().zip(texts(&schemas, "TABLE_CATALOG")) {
        let found = catalog.as_ref().and_then(|name| place.get(&name.to_lowercase()));
        let Some(catalog) = found.and_then(|place| catalogs.get_mut(*place)) else { continue };
        let schema = Schema { name: schema.unwrap_or_default(), tables: None };
        catalog.schemas.get_or_insert_default().push(schema);
    }
    if depth == ObjectDepth::Schemas {
        return Ok(Objects(catalogs));
    }
    for schema in catalogs.iter_mut().flat_map(|catalog| catalog.schemas.iter_mut().flatten()) {
        schema.tables = Some(Vec::new());
    }
    let escaped = only.as_deref().map(escaped);
    let catalog_pattern = escaped.as_deref().or(pattern);
    let listing = metadata.tables(catalog_pattern, filter.schema, filter.table, filter.types.as_deref()).await?;
    add_tables(&mut catalogs, &place, &listing);
    if depth != ObjectDepth::Tables {
        add_columns(metadata, &mut catalogs, &place, filter).await?;
        if filter.table.is_some() {
            add_constraints(metadata, &mut catalogs).await?;
        }
    }
    Ok(Objects(catalogs))
}

fn add_tables(catalogs: &mut [Catalog], place: &HashMap<String, usize>, listing: &Listing) {
    let schemas = texts(listing, "TABLE_SCHEM").into_iter().zip(texts(listing, "TABLE_CAT"));
    let tables = texts(listing, "TABLE_NAME").into_iter().zip(texts(listing, "TABLE_TYPE"));
    for ((schema, catalog), (name, kind)) in schemas.zip(tables) {
        // Temporary views of the session are in no catalog.
        let (Some(catalog), Some(schema), Some(name)) = (catalog, schema, name) else { continue };
        let Some(catalog) = place.get(&catalog.to_lowercase()).and_then(|place| catalogs.get_mut(*place)) else {
            continue;
        };
        let schemas = catalog.schemas.get_or_insert_default();
        let table = Table { name, kind: kind.unwrap_or_default(), columns: None, constraints: None };
        match schemas.iter_mut().find(|known| known.name.eq_ignore_ascii_case(&schema)) {
            Some(known) => known.tables.get_or_insert_default().push(table),
            // Of a schema that was made in between.
            None => schemas.push(Schema { name: schema, tables: Some(vec![table]) }),
        }
    }
}

async fn add_columns(
    metadata: &Metadata,
    catalogs: &mut [Catalog],
    place: &HashMap<String, usize>,
    filter: &Filter<'_>,
) -> seakernel::Result<()> {
    // By catalog, schema and table in small letters; schemas of two catalogs share names.
    let mut tables: HashMap<(usize, String, String), &mut Table> = HashMap::new();
    let mut wanted = Vec::new();
    for (place, catalog) in catalogs.iter_mut().enumerate() {
        let before = tables.len();
        for schema in catalog.schemas.iter_mut().flatten() {
            let schema_name = schema.name.to_lowercase();
            for table in schema.tables.iter_mut().flatten() {
                table.columns = Some(Vec::new());
                tables.insert((place, schema_name.clone(), table.name.to_lowercase()), table);
            }
        }
        if tables.len() > before {
            wanted.push(catalog.name.clone());
        }
    }
    let [schema, table] = [filter.schema, filter.table].map(|text| text.map(str::to_owned));
    let asked = wanted.into_iter().map(|catalog| {
        let (metadata, schema, table) = (metadata.clone(), schema.clone(), table.clone());
        async move { metadata.columns(Some(&catalog), schema.as_deref(), table.as_deref(), None).await }
    });
    for listing in together(asked).await? {
        for batch in listing.batches() {
            let rows = ColumnRows::of(batch);
            for row in 0..batch.num_rows() {
                let found = rows.text("TABLE_CAT", row).and_then(|catalog| place.get(&catalog.to_lowercase()));
                let (Some(catalog), Some(schema), Some(table)) =
                    (found, rows.text("TABLE_SCHEM", row), rows.text("TABLE_NAME", row))
                else {
                    continue;
                };
                if let Some(table) = tables.get_mut(&(*catalog, schema.to_lowercase(), table.to_lowercase())) {
                    table.columns.get_or_insert_default().push(rows.column(row));
                }
            }
        }
    }
    for table in tables.into_values() {
        let columns = table.columns.get_or_insert_default();
        // Some answers count columns from 0 and some from 1; ADBC does from 1. All of a table are asked for to tell.
        let first = columns.iter().filter_map(|column| column.position).min().unwrap_or(1);
        for column in columns.iter_mut() {
            column.position = column.position.map(|position| position - first + 1);
        }
        if let Some(pattern) = filter.column {
            columns.retain(|column| is_like(pattern, &column.name));
        }
    }
    Ok(())
}

async fn add_constraints(metadata: &Metadata, catalogs: &mut [Catalog]) -> seakernel::Result<()> {
    let mut tables = Vec::new();
    let mut asked = Vec::new();
    for catalog in catalogs {
        for schema in catalog.schemas.iter_mut().flatten() {
            for table in schema.tables.iter_mut().flatten() {
                let names = [catalog.name.clone(), schema.name.clone(), table.name.clone()];
                let metadata = metadata.clone();
                asked.push(async move {
                    let [catalog, schema, table] = &names;
                    let primary = metadata.primary_keys(catalog, schema, table).await?;
                    let foreign = metadata.foreign_keys(ParentTable::default(), catalog, schema, table).await?;
                    Ok(constraints(&primary, &foreign))
                });
                tables.push(table);
            }
        }
    }
    let found = together(asked.into_iter()).await?;
    for (table, constraints) in tables.into_iter().zip(found) {
        table.constraints = Some(constraints);
    }
    Ok(())
}

fn constraints(primary: &Listing, foreign: &Listing) -> Vec<Constraint> {
    let mut found: Vec<Constraint> = Vec::new();
    for (column, name) in texts(primary, "COLUMN_NAME").into_iter().zip(texts(primary, "PK_NAME")) {
        let known = found.iter().position(|known| known.name == name);
        let place = known.unwrap_or_else(|| {
            found.push(Constraint { name, kind: "PRIMARY KEY", ..Constraint::default() });
            found.len() - 1
        });
        if let Some(constraint) = found.get_mut(place) {
            constraint.columns.extend(column);
        }
    }
    let parents = ["PKTABLE_CAT", "PKTABLE_SCHEM", "PKTABLE_NAME", "PKCOLUMN_NAME"].map(|name| texts(foreign, name));
    let own = texts(foreign, "FKCOLUMN_NAME").into_iter().zip(texts(foreign, "FK_NAME"));
    for (row, (column, name)) in own.enumerate() {
        let known = found.iter().position(|known| known.kind == "FOREIGN KEY" && known.name == name);
        let place = known.unwrap_or_else(|| {
            found.push(Constraint { name, kind: "FOREIGN KEY", ..Constraint::default() });
            found.len() - 1
        });
        if let Some(constraint) = found.get_mut(place) {
            constraint.columns.extend(column);
            let parent =
                [0, 1, 2, 3].map(|part: usize| parents.get(part).and_then(|texts| texts.get(row).cloned()).flatten());
            constraint.usage.get_or_insert_default().push(parent);
        }
    }
    found
}

/// Awaits the calls, several at a time; their answers are in the order of the calls.
async fn together<T: Send + 'static>(
    calls: impl Iterator<Item = impl Future<Output = seakernel::Result<T>> + Send + 'static>,
) -> seakernel::Result<Vec<T>> {
    let (mut calls, mut running, mut answers) = (calls.enumerate(), JoinSet::new(), Vec::new());
    loop {
        while running.len() < AT_ONCE {
            let Some((place, call)) = calls.next() else { break };
            running.spawn(async move { (place, call.await) });
        }
        let Some(ended) = running.join_next().await else { break };
        let (place, answer) = ended.map_err(|cause| {
            seakernel::Error::new(seakernel::ErrorKind::Internal, format!("the task of a listing ended: {cause}"))
        })?;
        answers.push((place, answer?));
    }
    answers.sort_by_key(|(place, _)| *place);
    Ok(answers.into_iter().map(|(_, answer)| answer).collect())
}

/// Returns the texts of one column of a listing.
fn texts(listing: &Listing, column: &str) -> Vec<Option<String>> {
    let mut found = Vec::with_capacity(listing.num_rows());
    for batch in listing.batches() {
        let texts = batch.column_by_name(column).and_then(|column| column.as_string_opt::<i32>());
        match texts {
            Some(texts) => found.extend(texts.iter().map(|text| text.map(str::to_owned))),
            None => found.extend((0..batch.num_rows()).map(|_| None)),
        }
    }
    found
}

/// A batch of a listing of columns.
struct ColumnRows<'a>(&'a RecordBatch);

impl<'a> ColumnRows<'a> {
    fn of(batch: &'a RecordBatch) -> Self {
        Self(batch)
    }

    fn text(&self, name: &str, row: usize) -> Option<&'a str> {
        let texts = self.0.column_by_name(name)?.as_string_opt::<i32>()?;
        texts.is_valid(row).then(|| texts.value(row))
    }

    fn number(&self, name: &str, row: usize) -> Option<i32> {
        let column = self.0.column_by_name(name)?;
        if column.is_null(row) {
            return None;
        }
        match column.data_type() {
            DataType::Int16 => Some(i32::from(column.as_primitive::<Int16Type>().value(row))),
            DataType::Int32 => Some(column.as_primitive::<Int32Type>().value(row)),
            _ => None,
        }
    }

    fn column(&self, row: usize) -> Column {
        let text = |name| self.text(name, row).map(str::to_owned);
        Column {
            name: text("COLUMN_NAME").unwrap_or_default(),
            position: self.number("ORDINAL_POSITION", row),
            remarks: text("REMARKS"),
            type_code: self.number("DATA_TYPE", row),
            type_name: text("TYPE_NAME"),
            size: self.number("COLUMN_SIZE", row),
            digits: self.number("DECIMAL_DIGITS", row),
            radix: self.number("NUM_PREC_RADIX", row),
            nullable: self.number("NULLABLE", row),
            is_nullable: text("IS_NULLABLE"),
            is_autoincrement: match self.text("IS_AUTO_INCREMENT", row) {
                Some("YES") => Some(true),
                Some("NO") => Some(false),
                _ => None,
            },
        }
    }
}

/// Returns the pattern that matches this name alone.
fn escaped(name: &str) -> String {
    let mut pattern = String::with_capacity(name.len());
    for character in name.chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

/// Tells whether a name matches a LIKE pattern, whatever its case.
fn is_like(pattern: &str, name: &str) -> bool {
    let name: Vec<char> = name.to_lowercase().chars().collect();
    let lowered = pattern.to_lowercase();
    let mut characters = lowered.chars();
    // The places in the name that the pattern so far can have come to.
    let mut places = vec![0];
    while let Some(character) = characters.next() {
        let step = |wanted: Option<char>, places: &[usize]| -> Vec<usize> {
            let fits = |place: &&usize| name.get(**place).is_some_and(|c| wanted.is_none_or(|wanted| wanted == *c));
            places.iter().filter(fits).map(|place| place + 1).collect()
        };
        places = match character {
            '%' => places.first().map(|first| (*first..=name.len()).collect()).unwrap_or_default(),
            '_' => step(None, &places),
            '\\' => step(Some(characters.next().unwrap_or('\\')), &places),
            other => step(Some(other), &places),
        };
    }
    places.contains(&name.len())
}

impl Objects {
    /// Returns the one batch that ADBC describes.
    pub(crate) fn into_batch(self) -> Result<RecordBatch> {
        let schema = Arc::clone(&GET_OBJECTS_SCHEMA);
        let names: StringArray = self.0.iter().map(|catalog| Some(catalog.name.as_str())).collect();
        let children = lists(schema.field(1).data_type(), self.0.into_iter().map(|catalog| catalog.schemas), schemas)?;
        Ok(RecordBatch::try_new(schema, vec![Arc::new(names), children])?)
    }
}

impl Objects {
    /// Returns catalog, schema and name of each table.
    pub(crate) fn tables(&self) -> Vec<[String; 3]> {
        let mut found = Vec::new();
        for catalog in &self.0 {
            for schema in catalog.schemas.iter().flatten() {
                let names = schema.tables.iter().flatten().map(|table| &table.name);
                found.extend(names.map(|name| [catalog.name.clone(), schema.name.clone(), name.clone()]));
            }
        }
        found
    }

    /// Builds the answer of `GetStatistics` of the rows of each table, in the order of [`Objects::tables`]; tables whose rows
    /// are not known are left out.
    pub(crate) fn into_row_counts(self, counts: Vec<Option<i64>>, approximate: bool) -> Result<RecordBatch> {
        let schema = Arc::clone(&GET_STATISTICS_SCHEMA);
        let names: StringArray = self.0.iter().map(|catalog| Some(catalog.name.as_str())).collect();
        let mut counts = counts.into_iter();
        let children = lists(
            schema.field(1).data_type(),
            self.0.into_iter().map(|catalog| Some(catalog.schemas.unwrap_or_default())),
            |data_type, schemas: Vec<Schema>| {
                let names: StringArray = schemas.iter().map(|schema| Some(schema.name.as_str())).collect();
                let tables = schemas.into_iter().map(|schema| {
                    let tables = schema.tables.unwrap_or_default().into_iter();
                    Some(tables.filter_map(|table| Some((table.name, counts.next()??))).collect())
                });
                let Some(statistics) = fields(data_type)?.get(1) else { return Err(no_statistics()) };
                let tables = lists(statistics.data_type(), tables, |data_type, rows: Vec<_>| {
                    row_counts(data_type, &rows, approximate)
                });
                structs(data_type, vec![Arc::new(names), tables?])
            },
        )?;
        Ok(RecordBatch::try_new(schema, vec![Arc::new(names), children])?)
    }
}

fn row_counts(data_type: &DataType, rows: &[(String, i64)], approximate: bool) -> Result<ArrayRef> {
    let (count, Some(value)) = (rows.len(), fields(data_type)?.get(3)) else { return Err(no_statistics()) };
    let DataType::Union(kinds, _) = value.data_type() else { return Err(no_statistics()) };
    // Of the four kinds of values the first is the one of counts.
    let mut values: Vec<ArrayRef> = kinds.iter().map(|(_, kind)| new_null_array(kind.data_type(), 0)).collect();
    if let Some(counts) = values.first_mut() {
        *counts = Arc::new(rows.iter().map(|(_, count)| Some(*count)).collect::<Int64Array>());
    }
    let offsets = (0..i32::try_from(count).unwrap_or(i32::MAX)).collect();
    let values = UnionArray::try_new(kinds.clone(), vec![0; count].into(), Some(offsets), values)?;
    let names: StringArray = rows.iter().map(|(name, _)| Some(name.as_str())).collect();
    structs(
        data_type,
        vec![
            Arc::new(names),
            new_null_array(&DataType::Utf8, count),
            Arc::new(Int16Array::from(vec![ADBC_STATISTIC_ROW_COUNT_KEY; count])),
            Arc::new(values),
            Arc::new(BooleanArray::from(vec![approximate; count])),
        ],
    )
}

fn no_statistics() -> adbc_core::error::Error {
    error(Status::Internal, "the schema of statistics is another one")
}

/// Builds a list for each item; `None` is NULL.
fn lists<T>(
    data_type: &DataType,
    items: impl Iterator<Item = Option<Vec<T>>>,
    build: impl FnOnce(&DataType, Vec<T>) -> Result<ArrayRef>,
) -> Result<ArrayRef> {
    let DataType::List(field) = data_type else {
        return Err(error(Status::Internal, "a level of objects is no list"));
    };
    let (mut lengths, mut valid, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for item in items {
        valid.push(item.is_some());
        let item = item.unwrap_or_default();
        lengths.push(item.len());
        all.extend(item);
    }
    let values = build(field.data_type(), all)?;
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(Arc::clone(field), offsets, values, Some(NullBuffer::from(valid)))?))
}

fn fields(data_type: &DataType) -> Result<&[FieldRef]> {
    match data_type {
        DataType::Struct(fields) => Ok(fields),
        _ => Err(error(Status::Internal, "a level of objects is no struct")),
    }
}

fn structs(data_type: &DataType, arrays: Vec<ArrayRef>) -> Result<ArrayRef> {
    Ok(Arc::new(StructArray::try_new(fields(data_type)?.to_vec().into(), arrays, None)?))
}

fn field_type(data_type: &DataType, place: usize) -> Result<&DataType> {
    let field = fields(data_type)?.get(place);
    field.map(|field| field.data_type()).ok_or_else(|| error(Status::Internal, "a level of objects lacks a field"))
}

fn strings<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

fn shorts(values: impl Iterator<Item = Option<i32>>) -> ArrayRef {
    Arc::new(values.map(|value| value.and_then(|value| i16::try_from(value).ok())).collect::<Int16Array>())
}

fn schemas(data_type: &DataType, schemas: Vec<Schema>) -> Result<ArrayRef> {
    let names = strings(schemas.iter().map(|schema| Some(schema.name.as_str())));
    let children = lists(field_type(data_type, 1)?, schemas.into_iter().map(|schema| schema.tables), tables)?;
    structs(data_type, vec![names, children])
}

fn tables(data_type: &DataType, tables: Vec<Table>) -> Result<ArrayRef> {
    let names = strings(tables.iter().map(|table| Some(table.name.as_str())));
    let kinds = strings(tables.iter().map(|table| Some(table.kind.as_str())));
    let (all_columns, all_constraints): (Vec<_>, Vec<_>) =
        tables.into_iter().map(|table| (table.columns, table.constraints)).unzip();
    let all_columns =
        lists(field_type(data_type, 2)?, all_columns.into_iter(), |data_type, all| columns(data_type, &all))?;
    let all_constraints = lists(field_type(data_type, 3)?, all_constraints.into_iter(), constraint_structs)?;
    structs(data_type, vec![names, kinds, all_columns, all_constraints])
}

fn columns(data_type: &DataType, columns: &[Column]) -> Result<ArrayRef> {
    let built: Vec<(&str, ArrayRef)> = vec![
        ("column_name", strings(columns.iter().map(|column| Some(column.name.as_str())))),
        ("ordinal_position", Arc::new(columns.iter().map(|column| column.position).collect::<Int32Array>())),
        ("remarks", strings(columns.iter().map(|column| column.remarks.as_deref()))),
        ("xdbc_data_type", shorts(columns.iter().map(|column| column.type_code))),
        ("xdbc_type_name", strings(columns.iter().map(|column| column.type_name.as_deref()))),
        ("xdbc_column_size", Arc::new(columns.iter().map(|column| column.size).collect::<Int32Array>())),
        ("xdbc_decimal_digits", shorts(columns.iter().map(|column| column.digits))),
        ("xdbc_num_prec_radix", shorts(columns.iter().map(|column| column.radix))),
        ("xdbc_nullable", shorts(columns.iter().map(|column| column.nullable))),
        ("xdbc_is_nullable", strings(columns.iter().map(|column| column.is_nullable.as_deref()))),
        (
            "xdbc_is_autoincrement",
            Arc::new(columns.iter().map(|column| column.is_autoincrement).collect::<BooleanArray>()),
        ),
    ];
    let rows = columns.len();
    let arrays = fields(data_type)?.iter().map(|field| {
        let known = built.iter().find(|(name, _)| name == field.name());
        known.map_or_else(|| new_null_array(field.data_type(), rows), |(_, array)| ArrayRef::clone(array))
    });
    structs(data_type, arrays.collect())
}

fn constraint_structs(data_type: &DataType, constraints: Vec<Constraint>) -> Result<ArrayRef> {
    let names = strings(constraints.iter().map(|constraint| constraint.name.as_deref()));
    let kinds = strings(constraints.iter().map(|constraint| Some(constraint.kind)));
    let (columns, usages): (Vec<_>, Vec<_>) =
        constraints.into_iter().map(|constraint| (Some(constraint.columns), constraint.usage)).unzip();
    let columns = lists(field_type(data_type, 2)?, columns.into_iter(), |_, names: Vec<String>| {
        Ok(strings(names.iter().map(|name| Some(name.as_str()))))
    })?;
    let usages =
        lists(field_type(data_type, 3)?, usages.into_iter(), |data_type, usages: Vec<[Option<String>; 4]>| {
            let part = |pick: fn(&[Option<String>; 4]) -> &Option<String>| {
                strings(usages.iter().map(|usage| pick(usage).as_deref()))
            };
            structs(data_type, vec![part(|[c, ..]| c), part(|[_, s, ..]| s), part(|[.., t, _]| t), part(|[.., c]| c)])
        })?;
    structs(data_type, vec![names, kinds, columns, usages])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_like_likes() {
        for (pattern, name, expected) in [
            ("main", "MAIN", true),
            ("m%", "main", true),
            ("%", "", true),
            ("", "", true),
            ("", "x", false),
            ("m_in", "main", true),
            ("m\\_in", "main", false),
            ("m\\_in", "m_in", true),
            ("%a%n", "main", true),
            ("%a%z", "main", false),
            ("100\\%", "100%", true),
            ("ä%", "Äpfel", true),
        ] {
            assert_eq!(is_like(pattern, name), expected, "{pattern} {name}");
            assert!(is_like(&escaped(name), name), "{name}");
        }
    }

    #[test]
    fn levels_that_were_not_asked_for_are_null() {
        let catalogs = vec![
            Catalog { name: "a".to_owned(), schemas: None },
            Catalog {
                name: "b".to_owned(),
                schemas: Some(vec![
                    Schema { name: "s".to_owned(), tables: None },
                    Schema {
                        name: "t".to_owned(),
                        tables: Some(vec![Table {
                            name: "x".to_owned(),
                            kind: "TABLE".to_owned(),
                            columns: Some(vec![Column { name: "c".to_owned(), ..Column::default() }]),
                            constraints: Some(vec![Constraint {
                                kind: "FOREIGN KEY",
                                columns: vec!["c".to_owned()],
                                usage: Some(vec![[None, None, Some("p".to_owned()), Some("q".to_owned())]]),
                                ..Constraint::default()
                            }]),
                        }]),
                    },
                ]),
            },
        ];
        let batch = Objects(catalogs).into_batch().unwrap();
        assert_eq!(batch.schema(), *GET_OBJECTS_SCHEMA);
        let schemas = batch.column(1).as_list::<i32>();
        assert!(schemas.is_null(0) && schemas.is_valid(1));
        let tables = schemas.values().as_struct().column(1).as_list::<i32>();
        assert!(tables.is_null(0) && tables.is_valid(1));
        assert_eq!(tables.values().as_struct().column(2).as_list::<i32>().value_length(0), 1);
    }

    #[test]
    fn no_objects_are_an_empty_batch() {
        assert_eq!(Objects(Vec::new()).into_batch().unwrap().num_rows(), 0);
    }
}
