use super::super::finish::{Finished, Published, finish_batch};
use super::super::{FileKey, verify};
use super::*;

const MIB: usize = 1 << 20;

fn content(size: usize) -> Vec<u8> {
    (0..size).map(|i| (i / 7 * 13 % 255) as u8).collect()
}

fn request(name: &str, size: usize) -> FileRequest {
    FileRequest {
        folder: None,
        relative: PathBuf::from(name),
        size_bytes: size as u64,
        version: [1; 16],
    }
}

fn quiet() -> AtomicBool {
    AtomicBool::new(false)
}

type Fetch = (Arc<dyn Part>, Vec<(u32, ChainingValue)>);

fn prepare(storage: &DiskStorage, request: &FileRequest) -> Result<Fetch, StorageError> {
    match storage.prepare(request, &quiet())? {
        Preparation::Fetch { part, have } => Ok((part, have)),
        Preparation::Skip { target } => panic!("{} is skipped", target.display()),
    }
}

fn values(data: &[u8]) -> Vec<(u32, ChainingValue)> {
    let count = segment_count(data.len() as u64).unwrap();
    (0..count)
        .map(|index| {
            let start = index as usize * MIB;
            let end = (start + MIB).min(data.len());
            (index, segment_value(index, count, &data[start..end]))
        })
        .collect()
}

fn publish(storage: &DiskStorage, part: Arc<dyn Part>, whole: Option<&[u8]>) -> Published {
    let whole = whole.map(|data| (data.to_vec(), *blake3::hash(data).as_bytes()));
    let file = Finished {
        key: FileKey(0),
        part,
        whole: whole.map(|(data, root)| (data, Some(root))),
    };
    finish_batch(storage, &[file]).remove(0)
}

fn entries(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_large_file_is_a_part_until_it_is_published() {
    let folder = tempfile::tempdir().unwrap();
    let storage = DiskStorage::new(folder.path().to_path_buf(), Existing::Refuse);
    let data = content(3 * MIB + 5);
    let (part, have) = prepare(&storage, &request("sub/a.bin", data.len())).unwrap();
    assert!(have.is_empty());
    let sub = folder.path().join("sub");
    assert_eq!(entries(&sub), ["a.bin.part"]);
    drop(part);
    assert!(entries(&sub).is_empty(), "nothing of it could be resumed");
    // A run that was killed before its first checkpoint leaves this.
    std::fs::write(sub.join("a.bin.part"), vec![0; data.len()]).unwrap();
    let (part, have) = prepare(&storage, &request("sub/a.bin", data.len())).unwrap();
    assert!(have.is_empty());
    assert_eq!(
        entries(&sub),
        ["a.bin.part"],
        "it is ours without a map, too"
    );
    let reserved = std::fs::metadata(sub.join("a.bin.part")).unwrap();
    assert_eq!(reserved.len(), data.len() as u64);
    part.write_at(0, &data).unwrap();
    let published = publish(&storage, part, None);
    assert!(matches!(published, Published::At(path) if path == sub.join("a.bin")));
    assert_eq!(entries(&sub), ["a.bin"]);
    assert_eq!(std::fs::read(sub.join("a.bin")).unwrap(), data);
}

#[test]
fn checkpointed_segments_are_found_again_and_damaged_ones_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let data = content(4 * MIB);
    let request = request("a", data.len());
    let all = values(&data);
    {
        let storage = DiskStorage::new(folder.path().to_path_buf(), Existing::Refuse);
        let (part, _) = prepare(&storage, &request).unwrap();
        part.write_at(0, &data[..3 * MIB]).unwrap();
        part.checkpoint(&all[..3]).unwrap();
    }
    let path = folder.path().join("a.part");
    let file = platform::open_part(&path, false).unwrap();
    platform::write_all_at(&file, b"rot", MIB as u64 + 10).unwrap();
    drop(file);
    let storage = DiskStorage::new(folder.path().to_path_buf(), Existing::Refuse);
    let (part, have) = prepare(&storage, &request).unwrap();
    assert_eq!(have, [all[0], all[2]]);
    drop(part);

    let mut changed = request.clone();
    changed.version = [2; 16];
    let (_, have) = prepare(&storage, &changed).unwrap();
    assert!(have.is_empty(), "another version starts from zero");
}

