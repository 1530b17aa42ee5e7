"""What a guest's kernel must be able to do, each thing done for real. Runs as root inside a guest.

    python3 feature_check.py TOOLS_DIRECTORY

TOOLS_DIRECTORY holds `nft` (a wrapper) and `test.erofs`. Prints a line for each feature: ok or MISSING, its name,
what was seen, separated by tabs. Everything is done in a directory and in namespaces of its own.
"""

import contextlib
import ctypes
import mmap
import os
import select
import socket
import struct
import subprocess
import sys
import tempfile
import time

TOOLS = sys.argv[1]
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
SYS = {"prctl": 157, "bpf": 321, "io_uring_setup": 425, "io_uring_enter": 426, "landlock_create_ruleset": 444}
CHECKS = []

def feature(name):
    def add(check):
        CHECKS.append((name, check))
        return check

    return add

def called(result, what):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result

def syscall(name, *arguments):
    return called(LIBC.syscall(SYS[name], *arguments), name)

def mount(source, target, kind, flags=0, options=""):
    called(LIBC.mount(source.encode(), target.encode(), kind.encode(), flags, options.encode()), f"mount {kind}")

def unmount(target):
    called(LIBC.umount2(target.encode(), 2), f"umount {target}")

@contextlib.contextmanager
def looped(image, target, options="loop"):
    """The image's file system, mounted by way of a loop device and gone afterwards."""
    run("mount", "-o", options, image, target)
    try:
        yield
    finally:
        unmount(target)

def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout.strip()

def read(path):
    with open(path) as file:
        return file.read().strip()

def expect(condition, what):
    if not condition:
        raise RuntimeError(what)

def directory(name):
    path = os.path.join(WORK, name)
    os.makedirs(path, exist_ok=True)
    return path

