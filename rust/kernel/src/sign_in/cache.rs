//! Tokens of users on disk: one file per sign-in, locked across processes while it is renewed, encrypted on demand.

use std::env;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use ring::pbkdf2::{PBKDF2_HMAC_SHA256, derive};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use tracing::warn;
use zeroize::Zeroizing;

use super::random;
use crate::auth::Secret;
use crate::clock::time_of_day;
use crate::error::{Error, ErrorKind, Result};
use crate::local_file::{self, Links, Unread, is_ours, is_writable_by_others};

/// Version of the files' form.
const VERSION: u32 = 1;
/// Largest file that is read.
pub(super) const MAX_FILE_BYTES: u64 = 1 << 20;
/// Enough for the tokens of a sign-in, so that no buffer that grows leaves a copy behind.
const USUAL_BYTES: usize = 16 << 10;
/// What OWASP advises for this derivation (2023).
const ITERATIONS: u32 = 600_000;
/// What a file may ask for: less is not what we write, and more would keep the program busy.
const ACCEPTED_ITERATIONS: std::ops::RangeInclusive<u32> = 100_000..=2_000_000;
const SALT_BYTES: usize = 16;
const NONCE_BYTES: usize = 12;
/// How the name ends of a file that is being written, and after what time nobody writes it any more.
const TEMPORARY_END: &str = ".tmp";
const ABANDONED: Duration = Duration::from_secs(60);
/// How often a lock is tried.
const LOCK_TICK: Duration = Duration::from_millis(50);

/// Where the tokens of a user are kept between programs.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct TokenCache {
    /// The folder of the files. Default `seakernel/tokens` in the user's folder for caches.
    pub folder: Option<PathBuf>,
    /// What the files are encrypted with. Without it they are as readable as the user's other files.
    pub passphrase: Option<Secret>,
    /// Where the caches of the Databricks CLI and SDK are looked for. Default the user's home.
    pub home: Option<PathBuf>,
}

/// What a sign-in has brought.
#[derive(Clone)]
pub(super) struct UserTokens {
    pub(super) access_token: Option<Secret>,
    pub(super) refresh_token: Option<Secret>,
    pub(super) expires: SystemTime,
    /// Life of the access token from its beginning, where it is known.
    pub(super) lifetime: Option<Duration>,
}

/// The file of one sign-in.
pub(super) struct CacheFile {
    path: PathBuf,
    lock_path: PathBuf,
    passphrase: Option<Secret>,
    about: About,
    /// The last key made of the passphrase, which takes a good part of a second.
    key: Mutex<Option<Key>>,
}

/// Whose tokens they are.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct About {
    pub(super) host: String,
    pub(super) client_id: String,
    pub(super) scopes: Vec<String>,
    /// Where tokens are asked for, if not where the host says.
    pub(super) token_url: Option<String>,
}

struct Found {
    tokens: UserTokens,
    /// They are not encrypted, and ought to be.
    in_clear: bool,
}

/// Others wait while it is held.
pub(super) struct Locked(File);

#[derive(Clone)]
struct Key {
    salt: [u8; SALT_BYTES],
    iterations: u32,
    bytes: Arc<Zeroizing<[u8; 32]>>,
}

#[derive(Deserialize, Serialize)]
struct Content {
    version: u32,
    about: About,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    encrypted: Option<Encrypted>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tokens: Option<Tokens>,
}

/// `Tokens` as JSON, with whose they are as authenticated data.
#[derive(Deserialize, Serialize)]
struct Encrypted {
    cipher: String,
    derivation: String,
    iterations: u32,
    salt: String,
    nonce: String,
    text: String,
}

#[derive(Deserialize, Serialize)]
struct Tokens {
    access_token: Option<Zeroizing<String>>,
    refresh_token: Option<Zeroizing<String>>,
    expires_at_ms: u64,
    lifetime_ms: Option<u64>,
}

const CIPHER: &str = "AES-256-GCM";
const DERIVATION: &str = "PBKDF2-HMAC-SHA256";

impl TokenCache {
    /// Returns the file of a sign-in; nothing is read or made yet.
    pub(super) fn file(&self, about: About) -> Result<CacheFile> {
        let folder = match &self.folder {
            Some(folder) => folder.clone(),
            None => default_folder().ok_or_else(|| {
                let text = "`cache`: no folder of the user is known, for `HOME` is not set: name one, as in \
                            `\"cache\": \"/path/of/a/folder\"`";
                Error::new(ErrorKind::InvalidArgument, text)
            })?,
        };
        let whose = serde_json::to_string(&about).unwrap_or_default();
        let name = BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, whose.as_bytes()));
        Ok(CacheFile {
            path: folder.join(format!("{name}.json")),
            lock_path: folder.join(format!("{name}.lock")),
            passphrase: self.passphrase.clone(),
            about,
            key: Mutex::default(),
        })
    }

    /// Returns where other tools' caches are.
    pub(super) fn home(&self) -> Option<PathBuf> {
        self.home.clone().or_else(home)
    }
}

