// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/base/base_plan.h"

#include <algorithm>
#include <map>
#include <span>
#include <string_view>
#include <utility>

#include "fsparse/htree.h"
#include "fsparse/xattr_form.h"
#include "overlay/base/block_map_form.h"
#include "overlay/base/file_blocks.h"
#include "overlay/upper/hash.h"

namespace unionfs {
namespace {

constexpr uint64_t kLargeFileBytes = kPieceBytes;

// The rules of docs/mkbase.md: what has a path of one in `divisor` begins at a multiple of
// `multiple`.
struct Beginning {
  uint64_t divisor;
  uint64_t multiple;
};
// The rarest first.  Multiples are pieces, or inodes.
constexpr std::array<Beginning, 3> kSmallFileBeginnings = {{{4096, 64}, {256, 4}, {64, 1}}};
constexpr std::array<Beginning, 3> kLargeFileBeginnings = {{{128, 64}, {16, 4}, {1, 1}}};
constexpr std::array<Beginning, 1> kNameBeginnings = {{{32, 1}}};  // of directories
constexpr std::array<Beginning, 1> kMapBeginnings = {{{32, 1}}};
constexpr std::array<Beginning, 2> kInodeBeginnings = {{{1024, 256}, {128, 32}}};

// Zones are rounded to such a part of a power of two.
constexpr uint64_t kNameZoneParts = 4;
constexpr uint64_t kMapZoneParts = 4;
constexpr uint64_t kSmallFileZoneParts = 8;
constexpr uint64_t kLargeFileZoneParts = 16;

constexpr uint64_t kLostAndFoundBytes = 16384;
constexpr std::array<uint32_t, 4> kHashSeed = {0x756e696f, 0x6e66732d, 0x62617365, 0x2d736565};

uint64_t hash_of(const std::string& path) {
  Hash hash;
  hash.add(std::as_bytes(std::span(path)));
  return hash.value();
}

// Of the first beginning that the hash of a path has; 0 if it has none.
uint64_t multiple_for(uint64_t hash, std::span<const Beginning> beginnings) {
  const auto found = std::ranges::find_if(
      beginnings, [hash](const Beginning& beginning) { return hash % beginning.divisor == 0; });
  return found == beginnings.end() ? 0 : found->multiple;
}

// All that a tree says, in one digest.
class TreeDigest {
 public:
  void add(uint64_t number) { hash_.add(bytes_of(Le64(number))); }
  void add(ConstByteSpan bytes) {
    add(bytes.size());
    hash_.add(bytes);
  }
  void add(std::string_view text) { add(std::as_bytes(std::span(text))); }
  void add(const FileTime& time) {
    add(static_cast<uint64_t>(time.seconds));
    add(uint64_t{time.nanoseconds});
  }

  // By its path, or as it is described.
  void add(const std::string& path, const TreeFile& file) {
    add(path);
    const FileState& state = file.state;
    add(uint64_t{file.is_implied});
    add(uint64_t{state.mode});
    if (file.is_implied) {
      return;
    }
    for (const uint32_t number : {state.user_id, state.group_id, state.user_flags,
                                  state.device_major, state.device_minor}) {
      add(uint64_t{number});
    }
    for (const FileTime& time :
         {state.accessed, state.changed, state.modified, state.created.value_or(FileTime())}) {
      add(time);
    }
    add(state.target);
    add(state.attributes.size());
    for (const Attribute& attribute : state.attributes) {
      add(uint64_t{attribute.name_index});
      add(attribute.name);
      add(attribute.value);
    }
  }

  // RFC 9562: version 8 is for whoever fills it as he likes.
  std::array<uint8_t, 16> uuid() const {
    std::array<uint8_t, 16> bytes = hash_.value();
    bytes[6] = static_cast<uint8_t>((bytes[6] & 0x0f) | 0x80);
    bytes[8] = static_cast<uint8_t>((bytes[8] & 0x3f) | 0x80);
    return bytes;
  }

