# SPDX-License-Identifier: BSD-3-Clause
"""Who is compared: each peer is a server that exports a disk over the same lower.

  file    nbdkit's file plugin over a flat image: what a server can reach at most
  ours    this plugin over the lower and an upper
  cow     nbdkit's cow filter over the file plugin: a block overlay, gone at the end
  qcow2   qemu-nbd over a qcow2 image that is backed by the lower
"""

import contextlib
import os
import pathlib
import shutil
import subprocess
from dataclasses import dataclass

import host

PEERS = ("file", "ours", "cow", "qcow2")
LIMIT = "file"
OURS = ("ours", "cache-cold", "cache-warm")  # who is this plugin
TITLES = {
    "file": "nbdkit file",
    "ours": "unionfs",
    "cow": "nbdkit cow",
    "qcow2": "qemu-nbd qcow2",
    "overlayfs": "kernel overlayfs",
    "fuse-overlayfs": "fuse-overlayfs",
    "preadv": "preadv alone",
    "one": "one layer",
    "far": "its server",
    "cache-cold": "unionfs, empty cache",
    "cache-warm": "unionfs, full cache",
}


def build_directory():
    if "BUILD_DIR" not in os.environ:
        raise host.Failure("BUILD_DIR is not set: it must name the meson build directory")
    return pathlib.Path(os.environ["BUILD_DIR"]).resolve()


def plugin():
    default = build_directory() / "plugin" / "nbdkit-unionfs-plugin.so"
    path = pathlib.Path(os.environ.get("UNIONFS_PLUGIN", default))
    if not path.exists():
        raise host.Failure(f"{path} is not there: build it first")
    return path


def unionfs_img():
    return build_directory() / "tools" / "unionfs-img"


def why_missing(peer):
    """None if the peer can run here, else the reason."""
    if peer in ("file", "ours", "cow"):
        if shutil.which("nbdkit") is None:
            return "nbdkit is not installed"
        if peer == "cow" and _fails(["nbdkit", "--filter=cow", "--dump-plugin", "file"]):
            return "nbdkit has no cow filter"
    elif peer == "qcow2":
        for program in ("qemu-nbd", "qemu-img"):
            if shutil.which(program) is None:
                return f"{program} is not installed (package qemu-utils)"
    elif peer == "overlayfs":
        if not host.has_file_system("overlay"):
            return "the kernel has no overlayfs"
    elif peer == "fuse-overlayfs" and shutil.which("fuse-overlayfs") is None:
        return "fuse-overlayfs is not installed"
    return None


def _fails(argv):
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.run(argv, check=False, **quiet).returncode != 0


def present(peers, missing):
    """Those that can run here; the others go to the list of what is missing. Without nbdkit file
    and ours there is nothing to compare."""
    here = []
    for peer in peers:
        reason = why_missing(peer)
        if reason is None:
            here.append(peer)
        else:
            missing[peer] = reason
    for needed in (LIMIT, "ours"):
        if needed not in here:
            raise host.Missing(missing[needed])
    return here


# ---- disks ---------------------------------------------------------------------


@dataclass(frozen=True)
class Disk:
    """What a peer serves: images in a directory of its own."""

    peer: str
    directory: pathlib.Path
    lower: pathlib.Path
    size_bytes: int
    flags: tuple = ()  # of nbdkit
    parameters: tuple = ()  # of nbdkit's filters
    levels: tuple = ()  # ours: sealed layers between lower and upper

    @property
    def upper(self):
        name = {"file": "flat.img", "ours": "upper.img", "qcow2": "overlay.qcow2"}
        return self.directory / name.get(self.peer, "none")

    def make(self, is_empty=False, is_link=False, cluster_size=64 * host.KIB):
        """The flat image is a copy of the lower. `is_empty`: it is a hole, as the place is that
        overlays write to. `is_link`: it is the lower, to be read only."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.upper.unlink(missing_ok=True)
        if is_link:
            os.link(self.lower, self.upper)
            return
        if self.peer == "file" and not is_empty:
            host.run(["cp", "--sparse=auto", self.lower, self.upper])
        if self.peer == "file":
            self.upper.touch()
            os.truncate(self.upper, self.size_bytes)
        if self.peer == "qcow2":
            host.run(["qemu-img", "create", "-q", "-f", "qcow2",
                      "-o", f"cluster_size={cluster_size}", "-F", "raw", "-b", self.lower,
                      self.upper, self.size_bytes])

    def command(self, socket, pid_file):
        if self.peer == "qcow2":
            return ["qemu-nbd", "--persistent", "--shared=16", f"--pid-file={pid_file}",
                    f"--socket={socket}", "--format=qcow2", self.upper]
        nbdkit = ["nbdkit", "--foreground", "--pidfile", pid_file, "--unix", socket, *self.flags]
        if self.peer == "file":
            return [*nbdkit, "file", self.upper, *self.parameters]
        if self.peer == "cow":
            return [*nbdkit, "--filter=cow", "file", self.lower]
        return [*nbdkit, plugin(), self.lower, *self.levels, self.upper, f"size={self.size_bytes}",
                "checkpoint=never"]

    def delete(self):
        shutil.rmtree(self.directory, ignore_errors=True)


@dataclass(frozen=True)
class Server:
    socket: pathlib.Path
    process: host.Process

    @property
    def uri(self):
        return f"nbd+unix:///?socket={self.socket}"


@contextlib.contextmanager
def served(disk, refused_system_call=None, wait=True):
    """Serves a disk. Its socket does not exist yet if it was not waited for."""
    disk.directory.mkdir(parents=True, exist_ok=True)
    socket, pid_file = disk.directory / "socket", disk.directory / "pid"
    for file in (socket, pid_file):
        file.unlink(missing_ok=True)
    environment = {"TMPDIR": str(disk.directory)}  # where cow keeps its blocks
    if disk.peer in OURS and os.environ.get("SANITIZE_PRELOAD"):
        environment["LD_PRELOAD"] = os.environ["SANITIZE_PRELOAD"]
    with host.running(
        disk.command(socket, pid_file),
        disk.directory / "server.log",
        environment=environment,
        refused_system_call=refused_system_call,
    ) as process:
        if wait:
            # Asking the socket would be a client that came and went.
            process.wait_until(
                lambda: pid_file.exists() and pid_file.stat().st_size > 0, "the start"
            )
        yield Server(socket, process)
