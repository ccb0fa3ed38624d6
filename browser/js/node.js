import { AtollError, argumentsOf, bytesOf, kind, milliseconds, signalOf, text, wrong } from './error.js';
import { Channel } from './channel.js';
import { TIMEOUT } from './function.js';
import { borrow } from './keys.js';
import { load, loaded } from './load.js';
import { Peer } from './object.js';
import { Socket } from './socket.js';

/** How long what is stored lasts, where nothing is said: an hour, in milliseconds. */
const STORED_FOR = 3_600_000;

/** Frames to each hop of a trace, of which the fastest counts. */
const TRACE_ROUNDS = 3;

/** The options of `Atoll.join` that go to the node as they are, by what they must be. */
const PLAIN = {
  network: 'string',
  secret: 'string',
  name: 'string',
  links: 'number',
  leaf: 'boolean',
  iceServers: 'object',
  relayOnly: 'boolean',
  directLinks: 'boolean',
};

/** A node on the ring. Its events are in index.d.ts. */
export class Atoll extends EventTarget {
  #raw;
  #giveBack;
  #peers = [];
  #closed = false;
  /** How often each channel is held, by its id: joined twice, a channel is the same one. */
  #channels = new Map();
  #listeners = new AbortController();

  /** Joins the ring; resolved when the node has its place. */
  static async join(options) {
    const { json, key, module } = checked(options);
    const signal = signalOf(options);
    const wasm = await load(module);
    signal?.throwIfAborted();
    const borrowed = typeof key === 'string' ? await borrow(key, () => wasm.generateKey()) : { key, giveBack() {} };
    try {
      const raw = await wasm.join(json, borrowed.key, signal);
      const node = new Atoll(raw, borrowed.giveBack);
      await node.#look();
      return node;
    } catch (error) {
      borrowed.giveBack();
      throw error;
    }
  }

