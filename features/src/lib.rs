//! Nothing but a list of dependencies: see Cargo.toml.
//!
//! Cargo compiles a dependency anew for each set of features. The product, its tests and the simulator are built apart, because the product
//! has no switches of the model check; with this crate among their dependencies they share all that is not ours.
