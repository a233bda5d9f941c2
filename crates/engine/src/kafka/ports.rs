//! Ports on 127.0.0.1 for listeners that must stay usable while nobody listens on them.

use std::net::{Ipv4Addr, TcpListener};

use crate::error::EngineError;
use crate::kafka::entropy;

/// Below every usual range of ephemeral ports: a client that reconnects to a dead broker's ephemeral port can be given
/// that very port as its own and connect to itself, and then the broker cannot start.
const FROM: u16 = 19_000;
const TO: u16 = 31_999;

/// Ports for one cluster: brokers from `first` on if it is given, everything else wherever nobody listens.
pub(crate) struct Ports {
    next: u16,
    tried: u16,
}

impl Ports {
    pub(crate) fn new() -> Result<Self, EngineError> {
        let random = u16::from_le_bytes(entropy::<2>()?);
        Ok(Self { next: FROM + random % (TO - FROM), tried: 0 })
    }

    /// A free port, never the same twice, none of `reserved`.
    pub(crate) fn free(&mut self, reserved: &[u16]) -> Result<u16, EngineError> {
        while self.tried <= TO - FROM {
            let port = self.next;
            self.tried += 1;
            self.next = if port == TO { FROM } else { port + 1 };
            if !reserved.contains(&port) && check(port).is_ok() {
                return Ok(port);
            }
        }
        Err(EngineError::NoFreePort { from: FROM, to: TO })
    }
}

/// Whether somebody listens on an explicit port.
pub(crate) fn explicit(port: u16, needed_for: &str) -> Result<u16, EngineError> {
    check(port).map_err(|source| EngineError::PortTaken { port, needed_for: needed_for.to_owned(), source })?;
    Ok(port)
}

fn check(port: u16) -> std::io::Result<()> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named_and_a_free_one_is_never_given_twice() {
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
        let port = held.local_addr().expect("bound").port();
        let error = explicit(port, "broker 1").expect_err("taken").to_string();
        assert!(error.contains(&format!("port {port}")) && error.contains("broker 1"), "{error}");
        drop(held);
        assert_eq!(explicit(port, "broker 1").expect("free"), port);

        let mut ports = Ports::new().expect("random");
        let first = ports.free(&[]).expect("free");
        let next = if first == TO { FROM } else { first + 1 };
        let second = ports.free(&[next]).expect("free");
        assert!(second != first && second != next);
        assert!((FROM..=TO).contains(&first) && (FROM..=TO).contains(&second));
    }
}
