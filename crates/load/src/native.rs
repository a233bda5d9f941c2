//! The few calls of librdkafka that its Rust wrapper does not offer. The only module with unsafe code.
//!
//! Each function says what makes it sound. Nothing here keeps a pointer longer than the object that owns it.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_void};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::bindings as native;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::BorrowedMessage;
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};
use rdkafka::util::IntoOpaque;

/// What librdkafka knows of a message's fate, over all its attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// It was never written.
    Not,
    /// It may have been written: sent, and not answered for certain.
    Possibly,
    /// The broker said that it was written.
    Persisted,
}

/// What librdkafka knows of the fate of a message in a delivery report.
pub(crate) fn persistence(message: &BorrowedMessage<'_>) -> Persistence {
    // SAFETY: a borrowed message's pointer is valid for its lifetime, and the call only reads.
    match unsafe { native::rd_kafka_message_status(message.ptr()) } {
        native::rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_NOT_PERSISTED => Persistence::Not,
        native::rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_POSSIBLY_PERSISTED => Persistence::Possibly,
        native::rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_PERSISTED => Persistence::Persisted,
    }
}

/// A topic of a producer, resolved once: sending through it allocates nothing on this side.
pub(crate) struct TopicHandle<C: ProducerContext + 'static> {
    topic: *mut native::rd_kafka_topic_t,
    /// Keeps the client alive for as long as the topic of it.
    producer: Arc<BaseProducer<C>>,
}

// SAFETY: librdkafka's topic objects are reference counted and all calls on them are thread safe by its documentation.
unsafe impl<C: ProducerContext + 'static> Send for TopicHandle<C> {}
// SAFETY: the same; producing from several threads at once is what they are made for.
unsafe impl<C: ProducerContext + 'static> Sync for TopicHandle<C> {}

impl<C: ProducerContext + 'static> TopicHandle<C> {
    /// The topic called `name`, with the client's own topic settings.
    pub(crate) fn new(producer: Arc<BaseProducer<C>>, name: &str) -> Result<Self, String> {
        let text = CString::new(name).map_err(|_| format!("topic name {name:?} has a zero byte"))?;
        // SAFETY: client and name are valid for the call; a null configuration means the client's default one.
        let topic =
            unsafe { native::rd_kafka_topic_new(producer.client().native_ptr(), text.as_ptr(), std::ptr::null_mut()) };
        if topic.is_null() { Err(format!("topic {name}: {}", last_error())) } else { Ok(Self { topic, producer }) }
    }

    /// Hands a message over; librdkafka copies key and value. Without a partition the client chooses by key. Its delivery
    /// report comes with `opaque`, and only if the message was taken.
    pub(crate) fn send(
        &self,
        partition: Option<i32>,
        key: Option<&[u8]>,
        value: &[u8],
        opaque: C::DeliveryOpaque,
    ) -> Result<(), RDKafkaErrorCode> {
        let opaque = opaque.into_ptr();
        let (key, key_len) = key.map_or((std::ptr::null(), 0), |key| (key.as_ptr().cast::<c_void>(), key.len()));
        // SAFETY: the topic lives as long as `self`; with MSG_F_COPY librdkafka only reads key and value, and only
        // during the call, in spite of the mutable pointer in its signature; the opaque is made by `into_ptr` of the
        // type that the delivery callback makes it into again.
        let failed = unsafe {
            native::rd_kafka_produce(
                self.topic,
                partition.unwrap_or(-1),
                native::RD_KAFKA_MSG_F_COPY,
                value.as_ptr().cast_mut().cast::<c_void>(),
                value.len(),
                key,
                key_len,
                opaque,
            )
        };
        if failed == 0 {
            return Ok(());
        }
        let error = last_error();
        // SAFETY: it came out of `into_ptr` above; of a message that was not taken no report comes, so nobody else
        // makes it into a value again.
        drop(unsafe { C::DeliveryOpaque::from_ptr(opaque) });
        Err(error)
    }

    /// The client that the topic belongs to.
    pub(crate) fn producer(&self) -> &BaseProducer<C> {
        &self.producer
    }
}

impl<C: ProducerContext + 'static> Drop for TopicHandle<C> {
    fn drop(&mut self) {
        // SAFETY: it was created by `rd_kafka_topic_new`, is released once, and its client is still alive.
        unsafe { native::rd_kafka_topic_destroy(self.topic) };
    }
}

