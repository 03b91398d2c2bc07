//! Python values to typed statement parameters.

use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyByteArray, PyBytes, PyDate, PyDateTime, PyDelta, PyDict, PyFloat, PyInt, PyList, PyMapping, PyMemoryView,
    PySequence, PyString, PyTuple,
};
use seakernel::{Given, JsonParameter, MultiRowInsert, Parameter};

use crate::{error, json_text, visit};

/// A value with its SQL type named, where inference would choose another.
#[pyclass(frozen, name = "Parameter", module = "seakernel._seakernel")]
pub(crate) struct PyParameter {
    #[pyo3(get)]
    value: Py<PyAny>,
    #[pyo3(get)]
    sql_type: String,
}

#[pymethods]
impl PyParameter {
    #[new]
    fn new(py: Python<'_>, value: Py<PyAny>, sql_type: String) -> PyResult<Self> {
        if sql_type.trim().is_empty() {
            return Err(error::invalid_argument(py, "`sql_type` is empty; name a SQL type such as `TINYINT`"));
        }
        Ok(Self { value, sql_type })
    }

    #[staticmethod]
    fn from_text(py: Python<'_>, text: Option<&str>, sql_type: &str) -> PyResult<Self> {
        let checked =
            Parameter::positional(sql_type, text).checked().map_err(|failure| error::from_kernel(py, failure))?;
        let value = checked.value().map(|text| PyString::new(py, text));
        Ok(Self { value: value.into_pyobject(py)?.unbind(), sql_type: checked.sql_type().to_owned() })
    }

    /// Shows the type only: the value may be personal data.
    fn __repr__(&self) -> String {
        format!("Parameter(..., sql_type='{}')", self.sql_type)
    }
}

/// Returns the parameters as they are sent, with the SQL that reads those of nested types from JSON text.
pub(crate) fn bound(sql: &str, given: Option<&Bound<'_, PyAny>>) -> PyResult<(String, Vec<Parameter>)> {
    let mut parameters = parameters(given)?;
    let mut json = Vec::new();
    for (place, parameter) in parameters.iter_mut().enumerate() {
        if parameter.value().is_some() && seakernel::nested_type(parameter.sql_type()).is_some() {
            let (name, sql_type) = (parameter.name().map(str::to_owned), parameter.sql_type().to_owned());
            *parameter = match &name {
                Some(name) => Parameter::named(name, "STRING", parameter.value()),
                None => Parameter::positional("STRING", parameter.value()),
            };
            json.push(JsonParameter { place, name, sql_type });
        }
    }
    match given {
        Some(given) if !json.is_empty() => {
            let sql = seakernel::with_json_markers(sql, &json);
            Ok((sql.map_err(|failure| error::from_kernel(given.py(), failure))?, parameters))
        }
        _ => Ok((sql.to_owned(), parameters)),
    }
}

/// Returns `sql` with markers that the server knows, having checked that they agree with `parameters`.
#[pyfunction]
pub(crate) fn with_native_markers(py: Python<'_>, sql: &str, parameters: Bound<'_, PyAny>) -> PyResult<String> {
    let names = if let Ok(mapping) = parameters.cast::<PyMapping>() {
        Some(mapping.keys()?.iter().map(|name| marker_name(&name)).collect::<PyResult<Vec<_>>>()?)
    } else {
        // All of the connector's parameters have names, or it is no mapping.
        let names = sequence(&parameters)?.try_iter()?.map(|value| connector_name(&value?));
        names.collect::<PyResult<Option<Vec<_>>>>()?.filter(|names| !names.is_empty())
    };
    let given = match &names {
        Some(names) => Given::Named(names),
        None => Given::Positional(parameters.len()?),
    };
    let sql = seakernel::with_native_markers(sql, given).map_err(|failure| error::from_kernel(py, failure))?;
    Ok(sql.into_owned())
}

