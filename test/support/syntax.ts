/** What is an access to shared memory, in the syntax of src/. */
import ts from 'typescript';

/** Views of shared memory, by the names they have in the sources. */
const SHARED = new Set(['words', '#words', '#floats']);

export function nameOf(node: ts.Node): string | null {
  if (ts.isIdentifier(node) || ts.isPrivateIdentifier(node)) return node.text;
  if (ts.isPropertyAccessExpression(node)) return node.name.text;
  return null;
}

export function isShared(node: ts.Node): node is ts.ElementAccessExpression {
  return ts.isElementAccessExpression(node) && SHARED.has(nameOf(node.expression) ?? '');
}

export function isAssignment(node: ts.Node): node is ts.BinaryExpression {
  return ts.isBinaryExpression(node) && node.operatorToken.kind === ts.SyntaxKind.EqualsToken;
}
