"""The translation of Databricks SQL to DuckDB: parser, type rules, functions and statements."""
