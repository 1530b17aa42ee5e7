import { constants, createGunzip, type Gunzip } from "node:zlib";

/** How far one step came: offsets into its input and its output. */
export interface Step {
  readonly read: number;
  readonly filled: number;
}

/** The part of a node:zlib stream below its public face, as it is in Deno 2.4. */
interface Binding {
  writeSync(
    flush: number,
    input: Uint8Array,
    inputAt: number,
    inputBytes: number,
    output: Uint8Array,
    outputAt: number,
    outputBytes: number,
  ): [inputLeft: number, outputLeft: number] | undefined;
}

const NO_BYTES = new Uint8Array(0);

/**
 * Inflates gzip step by step into memory of the caller's, in this thread and at once.
 *
 * node:zlib's stream takes new memory for each chunk that it gives out, which costs a tenth of the time of
 * inflating it; its binding does not. That is no public interface: where it is not what it is known to be,
 * `open` says so, and the stream itself does the work.
 */
export class GunzipSteps implements Disposable {
  readonly #stream: Gunzip;
  readonly #binding: Binding;
  #failure: { readonly reason: unknown } | undefined;

  private constructor(stream: Gunzip, binding: Binding) {
    this.#stream = stream;
    this.#binding = binding;
    stream.on("error", (reason: unknown) => this.#failure ??= { reason });
  }

  /** @returns undefined where this runtime's zlib looks otherwise */
  static open(): GunzipSteps | undefined {
    const stream = createGunzip();
    const { _handle: binding } = stream as { _handle?: Partial<Binding> };
    if (typeof binding?.writeSync === "function") {
      const isKnown = Array.isArray(
        binding.writeSync(constants.Z_NO_FLUSH, NO_BYTES, 0, 0, new Uint8Array(1), 0, 1),
      );
      if (isKnown) return new GunzipSteps(stream, binding as Binding);
    }
    stream.destroy();
    return undefined;
  }

  /**
   * Reads from `input` at `read`, writes to `output` at `filled`, until one of them is at its end. Where the
   * output came to its end, there may be more from the same input.
   *
   * @throws zlib's own error
   */
  step(input: Uint8Array, output: Uint8Array, { read, filled }: Step): Step {
    return this.#run(constants.Z_NO_FLUSH, input, output, { read, filled });
  }

  /** As `step`, when there is no more input. @throws zlib's own error for a stream that is not at its end */
  end(output: Uint8Array, filled: number): Step {
    return this.#run(constants.Z_FINISH, NO_BYTES, output, { read: 0, filled });
  }

  #run(flush: number, input: Uint8Array, output: Uint8Array, { read, filled }: Step): Step {
    const left = this.#binding.writeSync(
      flush,
      input,
      read,
      input.length - read,
      output,
      filled,
      output.length - filled,
    );
    if (this.#failure !== undefined) throw this.#failure.reason;
    if (left === undefined) throw new Error("the decompressor was closed");
    return { read: input.length - left[0], filled: output.length - left[1] };
  }

  [Symbol.dispose](): void {
    this.#stream.destroy();
  }
}
