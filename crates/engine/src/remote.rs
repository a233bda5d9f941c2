//! A cluster that somebody else runs: reached, loaded and audited, never broken. And librdkafka's properties files.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::error::EngineError;

/// How long one address may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_GRACE: Duration = Duration::from_millis(300);
const ADDRESSES_MAX: usize = 100;
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Who asks a remote cluster for its metadata: a client that can encrypt and has the credentials.
pub trait MetadataSource: Debug + Send + Sync + 'static {
    /// What the cluster says of itself now. May block for seconds.
    ///
    /// # Errors
    /// Why it did not say anything, for the log.
    fn listing(&self) -> Result<Listing, String>;
}

/// What a metadata answer says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Ids of the brokers that are unfenced.
    pub brokers: BTreeSet<i32>,
    /// Partitions by topic and index; internal topics are left out.
    pub partitions: BTreeMap<(String, i32), ListedPartition>,
}

/// A partition in a metadata answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedPartition {
    /// Assigned replicas, preferred leader first.
    pub replicas: Vec<i32>,
    /// In-sync replicas.
    pub isr: Vec<i32>,
    /// Leader, −1 for none.
    pub leader: i32,
}

/// A reached cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    bootstrap: String,
    client_config: BTreeMap<String, String>,
    reached: Vec<SocketAddr>,
}

impl Remote {
    /// Checks that something listens at one of the addresses at least. Whether it is Kafka, and whether it lets us in,
    /// is found by the first client, which knows how to encrypt and authenticate.
    ///
    /// # Errors
    /// If an address is malformed, or none accepts a connection.
    pub async fn connect(bootstrap: &str, client_config: BTreeMap<String, String>) -> Result<Self, EngineError> {
        let addresses = parse_addresses(bootstrap)?;
        let mut attempts = JoinSet::new();
        for (at, (host, port)) in addresses.iter().cloned().enumerate() {
            attempts.spawn(async move {
                let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect((host.as_str(), port))).await;
                let outcome = connected.map_err(|_| format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()));
                (at, outcome.and_then(|stream| stream.and_then(|s| s.peer_addr()).map_err(|error| error.to_string())))
            });
        }
        let mut reached = Vec::new();
        let mut failures = BTreeMap::new();
        // One address is enough; those that answer soon after are taken along.
        let mut patience = CONNECT_TIMEOUT * 2;
        while let Ok(Some(outcome)) = timeout(patience, attempts.join_next()).await {
            match outcome {
                Ok((_, Ok(address))) => {
                    reached.push(address);
                    patience = CONNECT_GRACE;
                }
                Ok((at, Err(error))) => {
                    failures.insert(at, error);
                }
                Err(_) => {}
            }
        }
        if !reached.is_empty() {
            let bootstrap: Vec<String> = addresses.iter().map(|(host, port)| joined(host, *port)).collect();
            return Ok(Self { bootstrap: bootstrap.join(","), client_config, reached });
        }
        let line =
            |(at, error): (&usize, &String)| format!("\n  {}: {error}", joined(&addresses[*at].0, addresses[*at].1));
        Err(EngineError::Unreachable { tried: failures.iter().map(line).collect() })
    }

    /// The addresses, as given.
    #[must_use]
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The addresses that accepted a connection, resolved: at least one.
    #[must_use]
    pub fn reached(&self) -> &[SocketAddr] {
        &self.reached
    }

    /// What every client of this cluster must set; it may hold secrets.
    #[must_use]
    pub const fn client_config(&self) -> &BTreeMap<String, String> {
        &self.client_config
    }

    /// Whether clients need neither encryption nor credentials.
    #[must_use]
    pub fn is_plaintext(&self) -> bool {
        self.client_config.get("security.protocol").is_none_or(|protocol| protocol.eq_ignore_ascii_case("plaintext"))
    }
}

fn joined(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn parse_addresses(text: &str) -> Result<Vec<(String, u16)>, EngineError> {
    let addresses: Vec<_> =
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(parse_address).collect::<Result<_, _>>()?;
    let wrong = |why: &str| Err(EngineError::Address { address: text.chars().take(100).collect(), why: why.into() });
    match addresses.len() {
        0 => wrong("it is empty"),
        1..=ADDRESSES_MAX => Ok(addresses),
        _ => wrong("it names more than 100 brokers"),
    }
}

fn parse_address(text: &str) -> Result<(String, u16), EngineError> {
    let wrong = |why: &str| EngineError::Address { address: text.to_owned(), why: why.to_owned() };
    // As librdkafka and Kafka's own clients allow: PLAINTEXT://host:port.
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let (host, port) = rest.rsplit_once(':').ok_or_else(|| wrong("the port is missing"))?;
    let port =
        port.parse().ok().filter(|port| *port != 0).ok_or_else(|| wrong("the port is not a number from 1 to 65535"))?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match bare {
        "" => Err(wrong("the host is missing")),
        bare if bare == host && host.contains(':') => Err(wrong("an IPv6 address stands in brackets: [::1]:9092")),
        bare if bare.contains(char::is_whitespace) => Err(wrong("it contains a space")),
        bare => Ok((bare.to_owned(), port)),
    }
}

/// Reads a librdkafka properties file.
///
/// # Errors
/// If it cannot be read, or a line makes no sense; says which.
pub fn read_client_config(path: &Path) -> Result<BTreeMap<String, String>, EngineError> {
    let file = std::fs::File::open(path).map_err(EngineError::io("read", path))?;
    let mut bytes = Vec::new();
    // What is not a file on a disk does not tell its size beforehand, and may have no end.
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(EngineError::io("read", path))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let why = format!("larger than {FILE_BYTES_MAX} bytes, the most that client settings have");
        return Err(EngineError::ClientConfig { path: path.into(), line: 1, why });
    }
    parse_client_config(path, &bytes)
}

