//! Catalogs, schemas, tables and the like, in the columns that JDBC names.

mod cells;
mod listing;
mod pattern;
mod shape;
mod types;

use std::sync::Arc;

use arrow_array::RecordBatch;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::error::{Error, ErrorKind, Result};
use crate::results::ResultStream;
use crate::sea::MetadataCall;
use crate::session::Session;
pub use listing::Listing;
use pattern::{Pattern, quoted, quoted_identifier, same_name};
use shape::{Filter, Reading, Shape, Test};

/// Catalogs that are asked at a time where a pattern matches several.
const CATALOGS_AT_ONCE: usize = 4;
/// Largest listing that is gathered; some million columns.
const MAX_LISTING_BYTES: usize = 1 << 30;
/// Error classes of statements that ask about what does not exist.
const ABSENCES: [&str; 5] = [
    "SCHEMA_NOT_FOUND",
    "CATALOG_NOT_FOUND",
    "NO_SUCH_CATALOG_EXCEPTION",
    "TABLE_OR_VIEW_NOT_FOUND",
    "INVALID_PARAMETER_VALUE",
];

/// What a table must be called to be a parent; names are meant exactly, whatever their case.
#[derive(Clone, Copy, Debug, Default)]
pub struct ParentTable<'a> {
    /// Its catalog; `None` for any.
    pub catalog: Option<&'a str>,
    /// Its schema; `None` for any.
    pub schema: Option<&'a str>,
    /// Its name; `None` for any.
    pub table: Option<&'a str>,
}

/// Asks a session's warehouse what there is.
///
/// Arguments named `..._pattern` are LIKE patterns: `%` for any text, `_` for one character, a backslash before one that is
/// meant literally; they match whatever the case. `None` does not filter, and the empty pattern matches nothing. The server
/// reads patterns more loosely than LIKE does, so its rows are filtered again: what is returned matches exactly. What does
/// not exist has no rows.
///
/// # Errors
/// Beside those of the connection and of SQL: [`ErrorKind::InvalidArgument`] for a blank or overlong (255 bytes) name or
/// pattern and for names with a backtick, before anything is sent; [`ErrorKind::DataLoss`] for rows that cannot be read.
#[derive(Clone, Debug)]
pub struct Metadata {
    session: Session,
}

/// One statement of a listing.
#[derive(Debug)]
struct Request<'a> {
    shape: &'static Shape,
    call: MetadataCall,
    sql: String,
    /// The one catalog asked for.
    catalog: Option<&'a str>,
    filters: Vec<Filter>,
}

impl Metadata {
    pub(crate) fn new(session: Session) -> Self {
        Self { session }
    }

    /// Lists the catalogs: `TABLE_CAT`.
    pub async fn catalogs(&self) -> Result<Listing> {
        self.list(Request {
            shape: &shape::CATALOGS,
            call: MetadataCall::native("GetCatalogs"),
            sql: "SHOW CATALOGS".to_owned(),
            catalog: None,
            filters: Vec::new(),
        })
        .await
    }

    /// Lists the schemas of one catalog, or of all: `TABLE_SCHEM`, `TABLE_CATALOG`.
    pub async fn schemas(&self, catalog: Option<&str>, schema_pattern: Option<&str>) -> Result<Listing> {
        let place = CatalogArgument::read(catalog)?;
        let schema_pattern = parsed("schema_pattern", schema_pattern)?;
        if place.is_nothing() || nothing([&schema_pattern]) {
            return Ok(Listing::empty(shape::SCHEMAS.schema()));
        }
        let place = place.text("", "ALL CATALOGS");
        let sql = format!("SHOW SCHEMAS IN {place}{}", like("LIKE", schema_pattern.as_ref()));
        self.list(Request {
            shape: &shape::SCHEMAS,
            call: MetadataCall::native("GetSchemas"),
            sql,
            catalog,
            filters: filters([("TABLE_SCHEM", schema_pattern)]),
        })
        .await
    }

