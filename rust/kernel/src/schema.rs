//! Result columns as the manifest describes them, and the Arrow schema that follows from them.

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
}
