//! `node-cli listen`: a member of the ring that waits for peers that dial.

use anyhow::Context;
use atoll::Node;
use atoll_signalling::{Server, ServerHandle, Settings};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use url::Url;

use crate::args::{ListenArgs, NodeArgs};
use crate::events::{Happening, Teller};
use crate::join;
use crate::offer::{self, Answer};
use crate::output::Output;
use crate::pipe;
use crate::stop;

pub(crate) async fn run(args: &ListenArgs, node_args: &NodeArgs, output: Output) -> anyhow::Result<()> {
    let stop = stop::asked()?;
    tokio::pin!(stop);
    let identity = node_args.load_identity().await?;
    let door = match args.door {
        Some(address) => Some(Door::open(Settings { listen: address, ..Settings::default() }).await?),
        None => None,
    };
    if door.is_some() && !node_args.signalling.is_empty() {
        output.note("with --door the node uses its own signalling server; that of --signalling is not used");
    }
    let signalling = door.as_ref().map_or_else(|| node_args.signalling_urls(), |door| vec![door.url.clone()]);
    let mut builder = node_args.builder(&signalling, identity, args.name.as_deref())?;
    if let Some(store) = &args.store {
        builder = builder.store(store);
    }
    let start = builder.start();
    let node = tokio::select! {
        node = start => node.map_err(join::started)?,
        () = &mut stop => return Ok(()),
    };
    let result = tokio::select! {
        result = serve(&node, args, node_args, &signalling, output) => result,
        () = &mut stop => Ok(()),
    };
    node.close().await;
    if let Some(door) = door {
        door.close().await;
    }
    result
}

async fn serve(
    node: &Node,
    args: &ListenArgs,
    node_args: &NodeArgs,
    signalling: &[Url],
    output: Output,
) -> anyhow::Result<()> {
    let (teller, happenings) = Teller::new();
    teller.follow(node);
    let (id, signalling) = (node.id(), signalling.iter().map(Url::as_str).collect::<Vec<_>>());
    let object = json!({ "event": "listening", "id": id, "signalling": signalling });
    let hint = format!("dial it with: {} dial {id}{}", crate::up::program(), node_args.words(&signalling));
    if !args.answer.pipe {
        let answer = args.answer.tcp.clone().map_or(Answer::Echo, Answer::Tcp);
        offer::all(node, answer, &teller)?;
        output.line(id, &object)?;
        output.note(hint);
        tell(happenings, output).await;
        return Ok(());
    }
    // Standard output belongs to the peer that dials.
    offer::errands(node)?;
    let mut listener = node.listen()?;
    output.event(id, &object);
    output.note(hint);
    let socket = tokio::spawn(async move {
        let socket = listener.accept().await.context("the node was closed before anybody dialled")?;
        teller.tell(Happening::Socket { id, peer: socket.peer() });
        // From here on others that dial are refused: the listener is gone.
        drop(listener);
        pipe::stdio(socket).await
    });
    tokio::select! {
        piped = socket => piped?,
        () = tell(happenings, output) => Ok(()),
    }
}

/// Says on standard error what happens, as long as somebody tells.
async fn tell(mut happenings: mpsc::Receiver<Happening>, output: Output) {
    while let Some(happening) = happenings.recv().await {
        output.event(&happening, &happening);
    }
}

/// A signalling server inside this process.
pub(crate) struct Door {
    /// The URL that nodes on this machine take.
    pub(crate) url: Url,
    /// The page that it shows to browsers of this machine, if it has one.
    pub(crate) page: Option<Url>,
    handle: ServerHandle,
    serving: JoinHandle<()>,
}

impl Door {
    pub(crate) async fn open(settings: Settings) -> anyhow::Result<Self> {
        let server = Server::bind(settings).await?;
        let mut address = server.local_addr();
        if address.ip().is_unspecified() {
            // All addresses: that of loopback is among them.
            let loopback = if address.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
            address.set_ip(loopback);
        }
        let url = Url::parse(&format!("ws://{address}"))?;
        let page = server.page_url().map(|_| Url::parse(&format!("http://{address}"))).transpose()?;
        let handle = server.handle();
        Ok(Door { url, page, handle, serving: tokio::spawn(server.serve()) })
    }

    /// Tells the nodes that are connected, and stops.
    pub(crate) async fn close(self) {
        self.handle.stop();
        let _ = self.serving.await;
    }
}
