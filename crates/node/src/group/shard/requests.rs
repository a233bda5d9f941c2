//! Requests of one group, given to the kind of group that it is.

use metricstream_wire::ErrorCode;

use super::Shard;
use crate::flaws::Flaws;
use crate::group::classic::{self, ClassicGroup};
use crate::group::consumer::{self, ConsumerGroup};
use crate::group::gather::ReplyTo;
use crate::group::messages::{
    ClassicDescription, ConsumerDescription, ConsumerGroupHeartbeat, ConsumerGroupHeartbeatAnswer, GroupAnswer,
    GroupRequest, JoinGroup, JoinGroupAnswer, LeaveGroupAnswer, ListGroups, ListGroupsAnswer, ListedGroup,
    OffsetCommit, OffsetDelete, OffsetDeleteAnswer, OffsetFetchGroup, SyncGroupAnswer,
};
use crate::group::offsets::exists;
use crate::group::records::Group;
use crate::group::work::{Desk, Work};
use crate::group::{GROUPS_MAX, TopicsView};

impl Shard {
    /// Answers a request or parks it. Gives the group whose records the answer rests on; none is all of them.
    pub(super) fn request(
        &mut self,
        to: ReplyTo,
        request: GroupRequest,
        desk: &mut Desk<'_>,
        work: &mut Work,
    ) -> String {
        let group = request.groups().first().copied().unwrap_or_default().to_owned();
        match request {
            GroupRequest::JoinGroup(join) => self.join(to, join, desk, work),
            GroupRequest::SyncGroup(sync) => match self.classic(&sync.group_id) {
                Ok(classic) => classic.sync(to, sync, desk, work),
                Err(error) => {
                    work.answer(to, GroupAnswer::SyncGroup(SyncGroupAnswer { error, ..SyncGroupAnswer::default() }));
                }
            },
            GroupRequest::Heartbeat(beat) => {
                let error = match self.classic(&beat.group_id) {
                    Ok(classic) => classic.heartbeat(&beat, desk),
                    Err(error) => error,
                };
                work.answer(to, GroupAnswer::Heartbeat(error));
            }
            GroupRequest::LeaveGroup(leave) => match self.classic(&leave.group_id) {
                Ok(classic) => {
                    let answer = classic.leave(leave, desk, work);
                    work.answer(to, GroupAnswer::LeaveGroup(answer));
                }
                Err(error) if error == ErrorCode::UNKNOWN_MEMBER_ID => {
                    let members = leave.members.into_iter().map(|(id, instance)| (id, instance, error)).collect();
                    work.answer(to, GroupAnswer::LeaveGroup(LeaveGroupAnswer { error: ErrorCode::NONE, members }));
                }
                Err(error) => work.answer(to, GroupAnswer::LeaveGroup(LeaveGroupAnswer { error, members: Vec::new() })),
            },
            GroupRequest::OffsetCommit(commit) => self.commit(to, &commit, desk, work),
            GroupRequest::OffsetFetch(fetch) => {
                let answers = fetch.groups.iter().map(|g| self.fetch(g, desk.flaws)).collect();
                work.answer(to, GroupAnswer::OffsetFetch(answers));
            }
            GroupRequest::OffsetDelete(delete) => {
                let answer = self.delete_offsets(delete, desk.topics, work);
                work.answer(to, GroupAnswer::OffsetDelete(answer));
            }
            GroupRequest::DescribeGroups { groups } => {
                let answers = groups.iter().map(|g| self.describe_classic(g)).collect();
                work.answer(to, GroupAnswer::DescribeGroups(answers));
            }
            GroupRequest::ConsumerGroupDescribe { groups } => {
                let answers = groups.iter().map(|g| self.describe_consumer(g, desk)).collect();
                work.answer(to, GroupAnswer::ConsumerGroupDescribe(answers));
            }
            GroupRequest::ListGroups(list) => {
                let groups = self.list(&list);
                work.answer(to, GroupAnswer::ListGroups(ListGroupsAnswer { error: ErrorCode::NONE, groups }));
            }
            GroupRequest::DeleteGroups { groups } => {
                let results = groups.into_iter().map(|g| self.delete(g, work)).collect();
                work.answer(to, GroupAnswer::DeleteGroups(results));
            }
            GroupRequest::ConsumerGroupHeartbeat(beat) => self.consumer_heartbeat(to, beat, desk, work),
        }
        group
    }

    /// The classic group of a request that only members make.
    fn classic(&mut self, id: &str) -> Result<&mut ClassicGroup, ErrorCode> {
        match self.state.groups.get_mut(id) {
            _ if id.is_empty() => Err(ErrorCode::INVALID_GROUP_ID),
            Some(Group::Classic(group)) => Ok(group),
            Some(Group::Consumer(_)) | None => Err(ErrorCode::UNKNOWN_MEMBER_ID),
        }
    }

