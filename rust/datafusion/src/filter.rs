//! DataFusion's filters as Databricks SQL.
//!
//! A filter is rendered only where the warehouse keeps the same rows as DataFusion would (exact), or at least those
//! (not exact: DataFusion filters again). What can fail in one and not in the other is left out: casts and arithmetic
//! raise in ANSI mode.

use std::fmt::Write;

use datafusion_common::ScalarValue;
use datafusion_expr::expr::{Between, InList, Like};
use datafusion_expr::{BinaryExpr, Expr, Operator};
use time::{Date, Duration, Month, PrimitiveDateTime, Time};

use crate::column::{Column, Kind};

/// Longest text of all filters, and most parentheses in them: the warehouse refuses statements that are too complex to parse.
const MOST_BYTES: usize = 65_536;
const MOST_PARENTHESES: usize = 400;

/// A filter in SQL; what is not exact keeps more rows.
#[derive(Debug)]
pub(crate) struct Rendered {
    pub(crate) sql: String,
    pub(crate) exact: bool,
}

impl Rendered {
    fn exact(sql: String) -> Self {
        Self { sql, exact: true }
    }
}

/// Renders a filter over `columns`; `None` where the warehouse cannot tell which rows it keeps.
pub(crate) fn render(filter: &Expr, columns: &[Column]) -> Option<Rendered> {
    condition(filter, columns).filter(|rendered| are_simple([rendered]))
}

/// Tells whether the warehouse parses a statement with all of these filters.
pub(crate) fn are_simple<'a>(filters: impl IntoIterator<Item = &'a Rendered>) -> bool {
    let (mut bytes, mut parentheses) = (0, 0);
    for filter in filters {
        bytes += filter.sql.len();
        parentheses += filter.sql.bytes().filter(|byte| *byte == b'(').count();
    }
    bytes <= MOST_BYTES && parentheses <= MOST_PARENTHESES
}

fn condition(filter: &Expr, columns: &[Column]) -> Option<Rendered> {
    match filter {
        Expr::BinaryExpr(BinaryExpr { op: op @ (Operator::And | Operator::Or), .. }) => {
            let sides = sides(filter, *op).into_iter().map(|side| condition(side, columns));
            joined(*op, sides.collect())
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            comparison(&operand(left, columns)?, *op, &operand(right, columns)?)
        }
        Expr::Column(_) => {
            let column = column(filter, columns)?;
            (column.kind == Kind::Boolean).then(|| Rendered::exact(column.sql()))
        }
        Expr::Not(inner) => Some(Rendered::exact(format!("(NOT {})", exactly(inner, columns)?))),
        Expr::IsNull(inner) => tested(inner, "IS NULL", columns),
        Expr::IsNotNull(inner) => tested(inner, "IS NOT NULL", columns),
        Expr::IsUnknown(inner) => Some(Rendered::exact(format!("({} IS NULL)", exactly(inner, columns)?))),
        Expr::IsNotUnknown(inner) => Some(Rendered::exact(format!("({} IS NOT NULL)", exactly(inner, columns)?))),
        Expr::IsTrue(inner) => Some(Rendered::exact(format!("({} IS TRUE)", exactly(inner, columns)?))),
        Expr::IsNotTrue(inner) => Some(Rendered::exact(format!("({} IS NOT TRUE)", exactly(inner, columns)?))),
        Expr::IsFalse(inner) => Some(Rendered::exact(format!("({} IS FALSE)", exactly(inner, columns)?))),
        Expr::IsNotFalse(inner) => Some(Rendered::exact(format!("({} IS NOT FALSE)", exactly(inner, columns)?))),
        Expr::Between(between) => between_two(between, columns),
        Expr::InList(list) => in_list(list, columns),
        Expr::Like(like) => matches_pattern(like, columns),
        _ => None,
    }
}

fn exactly(filter: &Expr, columns: &[Column]) -> Option<String> {
    let rendered = condition(filter, columns)?;
    rendered.exact.then_some(rendered.sql)
}

