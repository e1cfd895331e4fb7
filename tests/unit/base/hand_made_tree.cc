// SPDX-License-Identifier: BSD-3-Clause
#include "tests/unit/base/hand_made_tree.h"

#include <map>
#include <random>

#include "fsparse/directory.h"
#include "overlay/upper/hash.h"

namespace unionfs::testing {
namespace {

std::pair<std::string_view, std::string_view> split(std::string_view path) {
  const size_t slash = path.rfind('/');
  return slash == path.npos ? std::pair(std::string_view(), path)
                            : std::pair(path.substr(0, slash), path.substr(slash + 1));
}

TreeFile file_of_mode(uint16_t mode) {
  TreeFile file;
  file.state.mode = mode;
  file.state.user_id = 1000;
  file.state.group_id = 70000;
  file.state.modified = {1600000000, 123456789};
  file.state.accessed = file.state.changed = file.state.modified;
  return file;
}

std::vector<std::byte> bytes_from(std::string_view text) {
  const ConstByteSpan bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

class SparseBytes final : public FileBytes {
 public:
  SparseBytes(std::vector<ByteRange> data, uint64_t size_bytes)
      : data_(std::move(data)), size_bytes_(size_bytes) {}

  uint64_t size_bytes() const override { return size_bytes_; }
  Result<std::optional<ByteRange>> next_data(uint64_t offset) override {
    for (const ByteRange& range : data_) {
      if (range.end > offset) {
        return std::optional<ByteRange>({std::max(range.begin, offset), range.end});
      }
    }
    return std::optional<ByteRange>();
  }
  Result<void> read(uint64_t offset, ByteSpan buffer) override {
    for (std::byte& byte : buffer) {
      byte = value_at(offset++);
    }
    return {};
  }

 private:
  std::byte value_at(uint64_t offset) const {
    for (const ByteRange& range : data_) {
      if (offset >= range.begin && offset < range.end) {
        return static_cast<std::byte>(1 + offset * 2654435761 % 251);
      }
    }
    return {};
  }

  std::vector<ByteRange> data_;
  uint64_t size_bytes_;
};

}  // namespace

TreeFileId HandMadeTree::id_of(std::string_view path) const {
  if (path.empty()) {
    return kTreeRoot;
  }
  const auto [directory, name] = split(path);
  const TreeName* found = tree.find(id_of(directory), name);
  if (found == nullptr) {
    FAIL("the tree has no " << path);
  }
  return found->file;
}

TreeFile& HandMadeTree::add(std::string_view path, TreeFile file) {
  const auto [directory, name] = split(path);
  const TreeFileId id = tree.add(std::move(file));
  tree.set_name(id_of(directory), name, id);
  return tree.file(id);
}

TreeFile& HandMadeTree::directory(std::string_view path, uint16_t permissions) {
  return add(path, file_of_mode(ext2::kModeDirectory | permissions));
}

TreeFile& HandMadeTree::regular(std::string_view path, std::string_view content) {
  return regular(path, bytes_in_memory(bytes_from(content)));
}

TreeFile& HandMadeTree::regular(std::string_view path, std::unique_ptr<FileBytes> content) {
  TreeFile file = file_of_mode(ext2::kModeRegular | 0644);
  file.content = std::move(content);
  return add(path, std::move(file));
}

TreeFile& HandMadeTree::symlink(std::string_view path, std::string_view target) {
  TreeFile file = file_of_mode(ext2::kModeSymlink | 0777);
  file.state.target = target;
  return add(path, std::move(file));
}

TreeFile& HandMadeTree::special(std::string_view path, uint16_t mode, uint32_t major,
                                uint32_t minor) {
  TreeFile file = file_of_mode(mode);
  file.state.device_major = major;
  file.state.device_minor = minor;
  return add(path, std::move(file));
}

void HandMadeTree::hard_link(std::string_view path, std::string_view to) {
  const auto [directory, name] = split(path);
  tree.set_name(id_of(directory), name, id_of(to));
}

std::string noise(size_t size_bytes, uint32_t seed) {
  std::mt19937 random(seed);
  std::string bytes(size_bytes, ' ');
  for (char& byte : bytes) {
    byte = static_cast<char>(1 + random() % 255);
  }
  return bytes;
}

std::unique_ptr<FileBytes> sparse_bytes(std::vector<ByteRange> data, uint64_t size_bytes) {
  return std::make_unique<SparseBytes>(std::move(data), size_bytes);
}

Attribute user_attribute(std::string_view name, std::string_view value) {
  return {ext2::kXattrIndexUser, std::string(name), bytes_from(value)};
}

// ---- images ----------------------------------------------------------------

MadeBase::MadeBase(const FileTree& tree, const BaseOptions& options)
    : path_(scratch_.path() / "base.img") {
  file_ = value_of(PosixFile::create_for(path_));
  facts_ = value_of(make_base(tree, *file_, options));
  expect_success(file_->publish());
  run({"e2fsck", "-fn", path_});
  volume_.emplace(value_of(Volume::open(*file_, SuperblockUse::kLower)));
}

std::string MadeBase::debugfs(const std::string& request) const {
  return run({"debugfs", "-R", request, path_});
}

InodeRecord MadeBase::inode(std::string_view path) const {
  InodeRecord found = value_of(read_inode(*volume_, kRootDirectory));
  while (!path.empty()) {
    const std::string_view name = path.substr(0, path.find('/'));
    const auto entry = value_of(find_name(*volume_, found, name));
    if (!entry) {
      FAIL("the base has no " << path);
    }
    found = value_of(read_inode(*volume_, entry->inode));
    path.remove_prefix(std::min(name.size() + 1, path.size()));
  }
  return found;
}

std::vector<std::byte> MadeBase::bytes() const {
  std::vector<std::byte> bytes(file_->size_bytes());
  expect_success(file_->read(0, bytes));
  return bytes;
}

std::array<uint8_t, 16> MadeBase::digest() const {
  LongHash hash;
  hash.add(bytes());
  return hash.value();
}

namespace {

// Walks image and tree side by side.
class BaseComparison {
 public:
  BaseComparison(const Volume& volume, const FileTree& tree) : volume_(volume), tree_(tree) {}

