//! One batch on its way: converted while it is sent, sent again where that may help, its bad rows found.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use arrow_array::RecordBatch;
use futures_util::stream::StreamExt;
use tokio::sync::mpsc;
use tracing::debug;

use crate::breaker::Breaker;
use crate::config::WrapperConfiguration;
use crate::conversion::{Conversion, Source};
use crate::convert::RequestLimits;
use crate::debug::DebugFiles;
use crate::encoder::{Encoder, Rows};
use crate::error::ZerobusError;
use crate::fates::Fates;
use crate::in_flight::{Active, Hold};
use crate::lanes::Lanes;
use crate::result::TransmissionResult;
use crate::retry::{Refusal, Tries, Verdict};
use crate::stream::{Answer, Ending, Job, Stream};
use crate::telemetry::{Span, Telemetry};
use crate::wrapper::refused;

/// What a call needs of its wrapper.
pub(crate) struct Call<'a> {
    pub(crate) config: &'a WrapperConfiguration,
    /// Bytes of the rows in Arrow.
    pub(crate) bytes: usize,
    pub(crate) lanes: Option<&'a Lanes>,
    pub(crate) breaker: &'a Breaker,
    pub(crate) debug: &'a Arc<DebugFiles>,
    pub(crate) telemetry: &'a Telemetry,
    pub(crate) span: &'a Span,
    pub(crate) active: Arc<Active>,
}

/// A request that is not acknowledged yet.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) rows: Rows,
    pub(crate) hold: Arc<Hold>,
    /// Whether it is sent by itself, so that a refusal can be about nothing else.
    pub(crate) alone: bool,
}

/// How far the call has come.
pub(crate) struct Progress {
    pub(crate) fates: Fates,
    /// Bytes of all requests so far, each counted once.
    pub(crate) wire_bytes: usize,
    pub(crate) attempts: u32,
    pub(crate) tries: Tries,
    /// Streams that were opened to find refused rows.
    pub(crate) probes: u32,
    /// Ends of streams that count as no failure, since the last acknowledgement.
    pub(crate) free: u32,
    pub(crate) has_new_token: bool,
    /// Whether it ended for a pause of the table.
    pub(crate) is_paused: bool,
}

/// How a round of sending ended.
pub(crate) struct Round {
    /// Not acknowledged, in order.
    pub(crate) left: VecDeque<Request>,
    /// Why the stream ended, where it has.
    pub(crate) ending: Option<Arc<Ending>>,
    /// Whether anything was acknowledged.
    pub(crate) acked: bool,
    /// Whether the first of what is left is what the stream ended for.
    pub(crate) first: bool,
}

