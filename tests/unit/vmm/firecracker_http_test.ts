import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import type { Connection } from "../../../lib/base/host.ts";
import { systemClock } from "../../../lib/sys/clock.ts";
import { FirecrackerClient, FirecrackerFault } from "../../../lib/vmm/firecracker/client.ts";

/** A server that has said all this already, `chunkBytes` at a time. */
function clientOf(answer: string, chunkBytes = 5) {
  const bytes = new TextEncoder().encode(answer);
  const asked: string[] = [];
  let at = 0;
  let isOpen = true;
  const connection: Connection = {
    read(into) {
      const part = bytes.subarray(at, at + Math.min(chunkBytes, into.length));
      into.set(part);
      at += part.length;
      return Promise.resolve(part.length === 0 ? null : part.length);
    },
    write(part) {
      asked.push(new TextDecoder().decode(part));
      return Promise.resolve(part.length);
    },
    closeWrite: () => Promise.resolve(),
    close: () => void (isOpen = false),
  };
  const sockets = { connectUnix: () => Promise.resolve(connection) } as never;
  const client = new FirecrackerClient({ sockets, clock: systemClock }, "/api.sock");
  return { client, asked: () => asked.join(""), isClosed: () => !isOpen };
}

const NO_CONTENT = "HTTP/1.1 204 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n\r\n";

function ok(body: string): string {
  return `HTTP/1.1 200 \r\nServer: Firecracker API\r\nContent-Type: application/json\r\n` +
    `Content-Length: ${new TextEncoder().encode(body).length}\r\n\r\n${body}`;
}

Deno.test("FirecrackerClient writes requests as Firecracker's server reads them, and hangs up", async () => {
  const { client, asked, isClosed } = clientOf(NO_CONTENT);
  await client.putBootSource({ kernel_image_path: "/ä/vmlinux" });
  assert.equal(
    asked(),
    "PUT /boot-source HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n" +
      'Content-Type: application/json\r\nContent-Length: 35\r\n\r\n{"kernel_image_path":"/ä/vmlinux"}',
  );
  assert.ok(isClosed());
});

Deno.test("FirecrackerClient lets no id out of its path", async () => {
  const { client, asked } = clientOf(NO_CONTENT);
  await client.putNetworkInterface({ iface_id: "../actions HTTP/1.1\r\nX: y", host_dev_name: "tap0" });
  assert.ok(
    asked().startsWith("PUT /network-interfaces/..%2Factions%20HTTP%2F1.1%0D%0AX%3A%20y HTTP/1.1\r\n"),
  );
});

Deno.test("FirecrackerClient reads what it asked for", async () => {
  assert.equal(await clientOf(ok('{"firecracker_version":"1.16.1"}')).client.version(), "1.16.1");
  const info = '{"app_name":"Firecracker","id":"a","state":"Not started","vmm_version":"1.16.1"}';
  assert.equal((await clientOf(ok(info)).client.instance()).state, "Not started");
});

for (
  const [what, answer, text] of [
    [
      "its message",
      'HTTP/1.1 400 \r\nContent-Length: 28\r\n\r\n{"fault_message":"no\\u001b"}',
      /refuses PATCH \/vm: "no/,
    ],
    ["its status where it says nothing", "HTTP/1.1 500 \r\nContent-Length: 0\r\n\r\n", /status 500/],
    [
      "its status where it says no JSON",
      "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnope",
      /status 404/,
    ],
  ] as const
) {
  Deno.test(`a fault carries ${what}`, async () => {
    await assert.rejects(clientOf(answer).client.pause(), (thrown) => {
      assert.ok(thrown instanceof FirecrackerFault);
      assert.match(thrown.message, text);
      assert.ok(!thrown.message.includes("\u001b"));
      return true;
    });
  });
}

const BAD_ANSWERS: readonly [string, string, "corrupt_data" | "connection_failed"][] = [
  ["nothing", "", "connection_failed"],
  ["half a head", "HTTP/1.1 200 \r\nServer: Fire", "connection_failed"],
  ["half a body", "HTTP/1.1 200 \r\nContent-Length: 50\r\n\r\n{}", "connection_failed"],
  ["another protocol", "SSH-2.0-OpenSSH_9.2\r\n\r\n", "corrupt_data"],
  ["a status of letters", "HTTP/1.1 abc \r\n\r\n", "corrupt_data"],
  ["a length of a gigabyte", "HTTP/1.1 200 \r\nContent-Length: 1000000000\r\n\r\n", "corrupt_data"],
  ["a negative length", "HTTP/1.1 200 \r\nContent-Length: -1\r\n\r\n", "corrupt_data"],
  ["chunks", "HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "corrupt_data"],
  ["headers for ever", `HTTP/1.1 200 \r\n${"A: b\r\n".repeat(100)}\r\n`, "corrupt_data"],
  ["a header that never ends", `HTTP/1.1 200 \r\nA: ${"b".repeat(10_000)}`, "corrupt_data"],
  ["no JSON", ok("<html>"), "corrupt_data"],
  ["a JSON list", ok("[]"), "corrupt_data"],
  ["an unknown state", ok('{"id":"a","state":"Melted","vmm_version":"1"}'), "corrupt_data"],
  ["a number for an id", ok('{"id":1,"state":"Running","vmm_version":"1"}'), "corrupt_data"],
];

for (const [what, answer, code] of BAD_ANSWERS) {
  Deno.test(`FirecrackerClient refuses ${what} for an answer`, async () => {
    const { client, isClosed } = clientOf(answer, 4096);
    await assert.rejects(
      client.instance(),
      (thrown) => thrown instanceof BangerError && thrown.code === code,
    );
    assert.ok(isClosed());
  });
}
