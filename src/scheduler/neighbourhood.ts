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