def in_child(act):
    """Runs act in a process of its own; what it raises is raised here."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            act()
        except BaseException as thrown:
            os.write(writing, str(thrown).encode() or b"it failed")
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as problem:
        text = problem.read()
    expect(text == "", text)

@feature("PVH entry")
def pvh():
    loader = int(read("/proc/sys/kernel/bootloader_type"))
    expect(loader & 0xF0 == 0xB0, f"boot loader {loader:#x}, PVH is 0xb0")
    return f"boot loader type {loader:#x}"

@feature("virtio over MMIO")
def virtio_mmio():
    devices = [name for name in os.listdir("/sys/bus/platform/drivers/virtio-mmio") if name.startswith(("LNRO", "virtio"))]
    expect(devices, "no device is bound to virtio-mmio")
    kinds = sorted({os.path.basename(os.readlink(f"/sys/bus/virtio/devices/{name}/driver"))
                    for name in os.listdir("/sys/bus/virtio/devices")
                    if os.path.exists(f"/sys/bus/virtio/devices/{name}/driver")})
    return f"{len(devices)} devices: {', '.join(kinds)}"

@feature("ext4")
def ext4():
    disk, target = os.path.join(WORK, "ext4.img"), directory("ext4")
    with open(disk, "wb") as file:
        file.truncate(16 << 20)
    run("mke2fs", "-q", "-t", "ext4", disk)
    with looped(disk, target):
        with open(f"{target}/file", "w") as file:
            file.write("kept")
            file.flush()
            os.fsync(file.fileno())
        os.setxattr(f"{target}/file", "user.colour", b"red")
    with looped(disk, target, "loop,ro"):
        expect(read(f"{target}/file") == "kept", "the file is not what was written")
    return "made, written, mounted again from a loop device"

@feature("overlay")
def overlay():
    base = directory("overlay")
    mount("tmpfs", base, "tmpfs")
    try:
        for name in ("lower", "upper", "work", "merged"):
            os.mkdir(f"{base}/{name}")
        with open(f"{base}/lower/below", "w") as file:
            file.write("below")
        mount("overlay", f"{base}/merged", "overlay", 0, f"lowerdir={base}/lower,upperdir={base}/upper,workdir={base}/work")
        os.unlink(f"{base}/merged/below")
        with open(f"{base}/merged/new", "w") as file:
            file.write("new")
        expect(os.path.exists(f"{base}/upper/new") and os.path.exists(f"{base}/lower/below"), "changes went elsewhere")
        unmount(f"{base}/merged")
    finally:
        unmount(base)
    return "a whiteout and a new file in the upper directory"

@feature("erofs")
def erofs():
    target = directory("erofs")
    with looped(os.path.join(TOOLS, "test.erofs"), target, "loop,ro"):
        expect(read(f"{target}/hello") == "from erofs", "its file reads as something else")
    return "an image of mkfs.erofs, compressed by lz4, read"

@feature("vsock")
def vsock():
    server = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    server.bind((socket.VMADDR_CID_ANY, 5123))
    server.listen(1)
    client = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    client.connect((1, 5123))
    accepted, (cid, _) = server.accept()
    client.sendall(b"over vsock")
    expect(accepted.recv(64) == b"over vsock", "other bytes arrived")
    expect(os.path.isdir("/sys/bus/virtio/drivers/vmw_vsock_virtio_transport"), "the virtio transport has no driver")
    return f"a stream over loopback (CID {cid}); the virtio transport's driver is there"

class Namespaces:
    """left (10.91.1.2) and right (10.91.2.2), each by a veth to this one, which forwards."""

    def __enter__(self):
        for name, net in (("left", 1), ("right", 2)):
            run("ip", "netns", "add", f"check-{name}")
            run("ip", "link", "add", f"ck-{name}", "type", "veth", "peer", "name", "eth0", "netns", f"check-{name}")
            run("ip", "address", "add", f"10.91.{net}.1/24", "dev", f"ck-{name}")
            run("ip", "link", "set", f"ck-{name}", "up")
            inside = ("ip", "-n", f"check-{name}")
            run(*inside, "address", "add", f"10.91.{net}.2/24", "dev", "eth0")
            run(*inside, "link", "set", "eth0", "up")
            run(*inside, "route", "add", "default", "via", f"10.91.{net}.1")
        with open("/proc/sys/net/ipv4/ip_forward", "w") as file:
            file.write("1")
        return self

    def __exit__(self, *_):
        for name in ("left", "right"):
            subprocess.run(["ip", "netns", "delete", f"check-{name}"], check=False)
            subprocess.run(["ip", "link", "delete", f"ck-{name}"], check=False, stderr=subprocess.DEVNULL)

SERVE = "import socket;s=socket.create_server(('10.91.2.2',80));print('up',flush=True);print(s.accept()[1][0])"

@feature("nftables and NAT")
def nftables():
    nft = os.path.join(TOOLS, "nft")
    rules = """table ip check {
      chain out { type nat hook postrouting priority srcnat; ip saddr 10.91.1.0/24 masquerade; }
      chain seen { type filter hook forward priority filter; ct state new counter accept; }
    }"""
    with Namespaces():
        run(nft, "-f", "-", input=rules)
        try:
            server = subprocess.Popen(["ip", "netns", "exec", "check-right", "python3", "-c", SERVE],
                                      stdout=subprocess.PIPE, text=True)
            expect(server.stdout.readline() == "up\n", "the server did not start")
            run("ip", "netns", "exec", "check-left", "python3", "-c",
                "import socket;socket.create_connection(('10.91.2.2',80),20)")
            peer = server.stdout.readline().strip()
            server.wait()
            expect(peer == "10.91.2.1", f"the server saw {peer}")
            listed = run(nft, "list", "table", "ip", "check")
            expect("counter packets 1 " in listed, f"the counter counted something else: {listed}")
        finally:
            run(nft, "delete", "table", "ip", "check")
    return "a connection between two namespaces, masqueraded and counted"

@feature("bridge, veth, network namespaces")
def bridge():
    try:
        run("ip", "link", "add", "ck-bridge", "type", "bridge")
        run("ip", "link", "set", "ck-bridge", "up")
        for number in (1, 2):
            run("ip", "netns", "add", f"check-{number}")
            run("ip", "link", "add", f"ck-{number}", "type", "veth", "peer", "name", "eth0", "netns", f"check-{number}")
            run("ip", "link", "set", f"ck-{number}", "master", "ck-bridge", "up")
            run("ip", "-n", f"check-{number}", "address", "add", f"10.92.0.{number}/24", "dev", "eth0")
            run("ip", "-n", f"check-{number}", "link", "set", "eth0", "up")
        run("ip", "netns", "exec", "check-1", "ping", "-c", "1", "-W", "20", "10.92.0.2")
    finally:
        for number in (1, 2):
            subprocess.run(["ip", "netns", "delete", f"check-{number}"], check=False)
        subprocess.run(["ip", "link", "delete", "ck-bridge"], check=False)
    return "a ping between two namespaces, through a bridge"

@feature("tun and tap")
def tun():
    import fcntl

    seen = []
    for kind, name in ((0x1001, b"ck-tun"), (0x1002, b"ck-tap")):  # IFF_NO_PI with IFF_TUN, IFF_TAP
        with open("/dev/net/tun", "r+b", buffering=0) as device:
            fcntl.ioctl(device, 0x400454CA, struct.pack("16sH22x", name, kind))  # TUNSETIFF
            run("ip", "address", "add", "10.93.0.1/24", "dev", name.decode())
            run("ip", "link", "set", name.decode(), "up")
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sender.sendto(b"through the device", ("10.93.0.2", 9))
            for _ in range(20):
                packet = device.read(2048)
                # To a tap the question for the address comes first.
                if b"through the device" in packet or packet[12:14] == b"\x08\x06":
                    seen.append(name.decode())
                    break
    expect(len(seen) == 2, f"packets came only from {seen}")
    return "what the guest sends comes out of both"

@feature("fuse")
def fuse():
    target = directory("fuse")
    device = os.open("/dev/fuse", os.O_RDWR)
    mount("check", target, "fuse", 0, f"fd={device},rootmode=40000,user_id=0,group_id=0")
    asking = subprocess.Popen(["stat", "-c", "%i %a %s", target], stdout=subprocess.PIPE, text=True)
    try:
        while asking.poll() is None:
            expect(select.select([device], [], [], 60)[0], "no request for a minute")
            request = os.read(device, 1 << 17)
            _, opcode, unique = struct.unpack_from("IIQ", request)
            if opcode == 26:  # FUSE_INIT: major, minor, readahead, flags, ...
                answer = struct.pack("IIIIHHIIHHI", 7, 31, 65536, 0, 8, 6, 65536, 1, 0, 0, 0) + bytes(28)
            elif opcode == 3:  # FUSE_GETATTR
                attributes = struct.pack("QQQQQQIIIIIIIIII", 1, 4242, 0, 0, 0, 0, 0, 0, 0, 0o40751, 2, 0, 0, 0, 512, 0)
                answer = struct.pack("QII", 60, 0, 0) + attributes
            else:
                os.write(device, struct.pack("IiQ", 16, -38, unique))  # ENOSYS
                continue
            os.write(device, struct.pack("IiQ", 16 + len(answer), 0, unique) + answer)
            if opcode == 3:
                break
        answered = asking.communicate(timeout=60)[0].strip()
    finally:
        unmount(target)
        os.close(device)
    expect(answered == "1 751 4242", f"stat saw {answered!r}")
    return "a file system of this program's own answered stat"

@feature("cgroup v2 controllers")
def cgroup():
    root = "/sys/fs/cgroup"
    controllers = read(f"{root}/cgroup.controllers").split()
    missing = {"cpu", "cpuset", "io", "memory", "pids"} - set(controllers)
    expect(not missing, f"without {', '.join(sorted(missing))}")
    with open(f"{root}/cgroup.subtree_control", "w") as file:
        file.write("+memory +pids +cpu")
    group = f"{root}/check"
    os.mkdir(group)
    try:
        with open(f"{group}/memory.max", "w") as file:
            file.write(str(32 << 20))
        greedy = f"echo $$ > {group}/cgroup.procs; exec python3 -c 'len(b\"x\" * (256 << 20))'"
        done = subprocess.run(["sh", "-c", greedy], capture_output=True, check=False)
        kills = dict(line.split() for line in read(f"{group}/memory.events").splitlines())["oom_kill"]
        expect(done.returncode in (-9, 137) and int(kills) > 0, f"256 MiB under memory.max=32M ended with {done.returncode}")
        with open(f"{group}/pids.max", "w") as file:
            file.write("1")
        done = subprocess.run(["sh", "-c", f"echo $$ > {group}/cgroup.procs; /bin/true; :"], capture_output=True, check=False)
        expect(done.returncode != 0, "a second process under pids.max=1")
    finally:
        os.rmdir(group)
    return f"{' '.join(controllers)}; memory.max and pids.max held"

@feature("BPF")
def bpf():
    # r0 = 0; exit: a socket filter that lets nothing through.
    code = ctypes.create_string_buffer(struct.pack("<BBhi", 0xB7, 0, 0, 0) + struct.pack("<BBhi", 0x95, 0, 0, 0))
    licence = ctypes.create_string_buffer(b"GPL")
    attributes = struct.pack("<IIQQ", 1, 2, ctypes.addressof(code), ctypes.addressof(licence)) + bytes(96)
    program = syscall("bpf", 5, ctypes.create_string_buffer(attributes), len(attributes))
    receiver, sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.setblocking(False)
    sender.send(b"before")
    expect(receiver.recv(64) == b"before", "nothing arrived without a filter")
    receiver.setsockopt(socket.SOL_SOCKET, 50, program)  # SO_ATTACH_BPF
    sender.setblocking(False)
    try:
        sender.send(b"after")
    except OSError:
        pass  # some versions tell the sender
    try:
        raise RuntimeError(f"{receiver.recv(64)!r} passed the filter")
    except BlockingIOError:
        pass
    return "a socket filter loaded and in effect"

@feature("io_uring")
def io_uring():
    parameters = ctypes.create_string_buffer(120)
    ring = syscall("io_uring_setup", 4, parameters)
    numbers = struct.unpack("30I", parameters.raw)
    sq, cq = numbers[10:20], numbers[20:30]
    submission = mmap.mmap(ring, sq[6] + 4 * numbers[0], offset=0)
    completion = mmap.mmap(ring, cq[5] + 16 * numbers[1], offset=0x8000000)
    entries = mmap.mmap(ring, 64 * numbers[0], offset=0x10000000)
    entries[0:64] = struct.pack("BBHiQQIIQ", 0, 0, 0, -1, 0, 0, 0, 0, 0xCAFE) + bytes(24)  # IORING_OP_NOP
    struct.pack_into("I", submission, sq[6], 0)
    struct.pack_into("I", submission, sq[1], 1)
    expect(syscall("io_uring_enter", ring, 1, 1, 1, None, 0) == 1, "nothing was submitted")
    user_data, result = struct.unpack_from("Qi", completion, cq[5])
    expect((user_data, result) == (0xCAFE, 0), f"completed with {user_data:#x}, {result}")
    os.close(ring)
    return "a request submitted and completed"

@feature("user, PID, mount, time namespaces")
def namespaces():
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "unshare", "--user", "--map-root-user",
               "--pid", "--fork", "--mount-proc", "--ipc", "--uts", "--net", "--time", "sh", "-c", "id -u; echo $$"]
    expect(run(*command).split() == ["0", "1"], "not root and process 1 inside")
    return "an ordinary user is root and process 1 in their own"

@feature("seccomp")
def seccomp():
    def act():
        number = 110  # getppid
        filters = struct.pack("HBBI", 0x20, 0, 0, 0) + struct.pack("HBBI", 0x15, 0, 1, number)
        filters += struct.pack("HBBI", 0x06, 0, 0, 0x00050000 | 13) + struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000)
        code = ctypes.create_string_buffer(filters)
        program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", 4, ctypes.addressof(code)))
        syscall("prctl", 38, 1, 0, 0, 0)
        syscall("prctl", 22, 2, program)
        expect(LIBC.syscall(number) == -1 and ctypes.get_errno() == 13, "getppid was not refused")

    in_child(act)
    return "a filter refuses getppid"

@feature("landlock")
def landlock():
    return f"ABI {syscall('landlock_create_ruleset', None, 0, 1)}"

@feature("modules on demand")
def modules():
    found = []
    for name in ("btrfs", "xfs", "wireguard", "dm_crypt", "squashfs", "vfat"):
        run("modprobe", name)
        found.append(name)
    run("ip", "link", "add", "ck-wg", "type", "wireguard")
    run("ip", "link", "delete", "ck-wg")
    return ", ".join(found)

@feature("systemd without a failed unit")
def systemd():
    state = subprocess.run(["systemctl", "is-system-running", "--wait"], capture_output=True, text=True, check=False)
    failed = run("systemctl", "list-units", "--failed", "--plain", "--no-legend")
    expect(state.stdout.strip() == "running" and not failed, f"{state.stdout.strip()}: {failed}")
    return "running"

def main():
    for name, check in CHECKS:
        began = time.monotonic()
        try:
            verdict, seen = "ok", check()
        except Exception as thrown:
            verdict, seen = "MISSING", f"{type(thrown).__name__}: {thrown}"
        text = " ".join(str(seen).split())[:300]
        print(f"{verdict}\t{name}\t{text}\t{1000 * (time.monotonic() - began):.0f}", flush=True)

with tempfile.TemporaryDirectory() as WORK:
    main()