    fn join(&mut self, to: ReplyTo, join: JoinGroup, desk: &mut Desk<'_>, work: &mut Work) {
        let refuse = |error| GroupAnswer::JoinGroup(JoinGroupAnswer::refused(error, &join.member_id));
        if let Err(error) = classic::check_join(&join, desk.settings) {
            work.answer(to, refuse(error));
            return;
        }
        let full = self.state.groups.len() >= GROUPS_MAX;
        match self.state.groups.get(&join.group_id) {
            Some(Group::Classic(_)) => {}
            // Members of the two protocols do not mix here; an empty group of the other kind makes way.
            Some(Group::Consumer(group)) if !group.is_empty() => {
                work.answer(to, refuse(ErrorCode::INCONSISTENT_GROUP_PROTOCOL));
                return;
            }
            _ if !join.member_id.is_empty() => {
                work.answer(to, refuse(ErrorCode::UNKNOWN_MEMBER_ID));
                return;
            }
            None if full => {
                work.answer(to, refuse(ErrorCode::GROUP_MAX_SIZE_REACHED));
                return;
            }
            Some(Group::Consumer(_)) | None => {
                self.state.remove_group(&join.group_id, work);
                let group = ClassicGroup::new(&join.group_id, desk);
                self.state.groups.insert(join.group_id.clone(), Group::Classic(group));
            }
        }
        if let Some(Group::Classic(group)) = self.state.groups.get_mut(&join.group_id) {
            group.join(to, join, desk, work);
            group.record_creation(work);
        }
    }

    fn consumer_heartbeat(&mut self, to: ReplyTo, beat: ConsumerGroupHeartbeat, desk: &mut Desk<'_>, work: &mut Work) {
        let answer = self.consumer_heartbeat_answer(beat, desk, work);
        work.answer(to, GroupAnswer::ConsumerGroupHeartbeat(answer));
    }

    fn consumer_heartbeat_answer(
        &mut self,
        beat: ConsumerGroupHeartbeat,
        desk: &mut Desk<'_>,
        work: &mut Work,
    ) -> ConsumerGroupHeartbeatAnswer {
        if let Err(refused) = consumer::check_heartbeat(&beat, desk.settings) {
            return refused;
        }
        let joins = beat.member_epoch == 0;
        let full = self.state.groups.len() >= GROUPS_MAX;
        match self.state.groups.get(&beat.group_id) {
            Some(Group::Consumer(_)) => {}
            Some(Group::Classic(group)) if joins && group.is_empty() => {
                self.state.remove_group(&beat.group_id, work);
                let group = ConsumerGroup::new(&beat.group_id);
                self.state.groups.insert(beat.group_id.clone(), Group::Consumer(group));
            }
            None if joins && full => {
                let why = "This broker coordinates too many groups.";
                return ConsumerGroupHeartbeatAnswer::refused(ErrorCode::GROUP_MAX_SIZE_REACHED, why);
            }
            None if joins => {
                let group = ConsumerGroup::new(&beat.group_id);
                self.state.groups.insert(beat.group_id.clone(), Group::Consumer(group));
            }
            Some(Group::Classic(_)) => {
                let why = format!("Group {} is not a consumer group.", beat.group_id);
                return ConsumerGroupHeartbeatAnswer::refused(ErrorCode::GROUP_ID_NOT_FOUND, &why);
            }
            None => {
                let why = format!("Group {} not found.", beat.group_id);
                return ConsumerGroupHeartbeatAnswer::refused(ErrorCode::GROUP_ID_NOT_FOUND, &why);
            }
        }
        match self.state.groups.get_mut(&beat.group_id) {
            Some(Group::Consumer(group)) => group.heartbeat(beat, desk, work),
            _ => unreachable!("it was found or made"),
        }
    }

    fn commit(&mut self, to: ReplyTo, commit: &OffsetCommit, desk: &Desk<'_>, work: &mut Work) {
        let full = self.state.groups.len() >= GROUPS_MAX;
        let known = match self.state.groups.get_mut(&commit.group_id) {
            Some(Group::Classic(group)) => group.check_commit(commit, desk),
            Some(Group::Consumer(group)) => group.check_commit(commit),
            // Who is no member may commit to a group that is not there, which makes one.
            None if commit.generation_or_member_epoch >= 0 => Err(ErrorCode::ILLEGAL_GENERATION),
            None if full => Err(ErrorCode::GROUP_MAX_SIZE_REACHED),
            // No record of the group itself: it is there again when its offsets are loaded.
            None => Ok(()),
        };
        let answer = match known {
            Ok(()) => self.state.offsets.commit(commit, desk, work),
            Err(error) => commit.refused(error),
        };
        work.answer(to, GroupAnswer::OffsetCommit(answer));
    }

