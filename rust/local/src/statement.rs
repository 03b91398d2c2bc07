//! One statement's life, and the statements the server knows.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::engine::SqlError;
use crate::result::{Disposition, StatementResult};

/// Where a statement stands.
#[derive(Clone, Debug)]
pub(crate) enum Progress {
    Pending,
    Running,
    Succeeded(Arc<StatementResult>),
    Failed(Arc<SqlError>),
    Canceled,
}

impl Progress {
    pub(crate) fn is_terminal(&self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }
}

/// A statement from submission to close.
#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) id: String,
    pub(crate) session_id: Option<String>,
    pub(crate) sql: String,
    pub(crate) disposition: Disposition,
    /// Tells the encoder to stop.
    pub(crate) cancelled: AtomicBool,
    progress: watch::Sender<Progress>,
    /// Answers that still say `PENDING` and `RUNNING`, whatever the truth is.
    scripted: Mutex<(u32, u32)>,
}

impl Statement {
    pub(crate) fn new(
        id: String,
        session_id: Option<String>,
        sql: String,
        disposition: Disposition,
        scripted: (u32, u32),
    ) -> Self {
        let progress = watch::Sender::new(Progress::Pending);
        Self {
            id,
            session_id,
            sql,
            disposition,
            cancelled: AtomicBool::new(false),
            progress,
            scripted: Mutex::new(scripted),
        }
    }

    pub(crate) fn progress(&self) -> Progress {
        self.progress.borrow().clone()
    }

    /// What the next answer says: the script first, then the truth.
    pub(crate) fn tell(&self) -> Progress {
        let mut scripted = self.scripted();
        match &mut *scripted {
            (pending @ 1.., _) => {
                *pending -= 1;
                Progress::Pending
            }
            (0, running @ 1..) => {
                *running -= 1;
                Progress::Running
            }
            (0, 0) => self.progress(),
        }
    }

    /// Moves from pending to running; false when it was cancelled while it waited.
    pub(crate) fn start(&self) -> bool {
        self.advance(Progress::Running)
    }

    /// Ends the statement, unless it has ended before; true if this was the end.
    pub(crate) fn finish(&self, outcome: Result<Arc<StatementResult>, SqlError>) -> bool {
        self.advance(match outcome {
            Ok(result) => Progress::Succeeded(result),
            Err(error) => Progress::Failed(Arc::new(error)),
        })
    }

    /// Cancels the statement; true if it was still under way.
    pub(crate) fn cancel(&self) -> bool {
        self.cancelled.store(true, Ordering::Relaxed);
        let was_live = self.advance(Progress::Canceled);
        if was_live {
            *self.scripted() = (0, 0);
        }
        was_live
    }

    /// Waits until the statement is cancelled; for ever when it ends otherwise.
    pub(crate) async fn canceled(&self) {
        let mut progress = self.progress.subscribe();
        // The sender lives in `self`, so an error cannot be.
        drop(progress.wait_for(|progress| matches!(progress, Progress::Canceled)).await);
    }

    /// Waits for the end, at most this long; a scripted statement is not waited for.
    pub(crate) async fn wait(&self, limit: Duration) {
        if *self.scripted() != (0, 0) {
            return;
        }
        let mut progress = self.progress.subscribe();
        let ended = progress.wait_for(Progress::is_terminal);
        // Both a timeout and an end are fine here: the caller looks at the progress.
        drop(tokio::time::timeout(limit, ended).await);
    }

    fn advance(&self, next: Progress) -> bool {
        self.progress.send_if_modified(|progress| {
            let live = !progress.is_terminal();
            if live {
                *progress = next;
            }
            live
        })
    }

    fn scripted(&self) -> MutexGuard<'_, (u32, u32)> {
        self.scripted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many finished statements are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retention {
    pub(crate) statements: usize,
    pub(crate) bytes: u64,
}

/// All statements that were not closed.
#[derive(Debug)]
pub(crate) struct Statements {
    retention: Retention,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    by_id: HashMap<String, Arc<Statement>>,
    /// Ids and bytes of the finished ones, oldest first.
    finished: VecDeque<(String, u64)>,
    finished_bytes: u64,
}

impl Statements {
    pub(crate) fn new(retention: Retention) -> Self {
        Self { retention, kept: Mutex::default() }
    }

