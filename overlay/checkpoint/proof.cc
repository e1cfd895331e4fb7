// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/checkpoint/proof.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <tuple>
#include <vector>

#include "fsparse/directory.h"
#include "fsparse/htree.h"
#include "overlay/host/cancellation.h"

namespace unionfs {
namespace {

using LiveEntry = std::tuple<uint32_t, uint32_t, uint8_t, std::string>;

class Prover {
 public:
  Prover(const Volume& session, const Volume& synthesized, const Geometry& geometry,
         const Layer& layer, const CompareSources& sources, const std::atomic<bool>& is_cancelled)
      : session_(session),
        synthesized_(synthesized),
        geometry_(geometry),
        layer_(layer),
        sources_(sources),
        is_cancelled_(is_cancelled),
        used_(session),
        block_size_(geometry.merged().block_size_bytes),
        expected_(kMaxRunBytes),
        found_(kMaxRunBytes) {}

  Result<void> prove_superblock() const {
    ext2::Superblock expected = normalized(session_.superblock().raw());
    ext2::Superblock found = normalized(synthesized_.superblock().raw());
    if (std::memcmp(&expected, &found, sizeof(found)) != 0) {
      return corrupt("{}: the new layer would give another superblock", name());
    }
    return {};
  }

  // Blocks are proven in stretches, because most are the same; so finish() is due
  // at the end.  They come in ascending order.
  Result<void> add(BlockNumber block) {
    UNIONFS_ASSIGN(const bool is_used, used_.is_used(block));
    if (!is_used) {
      return {};
    }
    if (run_.end != block || run_.count() == kMaxRunBytes / block_size_) {
      UNIONFS_TRY(check_not_cancelled(is_cancelled_));
      UNIONFS_TRY(finish());
      run_ = {block, block};
    }
    ++run_.end;
    return {};
  }

  // Proves the stretch.
  Result<void> finish() {
    for (BlockRange rest = run_; !rest.empty();) {
      const SourcesRun run = sources_ ? sources_(rest) : SourcesRun{false, rest.end};
      if (!run.is_same) {
        UNIONFS_TRY(prove_run({rest.begin, run.end}));
      }
      rest.begin = run.end;
    }
    return {};
  }

 private:
  const std::string& name() const { return session_.name(); }

  // Block by block only where it is not the same.
  Result<void> prove_run(BlockRange run) {
    const size_t length = run.count() * block_size_;
    const uint64_t offset = run.begin.value() * block_size_;
    UNIONFS_TRY(session_.image().read(offset, ByteSpan(expected_).first(length)));
    UNIONFS_TRY(synthesized_.image().read(offset, ByteSpan(found_).first(length)));
    if (same_bytes(ByteSpan(expected_).first(length), ByteSpan(found_).first(length))) {
      return {};
    }
    for (BlockNumber block = run.begin; block < run.end; ++block) {
      UNIONFS_TRY(prove(block));
    }
    return {};
  }

  Result<void> prove(BlockNumber block) {
    const ByteSpan expected = ByteSpan(expected_).first(block_size_);
    const ByteSpan found = ByteSpan(found_).first(block_size_);
    UNIONFS_TRY(session_.read_block(block, expected));
    UNIONFS_TRY(synthesized_.read_block(block, found));
    if (same_bytes(expected, found)) {
      return {};
    }
    const FixedRange* fixed = geometry_.fixed_at_or_after(block);
    if (fixed != nullptr && fixed->blocks.contains(block)) {
      return fixed->kind == FixedKind::kInodeTable ? prove_slots(*fixed, block)
                                                   : differs(block, "metadata");
    }
    const TranslatedBlock* translated = layer_.translated(block);
    if (translated != nullptr && translated->kind == TranslatedKind::kDirectory) {
      return prove_names(*translated);
    }
    return differs(block, "a file's block");
  }

  Failure differs(BlockNumber block, const char* what) const {
    return corrupt("{}: the new layer would give other bytes of block {} ({})", name(), block,
                   what);
  }

  // Without counters and what a layer keeps elsewhere.
  static ext2::Superblock normalized(ext2::Superblock raw) {
    raw.s_free_blocks_count = 0U;
    raw.s_free_inodes_count = 0U;
    raw.s_overhead_clusters = 0U;
    raw.s_block_group_nr = uint16_t{0};
    raw.s_jnl_blocks = {};
    return raw;
  }

