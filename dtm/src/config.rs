//! Bounds and intervals of a replica, and, in model builds, the switches that turn single rules of the protocol off.

use serde::{Deserialize, Serialize};
use types::wire::dtm::{REDO_BYTES_MAX, REDO_RECORDS_MAX};

/// Rows in one piece of a full copy: where rows are small, a piece takes no longer to make than the turn of a driver may.
const COPY_ROWS_MAX: usize = 4096;

/// Bounds and intervals. The defaults are the product's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Config {
    /// W: results are kept for so much *log* time.
    pub window_ms: u64,
    /// Records in flight (not applied) that a primary admits.
    pub in_flight_records_max: usize,
    /// Bytes of records in flight that a primary admits.
    pub in_flight_bytes_max: usize,
    /// Calls that may wait for one record: the first and its copies.
    pub callers_max: usize,
    /// Answers that may wait for a lease.
    pub held_max: usize,
    /// Results that are kept at most; more in one window are refused as `Busy`.
    pub results_max: usize,
    /// Bytes of results that are kept at most, as [`crate::StoredResult::bytes`] counts; more in one window are refused as `Busy`.
    pub results_bytes_max: usize,
    /// Transactions over several groups that a group coordinates and that are not done, at most; more are refused as `Busy`.
    pub unfinished_max: usize,
    /// Bytes of their parts, at most.
    pub unfinished_bytes_max: usize,
    /// Records in one Redo.
    pub redo_records_max: usize,
    /// Bytes of records in one Redo.
    pub redo_bytes_max: usize,
    /// Redos on their way to one peer that it has not answered.
    pub redo_window_messages: usize,
    /// Bytes of records that a replica keeps in memory beside those in flight.
    pub cache_bytes_max: usize,
    /// Bytes of log from which on a peer that holds pruning back is reported for full copy.
    pub log_bytes_soft: u64,
    /// Age of the log, in log time, from which on the same happens.
    pub log_age_ms: u64,
    /// Bytes of log from which on a primary admits nothing.
    pub log_bytes_max: u64,
    /// Pruning waits until it takes at least so many records.
    pub prune_records_min: u64,
    /// First wait before a message is sent again; doubles.
    pub resend_ms: u64,
    /// Longest wait before a message is sent again.
    pub resend_max_ms: u64,
    /// A participant that lags only in `stable` is told after so long.
    pub stable_notice_ms: u64,
    /// A silent primary says so every so often.
    pub heartbeat_ms: u64,
    /// `End` is said again every so often, until HA says ONLINE.
    pub end_again_ms: u64,
    /// Rows in one piece of a full copy.
    pub copy_rows_max: usize,
    /// Bytes of rows in one piece of a full copy.
    pub copy_bytes_max: usize,
    /// A replica that is being copied to asks again after it got no piece for so long.
    pub copy_again_ms: u64,
    /// A copy whose target is silent for so long is given up: a snapshot keeps space on the device from being used again.
    pub copy_silence_ms: u64,
    /// Switches of the model.
    #[cfg(feature = "model")]
    pub rules: Rules,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            window_ms: 10 * 60 * 1000,
            in_flight_records_max: 4096,
            in_flight_bytes_max: 16 * 1024 * 1024,
            callers_max: 16,
            held_max: 8192,
            results_max: 1024 * 1024,
            results_bytes_max: 128 * 1024 * 1024,
            unfinished_max: 1024,
            unfinished_bytes_max: 16 * 1024 * 1024,
            redo_records_max: REDO_RECORDS_MAX,
            redo_bytes_max: REDO_BYTES_MAX,
            redo_window_messages: 16,
            cache_bytes_max: 1024 * 1024,
            log_bytes_soft: 256 * 1024 * 1024,
            log_age_ms: 60 * 60 * 1000,
            log_bytes_max: 1024 * 1024 * 1024,
            prune_records_min: 64,
            resend_ms: 100,
            resend_max_ms: 1000,
            stable_notice_ms: 10,
            heartbeat_ms: 500,
            end_again_ms: 200,
            copy_rows_max: COPY_ROWS_MAX,
            copy_bytes_max: REDO_BYTES_MAX,
            copy_again_ms: 2000,
            copy_silence_ms: 10_000,
            #[cfg(feature = "model")]
            rules: Rules::default(),
        }
    }
}

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// One switch a rule of the protocol; all true but in the model check that shows what each is for.
        #[cfg(feature = "model")]
        #[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub struct Rules {
            $($(#[$doc])* pub $name: bool,)*
        }

        #[cfg(feature = "model")]
        impl Default for Rules {
            fn default() -> Self {
                Self { $($name: true,)* }
            }
        }

        #[cfg(feature = "model")]
        impl Rules {
            /// The names of all rules.
            pub const NAMES: &[&str] = &[$(stringify!($name),)*];

            /// All rules but the one of that name; `None` where there is none.
            pub fn without(name: &str) -> Option<Self> {
                Self::default().and_without(name)
            }

            /// These rules but the one of that name; `None` where there is none.
            pub fn and_without(self, name: &str) -> Option<Self> {
                let mut rules = self;
                match name {
                    $(stringify!($name) => rules.$name = false,)*
                    _ => return None,
                }
                Some(rules)
            }
        }

        /// Whether a rule holds: in the product, a constant.
        impl Config {
            $(
                #[cfg(feature = "model")]
                pub(crate) fn $name(&self) -> bool {
                    self.rules.$name
                }

                #[cfg(not(feature = "model"))]
                #[allow(clippy::unused_self, reason = "one shape with the model build")]
                pub(crate) const fn $name(&self) -> bool {
                    true
                }
            )*
        }
    };
}

