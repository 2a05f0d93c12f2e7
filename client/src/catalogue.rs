//! Buckets and indices themselves: made and removed by HA, known to everybody through the map.

use std::time::Duration;

use tokio::time::Instant;
use types::Epoch;
use types::map::{Catalogue, CatalogueKind};

use crate::control::ControlError;
use crate::inner::kind_word;
use crate::name::check_catalogue_name;
use crate::retry::Attempts;
use crate::{Client, Error};

impl Client {
    /// Makes a bucket or an index, over `width` groups (HA's default where `None`). `Exists` where it is there already.
    pub async fn create(&self, kind: CatalogueKind, name: &str, width: Option<u32>) -> Result<(), Error> {
        check_catalogue_name(&format!("the name of the {}", kind_word(kind)), name)?;
        let what = format!("create {} `{name}`", kind_word(kind));
        let mut attempts = Attempts::new(&what, self.inner.options.timeout);
        let mut perhaps = false;
        loop {
            let began = Instant::now();
            match tokio::time::timeout_at(attempts.deadline(), self.inner.control.create_catalogue(kind, name, width)).await {
                // An earlier attempt of this call may have made it.
                Ok(Ok(created)) if created || perhaps => {
                    self.inner.learn(Epoch(0), began, attempts.deadline()).await;
                    return Ok(());
                }
                Ok(Ok(_)) => return Err(Error::Exists(format!("{} `{name}`", kind_word(kind)))),
                Ok(Err(ControlError::Refused(reason))) => return Err(Error::Refused(format!("{what}: {reason}"))),
                Ok(Err(error)) => {
                    perhaps |= matches!(error, ControlError::Unknown(_));
                    attempts.failed(error);
                }
                Err(_) => return Err(attempts.unknown()),
            }
            attempts.pause().await?;
        }
    }

    /// Makes a bucket or an index where it is not there yet.
    pub async fn ensure(&self, kind: CatalogueKind, name: &str) -> Result<(), Error> {
        if self.inner.map.latest().catalogue_named(kind, name).is_some() {
            return Ok(());
        }
        match self.create(kind, name, None).await {
            Err(Error::Exists(_)) => {
                // Somebody else made it a moment ago: the map that this client has does not know it yet.
                self.map(Duration::ZERO).await.map(drop)
            }
            other => other,
        }
    }

    /// Removes a bucket or an index with all that is in it. `NotFound` where there is none.
    pub async fn remove(&self, kind: CatalogueKind, name: &str) -> Result<(), Error> {
        let (catalogue, _) = self.inner.catalogue(kind, name).await?;
        let what = format!("drop {} `{name}`", kind_word(kind));
        let mut attempts = Attempts::new(&what, self.inner.options.timeout);
        loop {
            let began = Instant::now();
            match tokio::time::timeout_at(attempts.deadline(), self.inner.control.drop_catalogue(catalogue.id)).await {
                // Gone is what was wanted: an id is never used again.
                Ok(Ok(()) | Err(ControlError::NotFound(_))) => {
                    self.inner.learn(Epoch(0), began, attempts.deadline()).await;
                    return Ok(());
                }
                Ok(Err(ControlError::Refused(reason))) => return Err(Error::Refused(format!("{what}: {reason}"))),
                Ok(Err(error)) => attempts.failed(error),
                Err(_) => return Err(attempts.unknown()),
            }
            attempts.pause().await?;
        }
    }

    /// The bucket or index of that name. `NotFound` where there is none.
    pub async fn catalogue(&self, kind: CatalogueKind, name: &str) -> Result<Catalogue, Error> {
        Ok(self.inner.catalogue(kind, name).await?.0)
    }

    /// All buckets or indices, by name.
    pub async fn catalogues(&self, kind: CatalogueKind) -> Result<Vec<Catalogue>, Error> {
        let map = self.map(Duration::ZERO).await?;
        let mut found: Vec<Catalogue> = map.catalogues.values().filter(|c| c.kind == kind).cloned().collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }
}
