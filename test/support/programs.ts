/** Programs that some tests need and a machine may lack. */
import { spawnSync } from 'node:child_process';

/** Where a program is: on the PATH, or where Debian has those for administrators; null: nowhere. */
export function whereIs(command: string): string | null {
  const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` };
  const found = spawnSync('sh', ['-c', 'command -v "$0"', command], { encoding: 'utf8', env });
  return found.status === 0 ? found.stdout.trim() : null;
}

/** Why a test that needs `command` is skipped, or false. @param debian the package that has it */
export function skipWithout(command: string, debian = command): string | false {
  return whereIs(command) === null && `${command} is not installed: apt-get install ${debian}`;
}
