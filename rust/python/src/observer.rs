//! Who is told, from time to time, that a call still waits: what `seakernel.progress` shows comes from here.

use std::time::{Duration, Instant};

use pyo3::exceptions::PyException;
use pyo3::prelude::*;

use crate::results::PyStatistics;
use crate::runtime::Home;
use crate::signals;

/// Least time between two calls of an observer, and from the begin of a call to the first.
const INTERVAL: Duration = Duration::from_millis(200);

/// What an observer is told.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Event {
    /// The call still waits.
    Waiting,
    /// The call has come back; the observer was told of it before.
    Back,
    /// The call has received the last row.
    Done,
    /// The result has failed for good.
    Failed,
}

impl Event {
    fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Back => "back",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// What a result has cost so far, and how many rows it has in all, where that is known.
pub(crate) type Fetched = (PyStatistics, Option<i64>);

/// When the observer of the call under way is told next, and whether it was told of this call.
pub(crate) struct Watch {
    due: Instant,
    told: bool,
}

impl Watch {
    /// Begins with a call.
    pub(crate) fn new() -> Self {
        Self { due: Instant::now() + INTERVAL, told: false }
    }

    /// Tells `observer` when it is time, with what is known of its result.
    ///
    /// Fails with what is no failure of the observer's own, as a Ctrl-C that comes while it runs.
    pub(crate) fn look(
        &mut self,
        py: Python<'_>,
        home: &Home,
        observer: &Py<PyAny>,
        fetched: impl FnOnce() -> Option<Fetched>,
    ) -> PyResult<()> {
        if Instant::now() < self.due {
            return Ok(());
        }
        let told = tell(py, home, observer, fetched(), Event::Waiting);
        self.told = true;
        self.due = Instant::now() + INTERVAL;
        told
    }

    /// Tells `observer` that the call has ended; that it is only back, where it was told of the call before.
    pub(crate) fn end(
        &self,
        py: Python<'_>,
        home: &Home,
        observer: &Py<PyAny>,
        fetched: Option<Fetched>,
        event: Event,
    ) {
        if event == Event::Back && !self.told {
            return;
        }
        if let Err(raised) = tell(py, home, observer, fetched, event) {
            signals::interrupt_again(py, &raised);
        }
    }
}

fn tell(py: Python<'_>, home: &Home, observer: &Py<PyAny>, fetched: Option<Fetched>, event: Event) -> PyResult<()> {
    // An observer that reads the very result would wait for itself: calls from in here are refused.
    let _inside = home.enter();
    let (statistics, rows_total) = fetched.map_or((None, None), |(statistics, rows)| (Some(statistics), rows));
    match observer.call1(py, (event.name(), statistics, rows_total)) {
        Err(raised) if raised.is_instance_of::<PyException>(py) => {
            raised.write_unraisable(py, Some(observer.bind(py)));
            Ok(())
        }
        outcome => outcome.map(drop),
    }
}
