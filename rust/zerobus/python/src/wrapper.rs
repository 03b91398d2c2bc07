//! The wrapper in Python: awaitables, their blocking twins, and what a fork leaves of it.

use std::mem;
use std::process;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_array::RecordBatch;
use futures_util::future::Either;
use prost::Message;
use prost_types::DescriptorProto;
use pyo3::exceptions::{PyKeyboardInterrupt, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use seakernel_zerobus::{TransmissionResult, WrapperConfiguration, ZerobusError, ZerobusWrapper, in_trace};

use crate::arrow::{Reader, Rows};
use crate::config::{self, PyWrapperConfiguration};
use crate::result::PyTransmissionResult;
use crate::{error, runtime};

#[pyclass(frozen, name = "ZerobusWrapper", module = "seakernel_zerobus")]
pub(crate) struct PyZerobusWrapper {
    config: WrapperConfiguration,
    /// Taken by attached threads only and never across a wait, so that no other thread holds it while this one forks.
    state: Mutex<State>,
}

struct State {
    pid: u32,
    /// None once a child of the process that made it finds sockets and threads of its parent.
    wrapper: Option<Arc<ZerobusWrapper>>,
    is_shut_down: bool,
}

#[pymethods]
impl PyZerobusWrapper {
    #[new]
    #[pyo3(signature = (*arguments, **options))]
    fn new(py: Python<'_>, arguments: &Bound<'_, PyTuple>, options: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let config = configuration(py, arguments, options)?;
        let wrapper = Some(open(py, &config)?);
        let state = State { pid: process::id(), wrapper, is_shut_down: false };
        Ok(Self { config, state: Mutex::new(state) })
    }

    #[pyo3(signature = (batch, descriptor=None, *, traceparent=None))]
    fn send_batch<'py>(
        &self,
        py: Python<'py>,
        batch: &Bound<'py, PyAny>,
        descriptor: Option<&[u8]>,
        traceparent: Option<&str>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let call = self.send(py, batch, descriptor, traceparent)?;
        runtime::future(py, call, |py, result| Ok(Py::new(py, outcome(py, result)?)?.into_any()))
    }

    #[pyo3(signature = (batch, descriptor=None, *, traceparent=None))]
    fn send_batch_sync(
        &self,
        py: Python<'_>,
        batch: &Bound<'_, PyAny>,
        descriptor: Option<&[u8]>,
        traceparent: Option<&str>,
    ) -> PyResult<PyTransmissionResult> {
        let call = self.send(py, batch, descriptor, traceparent)?;
        outcome(py, runtime::block_on(py, call)?)
    }

    fn flush<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let wrapper = self.wrapper(py)?;
        runtime::future(py, async move { wrapper.flush().await }, nothing)
    }

    fn flush_sync(&self, py: Python<'_>) -> PyResult<()> {
        let wrapper = self.wrapper(py)?;
        runtime::block_on(py, async move { wrapper.flush().await })?.map_err(|failure| error::from_client(py, &failure))
    }

    fn shutdown<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let wrapper = self.ending(py);
        runtime::future(py, end(wrapper), nothing)
    }

    fn shutdown_sync(&self, py: Python<'_>) -> PyResult<()> {
        let wrapper = self.ending(py);
        runtime::block_on(py, end(wrapper))?.map_err(|failure| error::from_client(py, &failure))
    }

    fn __enter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.shutdown_sync(py)
    }

    fn __aenter__<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let entered = this.clone().unbind().into_any();
        runtime::future(this.py(), async {}, move |_, ()| Ok(entered))
    }

    #[pyo3(signature = (*_exception))]
    fn __aexit__<'py>(&self, py: Python<'py>, _exception: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyAny>> {
        self.shutdown(py)
    }

    #[getter]
    fn config(&self) -> PyWrapperConfiguration {
        PyWrapperConfiguration { config: self.config.clone() }
    }

    fn __repr__(&self) -> String {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = if state.is_shut_down { ", shut down" } else { "" };
        format!("<ZerobusWrapper {} at {}{state}>", self.config.table_name, self.config.zerobus_endpoint)
    }
}

impl PyZerobusWrapper {
    /// Returns the wrapper of this process, which a child of the first one makes for itself.
    fn wrapper(&self, py: Python<'_>) -> PyResult<Arc<ZerobusWrapper>> {
        let shut_down = || error::configuration(py, "the wrapper was shut down");
        if let Some(wrapper) = self.locked().ok_or_else(shut_down)?.wrapper.clone() {
            return Ok(wrapper);
        }
        // Not under the lock: opening lets others have the GIL, and with it they may wait for the lock.
        let made = open(py, &self.config)?;
        let first = self.locked().map(|mut state| Arc::clone(state.wrapper.get_or_insert_with(|| Arc::clone(&made))));
        if first.as_ref().is_none_or(|first| !Arc::ptr_eq(first, &made)) {
            let_go(py, made);
        }
        first.ok_or_else(shut_down)
    }

