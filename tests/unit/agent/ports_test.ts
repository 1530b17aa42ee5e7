import assert from "node:assert/strict";
import { parseListeners } from "../../../agent/ports.ts";

Deno.test("parseListeners() tells each port once, where it is best reached", () => {
  const ports = parseListeners([
    "0100007F:0BB8 0200007F:0BB9 00000000:0016 0F02000A:0050 00000000:0000 junk",
    "00000000000000000000000000000000:0016 00000000000000000000000001000000:0BB8 " +
    "00000000000000000000000000000000:1F90 00000000000000000000000001000000:2328 " +
    "0000000000000000FFFF00000100007F:2329 B80D0120000000000000000002000000:232A",
  ]);
  assert.equal(ports.truncated, false);
  assert.deepEqual(ports.listeners, [
    { port: 22, address: "0.0.0.0" },
    { port: 80, address: "10.0.2.15" },
    { port: 3000, address: "127.0.0.1" },
    { port: 3001, address: "127.0.0.2" },
    { port: 8080, address: "::" },
    { port: 9000, address: "::1" },
    { port: 9001, address: "127.0.0.1" },
    { port: 9002, address: "2001:db8:0:0:0:0:0:2" },
  ]);
});

Deno.test("parseListeners() tells 512 of 10,000, the lowest", () => {
  const words = Array.from(
    { length: 10_000 },
    (_, index) => `00000000:${(30_000 - index).toString(16).toUpperCase().padStart(4, "0")}`,
  );
  const { listeners, truncated } = parseListeners([words.join(" "), ""]);
  assert.equal(truncated, true);
  assert.equal(listeners.length, 512);
  assert.equal(listeners[0]?.port, 20_001);
  assert.equal(listeners.at(-1)?.port, 20_512);
});
