import { BangerError } from "../../base/errors.ts";

const MAX_TEXT_LENGTH = 1000;

/** Escape sequences' own characters, other controls, and what turns text around: never from a guest. */
// deno-lint-ignore no-control-regex -- control characters are what it removes
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g;

/** Text of a guest for a message: one line, no control characters, not long. */
export function cleanGuestText(text: string): string {
  const cut = text.length > MAX_TEXT_LENGTH ? `${text.slice(0, MAX_TEXT_LENGTH)}…` : text;
  return cut.replaceAll(UNSAFE, "\ufffd");
}

/** As `BangerError.fromBody`, for a body that a guest wrote. */
export function errorOfGuest(body: unknown, fallbackMessage: string): BangerError {
  const { code, message, hint } = BangerError.fromBody(body, fallbackMessage);
  return new BangerError(code, cleanGuestText(message), hint === undefined ? hint : cleanGuestText(hint));
}
