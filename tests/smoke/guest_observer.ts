/** A guest's kernel as who looks at a directory. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { byteString } from "../../lib/base/tree.ts";
import type { Observer } from "../host/oci/listing.ts";
import { start } from "./fixture.ts";

/** @param machine must have find(1), sha256sum(1), stat(1), getfattr(1) */
export function guestObserver(machine: string): Observer {
  return {
    run: (program, args) => output(machine, program, args),
    xattrs: async (directory) => {
      const args = ["-R", "-P", "-h", "-d", "-m", "-", "-e", "hex", "--absolute-names", directory];
      const found = parseGetfattr(byteString(await output(machine, "getfattr", args)));
      return (path) => found.get(path) ?? [];
    },
  };
}

async function output(machine: string, program: string, args: readonly string[]): Promise<Uint8Array> {
  const child = start(["vm", "exec", machine, "--", program, ...args]);
  const [status, stdout, stderr] = await Promise.all([
    child.status,
    new Response(child.stdout).arrayBuffer(),
    new Response(child.stderr).text(),
  ]);
  assert.equal(status.code, 0, `${program} ${args.join(" ")}\n${stderr}`);
  return new Uint8Array(stdout);
}

/** @returns `name=hex` by path. Source: getfattr(1): control bytes and backslashes are octal in names. */
function parseGetfattr(text: string): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const block of text.split("\n\n")) {
    const [first, ...lines] = block.split("\n");
    const path = /^# file: (.*)$/.exec(first!)?.[1];
    if (path === undefined) continue;
    const real = path.replace(/\\(\d{3})/g, (_, octal) => String.fromCharCode(parseInt(octal, 8)));
    found.set(real, lines.filter((line) => line !== "").map(decodeValue));
  }
  return found;
}

/** What has no bytes is shown as text also where hex was asked for. */
function decodeValue(line: string): string {
  const at = line.indexOf("=");
  const value = line.slice(at + 1);
  const hex = value.startsWith("0x")
    ? value.slice(2)
    : Buffer.from(value.replaceAll('"', "")).toString("hex");
  return `${line.slice(0, at)}=${hex}`;
}
