/// <reference types="node" />
import { EventEmitter } from 'node:events';

declare function glou(name: string, options?: glou.Options): glou.Glou;

declare namespace glou {
  /** The same function, for `import { glou }`. */
  function glou(name: string, options?: Options): Glou;

  /** The address of any text or bytes: the first 48 bits of their SHA-1, 12 hexadecimal digits. */
  function address(key: string | Uint8Array): string;

  interface Options {
    /** The daemon's socket; without it `$ATOLL_SOCKET`, or the daemon's default. */
    socket?: string;
    /** How long a call may take, in milliseconds. Default 10,000. */
    timeout?: number;
    /** Whether to wait for a daemon that does not run, and to come back to one that restarts. Default true. */
    reconnect?: boolean;
  }

  interface Info {
    /** What to call the node: its name in the ring, with its `@`; without one its id. */
    name: string;
    /** The node's id: 12 hexadecimal digits. */
    hash: string;
    /** The daemon's version. */
    version: string;
  }

  type ErrorKind =
    | 'failed' | 'no-such-function' | 'no-such-value' | 'wrong-arguments' | 'no-such-service' | 'no-such-peer' | 'refused'
    | 'timed-out' | 'cancelled' | 'peer-lost' | 'too-large' | 'too-many' | 'closed' | 'protocol' | 'name-taken' | 'bad-name'
    | 'malformed' | 'hello-first';

  class AtollError extends Error {
    constructor(error: { kind: ErrorKind; message: string; data?: unknown });
    kind: ErrorKind;
    /** What the function that failed says besides. */
    data?: unknown;
  }

  /** `this` of a function that another node calls (of a `function`, not of an arrow). */
  interface Call {
    /** Who calls: proved, not claimed. */
    caller: { id: string; key: string; name?: string };
    /** The path by which it was called; empty for a function that was passed. */
    path: string;
    /** Milliseconds until nobody waits for the result any more. */
    within: number;
    /** Aborted when the caller gives up. */
    signal: AbortSignal;
  }

  /** A function of another node. */
  interface Held<R = any> {
    (...args: any[]): Promise<R>;
    /** Calls it, and takes its results one by one. */
    stream(...args: any[]): Results<R>;
    /** Tells its node that it is not needed any more; dropping it does so in time. */
    release(): void;
  }

  /** Results one by one. `return` (or leaving a `for await`) gives the rest up. */
  interface Results<T> extends AsyncIterableIterator<T> {
    next(): Promise<IteratorResult<T, undefined>>;
    return(): Promise<IteratorResult<T, undefined>>;
  }

  /** What a service is to others: its values, and its functions, which answer later. */
  type Remote<T> = {
    [K in keyof T]: T[K] extends (...args: infer A) => infer R
      ? RemoteFunction<A, R>
      : T[K] extends readonly unknown[] | Uint8Array
        ? T[K]
        : T[K] extends object
          ? Remote<T[K]>
          : T[K];
  };

  /** A function of a service. One that gives many is called by `stream`. */
  interface RemoteFunction<A extends any[], R> {
    (...args: A): Promise<R extends Many<infer T> ? T[] : Awaited<R>>;
    stream(...args: A): Results<R extends Many<infer T> ? T : Awaited<R>>;
  }

  /** What a function returns that gives many results. */
  type Many<T> = AsyncIterable<T> | Generator<T, any, any>;

  interface ChannelOptions {
    /** Messages are not signed: faster, and anybody can pass for anybody. */
    unsigned?: boolean;
    /** Of a private channel: at least 16 random bytes that its members share. */
    secret?: string | Uint8Array;
  }

  /** Iterating over it is `subscribe()`. */
  interface Channel extends AsyncIterable<Message | Lagged> {
    readonly name: string;
    /** Publishes text or bytes under a scope; gives the number of the message. Those of one program keep their order. */
    publish(scope: string, payload: string | Uint8Array | ArrayBuffer): Promise<number>;
    /** What is published from now on, under one scope or any. Goes on when the daemon restarts, without what was missed meanwhile. */
    subscribe(scope?: string): Subscription;
    /** Has no part in it any more: subscriptions end. */
    leave(): Promise<void>;
  }

  interface Subscription extends Results<Message | Lagged> {
    /** From then on messages come. */
    begun: Promise<void>;
  }

  /** A message of a channel. */
  interface Message {
    lagged?: undefined;
    /** The id of the node that published it: proved, where the channel is signed. */
    publisher: string;
    /** Which of the publisher's streams it belongs to. */
    stream: number;
    /** Its number there. */
    number: number;
    /** When it was sent, by the publisher's clock, in microseconds since 1970. */
    sent: number;
    scope: string;
    /** A `Buffer`, also for text; another value where it was published as one, as browsers do. */
    payload: any;
  }

  /** So many messages are missing here: they cannot be found any more, or the program reads too slowly. */
  interface Lagged {
    lagged: number;
    /** Whose; none, where the program reads too slowly. */
    publisher?: string;
  }

  type Callback<T> = (error: Error | null, value?: T) => void;

  interface Glou extends EventEmitter {
    readonly name: string;
    readonly info?: Info;
    start(): Promise<Info>;
    stop(): void;
    provide(object: object, name?: string): Promise<void>;
    provide(object: object, callback: Callback<void>): void;
    provide(object: object, name: string, callback: Callback<void>): void;
    withdraw(name?: string): Promise<void>;
    set(path: string, value: unknown, name?: string): Promise<void>;
    /** Answers calls to a scope that come to the daemon's node, or to an address that it owns. */
    handle(scope: string, run: (this: Call, ...args: any[]) => unknown): Promise<void>;
    unhandle(scope: string): Promise<void>;
    /** Calls what handles a scope at whoever is at an address, or owns it, or has the `@name`. `sea:nearest` is there at every node. */
    call<T = any>(address: string | null, scope: string, ...args: unknown[]): Promise<T>;
    stream<T = any>(address: string | null, scope: string, ...args: unknown[]): Results<T>;
    /** Claims a name in the ring for the daemon's node, as long as this program is attached. */
    claim(name: string): Promise<void>;
    unclaim(name: string): Promise<void>;
    /** A channel: what one member publishes comes to every other. With other options it is another channel. */
    channel(name: string, options?: ChannelOptions): Channel;
    node(remote?: string | null): Promise<Node>;
    node(remote: string | null | undefined, callback: Callback<Node>): void;
    /** Attached for the first time. */
    on(event: 'start', listener: (info: Info) => void): this;
    /** Lost the daemon. */
    on(event: 'disconnect', listener: () => void): this;
    /** Came back, and provides again. */
    on(event: 'reconnect', listener: (info: Info) => void): this;
    /** Stopped. */
    on(event: 'stop', listener: () => void): this;
    /** Something that no promise tells. */
    on(event: 'error', listener: (error: AtollError) => void): this;
  }

  interface Node {
    services(): Promise<string[]>;
    services(callback: Callback<string[]>): void;
    /** Its functions give promises. `T`: the object as its provider has it. */
    service<T = any>(name: string): Promise<Remote<T>>;
    /** Its functions take a callback `(result, error)` first. */
    service<T = any>(name: string, callback: Callback<T>): void;
    get<T = any>(service: string, path?: string): Promise<T>;
    call<T = any>(service: string, path: string, args?: unknown[], options?: { timeout?: number }): Promise<T>;
    stream<T = any>(service: string, path: string, args?: unknown[], options?: { timeout?: number }): Results<T>;
    /** Goes on when the daemon restarts, with the value as it is then. */
    watch<T = any>(service: string, path?: string): Results<T>;
  }
}

export = glou;
