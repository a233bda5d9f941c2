//! Topics that are to be there from the start are made as any client makes them: over the wire, through a broker.

use std::time::{Duration, Instant};

use metricstream_wire::ErrorCode;
use metricstream_wire::api::create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use metricstream_wire::frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::builder::TopicSpec;
use crate::cluster::Cluster;
use crate::error::ClusterError;

const VERSION: i16 = 7;
const RETRY: Duration = Duration::from_millis(5);

/// Makes topics; one that is there already is as good.
pub(crate) async fn create(cluster: &Cluster, topics: &[TopicSpec], patience: Duration) -> Result<(), ClusterError> {
    let begun = Instant::now();
    let body = CreateTopicsRequest {
        topics: topics.iter().map(wanted).collect(),
        timeout_ms: i32::try_from(patience.as_millis()).unwrap_or(i32::MAX),
        validate_only: false,
    };
    loop {
        for (_, at) in cluster.brokers() {
            let Ok(Ok(answer)) = tokio::time::timeout(patience, ask(at, &body)).await else { continue };
            let refused = answer.iter().find(|(_, error, _)| {
                ![ErrorCode::NONE, ErrorCode::TOPIC_ALREADY_EXISTS, ErrorCode::NOT_CONTROLLER].contains(error)
            });
            if let Some((topic, error, why)) = refused {
                return Err(ClusterError::Topic { topic: topic.clone(), why: format!("{error}: {why}") });
            }
            if answer.iter().all(|(_, error, _)| *error != ErrorCode::NOT_CONTROLLER) {
                return Ok(());
            }
        }
        if begun.elapsed() >= patience {
            let what = "a broker to make the topics".to_owned();
            return Err(ClusterError::Deadline { what, waited_ms: patience.as_millis() });
        }
        tokio::time::sleep(RETRY).await;
    }
}

fn wanted(topic: &TopicSpec) -> CreatableTopic {
    CreatableTopic {
        name: topic.name.clone(),
        num_partitions: topic.partitions,
        replication_factor: topic.replication_factor,
        configs: topic
            .config
            .iter()
            .map(|(name, value)| CreatableTopicConfig { name: name.clone(), value: Some(value.clone()) })
            .collect(),
        ..CreatableTopic::default()
    }
}

async fn ask(
    at: std::net::SocketAddr,
    body: &CreateTopicsRequest,
) -> std::io::Result<Vec<(String, ErrorCode, String)>> {
    let wrong = |error: metricstream_wire::WireError| std::io::Error::other(error.to_string());
    let mut stream = TcpStream::connect(at).await?;
    stream.set_nodelay(true)?;
    stream.write_all(&frame::request(body, VERSION, 1, "metricstream-cluster").map_err(wrong)?).await?;
    let length = usize::try_from(stream.read_i32().await?).unwrap_or(0);
    let mut frame = vec![0; length.min(16 << 20)];
    stream.read_exact(&mut frame).await?;
    let (_, answer) = frame::response::<CreateTopicsRequest>(frame.into(), VERSION).map_err(wrong)?;
    Ok(answer
        .topics
        .into_iter()
        .map(|t| (t.name, ErrorCode(t.error_code), t.error_message.unwrap_or_default()))
        .collect())
}
