/** What went wrong: `code` is for programs and never changes, `message` is for people. */
export class AtollError extends Error {
  constructor(code, message, data) {
    super(message);
    this.name = 'AtollError';
    this.code = code;
    if (data !== undefined) this.data = data;
  }
}

/** Refuses what the caller gave, before any of it is used. */
export function wrong(message) {
  return new AtollError('wrong-arguments', message);
}

/** The text that was given, or an error that says what it should have been. */
export function text(value, what) {
  if (typeof value !== 'string' || value === '') throw wrong(`${what} is a text, not ${kind(value)}`);
  return value;
}

/** A number of milliseconds. */
export function milliseconds(value, what) {
  if (!(typeof value === 'number' && value >= 0)) throw wrong(`${what} is a number of milliseconds, not ${kind(value)}`);
  return Math.min(Math.ceil(value), 0xffff_ffff);
}

/** The AbortSignal among the options, if there is one; throws its reason if it is aborted already. */
export function signalOf(options) {
  const signal = options?.signal;
  if (signal === undefined) return undefined;
  if (!(signal instanceof AbortSignal)) throw wrong(`signal is an AbortSignal, not ${kind(signal)}`);
  signal.throwIfAborted();
  return signal;
}

/** The bytes that were given, in whatever form. */
export function bytesOf(value, what) {
  if (typeof value === 'string') return new TextEncoder().encode(value);
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  throw wrong(`${what} is bytes or a text, not ${kind(value)}`);
}

/** The arguments of a call. */
export function argumentsOf(value) {
  if (!Array.isArray(value)) throw wrong(`the arguments are an array, not ${kind(value)}`);
  return value;
}

export function kind(value) {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  return typeof value === 'object' ? 'an object' : `${typeof value}`;
}
