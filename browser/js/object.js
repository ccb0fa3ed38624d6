// Objects of other nodes as if they were local.

import { TIMEOUT } from './function.js';
import { argumentsOf, milliseconds, signalOf, text } from './error.js';
import { results } from './results.js';

/** Another node, by its id or `@name`. Nothing is sent before something is asked of it. */
export class Peer {
  #node;
  #who;

  /** @internal */
  constructor(node, who) {
    this.#node = node;
    this.#who = text(who, 'a peer');
  }

  /** Where it is on the ring. */
  async id(options) {
    return this.#node.find(this.#who, signalOf(options));
  }

  /** The names of the services that it provides. */
  async services(options) {
    return this.#node.services(this.#who, within(options), signalOf(options));
  }

  /** One of its services: an object whose functions run there, and whose values are those of now. */
  async service(name, options) {
    const [shape, values] = await this.#node.service(this.#who, text(name, 'the name of a service'), within(options), signalOf(options));
    return remote({ node: this.#node, who: this.#who, service: name, within: within(options) }, shape, values, '');
  }

  /** What a service has, as its provider says: values, functions and objects by their names, each with its `doc`. */
  async describe(name, options) {
    const [shape] = await this.#node.service(this.#who, text(name, 'the name of a service'), within(options), signalOf(options));
    return shape;
  }

  /** A value of a service, as it is now. */
  async get(service, path = '', options) {
    return this.#node.get(this.#who, text(service, 'the name of a service'), path, within(options), signalOf(options));
  }

  /** Calls a function by its path, such as `deep.x.f`. */
  async call(service, path, args = [], options) {
    return this.#node.call(this.#who, text(service, 'the name of a service'), text(path, 'a path'), argumentsOf(args), within(options), signalOf(options));
  }

  /** The results of a function that gives many, one by one. */
  stream(service, path, args = [], options) {
    const signal = signalOf(options);
    return results(() => this.#node.stream(this.#who, text(service, 'the name of a service'), text(path, 'a path'), argumentsOf(args), within(options), signal), signal);
  }

  /** A value of a service, and each change of it. Who takes long gets the newest. */
  watch(service, path = '', options) {
    const signal = signalOf(options);
    return results(() => this.#node.watch(this.#who, text(service, 'the name of a service'), path, within(options), signal), signal);
  }
}

function within(options) {
  return options?.timeout === undefined ? TIMEOUT : milliseconds(options.timeout, 'timeout');
}

/**
 * An object of another node. What it has is known from its shape; its functions are called by their paths, so that they outlive a
 * provider that provides its object again.
 */
function remote(at, shape, values, prefix) {
  const members = new Map();
  for (const [name, told] of Object.entries(shape.members ?? {})) {
    const path = prefix + name;
    const value = values !== null && typeof values === 'object' && Object.hasOwn(values, name) ? values[name] : undefined;
    if (told.function) members.set(name, method(at, path, told.function));
    else if (told.object) members.set(name, remote(at, told.object, value, `${path}.`));
    else members.set(name, value);
  }
  return new Proxy(Object.freeze({}), new Members(members));
}

function method({ node, who, service, within }, path, shape) {
  const stream = (...args) => results(() => node.stream(who, service, path, args, within, undefined));
  const call = async (...args) => node.call(who, service, path, args, within, undefined);
  return Object.assign(shape.gives === 'stream' ? stream : call, { call, stream });
}

/** What a proxy of another node's object has: to be looked at, and not to be changed, for that would change nothing there. */
class Members {
  constructor(members) {
    this.members = members;
  }

  get(_, name) {
    return this.members.get(name);
  }

  has(_, name) {
    return this.members.has(name);
  }

  set() {
    return false;
  }

  ownKeys() {
    return [...this.members.keys()];
  }

  getOwnPropertyDescriptor(_, name) {
    if (!this.members.has(name)) return undefined;
    return { value: this.members.get(name), enumerable: true, configurable: true, writable: false };
  }
}
