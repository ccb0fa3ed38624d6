//! `node-cli daemon`: a node that the programs of this machine share.
//!
//! The messages and the state of a program are the crate `atoll-door`; here they meet sockets and the node.

mod answers;
mod attach;
mod channels;
mod outbox;
mod own;
mod program;
mod requests;
pub(crate) mod unix;
mod web;

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use atoll::Node;
use serde_json::json;
use tokio::sync::{Semaphore, mpsc};

use crate::args::{DaemonArgs, NodeArgs};
use crate::events::{Happening, Teller};
use crate::output::Output;
use crate::{UsageError, join, offer, stop};

/// Programs that are attached at once, at most.
const MAX_PROGRAMS: usize = 256;

/// What all programs share.
struct Daemon {
    node: Node,
    teller: Teller,
    places: Arc<Semaphore>,
}

pub(crate) async fn run(args: &DaemonArgs, node_args: &NodeArgs, output: Output) -> anyhow::Result<()> {
    let stop = stop::asked()?;
    tokio::pin!(stop);
    let path = match &args.socket {
        Some(path) => path.clone(),
        None => unix::default_path()
            .context(UsageError(Cow::Borrowed("there is no place for the socket; name one with --socket")))?,
    };
    // Another daemon, or a busy port, is told before anybody is troubled.
    let door = unix::Door::open(&path)?;
    let web = match args.websocket {
        Some(address) => {
            Some(web::Door::open(address, &args.token_file.clone().unwrap_or_else(|| token_path(&path))).await?)
        }
        None => None,
    };
    let identity = node_args.load_identity().await?;
    let signalling = node_args.signalling_urls();
    let mut builder = node_args.builder(&signalling, identity, args.name.as_deref())?;
    if let Some(store) = &args.store {
        builder = builder.store(store);
    }
    let start = builder.start();
    let node = tokio::select! {
        node = start => node.map_err(join::started)?,
        () = &mut stop => return Ok(()),
    };
    let (teller, happenings) = Teller::new();
    teller.follow(&node);
    let places = Arc::new(Semaphore::new(MAX_PROGRAMS));
    let daemon = Arc::new(Daemon { node: node.clone(), teller, places });
    let serving = async {
        offer::errands(&node)?;
        announce(&node, &path, web.as_ref(), output)?;
        tokio::select! {
            never = door.serve(&daemon) => match never {},
            never = web::serve(web.as_ref(), &daemon) => match never {},
            () = tell(happenings, output) => Ok(()),
        }
    };
    let result = tokio::select! {
        result = serving => result,
        () = &mut stop => Ok(()),
    };
    node.close().await;
    result
}

fn announce(node: &Node, path: &std::path::Path, web: Option<&web::Door>, output: Output) -> anyhow::Result<()> {
    let id = node.id();
    let url = web.map(web::Door::url);
    let name = node.names().into_iter().next().map(|name| format!("@{name}"));
    let mut text = format!("{id} at {}", path.display());
    if let Some(name) = &name {
        text = format!("{name} is {text}");
    }
    if let Some(web) = web {
        text = format!("{text}\n{} with the token in {}", web.url(), web.token_file.display());
    }
    let token_file = web.map(|web| &web.token_file);
    let daemon = json!({
        "event": "daemon", "id": id, "name": name, "socket": path, "websocket": url, "token_file": token_file,
    });
    output.line(text, &daemon)
}

/// Beside the socket.
fn token_path(socket: &std::path::Path) -> PathBuf {
    let mut path = socket.as_os_str().to_owned();
    path.push(".token");
    path.into()
}

/// Says on standard error what happens, as long as somebody tells.
async fn tell(mut happenings: mpsc::Receiver<Happening>, output: Output) {
    while let Some(happening) = happenings.recv().await {
        output.event(&happening, &happening);
    }
}
