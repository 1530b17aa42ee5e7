import { BangerError, reasonOf } from "../base/errors.ts";
import type { Host } from "../base/host.ts";
import type { HeldLink } from "../base/network.ts";
import { eitherSignal } from "../base/signals.ts";
import { HOSTS_PATH, hostsUpdate, LINK, linkAlias, type NameRecord } from "../net/dns/host_setup.ts";

const LOOK_AGAIN_MS = 10_000;
/** Several changes of VMs that come together are one change of the hosts file. */
const SETTLE_MS = 200;
const MAX_HOSTS_BYTES = 4 * 1024 * 1024;
const SYS_LINK = `/sys/class/net/${LINK}`;

type NamesHost = Pick<Host, "network" | "files" | "processes" | "clock" | "log">;

export interface HostNamesOptions {
  /** Of the daemon's name server. */
  readonly address: string;
  readonly port: number;
  readonly uid: number;
  /** The state directory: the hosts file's block may be another banger's. */
  readonly owner: string;
  isServing(): boolean;
  records(): readonly NameRecord[];
}

/**
 * The daemon's part in what `banger dns install` did, for as long as it runs: it holds the link through which
 * systemd-resolved asks it, and brings banger's block in the hosts file up to date where it is root.
 */
export class HostNames {
  readonly #host: NamesHost;
  readonly #options: HostNamesOptions;
  #held: { readonly link: HeldLink; readonly index: string } | undefined;
  #linkProblem: string | undefined;
  #isHostsDue = true;
  #woken = Promise.withResolvers<void>();
  #refreshing: Promise<void> = Promise.resolve();

  constructor(host: NamesHost, options: HostNamesOptions) {
    this.#host = host;
    this.#options = options;
  }

  get holdsLink(): boolean {
    return this.#held !== undefined;
  }

  /** Why the link is there and not held. */
  get linkProblem(): string | undefined {
    return this.#linkProblem;
  }

  get followsHosts(): boolean {
    return this.#options.uid === 0;
  }

  /** A VM came, went or was changed. */
  changed(): void {
    if (!this.followsHosts) return;
    this.#isHostsDue = true;
    this.#woken.resolve();
  }

  /** Until the signal fires. Then nobody is led to a name server that is gone. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#host;
    while (!signal.aborted) {
      await this.refresh();
      const stop = new AbortController();
      using either = eitherSignal(signal, stop.signal);
      const ends = either.signal;
      await Promise.race([
        clock.sleep(LOOK_AGAIN_MS, ends).catch(() => {}), // the loop's condition sees it
        this.#woken.promise.then(() => clock.sleep(SETTLE_MS, ends)).catch(() => {}),
      ]);
      stop.abort();
    }
    await this.#refreshing;
    this.#release();
  }

  /** Looks at what is there now. Never throws: names that do not resolve stop nothing else. */
  refresh(): Promise<void> {
    this.#refreshing = this.#refreshing.then(async () => {
      await this.#refreshLink().catch((thrown) => this.#linkProblem = reasonOf(thrown));
      await this.#refreshHosts().catch((thrown) =>
        this.#host.log("warn", "cannot bring the hosts file up to date", { reason: reasonOf(thrown) })
      );
    });
    return this.#refreshing;
  }

  async #refreshLink(): Promise<void> {
    const { network } = this.#host;
    const index = await this.#read(`${SYS_LINK}/ifindex`);
    const isWanted = index !== undefined && this.#options.isServing();
    if (this.#held && (!isWanted || this.#held.index !== index)) this.#release();
    this.#linkProblem = undefined;
    if (!isWanted || this.#held) return;
    const alias = await this.#read(`${SYS_LINK}/ifalias`);
    if (alias !== linkAlias(this.#options)) {
      this.#linkProblem = "it leads to another name server; run it again: banger dns install";
      return;
    }
    this.#held = { link: await network.holdLink(LINK), index };
    this.#host.log("info", "systemd-resolved is led here", { link: LINK });
  }

  #release(): void {
    this.#held?.link[Symbol.dispose]();
    this.#held = undefined;
  }

  async #refreshHosts(): Promise<void> {
    if (!this.followsHosts || !this.#isHostsDue) return;
    this.#isHostsDue = false;
    this.#woken = Promise.withResolvers();
    const { files, processes } = this.#host;
    const hostsText = await files.readText(HOSTS_PATH, MAX_HOSTS_BYTES);
    const { owner } = this.#options;
    for (const { argv, stdin } of hostsUpdate({ hostsText, owner, records: this.#options.records() })) {
      const [program, ...args] = argv;
      const input = new TextEncoder().encode(stdin ?? "");
      const { code, stderr } = await processes.run({ program: program!, args }, { stdin: input });
      if (code !== 0) {
        throw new BangerError("host_unsupported", `Cannot write ${HOSTS_PATH}: ${stderr.trim()}`);
      }
    }
  }

  /** @returns undefined where there is no such file */
  async #read(path: string): Promise<string | undefined> {
    try {
      return (await this.#host.files.readText(path, 4096)).trim();
    } catch (thrown) {
      if (thrown instanceof BangerError && thrown.code === "not_found") return undefined;
      throw thrown;
    }
  }
}
