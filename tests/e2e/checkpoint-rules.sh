#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# checkpoint-rules.sh [PART/PARTS | RULE...]
#
# What a checkpoint makes of the usual changes to names, inodes and blocks: one
# small test for each rule, over a lower made by mke2fs -d, changed through a kernel
# mount, with a plain copy beside it.  How a rule works: tests/lib/checkpoint.sh.
# Functions are called by name.
# shellcheck disable=SC2317
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"
# shellcheck source=tests/lib/checkpoint.sh
. "$(dirname "$0")/../lib/checkpoint.sh"

# ---- names -------------------------------------------------------------------

rule_deleted_names_are_whiteouts() {
    usual_lower
    delete() { rm "$1/b/name-3" "$1/b/name-17"; }
    session delete
    settle
    expect_name /b name-3 whiteout
    expect_name /b name-17 whiteout
    expect_name /b name-4 fallthru
    expect_not_opaque /b
    expect_own_inodes 1 # the directory
}

rule_opaque_when_whiteouts_do_not_fit() {
    local names
    mkdir "$tree/full"
    # 40 names of 24 bytes each leave 40 of 1024 bytes beside "." and "..".
    for names in $(seq -w 40); do echo "$names" >"$tree/full/name-number-$names"; done
    new_lower 16 1024 128 filetype
    grow_plain
    replace() {
        local number
        for number in $(seq -w 20); do
            mv "$1/full/name-number-$number" "$1/full/next-number-$number"
        done
    }
    session replace
    settle
    expect_opaque /full
    expect_name /full name-number-30 fallthru
    expect_name /full next-number-07 real
    [ -z "$(kinds_of /full name-number-07)" ] || fail "a name that was renamed is in the layer"
}

rule_unchanged_names_are_fallthrus() {
    usual_lower
    change() { echo more >>"$1/b/name-9"; }
    session change
    settle
    expect_name /b name-9 real
    expect_name /b name-8 fallthru
    expect_name / a fallthru
    expect_name / b real
    expect_name /b small-again fallthru
    expect_own_inodes 2
}

rule_new_directories_are_opaque() {
    usual_lower
    make() { mkdir -p "$1/new/er" && echo x >"$1/new/er/file" && mkdir "$1/b/sub"; }
    session make
    settle
    expect_opaque /new
    expect_opaque /new/er
    expect_opaque /b/sub
    expect_not_opaque /b
    expect_own_inodes 5
}

rule_recreated_name_after_whiteout() {
    usual_lower
    delete() { rm "$1/b/name-3"; }
    recreate() { echo again >"$1/b/name-3"; }
    delete_again() { rm "$1/b/name-3"; }
    session delete
    settle
    expect_name /b name-3 whiteout
    session recreate
    settle
    expect_name /b name-3 real
    session delete_again
    settle
    expect_name /b name-3 whiteout
}

rule_deleted_tree() {
    usual_lower
    delete() { rm -r "$1/c" "$1/b"; }
    recreate() { mkdir -p "$1/c/d" && echo y >"$1/c/d/e"; }
    session delete
    settle
    expect_name / c whiteout
    expect_name / b whiteout
    expect_own_inodes 2 # a/small lost two of its names, so it is own, and its parent
    session recreate
    settle
    expect_name / c real
    expect_opaque /c
    expect_opaque /c/d
}

rule_rename_over_lower_file() {
    usual_lower
    rename() {
        mv -f "$1/b/name-1" "$1/b/name-2"
        echo new >"$1/b/t" && mv -f "$1/b/t" "$1/b/name-5"
        mv -f "$1/b/name-6" "$1/a/middle"
    }
    session rename
    settle
    expect_name /b name-1 whiteout
    expect_name /b name-6 whiteout
    expect_name /b name-2 real
    expect_name /b name-5 real
    expect_name /a middle real
    expect_own_blocks /b/name-2 0
}

rule_renamed_file_owns_no_data() {
    usual_lower
    rename() { mv "$1/a/large" "$1/c/larger"; }
    session rename
    settle
    expect_name /a large whiteout
    expect_name /c larger real
    expect_own_blocks /c/larger 0
    expect_own_inodes 3
}

