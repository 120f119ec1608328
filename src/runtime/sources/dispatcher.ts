/**
 * Has each firing handled by one worker. Main thread only.
 *
 * A firing is submitted; the dispatcher picks a worker for it (src/scheduler/assignment.ts) among
 * those that have said that they handle its name, and offers it: a word in shared memory
 * (src/scheduler/offers.ts) and a message. Then one of these settles it, once:
 *
 * | what happens                          | then                                                |
 * |---------------------------------------|-----------------------------------------------------|
 * | `settled` comes                       | handled, or failed if its handler threw             |
 * | `declined` comes                      | it is offered to another worker                     |
 * | its worker ends, and had not begun it | it is offered to another worker                     |
 * | its worker ends, and had begun it     | offered again while tries are left, else lost       |
 * | its worker does not begin it          | taken back, when somebody else has nothing to do    |
 * | `timeoutMs` are over                  | taken back if not begun; in any case timed out      |
 * | nobody handles its name               | it waits while somebody starts, then it is unhandled|
 * | its source or the runtime closes      | taken back if nobody has begun it: cancelled        |
 * | the runtime closes                    | if it waits for another try: lost                   |
 *
 * Main has read everything that a thread posted before it hears of that thread's end
 * (worker-thread.ts), so a handler that has settled is only taken for one that has not if the thread
 * ended between the handler's last instruction and the message: with `retry` such a firing is handled
 * twice, without it is counted as lost.
 */
import { GyreError } from '../../errors.js';
import { type Handled, uncloneable } from '../../events.js';
import { inPoll } from '../../native.js';
import type { FromWorker, PostedError } from '../../protocol.js';
import { type Assigned, Assignment } from '../../scheduler/assignment.js';
import type { Rings } from '../../scheduler/neighbourhood.js';
import type { Offer, OfferGiver, Offers } from '../../scheduler/offers.js';
import type { Random } from '../../scheduler/random.js';
import type { Scoreboard } from '../../scheduler/scoreboard.js';
import type { Slots } from '../slots.js';
import { stuckMsOf, type WorkerHandle } from '../worker-handle.js';
import { Alarm } from './alarm.js';
import type { Firing, SourceBase } from './source.js';

/**
 * A worker that has not returned to its loop for so long stands still: others come first. In ms; no
 * evidence for more or less.
 */
const STILL_MS = 10;
/**
 * How soon a firing that was given to a busy worker is looked at, in ms, and how often at
 * last while it is not begun. No evidence for more or less.
 */
const LOOK_MS = 10;
const LOOK_MAX_MS = 160;
/** How often it is asked whether somebody may still come to handle what nobody does, in ms. */
const HOLD_LOOK_MS = 1_000;

/** A worker's thread that has handlers. */
export interface Recipient {
  readonly worker: WorkerHandle;
  readonly names: Set<string>;
  readonly giver: OfferGiver;
  /** By id of the firing. */
  readonly given: Map<number, Given>;
}

interface Given {
  /** Null: it has timed out, and this worker still is at work on it. */
  firing: Firing | null;
  readonly source: SourceBase;
  readonly offer: Offer;
  /** When it has timed out, in ms of `performance.now()`, as the next two. */
  readonly deadline: number;
  /** When to look whether it was begun. */
  lookAt: number;
  lookMs: number;
  /** When to look whether the worker hangs. */
  hangAt: number;
}

export interface DispatcherOptions {
  readonly slots: Slots;
  /** Of every worker that there may be, spares last. Asked once, when something first fires. */
  rings(): readonly Rings[];
  readonly scoreboard: Scoreboard;
  readonly offers: Offers;
  readonly random: Random;
  readonly hangMs: number;
}

export interface DispatcherEvents {
  /** Whether somebody is about to start who may handle what nobody else does. */
  awaitsHandler(): boolean;
  /** A firing has not been settled by `worker` for `hangMs`. */
  stalled(worker: WorkerHandle): void;
  /** The workers that handle `name` have changed. */
  changed(name: string): void;
  /** Those that collaborate under `key` have moved. */
  moved(key: string): void;
}

const NO_ONE: ReadonlySet<Recipient> = new Set();

