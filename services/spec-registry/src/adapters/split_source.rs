//! Specs from one place, the base commit from another: a working tree is read, while changes go to the bare
//! repository behind it.

use async_trait::async_trait;

use crate::ports::{Found, Scan, ScanCursor, SourceError, SpecSource};

/// Reads specs from `specs`; the work starts from the head of `base`.
pub struct SplitSource<Specs, Base> {
    /// Where the specs are.
    pub specs: Specs,
    /// Where changes go.
    pub base: Base,
}

#[async_trait]
impl<Specs: SpecSource, Base: SpecSource> SpecSource for SplitSource<Specs, Base> {
    async fn scan(&self, since: Option<&ScanCursor>) -> Result<Scan, SourceError> {
        let scan = self.specs.scan(since).await?;
        Ok(Scan { commit: self.base.head().await?, ..scan })
    }

    async fn find(&self, task: &str) -> Result<Option<Found>, SourceError> {
        match self.specs.find(task).await? {
            Some(found) => Ok(Some(Found { commit: self.base.head().await?, ..found })),
            None => Ok(None),
        }
    }

    async fn head(&self) -> Result<String, SourceError> {
        self.base.head().await
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::adapters::ScriptedSource;

    #[tokio::test]
    async fn specs_come_from_one_place_and_the_base_from_the_other() {
        let (specs, base) = (ScriptedSource::new(), ScriptedSource::new());
        specs.put("docs/specs/00001-x.md", b"# x");
        base.put("docs/specs/00002-y.md", b"# y");
        base.put("docs/specs/00002-y.md", b"# z");
        let head = base.head().await.unwrap();
        assert_ne!(specs.head().await.unwrap(), head, "the two differ, or this proves nothing");
        let split = SplitSource { specs, base };
        let scan = split.scan(None).await.unwrap();
        assert_eq!((scan.files.len(), &scan.commit), (1, &head));
        assert_eq!(split.find("VTID-00001").await.unwrap().unwrap().commit, head);
        assert_eq!(split.head().await.unwrap(), head);
    }
}
