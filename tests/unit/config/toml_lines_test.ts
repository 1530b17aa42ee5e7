import assert from "node:assert/strict";
import { parse } from "smol-toml";
import { pathKey, tomlLines } from "../../../lib/config/toml_lines.ts";

const DOCUMENT = `# a comment with [brackets] and "quotes"
top = "a # in it" # b = 1
[plain]
'single.quoted' = '\\'
"double \\"quoted\\"" = 1
dotted . key = [ # [
  "]",
  { inner = "}", other = [1,
    2] },
]

[[list]]
name = """
not_a_key = 1
\\""" ""and the end"""""
[[list]]
name = '''
[no_table]
'''
[list.below]
when = 2026-01-01T00:00:00Z
[ "spaced" . name ]
x=-1
`;

Deno.test("every key of a document is found on its line", () => {
  const lines = tomlLines(DOCUMENT);
  const at = (...path: (string | number)[]) => lines.get(pathKey(path));
  assert.equal(at("top"), 2);
  assert.equal(at("plain"), 3);
  assert.equal(at("plain", "single.quoted"), 4);
  assert.equal(at("plain", 'double "quoted"'), 5);
  assert.equal(at("plain", "dotted", "key"), 6);
  assert.equal(at("plain", "dotted", "key", 0), 7);
  assert.equal(at("plain", "dotted", "key", 1, "inner"), 8);
  assert.equal(at("plain", "dotted", "key", 1, "other", 1), 9);
  assert.equal(at("list", 0), 12);
  assert.equal(at("list", 0, "name"), 13);
  assert.equal(at("list", 1, "name"), 17);
  assert.equal(at("list", 1, "below", "when"), 21);
  assert.equal(at("spaced", "name", "x"), 23);
  assert.equal(at("not_a_key"), undefined);
  assert.equal(at("no_table"), undefined);
});

Deno.test("every path of the parsed document has a line", () => {
  const lines = tomlLines(DOCUMENT);
  const visit = (value: unknown, path: (string | number)[]) => {
    if (path.length > 0) assert.ok(lines.has(pathKey(path)), path.join("."));
    if (Array.isArray(value)) value.forEach((one, index) => visit(one, [...path, index]));
    else if (typeof value === "object" && value !== null && !(value instanceof Date)) {
      for (const [name, one] of Object.entries(value)) visit(one, [...path, name]);
    }
  };
  visit(parse(DOCUMENT), []);
});

Deno.test("what is no TOML ends, too", () => {
  for (const text of ["[", "[[", "a", "a = [", "a = {", 'a = "', "a = '''", "= = =", "]]]", "\0", '"a" b']) {
    tomlLines(text);
  }
});
