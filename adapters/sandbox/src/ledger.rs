//! The sandbox's own book of effects: one entry per transfer that a vendor took on.
//!
//! It decides what a repeated idempotency key means and keeps entries in a file where asked to.
//! It does not know statuses: those follow from an entry and the clock (see `increase`).

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::clock::{Millis, scramble};
use crate::personas::Payout;

/// How many pairs of duplicate effects the summary names; the count itself has no limit.
const DUPLICATES_NAMED_MAX: usize = 100;
const ID_ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The ledger file cannot be used; an operator must move it away or free the disk.
#[derive(Debug, Error)]
pub enum LedgerError {
    /// Reading or writing failed.
    #[error("ledger file: {0}")]
    Io(#[from] io::Error),
    /// A line that is not the last is not an entry.
    #[error("ledger file: line {line} is not an entry")]
    Corrupt {
        /// Line number, counted from 1.
        line: usize,
        /// What the parser said.
        source: serde_json::Error,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TransferKind {
    AchTransfer,
    RealTimePaymentsTransfer,
}

impl TransferKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AchTransfer => "ach_transfer",
            Self::RealTimePaymentsTransfer => "real_time_payments_transfer",
        }
    }
}

/// A transfer as asked for, before it has an identity.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) kind: TransferKind,
    pub(crate) idempotency_key: Option<Arc<str>>,
    pub(crate) amount: i64,
    pub(crate) account_number: String,
    pub(crate) routing_number: String,
    pub(crate) beneficiary: String,
    /// The end-to-end reference that travels with the money; empty where there is none.
    pub(crate) reference: String,
    pub(crate) payout: Payout,
    /// The request body as received: a repeated key is compared with it.
    pub(crate) request: Arc<str>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Effect {
    pub(crate) transfer_id: String,
    pub(crate) created_at_ms: Millis,
    #[serde(flatten)]
    pub(crate) order: Order,
    #[serde(skip)]
    pub(crate) canceled_at_ms: Option<Millis>,
    #[serde(skip)]
    pub(crate) requests_seen: u32,
}

impl Effect {
    /// Place in the book, counted from 1; the identifier holds it.
    pub(crate) fn sequence(&self) -> usize {
        id_index(&self.transfer_id).map_or(0, |index| index.saturating_add(1))
    }
}

/// What became of a posted order.
#[derive(Debug)]
pub(crate) enum Posted {
    Created(Effect),
    Replayed(Effect),
    /// The key belongs to another transfer.
    KeyUsed {
        transfer_id: String,
    },
    /// The documented limit of entries is reached.
    Full,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Duplicate {
    pub(crate) amount: i64,
    pub(crate) account_number: String,
    pub(crate) reference: String,
    pub(crate) first_transfer_id: String,
    pub(crate) again_transfer_id: String,
}

#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) effects: usize,
    pub(crate) distinct_keys: usize,
    pub(crate) duplicate_effects: usize,
    pub(crate) duplicates: Vec<Duplicate>,
}

/// One line of the ledger file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Effect(Effect),
    Seen { index: usize },
    Canceled { index: usize, at_ms: Millis },
    Clock { offset_ms: i64 },
}

#[derive(Debug)]
pub(crate) struct Ledger {
    book: Mutex<Book>,
    seed: u64,
    effects_max: usize,
}

#[derive(Debug, Default)]
struct Book {
    effects: Vec<Effect>,
    by_key: HashMap<Arc<str>, usize>,
    /// First entry per (amount, account, reference): a second one is money sent twice.
    by_payment: HashMap<u64, usize>,
    duplicate_effects: usize,
    duplicates: Vec<Duplicate>,
    clock_offset_ms: i64,
    file: Option<File>,
}

impl Ledger {
    pub(crate) fn open(
        seed: u64,
        effects_max: usize,
        file: Option<&Path>,
    ) -> Result<Self, LedgerError> {
        let mut book = Book::default();
        if let Some(path) = file {
            book.restore(path)?;
        }
        Ok(Self { book: Mutex::new(book), seed, effects_max })
    }

    /// Offset that the clock had when the file was last written.
    pub(crate) fn clock_offset_ms(&self) -> i64 {
        self.lock().clock_offset_ms
    }

