//! What a statement changes: rows, of which the server tells the number, and its session.
//!
//! The server says it as a result of one row whose first column is `num_affected_rows`, which a query can have as well. So
//! both must agree: the statement is of a kind whose columns the server chooses, and the result has exactly that shape.

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;

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
pub(crate) fn changes_rows(sql: &str) -> bool {
    leading_keyword(&mut Tokens { rest: sql }).is_some_and(|word| is_one_of(word, &CHANGING))
}

/// Tells whether `sql` may leave something in its session: USE, SET, variables, temporary views. What cannot be told may.
pub(crate) fn changes_session(sql: &str) -> bool {
    let mut tokens = Tokens { rest: sql };
    match leading_keyword(&mut tokens) {
        // CREATE [OR REPLACE] [GLOBAL] TEMPORARY. A table of that name is taken for one, which costs nothing but a reopening.
        Some(word) if is_one_of(word, &["CREATE"]) => {
            (0..4).any(|_| matches!(tokens.next(), Some(Token::Word(word)) if is_one_of(word, &["TEMP", "TEMPORARY"])))
        }
        Some(word) => !is_one_of(word, &STATELESS),
        None => true,
    }
}

fn leading_keyword<'a>(tokens: &mut Tokens<'a>) -> Option<&'a str> {
    match tokens.next()? {
        Token::Word(word) if word.eq_ignore_ascii_case("WITH") => tokens.word_after_table_expressions(),
        Token::Word(word) => Some(word),
        _ => None,
    }
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

/// A token at the outer level of a statement.
enum Token<'a> {
    Word(&'a str),
    /// Everything from a parenthesis to the one that closes it.
    Parenthesised,
    Comma,
    /// A quoted text or name, or any other character.
    Other,
}

struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Tokens<'a> {
    /// Returns the word behind `name (columns) AS (body), ...`.
    fn word_after_table_expressions(&mut self) -> Option<&'a str> {
        let mut after_as = false;
        while let Some(token) = self.next() {
            match token {
                Token::Parenthesised if after_as => match self.next()? {
                    Token::Comma => after_as = false,
                    Token::Word(word) => return Some(word),
                    Token::Parenthesised | Token::Other => return None,
                },
                Token::Word(word) => after_as = word.eq_ignore_ascii_case("AS"),
                Token::Parenthesised | Token::Comma | Token::Other => after_as = false,
            }
        }
        None
    }

    fn next(&mut self) -> Option<Token<'a>> {
        self.skip_space_and_comments();
        let first = self.rest.chars().next()?;
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        if is_word(first) {
            let end = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
            let (word, rest) = self.rest.split_at_checked(end)?;
            self.rest = rest;
            return Some(Token::Word(word));
        }
        self.rest = self.rest.get(first.len_utf8()..)?;
        match first {
            ',' => Some(Token::Comma),
            '\'' | '"' | '`' => self.skip_quoted(first).map(|()| Token::Other),
            '(' => {
                let mut depth = 1_u32;
                while depth > 0 {
                    self.skip_space_and_comments();
                    let inner = self.rest.chars().next()?;
                    self.rest = self.rest.get(inner.len_utf8()..)?;
                    match inner {
                        '(' => depth += 1,
                        ')' => depth -= 1,
                        '\'' | '"' | '`' => self.skip_quoted(inner)?,
                        _ => {}
                    }
                }
                Some(Token::Parenthesised)
            }
            _ => Some(Token::Other),
        }
    }

    /// Skips to behind the closing quote. A doubled one ends one text and begins the next, which comes to the same.
    fn skip_quoted(&mut self, quote: char) -> Option<()> {
        let mut escaped = false;
        let end = self.rest.char_indices().find(|(_, c)| {
            let ends = *c == quote && !escaped;
            escaped = *c == '\\' && !escaped && quote != '`';
            ends
        });
        self.rest = self.rest.get(end?.0 + 1..)?;
        Some(())
    }

    fn skip_space_and_comments(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            let behind = if self.rest.starts_with("--") {
                self.rest.split_once('\n').map_or("", |(_, rest)| rest)
            } else if let Some(comment) = self.rest.strip_prefix("/*") {
                comment.split_once("*/").map_or("", |(_, rest)| rest)
            } else {
                return;
            };
            self.rest = behind;
        }
    }
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
