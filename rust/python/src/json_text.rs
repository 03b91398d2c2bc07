//! Python's lists and dicts as JSON text that `from_json` reads back as the nested type that was named, exactly.

use arrow_schema::DataType;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDate, PyDateTime, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use crate::error;
use crate::params::{double_text, inferred, refused};

/// Deepest nesting of a value.
const MAX_NESTING: usize = 64;

/// Returns the JSON text of a list, tuple or dict that is to be of the nested `sql_type`.
pub(crate) fn nested(value: &Bound<'_, PyAny>, sql_type: &str, which: &str) -> PyResult<String> {
    let py = value.py();
    let data_type = seakernel::nested_type(sql_type).ok_or_else(|| {
        let given = value.get_type().name().map_or_else(|_| "container".to_owned(), |name| name.to_string());
        error::invalid_argument(
            py,
            &format!("parameter {which} is a `{given}`, and `{sql_type}` is no ARRAY, MAP or STRUCT"),
        )
    })?;
    let mut text = String::new();
    write_json(value, &data_type, which, 0, &mut text)?;
    Ok(text)
}

/// Writes `value` as `from_json` reads it back exactly; what it would read as something else, or as NULL, is refused.
fn write_json(
    value: &Bound<'_, PyAny>,
    data_type: &DataType,
    which: &str,
    depth: usize,
    text: &mut String,
) -> PyResult<()> {
    let py = value.py();
    let wrong = || {
        let given = value.get_type().name().map_or_else(|_| "value".to_owned(), |name| name.to_string());
        refused(py, which, &format!("holds a `{given}` that is no exact {data_type}, as its type says"))
    };
    if depth > MAX_NESTING {
        return Err(refused(py, which, "is nested too deeply"));
    }
    let within = |least: i64, most: i64| -> PyResult<String> {
        let is_whole = value.is_instance_of::<PyInt>() && !value.is_instance_of::<PyBool>();
        let number = if is_whole { value.extract::<i64>().ok() } else { None };
        number.filter(|number| (least..=most).contains(number)).map(|number| number.to_string()).ok_or_else(wrong)
    };
    let quoted = |plain: &str| serde_json::Value::from(plain).to_string();
    if value.is_none() {
        text.push_str("null");
        return Ok(());
    }
    match data_type {
        DataType::Boolean => {
            let truth = value.cast::<PyBool>().map_err(|_| wrong())?.is_true();
            text.push_str(if truth { "true" } else { "false" });
        }
        DataType::Int8 => text.push_str(&within(i8::MIN.into(), i8::MAX.into())?),
        DataType::Int16 => text.push_str(&within(i16::MIN.into(), i16::MAX.into())?),
        DataType::Int32 => text.push_str(&within(i32::MIN.into(), i32::MAX.into())?),
        DataType::Int64 => text.push_str(&within(i64::MIN, i64::MAX)?),
        DataType::Float32 | DataType::Float64 => {
            let number = value.cast::<PyFloat>().map_err(|_| wrong())?.value();
            let most = if *data_type == DataType::Float32 { f64::from(f32::MAX) } else { f64::MAX };
            if !number.is_finite() || number.abs() > most {
                return Err(wrong());
            }
            text.push_str(&double_text(number));
        }
        DataType::Decimal128(precision, scale) => {
            let typed = inferred(value, which)?;
            let (digits, fraction) =
                match typed.sql_type.strip_prefix("DECIMAL(").and_then(|rest| rest.strip_suffix(')')) {
                    Some(arguments) => {
                        let (digits, fraction) = arguments.split_once(',').ok_or_else(wrong)?;
                        (digits.parse::<i16>().map_err(|_| wrong())?, fraction.parse::<i16>().map_err(|_| wrong())?)
                    }
                    None if ["INT", "BIGINT"].contains(&typed.sql_type.as_str()) => {
                        let digits = typed.text.as_deref().unwrap_or_default().trim_start_matches('-').len();
                        (i16::try_from(digits).map_err(|_| wrong())?, 0)
                    }
                    None => return Err(wrong()),
                };
            let (precision, scale) = (i16::from(*precision), i16::from(*scale));
            if fraction > scale || digits - fraction > precision - scale {
                return Err(wrong());
            }
            text.push_str(typed.text.as_deref().unwrap_or("null"));
        }
        DataType::Utf8 => {
            let plain = value.cast::<PyString>().map_err(|_| wrong())?;
            text.push_str(&quoted(plain.to_str().map_err(|_| wrong())?));
        }
        DataType::Date32 if value.is_instance_of::<PyDate>() && !value.is_instance_of::<PyDateTime>() => {
            text.push_str(&quoted(&value.call_method0("isoformat")?.extract::<String>()?));
        }
        DataType::List(item) if value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>() => {
            text.push('[');
            for (index, value) in value.try_iter()?.enumerate() {
                text.push_str(if index > 0 { "," } else { "" });
                write_json(&value?, item.data_type(), which, depth + 1, text)?;
            }
            text.push(']');
        }
        DataType::Struct(fields) => {
            let entries = value.cast::<PyDict>().map_err(|_| wrong())?;
            text.push('{');
            for (index, (key, value)) in entries.iter().enumerate() {
                let key = key.extract::<String>().map_err(|_| wrong())?;
                let (_, field) =
                    fields.find(&key).ok_or_else(|| refused(py, which, "holds a key that its STRUCT has not"))?;
                text.extend([if index > 0 { "," } else { "" }, &quoted(&key), ":"]);
                write_json(&value, field.data_type(), which, depth + 1, text)?;
            }
            text.push('}');
        }
        DataType::Map(entries, _) => {
            let DataType::Struct(fields) = entries.data_type() else { return Err(wrong()) };
            let [key_field, value_field] = fields.as_ref() else { return Err(wrong()) };
            if key_field.data_type() != &DataType::Utf8 {
                return Err(refused(py, which, "is a MAP whose keys are no STRING, which JSON cannot say"));
            }
            text.push('{');
            for (index, (key, value)) in value.cast::<PyDict>().map_err(|_| wrong())?.iter().enumerate() {
                let key = key.extract::<String>().map_err(|_| wrong())?;
                text.extend([if index > 0 { "," } else { "" }, &quoted(&key), ":"]);
                write_json(&value, value_field.data_type(), which, depth + 1, text)?;
            }
            text.push('}');
        }
        _ => return Err(wrong()),
    }
    Ok(())
}