/// Tells whether the markers of `sql` are `:name` or `%(name)s`.
#[pyfunction]
pub(crate) fn has_named_markers(sql: &str) -> bool {
    seakernel::has_named_markers(sql)
}

type NameTypeText = (Option<String>, String, Option<String>);

/// Returns name, SQL type and text of each parameter.
#[pyfunction]
pub(crate) fn typed_parameters(parameters: Bound<'_, PyAny>) -> PyResult<Vec<NameTypeText>> {
    let parameters = self::parameters(Some(&parameters))?;
    let text = |value: Option<&str>| value.map(str::to_owned);
    Ok(parameters
        .iter()
        .map(|parameter| (text(parameter.name()), parameter.sql_type().to_owned(), text(parameter.value())))
        .collect())
}

/// An INSERT of one row that can as well insert several.
#[pyclass(frozen, name = "MultiRowInsert", module = "seakernel._seakernel")]
pub(crate) struct PyMultiRowInsert(MultiRowInsert);

#[pymethods]
impl PyMultiRowInsert {
    #[staticmethod]
    fn parse(sql: &str) -> Option<Self> {
        MultiRowInsert::parse(sql).map(Self)
    }

    #[getter]
    fn markers(&self) -> Vec<Option<String>> {
        self.0.markers().map(|name| name.map(str::to_owned)).collect()
    }

    fn statement(&self, rows: usize) -> String {
        self.0.statement(rows)
    }
}

/// A value as the server takes it: SQL type and text, `None` for NULL.
pub(crate) struct Typed {
    pub(crate) sql_type: String,
    pub(crate) text: Option<String>,
}

impl Typed {
    fn new(sql_type: impl Into<String>, text: impl Into<String>) -> Self {
        Self { sql_type: sql_type.into(), text: Some(text.into()) }
    }
}

