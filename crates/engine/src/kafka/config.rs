//! The configuration files of one node, as text. No files are touched here.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use metricstream_scenario::kafka_config::BROKER_OWNED;

use crate::error::EngineError;
use crate::spec::Role;

/// A node and where it listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listener {
    pub(crate) id: i32,
    pub(crate) role: Role,
    /// For clients and other brokers.
    pub(crate) broker_port: Option<u16>,
    /// For the quorum.
    pub(crate) controller_port: Option<u16>,
}

impl Listener {
    pub(crate) fn broker_address(&self) -> Option<SocketAddr> {
        self.broker_port.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    /// Of a voter.
    pub(crate) fn controller_address(&self) -> Option<(i32, SocketAddr)> {
        self.controller_port.map(|port| (self.id, SocketAddr::from((Ipv4Addr::LOCALHOST, port))))
    }
}

/// `host:port` list of all that `port` names.
pub(crate) fn addresses(nodes: &[Listener], port: impl Fn(&Listener) -> Option<u16>) -> String {
    let addresses: Vec<String> = nodes.iter().filter_map(port).map(|port| format!("127.0.0.1:{port}")).collect();
    addresses.join(",")
}

/// The `server.properties` of `node`, one of `nodes`.
pub(crate) fn server_properties(
    node: &Listener,
    nodes: &[Listener],
    data: &Path,
    settings: &BTreeMap<String, String>,
) -> Result<String, EngineError> {
    let data = data.to_str().ok_or_else(|| EngineError::Path { path: data.into() })?;
    let mut all = BTreeMap::new();
    let mut own = |name: &str, value: String| all.insert(name.to_owned(), value);
    let listener = |name: &str, port: Option<u16>| port.map(|port| format!("{name}://127.0.0.1:{port}"));
    let broker = listener("BROKER", node.broker_port);
    let listeners: Vec<String> =
        [broker.clone(), listener("CONTROLLER", node.controller_port)].into_iter().flatten().collect();
    let voters: Vec<String> =
        nodes.iter().filter_map(|n| n.controller_port.map(|port| format!("{}@127.0.0.1:{port}", n.id))).collect();
    own("node.id", node.id.to_string());
    own(
        "process.roles",
        match node.role {
            Role::Combined => "broker,controller",
            Role::Broker => "broker",
            Role::Controller => "controller",
        }
        .to_owned(),
    );
    own("listeners", listeners.join(","));
    if let Some(broker) = broker {
        own("advertised.listeners", broker);
        own("inter.broker.listener.name", "BROKER".to_owned());
    }
    own("controller.listener.names", "CONTROLLER".to_owned());
    own("controller.quorum.voters", voters.join(","));
    own("listener.security.protocol.map", "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned());
    own("log.dirs", data.to_owned());
    for (name, value) in settings {
        if BROKER_OWNED.contains(&name.as_str()) {
            return Err(EngineError::ReservedConfig { key: name.clone() });
        }
        all.insert(name.clone(), value.clone());
    }
    let mut text = format!("# {} {}; generated, changes are lost\n", node.role.word(), node.id);
    for (name, value) in &all {
        let _ = writeln!(text, "{}={}", escape(name, true), escape(value, false));
    }
    Ok(text)
}

/// Java's escapes of its properties files.
fn escape(text: &str, key: bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for (at, c) in text.chars().enumerate() {
        match c {
            '\\' => escaped.push_str("\\\\"),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            ' ' if key || at == 0 => escaped.push_str("\\ "),
            '=' | ':' | '#' | '!' if key => {
                escaped.push('\\');
                escaped.push(c);
            }
            c if c.is_ascii() => escaped.push(c),
            c => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    let _ = write!(escaped, "\\u{unit:04x}");
                }
            }
        }
    }
    escaped
}

/// `meta.properties` of a formatted folder.
pub(crate) fn meta_properties(cluster_id: &str, node: i32, directory_id: &str) -> String {
    format!("#\nversion=1\ncluster.id={cluster_id}\nnode.id={node}\ndirectory.id={directory_id}\n")
}

/// One value of a properties file that Kafka wrote.
pub(crate) fn property<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).map(str::trim)
}

/// Log4j writes to standard output, which is the log file: what the Java machine itself says stands there too.
pub(crate) const LOG4J: &str = "\
status=error
appender.console.type=Console
appender.console.name=STDOUT
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=[%d] %p %m (%c)%n
rootLogger.level=INFO
rootLogger.appenderRefs=console
rootLogger.appenderRef.console.ref=STDOUT
";

