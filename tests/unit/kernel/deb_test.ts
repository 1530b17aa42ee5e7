import assert from "node:assert/strict";
import { gzipSync } from "node:zlib";
import { openDeb, parseControl, readDebData } from "../../../lib/kernel/deb.ts";
import { realHost } from "../../../lib/sys/host.ts";
import { ar, deb, tar } from "./fixtures.ts";
import { inTemporaryDirectory, isBanger } from "./support.ts";

const CONTROL = { Package: "busybox-static", Version: "1.35", Architecture: "amd64" };
const FILES = [{ path: "./bin/busybox", content: "x".repeat(5000) }, { path: "./doc", content: "y" }];

async function contentOf(bytes: Uint8Array): Promise<Record<string, number>> {
  const found: Record<string, number> = {};
  await inTemporaryDirectory(async (directory) => {
    const path = `${directory}/a.deb`;
    await Deno.writeFile(path, bytes);
    for await (const entry of readDebData(realHost(), await openDeb(realHost(), path))) {
      found[entry.path] = (await entry.read(10_000)).length;
    }
  });
  return found;
}

for (
  const [suffix, compress] of [
    [".gz", (bytes: Uint8Array) => gzipSync(bytes)],
    ["", (bytes: Uint8Array) => bytes],
    [".xz", (bytes: Uint8Array) => bytes], // what the bytes say counts, not the name
  ] as const
) {
  Deno.test(`a package with data.tar${suffix} is read`, async () => {
    assert.deepEqual(await contentOf(deb(CONTROL, FILES, { suffix, compress })), {
      "bin/busybox": 5000,
      doc: 1,
    });
  });
}

Deno.test("openDeb() reads the control file", async () => {
  await inTemporaryDirectory(async (directory) => {
    await Deno.writeFile(`${directory}/a.deb`, deb(CONTROL, FILES));
    const { control } = await openDeb(realHost(), `${directory}/a.deb`);
    assert.deepEqual(Object.fromEntries(control), CONTROL);
  });
});

Deno.test("parseControl() keeps continuation lines with their field", () => {
  const fields = parseControl("Package: a\nDescription: short\n long\n .\nBroken\nVersion: 1:2\n");
  assert.equal(fields.get("Description"), "short\n long\n .");
  assert.equal(fields.get("Version"), "1:2");
  assert.equal(fields.size, 3);
});

const good = deb(CONTROL, FILES);
const flipped = good.slice();
flipped[good.length - 40]! ^= 0xff;
const zstd = Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0, 0, 0, 0);

for (
  const [name, bytes, code, message] of [
    ["an empty file", new Uint8Array(0), "corrupt_data", /no ar archive/],
    ["something else", new TextEncoder().encode("hello, world"), "corrupt_data", /no ar archive/],
    [
      "a package cut in its last member",
      good.subarray(0, good.length - 100),
      "corrupt_data",
      /ends too early/,
    ],
    ["a package cut in a header", good.subarray(0, 100), "corrupt_data", /header at byte 72 is damaged/],
    ["a flipped bit in the data", flipped, "corrupt_data", /damaged|ends too early/],
    ["an ar archive of something else", ar([["a", new Uint8Array(2)]]), "corrupt_data", /debian-binary/],
    [
      "a package without data",
      ar([["debian-binary", new Uint8Array(2)], ["control.tar.gz", gzipSync(tar([]))]]),
      "corrupt_data",
      /no data\.tar/,
    ],
    [
      "a package without control file",
      ar([["debian-binary", new Uint8Array(2)], ["control.tar.gz", gzipSync(tar([]))], [
        "data.tar",
        tar([]),
      ]]),
      "corrupt_data",
      /no control file/,
    ],
    [
      "a package with endless members",
      ar(Array.from({ length: 20 }, () => ["debian-binary", new Uint8Array(0)] as const)),
      "corrupt_data",
      /more than 16/,
    ],
    [
      "data in a format without decoder",
      deb(CONTROL, FILES, { suffix: ".zst", compress: () => zstd }),
      "host_unsupported",
      /zstd/,
    ],
  ] as const
) {
  Deno.test(`${name} is refused`, async () => {
    await assert.rejects(contentOf(bytes), isBanger(code, message));
  });
}

Deno.test("leaving a package early closes its file", async () => {
  await inTemporaryDirectory(async (directory) => {
    await Deno.writeFile(`${directory}/a.deb`, deb(CONTROL, FILES));
    const opened = await openDeb(realHost(), `${directory}/a.deb`);
    for await (const entry of readDebData(realHost(), opened)) {
      assert.equal(entry.path, "bin/busybox");
      break;
    } // the leak sanitizer judges
  });
});
