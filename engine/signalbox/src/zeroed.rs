//! Has the C library hand out zeroed memory, because librdkafka reads some that it never wrote.
//!
//! A fetch response that tells of a partition without a leader, as after a broker's crash, makes librdkafka 2.12.1 use
//! an uninitialised partition number as an index (confluentinc/librdkafka#5280, open): an engine and a reader died of it
//! in two of five restarts of Kafka. Zeroed, the number names partition 0 and broker 0, and what is wrong is skipped.
//! The C library reads the setting when a process starts, so the program starts itself again, once, as the same process.
//! To be removed with a librdkafka that is mended. It concerns C allocations only; Rust has an allocator of its own.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Each byte handed out is the complement of this number's last byte (mallopt(3), `M_PERTURB`). Children inherit it.
pub(crate) const VARIABLE: &str = "MALLOC_PERTURB_";
const ZEROES: &str = "255";

/// Goes on with zeroed allocations: returns at once where they are, else begins the program anew with them.
///
/// # Errors
/// The program's file cannot be started again; it can go on as it is.
pub fn ensure() -> io::Result<()> {
    let has_setting = std::env::var_os(VARIABLE).is_some();
    if has_setting || !cfg!(target_env = "gnu") {
        return Ok(());
    }
    let mut again = Command::new(std::env::current_exe()?);
    again.args(std::env::args_os().skip(1)).env(VARIABLE, ZEROES);
    // Returns only where it fails.
    Err(again.exec())
}
