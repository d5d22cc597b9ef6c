//! The nkeys of the identities.

use std::fmt;

use nkeys::KeyPair;

use super::Identity;

/// The key pair of an identity.
#[derive(Clone, PartialEq, Eq)]
pub struct IdentityKey {
    /// Whose.
    pub identity: Identity,
    /// `SU…`: a secret, for the identity alone.
    pub seed: String,
    /// `U…`: for the server's configuration.
    pub public_key: String,
}

impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdentityKey({}, {})", self.identity, self.public_key)
    }
}

/// A seed that is none.
#[derive(Debug, thiserror::Error)]
#[error("not an nkey seed of a user (`SU…`)")]
pub struct KeyError(#[from] nkeys::error::Error);

/// A new key for every identity.
pub fn generate_keys() -> Result<Vec<IdentityKey>, KeyError> {
    Identity::all()
        .map(|identity| {
            let pair = KeyPair::new_user();
            Ok(IdentityKey { identity, seed: pair.seed()?, public_key: pair.public_key() })
        })
        .collect()
}

/// The public key that belongs to a seed.
pub fn public_key(seed: &str) -> Result<String, KeyError> {
    Ok(KeyPair::from_seed(seed)?.public_key())
}
