//! Rows as JSON, for tests to look at.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value as Json};

use crate::record::{Row, Value};
use crate::uc_type::{UcField, UcType};

pub(crate) fn row_as_json(columns: &[UcField], row: &Row<'_>) -> Map<String, Json> {
    columns
        .iter()
        .zip(row)
        .map(|(column, value)| (column.name.clone(), as_json(&column.kind, value.as_ref())))
        .collect()
}

pub(crate) fn as_json(kind: &UcType, value: Option<&Value<'_>>) -> Json {
    let Some(value) = value else { return Json::Null };
    match (kind, value) {
        (_, Value::Boolean(value)) => (*value).into(),
        (_, Value::Integer(value)) => (*value).into(),
        (_, Value::Float(value)) => float(f64::from(*value)),
        (_, Value::Double(value)) => float(*value),
        (_, Value::Text(value)) => (*value).into(),
        (_, Value::Bytes(value)) => STANDARD.encode(value).into(),
        (UcType::Array(element), Value::List(values)) => {
            values.iter().map(|value| as_json(element, value.as_ref())).collect()
        }
        (UcType::Map(key, inner), Value::Map(entries)) => {
            let pair = |(k, v): &(Value<'_>, Option<Value<'_>>)| {
                Json::Array(vec![as_json(key, Some(k)), as_json(inner, v.as_ref())])
            };
            entries.iter().map(pair).collect()
        }
        (UcType::Struct(fields), Value::Struct(row)) => row_as_json(fields, row).into(),
        // A plan pairs no others.
        _ => Json::Null,
    }
}

fn float(value: f64) -> Json {
    Number::from_f64(value).map_or_else(|| value.to_string().into(), Json::Number)
}
