/**
 * The governor: a thread without user code that makes moves on behalf of workers
 * which cannot make their own, because they stand still. That thread's loop only (governor-bootstrap.ts).
 * It never waits, but for a worker to reach its safepoint: PAUSE_TIMEOUT_US at most.
 *
 * A watcher (native/watcher.h) wakes it when a worker is stuck in something while events wait
 * for it. What the worker is doing then counts as one of its events, so a worker with one
 * connection waiting behind a long callback has two and may give one.
 *
 * Spares are the outermost gyre: a worker's connections go there when all workers stand
 * still. When there is no spare yet, main is asked for one.
 *
 * It also sees to it that pins give way to other processes (src/workers/soft-pins.ts).
 */
import {
  createWatcher,
  FROM_MAIL,
  FROM_QUEUE,
  inPoll,
  installSafepoint,
  type NativeQuota,
  type NativeShared,
  peek,
  type Ready,
  stuckMs,
  take,
  type Watcher,
} from '../native.js';
import type { FromGovernor, GovernorInit } from '../protocol.js';
import { ConnectionTable, nativeTable } from '../scheduler/connection-table.js';
import { Hands } from '../scheduler/hands.js';
import { Capacity } from '../scheduler/limits.js';
import { Mailboxes, nativeMail } from '../scheduler/mailbox.js';
import { chooseMove, type Move } from '../scheduler/move.js';
import { type Rings, withSpares } from '../scheduler/neighbourhood.js';
import { PLACES_MAX } from '../scheduler/places.js';
import { below, type Random, seededRandom } from '../scheduler/random.js';
import { Scoreboard } from '../scheduler/scoreboard.js';
import { SAMPLE_MS } from '../scheduler/widening.js';
import { Outbox, type Sent } from './outbox.js';
import { SoftPins } from './soft-pins.js';

/**
 * How long a worker may take to reach its handler before the governor gives up. It takes
 * tens of µs if it has its CPU, and its turn if it shares it with a spare: Linux lets the other
 * run for some 3 ms. One that sleeps uninterruptibly would take for ever.
 */
const PAUSE_TIMEOUT_US = 8_000;

/** Most reports for which a worker is left alone after pauses in which nothing could be taken. */
const BACKOFF_MAX = 64;

/**
 * Reports in a row, that is ticks, in which all workers stand still and something waits, before
 * a spare is asked for. Starting one takes some 50 ms of CPU, and a collection of garbage
 * seldom stops a worker for longer than this.
 */
const WISHES_MIN = 10;

/** Pauses in vain after which a worker that is to be emptied is left as it is. */
const EVACUATION_TRIES = 100;

/**
 * How often, and how long each time, it waits for room in a mailbox: whoever receives may have to wait for its CPU. Nobody
 * else is rescued meanwhile. No evidence for more or less.
 */
const ROOM_WAITS = 250;
const ROOM_MS = 1;

/** Entries of the connection table that one pause looks at: kIdleScanMax in native/taking.h. */
const IDLE_SCAN = 1_024;

/** Idle connections are looked for from a random descriptor below this on. */
const CHAOS_DESCRIPTORS = 128;

/** What the governor knows of one worker. */
interface Victim {
  /** Whom it may give to. */
  readonly rings: Rings;
  /** Moves that it made through the governor, and that count when it last gave to r. */
  rounds: number;
  readonly gave: number[];
  /** Reports for which it is left alone, now and after the next pause in vain. */
  rest: number;
  backoff: number;
  /** Its heartbeat when main was last told that it stands still. */
  told: number;
}

export class Governor {
  readonly #init: GovernorInit;
  readonly #shared: NativeShared;
  readonly #outbox: Outbox;
  readonly #victims: readonly Victim[];
  readonly #random: Random;
  readonly #watcher: Watcher;
  readonly #board: Scoreboard;
  readonly #capacity: Capacity;
  /** Null where pins do not give way. */
  readonly #pins: SoftPins | null;
  readonly #hands: Hands;
  readonly #stats = new Float64Array(3);
  readonly #send: (message: FromGovernor) => void;
  /** What each worker had ready when it was last looked at; null: not looked at now. */
  #ready: (Ready | null)[] = [];
  /** Nobody writes it: to wait for a while. */
  readonly #rest = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  /** Main is starting a spare. */
  #asked = false;
  /** Reports in a row in which one more spare would have helped. */
  #wishes = 0;
  #wished = false;

