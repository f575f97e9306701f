//! The journal as a whole: writers, readers, torn tails, full disks.

use std::os::unix::fs::FileExt;
use std::time::Duration;

use dccd_model::EntryKind;
use tempfile::TempDir;

use super::*;
use crate::journal::retain;

fn entry<'a>(n: i64, payload: &'a [u8]) -> Entry<'a> {
    Entry { kind: EntryKind::Frame, conn: 1, ts_recv: UnixNanos(n), subject: "", payload }
}

fn small() -> JournalOptions {
    JournalOptions { segment_bytes: 600, ..JournalOptions::default() }
}

/// Writes entries number `range`, each with a payload of 50 bytes, committing each.
fn write(writer: &mut JournalWriter, range: std::ops::Range<i64>) {
    for n in range {
        writer.append(&entry(n, &[u8::try_from(n % 256).unwrap(); 50])).unwrap();
        writer.commit().unwrap();
    }
}

fn read_all(reader: &mut JournalReader) -> Vec<i64> {
    let mut numbers = Vec::new();
    while let Some((_, entry)) = reader.next().unwrap() {
        assert!(entry.payload.iter().all(|b| i64::from(*b) == entry.ts_recv.0 % 256));
        numbers.push(entry.ts_recv.0);
    }
    numbers
}

fn segments(dir: &TempDir) -> Vec<PathBuf> {
    segment::list(dir.path()).unwrap().into_iter().map(|b| segment::path(dir.path(), b)).collect()
}

#[test]
fn a_reader_follows_a_growing_journal_across_segments_and_reopens_anywhere() {
    let dir = tempfile::tempdir().unwrap();
    let mut reader = JournalReader::open_at(dir.path(), Position(0)).unwrap();
    assert!(reader.next().unwrap().is_none());
    let mut writer = JournalWriter::open(dir.path(), small()).unwrap();
    let mut positions = vec![];
    for n in 0..40 {
        write(&mut writer, n..n + 1);
        assert_eq!(read_all(&mut reader), [n]);
        assert_eq!(reader.position(), writer.position());
        positions.push(reader.position());
    }
    assert!(segments(&dir).len() > 4, "{:?}", segments(&dir));
    for (n, position) in positions.into_iter().enumerate() {
        let mut reader = JournalReader::open_at(dir.path(), position).unwrap();
        assert_eq!(read_all(&mut reader), ((i64::try_from(n).unwrap() + 1)..40).collect::<Vec<_>>());
    }
    let end = writer.position();
    let beyond = JournalReader::open_at(dir.path(), Position(end.0 + 1));
    assert!(matches!(beyond, Err(JournalError::Beyond { end: e, .. }) if e == end));
}

#[test]
fn a_batch_becomes_visible_at_its_commit_and_goes_on_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = JournalWriter::open(dir.path(), small()).unwrap();
    assert_eq!(writer.found_until(), UnixNanos::UNKNOWN);
    writer.append(&entry(0, &[0])).unwrap();
    writer.append(&entry(1, &[1])).unwrap();
    let mut reader = JournalReader::open_at(dir.path(), Position(0)).unwrap();
    assert!(read_all(&mut reader).is_empty());
    writer.commit().unwrap();
    assert_eq!(read_all(&mut reader), [0, 1]);
    drop(writer);
    let mut writer = JournalWriter::open(dir.path(), small()).unwrap();
    assert_eq!(writer.found_until(), entry(1, &[1]).ts_recv);
    assert_eq!(*writer.recovered(), Recovered::default());
    write(&mut writer, 2..5);
    assert_eq!(read_all(&mut reader), [2, 3, 4]);
}

