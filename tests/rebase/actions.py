# SPDX-License-Identifier: BSD-3-Clause
"""Random changes of a mounted tree: those of a rebuild, and those of a layer.

Every action works on the directory `top`, takes its paths from what is there, and
does nothing where it finds none. The same seed on the same tree does the same.
"""

import fcntl
import os
import shutil
import stat
import struct
import subprocess

FS_IOC_GETFLAGS, FS_IOC_SETFLAGS = 0x80086601, 0x40086602
NODUMP, NOATIME = 0x40, 0x80
NEW_NAMES = ["new0", "new1", "new2", "\u00e9t\u00e9", "new3"]
LENGTHS = [0, 9, 900, 1024, 3000, 5000, 14000]


def is_plain(path):
    return stat.S_ISREG(os.lstat(path).st_mode)


def is_directory(path):
    return stat.S_ISDIR(os.lstat(path).st_mode)


class Actions:
    def __init__(self, top, chance, log):
        self.top = top
        self.chance = chance
        self.log = log

    # Picking

    def walk(self):
        """(directories, other paths), the root and lost+found left out."""
        directories, others = [], []
        for place, names, files in os.walk(self.top):
            names[:] = sorted(name for name in names if name != "lost+found")
            for name in names:
                path = os.path.join(place, name)
                (others if os.path.islink(path) else directories).append(path)
            others += [os.path.join(place, name) for name in sorted(files)]
        return directories, others

    def pick(self, paths):
        return self.chance.choice(paths) if paths else None

    def a_file(self):
        return self.pick([path for path in self.walk()[1] if is_plain(path)])

    def a_name(self):
        return self.pick(self.walk()[1])

    def a_directory(self):
        return self.pick(self.walk()[0])

    def a_place(self):
        """A directory to add something to; the root, too."""
        return self.pick([self.top] + self.walk()[0])

    def a_new_path(self):
        for _ in range(20):
            path = os.path.join(self.a_place(), self.chance.choice(NEW_NAMES))
            if not os.path.lexists(path):
                return path
        return None

    def tell(self, *words):
        self.log.write(" ".join(word.removeprefix(self.top) for word in words) + "\n")

    def run(self, actions, count):
        """actions: [(method, weight)]"""
        names, weights = zip(*actions)
        for name in self.chance.choices(names, weights, k=count):
            try:
                getattr(self, name)()
            except OSError as error:
                self.log.write(f"{name}: {error.strerror}\n")

    # Content

    def fill(self, path):
        with open(path, "wb") as output:
            output.write(self.chance.randbytes(self.chance.choice(LENGTHS)))

    def edit(self):
        path = self.a_file()
        if path:
            self.tell("edit", path)
            with open(path, "r+b") as output:
                output.write(self.chance.randbytes(self.chance.choice([1, 50, 1024])))

    def rewrite(self):
        path = self.a_file()
        if path:
            self.tell("rewrite", path)
            self.fill(path)

    def cut(self):
        path = self.a_file()
        if path:
            self.tell("cut", path)
            os.truncate(path, self.chance.choice([0, 5, 2000]))

    def replace(self):
        """As editors and package managers do."""
        path = self.a_file()
        if path:
            self.tell("replace", path)
            self.fill(path + ".tmp")
            shutil.copymode(path, path + ".tmp")
            os.rename(path + ".tmp", path)

    # Metadata

    def change_mode(self):
        path = self.pick([path for kind in self.walk() for path in kind
                          if not os.path.islink(path)])
        if path:
            mode = self.chance.choice([0o600, 0o640, 0o755] if is_directory(path) else
                                      [0o600, 0o640, 0o755, 0o4755])
            self.tell("chmod", path, oct(mode))
            os.chmod(path, mode)

    def change_owner(self):
        path = self.a_name()
        if path:
            self.tell("chown", path)
            os.chown(path, *self.chance.choice([(5, -1), (-1, 6), (70000, 7)]),
                     follow_symlinks=False)

    def change_xattr(self):
        path = self.pick(self.walk()[0] + [one for one in self.walk()[1] if is_plain(one)])
        if not path:
            return
        name = self.chance.choice(["user.a", "user.b", "user.c"])
        if name in os.listxattr(path) and self.chance.random() < 0.5:
            self.tell("remove", name, path)
            os.removexattr(path, name)
        else:
            self.tell("set", name, path)
            os.setxattr(path, name, self.chance.randbytes(self.chance.choice([1, 30, 100])))

    def change_acl(self):
        """An ACL that also says what the permission bits say."""
        path = self.a_file()
        if path:
            user, mode = self.chance.choice([7, 8]), os.lstat(path).st_mode
            self.tell("setfacl", path, str(user))
            entries = [(0x01, mode >> 6 & 7, -1), (0x02, 4, user), (0x04, mode >> 3 & 7, -1),
                       (0x10, mode >> 3 & 7, -1), (0x20, mode & 7, -1)]
            os.setxattr(path, "system.posix_acl_access", struct.pack("<I", 2) + b"".join(
                struct.pack("<HHi", *entry) for entry in entries))

    def change_flags(self):
        path = self.a_file()
        if path:
            self.tell("chattr", path)
            with open(path, "rb") as opened:
                buffer = bytearray(8)
                fcntl.ioctl(opened, FS_IOC_GETFLAGS, buffer)
                flags, = struct.unpack_from("<I", buffer)
                flags ^= self.chance.choice([NODUMP, NOATIME])
                fcntl.ioctl(opened, FS_IOC_SETFLAGS, struct.pack("<Q", flags))

    def touch(self):
        path = self.pick([path for kind in self.walk() for path in kind])
        if path:
            self.tell("touch", path)
            when = self.chance.randint(15 * 10**8, 17 * 10**8) * 10**9
            when += self.chance.choice([0, 123456789])
            os.utime(path, ns=(when, when), follow_symlinks=False)

    # Names

    def add_file(self):
        path = self.a_new_path()
        if path:
            self.tell("add", path)
            self.fill(path)

    def add_other(self):
        path = self.a_new_path()
        if path:
            kind = self.chance.choice(["symlink", "fifo", "device"])
            self.tell("add", kind, path)
            self.make_other(kind, path)

    def make_other(self, kind, path):
        if kind == "symlink":
            os.symlink(self.chance.choice(["usr/bin", "t" * 90]), path)
        elif kind == "fifo":
            os.mkfifo(path)
        else:
            os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(*self.chance.choice(
                [(1, 3), (300, 70000)])))

    def add_directory(self):
        path = self.a_new_path()
        if path:
            self.tell("mkdir", path)
            os.mkdir(path, 0o755)
            for name in self.chance.sample(NEW_NAMES, self.chance.choice([0, 1, 2])):
                self.fill(os.path.join(path, name))

    def delete(self):
        path = self.a_name()
        if path:
            self.tell("rm", path)
            os.unlink(path)

    def delete_directory(self):
        path = self.a_directory()
        if path:
            self.tell("rm -r", path)
            shutil.rmtree(path)

    def delete_many(self):
        path = self.a_directory()
        if path:
            self.tell("empty", path)
            for name in sorted(os.listdir(path)):
                if not is_directory(os.path.join(path, name)) and self.chance.random() < 0.7:
                    os.unlink(os.path.join(path, name))

    def change_type(self):
        path = self.a_name()
        if path:
            kind = self.chance.choice(["symlink", "fifo", "directory", "file"])
            self.tell("change the type of", path, "to", kind)
            os.unlink(path)
            if kind == "directory":
                os.mkdir(path, 0o755)
                self.fill(os.path.join(path, "new0"))
            elif kind == "file":
                self.fill(path)
            else:
                self.make_other(kind, path)

    def directory_to_file(self):
        path = self.a_directory()
        if path:
            self.tell("make a file of", path)
            shutil.rmtree(path)
            self.fill(path)

    def rename(self):
        path, target = self.a_name(), self.a_new_path()
        if path and target:
            self.tell("mv", path, target)
            os.rename(path, target)

    def rename_directory(self):
        path, target = self.a_directory(), self.a_new_path()
        if path and target and not target.startswith(path + "/"):
            self.tell("mv", path, target)
            os.rename(path, target)
            if self.chance.random() < 0.5:
                self.fill(os.path.join(target, "new3"))

    def remake_directory(self):
        path, target = self.a_directory(), self.a_new_path()
        if path and target and not target.startswith(path + "/"):
            self.tell("mv and mkdir", path, target)
            os.rename(path, target)
            os.mkdir(path, 0o755)
            if self.chance.random() < 0.5:
                self.fill(os.path.join(path, "file0"))

    def copy_directory_back(self):
        path, target = self.a_directory(), self.a_new_path()
        if path and target and not target.startswith(path + "/"):
            how = self.chance.choice(["-a", "-a", "-al"])
            self.tell("mv and cp", how, "back", path, target)
            os.rename(path, target)
            done = subprocess.run(["cp", how, target, path], check=False)
            self.log.write("" if done.returncode == 0 else "cp: it failed\n")

    def link_for_a_moment(self):
        """The layer has the file and all its names, and nothing of it has changed."""
        path = self.pick([path for path in self.walk()[1]
                          if is_plain(path) and os.lstat(path).st_nlink > 1])
        if path:
            self.tell("ln and rm", path)
            os.link(path, path + ".tmp")
            os.unlink(path + ".tmp")

    def rename_edited(self):
        path, target = self.a_file(), self.a_new_path()
        if path and target:
            self.tell("mv and edit", path, target)
            os.rename(path, target)
            with open(target, "ab") as output:
                output.write(self.chance.randbytes(100))

    def keep_backup(self):
        path = self.a_file()
        if path and not os.path.lexists(path + ".bak"):
            self.tell("mv and cp back", path)
            os.rename(path, path + ".bak")
            shutil.copy(path + ".bak", path)
            if self.chance.random() < 0.5:
                self.fill(path)

    def leave_link(self):
        path, target = self.a_directory(), self.a_new_path()
        if path and target and not target.startswith(path + "/"):
            self.tell("mv and ln -s", path, target)
            os.rename(path, target)
            os.symlink(target.removeprefix(self.top), path)

    def swap(self):
        one, other = self.a_directory(), self.a_directory()
        if one and other and not (one + "/").startswith(other + "/") and \
                not (other + "/").startswith(one + "/"):
            self.tell("swap", one, other)
            os.rename(one, one + ".swap")
            os.rename(other, one)
            os.rename(one + ".swap", other)

    def swap_files(self):
        one, other = self.a_file(), self.a_file()
        if one and other and one != other:
            self.tell("swap", one, other)
            os.rename(one, one + ".swap")
            os.rename(other, one)
            os.rename(one + ".swap", other)

    def parent_into_child(self):
        child = self.pick([path for path in self.walk()[0]
                           if os.path.dirname(path) != self.top])
        if child:
            parent = os.path.dirname(child)
            self.tell("move the parent into", child)
            os.rename(child, parent + ".child")
            os.rename(parent, parent + ".child/" + os.path.basename(parent))

    def merge_usr(self):
        bin_place, usr = os.path.join(self.top, "bin"), os.path.join(self.top, "usr/bin")
        if os.path.isdir(bin_place) and not os.path.islink(bin_place) and os.path.isdir(usr):
            self.tell("move /bin to /usr/bin")
            for name in sorted(os.listdir(bin_place)):
                if not os.path.lexists(f"{usr}/{name}"):
                    os.rename(f"{bin_place}/{name}", f"{usr}/{name}")
            shutil.rmtree(bin_place)
            os.symlink("usr/bin", bin_place)

    def link(self):
        path, target = self.a_file(), self.a_new_path()
        if path and target:
            self.tell("ln", path, target)
            os.link(path, target)

    def edit_linked(self):
        path = self.pick([path for path in self.walk()[1]
                          if is_plain(path) and os.lstat(path).st_nlink > 1])
        if path:
            self.tell("edit the linked", path)
            self.fill(path)