    pub(crate) fn post(&self, order: Order, now: Millis) -> Result<Posted, LedgerError> {
        let mut book = self.lock();
        let known = order.idempotency_key.as_ref().and_then(|key| book.by_key.get(key)).copied();
        if let Some(index) = known {
            return book.repeat(index, &order);
        }
        let index = book.effects.len();
        if index >= self.effects_max {
            return Ok(Posted::Full);
        }
        let transfer_id = format!("{}_{}", order.kind.name(), id_suffix(self.seed, index));
        let effect = Effect {
            transfer_id,
            created_at_ms: now,
            order,
            canceled_at_ms: None,
            requests_seen: 1,
        };
        book.write(&Line::Effect(effect.clone()))?;
        book.enter(effect.clone());
        Ok(Posted::Created(effect))
    }

    pub(crate) fn by_id(&self, kind: TransferKind, transfer_id: &str) -> Option<Effect> {
        let index = id_index(transfer_id)?;
        let book = self.lock();
        let effect = book.effects.get(index)?;
        (effect.order.kind == kind && effect.transfer_id == transfer_id).then(|| effect.clone())
    }

    pub(crate) fn by_key(&self, key: &str) -> Option<Effect> {
        let book = self.lock();
        let index = *book.by_key.get(key)?;
        book.effects.get(index).cloned()
    }

    /// Cancels if `may` says that the entry is still pending; `None` if there is no such entry.
    pub(crate) fn cancel(
        &self,
        kind: TransferKind,
        transfer_id: &str,
        now: Millis,
        may: impl Fn(&Effect) -> bool,
    ) -> Result<Option<(Effect, bool)>, LedgerError> {
        let mut book = self.lock();
        let Some(index) = id_index(transfer_id) else {
            return Ok(None);
        };
        let Some(found) = book.effects.get(index).cloned() else {
            return Ok(None);
        };
        if found.order.kind != kind || found.transfer_id != transfer_id {
            return Ok(None);
        }
        if !may(&found) {
            return Ok(Some((found, false)));
        }
        book.write(&Line::Canceled { index, at_ms: now })?;
        book.cancel(index, now);
        Ok(Some((Effect { canceled_at_ms: Some(now), ..found }, true)))
    }

    /// Entries from `since` (counted from 0) on, oldest first, at most `limit`.
    pub(crate) fn page(&self, since: usize, limit: usize) -> Vec<Effect> {
        self.lock().effects.iter().skip(since).take(limit).cloned().collect()
    }

    /// Entries of one kind, newest first, from `before` (exclusive) down, and where to go on.
    ///
    /// Looks at 10,000 entries at most, so that one request never walks the whole book.
    pub(crate) fn newest(
        &self,
        kind: TransferKind,
        before: Option<usize>,
        limit: usize,
    ) -> (Vec<Effect>, Option<usize>) {
        let book = self.lock();
        let start = before.unwrap_or(usize::MAX).min(book.effects.len());
        let floor = start.saturating_sub(10_000);
        let mut found = Vec::new();
        for index in (floor..start).rev() {
            let Some(effect) = book.effects.get(index) else {
                continue;
            };
            if effect.order.kind != kind {
                continue;
            }
            found.push(effect.clone());
            if found.len() == limit {
                return (found, (index > 0).then_some(index));
            }
        }
        (found, (floor > 0).then_some(floor))
    }

    pub(crate) fn totals(&self) -> Totals {
        let book = self.lock();
        Totals {
            effects: book.effects.len(),
            distinct_keys: book.by_key.len(),
            duplicate_effects: book.duplicate_effects,
            duplicates: book.duplicates.clone(),
        }
    }

    pub(crate) fn keep_clock(&self, offset_ms: i64) -> Result<(), LedgerError> {
        let mut book = self.lock();
        book.write(&Line::Clock { offset_ms })?;
        book.clock_offset_ms = offset_ms;
        Ok(())
    }

    /// Empties the book and its file.
    pub(crate) fn reset(&self) -> Result<(), LedgerError> {
        let mut book = self.lock();
        if let Some(file) = &book.file {
            file.set_len(0)?;
        }
        let file = book.file.take();
        *book = Book { file, ..Book::default() };
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        // A handler that panicked cannot have left a half-entered effect: `enter` comes last.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn repeat(&mut self, index: usize, order: &Order) -> Result<Posted, LedgerError> {
        let Some(known) = self.effects.get(index).cloned() else {
            return Ok(Posted::Full);
        };
        self.write(&Line::Seen { index })?;
        self.see(index);
        if same_request(&known.order, order) {
            Ok(Posted::Replayed(known))
        } else {
            Ok(Posted::KeyUsed { transfer_id: known.transfer_id })
        }
    }

