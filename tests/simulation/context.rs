//! What everybody in a run shares, and the orders that only the loop around turmoil can carry out.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use lockservice::clerk::{ServerReport, is_whole, status};
use lockservice::testkit::Recorder;
use lockservice::testkit::invariants::FinalState;
use lockservice::transport::{Network, Servers};
use lockservice::types::ServerId;
use tokio::time::{Instant, sleep_until, timeout};

use super::lock_model::LockModel;
use super::network::{ClientNetwork, Faults, client_host, host, owner_host};

/// The longest that anything may take, in simulated time, before a run counts as hung.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Lets simulated time pass. Nobody waits for it.
pub(crate) async fn pass(time: Duration) {
    sleep_until(Instant::now() + time).await;
}

/// What is done to a server. Carried out between two steps of the simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HostAction {
    /// The process ends without a word; its machine runs on.
    Kill(ServerId),
    /// The process is asked to end.
    Terminate(ServerId),
    /// The machine is gone, and says nothing.
    Vanish(ServerId),
    /// Process, and machine if need be, start anew.
    Start(ServerId),
    Stop(ServerId),
    Wake(ServerId),
    /// Every connection between the servers breaks, as this one sees it.
    ResetPeer(ServerId),
    /// Every connection of clients to this server breaks.
    ResetClients(ServerId),
    /// The host of an owner is gone, with all that ran there.
    Crash(usize),
    /// It starts again, if it was gone.
    Revive(usize),
    /// The longest that a message takes between these two hosts from now on.
    Latency(&'static str, &'static str, Duration),
}

/// Shared by the hosts of a run and the loop around them.
#[derive(Clone)]
pub(crate) struct Context(Rc<Inner>);

struct Inner {
    servers: Servers,
    peer_timeout: Duration,
    faults: Faults,
    recorder: Recorder,
    actions: RefCell<Vec<HostAction>>,
    running: [Cell<bool>; 2],
    over: Cell<bool>,
    /// Those of the clients, and after them those of the owners.
    answers: RefCell<Vec<u64>>,
    gone: RefCell<Vec<bool>>,
    clients: usize,
    model: LockModel,
    complaints: RefCell<Vec<String>>,
    story: RefCell<String>,
    end: RefCell<Option<FinalState>>,
}

impl Context {
    pub(crate) fn new(peer_timeout: Duration, clients: usize, owners: usize) -> Self {
        let address = |server| format!("{}:5100", host(server));
        let servers = Servers::new(address(ServerId::A), address(ServerId::B));
        Self(Rc::new(Inner {
            servers: servers.expect("two addresses"),
            peer_timeout,
            faults: Faults::default(),
            recorder: Recorder::new(),
            actions: RefCell::default(),
            running: Default::default(),
            over: Cell::new(false),
            answers: RefCell::new(vec![0; clients + owners]),
            gone: RefCell::new(vec![false; clients + owners]),
            clients,
            model: LockModel::default(),
            complaints: RefCell::default(),
            story: RefCell::default(),
            end: RefCell::default(),
        }))
    }

    pub(crate) fn servers(&self) -> Servers {
        self.0.servers.clone()
    }

    pub(crate) fn peer_timeout(&self) -> Duration {
        self.0.peer_timeout
    }

    pub(crate) fn peer_timeout_millis(&self) -> u64 {
        u64::try_from(self.0.peer_timeout.as_millis()).expect("it is short")
    }

    pub(crate) fn faults(&self) -> Faults {
        self.0.faults.clone()
    }

    pub(crate) fn recorder(&self) -> &Recorder {
        &self.0.recorder
    }

    pub(crate) fn model(&self) -> &LockModel {
        &self.0.model
    }

    /// The hosts of all clients and owners.
    pub(crate) fn client_hosts(&self) -> impl Iterator<Item = String> {
        let clients = (0..self.0.clients).map(client_host);
        clients.chain((0..self.owners()).map(owner_host))
    }