rule_renamed_directory_owns_inode_and_names_only() {
    local number
    mkdir -p "$tree/big/below" "$tree/other"
    for number in $(seq 2000); do echo "$number" >"$tree/big/file-$number"; done
    echo below >"$tree/big/below/file"
    new_lower 32 1024 128 dir_index,filetype
    grow_plain
    rename() { mv "$1/big" "$1/other/bigger"; }
    session rename
    settle
    expect_own_inodes 2 # the renamed one and its new parent
    expect_opaque /other/bigger
    expect_name / big whiteout
    expect_name /other/bigger below fallthru
    expect_name /other/bigger file-77 fallthru
    expect_name /other/bigger file-1999 fallthru
    change_below() {
        echo more >>"$1/other/bigger/below/file"
        rm "$1/other/bigger/file-77"
        mv "$1/other/bigger" "$1/big"
    }
    session change_below
    settle
    expect_not_opaque /big # where the lower has it again
    expect_name /big file-77 whiteout
    expect_name /big below real
}

rule_directories_swap_names() {
    usual_lower
    swap() { mv "$1/a" "$1/t" && mv "$1/b" "$1/a" && mv "$1/t" "$1/b"; }
    session swap
    settle
    expect_opaque /a
    expect_opaque /b
    expect_name / a real
    expect_name /a name-1 fallthru
    expect_name /b large fallthru
    expect_own_inodes 2
    swap_deep() { mv "$1/c/d" "$1/t" && mv "$1/empty" "$1/c/d" && mv "$1/t" "$1/empty"; }
    session swap_deep
    settle
    session swap
    settle
    expect_not_opaque /a
    expect_not_opaque /b
}

rule_htree_directory_of_many_names() {
    mkdir "$tree/many"
    new_lower 48 4096 128 dir_index,filetype
    rm -f "$lower"
    truncate -s 48M "$lower"
    mke2fs -q -F -t ext2 -b 4096 -I 128 -N 24000 -O dir_index,filetype "$lower" 2>/dev/null
    merged_mib=128
    fill() { mkdir "$1/many" && seq -f "$1/many/a-name-of-some-length-%05g" 1 20000 | xargs touch; }
    change_lower fill
    grow_plain
    change() {
        rm "$1"/many/a-name-of-some-length-0777[0-4]
        chmod 600 "$1/many/a-name-of-some-length-12345"
        mv "$1/many/a-name-of-some-length-00042" "$1/many/another-name"
        echo x >"$1/many/new"
    }
    session change
    settle
    expect_name /many a-name-of-some-length-07770 whiteout
    expect_name /many a-name-of-some-length-00042 whiteout
    expect_name /many another-name real
    expect_name /many a-name-of-some-length-12345 real
    expect_name /many a-name-of-some-length-12346 fallthru
    expect_own_inodes 4
}

# ---- inodes --------------------------------------------------------------------

rule_hard_links_under_all_names() {
    usual_lower
    change() { echo more >>"$1/b/small-again"; }
    session change
    settle
    expect_name /a small real
    expect_name /b small-again real
    expect_name /c/d/e small-thrice real
    [ "$(inode_of "$layer" /a/small)" = "$(inode_of "$layer" /c/d/e/small-thrice)" ] ||
        fail "the names are of two inodes"
    [ "$(field_of "$layer" /a/small Links)" = 3 ] || fail "the layer's inode has not 3 links"
    unlink_one() { rm "$1/a/small" && ln "$1/b/small-again" "$1/empty/fourth"; }
    session unlink_one
    settle
    expect_name /a small whiteout
    expect_name /empty fourth real
}

