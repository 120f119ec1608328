/**
 * `runtime.sources`: everything that is an event and no connection. It keeps the sources by name
 * and joins them with the {@link Dispatcher}, which has their firings handled. Main thread only.
 */
import { closedError, GyreError } from '../../errors.js';
import { emitHandling, eventName, type Handled, uncloneable } from '../../events.js';
import { hasHelper, missingReason } from '../../native.js';
import type { Emitted, FromWorker } from '../../protocol.js';
import type { WorkerHandle } from '../worker-handle.js';
import type {
  DatagramOptions,
  DatagramSource,
  FdOptions,
  PathOptions,
  Source,
  SourceFailure,
  SourceInfo,
  SourceOptions,
  Sources,
  TimerOptions,
} from './api.js';
import { Datagrams } from './datagram.js';
import { Descriptor } from './descriptor.js';
import { Dispatcher, type DispatcherEvents, type DispatcherOptions } from './dispatcher.js';
import { type Call, EmittedName } from './emitted.js';
import { Path } from './path.js';
import { Signal } from './signal.js';
import type { Outcome, SourceBase, SourceContext } from './source.js';
import { Timer } from './timer.js';

/** Emitted events that may wait for a worker. A bound on memory; no evidence for the number. */
const EMITTED_MAX = 10_000;
/** Names of which it is remembered what was emitted under them. The idle ones go first. */
const EMITTED_NAMES_MAX = 1_000;

interface SourcesOptions extends DispatcherOptions {
  readonly reusePort: { readonly available: boolean; readonly reason?: string };
  /** Signals that the runtime handles itself. */
  readonly signals: readonly NodeJS.Signals[];
}

interface SourcesEvents extends Pick<DispatcherEvents, 'awaitsHandler' | 'stalled'> {
  /** Number of workers now. */
  workers(): number;
  failed(failure: SourceFailure): void;
}

export class RuntimeSources implements Sources {
  readonly #options: SourcesOptions;
  readonly #events: SourcesEvents;
  readonly #dispatcher: Dispatcher;
  /** Open ones. */
  readonly #byName = new Map<string, SourceBase>();
  /** As workers know them, until nothing of them is left. */
  readonly #byId = new Map<number, SourceBase>();
  readonly #emitted = new Map<string, EmittedName>();
  readonly #context: SourceContext;
  #lastId = 0;
  #closed = false;

