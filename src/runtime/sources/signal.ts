/**
 * A source that fires when the process receives a signal. Main thread only, to which node delivers
 * them.
 */
import os from 'node:os';
import { GyreError } from '../../errors.js';
import { resolveHandling, type SignalFiring, sourceOptions } from '../../events.js';
import { SourceBase, type SourceContext } from './source.js';

/** What a program cannot handle, and faults: to return from their handlers would repeat them. */
const IMPOSSIBLE: readonly string[] = [
  'SIGKILL',
  'SIGSTOP',
  'SIGSEGV',
  'SIGBUS',
  'SIGFPE',
  'SIGILL',
];
/** Stops workers at a safepoint; native/safepoint.cc. */
const OURS = 'SIGURG';

function signalName(value: unknown): NodeJS.Signals {
  const known = typeof value === 'string' && Object.hasOwn(os.constants.signals, value);
  if (known && !IMPOSSIBLE.includes(value) && value !== OURS) return value as NodeJS.Signals;
  const why = !known
    ? 'is no signal of this system'
    : value === OURS
      ? 'is used by gyre itself'
      : 'cannot be handled by a program';
  throw new GyreError('ERR_GYRE_SOURCE_SIGNAL', `sources.signal(): ${String(value)} ${why}`);
}

export class Signal extends SourceBase {
  readonly #signal: NodeJS.Signals;
  /** How many came since the last firing. */
  #times = 0;

  /** @param taken signals that the runtime handles itself */
  constructor(
    signal: unknown,
    options: unknown,
    taken: readonly NodeJS.Signals[],
    context: SourceContext,
  ) {
    const where = 'sources.signal()';
    const wanted = signalName(signal);
    const given = sourceOptions(where, options, ['name']);
    if (taken.includes(wanted)) {
      throw new GyreError(
        'ERR_GYRE_OPTION_CONFLICT',
        `${where}: with handleSignals ${wanted} ends the runtime`,
      );
    }
    const name = context.freeName(given.name ?? wanted);
    super('signal', name, resolveHandling(where, given, false), context);
    this.#signal = wanted;
    process.on(wanted, this.#received);
  }

  protected override free(): void {
    if (this.#times > 0) this.#fire();
  }

  protected override stop(): void {
    process.removeListener(this.#signal, this.#received);
  }

  readonly #received = (): void => {
    this.#times++;
    if (!this.busy) this.#fire();
  };

  #fire(): void {
    const payload: SignalFiring = { signal: this.#signal, times: this.#times };
    this.#times = 0;
    this.fire(payload);
  }
}
