//! Columns in the types of the service.