impl CacheFile {
    /// Makes the folder and waits until no other process renews these tokens.
    pub(super) async fn lock(self: &Arc<Self>, deadline: Instant) -> Result<Locked> {
        let file = self.blocking(Self::open_lock).await?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Locked(file)),
                Err(TryLockError::WouldBlock) if Instant::now() + LOCK_TICK < deadline => sleep(LOCK_TICK).await,
                Err(TryLockError::WouldBlock) => {
                    let lock = self.lock_path.display();
                    let text = format!(
                        "sign-in: another program has held `{lock}` for too long; it may be waiting for somebody to sign \
                         in: finish that sign-in or end the program"
                    );
                    return Err(Error::new(ErrorKind::Timeout, text));
                }
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                    warn!(folder = %self.folder().display(), "files cannot be locked here: programs that sign in at once may \
                           have to do so twice");
                    return Ok(Locked(file));
                }
                Err(TryLockError::Error(error)) => return Err(self.unusable("cannot be locked", error)),
            }
        }
    }

    /// Returns the tokens, if there are any. A file that is none of ours or may have been written by others is left aside.
    pub(super) async fn read(self: &Arc<Self>) -> Result<Option<UserTokens>> {
        // Of those that are to be encrypted first, under the lock, nothing is told.
        self.blocking(|file| Ok(file.read_now()?.filter(|found| !found.in_clear).map(|found| found.tokens))).await
    }

    /// The same while nobody else writes them; those that should be encrypted and are not are so from now on.
    pub(super) async fn read_locked(self: &Arc<Self>, _: &Locked) -> Result<Option<UserTokens>> {
        self.blocking(|file| {
            let Some(found) = file.read_now()? else { return Ok(None) };
            if found.in_clear {
                file.write_now(&found.tokens)?;
            }
            Ok(Some(found.tokens))
        })
        .await
    }

    /// Replaces the tokens.
    pub(super) async fn write(self: &Arc<Self>, tokens: &UserTokens, _: &Locked) -> Result<()> {
        let tokens = tokens.clone();
        self.blocking(move |file| file.write_now(&tokens)).await
    }

    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let file = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || work(&file)).await;
        done.unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "the token cache could not be used")))
    }

    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }

    fn open_lock(&self) -> Result<File> {
        let folder = self.folder();
        make_private_folder(folder).map_err(|error| self.unusable("cannot be made", error))?;
        self.check_folder()?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let opened = local_file::open(private(&mut options), &self.lock_path, Links::Refused);
        opened.map(|(file, _)| file).map_err(|unread| match unread.words(0) {
            (_, Some(error)) => self.unusable("cannot be written to", error),
            (why, None) => {
                let text = format!("`cache`: the file `{}` {why}: remove it", self.lock_path.display());
                Error::new(ErrorKind::InvalidArgument, text)
            }
        })
    }

    /// Fails where others may put files into the folder.
    fn check_folder(&self) -> Result<()> {
        // One that is not there yet holds nothing.
        let Ok(metadata) = fs::metadata(self.folder()) else { return Ok(()) };
        let folder = self.folder().display();
        let why = if !is_ours(&metadata) {
            format!("the folder `{folder}` belongs to another user, who could plant tokens there: name another folder")
        } else if is_writable_by_others(&metadata) {
            format!(
                "other users may write to the folder `{folder}`, and could plant tokens there: `chmod 700 {folder}`, or name \
                 another folder"
            )
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::InvalidArgument, format!("`cache`: {why}")))
    }

    /// Removes what writers have left behind that were ended in the middle of it.
    fn sweep(&self) {
        let Ok(entries) = fs::read_dir(self.folder()) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let is_temporary = name.to_str().is_some_and(|name| {
                let number = name.strip_prefix('.').and_then(|name| name.strip_suffix(TEMPORARY_END));
                number.is_some_and(|number| number.len() == 16 && number.bytes().all(|byte| byte.is_ascii_hexdigit()))
            });
            // Of the entry itself, not of what a link leads to.
            let Some(metadata) = is_temporary.then(|| entry.metadata().ok()).flatten() else { continue };
            let age = metadata.modified().ok().and_then(|modified| time_of_day().duration_since(modified).ok());
            if metadata.is_file() && is_ours(&metadata) && age.is_some_and(|age| age > ABANDONED) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn unusable(&self, what: &str, error: io::Error) -> Error {
        let folder = self.folder().display();
        let text = format!("`cache`: the folder `{folder}` {what}: name another folder, or go without `cache`");
        Error::new(ErrorKind::InvalidArgument, text).with_source(error)
    }

    fn read_now(&self) -> Result<Option<Found>> {
        self.check_folder()?;
        let content = match local_file::read_private(&self.path, MAX_FILE_BYTES, Links::Refused) {
            Ok(content) => content,
            Err(Unread::Absent(_)) => return Ok(None),
            Err(Unread::Failed(error)) => return Err(self.unusable("cannot be read from", error)),
            Err(unread) => return Ok(self.aside(&format!("it {}", unread.words(MAX_FILE_BYTES).0))),
        };
        // What the parser says could quote a token.
        let Ok(content) = serde_json::from_slice::<Content>(&content) else {
            return Ok(self.aside("it is damaged, or of another program"));
        };
        if content.version != VERSION || content.about != self.about {
            return Ok(self.aside("it is of another version, or of another sign-in"));
        }
        match (content.tokens, content.encrypted) {
            (Some(tokens), None) => Ok(Some(Found { tokens: tokens.into(), in_clear: self.passphrase.is_some() })),
            (None, Some(encrypted)) => self.decrypt(&encrypted),
            _ => Ok(self.aside("it is damaged")),
        }
    }

    fn aside<T>(&self, why: &str) -> Option<T> {
        warn!(file = %self.path.display(), "the file of the token cache is not used: {why}; the next sign-in replaces it");
        None
    }

    fn decrypt(&self, encrypted: &Encrypted) -> Result<Option<Found>> {
        let Some(passphrase) = &self.passphrase else {
            return Err(self.locked_up("is encrypted: give its `cache_passphrase`"));
        };
        let salt = decoded::<SALT_BYTES>(&encrypted.salt);
        let nonce = decoded::<NONCE_BYTES>(&encrypted.nonce);
        let text = BASE64_STANDARD.decode(&encrypted.text).ok();
        let known = encrypted.cipher == CIPHER
            && encrypted.derivation == DERIVATION
            && ACCEPTED_ITERATIONS.contains(&encrypted.iterations);
        let (Some(salt), Some(nonce), Some(text), true) = (salt, nonce, text, known) else {
            return Ok(self.aside("it is damaged, or encrypted in another way"));
        };
        let mut text = Zeroizing::new(text);
        let key = self.key(passphrase, salt, encrypted.iterations)?.cipher()?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let opened = key.open_in_place(nonce, Aad::from(self.whose()), &mut text);
        let Ok(opened) = opened else {
            return Err(self.locked_up(
                "cannot be decrypted: either `cache_passphrase` is not the one it was made with, or \
                                       it was changed; with another passphrase, delete it and sign in again",
            ));
        };
        match serde_json::from_slice::<Tokens>(opened) {
            Ok(tokens) => Ok(Some(Found { tokens: tokens.into(), in_clear: false })),
            Err(_) => Ok(self.aside("it is damaged")),
        }
    }

    fn locked_up(&self, what: &str) -> Error {
        Error::new(ErrorKind::InvalidArgument, format!("`cache`: the file `{}` {what}", self.path.display()))
    }

    fn write_now(&self, tokens: &UserTokens) -> Result<()> {
        let content = self.content(tokens)?;
        let failed = |error| self.unusable("cannot be written to", error);
        self.sweep();
        let temporary = self.folder().join(format!(".{:016x}{TEMPORARY_END}", rand::random::<u64>()));
        let written = || {
            let mut options = OpenOptions::new();
            let mut file = private(options.write(true).create_new(true)).open(&temporary)?;
            file.write_all(&content)?;
            file.sync_all()?;
            fs::rename(&temporary, &self.path)
        };
        written().map_err(|error| {
            let _ = fs::remove_file(&temporary);
            failed(error)
        })
    }

    fn content(&self, tokens: &UserTokens) -> Result<Zeroizing<Vec<u8>>> {
        let tokens = Tokens::from(tokens);
        let (tokens, encrypted) = match &self.passphrase {
            None => (Some(tokens), None),
            Some(passphrase) => (None, Some(self.encrypt(passphrase, &tokens)?)),
        };
        let mut written = Zeroizing::new(Vec::with_capacity(USUAL_BYTES));
        let content = Content { version: VERSION, about: self.about.clone(), encrypted, tokens };
        serde_json::to_writer(&mut *written, &content).map_err(|_| internal("the token cache could not be written"))?;
        Ok(written)
    }

    fn encrypt(&self, passphrase: &Secret, tokens: &Tokens) -> Result<Encrypted> {
        let last = self.last_key().clone();
        // The salt of the file as it was: then a process makes one key, however often it writes.
        let key = match last {
            Some(key) if key.iterations >= ITERATIONS => key,
            _ => self.key(passphrase, random()?, ITERATIONS)?,
        };
        let nonce: [u8; NONCE_BYTES] = random()?;
        let mut text = Zeroizing::new(Vec::with_capacity(USUAL_BYTES));
        let failed = |_| internal("the token cache could not be encrypted");
        serde_json::to_writer(&mut *text, tokens).map_err(|_| internal("the token cache could not be encrypted"))?;
        let aad = Aad::from(self.whose());
        let cipher = key.cipher()?;
        let tag =
            cipher.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), aad, &mut text).map_err(failed)?;
        text.extend_from_slice(tag.as_ref());
        Ok(Encrypted {
            cipher: CIPHER.to_owned(),
            derivation: DERIVATION.to_owned(),
            iterations: key.iterations,
            salt: BASE64_STANDARD.encode(key.salt),
            nonce: BASE64_STANDARD.encode(nonce),
            text: BASE64_STANDARD.encode(&*text),
        })
    }

    /// Whose tokens they are, so that a file under another name is not taken for it.
    fn whose(&self) -> Vec<u8> {
        serde_json::to_vec(&(VERSION, &self.about)).unwrap_or_default()
    }

    fn last_key(&self) -> MutexGuard<'_, Option<Key>> {
        self.key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self, passphrase: &Secret, salt: [u8; SALT_BYTES], iterations: u32) -> Result<Key> {
        let mut last = self.last_key();
        if let Some(key) = last.as_ref().filter(|key| key.salt == salt && key.iterations == iterations) {
            return Ok(key.clone());
        }
        let count = NonZeroU32::new(iterations).ok_or_else(|| internal("no iterations"))?;
        let mut bytes = Zeroizing::new([0; 32]);
        derive(PBKDF2_HMAC_SHA256, count, &salt, passphrase.expose().as_bytes(), &mut *bytes);
        let key = Key { salt, iterations, bytes: Arc::new(bytes) };
        *last = Some(key.clone());
        Ok(key)
    }
}

