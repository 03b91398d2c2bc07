//! A network in simulated time: it carries requests to a function and its answers back, late, in pieces, or not at all.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode, Url};
use tokio::time::{Instant, sleep};

use crate::config::SessionConfig;
use crate::http::TransportError;

/// Where simulated time starts: a whole second, as HTTP dates know no less.
const EPOCH: Duration = Duration::from_secs(1_800_000_000);

thread_local! {
    static CURRENT: RefCell<Option<Arc<Network>>> = const { RefCell::new(None) };
}

/// Returns the network of this thread, if it is simulated.
pub(crate) fn current() -> Option<Arc<Network>> {
    CURRENT.with_borrow(Clone::clone)
}

/// Makes this thread's network the real one again when dropped.
pub(crate) struct Installed;

impl Drop for Installed {
    fn drop(&mut self) {
        CURRENT.set(None);
    }
}

/// Which of the two clients sent a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    Api,
    Storage,
}

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) place: Place,
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
}

/// What becomes of a request.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// From the arrival of the request to the first sign of an answer.
    pub(crate) after: Duration,
    pub(crate) outcome: Outcome,
}

#[derive(Debug)]
pub(crate) enum Outcome {
    /// No connection is made.
    Refused,
    /// Nothing comes back.
    Silence,
    /// The connection breaks.
    Reset,
    Reply(Reply),
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) content_length: Option<u64>,
    /// Each with the pause before it.
    pub(crate) pieces: VecDeque<(Duration, Bytes)>,
    pub(crate) ending: Ending,
}

/// What follows the last piece of a body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ending {
    End,
    Reset,
    Silence,
}

type Respond = dyn FnMut(&Request) -> Delivery + Send;

/// One simulated network and the clocks around it.
pub(crate) struct Network {
    start: Instant,
    /// How far the client's clock is ahead, in milliseconds.
    skew_ms: i64,
    chance: Mutex<StdRng>,
    way_there: (Duration, Duration),
    respond: Mutex<Box<Respond>>,
    downloads: Arc<AtomicUsize>,
    most_downloads: AtomicUsize,
}

impl fmt::Debug for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Network").finish_non_exhaustive()
    }
}

impl Network {
    /// Must be called in a runtime whose clock is paused; `way_there` is the least and the longest way of a request.
    pub(crate) fn new(
        seed: u64,
        skew_ms: i64,
        way_there: (Duration, Duration),
        respond: impl FnMut(&Request) -> Delivery + Send + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            skew_ms,
            chance: Mutex::new(StdRng::seed_from_u64(seed)),
            way_there,
            respond: Mutex::new(Box::new(respond)),
            downloads: Arc::default(),
            most_downloads: AtomicUsize::new(0),
        })
    }

    /// Makes this the network of all clients that this thread creates.
    pub(crate) fn install(self: &Arc<Self>) -> Installed {
        CURRENT.set(Some(Arc::clone(self)));
        Installed
    }

    /// Time since the simulation began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    pub(crate) fn server_time(elapsed: Duration) -> SystemTime {
        SystemTime::UNIX_EPOCH + EPOCH + elapsed
    }

    pub(crate) fn client_time(&self) -> SystemTime {
        let ahead = Duration::from_millis(self.skew_ms.unsigned_abs());
        let time = Self::server_time(self.elapsed());
        if self.skew_ms < 0 { time - ahead } else { time + ahead }
    }

    pub(crate) fn jitter(&self) -> f64 {
        self.chance.lock().unwrap().random()
    }

    /// Requests to storage hosts whose answer is neither read to its end nor dropped.
    pub(crate) fn downloads(&self) -> usize {
        self.downloads.load(Ordering::Relaxed)
    }

    /// The most of them that there were at a time.
    pub(crate) fn most_downloads(&self) -> usize {
        self.most_downloads.load(Ordering::Relaxed)
    }
}

/// The kernel's end of the network, with its time-outs.
#[derive(Debug)]
pub(crate) struct Client {
    network: Arc<Network>,
    api_headers: HeaderMap,
    api_silence: Duration,
    storage_silence: Duration,
}

impl Client {
    pub(crate) fn new(network: Arc<Network>, config: &SessionConfig, api_headers: HeaderMap) -> Self {
        let (api_silence, storage_silence) = (config.read_timeout, config.results.download_idle_timeout);
        Self { network, api_headers, api_silence, storage_silence }
    }

    pub(crate) async fn api(
        &self,
        method: Method,
        url: Url,
        headers: HeaderMap,
        _body: Option<Bytes>,
    ) -> Result<Answer, TransportError> {
        let mut all = self.api_headers.clone();
        all.extend(headers);
        self.send(Request { place: Place::Api, method, url, headers: all }, self.api_silence).await
    }

    pub(crate) async fn storage(&self, url: Url, headers: HeaderMap) -> Result<Answer, TransportError> {
        self.send(Request { place: Place::Storage, method: Method::GET, url, headers }, self.storage_silence).await
    }

