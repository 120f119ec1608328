/**
 * Makes of a source what a simulation can stop. A module of its own because it loads the TypeScript
 * compiler, which threads that are given what was compiled elsewhere need not.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import ts from 'typescript';
import { ROOT } from '../support/app.js';
import { isAssignment, isShared } from '../support/syntax.js';
import type { Edit } from './source.js';

function isAsync(node: ts.Node): boolean {
  const modifiers = ts.canHaveModifiers(node) ? ts.getModifiers(node) : undefined;
  return modifiers?.some(({ kind }) => kind === ts.SyntaxKind.AsyncKeyword) ?? false;
}

/**
 *     words[at]                 ->  ($access(), words[at])
 *     words[at] = value         ->  words[at] = $value(value)
 *     f() { … }                 ->  f() { $enter(); … }
 *     for (…) { … }             ->  for (…) { $enter(); … }
 *     async f() { … await x … } ->  f() { $enter(); return $async(function* () { … yield x … }.call(this)) }
 */
function instrument(context: ts.TransformationContext): ts.Transformer<ts.SourceFile> {
  const { factory } = context;
  const call = (name: string, ...args: ts.Expression[]) =>
    factory.createCallExpression(factory.createIdentifier(name), undefined, args);
  const entered = (block: ts.Block) =>
    factory.updateBlock(block, [
      factory.createExpressionStatement(call('$enter')),
      ...block.statements,
    ]);

  const asyncBody = (body: ts.ConciseBody): ts.Block => {
    const block = ts.isBlock(body)
      ? body
      : factory.createBlock([factory.createReturnStatement(body)]);
    const star = factory.createToken(ts.SyntaxKind.AsteriskToken);
    const generator = factory.createParenthesizedExpression(
      factory.createFunctionExpression([], star, undefined, [], [], undefined, block),
    );
    const started = factory.createCallExpression(
      factory.createPropertyAccessExpression(generator, 'call'),
      undefined,
      [factory.createThis()],
    );
    return factory.createBlock([factory.createReturnStatement(call('$async', started))]);
  };
  const bodyOf = (body: ts.ConciseBody, isAsynchronous: boolean): ts.ConciseBody => {
    if (isAsynchronous) return entered(asyncBody(body));
    if (ts.isBlock(body)) return entered(body);
    return factory.createParenthesizedExpression(factory.createComma(call('$enter'), body));
  };
  const notAsync = (modifiers: ts.NodeArray<ts.ModifierLike> | undefined) =>
    modifiers?.filter(({ kind }) => kind !== ts.SyntaxKind.AsyncKeyword);

  const visit = (node: ts.Node): ts.Node => {
    if (isAssignment(node) && isShared(node.left)) {
      const left = ts.visitEachChild(node.left, visit, context);
      const value = ts.visitNode(node.right, visit) as ts.Expression;
      return factory.createAssignment(left, call('$value', value));
    }
    if (isShared(node)) {
      const read = ts.visitEachChild(node, visit, context);
      return factory.createParenthesizedExpression(factory.createComma(call('$access'), read));
    }
    const seen = ts.visitEachChild(node, visit, context);
    if (ts.isAwaitExpression(seen)) {
      return factory.createParenthesizedExpression(
        factory.createYieldExpression(undefined, seen.expression),
      );
    }
    if (ts.isIterationStatement(seen, false)) {
      const { statement } = seen;
      return withBody(
        seen,
        entered(ts.isBlock(statement) ? statement : factory.createBlock([statement])),
      );
    }
    const asynchronous = isAsync(seen);
    if (ts.isMethodDeclaration(seen) && seen.body) {
      return factory.updateMethodDeclaration(
        ...([seen, notAsync(seen.modifiers), seen.asteriskToken, seen.name] as const),
        ...([seen.questionToken, seen.typeParameters, seen.parameters, undefined] as const),
        bodyOf(seen.body, asynchronous) as ts.Block,
      );
    }
    if (ts.isFunctionDeclaration(seen) && seen.body) {
      return factory.updateFunctionDeclaration(
        ...([seen, notAsync(seen.modifiers), seen.asteriskToken, seen.name] as const),
        ...([seen.typeParameters, seen.parameters, undefined] as const),
        bodyOf(seen.body, asynchronous) as ts.Block,
      );
    }
    if (ts.isFunctionExpression(seen)) {
      return factory.updateFunctionExpression(
        ...([seen, notAsync(seen.modifiers) as ts.Modifier[], seen.asteriskToken] as const),
        ...([seen.name, seen.typeParameters, seen.parameters, undefined] as const),
        bodyOf(seen.body, asynchronous) as ts.Block,
      );
    }
    if (ts.isArrowFunction(seen)) {
      return factory.updateArrowFunction(
        ...([seen, notAsync(seen.modifiers) as ts.Modifier[], seen.typeParameters] as const),
        ...([seen.parameters, undefined, seen.equalsGreaterThanToken] as const),
        bodyOf(seen.body, asynchronous),
      );
    }
    return seen;
  };

  const withBody = (loop: ts.IterationStatement, body: ts.Block): ts.Node => {
    if (ts.isForOfStatement(loop)) {
      const { awaitModifier, initializer, expression } = loop;
      return factory.updateForOfStatement(loop, awaitModifier, initializer, expression, body);
    }
    if (ts.isForStatement(loop)) {
      const { initializer, condition, incrementor } = loop;
      return factory.updateForStatement(loop, initializer, condition, incrementor, body);
    }
    if (ts.isWhileStatement(loop)) return factory.updateWhileStatement(loop, loop.expression, body);
    if (ts.isDoStatement(loop)) return factory.updateDoStatement(loop, body, loop.expression);
    return loop;
  };
  return (source) => ts.visitEachChild(source, visit, context);
}

/** `src/NAME.ts` after `edits`, as JavaScript. Without any it is what the build has made of it. */
function javascriptOf(name: string, edits: readonly Edit[]): string {
  if (edits.length === 0) return readFileSync(path.join(ROOT, 'dist', 'src', `${name}.js`), 'utf8');
  let source = readFileSync(path.join(ROOT, 'src', `${name}.ts`), 'utf8');
  for (const { from, to } of edits) {
    if (source.split(from).length !== 2) throw new Error(`not once in ${name}.ts: ${from}`);
    source = source.replace(from, () => to);
  }
  const { outputText } = ts.transpileModule(source, {
    fileName: `${name}.ts`,
    compilerOptions: {
      target: ts.ScriptTarget.ES2022,
      module: ts.ModuleKind.CommonJS,
      esModuleInterop: true,
    },
  });
  return outputText;
}

const printer = ts.createPrinter({ removeComments: true });

/** The same with all that {@link instrument} does. */
export function transpile(name: string, edits: readonly Edit[]): string {
  const source = ts.createSourceFile(
    `${name}.js`,
    javascriptOf(name, edits),
    ts.ScriptTarget.ES2022,
  );
  const { transformed } = ts.transform(source, [instrument]);
  return printer.printFile(transformed[0] as ts.SourceFile);
}
