//! Sealed bytes: `[1][subject 16][generation 4][nonce 12][ciphertext and tag]`, AES-256-GCM-SIV. The place where bytes
//! are stored is authenticated with them, so that no row can stand in for another. It draws no random numbers.
//!
//! The nonce follows from the place. Where a place is sealed twice (a tick that is tried again), only one result is ever
//! stored, and GCM-SIV tells of two plaintexts under one nonce no more than whether they are equal (RFC 8452).

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::{Digest, Sha256};
use signalbox_schemas::{AttemptId, FlowId, KeyId, LaneId, SubjectId};

use crate::envelope::PlainKey;

/// Version of the format, the first byte.
const VERSION: u8 = 1;
const SUBJECT: usize = 16;
const GENERATION: usize = 4;
/// Bytes before the ciphertext.
const HEADER: usize = 1 + SUBJECT + GENERATION + NONCE_LEN;

/// Where sealed bytes are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The command that started a flow.
    Command(FlowId),
    /// The records of a journal row.
    Journal {
        /// Its lane.
        lane: LaneId,
        /// Its position there.
        seq: i64,
    },
    /// The request of an attempt, as it is sent.
    Request(AttemptId),
    /// An input that waits for its flow.
    Parked {
        /// The flow.
        flow: FlowId,
        /// Position in the flow's order.
        seq: i64,
    },
}

/// Why sealed bytes cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// They were never sealed, or by a later version.
    #[error("the bytes are not sealed in a form that this program knows")]
    Form,
    /// The key has not been loaded, or there is none of that name.
    #[error("the key of subject {} generation {} is not there", .0.subject, .0.generation)]
    NoKey(KeyId),
    /// The key was destroyed: nobody can read them any more.
    #[error("the key of subject {} generation {} was destroyed", .0.subject, .0.generation)]
    Erased(KeyId),
    /// They were changed, moved from elsewhere, or sealed under another key.
    #[error("the bytes do not belong to their place, their key, or were changed")]
    Forged,
}

/// The key of a subject, ready for use. It cannot be printed.
pub struct DataKey {
    id: KeyId,
    key: LessSafeKey,
}

impl Place {
    /// What is authenticated with the bytes: no two places have the same.
    fn identity(&self) -> Vec<u8> {
        let (label, first, second): (&[u8], &[u8], i64) = match self {
            Self::Command(flow) => (b"command", flow.0.as_bytes(), 0),
            Self::Journal { lane, seq } => (b"journal", &lane.0.to_be_bytes(), *seq),
            Self::Request(attempt) => (b"request", attempt.0.as_bytes(), 0),
            Self::Parked { flow, seq } => (b"parked", flow.0.as_bytes(), *seq),
        };
        let mut identity = Vec::with_capacity(64);
        identity.extend_from_slice(b"signalbox/");
        identity.extend_from_slice(label);
        identity.push(0);
        identity.extend_from_slice(first);
        identity.extend_from_slice(&second.to_be_bytes());
        identity
    }

    fn nonce(&self) -> [u8; NONCE_LEN] {
        let digest = Sha256::digest(self.identity());
        let mut nonce = [0; NONCE_LEN];
        nonce.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        nonce
    }

    fn authenticated(&self, id: KeyId) -> Vec<u8> {
        let mut bytes = self.identity();
        bytes.extend_from_slice(&header(id));
        bytes
    }
}

impl DataKey {
    /// Makes a key ready.
    pub fn new(id: KeyId, plain: &PlainKey) -> Self {
        let Ok(key) = UnboundKey::new(&AES_256_GCM_SIV, plain.bytes()) else {
            unreachable!("a plain key has the 32 bytes that AES-256 takes")
        };
        Self { id, key: LessSafeKey::new(key) }
    }

    /// Which one it is.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Seals bytes for their place.
    pub fn seal(&self, place: Place, plain: &[u8]) -> Vec<u8> {
        let nonce = place.nonce();
        let mut sealed = Vec::with_capacity(HEADER + plain.len() + AES_256_GCM_SIV.tag_len());
        sealed.extend_from_slice(&header(self.id));
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let (_, text) = sealed.split_at_mut(HEADER);
        let aad = Aad::from(place.authenticated(self.id));
        let nonce = Nonce::assume_unique_for_key(nonce);
        match self.key.seal_in_place_separate_tag(nonce, aad, text) {
            Ok(tag) => sealed.extend_from_slice(tag.as_ref()),
            // Only a text of more than 64 GiB is refused.
            Err(_) => unreachable!("records have a mebibyte at most"),
        }
        sealed
    }

    pub(crate) fn open(&self, place: Place, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        let (id, nonce, text) = parts(sealed)?;
        if id != self.id {
            return Err(OpenError::Forged);
        }
        let mut text = text.to_vec();
        let aad = Aad::from(place.authenticated(id));
        let nonce = Nonce::assume_unique_for_key(nonce);
        let length =
            self.key.open_in_place(nonce, aad, &mut text).map_err(|_| OpenError::Forged)?.len();
        text.truncate(length);
        Ok(text)
    }
}