    fn enter(&mut self, effect: Effect) {
        let index = self.effects.len();
        if let Some(key) = &effect.order.idempotency_key {
            self.by_key.insert(Arc::clone(key), index);
        }
        if !effect.order.reference.is_empty() {
            let first = *self.by_payment.entry(payment_hash(&effect.order)).or_insert(index);
            if first != index {
                self.count_duplicate(first, &effect);
            }
        }
        self.effects.push(effect);
    }

    fn count_duplicate(&mut self, first: usize, again: &Effect) {
        self.duplicate_effects += 1;
        let Some(first) = self.effects.get(first) else {
            return;
        };
        if self.duplicates.len() < DUPLICATES_NAMED_MAX {
            self.duplicates.push(Duplicate {
                amount: again.order.amount,
                account_number: again.order.account_number.clone(),
                reference: again.order.reference.clone(),
                first_transfer_id: first.transfer_id.clone(),
                again_transfer_id: again.transfer_id.clone(),
            });
        }
    }

    fn see(&mut self, index: usize) {
        if let Some(effect) = self.effects.get_mut(index) {
            effect.requests_seen = effect.requests_seen.saturating_add(1);
        }
    }

    fn cancel(&mut self, index: usize, at_ms: Millis) {
        if let Some(effect) = self.effects.get_mut(index) {
            effect.canceled_at_ms = Some(at_ms);
        }
    }

    /// Appends before the answer leaves, so that no acknowledged effect dies with the process.
    fn write(&mut self, line: &Line) -> Result<(), LedgerError> {
        if let Some(file) = &mut self.file {
            let mut bytes = serde_json::to_vec(line).map_err(io::Error::from)?;
            bytes.push(b'\n');
            file.write_all(&bytes)?;
        }
        Ok(())
    }

    fn restore(&mut self, path: &Path) -> Result<(), LedgerError> {
        let file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
        let mut reader = BufReader::new(&file);
        let mut whole_bytes: u64 = 0;
        let mut text = String::new();
        for line in 1.. {
            text.clear();
            let length = reader.read_line(&mut text)?;
            if !text.ends_with('\n') {
                // The process died inside its last write; nobody was told of that effect.
                break;
            }
            let parsed = serde_json::from_str(&text)
                .map_err(|source| LedgerError::Corrupt { line, source })?;
            self.apply(parsed);
            whole_bytes = whole_bytes.saturating_add(u64::try_from(length).unwrap_or_default());
        }
        file.set_len(whole_bytes)?;
        self.file = Some(file);
        Ok(())
    }

    fn apply(&mut self, line: Line) {
        match line {
            Line::Effect(effect) => self.enter(Effect { requests_seen: 1, ..effect }),
            Line::Seen { index } => self.see(index),
            Line::Canceled { index, at_ms } => self.cancel(index, at_ms),
            Line::Clock { offset_ms } => self.clock_offset_ms = offset_ms,
        }
    }
}

/// Same vendor resource and same arguments; the order of JSON members does not matter.
fn same_request(known: &Order, again: &Order) -> bool {
    let body = |order: &Order| serde_json::from_str::<Value>(&order.request).ok();
    known.kind == again.kind && (known.request == again.request || body(known) == body(again))
}

fn payment_hash(order: &Order) -> u64 {
    let mut hasher = DefaultHasher::new();
    (order.amount, &order.account_number, &order.reference).hash(&mut hasher);
    hasher.finish()
}

/// 20 characters as the vendor's identifiers have them: 13 that look random, 7 that hold the index.
fn id_suffix(seed: u64, index: usize) -> String {
    let index = u64::try_from(index).unwrap_or(u64::MAX);
    let random = scramble(seed, index);
    let letters = |bits: u64, count: u32| (0..count).map(move |place| letter(bits, place));
    letters(random, 13).chain(letters(index, 7)).collect()
}

fn letter(bits: u64, place: u32) -> char {
    let position = usize::try_from((bits >> (place * 5)) & 31).unwrap_or_default();
    ID_ALPHABET.get(position).map_or('a', |byte| char::from(*byte))
}

