//! Parts of a result that any process or machine reads by itself.
//!
//! A [`Partition`] says which rows of which statement it stands for and nothing that lets anybody in: its reader signs in
//! by itself and asks the workspace for fresh links, or gets them from a [`LinkBroker`].

mod descriptor;
mod links;
mod stream;

use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use arrow_buffer::Buffer;
use arrow_schema::SchemaRef;
use url::Url;

use crate::auth::Credentials;
use crate::client_settings;
use crate::config::{CloudFetch, ResultConfig, SessionConfig, ValueForm};
use crate::error::{Error, ErrorKind, Result};
use crate::http::host_and_port;
use crate::results::links::{LinkSource, Run};
use crate::results::{ChunkHint, Compression, Part, PartRows, Presentation, ResultStream};
use crate::schema::{self, Column};
use crate::sea::SeaClient;
use crate::session::Session;
pub use links::{LinkBroker, PartitionLinks};
pub use stream::PartitionStream;

/// How a result is cut.
#[derive(Clone, Debug)]
pub struct PartitionConfig {
    /// Bytes of a partition, uncompressed where the server tells so and else as downloaded. Default 128 MiB: about seven
    /// chunks, enough to make up for the start of a task and little enough for the memory of a worker. Chunks are not cut,
    /// so a partition has one at least.
    pub target_bytes: NonZeroU64,
    /// Numbers the partitions from 0 in the order of the rows. Default false.
    pub ordered: bool,
    /// Has the presigned links travel in the partitions, so that they can be read without a sign-in, for as long as the
    /// links live: 15 minutes at most. Default false, for such a partition is a secret.
    pub with_links: bool,
    /// What the reader's sign-in is called, such as the name of a profile; never a secret. Kept as it is.
    pub sign_in: Option<String>,
    /// How long the statement is held for the readers, from when the stream is opened. Then it is closed on the server, and
    /// partitions that were not opened yet cannot be. Default an hour, which is how long servers keep results; asking
    /// about a statement does not extend that.
    pub lease: Duration,
}

impl Default for PartitionConfig {
    fn default() -> Self {
        let target_bytes = NonZeroU64::MIN.saturating_add((128 << 20) - 1);
        Self { target_bytes, ordered: false, with_links: false, sign_in: None, lease: Duration::from_secs(3600) }
    }
}

/// What all partitions of a result have in common.
#[derive(Debug, PartialEq)]
struct Whole {
    statement_id: String,
    host: Url,
    warehouse_id: String,
    organization_id: Option<String>,
    sign_in: Option<String>,
    columns: Vec<Column>,
    time_zone: Arc<str>,
    compression: Compression,
    forms: Forms,
    /// As it is handed over.
    schema: SchemaRef,
}

/// The forms in which values are handed over, by the driver's wish: all readers must bring the same types.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Forms {
    complex_types: ValueForm,
    intervals: ValueForm,
    geospatial: ValueForm,
    void: ValueForm,
}

impl Forms {
    fn of(config: &ResultConfig) -> Self {
        let ResultConfig { complex_types, intervals, geospatial, void, .. } = *config;
        Self { complex_types, intervals, geospatial, void }
    }

    fn in_config(self, config: &ResultConfig) -> ResultConfig {
        let Self { complex_types, intervals, geospatial, void } = self;
        ResultConfig { complex_types, intervals, geospatial, void, ..config.clone() }
    }
}

/// Returns the schema in which the columns are handed over.
fn presented(columns: &[Column], time_zone: &Arc<str>, forms: Forms) -> Result<SchemaRef> {
    let wire = schema::from_manifest(columns, time_zone)?;
    let presentation = Presentation::new(columns, &wire, &forms.in_config(&ResultConfig::default()))?;
    Ok(Arc::clone(presentation.schema()))
}

/// Where the rows of a partition are.
#[derive(Clone, Debug, PartialEq)]
enum Rows {
    /// At a storage host, in these chunks; a long list may be cut.
    Chunks(Arc<[ChunkHint]>),
    /// Here, as an Arrow stream: results that came with the answer itself cannot be had again.
    Inline(Buffer),
}

