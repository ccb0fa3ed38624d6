'use strict';
// Objects of other nodes as if they were local, through the Atoll daemon of this machine.

const { createHash } = require('node:crypto');
const { EventEmitter } = require('node:events');
const { encode, decode, put } = require('./body.js');
const { Channel } = require('./channel.js');
const { Connection, defaultSocket } = require('./connection.js');
const { AtollError } = require('./error.js');
const { RemoteNode } = require('./node.js');
const { Answering, Results, WINDOW, manyOf } = require('./results.js');
const { settle } = require('./settle.js');

/** Milliseconds between tries to reach the daemon: doubling from the first to the second. */
const RETRY = [50, 2000];

/** The number of a function of another node. */
const HELD = Symbol('held');

/** A program at the daemon's door. */
class Glou extends EventEmitter {
  constructor(name, options = {}) {
    super();
    this.name = name;
    this.options = { socket: defaultSocket(), timeout: 10_000, reconnect: true, ...options };
    /** Which node this is, once it started. */
    this.info = undefined;
    this.provided = new Map();
    /** Functions that answer calls to scopes. */
    this.handled = new Map();
    /** Names that were claimed for the node. */
    this.claimed = new Set();
    /** Values that are watched, also while there is no daemon. */
    this.watches = new Set();
    this.connection = undefined;
    this.running = false;
    this.returning = false;
    this.forget();
    // Functions of others that nobody here holds any more.
    this.registry = new FinalizationRegistry(({ connection, fun }) => {
      if (connection === this.connection) this.say({ type: 'release', funs: [fun] });
    });
  }

  /** Attaches to the daemon, and waits for it if it does not run yet. */
  async start() {
    if (this.running) return this.info;
    this.running = true;
    let pause = RETRY[0];
    for (;;) {
      try {
        await this.attach(true);
        this.emit('start', this.info);
        return this.info;
      } catch (error) {
        if (!this.running || !this.options.reconnect || error.kind) {
          this.running = false;
          throw error;
        }
      }
      await this.sleep(pause);
      pause = Math.min(2 * pause, RETRY[1]);
    }
  }

  /** Leaves the daemon: what this program provides goes. */
  stop() {
    this.running = false;
    this.wake?.();
    this.connection?.close();
    for (const watch of this.watches) if (!this.connection) watch.end(gone());
  }

  /** Provides an object, by the program's name or another; again, in its place. */
  provide(object, ...rest) {
    const callback = typeof rest.at(-1) === 'function' ? rest.pop() : undefined;
    const name = rest[0] ?? this.name;
    return settle(this.provideAs(name, object), callback);
  }

  async provideAs(name, object) {
    await this.request({ type: 'provide', name, body: this.write(object) });
    this.provided.set(name, object);
  }

  /** Provides it no longer. */
  async withdraw(name = this.name) {
    this.provided.delete(name);
    await this.request({ type: 'withdraw', name });
  }

  /** Sets a value of an object that is provided; who watches it is told. */
  async set(path, value, name = this.name) {
    await this.request({ type: 'set', name, path, value: this.write(value) });
    const object = this.provided.get(name);
    if (object) setAt(object, path, value);
  }

  /** Answers calls to a scope that come to the daemon's node, or to an address that it owns; again, in place of the other. */
  async handle(scope, run) {
    await this.request({ type: 'handle', scope, fun: this.write(run) });
    this.handled.set(scope, run);
  }

  /** Answers them no longer. */
  async unhandle(scope) {
    this.handled.delete(scope);
    await this.request({ type: 'unhandle', scope });
  }

  /** Calls what handles a scope at whoever is at an address, or owns it; or at an `@name`. */
  call(address, scope, ...args) {
    return this.invoke({ remote: address, scope }, args);
  }

  /** The same, for its results one by one. */
  stream(address, scope, ...args) {
    return this.invokeMany({ remote: address, scope }, args);
  }

  /** A channel: what one member publishes comes to every other. With other options it is another channel. */
  channel(name, options) {
    return new Channel(this, name, options);
  }

  /** Claims a name in the ring for the daemon's node, as long as this program is attached. */
  async claim(name) {
    await this.request({ type: 'claim', name, within: this.options.timeout });
    this.claimed.add(name);
  }

  /** Gives a name up. */
  async unclaim(name) {
    this.claimed.delete(name);
    await this.request({ type: 'unclaim', name });
  }

