/**
 * One request to test/fixtures/apps/verify.js, and the check of every byte that comes back; and a
 * connection that carries one after the other. Cheap, because the client shares its CPUs with the
 * runtime that it tests: test/moving/traffic.ts knows more shapes, this one knows who answered.
 */
import { createHash } from 'node:crypto';
import net from 'node:net';
import { below, type Random } from '../../src/scheduler/random.js';
import { app } from '../support/app.js';

const { bodyOf } = require(app('pattern.js')) as {
  bodyOf(text: string, length: number): Buffer;
};

const EMPTY = Buffer.alloc(0);
const END = Buffer.from('\r\n\r\n');

/** What of a request is not left to chance. */
export interface Shape {
  /** Longest wait before the answer, in ms, of every fourth request; by default 0. */
  readonly delayMs?: number;
  /** Added to the query, say `die=exit`. */
  readonly query?: string;
  /** Of the answer; by default mostly small, now and then up to 64 KB. */
  readonly size?: number;
}

/** A request as bytes, and what its answer must be. */
export interface Exchange {
  readonly number: string;
  readonly bytes: Buffer;
  readonly size: number;
  readonly length: number;
  readonly hash: string;
}

function sizeBelow(random: Random, max: number): number {
  const scale = [16, 64, 1024, 1024, 1024, max][below(random, 6)] as number;
  return below(random, scale);
}

const NO_BODY = createHash('sha1').update('').digest('hex');

export function makeExchange(random: Random, number: string, shape: Shape = {}): Exchange {
  const { delayMs = 0, query = '' } = shape;
  const size = shape.size ?? sizeBelow(random, 64 * 1024);
  const delay = delayMs > 0 && below(random, 4) === 0 ? 1 + below(random, delayMs) : 0;
  const body = below(random, 3) === 0 ? bodyOf(`request ${number}`, sizeBelow(random, 4096)) : null;
  const path = `/?size=${size}${delay > 0 ? `&delay=${delay}` : ''}${query && `&${query}`}`;
  const framing = body === null ? '' : `Content-Length: ${body.length}\r\n`;
  const method = body === null ? 'GET' : 'POST';
  const head = `${method} ${path} HTTP/1.1\r\nHost: localhost\r\nx-number: ${number}\r\n${framing}\r\n`;
  return {
    ...{ number, size, length: body?.length ?? 0 },
    bytes: Buffer.concat([Buffer.from(head), body ?? EMPTY]),
    hash: body === null ? NO_BODY : createHash('sha1').update(body).digest('hex'),
  };
}

/** Who answered. */
export interface Answered {
  readonly thread: number;
  readonly program: string;
}

/** The value of a header in `head`, which ends with an empty line. */
function headerOf(head: string, name: string): string | undefined {
  const start = head.indexOf(`\r\n${name}: `);
  if (start < 0) return undefined;
  const from = start + name.length + 4;
  return head.slice(from, head.indexOf('\r\n', from));
}

/** Reads one answer at a time. */
class AnswerReader {
  #bytes: Buffer = EMPTY;
  #expected: Exchange | null = null;
  #bodyFrom = -1;
  #answered: Answered | null = null;

  get busy(): boolean {
    return this.#expected !== null;
  }

  expect(exchange: Exchange): void {
    this.#expected = exchange;
    this.#bodyFrom = -1;
  }

