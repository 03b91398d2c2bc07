//! The chain of presigned links: one owner discovers them ahead of the downloads and renews them.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tracing::debug;

use super::link::ChunkLink;
use super::task::Task;
use super::{ChunkHint, Counters};
use crate::error::{Error, ErrorKind, Result};
use crate::sea::SeaClient;
use crate::sea::wire::{ExternalLink, ResultData};

/// Links known and not yet admitted to download. More would only grow old: they live 15 minutes at most.
const LINK_WINDOW: usize = 64;
/// Chunk calls under way at once where the server gives one link each and the manifest lists the chunks.
const MAX_CALLS_AHEAD: usize = 8;
/// Longest run of chunks without rows: a server that names empty chunks for ever must not keep us for ever.
const MAX_EMPTY_CHUNKS: u32 = 10_000;

/// The links of one result in row order, asked for as they are needed.
///
/// The chain is all that counts: each batch of links must start at the row where the last one ended, and the next
/// request is for `next_chunk_index` of the last link, with the `row_offset` that follows from it. Counts of chunks are
/// not used. Source: "bounded" mode of the platform's JDBC driver (pull request 1468).
///
/// Where a server gives one link an answer, the manifest's list of chunks serves as a hint to make the next calls
/// concurrently. An answer to a hinted call counts only if the chain leads to just that chunk and row; a wrong hint costs
/// a call, never rows.
#[derive(Debug)]
pub(crate) struct LinkStream {
    client: Arc<SeaClient>,
    source: LinkSource,
    statement_id: String,
    counters: Arc<Counters>,
    hints: Arc<[ChunkHint]>,
    ready: VecDeque<ChunkLink>,
    next_chunk_index: Option<i64>,
    next_row_offset: i64,
    /// Row at which the stream ends, where it is not the whole chain.
    end: Option<i64>,
    highest_chunk_index: i64,
    empty_chunks: u32,
    /// The last answer had one link.
    one_link_an_answer: bool,
    /// Calls under way: the first where the chain leads, the rest where the hints say it will.
    calls: VecDeque<ChunkCall>,
    /// Links that came along with a renewal and belong to chunks on their way to be downloaded.
    renewed: Vec<ChunkLink>,
}

/// Who gives links.
#[derive(Clone)]
pub(crate) enum LinkSource {
    /// The chunk endpoint.
    Server,
    /// Another, who gives all links of the stream each time.
    Other(Arc<dyn Fn() -> BoxFuture<'static, Result<ResultData>> + Send + Sync>),
}

impl fmt::Debug for LinkSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Server => "Server",
            Self::Other(_) => "Other(...)",
        })
    }
}

/// A run of consecutive chunks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// Index of the first chunk.
    pub(crate) chunk_index: i64,
    pub(crate) row_offset: i64,
    /// The row behind the last.
    pub(crate) end: i64,
}

#[derive(Debug)]
struct ChunkCall {
    chunk_index: i64,
    row_offset: i64,
    hinted: bool,
    answer: Task<Result<ResultData>>,
}

/// Asks the owner of the links for a fresh one.
#[derive(Clone, Debug)]
pub(crate) struct Renewer(mpsc::UnboundedSender<Renewal>);

/// The receiving end of a [`Renewer`].
pub(crate) type Renewals = mpsc::UnboundedReceiver<Renewal>;

/// A link that is of no use any more, and who waits for another.
#[derive(Debug)]
pub(crate) struct Renewal {
    stale: ChunkLink,
    reply: oneshot::Sender<Result<ChunkLink>>,
}

impl Renewer {
    pub(crate) fn new() -> (Self, Renewals) {
        let (sender, renewals) = mpsc::unbounded_channel();
        (Self(sender), renewals)
    }

    /// Returns a new link to the same rows. Requests that come together are answered by one call.
    pub(crate) async fn renew(&self, stale: &ChunkLink) -> Result<ChunkLink> {
        let gone = || Error::new(ErrorKind::Internal, "the owner of the links has ended");
        let (reply, renewed) = oneshot::channel();
        self.0.send(Renewal { stale: stale.clone(), reply }).map_err(|_| gone())?;
        renewed.await.map_err(|_| gone())?
    }
}

