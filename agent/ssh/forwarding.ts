import { writeFully } from "../../lib/base/bytes.ts";
import { BangerError, reasonOf } from "../../lib/base/errors.ts";
import type { Log } from "../../lib/base/host.ts";
import { ByteRing } from "../../lib/guest/wire/byte_ring.ts";
import { STDIN_WINDOW_BYTES } from "../../lib/guest/wire/exec.ts";
import type { Channel, ChannelHandler } from "./channel.ts";

const READ_BYTES = 32 * 1024;

export type ForwardTarget =
  | { readonly hostname: string; readonly port: number }
  | { readonly path: string };

/**
 * Connects in the guest, then tells the client and passes bytes on, half-closes kept.
 * Source: RFC 4254, section 7.2; openssh-portable PROTOCOL, section 2.4
 *
 * @param confirm opens the channel
 * @throws whatever the connecting does
 */
export async function openForwarded(
  target: ForwardTarget,
  confirm: (makeHandler: (channel: Channel) => ChannelHandler) => Promise<void>,
  log: Log,
): Promise<void> {
  const connection = await dial(target);
  await confirm((channel) => {
    const forwarded = new Forwarded(channel, connection);
    void forwarded.run().catch((failure) =>
      log("debug", "a forwarded port ended", { reason: reasonOf(failure) })
    );
    return forwarded;
  });
}

async function dial(target: ForwardTarget): Promise<Deno.Conn> {
  if ("path" in target) return await Deno.connect({ transport: "unix", path: target.path });
  const { hostname, port } = target;
  if (port < 1 || port > 65535) throw new BangerError("invalid_argument", `Cannot connect to port ${port}`);
  const connection = await Deno.connect({ hostname, port });
  connection.setNoDelay(true);
  return connection;
}

class Forwarded implements ChannelHandler {
  readonly #channel: Channel;
  readonly #connection: Deno.Conn;
  readonly #input = new ByteRing(STDIN_WINDOW_BYTES);
  #hasEof = false;
  #isFeeding = false;
  #isOpen = true;

  constructor(channel: Channel, connection: Deno.Conn) {
    this.#channel = channel;
    this.#connection = connection;
  }

  /** From the guest to the client, until the end of both directions. */
  async run(): Promise<void> {
    // The confirmation goes first.
    await Promise.resolve();
    try {
      const buffer = new Uint8Array(READ_BYTES);
      for (let count; (count = await this.#connection.read(buffer)) !== null;) {
        await this.#channel.send(buffer.subarray(0, count));
      }
      await this.#channel.sendEof();
      if (this.#hasEof && !this.#isFeeding) await this.#end();
    } catch (failure) {
      await this.#end();
      throw failure;
    }
  }

  data(data: Uint8Array): void {
    this.#input.push(data);
    this.#startFeeding();
  }

  eof(): void {
    this.#hasEof = true;
    this.#startFeeding();
  }

  request(): boolean {
    return false;
  }

  closed(): void {
    this.#close();
  }

  #startFeeding(): void {
    if (this.#isFeeding || !this.#isOpen) return;
    this.#isFeeding = true;
    this.#feed().catch(() => this.#end()).finally(() => this.#isFeeding = false);
  }

  async #feed(): Promise<void> {
    const buffer = new Uint8Array(READ_BYTES);
    for (let count; (count = this.#input.shift(buffer)) > 0;) {
      await writeFully((part) => this.#connection.write(part), buffer.subarray(0, count));
      await this.#channel.grant(count);
    }
    if (this.#hasEof) await this.#connection.closeWrite();
  }

  async #end(): Promise<void> {
    this.#close();
    await this.#channel.close().catch(() => {}); // the client has gone
  }

  #close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#connection.close();
  }
}
