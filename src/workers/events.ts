/**
 * The worker's end of all sources: handlers by name, the firings that main offers to it, and
 * what the application emits. Worker's thread only, or main's for `workers: 'inline'`.
 *
 * A firing is begun by one compare-and-swap on its offer (src/scheduler/offers.ts): after that it is
 * this worker's and nobody else's, until it says that its handler has settled or the thread ends.
 */
import { GyreError } from '../errors.js';
import {
  type EventHandler,
  type EventKind,
  emitHandling,
  eventName,
  type Handled,
  type SourceEvent,
  uncloneable,
} from '../events.js';
import type { Emitted, EventFromWorker, EventToWorker, FromWorker, ToWorker } from '../protocol.js';
import { Offers, type OfferTaker } from '../scheduler/offers.js';
import { Event, posted, run } from './handling.js';
import { Reading } from './reading.js';

interface EventsInit {
  readonly slot: number;
  readonly offers: Int32Array<SharedArrayBuffer>;
  /** @throws DataCloneError */
  send(message: FromWorker): void;
  /** Whether events alone keep this thread alive, from now on. */
  keepAlive(on: boolean): void;
}

type Offered = Extract<EventToWorker, { kind: 'event' }>;

export class Events {
  readonly #init: EventsInit;
  readonly #offers: OfferTaker;
  readonly #handlers = new Map<string, EventHandler>();
  /** Firings whose handlers are at work, by id. */
  readonly #running = new Map<number, Event<EventKind, unknown>>();
  /** Sources of datagrams that are read here. */
  readonly #readings = new Map<number, Reading>();
  /** Who waits for what became of an emitted event. */
  readonly #emitted = new Map<number, (outcome: Emitted) => void>();
  readonly #whenIdle: (() => void)[] = [];
  #calls = 0;
  /** Nothing new comes any more. */
  #over = false;
  #keepsAlive = false;

  constructor(init: EventsInit) {
    this.#init = init;
    this.#offers = Offers.attach(init.offers).taker(init.slot);
  }

  /**
   * Handles `name` from now on, until the result is called.
   *
   * @throws GyreError `ERR_GYRE_SOURCE_NAME` if it has a handler here, `ERR_GYRE_OPTION_INVALID`
   */
  on(name: string, handler: EventHandler): () => void {
    eventName(name);
    if (typeof handler !== 'function') {
      throw new GyreError('ERR_GYRE_OPTION_INVALID', 'onEvent(): the handler must be a function');
    }
    if (this.#handlers.has(name)) {
      throw new GyreError(
        'ERR_GYRE_SOURCE_NAME',
        `${JSON.stringify(name)} has a handler in this worker already`,
      );
    }
    this.#handlers.set(name, handler);
    if (!this.#over) this.#send({ kind: 'handles', name, on: true });
    this.#keep();
    return () => {
      if (this.#handlers.get(name) !== handler) return;
      this.#handlers.delete(name);
      for (const reading of this.#readings.values()) if (reading.name === name) reading.pause();
      if (!this.#over) this.#send({ kind: 'handles', name, on: false });
      this.#keep();
    };
  }

  /** Resolves when a worker has handled it. A rejection that nobody looks at is no error. */
  emit(name: string, payload: unknown, options: unknown): Promise<Handled> {
    eventName(name);
    const handling = emitHandling(options);
    const call = ++this.#calls;
    try {
      this.#send({ kind: 'emit', call, name, payload, handling });
    } catch (error) {
      throw uncloneable(name, error);
    }
    const handled = new Promise<Handled>((resolve, reject) => {
      this.#emitted.set(call, (outcome) => {
        if ('handled' in outcome) resolve(outcome.handled);
        else reject(emitError(outcome));
      });
    });
    handled.catch(() => {}); // main reports it
    return handled;
  }

  receive(message: ToWorker): void {
    switch (message.kind) {
      case 'event':
        this.#begin(message);
        break;
      case 'abandon':
        this.#running
          .get(message.id)
          ?.abort(new GyreError('ERR_GYRE_EVENT_TIMEOUT', 'the handler has taken too long'));
        break;
      case 'read':
        this.#read(message);
        break;
      case 'stop-reading':
        this.#readings.get(message.source)?.stop();
        break;
      case 'emitted':
        this.#emitted.get(message.call)?.(message.outcome);
        this.#emitted.delete(message.call);
        break;
      case 'no-more-events':
        this.#end();
    }
  }

  /** The worker is about to end: firings go to others from now on. */
  leave(): void {
    if (this.#over) return;
    for (const name of this.#handlers.keys()) this.#send({ kind: 'handles', name, on: false });
    this.#end();
  }

  /** Resolves when no handler is at work. */
  idle(): Promise<void> {
    if (this.#busy === 0) return Promise.resolve();
    return new Promise((resolve) => this.#whenIdle.push(resolve));
  }

  get #busy(): number {
    let busy = this.#running.size;
    for (const reading of this.#readings.values()) busy += reading.inFlight;
    return busy;
  }

  #end(): void {
    this.#over = true;
    for (const reading of this.#readings.values()) reading.stop();
    this.#keep();
  }

  #begin(message: Offered): void {
    const { id, offer, source, event: kind, name, attempt, payload } = message;
    const handler = this.#handlers.get(name);
    if (handler === undefined) {
      this.#send({ kind: 'declined', id, offer });
      return;
    }
    if (!this.#offers.begin(offer)) return; // main has given it to somebody else
    const event = new Event({ kind, name, id, attempt, payload }, () =>
      this.#send({ kind: 'close-source', source }),
    );
    this.#running.set(id, event);
    this.#keep();
    run(handler, event as SourceEvent, (failed) => {
      this.#running.delete(id);
      const error = failed === null ? null : posted(failed.thrown);
      this.#send({ kind: 'settled', id, offer, error });
      this.#settled();
    });
  }

  #read(message: Extract<EventToWorker, { kind: 'read' }>): void {
    const { source, name } = message;
    if (this.#readings.has(source)) return;
    const reading = new Reading(message, this.#init.slot, {
      handler: () => this.#handlers.get(name),
      close: () => this.#send({ kind: 'close-source', source }),
      failed: (times, error) =>
        this.#send({ kind: 'datagrams-failed', source, times, error: posted(error) }),
      settled: () => this.#settled(),
      stopped: () => {
        this.#readings.delete(source);
        this.#send({ kind: 'reads-no-more', source });
      },
    });
    this.#readings.set(source, reading);
    if (this.#over || !this.#handlers.has(name)) reading.stop();
  }

  #settled(): void {
    if (this.#busy > 0) return;
    this.#keep();
    for (const resolve of this.#whenIdle.splice(0)) resolve();
  }

  #keep(): void {
    const keep = this.#busy > 0 || (!this.#over && this.#handlers.size > 0);
    if (keep === this.#keepsAlive) return;
    this.#keepsAlive = keep;
    this.#init.keepAlive(keep);
  }

  #send(message: EventFromWorker): void {
    this.#init.send(message);
  }
}

function emitError({ code, message, cause }: Exclude<Emitted, { handled: Handled }>): GyreError {
  if (cause === null) return new GyreError(code, message);
  const { value } = cause;
  if (cause.code !== null && value instanceof Error) Object.assign(value, { code: cause.code });
  return new GyreError(code, message, { cause: value });
}
