//! `group list｜describe`, on any cluster.

use metricstream_load::tools;
use serde_json::json;

use super::{blocking, client_of};
use crate::cli::{Format, GroupCommand};
use crate::exit::{Code, Ending};
use crate::output;

pub(crate) async fn run(what: GroupCommand) -> Ending {
    match what {
        GroupCommand::List { format, at } => {
            let client = client_of(&at).await?;
            let rows = blocking(move || tools::list_groups(&client, None)).await?;
            if format == Format::Json {
                output::print(&format!("{:#}\n", json!(rows)));
            } else {
                for g in rows {
                    output::print(&format!("{}  {}  {} members\n", g.group, g.state, g.members.len()));
                }
            }
        }
        GroupCommand::Describe { group, format, at } => {
            let client = client_of(&at).await?;
            let g = blocking(move || tools::describe_group(&client, &group)).await?;
            if format == Format::Json {
                output::print(&format!("{:#}\n", json!(g)));
                return Ok(Code::Pass);
            }
            // A group without members has none.
            let assignor = if g.protocol.is_empty() { "none" } else { &g.protocol };
            output::print(&format!("Group: {}   State: {}   Assignor: {assignor}\n", g.group, g.state));
            for m in &g.members {
                output::print(&format!("Member: {}   Owns: [{}]\n", m.client_id, m.assignment.join(", ")));
            }
            for l in &g.lag {
                output::print(&format!(
                    "{}-{}   Committed: {}   End: {}   Lag: {}\n",
                    l.topic, l.partition, l.committed, l.end, l.lag
                ));
            }
        }
    }
    Ok(Code::Pass)
}
