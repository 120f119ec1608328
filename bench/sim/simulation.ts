/**
 * One simulated run: a load, a machine, and a policy. Pure: the same parameters give the
 * same result, bit for bit. The requests depend on the seed and the load only, so that
 * policies are compared on the same ones.
 */
import { CANDIDATES_MAX } from '../../src/scheduler/move.js';
import { type Rings, wholeMachine } from '../../src/scheduler/neighbourhood.js';
import { below, type Random, seededRandom } from '../../src/scheduler/random.js';
import { arrivals, exponential, type Load, type Request, uniform } from './arrivals.js';
import { Clock } from './clock.js';
import { Connection } from './connection.js';
import { type Governing, Governor } from './governor.js';
import { Latencies } from './latencies.js';
import { Machine, type Sharing, type Thread } from './machine.js';
import { Carrier, type Searching, type Surroundings, type Tally } from './moving.js';
import { idler, POLICIES, type Policy, type PolicyName, steal } from './policy.js';
import { type Giving, Rounds } from './rounds.js';
import { DISTANCES, type Topology } from './topology.js';
import { type Loop, Worker } from './worker.js';

export const CHOICES = ['idle', 'any'] as const;

export interface Parameters extends Load, Sharing, Governing, Giving, Searching {
  readonly seed: number;
  /** Requests are counted that arrive in this time, after the warm-up. */
  readonly seconds: number;
  readonly warmupSeconds: number;
  readonly policy: PolicyName;
  readonly cpus: number;
  /** One per CPU, or more. */
  readonly workers: number;
  /** Of as many CPUs. Null: all are alike. */
  readonly topology: Topology | null;
  readonly spares: number;
  readonly connections: number;
  /** A request takes a connection that carries none; otherwise any, and waits for it. */
  readonly choice: (typeof CHOICES)[number];
  /** Where any may be taken: the share of the connections that are hot, and of requests on them. */
  readonly hot: number;
  readonly hotRequests: number;
  /** The share of the workers, near to each other, that own all connections at the start. */
  readonly crowd: number;
  /** Share of each CPU's time that other programs use, in bursts. */
  readonly company: number;
  readonly companyMs: number;
  /** CPU time to return from epoll, and to adopt one connection. */
  readonly pollMs: number;
  readonly adoptMs: number;
  /** How long a request runs before another's turn, where that is possible at all. */
  readonly quantumMs: number;
  /** By worker; null: one ring with everybody else. */
  readonly rings: readonly Rings[] | null;
}

export interface Result {
  readonly fast: Latencies;
  readonly slow: Latencies;
  readonly tally: Tally | null;
  /** Requests that arrived, and that were served, counted or not. */
  readonly arrived: number;
  readonly served: number;
}

/** What node takes from epoll at once. */
const BATCH_MAX = 1024;

/**
 * The load is the stall bench's; tickMs to batchMax are gyre's own defaults and constants.
 *
 * Measured on an AMD EPYC of 2 CPUs, with `bench/moving` and by calling what is meant in a loop:
 * peekMs (1.7 µs, and 1.9 for 31 newcomers), sleepMs (5.9 µs), askMs (a candidate's state, twice
 * its inPoll() of 0.12 µs, and its share of the frontier); lookMs (poll and a thread's clock take
 * 0.7 µs) and wakeMs from the watcher's 20 µs for each tick; pauseMs, takeMs, decideMs, deliverMs
 * and sendMs together are the governor's 190 µs for each pause with 1.6 connections.
 *
 * quantumMs is what Go's scheduler allows, sliceMs about what Linux takes on 8 CPUs. All other costs
 * and speeds are estimates without evidence: compare runs that differ in them before relying on one.
 */
export const DEFAULTS: Parameters = {
  ...{ seed: 1, seconds: 60, warmupSeconds: 1, policy: 'gyre' },
  ...{ cpus: 2, workers: 2, topology: null, rings: null, spares: 0 },
  ...{ connections: 64, choice: 'idle', hot: 1, hotRequests: 1, crowd: 1 },
  ...{ fastPerSecond: 1500, fastMs: 0.3, fastShape: 'exponential', slowPerSecond: 8, slowMs: 50 },
  ...{ company: 0, companyMs: 0.2, sliceMs: 3, granularityMs: 1 },
  ...{ smtSpeed: 0.6, efficientSpeed: 0.6 },
  ...{ pollMs: 0.005, adoptMs: 0.06, giveMs: 0.06, coldMs: 0, quantumMs: 10 },
  ...{ tickMs: 1, stuckTicks: 0.5, roundMs: 1, worthMs: 0.3, windowMs: 100, batchMax: 64 },
  ...{ wakeMs: 0.01, lookMs: 0.001, peekMs: 0.0035, askMs: 0.0005, sleepMs: 0.006 },
  ...{ pauseMs: 0.06, takeMs: 0.005, decideMs: 0.06, deliverMs: 0.02, sendMs: 0.01 },
  ...{ governors: 1, candidatesMax: CANDIDATES_MAX },
  ...{ amount: 'half', trigger: 'all-still', giveBack: 'between' },
};

