//! Which Java there is. Nothing is installed here.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::EngineError;

/// Apache Kafka 4 needs it.
pub const JAVA_NEEDED: u32 = 17;

/// A Java that will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Java {
    /// The executable itself, no wrapper around it: signals must reach the Java machine.
    pub program: PathBuf,
    /// Its version, `17.0.15`.
    pub version: String,
    /// The build of its machine, which class-data archives depend on.
    pub build: String,
}

impl Java {
    /// The Java of `JAVA_HOME`, else of `PATH`.
    ///
    /// # Errors
    /// If there is none, or none that Apache Kafka runs on; says what to install.
    pub fn find() -> Result<Self, EngineError> {
        Self::find_in(env::var_os("JAVA_HOME").map(PathBuf::from), env::var_os("PATH").as_deref())
    }

    fn find_in(home: Option<PathBuf>, path: Option<&std::ffi::OsStr>) -> Result<Self, EngineError> {
        let program = match home.filter(|home| !home.as_os_str().is_empty()) {
            Some(home) => {
                let java = home.join("bin/java");
                if !is_executable(&java) {
                    return Err(EngineError::BrokenJavaHome { home, java });
                }
                java
            }
            None => program_in(path, "java").ok_or(EngineError::NoJava { needed: JAVA_NEEDED })?,
        };
        Self::ask(&program)
    }

    fn ask(program: &Path) -> Result<Self, EngineError> {
        let out = Command::new(program)
            .args(["-XshowSettings:properties", "-version"])
            .stdin(Stdio::null())
            .output()
            .map_err(|source| EngineError::Spawn { program: program.into(), source })?;
        let text = String::from_utf8_lossy(&out.stderr);
        Self::of_settings(program, &text)
    }

    fn of_settings(program: &Path, text: &str) -> Result<Self, EngineError> {
        let value = |name: &str| {
            text.lines().find_map(|line| line.trim().strip_prefix(name)?.trim_start().strip_prefix('=')).map(str::trim)
        };
        let wrong =
            |found: &str| EngineError::WrongJava { java: program.into(), found: found.to_owned(), needed: JAVA_NEEDED };
        let Some(version) = value("java.version").or_else(|| quoted_version(text)) else {
            let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("without a version");
            return Err(wrong(&format!("of an unknown version ({})", first.chars().take(200).collect::<String>())));
        };
        if major(version).is_none_or(|major| major < JAVA_NEEDED) {
            return Err(wrong(version));
        }
        let real = value("java.home").map(|home| Path::new(home).join("bin/java")).filter(|java| is_executable(java));
        Ok(Self {
            program: real.unwrap_or_else(|| program.into()),
            version: version.to_owned(),
            build: value("java.vm.version").unwrap_or(version).to_owned(),
        })
    }
}

/// What `java -version` itself says, for a Java that shows no properties: `openjdk version "11.0.20" 2023-07-18`. Other
/// lines may stand before it, as those of JAVA_TOOL_OPTIONS do.
fn quoted_version(text: &str) -> Option<&str> {
    let after = text.lines().find_map(|line| line.split_once(" version \"").map(|(_, after)| after));
    after?.split_once('"').map(|(version, _)| version)
}

/// `17.0.15` → 17, `1.8.0_402` → 8, `24-ea` → 24.
fn major(version: &str) -> Option<u32> {
    let mut parts = version.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    match parts.next()?.ok()? {
        1 => parts.next()?.ok(),
        major => Some(major),
    }
}

