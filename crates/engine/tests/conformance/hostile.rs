//! Bytes that no client would send, and clients that only cost: others are served on.

use rdkafka::Offset;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::clients::{create, producer, read, reader, send};
use crate::cluster::{Cluster, fresh};
use crate::librdkafka::{frame, is_cut};

pub(crate) async fn garbage_ends_the_connection_that_sent_it_and_no_other(cluster: &mut Cluster) {
    let t = fresh("t");
    create(cluster, &t, 1, 3, &[]).await;
    let at = cluster.at(cluster.leader(&t, 0).await);
    let client = producer(cluster, &[]);
    let huge_array = frame(3, 1, &i32::MAX.to_be_bytes());
    let hostile: [(&str, Vec<u8>); 7] = [
        ("noise", (0..100_u8).map(|n| n.wrapping_mul(151) ^ 0x5a).collect()),
        ("two gibibytes", [&i32::MAX.to_be_bytes()[..], b"abc"].concat()),
        ("a negative length", (-5_i32).to_be_bytes().to_vec()),
        ("an empty frame", 0_i32.to_be_bytes().to_vec()),
        ("an array of two thousand million topics", huge_array),
        ("an API that does not exist", frame(999, 0, b"")),
        ("a version that does not exist", frame(3, 99, b"")),
    ];
    for (number, (what, bytes)) in (0..).zip(hostile) {
        assert!(is_cut(at, &bytes).await, "{what} is answered");
        send(&client, &t, 0, number..number + 1).await;
    }
    assert_eq!(read(&reader(cluster, &t, 0, Offset::Beginning), 7).len(), 7);
}

pub(crate) async fn idle_connections_half_frames_and_a_client_that_never_reads_cost_others_nothing(
    cluster: &mut Cluster,
) {
    let t = fresh("t");
    create(cluster, &t, 1, 3, &[]).await;
    let at = cluster.at(cluster.leader(&t, 0).await);
    let mut held = Vec::new();
    for number in 0..300 {
        let mut stream = TcpStream::connect(at).await.expect("connected");
        if number % 2 == 0 {
            stream.write_all(&frame(18, 0, b"")[..7]).await.expect("half a frame");
        }
        held.push(stream);
    }
    // It asks for as much as the broker lets it, and takes none of the answers.
    let mut greedy = TcpStream::connect(at).await.expect("connected");
    let many = frame(18, 0, b"").repeat(10_000);
    let asking = tokio::spawn(async move {
        let _ = greedy.write_all(&many).await;
        greedy
    });
    send(&producer(cluster, &[]), &t, 0, 0..100).await;
    assert_eq!(read(&reader(cluster, &t, 0, Offset::Beginning), 100).len(), 100);
    asking.abort();
    drop(held);
}
