/**
 * The options `admin` and `agentCheck`: where they listen, and who may come. Pure; any thread.
 */
import net from 'node:net';
import path from 'node:path';
import { GyreError } from '../errors.js';
import { isPlainObject, mustBe, refuseUnknown } from '../option-checks.js';

/** The option `admin` of `createRuntime`. */
export interface AdminOptions {
  /**
   * Where the endpoint listens: `'unix:PATH'`; `'HOST:PORT'` with a numeric host, IPv6 in
   * brackets, or `localhost`; or `'PORT'`, on 127.0.0.1. Port 0: any that is free,
   * `runtime.admin` tells which. Required.
   */
  listen: string;
  /**
   * What a client must send as `Authorization: Bearer TOKEN`; only `/healthz` and `/readyz`
   * answer without it. 16 to 512 visible ASCII characters. Default: nobody is asked.
   */
  token?: string;
  /** Permissions of the Unix socket. 0 to 0o777. Default 0o600: this user only. */
  mode?: number;
  /**
   * Whether it may listen on an address that other machines can reach without a token. Reading
   * is all that anybody may do then: `POST /reload` is refused. Default false.
   */
  public?: boolean;
  /**
   * Whether `/metrics` has those that the application keeps with prom-client, too, summed up over
   * the workers. Default true.
   */
  applicationMetrics?: boolean;
  /**
   * Whether workers time their HTTP/1 requests: `gyre_worker_request_duration_seconds`, and the
   * percentiles of `gyre top` and the page. It is the one part of `admin` that costs something
   * for each request; above 5,000 a second and worker a sample is timed. Default false.
   */
  requestTimes?: boolean;
}

export type AdminAddress =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number };

/** Checked, with every default filled in. */
export interface ResolvedAdmin {
  readonly address: AdminAddress;
  /** Null: nobody is asked. */
  readonly token: string | null;
  readonly mode: number;
  /** Other machines can reach it. */
  readonly exposed: boolean;
  readonly applicationMetrics: boolean;
  readonly requestTimes: boolean;
}

export const ADMIN_DEFAULTS = Object.freeze({
  mode: 0o600,
  public: false,
  applicationMetrics: true,
  requestTimes: false,
} as const);

const KNOWN: readonly string[] = [
  ...['listen', 'token', 'mode', 'public', 'applicationMetrics', 'requestTimes'],
];

const LOOPBACK = '127.0.0.1';
const HOST_PORT = /^(?:(localhost|\[[\da-fA-F:.]+(?:%\w+)?\]|[\d.]*):)?(\d{1,5})$/;
const TOKEN = /^[\x21-\x7e]{16,512}$/;

function refuse(name: string, expected: string): never {
  return mustBe(`option ${name}`, expected);
}

/** Whether only this machine can reach `host`. */
export function isLoopback(host: string): boolean {
  const mapped = /^::ffff:([\d.]+)$/i.exec(host);
  if (mapped?.[1] !== undefined) return isLoopback(mapped[1]);
  return net.isIPv4(host) ? host.startsWith('127.') : isIPv6Loopback(host);
}

function isIPv6Loopback(host: string): boolean {
  if (!net.isIPv6(host)) return false;
  const addresses = new net.BlockList();
  addresses.addAddress('::1', 'ipv6');
  return addresses.check(host.replace(/%.*$/, ''), 'ipv6');
}

/** 'HOST:PORT' or 'PORT'. @throws GyreError `ERR_GYRE_OPTION_INVALID` */
function tcpAddress(name: string, text: unknown, forms: string): AdminAddress & { kind: 'tcp' } {
  const [, given = '', digits] = (typeof text === 'string' && HOST_PORT.exec(text)) || [];
  const port = Number(digits);
  const named = given === '' || given === 'localhost' ? LOOPBACK : given.replace(/^\[|\]$/g, '');
  if (digits === undefined || port > 65_535 || net.isIP(named) === 0) return refuse(name, forms);
  return { kind: 'tcp', host: named, port };
}

/** An address of the endpoint, also for those who ask it. @throws GyreError `ERR_GYRE_OPTION_INVALID` */
export function adminAddress(name: string, text: unknown): AdminAddress {
  if (typeof text === 'string' && text.startsWith('unix:')) {
    const file = text.slice('unix:'.length);
    if (file === '' || file.includes('\0')) return refuse(name, 'unix: and a path');
    return { kind: 'unix', path: path.resolve(file) };
  }
  return tcpAddress(name, text, "'unix:PATH', 'HOST:PORT' with a numeric host, or 'PORT'");
}

/**
 * The option `admin`; null if it is omitted.
 *
 * @throws GyreError `ERR_GYRE_OPTION_INVALID`, `ERR_GYRE_OPTION_UNKNOWN` or
 *   `ERR_GYRE_OPTION_CONFLICT`
 */
export function resolveAdmin(value: unknown): ResolvedAdmin | null {
  if (value === undefined) return null;
  if (typeof value !== 'string' && !isPlainObject(value)) {
    return refuse('admin', 'an address or an object');
  }
  const options = (typeof value === 'string' ? { listen: value } : value) as Record<
    keyof AdminOptions,
    unknown
  >;
  refuseUnknown(options, KNOWN, (key) => `admin option ${key}`);
  const name = typeof value === 'string' ? 'admin' : 'admin.listen';
  const address = adminAddress(name, options.listen);
  const { token, mode = ADMIN_DEFAULTS.mode, public: open = ADMIN_DEFAULTS.public } = options;
  const { applicationMetrics = ADMIN_DEFAULTS.applicationMetrics } = options;
  const { requestTimes = ADMIN_DEFAULTS.requestTimes } = options;
  if (token !== undefined && (typeof token !== 'string' || !TOKEN.test(token))) {
    return refuse('admin.token', '16 to 512 visible ASCII characters'); // not shown: a secret
  }
  if (typeof mode !== 'number' || !Number.isInteger(mode) || mode < 0 || mode > 0o777) {
    return refuse('admin.mode', 'an integer from 0 to 0o777');
  }
  if (typeof open !== 'boolean') return refuse('admin.public', 'a boolean');
  if (typeof applicationMetrics !== 'boolean') {
    return refuse('admin.applicationMetrics', 'a boolean');
  }
  if (typeof requestTimes !== 'boolean') return refuse('admin.requestTimes', 'a boolean');
  const exposed = address.kind === 'tcp' && !isLoopback(address.host);
  conflicts(options, address, exposed);
  return Object.freeze({
    ...{ address, token: token ?? null, mode, exposed, applicationMetrics, requestTimes },
  });
}

function conflicts(
  { token, mode, public: open }: Record<keyof AdminOptions, unknown>,
  address: AdminAddress,
  exposed: boolean,
): void {
  const conflict = (message: string) => {
    throw new GyreError('ERR_GYRE_OPTION_CONFLICT', message);
  };
  if (address.kind === 'tcp' && mode !== undefined) {
    conflict('admin.mode is of a Unix socket, and admin.listen names none');
  }
  if (open === true && !exposed) {
    conflict('admin.public is of no use: no other machine can reach admin.listen');
  }
  if (exposed && token === undefined && open !== true) {
    conflict(
      'admin.listen can be reached from other machines: it needs admin.token, or admin.public: true',
    );
  }
}

/** The option `agentCheck`; null if it is omitted. @throws GyreError `ERR_GYRE_OPTION_INVALID` */
export function resolveAgentCheck(value: unknown): (AdminAddress & { kind: 'tcp' }) | null {
  if (value === undefined) return null;
  return tcpAddress('agentCheck', value, "'HOST:PORT' with a numeric host, or 'PORT'");
}
