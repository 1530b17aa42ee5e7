/** Contents of many objects with one git. */
import type { ByteString } from "../base/tree.ts";
import { byteString } from "../base/tree.ts";
import type { GitInput, HostGit } from "./git.ts";
import { lines } from "./history.ts";

/**
 * @param limitBytes kept of each; the rest is dropped
 * @returns by id; what is missing is left out
 */
export async function readObjects(
  git: HostGit,
  place: Parameters<HostGit["stream"]>[0],
  oids: Iterable<ByteString>,
  limitBytes: number,
  input: GitInput = {},
): Promise<Map<ByteString, ByteString>> {
  const asked = [...new Set(oids)];
  const found = new Map<ByteString, ByteString>();
  if (asked.length === 0) return found;
  const { stdout, result } = await git.stream(place, ["cat-file", "--batch"], {
    ...input,
    stdin: lines(asked),
  });
  let header = "";
  let oid = "" as ByteString;
  let kept: string[] = [];
  let keptBytes = 0;
  /** Of the content and the line break behind it. */
  let left = 0;
  for await (const chunk of stdout) {
    for (let at = 0; at < chunk.length;) {
      if (left > 0) {
        const part = chunk.subarray(at, at + left);
        const wanted = part.subarray(0, Math.max(0, Math.min(limitBytes - keptBytes, left - 1)));
        if (wanted.length > 0) kept.push(byteString(wanted));
        keptBytes += wanted.length;
        left -= part.length;
        at += part.length;
        if (left === 0) found.set(oid, kept.join("") as ByteString);
        continue;
      }
      const end = chunk.indexOf(10, at);
      header += byteString(chunk.subarray(at, end < 0 ? chunk.length : end));
      if (end < 0) break;
      at = end + 1;
      const match = /^([0-9a-f]+) [a-z]+ (\d+)$/.exec(header);
      header = "";
      if (!match) continue; // "… missing"
      oid = match[1] as ByteString;
      left = Number(match[2]) + 1;
      kept = [];
      keptBytes = 0;
    }
  }
  await result;
  return found;
}
