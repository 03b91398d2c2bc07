//! One stream: requests in, acknowledgements out, until it ends; then every request knows what became of it.
//!
//! Its connection takes requests straight from the queue, so that nothing is copied and no task lies between. One task reads
//! the answers. Nothing is sent again here: whoever owns a request learns whether it was written, and why the stream ended.

#[cfg(fuzzing)]
pub mod fuzzing;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tonic::codec::Streaming;
use tonic::transport::Channel;
use tracing::debug;

use crate::encoder::Message;
use crate::in_flight::Hold;
use crate::retry::{Phase as StatusPhase, Refusal};
use crate::service::{Connection, refusal_of};
use crate::telemetry::Recovery;
use crate::token::Token;
use crate::wire::{Answer as Said, Mark};

/// Longest wait for the end of a stream that we have ended, and for acknowledgements that come late.
const DRAIN: Duration = Duration::from_secs(5);
/// Longest wait for acknowledgements that a server may announce.
const LONGEST_CLOSE: Duration = Duration::from_secs(900);

/// The times of a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Longest silence while acknowledgements are due.
    pub(crate) ack: Duration,
}

/// A request on its way, for whoever waits for it.
#[derive(Debug)]
pub(crate) struct Job {
    /// Which of the owner's requests it is.
    pub(crate) index: usize,
    pub(crate) message: Message,
    /// Rows in it.
    pub(crate) rows: usize,
    pub(crate) reply: UnboundedSender<Answer>,
    /// Released when the request is done with.
    pub(crate) keep: Arc<Hold>,
}

/// What became of a request.
#[derive(Debug)]
pub(crate) enum Answer {
    /// So many more of its rows are stored, from the first. With the time since its head was handed over.
    Acked { index: usize, rows: usize, latency: Duration },
    /// The stream ended before it was acknowledged.
    Returned(Returned),
}

/// A request that was not acknowledged.
#[derive(Debug)]
pub(crate) struct Returned {
    pub(crate) index: usize,
    /// Whether it may have reached the server.
    pub(crate) written: bool,
    /// Whether it is the first that was not acknowledged.
    pub(crate) first: bool,
    pub(crate) ending: Arc<Ending>,
}

/// Why a stream ended.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) refusal: Refusal,
    /// Whether the service asked for it, or we.
    pub(crate) orderly: bool,
    pub(crate) reason: Recovery,
    /// The token it was opened with.
    pub(crate) generation: u64,
}

impl Ending {
    /// That of a stream on which nothing of ours was.
    pub(crate) fn closing() -> Self {
        let refusal = Refusal::connection("the stream was being closed");
        Self { refusal, orderly: true, reason: Recovery::ServerClose, generation: 0 }
    }
}

/// A stream that was opened. It ends in order when it is dropped.
#[derive(Debug)]
pub(crate) struct Stream {
    shared: Arc<Shared>,
    ended: watch::Receiver<Option<Arc<Ending>>>,
}

/// The body of the call.
pub(crate) struct Outgoing(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Tells the reader that its times have changed.
    changed: Notify,
}

struct State {
    /// The message that opens the stream.
    first: Option<Bytes>,
    /// The rest of the frame whose head was written.
    rest: Option<Bytes>,
    queue: VecDeque<Job>,
    /// Written and not acknowledged, by offset.
    sent: VecDeque<Sent>,
    next_offset: i64,
    /// Rows written, and those of them that are acknowledged.
    rows: u64,
    stored: u64,
    phase: Phase,
    waker: Option<Waker>,
    /// The last acknowledgement, or when the first of what waits came.
    progress: Instant,
}

/// A request that was written.
struct Sent {
    job: Job,
    /// When the connection took its head; the rest may wait for the service's window.
    since: Instant,
    /// Rows of it that are not acknowledged.
    left: usize,
}

