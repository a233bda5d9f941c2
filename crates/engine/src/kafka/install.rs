//! Finds Apache Kafka's jars, or has Maven fetch them into the user's cache. Nothing is started here but Maven.

use std::env;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::EngineError;
use crate::guardian::{Guardian, GuardianCommand};
use crate::kafka::java::program_in;
use crate::kafka::{Progress, entropy, hex, last_lines};

/// What is used when nobody names a version: the newest that runs on Java 17.
pub const DEFAULT_VERSION: &str = "4.3.0";
/// Without it a broker logs nothing.
const LOG4J_VERSION: &str = "2.24.3";
/// Jars without which nothing starts, by the beginning of their names.
const NEEDED_JARS: &[&str] = &[
    "kafka-clients-",
    "kafka_2.13-",
    "kafka-server-",
    "kafka-metadata-",
    "kafka-raft-",
    "kafka-tools-",
    "scala-library-",
    "slf4j-api-",
    "log4j-core-",
    "log4j-slf4j-impl-",
];
const MAVEN_DEADLINE: Duration = Duration::from_secs(600);
const MAVEN_POLL: Duration = Duration::from_millis(20);

/// Which Kafka is wanted, and where to look.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// An exact version; `None`: that of `kafka_home`, else [`DEFAULT_VERSION`].
    pub version: Option<String>,
    /// An unpacked release.
    pub kafka_home: Option<PathBuf>,
    /// The user's cache folder.
    pub cache: Option<PathBuf>,
    /// Ends Maven should this program die meanwhile; without it Maven goes on to its own end.
    pub guardian: Option<GuardianCommand>,
}

/// Where the jars are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Version of Apache Kafka.
    pub version: String,
    /// The folder that holds the jars.
    pub libs: PathBuf,
    /// All jars, in the order of the class path.
    pub jars: Vec<PathBuf>,
    /// Where things made from these jars are kept for the next time.
    pub(crate) derived: PathBuf,
}

impl Wanted {
    /// What the environment says: `KAFKA_HOME`, `XDG_CACHE_HOME`, `HOME`; and an explicit version over it.
    #[must_use]
    pub fn from_env(version: Option<String>) -> Self {
        let folder = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| !path.as_os_str().is_empty());
        let absolute = |name: &str| folder(name).filter(|path| path.is_absolute());
        Self {
            version,
            kafka_home: folder("KAFKA_HOME"),
            cache: absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache"))),
            guardian: None,
        }
    }

    /// Finds what is wanted, if it is there.
    ///
    /// An explicit version that `KAFKA_HOME` does not hold is looked for in the cache.
    ///
    /// # Errors
    /// If `KAFKA_HOME` is broken, the version is impossible, or no cache folder is known.
    pub fn find(&self) -> Result<Option<Installed>, EngineError> {
        if let Some(version) = &self.version {
            check_version(version)?;
        }
        let cache = self.cache.as_ref().ok_or(EngineError::NoCache)?.join("metricstream");
        if let Some(home) = &self.kafka_home {
            let (jars, version) = check_home(home)?;
            check_version(&version)?;
            if self.version.as_ref().is_none_or(|wanted| *wanted == version) {
                return Ok(Some(Installed {
                    derived: cache.join(format!("home-{version}")),
                    version,
                    libs: home.join("libs"),
                    jars,
                }));
            }
        }
        let version = self.version();
        let folder = cache.join(format!("kafka-{version}"));
        // What is incomplete in our own cache is as good as absent: it is fetched again.
        Ok(check_home(&folder).ok().filter(|(_, found)| found == version).map(|(jars, _)| Installed {
            version: version.to_owned(),
            libs: folder.join("libs"),
            jars,
            derived: folder.join("derived"),
        }))
    }

    /// Finds what is wanted, or has Maven fetch it, saying so.
    ///
    /// # Errors
    /// As [`find`](Self::find), and if Maven is missing or fails.
    pub fn find_or_install(&self, progress: &Progress) -> Result<Installed, EngineError> {
        if let Some(found) = self.find()? {
            return Ok(found);
        }
        let version = self.version();
        let maven = program_in(env::var_os("PATH").as_deref(), "mvn")
            .ok_or_else(|| EngineError::NoMaven { version: version.to_owned() })?;
        let guardian = self.guardian.as_ref().map(Guardian::start).transpose()?;
        self.install_with(&maven, guardian.as_ref(), progress)
    }

    fn version(&self) -> &str {
        self.version.as_deref().unwrap_or(DEFAULT_VERSION)
    }

    fn install_with(
        &self,
        maven: &Path,
        guardian: Option<&Guardian>,
        progress: &Progress,
    ) -> Result<Installed, EngineError> {
        let version = self.version();
        let cache = self.cache.as_ref().ok_or(EngineError::NoCache)?.join("metricstream");
        fs::create_dir_all(&cache).map_err(EngineError::io("create", &cache))?;
        let _lock = lock(&cache.join(format!("kafka-{version}.lock")))?;
        // Another process may have installed it while this one waited.
        if let Some(found) = self.find()? {
            return Ok(found);
        }
        progress(&format!("installing Apache Kafka {version} into {}", cache.display()));
        let work = TempFolder::new(&cache, "installing")?;
        if let Some(guardian) = guardian {
            guardian.delete_at_end(&work.0)?;
        }
        run_maven(maven, guardian, version, &work.0)?;
        check_home(&work.0)
            .map_err(|error| EngineError::MavenFailed { version: version.to_owned(), detail: error.to_string() })?;
        let folder = cache.join(format!("kafka-{version}"));
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(EngineError::io("remove the incomplete", &folder))?;
        }
        fs::rename(&work.0, &folder).map_err(EngineError::io("move the finished installation to", &folder))?;
        self.find()?
            .ok_or_else(|| EngineError::BrokenKafka { folder, missing: "a jar that was there a moment ago".into() })
    }
}

