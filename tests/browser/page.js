// What the tests call in their tabs.

import { Atoll, AtollError } from '/js/index.js';

// What the page has, so that a test can cut it.
const made = new Set();
globalThis.RTCPeerConnection = class extends RTCPeerConnection {
  constructor(...args) {
    super(...args);
    made.add(this);
  }
};

/** Closes all connections behind the node's back. */
globalThis.cutConnections = () => {
  for (const connection of made) connection.close();
  made.clear();
};

globalThis.Atoll = Atoll;
globalThis.AtollError = AtollError;
globalThis.unhandled = [];
addEventListener('unhandledrejection', (event) => globalThis.unhandled.push(String(event.reason?.stack ?? event.reason)));

/** Joins the ring as `node`. */
globalThis.start = async (options) => {
  const node = await Atoll.join(options);
  globalThis.node = node;
  globalThis.events = [];
  for (const type of ['join', 'isolated', 'peerconnect', 'peerdisconnect', 'ringchange', 'leave', 'refused', 'linkfailed', 'signallinglost']) {
    node.addEventListener(type, ({ detail }) => events.push(`${Math.round(performance.now())} ${type} ${JSON.stringify(detail)}`));
  }
  echo(node);
  await node.provide('Echo', {
    a: 'information here',
    echo: (message) => message,
    deep: { x: { f: (n) => 2 * n } },
    async *count(to) {
      for (let at = 0; at < to; at += 1) yield at;
    },
    twice: async (f, value) => f(await f(value)),
  });
  return node.id;
};

async function echo(node) {
  for await (const socket of node.listen()) {
    socket.readable.pipeTo(socket.writable).catch(() => {});
  }
}

/** Sends a text to a peer that echoes, and gives what comes back. */
globalThis.say = async (peer, text) => {
  const socket = await node.dial(peer);
  const writer = socket.writable.getWriter();
  await writer.write(text);
  writer.close().catch(() => {});
  return new Response(socket.readable).text();
};

/** Calls `Echo` of a peer. */
globalThis.call = async (peer, text) => {
  const echo = await node.peer(peer).service('Echo');
  return echo.echo(text);
};

globalThis.ready = true;
