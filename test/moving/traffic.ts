/**
 * A verifying client: requests of every shape on raw sockets, cut at random places, to
 * test/fixtures/apps/verify.js. It checks every byte that comes back, and that nothing
 * comes that was not asked for. All that is random comes from the seed.
 *
 * A *lane* is one client: it lives one connection after another. A connection carries a
 * number of requests, with some of them on their way at the same time, and ends in one of
 * the ways of {@link Ending}.
 */
import { createHash } from 'node:crypto';
import net from 'node:net';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { below, type Random, seededRandom } from '../../src/scheduler/random.js';
import { app } from '../support/app.js';

const { bodyOf } = require(app('pattern.js')) as {
  bodyOf(text: string, length: number): Buffer;
};

/** No answer for so long is a lost one. Nothing here is slow but the machine. */
const LOST_MS = 30_000;

const REQUESTS_MAX = 40;

/**
 * How a connection ends.
 *
 * - idle: the client closes it when all was answered
 * - half: the client says that it will send no more, and then reads the answers
 * - said: the last request says `Connection: close`
 * - told: the last answer says it
 * - killed: the server destroys it within the last answer, perhaps before it has the request
 * - aborted, reset: the client destroys it, at any place of either direction
 */
type Ending = 'idle' | 'half' | 'said' | 'told' | 'killed' | 'aborted' | 'reset';

interface Request {
  readonly head: Buffer;
  /** As on the wire, with its framing. */
  readonly body: Buffer;
  readonly expected: Expected;
}

interface Expected {
  readonly number: string;
  readonly method: string;
  readonly status: number;
  readonly size: number;
  readonly chunked: boolean;
  /** Of the request's body as the server must have seen it; null: it did not wait for it. */
  readonly length: number | null;
  readonly hash: string;
  /** The connection may end after so many bytes of the body, and must; null: never. */
  readonly killed: number | null;
  /** The body waits for a `100 Continue`. */
  readonly continues: boolean;
}

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

const CRLF = Buffer.from('\r\n');
const LAST_CHUNK = Buffer.from('0\r\n\r\n');

function chance(random: Random, percent: number): boolean {
  return below(random, 100) < percent;
}

function oneOf<T>(random: Random, values: readonly T[]): T {
  return values[below(random, values.length)] as T;
}

/** Mostly small, now and then up to `max`. */
function sizeBelow(random: Random, max: number): number {
  const scale = oneOf(random, [1, 64, 1024, 1024, 16 * 1024, 64 * 1024, max]);
  return below(random, Math.min(scale, max));
}

function chunked(random: Random, body: Buffer): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < body.length; ) {
    const length = Math.min(body.length - at, 1 + sizeBelow(random, body.length));
    parts.push(Buffer.from(`${length.toString(16)}\r\n`), body.subarray(at, at + length), CRLF);
    at += length;
  }
  if (chance(random, 20)) parts.push(Buffer.from('0\r\nx-trailer: it ends here\r\n\r\n'));
  else parts.push(LAST_CHUNK);
  return Buffer.concat(parts);
}

interface Shape {
  readonly last: Ending | null;
  readonly burnMs: number;
}

