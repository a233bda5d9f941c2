//! Ports on 127.0.0.1 for listeners that must stay usable while nobody listens on them: of nodes that die and come back.
//! Which node gets which port is decided elsewhere.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::time::{Instant, sleep};

/// Above what is well known, below every usual range of ephemeral ports.
const USUAL: (u16, u16) = (19_000, 31_999);
/// Where the system says from which ports it gives to outgoing connections, and what it does not say elsewhere.
const EPHEMERAL_FILE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
const EPHEMERAL: (u16, u16) = (32_768, 60_999);
/// Of an unusual system: no lower than this, and no range that is smaller.
const LOWEST: u16 = 10_000;
const RANGE_MIN: u16 = 1_000;
/// How long a port that was left is waited for, and how long between two tries.
const PATIENCE: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_millis(10);
const BACKLOG: u32 = 1_024;

/// There is no free port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no free port found on 127.0.0.1 between {from} and {to}")]
pub struct NoFreePort {
    /// First port tried.
    pub from: u16,
    /// Last port tried.
    pub to: u16,
}

/// A port that is kept for whoever has this. Where the system allows it a socket is bound to it that never listens:
/// connections to the port are refused as if nothing was there, but neither does an outgoing connection get it as its own
/// nor does another cluster choose it, while the node that has it is down.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _held: Option<TcpSocket>,
}

impl Port {
    /// This very port.
    ///
    /// # Errors
    /// If somebody listens there.
    pub fn take(number: u16) -> io::Result<Self> {
        std::net::TcpListener::bind(local(number))?;
        let hold = || {
            let socket = TcpSocket::new_v4()?;
            socket.set_reuseaddr(true)?;
            socket.bind(local(number)).map(|()| socket)
        };
        Ok(Self { number, _held: hold().ok().filter(|_| is_usable(number)) })
    }

    /// One that nobody has bound in any way.
    fn unused(number: u16) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(local(number))?;
        // Only from here on may others have it beside this one: those that know of it.
        socket.set_reuseaddr(true)?;
        Ok(Self { number, _held: is_usable(number).then_some(socket) })
    }

    /// Its number.
    #[must_use]
    pub const fn number(&self) -> u16 {
        self.number
    }
}

/// Whether one can listen there beside a socket that is bound and does not listen: Linux allows that, others do not.
fn is_usable(number: u16) -> bool {
    std::net::TcpListener::bind(local(number)).is_ok()
}

/// An address on this machine.
pub(crate) fn local(number: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, number).into()
}

/// Listens on a port, also on one that had a listener before; one that is taken is tried again for two seconds.
///
/// # Errors
/// If it stays taken, or cannot be had at all.
pub async fn listen(number: u16) -> io::Result<TcpListener> {
    let until = Instant::now() + PATIENCE;
    loop {
        let listener = TcpSocket::new_v4().and_then(|socket| {
            socket.set_reuseaddr(true)?;
            socket.bind(local(number))?;
            socket.listen(BACKLOG)
        });
        match listener {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => sleep(AGAIN).await,
            other => return other,
        }
    }
}

/// Ports that nobody has, one after the other from a random one on, so that clusters that start at once do not try the
/// same ones. None is ephemeral: a client that connects again and again to the port of a node that is down could be given
/// that port as its own, and then the node cannot come back.
#[derive(Debug)]
pub struct Ports {
    range: (u16, u16),
    next: u16,
    tried: u16,
    reserved: Vec<u16>,
}

impl Ports {
    /// None of `reserved`.
    #[must_use]
    pub fn new(reserved: Vec<u16>) -> Self {
        let range = range_beside(ephemeral(std::fs::read_to_string(EPHEMERAL_FILE).ok().as_deref()));
        // The standard library's source of randomness that needs nothing.
        let random = RandomState::new().hash_one(reserved.len());
        let offset = u16::try_from(random % u64::from(range.1 - range.0 + 1)).unwrap_or(0);
        Self { range, next: range.0 + offset, tried: 0, reserved }
    }

    /// The next free one.
    ///
    /// # Errors
    /// If there is none.
    pub fn free(&mut self) -> Result<Port, NoFreePort> {
        let (from, to) = self.range;
        while self.tried <= to - from {
            let number = self.next;
            self.tried += 1;
            self.next = if number == to { from } else { number + 1 };
            if !self.reserved.contains(&number)
                && let Ok(port) = Port::unused(number)
            {
                return Ok(port);
            }
        }
        Err(NoFreePort { from, to })
    }
}

