'use strict';
// Results that come one by one, taken or given.

/** Results of a stream that come before they are taken, at most. */
const WINDOW = 64;

/** An async iterator of what others push. */
class Results {
  /**
   * @param {object} from
   * @param {() => void} from.cancel nobody wants more
   * @param {(count: number) => void} [from.more] so many were taken; without it only the newest is kept
   */
  constructor({ cancel, more }) {
    this.cancel = cancel;
    this.more = more;
    this.unread = [];
    this.taken = 0;
    this.ended = undefined;
    this.waiting = [];
  }

  push(value) {
    if (this.ended) return;
    if (!this.more) this.unread.length = 0;
    this.unread.push(value);
    this.serve();
  }

  /** Nothing follows. */
  end(error) {
    this.ended ??= { error };
    this.serve();
  }

  next() {
    return new Promise((resolve, reject) => {
      this.waiting.push({ resolve, reject });
      this.serve();
    });
  }

  async return() {
    if (!this.ended) this.cancel();
    this.unread.length = 0;
    this.end();
    return { value: undefined, done: true };
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  serve() {
    while (this.waiting.length > 0) {
      if (this.unread.length > 0) {
        this.waiting.shift().resolve({ value: this.unread.shift(), done: false });
        this.took();
      } else if (this.ended) {
        const { resolve, reject } = this.waiting.shift();
        const { error } = this.ended;
        this.ended = { error: undefined };
        if (error) reject(error);
        else resolve({ value: undefined, done: true });
      } else return;
    }
  }

  took() {
    if (!this.more || this.ended || ++this.taken < WINDOW / 2) return;
    this.more(this.taken);
    this.taken = 0;
  }
}

/** The iterator of what a function gave, if it gives many: an async iterable, or a generator. */
function manyOf(given) {
  if (given === null || typeof given !== 'object') return undefined;
  if (typeof given[Symbol.asyncIterator] === 'function') return given[Symbol.asyncIterator]();
  // An array, a map, a set is one value.
  return typeof given.next === 'function' && typeof given[Symbol.iterator] === 'function' ? given : undefined;
}

/** A call of this program's function that is under way. */
class Answering {
  constructor(window) {
    this.controller = new AbortController();
    this.room = window;
    this.gone = new Promise((resolve) => this.signal.addEventListener('abort', () => resolve({ done: true }), { once: true }));
  }

  get signal() {
    return this.controller.signal;
  }

  /** Nobody waits for it any more. */
  abort() {
    this.controller.abort();
    this.wake?.();
  }

  /** The caller takes more results. */
  take(count) {
    this.room += count;
    this.wake?.();
  }

  /** Gives what an iterator gives, one by one, at the caller's pace. */
  async giveAll(iterator, give) {
    try {
      for (;;) {
        while (this.room <= 0 && !this.signal.aborted) await new Promise((resolve) => (this.wake = resolve));
        if (this.signal.aborted) return;
        const { value, done } = await Promise.race([iterator.next(), this.gone]);
        if (done) return;
        this.room--;
        give(value);
      }
    } finally {
      // Not awaited: it may wait for something that never comes. What it says to this is of no use.
      (async () => iterator.return?.())().catch(() => {});
    }
  }
}

module.exports = { Answering, Results, WINDOW, manyOf };
