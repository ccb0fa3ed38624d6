'use strict';
// Objects of other nodes as if they were local, through the Atoll daemon of this machine.

const { EventEmitter } = require('node:events');
const { encode, decode, put } = require('./body.js');
const { Connection, defaultSocket } = require('./connection.js');

/** Milliseconds between tries to reach the daemon: doubling from the first to the second. */
const RETRY = [50, 2000];

/** Results of a stream that nobody has taken yet, at most. Beyond it the stream ends with an error. */
const MAX_UNREAD = 4096;

/** The number of a function of another node. */
const HELD = Symbol('held');

/** An error with a kind: see docs/daemon.md. */
class AtollError extends Error {
  constructor({ kind, message, data }) {
    super(message);
    this.name = 'AtollError';
    this.kind = kind;
    if (data !== undefined) this.data = data;
  }
}

/** A program at the daemon's door. */
class Glou extends EventEmitter {
  constructor(name, options = {}) {
    super();
    this.name = name;
    this.options = { socket: defaultSocket(), timeout: 10_000, reconnect: true, ...options };
    /** Which node this is, once it started. */
    this.info = undefined;
    this.provided = new Map();
    this.connection = undefined;
    this.running = false;
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
          if (greeted) return this.handle(message);
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
    const error = new AtollError({ kind: 'closed', message: 'the daemon has gone' });
    for (const { reject } of this.requests.values()) reject(error);
    for (const controller of this.calls.values()) controller.abort();
    this.forget();
    if (!this.running) return this.emit('stop');
    this.emit('disconnect');
    if (this.options.reconnect) this.comeBack();
  }

