//! Small file systems of a part's own, so that a full disk is that part's trouble and nobody else's. It fills none.

use std::path::Path;
use std::process::{Command, Stdio};

use super::error::StackError;

/// Mounts a file system of this size, in memory, over an empty directory; does nothing where no size is wanted. It is gone
/// with the mount namespace, which must not outlive this process.
pub(crate) fn make_small(directory: &Path, bytes: Option<u64>) -> Result<(), StackError> {
    let Some(bytes) = bytes else { return Ok(()) };
    let failed = || StackError::while_doing("mounting a small file system");
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", &format!("size={bytes},mode=755"), "tmpfs"]).arg(directory);
    let status = mount.stdin(Stdio::null()).status().map_err(failed())?;
    if status.success() { Ok(()) } else { Err(failed()(std::io::Error::other(status.to_string()))) }
}
