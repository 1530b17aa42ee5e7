import { osError, systemCode } from "./os_errors.ts";

/**
 * `fetch` to an HTTP server on a Unix socket, whatever the URL's host.
 *
 * Errors: `connection_failed` where nothing listens, `not_found` where there is no socket.
 */
export function unixFetch(socketPath: string): (url: string, init: RequestInit) => Promise<Response> {
  const client = Deno.createHttpClient({ proxy: { transport: "unix", path: socketPath } });
  return async (url, init) => {
    try {
      return await fetch(url, { ...init, client });
    } catch (thrown) {
      throw osError(`reach ${socketPath}`, await connectFailure(socketPath) ?? thrown);
    }
  };
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
