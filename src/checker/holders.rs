//! Checks owned locks: no more holders at a time than each was promised, and rising tokens.
//!
//! A holder counts until it begins to release the lock, or until its own clock says that its lease
//! is over. A grant beside too many such holders shows a fault of the servers or the clerk.
//!
//! The answers to several holders can arrive in any order. But a grant that was known before a
//! request was sent has a lower token, and so has one that was known before a grant that cannot be
//! held beside it.
//!
//! After a request to break a lock, its holder no longer counts, also if its grant becomes known
//! later, when others can have held the lock since. Requests after the answer get a higher token.

use std::collections::HashMap;

use crate::types::{LockName, Token};

/// The holders of locks, by their own view. `H` is what the caller keeps of a holder.
#[derive(Debug)]
pub struct Holders<H> {
    locks: HashMap<LockName, Lock<H>>,
}

#[derive(Debug)]
struct Lock<H> {
    highest: Option<Token>,
    /// The highest token of an exclusive holder.
    highest_alone: Option<Token>,
    holders: Vec<Holder<H>>,
    /// The tokens that locks were or may be broken by, each as often as that was requested.
    broken: Vec<Token>,
}

#[derive(Debug)]
struct Holder<H> {
    token: Token,
    most: u32,
    has: H,
}

/// The answer to a request for a lock.
#[derive(Debug, Clone, Copy)]
pub struct Granted {
    /// The number of the grant.
    pub token: Token,
    /// How many may hold it at once, this holder included.
    pub most: u32,
    /// [`Holders::highest`] when the request was sent.
    pub asked_after: Option<Token>,
}

/// An impossible grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// The lock has more holders than one of them was promised.
    #[error(
        "granted by token {granted} while it had {holders} holders, the first of them by token {first}, one of \
         which was promised that they are never more than {most}"
    )]
    TooManyHolders {
        /// The number of holders before.
        holders: usize,
        /// The lowest of their tokens.
        first: Token,
        /// The token of the new holder.
        granted: Token,
        /// The most holders that are allowed.
        most: u32,
    },
    /// The tokens do not rise.
    #[error("granted by token {granted} after token {highest}")]
    OldToken {
        /// The highest token before.
        highest: Token,
        /// The token of the grant.
        granted: Token,
    },
}

impl<H> Holders<H> {
    /// Starts without holders.
    #[must_use]
    pub fn new() -> Self {
        let locks = HashMap::new();
        Self { locks }
    }

    /// The highest token of a lock so far.
    #[must_use]
    pub fn highest(&self, name: &LockName) -> Option<Token> {
        self.locks.get(name)?.highest
    }

    /// Notes the grant of a lock. `is_lost` tells whether a holder has lost it.
    ///
    /// # Errors
    ///
    /// [`Wrong`] when the grant is impossible.
    pub fn granted(
        &mut self,
        name: &LockName,
        granted: Granted,
        has: H,
        is_lost: impl Fn(&H) -> bool,
    ) -> Result<(), Wrong> {
        let Granted {
            token,
            most,
            asked_after,
        } = granted;
        let lock = self.locks.entry(name.clone()).or_default();
        let is_broken = lock.is_broken(token);
        let not_beside = lock.number(token, most).filter(|_| !is_broken);
        lock.holders.retain(|holder| !is_lost(&holder.has));
        let holders = lock.unbroken().count();
        let first = lock.unbroken().map(|holder| holder.token).min();
        let is_known = lock.holders.iter().any(|holder| holder.token == token);
        lock.holders.push(Holder { token, most, has });
        let most = lock.unbroken().map(|holder| holder.most).min();
        let known = is_known.then_some(token);
        if let Some(highest) = asked_after.max(known).max(not_beside)
            && token <= highest
        {
            let granted = token;
            return Err(Wrong::OldToken { highest, granted });
        }
        match (first, most) {
            (Some(first), Some(most)) if !is_broken && holders as u64 >= u64::from(most) => {
                Err(Wrong::TooManyHolders {
                    holders,
                    first,
                    granted: token,
                    most,
                })
            }
            _ => Ok(()),
        }
    }

    /// Notes that the holder with this token is about to release the lock, or has lost it.
    pub fn given_up(&mut self, name: &LockName, token: Token) {
        if let Some(lock) = self.locks.get_mut(name) {
            lock.holders.retain(|holder| holder.token != token);
        }
    }