export class Dispatcher {
  readonly #options: DispatcherOptions;
  readonly #events: DispatcherEvents;
  readonly #recipients = new Map<WorkerHandle, Recipient>();
  readonly #byName = new Map<string, Set<Recipient>>();
  /** Firings that nobody has, by name, the oldest first. */
  readonly #waiting = new Map<string, Firing[]>();
  readonly #alarm = new Alarm(() => this.#look());
  #assignment: Assignment | null = null;
  #waits = 0;
  #closed = false;

  constructor(options: DispatcherOptions, events: DispatcherEvents) {
    this.#options = options;
    this.#events = events;
  }

  /** How many firings nobody has. */
  get waiting(): number {
    return this.#waits;
  }

  get assignment(): Assignment {
    const { rings, random } = this.#options;
    this.#assignment ??= new Assignment(rings(), random);
    return this.#assignment;
  }

  /** Threads that handle `name` and may be given something, spares last. */
  recipientsOf(name: string): Recipient[] {
    const all = [...(this.#byName.get(name) ?? NO_ONE)].filter(({ worker: { state } }) => {
      return state === 'serving' || state === 'starting';
    });
    const serving = all.filter(({ worker }) => worker.state === 'serving');
    // One that starts may still wait for something that its handlers need.
    return serving.length > 0 ? serving : all;
  }

