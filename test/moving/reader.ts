/** The check of every byte that comes back on a connection, and that nothing comes that was not asked for. */
import { bodyOf, type Expected } from './requests.js';

const CRLF = Buffer.from('\r\n');

/** The connection ended, or was refused, and should not have been. */
export class EndedEarly extends Error {}

/** Reads answers, in order, and compares each byte with what it should be. */
export class Reader {
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