OF_BOTH = [("edit", 6), ("rewrite", 4), ("cut", 1), ("replace", 3), ("change_mode", 4),
           ("change_owner", 3), ("change_xattr", 4), ("change_acl", 1), ("touch", 2),
           ("add_file", 6), ("add_other", 2), ("add_directory", 2), ("delete", 6),
           ("delete_directory", 1), ("delete_many", 1), ("change_type", 2),
           ("directory_to_file", 1), ("rename", 3), ("rename_directory", 1), ("link", 1),
           ("edit_linked", 2)]
OF_LAYER = OF_BOTH + [("change_flags", 2), ("rename_directory", 3), ("rename_edited", 2),
                      ("keep_backup", 2), ("leave_link", 1), ("swap", 2),
                      ("swap_files", 1), ("parent_into_child", 2), ("link", 2),
                      ("edit_linked", 2)]
OF_REMAKING_LAYER = [("remake_directory", 12), ("copy_directory_back", 5),
                     ("link_for_a_moment", 4), ("link", 4)] + OF_LAYER
OF_REBUILD = OF_BOTH + [("edit", 8), ("replace", 6), ("add_file", 4), ("delete", 4),
                        ("link", 2)]


def make_base(top, chance):
    """A small tree with all types, links over directories, and crowded directories."""
    actions = Actions(top, chance, open(os.devnull, "w", encoding="utf-8"))
    for place in ["bin", "usr/bin", "usr/lib/deep", "etc/conf.d", "home/user/work", "many"]:
        os.makedirs(os.path.join(top, place), 0o755)
    for place in [top] + actions.walk()[0]:
        for number in range(chance.randint(1, 4)):
            actions.fill(os.path.join(place, f"file{number}"))
    for number in range(chance.choice([3, 24])):
        actions.fill(os.path.join(top, "many", f"{number:03}" + "x" * chance.choice([150, 240])))
    for number in range(4):
        names = [os.path.join(place, f"link{number}")
                 for place in chance.sample(actions.walk()[0], 3)]
        actions.fill(names[0])
        for name in names[1:chance.choice([2, 3])]:
            os.link(names[0], name)
    for number, kind in enumerate(["symlink", "symlink", "fifo", "device"]):
        actions.make_other(kind, os.path.join(actions.a_directory(), f"other{number}"))
    actions.run([("change_mode", 1), ("change_owner", 1), ("change_xattr", 2)], 8)
    set_times(top, chance, 15 * 10**8, lambda seconds: True)


def set_times(top, chance, first, is_wanted):
    """Whole seconds, as images keep them that mke2fs fills."""
    for place, directories, files in os.walk(top, topdown=False):
        for name in [*directories, *files, "."]:
            path = os.path.join(place, name)
            if is_wanted(os.lstat(path).st_mtime):
                when = first + chance.randint(1, 9 * 10**7)
                os.utime(path, (when, when), follow_symlinks=False)
