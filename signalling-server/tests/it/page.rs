//! The page for browsers.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use atoll_signalling::{PageSource, Server, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::connect_async;

use crate::support::{TestServer, soon};

/// A folder that is removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str, files: &[(&str, &[u8])]) -> Self {
        let folder = std::env::temp_dir().join(format!("atoll-page-{name}-{}", std::process::id()));
        for (file, bytes) in files {
            let path = folder.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        fs::create_dir_all(&folder).unwrap();
        Folder(folder)
    }

    fn page() -> Self {
        let files: [(&str, &[u8]); 6] = [
            ("index.html", b"<!doctype html>"),
            ("app.js", b"export const a = 1;"),
            ("app.js.gz", b"compressed"),
            ("deep/node.wasm", b"\0asm"),
            (".hidden", b"secret"),
            ("deep/.hidden", b"secret"),
        ];
        static MADE: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = MADE.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Folder::new(&format!("whole-{number}"), &files)
    }

    fn source(&self) -> PageSource {
        PageSource::Folder(self.0.clone())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

async fn ask(server: &TestServer, method: &str, path: &str, headers: &str) -> Answer {
    let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
    let answer = server.http_bytes(&request).await;
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("the end of the head");
    let text = String::from_utf8(answer[..head].to_vec()).unwrap();
    let status = text.split(' ').nth(1).unwrap().parse().unwrap();
    let headers = text.lines().skip(1).filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    Answer { status, headers, body: answer[head + 4..].to_vec() }
}

async fn get(server: &TestServer, path: &str) -> Answer {
    ask(server, "GET", path, "").await
}

#[tokio::test]
async fn a_folder_is_shown_with_types_and_rules_that_browsers_heed() {
    let folder = Folder::page();
    let server = TestServer::with(|settings| settings.page = folder.source()).await;
    let index = get(&server, "/").await;
    assert_eq!((index.status, &*index.body), (200, &b"<!doctype html>"[..]));
    assert_eq!(index.headers["content-type"], "text/html; charset=utf-8");
    let policy = &index.headers["content-security-policy"];
    assert!(policy.contains("default-src 'none'") && policy.contains("'wasm-unsafe-eval'"), "{policy}");
    assert!(!policy.contains("unsafe-inline") && !policy.contains("'unsafe-eval'"), "{policy}");
    assert_eq!(index.headers["x-content-type-options"], "nosniff");
    assert_eq!(get(&server, "/index.html?a=1").await.body, index.body);
    assert_eq!(get(&server, "/app.js").await.headers["content-type"], "text/javascript; charset=utf-8");
    let module = get(&server, "/deep/node.wasm").await;
    assert_eq!((module.status, &*module.headers["content-type"]), (200, "application/wasm"));
    assert_eq!(server.metric("atoll_signalling_page_files_total").await, 4);
}

#[tokio::test]
async fn nothing_but_the_files_of_the_page_can_be_read() {
    let folder = Folder::page();
    fs::write(folder.0.with_extension("beside"), "secret").unwrap();
    let beside = folder.0.with_extension("beside").file_name().unwrap().to_str().unwrap().to_owned();
    let server = TestServer::with(|settings| settings.page = folder.source()).await;
    let paths = [
        format!("/../{beside}"),
        format!("/deep/../../{beside}"),
        format!("/..%2f{beside}"),
        format!("/%2e%2e/{beside}"),
        "//etc/passwd".into(),
        "/.hidden".into(),
        "/deep/.hidden".into(),
        "/deep".into(),
        "/deep/".into(),
        "/app.js.gz".into(),
        "/app.js%00".into(),
        "/nothing".into(),
    ];
    for path in paths {
        let answer = get(&server, &path).await;
        assert_eq!(answer.status, 404, "{path}: {}", String::from_utf8_lossy(&answer.body));
    }
    fs::remove_file(folder.0.with_extension("beside")).unwrap();
    assert_eq!(ask(&server, "POST", "/app.js", "").await.status, 405);
    assert_eq!(ask(&server, "DELETE", "/", "").await.status, 405);
}

#[tokio::test]
async fn who_takes_gzip_gets_the_compressed_file() {
    let folder = Folder::page();
    let server = TestServer::with(|settings| settings.page = folder.source()).await;
    for taken in ["gzip", "br, GZIP;q=0.5", "deflate, gzip; q=1.0, *;q=0"] {
        let answer = ask(&server, "GET", "/app.js", &format!("accept-encoding: {taken}\r\n")).await;
        assert_eq!((&*answer.body, &*answer.headers["content-encoding"]), (&b"compressed"[..], "gzip"), "{taken}");
        assert_eq!(answer.headers["content-type"], "text/javascript; charset=utf-8");
    }
    for taken in
        ["", "accept-encoding: br\r\n", "accept-encoding: gzip;q=0\r\n", "accept-encoding: identity, gzip;q=0.0\r\n"]
    {
        let answer = ask(&server, "GET", "/app.js", taken).await;
        assert_eq!(answer.body, b"export const a = 1;", "{taken}");
        assert!(!answer.headers.contains_key("content-encoding") && answer.headers["vary"] == "accept-encoding");
    }
    let plain = ask(&server, "GET", "/", "accept-encoding: gzip\r\n").await;
    assert!(!plain.headers.contains_key("content-encoding"), "there is none of this file");
}

#[tokio::test]
async fn a_browser_that_has_a_file_is_told_so() {
    let folder = Folder::page();
    let server = TestServer::with(|settings| settings.page = folder.source()).await;
    let first = get(&server, "/app.js").await;
    let tag = &first.headers["etag"];
    assert_eq!(first.headers["cache-control"], "no-cache");
    for known in [tag.clone(), format!("\"other\", W/{tag}"), "*".into()] {
        let again = ask(&server, "GET", "/app.js", &format!("if-none-match: {known}\r\n")).await;
        assert_eq!((again.status, again.body.len(), &again.headers["etag"]), (304, 0, tag), "{known}");
    }
    let other = ask(&server, "GET", "/app.js", "if-none-match: \"other\"\r\n").await;
    assert_eq!(other.status, 200);
    let compressed = format!("accept-encoding: gzip\r\nif-none-match: {tag}\r\n");
    assert_eq!(ask(&server, "GET", "/app.js", &compressed).await.status, 200, "other bytes have another tag");
}

#[tokio::test]
async fn head_says_what_get_would_send() {
    let folder = Folder::page();
    let server = TestServer::with(|settings| settings.page = folder.source()).await;
    for path in ["/", "/app.js"] {
        let (head, get) = (ask(&server, "HEAD", path, "").await, get(&server, path).await);
        assert_eq!((head.status, head.body.len()), (200, 0));
        for name in ["content-length", "content-type", "etag", "content-security-policy"] {
            assert_eq!(head.headers.get(name), get.headers.get(name), "{path}: {name}");
        }
        assert_eq!(head.headers["content-length"], get.body.len().to_string());
    }
}

#[tokio::test]
async fn nodes_connect_where_browsers_find_the_page() {
    let folder = Folder::page();
    let server = TestServer::with(|settings| settings.page = folder.source()).await;
    for path in ["/", "/ws"] {
        soon("a connection", connect_async(format!("{}{path}", server.url()))).await.unwrap();
    }
    server.join("main").await;
    // Neither a WebSocket nor a file.
    assert_eq!(ask(&server, "GET", "/", "upgrade: h2c\r\nconnection: upgrade\r\n").await.status, 426);
    assert_eq!(get(&server, "/healthz").await.body, b"ok\n");
}

#[tokio::test]
async fn a_slow_reader_of_a_file_may_take_longer_than_a_handshake() {
    // More than the sockets of both sides hold.
    let large = vec![7; 24 * 1024 * 1024];
    let folder = Folder::new("large", &[("index.html", b"x"), ("large.wasm", &large)]);
    let server = TestServer::with(|settings| {
        settings.page = folder.source();
        settings.limits.handshake = Duration::from_millis(300);
    })
    .await;
    let mut reader = TcpStream::connect(server.address).await.unwrap();
    reader.write_all(b"GET /large.wasm HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut first = [0];
    soon("the first byte", reader.read_exact(&mut first)).await.unwrap();
    // One that came later and says nothing has been given up when this is counted.
    let silent = TcpStream::connect(server.address).await.unwrap();
    server.counted_as_closed("handshake-timeout", 1).await;
    drop(silent);
    let mut rest = Vec::new();
    soon("the whole file", reader.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.len() > large.len() && rest.ends_with(&large[..1000]), "{} bytes came", rest.len());
    assert_eq!(server.metric("atoll_signalling_connections_closed_total{reason=\"handshake-timeout\"}").await, 1);
}

#[tokio::test]
async fn a_folder_that_is_no_page_is_refused_at_the_start() {
    let refused = async |folder: PathBuf| {
        let listen = ([127, 0, 0, 1], 0).into();
        let settings = Settings { listen, page: PageSource::Folder(folder), ..Settings::default() };
        Server::bind(settings).await.map(|_| ()).unwrap_err().to_string()
    };
    let missing = refused("/nowhere/at/all".into()).await;
    assert!(missing.contains("/nowhere/at/all") && missing.contains("not found"), "{missing}");
    let empty = Folder::new("empty", &[]);
    let said = refused(empty.0.clone()).await;
    assert!(said.contains("no index.html") && said.contains("cargo xtask web"), "{said}");
    let many: Vec<String> = (0..=atoll_signalling::MAX_PAGE_FILES).map(|number| format!("{number}.html")).collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|name| (&**name, &b"x"[..])).collect();
    let many = Folder::new("many", &many);
    let said = refused(many.0.clone()).await;
    assert!(said.contains("more than 256 files"), "{said}");
}

/// What `cargo xtask web` has made is in this very program, if it was run before.
#[tokio::test]
async fn what_was_built_is_shown() {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../browser/dist/index.html").exists();
    let server = Server::bind(Settings { listen: ([127, 0, 0, 1], 0).into(), ..Settings::default() }).await.unwrap();
    assert_eq!(server.page_url(), built.then(|| format!("http://{}/", server.local_addr())));
    if !built {
        return;
    }
    let server = TestServer::start().await;
    let index = String::from_utf8(get(&server, "/").await.body).unwrap();
    assert!(index.contains("main.js"), "{index}");
    for (path, kind) in
        [("/main.js", "text/javascript; charset=utf-8"), ("/js/index.js", "text/javascript; charset=utf-8")]
    {
        let answer = get(&server, path).await;
        assert_eq!((answer.status, &*answer.headers["content-type"]), (200, kind), "{path}");
    }
    let module = ask(&server, "GET", "/wasm/atoll_web_bg.wasm", "accept-encoding: gzip\r\n").await;
    assert_eq!((module.status, &*module.headers["content-type"]), (200, "application/wasm"));
    assert_eq!(module.headers["content-encoding"], "gzip");
}
