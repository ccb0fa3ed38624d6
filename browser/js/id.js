import { bytesOf, wrong } from './error.js';
import { load } from './load.js';

/** How many there are. */
const POINTS = 2 ** 48;

/** Ids: points of the ring, 12 hexadecimal digits. */
export const Id = {
  /** The point that a text or bytes stand for: the first 48 bits of their SHA-1. */
  async hash(value) {
    const wasm = await load();
    return wasm.hashId(bytesOf(value, 'what is hashed'));
  },

  /** Whether a text is one. */
  is(text) {
    return typeof text === 'string' && /^[0-9a-f]{12}$/.test(text);
  },

  /** Where it lies on the ring, as a share of the whole way round from zero: 0 to 1. */
  position(id) {
    return number(id) / POINTS;
  },

  /** How far it is from one to another, clockwise: 0 up to 2^48. */
  distance(from, to) {
    return (number(to) - number(from) + POINTS) % POINTS;
  },
};

/** Exact: it has 48 bits. */
function number(id) {
  if (!Id.is(id)) throw wrong(`${JSON.stringify(id)} is no id: that is 12 hexadecimal digits`);
  return Number.parseInt(id, 16);
}
