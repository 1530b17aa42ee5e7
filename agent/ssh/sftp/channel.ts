import { BangerError } from "../../../lib/base/errors.ts";
import type { Log } from "../../../lib/base/host.ts";
import { ByteRing } from "../../../lib/guest/wire/byte_ring.ts";
import { STDIN_WINDOW_BYTES } from "../../../lib/guest/wire/exec.ts";
import { loginOf } from "../../command.ts";
import type { Descriptors } from "../../descriptor.ts";
import type { Channel } from "../channel.ts";
import { FileCalls } from "./file_calls.ts";
import { SftpFiles } from "./files.ts";
import { MAX_MESSAGE_BYTES } from "./protocol.ts";

const LENGTH_BYTES = 4;
const GRANT_STEP_BYTES = STDIN_WINDOW_BYTES / 4;

/** The subsystem's messages: each is answered in turn. */
export class SftpChannel {
  readonly #descriptors: Descriptors;
  readonly #user: string;
  readonly #channel: Channel;
  readonly #log: Log;
  readonly #input = new ByteRing(STDIN_WINDOW_BYTES);
  #hasEnded = false;
  #ungrantedBytes = 0;
  #wake: () => void = () => {};

  constructor(descriptors: Descriptors, user: string, channel: Channel, log: Log) {
    this.#descriptors = descriptors;
    this.#user = user;
    this.#channel = channel;
    this.#log = log;
  }

  data(data: Uint8Array): void {
    this.#input.push(data);
    this.#wake();
  }

  eof(): void {
    this.#hasEnded = true;
    this.#wake();
  }

  closed(): void {
    this.eof();
  }

  /** @returns at the client's end. @throws {BangerError} `corrupt_data`; `connection_failed` */
  async run(): Promise<void> {
    const { account, home } = loginOf(this.#descriptors.libc, this.#user);
    using calls = new FileCalls(this.#descriptors.libc, account);
    using files = new SftpFiles(calls, home, this.#log);
    const length = new Uint8Array(LENGTH_BYTES);
    while (await this.#read(length)) {
      const messageBytes = new DataView(length.buffer).getUint32(0);
      if (messageBytes === 0 || messageBytes > MAX_MESSAGE_BYTES) {
        throw new BangerError("corrupt_data", `Cannot take an sftp message of ${messageBytes} bytes`);
      }
      const message = new Uint8Array(messageBytes);
      if (!(await this.#read(message))) return;
      await this.#channel.send(files.answer(message));
    }
  }

  /** @returns false where the input ends before */
  async #read(into: Uint8Array): Promise<boolean> {
    for (let filled = 0; filled < into.length;) {
      const count = this.#input.shift(into.subarray(filled));
      filled += count;
      this.#ungrantedBytes += count;
      if (this.#ungrantedBytes >= GRANT_STEP_BYTES) {
        const bytes = this.#ungrantedBytes;
        this.#ungrantedBytes = 0;
        await this.#channel.grant(bytes);
      }
      if (count > 0) continue;
      if (this.#hasEnded) return false;
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
    return true;
  }
}
