/**
 * Applications of test/fixtures/apps, runtimes that serve them until their test ends, and requests to them.
 */
import http from 'node:http';
import path from 'node:path';
import type { Test } from 'tap';
import {
  createRuntime,
  type ListenAddress,
  type Runtime,
  type RuntimeOptions,
} from '../../src/index.js';
import './no-preloads.js';

/** From dist/test/support. */
export const ROOT = path.join(__dirname, '..', '..', '..');
export const CLI = path.join(ROOT, 'dist', 'src', 'cli.js');

/** An application in test/fixtures/apps: plain JavaScript that knows nothing of gyre. */
export function app(name: string): string {
  return path.join(ROOT, 'test', 'fixtures', 'apps', name);
}

/** A runtime that is closed when test `t` ends. It waits for its workers as long as the test may. */
export async function start(
  t: Test,
  entry: string,
  options: Partial<RuntimeOptions> = {},
): Promise<Runtime> {
  const runtime = await createRuntime({ entry, startMs: Number.POSITIVE_INFINITY, ...options });
  t.teardown(() => runtime.close({ drainMs: 0 }));
  return runtime;
}

/** Where tests connect to. */
export const HOST = '127.0.0.1';

/** The one TCP port that a runtime listens on, if on two addresses: `localhost` may be two. */
export function portOf({ addresses }: { readonly addresses: readonly ListenAddress[] }): number {
  const ports = addresses.flatMap((each) => (each.family === 'unix' ? [] : [each.port]));
  const [port] = ports;
  if (port === undefined || ports.some((each) => each !== port)) throw new Error(`ports: ${ports}`);
  return port;
}

export interface Answer {
  status: number;
  headers: http.IncomingHttpHeaders;
  body: string;
}

/** One GET on a connection of its own, unless `options.agent` says otherwise. */
export function get(options: http.RequestOptions | number): Promise<Answer> {
  return send(typeof options === 'number' ? { port: options } : options);
}

/** One request, as {@link get}. */
export function send(options: http.RequestOptions, sent?: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = http.request({ host: HOST, agent: false, ...options }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        body += chunk;
      });
      response.on('end', () => {
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body });
      });
      response.on('error', reject);
    });
    request.on('error', reject);
    request.end(sent);
  });
}

/**
 * Asks on new connections until `each` of the workers 0 to `count` - 1 has answered;
 * `worker` finds the index in an answer. Bounded: the kernel spreads connections by a
 * hash, so 100 all to one of two workers means that the other accepts none.
 */
export async function getFromEach(
  options: http.RequestOptions | number,
  count: number,
  worker: (answer: Answer) => number,
): Promise<Map<number, Answer>> {
  const answers = new Map<number, Answer>();
  for (let tries = 0; answers.size < count; tries++) {
    if (tries === 100) throw new Error(`only workers ${[...answers.keys()]} answered`);
    const answer = await get(options);
    answers.set(worker(answer), answer);
  }
  return answers;
}
