//! Every built-in scenario that Apache Kafka can run, run on it as a user runs it; the stories are those of
//! `common/stories.rs`. Timers are Kafka's own.
#![allow(missing_docs)]

mod common;

use common::stories::On;

every_story!(stories On::KAFKA);