impl Call<'_> {
    /// Sends all rows of `batch`, which has some.
    pub(crate) async fn send(self, batch: RecordBatch, encoder: Arc<Encoder>) -> TransmissionResult {
        let total = batch.num_rows();
        if self.lanes.is_some()
            && let Err(error) = self.breaker.check()
        {
            return refused(total, error);
        }
        let limits = RequestLimits {
            record_bytes: self.config.max_record_bytes,
            request_bytes: self.config.max_request_bytes,
            request_rows: self.config.max_request_rows,
        };
        let encoding = match encoder.requests(batch.clone(), limits) {
            Ok(encoding) => encoding,
            Err(error) => return refused(total, error),
        };
        let conversion = Conversion::new(
            (batch, self.bytes),
            (Arc::clone(&encoder), encoding),
            Arc::clone(self.debug),
            Arc::clone(&self.active),
            self.span.child("zerobus.convert"),
        );
        let outcome = conversion.outcome();
        let mut progress = Progress {
            fates: Fates::new(total),
            wire_bytes: 0,
            attempts: 0,
            tries: Tries::new(self.config),
            probes: 0,
            free: 0,
            has_new_token: false,
            is_paused: false,
        };
        let mut ended = self.deliver(conversion.source(), &encoder, &mut progress).await;
        let outcome = std::mem::take(&mut *outcome.lock().unwrap_or_else(PoisonError::into_inner));
        progress.fates.failed(outcome.failed);
        if ended.is_ok() && outcome.broke_off {
            // The rows that it did not come to have no other fate.
            ended = Err(ZerobusError::conversion("the conversion broke off"));
        }
        let result = progress.fates.into_result(ended.err(), progress.attempts.max(1), progress.wire_bytes);
        if self.lanes.is_some() && !progress.is_paused {
            let failed = result.failed_rows.iter().flatten().filter(|(_, error)| is_of_the_way(error)).count();
            self.breaker.count(result.successful_count + failed, failed);
        }
        result
    }

    /// Sends what the conversion makes, or takes it for sent where the writer is disabled.
    async fn deliver(
        &self,
        mut source: Source,
        encoder: &Encoder,
        progress: &mut Progress,
    ) -> Result<(), ZerobusError> {
        let Some(lanes) = self.lanes else {
            while let Some(request) = source.next().await {
                progress.wire_bytes += request.rows.byte_count();
                progress.fates.stored(request.rows.indices());
            }
            return Ok(());
        };
        let span = self.span.child("zerobus.transmit");
        let sent = self.transmit(lanes, encoder, &mut source, progress).await;
        if let Err(error) = &sent {
            span.failed(error);
        }
        sent
    }

    /// Sends what comes from `source`; an error is that of all rows whose fate is still unknown.
    async fn transmit(
        &self,
        lanes: &Lanes,
        encoder: &Encoder,
        source: &mut Source,
        progress: &mut Progress,
    ) -> Result<(), ZerobusError> {
        let mut left = VecDeque::new();
        loop {
            if left.is_empty() {
                let Some(request) = source.next().await else { return Ok(()) };
                progress.wire_bytes += request.rows.byte_count();
                left.push_back(request);
            }
            progress.attempts += 1;
            let stream = match lanes.stream(encoder.opening(), self.span).await {
                Ok(stream) => stream,
                Err(refusal) => {
                    self.pause(progress, &refusal).await?;
                    continue;
                }
            };
            let round = self.round(&stream, left, Some(&mut *source), progress).await;
            drop(stream);
            left = round.left;
            let Some(ending) = round.ending else { continue };
            if left.is_empty() {
                // The end of the stream matters to what is still to come alone.
                let Some(request) = source.next().await else { return Ok(()) };
                progress.wire_bytes += request.rows.byte_count();
                left.push_back(request);
            }
            if round.acked {
                progress.free = 0;
            }
            if ending.refusal.verdict == Verdict::BadRow && !ending.orderly {
                if !round.first {
                    // Another call's row; it is not ours to pay for.
                    self.again_for_free(progress, &ending.refusal, self.config.isolate_max_probes).await?;
                } else if self.config.isolate_bad_rows {
                    debug!(cause = %ending.refusal.error, "a row is refused and looked for");
                    // The stream that is opened after the search.
                    progress.probes += 1;
                    left = self.isolate(lanes, encoder, left, &ending.refusal, progress).await?;
                } else {
                    return Err(ending.refusal.error.clone());
                }
            } else {
                self.after(lanes, progress, &ending).await?;
            }
        }
    }

    /// Sends `left`, and what comes from `source`, until all of it is acknowledged or the stream has ended.
    pub(crate) async fn round(
        &self,
        stream: &Stream,
        left: VecDeque<Request>,
        mut source: Option<&mut Source>,
        progress: &mut Progress,
    ) -> Round {
        let (reply, mut answers) = mpsc::unbounded_channel();
        let mut requests: Vec<Option<Request>> = Vec::new();
        let (mut due, mut ending, mut acked, mut first) = (0_usize, None, false, false);
        let mut takes = true;
        let submit = |request: Request, requests: &mut Vec<Option<Request>>, fates: &mut Fates| {
            let message = match request.rows.message() {
                Ok(message) => message,
                Err(error) => {
                    fates.refused(request.rows.indices(), &error);
                    return (true, 0);
                }
            };
            let (index, rows, keep) = (requests.len(), request.rows.len(), Arc::clone(&request.hold));
            requests.push(Some(request));
            let takes = stream.submit(Job { index, message, rows, reply: reply.clone(), keep }).is_ok();
            (takes, usize::from(takes))
        };
        for request in left {
            if takes {
                let more;
                (takes, more) = submit(request, &mut requests, &mut progress.fates);
                due += more;
            } else {
                requests.push(Some(request));
            }
        }
        loop {
            let is_more = takes && source.is_some();
            if due == 0 && !is_more {
                break;
            }
            tokio::select! {
                biased;
                answer = answers.recv(), if due > 0 => {
                    match answer {
                        Some(Answer::Acked { index, rows, latency }) => {
                            acked = true;
                            let Some(slot) = requests.get_mut(index) else { continue };
                            let Some(request) = slot else { continue };
                            progress.fates.stored(request.rows.slice(0..rows).indices());
                            if rows < request.rows.len() {
                                request.rows = request.rows.slice(rows..request.rows.len());
                            } else {
                                self.telemetry.acked(latency);
                                *slot = None;
                                due -= 1;
                            }
                        }
                        Some(Answer::Returned(returned)) => {
                            takes = false;
                            due -= 1;
                            if returned.written
                                && let Some(Some(request)) = requests.get(returned.index)
                            {
                                progress.fates.written(request.rows.indices());
                            }
                            first |= returned.first;
                            // The end itself says more than its announcement.
                            if returned.written || ending.is_none() {
                                ending = Some(returned.ending);
                            }
                        }
                        None => due = 0,
                    }
                }
                request = next(&mut source), if is_more => match request {
                    Some(request) => {
                        progress.wire_bytes += request.rows.byte_count();
                        let more;
                        (takes, more) = submit(request, &mut requests, &mut progress.fates);
                        due += more;
                    }
                    None => source = None,
                },
            }
        }
        let left: VecDeque<Request> = requests.into_iter().flatten().collect();
        if ending.is_none() && !left.is_empty() {
            // It took no more, and nothing was lost on it.
            ending = Some(Arc::new(Ending::closing()));
        }
        Round { left, ending, acked, first }
    }

    /// Decides what comes after the end of a stream on which rows were lost.
    pub(crate) async fn after(
        &self,
        lanes: &Lanes,
        progress: &mut Progress,
        ending: &Ending,
    ) -> Result<(), ZerobusError> {
        if ending.orderly {
            return self.again_for_free(progress, &ending.refusal, 1).await;
        }
        if ending.refusal.verdict == Verdict::NewToken && !progress.has_new_token {
            progress.has_new_token = true;
            return match lanes.token_refused(ending.generation, self.span).await {
                Ok(()) => Ok(()),
                Err(refusal) => self.pause(progress, &refusal).await,
            };
        }
        if ending.refusal.verdict == Verdict::Blocked {
            self.breaker.block();
        }
        self.pause(progress, &ending.refusal).await
    }

    /// Goes on at once after what is nobody's fault, except where it happens again and again without anything being stored.
    async fn again_for_free(&self, progress: &mut Progress, refusal: &Refusal, most: u32) -> Result<(), ZerobusError> {
        progress.free += 1;
        if progress.free <= most {
            self.telemetry.retried(&refusal.error);
            return Ok(());
        }
        let refusal = match refusal.verdict {
            Verdict::BadRow => Refusal { verdict: Verdict::Retry, ..refusal.clone() },
            _ => refusal.clone(),
        };
        self.pause(progress, &refusal).await
    }

    /// Waits before the next try, or returns the error that ends the call.
    pub(crate) async fn pause(&self, progress: &mut Progress, refusal: &Refusal) -> Result<(), ZerobusError> {
        progress.is_paused = matches!(refusal.verdict, Verdict::Blocked | Verdict::Paused);
        let pause: Duration = progress.tries.failed(refusal)?;
        debug!(cause = %refusal.error, milliseconds = pause.as_millis(), "sending is tried again");
        self.telemetry.retried(&refusal.error);
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

async fn next(source: &mut Option<&mut Source>) -> Option<Request> {
    match source {
        Some(source) => source.next().await,
        None => None,
    }
}

/// Tells whether a row failed on its way, by network or service, and not for what the caller gave.
fn is_of_the_way(error: &ZerobusError) -> bool {
    !matches!(
        error,
        ZerobusError::ConfigurationError(_) | ZerobusError::AuthenticationError(_) | ZerobusError::ConversionError(_)
    )
}
