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

export interface Searching {
  /** See src/scheduler/move.ts. */
  readonly candidatesMax: number;
  /** CPU time to ask one candidate in a ring. */
  readonly askMs: number;
  /** CPU time of the recipient for each connection from beyond its cache, to warm that. */
  readonly coldMs: number;
}

export interface Tally {
  moves: number;
  connections: number;
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

/** What a worker has outstanding, with what it is at. */
export function outstanding({ ready, mail, inPoll }: Worker): number {
  return ready.length + mail.length + (inPoll ? 0 : 1);
}

/** Somebody who chooses, and remembers whom which giver gave to. */
export class Chooser {
  readonly #at: Surroundings;
  readonly #searching: Searching;
  readonly #rings: readonly Rings[];
  /** Moves of each giver, and which of them was the last to whom. */
  readonly #rounds: number[];
  readonly #gave: readonly Map<number, number>[];
  /** CPU time of what was asked since this was last taken. */
  #costMs = 0;

  constructor(searching: Searching, rings: readonly Rings[], at: Surroundings) {
    this.#at = at;
    this.#searching = searching;
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
    const round = (this.#rounds[giver] as number) + 1;
    const gave = this.#gave[giver] as Map<number, number>;
    const move = chooseMove({
      ...{ giver, events },
      rings: this.#rings[giver] as Rings,
      outstanding: count,
      roundsSinceGave: (worker) => round - (gave.get(worker) ?? 0),
      accepts: (worker) => {
        this.#costMs += this.#searching.askMs;
        return accepts(worker);
      },
      random: this.#at.random,
      candidatesMax: this.#searching.candidatesMax,
    });
    if (move === null) return null;
    this.#rounds[giver] = round;
    gave.set(move.recipient, round);
    return move;
  }
}

/** Carries connections, and counts them. */
export class Carrier {
  readonly tally: Tally = {
    ...{ moves: 0, connections: 0, governorMs: 0 },
    byDistance: DISTANCES.map(() => 0),
  };
  readonly #searching: Searching;
  readonly #at: Surroundings;
  /** What each worker and spare owns, and what is on its way to it. */
  readonly #held: readonly Set<Connection>[];

  constructor(searching: Searching, at: Surroundings, connections: readonly Connection[]) {
    this.#searching = searching;
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
    tally.connections += connections.length;
    const isBetween = from < regular && to < regular;
    const distance = isBetween ? this.#at.distance(from, to) : DISTANCES.length;
    if (isBetween) {
      tally.byDistance[distance] = (tally.byDistance[distance] as number) + connections.length;
    }
    const { coldMs } = this.#searching;
    const recipient = workers[to] as Worker;
    for (const connection of connections) {
      this.#held[from]?.delete(connection);
      this.#held[to]?.add(connection);
      connection.owner = to;
      connection.moving = true;
      connection.coldMs = distance > CACHE ? coldMs : 0;
      recipient.mail.push(connection);
    }
    recipient.wake();
    this.#at.notice(to);
  }
}
