// The names of Sea ("peersea"), above a node: `goOnline`, `handle`, `call`, `connect`, `join`.

import { decodeValue, encodeValue } from '../wasm/atoll_web.js';
import { AtollError, kind, text, wrong } from './error.js';
import { HashAddress } from './address.js';
import { Atoll } from './node.js';

export { HashAddress };

/** The kind of streams that connections are. */
const CONNECTION = 'sea/connection/1';

/** Bytes of a message at most, and of all that wait to be sent on a connection. */
const [MAX_MESSAGE, MAX_WAITING] = [1 << 20, 8 << 20];

/** Each message goes behind its length. */
const LENGTH_BYTES = 4;

/** What the classes here share, and nobody else sees. */
const [emit, queue, tell, over] = ['emit', 'queue', 'tell', 'over'].map(Symbol);

/** No scopes of messages. */
const EVENTS = ['connect', 'disconnect'];

/** What `on` is about: names of events, and scopes of messages. */
class Emitter {
  #target = new EventTarget();

  on(type, listener) {
    if (typeof listener !== 'function') throw wrong(`a listener is a function, not ${kind(listener)}`);
    this.#target.addEventListener(text(type, 'a scope'), ({ detail }) => listener(...detail));
  }

  [emit](type, ...detail) {
    this.#target.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** What `require('peersea')` gave. The options are those of `Atoll.join`. */
export class Sea extends Emitter {
  #options;
  #node;
  #going;
  #online = false;
  #handlers = new Map();

  constructor(options) {
    super();
    this.#options = options;
  }

  /** The node beneath, while there is one. */
  get node() {
    return this.#node;
  }

  localId() {
    return HashAddress.from(this.#open().id);
  }

  /** The addresses of the nodes that there is a link to. */
  connections() {
    return (this.#node?.peers ?? []).map((peer) => HashAddress.from(peer));
  }

  online() {
    return this.#online;
  }

  /** Joins through the first of these signalling servers that answers. Online already, it does nothing. */
  goOnline(bootstrap) {
    this.#going ??= this.#join(bootstrap).catch((error) => {
      this.#going = undefined;
      throw error;
    });
    return this.#going;
  }

  async goOffline() {
    await this.#going?.catch(() => {});
    const node = this.#node;
    this.#node = this.#going = undefined;
    await node?.close();
    this.#turn(false);
  }

  /** Answers calls to a scope, whenever this node is online. */
  handle(scope, answer) {
    if (typeof answer !== 'function') throw wrong(`what answers is a function, not ${kind(answer)}`);
    this.#node?.handle(scope, answer);
    this.#handlers.set(text(scope, 'a scope'), answer);
  }

  /** Calls what handles a scope at the node that is at an address, or owns it. */
  async call(address, scope, ...args) {
    const result = await this.#open().call(`${address}`, scope, args);
    return scope === 'sea:nearest' ? HashAddress.from(result) : result;
  }

  /** A connection with another node. It may be sent on at once. */
  connect(remoteId) {
    return new Connection(this.#open().dial(`${remoteId}`, { protocol: CONNECTION }), `${remoteId}`);
  }

  /** A channel: what its members send comes to all. It may be sent on at once. */
  join(channelId) {
    return new SeaChannel(this.#open().channel(channelId), text(channelId, 'the id of a channel'));
  }

  async #join(bootstrap) {
    const node = await Atoll.join({ ...this.#options, signalling: bootstrap });
    this.#node = node;
    for (const [scope, answer] of this.#handlers) node.handle(scope, answer);
    node.addEventListener('isolated', () => this.#turn(false));
    node.addEventListener('join', () => this.#turn(true));
    node.addEventListener('leave', () => this.#turn(false));
    this.#accept(node);
    this.#turn(true);
  }

  async #accept(node) {
    for await (const socket of node.listen({ protocol: CONNECTION })) {
      this[emit]('connection', new Connection(Promise.resolve(socket), socket.peer));
    }
  }

  #turn(online) {
    if (this.#online === online) return;
    this.#online = online;
    this[emit](online ? 'online' : 'offline');
  }

  #open() {
    if (!this.#node) throw new AtollError('closed', 'this node is not online');
    return this.#node;
  }
}

/** What is the same for connections and channels: they connect, carry values under scopes, and disconnect. */
class Line extends Emitter {
  #connected = false;
  #ended = false;
  #waiting = 0;
  #sent;

  /** `opening` gives what to send by. */
  constructor(opening) {
    super();
    this.#sent = opening;
    opening.then(
      () => {
        if (this.#ended) return;
        this.#connected = true;
        this[emit]('connect');
      },
      (error) => this[over](error),
    );
  }

  connected() {
    return this.#connected;
  }

  /** Sends after what was sent before: so many bytes, by `send`, which is given what `opening` gave. */
  [queue](bytes, send) {
    if (this.#ended) throw new AtollError('closed', 'it is disconnected');
    if (this.#waiting + bytes > MAX_WAITING) throw new AtollError('too-many', 'more waits to be sent than fits; send less at once');
    this.#waiting += bytes;
    this.#sent = this.#sent.then(async (by) => {
      await send(by);
      this.#waiting -= bytes;
      return by;
    });
    this.#sent.catch((error) => this[over](error));
  }

  /** A message came. */
  [tell](scope, value) {
    if (this.#connected && typeof scope === 'string' && !EVENTS.includes(scope)) this[emit](scope, value);
  }

  /** It has ended: `error` says why, where that was not asked for. */
  [over](error) {
    if (this.#ended) return;
    this.#ended = true;
    this.#connected = false;
    this[emit]('disconnect', error);
  }
}

/** Scopes that are events. */
function sendable(scope) {
  if (EVENTS.includes(text(scope, 'a scope'))) throw wrong(`${scope} is an event, and no scope to send under`);
  return scope;
}

/** A connection with another node. Its events are `connect` and `disconnect`; messages come under their scopes. */
class Connection extends Line {
  #remoteId;

  constructor(dialling, remoteId) {
    super(dialling.then((socket) => ({ socket, writer: socket.writable.getWriter() })));
    this.#remoteId = HashAddress.from(remoteId);
    dialling.then((socket) => this.#read(socket)).then(() => this.disconnect(), (error) => this[over](error));
  }

  remoteId() {
    return this.#remoteId;
  }

  send(scope, value) {
    const body = encodeValue([sendable(scope), value]);
    if (body.length > MAX_MESSAGE) throw new AtollError('too-large', `a message has at most ${MAX_MESSAGE} bytes`);
    const frame = new Uint8Array(LENGTH_BYTES + body.length);
    new DataView(frame.buffer).setUint32(0, body.length);
    frame.set(body, LENGTH_BYTES);
    this[queue](frame.length, ({ writer }) => writer.write(frame));
  }

  /** Ends it, when what was sent is with the other node. */
  disconnect() {
    try {
      this[queue](0, ({ writer }) => writer.close());
    } catch {
      // It had ended.
    }
    this[over]();
  }

  async #read(socket) {
    const reader = socket.readable.getReader();
    let rest = new Uint8Array();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const bytes = new Uint8Array(rest.length + value.length);
      bytes.set(rest);
      bytes.set(value, rest.length);
      rest = this.#take(bytes);
    }
  }

  /** Tells of all messages that are whole; gives the rest. */
  #take(bytes) {
    let at = 0;
    while (bytes.length - at >= LENGTH_BYTES) {
      const length = new DataView(bytes.buffer).getUint32(at);
      if (length > MAX_MESSAGE) throw new AtollError('protocol', 'the other node sends messages that are too large');
      if (bytes.length - at - LENGTH_BYTES < length) break;
      at += LENGTH_BYTES;
      const [scope, value] = decodeValue(bytes.subarray(at, at + length));
      at += length;
      this[tell](scope, value);
    }
    return bytes.slice(at);
  }
}

/** A channel. Its events are `connect` and `disconnect`; what its members send comes under its scope. */
class SeaChannel extends Line {
  #id;

  constructor(joining, id) {
    super(joining);
    this.#id = id;
    joining.then((channel) => this.#read(channel)).then(() => this[over](), (error) => this[over](error));
  }

  channelId() {
    return this.#id;
  }

  send(scope, value) {
    const bytes = encodeValue([sendable(scope), value]).length;
    this[queue](bytes, (channel) => channel.publish(scope, value));
  }

  /** Leaves, when what was sent is on its way. */
  disconnect() {
    try {
      this[queue](0, (channel) => channel.leave());
    } catch {
      // It had ended.
    }
    this[over]();
  }

  async #read(channel) {
    for await (const { scope, message } of channel) this[tell](scope, message);
  }
}

/** The one that most pages need. */
export const sea = new Sea();
export default sea;