  Result<void> prove_slots(const FixedRange& range, BlockNumber block) {
    const Layout& layout = geometry_.merged();
    const size_t size = layout.inode_size_bytes;
    const uint64_t first = (block - range.blocks.begin) * layout.inodes_per_block();
    for (size_t i = 0; i < layout.inodes_per_block() && first + i < layout.inodes_per_group; ++i) {
      const InodeNumber inode(static_cast<uint32_t>(
          uint64_t{range.group.value()} * layout.inodes_per_group + first + i + 1));
      UNIONFS_ASSIGN(const bool is_used, used_.is_used(inode));
      if (!is_used) {
        continue;
      }
      const ByteSpan expected = ByteSpan(expected_).subspan(i * size, size);
      const ByteSpan found = ByteSpan(found_).subspan(i * size, size);
      forget_access_time(expected);
      forget_access_time(found);
      if (!same_bytes(expected, found)) {
        return corrupt("{}: the new layer would give another inode {}", name(), inode);
      }
    }
    return {};
  }

  Result<void> prove_names(const TranslatedBlock& entry) {
    UNIONFS_ASSIGN(const auto expected,
                   live_entries(ConstByteSpan(expected_).first(block_size_), entry));
    UNIONFS_ASSIGN(const auto found, live_entries(ConstByteSpan(found_).first(block_size_), entry));
    const bool has_names = std::any_of(expected.begin(), expected.end(), [](const LiveEntry& e) {
      return std::get<3>(e) != "." && std::get<3>(e) != "..";
    });
    UNIONFS_ASSIGN(const bool is_index, is_index_block(entry, has_names));
    if (expected != found || is_index) {
      return corrupt("{}: the new layer would give other names in block {} of directory inode {}",
                     name(), entry.block, entry.inode);
    }
    return {};
  }

  // All bytes of such a block count, although it has no names but "." and "..".
  Result<bool> is_index_block(const TranslatedBlock& entry, bool has_names) {
    UNIONFS_ASSIGN(const InodeRecord directory, read_inode(session_, entry.inode));
    if (!directory.has_index()) {
      return false;
    }
    if (entry.file_block == 0) {
      return !has_names;
    }
    if (indexed_ != entry.inode) {
      UNIONFS_TRY(find_index_nodes(directory));
    }
    return std::binary_search(index_nodes_.begin(), index_nodes_.end(),
                              FileBlock(entry.file_block));
  }

  // A damaged index, or one of an unknown kind, has no nodes: nobody goes through it.
  Result<void> find_index_nodes(const InodeRecord& directory) {
    indexed_ = directory.number();
    index_nodes_.clear();
    Result<std::vector<FileBlock>> nodes = index_nodes(session_, directory);
    if (nodes) {
      index_nodes_ = std::move(*nodes);
      std::sort(index_nodes_.begin(), index_nodes_.end());
    } else if (nodes.error().kind == ErrorKind::kSystem) {
      return Failure(std::move(nodes).error());
    }
    return {};
  }

  Result<std::vector<LiveEntry>> live_entries(ConstByteSpan bytes,
                                              const TranslatedBlock& entry) const {
    std::vector<LiveEntry> entries;
    const DirectoryPlace place{name(), entry.inode, entry.block};
    UNIONFS_TRY(for_each_entry(bytes, DirectoryRules::of(session_), place,
                               [&](const EntryView& view) -> Result<EntryStep> {
                                 if (view.kind == EntryKind::kReal) {
                                   entries.emplace_back(view.offset, view.inode.value(),
                                                        view.file_type, std::string(view.name));
                                 }
                                 return EntryStep::kContinue;
                               }));
    return entries;
  }

  static constexpr size_t kMaxRunBytes = 256 * 1024;

  const Volume& session_;
  const Volume& synthesized_;
  const Geometry& geometry_;
  const Layer& layer_;
  const CompareSources& sources_;
  const std::atomic<bool>& is_cancelled_;
  UsedNumbers used_;
  InodeNumber indexed_;                 // the directory whose nodes these are
  std::vector<FileBlock> index_nodes_;  // ascending
  BlockRange run_;                      // used, and not proven yet
  const uint32_t block_size_;
  std::vector<std::byte> expected_;  // what the session shows of a run, or of a block
  std::vector<std::byte> found_;     // what the new layer would show
};

}  // namespace

Result<void> prove_same(const Volume& session, const Volume& synthesized, const Geometry& geometry,
                        const Layer& layer, const BlockSet& blocks, const CompareSources& sources,
                        const std::atomic<bool>& is_cancelled) {
  Prover prover(session, synthesized, geometry, layer, sources, is_cancelled);
  UNIONFS_TRY(prover.prove_superblock());
  UNIONFS_TRY(blocks.for_each([&prover](BlockNumber block) { return prover.add(block); }));
  return prover.finish();
}

}  // namespace unionfs