impl LinkStream {
    /// Starts with the links of the first answer; without any, the chain is started by asking for chunk 0.
    pub(crate) fn new(
        client: Arc<SeaClient>,
        statement_id: &str,
        first: ResultData,
        hints: Arc<[ChunkHint]>,
        counters: Arc<Counters>,
    ) -> Result<Self> {
        let mut links = Self {
            client,
            source: LinkSource::Server,
            statement_id: statement_id.to_owned(),
            counters,
            hints,
            ready: VecDeque::new(),
            next_chunk_index: Some(0),
            next_row_offset: 0,
            end: None,
            highest_chunk_index: -1,
            empty_chunks: 0,
            one_link_an_answer: false,
            calls: VecDeque::new(),
            renewed: Vec::new(),
        };
        if !first.external_links.is_empty() {
            links.accept(first)?;
        }
        Ok(links)
    }

    /// The links of a part of the chain, asked for from its first chunk on.
    pub(crate) fn of_run(
        client: Arc<SeaClient>,
        statement_id: &str,
        run: Run,
        source: LinkSource,
        hints: Arc<[ChunkHint]>,
        counters: Arc<Counters>,
    ) -> Result<Self> {
        let mut links = Self::new(client, statement_id, ResultData::default(), hints, counters)?;
        links.source = source;
        links.next_chunk_index = Some(run.chunk_index);
        links.next_row_offset = run.row_offset;
        links.end = Some(run.end);
        links.highest_chunk_index = run.chunk_index.saturating_sub(1);
        Ok(links)
    }

