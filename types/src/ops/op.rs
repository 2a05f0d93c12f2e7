//! What a client may ask for, operation by operation, and the rows that decide each.

use serde::{Deserialize, Serialize};

use super::Condition;
use crate::event::{Cause, Happening, Wish};
use crate::keys::{self, Place};
use crate::object::Versioning;
use crate::record::RowKey;
use crate::upload::UploadId;
use crate::{CatalogueId, Fid, Version, VersionId};

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Op {
    /// Sets a row.
    Put {
        /// Which row.
        row: RowKey,
        /// To what.
        #[serde(with = "crate::codec::bytes")]
        value: Vec<u8>,
        /// If what.
        condition: Condition,
    },
    /// Removes a row; one that is not there stays so, unless the condition says otherwise.
    Delete {
        /// Which row.
        row: RowKey,
        /// If what.
        condition: Condition,
    },
    /// The commit of an object's PUT: sets the record, takes the pending rows away (each must be there), and makes the fids of the
    /// record that it replaces dead, or sets that aside as a version.
    PutObject {
        /// Which catalogue.
        catalogue: CatalogueId,
        /// The object's name.
        #[serde(with = "crate::codec::bytes")]
        name: Vec<u8>,
        /// The encoded [`ObjectRecord`].
        #[serde(with = "crate::codec::bytes")]
        record: Vec<u8>,
        /// The fids that were pending and that the record now keeps alive.
        pending: Vec<Fid>,
        /// If what, of the record that is replaced.
        condition: Condition,
        /// What the bucket does with versions. The originator says it, whatever the client wrote.
        versioning: Versioning,
    },
    /// Removes an object's record and makes its fids dead; where the bucket keeps versions it is set aside, and a delete marker is current.
    DeleteObject {
        /// Which catalogue.
        catalogue: CatalogueId,
        /// The object's name.
        #[serde(with = "crate::codec::bytes")]
        name: Vec<u8>,
        /// If what.
        condition: Condition,
        /// Wall clock of who deletes, in milliseconds since 1970.
        modified_ms: u64,
        /// As in [`Op::PutObject`].
        versioning: Versioning,
    },
    /// Makes a pending fid dead, if it is still pending.
    Abandon {
        /// Which catalogue.
        catalogue: CatalogueId,
        /// The object's name.
        #[serde(with = "crate::codec::bytes")]
        name: Vec<u8>,
        /// Which fid.
        fid: Fid,
    },
    /// The commit of a part of an open upload: sets its row, takes the pending rows away (each must be there), makes the fids of the part
    /// that it replaces dead, and writes the upload's row anew. Refused without a version where the upload takes no parts.
    PutPart {
        /// Which catalogue.
        catalogue: CatalogueId,
        /// The object's name.
        #[serde(with = "crate::codec::bytes")]
        name: Vec<u8>,
        /// Which upload.
        upload: UploadId,
        /// Which part.
        number: u16,
        /// The encoded [`PartRow`].
        #[serde(with = "crate::codec::bytes")]
        part: Vec<u8>,
        /// The fids that were pending and that the part now keeps alive.
        pending: Vec<Fid>,
    },
    /// Makes an object of an open upload: sets the record, which takes over the fids of the parts that are kept, makes those of the record
    /// that it replaces dead, and ends the upload. Refused where the upload is not as it was seen.
    CompleteUpload {
        /// Which catalogue.
        catalogue: CatalogueId,
        /// The object's name.
        #[serde(with = "crate::codec::bytes")]
        name: Vec<u8>,
        /// Which upload.
        upload: UploadId,
        /// The upload's version when its parts were read.
        seen: Version,
        /// Numbers of the parts that the record is made of, in order.
        kept: Vec<u16>,
        /// The encoded [`ObjectRecord`].
        #[serde(with = "crate::codec::bytes")]
        record: Vec<u8>,
        /// If what, of the record that is replaced.
        condition: Condition,
        /// As in [`Op::PutObject`].
        versioning: Versioning,
    },
    /// Ends an open upload without an object. Refused without a version where there is none.
    EndUpload {
        /// Which catalogue.
        catalogue: CatalogueId,
        /// The object's name.
        #[serde(with = "crate::codec::bytes")]
        name: Vec<u8>,
        /// Which upload.
        upload: UploadId,
    },
    /// Takes the row of a part away; its fids become dead, unless the upload was completed with it. For the sweep.
    DiscardPart {
        /// Which catalogue.
        catalogue: CatalogueId,
        /// The object's name.
        #[serde(with = "crate::codec::bytes")]
        name: Vec<u8>,
        /// Which upload.
        upload: UploadId,
        /// Which part.
        number: u16,
    },
    /// Gives the next fids of a retired row dead rows of their own; the row goes with the last. For the sweep.
    Unfold {
        /// Which catalogue.
        catalogue: CatalogueId,
        /// The object's name.
        #[serde(with = "crate::codec::bytes")]
        name: Vec<u8>,
        /// The first fid that was retired with it.
        first: Fid,
    },
    /// Sets the words about an object: the record stays what it is otherwise. Refused without a version where there is none.
    DescribeObject {
        /// Which catalogue.
        catalogue: CatalogueId,
        /// The object's name.
        #[serde(with = "crate::codec::bytes")]
        name: Vec<u8>,
        /// The words.
        words: Vec<(String, String)>,
        /// Of which version; the current object where `None`.
        of: Option<VersionId>,
        /// If what.
        condition: Condition,
    },
    /// Removes one version for good. Where it is current the one named `next` takes its place: it has to be there, and has to be the newest of
    /// the others, which is sure as long as the row of the current one is as it was seen. Refused where that version's row is not as it was seen.
    DeleteVersion {
        /// Which catalogue.
        catalogue: CatalogueId,
        /// The object's name.
        #[serde(with = "crate::codec::bytes")]
        name: Vec<u8>,
        /// Which version.
        id: VersionId,
        /// The version of its row.
        seen: Version,
        /// The newest of the others, if there are others.
        next: Option<VersionId>,
    },
    /// Takes the row of a version away that is not the current object; its fids become dead. For the sweep of what was dropped.
    DiscardVersion {
        /// Which catalogue.
        catalogue: CatalogueId,
        /// The object's name.
        #[serde(with = "crate::codec::bytes")]
        name: Vec<u8>,
        /// Which one.
        place: Place,
    },
    /// Keeps for each of these targets that something happened to an object: what the operation before it in the transaction did. Whoever gives
    /// the transaction its place adds it; nobody may ask for it.
    Notify {
        /// Which catalogue.
        catalogue: CatalogueId,
        /// The object's name.
        #[serde(with = "crate::codec::bytes")]
        name: Vec<u8>,
        /// Which operation did it, from 0.
        of: u16,
        /// What it did, if it did anything.
        happening: Happening,
        /// The bucket's name.
        bucket: String,
        /// Wall clock, in milliseconds since 1970.
        at_ms: u64,
        /// Who wants to be told.
        wishes: Vec<Wish>,
    },
}

