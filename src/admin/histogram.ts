/**
 * What durations that were counted in buckets tell. Pure; any thread. Within a bucket they are taken to lie evenly.
 */
import type { Histogram } from './status.js';

export function total(counts: readonly number[]): number {
  return counts.reduce((all, one) => all + one, 0);
}

/** What `now` has that `before`, an earlier reading of the same, had not. */
export function since(before: Histogram | undefined, now: Histogram): Histogram {
  const counts = now.counts.map((count, i) => count - (before?.counts[i] ?? 0));
  return { ...now, counts, sumSeconds: now.sumSeconds - (before?.sumSeconds ?? 0) };
}

/** All together; they have the same bounds. Null: there are none. */
export function sumOf(histograms: readonly Histogram[]): Histogram | null {
  const [first] = histograms;
  if (first === undefined) return null;
  return {
    sumSeconds: total(histograms.map(({ sumSeconds }) => sumSeconds)),
    boundsSeconds: first.boundsSeconds,
    counts: first.counts.map((_, i) => total(histograms.map(({ counts }) => counts[i] ?? 0))),
  };
}

/** The duration that `share` of all of them do not exceed; null: there are none. */
export function quantile(histograms: readonly Histogram[], share: number): number | null {
  const { boundsSeconds: bounds = [], counts = [] } = sumOf(histograms) ?? {};
  const all = total(counts);
  if (all === 0) return null;
  let left = share * all;
  for (const [i, count] of counts.entries()) {
    const [lower, upper] = [bounds[i - 1] ?? 0, bounds[i]];
    if (upper === undefined) return lower; // more than the last bound: how much more is not known
    if (left <= count) return lower + ((upper - lower) * left) / count;
    left -= count;
  }
  return bounds.at(-1) ?? null;
}

/** How many surely took less than `seconds`: a bucket that goes beyond it is not counted. */
export function countBelow({ boundsSeconds, counts }: Histogram, seconds: number): number {
  const beyond = boundsSeconds.findIndex((bound) => bound > seconds);
  return total(counts.slice(0, beyond === -1 ? boundsSeconds.length : beyond));
}