    /// Lists tables and views by type, catalog, schema and name: `TABLE_CAT`, `TABLE_SCHEM`, `TABLE_NAME`, `TABLE_TYPE`,
    /// `REMARKS` and five columns that are NULL. The session's temporary views have no catalog.
    ///
    /// `table_types` are texts such as `TABLE` and `VIEW`, in any case; an empty list matches nothing.
    pub async fn tables(
        &self,
        catalog_pattern: Option<&str>,
        schema_pattern: Option<&str>,
        table_pattern: Option<&str>,
        table_types: Option<&[String]>,
    ) -> Result<Listing> {
        let catalog_pattern = parsed("catalog", catalog_pattern)?;
        let schema_pattern = parsed("schema_pattern", schema_pattern)?;
        let table_pattern = parsed("table_pattern", table_pattern)?;
        let schema = shape::TABLES.schema();
        if nothing([&catalog_pattern, &schema_pattern, &table_pattern]) || table_types.is_some_and(<[_]>::is_empty) {
            return Ok(Listing::empty(schema));
        }
        let places = match catalog_pattern {
            Some(pattern) if !pattern.matches_everything() => match pattern.literal() {
                Some(catalog) => vec![format!("CATALOG {}", quoted(&catalog))],
                None => self.catalogs_like(&pattern).await?,
            },
            _ => vec!["ALL CATALOGS".to_owned()],
        };
        let requests = places.into_iter().map(|place| {
            let (schemas, tables) =
                (like("SCHEMA LIKE", schema_pattern.as_ref()), like("LIKE", table_pattern.as_ref()));
            let sql = format!("SHOW TABLES IN {place}{schemas}{tables}");
            let mut filters = filters([("TABLE_SCHEM", schema_pattern.clone()), ("TABLE_NAME", table_pattern.clone())]);
            let types = table_types.map(|types| Test::OneOf(types.to_vec()));
            filters.extend(types.map(|test| Filter { column: "TABLE_TYPE", test }));
            let metadata = self.clone();
            async move {
                let call = MetadataCall::native("GetTables");
                metadata.list(Request { shape: &shape::TABLES, call, sql, catalog: None, filters }).await
            }
        });
        let requests: Vec<_> = requests.collect();
        let mut listings = stream::iter(requests).buffered(CATALOGS_AT_ONCE);
        let (mut batches, mut room) = (Vec::new(), Room(MAX_LISTING_BYTES));
        while let Some(listing) = listings.try_next().await? {
            listing.batches().iter().try_for_each(|batch| room.take(batch))?;
            batches.extend_from_slice(listing.batches());
        }
        let mut sorted = Listing::empty(Arc::clone(&schema));
        sorted.push(shape::sorted_tables(&schema, &batches)?);
        Ok(sorted)
    }

    /// Lists columns: 23 of JDBC's, from `TABLE_CAT` to `IS_AUTO_INCREMENT`.
    pub async fn columns(
        &self,
        catalog: Option<&str>,
        schema_pattern: Option<&str>,
        table_pattern: Option<&str>,
        column_pattern: Option<&str>,
    ) -> Result<Listing> {
        let place = CatalogArgument::read(catalog)?;
        let schema_pattern = parsed("schema_pattern", schema_pattern)?;
        let table_pattern = parsed("table_pattern", table_pattern)?;
        let column_pattern = parsed("column_pattern", column_pattern)?;
        if place.is_nothing() || nothing([&schema_pattern, &table_pattern, &column_pattern]) {
            return Ok(Listing::empty(shape::COLUMNS.schema()));
        }
        let sql = [
            format!("SHOW COLUMNS IN {}", place.text("CATALOG ", "ALL CATALOGS")),
            like("SCHEMA LIKE", schema_pattern.as_ref()),
            like("TABLE LIKE", table_pattern.as_ref()),
            like("LIKE", column_pattern.as_ref()),
        ]
        .concat();
        self.list(Request {
            shape: &shape::COLUMNS,
            call: MetadataCall::native("GetColumns"),
            sql,
            catalog,
            filters: filters([
                ("TABLE_SCHEM", schema_pattern),
                ("TABLE_NAME", table_pattern),
                ("COLUMN_NAME", column_pattern),
            ]),
        })
        .await
    }

