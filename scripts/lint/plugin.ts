/** Rules of this house that `deno lint` enforces together with its own (deno.json names this file). */
const MAX_FUNCTION_LINES = 60;

function lineCount(text: string): number {
  return text.split("\n").length;
}

/** Tests tell stories and may be as long as these are; tools of the checkout and the product may not. */
function isTest(filename: string): boolean {
  return filename.includes("/tests/");
}

/** One `return` and nothing else, such as a chain of routes: data, whose type is inferred from the whole. */
function isTable(node: Deno.lint.Node): boolean {
  if (node.type !== "FunctionDeclaration" || node.body?.type !== "BlockStatement") return false;
  return node.body.body.length === 1 && node.body.body[0]?.type === "ReturnStatement";
}

function check(context: Deno.lint.RuleContext, node: Deno.lint.Node): void {
  if (isTest(context.filename) || isTable(node)) return;
  const lines = lineCount(context.sourceCode.getText(node));
  if (lines <= MAX_FUNCTION_LINES) return;
  context.report({
    // Its first line: the report would show all of it.
    range: [node.range[0], node.range[0] + context.sourceCode.getText(node).indexOf("\n")],
    message: `This function has ${lines} lines, more than ${MAX_FUNCTION_LINES}`,
    hint: "Give a part of it a name of its own",
  });
}

const plugin: Deno.lint.Plugin = {
  name: "banger",
  rules: {
    "function-size": {
      create: (context) => ({
        FunctionDeclaration: (node) => check(context, node),
        FunctionExpression: (node) => check(context, node),
        ArrowFunctionExpression: (node) => check(context, node),
      }),
    },
  },
};
export default plugin;
