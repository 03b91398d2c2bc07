//! What a statement changes: rows, of which the server tells the number, and its session.
//!
//! The server says it as a result of one row whose first column is `num_affected_rows`, which a query can have as well. So
//! both must agree: the statement is of a kind whose columns the server chooses, and the result has exactly that shape.

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;

use crate::markers::{Token, Tokens};
use crate::schema::Column;

/// Statements that change rows. CREATE and REPLACE do so with `AS SELECT`, and their columns too are the server's.
const CHANGING: [&str; 7] = ["INSERT", "UPDATE", "DELETE", "MERGE", "COPY", "CREATE", "REPLACE"];

/// Statements that leave nothing in their session. CREATE does with TEMPORARY.
const STATELESS: [&str; 31] = [
    "ALTER", "ANALYZE", "COMMENT", "CONVERT", "COPY", "CREATE", "DELETE", "DESC", "DESCRIBE", "DROP", "EXPLAIN",
    "FROM", "GET", "GRANT", "INSERT", "LIST", "MERGE", "MSCK", "OPTIMIZE", "PUT", "REMOVE", "REPLACE", "RESTORE",
    "REVOKE", "SELECT", "SHOW", "TABLE", "TRUNCATE", "UPDATE", "VACUUM", "VALUES",
];

/// Tells whether `sql` is of a kind that changes rows, by its leading keyword after comments and common table expressions.
/// What cannot be told is taken for a query.
pub fn changes_rows(sql: &str) -> bool {
    leading_keyword(&mut Tokens::new(sql)).is_some_and(|word| is_one_of(word, &CHANGING))
}

/// Tells whether `sql` may leave something in its session: USE, SET, variables, temporary views. What cannot be told may.
pub(crate) fn changes_session(sql: &str) -> bool {
    let mut tokens = Tokens::new(sql);
    match leading_keyword(&mut tokens) {
        // CREATE [OR REPLACE] [GLOBAL] TEMPORARY. A table of that name is taken for one, which costs nothing but a reopening.
        Some(word) if is_one_of(word, &["CREATE"]) => tokens
            .map_while(|(token, _)| if let Token::Word(word) = token { Some(word) } else { None })
            .take(4)
            .any(|word| is_one_of(word, &["TEMP", "TEMPORARY"])),
        Some(word) => !is_one_of(word, &STATELESS),
        None => true,
    }
}

fn leading_keyword<'a>(tokens: &mut Tokens<'a>) -> Option<&'a str> {
    match tokens.next()?.0 {
        Token::Word(word) if is_one_of(word, &["WITH"]) => keyword_after_table_expressions(tokens),
        Token::Word(word) => Some(word),
        _ => None,
    }
}

/// Returns the word behind `name (columns) AS (body), ...`.
fn keyword_after_table_expressions<'a>(tokens: &mut Tokens<'a>) -> Option<&'a str> {
    let mut after_as = false;
    loop {
        match tokens.next()?.0 {
            Token::Symbol('(') => {
                skip_parenthesised(tokens)?;
                if after_as {
                    match tokens.next()?.0 {
                        Token::Symbol(',') => {}
                        Token::Word(word) => return Some(word),
                        _ => return None,
                    }
                }
                after_as = false;
            }
            Token::Word(word) => after_as = is_one_of(word, &["AS"]),
            _ => after_as = false,
        }
    }
}

/// Skips to behind the parenthesis that closes the one just read.
fn skip_parenthesised(tokens: &mut Tokens<'_>) -> Option<()> {
    let mut depth = 1_u32;
    while depth > 0 {
        match tokens.next()?.0 {
            Token::Symbol('(') => depth += 1,
            Token::Symbol(')') => depth -= 1,
            _ => {}
        }
    }
    Some(())
}

fn is_one_of(word: &str, keywords: &[&str]) -> bool {
    keywords.iter().any(|keyword| word.eq_ignore_ascii_case(keyword))
}

