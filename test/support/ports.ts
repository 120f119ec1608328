/** Ports for programs that must be told one before they start. */
import { close, openTcp } from '../../src/native.js';

let nextPort = 12_000 + 2 * Math.floor(Math.random() * 8_000);

/**
 * A port, and one above it, that nobody has, that the kernel gives to nobody for port 0,
 * and that no other call gets.
 */
export function freePort(): number {
  for (;;) {
    const port = nextPort;
    nextPort += 2;
    const fds = [port, port + 1].map((each) => openTcp('::', each, 6, 0, 1));
    for (const fd of fds) if (fd >= 0) close(fd);
    if (fds.every((fd) => fd >= 0)) return port;
  }
}
