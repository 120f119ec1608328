/**
 * What gyre can do on this system, each with the reason where it cannot. Main
 * thread only. A missing capability is stated here, in the CLI's first lines and,
 * if `require` names it, as an error; it is never silently skipped.
 */
import { readFileSync } from 'node:fs';
import { GyreError } from '../errors.js';
import { affinity, hasHelper, hasLinuxParts, missingReason } from '../native.js';

/** Whether something can be done here, and why not. */
export interface Capability {
  /** Whether this system has it. */
  readonly available: boolean;
  /** Why not. Absent when available. */
  readonly reason?: string;
}

export const CAPABILITY_NAMES = Object.freeze([
  'native',
  'pin',
  'widen',
  'reusePort',
  'counters',
  'move',
] as const);

/**
 * - native: the native helper; without it there is one worker, which opens its own sockets
 * - pin: workers are bound to CPUs; without it the operating system places them
 * - widen: soft pins give way to other processes; without it a soft pin is hard
 * - reusePort: a listening socket for each worker; without it all accept from one
 * - counters: iterations of loops are counted; without it `loops` stays 0
 * - move: connections move between workers
 */
export type CapabilityName = (typeof CAPABILITY_NAMES)[number];
/** What this system can do, by name. */
export type Capabilities = Readonly<Record<CapabilityName, Capability>>;

const YES: Capability = Object.freeze({ available: true });
const no = (reason: string): Capability => Object.freeze({ available: false, reason });

function detectPin(): Capability {
  if (!hasHelper) return no(missingReason);
  if (!hasLinuxParts) return no('this system has no thread affinity');
  try {
    affinity();
    return YES;
  } catch (error) {
    return no((error as Error).message); // a seccomp filter may forbid the call
  }
}

function detectWiden(pin: Capability): Capability {
  if (!pin.available) return pin;
  try {
    const [, , runs] = readFileSync('/proc/self/schedstat', 'utf8').split(' ');
    // All zeros where the kernel was told not to count.
    if (Number(runs) > 0) return YES;
  } catch {
    // said below
  }
  return no('this system does not tell how long threads wait for a CPU (schedstat)');
}

function detectMove(): Capability {
  if (!hasLinuxParts)
    return no(hasHelper ? 'this system has no epoll and TCP_INFO' : missingReason);
  const edges = edgeTriggered(process.versions.uv);
  return edges === null ? YES : no(edges);
}

/**
 * Why nothing may look into the epoll sets of libuv `version`, or null. 1.49.0 and 1.49.1 (Node 22.12, 23.2 and some
 * after) watch what wakes a loop edge-triggered: who looks takes the edge, and the loop sleeps on.
 */
export function edgeTriggered(version: string): string | null {
  return ['1.49.0', '1.49.1'].includes(version)
    ? `libuv ${version} does not hear of an event that somebody else has seen; 1.49.2 does`
    : null;
}

/** Looks at this system once; the result does not change while the process runs. */
export function detectCapabilities(): Capabilities {
  const helper = hasHelper ? YES : no(missingReason);
  const pin = detectPin();
  return Object.freeze({
    native: helper,
    pin,
    widen: detectWiden(pin),
    reusePort: hasLinuxParts
      ? YES
      : no(hasHelper ? 'this system does not balance SO_REUSEPORT' : missingReason),
    counters: helper,
    move: detectMove(),
  });
}

/** `capabilities` without those of `names` that are available, for `reason`. */
export function without(
  capabilities: Capabilities,
  names: readonly CapabilityName[],
  reason: string,
): Capabilities {
  const missing = names.filter((name) => capabilities[name].available);
  const changes = missing.map((name) => [name, no(reason)] as const);
  return Object.freeze({ ...capabilities, ...Object.fromEntries(changes) });
}

/** @throws GyreError `ERR_GYRE_CAPABILITY` naming the first of `names` that is missing. */
export function requireCapabilities(
  capabilities: Capabilities,
  names: readonly CapabilityName[],
): void {
  for (const name of names) {
    const { available, reason } = capabilities[name];
    if (!available) {
      throw new GyreError('ERR_GYRE_CAPABILITY', `capability '${name}' is missing: ${reason}`);
    }
  }
}