    /// The state in this process; none once it was shut down.
    fn locked(&self) -> Option<MutexGuard<'_, State>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.leave_parent();
        (!state.is_shut_down).then_some(state)
    }

    /// Ends it; returns what there is to shut down in this process.
    fn ending(&self, _py: Python<'_>) -> Option<Arc<ZerobusWrapper>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_shut_down = true;
        state.leave_parent();
        state.wrapper.clone()
    }

    fn send(
        &self,
        py: Python<'_>,
        batch: &Bound<'_, PyAny>,
        descriptor: Option<&[u8]>,
        traceparent: Option<&str>,
    ) -> PyResult<impl Future<Output = Result<TransmissionResult, Failure>> + Send + use<>> {
        let wrapper = self.wrapper(py)?;
        let descriptor = descriptor.map(DescriptorProto::decode).transpose();
        let descriptor = descriptor.map_err(|failure| {
            error::configuration(py, format!("`descriptor` is no serialised `DescriptorProto`: {failure}"))
        })?;
        let rows = Rows::of(batch)?;
        // A table, and no reader, which may never end.
        let has_end = batch.hasattr("__len__")?;
        let call = async move {
            match rows {
                Rows::Batch(batch) => {
                    wrapper.send_batch_with_descriptor(batch, descriptor).await.map_err(Failure::from)
                }
                Rows::Stream(reader) => send_all(&wrapper, (reader, has_end), descriptor).await,
            }
        };
        match traceparent {
            None => Ok(Either::Left(call)),
            Some(traceparent) => {
                let call = in_trace(traceparent, call).map_err(|failure| error::from_client(py, &failure))?;
                Ok(Either::Right(call))
            }
        }
    }
}

impl State {
    /// In a forked child: forgets what is of the parent, whose threads are not here to end it.
    fn leave_parent(&mut self) {
        if self.pid != process::id() {
            mem::forget(self.wrapper.take());
            self.pid = process::id();
        }
    }
}

impl Drop for PyZerobusWrapper {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        state.leave_parent();
        let Some(wrapper) = state.wrapper.take() else { return };
        let dropped = Python::try_attach(|py| let_go(py, wrapper));
        // Without an interpreter the wrapper goes with the closure.
        let _ = dropped;
    }
}

/// Drops a wrapper. It may wait for a disk, and what it closes in the background wants a runtime.
fn let_go(py: Python<'_>, wrapper: Arc<ZerobusWrapper>) {
    let handle = runtime::current(py);
    py.detach(move || {
        let _entered = handle.as_ref().map(tokio::runtime::Handle::enter);
        drop(wrapper);
    });
}

/// Why a call has no result.
struct Failure {
    error: ZerobusError,
    /// What became of the rows before.
    sent: Option<TransmissionResult>,
    is_interrupt: bool,
}

impl From<ZerobusError> for Failure {
    fn from(error: ZerobusError) -> Self {
        Self { error, sent: None, is_interrupt: false }
    }
}

impl Failure {
    /// A reader that failed after these batches; how many rows there would have been nobody knows.
    fn broke_off(failure: &ZerobusError, parts: Vec<TransmissionResult>) -> Self {
        let sent = TransmissionResult::merged(parts);
        let text = &failure.failure().message;
        let message = format!("the stream of batches broke off after {} rows: {text}", sent.total_rows);
        let error = match failure {
            ZerobusError::ConfigurationError(_) => ZerobusError::configuration(message),
            _ => ZerobusError::conversion(message),
        };
        // A C stream carries no exception, only a text that ends with the traceback's last line.
        let is_interrupt = text.trim_end().ends_with("\nKeyboardInterrupt");
        Self { error, sent: Some(sent), is_interrupt }
    }

    fn raise(self, py: Python<'_>) -> PyErr {
        let raised = if self.is_interrupt {
            PyKeyboardInterrupt::new_err(self.error.to_string())
        } else {
            error::from_client(py, &self.error)
        };
        let Some(result) = self.sent else { return raised };
        let attached =
            Py::new(py, PyTransmissionResult { result }).and_then(|result| raised.value(py).setattr("result", result));
        attached.err().unwrap_or(raised)
    }
}

