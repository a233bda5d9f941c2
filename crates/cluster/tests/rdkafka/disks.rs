//! Disks that are full, damaged, somebody else's or not to be written: the node says which file and what to do, mends
//! nothing but what Kafka mends, and the other nodes go on.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use metricstream_cluster::{Builder, Cluster, ClusterError, Event, Level, NodeState, Start};
use rdkafka::Offset;

use crate::support::{DEADLINE, create, fast, leader, producer, read, reader, send, until};

/// Lines that nodes told, with their level.
type Told = Arc<Mutex<Vec<(Level, String)>>>;

fn listening(builder: Builder, told: &Told) -> Builder {
    let told = Arc::clone(told);
    builder.on_event(move |_, event| {
        if let Event::Log { level, text } = event {
            told.lock().expect("unpoisoned").push((level, text));
        }
    })
}

/// The files of a partition's log, the oldest first.
fn segments(folder: &Path, partition: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join(partition)).expect("the partition's folder");
    let mut found: Vec<PathBuf> = entries.map(|e| e.expect("an entry").path()).collect();
    found.retain(|path| path.extension().is_some_and(|e| e == "log"));
    found.sort();
    found
}

fn flip(path: &Path, at: usize) -> Vec<u8> {
    let mut bytes = fs::read(path).expect("readable");
    bytes[at] ^= 0x10;
    fs::write(path, &bytes).expect("writable");
    bytes
}

#[track_caller]
fn refused<T>(outcome: Result<T, ClusterError>, parts: &[&str]) {
    let Err(error) = outcome else { panic!("it starts; wanted an error with {parts:?}") };
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}

