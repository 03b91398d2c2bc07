//! Driver and database: options, and nothing sent yet.

use adbc_core::Optionable;
use adbc_core::error::Result;
use adbc_core::options::{OptionConnection, OptionDatabase, OptionValue};

use crate::connection::Connection;
use crate::options::Settings;

/// The driver; it has no state.
#[derive(Clone, Copy, Debug, Default)]
pub struct Driver;

impl adbc_core::Driver for Driver {
    type DatabaseType = Database;

    fn new_database(&mut self) -> Result<Database> {
        Ok(Database { settings: Settings::default() })
    }

    fn new_database_with_opts(
        &mut self,
        opts: impl IntoIterator<Item = (OptionDatabase, OptionValue)>,
    ) -> Result<Database> {
        let mut database = self.new_database()?;
        for (key, value) in opts {
            database.settings.set(key.as_ref(), value)?;
        }
        Ok(database)
    }
}

/// Where the warehouse is and how to get in; each connection is a session of its own.
pub struct Database {
    settings: Settings,
}

impl std::fmt::Debug for Database {
    /// Shows nothing: options hold secrets.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Database").finish_non_exhaustive()
    }
}

impl Optionable for Database {
    type Option = OptionDatabase;

    fn set_option(&mut self, key: OptionDatabase, value: OptionValue) -> Result<()> {
        self.settings.set(key.as_ref(), value)
    }

    fn get_option_string(&self, key: OptionDatabase) -> Result<String> {
        self.settings.get(key.as_ref())
    }

    fn get_option_bytes(&self, key: OptionDatabase) -> Result<Vec<u8>> {
        self.settings.get(key.as_ref()).map(String::into_bytes)
    }

    fn get_option_int(&self, key: OptionDatabase) -> Result<i64> {
        as_int(key.as_ref(), &self.settings.get(key.as_ref())?)
    }

    fn get_option_double(&self, key: OptionDatabase) -> Result<f64> {
        as_double(key.as_ref(), &self.settings.get(key.as_ref())?)
    }
}

impl adbc_core::Database for Database {
    type ConnectionType = Connection;

    fn new_connection(&self) -> Result<Connection> {
        self.new_connection_with_opts([])
    }

    fn new_connection_with_opts(
        &self,
        opts: impl IntoIterator<Item = (OptionConnection, OptionValue)>,
    ) -> Result<Connection> {
        let mut settings = self.settings.clone();
        for (key, value) in opts {
            if !Connection::is_fixed_option(&key, &value)? {
                settings.set(key.as_ref(), value)?;
            }
        }
        Connection::open(&settings)
    }
}

/// Reads an option's value as a number.
pub(crate) fn as_int(name: &str, value: &str) -> Result<i64> {
    value.parse().map_err(|_| not_a_number(name))
}

/// The same with a fraction.
pub(crate) fn as_double(name: &str, value: &str) -> Result<f64> {
    value.parse().map_err(|_| not_a_number(name))
}

fn not_a_number(name: &str) -> adbc_core::error::Error {
    crate::error::error(adbc_core::error::Status::InvalidState, format!("the value of `{name}` is not a number"))
}
