//! A backup that answers and cannot be fed is let go, by agreement.
//!
//! While its backup acknowledges nothing, a primary answers nobody. It may not go on alone either:
//! its backup lives, and would take over from it with an older state. So it asks the backup to step
//! down, and goes on alone when it has seen the answer (rule M12). Until then nothing has changed
//! for the primary.
//!
//! The race this guards against: a dismissal that comes late, when the backup is fed again. To step
//! down then could lose the only copy. A primary feeds its backup on a newer connection than that
//! of any dismissal it sent before; so a dismissal on an older one counts for nothing.

use super::primary::ReplicationMode;
use super::{Core, Effect, Event, InStream, Now, Role, StepDownReason};
use crate::types::View;

impl<T> Core<T> {
    /// Whether the backup has not been fed for so long that it is to be let go.
    pub(super) fn gives_up_feeding(&self, now: Now) -> bool {
        let Role::Primary(primary) = &self.role else {
            return false;
        };
        let unfed = primary.passage.unfed_for(now);
        matches!(primary.mode, ReplicationMode::Replicated { .. })
            && unfed >= self.settings.feed_timeout
    }

    /// Asks the backup to step down. The answer is that of a probe.
    pub(super) fn dismiss(&mut self, now: Now, effects: &mut Vec<Effect<T>>) {
        let Role::Primary(primary) = &mut self.role else {
            return;
        };
        let view = primary.view;
        let unfed = primary.passage.unfed_for(now);
        let stream = primary.sending().and_then(|(queue, _)| queue.close());
        effects.extend(stream.map(Effect::CloseOutStream));
        effects.push(Effect::Event(Event::Dismissing { view, unfed }));
        let probe = self.detector.begin_probe(now);
        effects.push(Effect::Dismiss { probe, view });
    }

    /// [M12] The primary of `view` asks this server to step down.
    pub(super) fn dismissed(
        &mut self,
        now: Now,
        stream: InStream,
        view: View,
        effects: &mut Vec<Effect<T>>,
    ) {
        if let Role::Backup(backup) = &self.role
            && backup.view == view
            && self.minimum_stream.is_below(stream)
        {
            let current = backup.stream;
            self.minimum_stream.raise(stream, current);
            self.step_down(now, StepDownReason::Dismissed, effects);
        }
        effects.push(Effect::Introduction(self.introduction()));
    }
}
