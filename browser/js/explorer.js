// The names of webrtc-explorer, above a node: `createListener`, `dial`, `updateFinger`, `updateFingerTable`.

import { Atoll } from './node.js';
import { AtollError } from './error.js';

/** Rows of the finger table: bits of an id. */
const ROWS = 48;

/** What `require('webrtc-explorer')` gave, for a page that names its signalling server here. */
export function explorer(options) {
  let node;

  const ready = () => {
    if (!node) throw new AtollError('closed', 'this node does not listen yet: a node must be on the ring before it dials');
    return node;
  };

  return {
    /** The node beneath, once it listens. */
    get node() {
      return node;
    },

    createListener(onSocket) {
      return {
        listen(done = () => {}) {
          Atoll.join(options).then(
            (joined) => {
              node = joined;
              serve(joined, onSocket);
              done(null);
            },
            (error) => done(error),
          );
        },
        close(done = () => {}) {
          const closing = node;
          node = undefined;
          (closing?.close() ?? Promise.resolve()).then(() => done(null), done);
        },
      };
    },

    dial(peerId, onReady = () => {}) {
      const dialling = ready().dial(peerId);
      return new ExplorerSocket(dialling, onReady);
    },

    async updateFinger(row) {
      return ready().updateFinger(row);
    },

    /** Refreshes every row in whose arc a node stands; gives the nodes by their rows. */
    async updateFingerTable() {
      const members = {};
      for (let row = ROWS - 1; row >= 0; row -= 1) {
        const member = await ready().updateFinger(row).catch(() => undefined);
        if (member !== undefined) members[row] = member;
      }
      return members;
    },
  };
}

async function serve(node, onSocket) {
  for await (const socket of node.listen()) onSocket(new ExplorerSocket(Promise.resolve(socket)));
}

/** A socket with events: `ready`, `data`, `end` and `error`; `write` may be called at once. */
class ExplorerSocket extends EventTarget {
  #writer;

  constructor(opening, onReady = () => {}) {
    super();
    this.#writer = opening.then((socket) => socket.writable.getWriter());
    // Whoever writes hears of it, and whoever listens for it.
    this.#writer.catch(() => {});
    opening
      .then(async (socket) => {
        /** The id of the peer. */
        this.peer = socket.peer;
        onReady(null);
        this.#tell('ready');
        for await (const bytes of pieces(socket.readable)) this.#tell('data', bytes);
        this.#tell('end');
      })
      .catch((error) => {
        if (this.peer === undefined) onReady(error);
        this.#tell('error', error);
      });
  }

  on(type, listener) {
    this.addEventListener(type, (event) => listener(event.detail));
    return this;
  }

  async write(bytes) {
    await (await this.#writer).write(bytes);
  }

  async end(bytes) {
    if (bytes !== undefined) await this.write(bytes);
    await (await this.#writer).close();
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** Not every browser iterates over streams. */
async function* pieces(readable) {
  const reader = readable.getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    yield value;
  }
}
