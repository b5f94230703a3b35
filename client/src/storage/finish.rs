//! Gives verified files their names: content durable first, then the names, then the folders.
//!
//! Thousands of small files would be thousands of waits for the disk; a batch waits once.

use std::path::PathBuf;
use std::sync::Arc;

use super::verify::segment_value;
use super::{ChainingValue, FileKey, Part, Storage, StorageError};

/// From this many files on, one call for the whole file system is cheaper than one for each.
const MIN_FILES_FOR_ONE_SYNC: usize = 4;

/// One complete file waiting for its name.
#[derive(Debug)]
pub struct Finished {
    /// Which file.
    pub key: FileKey,
    /// Its part.
    pub part: Arc<dyn Part>,
    /// A small file's content, which was never written, with the root hash it must have if nobody has looked yet.
    pub whole: Option<(Vec<u8>, Option<ChainingValue>)>,
}

/// What came of it.
#[derive(Debug)]
pub enum Published {
    /// The file is where it belongs.
    At(PathBuf),
    /// The small file's content is not what the sender hashed.
    Mismatch,
    /// It could not be kept.
    Failed(StorageError),
}

/// Publishes a batch; one answer for each file, in order.
pub fn finish_batch(storage: &dyn Storage, batch: &[Finished]) -> Vec<Published> {
    let mut results: Vec<Result<(), Published>> = batch.iter().map(stage).collect();
    let synced = if batch.len() >= MIN_FILES_FOR_ONE_SYNC {
        storage.sync_all()
    } else {
        Ok(false)
    };
    // When the one call fails, each file is told by its own sync whether it is concerned.
    let all = matches!(synced, Ok(true));
    for (file, result) in batch.iter().zip(&mut results) {
        let synced = all && file.part.is_synced_with_all();
        if !synced
            && result.is_ok()
            && let Err(error) = file.part.sync()
        {
            *result = Err(Published::Failed(error));
        }
    }
    let mut published: Vec<Published> = batch
        .iter()
        .zip(results)
        .map(|(file, result)| match result {
            Ok(()) => file
                .part
                .publish()
                .map_or_else(Published::Failed, Published::At),
            Err(other) => other,
        })
        .collect();
    sync_names(storage, &mut published);
    published
}

fn stage(file: &Finished) -> Result<(), Published> {
    let Some((whole, root)) = &file.whole else {
        return Ok(());
    };
    if root.is_some_and(|root| segment_value(0, 1, whole) != root) {
        return Err(Published::Mismatch);
    }
    file.part.stage(whole).map_err(Published::Failed)
}

fn sync_names(storage: &dyn Storage, published: &mut [Published]) {
    let paths: Vec<_> = published
        .iter()
        .filter_map(|result| match result {
            Published::At(path) => Some(path.as_path()),
            Published::Mismatch | Published::Failed(_) => None,
        })
        .collect();
    if let Err(error) = storage.sync_names(&paths) {
        let last = published
            .iter_mut()
            .rfind(|result| matches!(result, Published::At(_)));
        if let Some(last) = last {
            *last = Published::Failed(error);
        }
    }
}
