/**
 * What the simulated workers' rounds and the governor have in common: who may be given how much,
 * what asking costs, and the connections on their way. Decides with the scheduler's own code.
 */
import { chooseMove, type Move } from '../../src/scheduler/move.js';
import type { Rings } from '../../src/scheduler/neighbourhood.js';
import type { Random } from '../../src/scheduler/random.js';
import type { Clock } from './clock.js';
import type { Connection } from './connection.js';
import type { Machine } from './machine.js';
import { DISTANCES } from './topology.js';
import type { Worker } from './worker.js';

export const IDLE_CORES = ['ignored', 'in-ring', 'anywhere'] as const;

/** How rings are searched. What is not the scheduler's way is done to the rings that it is given. */
export interface Search {
  /** See src/scheduler/move.ts. */
  readonly candidatesMax: number;
  /** Whether workers on idle cores come before those whose core is busy: in each ring, or in all. */
  readonly idleCores: (typeof IDLE_CORES)[number];
  /** Rings but the outermost in which a smaller share sleeps are passed over. */
  readonly reserve: number;
}

export interface Costs {
  /** CPU time to ask one candidate in a ring. */
  readonly askMs: number;
  /** Of the recipient for each connection from beyond its cache, and more from beyond its node. */
  readonly coldMs: number;
  readonly remoteMs: number;
}

export interface Tally {
  moves: number;
  movedToSpares: number;
  connections: number;
  pauses: number;
  rounds: number;
  givenBack: number;
  /** CPU time of the governor. */
  governorMs: number;
  /** Connections moved from worker to worker, by how far. A spare is nowhere. */
  readonly byDistance: number[];
}

export interface Surroundings {
  readonly clock: Clock;
  readonly machine: Machine;
  readonly random: Random;
  /** Workers, and after the first `regular` of them the spares. */
  readonly workers: readonly Worker[];
  readonly regular: number;
  /** Of the workers, spares not counted. */
  readonly rings: readonly Rings[];
  /** Workers so that those which are near to each other adjoin. */
  readonly order: readonly number[];
  /** Position in DISTANCES of what two workers share. */
  distance(from: number, to: number): number;
  /** Something waits for `worker`. */
  notice(worker: number): void;
}

const CACHE = DISTANCES.indexOf('cache');
const NODE = DISTANCES.indexOf('node');

/** What a worker has outstanding, with what it is at. */
export function outstanding({ ready, mail, inPoll }: Worker): number {
  return ready.length + mail.length + (inPoll ? 0 : 1);
}

/** Rings of the workers and of the spares, which are near to nobody. */
export function ringsWithSpares({ workers, regular, rings }: Surroundings): readonly Rings[] {
  const indices = workers.map(({ index }) => index);
  const spares = indices.slice(regular);
  return indices.map((index) => [
    ...(rings[index] ?? [indices.slice(0, regular)]),
    spares.filter((spare) => spare !== index),
  ]);
}

/** Somebody who chooses, and remembers whom which giver gave to. */
export class Chooser {
  readonly #at: Surroundings;
  readonly #search: Search & Costs;
  readonly #rings: readonly Rings[];
  /** Moves of each giver, and which of them was the last to whom. */
  readonly #rounds: number[];
  readonly #gave: readonly Map<number, number>[];
  /** CPU time of what was asked since this was last taken. */
  #costMs = 0;

  constructor(search: Search & Costs, rings: readonly Rings[], at: Surroundings) {
    this.#at = at;
    this.#search = search;
    this.#rings = rings;
    this.#rounds = rings.map(() => 0);
    this.#gave = rings.map(() => new Map());
  }

  takeCostMs(): number {
    const ms = this.#costMs;
    this.#costMs = 0;
    return ms;
  }

