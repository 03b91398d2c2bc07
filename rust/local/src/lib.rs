//! A local Databricks SQL warehouse.
