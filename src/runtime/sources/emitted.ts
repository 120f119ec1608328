/**
 * What is emitted under one name. It fires when somebody calls `emit()`, each time in the way
 * that the call says. Main thread only.
 *
 * Those that are not concurrent are handled one after the other, in the order of the calls.
 */
import { closedError, type GyreError } from '../../errors.js';
import type { Handling } from '../../events.js';
import type { SourceInfo } from './api.js';
import { type Firing, type Outcome, SourceBase, type SourceContext } from './source.js';

const DEFAULT: Handling = Object.freeze({
  concurrent: true,
  tries: 1,
  timeoutMs: Number.POSITIVE_INFINITY,
  collaborates: null,
});

export interface Call {
  readonly payload: unknown;
  readonly handling: Handling;
  readonly settled: (outcome: Outcome) => void;
}

export class EmittedName extends SourceBase {
  /** Whom to tell, by id of the firing. */
  readonly #calls = new Map<number, Call>();
  /** Not concurrent, and its turn has not come. */
  readonly #queue: Call[] = [];
  /** The one whose turn it is. */
  #turn: Call | null = null;
  #turns = false;

  constructor(name: string, context: SourceContext) {
    super('emit', name, DEFAULT, context);
  }

  /** Calls whose turn has not come. */
  get queued(): number {
    return this.#queue.length;
  }

  /** Whether nothing is on its way. */
  get idle(): boolean {
    return this.unsettled === 0 && this.#queue.length === 0;
  }

  override info(): SourceInfo {
    const info = super.info();
    return { ...info, waiting: info.waiting + this.#queue.length };
  }

  /** Too many wait already. */
  refuse({ payload, settled }: Call, error: GyreError): void {
    this.counts.skipped++;
    this.report(null, 1, error, payload);
    settled({ what: 'cancelled', error });
  }

  emit(call: Call): void {
    if (call.handling.concurrent) this.#begin(call);
    else {
      this.#queue.push(call);
      this.#nextInTurn();
    }
  }

  override settled(firing: Firing, outcome: Outcome): void {
    const call = this.#calls.get(firing.id);
    this.#calls.delete(firing.id);
    if (this.#turn === call) this.#turn = null;
    super.settled(firing, outcome);
    call?.settled(outcome);
    this.#nextInTurn();
  }

  /** To close it means nothing. */
  override heard(): void {}

  protected override free(): void {}

  protected override stop(): void {
    const error = closedError();
    for (const { payload, settled } of this.#queue.splice(0)) {
      this.counts.fired++;
      this.counts.cancelled++;
      this.report(null, 1, error, payload);
      settled({ what: 'cancelled', error });
    }
  }

  #nextInTurn(): void {
    // One may settle before its begin() returns, when nobody handles the name, and come here again.
    if (this.#turns) return;
    this.#turns = true;
    while (this.#turn === null) {
      const call = this.#queue.shift();
      if (call === undefined) break;
      this.#turn = call;
      this.#begin(call);
    }
    this.#turns = false;
  }

  #begin(call: Call): void {
    this.fire(call.payload, call.handling, ({ id }) => this.#calls.set(id, call));
  }
}