    /// The holder by this token lets go of the lock, which stays taken as long as what it `has` now
    /// says.
    pub fn left(&mut self, name: &LockName, token: Token, has: H) {
        let holders = self.locks.get_mut(name).map(|lock| &mut lock.holders);
        let mut holders = holders.into_iter().flatten();
        if let Some(holder) = holders.find(|holder| holder.token == token) {
            holder.has = has;
        }
    }

    /// Somebody asks to break the lock that is held by this token: its holder may have lost it from
    /// now on.
    pub fn breaks(&mut self, name: &LockName, token: Token) {
        let lock = self.locks.entry(name.clone()).or_default();
        lock.broken.push(token);
    }

    /// It was answered, and `was_held` by this token until then or was not.
    pub fn broke(&mut self, name: &LockName, token: Token, was_held: bool) {
        let lock = self.locks.entry(name.clone()).or_default();
        if was_held {
            lock.highest = lock.highest.max(Some(token));
        } else if let Some(at) = lock.broken.iter().position(|it| *it == token) {
            lock.broken.swap_remove(at);
        }
    }

    /// The holders of a lock, and those who have lost it since, with what the caller keeps of each.
    pub fn of(&self, name: &LockName) -> impl Iterator<Item = (Token, &H)> {
        let holders = self.locks.get(name).map(|lock| lock.holders.iter());
        let holders = holders.into_iter().flatten();
        holders.map(|holder| (holder.token, &holder.has))
    }
}

impl<H> Default for Holders<H> {
    fn default() -> Self {
        Self::new()
    }
}

impl<H> Default for Lock<H> {
    fn default() -> Self {
        Self {
            highest: None,
            highest_alone: None,
            holders: Vec::new(),
            broken: Vec::new(),
        }
    }
}

impl<H> Lock<H> {
    fn is_broken(&self, token: Token) -> bool {
        self.broken.contains(&token)
    }

    /// The holders whose lock cannot have been broken.
    fn unbroken(&self) -> impl Iterator<Item = &Holder<H>> {
        let holders = self.holders.iter();
        holders.filter(|holder| !self.is_broken(holder.token))
    }

