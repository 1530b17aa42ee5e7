/**
 * Every error code banger shows, with its one HTTP status and its one exit code.
 *
 * Exit codes: 1 internal, 2 usage, 3 not found, 4 refused in this state, 5 the host cannot do it,
 * 6 outside world (network, registry), 7 the guest, 8 full. A guest command's own exit code is
 * passed through unchanged, so scripts that must tell them apart use `--json` or the daemon's API.
 */
export const ERRORS = {
  internal: { status: 500, exit: 1 },
  invalid_argument: { status: 400, exit: 2 },
  unsupported_media_type: { status: 415, exit: 2 },
  not_found: { status: 404, exit: 3 },
  already_exists: { status: 409, exit: 4 },
  wrong_state: { status: 409, exit: 4 },
  in_use: { status: 409, exit: 4 },
  host_unsupported: { status: 503, exit: 5 },
  missing_tool: { status: 503, exit: 5 },
  permission_denied: { status: 403, exit: 5 },
  state_too_new: { status: 503, exit: 5 },
  state_broken: { status: 500, exit: 5 },
  daemon_unavailable: { status: 503, exit: 5 },
  source_unavailable: { status: 502, exit: 6 },
  connection_failed: { status: 502, exit: 6 },
  corrupt_data: { status: 422, exit: 6 },
  guest_unreachable: { status: 504, exit: 7 },
  guest_failed: { status: 502, exit: 7 },
  boot_failed: { status: 504, exit: 7 },
  no_space: { status: 507, exit: 8 },
  cancelled: { status: 499, exit: 130 },
} as const satisfies Record<string, { status: number; exit: number }>;

export type ErrorCode = keyof typeof ERRORS;

/** What crosses a process border: the daemon's error body and the agent's. */
export interface ErrorBody {
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint?: string;
}

/**
 * The only error class that a user is meant to read. Text: "Cannot <verb> <thing>: <what stood in
 * the way>", without a period at the end; the throw site, which knows most, writes the hint.
 */
export class BangerError extends Error {
  override readonly name = "BangerError";

  constructor(
    readonly code: ErrorCode,
    message: string,
    /** One action the user can take. */
    readonly hint?: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }

  get exitCode(): number {
    return ERRORS[this.code].exit;
  }

  toBody(): ErrorBody {
    return this.hint === undefined
      ? { code: this.code, message: this.message }
      : { code: this.code, message: this.message, hint: this.hint };
  }

  /** @param body untrusted: what is no error body becomes `internal` */
  static fromBody(body: unknown, fallbackMessage: string): BangerError {
    if (typeof body === "object" && body !== null && "code" in body && "message" in body) {
      const { code, message } = body;
      const hint = "hint" in body && typeof body.hint === "string" ? body.hint : undefined;
      if (typeof code === "string" && Object.hasOwn(ERRORS, code) && typeof message === "string") {
        return new BangerError(code as ErrorCode, message, hint);
      }
    }
    return new BangerError("internal", fallbackMessage);
  }
}

/** The text of anything thrown, for messages that quote a lower failure. */
export function reasonOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/**
 * The failure that came first. On Deno 2.4, `await using` whose body and disposal both fail throws a
 * SuppressedError with the disposal's failure in `.error` and the cause in `.suppressed`.
 */
export function firstFailure(thrown: unknown): unknown {
  let current = thrown;
  while (current instanceof Error && current.name === "SuppressedError" && "suppressed" in current) {
    current = current.suppressed;
  }
  return current;
}