impl Installed {
    /// The class path, jar by jar: a class-data archive does not work with wildcards.
    pub(crate) fn class_path(&self) -> Result<String, EngineError> {
        let jars: Option<Vec<&str>> =
            self.jars.iter().map(|jar| jar.to_str().filter(|text| !text.contains(':'))).collect();
        Ok(jars.ok_or_else(|| EngineError::Path { path: self.libs.clone() })?.join(":"))
    }
}

fn check_version(version: &str) -> Result<(), EngineError> {
    let bad = |why: &str| EngineError::KafkaVersion { version: version.to_owned(), why: why.to_owned() };
    let parts: Vec<&str> = version.split('.').collect();
    let digits = |part: &&str| !part.is_empty() && part.len() < 4 && part.bytes().all(|b| b.is_ascii_digit());
    if parts.len() != 3 || !parts.iter().all(digits) {
        return Err(bad("a version looks like 4.1.1"));
    }
    if parts[0].parse::<u32>().is_ok_and(|major| major < 4) {
        return Err(bad("4.0.0 is the oldest that is supported"));
    }
    Ok(())
}

/// The jars below `home`, and the version of Kafka among them.
fn check_home(home: &Path) -> Result<(Vec<PathBuf>, String), EngineError> {
    let libs = home.join("libs");
    let broken = |missing: String| EngineError::BrokenKafka { folder: home.into(), missing };
    let entries = fs::read_dir(&libs).map_err(|error| broken(format!("a readable folder libs ({error})")))?;
    let mut jars: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "jar"))
        .collect();
    jars.sort();
    let name = |jar: &Path| jar.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    let of = |prefix: &str| {
        // A digit follows: kafka-server-common is not kafka-server. Javadoc and test jars stand beside some.
        jars.iter().find(|jar| {
            let name = name(jar);
            let rest = name.strip_prefix(prefix).unwrap_or_default();
            rest.starts_with(|c: char| c.is_ascii_digit())
                && !rest.contains("-sources")
                && !rest.contains("-javadoc")
                && !rest.contains("-test")
        })
    };
    let missing: Vec<String> =
        NEEDED_JARS.iter().filter(|prefix| of(prefix).is_none()).map(|prefix| format!("libs/{prefix}*.jar")).collect();
    if !missing.is_empty() {
        return Err(broken(missing.join(", ")));
    }
    let version = of(NEEDED_JARS[0])
        .and_then(|jar| name(jar).strip_prefix(NEEDED_JARS[0])?.strip_suffix(".jar").map(str::to_owned))
        .ok_or_else(|| broken("a version in the name of libs/kafka-clients-*.jar".into()))?;
    Ok((jars, version))
}