    /// Lists the columns of a table's primary key: `TABLE_CAT`, `TABLE_SCHEM`, `TABLE_NAME`, `COLUMN_NAME`, `KEY_SEQ`,
    /// `PK_NAME`.
    pub async fn primary_keys(&self, catalog: &str, schema: &str, table: &str) -> Result<Listing> {
        self.list(Request {
            shape: &shape::PRIMARY_KEYS,
            call: MetadataCall::native("GetPrimaryKeys"),
            sql: format!(
                "SHOW KEYS IN CATALOG {} IN SCHEMA {} IN TABLE {}",
                quoted_identifier("catalog", catalog)?,
                quoted_identifier("schema", schema)?,
                quoted_identifier("table", table)?
            ),
            catalog: None,
            filters: Vec::new(),
        })
        .await
    }

    /// Lists the columns of a table's foreign keys to `parent`: 14 of JDBC's, from `PKTABLE_CAT` to `DEFERRABILITY`.
    pub async fn foreign_keys(
        &self,
        parent: ParentTable<'_>,
        catalog: &str,
        schema: &str,
        table: &str,
    ) -> Result<Listing> {
        let mut filters = Vec::new();
        for (argument, column, name) in [
            ("parent_catalog", "PKTABLE_CAT", parent.catalog),
            ("parent_schema", "PKTABLE_SCHEM", parent.schema),
            ("parent_table", "PKTABLE_NAME", parent.table),
        ] {
            if let Some(name) = name {
                quoted_identifier(argument, name)?;
                filters.push(Filter { column, test: Test::OneOf(vec![name.to_owned()]) });
            }
        }
        self.list(Request {
            shape: &shape::FOREIGN_KEYS,
            call: MetadataCall::native("GetCrossReference"),
            sql: format!(
                "SHOW FOREIGN KEYS IN CATALOG {} IN SCHEMA {} IN TABLE {}",
                quoted_identifier("foreign_catalog", catalog)?,
                quoted_identifier("foreign_schema", schema)?,
                quoted_identifier("foreign_table", table)?
            ),
            catalog: None,
            filters,
        })
        .await
    }

    /// Lists the functions of one catalog, or of the session's: `FUNCTION_CAT`, `FUNCTION_SCHEM`, `FUNCTION_NAME`,
    /// `REMARKS`, `FUNCTION_TYPE`, `SPECIFIC_NAME`.
    pub async fn functions(
        &self,
        catalog: Option<&str>,
        schema_pattern: Option<&str>,
        name_pattern: Option<&str>,
    ) -> Result<Listing> {
        let asked = catalog.map(|catalog| quoted_identifier("catalog", catalog)).transpose()?;
        let schema_pattern = parsed("schema_pattern", schema_pattern)?;
        let name_pattern = parsed("name_pattern", name_pattern)?;
        if nothing([&schema_pattern, &name_pattern]) {
            return Ok(Listing::empty(shape::FUNCTIONS.schema()));
        }
        let current = if asked.is_none() { Some(self.current_catalog().await?) } else { None };
        let place = asked.or_else(|| current.as_deref().map(quoted)).unwrap_or_default();
        let schemas = like("SCHEMA LIKE", schema_pattern.as_ref());
        // Always a pattern, as the official kernel does.
        let names = name_pattern.as_ref().map_or_else(|| "'*'".to_owned(), Pattern::glob);
        let sql = format!("SHOW FUNCTIONS IN CATALOG {place}{schemas} LIKE {names}");
        self.list(Request {
            shape: &shape::FUNCTIONS,
            call: MetadataCall::native("GetFunctions"),
            sql,
            catalog: catalog.or(current.as_deref()),
            filters: filters([("FUNCTION_SCHEM", schema_pattern), ("FUNCTION_NAME", name_pattern)]),
        })
        .await
    }