/// The first executable `name` in the folders of `path`.
pub(crate) fn program_in(path: Option<&std::ffi::OsStr>, name: &str) -> Option<PathBuf> {
    env::split_paths(path?).map(|folder| folder.join(name)).find(|program| is_executable(program))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn fake(folder: &Path, says: &str) -> PathBuf {
        let java = folder.join("bin/java");
        fs::create_dir_all(folder.join("bin")).expect("made");
        fs::write(&java, format!("#!/bin/sh\nprintf '%s\\n' '{says}' >&2\n")).expect("written");
        fs::set_permissions(&java, fs::Permissions::from_mode(0o755)).expect("set");
        java
    }

    #[test]
    fn versions_are_read_in_every_style() {
        for (text, wanted) in [("17.0.15", 17), ("1.8.0_402", 8), ("24-ea", 24), ("21", 21), ("11.0.2+9", 11)] {
            assert_eq!(major(text), Some(wanted), "{text}");
        }
        assert_eq!(major("unknown"), None);
    }

    #[test]
    fn no_java_wrong_java_and_broken_java_home_say_what_to_do() {
        let folder = tempfile::tempdir().expect("a folder");
        let none = Java::find_in(None, Some(folder.path().as_os_str())).expect_err("none").to_string();
        assert!(none.contains("JAVA_HOME") && none.contains("apt-get install openjdk-17"), "{none}");
        let none = Java::find_in(None, None).expect_err("none").to_string();
        assert!(none.contains("no Java found"), "{none}");
        let broken =
            Java::find_in(Some(folder.path().join("nowhere")), Some(OsStr::new("/"))).expect_err("broken").to_string();
        assert!(broken.contains("nowhere") && broken.contains("unset it"), "{broken}");

        fake(folder.path(), "    java.version = 11.0.2");
        let old = Java::find_in(Some(folder.path().into()), None).expect_err("old").to_string();
        assert!(old.contains("Java 11.0.2") && old.contains("needs Java 17"), "{old}");
        fake(folder.path(), "openjdk version \"11.0.20\" 2023-07-18");
        let old = Java::find_in(Some(folder.path().into()), None).expect_err("old").to_string();
        assert!(old.contains("is Java 11.0.20, but Apache Kafka needs Java 17 or newer"), "{old}");
        fake(folder.path(), "what do you want");
        let odd = Java::find_in(Some(folder.path().into()), None).expect_err("odd").to_string();
        assert!(odd.contains("unknown version (what do you want)"), "{odd}");
    }

    #[test]
    fn the_first_line_of_every_java_tells_its_version() {
        for (line, version, number) in [
            ("java version \"1.8.0_392\"", "1.8.0_392", 8),
            ("openjdk version \"1.8.0_392\"", "1.8.0_392", 8),
            ("openjdk version \"11.0.20\" 2023-07-18", "11.0.20", 11),
            ("openjdk version \"11.0.20.1\" 2023-08-24 LTS", "11.0.20.1", 11),
            ("openjdk version \"17.0.15\" 2025-04-15", "17.0.15", 17),
            ("openjdk version \"21-ea\" 2023-09-19", "21-ea", 21),
            // Oracle GraalVM, with its second line.
            (
                "java version \"21.0.1\" 2023-10-17\n\
                 Java(TM) SE Runtime Environment Oracle GraalVM 21.0.1+12.1 (build 21.0.1+12-jvmci-23.1-b19)",
                "21.0.1",
                21,
            ),
            ("Picked up JAVA_TOOL_OPTIONS: -Xmx1g\nopenjdk version \"24\" 2025-03-18", "24", 24),
        ] {
            assert_eq!(quoted_version(line), Some(version), "{line}");
            assert_eq!(major(version), Some(number), "{line}");
            let judged = Java::of_settings(Path::new("/java"), line);
            assert_eq!(judged.is_ok(), number >= JAVA_NEEDED, "{judged:?}");
            assert!(judged.err().is_none_or(|error| error.to_string().contains(version)), "{line}");
        }
        for nothing in ["", "what do you want", "openjdk version 17", "openjdk version \"17"] {
            assert_eq!(quoted_version(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn a_wrapper_is_seen_through() {
        let folder = tempfile::tempdir().expect("a folder");
        let real = fake(&folder.path().join("real"), "never asked");
        let says = format!(
            "  java.home = {}\n  java.version = 21.0.1\n  java.vm.version = 21.0.1+12",
            folder.path().join("real").display()
        );
        fake(&folder.path().join("wrapper"), &says);
        let java = Java::find_in(Some(folder.path().join("wrapper")), None).expect("found");
        assert_eq!(java, Java { program: real, version: "21.0.1".into(), build: "21.0.1+12".into() });
    }
}