function makeRequest(random: Random, number: string, { last, burnMs }: Shape): Request {
  const query = new URLSearchParams();
  const headers = [`x-number: ${number}`, 'Host: localhost'];
  const cut = last === 'killed';
  const methods = ['GET', 'GET', 'GET', 'POST', 'POST', 'PUT', ...(cut ? [] : ['HEAD'])];
  const method = oneOf(random, methods);
  const hasBody = method === 'POST' || method === 'PUT' || chance(random, 3);
  // A server that ends the connection while the client still sends resets it.
  const early = hasBody && (last === null || cut) && chance(random, cut ? 50 : 5);
  const status = !cut && chance(random, 6) ? oneOf(random, [304, 204, 404]) : 200;
  const bodiless = status === 304 || status === 204;
  const size = bodiless ? 0 : sizeBelow(random, 1024 * 1024);
  const pieces = chance(random, 40) ? 1 + below(random, 6) : 0;
  const killed = cut ? below(random, size + 1) : null;

  query.set('size', String(size));
  if (status !== 200) query.set('status', String(status));
  if (pieces > 0) query.set('pieces', String(pieces));
  if (early) query.set('early', '1');
  if (chance(random, 15)) query.set('delay', String(1 + below(random, 20)));
  if (burnMs > 0 && chance(random, 10)) query.set('burn', String(1 + below(random, burnMs)));
  if (killed !== null) query.set('kill', String(killed));
  if (last === 'told') query.set('close', '1');
  if (last === 'said') headers.push('Connection: close');
  if (chance(random, 20)) headers.push(`x-padding: ${'p'.repeat(below(random, 4_000))}`);
  if (chance(random, 5)) for (let i = 0; i < 40; i++) headers.push(`x-many-${i}: ${i}`);

  const sent = hasBody ? bodyOf(`request ${number}`, sizeBelow(random, 256 * 1024)) : null;
  let body: Buffer = Buffer.alloc(0);
  if (sent !== null && chance(random, 40)) {
    headers.push('Transfer-Encoding: chunked');
    body = chunked(random, sent);
  } else if (sent !== null) {
    headers.push(`Content-Length: ${sent.length}`);
    body = sent;
  }
  const continues = sent !== null && sent.length > 0 && !early && chance(random, 25);
  if (continues) headers.push('Expect: 100-continue');
  // A server skips an empty line before a request.
  const start = chance(random, 3) ? '\r\n' : '';
  const head = `${start}${method} /?${query} HTTP/1.1\r\n${headers.join('\r\n')}\r\n\r\n`;
  const hash = createHash('sha1').update(sent ?? '');
  return {
    ...{ head: Buffer.from(head), body },
    expected: {
      ...{ number, method, status, killed, continues },
      size: method === 'HEAD' || bodiless ? 0 : size,
      chunked: pieces > 0 && killed === null && method !== 'HEAD' && !bodiless,
      length: early ? null : (sent?.length ?? 0),
      hash: early ? 'none' : hash.digest('hex'),
    },
  };
}

/** The connection ended, or was refused, and should not have been. */
class EndedEarly extends Error {}

/** Reads answers, in order, and compares each byte with what it should be. */
class Reader {
  readonly #expected: Expected[] = [];
  readonly #onProgress: () => void;
  #body: Buffer = Buffer.alloc(0);
  /** What has come and could not be used yet: part of a head or of a chunk's size. */
  #rest: Buffer = Buffer.alloc(0);
  #state: 'head' | 'body' | 'size' | 'chunk' | 'chunk-end' | 'body-end' = 'head';
  /** Bytes of the body that have come, and bytes that the current piece has yet to bring. */
  #at = 0;
  #left = 0;
  #continued: Expected | null = null;
  answers = 0;
  /** How many `100 Continue` have come. */
  continues = 0;

  /** @param onProgress called after each answer and each `100 Continue` */
  constructor(onProgress: () => void) {
    this.#onProgress = onProgress;
  }

  get outstanding(): number {
    return this.#expected.length;
  }

  expect(expected: Expected): void {
    this.#expected.push(expected);
  }

  /** @throws Error that says what is wrong */
  take(chunk: Buffer): void {
    let rest = this.#rest.length > 0 ? Buffer.concat([this.#rest, chunk]) : chunk;
    for (let before = -1; rest.length > 0 && rest.length !== before; ) {
      before = rest.length;
      rest = this.#step(rest);
    }
    this.#rest = rest;
  }

