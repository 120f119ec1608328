/**
 * The examples of how a server is run: its end, systemd, a container. There is no docker daemon here and no
 * Kubernetes: no image is built, and what is in the files is read, and run as they say.
 */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import t from 'tap';
import { parseAllDocuments } from 'yaml';
import { keepAlive } from '../moving/kept-alive.js';
import { CLI, get, HOST } from '../support/app.js';
import { folder } from '../support/folder.js';
import { freePort } from '../support/ports.js';
import { skipWithout } from '../support/programs.js';
import { gyre, Running } from '../support/running.js';
import { example, Served } from './served.js';

t.test('graceful.js: reload and shutdown lose no answer and no line', async (t) => {
  const log = path.join(folder(t), 'access.log');
  const served = await Served.start(t, example('graceful.js'), { env: { LOG: log } });
  const to = { host: HOST, port: served.port };
  const kept = keepAlive(t, to);
  const asked: string[] = [];
  const ask = async (name: string) => {
    asked.push(`GET /${name}\n`);
    t.equal(String((await kept.ask(`/${name}`)).body), 'waiting\ndone\n');
  };
  await ask('before');
  served.run.child.kill('SIGHUP');
  await served.run.says(/"event":"reloaded"/);
  await ask('after');

  // Its answer has begun, and ends when the drain has.
  const flight = http.get({ ...to, path: '/?ms=500', agent: false });
  const [response] = (await once(flight, 'response')) as [http.IncomingMessage];
  await once(response, 'readable');
  const closed = once(kept.socket, 'close');
  const drained = served.drain(t);
  await closed;
  t.equal(await text(response), 'waiting\ndone\n', 'what was in flight was answered');
  asked.push('GET /?ms=500\n');
  await drained;
  const lines = readFileSync(log, 'utf8').split(/(?<=\n)/);
  t.same(lines.sort(), asked.sort(), 'each line was written, once');
});

const withoutSystemd = skipWithout('systemd-socket-activate', 'systemd');

