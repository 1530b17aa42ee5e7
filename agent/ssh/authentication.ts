import { ED25519, isSignedBy } from "./keys.ts";
import { DISCONNECT, MESSAGE } from "./messages.ts";
import type { Transport } from "./transport.ts";
import { SshReader, SshWriter } from "./wire.ts";

const USERAUTH = "ssh-userauth";
const CONNECTION = "ssh-connection";
/** As sshd_config(5), MaxAuthTries. */
const MAX_TRIES = 6;
const MAX_USER_LENGTH = 256;

/**
 * Lets in who holds one of the keys. Source: RFC 4252, sections 5 and 7
 *
 * @param authorizedKeys as the protocol names keys
 * @returns the user that was asked for; undefined where the client goes, or is turned away
 */
export async function authenticate(
  transport: Transport,
  authorizedKeys: readonly Uint8Array[],
): Promise<string | undefined> {
  for (let tries = 0; tries < MAX_TRIES;) {
    const payload = await transport.receive();
    if (payload === undefined) return undefined;
    const reader = new SshReader(payload, 1);
    if (payload[0] === MESSAGE.serviceRequest && reader.text() === USERAUTH) {
      await transport.send(new SshWriter().u8(MESSAGE.serviceAccept).string(USERAUTH).done());
    } else if (payload[0] === MESSAGE.userauthRequest) {
      const answer = judge(payload, transport.sessionId, authorizedKeys);
      if (typeof answer === "string") {
        await transport.send(new SshWriter().u8(MESSAGE.userauthSuccess).done());
        return answer;
      }
      await transport.send(answer.message);
      if (answer.isFailure) tries++;
    } else {
      await transport.disconnect(DISCONNECT.protocolError, "log in first");
      return undefined;
    }
  }
  await transport.disconnect(DISCONNECT.tooManyTries, "too many tries");
  return undefined;
}

/** @returns the user, or what to answer */
function judge(
  payload: Uint8Array,
  sessionId: Uint8Array,
  authorizedKeys: readonly Uint8Array[],
): string | { message: Uint8Array; isFailure: boolean } {
  const reader = new SshReader(payload, 1);
  const [user, service, method] = [reader.text(), reader.text(), reader.text()];
  const refusal = new SshWriter().u8(MESSAGE.userauthFailure).string("publickey").boolean(false).done();
  const refused = { message: refusal, isFailure: method !== "none" };
  if (service !== CONNECTION || method !== "publickey" || user.length > MAX_USER_LENGTH) return refused;
  const isSigned = reader.boolean();
  const algorithm = reader.text();
  const blob = reader.string();
  if (algorithm !== ED25519 || !authorizedKeys.some((key) => isEqual(key, blob))) return refused;
  if (!isSigned) {
    const message = new SshWriter().u8(MESSAGE.userauthPublicKeyOk).string(algorithm).string(blob).done();
    return { message, isFailure: false };
  }
  // What is signed: the session's id and the request up to the signature.
  const signedBytes = payload.length - reader.leftBytes;
  const data = new SshWriter(512).string(sessionId).bytes(payload.subarray(0, signedBytes)).done();
  return isSignedBy(blob, reader.string(), data) ? user : refused;
}

/** Public keys are no secret: nothing to hide in how long it takes. */
function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}
