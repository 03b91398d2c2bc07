//! One call of `EphemeralStream` or `DoPut`, from its headers to its trailers.

use std::future::{pending, poll_fn};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Method, Request, Response};
use prost::Message;
use prost_types::DescriptorProto;
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep, sleep_until};

use crate::acks::{Acks, Decision};
use crate::batch::record_batch;
use crate::connection::{Command, Control};
use crate::faults::{Break, Fault, Holding, Operation, Target};
use crate::flight::{BatchMetadata, BatchPlan, DO_PUT, FlightData, PutAnswer};
use crate::grpc::{Code, MessageReader, ReadEnd, Status, framed};
use crate::json::as_json;
use crate::log::StreamLog;
use crate::options::Settings;
use crate::plan::MessagePlan;
use crate::record::{Row, Value};
use crate::service::Service;
use crate::store::{Records, StoredMessage};
use crate::uc_type::UcField;
use crate::wire::{
    Batch, CloseStreamSignal, CreateIngestStreamRequest, CreateIngestStreamResponse, EPHEMERAL_STREAM,
    EphemeralStreamRequest, EphemeralStreamResponse, IngestRecordResponse, MOST_RECORDS, PROTO, Record,
    Records as WireRecords, RequestPayload, ResponsePayload,
};

/// How a call ends.
#[derive(Debug)]
enum Ending {
    Status(Status),
    /// With its connection, by a TCP reset.
    Reset,
    /// By the client's doing.
    Gone(String),
}

impl From<Status> for Ending {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

impl From<Break> for Ending {
    fn from(by: Break) -> Self {
        match by {
            Break::Reset => Self::Reset,
            Break::Unavailable => Status::new(Code::Unavailable, "the stream broke").into(),
            Break::Ok => Status::ok().into(),
        }
    }
}

/// What happens at a certain time.
#[derive(Debug)]
enum Event {
    Close { ms: Option<u64>, grace_ms: u64, then: Break },
    End(Status),
    Break(Break),
    GoAway { abrupt: bool },
}

/// Serves a call.
pub(crate) async fn serve(
    service: Arc<Service>,
    control: Control,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let (head, body) = request.into_parts();
    let header = |name| text_of(&head.headers, name);
    let table = header("x-databricks-zerobus-table-name").unwrap_or_default().to_owned();
    let bearer = header("authorization").and_then(|value| value.strip_prefix("Bearer ")).map(str::to_owned);
    let log = service.log.open(StreamLog {
        table: table.clone(),
        user_agent: header("user-agent").unwrap_or_default().to_owned(),
        time: StoredMessage::now(),
        token: bearer.as_deref().and_then(|bearer| service.tokens.number(bearer)),
        ..StreamLog::default()
    });
    let is_grpc = header("content-type").is_some_and(|kind| kind.starts_with("application/grpc"));
    if head.method != Method::POST || !is_grpc || !matches!(head.uri.path(), EPHEMERAL_STREAM | DO_PUT) {
        let status = Status::new(Code::Unimplemented, format!("there is no call {}", head.uri.path()));
        service.log.violation(status.message.clone());
        let mut response = response();
        response.headers_mut().extend(status.trailers());
        write(&log, |log| log.status = Some(status.code));
        drop(respond.send_response(response, true));
        return;
    }
    let faults = service.faults.all(&Target::new(Operation::Open, Some(&table)));
    for fault in &faults {
        match fault {
            Fault::Silence => {
                tokio::select! {
                    () = control.closed() => {}
                    _ = poll_fn(|context| respond.poll_reset(context)) => {}
                }
                write(&log, |log| log.ended = Some("no headers were sent".to_owned()));
                return;
            }
            Fault::Delay { ms } => sleep(Duration::from_millis(*ms)).await,
            _ => {}
        }
    }
    // At once: clients wait for the headers before they send their first message.
    let Ok(send) = respond.send_response(response(), false) else { return };
    let reader = MessageReader::new(body, service.options.decoded_bytes);
    let mut stream = Stream {
        control,
        reader,
        send,
        log,
        settings: service.settings(),
        service,
        table,
        id: Arc::from(""),
        is_flight: head.uri.path() == DO_PUT,
        plan: None,
        next_offset: 0,
        ends: Vec::new(),
        marked: (-1, 0),
        acks: Acks::default(),
        last_message: Instant::now(),
        message_limit: None,
        half_closed: false,
        events: Vec::new(),
    };
    let ending = match stream.open(bearer.as_deref(), faults).await {
        Ok(()) => stream.run().await,
        Err(ending) => ending,
    };
    stream.finish(ending).await;
}

fn response() -> Response<()> {
    let mut response = Response::new(());
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/grpc"));
    response
}

fn text_of<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

fn write(log: &Mutex<StreamLog>, change: impl FnOnce(&mut StreamLog)) {
    change(&mut log.lock().unwrap_or_else(PoisonError::into_inner));
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => pending().await,
    }
}

