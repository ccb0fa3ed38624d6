//! Ids and public keys from hostile bytes: refused, or taken and given back unchanged.
#![no_main]

use atoll::{Id, Identity, PeerKey};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(id) = text.parse::<Id>()
    {
        assert_eq!(id.to_string(), text.to_ascii_lowercase());
    }
    if let Ok(key) = PeerKey::from_spki_der(bytes) {
        assert_eq!(key.to_spki_der(), bytes, "two encodings of one key would be two ids");
    }
    let _ = Identity::from_pkcs8_der(bytes);
});
