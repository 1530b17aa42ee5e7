import {
  checked,
  cString,
  FICLONE,
  libc,
  O_CLOEXEC,
  O_CREAT,
  O_EXCL,
  O_RDONLY,
  O_WRONLY,
  SEEK_DATA,
  SEEK_HOLE,
} from "./libc.ts";
import { osError, SystemCallError, systemCode } from "./os_errors.ts";

/** The calls block (errno is lost on other threads): a step takes about 5 ms, then others get a turn. */
const COPY_STEP_BYTES = 16 * 1024 * 1024;
const CANNOT_CLONE = new Set(["EOPNOTSUPP", "EXDEV", "EINVAL", "ENOTTY", "ENOSYS", "EPERM"]);

interface Pair {
  readonly source: number;
  readonly target: number;
}

async function withPair<T>(from: string, to: string, act: (pair: Pair) => Promise<T> | T): Promise<T> {
  const { open, close } = libc();
  const source = checked("open", open(cString(from), O_RDONLY | O_CLOEXEC, 0));
  try {
    const target = checked("open", open(cString(to), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600));
    try {
      return await act({ source, target });
    } finally {
      close(target);
    }
  } finally {
    close(source);
  }
}

/** Shares blocks (ioctl FICLONE). @returns false where the filesystem cannot */
export async function reflink(from: string, to: string): Promise<boolean> {
  try {
    await withPair(from, to, ({ source, target }) => {
      checked("ioctl FICLONE", libc().ioctl(target, FICLONE, BigInt(source)));
    });
    return true;
  } catch (thrown) {
    if (systemCode(thrown) !== "EEXIST") await Deno.remove(to).catch(() => {});
    if (thrown instanceof SystemCallError && CANNOT_CLONE.has(thrown.code)) return false;
    throw osError(`clone ${from} to ${to}`, thrown);
  }
}

/** Copies data and keeps holes; the target must not exist. */
export async function copySparse(from: string, to: string): Promise<void> {
  try {
    await withPair(from, to, async ({ source, target }) => {
      const sizeBytes = checked("lseek", libc().lseek(source, 0n, 2));
      for (let at = 0; at < sizeBytes;) {
        const data = libc().lseek(source, BigInt(at), SEEK_DATA);
        if (data < 0) break; // ENXIO: nothing but a hole up to the end
        const hole = checked("lseek", libc().lseek(source, BigInt(data), SEEK_HOLE));
        await copyRange({ source, target }, Number(data), hole);
        at = hole;
      }
      checked("ftruncate", libc().ftruncate(target, BigInt(sizeBytes)));
    });
  } catch (thrown) {
    if (systemCode(thrown) !== "EEXIST") await Deno.remove(to).catch(() => {});
    throw osError(`copy ${from} to ${to}`, thrown);
  }
}

async function copyRange({ source, target }: Pair, from: number, to: number): Promise<void> {
  const positions = new BigInt64Array([BigInt(from), BigInt(from)]);
  const sourcePosition = Deno.UnsafePointer.of(positions);
  const targetPosition = Deno.UnsafePointer.of(positions.subarray(1));
  while (Number(positions[0]) < to) {
    const wanted = Math.min(to - Number(positions[0]), COPY_STEP_BYTES);
    const copied = checked(
      "copy_file_range",
      libc().copy_file_range(source, sourcePosition, target, targetPosition, BigInt(wanted), 0),
    );
    if (copied === 0) break; // the source shrank
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
}
