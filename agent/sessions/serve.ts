import { BangerError, reasonOf } from "../../lib/base/errors.ts";
import type { Log } from "../../lib/base/host.ts";
import {
  encodeWindow,
  EXEC_FRAME,
  type ExecFailure,
  parseGuestJson,
  parseTerminalSize,
  STDIN_WINDOW_BYTES,
} from "../../lib/guest/wire/exec.ts";
import { encodeFrame, type Frame, FrameDecoder, MAX_FRAME_BYTES } from "../../lib/guest/wire/frames.ts";
import { readWhole } from "../../lib/guest/wire/http.ts";
import { MAX_SEND_BYTES, parseSessionStart } from "../../lib/guest/wire/sessions.ts";
import type { Exchange } from "../exchange.ts";
import type { Session } from "./session.ts";
import type { Sessions } from "./sessions.ts";

const encoder = new TextEncoder();
const MAX_LOST = 0xffff_ffff;

/** The requests of `lib/guest/wire/sessions.ts`. @param action what stands behind `/v1/sessions` */
export async function serveSessions(
  sessions: Sessions,
  exchange: Exchange,
  action: string,
  query: URLSearchParams,
  log: Log,
): Promise<void> {
  switch (`${exchange.head.method} ${action}`) {
    case "GET ":
      return await exchange.answer(200, { sessions: (await sessions.list()).map(({ view }) => view) });
    case "POST ": {
      const body = await readWhole(exchange.body, MAX_FRAME_BYTES);
      const start = parseSessionStart(parseGuestJson(body, "a session to start"));
      return await exchange.answer(200, (await sessions.start(start)).view);
    }
    case "POST /attach":
      return await serveAttach(await sessions.get(query.get("name")), exchange, query, log);
    case "POST /stdin":
      return await serveStdin(await sessions.get(query.get("name")), exchange, query);
    case "POST /stop": {
      const session = await sessions.get(query.get("name"));
      await session.stop(query.get("force") === "1");
      return await exchange.answer(200, session.view);
    }
    case "POST /remove":
      await sessions.remove(await sessions.get(query.get("name")));
      return await exchange.answer(204);
    default:
      throw new BangerError("not_found", "Cannot serve the request: the agent has no such one for sessions");
  }
}

/** The whole first: what one request sends stays together, and a client that is slow keeps nobody waiting. */
async function serveStdin(session: Session, exchange: Exchange, query: URLSearchParams): Promise<void> {
  const bytes = await readWhole(exchange.body, MAX_SEND_BYTES);
  const gone = new AbortController();
  void exchange.untilGone().then(() => gone.abort());
  await session.writeStdin(bytes, gone.signal);
  if (query.get("end") === "1") await session.endStdin();
  await exchange.answer(204);
}

async function serveAttach(
  session: Session,
  exchange: Exchange,
  query: URLSearchParams,
  log: Log,
): Promise<void> {
  const gone = new AbortController();
  const reading = takeInput(session, exchange, gone.signal).then(
    () => exchange.untilGone(),
    (failure) => log("debug", "a session's client has gone", { reason: reasonOf(failure) }),
  ).finally(() => gone.abort());
  const isFollowing = query.get("follow") !== "0";
  session.attachedClients++;
  try {
    await exchange.send(encodeFrame(EXEC_FRAME.started, encodeJson({ pid: session.record.pid })));
    await session.output.read(
      { tailBytes: parseTail(query.get("tail")), isFollowing, signal: gone.signal },
      (bytes) => exchange.send(bytes),
      (bytes) => exchange.send(encodeFrame(EXEC_FRAME.lost, encodeWindow(Math.min(bytes, MAX_LOST)))),
    );
    if (!gone.signal.aborted) await exchange.end(lastFrame(session));
  } finally {
    session.attachedClients--;
    gone.abort();
    exchange.close();
    await reading;
  }
}

/** The client's frames, until its body's end. */
async function takeInput(session: Session, exchange: Exchange, signal: AbortSignal): Promise<void> {
  const decoder = new FrameDecoder([EXEC_FRAME.stdin]);
  let waitingBytes = 0;
  let feeding = Promise.resolve();
  const feed = async (bytes: Uint8Array) => {
    try {
      await session.writeStdin(bytes, signal);
    } catch (failure) {
      // The session's end says it; until then the client may go on typing.
      if (!(failure instanceof BangerError && failure.code === "wrong_state")) throw failure;
    }
    waitingBytes -= bytes.length;
    if (!signal.aborted) await exchange.send(encodeFrame(EXEC_FRAME.stdinWindow, encodeWindow(bytes.length)));
  };
  const take = ({ type, payload }: Frame) => {
    if (type === EXEC_FRAME.resize) return session.resize(parseTerminalSize(payload));
    if (type !== EXEC_FRAME.stdin) {
      throw new BangerError("corrupt_data", `Cannot take a frame of type ${type}`);
    }
    if (payload.length === 0) return;
    waitingBytes += payload.length;
    if (waitingBytes > STDIN_WINDOW_BYTES) {
      throw new BangerError("corrupt_data", "Cannot take a session's stdin: it is beyond its window");
    }
    const bytes = payload.slice();
    feeding = feeding.then(() => feed(bytes));
    feeding.catch(() => {}); // told below, or the client has gone
  };
  for (let bytes; (bytes = await exchange.body.read()) !== null;) {
    for (const frame of decoder.push(bytes)) take(frame);
  }
  await feeding;
}

/** Behind all output. */
function lastFrame({ record }: Session): Uint8Array {
  if (record.state === "running") return encodeFrame(EXEC_FRAME.detached, new Uint8Array(0));
  if (record.exit) return encodeFrame(EXEC_FRAME.exited, encodeJson(record.exit));
  const error = new BangerError(
    "guest_failed",
    `Cannot tell how session ${record.name} ended: the machine or its agent ended while it ran`,
    "What it printed until then is kept: banger vm session logs VM NAME",
  );
  return encodeFrame(
    EXEC_FRAME.failed,
    encodeJson({ error: error.toBody(), exitCode: 125 } satisfies ExecFailure),
  );
}

function parseTail(text: string | null): number {
  if (text === null) return Infinity;
  if (/^\d{1,12}$/.test(text)) return Number(text);
  throw new BangerError("invalid_argument", "Cannot attach to a session: its tail is no number of bytes");
}

function encodeJson(value: unknown): Uint8Array {
  return encoder.encode(JSON.stringify(value));
}