/// A run of consecutive chunks of a result, to be read by whoever may.
///
/// It holds no token and no link, unless those were asked for ([`PartitionConfig::with_links`]), and can be written down
/// and read by later versions of this crate. A server keeps a result for an hour after the statement has succeeded.
#[derive(Clone, PartialEq)]
pub struct Partition {
    whole: Arc<Whole>,
    sequence: Option<u64>,
    chunk_index: i64,
    row_offset: i64,
    row_count: i64,
    byte_count: Option<i64>,
    rows: Rows,
    links: Option<PartitionLinks>,
}

impl Partition {
    /// Returns the server's id of the statement.
    pub fn statement_id(&self) -> &str {
        &self.whole.statement_id
    }

    /// Returns the workspace, as [`SessionConfig::new`] takes it.
    pub fn server_hostname(&self) -> &str {
        self.whole.host.as_str().trim_end_matches('/')
    }

    /// Returns the id of the warehouse.
    pub fn warehouse_id(&self) -> &str {
        &self.whole.warehouse_id
    }

    /// Returns the path of the warehouse, as [`SessionConfig::new`] takes it.
    pub fn http_path(&self) -> String {
        let path = format!("/sql/1.0/warehouses/{}", self.whole.warehouse_id);
        match &self.whole.organization_id {
            Some(id) => format!("{path}?o={id}"),
            None => path,
        }
    }

    /// Returns [`PartitionConfig::sign_in`].
    pub fn sign_in(&self) -> Option<&str> {
        self.whole.sign_in.as_deref()
    }

    /// Returns the place among the partitions of the result, where that was asked for.
    pub fn sequence(&self) -> Option<u64> {
        self.sequence
    }

    /// Returns the index of the first chunk.
    pub fn chunk_index(&self) -> i64 {
        self.chunk_index
    }

    /// Returns the place of the first row in the result.
    pub fn row_offset(&self) -> i64 {
        self.row_offset
    }

    /// Returns the number of rows.
    pub fn row_count(&self) -> i64 {
        self.row_count
    }

    /// Returns the size, if the server tells it: uncompressed where it tells that, else as downloaded.
    pub fn byte_count(&self) -> Option<i64> {
        self.byte_count
    }

