/**
 * Whom a worker may give to, nearest first. Pure.
 */

/** For one worker: gyres, that is rings of worker indices, nearest first. It is in none itself. */
export type Rings = readonly (readonly number[])[];

/** One ring for each of `workers` workers: all the others. What no topology is known for. */
export function wholeMachine(workers: number): readonly Rings[] {
  const all = Array.from({ length: workers }, (_, index) => index);
  return all.map((worker) => [all.filter((other) => other !== worker)]);
}

/**
 * Rings of `slots` workers, of which those that `rings` does not name are spares. A spare is
 * near to nobody, because it is bound to no CPU: to a worker the spares are one more ring, the
 * last, and to a spare all workers are the first and the other spares the second.
 */
export function withSpares(rings: readonly Rings[], slots: number): readonly Rings[] {
  const workers = rings.map((_, index) => index);
  const spares = Array.from({ length: slots - rings.length }, (_, index) => rings.length + index);
  if (spares.length === 0) return rings;
  return [
    ...rings.map((own) => [...own, spares]),
    ...spares.map((spare) => [workers, spares.filter((other) => other !== spare)]),
  ];
}
