use std::time::Duration;

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

pub(super) async fn an_entry_is_deleted_as_it_was_seen_or_not_at_all(world: &World) {
    const KEEP: Duration = Duration::from_secs(1);
    let bucket = world.lasting_bucket();
    assert!(!bucket.delete_at("a", 7, KEEP).await.unwrap(), "there is nothing to delete");
    let first = bucket.create("a", b"one").await.unwrap().expect("made");
    let second = bucket.put("a", b"two").await.unwrap();
    assert!(!bucket.delete_at("a", first, KEEP).await.unwrap(), "it has moved on");
    assert_eq!(bucket.get("a").await.unwrap(), Some(Entry { value: b"two".to_vec(), revision: second }));
    assert!(bucket.delete_at("a", second, KEEP).await.unwrap());
    assert!(!bucket.delete_at("a", second, KEEP).await.unwrap(), "it was deleted before");
    assert_eq!(bucket.get("a").await.unwrap(), None);
    let marker = bucket.changes(second, 9).await.unwrap().remove(0);
    assert_eq!((marker.key.as_str(), &marker.value), ("a", &None));
    bucket.put("b", b"stays").await.unwrap();
    eventually("the marker is forgotten", BOUND, async || {
        world.broker.stream_state("KV_LASTING").await.unwrap().messages == 1
    })
    .await;
    assert!(bucket.changes(0, 9).await.unwrap().iter().all(|change| change.key == "b"));
    assert!(bucket.create("a", b"again").await.unwrap().is_some_and(|third| third > marker.revision));
    let entry = world.bucket().create("a", b"one").await.unwrap().expect("made");
    assert!(world.bucket().delete_at("a", entry, KEEP).await.is_err(), "not declared to take life spans");
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
