/**
 * An address as people read it. Pure.
 */
import type { ListenAddress } from './protocol.js';

/** HOST:PORT, with IPv6 in brackets, or unix:PATH; an abstract name begins with @. */
export function showAddress(address: ListenAddress): string {
  if (address.family === 'unix') return `unix:${address.path.replace(/^\0/, '@')}`;
  const host = address.family === 'IPv6' ? `[${address.address}]` : address.address;
  return `${host}:${address.port}`;
}