 private:
  LongHash hash_;
};

// The key of attributes: those of two files are the same if and only if their keys are.
std::string key_of(const std::vector<Attribute>& attributes) {
  std::string key;
  for (const Attribute& attribute : attributes) {
    for (const uint64_t number : {uint64_t{attribute.name_index}, uint64_t{attribute.name.size()},
                                  uint64_t{attribute.value.size()}}) {
      key += fmt::format("{},", number);
    }
    key += attribute.name;
    key.append(reinterpret_cast<const char*>(attribute.value.data()), attribute.value.size());
  }
  return key;
}

// A part of the image that is filled from its beginning.
class Zone {
 public:
  DataRange take(uint64_t count) {
    const DataRange taken{next_, count};
    next_ += count;
    if (!used_.empty() && used_.back().end() == taken.begin) {
      used_.back().count += count;
    } else if (count > 0) {
      used_.push_back(taken);
    }
    return taken;
  }
  void skip_to_multiple(uint64_t multiple) {
    next_ = DataPosition(round_up(next_.value(), multiple));
  }
  // The zone itself begins here, and until now its first block was 0.
  void begin_at(DataPosition begin, std::vector<DataRange>& used) const {
    for (const DataRange& range : used_) {
      used.push_back({begin + range.begin.value(), range.count});
    }
  }
  DataPosition end() const { return next_; }

 private:
  DataPosition next_;
  std::vector<DataRange> used_;
};

class BasePlanner {
 public:
  BasePlanner(BaseTree ready, const BaseOptions& options)
      : options_(options),
        superblock_(constant_superblock(options)),
        next_number_(ext2::kGoodOldFirstInode + (ready.lost_and_found ? 1 : 0)) {
    plan_.used_inodes.push_back({InodeNumber(1), next_number_});
    plan_.ready = std::move(ready);
    plan_.inodes.resize(tree().file_count());
  }

  Result<BasePlan> run() {
    UNIONFS_TRY(walk_tree(tree(), [this](const TreeVisit& visit) { return meet(visit); }));
    plan_.uuid = digest_.uuid();
    put_zones_in_place();
    return std::move(plan_);
  }

 private:
  const FileTree& tree() const { return plan_.ready.tree; }
  uint32_t pointers_per_block() const {
    return options_.block_size_bytes / static_cast<uint32_t>(sizeof(uint32_t));
  }
  uint64_t blocks_per_piece() const { return kPieceBytes / options_.block_size_bytes; }

  Result<void> meet(const TreeVisit& visit) {
    const TreeFile& file = tree().file(visit.name.file);
    BaseInode& inode = plan_.inodes[visit.name.file];
    ++inode.links_count;
    if (visit.is_first_name) {
      UNIONFS_TRY(place(visit, file, inode));
    } else {
      digest_.add(visit.path);
      digest_.add(uint64_t{inode.number.value()});
    }
    if (inode.links_count > ext2::kMaxLinks) {
      return invalid("{}: the file has more than {} names", quoted_name(visit.path),
                     ext2::kMaxLinks);
    }
    return {};
  }

  // The first name of a file.
  Result<void> place(const TreeVisit& visit, const TreeFile& file, BaseInode& inode) {
    const uint64_t hash = hash_of(visit.path);
    inode.number = number_of(visit.name.file, hash);
    inode.generation = std::max(static_cast<uint32_t>(hash >> 32), 1U);
    digest_.add(visit.path, file);
    if (!plan_.rounded_path && !keeps_times(file.state)) {
      plan_.rounded_path = visit.path;
    }
    UNIONFS_TRY(place_attributes_of(visit, file, inode));
    switch (file.state.type()) {
      case ext2::kModeDirectory:
        return place_directory(visit, inode);
      case ext2::kModeSymlink:
        inode.names = names_.take(is_fast_target(file.state.target) ? 0 : 1);
        return {};
      case ext2::kModeRegular:
        return place_content(visit, file, inode);
      default:
        return {};
    }
  }

  // But for the birth, for which a record of 128 bytes has no room at all.
  bool keeps_times(const FileState& state) const {
    const uint32_t size = options_.inode_size_bytes;
    return can_keep_time(state.accessed, size) && can_keep_time(state.changed, size) &&
           can_keep_time(state.modified, size);
  }

  InodeNumber number_of(TreeFileId id, uint64_t hash) {
    if (id == kTreeRoot) {
      return kRootDirectory;
    }
    if (id == plan_.ready.lost_and_found) {
      return InodeNumber(ext2::kGoodOldFirstInode);
    }
    if (const uint64_t multiple = multiple_for(hash, kInodeBeginnings); multiple != 0) {
      // The first inode is number 1.
      next_number_ =
          InodeNumber(static_cast<uint32_t>(round_up(next_number_.value() - 1, multiple)) + 1);
      plan_.used_inodes.push_back({next_number_, next_number_});
    }
    const InodeNumber number = next_number_;
    ++next_number_;
    plan_.used_inodes.back().end = next_number_;
    return number;
  }

