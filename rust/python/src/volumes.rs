//! Transfers of files of volumes: from and to bytes, files on disk and Python's file objects.

use std::fs::File;
use std::future::Future;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyString};
use seakernel::{DownloadSink, UploadSource, VolumeAction, VolumeOperation, VolumeProgress};
use tokio::sync::watch;
use tokio::time;

use crate::error;
use crate::runtime::{Home, Owned};

/// How often a callback is told how far a transfer is.
const REPORT_INTERVAL: Duration = Duration::from_millis(100);

/// A transfer of a file that a statement has asked for. It is done once.
#[pyclass(frozen, name = "VolumeOperation", module = "seakernel._seakernel")]
pub(crate) struct PyVolumeOperation {
    home: Home,
    action: VolumeAction,
    local_file: Option<String>,
    statement_id: String,
    /// Taken by the transfer.
    operation: Mutex<Option<Owned<VolumeOperation>>>,
    cancelled: watch::Sender<bool>,
}

impl PyVolumeOperation {
    pub(crate) fn new(home: &Home, operation: VolumeOperation) -> Self {
        Self {
            home: home.clone(),
            action: operation.action(),
            local_file: operation.local_file().map(str::to_owned),
            statement_id: operation.statement_id().to_owned(),
            operation: Mutex::new(Some(Owned::new(home, operation))),
            cancelled: watch::Sender::new(false),
        }
    }

    fn take(&self, py: Python<'_>) -> PyResult<VolumeOperation> {
        self.home.check(py)?;
        let operation = self.operation.lock().unwrap_or_else(PoisonError::into_inner).take();
        operation
            .and_then(Owned::into_inner)
            .ok_or_else(|| error::raise(py, "InterfaceError", "Closed", "the file was transferred before"))
    }

    /// Waits for a transfer, and tells `report` how far it is. What the callback raises ends it.
    fn run<T: Send>(
        &self,
        py: Python<'_>,
        progress: &VolumeProgress,
        report: Option<&Py<PyAny>>,
        transfer: impl Future<Output = seakernel::Result<T>> + Send,
    ) -> PyResult<seakernel::Result<T>> {
        let tell = || match report {
            Some(report) => Python::try_attach(|py| report.call1(py, (progress.done(), progress.total())).map(drop)),
            None => None,
        };
        let mut cancelled = self.cancelled.subscribe();
        let outcome: PyResult<Option<_>> = self.home.block_on(py, async {
            tokio::pin!(transfer);
            loop {
                tokio::select! {
                    biased;
                    _ = cancelled.wait_for(|cancelled| *cancelled) => return Ok(None),
                    outcome = &mut transfer => {
                        if outcome.is_ok() {
                            tell().transpose()?;
                        }
                        return Ok(Some(outcome));
                    }
                    () = time::sleep(REPORT_INTERVAL), if report.is_some() => drop(tell().transpose()?),
                }
            }
        })?;
        outcome?.ok_or_else(|| {
            let message = format!("the transfer of statement {} was cancelled", self.statement_id);
            error::raise(py, "OperationalError", "Cancelled", &message)
        })
    }

    fn upload(
        &self,
        py: Python<'_>,
        source: &mut dyn UploadSource,
        length: u64,
        report: Option<&Py<PyAny>>,
    ) -> PyResult<seakernel::Result<u64>> {
        let mut operation = self.take(py)?;
        let progress = operation.progress();
        self.run(py, &progress, report, async move { operation.put(source, length).await })
    }

    fn download(
        &self,
        py: Python<'_>,
        sink: &mut dyn DownloadSink,
        report: Option<&Py<PyAny>>,
    ) -> PyResult<seakernel::Result<u64>> {
        let mut operation = self.take(py)?;
        let progress = operation.progress();
        self.run(py, &progress, report, async move { operation.get(sink).await })
    }
}

