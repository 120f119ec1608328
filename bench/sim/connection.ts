/**
 * A simulated keep-alive connection: one request at a time, and a worker that owns it.
 */
import type { Request } from './arrivals.js';

export class Connection {
  /** Index of the worker that owns it. While it is being moved: of the recipient. */
  owner: number;
  /** The request that it carries. */
  request: Request | null = null;
  /** What is left of serving that. */
  leftMs = 0;
  /** It is in somebody's mailbox. */
  moving = false;
  /** What adopting it takes longer because of where it comes from. */
  coldMs = 0;

  constructor(owner: number) {
    this.owner = owner;
  }
}
