//! The keys of a scenario file, as data: the parser refuses every other key, and docs/scenario.md is held to this list.

/// One table of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// How the table is written, such as `[topology]`.
    pub title: &'static str,
    /// The keys that it may have.
    pub keys: &'static [Key],
}

/// One key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// The key as written.
    pub name: &'static str,
    /// What its value may be.
    pub form: &'static str,
    /// What holds where the file leaves it out.
    pub default: &'static str,
    /// What it means.
    pub doc: &'static str,
}

const fn key(name: &'static str, form: &'static str, default: &'static str, doc: &'static str) -> Key {
    Key { name, form, default, doc }
}

/// The top of the file.
pub const ROOT: Table = Table {
    title: "the scenario",
    keys: &[
        key("schema", "1", "1", "Version of this format."),
        key("name", "name", "required", "Short name; the run directory starts with it."),
        key("description", "text", "empty", "A paragraph for people."),
        key("profiles", "table of tables", "empty", "`[profiles.fast]`: what is different in a profile, see below."),
        key("topology", "table", "3 combined brokers", "The cluster."),
        key("workload", "table", "one producer, one group", "What is sent and read."),
        key("timeline", "list of tables", "empty", "Faults and membership changes, in the order in which they happen."),
        key("settle", "table", "see there", "How the run ends."),
        key("baseline", "table", "see there", "How much worse than an earlier run it may be."),
        key("claims", "list of tables", "empty", "What the author believes will happen."),
    ],
};

/// `[topology]`.
pub const TOPOLOGY: Table = Table {
    title: "[topology]",
    keys: &[
        key("brokers", "1 to 15", "3", "Number of brokers; their ids are 1, 2, …"),
        key(
            "controllers",
            "\"combined\", or 1 to 9",
            "\"combined\"",
            "Where the KRaft voters live: on every broker, or on this many nodes of their own with ids 101, 102, …",
        ),
        key(
            "profile",
            "\"apache\", \"fast\"",
            "\"apache\"",
            "`apache` leaves every timer at Kafka's default; `fast` makes failover quick.",
        ),
        key("broker_config", "settings", "empty", "Broker settings under Kafka's own names, laid over the profile."),
        key("topics", "list of tables", "one topic `metrics`", "Topics that are created before load starts."),
    ],
};

/// `[[topology.topics]]`.
pub const TOPIC: Table = Table {
    title: "[[topology.topics]]",
    keys: &[
        key("name", "topic name", "\"metrics\"", "Kafka topic name."),
        key("partitions", "1 to 1000", "6, or as many as `replicas` lists", "Number of partitions."),
        key(
            "replication_factor",
            "1 to brokers",
            "3, at most brokers, or as `replicas` lists",
            "Replicas of each partition.",
        ),
        key(
            "min_insync_replicas",
            "1 to replication_factor",
            "replication_factor − 1, at least 1",
            "`min.insync.replicas` of the topic.",
        ),
        key(
            "replicas",
            "list of lists of broker ids",
            "spread round-robin",
            "Explicit replicas, one list per partition, preferred leader first.",
        ),
        key("config", "settings", "empty", "Further topic settings under Kafka's own names."),
    ],
};

/// `[workload]`.
pub const WORKLOAD: Table = Table {
    title: "[workload]",
    keys: &[
        key(
            "duration_s",
            "1 to 86400",
            "until healed; 30 without a timeline",
            "How long load is offered. Without it: until the timeline is through and all is normal again, see below.",
        ),
        key("settle_s", "0 to 3600", "5", "Without `duration_s`: load goes on this long after all is normal again."),
        key(
            "max_duration_s",
            "1 to 86400",
            "180 s after the last step",
            "Without `duration_s`: load lasts no longer than this, healed or not.",
        ),
        key("producers", "list of tables", "one producer", "Producers, each a client of its own."),
        key("groups", "list of tables", "one group", "Consumer groups."),
    ],
};

/// `[[workload.producers]]`.
pub const PRODUCER: Table = Table {
    title: "[[workload.producers]]",
    keys: &[
        key("name", "name", "producer-1, …", "Unique name; also its client id."),
        key("topic", "topic name", "the only topic", "Topic written to."),
        key(
            "rate_per_s",
            "above 0 up to 1000000, or \"unthrottled\"",
            "1000",
            "Open-loop rate over all its lanes. \"unthrottled\" sends as fast as the client accepts.",
        ),
        key("message_size_bytes", "48 to 999000", "200", "Size of every message value, identity included."),
        key(
            "keys",
            "1 to 100000",
            "none",
            "This many keyed lanes, partition chosen by the client. Without it: one lane pinned to each partition.",
        ),
        key("config", "settings", "empty", "librdkafka settings laid over MetricStream's defaults."),
    ],
};

/// `[[workload.groups]]`.
pub const GROUP: Table = Table {
    title: "[[workload.groups]]",
    keys: &[
        key("name", "name", "group-1, …", "`group.id`."),
        key("topics", "list of topic names", "every topic", "Subscribed topics."),
        key("protocol", "\"classic\", \"consumer\"", "\"classic\"", "Group protocol; `consumer` is KIP-848."),
        key(
            "assignor",
            "classic: \"range\", \"roundrobin\", \"cooperative-sticky\"; consumer: \"uniform\", \"range\"",
            "\"range\", or \"uniform\"",
            "How partitions are shared out.",
        ),
        key("members", "list of names", "[\"A\"]", "Members that are present from the start."),
        key("config", "settings", "empty", "librdkafka settings laid over MetricStream's defaults."),
    ],
};