    pub(crate) fn clients(&self) -> usize {
        self.0.clients
    }

    pub(crate) fn owners(&self) -> usize {
        self.0.gone.borrow().len() - self.0.clients
    }

    pub(crate) fn network(&self, me: &str) -> Arc<dyn Network> {
        Arc::new(ClientNetwork {
            me: me.to_owned(),
            faults: self.faults(),
        })
    }

    pub(crate) fn act(&self, order: HostAction) {
        self.tell(format_args!("{order:?}"));
        self.0.actions.borrow_mut().push(order);
    }

    pub(crate) fn take_actions(&self) -> Vec<HostAction> {
        self.0.actions.take()
    }

    /// Writes down what happens, for whoever reads of a failure.
    pub(crate) fn tell(&self, what: std::fmt::Arguments<'_>) {
        let at = turmoil::sim_elapsed().unwrap_or_default().as_millis();
        let mut story = self.0.story.borrow_mut();
        writeln!(story, "    {at:>6} ms  {what}").expect("a string takes it");
    }

    pub(crate) fn story(&self) -> String {
        self.0.story.borrow().clone()
    }

    pub(crate) fn set_running(&self, server: ServerId, running: bool) {
        self.0.running[server.index()].set(running);
    }

    pub(crate) fn is_running(&self, server: ServerId) -> bool {
        self.0.running[server.index()].get()
    }

    /// Lets the clients finish their calls.
    pub(crate) fn close(&self) {
        self.0.over.set(true);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.0.over.get()
    }

    pub(crate) fn note_answer(&self, client: usize) {
        self.0.answers.borrow_mut()[client] += 1;
    }

    pub(crate) fn answers(&self) -> Vec<u64> {
        self.0.answers.borrow().clone()
    }

    pub(crate) fn note_owner_answer(&self, owner: usize) {
        self.note_answer(self.0.clients + owner);
    }

    pub(crate) fn note_gone(&self, client: usize) {
        self.0.gone.borrow_mut()[client] = true;
    }

    pub(crate) fn note_owner_gone(&self, owner: usize) {
        self.note_gone(self.0.clients + owner);
    }

    /// What must not be, and yet is no answer.
    pub(crate) fn complain(&self, what: String) {
        self.tell(format_args!("complaint: {what}"));
        self.0.complaints.borrow_mut().push(what);
    }

    pub(crate) fn complaints(&self) -> Vec<String> {
        self.0.complaints.borrow().clone()
    }

    pub(crate) fn set_end(&self, end: FinalState) {
        self.0.end.replace(Some(end));
    }

    pub(crate) fn take_end(&self) -> Option<FinalState> {
        self.0.end.take()
    }

    /// Waits until `holds`; an error when it takes too long.
    pub(crate) async fn wait(&self, what: &str, holds: impl Fn() -> bool) -> turmoil::Result {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            if Instant::now() > deadline {
                return Err(format!("waited in vain for {what}").into());
            }
            pass(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    pub(crate) async fn wait_clients_gone(&self) -> turmoil::Result {
        let are_gone = || self.0.gone.borrow().iter().all(|gone| *gone);
        self.wait("the clients to finish", are_gone).await
    }

    pub(crate) async fn reports(&self) -> Vec<ServerReport> {
        let hedge_delay = Duration::from_millis(300);
        status(&self.network("director"), &self.0.servers, hedge_delay).await
    }

    /// Waits until there is a primary and its backup, neither in doubt.
    pub(crate) async fn wait_whole(&self) -> turmoil::Result {
        let whole = async {
            while !is_whole(&self.reports().await) {
                pass(Duration::from_millis(25)).await;
            }
        };
        match timeout(PATIENCE, whole).await {
            Ok(()) => Ok(()),
            Err(_) => Err(format!("the pair is not whole: {:?}", self.reports().await).into()),
        }
    }
}
