//! Result columns as the manifest describes them, and the Arrow schema that follows from them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_schema::{DataType, Field, Schema, SchemaRef};

use crate::error::{Error, ErrorKind, Result};
use crate::sea::wire::ColumnInfo;
use crate::sql_type::SqlType;

/// One column of a result, as the manifest describes it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Column {
    /// Name or expression text; names may repeat.
    pub name: String,
    /// Full SQL type text, for example `DECIMAL(10,2)`.
    pub type_text: String,
    /// Base type, for example `DECIMAL`, `LONG`, `STRING`.
    pub type_name: String,
    /// Precision, for DECIMAL only.
    pub type_precision: Option<i64>,
    /// Scale, for DECIMAL only.
    pub type_scale: Option<i64>,
    /// Qualifier, for INTERVAL only, for example `DAY TO SECOND`.
    pub type_interval_type: Option<String>,
}

impl Column {
    /// Returns what the manifest says of the type, as metadata of the Arrow field. Warehouses send none themselves.
    ///
    /// `Spark:DataType:SqlName` is the key of the platform's older interface, which tools still look for.
    pub(crate) fn metadata(&self) -> HashMap<String, String> {
        let required = [
            ("databricks.type_name", Some(self.type_name.clone())),
            ("databricks.type_text", Some(self.type_text.clone())),
            ("Spark:DataType:SqlName", Some(self.type_text.clone())),
            ("databricks.type_precision", self.type_precision.map(|precision| precision.to_string())),
            ("databricks.type_scale", self.type_scale.map(|scale| scale.to_string())),
            ("databricks.type_interval_type", self.type_interval_type.clone()),
        ];
        required.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
    }

    /// Returns the SQL type, unless its text is not understood.
    pub(crate) fn sql_type(&self) -> Option<SqlType> {
        SqlType::parse(&self.type_text)
    }
}

impl From<ColumnInfo> for Column {
    fn from(info: ColumnInfo) -> Self {
        Self {
            name: info.name,
            type_text: if info.type_text.is_empty() { info.type_name.clone() } else { info.type_text },
            type_name: info.type_name,
            type_precision: info.type_precision,
            type_scale: info.type_scale,
            type_interval_type: info.type_interval_type,
        }
    }
}

/// The time zone that a session's timestamps are shown in, as far as it is known without asking: the one the session was
/// opened with, and from then on the one of its latest result that has timestamps.
#[derive(Debug)]
pub(crate) struct SessionZone(Mutex<Arc<str>>);

impl SessionZone {
    /// Takes the zone from the parameters that the session is opened with; without one it is the warehouse's default.
    pub(crate) fn new(session_configuration: &BTreeMap<String, String>) -> Self {
        let is_zone =
            |key: &str| key.eq_ignore_ascii_case("timezone") || key.eq_ignore_ascii_case("spark.sql.session.timezone");
        let zone = session_configuration.iter().find(|(key, _)| is_zone(key)).map(|(_, zone)| zone.as_str());
        Self(Mutex::new(Arc::from(zone.unwrap_or("Etc/UTC"))))
    }

    pub(crate) fn get(&self) -> Arc<str> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes the zone of the first timestamp in a schema from the wire.
    pub(crate) fn learn(&self, schema: &Schema) {
        if let Some(zone) = schema.fields().iter().find_map(|field| zone_in(field.data_type())) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = zone;
        }
    }
}

fn zone_in(data_type: &DataType) -> Option<Arc<str>> {
    match data_type {
        DataType::Timestamp(_, zone) => zone.clone(),
        DataType::List(field) | DataType::LargeList(field) | DataType::Map(field, _) => zone_in(field.data_type()),
        DataType::Struct(fields) => fields.iter().find_map(|field| zone_in(field.data_type())),
        _ => None,
    }
}

/// Builds the Arrow schema of a result that carries none: one without rows, or one in JSON.
///
/// The types are those a warehouse puts on the wire for the same columns.
pub(crate) fn from_manifest(columns: &[Column], zone: &Arc<str>) -> Result<SchemaRef> {
    let fields: Result<Vec<Field>> = columns
        .iter()
        .map(|column| {
            let sql_type = column.sql_type().ok_or_else(|| {
                let text = format!("the column type `{}` is not understood", column.type_text);
                Error::new(ErrorKind::Protocol, text)
            })?;
            Ok(Field::new(&column.name, sql_type.wire_type(zone), true))
        })
        .collect();
    Ok(Arc::new(Schema::new(fields?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, type_text: &str) -> Column {
        Column {
            name: name.to_owned(),
            type_text: type_text.to_owned(),
            type_name: type_text.split(['(', '<', ' ']).next().unwrap().to_owned(),
            type_precision: None,
            type_scale: None,
            type_interval_type: None,
        }
    }

    #[test]
    fn the_manifest_becomes_metadata() {
        let mut decimal = column("d", "DECIMAL(10,2)");
        (decimal.type_precision, decimal.type_scale) = (Some(10), Some(2));
        let mut interval = column("i", "INTERVAL DAY TO SECOND");
        interval.type_interval_type = Some("DAY TO SECOND".to_owned());
        for (column, expected) in [
            (column("s", "STRING"), vec![]),
            (decimal, vec![("databricks.type_precision", "10"), ("databricks.type_scale", "2")]),
            (interval, vec![("databricks.type_interval_type", "DAY TO SECOND")]),
        ] {
            let always = [
                ("databricks.type_name", column.type_name.as_str()),
                ("databricks.type_text", column.type_text.as_str()),
                ("Spark:DataType:SqlName", column.type_text.as_str()),
            ];
            let expected: HashMap<String, String> =
                always.into_iter().chain(expected).map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
            assert_eq!(column.metadata(), expected);
        }
    }

    #[test]
    fn the_zone_of_a_session_is_learnt_from_its_results() {
        let configuration = |key: &str| BTreeMap::from([(key.to_owned(), "Asia/Tokyo".to_owned())]);
        assert_eq!(&*SessionZone::new(&BTreeMap::new()).get(), "Etc/UTC");
        assert_eq!(&*SessionZone::new(&configuration("ansi_mode")).get(), "Etc/UTC");
        assert_eq!(&*SessionZone::new(&configuration("TimeZone")).get(), "Asia/Tokyo");
        let zone = SessionZone::new(&configuration("spark.sql.session.timeZone"));
        assert_eq!(&*zone.get(), "Asia/Tokyo");
        let columns = [column("a", "INT"), column("b", "STRUCT<x: MAP<STRING, ARRAY<TIMESTAMP>>>")];
        zone.learn(&from_manifest(&columns, &Arc::from("Europe/Zurich")).unwrap());
        assert_eq!(&*zone.get(), "Europe/Zurich");
        zone.learn(&from_manifest(&[column("c", "TIMESTAMP_NTZ")], &Arc::from("Asia/Tokyo")).unwrap());
        assert_eq!(&*zone.get(), "Europe/Zurich");
    }

    #[test]
    fn without_rows_a_type_that_is_not_understood_is_an_error() {
        let error = from_manifest(&[column("c", "ARRAY<INT")], &Arc::from("Etc/UTC")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol);
        assert!(error.to_string().contains("`ARRAY<INT`"), "{error}");
    }
}
