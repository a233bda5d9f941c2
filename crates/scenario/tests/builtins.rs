//! The built-in scenarios: each is sound, reads back from its written form, and is what the table says.

use std::fmt::Write as _;
use std::path::Path;

use metricstream_scenario::guarantee::derive;
use metricstream_scenario::text::sides;
use metricstream_scenario::{Claim, ClaimValue, Scenario, Step, When, builtin, parse, to_toml};

fn when(step: &Step) -> String {
    match &step.when {
        When::At { at_s } => format!("at {at_s} s"),
        When::On { condition, after_s, not_before_s, after_step } => {
            let after = after_step.as_ref().map_or(String::new(), |step| format!(" once {step}"));
            format!("on {condition}{after} + {after_s} s, from {not_before_s} s")
        }
    }
}

fn what(step: &Step) -> String {
    let rest = match &step.action {
        metricstream_scenario::Action::MemberJoin(member)
        | metricstream_scenario::Action::MemberLeave(member)
        | metricstream_scenario::Action::MemberCrash(member)
        | metricstream_scenario::Action::MemberStall { member, .. } => member.to_string(),
        metricstream_scenario::Action::Chaos { for_s, every_s, kinds } => {
            format!("for {for_s} s every {every_s} s of {}", kinds.join(", "))
        }
        metricstream_scenario::Action::Partition { groups } => {
            groups.iter().map(|group| sides(group)).collect::<Vec<_>>().join(" | ")
        }
        metricstream_scenario::Action::SlowLink { between, delay_ms, jitter_ms, .. } => {
            format!("{} by {delay_ms} + {jitter_ms} ms", sides(between))
        }
        metricstream_scenario::Action::Mend { step } => step.clone().unwrap_or_default(),
        action => action.target().map_or(String::new(), ToString::to_string),
    };
    format!("{} {rest}", step.action.word())
}

fn claim(claim: &Claim) -> String {
    let value = match &claim.value {
        ClaimValue::Bool(yes) => yes.to_string(),
        ClaimValue::Number(number) => number.to_string(),
        ClaimValue::Text(text) => text.clone(),
    };
    let of = claim.of.as_ref().map_or(String::new(), |of| format!(" of {of}"));
    let step = claim.step.as_ref().map_or(String::new(), |step| format!(" after {step}"));
    let after = claim.after_s.map_or(String::new(), |after_s| format!(" + {after_s} s"));
    format!("{}{of}{step}{after} {} {value}", claim.measure, claim.op)
}

fn table_row(out: &mut String, scenario: &Scenario) -> std::fmt::Result {
    let topic = &scenario.topology.topics[0];
    writeln!(
        out,
        "{}: {} brokers, controllers {:?}, {}x RF {} min.isr {}, {}",
        scenario.name,
        scenario.topology.brokers,
        scenario.topology.controllers,
        topic.partitions,
        topic.replication_factor,
        topic.min_insync_replicas,
        match scenario.workload.duration_s {
            Some(duration_s) => format!("{duration_s} s"),
            None => format!("until healed + {} s", scenario.workload.settle_s),
        }
    )?;
    for step in &scenario.timeline {
        writeln!(out, "  step   {}: {} {}", step.id, what(step), when(step))?;
    }
    for one in &scenario.claims {
        writeln!(out, "  claim  {}: {}", one.id, claim(one))?;
    }
    for guarantee in derive(scenario) {
        let mark = if guarantee.applies { "yes" } else { "no " };
        writeln!(out, "  {mark}    {}: {}", guarantee.id, guarantee.why)?;
    }
    Ok(())
}

#[test]
fn each_is_sound_and_reads_back_as_itself() {
    for one in builtin::all() {
        let scenario = parse(one.text).unwrap_or_else(|errors| panic!("{}\n{errors}", one.name));
        assert_eq!(scenario.name, one.name);
        assert!(!scenario.description.is_empty() && !scenario.timeline.is_empty() && !scenario.claims.is_empty());
        assert_eq!(parse(&to_toml(&scenario)).as_ref(), Ok(&scenario), "{}", one.name);
        assert_eq!(builtin::find(one.name), Some(one));
    }
}

#[test]
fn each_file_of_the_folder_is_built_in() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
        .collect();
    let mut names: Vec<String> = builtin::all().iter().map(|one| format!("{}.toml", one.name)).collect();
    files.sort();
    names.sort();
    assert_eq!(files, names);
}

#[test]
fn what_each_does_claims_and_guarantees() {
    let mut table = String::new();
    for one in builtin::all() {
        table_row(&mut table, &parse(one.text).expect("tested above")).expect("writing to a String cannot fail");
    }
    insta::assert_snapshot!(table);
}
