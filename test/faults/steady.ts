/**
 * Steady traffic: so many verified requests a second on so many connections that are kept
 * alive, whatever becomes of the server. A connection that is lost is noted, with whom the ledger
 * gives it to at that moment, and replaced. What is due while a lane still waits for its answer
 * is sent after it, and its latency counts from when it was due.
 */
import type { TcpNetConnectOpts } from 'node:net';
import { Recorder } from '../../bench/latencies.js';
import { below, type Random, seededRandom } from '../../src/scheduler/random.js';
import { type Answered, askOnce, type End, Line, makeExchange, type Shape } from './exchange.js';
import type { Ledger } from './ledger.js';

/** No answer for so long is a lost one. */
const LOST_MS = 30_000;
/** Of the clock that says what is due. */
const TICK_MS = 1;

export interface SteadyOptions {
  readonly to: TcpNetConnectOpts;
  readonly seed: number;
  readonly connections: number;
  /** Of all connections together; 0: nothing but what {@link Steady.round} asks. */
  readonly perSecond: number;
  /** Longest wait that a request asks for before its answer, in ms; one in four asks for some. */
  readonly delayMs?: number;
  readonly ledger?: Ledger;
  /** What each connection asks first. */
  readonly first?: Shape;
}

/** A connection that the server did not keep. */
export interface Loss extends End {
  /** What was not answered, or was answered last. */
  readonly number: string;
  /** Thread that had it, by the ledger; 0: unknown. */
  readonly owner: number;
}

interface Lane {
  line: Line | null;
  due: number;
  number: string;
  /** When its request was due. */
  since: number;
  requests: number;
  last: Answered | null;
}

export class Steady {
  readonly #options: SteadyOptions;
  readonly #random: Random;
  readonly #lanes: Lane[];
  readonly #periodMs: number;
  #clock: NodeJS.Timeout | undefined;
  #over = false;
  #onProgress: () => void = () => {};
  #recorder = new Recorder();
  readonly losses: Loss[] = [];
  /** Codes of connects that failed. */
  readonly refused: string[] = [];
  /** Answers that were not what they should be, and those that did not come at all. */
  readonly wrong: string[] = [];
  answers = 0;

