//! Secrets carry marks, and the suite looks for them in everything it logs, at every level, and in errors and panics.
//!
//! A mark that is found ends the process at once: a panic in a background task, or in one test of many, could be missed.

use std::fmt::{Debug, Write as _};
use std::io::{self, Write as _};
use std::panic;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once, PoisonError};

use log::{LevelFilter, Log, Metadata, Record};
use tracing_subscriber::fmt::MakeWriter;

/// Every secret has one of these in it: the servers' token, signatures of links, and what tests choose.
const MARKS: [&str; 8] = [
    "local-access-token",
    "local-signature-",
    "X-Amz-",
    "canary",
    "local-oauth-",
    "local-refresh-",
    "local-code-",
    "eyJhbGciOi",
];
/// Bound to every statement of [`crate::warehouse::Warehouse::results`].
pub(crate) const PARAMETER: &str = "canary parameter";
/// A value for headers of links.
pub(crate) const HEADER: &str = "canary header";

static STARTED: Once = Once::new();
static BELOW: AtomicBool = AtomicBool::new(false);
/// Secrets without a mark, which somebody else has made up.
static OTHERS: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// What the kernel has logged.
static KERNEL_LOG: Mutex<String> = Mutex::new(String::new());

/// Starts to look at logs and panics, of the kernel and of the crates below it; for the whole process, once.
pub(crate) fn watch() {
    STARTED.call_once(|| {
        let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
        tracing::subscriber::set_global_default(subscriber.with_writer(Watch).finish()).unwrap();
        // HTTP and TLS write to `log`.
        log::set_logger(&Watch).unwrap();
        log::set_max_level(LevelFilter::Trace);
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |panicked| {
            look_at(&panicked.payload_as_str());
            report(panicked);
        }));
    });
}

/// Looks at the debug text of `value`; of an error that is all of its text, causes included.
pub(crate) fn look_at<T: Debug + ?Sized>(value: &T) {
    look("a debug text", &format!("{value:?}"));
}

/// Looks for `secret` as well from now on.
pub(crate) fn look_for(secret: &str) {
    OTHERS.lock().unwrap_or_else(PoisonError::into_inner).push(secret.to_owned());
}

/// Returns the kernel's log lines about one statement.
pub(crate) fn log_of(statement_id: &str) -> Vec<String> {
    let log = KERNEL_LOG.lock().unwrap_or_else(PoisonError::into_inner);
    log.lines().filter(|line| line.contains(statement_id)).map(str::to_owned).collect()
}

/// Tells whether the kernel has logged a text so far.
pub(crate) fn was_logged(text: &str) -> bool {
    KERNEL_LOG.lock().unwrap_or_else(PoisonError::into_inner).contains(text)
}

/// Tells whether a crate below the kernel has logged anything.
pub(crate) fn seen_below_the_kernel() -> bool {
    BELOW.load(Ordering::Relaxed)
}

pub(crate) fn mark_in(text: &str) -> Option<&'static str> {
    MARKS.into_iter().find(|mark| text.contains(mark))
}

fn look(place: &str, text: &str) {
    let others = OTHERS.lock().unwrap_or_else(PoisonError::into_inner);
    let other = others.iter().map(String::as_str).find(|secret| text.contains(secret));
    if let Some(mark) = mark_in(text).or(other) {
        // Past the capture of test output, which ends with the process.
        let _ = writeln!(io::stderr(), "`{mark}` leaked into {place}: {text}");
        process::abort();
    }
}

struct Watch;

impl<'a> MakeWriter<'a> for Watch {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self
    }
}

impl io::Write for Watch {
    /// Called once per event.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8_lossy(bytes);
        look("a log line", &line);
        if line.contains(" seakernel::") {
            KERNEL_LOG.lock().unwrap_or_else(PoisonError::into_inner).push_str(&line);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log for Watch {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        BELOW.store(true, Ordering::Relaxed);
        let mut line = String::new();
        let _ = write!(line, "{} {}", record.target(), record.args());
        look("a log line", &line);
    }

    fn flush(&self) {}
}