  void compare(const std::string& path, InodeNumber number, TreeFileId id) {
    INFO("/" << path);
    const TreeFile& file = tree_.file(id);
    const InodeRecord record = value_of(read_inode(volume_, number));
    const auto [known, is_first] = numbers_.try_emplace(id, number);
    REQUIRE(known->second == number);
    if (!is_first) {
      CHECK(record.raw().i_links_count >= 2);
      return;
    }
    compare_state(record, file);
    if (file.state.is_directory()) {
      compare_names(path, record, file);
    } else if (file.state.is_regular() && file.content) {
      const std::unique_ptr<FileBytes> bytes = bytes_of_inode(volume_, record);
      uint64_t compared = 0;
      CHECK(value_of(have_same_bytes(*bytes, *file.content, compared)));
    }
  }

 private:
  void compare_state(const InodeRecord& record, const TreeFile& file) {
    FileState found = value_of(file_state_of(volume_, record));
    const FileState& wanted = file.state;
    CHECK(found.mode == wanted.mode);
    CHECK(found.user_id == wanted.user_id);
    CHECK(found.group_id == wanted.group_id);
    CHECK(found.user_flags == wanted.user_flags);
    CHECK(found.target == wanted.target);
    CHECK(found.device_major == wanted.device_major);
    CHECK(found.device_minor == wanted.device_minor);
    std::vector<Attribute> attributes = wanted.attributes;
    sort_attributes(attributes);
    CHECK(found.attributes == attributes);
    if (!file.is_implied) {
      CHECK(found.modified.seconds == wanted.modified.seconds);
      const bool has_fractions = record.bytes().size() > ext2::kGoodOldInodeSizeBytes;
      CHECK(found.modified.nanoseconds == (has_fractions ? wanted.modified.nanoseconds : 0));
    }
    CHECK(record.raw().i_generation != 0U);
  }

  void compare_names(const std::string& path, const InodeRecord& record, const TreeFile& file) {
    std::map<std::string, InodeNumber> found;
    for (const NamedEntry& entry : value_of(read_directory(volume_, record))) {
      found[entry.name] = entry.inode;
    }
    found.erase(".");
    found.erase("..");
    if (path.empty() && !file.names.contains("lost+found")) {
      found.erase("lost+found");
    }
    CHECK(found.size() == file.names.size());
    for (const auto& [name, what] : file.names) {
      REQUIRE(found.contains(name));
      compare(path.empty() ? name : path + "/" + name, found.at(name), what.file);
    }
  }

  const Volume& volume_;
  const FileTree& tree_;
  std::map<TreeFileId, InodeNumber> numbers_;
};

}  // namespace

void MadeBase::check_holds(const FileTree& tree) const {
  BaseComparison(*volume_, tree).compare("", kRootDirectory, kTreeRoot);
}

}  // namespace unionfs::testing