  constructor(init: GovernorInit, send: (message: FromGovernor) => void) {
    this.#init = init;
    this.#send = send;
    const connections = ConnectionTable.attach(init.table);
    const mailboxes = Mailboxes.attach(init.mailboxes);
    this.#shared = { table: nativeTable(connections), mail: nativeMail(mailboxes) };
    this.#board = Scoreboard.attach(init.scoreboard);
    this.#capacity = new Capacity(this.#board, init.rings.length, init.limits);
    this.#hands = Hands.attach(init.hands);
    this.#outbox = new Outbox({
      ...{ mailboxes, giver: mailboxes.governor, board: this.#board, table: connections },
      left: (worker) => send({ kind: 'left', worker }),
    });
    const slots = mailboxes.workers;
    this.#victims = withSpares(init.rings, slots).map((rings) => ({
      ...{ rings, rounds: 0, gave: new Array(slots).fill(0) },
      ...{ rest: 0, backoff: 1, told: -1 },
    }));
    this.#random = seededRandom(init.seed);
    installSafepoint();
    this.#pins =
      init.softPins === null
        ? null
        : new SoftPins(init.softPins, this.#board, (repinning) =>
            send({ kind: 'repinned', ...repinning }),
          );
    this.#watcher = createWatcher(
      slots,
      init.tickMs * 1000,
      () => this.#onStall(),
      this.#pins === null ? 0 : SAMPLE_MS * 1000,
      () => this.#pins?.sample(),
    );
  }

  /** The loop of `worker` is `peer` from now on; 0: it has none. */
  watch(worker: number, peer: number): void {
    this.#watcher.set(worker, peer);
    this.#pins?.watch(worker, peer);
    if (worker >= this.#init.rings.length) this.#asked = false;
  }

  stop(): void {
    this.#watcher.stop();
  }

  #onStall(): void {
    this.#ready = [];
    this.#wished = false;
    for (let worker = 0; worker < this.#victims.length; worker++) {
      if (!this.#watcher.stalled(worker) || this.#board.peer(worker) === 0) continue;
      this.#tell(worker);
      this.#rescue(worker);
    }
    this.#wishes = this.#wished ? this.#wishes + 1 : 0;
    if (this.#wishes >= WISHES_MIN) this.#wantSpare();
    this.#watcher.continue();
  }

  /** Once for each time that it stands still for long. */
  #tell(worker: number): void {
    const victim = this.#victims[worker] as Victim;
    const heartbeat = this.#board.heartbeat(worker);
    const stuck = stuckMs(this.#board.peer(worker));
    if (heartbeat === victim.told || stuck < this.#init.stalledMs) return;
    victim.told = heartbeat;
    const { movable = 0, queued = 0, mail = 0, other = 0 } = this.#look(worker) ?? {};
    const waits = movable + queued + mail + other > 0;
    this.#send({ kind: 'stalled', worker, heartbeat, waits });
  }

  /**
   * Takes everything that can move from `worker`, whose thread is about to be ended. Idle
   * connections are found by their descriptors, a stretch at each pause.
   */
  evacuate(worker: number): void {
    let taken = 0;
    const { batchMax } = this.#init;
    const end = this.#board.peer(worker) === 0 ? 0 : this.#board.fdEnd(worker);
    this.#ready = [];
    // On a full machine it may take a while until the thread has a CPU to be paused on.
    let tries = EVACUATION_TRIES;
    let waits = ROOM_WAITS;
    for (let fd = 0; fd < end; fd += IDLE_SCAN) {
      let more = true;
      while (more && tries > 0) {
        const recipient = this.#leastLoaded(worker);
        if (recipient === null) {
          if (waits > 0 && this.#anybodyReceives(worker)) {
            Atomics.wait(this.#rest, 0, 0, ROOM_MS);
            waits--;
          } else tries--;
          continue;
        }
        const asked = Math.min(batchMax, this.#outbox.room(recipient));
        const made = this.#make(worker, recipient, asked, { idleFrom: fd, ends: true });
        if (made < 0) tries--;
        else taken += made;
        more = made < 0 || made === asked;
      }
    }
    this.#send({ kind: 'evacuated', worker, taken });
  }

  #anybodyReceives(except: number): boolean {
    return this.#victims.some((_, worker) => worker !== except && this.#board.receives(worker));
  }

  #leastLoaded(except: number): number | null {
    let best: number | null = null;
    for (let worker = 0; worker < this.#victims.length; worker++) {
      if (worker === except || !this.#board.receives(worker) || this.#outbox.room(worker) === 0) {
        continue;
      }
      const fewer = (other: number) =>
        this.#board.connections(worker) < this.#board.connections(other);
      if (best === null || fewer(best)) best = worker;
    }
    return best;
  }

  #rescue(worker: number): void {
    const victim = this.#victims[worker] as Victim;
    if (victim.rest > 0) {
      victim.rest--;
      this.#wished ||= this.#nobodyAccepts();
      return;
    }
    const ready = this.#look(worker);
    if (ready === null) return;
    const waiting = ready.movable + ready.queued + ready.mail;
    if (waiting === 0) return;
    const move = chooseMove({
      giver: worker,
      events: waiting + 1, // and the one that it is busy with
      rings: victim.rings,
      outstanding: (other) => this.#outstanding(other),
      roundsSinceGave: (other) => victim.rounds + 1 - (victim.gave[other] as number),
      accepts: (other) => this.#accepts(other),
      random: this.#random,
    });
    if (move === null) {
      this.#wished ||= this.#nobodyAccepts();
      return;
    }
    victim.rounds++;
    victim.gave[move.recipient] = victim.rounds;
    const taken = this.#make(worker, move.recipient, move.count);
    if (this.#init.trace && taken > 0) this.#trace(worker, waiting + 1, move, taken);
    victim.backoff = taken > 0 ? 1 : Math.min(2 * victim.backoff, BACKOFF_MAX);
    victim.rest = victim.backoff - 1;
  }

  #trace(from: number, events: number, move: Move, moved: number): void {
    const { recipient: to, outstanding, roundsSinceGave, candidates, best } = move;
    const pauseUs = (this.#stats[2] ?? 0) / 1e3;
    this.#send({
      kind: 'moved',
      move: {
        ...{ from, to, reason: 'rescue', events, moved, pauseUs },
        ...{ outstanding, roundsSinceGave, candidates, best },
      },
    });
  }

  #wantSpare(): void {
    if (this.#asked) return;
    // One after the other: whoever loads the program now may be enough.
    const loads = (spare: number) => this.#board.peer(spare) !== 0 && !this.#board.receives(spare);
    for (let spare = this.#init.rings.length; spare < this.#victims.length; spare++) {
      if (loads(spare)) return;
    }
    for (let spare = this.#init.rings.length; spare < this.#victims.length; spare++) {
      if (this.#board.peer(spare) !== 0) continue;
      this.#asked = true;
      this.#wishes = 0;
      this.#send({ kind: 'want-spare' });
      return;
    }
  }

  /** Main cannot give it one now. */
  refused(): void {
    this.#asked = false;
  }

  /**
   * For tests: one move of somebody's connections, ready or idle, to somebody else, with
   * no reason at all. Whatever is wrong with moving shows soonest under this.
   */
  chaos(): void {
    const workers = this.#victims.length;
    const victim = below(this.#random, workers);
    const recipient = below(this.#random, workers);
    if (victim === recipient || !this.#board.receives(recipient)) return;
    if (this.#board.peer(victim) === 0) return;
    const count = 1 + below(this.#random, this.#init.batchMax);
    this.#make(victim, recipient, count, { idleFrom: below(this.#random, CHAOS_DESCRIPTORS) });
  }

  /**
   * Returns how much was taken, or -1 if the victim was not paused.
   *
   * @param how from which descriptor on idle connections are taken, too; and whether the victim is about to be
   *   ended: then it is told of nothing, as it would not hear, and its mailbox would be full soon. What is left under the
   *   old numbers says nothing to it, ends with it, and is counted as taken.
   */
  #make(
    victim: number,
    recipient: number,
    wanted: number,
    { idleFrom = -1, ends = false }: { readonly idleFrom?: number; readonly ends?: boolean } = {},
  ): number {
    const row = this.#board.governor(victim);
    const { batchMax } = this.#init;
    const drops = ends ? batchMax : this.#outbox.room(victim);
    const room = Math.min(this.#outbox.room(recipient), drops);
    const max = Math.min(wanted, batchMax, room);
    const taken = max === 0 ? -1 : this.#take(victim, recipient, max, idleFrom);
    if (taken < 0) {
      row.refused();
      return -1;
    }
    const [mismatches = 0, failures = 0, pauseNs = 0] = this.#stats;
    row.paused(recipient, { taken, mismatches, failures, us: pauseNs / 1000 });
    let connections = 0;
    for (let i = 0; i < taken; i++) {
      const { kind, fd, oldFd, listener, generation, boundary } = this.#hands.at(i);
      const hand = this.#hands.hand(i);
      // There is room: it was checked above, and nobody else puts into these rings.
      if (oldFd === FROM_MAIL) {
        this.#outbox.forward(recipient, { kind, fd, listener, generation, boundary }, hand);
        continue;
      }
      this.#outbox.connection(recipient, kind as Sent, { fd, listener, boundary }, hand);
      if (oldFd === FROM_QUEUE || ends) continue;
      this.#outbox.drop(victim, oldFd, generation);
      connections++;
    }
    this.#hands.empty();
    if (taken === 0) return 0;
    this.#outbox.deliver(recipient);
    if (connections > 0) this.#outbox.deliver(victim);
    this.#ready[victim] = null;
    this.#ready[recipient] = null;
    return taken;
  }

  /** What `victim` may lose to `recipient`, and where that is counted. */
  #quota(victim: number, recipient: number): NativeQuota {
    return {
      ...{ words: this.#board.words, ...this.#board.countsOf(victim) },
      placesMax: this.#capacity.placesMax,
      acceptMax: Math.min(this.#capacity.room(recipient), PLACES_MAX),
    };
  }

  /** From the moment in which they are taken on they are in its hands. */
  #take(victim: number, recipient: number, max: number, idleFrom: number): number {
    const peer = this.#board.peer(victim);
    const quota = this.#quota(victim, recipient);
    const { neverFd } = this.#watcher;
    const { entries } = this.#hands;
    this.#hands.victim = victim;
    return this.#hands.hold(() =>
      take(
        ...([peer, victim, this.#shared, neverFd, max, quota] as const),
        ...([PAUSE_TIMEOUT_US, idleFrom, entries, this.#stats] as const),
      ),
    );
  }

  #look(worker: number): Ready | null {
    this.#ready[worker] ??= peek(this.#board.peer(worker), worker, this.#shared);
    return this.#ready[worker] ?? null;
  }

  #outstanding(worker: number): number {
    const ready = this.#look(worker);
    if (ready === null) return Number.POSITIVE_INFINITY;
    const busy = inPoll(this.#board.peer(worker)) ? 0 : 1;
    return ready.movable + ready.queued + ready.mail + ready.other + busy;
  }

  /** Whether every worker stands still, spares not counted. */
  #nobodyAccepts(): boolean {
    return !this.#init.rings.some((_, worker) => this.#accepts(worker));
  }

  /** Not one that stands still, even if nothing waits for it yet. */
  #accepts(worker: number): boolean {
    return this.#board.receives(worker) && !this.#watcher.still(worker);
  }
}