#[test]
fn the_buffer_is_bounded_by_committing() {
    let dir = tempfile::tempdir().unwrap();
    let options = JournalOptions { buffer_bytes: 1000, ..JournalOptions::default() };
    let mut writer = JournalWriter::open(dir.path(), options).unwrap();
    for n in 0..100 {
        writer.append(&entry(n, &[u8::try_from(n).unwrap(); 90])).unwrap();
        assert!(writer.buffer.len() <= 1000);
    }
    let mut reader = JournalReader::open_at(dir.path(), Position(0)).unwrap();
    assert_eq!(read_all(&mut reader), (0..96).collect::<Vec<_>>());
    let payload = vec![7; 300_000];
    writer.append(&entry(7, &payload)).unwrap();
    writer.commit().unwrap();
    assert_eq!(read_all(&mut reader), [96, 97, 98, 99, 7]);
    assert!(writer.buffer.capacity() <= 1000);
    let payload = vec![7; crate::journal::ENTRY_BYTES_MAX + 1];
    assert!(matches!(writer.append(&entry(7, &payload)), Err(JournalError::TooLarge { .. })));
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_and_nothing_before_it() {
    for keep in 0..81 {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = JournalWriter::open(dir.path(), JournalOptions::default()).unwrap();
        write(&mut writer, 0..3);
        let good = writer.position();
        write(&mut writer, 3..4);
        drop(writer);
        let path = segments(&dir).pop().unwrap();
        let size = frame::size(&entry(3, &[0; 50])).unwrap() as u64;
        let cut = size.min(keep);
        OpenOptions::new().write(true).open(&path).unwrap().set_len(good.0 + cut).unwrap();
        let mut writer = JournalWriter::open(dir.path(), JournalOptions::default()).unwrap();
        let whole = cut == size;
        assert_eq!(writer.recovered().bytes_cut, if whole { 0 } else { cut });
        assert_eq!(writer.position().0, if whole { good.0 + size } else { good.0 });
        write(&mut writer, 9..10);
        let mut reader = JournalReader::open_at(dir.path(), Position(0)).unwrap();
        assert_eq!(read_all(&mut reader), if whole { vec![0, 1, 2, 3, 9] } else { vec![0, 1, 2, 9] });
    }
}

#[test]
fn a_tail_of_zeros_or_garbage_is_cut() {
    for tail in [vec![0u8; 4096], vec![0xff; 100], b"\x40\0\0\0garbage".to_vec()] {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = JournalWriter::open(dir.path(), JournalOptions::default()).unwrap();
        write(&mut writer, 0..3);
        let good = writer.position();
        drop(writer);
        let file = OpenOptions::new().write(true).open(&segments(&dir)[0]).unwrap();
        file.write_all_at(&tail, good.0).unwrap();
        let mut writer = JournalWriter::open(dir.path(), JournalOptions::default()).unwrap();
        assert_eq!(writer.recovered().bytes_cut, tail.len() as u64);
        assert!(writer.recovered().lost_entries());
        write(&mut writer, 3..4);
        assert_eq!(read_all(&mut JournalReader::open_at(dir.path(), Position(0)).unwrap()), [0, 1, 2, 3]);
    }
}

#[test]
fn a_segment_whose_header_was_never_finished_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = JournalWriter::open(dir.path(), JournalOptions::default()).unwrap();
    write(&mut writer, 0..3);
    let end = writer.position();
    drop(writer);
    std::fs::write(segment::path(dir.path(), end.0), &segment::header(end.0, UnixNanos(1))[..17]).unwrap();
    let mut writer = JournalWriter::open(dir.path(), JournalOptions::default()).unwrap();
    assert_eq!((writer.position(), writer.recovered().bytes_cut), (end, 17));
    write(&mut writer, 3..4);
    assert_eq!(read_all(&mut JournalReader::open_at(dir.path(), Position(0)).unwrap()), [0, 1, 2, 3]);
}

