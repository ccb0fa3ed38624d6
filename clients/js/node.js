'use strict';
// Other nodes, and their services.

const { put } = require('./body.js');
const { settle } = require('./settle.js');
const { Watch } = require('./watch.js');

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
    return this.glou.invoke({ remote: this.remote, name, fun }, args, timeout);
  }

  /** Calls a function that gives many results. */
  stream(name, fun, args = [], { timeout } = {}) {
    return this.glou.invokeMany({ remote: this.remote, name, fun }, args, timeout);
  }

  /**
   * A value of a service, and each change of it. Who takes long gets the newest. When the daemon restarts it goes on, with
   * the value as it is then.
   */
  watch(name, path = '') {
    const watch = new Watch(this.glou, { type: 'watch', remote: this.remote, name, path, within: this.glou.options.timeout });
    watch.begin();
    return watch.results;
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
        const run = style((args) => this.call(name, path, args));
        run.stream = (...args) => this.stream(name, path, args);
        put(object, member, run);
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

module.exports = { RemoteNode };
