// SPDX-License-Identifier: BSD-3-Clause
//
// Uppers with a session, over lowers in memory, and what their checkpoints are
// held against.
#ifndef UNIONFS_TESTS_UNIT_CHECKPOINT_CHECKPOINT_BENCH_H
#define UNIONFS_TESTS_UNIT_CHECKPOINT_CHECKPOINT_BENCH_H

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/unit/support/image_facts.h"
#include "tests/unit/support/overlay_fixture.h"

namespace unionfs::testing {

// Writes to the session whatever differs, block by block.
void write_differences(Disk& disk, ConstByteSpan wanted);
// The merged image after these requests of debugfs and e2fsck -fy.
std::vector<std::byte> changed_by_debugfs(const Disk& disk,
                                          const std::vector<std::string>& requests);

// The session becomes a layer; the disk is gone afterwards.
Result<CheckpointFigures> checkpoint(std::unique_ptr<Disk> disk);

// An upper whose layer owns something of everything, with a closed session that
// changes something of everything.  Made once per block size.
class CheckpointImages {
 public:
  static const CheckpointImages& of(uint32_t block_size_bytes);

  const Lower& lower() const { return lower_; }
  std::unique_ptr<MemoryFile> with_session() const { return with_session_->clone(); }
  std::unique_ptr<MemoryFile> with_layer() const { return with_layer_->clone(); }
  // The merged image before and after the session.
  const std::vector<std::byte>& before() const { return before_; }
  const std::vector<std::byte>& session() const { return session_; }
  // ... and after the session's checkpoint: the same but for what is free.
  const std::vector<std::byte>& after() const { return after_; }

 private:
  explicit CheckpointImages(uint32_t block_size_bytes);

  Lower lower_;
  std::unique_ptr<MemoryFile> with_layer_;
  std::unique_ptr<MemoryFile> with_session_;
  std::vector<std::byte> before_;
  std::vector<std::byte> session_;
  std::vector<std::byte> after_;
};

// What an upper shows to one that opens it now, finishing a checkpoint first.
std::vector<std::byte> shown(const Lower& lower, WritableFile& upper,
                             const std::string& boot_id = kBootId);

}  // namespace unionfs::testing

#endif  // UNIONFS_TESTS_UNIT_CHECKPOINT_CHECKPOINT_BENCH_H