#[pymethods]
impl PyVolumeOperation {
    #[getter]
    fn operation(&self) -> &'static str {
        self.action.name()
    }

    #[getter]
    fn local_file(&self) -> Option<&str> {
        self.local_file.as_deref()
    }

    #[getter]
    fn statement_id(&self) -> &str {
        &self.statement_id
    }

    #[pyo3(signature = (source, progress=None))]
    fn put(&self, py: Python<'_>, source: Bound<'_, PyAny>, progress: Option<Py<PyAny>>) -> PyResult<u64> {
        let report = progress.as_ref();
        let outcome = if source.is_instance_of::<PyBytes>() {
            let bytes: PyBackedBytes = source.extract()?;
            let length = bytes.len() as u64;
            self.upload(py, &mut Cursor::new(bytes), length, report)?
        } else if source.is_instance_of::<PyString>() {
            let mut file = File::open(source.extract::<PathBuf>()?)?;
            let about = file.metadata()?;
            if !about.is_file() {
                return Err(error::invalid_argument(py, "the path to upload from is not that of a file"));
            }
            self.upload(py, &mut file, about.len(), report)?
        } else {
            let start: u64 = source.call_method0("tell")?.extract()?;
            let end: u64 = source.call_method1("seek", (0, 2))?.extract()?;
            source.call_method1("seek", (start,))?;
            let mut file = PythonFile::new(source.unbind());
            let failure = Arc::clone(&file.failure);
            let outcome = self.upload(py, &mut file, end.saturating_sub(start), report)?;
            raised(&failure)?;
            outcome
        };
        outcome.map_err(|failure| error::from_kernel(py, failure))
    }

    #[pyo3(signature = (sink=None, progress=None))]
    fn get<'py>(
        &self,
        py: Python<'py>,
        sink: Option<Bound<'py, PyAny>>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let report = progress.as_ref();
        let from_kernel = |failure| error::from_kernel(py, failure);
        let Some(sink) = sink else {
            let mut bytes = Vec::new();
            self.download(py, &mut bytes, report)?.map_err(from_kernel)?;
            return Ok(PyBytes::new(py, &bytes).into_any());
        };
        let length = if sink.is_instance_of::<PyString>() {
            let mut file = File::create_new(sink.extract::<PathBuf>()?)?;
            let length = self.download(py, &mut file, report)?.map_err(from_kernel)?;
            py.detach(|| file.sync_all())?;
            length
        } else {
            let mut file = PythonFile::new(sink.unbind());
            let failure = Arc::clone(&file.failure);
            let outcome = self.download(py, &mut file, report)?;
            raised(&failure)?;
            outcome.map_err(from_kernel)?
        };
        Ok(length.into_pyobject(py)?.into_any())
    }

    fn remove(&self, py: Python<'_>) -> PyResult<()> {
        let mut operation = self.take(py)?;
        let progress = operation.progress();
        let removed = self.run(py, &progress, None, async move { operation.remove().await })?;
        removed.map_err(|failure| error::from_kernel(py, failure))
    }

    fn cancel(&self) {
        self.cancelled.send_replace(true);
    }

    fn __repr__(&self) -> String {
        format!("VolumeOperation(operation='{}', statement_id='{}')", self.action.name(), self.statement_id)
    }
}

/// A file object of Python's. It is called on the thread that waits for the transfer, so that Ctrl-C reaches it as ever.
struct PythonFile {
    file: Py<PyAny>,
    /// Where to start again a download.
    start: Option<u64>,
    /// What a call has raised, to be raised again in place of the transfer's own failure.
    failure: Arc<Mutex<Option<PyErr>>>,
}

impl PythonFile {
    fn new(file: Py<PyAny>) -> Self {
        Self { file, start: None, failure: Arc::default() }
    }

    fn call<T>(&self, call: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<T>) -> io::Result<T> {
        match Python::try_attach(|py| call(self.file.bind(py))) {
            Some(Ok(value)) => Ok(value),
            Some(Err(raised)) => {
                *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(raised);
                Err(io::Error::other("the file object raised an exception"))
            }
            None => Err(io::Error::other("the interpreter is exiting")),
        }
    }
}

/// Raises what a file object has raised.
fn raised(failure: &Mutex<Option<PyErr>>) -> PyResult<()> {
    failure.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
}

impl Read for PythonFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.call(|file| {
            let read = file.call_method1("read", (buffer.len(),))?;
            let bytes: PyBackedBytes = read.extract().map_err(|_| {
                error::invalid_argument(
                    file.py(),
                    "`read` of the file object did not return bytes; open it with mode `rb`",
                )
            })?;
            let Some(room) = buffer.get_mut(..bytes.len()) else {
                return Err(error::invalid_argument(
                    file.py(),
                    "`read` of the file object returned more than was asked for",
                ));
            };
            room.copy_from_slice(&bytes);
            Ok(bytes.len())
        })
    }
}

impl Seek for PythonFile {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        let (offset, whence) = match position {
            SeekFrom::Start(offset) => (i64::try_from(offset).map_err(io::Error::other)?, 0),
            SeekFrom::Current(offset) => (offset, 1),
            SeekFrom::End(offset) => (offset, 2),
        };
        self.call(|file| file.call_method1("seek", (offset, whence))?.extract())
    }
}

impl Write for PythonFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.start.is_none() {
            // A pipe has no position, and cannot start again.
            self.start = Python::try_attach(|py| self.file.bind(py).call_method0("tell")?.extract())
                .and_then(Result::ok)
                .or(Some(u64::MAX));
        }
        self.call(|file| {
            let written = file.call_method1("write", (PyBytes::new(file.py(), bytes),))?;
            // Some file-like objects return nothing.
            Ok(written.extract::<usize>().map_or(bytes.len(), |count| count.min(bytes.len())))
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl DownloadSink for PythonFile {
    fn restart(&mut self) -> io::Result<()> {
        let start = self.start.filter(|start| *start != u64::MAX);
        let start = start.ok_or_else(|| io::Error::other("the file object cannot be rewound"))?;
        self.call(|file| {
            file.call_method1("seek", (start,))?;
            file.call_method1("truncate", (start,)).map(drop)
        })
    }
}
