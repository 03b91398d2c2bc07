//! Parameter markers in a statement's text: where they are, of which style, and whether they agree with what is given.
//!
//! The server knows `?` and `:name`. Code written for other drivers has `%s` and `%(name)s` (PEP 249, "format" and
//! "pyformat"); those are rewritten as markers, never as values. The rules of the text are Spark's (`SqlBaseLexer.g4`).

use std::borrow::Cow;
use std::ops::Range;

use crate::error::{Error, ErrorKind, Result};

/// Most parameters of a statement. Source: Databricks SQL language reference, "Parameter markers".
const MAX_PARAMETERS: usize = 256;

/// What a caller has to bind.
#[derive(Clone, Copy, Debug)]
pub enum Given<'a> {
    /// As many values, for `?` or `%s`.
    Positional(usize),
    /// Values of these names, for `:name` or `%(name)s`.
    Named(&'a [String]),
}

/// A token of SQL, as far as it matters here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Token<'a> {
    Word(&'a str),
    /// A string literal, in any kind of quotes but backticks.
    Text(&'a str),
    /// A name in backticks.
    Name,
    Number,
    /// `?`; uncertain where it may be the first character of the operator `?::`.
    Question {
        is_certain: bool,
    },
    /// `:name`; uncertain behind what may be a value, for then it may be a path into it.
    Colon {
        name: &'a str,
        is_certain: bool,
    },
    /// `%s`
    Format,
    /// `%(name)s`
    NamedFormat(&'a str),
    /// `%%`
    Percents,
    Symbol(char),
}

/// Cuts SQL into tokens with their places. Ends at a quote or comment that is not closed.
pub(crate) struct Tokens<'a> {
    sql: &'a str,
    at: usize,
    /// Whether a value may end right before `at`.
    behind_operand: bool,
    /// Whether the token before ends at `at`, with nothing in between.
    is_adjacent: bool,
}

/// Words behind which a value begins; behind every other word, a colon may be a path into the column of that name.
const BEFORE_VALUES: [&str; 26] = [
    "ALL", "AND", "AS", "BETWEEN", "BY", "CASE", "DISTINCT", "ELSE", "ESCAPE", "HAVING", "ILIKE", "IN", "LIKE",
    "LIMIT", "NOT", "OFFSET", "ON", "OR", "QUALIFY", "REGEXP", "RLIKE", "SELECT", "THEN", "VALUES", "WHEN", "WHERE",
];

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

impl<'a> Tokens<'a> {
    pub(crate) fn new(sql: &'a str) -> Self {
        Self { sql, at: 0, behind_operand: false, is_adjacent: false }
    }

    /// Whether the whole text was read: no quote or comment was left open.
    pub(crate) fn is_done(&self) -> bool {
        self.rest().is_empty()
    }

    fn rest(&self) -> &'a str {
        self.sql.get(self.at..).unwrap_or_default()
    }

    /// Skips space and comments; `None` at the end or in a comment that is not closed.
    fn skip(&mut self) -> Option<()> {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start();
            let mut length = rest.len() - trimmed.len();
            if trimmed.starts_with("--") {
                length += line_comment(trimmed);
            } else if trimmed.starts_with("/*") {
                length += block_comment(trimmed)?;
            }
            if length == 0 {
                return (!rest.is_empty()).then_some(());
            }
            self.is_adjacent = false;
            self.at += length;
        }
    }

    /// Reads the token at the start of `rest`; returns it with its length.
    fn read(&self, rest: &'a str) -> Option<(Token<'a>, usize)> {
        let first = rest.chars().next()?;
        let behind = |length: usize| rest.get(length..).unwrap_or_default();
        let word_length = |text: &str| text.find(|c| !is_word(c)).unwrap_or(text.len());
        Some(match first {
            'r' | 'R' if behind(1).starts_with(['\'', '"']) => {
                let quote = behind(1).chars().next()?;
                let length = 3 + behind(2).find(quote)?;
                (Token::Text(rest.get(..length)?), length)
            }
            '\'' | '"' => {
                let length = quoted(rest, first)?;
                (Token::Text(rest.get(..length)?), length)
            }
            '`' => (Token::Name, quoted(rest, first)?),
            '$' if dollar_tag(rest).is_some() => {
                let tag = dollar_tag(rest)?;
                let length = 2 * tag.len() + behind(tag.len()).find(tag)?;
                (Token::Text(rest.get(..length)?), length)
            }
            '0'..='9' => (Token::Number, number(rest)),
            _ if is_word(first) => {
                let length = word_length(rest);
                (Token::Word(rest.get(..length)?), length)
            }
            '?' if behind(1).starts_with("::") && self.behind_operand => (Token::Question { is_certain: false }, 1),
            '?' => (Token::Question { is_certain: true }, 1),
            ':' if behind(1).starts_with(':') => (Token::Symbol(':'), 2),
            ':' if behind(1).starts_with(|c: char| is_word(c) && !c.is_ascii_digit()) => {
                let length = 1 + word_length(behind(1));
                (Token::Colon { name: rest.get(1..length)?, is_certain: !self.behind_operand }, length)
            }
            '%' if behind(1).starts_with('%') => (Token::Percents, 2),
            // Glued to what stands before, it is a remainder, or a name that is pasted together: no marker.
            '%' if !(self.is_adjacent && self.behind_operand) => match format_marker(rest) {
                Some((token, length)) => (token, length),
                None => (Token::Symbol('%'), 1),
            },
            _ => (Token::Symbol(first), first.len_utf8()),
        })
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = (Token<'a>, Range<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        self.skip()?;
        let (token, length) = self.read(self.rest())?;
        self.behind_operand = match token {
            Token::Word(word) => !BEFORE_VALUES.iter().any(|before| before.eq_ignore_ascii_case(word)),
            Token::Symbol(symbol) => matches!(symbol, ')' | ']' | '}'),
            Token::Percents => false,
            _ => true,
        };
        self.is_adjacent = true;
        let start = self.at;
        self.at += length;
        Some((token, start..self.at))
    }
}

