'use strict';
// Channels: what one member publishes comes to every other.

const { Results, WINDOW } = require('./results.js');

/** A channel, as the daemon's node takes part in it for this program. */
class Channel {
  constructor(glou, name, { unsigned, secret } = {}) {
    this.glou = glou;
    this.name = name;
    this.which = { channel: name, unsigned, secret: secret === undefined ? undefined : glou.write(secret) };
  }

  /** Publishes text or bytes under a scope; gives the number of the message. Those of one program keep their order. */
  async publish(scope, payload) {
    if (typeof payload !== 'string' && !ArrayBuffer.isView(payload) && !(payload instanceof ArrayBuffer)) {
      throw new TypeError('a message is a string or bytes');
    }
    const { ret } = await this.glou.request({ ...this.request('publish'), scope, payload: this.glou.write(payload) });
    return ret;
  }

  /**
   * What is published from now on, under one scope or, without it, any: messages, and where some are missing
   * `{ lagged: count, publisher? }`. The promise `begun` of it tells from when on. It goes on when the daemon restarts; nobody
   * tells what was missed meanwhile.
   */
  subscribe(scope) {
    const subscription = new Subscription(this.glou, { ...this.request('subscribe'), scope, window: WINDOW });
    const begun = new Promise((resolve, reject) => subscription.begin(resolve, reject));
    // Who does not ask is told by the iterator alone.
    begun.catch(() => {});
    return Object.assign(subscription.results, { begun });
  }

  [Symbol.asyncIterator]() {
    return this.subscribe();
  }

  /** Has no part in it any more: subscriptions end. */
  async leave() {
    await this.glou.request(this.request('leave'));
  }

  request(type) {
    return { type, ...this.which, within: this.glou.options.timeout };
  }
}

/** One that outlives the daemon. */
class Subscription {
  constructor(glou, request) {
    this.glou = glou;
    this.request = request;
    this.uid = undefined;
    const more = (count) => this.uid !== undefined && glou.say({ type: 'more', uid: this.uid, count });
    this.results = new Results({ cancel: () => this.stop(), more });
  }

  begin(resolve = () => {}, reject = () => {}) {
    const failed = (error) => {
      reject(error);
      this.failed(error);
    };
    const item = (value) => this.results.push(read(value));
    this.uid = this.glou.begin(this.request, { resolve: () => resolve(), reject: failed, end: failed, item });
    this.glou.watches.add(this);
  }

  /** The daemon is there again. */
  again() {
    this.begin();
  }

  failed(error) {
    this.uid = undefined;
    if (error?.kind === 'closed' && this.glou.comesBack()) return;
    this.end(error);
  }

  /** Nobody wants more. */
  stop() {
    if (this.uid !== undefined) this.glou.giveUp(this.uid);
    this.end();
  }

  end(error) {
    this.glou.watches.delete(this);
    this.results.end(error);
  }
}

/** A message has its payload as bytes, also where it is text; other values, as browsers publish them, as they are. */
function read(item) {
  const plain = typeof item.payload === 'string' || ArrayBuffer.isView(item.payload);
  return plain ? { ...item, payload: Buffer.from(item.payload) } : item;
}

module.exports = { Channel };
