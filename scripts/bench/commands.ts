import { BIN_DIRECTORY } from "../build.ts";

export const BANGER = `${BIN_DIRECTORY}/banger`;

/** Added to the environment that this process has. */
type Environment = Readonly<Record<string, string>>;

/** Runs to the end, output thrown away. @throws where it fails */
export async function run(program: string, args: readonly string[], env: Environment = {}): Promise<void> {
  const child = new Deno.Command(program, {
    args: [...args],
    env,
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  });
  const { code, stderr } = await child.output();
  if (code !== 0) {
    throw new Error(`${program} ${args.join(" ")} exited ${code}: ${new TextDecoder().decode(stderr)}`);
  }
}

export async function read(
  program: string,
  args: readonly string[],
  env: Environment = {},
): Promise<string> {
  const child = new Deno.Command(program, {
    args: [...args],
    env,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  });
  const { code, stdout, stderr } = await child.output();
  if (code !== 0) {
    throw new Error(`${program} ${args.join(" ")} exited ${code}: ${new TextDecoder().decode(stderr)}`);
  }
  return new TextDecoder().decode(stdout);
}

/** @returns what it prints. @throws where it fails */
export const runBanger = (args: readonly string[]) => read(BANGER, args);

export interface ShownVm {
  readonly id: string;
  readonly vmm: { readonly pid: number };
  readonly agent: { readonly kind: "hybrid"; readonly path: string };
  readonly ssh: {
    readonly identityFile: string;
    readonly knownHostsFile: string;
    readonly hostKeyAlias: string;
  };
}

export async function showVm(name: string): Promise<ShownVm> {
  return JSON.parse(await read(BANGER, ["vm", "show", name, "--json"])) as ShownVm;
}

export function removing(name: string): AsyncDisposable {
  return { [Symbol.asyncDispose]: () => run(BANGER, ["vm", "rm", "--force", "--purge", "--quiet", name]) };
}