  private constructor(options: SteadyOptions) {
    this.#options = options;
    this.#random = seededRandom(options.seed);
    const { connections, perSecond } = options;
    this.#periodMs = perSecond === 0 ? Number.POSITIVE_INFINITY : (1000 * connections) / perSecond;
    this.#lanes = Array.from({ length: options.connections }, () => ({
      ...{ line: null, due: performance.now(), number: '', since: 0, requests: 0, last: null },
    }));
  }

  /** Resolves when every connection has been answered once. */
  static async start(options: SteadyOptions): Promise<Steady> {
    const steady = new Steady(options);
    await Promise.all(steady.#lanes.map((_, lane) => steady.#connect(lane)));
    steady.#clock = setInterval(() => steady.#tick(), TICK_MS);
    await steady.round();
    const now = performance.now();
    for (const lane of steady.#lanes) {
      lane.due = now + (1 - below(steady.#random, 1000) / 1000) * steady.#periodMs;
    }
    return steady;
  }

  /** Whether there is nothing to complain of. */
  get unharmed(): boolean {
    return this.losses.length + this.refused.length + this.wrong.length === 0;
  }

  /** What was answered last on each connection. */
  get last(): readonly (Answered | null)[] {
    return this.#lanes.map(({ last }) => last);
  }

  /** Latencies from when requests were due, until this is called again. */
  measure(): Recorder {
    this.#recorder = new Recorder();
    return this.#recorder;
  }

  /** Resolves when `holds`, which is asked after each answer; or when something was wrong. */
  until(holds: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      this.#onProgress = () => {
        if (holds() || this.wrong.length > 0 || this.#over) resolve();
      };
      this.#onProgress();
    });
  }

  /** Asks once more on every connection, and resolves when all is answered, or lost. */
  async round(): Promise<void> {
    const before = this.#lanes.map(({ requests, line }) => requests + Number(line?.busy ?? false));
    for (const lane of this.#lanes) lane.due = Math.min(lane.due, performance.now());
    await this.until(() =>
      this.#lanes.every(
        ({ requests, line }, lane) => line === null || requests > (before[lane] as number),
      ),
    );
  }

  /** One more round; then everything is closed. */
  async stop(): Promise<void> {
    await this.round();
    this.end();
  }

  /** Closes everything now. */
  end(): void {
    this.#over = true;
    clearInterval(this.#clock);
    for (const { line } of this.#lanes) line?.close();
    this.#onProgress();
  }

  async #connect(index: number): Promise<void> {
    const lane = this.#lanes[index] as Lane;
    const { to, ledger } = this.#options;
    let port = 0;
    try {
      const line = await Line.open(to, {
        answered: (answered) => this.#answered(lane, answered),
        ended: (end) => {
          lane.line = null;
          if (end.code === null || this.#over) return;
          if (end.wrong !== null) this.wrong.push(end.wrong);
          const owner = ledger?.ownerOf(port) ?? 0;
          this.losses.push({ ...end, number: lane.number, owner });
          this.#onProgress();
          void this.#connect(index);
        },
      });
      port = line.port;
      lane.line = line;
      if (this.#over) line.close();
    } catch (error) {
      this.refused.push((error as NodeJS.ErrnoException).code ?? '?');
    }
  }

  #answered(lane: Lane, answered: Answered): void {
    lane.last = answered;
    lane.requests++;
    this.answers++;
    this.#recorder.record(performance.now() - lane.since);
    this.#onProgress();
  }

  #tick(): void {
    const now = performance.now();
    for (const [index, lane] of this.#lanes.entries()) {
      const { line } = lane;
      if (line === null) continue;
      if (line.busy) {
        if (now - lane.since > LOST_MS) this.#lost(lane);
      } else if (lane.due <= now) {
        lane.since = lane.due;
        lane.due += this.#periodMs;
        lane.number = `${index}-${lane.requests}-${this.answers}`;
        const { first, delayMs = 0 } = this.#options;
        const shape = lane.requests === 0 && first !== undefined ? first : { delayMs };
        line.ask(makeExchange(this.#random, lane.number, shape));
      }
    }
  }

  #lost(lane: Lane): void {
    this.wrong.push(`${lane.number} was not answered for ${LOST_MS} ms`);
    this.#onProgress();
    lane.line?.close();
  }
}

/** Everything that a server opens once is open when this resolves. */
export async function warmUp(to: TcpNetConnectOpts, seed: number): Promise<void> {
  const first = await Steady.start({ to, seed, connections: 16, perSecond: 0 });
  await first.stop();
}

/** New connections, one request on each, so many at a time, until they are stopped. */
export class Newcomers {
  readonly #options: Pick<SteadyOptions, 'to' | 'seed' | 'ledger' | 'delayMs'>;
  readonly #random: Random;
  readonly #all: Promise<unknown>;
  #over = false;
  readonly losses: { readonly code: string; readonly owner: number; readonly number: string }[] =
    [];
  /** Codes of connects that failed. */
  readonly refused: string[] = [];
  readonly wrong: string[] = [];
  answers = 0;

  /** @param restMs between an answer and the next connection */
  constructor(
    options: Pick<SteadyOptions, 'to' | 'seed' | 'ledger' | 'delayMs'>,
    atATime: number,
    restMs: number,
  ) {
    this.#options = options;
    this.#random = seededRandom(options.seed + 1);
    this.#all = Promise.all(
      Array.from({ length: atATime }, async (_, lane) => {
        for (let nth = 0; !this.#over; nth++) {
          await this.#ask(`new-${lane}-${nth}`);
          await new Promise((resolve) => setTimeout(resolve, restMs));
        }
      }),
    );
  }

  get unharmed(): boolean {
    return this.losses.length + this.refused.length + this.wrong.length === 0;
  }

  async stop(): Promise<void> {
    this.#over = true;
    await this.#all;
  }

  async #ask(number: string): Promise<void> {
    const { to, ledger } = this.#options;
    let timer: NodeJS.Timeout | undefined;
    const lost = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject({ wrong: `${number} was not answered` }), LOST_MS);
    });
    try {
      const asked = askOnce(to, makeExchange(this.#random, number, this.#options));
      await Promise.race([asked, lost]);
      this.answers++;
    } catch (error) {
      const { code, port, wrong } = error as {
        code?: string;
        port?: number;
        wrong?: string | null;
      };
      if (wrong) this.wrong.push(wrong);
      else if (port === undefined) this.refused.push(code ?? '?');
      else this.losses.push({ code: code ?? '?', owner: ledger?.ownerOf(port) ?? 0, number });
    }
    clearTimeout(timer);
  }
}