/// Reads `parameters`: `None`, a sequence for `?` markers or a mapping for `:name` markers.
pub(crate) fn parameters(parameters: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<Parameter>> {
    let Some(parameters) = parameters else { return Ok(Vec::new()) };
    if let Ok(mapping) = parameters.cast::<PyMapping>() {
        let mut named = Vec::with_capacity(mapping.len()?);
        for item in mapping.items()?.iter() {
            let (name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
            let name = marker_name(&name)?;
            let value = typed(&value, &format!("`:{name}`"))?;
            named.push(Parameter::named(&name, &value.sql_type, value.text.as_deref()));
        }
        return Ok(named);
    }
    let sequence = sequence(parameters)?;
    let mut positional = Vec::with_capacity(sequence.len()?);
    for (index, value) in sequence.try_iter()?.enumerate() {
        let value = value?;
        let name = connector_name(&value)?;
        let value = typed(&value, &format!("number {}", index + 1))?;
        positional.push(match name {
            Some(name) => Parameter::named(&name, &value.sql_type, value.text.as_deref()),
            None => Parameter::positional(&value.sql_type, value.text.as_deref()),
        });
    }
    Ok(positional)
}

fn marker_name(name: &Bound<'_, PyAny>) -> PyResult<String> {
    match name.extract::<String>() {
        Ok(name) if !name.is_empty() && !name.starts_with(':') => Ok(name),
        _ => {
            let given = name.repr()?;
            let message = format!("parameter name {given} is not a name; write `:name` in the SQL and `name` here");
            Err(error::invalid_argument(name.py(), &message))
        }
    }
}

fn sequence<'a, 'py>(parameters: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, PySequence>> {
    let is_text = parameters.is_instance_of::<PyString>() || parameters.is_instance_of::<PyBytes>();
    match parameters.cast::<PySequence>() {
        Ok(sequence) if !is_text => Ok(sequence),
        _ => {
            let given = parameters.get_type().name()?;
            let message =
                format!("parameters are a `{given}`; expected a sequence for `?` markers or a mapping for `:name`");
            Err(error::invalid_argument(parameters.py(), &message))
        }
    }
}

/// Infers the SQL type of `value`; `which` names the parameter in messages, which never show the value.
fn typed(value: &Bound<'_, PyAny>, which: &str) -> PyResult<Typed> {
    let Ok(parameter) = value.cast::<PyParameter>() else {
        return if is_connectors(value)? { connector_parameter(value, which) } else { inferred(value, which) };
    };
    let parameter = parameter.get();
    let inner = parameter.value.bind(value.py());
    if is_container(inner) {
        return Ok(Typed {
            sql_type: parameter.sql_type.clone(),
            text: Some(json_text::nested(inner, &parameter.sql_type, which)?),
        });
    }
    let text =
        if inner.is_none() { None } else { as_named(inferred(inner, which)?, &parameter.sql_type, value, which)? };
    if text.is_some() && seakernel::nested_type(&parameter.sql_type).is_some() {
        let message = format!("parameter {which} is of type `{}` and no list, tuple or dict", parameter.sql_type);
        return Err(error::invalid_argument(value.py(), &message));
    }
    Ok(Typed { sql_type: parameter.sql_type.clone(), text })
}

/// Returns the text of a value whose type was named, unless that type would take it for something else.
fn as_named(found: Typed, sql_type: &str, value: &Bound<'_, PyAny>, which: &str) -> PyResult<Option<String>> {
    let named = sql_type.trim().to_ascii_uppercase();
    let advice = match found.sql_type.as_str() {
        "BINARY" if named != "BINARY" => "bytes are BINARY; decode them to pass text",
        "TIMESTAMP" if matches!(named.as_str(), "DATE" | "TIMESTAMP_NTZ" | "STRING") => {
            "a datetime with a zone is a TIMESTAMP; pass its date, its local time without the zone, or its text"
        }
        _ => return Ok(found.text),
    };
    let message = format!("parameter {which} does not go with the type `{sql_type}`: {advice}");
    Err(error::invalid_argument(value.py(), &message))
}

/// Tells whether `value` is one of databricks-sql-connector's parameters, such as `StringParameter`.
fn is_connectors(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    let class = value.get_type();
    // Plain values are of types without a module of their own.
    Ok(class.module()?.to_cow()?.starts_with("databricks.") && class.hasattr("CAST_EXPR")?)
}

/// Returns the marker that one of the connector's parameters names itself.
fn connector_name(value: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
    if is_connectors(value)? { value.getattr("name")?.extract() } else { Ok(None) }
}

fn connector_parameter(value: &Bound<'_, PyAny>, which: &str) -> PyResult<Typed> {
    let named = value.get_type().getattr("CAST_EXPR")?.extract::<String>()?;
    let inner = value.getattr("value")?;
    let sql_type = match named.as_str() {
        "ARRAY" | "MAP" => return Err(no_container(value, which)?),
        // The number of digits that it was given; otherwise the connector counts them in the text, where we know better.
        "DECIMAL({},{})" => match (value.getattr("scale")?.is_none(), value.getattr("precision")?.is_none()) {
            (false, false) => value.call_method0("_cast_expr")?.extract::<String>()?,
            _ => return inferred(&inner, which),
        },
        _ => named,
    };
    let text = if inner.is_none() { None } else { inferred(&inner, which)?.text };
    Ok(Typed { sql_type, text })
}

/// Returns the Python value that a scalar of `numpy` stands for, where that is exact and of the same kind.
fn numpy_scalar<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    if value.get_type().module()?.to_cow()? != "numpy" || !value.hasattr("item")? || value.hasattr("__len__")? {
        return Ok(None);
    }
    let item = value.call_method0("item")?;
    let is_date = value.get_type().name()?.to_cow()? == "datetime64";
    // Of nanoseconds and the like NumPy makes a bare number, of NaT None; its own largest floats stay what they are.
    let is_same_kind = item.is_instance_of::<PyBool>()
        || item.is_instance_of::<PyFloat>()
        || item.is_instance_of::<PyDelta>()
        || (is_date && item.is_instance_of::<PyDate>());
    Ok(is_same_kind.then_some(item))
}

fn is_container(value: &Bound<'_, PyAny>) -> bool {
    value.is_instance_of::<PyDict>() || value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>()
}

fn no_container(value: &Bound<'_, PyAny>, which: &str) -> PyResult<PyErr> {
    let given = value.get_type().name()?;
    let message = format!(
        "parameter {which} is a `{given}`: the server takes no ARRAY, MAP or STRUCT parameters; pass JSON text and write \
         `from_json(marker, 'ARRAY<INT>')` in the SQL, or name its type with `Parameter(value, 'ARRAY<INT>')`"
    );
    Ok(error::raise(value.py(), "NotSupportedError", "InvalidArgument", &message))
}

pub(crate) fn inferred(value: &Bound<'_, PyAny>, which: &str) -> PyResult<Typed> {
    let py = value.py();
    if value.is_none() {
        // VOID, not STRING: it can be cast to every type, STRING not to ARRAY or BINARY columns.
        return Ok(Typed { sql_type: "VOID".to_owned(), text: None });
    }
    if let Ok(value) = value.cast::<PyBool>() {
        return Ok(Typed::new("BOOLEAN", value.is_true().to_string()));
    }
    if let Ok(value) = value.cast::<PyString>() {
        let text = value.to_str().map_err(|_| refused(py, which, "holds a lone surrogate, which is not text"))?;
        return Ok(Typed::new("STRING", text));
    }
    if value.is_instance_of::<PyInt>() {
        return integer(value, which);
    }
    if let Ok(value) = value.cast::<PyFloat>() {
        return Ok(Typed::new("DOUBLE", double_text(value.value())));
    }
    if value.is_instance_of::<PyDateTime>() {
        return timestamp(value, which);
    }
    if value.is_instance_of::<PyDate>() {
        return Ok(Typed::new("DATE", value.call_method0("isoformat")?.extract::<String>()?));
    }
    if value.is_instance_of::<PyDelta>() {
        return interval(value, which);
    }
    let is_bytes = value.is_instance_of::<PyBytes>() || value.is_instance_of::<PyByteArray>();
    if is_bytes || value.is_instance_of::<PyMemoryView>() {
        return Ok(Typed::new("BINARY", value.call_method0("hex")?.extract::<String>()?.to_uppercase()));
    }
    if value.is_instance(&visit::import(py, "decimal")?.getattr("Decimal")?)? {
        return decimal(value, which);
    }
    let is_date = ["datetime64", "timedelta64"].contains(&&*value.get_type().name()?.to_cow()?);
    if let Some(scalar) = numpy_scalar(value)? {
        return inferred(&scalar, which);
    }
    // NumPy integers are no `int` but convert to one exactly. Its times are such integers too, and would lose their unit.
    if !is_date && let Ok(value) = py.import("operator")?.call_method1("index", (value,)) {
        return integer(&value, which);
    }
    if value.get_type().fully_qualified_name()?.to_cow()? == "uuid.UUID" {
        return Ok(Typed::new("STRING", value.str()?.to_cow()?));
    }
    if value.is_instance_of::<PyDict>() || value.cast::<PySequence>().is_ok() {
        return Err(no_container(value, which)?);
    }
    let given = value.get_type().name()?;
    let message = format!(
        "parameter {which} is a `{given}`: convert it to a str, number, Decimal, date, datetime, timedelta or bytes, or name \
         its type with `Parameter(text, sql_type)`"
    );
    Err(error::raise(py, "NotSupportedError", "InvalidArgument", &message))
}

fn integer(value: &Bound<'_, PyAny>, which: &str) -> PyResult<Typed> {
    // `__int__`, for subclasses such as enumerations print something else.
    let value = value.py().get_type::<PyInt>().call1((value,))?;
    if let Ok(number) = value.extract::<i64>() {
        let sql_type = if i32::try_from(number).is_ok() { "INT" } else { "BIGINT" };
        return Ok(Typed::new(sql_type, number.to_string()));
    }
    let too_long = || refused(value.py(), which, "has more than 38 digits, the longest DECIMAL");
    let text = value.str().map_err(|_| too_long())?.to_string();
    let digits = text.trim_start_matches('-').len();
    if digits > 38 {
        return Err(too_long());
    }
    Ok(Typed::new(format!("DECIMAL({digits},0)"), text))
}

pub(crate) fn double_text(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "Infinity".to_owned() } else { "-Infinity".to_owned() }
    } else {
        // Shortest text that reads back as the same number, with an exponent where it is long.
        format!("{value:?}")
    }
}

