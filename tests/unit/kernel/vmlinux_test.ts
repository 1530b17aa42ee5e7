import assert from "node:assert/strict";
import type { Architecture } from "../../../lib/base/architecture.ts";
import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";
import { concatBytes } from "../../../lib/base/bytes.ts";
import { decompressBytes, sniffCompression } from "../../../lib/kernel/decompress.ts";
import { decodeLz4Legacy } from "../../../lib/kernel/lz4.ts";
import { writeVmlinux } from "../../../lib/kernel/vmlinux.ts";
import { decodeKernelXz } from "../../../lib/kernel/xz_bcj.ts";
import { zstdContentBytes } from "../../../lib/kernel/zstd.ts";
import { realHost } from "../../../lib/sys/host.ts";
import { bzImage, elfExecutable, withSize } from "./fixtures.ts";
import { inTemporaryDirectory, isBanger } from "./support.ts";

function fromBase64(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

/** x86 calls and jumps: near ones, far ones, overlapping ones. */
const CALLS = concatBytes(Array.from(
  { length: 16 },
  () => Uint8Array.of(0xe8, 0, 0, 0, 0, 0xe8, 0xff, 0xff, 0xff, 0xff, 0x90, 0xe9, 0x10, 0, 0, 0),
));
/** `xz --check=crc32 --x86 --lzma2=dict=64KiB` of CALLS */
const CALLS_XZ = fromBase64(
  "/Td6WFoAAAFpIt42AgEEACEBCADSuXTL4AD/AGFdAHQBPBk99KnG9bSctKRseqT7RNnrOADCpyPDlHjuVIC0CfYYb2kfzKXXdrHB8v/v" +
    "sVFe6OG2A6ThqjfbDU680psyT4e83+wBOkbzhCzE5DRVZhJ/rmvLxWmQO8NcKGjh1xEAAAAAgoDTCAABeYACAAAAzfCX9D4wDYsCAAAA" +
    "AAFZWg==",
);
/** `zstd -19` of CALLS */
const CALLS_ZSTD = fromBase64("KLUv/WQAAL0AAIDoAAAAAOj/////kOkQAAAAAQDaQ80lPTz/Gw==");
const LINE = `${"a".repeat(40)}bcdabcdabcdabcdabcd-end-of-it`;
/** `lz4 -l` of LINE */
const LINE_LZ4 = fromBase64("AiFMGBYAAAAfYQEAFDxiY2QEAKAtZW5kLW9mLWl0");
/** `xz --check=crc64` of LINE */
const LINE_XZ = fromBase64(
  "/Td6WFoAAATm1rRGAgAhARYAAAB0L+Wj4ABEABVdADDuJmIxnNEcqIBcPZQvjIv8jbY0bAAAAACDCg8Lo/ZrbgABMUWGB23gH7bzfQEA" +
    "AAAABFla",
);

async function collect(chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const chunk of chunks) parts.push(chunk.slice());
  return concatBytes(parts);
}

Deno.test("xz with the x86 filter, as kernels are packed", async () => {
  assert.deepEqual(await collect(decodeKernelXz(CALLS_XZ, 1000)), CALLS);
});

Deno.test("xz without a filter", async () => {
  const plain = await decompressBytes(LINE_XZ, 100, "t");
  assert.equal(new TextDecoder().decode(plain), LINE);
  assert.deepEqual(await collect(decodeKernelXz(LINE_XZ, 100)), plain);
});

Deno.test("lz4, with a match that overlaps itself", async () => {
  assert.equal(new TextDecoder().decode(await collect(decodeLz4Legacy(LINE_LZ4))), LINE);
});

Deno.test("zstd in memory", async () => {
  assert.equal(zstdContentBytes(CALLS_ZSTD, "t"), CALLS.length);
  assert.deepEqual(await decompressBytes(CALLS_ZSTD, CALLS.length, "t"), CALLS);
  await assert.rejects(
    decompressBytes(CALLS_ZSTD, CALLS.length - 1, "t"),
    isBanger("corrupt_data", /more than/),
  );
});

