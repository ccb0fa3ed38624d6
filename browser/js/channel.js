import { AtollError, kind, signalOf, wrong } from './error.js';

/**
 * A channel that the node has joined. What its members publish comes to all of them, once, in each publisher's order.
 *
 * Iterating over it, or over `subscribe(scope)`, gives the messages from then on.
 */
export class Channel extends EventTarget {
  #raw;
  #letGo;
  #left = false;
  #readers = new Set();

  /** @internal: use `node.channel`. `letGo` says whether nobody else in this page is in the channel. */
  constructor(raw, name, letGo) {
    super();
    this.#raw = raw;
    this.#letGo = letGo;
    /** What it was joined by. */
    this.name = name;
    /** Its id: a hash of all that its members agree on. */
    this.id = raw.id;
    raw.presence((type, member) => this.#tell(`member${type}`, member));
  }

  /** Whether it has been left. */
  get left() {
    return this.#left;
  }

  /** Publishes a value under a scope; gives its number among this node's messages. */
  async publish(scope, value, options) {
    return this.#open().publish(scopeOf(scope), value, signalOf(options));
  }

  /** The messages that come from now on: under a scope or, without one, under all. */
  subscribe(scope, options) {
    const signal = signalOf(options);
    const raw = this.#open().subscribe(scope === undefined ? undefined : scopeOf(scope));
    const reader = new Messages(raw, signal, {
      lagged: (lagged) => this.#tell('lagged', lagged),
      ended: () => this.#readers.delete(reader),
    });
    this.#readers.add(reader);
    return reader;
  }

  [Symbol.asyncIterator]() {
    return this.subscribe();
  }

  /** Has the others see this node among the members, with data of its own. Call it again to change the data. */
  async announce(data = null) {
    const raw = this.#open();
    let json;
    try {
      json = JSON.stringify(data);
    } catch (error) {
      throw new AtollError('malformed', `this cannot be announced: ${error.message}`);
    }
    if (json === undefined) throw new AtollError('malformed', `this cannot be announced: ${kind(data)}`);
    return raw.announce(json);
  }

  /** The members that have announced themselves, as far as this node has heard. */
  get members() {
    return this.#left ? [] : this.#raw.members();
  }

  /** Leaves, when what was published is on its way. What iterates over the channel's messages ends. */
  async leave() {
    if (this.#left) return;
    this.#left = true;
    try {
      // Others in this page that have joined the same channel stay in it.
      if (this.#letGo()) await this.#raw.leave();
    } finally {
      for (const reader of this.#readers) reader.return();
      this.#raw.free();
    }
  }

  async [Symbol.asyncDispose]() {
    await this.leave();
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  #open() {
    if (this.#left) throw new AtollError('closed', 'this channel has been left');
    return this.#raw;
  }
}

function scopeOf(scope) {
  if (typeof scope !== 'string') throw wrong(`a scope is a text, not ${kind(scope)}`);
  return scope;
}

/**
 * The messages of a channel, one by one. Unlike a generator it takes what comes from the moment that it is made.
 */
class Messages {
  #raw;
  #hooks;
  #stop = new AbortController();
  #missed = 0;
  #turn = Promise.resolve();

  constructor(raw, signal, hooks) {
    this.#raw = raw;
    this.#hooks = hooks;
    signal?.addEventListener('abort', () => this.#stop.abort(signal.reason), { once: true, signal: this.#stop.signal });
  }

  next() {
    // Who asks for several at once gets them in order.
    const next = this.#turn.then(() => this.#take());
    this.#turn = next.catch(() => {});
    return next;
  }

  async return(value) {
    this.#end();
    return { done: true, value };
  }

  async throw(error) {
    this.#end();
    throw error;
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  async [Symbol.asyncDispose]() {
    this.#end();
  }

  async #take() {
    while (this.#raw) {
      const next = await this.#raw.next(this.#stop.signal).catch((error) => {
        // Ended meanwhile, and not by the caller's signal.
        if (!this.#raw) return undefined;
        this.#end();
        throw error;
      });
      if (next === undefined) {
        this.#end();
      } else if (Array.isArray(next)) {
        const [count, publisher] = next;
        this.#missed += count;
        this.#hooks.lagged({ count, publisher });
      } else {
        next.missed = this.#missed;
        this.#missed = 0;
        return { done: false, value: next };
      }
    }
    return { done: true, value: undefined };
  }

  #end() {
    const raw = this.#raw;
    if (!raw) return;
    this.#raw = undefined;
    raw.end();
    raw.free();
    this.#stop.abort();
    this.#hooks.ended();
  }
}
