/**
 * Everything that operators look at, as the runtime has it: opened before anything starts, and
 * closed last. Main thread only. Loaded only if it is asked for.
 */
import type { ResolvedOptions } from '../runtime/resolved-options.js';
import { AgentCheck } from './agent-check.js';
import { Endpoint } from './endpoint.js';
import type { Observed } from './observed.js';
import { Readings } from './readings.js';
import { exportReadings } from './telemetry.js';

export class Admin {
  readonly endpoint: Endpoint | null;
  readonly agentCheck: AgentCheck | null;
  readonly #endExport: () => void;

  private constructor(options: ResolvedOptions, observed: Observed) {
    const readings = new Readings(observed);
    const { admin, agentCheck } = options;
    this.endpoint = admin === null ? null : new Endpoint(admin, observed, readings);
    this.agentCheck = agentCheck === null ? null : new AgentCheck(agentCheck, observed);
    this.#endExport = exportReadings(readings, options.entry);
  }

  /** @throws GyreError with the system's code if one of the addresses cannot be had */
  static async open(options: ResolvedOptions, observed: Observed): Promise<Admin> {
    const admin = new Admin(options, observed);
    try {
      await admin.endpoint?.open();
      await admin.agentCheck?.open();
    } catch (error) {
      await admin.close();
      throw error;
    }
    return admin;
  }

  /** Resolves when nothing of it is left. */
  async close(): Promise<void> {
    this.#endExport();
    await Promise.all([this.endpoint?.close(), this.agentCheck?.close()]);
  }
}
