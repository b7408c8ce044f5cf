//! What the studio makes for its visitors on the side, such as an export: one at a time, each in a folder of its own.
//!
//! A [`Shelf`] knows all pieces of one kind. Everything of a piece lies in a folder that is named by its id, with what is
//! known of it in a note, so that finished ones are there after a restart.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use anyhow::Context;
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use uuid::Uuid;

use crate::error::AppError;

/// Pieces that may wait at a time.
const MOST_WAITING: usize = 16;

/// One piece of work, as requests see it and as its note keeps it.
pub(crate) trait Piece: Clone + Serialize + DeserializeOwned {
    /// What people call one.
    const NOUN: &'static str;
    /// File name of its note.
    const NOTE: &'static str;

    /// What requests name it by, and its folder.
    fn id(&self) -> Uuid;

    /// It is not at its end.
    fn is_active(&self) -> bool;

    /// The studio ended while it was active.
    fn leave_behind(&mut self);
}

/// How a piece is ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// What is done stays.
    Stop,
    /// All of it goes.
    Delete,
}

/// All pieces of a kind.
#[derive(Debug)]
pub(crate) struct Shelf<P> {
    folder: PathBuf,
    places: Mutex<Vec<Place<P>>>,
    turn: Semaphore,
}

#[derive(Debug)]
struct Place<P> {
    piece: P,
    /// Says what to do to whoever makes it; none while nobody does.
    end: Option<oneshot::Sender<End>>,
}

impl<P: Piece> Shelf<P> {
    /// Finds what earlier processes made in `folder`.
    pub(crate) fn open(folder: PathBuf) -> Self {
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        let mut places: Vec<Place<P>> = entries
            .filter_map(|entry| {
                let text = std::fs::read_to_string(entry.path().join(P::NOTE)).ok()?;
                let mut piece: P = serde_json::from_str(&text).ok()?;
                if entry.file_name().to_str() != Some(&piece.id().to_string()) {
                    return None;
                }
                if piece.is_active() {
                    piece.leave_behind();
                }
                Some(Place { piece, end: None })
            })
            .collect();
        places.sort_by_key(|place| place.piece.id());
        Self {
            folder,
            places: Mutex::new(places),
            turn: Semaphore::new(1),
        }
    }

    fn places(&self) -> MutexGuard<'_, Vec<Place<P>>> {
        self.places
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// All of them, newest first.
    pub(crate) fn list(&self) -> Vec<P> {
        let places = self.places();
        places
            .iter()
            .rev()
            .map(|place| place.piece.clone())
            .collect()
    }

    /// The piece of that id.
    ///
    /// # Errors
    /// 404.
    pub(crate) fn find(&self, id: Uuid) -> Result<P, AppError> {
        let places = self.places();
        places
            .iter()
            .find(|place| place.piece.id() == id)
            .map(|place| place.piece.clone())
            .ok_or_else(|| AppError::not_found(format!("There is no {} {id}.", P::NOUN)))
    }

    /// Where everything of a piece lies.
    pub(crate) fn folder(&self, id: Uuid) -> PathBuf {
        self.folder.join(id.to_string())
    }

    /// Changes what is known of a piece; one that is gone by now stays so.
    pub(crate) fn change(&self, id: Uuid, change: impl FnOnce(&mut P)) {
        if let Some(place) = self
            .places()
            .iter_mut()
            .find(|place| place.piece.id() == id)
        {
            change(&mut place.piece);
        }
    }

    /// Writes what is known of a piece into its folder, and removes the folder of one that was deleted meanwhile; a failure
    /// is logged.
    pub(crate) fn keep(&self, id: Uuid) {
        // Held while it is written: whoever deletes the piece now waits, and then finds all of it.
        let places = self.places();
        match places.iter().find(|place| place.piece.id() == id) {
            Some(place) => {
                if let Err(error) = self.note(&place.piece) {
                    tracing::warn!(%id, "{}: {error:#}", P::NOUN);
                }
            }
            None => self.remove(id),
        }
    }

    fn note(&self, piece: &P) -> anyhow::Result<()> {
        let folder = self.folder(piece.id());
        let write = || {
            std::fs::create_dir_all(&folder)?;
            let mut file = tempfile::NamedTempFile::new_in(&folder)?;
            serde_json::to_writer_pretty(&mut file, piece)?;
            file.flush()?;
            file.as_file().sync_all()?;
            file.persist(folder.join(P::NOTE))?;
            anyhow::Ok(())
        };
        write().with_context(|| format!("cannot write {}", folder.display()))
    }

    /// Looks whether one more may wait.
    ///
    /// # Errors
    /// 409.
    pub(crate) fn check_room(&self) -> Result<(), AppError> {
        let places = self.places();
        if places
            .iter()
            .filter(|place| place.piece.is_active())
            .count()
            < MOST_WAITING
        {
            return Ok(());
        }
        let noun = P::NOUN;
        Err(AppError::Conflict(format!(
            "{MOST_WAITING} {noun}s are waiting already; wait for them, or delete some."
        )))
    }

    /// Takes a new piece in; who makes it listens to what comes back.
    ///
    /// # Errors
    /// The data folder cannot be written.
    pub(crate) fn add(&self, piece: P) -> Result<oneshot::Receiver<End>, AppError> {
        self.note(&piece)?;
        let (end, ended) = oneshot::channel();
        let end = Some(end);
        self.places().push(Place { piece, end });
        Ok(ended)
    }

    /// Somebody makes a piece again.
    pub(crate) fn again(&self, id: Uuid) -> oneshot::Receiver<End> {
        let (end, ended) = oneshot::channel();
        if let Some(place) = self
            .places()
            .iter_mut()
            .find(|place| place.piece.id() == id)
        {
            place.end = Some(end);
        }
        ended
    }

    /// Waits until nothing else is made; the turn is held to the end of the work.
    ///
    /// # Errors
    /// It was ended before.
    pub(crate) async fn turn(
        &self,
        ended: &mut oneshot::Receiver<End>,
    ) -> Result<SemaphorePermit<'_>, End> {
        tokio::select! {
            turn = self.turn.acquire() => Ok(turn.expect("the shelf is never closed")),
            end = ended => Err(end.unwrap_or(End::Delete)),
        }
    }

    /// Tells whoever makes it; false when nobody does.
    pub(crate) fn end(&self, id: Uuid, end: End) -> bool {
        let mut places = self.places();
        let place = places.iter_mut().find(|place| place.piece.id() == id);
        let sender = place
            .filter(|place| place.piece.is_active())
            .and_then(|place| place.end.take());
        sender.is_some_and(|sender| sender.send(end).is_ok())
    }

    /// Ends a piece, where it is not done, and takes it off. Its folder goes at once, or by the hand of whoever makes it,
    /// once nothing writes there any more.
    pub(crate) fn delete(&self, id: Uuid) {
        let mut places = self.places();
        let Some(at) = places.iter().position(|place| place.piece.id() == id) else {
            return;
        };
        let place = places.remove(at);
        drop(places);
        let end = place.end.filter(|_| place.piece.is_active());
        let is_made = end.is_some_and(|end| end.send(End::Delete).is_ok());
        if !is_made {
            self.remove(id);
        }
    }

    /// Removes the folder of a piece; a failure is logged.
    pub(crate) fn remove(&self, id: Uuid) {
        remove(&self.folder(id));
    }
}

fn remove(folder: &Path) {
    if let Err(error) = std::fs::remove_dir_all(folder)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!("{}: cannot be removed: {error}", folder.display());
    }
}