Deno.test("several gzip members are one content", async () => { // row Z2
  const bytes = concatBytes([gzipSync(CALLS), gzipSync(CALLS)]);
  assert.equal((await decompressBytes(bytes, 1000, "t")).length, 512);
  await assert.rejects(decompressBytes(bytes, 511, "t"), isBanger("corrupt_data", /more than 511/)); // row Z4
});

Deno.test("what is damaged is refused, at whatever byte", async () => {
  const decoders: [Uint8Array, (bytes: Uint8Array) => Promise<Uint8Array>][] = [
    [CALLS_XZ, (bytes) => collect(decodeKernelXz(bytes, 1000))],
    [LINE_XZ, (bytes) => decompressBytes(bytes, 1000, "t")],
    [gzipSync(CALLS), (bytes) => decompressBytes(bytes, 1000, "t")],
  ];
  for (const [good, decode] of decoders) {
    const magicBytes = 6;
    const plain = await decode(good);
    for (let at = magicBytes; at < good.length; at++) {
      const bad = good.slice();
      bad[at]! ^= 0x41;
      // gzip has bytes of no meaning (time, system): there the content must be right nonetheless.
      const outcome = await decode(bad).then((content) => content, (failure) => failure);
      if (outcome instanceof Uint8Array) assert.deepEqual(outcome, plain, `byte ${at}`);
      else {isBanger("corrupt_data")(
          outcome.code === "host_unsupported" ? Object.assign(outcome, { code: "corrupt_data" }) : outcome,
        );}
    }
  }
});

Deno.test("what is cut off is refused, at whatever byte", async () => {
  for (let length = 6; length < CALLS_XZ.length; length++) {
    await assert.rejects(
      collect(decodeKernelXz(CALLS_XZ.subarray(0, length), 1000)),
      isBanger("corrupt_data"),
    );
  }
  for (let length = 6; length < LINE_XZ.length; length++) {
    await assert.rejects(decompressBytes(LINE_XZ.subarray(0, length), 1000, "t"), isBanger("corrupt_data"));
  }
  for (let length = 5; length < LINE_LZ4.length; length++) {
    assert.throws(
      () => [...decodeLz4Legacy(LINE_LZ4.subarray(0, length))],
      isBanger("corrupt_data"),
      `${length}`,
    );
  }
});

Deno.test("an lz4 block never writes or reads outside its buffers", () => {
  const block = (...bytes: number[]) =>
    Uint8Array.of(0x02, 0x21, 0x4c, 0x18, bytes.length, 0, 0, 0, ...bytes);
  for (
    const bytes of [
      block(0x10, 1, 5, 0, 0), // a match before the beginning
      block(0x10, 1, 0, 0, 0), // distance zero
      block(0xf0, 255), // a length that is cut off
      block(0x50, 1), // literals that are not there
      block(0x1f, 1, 1, 0, ...Array<number>(40_000).fill(255), 0).with(4, 0x46).with(5, 0x9c), // over 8 MiB
    ]
  ) {
    assert.throws(() => [...decodeLz4Legacy(bytes)], isBanger("corrupt_data"));
  }
});

Deno.test("the decoder of one xz stream given up serves the next", async () => {
  for (let round = 0; round < 3; round++) {
    await assert.rejects(decompressBytes(LINE_XZ.subarray(0, 40), 100, "t"), isBanger("corrupt_data"));
    await assert.rejects(decompressBytes(LINE_XZ, 10, "t"), isBanger("corrupt_data", /more than 10/));
    assert.equal((await decompressBytes(LINE_XZ, 100, "t")).length, LINE.length);
  }
});

