//! Requests made beforehand over one gRPC stream: what the transport alone takes.

use std::error::Error;

use bytes::{BufMut, Bytes, BytesMut};
use databricks_zerobus_ingest_sdk::{HeadersProvider, OAuthHeadersProvider};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataKey;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Streaming};
use tonic_prost::ProstCodec;

use crate::Job;

#[derive(Clone, PartialEq, prost::Message)]
pub struct ToServer {
    #[prost(message, optional, tag = "1")]
    create: Option<Create>,
    #[prost(message, optional, tag = "3")]
    ingest: Option<Ingest>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Create {
    #[prost(string, optional, tag = "1")]
    table: Option<String>,
    #[prost(bytes = "bytes", optional, tag = "3")]
    descriptor: Option<Bytes>,
    #[prost(int32, optional, tag = "4")]
    record_type: Option<i32>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Ingest {
    #[prost(int64, optional, tag = "1")]
    offset: Option<i64>,
    /// A batch of records, encoded.
    #[prost(bytes = "bytes", optional, tag = "2")]
    batch: Option<Bytes>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct FromServer {
    #[prost(message, optional, tag = "1")]
    created: Option<Created>,
    #[prost(message, optional, tag = "2")]
    acknowledged: Option<Acknowledged>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Created {
    #[prost(string, optional, tag = "1")]
    stream: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Acknowledged {
    #[prost(int64, optional, tag = "1")]
    up_to: Option<i64>,
}

pub struct Stream {
    requests: mpsc::Sender<ToServer>,
    answers: Streaming<FromServer>,
    next: i64,
}

/// Encodes the records of each request as a batch.
pub fn encoded(requests: Vec<&[Vec<u8>]>) -> Vec<Bytes> {
    let batch = |records: &[Vec<u8>]| {
        let mut batch = BytesMut::new();
        for record in records {
            batch.put_u8(0x0A);
            prost::encoding::encode_varint(record.len() as u64, &mut batch);
            batch.extend_from_slice(record);
        }
        batch.freeze()
    };
    requests.into_iter().map(batch).collect()
}

impl Stream {
    pub async fn open(job: &Job, descriptor: Vec<u8>) -> Result<Self, Box<dyn Error>> {
        let workspace = job.endpoint.split(['/', '.']).nth(2).unwrap_or_default().to_owned();
        let url = job.unity_catalog_url.clone();
        let (id, secret) = (job.client_id.clone(), job.client_secret.clone());
        let headers = OAuthHeadersProvider::new(id, secret, job.table.clone(), workspace, url).get_headers().await?;
        let channel: Channel = Endpoint::from_shared(job.endpoint.clone())?.connect().await?;
        let mut grpc = Grpc::new(channel);
        grpc.ready().await?;
        let (requests, receiver) = mpsc::channel(64);
        let create =
            Create { table: Some(job.table.clone()), descriptor: Some(descriptor.into()), record_type: Some(1) };
        requests.send(ToServer { create: Some(create), ingest: None }).await?;
        let mut request = Request::new(ReceiverStream::new(receiver));
        for (name, value) in headers {
            request.metadata_mut().insert(MetadataKey::from_static(name), value.parse()?);
        }
        let path = PathAndQuery::from_static("/databricks.zerobus.Zerobus/EphemeralStream");
        let codec = ProstCodec::<ToServer, FromServer>::default();
        let mut answers = grpc.streaming(request, path, codec).await?.into_inner();
        answers.message().await?.and_then(|answer| answer.created).ok_or("the stream was not created")?;
        Ok(Self { requests, answers, next: 0 })
    }

    /// Sends the batches, and waits until they are acknowledged.
    pub async fn send(&mut self, batches: &[Bytes]) -> Result<(), Box<dyn Error>> {
        for batch in batches {
            let ingest = Ingest { offset: Some(self.next), batch: Some(batch.clone()) };
            self.requests.send(ToServer { create: None, ingest: Some(ingest) }).await?;
            self.next += 1;
        }
        loop {
            let answer = self.answers.message().await?.ok_or("the server ended the stream")?;
            if answer.acknowledged.and_then(|acknowledged| acknowledged.up_to) == Some(self.next - 1) {
                return Ok(());
            }
        }
    }

    pub async fn close(self) -> Result<(), Box<dyn Error>> {
        drop(self.requests);
        let mut answers = self.answers;
        while answers.message().await?.is_some() {}
        Ok(())
    }
}
