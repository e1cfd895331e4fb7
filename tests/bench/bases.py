#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""How much two bases share that were made of two trees that differ a little: by unionfs-img
mkbase, and by mke2fs -d.

    bases.py UNIONFS_IMG ROOT [OTHER...]

ROOT is the root directory of a Debian system (as debootstrap makes it), OTHER are later states of
it.  More later states are simulated: one in twenty packages is newer, or only coreutils are.  A
newer package has files of a slightly different size and with other bytes, so that nothing of them
can be shared.  Counted are the pieces of 64 KiB of the later image that the earlier one has, too,
anywhere.  Pieces of zeros do not count.  The bound is what could be shared if the blocks of files
that are new in the later tree lay in pieces of their own, and nothing else differed.

Needs root for the owners of the files, mke2fs, and room in $TMPDIR (or /var/tmp).
"""

import hashlib
import os
import pathlib
import random
import shutil
import stat
import subprocess
import sys
import tempfile
import time

PIECE = 65536
BLOCK = 4096
ZEROS = bytes(PIECE)


def pieces_of(image, size=PIECE):
    """Digests of the pieces that are not zeros, in their order."""
    found = []
    with open(image, "rb") as file:
        while piece := file.read(size):
            if piece != ZEROS[: len(piece)]:
                found.append(hashlib.blake2b(piece.ljust(size, b"\0"), digest_size=16).digest())
    return found


def blocks_of_files(tree):
    """Digests of all blocks of regular files, each file once."""
    found, seen = [], set()
    for directory, _, names in os.walk(os.fsencode(tree)):
        for name in names:
            path = os.path.join(directory, name)
            status = os.lstat(path)
            if stat.S_ISREG(status.st_mode) and (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                found += pieces_of(path, BLOCK)
    return found


def most_that_can_be_shared(known_blocks, tree, piece_count):
    new = sum(block not in known_blocks for block in blocks_of_files(tree))
    return 1 - new / (PIECE // BLOCK) / piece_count


def mkbase(program, tree, image):
    subprocess.run([program, "mkbase", tree, image], check=True, stdout=subprocess.DEVNULL)


def mke2fs(_, tree, image):
    """Of the size that mkbase gave the image beside it."""
    size = image.with_suffix(".mkbase").stat().st_size
    with open(image, "wb") as file:
        file.truncate(size + size // 8)
    subprocess.run(["mke2fs", "-q", "-t", "ext2", "-I", "256", "-b", "4096", "-i", "16384",
                    "-d", tree, image], check=True)


MAKERS = {"mkbase": mkbase, "mke2fs": mke2fs}


def files_of(root, package):
    """The regular files that dpkg knows of a package."""
    for suffix in ("", ":amd64", ":arm64"):
        listed = root / "var/lib/dpkg/info" / f"{package}{suffix}.list"
        if listed.exists():
            paths = (root / line.lstrip("/") for line in listed.read_text().splitlines())
            return [path for path in paths if path.is_file() and not path.is_symlink()]
    return []


def packages_of(root):
    lists = (root / "var/lib/dpkg/info").glob("*.list")
    return sorted({path.stem.partition(":")[0] for path in lists})


def make_newer(root, packages):
    """Changes the files of the packages in place."""
    for package in packages:
        rng = random.Random(package)
        for path in files_of(root, package):
            before = path.stat()
            path.write_bytes(rng.randbytes(int(before.st_size * rng.uniform(0.97, 1.03))))
            newer = before.st_mtime_ns + 86400 * 10**9
            os.utime(path, ns=(newer, newer))


def simulated(root, scratch, name, packages):
    copy = scratch / name
    subprocess.run(["cp", "-a", root, copy], check=True)
    make_newer(copy, packages)
    return copy


def later_states(root, others, scratch):
    """(what it is, directory, whether it is ours to remove)"""
    packages = packages_of(root)
    sample = random.Random(1).sample(packages, max(1, len(packages) // 20))
    yield f"{len(sample)} of {len(packages)} packages newer", simulated(
        root, scratch, "newer", sample), True
    yield "coreutils newer", simulated(root, scratch, "coreutils", ["coreutils"]), True
    for other in others:
        yield other.name, other, False


def make_images(program, tree, scratch, name):
    """{maker: (pieces, seconds, size, size on the disk)}"""
    results = {}
    for maker, make in MAKERS.items():
        image = scratch / f"{name}.{maker}"
        began = time.monotonic()
        make(program, tree, image)
        seconds = time.monotonic() - began
        status = image.stat()
        results[maker] = (pieces_of(image), seconds, status.st_size, status.st_blocks * 512)
    for maker in MAKERS:
        (scratch / f"{name}.{maker}").unlink()
    return results


def main():
    program, root, *others = map(pathlib.Path, sys.argv[1:])
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="bases.", dir=os.environ.get("TMPDIR", "/var/tmp")))
    try:
        old = make_images(program, root, scratch, "root")
        for maker, (pieces, seconds, size, on_disk) in old.items():
            print(f"{maker}: {seconds:.2f} s, {size / 2**20:.1f} MiB, {on_disk / 2**20:.1f} MiB on "
                  f"the disk, {len(pieces)} pieces with data")
        known_blocks = set(blocks_of_files(root))
        print(f"{'shared pieces':44}" + "".join(f"{maker:>10}" for maker in [*MAKERS, "bound"]))
        for what, tree, is_ours in later_states(root, others, scratch):
            new = make_images(program, tree, scratch, "later")
            shares = []
            for maker in MAKERS:
                known = set(old[maker][0])
                pieces = new[maker][0]
                shares.append(sum(piece in known for piece in pieces) / len(pieces))
            piece_count = len(new["mkbase"][0])
            shares.append(most_that_can_be_shared(known_blocks, tree, piece_count))
            print(f"{what:44}" + "".join(f"{share:>10.1%}" for share in shares))
            if is_ours:
                shutil.rmtree(tree)
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
