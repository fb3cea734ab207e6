//! The machine once more, as naively as can be: every outcome is kept for ever, and nothing is shared,
//! sharded or summed.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

#[derive(Default)]
pub(super) struct Model {
    op: u64,
    held: BTreeSet<LockName>,
    records: BTreeMap<RecordNumber, ModelRecord>,
}

struct ModelRecord {
    client: ClientId,
    done_below: Seq,
    outcomes: BTreeMap<Seq, bool>,
}

impl ModelRecord {
    fn info(&self) -> RecordInfo {
        RecordInfo {
            client: self.client,
            next_seq: self
                .outcomes
                .last_key_value()
                .map_or(Seq(0), |(seq, _)| seq.next()),
        }
    }
}

impl Model {
    pub(super) fn apply(&mut self, command: &Command) -> Outcome {
        self.op += 1;
        match command {
            Command::Open { client } => self.open(*client),
            Command::Call { id, verb, name } => match self.call(id, *verb, name) {
                Ok(outcome) => Outcome::Call(outcome),
                Err(refusal) => Outcome::Refused(refusal),
            },
            Command::Goodbye { client, record } => self.drop_if(*record, |r| r.client == *client),
            Command::Expire { record, seen } => {
                self.drop_if(*record, |r| r.info().next_seq == *seen)
            }
        }
    }

    fn open(&mut self, client: ClientId) -> Outcome {
        let number = RecordNumber(self.op);
        let record = ModelRecord {
            client,
            done_below: Seq(0),
            outcomes: BTreeMap::new(),
        };
        self.records.insert(number, record);
        Outcome::Opened(number)
    }

    fn call(&mut self, id: &CallId, verb: Verb, name: &LockName) -> Result<bool, CallRefusal> {
        let record = self.records.get_mut(&id.record);
        let record = record
            .filter(|record| record.client == id.client)
            .ok_or(CallRefusal::UnknownRecord)?;
        if id.seq < record.done_below {
            return Err(CallRefusal::GivenUp);
        }
        if let Some(outcome) = record.outcomes.get(&id.seq) {
            return Ok(*outcome);
        }
        if id.seq < id.done_below {
            return Err(CallRefusal::GivenUp);
        }
        let done_below = record.done_below.max(id.done_below);
        if id.seq.0 - done_below.0 >= CALL_WINDOW || id.seq == Seq(u64::MAX) {
            return Err(CallRefusal::WindowFull);
        }
        let outcome = match verb {
            Verb::Lock => self.held.insert(name.clone()),
            Verb::Unlock => self.held.remove(name),
        };
        record.done_below = done_below;
        record.outcomes.insert(id.seq, outcome);
        Ok(outcome)
    }

    fn drop_if(
        &mut self,
        number: RecordNumber,
        condition: impl FnOnce(&ModelRecord) -> bool,
    ) -> Outcome {
        let drop = self.records.get(&number).is_some_and(condition);
        if drop {
            self.records.remove(&number);
        }
        Outcome::Dropped(drop)
    }

    /// Panics unless `machine` shows the same state.
    pub(super) fn assert_shown_by(&self, machine: &Machine) {
        assert_eq!(machine.op(), OpNumber(self.op));
        assert_eq!(machine.locks(), self.held.len() as u64);
        assert_eq!(machine.clients(), self.records.len() as u64);
        assert!(self.held.iter().all(|name| machine.is_held(name)));
        let records: BTreeMap<_, _> = machine.records().collect();
        assert_eq!(
            records,
            (self.records.iter())
                .map(|(number, record)| (*number, record.info()))
                .collect()
        );
    }
}
