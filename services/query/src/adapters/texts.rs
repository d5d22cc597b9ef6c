//! Long texts in the content-addressed store.

use async_trait::async_trait;
use millrace_runtime::blobs::Blobs;

use crate::ports::{PortError, Texts};

/// Reads from [`Blobs`].
pub struct StoredTexts {
    blobs: Blobs,
}

impl StoredTexts {
    /// Reads from `blobs`; never writes to it.
    pub fn new(blobs: Blobs) -> Self {
        Self { blobs }
    }
}

#[async_trait]
impl Texts for StoredTexts {
    async fn text(&self, sha256: &str) -> Result<Option<Vec<u8>>, PortError> {
        let found = self.blobs.get(sha256).await;
        found.map_err(|error| PortError::unavailable(format!("text {sha256} cannot be read"), error))
    }
}
