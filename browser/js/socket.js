import { bytesOf } from './error.js';

/**
 * A stream of bytes each way, between two nodes any number of hops apart: `readable` gives and `writable` takes `Uint8Array`s.
 *
 * Closing `writable` ends this side's bytes, and waits until the peer has them all. Aborting it, or cancelling `readable`, tells the
 * peer.
 */
export class Socket {
  /** @internal */
  constructor(raw) {
    /** The id of the node at the other end. */
    this.peer = raw.peer;
    /** The bytes of the peer. They are taken from it as they are read. */
    this.readable = new ReadableStream(
      {
        async pull(controller) {
          const bytes = await raw.read();
          if (bytes === undefined) controller.close();
          else controller.enqueue(bytes);
        },
        cancel: () => raw.stopReading(),
      },
      { highWaterMark: 0 },
    );
    /** The bytes for the peer: bytes in any form, or text. */
    this.writable = new WritableStream({
      write: (chunk) => raw.write(bytesOf(chunk, 'what is written')),
      close: () => raw.finish(),
      abort: () => raw.stopWriting(),
    });
  }

  /** Gives the socket up, both ways. */
  close() {
    const quiet = () => {};
    if (!this.readable.locked) this.readable.cancel().catch(quiet);
    if (!this.writable.locked) this.writable.abort().catch(quiet);
  }
}
