/** A disk that is soon full: a tmpfs of the test's own, which only root may mount. */
import assert from "node:assert/strict";

async function mount(args: readonly string[], program = "mount"): Promise<void> {
  const { code, stderr } = await new Deno.Command(program, { args: [...args] }).output();
  assert.equal(code, 0, `${program} ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
}

export interface SmallDisk extends AsyncDisposable {
  readonly path: string;
  resize(sizeMib: number): Promise<void>;
}

/** @param path is made where it is missing, and stays, empty */
export async function smallDisk(path: string, sizeMib: number): Promise<SmallDisk> {
  await Deno.mkdir(path, { recursive: true });
  await mount(["-t", "tmpfs", "-o", `size=${sizeMib}m,mode=0700`, "banger-test", path]);
  return {
    path,
    resize: (sizeMib) => mount(["-o", `remount,size=${sizeMib}m`, path]),
    [Symbol.asyncDispose]: () => mount([path], "umount"),
  };
}
