//! The page that browsers find at `/`: files that were built in, or those of a folder.
//!
//! All files are in memory from the start, and a request names one of them or none: nothing on the disk can be reached by a path.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use atoll::Id;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// Where the page of a server comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PageSource {
    /// What was built in: nothing, where `cargo xtask web` had not been run before.
    #[default]
    BuiltIn,
    /// The files of this folder, read once when the server starts: at most [`MAX_PAGE_FILES`] of [`MAX_PAGE_BYTES`] together. Beside a
    /// file there may be a compressed one with `.gz` behind its name. Hidden files are left out.
    Folder(PathBuf),
    /// No page.
    Off,
}

/// Files that a folder may have to be a page.
pub const MAX_PAGE_FILES: usize = 256;

/// Bytes that they may have together.
pub const MAX_PAGE_BYTES: u64 = 32 * 1024 * 1024;

/// Folders in each other: a link that leads back up ends there.
const MAX_DEPTH: usize = 8;

/// The file that `/` stands for.
const INDEX: &str = "index.html";

/// What is said to browsers besides each file: it may load and connect to nothing but this server, and stands in no frame.
const SECURITY: [(header::HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::HeaderName::from_static("permissions-policy"), "camera=(), microphone=(), geolocation=()"),
];

/// The names and bytes that `build.rs` has found.
static BUILT_IN: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/page.rs"));

/// Hashed once for all servers of a process.
static BUILT_IN_PAGE: LazyLock<Arc<Page>> = LazyLock::new(|| {
    let files = BUILT_IN.iter().map(|&(name, bytes)| (name.to_owned(), Bytes::from_static(bytes)));
    Arc::new(Page::of(files.collect()))
});

/// The files of a page by their paths, without the `/` in front. Without any there is no page.
#[derive(Debug, Default)]
pub(crate) struct Page {
    files: BTreeMap<String, File>,
}

#[derive(Debug)]
struct File {
    content_type: &'static str,
    plain: Encoded,
    gzip: Option<Encoded>,
}

/// The bytes of a file as they go out, and the tag by which a browser knows that it has them.
#[derive(Debug)]
struct Encoded {
    bytes: Bytes,
    tag: HeaderValue,
}

/// Why a folder is no page.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PageError {
    #[error("{}", .0.kind())]
    Read(#[from] io::Error),
    #[error("there is no {INDEX} in it; `cargo xtask web` makes such a folder, browser/dist")]
    NoIndex,
    #[error("it has more than {MAX_PAGE_FILES} files, or {} MiB", MAX_PAGE_BYTES / 1024 / 1024)]
    TooLarge,
}

impl Page {
    pub(crate) fn built_in() -> Arc<Self> {
        Arc::clone(&BUILT_IN_PAGE)
    }

    pub(crate) fn read(folder: &Path) -> Result<Arc<Self>, PageError> {
        let mut found = Found { files: BTreeMap::new(), room: MAX_PAGE_BYTES };
        found.read(folder, "", 0)?;
        let page = Page::of(found.files);
        if page.is_empty() { Err(PageError::NoIndex) } else { Ok(Arc::new(page)) }
    }

    fn of(mut raw: BTreeMap<String, Bytes>) -> Self {
        let names: Vec<String> = raw.keys().cloned().collect();
        let gzips: BTreeMap<String, Bytes> = names
            .iter()
            .filter_map(|name| {
                let plain = name.strip_suffix(".gz").filter(|plain| raw.contains_key(*plain))?.to_owned();
                Some((plain, raw.remove(name)?))
            })
            .collect();
        let file = |(name, bytes): (String, Bytes)| {
            let gzip = gzips.get(&name).cloned().map(Encoded::new);
            let file = File { content_type: content_type(&name), plain: Encoded::new(bytes), gzip };
            (name, file)
        };
        Page { files: raw.into_iter().map(file).collect() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.files.contains_key(INDEX)
    }

    /// The file at the path of a URL; `None` where there is none.
    pub(crate) fn answer(&self, path: &str, asked: &HeaderMap) -> Option<Response> {
        let name = path.strip_prefix('/').filter(|name| !name.is_empty()).unwrap_or(INDEX);
        let file = self.files.get(name)?;
        let compressed = file.gzip.as_ref().filter(|_| takes_gzip(asked));
        let encoded = compressed.unwrap_or(&file.plain);
        let mut response = if knows(asked, &encoded.tag) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            let mut response = Body::from(encoded.bytes.clone()).into_response();
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(file.content_type));
            if compressed.is_some() {
                response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
            response
        };
        let headers = response.headers_mut();
        headers.insert(header::ETAG, encoded.tag.clone());
        // Kept, but asked for again: the files belong together, and a new server may have others.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        headers.extend(SECURITY.map(|(name, value)| (name, HeaderValue::from_static(value))));
        Some(response)
    }
}

impl Encoded {
    fn new(bytes: Bytes) -> Self {
        let tag = format!("\"{}-{:x}\"", Id::hash(&bytes), bytes.len());
        Encoded { bytes, tag: tag.parse().expect("hexadecimal digits in quotes") }
    }
}

/// What has been read of a folder, and how many bytes more there may be.
struct Found {
    files: BTreeMap<String, Bytes>,
    room: u64,
}

impl Found {
    fn read(&mut self, folder: &Path, prefix: &str, depth: usize) -> Result<(), PageError> {
        if depth > MAX_DEPTH {
            return Ok(());
        }
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name.starts_with('.') {
                continue;
            }
            let (path, name) = (entry.path(), format!("{prefix}{name}"));
            let metadata = std::fs::metadata(&path)?;
            if metadata.is_dir() {
                self.read(&path, &format!("{name}/"), depth + 1)?;
                continue;
            }
            self.room = self.room.checked_sub(metadata.len()).ok_or(PageError::TooLarge)?;
            if self.files.len() == MAX_PAGE_FILES {
                return Err(PageError::TooLarge);
            }
            self.files.insert(name, std::fs::read(path)?.into());
        }
        Ok(())
    }
}

/// Whether the browser has the file with this tag.
fn knows(asked: &HeaderMap, tag: &HeaderValue) -> bool {
    let known = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    known.flat_map(|list| list.split(',')).map(str::trim).any(|one| {
        // A proxy that compresses makes tags weak; the bytes that they stand for are the same.
        one == "*" || one.trim_start_matches("W/").as_bytes() == tag.as_bytes()
    })
}

/// Whether gzip is among the encodings that are taken, and not with the weight 0.
fn takes_gzip(asked: &HeaderMap) -> bool {
    let taken = asked.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    taken.flat_map(|list| list.split(',')).any(|one| {
        let (coding, weight) = one.split_once(';').unwrap_or((one, ""));
        let refused = weight.trim().strip_prefix("q=").and_then(|q| q.parse::<f32>().ok()) == Some(0.0);
        coding.trim().eq_ignore_ascii_case("gzip") && !refused
    })
}

/// Browsers run neither scripts nor WebAssembly that come under another type.
fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("wasm") => "application/wasm",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("webp") => "image/webp",
        Some("json" | "map") => "application/json",
        Some("webmanifest") => "application/manifest+json",
        Some("txt" | "md") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