/// What a client wants a stream for.
enum First {
    Messages(CreateIngestStreamRequest),
    /// The schema of its batches.
    Batches(Bytes),
}

enum Plan {
    Messages(Arc<MessagePlan>),
    Batches(Arc<BatchPlan>),
}

struct Stream {
    service: Arc<Service>,
    settings: Arc<Settings>,
    control: Control,
    reader: MessageReader,
    send: SendStream<Bytes>,
    log: Arc<Mutex<StreamLog>>,
    table: String,
    id: Arc<str>,
    /// Whether it is `DoPut`.
    is_flight: bool,
    plan: Option<Plan>,
    next_offset: i64,
    /// Of each offset, how many records have come up to its end.
    ends: Vec<u64>,
    /// What was acknowledged last: the offset and the records.
    marked: (i64, u64),
    acks: Acks,
    last_message: Instant,
    /// Set by a fault: bytes of records, and the answer to more.
    message_limit: Option<(usize, Code)>,
    half_closed: bool,
    events: Vec<(Instant, Event)>,
}

impl Stream {
    /// From the first message of the client to the first of the server.
    async fn open(&mut self, bearer: Option<&str>, faults: Vec<Fault>) -> Result<(), Ending> {
        let first = match self.reader.next().await {
            Ok(bytes) => self.first(bytes)?,
            Err(end) => return Err(self.ended(end)),
        };
        let (mut answer_delay, mut nameless, mut disguise) = (Duration::ZERO, false, None);
        for fault in &faults {
            match fault {
                Fault::Columns(columns) => {
                    let given = block_in_place(|| self.service.store.disguise(&self.table, columns));
                    disguise = given.map_err(Status::invalid)?;
                }
                Fault::RefuseToken { code } => {
                    if let Some(bearer) = bearer {
                        self.service.tokens.refuse(bearer, *code);
                    }
                }
                Fault::Status { after_ms: 0, .. } => return Err(status_of(fault).into()),
                Fault::Break { by, after_ms: 0, after_bytes: None, .. } => return Err((*by).into()),
                Fault::DelayAnswer { ms } => answer_delay += Duration::from_millis(*ms),
                Fault::NoStreamId => nameless = true,
                _ => {}
            }
        }
        self.service.tokens.check(bearer, &self.table)?;
        self.plan = Some(self.accept(&first, disguise)?);
        sleep(answer_delay).await;
        self.id = format!("{:032x}", rand::random::<u128>()).into();
        write(&self.log, |log| log.stream_id = self.id.to_string());
        if self.is_flight {
            let (offset, records) = if nameless { (0, 0) } else { self.marked };
            self.answer(PutAnswer {
                ack_up_to_offset: Some(offset),
                ack_up_to_records: Some(records),
                ..PutAnswer::default()
            })?;
        } else {
            let stream_id = (!nameless).then(|| self.id.to_string());
            self.respond(ResponsePayload::CreateStream(CreateIngestStreamResponse { stream_id }))?;
        }
        for fault in &faults {
            self.plan_fault(fault);
        }
        Ok(())
    }