    /// Gives the highest token before of those whose grants cannot be held beside this one.
    fn number(&mut self, token: Token, most: u32) -> Option<Token> {
        let is_alone = most == 1;
        let not_beside = if is_alone {
            self.highest
        } else {
            self.highest_alone
        };
        self.highest = self.highest.max(Some(token));
        if is_alone {
            self.highest_alone = self.highest_alone.max(Some(token));
        }
        not_beside
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> LockName {
        LockName::new("job").expect("a good name")
    }

    fn grant(
        holders: &mut Holders<bool>,
        most: u32,
        token: u64,
        is_lost: bool,
    ) -> Result<(), Wrong> {
        let granted = Granted {
            token: Token(token),
            most,
            asked_after: None,
        };
        holders.granted(&name(), granted, is_lost, |lost| *lost)
    }

    fn one_holder() -> Holders<bool> {
        let mut holders = Holders::new();
        let granted = grant(&mut holders, 1, 5, false);
        assert_eq!(granted, Ok(()));
        holders
    }

    #[test]
    fn a_lock_goes_on_when_it_was_given_up_or_lost() {
        let mut holders = one_holder();
        holders.given_up(&name(), Token(5));
        assert_eq!(grant(&mut holders, 1, 6, true), Ok(()));
        assert_eq!(grant(&mut holders, 1, 7, false), Ok(()));
    }

    #[test]
    fn a_lock_that_is_left_and_stays_taken_does_not_go_on() {
        let mut holders = one_holder();
        holders.left(&name(), Token(5), false);
        grant(&mut holders, 1, 6, false).expect_err("a violation");
        let mut holders = one_holder();
        holders.left(&name(), Token(5), true);
        assert_eq!(grant(&mut holders, 1, 6, false), Ok(()), "its time is over");
    }

    #[test]
    fn two_holders_at_a_time_are_wrong_if_one_of_them_wants_it_alone() {
        for most in [1, u32::MAX] {
            let wrong = grant(&mut one_holder(), most, 6, false);
            let expected = Wrong::TooManyHolders {
                holders: 1,
                first: Token(5),
                granted: Token(6),
                most: 1,
            };
            assert_eq!(wrong, Err(expected));
        }
    }

    #[test]
    fn as_many_as_were_promised_may_hold_it_in_any_order_and_no_more() {
        let mut holders = Holders::new();
        assert_eq!(grant(&mut holders, 2, 6, false), Ok(()));
        assert_eq!(grant(&mut holders, 2, 5, false), Ok(()), "heard of late");
        let wrong = grant(&mut holders, u32::MAX, 7, false);
        let expected = Wrong::TooManyHolders {
            holders: 2,
            first: Token(5),
            granted: Token(7),
            most: 2,
        };
        assert_eq!(wrong, Err(expected));
    }

    #[test]
    fn a_token_that_does_not_rise_is_wrong() {
        for (before, again) in [(5, 5), (6, 5)] {
            let mut holders = Holders::new();
            let first = grant(&mut holders, 1, before, false);
            assert_eq!(first, Ok(()));
            holders.given_up(&name(), Token(before));
            let asked_after = holders.highest(&name());
            assert_eq!(asked_after, Some(Token(before)));
            let granted = Granted {
                token: Token(again),
                most: 1,
                asked_after,
            };
            let wrong = holders.granted(&name(), granted, false, |lost| *lost);
            let (highest, granted) = (Token(before), Token(again));
            assert_eq!(wrong, Err(Wrong::OldToken { highest, granted }));
        }
    }

    /// An earlier request can be granted after others, and then with a higher token.
    #[test]
    fn a_token_that_does_not_rise_is_wrong_also_if_it_was_asked_for_before() {
        for most in [1, u32::MAX] {
            let mut holders = Holders::new();
            assert_eq!(grant(&mut holders, 1, 6, true), Ok(()));
            let (highest, granted) = (Token(6), Token(5));
            let wrong = grant(&mut holders, most, 5, true);
            assert_eq!(wrong, Err(Wrong::OldToken { highest, granted }));
        }
    }

    #[test]
    fn two_holders_by_one_token_are_wrong() {
        let mut holders = Holders::new();
        assert_eq!(grant(&mut holders, u32::MAX, 5, false), Ok(()));
        let wrong = grant(&mut holders, u32::MAX, 5, false);
        let (highest, granted) = (Token(5), Token(5));
        assert_eq!(wrong, Err(Wrong::OldToken { highest, granted }));
    }

    #[test]
    fn who_gives_up_late_takes_nothing_from_the_next_holder() {
        let mut holders = Holders::new();
        assert_eq!(grant(&mut holders, 1, 5, true), Ok(()));
        assert_eq!(grant(&mut holders, 1, 6, false), Ok(()));
        holders.given_up(&name(), Token(5));
        grant(&mut holders, 1, 7, false).expect_err("a violation");
    }

    #[test]
    fn who_may_have_lost_its_lock_because_it_was_broken_is_no_holder() {
        let mut holders = one_holder();
        holders.breaks(&name(), Token(5));
        assert_eq!(grant(&mut holders, 1, 6, false), Ok(()));
        assert!(grant(&mut holders, 1, 7, false).is_err(), "by token 6");
    }

    #[test]
    fn who_was_not_broken_is_a_holder_as_before() {
        let mut holders = one_holder();
        holders.breaks(&name(), Token(5));
        holders.broke(&name(), Token(5), false);
        grant(&mut holders, 1, 6, false).expect_err("a violation");
    }

    #[test]
    fn who_was_broken_by_one_of_two_is_no_holder() {
        let mut holders = one_holder();
        for was_held in [true, false] {
            holders.breaks(&name(), Token(5));
            holders.broke(&name(), Token(5), was_held);
        }
        assert_eq!(grant(&mut holders, 1, 6, false), Ok(()));
    }

    /// Its owner hears of it when another one has the lock.
    #[test]
    fn a_grant_that_was_broken_is_heard_of_late_and_counts_for_nothing() {
        let mut holders = Holders::new();
        holders.breaks(&name(), Token(5));
        holders.broke(&name(), Token(5), true);
        assert_eq!(grant(&mut holders, 1, 6, false), Ok(()));
        assert_eq!(grant(&mut holders, 1, 5, false), Ok(()));
        holders.given_up(&name(), Token(6));
        assert_eq!(grant(&mut holders, 1, 7, false), Ok(()));
    }

    #[test]
    fn a_token_below_one_that_was_broken_is_wrong() {
        let mut holders = Holders::new();
        holders.breaks(&name(), Token(5));
        assert_eq!(holders.highest(&name()), None);
        holders.broke(&name(), Token(5), true);
        assert_eq!(holders.highest(&name()), Some(Token(5)));
        let (highest, granted) = (Token(5), Token(4));
        let wrong = grant(&mut holders, 1, 4, false);
        assert_eq!(wrong, Err(Wrong::OldToken { highest, granted }));
    }
}
