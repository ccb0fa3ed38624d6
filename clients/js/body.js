'use strict';
// Values as JSON, as docs/daemon.md has them: text that begins with `$` means something else.

/** How deep arrays and objects may lie in each other, as the daemon has it. */
const MAX_DEPTH = 100;

/**
 * What JSON.stringify takes, of any value. `offer` gives the words for a function.
 * @throws {TypeError} for what has no form in JSON.
 */
function encode(value, offer, depth = 0) {
  if (depth > MAX_DEPTH) throw new TypeError(`nested deeper than ${MAX_DEPTH}`);
  switch (typeof value) {
    case 'undefined':
      return null;
    case 'string':
      return value.startsWith('$') ? `$${value}` : value;
    case 'number':
      return Number.isFinite(value) ? value : `$float:${value}`;
    case 'function':
      return offer(value);
    case 'bigint':
    case 'symbol':
      throw new TypeError(`a ${typeof value} cannot be sent`);
    case 'object':
      break;
    default:
      return value;
  }
  if (value === null) return null;
  if (value instanceof ArrayBuffer) return bytes(new Uint8Array(value));
  if (ArrayBuffer.isView(value)) return bytes(value);
  if (Array.isArray(value)) return value.map((inner) => encode(inner, offer, depth + 1));
  if (typeof value.toJSON === 'function') return encode(value.toJSON(), offer, depth + 1);
  const encoded = {};
  for (const [name, inner] of Object.entries(value)) {
    if (inner !== undefined) put(encoded, name, encode(inner, offer, depth + 1));
  }
  return encoded;
}

/** The value of what JSON.parse gave. `take` gives the function for `$0` and `$~0`. */
function decode(json, take) {
  if (typeof json === 'string') return text(json, take);
  if (json === null || typeof json !== 'object') return json;
  if (Array.isArray(json)) return json.map((inner) => decode(inner, take));
  const decoded = {};
  for (const [name, inner] of Object.entries(json)) put(decoded, name, decode(inner, take));
  return decoded;
}

function text(json, take) {
  if (!json.startsWith('$')) return json;
  if (json.startsWith('$$')) return json.slice(1);
  if (json.startsWith('$bytes:')) return Buffer.from(json.slice(7), 'base64');
  if (json.startsWith('$float:')) return Number(json.slice(7));
  return take(json);
}

function bytes(view) {
  return `$bytes:${Buffer.from(view.buffer, view.byteOffset, view.byteLength).toString('base64')}`;
}

/** Also for the name `__proto__`. */
function put(object, name, value) {
  Object.defineProperty(object, name, { value, writable: true, enumerable: true, configurable: true });
}

module.exports = { encode, decode, put };