    /// Reads the first message.
    fn first(&self, bytes: Bytes) -> Result<First, Ending> {
        if !self.is_flight {
            return match self.decode::<EphemeralStreamRequest>(bytes)?.payload {
                Some(RequestPayload::CreateStream(create)) => Ok(First::Messages(create)),
                _ => Err(self.violation("the first message does not create a stream")),
            };
        }
        let FlightData { data_header, app_metadata, data_body, .. } = self.decode(bytes)?;
        if !app_metadata.is_empty() || !data_body.is_empty() || data_header.is_empty() {
            return Err(self.violation("the first message is no schema, or not that alone"));
        }
        Ok(First::Batches(data_header))
    }

    /// Checks what a stream is to be created for, by columns other than the table's where a fault has some.
    fn accept(&self, first: &First, disguise: Option<Arc<[UcField]>>) -> Result<Plan, Ending> {
        if let First::Messages(create) = first {
            self.check_creation(create)?;
        }
        let described = || block_in_place(|| self.service.store.describe(&self.table));
        let Some(columns) = disguise.map_or_else(described, |columns| Ok(Some(columns))).map_err(Status::invalid)?
        else {
            return Err(Status::new(Code::NotFound, format!("table `{}` does not exist", self.table)).into());
        };
        let create = match first {
            First::Messages(create) => create,
            First::Batches(schema) => return Ok(Plan::Batches(Arc::new(BatchPlan::new(schema, &columns)?))),
        };
        let Some(descriptor) = &create.descriptor_proto else {
            return Err(self.violation("the descriptor is missing"));
        };
        let descriptor = DescriptorProto::decode(descriptor.clone())
            .map_err(|error| Status::invalid(format!("the descriptor cannot be read: {error}")))?;
        Ok(Plan::Messages(Arc::new(MessagePlan::new(&descriptor, &columns)?)))
    }

    fn check_creation(&self, create: &CreateIngestStreamRequest) -> Result<(), Ending> {
        let table = create.table_name.as_deref().unwrap_or_default();
        if table.is_empty() || table != self.table {
            return Err(self.violation(&format!("the headers name table `{}`, the message `{table}`", self.table)));
        }
        let record_type = create.record_type.unwrap_or(PROTO);
        if !matches!(record_type, 1 | 2 | 4) {
            return Err(self.violation(&format!("record type {record_type} does not exist")));
        }
        if record_type != PROTO {
            return Err(Status::new(Code::Unimplemented, "only records of Protobuf are taken here").into());
        }
        Ok(())
    }

    /// Arranges what a fault does to a stream that has begun.
    fn plan_fault(&mut self, fault: &Fault) {
        let event = match *fault {
            Fault::Slow { bytes_per_second } => {
                self.reader.bytes_per_second = Some(bytes_per_second.get());
                return;
            }
            Fault::Stall { ms } => return self.stall(ms),
            Fault::Limit { bytes, code } => {
                self.message_limit = Some((bytes, code));
                return;
            }
            Fault::Break { after_bytes: Some(bytes), by, .. } => {
                self.reader.enough = Some((self.reader.bytes + bytes, by));
                return;
            }
            Fault::Status { after_ms, .. } => (after_ms, Event::End(status_of(fault))),
            Fault::Break { by, after_ms, .. } => (after_ms, Event::Break(by)),
            Fault::Close { ms, grace_ms, then, after_ms } => (after_ms, Event::Close { ms, grace_ms, then }),
            Fault::GoAway { abrupt, after_ms } => (after_ms, Event::GoAway { abrupt }),
            _ => return,
        };
        self.events.push((Instant::now() + Duration::from_millis(event.0), event.1));
    }

    fn stall(&mut self, ms: Option<u64>) {
        // A year is for good.
        let pause = ms.map_or(Duration::from_secs(31_536_000), Duration::from_millis);
        self.reader.resume_at = Some(Instant::now() + pause);
    }