    /// Lists the procedures of one catalog, or of all: `PROCEDURE_CAT`, `PROCEDURE_SCHEM`, `PROCEDURE_NAME`, three that are
    /// NULL, `REMARKS`, `PROCEDURE_TYPE`, `SPECIFIC_NAME`.
    pub async fn procedures(
        &self,
        catalog: Option<&str>,
        schema_pattern: Option<&str>,
        name_pattern: Option<&str>,
    ) -> Result<Listing> {
        let asked = catalog.map(|catalog| quoted_identifier("catalog", catalog)).transpose()?;
        let schema_pattern = parsed("schema_pattern", schema_pattern)?;
        let name_pattern = parsed("name_pattern", name_pattern)?;
        if nothing([&schema_pattern, &name_pattern]) {
            return Ok(Listing::empty(shape::PROCEDURES.schema()));
        }
        let place = asked.unwrap_or_else(|| "system".to_owned());
        let condition = |column: &str, pattern: Option<&Pattern>| {
            pattern.map_or_else(String::new, |pattern| format!(" AND {column} ILIKE {}", pattern.like()))
        };
        let sql = [
            "SELECT routine_catalog, routine_schema, routine_name, comment, specific_name FROM ",
            &place,
            ".information_schema.routines WHERE routine_type = 'PROCEDURE'",
            &condition("routine_schema", schema_pattern.as_ref()),
            &condition("routine_name", name_pattern.as_ref()),
            " ORDER BY routine_catalog, routine_schema, routine_name",
        ]
        .concat();
        self.list(Request {
            shape: &shape::PROCEDURES,
            call: MetadataCall::named("GetProcedures"),
            sql,
            catalog: None,
            filters: filters([("PROCEDURE_SCHEM", schema_pattern), ("PROCEDURE_NAME", name_pattern)]),
        })
        .await
    }

    /// Lists the kinds of tables, without asking the server: `TABLE_TYPE`.
    pub fn table_types(&self) -> Result<Listing> {
        types::table_types()
    }

    /// Lists the SQL types, without asking the server: 18 columns of JDBC's, from `TYPE_NAME` to `NUM_PREC_RADIX`.
    pub fn type_info(&self) -> Result<Listing> {
        types::type_info()
    }

    /// Returns where to look for the tables of the catalogs that `pattern` matches.
    async fn catalogs_like(&self, pattern: &Pattern) -> Result<Vec<String>> {
        let listing = self.catalogs().await?;
        let mut names: Vec<String> = texts(&listing).filter(|name| pattern.matches(name)).collect();
        names.sort_unstable();
        names.dedup_by(|next, first| same_name(next, first));
        Ok(names.iter().map(|name| format!("CATALOG {}", quoted(name))).collect())
    }

    async fn current_catalog(&self) -> Result<String> {
        let mut results = self.session.statement("SELECT CURRENT_CATALOG()").execute().await?.results().await?;
        let mut found = None;
        while let Some(batch) = results.next_batch().await? {
            let column = batch.columns().first().and_then(cells::first_text);
            found = found.or(column);
        }
        found.ok_or_else(|| {
            Error::new(ErrorKind::Protocol, "the session has no current catalog; name the one that is meant")
                .with_statement_id(results.statement_id())
        })
    }

    async fn list(&self, request: Request<'_>) -> Result<Listing> {
        let schema = request.shape.schema();
        let mut listing = Listing::empty(Arc::clone(&schema));
        let mut results = match self.run(&request).await {
            Ok(results) => results,
            // Catalogs are listed, not looked for: that one of them is missing cannot be the reason.
            Err(error) if is_absence(&error) && request.call.operation != "GetCatalogs" => return Ok(listing),
            Err(error) => return Err(error),
        };
        let native = results.native_metadata() && request.call.native_rows;
        let mut filters = request.filters;
        if native && request.call.operation == "GetTables" {
            filters.push(Filter { column: "TABLE_CAT", test: Test::NotEmpty });
        }
        let reading =
            Reading { shape: request.shape, schema: &schema, native, catalog: request.catalog, filters: &filters };
        let mut room = Room(MAX_LISTING_BYTES);
        while let Some(batch) = results.next_batch().await? {
            let read = reading.read(&batch).and_then(|rows| room.take(&rows).map(|()| rows));
            listing.push(read.map_err(|error| error.with_statement_id(results.statement_id()))?);
        }
        Ok(listing)
    }

    async fn run(&self, request: &Request<'_>) -> Result<ResultStream> {
        let statement = self.session.statement(request.sql.as_str()).metadata_call(request.call);
        statement.execute().await?.results().await
    }
}

/// What a listing may still take of memory.
struct Room(usize);

