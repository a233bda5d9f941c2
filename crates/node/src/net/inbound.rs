//! Connections that others made. Each request gets a place in a queue, and what answers it waits there until all before it
//! have been answered. A connection that has too much waiting is not read from.

use std::collections::{BTreeMap, VecDeque};

use crate::io::{ConnId, Listener, Output, Outputs, Part};

/// Requests of one connection that may wait for their answers; Kafka's own brokers take one at a time.
const WAITING_MAX: usize = 64;
/// Bytes that may wait in the driver's hands for a slow reader before no more is read from it.
const UNSENT_MAX: usize = 8 << 20;

/// Names a request: to whom its answer goes, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RequestRef {
    /// The connection.
    pub conn: ConnId,
    /// Its number on it.
    serial: u64,
}

/// One connection.
#[derive(Debug)]
struct Inbound {
    listener: Listener,
    /// A broker that registered or beat on it: when the connection goes, it may be gone.
    broker: Option<i32>,
    first: u64,
    /// `None`: not answered yet; `Some(None)`: nothing is to be sent.
    answers: VecDeque<Option<Option<Vec<Part>>>>,
    unsent_bytes: usize,
    paused: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct InboundConnections {
    connections: BTreeMap<ConnId, Inbound>,
}

impl InboundConnections {
    /// Somebody connected.
    pub(crate) fn opened(&mut self, conn: ConnId, listener: Listener) {
        let fresh =
            Inbound { listener, broker: None, first: 0, answers: VecDeque::new(), unsent_bytes: 0, paused: false };
        self.connections.insert(conn, fresh);
    }

    /// A connection is gone. Gives the broker that spoke on it.
    pub(crate) fn closed(&mut self, conn: ConnId) -> Option<i32> {
        self.connections.remove(&conn).and_then(|c| c.broker)
    }

    /// Through which door it came; `None` where it is gone.
    #[must_use]
    pub(crate) fn listener(&self, conn: ConnId) -> Option<Listener> {
        self.connections.get(&conn).map(|c| c.listener)
    }

    /// A broker speaks on this connection.
    pub(crate) fn spoken_by(&mut self, conn: ConnId, broker: i32) {
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.broker = Some(broker);
        }
    }

    /// A request came: its place in the queue.
    pub(crate) fn request(&mut self, conn: ConnId, out: &mut Outputs) -> Option<RequestRef> {
        let connection = self.connections.get_mut(&conn)?;
        let serial = connection.first + connection.answers.len() as u64;
        connection.answers.push_back(None);
        connection.flow(conn, out);
        Some(RequestRef { conn, serial })
    }

    /// A request is answered, with nothing where the protocol wants no answer; it leaves as soon as those before it have.
    pub(crate) fn answer(&mut self, request: RequestRef, parts: Option<Vec<Part>>, out: &mut Outputs) {
        let Some(connection) = self.connections.get_mut(&request.conn) else { return };
        let place = request.serial.checked_sub(connection.first).and_then(|n| usize::try_from(n).ok());
        let Some(slot) = place.and_then(|n| connection.answers.get_mut(n)) else { return };
        debug_assert!(slot.is_none(), "a request is answered once");
        *slot = Some(parts);
        while let Some(Some(_)) = connection.answers.front() {
            let parts = connection.answers.pop_front().flatten().flatten();
            connection.first += 1;
            if let Some(parts) = parts {
                connection.unsent_bytes += parts.iter().map(Part::len).sum::<usize>();
                out.push(Output::Send { conn: request.conn, parts });
            }
        }
        connection.flow(request.conn, out);
    }

    /// The driver got rid of some bytes.
    pub(crate) fn sent(&mut self, conn: ConnId, bytes: usize, out: &mut Outputs) {
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.unsent_bytes = connection.unsent_bytes.saturating_sub(bytes);
            connection.flow(conn, out);
        }
    }
}

impl Inbound {
    fn flow(&mut self, conn: ConnId, out: &mut Outputs) {
        let full = self.answers.len() >= WAITING_MAX || self.unsent_bytes >= UNSENT_MAX;
        if full && !self.paused {
            out.push(Output::PauseReading { conn });
        } else if !full && self.paused {
            out.push(Output::ResumeReading { conn });
        }
        self.paused = full;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn text(text: &'static str) -> Option<Vec<Part>> {
        Some(vec![Part::Bytes(Bytes::from_static(text.as_bytes()))])
    }

    #[test]
    fn answers_leave_in_the_order_of_their_requests() {
        let (mut all, mut out, conn) = (InboundConnections::default(), Outputs::default(), ConnId(4));
        all.opened(conn, Listener::Broker);
        let requests: Vec<RequestRef> = (0..3).filter_map(|_| all.request(conn, &mut out)).collect();
        all.answer(requests[2], text("third"), &mut out);
        all.answer(requests[1], None, &mut out);
        assert!(out.take().is_empty(), "the first is not answered yet");
        all.answer(requests[0], text("first"), &mut out);
        let sent: Vec<Output> = out.take();
        let wanted = [text("first"), text("third")].map(|p| Output::Send { conn, parts: p.expect("some") });
        assert_eq!(sent, wanted);
    }

    #[test]
    fn a_connection_with_too_much_waiting_is_not_read_from_until_it_has_less() {
        let (mut all, mut out, conn) = (InboundConnections::default(), Outputs::default(), ConnId(1));
        all.opened(conn, Listener::Broker);
        let requests: Vec<RequestRef> = (0..WAITING_MAX).filter_map(|_| all.request(conn, &mut out)).collect();
        assert_eq!(out.take(), [Output::PauseReading { conn }]);
        all.answer(requests[0], None, &mut out);
        assert_eq!(out.take(), [Output::ResumeReading { conn }]);
        let large = Some(vec![Part::Bytes(Bytes::from(vec![0; UNSENT_MAX]))]);
        all.answer(requests[1], large, &mut out);
        assert_eq!(out.take().last(), Some(&Output::PauseReading { conn }));
        all.sent(conn, UNSENT_MAX, &mut out);
        assert_eq!(out.take(), [Output::ResumeReading { conn }]);
    }
}