    /// Takes messages and acknowledges them until the stream ends.
    async fn run(&mut self) -> Ending {
        loop {
            let ack = self.acks.due();
            if self.half_closed && ack.is_none() {
                return Status::ok().into();
            }
            let event = self.events.iter().map(|(instant, _)| *instant).min();
            let outcome = tokio::select! {
                biased;
                () = until(ack) => self.acknowledge().await,
                () = until(event) => self.happen(),
                () = self.control.closed() => Err(Ending::Gone("the connection is gone".to_owned())),
                reason = poll_fn(|context| self.send.poll_reset(context)) => Err(Ending::Gone(match reason {
                    Ok(reason) => format!("the client reset the call: {reason}"),
                    Err(error) => error.to_string(),
                })),
                message = self.reader.next(), if !self.half_closed => match message {
                    Ok(bytes) => self.ingest(bytes),
                    Err(ReadEnd::HalfClosed) => {
                        self.half_closed = true;
                        self.acks.release();
                        self.service.log.write(|log| log.half_closes += 1);
                        write(&self.log, |log| log.half_closed = true);
                        Ok(())
                    }
                    Err(end) => Err(self.ended(end)),
                },
            };
            if let Err(ending) = outcome {
                return ending;
            }
        }
    }

    /// Lets happen what is due.
    fn happen(&mut self) -> Result<(), Ending> {
        let now = Instant::now();
        let Some(place) = self.events.iter().position(|(instant, _)| *instant <= now) else { return Ok(()) };
        match self.events.swap_remove(place).1 {
            Event::Close { ms, grace_ms, then } => self.announce_close(ms, grace_ms, then),
            Event::End(status) => Err(status.into()),
            Event::Break(by) => Err(by.into()),
            Event::GoAway { abrupt } => {
                self.control.command(Command::GoAway { abrupt });
                Ok(())
            }
        }
    }

    fn announce_close(&mut self, ms: Option<u64>, grace_ms: u64, then: Break) -> Result<(), Ending> {
        let length = Duration::from_millis(ms.unwrap_or(0));
        let duration = ms.and_then(|_| prost_types::Duration::try_from(length).ok());
        self.events.push((Instant::now() + length + Duration::from_millis(grace_ms), Event::Break(then)));
        write(&self.log, |log| log.close_signal = true);
        if self.is_flight {
            let (offset, records) = self.marked;
            return self.answer(PutAnswer {
                ack_up_to_offset: Some(offset),
                ack_up_to_records: Some(records),
                close_stream_duration_ms: Some(ms.unwrap_or(0)),
            });
        }
        self.respond(ResponsePayload::CloseStream(CloseStreamSignal { duration }))
    }

    /// Takes a message: all of it, or nothing.
    fn ingest(&mut self, bytes: Bytes) -> Result<(), Ending> {
        let received = Instant::now();
        self.last_message = received;
        let (offset, records, surplus, size) = match &self.plan {
            Some(Plan::Messages(plan)) => self.messages(bytes, plan)?,
            Some(Plan::Batches(plan)) => {
                let (offset, records, size) = self.batch(bytes, plan)?;
                (offset, records, 0, size)
            }
            None => return Ok(()),
        };
        self.service.log.write(|log| log.messages += 1);
        write(&self.log, |log| log.messages += 1);
        if offset != Some(self.next_offset) {
            let given = offset.map_or("none".to_owned(), |offset| offset.to_string());
            return Err(self.violation(&format!("offset {} expected, not {given}", self.next_offset)));
        }
        self.next_offset += 1;
        let offset = self.next_offset - 1;
        self.settings = self.service.settings();
        let (limit, code) = self.message_limit.unwrap_or((self.settings.message_bytes, Code::OutOfRange));
        if size > limit {
            let text = format!("the message at offset {offset} has {size} bytes of records; the limit is {limit}");
            return Err(self.refuse(Status::new(code, text)));
        }
        let count = records.len().saturating_add(surplus);
        if count > MOST_RECORDS {
            let text = format!("the message at offset {offset} has {count} records; the limit is {MOST_RECORDS}");
            return Err(self.refuse(Status::new(Code::OutOfRange, text)));
        }
        self.ends.push(self.end(offset - 1) + records.len() as u64);
        let stored = block_in_place(|| self.store(offset, records, size as u64));
        let fault = stored.map_err(|status| self.refuse(status))?;
        let (fault, is_for_record) = fault.unzip();
        match fault {
            Some(Fault::Break { by, .. }) => return Err(by.into()),
            // As where the record itself is bad.
            Some(fault @ Fault::Status { .. }) if is_for_record == Some(true) => {
                return Err(self.refuse(status_of(&fault)));
            }
            Some(fault @ Fault::Status { .. }) => return Err(status_of(&fault).into()),
            Some(Fault::Close { ms, grace_ms, then, .. }) => self.announce_close(ms, grace_ms, then)?,
            Some(Fault::GoAway { abrupt, .. }) => self.control.command(Command::GoAway { abrupt }),
            Some(Fault::Stall { ms }) => self.stall(ms),
            _ => {}
        }
        let spread = self.settings.ack_delay_spread_ms;
        let chance = if spread == 0 { 0 } else { rand::random_range(0..=spread) };
        self.acks.push(received + Duration::from_millis(self.settings.ack_delay_ms + chance), offset);
        Ok(())
    }

