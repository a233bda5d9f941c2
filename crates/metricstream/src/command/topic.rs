//! `topic create｜describe｜list｜delete`, on any cluster.

use metricstream_load::tools;
use serde_json::json;

use super::{blocking, client_of, tool_failure};
use crate::cli::{Format, TopicCommand, key_value};
use crate::exit::{Code, Ending};
use crate::output;

pub(crate) async fn run(what: TopicCommand) -> Ending {
    match what {
        TopicCommand::Create { topic, partitions, replication_factor, config, at } => {
            let settings = config.iter().map(|c| key_value("--config", c)).collect::<Result<Vec<_>, _>>()?;
            let client = client_of(&at).await?;
            let made = tools::create_topic(&client, &topic, partitions, replication_factor, &settings).await;
            made.map_err(tool_failure)?;
            output::print(&format!("topic {topic} created: {partitions} partitions × {replication_factor} replicas\n"));
        }
        TopicCommand::Delete { topic, at } => {
            let client = client_of(&at).await?;
            tools::delete_topic(&client, &topic).await.map_err(tool_failure)?;
            output::print(&format!("topic {topic} deleted\n"));
        }
        TopicCommand::Describe { topic, format, at } => {
            let client = client_of(&at).await?;
            let rows = blocking(move || tools::describe_topic(&client, &topic)).await?;
            if format == Format::Json {
                output::print(&format!("{:#}\n", json!(rows)));
            } else {
                let list = |ids: &[i32]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
                for r in rows {
                    output::print(&format!(
                        "Partition: {}    Leader: {}   Replicas: [{}]   Isr: [{}]\n",
                        r.partition,
                        r.leader,
                        list(&r.replicas),
                        list(&r.isr)
                    ));
                }
            }
        }
        TopicCommand::List { format, at } => {
            let client = client_of(&at).await?;
            let rows = blocking(move || tools::list_topics(&client)).await?;
            if format == Format::Json {
                let rows: Vec<_> = rows.iter().map(|(t, n)| json!({"topic": t, "partitions": n})).collect();
                output::print(&format!("{:#}\n", json!(rows)));
            } else {
                rows.iter().for_each(|(topic, n)| output::print(&format!("{topic}  {n} partitions\n")));
            }
        }
    }
    Ok(Code::Pass)
}
