//! Signalling messages from hostile texts, for the server and for the node: refused, or taken and given back unchanged.
#![no_main]

use atoll::signalling::{MAX_MESSAGE_BYTES, NodeMessage, ServerMessage};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(message) = NodeMessage::parse(text) {
        let again = message.to_json();
        // What was left out is written out: a message just below the limit may have grown over it.
        if again.len() <= MAX_MESSAGE_BYTES {
            assert_eq!(NodeMessage::parse(&again), Ok(message));
        }
    }
    if let Ok(message) = ServerMessage::parse(text) {
        if let ServerMessage::Relay(relay) = &message {
            let _ = relay.dial();
        }
        let again = message.to_json();
        if again.len() <= MAX_MESSAGE_BYTES {
            assert_eq!(ServerMessage::parse(&again), Ok(message));
        }
    }
});
