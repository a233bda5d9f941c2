//! Loading: the log of a partition becomes the state of its shard.

use metricstream_wire::WireError;
use metricstream_wire::group_record::GroupRecord;
use metricstream_wire::record_batch::Batch;

use super::records::State;
use crate::flaws::Flaws;

/// What loading has come to.
#[derive(Debug, Default)]
pub(super) struct Loading {
    /// The offset behind the last batch.
    pub(super) log_end: i64,
    /// Records whose key or value could not be read.
    pub(super) unreadable: u64,
}

impl Loading {
    /// Takes a batch in. Control batches have nothing for a coordinator.
    pub(super) fn take(&mut self, batch: &Batch, state: &mut State, flaws: Flaws) -> Result<(), WireError> {
        self.log_end = batch.header().next_offset();
        if batch.header().is_control() {
            return Ok(());
        }
        for record in batch.iter()? {
            let record = record?;
            let Some(key) = record.key else {
                self.unreadable += 1;
                continue;
            };
            match GroupRecord::decode(key, record.value) {
                Ok(GroupRecord::OffsetCommit(..) | GroupRecord::LegacyOffsetCommit(..))
                    if flaws.forget_group_offsets => {}
                Ok(record) => {
                    state.apply(record);
                }
                Err(_) => self.unreadable += 1,
            }
        }
        Ok(())
    }
}
