//! Messages of DTM0 between the members of a group.
