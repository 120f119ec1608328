/**
 * Sends datagrams to a port of this machine: a process of its own. Its arguments are the port, how
 * many, how many a second, and from how many sockets in turn. Says how many the kernel took.
 */
import dgram from 'node:dgram';
import { once } from 'node:events';

const BYTES = 32;
const TICK_MS = 2;

async function main(): Promise<void> {
  const [port = 0, count = 0, rate = 0, sockets = 1] = process.argv.slice(2).map(Number);
  const all = Array.from({ length: sockets }, () => dgram.createSocket('udp4'));
  for (const socket of all) {
    socket.connect(port, '127.0.0.1');
    await once(socket, 'connect');
  }
  let begun = 0;
  let over = 0;
  let failed = 0;
  const startedAt = performance.now();
  await new Promise<void>((resolve) => {
    const timer = setInterval(() => {
      const due = Math.min(count, Math.ceil(((performance.now() - startedAt) * rate) / 1_000));
      for (; begun < due; begun++) {
        const data = Buffer.alloc(BYTES);
        data.writeUInt32LE(begun);
        all[begun % sockets]?.send(data, (error) => {
          if (error) failed++;
          if (++over === count) resolve();
        });
      }
      if (begun === count) clearInterval(timer);
    }, TICK_MS);
  });
  for (const socket of all) socket.close();
  process.stdout.write(JSON.stringify({ sent: count - failed, ms: performance.now() - startedAt }));
}

void main();
