//! Flows that are stored before a run, as an installation has them that has worked for long: copies of a few that were led on
//! it, made by a script in Postgres.

use signalbox_store::Reader;

use super::load::{Besides, Load, Throughput};
use super::meter::Meter;
use super::{directory, write};
use crate::scene::{Console, Scene, SceneError};

const SCRIPT: &str = include_str!("../../../../deploy/bench/stored.sql");

/// What a copy is made of: led like all others, and counted by nobody.
const ORIGINALS: Throughput = Throughput {
    flows: 1_000,
    warm_up: 0,
    in_flight: 100,
    besides: Besides { poison: 0, repeats: 0, hung: 0 },
};

/// What is stored when the run begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored {
    /// Copies that were wished for; there may be a few more, as each original has as many.
    pub(crate) flows: u32,
    /// Bytes on disk of the database.
    pub(crate) bytes: i64,
}

/// Stores so many flows; none is stored where none is wished for.
pub(crate) async fn fill(
    scene: &Scene,
    console: Console,
    load: &mut Load,
    meter: &mut Meter,
    flows: u32,
) -> Result<Option<Stored>, SceneError> {
    if flows == 0 {
        return Ok(None);
    }
    console
        .say(&format!("storing {flows} flows, copies of {} that are led first", ORIGINALS.flows));
    load.throughput(ORIGINALS, meter).await?;
    let script = directory(scene).join("stored.sql");
    write(&script, &format!("\\set flows {flows}\n{SCRIPT}"))?;
    let database = &scene.settings().postgres;
    scene.stack().run_script(database, script, &console.progress()).await?;
    let bytes = Reader::connect(database)?.database_bytes().await?;
    Ok(Some(Stored { flows, bytes }))
}
