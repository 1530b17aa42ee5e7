/** One conversion of an OCI layout in a process of its own: convert_image.ts DIRECTORY DISK STORE. Prints its peak KiB. */
import { uuidFromSeed } from "../../lib/base/uuid.ts";
import { EPOCH } from "../../lib/base/tree.ts";
import { FilesystemWriter } from "../../lib/ext4/mod.ts";
import { SOURCE_WORKER_URL } from "../../lib/oci/compression/threaded.ts";
import { Images } from "../../lib/oci/images.ts";
import { parsePlatform } from "../../lib/oci/model/platform.ts";
import { ANONYMOUS } from "../../lib/oci/registry/credentials.ts";
import { NO_REGISTRY_SETTINGS } from "../../lib/oci/registry/settings.ts";
import { ContentStore } from "../../lib/oci/store/content_store.ts";
import { realHost } from "../../lib/sys/host.ts";
import { systemHttpClient } from "../../lib/sys/http.ts";

const [source = "", disk = "", storeDirectory = ""] = Deno.args;
const host = realHost();
const { signal } = new AbortController();
using http = systemHttpClient();
await using store = await ContentStore.open(host, storeDirectory);
const images = new Images({ ...host, http, random: Math.random }, {
  store,
  settings: NO_REGISTRY_SETTINGS,
  credentials: ANONYMOUS,
  decompressWorkerUrl: SOURCE_WORKER_URL,
});
const found = await images.find(source, parsePlatform("amd64"), signal);
await using file = await host.files.open(disk, { read: true, write: true, create: true, writesOut: true });
await using writer = await FilesystemWriter.create(file, { uuid: uuidFromSeed(source), timestamp: EPOCH });
const { root } = await found.fill(writer, { stage() {}, update() {}, note() {} }, signal);
await writer.finish(root);
// As a pull does, and mke2fs: what is told to be there stays there.
await file.sync();
console.log(/VmHWM:\s+(\d+)/.exec(await Deno.readTextFile("/proc/self/status"))?.[1] ?? "0");
