/** How a machine must end: by itself, and with disks that e2fsck finds nothing wrong with. */
import assert from "node:assert/strict";

/** Runs banger with these arguments and expects success. @returns stdout */
export type RunBanger = (args: readonly string[]) => Promise<string>;

/**
 * Stops it as a user would, and looks at its disks.
 *
 * @param stateDirectory banger's
 * @param directory for a copy of the root disk, where it is an overlay
 */
export async function stopCleanly(
  run: RunBanger,
  stateDirectory: string,
  name: string,
  directory: string,
): Promise<void> {
  await run(["vm", "stop", name]);
  const { id, lastExit, rootDisk } = JSON.parse(await run(["vm", "show", name, "--json"]));
  assert.equal(lastExit, "shut down");
  const disks = `${stateDirectory}/vms/${id}`;
  await assertCleanFilesystem(`${disks}/work.raw`);
  if (rootDisk !== "qcow2") return await assertCleanFilesystem(`${disks}/root.raw`);
  const flat = `${directory}/${name}.raw`;
  const args = ["convert", "-f", "qcow2", "-O", "raw", `${disks}/root.qcow2`, flat];
  const { code, stderr } = await new Deno.Command("qemu-img", { args }).output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
  await assertCleanFilesystem(flat);
  await Deno.remove(flat);
}

/** e2fsck's verdict on a disk that nobody has open. */
export async function assertCleanFilesystem(path: string): Promise<void> {
  const { code, stdout, stderr } = await new Deno.Command("e2fsck", { args: ["-fn", path] }).output();
  const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  assert.equal(code, 0, `e2fsck -fn ${path}:\n${text}`);
}
