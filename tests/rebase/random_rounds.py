#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The parts of one random round of a rebase; random-rounds.sh puts them together.

random_rounds.py make SEED WORK             old.img and new.img; prints the way and the checkpoint
random_rounds.py change SEED WORK TARGET    the layer: TARGET is a mount point or an image
random_rounds.py judge SEED WORK TOOL       rebases by each policy, and compares with the model

The changes are told in WORK/base.txt, new.txt and layer.txt.

Environment, each if it is not empty:
  REBASE_REMAKE       layers make many directories anew
  REBASE_WITHOUT_OLD  rebases without the old lower; new.img is a changed copy half of the time
"""

import base64
import collections
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys

import actions
from client_writes import ClientWrites
from identity import Identity
from model import rebase
from trees import METADATA_FIELDS, named_paths, read_tree
from without_old_model import WithoutOldJudge

POLICIES = ("fail", "ours", "theirs", "both")
SHOWN_DIFFERENCES = 30
FLAG_NODUMP = 0x40
# A copied lower is older than each file of the layer.
COPY_MADE_AT = "1700000000"


class Round:
    def __init__(self, seed, work):
        self.seed = seed
        self.work = work
        chance = random.Random(f"{seed} shape")
        self.way = chance.choice(["kernel", "kernel", "kernel", "client"])
        self.shapes = [(chance.choice([1024, 4096]), chance.choice([128, 256])) for _ in range(2)]
        self.has_generations = chance.random() < 0.5
        self.shared = chance.choice([0, 0, 1, 3])
        self.new_count = chance.choice([0, 3, 8, 20])
        self.layer_count = chance.choice([1, 4, 10, 20])
        # Of a session the rebase must make a layer first.
        self.checkpoint = chance.choice(["auto", "auto", "auto", "never"])
        self.touches_all = chance.random() < 0.5
        self.of_layer = (actions.OF_REMAKING_LAYER if os.environ.get("REBASE_REMAKE")
                         else actions.OF_LAYER)
        self.is_without_old = bool(os.environ.get("REBASE_WITHOUT_OLD"))
        self.is_copy = self.is_without_old and self.chance("copy").random() < 0.5

    def chance(self, part):
        return random.Random(f"{self.seed} {part}")

    def path(self, name):
        return os.path.join(self.work, name)

    def log(self, name):
        return open(self.path(name), "w", encoding="utf-8", errors="surrogateescape")

    def describe(self):
        shapes = " -> ".join(f"{block}/{inode}" for block, inode in self.shapes)
        kind = "a copy, " if self.is_copy else ""
        return (f"{kind}{self.way}, checkpoint {self.checkpoint}, blocks and inodes {shapes}, "
                f"{'with' if self.has_generations else 'no'} generations, {self.shared} shared, "
                f"{self.new_count} in N, {self.layer_count} in L")

    # Making

    def make(self):
        base = self.path("base")
        os.mkdir(base, 0o755)
        actions.make_base(base, self.chance("base"))
        self.make_image(base, "old.img", self.shapes[0], 1)
        if self.is_copy:
            self.make_copy()
        else:
            self.make_rebuilt(base)
        shutil.rmtree(base)

    def make_rebuilt(self, base):
        new = self.path("new")
        subprocess.run(["cp", "-a", base, new], check=True)
        self.change_new(new)
        chance = self.chance("times")
        actions.set_times(new, chance, 16 * 10**8,
                          lambda seconds: self.touches_all or seconds > 17 * 10**8)
        self.make_image(new, "new.img", self.shapes[1], 1001)
        shutil.rmtree(new)

    def make_copy(self):
        image, new = self.path("new.img"), self.path("new")
        shutil.copyfile(self.path("old.img"), image)
        os.mkdir(new)
        subprocess.run(["mount", "-o", "loop", "-t", "ext2", image, new], check=True)
        try:
            self.change_new(new)
        finally:
            subprocess.run(["umount", new], check=True)
        os.rmdir(new)

    def change_new(self, top):
        with self.log("new.txt") as log:
            self.change_shared(top, log)
            change = actions.Actions(top, self.chance("new"), log)
            change.run(actions.OF_REBUILD, self.new_count)

    def change_shared(self, top, log):
        """The same changes in N and L, as long as both trees are the same."""
        change = actions.Actions(top, self.chance("shared"), log)
        change.run(actions.OF_BOTH, self.shared)

    def make_image(self, tree, name, shape, first_generation):
        block_size, inode_size = shape
        image = self.path(name)
        size = "8M" if block_size == 1024 else "16M"
        times = {"E2FSPROGS_FAKE_TIME": COPY_MADE_AT} if self.is_copy else {}
        subprocess.run(["mke2fs", "-q", "-F", "-t", "ext2", "-b", str(block_size), "-I",
                        str(inode_size), "-N", "1024", "-d", tree, image, size],
                       stdout=subprocess.DEVNULL, env={**os.environ, **times}, check=True)
        commands = []
        chance = self.chance("flags")
        flagged = {f"file{chance.randint(1, 4)}", f"file{chance.randint(1, 4)}"}
        found = read_tree(image)
        for number, paths in sorted(found.paths_of.items()):
            if found.get(paths[0]).type == "file" and paths[0].rpartition("/")[2] in flagged:
                commands.append(f"sif <{number}> flags {FLAG_NODUMP}")
            if self.has_generations:
                commands.append(f"sif <{number}> generation {first_generation + number}")
        subprocess.run(["debugfs", "-w", "-f", "-", image], text=True, check=True,
                       input="\n".join(commands) + "\n", stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)

    def change(self, target):
        with self.log("layer.txt") as log:
            chance = self.chance("layer")
            if self.way == "client":
                ClientWrites(target, self.work, chance, log).run(self.layer_count)
                return
            self.change_shared(target, log)
            change = actions.Actions(target, chance, log)
            if chance.random() < 0.15:
                change.merge_usr()
            change.run(self.of_layer, self.layer_count)

    # Judging

    def judge(self, tool):
        old, upper = self.path("old.img"), self.path("upper.img")
        self.run_tool(tool, "convert", "-b", old, upper, self.path("merged.img"))
        trees = [read_tree(self.path(name)) for name in ("old.img", "merged.img", "new.img")]
        named = named_paths(self.layer_of(tool, old, upper))
        before = digest(upper)
        complaints, counts = [], collections.Counter()
        for policy in POLICIES:
            if self.is_without_old:
                found = self.judge_without_old(tool, policy, trees, named, counts)
                complaints += [f"{policy}: {line}" for line in found]
                continue
            plan = rebase(*trees, policy, named)
            found = self.judge_policy(tool, policy, plan, trees[2], counts)
            complaints += [f"{policy}: {line}" for line in found]
        if digest(upper) != before:
            complaints.append("the old upper is another one")
        print(f"seed {self.seed}: {self.describe()}: " +
              ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())))
        for line in complaints[:SHOWN_DIFFERENCES]:
            print(f"  {line}")
        return not complaints

    def layer_of(self, tool, old, upper):
        """The upper, or one with the layer that its session becomes."""
        if self.checkpoint == "auto":
            return upper
        layer = self.path("layer.img")
        shutil.copyfile(upper, layer)
        self.run_tool(tool, "checkpoint", "-b", old, layer)
        return layer

    def run_tool(self, *command):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        if done.returncode:
            raise RuntimeError(f"{command}: {done.stderr.decode(errors='replace')}")

    def judge_policy(self, tool, policy, plan, new, counts):
        out, old, target = self.path("out.img"), self.path("old.img"), self.path("new.img")
        if os.path.exists(out):
            os.unlink(out)
        done = subprocess.run(
            [tool, "rebase", "-b", old, "--onto", target, f"--conflicts={policy}",
             "--verify", "--output=json", "-o", out, self.path("upper.img")],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        wanted = 3 if policy == "fail" and plan.conflicts else 0
        if done.returncode != wanted:
            message = done.stderr.decode(errors="replace").strip()
            yield f"exit status {done.returncode}, not {wanted}: {message}"
        try:
            report = json.loads(done.stdout)
        except ValueError as error:
            yield f"no JSON: {error}"
            return
        if policy == "fail":
            counts.update("|".join(sorted(one.classes)) for one in plan.conflicts)
        yield from compare_conflicts(plan, report["conflicts"], policy)
        if done.returncode:
            if os.path.exists(out):
                yield "a new upper in spite of conflicts"
            return
        counts["trees" if plan.open is None else f"open: {plan.open}"] += 1
        yield from self.judge_result(tool, target, out, plan, new)

    def judge_result(self, tool, target, out, plan, new):
        result = self.result_of(tool, target, out)
        yield from check_file_system(result)
        if plan.open is None:
            yield from compare_trees(plan, read_tree(result), new, self.shapes[1][1] > 128)

    def result_of(self, tool, target, out):
        result = self.path("result.img")
        if os.path.exists(result):
            os.unlink(result)
        self.run_tool(tool, "convert", "-b", target, out, result)
        return result

    def judge_without_old(self, tool, policy, trees, named, counts):
        out, target = self.path("out.img"), self.path("new.img")
        if os.path.exists(out):
            os.unlink(out)
        layer = self.path("upper.img" if self.checkpoint == "auto" else "layer.img")
        command = [tool, "rebase", "--without-old", "--onto", target, f"--conflicts={policy}",
                   "--verify", "--output=json", "-o", out]
        done = None
        # What can never be ours is theirs; then there may be more of it.
        while done is None or policy != "fail" and done.returncode == 3:
            done = subprocess.run([*command, layer], stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, check=False)
            if done.returncode not in (0, 3):
                yield f"exit status {done.returncode}: {done.stderr.decode(errors='replace')}"
                return
            report = json.loads(done.stdout)
            conflicts = {path_of(one).rstrip("/"): one["resolution"]
                         for one in report["conflicts"]}
            open_paths = {path_of(one) or "/" for one in report["conflicts"]
                          if one["resolution"] is None}
            if open_paths & set(command):
                yield f"decided, and still open: {sorted(open_paths & set(command))}"
                return
            if policy != "fail" and (done.returncode == 3) != bool(open_paths):
                yield f"exit status {done.returncode}, and open are {open_paths}"
                return
            for path in sorted(open_paths):
                command += ["--theirs", path]
        if policy == "fail":
            counts["needs-old"] += len(conflicts)
        if done.returncode:
            return
        counts["trees"] += 1
        of_fields = conflicts.keys() - {path_of(one).rstrip("/") for one in report["conflicts"]
                                        if not one.get("fields")}
        notes = {one["kind"] for one in report["notes"]}
        result = self.result_of(tool, target, out)
        yield from check_file_system(result)
        judge = WithoutOldJudge(Identity(*trees[:2], named), trees[2], conflicts, of_fields, notes)
        yield from judge.complaints(read_tree(result))


def check_file_system(image):
    check = subprocess.run(["e2fsck", "-fn", image], stdout=subprocess.PIPE,
                           stderr=subprocess.DEVNULL, check=False)
    if check.returncode:
        yield f"e2fsck: {check.stdout.decode(errors='replace')}"


def digest(path):
    with open(path, "rb") as data:
        return hashlib.sha256(data.read()).digest()


def path_of(entry, key="path"):
    """The bytes count where the text is not the same."""
    if entry.get(key + "_base64") is not None:
        return os.fsdecode(base64.b64decode(entry[key + "_base64"]))
    return entry[key]


def compare_conflicts(plan, found, policy):
    """Each conflict of the model is told, and none besides."""
    told = [(entry["class"], path_of(entry).rstrip("/"), entry["resolution"]) for entry in found]
    yield from told_twice(plan, told)
    used = set()
    for wanted in plan.conflicts:
        hits = [one for one in told if one[0] in wanted.classes and one[1] in wanted.paths]
        used.update(hits)
        if not hits:
            yield f"not told: {sorted(wanted.classes)} {sorted(wanted.paths)}"
    for one in told:
        may_be_told = any(one[0] in may.classes and one[1] in may.paths for may in plan.optional)
        if one not in used and not may_be_told:
            yield f"told, but no conflict: {one[0]} {one[1]}"
        resolution = None if policy == "fail" else policy
        if one[2] != resolution:
            yield f"resolution {one[2]}, not {resolution}: {one[0]} {one[1]}"


def told_twice(plan, told):
    """One conflict for all names of a file that meet the same, links that ours made among them."""
    files = {wanted.file for wanted in plan.conflicts} - {None}
    for file in files:
        of_file = [wanted for wanted in plan.conflicts if wanted.file == file]
        others = {wanted.name for wanted in plan.conflicts if wanted.file != file}
        hits = [one for one in told if one[1] not in others and
                any(one[0] in wanted.classes and one[1] in wanted.paths for wanted in of_file)]
        if len(hits) > 1:
            yield f"told for each name: {hits}"


def compare_trees(plan, found, new, has_nanoseconds):
    tree = plan.place_copies(found.nodes)
    for path in sorted(set(tree) | set(found.nodes)):
        wanted, node = tree.get(path), found.get(path)
        if wanted is None:
            yield f"{path}: is there ({node.type}, {node.size} bytes)"
        elif node is None:
            yield f"{path}: is missing ({wanted.node.type}, {wanted.node.size} bytes)"
        else:
            yield from compare_nodes(path, wanted, node, new, has_nanoseconds)
    by_key, by_inode = {}, {}
    for path, wanted in tree.items():
        if not wanted.node.is_directory:
            by_key.setdefault(wanted.key, set()).add(path)
    for number, paths in found.paths_of.items():
        if not found.get(paths[0]).is_directory:
            by_inode[number] = frozenset(paths)
    groups = {frozenset(paths) for paths in by_key.values()}
    for paths in groups - set(by_inode.values()):
        yield f"no file has just these names: {sorted(paths)}"


def compare_nodes(path, wanted, node, new, has_nanoseconds):
    for field in ("type", "content", "size", "xattrs", *METADATA_FIELDS):
        if field == "size" and node.is_directory:
            continue
        one, other = getattr(wanted.node, field), getattr(node, field)
        if one != other:
            yield f"{path}: {field} is {other!r}, not {one!r}"
    times = wanted.times if has_nanoseconds else {(time[0], 0) for time in wanted.times}
    if node.mtime not in times:
        yield f"{path}: mtime is {node.mtime}, not {sorted(times)}"
    below = new.get(path)
    if wanted.key[0] == "new" and wanted.key[1] != node.inode \
            and below is not None and wanted.key[1] == below.inode:
        yield f"{path}: inode {node.inode}, and not {wanted.key[1]} as in N"


def main():
    command, seed, work, *rest = sys.argv[1:]
    this = Round(int(seed), work)
    if command == "make":
        this.make()
        print(this.way, this.checkpoint)
    elif command == "change":
        this.change(*rest)
    elif command == "judge":
        sys.exit(0 if this.judge(*rest) else 1)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
