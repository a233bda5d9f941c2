//! Ctrl-C, SIGTERM and SIGHUP: the first asks for an orderly end, the third stops waiting for one.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// A handle that tells whether, and how often, an end was asked for. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt {
    count: watch::Receiver<u32>,
}

impl Interrupt {
    /// Listens for the signals from now on.
    ///
    /// # Errors
    /// If the handlers cannot be installed.
    pub(crate) fn listen() -> std::io::Result<Self> {
        let (tx, count) = watch::channel(0);
        let int = signal(SignalKind::interrupt())?;
        let term = signal(SignalKind::terminate())?;
        let hup = signal(SignalKind::hangup())?;
        tokio::spawn(forward(int, term, hup, tx));
        Ok(Self { count })
    }

    /// Returns once an end was asked for.
    pub(crate) async fn wait(&mut self) {
        self.wait_for(1).await;
    }

    /// Returns once an end was asked for `times` times.
    pub(crate) async fn wait_for(&mut self, times: u32) {
        if self.count.wait_for(|n| *n >= times).await.is_err() {
            // The listener is gone: then no signal will ever come.
            std::future::pending::<()>().await;
        }
    }
}

async fn forward(mut int: Signal, mut term: Signal, mut hup: Signal, count: watch::Sender<u32>) {
    loop {
        tokio::select! {
            Some(()) = int.recv() => {}
            Some(()) = term.recv() => {}
            Some(()) = hup.recv() => {}
            else => return,
        }
        count.send_modify(|n| *n += 1);
    }
}
