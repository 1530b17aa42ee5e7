/** A user's repository in a VM: planned, staged, sent. What comes back is in `return/`. */
import { BangerError } from "../base/errors.ts";
import type { Clock, Files, Processes } from "../base/host.ts";
import { type ByteString, displayText } from "../base/tree.ts";
import type { TreeReader } from "../base/tree_reader.ts";
import type { TreeWriter } from "../base/tree_writer.ts";
import { landBranch, makeBundle } from "./branch.ts";
import { type GitEnvironment, HostGit } from "./git.ts";
import { BUSYBOX, runInGuest, type SendArchive, type StartInGuest } from "./guest.ts";
import { collectWork } from "./guest_work.ts";
import { type Landing, prepareLanding } from "./land.ts";
import { makePlan, plainDirectory, type Plan, type PlanRequest } from "./plan.ts";
import { findRecord, type WorkspaceRecord, writeRecord } from "./record.ts";
import { findRepository, type Repository } from "./repository.ts";
import { copyOut, makePatch, type Review, reviewWork } from "./review.ts";
import type { SentPart } from "./repository_tar.ts";
import { COPY_GIT_DIRECTORY, GUEST_HOME, sendRepository } from "./send.ts";
import { type StagedRepository, stageRepository } from "./stage.ts";
import { surveyWorkTree } from "./survey.ts";
import { INSTALL_TOOLS, planTools, type ToolPin } from "./tools.ts";

/** What workspaces need of the outside world. */
export interface WorkspaceHost {
  readonly files: Files;
  readonly processes: Pick<Processes, "pipe">;
  readonly clock: Clock;
  /** @throws {BangerError} where it can't be opened */
  readonly openTree: (root: string) => TreeReader;
  readonly openTreeWriter: (root: string) => TreeWriter;
  readonly gitEnvironment: GitEnvironment;
  /** For what is not yet a VM's. */
  readonly stagingDirectory: string;
  /** For work of VMs that are removed. */
  readonly exportsDirectory: string;
  /** For what stays as long as the VM. */
  readonly directoryOf: (vmId: string) => string;
  /** The guest's directory above `repo`, where it is not /root. */
  readonly guestHome?: string;
}

/** No repository takes so long to send. */
const ABANDONED_AFTER_MS = 24 * 60 * 60 * 1000;

/** Ready to be sent, in a directory of its own until it is a VM's or is discarded. */
export interface Staged {
  readonly plan: Plan;
  readonly directory: string;
  readonly repository: StagedRepository;
  /** Of the plan's submodules, in their order. */
  readonly submodules: readonly StagedRepository[];
}

export class Workspaces {
  readonly #host: WorkspaceHost;
  readonly #git: HostGit;

  constructor(host: WorkspaceHost) {
    this.#host = host;
    this.#git = new HostGit(host.processes, host.gitEnvironment);
  }