/// A node of its own that has written `count` batches of one record each, and ended.
async fn written(folder: &Path, count: u32) {
    let cluster = fast().brokers(1).data(folder).topic("t", 1, 1).start().await.expect("a cluster");
    let producer = producer(&cluster, &[]);
    for number in 0..count {
        send(&producer, "t", 0, number..number + 1).await;
    }
    cluster.kill(1).await.expect("killed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_another_node_cluster_or_version_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    written(folder.path(), 1).await;
    let node = folder.path().join("node-1");
    let place = node.display().to_string();
    let marks = node.join("meta.properties");
    let whole = fs::read_to_string(&marks).expect("meta.properties");
    let id = whole.lines().find_map(|line| line.strip_prefix("cluster.id=")).expect("a cluster id");
    for (text, parts) in [
        (whole.replace("node.id=1", "node.id=2"), ["node 2 of cluster", "this is node 1", "its own data directory"]),
        (whole.replace(id, "c29tZWJvZHkgZWxzZXMgIQ"), ["c29tZWJvZHkgZWxzZXMgIQ", id, "its own data directory"]),
        (whole.replace("version=1", "version=2"), ["version 2", "version 1", "use a newer program"]),
    ] {
        fs::write(&marks, &text).expect("written");
        let before = fs::metadata(&segments(&node, "t-0")[0]).expect("there").len();
        let outcome = fast().brokers(1).data(folder.path()).start().await;
        refused(outcome, &["node 1 does not start", "meta.properties", &place, parts[0], parts[1], parts[2]]);
        assert_eq!(fs::read_to_string(&marks).expect("there"), text, "nothing was changed");
        assert_eq!(fs::metadata(&segments(&node, "t-0")[0]).expect("there").len(), before);
    }
    fs::write(&marks, &whole).expect("written");
    let cluster = fast().brokers(1).data(folder.path()).start().await.expect("it is its own again");
    assert_eq!(read(&reader(&cluster, "t", 0, Offset::Beginning), 1).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_tail_is_cut_to_the_last_whole_batch_and_the_log_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    written(folder.path(), 10).await;
    let segment = segments(&folder.path().join("node-1"), "t-0").pop().expect("one");
    let size = fs::metadata(&segment).expect("there").len();
    fs::OpenOptions::new().write(true).open(&segment).expect("there").set_len(size - 5).expect("cut");
    let told = Told::default();
    let cluster = listening(fast(), &told).brokers(1).data(folder.path()).start().await.expect("Kafka cuts it too");
    let got = read(&reader(&cluster, "t", 0, Offset::Beginning), 9);
    assert_eq!(got.into_values().collect::<Vec<_>>(), (0..9).map(|n| format!("v-{n}")).collect::<Vec<_>>());
    let left = fs::metadata(&segment).expect("there").len();
    let line = format!("t-0/00000000000000000000.log: cut at byte {left} of {}", size - 5);
    let said = told.lock().expect("unpoisoned").clone();
    assert!(said.iter().any(|(level, text)| *level == Level::Warn && text.contains(&line)), "{line}: {said:?}");
    let next = send(&producer(&cluster, &[]), "t", 0, 9..10).await;
    assert_eq!(next, [9], "it goes on where the last whole batch ended");
}

/// Three brokers on disk and a topic of small segments, with something in several of them; and a follower, which is killed.
async fn with_a_dead_follower(folder: &Path) -> (Cluster, i32) {
    let builder = fast().data(folder).set("log.segment.bytes", "400").set("min.insync.replicas", "2");
    let cluster = builder.topic("t", 1, 3).start().await.expect("a cluster");
    let producer = producer(&cluster, &[]);
    for number in 0..20 {
        send(&producer, "t", 0, number..number + 1).await;
    }
    cluster.wait_isr_full(DEADLINE).await.expect("in sync");
    let leads = leader(&cluster, "t", 0).await;
    let follower = (1..=3).find(|id| *id != leads).expect("two others");
    cluster.kill(follower).await.expect("killed");
    (cluster, follower)
}

/// The logs of two nodes have the same bytes, once the second has caught up.
async fn equal(folder: &Path, a: i32, b: i32) {
    let content = |node: i32| -> Vec<u8> {
        let files = segments(&folder.join(format!("node-{node}")), "t-0");
        files.iter().flat_map(|path| fs::read(path).expect("readable")).collect()
    };
    until("the same bytes", || async { (content(a) == content(b)).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_in_the_last_segment_is_cut_off_and_copied_again_from_the_leader() {
    let folder = tempfile::tempdir().expect("a folder");
    let (cluster, follower) = with_a_dead_follower(folder.path()).await;
    let node = folder.path().join(format!("node-{follower}"));
    let files = segments(&node, "t-0");
    assert!(files.len() > 2, "{files:?}");
    flip(files.last().expect("some"), 70);
    cluster.start_node(follower, Start::AsItWas).await.expect("Kafka cuts it too");
    cluster.wait_isr_full(DEADLINE).await.expect("in sync again");
    equal(folder.path(), leader(&cluster, "t", 0).await, follower).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_below_the_last_segment_keeps_the_node_down_until_its_folder_is_deleted() {
    let folder = tempfile::tempdir().expect("a folder");
    let (cluster, follower) = with_a_dead_follower(folder.path()).await;
    let node = folder.path().join(format!("node-{follower}"));
    let first = segments(&node, "t-0").remove(0);
    let damaged = flip(&first, 70);
    let outcome = cluster.start_node(follower, Start::AsItWas).await;
    let (place, number) = (node.display().to_string(), format!("node {follower} does not start"));
    let parts = ["t-0/00000000000000000000.log", "damaged at byte 0", "checksum", "delete its folder", &place, &number];
    refused(outcome, &parts);
    assert_eq!(fs::read(&first).expect("there"), damaged, "nothing was mended");
    assert_eq!(cluster.nodes()[&follower], NodeState::Down);
    send(&producer(&cluster, &[]), "t", 0, 20..30).await;
    // As the message says.
    fs::remove_dir_all(node.join("t-0")).expect("deleted");
    cluster.start_node(follower, Start::AsItWas).await.expect("it starts");
    cluster.wait_isr_full(DEADLINE).await.expect("in sync again");
    equal(folder.path(), leader(&cluster, "t", 0).await, follower).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, b"no folder").expect("written");
    for data in [file, PathBuf::from("/proc/nowhere")] {
        let outcome = fast().brokers(1).data(&data).start().await;
        refused(outcome, &[&data.join("node-1").display().to_string(), "another data directory"]);
    }
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_ends_the_node_that_has_it_says_what_to_do_and_the_others_go_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let ended = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&ended);
    let builder = fast().data(folder.path()).set("min.insync.replicas", "2");
    let builder = builder.on_end(move |id, why| tell.lock().expect("unpoisoned").push((id, why.to_owned())));
    let cluster = builder.start().await.expect("a cluster");
    // What a replica writes first goes to a device that is always full.
    let place = folder.path().join("node-3");
    fs::create_dir_all(place.join("t-0")).expect("a folder");
    std::os::unix::fs::symlink("/dev/full", place.join("t-0/leader-epoch-checkpoint.tmp")).expect("a link");
    create(&cluster, "t", 1, 3, &[]).await;
    let producer = producer(&cluster, &[]);
    send(&producer, "t", 0, 0..20).await;
    let down = || async { (cluster.nodes()[&3] == NodeState::Down).then_some(()) };
    until("the node with the full disk to end", down).await;
    send(&producer, "t", 0, 20..40).await;
    assert_eq!(read(&reader(&cluster, "t", 0, Offset::Beginning), 40).len(), 40);
    let ended = ended.lock().expect("unpoisoned").clone();
    assert_eq!(ended.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [3], "{ended:?}");
    for part in ["t-0/leader-epoch-checkpoint", "No space left", "make room", &place.display().to_string()] {
        assert!(ended[0].1.contains(part), "`{part}` is not in: {}", ended[0].1);
    }
    // There is room again.
    fs::remove_file(place.join("t-0/leader-epoch-checkpoint.tmp")).expect("removed");
    cluster.start_node(3, Start::AsItWas).await.expect("started");
    cluster.wait_isr_full(DEADLINE).await.expect("in sync again");
}
