import type { Atoll, AtollError, Bytes, JoinOptions } from './index.js';

/** A point of the ring: 48 bits. It never changes. */
export class HashAddress {
  private constructor();
  /** The address that bytes or a text stand for, by their hash. */
  static make(value: Bytes): Promise<HashAddress>;
  /** The address that these 6 bytes, or 12 hexadecimal digits, are. */
  static from(value: Bytes | HashAddress): HashAddress;
  /** The same up to a bit, 0 to 48, and random from there on. */
  randomise(startBit?: number): HashAddress;
  getArrayBuffer(): ArrayBuffer;
  toString(): string;
  toJSON(): string;
  equals(other: HashAddress): boolean;
  /** The exclusive or, with 24 significant bits: 2^126 where the first bit differs alone. */
  dist(other: HashAddress): number;
  /** The index of the first bit that differs; 48 where none does. */
  logDist(other: HashAddress): number;
}

/** Text is an id, 12 hexadecimal digits. */
export type Address = HashAddress | string;

/** What connections and channels have in common. Messages come under their scopes. */
interface Line {
  connected(): boolean;
  /** Sends a value of at most 1 MiB, 15 KiB on a channel: after those before it, and once it is connected. */
  send(scope: string, value: unknown): void;
  disconnect(): void;
  on(event: 'connect', listener: () => void): void;
  /** With the error, where it was not asked for. */
  on(event: 'disconnect', listener: (error?: AtollError) => void): void;
  on(scope: string, listener: (value: any) => void): void;
}

/** A connection with another node. */
export interface Connection extends Line {
  remoteId(): HashAddress;
}

/** A channel: what its members send comes to all, also to who sent it. */
export interface SeaChannel extends Line {
  channelId(): string;
}

/** What `require('peersea')` gave. */
export class Sea {
  /** The options are those of `Atoll.join`, without the servers. */
  constructor(options?: Omit<JoinOptions, 'signalling'>);
  /** The node beneath, while there is one. */
  readonly node: Atoll | undefined;
  localId(): HashAddress;
  /** The nodes that there is a link to. */
  connections(): HashAddress[];
  /** Joins through the first of these signalling servers that answers. */
  goOnline(bootstrap: string | string[]): Promise<void>;
  goOffline(): Promise<void>;
  online(): boolean;
  on(event: 'online' | 'offline', listener: () => void): void;
  on(event: 'connection', listener: (connection: Connection) => void): void;
  /** Answers calls to a scope, whenever this node is online. */
  handle(scope: string, answer: (...args: any[]) => unknown): void;
  call(address: Address, scope: 'sea:nearest', of: Address): Promise<HashAddress>;
  /** Calls what handles a scope at the node that is at an address, or owns it. */
  call<T = any>(address: Address, scope: string, ...args: unknown[]): Promise<T>;
  /** A connection with another node. It may be sent on at once. */
  connect(remoteId: Address): Connection;
  /** A channel. It may be sent on at once. */
  join(channelId: string): SeaChannel;
}

/** The one that most pages need. */
export const sea: Sea;
export default sea;