/// Returns what a chain of one operator joins, in order; as a tree it can be deeper than a parser allows.
fn sides(filter: &Expr, op: Operator) -> Vec<&Expr> {
    let (mut found, mut open) = (Vec::new(), vec![filter]);
    while let Some(next) = open.pop() {
        match next {
            Expr::BinaryExpr(BinaryExpr { left, op: joins, right }) if *joins == op => open.extend([&**right, &**left]),
            _ => found.push(next),
        }
    }
    found
}

/// Some sides of an AND say enough to keep more rows; an OR needs all.
fn joined(op: Operator, sides: Vec<Option<Rendered>>) -> Option<Rendered> {
    let count = sides.len();
    let rendered: Vec<Rendered> = sides.into_iter().flatten().collect();
    let complete = rendered.len() == count;
    if rendered.is_empty() || (op == Operator::Or && !complete) {
        return None;
    }
    let exact = complete && rendered.iter().all(|side| side.exact);
    let texts: Vec<String> = rendered.into_iter().map(|side| side.sql).collect();
    let sql = match texts.as_slice() {
        [one] => one.clone(),
        several => format!("({})", several.join(&format!(" {op} "))),
    };
    Some(Rendered { sql, exact })
}

fn tested(inner: &Expr, test: &str, columns: &[Column]) -> Option<Rendered> {
    let tested = match column(inner, columns) {
        Some(column) if column.kind != Kind::Foreign => column.sql(),
        Some(_) => return None,
        None => exactly(inner, columns)?,
    };
    Some(Rendered::exact(format!("({tested} {test})")))
}

/// One side of a comparison.
enum Operand<'a> {
    Column(&'a Column),
    Literal(&'a ScalarValue),
}

fn operand<'a>(side: &'a Expr, columns: &'a [Column]) -> Option<Operand<'a>> {
    match side {
        Expr::Literal(value, _) => Some(Operand::Literal(value)),
        _ => column(side, columns).map(Operand::Column),
    }
}

fn column<'a>(side: &Expr, columns: &'a [Column]) -> Option<&'a Column> {
    let Expr::Column(reference) = side else { return None };
    columns.iter().find(|column| column.name == reference.name)
}

fn comparison(left: &Operand<'_>, op: Operator, right: &Operand<'_>) -> Option<Rendered> {
    match (left, right) {
        (Operand::Column(column), Operand::Literal(value)) => with_value(column, op, value),
        (Operand::Literal(value), Operand::Column(column)) => with_value(column, op.swap()?, value),
        (Operand::Column(left), Operand::Column(right)) => {
            let alike = left.kind == right.kind && left.data_type == right.data_type && compares(left.kind, op);
            if !alike || left.kind == Kind::Float {
                return None;
            }
            compared(&bytes_of(left), op, &bytes_of(right)).map(Rendered::exact)
        }
        (Operand::Literal(_), Operand::Literal(_)) => None,
    }
}

/// Tells whether values of a kind compare alike by this operator.
fn compares(kind: Kind, op: Operator) -> bool {
    let equality =
        matches!(op, Operator::Eq | Operator::NotEq | Operator::IsDistinctFrom | Operator::IsNotDistinctFrom);
    let order = matches!(op, Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq);
    match kind {
        Kind::Number | Kind::Float | Kind::Text | Kind::Date | Kind::Timestamp | Kind::TimestampNtz => {
            equality || order
        }
        Kind::Boolean | Kind::Binary => equality,
        Kind::Opaque | Kind::Foreign => false,
    }
}

fn compared(left: &str, op: Operator, right: &str) -> Option<String> {
    Some(match op {
        Operator::Eq => format!("({left} = {right})"),
        Operator::NotEq => format!("({left} <> {right})"),
        Operator::Lt => format!("({left} < {right})"),
        Operator::LtEq => format!("({left} <= {right})"),
        Operator::Gt => format!("({left} > {right})"),
        Operator::GtEq => format!("({left} >= {right})"),
        Operator::IsNotDistinctFrom => format!("({left} <=> {right})"),
        Operator::IsDistinctFrom => format!("(NOT ({left} <=> {right}))"),
        _ => return None,
    })
}

