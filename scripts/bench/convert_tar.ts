/** One conversion in a process of its own, so that its peak memory can be read: convert_tar.ts TAR DISK */
import { uuidFromSeed } from "../../lib/base/uuid.ts";
import { EPOCH } from "../../lib/base/tree.ts";
import { FilesystemWriter } from "../../lib/ext4/mod.ts";
import { replayTar } from "../../lib/image/tar_source.ts";
import { realHost } from "../../lib/sys/host.ts";

const [tar = "", disk = ""] = Deno.args;
const { files } = realHost();
await using file = await files.open(disk, { read: true, write: true, create: true, truncate: true });
await using writer = await FilesystemWriter.create(file, { uuid: uuidFromSeed("bench"), timestamp: EPOCH });
const { root } = await replayTar(files.readStream(tar), writer, () => {}, new AbortController().signal);
await writer.finish(root);
const peakKib = /VmHWM:\s+(\d+)/.exec(await Deno.readTextFile("/proc/self/status"))?.[1] ?? "0";
console.log(peakKib);