  submit(firing: Firing): void {
    if (this.#closed) this.#giveUp(firing);
    else if (!this.#hasQueue(firing.name) && this.#offer(firing)) return;
    else this.#wait(firing);
  }

  /** What nobody has ever begun of `source` is cancelled. What is to be tried again still is. */
  cancel(source: SourceBase): void {
    const isNew = (firing: Firing | null): firing is Firing =>
      firing?.source === source && firing.tries === 0;
    const queue = this.#waiting.get(source.name) ?? [];
    const mine = queue.filter(isNew);
    for (const firing of mine) queue.splice(queue.indexOf(firing), 1);
    if (queue.length === 0) this.#waiting.delete(source.name);
    for (const { giver, given } of this.#recipients.values()) {
      for (const [id, { firing, offer }] of given) {
        if (!isNew(firing) || !giver.takeBack(offer)) continue;
        given.delete(id);
        mine.push(firing);
      }
    }
    for (const firing of mine) this.#giveUp(firing);
  }

  /** What `worker` says. */
  heard(worker: WorkerHandle, message: FromWorker): void {
    switch (message.kind) {
      case 'handles':
        this.#onHandles(worker, message.name, message.on);
        break;
      case 'ready':
        for (const name of this.#recipients.get(worker)?.names ?? []) this.#events.changed(name);
        break;
      case 'settled':
        this.#onSettled(worker, message.id, message.error);
        break;
      case 'declined':
        this.#onDeclined(worker, message.id, message.offer);
    }
  }

  /** The thread of `worker` has ended, and main has heard all that it said. */
  ended(worker: WorkerHandle): void {
    const recipient = this.#recipients.get(worker);
    if (recipient === undefined) return;
    this.#recipients.delete(worker);
    for (const name of recipient.names) this.#forget(recipient, name);
    const again: Firing[] = [];
    for (const { firing, source, offer } of recipient.given.values()) {
      const begun = recipient.giver.hasBegun(offer);
      recipient.giver.free(offer); // for the next thread that has this slot
      if (firing === null) {
        source.late(-1);
        continue;
      }
      if (begun) {
        firing.tries++;
        firing.lostBy = worker;
      }
      if (begun && (firing.tries >= firing.handling.tries || this.#closed)) {
        this.#giveUp(firing);
      } else {
        firing.source.goesOn(firing, begun ? 'retried' : 'takenBack');
        again.push(firing);
      }
    }
    for (const name of recipient.names) this.#events.changed(name);
    for (const firing of again) this.submit(firing);
    this.settled();
  }

  /** Nobody starts any more: what nobody handles now, nobody will. */
  settled(): void {
    for (const name of [...this.#waiting.keys()]) this.#judge(name);
  }

  /** `worker` stands still: what it has not begun is given to others. */
  stalled(worker: WorkerHandle): void {
    const recipient = this.#recipients.get(worker);
    if (recipient === undefined) return;
    for (const given of [...recipient.given.values()]) this.#lookAtUnbegun(recipient, given);
  }

  /** Nothing is begun any more. What workers have goes on. */
  close(): void {
    this.#closed = true;
    for (const [name, queue] of [...this.#waiting]) {
      this.#waiting.delete(name);
      for (const firing of queue) this.#giveUp(firing);
    }
    for (const { worker } of this.#recipients.values()) worker.send({ kind: 'no-more-events' });
  }

  /** Every thread has ended, or is lost: nobody waits for what such a one has. */
  end(): void {
    for (const worker of [...this.#recipients.keys()]) this.ended(worker);
    this.#alarm.close();
  }

  #onHandles(worker: WorkerHandle, name: string, on: boolean): void {
    let recipient = this.#recipients.get(worker);
    if (!on) {
      if (recipient === undefined || !recipient.names.delete(name)) return;
      this.#forget(recipient, name);
      this.#judge(name);
    } else {
      if (recipient === undefined) {
        const giver = this.#options.offers.giver(worker.slot);
        recipient = { worker, giver, names: new Set(), given: new Map() };
        this.#recipients.set(worker, recipient);
        if (this.#closed) worker.send({ kind: 'no-more-events' });
      }
      recipient.names.add(name);
      const all = this.#byName.get(name);
      if (all === undefined) this.#byName.set(name, new Set([recipient]));
      else all.add(recipient);
      this.#next([name]);
    }
    this.#events.changed(name);
  }

  #forget(recipient: Recipient, name: string): void {
    const all = this.#byName.get(name);
    all?.delete(recipient);
    if (all?.size === 0) this.#byName.delete(name);
  }

  #onSettled(worker: WorkerHandle, id: number, error: PostedError | null): void {
    const recipient = this.#recipients.get(worker);
    const given = recipient?.given.get(id);
    if (recipient === undefined || given === undefined) return;
    recipient.given.delete(id);
    recipient.giver.free(given.offer);
    const { firing } = given;
    if (firing !== null) {
      firing.tries++;
      const handled: Handled = { worker: worker.index, tries: firing.tries };
      if (error === null) this.#settle(firing, { what: 'handled', handled });
      else this.#settle(firing, { what: 'failed', error: failed(firing, worker, error) });
    } else {
      given.source.late(-1);
    }
    this.#next(recipient.names);
  }

  #onDeclined(worker: WorkerHandle, id: number, { number }: Offer): void {
    const recipient = this.#recipients.get(worker);
    const given = recipient?.given.get(id);
    // Taken back already, and perhaps given to the same worker again.
    if (recipient === undefined || given?.offer.number !== number) return;
    this.#takeBack(recipient, given);
  }

  /** Gives an offer that was not begun to somebody else. */
  #takeBack(recipient: Recipient, { firing, offer }: Given): void {
    if (firing === null || !recipient.giver.takeBack(offer)) return;
    recipient.given.delete(firing.id);
    firing.source.goesOn(firing, 'takenBack');
    this.submit(firing);
  }

  /** Nobody handles it any more: it is lost if somebody ended at it, else cancelled. */
  #giveUp(firing: Firing): void {
    const { lostBy } = firing;
    if (lostBy === null) this.#settle(firing, { what: 'cancelled', error: closed(firing) });
    else this.#settle(firing, { what: 'lost', error: lost(firing, lostBy) });
  }

  #settle(firing: Firing, outcome: Parameters<SourceBase['settled']>[1]): void {
    this.#setWaits(firing, false);
    firing.source.settled(firing, outcome);
  }

  #setWaits(firing: Firing, waits: boolean): void {
    if (firing.waits === waits) return;
    firing.waits = waits;
    const by = waits ? 1 : -1;
    firing.source.waiting += by;
    this.#waits += by;
  }

  #hasQueue(name: string): boolean {
    return this.#waiting.has(name);
  }

  #wait(firing: Firing): void {
    this.#setWaits(firing, true);
    const queue = this.#waiting.get(firing.name);
    if (queue === undefined) this.#waiting.set(firing.name, [firing]);
    else queue.push(firing);
    this.#judge(firing.name);
  }

  /** Ends the waiting for `name` if nobody handles it, and nobody is about to. */
  #judge(name: string): void {
    const queue = this.#waiting.get(name);
    if (queue === undefined || this.recipientsOf(name).length > 0) return;
    if (this.#events.awaitsHandler()) {
      this.#alarm.by(performance.now() + HOLD_LOOK_MS);
      return;
    }
    this.#waiting.delete(name);
    for (const firing of queue) {
      this.#settle(firing, { what: 'unhandled', error: unhandled(firing) });
    }
  }

