import { BangerError } from "../../base/errors.ts";
import type { Connection, Host } from "../../base/host.ts";
import { MuxHost } from "../wire/mux_host.ts";

interface Link {
  readonly mux: MuxHost;
  readonly connection: Connection;
}

/** The mux of whichever connection QEMU has to the serial socket now. */
export class SerialLink {
  readonly #host: Pick<Host, "clock" | "log">;
  #current: Link | undefined;
  #closed = false;
  #changed = Promise.withResolvers<void>();

  constructor(host: Pick<Host, "clock" | "log">) {
    this.#host = host;
  }

  /** Serves a connection of QEMU until it ends; it takes the place of one before it. */
  async serve(connection: Connection): Promise<void> {
    this.#current?.connection.close();
    const current = { mux: new MuxHost(this.#host, connection), connection };
    this.#set(current);
    try {
      await current.mux.run();
    } finally {
      if (this.#current === current) this.#set(undefined);
    }
  }

  /**
   * @returns a mux on which streams can be opened
   * @throws the signal's reason
   */
  async untilReady(signal: AbortSignal): Promise<MuxHost> {
    const aborted = Promise.withResolvers<void>();
    const onAbort = () => aborted.resolve();
    signal.addEventListener("abort", onAbort);
    try {
      for (;;) {
        signal.throwIfAborted();
        if (this.#closed) throw new BangerError("guest_unreachable", "Cannot open a stream: the relay ends");
        const mux = this.#current?.mux;
        if (mux?.isInStep) return mux;
        const inStep = mux ? [mux.untilInStep()] : [];
        await Promise.race([...inStep, this.#changed.promise, aborted.promise]);
      }
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  /** Ends the current connection, and all waiting for one. */
  close(): void {
    this.#closed = true;
    this.#current?.connection.close();
    this.#notify();
  }

  #set(current: Link | undefined): void {
    this.#current = current;
    this.#notify();
  }

  #notify(): void {
    const before = this.#changed;
    this.#changed = Promise.withResolvers<void>();
    before.resolve();
  }
}