/// How far a stream has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// Nothing more is sent; acknowledgements are waited for, until then.
    Closing(Instant),
    /// Our side has ended.
    HalfClosed(Instant),
    Ended,
}

impl Outgoing {
    /// Returns the body of a call that begins with `first`, and what [`Stream::begin`] goes on with.
    pub(crate) fn new(first: Bytes) -> (Self, Sending) {
        let state = State {
            first: Some(first),
            rest: None,
            queue: VecDeque::new(),
            sent: VecDeque::new(),
            next_offset: 0,
            rows: 0,
            stored: 0,
            phase: Phase::Open,
            waker: None,
            progress: Instant::now(),
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Notify::new() });
        (Self(Arc::clone(&shared)), Sending(shared))
    }
}

/// The other end of [`Outgoing`].
pub(crate) struct Sending(Arc<Shared>);

impl Stream {
    /// Begins to read answers.
    pub(crate) fn begin(
        sending: Sending,
        answers: Streaming<Said>,
        channel: Channel,
        connection: Connection,
        limits: Limits,
        token: Token,
    ) -> Arc<Self> {
        let shared = sending.0;
        let (sender, ended) = watch::channel(None);
        let reader = Reader { shared: Arc::clone(&shared), answers, limits, token, ended: sender };
        tokio::spawn(async move {
            let orderly = reader.run().await;
            drop(channel);
            if orderly {
                connection.ended(DRAIN).await;
            }
        });
        Arc::new(Self { shared, ended })
    }

    /// Tells whether it still takes requests.
    pub(crate) fn is_open(&self) -> bool {
        self.shared.state().phase == Phase::Open
    }

    /// Puts a request behind the others; returned where the stream takes no more.
    pub(crate) fn submit(&self, job: Job) -> Result<(), Job> {
        let mut state = self.shared.state();
        if state.phase != Phase::Open {
            return Err(job);
        }
        let was_idle = state.is_idle();
        state.queue.push_back(job);
        if was_idle {
            state.progress = Instant::now();
        }
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        if was_idle {
            self.shared.changed.notify_one();
        }
        Ok(())
    }

    /// Why it ended, where it has.
    pub(crate) fn ending(&self) -> Option<Arc<Ending>> {
        self.ended.borrow().clone()
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&self) {
        let mut ended = self.ended.clone();
        // An error means that its task is gone, and it with it.
        drop(ended.wait_for(Option::is_some).await);
    }

    /// Ends it in order: what was written is waited for, nothing more is sent.
    pub(crate) fn close(&self, limit: Duration) {
        self.shared.close(limit);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // What was written for those who wait no more is still on its way.
        self.shared.close(DRAIN);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, limit: Duration) {
        let mut state = self.state();
        if state.phase == Phase::Open {
            state.phase = Phase::Closing(Instant::now() + limit);
            drop(state);
            self.changed.notify_one();
        }
    }
}

