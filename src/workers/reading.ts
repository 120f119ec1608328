/**
 * One source of datagrams as a worker reads it: straight from the kernel, so that whoever has
 * time takes the next one. Worker's thread only.
 *
 * It takes one datagram, calls its handler, and only then takes the next: nothing waits behind a
 * handler here that another worker could have. The descriptor is main's, which closes it
 * when nobody reads from it any more; so it cannot be closed under this loop.
 */
import type { Datagram, DatagramEvent, DatagramPeer, EventHandler } from '../events.js';
import {
  PEER_BYTES,
  type Poll,
  peerNameOf,
  READABLE,
  receiveDatagram,
  sendDatagram,
  watchReady,
} from '../native.js';
import type { EventToWorker } from '../protocol.js';
import { WORKERS_MAX } from '../scheduler/layout.js';
import { Receptions } from '../scheduler/receptions.js';
import { Event, run } from './handling.js';
import { scheduleTimeout } from './timers.js';

/** Datagrams in one turn of the loop, and for how long, in ms: connections want their turn. */
const PER_TURN = 64;
const TURN_MS = 1;
/** The longest datagram there is, and one byte more. */
const DATAGRAM_BYTES = 65_536;
/** How often failures are told of at most: they may be as many as there are datagrams. */
const REPORT_MS = 100;

const now = () => performance.now();

/** One for all sources of a thread: a datagram is copied out of it at once. */
let scratch: Buffer | null = null;

interface ReadingEvents {
  handler(): EventHandler | undefined;
  /** The source is to be closed. */
  close(): void;
  failed(times: number, error: unknown): void;
  /** A handler has settled. */
  settled(): void;
  /** Nothing is read, and nothing is in flight, any more. */
  stopped(): void;
}

/** A datagram whose sender is put into words when somebody asks. */
class Received implements Datagram {
  readonly data: Buffer;
  readonly #peer: Uint8Array;
  #from: DatagramPeer | null = null;

  constructor(data: Buffer, peer: Uint8Array) {
    this.data = data;
    this.#peer = peer;
  }

  get from(): DatagramPeer {
    if (this.#from !== null) return this.#from;
    const { text, port, family } = peerNameOf(this.#peer);
    this.#from = { address: text, port, family: family === 6 ? 'IPv6' : 'IPv4' };
    return this.#from;
  }
}

class ReceivedEvent extends Event<'datagram', Datagram> implements DatagramEvent {
  readonly #reply: (data: Uint8Array) => boolean;

  constructor(
    what: { readonly name: string; readonly id: number; readonly payload: Datagram },
    close: () => void,
    reply: (data: Uint8Array) => boolean,
  ) {
    super({ kind: 'datagram', attempt: 1, ...what }, close);
    this.#reply = reply;
  }

  reply(data: Uint8Array | string): boolean {
    return this.#reply(typeof data === 'string' ? Buffer.from(data) : data);
  }
}

/**
 * - reading: it takes what comes
 * - full: as many handlers are at work as may be; it goes on when one has settled
 * - paused: there is no handler
 * - stopping: it ends when no handler is at work
 * - stopped: the descriptor may be closed
 */
type State = 'reading' | 'full' | 'paused' | 'stopping' | 'stopped';

export class Reading {
  readonly name: string;
  readonly #fd: number;
  readonly #slot: number;
  readonly #inFlightMax: number;
  readonly #events: ReadingEvents;
  readonly #receptions: Receptions;
  readonly #receivedIndex: number;
  readonly #poll: Poll;
  #state: State = 'reading';
  #inFlight = 0;
  #failures = 0;
  #lastFailure: unknown;
  #reporting: NodeJS.Timeout | null = null;

  constructor(
    { name, fd, receptions, inFlightMax }: Extract<EventToWorker, { kind: 'read' }>,
    slot: number,
    events: ReadingEvents,
  ) {
    this.name = name;
    this.#fd = fd;
    this.#slot = slot;
    this.#inFlightMax = inFlightMax;
    this.#events = events;
    this.#receptions = Receptions.attach(receptions);
    this.#receivedIndex = this.#receptions.receivedIndex(slot);
    this.#poll = watchReady(fd, this.#onReady);
    this.#poll.start(READABLE);
  }

  /** Handlers at work. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** Reads nothing for now: there is no handler. Main will say {@link stop}. */
  pause(): void {
    if (this.#state !== 'reading' && this.#state !== 'full') return;
    this.#state = 'paused';
    this.#poll.stop();
  }

  /** Ends, when what was read has been handled. */
  stop(): void {
    if (this.#state === 'stopping' || this.#state === 'stopped') return;
    this.#state = 'stopping';
    this.#poll.close();
    this.#endWhenIdle();
  }

  #onReady = (status: number): void => {
    this.#take();
    // libuv watches no longer after an error. To receive has cleared it.
    if (status < 0 && this.#state === 'reading') this.#poll.start(READABLE);
  };

  #take(): void {
    scratch ??= Buffer.allocUnsafeSlow(DATAGRAM_BYTES);
    const { words } = this.#receptions;
    const until = now() + TURN_MS;
    for (let taken = 0; taken < PER_TURN && this.#state === 'reading'; taken++) {
      const handler = this.#events.handler();
      if (handler === undefined) {
        this.pause();
        return;
      }
      const peer = new Uint8Array(PEER_BYTES);
      const length = receiveDatagram(this.#fd, scratch, peer, words, this.#receivedIndex);
      if (length < 0) return; // somebody else was faster
      this.#handle(handler, Buffer.from(scratch.subarray(0, length)), peer);
      if (this.#inFlight >= this.#inFlightMax && this.#state === 'reading') {
        this.#state = 'full';
        this.#poll.stop();
      }
      if (now() >= until) return;
    }
  }

  #handle(handler: EventHandler, data: Buffer, peer: Uint8Array): void {
    this.#inFlight++;
    // The count goes on when another thread has this slot, so it names one datagram.
    const count = (this.#receptions.words[this.#receivedIndex] as number) >>> 0;
    const event = new ReceivedEvent(
      {
        name: this.name,
        id: -(count * WORKERS_MAX + this.#slot + 1),
        payload: new Received(data, peer),
      },
      this.#events.close,
      // A descriptor that was closed may be somebody else's by now.
      (reply) => this.#state !== 'stopped' && sendDatagram(this.#fd, reply, peer) === reply.length,
    );
    run(handler, event, (failed) => {
      this.#receptions.settled(this.#slot, failed !== null);
      this.#inFlight--;
      if (failed !== null) this.#onFailure(failed.thrown);
      if (this.#state === 'full') {
        this.#state = 'reading';
        this.#poll.start(READABLE);
      }
      this.#endWhenIdle();
      this.#events.settled();
    });
  }

  #endWhenIdle(): void {
    if (this.#state !== 'stopping' || this.#inFlight > 0) return;
    this.#state = 'stopped';
    this.#report();
    this.#events.stopped();
  }

  /** The first one is told of at once, and what follows in one piece. */
  #onFailure(error: unknown): void {
    this.#failures++;
    this.#lastFailure = error;
    if (this.#reporting !== null) return;
    this.#report();
    this.#reporting = scheduleTimeout(() => {
      this.#reporting = null;
      this.#report();
    }, REPORT_MS).unref();
  }

  #report(): void {
    if (this.#failures === 0) return;
    this.#events.failed(this.#failures, this.#lastFailure);
    this.#failures = 0;
  }
}
