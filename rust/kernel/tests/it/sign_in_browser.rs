//! Signing in with a browser, which is played by an HTTP client here; a real one is driven from Python.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fs;
use std::net::TcpListener as StdListener;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use reqwest::Url;
use seakernel::{
    BrowserSignIn, Credentials, Error, ErrorKind, OpenPage, Secret, Session, SessionConfig, SignIn, SignInMethod,
    SignIns, TokenCache,
};
use seakernel_local::{
    Fault, FaultRule, IdentityOptions, OauthCallback, OauthTokenFormat, Operation, ServerOptions, Switches,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use crate::canary;
use crate::warehouse::{FEW, Warehouse, ids};

const PASSPHRASE: &str = "canary-passphrase";

fn switches() -> Switches {
    Switches { oauth_token_format: OauthTokenFormat::Opaque, oauth_rotate_refresh_tokens: true, ..Switches::default() }
}

fn warehouse(switches: Switches) -> Warehouse {
    Warehouse::configured(ServerOptions {
        oauth: Some(IdentityOptions::default()),
        switches,
        ..ServerOptions::default()
    })
}

/// What the user does in front of the page.
#[derive(Clone, Copy, PartialEq)]
enum User {
    SignsIn,
    Denies,
    Sleeps,
    /// Has no browser.
    IsAway,
    /// Comes back by hand, with this query for the right state.
    Returns(&'static str),
}

/// A browser with a user; clones are the same.
#[derive(Clone)]
struct Browser {
    user: Arc<Mutex<User>>,
    opened: Arc<Mutex<Vec<(Instant, Url)>>>,
    /// What it was shown at the end.
    pages: Arc<Mutex<Vec<String>>>,
}

impl Browser {
    fn of(user: User) -> Self {
        Self { user: Arc::new(Mutex::new(user)), opened: Arc::default(), pages: Arc::default() }
    }

    fn user(&self) -> User {
        *self.user.lock().unwrap()
    }

    fn opened(&self) -> usize {
        self.opened.lock().unwrap().len()
    }

    fn last_opened(&self) -> Instant {
        self.opened.lock().unwrap().last().unwrap().0
    }

    fn redirect_uri(&self) -> Url {
        let opened = self.opened.lock().unwrap();
        Url::parse(&query(&opened.last().unwrap().1)["redirect_uri"]).unwrap()
    }

    fn page(&self) -> String {
        self.pages.lock().unwrap().last().unwrap().clone()
    }

    async fn act(&self, page: Url) {
        let mut fields = query(&page);
        let target = match self.user() {
            User::Sleeps | User::IsAway => return,
            User::Returns(answer) => {
                let answer = answer.replace("STATE", &fields["state"]);
                format!("{}/?{answer}", fields["redirect_uri"])
            }
            User::SignsIn | User::Denies => {
                let decision = if self.user() == User::SignsIn { "sign-in" } else { "deny" };
                fields.insert("decision".to_owned(), decision.to_owned());
                let mut form = page.clone();
                form.query_pairs_mut().clear().extend_pairs(&fields);
                let mut post = page.clone();
                post.set_query(None);
                let answer = http("POST", &post, form.query().unwrap()).await;
                let location = answer.lines().find_map(|line| line.strip_prefix("location: "));
                location.unwrap_or_else(|| panic!("{answer}")).to_owned()
            }
        };
        let target = Url::parse(&target).unwrap();
        // What browsers do besides: connections ahead of time, and requests for icons.
        let ahead = [connected(&target).await, connected(&target).await];
        let mut icon = target.clone();
        icon.set_query(None);
        icon.set_path("/favicon.ico");
        assert!(http("GET", &icon, "").await.starts_with("HTTP/1.1 404"));
        let mut endless = connected(&target).await;
        let _ = endless.write_all(&vec![b'x'; 40_000]).await;
        let shown = http("GET", &target, "").await;
        drop(ahead);
        self.pages.lock().unwrap().push(shown);
    }
}

impl OpenPage for Browser {
    fn open(
        &self,
        address: &str,
    ) -> Pin<Box<dyn Future<Output = Result<(), Box<dyn StdError + Send + Sync>>> + Send + 'static>> {
        let page = Url::parse(address).unwrap();
        canary::look_for(&query(&page)["state"]);
        self.opened.lock().unwrap().push((Instant::now(), page.clone()));
        let browser = self.clone();
        Box::pin(async move {
            if browser.user() == User::IsAway {
                return Err("no screen".into());
            }
            tokio::spawn(async move { browser.act(page).await });
            Ok(())
        })
    }
}

fn query(url: &Url) -> BTreeMap<String, String> {
    url.query_pairs().into_owned().collect()
}

/// As browsers resolve `localhost`.
async fn connected(url: &Url) -> TcpStream {
    TcpStream::connect((url.host_str().unwrap(), url.port().unwrap())).await.unwrap()
}

async fn http(method: &str, url: &Url, form: &str) -> String {
    let mut stream = connected(url).await;
    let target = &url[url::Position::BeforePath..];
    let length = form.len();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n\r\n{form}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

fn sign_in(browser: &Browser) -> BrowserSignIn {
    let mut options = BrowserSignIn::new(Arc::new(browser.clone()));
    options.redirect_ports = Some(vec![0]);
    options.callback_timeout = Duration::from_secs(30);
    options
}

fn config(warehouse: &Warehouse, options: BrowserSignIn, sign_ins: &SignIns) -> SessionConfig {
    let credentials = Credentials::SignIn(SignIn::new(SignInMethod::Browser(options)));
    canary::look_at(&credentials);
    let mut config =
        SessionConfig::new(warehouse.server.address(), &warehouse.server.http_path(), credentials).unwrap();
    config.retry = warehouse.config().retry;
    config.sign_ins = sign_ins.clone();
    config
}

/// Opens a session as a program of its own does.
async fn open(warehouse: &Warehouse, options: BrowserSignIn) -> Result<Session, Error> {
    let opened = Session::open(config(warehouse, options, &SignIns::default())).await;
    canary::look_at(&opened);
    opened
}

async fn works(session: &Session) {
    let mut results = session.statement(FEW).execute().await.unwrap().results().await.unwrap();
    assert_eq!(ids(&mut results).await.unwrap().len(), 10);
}

fn issued(warehouse: &Warehouse, grant: &str) -> u64 {
    warehouse.server.counters().issued_tokens.get(grant).copied().unwrap_or_default()
}

#[tokio::test]
async fn a_user_signs_in_once_for_all_sessions() {
    let (warehouse, browser, sign_ins) = (warehouse(switches()), Browser::of(User::SignsIn), SignIns::default());
    let opened = join_all((0..8).map(|_| Session::open(config(&warehouse, sign_in(&browser), &sign_ins)))).await;
    for session in opened {
        works(&session.unwrap()).await;
    }
    assert_eq!((browser.opened(), issued(&warehouse, "authorization_code")), (1, 1));
    let mut patient = sign_in(&browser);
    patient.callback_timeout = Duration::MAX;
    open(&warehouse, patient).await.unwrap();
    let asked = query(&browser.opened.lock().unwrap()[0].1);
    let expected =
        [("client_id", "databricks-cli"), ("scope", "all-apis offline_access"), ("code_challenge_method", "S256")];
    for (name, value) in expected {
        assert_eq!(asked[name], value);
    }
    let page = browser.page();
    assert!(page.starts_with("HTTP/1.1 200 OK") && page.contains("You are signed in"), "{page}");
    for header in
        ["Cache-Control: no-store", "Referrer-Policy: no-referrer", "Content-Security-Policy: default-src 'none'"]
    {
        assert!(page.contains(header), "{page}");
    }
}

#[tokio::test]
async fn tokens_are_renewed_without_the_user_and_each_refresh_token_is_used_once() {
    let warehouse = warehouse(Switches { oauth_lifetime_seconds: 1, ..switches() });
    let browser = Browser::of(User::SignsIn);
    let session = open(&warehouse, sign_in(&browser)).await.unwrap();
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(4) {
        works(&session).await;
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(browser.opened(), 1);
    assert!(issued(&warehouse, "refresh_token") >= 2);
    assert_eq!(warehouse.server.counters().reused_refresh_tokens, 0);
}

#[tokio::test]
async fn a_provider_that_names_no_new_refresh_token_lets_the_old_one_stand() {
    let warehouse = warehouse(Switches { oauth_rotate_refresh_tokens: false, ..switches() });
    let browser = Browser::of(User::SignsIn);
    let session = open(&warehouse, sign_in(&browser)).await.unwrap();
    for renewals in 1..=3 {
        warehouse.server.revoke_tokens();
        works(&session).await;
        assert_eq!((browser.opened(), issued(&warehouse, "refresh_token")), (1, renewals));
    }
}

#[tokio::test]
async fn the_user_is_asked_again_when_the_token_has_ended_and_not_before() {
    let warehouse = warehouse(Switches { oauth_lifetime_seconds: 2, ..switches() });
    let browser = Browser::of(User::SignsIn);
    let session = open(&warehouse, sign_in(&browser)).await.unwrap();
    let first = browser.last_opened();
    warehouse.server.revoke_refresh_tokens();
    while browser.opened() == 1 {
        works(&session).await;
        sleep(Duration::from_millis(20)).await;
    }
    // Renewing it early, after 1.5 s, must have failed in silence.
    let later = browser.last_opened() - first;
    assert!(later >= Duration::from_millis(1_800), "{later:?}");
    works(&session).await;
    // The worthless refresh token was shown once.
    let refused = warehouse.server.requests().iter().filter(|request| request.status == Some(400)).count();
    assert_eq!((refused, issued(&warehouse, "authorization_code")), (1, 2));
}

#[tokio::test]
async fn what_ends_something_opens_no_page() {
    let warehouse = warehouse(switches());
    let browser = Browser::of(User::SignsIn);
    let session = open(&warehouse, sign_in(&browser)).await.unwrap();
    let statement = session.statement(FEW).submit().await.unwrap();
    statement.wait().await.unwrap();
    let revoke = || {
        warehouse.server.revoke_tokens();
        warehouse.server.revoke_refresh_tokens();
    };
    revoke();
    let error = statement.cancel().await.unwrap_err();
    assert_eq!((error.kind(), error.http_status()), (ErrorKind::Unauthenticated, None), "{error}");
    assert!(error.to_string().contains("the user has to sign in again"), "{error}");
    statement.close().await.unwrap();
    assert_eq!(browser.opened(), 1);
    // A statement is worth a page.
    works(&session).await;
    assert_eq!(browser.opened(), 2);
    revoke();
    session.close().await.unwrap();
    assert_eq!(browser.opened(), 2);
    assert!(canary::was_logged("the user has to sign in again"));
}

#[tokio::test]
async fn every_way_to_fail_says_so_in_the_browser_and_in_the_program() {
    let unauthenticated = ErrorKind::Unauthenticated;
    for (user, callback, text, page) in [
        (User::Denies, OauthCallback::Redirect, "access_denied: access was denied in the browser", "access was denied"),
        (User::SignsIn, OauthCallback::WrongState, "with another state than the one sent", "This page is not of the"),
        (User::SignsIn, OauthCallback::NoState, "with another state than the one sent", "This page is not of the"),
        (User::SignsIn, OauthCallback::ServerError, "server_error: the sign-in in the browser failed", "server_error"),
        (
            User::Returns("error=%0a%3Cb%3Ex&error_description=%3Cscript%3E%26%27%22&state=STATE"),
            OauthCallback::Redirect,
            "answered <b>x: the sign-in in the browser failed: try again (<script>&'\")",
            "&lt;b&gt;x: the sign-in in the browser failed: try again (&lt;script&gt;&amp;&#39;&quot;)",
        ),
        (
            User::Returns("code=canary-code&state=STATE"),
            OauthCallback::Redirect,
            "HTTP 400 invalid_grant: what was shown has expired",
            "invalid_grant",
        ),
    ] {
        let warehouse = warehouse(Switches { oauth_callback: callback, ..switches() });
        let browser = Browser::of(user);
        let error = open(&warehouse, sign_in(&browser)).await.unwrap_err();
        let host = warehouse.server.address().trim_start_matches("http://").to_owned();
        assert_eq!(error.kind(), unauthenticated, "{error}");
        assert!(error.to_string().contains(text) && error.to_string().contains(&host), "{error}");
        assert!(!error.is_retryable());
        assert!(warehouse.eventually(|_| !browser.pages.lock().unwrap().is_empty()).await);
        let shown = browser.page();
        assert!(shown.contains("You are not signed in") && shown.contains(page), "{shown}");
        assert!(!shown.contains("<b>") && !shown.contains("<script>"), "{shown}");
        assert_eq!(warehouse.count(Operation::OpenSession), 0);
    }
}

#[tokio::test]
async fn a_code_is_shown_to_the_provider_once() {
    let (warehouse, browser) = (warehouse(switches()), Browser::of(User::SignsIn));
    let down = Fault::Status { code: 500, retry_after: None, error_code: None, body: None };
    warehouse.server.set_faults(vec![FaultRule::new(Operation::Token, down).always()]);
    let error = open(&warehouse, sign_in(&browser)).await.unwrap_err();
    assert_eq!((error.kind(), warehouse.count(Operation::Token)), (ErrorKind::Unavailable, 1), "{error}");
    assert!(warehouse.eventually(|_| !browser.pages.lock().unwrap().is_empty()).await);
    assert!(browser.page().contains("You are not signed in"));
}

/// A provider that repeats in its refusal all that it was told.
#[tokio::test]
async fn what_the_provider_was_shown_is_not_repeated() {
    let (warehouse, browser) = (warehouse(switches()), Browser::of(User::SignsIn));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut options = sign_in(&browser);
    options.token_url = Some(format!("http://{}/token", listener.local_addr().unwrap()));
    let provider = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut request, mut chunk) = (String::new(), [0; 4096]);
        while !request.contains("code_verifier=") {
            let read = stream.read(&mut chunk).await.unwrap();
            request.push_str(std::str::from_utf8(&chunk[..read]).unwrap());
        }
        let form = request.split("\r\n\r\n").nth(1).unwrap();
        let form: BTreeMap<_, _> = query(&Url::parse(&format!("http://form/?{form}")).unwrap());
        let (code, verifier) = (form["code"].clone(), form["code_verifier"].clone());
        let refusal =
            serde_json::json!({"error": "invalid_request", "error_description": format!("{code} {verifier}")});
        let body = refusal.to_string();
        let head = format!("HTTP/1.1 400 Bad Request\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        (code, verifier)
    });
    let error = Session::open(config(&warehouse, options, &SignIns::default())).await.unwrap_err();
    let (code, verifier) = provider.await.unwrap();
    assert!(error.to_string().contains("invalid_request") && error.to_string().contains("*** ***"), "{error}");
    assert!(warehouse.eventually(|_| !browser.pages.lock().unwrap().is_empty()).await);
    for secret in [code, verifier] {
        assert!(secret.len() >= 43);
        assert!(!format!("{error:?}").contains(&secret) && !browser.page().contains(&secret));
        assert!(!canary::was_logged(&secret));
        canary::look_for(&secret);
    }
}

#[tokio::test]
async fn a_user_who_does_nothing_is_not_waited_for_forever() {
    let (warehouse, browser) = (warehouse(switches()), Browser::of(User::Sleeps));
    let mut options = sign_in(&browser);
    options.callback_timeout = Duration::from_millis(300);
    let error = open(&warehouse, options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let text = error.to_string();
    assert!(text.contains("nobody has signed in at 127.0.0.1:") && text.contains("within 0.3 s"), "{text}");
    assert!(text.contains("`callback_timeout_s`"), "{text}");
    let gone = browser.redirect_uri();
    assert!(TcpStream::connect((gone.host_str().unwrap(), gone.port().unwrap())).await.is_err());
}

#[tokio::test]
async fn without_a_browser_the_error_says_what_else_there_is() {
    let (warehouse, browser) = (warehouse(switches()), Browser::of(User::IsAway));
    let error = open(&warehouse, sign_in(&browser)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    let text = error.to_string();
    for part in ["the page of 127.0.0.1:", "`open_browser`", "oauth-m2m", "no screen"] {
        assert!(text.contains(part), "{text}");
    }
}

#[tokio::test]
async fn the_first_free_port_is_taken_for_all_addresses_of_localhost() {
    let (warehouse, browser) = (warehouse(switches()), Browser::of(User::SignsIn));
    let taken = StdListener::bind("127.0.0.1:0").unwrap();
    let taken_port = taken.local_addr().unwrap().port();
    let mut options = sign_in(&browser);
    options.redirect_ports = Some(vec![taken_port]);
    let error = open(&warehouse, options.clone()).await.unwrap_err();
    assert_eq!((error.kind(), browser.opened()), (ErrorKind::Unauthenticated, 0));
    assert!(error.to_string().contains(&format!("(tried {taken_port})")), "{error}");
    options.redirect_ports = Some(vec![taken_port, 0]);
    open(&warehouse, options.clone()).await.unwrap();
    // Somebody who listens at IPv6 alone would get the code.
    if let Ok(other) = StdListener::bind("[::1]:0") {
        options.redirect_ports = Some(vec![other.local_addr().unwrap().port()]);
        let error = open(&warehouse, options).await.unwrap_err();
        assert!(error.to_string().contains("no port of `redirect_ports` is free"), "{error}");
    }
    let mut options = sign_in(&browser);
    options.redirect_ports = Some(Vec::new());
    let error = open(&warehouse, options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

/// Waits until nobody listens for the browser any more.
async fn ended(browser: &Browser) {
    let address = browser.redirect_uri();
    let freed = async {
        while TcpStream::connect((address.host_str().unwrap(), address.port().unwrap())).await.is_ok() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(10), freed).await.unwrap();
}

#[tokio::test]
async fn a_statement_is_not_sent_for_a_caller_who_has_gone_before_the_user_has_signed_in() {
    let warehouse = warehouse(Switches { oauth_lifetime_seconds: 2, ..switches() });
    let browser = Browser::of(User::SignsIn);
    let session = open(&warehouse, sign_in(&browser)).await.unwrap();
    warehouse.server.revoke_refresh_tokens();
    *browser.user.lock().unwrap() = User::Sleeps;
    sleep(Duration::from_millis(2_100)).await;
    let statement = session.statement(FEW);
    let executing = tokio::spawn(async move { statement.execute().await.map(drop) });
    assert!(warehouse.eventually(|_| browser.opened() == 2).await);
    executing.abort();
    ended(&browser).await;
    *browser.user.lock().unwrap() = User::SignsIn;
    works(&session).await;
    assert_eq!((browser.opened(), warehouse.count(Operation::Execute)), (3, 1));
}

#[tokio::test]
async fn a_sign_in_that_nobody_waits_for_ends() {
    let (warehouse, browser, sign_ins) = (warehouse(switches()), Browser::of(User::Sleeps), SignIns::default());
    let opening = tokio::spawn(Session::open(config(&warehouse, sign_in(&browser), &sign_ins)));
    assert!(warehouse.eventually(|_| browser.opened() == 1).await);
    opening.abort();
    ended(&browser).await;
    // The next one starts anew, with the way to open pages that it brings itself.
    let second = Browser::of(User::SignsIn);
    Session::open(config(&warehouse, sign_in(&second), &sign_ins)).await.unwrap();
    assert_eq!((browser.opened(), second.opened()), (1, 1));
}

/// A folder that ends with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("seakernel-tokens-{now}-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        let files = fs::read_dir(self.0.join("cache")).unwrap().map(|entry| entry.unwrap().path());
        let mut found: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
        assert_eq!(found.len(), 1);
        found.remove(0)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn cached(browser: &Browser, folder: &Folder, passphrase: Option<&str>) -> BrowserSignIn {
    let mut cache = TokenCache::default();
    cache.folder = Some(folder.0.join("cache"));
    cache.home = Some(folder.0.clone());
    cache.passphrase = passphrase.map(Secret::new);
    let mut options = sign_in(browser);
    options.cache = Some(cache);
    options
}

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;

    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;

    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn programs_that_share_a_cache_renew_once() {
    let (browser, folder) = (Browser::of(User::SignsIn), Folder::new());
    let warehouse = warehouse(switches());
    // The others wait while one has the user sign in.
    for session in join_all((0..4).map(|_| open(&warehouse, cached(&browser, &folder, None)))).await {
        works(&session.unwrap()).await;
    }
    works(&open(&warehouse, cached(&browser, &folder, None)).await.unwrap()).await;
    assert_eq!((browser.opened(), warehouse.count(Operation::Token)), (1, 1));
    #[cfg(unix)]
    assert_eq!((mode(&folder.file()), mode(&folder.0.join("cache"))), (0o600, 0o700));
    assert_eq!(fs::read_dir(folder.0.join("cache")).unwrap().count(), 2, "the file and its lock");

    // Each finds its token refused.
    let sessions = join_all((0..8).map(|_| open(&warehouse, cached(&browser, &folder, None)))).await;
    warehouse.server.revoke_tokens();
    join_all(sessions.iter().map(|session| works(session.as_ref().unwrap()))).await;
    assert_eq!((browser.opened(), issued(&warehouse, "refresh_token")), (1, 1));

    // Each finds it so in the file.
    let text = fs::read_to_string(folder.file()).unwrap();
    let ended = regex_free_replace(&text, "\"expires_at_ms\":", "1");
    fs::write(folder.file(), ended).unwrap();
    let sessions = join_all((0..8).map(|_| open(&warehouse, cached(&browser, &folder, None)))).await;
    join_all(sessions.iter().map(|session| works(session.as_ref().unwrap()))).await;
    assert_eq!((browser.opened(), issued(&warehouse, "refresh_token")), (1, 2));
    assert_eq!(warehouse.server.counters().reused_refresh_tokens, 0);
}

/// Replaces the number after `key`.
fn regex_free_replace(text: &str, key: &str, number: &str) -> String {
    let (before, after) = text.split_once(key).unwrap();
    format!("{before}{key}{number}{}", after.trim_start_matches(|c: char| c.is_ascii_digit()))
}

#[tokio::test]
async fn with_a_passphrase_nothing_is_in_clear() {
    let (browser, folder, warehouse) = (Browser::of(User::SignsIn), Folder::new(), warehouse(switches()));
    // As it was before somebody thought of a passphrase.
    open(&warehouse, cached(&browser, &folder, None)).await.unwrap();
    assert!(fs::read_to_string(folder.file()).unwrap().contains("local-refresh-"));
    for _ in 0..2 {
        works(&open(&warehouse, cached(&browser, &folder, Some(PASSPHRASE))).await.unwrap()).await;
        let text = fs::read_to_string(folder.file()).unwrap();
        assert!(text.contains("PBKDF2-HMAC-SHA256") && canary::mark_in(&text).is_none(), "{text}");
        assert!(!text.contains("access_token"), "{text}");
    }
    // Encrypted afresh after each renewal.
    let before = fs::read_to_string(folder.file()).unwrap();
    warehouse.server.revoke_tokens();
    works(&open(&warehouse, cached(&browser, &folder, Some(PASSPHRASE))).await.unwrap()).await;
    assert_ne!(before, fs::read_to_string(folder.file()).unwrap());
    assert_eq!((browser.opened(), issued(&warehouse, "refresh_token")), (1, 1));

    for (passphrase, text) in [(Some("canary-other"), "cannot be decrypted"), (None, "give its `cache_passphrase`")] {
        let error = open(&warehouse, cached(&browser, &folder, passphrase)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains(text) && error.to_string().contains(".json"), "{error}");
    }
    // What was changed by one letter, or is another sign-in's, does not open.
    let text = fs::read_to_string(folder.file()).unwrap();
    let at = text.find("\"text\":\"").unwrap() + 12;
    let other = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
    fs::write(folder.file(), format!("{}{other}{}", &text[..at], &text[at + 1..])).unwrap();
    let error = open(&warehouse, cached(&browser, &folder, Some(PASSPHRASE))).await.unwrap_err();
    assert!(error.to_string().contains("cannot be decrypted"), "{error}");
    // A file that asks for hours of work does not get them.
    fs::write(folder.file(), regex_free_replace(&text, "\"iterations\":", "4000000000")).unwrap();
    open(&warehouse, cached(&browser, &folder, Some(PASSPHRASE))).await.unwrap();
    assert_eq!(browser.opened(), 2);
}

#[tokio::test]
async fn a_file_that_cannot_be_trusted_is_left_aside_and_replaced() {
    let (browser, folder, warehouse) = (Browser::of(User::SignsIn), Folder::new(), warehouse(switches()));
    open(&warehouse, cached(&browser, &folder, None)).await.unwrap();
    let good = fs::read_to_string(folder.file()).unwrap();
    let mut sign_ins = 1;
    for bad in [
        String::new(),
        "{".to_owned(),
        "[]".to_owned(),
        good[..good.len() / 2].to_owned(),
        good.replace("\"version\":1", "\"version\":2"),
        good.replace("127.0.0.1", "127.0.0.2"),
        good.replace("\"tokens\"", "\"other\""),
        format!("{good}{}", " ".repeat(1 << 20)),
    ] {
        fs::write(folder.file(), &bad).unwrap();
        sign_ins += 1;
        works(&open(&warehouse, cached(&browser, &folder, None)).await.unwrap()).await;
        assert_eq!(browser.opened(), sign_ins, "{}", bad.len());
    }
    #[cfg(unix)]
    {
        set_mode(&folder.file(), 0o640);
        open(&warehouse, cached(&browser, &folder, None)).await.unwrap();
        assert_eq!((browser.opened(), mode(&folder.file())), (sign_ins + 1, 0o600));
        // Nobody may put files there.
        set_mode(&folder.0.join("cache"), 0o777);
        warehouse.server.revoke_tokens();
        let error = open(&warehouse, cached(&browser, &folder, None)).await.unwrap_err();
        assert!(error.to_string().contains("other users may write to the folder"), "{error}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn nothing_of_others_is_followed_or_left_lying() {
    let (browser, folder, warehouse) = (Browser::of(User::SignsIn), Folder::new(), warehouse(switches()));
    open(&warehouse, cached(&browser, &folder, None)).await.unwrap();
    // A link to elsewhere is none of our files, wherever it leads.
    let (file, elsewhere) = (folder.file(), folder.0.join("elsewhere"));
    fs::rename(&file, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &file).unwrap();
    let before = fs::read_to_string(&elsewhere).unwrap();
    let temporary = |name: &str, age: u64| {
        let path = folder.0.join("cache").join(name);
        let written = SystemTime::now() - Duration::from_secs(age);
        fs::File::create(&path).unwrap().set_modified(written).unwrap();
        path
    };
    let (left, busy, other) =
        (temporary(".0123456789abcdef.tmp", 90), temporary(".fedcba9876543210.tmp", 1), temporary(".mine.tmp", 90));
    works(&open(&warehouse, cached(&browser, &folder, None)).await.unwrap()).await;
    assert_eq!(browser.opened(), 2);
    assert!(fs::symlink_metadata(&file).unwrap().is_file() && fs::read_to_string(&elsewhere).unwrap() == before);
    assert_eq!([&left, &busy, &other].map(|path| path.exists()), [false, true, true]);
    // Only root may give a folder away.
    if std::os::unix::fs::chown(folder.0.join("cache"), Some(4242), None).is_ok() {
        let error = open(&warehouse, cached(&browser, &folder, None)).await.unwrap_err();
        assert!(error.to_string().contains("belongs to another user"), "{error}");
    }
    // What stands where the lock is kept and cannot be one.
    let folder = Folder::new();
    fs::create_dir(folder.0.join("cache")).unwrap();
    set_mode(&folder.0.join("cache"), 0o700);
    open(&warehouse, cached(&browser, &folder, None)).await.unwrap();
    let lock = folder.file().with_extension("lock");
    fs::remove_file(&lock).unwrap();
    fs::remove_file(folder.file()).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &lock).unwrap();
    let error = open(&warehouse, cached(&browser, &folder, None)).await.unwrap_err();
    assert!(error.to_string().contains("is not a regular file: remove it"), "{error}");
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_an_error_before_the_browser_opens() {
    let (browser, folder, warehouse) = (Browser::of(User::SignsIn), Folder::new(), warehouse(switches()));
    fs::write(folder.0.join("cache"), "a file").unwrap();
    let error = open(&warehouse, cached(&browser, &folder, None)).await.unwrap_err();
    assert_eq!((error.kind(), browser.opened()), (ErrorKind::InvalidArgument, 0));
    assert!(error.to_string().contains("cannot be made: name another folder, or go without `cache`"), "{error}");
}

/// A sign-in of the Databricks CLI.
fn write_cli_cache(folder: &Folder, warehouse: &Warehouse, access_token: &str, refresh_token: &str, expiry: &str) {
    let place = folder.0.join(".databricks");
    fs::create_dir_all(&place).unwrap();
    let host = warehouse.server.address();
    let text = format!(
        r#"{{"version": 1, "tokens": {{"{host}": {{"access_token": "{access_token}", "token_type": "Bearer",
            "refresh_token": "{refresh_token}", "expiry": "{expiry}"}}, "https://other": {{}}}}}}"#
    );
    fs::write(place.join("token-cache.json"), text).unwrap();
    #[cfg(unix)]
    set_mode(&place.join("token-cache.json"), 0o600);
}

#[tokio::test]
async fn the_tokens_of_the_command_line_spare_the_user_the_browser() {
    let (browser, folder, warehouse) = (Browser::of(User::SignsIn), Folder::new(), warehouse(switches()));
    // Some token of the provider, and a refresh token.
    open(&warehouse, cached(&browser, &folder, None)).await.unwrap();
    let kept: serde_json::Value = serde_json::from_str(&fs::read_to_string(folder.file()).unwrap()).unwrap();
    let text = |name: &str| kept["tokens"][name].as_str().unwrap().to_owned();
    fs::remove_dir_all(folder.0.join("cache")).unwrap();

    write_cli_cache(&folder, &warehouse, &text("access_token"), "none", "2999-01-01T01:02:03.456789012+02:00");
    works(&open(&warehouse, cached(&browser, &folder, None)).await.unwrap()).await;
    assert_eq!((browser.opened(), warehouse.count(Operation::Token)), (1, 1));

    write_cli_cache(&folder, &warehouse, "ended", &text("refresh_token"), "2020-01-01T01:02:03Z");
    for _ in 0..3 {
        works(&open(&warehouse, cached(&browser, &folder, None)).await.unwrap()).await;
    }
    assert_eq!((browser.opened(), issued(&warehouse, "refresh_token")), (1, 1));
    assert_eq!(warehouse.server.counters().reused_refresh_tokens, 0);

    // Of another app, or for less: not the same sign-in.
    fs::remove_dir_all(folder.0.join("cache")).unwrap();
    let mut options = cached(&browser, &folder, None);
    options.scopes = vec!["sql".to_owned()];
    open(&warehouse, options).await.unwrap();
    assert_eq!(browser.opened(), 2);
    // Without `cache` nothing is read.
    open(&warehouse, sign_in(&browser)).await.unwrap();
    assert_eq!(browser.opened(), 3);
}
