//! Every SQL statement and migration of the product, one file per table, functions that take slices; and the store's
//! twin in memory. It knows neither Kafka nor journeys nor vendors: rows go in and out as plain data.

mod attempts;
mod error;
mod growing;
mod growth;
mod journal;
mod keys;
mod lane_store;
mod memory;
mod migration_rows;
mod pool;
mod postgres;
mod reader;
mod reader_rows;
mod recovery;
mod recovery_rows;
mod roles;
mod rows;
mod schema;
mod tables;

pub use attempts::{AttemptStore, Permit, PgAttempts};
pub use error::StoreError;
pub use growth::{Grown, Growth, GrowthHindrance, GrowthOrder};
pub use journal::anchor::{Anchor, AnchorKey, AnchorKeyError, AnchorPublicKey};
pub use journal::export::{
    ExportCheck, ExportHeader, ExportLine, ExportReport, Finding, LeftOut, Stretch, StretchReport,
    left_out,
};
pub use journal::{ChainBreak, GENESIS, JournalRow, seal, verify};
pub use keys::{Erasure, ErasureOrder, Hindrance, KeyRow, NewKey, RewrapOrder, RewrappedKey};
pub use lane_store::{
    ClaimedLane, Commit, Contest, Installation, LaneStore, Losers, PinnedJourney, StopCause,
    TickWrite, WorkerShare,
};
pub use memory::{MemoryBackup, MemoryStore};
pub use migration_rows::{
    MigratedFlow, MigrationCount, MigrationMove, MigrationRow, MigrationStatus, OpenMigration,
};
pub use postgres::PgLaneStore;
pub use reader::Reader;
pub use reader_rows::{JournalSpan, LaneStatus, ServerFacts};
pub use recovery::RecoveryStore;
pub use recovery_rows::{
    DoubtfulAttempt, ReadBefore, Remembered, Settled, SettledLane, Settlement, StoredLane,
};
pub use roles::role_script;
pub use rows::{
    AssentRow, AttemptRow, CommandRow, Disposition, FlowRow, FlowWrite, Forgotten, InputRow,
    JsonText, Known, LaneFence, LaneMove, LoadedFlow, NewAttempt, OutputRow, ParkedRow, PeerRow,
    PermitRequest, PublishedEnding, RecognitionRow, Standing, StoredResult, TimerRow,
};
pub use schema::{Migrated, migrate, require_known_schema};
