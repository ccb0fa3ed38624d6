/// <reference lib="esnext.disposable" />

/** A text that is a node's id (12 hexadecimal digits), or its `@name`. */
export type Who = string;

/** Bytes in any form. Text is sent as UTF-8. */
export type Bytes = Uint8Array | ArrayBuffer | ArrayBufferView | string;

/** What went wrong, in one word that never changes. */
export type ErrorCode =
  | 'failed'
  | 'no-such-function'
  | 'no-such-value'
  | 'wrong-arguments'
  | 'no-such-service'
  | 'no-such-peer'
  | 'refused'
  | 'timed-out'
  | 'cancelled'
  | 'peer-lost'
  | 'too-large'
  | 'too-many'
  | 'closed'
  | 'protocol'
  | 'name-taken'
  | 'bad-name'
  | 'malformed';

/** Every error of a node. Operations that a signal aborts are rejected with the signal's own reason instead. */
export class AtollError extends Error {
  constructor(code: ErrorCode, message: string, data?: unknown);
  readonly code: ErrorCode;
  /** What a function that failed says besides: the `data` of the error that it threw. */
  readonly data?: unknown;
}

export interface IceServer {
  urls: string[];
  username?: string;
  credential?: string;
}

/** Gives an operation up. */
export interface Abortable {
  signal?: AbortSignal;
}

/** And how long it may take, in milliseconds: 10,000 where nothing is said. */
export interface Timed extends Abortable {
  timeout?: number;
}

export interface JoinOptions extends Abortable {
  /** The signalling server, `wss://…`, or several of which the first that answers serves. */
  signalling: string | string[];
  /**
   * Who the node is. A name: a key that this browser keeps under the name, the same after a reload. Bytes: a P-256 key in PKCS#8. Left
   * out: somebody new each time, and nothing is kept.
   */
  key?: string | Uint8Array;
  /** The ring on that server. Default: `atoll`. */
  network?: string;
  /** What all nodes of the network share. Default: none, everyone may join. */
  secret?: string;
  /** A name that the node claims, such as `@alice`. */
  name?: string;
  /** Links at most, in both directions together. Default: 16. */
  links?: number;
  /** Whether it only visits: it owns no arc of the ring and forwards nothing. Default: false. */
  leaf?: boolean;
  /** STUN and TURN servers, besides those that the signalling server names. */
  iceServers?: IceServer[];
  /** Uses TURN servers alone, which hides this machine's addresses from peers. Default: false. */
  relayOnly?: boolean;
  /** Whether busy sessions get a link of their own, within the budget. Default: true. */
  directLinks?: boolean;
  /** How long joining may take, in milliseconds. Default: 30,000. */
  timeout?: number;
  /** Where the WebAssembly module is, if not beside this package's files. */
  module?: string | URL;
}

/** What happens to a node: each event is a `CustomEvent` with this `detail`. */
export interface AtollEvents {
  /** It has its place on the ring: again after `isolated`. */
  join: {};
  /** All its links are gone; it joins anew. */
  isolated: {};
  /** A link to a peer opened. */
  peerconnect: { peer: string };
  /** The link to a peer is gone. */
  peerdisconnect: { peer: string };
  /** The nodes before and after it on the ring changed. */
  ringchange: { predecessor?: string; successor?: string };
  /** The browser says that there is no network. */
  offline: {};
  /** The browser says that the network is back: links that are gone are given up within a second, and the signalling server is tried. */
  online: {};
  /** It has left. */
  leave: {};
  /** It is registered with a signalling server. */
  signalling: { url: string };
  /** A signalling server is lost, or refuses it. The ring goes on; it is tried again in so many milliseconds. */
  signallinglost: { url: string; reason: string; retryIn: number };
  /** A peer that did not prove who it is was refused. */
  refused: { peer: string; reason: string };
  /** A link that was agreed on did not open. */
  linkfailed: { peer: string; reason: string };
  /** A name that it had claimed is somebody else's. */
  namelost: { name: string };
}

/** A node on the ring. */
export class Atoll extends EventTarget {
  private constructor();
  /** Joins the ring; resolved when the node has its place. */
  static join(options: JoinOptions): Promise<Atoll>;

  /**
   * The connections that all nodes of this page have made since it was loaded, and how many of them are open. Browsers allow some 500, and
   * count closed ones until their memory is reclaimed.
   */
  static readonly connections: { made: number; open: number };

