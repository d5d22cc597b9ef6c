use millrace_events::catalogue::BLOB_STREAM;
use millrace_runtime::blobs::{BlobError, digest_of};
use millrace_runtime::broker::Append;

use super::world::{MAX_BLOB, World};

/// Bytes that differ from chunk to chunk.
fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|index| (index / 1_000 % 251) as u8).collect()
}

fn absent() -> String {
    digest_of(b"nobody stored this")
}

pub(super) async fn bytes_come_back_by_their_digest(world: &World) {
    let blobs = world.blobs();
    for count in [0, 1, 256 * 1024, 256 * 1024 + 1, 1024 * 1024, 2_000_003] {
        let bytes = bytes(count);
        let digest = blobs.put(&bytes).await.unwrap();
        assert_eq!(digest, digest_of(&bytes));
        assert_eq!(blobs.get(&digest).await.unwrap().as_ref(), Some(&bytes), "{count} bytes");
        let before = world.broker.stream_state(BLOB_STREAM).await.unwrap();
        assert_eq!(blobs.put(&bytes).await.unwrap(), digest);
        assert_eq!(world.broker.stream_state(BLOB_STREAM).await.unwrap(), before, "stored twice");
    }
    assert_eq!(blobs.get(&absent()).await.unwrap(), None);
    assert!(matches!(blobs.get("../spec").await, Err(BlobError::NotADigest(_))));

    let named = blobs.put_named("spec.md", "text/markdown", b"# A spec").await.unwrap();
    assert_eq!((named.name.as_str(), named.media_type.as_str(), named.size), ("spec.md", "text/markdown", 8));
    assert_eq!(blobs.get(&named.sha256).await.unwrap().unwrap(), b"# A spec");
}

pub(super) async fn an_upload_cut_short_is_completed_by_the_next(world: &World) {
    let blobs = world.blobs();
    let bytes = bytes(600 * 1024);
    let digest = digest_of(&bytes);
    // What a crash after the first of three chunks leaves.
    let first = Append::new(BLOB_STREAM, format!("millrace.blobs.{digest}.0"), bytes[..256 * 1024].to_vec());
    let _ = world.broker.append(&first).await.unwrap();
    assert_eq!(blobs.get(&digest).await.unwrap(), None, "a part is no blob");
    assert_eq!(blobs.put(&bytes).await.unwrap(), digest);
    assert_eq!(blobs.get(&digest).await.unwrap().unwrap(), bytes);
    assert_eq!(world.broker.stream_state(BLOB_STREAM).await.unwrap().messages, 3);
}

pub(super) async fn damaged_bytes_are_not_handed_out(world: &World) {
    let blobs = world.blobs();
    let digest = blobs.put(b"what was meant").await.unwrap();
    let mut forged =
        Append::new(BLOB_STREAM, format!("millrace.blobs.{digest}.0"), b"what was put there".to_vec());
    forged.headers.push(("Millrace-Blob-Chunks".into(), "1".to_owned()));
    forged.headers.push(("Millrace-Blob-Size".into(), "18".to_owned()));
    let _ = world.broker.append(&forged).await.unwrap();
    assert!(matches!(blobs.get(&digest).await, Err(BlobError::Damaged { .. })));
}

pub(super) async fn an_erased_blob_is_gone(world: &World) {
    let blobs = world.blobs();
    let (erased, kept) = (blobs.put(&bytes(300 * 1024)).await.unwrap(), blobs.put(b"kept").await.unwrap());
    blobs.delete(&erased).await.unwrap();
    blobs.delete(&absent()).await.unwrap();
    assert_eq!(blobs.get(&erased).await.unwrap(), None);
    assert_eq!(blobs.get(&kept).await.unwrap().unwrap(), b"kept");
    assert_eq!(blobs.put(&bytes(300 * 1024)).await.unwrap(), erased, "and can be stored again");
    assert!(blobs.get(&erased).await.unwrap().is_some());
}

pub(super) async fn a_blob_above_the_limit_is_refused(world: &World) {
    let answer = world.blobs().put(&bytes(MAX_BLOB + 1)).await;
    assert!(matches!(answer, Err(BlobError::TooLarge { .. })), "{answer:?}");
    let digest = world.blobs().put(&bytes(MAX_BLOB)).await.unwrap();
    let narrow = millrace_runtime::blobs::Blobs::new(world.broker.clone(), 1_000);
    assert!(matches!(narrow.get(&digest).await, Err(BlobError::TooLarge { .. })));
}
