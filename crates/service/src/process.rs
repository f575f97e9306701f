//! This process, as the operating system sees it: title, memory, CPU time.

use std::ffi::CString;
use std::fs;
use std::time::Duration;

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

/// When a running process began, in the kernel's clock ticks since the host's start: with its pid, the name of one process for
/// as long as the host runs. `None` when there is no such process, or it has exited.
#[must_use]
pub fn start_ticks(pid: u32) -> Option<u64> {
    start_ticks_in(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn start_ticks_in(stat: &str) -> Option<u64> {
    // The second field is the title, in brackets, and may hold anything.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    // The 22nd of all; the state was the third.
    fields.nth(18)?.trim().parse().ok()
}

/// How long a process has run that began at these ticks, sleep of the host included.
#[must_use]
pub fn age(start_ticks: u64) -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let now = Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0));
    now.saturating_sub(ticks(start_ticks))
}

/// So many of the kernel's clock ticks.
#[must_use]
pub fn ticks(ticks: u64) -> Duration {
    Duration::from_millis(ticks.saturating_mul(1_000) / rustix::param::clock_ticks_per_second().max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_by_its_start() {
        let child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn();
        let mut child = child.unwrap();
        let (own, its) = (start_ticks(std::process::id()).unwrap(), start_ticks(child.id()).unwrap());
        // Time passes between the two: the younger one is looked at first.
        let (its_age, own_age) = (age(its), age(own));
        assert!(own <= its && own_age >= its_age && its_age < Duration::from_secs(60), "{own} {its}");
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(start_ticks(child.id()), None);
        let stat = |state| format!("7 (a) b) c) {state} 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20\n");
        assert_eq!(start_ticks_in(&stat("S")), Some(4711));
        assert_eq!(start_ticks_in(&stat("Z")), None);
        assert_eq!(start_ticks_in("7 (a) S 1"), None);
    }

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
