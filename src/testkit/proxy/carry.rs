//! One connection through the proxy: two pumps that look at the faults before every byte they pass.
//!
//! The faults change only on the thread that runs the pumps, and between the look and the write
//! there is no await: once a control has returned, nothing passes that it forbids.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio::time::sleep;

use super::socket::Socket;
use super::{Direction, Faults, Flow, Treatment};
use crate::testkit::Traffic;
use crate::transport::Addr;

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Both sides closed it, or it broke.
    Over,
    /// Nobody listens upstream.
    Refused,
}

/// What every pump needs: the faults in force, and where to count.
#[derive(Debug, Clone)]
pub(super) struct Gauge {
    pub(super) faults: watch::Receiver<Faults>,
    pub(super) traffic: Arc<Mutex<Traffic>>,
}

impl Gauge {
    pub(super) fn count<T>(&self, change: impl FnOnce(&mut Traffic) -> T) -> T {
        change(&mut self.traffic.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn treatment(&self, direction: Direction) -> Treatment {
        *self.faults.borrow().of(direction)
    }
}

/// Carries the connection `client` to `upstream` and back until it ends. Dropping this resets it.
pub(super) async fn carry(client: Socket, upstream: Addr, mut gauge: Gauge) -> End {
    let _open = Open::count(&gauge);
    let _ = gauge.faults.wait_for(|faults| !faults.silent).await;
    let server = match Socket::connect(&upstream).await {
        Ok(server) => server,
        Err(error) if is_refusal(&error) => return End::Refused,
        Err(_) => return End::Over,
    };
    let mut requests = Pump::new(Direction::Requests, gauge.clone());
    let mut replies = Pump::new(Direction::Replies, gauge.clone());
    let both = tokio::try_join!(
        requests.run(&client, &server),
        replies.run(&server, &client)
    );
    if both.is_ok() {
        client.close();
        server.close();
    }
    End::Over
}

/// Whether connecting failed because nobody listens there.
pub(super) fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
    )
}

/// Counts a connection as open while it lives.
struct Open(Gauge);

impl Open {
    fn count(gauge: &Gauge) -> Self {
        gauge.count(|traffic| {
            traffic.accepted += 1;
            traffic.open += 1;
        });
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.count(|traffic| traffic.open -= 1);
    }
}

/// Moves the bytes of one direction.
struct Pump {
    direction: Direction,
    gauge: Gauge,
    /// Bytes of this stream were thrown away: what follows them makes no sense any more.
    lost: bool,
}

impl Pump {
    const fn new(direction: Direction, gauge: Gauge) -> Self {
        Self {
            direction,
            gauge,
            lost: false,
        }
    }

    async fn run(&mut self, from: &Socket, to: &Socket) -> io::Result<()> {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let length = self.read(from, &mut buffer).await?;
            self.count(|flow| flow.arrived += length as u64);
            let delay = self.gauge.treatment(self.direction).delay;
            if !delay.is_zero() {
                sleep(delay).await;
            }
            if length == 0 {
                self.gate().await;
                return to.shutdown_write();
            }
            let hole = self.gauge.treatment(self.direction).hole;
            if hole.is_some_and(|bytes| length > bytes) {
                self.count(|flow| flow.discarded += length as u64);
                return self.swallow(from, &mut buffer).await;
            }
            self.deliver(&buffer[..length], to).await?;
        }
    }

    /// A large packet got lost, and what comes behind it waits for it: nothing more arrives. An
    /// error once the sender has hung up.
    async fn swallow(&mut self, from: &Socket, buffer: &mut [u8]) -> io::Result<()> {
        loop {
            let length = from.read(buffer).await?;
            if length == 0 {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            self.count(|flow| flow.discarded += length as u64);
        }
    }

    /// Reads on; an error as soon as the stream is to pass again although bytes of it are lost.
    async fn read(&mut self, from: &Socket, buffer: &mut [u8]) -> io::Result<usize> {
        let direction = self.direction;
        let lost = self.lost;
        tokio::select! {
            biased;
            _ = self.gauge.faults.wait_for(|faults| lost && !faults.of(direction).discarded) => {
                Err(io::ErrorKind::ConnectionReset.into())
            }
            length = from.read(buffer) => length,
        }
    }

    async fn deliver(&mut self, mut chunk: &[u8], to: &Socket) -> io::Result<()> {
        while !chunk.is_empty() {
            let treatment = self.gate().await;
            if treatment.discarded {
                self.lost = true;
                self.count(|flow| flow.discarded += chunk.len() as u64);
                return Ok(());
            }
            if self.lost {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            match self.write(chunk, to) {
                Ok(length) => chunk = &chunk[length..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => to.writable().await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes and counts in one step: who has the bytes finds them counted.
    fn write(&self, chunk: &[u8], to: &Socket) -> io::Result<usize> {
        self.count(|flow| {
            let length = to.try_write(chunk)?;
            flow.passed += length as u64;
            Ok(length)
        })
    }

    /// Waits while this direction is held.
    async fn gate(&mut self) -> Treatment {
        let direction = self.direction;
        let faults = &mut self.gauge.faults;
        if let Ok(faults) = faults.wait_for(|faults| !faults.of(direction).held).await {
            return *faults.of(direction);
        }
        // The proxy is gone, and this connection goes with it.
        std::future::pending().await
    }

    fn count<T>(&self, change: impl FnOnce(&mut Flow) -> T) -> T {
        self.gauge
            .count(|traffic| change(traffic.of(self.direction)))
    }
}