#[cfg(test)]
mod tests {
    use metricstream_scenario::{Controllers, Profile, Topology, effective_broker_config};

    use super::*;

    fn topology(profile: Profile) -> Topology {
        Topology {
            brokers: 3,
            controllers: Controllers::Combined,
            profile,
            broker_config: BTreeMap::new(),
            topics: Vec::new(),
        }
    }

    fn combined() -> Vec<Listener> {
        let node = |id: i32, port: u16| Listener {
            id,
            role: Role::Combined,
            broker_port: Some(port),
            controller_port: Some(port + 100),
        };
        vec![node(1, 9092), node(2, 9093), node(3, 9094)]
    }

    #[test]
    fn a_combined_node_with_the_profile_apache_overrides_no_timer() {
        let nodes = combined();
        let settings = effective_broker_config(&topology(Profile::Apache));
        let text = server_properties(&nodes[1], &nodes, Path::new("/data/node-2"), &settings).expect("text");
        assert_eq!(
            text,
            "# broker 2; generated, changes are lost\n\
             advertised.listeners=BROKER://127.0.0.1:9093\n\
             auto.create.topics.enable=false\n\
             controller.listener.names=CONTROLLER\n\
             controller.quorum.voters=1@127.0.0.1:9192,2@127.0.0.1:9193,3@127.0.0.1:9194\n\
             inter.broker.listener.name=BROKER\n\
             listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
             listeners=BROKER://127.0.0.1:9093,CONTROLLER://127.0.0.1:9193\n\
             log.dirs=/data/node-2\n\
             min.insync.replicas=2\n\
             node.id=2\n\
             offsets.topic.num.partitions=4\n\
             offsets.topic.replication.factor=3\n\
             process.roles=broker,controller\n\
             transaction.state.log.min.isr=2\n\
             transaction.state.log.replication.factor=3\n"
        );
    }

    #[test]
    fn separate_roles_listen_where_they_must_and_nowhere_else() {
        let nodes = [
            Listener { id: 1, role: Role::Broker, broker_port: Some(9092), controller_port: None },
            Listener { id: 101, role: Role::Controller, broker_port: None, controller_port: Some(9192) },
        ];
        let text = |node: &Listener| server_properties(node, &nodes, Path::new("/d"), &BTreeMap::new()).expect("text");
        let (broker, controller) = (text(&nodes[0]), text(&nodes[1]));
        for line in ["process.roles=broker\n", "listeners=BROKER://127.0.0.1:9092\n"] {
            assert!(broker.contains(line), "{broker}");
        }
        for line in ["process.roles=controller\n", "\nlisteners=CONTROLLER://127.0.0.1:9192\n"] {
            assert!(controller.contains(line), "{controller}");
        }
        assert!(!controller.contains("advertised.listeners") && !controller.contains("inter.broker"), "{controller}");
        for text in [broker, controller] {
            assert!(text.contains("controller.quorum.voters=101@127.0.0.1:9192\n"), "{text}");
        }
        assert_eq!(addresses(&nodes, |node| node.broker_port), "127.0.0.1:9092");
    }

    #[test]
    fn what_the_engine_owns_is_refused_and_every_value_survives_javas_reader() {
        let nodes = combined();
        let set = |name: &str, value: &str| {
            let settings = BTreeMap::from([(name.to_owned(), value.to_owned())]);
            server_properties(&nodes[0], &nodes, Path::new("/d"), &settings)
        };
        let error = set("node.id", "7").expect_err("owned").to_string();
        assert!(error.contains("node.id"), "{error}");
        let text = set("log.retention.ms", " a\\b\nnode.id=9 ü").expect("text");
        assert!(text.contains("log.retention.ms=\\ a\\\\b\\nnode.id=9 \\u00fc\n"), "{text}");
        let fast = effective_broker_config(&topology(Profile::Fast));
        let text = server_properties(&nodes[0], &nodes, Path::new("/d"), &fast).expect("text");
        assert!(text.contains("broker.session.timeout.ms=3000\n"), "{text}");
    }

    #[test]
    fn properties_are_read_by_whole_names() {
        let text = meta_properties("abc", 2, "xyz");
        assert_eq!(property(&text, "cluster.id"), Some("abc"));
        assert_eq!(property(&text, "node.id"), Some("2"));
        assert_eq!(property(&text, "id"), None);
    }
}
