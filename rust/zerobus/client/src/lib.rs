//! Arrow batches into Databricks tables by Zerobus: every row is acknowledged, or named with its error.
//!
//! The way of a row: Arrow arrays, a plan made once per schema, the bytes of a request, one gRPC stream, an acknowledgement
//! by position. No row is copied between plan and socket.

#[cfg(feature = "flight")]
mod arrow;
mod authorities;
mod breaker;
mod call;
mod config;
mod conversion;
mod convert;
mod debug;
mod encoder;
mod error;
mod extent;
mod fates;
mod flight;
mod in_flight;
mod isolate;
mod lanes;
mod proxy;
#[cfg(feature = "flight")]
mod put;
mod result;
mod retry;
mod service;
mod stream;
mod telemetry;
mod token;
mod wire;
mod wrapper;

pub use config::{
    IngestMode, NullListElement, OtlpConfig, OtlpSdkConfig, WrapperConfiguration, load_from_env, load_from_yaml,
};
pub use convert::{Converter, EncodedRows, RequestLimits, Requests};
pub use error::{Failure, ZerobusError};
pub use result::{ErrorStatistics, TransmissionResult};
pub use seakernel::Secret;
#[cfg(fuzzing)]
pub use stream::fuzzing;
pub use telemetry::in_trace;
pub use wrapper::ZerobusWrapper;
