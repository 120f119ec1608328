/**
 * What a host holds of its system: descriptors, threads and memory, seen from outside. A test looks
 * before its fault and after it, both times with no connection open, and everything that was
 * there for a moment must have gone.
 */
import type { Test } from 'tap';
import { type Facts, type Host, total } from '../moving/host.js';
import { memoryMbOf } from '../support/proc.js';

/**
 * What the heap of a process may grow by within a test without being a leak, in MB: V8 collects
 * garbage when it likes, and glibc keeps what threads have freed.
 */
export const GROWTH_MB = 48;

export interface Footprint {
  /** What each is: which pipe, or socket, it is differs for another thread. */
  readonly descriptors: readonly string[];
  readonly threads: readonly string[];
  readonly memoryMb: number;
}

function kinds({ descriptors }: Facts): string[] {
  return descriptors.map((name) => name.replace(/:\[\d+\]$/, ''));
}

function isCalm(facts: Facts): boolean {
  const { workers } = facts;
  return total(facts, 'connections') === 0 && workers.every(({ state }) => state === 'serving');
}

/** The host's footprint as soon as every worker serves and no connection is open. */
export async function footprintOf(host: Host): Promise<Footprint> {
  await host.factsWhen(isCalm);
  const facts = await host.facts(); // which looks at descriptors before it counts connections
  return { descriptors: kinds(facts), threads: facts.threads, memoryMb: memoryMbOf(host.pid) };
}

/** Checks that `host` is back to `before`, as soon as it is. */
export async function comesBackTo(
  t: Test,
  host: Host,
  before: Footprint,
  growthMb = GROWTH_MB,
): Promise<void> {
  const facts = await host.factsWhen(
    (now) =>
      isCalm(now) &&
      now.descriptors.length === before.descriptors.length &&
      now.threads.length === before.threads.length,
  );
  t.equal(total(facts, 'connections'), 0, 'no connection is left');
  t.same(kinds(facts), before.descriptors, 'no descriptor is left');
  t.same(facts.threads, before.threads, 'no thread is left');
  const grown = memoryMbOf(host.pid) - before.memoryMb;
  t.comment(`memory: ${before.memoryMb.toFixed(0)} MB, and ${grown.toFixed(1)} MB more after it`);
  t.ok(grown < growthMb, `it has grown by less than ${growthMb} MB`);
}
