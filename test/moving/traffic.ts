/**
 * A verifying client: requests of every shape (requests.ts) on raw sockets, cut at random places, to
 * test/fixtures/apps/verify.js, and the check of what comes back (reader.ts). All that is random comes
 * from the seed.
 *
 * A *lane* is one client: it lives one connection after another. A connection carries a
 * number of requests, with some of them on their way at the same time, and ends in one of
 * the ways of {@link Ending}.
 */
import net from 'node:net';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { below, type Random, seededRandom } from '../../src/scheduler/random.js';
import { EndedEarly, Reader } from './reader.js';
import { chance, type Ending, type Expected, makeRequest, oneOf } from './requests.js';

/** No answer for so long is a lost one. Nothing here is slow but the machine. */
const LOST_MS = 30_000;

const REQUESTS_MAX = 40;

export interface TrafficOptions {
  readonly to: net.NetConnectOpts;
  readonly seed: number;
  readonly lanes: number;
  /** Longest time that the server stands still for one request, in ms. */
  readonly burnMs?: number;
  /** Longest pause between two writes of one connection, in ms. */
  readonly pauseMs?: number;
  /** Most requests on one connection; by default 40. */
  readonly requestsMax?: number;
  /** Connections that the server resets because the test makes it die do not count. */
  readonly mayReset?: boolean;
}

export interface Report {
  readonly answers: number;
  readonly connections: number;
  readonly resets: number;
  /** How the connections ended. */
  readonly endings: Readonly<Record<string, number>>;
  /** Everything that was wrong. */
  readonly wrong: readonly string[];
}

const ENDINGS: readonly Ending[] = [
  ...(['idle', 'idle', 'idle', 'idle', 'half', 'half', 'said', 'told'] as const),
  ...(['killed', 'aborted', 'aborted', 'reset'] as const),
];

/** What a lane and its traffic share. */
interface Tally {
  readonly options: TrafficOptions;
  readonly wrong: string[];
  readonly endings: Record<string, number>;
  answers: number;
  connections: number;
  resets: number;
  stopping: boolean;
}

/** One connection's life. */
class Life {
  readonly #tally: Tally;
  readonly #random: Random;
  readonly #name: string;
  readonly #ending: Ending;
  readonly #socket: net.Socket;
  readonly #reader = new Reader(() => this.#wake());
  /** To be sent: whole requests, and perhaps the first part of one. */
  #unsent: Buffer[] = [];
  #wake: () => void = () => {};
  #ended = false;
  /** The client destroys the connection on the next bytes that come. */
  #abortOnData = false;
  #failure: Error | null = null;

  constructor(tally: Tally, random: Random, name: string) {
    this.#tally = tally;
    this.#random = random;
    this.#name = name;
    this.#ending = oneOf(random, ENDINGS);
    this.#socket = net.connect({ ...tally.options.to, allowHalfOpen: true });
  }

