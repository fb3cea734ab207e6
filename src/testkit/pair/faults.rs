//! Faults of a pair: of its servers, and of the ways between them.

use super::host::Host;
use super::{Pair, SOON, Side};
use crate::server::ServerConfig;
use crate::testkit::Direction;
use crate::types::ServerId;

/// Faults of a server.
impl Pair {
    /// Runs a server that does not run; a deafened one hears again. Does not wait for anything.
    ///
    /// # Panics
    ///
    /// When it runs already, or cannot be started.
    pub fn run(&mut self, server: ServerId) {
        assert!(self.side(server).host.is_none(), "server {server} runs");
        self.undeafen(server);
        let config = self.config(server);
        let host = self.options.hosting.run(config, self.directory.path());
        self.side_mut(server).host = Some(host.expect("the server can be started"));
    }

    /// Kills a server, as `kill -9` does. It has ended when this returns.
    ///
    /// # Panics
    ///
    /// When it does not run.
    pub fn kill(&mut self, server: ServerId) {
        self.host(server).kill();
        self.side_mut(server).host = None;
    }

    /// Kills a server, if it runs, and runs it again with the same command line.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn restart(&mut self, server: ServerId) {
        if self.side(server).host.is_some() {
            self.kill(server);
        }
        self.run(server);
    }

    /// Makes a server hang, as `kill -STOP` does: its connections stay open, and it does nothing. A
    /// server on a thread hangs by not giving its thread back.
    ///
    /// # Panics
    ///
    /// When it does not run.
    pub fn stop(&mut self, server: ServerId) {
        self.host(server).stop();
    }

    /// Lets a server go on that was stopped.
    ///
    /// # Panics
    ///
    /// When it does not run.
    pub fn wake(&mut self, server: ServerId) {
        self.host(server).wake();
    }

    /// Asks a server to end, as `kill -TERM` does, and waits until it has.
    ///
    /// # Panics
    ///
    /// When it does not run, does not end within half a minute, or exits with another code than 0.
    ///
    /// # Cancel safety
    ///
    /// The server ends all the same, and counts as running here.
    pub async fn terminate(&mut self, server: ServerId) {
        self.host(server).terminate();
        self.wait_ended(server).await;
    }

    /// Asks both servers to end, and waits until they have. Neither does anything before both are
    /// asked.
    ///
    /// # Panics
    ///
    /// When one does not run, does not end within half a minute, or ends otherwise than well.
    ///
    /// # Cancel safety
    ///
    /// The servers end all the same, and count as running here.
    pub async fn terminate_both(&mut self) {
        for server in ServerId::BOTH {
            self.stop(server);
        }
        for server in ServerId::BOTH {
            self.host(server).terminate();
        }
        for server in ServerId::BOTH {
            self.wake(server);
        }
        for server in ServerId::BOTH {
            self.wait_ended(server).await;
        }
    }

    async fn wait_ended(&mut self, server: ServerId) {
        self.host(server).wait(SOON).await;
        self.side_mut(server).host = None;
    }

    /// Makes a server carry out what reaches it and lose its replies to clients. Nobody can connect
    /// to it any more, neither clients nor its peer; what is connected between the servers stays.
    pub fn deafen(&mut self, server: ServerId) {
        let side = self.side_mut(server);
        side.front.drop_replies();
        side.front.refuse_new();
        side.link.refuse_new();
        side.deaf = true;
    }

    /// Ends what [`Self::deafen`] began. Client connections that have lost replies are reset.
    pub fn undeafen(&mut self, server: ServerId) {
        let side = self.side_mut(server);
        if std::mem::take(&mut side.deaf) {
            side.front.pass();
            side.link.mend();
        }
    }

    fn host(&mut self, server: ServerId) -> &mut Host {
        let host = self.side_mut(server).host.as_mut();
        host.unwrap_or_else(|| panic!("server {server} does not run"))
    }

    fn config(&self, server: ServerId) -> ServerConfig {
        let mut config = self.options.config(self.servers.clone(), server);
        config.listen = Some(self.side(server).listen.addr().clone());
        config.peer_addr = Some(self.link_to(server.peer()).addr().clone());
        config
    }
}

/// Faults of the ways between them.
impl Pair {
    /// Cuts the servers off from each other, both ways, until [`Self::mend_link`]. A pair does not
    /// survive this as one.
    pub fn cut_link(&self) {
        self.sides.iter().for_each(|side| side.link.cut());
    }

    /// Joins what [`Self::cut_link`] cut.
    pub fn mend_link(&self) {
        self.sides.iter().for_each(|side| side.link.mend());
    }

    /// Loses packets of more than `bytes` between the servers, as a broken tunnel does. See
    /// [`Proxy::lose_larger_than`](crate::testkit::Proxy::lose_larger_than).
    pub fn lose_large_packets(&self, bytes: usize) {
        for Side { link, .. } in &self.sides {
            link.lose_larger_than(Direction::Requests, bytes);
            link.lose_larger_than(Direction::Replies, bytes);
        }
    }

    /// Resets the connections between the servers once.
    pub fn reset_link(&self) {
        self.sides.iter().for_each(|side| side.link.reset());
    }

    /// Cuts all clients off from a server until [`Self::mend_client`].
    pub fn cut_client(&self, server: ServerId) {
        self.front(server).cut();
    }

    /// Joins what [`Self::cut_client`] cut.
    pub fn mend_client(&self, server: ServerId) {
        self.front(server).mend();
    }
}
