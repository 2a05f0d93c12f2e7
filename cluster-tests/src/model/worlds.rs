//! The worlds that CI searches, and for each rule of the protocol the world in which its removal shows.

use dtm::Rules;

use super::state::World;

/// Bounds of the worlds that CI exhausts, as [`World::parse`] reads them: about 800,000 states.
pub const EXHAUSTED: &[&str] = &[
    "ops=1,views=1",
    "ops=1,five",
    "ops=2",
    "views=2",
    "ops=1,crashes=1,notices",
    "ops=1,crashes=1,lazy",
    "ops=1,crashes=1,duplicates=1",
    "ops=1,crashes=1,prune,notices",
    "ops=1,crashes=1,recovery",
    "ops=1,duplicates=255,notices",
    "ops=1,blanks=1",
    "views=1,crashes=1",
    "views=1,blanks=1",
    "views=1,replacements=1",
    "views=1,leases,lease-ends=1",
];

/// Bounds of worlds that CI has no time for, those of `dtm-checks.md` first: `cluster-tests model --large` goes as far in each as it is let.
pub const LARGE: &[&str] = &[
    "ops=2,views=2,crashes=1",
    "ops=1,views=2,crashes=1,blanks=1",
    "ops=2,views=2,blanks=1",
    "ops=1,views=2,crashes=1,leases,lease-ends=1,notices",
    "ops=1,views=1,crashes=1,replacements=1",
    "ops=1,views=1,crashes=1,five",
    "ops=2,views=2,crashes=2",
    "ops=2,views=2,crashes=1,blanks=1",
    "ops=1,views=3,crashes=1",
    "ops=1,views=2,replacements=1",
    "ops=2,views=1,crashes=1,blanks=1,prune,recovery",
    "ops=1,views=2,crashes=2,recovery",
];

/// A world in which a replica needs a full copy: everything is pruned, device 3 has come back empty, and 1 is primary again.
const FILLS: &str = "e0@1 1>2 1>3 2>1 3>1 1>2 1>3 b3 v1 h1 1>2:Peer 2>1 1>2:Redo 2>1:Pers";
/// The same without notices of what is STABLE, and 3 has asked for a copy.
const FILLS_SILENTLY: &str =
    "e0@1 1>2 1>3 2>1 3>1 b3 v1 h1 1>2:Peer 2>1 1>2:Redo 2>1:Pers 1>3:Peer 3>1 1>3:Redo 3>1:Gap 1>3:Refused 3>1:CopyRequest";
/// The same, of one that kept what it had, and that no log was kept for while it was away.
const FILLS_MARKED: &str = "e0@1 1>2 1>3:Redo 2>1 1>2 x3 h1 e1@1 1>2:Redo 2>1 1>2 c3 v1 h1 1>2:Peer 2>1 1>2:Redo 2>1:Pers";

/// Bounds of worlds that CI exhausts from a script's end on: full copies and whatever interrupts them, and a replacement by a learner that is filled.
pub const EXHAUSTED_AFTER: &[(&str, &str)] = &[
    ("ops=1,views=1,blanks=1,prune,notices", FILLS),
    ("ops=1,views=2,blanks=1,prune", FILLS_SILENTLY),
    ("ops=1,views=1,blanks=1,crashes=1,prune", FILLS_SILENTLY),
    ("ops=2,views=1,blanks=1,prune", FILLS_SILENTLY),
    ("ops=2,views=1,marks=1,crashes=1,prune,notices", FILLS_MARKED),
    ("views=1,replacements=1,fills", "j4 h1 h4 1>2:Peer 2>1 1>2:Redo 2>1 1>4 4>1 1>3 3>1 +"),
];

/// Bounds of worlds too large to exhaust: CI walks in them at random.
pub const WALKED: &[&str] = &[
    "ops=2,views=3,crashes=2,notices,duplicates=2",
    "ops=2,views=2,crashes=2,lazy,notices,duplicates=2",
    "ops=2,views=3,crashes=1,blanks=1,notices,duplicates=2",
    "ops=2,views=3,crashes=1,replacements=2,notices,duplicates=2",
    "ops=2,views=3,crashes=1,replacements=2,fills,notices,duplicates=2",
    "ops=2,views=2,crashes=1,replacements=1,fills,prune,notices,duplicates=2",
    "ops=2,views=2,crashes=2,recovery,prune,notices,duplicates=2",
    "ops=2,views=2,crashes=1,leases,lease-ends=2,notices",
    "ops=2,views=2,crashes=2,five,short-redo,notices",
    "ops=3,views=3,crashes=1,blanks=1,prune,notices,duplicates=2",
    "ops=3,views=3,crashes=2,marks=1,prune,notices,duplicates=2",
];

/// A driver that reads copies from rows that change is found from here on.
pub const TORN_COPIES: Case = Case { rule: "", with: "", world: "ops=2,views=1,blanks=1,prune,notices,torn-copies", script: FILLS };

