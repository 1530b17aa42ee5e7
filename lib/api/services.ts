import type {
  CatalogEntryView,
  CreateVm,
  ImageView,
  ImportKernel,
  KernelCatalogEntryView,
  KernelView,
  OperationEvent,
  OperationView,
  PrunedView,
  PullImage,
  RegisterImage,
  VersionView,
  VmDefaultsView,
  VmEventView,
  VmView,
} from "./contract.ts";

import type {
  ChangeImage,
  PlannedChangeView,
  PrunedVmView,
  PruneVms,
  SetVm,
  VmHealthView,
  VmScope,
  VmStatsView,
} from "./vm_contract.ts";
import type { BridgeView, ChangeNetwork, DnsStatusView, VmPortsView } from "./network_contract.ts";

/** What the routes call; the daemon wires the real ones. Methods throw BangerError. */
export interface Services {
  readonly vms: {
    list(scope: VmScope): Promise<VmView[]>;
    get(nameOrId: string): Promise<VmView>;
    create(request: CreateVm): OperationView;
    start(nameOrId: string): OperationView;
    stop(nameOrId: string, options: { force: boolean }): OperationView;
    remove(nameOrId: string, options: { force: boolean; purge: boolean }): OperationView;
    console(nameOrId: string, options: { maxBytes: number }): Promise<string>;
    events(nameOrId: string): Promise<VmEventView[]>;
  };
  readonly vmChanges: {
    restart(nameOrId: string, options: { force: boolean }): OperationView;
    kill(nameOrId: string): OperationView;
    /** What `set` would change, and when. */
    plan(nameOrId: string, change: SetVm): Promise<PlannedChangeView[]>;
    set(nameOrId: string, change: SetVm): OperationView;
    changeImage(nameOrId: string, change: ChangeImage): OperationView;
    restore(nameOrId: string, newName: string | undefined): Promise<VmView>;
    prune(options: PruneVms): Promise<PrunedVmView[]>;
  };
  readonly vmLooks: {
    stats(nameOrId: string): Promise<VmStatsView>;
    health(nameOrId: string): Promise<VmHealthView>;
    /** What is written from now on; ends when the VM does. */
    followConsole(nameOrId: string): ReadableStream<Uint8Array<ArrayBuffer>>;
  };
  readonly images: {
    list(): Promise<ImageView[]>;
    get(nameOrId: string): Promise<ImageView>;
    available(): CatalogEntryView[];
    pull(request: PullImage): OperationView;
    register(request: RegisterImage): OperationView;
    promote(nameOrId: string): OperationView;
    verify(nameOrId: string): OperationView;
    prune(options: { all: boolean }): Promise<PrunedView>;
    remove(nameOrId: string): Promise<void>;
  };
  readonly kernels: {
    list(): Promise<KernelView[]>;
    get(name: string): Promise<KernelView>;
    /** The catalog. */
    available(): Promise<KernelCatalogEntryView[]>;
    pull(name: string, options: { force: boolean }): OperationView;
    import(request: ImportKernel): OperationView;
    remove(name: string): Promise<void>;
  };
  readonly network: {
    ports(nameOrId: string): Promise<VmPortsView>;
    change(nameOrId: string, change: ChangeNetwork): Promise<VmPortsView>;
    dns(): Promise<DnsStatusView>;
    bridge(): Promise<BridgeView>;
  };
  readonly operations: {
    list(): OperationView[];
    get(id: string): OperationView;
    /** Past events first, then live ones, to the end. */
    events(id: string): AsyncIterable<OperationEvent>;
    cancel(id: string): OperationView;
  };
  readonly daemon: {
    version(): VersionView;
    defaults(): Promise<VmDefaultsView>;
    /** @throws {BangerError} `in_use` while operations run, unless forced */
    shutdown(options: { force: boolean }): void;
  };
}