  /** The connection has ended. @throws Error if it should not have */
  end(): void {
    const [expected] = this.#expected;
    if (expected === undefined && this.#rest.length === 0) return;
    const where = `${this.#state} ${this.#at}/${expected?.size}`;
    if (expected === undefined || expected.killed === null) {
      throw new EndedEarly(`the connection ended before answer ${expected?.number} (${where})`);
    }
    if (this.#at > expected.killed) throw new Error(`answer ${expected.number} goes on (${where})`);
  }

  #step(bytes: Buffer): Buffer {
    switch (this.#state) {
      case 'head':
        return this.#head(bytes);
      case 'body':
      case 'chunk':
        return this.#content(bytes);
      case 'size': {
        const end = bytes.indexOf(CRLF);
        if (end < 0) return bytes;
        const size = bytes.toString('latin1', 0, end);
        if (!/^[0-9a-f]+$/i.test(size)) throw new Error(`chunk size ${JSON.stringify(size)}`);
        this.#left = Number.parseInt(size, 16);
        this.#state = this.#left === 0 ? 'body-end' : 'chunk';
        return bytes.subarray(end + 2);
      }
      case 'chunk-end':
      case 'body-end':
        if (bytes.length < 2) return bytes;
        if (bytes[0] !== 13 || bytes[1] !== 10) throw new Error('a chunk has no end');
        if (this.#state === 'body-end') this.#finish();
        else this.#state = 'size';
        return bytes.subarray(2);
    }
  }

  #head(bytes: Buffer): Buffer {
    const [expected] = this.#expected;
    if (expected === undefined) {
      throw new Error(`nobody asked for ${JSON.stringify(bytes.toString('latin1', 0, 200))}`);
    }
    const end = bytes.indexOf('\r\n\r\n');
    if (end < 0) return bytes;
    const [first = '', ...lines] = bytes.toString('latin1', 0, end).split('\r\n');
    const rest = bytes.subarray(end + 4);
    const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(first)?.[1]);
    if (status === 100) {
      if (!expected.continues || this.#continued === expected) {
        throw new Error(`a 100 for ${expected.number} that nobody waits for`);
      }
      this.#continued = expected;
      this.continues++;
      this.#onProgress();
      return rest;
    }
    const headers = new Map(
      lines.map((line) => {
        const colon = line.indexOf(': ');
        return [line.slice(0, colon).toLowerCase(), line.slice(colon + 2)];
      }),
    );
    const { number, method, size, length, hash } = expected;
    // A thread that ends handles what it had read, but JavaScript runs there only in part:
    // node then misses headers, the host's among them.
    if (status === 400 && !headers.has('x-number')) throw new EndedEarly(`${number}: ${first}`);
    const same = (name: string, value: string | undefined) => {
      if (headers.get(name) === value) return;
      throw new Error(`answer ${number}: ${name} is ${headers.get(name)}, not ${value}; ${first}`);
    };
    if (status !== expected.status) throw new Error(`answer ${number}: ${first}`);
    same('x-number', number);
    same('x-method', method);
    same('x-length', String(length ?? -1));
    same('x-hash', hash);
    if (expected.chunked) same('transfer-encoding', 'chunked');
    else if (method !== 'HEAD' && status !== 304 && status !== 204) {
      same('content-length', String(size));
    }
    this.#body = bodyOf(number, size);
    this.#at = 0;
    if (expected.chunked) {
      this.#state = 'size';
    } else {
      this.#left = size;
      this.#state = 'body';
      if (size === 0 && expected.killed === null) this.#finish();
    }
    return rest;
  }

  #content(bytes: Buffer): Buffer {
    const count = Math.min(bytes.length, this.#left);
    const wanted = this.#body.subarray(this.#at, this.#at + count);
    const number = this.#expected[0]?.number;
    if (!bytes.subarray(0, count).equals(wanted)) {
      const start = JSON.stringify(bytes.toString('latin1', 0, 80));
      throw new Error(`answer ${number}: wrong bytes within ${count} from ${this.#at}: ${start}`);
    }
    this.#at += count;
    this.#left -= count;
    if (this.#left === 0 && this.#state === 'body') {
      if (this.#expected[0]?.killed === null) this.#finish();
    } else if (this.#left === 0) {
      this.#state = 'chunk-end';
    }
    return bytes.subarray(count);
  }

  #finish(): void {
    const expected = this.#expected.shift();
    if (this.#at !== expected?.size) {
      throw new Error(`answer ${expected?.number} has ${this.#at} bytes, not ${expected?.size}`);
    }
    this.#state = 'head';
    this.#at = 0;
    this.answers++;
    this.#onProgress();
  }
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

/** Of environment variable GYRE_TEST_SEED, or random; the test prints it. */
export function testSeed(): number {
  return Number(process.env.GYRE_TEST_SEED ?? Math.floor(Math.random() * 1_000_000));
}
