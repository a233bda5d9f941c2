//! Connections to other nodes, made when there is something to send. Requests on one connection are answered in order; what
//! was expected of each is kept here and given back with the answer, or when the connection is gone or too slow.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::config::Address;
use crate::io::{ConnId, Output, Outputs, Part};
use crate::time::{Now, Ns};

/// What a connection is for. Answers on one connection leave in order, so what may be parked goes over one of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Channel {
    /// Votes and epochs of the quorum.
    Quorum,
    /// Fetches of the metadata log.
    MetadataFetch,
    /// A broker's registration, heartbeats, and what it asks of the active controller.
    Controller,
    /// What is forwarded to the active controller for clients.
    Forward,
    /// A follower's fetches.
    Replica,
}

/// One connection, and what is expected on it.
#[derive(Debug)]
struct Link<E> {
    conn: ConnId,
    connected: bool,
    /// Frames that wait for the connection.
    queued: VecDeque<Bytes>,
    expected: VecDeque<(i32, Ns, E)>,
    next_correlation: i32,
}

/// Requests that may wait on one connection; a node that answers nothing is no reason to keep more.
const EXPECTED_MAX: usize = 1_024;

/// All of them, by the node and purpose.
#[derive(Debug)]
pub(crate) struct Peers<E> {
    links: BTreeMap<(i32, Channel), Link<E>>,
    by_conn: BTreeMap<ConnId, (i32, Channel)>,
}

impl<E> Default for Peers<E> {
    fn default() -> Self {
        Self { links: BTreeMap::new(), by_conn: BTreeMap::new() }
    }
}

impl<E> Peers<E> {
    /// Sends what `frame` makes of a correlation id; its answer, or its failure at `deadline`, comes with `expect`. Gives
    /// `expect` back where too much waits there already.
    ///
    /// # Errors
    /// With what was expected.
    pub(crate) fn send(
        &mut self,
        (node, at, channel): (i32, &Address, Channel),
        frame: impl FnOnce(i32) -> Bytes,
        expect: E,
        deadline: Ns,
        out: &mut Outputs,
    ) -> Result<(), E> {
        let by_conn = &mut self.by_conn;
        let link = self.links.entry((node, channel)).or_insert_with(|| {
            let conn = out.connect(node, at.host.clone(), at.port);
            by_conn.insert(conn, (node, channel));
            Link { conn, connected: false, queued: VecDeque::new(), expected: VecDeque::new(), next_correlation: 0 }
        });
        if link.expected.len() >= EXPECTED_MAX {
            return Err(expect);
        }
        let correlation = link.next_correlation;
        link.next_correlation = link.next_correlation.wrapping_add(1);
        link.expected.push_back((correlation, deadline, expect));
        let bytes = frame(correlation);
        if link.connected {
            out.push(Output::Send { conn: link.conn, parts: vec![Part::Bytes(bytes)] });
        } else {
            link.queued.push_back(bytes);
        }
        Ok(())
    }

    /// Whether this is one of them.
    #[must_use]
    pub(crate) fn is_ours(&self, conn: ConnId) -> bool {
        self.by_conn.contains_key(&conn)
    }

    /// To whom a connection leads.
    #[must_use]
    pub(crate) fn peer(&self, conn: ConnId) -> Option<(i32, Channel)> {
        self.by_conn.get(&conn).copied()
    }

    /// A connection stands: what waited for it leaves.
    pub(crate) fn connected(&mut self, conn: ConnId, out: &mut Outputs) {
        let Some(link) = self.by_conn.get(&conn).and_then(|key| self.links.get_mut(key)) else { return };
        link.connected = true;
        for bytes in link.queued.drain(..) {
            out.push(Output::Send { conn, parts: vec![Part::Bytes(bytes)] });
        }
    }

    /// A frame came: what was expected with this correlation id. `None` where nothing was: then the peer does not speak
    /// the protocol, and the connection is worth nothing.
    pub(crate) fn answered(&mut self, conn: ConnId, correlation: i32) -> Option<E> {
        let link = self.by_conn.get(&conn).and_then(|key| self.links.get_mut(key))?;
        match link.expected.front() {
            Some((wanted, _, _)) if *wanted == correlation => link.expected.pop_front().map(|(_, _, e)| e),
            _ => None,
        }
    }

    /// A connection is gone. Gives whom it led to, and what will not be answered.
    pub(crate) fn closed(&mut self, conn: ConnId) -> Option<(i32, Vec<E>)> {
        let key = self.by_conn.remove(&conn)?;
        let link = self.links.remove(&key)?;
        Some((key.0, link.expected.into_iter().map(|(_, _, e)| e).collect()))
    }

    /// Gives a connection up whose oldest answer is overdue; all that was expected on it fails. Call it until `None`.
    pub(crate) fn overdue(&mut self, now: Now, out: &mut Outputs) -> Option<Vec<E>> {
        let late = |link: &Link<E>| link.expected.iter().any(|(_, deadline, _)| now.reached(*deadline));
        let conn = self.links.values().find(|link| late(link))?.conn;
        self.give_up(conn, out)
    }

    /// Gives up what is under way on a channel to all but one node: whom it is for is somebody else now. Call it until
    /// `None`.
    pub(crate) fn leave(&mut self, channel: Channel, but: i32, out: &mut Outputs) -> Option<Vec<E>> {
        let left = |(key, _): &(&(i32, Channel), &Link<E>)| key.1 == channel && key.0 != but;
        let conn = self.links.iter().find(left)?.1.conn;
        self.give_up(conn, out)
    }

    fn give_up(&mut self, conn: ConnId, out: &mut Outputs) -> Option<Vec<E>> {
        out.push(Output::Close { conn });
        self.closed(conn).map(|(_, expected)| expected)
    }

    /// When the next answer is overdue.
    #[must_use]
    pub(crate) fn next_deadline(&self) -> Option<Ns> {
        self.links.values().flat_map(|link| link.expected.iter().map(|(_, deadline, _)| *deadline)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(correlation: i32) -> Bytes {
        Bytes::copy_from_slice(&correlation.to_be_bytes())
    }

    #[test]
    fn requests_wait_for_their_connection_and_fail_with_it() {
        let (mut peers, mut out) = (Peers::default(), Outputs::default());
        let at = Address { host: "127.0.0.1".into(), port: 9093 };
        let to = (2, &at, Channel::Controller);
        peers.send(to, frame, "first", 10, &mut out).expect("room");
        peers.send(to, frame, "second", 20, &mut out).expect("room");
        let [Output::Connect { conn, node: 2, .. }] = out.take()[..] else { panic!("one connection") };
        peers.connected(conn, &mut out);
        assert_eq!(out.take().len(), 2);
        assert_eq!(peers.answered(conn, 0), Some("first"));
        assert_eq!(peers.answered(conn, 5), None, "nobody asked that");
        assert_eq!(peers.next_deadline(), Some(20));
        assert_eq!(peers.overdue(Now { monotonic_ns: 19, wall_ms: 0 }, &mut out), None);
        assert_eq!(peers.overdue(Now { monotonic_ns: 20, wall_ms: 0 }, &mut out), Some(vec!["second"]));
        assert_eq!(out.take(), [Output::Close { conn }]);
        assert_eq!(peers.closed(conn), None, "it is forgotten already");
    }
}