  /** Another node, by `@name` or id; without either, the daemon's own. An error if there is none. */
  node(remote, callback) {
    const node = new RemoteNode(this, remote ?? undefined);
    return settle(node.services().then(() => node), callback);
  }

  // --- from here on for this package itself ---

  forget() {
    this.uid = 0;
    this.functions = new Map();
    this.nextFunction = 0;
    this.requests = new Map();
    this.calls = new Map();
  }

  attach(init) {
    return new Promise((resolve, reject) => {
      let greeted = false;
      const connection = new Connection(this.options.socket, {
        message: (message) => {
          if (greeted) return this.heard(message);
          if (message.type !== 'hello') {
            reject(new AtollError(message.error ?? { kind: 'protocol', message: 'the daemon does not say hello' }));
            return connection.close();
          }
          greeted = true;
          this.info = message.info;
          resolve(this.info);
        },
        close: (error) => {
          if (this.connection === connection) this.connection = undefined;
          if (!greeted) return reject(error ?? new Error('the daemon closed the connection'));
          this.lost();
        },
      });
      this.forget();
      this.connection = connection;
      connection.send({ type: 'hello', name: this.name, init });
    });
  }

  lost() {
    const { requests, calls } = this;
    this.forget();
    for (const { reject } of requests.values()) reject(gone());
    for (const answering of calls.values()) answering.abort();
    if (!this.running) return this.emit('stop');
    this.emit('disconnect');
    if (this.options.reconnect) this.comeBack();
  }

  async comeBack() {
    // A daemon that goes again meanwhile is waited for here.
    if (this.returning) return;
    this.returning = true;
    let pause = RETRY[0];
    while (this.running) {
      try {
        await this.attach(false);
        for (const watch of this.watches) watch.again();
        await this.setUpAgain();
        break;
      } catch {
        await this.sleep(pause);
        pause = Math.min(2 * pause, RETRY[1]);
      }
    }
    this.returning = false;
    if (this.running) this.emit('reconnect', this.info);
  }

  /** Provides, handles and claims what it did. What another has taken meanwhile is told, and the rest is set up all the same. */
  async setUpAgain() {
    const { connection } = this;
    const tasks = [
      ...[...this.provided].map(([name, object]) => () => this.provideAs(name, object)),
      ...[...this.handled].map(([scope, run]) => () => this.handle(scope, run)),
      ...[...this.claimed].map((name) => () => this.claim(name)),
    ];
    for (const task of tasks) {
      try {
        await task();
      } catch (error) {
        if (this.connection !== connection) throw error;
        if (this.listenerCount('error') > 0) this.emit('error', error);
      }
    }
  }

