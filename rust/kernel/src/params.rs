//! Statement parameters.

use std::fmt;

use crate::error::{Error, ErrorKind, Result};
use crate::literal;

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

    /// Checks the value against its type before anything is sent, and writes both as the server reads them.
    ///
    /// Values keep their meaning: a DECIMAL is widened to hold its digits, a TIMESTAMP with an offset goes out in UTC and
    /// says so, and NULL keeps its type. VARIANT, GEOMETRY and GEOGRAPHY travel as STRING (EWKT loses its SRID, which must
    /// agree with that of the type), BINARY as hexadecimal digits.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a type that cannot be a parameter (ARRAY, MAP, STRUCT, unknown names) and for a
    /// value that is not one of its type. The value itself is not repeated.
    pub fn checked(self) -> Result<Self> {
        let Self { name, sql_type, value } = self;
        let literal::Literal { sql_type, value } =
            literal::check(&sql_type, value.as_deref()).map_err(|why| match &name {
                Some(name) => Error::new(ErrorKind::InvalidArgument, format!("parameter `{name}`: {why}")),
                None => Error::new(ErrorKind::InvalidArgument, why),
            })?;
        Ok(Self { name, sql_type, value })
    }

    /// Returns the name of its marker, without the colon; `None` for a `?`.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Returns the SQL type.
    pub fn sql_type(&self) -> &str {
        &self.sql_type
    }

    /// Returns the value as text, `None` for NULL.
    pub fn value(&self) -> Option<&str> {
        self.value.as_deref()
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
