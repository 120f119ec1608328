/**
 * Who has which connection, by the word of the application: test/fixtures/apps/verify.js writes its
 * thread into this file when it gets a connection, whether accepted or moved, under the client's
 * port. A connection that is lost was the thread's that stands there then.
 */
import { closeSync, ftruncateSync, openSync, readSync } from 'node:fs';
import path from 'node:path';
import type { Test } from 'tap';
import { folder } from '../support/folder.js';

const PORTS = 65_536;
const WORD_BYTES = Int32Array.BYTES_PER_ELEMENT;

export class Ledger {
  readonly #fd: number;
  /** For the application. */
  readonly env: { readonly LEDGER: string };

  constructor(t: Test) {
    const file = path.join(folder(t), 'ledger');
    this.#fd = openSync(file, 'w+');
    ftruncateSync(this.#fd, PORTS * WORD_BYTES);
    t.teardown(() => closeSync(this.#fd));
    this.env = { LEDGER: file };
  }

  /** Node's number of the thread that last got a connection from `port`; 0: none did. */
  ownerOf(port: number): number {
    const word = new Int32Array(1);
    readSync(this.#fd, word, 0, WORD_BYTES, port * WORD_BYTES);
    return word[0] as number;
  }
}
