//! Statements that insert one row and can as well insert several.

use std::fmt::Write;

use crate::markers::{Token, Tokens};

/// An `INSERT INTO t [(columns)] VALUES (...)` whose one row is of markers and constants.
///
/// Several such rows in one statement insert what as many statements would, provided that the values for one marker are of
/// one SQL type: the rows of `VALUES` are brought to common types first.
#[derive(Debug, Eq, PartialEq)]
pub struct MultiRowInsert {
    /// Everything before the row.
    head: String,
    items: Vec<Item>,
}

#[derive(Debug, Eq, PartialEq)]
enum Item {
    /// `?`, or `:name` with its name.
    Marker(Option<String>),
    Constant(String),
}

impl MultiRowInsert {
    /// Reads `sql`; `None` for every other statement: OVERWRITE, expressions, several rows, what is not understood.
    pub fn parse(sql: &str) -> Option<Self> {
        let mut tokens = Tokens::new(sql);
        let all: Vec<_> = tokens.by_ref().collect();
        tokens.is_done().then_some(())?;
        let mut rest = all.as_slice();
        word(&mut rest, "INSERT")?;
        word(&mut rest, "INTO")?;
        let _ = word(&mut rest, "TABLE");
        name(&mut rest)?;
        while symbol(&mut rest, '.').is_some() {
            name(&mut rest)?;
        }
        if symbol(&mut rest, '(').is_some() {
            name(&mut rest)?;
            while symbol(&mut rest, ',').is_some() {
                name(&mut rest)?;
            }
            symbol(&mut rest, ')')?;
        }
        word(&mut rest, "VALUES")?;
        let head = sql.get(..rest.first()?.1.start)?.to_owned();
        symbol(&mut rest, '(')?;
        let mut items = vec![item(sql, &mut rest)?];
        while symbol(&mut rest, ',').is_some() {
            items.push(item(sql, &mut rest)?);
        }
        symbol(&mut rest, ')')?;
        let _ = symbol(&mut rest, ';');
        let mut markers = items.iter().filter(|item| matches!(item, Item::Marker(_))).peekable();
        markers.peek()?;
        rest.is_empty().then_some(Self { head, items })
    }

    /// Returns the names of a row's markers, in their order; `None` for `?`.
    pub fn markers(&self) -> impl Iterator<Item = Option<&str>> {
        self.items.iter().filter_map(|item| match item {
            Item::Marker(name) => Some(name.as_deref()),
            Item::Constant(_) => None,
        })
    }

    /// Returns the statement that inserts `rows` rows. Named markers are then `:p1`, `:p2`, ... through all rows.
    pub fn statement(&self, rows: usize) -> String {
        let mut sql = self.head.clone();
        let mut number = 0;
        for row in 0..rows {
            sql.push_str(if row == 0 { "(" } else { ", (" });
            for (place, item) in self.items.iter().enumerate() {
                if place > 0 {
                    sql.push_str(", ");
                }
                match item {
                    Item::Marker(None) => sql.push('?'),
                    Item::Marker(Some(_)) => {
                        number += 1;
                        // Writing into a `String` cannot fail.
                        let _ = write!(sql, ":p{number}");
                    }
                    Item::Constant(text) => sql.push_str(text),
                }
            }
            sql.push(')');
        }
        sql
    }
}

type Rest<'a, 'b> = &'b [(Token<'a>, std::ops::Range<usize>)];

fn word(rest: &mut Rest<'_, '_>, wanted: &str) -> Option<()> {
    match rest.split_first()? {
        ((Token::Word(word), _), behind) if word.eq_ignore_ascii_case(wanted) => *rest = behind,
        _ => return None,
    }
    Some(())
}

fn name(rest: &mut Rest<'_, '_>) -> Option<()> {
    match rest.split_first()? {
        ((Token::Word(_) | Token::Name, _), behind) => *rest = behind,
        _ => return None,
    }
    Some(())
}

fn symbol(rest: &mut Rest<'_, '_>, wanted: char) -> Option<()> {
    match rest.split_first()? {
        ((Token::Symbol(symbol), _), behind) if *symbol == wanted => *rest = behind,
        _ => return None,
    }
    Some(())
}