    /// Returns the next link, for who asks for no renewals. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Option<ChunkLink>> {
        loop {
            self.call_ahead();
            if let Some(link) = self.ready.pop_front() {
                return Ok(Some(link));
            }
            if self.calls.is_empty() {
                return Ok(None);
            }
            let answer = first_answer(&mut self.calls).await;
            self.take_answer(answer)?;
        }
    }

    /// Sends the links in row order, keeping the window filled, and serves renewals until nobody can ask any more.
    ///
    /// A failure is sent as the last item, after the links before it.
    pub(crate) async fn run(mut self, links: mpsc::Sender<Result<ChunkLink>>, mut renewals: Renewals) {
        let mut links = Some(links);
        let mut failure = None;
        loop {
            if links.is_some() {
                self.call_ahead();
            }
            tokio::select! {
                biased;
                renewal = renewals.recv() => match renewal {
                    Some(renewal) => self.serve(renewal, &mut renewals).await,
                    None => return,
                },
                // Renewals are served all the while: the reader of the links may wait for one.
                room = reserve(links.clone()), if links.is_some() && (!self.ready.is_empty() || failure.is_some()) => match room {
                    Some(room) => {
                        self.refresh_head().await;
                        if let Some(mut link) = self.ready.pop_front() {
                            let is_known_to_its_end =
                                self.next_chunk_index.is_none() && self.calls.is_empty() && failure.is_none();
                            link.followers = is_known_to_its_end.then_some(self.ready.len());
                            room.send(Ok(link));
                        } else if let Some(error) = failure.take() {
                            room.send(Err(error));
                            links = None;
                        }
                    }
                    None => links = None,
                },
                answer = first_answer(&mut self.calls), if !self.calls.is_empty() => {
                    if let Err(error) = self.take_answer(answer) {
                        self.calls.clear();
                        self.next_chunk_index = None;
                        failure = Some(error);
                    }
                }
            }
            if self.ready.is_empty() && self.calls.is_empty() && self.next_chunk_index.is_none() && failure.is_none() {
                links = None;
            }
        }
    }

    /// Makes the calls that the window has room for.
    fn call_ahead(&mut self) {
        if self.calls.is_empty()
            && self.ready.len() < LINK_WINDOW
            && let Some(chunk_index) = self.next_chunk_index
        {
            self.call(chunk_index, self.next_row_offset, false);
        }
        while self.one_link_an_answer
            && self.calls.len() < MAX_CALLS_AHEAD
            && self.ready.len() + self.calls.len() < LINK_WINDOW
            && let Some(last) = self.calls.back()
            && let Some(hint) = self.hint_after(last.chunk_index, last.row_offset)
        {
            let (chunk_index, row_offset) = (hint.chunk_index, hint.row_offset);
            self.call(chunk_index, row_offset, true);
        }
    }

    fn call(&mut self, chunk_index: i64, row_offset: i64, hinted: bool) {
        self.counters.link_requests.add(1);
        let answer = Task::spawn(self.ask(chunk_index, row_offset));
        self.calls.push_back(ChunkCall { chunk_index, row_offset, hinted, answer });
    }

    fn ask(&self, chunk_index: i64, row_offset: i64) -> BoxFuture<'static, Result<ResultData>> {
        match &self.source {
            LinkSource::Server => {
                let (client, statement_id) = (Arc::clone(&self.client), self.statement_id.clone());
                Box::pin(async move { client.chunk(&statement_id, chunk_index, row_offset).await })
            }
            LinkSource::Other(ask) => ask(),
        }
    }

    /// Returns the hint that follows the chunk at `row_offset`, if the manifest lists both.
    fn hint_after(&self, chunk_index: i64, row_offset: i64) -> Option<&ChunkHint> {
        let position =
            self.hints.binary_search_by_key(&(row_offset, chunk_index), |hint| (hint.row_offset, hint.chunk_index));
        let (hint, next) = (self.hints.get(position.ok()?)?, self.hints.get(position.ok()? + 1)?);
        (hint.row_offset.checked_add(hint.row_count?)? == next.row_offset && next.chunk_index > chunk_index)
            .then_some(next)
    }

    fn take_answer(&mut self, answer: Result<ResultData>) -> Result<()> {
        let Some(call) = self.calls.pop_front() else { return Ok(()) };
        let leads_here = self.next_chunk_index == Some(call.chunk_index) && self.next_row_offset == call.row_offset;
        if !leads_here || (call.hinted && answer.is_err()) {
            debug!(
                statement_id = self.statement_id,
                chunk = call.chunk_index,
                "the chain does not follow the manifest"
            );
            self.calls.clear();
            self.hints = Arc::default();
            return Ok(());
        }
        self.follow(call.chunk_index, answer?)
    }

    /// Takes the answer to the call for `chunk_index`, where the chain leads.
    fn follow(&mut self, chunk_index: i64, answer: ResultData) -> Result<()> {
        if answer.external_links.is_empty() {
            let text = format!("the server named chunk {chunk_index} and then gave no link to it");
            return Err(self.error(text, chunk_index));
        }
        let known = self.next_row_offset;
        let first_new = answer.external_links.iter().any(|link| link.row_offset == known);
        if !first_new {
            let text = format!("the server named chunk {chunk_index} and gave no link that starts at row {known}");
            return Err(self.error(text, chunk_index));
        }
        self.accept(answer)?;
        if self.next_chunk_index == Some(chunk_index) {
            let text = format!("the answer for chunk {chunk_index} names that chunk as the next");
            return Err(self.error(text, chunk_index));
        }
        Ok(())
    }

    /// Takes the links of one answer into the chain.
    fn accept(&mut self, answer: ResultData) -> Result<()> {
        let on_answer = answer.next_chunk_index;
        self.one_link_an_answer = answer.external_links.len() == 1;
        let mut last: Option<(i64, Option<i64>)> = None;
        let mut links = Vec::with_capacity(answer.external_links.len());
        for link in answer.external_links {
            // The next chunk is named by the highest link; some servers name it on the answer as well, or only there.
            if last.is_none_or(|(index, _)| link.chunk_index >= index) {
                last = Some((link.chunk_index, link.next_chunk_index));
            }
            links.push(self.link(&link)?);
        }
        links.sort_by_key(|link| (link.row_offset, link.chunk_index));
        links.dedup_by(|again, link| again.is_same_place(link) && again.row_count == link.row_count);
        let known = self.next_row_offset;
        for link in links {
            // An answer may start before the chunk that was asked for, and an empty chunk may lie anywhere there.
            let is_empty = link.row_count == Some(0);
            if (link.row_offset < self.next_row_offset && (link.end() <= known || is_empty))
                || (is_empty && link.chunk_index <= self.highest_chunk_index)
                || self.end.is_some_and(|end| link.row_offset >= end)
            {
                continue;
            }
            if let Some(end) = self.end.filter(|end| link.end() > *end) {
                let text = format!("{} goes on behind row {end}, where its part of the result ends", link.place());
                return Err(self.error(text, link.chunk_index));
            }
            if link.row_offset != self.next_row_offset {
                let text = format!("{} does not continue at row {}", link.place(), self.next_row_offset);
                return Err(self.error(text, link.chunk_index));
            }
            self.empty_chunks = if link.rows() == 0 { self.empty_chunks + 1 } else { 0 };
            self.next_row_offset = link.end();
            self.highest_chunk_index = self.highest_chunk_index.max(link.chunk_index);
            self.ready.push_back(link);
        }
        self.next_chunk_index = last.and_then(|(_, on_link)| on_link).or(on_answer);
        if self.end == Some(self.next_row_offset) {
            self.next_chunk_index = None;
        }
        if let Some(next) = self.next_chunk_index
            && (next <= self.highest_chunk_index || self.empty_chunks > MAX_EMPTY_CHUNKS)
        {
            let text = format!("the server names chunk {next} as the next after chunk {}", self.highest_chunk_index);
            return Err(self.error(text, next));
        }
        Ok(())
    }

    /// Renews the links in the window if the first of them has grown too old while the reader was busy.
    async fn refresh_head(&mut self) {
        let Some(head) = self.ready.front().filter(|head| head.is_stale()).cloned() else { return };
        // What fails here fails again at the download, which reports it.
        if let Ok(fresh) = self.renew_from(&head).await {
            self.renewed = fresh;
        }
    }

    /// Answers `first` and the renewals that wait with it, by one call from the lowest chunk wherever that suffices.
    async fn serve(&mut self, first: Renewal, renewals: &mut Renewals) {
        let mut waiting = vec![first];
        while let Ok(renewal) = renewals.try_recv() {
            waiting.push(renewal);
        }
        let mut fresh = std::mem::take(&mut self.renewed);
        loop {
            let (answered, rest) = waiting.into_iter().partition::<Vec<_>, _>(|renewal| {
                fresh
                    .iter()
                    .any(|link| link.is_same_place(&renewal.stale) && link.url != renewal.stale.url && !link.is_stale())
            });
            for renewal in answered {
                if let Some(position) = fresh.iter().position(|link| link.is_same_place(&renewal.stale)) {
                    let link = fresh.swap_remove(position);
                    drop(renewal.reply.send(same_rows(&renewal.stale, link)));
                }
            }
            waiting = rest;
            let Some(lowest) = waiting.iter().map(|renewal| &renewal.stale).min_by_key(|link| link.row_offset).cloned()
            else {
                break;
            };
            match self.renew_from(&lowest).await {
                Ok(links) => fresh = links,
                Err(error) => {
                    for renewal in waiting {
                        drop(renewal.reply.send(Err(error.clone())));
                    }
                    return;
                }
            }
            // The lowest was asked for, so that what came is all there is: the link it had, or one that is old already, may
            // still be good, and the store has the last word.
            let is_fresh = |link: &ChunkLink| link.is_same_place(&lowest) && link.url != lowest.url && !link.is_stale();
            if let Some(position) = waiting.iter().position(|renewal| renewal.stale.is_same_place(&lowest))
                && !fresh.iter().any(is_fresh)
            {
                let renewal = waiting.swap_remove(position);
                let reply = if let Some(position) = fresh.iter().position(|link| link.is_same_place(&lowest)) {
                    same_rows(&renewal.stale, fresh.swap_remove(position))
                } else {
                    let text = format!("{} got no link when its own had expired", lowest.place());
                    Err(self.error(text, lowest.chunk_index))
                };
                drop(renewal.reply.send(reply));
            }
        }
        self.renewed = fresh;
    }

    /// Calls for `lowest` again and returns the links of chunks that were already handed over.
    async fn renew_from(&mut self, lowest: &ChunkLink) -> Result<Vec<ChunkLink>> {
        debug!(statement_id = self.statement_id, chunk = lowest.chunk_index, "links renewed");
        self.counters.link_requests.add(1);
        self.counters.renewals.add(1);
        let answer = self.ask(lowest.chunk_index, lowest.row_offset).await?;
        self.reconcile(answer)
    }

    /// Puts renewed links where they belong: those in the window are replaced, chunks not heard of before join the
    /// chain, and those of chunks already handed over are returned.
    fn reconcile(&mut self, mut answer: ResultData) -> Result<Vec<ChunkLink>> {
        let known = self.next_row_offset;
        let (old, new) = answer.external_links.into_iter().partition::<Vec<_>, _>(|link| {
            link.row_offset.saturating_add(link.row_count.unwrap_or(0)) <= known
                && link.chunk_index <= self.highest_chunk_index
        });
        let mut handed_over = Vec::new();
        for link in &old {
            let link = self.link(link)?;
            match self.ready.iter_mut().find(|waiting| waiting.is_same_place(&link)) {
                Some(waiting) => *waiting = same_rows(waiting, link)?,
                None => handed_over.push(link),
            }
        }
        if !new.is_empty() && self.next_chunk_index.is_some() {
            answer.external_links = new;
            // The calls under way would only ask for the same again.
            self.calls.clear();
            self.accept(answer)?;
        }
        Ok(handed_over)
    }

    fn link(&self, link: &ExternalLink) -> Result<ChunkLink> {
        ChunkLink::from_wire(link, self.client.config()).map_err(|error| error.with_statement_id(&self.statement_id))
    }

    fn error(&self, text: String, chunk_index: i64) -> Error {
        Error::new(ErrorKind::DataLoss, text).with_statement_id(&self.statement_id).with_chunk_index(chunk_index)
    }
}

