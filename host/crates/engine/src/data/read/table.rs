//! Tables: CSV, Parquet and Arrow.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use arrow_array::RecordBatch;
use arrow_json::writer::{JsonArray, WriterBuilder};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Map, Value};

use super::guard::guarded;
use super::{MOST_ROW_BYTES, Origin, Place, Row, Rows, Unpacked, ipc, json, object};
use crate::{Error, Result};

/// Rows of a Parquet file that are in memory at a time.
const ROWS_AT_ONCE: usize = 256;

/// A file with a header line; every value is text.
pub(super) fn delimited(reader: Unpacked, file: Arc<PathBuf>, delimiter: u8) -> Result<Rows> {
    let left = Arc::new(AtomicUsize::new(MOST_ROW_BYTES));
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .from_reader(Limited {
            inner: reader,
            left: left.clone(),
        });
    let header = reader
        .headers()
        .map_err(|error| table_error(&file, &error))?
        .clone();
    let names: Vec<String> = header
        .iter()
        .map(|name| name.trim_start_matches('\u{feff}').trim().to_owned())
        .collect();
    if let Some(twice) = (1..names.len()).find(|at| names[..*at].contains(&names[*at])) {
        return Err(Error::file(
            &*file,
            format!("line 1: the column {:?} stands there twice", names[twice]),
        ));
    }
    let mut record = csv::StringRecord::new();
    Ok(Box::new(std::iter::from_fn(move || {
        left.store(MOST_ROW_BYTES, Ordering::Relaxed);
        match reader.read_record(&mut record) {
            Ok(false) => None,
            Err(error) => Some(Err(table_error(&file, &error))),
            Ok(true) => {
                let line = record.position().map_or(0, |place| place.line() as usize);
                let fields = names
                    .iter()
                    .zip(&record)
                    .map(|(name, value)| (name.clone(), Value::from(value)))
                    .collect();
                Some(Ok(Row {
                    fields,
                    origin: Origin {
                        file: file.clone(),
                        place: Place::Line(line),
                    },
                }))
            }
        }
    })))
}

/// Bounds what is read for one record: a quote that nobody closes would swallow the file.
struct Limited {
    inner: Unpacked,
    left: Arc<AtomicUsize>,
}

impl Read for Limited {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let left = self.left.load(Ordering::Relaxed);
        if count > left {
            return Err(io::Error::other(format!(
                "a row is longer than the {} MiB that it may have; is a quote not closed?",
                MOST_ROW_BYTES >> 20
            )));
        }
        self.left.store(left - count, Ordering::Relaxed);
        Ok(count)
    }
}

fn table_error(file: &PathBuf, error: &csv::Error) -> Error {
    let line = error
        .position()
        .map_or_else(String::new, |place| format!("line {}: ", place.line()));
    let reason = match error.kind() {
        csv::ErrorKind::Utf8 { err, .. } => format!(
            "column {}: is no UTF-8; convert the file to UTF-8",
            err.field() + 1
        ),
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => format!("has {len} values where the header has {expected_len}"),
        csv::ErrorKind::Io(error) => error.to_string(),
        _ => error.to_string(),
    };
    Error::file(file, format!("{line}{reason}"))
}

/// Rows of a Parquet file, a few hundred in memory at a time.
pub(super) fn parquet(file: Arc<PathBuf>) -> Result<Rows> {
    let reader = guarded(&file, || {
        open_parquet(&file)?
            .with_batch_size(ROWS_AT_ONCE)
            .build()
            .map_err(|error| bad_parquet(&file, &error))
    })?;
    Ok(batches(file, reader))
}

/// How many rows a Parquet file says that it has.
pub(super) fn parquet_rows(file: &Path) -> Result<u64> {
    let rows = guarded(file, || {
        let opened = open_parquet(file)?;
        Ok(opened.metadata().file_metadata().num_rows())
    })?;
    u64::try_from(rows).map_err(|error| bad_parquet(file, &error))
}

