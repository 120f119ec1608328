/**
 * Runs the application's entry as node itself would run its main module. Any
 * thread, once.
 */
import Module from 'node:module';

/**
 * `Module.runMain` is what node calls for `node app.js`: it decides between CommonJS
 * and ES modules, makes the entry `require.main`, and applies preloads and
 * loaders. A CommonJS entry has run when this returns; an ES module runs on.
 *
 * @throws whatever a CommonJS entry throws while it loads.
 */
export function runEntry(entry: string): void {
  // It names gyre's own first file here. Node sets it anew for a CommonJS entry and
  // not for an ES module. `require.main` is the same object.
  delete process.mainModule;
  (Module as unknown as { runMain(main: string): void }).runMain(entry);
}
