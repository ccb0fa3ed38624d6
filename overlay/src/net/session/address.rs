//! How an id on the ring looks to QUIC, which knows only IP addresses.
//!
//! The 48 bits of the id are the last 48 bits of an IPv6 unique-local address (RFC 4193), whose global id spells "atoll":
//! the id `00f3a1b2c4d5` is `[fd61:746f:6c6c::f3:a1b2:c4d5]:1`. No packet ever leaves with such an address; anything else
//! is not ours and is never sent to.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::id::Id;

/// The first 80 bits of every address: `fd`, then "atoll" in ASCII, then zeros.
const PREFIX: [u8; 10] = [0xfd, b'a', b't', b'o', b'l', b'l', 0, 0, 0, 0];

/// The one port. QUIC refuses to dial port 0; apart from that it means nothing.
const PORT: u16 = 1;

/// The address that stands for `id`.
pub fn address_of(id: Id) -> SocketAddr {
    let mut octets = [0; 16];
    octets[..PREFIX.len()].copy_from_slice(&PREFIX);
    octets[PREFIX.len()..].copy_from_slice(&id.to_bytes());
    SocketAddr::new(IpAddr::V6(Ipv6Addr::from(octets)), PORT)
}

/// The id that `address` stands for; `None` where it is not one of ours.
pub fn id_of(address: SocketAddr) -> Option<Id> {
    let SocketAddr::V6(v6) = address else { return None };
    let octets = v6.ip().octets();
    let (prefix, id) = octets.split_at(PREFIX.len());
    let ours = prefix == PREFIX && v6.port() == PORT;
    ours.then(|| Id::from_bytes(id.try_into().expect("16 octets less 10 are 6")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_id_reads_as_the_end_of_its_address() {
        let id: Id = "00f3a1b2c4d5".parse().unwrap();
        assert_eq!(address_of(id).to_string(), "[fd61:746f:6c6c::f3:a1b2:c4d5]:1");
    }

    #[test]
    fn other_addresses_are_not_ours() {
        for other in ["127.0.0.1:1", "[::1]:1", "[fd61:746f:6c6c::f3:a1b2:c4d5]:2", "[fd61:746f:6c6c:1::a1b2:c4d5]:1"] {
            assert_eq!(id_of(other.parse().unwrap()), None, "{other} was taken for an id");
        }
    }

    proptest! {
        #[test]
        fn every_id_survives_its_address(number in any::<u64>()) {
            let id = Id::new(number);
            prop_assert_eq!(id_of(address_of(id)), Some(id));
        }
    }
}
