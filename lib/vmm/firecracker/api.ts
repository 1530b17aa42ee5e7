/**
 * The bodies of Firecracker's API, as far as banger uses them.
 *
 * Source: firecracker src/firecracker/swagger/firecracker.yaml, 1.16.1 (`tests/data/`); names are the API's.
 */

export interface BootSource {
  readonly kernel_image_path: string;
  readonly initrd_path?: string;
  readonly boot_args?: string;
}

export interface MachineConfiguration {
  /** 1 to 32. */
  readonly vcpu_count: number;
  readonly mem_size_mib: number;
  readonly smt?: boolean;
  readonly track_dirty_pages?: boolean;
}

export interface Drive {
  readonly drive_id: string;
  readonly path_on_host: string;
  readonly is_root_device: boolean;
  readonly is_read_only: boolean;
  /** The API's default, `Unsafe`, drops the guest's flushes. */
  readonly cache_type: "Writeback";
  readonly io_engine?: "Sync" | "Async";
}

export interface NetworkInterface {
  readonly iface_id: string;
  readonly host_dev_name: string;
  readonly guest_mac?: string;
  /** From 1.16 on: 68 to 65535. */
  readonly mtu?: number;
}

export interface Vsock {
  readonly guest_cid: number;
  readonly uds_path: string;
}

export interface Balloon {
  readonly amount_mib: number;
  readonly deflate_on_oom: boolean;
  /** 0: no statistics. */
  readonly stats_polling_interval_s?: number;
  /** The guest says which memory is free, and it goes back to the host. */
  readonly free_page_reporting?: boolean;
}

export interface Logger {
  readonly log_path: string;
  readonly level: "Error" | "Warning" | "Info" | "Debug" | "Trace" | "Off";
  readonly show_level?: boolean;
}

export interface TokenBucket {
  readonly size: number;
  readonly refill_time: number;
  readonly one_time_burst?: number;
}

export interface SerialDevice {
  /** A file that exists. */
  readonly serial_out_path: string;
  /** From 1.16 on; output beyond it is dropped. */
  readonly rate_limiter?: TokenBucket;
}

export type ActionType = "InstanceStart" | "SendCtrlAltDel" | "FlushMetrics";

export type InstanceState = "Not started" | "Running" | "Paused";

export interface InstanceInfo {
  readonly id: string;
  readonly state: InstanceState;
  readonly vmmVersion: string;
}

export interface BalloonStatistics {
  readonly targetMib: number;
  readonly actualMib: number;
  /** Bytes; absent where the guest has not told. */
  readonly freeMemoryBytes?: number;
  readonly availableMemoryBytes?: number;
}

/** One request of the API. `body` is exactly what is sent. */
export interface ApiRequest {
  readonly method: "GET" | "PUT" | "PATCH";
  readonly path: string;
  readonly body?: object;
}
