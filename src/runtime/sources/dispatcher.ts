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
import { type Handled, uncloneable } from '../../events.js';
import { inPoll } from '../../native.js';
import type { FromWorker, PostedError } from '../../protocol.js';
import { type Assigned, Assignment } from '../../scheduler/assignment.js';
import type { Rings } from '../../scheduler/neighbourhood.js';
import type { Offer, Offers } from '../../scheduler/offers.js';
import type { Random } from '../../scheduler/random.js';
import type { Scoreboard } from '../../scheduler/scoreboard.js';
import type { Slots } from '../slots.js';
import { stuckMsOf, type WorkerHandle } from '../worker-handle.js';
import { Alarm } from './alarm.js';
import { failedIn, lostWith, neverBegun, timedOutIn, unhandled } from './firing-errors.js';
import { type Given, type Recipient, Recipients } from './recipients.js';
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

export class Dispatcher {
  readonly #options: DispatcherOptions;
  readonly #events: DispatcherEvents;
  readonly #recipients: Recipients;
  /** Firings that nobody has, by name, the oldest first. */
  readonly #waiting = new Map<string, Firing[]>();
  readonly #alarm = new Alarm(() => this.#look());
  #assignment: Assignment | null = null;
  #waits = 0;
  #closed = false;

  constructor(options: DispatcherOptions, events: DispatcherEvents) {
    this.#options = options;
    this.#events = events;
    this.#recipients = new Recipients(options.offers);
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

  /** {@link Recipients.of} */
  recipientsOf(name: string): Recipient[] {
    return this.#recipients.of(name);
  }

  submit(firing: Firing): void {
    if (this.#closed) this.#giveUp(firing);
    else if (!this.#waiting.has(firing.name) && this.#offer(firing)) return;
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
    for (const { giver, given } of this.#recipients.all) {
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
        for (const name of this.#recipients.at(worker)?.names ?? []) this.#events.changed(name);
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
    const recipient = this.#recipients.delete(worker);
    if (recipient === undefined) return;
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
        firing.source.goesOn(begun ? 'retried' : 'takenBack');
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
    const recipient = this.#recipients.at(worker);
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
    for (const { worker } of this.#recipients.all) worker.send({ kind: 'no-more-events' });
  }

  /** Every thread has ended, or is lost: nobody waits for what such a one has. */
  end(): void {
    for (const { worker } of this.#recipients.all) this.ended(worker);
    this.#alarm.close();
  }

  #onHandles(worker: WorkerHandle, name: string, on: boolean): void {
    if (!on) {
      if (!this.#recipients.remove(worker, name)) return;
      this.#judge(name);
    } else {
      const isNew = this.#recipients.add(worker, name);
      if (isNew && this.#closed) worker.send({ kind: 'no-more-events' });
      this.#next([name]);
    }
    this.#events.changed(name);
  }

  #onSettled(worker: WorkerHandle, id: number, error: PostedError | null): void {
    const recipient = this.#recipients.at(worker);
    const given = recipient?.given.get(id);
    if (recipient === undefined || given === undefined) return;
    recipient.given.delete(id);
    recipient.giver.free(given.offer);
    const { firing } = given;
    if (firing !== null) {
      firing.tries++;
      const handled: Handled = { worker: worker.index, tries: firing.tries };
      if (error === null) this.#settle(firing, { what: 'handled', handled });
      else
        this.#settle(firing, { what: 'failed', error: failedIn(worker.index, firing.name, error) });
    } else {
      given.source.late(-1);
    }
    this.#next(recipient.names);
  }

  #onDeclined(worker: WorkerHandle, id: number, { number }: Offer): void {
    const recipient = this.#recipients.at(worker);
    const given = recipient?.given.get(id);
    // Taken back already, and perhaps given to the same worker again.
    if (recipient === undefined || given?.offer.number !== number) return;
    this.#takeBack(recipient, given);
  }

  /** Gives an offer that was not begun to somebody else. */
  #takeBack(recipient: Recipient, { firing, offer }: Given): void {
    if (firing === null || !recipient.giver.takeBack(offer)) return;
    recipient.given.delete(firing.id);
    firing.source.goesOn('takenBack');
    this.submit(firing);
  }

  /** Nobody handles it any more: it is lost if somebody ended at it, else cancelled. */
  #giveUp(firing: Firing): void {
    const { lostBy, name, tries } = firing;
    if (lostBy === null) this.#settle(firing, { what: 'cancelled', error: neverBegun(name) });
    else this.#settle(firing, { what: 'lost', error: lostWith(lostBy.index, name, tries) });
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
      this.#settle(firing, { what: 'unhandled', error: unhandled(name) });
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
      // It was cloned before, so it can be posted; but for an object of which nobody has thought.
      this.#settle(firing, { what: 'failed', error: uncloneable(name, error) });
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
    for (const recipient of this.#recipients.all) {
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
    const { name, handling } = firing;
    const error = timedOutIn(recipient.worker.index, name, handling.timeoutMs);
    this.#settle(firing, { what: 'timedOut', error });
  }
}

function nextLook({ firing, deadline, lookAt, hangAt }: Given): number {
  return firing === null ? hangAt : Math.min(deadline, lookAt, hangAt);
}
