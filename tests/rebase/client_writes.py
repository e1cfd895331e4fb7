# SPDX-License-Identifier: BSD-3-Clause
"""Random changes of an unmounted image by debugfs, a client that uses libext2fs.

Such files have generation 0, and get the numbers and often the blocks of the ones
deleted just before them.
"""

import os
import subprocess

from actions import LENGTHS, NEW_NAMES
from trees import name_of, parent_of, read_tree


class ClientWrites:
    def __init__(self, image, work, chance, log):
        self.image = image
        self.work = work
        self.chance = chance
        self.log = log
        self.tree = None

    def debugfs(self, *commands):
        script = "\n".join(commands) + "\n"
        self.log.write(script)
        done = subprocess.run(["debugfs", "-w", "-f", "-", self.image], input=script, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True)
        for line in done.stdout.splitlines():
            if not line.startswith("debugfs"):
                self.log.write(f"  {line}\n")

    def run(self, count):
        actions = [self.write, self.rewrite, self.delete, self.delete_and_write, self.rename,
                   self.rename_directory, self.change_field, self.set_attribute,
                   self.make_directory, self.make_other, self.link]
        for _ in range(count):
            self.tree = read_tree(self.image)
            self.chance.choice(actions)()
        # debugfs leaves counts of links as they are, and a client repairs what it can.
        subprocess.run(["e2fsck", "-fy", self.image], stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, check=False)

    def pick(self, *types):
        """A path that debugfs can say: without blanks, and not lost+found."""
        paths = [path for path, node in sorted(self.tree.nodes.items())
                 if node.type in types and path and not path.startswith("/lost+found")
                 and path.isascii()]
        return self.chance.choice(paths) if paths else None

    def new_path(self):
        names = [name for name in NEW_NAMES if name.isascii()]
        directory = self.pick("directory") or ""
        path = f"{directory}/{self.chance.choice(names)}"
        return None if self.tree.get(path) else path

    def host_file(self):
        path = os.path.join(self.work, "content")
        with open(path, "wb") as output:
            output.write(self.chance.randbytes(self.chance.choice(LENGTHS)))
        return path

    def write_at(self, path):
        # debugfs writes to names in the working directory only.
        self.debugfs(f"cd {parent_of(path) or '/'}", f"write {self.host_file()} {name_of(path)}")

    def write(self):
        path = self.new_path()
        if path:
            self.write_at(path)

    def rewrite(self):
        path = self.pick("file")
        if path:
            self.debugfs(f"rm {path}")
            self.write_at(path)

    def delete(self):
        path = self.pick("file", "symlink", "fifo")
        if path:
            self.debugfs(f"rm {path}")

    def delete_and_write(self):
        """The second file gets the number of the first."""
        path, target = self.pick("file"), self.new_path()
        if path and target:
            self.debugfs(f"rm {path}")
            self.write_at(target)

    def rename(self):
        path, target = self.pick("file", "symlink"), self.new_path()
        if path and target:
            self.debugfs(f"ln {path} {target}", f"unlink {path}")

    def rename_directory(self):
        path = self.pick("directory")
        if path:
            target = f"{parent_of(path)}/{self.chance.choice(['new0', 'new1'])}"
            if not self.tree.get(target):
                self.debugfs(f"ln {path} {target}", f"unlink {path}")

    def change_field(self):
        path = self.pick("file", "fifo")
        if path:
            field, value = self.chance.choice([("uid", 9), ("gid", 8), ("mtime", "@1600000000"),
                                               ("flags", "0x40")])
            self.debugfs(f"sif {path} {field} {value}")

    def set_attribute(self):
        path = self.pick("file", "directory")
        if path:
            self.debugfs(f"ea_set {path} user.{self.chance.choice('abc')} "
                         f"value{self.chance.randint(1, 9)}")

    def make_directory(self):
        path = self.new_path()
        if path:
            self.debugfs(f"cd {parent_of(path) or '/'}", f"mkdir {name_of(path)}")

    def make_other(self):
        path = self.new_path()
        if path:
            self.debugfs(f"cd {parent_of(path) or '/'}",
                         self.chance.choice([f"symlink {name_of(path)} usr/bin",
                                             f"mknod {name_of(path)} p"]))

    def link(self):
        path, target = self.pick("file"), self.new_path()
        if path and target:
            links = len(self.tree.paths_of[self.tree.get(path).inode])
            self.debugfs(f"ln {path} {target}", f"sif {path} links_count {links + 1}")
