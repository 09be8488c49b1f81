//! Full disks: a file takes all the room that a server's own file system has, for some seconds. A server that dies of it
//! is started again when there is room, as whoever keeps it running would.

use std::fs::{self, File};
use std::io::Write;
use std::time::Duration;

use signalbox::scene::SceneError;
use tokio::time::sleep;

use super::fault::clock_ms;
use super::site::Site;
use crate::failure::Failure;

const BALLAST: &str = "ballast";
const FULL_FOR: Duration = Duration::from_secs(4);
/// How long a server that had no room may take to answer again.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes that are written at once.
const BLOCK: usize = 1 << 20;

/// Postgres has no room; from when on it takes work again.
pub(crate) async fn fill_postgres(site: &mut Site) -> Result<i64, Failure> {
    full_for_a_while(site, "postgres").await?;
    let reader = site.on.reader.clone();
    let answers = tokio::time::timeout(PATIENCE, reader.now()).await;
    if !matches!(answers, Ok(Ok(_))) {
        site.on.stack().kill_postgres().await;
        site.on.stack().start_postgres().await.map_err(SceneError::from)?;
    }
    Ok(clock_ms())
}

/// Kafka has no room; from when on it takes work again.
pub(crate) async fn fill_kafka(site: &mut Site) -> Result<i64, Failure> {
    full_for_a_while(site, "kafka").await?;
    // A broker that cannot write gives its log up and, having no other, ends; one that happened to write nothing lives.
    site.on.stack().kill_kafka().await;
    site.on.stack().start_kafka().await.map_err(SceneError::from)?;
    Ok(clock_ms())
}

async fn full_for_a_while(site: &mut Site, part: &str) -> Result<(), Failure> {
    let ballast = site.on.directory().join(part).join(BALLAST);
    let failed = || Failure::while_doing(format!("filling the disk of {part}"));
    let mut file = File::create(&ballast).map_err(failed())?;
    let block = vec![0; BLOCK];
    // Ends with the first block for which there is no room.
    while file.write_all(&block).is_ok() {}
    sleep(FULL_FOR).await;
    fs::remove_file(&ballast).map_err(failed())
}