/// The first view is left for one with a learner, which is filled; 1 and 2 have what was answered.
const REPLACES: &str = "j4 h1 h4 1>2:Peer 2>1 1>2:Redo 2>1 1>4 4>1 e0@1 1>2:Redo 2>1:Pers m2>4@3";
/// What a driver, or HA, may get wrong in a change of members, with the world in which that is found.
pub const MEMBER_BUGS: &[Case] = &[
    Case { rule: "", with: "", world: "ops=1,views=1,replacements=1,fills,notices,forgets-early", script: REPLACES },
    Case {
        rule: "",
        with: "",
        world: "ops=2,views=2,replacements=2,replaces-unsettled",
        script: "e0@1 1>2:Redo 2>1:Pers m2>4@1 m3>5@4 h4",
    },
];

/// A rule whose removal is found.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The rule.
    pub rule: &'static str,
    /// Another that covers for it and is removed with it, where there is one.
    pub with: &'static str,
    /// Bounds of the world.
    pub world: &'static str,
    /// Steps to begin with ([`super::script`]): the search goes on from there.
    pub script: &'static str,
}

macro_rules! cases {
    ($($rule:literal $(+ $with:literal)?: $world:literal, $script:expr;)*) => {
        &[$(Case { rule: $rule, with: concat!("" $(, $with)?), world: $world, script: $script },)*]
    };
}

/// Every rule whose removal has to be found.
pub const CASES: &[Case] = cases![
    "promise_durable": "ops=1,views=1,crashes=1,notices", "e0@1 v2 h2 2>3! 3>2 1>3:Redo 3>1:Pers";
    "refuse_below_promised": "ops=1,views=1", "";
    "higher_view_raises_promised": "ops=1,views=1", "";
    "prev_matching": "ops=2,views=1,crashes=1,notices", "e0@1! 1>3:Redo v2 h2 2>1:Peer 1>2:PeerState 2>1:Redo 1>2:Pers e1@2 2>1:Redo 1>2:Pers";
    "best_log_by_normal": "ops=2,views=2,notices", "e0@1 e1@1 v2 h2 2>3:Peer 3>2 2>3:Redo 3>2:Pers e0@2 2>3:Redo 3>2:Pers";
    "best_log_not_by_last_view": "ops=2,views=3,notices",
        "e0@1 v2 h2 2>3:Peer 3>2 2>3:Redo 3>2:Pers e1@2 v1 h1 1>3:Peer 3>1 1>3:Redo";
    "blank_does_not_count": "ops=1,views=1,blanks=1", "e0@1 1>3 3>1 b3";
    "blank_starts_at_epoch": "ops=2,views=1,blanks=1,duplicates=1,notices",
        "e0@1 1>3* 3>1:Pers e1@1 1>3:prev:_Position_{_seq:_Seq(1) 3>1:Pers b3 1>3:prev:_Position_{_seq:_Seq(0) v2 h2 2>3:Peer 3>2:PeerState";
    "stable_from_view_acks": "ops=2,views=1,crashes=1,notices", "e0@1! 1>3 v1 h1";
    "normal_at_base": "ops=2,views=2,notices,short-redo", "e0@1 1>2 2>1 e1@1 1>2 2>1 v2 h2 2>3:Peer 3>2";
    "tail_dropped": "ops=1,views=1", "";
    "short_redo_cuts_nothing": "ops=1,views=1", "";
    "apply_when_matched": "ops=2,views=2,crashes=1,notices,short-redo",
        "e0@1 1>2:Redo e1@1! 1>3:Redo v2 h2 2>1:Peer 1>2:PeerState 2>1:Redo 1>2:Pers e1@2 2>1:Redo 1>2:Pers v2 h2 2>3:Peer 3>2:PeerState";
    "ack_after_sync": "ops=1,crashes=1", "";
    "primary_counts_after_sync": "ops=1,crashes=1,lazy", "";
    "restarted_does_not_resume": "ops=2,crashes=1,notices", "e0@1!";
    "dedupe_log": "ops=1", "";
    "dedupe_results": "ops=1,notices", "";
    "results_outlive_prune": "ops=2,prune,notices", "e0@1 1>2 1>3 2>1 3>1";
    "dedupe_waits": "ops=1", "";
    "prune_applied_synced": "ops=2,crashes=1,prune", "e0@1 1>2 1>3 2>1 3>1";
    "quorum_of_old": "ops=2,views=2,replacements=1", "m2>4@1 v3 h3 3>4:Peer 4>3:PeerState e0@1 1>2:Redo 2>1:Pers";
    "quorum_of_members": "ops=2,views=2,replacements=1",
        "m2>4@3 h3 3>2:Peer 2>3 3>4:Peer 4>3 3>4:Redo 4>3 e0@3 3>4:Redo 4>3 v1 h1 1>2:Peer 2>1";
    "end_tag" + "end_view": "ops=2,crashes=2,recovery,notices",
        "e0@1 1>2:Redo 2>1:Pers c3 h1 1>2:Peer 2>1:PeerState 1>2:Redo 2>1:Pers 1>3:Redo 3>1:Pers e1@1 1>2:Redo 2>1:Pers c3";
    "end_waits" + "end_view": "ops=1,views=1,crashes=1,recovery,notices", "e0@1 1>2 2>1 c3 h1 1>2:Peer 2>1";
    "end_view" + "end_waits": "ops=1,views=1,crashes=1,recovery,notices", "e0@1 1>2 2>1 c3 h1 1>2:Peer 2>1";
    "lease_ends": "ops=1,views=1,lease-ends=1,leases,notices", "v- l1 v2 h2 2>3:Peer 3>2 2>3:Redo 3>2";
    "lease_epoch": "ops=1,views=1,lease-ends=1,leases,notices", "v- l1 r1 v2 h2 2>3:Peer 3>2 2>3:Redo 3>2";
    "read_active" + "read_base_applied": "ops=1,views=1,lease-ends=1,leases,notices", "e0@1 1>3:Redo 3>1:Pers v- h1 v3 h3";
    "read_base_applied" + "read_active": "ops=1,views=1,lease-ends=1,leases,notices", "e0@1 1>3:Redo 3>1:Pers v- h1 v3 h3";
    "copy_then_apply": "ops=2,views=1,blanks=1,prune,notices", FILLS;
    "copy_in_order": "ops=2,views=1,blanks=1,crashes=1,prune",
        "e0@1 1>2 1>3 2>1 3>1 e1@1 1>2 1>3 2>1 3>1 b3 v1 h1 1>2:Peer 2>1 1>2:Redo 2>1:Pers 1>3:Redo 3>1:Gap 1>3:Refused 3>1:CopyRequest 1>3:number:_0, 3>1:number:_0 1>3:number:_1, 3>1:number:_1 1>3:number:_2, 3>1:number:_2 c3";
    "copy_spares_who_counts": "ops=4,views=1,marks=1,crashes=1,duplicates=1,prune",
        "e0@1 1>2 1>3:Redo 2>1 x3 h1 e1@1 1>2:Redo 2>1 c3 v1 h1 1>2:Peer 2>1 1>2:Redo 2>1:Pers 1>3:Redo_{_view:_ViewNumber(5) 3>1:Gap 1>3:Refused 3>1:CopyRequest* 1>3:number:_0, 3>1:number:_0 1>3:number:_1, 3>1:number:_1 1>3:number:_2, 3>1:number:_2 1>3:number:_3, 3>1:number:_3 1>3:Redo_{_view:_ViewNumber(5) e2@1 e3@1 1>3:Redo_{_view:_ViewNumber(5) 1>2:records:_[Record_{_seq:_Seq(3) 2>1:Pers";
    "copy_wiped_at_view": "ops=1,views=2,blanks=1,prune,notices", FILLS;
    "copy_wiped_at_restart": "ops=1,views=1,blanks=1,crashes=1,prune,notices", FILLS;
];

