// Addresses of Sea: points of the ring.

import { bytesOf, kind, wrong } from './error.js';
import { Id } from './id.js';

const BYTES = 6;
const BITS = 8 * BYTES;

/** What the distance between addresses that differ in the first bit is, as a power of two. */
const FARTHEST = 126;

/** A point of the ring: 48 bits. It never changes. */
export class HashAddress {
  #bytes;

  /** @internal: use `make` or `from`. */
  constructor(bytes) {
    this.#bytes = bytes;
  }

  /** The address that bytes or a text stand for, by their hash. */
  static async make(value) {
    return HashAddress.from(await Id.hash(value));
  }

  /** The address that these 6 bytes, or 12 hexadecimal digits, are. */
  static from(value) {
    if (value instanceof HashAddress) return value;
    if (typeof value === 'string') {
      if (!Id.is(value)) throw wrong(`${JSON.stringify(value)} is no address: that is 12 hexadecimal digits`);
      return new HashAddress(Uint8Array.from(value.match(/../g), (digits) => Number.parseInt(digits, 16)));
    }
    const bytes = bytesOf(value, 'an address');
    if (bytes.length !== BYTES) throw wrong(`an address has ${BYTES} bytes, not ${bytes.length}`);
    return new HashAddress(bytes.slice());
  }

  /** The same up to a bit, and random from there on. */
  randomise(startBit = 0) {
    if (!Number.isInteger(startBit) || startBit < 0 || startBit > BITS) throw wrong(`a bit is a whole number from 0 to ${BITS}`);
    const bytes = crypto.getRandomValues(new Uint8Array(BYTES));
    for (let at = 0; at < BYTES; at += 1) {
      const kept = Math.min(8, Math.max(0, startBit - 8 * at));
      const random = 0xff >> kept;
      bytes[at] = (this.#bytes[at] & ~random) | (bytes[at] & random);
    }
    return new HashAddress(bytes);
  }

  getArrayBuffer() {
    return this.#bytes.slice().buffer;
  }

  toString() {
    return Array.from(this.#bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  }

  toJSON() {
    return this.toString();
  }

  equals(other) {
    return this.logDist(other) === BITS;
  }

  /**
   * How far it is to another by Sea's measure, the exclusive or, with 24 significant bits: 2^126 where the first bit differs alone. The ring
   * itself measures clockwise: `Id.distance`.
   */
  dist(other) {
    const far = address(other).#bytes.reduce((sum, byte, at) => sum * 256 + (byte ^ this.#bytes[at]), 0);
    return Math.fround(far * 2 ** (FARTHEST - BITS + 1));
  }

  /** The index of the first bit that differs; 48 where none does. */
  logDist(other) {
    const { length } = this.#bytes;
    const others = address(other).#bytes;
    for (let at = 0; at < length; at += 1) {
      const differs = others[at] ^ this.#bytes[at];
      if (differs !== 0) return 8 * at + Math.clz32(differs) - 24;
    }
    return BITS;
  }
}

function address(value) {
  if (value instanceof HashAddress) return value;
  throw wrong(`an address is a HashAddress, not ${kind(value)}`);
}