impl Op {
    /// The rows whose present state decides the operation.
    pub fn rows(&self) -> Vec<RowKey> {
        let row = |catalogue: &CatalogueId, key| RowKey { catalogue: *catalogue, key };
        match self {
            Self::Put { row, .. } | Self::Delete { row, .. } => vec![row.clone()],
            Self::PutObject { catalogue, name, pending, versioning, .. } => current(name, *versioning)
                .into_iter()
                .chain(pending.iter().map(|fid| keys::pending(name, *fid)))
                .map(|key| row(catalogue, key))
                .collect(),
            Self::DeleteObject { catalogue, name, versioning, .. } => {
                current(name, *versioning).into_iter().map(|key| row(catalogue, key)).collect()
            }
            Self::DescribeObject { catalogue, name, of, .. } => std::iter::once(keys::object(name))
                .chain(of.map(|id| keys::version(name, Place::Kept(id))))
                .map(|key| row(catalogue, key))
                .collect(),
            Self::DeleteVersion { catalogue, name, id, next, .. } => [keys::object(name), keys::version(name, Place::Marker)]
                .into_iter()
                .chain(next.iter().chain([id]).map(|id| keys::version(name, Place::Kept(*id))))
                .map(|key| row(catalogue, key))
                .collect(),
            Self::DiscardVersion { catalogue, name, place } => vec![row(catalogue, keys::version(name, *place))],
            Self::Abandon { catalogue, name, fid } => vec![row(catalogue, keys::pending(name, *fid))],
            Self::PutPart { catalogue, name, upload, number, pending, .. } => {
                [keys::part(name, *upload, *number), keys::upload(name, *upload)]
                    .into_iter()
                    .chain(pending.iter().map(|fid| keys::pending(name, *fid)))
                    .map(|key| row(catalogue, key))
                    .collect()
            }
            Self::CompleteUpload { catalogue, name, upload, versioning, .. } => {
                current(name, *versioning).into_iter().chain([keys::upload(name, *upload)]).map(|key| row(catalogue, key)).collect()
            }
            Self::EndUpload { catalogue, name, upload } => vec![row(catalogue, keys::upload(name, *upload))],
            Self::DiscardPart { catalogue, name, upload, number } => {
                vec![row(catalogue, keys::part(name, *upload, *number)), row(catalogue, keys::upload(name, *upload))]
            }
            Self::Unfold { catalogue, name, first } => vec![row(catalogue, keys::retired(name, *first))],
            // What is written anew, at a place that nobody had.
            Self::Notify { .. } => Vec::new(),
        }
    }