  Result<void> place_attributes_of(const TreeVisit& visit, const TreeFile& file, BaseInode& inode) {
    const std::optional<PlacedAttributes> placed = place_attributes(
        file.state.attributes, attribute_room(options_), options_.block_size_bytes);
    if (!placed) {
      return invalid(
          "{}: its extended attributes do not fit into an inode of {} bytes and a block of {}",
          quoted_name(visit.path), options_.inode_size_bytes, options_.block_size_bytes);
    }
    if (!placed->in_block.empty()) {
      const auto [found, is_new] = attribute_blocks_.try_emplace(key_of(placed->in_block), 0);
      std::vector<BaseAttributeBlock>& blocks = plan_.attribute_blocks;
      if (is_new || blocks[found->second].reference_count == ext2::kMaxXattrReferences) {
        found->second = static_cast<uint32_t>(blocks.size());
        blocks.push_back({names_.take(1), 0});
      }
      ++blocks[found->second].reference_count;
      inode.attribute_block = found->second;
    }
    return {};
  }

  Result<void> place_directory(const TreeVisit& visit, BaseInode& inode) {
    const TreeFileId id = visit.name.file;
    inode.parent = visit.directory;
    ++inode.links_count;  // "."
    const bool is_root = id == kTreeRoot;
    BaseInode& parent = plan_.inodes[visit.directory];
    if (!is_root && ++parent.links_count > ext2::kMaxLinks) {
      return invalid("{}: there are more than {} directories beside it", quoted_name(visit.path),
                     ext2::kMaxLinks - 2);
    }
    UNIONFS_ASSIGN(const DirectoryBlocks made,
                   directory_blocks(superblock_, visit.path,
                                    planned_directory(plan_.ready, plan_.inodes, id, options_)));
    begin(names_, hash_of(visit.path), kNameBeginnings);
    inode.names = names_.take(made.blocks.size());
    IndirectBlockCounter indirect(pointers_per_block());
    for (uint64_t block = 0; block < made.blocks.size(); ++block) {
      indirect.add(FileBlock(block));
    }
    inode.maps = maps_.take(indirect.count());
    return {};
  }

  Result<void> place_content(const TreeVisit& visit, const TreeFile& file, BaseInode& inode) {
    ContentDigest digest;
    IndirectBlockCounter indirect(pointers_per_block());
    uint64_t count = 0;
    const uint64_t size = file.content ? file.content->size_bytes() : 0;
    if (file.content) {
      UNIONFS_TRY(for_each_block_run(*file.content, options_.block_size_bytes, buffer_,
                                     [&](FileBlock first, ConstByteSpan bytes) -> Result<void> {
                                       digest.add(first.value() * options_.block_size_bytes, bytes);
                                       const uint64_t blocks =
                                           bytes.size() / options_.block_size_bytes;
                                       for (uint64_t block = 0; block < blocks; ++block) {
                                         indirect.add(first + block);
                                       }
                                       count += blocks;
                                       return {};
                                     }));
    }
    inode.digest = digest.value(size);
    digest_.add(ConstByteSpan(std::as_bytes(std::span(inode.digest))));
    place_data(hash_of(visit.path), indirect.count(), count, inode);
    show_progress(size);
    return {};
  }

  // By the rules of docs/mkbase.md.
  void place_data(uint64_t hash, uint64_t map_count, uint64_t count, BaseInode& inode) {
    if (count > 0) {
      inode.data =
          is_large_file(count, options_) ? place_large(hash, count) : place_small(hash, count);
    }
    if (map_count > 0) {
      begin(maps_, hash, kMapBeginnings);
      inode.maps = maps_.take(map_count);
    }
  }

  DataRange place_large(uint64_t hash, uint64_t count) {
    begin(large_, hash, kLargeFileBeginnings);
    return large_.take(count);
  }

  // In one piece: what moves or changes one file spoils only the piece of that.
  DataRange place_small(uint64_t hash, uint64_t count) {
    begin(small_, hash, kSmallFileBeginnings);
    if (small_.end().value() % blocks_per_piece() + count > blocks_per_piece()) {
      small_.skip_to_multiple(blocks_per_piece());
    }
    return small_.take(count);
  }

  void begin(Zone& zone, uint64_t hash, std::span<const Beginning> beginnings) const {
    if (const uint64_t pieces = multiple_for(hash, beginnings); pieces != 0) {
      zone.skip_to_multiple(pieces * blocks_per_piece());
    }
  }

  // Until now each zone began at 0.
  void put_zones_in_place() {
    DataPosition begin;
    const auto put = [&](const Zone& zone, uint64_t parts) {
      zone.begin_at(begin, plan_.used);
      const DataPosition here = begin;
      begin += round_to_part(zone.end().value(), parts, blocks_per_piece());
      return here.value();
    };
    put(names_, kNameZoneParts);
    const uint64_t maps_begin = put(maps_, kMapZoneParts);
    const uint64_t small_begin = put(small_, kSmallFileZoneParts);
    const uint64_t large_begin = put(large_, kLargeFileZoneParts);
    for (BaseInode& inode : plan_.inodes) {
      inode.maps.begin += maps_begin;
      inode.data.begin += is_large_file(inode.data.count, options_) ? large_begin : small_begin;
    }
  }

