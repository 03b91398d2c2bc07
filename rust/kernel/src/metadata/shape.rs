//! From the rows of SHOW commands to the columns that JDBC names.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, Int8Array, Int16Array, Int32Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};

use super::cells::Cells;
use super::pattern::{Pattern, same_name};
use super::types::type_code;
use crate::error::{Error, ErrorKind, Result};

/// A kind of listing: its columns, and where a server's answer has them.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) columns: &'static [Column],
}

#[derive(Debug)]
pub(super) struct Column {
    name: &'static str,
    data_type: DataType,
    nullable: bool,
    source: Source,
}

/// Where a value comes from in an answer with the column names of SHOW. An answer in the form of the older Thrift interface
/// ("native") has every column in its place instead.
#[derive(Clone, Copy, Debug)]
enum Source {
    Null,
    Named(&'static str),
    /// The server's text, empty where it gives none.
    OrEmpty(&'static str),
    /// The server's text, or the catalog that was asked for where it gives none.
    OrCatalog(&'static str),
    TypeCode(&'static str),
    Nullable(&'static str),
    IsNullable(&'static str),
    IsAutoIncrement(&'static str),
    /// Counted from 0 by SHOW and left so, as the official kernel does; native rows count from 0 too and are given from 1.
    Position(&'static str),
    /// JDBC's code for "returns no result".
    NoResult,
}

const fn column(name: &'static str, data_type: DataType, nullable: bool, source: Source) -> Column {
    Column { name, data_type, nullable, source }
}

const fn text(name: &'static str, source: &'static str) -> Column {
    column(name, DataType::Utf8, true, Source::Named(source))
}

const fn required(name: &'static str, source: &'static str) -> Column {
    column(name, DataType::Utf8, false, Source::Named(source))
}

const fn integer(name: &'static str, source: &'static str) -> Column {
    column(name, DataType::Int32, true, Source::Named(source))
}

const fn short(name: &'static str, source: &'static str) -> Column {
    column(name, DataType::Int16, true, Source::Named(source))
}

const fn null(name: &'static str, data_type: DataType) -> Column {
    column(name, data_type, true, Source::Null)
}

pub(super) const CATALOGS: Shape = Shape { columns: &[text("TABLE_CAT", "catalog")] };

pub(super) const SCHEMAS: Shape = Shape {
    columns: &[
        required("TABLE_SCHEM", "databaseName"),
        column("TABLE_CATALOG", DataType::Utf8, true, Source::OrCatalog("catalog")),
    ],
};

pub(super) const TABLES: Shape = Shape {
    columns: &[
        text("TABLE_CAT", "catalogName"),
        text("TABLE_SCHEM", "namespace"),
        required("TABLE_NAME", "tableName"),
        required("TABLE_TYPE", "tableType"),
        column("REMARKS", DataType::Utf8, true, Source::OrEmpty("remarks")),
        null("TYPE_CAT", DataType::Utf8),
        null("TYPE_SCHEM", DataType::Utf8),
        null("TYPE_NAME", DataType::Utf8),
        null("SELF_REFERENCING_COL_NAME", DataType::Utf8),
        null("REF_GENERATION", DataType::Utf8),
    ],
};

pub(super) const COLUMNS: Shape = Shape {
    columns: &[
        text("TABLE_CAT", "catalogName"),
        text("TABLE_SCHEM", "namespace"),
        required("TABLE_NAME", "tableName"),
        required("COLUMN_NAME", "col_name"),
        column("DATA_TYPE", DataType::Int32, false, Source::TypeCode("columnType")),
        required("TYPE_NAME", "columnType"),
        integer("COLUMN_SIZE", "columnSize"),
        null("BUFFER_LENGTH", DataType::Int8),
        integer("DECIMAL_DIGITS", "decimalDigits"),
        integer("NUM_PREC_RADIX", "radix"),
        column("NULLABLE", DataType::Int32, false, Source::Nullable("isNullable")),
        column("REMARKS", DataType::Utf8, true, Source::OrEmpty("remarks")),
        null("COLUMN_DEF", DataType::Utf8),
        null("SQL_DATA_TYPE", DataType::Int32),
        null("SQL_DATETIME_SUB", DataType::Int32),
        null("CHAR_OCTET_LENGTH", DataType::Int32),
        column("ORDINAL_POSITION", DataType::Int32, true, Source::Position("ordinalPosition")),
        column("IS_NULLABLE", DataType::Utf8, false, Source::IsNullable("isNullable")),
        null("SCOPE_CATALOG", DataType::Utf8),
        null("SCOPE_SCHEMA", DataType::Utf8),
        null("SCOPE_TABLE", DataType::Utf8),
        null("SOURCE_DATA_TYPE", DataType::Int16),
        column("IS_AUTO_INCREMENT", DataType::Utf8, false, Source::IsAutoIncrement("isAutoIncrement")),
    ],
};

pub(super) const PRIMARY_KEYS: Shape = Shape {
    columns: &[
        text("TABLE_CAT", "catalogName"),
        text("TABLE_SCHEM", "namespace"),
        required("TABLE_NAME", "tableName"),
        required("COLUMN_NAME", "col_name"),
        integer("KEY_SEQ", "keySeq"),
        text("PK_NAME", "constraintName"),
    ],
};

pub(super) const FOREIGN_KEYS: Shape = Shape {
    columns: &[
        text("PKTABLE_CAT", "parentCatalogName"),
        text("PKTABLE_SCHEM", "parentNamespace"),
        required("PKTABLE_NAME", "parentTableName"),
        required("PKCOLUMN_NAME", "parentColName"),
        text("FKTABLE_CAT", "catalogName"),
        text("FKTABLE_SCHEM", "namespace"),
        required("FKTABLE_NAME", "tableName"),
        required("FKCOLUMN_NAME", "col_name"),
        integer("KEY_SEQ", "keySeq"),
        short("UPDATE_RULE", "updateRule"),
        short("DELETE_RULE", "deleteRule"),
        text("FK_NAME", "constraintName"),
        null("PK_NAME", DataType::Utf8),
        short("DEFERRABILITY", "deferrability"),
    ],
};

pub(super) const FUNCTIONS: Shape = Shape {
    columns: &[
        column("FUNCTION_CAT", DataType::Utf8, true, Source::OrCatalog("catalogName")),
        text("FUNCTION_SCHEM", "namespace"),
        required("FUNCTION_NAME", "functionName"),
        text("REMARKS", "remarks"),
        short("FUNCTION_TYPE", "functionType"),
        text("SPECIFIC_NAME", "specificName"),
    ],
};

pub(super) const PROCEDURES: Shape = Shape {
    columns: &[
        text("PROCEDURE_CAT", "routine_catalog"),
        text("PROCEDURE_SCHEM", "routine_schema"),
        required("PROCEDURE_NAME", "routine_name"),
        null("RESERVED1", DataType::Utf8),
        null("RESERVED2", DataType::Utf8),
        null("RESERVED3", DataType::Utf8),
        text("REMARKS", "comment"),
        column("PROCEDURE_TYPE", DataType::Int16, true, Source::NoResult),
        text("SPECIFIC_NAME", "specific_name"),
    ],
};

impl Shape {
    pub(super) fn schema(&self) -> SchemaRef {
        let fields =
            self.columns.iter().map(|column| Field::new(column.name, column.data_type.clone(), column.nullable));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }
}

/// What a row must have in one column to stay.
#[derive(Debug)]
pub(super) struct Filter {
    pub(super) column: &'static str,
    pub(super) test: Test,
}

#[derive(Debug)]
pub(super) enum Test {
    Like(Pattern),
    /// Any of these, whatever the case.
    OneOf(Vec<String>),
    NotEmpty,
}

impl Test {
    fn passes(&self, value: Option<&str>) -> bool {
        match (self, value) {
            (Self::Like(pattern), None) => pattern.matches_everything(),
            (Self::Like(pattern), Some(value)) => pattern.matches(value),
            (Self::OneOf(names), Some(value)) => names.iter().any(|name| same_name(name, value)),
            (Self::NotEmpty, Some(value)) => !value.is_empty(),
            (Self::OneOf(_) | Self::NotEmpty, None) => false,
        }
    }
}

/// How one answer is to be read.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    pub(super) shape: &'a Shape,
    pub(super) schema: &'a SchemaRef,
    pub(super) native: bool,
    pub(super) catalog: Option<&'a str>,
    pub(super) filters: &'a [Filter],
}

impl Reading<'_> {
    /// Returns the rows of `batch` that pass every filter.
    pub(super) fn read(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = self.shape.columns;
        if self.native && batch.num_columns() != columns.len() {
            let text = format!("the answer has {} columns, expected {}", batch.num_columns(), columns.len());
            return Err(unreadable(&text));
        }
        let cells = columns
            .iter()
            .enumerate()
            .map(|(place, column)| self.cells(column, place, batch))
            .collect::<Result<Vec<Cells<'_>>>>()?;
        let filtered: Vec<(&Cells<'_>, &Test)> = self
            .filters
            .iter()
            .filter_map(|filter| {
                let place = columns.iter().position(|column| column.name == filter.column)?;
                Some((cells.get(place)?, &filter.test))
            })
            .collect();
        let kept: Vec<usize> = (0..batch.num_rows())
            .filter(|row| filtered.iter().all(|(cells, test)| test.passes(cells.text(*row).as_deref())))
            .collect();
        let arrays = columns
            .iter()
            .zip(&cells)
            .map(|(column, cells)| self.array(column, cells, &kept))
            .collect::<Result<Vec<ArrayRef>>>()?;
        RecordBatch::try_new(Arc::clone(self.schema), arrays)
            .map_err(|error| unreadable("a value is missing that every row must have").with_source(error))
    }

    fn cells<'a>(&self, column: &Column, place: usize, batch: &'a RecordBatch) -> Result<Cells<'a>> {
        let (name, found) = if self.native {
            (column.name, batch.columns().get(place))
        } else {
            let name = match column.source {
                Source::Null | Source::NoResult => return Ok(Cells::Absent),
                Source::Named(name)
                | Source::OrEmpty(name)
                | Source::OrCatalog(name)
                | Source::TypeCode(name)
                | Source::Nullable(name)
                | Source::IsNullable(name)
                | Source::IsAutoIncrement(name)
                | Source::Position(name) => name,
            };
            (name, batch.column_by_name(name))
        };
        match found {
            Some(array) => Cells::of(array).ok_or_else(|| {
                unreadable(&format!("the column `{name}` has the type {}, which is not expected", array.data_type()))
            }),
            // A listing of catalogs is nothing without their names; elsewhere the missing value shows by itself.
            None if place == 0 && self.shape.columns.len() == 1 => {
                Err(unreadable(&format!("the answer has no column `{name}`")))
            }
            None => Ok(Cells::Absent),
        }
    }

    fn array(&self, column: &Column, cells: &Cells<'_>, kept: &[usize]) -> Result<ArrayRef> {
        Ok(match column.data_type {
            DataType::Utf8 => Arc::new(kept.iter().map(|row| self.text(column, cells, *row)).collect::<StringArray>()),
            DataType::Int8 => Arc::new(self.numbers(column, cells, kept)?.collect::<Int8Array>()),
            DataType::Int16 => Arc::new(self.numbers(column, cells, kept)?.collect::<Int16Array>()),
            _ => Arc::new(self.numbers(column, cells, kept)?.collect::<Int32Array>()),
        })
    }

    fn text<'a>(&'a self, column: &Column, cells: &'a Cells<'_>, row: usize) -> Option<Cow<'a, str>> {
        let value = cells.text(row);
        match column.source {
            Source::OrCatalog(_) => match self.catalog {
                Some(catalog) => value.filter(|value| !value.is_empty()).or(Some(Cow::Borrowed(catalog))),
                None => value,
            },
            _ if self.native => value,
            Source::OrEmpty(_) => value.or(Some(Cow::Borrowed(""))),
            Source::IsNullable(_) => Some(Cow::Borrowed(match is_nullable(value.as_deref()) {
                Some(true) => "YES",
                Some(false) => "NO",
                None => "",
            })),
            Source::IsAutoIncrement(_) => {
                let yes = value.is_some_and(|value| ["true", "yes"].iter().any(|yes| value.eq_ignore_ascii_case(yes)));
                Some(Cow::Borrowed(if yes { "YES" } else { "NO" }))
            }
            _ => value,
        }
    }

    /// Returns the numbers of the rows kept.
    fn numbers<T: TryFrom<i64>>(
        &self,
        column: &Column,
        cells: &Cells<'_>,
        kept: &[usize],
    ) -> Result<std::vec::IntoIter<Option<T>>> {
        let number = |row: usize| match column.source {
            Source::Position(_) if self.native => cells.number(row).map(|place| place.saturating_add(1)),
            _ if self.native => cells.number(row),
            Source::TypeCode(_) => cells.text(row).map(|text| i64::from(type_code(&text))),
            // JDBC: 0 for no, 1 for yes, 2 for not known.
            Source::Nullable(_) => Some(is_nullable(cells.text(row).as_deref()).map_or(2, i64::from)),
            Source::NoResult => Some(1),
            _ => cells.number(row),
        };
        let narrowed = |row: &usize| {
            number(*row).map(T::try_from).transpose().map_err(|_| {
                unreadable(&format!("a number in the column {} is larger than that column can hold", column.name))
            })
        };
        Ok(kept.iter().map(narrowed).collect::<Result<Vec<_>>>()?.into_iter())
    }
}

fn is_nullable(text: Option<&str>) -> Option<bool> {
    match text {
        Some("true") => Some(true),
        Some("false") => Some(false),
        _ => None,
    }
}

fn unreadable(reason: &str) -> Error {
    Error::new(ErrorKind::DataLoss, format!("the listing cannot be read: {reason}"))
}

/// Returns the rows of a listing of tables by type, catalog, schema and name, as JDBC wants them.
///
/// Temporary views belong to no catalog, so each catalog's listing has them; of rows without a catalog that are the same
/// one stays.
pub(super) fn sorted_tables(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<RecordBatch> {
    let mut rows: Vec<Vec<Option<&str>>> = Vec::new();
    for batch in batches {
        let columns: Vec<&StringArray> = batch.columns().iter().filter_map(|array| array.as_string_opt()).collect();
        rows.extend((0..batch.num_rows()).map(|row| {
            columns.iter().map(|column| column.is_valid(row).then(|| column.value(row))).collect::<Vec<_>>()
        }));
    }
    let key = |row: &[Option<&str>]| match row {
        [catalog, schema, name, kind, ..] => {
            Some([*kind, *catalog, *schema, *name].map(|part| part.map(str::to_owned)))
        }
        _ => None,
    };
    rows.sort_by_cached_key(|row| key(row));
    rows.dedup_by(|next, first| next == first && next.first().is_none_or(Option::is_none));
    let arrays = (0..schema.fields().len()).map(|place| -> ArrayRef {
        Arc::new(rows.iter().map(|row| row.get(place).copied().flatten()).collect::<StringArray>())
    });
    RecordBatch::try_new(Arc::clone(schema), arrays.collect())
        .map_err(|error| unreadable("its tables cannot be sorted").with_source(error))
}

#[cfg(test)]
mod tests {
    use arrow_array::{Float64Array, Int64Array};

    use crate::metadata::cells::texts;

    use super::*;

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
    }

    fn words<const N: usize>(words: [Option<&str>; N]) -> ArrayRef {
        Arc::new(StringArray::from(words.to_vec()))
    }

    fn read(shape: &Shape, native: bool, filters: &[Filter], batch: &RecordBatch) -> Result<RecordBatch> {
        Reading { shape, schema: &shape.schema(), native, catalog: Some("asked"), filters }.read(batch)
    }

    fn column(batch: &RecordBatch, name: &str) -> Vec<Option<String>> {
        let cells = Cells::of(batch.column_by_name(name).unwrap()).unwrap();
        (0..batch.num_rows()).map(|row| cells.text(row).map(Cow::into_owned)).collect()
    }

    fn some<const N: usize>(texts: [Option<&str>; N]) -> Vec<Option<String>> {
        texts.map(|text| text.map(str::to_owned)).to_vec()
    }

    fn columns_of(types: [Option<&str>; 2], positions: ArrayRef, nullable: [Option<&str>; 2]) -> RecordBatch {
        batch(vec![
            ("col_name", words([Some("a"), Some("b")])),
            ("tableName", words([Some("t"), Some("t")])),
            ("columnType", words(types)),
            ("isNullable", words(nullable)),
            ("ordinalPosition", positions),
            ("isAutoIncrement", words([Some("TRUE"), None])),
        ])
    }

    #[test]
    fn legacy_columns_are_found_by_name_and_completed() {
        let positions: ArrayRef = Arc::new(Int64Array::from(vec![Some(0), None]));
        let rows = columns_of([Some("DECIMAL(3,1)"), Some("x")], positions, [Some("true"), Some("perhaps")]);
        let read = read(&COLUMNS, false, &[], &rows).unwrap();
        assert_eq!(read.schema(), COLUMNS.schema());
        for (name, expected) in [
            ("TABLE_CAT", some([None, None])),
            ("COLUMN_NAME", some([Some("a"), Some("b")])),
            ("DATA_TYPE", some([Some("3"), Some("1111")])),
            ("TYPE_NAME", some([Some("DECIMAL(3,1)"), Some("x")])),
            ("NULLABLE", some([Some("1"), Some("2")])),
            ("IS_NULLABLE", some([Some("YES"), Some("")])),
            ("REMARKS", some([Some(""), Some("")])),
            ("ORDINAL_POSITION", some([Some("0"), None])),
            ("IS_AUTO_INCREMENT", some([Some("YES"), Some("NO")])),
        ] {
            assert_eq!(column(&read, name), expected, "{name}");
        }
    }

    #[test]
    fn rows_that_cannot_be_right_are_refused() {
        let small: ArrayRef = Arc::new(Int32Array::from(vec![0, 1]));
        let large: ArrayRef = Arc::new(Int64Array::from(vec![0, 1 << 40]));
        let fractions: ArrayRef = Arc::new(Float64Array::from(vec![0.0, 1.0]));
        let types = [Some("INT"), Some("INT")];
        for (rows, native, reason) in [
            (columns_of([Some("INT"), None], Arc::clone(&small), [None, None]), false, "a value is missing"),
            (columns_of(types, large, [None, None]), false, "ORDINAL_POSITION is larger"),
            (columns_of(types, fractions, [None, None]), false, "`ordinalPosition` has the type Float64"),
            (columns_of(types, small, [None, None]), true, "has 6 columns, expected 23"),
            (batch(vec![("name", words([Some("a")]))]), false, "a value is missing"),
        ] {
            let error = read(&COLUMNS, native, &[], &rows).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::DataLoss);
            assert!(error.message().contains(reason), "{error}");
        }
        let error = read(&CATALOGS, false, &[], &batch(vec![("name", words([Some("a")]))])).unwrap_err();
        assert!(error.message().contains("no column `catalog`"), "{error}");
    }

    #[test]
    fn native_columns_are_found_by_place() {
        let rows = batch(vec![
            ("a", words([None, Some("")])),
            ("b", words([Some("s"), None])),
            ("c", words([Some("f"), Some("g")])),
            ("d", words([None, Some("r")])),
            ("e", Arc::new(Int64Array::from(vec![Some(1), None]))),
            ("f", words([None, None])),
        ]);
        let read = read(&FUNCTIONS, true, &[], &rows).unwrap();
        assert_eq!(column(&read, "FUNCTION_CAT"), some([Some("asked"), Some("asked")]));
        assert_eq!(column(&read, "FUNCTION_NAME"), some([Some("f"), Some("g")]));
        assert_eq!(column(&read, "REMARKS"), some([None, Some("r")]));
        assert_eq!(column(&read, "FUNCTION_TYPE"), some([Some("1"), None]));
    }

    #[test]
    fn rows_stay_only_if_they_pass_every_filter() {
        let rows = batch(vec![
            ("databaseName", words([Some("s_x"), Some("sax"), Some("S_X"), Some("s_x")])),
            ("catalog", words([Some("c"), Some("c"), Some("C"), None])),
        ]);
        let like = |pattern: &str| Test::Like(Pattern::parse("schema_pattern", pattern).unwrap());
        for (filters, expected) in [
            (vec![], vec!["s_x", "sax", "S_X", "s_x"]),
            (vec![Filter { column: "TABLE_SCHEM", test: like(r"s\_x") }], vec!["s_x", "S_X", "s_x"]),
            (vec![Filter { column: "TABLE_CATALOG", test: like("%") }], vec!["s_x", "sax", "S_X", "s_x"]),
            (vec![Filter { column: "TABLE_CATALOG", test: like("c") }], vec!["s_x", "sax", "S_X"]),
            (vec![Filter { column: "TABLE_CATALOG", test: Test::NotEmpty }], vec!["s_x", "sax", "S_X"]),
            (vec![Filter { column: "TABLE_SCHEM", test: Test::OneOf(vec!["SAX".to_owned()]) }], vec!["sax"]),
            (vec![Filter { column: "TABLE_SCHEM", test: Test::OneOf(vec![]) }], vec![]),
        ] {
            let read = read(&SCHEMAS, false, &filters, &rows).unwrap();
            assert_eq!(texts(read.column(0)), expected, "{filters:?}");
        }
    }

    #[test]
    fn tables_come_by_type_and_temporary_views_once() {
        let rows = |kinds: [Option<&str>; 3], names: [Option<&str>; 3], catalogs: [Option<&str>; 3]| {
            let rows = batch(vec![
                ("catalogName", words(catalogs)),
                ("namespace", words([Some("s"), Some("s"), Some("")])),
                ("tableName", words(names)),
                ("tableType", words(kinds)),
            ]);
            read(&TABLES, false, &[], &rows).unwrap()
        };
        let view = Some("VIEW");
        let first =
            rows([view, Some("TABLE"), view], [Some("b"), Some("a"), Some("tmp")], [Some("d"), Some("d"), None]);
        let second =
            rows([view, Some("TABLE"), view], [Some("b"), Some("a"), Some("tmp")], [Some("c"), Some("c"), None]);
        let sorted = sorted_tables(&TABLES.schema(), &[first, second]).unwrap();
        assert_eq!(column(&sorted, "TABLE_CAT"), some([Some("c"), Some("d"), None, Some("c"), Some("d")]));
        assert_eq!(texts(sorted.column_by_name("TABLE_NAME").unwrap()), ["a", "a", "tmp", "b", "b"]);
    }
}
