/** Pieces of bytes in order: what a TCP connection holds for each side. */

/** Bytes on their way to the guest, kept until it has acknowledged them. */
export class SendQueue {
  readonly #pieces: Uint8Array[] = [];
  #sizeBytes = 0;

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** @param bytes become the queue's own */
  push(bytes: Uint8Array): void {
    this.#pieces.push(bytes);
    this.#sizeBytes += bytes.length;
  }

  /**
   * @param offset from the front, below the size
   * @returns up to `maxBytes` from there, to the end of a piece, and whether it ends there
   */
  at(offset: number, maxBytes: number): { part: Uint8Array; endsPiece: boolean } {
    let rest = offset;
    let index = 0;
    while (rest >= this.#pieces[index]!.length) rest -= this.#pieces[index++]!.length;
    const piece = this.#pieces[index]!;
    const part = piece.subarray(rest, rest + maxBytes);
    return { part, endsPiece: rest + part.length === piece.length };
  }

  /** Drops from the front, at most all. */
  drop(count: number): void {
    let left = Math.min(count, this.#sizeBytes);
    this.#sizeBytes -= left;
    while (left > 0) {
      const first = this.#pieces[0]!;
      if (first.length <= left) this.#pieces.shift();
      else this.#pieces[0] = first.subarray(left);
      left -= Math.min(left, first.length);
    }
  }

  clear(): void {
    this.#pieces.length = 0;
    this.#sizeBytes = 0;
  }
}

/** Bytes of the guest that nobody has read yet. */
export class ReceiveQueue {
  readonly #pieces: Uint8Array[] = [];
  #sizeBytes = 0;

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** @param bytes become the queue's own */
  push(bytes: Uint8Array): void {
    this.#pieces.push(bytes);
    this.#sizeBytes += bytes.length;
  }

  /** @returns bytes moved to `into` */
  take(into: Uint8Array): number {
    let count = 0;
    for (let piece = this.#pieces[0]; piece && count < into.length; piece = this.#pieces[0]) {
      const part = piece.subarray(0, into.length - count);
      into.set(part, count);
      count += part.length;
      if (part.length === piece.length) this.#pieces.shift();
      else this.#pieces[0] = piece.subarray(part.length);
    }
    this.#sizeBytes -= count;
    return count;
  }
}