    fn fetch(&self, group: &OffsetFetchGroup, flaws: Flaws) -> crate::group::messages::OffsetFetchGroupAnswer {
        if let Some(Group::Consumer(consumer)) = self.state.groups.get(&group.group_id)
            && let Err(error) = consumer.check_fetch(group)
        {
            return group.refused(error);
        }
        let mut answer = self.state.offsets.fetch(group);
        if flaws.begin_beyond_commit {
            let told = answer.topics.iter_mut().flat_map(|(_, offsets)| offsets).filter(|told| told.offset > 0);
            told.for_each(|told| told.offset += 3);
        }
        answer
    }

    fn delete_offsets(&mut self, delete: OffsetDelete, view: &dyn TopicsView, work: &mut Work) -> OffsetDeleteAnswer {
        let refused = |error| OffsetDeleteAnswer { error, topics: Vec::new() };
        let id = &delete.group_id;
        match self.state.groups.get(id) {
            None if self.state.offsets.of(id).is_none() => return refused(ErrorCode::GROUP_ID_NOT_FOUND),
            Some(Group::Classic(group)) if !group.is_empty() && !group.is_of_consumers() => {
                return refused(ErrorCode::NON_EMPTY_GROUP);
            }
            _ => {}
        }
        let mut topics = Vec::new();
        for (topic, partitions) in delete.topics {
            let subscribed = match self.state.groups.get(id) {
                Some(Group::Classic(group)) => group.subscribes_to(&topic),
                Some(Group::Consumer(group)) => group.subscribes_to(&topic),
                None => false,
            };
            let mut errors = Vec::new();
            for partition in partitions {
                let error = if !exists(view, &topic, partition) {
                    ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
                } else if subscribed {
                    ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC
                } else {
                    self.state.offsets.forget(id, |t, p, _| t == topic && p == partition, work);
                    ErrorCode::NONE
                };
                errors.push((partition, error));
            }
            topics.push((topic, errors));
        }
        OffsetDeleteAnswer { error: ErrorCode::NONE, topics }
    }

    fn delete(&mut self, id: String, work: &mut Work) -> (String, ErrorCode) {
        let empty = match self.state.groups.get(&id) {
            Some(Group::Classic(group)) => group.is_empty(),
            Some(Group::Consumer(group)) => group.is_empty(),
            None if self.state.offsets.of(&id).is_some() => true,
            None => return (id, ErrorCode::GROUP_ID_NOT_FOUND),
        };
        if !empty {
            return (id, ErrorCode::NON_EMPTY_GROUP);
        }
        self.state.offsets.forget(&id, |_, _, _| true, work);
        self.state.remove_group(&id, work);
        (id, ErrorCode::NONE)
    }

    fn describe_classic(&self, id: &str) -> ClassicDescription {
        match self.state.groups.get(id) {
            Some(Group::Classic(group)) => group.describe(),
            None if self.state.offsets.of(id).is_some() => classic::describe_simple(id),
            Some(Group::Consumer(_)) => ClassicDescription {
                message: Some(format!("Group {id} is not a classic group.")),
                ..ClassicDescription::refused(id, ErrorCode::GROUP_ID_NOT_FOUND)
            },
            None => ClassicDescription {
                message: Some(format!("Group {id} not found.")),
                ..ClassicDescription::refused(id, ErrorCode::GROUP_ID_NOT_FOUND)
            },
        }
    }

    fn describe_consumer(&self, id: &str, desk: &Desk<'_>) -> ConsumerDescription {
        match self.state.groups.get(id) {
            Some(Group::Consumer(group)) => group.describe(desk),
            found => {
                let what = if found.is_some() { "is not a consumer group" } else { "not found" };
                ConsumerDescription {
                    message: Some(format!("Group {id} {what}.")),
                    ..ConsumerDescription::refused(id, ErrorCode::GROUP_ID_NOT_FOUND)
                }
            }
        }
    }

    fn list(&self, filter: &ListGroups) -> Vec<ListedGroup> {
        let lets =
            |filter: &[String], what: &str| filter.is_empty() || filter.iter().any(|f| f.eq_ignore_ascii_case(what));
        let groups = self.state.groups.iter().map(|(id, group)| match group {
            Group::Classic(group) => ListedGroup {
                group_id: id.clone(),
                protocol_type: group.protocol_type().to_owned(),
                state: group.state_name(),
                kind: "classic",
            },
            Group::Consumer(group) => ListedGroup {
                group_id: id.clone(),
                protocol_type: classic::CONSUMER.to_owned(),
                state: group.state_name(),
                kind: "consumer",
            },
        });
        let only_offsets = self.state.offsets.groups().filter(|id| !self.state.groups.contains_key(*id));
        let simple = |id: &String| ListedGroup {
            group_id: id.clone(),
            protocol_type: String::new(),
            state: "Empty",
            kind: "classic",
        };
        let all = groups.chain(only_offsets.map(simple));
        all.filter(|g| lets(&filter.states, g.state) && lets(&filter.types, g.kind)).collect()
    }
}