/// Which key sealed bytes; needs no key.
///
/// # Errors
/// `Form`.
pub fn key_of(sealed: &[u8]) -> Result<KeyId, OpenError> {
    parts(sealed).map(|(id, _, _)| id)
}

fn header(id: KeyId) -> [u8; 1 + SUBJECT + GENERATION] {
    let mut header = [VERSION; 1 + SUBJECT + GENERATION];
    let named = id.subject.0.as_bytes().iter().copied().chain(id.generation.to_be_bytes());
    header.iter_mut().skip(1).zip(named).for_each(|(to, from)| *to = from);
    header
}

fn parts(sealed: &[u8]) -> Result<(KeyId, [u8; NONCE_LEN], &[u8]), OpenError> {
    let (version, rest) = sealed.split_first().ok_or(OpenError::Form)?;
    let (subject, rest) = rest.split_first_chunk::<SUBJECT>().ok_or(OpenError::Form)?;
    let (generation, rest) = rest.split_first_chunk::<GENERATION>().ok_or(OpenError::Form)?;
    let (nonce, text) = rest.split_first_chunk::<NONCE_LEN>().ok_or(OpenError::Form)?;
    if *version != VERSION {
        return Err(OpenError::Form);
    }
    let subject = SubjectId::from_bytes(*subject);
    Ok((KeyId { subject, generation: i32::from_be_bytes(*generation) }, *nonce, text))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    fn key(subject: u8, generation: i32) -> DataKey {
        let subject = SubjectId::from_bytes([subject; 16]);
        DataKey::new(KeyId { subject, generation }, &PlainKey::new([7; 32]))
    }

    const AT: Place = Place::Journal { lane: LaneId(3), seq: 41 };

    proptest! {
        #[test]
        fn what_is_sealed_is_read_again(plain in proptest::collection::vec(any::<u8>(), 0..300)) {
            let key = key(1, 1);
            let sealed = key.seal(AT, &plain);
            prop_assert_eq!(key_of(&sealed), Ok(key.id()));
            prop_assert_eq!(key.open(AT, &sealed), Ok(plain));
        }
    }

    #[test]
    fn any_changed_or_missing_byte_is_noticed() {
        let key = key(1, 1);
        let sealed = key.seal(AT, b"Ada Alder");
        for place in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert!(key.open(AT, &changed).is_err(), "byte {place}");
            assert!(key.open(AT, &sealed[..place]).is_err(), "cut at {place}");
        }
    }

    #[test]
    fn bytes_belong_to_their_place_and_their_key() {
        let flow = FlowId(SubjectId::from_bytes([9; 16]).0);
        let places = [
            AT,
            Place::Journal { lane: LaneId(3), seq: 42 },
            Place::Journal { lane: LaneId(4), seq: 41 },
            Place::Command(flow),
            Place::Request(AttemptId(flow.0)),
            Place::Parked { flow, seq: 0 },
            Place::Parked { flow, seq: 1 },
        ];
        let ours = key(1, 1);
        for at in places {
            let sealed = ours.seal(at, b"Ada Alder");
            for other in places {
                assert_eq!(ours.open(other, &sealed).is_ok(), at == other, "{at:?} as {other:?}");
            }
            for foreign in [key(2, 1), key(1, 2)] {
                assert_eq!(foreign.open(at, &sealed), Err(OpenError::Forged));
            }
        }
        let same_name = DataKey::new(ours.id(), &PlainKey::new([8; 32]));
        assert_eq!(same_name.open(AT, &ours.seal(AT, b"Ada")), Err(OpenError::Forged));
    }

    #[test]
    fn equal_bytes_of_two_people_or_places_do_not_look_alike() {
        let at = |seq| Place::Journal { lane: LaneId(0), seq };
        let texts = [
            key(1, 1).seal(at(1), b"Ada"),
            key(2, 1).seal(at(1), b"Ada"),
            key(1, 1).seal(at(2), b"Ada"),
        ];
        for (first, second) in [(0, 1), (0, 2), (1, 2)] {
            assert_ne!(texts[first][HEADER..], texts[second][HEADER..]);
        }
        assert_eq!(
            texts[0],
            key(1, 1).seal(at(1), b"Ada"),
            "the same everywhere, so that runs repeat"
        );
    }

    #[test]
    fn plain_text_is_not_taken_for_sealed() {
        assert_eq!(
            key_of(b"{\"payout_id\": \"p-1\", \"tenant\": \"acme\", \"more\": 1}"),
            Err(OpenError::Form)
        );
        assert_eq!(key_of(b""), Err(OpenError::Form));
    }
}
