use millrace_runtime::kv::{Entry, Kv};
use millrace_testkit::eventually;

use super::world::{BOUND, World};

pub(super) async fn an_entry_is_made_once_and_changed_from_what_was_seen(world: &World) {
    let bucket = world.bucket();
    assert_eq!(bucket.get("a").await.unwrap(), None);
    assert_eq!(bucket.update("a", b"x", 1).await.unwrap(), None, "there is nothing to change");
    let made = bucket.create("a", b"one").await.unwrap().expect("made");
    assert_eq!(bucket.create("a", b"two").await.unwrap(), None, "somebody was first");
    assert_eq!(bucket.get("a").await.unwrap(), Some(Entry { value: b"one".to_vec(), revision: made }));
    let changed = bucket.update("a", b"three", made).await.unwrap().expect("changed");
    assert_eq!(bucket.update("a", b"four", made).await.unwrap(), None, "it has moved on");
    let put = bucket.put("a", b"five").await.unwrap();
    assert!(made < changed && changed < put);
    assert_eq!(bucket.get("a").await.unwrap().unwrap().value, b"five");
}

pub(super) async fn a_deleted_entry_can_be_made_again(world: &World) {
    let bucket = world.bucket();
    bucket.delete("a").await.unwrap();
    let first = bucket.create("a", b"one").await.unwrap().expect("made");
    bucket.delete("a").await.unwrap();
    bucket.delete("a").await.unwrap();
    assert_eq!(bucket.get("a").await.unwrap(), None);
    assert_eq!(bucket.update("a", b"two", first).await.unwrap(), None, "a deleted entry cannot be renewed");
    let second = bucket.create("a", b"two").await.unwrap().expect("made again");
    assert!(second > first);
    assert_eq!(bucket.get("a").await.unwrap().unwrap().value, b"two");
}

pub(super) async fn an_entry_that_is_not_renewed_expires(world: &World) {
    let bucket = world.bucket();
    let mut renewed = bucket.create("renewed", b"x").await.unwrap().expect("made");
    let left = bucket.create("left", b"x").await.unwrap().expect("made");
    eventually("the entry that nobody renews is gone", BOUND, async || {
        renewed = bucket.update("renewed", b"x", renewed).await.unwrap().expect("renewed in time");
        bucket.get("left").await.unwrap().is_none()
    })
    .await;
    assert_eq!(bucket.update("left", b"x", left).await.unwrap(), None, "too late to renew");
    assert!(bucket.create("left", b"y").await.unwrap().is_some(), "free for the next");
}

pub(super) async fn entries_lists_what_is_there(world: &World) {
    let bucket = world.bucket();
    assert!(bucket.entries().await.unwrap().is_empty());
    for key in ["worker.2", "worker.1", "query.1"] {
        bucket.put(key, key.as_bytes()).await.unwrap();
    }
    bucket.put("worker.1", b"again").await.unwrap();
    bucket.delete("query.1").await.unwrap();
    let entries = bucket.entries().await.unwrap();
    let entries: Vec<_> = entries.iter().map(|(key, entry)| (key.as_str(), entry.value.as_slice())).collect();
    assert_eq!(entries, [("worker.1", b"again".as_slice()), ("worker.2", b"worker.2".as_slice())]);
}
