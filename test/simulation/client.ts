/**
 * The clients: each has one connection, and sends one message after the other, in pieces, as
 * the simulation says. What they see is what counts: whether each message was answered, once,
 * by who read all of it.
 */
import { type Stream, Violation } from './kernel.js';
import type { Thread } from './thread.js';

/** What the program does with a message. */
export type Wish =
  | 'answer'
  | 'later'
  | 'burn'
  | 'hang'
  | 'block'
  | 'throw'
  | 'exit'
  | 'hold'
  | 'upgrade';

export interface Message {
  readonly wish: Wish;
  /** Its bytes in the client's stream: from `start` to before `end`. */
  readonly start: number;
  readonly end: number;
  /** The thread that read its first byte. */
  reader: string | null;
  answered: boolean;
}

const MESSAGE_BYTES = 100;

export class Connection {
  readonly id: number;
  readonly port: number;
  readonly mayBeRefused: boolean;
  readonly messages: Message[] = [];
  stream: Stream | null = null;
  /** Bytes sent. */
  received = 0;
  state: 'open' | 'closed by client' | 'closed by server' | 'reset' = 'open';
  /** The last thread that had it as a handle when it ended, or took it out of a queue for others. */
  hadBy: Thread | null = null;
  /** The server has said that it will close. */
  told = false;
  /** The program keeps state above the socket, and it never moves again. */
  stays = false;
  /** There was no room for it. */
  refused = false;

  /** @param mayBeRefused whether there need not be room for it */
  constructor(id: number, port: number, mayBeRefused: boolean) {
    this.id = id;
    this.port = port;
    this.mayBeRefused = mayBeRefused;
  }

  get last(): Message | undefined {
    return this.messages.at(-1);
  }

  /** Every message that it began was sent whole and answered. */
  get idle(): boolean {
    const { last } = this;
    return last === undefined || last.answered;
  }

  /** As the server sees it: what was read has been answered. */
  get between(): boolean {
    const consumed = this.stream?.consumed ?? 0;
    return !this.messages.some(({ start, answered }) => start < consumed && !answered);
  }

  /** Begins a message, and sends the rest of one that has begun. */
  send(wish: Wish, half: boolean): void {
    if (this.idle) {
      const start = this.received;
      const end = start + MESSAGE_BYTES;
      this.messages.push({ wish, start, end, reader: null, answered: false });
    }
    const { end } = this.last as Message;
    this.received = half ? Math.min(end - 1, this.received + MESSAGE_BYTES / 2) : end;
    if (this.stream !== null) this.stream.received = this.received;
  }

  /** There is something to send of a message that has begun. */
  get unsent(): boolean {
    return this.last !== undefined && this.received < this.last.end;
  }

  accepted(stream: Stream): void {
    this.stream = stream;
  }

  /** The server has no room for it, and says so when it is asked, or closes. */
  refuse(by: string): void {
    if (this.refused) throw new Violation(`${this.id} is refused twice`);
    if (!this.mayBeRefused) throw new Violation(`${this.id} is refused by ${by}`);
    this.refused = true;
    this.told = true;
  }

  /** It wants no more, whatever it has asked. */
  leave(): void {
    if (this.state === 'open') this.state = 'closed by client';
  }

  /** `reader` has read up to before `to`: the messages that this touches, in order. */
  read(reader: string, to: number): Message[] {
    const stream = this.stream as Stream;
    const from = stream.consumed;
    stream.consumed = to;
    const touched = this.messages.filter(({ start, end }) => start < to && end > from);
    for (const message of touched) {
      message.reader ??= reader;
      if (message.reader !== reader) {
        throw new Violation(
          `${this.id}: ${message.reader} read a part of a message, and ${reader} the rest`,
        );
      }
    }
    return touched;
  }

  answer(message: Message, by: string, closes: boolean): void {
    if (message.answered) throw new Violation(`${this.id}: a message is answered twice`);
    if (message.reader !== by)
      throw new Violation(`${this.id}: ${by} answers what it has not read`);
    message.answered = true;
    if (closes) this.told = true;
    (this.stream as Stream).written += MESSAGE_BYTES;
  }
}
