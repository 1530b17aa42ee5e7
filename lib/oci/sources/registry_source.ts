import { formatReference, type Reference } from "../model/reference.ts";
import { RepositoryClient } from "../registry/client.ts";
import type { CredentialFinder } from "../registry/credentials.ts";
import type { RegistrySettings } from "../registry/settings.ts";
import type { TransportHost } from "../registry/transport.ts";
import type { ImageSource } from "./source.ts";

/** An image in a registry. */
export function registrySource(
  host: TransportHost,
  reference: Reference,
  settings: RegistrySettings,
  credentials: CredentialFinder,
): ImageSource {
  const client = new RepositoryClient(host, reference, settings, credentials);
  return {
    name: formatReference(reference),
    place: "remote",
    fetchRoot: (signal) => client.fetchManifest(undefined, signal),
    fetchManifest: async (descriptor, signal) => {
      const fetched = await client.fetchManifest(descriptor.digest, signal);
      return { ...fetched, mediaType: fetched.mediaType ?? descriptor.mediaType };
    },
    openBlob: (descriptor, offsetBytes, signal) => client.openBlob(descriptor, offsetBytes, signal),
  };
}
