/**
 * A bridge between an editor and an agent in a guest that speak the Agent Client Protocol: JSON-RPC 2.0, one
 * message a line. The agent works on the guest's files with the guest's programs, so what an editor offers of the
 * host is not passed on, and what a guest asks of it all the same is refused here.
 *
 * Source: agentclientprotocol.com, protocol v1, "Initialization", "Session Setup", "File System", "Terminals"
 */
import { BangerError } from "../base/errors.ts";

/** Of one message: embedded files and images can be large. */
const MAX_LINE_BYTES = 64 * 1024 * 1024;
const NEWLINE = 0x0a;
/** JSON-RPC's "Method not found". */
const METHOD_NOT_FOUND = -32601;
/** What only makes sense, or is only safe, on the host. */
const HOST_METHODS = /^(?:fs|terminal)\//;

export interface AcpOptions {
  /** In the guest. */
  readonly cwd: string;
  /** Whether the editor's servers for tools go along, with what their environment holds. */
  readonly keepsMcpServers: boolean;
  readonly warn: (text: string) => void;
}

type Message = Record<string, unknown>;

/** What becomes of the messages of one connection. */
export class AcpBridge {
  readonly #options: AcpOptions;
  #hasWarned = false;

  constructor(options: AcpOptions) {
    this.#options = options;
  }

  /** @returns the line for the guest */
  fromEditor(line: string): string {
    const message = parseMessage(line);
    if (!message || !isRecord(message.params)) return line;
    const { method, params } = message;
    if (method === "initialize") {
      return JSON.stringify({ ...message, params: withoutHost(params) });
    }
    if (typeof method !== "string" || !method.startsWith("session/")) return line;
    const changed: Message = { ...params };
    if (typeof params.cwd === "string") changed.cwd = this.#options.cwd;
    if (Array.isArray(params.mcpServers) && !this.#options.keepsMcpServers) {
      if (params.mcpServers.length > 0) this.#options.warn(MCP_WARNING);
      changed.mcpServers = [];
    }
    return JSON.stringify({ ...message, params: changed });
  }

  /** @returns the line for the editor, or an answer that goes back to the guest; nothing for what is no message */
  fromGuest(line: string): { readonly toEditor?: string; readonly toGuest?: string } {
    const message = parseMessage(line);
    if (!message) {
      if (line.trim() !== "" && !this.#hasWarned) {
        this.#hasWarned = true;
        this.#options.warn("the agent prints what is no message; it is left out");
      }
      return {};
    }
    const { method, id } = message;
    if (typeof method !== "string" || !HOST_METHODS.test(method)) return { toEditor: line };
    if (id === undefined) return {};
    const error = { code: METHOD_NOT_FOUND, message: `${method} is not for agents in a VM: use its own` };
    return { toGuest: JSON.stringify({ jsonrpc: "2.0", id, error }) };
  }
}

const MCP_WARNING =
  "the editor's MCP servers stay here, since they may hold secrets; --mcp-servers takes them along";

/** Both versions' names of what an editor can do. */
function withoutHost(params: Message): Message {
  const changed = { ...params };
  for (const field of ["clientCapabilities", "capabilities"]) {
    const capabilities = params[field];
    if (!isRecord(capabilities)) continue;
    const { fs: _fs, terminal: _terminal, ...rest } = capabilities;
    changed[field] = rest;
  }
  return changed;
}

function parseMessage(line: string): Message | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return isRecord(value) ? value : undefined;
  } catch {
    return undefined; // no JSON: the caller says what becomes of it
  }
}

function isRecord(value: unknown): value is Message {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Whole lines from bytes that come in any pieces. */
export class MessageLines {
  readonly #decoder = new TextDecoder();
  #parts: Uint8Array[] = [];
  #partBytes = 0;

  /** @throws {BangerError} `corrupt_data` for a line over 64 MiB */
  *push(bytes: Uint8Array): Generator<string> {
    let at = 0;
    for (let end; (end = bytes.indexOf(NEWLINE, at)) >= 0; at = end + 1) {
      yield this.#take(bytes.subarray(at, end));
    }
    if (at === bytes.length) return;
    this.#partBytes += bytes.length - at;
    if (this.#partBytes > MAX_LINE_BYTES) {
      throw new BangerError("corrupt_data", "Cannot pass on a message: it is longer than 64 MiB");
    }
    this.#parts.push(bytes.slice(at));
  }

  #take(last: Uint8Array): string {
    let text = "";
    for (const part of this.#parts) text += this.#decoder.decode(part, { stream: true });
    text += this.#decoder.decode(last);
    this.#parts = [];
    this.#partBytes = 0;
    return text;
  }
}
