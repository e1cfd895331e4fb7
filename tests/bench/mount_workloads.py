# SPDX-License-Identifier: BSD-3-Clause
"""What a person does in a mounted tree, timed: the disk comes through nbdfuse and a loop
device, on the same path for each peer.

The file unions get that path too: their lower is the lower image, read-only, and their
upper an empty ext2 image, both served by nbdkit file. Each figure begins with a fresh mount, so
the client's caches are cold, and ends when the file system is synced.
"""

import contextlib
import errno
import os
import pathlib
import shutil
import subprocess
import time
from dataclasses import dataclass
from typing import Callable

import host
import images
import peers
import report

_LONG_SECONDS = 5  # what takes longer is measured once
PEERS = (*peers.PEERS, "overlayfs", "fuse-overlayfs")
LARGE_FILE, TREE, REPOSITORY = "large", "tree", "repository"
NOTES = (
    "every peer serves the same image with free space in it; overlayfs and fuse-overlayfs "
    "have two (lower and upper), with their default options",
    "a rename that the file system refuses (EXDEV) is done by mv, as users do",
    f"what takes a peer more than {_LONG_SECONDS} s is measured once",
)


def _quietly(*argv, **options):
    host.run(argv, **options)


def unpack(top, content):
    place = top / "unpacked"
    place.mkdir()
    _quietly("tar", "--extract", "--file", content / "tree.tar", "--directory", place)


def git_status(top, _):
    _quietly("git", "-c", f"safe.directory={top / REPOSITORY}", "-C", top / REPOSITORY, "status",
             "--short")


def find(top, _):
    _quietly("find", top, "-type", "f", "-printf", "%s %p\n")


def remove(top, _):
    _quietly("rm", "-r", top / TREE)