/// Waits for the lock; it is released when the file is dropped.
pub(crate) fn lock(path: &Path) -> Result<File, EngineError> {
    let file =
        File::options().create(true).truncate(false).write(true).open(path).map_err(EngineError::io("open", path))?;
    file.lock().map_err(EngineError::io("lock", path))?;
    Ok(file)
}

/// A folder that is deleted when it is dropped, unless it was moved away.
pub(crate) struct TempFolder(pub(crate) PathBuf);

impl TempFolder {
    pub(crate) fn new(within: &Path, purpose: &str) -> Result<Self, EngineError> {
        let path = within.join(format!("{purpose}-{}", hex(&entropy::<8>()?)));
        fs::create_dir_all(&path).map_err(EngineError::io("create", &path))?;
        Ok(Self(path))
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn run_maven(maven: &Path, guardian: Option<&Guardian>, version: &str, folder: &Path) -> Result<(), EngineError> {
    let pom = folder.join("pom.xml");
    fs::write(&pom, pom_xml(version)).map_err(EngineError::io("write", &pom))?;
    let words = folder.join("maven.log");
    let log = File::create(&words).map_err(EngineError::io("create", &words))?;
    let both = log.try_clone().map_err(EngineError::io("share", &words))?;
    let failed = |detail: String| EngineError::MavenFailed { version: version.to_owned(), detail };
    let mut command = guardian.map_or_else(|| Ok(Command::new(maven)), |guardian| guardian.shim(maven))?;
    if guardian.is_none() {
        command.stdin(Stdio::null());
    }
    let mut child = command
        .args(["-B", "-q", "dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory=libs"])
        .current_dir(folder)
        .stdout(log)
        .stderr(both)
        .process_group(0)
        .spawn()
        .map_err(|source| EngineError::Spawn { program: maven.into(), source })?;
    let deadline = Instant::now() + MAVEN_DEADLINE;
    let status = loop {
        match child.try_wait().map_err(EngineError::io("wait for", maven))? {
            Some(status) => break status,
            None if Instant::now() > deadline => {
                if let Some(group) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
                    let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
                }
                let _ = child.wait();
                return Err(failed(format!("it was not done after {} s", MAVEN_DEADLINE.as_secs())));
            }
            None => thread::sleep(MAVEN_POLL),
        }
    };
    if status.success() {
        let _ = fs::remove_file(words);
        return Ok(());
    }
    let mut text = String::new();
    let _ = File::open(&words).and_then(|file| file.take(1 << 20).read_to_string(&mut text));
    let errors: Vec<&str> =
        text.lines().filter(|line| line.starts_with("[ERROR]") && line.len() > 10).take(3).collect();
    let detail = if errors.is_empty() { last_lines(&text, 3) } else { errors.join("\n") };
    Err(failed(format!("{status}\n{detail}")))
}

fn pom_xml(version: &str) -> String {
    let dependency = |group: &str, artifact: &str, version: &str| {
        format!(
            "    <dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version></dependency>\n"
        )
    };
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\n  <modelVersion>4.0.0</modelVersion>\n  \
         <groupId>metricstream</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>\n  \
         <dependencies>\n{}{}{}  </dependencies>\n</project>\n",
        dependency("org.apache.kafka", "kafka_2.13", version),
        dependency("org.apache.kafka", "kafka-tools", version),
        dependency("org.apache.logging.log4j", "log4j-slf4j-impl", LOG4J_VERSION),
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::{Arc, Mutex};

    use super::*;

    fn jars(home: &Path, version: &str, except: &str) {
        let libs = home.join("libs");
        fs::create_dir_all(&libs).expect("made");
        for prefix in NEEDED_JARS.iter().filter(|prefix| **prefix != except) {
            let version = if prefix.starts_with("kafka") { version } else { "1.0" };
            fs::write(libs.join(format!("{prefix}{version}.jar")), "").expect("written");
        }
        fs::write(libs.join(format!("kafka-server-common-{version}.jar")), "").expect("written");
    }

    fn wanted(cache: &Path) -> Wanted {
        Wanted { version: Some("4.1.1".into()), kafka_home: None, cache: Some(cache.into()), guardian: None }
    }

    fn script(folder: &Path, text: &str) -> PathBuf {
        let path = folder.join("mvn");
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("set");
        path
    }

    #[test]
    fn kafka_home_is_used_unless_another_version_is_asked_for() {
        let (home, cache) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        jars(home.path(), "4.1.0", "");
        jars(&cache.path().join("metricstream/kafka-4.1.1"), "4.1.1", "");
        let mut wanted = Wanted { kafka_home: Some(home.path().into()), ..wanted(cache.path()) };
        assert_eq!(wanted.find().expect("sound").expect("found").version, "4.1.1");
        wanted.version = Some("4.1.0".into());
        assert_eq!(wanted.find().expect("sound").expect("found").libs, home.path().join("libs"));
        wanted.version = None;
        let found = wanted.find().expect("sound").expect("found");
        assert_eq!((found.version.as_str(), found.jars.len()), ("4.1.0", NEEDED_JARS.len() + 1));
        assert!(found.class_path().expect("a path").contains("/kafka-clients-4.1.0.jar:"));
    }

    #[test]
    fn a_broken_kafka_home_says_what_is_missing() {
        let (home, cache) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let wanted = Wanted {
            version: None,
            kafka_home: Some(home.path().into()),
            cache: Some(cache.path().into()),
            guardian: None,
        };
        let error = wanted.find().expect_err("no libs").to_string();
        assert!(error.contains("a readable folder libs"), "{error}");
        jars(home.path(), "4.1.0", "kafka-server-");
        let error = wanted.find().expect_err("a jar is missing").to_string();
        assert!(error.contains("libs/kafka-server-*.jar is missing") && error.contains("unset it"), "{error}");
    }

    #[test]
    fn impossible_versions_are_refused_before_anything_is_fetched() {
        let cache = tempfile::tempdir().expect("a folder");
        for version in ["3.9.0", "latest", "4.1", "4.1.0</version>", "../x", "4.1.00000"] {
            let wanted = Wanted { version: Some(version.into()), ..wanted(cache.path()) };
            assert!(matches!(wanted.find(), Err(EngineError::KafkaVersion { .. })), "{version}");
        }
        assert!(matches!(Wanted::default().find(), Err(EngineError::NoCache)));
    }

    #[test]
    fn what_maven_brings_is_moved_into_the_cache_and_asked_for_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let prototype = folder.path().join("prototype");
        jars(&prototype, "4.1.1", "");
        let count = folder.path().join("count");
        let maven = script(
            folder.path(),
            &format!(
                "echo x >> {}; grep -q '>4.1.1<' pom.xml && cp -r {}/libs .",
                count.display(),
                prototype.display()
            ),
        );
        let wanted = wanted(&folder.path().join("cache"));
        assert_eq!(wanted.find().expect("sound"), None);
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&said);
        let progress = move |text: &str| heard.lock().expect("unpoisoned").push(text.to_owned());
        // Two at once: the second waits and finds.
        let both = thread::scope(|scope| {
            let run = || wanted.install_with(&maven, None, &progress).expect("installed");
            let (one, two) = (scope.spawn(run), scope.spawn(run));
            (one.join().expect("joined"), two.join().expect("joined"))
        });
        assert_eq!(both.0, both.1);
        assert_eq!(fs::read_to_string(&count).expect("counted"), "x\n");
        assert!(said.lock().expect("unpoisoned")[0].contains("installing Apache Kafka 4.1.1"));
        // A jar that went missing later is fetched again.
        fs::remove_file(&both.0.jars[0]).expect("removed");
        assert_eq!(wanted.find().expect("sound"), None);
        wanted.install_with(&maven, None, &|_| {}).expect("repaired");
        let left: Vec<_> = fs::read_dir(folder.path().join("cache/metricstream"))
            .expect("read")
            .map(|e| e.expect("read").file_name())
            .collect();
        assert_eq!(left.len(), 2, "the installation and its lock, no temporary folder: {left:?}");
    }

    #[test]
    fn a_failing_maven_is_quoted_and_leaves_nothing_half_done() {
        let folder = tempfile::tempdir().expect("a folder");
        let wanted = wanted(&folder.path().join("cache"));
        let maven = script(folder.path(), "echo '[ERROR] Could not transfer artifact: no route'; exit 1");
        let error = wanted.install_with(&maven, None, &|_| {}).expect_err("failed").to_string();
        assert!(error.contains("no route") && error.contains("settings.xml"), "{error}");
        let maven = script(folder.path(), "mkdir libs");
        let error = wanted.install_with(&maven, None, &|_| {}).expect_err("brought nothing").to_string();
        assert!(error.contains("kafka-clients-"), "{error}");
        assert_eq!(wanted.find().expect("sound"), None);
    }
}
