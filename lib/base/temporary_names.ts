/** What an atomic write makes beside its target, and a process that was killed leaves there. */
const TEMPORARY = /\.[0-9a-f]{8}\.tmp$/;

/** @param eightHexDigits random, so that writers side by side do not meet */
export function temporaryName(path: string, eightHexDigits: string): string {
  return `${path}.${eightHexDigits}.tmp`;
}

export function isTemporaryName(name: string): boolean {
  return TEMPORARY.test(name);
}
