import { BangerError } from "../../base/errors.ts";
import type { HttpResponse } from "../../base/http.ts";
import { quote } from "../../base/names.ts";
import { algorithmOf, type Digest, digestOf, parseDigest } from "../model/digest.ts";
import { MAX_JSON_BYTES } from "../model/json.ts";
import { type Descriptor, MANIFEST_MEDIA_TYPES } from "../model/manifest.ts";
import type { Reference } from "../model/reference.ts";
import type { BlobStream, FetchedManifest } from "../sources/source.ts";
import { Authorizer } from "./authorizer.ts";
import { readBounded } from "../sources/bounded.ts";
import type { CredentialFinder } from "./credentials.ts";
import { type Endpoint, endpointsOf, type RegistrySettings } from "./settings.ts";
import { sendToRegistry, type TransportHost } from "./transport.ts";

/**
 * Reads from one repository, from its mirrors first. What it gives out was checked against its digest, but
 * for blobs, which are streams: who reads them checks.
 *
 * Source: OCI distribution-spec 1.1, "Pull"
 */
export class RepositoryClient {
  readonly #host: TransportHost;
  readonly #authorizer: Authorizer;
  readonly #reference: Reference;
  readonly #endpoints: readonly Endpoint[];

  constructor(
    host: TransportHost,
    reference: Reference,
    settings: RegistrySettings,
    credentials: CredentialFinder,
  ) {
    this.#host = host;
    this.#authorizer = new Authorizer(host, credentials);
    this.#reference = reference;
    this.#endpoints = endpointsOf(reference, settings);
  }

  /**
   * The manifest that the reference names, or with `digest` one that belongs to it.
   *
   * @throws {BangerError} `not_found`, `corrupt_data`, `source_unavailable`, `permission_denied`
   */
  async fetchManifest(digest?: Digest, signal?: AbortSignal): Promise<FetchedManifest> {
    const wanted = digest ?? this.#reference.digest;
    return await this.#fromFirst(async (endpoint) => {
      const response = await sendToRegistry(this.#host, this.#authorizer, endpoint, {
        method: "GET",
        path: `manifests/${wanted ?? this.#reference.tag}`,
        headers: { accept: MANIFEST_MEDIA_TYPES.join(", ") },
        signal,
      });
      await this.#requireOk(endpoint, response, wanted ?? `tag ${quote(this.#reference.tag ?? "")}`);
      const mediaType = response.header("content-type")?.split(";")[0]?.trim();
      if (mediaType === "text/html") {
        await response.body.cancel();
        throw webPage(endpoint);
      }
      const bytes = await readBounded(response.body, MAX_JSON_BYTES, `a manifest of ${endpoint.registry}`);
      return {
        bytes,
        mediaType,
        digest: checkedDigest(endpoint, bytes, wanted, response),
      };
    });
  }

  /**
   * A blob from `offsetBytes` on. Not checked.
   *
   * @throws {BangerError} as `fetchManifest`; `corrupt_data` where the answer is not the part that was asked for
   */
  async openBlob(descriptor: Descriptor, offsetBytes: number, signal?: AbortSignal): Promise<BlobStream> {
    return await this.#fromFirst(async (endpoint) => {
      const response = await sendToRegistry(this.#host, this.#authorizer, endpoint, {
        method: "GET",
        path: `blobs/${descriptor.digest}`,
        headers: offsetBytes === 0 ? {} : { range: `bytes=${offsetBytes}-` },
        signal,
      });
      if (response.status === 206) {
        try {
          checkRange(endpoint, response, descriptor, offsetBytes);
        } catch (failure) {
          await response.body.cancel();
          throw failure;
        }
        return { offsetBytes, body: response.body };
      }
      await this.#requireOk(endpoint, response, descriptor.digest);
      const length = response.header("content-length");
      if (length !== undefined && Number(length) !== descriptor.sizeBytes) {
        await response.body.cancel();
        throw wrongSize(endpoint, descriptor, length);
      }
      return { offsetBytes: 0, body: response.body };
    });
  }

  /** Asks one endpoint after another; the registry's own failure, being the last, is what counts. */
  async #fromFirst<T>(ask: (endpoint: Endpoint) => Promise<T>): Promise<T> {
    for (const endpoint of this.#endpoints.slice(0, -1)) {
      try {
        return await ask(endpoint);
      } catch (failure) {
        // Whatever is wrong with a mirror is no reason not to ask the registry itself.
        if (!(failure instanceof BangerError) || failure.code === "cancelled") throw failure;
      }
    }
    return await ask(this.#endpoints.at(-1)!);
  }

  async #requireOk(endpoint: Endpoint, response: HttpResponse, what: string): Promise<void> {
    if (response.status === 200) return;
    await response.body.cancel();
    const name = `${endpoint.registry}/${endpoint.repository}`;
    if (response.status === 404) {
      throw new BangerError(
        "not_found",
        `Cannot find ${what} in ${name}`,
        "Check the image's name and tag",
      );
    }
    if (response.status === 403) {
      throw new BangerError(
        "permission_denied",
        `Cannot pull ${name}: the registry denies it`,
        `Log in with: skopeo login ${endpoint.registry}`,
      );
    }
    throw new BangerError(
      "source_unavailable",
      `Cannot pull ${name}: the registry answered ${response.status}`,
    );
  }
}

/** @throws {BangerError} `corrupt_data` unless the bytes are what was asked for and what the registry says */
function checkedDigest(
  endpoint: Endpoint,
  bytes: Uint8Array,
  wanted: Digest | undefined,
  response: HttpResponse,
): Digest {
  const stated = response.header("docker-content-digest");
  for (const digest of [wanted, stated === undefined ? undefined : parseDigest(stated)]) {
    if (digest !== undefined && digestOf(bytes, algorithmOf(digest)) !== digest) {
      throw new BangerError(
        "corrupt_data",
        `Cannot use a manifest of ${endpoint.registry}: its digest is not ${digest}`,
        "Pull again; if it stays, something between you and the registry changes what it sends",
      );
    }
  }
  return wanted ?? digestOf(bytes);
}

function webPage({ registry }: Endpoint): BangerError {
  return new BangerError(
    "corrupt_data",
    `Cannot use what ${registry} answers: it is a web page, not an image manifest`,
    "Check the registry's name; a proxy or a login page may have answered in its place",
  );
}

function checkRange(
  endpoint: Endpoint,
  response: HttpResponse,
  descriptor: Descriptor,
  offsetBytes: number,
): void {
  const range = response.header("content-range") ?? "";
  const match = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15}|\*)$/.exec(range);
  const last = descriptor.sizeBytes - 1;
  const fits = match !== null && Number(match[1]) === offsetBytes && Number(match[2]) === last &&
    (match[3] === "*" || Number(match[3]) === descriptor.sizeBytes);
  if (!fits) {
    throw new BangerError(
      "corrupt_data",
      `Cannot resume a download from ${endpoint.registry}: it sent another part (${
        quote(range)
      }) than was asked for`,
    );
  }
}

function wrongSize(endpoint: Endpoint, descriptor: Descriptor, length: string): BangerError {
  return new BangerError(
    "corrupt_data",
    `Cannot use ${descriptor.digest} of ${endpoint.registry}: it has ${
      quote(length)
    } bytes, not ${descriptor.sizeBytes}`,
  );
}
