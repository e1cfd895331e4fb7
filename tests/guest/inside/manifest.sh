# SPDX-License-Identifier: BSD-3-Clause
#
# manifest.sh DIR - one line for each fact about the tree in DIR, for busybox sh,
# so that host and guest say the same thing in the same words:
#
#   entry|PATH|MODE|OWNER|LINKS|DEVICE|INODE|MTIME   anything
#   size|PATH|BYTES|SECTORS                          regular files
#   link|'PATH' -> 'TARGET'                          symbolic links
#   HASH  PATH                                       contents of regular files
#
# Other file systems mounted below DIR are left out.

set -eu
cd "$1"

each() { # each FIND_ARGS... -- COMMAND...
    predicate=
    while [ "$1" != -- ]; do
        predicate="$predicate $1"
        shift
    done
    shift
    # shellcheck disable=SC2086 # find's words, none of them with a space
    busybox find . -xdev $predicate -print0 | busybox sort -z |
        busybox xargs -0 -r busybox "$@"
}

each -- stat -c 'entry|%n|%f|%u:%g|%h|%t:%T|%i|%Y'
each -type f -- stat -c 'size|%n|%s|%b'
each -type l -- stat -c 'link|%N'
each -type f -- sha256sum
