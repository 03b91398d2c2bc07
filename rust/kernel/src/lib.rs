//! A Databricks SQL client kernel: the Statement Execution API (SEA) and bounded CloudFetch, into Arrow.
//!
//! The way of the data has no turns: presigned link, HTTP body, LZ4 frames, one aligned buffer, Arrow batches that
//! slice it. Rows are checked per chunk, for continuity and in total, so a result is complete or an [`Error`].
//!
//! The crate is async and brings no runtime: call it inside a tokio runtime with time and I/O enabled. Dropping any
//! future or handle cancels what it was doing; [`ResultStream`] says what that means for rows already on their way.
//!
//! ```no_run
//! # async fn example() -> seakernel::Result<()> {
//! use seakernel::{Credentials, Session, SessionConfig};
//!
//! let config = SessionConfig::new(
//!     "dbc-a1b2.cloud.databricks.com",
//!     "/sql/1.0/warehouses/a1b2c3d4e5f60718",
//!     Credentials::access_token("dapi..."),
//! )?;
//! let session = Session::open(config).await?;
//! let executed = session.statement("SELECT * FROM range(10)").execute().await?;
//! let mut results = executed.results().await?;
//! while let Some(batch) = results.next_batch().await? {
//!     println!("{} rows", batch.num_rows());
//! }
//! session.close().await
//! # }
//! ```

mod auth;
mod client_settings;
mod clock;
mod config;
mod dml;
mod error;
mod execution;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod hand_off;
mod http;
mod literal;
mod local_file;
mod markers;
mod metadata;
mod multi_row;
mod params;
mod partition;
mod private_key;
mod proxy;
mod results;
mod schema;
mod sea;
mod session;
mod sign_in;
#[cfg(test)]
mod simulation;
mod sql_type;
mod statement;
mod volumes;

pub use auth::{Credentials, Demand, Grant, Secret, TokenSource};
pub use config::{CloudFetch, RequestConfig, ResultConfig, RetryConfig, SessionConfig, TlsConfig, ValueForm};
pub use dml::changes_rows;
pub use error::{Error, ErrorKind, Result};
pub use execution::{ExecutedStatement, StatementCanceller, StatementState};
pub use markers::{Given, JsonParameter, has_named_markers, marker_names, with_json_markers, with_native_markers};
pub use metadata::{Listing, Metadata, ParentTable};
pub use multi_row::MultiRowInsert;
pub use params::Parameter;
pub use partition::{LinkBroker, Partition, PartitionConfig, PartitionLinks, PartitionStream};
pub use proxy::{Proxy, ProxyConfig};
pub use results::json_texts;
pub use results::{ResultStream, Statistics, StatisticsReader};
pub use schema::Column;
pub use seakernel_decode as decode;
pub use session::{Session, WeakSession};
pub use sign_in::{
    BrowserSignIn, JwtAlgorithm, KeySource, OpenPage, PageOpener, ScopedTokens, SignIn, SignInMethod, SignIns,
    SubjectToken, TokenCache, lifetime_of,
};
pub use sql_type::nested_type;
pub use statement::Statement;
pub use volumes::{DownloadSink, UploadSource, VolumeAction, VolumeOperation, VolumeProgress};