  /** Lives it. Never rejects: what is wrong goes to the tally. */
  async run(): Promise<void> {
    const socket = this.#socket;
    socket.setNoDelay(true);
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    socket.on('error', (error) => this.#fail(error));
    socket.on('data', (chunk) => this.#onData(chunk));
    socket.on('end', () => this.#onEnd());
    socket.on('close', () => this.#onEnd());
    try {
      await this.#talk();
      await this.#finish();
    } catch (error) {
      this.#fail(error as Error);
    }
    socket.destroy();
    await closed;
    this.#report();
  }

  get #aborts(): boolean {
    return this.#ending === 'aborted' || this.#ending === 'reset';
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#ended = true;
    this.#wake();
    this.#socket.destroy();
  }

  #onData(chunk: Buffer): void {
    if (this.#failure !== null) return;
    try {
      this.#reader.take(chunk);
    } catch (error) {
      this.#fail(error as Error);
    }
    if (this.#abortOnData) this.#abort();
  }

  #onEnd(): void {
    this.#ended = true;
    this.#wake();
  }

  #report(): void {
    const { options, wrong, endings } = this.#tally;
    this.#tally.connections++;
    this.#tally.answers += this.#reader.answers;
    endings[this.#ending] = (endings[this.#ending] ?? 0) + 1;
    let failure = this.#failure;
    const code = (failure as NodeJS.ErrnoException | null)?.code;
    // The system says so; what this file says has no code.
    const cut = code === 'ECONNRESET' || code === 'EPIPE';
    if (failure === null || (cut && this.#ending === 'killed')) {
      failure = null;
      try {
        if (!this.#aborts) this.#reader.end();
      } catch (error) {
        failure = error as Error;
      }
    }
    if (failure === null) return;
    if (options.mayReset && (code !== undefined || failure instanceof EndedEarly)) {
      this.#tally.resets++;
      return;
    }
    if (cut && this.#aborts) return;
    wrong.push(`${this.#name} (${this.#ending}): ${failure.message}`);
  }

  /** Resolves when something has come, or the connection has ended. */
  async #progress(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const lost = await new Promise<boolean>((resolve) => {
      this.#wake = () => resolve(false);
      timer = setTimeout(resolve, LOST_MS, true);
    });
    clearTimeout(timer);
    if (lost) throw new Error(`lost: ${this.#reader.outstanding} answers did not come`);
  }

  async #until(holds: () => boolean): Promise<void> {
    while (!holds() && !this.#ended) await this.#progress();
  }

  async #pause(): Promise<void> {
    const pauseMs = this.#tally.options.pauseMs ?? 0;
    const kind = below(this.#random, 10);
    if (kind >= 8 && pauseMs > 0) await sleep(1 + below(this.#random, pauseMs));
    else if (kind >= 5) await nextTurn();
  }

  async #talk(): Promise<void> {
    const random = this.#random;
    const count = 1 + below(random, this.#tally.options.requestsMax ?? REQUESTS_MAX);
    const depth = oneOf(random, [1, 1, 2, 4, 8]);
    for (let i = 1; i <= count && !this.#ended; i++) {
      const last = i === count || this.#tally.stopping;
      const { head, body, expected } = makeRequest(random, `${this.#name}-${i}`, {
        last: last ? this.#ending : null,
        burnMs: this.#tally.options.burnMs ?? 0,
      });
      if (last && this.#aborts) {
        await this.#abortWithin(Buffer.concat([head, body]), expected);
        return;
      }
      if (expected.killed !== null && expected.length === null) {
        // The server resets the connection then, and with it answers that are on their way.
        await this.#send(false);
        await this.#until(() => this.#reader.outstanding === 0);
      }
      this.#reader.expect(expected);
      this.#unsent.push(head);
      if (expected.continues) {
        await this.#send(false);
        const before = this.#reader.continues;
        await this.#until(() => this.#reader.continues > before);
      }
      this.#unsent.push(body);
      if (last) return;
      if (this.#reader.outstanding < depth && chance(random, 60)) continue;
      await this.#send(depth > 1 && chance(random, 30));
      if (chance(random, 30)) {
        await this.#send(false);
        await this.#until(() => this.#reader.outstanding === 0);
        await this.#pause();
      }
      if (this.#reader.outstanding >= depth) {
        await this.#send(false);
        await this.#until(() => this.#reader.outstanding < depth);
      }
    }
  }

  /** Sends what is unsent, in pieces; keeps the last piece for later if `keepsTail`. */
  async #send(keepsTail: boolean): Promise<void> {
    const random = this.#random;
    let bytes = Buffer.concat(this.#unsent);
    this.#unsent = [];
    for (let cuts = oneOf(random, [0, 0, 1, 2, 5]); cuts > 0 && bytes.length > 1; cuts--) {
      // Anywhere, or close to an end, where heads are.
      const within = chance(random, 50) ? Math.min(bytes.length, 300) : bytes.length;
      const at = below(random, within);
      if (at === 0) continue;
      await this.#write(bytes.subarray(0, at));
      bytes = bytes.subarray(at);
      await this.#pause();
    }
    if (keepsTail) this.#unsent.push(bytes);
    else await this.#write(bytes);
  }

  async #write(bytes: Buffer): Promise<void> {
    const socket = this.#socket;
    if (bytes.length === 0 || this.#ended || socket.destroyed) return;
    if (socket.write(bytes)) return;
    socket.once('drain', () => this.#wake());
    await this.#until(() => !socket.writableNeedDrain);
  }

  async #finish(): Promise<void> {
    const ending = this.#ending;
    if (this.#aborts) return;
    await this.#send(false);
    if (ending === 'half') this.#socket.end();
    if (ending === 'idle') await this.#until(() => this.#reader.outstanding === 0);
    else await this.#until(() => false); // the server ends it
    this.#socket.end();
  }

  /** Destroys the connection at some place of the request, or of its answer. */
  async #abortWithin(bytes: Buffer, expected: Expected): Promise<void> {
    const random = this.#random;
    if (expected.continues) {
      // Node puts the `100 Continue` into the answer if both wait for an earlier one.
      await this.#send(false);
      await this.#until(() => this.#reader.outstanding === 0);
    }
    this.#reader.expect(expected); // what it sends may suffice for an answer
    if (chance(random, 60)) {
      const within = chance(random, 50) ? Math.min(bytes.length, 200) : bytes.length;
      this.#unsent.push(bytes.subarray(0, below(random, within)));
      await this.#send(false);
      if (chance(random, 70)) await this.#pause();
    } else {
      this.#unsent.push(bytes);
      this.#abortOnData = true;
      await this.#send(false);
      await this.#until(() => this.#reader.outstanding === 0);
    }
    this.#abort();
  }

  #abort(): void {
    this.#ended = true;
    // A Unix socket cannot be reset.
    if (this.#ending === 'reset' && 'port' in this.#tally.options.to) {
      this.#socket.resetAndDestroy();
    } else {
      this.#socket.destroy();
    }
    this.#wake();
  }
}

/** Traffic that goes on until it is stopped. */
export class Traffic {
  readonly #tally: Tally;
  readonly #lanes: Promise<void>[];

  constructor(options: TrafficOptions) {
    this.#tally = {
      ...{ options, wrong: [], endings: {} },
      ...{ answers: 0, connections: 0, resets: 0, stopping: false },
    };
    this.#lanes = Array.from({ length: options.lanes }, (_, lane) => this.#run(lane));
  }

  /** As far as it has come. */
  get report(): Report {
    return this.#tally;
  }

  /** Lets every connection come to its end. */
  async stop(): Promise<Report> {
    this.#tally.stopping = true;
    await Promise.all(this.#lanes);
    return this.#tally;
  }

  async #run(lane: number): Promise<void> {
    const random = seededRandom(this.#tally.options.seed * 1_000 + lane);
    for (let life = 1; !this.#tally.stopping && this.#tally.wrong.length === 0; life++) {
      await new Life(this.#tally, random, `${lane}-${life}`).run();
    }
  }
}