  /** @internal: use `Atoll.join`. */
  constructor(raw, giveBack) {
    super();
    this.#raw = raw;
    this.#giveBack = giveBack;
    /** Its id: 12 hexadecimal digits. */
    this.id = raw.id;
    /** Its public key, in hexadecimal digits. */
    this.key = raw.key;
    raw.events((event) => this.#happened(event));
    this.#followPage();
  }

  /**
   * The connections that all nodes of this page have made since it was loaded, and how many of them are open. Browsers allow some 500, and
   * count closed ones until their memory is reclaimed.
   */
  static get connections() {
    const [made, open] = loaded()?.connections() ?? [0, 0];
    return { made, open };
  }

  /** The ids of the peers that this node has a link to. */
  get peers() {
    return [...this.#peers];
  }

  /** Whether it has been closed. */
  get closed() {
    return this.#closed;
  }

  /** Opens a socket to a peer, by its id or `@name`, over as many hops as it takes. */
  async dial(peer, options) {
    const raw = await this.#open().dial(text(peer, 'a peer'), options?.protocol, signalOf(options));
    return new Socket(raw);
  }

  /** The sockets that peers dial, as they come. One reader at a time. */
  listen(options) {
    const signal = signalOf(options);
    const listener = this.#open().listen(options?.protocol);
    return sockets(listener, signal);
  }

  /** Provides an object to peers: its values can be read, its functions called. */
  async provide(name, object) {
    text(name, 'the name of a service');
    if (object === null || typeof object !== 'object') throw wrong(`what is provided is an object, not ${kind(object)}`);
    return new Service(this.#open().provide(name, object));
  }

  /** Answers calls to a scope that come to this node, or to a point of the ring that it owns. Gives what ends that. */
  handle(scope, answer) {
    const raw = this.#open();
    if (typeof answer !== 'function') throw wrong(`what answers is a function, not ${kind(answer)}`);
    raw.handle(text(scope, 'a scope'), answer);
    return { release: () => void (this.#closed || raw.unhandle(scope)) };
  }

  /** Calls what handles a scope at the node that is at a point of the ring, or owns it. */
  async call(point, scope, args = [], options) {
    const within = options?.timeout === undefined ? TIMEOUT : milliseconds(options.timeout, 'timeout');
    return this.#open().callAddress(text(point, 'a point'), text(scope, 'a scope'), argumentsOf(args), within, signalOf(options));
  }

  /** Another node, by its id or `@name`: to use what it provides. It may be this one. */
  peer(who) {
    return new Peer(this.#open(), who);
  }

  /** Joins a channel: what one member publishes comes to all. */
  async channel(name, options) {
    const signal = signalOf(options);
    const secret = options?.secret === undefined ? undefined : bytesOf(options.secret, 'secret');
    const signed = options?.signed ?? true;
    if (typeof signed !== 'boolean') throw wrong(`signed is true or false, not ${kind(signed)}`);
    const raw = await this.#open().channel(text(name, 'the name of a channel'), secret, signed, signal);
    const [{ id }, held] = [raw, this.#channels];
    held.set(id, (held.get(id) ?? 0) + 1);
    return new Channel(raw, name, () => {
      held.set(id, held.get(id) - 1);
      return held.get(id) === 0 && held.delete(id);
    });
  }

  /** Stores bytes or a text under their hash, and gives the key to find them by. */
  async put(value, options) {
    return this.#open().put(bytesOf(value, 'what is stored'), seconds(options), signalOf(options));
  }

  /** Stores bytes or a text under a name of this node's own, in place of what was there. Gives the key, which stays the same. */
  async putEntry(name, value, options) {
    return this.#open().putEntry(text(name, 'a name'), bytesOf(value, 'what is stored'), seconds(options), signalOf(options));
  }

  /** Deletes what this node has stored under a name of its own. */
  async delete(name, options) {
    await this.#open().delete(text(name, 'a name'), signalOf(options));
  }

  /** The bytes under a key; `undefined` where there are none. */
  async get(key, options) {
    return this.#open().fetch(text(key, 'a key'), signalOf(options));
  }

  /** Claims a name for this node, so that peers find it by `@name`. The claim lasts until it is released, or the node closes. */
  async claim(name) {
    const claim = await this.#open().claim(text(name, 'a name').replace(/^@/, ''));
    return { name: `@${name.replace(/^@/, '')}`, release: () => claim.free() };
  }

  /** Who owns a point of the ring: an id, or any other text by its hash. And after how many hops it was found. */
  async lookup(key, options) {
    return this.#open().lookup(text(key, 'a key'), signalOf(options));
  }

  /** The nodes on the way to a peer, the peer last, each with the milliseconds of a frame there and back. */
  async trace(peer, options) {
    const signal = signalOf(options);
    const hops = await this.#open().trace(text(peer, 'a peer'), signal);
    return Promise.all(hops.map(async (id) => ({ id, time: await this.#roundTrip(id, signal) })));
  }

  /** Refreshes a row of the finger table, 0 to 47; gives the id of the node that stands in it. */
  async updateFinger(row) {
    if (!Number.isInteger(row) || row < 0 || row > 47) throw wrong('a row is a whole number from 0 to 47');
    return this.#open().updateFinger(row);
  }

  /** What the node knows of itself and its neighbours; `undefined` once it is closed. */
  async status() {
    const status = this.#closed ? undefined : await this.#raw.status();
    return status && described(status);
  }

  /** Leaves the ring: the others know at once. */
  async close() {
    if (this.#closed) return;
    this.#closed = true;
    this.#listeners.abort();
    try {
      await this.#raw.close();
    } finally {
      this.#raw.free();
      this.#giveBack();
      this.#peers = [];
    }
  }

  async [Symbol.asyncDispose]() {
    await this.close();
  }

  /** Does what the page's life asks for. */
  #followPage() {
    const on = (type, act, target = globalThis) => target?.addEventListener?.(type, act, { signal: this.#listeners.signal });
    // A page that goes says goodbye, or the ring would miss it only after seconds. There is no time to wait for anything.
    on('pagehide', () => {
      this.#closed = true;
      this.#listeners.abort();
      this.#raw.leave();
    });
    // What the browser notices of the network. Links that are gone are given up within a second, instead of five.
    on('offline', () => this.#happened({ type: 'offline' }));
    on('online', () => {
      this.#raw.networkChanged();
      this.#happened({ type: 'online' });
    });
    // A page that was frozen may have been given up by its peers.
    on('resume', () => this.#raw.networkChanged(), globalThis.document);
  }

  /** The fastest of some frames to a node and back, `undefined` if none came: what is slower waited for something else. */
  async #roundTrip(id, signal) {
    let best;
    for (let round = 0; round < TRACE_ROUNDS; round += 1) {
      const begun = performance.now();
      try {
        await this.#open().trace(id, signal);
      } catch (error) {
        if (signal?.aborted || this.#closed) throw error;
        continue;
      }
      best = Math.min(best ?? Infinity, performance.now() - begun);
    }
    return best;
  }

  #open() {
    if (this.#closed) throw new AtollError('closed', 'this node is closed');
    return this.#raw;
  }

  #happened({ type, ...detail }) {
    if (type === 'peerconnect' || type === 'peerdisconnect') {
      this.#peers = this.#peers.filter((peer) => peer !== detail.peer);
      if (type === 'peerconnect') this.#peers.push(detail.peer);
    }
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  async #look() {
    const status = await this.#raw.status();
    if (status) this.#peers = status.peers.map((peer) => peer.id);
  }
}

/** An object that this node provides. */
class Service {
  #raw;

  constructor(raw) {
    this.#raw = raw;
  }

  /** Sets the value at a path, and tells who watches it. */
  set(path, value) {
    this.#raw.set(text(path, 'a path'), value);
  }

  /** Provides it no longer. */
  withdraw() {
    this.#raw.withdraw();
  }
}

async function* sockets(listener, signal) {
  try {
    for (;;) {
      const raw = await listener.next(signal);
      if (raw === undefined) return;
      yield new Socket(raw);
    }
  } finally {
    listener.free();
  }
}

/** A time to live in seconds. */
function seconds(options) {
  return milliseconds(options?.ttl ?? STORED_FOR, 'ttl') / 1000;
}

/** A status by the names of JavaScript. */
function described({ id, phase, predecessors, successors, peers, fingers, ...status }) {
  return {
    id,
    phase,
    arc: predecessors.length > 0 ? { after: predecessors[0], upTo: id } : undefined,
    predecessors,
    successors,
    links: peers.map(({ id: peer, purpose: kind, ...link }) => ({ peer, kind, ...link })),
    fingers,
    linksInUse: status.links_in_use,
    maxLinks: status.max_links,
    estimatedSize: status.estimated_size,
    counters: status.counters,
  };
}

/** The options of `Atoll.join`, refused before anything is begun. */
function checked(options) {
  if (options === null || typeof options !== 'object') throw wrong(`the options are an object, not ${kind(options)}`);
  const { signalling, key, module, timeout, signal: _, ...rest } = options;
  const servers = Array.isArray(signalling) ? signalling : [signalling];
  const plain = { signalling: servers.map((url) => text(url, 'signalling')) };
  for (const [name, value] of Object.entries(rest)) {
    if (!Object.hasOwn(PLAIN, name)) throw wrong(`there is no option ${name}`);
    if (value === undefined) continue;
    if (typeof value !== PLAIN[name]) throw wrong(`${name} is a ${PLAIN[name]}, not ${kind(value)}`);
    plain[name] = value;
  }
  if (plain.links !== undefined && !Number.isInteger(plain.links)) throw wrong('links is a whole number');
  if (timeout !== undefined) plain.timeout = milliseconds(timeout, 'timeout');
  const kept = key === undefined || typeof key === 'string' ? key : bytesOf(key, 'key');
  return { json: JSON.stringify(plain), key: kept, module };
}