  /** Null while the answer is not complete. @throws Error that says what is wrong with it */
  take(chunk: Buffer): Answered | null {
    const expected = this.#expected;
    this.#bytes = this.#bytes.length > 0 ? Buffer.concat([this.#bytes, chunk]) : chunk;
    if (expected === null)
      throw new Error(`nobody asked for ${this.#bytes.toString('latin1', 0, 99)}`);
    if (this.#bodyFrom < 0) {
      const end = this.#bytes.indexOf(END);
      if (end < 0) return null;
      this.#bodyFrom = end + END.length;
      this.#answered = checkHead(this.#bytes.toString('latin1', 0, this.#bodyFrom), expected);
    }
    const end = this.#bodyFrom + expected.size;
    if (this.#bytes.length < end) return null;
    if (this.#bytes.length > end) throw new Error(`answer ${expected.number} is too long`);
    const body = this.#bytes.subarray(this.#bodyFrom, end);
    if (!body.equals(bodyOf(expected.number, expected.size))) {
      throw new Error(`answer ${expected.number} has a wrong body`);
    }
    this.#bytes = EMPTY;
    this.#expected = null;
    return this.#answered;
  }
}

function checkHead(head: string, expected: Exchange): Answered {
  const { number, size, length, hash } = expected;
  if (!head.startsWith('HTTP/1.1 200 ')) {
    throw new Error(`answer ${number}: ${head.slice(0, head.indexOf('\r\n'))}`);
  }
  const wanted = { number, length: String(length), hash };
  for (const [name, value] of Object.entries(wanted)) {
    const got = headerOf(head, `x-${name}`);
    if (got !== value) throw new Error(`answer ${number}: x-${name} is ${got}, not ${value}`);
  }
  const said = headerOf(head, 'content-length');
  if (said !== String(size)) throw new Error(`answer ${number} has ${said} bytes, not ${size}`);
  return {
    thread: Number(headerOf(head, 'x-thread')),
    program: headerOf(head, 'x-program') ?? '',
  };
}

/** Why a connection is no more. */
export interface End {
  /** `EOF` for one that the server ended in order; null: this end closed it. */
  readonly code: string | null;
  /** Whether an answer was still to come. */
  readonly asked: boolean;
  /** What was wrong with an answer, if that was the reason. */
  readonly wrong: string | null;
}

export interface LineEvents {
  answered(answer: Answered): void;
  /** Last, and once. */
  ended(end: End): void;
}

/** A connection that is kept alive. */
export class Line {
  /** Its own port: by that the server knows it. */
  port = 0;
  readonly #socket: net.Socket;
  readonly #reader = new AnswerReader();
  readonly #events: LineEvents;
  #closed = false;
  #wrong: string | null = null;
  #code: string | null = null;
  /** Ended by the server. */
  #eof = false;

  private constructor(to: net.TcpNetConnectOpts, events: LineEvents) {
    this.#events = events;
    this.#socket = net.connect({ ...to, noDelay: true });
    this.#socket.on('data', (chunk) => this.#take(chunk));
    this.#socket.on('end', () => {
      this.#eof = true;
    });
    this.#socket.on('error', ({ code, message }: NodeJS.ErrnoException) => {
      this.#code ??= code ?? message;
    });
  }

  /** @throws Error with a `code` if it is refused */
  static open(to: net.TcpNetConnectOpts, events: LineEvents): Promise<Line> {
    return new Promise((resolve, reject) => {
      const line = new Line(to, events);
      const socket = line.#socket;
      let connected = false;
      socket.once('connect', () => {
        connected = true;
        line.port = socket.localPort ?? 0;
        resolve(line);
      });
      socket.once('close', () => {
        if (connected) events.ended(line.#end());
        else reject(Object.assign(new Error(`not connected: ${line.#code}`), { code: line.#code }));
      });
    });
  }

  /** Whether an answer is still to come. */
  get busy(): boolean {
    return this.#reader.busy;
  }

  /** One at a time. */
  ask(exchange: Exchange): void {
    this.#reader.expect(exchange);
    this.#socket.write(exchange.bytes);
  }

  close(): void {
    this.#closed = true;
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    try {
      const answered = this.#reader.take(chunk);
      if (answered !== null) this.#events.answered(answered);
    } catch (error) {
      this.#wrong = (error as Error).message;
      this.#socket.destroy();
    }
  }

  #end(): End {
    const lost = this.#eof ? 'EOF' : (this.#code ?? 'closed');
    return {
      code: this.#closed ? null : lost,
      asked: this.busy,
      wrong: this.#wrong,
    };
  }
}

/** Resolves with who answered. @throws Error with a `code` if nobody did */
export async function askOnce(
  to: net.TcpNetConnectOpts,
  exchange: Exchange,
): Promise<Answered & { readonly port: number }> {
  let settle: (outcome: Answered | End) => void = () => {};
  const settled = new Promise<Answered | End>((resolve) => {
    settle = resolve;
  });
  const line = await Line.open(to, { answered: settle, ended: settle });
  line.ask(exchange);
  const outcome = await settled;
  line.close();
  const { port } = line;
  if ('thread' in outcome) return { ...outcome, port };
  throw Object.assign(new Error(outcome.wrong ?? `lost: ${outcome.code}`), {
    ...{ code: outcome.code, port, wrong: outcome.wrong },
  });
}

/** So many new connections, with a request each: their answers. */
export function arriving(
  to: net.TcpNetConnectOpts,
  random: Random,
  count: number,
): Promise<Answered>[] {
  return Array.from({ length: count }, () =>
    askOnce(to, makeExchange(random, `arrives-${random()}`, { size: 10 })),
  );
}

/** A connection on which a test asks one thing after the other. */
export class Talk {
  readonly #random: Random;
  readonly #line: Line;
  #settle: (outcome: Answered | End) => void = () => {};

  private constructor(random: Random, line: Line) {
    this.#random = random;
    this.#line = line;
  }

  /** Resolves when a first question has been answered. */
  static async open(to: net.TcpNetConnectOpts, random: Random): Promise<Talk> {
    const line = await Line.open(to, {
      answered: (answered) => talk.#settle(answered),
      ended: (end) => talk.#settle(end),
    });
    const talk = new Talk(random, line);
    await talk.ask({});
    return talk;
  }

  get port(): number {
    return this.#line.port;
  }

  /** Resolves with the answer, or with how the connection ended instead. */
  ask(shape: Shape): Promise<Answered | End> {
    const outcome = new Promise<Answered | End>((resolve) => {
      this.#settle = resolve;
    });
    this.#line.ask(makeExchange(this.#random, `talk-${this.#random()}`, shape));
    return outcome;
  }

  close(): void {
    this.#line.close();
  }
}