/// Reads a marker, or a constant such as `1`, `-1.5`, `'a'`, `NULL` or `DATE'2024-02-29'`.
fn item(sql: &str, rest: &mut Rest<'_, '_>) -> Option<Item> {
    const CONSTANTS: [&str; 3] = ["NULL", "TRUE", "FALSE"];
    const MOMENTS: [&str; 3] = ["DATE", "TIMESTAMP", "TIMESTAMP_NTZ"];
    let is_one_of = |words: &[&str], word: &str| words.iter().any(|known| known.eq_ignore_ascii_case(word));
    let (first, place) = rest.first()?;
    let length = match (first, rest.get(1).map(|(token, _)| token)) {
        (Token::Question { is_certain: true }, _) => {
            *rest = rest.get(1..)?;
            return Some(Item::Marker(None));
        }
        (Token::Colon { name, is_certain: true }, _) => {
            let marker = Item::Marker(Some((*name).to_owned()));
            *rest = rest.get(1..)?;
            return Some(marker);
        }
        // A doubled quote parts a text in two tokens.
        (Token::Text(_), _) => rest.iter().take_while(|(token, _)| matches!(token, Token::Text(_))).count(),
        (Token::Number, _) => 1,
        (Token::Word(word), _) if is_one_of(&CONSTANTS, word) => 1,
        (Token::Word(word), Some(Token::Text(_))) if is_one_of(&["X"], word) => 2,
        // `TIMESTAMP'now'` is another moment in each statement.
        (Token::Word(word), Some(Token::Text(text))) if is_one_of(&MOMENTS, word) && begins_with_number(text) => 2,
        (Token::Symbol('-' | '+'), Some(Token::Number)) => 2,
        _ => return None,
    };
    let end = rest.get(length - 1)?.1.end;
    let text = sql.get(place.start..end)?.to_owned();
    *rest = rest.get(length..)?;
    Some(Item::Constant(text))
}

fn begins_with_number(text: &str) -> bool {
    let content = text.trim_start_matches(['r', 'R', '\'', '"']).trim_start();
    content.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_markers_and_constants_are_repeated() {
        for (sql, expected) in [
            ("INSERT INTO t VALUES (?, ?)", "INSERT INTO t VALUES (?, ?), (?, ?)"),
            (
                "insert into table main.`a b`.t (a, `b`, c) values (:x, 'it''s ?', :x);",
                "insert into table main.`a b`.t (a, `b`, c) values (:p1, 'it''s ?', :p2), (:p3, 'it''s ?', :p4)",
            ),
            (
                "/* ( */ INSERT INTO t -- (\n VALUES (-1, 1.5e3, NULL, true, DATE'2024-02-29', X'00', ?) -- done",
                "/* ( */ INSERT INTO t -- (\n VALUES (-1, 1.5e3, NULL, true, DATE'2024-02-29', X'00', ?), \
                 (-1, 1.5e3, NULL, true, DATE'2024-02-29', X'00', ?)",
            ),
        ] {
            assert_eq!(MultiRowInsert::parse(sql).unwrap().statement(2), expected);
        }
        let insert = MultiRowInsert::parse("INSERT INTO t VALUES (:a, 1, :b, :a)").unwrap();
        assert_eq!(insert.markers().collect::<Vec<_>>(), [Some("a"), Some("b"), Some("a")]);
    }

    #[test]
    fn everything_else_is_left_alone() {
        for sql in [
            "INSERT OVERWRITE t VALUES (?)",
            "INSERT INTO t REPLACE WHERE x = 1 VALUES (?)",
            "INSERT INTO t VALUES (?), (?)",
            "INSERT INTO t VALUES (1)",
            "INSERT INTO t VALUES (uuid(), ?)",
            "INSERT INTO t VALUES (current_timestamp, ?)",
            "INSERT INTO t VALUES (TIMESTAMP'now', ?)",
            "INSERT INTO t VALUES (DATE r'today', ?)",
            "INSERT INTO t VALUES (DEFAULT, ?)",
            "INSERT INTO t VALUES (CAST(? AS INT))",
            "INSERT INTO t VALUES (?::INT)",
            "INSERT INTO t VALUES (? + 1)",
            "INSERT INTO t SELECT ?",
            "INSERT INTO t VALUES (?) /* unfinished",
            "INSERT INTO t VALUES (?, 'unfinished)",
            "INSERT INTO t PARTITION (a = 1) VALUES (?)",
            "UPDATE t SET a = ?",
            "MERGE INTO t USING s ON t.a = ? WHEN MATCHED THEN DELETE",
            "",
        ] {
            assert_eq!(MultiRowInsert::parse(sql), None, "{sql}");
        }
    }
}
