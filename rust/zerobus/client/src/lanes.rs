//! The streams of a wrapper: one per descriptor or schema, shared by all that send, opened again when it has ended.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tracing::warn;

use crate::breaker::Breaker;
use crate::error::ZerobusError;
use crate::flight::{Flight, launch};
use crate::retry::{Refusal, Verdict};
use crate::service::Service;
use crate::stream::Stream;
use crate::telemetry::{Opening as Reason, Recovery, Span, Telemetry};

/// Descriptors whose streams are kept open.
const MOST: usize = 4;
/// Streams within a minute that something must be wrong with.
const MANY: usize = 100;

type Opening = Flight<Result<Arc<Stream>, Refusal>>;

/// The streams into one table.
#[derive(Debug)]
pub(crate) struct Lanes {
    service: Arc<Service>,
    breaker: Arc<Breaker>,
    telemetry: Arc<Telemetry>,
    /// By descriptor or, of Arrow, by schema, the last used first; none once they were closed for good.
    open: Mutex<Option<Vec<(Bytes, Opening)>>>,
    /// When the last streams were opened.
    recent: Mutex<VecDeque<Instant>>,
}

impl Lanes {
    pub(crate) fn new(service: Service, breaker: Arc<Breaker>, telemetry: Arc<Telemetry>) -> Self {
        Self {
            service: Arc::new(service),
            breaker,
            telemetry,
            open: Mutex::new(Some(Vec::new())),
            recent: Mutex::default(),
        }
    }

    /// Returns the stream of a descriptor; where there is none, it is opened, once for all that wait.
    pub(crate) async fn stream(&self, descriptor: &Bytes, span: &Span) -> Result<Arc<Stream>, Refusal> {
        let opening = {
            let mut open = self.open();
            let open = open.as_mut().ok_or_else(shut_down)?;
            let found = open.iter().position(|(known, _)| known == descriptor).map(|position| open.remove(position));
            let opening = match found {
                Some((_, opening)) => match opening.peek() {
                    Some(Ok(stream)) if stream.is_open() => opening,
                    Some(Ok(stream)) => {
                        // One that has not ended yet was asked to.
                        let reason = stream.ending().map_or(Recovery::ServerClose, |ending| ending.reason);
                        self.telemetry.stream_recovered(reason);
                        self.begin(descriptor, Reason::Again(reason), span)
                    }
                    Some(Err(_)) => self.begin(descriptor, Reason::Again(Recovery::Error), span),
                    None => opening,
                },
                None => self.begin(descriptor, Reason::First, span),
            };
            open.insert(0, (descriptor.clone(), opening.clone()));
            // A stream that is let go of ends in order.
            open.truncate(MOST);
            opening
        };
        self.unless_closed(opening.await)
    }

    /// Opens a stream that nobody else uses, after another ended for a row.
    pub(crate) async fn own(&self, descriptor: &Bytes, span: &Span) -> Result<Arc<Stream>, Refusal> {
        if self.open().is_none() {
            return Err(shut_down());
        }
        let reason = Reason::Again(Recovery::Error);
        self.unless_closed(self.begin(descriptor, reason, span).await)
    }

    /// Gives no stream away that came too late for [`Lanes::close`].
    fn unless_closed(&self, opened: Result<Arc<Stream>, Refusal>) -> Result<Arc<Stream>, Refusal> {
        if self.open().is_some() {
            return opened;
        }
        if let Ok(stream) = opened {
            stream.close(Duration::ZERO);
        }
        Err(shut_down())
    }

    fn begin(&self, descriptor: &Bytes, reason: Reason, span: &Span) -> Opening {
        let (service, breaker, descriptor) = (Arc::clone(&self.service), Arc::clone(&self.breaker), descriptor.clone());
        self.warn_of_many();
        let span = span.child("zerobus.stream.open");
        let opening = async move {
            breaker.check().map_err(|error| Refusal { error, verdict: Verdict::Paused })?;
            let opened = service.open(&descriptor, reason, &span).await;
            if let Err(refusal) = &opened {
                span.failed(&refusal.error);
                if refusal.verdict == Verdict::Blocked {
                    breaker.block();
                }
            }
            opened
        };
        launch(opening, || Err(Refusal::connection("the opening of a stream was broken off")))
    }

    fn warn_of_many(&self) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.push_back(Instant::now());
        if recent.len() > MANY
            && let Some(first) = recent.pop_front()
            && first.elapsed() < Duration::from_secs(60)
        {
            warn!(streams = MANY, "many streams were opened within a minute");
            // Said once for these.
            recent.clear();
        }
    }

    /// Sees to it that the token of a stream that was ended for it is not used again.
    pub(crate) async fn token_refused(&self, generation: u64, span: &Span) -> Result<(), Refusal> {
        self.service.token_refused(generation, span).await
    }

    /// Ends all streams in order, and waits for their ends; none is opened any more.
    pub(crate) async fn close(&self, limit: Duration) {
        let open = self.open().take().unwrap_or_default();
        let streams: Vec<Arc<Stream>> = open.iter().filter_map(|(_, opening)| opening.peek()?.clone().ok()).collect();
        for stream in &streams {
            stream.close(limit);
        }
        for stream in &streams {
            stream.ended().await;
        }
    }

    fn open(&self) -> MutexGuard<'_, Option<Vec<(Bytes, Opening)>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shut_down() -> Refusal {
    Refusal::of(ZerobusError::configuration("the wrapper was shut down"))
}