    /// Reads a message of Protobuf: its offset, its records, how many more there are, and the bytes of those that are kept.
    fn messages(&self, bytes: Bytes, plan: &Arc<MessagePlan>) -> Result<(Option<i64>, Records, usize, usize), Ending> {
        let (offset, batch) = match self.decode::<EphemeralStreamRequest>(bytes)?.payload {
            Some(RequestPayload::IngestRecord(message)) => match message.record {
                Some(Record::Proto(record)) => (message.offset_id, WireRecords { records: vec![record], surplus: 0 }),
                Some(Record::Json(_) | Record::Avro(_)) => return Err(self.violation("a record is not Protobuf")),
                None => return Err(self.violation("a message has no record")),
            },
            Some(RequestPayload::IngestRecordBatch(message)) => match message.batch {
                Some(Batch::Proto(batch)) => (message.offset_id, batch),
                Some(Batch::Json(_) | Batch::Avro(_)) => return Err(self.violation("a batch is not Protobuf")),
                None => return Err(self.violation("a message has no batch")),
            },
            Some(RequestPayload::CreateStream(_)) => return Err(self.violation("the stream is created twice")),
            None => return Err(self.violation("a message is empty")),
        };
        let size = batch.records.iter().map(Bytes::len).sum();
        Ok((offset, Records::Messages(Arc::clone(plan), batch.records), batch.surplus, size))
    }

    /// Reads a message of Arrow Flight.
    fn batch(&self, bytes: Bytes, plan: &Arc<BatchPlan>) -> Result<(Option<i64>, Records, usize), Ending> {
        let data: FlightData = self.decode(bytes)?;
        let metadata: BatchMetadata = serde_json::from_slice(&data.app_metadata)
            .map_err(|error| self.violation(&format!("the metadata of a batch cannot be read: {error}")))?;
        let batch = block_in_place(|| plan.batch(&data));
        let batch = batch.map_err(|error| self.violation(&format!("a batch cannot be read: {error}")))?;
        if batch.num_rows() == 0 {
            return Err(self.violation("a batch is empty"));
        }
        Ok((Some(metadata.offset_id), Records::Batch(Arc::clone(plan), batch), data.data_body.len()))
    }

    /// How many records have come up to the end of an offset.
    fn end(&self, offset: i64) -> u64 {
        usize::try_from(offset).ok().and_then(|offset| self.ends.get(offset)).copied().unwrap_or_default()
    }

