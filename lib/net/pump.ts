import { writeFully } from "../base/bytes.ts";
import type { Connection } from "../base/host.ts";

const FIRST_BYTES = 16 * 1024;
/** Two whole packets of the guest's. Each connection has two buffers, so larger ones would add up. */
const MOST_BYTES = 2 * 65_480;

/**
 * Carries bytes both ways until both sides have ended; a half-close is passed on. Where one side fails,
 * both are closed. Nothing is read before what was read is written: that bounds the memory.
 */
export async function pumpBoth(one: Connection, other: Connection): Promise<void> {
  const closeBoth = () => {
    one.close();
    other.close();
  };
  try {
    await Promise.all([pump(one, other), pump(other, one)].map((way) =>
      way.catch((failure: unknown) => {
        // The other way waits for a side that is of no use any more.
        closeBoth();
        throw failure;
      })
    ));
  } finally {
    closeBoth();
  }
}

async function pump(from: Connection, to: Connection): Promise<void> {
  let buffer = new Uint8Array(FIRST_BYTES);
  for (let count; (count = await from.read(buffer)) !== null;) {
    await writeFully((bytes) => to.write(bytes), buffer.subarray(0, count));
    if (count === buffer.length && count < MOST_BYTES) {
      buffer = new Uint8Array(Math.min(4 * count, MOST_BYTES));
    }
  }
  await to.closeWrite();
}
