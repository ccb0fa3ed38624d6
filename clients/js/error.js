'use strict';

/** An error with a kind: see docs/daemon.md. */
class AtollError extends Error {
  constructor({ kind, message, data }) {
    super(message);
    this.name = 'AtollError';
    this.kind = kind;
    if (data !== undefined) this.data = data;
  }
}

module.exports = { AtollError };
