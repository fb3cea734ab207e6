//! When a group is asked to end, and when it is killed: pure.

use std::time::Duration;

use super::Moment;

/// What is due to the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing before this moment.
    Nothing(Moment),
    /// It has to be asked to end.
    Terminate,
    /// It has to be killed.
    Kill,
}

/// The time that a group has left.
///
/// It may run until a moment that is put off again and again, and is asked to end a grace before
/// that. Once it was asked nothing puts it off.
#[derive(Debug)]
pub(super) struct Countdown {
    grace: Duration,
    until: Moment,
    kill_at: Option<Moment>,
}

impl Countdown {
    /// Nothing may run, until [`Self::put_off`] says until when.
    pub(super) const fn new(grace: Duration) -> Self {
        Self {
            grace,
            until: Moment::START,
            kill_at: None,
        }
    }

    /// The group may run until `until`.
    pub(super) const fn put_off(&mut self, until: Moment) {
        self.until = until;
    }

    /// The group has to end, from `now` on. True when that is new.
    pub(super) fn end(&mut self, now: Moment) -> bool {
        if self.kill_at.is_some() {
            return false;
        }
        self.kill_at = Some(self.until.min(now.after(self.grace)));
        true
    }

    /// Whether the group was asked to end.
    pub(super) const fn is_over(&self) -> bool {
        self.kill_at.is_some()
    }

    pub(super) fn due(&self, now: Moment) -> Due {
        match self.kill_at {
            Some(kill_at) if now >= kill_at => Due::Kill,
            Some(kill_at) => Due::Nothing(kill_at),
            None if now.after(self.grace) >= self.until => Due::Terminate,
            None => Due::Nothing(self.until.before(self.grace)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Moment {
        Moment::START.after(Duration::from_secs(seconds))
    }

    fn countdown(until: Moment) -> Countdown {
        let mut countdown = Countdown::new(Duration::from_secs(2));
        countdown.put_off(until);
        countdown
    }

    #[test]
    fn a_group_is_asked_a_grace_before_its_time_is_over_and_then_killed() {
        let mut countdown = countdown(at(10));
        assert_eq!(countdown.due(at(1)), Due::Nothing(at(8)));
        assert_eq!(countdown.due(at(8)), Due::Terminate);
        assert!(countdown.end(at(8)));
        assert_eq!(countdown.due(at(8)), Due::Nothing(at(10)));
        assert_eq!(countdown.due(at(10)), Due::Kill);
    }

    #[test]
    fn a_group_that_has_to_end_has_the_grace_but_never_more_than_its_time() {
        for (now, kill_at) in [(1, 3), (9, 10), (10, 10), (11, 10)] {
            let mut countdown = countdown(at(10));
            assert!(countdown.end(at(now)));
            assert_eq!(countdown.due(Moment::START), Due::Nothing(at(kill_at)));
        }
    }

    #[test]
    fn time_is_put_off_until_the_end_has_begun() {
        let mut countdown = countdown(at(10));
        countdown.put_off(at(20));
        assert_eq!(countdown.due(at(8)), Due::Nothing(at(18)));
        assert!(countdown.end(at(18)));
        countdown.put_off(at(30));
        assert!(!countdown.end(at(19)));
        assert_eq!(countdown.due(at(20)), Due::Kill);
    }

    #[test]
    fn without_a_time_the_end_comes_at_once() {
        let mut countdown = Countdown::new(Duration::from_secs(2));
        assert_eq!(countdown.due(at(1)), Due::Terminate);
        assert!(countdown.end(at(1)));
        assert_eq!(countdown.due(at(1)), Due::Kill);
    }
}
