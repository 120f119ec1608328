/**
 * The Pareto frontier: the candidates that no other candidate dominates. Pure.
 *
 * One candidate dominates another when it is at least as good by every criterion
 * and better by one. Candidates that are equal by every criterion do not dominate
 * each other, so all of them stay or none does.
 */

/** What a candidate costs: lower is better. Never NaN, which is neither better nor worse. */
export type Criterion = (candidate: number) => number;

/** Costs that are on the frontier so far, and the positions of the candidates that have them. */
interface Point {
  readonly costs: readonly number[];
  readonly at: number[];
}

/** Which of two costs dominates the other: the first, the second, neither; or they are the same. */
function compare(a: readonly number[], b: readonly number[]) {
  let better = false;
  let worse = false;
  for (let i = 0; i < a.length; i++) {
    const difference = (a[i] as number) - (b[i] as number);
    better ||= difference < 0;
    worse ||= difference > 0;
  }
  if (better) return worse ? 'neither' : 'first';
  return worse ? 'second' : 'same';
}

/**
 * The frontier of `candidates`, in their order. Without criteria that is all of them.
 *
 * Each criterion is asked once for each candidate. Comparing takes n × f × m for n
 * candidates, m criteria, and f different costs on the frontier: in a wide ring most
 * candidates are idle and were never given anything, so many are equal and f is small.
 */
export function frontier(candidates: readonly number[], criteria: readonly Criterion[]): number[] {
  let points: Point[] = [];
  candidates.forEach((candidate, at) => {
    const costs = criteria.map((criterion) => criterion(candidate));
    let dominates = false;
    // What is on the frontier so far does not dominate each other, so a candidate that is
    // dominated, or the same as one of them, dominates none.
    for (const point of points) {
      const relation = compare(point.costs, costs);
      if (relation === 'first') return;
      if (relation === 'same') {
        point.at.push(at);
        return;
      }
      dominates ||= relation === 'second';
    }
    if (dominates) points = points.filter((point) => compare(costs, point.costs) !== 'first');
    points.push({ costs, at: [at] });
  });
  const kept = points.flatMap(({ at }) => at).sort((a, b) => a - b);
  return kept.map((at) => candidates[at] as number);
}
