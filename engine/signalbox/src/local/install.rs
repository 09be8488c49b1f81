//! Getting the parts of the local stack: once per checkout, into its `.local/` directory.
//!
//! Java parts come from Maven Central by the pinned deploy/local/pom.xml. Programs of the machine
//! come from its packages by deploy/local/prerequisites.sh. Both files are compiled in, so the
//! binary works outside its checkout too. A lock keeps two starts from installing at once; what is
//! complete is found without it, so a later start does nothing here.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::sleep;

use super::error::StackError;
use super::process::{Ending, Recipe, Running};
use super::programs::{find_postgres, find_program};
use super::progress::Progress;

const POM: &str = include_str!("../../../../deploy/local/pom.xml");
const PREREQUISITES: &str = include_str!("../../../../deploy/local/prerequisites.sh");
const KAFKA_VERSION: &str = "4.1.0";
const REGISTRY_VERSION: &str = "2.6.13.Final";
/// The copy of the pom that is the last thing written into a complete part.
const RECEIPT: &str = "pom.xml";
const LOCK_INTERVAL: Duration = Duration::from_millis(200);

/// Everything that a stack runs.
#[derive(Debug)]
pub(crate) struct Installed {
    pub(crate) java_parts: JavaParts,
    /// The directory of Postgres's server programs.
    pub(crate) postgres_bin: PathBuf,
}

/// The parts that run on Java.
#[derive(Debug)]
pub(crate) struct JavaParts {
    pub(crate) java: PathBuf,
    /// The directory of Kafka's jars.
    pub(crate) kafka_jars: PathBuf,
    pub(crate) registry_jar: PathBuf,
}

/// Finds all parts, getting first what is missing; `cache` is created if needed.
pub(crate) async fn install(cache: &Path, progress: &Progress) -> Result<Installed, StackError> {
    // Every child is started through this program, those that install included.
    if find_program("setpriv").is_none() {
        let detail = "  setpriv: install the package util-linux (the local stack needs Linux)";
        return Err(StackError::ProgramsMissing { detail: detail.to_owned() });
    }
    if let Some(installed) = find_all(cache) {
        return Ok(installed);
    }
    fs::create_dir_all(cache)
        .map_err(StackError::while_doing(format!("creating {}", cache.display())))?;
    let _lock = lock(cache, progress).await?;
    if find_programs(cache).is_none() {
        install_programs(cache, progress).await?;
    }
    for part in PARTS {
        if !part.is_complete(cache) {
            part.resolve(cache, progress).await?;
        }
    }
    find_all(cache).ok_or_else(|| StackError::ProgramsMissing {
        detail: "  they were still not found after their installation".to_owned(),
    })
}

/// The directory for the parts: `.local` of the checkout that the working directory is in, or of
/// the working directory itself.
pub(crate) fn default_cache() -> Result<PathBuf, StackError> {
    let here = std::env::current_dir()
        .map_err(StackError::while_doing("finding the working directory"))?;
    let checkout = here.ancestors().find(|above| above.join("deploy/local/pom.xml").is_file());
    Ok(checkout.unwrap_or(&here).join(".local"))
}

fn find_all(cache: &Path) -> Option<Installed> {
    if !PARTS.iter().all(|part| part.is_complete(cache)) {
        return None;
    }
    let (java, postgres_bin) = find_programs(cache)?;
    let jar = format!("apicurio-registry-app-{REGISTRY_VERSION}-runner.jar");
    let java_parts = JavaParts {
        java,
        kafka_jars: KAFKA.directory(cache),
        registry_jar: REGISTRY.directory(cache).join(jar),
    };
    Some(Installed { java_parts, postgres_bin })
}

/// Java and Postgres, if nothing that a start needs is missing. Maven is needed only until its
/// work is done.
fn find_programs(cache: &Path) -> Option<(PathBuf, PathBuf)> {
    if !PARTS.iter().all(|part| part.is_complete(cache)) {
        find_program("mvn")?;
    }
    Some((find_program("java")?, find_postgres()?))
}

/// A part that Maven resolves.
struct MavenPart {
    name: &'static str,
    version: &'static str,
    /// The goal of the pom that puts the part into a directory.
    goal: &'static str,
    /// How much is downloaded, for the one who waits.
    megabytes: u32,
}

const KAFKA: MavenPart = MavenPart {
    name: "kafka",
    version: KAFKA_VERSION,
    goal: "dependency:copy-dependencies@kafka",
    megabytes: 55,
};
const REGISTRY: MavenPart = MavenPart {
    name: "apicurio",
    version: REGISTRY_VERSION,
    goal: "dependency:unpack@apicurio",
    megabytes: 140,
};
const PARTS: [MavenPart; 2] = [KAFKA, REGISTRY];

impl MavenPart {
    fn directory(&self, cache: &Path) -> PathBuf {
        cache.join(format!("{}-{}", self.name, self.version))
    }

    /// Whether the part is there, as today's pom describes it.
    fn is_complete(&self, cache: &Path) -> bool {
        fs::read_to_string(self.directory(cache).join(RECEIPT)).is_ok_and(|pom| pom == POM)
    }