rules! {
    /// What depends on a promise waits until the promise is durable.
    promise_durable,
    /// A view below the promise is refused.
    refuse_below_promised,
    /// A higher view, from a peer too, raises the promise and ends any lower role.
    higher_view_raises_promised,
    /// A Redo is taken only where the log holds the record before it.
    prev_matching,
    /// The log with the greatest `(normal, last)` is chosen; without: the longest.
    best_log_by_normal,
    /// Of two logs of one `normal` the longer is chosen by `normal`, not by its last record's view.
    best_log_not_by_last_view,
    /// A blank replica's answer does not count.
    blank_does_not_count,
    /// A blank replica takes nothing of a view before its format.
    blank_starts_at_epoch,
    /// STABLE comes only from acknowledgements of the present view.
    stable_from_view_acks,
    /// `Persistent` counts only with `normal` = the view.
    counts_with_normal,
    /// `normal` is set only once the log reaches the base.
    normal_at_base,
    /// What goes beyond the primary's log is dropped when `normal` is set.
    tail_dropped,
    /// A Redo that is merely shorter cuts nothing.
    short_redo_cuts_nothing,
    /// Nothing STABLE is cut.
    stable_never_cut,
    /// A member applies on the primary's word only with `normal` = the view.
    apply_when_matched,
    /// `Persistent` is sent after the sync.
    ack_after_sync,
    /// The primary counts its own log after its sync.
    primary_counts_after_sync,
    /// A primary begins only once `normal` is durable.
    normal_durable_first,
    /// A view that names another boot of this process does not make it primary.
    restarted_does_not_resume,
    /// Duplicates are looked for in the log not yet applied, too.
    dedupe_log,
    /// Duplicates are looked for in the results.
    dedupe_results,
    /// Results outlive the pruning of their records.
    results_outlive_prune,
    /// A duplicate of what is in flight is answered when that is STABLE.
    dedupe_waits,
    /// A replica prunes only what its device has applied and synced.
    prune_applied_synced,
    /// A replica prunes only what every participant has.
    prune_all_persistent,
    /// A change of view needs f+1 of the members of the last active view as well.
    quorum_of_old,
    /// A change of view needs f+1 of the present members.
    quorum_of_members,
    /// `End` counts only for this boot and this announcement.
    end_tag,
    /// `End` waits for the base and all that was there at the announcement.
    end_waits,
    /// `End` counts only from a view at or after the announcement.
    end_view,
    /// A lease ends.
    lease_ends,
    /// A lease counts only once HA's log is taken in up to its epoch.
    lease_epoch,
    /// Clients are answered only with a lease.
    answer_with_lease,
    /// Reads are served only by an active primary.
    read_active,
    /// Reads are served only once the base is applied.
    read_base_applied,
    /// `stable` is told only once it is applied.
    publish_applied,
    /// A replica without a lease serves no nearest read.
    nearest_lease,
    /// A dtx of more than W/2 away is refused.
    half_window,
    /// A device that holds less than it said is reported.
    report_amnesia,
    /// Copies are served by an active primary only.
    copy_from_active,
    /// A member that is to be copied anew does not count from its wipe on.
    copy_counts_not,
    /// A member that counts in a view is not wiped in it.
    copy_spares_who_counts,
    /// Pieces are taken in their order, all of them.
    copy_in_order,
    /// Nothing is applied before the copy is complete.
    copy_then_apply,
    /// A copy that a restart of the target interrupted begins with a wipe.
    copy_wiped_at_restart,
    /// A copy that a change of primary interrupted begins with a wipe.
    copy_wiped_at_view,
    /// The log is kept for a target from its snapshot on.
    copy_keeps_log,
    /// Parts of a transaction are sent once it is STABLE in the coordinating group.
    parts_when_stable,
    /// A client is answered when all parts are STABLE.
    answer_when_parts_stable,
    /// A part is said to be STABLE when it is, and applied.
    part_said_when_stable,
    /// A part is executed however old its transaction is.
    parts_exempt,
    /// Executed parts are kept until their coordinator says that they are done, not by age.
    parts_outlive_window,
    /// What is below the coordinator's word is done, and not executed again.
    parts_done_below_low,
    /// Unfinished transactions outlive the pruning of their records.
    unfinished_outlives_prune,
}
