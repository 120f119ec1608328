/** The seed of a test's random choices. */

/** Of environment variable GYRE_TEST_SEED, or random; the test prints it. */
export function testSeed(): number {
  return Number(process.env.GYRE_TEST_SEED ?? Math.floor(Math.random() * 1_000_000));
}
