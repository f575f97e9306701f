//! A ring's life within one process: bytes, positions, laps, restarts, refusals.

mod common;

use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::{Duration, Instant};

use common::{TestRing, record, spec, verify};
use dccd_ring::{FeedState, Next, Reader, RingError, RingSpec, Waited, Writer, WriterStatus, list, ring_path, sweep};

fn publish(writer: &mut Writer, count: u64) {
    for _ in 0..count {
        let sequence = writer.cursor();
        writer.publish(&record(sequence));
    }
    writer.end_batch();
}

/// Everything that is there: the sequence numbers, and how many were lost on the way.
fn drain(reader: &mut Reader) -> (Vec<u64>, u64) {
    let (mut sequences, mut lost) = (Vec::new(), 0);
    loop {
        match reader.try_next() {
            Next::Record { sequence, words } => {
                verify(sequence, &words);
                sequences.push(sequence);
            }
            Next::Lapped { lost: n } => lost += n,
            Next::Empty => return (sequences, lost),
        }
    }
}

#[test]
fn the_segment_is_layout_1_to_the_byte() {
    let ring = TestRing::new();
    let mut writer = Writer::open(&ring.spec(4), 0x0102_0304_0506_0708).unwrap();
    writer.set_state(FeedState::Syncing);
    writer.heartbeat(77);
    writer.add_gap();
    writer.add_gap();
    for _ in 0..5 {
        writer.publish(&[1, 2, 3, 4, 5, 6, 0x0708]);
    }
    let bytes = std::fs::read(ring_path(&ring.name)).unwrap();
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let text = |at: usize, length: usize| String::from_utf8(bytes[at..at + length].to_vec()).unwrap();
    assert_eq!(bytes.len(), 4096 + 4 * 64);
    assert_eq!(text(0, 8), "DCCDRING");
    assert_eq!([8, 12, 16, 20].map(u32_at), [1, 1, 64, 4096]);
    assert_eq!([24, 32].map(u64_at), [4, 0x0102_0304_0506_0708]);
    assert_eq!(text(40, 32).trim_end_matches('\0'), "sim");
    assert_eq!(text(72, 64).trim_end_matches('\0'), "BTC/USDT");
    assert_eq!(text(136, 32).trim_end_matches('\0'), "trades");
    assert_eq!(u64_at(256), 1, "generation");
    assert_eq!([264, 268].map(u32_at), [std::process::id(), 3]);
    assert_eq!([280, 288, 320].map(u64_at), [77, 2, 5]);
    assert_eq!(u32_at(384), 1, "one batch ended, by the change of state");
    // Record 4 lies in slot 0, record 3 in slot 3.
    assert_eq!([4096, 4104, 4096 + 56].map(u64_at), [5, 1, 0x0708]);
    assert_eq!(u64_at(4096 + 3 * 64), 4);
    let rest = (0..4096).filter(|at| bytes[*at] != 0 && matches!(at, 168..256 | 272..280 | 296..320 | 328..384 | 388..4096));
    assert_eq!(rest.collect::<Vec<_>>(), Vec::<usize>::new(), "reserved bytes are 0");
}

#[test]
fn a_segment_is_readable_for_the_group_and_mapped_read_only_by_readers() {
    let ring = TestRing::new();
    let mut writer = Writer::open(&ring.spec(8), 1).unwrap();
    publish(&mut writer, 3);
    let mode = std::fs::metadata(ring_path(&ring.name)).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o640);
    drop(writer);
    let mut reader = Reader::open(&ring.name).unwrap().from_oldest();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let rights: Vec<_> =
        maps.lines().filter(|l| l.contains(&ring.name)).map(|l| l.split_whitespace().nth(1).unwrap()).collect();
    assert_eq!(rights, ["r--s"]);
    assert_eq!(drain(&mut reader).0, [0, 1, 2]);
}

