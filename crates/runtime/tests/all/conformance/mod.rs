//! What every broker must do. Each case runs in memory, with both orders of check and with time that passes
//! only when everybody waits, and on a nats-server of its own.

mod append;
mod blobs;
mod bucket;
mod consume;
mod read;
mod schedule;
mod world;

/// One test per case and broker.
macro_rules! conformance {
    ($($module:ident :: $case:ident),+ $(,)?) => {
        mod memory {
            $(
                #[tokio::test(start_paused = true)]
                async fn $case() {
                    for order in [CheckOrder::DuplicateFirst, CheckOrder::ExpectedFirst] {
                        super::$module::$case(&World::in_memory(order)).await;
                    }
                }
            )+
            use super::world::World;
            use millrace_runtime::memory::CheckOrder;
        }
        mod nats {
            $(
                #[tokio::test]
                async fn $case() {
                    super::$module::$case(&World::on_a_server().await).await;
                }
            )+
            use super::world::World;
        }
    };
}

conformance![
    append::the_expected_sequence_is_a_lock_in_both_directions,
    append::of_many_writers_one_wins,
    append::a_message_id_counts_until_its_window_ends,
    append::a_refused_append_does_not_use_up_its_id,
    append::what_is_too_large_is_said_to_be,
    append::a_subject_without_its_stream_is_missing,
    read::messages_are_read_by_sequence_by_subject_and_all,
    read::a_long_log_is_read_in_one_call,
    read::a_message_is_the_same_on_every_way,
    read::a_missing_stream_is_said_to_be_missing,
    consume::what_is_acknowledged_does_not_come_back,
    consume::a_fetch_comes_back_with_what_there_is,
    consume::what_is_given_back_comes_after_the_delay,
    consume::what_is_not_answered_comes_again,
    consume::work_in_progress_is_not_delivered_again,
    consume::a_late_acknowledgement_counts,
    consume::several_fetchers_share_a_consumer,
    consume::open_deliveries_are_limited,
    consume::a_dropped_fetch_loses_nothing,
    schedule::a_deadline_fires_once,
    schedule::a_new_deadline_replaces_the_former,
    schedule::a_deadline_in_the_past_fires_at_once,
    schedule::a_purged_deadline_does_not_fire,
    bucket::an_entry_is_made_once_and_changed_from_what_was_seen,
    bucket::a_deleted_entry_can_be_made_again,
    bucket::an_entry_is_deleted_as_it_was_seen_or_not_at_all,
    bucket::an_entry_that_is_not_renewed_expires,
    bucket::entries_lists_what_is_there,
    blobs::bytes_come_back_by_their_digest,
    blobs::an_upload_cut_short_is_completed_by_the_next,
    blobs::damaged_bytes_are_not_handed_out,
    blobs::an_erased_blob_is_gone,
    blobs::a_blob_above_the_limit_is_refused,
];