/// The generation of the member that a consumer is, or its member epoch; −1 if it has none.
pub(crate) fn generation<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> i32 {
    // SAFETY: the client is valid for the call; the metadata it returns is a copy that is ours, may be null, and is
    // released once.
    unsafe {
        let metadata = native::rd_kafka_consumer_group_metadata(consumer.client().native_ptr());
        if metadata.is_null() {
            return -1;
        }
        let generation = native::rd_kafka_consumer_group_metadata_generation_id(metadata);
        native::rd_kafka_consumer_group_metadata_destroy(metadata);
        generation
    }
}

/// Commits whose answers can be heard. The wrapper's own asynchronous commit never tells how it ended: it does not set the
/// callback that librdkafka would answer.
///
/// Of one client; must be dropped before it.
pub(crate) struct Commits {
    queue: *mut native::rd_kafka_queue_t,
}

// SAFETY: librdkafka's queues may be used from any thread.
unsafe impl Send for Commits {}

/// What a commit came to: topic, partition and offset of what was accepted, or why nothing was.
pub(crate) type Committed = Result<Vec<(String, i32, i64)>, RDKafkaErrorCode>;

impl Commits {
    pub(crate) fn new<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> Self {
        // SAFETY: the client is valid; the queue is ours and released once.
        let queue = unsafe { native::rd_kafka_queue_new(consumer.client().native_ptr()) };
        Self { queue }
    }

    /// Asks for a commit. Its answer comes by [`answer`](Self::answer).
    pub(crate) fn ask<C: ConsumerContext>(
        &self,
        consumer: &BaseConsumer<C>,
        offsets: &TopicPartitionList,
    ) -> Result<(), RDKafkaErrorCode> {
        // SAFETY: client, list and queue are valid for the call; the list is copied; without a callback the answer is an
        // event on the queue.
        let error = unsafe {
            native::rd_kafka_commit_queue(
                consumer.client().native_ptr(),
                offsets.ptr(),
                self.queue,
                None,
                std::ptr::null_mut(),
            )
        };
        if error == native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR { Ok(()) } else { Err(error.into()) }
    }

    /// The next answer, waiting for it as long as that.
    pub(crate) fn answer(&self, within: Duration) -> Option<Committed> {
        let timeout_ms = i32::try_from(within.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue is valid; an event that is not null is ours and released once, after its list, which it
        // owns, was read.
        unsafe {
            let event = native::rd_kafka_queue_poll(self.queue, timeout_ms);
            if event.is_null() {
                return None;
            }
            let is_commit = native::rd_kafka_event_type(event) == native::RD_KAFKA_EVENT_OFFSET_COMMIT;
            let answer = is_commit.then(|| match native::rd_kafka_event_error(event) {
                native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => {
                    Ok(accepted(native::rd_kafka_event_topic_partition_list(event)))
                }
                error => Err(error.into()),
            });
            native::rd_kafka_event_destroy(event);
            answer
        }
    }
}

impl Drop for Commits {
    fn drop(&mut self) {
        // SAFETY: it was created by `rd_kafka_queue_new` and is released once, before its client.
        unsafe { native::rd_kafka_queue_destroy(self.queue) };
    }
}

/// The offsets of a list that were accepted.
///
/// # Safety
/// The list must be null or valid.
unsafe fn accepted(list: *const native::rd_kafka_topic_partition_list_t) -> Vec<(String, i32, i64)> {
    // SAFETY: the caller's promise; a list says how many elements it has, and names are C strings.
    unsafe {
        let Some(list) = list.as_ref() else {
            return Vec::new();
        };
        let count = usize::try_from(list.cnt).unwrap_or(0);
        if count == 0 || list.elems.is_null() {
            return Vec::new();
        }
        let elements = std::slice::from_raw_parts(list.elems, count).iter();
        let good = elements.filter(|e| {
            e.err == native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && e.offset >= 0 && !e.topic.is_null()
        });
        good.map(|e| (CStr::from_ptr(e.topic).to_string_lossy().into_owned(), e.partition, e.offset)).collect()
    }
}

fn last_error() -> RDKafkaErrorCode {
    // SAFETY: reads a thread-local number.
    unsafe { native::rd_kafka_last_error() }.into()
}
