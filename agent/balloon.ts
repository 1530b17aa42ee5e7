import type { Log } from "../lib/base/host.ts";
import type { Descriptors } from "./descriptor.ts";
import type { Libc } from "./libc.ts";
import { BUSYBOX, runQuietly } from "./power.ts";
import { readSmallFile } from "./small_files.ts";

/** As the first commands must not wait for it. */
const DELAY_MS = 5000;
const DEVICES = "/sys/bus/virtio/devices";
/** VIRTIO 1.2, section 5.5: "Memory Balloon Device" */
const BALLOON_ID = 5;

/**
 * Loads the driver of the machine's balloon, some seconds after the guest is up: it tells the host which memory is
 * free, and the host takes that back. It is no part of the initramfs, because a boot would wait for it, and udev,
 * which would load it, is not in every guest.
 */
export function loadBalloonLater(descriptors: Descriptors, log: Log): void {
  setTimeout(async () => {
    try {
      if (!hasBalloon(descriptors.libc)) return;
      const code = await runQuietly(descriptors, [BUSYBOX, "modprobe", "virtio_balloon"]);
      // A kernel without it keeps its memory, as every guest's did before.
      if (code !== 0) log("info", "the balloon's driver cannot be loaded", { code });
    } catch (failure) {
      log("error", "cannot look for a balloon", { failure });
    }
  }, DELAY_MS);
}

function hasBalloon(libc: Libc): boolean {
  const names = [...Deno.readDirSync(DEVICES)].map(({ name }) => name);
  return names.some((name) => Number(readSmallFile(libc, `${DEVICES}/${name}/device`)) === BALLOON_ID);
}
