/** A user's repository in a VM: planned, staged, sent. What comes back is in `return/`. */
import type { Clock, Files, Processes } from "../base/host.ts";
import type { TreeReader } from "../base/tree_reader.ts";
import { type GitEnvironment, HostGit } from "./git.ts";
import type { StartInGuest } from "./guest.ts";
import { findRepository, type Repository } from "./repository.ts";
import { sendRepository } from "./send.ts";
import { type StagedRepository, stageRepository } from "./stage.ts";
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
}

/** Ready to be sent, in a directory of its own until it is a VM's or is discarded. */
export interface Staged {
  readonly plan: Plan;
  readonly directory: string;
  readonly repository: StagedRepository;
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
    const tree = this.#host.openTree(repository.top);
    try {
      const survey = await surveyWorkTree(this.#git, repository.place, tree, request);
      refuseSubmodules(survey, request.full === true);
      return { request, repository, survey, tree, [Symbol.dispose]: () => tree[Symbol.dispose]() };
    } catch (failure) {
      tree[Symbol.dispose]();
      throw failure;
    }
  }

  async stage(plan: Plan): Promise<Staged> {
    const { files } = this.#host;
    const directory = `${this.#host.stagingDirectory}/.staging-${crypto.randomUUID().slice(0, 8)}`;
    await files.makeDirectory(this.#host.stagingDirectory, 0o700);
    await files.makeDirectory(directory, 0o700);
    try {
      const { branch, full } = plan.request;
      const repository = await stageRepository({ git: this.#git, files }, {
        repository: plan.repository,
        survey: plan.survey,
        directory,
        full: full === true,
        ...(branch === undefined ? {} : { branch }),
      });
      return { plan, directory, repository };
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
    const { plan, repository, directory } = staged;
    const now = Math.floor(this.#host.clock.now() / 1000);
    await sendRepository(this.#host, start, repository, plan.tree, plan.survey.present, now);
    const kept = this.#host.directoryOf(vmId);
    await this.#host.files.remove(kept);
    await this.#host.files.rename(directory, kept);
  }
}
