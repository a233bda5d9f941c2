//! What committed metadata changes on this node: the image first, then everything that follows from it.

use metricstream_wire::metadata_record::MetadataRecord;

use super::Node;
use crate::image::{Image, PartitionId, Touched};
use crate::io::Level;
use crate::quorum::{Committed, LoadedSnapshot};
use crate::time::Now;

impl Node {
    pub(super) fn metadata_committed(&mut self, now: Now, committed: Committed) {
        let mut touched = Touched::default();
        let unfenced = self.unfenced();
        for batch in committed.batches {
            for value in &batch.records {
                match MetadataRecord::decode(value.clone()) {
                    Ok(record) => self.image.apply(&record, &mut touched),
                    Err(error) => {
                        let at = batch.base_offset;
                        return self.halt(&format!("the metadata log cannot be read at offset {at}: {error}"));
                    }
                }
            }
            self.image.offset = batch.next_offset - 1;
            self.image.epoch = batch.epoch;
            self.last_timestamp_ms = batch.timestamp_ms;
        }
        self.departures_decided(now, &unfenced, &touched);
        self.react(now, touched);
    }

    pub(super) fn metadata_loaded(&mut self, now: Now, snapshot: LoadedSnapshot) {
        let mut image = Image::empty();
        let mut touched = Touched::default();
        for value in &snapshot.records {
            match MetadataRecord::decode(value.clone()) {
                Ok(record) => image.apply(&record, &mut touched),
                Err(error) => return self.halt(&format!("a metadata snapshot cannot be read: {error}")),
            }
        }
        image.offset = snapshot.id.offset - 1;
        image.epoch = snapshot.id.epoch;
        // What the old image had and the new one has not is gone.
        let gone = self.image.topics.values().filter(|t| !image.topics.contains_key(&t.id));
        touched.removed.extend(gone.map(|t| (t.id, t.name.clone())));
        touched.configs.extend(self.image.configs.keys().cloned());
        let unfenced = self.unfenced();
        self.image = image;
        self.last_timestamp_ms = snapshot.last_timestamp_ms;
        self.departures_decided(now, &unfenced, &touched);
        self.react(now, touched);
    }

    /// A broker acts on metadata once it knows all that was decided before it registered: until then it would lead and
    /// follow as in days gone by.
    fn react(&mut self, now: Now, touched: Touched) {
        let Some(broker) = &mut self.broker else { return };
        let own = self.image.brokers.get(&self.config.node_id);
        let own = own.filter(|own| own.incarnation == self.config.incarnation);
        if broker.lifecycle.epoch.is_none() {
            // Something is committed, so whoever leads the quorum is the active controller by now.
            broker.lifecycle.hurry(now);
        }
        if let Some(own) = own {
            broker.lifecycle.metadata_shows(own, self.image.offset, now);
        }
        if !broker.live && own.is_none() {
            return;
        }
        let everything = !broker.live;
        if everything {
            broker.live = true;
            self.remove_strays();
        }
        let changed: Vec<PartitionId> = if everything {
            self.image.partitions().map(|(id, _, _)| id).collect()
        } else {
            touched.partitions.iter().copied().collect()
        };
        for (id, name) in &touched.removed {
            self.remove_topic(*id, name);
        }
        for resource in &touched.configs {
            if resource.0 == crate::image::TOPIC_RESOURCE {
                self.reconfigure(&resource.1);
            }
        }
        for id in changed {
            self.partition_changed(now, id);
        }
        if !touched.brokers.is_empty() {
            self.brokers_changed(now, &touched.brokers);
        }
        self.groups_see_topics(now, &touched);
    }

    fn partition_changed(&mut self, now: Now, id: PartitionId) {
        let Some(topic) = self.image.topics.get(&id.0).cloned() else { return };
        let Some(partition) = topic.partitions.get(&id.1) else { return };
        let Some(broker) = &mut self.broker else { return };
        if !partition.replicas.contains(&self.config.node_id) {
            broker.remove(id, &mut self.out);
            return;
        }
        let config = self.image.topic_config(&topic.name);
        if let Err(error) = broker.ensure_replica(id, &topic.name, &config, &self.config, now, &mut self.out) {
            return self.halt(&error);
        }
        let Some(replica) = broker.replicas.get_mut(&id) else { return };
        let led = replica.is_leader();
        let new_epoch = replica.decided(partition, &self.config.flaws, now, &mut self.out);
        let leads = replica.is_leader();
        if leads {
            // A leader alone in its ISR has committed all that it has.
            let moved = replica.advance(&self.image, &self.config.flaws, now, &mut self.out);
            // After an unclean election there is something to say at once: that the leader has recovered.
            let proposal = replica.leading().is_ok_and(|leading| leading.proposal_due().is_some());
            broker.moved(id, moved.and(crate::broker::Moved { proposal, ..moved }));
        }
        broker.fetchers.assign(id, partition, self.config.node_id, new_epoch);
        if new_epoch {
            broker.leadership_changed(id);
            if led != leads || leads {
                self.coordinator_changed(now, id, leads);
            }
        }
    }

    fn remove_topic(&mut self, id: metricstream_wire::Uuid, name: &str) {
        let Some(broker) = &mut self.broker else { return };
        let gone: Vec<PartitionId> =
            broker.replicas.range((id, i32::MIN)..=(id, i32::MAX)).map(|(id, _)| *id).collect();
        for partition in gone {
            broker.remove(partition, &mut self.out);
        }
        self.say(Level::Info, format!("topic {name} deleted"));
    }

    /// Logs on the store that belong to no partition of this node any more.
    fn remove_strays(&mut self) {
        let Some(broker) = &mut self.broker else { return };
        let node = self.config.node_id;
        let image = &self.image;
        let stray = |id: &PartitionId| image.partition(*id).is_none_or(|p| !p.replicas.contains(&node));
        let strays: Vec<PartitionId> = broker.replicas.keys().filter(|id| stray(id)).copied().collect();
        for id in strays {
            broker.remove(id, &mut self.out);
        }
    }

    fn reconfigure(&mut self, topic: &str) {
        let Some(broker) = &mut self.broker else { return };
        let Some(id) = self.image.names.get(topic).copied() else { return };
        let config = self.image.topic_config(topic);
        for (_, replica) in broker.replicas.range_mut((id, i32::MIN)..=(id, i32::MAX)) {
            // The controller has checked it.
            if let Ok(log) = crate::log::LogConfig::of(&self.config.settings, &config) {
                replica.log.configure(log);
            }
            replica.min_isr = crate::broker::min_isr(&self.config.settings, &config);
        }
    }

    /// Somebody else may be let in now, or counts no more.
    fn brokers_changed(&mut self, now: Now, brokers: &std::collections::BTreeSet<i32>) {
        let Some(broker) = &mut self.broker else { return };
        let mut moved = Vec::new();
        for (id, replica) in broker.replicas.iter_mut().filter(|(_, r)| r.is_leader()) {
            let mut what = replica.advance(&self.image, &self.config.flaws, now, &mut self.out);
            for follower in brokers {
                what.proposal |= replica.reconsider(*follower, &self.image, &self.config.flaws);
            }
            if what != crate::broker::Moved::default() {
                moved.push((*id, what));
            }
        }
        for (id, what) in moved {
            broker.moved(id, what);
        }
    }
}
