//! Doors into the crate for the fuzz targets in `rust/fuzz`. Only cargo-fuzz compiles this module.

use std::fmt;
use std::sync::{Arc, LazyLock};

use arrow_array::RecordBatch;
use serde::de::DeserializeOwned;

use crate::auth::Credentials;
use crate::config::SessionConfig;
use crate::error::Result;
use crate::execution::statement_error;
use crate::results::json;
use crate::results::link::ChunkLink;
use crate::results::links::LinkStream;
use crate::schema::{self, Column};
use crate::sea::SeaClient;
use crate::sea::wire::{CreateSessionResponse, Manifest, ResultData, StatementResponse};

/// Reads `answer` as every kind of answer there is and returns the rows it holds as text, where it does.
pub fn inline_rows(answer: &[u8]) -> Option<Result<RecordBatch>> {
    drop(serde_json::from_slice::<CreateSessionResponse>(answer));
    drop(serde_json::from_slice::<ResultData>(answer).map(|data| format!("{data:?}")));
    let response: StatementResponse = serde_json::from_slice(answer).ok()?;
    drop(statement_error(&response.statement_id, &response.status, &str::to_owned).to_string());
    let Manifest { schema, .. } = response.manifest?;
    let columns: Vec<Column> = schema.columns.into_iter().map(Column::from).collect();
    let schema = match schema::from_manifest(&columns, &Arc::from("Etc/UTC")) {
        Ok(schema) => schema,
        Err(error) => return Some(Err(error)),
    };
    Some(json::batch(response.result?.data_array?, &columns, &schema))
}

/// One link as the kernel took it.
#[derive(Clone, Debug)]
pub struct Link(ChunkLink);

impl Link {
    /// Index of the chunk.
    pub fn chunk_index(&self) -> i64 {
        self.0.chunk_index
    }

    /// First row.
    pub fn row_offset(&self) -> i64 {
        self.0.row_offset
    }

    /// Number of rows.
    pub fn rows(&self) -> i64 {
        self.0.rows()
    }

    /// The whole URL, secret part and all.
    pub fn url(&self) -> &str {
        self.0.url.expose().as_str()
    }

    /// The link as logs and errors show it.
    pub fn printed(&self) -> String {
        format!("{:?} {} {}", self.0, self.0.place(), self.0.url.host())
    }
}

/// A chain of links that is fed with answers instead of making calls.
pub struct Chain(LinkStream);

impl fmt::Debug for Chain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

impl Chain {
    /// Starts with `first`, or says why not; `None` where it is not an answer at all.
    pub fn start(first: &[u8]) -> Option<Result<Self>> {
        static CLIENT: LazyLock<Option<Arc<SeaClient>>> = LazyLock::new(|| {
            let credentials = Credentials::access_token("token");
            let config = SessionConfig::new("https://warehouse.example", "/sql/1.0/warehouses/w", credentials).ok()?;
            SeaClient::new(config).ok().map(Arc::new)
        });
        let client = Arc::clone(CLIENT.as_ref()?);
        Some(LinkStream::new(client, "01ef", parse(first)?, Arc::default(), Arc::default()).map(Self))
    }

    /// Index and first row of the chunk to ask for next.
    pub fn next(&self) -> Option<(i64, i64)> {
        self.0.fuzz_next()
    }

    /// Takes the answer to that call.
    pub fn follow(&mut self, answer: &[u8]) -> Option<Result<()>> {
        Some(self.0.fuzz_follow(parse(answer)?))
    }

    /// Hands over the next link.
    pub fn take(&mut self) -> Option<Link> {
        self.0.fuzz_take().map(Link)
    }

    /// Takes the answer to a call that renews `stale`.
    pub fn renew(&mut self, stale: &Link, answer: &[u8]) -> Option<Result<Option<Link>>> {
        Some(self.0.fuzz_renew(&stale.0, parse(answer)?).map(|fresh| fresh.map(Link)))
    }
}

fn parse<T: DeserializeOwned>(answer: &[u8]) -> Option<T> {
    serde_json::from_slice(answer).ok()
}