fn with_value(column: &Column, op: Operator, value: &ScalarValue) -> Option<Rendered> {
    if !compares(column.kind, op) {
        return None;
    }
    let value = literal(column, value)?;
    let sql = compared(&bytes_of(column), op, &value.bytes)?;
    if column.kind == Kind::Text && op == Operator::Eq {
        // True of at least the same rows, and what the statistics of files and partitions are for.
        return Some(Rendered::exact(format!("({} = {} AND {sql})", column.sql(), value.sql)));
    }
    if column.kind == Kind::Float && !matches!(op, Operator::Eq | Operator::NotEq) {
        // Arrow's total order has a NaN with a sign below all numbers, the warehouse has every NaN above them.
        let ordered = matches!(op, Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq);
        return ordered.then(|| Rendered { sql: format!("({sql} OR isnan({}))", column.sql()), exact: false });
    }
    Some(Rendered::exact(sql))
}

fn between_two(between: &Between, columns: &[Column]) -> Option<Rendered> {
    let column = column(&between.expr, columns)?;
    let (Expr::Literal(low, _), Expr::Literal(high, _)) = (between.low.as_ref(), between.high.as_ref()) else {
        return None;
    };
    let (low, high) = (with_value(column, Operator::GtEq, low)?, with_value(column, Operator::LtEq, high)?);
    let within = joined(Operator::And, vec![Some(low), Some(high)])?;
    match (between.negated, within.exact) {
        (false, _) => Some(within),
        (true, true) => Some(Rendered::exact(format!("(NOT {})", within.sql))),
        (true, false) => None,
    }
}

fn in_list(list: &InList, columns: &[Column]) -> Option<Rendered> {
    let column = column(&list.expr, columns)?;
    if !compares(column.kind, Operator::Eq) || list.list.is_empty() {
        return None;
    }
    let values: Option<Vec<Value>> = list
        .list
        .iter()
        .map(|item| match item {
            Expr::Literal(value, _) => literal(column, value),
            _ => None,
        })
        .collect();
    let (plain, bytes): (Vec<String>, Vec<String>) = values?.into_iter().map(|value| (value.sql, value.bytes)).unzip();
    let negated = if list.negated { "NOT " } else { "" };
    let sql = format!("({} {negated}IN ({}))", bytes_of(column), bytes.join(", "));
    if column.kind == Kind::Text && !list.negated {
        return Some(Rendered::exact(format!("({} IN ({}) AND {sql})", column.sql(), plain.join(", "))));
    }
    Some(Rendered::exact(sql))
}

fn matches_pattern(like: &Like, columns: &[Column]) -> Option<Rendered> {
    let column = column(&like.expr, columns)?;
    let Expr::Literal(pattern, _) = like.pattern.as_ref() else { return None };
    let pattern = pattern.try_as_str().flatten()?;
    // What a backslash does before an ordinary character is an error in the warehouse.
    if column.kind != Kind::Text || like.case_insensitive || like.escape_char.is_some() || pattern.contains('\\') {
        return None;
    }
    // A collation finds more, so that it is tested again here; one for which a letter is two of others counts them by `_`.
    if like.negated || pattern.contains('_') {
        return None;
    }
    Some(Rendered { sql: format!("({} LIKE {})", column.sql(), text(pattern)?), exact: false })
}

/// A value in SQL.
struct Value {
    sql: String,
    /// What is compared with `bytes_of` a column.
    bytes: String,
}

/// Returns what of a column compares as in DataFusion: a text by its bytes, for the result does not tell CHAR, which is
/// compared without the spaces at its end, and not always a collation, from STRING.
fn bytes_of(column: &Column) -> String {
    match column.kind {
        Kind::Text => format!("CAST({} AS BINARY)", column.sql()),
        _ => column.sql(),
    }
}

/// Returns a value of the column's own type in SQL; `None` for NULL, and for what SQL has no exact text of.
fn literal(column: &Column, value: &ScalarValue) -> Option<Value> {
    if column.kind == Kind::Text {
        let value = value.try_as_str().flatten()?;
        return Some(Value { sql: text(value)?, bytes: format!("X'{}'", hexadecimal(value.as_bytes())) });
    }
    let sql = plain(column, value)?;
    Some(Value { bytes: sql.clone(), sql })
}

