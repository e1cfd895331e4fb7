// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/upper/lower_comparison.h"

#include <algorithm>
#include <numeric>
#include <random>

#include "overlay/upper/layer_tree.h"
#include "overlay/upper/lower_identity.h"
#include "overlay/upper/lower_records_form.h"

namespace unionfs {
namespace {

namespace format = upper_format;

// A name of the lower that leads to this inode, in a directory of that number; empty
// if there is none.
std::string name_below(const Volume& lower, InodeNumber directory, InodeNumber inode) {
  if (directory.value() > lower.layout().inode_count()) {
    return {};
  }
  const auto record = read_inode(lower, directory);
  if (!record || !record->is_directory()) {
    return {};
  }
  const auto entries = read_directory(lower, *record);
  if (!entries) {
    return {};
  }
  const auto found = std::find_if(entries->begin(), entries->end(), [&](const NamedEntry& entry) {
    return entry.inode == inode && entry.name != "." && entry.name != "..";
  });
  return found == entries->end() ? std::string() : found->name;
}

// The path of an inode by the lower's names in the layer's directories or, where they have
// none, by the layer's: the lower's file is meant, and the layer may use its number for
// another one.  For a message: what cannot be read has no name.
std::string find_path(const Volume& lower, const Volume& upper, InodeNumber inode) {
  std::string by_layer = inode == kRootDirectory ? "/" : "";
  std::string by_lower;
  (void)walk_layer(
      upper, {[&](const LayerDirectory& directory) -> Result<void> {
                const std::string name =
                    by_lower.empty() ? name_below(lower, directory.record.number(), inode) : "";
                by_lower += name.empty() ? "" : directory.path + "/" + name;
                return {};
              },
              [&](const LayerDirectory& directory, const NamedEntry& entry) -> Result<void> {
                if (by_layer.empty() && entry.kind == EntryKind::kReal && entry.inode == inode) {
                  by_layer = directory.path + "/" + entry.name;
                }
                return {};
              }});
  return by_lower.empty() ? by_layer : by_lower;
}

bool has_content(const InodeRecord& inode) {
  return inode.is_directory() || inode.is_regular();
}

}  // namespace

LowerComparison::LowerComparison(const Volume& lower, const Volume& upper, const Layer& layer,
                                 const LowerRecords& records, const std::atomic<bool>& is_cancelled)
    : lower_(lower),
      upper_(upper),
      layer_(layer),
      records_(records),
      digests_(lower, bits_of(layer), is_cancelled),
      is_cancelled_(is_cancelled) {}

uint32_t LowerComparison::count() const {
  return static_cast<uint32_t>(records_.groups.size() + records_.inodes.size() +
                               records_.xattrs.size());
}

std::optional<InodeNumber> LowerComparison::inode_of(uint32_t index) const {
  return index < records_.inodes.size() ? std::optional(records_.inodes[index].inode)
                                        : std::nullopt;
}

std::optional<uint32_t> LowerComparison::index_of(InodeNumber inode) const {
  const auto found =
      std::lower_bound(records_.inodes.begin(), records_.inodes.end(), inode,
                       [](const LowerInode& record, InodeNumber n) { return record.inode < n; });
  return found != records_.inodes.end() && found->inode == inode
             ? std::optional(static_cast<uint32_t>(found - records_.inodes.begin()))
             : std::nullopt;
}

// Inodes come first, because their messages say most; then groups, then xattr blocks.
Result<uint64_t> LowerComparison::cost_bytes(uint32_t index) const {
  const uint64_t block_size = lower_.layout().block_size_bytes;
  if (index < records_.inodes.size()) {
    return digests_.cost_bytes(records_.inodes[index].inode);
  }
  return index - records_.inodes.size() < records_.groups.size() ? 2 * block_size : block_size;
}

Result<void> LowerComparison::compare(uint32_t index) const {
  if (index < records_.inodes.size()) {
    return compare_inode(records_.inodes[index]);
  }
  index -= static_cast<uint32_t>(records_.inodes.size());
  if (index < records_.groups.size()) {
    const LowerGroup& record = records_.groups[index];
    UNIONFS_ASSIGN(const LowerGroup found, digests_.of(record.group));
    if (found == record) {
      return {};
    }
    return differs(fmt::format("other blocks or inodes of group {} are in use", record.group));
  }
  const LowerXattr& record = records_.xattrs[index - records_.groups.size()];
  UNIONFS_ASSIGN(const LowerXattr found, digests_.of(record.block));
  if (found == record) {
    return {};
  }
  return differs(fmt::format("the extended attributes in block {} differ", record.block));
}

Result<void> LowerComparison::compare_inode(const LowerInode& record) const {
  UNIONFS_ASSIGN(const LowerInode found, digests_.of(record.inode));
  if (found == record) {
    return {};
  }
  // Metadata does not depend on what the layer says of the inode.
  if (found.flags != record.flags && found.metadata == record.metadata) {
    return corrupt(
        "{}: state area: lower records: inode {} is recorded with flags {:#x}, not {:#x}",
        upper_.name(), record.inode, record.flags, found.flags);
  }
  const std::string name = name_of(record);
  UNIONFS_ASSIGN(const InodeRecord inode, read_inode(lower_, record.inode));
  if (found.metadata != record.metadata || !has_content(inode)) {
    return differs(
        fmt::format("{} is another file, or was changed or moved to other blocks; last change {}",
                    name, utc_text(inode.raw().i_ctime)));
  }
  return differs(fmt::format("{} has other {}", name, inode.is_directory() ? "names" : "content"));
}

Result<void> LowerComparison::differs(const std::string& difference) const {
  return invalid("{}", not_the_lower(lower_.name(), upper_.name(), difference));
}

std::string LowerComparison::name_of(const LowerInode& record) const {
  const std::string path = find_path(lower_, upper_, record.inode);
  return path.empty() ? fmt::format("inode {}", record.inode)
                      : fmt::format("{} (inode {})", path, record.inode);
}

Result<void> LowerComparison::compare_all() const {
  UNIONFS_ASSIGN(const LowerRecords wanted,
                 form_lower_records(lower_, bits_of(layer_), layer_.tables().translated, nullptr,
                                    upper_.name(), is_cancelled_));
  if (wanted == records_) {
    return {};
  }
  // Whether it is another lower matters more than what is wrong with the records.
  std::optional<Error> damage;
  for (uint32_t index = 0; index < count(); ++index) {
    Result<void> compared = compare(index);
    if (!compared && compared.error().kind != ErrorKind::kCorrupt) {
      return compared;
    }
    if (!compared && !damage) {
      damage = std::move(compared).error();
    }
  }
  if (damage) {
    return Failure(std::move(*damage));
  }
  return corrupt(
      "{}: state area: lower records: {} inodes, {} groups and {} xattr blocks are recorded, but "
      "the layer depends on {}, {} and {}",
      upper_.name(), records_.inodes.size(), records_.groups.size(), records_.xattrs.size(),
      wanted.inodes.size(), wanted.groups.size(), wanted.xattrs.size());
}

Result<std::vector<uint32_t>> compare_some(const LowerComparison& comparison,
                                           const std::function<bool(InodeNumber)>& can_wait) {
  constexpr uint32_t kMaxRecords = 1000;
  constexpr uint32_t kRandomRecords = 64;
  constexpr uint64_t kMaxBytes = uint64_t{16} << 20;
  constexpr uint64_t kSmallBytes = uint64_t{64} << 10;
  std::vector<uint32_t> order(comparison.count());
  std::iota(order.begin(), order.end(), 0U);
  size_t wanted = order.size();
  if (wanted > kMaxRecords) {
    std::mt19937 random(std::random_device{}());
    for (size_t i = 0; i < kRandomRecords; ++i) {
      std::swap(order[i],
                order[std::uniform_int_distribution<size_t>(i, order.size() - 1)(random)]);
    }
    wanted = kRandomRecords;
  }
  std::vector<uint32_t> left;
  uint64_t bytes = 0;
  for (size_t i = 0; i < wanted; ++i) {
    UNIONFS_ASSIGN(const uint64_t cost, comparison.cost_bytes(order[i]));
    const std::optional<InodeNumber> inode = comparison.inode_of(order[i]);
    if (bytes + cost > kMaxBytes || (cost > kSmallBytes && inode && can_wait(*inode))) {
      left.push_back(order[i]);
      continue;
    }
    bytes += cost;
    UNIONFS_TRY(comparison.compare(order[i]));
  }
  left.insert(left.end(), order.begin() + static_cast<ptrdiff_t>(wanted), order.end());
  std::sort(left.begin(), left.end());
  return left;
}

}  // namespace unionfs