#[cfg(fuzzing)]
impl LinkStream {
    /// Index and first row of the chunk that the chain leads to.
    pub(crate) fn fuzz_next(&self) -> Option<(i64, i64)> {
        Some((self.next_chunk_index?, self.next_row_offset))
    }

    pub(crate) fn fuzz_take(&mut self) -> Option<ChunkLink> {
        self.ready.pop_front()
    }

    pub(crate) fn fuzz_follow(&mut self, answer: ResultData) -> Result<()> {
        match self.next_chunk_index {
            Some(chunk_index) => self.follow(chunk_index, answer),
            None => Ok(()),
        }
    }

    /// Returns the new link to the rows of `stale`, where the answer has one.
    pub(crate) fn fuzz_renew(&mut self, stale: &ChunkLink, answer: ResultData) -> Result<Option<ChunkLink>> {
        let fresh = self.reconcile(answer)?.into_iter().find(|link| link.is_same_place(stale));
        fresh.map(|link| same_rows(stale, link)).transpose()
    }
}

/// A renewed link must bring the rows of the old one.
fn same_rows(stale: &ChunkLink, fresh: ChunkLink) -> Result<ChunkLink> {
    if fresh.row_count == stale.row_count {
        return Ok(fresh);
    }
    let text = format!("{} has {} rows since its link was renewed", stale.place(), fresh.rows());
    Err(Error::new(ErrorKind::DataLoss, text).with_chunk_index(stale.chunk_index))
}