    /// Says what the catalogue that the operation is about does with versions.
    pub fn set_versioning(&mut self, of: impl FnOnce(CatalogueId) -> Versioning) {
        match self {
            Self::PutObject { catalogue, versioning, .. }
            | Self::DeleteObject { catalogue, versioning, .. }
            | Self::CompleteUpload { catalogue, versioning, .. } => *versioning = of(*catalogue),
            _ => {}
        }
    }

    /// What it does to an object, if it does anything: that object, and what happens to it. To be asked when it was said what the catalogue does
    /// with versions.
    pub fn happening(&self, cause: Cause) -> Option<(CatalogueId, &[u8], Happening)> {
        let by_rule = cause == Cause::Rule;
        match self {
            Self::PutObject { catalogue, name, .. } => {
                let happening = match cause {
                    Cause::Asked | Cause::Rule => Happening::Put,
                    Cause::Form => Happening::Post,
                    Cause::Copy => Happening::Copy,
                };
                Some((*catalogue, name, happening))
            }
            Self::CompleteUpload { catalogue, name, .. } => Some((*catalogue, name, Happening::Completed)),
            Self::DeleteObject { catalogue, name, versioning, .. } if *versioning != Versioning::Off => {
                Some((*catalogue, name, if by_rule { Happening::ExpiredMarked } else { Happening::Marked }))
            }
            Self::DeleteObject { catalogue, name, .. } | Self::DeleteVersion { catalogue, name, .. } => {
                Some((*catalogue, name, if by_rule { Happening::Expired } else { Happening::Deleted }))
            }
            _ => None,
        }
    }

    /// What was said of versions.
    pub(super) fn versioning(&self) -> Versioning {
        match self {
            Self::PutObject { versioning, .. } | Self::DeleteObject { versioning, .. } | Self::CompleteUpload { versioning, .. } => {
                *versioning
            }
            _ => Versioning::Off,
        }
    }
}

/// The rows of what is current, and of the null version where it may go.
fn current(name: &[u8], versioning: Versioning) -> Vec<Vec<u8>> {
    let mut keys = vec![keys::object(name)];
    if versioning != Versioning::Off {
        keys.push(keys::version(name, Place::Marker));
    }
    if versioning == Versioning::Suspended {
        keys.push(keys::version(name, Place::Kept(VersionId::Null)));
    }
    keys
}
