/** A user's repository in a VM: planned, staged, sent. What comes back is in `return/`. */
import { BangerError } from "../base/errors.ts";
import type { Clock, Files, Processes } from "../base/host.ts";
import { type ByteString, displayText } from "../base/tree.ts";
import type { TreeReader } from "../base/tree_reader.ts";
import { landBranch, makeBundle } from "./branch.ts";
import { type GitEnvironment, HostGit } from "./git.ts";
import type { StartInGuest } from "./guest.ts";
import { collectWork } from "./guest_work.ts";
import { type Landing, prepareLanding } from "./land.ts";
import { findRecord, type WorkspaceRecord, writeRecord } from "./record.ts";
import { findRepository, type Repository } from "./repository.ts";
import { copyOut, makePatch, type Review, reviewWork } from "./review.ts";
import { sendRepository, type SentPart } from "./send.ts";
import { type StagedRepository, stageRepository } from "./stage.ts";
import { findSubmodules, type Submodules } from "./submodules.ts";
import { refuseSubmodules, type Survey, type SurveyOptions, surveyWorkTree } from "./survey.ts";

/** What workspaces need of the outside world. */
export interface WorkspaceHost {
  readonly files: Files;
  readonly processes: Pick<Processes, "pipe">;
  readonly clock: Clock;
  /** @throws {BangerError} where it can't be opened */
  readonly openTree: (root: string) => TreeReader;
  readonly gitEnvironment: GitEnvironment;
  /** For what is not yet a VM's. */
  readonly stagingDirectory: string;
  /** For what stays as long as the VM. */
  readonly directoryOf: (vmId: string) => string;
  /** The guest's directory above `repo`, where it is not /root. */
  readonly guestHome?: string;
}

export interface PlanRequest extends SurveyOptions {
  /** Absolute. */
  readonly path: string;
  readonly full?: boolean;
  readonly branch?: string;
}

/** What would be sent. Its owner disposes of it. */
export interface Plan extends Disposable {
  readonly request: PlanRequest;
  readonly repository: Repository;
  readonly survey: Survey;
  readonly tree: TreeReader;
  readonly submodules: Submodules;
}

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
   * Looks at the repository around a path.
   *
   * @returns undefined where there is none
   * @throws {BangerError} what makes it impossible to send it
   */
  async plan(request: PlanRequest): Promise<Plan | undefined> {
    const repository = await findRepository({ git: this.#git, files: this.#host.files }, request.path);
    if (!repository) return undefined;
    using open = new DisposableStack();
    const openTree = (root: string) => open.use(this.#host.openTree(root));
    const tree = openTree(repository.top);
    const survey = await surveyWorkTree(this.#git, repository.place, tree, request);
    refuseSubmodules(survey, request.full === true);
    const submodules = await findSubmodules(this.#git, openTree, { repository, survey, tree }, request);
    const owned = open.move();
    return { request, repository, survey, tree, submodules, [Symbol.dispose]: () => owned.dispose() };
  }

  async stage(plan: Plan): Promise<Staged> {
    const { files } = this.#host;
    const directory = `${this.#host.stagingDirectory}/.staging-${crypto.randomUUID().slice(0, 8)}`;
    await files.makeDirectory(this.#host.stagingDirectory, 0o700);
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

  async discard({ directory }: Pick<Staged, "directory">): Promise<void> {
    await this.#host.files.remove(directory);
  }

  /** Sends it and keeps, for this VM, what its work is compared with later. */
  async send(staged: Staged, vmId: string, start: StartInGuest): Promise<void> {
    const { files, clock } = this.#host;
    const { plan, repository, directory } = staged;
    const now = clock.now();
    await sendRepository({ files }, start, partsOf(staged), Math.floor(now / 1000), this.#host.guestHome);
    const { head } = repository;
    await writeRecord(files, directory, {
      schemaVersion: 1,
      top: plan.repository.top,
      sentAt: new Date(now).toISOString(),
      objectFormat: plan.repository.objectFormat,
      base: repository.base,
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
    return this.#host.files.readStream(await makePatch(review));
  }

  /** @param path absolute; what is there is replaced */
  async writePatch(review: Review, path: string): Promise<void> {
    await copyOut(this.#host.files, await makePatch(review), path);
  }

  /** The guest's commits, for `git fetch`. @param path absolute */
  async writeBundle(review: Review, path: string): Promise<void> {
    await copyOut(
      this.#host.files,
      await makeBundle(review.work, `${review.work.directory}/work.bundle`),
      path,
    );
  }

  /** @throws {BangerError} `wrong_state` where it would not go in cleanly */
  async prepareLanding(review: Review): Promise<Landing> {
    const repository = await this.#repositoryOf(review.work.record);
    const deps = { git: this.#git, files: this.#host.files };
    using tree = this.#host.openTree(repository.top);
    const survey = await surveyWorkTree(this.#git, repository.place, tree, { includeSecrets: true });
    return await prepareLanding(deps, {
      repository,
      survey,
      work: review.work,
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

  async #repositoryOf({ top }: WorkspaceRecord): Promise<Repository> {
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
