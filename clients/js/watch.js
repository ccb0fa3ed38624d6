'use strict';
// A watched value, also across restarts of the daemon.

const { Results } = require('./results.js');

/** Milliseconds for which a watch that came back waits for its peer and service, which may still be on their way. */
const RETURN_WITHIN = 30_000;

/** Milliseconds between two tries of it. */
const RETRY = 200;

/** What passes while everybody comes back. */
const PASSING = new Set(['no-such-peer', 'no-such-service', 'no-such-value', 'peer-lost', 'timed-out']);

class Watch {
  constructor(glou, request) {
    this.glou = glou;
    this.request = request;
    this.uid = undefined;
    this.patience = 0;
    this.results = new Results({ cancel: () => this.stop() });
  }

  begin() {
    const failed = (error) => this.failed(error);
    const item = (value) => {
      this.patience = 0;
      this.results.push(value);
    };
    this.uid = this.glou.begin(this.request, { resolve() {}, reject: failed, end: failed, item });
    this.glou.watches.add(this);
  }

  /** The daemon is there again. */
  again() {
    clearTimeout(this.timer);
    this.patience = Date.now() + RETURN_WITHIN;
    this.begin();
  }

  failed(error) {
    this.uid = undefined;
    if (error?.kind === 'closed' && this.glou.comesBack()) return;
    if (error && PASSING.has(error.kind) && Date.now() < this.patience) {
      // Without the daemon it begins when that is there again.
      this.timer = setTimeout(() => this.glou.connection && this.begin(), RETRY);
      return;
    }
    this.end(error);
  }

  /** Nobody wants more. */
  stop() {
    if (this.uid !== undefined) this.glou.giveUp(this.uid);
    this.end();
  }

  end(error) {
    clearTimeout(this.timer);
    this.glou.watches.delete(this);
    this.results.end(error);
  }
}

module.exports = { Watch };