/// Sends batch by batch. The first that is refused as a whole ends it: its reason is that of the rows that were not sent.
async fn send_all(
    wrapper: &ZerobusWrapper,
    (mut reader, has_end): (Reader, bool),
    descriptor: Option<DescriptorProto>,
) -> Result<TransmissionResult, Failure> {
    let mut parts: Vec<TransmissionResult> = Vec::new();
    let (mut refusal, mut any_sent) = (None, false);
    while let Some(batch) = next(&mut reader) {
        let batch = match batch {
            Ok(batch) => batch,
            Err(failure) => return Err(Failure::broke_off(&failure, parts)),
        };
        let part = match &refusal {
            None => match wrapper.send_batch_with_descriptor(batch, descriptor.clone()).await {
                Ok(part) => part,
                Err(error) => {
                    let sent = Some(TransmissionResult::merged(parts));
                    return Err(Failure { error, sent, is_interrupt: false });
                }
            },
            Some(error) => TransmissionResult {
                error: Some(ZerobusError::clone(error)),
                total_rows: batch.num_rows(),
                ..TransmissionResult::default()
            },
        };
        any_sent |= part.error.is_none() && part.total_rows > 0;
        refusal.clone_from(&part.error);
        parts.push(part);
        if refusal.is_some() && !any_sent && !has_end {
            // Nothing would come of the other batches, and there may be no end of them to count their rows.
            break;
        }
    }
    Ok(TransmissionResult::merged(parts))
}

/// The next batch, read where waiting holds up nobody: a reader may be Python code.
fn next(reader: &mut Reader) -> Option<Result<RecordBatch, ZerobusError>> {
    tokio::task::block_in_place(|| reader.next())
}

fn open(py: Python<'_>, config: &WrapperConfiguration) -> PyResult<Arc<ZerobusWrapper>> {
    config.validate().map_err(|failure| error::from_client(py, &failure))?;
    let opened = runtime::block_on(py, ZerobusWrapper::new(config.clone()))?;
    let wrapper = Arc::new(opened.map_err(|failure| error::from_client(py, &failure))?);
    runtime::shut_down_at_exit(&wrapper);
    Ok(wrapper)
}

async fn end(wrapper: Option<Arc<ZerobusWrapper>>) -> Result<(), ZerobusError> {
    match wrapper {
        Some(wrapper) => wrapper.shutdown().await,
        None => Ok(()),
    }
}

fn outcome(py: Python<'_>, sent: Result<TransmissionResult, Failure>) -> PyResult<PyTransmissionResult> {
    match sent {
        Ok(result) => Ok(PyTransmissionResult { result }),
        Err(failure) => Err(failure.raise(py)),
    }
}

fn nothing(py: Python<'_>, ended: Result<(), ZerobusError>) -> PyResult<Py<PyAny>> {
    ended.map(|()| py.None()).map_err(|failure| error::from_client(py, &failure))
}

/// The options from a `WrapperConfiguration`, or from its own arguments.
fn configuration(
    py: Python<'_>,
    arguments: &Bound<'_, PyTuple>,
    options: Option<&Bound<'_, PyDict>>,
) -> PyResult<WrapperConfiguration> {
    let options = options.map_or_else(|| Ok(PyDict::new(py)), PyDictMethods::copy)?;
    let take = |name: &str| -> PyResult<Option<Bound<'_, PyAny>>> {
        let taken = options.get_item(name)?;
        if taken.is_some() {
            options.del_item(name)?;
        }
        Ok(taken)
    };
    let first = arguments.get_item(0).ok();
    let given = first.clone().map_or_else(|| take("config"), |first| Ok(Some(first)))?;
    if let Some(config) = given.as_ref().and_then(|given| given.cast::<PyWrapperConfiguration>().ok()) {
        if arguments.len() > 1 || !options.is_empty() {
            return Err(PyTypeError::new_err("a `WrapperConfiguration` has all options; give no others beside it"));
        }
        return Ok(config.get().config.clone());
    }
    if let Some(given) = given.as_ref().filter(|_| first.is_none()) {
        return Err(error::wrong_type("config", given, "WrapperConfiguration"));
    }
    if arguments.len() > 2 {
        return Err(PyTypeError::new_err("all options but `endpoint` and `table_name` are keywords"));
    }
    let endpoint = given.map_or_else(|| take("endpoint"), |given| Ok(Some(given)))?;
    let table_name = arguments.get_item(1).ok().map_or_else(|| take("table_name"), |given| Ok(Some(given)))?;
    let (Some(endpoint), Some(table_name)) = (endpoint, table_name) else {
        let message = "a `WrapperConfiguration` is needed, or `endpoint`, `table_name` and the other options of one";
        return Err(PyTypeError::new_err(message));
    };
    let (endpoint, table_name) = (config::text("endpoint", &endpoint)?, config::text("table_name", &table_name)?);
    config::read(py, &endpoint, &table_name, Some(&options))
}