  /** Somebody may have room again for what waits under one of `names`. */
  #next(names: Iterable<string>): void {
    if (this.#waiting.size === 0) return;
    for (const name of names) {
      const queue = this.#waiting.get(name);
      if (queue === undefined) continue;
      let given = 0;
      while (given < queue.length && this.#offer(queue[given] as Firing)) given++;
      queue.splice(0, given);
      // Whoever was settled meanwhile may have put something into a queue of its own.
      if (queue.length === 0 && this.#waiting.get(name) === queue) this.#waiting.delete(name);
    }
  }

  /** Those who could be given `firing`, by index of the worker. */
  #candidates(firing: Firing): ReadonlyMap<number, Recipient> {
    const { slots } = this.#options;
    const all = this.recipientsOf(firing.name).filter(({ giver }) => giver.room > 0);
    const workers = all.filter(({ worker }) => !slots.isSpare(worker.slot));
    const awake = workers.some((recipient) => !this.#standsStill(recipient));
    return new Map((awake ? workers : all).map((each) => [each.worker.index, each]));
  }

  #standsStill({ worker }: Recipient): boolean {
    return stuckMsOf(worker) >= STILL_MS;
  }

  /** Events that it has outstanding: firings, and what its loop has. */
  #outstanding({ worker, given }: Recipient): number {
    const { wakeId, slot } = worker;
    const asleep = wakeId === null || inPoll(wakeId);
    return given.size + (asleep ? 0 : Math.max(1, this.#options.scoreboard.outstanding(slot)));
  }

  #choose(firing: Firing): { recipient: Recipient; assigned: Assigned } | null {
    const candidates = this.#candidates(firing);
    const at = (index: number) => candidates.get(index) as Recipient;
    const assigned = this.assignment.choose(firing.handling.collaborates, {
      candidates: [...candidates.keys()],
      outstanding: (index) => this.#outstanding(at(index)),
      standsStill: (index) => this.#standsStill(at(index)),
    });
    return assigned && { recipient: at(assigned.worker), assigned };
  }

  /** Offers `firing` to whoever is placed best. False if there is nobody with room for it. */
  #offer(firing: Firing): boolean {
    const chosen = this.#choose(firing);
    if (chosen === null) return false;
    const { recipient, assigned } = chosen;
    const idle = this.#outstanding(recipient) === 0;
    const offer = recipient.giver.offer();
    if (offer === null) return false;
    const { id, source, name, handling, payload, tries } = firing;
    try {
      recipient.worker.send({
        ...{ kind: 'event', id, offer, source: source.id, event: source.kind, name },
        ...{ attempt: tries + 1, payload },
      });
    } catch (error) {
      recipient.giver.free(offer);
      this.#settle(firing, { what: 'failed', error: notPosted(firing, error) });
      return true;
    }
    this.#setWaits(firing, false);
    const key = handling.collaborates;
    if (this.assignment.given(key, assigned) && key !== null) this.#events.moved(key);
    const now = performance.now();
    const { hangMs } = this.#options;
    const given: Given = {
      ...{ firing, source, offer, lookMs: LOOK_MS },
      deadline: now + handling.timeoutMs,
      // One that sleeps begins at once; should it not, the governor notices: see stalled().
      lookAt: idle ? Number.POSITIVE_INFINITY : now + LOOK_MS,
      hangAt: hangMs === 0 ? Number.POSITIVE_INFINITY : now + hangMs,
    };
    recipient.given.set(id, given);
    this.#alarm.by(nextLook(given));
    return true;
  }

