//! The current token, renewed by one call however many requests and sessions need it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::{Grant, Secret, TokenSource};
use crate::error::{Error, ErrorKind, Result};

/// Where the tokens of a session come from.
#[derive(Clone)]
pub(crate) enum Tokens {
    Fixed(Grant),
    Renewed(Arc<Renewed>),
}

/// A source and the last token it gave; sessions may share one.
pub(crate) struct Renewed {
    source: Arc<dyn TokenSource>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last: Option<Held>,
    /// The call that is under way.
    call: Option<Call>,
    /// When a renewal that nobody has to wait for may be tried again.
    not_before: Option<Instant>,
}

struct Held {
    grant: Grant,
    since: Instant,
}

/// A call of the source.
type Call = Arc<Asked>;

struct Asked {
    /// The answer, once it is there. The receivers are those who wait for it.
    answer: watch::Sender<Option<Result<Grant>>>,
    /// Its receivers are those of them for whom a user may be asked.
    users: watch::Sender<()>,
    /// Begun for nobody for whom a user may be asked.
    began_quietly: bool,
}

impl Asked {
    fn new(began_quietly: bool) -> Call {
        Arc::new(Self { answer: watch::Sender::new(None), users: watch::Sender::new(()), began_quietly })
    }
}

/// One who waits for the answer of a call, until dropped.
struct Waiting {
    call: Call,
    answer: watch::Receiver<Option<Result<Grant>>>,
    _user: Option<watch::Receiver<()>>,
}

impl Waiting {
    fn on(call: &Call, may_ask_user: bool) -> Self {
        let user = may_ask_user.then(|| call.users.subscribe());
        Self { call: Arc::clone(call), answer: call.answer.subscribe(), _user: user }
    }

    async fn answer(mut self) -> Result<Grant> {
        match self.answer.wait_for(Option::is_some).await.map(|answer| answer.clone()) {
            Ok(Some(answer)) => answer,
            _ => Err(no_answer()),
        }
    }
}

/// Why a [`TokenSource`] is asked, and who waits for its answer.
pub struct Demand {
    /// A token that the server has refused, whatever its announced life; to return it again makes the refusal final.
    pub rejected: Option<Secret>,
    call: Call,
}

impl Demand {
    /// Tells whether a user may be asked. Not so while nobody waits, for the token is good for a while yet, or where the token
    /// is for a request that only ends something: to close a session must not open a page.
    pub fn may_ask_user(&self) -> bool {
        self.call.users.receiver_count() > 0
    }

    /// Waits until nobody waits any more for whom a user may be asked.
    pub async fn abandoned(&self) {
        self.call.users.closed().await;
    }
}

impl fmt::Debug for Demand {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Demand").field("rejected", &self.rejected).finish_non_exhaustive()
    }
}

/// Longest time before the end of a token in which it is renewed in the background. Source: the platform's SDKs.
const STALE: Duration = Duration::from_secs(20 * 60);
/// Longest time before its end in which a token is not sent any more, for clocks and the way take time. Source: the same.
const EXPIRED: Duration = Duration::from_secs(40);
/// Pause after a renewal in the background failed. Source: the same.
const PAUSE: Duration = Duration::from_secs(60);

/// Returns how long before its end a token is not sent any more; the lifetime it had when it was new may be unknown.
pub(crate) fn expiry_margin(lifetime: Option<Duration>) -> Duration {
    lifetime.map_or(EXPIRED, |lifetime| EXPIRED.min(lifetime / 10))
}

#[derive(Debug, PartialEq)]
enum Age {
    Fresh,
    Stale,
    Expired,
}

impl Held {
    /// The platform's SDKs take half of a short life for stale; with a quarter, a token of seconds is asked for half as often.
    fn age(&self) -> Age {
        let Some(lifetime) = self.grant.lifetime else { return Age::Expired };
        let left = lifetime.saturating_sub(self.since.elapsed());
        if left <= expiry_margin(Some(lifetime)) {
            Age::Expired
        } else if left <= STALE.min(lifetime / 4) {
            Age::Stale
        } else {
            Age::Fresh
        }
    }
}

impl Tokens {
    /// Returns the tokens of a source.
    pub(crate) fn of_source(source: Arc<dyn TokenSource>) -> Self {
        Self::Renewed(Arc::new(Renewed { source, state: Mutex::default() }))
    }

    /// Tells whether a token that was refused may be followed by another.
    pub(crate) fn are_renewed(&self) -> bool {
        matches!(self, Self::Renewed(_))
    }

    /// Returns the last token, where there is one yet.
    pub(crate) fn last(&self) -> Option<Grant> {
        match self {
            Self::Fixed(grant) => Some(grant.clone()),
            Self::Renewed(renewed) => renewed.state().last.as_ref().map(|held| held.grant.clone()),
        }
    }

    /// Sees to it that there is a token, where the source does not want to be asked before each request.
    pub(crate) async fn ready(&self) -> Result<()> {
        match self {
            Self::Renewed(renewed) if !renewed.is_asked_each_time() => renewed.grant(None, true).await.map(drop),
            _ => Ok(()),
        }
    }

    /// Returns the token to send; `rejected` is the one that was refused, if that is why it is needed.
    pub(crate) async fn grant(&self, rejected: Option<Secret>, may_ask_user: bool) -> Result<Grant> {
        match self {
            Self::Fixed(grant) => Ok(grant.clone()),
            Self::Renewed(renewed) => renewed.grant(rejected, may_ask_user).await,
        }
    }
}

