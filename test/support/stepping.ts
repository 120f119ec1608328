/**
 * Every interleaving of threads over shared memory, on one thread.
 *
 * {@link stepping} compiles a file of src/scheduler so that its methods become
 * generators which stop before each access to shared memory: it is the same
 * source, and the product carries nothing for it. {@link explore} then runs a scenario
 * in every order of those steps.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import ts from 'typescript';
import { ROOT } from './app.js';
import { isAssignment, isShared, nameOf } from './syntax.js';

/** What a thread does until its next step; a condition that it yields must hold before it goes on. */
export type Thread = Generator<(() => boolean) | undefined, void>;

/** A method of a stepping class, called: `yield*` it. */
export type Stepping<T> = Generator<undefined, T>;

/** Which accesses are steps: all, or only those through Atomics. */
export type Grain = 'every access' | 'atomics';

function isAtomic(node: ts.Node): node is ts.CallExpression {
  return (
    ts.isCallExpression(node) &&
    ts.isPropertyAccessExpression(node.expression) &&
    nameOf(node.expression.expression) === 'Atomics'
  );
}

/** Instance methods that access shared memory, or call one that does. */
function steppingMethods(source: ts.SourceFile): Set<string> {
  const methods = new Map<string, { direct: boolean; calls: Set<string> }>();
  const isStatic = (node: ts.MethodDeclaration) =>
    node.modifiers?.some((modifier) => modifier.kind === ts.SyntaxKind.StaticKeyword) ?? false;
  const visit = (node: ts.Node) => {
    if (ts.isMethodDeclaration(node) && !isStatic(node)) {
      const found = { direct: false, calls: new Set<string>() };
      const look = (inner: ts.Node) => {
        if (isShared(inner) || isAtomic(inner)) found.direct = true;
        if (ts.isCallExpression(inner)) found.calls.add(nameOf(inner.expression) ?? '');
        ts.forEachChild(inner, look);
      };
      look(node);
      methods.set(nameOf(node.name) ?? '', found);
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  const stepping = new Set<string>();
  for (let before = -1; before !== stepping.size; ) {
    before = stepping.size;
    for (const [name, { direct, calls }] of methods) {
      if (direct || [...calls].some((call) => stepping.has(call))) stepping.add(name);
    }
  }
  return stepping;
}

/**
 *     Atomics.load(words, at)  ->  (yield* $step(() => Atomics.load(words, at)))
 *     words[at]                ->  (yield* $step(() => words[at]))
 *     words[at] = value        ->  words[at] = yield* $value(value)
 *     this.#take(x)            ->  (yield* this.#take(x))
 */
function toSteps(grain: Grain): ts.TransformerFactory<ts.SourceFile> {
  return (context) => (source) => {
    const { factory } = context;
    const plain = grain === 'every access';
    const methods = steppingMethods(source);
    const yieldFrom = (expression: ts.Expression) =>
      factory.createParenthesizedExpression(
        factory.createYieldExpression(factory.createToken(ts.SyntaxKind.AsteriskToken), expression),
      );
    const helper = (name: string, argument: ts.Expression) =>
      yieldFrom(factory.createCallExpression(factory.createIdentifier(name), [], [argument]));
    const step = (access: ts.Expression) =>
      helper('$step', factory.createArrowFunction([], [], [], undefined, undefined, access));
    const inside = (node: ts.Node): ts.Node => {
      if (isAssignment(node) && isShared(node.left) && plain) {
        const value = ts.visitNode(node.right, inside) as ts.Expression;
        return factory.createAssignment(node.left, helper('$value', value));
      }
      if ((isShared(node) && plain) || isAtomic(node)) return step(node);
      const visited = ts.visitEachChild(node, inside, context);
      if (ts.isCallExpression(visited) && methods.has(nameOf(visited.expression) ?? '')) {
        // A parameter of the same name as a private method has another text: no '#'.
        return yieldFrom(visited);
      }
      return visited;
    };
    const outside = (node: ts.Node): ts.Node => {
      if (ts.isMethodDeclaration(node) && node.body && methods.has(nameOf(node.name) ?? '')) {
        return factory.updateMethodDeclaration(
          node,
          node.modifiers,
          factory.createToken(ts.SyntaxKind.AsteriskToken),
          node.name,
          node.questionToken,
          node.typeParameters,
          node.parameters,
          undefined,
          ts.visitEachChild(node.body, inside, context),
        );
      }
      return ts.visitEachChild(node, outside, context);
    };
    return ts.visitNode(source, outside) as ts.SourceFile;
  };
}

/** What the thread that runs now knows: how far it is, and what it has read on the way. */
interface Past {
  steps: number;
  readonly read: unknown[];
}
let past: Past = { steps: 0, read: [] };

/**
 * The running thread is at a place where all it knows is `what`: it forgets how it got
 * there, so that many orders lead to one state. True for what `what` leaves out is
 * that it makes no difference.
 */
export function settled(what: string): void {
  past.steps = 0;
  past.read.splice(0, Number.POSITIVE_INFINITY, what);
}

/** The running thread has seen `value`, other than by reading shared memory. */
export function noticed<T>(value: T): T {
  past.read.push(value);
  return value;
}

function* $step<T>(access: () => T): Generator<undefined, T> {
  yield;
  const value = access();
  past.read.push(value);
  return value;
}

function* $value<T>(value: T): Generator<undefined, T> {
  yield;
  return value;
}

/** Replaces the one place where `from` occurs: a mutant. */
export type Edit = readonly [from: string, to: string];

/** The module `src/scheduler/NAME.ts` in steps, after `edits`. */
export function stepping<Module>(name: string, grain: Grain, edits: readonly Edit[] = []): Module {
  const file = path.join(ROOT, 'src', 'scheduler', `${name}.ts`);
  let source = readFileSync(file, 'utf8');
  for (const [from, to] of edits) {
    if (source.split(from).length !== 2) throw new Error(`not once in ${name}.ts: ${from}`);
    source = source.replace(from, () => to);
  }
  const { outputText } = ts.transpileModule(source, {
    compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.CommonJS },
    transformers: { before: [toSteps(grain)] },
  });
  const exports = {};
  const compiled = createRequire(path.join(ROOT, 'dist', 'src', 'scheduler', `${name}.js`));
  new Function('exports', 'require', '$step', '$value', outputText)(
    exports,
    compiled,
    $step,
    $value,
  );
  return exports as Module;
}

export interface Scenario {
  readonly threads: readonly Thread[];
  /** Everything that threads share, in the scenario as in its memory. */
  state(): string;
  /** Called when no thread can go on: throws if that is not how it should end. */
  end(): void;
}

export interface Exploration {
  /** Different states that were reached. */
  readonly states: number;
  /** Different ways it ended. */
  readonly ends: number;
  /** The order of threads that led to the first failure, and what failed; null if none did. */
  readonly failure: { readonly order: readonly number[]; readonly error: Error } | null;
}

/** Evidence: the largest scenario of the tests has under 200,000. */
const STATES_MAX = 2_000_000;

/**
 * Runs a scenario in every order of its threads' steps, until one fails. Two orders that
 * lead to the same state are continued once: the state is what is shared, and for each thread how
 * far it is and what it has read.
 */
export function explore(scenario: () => Scenario): Exploration {
  const seen = new Set<string>();
  const open: number[][] = [[]];
  let ends = 0;
  for (let order = open.pop(); order !== undefined; order = open.pop()) {
    const run = new Run(scenario());
    try {
      for (const thread of order) run.step(thread);
      for (;;) {
        const state = run.state();
        if (seen.has(state)) break;
        seen.add(state);
        if (seen.size > STATES_MAX) throw new Error('the scenario is too large');
        const [first, ...others] = run.ready();
        if (first === undefined) {
          ends++;
          run.scenario.end();
          break;
        }
        for (const other of others) open.push([...order, other]);
        order.push(first);
        run.step(first);
      }
    } catch (error) {
      return { states: seen.size, ends, failure: { order, error: error as Error } };
    }
  }
  return { states: seen.size, ends, failure: null };
}

class Run {
  readonly scenario: Scenario;
  readonly #pasts: Past[];
  readonly #blocked: ((() => boolean) | undefined)[];
  readonly #done: boolean[];

  constructor(scenario: Scenario) {
    this.scenario = scenario;
    const { threads } = scenario;
    this.#pasts = threads.map(() => ({ steps: 0, read: [] }));
    this.#blocked = threads.map(() => undefined);
    this.#done = threads.map(() => false);
  }

  step(thread: number): void {
    past = this.#pasts[thread] as Past;
    past.steps++;
    const { done, value } = (this.scenario.threads[thread] as Thread).next();
    this.#done[thread] = done === true;
    this.#blocked[thread] = done ? undefined : (value as (() => boolean) | undefined);
  }

  /** Threads that can take a step. */
  ready(): number[] {
    return [...this.#done.keys()].filter(
      (thread) => !this.#done[thread] && (this.#blocked[thread]?.() ?? true),
    );
  }

  state(): string {
    const pasts = this.#pasts.map(({ steps, read }) => `${steps}:${read}`);
    return `${pasts.join(';')}|${this.scenario.state()}`;
  }
}
