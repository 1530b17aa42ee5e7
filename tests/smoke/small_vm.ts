/** An image of a few files, for scenarios that need a machine and no distribution: it boots in seconds. */
import { banger, HOME } from "./fixture.ts";
import { applets, BUSYBOX, makeTar } from "./small_images.ts";

const TREE = {
  "bin/busybox": BUSYBOX,
  ...applets("sh", "cat", "ls", "sleep", "ln", "mkdir", "rm", "sha256sum", "stat", "touch"),
  "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n",
  "etc/group": "root:x:0:\nuser:x:1000:\n",
  "root/.keep": "",
  "tmp/.keep": "",
} as const;

const made: { source?: Promise<string> } = {};

/** @returns what `--image` takes; its image is called `surface` */
export function smallImage(): Promise<string> {
  return made.source ??= (async () => {
    const directory = `${HOME}/small-image`;
    await Deno.remove(directory, { recursive: true }).catch(() => {}); // of an earlier run in a kept home
    await Deno.mkdir(directory);
    return `tar:${await makeTar(directory, "surface", TREE)}`;
  })();
}

/** For the end of a file: nothing of it is left for the next one. */
export async function removeSmallImage(): Promise<void> {
  await banger(["image", "rm", "surface"]);
  await Deno.remove(`${HOME}/small-image`, { recursive: true }).catch(() => {}); // nobody made it
  delete made.source;
}
