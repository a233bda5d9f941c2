//! `[profiles.fast]`: what a scenario file changes in a profile. Its entries are those of `--set`, a path and a value each,
//! and lie beneath what the command line says. What is run, and written down, is the scenario with them applied.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::{Problem, ScenarioErrors, Source, did_you_mean, report};
use crate::model::{Profile, Scenario};
use crate::overrides::{Change, Part, parts};
use crate::{parse, write};

/// Most entries of one profile.
const MAX_CHANGES: usize = 200;
/// What a scenario is in every profile.
const FIXED: &[&str] = &["schema", "name", "profiles"];

/// The profile that a file's table names, where it names one.
pub(crate) fn chosen(table: &DeTable<'_>) -> Option<Profile> {
    let word = table.get("topology")?.get_ref().get("profile")?.get_ref().as_str()?;
    Profile::WORDS.into_iter().find(|(known, _)| *known == word).map(|(_, profile)| profile)
}

/// Checks what each profile makes of a sound file, `plain`; returns the one of the file's own profile.
pub(crate) fn of_file(source: &Source<'_>, table: &DeTable<'_>, plain: Scenario) -> Result<Scenario, ScenarioErrors> {
    if table.get("profiles").is_none() {
        return Ok(plain);
    }
    let found = misnamed(table);
    if !found.is_empty() {
        return Err(report(source, found));
    }
    let defaults_text = write::to_toml(&plain);
    let defaults = parse::parse_table(&Source::new(&defaults_text, &[]), &defaults_text)?;
    let mut own = plain.clone();
    for (word, profile) in Profile::WORDS {
        let mut varied = table.clone();
        let changes = changes(table, profile).map_err(|found| report(source, found))?;
        let wrong = changes.iter().filter_map(|change| change.put(&mut varied, &defaults).err());
        let wrong: Vec<Problem> = wrong.collect();
        if !wrong.is_empty() {
            return Err(report(source, wrong));
        }
        let read = parse::read(source, &varied, 0..0);
        let read = read.map_err(|mut errors| {
            for error in &mut errors.errors {
                error.message = format!("{} (with [profiles.{word}]; the file without it is sound)", error.message);
            }
            errors
        })?;
        if profile == plain.topology.profile {
            own = read;
        }
    }
    Ok(own)
}

/// What is wrong with the table of profiles itself.
fn misnamed(table: &DeTable<'_>) -> Vec<Problem> {
    let Some(all) = table.get("profiles") else { return Vec::new() };
    let problem = |span, path: &str, message| Problem { span, path: path.to_owned(), message };
    let Some(tables) = all.get_ref().as_table() else {
        return vec![problem(all.span(), "profiles", "wanted: a table, written [profiles.fast]".to_owned())];
    };
    let words = || Profile::WORDS.into_iter().map(|(word, _)| word);
    let mut found = Vec::new();
    for (name, entries) in tables {
        let word: &str = name.get_ref();
        if !words().any(|known| known == word) {
            let hint = did_you_mean(word, words());
            let shown: String = word.chars().filter(|c| !c.is_control()).take(60).collect();
            let message = format!("there is no profile `{shown}`; allowed: apache, fast{hint}");
            found.push(problem(name.span(), "profiles", message));
        } else if entries.get_ref().as_table().is_none() {
            let message = "wanted: a table of paths and values, as for --set".to_owned();
            found.push(problem(entries.span(), "profiles", message));
        }
    }
    found
}

/// What the file changes in a profile.
pub(crate) fn changes<'t>(table: &DeTable<'t>, profile: Profile) -> Result<Vec<Change<'t>>, Vec<Problem>> {
    let word = profile.word();
    let entries = table.get("profiles").and_then(|all| all.get_ref().get(word));
    let Some(entries) = entries.and_then(|entries| entries.get_ref().as_table()) else { return Ok(Vec::new()) };
    let (mut changes, mut wrong) = (Vec::new(), Vec::new());
    for (key, value) in entries {
        // A key in quotes is a whole path; the dots of one without are tables in one another.
        let whole = parts(key.get_ref(), key.span().start).map_err(|problem| vec![problem])?;
        let whole = whole.into_iter().map(|part| (part.text, key.span())).collect();
        flatten(word, whole, value, &mut changes);
    }
    if let Some(change) = changes.get(MAX_CHANGES) {
        wrong.extend(change.parts.first().map(|part| change.at(part, format!("more than {MAX_CHANGES} changes"))));
    }
    for change in &changes {
        let path: Vec<&str> = change.parts.iter().map(|part| part.text.as_str()).collect();
        if FIXED.contains(&path[0]) || path == ["topology", "profile"] {
            let message = format!("`{}` cannot differ from profile to profile", path.join("."));
            wrong.push(change.at(&change.parts[0], message));
        }
    }
    if wrong.is_empty() { Ok(changes) } else { Err(wrong) }
}

/// A table is the paths that lead through it; anything else is a value.
fn flatten<'t>(
    profile: &str,
    path: Vec<(String, std::ops::Range<usize>)>,
    value: &Spanned<DeValue<'t>>,
    changes: &mut Vec<Change<'t>>,
) {
    if let Some(below) = value.get_ref().as_table() {
        for (key, value) in below {
            let mut path = path.clone();
            path.push((key.get_ref().to_string(), key.span()));
            flatten(profile, path, value, changes);
        }
        return;
    }
    let shown = path.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>().join(".");
    changes.push(Change {
        path: format!("profiles.{profile}.{shown}"),
        parts: path.into_iter().map(|(text, span)| Part { text, span }).collect(),
        value: value.get_ref().clone(),
        value_span: value.span(),
    });
}
