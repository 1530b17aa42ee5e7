/** Source: asm-generic/resource.h */
const RLIMIT_NOFILE = 7;
/** More than all bounds of ours together; what a host may allow beyond is of no use, and slow for some programs. */
const MOST = 65_536n;

/**
 * Lets this process open as many files as it may: hosts give 1024 at first, and a relay alone has that many
 * connections at its bounds. Where it cannot, all is as it was.
 */
export function raiseDescriptorLimit(): void {
  const [soft, hard] = [0, 1];
  const limits = new BigUint64Array(2);
  // By itself: to open all of libc.ts takes some milliseconds, and each machine waits for its relay to start.
  const { symbols } = Deno.dlopen("libc.so.6", {
    getrlimit: { parameters: ["i32", "buffer"], result: "i32" },
    setrlimit: { parameters: ["i32", "buffer"], result: "i32" },
  });
  if (symbols.getrlimit(RLIMIT_NOFILE, limits) !== 0) return;
  const wanted = limits[hard]! < MOST ? limits[hard]! : MOST;
  if (limits[soft]! >= wanted) return;
  limits[soft] = wanted;
  symbols.setrlimit(RLIMIT_NOFILE, limits);
}