rule_only_read_is_not_in_the_layer() {
    usual_lower
    session_options=strictatime
    read_all() { cat "$1/a/large" "$1/c/d/e/deep" "$1"/b/* >"$WORK/read" && ls -R "$1" >"$WORK/names"; }
    session read_all
    settle
    expect_own_inodes 0
    expect_name / a fallthru
}

rule_chmod_owns_the_inode_only() {
    usual_lower
    change() { chmod 600 "$1/a/large" && chown 5:70000 "$1/c/long" -h && touch "$1/c/char"; }
    session change
    settle
    expect_own_blocks /a/large 0
    expect_own_blocks /c/long 1 # a long symlink owns its target
    expect_name /c fifo fallthru
    expect_own_inodes 5
}

rule_chmod_of_a_file_an_earlier_session_wrote() {
    local before
    usual_lower
    write() { printf X | dd of="$1/a/large" bs=1 seek=300000 conv=notrunc status=none; }
    change() { chmod 4711 "$1/a/large"; }
    session write
    settle
    before=$(layer_debugfs 'blocks /a/large')
    expect_own_blocks /a/large 3 # the block, its indirect one, the double indirect one
    session change
    settle
    [ "$before" = "$(layer_debugfs 'blocks /a/large')" ] || fail "chmod changed the own blocks"
}

rule_special_files_and_long_symlinks() {
    usual_lower
    change() {
        mknod "$1/c/char2" c 7 8 && mknod "$1/c/wide" b 300 70000 && mkfifo "$1/b/queue"
        rm "$1/c/fifo" && mkfifo "$1/c/fifo"
        ln -s "$(printf 'else/%.0s' $(seq 50))" "$1/b/long-too"
        ln -sfn "$(printf 'other/%.0s' $(seq 40))" "$1/c/long"
        ln -s short "$1/b/fast"
        chmod 600 "$1/c/char"
        mv "$1/short" "$1/shorter"
    }
    again() {
        chown -h 1:1 "$1/b/long-too" "$1/shorter" "$1/b/fast"
        rm "$1/c/wide"
        mv "$1/c/long" "$1/longer"
    }
    session change
    settle
    expect_name /c char2 real
    expect_name / short whiteout
    session again
    settle
    expect_own_blocks /longer 1
    expect_name /c long whiteout
}

# The driver reuses no number within minutes of its deletion, so that lies years back.
_age_deletions() {
    local number
    for number in $deleted_numbers; do
        echo "set_inode_field <$number> dtime 20010203"
    done | debugfs -w -f - "$1" >/dev/null 2>&1
}

rule_inode_number_reused_for_another_type() {
    local reused deleted_numbers
    usual_lower
    deleted_numbers=$(for reused in 1 2 3 4 5 6 7 8 9; do inode_of "$lower" "/b/name-$reused"; done)
    delete() {
        ls -i "$1/b" >"$WORK/numbers.before"
        rm "$1"/b/name-?
    }
    replace() {
        mkfifo "$1/b/fifo" && ln -s "$(printf 'far/%.0s' $(seq 30))" "$1/b/link"
        mknod "$1/b/null" c 1 3 && ln -s near "$1/b/fast" && mkdir "$1/b/sub"
        echo x >"$1/b/file"
        ls -i "$1/b" >"$WORK/numbers.after"
    }
    session delete
    on_device _age_deletions
    session replace
    reused=$(awk 'NR == FNR { old[$1] = $2; next } ($1 in old) && old[$1] != $2' \
        "$WORK/numbers.before" "$WORK/numbers.after" | wc -l)
    [ "$reused" -ge 4 ] || fail "only $reused numbers were reused"
    settle
    expect_name /b fifo real
    expect_name /b name-1 whiteout
    delete_again() { rm -r "$1/b/fifo" "$1/b/link" "$1/b/null" "$1/b/fast" "$1/b/sub" "$1/b/file"; }
    replace_back() {
        seq -f "$1/b/name-%g" 1 9 | while read -r name; do echo "again ${name##*/}" >"$name"; done
    }
    session delete_again
    on_device _age_deletions
    session replace_back
    settle
    expect_name /b name-1 real
    [ -z "$(kinds_of /b fifo)" ] || fail "a deleted new name is in the layer"
}

rule_file_moved_onto_anothers_number() {
    local deleted_numbers
    usual_lower
    deleted_numbers=$(inode_of "$lower" /a/middle)
    # A copy gets the number of the file that was there; then it takes its name, too.
    delete() { rm "$1/a/middle"; }
    move() {
        cp "$1/a/large" "$1/a/copy"
        rm "$1/a/large"
        mv "$1/a/copy" "$1/a/large"
        ls -i "$1/a" >"$WORK/moved"
    }
    session delete
    on_device _age_deletions
    session move
    grep -q "^ *$(inode_of "$lower" /a/middle) large\$" "$WORK/moved" ||
        fail "the number was not reused: $(cat "$WORK/moved")"
    settle
    expect_name /a middle whiteout
    expect_name /a large real
    expect_own_blocks /a/large 708 # wholly own: 704 of data, 4 indirect
}

rule_extended_attributes() {
    usual_lower 4096
    set_some() {
        setfattr -n user.one -v first "$1/a/small" "$1/a/large" "$1/c"
        setfattr -n trusted.big -v "$(printf 'x%.0s' $(seq 900))" "$1/b/name-1"
    }
    change_some() {
        setfattr -n user.one -v second "$1/a/small"
        setfattr -x user.one "$1/c"
        setfattr -n user.two -v 2 "$1/b/name-1"
        rm "$1/a/large"
    }
    session set_some
    settle
    expect_own_blocks /a/large 0
    [ "$(field_of "$layer" /a/large 'File ACL')" -gt 0 ] || fail "the xattr block is not own"
    session change_some
    settle
    [ "$(field_of "$layer" /c 'File ACL')" = 0 ] || fail "a deleted xattr block is own"
    expect_name /a large whiteout
}

run_rules "$@"