  void show_progress(uint64_t bytes) {
    done_bytes_ += bytes;
    if (options_.progress) {
      options_.progress(done_bytes_, 2 * plan_.ready.content_bytes);
    }
  }

  const BaseOptions& options_;
  const ext2::Superblock superblock_;
  InodeNumber next_number_;
  BasePlan plan_;
  TreeDigest digest_;
  Zone names_;
  Zone maps_;
  Zone small_;
  Zone large_;
  std::map<std::string, uint32_t> attribute_blocks_;  // the latest block of these attributes
  std::vector<std::byte> buffer_;
  uint64_t done_bytes_ = 0;
};

}  // namespace

Result<BasePlan> plan_base(BaseTree ready, const BaseOptions& options) {
  return BasePlanner(std::move(ready), options).run();
}

bool is_large_file(uint64_t block_count, const BaseOptions& options) {
  return block_count * options.block_size_bytes >= kLargeFileBytes;
}

ext2::Superblock constant_superblock(const BaseOptions& options) {
  constexpr uint16_t kNoMaximum = UINT16_MAX;
  constexpr uint16_t kContinueAfterErrors = 1;
  constexpr uint32_t kMountXattrAndAcl = 0x000c;  // EXT2_DEFM_XATTR_USER, EXT2_DEFM_ACL
  ext2::Superblock superblock = {};
  uint32_t log_block_size = 0;
  while (ext2::kMinBlockSizeBytes << log_block_size < options.block_size_bytes) {
    ++log_block_size;
  }
  superblock.s_log_block_size = log_block_size;
  superblock.s_log_frag_size = log_block_size;
  superblock.s_magic = ext2::kMagic;
  superblock.s_state = ext2::kStateValid;
  superblock.s_errors = kContinueAfterErrors;
  superblock.s_max_mnt_count = kNoMaximum;
  superblock.s_rev_level = ext2::kDynamicRevision;
  superblock.s_first_ino = ext2::kGoodOldFirstInode;
  superblock.s_inode_size = static_cast<uint16_t>(options.inode_size_bytes);
  superblock.s_feature_compat = ext2::kCompatExtAttr | ext2::kCompatDirIndex;
  superblock.s_feature_incompat = ext2::kIncompatFiletype;
  superblock.s_feature_ro_compat = ext2::kRoCompatSparseSuper | ext2::kRoCompatLargeFile;
  std::copy(kHashSeed.begin(), kHashSeed.end(), superblock.s_hash_seed.begin());
  superblock.s_def_hash_version = ext2::kHashHalfMd4;
  superblock.s_default_mount_opts = kMountXattrAndAcl;
  superblock.s_flags = ext2::kFlagSignedHash;
  if (options.inode_size_bytes > ext2::kGoodOldInodeSizeBytes) {
    superblock.s_min_extra_isize = ext2::kUsualExtraSizeBytes;
    superblock.s_want_extra_isize = ext2::kUsualExtraSizeBytes;
  }
  std::copy(options.label.begin(), options.label.end(), superblock.s_volume_name.begin());
  return superblock;
}

NewDirectory planned_directory(const BaseTree& ready, const std::vector<BaseInode>& inodes,
                               TreeFileId id, const BaseOptions& options) {
  const FileTree& tree = ready.tree;
  NewDirectory directory;
  directory.inode = inodes[id].number;
  directory.parent = inodes[inodes[id].parent].number;
  for (const auto& [name, what] : tree.file(id).names) {
    directory.names.push_back(
        {0, name, inodes[what.file].number, file_type_of(tree.file(what.file).state.mode)});
  }
  if (id == ready.lost_and_found) {
    // As mke2fs has it: so large that e2fsck can put names in where no block is free, but
    // without indirect blocks.
    directory.least_block_count =
        std::min<uint64_t>(kLostAndFoundBytes / options.block_size_bytes, ext2::kDirectBlocks);
  }
  return directory;
}

uint64_t attribute_room(const BaseOptions& options) {
  return options.inode_size_bytes == ext2::kGoodOldInodeSizeBytes
             ? 0
             : options.inode_size_bytes - ext2::kGoodOldInodeSizeBytes - ext2::kUsualExtraSizeBytes;
}

}  // namespace unionfs
