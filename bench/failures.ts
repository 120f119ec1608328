/** Why there are no figures, where that is not a bug: of one run, or of a whole program of bench/. */

/** A run that says nothing about its variant: its round is discarded and repeated. */
export class VoidRun extends Error {}

/** A reason to stop that is not a bug: it is shown without a stack. */
export class CannotRun extends Error {
  /** Exit code: 1, or 2 where the command line was wrong. */
  readonly exitCode: 1 | 2;

  constructor(message: string, exitCode: 1 | 2 = 1) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** Does `work`, and says why it cannot. Sets the exit code; rejects on a bug only. */
export async function runOrSay(name: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof CannotRun)) throw error;
    process.stderr.write(`${name}: ${error.message}\n`);
    process.exitCode = error.exitCode;
  }
}