impl Key {
    fn cipher(&self) -> Result<LessSafeKey> {
        let key = UnboundKey::new(&AES_256_GCM, self.bytes.as_ref().as_ref());
        key.map(LessSafeKey::new).map_err(|_| internal("no key could be made"))
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // Not left to the closing of the file: a process that was forked meanwhile has it open, too.
        let _ = self.0.unlock();
    }
}

impl From<&UserTokens> for Tokens {
    fn from(tokens: &UserTokens) -> Self {
        let text = |secret: &Option<Secret>| secret.as_ref().map(|secret| Zeroizing::new(secret.expose().to_owned()));
        Self {
            access_token: text(&tokens.access_token),
            refresh_token: text(&tokens.refresh_token),
            expires_at_ms: tokens.expires.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64),
            lifetime_ms: tokens.lifetime.map(|lifetime| lifetime.as_millis() as u64),
        }
    }
}

impl From<Tokens> for UserTokens {
    fn from(tokens: Tokens) -> Self {
        let secret =
            |text: Option<Zeroizing<String>>| text.filter(|text| !text.is_empty()).map(|text| Secret::new(&text));
        Self {
            access_token: secret(tokens.access_token),
            refresh_token: secret(tokens.refresh_token),
            expires: after_epoch(Duration::from_millis(tokens.expires_at_ms)),
            lifetime: tokens.lifetime_ms.map(Duration::from_millis),
        }
    }
}

impl UserTokens {
    /// Returns how long the access token may still be used.
    pub(super) fn left(&self) -> Duration {
        self.expires.duration_since(time_of_day()).unwrap_or_default()
    }
}

/// Returns a moment; one that no clock reaches is in the past, so that what has it is renewed.
pub(super) fn after_epoch(since: Duration) -> SystemTime {
    UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
}

fn home() -> Option<PathBuf> {
    env::home_dir().filter(|home| home.is_absolute())
}

fn default_folder() -> Option<PathBuf> {
    let named = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = named("XDG_CACHE_HOME")
        .or_else(|| if cfg!(windows) { named("LOCALAPPDATA") } else { None })
        .or_else(|| home().map(|home| home.join(".cache")))?;
    Some(caches.join("seakernel").join("tokens"))
}

#[cfg(unix)]
fn make_private_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;

    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(not(unix))]
fn make_private_folder(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)
}

#[cfg(unix)]
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;

    options.mode(0o600)
}

#[cfg(not(unix))]
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

fn decoded<const N: usize>(text: &str) -> Option<[u8; N]> {
    BASE64_STANDARD.decode(text).ok()?.try_into().ok()
}

fn internal(text: &str) -> Error {
    Error::new(ErrorKind::Internal, text)
}
