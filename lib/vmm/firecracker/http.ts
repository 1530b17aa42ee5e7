import { concatBytes, writeFully } from "../../base/bytes.ts";
import { BangerError } from "../../base/errors.ts";
import type { Connection } from "../../base/host.ts";
import { LineReader } from "../line_reader.ts";
import type { ApiRequest } from "./api.ts";

const MAX_HEADER_LINE_BYTES = 8192;
const MAX_HEADERS = 64;
/** The longest answers (`GET /vm/config`) are some KiB. */
const MAX_BODY_BYTES = 1024 * 1024;

export interface ApiResponse {
  readonly status: number;
  /** Empty where there is none. */
  readonly body: string;
}

/**
 * One HTTP/1.1 exchange over an open connection, as Firecracker's own server speaks it: bodies have a
 * Content-Length, never chunks.
 *
 * @throws {BangerError} `corrupt_data` for what is no such answer; `connection_failed` where it is cut off
 * Source: firecracker src/micro_http
 */
export async function exchange(connection: Connection, request: ApiRequest): Promise<ApiResponse> {
  const body = new TextEncoder().encode(request.body === undefined ? "" : JSON.stringify(request.body));
  const head = [
    `${request.method} ${request.path} HTTP/1.1`,
    "Host: localhost",
    "Accept: application/json",
    ...(body.length > 0 ? ["Content-Type: application/json", `Content-Length: ${body.length}`] : []),
    "\r\n",
  ].join("\r\n");
  const bytes = concatBytes([new TextEncoder().encode(head), body]);
  await writeFully((part) => connection.write(part), bytes);
  return await readResponse(connection);
}

async function readResponse(connection: Connection): Promise<ApiResponse> {
  const reader = new LineReader((into) => connection.read(into), "Firecracker's API", MAX_HEADER_LINE_BYTES);
  const statusLine = await reader.next();
  if (statusLine === undefined) throw cutOff();
  const status = Number(/^HTTP\/1\.[01] ([1-5]\d\d)(?: |$)/.exec(statusLine)?.[1]);
  if (Number.isNaN(status)) throw garbage("its answer has no HTTP status");
  const length = await readContentLength(reader);
  const body = await reader.bytes(length);
  if (body.length < length) throw cutOff();
  return { status, body: new TextDecoder().decode(body) };
}

async function readContentLength(reader: LineReader): Promise<number> {
  let length = 0;
  for (let count = 0; count <= MAX_HEADERS; count++) {
    const line = await reader.next();
    if (line === undefined) throw cutOff();
    if (line === "") return length;
    const [, name, value] = /^([!-9;-~]+):[ \t]*(.*?)[ \t]*$/.exec(line) ?? [];
    if (name === undefined || value === undefined) throw garbage("a header line has no name");
    if (name.toLowerCase() === "transfer-encoding") throw garbage("its answer comes in chunks");
    if (name.toLowerCase() !== "content-length") continue;
    length = /^\d{1,9}$/.test(value) ? Number(value) : NaN;
    if (!(length <= MAX_BODY_BYTES)) throw garbage(`its answer is not of at most ${MAX_BODY_BYTES} bytes`);
  }
  throw garbage(`its answer has over ${MAX_HEADERS} header lines`);
}

function cutOff(): BangerError {
  return new BangerError("connection_failed", "Cannot talk to Firecracker: it closed its API socket");
}

function garbage(why: string): BangerError {
  return new BangerError("corrupt_data", `Cannot understand Firecracker's API: ${why}`);
}