#[test]
fn readers_start_where_they_want() {
    let ring = TestRing::new();
    let mut writer = Writer::open(&ring.spec(8), 1).unwrap();
    publish(&mut writer, 5);
    let open = || Reader::open(&ring.name).unwrap();
    assert_eq!(drain(&mut open().from_oldest()), (vec![0, 1, 2, 3, 4], 0));
    assert_eq!(drain(&mut open().from_newest()), (vec![], 0));
    assert_eq!(drain(&mut open().from_sequence(3)), (vec![3, 4], 0));
    let mut ahead = open().from_sequence(6);
    publish(&mut writer, 5); // 0 and 1 are overwritten
    assert_eq!(drain(&mut ahead), (vec![6, 7, 8, 9], 0));
    assert_eq!(drain(&mut open().from_oldest()), ((2..10).collect(), 0));
    assert_eq!(open().cursor(), 10);
}

#[test]
fn a_lapped_reader_learns_exactly_how_much_it_lost() {
    let ring = TestRing::new();
    let mut writer = Writer::open(&ring.spec(8), 1).unwrap();
    let mut reader = Reader::open(&ring.name).unwrap();
    publish(&mut writer, 20);
    assert_eq!(reader.try_next::<7>(), Next::Lapped { lost: 12 });
    assert_eq!(drain(&mut reader), ((12..20).collect(), 0));
    publish(&mut writer, 9);
    assert_eq!(reader.try_next::<7>(), Next::Lapped { lost: 1 });
    assert_eq!(drain(&mut reader), ((21..29).collect(), 0));
    // Far behind, by many laps at once.
    publish(&mut writer, 8 * 1000 + 3);
    assert_eq!(reader.try_next::<7>(), Next::Lapped { lost: 8 * 999 + 3 });
    assert_eq!(drain(&mut reader).0.len(), 8);
}

#[test]
fn records_of_128_bytes_fit_candle_slots() {
    let ring = TestRing::new();
    let mut writer = Writer::open(&RingSpec { kind: 4, slot_size: 128, ..ring.spec(4) }, 1).unwrap();
    for n in 0..6 {
        writer.publish(&[n; 15]);
    }
    let mut reader = Reader::open(&ring.name).unwrap().from_oldest();
    for n in 2..6 {
        assert_eq!(reader.try_next(), Next::Record { sequence: n, words: [n; 15] });
    }
    let info = reader.info();
    assert_eq!((info.kind, info.slot_size, info.capacity, info.cursor), (4, 128, 4, 6));
}

#[test]
fn the_next_writer_goes_on_in_the_same_segment() {
    let ring = TestRing::new();
    let mut first = Writer::open(&ring.spec(8), 10).unwrap();
    first.set_state(FeedState::Live);
    first.add_gap();
    publish(&mut first, 5);
    let mut reader = Reader::open(&ring.name).unwrap().from_oldest();
    assert!(reader.writer_alive());
    drop(first);
    // The pid in the header is this living process's, and still its writer is dead: pids prove nothing.
    assert_eq!(reader.writer_status(), WriterStatus::Dead);
    assert_eq!(reader.info().state, FeedState::Stale);

    let mut second = Writer::open(&ring.spec(8), 20).unwrap();
    assert_eq!((second.generation(), second.cursor(), second.gaps(), second.state()), (2, 5, 1, FeedState::Stale));
    publish(&mut second, 2);
    assert_eq!(drain(&mut reader), ((0..7).collect(), 0));
    let info = reader.info();
    assert_eq!((info.generation, info.created, info.heartbeat, info.writer), (2, 10, 20, WriterStatus::Alive));
}

