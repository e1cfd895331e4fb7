// SPDX-License-Identifier: BSD-3-Clause
//
// What becomes one layer: layers as they are, and frozen levels as clean file systems.
#ifndef UNIONFS_TOOLS_MAKE_LEVEL_SOURCE_H
#define UNIONFS_TOOLS_MAKE_LEVEL_SOURCE_H

#include <CLI/CLI.hpp>
#include <memory>

#include "overlay/stack/chain.h"
#include "overlay/stack/mended_image.h"
#include "overlay/stack/squash.h"

namespace unionfs::img {

// What a person says of a frozen level, of which no valid flag says that it is clean.
struct FrozenTrust {
  bool was_frozen = false;  // the guest had frozen its file system
  bool with_fsck = false;   // e2fsck makes it clean
};

// Adds --frozen and --fsck.
void add_frozen_trust(CLI::App& command, FrozenTrust& trust);

// Refers to the chain, and owns the temporary files.
class LevelSource {
 public:
  // The levels of `chain` from number `kept` on, counted from 0 without the lower.  kInvalid where
  // that one has no layer, and for what the flags do not fit to; kUnsupported where the levels
  // show no clean file system, and the flags do not help: an error says which one does.
  static Result<std::unique_ptr<LevelSource>> open(const Chain& chain, size_t kept,
                                                   const FrozenTrust& trust);

  const SquashSource& squash_source() const { return *source_; }
  // Open files without a name, which are no part of it.
  uint64_t dropped_inodes() const { return mended_ ? mended_->dropped_inodes() : 0; }

 private:
  explicit LevelSource(const Chain& chain) : chain_(chain) {}

  Result<void> find_levels(size_t kept);
  Result<void> check_clean() const;
  Result<void> mend();
  Result<void> run_fsck();
  const std::string& name() const { return chain_.top_name(); }

  const Chain& chain_;
  std::optional<SquashSource> source_;
  std::unique_ptr<MendedImage> mended_;  // as the guest had frozen it
  // As e2fsck left it.
  std::unique_ptr<PosixFile> checked_;
  std::optional<Volume> checked_volume_;
  std::optional<BlockSet> checked_changes_;
};

}  // namespace unionfs::img

#endif  // UNIONFS_TOOLS_MAKE_LEVEL_SOURCE_H
