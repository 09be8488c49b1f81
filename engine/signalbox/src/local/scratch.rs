//! The temporary directory of one stack, and the clearing of those that a killed owner left.
//!
//! The owner holds a lock on a file inside; the kernel drops the lock with the process, so a
//! directory whose lock can be taken has no owner any more and the next start removes it. It lies
//! outside the checkout because the account that runs Postgres may not be able to enter that.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::error::StackError;

const PREFIX: &str = "signalbox-stack-";
const OWNER_LOCK: &str = "owner.lock";

/// A stack's directory; removed on drop unless it was asked to be kept.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    keep: bool,
    _owner: File,
}

impl Scratch {
    /// Removes what dead stacks left in `base`, then creates a directory there that every account
    /// may pass through and only we may list.
    pub(crate) fn create(base: &Path, keep: bool) -> Result<Self, StackError> {
        sweep(base);
        let failed = |source| StackError::System {
            doing: format!("creating a directory for the local stack in {}", base.display()),
            source,
        };
        let path = tempfile::Builder::new().prefix(PREFIX).tempdir_in(base).map_err(failed)?.keep();
        fs::set_permissions(&path, Permissions::from_mode(0o711)).map_err(failed)?;
        let owner = own(&path).map_err(failed)?;
        for inside in ["logs", "tmp"] {
            fs::create_dir(path.join(inside)).map_err(failed)?;
        }
        Ok(Self { path, keep, _owner: owner })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the directory outlives us.
    pub(crate) fn is_kept(&self) -> bool {
        self.keep
    }

    /// Where the part `name` writes its log.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.path.join("logs").join(format!("{name}.log"))
    }

    /// Options of every Java program: its temporary files (caches, unpacked native libraries) are put here, where they go
    /// with the rest, and it compiles quickly instead of well. A stack lives for minutes; in its first ones the optimising
    /// compiler took most of a core from everything else.
    pub(crate) fn java_options(&self) -> [OsString; 2] {
        let mut temporary = OsString::from("-Djava.io.tmpdir=");
        temporary.push(self.path.join("tmp"));
        ["-XX:TieredStopAtLevel=1".into(), temporary]
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing can be done about a failure here, and the next start sweeps what is left.
        let _ = if self.keep {
            fs::remove_file(self.path.join(OWNER_LOCK))
        } else {
            fs::remove_dir_all(&self.path)
        };
    }
}

/// Takes the owner's lock. The file appears under its name only once it is locked, so that a
/// sweep running at this moment never sees a directory that looks abandoned.
fn own(path: &Path) -> io::Result<File> {
    let unlocked = path.join("owner.lock.new");
    let file = File::create(&unlocked)?;
    file.lock()?;
    fs::rename(&unlocked, path.join(OWNER_LOCK))?;
    Ok(file)
}

/// Removes every stack directory in `base` whose owner is gone. What cannot be read or removed
/// belongs to somebody else and is left alone.
fn sweep(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let is_stack = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_stack && is_directory && has_no_owner(&entry.path()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn has_no_owner(stack: &Path) -> bool {
    File::open(stack.join(OWNER_LOCK)).is_ok_and(|lock| lock.try_lock().is_ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use super::{OWNER_LOCK, PREFIX, Scratch};

    #[test]
    fn a_stack_directory_disappears_with_its_owner() {
        let base = tempfile::tempdir().unwrap();
        let scratch = Scratch::create(base.path(), false).unwrap();
        assert!(scratch.path().join("logs").is_dir());
        drop(scratch);
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_kept_directory_survives_its_owner_and_the_next_sweep() {
        let base = tempfile::tempdir().unwrap();
        let kept = Scratch::create(base.path(), true).unwrap().path().to_owned();
        drop(Scratch::create(base.path(), false).unwrap());
        assert!(kept.join("logs").is_dir());
    }

    #[test]
    fn a_start_clears_the_directory_of_a_killed_stack_and_no_other() {
        let base = tempfile::tempdir().unwrap();
        let killed = base.path().join(format!("{PREFIX}killed"));
        fs::create_dir(&killed).unwrap();
        fs::write(killed.join(OWNER_LOCK), "").unwrap();
        let foreign = base.path().join("something-else");
        fs::create_dir(&foreign).unwrap();
        let living = Scratch::create(base.path(), false).unwrap();

        let next = Scratch::create(base.path(), false).unwrap();

        assert!(!killed.exists() && foreign.exists());
        assert!(living.path().exists() && next.path().exists());
    }
}