impl Renewed {
    async fn grant(self: &Arc<Self>, rejected: Option<Secret>, may_ask_user: bool) -> Result<Grant> {
        let mut is_second = false;
        loop {
            let (waiting, is_joined) = {
                let mut state = self.state();
                if let Some(grant) = self.at_hand(&mut state, rejected.as_ref()) {
                    return Ok(grant);
                }
                if let Some(call) = &state.call {
                    (Waiting::on(call, may_ask_user), true)
                } else {
                    let call = Asked::new(!may_ask_user);
                    let waiting = Waiting::on(&call, may_ask_user);
                    self.start(&mut state, call, rejected.clone());
                    (waiting, false)
                }
            };
            // One that was begun quietly may have failed for want of the user, before we came.
            let may_repeat = is_joined && may_ask_user && waiting.call.began_quietly && !is_second;
            match waiting.answer().await {
                Err(_) if may_repeat => is_second = true,
                answer => return answer,
            }
        }
    }

    fn is_asked_each_time(&self) -> bool {
        self.state().last.as_ref().is_some_and(|held| held.grant.lifetime.is_none())
    }

    /// Returns the last token where it may be sent; sees to it that it is renewed in time.
    fn at_hand(self: &Arc<Self>, state: &mut State, rejected: Option<&Secret>) -> Option<Grant> {
        let held = state.last.as_ref()?;
        if let Some(rejected) = rejected {
            // Otherwise another request was refused with the same token and has renewed it.
            let is_of_use = held.grant.lifetime.is_none() || held.age() != Age::Expired;
            return (held.grant.token != *rejected && is_of_use).then(|| held.grant.clone());
        }
        let (age, grant) = (held.age(), held.grant.clone());
        match age {
            Age::Fresh => {}
            Age::Stale if state.call.is_some() || state.not_before.is_some_and(|moment| Instant::now() < moment) => {}
            Age::Stale => {
                debug!("the token is renewed before its end");
                self.start(state, Asked::new(true), None);
            }
            Age::Expired => return None,
        }
        Some(grant)
    }

    fn start(self: &Arc<Self>, state: &mut State, call: Call, rejected: Option<Secret>) {
        state.call = Some(Arc::clone(&call));
        let unanswered = Unanswered { renewed: Arc::clone(self), call: Arc::clone(&call) };
        // Tasks, so that a request that is dropped does not break off a renewal that others need, and that a panic of the
        // source leaves nobody waiting.
        tokio::spawn(async move {
            let demand = Demand { rejected, call: Arc::clone(&call) };
            let asked = Arc::clone(&unanswered.renewed);
            let asking = tokio::spawn(async move { asked.ask(demand).await });
            // Why it ended is not told: the message of a panic could hold anything.
            let answer = asking.await.unwrap_or_else(|_| Err(no_answer()));
            unanswered.renewed.answered(&call, answer);
        });
    }

    async fn ask(&self, demand: Demand) -> Result<Grant> {
        let limit = self.source.time_limit();
        match tokio::time::timeout(limit, self.source.grant(demand)).await {
            Ok(Ok(grant)) => Ok(grant),
            Ok(Err(error)) => Err(match error.downcast::<Error>() {
                Ok(error) => *error,
                Err(error) => Error::new(ErrorKind::Unauthenticated, "no token could be had").with_source(error),
            }),
            Err(_) => {
                let text = format!("no token could be had within {} s", limit.as_secs_f64());
                Err(Error::new(ErrorKind::Timeout, text))
            }
        }
    }

    fn answered(&self, call: &Call, answer: Result<Grant>) {
        let mut state = self.state();
        state.call = None;
        match &answer {
            Ok(grant) => {
                state.last = Some(Held { grant: grant.clone(), since: Instant::now() });
                state.not_before = None;
            }
            Err(error) => {
                state.not_before = Some(Instant::now() + PAUSE);
                if call.answer.receiver_count() == 0 {
                    warn!(cause = %error, "the token could not be renewed before its end");
                }
            }
        }
        drop(state);
        call.answer.send_replace(Some(answer));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that its task must answer; where the task is dropped with its runtime, those of other runtimes wait for it still.
struct Unanswered {
    renewed: Arc<Renewed>,
    call: Call,
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if self.call.answer.borrow().is_none() {
            // Not waited for: a runtime that ends drops the task at once, while whoever starts it has the lock.
            if let Ok(mut state) = self.renewed.state.try_lock() {
                state.call = None;
            }
            self.call.answer.send_replace(Some(Err(no_answer())));
        }
    }
}

fn no_answer() -> Error {
    Error::new(ErrorKind::Internal, "the token source ended without an answer")
}

impl fmt::Debug for Tokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Tokens(...)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_token_is_stale_and_expired_in_good_time() {
        for (lifetime, stale, expired) in [(3600, 2700, 3560), (24 * 3600, 24 * 3600 - 1200, 24 * 3600 - 40)] {
            let grant = Grant { lifetime: Some(Duration::from_secs(lifetime)), ..Grant::of(Secret::new("t")) };
            let age = |seconds| {
                Held { grant: grant.clone(), since: Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap() }
                    .age()
            };
            tokio::time::advance(Duration::from_secs(2 * 24 * 3600)).await;
            assert_eq!((age(stale - 1), age(stale)), (Age::Fresh, Age::Stale));
            assert_eq!((age(expired - 1), age(expired), age(lifetime * 2)), (Age::Stale, Age::Expired, Age::Expired));
        }
    }
}
