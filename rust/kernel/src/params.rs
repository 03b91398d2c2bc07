//! Statement parameters.

use std::fmt;

/// A typed value for a `:name` or `?` marker.
///
/// Values travel as text and are cast by the server to `sql_type`; `None` is SQL NULL. Positional parameters take the
/// ordinals 1, 2, ... in the order they are bound. Source: Statement Execution API, "parameters"; `ordinal` is not in
/// the public reference and is what the platform's JDBC driver sends.
#[derive(Clone, Eq, PartialEq)]
pub struct Parameter {
    pub(crate) name: Option<String>,
    pub(crate) sql_type: String,
    pub(crate) value: Option<String>,
}

impl Parameter {
    /// Returns a value for the next `?` marker.
    pub fn positional(sql_type: &str, value: Option<&str>) -> Self {
        Self { name: None, sql_type: sql_type.to_owned(), value: value.map(str::to_owned) }
    }

    /// Returns a value for the marker `:name`; `name` is given without the colon.
    pub fn named(name: &str, sql_type: &str, value: Option<&str>) -> Self {
        Self { name: Some(name.to_owned()), sql_type: sql_type.to_owned(), value: value.map(str::to_owned) }
    }
}

impl fmt::Debug for Parameter {
    /// Shows name and type; the value may be personal data.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Parameter")
            .field("name", &self.name)
            .field("sql_type", &self.sql_type)
            .finish_non_exhaustive()
    }
}