#[test]
fn damage_in_the_middle_is_named_kept_and_can_be_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = JournalWriter::open(dir.path(), JournalOptions::default()).unwrap();
    write(&mut writer, 0..1);
    let second = writer.position();
    write(&mut writer, 1..5);
    let end = writer.position();
    drop(writer);
    let path = segments(&dir).pop().unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[0xee], second.0 + 30).unwrap();

    let mut writer = JournalWriter::open(dir.path(), JournalOptions::default()).unwrap();
    assert_eq!(writer.recovered().damaged.as_ref(), Some(&path));
    assert!(writer.position() > end, "nothing was cut, and a new segment begun");
    write(&mut writer, 5..7);
    let mut reader = JournalReader::open_at(dir.path(), Position(0)).unwrap();
    assert!(reader.next().unwrap().is_some());
    for _ in 0..2 {
        match reader.next() {
            Err(JournalError::Damaged { path: file, offset, damage: Damage::Checksum }) => {
                assert_eq!((file, offset), (path.clone(), second.0));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(reader.skip_damaged().unwrap(), Some(end));
    assert_eq!(read_all(&mut reader), [5, 6]);
}

#[test]
fn a_full_disk_loses_only_what_did_not_fit_and_the_writer_goes_on_when_there_is_room() {
    for room in 0..250 {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = JournalWriter::open(dir.path(), JournalOptions::default()).unwrap();
        write(&mut writer, 0..1);
        let mut reader = JournalReader::open_at(dir.path(), Position(0)).unwrap();
        assert_eq!(read_all(&mut reader), [0]);
        writer.room = Some(room);
        for n in 1..4 {
            writer.append(&entry(n, &[u8::try_from(n).unwrap(); 50])).unwrap();
        }
        let fits = i64::try_from(room / 73).unwrap().min(3);
        match writer.commit() {
            Ok(_) => assert_eq!(fits, 3),
            Err(error @ JournalError::NoSpace { .. }) => assert_eq!(error.lost(), u64::try_from(3 - fits).unwrap()),
            Err(other) => panic!("{other}"),
        }
        assert_eq!(read_all(&mut reader), (1..=fits).collect::<Vec<_>>());
        writer.room = None;
        write(&mut writer, 9..10);
        assert_eq!(read_all(&mut reader), [9]);
        drop(writer);
        let writer = JournalWriter::open(dir.path(), JournalOptions::default()).unwrap();
        assert_eq!(*writer.recovered(), Recovered::default());
    }
}

#[test]
fn a_disk_that_fills_up_while_a_segment_is_begun_leaves_readers_in_step() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = JournalWriter::open(dir.path(), small()).unwrap();
    write(&mut writer, 0..7);
    let mut reader = JournalReader::open_at(dir.path(), Position(0)).unwrap();
    assert_eq!(read_all(&mut reader), (0..7).collect::<Vec<_>>());
    let end = writer.position();
    writer.room = Some(10);
    writer.append(&entry(7, &[7; 50])).unwrap();
    assert!(matches!(writer.commit(), Err(JournalError::NoSpace { lost: 1, .. })));
    assert_eq!(writer.position(), end);
    assert!(reader.next().unwrap().is_none(), "the reader may wait in the segment that was begun");
    writer.room = None;
    writer.append(&entry(8, &[8; 1])).unwrap();
    writer.commit().unwrap();
    assert_eq!(read_all(&mut reader), [8]);
}

#[test]
fn positions_are_never_used_twice_after_the_end_was_lost() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = JournalWriter::open(dir.path(), JournalOptions::default()).unwrap();
    write(&mut writer, 0..5);
    let checkpoint = writer.position();
    drop(writer);
    OpenOptions::new().write(true).open(&segments(&dir)[0]).unwrap().set_len(150).unwrap();
    let options = JournalOptions { at_least: checkpoint, ..JournalOptions::default() };
    let mut writer = JournalWriter::open(dir.path(), options).unwrap();
    assert!(writer.recovered().lost_end);
    let mut following = JournalReader::open_at(dir.path(), checkpoint).unwrap();
    assert!(following.next().unwrap().is_none());
    write(&mut writer, 5..7);
    assert_eq!(read_all(&mut following), [5, 6]);
    assert_eq!(read_all(&mut JournalReader::open_at(dir.path(), checkpoint).unwrap()), [5, 6]);
    let mut reader = JournalReader::open_at(dir.path(), Position(0)).unwrap();
    assert_eq!(reader.next().unwrap().unwrap().1.ts_recv, UnixNanos(0));
    assert!(matches!(reader.next(), Err(JournalError::Damaged { damage: Damage::Missing, .. })));
    assert_eq!(reader.skip_damaged().unwrap(), Some(checkpoint));
    assert_eq!(read_all(&mut reader), [5, 6]);
}

#[test]
fn a_second_writer_is_refused_with_the_pid_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let _writer = JournalWriter::open(dir.path(), JournalOptions::default()).unwrap();
    match JournalWriter::open(dir.path(), JournalOptions::default()) {
        Err(JournalError::Locked { holder, .. }) => assert_eq!(holder.pid, Some(std::process::id())),
        other => panic!("{other:?}"),
    }
}

#[test]
fn retention_deletes_only_recorded_segments_beyond_the_budget() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = JournalWriter::open(dir.path(), small()).unwrap();
    write(&mut writer, 0..40);
    let all = segments(&dir);
    assert_eq!(retain(dir.path(), Position(0), 0).unwrap(), 0);
    assert_eq!(segments(&dir), all);
    let bases = segment::list(dir.path()).unwrap();
    let inside = Position(bases[3] + 40);
    assert_eq!(retain(dir.path(), inside, u64::MAX).unwrap(), 0);
    let freed = retain(dir.path(), inside, bases[3] - bases[2]).unwrap();
    assert_eq!(freed, bases[2]);
    assert_eq!(segments(&dir), all[2..]);
    assert!(
        matches!(JournalReader::open_at(dir.path(), Position(0)), Err(JournalError::Retired { first, .. }) if first.0 == bases[2])
    );
    let mut reader = JournalReader::open_first(dir.path()).unwrap();
    assert_eq!(reader.position(), Position(bases[2]));
    assert_eq!(read_all(&mut reader).last(), Some(&39));
    retain(dir.path(), writer.position(), 0).unwrap();
    assert_eq!(segments(&dir), all[all.len() - 1..]);
    let mut reader = JournalReader::open_at(dir.path(), Position(*bases.last().unwrap())).unwrap();
    assert!(!read_all(&mut reader).is_empty());
}

