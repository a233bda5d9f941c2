//! A cluster for any client to talk to, until standard input ends:
//! `cargo run -p metricstream-cluster --example serve -- [first port] [brokers] [data folder] [name=value …]`.

use std::io::Read;

use metricstream_cluster::{Cluster, ClusterError, Event, Profile};

#[tokio::main]
async fn main() -> Result<(), ClusterError> {
    let mut plain = Vec::new();
    let mut builder = Cluster::builder().profile(Profile::Fast).on_event(|node, event| {
        if let Event::Log { level, text } = event {
            eprintln!("node {node}: {level:?}: {text}");
        }
    });
    for argument in std::env::args().skip(1) {
        match argument.split_once('=') {
            Some((name, value)) => builder = builder.set(name, value),
            None => plain.push(argument),
        }
    }
    if let Some(port) = plain.first().and_then(|port| port.parse().ok()) {
        builder = builder.first_port(port);
    }
    if let Some(brokers) = plain.get(1).and_then(|count| count.parse().ok()) {
        builder = builder.brokers(brokers);
    }
    if let Some(folder) = plain.get(2) {
        builder = builder.data(folder);
    }
    let cluster = builder.start().await?;
    println!("bootstrap {}", cluster.bootstrap());
    let end = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    let _ = end.await;
    Ok(())
}
