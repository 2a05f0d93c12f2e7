//! Objects: a file for each verb.

pub mod acl;
pub mod attributes;
pub mod copy;
pub mod delete;
pub mod get;
pub mod list;
pub mod put;
pub mod tagging;
pub mod words;
