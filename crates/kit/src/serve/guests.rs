//! Who is connected: so many at most in all, and so many at most from one address, so that nobody can take every
//! place.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;

/// Counts connections by address.
#[derive(Debug)]
pub(super) struct Guests {
    counts: Mutex<HashMap<IpAddr, usize>>,
    most: usize,
}

/// One connection's place among those of its address.
#[derive(Debug)]
pub(super) struct Guest {
    guests: Arc<Guests>,
    address: IpAddr,
}

impl Guests {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { counts: Mutex::default(), most })
    }

    /// A place for a connection from `address`; `None` if it has enough of them.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Guest> {
        let address = one_of(address);
        let mut counts = self.counts.lock();
        let count = counts.entry(address).or_insert(0);
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Guest { guests: Arc::clone(self), address })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut counts = self.guests.counts.lock();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// A host has as many IPv6 addresses as it likes; its network counts as one.
fn one_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        IpAddr::V4(address) => address.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::Guests;

    #[test]
    fn places_are_counted_by_address_and_come_back() {
        let guests = Guests::new(2);
        let admit = |address: &str| guests.admit(address.parse().unwrap());
        let (one, _two) = (admit("10.0.0.1").unwrap(), admit("10.0.0.1").unwrap());
        assert!(admit("10.0.0.1").is_none() && admit("10.0.0.2").is_some());
        assert!(admit("::ffff:10.0.0.1").is_none(), "the same address, written otherwise");
        drop(one);
        assert!(admit("10.0.0.1").is_some());
        let _network = (admit("2001:db8::1").unwrap(), admit("2001:db8::2").unwrap());
        assert!(admit("2001:db8::3").is_none() && admit("2001:db8:0:1::3").is_some());
    }

    #[test]
    fn nothing_is_kept_of_who_is_gone() {
        let guests = Guests::new(1);
        drop(guests.admit("10.0.0.1".parse().unwrap()));
        assert!(guests.counts.lock().is_empty());
    }
}
