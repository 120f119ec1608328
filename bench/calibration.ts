/**
 * How fast this machine computes, so that N ms of work are N ms of CPU in every runtime.
 * Measured once for each executable, before what it serves is loaded.
 */
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { CannotRun } from './failures.js';
import type { Command } from './rivals.js';
import { ROOT } from './root.js';

const BURN = path.join(ROOT, 'bench', 'apps', 'burn.js');
const known = new Map<string, string>();

/** Turns of the loop of a slow request that take a ms of CPU under `command.file`. */
export function turnsPerMs({ file, calibrate = [BURN] }: Command): string {
  const before = known.get(file);
  if (before !== undefined) return before;
  const { stdout, stderr } = spawnSync(file, calibrate, { encoding: 'utf8' });
  const turns = stdout?.trim();
  if (!(Number(turns) > 0)) throw new CannotRun(`${file} cannot be calibrated: ${stderr}`);
  known.set(file, turns);
  return turns;
}
