/** A daemon's part in the names of its host, as a process of its own: it tells when it has looked, and waits. */
import { HostNames } from "../../../lib/daemon/host_names.ts";
import { realHost } from "../../../lib/sys/host.ts";

const onHost = new HostNames(realHost(), {
  ...{ address: "127.0.0.1", port: 42069, uid: 1, owner: "/nowhere" },
  isServing: () => true,
  records: () => [],
});
await onHost.refresh();
console.log(onHost.linkProblem ?? "no problem");
await onHost.run(new AbortController().signal);