#[test]
fn a_map_without_its_part_and_a_part_without_its_map_mean_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = content(2 * MIB);
    let map = ResumeMap {
        version: [1; 16],
        size_bytes: data.len() as u64,
        segments: values(&data),
    };
    map.store(&folder.path().join("a.part.columba")).unwrap();
    std::fs::write(folder.path().join("b.part"), "somebody's").unwrap();
    let storage = DiskStorage::new(folder.path().to_path_buf(), Existing::Refuse);
    let (_, have) = prepare(&storage, &request("a", data.len())).unwrap();
    assert!(have.is_empty());
    let (part, _) = prepare(&storage, &request("b", data.len())).unwrap();
    part.write_at(0, &data).unwrap();
    assert!(matches!(publish(&storage, part, None), Published::At(_)));
    assert_eq!(
        std::fs::read(folder.path().join("b.part")).unwrap(),
        b"somebody's"
    );
    assert_eq!(std::fs::read(folder.path().join("b")).unwrap(), data);
}

#[test]
fn existing_files_are_treated_as_told() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.txt"), "old").unwrap();
    let request = request("a.txt", 3);
    let open = |existing| DiskStorage::new(folder.path().to_path_buf(), existing);

    let refused = prepare(&open(Existing::Refuse), &request).unwrap_err();
    assert!(matches!(refused, StorageError::Exists { .. }));
    let skipped = open(Existing::Skip).prepare(&request, &quiet()).unwrap();
    assert!(matches!(skipped, Preparation::Skip { .. }));

    let storage = open(Existing::Rename);
    let (part, _) = prepare(&storage, &request).unwrap();
    assert!(matches!(
        publish(&storage, part, Some(b"two")),
        Published::At(_)
    ));
    let storage = open(Existing::Overwrite);
    let (part, _) = prepare(&storage, &request).unwrap();
    assert!(matches!(
        publish(&storage, part, Some(b"new")),
        Published::At(_)
    ));
    assert_eq!(entries(folder.path()), ["a (1).txt", "a.txt"]);
    assert_eq!(std::fs::read(folder.path().join("a.txt")).unwrap(), b"new");
    assert_eq!(
        std::fs::read(folder.path().join("a (1).txt")).unwrap(),
        b"two"
    );
}

#[test]
fn a_name_taken_meanwhile_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let storage = DiskStorage::new(folder.path().to_path_buf(), Existing::Refuse);
    let (part, _) = prepare(&storage, &request("a", 3)).unwrap();
    std::fs::write(folder.path().join("a"), "theirs").unwrap();
    let published = publish(&storage, part, Some(b"our"));
    assert!(matches!(
        published,
        Published::Failed(StorageError::Exists { .. })
    ));
    assert_eq!(std::fs::read(folder.path().join("a")).unwrap(), b"theirs");
    assert_eq!(entries(folder.path()), ["a"]);
}

#[test]
fn two_files_of_one_download_never_share_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let storage = DiskStorage::new(folder.path().to_path_buf(), Existing::Overwrite);
    let (first, _) = prepare(&storage, &request("a", 2 * MIB)).unwrap();
    assert!(prepare(&storage, &request("a", 2 * MIB)).is_err());
    // The shared folder may hold a file that is called like the other's part.
    assert!(prepare(&storage, &request("a.part", 3)).is_err());
    drop(first);
    assert!(prepare(&storage, &request("a", 2 * MIB)).is_ok());
}

#[cfg(unix)]
#[test]
fn symlinks_do_not_lead_out_of_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(outside.path(), folder.path().join("sub")).unwrap();
    let storage = DiskStorage::new(folder.path().to_path_buf(), Existing::Overwrite);
    assert!(prepare(&storage, &request("sub/a", 3)).is_err());

    // A planted link in place of the part, with a map beside it that makes it look like ours.
    std::os::unix::fs::symlink(outside.path().join("x"), folder.path().join("b.part")).unwrap();
    std::fs::write(folder.path().join("b.part.columba"), "").unwrap();
    assert!(prepare(&storage, &request("b", 2 * MIB)).is_err());
    assert!(entries(outside.path()).is_empty());
}

