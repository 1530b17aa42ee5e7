import { BangerError } from "../base/errors.ts";
import { osError, systemCode } from "./os_errors.ts";

const CONNECT_ATTEMPTS = 3;

/**
 * `fetch` to an HTTP server on a Unix socket, whatever the URL's host.
 *
 * Errors: `connection_failed` where nothing listens, `not_found` where there is no socket.
 */
export function unixFetch(socketPath: string): (url: string, init: RequestInit) => Promise<Response> {
  const client = Deno.createHttpClient({ proxy: { transport: "unix", path: socketPath } });
  return async (url, init) => {
    for (let attempt = 1;; attempt++) {
      try {
        return await fetch(url, { ...init, client });
      } catch (thrown) {
        const failure = await connectFailure(socketPath);
        // A server that came up in between: nothing was sent to it yet.
        const isWorthAgain = failure === undefined && isConnectError(thrown) && attempt < CONNECT_ATTEMPTS;
        if (isWorthAgain) continue;
        if (failure === undefined && thrown instanceof TypeError) throw cutOff(socketPath, thrown);
        throw osError(`reach ${socketPath}`, failure ?? thrown);
      }
    }
  };
}

/** fetch has no other sign of a connection that broke than a TypeError. */
function cutOff(socketPath: string, cause: TypeError): BangerError {
  const message = `Cannot reach ${socketPath}: the connection ended before the answer`;
  return new BangerError("connection_failed", message, undefined, { cause });
}

function isConnectError(thrown: unknown): boolean {
  return thrown instanceof TypeError && thrown.message.includes("client error (Connect)");
}

/** fetch says only "client error (Connect)": connecting again tells why. */
async function connectFailure(path: string): Promise<unknown> {
  try {
    (await Deno.connect({ transport: "unix", path })).close();
    return undefined;
  } catch (thrown) {
    return systemCode(thrown) === undefined ? undefined : thrown;
  }
}