#[test]
fn a_ring_of_other_size_takes_the_place_of_the_old_one() {
    let ring = TestRing::new();
    let mut old = Writer::open(&ring.spec(8), 1).unwrap();
    publish(&mut old, 3);
    let mut reader = Reader::open(&ring.name).unwrap().from_oldest();
    drop(old);
    let mut new = Writer::open(&ring.spec(16), 2).unwrap();
    publish(&mut new, 1);
    assert_eq!((new.generation(), new.cursor()), (2, 1));
    assert_eq!(reader.writer_status(), WriterStatus::Detached);
    assert_eq!(drain(&mut reader).0, [0, 1, 2], "the old mapping stays whole");
    let info = Reader::open(&ring.name).unwrap().info();
    assert_eq!((info.capacity, info.cursor, info.writer), (16, 1, WriterStatus::Alive));
    drop(new);
    let other_kind = RingSpec { kind: 2, ..ring.spec(16) };
    assert_eq!(Writer::open(&other_kind, 3).unwrap().generation(), 3);
}

#[test]
fn a_ring_that_contradicts_itself_is_replaced() {
    let ring = TestRing::new();
    for damaged_cursor in [1u64, 1000] {
        let mut writer = Writer::open(&ring.spec(8), 1).unwrap();
        let generation = writer.generation();
        publish(&mut writer, 3);
        drop(writer);
        let file = std::fs::OpenOptions::new().write(true).open(ring_path(&ring.name)).unwrap();
        file.write_all_at(&damaged_cursor.to_le_bytes(), 320).unwrap();
        let next = Writer::open(&ring.spec(8), 1).unwrap();
        assert_eq!((next.cursor(), next.generation()), (0, generation + 1));
    }
}

#[test]
fn a_slot_left_half_written_is_empty_until_the_next_writer_fills_it() {
    let ring = TestRing::new();
    // As a kill leaves them: (stamp of slot 2 and garbage in its words, cursor) → where the next writer goes on.
    for (stamp, expected) in [(0u64, 10), (3, 10), (11, 11)] {
        let mut writer = Writer::open(&ring.spec(8), 1).unwrap();
        publish(&mut writer, 10);
        assert_eq!(writer.cursor(), 10);
        drop(writer);
        let file = std::fs::OpenOptions::new().write(true).open(ring_path(&ring.name)).unwrap();
        file.write_all_at(&stamp.to_le_bytes(), 4096 + 2 * 64).unwrap();
        let words = if stamp == 11 { record(10) } else { record(2) };
        for (i, word) in words.iter().enumerate() {
            let torn = if stamp == 0 && i < 3 { 0xdead } else { *word };
            file.write_all_at(&torn.to_le_bytes(), 4096 + 2 * 64 + 8 * (i as u64 + 1)).unwrap();
        }
        let mut reader = Reader::open(&ring.name).unwrap().from_oldest();
        let first = if stamp == 0 || stamp == 11 { 3 } else { 2 };
        let last = if stamp == 11 { 11 } else { 10 };
        assert_eq!(drain(&mut reader).0, (first..last).collect::<Vec<_>>());
        let mut writer = Writer::open(&ring.spec(8), 1).unwrap();
        assert_eq!((writer.cursor(), writer.generation()), (expected, 2));
        publish(&mut writer, 1);
        assert_eq!(drain(&mut reader), (vec![expected], 0).clone(), "stamp {stamp}");
        writer.unlink().unwrap();
    }
}

