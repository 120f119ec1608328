/**
 * The Pareto frontier: the candidates that no other candidate dominates. Pure.
 *
 * One candidate dominates another when it is at least as good by every criterion
 * and better by one. Candidates that are equal by every criterion do not dominate
 * each other, so all of them stay or none does.
 */

/** What a candidate costs: lower is better. Never NaN, which is neither better nor worse. */
export type Criterion = (candidate: number) => number;

/** Whether a candidate with costs `a` is at least as good everywhere, and not the same. */
function dominates(a: readonly number[], b: readonly number[]): boolean {
  let better = false;
  for (let i = 0; i < a.length; i++) {
    const difference = (a[i] as number) - (b[i] as number);
    if (difference > 0) return false;
    if (difference < 0) better = true;
  }
  return better;
}

/**
 * The frontier of `candidates`, in their order. Without criteria that is all of them.
 *
 * Each criterion is asked once for each candidate. Comparing takes n × f × m for n
 * candidates, f of them on the frontier, and m criteria.
 */
export function frontier(candidates: readonly number[], criteria: readonly Criterion[]): number[] {
  const costs = candidates.map((candidate) => criteria.map((criterion) => criterion(candidate)));
  const order = candidates.map((_, index) => index);
  // By the first cost that differs. Whatever dominates a candidate now comes before it,
  // so it is enough to look back; and since dominating is transitive, to look at
  // those that were kept.
  order.sort((left, right) => {
    const a = costs[left] as number[];
    const b = costs[right] as number[];
    const at = a.findIndex((cost, index) => cost !== b[index]);
    return at === -1 ? 0 : (a[at] as number) < (b[at] as number) ? -1 : 1;
  });
  const kept: number[] = [];
  for (const index of order) {
    const cost = costs[index] as number[];
    if (!kept.some((other) => dominates(costs[other] as number[], cost))) kept.push(index);
  }
  return kept.sort((a, b) => a - b).map((index) => candidates[index] as number);
}
