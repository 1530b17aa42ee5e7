/**
 * The agent's protocol, layer by layer.
 *
 * ```text
 *   host                                                             guest
 *   ────                                                             ─────
 *   AgentClient ── Unix socket ── Firecracker, vhost-device-vsock ══ vsock ═════════╗
 *       │  "CONNECT 42070\n" → "OK <n>\n", then bytes                               ║
 *       ├────────── AF_VSOCK, port 42070, bytes ═══════════════════ vsock ══════════╬═ agent
 *       └── Unix socket ── relay ── Unix socket ── QEMU ══ virtio-serial, mux ══════╝
 * ```
 *
 * **Byte stream.** Each of the three ways gives a reliable stream of bytes to a guest port. On it runs one
 * HTTP/1.1 request and its answer; the connection ends with the answer (`Connection: close`).
 *
 * **HTTP.** `http.ts`: the subset that the agent speaks. Bodies of `exec` and `connect` are chunked in
 * both directions and full duplex: the answer's head comes before the end of the request's body. A half-close
 * is the last chunk, never the end of the transport, because not every transport keeps half-closes. The
 * end of the transport before that means that the other side has gone.
 *
 * | request              | body                | answer                                               |
 * | -------------------- | ------------------- | ---------------------------------------------------- |
 * | `GET /healthz`       |                     | 200, JSON, see `health.ts`                           |
 * | `POST /v1/exec`      | frames              | 200, frames, see `exec.ts`                           |
 * | `POST /v1/connect`   | bytes, `?port=N`    | 200, bytes from the guest's 127.0.0.1:N; 502 refused |
 * |                      | `&address=A`        | the same from A:N, an address of the guest's         |
 * | `POST /v1/files/in`  | a file's bytes      | 200, JSON at the end, see `files.ts`                 |
 * | `POST /v1/files/out` |                     | 200, a line of JSON and a file's bytes               |
 * | `GET /v1/ports`      |                     | 200, JSON, see `ports.ts`; `?watch=1`: lines of it   |
 * | `POST /v1/sync`      |                     | 204 once the filesystems are on the disk             |
 * | `GET /v1/stats`      |                     | 200, JSON, see `stats.ts`                            |
 * | `POST /v1/grow`      | `?disk=&bytes=`     | 204 once the file system fills its larger disk       |
 * | `POST /v1/power-off` |                     | 202, then a clean shutdown                           |
 *
 * Errors are JSON `{code, message, hint?}` (`ErrorBody`) with the code's HTTP status.
 *
 * **Frames** of `exec`, after chunk decoding, so neither side may rely on chunk borders:
 *
 * ```text
 *   0        1                               5
 *   ┌────────┬───────────────────────────────┬───────────────┐
 *   │ type   │ payload length (big-endian)   │ payload       │  length at most 1 MiB
 *   │ u8     │ u32                           │               │
 *   └────────┴───────────────────────────────┴───────────────┘
 * ```
 *
 * **Mux.** `mux_frames.ts` and `mux.ts`: many byte streams over one virtio-serial port.
 */

/** The agent's port on vsock and in the mux. */
export const AGENT_PORT = 42070;

/** The virtio-serial port's name, as QEMU's `-device virtserialport,name=` has it. */
export const SERIAL_PORT_NAME = "banger.agent";
