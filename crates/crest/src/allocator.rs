//! The memory of the process: objects are trees of small pieces, and making and dropping them is much of what an API
//! server does.
#![expect(unsafe_code, reason = "the allocator's options have no safe wrapper")]

use std::ffi::c_long;

use libmimalloc_sys::{mi_option_set, mi_option_t};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc 3, which the crate does not name; the test below knows it by its default.
const PURGE_DELAY: mi_option_t = 15;

/// Under load, what is free now is needed again within seconds. Given back to the system at once it comes back page by
/// page, which took a tenth of the time of creating Pods.
const KEPT_MS: c_long = 20_000;

/// Keeps free memory for a while. For the long-lived roles: what is short or small has nothing to gain.
pub(crate) fn be_patient() {
    // SAFETY: stores a number in a table of the allocator, at an index that is within it.
    unsafe { mi_option_set(PURGE_DELAY, KEPT_MS) }
}

#[cfg(test)]
mod tests {
    use libmimalloc_sys::mi_option_get;

    use super::{KEPT_MS, PURGE_DELAY, be_patient};

    #[test]
    fn the_option_is_the_one_that_is_meant() {
        // SAFETY: reads a number from a table of the allocator, at an index that is within it.
        let delay = || unsafe { mi_option_get(PURGE_DELAY) };
        assert_eq!(delay(), 1000, "the default of mimalloc 3");
        be_patient();
        assert_eq!(delay(), KEPT_MS);
    }
}