/// Waits for room in the channel; `None` where nobody reads it any more.
async fn reserve(links: Option<mpsc::Sender<Result<ChunkLink>>>) -> Option<mpsc::OwnedPermit<Result<ChunkLink>>> {
    links?.reserve_owned().await.ok()
}

/// Waits for the answer to the first call. Cancel-safe: the call goes on.
async fn first_answer(calls: &mut VecDeque<ChunkCall>) -> Result<ResultData> {
    match calls.front_mut() {
        Some(call) => call.answer.outcome().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Credentials;
    use crate::config::SessionConfig;

    fn link(chunk_index: i64, row_offset: i64, rows: i64, next: Option<i64>) -> serde_json::Value {
        serde_json::json!({"external_link": format!("https://store.example/c%3A{chunk_index}?sig=canary"),
            "chunk_index": chunk_index, "row_offset": row_offset, "row_count": rows, "next_chunk_index": next})
    }

    fn stream(links: serde_json::Value) -> Result<LinkStream> {
        let config =
            SessionConfig::new("http://127.0.0.1:1", "/sql/1.0/warehouses/w", Credentials::access_token("t")).unwrap();
        let client = Arc::new(SeaClient::new(config).unwrap());
        let first = serde_json::from_value(links).unwrap();
        LinkStream::new(client, "01ef", first, Arc::default(), Arc::default())
    }

    /// B4, B5.
    #[test]
    fn the_highest_link_names_the_next_chunk() {
        // Out of order, and only the last one in the chain counts.
        let answer = serde_json::json!({"external_links": [link(2, 20, 5, Some(7)), link(0, 0, 10, Some(1)), link(1, 10, 10, Some(2))]});
        let links = stream(answer).unwrap();
        assert_eq!((links.next_chunk_index, links.next_row_offset, links.ready.len()), (Some(7), 25, 3));
        let order: Vec<i64> = links.ready.iter().map(|link| link.chunk_index).collect();
        assert_eq!(order, [0, 1, 2]);
        let answer = serde_json::json!({"external_links": [link(0, 0, 10, None)], "next_chunk_index": 1});
        assert_eq!(stream(answer).unwrap().next_chunk_index, Some(1), "named on the answer only");
        let answer = serde_json::json!({"external_links": [link(0, 0, 10, None)]});
        assert_eq!(stream(answer).unwrap().next_chunk_index, None);
    }

    /// Behaviour 3.
    #[test]
    fn several_files_may_share_an_index() {
        let answer = serde_json::json!({"external_links": [link(0, 0, 10, None), link(0, 10, 4, Some(3))]});
        let links = stream(answer).unwrap();
        assert_eq!((links.ready.len(), links.next_chunk_index, links.next_row_offset), (2, Some(3), 14));
    }

    /// Behaviour 3: offsets join.
    #[test]
    fn gaps_overlaps_and_cycles_are_data_loss() {
        for (what, links) in [
            ("gap", serde_json::json!([link(0, 0, 10, Some(1)), link(1, 11, 10, None)])),
            ("overlap", serde_json::json!([link(0, 0, 10, Some(1)), link(1, 9, 10, None)])),
            ("rows twice", serde_json::json!([link(0, 0, 10, Some(1)), link(1, 0, 10, None)])),
            ("rows inside others", serde_json::json!([link(0, 0, 10, Some(1)), link(1, 3, 4, None)])),
            ("late start", serde_json::json!([link(0, 1, 10, None)])),
            ("cycle", serde_json::json!([link(0, 0, 10, Some(0))])),
        ] {
            let error = stream(serde_json::json!({"external_links": links})).unwrap_err();
            assert_eq!((error.kind(), error.statement_id()), (ErrorKind::DataLoss, Some("01ef")), "{what}");
        }
    }

    /// Behaviour 3: every answer leads on.
    #[test]
    fn an_answer_that_names_its_own_chunk_as_the_next_is_data_loss() {
        let mut links = stream(serde_json::json!({"external_links": [link(0, 0, 10, Some(1))]})).unwrap();
        for again in [link(0, 10, 0, Some(1)), link(0, 10, 0, None)] {
            let answer = serde_json::json!({"external_links": [again], "next_chunk_index": 1});
            let error = links.follow(1, serde_json::from_value(answer).unwrap()).unwrap_err();
            assert_eq!((error.kind(), error.chunk_index()), (ErrorKind::DataLoss, Some(1)));
        }
    }
}
