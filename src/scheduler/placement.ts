/**
 * Which worker runs on which CPU. Pure.
 */

/**
 * CPUs for `workers` workers out of `cpus`, in order, starting over when there are
 * more workers than CPUs.
 */
export function place(workers: number, cpus: readonly number[]): number[] {
  if (cpus.length === 0) throw new RangeError('there is no CPU to place workers on');
  return Array.from({ length: workers }, (_, index) => cpus[index % cpus.length] as number);
}