    pub(crate) fn insert(&self, statement: Arc<Statement>) {
        self.lock().by_id.insert(statement.id.clone(), statement);
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<Statement>> {
        self.lock().by_id.get(id).cloned()
    }

    pub(crate) fn remove(&self, id: &str) -> Option<Arc<Statement>> {
        let mut kept = self.lock();
        if let Some(place) = kept.finished.iter().position(|(finished, _)| finished == id)
            && let Some((_, bytes)) = kept.finished.remove(place)
        {
            kept.finished_bytes -= bytes;
        }
        kept.by_id.remove(id)
    }

    /// Notes that a statement has ended and forgets the oldest ones beyond the limits.
    pub(crate) fn ended(&self, id: &str) {
        let mut kept = self.lock();
        let Some(statement) = kept.by_id.get(id) else { return };
        let bytes = match statement.progress() {
            Progress::Succeeded(result) => result.stored_bytes(),
            _ => 0,
        };
        kept.finished.push_back((id.to_owned(), bytes));
        kept.finished_bytes += bytes;
        while kept.finished.len() > 1
            && (kept.finished.len() > self.retention.statements || kept.finished_bytes > self.retention.bytes)
        {
            if let Some((oldest, bytes)) = kept.finished.pop_front() {
                kept.finished_bytes -= bytes;
                kept.by_id.remove(&oldest);
            }
        }
    }

    /// The ids of a session's statements.
    pub(crate) fn of_session(&self, session_id: &str) -> Vec<String> {
        let kept = self.lock();
        let own = kept.by_id.values().filter(|statement| statement.session_id.as_deref() == Some(session_id));
        own.map(|statement| statement.id.clone()).collect()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Statement>> {
        self.lock().by_id.values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(id: &str, scripted: (u32, u32)) -> Arc<Statement> {
        Arc::new(Statement::new(id.to_owned(), Some("s".to_owned()), String::new(), Disposition::Inline, scripted))
    }

    fn failed() -> Result<Arc<StatementResult>, SqlError> {
        Err(SqlError::new("BAD_REQUEST", "no"))
    }

    #[test]
    fn an_ended_statement_stays_as_it_ended() {
        let one = statement("a", (0, 0));
        assert!(one.start() && one.finish(failed()));
        assert!(!one.cancel() && !one.finish(failed()) && !one.start());
        assert!(matches!(one.progress(), Progress::Failed(_)));
        let other = statement("b", (0, 0));
        assert!(other.cancel() && !other.start() && !other.finish(failed()));
        assert!(matches!(other.progress(), Progress::Canceled));
    }

    #[test]
    fn the_script_is_told_before_the_truth_and_a_cancel_ends_it() {
        let one = statement("a", (1, 2));
        one.finish(failed());
        let told: Vec<bool> = (0..4).map(|_| one.tell().is_terminal()).collect();
        assert_eq!(told, [false, false, false, true]);
        let other = statement("b", (5, 5));
        other.cancel();
        assert!(matches!(other.tell(), Progress::Canceled));
    }

    #[test]
    fn the_oldest_finished_statements_leave_and_live_ones_stay() {
        let statements = Statements::new(Retention { statements: 2, bytes: 10 });
        for id in ["live", "a", "b", "c"] {
            statements.insert(statement(id, (0, 0)));
        }
        for id in ["a", "b", "c"] {
            statements.get(id).unwrap().finish(failed());
            statements.ended(id);
        }
        let mut left: Vec<String> = statements.of_session("s");
        left.sort_unstable();
        assert_eq!(left, ["b", "c", "live"]);
        assert!(statements.remove("b").is_some() && statements.remove("b").is_none());
    }
}
