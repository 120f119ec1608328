/**
 * Promises as the simulated threads have them. What a promise does when it settles is a job of
 * the thread on which that happens, so that the simulation decides when it runs, and a thread that
 * has died does nothing more.
 */

/** Thrown on a thread that is ended. Nobody may catch it: see `Thread.point`. */
export class Ended extends Error {}

/** The thread that runs now, as far as promises need to know it. */
export interface JobQueue {
  job(work: () => void): void;
  /** A promise was rejected and nobody has looked. */
  unhandled(promise: Later<unknown>, reason: unknown): void;
}

let running: () => JobQueue = () => {
  throw new Error('nobody runs');
};

export function jobsGoTo(current: () => JobQueue): void {
  running = current;
}

type Settled = (value: never) => unknown;

interface Reaction {
  readonly fulfilled: () => void;
  readonly rejected: () => void;
}

export class Later<T> implements PromiseLike<T> {
  state: 'pending' | 'fulfilled' | 'rejected' = 'pending';
  value: unknown;
  handled = false;
  #reactions: Reaction[] = [];

  constructor(
    executor: (resolve: (value?: unknown) => void, reject: (reason?: unknown) => void) => void,
  ) {
    try {
      executor(this.#resolve, this.#reject);
    } catch (error) {
      if (error instanceof Ended) throw error;
      this.#reject(error);
    }
  }

  static resolve(value?: unknown): Later<unknown> {
    return value instanceof Later ? value : new Later((resolve) => resolve(value));
  }

  static reject(reason: unknown): Later<never> {
    return new Later((_, reject) => reject(reason));
  }

  static all(values: Iterable<unknown>): Later<unknown[]> {
    return new Later((resolve, reject) => {
      const all = [...values];
      const results: unknown[] = new Array(all.length);
      let left = all.length;
      if (left === 0) resolve(results);
      for (const [i, value] of all.entries()) {
        Later.resolve(value).then((result) => {
          results[i] = result;
          if (--left === 0) resolve(results);
        }, reject);
      }
    });
  }

  static race(values: Iterable<unknown>): Later<unknown> {
    return new Later((resolve, reject) => {
      for (const value of values) Later.resolve(value).then(resolve, reject);
    });
  }

  static allSettled(values: Iterable<unknown>): Later<unknown[]> {
    const settled = [...values].map((value) =>
      Later.resolve(value).then(
        (result) => ({ status: 'fulfilled', value: result }),
        (reason) => ({ status: 'rejected', reason }),
      ),
    );
    return Later.all(settled);
  }

  // biome-ignore lint/suspicious/noThenProperty: it is one
  then<A = T, B = never>(
    onFulfilled?: ((value: T) => A | PromiseLike<A>) | null,
    onRejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Later<A | B> {
    this.handled = true;
    return new Later((resolve, reject) => {
      const react = (handler: Settled | null | undefined, otherwise: (value: unknown) => void) => {
        try {
          if (typeof handler === 'function') resolve(handler(this.value as never));
          else otherwise(this.value);
        } catch (error) {
          if (error instanceof Ended) throw error;
          reject(error);
        }
      };
      const reaction = {
        fulfilled: () => react(onFulfilled as Settled, resolve),
        rejected: () => react(onRejected as Settled, reject),
      };
      if (this.state === 'pending') this.#reactions.push(reaction);
      else running().job(reaction[this.state]);
    });
  }

  catch<B>(onRejected: (reason: unknown) => B | PromiseLike<B>): Later<T | B> {
    return this.then(null, onRejected);
  }

  #resolve = (value?: unknown): void => {
    if (this.state !== 'pending') return;
    if (value instanceof Later) {
      value.then(this.#fulfil, this.#reject);
      return;
    }
    this.#fulfil(value);
  };

  #fulfil = (value: unknown): void => this.#settle('fulfilled', value);

  #reject = (reason?: unknown): void => {
    if (this.state !== 'pending') return;
    this.#settle('rejected', reason);
    if (!this.handled) running().unhandled(this, reason);
  };

  #settle(state: 'fulfilled' | 'rejected', value: unknown): void {
    if (this.state !== 'pending') return;
    this.state = state;
    this.value = value;
    const reactions = this.#reactions;
    this.#reactions = [];
    for (const reaction of reactions) running().job(reaction[state]);
  }
}

/** Runs what was the body of an async function. */
export function asynchronous(body: Generator<unknown, unknown>): Later<unknown> {
  return new Later((resolve, reject) => {
    const go = (how: 'next' | 'throw', value: unknown) => {
      let next: IteratorResult<unknown, unknown>;
      try {
        next = body[how](value);
      } catch (error) {
        if (error instanceof Ended) throw error;
        reject(error);
        return;
      }
      if (next.done) resolve(next.value);
      else {
        Later.resolve(next.value).then(
          (result) => go('next', result),
          (error) => go('throw', error),
        );
      }
    };
    go('next', undefined);
  });
}