    async fn send(&self, request: Request, silence: Duration) -> Result<Answer, TransportError> {
        let flight = (request.place == Place::Storage).then(|| Flight::start(&self.network.downloads));
        self.network.most_downloads.fetch_max(self.network.downloads(), Ordering::Relaxed);
        let (least, most) = self.network.way_there;
        let way = self.network.chance.lock().unwrap().random_range(least..=most);
        sleep(way).await;
        // Dropped before this line the request never arrives, dropped after it the answer is for nobody.
        let delivery = (self.network.respond.lock().unwrap())(&request);
        let failed = |sent, timed_out, cause: &'static str| TransportError {
            sent,
            timed_out,
            obstacle: None,
            cause: cause.into(),
        };
        if delivery.after > silence || matches!(delivery.outcome, Outcome::Silence) {
            sleep(silence).await;
            return Err(failed(true, true, "simulated silence"));
        }
        sleep(delivery.after).await;
        match delivery.outcome {
            Outcome::Refused => Err(failed(false, false, "simulated refusal")),
            Outcome::Reset | Outcome::Silence => Err(failed(true, false, "simulated reset")),
            Outcome::Reply(reply) => Ok(Answer {
                status: StatusCode::from_u16(reply.status).unwrap(),
                headers: reply.headers,
                content_length: reply.content_length,
                pieces: reply.pieces,
                ending: reply.ending,
                silence,
                flight,
            }),
        }
    }
}

/// The counterpart of a real response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) content_length: Option<u64>,
    pieces: VecDeque<(Duration, Bytes)>,
    ending: Ending,
    silence: Duration,
    flight: Option<Flight>,
}

impl Answer {
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, TransportError> {
        let failed = |timed_out, cause: &'static str| TransportError {
            sent: true,
            timed_out,
            obstacle: None,
            cause: cause.into(),
        };
        match self.pieces.pop_front() {
            Some((pause, _)) if pause > self.silence => {
                sleep(self.silence).await;
                Err(failed(true, "simulated silence in a body"))
            }
            Some((pause, piece)) => {
                sleep(pause).await;
                Ok(Some(piece))
            }
            None => match self.ending {
                Ending::End => {
                    self.flight = None;
                    Ok(None)
                }
                Ending::Reset => Err(failed(false, "simulated reset in a body")),
                Ending::Silence => {
                    sleep(self.silence).await;
                    Err(failed(true, "simulated silence in a body"))
                }
            },
        }
    }
}

#[derive(Debug)]
struct Flight(Arc<AtomicUsize>);

impl Flight {
    fn start(downloads: &Arc<AtomicUsize>) -> Self {
        downloads.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(downloads))
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Credentials;
    use crate::error::ErrorKind;
    use crate::http::{HttpClient, Response};

    async fn body(mut response: Response) -> Result<usize, bool> {
        let mut length = 0;
        while let Some(piece) = response.chunk().await.map_err(|error| error.timed_out)? {
            length += piece.len();
        }
        Ok(length)
    }

    #[tokio::test(start_paused = true)]
    async fn every_request_ends_in_simulated_time_as_the_network_wants() {
        let second = Duration::from_secs(1);
        let reply = |ending| {
            let pieces = [(second, Bytes::from_static(b"abc")), (second, Bytes::from_static(b"de"))].into();
            Outcome::Reply(Reply { status: 200, headers: HeaderMap::new(), content_length: None, pieces, ending })
        };
        let mut outcomes = VecDeque::from([
            Outcome::Refused,
            Outcome::Reset,
            Outcome::Silence,
            reply(Ending::End),
            reply(Ending::Reset),
            reply(Ending::Silence),
        ]);
        let network = Network::new(1, -5000, (second, second), move |request| {
            assert_eq!((request.place, request.headers.len()), (Place::Storage, 0), "nothing of the session");
            assert_eq!((&request.method, request.url.path()), (&Method::GET, "/file"));
            Delivery { after: second, outcome: outcomes.pop_front().unwrap() }
        });
        let _installed = network.install();
        let credentials = Credentials::access_token("canary");
        let config = SessionConfig::new("https://workspace.example", "/sql/1.0/warehouses/w", credentials).unwrap();
        let tokens = config.sign_ins.tokens(&config).unwrap();
        let client = HttpClient::new(config, tokens).unwrap();
        let url = Url::parse("https://store.example/file").unwrap();
        for (ending, seconds) in [
            (Err(Some(ErrorKind::Network)), 2),
            (Err(Some(ErrorKind::Network)), 2),
            (Err(Some(ErrorKind::Timeout)), 31),
            (Ok(Ok(5)), 4),
            (Ok(Err(false)), 4),
            (Ok(Err(true)), 34),
        ] {
            let start = Instant::now();
            let told = match client.storage_get(&url, HeaderMap::new(), false).await {
                Ok(response) => {
                    assert_eq!(network.downloads(), 1);
                    Ok(body(response).await)
                }
                Err(attempt) => Err(Some(attempt.error.kind())),
            };
            assert_eq!((told, start.elapsed(), network.downloads()), (ending, second * seconds, 0));
        }
        let behind = Network::server_time(network.elapsed()).duration_since(network.client_time()).unwrap();
        assert_eq!(behind, Duration::from_secs(5));
    }
}
