import assert from "node:assert/strict";
import { AcpBridge, MessageLines } from "../../../lib/cli/acp.ts";
import { BangerError } from "../../../lib/base/errors.ts";

function bridge(keepsMcpServers = false) {
  const warnings: string[] = [];
  const made = new AcpBridge({ cwd: "/root/repo", keepsMcpServers, warn: (text) => warnings.push(text) });
  return { made, warnings };
}

const request = (method: string, params: unknown) =>
  JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });

Deno.test("an editor's files and terminals are not offered to the guest", () => {
  const sent = bridge().made.fromEditor(request("initialize", {
    protocolVersion: 1,
    clientCapabilities: { fs: { readTextFile: true, writeTextFile: true }, terminal: true, _meta: { a: 1 } },
  }));
  assert.deepEqual(JSON.parse(sent).params, { protocolVersion: 1, clientCapabilities: { _meta: { a: 1 } } });
});

Deno.test("sessions work in the guest's directory, without the editor's servers", () => {
  const { made, warnings } = bridge();
  const params = {
    cwd: "/home/me/project",
    mcpServers: [{ name: "x", command: "/x", env: [{ name: "TOKEN", value: "s" }] }],
  };
  for (const method of ["session/new", "session/load"]) {
    const sent = made.fromEditor(request(method, { ...params, sessionId: "7" }));
    assert.deepEqual(JSON.parse(sent).params, { cwd: "/root/repo", mcpServers: [], sessionId: "7" });
  }
  assert.match(warnings[0]!, /MCP servers stay here/);
  const kept = bridge(true).made.fromEditor(request("session/new", params));
  assert.deepEqual(JSON.parse(kept).params.mcpServers, params.mcpServers);
});

Deno.test("all else passes as it is", () => {
  const { made } = bridge();
  for (
    const line of [
      request("session/prompt", { prompt: [{ type: "text", text: "cwd" }] }),
      "{}",
      "no JSON",
      "[1]",
    ]
  ) {
    assert.deepEqual(made.fromEditor(line), line);
  }
  const answer = `{"jsonrpc":"2.0","id":12345678901234567890,"result":{}}`;
  assert.deepEqual(made.fromGuest(answer), { toEditor: answer });
});

Deno.test("a guest that asks for the host's files or terminals is told no, and the editor is not asked", () => {
  const { made, warnings } = bridge();
  for (const method of ["fs/read_text_file", "fs/write_text_file", "terminal/create"]) {
    const { toEditor, toGuest } = made.fromGuest(request(method, { path: "/home/me/.ssh/id_ed25519" }));
    assert.equal(toEditor, undefined);
    assert.equal(JSON.parse(toGuest!).error.code, -32601);
  }
  assert.deepEqual(made.fromGuest("Loading…"), {});
  assert.deepEqual(made.fromGuest("still loading"), {});
  assert.equal(warnings.length, 1);
});

Deno.test("MessageLines puts lines together from any pieces, and refuses one without an end", () => {
  const lines = new MessageLines();
  const bytes = new TextEncoder().encode('{"ü":1}\n\n{}\nrest');
  assert.deepEqual([...bytes].flatMap((byte) => [...lines.push(Uint8Array.of(byte))]), ['{"ü":1}', "", "{}"]);
  assert.deepEqual([...lines.push(new TextEncoder().encode("\n"))], ["rest"]);
  const piece = new Uint8Array(16 * 1024 * 1024);
  assert.throws(() => {
    for (let i = 0; i < 5; i++) lines.push(piece).next();
  }, BangerError);
});
