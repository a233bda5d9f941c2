//! Range: each topic is cut into as many ranges as there are members who want it, the first ones longer by one if it does
//! not come out even. Members are in the same order for every topic, so topics of equally many partitions and the same
//! subscribers are cut alike: partition 3 of one lies with partition 3 of the other.

use std::collections::BTreeMap;

use super::{Parts, Spec};

pub(super) fn assign(spec: &Spec) -> BTreeMap<String, Parts> {
    let mut assigned: BTreeMap<String, Parts> = spec.members.keys().map(|id| (id.clone(), Parts::new())).collect();
    // Static members first, by instance: their place does not change when they come back under another id.
    let mut order: Vec<_> = spec.members.iter().collect();
    order.sort_by_key(|(id, member)| (member.instance_id.is_none(), member.instance_id.clone(), (*id).clone()));
    for (topic, count) in &spec.topics {
        let wanting: Vec<_> = order.iter().filter(|(_, member)| member.wants.contains(topic)).collect();
        let Ok(members) = i32::try_from(wanting.len()) else { continue };
        if members == 0 {
            continue;
        }
        let (each, longer) = (count / members, count % members);
        let mut start = 0;
        for (nth, (id, _)) in (0..).zip(wanting) {
            let end = start + each + i32::from(nth < longer);
            if end > start {
                assigned.entry((*id).clone()).or_default().insert(*topic, (start..end).collect());
            }
            start = end;
        }
    }
    assigned
}
