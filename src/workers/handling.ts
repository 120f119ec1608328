/**
 * One handler at work on one event. Worker's thread only.
 */
import { inspect } from 'node:util';
import type { GyreError } from '../errors.js';
import type { EventHandler, EventKind, EventOf, SourceEvent } from '../events.js';
import type { PostedError } from '../protocol.js';

/** An error that survives being posted. */
export function posted(error: unknown): PostedError {
  const { code } = (error ?? {}) as { code?: unknown };
  try {
    structuredClone(error);
  } catch {
    return { value: inspect(error), code: null };
  }
  return { value: error, code: typeof code === 'string' ? code : null };
}

/** What the handler of a firing is given. */
export class Event<Kind extends EventKind, Payload> implements EventOf<Kind, Payload> {
  readonly kind: Kind;
  readonly name: string;
  readonly id: number;
  readonly attempt: number;
  readonly payload: Payload;
  readonly #close: () => void;
  #controller: AbortController | null = null;

  constructor(
    what: Pick<EventOf<Kind, Payload>, 'kind' | 'name' | 'id' | 'attempt' | 'payload'>,
    close: () => void,
  ) {
    this.kind = what.kind;
    this.name = what.name;
    this.id = what.id;
    this.attempt = what.attempt;
    this.payload = what.payload;
    this.#close = close;
  }

  /** Made when it is first asked for: most handlers never ask. */
  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    return this.#controller.signal;
  }

  close(): void {
    this.#close();
  }

  abort(reason: GyreError): void {
    this.#controller ??= new AbortController();
    this.#controller.abort(reason);
  }
}

/**
 * Calls `handler`, and `settled` once: with null, or with what it threw or rejected with. At
 * once if it returns no promise.
 */
export function run<E extends SourceEvent>(
  handler: EventHandler,
  event: E,
  settled: (error: { readonly thrown: unknown } | null) => void,
): void {
  let result: unknown;
  try {
    result = handler(event);
  } catch (thrown) {
    settled({ thrown });
    return;
  }
  if (typeof (result as PromiseLike<unknown> | null | undefined)?.then !== 'function') {
    settled(null);
    return;
  }
  Promise.resolve(result).then(
    () => settled(null),
    (thrown) => settled({ thrown }),
  );
}