  constructor(options: SourcesOptions, events: SourcesEvents) {
    this.#options = options;
    this.#events = events;
    this.#dispatcher = new Dispatcher(options, {
      awaitsHandler: () => events.awaitsHandler(),
      stalled: (worker) => events.stalled(worker),
      changed: (name) => this.#byName.get(name)?.handlersChanged(),
      moved: (key) => this.#onMoved(key),
    });
    this.#context = {
      nextId: () => ++this.#lastId,
      freeName: (name) => this.#freeName(name),
      submit: (firing) => this.#dispatcher.submit(firing),
      cancel: (source) => this.#dispatcher.cancel(source),
      failed: (failure) => events.failed(failure),
      closed: (source) => this.#onClosed(source),
      handlers: (name) => this.#dispatcher.recipientsOf(name).length,
    };
  }

  timer(options: TimerOptions): Source {
    return this.#open(() => new Timer(options, this.#context));
  }

  signal(signal: NodeJS.Signals, options: SourceOptions = {}): Source {
    return this.#open(() => new Signal(signal, options, this.#options.signals, this.#context));
  }

  path(path: string, options: PathOptions = {}): Source {
    return this.#open(() => new Path(path, options, this.#context));
  }

  fd(fd: number, options: FdOptions = {}): Source {
    this.#needHelper('sources.fd()');
    return this.#open(() => new Descriptor(fd, options, this.#context));
  }

  datagram(options: DatagramOptions): DatagramSource {
    this.#needHelper('sources.datagram()');
    const { reusePort, slots } = this.#options;
    const source = this.#open(
      () =>
        new Datagrams(options, reusePort, {
          ...this.#context,
          dispatcher: this.#dispatcher,
          slots,
          workers: () => this.#events.workers(),
          lent: (id, source) => this.#byId.set(id, source),
          returned: (id) => this.#byId.delete(id),
        }),
    );
    source.begin();
    return source;
  }

  emit(name: string, payload?: unknown, options: object = {}): Promise<Handled> {
    eventName(name);
    const handling = emitHandling(options);
    let copy: unknown;
    try {
      copy = structuredClone(payload);
    } catch (error) {
      throw uncloneable(name, error);
    }
    const handled = new Promise<Handled>((resolve, reject) => {
      const settled = (outcome: Outcome) => {
        if (outcome.what === 'handled') resolve(outcome.handled);
        else reject(outcome.error);
      };
      this.#emit(name, { payload: copy, handling, settled });
    });
    handled.catch(() => {}); // it is reported
    return handled;
  }

  list(): readonly SourceInfo[] {
    return [...this.#byName.values(), ...this.#emitted.values()].map((source) => source.info());
  }

  /** What `worker` says. */
  heard(worker: WorkerHandle, message: FromWorker): void {
    switch (message.kind) {
      case 'emit': {
        const { call, name, payload, handling } = message;
        const settled = (outcome: Outcome) =>
          worker.send({ kind: 'emitted', call, outcome: emittedOf(outcome) });
        this.#emit(name, { payload, handling, settled });
        break;
      }
      case 'close-source':
      case 'reads-no-more':
      case 'datagrams-failed':
        this.#byId.get(message.source)?.heard(worker, message);
        break;
      default:
        this.#dispatcher.heard(worker, message);
    }
  }

  /** The thread of `worker` has ended, and whether another follows is known. */
  ended(worker: WorkerHandle): void {
    this.#dispatcher.ended(worker);
    for (const source of new Set(this.#byId.values())) source.workerEnded(worker);
  }

  /** Nobody starts any more. */
  settled(): void {
    this.#dispatcher.settled();
  }

  /** The thread that has `worker`'s slot stands still, and something waits for it. */
  stalled(worker: WorkerHandle): void {
    this.#dispatcher.stalled(worker);
  }

  /** Nothing fires any more. What workers have begun goes on. */
  stop(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const source of [...this.#byName.values(), ...this.#emitted.values()]) source.end();
    this.#dispatcher.close();
  }

  /** Every thread has ended, or is lost; such a one keeps the sockets that it was lent. */
  end(): void {
    this.stop();
    this.#dispatcher.end();
  }

  #open<T extends SourceBase>(make: () => T): T {
    if (this.#closed) throw closedError();
    const source = make();
    this.#byName.set(source.name, source);
    this.#byId.set(source.id, source);
    return source;
  }

  #freeName(value: unknown): string {
    const name = eventName(value);
    if (!this.#byName.has(name)) return name;
    throw new GyreError(
      'ERR_GYRE_SOURCE_NAME',
      `there is an open source ${JSON.stringify(name)} already`,
    );
  }

  #onClosed(source: SourceBase): void {
    if (this.#byName.get(source.name) === source) this.#byName.delete(source.name);
    source.gone.then(() => this.#byId.delete(source.id));
  }

  #needHelper(where: string): void {
    if (!hasHelper) throw new GyreError('ERR_GYRE_CAPABILITY', `${where}: ${missingReason}`);
  }

  #onMoved(key: string): void {
    for (const source of this.#byName.values()) {
      if (source.collaborates === key) source.handlersChanged();
    }
  }

  #emit(name: string, call: Call): void {
    if (this.#closed) {
      call.settled({ what: 'cancelled', error: closedError() });
      return;
    }
    let under = this.#emitted.get(name);
    if (under === undefined) {
      under = new EmittedName(name, this.#context);
      this.#makeRoom();
      this.#emitted.set(name, under);
    }
    if (this.#dispatcher.waiting + under.queued < EMITTED_MAX) {
      under.emit(call);
      return;
    }
    const text = `${JSON.stringify(name)}: ${EMITTED_MAX} emitted events wait for a worker already`;
    under.refuse(call, new GyreError('ERR_GYRE_EVENT_REFUSED', text));
  }

  #makeRoom(): void {
    if (this.#emitted.size < EMITTED_NAMES_MAX) return;
    for (const [name, under] of this.#emitted) {
      if (!under.idle) continue;
      this.#emitted.delete(name);
      return;
    }
  }
}

function emittedOf(outcome: Outcome): Emitted {
  if (outcome.what === 'handled') return { handled: outcome.handled };
  const { code, message, cause } = outcome.error;
  if (cause === undefined) return { code, message, cause: null };
  const { code: own } = cause as { code?: unknown };
  return { code, message, cause: { value: cause, code: typeof own === 'string' ? own : null } };
}
