/**
 * Debian's nginx as a load balancer in front of a server: one worker, an upstream pool
 * of keep-alive connections, everything else that could close one switched off. In a
 * folder of its own, in the foreground, and ended by its pid.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CannotRun } from './failures.js';
import { endsWithUs } from './groups.js';
import { freePort, get } from './server.js';

/** How long it may take to pass a request on; it takes some ms. */
const START_MS = 10_000;
const RETRY_MS = 5;

/** On the PATH, or where Debian has it: that is not on every user's PATH. */
const NGINX = ['nginx', '/usr/sbin/nginx'].find(
  (file) => spawnSync(file, ['-v']).error === undefined,
);

/** @throws CannotRun if nginx is not there. */
export function checkNginx(): void {
  if (NGINX === undefined) throw new CannotRun('it needs nginx: apt-get install nginx-light');
}

/** By its name, as a report has it. */
export function nginxVersion(): { nginx: string } {
  const { stderr } = spawnSync(NGINX as string, ['-v'], { encoding: 'utf8' });
  return { nginx: /nginx\/(\S+)/.exec(stderr)?.[1] ?? 'unknown' };
}

function configuration(port: number, upstream: number, keepalive: number): string {
  return `
daemon off;
master_process off;
pid nginx.pid;
error_log stderr warn;
events { worker_connections 1024; }
http {
  access_log off;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  keepalive_timeout 600s;
  keepalive_requests 100000000;
  upstream server_under_test {
    server 127.0.0.1:${upstream} max_fails=0;
    keepalive ${keepalive};
    keepalive_timeout 600s;
    keepalive_requests 100000000;
  }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://server_under_test;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_next_upstream off;
    }
  }
}
`;
}

/** Hands `use` the port of an nginx in front of `upstream`, and ends it whatever happens. */
export async function withNginx<T>(
  upstream: number,
  keepalive: number,
  use: (port: number) => Promise<T>,
): Promise<T> {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'gyre-nginx-'));
  const port = await freePort();
  writeFileSync(path.join(folder, 'nginx.conf'), configuration(port, upstream, keepalive));
  const child = spawn(NGINX ?? 'nginx', ['-p', folder, '-c', 'nginx.conf', '-e', 'stderr'], {
    stdio: ['ignore', 'ignore', 'pipe'],
    detached: true,
  });
  endsWithUs(child);
  const exited = once(child, 'exit');
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  try {
    await answers(port, () => (child.exitCode === null ? null : `nginx has ended:\n${stderr}`));
    return await use(port);
  } finally {
    child.kill('SIGKILL');
    await exited;
    rmSync(folder, { recursive: true });
  }
}

async function answers(port: number, ended: () => string | null): Promise<void> {
  for (const startedAt = performance.now(); ; await sleep(RETRY_MS)) {
    const over = ended();
    if (over !== null) throw new CannotRun(over);
    const answer = await get(port).catch(() => null);
    if (answer?.status === 200) return;
    if (performance.now() - startedAt > START_MS) throw new CannotRun('nginx does not answer');
  }
}
