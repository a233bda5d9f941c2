//! From a scenario's name or path, and the command line's overrides, to a scenario.

use std::io::Read;
use std::path::Path;

use metricstream_report::text::wrap;
use metricstream_scenario::{Claim, Profile, Scenario, builtin, overrides, to_toml};

use crate::cli::ProfileName;
use crate::exit::Failure;

/// Columns of the list of names in a message.
const LIST_COLUMNS: usize = 76;

/// The text of a built-in scenario or of a file.
///
/// # Errors
/// Exit 2 if there is no such thing.
pub(crate) fn text(name: &str) -> Result<String, Failure> {
    if let Some(found) = builtin::all().iter().find(|b| b.name == name) {
        return Ok(found.text.to_owned());
    }
    let path = Path::new(name);
    let looks_like_a_path = name.contains('/') || path.extension().is_some();
    if looks_like_a_path || path.is_file() {
        return file(path);
    }
    let names: Vec<&str> = builtin::all().iter().map(|b| b.name).collect();
    Err(Failure::usage(format!(
        "there is no scenario {name}{}\nNeither a file of that name is here, nor is one built in. Built in are:\n  {}",
        builtin::nearest(name),
        wrap(&names.join(", "), LIST_COLUMNS).join("\n  ")
    )))
}

/// The text of a scenario file.
///
/// # Errors
/// Exit 2 if it cannot be read or is too large for a scenario.
pub(crate) fn file(path: &Path) -> Result<String, Failure> {
    let fail = |e: &dyn std::fmt::Display| Failure::usage(format!("scenario file {}: {e}", path.display()));
    if path.is_dir() {
        return Err(fail(&"it is a directory; name a TOML file in it"));
    }
    let limit_bytes = metricstream_scenario::MAX_FILE_BYTES as u64;
    // What is not a file on a disk does not tell its size beforehand.
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            let built_in = if builtin::find(stem).is_some() {
                format!("; a scenario {stem} is built in: name it without folder and ending")
            } else {
                builtin::nearest(stem)
            };
            fail(&format!("there is no such file{built_in}"))
        }
        _ => fail(&e),
    })?;
    file.take(limit_bytes + 1).read_to_string(&mut text).map_err(|e| match e.kind() {
        std::io::ErrorKind::InvalidData => fail(&"it is no text in UTF-8, so no TOML"),
        _ => fail(&e),
    })?;
    if text.len() as u64 > limit_bytes {
        return Err(fail(&format!("larger than {limit_bytes} bytes, the most that a scenario has")));
    }
    Ok(text)
}

/// Reads a scenario with its overrides applied.
///
/// # Errors
/// Exit 2 with every error placed.
pub(crate) fn load(name: &str, set: &[String], profile: Option<ProfileName>) -> Result<Scenario, Failure> {
    let text = text(name)?;
    overrides::apply(&text, &changes(set, profile)?).map_err(|e| Failure::usage(format!("{name}\n{e}")))
}

fn changes(set: &[String], profile: Option<ProfileName>) -> Result<Vec<(String, String)>, Failure> {
    let mut changes = Vec::new();
    if let Some(profile) = profile {
        let word = match profile {
            ProfileName::Apache => "apache",
            ProfileName::Fast => "fast",
        };
        changes.push(("topology.profile".to_owned(), format!("\"{word}\"")));
    }
    for one in set {
        changes.push(overrides::split(one).map_err(|e| Failure::usage(format!("--set {one}\n{e}")))?);
    }
    Ok(changes)
}

/// Reads a scenario and leaves its faults out; returns the ids of the steps that went. An override that only the faults
/// stand against, such as a load that is shorter than they are late, is applied to what is left; claims about them stay.
///
/// # Errors
/// As [`load`].
pub(crate) fn load_without_faults(
    name: &str,
    set: &[String],
    profile: Option<ProfileName>,
) -> Result<(Scenario, Vec<String>), Failure> {
    let refused = match load(name, set, profile) {
        Ok(mut scenario) => {
            let left_out = scenario.take_faults_out();
            return Ok((scenario, left_out));
        }
        Err(refused) => refused,
    };
    let changes = changes(set, profile)?;
    let of_profile: Vec<_> = changes.iter().filter(|(path, _)| path == "topology.profile").cloned().collect();
    let Ok(mut whole) = overrides::apply(&text(name)?, &of_profile) else { return Err(refused) };
    let left_out = whole.take_faults_out();
    let of_fault = |claim: &Claim| claim.step.as_ref().is_some_and(|step| left_out.contains(step));
    let (open, kept) = std::mem::take(&mut whole.claims).into_iter().partition(of_fault);
    whole.claims = kept;
    let open: Vec<Claim> = open;
    let Ok(mut scenario) = overrides::apply(&to_toml(&whole), &changes) else { return Err(refused) };
    scenario.claims.extend(open);
    Ok((scenario, left_out))
}

/// The profile in the scenario's words.
pub(crate) fn profile_of(name: ProfileName) -> Profile {
    match name {
        ProfileName::Apache => Profile::Apache,
        ProfileName::Fast => Profile::Fast,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_shorter_than_its_faults_are_late_is_sound_without_them() {
        let short = ["workload.duration_s=8".to_owned()];
        let error = load("broker-failure", &short, None).expect_err("the kill comes after the load").error.to_string();
        assert!(error.contains("after load has ended"), "{error}");
        let (scenario, left_out) = load_without_faults("broker-failure", &short, None).expect("sound");
        assert_eq!((left_out, scenario.workload.duration_s), (vec!["kill-2".into(), "start-2".into()], Some(8.0)));
        let claims = load("broker-failure", &[], None).expect("sound").claims.len();
        assert_eq!(scenario.claims.len(), claims);
        // What is wrong without them too is said of the file as it is.
        let wrong = ["workload.duration_s=-1".to_owned()];
        let error = load_without_faults("broker-failure", &wrong, None).expect_err("wrong").error.to_string();
        assert!(error.contains("duration_s"), "{error}");
    }
}
