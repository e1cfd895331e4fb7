// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/check/claim_check.h"

#include "fsparse/xattr.h"

namespace unionfs {
namespace {

void check_group_claims(const CheckSources& sources, const LayerNumbers& numbers,
                        const OwnFiles& files, Violations& violations) {
  const Layout& layout = sources.layout();
  for (uint32_t number = 0; number < layout.group_count(); ++number) {
    const GroupNumber group(number);
    const ConstByteSpan bits = numbers.own_blocks.bits().of(group);
    const BlockRange blocks = layout.blocks_of(group);
    const uint64_t count = bits.empty() ? 0 : blocks.count();
    for (uint64_t bit = 0; (bit = find_set_bit(bits, bit, count)) < count; ++bit) {
      if (!files.blocks.test(blocks.begin + bit)) {
        violations.add_mendable("block {} is marked own, but no own inode has it",
                                blocks.begin + bit);
      }
    }
    const uint32_t directories = files.directory_counts[number];
    const uint32_t claimed = sources.upper.group(group).used_dirs_count;
    if (claimed != directories) {
      violations.add_mendable("group {}: bg_used_dirs_count is {}, but it has {} own directories",
                              group, claimed, directories);
    }
  }
}

// An entry of the table beside what the walk found.  Any of the inodes that
// share an xattr block may be named.
bool is_same_claim(const TranslatedBlock& entry, const TranslatedBlock& wanted) {
  return entry.kind == wanted.kind && entry.level == wanted.level &&
         entry.file_block == wanted.file_block &&
         (entry.inode == wanted.inode || wanted.kind == TranslatedKind::kXattr);
}

void check_translated_entry(const TranslatedBlock& entry, const LayerNumbers& numbers,
                            const OwnFiles& files, Violations& violations) {
  const auto walked = files.translated.find(entry.block);
  if (entry.kind == TranslatedKind::kXattrCount) {
    if (walked != files.translated.end() || numbers.own_blocks.test(entry.block)) {
      violations.add_mendable("translated block {} is listed as a count of the lower's, but is own",
                              entry.block);
    }
    return;
  }
  if (walked == files.translated.end()) {
    violations.add_mendable("translated block {} of inode {} is listed, but no own inode has it",
                            entry.block, entry.inode);
    return;
  }
  const TranslatedBlock& wanted = walked->second;
  if (!is_same_claim(entry, wanted)) {
    violations.add_mendable(
        "translated block {}: listed as kind {}, level {}, file block {} of inode {}, "
        "but it is kind {}, level {}, file block {} of inode {}",
        entry.block, static_cast<int>(entry.kind), entry.level, entry.file_block, entry.inode,
        static_cast<int>(wanted.kind), wanted.level, wanted.file_block, wanted.inode);
  }
}

void check_translated(const LayerTables& tables, const LayerNumbers& numbers, const OwnFiles& files,
                      Violations& violations) {
  std::set<BlockNumber> listed;
  for (const TranslatedBlock& entry : tables.translated) {
    listed.insert(entry.block);
    check_translated_entry(entry, numbers, files, violations);
  }
  for (const auto& [block, wanted] : files.translated) {
    if (!listed.contains(block)) {
      violations.add_mendable("translated block {} of inode {} is not listed", block, wanted.inode);
    }
  }
}

Result<void> check_xattr_counts(const CheckSources& sources, const OwnFiles& files,
                                Violations& violations) {
  for (const auto& [block, users] : files.xattr_users) {
    UNIONFS_ASSIGN(const auto header,
                   read_structure<ext2::XattrHeader>(sources.upper.image(),
                                                     sources.layout().offset_of(block)));
    if (header.h_refcount != users) {
      violations.add_mendable("xattr block {}: h_refcount is {}, but {} own inodes have it", block,
                              header.h_refcount, users);
    }
  }
  return {};
}

}  // namespace

Result<void> check_claims(const CheckSources& sources, const LayerNumbers& numbers,
                          const OwnFiles& files, Violations& violations) {
  check_group_claims(sources, numbers, files, violations);
  check_translated(sources.tables, numbers, files, violations);
  return violations.take(check_xattr_counts(sources, files, violations));
}

}  // namespace unionfs