#[test]
fn a_ring_has_one_writer() {
    let ring = TestRing::new();
    let writer = Writer::open(&ring.spec(8), 1).unwrap();
    let error = Writer::open(&ring.spec(16), 1).unwrap_err();
    assert!(matches!(&error, RingError::WriterAlive { pid, .. } if *pid == std::process::id()), "{error}");
    assert_eq!(
        error.to_string(),
        format!("ring {} is being written by process {}; a ring has one writer", ring.name, std::process::id())
    );
    drop(writer);
    // Whoever comes first of many gets it.
    let results: Vec<_> = std::thread::scope(|scope| {
        let open = || Writer::open(&ring.spec(16), 1);
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 1, "{results:?}");
    assert!(results.iter().all(|r| matches!(r, Ok(_) | Err(RingError::WriterAlive { .. } | RingError::Contended { .. }))));
    drop(results);
    assert_eq!(sweep(Some(&ring.instance)).unwrap().len(), 1, "nothing half-made is left beside the ring");
}

#[test]
fn unlinking_closes_the_feed_and_removes_the_segment() {
    let ring = TestRing::new();
    let mut writer = Writer::open(&ring.spec(8), 1).unwrap();
    writer.set_state(FeedState::Live);
    publish(&mut writer, 1);
    let mut reader = Reader::open(&ring.name).unwrap().from_oldest();
    writer.unlink().unwrap();
    assert!(!ring_path(&ring.name).exists());
    assert_eq!((reader.info().state, reader.writer_status()), (FeedState::Closed, WriterStatus::Detached));
    assert_eq!(drain(&mut reader).0, [0]);
    let error = Reader::open(&ring.name).unwrap_err();
    assert!(matches!(error, RingError::NotFound { .. }), "{error}");
}

#[test]
fn a_full_shared_memory_is_an_error_and_leaves_nothing_behind() {
    let total = rustix::fs::statvfs("/dev/shm").unwrap();
    let (total, slot) = (total.f_blocks * total.f_frsize, 64);
    if total == 0 || total > 1 << 44 {
        dccd_testkit::skip("a_full_shared_memory_is_an_error_and_leaves_nothing_behind", "/dev/shm has no limit");
        return;
    }
    let ring = TestRing::new();
    let capacity = (total / slot + 1).next_power_of_two();
    let error = Writer::open(&ring.spec(capacity), 1).unwrap_err();
    assert!(matches!(&error, RingError::NoSpace { needed, .. } if *needed == 4096 + capacity * slot), "{error:?}");
    assert!(error.to_string().starts_with(&format!("no space in /dev/shm for ring {}, needs ", ring.name)), "{error}");
    assert_eq!(sweep(Some(&ring.instance)).unwrap(), []);
}

#[test]
fn what_is_no_ring_is_named_as_such() {
    let ring = TestRing::new();
    let path = ring_path(&ring.name);
    let foreign = |reason: &str| {
        let error = Reader::open(&ring.name).unwrap_err();
        assert_eq!(error.to_string(), format!("{} in /dev/shm is not a ring of layout 1: {reason}", ring.name));
    };
    std::fs::write(&path, b"").unwrap();
    foreign("it is shorter than a header");
    std::fs::write(&path, vec![0; 8192]).unwrap();
    foreign("its first bytes are not DCCDRING");
    drop(Writer::open(&ring.spec(8), 1).unwrap()); // garbage without a writer is replaced
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&2u32.to_le_bytes(), 8).unwrap();
    foreign("it has another layout version");
    file.write_all_at(&1u32.to_le_bytes(), 8).unwrap();
    for (offset, value) in [(16, 24u32), (24, 7), (24, 0)] {
        let mut before = [0; 4];
        std::fs::File::open(&path).unwrap().read_exact_at(&mut before, offset).unwrap();
        file.write_all_at(&value.to_le_bytes(), offset).unwrap();
        foreign("its slot size or capacity is impossible");
        file.write_all_at(&before, offset).unwrap();
    }
    file.set_len(4096 + 7 * 64).unwrap();
    foreign("it is shorter than its header says");
}

#[test]
fn impossible_rings_are_refused() {
    let ring = TestRing::new();
    let long = "X".repeat(65);
    let good = ring.spec(8);
    for bad in [
        RingSpec { capacity: 7, ..good },
        RingSpec { capacity: 1, ..good },
        RingSpec { capacity: 1 << 60, ..good },
        RingSpec { slot_size: 0, ..good },
        RingSpec { slot_size: 72, ..good },
        RingSpec { symbol: &long, ..good },
        RingSpec { exchange: &long, ..good },
        RingSpec { channel: &long, ..good },
        spec("../etc/passwd", 8),
    ] {
        assert!(matches!(Writer::open(&bad, 1), Err(RingError::Unsuitable { .. })), "{bad:?}");
    }
}