fn plain(column: &Column, value: &ScalarValue) -> Option<String> {
    let of_its_type = match (value, column.kind) {
        // The zone of a moment is how it is shown.
        (ScalarValue::TimestampMicrosecond(_, zone), Kind::Timestamp) => zone.is_some(),
        _ => value.data_type() == column.data_type,
    };
    if !of_its_type {
        return None;
    }
    match value {
        ScalarValue::Boolean(Some(value)) => Some(if *value { "TRUE".into() } else { "FALSE".into() }),
        ScalarValue::Int8(Some(value)) => Some(value.to_string()),
        ScalarValue::Int16(Some(value)) => Some(value.to_string()),
        ScalarValue::Int32(Some(value)) => Some(value.to_string()),
        // Written without its sign, the smallest is no BIGINT.
        ScalarValue::Int64(Some(value)) => (*value != i64::MIN).then(|| value.to_string()),
        ScalarValue::Decimal128(Some(value), precision, scale) => {
            Some(format!("CAST('{}' AS DECIMAL({precision},{scale}))", decimal(*value, *scale)?))
        }
        // Zero has two signs in Arrow's order and one in SQL.
        ScalarValue::Float32(Some(value)) if value.is_finite() && *value != 0.0 => {
            Some(format!("CAST('{value:e}' AS FLOAT)"))
        }
        ScalarValue::Float64(Some(value)) if value.is_finite() && *value != 0.0 => {
            Some(format!("CAST('{value:e}' AS DOUBLE)"))
        }
        ScalarValue::Binary(Some(bytes)) => Some(format!("X'{}'", hexadecimal(bytes))),
        ScalarValue::Date32(Some(days)) => {
            let date = moment(i64::from(*days).checked_mul(86_400_000_000)?)?.date();
            Some(format!("DATE'{}'", date_text(date)))
        }
        ScalarValue::TimestampMicrosecond(Some(since_1970), Some(_)) => {
            Some(format!("TIMESTAMP'{}+00:00'", moment_text(*since_1970)?))
        }
        ScalarValue::TimestampMicrosecond(Some(since_1970), None) => {
            Some(format!("TIMESTAMP_NTZ'{}'", moment_text(*since_1970)?))
        }
        _ => None,
    }
}

fn text(value: &str) -> Option<String> {
    // Whether every parser between here and the table keeps a NUL is not known; variables are replaced also in quotes.
    let readable = !value.contains('\0') && !value.contains("${");
    readable.then(|| format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'")))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut digits, byte| {
        let _ = write!(digits, "{byte:02X}"); // to a String it cannot fail
        digits
    })
}

fn decimal(unscaled: i128, scale: i8) -> Option<String> {
    let scale = usize::try_from(scale).ok()?;
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at_checked(digits.len().checked_sub(scale)?)?;
    let sign = if unscaled < 0 { "-" } else { "" };
    let point = if scale == 0 { "" } else { "." };
    Some(format!("{sign}{whole}{point}{fraction}"))
}

/// Microseconds since 1970 as a time of the years 1 to 9999, which SQL's literals reach.
fn moment(since_1970: i64) -> Option<PrimitiveDateTime> {
    let begin = PrimitiveDateTime::new(Date::from_calendar_date(1970, Month::January, 1).ok()?, Time::MIDNIGHT);
    begin.checked_add(Duration::microseconds(since_1970)).filter(|moment| (1..=9999).contains(&moment.year()))
}

fn date_text(date: Date) -> String {
    format!("{:04}-{:02}-{:02}", date.year(), u8::from(date.month()), date.day())
}

fn moment_text(since_1970: i64) -> Option<String> {
    let moment = moment(since_1970)?;
    let (hour, minute, second, microsecond) = moment.time().as_hms_micro();
    Some(format!("{} {hour:02}:{minute:02}:{second:02}.{microsecond:06}", date_text(moment.date())))
}