def one_byte(top, _):
    with open(top / LARGE_FILE, "r+b") as file:
        file.seek(os.path.getsize(top / LARGE_FILE) // 2 + 1)
        file.write(b"!")


def rename(top, _):
    try:
        os.rename(top / TREE, top / "renamed")
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _quietly("mv", top / TREE, top / "renamed")


@dataclass(frozen=True)
class Workload:
    name: str
    title: str
    action: Callable
    lower: str = "trees"  # or "large", which has nothing but a large file
    in_short: bool = False


WORKLOADS = (
    Workload("unpack", "unpack a source tree", unpack, in_short=True),
    Workload("git-status", "git status of a big tree", git_status),
    Workload("find", "find, with sizes", find),
    Workload("remove", "rm -r of a tree", remove),
    Workload("one-byte", "one byte into a large file", one_byte, lower="large", in_short=True),
    Workload("rename", "rename a big directory", rename),
)


# ---- disks ---------------------------------------------------------------------


@dataclass(frozen=True)
class Lower:
    path: pathlib.Path
    size_bytes: int


def _image_of(content, path, inode_count):
    """The content as an image with room for as much again."""
    used = int(host.run(["du", "-sk", content]).split()[0]) * host.KIB
    size_bytes = (used * 2 // host.MIB + 128) * host.MIB
    images.make_ext2(path, size_bytes, content, inode_count)
    shutil.rmtree(content)
    return Lower(path, size_bytes)


def make_lower_with_trees(directory, settings):
    """A source tree, another one under git, and beside the image the first as a tar file."""
    content = directory / "trees"
    images.make_source_tree(content / TREE, settings.file_count)
    _quietly("tar", "--create", "--file", directory / "tree.tar", "--directory", content, TREE)
    repository = images.make_source_tree(content / REPOSITORY, settings.file_count, seed=2)
    git = ["git", "-C", repository, "-c", "user.name=bench", "-c", "user.email=bench@localhost"]
    _quietly(*git, "init", "--quiet")
    _quietly(*git, "add", "--all")
    _quietly(*git, "-c", "gc.auto=0", "commit", "--quiet", "--message", "a tree")
    lower = _image_of(content, directory / "trees.img", settings.file_count * 5 + 2048)
    # In the image the files have other inode numbers than those git noted.
    with host.mounted(lower.path, directory / "lower", options="loop") as top:
        git_status(top, directory)
    images.fill_holes(lower.path)
    return lower


def make_lower_with_large_file(directory, settings):
    content = directory / "large"
    content.mkdir()
    images.write_noise(content / LARGE_FILE, settings.large_file_bytes)
    return _image_of(content, directory / "large.img", 1024)


@contextlib.contextmanager
def mounted_export(disk, label="", read_only=False):
    """The tree of a served disk. Its server ends with the mount."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(peers.served(disk))
        device = stack.enter_context(
            host.attached(server.socket, disk.directory / f"fuse{label}", read_only)
        )
        options = "ro" if read_only else None
        yield stack.enter_context(
            host.mounted(device, disk.directory / f"tree{label}", options=options)
        )


@contextlib.contextmanager
def mounted_union(peer, directory, lower):
    """A union of files, both sides of it on the path that the disks have."""
    size = lower.size_bytes
    below = peers.Disk("file", directory / "below", lower.path, size, flags=("--readonly",))
    above = peers.Disk("file", directory / "above", lower.path, size)
    below.make(is_link=True)
    (above.directory / "empty").mkdir(parents=True)
    images.make_ext2(above.upper, size, above.directory / "empty", size // host.MIB * 16)
    with contextlib.ExitStack() as stack:
        lower_tree = stack.enter_context(mounted_export(below, read_only=True))
        upper_tree = stack.enter_context(mounted_export(above))
        for name in ("upper", "work"):
            (upper_tree / name).mkdir()
        options = (f"lowerdir={lower_tree},upperdir={upper_tree / 'upper'},"
                   f"workdir={upper_tree / 'work'}")
        if peer == "overlayfs":
            yield stack.enter_context(
                host.mounted("overlay", directory / "union", "overlay", options)
            )
        else:
            yield stack.enter_context(_fuse_overlayfs(directory / "union", options))


@contextlib.contextmanager
def _fuse_overlayfs(place, options):
    place.mkdir()
    process = host.Process(
        ["fuse-overlayfs", "-f", "-o", options, place], place.with_suffix(".log")
    )
    try:
        process.wait_until(lambda: os.path.ismount(place), "the mount")
        yield place
    finally:
        if os.path.ismount(place):
            host.unmount(place)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.child.wait(30)
        process.kill()


@contextlib.contextmanager
def mounted_peer(peer, directory, lower):
    """A tree over the lower that nobody has changed yet."""
    if peer in ("overlayfs", "fuse-overlayfs"):
        with mounted_union(peer, directory, lower) as top:
            yield top
        return
    disk = peers.Disk(peer, directory, lower.path, lower.size_bytes)
    disk.make()
    with mounted_export(disk) as top:
        yield top


def make_mixture_layer(disk, file_name):
    """Ours: a layer with every other block of a file of the lower."""
    with mounted_export(disk) as top:
        block = os.urandom(4 * host.KIB)
        with open(top / file_name, "r+b", buffering=0) as file:
            for offset in range(0, os.path.getsize(top / file_name), 2 * len(block)):
                os.pwrite(file.fileno(), block, offset)
    checkpoint(disk)


def checkpoint(disk):
    """Seconds of it."""
    started = time.monotonic()
    host.run([peers.unionfs_img(), "checkpoint", "-b", disk.lower, disk.upper])
    return time.monotonic() - started


# ---- the part ------------------------------------------------------------------


def _seconds_of(workload, peer, directory, lower):
    place = directory / "peer"
    try:
        with mounted_peer(peer, place, lower) as top:
            started = time.monotonic()
            workload.action(top, directory)
            host.sync(top)
            return time.monotonic() - started
    finally:
        shutil.rmtree(place, ignore_errors=True)


def run_part(directory, settings, missing):
    host.require_programs("nbdkit", "mke2fs", "git", "tar")
    host.require_mounts()
    here = peers.present(PEERS, missing)
    needed = 4 * settings.large_file_bytes + settings.file_count * 100 * host.KIB
    if host.free_bytes(directory) < needed:
        raise host.Missing(f"{directory} has not {needed // host.MIB} MiB left")
    settings.progress("making lowers with a source tree, a repository and a large file")
    lowers = {
        "trees": make_lower_with_trees(directory, settings),
        "large": make_lower_with_large_file(directory, settings),
    }
    results = []
    for workload in settings.chosen(WORKLOADS):
        values = {peer: [] for peer in here}
        for number in range(settings.rounds):
            for peer in report.in_turn(here, number):
                if values[peer] and values[peer][0] > _LONG_SECONDS * 1000:
                    continue
                settings.progress(f"{workload.title}: round {number + 1}, {peer}")
                seconds = _seconds_of(workload, peer, directory, lowers[workload.lower])
                values[peer].append(seconds * 1000)
        results.append(report.comparison(workload.name, workload.title, "ms", values,
                                         limit=peers.LIMIT, is_time=True))
    return {"comparisons": results, "notes": NOTES}