#[test]
fn a_second_download_to_the_same_place_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let open = || DiskStorage::new(folder.path().to_path_buf(), Existing::Refuse);
    let (first, second) = (open(), open());
    let request = request("a", 2 * MIB);
    let (_part, _) = prepare(&first, &request).unwrap();
    let refused = prepare(&second, &request).unwrap_err();
    assert!(matches!(refused, StorageError::Busy { .. }), "{refused}");
}

#[test]
fn a_batch_of_small_files_is_published_and_a_wrong_one_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let storage = DiskStorage::new(folder.path().to_path_buf(), Existing::Refuse);
    let batch: Vec<_> = (0..20u32)
        .map(|number| {
            let data = content(number as usize * 100);
            let (part, _) =
                prepare(&storage, &request(&format!("t/{number}"), data.len())).unwrap();
            let mut root = verify::segment_value(0, 1, &data);
            if number == 7 {
                root[0] ^= 1;
            }
            Finished {
                key: FileKey(number),
                part,
                whole: Some((data, Some(root))),
            }
        })
        .collect();
    let published = finish_batch(&storage, &batch);
    drop(batch);
    for (number, result) in published.iter().enumerate() {
        assert_eq!(matches!(result, Published::Mismatch), number == 7);
        assert_eq!(matches!(result, Published::At(_)), number != 7);
    }
    assert_eq!(entries(&folder.path().join("t")).len(), 19);
}

#[cfg(unix)]
#[test]
fn more_than_the_disk_holds_is_an_error_before_the_first_byte() {
    let folder = tempfile::tempdir().unwrap();
    let free = {
        let stat = rustix::fs::statvfs(folder.path()).unwrap();
        stat.f_bavail * stat.f_frsize
    };
    let Some(size) = free.checked_add(1 << 30).filter(|size| *size < 1 << 40) else {
        return; // The disk holds more than a file may have.
    };
    let storage = DiskStorage::new(folder.path().to_path_buf(), Existing::Refuse);
    let error = prepare(&storage, &request("huge", size as usize)).unwrap_err();
    assert!(
        matches!(&error, StorageError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull),
        "{error}"
    );
    assert!(entries(folder.path()).is_empty());
    assert!(prepare(&storage, &request("beyond", (1 << 40) + 1)).is_err());
}

#[test]
fn rehashing_stops_when_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let data = content(2 * MIB);
    let request = request("a", data.len());
    let storage = DiskStorage::new(folder.path().to_path_buf(), Existing::Refuse);
    let (part, _) = prepare(&storage, &request).unwrap();
    part.write_at(0, &data).unwrap();
    part.checkpoint(&values(&data)).unwrap();
    drop(part);
    let interrupted = AtomicBool::new(true);
    assert!(matches!(
        storage.prepare(&request, &interrupted),
        Err(StorageError::Interrupted)
    ));
}

#[test]
fn another_folder_takes_single_files_and_a_discarded_part_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let storage = DiskStorage::new(folder.path().to_path_buf(), Existing::Refuse);
    let data = content(2 * MIB);
    let mut elsewhere = request("sub/a", data.len());
    elsewhere.folder = Some(other.path().to_path_buf());
    let (part, _) = prepare(&storage, &elsewhere).unwrap();
    assert!(!part.is_synced_with_all());
    part.write_at(0, &data).unwrap();
    part.checkpoint(&values(&data)[..1]).unwrap();
    assert_eq!(entries(&other.path().join("sub")).len(), 2);
    part.discard();
    drop(part);
    assert!(entries(&other.path().join("sub")).is_empty());
    let (part, have) = prepare(&storage, &elsewhere).unwrap();
    assert!(have.is_empty());
    part.write_at(0, &data).unwrap();
    let published = publish(&storage, part, None);
    let target = other.path().join("sub/a");
    assert!(matches!(published, Published::At(path) if path == target));
    assert!(entries(folder.path()).is_empty());
}
