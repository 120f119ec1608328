/**
 * How many messages have begun on each connection, by its descriptor: counted by node's own HTTP/1 parser, which may hold the
 * first bytes of one that nobody was told of. Worker's thread only; costs a native call for each message that is
 * followed. What is not followed is not counted, which can only make a connection stay.
 */
import { counterOf } from '../native.js';

/** What this file uses of node's parser. */
export interface Parser {
  readonly constructor: { readonly kOnMessageBegin: number };
  [hook: number]: unknown;
}

export class MessagesBegun {
  /** Modulo 2^32. */
  readonly #counts: Int32Array;
  /** By descriptor, made when first wanted: to make one costs more than to keep it. */
  readonly #counters = new Map<number, () => void>();

  constructor(descriptorsMax: number) {
    this.#counts = new Int32Array(descriptorsMax);
  }

  /** On the connections that ever had descriptor `fd`; 0 for one that is not counted. */
  of(fd: number): number {
    return this.#counts[fd] ?? 0;
  }

  /** Has `parser` count the messages that begin on `fd`, or no longer. One that was freed counts on. */
  follow(fd: number, parser: Parser | null | undefined, on: boolean): void {
    if (!parser || fd >= this.#counts.length) return;
    parser[parser.constructor.kOnMessageBegin | 0] = on ? this.#counterFor(fd) : null;
  }

  /**
   * Not a function in JavaScript: when V8 enters one it looks whether its thread is to be terminated, and
   * Node 20's parser goes on after `kOnMessageBegin` as if nothing had happened. The next thing that
   * it asks of V8 fails then, and aborts the process.
   */
  #counterFor(fd: number): () => void {
    const counter = this.#counters.get(fd) ?? counterOf(this.#counts, fd);
    this.#counters.set(fd, counter);
    return counter;
  }
}