    /// Checks and stores the records of a message, unless a fault keeps it from that. Returns the fault, and whether it
    /// was for one of the records.
    fn store(&self, offset: i64, records: Records, size: u64) -> Result<Option<(Fault, bool)>, Status> {
        let elsewhere = self.service.store.elsewhere(&self.table);
        let mut rows: Vec<Row<'_>> = Vec::new();
        if self.settings.check_records || elsewhere.is_some() {
            for position in 0..records.len() {
                let row = records.row(position).map_err(|bad| {
                    let text = format!("the record at offset {offset}, position {position} is invalid: {}", bad.reason);
                    if bad.malformed {
                        self.service.log.violation(format!("stream {}: {text}", self.id));
                    }
                    Status::invalid(text)
                })?;
                if elsewhere.is_some() {
                    rows.push(row);
                }
            }
        }
        let holds = |holding: &Holding| holds(&records, holding);
        let table = Some(&*self.table);
        let target = Target { on: Operation::Message, table, records: records.len() as u64, holds: &holds };
        let fault = self.service.faults.first_with_cause(&target);
        if matches!(fault, Some((Fault::Break { stored: false, .. } | Fault::Status { stored: false, .. }, _))) {
            return Ok(fault);
        }
        let weight = records.weight(size);
        if self.settings.keep_rows {
            self.service.store.check_room(weight).map_err(|text| Status::new(Code::ResourceExhausted, text))?;
        }
        if let Some(elsewhere) = elsewhere {
            let batch = record_batch(records.columns(), &rows)
                .map_err(|error| Status::new(Code::Internal, format!("no Arrow came of the rows: {error}")))?;
            elsewhere.append(&self.table, &batch).map_err(|reason| {
                Status::invalid(format!("the message at offset {offset} is not taken by the table: {reason}"))
            })?;
        }
        drop(rows);
        let count = records.len() as u64;
        let message = StoredMessage { stream_id: Arc::clone(&self.id), offset, time: StoredMessage::now(), records };
        self.service.store.append(&self.table, message, self.settings.keep_rows.then_some(weight));
        self.service.log.write(|log| {
            log.records += count;
            log.bytes += size;
        });
        write(&self.log, |log| {
            log.records += count;
            log.bytes += size;
        });
        Ok(fault)
    }

    /// Ends the stream for what a message holds; those before it may be acknowledged first.
    fn refuse(&mut self, status: Status) -> Ending {
        if self.settings.acks_before_refusal {
            let target = Target::new(Operation::Ack, Some(&self.table));
            let is_free = self.service.faults.first(&target).is_none();
            if let Some(offset) = self.acks.take_all()
                && is_free
                && let Err(ending) = self.send_ack(Some(offset))
            {
                return ending;
            }
        }
        status.into()
    }

    /// Sends the acknowledgement that is due, or what a fault makes of it.
    async fn acknowledge(&mut self) -> Result<(), Ending> {
        let now = Instant::now();
        let target = Target::new(Operation::Ack, Some(&self.table));
        let fault = match self.acks.decision.take() {
            Some(Decision(fault)) => fault,
            None => self.service.faults.first(&target),
        };
        match fault {
            Some(Fault::Delay { ms }) => {
                self.acks.hold(now + Duration::from_millis(ms), None);
                return Ok(());
            }
            Some(Fault::WhenIdle { ms }) if !self.half_closed => {
                let idle = self.last_message + Duration::from_millis(ms);
                if now < idle {
                    self.acks.hold(idle, fault);
                    return Ok(());
                }
            }
            _ => {}
        }
        let Some(offset) = self.acks.take(now, Duration::from_millis(self.settings.ack_interval_ms)) else {
            return Ok(());
        };
        match fault {
            Some(Fault::Silence) => Ok(()),
            Some(Fault::NoValue) => self.send_ack(None),
            Some(Fault::Beyond { by }) => self.send_ack(Some((self.next_offset - 1).saturating_add(by))),
            Some(Fault::Backwards) => {
                self.send_ack(Some(offset))?;
                self.send_ack(Some(offset - 1))
            }
            Some(Fault::Partial { records, then }) if self.is_flight => {
                let (start, end) = (self.end(offset - 1), self.end(offset));
                let up_to = end.saturating_sub(records).max(end.min(start + 1));
                self.marked = (offset - 1, up_to.max(self.marked.1));
                self.answer(PutAnswer {
                    ack_up_to_offset: Some(self.marked.0),
                    ack_up_to_records: Some(self.marked.1),
                    ..PutAnswer::default()
                })?;
                self.note_ack(Some(offset - 1));
                self.acks.put_back(now, offset);
                then.map_or(Ok(()), |by| Err(by.into()))
            }
            Some(Fault::Fragment { ms }) => {
                let mut bytes = self.ack(Some(offset));
                let first = bytes.split_to(bytes.len() / 2);
                self.send(first)?;
                sleep(Duration::from_millis(ms)).await;
                self.send(bytes)?;
                self.note_ack(Some(offset));
                Ok(())
            }
            _ => self.send_ack(Some(offset)),
        }
    }

