//! A node of Atoll in a browser: what its JavaScript face, `js/index.js`, is built upon.
//!
//! The names here are for that face alone, which checks what it is given and makes of this what programmers of pages expect. All that can
//! fail gives a promise that is rejected with an error that has a `code`, one of the words of [`atoll_door::ErrorKind`].

mod cancel;
pub mod channel;
mod error;
mod function;
pub mod hooks;
mod json;
pub mod node;
mod options;
pub mod results;
pub mod socket;
mod turn;
pub mod value;

use atoll::key::Identity;
use wasm_bindgen::prelude::wasm_bindgen;

/// Names the functions of the face that are called from here. To be called first, once.
#[wasm_bindgen(js_name = setHooks)]
pub fn set_hooks(hooks: hooks::Hooks) {
    hooks::set(hooks);
}

/// A new key pair, as PKCS#8 in DER.
#[wasm_bindgen(js_name = generateKey)]
pub fn generate_key() -> Vec<u8> {
    Identity::generate().to_pkcs8_der()
}
