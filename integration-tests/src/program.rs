//! Finds the built `signalbox` beside the running executable, and refuses one that its sources have overtaken:
//! a test of yesterday's program proves nothing. It builds nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::failure::Failure;

const NAME: &str = "signalbox";
/// Names the program of the release before.
const PREVIOUS: &str = "SIGNALBOX_PREVIOUS_PROGRAM";

/// The program under test.
///
/// # Errors
/// `Program` where it is missing or older than a file it was built from.
pub fn built_program() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe().map_err(Failure::while_doing("finding our own file"))?;
    // target/PROFILE/signalbox; tests lie in target/PROFILE/deps.
    let found =
        own.ancestors().skip(1).take(2).map(|above| above.join(NAME)).find(|file| file.is_file());
    let missing = || Failure::Program(format!("there is no {NAME} beside {}", own.display()));
    let program = found.ok_or_else(missing)?;
    let built = changed(&program)?;
    match newer_source(&program.with_extension("d"), built)? {
        None => Ok(program),
        Some(source) => {
            let old = format!("{} is older than {}", program.display(), source.display());
            Err(Failure::Program(old))
        }
    }
}

/// The program of the release before, which an upgrade begins with: the one that the environment names, otherwise the
/// program under test itself.
///
/// # Errors
/// `Program` where there is no such file; as `built_program`.
pub fn previous_program() -> Result<PathBuf, Failure> {
    let Some(named) = std::env::var_os(PREVIOUS) else { return built_program() };
    fs::canonicalize(&named).map_err(|error| {
        Failure::Program(format!("{PREVIOUS} is {}: {error}", Path::new(&named).display()))
    })
}

/// The first file that cargo lists as a source of the program and that changed after it was built.
fn newer_source(listing: &Path, built: SystemTime) -> Result<Option<PathBuf>, Failure> {
    let reading = format!("reading {}", listing.display());
    let text = fs::read_to_string(listing).map_err(Failure::while_doing(reading))?;
    Ok(sources(&text).into_iter().find(|source| {
        // A source that is gone changed too.
        fs::metadata(source).and_then(|found| found.modified()).map_or(true, |at| at > built)
    }))
}

/// Reads `program: source source ...`, where a blank within a name is escaped by a backslash.
fn sources(listing: &str) -> Vec<PathBuf> {
    let line = listing.lines().next().unwrap_or_default();
    let (_, files) = line.split_once(": ").unwrap_or_default();
    let (mut found, mut file) = (Vec::new(), String::new());
    let mut letters = files.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => file.extend(letters.next()),
            ' ' => found.push(std::mem::take(&mut file)),
            other => file.push(other),
        }
    }
    found.push(file);
    found.into_iter().filter(|file| !file.is_empty()).map(PathBuf::from).collect()
}

fn changed(file: &Path) -> Result<SystemTime, Failure> {
    let looking = format!("looking at {}", file.display());
    fs::metadata(file).and_then(|found| found.modified()).map_err(Failure::while_doing(looking))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::{changed, newer_source, sources};

    #[test]
    fn sources_are_read_as_cargo_lists_them() {
        let read = sources("/t/signalbox: /a/main.rs /a/with\\ blank.rs\n");
        assert_eq!(read, ["/a/main.rs", "/a/with blank.rs"].map(std::path::PathBuf::from));
    }

    #[test]
    fn a_program_that_was_built_before_its_source_changed_is_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let (source, listing) = (directory.path().join("main.rs"), directory.path().join("p.d"));
        std::fs::write(&source, "").unwrap();
        std::fs::write(&listing, format!("p: {}\n", source.display())).unwrap();
        let at = changed(&source).unwrap();
        assert_eq!(newer_source(&listing, at).unwrap(), None);
        let earlier = at - Duration::from_secs(1);
        assert_eq!(newer_source(&listing, earlier).unwrap(), Some(source));
    }
}
