//! Names in SQL.

/// Returns `name` in backticks.
pub(crate) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// Returns the name of a table, with the catalog and schema that are given.
pub(crate) fn table(catalog: Option<&str>, schema: Option<&str>, table: &str) -> String {
    let parts = [catalog.filter(|name| !name.is_empty()), schema.filter(|name| !name.is_empty()), Some(table)];
    parts.into_iter().flatten().map(quoted).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted() {
        assert_eq!(table(None, Some(""), "a`b"), "`a``b`");
        assert_eq!(table(Some("main"), Some("default"), "t"), "`main`.`default`.`t`");
    }
}