t.test(
  'systemd/server.js: on a socket that systemd opened',
  { skip: withoutSystemd },
  async (t) => {
    const port = freePort();
    const run = new Running(t, 'systemd-socket-activate', [
      ...['-l', `${HOST}:${port}`, '-E', 'PATH', process.execPath, CLI, 'run', '--json'],
      ...['--workers', '2', example('systemd', 'server.js')],
    ]);
    await run.says(/Listening on/);
    // The first connection starts the server, and is answered by it.
    const { body } = await get({ port });
    t.equal(body, `Hello from process ${run.child.pid}\n`);
    const [line] = await run.says(/^\{"event":"listening".*$/m);
    t.match(JSON.parse(line), {
      addresses: [{ port }],
      capabilities: { move: { available: true } },
    });
    const answers = await Promise.all(Array.from({ length: 20 }, () => get({ port })));
    t.ok(answers.every(({ status }) => status === 200));
    run.child.kill('SIGTERM');
    t.same(await run.ended(), { code: 0, signal: null });
  },
);

t.test('systemd units: systemd knows all that they say', { skip: withoutSystemd }, async (t) => {
  const directory = folder(t);
  for (const name of ['app.service', 'app.socket']) {
    // The program is not where it would be.
    const unit = readFileSync(example('systemd', name), 'utf8').replace(
      /^ExecStart=\S+/m,
      'ExecStart=/bin/true',
    );
    writeFileSync(path.join(directory, name), unit);
  }
  const files = ['app.service', 'app.socket'].map((name) => path.join(directory, name));
  const { status, stdout, stderr } = spawnSync('systemd-analyze', ['verify', ...files], {
    encoding: 'utf8',
  });
  t.equal(status, 0);
  // Of other units of this machine it may complain.
  t.notMatch(`${stdout}${stderr}`, /app\.(service|socket)/);

  const service = readFileSync(example('systemd', 'app.service'), 'utf8');
  const drainMs = Number(/--drain-ms (\d+)/.exec(service)?.[1]);
  const stopSeconds = Number(/^TimeoutStopSec=(\d+)$/m.exec(service)?.[1]);
  t.ok(drainMs > 0 && stopSeconds * 1_000 > drainMs, 'it has the time to drain');
});

/** The command of an image or a pod, as it is run here: this gyre, and ports that are free. */
async function startAs(t: Parameters<typeof gyre>[0], command: readonly string[]) {
  t.equal(command[0], 'node_modules/.bin/gyre');
  const own = command
    .slice(1)
    .map((word) => (word === 'server.js' ? example('container', 'server.js') : word))
    .map((word) => word.replace(/:9464$/, ':0'));
  const [verb = '', ...args] = own;
  const run = gyre(t, [verb, '--json', ...args], { PORT: '0' });
  const [line] = await run.says(/^\{"event":"listening".*$/m);
  const { admin, addresses, capabilities } = JSON.parse(line);
  t.ok(capabilities.move.available);
  return { run, admin: admin.endpoint.port as number, port: addresses[0].port as number };
}

t.test('container/Dockerfile: what it starts serves, and its check sees whether', async (t) => {
  const source = readFileSync(example('container', 'Dockerfile'), 'utf8');
  const instructions = source
    .replace(/^#.*\n/gm, '')
    .replace(/\\\n\s*/g, '')
    .split('\n')
    .filter((line) => line !== '');
  const known = ['FROM', 'ENV', 'WORKDIR', 'COPY', 'RUN', 'USER', 'EXPOSE', 'HEALTHCHECK', 'CMD'];
  const names = instructions.map((line) => line.split(' ')[0] as string);
  t.same([...new Set(names)], known);
  t.ok(Number(instructions.find((line) => line.startsWith('USER'))?.split(' ')[1]) > 0, 'not root');
  // In the form of a JSON list, or a shell would be process 1, and get the signals.
  const commandOf = (name: string): string[] => {
    const line = instructions.find((each) => each.startsWith(name)) as string;
    return JSON.parse(line.slice(line.indexOf('[')));
  };
  const command = commandOf('CMD');
  const drainMs = Number(command[command.indexOf('--drain-ms') + 1]);
  t.ok(drainMs > 0 && drainMs < 10_000, 'within what `docker stop` waits');

  const { run, admin, port } = await startAs(t, command);
  t.equal((await get({ port })).body, 'Hello\n');
  const [node, ...args] = commandOf('HEALTHCHECK');
  t.equal(node, 'node');
  const check = () => {
    const own = args.map((arg) => arg.replace(':9464', `:${admin}`));
    return new Running(t, process.execPath, own).ended();
  };
  t.same(await check(), { code: 0, signal: null });
  run.child.kill('SIGTERM');
  t.same(await run.ended(), { code: 0, signal: null });
  t.same(await check(), { code: 1, signal: null });
});

t.test('container/kubernetes.yaml: probes, ports and times fit each other', async (t) => {
  const source = readFileSync(example('container', 'kubernetes.yaml'), 'utf8');
  const documents = parseAllDocuments(source);
  for (const { errors } of documents) t.same(errors, []);
  const [deployment, service] = documents.map((document) => document.toJS());
  t.match(deployment, { apiVersion: 'apps/v1', kind: 'Deployment' });
  t.match(service, { apiVersion: 'v1', kind: 'Service' });
  const { selector, template } = deployment.spec;
  t.same(template.metadata.labels, selector.matchLabels);
  t.same(service.spec.selector, selector.matchLabels);
  const { terminationGracePeriodSeconds, containers } = template.spec;
  const [container] = containers;
  const ports = new Map<string, number>(
    container.ports.map((each: { name: string; containerPort: number }) => [
      each.name,
      each.containerPort,
    ]),
  );
  t.ok(ports.has(service.spec.ports[0].targetPort));
  t.equal(container.resources.limits.cpu, container.resources.requests.cpu);
  t.match(container.resources.limits.cpu, /^\d+$/, 'whole CPUs');

  const command: string[] = [...container.command, ...container.args];
  const after = (flag: string) => command[command.indexOf(flag) + 1] as string;
  t.equal(ports.get('admin'), Number(after('--admin').split(':')[1]));
  const stopSeconds =
    container.lifecycle.preStop.sleep.seconds + Number(after('--drain-ms')) / 1_000;
  t.ok(stopSeconds < terminationGracePeriodSeconds, `${stopSeconds} s`);

  const { run, admin, port } = await startAs(t, command);
  t.equal((await get({ port })).status, 200);
  const { startupProbe, readinessProbe, livenessProbe } = container;
  for (const { httpGet } of [startupProbe, readinessProbe, livenessProbe]) {
    t.ok(ports.has(httpGet.port), httpGet.port);
    t.equal((await get({ port: admin, path: httpGet.path })).status, 200, httpGet.path);
  }
  run.child.kill('SIGTERM');
  t.same(await run.ended(), { code: 0, signal: null });
});
