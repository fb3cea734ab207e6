//! Whether those who own locks can be right: one holder at a time, and rising tokens.
//!
//! A holder counts as such until it has begun to give its lock back, or until its own clock tells it that the
//! lease is over. Whoever holds a lock by then while another one was granted it shows that the servers, or the
//! clerk, broke their word.

use std::collections::HashMap;

use crate::types::{LockName, Token};

/// Those who hold locks, as they see it. `H` is what a holder has.
#[derive(Debug)]
pub(crate) struct Holders<H> {
    locks: HashMap<LockName, Lock<H>>,
}

#[derive(Debug)]
struct Lock<H> {
    highest: Token,
    holder: Option<(Token, H)>,
}

/// What cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Wrong {
    #[error("granted by token {granted}, though the holder by token {holder} has not lost it")]
    TwoHolders {
        /// The token of the one.
        holder: Token,
        /// The token of the other.
        granted: Token,
    },
    #[error("granted by token {granted} after token {highest}")]
    OldToken {
        /// The highest token so far.
        highest: Token,
        /// The token of the grant.
        granted: Token,
    },
}

impl<H> Holders<H> {
    pub(crate) fn new() -> Self {
        let locks = HashMap::new();
        Self { locks }
    }

    /// Somebody was granted a lock. `is_lost` asks a holder.
    pub(crate) fn granted(
        &mut self,
        name: &LockName,
        granted: Token,
        has: H,
        is_lost: impl FnOnce(&H) -> bool,
    ) -> Result<(), Wrong> {
        let (highest, holder) = (granted, Some((granted, has)));
        let Some(lock) = self.locks.get_mut(name) else {
            let lock = Lock { highest, holder };
            self.locks.insert(name.clone(), lock);
            return Ok(());
        };
        let (highest, before) = (lock.highest, lock.holder.take());
        lock.highest = highest.max(granted);
        lock.holder = holder;
        if granted <= highest {
            return Err(Wrong::OldToken { highest, granted });
        }
        match before {
            Some((holder, has)) if !is_lost(&has) => Err(Wrong::TwoHolders { holder, granted }),
            _ => Ok(()),
        }
    }

    /// The holder by this token is about to give the lock back, or has lost it.
    pub(crate) fn given_up(&mut self, name: &LockName, token: Token) {
        if let Some(lock) = self.locks.get_mut(name) {
            lock.holder.take_if(|(holder, _)| *holder == token);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> LockName {
        LockName::new("job").expect("a good name")
    }

    fn one_holder() -> Holders<bool> {
        let mut holders = Holders::new();
        let granted = holders.granted(&name(), Token(5), false, |lost| *lost);
        assert_eq!(granted, Ok(()));
        holders
    }

    #[test]
    fn a_lock_goes_on_when_it_was_given_up_or_lost() {
        let mut holders = one_holder();
        holders.given_up(&name(), Token(5));
        let next = holders.granted(&name(), Token(6), true, |lost| *lost);
        let last = holders.granted(&name(), Token(7), false, |lost| *lost);
        assert_eq!((next, last), (Ok(()), Ok(())));
    }

    #[test]
    fn two_holders_at_a_time_are_wrong() {
        let wrong = one_holder().granted(&name(), Token(6), false, |lost| *lost);
        let (holder, granted) = (Token(5), Token(6));
        assert_eq!(wrong, Err(Wrong::TwoHolders { holder, granted }));
    }

    #[test]
    fn a_token_that_does_not_rise_is_wrong() {
        let mut holders = one_holder();
        holders.given_up(&name(), Token(5));
        let wrong = holders.granted(&name(), Token(5), false, |lost| *lost);
        let (highest, granted) = (Token(5), Token(5));
        assert_eq!(wrong, Err(Wrong::OldToken { highest, granted }));
    }

    #[test]
    fn who_gives_up_late_takes_nothing_from_the_next_holder() {
        let mut holders = one_holder();
        let _ = holders.granted(&name(), Token(6), false, |_| true);
        holders.given_up(&name(), Token(5));
        let wrong = holders.granted(&name(), Token(7), false, |lost| *lost);
        assert!(wrong.is_err());
    }
}