#[test]
#[should_panic(expected = "the record does not fit the slot")]
fn a_record_larger_than_a_slot_is_a_programming_error() {
    let ring = TestRing::new();
    Writer::open(&ring.spec(8), 1).unwrap().publish(&[0; 8]);
}

#[test]
fn waiting_ends_with_the_timeout_or_the_writer() {
    let ring = TestRing::new();
    let writer = Writer::open(&ring.spec(8), 1).unwrap();
    let mut reader = Reader::open(&ring.name).unwrap();
    let wait = |reader: &mut Reader, ms| reader.wait_next::<7>(Duration::from_millis(ms));
    assert_eq!(wait(&mut reader, 1), Waited::Idle { writer: WriterStatus::Alive });
    assert_eq!(wait(&mut reader, 0), Waited::Idle { writer: WriterStatus::Alive });
    assert_eq!(reader.spin_next::<7>(Instant::now()), Next::Empty);
    drop(writer);
    let start = Instant::now();
    assert_eq!(wait(&mut reader, 60_000), Waited::Idle { writer: WriterStatus::Dead });
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn sleeping_readers_are_woken() {
    let ring = TestRing::new();
    let mut writer = Writer::open(&ring.spec(64), 1).unwrap();
    let (tx, rx) = std::sync::mpsc::sync_channel(1);
    let mut reader = Reader::open(&ring.name).unwrap();
    let rounds = 200;
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for n in 0..rounds {
                match reader.wait_next(Duration::from_secs(20)) {
                    Waited::Record { sequence, words } => {
                        assert_eq!(sequence, n);
                        verify(sequence, &words);
                    }
                    other => panic!("{other:?}"),
                }
                tx.send(()).unwrap();
            }
        });
        for _ in 0..rounds {
            publish(&mut writer, 1);
            rx.recv().unwrap();
        }
    });
    // Without wake-ups each round would take a check interval of 250 ms: 50 s in all.
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn a_writer_moves_between_threads_while_a_slow_reader_is_lapped() {
    let ring = TestRing::new();
    let mut writer = Writer::open(&ring.spec(64), 1).unwrap();
    let mut reader = Reader::open(&ring.name).unwrap();
    let total = 200_000;
    let hot = std::thread::spawn(move || {
        for _ in 0..total / 100 {
            publish(&mut writer, 100);
        }
        writer
    });
    let (mut read, mut missed, mut next) = (0, 0, 0);
    while next < total {
        match reader.spin_next(Instant::now() + Duration::from_secs(20)) {
            Next::Record { sequence, words } => {
                assert_eq!(sequence, next);
                verify(sequence, &words);
                read += 1;
                next += 1;
            }
            Next::Lapped { lost } => {
                assert!(lost > 0);
                missed += lost;
                next += lost;
            }
            Next::Empty => panic!("no record within 20 s after {next}"),
        }
    }
    assert_eq!(read + missed, total);
    assert_eq!(hot.join().unwrap().cursor(), total);
}

#[test]
fn rings_are_listed_by_instance() {
    let (one, other) = (TestRing::new(), TestRing::new());
    let mut writer = Writer::open(&one.spec(8), 5).unwrap();
    publish(&mut writer, 2);
    let _other = Writer::open(&other.spec(8), 5).unwrap();
    let infos = list(Some(&one.instance)).unwrap();
    assert_eq!(infos.len(), 1);
    let info = &infos[0];
    assert_eq!((info.name.as_str(), info.cursor, info.writer), (one.name.as_str(), 2, WriterStatus::Alive));
    assert_eq!((info.exchange.as_str(), info.symbol.as_str(), info.channel.as_str()), ("sim", "BTC/USDT", "trades"));
    assert!(list(None).unwrap().len() >= 2);
}
