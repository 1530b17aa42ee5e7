declare const brand: unique symbol;

/** A `T` that was checked once, at the edge; only a parser makes one. */
export type Brand<T, Name> = T & { readonly [brand]: Name };

/** An absolute path on the host. */
export type HostPath = Brand<string, "HostPath">;

/** An absolute path inside a guest. */
export type GuestPath = Brand<string, "GuestPath">;
