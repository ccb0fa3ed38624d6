import { AtollError, bytesOf, kind, milliseconds, signalOf, text, wrong } from './error.js';
import { borrow } from './keys.js';
import { load } from './load.js';
import { Peer } from './object.js';
import { Socket } from './socket.js';

/** How long what is stored lasts, where nothing is said: an hour, in milliseconds. */
const STORED_FOR = 3_600_000;

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

  /** Another node, by its id or `@name`: to use what it provides. It may be this one. */
  peer(who) {
    return new Peer(this.#open(), who);
  }

  /** Stores bytes or a text, and gives the key to find it by. With a `name` it can be stored anew under the same key. */
  async put(value, options = {}) {
    const name = options.name === undefined ? undefined : text(options.name, 'name');
    const ttl = milliseconds(options.ttl ?? STORED_FOR, 'ttl');
    return this.#open().put(bytesOf(value, 'what is stored'), name, ttl / 1000);
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

  /** The id of the node that owns a point of the ring: an id, or any other text by its hash. */
  async lookup(key, options) {
    return this.#open().lookup(text(key, 'a key'), signalOf(options));
  }

  /** The point of the ring that a text stands for. */
  point(key) {
    return this.#open().point(text(key, 'a key'));
  }

  /** The ids of the nodes on the way to a peer, the peer last. */
  async trace(peer, options) {
    return this.#open().trace(text(peer, 'a peer'), signalOf(options));
  }

  /** Refreshes a row of the finger table, 0 to 47; gives the id of the node that stands in it. */
  async updateFinger(row) {
    if (!Number.isInteger(row) || row < 0 || row > 47) throw wrong('a row is a whole number from 0 to 47');
    return this.#open().updateFinger(row);
  }

  /** What the node knows of itself and its neighbours; `undefined` once it is closed. */
  async status() {
    return this.#closed ? undefined : this.#raw.status();
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
    const on = (type, act) => globalThis.addEventListener?.(type, act, { signal: this.#listeners.signal });
    // A page that goes says goodbye, or the ring would miss it only after seconds. There is no time to wait for anything.
    on('pagehide', () => {
      this.#closed = true;
      this.#listeners.abort();
      this.#raw.leave();
    });
    on('online', () => this.#raw.networkChanged());
  }

  #open() {
    if (this.#closed) throw new AtollError('closed', 'this node is closed');
    return this.#raw;
  }

  #happened({ type, ...detail }) {
    if (type === 'connect' || type === 'disconnect') {
      this.#peers = this.#peers.filter((peer) => peer !== detail.peer);
      if (type === 'connect') this.#peers.push(detail.peer);
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
