/** The user's side of the command line: standard streams, the terminal, signals. */
export interface Terminal {
  readonly stdinIsTerminal: boolean;
  readonly stdoutIsTerminal: boolean;
  readonly stderrIsTerminal: boolean;
  /** `TERM` */
  readonly type: string;
  /** @returns null at the end */
  readStdin(into: Uint8Array): Promise<number | null>;
  /** Write all of it. A closed pipe ends the process quietly, as programs do on SIGPIPE. */
  writeStdout(bytes: Uint8Array): Promise<void>;
  writeStderr(bytes: Uint8Array): Promise<void>;
  /** Keys are passed on at once and unchanged, Ctrl-C included. Undone at exit. */
  setRaw(raw: boolean): void;
  size(): TerminalSize;
  onResize(handler: () => void): Disposable;
  onSignal(signal: "SIGINT" | "SIGTERM" | "SIGHUP", handler: () => void): Disposable;
}

export interface TerminalSize {
  readonly rows: number;
  readonly columns: number;
}
