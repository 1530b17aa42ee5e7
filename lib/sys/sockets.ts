import type { Connection, Listener, Sockets } from "../base/host.ts";
import { osError, systemCode } from "./os_errors.ts";

export const systemSockets: Sockets = {
  async connectUnix(path) {
    try {
      return new DenoConnection(await Deno.connect({ transport: "unix", path }));
    } catch (thrown) {
      throw osError(`connect to ${path}`, thrown);
    }
  },

  listenUnix(path) {
    return Promise.resolve().then(() => listenUnix(path));
  },

  async removeStaleSocket(path) {
    const info = await Deno.lstat(path).catch(() => undefined);
    if (!info) return true;
    if (!info.isSocket) {
      throw osError(`use ${path} as a socket`, new Error("a file that is no socket is there"));
    }
    try {
      (await Deno.connect({ transport: "unix", path })).close();
      return false;
    } catch (thrown) {
      if (systemCode(thrown) !== "ECONNREFUSED") throw osError(`connect to ${path}`, thrown);
      await Deno.remove(path);
      return true;
    }
  },

  async connectVsock(cid, port) {
    try {
      return new DenoConnection(await Deno.connect({ transport: "vsock", cid, port }));
    } catch (thrown) {
      throw osError(`connect to vsock ${cid}:${port}`, thrown);
    }
  },
};

function listenUnix(path: string): Listener {
  try {
    // Deno makes the socket under the process's umask: narrow it while it is made.
    const before = Deno.umask(0o177);
    try {
      return new DenoListener(Deno.listen({ transport: "unix", path }));
    } finally {
      Deno.umask(before);
    }
  } catch (thrown) {
    throw osError(`listen on ${path}`, thrown);
  }
}

class DenoListener implements Listener {
  readonly #listener: Deno.Listener;
  #open = true;

  constructor(listener: Deno.Listener) {
    this.#listener = listener;
  }

  async *[Symbol.asyncIterator](): AsyncIterator<Connection> {
    for await (const connection of this.#listener) yield new DenoConnection(connection);
  }

  close(): void {
    if (this.#open) this.#listener.close();
    this.#open = false;
  }
}

export class DenoConnection implements Connection {
  readonly #connection: Deno.Conn;
  #open = true;

  constructor(connection: Deno.Conn) {
    this.#connection = connection;
  }

  async read(into: Uint8Array): Promise<number | null> {
    try {
      return await this.#connection.read(into);
    } catch (thrown) {
      if (!this.#open) return null;
      throw osError("read from a socket", thrown);
    }
  }

  async write(bytes: Uint8Array): Promise<number> {
    try {
      return await this.#connection.write(bytes);
    } catch (thrown) {
      throw osError("write to a socket", thrown);
    }
  }

  async closeWrite(): Promise<void> {
    try {
      await this.#connection.closeWrite();
    } catch (thrown) {
      if (!this.#open || systemCode(thrown) === "ENOTCONN") return; // the other side is gone: nothing to end
      if (thrown instanceof Deno.errors.NotConnected) return;
      throw osError("end a socket", thrown);
    }
  }

  close(): void {
    if (this.#open) this.#connection.close();
    this.#open = false;
  }
}