#[test]
fn syncing_covers_what_was_committed_and_stops_when_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer =
        JournalWriter::open(dir.path(), JournalOptions { sync_interval: Duration::from_millis(1), ..small() }).unwrap();
    let sync = writer.sync_handle().unwrap();
    write(&mut writer, 0..100);
    sync.sync_now().unwrap();
    drop(sync);
    writer.commit().unwrap();
}

#[test]
fn a_failed_sync_poisons_the_writer() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = JournalWriter::open(dir.path(), small()).unwrap();
    write(&mut writer, 0..1);
    // A directory that is gone can't be synced; the segment in it still can be written to.
    let gone = dir.path().join("gone");
    let file = Arc::clone(&writer.current.as_ref().unwrap().file);
    writer.sync.set_current(file, gone.clone(), &gone);
    assert!(matches!(writer.sync.sync(), Err(JournalError::SyncFailed { .. })));
    writer.append(&entry(1, &[1])).unwrap();
    assert!(matches!(writer.commit(), Err(JournalError::SyncFailed { path, .. }) if path == gone));
    assert!(matches!(writer.commit(), Err(JournalError::SyncFailed { .. })));
}

#[test]
fn a_reader_beside_a_writing_thread_sees_every_entry_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    let options = JournalOptions { segment_bytes: 64 << 10, ..JournalOptions::default() };
    let writing = std::thread::spawn(move || {
        let mut writer = JournalWriter::open(&path, options).unwrap();
        for n in 0..20_000i64 {
            let length = usize::try_from(n * 7919 % 300).unwrap();
            writer.append(&entry(n, &vec![u8::try_from(n % 256).unwrap(); length])).unwrap();
            if n % 17 == 0 {
                writer.commit().unwrap();
            }
        }
    });
    let mut reader = JournalReader::open_at(dir.path(), Position(0)).unwrap();
    let mut seen = 0;
    while seen < 20_000 {
        let finished = writing.is_finished();
        let numbers = read_all(&mut reader);
        for n in &numbers {
            assert_eq!(*n, seen);
            seen += 1;
        }
        assert!(!finished || !numbers.is_empty() || seen == 20_000, "stuck after {seen}");
    }
    writing.join().unwrap();
}

#[test]
fn half_an_entry_that_was_cut_again_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = JournalWriter::open(dir.path(), JournalOptions::default()).unwrap();
    write(&mut writer, 0..1);
    let mut reader = JournalReader::open_at(dir.path(), Position(0)).unwrap();
    assert_eq!(read_all(&mut reader), [0]);
    // A write that was cut short: of an entry of 10 KB only the beginning is there.
    let mut bytes = Vec::new();
    frame::encode(&entry(1, &[1; 10_000]), &mut bytes);
    let file = OpenOptions::new().write(true).open(&segments(&dir)[0]).unwrap();
    file.write_all_at(&bytes[..100], writer.position().0).unwrap();
    assert!(reader.next().unwrap().is_none());
    file.set_len(writer.position().0).unwrap();
    write(&mut writer, 2..4);
    assert_eq!(read_all(&mut reader), [2, 3]);
}

#[test]
fn entries_and_a_new_segment_that_come_between_a_look_and_the_listing_are_no_damage() {
    use crate::journal::reader::BEFORE_LISTING;
    let dir = tempfile::tempdir().unwrap();
    let mut writer = JournalWriter::open(dir.path(), small()).unwrap();
    write(&mut writer, 0..3);
    let mut reader = JournalReader::open_at(dir.path(), Position(0)).unwrap();
    assert_eq!(read_all(&mut reader), [0, 1, 2]);
    BEFORE_LISTING.set(Some(Box::new(move || write(&mut writer, 3..20))));
    let mut looks = 0;
    while BEFORE_LISTING.with_borrow(Option::is_some) && looks < 1000 {
        looks += 1;
        if let Some((_, entry)) = reader.next().unwrap() {
            assert_eq!(entry.ts_recv.0, 3);
        }
    }
    assert!(segments(&dir).len() > 2 && looks < 1000);
    assert_eq!(read_all(&mut reader), (4..20).collect::<Vec<_>>());
}

#[test]
fn a_journal_that_begins_past_the_store_is_read_from_its_own_beginning() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(JournalReader::open_first(dir.path()).unwrap().position(), Position(0));
    let options = JournalOptions { at_least: Position(7_000_000), ..JournalOptions::default() };
    let mut writer = JournalWriter::open(dir.path(), options).unwrap();
    let mut reader = JournalReader::open_first(dir.path()).unwrap();
    assert_eq!(reader.position(), Position(7_000_000));
    assert!(reader.next().unwrap().is_none());
    write(&mut writer, 0..3);
    assert_eq!(read_all(&mut reader), [0, 1, 2]);
    assert!(reader.position() > Position(7_000_000));
}
