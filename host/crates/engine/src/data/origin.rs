use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::{Map, Value};

use crate::Error;

/// One row and where it came from.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) fields: Map<String, Value>,
    pub(crate) origin: Origin,
}

/// Where a row came from, for messages.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) file: Arc<PathBuf>,
    pub(super) place: Place,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    Line(usize),
    Element(usize),
    Row(usize),
    WholeFile,
}

impl Origin {
    /// A file that is one row.
    pub(super) fn whole(file: &Path) -> Self {
        Self {
            file: Arc::new(file.to_owned()),
            place: Place::WholeFile,
        }
    }

    /// `line 3`, `element 3` of a JSON array, `row 3` of a table; `None` for a text file, which is one row.
    pub(crate) fn place(&self) -> Option<String> {
        match self.place {
            Place::Line(line) => Some(format!("line {line}")),
            Place::Element(index) => Some(format!("element {index}")),
            Place::Row(index) => Some(format!("row {index}")),
            Place::WholeFile => None,
        }
    }

    /// An error of this row.
    pub(crate) fn error(&self, message: impl AsRef<str>) -> Error {
        let message = message.as_ref();
        Error::file(
            &*self.file,
            self.place()
                .map_or_else(|| message.to_owned(), |place| format!("{place}: {message}")),
        )
    }
}
