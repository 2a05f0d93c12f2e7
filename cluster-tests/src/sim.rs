//! The simulator of pure machines: a heap of events over simulated time, with a simulated network and disks.
//!
//! Everything random is drawn from one seed; an event carries whatever was drawn for it, so that handling an event depends on the event
//! alone. A run is therefore the same twice ([`trace::TraceHash`]), and the list of its events is a file that can be played again without
//! the seed. What runs on it are the shipped machines: see [`dtm`] and [`ha`].

pub mod cluster;
pub mod crossing;
pub mod disk;
pub mod dtm;
pub mod ha;
pub mod heap;
pub mod life;
pub mod network;
pub mod play;
pub mod recorded;
pub mod run;
pub mod shown;
pub mod shrink;
pub mod swarm;
pub mod trace;