/// The text of a librdkafka properties file: `key=value` lines, empty lines, and comments that begin with `#`.
///
/// # Errors
/// At the first line that makes no sense. Values, which may be secrets, are never quoted.
pub fn parse_client_config(path: &Path, bytes: &[u8]) -> Result<BTreeMap<String, String>, EngineError> {
    let mut settings = BTreeMap::new();
    let wrong = |line: usize, why: String| EngineError::ClientConfig { path: path.into(), line: line + 1, why };
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = std::str::from_utf8(line).map_err(|_| wrong(at, "this is not UTF-8".into()))?.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once('=').ok_or_else(|| wrong(at, "there is no `=`".into()))?;
        let (key, value) = (key.trim(), value.trim());
        if key.is_empty() || !key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
            return Err(wrong(at, "what stands before `=` is no setting's name".into()));
        }
        if settings.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(wrong(at, format!("{key} is set twice")));
        }
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    fn parse(text: &[u8]) -> Result<BTreeMap<String, String>, String> {
        parse_client_config(Path::new("my.properties"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn properties_are_read_as_librdkafka_writes_them() {
        let text = b"\xef\xbb\xbf# Confluent Cloud\r\nsecurity.protocol=SASL_SSL\r\n\n sasl.password = a=b#c \n";
        let settings = parse(text).expect("sound");
        assert_eq!(settings["security.protocol"], "SASL_SSL");
        assert_eq!(settings["sasl.password"], "a=b#c");
        assert_eq!(settings.len(), 2);
        assert!(parse(b"").expect("sound").is_empty());
    }

    #[test]
    fn a_wrong_line_is_named_and_its_secret_is_not() {
        for (text, wanted) in [
            (&b"a=1\nsecret"[..], "my.properties:2: there is no `=`"),
            (b"=secret", "my.properties:1: what stands before `=`"),
            (b"#\n\nmy key=secret", "my.properties:3: what stands before `=`"),
            (b"a=secret\na=secret", "my.properties:2: a is set twice"),
            (b"a=\xffsecret", "my.properties:1: this is not UTF-8"),
        ] {
            let error = parse(text).expect_err("wrong");
            assert!(error.contains(wanted) && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn addresses_are_checked_before_anything_is_tried() {
        let good = parse_addresses("a:1, PLAINTEXT://b.c:9092,[::1]:3,").expect("sound");
        assert_eq!(good, [("a".into(), 1), ("b.c".into(), 9092), ("::1".into(), 3)]);
        for (text, wanted) in [
            ("", "it is empty"),
            (" , ", "it is empty"),
            ("host", "the port is missing"),
            ("host:0", "the port is not"),
            ("host:70000", "the port is not"),
            (":9092", "the host is missing"),
            ("::1:9092", "brackets"),
            ("a b:1", "a space"),
        ] {
            let error = parse_addresses(text).expect_err("wrong").to_string();
            assert!(error.contains(wanted), "{text:?}: {error}");
        }
    }

    #[tokio::test]
    async fn one_address_that_answers_is_enough_and_none_is_an_error_that_names_each() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
        let up = listener.local_addr().expect("bound").port();
        let down = {
            let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
            gone.local_addr().expect("bound").port()
        };
        let config = BTreeMap::from([("security.protocol".to_owned(), "sasl_ssl".to_owned())]);
        let remote = Remote::connect(&format!("127.0.0.1:{down},127.0.0.1:{up}"), config).await.expect("reached");
        assert_eq!(remote.bootstrap(), format!("127.0.0.1:{down},127.0.0.1:{up}"));
        assert!(!remote.is_plaintext());
        assert_eq!(remote.reached(), [SocketAddr::from((Ipv4Addr::LOCALHOST, up))]);
        drop(listener);
        let error =
            Remote::connect(&format!("127.0.0.1:{down}"), BTreeMap::new()).await.expect_err("nobody").to_string();
        assert!(error.contains(&format!("127.0.0.1:{down}: ")) && error.contains("refused"), "{error}");
    }
}