  /** Its id: 12 hexadecimal digits. */
  readonly id: string;
  /** Its public key, in hexadecimal digits. */
  readonly key: string;
  /** The ids of the peers that it has a link to. */
  readonly peers: string[];
  readonly closed: boolean;

  /** Opens a socket to a peer, over as many hops as it takes. With `protocol`, another kind of stream than sockets. */
  dial(peer: Who, options?: Abortable & { protocol?: string }): Promise<Socket>;
  /** The sockets that peers dial, as they come. One reader at a time. */
  listen(options?: Abortable & { protocol?: string }): AsyncGenerator<Socket, void, void>;

  /** Provides an object to peers. Its functions are called with a `this` of type {@link Call}. */
  provide(name: string, object: object): Promise<Service>;
  /** Answers calls to a scope that come to this node, or to a point of the ring that it owns, until it is released. */
  handle(scope: string, answer: (...args: any[]) => unknown): { release(): void };
  /**
   * Calls what handles a scope at the node that owns a point of the ring: an id, or any other text by its hash. The scope `sea:nearest` is
   * there at every node, and answers with the owner of the id that it is given.
   */
  call<T = any>(point: string, scope: string, args?: unknown[], options?: Timed): Promise<T>;
  /** Another node: to use what it provides. It may be this one. */
  peer(who: Who): Peer;

  /**
   * Joins a channel: what one member publishes comes to all. Waits up to 15 s for a place in it. All members must give the same options,
   * for a channel of others is another one.
   */
  channel(name: string, options?: ChannelOptions): Promise<Channel>;

  /** Stores at most 64 KiB for `ttl` milliseconds, an hour where nothing is said: under their hash, so they never change. Gives the key. */
  put(value: Bytes, options?: Stored): Promise<string>;
  /**
   * Stores at most 64 KiB under a name of this node's own, in place of what was there: only the holder of this node's key can. Gives the key, which
   * is always the same: `${node.key}/${name}`.
   */
  putEntry(name: string, value: Bytes, options?: Stored): Promise<string>;
  /** Deletes what this node has stored under a name of its own. */
  delete(name: string, options?: Abortable): Promise<void>;
  /** The bytes under a key; `undefined` where there are none. */
  get(key: string, options?: Abortable): Promise<Uint8Array | undefined>;