/// `[[timeline]]`.
pub const STEP: Table = Table {
    title: "[[timeline]]",
    keys: &[
        key("id", "name", "required", "Unique; results and claims refer to it."),
        key(
            "at_s",
            "0 to duration_s or max_duration_s",
            "this or `on`",
            "Time on the run's clock, seconds since load start.",
        ),
        key(
            "on",
            "\"isr-full\", \"leaders-known\", \"group-stable GROUP\", \"step-done STEP\", \"fenced STEP\"",
            "this or `at_s`",
            "Happens when this condition first holds.",
        ),
        key("after_s", "0 to 3600", "0", "With `on`: this long after the condition holds."),
        key(
            "not_before_s",
            "0 to duration_s or max_duration_s",
            "0",
            "With `on`: the condition is not looked at before this time.",
        ),
        key(
            "after_step",
            "id of an earlier step",
            "none",
            "With `on`: the condition is not looked at before this step was carried out.",
        ),
        key(
            "do",
            "\"kill\", \"stop\", \"pause\", \"resume\", \"start\", \"start-wiped\", \"start-reformatted\", \
             \"partition\", \"isolate\", \"slow-link\", \"mend\", \
             \"member-join\", \"member-leave\", \"member-crash\", \"member-stall\", \"chaos\"",
            "required",
            "What happens.",
        ),
        key(
            "target",
            "\"broker 2\", \"controller 101\", \"leader of metrics-0\", \"followers of metrics-0\", \
             \"active controller\", \"random broker\", \"every broker\", \"victim of STEP\"",
            "required for faults of nodes",
            "Which node; resolved when the step is due.",
        ),
        key(
            "groups",
            "list of texts, each one or more targets, \"clients\" or \"others\", with commas between them",
            "required for `partition`",
            "Between these groups nothing gets through.",
        ),
        key("from", "\"all\", \"nodes\"", "\"all\"", "For `isolate`: whether clients still reach the node."),
        key(
            "between",
            "list of targets, \"clients\" or \"others\"",
            "required for `slow-link`",
            "Links between every two of these are slow.",
        ),
        key("delay_ms", "0 to 60000", "0", "For `slow-link`: every byte arrives so much later, each way."),
        key("jitter_ms", "0 to 60000", "0", "For `slow-link`: and up to so much more, drawn."),
        key("kb_per_s", "1 to 10000000", "no limit", "For `slow-link`: what gets through in a second, in 1024 bytes."),
        key("step", "id of an earlier step of links", "all of them", "For `mend`: what is to be undone."),
        key("group", "group name", "the only group", "For member steps: the group."),
        key("member", "name", "required for member steps", "For member steps: the member."),
        key("for_s", "above 0 up to 3600", "required", "For `member-stall` and `chaos`: how long."),
        key("every_s", "1 to 3600", "10", "For `chaos`: mean time between faults."),
        key("kinds", "list of \"kill\", \"stop\", \"pause\"", "all three", "For `chaos`: what is drawn from."),
    ],
};

/// `[settle]`.
pub const SETTLE: Table = Table {
    title: "[settle]",
    keys: &[
        key("isr_full_s", "0 to 3600", "120", "Wait this long for every ISR to be full, after the timeline is done."),
        key("drain_s", "0 to 3600", "90", "Wait this long for sends that are still open."),
        key("group_catch_up_s", "0 to 3600", "60", "Wait this long for groups to read to the end."),
        key("heal", "true, false", "true", "Whether whatever the timeline left broken is started again, and mended."),
    ],
};

/// `[baseline]`.
pub const BASELINE: Table = Table {
    title: "[baseline]",
    keys: &[
        key(
            "tolerance_percent",
            "0 to 1000",
            "20",
            "With `--baseline`: how much worse than the earlier run a measured quantity may be; `--tolerance` goes first.",
        ),
        key(
            "thresholds",
            "table of quantity = percent",
            "empty",
            "The same for single quantities, by name (`\"failover.kill-2.elected_s\" = 10`) or by its beginning \
             (`\"latency.*\" = 50`); the longest that fits counts.",
        ),
    ],
};

/// `[[claims]]`.
pub const CLAIM: Table = Table {
    title: "[[claims]]",
    keys: &[
        key("id", "name", "required", "Unique."),
        key("text", "text", "the id", "The belief, for people."),
        key("measure", "a measure, see below", "required", "What is measured."),
        key("step", "id of a step", "as the measure needs", "The step that it is about."),
        key(
            "of",
            "\"metrics-0\", \"group-1\" or \"group-1/A\"",
            "as the measure needs",
            "Partition, group or member that narrows the measure.",
        ),
        key("after_s", "0 to 3600", "as the measure needs", "How long after the step the measure looks."),
        key("op", "\"<=\", \">=\", \"==\"", "\"<=\" for times, else \"==\"", "Comparison."),
        key("value", "number, true/false or text", "required", "The expected value, in the measure's unit."),
    ],
};

/// Every table, in the order of a file.
pub const TABLES: &[&Table] =
    &[&ROOT, &TOPOLOGY, &TOPIC, &WORKLOAD, &PRODUCER, &GROUP, &STEP, &SETTLE, &BASELINE, &CLAIM];
