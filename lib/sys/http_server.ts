import { osError } from "./os_errors.ts";

export interface HttpServer {
  /** Resolves when it is closed. */
  readonly finished: Promise<void>;
  /** Lets answers that are under way end for a moment, then closes. */
  close(): Promise<void>;
}

const CLOSE_GRACE_MS = 1000;

/** HTTP on a Unix socket that only its owner can open. */
export function serveUnix(
  path: string,
  handle: (request: Request) => Response | Promise<Response>,
): HttpServer {
  // Deno makes the socket under the process's umask: narrow it while it is made.
  const before = Deno.umask(0o177);
  try {
    const controller = new AbortController();
    const server = Deno.serve({ path, signal: controller.signal, onListen: () => {} }, handle);
    return {
      finished: server.finished,
      async close() {
        const timer = setTimeout(() => controller.abort(), CLOSE_GRACE_MS);
        await server.shutdown();
        clearTimeout(timer);
      },
    };
  } catch (thrown) {
    throw osError(`listen on ${path}`, thrown);
  } finally {
    Deno.umask(before);
  }
}