Deno.test("sniffCompression() knows formats by their first bytes", () => {
  assert.equal(sniffCompression(CALLS_XZ), "xz");
  assert.equal(sniffCompression(CALLS_ZSTD), "zstd");
  assert.equal(sniffCompression(LINE_LZ4), "lz4");
  assert.equal(sniffCompression(gzipSync(CALLS)), "gzip");
  assert.equal(sniffCompression(CALLS), "none");
  assert.equal(sniffCompression(new Uint8Array(0)), "none");
});

async function written(
  image: Uint8Array,
  architecture: Architecture = "x86_64",
): Promise<{ content: Uint8Array; sha256: string }> {
  let found: { content: Uint8Array; sha256: string } | undefined;
  await inTemporaryDirectory(async (directory) => {
    const sha256 = await writeVmlinux(hostOf(architecture), image, `${directory}/vmlinux`);
    found = { content: await Deno.readFile(`${directory}/vmlinux`), sha256 };
  });
  return found!;
}

function hostOf(architecture: Architecture) {
  const host = realHost();
  return { ...host, processes: { ...host.processes, architecture } };
}

const kernel = elfExecutable();

for (
  const [name, image] of [
    ["gzip", bzImage(gzipSync(kernel))],
    ["nothing", bzImage(withSize(kernel, kernel.length))],
    ["no bzImage around it", kernel],
  ] as const
) {
  Deno.test(`writeVmlinux() unpacks a kernel packed with ${name}`, async () => {
    const { content, sha256 } = await written(image);
    assert.deepEqual(content, kernel);
    assert.equal(sha256, createHash("sha256").update(kernel).digest("hex"));
  });
}

for (
  const [name, image, code, message] of [
    ["an empty file", new Uint8Array(0), "corrupt_data", /too short/],
    ["something else", new Uint8Array(5000), "corrupt_data", /no bzImage/],
    [
      "a kernel that is cut off",
      bzImage(gzipSync(kernel)).subarray(0, 1500),
      "corrupt_data",
      /outside the file/,
    ],
    ["a payload that is no program", bzImage(gzipSync(CALLS)), "corrupt_data", /no 64-bit ELF/],
    ["a wrong unpacked size", bzImage(withSize(kernel, 77)), "corrupt_data", /size that it says/],
    ["an lzma kernel", bzImage(Uint8Array.of(0x5d, 0, 0, 0, 0, 0, 0, 0)), "host_unsupported", /lzma/],
    [
      "a kernel for another processor",
      bzImage(gzipSync(elfExecutable({ machine: 183 }))),
      "host_unsupported",
      /another processor/,
    ],
    ["a kernel without PVH", bzImage(gzipSync(elfExecutable({ notes: [] }))), "host_unsupported", /PVH/],
    [
      "a kernel with another Xen note",
      bzImage(gzipSync(elfExecutable({ notes: [{ name: "Xen", type: 6 }, { name: "GNU", type: 18 }] }))),
      "host_unsupported",
      /PVH/,
    ],
  ] as const
) {
  Deno.test(`writeVmlinux() refuses ${name}`, async () => {
    await assert.rejects(written(image), isBanger(code, message));
  });
}

/** The header of an arm64 Image, and something behind it. */
function arm64Image(): Uint8Array {
  const image = new Uint8Array(4096).fill(7);
  image.set(new TextEncoder().encode("ARM\x64"), 56);
  return image;
}

Deno.test("writeVmlinux() for arm64 takes an Image, packed with gzip or not at all", async () => {
  for (const image of [arm64Image(), gzipSync(arm64Image())]) {
    assert.deepEqual((await written(image, "aarch64")).content, arm64Image());
  }
});

for (
  const [name, image] of [
    ["an x86-64 kernel", kernel],
    ["a bzImage", bzImage(gzipSync(kernel))],
    ["an empty file", new Uint8Array(0)],
  ] as const
) {
  Deno.test(`writeVmlinux() for arm64 refuses ${name}`, async () => {
    await assert.rejects(written(image, "aarch64"), isBanger("host_unsupported", /no arm64 Image/));
  });
}