fn open_parquet(file: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let opened = File::open(file).map_err(Error::io("read", file))?;
    ParquetRecordBatchReaderBuilder::try_new(opened).map_err(|error| bad_parquet(file, &error))
}

fn bad_parquet(file: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::file(
        file,
        format!("is no Parquet file that can be read: {error}"),
    )
}

/// Rows of an Arrow file: feather and the IPC file, or the IPC stream that Python's `datasets` writes.
pub(super) fn arrow(file: Arc<PathBuf>) -> Result<Rows> {
    let bad = |error: &dyn std::fmt::Display| {
        Error::file(
            &*file,
            format!("is no Arrow file that can be read: {error}"),
        )
    };
    let mut opened = File::open(&*file).map_err(Error::io("read", &*file))?;
    let mut magic = [0; 6];
    let is_file = opened.read_exact(&mut magic).is_ok() && &magic == b"ARROW1";
    if magic.starts_with(b"FEA1") {
        return Err(bad(
            &"it is feather of version 1; write it with pyarrow's default version 2",
        ));
    }
    // A file is a stream behind eight bytes; what its footer says beside that is not needed.
    let start = if is_file { 8 } else { 0 };
    ipc::check(&opened, start).map_err(|error| bad(&error))?;
    opened
        .seek(SeekFrom::Start(start as u64))
        .map_err(Error::io("read", &*file))?;
    let reader = guarded(&file, || {
        let opened = BufReader::new(opened);
        arrow_ipc::reader::StreamReader::try_new(opened, None).map_err(|error| bad(&error))
    })?;
    Ok(batches(file, reader))
}

fn batches<E: std::fmt::Display>(
    file: Arc<PathBuf>,
    mut reader: impl Iterator<Item = Result<RecordBatch, E>> + Send + 'static,
) -> Rows {
    let (mut count, mut broken) = (0, false);
    let lists = std::iter::from_fn(move || {
        if broken {
            return None;
        }
        let rows = guarded(&file, || match reader.next() {
            None => Ok(None),
            Some(Ok(batch)) => values(&batch, &file, count).map(Some),
            Some(Err(error)) => Err(Error::file(
                &*file,
                format!("cannot be read after row {count}: {error}"),
            )),
        });
        match rows.transpose()? {
            Ok(rows) => {
                count += rows.len();
                Some(rows.into_iter().map(Ok).collect::<Vec<_>>())
            }
            Err(error) => {
                broken = true;
                Some(vec![Err(error)])
            }
        }
    });
    Box::new(lists.flatten())
}

/// A batch as JSON objects; `before` rows came before it.
fn values(batch: &RecordBatch, file: &Arc<PathBuf>, before: usize) -> Result<Vec<Row>> {
    let bad = |error: &dyn std::fmt::Display| {
        let last = before + batch.num_rows();
        Error::file(
            &**file,
            format!(
                "rows {} to {last}: cannot be read as values: {error}",
                before + 1
            ),
        )
    };
    let mut rows = Vec::with_capacity(batch.num_rows());
    // Some at a time, so that an IPC file of one batch does not stand in memory as text too.
    for from in (0..batch.num_rows()).step_by(ROWS_AT_ONCE) {
        let part = batch.slice(from, ROWS_AT_ONCE.min(batch.num_rows() - from));
        let mut writer = WriterBuilder::new()
            .with_explicit_nulls(true)
            .build::<_, JsonArray>(Vec::new());
        writer
            .write(&part)
            .and_then(|()| writer.finish())
            .map_err(|error| bad(&error))?;
        let list: Vec<Map<String, Value>> = serde_json::from_slice(&writer.into_inner())
            .map_err(|error| bad(&json::reason(&error)))?;
        for fields in list {
            let place = Place::Row(before + rows.len() + 1);
            let origin = Origin {
                file: file.clone(),
                place,
            };
            rows.push(object(Value::Object(fields), origin)?);
        }
    }
    Ok(rows)
}
