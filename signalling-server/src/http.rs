//! The paths of the server: the WebSocket on `/` and `/ws`, `/healthz`, `/metrics` and `/dht`, and for browsers a page on `/`.

use std::sync::Arc;

use atoll::Id;
use atoll::signalling::is_network_name;
use axum::extract::rejection::QueryRejection;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Extension, Query, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;

use crate::connection;
use crate::server::{Shared, Visitor};

/// Bytes of the buffer that a WebSocket reads into, and there is one for each connection. The library's default is 128 KiB.
const READ_BUFFER: usize = 4 * 1024;

/// What a browser is told where there is no page for it.
const NO_PAGE: &str =
    "\nIt has no page for browsers: run `cargo xtask web` and build it again, or start it with --page browser/dist.\n";

pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(root))
        .route("/ws", get(upgrade))
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
        .route("/dht", get(dht))
        .route("/{*file}", get(file))
        .with_state(shared)
}

/// A WebSocket for a node, the page for a browser.
async fn root(
    state: State<Arc<Shared>>,
    visitor: Extension<Arc<Visitor>>,
    headers: HeaderMap,
    uri: Uri,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    if headers.contains_key(header::UPGRADE) || state.page.is_empty() {
        self::upgrade(state, visitor, headers, upgrade).await
    } else {
        file(state, visitor, headers, uri).await
    }
}

/// A file of the page.
async fn file(
    State(shared): State<Arc<Shared>>,
    Extension(visitor): Extension<Arc<Visitor>>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    visitor.answer(&shared.metrics);
    match shared.page.answer(uri.path(), &headers) {
        Some(response) => {
            visitor.takes_file();
            shared.metrics.page_files.inc();
            response
        }
        None => (StatusCode::NOT_FOUND, "there is nothing of this name here\n").into_response(),
    }
}

async fn upgrade(
    State(shared): State<Arc<Shared>>,
    Extension(visitor): Extension<Arc<Visitor>>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(_) => {
            visitor.answer(&shared.metrics);
            let mut say = "this is a signalling server of Atoll: connect with a WebSocket\n".to_owned();
            if shared.page.is_empty() {
                say.push_str(NO_PAGE);
            }
            return (StatusCode::UPGRADE_REQUIRED, [(header::UPGRADE, "websocket")], say).into_response();
        }
    };
    if !origin_may_connect(&shared.settings.origins, &headers) {
        shared.metrics.refuse("origin");
        return (StatusCode::FORBIDDEN, "web pages of this origin may not connect here\n").into_response();
    }
    let limit = shared.settings.limits.message_bytes;
    upgrade
        .read_buffer_size(READ_BUFFER)
        // Nothing is held back, so that what is flushed is what counts as read by the other side.
        .write_buffer_size(0)
        .max_write_buffer_size(2 * shared.settings.limits.pending_bytes)
        .max_message_size(limit)
        .max_frame_size(limit)
        // A task of its own: the upgrade's task would keep room for its own steps as long as the connection lives.
        .on_upgrade(|socket| async { drop(tokio::spawn(connection::run(socket, shared, visitor))) })
}

/// Whether the page that a browser names may connect. No `Origin`: not a browser.
fn origin_may_connect(allowed: &[String], headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    allowed.is_empty() || allowed.iter().any(|one| one.as_bytes().eq_ignore_ascii_case(origin.as_bytes()))
}

async fn healthz(State(shared): State<Arc<Shared>>, Extension(visitor): Extension<Arc<Visitor>>) -> &'static str {
    visitor.answer(&shared.metrics);
    "ok\n"
}

async fn metrics(State(shared): State<Arc<Shared>>, Extension(visitor): Extension<Arc<Visitor>>) -> Response {
    visitor.answer(&shared.metrics);
    let counts = shared.registry().counts();
    let page = shared.metrics.to_text(shared.places.taken(), counts);
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], page).into_response()
}

/// Which ring, and after which node of it to go on.
#[derive(Debug, Deserialize)]
struct DhtQuery {
    network: String,
    after: Option<Id>,
}

async fn dht(
    State(shared): State<Arc<Shared>>,
    Extension(visitor): Extension<Arc<Visitor>>,
    query: Result<Query<DhtQuery>, QueryRejection>,
) -> Response {
    visitor.answer(&shared.metrics);
    if !shared.settings.dht {
        return (StatusCode::FORBIDDEN, "this server does not show its rings: it was started without --dht\n")
            .into_response();
    }
    let Some(Query(query)) = query.ok().filter(|query| is_network_name(&query.network)) else {
        return (StatusCode::BAD_REQUEST, "name a network: /dht?network=main\n").into_response();
    };
    let view = shared.registry().view(&query.network, query.after);
    match view {
        Some(view) => Json(view).into_response(),
        None => (StatusCode::NOT_FOUND, "no node is registered in this network\n").into_response(),
    }
}