/// Returns the length of a `--` comment; a backslash before a line feed continues it.
fn line_comment(text: &str) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        if character == '\r' || (character == '\n' && !escaped) {
            return at + 1;
        }
        escaped = character == '\\';
    }
    text.len()
}

/// Returns the length of a bracketed comment, which may hold others.
fn block_comment(text: &str) -> Option<usize> {
    let (mut depth, mut at) = (0_usize, 0);
    let bytes = text.as_bytes();
    while let Some(pair) = bytes.get(at..at + 2) {
        match pair {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// Returns the length of a quoted text. A doubled quote ends one text and begins the next, which comes to the same.
fn quoted(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        if character == quote && !escaped {
            return Some(at + 1);
        }
        escaped = character == '\\' && !escaped && quote != '`';
    }
    None
}

/// Returns the `$tag$` at the start of a dollar-quoted text.
fn dollar_tag(text: &str) -> Option<&str> {
    let end = text.get(1..)?.find(|c: char| !c.is_ascii_alphabetic())? + 1;
    text.get(end..)?.starts_with('$').then(|| text.get(..=end)).flatten()
}

/// Returns the length of a number such as `1`, `1.5`, `10L` or `1e-3`; also of a name that begins with a digit.
fn number(text: &str) -> usize {
    let mut before = ' ';
    for (at, character) in text.char_indices() {
        let is_sign = matches!(character, '+' | '-') && matches!(before, 'e' | 'E');
        if !is_word(character) && character != '.' && !is_sign {
            return at;
        }
        before = character;
    }
    text.len()
}

/// Reads `%s` or `%(name)s` with no word behind it.
fn format_marker(text: &str) -> Option<(Token<'_>, usize)> {
    let (token, length) = match text.get(1..)?.strip_prefix('(') {
        None => (Token::Format, 1),
        Some(inner) => {
            let length = inner.find(|c| !is_word(c)).filter(|length| *length > 0)?;
            inner.get(length..)?.starts_with(')').then_some(())?;
            (Token::NamedFormat(inner.get(..length)?), length + 3)
        }
    };
    let behind = text.get(length..)?.strip_prefix('s')?;
    (!behind.starts_with(is_word)).then_some((token, length + 1))
}

/// Returns `sql` with the markers that the server knows, having checked that they agree with what is `given`.
///
/// `%s` and `%(name)s` become `?` and `:name`, and `%%` then becomes `%`. Which style is meant follows from the text and from
/// what is given: with markers of the server's own, `%` is the remainder of a division.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] for styles that are mixed, for values that are missing or left over as far as that can be
/// told without knowing the columns, and for more than 256 parameters.
pub fn with_native_markers<'a>(sql: &'a str, given: Given<'_>) -> Result<Cow<'a, str>> {
    let found = Found::new(sql);
    let (count, style) = match given {
        Given::Positional(count) => (count, style("a sequence", &found.positional(), &found.named())?),
        Given::Named(names) => (names.len(), style("a mapping", &found.named(), &found.positional())?),
    };
    if count > MAX_PARAMETERS {
        return Err(invalid(format!("the statement has {count} parameters; the server takes {MAX_PARAMETERS}")));
    }
    match given {
        Given::Positional(count) => found.check_count(count, style)?,
        Given::Named(names) => found.check_names(names, style)?,
    }
    if style == Style::Native { Ok(Cow::Borrowed(sql)) } else { found.rewritten().map(Cow::Owned) }
}

/// A parameter that goes out as JSON text, for the server takes none of ARRAY, MAP and STRUCT.
#[derive(Clone, Debug)]
pub struct JsonParameter {
    /// Its place among the parameters, from 0.
    pub place: usize,
    /// Its name, for `:name` markers.
    pub name: Option<String>,
    /// The nested type that is meant.
    pub sql_type: String,
}

/// Returns `sql` with `from_json(marker, 'type', ...)` in place of the markers of `json`.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] where a marker is not found for certain, and for a type that cannot be quoted.
pub fn with_json_markers(sql: &str, json: &[JsonParameter]) -> Result<String> {
    let mut rewritten = String::with_capacity(sql.len());
    let (mut copied, mut questions, mut found) = (0, 0, vec![false; json.len()]);
    for (token, place) in Tokens::new(sql) {
        let matching = match token {
            Token::Question { is_certain: false } => {
                return Err(invalid(
                    "beside `?::`, an ARRAY, MAP or STRUCT parameter needs a `:name` marker".to_owned(),
                ));
            }
            Token::Question { is_certain: true } => {
                questions += 1;
                json.iter().position(|parameter| parameter.name.is_none() && parameter.place + 1 == questions)
            }
            Token::Colon { name, is_certain: true } => {
                json.iter().position(|parameter| parameter.name.as_deref() == Some(name))
            }
            _ => None,
        };
        let Some((parameter, found)) = matching.and_then(|index| json.get(index).zip(found.get_mut(index))) else {
            continue;
        };
        if parameter.sql_type.contains(['\'', '"', '\\']) {
            return Err(invalid("the type of a parameter holds quotes or a backslash; leave comments out".to_owned()));
        }
        *found = true;
        rewritten.push_str(sql.get(copied..place.start).unwrap_or_default());
        let marker = sql.get(place.clone()).unwrap_or_default();
        // Without the mode, what does not fit would be NULL.
        rewritten.extend(["from_json(", marker, ", '", &parameter.sql_type, "', map('mode', 'FAILFAST'))"]);
        copied = place.end;
    }
    if let Some((parameter, _)) = json.iter().zip(&found).find(|(_, found)| !**found) {
        let which =
            parameter.name.as_ref().map_or(format!("number {}", parameter.place + 1), |name| format!("`:{name}`"));
        return Err(invalid(format!("the parameter {which} of type `{}` has no marker", parameter.sql_type)));
    }
    rewritten.push_str(sql.get(copied..).unwrap_or_default());
    Ok(rewritten)
}

/// Returns the markers of `sql` in their order: the name of each `:name` or `%(name)s`, once, or `None` for each `?` or `%s`.
///
/// What may be something else, such as the colon of a path into JSON, is left out.
pub fn marker_names(sql: &str) -> Vec<Option<String>> {
    let mut names: Vec<Option<String>> = Vec::new();
    for (token, _) in Tokens::new(sql) {
        let name = match token {
            Token::Question { is_certain: true } | Token::Format => None,
            Token::Colon { name, is_certain: true } | Token::NamedFormat(name) => Some(name.to_owned()),
            _ => continue,
        };
        if name.is_none() || !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Tells whether the markers of `sql` are `:name` or `%(name)s`.
pub fn has_named_markers(sql: &str) -> bool {
    let named = Found::new(sql).named();
    named.native.0 + named.format.0 > 0
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Style {
    Native,
    Format,
}

/// The markers of one shape: how many there are in each style, and how each is written.
struct Written {
    native: (usize, &'static str),
    format: (usize, &'static str),
}

struct Found<'a> {
    sql: &'a str,
    tokens: Vec<(Token<'a>, Range<usize>)>,
}

impl<'a> Found<'a> {
    fn new(sql: &'a str) -> Self {
        Self { sql, tokens: Tokens::new(sql).collect() }
    }

    fn count(&self, matching: impl Fn(&Token<'a>) -> bool) -> usize {
        self.tokens.iter().filter(|(token, _)| matching(token)).count()
    }

    fn positional(&self) -> Written {
        Written {
            native: (self.count(|token| matches!(token, Token::Question { .. })), "?"),
            format: (self.count(|token| *token == Token::Format), "%s"),
        }
    }

    fn named(&self) -> Written {
        Written {
            native: (self.count(|token| matches!(token, Token::Colon { is_certain: true, .. })), ":name"),
            format: (self.count(|token| matches!(token, Token::NamedFormat(_))), "%(name)s"),
        }
    }

    fn check_count(&self, given: usize, style: Style) -> Result<()> {
        let certain = self.count(|token| match style {
            Style::Native => *token == Token::Question { is_certain: true },
            Style::Format => *token == Token::Format,
        });
        let uncertain = self.count(|token| *token == Token::Question { is_certain: false });
        let most = if style == Style::Native { certain + uncertain } else { certain };
        if (certain..=most).contains(&given) {
            return Ok(());
        }
        let marker = if style == Style::Native { "?" } else { "%s" };
        Err(invalid(format!("the statement has {certain} `{marker}` markers, and {given} parameters were given")))
    }

    fn check_names(&self, given: &[String], style: Style) -> Result<()> {
        let same = |name: &str, other: &str| name.to_lowercase() == other.to_lowercase();
        let shown = |name: &str| if style == Style::Native { format!(":{name}") } else { format!("%({name})s") };
        let mut known = Vec::new();
        for (token, _) in &self.tokens {
            let (name, is_certain) = match (token, style) {
                (Token::Colon { name, is_certain }, Style::Native) => (*name, *is_certain),
                (Token::NamedFormat(name), Style::Format) => (*name, true),
                _ => continue,
            };
            if is_certain && !given.iter().any(|given| same(given, name)) {
                return Err(invalid(format!("the marker `{}` has no parameter", shown(name))));
            }
            known.push(name);
        }
        // A name in backticks can be a marker's, too, which is not looked into.
        let may_be_hidden = self.tokens.iter().any(|(token, _)| *token == Token::Name);
        match given.iter().find(|given| !may_be_hidden && !known.iter().any(|name| same(given, name))) {
            Some(surplus) => Err(invalid(format!("the parameter `{surplus}` has no marker `{}`", shown(surplus)))),
            None => Ok(()),
        }
    }

    /// Writes format markers as native ones.
    fn rewritten(&self) -> Result<String> {
        let mut sql = String::with_capacity(self.sql.len());
        let mut copied = 0;
        for (token, place) in &self.tokens {
            let replaced = match token {
                Token::Format => "?".to_owned(),
                Token::NamedFormat(name) => format!(":{name}"),
                Token::Percents => "%".to_owned(),
                Token::Text(text) if text.contains("%%") => {
                    return Err(invalid(
                        "a text in quotes holds `%%`, which beside `%s` markers is one percent sign for some drivers and two \
                         for others; use `?` or `:name` markers, and write the text as it is meant"
                            .to_owned(),
                    ));
                }
                _ => continue,
            };
            sql.push_str(self.sql.get(copied..place.start).unwrap_or_default());
            sql.push_str(&replaced);
            copied = place.end;
            if self.sql.get(copied..).is_some_and(|rest| rest.starts_with(':')) {
                // `?::` is an operator.
                sql.push(' ');
            }
        }
        sql.push_str(self.sql.get(copied..).unwrap_or_default());
        Ok(sql)
    }
}

/// Decides on the style; `fitting` are the markers for what is given, `other` those of the other shape.
fn style(given: &str, fitting: &Written, other: &Written) -> Result<Style> {
    let mixed = |first: &str, second: &str| {
        Err(invalid(format!(
            "the statement has both `{first}` and `{second}` markers; use one style (a remainder is written with a \
             space, `a % s`)"
        )))
    };
    if fitting.native.0 > 0 && other.native.0 > 0 {
        return mixed(fitting.native.1, other.native.1);
    }
    if fitting.native.0 > 0 && fitting.format.0 > 0 {
        return mixed(fitting.native.1, fitting.format.1);
    }
    if fitting.format.0 > 0 && other.format.0 > 0 {
        return mixed(fitting.format.1, other.format.1);
    }
    if fitting.format.0 > 0 && other.native.0 > 0 {
        return mixed(fitting.format.1, other.native.1);
    }
    if fitting.native.0 + fitting.format.0 == 0
        && let Some((_, unfit)) = [other.native, other.format].into_iter().find(|(count, _)| *count > 0)
    {
        return Err(invalid(format!(
            "the statement has `{unfit}` markers, and its parameters are {given}; write `{}` or `{}`, or pass the other",
            fitting.native.1, fitting.format.1
        )));
    }
    Ok(if fitting.format.0 > 0 { Style::Format } else { Style::Native })
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_listed_in_their_order() {
        let names = |sql| marker_names(sql).into_iter().map(|name| name.unwrap_or("?".to_owned())).collect::<Vec<_>>();
        assert_eq!(names("SELECT ?, '?', ? -- ?"), ["?", "?"]);
        assert_eq!(names("SELECT :a, :b, a:b, ':c' WHERE x = :a"), ["a", "b"]);
        assert_eq!(names("SELECT %s, %s"), ["?", "?"]);
        assert_eq!(names("SELECT %(a)s, %(a)s"), ["a"]);
        assert!(names("SELECT 1").is_empty());
    }

    fn named(sql: &str, names: &[&str]) -> std::result::Result<String, String> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        with_native_markers(sql, Given::Named(&names)).map(Cow::into_owned).map_err(|error| error.to_string())
    }

    fn positional(sql: &str, count: usize) -> std::result::Result<String, String> {
        with_native_markers(sql, Given::Positional(count)).map(Cow::into_owned).map_err(|error| error.to_string())
    }

    #[test]
    fn format_markers_become_the_servers_own() {
        for (sql, expected) in [
            ("SELECT %(a)s, %(b)s", "SELECT :a, :b"),
            ("SELECT (%(a)s)+%(b)s", "SELECT (:a)+:b"),
            ("SELECT %(a)s::INT, %(b)s", "SELECT :a ::INT, :b"),
            ("SELECT '%(x)s', \"%(x)s\", `%(x)s`, %(a)s, %(b)s", "SELECT '%(x)s', \"%(x)s\", `%(x)s`, :a, :b"),
            ("SELECT 'it''s %(x)s', '\\'%(x)s', %(a)s, %(b)s", "SELECT 'it''s %(x)s', '\\'%(x)s', :a, :b"),
            ("SELECT r'\\', %(a)s, R\"%(x)s\\\", %(b)s", "SELECT r'\\', :a, R\"%(x)s\\\", :b"),
            ("SELECT %(a)s -- %(x)s\n, %(b)s", "SELECT :a -- %(x)s\n, :b"),
            ("SELECT %(a)s -- %(x)s \\\n %(x)s\n, %(b)s", "SELECT :a -- %(x)s \\\n %(x)s\n, :b"),
            ("SELECT %(a)s /* /* %(x)s */ %(x)s */, %(b)s", "SELECT :a /* /* %(x)s */ %(x)s */, :b"),
            ("SELECT %(a)s %% %(b)s, c % d, e%f", "SELECT :a % :b, c % d, e%f"),
            (
                "SELECT $$ %(x)s ' $$, $py$ %(x)s $$ $py$, %(a)s, %(b)s",
                "SELECT $$ %(x)s ' $$, $py$ %(x)s $$ $py$, :a, :b",
            ),
            ("SELECT c:d, %(a)s, %(b)s", "SELECT c:d, :a, :b"),
        ] {
            assert_eq!(named(sql, &["a", "b"]).as_deref(), Ok(expected), "{sql}");
        }
        assert_eq!(positional("SELECT %s, '%s', %s", 2).as_deref(), Ok("SELECT ?, '%s', ?"));
        assert_eq!(positional("LIMIT %s", 1).as_deref(), Ok("LIMIT ?"));
        assert_eq!(positional("SELECT %s::INT", 1).as_deref(), Ok("SELECT ? ::INT"));
    }

    #[test]
    fn other_statements_stay_as_they_are() {
        for sql in [
            "SELECT a % s, b%s, :p FROM t",
            "SELECT c:d.e, c :f, x::INT, :p, s['k']:g, STRUCT<a:INT, b: INT> FROM t",
            "SELECT :p /* :q ? %s */ -- ? :q",
            "SELECT ':q ? %s' || \"?\" || `?` || :p",
            "SELECT 100 %% 7, '%%', :p",
            "SELECT :p, 'unfinished ?",
            "SELECT :p /* unfinished ?",
            "SELECT 10%(s), :p",
        ] {
            assert_eq!(named(sql, &["p"]).as_deref(), Ok(sql), "{sql}");
        }
        for sql in ["SELECT ?, a:b, c?::INT, 'x'", "SELECT ? + 5%s FROM t", "SELECT ?::INT"] {
            assert_eq!(positional(sql, 1).as_deref(), Ok(sql), "{sql}");
        }
        assert_eq!(positional("SELECT 1 % 2", 0).as_deref(), Ok("SELECT 1 % 2"));
    }

    #[test]
    fn what_does_not_agree_is_named() {
        for (sql, names, expected) in [
            ("SELECT :a, %(b)s", &["a", "b"][..], "both `:name` and `%(name)s`"),
            ("SELECT :a, ?", &["a"], "both `:name` and `?`"),
            ("SELECT %(a)s, %s", &["a"], "both `%(name)s` and `%s`"),
            ("SELECT %(a)s, ?", &["a"], "both `%(name)s` and `?`"),
            ("SELECT ?", &["a"], "`?` markers, and its parameters are a mapping"),
            ("SELECT %s", &["a"], "`%s` markers, and its parameters are a mapping"),
            ("SELECT :a", &["b"], "`:a` has no parameter"),
            ("SELECT %(a)s", &["b"], "`%(a)s` has no parameter"),
            ("SELECT :a", &["a", "b"], "`b` has no marker `:b`"),
            ("SELECT %(a)s", &["a", "b"], "`b` has no marker `%(b)s`"),
            ("SELECT 1", &["a"], "`a` has no marker"),
            ("SELECT '%%', %(a)s", &["a"], "holds `%%`"),
        ] {
            let error = named(sql, names).unwrap_err();
            assert!(error.contains(expected), "{sql}: {error}");
        }
        for (sql, count, expected) in [
            ("SELECT ?, %s", 2, "both `?` and `%s`"),
            ("SELECT ?, :a", 1, "both `?` and `:name`"),
            ("SELECT :a", 1, "`:name` markers, and its parameters are a sequence"),
            ("SELECT %(a)s", 1, "`%(name)s` markers, and its parameters are a sequence"),
            ("SELECT ?, ?", 1, "2 `?` markers, and 1 parameters"),
            ("SELECT ?", 2, "1 `?` markers, and 2 parameters"),
            ("SELECT 'a ?' -- ?", 1, "0 `?` markers, and 1 parameters"),
            ("SELECT %s, %s", 3, "2 `%s` markers, and 3 parameters"),
            ("SELECT 1", 257, "257 parameters; the server takes 256"),
        ] {
            let error = positional(sql, count).unwrap_err();
            assert!(error.contains(expected), "{sql}: {error}");
        }
    }

    #[test]
    fn names_are_compared_as_the_server_may() {
        assert!(named("SELECT :Name", &["name"]).is_ok());
        assert!(named("SELECT :`a b`, :x", &["a b", "x"]).is_ok());
        assert!(named("SELECT raw:x", &["x"]).is_ok());
        assert!(
            has_named_markers("SELECT :a") && has_named_markers("SELECT %(a)s") && !has_named_markers("SELECT a:b, ?")
        );
    }

    #[test]
    fn markers_of_json_are_wrapped() {
        let json = |place, name: Option<&str>| JsonParameter {
            place,
            name: name.map(str::to_owned),
            sql_type: "ARRAY<INT>".to_owned(),
        };
        let wrapped =
            |sql: &str, json: JsonParameter| with_json_markers(sql, &[json]).map_err(|error| error.to_string());
        assert_eq!(
            wrapped("SELECT ?, '?', ? -- ?", json(1, None)).as_deref(),
            Ok("SELECT ?, '?', from_json(?, 'ARRAY<INT>', map('mode', 'FAILFAST')) -- ?")
        );
        assert_eq!(
            wrapped("SELECT :b, c:a, size(:a)", json(0, Some("a"))).as_deref(),
            Ok("SELECT :b, c:a, size(from_json(:a, 'ARRAY<INT>', map('mode', 'FAILFAST')))")
        );
        assert!(wrapped("SELECT c:a", json(0, Some("a"))).unwrap_err().contains("`:a` of type"));
        assert!(wrapped("SELECT ?", json(1, None)).unwrap_err().contains("number 2"));
        assert!(wrapped("SELECT c?::INT, ?", json(0, None)).is_err());
        let hostile = JsonParameter { sql_type: "ARRAY<INT>') --".to_owned(), ..json(0, None) };
        assert!(wrapped("SELECT ?", hostile).unwrap_err().contains("quotes"));
    }

    #[test]
    fn no_text_stops_it() {
        for sql in
            ["", "%", "%(", "%()s", "%(a", ":", "::", "?", "$", "$$", "$a", "'", "r'", "1e", "é%sé", "/*/", "*/", "--"]
        {
            let _ = (positional(sql, 1), named(sql, &["a"]));
        }
    }
}