    /// Returns the Arrow schema, as far as it can be known without rows: timestamps have the time zone that the session was
    /// known to have, and rows the one that it has.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.whole.schema)
    }

    /// Returns the columns as the manifest describes them.
    pub fn columns(&self) -> &[Column] {
        &self.whole.columns
    }

    /// Tells whether it can be read without a sign-in, because its rows or its links are in it.
    pub fn needs_no_sign_in(&self) -> bool {
        self.links.is_some() || matches!(self.rows, Rows::Inline(_))
    }

    /// Tells whether presigned links are in it, so that it is a secret.
    pub fn has_links(&self) -> bool {
        self.links.is_some()
    }

    /// Opens the rows, all of them and no others, with a sign-in of the reader's own. Needs no session on the server.
    ///
    /// Rows that came along need no sign-in, and links that came along none until they expire: then the credentials of
    /// `config` have others asked for, unless they are [`Credentials::None`].
    ///
    /// A host of `config` that comes from the partition itself vouches for nothing: set
    /// [`ResultConfig::private_storage_addresses`] to `Some(false)` then, for its links could name an inner network.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] where `config` is for another host or warehouse, [`ErrorKind::NotFound`] where the
    /// statement was closed, its result is older than the server keeps it, or the reader may not see it,
    /// [`ErrorKind::LinkExpired`] where links that came along have too little life left and there are no credentials, and
    /// those of [`ResultStream::next_batch`].
    pub async fn results(&self, mut config: SessionConfig) -> Result<ResultStream> {
        self.check_place(&config)?;
        client_settings::take(&mut config);
        if matches!(self.rows, Rows::Inline(_)) {
            config.credentials = Credentials::None;
        }
        let is_nobody = matches!(config.credentials, Credentials::None);
        let signs_in = matches!(config.credentials, Credentials::SignIn(_));
        let client = client(config)?;
        let given = match &self.links {
            Some(links) => {
                links.check_is_of(self)?;
                match links.still_good(self) {
                    Ok(links) => Some(links),
                    Err(error) if is_nobody => return Err(error),
                    Err(_) => None,
                }
            }
            None => None,
        };
        let source = if let Some(links) = given {
            links::given(links, (!is_nobody).then(|| (Arc::clone(&client), self.clone())))
        } else {
            if signs_in {
                client.sign_in().await?;
            }
            LinkSource::Server
        };
        self.open(client, source).await
    }

    /// Opens the rows as [`Partition::results`] does, with the sign-in and the connections of `session`.
    ///
    /// # Errors
    /// Those of [`Partition::results`], and [`ErrorKind::Closed`] where the session is closed.
    pub async fn results_in(&self, session: &Session) -> Result<ResultStream> {
        let client = session.client()?;
        self.check_place(client.config())?;
        self.open(Arc::clone(client), LinkSource::Server).await
    }

    /// Opens the rows as [`Partition::results`] does, with links from `broker` instead of a sign-in: the credentials of
    /// `config` are not used.
    ///
    /// # Errors
    /// Those of [`Partition::results`] and of the broker.
    pub async fn results_through(
        &self,
        broker: Arc<dyn LinkBroker>,
        mut config: SessionConfig,
    ) -> Result<ResultStream> {
        self.check_place(&config)?;
        client_settings::take(&mut config);
        config.credentials = Credentials::None;
        self.open(client(config)?, links::from_broker(broker, self.clone())).await
    }

    /// Asks the workspace for fresh links to the rows: what a [`LinkBroker`] hands out.
    ///
    /// # Errors
    /// Those of [`Partition::results_in`].
    pub async fn links(&self, session: &Session) -> Result<PartitionLinks> {
        let client = session.client()?;
        self.check_place(client.config())?;
        PartitionLinks::ask(client, self).await
    }

    async fn open(&self, client: Arc<SeaClient>, source: LinkSource) -> Result<ResultStream> {
        let rows = match &self.rows {
            Rows::Inline(content) => PartRows::Inline(content.clone()),
            Rows::Chunks(hints) => PartRows::Chunks { run: self.run(), source, hints: hints.to_vec() },
        };
        let part = Part {
            statement_id: self.whole.statement_id.clone(),
            columns: self.whole.columns.clone(),
            compression: self.whole.compression,
            row_count: self.row_count,
            config: self.whole.forms.in_config(&client.config().results),
            rows,
        };
        ResultStream::open_part(client, part).await.map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                let text = format!(
                    "{} cannot be had: the statement is closed, its result older than the hour that servers keep it, or \
                     of another user",
                    self.place()
                );
                error.within(text).with_statement_id(self.statement_id())
            }
            _ => error,
        })
    }

    fn run(&self) -> Run {
        let end = self.row_offset.saturating_add(self.row_count);
        Run { chunk_index: self.chunk_index, row_offset: self.row_offset, end }
    }

    fn place(&self) -> String {
        format!("a partition (rows {}..{})", self.row_offset, self.run().end)
    }

    /// A token must not go to a host that the descriptor, which may come from anywhere, names instead of the reader.
    fn check_place(&self, config: &SessionConfig) -> Result<()> {
        let differs = |what: &str, own: &str, given: &str| {
            let text = format!("the partition is of {what} `{own}`, and is to be read with a sign-in for `{given}`");
            Err(Error::new(ErrorKind::InvalidArgument, text).with_statement_id(self.statement_id()))
        };
        if self.whole.host != config.host {
            return differs("host", &host_and_port(&self.whole.host), &host_and_port(&config.host));
        }
        if self.whole.warehouse_id != config.warehouse_id {
            return differs("warehouse", &self.whole.warehouse_id, &config.warehouse_id);
        }
        Ok(())
    }
}

impl fmt::Debug for Partition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Partition")
            .field("statement_id", &self.whole.statement_id)
            .field("sequence", &self.sequence)
            .field("chunk_index", &self.chunk_index)
            .field("row_offset", &self.row_offset)
            .field("row_count", &self.row_count)
            .field("byte_count", &self.byte_count)
            .field("links", &self.links)
            .finish_non_exhaustive()
    }
}

fn client(mut config: SessionConfig) -> Result<Arc<SeaClient>> {
    // There is no other way to these rows.
    config.results.cloud_fetch = CloudFetch::On;
    Ok(Arc::new(SeaClient::new(config)?))
}
