import type { Atoll, Bytes, JoinOptions } from './index.js';

/** A socket with the events `ready`, `data` (bytes), `end` and `error`. */
export interface ExplorerSocket extends EventTarget {
  /** The id of the peer, once it is ready. */
  readonly peer?: string;
  on(type: 'ready' | 'end', listener: () => void): this;
  on(type: 'data', listener: (bytes: Uint8Array) => void): this;
  on(type: 'error', listener: (error: Error) => void): this;
  write(bytes: Bytes): Promise<void>;
  end(bytes?: Bytes): Promise<void>;
}

export interface ExplorerListener {
  /** Joins the ring. */
  listen(done?: (error: Error | null) => void): void;
  /** Leaves it. */
  close(done?: (error: Error | null) => void): void;
}

export interface Explorer {
  /** The node beneath, once it listens. */
  readonly node?: Atoll;
  createListener(onSocket: (socket: ExplorerSocket) => void): ExplorerListener;
  dial(peerId: string, onReady?: (error: Error | null) => void): ExplorerSocket;
  updateFinger(row: number): Promise<string>;
  /** Refreshes every row in whose arc a node stands; gives the nodes by their rows. */
  updateFingerTable(): Promise<Record<number, string>>;
}

/** The names of webrtc-explorer, above a node that is joined with these options. */
export function explorer(options: JoinOptions): Explorer;
