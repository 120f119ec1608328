/**
 * Reads HTTP responses as cheaply as a load generator must, and exactly enough to notice
 * a wrong one: a status other than 200, a length other than it says, bytes that nobody
 * asked for. Pure.
 */

/** A head that is longer is none. Servers here send about 150 bytes. */
const HEAD_MAX = 16_384;
const LENGTH = /\r\ncontent-length:[ \t]*(\d+)[ \t]*\r\n/i;

export class ResponseScanner {
  #text = '';

  /**
   * Takes the next bytes of a connection, as latin1, wherever they were cut. Returns the
   * body once the response is complete, and null before.
   *
   * @throws Error when it is not the 200 with a Content-Length that was to come. The
   *   scanner is of no more use then.
   */
  push(bytes: string): string | null {
    const text = this.#text === '' ? bytes : this.#text + bytes;
    const headEnd = text.indexOf('\r\n\r\n');
    if (headEnd === -1) {
      if (text.length > HEAD_MAX) throw new Error(`a head of over ${HEAD_MAX} bytes`);
      this.#text = text;
      return null;
    }
    if (!text.startsWith('HTTP/1.1 200 ')) throw new Error(text.slice(0, text.indexOf('\r\n')));
    const length = LENGTH.exec(text.slice(0, headEnd + 2))?.[1];
    if (length === undefined) throw new Error('a response without Content-Length');
    const end = headEnd + 4 + Number(length);
    if (text.length > end) throw new Error(`${text.length - end} bytes after the response`);
    this.#text = text.length < end ? text : '';
    return text.length < end ? null : text.slice(headEnd + 4);
  }
}