/** Fisher and Yates's. */
function shuffle(list: Connection[], random: Random): void {
  for (let at = list.length - 1; at > 0; at--) {
    const other = below(random, at + 1);
    [list[at], list[other]] = [list[other] as Connection, list[at] as Connection];
  }
}

export function simulate(parameters: Parameters): Result {
  return new Simulation(parameters).run();
}

class Simulation {
  readonly #p: Parameters;
  readonly #policy: Policy;
  readonly #clock = new Clock();
  readonly #machine: Machine;
  readonly #random: () => number;
  readonly #workers: Worker[];
  readonly #regular: readonly Worker[];
  readonly #carrier: Carrier | null;
  readonly #governor: Governor | null;
  readonly #rounds: Rounds | null;
  /** Connections without a request, and requests without a connection. */
  readonly #idle: Connection[];
  readonly #waiting: Request[] = [];
  readonly #backlog = new Map<Connection, Request[]>();
  readonly #connections: Connection[];
  readonly #fast = new Latencies();
  readonly #slow = new Latencies();
  #arrived = 0;
  #sent = 0;
  #served = 0;

  constructor(p: Parameters) {
    this.#p = p;
    this.#policy = POLICIES[p.policy];
    this.#random = seededRandom(p.seed + 1);
    this.#machine = new Machine(this.#clock, p.cpus, p, p.topology);
    const policy = this.#policy;
    const loop: Loop = {
      ...{ pollMs: p.pollMs, adoptMs: p.adoptMs },
      batchMax: policy.oneQueue ? 1 : BATCH_MAX,
      quantumMs: policy.timeSliced ? p.quantumMs : Number.POSITIVE_INFINITY,
    };
    const environment = {
      clock: this.#clock,
      machine: this.#machine,
      loop,
      events: this.#events(),
    };
    const queue: Connection[] = [];
    const spares = policy.moves ? p.spares : 0;
    this.#workers = Array.from({ length: p.workers + spares }, (_, index) => {
      const cpu = p.topology?.places[index] ?? index % p.cpus;
      const thread = this.#machine.thread(index < p.workers ? cpu : null);
      return new Worker(index, thread, policy.oneQueue ? queue : [], environment);
    });
    this.#regular = this.#workers.slice(0, p.workers);
    const order = p.topology?.order ?? this.#regular.map(({ index }) => index);
    const at: Surroundings = {
      ...{ clock: this.#clock, machine: this.#machine, workers: this.#workers, order },
      random: seededRandom(p.seed + 2),
      regular: p.workers,
      rings: p.rings ?? wholeMachine(p.workers),
      distance: (from, to) => p.topology?.distance(from, to) ?? DISTANCES.length - 1,
      notice: (worker) => this.#governor?.notice(worker),
    };
    const owners = Math.ceil(p.crowd * p.workers);
    this.#connections = Array.from({ length: p.connections }, (_, index) => {
      const owner = policy.dealt ? index % owners : below(this.#random, owners);
      return new Connection(order[owner] as number);
    });
    shuffle(this.#connections, this.#random); // which are hot must not depend on the dealing
    this.#idle = [...this.#connections];
    this.#carrier = policy.moves ? new Carrier(p, at, this.#connections) : null;
    this.#governor = this.#carrier && new Governor(p, at, this.#carrier);
    this.#rounds = this.#carrier && new Rounds(p, at, this.#carrier);
  }

  run(): Result {
    const { seed, seconds, warmupSeconds, cpus, company } = this.#p;
    const endMs = (warmupSeconds + seconds) * 1000;
    const requests = arrivals(this.#p, endMs, seed);
    let over = false;
    const next = () => {
      const { value, done } = requests.next();
      over = done === true;
      if (value === undefined) return;
      this.#clock.after(value.dueMs - this.#clock.nowMs, () => {
        this.#arrived++;
        this.#arrive(value);
        next();
      });
    };
    next();
    for (let cpu = 0; cpu < cpus && company > 0; cpu++) this.#keepCompany(cpu);
    this.#clock.run(() => over && this.#served === this.#arrived);
    return {
      ...{ fast: this.#fast, slow: this.#slow, tally: this.#carrier?.tally ?? null },
      ...{ arrived: this.#arrived, served: this.#served },
    };
  }

  /** Another program's thread, which sleeps and runs. As many as there are CPUs. */
  #keepCompany(cpu: number): void {
    const { companyMs, company, seed } = this.#p;
    const random = seededRandom(seed + 1000 + cpu);
    const thread: Thread = this.#machine.thread(null);
    const sleep = () => {
      const ms = companyMs * (1 / company - 1) * exponential(random);
      this.#clock.after(ms, () => {
        this.#machine.run(thread, companyMs * exponential(random), sleep);
      });
    };
    sleep();
  }

  #arrive(request: Request): void {
    if (this.#p.choice === 'any') {
      const connection = this.#connections[this.#anyone()] as Connection;
      if (connection.request === null) this.#send(connection, request);
      else this.#backlog.set(connection, [...(this.#backlog.get(connection) ?? []), request]);
    } else if (this.#idle.length === 0) {
      this.#waiting.push(request);
    } else {
      const at = below(this.#random, this.#idle.length);
      const connection = this.#idle[at] as Connection;
      this.#idle[at] = this.#idle.at(-1) as Connection;
      this.#idle.pop();
      this.#send(connection, request);
    }
  }

  /** A connection, whatever it carries: the first ones are hot. */
  #anyone(): number {
    const { hot, hotRequests } = this.#p;
    const { length } = this.#connections;
    const many = Math.max(1, Math.round(hot * length));
    if (many === length || uniform(this.#random) < hotRequests) return below(this.#random, many);
    return many + below(this.#random, length - many);
  }

  #send(connection: Connection, request: Request): void {
    connection.request = request;
    connection.leftMs = request.serviceMs;
    const { place, oneQueue, steals } = this.#policy;
    if (place !== undefined) {
      connection.owner = place(this.#regular, this.#random, this.#sent++);
    }
    if (connection.moving) return; // it is ready once it has been adopted
    const worker = this.#workers[connection.owner] as Worker;
    worker.ready.push(connection);
    if (oneQueue) {
      idler(this.#workers, this.#random, (worker) => this.#isBest(worker))?.wake();
      return;
    }
    if (worker.inPoll) worker.wake();
    else if (steals) this.#steal(idler(this.#workers, this.#random, () => true));
    this.#governor?.notice(connection.owner);
  }

  /** Whether nothing slows it down. */
  #isBest({ thread }: Worker): boolean {
    return this.#machine.isFree(thread) && !this.#machine.isCrowded(thread);
  }

  #steal(thief: Worker | null): void {
    if (thief === null) return;
    for (const connection of steal(thief, this.#workers, this.#random)) {
      connection.owner = thief.index;
      thief.ready.push(connection);
    }
    if (thief.ready.length > 0) thief.wake();
  }

  #events() {
    return {
      served: (connection: Connection, worker: Worker) => {
        this.#record(connection.request as Request);
        connection.request = null;
        this.#reuse(connection);
        this.#governor?.served(worker);
      },
      iterated: (worker: Worker, ms: number, handled: number) => {
        if (worker.index < this.#p.workers) this.#rounds?.iterated(worker, ms, handled);
      },
      idle: (worker: Worker) => {
        if (this.#policy.steals) this.#steal(worker);
      },
    };
  }

  #record({ dueMs, slow }: Request): void {
    this.#served++;
    if (dueMs < this.#p.warmupSeconds * 1000) return;
    (slow ? this.#slow : this.#fast).add(this.#clock.nowMs - dueMs);
  }

  /** A connection has answered: it may carry the next request. */
  #reuse(connection: Connection): void {
    if (this.#p.choice === 'any') {
      const request = this.#backlog.get(connection)?.shift();
      if (request !== undefined) this.#send(connection, request);
      return;
    }
    const request = this.#waiting.shift();
    if (request === undefined) this.#idle.push(connection);
    else this.#send(connection, request);
  }
}
