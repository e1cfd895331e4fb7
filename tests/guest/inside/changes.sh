# SPDX-License-Identifier: BSD-3-Clause
#
# changes.sh DIR SEED - changes the tree that images.sh's make_tree made, in the
# ways a client can: for busybox sh. The guest runs it on the merged disk, the
# host on a plain copy of the lower; both must end up with the same tree.

set -eu
cd "$1"
seed=$2

# A file's bytes depend on the seed and are different in every block.
text() { # text START BYTES
    busybox seq "$((seed + $1))" "$((seed + $1 + $2 / 4))" | busybox head -c "$2"
}

# In place: inside a block, across blocks, at the end, and less.
printf '!' | busybox dd of=data/large bs=1 seek=100001 conv=notrunc 2>/dev/null
text 1 20000 | busybox dd of=data/large bs=1000 seek=301 conv=notrunc 2>/dev/null
text 2 5000 >>data/medium
busybox truncate -s 70000 data/shrinks
busybox truncate -s 900000 data/grows
echo "now different" >documents/notes

# The way editors save: a new file over the old name.
text 3 30000 >documents/.report.new
busybox mv documents/.report.new documents/report

# Directories and files that move, with what is below left alone.
busybox mv documents papers
busybox mkdir -p archive/2024
busybox mv photos archive/2024/photos
busybox mv archive/2024/photos/album/picture-3 papers/picture
busybox mv small/file-7 small/file-seven

# Deleted names, trees, and a name that comes back as something else.
busybox rm small/file-1 small/file-2 data/deleted
busybox rm -r tree/branch
busybox rm papers/becomes-directory
busybox mkdir papers/becomes-directory
text 4 1000 >papers/becomes-directory/inside
busybox rm links/short
busybox ln -s "$(busybox seq -s / 100 130)" links/short

# Hard links: one more, one less, and a change through the other name.
busybox ln links/first links/third
busybox rm links/pair-b
echo "through the second name" >>links/second

busybox chmod 640 data/medium
busybox chown 1000:1001 small/file-9
busybox touch -d '2020-02-02 02:02:02' small/file-10

# New: many names in one directory, deep nesting, a file with double indirect
# blocks, a hole, and the kinds that are not files.
busybox mkdir many
number=0
while [ "$number" -lt 400 ]; do
    echo "$seed $number" >"many/entry-with-a-rather-long-name-$number"
    number=$((number + 1))
done
busybox mkdir -p deep/a/b/c/d/e/f/g/h
text 5 5000 >deep/a/b/c/d/e/f/g/h/leaf
text 6 5000000 >data/new
text 7 4096 | busybox dd of=data/sparse bs=4096 seek=2000 2>/dev/null
busybox mkfifo links/fifo
busybox mknod links/null c 1 3
busybox mknod links/block b 7 200
