/** Inflates a .gz in this thread as banger does, throws the output away, prints the milliseconds: inflate.ts FILE */
import { gunzip } from "../../lib/oci/compression/gzip.ts";
import { readFile } from "../../lib/oci/store/read_file.ts";
import { realHost } from "../../lib/sys/host.ts";

const { files } = realHost();
const startMs = performance.now();
for await (const _ of gunzip(readFile(files, Deno.args[0] ?? ""))) { /* thrown away */ }
console.log(performance.now() - startMs);
