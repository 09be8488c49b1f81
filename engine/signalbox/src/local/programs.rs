//! Finding the programs of this machine that the local stack runs.
//!
//! Looks only; what is missing is installed, or named, by deploy/local/prerequisites.sh, which
//! looks in the same places.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where Debian and its kin put the server programs, one directory per major version.
const POSTGRES_MAJORS: &str = "/usr/lib/postgresql";
/// The major version that we test with; an older one lacks settings that we use.
const POSTGRES_MAJOR: u32 = 15;
/// The programs that make a directory one of server programs.
const POSTGRES_PROGRAMS: [&str; 3] = ["initdb", "postgres", "createdb"];

/// The program `name` on the search path.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    find_in(&env::var_os("PATH")?, name)
}

/// The directory of Postgres's server programs: `PG_BIN` if it is set, or else the packages'
/// directories, or else what `pg_config` says.
pub(crate) fn find_postgres() -> Option<PathBuf> {
    if let Some(chosen) = env::var_os("PG_BIN").filter(|chosen| !chosen.is_empty()) {
        return Some(PathBuf::from(chosen)).filter(|bin| has_server(bin));
    }
    let entries = fs::read_dir(POSTGRES_MAJORS).into_iter().flatten().flatten();
    let installed = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let packaged = by_preference(installed.collect());
    packaged
        .into_iter()
        .map(|major| Path::new(POSTGRES_MAJORS).join(major.to_string()).join("bin"))
        .chain(configured_postgres())
        .find(|bin| has_server(bin))
}

/// The tested major first, then newer ones from old to new; older ones are left out.
fn by_preference(mut majors: Vec<u32>) -> Vec<u32> {
    majors.retain(|major| *major >= POSTGRES_MAJOR);
    majors.sort_unstable();
    majors
}

fn configured_postgres() -> Option<PathBuf> {
    let config = find_program("pg_config")?;
    let asked = Command::new(config).arg("--bindir").stdin(Stdio::null()).output().ok()?;
    let bin = String::from_utf8(asked.stdout).ok()?;
    asked.status.success().then(|| PathBuf::from(bin.trim_end()))
}

fn has_server(bin: &Path) -> bool {
    POSTGRES_PROGRAMS.iter().all(|program| is_program(&bin.join(program)))
}

fn find_in(path: &OsStr, name: &str) -> Option<PathBuf> {
    env::split_paths(path).map(|directory| directory.join(name)).find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::{by_preference, find_in, has_server};

    fn install(directory: &Path, name: &str, mode: u32) {
        fs::write(directory.join(name), "").unwrap();
        fs::set_permissions(directory.join(name), Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_tested_major_comes_before_newer_ones_and_older_ones_never() {
        assert_eq!(by_preference(vec![17, 13, 15, 16]), [15, 16, 17]);
        assert_eq!(by_preference(vec![18, 17]), [17, 18]);
        assert!(by_preference(vec![14]).is_empty());
    }

    #[test]
    fn a_file_that_cannot_be_run_is_no_program() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        install(first.path(), "java", 0o644);
        install(second.path(), "java", 0o755);
        let path = std::env::join_paths([first.path(), second.path()]).unwrap();
        assert_eq!(find_in(&path, "java"), Some(second.path().join("java")));
        assert_eq!(find_in(&path, "mvn"), None);
    }

    #[test]
    fn client_programs_alone_are_no_server() {
        let bin = tempfile::tempdir().unwrap();
        install(bin.path(), "createdb", 0o755);
        assert!(!has_server(bin.path()));
        install(bin.path(), "initdb", 0o755);
        install(bin.path(), "postgres", 0o755);
        assert!(has_server(bin.path()));
    }
}
