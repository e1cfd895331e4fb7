# SPDX-License-Identifier: BSD-3-Clause
"""The machine below the benchmark: processes, servers, mounts, scratch.

Whatever is started here is a context manager, so it is undone when its `with` ends:
after an error and after Ctrl-C too. Servers are in a session of their own, so that
Ctrl-C reaches us alone and they are stopped in the right order; they die with us if
we are killed.
"""

import contextlib
import ctypes
import os
import pathlib
import shutil
import signal
import struct
import subprocess
import tempfile
import time

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP = 1, 38, 22
_SECCOMP_MODE_FILTER = 2
_PATIENCE_SECONDS = 120  # for a server to start or to stop


class Failure(Exception):
    """The benchmark itself is broken: the run ends."""


class Missing(Exception):
    """This machine lacks what a part or a peer needs: it is named in the report."""


def require_programs(*names):
    for name in names:
        if shutil.which(name) is None:
            raise Missing(f"there is no {name}")


def require_fuse():
    """What `fuse_file` needs."""
    require_programs("nbdfuse", "umount")
    if os.geteuid() != 0:
        raise Missing("mounting needs root")
    if not os.path.exists("/dev/fuse"):
        raise Missing("there is no /dev/fuse")


def require_mounts():
    """What `attached` and `mounted` need besides."""
    require_fuse()
    require_programs("losetup", "mount")
    if not os.path.exists("/dev/loop-control"):
        raise Missing("there is no /dev/loop-control")
    if not has_file_system("ext2", module="ext4"):
        raise Missing("the kernel knows no ext2")


def has_file_system(name, module=None):
    def listed():
        return name in pathlib.Path("/proc/filesystems").read_text().split()

    if not listed() and os.geteuid() == 0 and shutil.which("modprobe"):
        subprocess.run(["modprobe", "-q", module or name], check=False, stderr=subprocess.DEVNULL)
    return listed()


def run(argv, **options):
    """Runs a command to its end; its standard output is returned."""
    argv = [str(word) for word in argv]
    done = subprocess.run(
        argv, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        start_new_session=True, **options
    )
    if done.returncode != 0:
        tail = (done.stderr + done.stdout).strip()[-2000:]
        raise Failure(f"{' '.join(argv)}: ended with status {done.returncode}\n{tail}")
    return done.stdout


# ---- processes -----------------------------------------------------------------


def _refuse_system_call(number):
    """A sandbox that answers one system call with EPERM (seccomp, classic BPF)."""
    load_number = struct.pack("=HBBI", 0x20, 0, 0, 0)
    is_it = struct.pack("=HBBI", 0x15, 0, 1, number)
    refuse = struct.pack("=HBBI", 0x06, 0, 0, 0x00050000 | 1)  # SECCOMP_RET_ERRNO, EPERM
    allow = struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000)
    code = ctypes.create_string_buffer(load_number + is_it + refuse + allow)
    program = ctypes.create_string_buffer(struct.pack("@HP", 4, ctypes.addressof(code)))
    _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if _LIBC.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "seccomp")


def _in_child(refused_system_call):
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if refused_system_call is not None:
        _refuse_system_call(refused_system_call)


class Process:
    """A long-running child; what it says goes to a log file."""

    def __init__(self, argv, log, environment=None, refused_system_call=None):
        self.argv = [str(word) for word in argv]
        self.log = pathlib.Path(log)
        with open(self.log, "ab") as output:
            self.child = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
                preexec_fn=lambda: _in_child(refused_system_call),
            )

    @property
    def pid(self):
        return self.child.pid

    def cpu_seconds(self):
        """User and system time of all its threads so far, to the nanosecond."""
        # The clock of another process by its number: clock_getcpuclockid(3), which python lacks.
        return time.clock_gettime(~self.pid << 3 | 2)

    def failure(self, what):
        tail = self.log.read_text(errors="replace")[-2000:]
        return Failure(f"{' '.join(self.argv)}: {what}\n{tail}")

    def wait_until(self, is_ready, what):
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not is_ready():
            if self.child.poll() is not None:
                raise self.failure(f"ended with status {self.child.returncode}")
            if time.monotonic() > deadline:
                raise self.failure(f"{what} did not happen in {_PATIENCE_SECONDS} s")
            time.sleep(0.001)

    def stop(self):
        """SIGTERM; a server that does not end well is a failure."""
        if self.child.poll() is None:
            self.child.terminate()
        try:
            status = self.child.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise self.failure("does not stop") from None
        if status != 0:
            raise self.failure(f"ended with status {status}")

    def kill(self):
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()


@contextlib.contextmanager
def running(*arguments, **options):
    """A Process that is stopped at the end, and killed if the body failed."""
    process = Process(*arguments, **options)
    try:
        yield process
    except BaseException:
        process.kill()
        raise
    process.stop()


