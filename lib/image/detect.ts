/** What can be told about an image by looking at its tree, so that nobody has to say it. */
import { ARCHITECTURES } from "../base/architecture.ts";
import { byteStringOfText, type DirectoryInode, type Inode } from "../base/tree.ts";
import { lookup } from "../base/tree_paths.ts";
import type { ImageRecord } from "../store/records.ts";

export type ImageTraits = Pick<ImageRecord, "init" | "libc" | "hasSshServer">;

const SYSTEMD = ["/lib/systemd/systemd", "/usr/lib/systemd/systemd"];
const INIT = ["/sbin/init", "/etc/init", "/bin/init"];
const BUSYBOX = ["/bin/busybox", "/sbin/busybox", "/usr/bin/busybox"];
const OPENRC = ["/sbin/openrc", "/usr/sbin/openrc"];
const SSH_SERVER = ["/usr/sbin/sshd", "/usr/bin/sshd", "/sbin/sshd"];
const MUSL_LOADER = Object.values(ARCHITECTURES).map(({ muslLoader }) => muslLoader);
const GLIBC = "libc.so.6";
const MULTIARCH = Object.values(ARCHITECTURES).map(({ libraryDirectory }) => libraryDirectory);
/** Where loaders look, in this order. */
export const LIBRARY_DIRECTORIES = [
  ...MULTIARCH.map((name) => `/lib/${name}`),
  ...MULTIARCH.map((name) => `/usr/lib/${name}`),
  "/lib64",
  "/usr/lib64",
  "/lib",
  "/usr/lib",
];

export function detectTraits(root: DirectoryInode): ImageTraits {
  return {
    init: detectInit(root),
    libc: detectLibc(root),
    hasSshServer: findFile(root, SSH_SERVER) !== undefined,
  };
}

/**
 * `none` where the image cannot bring up a system by itself. A busybox init without OpenRC counts as none:
 * container images of Alpine have one, with an inittab whose programs they lack.
 */
function detectInit(root: DirectoryInode): ImageTraits["init"] {
  const systemd = findFile(root, SYSTEMD);
  const init = findFile(root, INIT);
  if (init === undefined || init === systemd) return systemd ? "systemd" : "none";
  const isBusybox = BUSYBOX.some((path) => find(root, path) === init);
  return isBusybox && findFile(root, OPENRC) === undefined ? "none" : "other";
}

/** musl wins where both are: a glibc in a musl distribution is a compatibility layer beside it. */
function detectLibc(root: DirectoryInode): ImageTraits["libc"] {
  if (findFile(root, MUSL_LOADER)) return "musl";
  const places = LIBRARY_DIRECTORIES.map((directory) => `${directory}/${GLIBC}`);
  return findFile(root, places) ? "glibc" : "none";
}

/** The first of these paths that is a file, symlinks followed inside the image. */
function findFile(root: DirectoryInode, paths: readonly string[]): Inode | undefined {
  for (const path of paths) {
    const inode = find(root, path);
    if (inode?.kind === "file") return inode;
  }
  return undefined;
}

function find(root: DirectoryInode, path: string): Inode | undefined {
  return lookup(root, byteStringOfText(path));
}
