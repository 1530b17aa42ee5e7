/** Images that no virtual machine was ever meant to boot: without init, glibc, shell, ssh server or all of them. */
import { addLayer, makeTreeImage, push, pushAsIndex, type Workshop } from "./registry_images.ts";
import { applets, BUSYBOX } from "./small_images.ts";

/** Of an index over two platforms, one layer, without init and glibc. @returns its reference, as of all here */
export async function makeMuslImage(workshop: Workshop): Promise<string> {
  await makeTreeImage(workshop, "amd64", {
    "bin/busybox": BUSYBOX,
    ...applets("sh", "cat", "id", "ls", "ip", "mount", "sleep", "env", "tty"),
    "lib/ld-musl-x86_64.so.1": { copy: "/lib/ld-musl-x86_64.so.1" },
    // musl's own libgcc has the same name as glibc's; loading this one would end the agent.
    "lib/libgcc_s.so.1": "not for loading",
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/srv/app:/sbin/nologin\n",
    "etc/group": "root:x:0:\napp:x:1000:\nextra:x:77:app\n",
    "srv/app/file": "its own\n",
  });
  return await pushAsIndex(workshop, "musl");
}

/** One static program, and nothing else. */
export async function makeScratchImage(workshop: Workshop): Promise<string> {
  // busybox under the name of one of its programs is that program and nothing else.
  await makeTreeImage(workshop, "scratch", { "printf": BUSYBOX, "app/data": "1\n" }, [
    "--config.user=65532:65531",
    "--config.env=PATH=/nowhere",
    "--config.env=GREETING=hi",
    "--config.workingdir=/app",
    "--config.entrypoint=/printf",
    "--config.entrypoint=%s|",
    "--config.cmd=from",
    "--config.cmd=scratch 1",
  ]);
  return await push(workshop, "scratch");
}

/** Made of layers: what the upper ones hide must not be there, what they bring back must. An init of its own kind. */
export async function makeLayeredImage(workshop: Workshop): Promise<string> {
  await makeTreeImage(workshop, "layers", {
    "bin/busybox": BUSYBOX,
    ...applets("sh", "sleep", "mkdir", "mount", "poweroff", "sync", "cat", "ls"),
    // Nothing of this would run: banger must not use it, nor replace it.
    "lib64/ld-linux-x86-64.so.2": "too old",
    "lib64/libc.so.6": { link: "libc-2.19.so" },
    "lib64/libc-2.19.so": "too old",
    "sbin/init": "of the lower layer: this one would not run",
    "etc/gone": "of the lower layer",
    "etc/back": "of the lower layer",
    "opt/lower/hidden": "of the lower layer",
  });
  const init = "#!/bin/sh\n" +
    "trap 'sync; mount -o remount,ro /; poweroff -f' USR1 USR2 TERM\n" +
    "mkdir -p /run/own-init\n" +
    "while :; do sleep 1 & wait; done\n";
  await addLayer(workshop, "layers", "rm etc/gone etc/back; rm -r opt/lower; mkdir opt/lower", (root) => {
    Deno.writeTextFileSync(`${root}/sbin/init`, init);
  });
  await addLayer(workshop, "layers", "printf back > etc/back; printf upper > opt/lower/upper");
  return await push(workshop, "layers");
}
