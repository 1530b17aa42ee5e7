const FIRST_CAPACITY_BYTES = 4096;

/** A queue of bytes in one buffer that grows up to a cap: many small writes cost no more than their bytes. */
export class ByteRing {
  readonly #maxBytes: number;
  #buffer = new Uint8Array(0);
  #head = 0;
  #length = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get length(): number {
    return this.#length;
  }

  get freeBytes(): number {
    return this.#maxBytes - this.#length;
  }

  /** @returns false, with nothing taken, where there is no room for all of it */
  push(bytes: Uint8Array): boolean {
    if (bytes.length > this.freeBytes) return false;
    if (this.#length + bytes.length > this.#buffer.length) this.#grow(this.#length + bytes.length);
    const tail = (this.#head + this.#length) % Math.max(this.#buffer.length, 1);
    const first = bytes.subarray(0, this.#buffer.length - tail);
    this.#buffer.set(first, tail);
    this.#buffer.set(bytes.subarray(first.length), 0);
    this.#length += bytes.length;
    return true;
  }

  /** @returns bytes moved into `into`, oldest first */
  shift(into: Uint8Array): number {
    const count = Math.min(into.length, this.#length);
    const first = this.#buffer.subarray(this.#head, this.#head + count);
    into.set(first);
    into.set(this.#buffer.subarray(0, count - first.length), first.length);
    this.#length -= count;
    this.#head = this.#length === 0 ? 0 : (this.#head + count) % this.#buffer.length;
    return count;
  }

  /** Forgets everything and gives the memory back. */
  clear(): void {
    this.#buffer = new Uint8Array(0);
    this.#head = 0;
    this.#length = 0;
  }

  #grow(neededBytes: number): void {
    let capacity = Math.max(this.#buffer.length, FIRST_CAPACITY_BYTES);
    while (capacity < neededBytes) capacity *= 2;
    const grown = new Uint8Array(Math.min(capacity, this.#maxBytes));
    const length = this.#length;
    this.shift(grown.subarray(0, length));
    this.#buffer = grown;
    this.#head = 0;
    this.#length = length;
  }
}
