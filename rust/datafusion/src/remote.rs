//! The way to the warehouse: through the Python objects of `seakernel`, so that sign-in, retries and what a fork leaves
//! behind stay in one place.

use std::fmt;
use std::sync::Arc;
use std::thread;

use arrow_schema::{Field, Schema, SchemaRef};
use datafusion_common::DataFusionError;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::capsule;
use crate::column::Column;

/// A `seakernel.Session`, shared by all that was made from it.
pub(crate) struct Remote {
    session: Option<Py<PyAny>>,
}

impl Remote {
    pub(crate) fn new(session: Py<PyAny>) -> Arc<Self> {
        Arc::new(Self { session: Some(session) })
    }

    pub(crate) fn session<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyAny>> {
        let session = self.session.as_ref().map(|session| session.bind(py));
        session.ok_or_else(|| PyValueError::new_err("the session was let go"))
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            let_go(session);
        }
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remote")
    }
}

/// Releases a Python object from wherever this is called: in a thread of its own, for this one may hold locks that a
/// thread with the GIL waits for.
fn let_go(object: Py<PyAny>) {
    // Where there is no thread for it, PyO3 releases it at its next occasion.
    let _ = thread::Builder::new().name("seakernel-release".into()).spawn(move || {
        Python::try_attach(move |_| drop(object));
    });
}

/// Runs `call` with the interpreter in a thread of its own and returns its answer as a future.
pub(crate) async fn in_thread<T: Send + 'static>(
    call: impl FnOnce(Python<'_>) -> PyResult<T> + Send + 'static,
) -> Result<T, DataFusionError> {
    let (sender, receiver) = async_channel::bounded(1);
    let spawned = thread::Builder::new().name("seakernel-describe".into()).spawn(move || {
        let answer = Python::try_attach(|py| call(py).map_err(|raised| failure(py, &raised)));
        // Nobody waits any more: the plan was given up.
        let _ = sender.send_blocking(answer.unwrap_or_else(|| Err(exiting())));
    });
    spawned.map_err(|cause| external(format!("no thread could be started: {cause}")))?;
    receiver.recv().await.map_err(|_| external("a call of seakernel ended without an answer".into()))?.map_err(external)
}

/// What a statement reads from: the text after FROM, and values for the markers in it.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) remote: Arc<Remote>,
    pub(crate) from: String,
    pub(crate) parameters: Option<Parameters>,
}

pub(crate) struct Parameters(Option<Py<PyAny>>);

impl Parameters {
    pub(crate) fn new(parameters: Py<PyAny>) -> Self {
        Self(Some(parameters))
    }
}

impl Drop for Parameters {
    fn drop(&mut self) {
        if let Some(parameters) = self.0.take() {
            let_go(parameters);
        }
    }
}

impl fmt::Debug for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Parameters(...)")
    }
}

impl Source {
    /// Returns the prepared `seakernel.Statement` of `sql`; nothing is sent yet.
    pub(crate) fn statement<'py>(&self, py: Python<'py>, sql: &str) -> PyResult<Bound<'py, PyAny>> {
        let parameters = self.parameters.as_ref().and_then(|parameters| parameters.0.as_ref());
        self.remote.session(py)?.call_method1("statement", (sql, parameters.map(|values| values.bind(py))))
    }

    /// Asks the warehouse for the columns, as results have them.
    pub(crate) fn describe(&self, py: Python<'_>) -> PyResult<(SchemaRef, Vec<Column>)> {
        let result = self.statement(py, &format!("SELECT * FROM {} LIMIT 0", self.from))?.call_method0("execute")?;
        let described = read_columns(&result);
        result.call_method0("close")?;
        described
    }
}

fn read_columns(result: &Bound<'_, PyAny>) -> PyResult<(SchemaRef, Vec<Column>)> {
    let imported = capsule::import_schema(result)?;
    // What else the fields say may differ from result to result.
    let fields: Vec<Field> =
        imported.fields().iter().map(|field| Field::new(field.name(), field.data_type().clone(), true)).collect();
    let mut columns: Vec<Column> = Vec::with_capacity(fields.len());
    for (field, described) in fields.iter().zip(result.getattr("columns")?.try_iter()?) {
        let type_text: String = described?.getattr("type_text")?.extract()?;
        if columns.iter().any(|column| column.name.to_lowercase() == field.name().to_lowercase()) {
            let message = format!("two columns are named `{}`: give each a name of its own in the SQL", field.name());
            return Err(PyValueError::new_err(message));
        }
        columns.push(Column::new(field.name(), &type_text, field.data_type()));
    }
    if columns.len() != fields.len() {
        return Err(PyValueError::new_err("the result describes another number of columns than it has"));
    }
    Ok((Arc::new(Schema::new(fields)), columns))
}

/// The text of a Python exception; DataFusion carries nothing else.
pub(crate) fn failure(py: Python<'_>, raised: &PyErr) -> String {
    let name = raised.get_type(py).name().map_or_else(|_| "Error".to_owned(), |name| name.to_string());
    format!("{name}: {}", raised.value(py))
}

pub(crate) fn exiting() -> String {
    "the interpreter is exiting".to_owned()
}

pub(crate) fn external(message: String) -> DataFusionError {
    DataFusionError::External(message.into())
}
