"""Plays Firecracker's jailer: its arguments are checked against the documented ones (docs/jailer.md, 1.16), what it
needs of the host is checked, and then it becomes the fake Firecracker, which sees the jail's root as its own. Changes
no root and no user: what may be read by whom is checked by owner and mode instead.

fake_jailer.py FAKE-FIRECRACKER-WORDS... --- JAILER-ARGUMENTS...
"""
import argparse, os, stat, sys

words, given = sys.argv[1:sys.argv.index("---")], sys.argv[sys.argv.index("---") + 1:]
parser = argparse.ArgumentParser(allow_abbrev=False)
for name in ("id", "exec-file", "uid", "gid"):
    parser.add_argument(f"--{name}", required=True)
parser.add_argument("--chroot-base-dir", default="/srv/jailer")
parser.add_argument("--cgroup-version", choices=["1", "2"], default="1")
parser.add_argument("--cgroup", action="append", default=[])
for name in ("parent-cgroup", "netns", "resource-limit"):
    parser.add_argument(f"--{name}")
for name in ("daemonize", "new-pid-ns"):
    parser.add_argument(f"--{name}", action="store_true")
own, extra = given[:given.index("--")], given[given.index("--") + 1:]
args = parser.parse_args(own)


def refuse(why):
    sys.exit(f"jailer: {why}")


name = os.path.basename(args.exec_file)
if "firecracker" not in name:
    refuse("the exec file's name does not contain firecracker")
if not (0 < len(args.id) <= 64 and args.id.replace("-", "").isalnum()):
    refuse("invalid id")
if any("=" not in cgroup for cgroup in args.cgroup):
    refuse("a cgroup is no file=value")
root = f"{args.chroot_base_dir}/{name}/{args.id}/root"
os.makedirs(root, exist_ok=True)
uid = int(args.uid)
for entry in os.scandir(root):
    info = entry.stat(follow_symlinks=False)
    if info.st_uid != uid and not info.st_mode & stat.S_IROTH:
        refuse(f"{entry.name} could not be read by user {uid}")
os.chown(root, uid, int(args.gid))
if args.parent_cgroup and args.cgroup:
    # Where the test says that cgroup v2 is mounted: beside the jail.
    os.makedirs(f"{os.path.dirname(args.chroot_base_dir)}/cgroup/{args.parent_cgroup}/{args.id}", exist_ok=True)
os.execv(words[0], [*words, *extra, f"--id={args.id}", "--jail-root", root])
