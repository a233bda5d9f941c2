//! From a scenario's name or path, and the command line's overrides, to a scenario.

use std::io::Read;
use std::path::Path;

use metricstream_scenario::{Profile, Scenario, builtin, overrides};

use crate::cli::ProfileName;
use crate::exit::Failure;

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
    Err(Failure::usage(format!("there is no scenario {name}: built in are {}; or name a TOML file", names.join(", "))))
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
    let file = std::fs::File::open(path).map_err(|e| fail(&e))?;
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
    overrides::apply(&text, &changes).map_err(|e| Failure::usage(format!("{name}\n{e}")))
}

/// The profile in the scenario's words.
pub(crate) fn profile_of(name: ProfileName) -> Profile {
    match name {
        ProfileName::Apache => Profile::Apache,
        ProfileName::Fast => Profile::Fast,
    }
}