/// Precision and scale as the platform's drivers choose them: enough digits for the value, and never fewer than its scale.
fn decimal(value: &Bound<'_, PyAny>, which: &str) -> PyResult<Typed> {
    let py = value.py();
    if !value.call_method0("is_finite")?.extract::<bool>()? {
        return Err(refused(py, which, "is not a finite number; DECIMAL has no NaN and no infinity"));
    }
    let (_sign, digits, exponent): (u8, Bound<'_, PyTuple>, i64) = value.call_method0("as_tuple")?.extract()?;
    let scale = exponent.saturating_neg().max(0);
    let precision = i64::try_from(digits.len()).unwrap_or(i64::MAX).saturating_add(exponent.max(0)).max(scale);
    if precision > 38 {
        return Err(refused(py, which, "has more than 38 digits, the longest DECIMAL"));
    }
    let plain = value.call_method1("__format__", ("f",))?.extract::<String>()?;
    Ok(Typed::new(format!("DECIMAL({precision},{scale})"), plain))
}

/// Naive values have no zone and go out as `TIMESTAMP_NTZ`, which SQL casts to TIMESTAMP in the session's zone where one
/// is wanted; aware values are instants and go out in UTC.
fn timestamp(value: &Bound<'_, PyAny>, which: &str) -> PyResult<Typed> {
    let py = value.py();
    if value.getattr("nanosecond").is_ok_and(|nanosecond| !nanosecond.eq(0).unwrap_or(false)) {
        return Err(refused(py, which, "has nanoseconds, which TIMESTAMP cannot hold; round it first"));
    }
    if value.call_method0("utcoffset")?.is_none() {
        return Ok(Typed::new("TIMESTAMP_NTZ", value.call_method1("isoformat", (" ",))?.extract::<String>()?));
    }
    let utc = py.import("datetime")?.getattr("timezone")?.getattr("utc")?;
    let instant = value
        .call_method1("astimezone", (utc,))
        .map_err(|_| refused(py, which, "is outside years 1 to 9999 when expressed in UTC"))?;
    Ok(Typed::new("TIMESTAMP", instant.call_method1("isoformat", (" ",))?.extract::<String>()?))
}

fn interval(value: &Bound<'_, PyAny>, which: &str) -> PyResult<Typed> {
    const DAY: i128 = 86_400_000_000;
    let field = |name: &str| -> PyResult<i128> { value.getattr(name)?.extract() };
    let micros = field("days")? * DAY + field("seconds")? * 1_000_000 + field("microseconds")?;
    if i64::try_from(micros).is_err() {
        return Err(refused(value.py(), which, "is longer than INTERVAL DAY TO SECOND can hold"));
    }
    let sign = if micros < 0 { "-" } else { "" };
    let (days, rest) = (micros.abs() / DAY, micros.abs() % DAY);
    let (seconds, fraction) = (rest / 1_000_000, rest % 1_000_000);
    let text = format!("{sign}{days} {:02}:{:02}:{:02}.{fraction:06}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    Ok(Typed::new("INTERVAL DAY TO SECOND", text))
}

pub(crate) fn refused(py: Python<'_>, which: &str, why: &str) -> PyErr {
    error::raise(py, "DataError", "InvalidArgument", &format!("parameter {which} {why}"))
}
