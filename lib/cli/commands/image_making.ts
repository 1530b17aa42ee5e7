/** Commands that make images, or look at how one was made. */
import type { PullImage } from "../../api/contract.ts";
import { BangerError } from "../../base/errors.ts";
import { absoluteImageSource } from "../../base/image_source.ts";
import { formatBytes, parseSizeBytes } from "../../base/units.ts";
import { type Command, type Context, flag, type Input, requiredArgument, textOption } from "../command.ts";
import { print, printJson } from "../output.ts";
import { imageParam } from "./image_param.ts";
import { carryOut, QUIET_OPTION } from "../progress.ts";

const IMAGE_ARGUMENT = { name: "image", summary: "its name", completes: "image" } as const;

const pull: Command = {
  path: ["image", "pull"],
  summary: "fetch an image and make it bootable",
  details: `Makes a bootable disk of an image and prints its name. The image is one of

  NAME                        of the catalog: banger image list --available
  [REGISTRY/]NAME[:TAG][@DIGEST]
                              of a registry; with a slash, a tag or a digest: alpine:3.20
  oci:DIR[:TAG]               an OCI image-layout
  oci-archive:FILE[:TAG]      an archive of one
  docker-archive:FILE[:TAG]   what docker save writes
  tar:FILE                    a root file system

Without --name the name comes from the last part and the tag: docker.io/library/alpine:3.20 is alpine-3.20. What is
here already, by its digest, is not made again.`,
  arguments: [{ name: "image", summary: "a name, a reference or a path" }],
  options: [
    { flags: "-n, --name <name>", summary: "what to call it here" },
    { flags: "--platform <platform>", summary: "os/architecture[/variant] (default: this host's)" },
    {
      flags: "--size <size>",
      summary: "of the disk (default: the content and a quarter, at least 1G); it takes only what is written",
    },
    QUIET_OPTION,
  ],
  async run(context, input) {
    const client = await context.daemon.connect();
    const name = await carryOut(
      { context, client, input },
      client.v1.images.pull.$post({ json: pullRequest(context, input) }),
    );
    await print(context.terminal, name);
    return 0;
  },
};

function pullRequest({ absolutePath }: Context, input: Input): PullImage {
  const size = textOption(input, "size");
  const name = textOption(input, "name");
  const platform = textOption(input, "platform");
  return {
    image: absoluteImageSource(requiredArgument(input, 0), absolutePath("").replace(/\/$/, "")),
    ...(name === undefined ? {} : { name: name as PullImage["name"] }),
    ...(platform === undefined ? {} : { platform }),
    ...(size === undefined ? {} : { sizeBytes: parseSizeBytes(size) }),
  };
}

const register: Command = {
  path: ["image", "register"],
  summary: "use an ext4 file as an image, where it lies",
  details:
    "The file stays yours and must not change while it is registered. It must hold banger's agent: what " +
    "banger itself made does.",
  arguments: [{ name: "name", summary: "what to call it" }],
  options: [
    { flags: "--rootfs <file>", summary: "the ext4 file" },
    {
      flags: "--kernel <kernel>",
      summary: "what its VMs boot with unless they name another (default: debian)",
    },
    QUIET_OPTION,
  ],
  async run(context, input) {
    const rootfs = textOption(input, "rootfs");
    if (rootfs === undefined) {
      throw new BangerError(
        "invalid_argument",
        "Cannot register an image: --rootfs is missing",
        "Write banger image register NAME --rootfs FILE",
      );
    }
    const client = await context.daemon.connect();
    const kernel = textOption(input, "kernel");
    const name = await carryOut(
      { context, client, input },
      client.v1.images.register.$post({
        json: {
          name: requiredArgument(input, 0),
          rootfs: context.absolutePath(rootfs),
          ...(kernel === undefined ? {} : { kernel }),
        },
      }),
    );
    await print(context.terminal, name);
    return 0;
  },
};

const promote: Command = {
  path: ["image", "promote"],
  summary: "copy a registered image's file, so that banger owns the image",
  arguments: [IMAGE_ARGUMENT],
  options: [QUIET_OPTION],
  async run(context, input) {
    const client = await context.daemon.connect();
    const param = imageParam(requiredArgument(input, 0));
    await carryOut({ context, client, input }, client.v1.images[":name"].promote.$post({ param }));
    return 0;
  },
};

const verify: Command = {
  path: ["image", "verify"],
  summary: "make an image once more and compare every byte",
  arguments: [IMAGE_ARGUMENT],
  options: [QUIET_OPTION],
  async run(context, input) {
    const client = await context.daemon.connect();
    const param = imageParam(requiredArgument(input, 0));
    const name = await carryOut(
      { context, client, input },
      client.v1.images[":name"].verify.$post({ param }),
    );
    await print(context.terminal, `${name} is what its source gives`);
    return 0;
  },
};

const prune: Command = {
  path: ["image", "prune"],
  summary: "remove downloaded content that no image needs",
  options: [
    {
      flags: "--all",
      summary: "also what images were made from: they stay, but verify needs their source again",
    },
    { flags: "--json", summary: "as JSON" },
  ],
  async run({ daemon, terminal }, input) {
    const client = await daemon.connect();
    const pruned = await (await client.v1.images.prune.$post({ json: { all: flag(input, "all") } })).json();
    if (flag(input, "json")) await printJson(terminal, pruned);
    else await print(terminal, `${formatBytes(pruned.freedBytes)} freed`);
    return 0;
  },
};

export const IMAGE_MAKING_COMMANDS: readonly Command[] = [pull, register, promote, verify, prune];
