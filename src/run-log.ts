/**
 * What `gyre run` writes to stderr: what happens to its runtime, a readable line each, or with --json
 * an object each.
 */
import { inspect } from 'node:util';
import { showAddress } from './address.js';
import { showIds } from './containment.js';
import { GyreError, type Runtime, type WorkerMove } from './index.js';

/** Errors that say the command was wrong, not that the server failed. */
const USAGE_CODES: ReadonlySet<string> = new Set([
  'ERR_GYRE_OPTION_UNKNOWN',
  'ERR_GYRE_OPTION_INVALID',
  'ERR_GYRE_OPTION_CONFLICT',
  'ERR_GYRE_CPUS',
  'ERR_GYRE_CAPABILITY',
  'ERR_GYRE_ENTRY_MISSING',
]);

/** Whether an error of this code says that the command was wrong, and nothing was started. */
export function isUsage(code: string | undefined): boolean {
  return USAGE_CODES.has(code ?? '');
}

/** What made the giver give, in words. */
const REASONS: Readonly<Record<WorkerMove['reason'], string>> = {
  round: 'after a long iteration',
  overload: 'having hardly slept',
  return: 'as others had nothing to do',
  rescue: 'standing still',
};

export class RunLog {
  readonly #json: boolean;

  constructor(json: boolean) {
    this.#json = json;
  }

  write(event: string, text: string, fields: object): void {
    const line = this.#json ? JSON.stringify({ event, ...fields }) : `gyre: ${text}`;
    process.stderr.write(`${line}\n`);
  }

  error(error: unknown): void {
    const { code, worker } = error as Partial<GyreError>;
    const { message, cause } = error as Error;
    // The stack of gyre's own error tells nobody anything; that of its cause does.
    const origin = error instanceof GyreError ? cause : error;
    const usage = origin === undefined || isUsage(code);
    const stack = usage ? '' : `\n${origin instanceof Error ? origin.stack : inspect(origin)}`;
    this.write('error', `${code ?? 'error'}: ${message}${stack}`, {
      ...{ code, worker, message },
      ...(!usage && { stack: stack.trim() }),
    });
  }

  serving(runtime: Runtime): void {
    const { addresses, workers, capabilities, admin } = runtime;
    const cpus = workers.map(({ cpu }) => cpu);
    const pins = cpus.every((cpu) => cpu !== null)
      ? `, on CPUs ${cpus.join(', ')}`
      : ', not pinned';
    const where = addresses.length > 0 ? addresses.map(showAddress).join(', ') : 'nothing yet';
    const many = workers.length === 1 ? '1 worker' : `${workers.length} workers`;
    this.write('listening', `${many}${pins}, listening on ${where}`, {
      ...{ pid: process.pid, addresses, workers, capabilities, admin },
    });
    const { endpoint, agentCheck } = admin;
    const also = [
      ...(endpoint === null ? [] : [`admin endpoint on ${showAddress(endpoint)}`]),
      ...(agentCheck === null ? [] : [`agent check on ${showAddress(agentCheck)}`]),
    ];
    if (also.length > 0 && !this.#json) this.write('', also.join(', '), {});
    for (const [name, { available, reason }] of Object.entries(capabilities)) {
      if (!available && !this.#json) this.write('', `without ${name}: ${reason}`, {});
    }
  }

  /** Writes whatever happens to `runtime` from here on. */
  follow(runtime: Runtime): void {
    this.#followWorkers(runtime);
    this.#followPins(runtime);
    this.#followMoves(runtime);
  }

  #followWorkers(runtime: Runtime): void {
    runtime.on('exit', ({ worker, code, reason, restartInMs }) => {
      const next =
        restartInMs === null
          ? ''
          : `; another ${restartInMs === 0 ? 'starts' : `in ${restartInMs} ms`}`;
      const text = `${worker.spare ? 'spare' : 'worker'} ${worker.index} ended with code ${code}${next}`;
      this.write('exit', text, { worker, code, reason, restartInMs });
    });
    runtime.on('error', (error) => this.error(error));
    runtime.on('hang', ({ worker, stuckMs, stack }) => {
      const text = `worker ${worker.index} hangs since ${Math.round(stuckMs)} ms, in:`;
      const frames = (stack ?? ['(cannot be seen)']).map((frame) => `\n    ${frame}`).join('');
      this.write('hang', `${text}${frames}`, { worker, stuckMs, stack });
    });
    runtime.on('stall', ({ worker, stack }) => {
      this.write('stall', `worker ${worker.index} stood still in ${stack[0]}`, { worker, stack });
    });
    runtime.on('recycle', ({ worker, heapRatio }) => {
      const percent = Math.round(heapRatio * 100);
      this.write(
        'recycle',
        `worker ${worker.index} is replaced: ${percent}% of its heap is in use`,
        {
          ...{ worker, heapRatio },
        },
      );
    });
  }

  /** Says where workers run that cannot have their CPUs to themselves. */
  #followPins(runtime: Runtime): void {
    runtime.on('widen', ({ worker, rings, cpus }) => {
      const text = `others use CPU ${worker.cpu}: worker ${worker.index} may run on ${showIds(cpus)}`;
      this.write('widen', text, { worker, rings, cpus });
    });
    runtime.on('narrow', ({ worker, rings, cpus }) => {
      const where = rings === 0 ? `CPU ${worker.cpu}` : `${showIds(cpus)}`;
      this.write('narrow', `worker ${worker.index} is back on ${where}`, { worker, rings, cpus });
    });
  }

  /** Explains each move: why there was one, and why it went where it did. */
  #followMoves(runtime: Runtime): void {
    runtime.on('move', (move) => {
      const { from, to, reason, moved, events, outstanding, roundsSinceGave } = move;
      const { candidates, best, ring, pauseUs } = move;
      const who = reason === 'rescue' ? `taken from worker ${from}` : `worker ${from} gave`;
      const where = ring === null ? '' : `ring ${ring}, `;
      const text = `${who} ${moved} of ${events} events, ${REASONS[reason]}, to worker ${to}: ${where}${outstanding} outstanding there, last given ${roundsSinceGave} rounds ago, ${best} best of ${candidates} fit`;
      const paused = pauseUs > 0 ? `, paused for ${Math.round(pauseUs)} µs` : '';
      this.write('move', `${text}${paused}`, { ...move });
    });
  }
}
