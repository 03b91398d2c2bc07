//! Rows that the service refuses are found.
//!
//! It names none: it acknowledges up to a position and ends the stream. So a refused request is cut into pieces, and the first
//! that is not acknowledged holds the row; cut again, it is the row. As a service may end a stream before it has
//! acknowledged what it stored, a row counts as refused only where it was on its way alone.

use std::collections::VecDeque;
use std::ops::Range;

use tracing::debug;

use crate::call::{Call, Progress, Request};
use crate::encoder::Encoder;
use crate::error::ZerobusError;
use crate::lanes::Lanes;
use crate::retry::{Refusal, Verdict};

/// Requests of so many rows are cut row by row; larger ones into as many pieces as each then has rows.
const SINGLES: usize = 128;

impl Call<'_> {
    /// Finds the rows that the service refuses among `left`, whose first is refused, on streams of its own; returns what was
    /// not sent after all.
    pub(crate) async fn isolate(
        &self,
        lanes: &Lanes,
        encoder: &Encoder,
        left: VecDeque<Request>,
        refusal: &Refusal,
        progress: &mut Progress,
    ) -> Result<VecDeque<Request>, ZerobusError> {
        let mut last = refusal.error.clone();
        // Set by a suspicion in vain: the service ends streams before it has acknowledged what it stored, so that the position
        // says nothing, and pieces must go one by one.
        let mut one_by_one = false;
        let mut left = cut_first(left, one_by_one);
        while !left.is_empty() {
            if progress.probes >= self.config.isolate_max_probes {
                debug!(probes = progress.probes, "too many streams were opened to find the refused rows");
                return Err(last);
            }
            progress.probes += 1;
            progress.attempts += 1;
            let stream = match lanes.own(encoder.opening(), self.span).await {
                Ok(stream) => stream,
                Err(refusal) => {
                    self.pause(progress, &refusal).await?;
                    continue;
                }
            };
            while !left.is_empty() {
                let is_certain = one_by_one || left.front().is_some_and(|request| request.alone);
                let count =
                    if is_certain { 1 } else { left.iter().position(|request| request.alone).unwrap_or(left.len()) };
                let rest = left.split_off(count);
                let round = self.round(&stream, left, None, progress).await;
                left = round.left;
                let was_in_vain = left.is_empty() && is_certain && !one_by_one;
                let refused = left.len();
                left.extend(rest);
                let Some(ending) = round.ending else {
                    one_by_one |= was_in_vain;
                    continue;
                };
                if round.acked {
                    progress.free = 0;
                }
                if refused == 0 {
                    break;
                }
                if ending.refusal.verdict != Verdict::BadRow || ending.orderly {
                    self.after(lanes, progress, &ending).await?;
                    break;
                }
                last = ending.refusal.error.clone();
                match left.front_mut() {
                    Some(front) if front.rows.len() > 1 => left = cut_first(left, one_by_one),
                    Some(_) if is_certain => {
                        if let Some(front) = left.pop_front() {
                            progress.fates.refused(front.rows.indices(), &last);
                        }
                    }
                    Some(front) => front.alone = true,
                    None => {}
                }
                break;
            }
        }
        Ok(left)
    }
}

/// Cuts the first request into smaller ones: rows where it has few, else so many pieces that the next cut is into rows.
fn cut_first(mut left: VecDeque<Request>, in_halves: bool) -> VecDeque<Request> {
    let Some(first) = left.pop_front() else { return left };
    let rows = first.rows.len();
    let size = if in_halves {
        rows.div_ceil(2)
    } else if rows <= SINGLES {
        1
    } else {
        rows.isqrt()
    };
    let starts: Vec<usize> = (0..rows).step_by(size.max(1)).collect();
    for start in starts.into_iter().rev() {
        let range: Range<usize> = start..(start + size).min(rows);
        left.push_front(Request { rows: first.rows.slice(range), alone: false, ..first.clone() });
    }
    left
}