/// Rules whose removal is not found, and why it is not asked for.
pub const NOT_FOUND: &[(&str, &str)] = &[
    ("prune_all_persistent", "redundant for safety while a full copy exists (`dtm-checks.md`); a rule of cost and of invariant 8"),
    ("half_window", "redundant with log time, W suffices (`dtm-checks.md`); the model has no time"),
    ("report_amnesia", "detects a device that lies; no disk of the model does"),
    (
        "counts_with_normal",
        "covered: a member's word reaches the base only with `normal` = the view, and nothing below the base is counted",
    ),
    ("stable_never_cut", "covered by all the others: no log that is sent differs from what is STABLE here"),
    ("normal_durable_first", "covered by the one ordered log of a device: no record of the view is durable before `normal` is"),
    ("copy_from_active", "covered: a target counts by `normal` alone, which only a Redo that reaches the base sets"),
    ("copy_counts_not", "covered by `copy_from_active`: f+1 others hold what the active primary has, with a greater `normal`"),
    ("copy_keeps_log", "a rule of cost: without it the target falls behind again and is copied to anew"),
    ("answer_with_lease", "harm only from `ha pool force`, which waives `old` and is not built yet"),
    ("nearest_lease", "covered by the primary's permit, which is taken after the client asked"),
    ("publish_applied", "seen only between two threads of one process: a turn of the model is one step"),
];

/// All rules but those named, by commas.
pub fn without(names: &str) -> Result<Rules, String> {
    let mut rules = Rules::default();
    for name in names.split(',').filter(|name| !name.is_empty()) {
        rules = rules.and_without(name).ok_or_else(|| format!("no rule is called {name}"))?;
    }
    Ok(rules)
}

/// The worlds of a list.
pub fn parse(list: &[&'static str]) -> Result<Vec<World>, String> {
    list.iter().map(|text| World::parse(text)).collect()
}