/// What Linux says of itself, else what it usually says.
fn ephemeral(said: Option<&str>) -> (u16, u16) {
    let mut numbers = said.unwrap_or_default().split_whitespace().map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(from)), Some(Ok(to))) if from <= to => (from, to),
        _ => EPHEMERAL,
    }
}

/// Where no outgoing connection is given its port: the usual range, or where that is ephemeral the larger one below or
/// above. The usual one after all where there is hardly any other.
fn range_beside(ephemeral: (u16, u16)) -> (u16, u16) {
    if ephemeral.1 < USUAL.0 || USUAL.1 < ephemeral.0 {
        return USUAL;
    }
    let below = (LOWEST, ephemeral.0.saturating_sub(1));
    let above = (ephemeral.1.saturating_add(1).max(LOWEST), u16::MAX);
    let size = |range: (u16, u16)| range.1.saturating_sub(range.0);
    let larger = if size(below) >= size(above) { below } else { above };
    if size(larger) >= RANGE_MIN { larger } else { USUAL }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_chosen_where_no_outgoing_connection_is_given_one() {
        assert_eq!(ephemeral(Some("32768\t60999\n")), (32_768, 60_999));
        assert_eq!(ephemeral(Some("1024 65535")), (1_024, 65_535));
        for nothing in [None, Some(""), Some("soon"), Some("7"), Some("9 3"), Some("1 99999")] {
            assert_eq!(ephemeral(nothing), EPHEMERAL, "{nothing:?}");
        }
        assert_eq!(range_beside(EPHEMERAL), USUAL);
        assert_eq!(range_beside((49_152, 65_535)), USUAL);
        assert_eq!(range_beside((15_000, 65_000)), (10_000, 14_999));
        assert_eq!(range_beside((9_000, 61_000)), (61_001, 65_535));
        assert_eq!(range_beside((1_024, 65_535)), USUAL, "there is no other");
        assert_eq!(range_beside((0, 31_000)), (31_001, 65_535));
    }

    #[test]
    fn a_free_port_is_given_once_even_when_all_of_them_begin_at_the_same() {
        let mut ports = Ports::new(Vec::new());
        let first = ports.free().expect("free");
        let mut others = Ports::new(Vec::new());
        others.next = first.number();
        others.reserved = vec![if first.number() == others.range.1 { others.range.0 } else { first.number() + 1 }];
        let second = others.free().expect("free");
        assert_ne!(first.number(), second.number(), "it is held though nobody listens there");
        assert!(!others.reserved.contains(&second.number()));
        let (from, to) = ports.range;
        assert!([&first, &second].iter().all(|port| (from..=to).contains(&port.number())));
    }

    #[test]
    fn a_port_is_taken_only_while_somebody_listens_there() {
        let number = Ports::new(Vec::new()).free().expect("free").number();
        let listening = std::net::TcpListener::bind(local(number)).expect("bound");
        assert_eq!(Port::take(number).expect_err("taken").kind(), io::ErrorKind::AddrInUse);
        drop(listening);
        let ours = Port::take(number).expect("free");
        assert_eq!(Port::take(number).expect("two may wait for it").number(), ours.number());
    }

    #[tokio::test]
    async fn a_listener_comes_back_to_its_port_with_connections_still_closing_and_waits_for_one_that_is_about_to_go() {
        let port = Ports::new(Vec::new()).free().expect("free");
        for _ in 0..3 {
            let listener = listen(port.number()).await.expect("listens");
            let client = tokio::net::TcpStream::connect(local(port.number())).await.expect("reached");
            // The side that closes first keeps the port in TIME_WAIT.
            drop(listener.accept().await.expect("accepted"));
            drop((listener, client));
            let refused = tokio::net::TcpStream::connect(local(port.number())).await.expect_err("nobody listens");
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        }
        let other = listen(port.number()).await.expect("listens");
        let again = tokio::spawn(listen(port.number()));
        tokio::task::yield_now().await;
        assert!(!again.is_finished());
        drop(other);
        again.await.expect("it ends").expect("it listens");
    }
}
