//! Doors into a stream for the fuzz targets in `rust/fuzz`: its connection is a script. Only cargo-fuzz compiles this module.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use hyper::body::{Body, Frame};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tonic::codec::Streaming;

use super::{Answer, Job, Limits, Outgoing, Phase, Reader, Stream};
use crate::config::{IngestMode, WrapperConfiguration};
use crate::encoder::Message;
use crate::in_flight::{Active, InFlight};
use crate::telemetry::Telemetry;
use crate::token::Token;
use crate::wire::Answers;

static RUNTIME: LazyLock<Option<Runtime>> = LazyLock::new(|| Builder::new_current_thread().enable_time().build().ok());

/// What happens to a stream.
#[derive(Clone, Debug)]
pub enum Step {
    /// A request of so many rows is put behind the others.
    Submit(usize),
    /// All is written that can be.
    Write,
    /// Bytes of the service come.
    Receive(Vec<u8>),
    /// The service ends the call with these trailers.
    End(Vec<(&'static str, Vec<u8>)>),
    /// Our side ends the stream.
    Close,
}

/// What the owners of the requests are told; requests are counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "as of the stream")]
pub enum Told {
    Acked { request: usize, rows: usize },
    Returned { request: usize, written: bool, first: bool },
}

/// What became of a stream.
#[derive(Debug)]
pub struct Outcome {
    /// Requests that it was asked to take, and which of them it did not.
    pub submitted: usize,
    /// See there.
    pub refused: Vec<usize>,
    /// In this order.
    pub told: Vec<Told>,
    /// Why it ended, as logs and errors show it.
    pub ending: String,
    /// Whether it takes no more, and has given back the room of all requests.
    pub is_over: bool,
}

/// Reads one answer, framed, as that to the opening of a stream.
pub fn opens(mode: IngestMode, answer: Vec<u8>) -> Option<Result<String, String>> {
    let body = Script { steps: VecDeque::from([Step::Receive(answer)]), ours: None };
    let mut answers = Streaming::new_response(Answers(mode), body, StatusCode::OK, None, None);
    Some(match RUNTIME.as_ref()?.block_on(answers.message()) {
        Ok(Some(answer)) => answer.opens().map(str::to_owned).map_err(str::to_owned),
        Ok(None) => Err("nothing".to_owned()),
        Err(status) => Err(status.to_string()),
    })
}

/// Plays `steps` to a stream that was opened with this token, and then ends its connection.
pub fn play(mode: IngestMode, token: &str, steps: Vec<Step>) -> Option<Outcome> {
    let config =
        WrapperConfiguration { max_inflight_requests: 1 << 20, ..WrapperConfiguration::new("http://host", "t") };
    let in_flight = InFlight::new(&config, &Arc::new(Telemetry::new(&config).ok()?));
    let (outgoing, sending) = Outgoing::new(Bytes::new());
    let (replies, mut answered) = unbounded_channel();
    let (progress, mut at_end) = watch::channel((0, Vec::new()));
    let header = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    let (ended, ending) = watch::channel(None);
    let stream = Stream { shared: Arc::clone(&sending.0), ended: ending.clone() };
    let ours = Ours { stream, outgoing, replies, active: in_flight.begin(), progress };
    RUNTIME.as_ref()?.block_on(async {
        let body = Script { steps: steps.into(), ours: Some(ours) };
        let answers = Streaming::new_response(Answers(mode), body, StatusCode::OK, None, Some(1 << 20));
        let token = Token { header, generation: 1 };
        let limits = Limits { ack: Duration::from_secs(3600) };
        let reader = Reader { shared: Arc::clone(&sending.0), answers, limits, token, ended };
        reader.run().await;
    });
    let mut told = Vec::new();
    while let Ok(answer) = answered.try_recv() {
        told.push(match answer {
            Answer::Acked { index, rows, .. } => Told::Acked { request: index, rows },
            Answer::Returned(returned) => {
                Told::Returned { request: returned.index, written: returned.written, first: returned.first }
            }
        });
    }
    let (submitted, refused) = at_end.borrow_and_update().clone();
    let ending = ending.borrow().clone()?;
    let is_over = sending.0.state().phase == Phase::Ended && in_flight.done().now_or_never().is_some();
    let ending = format!("{} {:?}", ending.refusal.error, ending.refusal);
    Some(Outcome { submitted, refused, told, ending, is_over })
}

/// The answers of a service; all that happens in between happens as they are read.
struct Script {
    steps: VecDeque<Step>,
    ours: Option<Ours>,
}

struct Ours {
    stream: Stream,
    outgoing: Outgoing,
    replies: UnboundedSender<Answer>,
    active: Arc<Active>,
    progress: watch::Sender<(usize, Vec<usize>)>,
}

impl Ours {
    fn submit(&self, rows: usize) {
        let index = self.progress.borrow().0;
        let room = self.active.room(1).now_or_never().flatten();
        let is_taken = room.is_some_and(|room| {
            let message = Message::Records(Bytes::new());
            let job = Job { index, message, rows, reply: self.replies.clone(), keep: room.hold(1) };
            self.stream.submit(job).is_ok()
        });
        self.progress.send_modify(|(submitted, refused)| {
            *submitted += 1;
            refused.extend((!is_taken).then_some(index));
        });
    }

    fn write(&mut self, context: &mut Context<'_>) {
        while let Poll::Ready(Some(_)) = Pin::new(&mut self.outgoing).poll_frame(context) {}
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::convert::Infallible>>> {
        while let Some(step) = self.steps.pop_front() {
            let frame = match (step, &mut self.ours) {
                (Step::Receive(bytes), _) => Frame::data(bytes.into()),
                (Step::End(trailers), _) => {
                    let mut map = HeaderMap::new();
                    for (name, value) in trailers {
                        if let Ok(value) = HeaderValue::from_bytes(&value) {
                            map.insert(HeaderName::from_static(name), value);
                        }
                    }
                    self.steps.clear();
                    Frame::trailers(map)
                }
                (Step::Submit(rows), Some(ours)) => {
                    ours.submit(rows);
                    continue;
                }
                (Step::Write, Some(ours)) => {
                    ours.write(context);
                    continue;
                }
                (Step::Close, Some(ours)) => {
                    ours.stream.close(Duration::from_secs(3600));
                    continue;
                }
                (Step::Submit(_) | Step::Write | Step::Close, None) => continue,
            };
            return Poll::Ready(Some(Ok(frame)));
        }
        Poll::Ready(None)
    }
}