# ---- mounts --------------------------------------------------------------------


def _mounts_below(directory):
    top = str(directory)
    places = []
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        place = line.split()[4]
        if place == top or place.startswith(top + "/"):
            places.append(place)
    return places[::-1]


def _loops_below(directory):
    if shutil.which("losetup") is None:
        return []
    listing = subprocess.run(
        ["losetup", "--list", "--noheadings", "--raw", "--output", "NAME,BACK-FILE"],
        check=False, capture_output=True, text=True,
    ).stdout
    rows = (line.split(" ", 1) for line in listing.splitlines() if " " in line)
    return [name for name, file in rows if file.startswith(f"{directory}/")]


def unmount(place):
    """The kernel may hold a mount for a moment after its last user is gone."""
    deadline = time.monotonic() + 30
    while True:
        done = subprocess.run(["umount", place], check=False, capture_output=True, text=True)
        if done.returncode == 0 or str(place) not in _mounts_below(place):
            return
        if time.monotonic() > deadline:
            raise Failure(f"umount {place}: {done.stderr.strip()}")
        time.sleep(0.02)


@contextlib.contextmanager
def mounted(source, place, kind="ext2", options=None):
    place.mkdir(parents=True, exist_ok=True)
    run(["mount", "-t", kind, *(["-o", options] if options else []), source, place])
    try:
        yield place
    finally:
        unmount(place)


@contextlib.contextmanager
def fuse_file(socket, directory):
    """The export as a file (nbdfuse)."""
    directory.mkdir(parents=True, exist_ok=True)
    pid_file = directory.with_suffix(".pid")
    pid_file.unlink(missing_ok=True)
    process = Process(
        ["nbdfuse", "-P", pid_file, directory, f"nbd+unix:///?socket={socket}"],
        directory.with_suffix(".log"),
    )
    try:
        process.wait_until(
            lambda: pid_file.exists() and (directory / "nbd").exists(), "the FUSE mount"
        )
        yield directory / "nbd"
        unmount(directory)
        process.child.wait(_PATIENCE_SECONDS)
    finally:
        if str(directory) in _mounts_below(directory):
            subprocess.run(["umount", "-l", directory], check=False)
        process.kill()


@contextlib.contextmanager
def attached(socket, directory, read_only=False):
    """The export as a block device (nbdfuse and a loop device)."""
    with fuse_file(socket, directory) as file:
        mode = ["--read-only"] if read_only else []
        device = run(["losetup", "--find", "--show", *mode, file]).strip()
        try:
            yield device
        finally:
            run(["losetup", "--detach", device])


# ---- scratch -------------------------------------------------------------------


def _sweep(directory):
    """For what an interrupted undoing left: mounts hold loop devices, and they FUSE."""
    for _ in range(3):
        for place in _mounts_below(directory):
            subprocess.run(["umount", place], check=False, stderr=subprocess.DEVNULL)
        for device in _loops_below(directory):
            subprocess.run(["losetup", "-d", device], check=False, stderr=subprocess.DEVNULL)
        if not _mounts_below(directory):
            return
        time.sleep(0.2)
    for place in _mounts_below(directory):
        subprocess.run(["umount", "-l", place], check=False, stderr=subprocess.DEVNULL)


@contextlib.contextmanager
def scratch(parent):
    directory = pathlib.Path(tempfile.mkdtemp(prefix="unionfs-bench.", dir=parent)).resolve()
    try:
        yield directory
    finally:
        _sweep(directory)
        if _mounts_below(directory):
            raise Failure(f"still mounted below {directory}; nothing there was deleted")
        shutil.rmtree(directory)


def free_bytes(directory):
    """Room in a directory; in a tmpfs that is also bounded by free memory."""
    status = os.statvfs(directory)
    room = status.f_bavail * status.f_frsize
    return min(room, memory_available()) if is_tmpfs(directory) else room


def is_tmpfs(directory):
    kind = run(["stat", "--file-system", "--format=%T", directory])
    return kind.strip() in ("tmpfs", "ramfs")


def memory_available():
    return meminfo("MemAvailable")


def meminfo(field):
    for line in pathlib.Path("/proc/meminfo").read_text().splitlines():
        name, value = line.split(":")
        if name == field:
            return int(value.split()[0]) * KIB
    raise Failure(f"/proc/meminfo has no {field}")


def sync(directory):
    run(["sync", "--file-system", directory])


def forget_cached(*files):
    """Drops the host's cached pages of files, as `drop_caches` does for all of them."""
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def smaps(pid):
    """Pss, Private (clean and dirty) and Rss of a process, in bytes."""
    sums = {}
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value = line.split(":")
        sums[name] = int(value.split()[0]) * KIB
    return {
        "pss": sums["Pss"],
        "private": sums["Private_Clean"] + sums["Private_Dirty"],
        "rss": sums["Rss"],
    }
