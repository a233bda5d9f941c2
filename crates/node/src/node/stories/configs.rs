//! Settings: described with where they come from, altered, refused.

use metricstream_wire::ErrorCode;
use metricstream_wire::api::alter_configs::{self, AlterConfigsRequest};
use metricstream_wire::api::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResult,
};
use metricstream_wire::api::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use metricstream_wire::api::list_config_resources::ListConfigResourcesRequest;

use super::{settled, with_topic};
use crate::testing::world::World;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const GROUP: i8 = 32;

fn described(world: &mut World, version: i16, kind: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsResult {
    let resource = DescribeConfigsResource {
        resource_type: kind,
        resource_name: name.into(),
        configuration_keys: keys.map(|keys| keys.iter().map(|k| (*k).into()).collect()),
    };
    let body = DescribeConfigsRequest {
        resources: vec![resource],
        include_synonyms: true,
        include_documentation: version >= 3,
    };
    world.query(1, version, &body, 1_000).expect("an answer").results.remove(0)
}

fn shown(one: &DescribeConfigsResourceResult) -> (&str, &str, i8) {
    (&one.name, one.value.as_deref().unwrap_or_default(), one.config_source)
}

/// Name, operation, value.
type Change<'a> = (&'a str, i8, Option<&'a str>);

/// The error of changes to one resource.
fn altered(world: &mut World, version: i16, kind: i8, name: &str, changes: &[Change<'_>]) -> i16 {
    let configs = changes.iter().map(|(name, config_operation, value)| AlterableConfig {
        name: (*name).into(),
        config_operation: *config_operation,
        value: value.map(Into::into),
    });
    let resource = AlterConfigsResource { resource_type: kind, resource_name: name.into(), configs: configs.collect() };
    let body = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    let answer = world.query(2, version, &body, 2_000).expect("an answer");
    settled(world);
    answer.responses[0].error_code
}

#[test]
fn a_topics_settings_are_shown_with_where_they_come_from() {
    let mut world = with_topic(41);
    assert_eq!(altered(&mut world, 0, TOPIC, "metrics", &[("retention.ms", 0, Some("60000"))]), 0);
    for version in [1, 4] {
        let all = described(&mut world, version, TOPIC, "metrics", None);
        assert!(all.error_code == 0 && all.configs.len() > 20, "{}", all.configs.len());
        let asked = described(&mut world, version, TOPIC, "metrics", Some(&["retention.ms", "min.insync.replicas"]));
        let told: Vec<_> = asked.configs.iter().map(shown).collect();
        assert_eq!(told, [("min.insync.replicas", "2", 4), ("retention.ms", "60000", 1)]);
        let said: Vec<_> = asked.configs[1].synonyms.iter().map(|s| (s.name.as_str(), s.source)).collect();
        assert_eq!(said, [("retention.ms", 1), ("log.retention.ms", 5)]);
        assert_eq!(asked.configs[1].config_type, if version >= 3 { 5 } else { 0 });
    }
    let unknown = described(&mut world, 4, TOPIC, "unheard-of", None);
    assert_eq!(unknown.error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0);
}

#[test]
fn a_nodes_settings_are_shown_and_cannot_be_altered() {
    let mut world = with_topic(42);
    for version in [1, 4] {
        let asked = described(&mut world, version, BROKER, "1", Some(&["min.insync.replicas", "node.id"]));
        let told: Vec<_> = asked.configs.iter().map(shown).collect();
        assert_eq!(told, [("min.insync.replicas", "2", 4), ("node.id", "1", 4)]);
        assert!(asked.configs.iter().all(|one| one.read_only));
        assert_eq!(asked.configs[0].documentation.is_some(), version >= 3);
    }
    assert_eq!(described(&mut world, 4, BROKER, "2", None).error_code, ErrorCode::INVALID_REQUEST.0);
    assert_eq!(described(&mut world, 4, BROKER, "", None).configs, []);
    let changes = [("min.insync.replicas", 0, Some("1"))];
    assert_eq!(altered(&mut world, 1, BROKER, "1", &changes), ErrorCode::INVALID_REQUEST.0);
}

#[test]
fn settings_are_set_taken_back_and_lists_get_more_and_less() {
    let mut world = with_topic(43);
    let value = |w: &mut World, name: &str| {
        let one = described(w, 4, TOPIC, "metrics", Some(&[name])).configs.remove(0);
        (one.value.unwrap(), one.config_source)
    };
    assert_eq!(altered(&mut world, 1, TOPIC, "metrics", &[("cleanup.policy", 2, Some("compact"))]), 0);
    assert_eq!(value(&mut world, "cleanup.policy"), ("delete,compact".into(), 1), "added to what held");
    assert_eq!(altered(&mut world, 1, TOPIC, "metrics", &[("cleanup.policy", 3, Some("delete"))]), 0);
    assert_eq!(value(&mut world, "cleanup.policy"), ("compact".into(), 1));
    assert_eq!(altered(&mut world, 1, TOPIC, "metrics", &[("cleanup.policy", 1, None)]), 0);
    assert_eq!(value(&mut world, "cleanup.policy"), ("delete".into(), 5));
    let (config, request) = (ErrorCode::INVALID_CONFIG.0, ErrorCode::INVALID_REQUEST.0);
    let wrong: &[(&[Change<'_>], i16)] = &[
        (&[("retention.ms", 2, Some("1"))], config),
        (&[("retention.ms", 0, Some("soon"))], config),
        (&[("no.such.setting", 0, Some("1"))], config),
        (&[("retention.ms", 0, None)], request),
        (&[("retention.ms", 9, Some("1"))], request),
        (&[("retention.ms", 0, Some("1")), ("retention.ms", 0, Some("2"))], request),
    ];
    for (changes, error) in wrong {
        assert_eq!(altered(&mut world, 0, TOPIC, "metrics", changes), *error, "{changes:?}");
    }
    assert_eq!(altered(&mut world, 0, TOPIC, "unheard-of", &[]), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0);
}

#[test]
fn the_older_way_to_alter_puts_new_settings_in_the_place_of_all() {
    let mut world = with_topic(44);
    for version in [0, 2] {
        assert_eq!(altered(&mut world, 1, TOPIC, "metrics", &[("retention.ms", 0, Some("5"))]), 0);
        let mut alter = |name: &str, value: &str, validate_only| {
            let config = alter_configs::AlterableConfig { name: name.into(), value: Some(value.into()) };
            let resource = alter_configs::AlterConfigsResource {
                resource_type: TOPIC,
                resource_name: "metrics".into(),
                configs: vec![config],
            };
            let body = AlterConfigsRequest { resources: vec![resource], validate_only };
            let answer = world.query(3, version, &body, 2_000).expect("an answer");
            settled(&mut world);
            let own = world.node(1).unwrap().image().topic_config("metrics");
            (answer.responses[0].error_code, own.into_iter().collect::<Vec<_>>())
        };
        let before = vec![("retention.ms".to_owned(), "5".to_owned())];
        let after = vec![("segment.ms".to_owned(), "7".to_owned())];
        assert_eq!(alter("segment.ms", "7", true), (0, before.clone()), "only looked at");
        assert_eq!(alter("segment.ms", "x", false), (ErrorCode::INVALID_CONFIG.0, before));
        assert_eq!(alter("segment.ms", "7", false), (0, after));
        assert_eq!(altered(&mut world, 1, TOPIC, "metrics", &[("segment.ms", 1, None)]), 0);
    }
}

#[test]
fn a_groups_settings_are_checked_shown_and_listed() {
    let mut world = with_topic(45);
    let timeout = "consumer.session.timeout.ms";
    assert_eq!(altered(&mut world, 1, GROUP, "g", &[(timeout, 0, Some("600"))]), 0);
    assert_eq!(altered(&mut world, 1, GROUP, "g", &[(timeout, 0, Some("1"))]), ErrorCode::INVALID_CONFIG.0);
    assert_eq!(altered(&mut world, 1, GROUP, "g", &[("other", 0, Some("1"))]), ErrorCode::INVALID_CONFIG.0);
    let asked = described(&mut world, 4, GROUP, "g", Some(&[timeout]));
    assert_eq!(shown(&asked.configs[0]), (timeout, "600", 8));
    let mut listed = |version, kinds: &[i8]| {
        let body = ListConfigResourcesRequest { resource_types: kinds.to_vec() };
        let answer = world.query(1, version, &body, 1_000).expect("an answer");
        let names = answer.config_resources.into_iter().map(|r| (r.resource_type, r.resource_name));
        (answer.error_code, names.collect::<Vec<_>>())
    };
    assert_eq!(listed(0, &[]), (0, vec![]), "there are no client metrics");
    assert_eq!(listed(1, &[TOPIC, GROUP]), (0, vec![(TOPIC, "metrics".into()), (GROUP, "g".into())]));
    assert_eq!(listed(1, &[]).1.len(), 1 + 3 + 3 + 1);
    assert_eq!(listed(1, &[99]), (ErrorCode::UNSUPPORTED_VERSION.0, vec![]));
}
