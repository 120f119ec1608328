/**
 * What a program of node:cluster does: forks, forks again, disconnects. Its arguments are the
 * program of its workers and how many. Says what happens as JSON lines on stdout; is told on
 * stdin to `retire PID`, or to `close`.
 */
import cluster from 'node:cluster';
import readline from 'node:readline';

function say(event: object): void {
  process.stdout.write(`${JSON.stringify(event)}\n`);
}

const [, , exec = '', count = '1', ...args] = process.argv;
cluster.setupPrimary({ exec, args });
cluster.on('listening', (_worker, { port }) => say({ event: 'listening', port }));
cluster.on('exit', (worker, code) => {
  say({ event: 'exit', code, planned: worker.exitedAfterDisconnect });
  if (!worker.exitedAfterDisconnect) cluster.fork();
});
for (let i = 0; i < Number(count); i++) cluster.fork();

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const [what, pid] = line.split(' ');
  if (what === 'close') {
    cluster.disconnect();
    process.stdin.destroy(); // it ends when its workers have ended
    return;
  }
  const workers = Object.values(cluster.workers ?? {});
  workers.find((worker) => worker?.process.pid === Number(pid))?.disconnect();
});