  /** The move of `giver`, if there is one. */
  choose(
    giver: number,
    events: number,
    accepts: (worker: number) => boolean,
    count: (worker: number) => number,
  ): Move | null {
    const move = chooseMove({
      ...{ giver, events },
      rings: this.#ringsOf(giver),
      outstanding: count,
      roundsSinceGave: (worker) => this.roundsSinceGave(giver, worker),
      accepts: (worker) => {
        this.#costMs += this.#search.askMs;
        return accepts(worker);
      },
      random: this.#at.random,
      candidatesMax: this.#search.candidatesMax,
    });
    if (move !== null) this.gave(giver, [move.recipient]);
    return move;
  }

  roundsSinceGave(giver: number, worker: number): number {
    return (this.#rounds[giver] as number) + 1 - (this.#gave[giver]?.get(worker) ?? 0);
  }

  /** In one move. */
  gave(giver: number, recipients: readonly number[]): void {
    const round = (this.#rounds[giver] as number) + 1;
    this.#rounds[giver] = round;
    for (const recipient of recipients) this.#gave[giver]?.set(recipient, round);
  }

  #ringsOf(giver: number): Rings {
    const { idleCores, reserve } = this.#search;
    const { regular, workers, machine } = this.#at;
    let rings = this.#rings[giver] as Rings;
    if (reserve > 0) {
      const isOpen = (ring: readonly number[]) =>
        ring.filter((worker) => workers[worker]?.inPoll).length >= reserve * ring.length;
      const isSpares = (ring: readonly number[]) => (ring[0] ?? regular) >= regular;
      const outermost = rings.findLastIndex((ring) => !isSpares(ring));
      rings = rings.filter((ring, at) => at >= outermost || isOpen(ring));
    }
    if (idleCores === 'ignored') return rings;
    const isCrowded = (worker: number) => machine.isCrowded((workers[worker] as Worker).thread);
    const alone = rings.map((ring) => ring.filter((worker) => !isCrowded(worker)));
    const crowded = rings.map((ring) => ring.filter(isCrowded));
    if (idleCores === 'anywhere') return [...alone, ...crowded];
    return alone.flatMap((ring, at) => [ring, crowded[at] as number[]]);
  }
}

/** Carries connections, and counts them. */
export class Carrier {
  readonly tally: Tally = {
    ...{ moves: 0, movedToSpares: 0, connections: 0, pauses: 0, rounds: 0 },
    ...{ givenBack: 0, governorMs: 0 },
    byDistance: DISTANCES.map(() => 0),
  };
  readonly #costs: Costs;
  readonly #at: Surroundings;
  /** What each worker and spare owns, and what is on its way to it. */
  readonly #held: readonly Set<Connection>[];

  constructor(costs: Costs, at: Surroundings, connections: readonly Connection[]) {
    this.#costs = costs;
    this.#at = at;
    this.#held = at.workers.map(() => new Set());
    for (const connection of connections) this.#held[connection.owner]?.add(connection);
  }

  /** What `worker` owns. */
  held(worker: number): ReadonlySet<Connection> {
    return this.#held[worker] as Set<Connection>;
  }

  deliver(connections: readonly Connection[], from: number, to: number): void {
    if (connections.length === 0) return;
    const { workers, regular } = this.#at;
    const { tally } = this;
    tally.moves++;
    if (to >= regular) tally.movedToSpares++;
    tally.connections += connections.length;
    const isBetween = from < regular && to < regular;
    const distance = isBetween ? this.#at.distance(from, to) : DISTANCES.length;
    if (isBetween)
      tally.byDistance[distance] = (tally.byDistance[distance] ?? 0) + connections.length;
    const { coldMs, remoteMs } = this.#costs;
    const recipient = workers[to] as Worker;
    for (const connection of connections) {
      this.#held[from]?.delete(connection);
      this.#held[to]?.add(connection);
      connection.owner = to;
      connection.moving = true;
      connection.coldMs = (distance > CACHE ? coldMs : 0) + (distance > NODE ? remoteMs : 0);
      recipient.mail.push(connection);
    }
    recipient.wake();
    this.#at.notice(to);
  }
}
