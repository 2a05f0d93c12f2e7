//! One suite for every transport: each case runs over libfabric between real endpoints, and over the simulated network on a paused clock.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "conformance/bed.rs"]
mod bed;
#[path = "conformance/calls.rs"]
mod calls;
#[path = "conformance/failures.rs"]
mod failures;
#[path = "conformance/lending.rs"]
mod lending;
#[path = "conformance/pressure.rs"]
mod pressure;
#[path = "conformance/service.rs"]
mod service;

macro_rules! conformance {
    ($($module:ident::$name:ident,)*) => {
        mod over_libfabric {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    crate::$module::$name(&crate::bed::Fabric { shards: 1, own_threads: true }).await;
                }
            )*
        }

        mod over_libfabric_all_on_one_thread {
            $(
                #[tokio::test]
                async fn $name() {
                    crate::$module::$name(&crate::bed::Fabric { shards: 1, own_threads: false }).await;
                }
            )*
        }

        mod over_libfabric_with_three_shards {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    crate::$module::$name(&crate::bed::Fabric { shards: 3, own_threads: true }).await;
                }
            )*
        }

        mod over_the_simulated_network {
            $(
                #[tokio::test(start_paused = true)]
                async fn $name() {
                    crate::$module::$name(&crate::bed::Simulated::new(7)).await;
                }
            )*
        }
    };
}

conformance! {
    calls::heads_of_every_size_come_back_whole,
    calls::a_head_above_the_bound_is_refused_before_it_is_sent,
    calls::many_calls_at_once_are_each_answered_with_their_own_answer,
    calls::an_unanswered_call_ends_at_its_deadline,
    calls::a_request_that_is_dropped_unanswered_is_an_error_at_once,
    calls::posts_arrive_in_order,
    lending::lent_data_of_every_size_is_pulled_whole,
    lending::lent_room_of_every_size_is_filled,
    lending::small_transfers_do_not_wait_for_the_clock,
    lending::a_server_may_pull_and_push_in_parts,
    lending::a_server_cannot_reach_beyond_what_was_lent,
    lending::a_call_that_is_dropped_gives_its_buffer_back_and_its_server_is_told,
    lending::a_call_that_is_late_gives_its_buffer_back,
    lending::a_buffer_of_another_pool_cannot_be_lent,
    lending::no_buffer_leaks_when_calls_are_given_up_at_any_moment,
    pressure::posts_beyond_the_bound_are_refused_and_later_taken_again,
    pressure::calls_beyond_the_bound_wait_for_their_turn,
    failures::nobody_there_is_an_error_before_the_deadline,
    failures::another_cluster_is_refused,
    failures::a_peer_that_stops_fails_its_calls_and_is_reached_again_when_it_returns,
    failures::an_older_start_of_a_peer_is_not_taken_for_the_newer,
    failures::a_told_disconnect_ends_calls_and_the_next_one_connects_anew,
}
