//! Anchors: the head of a lane's chain, signed (Ed25519). Whoever keeps anchors apart from the database can prove later
//! that no row up to an anchor was changed since. Pure; where anchors are published and kept is decided elsewhere.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use signalbox_schemas::{LaneId, Micros};

/// First bytes of what is signed: no other signature of the key can be taken for an anchor's.
const DOMAIN: &[u8] = b"signalbox anchor 1\0";

/// The signed head of a lane's chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// Lane.
    pub lane: LaneId,
    /// Epoch of the owner that signed.
    pub epoch: i64,
    /// Last row of the chain at that time.
    pub seq: i64,
    /// Its hash.
    #[serde(with = "hex::serde")]
    pub hash: Vec<u8>,
    /// When it was signed.
    pub at: Micros,
    /// Ed25519 signature over all of that.
    #[serde(with = "hex::serde")]
    pub signature: Vec<u8>,
}

/// A key is not what it should be. The operator gives another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnchorKeyError {
    /// The secret key.
    #[error(
        "is no Ed25519 signing key (PKCS#8 in hexadecimal); make one with `signalbox audit keygen`"
    )]
    Secret,
    /// The public key.
    #[error("is no Ed25519 public key (64 hexadecimal digits), see `signalbox audit keygen`")]
    Public,
    /// The machine gave no randomness.
    #[error("no key could be made: the system gives no randomness")]
    Randomness,
}

/// The secret with which anchors are signed.
pub struct AnchorKey(Ed25519KeyPair);

/// What anchors are checked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnchorPublicKey(Vec<u8>);

impl AnchorKey {
    /// A new secret, as text to be kept.
    ///
    /// # Errors
    /// `Randomness`.
    pub fn generate() -> Result<String, AnchorKeyError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| AnchorKeyError::Randomness)?;
        let document = pair.to_pkcs8v1().map_err(|_| AnchorKeyError::Randomness)?;
        Ok(hex::encode(document.as_ref()))
    }

    /// Reads a secret that `generate` gave.
    ///
    /// # Errors
    /// `Secret`.
    pub fn parse(text: &str) -> Result<Self, AnchorKeyError> {
        let document = hex::decode(text.trim()).map_err(|_| AnchorKeyError::Secret)?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&document);
        Ok(Self(pair.map_err(|_| AnchorKeyError::Secret)?))
    }

    /// The key that others check with.
    pub fn public(&self) -> AnchorPublicKey {
        AnchorPublicKey(self.0.public_key().as_ref().to_vec())
    }

    /// Signs the head of a lane.
    pub fn sign(&self, lane: LaneId, epoch: i64, seq: i64, hash: &[u8], at: Micros) -> Anchor {
        let anchor = Anchor { lane, epoch, seq, hash: hash.to_vec(), at, signature: Vec::new() };
        let signature = self.0.sign(&message(&anchor)).as_ref().to_vec();
        Anchor { signature, ..anchor }
    }
}

impl AnchorPublicKey {
    /// Reads a public key.
    ///
    /// # Errors
    /// `Public`.
    pub fn parse(text: &str) -> Result<Self, AnchorKeyError> {
        let bytes = hex::decode(text.trim()).map_err(|_| AnchorKeyError::Public)?;
        if bytes.len() == 32 { Ok(Self(bytes)) } else { Err(AnchorKeyError::Public) }
    }

    /// As text to be handed out.
    pub fn text(&self) -> String {
        hex::encode(&self.0)
    }

    /// Whether the owner of the key has signed exactly this.
    pub fn has_signed(&self, anchor: &Anchor) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, &self.0);
        key.verify(&message(anchor), &anchor.signature).is_ok()
    }
}

/// Every field has a fixed width but the hash, which stands last.
fn message(anchor: &Anchor) -> Vec<u8> {
    let mut message = DOMAIN.to_vec();
    message.extend(anchor.lane.0.to_be_bytes());
    for number in [anchor.epoch, anchor.seq, anchor.at.0] {
        message.extend(number.to_be_bytes());
    }
    message.extend(&anchor.hash);
    message
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn anchor(key: &AnchorKey) -> Anchor {
        key.sign(LaneId(3), 7, 42, &[9; 32], Micros(1_000))
    }

    #[test]
    fn an_anchor_is_signed_by_one_key_and_no_other() {
        let key = AnchorKey::parse(&AnchorKey::generate().unwrap()).unwrap();
        let other = AnchorKey::parse(&AnchorKey::generate().unwrap()).unwrap();
        assert!(key.public().has_signed(&anchor(&key)));
        assert!(!other.public().has_signed(&anchor(&key)));
        assert_eq!(AnchorPublicKey::parse(&key.public().text()).unwrap(), key.public());
    }

    #[test]
    fn no_field_of_an_anchor_can_be_changed() {
        let key = AnchorKey::parse(&AnchorKey::generate().unwrap()).unwrap();
        let signed = anchor(&key);
        let changed = [
            Anchor { lane: LaneId(4), ..signed.clone() },
            Anchor { epoch: 8, ..signed.clone() },
            Anchor { seq: 43, ..signed.clone() },
            Anchor { hash: vec![8; 32], ..signed.clone() },
            Anchor { at: Micros(1_001), ..signed },
        ];
        assert!(changed.iter().all(|anchor| !key.public().has_signed(anchor)));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        assert_eq!(AnchorKey::parse("00ff").err(), Some(AnchorKeyError::Secret));
        assert_eq!(AnchorPublicKey::parse("00ff").err(), Some(AnchorKeyError::Public));
    }
}
