/**
 * How much of each test is run: by default what CI has time for. GYRE_FAULTS is the share of what
 * must hold, from 0 to 1; `npm run test:faults` runs all of it.
 */
const SHARE = Number(process.env.GYRE_FAULTS ?? 0);

/** Whether the load is to be what must be borne: else CI's machine serves it easily. */
export const SCALED = SHARE > 0;

export function scaled(short: number, full: number): number {
  return Math.max(short, Math.ceil(SHARE * full));
}

/** Of all tests in a file together, in ms. */
export function timeLimit(fullMs: number): number {
  return scaled(280_000, fullMs);
}
