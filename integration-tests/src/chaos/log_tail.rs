//! Cuts the tail off a partition's log while its broker is down, as a machine does that loses power before its disk has
//! everything. It knows no more of Kafka's files than where a batch ends.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use fastrand::Rng;

use crate::failure::Failure;

/// Topic whose tail is lost: one that lanes alone publish.
const EVENTS: &str = "payments.payout.events.v1-";
/// Bytes before a batch's own: its first offset, and how long the rest is.
const BATCH_HEAD: u64 = 12;
/// Batches that are lost at most.
const LOST_MAX: usize = 6;

/// Cuts the last batches off every partition of the events; how many were lost.
///
/// # Errors
/// `System` where a file cannot be read or cut.
pub(crate) fn cut(logs: &Path, random: &mut Rng) -> Result<usize, Failure> {
    let reading = || Failure::while_doing("cutting Kafka's logs");
    let mut lost = 0;
    for entry in fs::read_dir(logs).map_err(reading())? {
        let folder = entry.map_err(reading())?.path();
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_one = name.strip_prefix(EVENTS).is_some_and(|number| number.parse::<u16>().is_ok());
        if is_one && let Some(log) = last_segment(&folder).map_err(reading())? {
            lost += cut_log(&log, random.usize(1..=LOST_MAX)).map_err(reading())?;
        }
    }
    Ok(lost)
}

/// The file that is written to.
fn last_segment(folder: &Path) -> std::io::Result<Option<PathBuf>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "log") {
            segments.push(path);
        }
    }
    Ok(segments.into_iter().max())
}

/// Cuts so many batches off, but leaves the first.
fn cut_log(log: &Path, count: usize) -> std::io::Result<usize> {
    let begins = batches(log)?;
    let lost = count.min(begins.len().saturating_sub(1));
    let Some(end) = begins.len().checked_sub(lost).and_then(|kept| begins.get(kept)) else {
        return Ok(0);
    };
    OpenOptions::new().write(true).open(log)?.set_len(*end)?;
    Ok(lost)
}

/// Where each whole batch begins.
fn batches(log: &Path) -> std::io::Result<Vec<u64>> {
    let mut file = File::open(log)?;
    let end = file.metadata()?.len();
    let (mut at, mut begins) = (0, Vec::new());
    let mut head = [0; 12];
    while at + BATCH_HEAD <= end {
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut head)?;
        let [_, _, _, _, _, _, _, _, a, b, c, d] = head;
        let length = u64::from(u32::from_be_bytes([a, b, c, d]));
        if length == 0 || at + BATCH_HEAD + length > end {
            break;
        }
        begins.push(at);
        at += BATCH_HEAD + length;
    }
    Ok(begins)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{batches, cut_log};

    fn batch(offset: u64, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        [offset.to_be_bytes().as_slice(), &length, body].concat()
    }

    #[test]
    fn whole_batches_are_cut_and_the_first_stays() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("0.log");
        let all = [batch(0, b"first"), batch(1, b"second"), batch(2, b"third")];
        std::fs::write(&log, all.concat()).unwrap();
        assert_eq!(batches(&log).unwrap(), [0, 17, 35]);
        assert_eq!(cut_log(&log, 1).unwrap(), 1);
        assert_eq!(std::fs::read(&log).unwrap(), all[..2].concat());
        assert_eq!(cut_log(&log, 9).unwrap(), 1);
        assert_eq!(std::fs::read(&log).unwrap(), all[0]);
        assert_eq!(cut_log(&log, 9).unwrap(), 0);
    }
}
