export const BANGER_AGENT = "banger-vsock-agent";
export const KERNEL = "made-up";
/** What a VM is given instead. */
export const OTHER_KERNEL = "made-up-too";
export const IMAGE = "base";
/** The VM that things are done to. */
export const VICTIM = "victim";
/** Nobody touches them: one that rests, one that runs. */
export const CALM = "calm";
export const BUSY = "busy";
