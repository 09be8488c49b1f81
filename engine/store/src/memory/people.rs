//! What is put down about people and for them: inputs that wait for a person, agreements, and whom flows recognise.
//! It refuses what the tables would refuse.

use signalbox_schemas::{LaneId, TopicName};

use super::{MemoryStore, Tables};
use crate::error::StoreError;
use crate::lane_store::TickWrite;
use crate::rows::{AssentRow, RecognitionRow};

impl MemoryStore {
    /// The offset that a lane reads next of an input.
    pub fn next_offset(&self, lane: LaneId, topic: &TopicName) -> i64 {
        let tables = self.lock();
        tables.inputs.get(&(lane, topic.clone())).map_or(0, |row| row.next_offset)
    }
}

impl Tables {
    /// Inputs that wait, and agreements: seat after seat, and nobody twice.
    pub(super) fn write_parked(&mut self, write: &TickWrite) -> Result<(), StoreError> {
        for key in &write.unparked {
            if self.parked.remove(key).is_none() {
                return Err(StoreError::Invariant("parked: a row is gone".to_owned()));
            }
        }
        for row in &write.parked {
            if self.parked.insert((row.flow, row.seq), row.clone()).is_some() {
                return Err(StoreError::BadData(sqlx::Error::RowNotFound));
            }
        }
        for row in &write.assents {
            let same = |held: &&AssentRow| {
                (held.flow, held.occasion) == (row.flow, row.occasion) && held.matter == row.matter
            };
            let held: Vec<&AssentRow> = self.assents.iter().filter(same).collect();
            let seats = u32::try_from(held.len()).unwrap_or(u32::MAX);
            if held.iter().any(|held| held.actor == row.actor)
                || row.seat != seats.saturating_add(1)
                || row.seat > row.people
            {
                return Err(StoreError::BadData(sqlx::Error::RowNotFound));
            }
            self.assents.push(row.clone());
        }
        Ok(())
    }

    /// The youngest finding about each customer.
    pub(super) fn write_recognitions(&mut self, rows: &[RecognitionRow]) {
        for row in rows {
            let held = self.recognitions.entry(row.subject).or_insert(*row);
            if held.at <= row.at {
                *held = *row;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use signalbox_schemas::{FlowId, Likeness, Micros, SubjectId};
    use uuid::Uuid;

    use super::*;
    use crate::rows::Known;

    #[test]
    fn what_was_found_out_first_does_not_replace_what_was_found_out_last() {
        let store = MemoryStore::new(1, Micros(0));
        let row = |known, at| RecognitionRow {
            subject: SubjectId(Uuid::nil()),
            known,
            flow: FlowId(Uuid::nil()),
            at: Micros(at),
        };
        let known = Some(Known { likeness: Likeness(Uuid::nil()), watched: false });
        let mut tables = store.lock();
        // Another lane commits the approval after the decline that came later.
        tables.write_recognitions(&[row(None, 2)]);
        tables.write_recognitions(&[row(known, 1)]);
        assert_eq!(tables.recognitions.get(&SubjectId(Uuid::nil())), Some(&row(None, 2)));
        tables.write_recognitions(&[row(known, 3)]);
        assert_eq!(tables.recognitions.get(&SubjectId(Uuid::nil())), Some(&row(known, 3)));
    }
}
