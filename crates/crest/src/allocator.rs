//! The memory of the process: objects are trees of small pieces, and making and dropping them is much of what an API
//! server does.
//!
//! ```text
//!   server, run     busy: memory in huge pages, and kept for a while when it is free
//!   all others      small, or many at once, as shims are: page by page, and given back soon
//! ```
#![expect(unsafe_code, reason = "the allocator's options have no safe wrapper")]

use std::ffi::c_long;
use std::ops::Range;
use std::time::Duration;

use libmimalloc_sys::{mi_collect, mi_option_set, mi_option_t};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc 3, which the crate does not name; the test below knows it by its default.
const PURGE_DELAY: mi_option_t = 15;

/// Under load, what is free now is needed again within seconds. Given back to the system at once it comes back page by
/// page, which took a tenth of the time of creating Pods.
const KEPT_MS: c_long = 20_000;

/// Keeps free memory for a while, and has it in huge pages. For the busy roles: what is short or small has nothing to gain.
pub(crate) fn be_patient() {
    // SAFETY: stores a number in a table of the allocator, at an index that is within it.
    unsafe { mi_option_set(PURGE_DELAY, KEPT_MS) }
    if let Some(arena) = std::fs::read_to_string("/proc/self/maps").ok().and_then(|maps| arena(&maps)) {
        // SAFETY: advice on how to back a mapping changes nothing of what it holds. It is taken where it can be.
        let _taken = unsafe {
            libc::madvise(
                std::ptr::with_exposed_provenance_mut(arena.start),
                arena.len(),
                libc::MADV_HUGEPAGE,
            )
        };
    }
}

/// Once a minute, gives back memory that is free, and lets go of the program's code and constants. The program is large, and
/// an agent at rest needs little of it: what it needed to begin, or to start a hundred containers, would be counted as its own
/// for ever. What is needed again is mapped again from the file's pages, which the shims use, too.
pub(crate) async fn stay_small() {
    loop {
        tokio::time::sleep(Duration::from_secs(60)).await;
        // SAFETY: has the allocator do now what it does anyway.
        unsafe { mi_collect(true) }
        let_program_go();
    }
}

fn let_program_go() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let code = (let_program_go as fn()) as usize;
    let constant = PROBE.as_ptr().expose_provenance();
    // What is written once, as the program begins, lies elsewhere.
    let of_program = maps.lines().filter(|line| line.contains(" r-xp ") || line.contains(" r--p 00000000 "));
    for range in of_program.filter_map(|line| around(line, code).or_else(|| around(line, constant))) {
        // SAFETY: nobody has written there, so each page is as it is in the file, and comes back as it was.
        let _let_go = unsafe {
            libc::madvise(
                std::ptr::with_exposed_provenance_mut(range.start),
                range.len(),
                libc::MADV_DONTNEED,
            )
        };
    }
}

/// Lies among the constants.
static PROBE: &str = "crest";

/// The mapping that the allocator takes its memory from, of those that `maps` tells: it reserves a gigabyte at once.
fn arena(maps: &str) -> Option<Range<usize>> {
    let held = Box::new(0_u8);
    let address = (&raw const *held).expose_provenance();
    maps.lines().find_map(|line| around(line, address))
}

/// The mapping that `line` tells of, if `address` is in it: `7f0a1000-7f0b2000 r-xp 00001000 fe:00 42 /usr/bin/crest`.
fn around(line: &str, address: usize) -> Option<Range<usize>> {
    let (start, end) = line.split_once(' ')?.0.split_once('-')?;
    let mapping = usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
    mapping.contains(&address).then_some(mapping)
}

#[cfg(test)]
mod tests {
    use libmimalloc_sys::mi_option_get;

    use super::{KEPT_MS, PURGE_DELAY, arena, be_patient, let_program_go};

    #[test]
    fn the_option_is_the_one_that_is_meant() {
        // SAFETY: reads a number from a table of the allocator, at an index that is within it.
        let delay = || unsafe { mi_option_get(PURGE_DELAY) };
        assert_eq!(delay(), 1000, "the default of mimalloc 3");
        be_patient();
        assert_eq!(delay(), KEPT_MS);
        // What the kernel was told of the mapping: `hg` is huge pages, `nh` none.
        let arena = arena(&std::fs::read_to_string("/proc/self/maps").unwrap()).unwrap();
        assert!(arena.len() >= 1 << 30, "{arena:?}");
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let (_, of_arena) = smaps.split_once(&format!("{:x}-", arena.start)).unwrap();
        let flags = of_arena.lines().find(|line| line.starts_with("VmFlags:")).unwrap();
        assert!(flags.contains(" hg"), "{flags}");
    }

    #[test]
    fn what_of_the_program_was_let_go_comes_back() {
        let of_files = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("RssFile:")).unwrap();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
        };
        let before = of_files();
        let_program_go();
        let after = of_files();
        assert!(after < before, "{after} KiB of {before}");
    }
}
