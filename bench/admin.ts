/**
 * Question: what does the admin endpoint cost a hello world, when it is scraped every second?
 *
 * With the endpoint on workers count requests and time iterations, and a scrape wakes each of
 * them. The same server without it runs beside it in each round.
 */
import { rmSync } from 'node:fs';
import http from 'node:http';
import { VoidRun } from './failures.js';
import { run } from './harness.js';
import { withServer } from './server.js';
import { ADMIN_SOCKET, type SystemName } from './systems.js';
import { CLOSED_LOOP_METRICS, checkWrk, measureWrk, wrkVersion } from './wrk.js';

const SCRAPE_MS = 1_000;

process.on('exit', () => rmSync(ADMIN_SOCKET, { force: true }));

/** Status of one scrape, and how long it took. */
function scrape(): Promise<{ status: number; ms: number }> {
  const began = performance.now();
  const headers = { accept: 'application/openmetrics-text; version=1.0.0' };
  return new Promise((resolve, reject) => {
    const options = { socketPath: ADMIN_SOCKET, path: '/metrics', headers, agent: false };
    const request = http.get(options, (response) => {
      response.resume().on('end', () => {
        resolve({ status: response.statusCode ?? 0, ms: performance.now() - began });
      });
    });
    request.on('error', reject);
  });
}

/** Scrapes each second while `during` goes on; `scrapes` gets how long each took, in ms. */
async function scraped<T>(during: () => Promise<T>, scrapes: number[]): Promise<T> {
  let failure: Error | null = null;
  const timer = setInterval(() => {
    scrape().then(
      ({ status, ms }) => {
        if (status === 200) scrapes.push(ms);
        else failure = new VoidRun(`a scrape was answered ${status}`);
      },
      (error: Error) => {
        failure = new VoidRun(error.message);
      },
    );
  }, SCRAPE_MS);
  try {
    const result = await during();
    if (failure !== null) throw failure;
    return result;
  } finally {
    clearInterval(timer);
  }
}

run({
  name: 'admin',
  question: 'what does the admin endpoint cost a hello world, when it is scraped every second?',
  pinning: 'each worker to one CPU; the load generator and the main thread not',
  flags: { rounds: 12, seconds: 4, warmup: 1, connections: 64, workers: 2 },
  metrics: {
    ...CLOSED_LOOP_METRICS,
    scrape: { unit: 'ms per scrape, the longest', digits: 1, better: 'less' },
  },
  variants: ['gyre', 'gyre-admin'],
  comparisons: (['throughput', 'cpu', 'p99'] as const).map((metric) => ({
    ...{ metric, of: 'gyre-admin', to: 'gyre' },
  })),
  check: checkWrk,
  programs: wrkVersion,
  measure: (variant, flags) =>
    withServer(variant as SystemName, 'hello', flags.workers, async (server) => {
      if (variant === 'gyre') return { ...(await measureWrk(server, flags)), scrape: 0 };
      const scrapes: number[] = [];
      const measured = await measureWrk(server, flags, (load) => scraped(load, scrapes));
      return { ...measured, scrape: Math.max(...scrapes) };
    }),
});
