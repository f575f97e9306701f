//! The reference for readers in other languages says what the code does.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::TestRing;
use dccd_model::{Decimal, Flags, Record, Side, Trade, TradeId, UnixNanos};
use dccd_ring::{Writer, layout};

fn reference() -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/ring.md");
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn the_header_in_the_reference_is_the_header_in_memory() {
    let text = reference();
    let table = text.split("## The header").nth(1).unwrap().split("## The slots").next().unwrap();
    let rows: Vec<(usize, String)> = table
        .lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            Some((cells.get(1)?.parse().ok()?, (*cells.get(3)?).to_owned()))
        })
        .collect();
    let fields: Vec<(usize, String)> = layout::FIELDS.iter().map(|(offset, name)| (*offset, (*name).to_owned())).collect();
    assert_eq!(rows, fields);
}

#[test]
fn the_example_in_the_reference_runs() {
    let text = reference();
    let program = text.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    let ring = TestRing::new();
    let mut writer = Writer::open(&ring.spec(4), 1).unwrap();
    for n in 0..6 {
        let trade = Trade {
            ts_venue: UnixNanos(1),
            ts_recv: UnixNanos(2),
            price: Decimal::new(6_183_763 + n, -2),
            amount: Decimal::new(15, -1),
            id: TradeId(100),
            side: Side::Buy,
            flags: Flags::NONE,
            epoch: 0,
        };
        writer.publish(&trade.encode());
    }
    let python = std::env::var_os("DCCD_PYTHON").unwrap_or_else(|| "python3".into());
    let output = match Command::new(&python).args(["-c", program, &ring.name]).output() {
        Ok(output) => output,
        Err(error) => {
            dccd_testkit::skip("the_example_in_the_reference_runs", &format!("{} does not run: {error}", python.display()));
            return;
        }
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let expected: Vec<String> = (2..6).map(|n| format!("{n} {}e-2 15e-1 buy 100", 6_183_763 + n)).collect();
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().collect::<Vec<_>>(), expected);
}
