/**
 * Places: how many connections and requests there are in all workers together. Any thread. To take one
 * is lock-free: it is tried again when somebody else takes one in the same moment. All else is wait-free. Misuse,
 * that is to return what was not taken, lets in more than the limit.
 *
 * ## A connection has one place
 *
 * PLACES.CONNECTIONS counts the connections of all workers together. Whoever is about to accept
 * one takes a place first, so there are never more than the limit, not even for a moment. A
 * connection that moves keeps its place, in mailboxes and main's hands, too, and whoever closes
 * it gives that back.
 *
 * A thread may end at any instruction, and its connections with it. So each worker counts in its own
 * row how many it has (CONNECTIONS), and main gives back so many when it has ended:
 *
 *     accepts                 place + 1, CONNECTIONS + 1, accept(2); both - 1 if there was none
 *     is given one            CONNECTIONS + 1, when it is no longer in transit, and in its hand
 *     gives one               CONNECTIONS - 1, when it is in somebody's mailbox
 *     one closes              CONNECTIONS - 1, place - 1
 *     the governor takes one  TAKEN + 1, while the worker is paused; it never counts it any more
 *     its thread has ended    places - (CONNECTIONS - TAKEN), but not what is in its hand
 *
 * TAKEN is a word of its own because the worker may end before it hears that a connection was taken.
 * It is known by the state of its entry when its wrapper goes: `Tracking` tells.
 *
 * Requests are counted alike, and do not move.
 *
 * ## Two words, one moment
 *
 * V8 ends a thread at the entry of a function or the turn of a loop: so neither comes between the word of
 * all workers and that of the caller.
 *
 * Rejected: a sum over all rows instead of one word. Several workers would take the last place in one
 * instant, and a connection on its way from one row to another is seen in neither or both. To leave out what is
 * in a mailbox: after a reload half of all connections may be.
 *
 * Tests: test/scheduler/limits.test.ts, with threads; the simulation's invariants, with a mutant.
 */
import { PLACES, placesRow } from './layout.js';

/** What has places. */
export type Placed = keyof typeof PLACES;

/** Most places that the counting word has room for. */
export const PLACES_MAX = 2 ** 31 - 1;

/** The word that counts the places taken of all workers together. */
export function placesWord(of: Placed): number {
  return placesRow() + PLACES[of];
}

/** Takes a place, and counts it at word `own` of the caller, unless `limit` are taken. */
export function takePlace(words: Int32Array, of: Placed, own: number, limit: number): boolean {
  const place = placesWord(of);
  for (;;) {
    const taken = Atomics.load(words, place);
    if (taken >= limit) return false;
    if (Atomics.compareExchange(words, place, taken, taken + 1) !== taken) continue;
    Atomics.store(words, own, (Atomics.load(words, own) + 1) | 0);
    return true;
  }
}

/** Gives `count` places back that were counted at word `own` of the caller. */
export function returnPlaces(words: Int32Array, of: Placed, own: number, count: number): void {
  const place = placesWord(of);
  Atomics.store(words, own, (Atomics.load(words, own) - count) | 0);
  Atomics.sub(words, place, count);
}