  #lookAtUnbegun(recipient: Recipient, given: Given): void {
    const { firing, offer } = given;
    if (firing === null || recipient.giver.hasBegun(offer)) {
      given.lookAt = Number.POSITIVE_INFINITY;
      return;
    }
    const other = this.#choose(firing)?.recipient;
    if (other !== undefined && other !== recipient && this.#outstanding(other) === 0) {
      this.#takeBack(recipient, given);
      return;
    }
    given.lookAt = performance.now() + given.lookMs;
    given.lookMs = Math.min(2 * given.lookMs, LOOK_MAX_MS);
    this.#alarm.by(given.lookAt);
  }

  #look(): number {
    const now = performance.now();
    let next = Number.POSITIVE_INFINITY;
    for (const recipient of [...this.#recipients.values()]) {
      for (const given of [...recipient.given.values()]) {
        if (given.deadline <= now) this.#timeOut(recipient, given);
        if (given.hangAt <= now) {
          given.hangAt = now + this.#options.hangMs;
          this.#events.stalled(recipient.worker);
          this.#lookAtUnbegun(recipient, given);
        }
        if (given.lookAt <= now) this.#lookAtUnbegun(recipient, given);
        next = Math.min(next, nextLook(given));
      }
    }
    this.settled();
    return this.#waiting.size > 0 ? Math.min(next, now + HOLD_LOOK_MS) : next;
  }

  #timeOut(recipient: Recipient, given: Given): void {
    const { firing, source } = given;
    if (firing === null) return;
    given.firing = null;
    if (recipient.giver.takeBack(given.offer)) {
      recipient.given.delete(firing.id);
    } else {
      source.late(1);
      recipient.worker.send({ kind: 'abandon', id: firing.id });
    }
    this.#settle(firing, { what: 'timedOut', error: timedOut(firing, recipient.worker) });
  }
}

function nextLook({ firing, deadline, lookAt, hangAt }: Given): number {
  return firing === null ? hangAt : Math.min(deadline, lookAt, hangAt);
}

function quoted({ name }: Firing): string {
  return JSON.stringify(name);
}

function closed(firing: Firing): GyreError {
  return new GyreError('ERR_GYRE_CLOSED', `${quoted(firing)} was closed before a worker began it`);
}

function unhandled(firing: Firing): GyreError {
  return new GyreError(
    'ERR_GYRE_EVENT_UNHANDLED',
    `${quoted(firing)} has fired, and no worker has a handler for it`,
  );
}

function lost(firing: Firing, worker: WorkerHandle): GyreError {
  const tries = firing.tries === 1 ? '' : ` in try ${firing.tries}`;
  return new GyreError(
    'ERR_GYRE_EVENT_LOST',
    `worker ${worker.index} ended while it handled ${quoted(firing)}${tries}`,
    { worker: worker.index },
  );
}

function timedOut(firing: Firing, worker: WorkerHandle): GyreError {
  return new GyreError(
    'ERR_GYRE_EVENT_TIMEOUT',
    `worker ${worker.index} has not handled ${quoted(firing)} within ${firing.handling.timeoutMs} ms`,
    { worker: worker.index },
  );
}

function failed(firing: Firing, worker: WorkerHandle, error: PostedError): GyreError {
  return new GyreError(
    'ERR_GYRE_EVENT_FAILED',
    `the handler of ${quoted(firing)} in worker ${worker.index} failed: ${textOf(error)}`,
    { worker: worker.index, cause: received(error) },
  );
}

/** What was thrown in a worker, with the code that it had there. */
export function received({ value, code }: PostedError): unknown {
  return code !== null && value instanceof Error ? Object.assign(value, { code }) : value;
}

export function textOf({ value }: PostedError): string {
  return value instanceof Error ? value.message : String(value);
}

/** It was cloned before, so it can be posted; but for an object of which nobody has thought. */
function notPosted(firing: Firing, error: unknown): GyreError {
  try {
    return uncloneable(firing.name, error);
  } catch (coded) {
    return coded as GyreError;
  }
}
