# SPDX-License-Identifier: BSD-3-Clause
"""Lowers for the benchmark: clean ext2 images with something in them."""

import os
import random
import shutil

import host

_CHUNK = host.MIB


def write_noise(path, size_bytes, seed=1):
    """A file of data that nothing can compress or leave out."""
    chunk = random.Random(seed).randbytes(16 * _CHUNK)
    with open(path, "wb") as file:
        for start in range(0, size_bytes, _CHUNK):
            shift = start // len(chunk) * 8 % _CHUNK + start % (len(chunk) - _CHUNK)
            file.write(chunk[shift : shift + min(_CHUNK, size_bytes - start)])


def make_ext2(path, size_bytes, content, inode_count=1024):
    """An image of 4 KiB blocks with a directory's content in it. Few inodes mean small
    tables, so that next to every block between the files' first and last is data."""
    path.unlink(missing_ok=True)
    host.run(["mke2fs", "-q", "-t", "ext2", "-b", "4096", "-m", "0", "-N", inode_count,
              "-d", content, path, f"{size_bytes // host.KIB}k"])
    return path


def make_data_lower(path, size_bytes, data_bytes, inode_count=1024):
    """An image whose first part holds one file of noise. Groups have 128 MiB, and each
    begins with its tables."""
    content = path.with_suffix(".content")
    content.mkdir()
    try:
        write_noise(content / "data", data_bytes)
        return make_ext2(path, size_bytes, content, inode_count)
    finally:
        shutil.rmtree(content)


def fill_holes(image):
    """Writes the holes of an image. qemu asks before each read where the next one is, unless
    it is where it was the last time, and on tmpfs that takes longer than the read."""
    filled = image.with_suffix(".filled")
    host.run(["cp", "--sparse=never", image, filled])
    filled.replace(image)


def make_source_tree(top, file_count, seed=1):
    """Directories and files in about the sizes of a C source tree; same seed, same tree.
    The times lie in the past: git looks twice at files as young as its index."""
    chooser = random.Random(seed)
    noise = chooser.randbytes(host.MIB)
    directories = [top]
    top.mkdir(parents=True)
    for number in range(file_count):
        if number % 14 == 0:
            # New directories hang from the first ones more often: bushy, and some depth.
            parent = directories[int(len(directories) * chooser.random() ** 2)]
            directories.append(parent / f"directory{number}")
            directories[-1].mkdir()
        size = min(int(chooser.lognormvariate(8.6, 1.3)), len(noise) // 2)
        start = chooser.randrange(len(noise) - size)
        file = directories[-1] / f"file{number}.c"
        file.write_bytes(noise[start : start + size])
        os.utime(file, (1_600_000_000, 1_600_000_000))
    return top