  /**
   * Looks at what is around a path.
   *
   * @returns undefined outside a repository, unless a copy is asked for
   * @throws {BangerError} what makes it impossible to send it
   */
  async plan(request: PlanRequest): Promise<Plan | undefined> {
    return await makePlan({ ...this.#host, git: this.#git }, request);
  }

  async stage(plan: Plan): Promise<Staged> {
    const { files } = this.#host;
    const directory = `${this.#host.stagingDirectory}/.staging-${crypto.randomUUID().slice(0, 8)}`;
    await this.#forgetAbandoned();
    await files.makeDirectory(directory, 0o700);
    try {
      const deps = { git: this.#git, files };
      const { branch, full } = plan.request;
      const repository = await stageRepository(deps, {
        repository: plan.repository,
        survey: plan.survey,
        directory,
        full: full === true,
        ...(branch === undefined ? {} : { branch }),
        ...(plan.workTree === undefined ? {} : { workTree: plan.workTree }),
      });
      const submodules: StagedRepository[] = [];
      for (const [i, { repository, survey }] of plan.submodules.found.entries()) {
        const own = `${directory}/submodules/${i}`;
        submodules.push(await stageRepository(deps, { repository, survey, directory: own, full: true }));
      }
      return { plan, directory, repository, submodules };
    } catch (failure) {
      await files.remove(directory);
      throw failure;
    }
  }

  /** What a process that was killed has left. */
  async #forgetAbandoned(): Promise<void> {
    const { files, clock, stagingDirectory } = this.#host;
    await files.makeDirectory(stagingDirectory, 0o700);
    for (const name of await files.list(stagingDirectory)) {
      const path = `${stagingDirectory}/${name}`;
      const stat = name.startsWith(".staging-") ? await files.stat(path) : undefined;
      if (stat && clock.now() - stat.mtimeMs > ABANDONED_AFTER_MS) await files.remove(path);
    }
  }

  async discard({ directory }: Pick<Staged, "directory">): Promise<void> {
    await this.#host.files.remove(directory);
  }

  /** Sends it and keeps, for this VM, what its work is compared with later. */
  async send(
    staged: Staged,
    vmId: string,
    start: StartInGuest,
    sendArchive?: SendArchive,
  ): Promise<void> {
    const { files, clock } = this.#host;
    const { plan, repository, directory } = staged;
    // Two at once into one VM would mix.
    await using _lock = await files.lock(`${this.#host.stagingDirectory}/${vmId}.lock`);
    const now = clock.now();
    const guest = { start, sendArchive };
    await sendRepository({ files }, guest, partsOf(staged), Math.floor(now / 1000), this.#host.guestHome);
    const { head } = repository;
    await writeRecord(files, directory, {
      schemaVersion: 1,
      top: plan.repository.top,
      sentAt: new Date(now).toISOString(),
      objectFormat: plan.repository.objectFormat,
      base: repository.base,
      ...(plan.isCopy ? { isCopy: true } : {}),
      ...(head === undefined ? {} : { head }),
      submodules: plan.submodules.found.map(({ prefix }, i) => {
        const { baseTree, head } = staged.submodules[i]!;
        const path = displayText(prefix).slice(0, -1);
        return { path, tree: baseTree, ...(head === undefined ? {} : { head }) };
      }),
    });
    const kept = this.#host.directoryOf(vmId);
    await files.remove(kept);
    await files.rename(directory, kept);
  }

  /** @returns undefined where no repository was sent into this VM */
  async findRecord(vmId: string): Promise<WorkspaceRecord | undefined> {
    return await findRecord(this.#host.files, this.#host.directoryOf(vmId));
  }

  /**
   * What was done in the guest. The caller disposes of the review's work.
   *
   * @param baseCommit of the user's repository; default: what was sent
   * @throws {BangerError} `not_found` where nothing was sent
   */
  async review(vm: { id: string; name: string }, start: StartInGuest, baseCommit?: string): Promise<Review> {
    const record = await this.findRecord(vm.id);
    if (!record) throw nothingSent(vm.name);
    const work = await collectWork(
      { git: this.#git, files: this.#host.files },
      start,
      record,
      this.#host.directoryOf(vm.id),
      this.#host.guestHome,
    );
    try {
      const base = baseCommit === undefined
        ? undefined
        : { name: baseCommit, repository: await this.#repositoryOf(record) };
      return await reviewWork(this.#git, work, base);
    } catch (failure) {
      await work[Symbol.asyncDispose]();
      throw failure;
    }
  }

  async patchStream(review: Review): Promise<ReadableStream<Uint8Array>> {
    return this.#host.files.readStream(await makePatch(this.#git, review));
  }

  /** @param path absolute; what is there is replaced */
  async writePatch(review: Review, path: string): Promise<void> {
    await copyOut(this.#host.files, await makePatch(this.#git, review), path);
  }

  /** The guest's commits, for `git fetch`. @param path absolute */
  async writeBundle(review: Review, path: string): Promise<void> {
    await copyOut(
      this.#host.files,
      await makeBundle(review.work, `${review.work.directory}/work.bundle`),
      path,
    );
  }

  /**
   * Keeps the work of a VM that is about to go: a patch, and a bundle where commits were made.
   *
   * @returns the files' paths
   */
  async keep(vm: { readonly name: string }, review: Review): Promise<string[]> {
    const { files, clock, exportsDirectory } = this.#host;
    await files.makeDirectory(exportsDirectory, 0o700);
    const time = new Date(clock.now()).toISOString().replaceAll(/[-:]|\.\d+/g, "");
    const path = `${exportsDirectory}/${vm.name}-${time}`;
    await this.writePatch(review, `${path}.patch`);
    if (review.commits === 0) return [`${path}.patch`];
    await this.writeBundle(review, `${path}.bundle`);
    return [`${path}.patch`, `${path}.bundle`];
  }

  /** What the repository asks for, by its own files. */
  async planTools({ tree }: Plan): Promise<ToolPin[]> {
    return await planTools(tree);
  }

  /** Begins to install tools; it goes on in the guest, whatever becomes of it. */
  async installTools(start: StartInGuest, tools: readonly ToolPin[]): Promise<void> {
    const wanted = tools.map(({ tool, version }) => `${tool}@${version}`);
    const home = this.#host.guestHome ?? GUEST_HOME;
    await runInGuest(start, [BUSYBOX, "setsid", BUSYBOX, "sh", "-c", INSTALL_TOOLS, "sh", home, ...wanted]);
  }

  /** @throws {BangerError} `wrong_state` where it would not go in cleanly */
  async prepareLanding(review: Review): Promise<Landing> {
    const repository = await this.#repositoryOf(review.work.record);
    const { files, openTreeWriter } = this.#host;
    const deps = { git: this.#git, files, openTreeWriter };
    using tree = this.#host.openTree(repository.top);
    const survey = await surveyWorkTree(this.#git, repository.place, tree, {
      includeSecrets: true,
      includeIgnored: review.work.record.isCopy === true,
    });
    return await prepareLanding(deps, {
      repository,
      survey,
      // Where the base is a commit of the user's, it lies in their repository.
      work: {
        ...review.work,
        place: { ...review.work.place, ...review.place },
        run: (args, input) => this.#git.run(review.place, args, input),
        read: (args, input) => this.#git.read(review.place, args, input),
      },
      base: review.from,
      theirs: review.to,
    });
  }

  /** @returns how many commits came */
  async landBranch(review: Review, branch: string): Promise<number> {
    const repository = await this.#repositoryOf(review.work.record);
    return await landBranch(this.#git, repository, review.work, branch);
  }

  /** The user has the work outside now. */
  async markExported(vmId: string, { work }: Review): Promise<void> {
    await writeRecord(this.#host.files, this.#host.directoryOf(vmId), {
      ...work.record,
      exported: { tree: work.tree, ...(work.head === undefined ? {} : { head: work.head }) },
    });
  }

  async #repositoryOf({ top, isCopy }: WorkspaceRecord): Promise<Repository> {
    if (isCopy) return await plainDirectory(this.#host, top);
    const repository = await findRepository({ git: this.#git, files: this.#host.files }, top);
    if (repository?.top === top) return repository;
    throw new BangerError(
      "not_found",
      `Cannot find the repository that was sent: ${top} is none any more`,
      "Take the work as a patch: --output FILE",
    );
  }
}

function partsOf({ plan, repository, submodules }: Staged): SentPart[] {
  const outer = {
    prefix: "" as ByteString,
    staged: repository,
    ...(plan.isCopy ? { gitAt: COPY_GIT_DIRECTORY } : {}),
    tree: plan.tree,
    present: plan.survey.present,
    directories: plan.submodules.directories,
  };
  const inner = plan.submodules.found.map(({ prefix, tree, survey, directories }, i) => ({
    prefix,
    staged: submodules[i]!,
    tree,
    present: survey.present,
    directories,
  }));
  return [outer, ...inner];
}

function nothingSent(name: string): BangerError {
  return new BangerError(
    "not_found",
    `Cannot look at the work in VM ${name}: no repository was sent into it`,
    `Send one: banger vm workspace prepare ${name} [path]`,
  );
}
