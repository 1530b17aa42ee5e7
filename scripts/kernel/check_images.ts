/** The images of the tests on a kernel: each is booted, runs a command, and ends cleanly. */
import { stopCleanly } from "../../tests/smoke/clean_stop.ts";
import { makeLayeredImage, makeMuslImage, makeScratchImage } from "../../tests/smoke/boot_images.ts";
import {
  makeDebianImage,
  makeDebianTar,
  makeTreeImage,
  openWorkshop,
  push,
  type Workshop,
} from "../../tests/smoke/registry_images.ts";
import { applets, BUSYBOX } from "../../tests/smoke/small_images.ts";
import { BANGER, removing, run, runBanger } from "../bench/commands.ts";
import { type Feature, lookFor } from "./features.ts";

/** command:Debian package */
export const IMAGE_TOOLS = [
  ["busybox", "busybox-static"],
  ["umoci", "umoci"],
  ["skopeo", "skopeo"],
  ["docker-registry", "docker-registry"],
  ["mmdebstrap", "mmdebstrap"],
  ["qemu-img", "qemu-utils"],
  ["e2fsck", "e2fsprogs"],
] as const;

interface Kind {
  readonly name: string;
  /** @returns what `image pull` takes */
  readonly make: (workshop: Workshop) => Promise<string>;
  /** Run in the machine; it prints `expected`. */
  readonly command: readonly string[];
  readonly expected: string;
}

const sh = (script: string) => ["sh", "-c", script] as const;

/** Its inittab works, so that it is init as it was meant. */
async function makeBusyboxInitImage(workshop: Workshop): Promise<string> {
  await makeTreeImage(workshop, "inittab", {
    "bin/busybox": BUSYBOX,
    ...applets("sh", "sleep", "mkdir", "cat", "ls"),
    "sbin/init": { link: "../bin/busybox" },
    "etc/inittab": "::sysinit:/bin/mkdir -p /run/own-inittab\n::respawn:/bin/sleep 1000\n",
  });
  return await push(workshop, "inittab");
}

const KINDS: readonly Kind[] = [
  {
    name: "musl, no init, no ssh server",
    make: makeMuslImage,
    command: sh("/lib/ld-musl-x86_64.so.1 2>&1 | busybox head -n 1; id -u; ls -d /root"),
    expected: "musl libc (x86_64)\n0\n/root\n",
  },
  {
    name: "one static program, no shell",
    make: makeScratchImage,
    command: ["/printf", "%s|", "from", "scratch 1"],
    expected: "from|scratch 1|",
  },
  {
    name: "an init of its own, half a glibc",
    make: makeLayeredImage,
    command: sh("cat /proc/1/cmdline; echo; ls -d /run/own-init; cat /etc/back"),
    expected: "/bin/sh\0/sbin/init\0\n/run/own-init\nback",
  },
  {
    name: "busybox init, its own inittab",
    make: makeBusyboxInitImage,
    command: sh("busybox readlink /proc/1/exe; ls -d /run/own-inittab"),
    expected: "/bin/busybox\n/run/own-inittab\n",
  },
  {
    name: "Debian's essential packages, no init",
    make: async (workshop) => await makeDebianImage(workshop, await makeDebianTar(workshop.path)),
    command: sh("dpkg --status bash | grep ^Status; ls /srv/many | wc -l"),
    expected: "Status: install ok installed\n2000\n",
  },
];

/** @returns what was seen */
async function tryKind(
  workshop: Workshop,
  { make, command, expected }: Kind,
  kernel: string,
  stateDirectory: string,
): Promise<string> {
  const own = `kernel-check-${Deno.pid}`;
  const reference = await make(workshop);
  await using ends = new AsyncDisposableStack();
  await run(BANGER, ["image", "pull", "--quiet", "--name", own, reference]);
  ends.defer(() => run(BANGER, ["image", "rm", own]));
  const lean = ["--cpus", "1", "--memory", "512M", "--quiet"];
  const beganMs = performance.now();
  await run(BANGER, ["vm", "create", "--name", own, "--image", own, "--kernel", kernel, ...lean]);
  const seconds = ((performance.now() - beganMs) / 1000).toFixed(1);
  ends.use(removing(own));
  const printed = await runBanger(["vm", "exec", own, "--", ...command]);
  if (printed !== expected) throw new Error(`it prints ${JSON.stringify(printed)}`);
  await stopCleanly(runBanger, stateDirectory, own, workshop.path);
  return `up in ${seconds} s, its command ran, shut down, disks clean`;
}

/** @param tell told of each kind as it is done */
export async function checkImages(
  kernel: string,
  stateDirectory: string,
  tell: (feature: Feature) => void,
): Promise<void> {
  await using workshop = await openWorkshop();
  for (const kind of KINDS) {
    tell(await lookFor(kind.name, () => tryKind(workshop, kind, kernel, stateDirectory)));
  }
}