    /// Resolves the part beside its place and moves it there when it is whole.
    async fn resolve(&self, cache: &Path, progress: &Progress) -> Result<(), StackError> {
        let Self { name, version, megabytes, .. } = self;
        progress.say(&format!(
            "resolving {name} {version} from Maven Central (once, about {megabytes} MB)"
        ));
        let failed = || StackError::while_doing(format!("installing {name}"));
        let partial = cache.join(format!("{name}.partial"));
        remove(&partial).map_err(failed())?;
        let pom = cache.join("pom.xml");
        fs::write(&pom, POM).map_err(failed())?;
        let mut target = OsString::from("-Dpart.directory=");
        target.push(&partial);
        let words = ["-B", "-ntp", "-f", "pom.xml", self.goal].map(OsString::from);
        let recipe = Recipe {
            part: self.name,
            program: "mvn".into(),
            arguments: words.into_iter().chain([target]).collect(),
            directory: cache.to_owned(),
            account: None,
            ending: Ending::Killed,
            log: cache.join(format!("{name}.log")),
        };
        let resolved = Running::spawn(&recipe)?.finish(progress).await;
        resolved.map_err(|error| match error {
            StackError::PartFailed { log_tail, .. } => {
                StackError::Download { part: self.name, log_tail }
            }
            other => other,
        })?;
        let place = self.directory(cache);
        fs::write(partial.join(RECEIPT), POM)
            .and_then(|()| remove(&place))
            .and_then(|()| fs::rename(&partial, &place))
            .map_err(failed())
    }
}

fn remove(directory: &Path) -> std::io::Result<()> {
    if directory.exists() { fs::remove_dir_all(directory) } else { Ok(()) }
}

/// Installs the machine's packages where that is possible; the script names what it cannot.
async fn install_programs(cache: &Path, progress: &Progress) -> Result<(), StackError> {
    progress.say("some programs are missing: installing them if this machine allows it");
    let recipe = Recipe {
        part: "prerequisites",
        program: "/bin/sh".into(),
        arguments: ["-c", PREREQUISITES, "prerequisites.sh", "run"].map(OsString::from).into(),
        directory: cache.to_owned(),
        account: None,
        ending: Ending::Killed,
        log: cache.join("prerequisites.log"),
    };
    let installed = Running::spawn(&recipe)?.finish(progress).await;
    installed.map_err(|error| match error {
        StackError::PartFailed { log_tail, .. } => StackError::ProgramsMissing { detail: log_tail },
        other => other,
    })
}

/// Waits for the only right to install into `cache`; it ends with the returned file.
async fn lock(cache: &Path, progress: &Progress) -> Result<File, StackError> {
    let failed = || StackError::while_doing("locking the directory of the local stack's parts");
    let file = File::create(cache.join("install.lock")).map_err(failed())?;
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(failed()(error)),
            Err(TryLockError::WouldBlock) => {
                if !told {
                    progress.say("another start is installing the parts: waiting for it");
                    told = true;
                }
                sleep(LOCK_INTERVAL).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use super::{KAFKA, KAFKA_VERSION, PARTS, POM, RECEIPT, REGISTRY_VERSION, lock};
    use crate::local::progress::Progress;

    #[test]
    fn the_pom_pins_the_versions_that_name_the_directories() {
        assert!(POM.contains(&format!("<kafka.version>{KAFKA_VERSION}<")));
        assert!(POM.contains(&format!("<apicurio.version>{REGISTRY_VERSION}<")));
        for part in PARTS {
            let (_, execution) = part.goal.split_once('@').unwrap();
            assert!(POM.contains(&format!("<id>{execution}</id>")), "{execution}");
        }
    }

    #[test]
    fn a_part_is_complete_when_it_was_resolved_by_this_very_pom() {
        let cache = tempfile::tempdir().unwrap();
        assert!(!KAFKA.is_complete(cache.path()));
        let place = KAFKA.directory(cache.path());
        fs::create_dir(&place).unwrap();
        fs::write(place.join(RECEIPT), "<project>an older pom</project>").unwrap();
        assert!(!KAFKA.is_complete(cache.path()));
        fs::write(place.join(RECEIPT), POM).unwrap();
        assert!(KAFKA.is_complete(cache.path()));
    }

    #[tokio::test]
    async fn the_second_start_installs_after_the_first() {
        let cache = tempfile::tempdir().unwrap();
        let (say, heard) = std::sync::mpsc::sync_channel(1);
        let progress = Progress::new(move |line| say.send(line.to_owned()).unwrap());
        let first = lock(cache.path(), &progress).await.unwrap();
        let second = {
            let cache = cache.path().to_owned();
            tokio::spawn(async move { lock(&cache, &progress).await.is_ok() })
        };
        let waiting = tokio::task::spawn_blocking(move || heard.recv()).await.unwrap().unwrap();
        assert!(waiting.contains("another start") && !second.is_finished());
        drop(first);
        assert!(second.await.unwrap());
    }
}
