//! Kafka bytes: primitives, record batch v2, and one declaration per message.
//!
//! No clocks, no IO and no cluster state live here.
