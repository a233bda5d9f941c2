//! The active controller's office: decisions become records in the log and in the working image at once; answers wait until
//! what they rest on is committed, and are refused if the office is lost before.

use std::collections::VecDeque;

use bytes::Bytes;
use metricstream_wire::ErrorCode;
use metricstream_wire::metadata_record::MetadataRecord;

use super::Node;
use crate::controller::{Controller, Decision};
use crate::io::{Event, Output};
use crate::quorum::AppendError;
use crate::time::Now;

/// Answers that may wait; a controller that commits nothing takes on no more.
const PENDING_MAX: usize = 10_000;

/// What an answer does when its time has come: with nothing lost, or with the error that says what was.
type Answer = Box<dyn FnOnce(&mut Node, Now, Result<(), ErrorCode>) + Send>;

/// The office.
pub(crate) struct Office {
    pub(crate) controller: Controller,
    pub(crate) epoch: i32,
    /// Answers by the offset that must be committed.
    pending: VecDeque<(i64, Answer)>,
}

impl std::fmt::Debug for Office {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Office")
            .field("controller", &self.controller)
            .field("epoch", &self.epoch)
            .field("pending", &self.pending.len())
            .finish()
    }
}

impl Node {
    /// This node's quorum leads and knows all that was ever committed.
    pub(super) fn take_office(&mut self, now: Now, epoch: i32) {
        use rand_chacha::rand_core::RngCore;
        let seed = self.random.next_u64();
        let (settings, flaws) = (self.config.settings.clone(), self.config.flaws);
        let mut image = self.image.clone();
        image.offset = self.quorum.high_watermark() - 1;
        let recent_ms = u64::try_from(settings.broker_session_timeout_ms).unwrap_or(0);
        let mut controller = Controller::activate(image, settings, flaws, seed, now);
        // Older evidence may be of a process that has long been replaced.
        for (peer, _) in self.refused_at.iter().filter(|(_, at)| now.since_ms(**at) < recent_ms) {
            controller.disconnected(*peer, now);
        }
        let first = controller.first_records();
        self.office = Some(Office { controller, epoch, pending: VecDeque::new() });
        self.out.push(Output::Event(Event::ControllerActive { epoch }));
        if !first.is_empty() {
            let _ = self.append_metadata(now, &first);
        }
        self.controller_changed(now);
    }

    /// Another one leads: what was not committed is not this node's to answer any more.
    pub(super) fn leave_office(&mut self, now: Now) {
        if let Some(office) = self.office.take() {
            for (_, answer) in office.pending {
                answer(self, now, Err(ErrorCode::NOT_CONTROLLER));
            }
        }
    }

    /// The offset that the next metadata record will get.
    pub(crate) fn next_metadata_offset(&self) -> i64 {
        self.office.as_ref().map_or(0, |office| office.controller.image().offset + 1)
    }

    /// Appends records and applies them to the working image.
    fn append_metadata(&mut self, now: Now, records: &[MetadataRecord]) -> Result<(), ErrorCode> {
        let values: Vec<Bytes> = records.iter().map(MetadataRecord::encode).collect();
        let last = match self.quorum.append(now, &mut self.out, values) {
            Ok(last) => last,
            Err(AppendError::NotLeader(_)) => return Err(ErrorCode::NOT_CONTROLLER),
            Err(AppendError::TooLarge(_)) => return Err(ErrorCode::POLICY_VIOLATION),
        };
        let count = i64::try_from(records.len()).unwrap_or(i64::MAX);
        if let Some(office) = &mut self.office {
            let base = last + 1 - count;
            assert_eq!(base, office.controller.image().offset + 1, "only the active controller appends");
            let epoch = office.epoch;
            office.controller.applied(records, base, epoch, now);
        }
        Ok(())
    }

    /// Carries a decision out. `answer` gets its result when it is committed, or the error with which it came to nothing.
    pub(crate) fn decided<T: Send + 'static>(
        &mut self,
        now: Now,
        decision: Decision<T>,
        answer: impl FnOnce(&mut Self, Now, Result<T, ErrorCode>) + Send + 'static,
    ) {
        let full = self.office.as_ref().is_none_or(|office| office.pending.len() >= PENDING_MAX);
        if full {
            return answer(self, now, Err(ErrorCode::NOT_CONTROLLER));
        }
        if !decision.records.is_empty()
            && let Err(error) = self.append_metadata(now, &decision.records)
        {
            return answer(self, now, Err(error));
        }
        let value = decision.answer;
        let Some(office) = &mut self.office else { return answer(self, now, Err(ErrorCode::NOT_CONTROLLER)) };
        // An answer that merely read what is not committed yet waits for it, too.
        let offset = office.controller.image().offset;
        let then: Answer = Box::new(move |node, now, outcome| answer(node, now, outcome.map(|()| value)));
        office.pending.push_back((offset, then));
    }

    /// The controller, if this node is the active one.
    pub(crate) fn active(&mut self) -> Result<&mut Controller, ErrorCode> {
        self.office.as_mut().map(|office| &mut office.controller).ok_or(ErrorCode::NOT_CONTROLLER)
    }

    /// What time makes the controller do, and answers whose records are committed. Whether anything happened.
    pub(super) fn run_office(&mut self, now: Now) -> bool {
        let mut moved = false;
        while let Some(office) = self.office.as_mut().filter(|_| self.judges) {
            let records = office.controller.on_timer(now);
            if records.is_empty() || self.append_metadata(now, &records).is_err() {
                break;
            }
            moved = true;
        }
        let committed = self.quorum.high_watermark();
        while let Some(office) = &mut self.office {
            if office.pending.front().is_none_or(|(offset, _)| *offset >= committed) {
                break;
            }
            if let Some((_, answer)) = office.pending.pop_front() {
                answer(self, now, Ok(()));
                moved = true;
            }
        }
        moved
    }
}
