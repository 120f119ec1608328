/**
 * For how long each CPU has idled, from the text of /proc/stat. Pure.
 */

/** Of one CPU since the system started, in the clock ticks of /proc. */
export interface CpuTime {
  readonly idle: number;
  readonly all: number;
}

/** Positions of columns (proc(5): stat). What comes after steal is in user and nice already. */
const NICE = 1;
const IDLE = 3;
const IOWAIT = 4;
const COUNTED = 8;

/**
 * By number of the CPU. What is not understood is left out.
 *
 * @param yields whether whoever was made nice leaves the CPU to us: its time counts as idle then
 */
export function cpuTimes(text: string, yields = false): ReadonlyMap<number, CpuTime> {
  const free = yields ? [NICE, IDLE, IOWAIT] : [IDLE, IOWAIT];
  const times = new Map<number, CpuTime>();
  for (const [, cpu, fields] of text.matchAll(/^cpu(\d+)((?: +\d+)+)$/gm)) {
    const ticks = String(fields).trim().split(/ +/).map(Number).slice(0, COUNTED);
    const sum = (positions: Iterable<number>) =>
      [...positions].reduce((total, at) => total + (ticks[at] ?? 0), 0);
    times.set(Number(cpu), { idle: sum(free), all: sum(ticks.keys()) });
  }
  return times;
}

/**
 * The share of the time from `before` to `after` for which the idlest of `cpus` idled, 0 to 1; null:
 * of none of them anything is known.
 */
export function idlest(
  before: ReadonlyMap<number, CpuTime>,
  after: ReadonlyMap<number, CpuTime>,
  cpus: readonly number[],
): number | null {
  let share: number | null = null;
  for (const cpu of cpus) {
    const [from, to] = [before.get(cpu), after.get(cpu)];
    if (from === undefined || to === undefined || to.all <= from.all) continue;
    const idled = Math.min(1, Math.max(0, (to.idle - from.idle) / (to.all - from.all)));
    share = Math.max(share ?? 0, idled);
  }
  return share;
}