impl Room {
    fn take(&mut self, batch: &RecordBatch) -> Result<()> {
        let left = self.0.checked_sub(batch.get_array_memory_size());
        self.0 = left.ok_or_else(|| {
            let text = format!("the listing has more than {MAX_LISTING_BYTES} bytes; ask for less, with patterns");
            Error::new(ErrorKind::ResourceExhausted, text).with_retryable(false)
        })?;
        Ok(())
    }
}

/// The catalog of a listing that takes one exactly, or all.
enum CatalogArgument {
    All,
    Nothing,
    One(String),
}

impl CatalogArgument {
    fn read(catalog: Option<&str>) -> Result<Self> {
        Ok(match catalog {
            None => Self::All,
            Some("") => Self::Nothing,
            Some(name) => Self::One(quoted_identifier("catalog", name)?),
        })
    }

    fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    fn text(&self, before: &str, all: &str) -> String {
        match self {
            Self::One(name) => format!("{before}{name}"),
            Self::All | Self::Nothing => all.to_owned(),
        }
    }
}

fn parsed(argument: &str, pattern: Option<&str>) -> Result<Option<Pattern>> {
    pattern.map(|pattern| Pattern::parse(argument, pattern)).transpose()
}

fn nothing<const N: usize>(patterns: [&Option<Pattern>; N]) -> bool {
    patterns.into_iter().flatten().any(Pattern::matches_nothing)
}

/// Returns the clause of SHOW for a pattern, or nothing.
fn like(words: &str, pattern: Option<&Pattern>) -> String {
    pattern.map_or_else(String::new, |pattern| format!(" {words} {}", pattern.glob()))
}

fn filters<const N: usize>(patterns: [(&'static str, Option<Pattern>); N]) -> Vec<Filter> {
    let filter = |(column, pattern): (&'static str, Option<Pattern>)| {
        pattern.map(|pattern| Filter { column, test: Test::Like(pattern) })
    };
    patterns.into_iter().filter_map(filter).collect()
}

/// Returns the texts of a listing's first column.
fn texts(listing: &Listing) -> impl Iterator<Item = String> + '_ {
    listing.batches().iter().filter_map(|batch| batch.columns().first()).flat_map(cells::texts)
}

/// Tells whether a statement failed because what it asks about does not exist.
///
/// Sources: SQLSTATEs 42704 (undefined object) and 42P01 (undefined table), and the error classes that the platform's
/// drivers look for; some of them come without a SQLSTATE. A name that is refused as a value names nothing either.
fn is_absence(error: &Error) -> bool {
    error.kind() == ErrorKind::Sql
        && (matches!(error.sql_state(), Some("42704" | "42P01"))
            || ABSENCES.iter().any(|class| error.message().contains(class)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_without_end_is_given_up() {
        let batch = types::type_info().unwrap().batches()[0].clone();
        let mut room = Room(3 * batch.get_array_memory_size());
        for _ in 0..3 {
            room.take(&batch).unwrap();
        }
        let error = room.take(&batch).unwrap_err();
        assert!(error.kind() == ErrorKind::ResourceExhausted && !error.is_retryable());
    }

    #[test]
    fn only_a_missing_object_is_an_absence() {
        for (sql_state, message, expected) in [
            (Some("42704"), "x", true),
            (Some("42P01"), "x", true),
            (None, "[SCHEMA_NOT_FOUND] The schema `a` cannot be found.", true),
            (None, "[NO_SUCH_CATALOG_EXCEPTION] Catalog 'c' was not found.", true),
            (Some("42P08"), "[CATALOG_NOT_FOUND] The catalog `c` was not found.", true),
            (Some("42501"), "[INSUFFICIENT_PERMISSIONS] x", false),
            (Some("42601"), "[PARSE_SYNTAX_ERROR] x", false),
            (None, "x does not exist", false),
        ] {
            let error = |kind| Error::new(kind, message).with_sql_state(sql_state.map(str::to_owned));
            assert_eq!(is_absence(&error(ErrorKind::Sql)), expected, "{message}");
            // A warehouse that is not found, or a token that is refused, says nothing about the object.
            assert!(!is_absence(&error(ErrorKind::NotFound)) && !is_absence(&error(ErrorKind::PermissionDenied)));
        }
    }
}