  sleep(time) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, time);
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  say(message) {
    this.connection?.send(message);
  }

  request(message) {
    return new Promise((resolve, reject) => this.begin(message, { resolve, reject }));
  }

  begin(message, waiting) {
    if (!this.connection) throw new AtollError({ kind: 'closed', message: 'the daemon is not connected: call start first' });
    const uid = ++this.uid;
    this.connection.send({ ...message, uid });
    this.requests.set(uid, waiting);
    return uid;
  }

  /** Gives a request up. */
  giveUp(uid) {
    if (this.requests.delete(uid)) this.say({ type: 'cancel', uid });
  }

  /** Whether a connection that was lost is made again. */
  comesBack() {
    return this.running && this.options.reconnect;
  }

  heard(message) {
    const waiting = this.requests.get(message.uid);
    switch (message.type) {
      case 'response':
        if (!waiting) return;
        // One with many results goes on.
        if (message.status === 'error' || !waiting.item) this.requests.delete(message.uid);
        if (message.status === 'error') waiting.reject(this.error(message.error));
        else waiting.resolve(message);
        break;
      case 'item':
        waiting?.item?.(this.read(message.value));
        break;
      case 'end':
        if (!waiting) return;
        this.requests.delete(message.uid);
        (waiting.end ?? waiting.reject)(message.error && this.error(message.error));
        break;
      case 'call':
        this.answer(message);
        break;
      case 'cancel':
        this.calls.get(message.uid)?.abort();
        break;
      case 'more':
        this.calls.get(message.uid)?.take(message.count);
        break;
      case 'release':
        for (const fun of message.funs) this.functions.delete(fun);
        break;
      case 'error':
        if (waiting) {
          this.requests.delete(message.uid);
          waiting.reject(this.error(message.error));
        } else if (this.listenerCount('error') > 0) this.emit('error', this.error(message.error));
        break;
      default: // Newer daemons may say more.
    }
  }

  async answer({ fun, args, uid, caller, path, within, window = 1 }) {
    const { connection } = this;
    const answering = new Answering(window);
    this.calls.set(uid, answering);
    let many;
    let last;
    try {
      const run = this.functions.get(fun);
      if (!run) throw new AtollError({ kind: 'no-such-function', message: 'released' });
      const taken = args.map((arg) => this.read(arg));
      const ret = await run.apply({ caller, path, within, signal: answering.signal }, taken);
      many = manyOf(ret);
      if (many) await answering.giveAll(many, (value) => connection.send({ type: 'item', uid, value: this.write(value) }));
      last = many ? { type: 'end', uid } : { type: 'response', status: 'ok', uid, ret: this.write(ret) };
    } catch (thrown) {
      last = failed(this.failure(thrown));
    }
    if (this.connection !== connection) return;
    this.calls.delete(uid);
    if (answering.signal.aborted) return;
    try {
      connection.send(last);
    } catch (error) {
      connection.send(failed({ kind: 'too-large', message: error.message }));
    }

    function failed(error) {
      return many ? { type: 'end', uid, error } : { type: 'response', status: 'error', uid, error };
    }
  }

  failure(thrown) {
    const message = thrown instanceof Error ? thrown.message : String(thrown);
    const failure = { kind: thrown instanceof AtollError ? thrown.kind : 'failed', message };
    try {
      if (thrown?.data !== undefined) failure.data = this.write(thrown.data);
    } catch {
      // Then without its data.
    }
    return failure;
  }

  error({ kind, message, data }) {
    return new AtollError({ kind, message, data: data === undefined ? undefined : this.read(data) });
  }

  write(value) {
    return encode(value, (run) => {
      const held = run[HELD];
      if (held && held.connection === this.connection) return `$~${held.fun.slice(1)}`;
      const fun = `$${this.nextFunction++}`;
      this.functions.set(fun, run);
      return fun;
    });
  }

  read(json) {
    return decode(json, (fun) => this.hold(fun));
  }

  /** A function of another node. */
  hold(fun) {
    const { connection } = this;
    const check = () => {
      if (connection !== this.connection) throw gone();
    };
    const held = async (...args) => {
      check();
      return this.invoke({ fun }, args);
    };
    held.stream = (...args) => {
      check();
      return this.invokeMany({ fun }, args);
    };
    held.release = () => {
      this.registry.unregister(held);
      if (connection === this.connection) this.say({ type: 'release', funs: [fun] });
    };
    held[HELD] = { connection, fun };
    this.registry.register(held, { connection, fun }, held);
    return held;
  }

  async invoke(target, args, within = this.options.timeout) {
    const { ret } = await this.request({ type: 'call', ...target, args: args.map((arg) => this.write(arg)), within });
    return this.read(ret);
  }

  /** Results one by one, as an async iterator. */
  invokeMany(target, args, within = this.options.timeout) {
    const written = args.map((arg) => this.write(arg));
    const request = { type: 'call', ...target, args: written, stream: true, window: WINDOW, within };
    const { connection } = this;
    const results = new Results({
      cancel: () => connection === this.connection && this.giveUp(uid),
      more: (count) => connection === this.connection && this.say({ type: 'more', uid, count }),
    });
    const end = (error) => results.end(error);
    const uid = this.begin(request, { resolve() {}, reject: end, end, item: (value) => results.push(value) });
    return results;
  }
}

/** The address of any text or bytes: the first 48 bits of their SHA-1, 12 hexadecimal digits. */
function address(key) {
  return createHash('sha1').update(key).digest('hex').slice(0, 12);
}

function gone() {
  return new AtollError({ kind: 'closed', message: 'the daemon has gone' });
}

function setAt(object, path, value) {
  const steps = path.split('.');
  const last = steps.pop();
  const inner = steps.reduce((here, step) => here?.[step], object);
  if (inner !== null && typeof inner === 'object') put(inner, last, value);
}

/** @returns {Glou} a program by this name; it attaches with `start` */
function glou(name, options) {
  return new Glou(name, options);
}

module.exports = glou;
module.exports.glou = glou;
module.exports.address = address;
module.exports.AtollError = AtollError;
