// SPDX-License-Identifier: BSD-3-Clause
#include "tests/unit/sources/tree_facts.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <fstream>
#include <map>

#include "overlay/tree/attribute_names.h"
#include "tests/unit/support/expect.h"

namespace unionfs::testing {
namespace {

const TreeName* find_path(const FileTree& tree, std::string_view path) {
  static const TreeName root{TreeMark::kFile, kTreeRoot};
  const TreeName* name = &root;
  while (name != nullptr && !path.empty()) {
    const size_t end = std::min(path.find('/'), path.size());
    name = name->mark == TreeMark::kFile ? tree.find(name->file, path.substr(0, end)) : nullptr;
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return name;
}

std::string read_host_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::vector<Attribute> attributes_of_host(const std::filesystem::path& path) {
  std::string names(65536, '\0');
  const ssize_t length = llistxattr(path.c_str(), names.data(), names.size());
  names.resize(length > 0 ? static_cast<size_t>(length) : 0);
  std::vector<Attribute> attributes;
  for (size_t at = 0; at < names.size(); at += std::strlen(names.c_str() + at) + 1) {
    std::vector<std::byte> value(65536);
    const ssize_t size = lgetxattr(path.c_str(), names.c_str() + at, value.data(), value.size());
    value.resize(size > 0 ? static_cast<size_t>(size) : 0);
    if (auto attribute = value_of(stored_attribute(names.c_str() + at, value))) {
      attributes.push_back(std::move(*attribute));
    }
  }
  sort_attributes(attributes);
  return attributes;
}

class DirectoryComparison {
 public:
  DirectoryComparison(const FileTree& tree, std::filesystem::path directory, ComparedTimes times)
      : tree_(tree), directory_(std::move(directory)), times_(times) {}

  Result<void> compare(const TreeVisit& visit) {
    INFO("path " << visit.path);
    REQUIRE(visit.name.mark == TreeMark::kFile);
    const TreeFile& file = tree_.file(visit.name.file);
    const std::filesystem::path path = directory_ / visit.path;
    struct stat host;
    REQUIRE(lstat(path.c_str(), &host) == 0);
    if (file.state.is_directory()) {
      const auto count = std::distance(std::filesystem::directory_iterator(path), {});
      CHECK(file.names.size() == static_cast<size_t>(count));
      CHECK_FALSE(file.is_opaque);
    }
    if (visit.path.empty()) {
      return {};
    }
    CHECK_FALSE(file.is_implied);
    const auto [known, is_new] = links_.try_emplace(host.st_ino, visit.name.file);
    CHECK(known->second == visit.name.file);
    CHECK(visit.is_first_name == is_new);
    compare_states(file.state, host, path);
    if (file.state.is_regular()) {
      CHECK(content_of(file) == read_host_file(path));
    }
    return {};
  }

 private:
  void compare_states(const FileState& state, const struct stat& host,
                      const std::filesystem::path& path) const {
    CHECK(state.mode == host.st_mode);
    CHECK(state.user_id == host.st_uid);
    CHECK(state.group_id == host.st_gid);
    if (times_ != ComparedTimes::kSecondsOfFiles || !state.is_directory()) {
      CHECK(state.modified.seconds == host.st_mtim.tv_sec);
    }
    if (times_ == ComparedTimes::kNanoseconds) {
      CHECK(state.modified.nanoseconds == host.st_mtim.tv_nsec);
    }
    if (S_ISCHR(host.st_mode) || S_ISBLK(host.st_mode)) {
      CHECK(state.device_major == major(host.st_rdev));
      CHECK(state.device_minor == minor(host.st_rdev));
    }
    if (S_ISLNK(host.st_mode)) {
      CHECK(state.target == std::filesystem::read_symlink(path).string());
    }
    CHECK(state.attributes == attributes_of_host(path));
  }

  const FileTree& tree_;
  const std::filesystem::path directory_;
  const ComparedTimes times_;
  std::map<ino_t, TreeFileId> links_;
};

}  // namespace

bool has_path(const FileTree& tree, std::string_view path) {
  return find_path(tree, path) != nullptr;
}

const TreeName& tree_name(const FileTree& tree, std::string_view path) {
  const TreeName* name = find_path(tree, path);
  if (name == nullptr) {
    FAIL("there is no " << path);
  }
  return *name;
}

const TreeFile& tree_file(const FileTree& tree, std::string_view path) {
  const TreeName& name = tree_name(tree, path);
  if (name.mark != TreeMark::kFile) {
    FAIL(path << " is a mark");
  }
  return tree.file(name.file);
}

std::string content_of(const TreeFile& file) {
  if (file.content == nullptr) {
    CHECK(file.state.size_bytes == 0);
    return {};
  }
  FileBytes& bytes = *file.content;
  CHECK(bytes.size_bytes() == file.state.size_bytes);
  std::string whole(bytes.size_bytes(), 'x');
  expect_success(bytes.read(0, std::as_writable_bytes(std::span(whole))));
  // The same in pieces, without what is said to be zeros.
  std::string stored(whole.size(), '\0');
  uint64_t offset = 0;
  while (const auto data = value_of(bytes.next_data(offset))) {
    REQUIRE(data->begin >= offset);
    REQUIRE(data->begin < data->end);
    REQUIRE(data->end <= whole.size());
    const ByteSpan part = std::as_writable_bytes(std::span(stored)).subspan(data->begin);
    expect_success(bytes.read(data->begin, part.first(data->length())));
    offset = data->end;
  }
  CHECK(stored == whole);
  return whole;
}

std::string content_of(const FileTree& tree, std::string_view path) {
  return content_of(tree_file(tree, path));
}

void expect_as_directory(const FileTree& tree, const std::filesystem::path& directory,
                         ComparedTimes times) {
  DirectoryComparison comparison(tree, directory, times);
  expect_success(
      walk_tree(tree, [&](const TreeVisit& visit) { return comparison.compare(visit); }));
}

}  // namespace unionfs::testing
