//! This process, as the operating system sees it: title, memory, CPU time.

use std::ffi::CString;
use std::fs;

/// Longest process title the kernel keeps, in bytes.
const TITLE_BYTES_MAX: usize = 15;

/// Sets the title that `ps -o comm` and `top` show, cut to 15 bytes. Call it on the main thread, early: threads inherit
/// it. (`argv[0]`, set by the root, holds the whole name.)
pub fn set_title(name: &str) {
    let mut end = name.len().min(TITLE_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    if let Ok(title) = CString::new(&name[..end]) {
        // Cosmetic; a kernel that refuses costs nothing.
        let _ = rustix::thread::set_name(&title);
    }
}

/// Resident memory of this process in bytes.
#[must_use]
pub fn rss_bytes() -> Option<u64> {
    rss_in(&fs::read_to_string("/proc/self/status").ok()?)
}

fn rss_in(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// CPU time of all threads of this process so far, in microseconds.
#[must_use]
pub fn cpu_us() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read() {
        assert!(rss_bytes().unwrap() > 100_000);
        assert_eq!(rss_in("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2_097_152));
        assert_eq!(rss_in("Name:\tx\n"), None);
    }

    #[test]
    fn the_title_is_cut_at_a_character() {
        std::thread::spawn(|| {
            set_title("datad.exchangeü");
            let title = fs::read_to_string("/proc/thread-self/comm").unwrap();
            assert_eq!(title.trim_end(), "datad.exchange");
        })
        .join()
        .unwrap();
    }
}