  /** Claims a name for this node, until it is released or the node closes. */
  claim(name: string): Promise<{ readonly name: string; release(): void }>;
  /** Who owns a point of the ring: an id, or any other text by its hash. */
  lookup(key: string, options?: Abortable): Promise<Found>;
  /** The nodes on the way to a peer, the peer last. */
  trace(peer: Who, options?: Abortable): Promise<Hop[]>;
  /** Refreshes a row of the finger table, 0 to 47; gives the id of the node that stands in it. */
  updateFinger(row: number): Promise<string>;
  /** What the node knows of itself and its neighbours; `undefined` once it is closed. */
  status(): Promise<Status | undefined>;
  /** Leaves the ring: the others know at once. A page that is left does so by itself. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;

  addEventListener<K extends keyof AtollEvents>(
    type: K,
    listener: (event: CustomEvent<AtollEvents[K]>) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
  removeEventListener<K extends keyof AtollEvents>(
    type: K,
    listener: (event: CustomEvent<AtollEvents[K]>) => void,
    options?: boolean | EventListenerOptions,
  ): void;
  removeEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | EventListenerOptions,
  ): void;
}

/** What {@link Atoll.lookup} found. */
export interface Found {
  /** The id of the node that owns the point. */
  owner: string;
  /** Hops that the request took to it. */
  hops: number;
  /** The point of the ring. */
  point: string;
}

/** A node on the way to a peer. */
export interface Hop {
  id: string;
  /** Milliseconds of a frame there and back, by whatever way; `undefined` where none came back. */
  time: number | undefined;
}

/** How long something is stored. */
export interface Stored extends Abortable {
  /** In milliseconds: an hour where nothing is said, at most 24 hours. Store it again to make it last. */
  ttl?: number;
}

/** A node and its neighbours at one moment. */
export interface Status {
  id: string;
  /** How far it has come: looking for its place, on the ring, visiting it as a leaf, or gone for good. */
  phase: 'joining' | 'member' | 'attached' | 'left';
  /** The part of the ring that is the node's: after one point, up to another and with it. `undefined` while it is not known. */
  arc: { after: string; upTo: string } | undefined;
  /** The nodes before it, the nearest first. */
  predecessors: string[];
  /** The nodes after it, the nearest first. */
  successors: string[];
  links: LinkStatus[];
  /** Members with a link, by the row of the finger table that they stand in; `own` ones were chosen for that. */
  fingers: { row: number; peer: string; own: boolean }[];
  /** Links open or being set up. */
  linksInUse: number;
  maxLinks: number;
  /** How many nodes the ring has, estimated from how densely the nearest ones lie. */
  estimatedSize: number;
  /** What has been counted since the node started. */
  counters: Record<string, any>;
}

/** An open link. */
export interface LinkStatus {
  peer: string;
  /** What it was wanted for: a neighbour on the ring, a finger, a direct way to a peer, a leaf, or joining. */
  kind: 'ring' | 'finger' | 'direct' | 'leaf' | 'join';
  role: 'member' | 'leaf';
  /** Whether the peer says that it is a member of the ring. */
  member: boolean;
  /** Silent for longer than it should be. */
  suspect: boolean;
  /** The peer's public key. */
  key: string | null;
  /** The version of the protocol that both speak. */
  version: number;
}

/** Which channel is meant. */
export interface ChannelOptions extends Abortable {
  /** For a private channel, which only those join and read who know the secret: at least 16 bytes, which should be random. */
  secret?: Bytes;
  /** Whether each message is signed by its publisher. Without it is faster, and anybody can pass for anybody. Default: true. */
  signed?: boolean;
}

/** A message that came on a channel. */
export interface ChannelMessage<T = any> {
  /** The id of the node that published it: proven where the channel is signed. */
  readonly publisher: string;
  readonly scope: string;
  /** What was published. */
  readonly message: T;
  /** Its number among the publisher's messages since it joined. */
  readonly sequence: number;
  /** When it was sent, by the publisher's clock: milliseconds since 1970. */
  readonly sent: number;
  /** The bytes that travelled: UTF-8 for a text, for other values CBOR behind the three bytes d9 d9 f7. */
  readonly payload: Uint8Array;
  /** How many messages before it are lost to this reader: they could not be found any more, or it reads too slowly. */
  readonly missed: number;
}

/** A member of a channel that has announced itself. */
export interface Member {
  id: string;
  data: any;
}

/** What happens on a channel: each event is a `CustomEvent` with this `detail`. */
export interface ChannelEvents {
  memberjoin: Member;
  memberupdate: Member;
  /** A member has left, or has not been heard for too long. */
  memberleave: { id: string };
  /** Messages are lost to somebody who reads here: those of a publisher, or without one, because it reads too slowly. */
  lagged: { count: number; publisher?: string };
}

/** A channel that the node has joined. Iterated over, it gives all messages from then on. */
export interface Channel extends EventTarget, AsyncIterable<ChannelMessage> {
  readonly name: string;
  /** A hash of all that its members agree on. */
  readonly id: string;
  readonly left: boolean;
  /**
   * Publishes a value of at most 15 KiB: what calls carry, but no function. Gives its number among this node's messages. It waits while the
   * neighbours take no more; the node hears its own messages, too.
   */
  publish(scope: string, value: unknown, options?: Abortable): Promise<number>;
  /** The messages that come from now on: under a scope or, without one, under all. At most 4096 wait to be read. */
  subscribe<T = any>(scope?: string, options?: Abortable): AsyncIterableIterator<ChannelMessage<T>> & AsyncDisposable;
  /** Has the others see this node among the members, with at most 1 KiB of data of its own. Call it again to change the data. */
  announce(data?: unknown): Promise<void>;
  /** The members that have announced themselves, as far as this node has heard. */
  readonly members: Member[];
  /** Leaves, when what was published is on its way, or after two seconds. */
  leave(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;

  addEventListener<K extends keyof ChannelEvents>(
    type: K,
    listener: (event: CustomEvent<ChannelEvents[K]>) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
}

/** Ids: points of the ring, 12 hexadecimal digits. */
export const Id: {
  /** The point that a text or bytes stand for: the first 48 bits of their SHA-1. */
  hash(value: Bytes): Promise<string>;
  /** Whether a text is one. */
  is(text: unknown): text is string;
  /** Where it lies on the ring, as a share of the whole way round: 0 to 1. */
  position(id: string): number;
  /** How far it is from one to another, clockwise: 0 up to 2^48. */
  distance(from: string, to: string): number;
};

/** A stream of bytes each way, with a node any number of hops away. */
export interface Socket {
  /** The id of the node at the other end. */
  readonly peer: string;
  readonly readable: ReadableStream<Uint8Array>;
  /** Closing it waits until the peer has all bytes. */
  readonly writable: WritableStream<Bytes>;
  /** Gives the socket up, both ways. */
  close(): void;
}

/** An object that this node provides. */
export interface Service {
  /** Sets the value at a path such as `deep.x`, and tells who watches it. */
  set(path: string, value: unknown): void;
  /** Provides it no longer. */
  withdraw(): void;
}

/** What the functions of a provided object have as `this`. */
export interface Call {
  /** The id of the node that calls. */
  readonly caller: string;
  /** The path by which it was called; empty for a function that was passed. */
  readonly path: string;
  /** Milliseconds until nobody waits for the result any more. */
  readonly within: number;
  /** Aborted when nobody waits any more. */
  readonly signal: AbortSignal;
}

/** A function of another node. */
export interface RemoteFunction<A extends unknown[] = any[], R = any> {
  (...args: A): Promise<R>;
  /** Its results one by one. */
  stream(...args: A): AsyncGenerator<R, void, void>;
}

/** A function that was passed in a call, or came as a result. */
export interface HeldFunction<A extends unknown[] = any[], R = any> extends RemoteFunction<A, R> {
  /** Tells its node that it is needed no more. When it is dropped, that is done in time. */
  release(): void;
}

/** An object as others see it: its functions give promises, and those that give many results are iterated over. */
export type Remote<T> = {
  readonly [K in keyof T]: T[K] extends (...args: infer A) => AsyncIterable<infer I>
    ? ((...args: A) => AsyncGenerator<I, void, void>) & { stream(...args: A): AsyncGenerator<I, void, void> }
    : T[K] extends (...args: infer A) => infer R
      ? RemoteFunction<A, Awaited<R>>
      : T[K] extends Uint8Array | unknown[]
        ? T[K]
        : T[K] extends object
          ? Remote<T[K]>
          : T[K];
};

/** Another node. Nothing is sent before something is asked of it. */
export interface Peer {
  /** Where it is on the ring. */
  id(options?: Abortable): Promise<string>;
  /** The names of the services that it provides. */
  services(options?: Timed): Promise<string[]>;
  /** One of its services. Its values are those of now. */
  service<T extends object = any>(name: string, options?: Timed): Promise<Remote<T>>;
  /** What a service has, as its provider says. */
  describe(name: string, options?: Timed): Promise<Shape>;
  /** A value of a service, as it is now; without a path, all of them. */
  get<T = any>(service: string, path?: string, options?: Timed): Promise<T>;
  /** Calls a function by its path, such as `deep.x.f`. */
  call<T = any>(service: string, path: string, args?: unknown[], options?: Timed): Promise<T>;
  /** The results of a function that gives many, one by one. */
  stream<T = any>(service: string, path: string, args?: unknown[], options?: Timed): AsyncGenerator<T, void, void>;
  /** A value of a service, and each change of it. Who takes long gets the newest. */
  watch<T = any>(service: string, path?: string, options?: Timed): AsyncGenerator<T, void, void>;
}

/** What an object has. */
export interface Shape {
  /** What it is for. */
  doc?: string;
  /** By name: one of the three is there. */
  members?: Record<string, { value?: ValueShape; function?: FunctionShape; object?: Shape }>;
}

/** A value of an object. */
export interface ValueShape {
  doc?: string;
  kind: 'null' | 'bool' | 'int' | 'float' | 'text' | 'bytes' | 'array' | 'map';
}

/** A function of an object. */
export interface FunctionShape {
  doc?: string;
  /** The names of its parameters, where the provider says them. */
  parameters?: string[];
  /** `any` where the provider does not say. */
  gives: 'any' | 'value' | 'stream' | 'bytes';
}

/** Forgets the key that this browser keeps under a name. */
export function forget(key: string): Promise<void>;