impl State {
    fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.sent.is_empty()
    }

    /// Moves on where there is nothing to wait for, and returns until when the next answer must come.
    fn deadline(&mut self, limits: Limits) -> Option<Instant> {
        let now = Instant::now();
        if let Phase::Closing(until) = &mut self.phase {
            // However much time the service gives itself.
            *until = (*until).min(self.progress + limits.ack);
        }
        if let Phase::Closing(until) = self.phase
            && (now >= until || self.sent.is_empty())
        {
            self.phase = Phase::HalfClosed(now + DRAIN);
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        }
        match self.phase {
            Phase::Open if self.is_idle() => None,
            Phase::Open => Some(self.progress + limits.ack),
            Phase::Closing(until) | Phase::HalfClosed(until) => Some(until),
            Phase::Ended => Some(now),
        }
    }

    /// Takes what was acknowledged from the front: whole requests, and a part of the one after them.
    fn acked(&mut self, mark: Mark) -> Result<Vec<(UnboundedSender<Answer>, Answer)>, String> {
        let mut rows = match mark {
            Mark::Offset(up_to) => self.acked_up_to(up_to.ok_or("an acknowledgement without an offset")?)?,
            Mark::Rows { offset, rows } => {
                let rows = rows.ok_or("an acknowledgement without a count of rows")?;
                if rows < self.stored || rows > self.rows {
                    let (stored, sent) = (self.stored, self.rows);
                    return Err(format!("acknowledged {rows} rows after {stored}, and {sent} were sent"));
                }
                if let Some(offset) = offset.filter(|offset| *offset >= self.next_offset) {
                    return Err(format!("acknowledged up to offset {offset}, of which {} were sent", self.next_offset));
                }
                rows - self.stored
            }
        };
        if rows > 0 {
            self.progress = Instant::now();
        }
        self.stored += rows;
        let mut answers = Vec::new();
        while let Some(sent) = self.sent.front_mut().filter(|_| rows > 0) {
            let taken = usize::try_from(rows).unwrap_or(usize::MAX).min(sent.left);
            rows -= taken as u64;
            sent.left -= taken;
            let answer = Answer::Acked { index: sent.job.index, rows: taken, latency: sent.since.elapsed() };
            answers.push((sent.job.reply.clone(), answer));
            if sent.left == 0
                && let Some(Sent { job, .. }) = self.sent.pop_front()
            {
                // Before its owner learns of it.
                drop(job.keep);
            }
        }
        Ok(answers)
    }

    /// Counts the rows that an offset acknowledges anew.
    fn acked_up_to(&self, up_to: i64) -> Result<u64, String> {
        let first = self.next_offset - self.sent.len() as i64;
        // The last one may be repeated.
        if up_to < first - 1 || (up_to < 0 && first == 0) {
            return Err(format!("acknowledged up to offset {up_to} after {}", first - 1));
        }
        if up_to >= self.next_offset {
            return Err(format!("acknowledged up to offset {up_to}, of which {} were sent", self.next_offset));
        }
        Ok(self.sent.iter().take((up_to + 1 - first) as usize).map(|sent| sent.left as u64).sum())
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::convert::Infallible>>> {
        let mut state = self.0.state();
        let ready = |bytes| Poll::Ready(Some(Ok(Frame::data(bytes))));
        if let Some(first) = state.first.take() {
            return ready(first);
        }
        if let Some(rest) = state.rest.take() {
            return ready(rest);
        }
        match state.phase {
            Phase::HalfClosed(_) | Phase::Ended => return Poll::Ready(None),
            Phase::Closing(_) => {}
            Phase::Open => {
                while let Some(job) = state.queue.pop_front() {
                    // Nobody waits for it, and nothing of it was sent.
                    if job.reply.is_closed() {
                        continue;
                    }
                    let offset = state.next_offset;
                    state.next_offset += 1;
                    let (head, rest) = job.message.clone().frame(offset);
                    state.rest = Some(rest);
                    state.rows += job.rows as u64;
                    let left = job.rows;
                    state.sent.push_back(Sent { job, since: Instant::now(), left });
                    return ready(head);
                }
            }
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

/// Reads the answers of one stream.
struct Reader {
    shared: Arc<Shared>,
    answers: Streaming<Said>,
    limits: Limits,
    token: Token,
    ended: watch::Sender<Option<Arc<Ending>>>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Its runtime ended; those of other runtimes wait still.
        if self.ended.borrow().is_none() {
            self.tell(End::Broken(Refusal::connection("the task of the stream was dropped")));
        }
    }
}

impl Reader {
    /// Reads to the end, and returns whether it was in order.
    async fn run(mut self) -> bool {
        let end = self.read().await;
        self.tell(end)
    }

    /// Tells the owners of all requests that the stream has ended, and whether it did in order.
    fn tell(&self, end: End) -> bool {
        let (refusal, orderly, reason) = match end {
            End::Closed(refusal) => (refusal, true, Recovery::ServerClose),
            End::Broken(refusal) => (refusal, false, Recovery::Error),
            End::Silent(refusal) => (refusal, false, Recovery::AckTimeout),
        };
        debug!(orderly, cause = %refusal.error, "a stream ended");
        let ending = Arc::new(Ending { refusal, orderly, reason, generation: self.token.generation });
        let (sent, queue, waker) = {
            let mut state = self.shared.state();
            state.phase = Phase::Ended;
            (std::mem::take(&mut state.sent), std::mem::take(&mut state.queue), state.waker.take())
        };
        self.ended.send_replace(Some(Arc::clone(&ending)));
        if let Some(waker) = waker {
            waker.wake();
        }
        let written = sent.into_iter().map(|sent| (sent.job, true));
        let unwritten = queue.into_iter().map(|job| (job, false));
        for (position, (job, written)) in written.chain(unwritten).enumerate() {
            let (index, first) = (job.index, position == 0);
            let returned = Returned { index, written, first, ending: Arc::clone(&ending) };
            // Whoever waits no more is not told.
            drop(job.reply.send(Answer::Returned(returned)));
        }
        orderly
    }

    async fn read(&mut self) -> End {
        loop {
            let deadline = self.shared.state().deadline(self.limits);
            let expired = async {
                match deadline {
                    Some(moment) => tokio::time::sleep_until(moment).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // What has come counts, even where it came late.
                biased;
                answer = self.answers.message() => match answer {
                    Ok(Some(answer)) => match self.take(&answer) {
                        Ok(true) => {}
                        Ok(false) => {
                            // A server that repeats itself without end puts nothing off, and holds up no other task.
                            tokio::task::consume_budget().await;
                            if let Some(end) = self.end_of_time() {
                                return end;
                            }
                        }
                        Err(violation) => {
                            return End::Broken(Refusal::connection(format!("protocol violation: {violation}")));
                        }
                    },
                    Ok(None) => return End::Closed(Refusal::connection("the service ended the stream")),
                    Err(status) => {
                        let refusal = refusal_of(&status, StatusPhase::Open, &self.token);
                        let phase = self.shared.state().phase;
                        // After its announcement a break was to be expected.
                        return if phase != Phase::Open && refusal.error.is_retryable() {
                            End::Closed(refusal)
                        } else {
                            End::Broken(refusal)
                        };
                    }
                },
                () = self.shared.changed.notified() => {}
                () = expired => {
                    if let Some(end) = self.end_of_time() {
                        return end;
                    }
                }
            }
        }
    }

    /// How it ends, where it must not go on; what has come in between may have put that off.
    fn end_of_time(&self) -> Option<End> {
        let mut state = self.shared.state();
        state.deadline(self.limits).filter(|deadline| Instant::now() >= *deadline)?;
        match state.phase {
            Phase::Open => {
                let seconds = self.limits.ack.as_secs_f64();
                let text = format!("no acknowledgement came within {seconds} s");
                Some(End::Silent(Refusal::connection(text)))
            }
            Phase::Closing(_) => None,
            Phase::HalfClosed(_) | Phase::Ended => {
                Some(End::Closed(Refusal::connection("the service did not end the stream after we had")))
            }
        }
    }

    /// Does what an answer says, and tells whether it says anything new.
    fn take(&self, answer: &Said) -> Result<bool, String> {
        if answer.created.is_some() {
            return Err("a second answer to the creation of the stream".to_owned());
        }
        if *answer == Said::default() {
            return Err("an answer that says nothing".to_owned());
        }
        let mut is_new = false;
        if let Some(mark) = answer.stored {
            let answers = self.shared.state().acked(mark)?;
            is_new = !answers.is_empty();
            for (reply, answer) in answers {
                drop(reply.send(answer));
            }
        }
        if let Some(given) = answer.close {
            let duration = given.min(LONGEST_CLOSE);
            debug!(seconds = duration.as_secs_f64(), "the service wants the stream closed");
            is_new |= self.closes(duration);
        }
        Ok(is_new)
    }

    /// Gives back what was not sent; its owner sends it on another stream once all that was sent here is answered. Tells
    /// whether the stream was open until now.
    fn closes(&self, duration: Duration) -> bool {
        let queue = {
            let mut state = self.shared.state();
            if state.phase != Phase::Open {
                return false;
            }
            state.phase = Phase::Closing(Instant::now() + duration);
            std::mem::take(&mut state.queue)
        };
        let refusal = Refusal::connection("the service closes the stream");
        let (reason, generation) = (Recovery::ServerClose, self.token.generation);
        let ending = Arc::new(Ending { refusal, orderly: true, reason, generation });
        for job in queue {
            let ending = Arc::clone(&ending);
            let returned = Returned { index: job.index, written: false, first: false, ending };
            drop(job.reply.send(Answer::Returned(returned)));
        }
        true
    }
}

/// How the reading ended.
#[derive(Debug)]
enum End {
    Closed(Refusal),
    Broken(Refusal),
    Silent(Refusal),
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Shared(...)")
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, StatusCode};
    use prost::Message as _;
    use tokio::sync::mpsc;

    use super::*;
    use crate::config::{IngestMode, WrapperConfiguration};
    use crate::in_flight::InFlight;
    use crate::telemetry::Telemetry;
    use crate::wire::{Answers, EphemeralStreamResponse, FRAME, IngestRecordResponse, Payload};

    /// A service that acknowledges the first request again and again, faster than can be read, until then.
    struct Repeating(Instant);

    impl Body for Repeating {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, std::convert::Infallible>>> {
            let ack = IngestRecordResponse { durability_ack_up_to_offset: Some(0) };
            let message = EphemeralStreamResponse { payload: Some(Payload::Ack(ack)) }.encode_to_vec();
            let mut frame = vec![0; FRAME - 1];
            frame.push(message.len() as u8);
            frame.extend(message);
            Poll::Ready((Instant::now() < self.0).then(|| Ok(Frame::data(frame.into()))))
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn f26_acknowledgements_that_are_repeated_put_nothing_off() {
        let now = Instant::now();
        let (short, long) = (Duration::from_millis(50), Duration::from_secs(20));
        for phase in [Phase::Open, Phase::HalfClosed(now + short), Phase::Closing(now + short)] {
            let config = WrapperConfiguration::new("http://127.0.0.1:1", "a.b.c");
            let telemetry = Arc::new(Telemetry::new(&config).unwrap());
            let keep = InFlight::new(&config, &telemetry).begin().room(1).await.unwrap().hold(1);
            let (reply, mut told) = mpsc::unbounded_channel();
            let (_outgoing, Sending(shared)) = Outgoing::new(Bytes::new());
            {
                let mut state = shared.state();
                let job = Job { index: 1, message: Message::Records(Bytes::new()), rows: 1, reply, keep };
                state.sent.push_back(Sent { job, since: now, left: 1 });
                (state.next_offset, state.phase) = (2, phase);
            }
            let answers = Answers(IngestMode::Proto);
            let answers = Streaming::new_response(answers, Repeating(now + long), StatusCode::OK, None, None);
            let token = Token { header: HeaderValue::from_static("Bearer x"), generation: 1 };
            let (ended, _) = watch::channel(None);
            let mut reader = Reader { shared, answers, limits: Limits { ack: short }, token, ended };
            let end = reader.read().await;
            assert!(now.elapsed() < long, "{phase:?}: {end:?}");
            assert_eq!(matches!(end, End::Silent(_)), phase == Phase::Open, "{end:?}");
            drop(reader);
            let Some(Answer::Returned(returned)) = told.recv().await else { panic!("nothing was returned") };
            assert!(returned.written && returned.first);
        }
    }
}