  async comeBack() {
    let pause = RETRY[0];
    while (this.running) {
      try {
        await this.attach(false);
        for (const [name, object] of this.provided) await this.provideAs(name, object);
        return this.emit('reconnect', this.info);
      } catch (error) {
        // An old connection may still hold the name; a daemon that went again has told so by `lost`.
        if (this.connection) {
          if (this.listenerCount('error') > 0) this.emit('error', error);
          return undefined;
        }
      }
      await this.sleep(pause);
      pause = Math.min(2 * pause, RETRY[1]);
    }
    return undefined;
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

  /** Results one by one. `newest`: those that were not taken in time are passed over. */
  items(message, newest) {
    const unread = [];
    let wake;
    let ended;
    const tell = () => wake?.();
    const end = (error) => {
      ended ??= { error };
      tell();
    };
    const waiting = {
      resolve() {},
      reject: end,
      end,
      item: (value) => {
        if (newest) unread.length = 0;
        unread.push(value);
        if (unread.length > MAX_UNREAD) {
          cancel();
          end(new AtollError({ kind: 'too-many', message: `${MAX_UNREAD} results wait to be taken` }));
        }
        tell();
      },
    };
    const uid = this.begin(message, waiting);
    const { connection } = this;
    const cancel = () => {
      if (this.connection === connection && this.requests.delete(uid)) this.say({ type: 'cancel', uid });
    };
    return {
      [Symbol.asyncIterator]() {
        return this;
      },
      async next() {
        while (unread.length === 0 && !ended) await new Promise((resolve) => (wake = resolve));
        if (unread.length > 0) return { value: unread.shift(), done: false };
        const { error } = ended;
        ended = { error: undefined };
        if (error) throw error;
        return { value: undefined, done: true };
      },
      async return() {
        cancel();
        end();
        return { value: undefined, done: true };
      },
    };
  }

  handle(message) {
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

  async answer({ fun, args, uid, caller, path, within }) {
    const { connection } = this;
    const controller = new AbortController();
    this.calls.set(uid, controller);
    let response;
    try {
      const run = this.functions.get(fun);
      if (!run) throw new AtollError({ kind: 'no-such-function', message: 'released' });
      const taken = args.map((arg) => this.read(arg));
      const ret = await run.apply({ caller, path, within, signal: controller.signal }, taken);
      response = { type: 'response', status: 'ok', uid, ret: this.write(ret) };
    } catch (thrown) {
      response = { type: 'response', status: 'error', uid, error: this.failure(thrown) };
    }
    if (this.connection !== connection) return;
    this.calls.delete(uid);
    if (controller.signal.aborted) return;
    try {
      connection.send(response);
    } catch (error) {
      connection.send({ type: 'response', status: 'error', uid, error: { kind: 'too-large', message: error.message } });
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
    const held = (...args) => {
      if (connection !== this.connection) return Promise.reject(new AtollError({ kind: 'closed', message: 'the daemon it came through has gone' }));
      return this.call({ fun }, args);
    };
    held.release = () => {
      this.registry.unregister(held);
      if (connection === this.connection) this.say({ type: 'release', funs: [fun] });
    };
    held[HELD] = { connection, fun };
    this.registry.register(held, { connection, fun }, held);
    return held;
  }

  async call(target, args, within = this.options.timeout) {
    const { ret } = await this.request({ type: 'call', ...target, args: args.map((arg) => this.write(arg)), within });
    return this.read(ret);
  }
}

/** Another node. */
class RemoteNode {
  constructor(glou, remote) {
    this.glou = glou;
    this.remote = remote;
  }

  /** The names of the services it provides. */
  services(callback) {
    const request = this.ask({ type: 'remote' });
    return settle(request.then(({ list }) => list), callback);
  }

  /**
   * One of its services. With a callback its functions take a callback first, as glou's; without one they give promises.
   */
  service(name, callback) {
    const style = callback ? withCallback : withPromise;
    return settle(this.fetch(name, style), callback);
  }

  /** A value of a service, as it is now. */
  async get(name, path = '') {
    const { ret } = await this.ask({ type: 'get', name, path });
    return this.glou.read(ret);
  }

  /** Calls a function by its path. */
  call(name, fun, args = [], { timeout } = {}) {
    return this.glou.call({ remote: this.remote, name, fun }, args, timeout);
  }

  /** Calls a function that gives many results. */
  stream(name, fun, args = [], { timeout = this.glou.options.timeout } = {}) {
    const written = args.map((arg) => this.glou.write(arg));
    const request = { type: 'call', remote: this.remote, name, fun, args: written, stream: true, within: timeout };
    return this.glou.items(request, false);
  }

  /** A value of a service, and each change of it. Who takes long gets the newest. */
  watch(name, path = '') {
    const request = { type: 'watch', remote: this.remote, name, path, within: this.glou.options.timeout };
    return this.glou.items(request, true);
  }

  ask(request) {
    return this.glou.request({ ...request, remote: this.remote, within: this.glou.options.timeout });
  }

  async fetch(name, style) {
    const { body, shape } = await this.ask({ type: 'service', name });
    const members = [];
    const service = this.wrap(name, body, shape, '', style, members);
    // They are called by their paths, which outlive a restart of the daemon.
    if (members.length > 0) this.glou.say({ type: 'release', funs: members });
    return service;
  }

  wrap(name, body, shape, prefix, style, members) {
    const object = {};
    for (const [member, json] of Object.entries(body)) {
      const path = prefix + member;
      const told = shape.members?.[member];
      if (told?.function) {
        members.push(json);
        put(object, member, style((args) => this.call(name, path, args)));
      } else if (told?.object) {
        put(object, member, this.wrap(name, json, told.object, `${path}.`, style, members));
      } else {
        put(object, member, this.glou.read(json));
      }
    }
    return object;
  }
}

function withPromise(call) {
  return (...args) => call(args);
}

/** The callback, if there is one, is the first argument: it gets the result, and an error behind it. */
function withCallback(call) {
  return (...args) => {
    if (typeof args[0] !== 'function') return call(args);
    const [callback, ...rest] = args;
    call(rest).then(
      (ret) => callback(ret),
      (error) => callback(undefined, error),
    );
    return undefined;
  };
}

/** A promise, and the same for a callback `(error, value)`. */
function settle(promise, callback) {
  if (!callback) return promise;
  promise.then(
    (value) => callback(null, value),
    (error) => callback(error),
  );
  return undefined;
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
module.exports.AtollError = AtollError;