fn id_index(transfer_id: &str) -> Option<usize> {
    let letters = transfer_id.len().checked_sub(7).and_then(|start| transfer_id.get(start..))?;
    letters.bytes().rev().try_fold(0_usize, |index, byte| {
        let position = ID_ALPHABET.iter().position(|letter| *letter == byte)?;
        Some((index << 5) | position)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use std::sync::Arc;

    use super::{Ledger, Order, Posted, TransferKind, id_index, id_suffix};
    use crate::personas::Payout;

    fn order(key: &str, request: &str) -> Order {
        Order {
            kind: TransferKind::AchTransfer,
            idempotency_key: Some(Arc::from(key)),
            amount: 100,
            account_number: "987654321".into(),
            routing_number: "101050001".into(),
            beneficiary: "Bob Clear".into(),
            reference: "e2e-1".into(),
            payout: Payout::Settles,
            request: Arc::from(request),
        }
    }

    fn ledger() -> Ledger {
        Ledger::open(1, 10, None).unwrap()
    }

    fn created(posted: Posted) -> String {
        match posted {
            Posted::Created(effect) => effect.transfer_id,
            other => panic!("not created: {other:?}"),
        }
    }

    #[test]
    fn the_same_key_with_the_same_request_is_one_effect() {
        let ledger = ledger();
        let id = created(ledger.post(order("k", r#"{"a":1,"b":2}"#), 0).unwrap());
        let again = ledger.post(order("k", r#"{"b":2, "a":1}"#), 5).unwrap();
        assert!(matches!(again, Posted::Replayed(effect) if effect.transfer_id == id));
        assert_eq!(ledger.totals().effects, 1);
        assert_eq!(ledger.by_key("k").unwrap().requests_seen, 2);
    }

    #[test]
    fn the_same_key_with_another_request_names_the_first_transfer() {
        let ledger = ledger();
        let id = created(ledger.post(order("k", r#"{"a":1}"#), 0).unwrap());
        let other = ledger.post(order("k", r#"{"a":2}"#), 0).unwrap();
        assert!(matches!(other, Posted::KeyUsed { transfer_id } if transfer_id == id));
    }

    #[test]
    fn money_sent_twice_under_two_keys_is_counted() {
        let ledger = ledger();
        let first = created(ledger.post(order("k1", "{}"), 0).unwrap());
        let again = created(ledger.post(order("k2", "{}"), 0).unwrap());
        let totals = ledger.totals();
        assert_eq!(totals.duplicate_effects, 1);
        let named = totals.duplicates.first().unwrap();
        assert_eq!((&named.first_transfer_id, &named.again_transfer_id), (&first, &again));
    }

    #[test]
    fn a_full_book_takes_nothing_more() {
        let ledger = Ledger::open(1, 1, None).unwrap();
        created(ledger.post(order("k1", "{}"), 0).unwrap());
        assert!(matches!(ledger.post(order("k2", "{}"), 0).unwrap(), Posted::Full));
    }

    #[test]
    fn identifiers_lead_back_to_their_entries() {
        for index in [0, 1, 31, 32, 99_999, 1_999_999] {
            let suffix = id_suffix(7, index);
            assert_eq!(suffix.len(), 20);
            assert_eq!(id_index(&format!("ach_transfer_{suffix}")), Some(index));
        }
        assert_eq!(id_index("short"), None);
    }

    #[test]
    fn a_killed_sandbox_finds_its_effects_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.jsonl");
        let before = Ledger::open(1, 10, Some(&path)).unwrap();
        let id = created(before.post(order("k", "{}"), 3).unwrap());
        before.post(order("k", "{}"), 4).unwrap();
        before.cancel(TransferKind::AchTransfer, &id, 9, |_| true).unwrap();
        drop(before);
        let torn = r#"{"effect":{"transfer_id":"ach_"#;
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend_from_slice(torn.as_bytes());
        std::fs::write(&path, bytes).unwrap();

        let after = Ledger::open(1, 10, Some(&path)).unwrap();
        let effect = after.by_id(TransferKind::AchTransfer, &id).unwrap();
        assert_eq!((effect.created_at_ms, effect.requests_seen), (3, 2));
        assert_eq!(effect.canceled_at_ms, Some(9));
        assert!(matches!(after.post(order("k", "{}"), 5).unwrap(), Posted::Replayed(_)));
        drop(after);
        assert!(Ledger::open(1, 10, Some(&path)).is_ok());
    }

    #[test]
    fn a_damaged_line_in_the_middle_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.jsonl");
        std::fs::write(&path, "garbage\n{\"seen\":{\"index\":0}}\n").unwrap();
        let error = Ledger::open(1, 10, Some(&path)).err().unwrap();
        assert_eq!(error.to_string(), "ledger file: line 1 is not an entry");
    }
}
