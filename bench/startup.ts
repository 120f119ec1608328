/**
 * Question: how long after its start does a server give its first answer?
 *
 * From the spawn of the process to the end of the first HTTP 200, asked for on a new
 * connection every millisecond; and to the moment when all its workers listen.
 */
import { run } from './harness.js';
import { withServer } from './server.js';
import type { AppName, SystemName } from './systems.js';

const APPS: readonly AppName[] = ['hello', 'express'];
const SYSTEMS: readonly SystemName[] = ['gyre', 'cluster-rr', 'single'];

run({
  name: 'startup',
  question: 'how long after its start does a server give its first answer?',
  pinning: 'each gyre worker to one CPU; the rivals not',
  flags: { rounds: 15, workers: 2 },
  metrics: {
    first: { unit: 'ms to the first answer', digits: 0, better: 'less' },
    all: { unit: 'ms until all workers listen', digits: 0, better: 'less' },
  },
  variants: APPS.flatMap((app) => SYSTEMS.map((system) => `${system} ${app}`)),
  comparisons: (['first', 'all'] as const).flatMap((metric) =>
    APPS.flatMap((app) =>
      ['cluster-rr', 'single'].map((rival) => ({
        ...{ metric, of: `gyre ${app}`, to: `${rival} ${app}` },
      })),
    ),
  ),
  measure(variant, { workers }) {
    const [system, app] = variant.split(' ') as [SystemName, AppName];
    return withServer(system, app, workers, ({ firstAnswerMs, allListenMs }) => ({
      ...{ first: firstAnswerMs, all: allListenMs },
    }));
  },
});