/// Returns the number of changed rows that a result tells, if it has the shape of one that does.
pub(crate) fn affected_rows(columns: &[Column], total: Option<i64>, first: Option<&RecordBatch>) -> Option<i64> {
    let shape = columns.first()?.name == "num_affected_rows"
        && columns.iter().all(|column| column.name.starts_with("num_") && column.type_name == "LONG")
        && total.is_none_or(|rows| rows == 1);
    let batch = first.filter(|batch| shape && batch.num_rows() == 1)?;
    let column = batch.columns().first().filter(|column| column.data_type() == &DataType::Int64)?;
    let counts = column.as_primitive::<Int64Type>();
    (!counts.is_null(0)).then(|| counts.value(0))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int64Array};
    use arrow_schema::{Field, Schema};

    use super::*;

    #[test]
    fn the_leading_keyword_tells() {
        for (sql, expected) in [
            ("INSERT INTO t VALUES (1)", true),
            (" /* {\"app\": \"dbt\"} */ -- x\n merge into t using s", true),
            ("delete from t", true),
            ("COPY INTO t FROM 'x'", true),
            ("create or replace table t as select 1", true),
            ("WITH a AS (SELECT ')' , 1), `b c` (x, y) AS (SELECT (1)) INSERT INTO t SELECT * FROM a", true),
            ("with recursive r(n) max recursion level 5 as (select 1) -- (\n update t set x = 1", true),
            ("WITH a AS (SELECT '\\') INSERT ' /* ( */) SELECT 1 AS num_affected_rows", false),
            ("WITH a AS (SELECT 1) (SELECT 2)", false),
            ("SELECT 1 AS num_affected_rows", false),
            ("(INSERT)", false),
            ("FROM t INSERT INTO s SELECT 1", false),
            ("INSERTED", false),
            ("WITH", false),
            ("WITH a AS (", false),
            ("'INSERT'", false),
            ("", false),
            ("/* INSERT", false),
        ] {
            assert_eq!(changes_rows(sql), expected, "{sql}");
        }
    }

    #[test]
    fn what_may_leave_something_in_the_session_is_told_by_its_first_words() {
        for (sql, expected) in [
            ("SELECT 1", false),
            ("WITH a AS (SELECT 1) SELECT * FROM a", false),
            ("-- x\ninsert into t values (1)", false),
            ("CREATE OR REPLACE TABLE t AS SELECT 1 AS temp", false),
            ("CREATE TABLE t (temp INT)", false),
            ("create view v as select 1", false),
            ("CREATE OR REPLACE TEMPORARY VIEW v AS SELECT 1", true),
            ("create or replace global temp view v as select 1", true),
            ("CREATE /* */ TEMPORARY FUNCTION f() RETURN 1", true),
            ("USE s", true),
            ("SET TIME ZONE 'UTC'", true),
            ("DECLARE x INT", true),
            ("EXECUTE IMMEDIATE 'USE s'", true),
            ("BEGIN USE s; END", true),
            ("CALL p()", true),
            ("(SELECT 1)", true),
            ("/* a /* nested */ SELECT */ USE s", true),
            ("/* a /* nested */ USE */ SELECT 1", false),
            ("-- SELECT \\\n SELECT\n USE s", true),
            ("-- SELECT\rUSE s", true),
            ("/* SELECT 1", true),
            ("", true),
        ] {
            assert_eq!(changes_session(sql), expected, "{sql}");
        }
    }

    fn told(names: &[&str], type_name: &str, counts: &[Option<i64>], total: Option<i64>) -> Option<i64> {
        let columns: Vec<Column> = names
            .iter()
            .map(|name| Column {
                name: (*name).to_owned(),
                type_text: "BIGINT".to_owned(),
                type_name: type_name.to_owned(),
                type_precision: None,
                type_scale: None,
                type_interval_type: None,
            })
            .collect();
        let fields: Vec<Field> = names.iter().map(|name| Field::new(*name, DataType::Int64, true)).collect();
        let arrays = names.iter().map(|_| Arc::new(Int64Array::from(counts.to_vec())) as ArrayRef).collect();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap();
        affected_rows(&columns, total, Some(&batch))
    }

    #[test]
    fn only_the_servers_own_shape_counts() {
        assert_eq!(told(&["num_affected_rows", "num_inserted_rows"], "LONG", &[Some(3)], Some(1)), Some(3));
        assert_eq!(told(&["num_affected_rows"], "LONG", &[Some(0)], None), Some(0));
        assert_eq!(told(&["num_affected_rows"], "LONG", &[None], Some(1)), None);
        assert_eq!(told(&["num_affected_rows"], "LONG", &[Some(1), Some(2)], Some(2)), None);
        assert_eq!(told(&["num_affected_rows", "name"], "LONG", &[Some(3)], Some(1)), None);
        assert_eq!(told(&["num_affected_rows"], "STRING", &[Some(3)], Some(1)), None);
        assert_eq!(told(&["num_inserted_rows"], "LONG", &[Some(3)], Some(1)), None);
        assert_eq!(affected_rows(&[], Some(0), None), None);
    }
}