    fn send_ack(&mut self, offset: Option<i64>) -> Result<(), Ending> {
        let bytes = self.ack(offset);
        self.send(bytes)?;
        self.note_ack(offset);
        Ok(())
    }

    /// An acknowledgement up to this offset, as the call wants it.
    fn ack(&mut self, offset: Option<i64>) -> Bytes {
        if !self.is_flight {
            let payload = ResponsePayload::IngestRecord(IngestRecordResponse { durability_ack_up_to_offset: offset });
            return framed(&EphemeralStreamResponse { payload: Some(payload) });
        }
        // Beyond the last there is a record for each offset.
        let beyond = |offset: i64| offset.saturating_sub(self.next_offset - 1).max(0).unsigned_abs();
        let records = offset.map(|offset| self.end(offset.min(self.next_offset - 1)).saturating_add(beyond(offset)));
        self.marked = offset.zip(records).unwrap_or(self.marked);
        let answer = PutAnswer { ack_up_to_offset: offset, ack_up_to_records: records, ..PutAnswer::default() };
        framed(&answer.message())
    }

    fn answer(&mut self, answer: PutAnswer) -> Result<(), Ending> {
        self.send(framed(&answer.message()))
    }

    fn note_ack(&self, offset: Option<i64>) {
        self.service.log.write(|log| log.acks += 1);
        write(&self.log, |log| {
            log.acks += 1;
            log.acked = offset;
        });
    }

    fn respond(&mut self, payload: ResponsePayload) -> Result<(), Ending> {
        self.send(framed(&EphemeralStreamResponse { payload: Some(payload) }))
    }

    fn send(&mut self, bytes: Bytes) -> Result<(), Ending> {
        self.send.send_data(bytes, false).map_err(|error| Ending::Gone(error.to_string()))
    }

    fn decode<M: Message + Default>(&self, bytes: Bytes) -> Result<M, Ending> {
        M::decode(bytes).map_err(|error| self.violation(&format!("a message cannot be read: {error}")))
    }

    /// What the client did that it must not.
    fn violation(&self, text: &str) -> Ending {
        self.service.log.violation(format!("stream {}: {text}", self.id));
        Status::invalid(text).into()
    }

    fn ended(&self, end: ReadEnd) -> Ending {
        match end {
            ReadEnd::HalfClosed => self.violation("the call ends before its first message"),
            ReadEnd::Broken(reason) => Ending::Gone(reason),
            ReadEnd::Malformed(status) => {
                self.service.log.violation(format!("stream {}: {}", self.id, status.message));
                status.into()
            }
            ReadEnd::Enough(by) => by.into(),
        }
    }

    async fn finish(mut self, ending: Ending) {
        match ending {
            Ending::Status(status) => {
                write(&self.log, |log| {
                    log.status = Some(status.code);
                    log.ended = Some(status.message.clone());
                });
                // Fails only when the client is gone, and then there is nobody to tell.
                drop(self.send.send_trailers(status.trailers()));
            }
            Ending::Reset => {
                write(&self.log, |log| log.ended = Some("the server reset the connection".to_owned()));
                self.control.command(Command::Reset);
                self.control.closed().await;
            }
            Ending::Gone(_) if self.control.is_ending() => {
                write(&self.log, |log| log.ended = Some("the server ended the connection".to_owned()));
            }
            Ending::Gone(reason) => {
                self.service.log.write(|log| log.resets += 1);
                write(&self.log, |log| log.ended = Some(reason));
            }
        }
    }
}

fn status_of(fault: &Fault) -> Status {
    let Fault::Status { code, message, error_info, retry_after_ms, .. } = fault else { return Status::ok() };
    Status {
        code: *code,
        message: message.clone().unwrap_or_else(|| "a scripted fault".to_owned()),
        error_info: error_info.clone(),
        retry_after: retry_after_ms.map(Duration::from_millis),
    }
}

fn holds(records: &Records, holding: &Holding) -> bool {
    let is_it = |(column, value): (&UcField, &Option<Value<'_>>)| {
        column.name == holding.column && as_json(&column.kind, value.as_ref()) == holding.equals
    };
    records.rows().any(|row| records.columns().iter().zip(&row).any(is_it))
}
