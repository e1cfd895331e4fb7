// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/rebase/owner_names.h"

#include <charconv>
#include <string_view>

#include "overlay/tree/file_reader.h"

namespace unionfs {
namespace {

constexpr uint64_t kMostBytes = uint64_t{4} << 20;

// "name:password:number:..."
void take_line(std::string_view line, OwnerNames& owners) {
  const size_t name_end = line.find(':');
  const size_t number_begin = name_end == line.npos ? line.npos : line.find(':', name_end + 1);
  if (name_end == 0 || number_begin == line.npos) {
    return;
  }
  uint32_t number = 0;
  const char* begin = line.data() + number_begin + 1;
  const char* end = line.data() + line.size();
  const auto [rest, error] = std::from_chars(begin, end, number);
  if (error != std::errc() || (rest != end && *rest != ':')) {
    return;
  }
  const std::string name(line.substr(0, name_end));
  owners.names.emplace(number, name);
  owners.numbers.emplace(name, number);
}

}  // namespace

std::optional<std::string> OwnerNames::name_of(uint32_t number) const {
  const auto found = names.find(number);
  return found == names.end() ? std::nullopt : std::optional(found->second);
}

std::optional<uint32_t> OwnerNames::number_of(const std::string& name) const {
  const auto found = numbers.find(name);
  return found == numbers.end() ? std::nullopt : std::optional(found->second);
}

Result<OwnerNames> read_owner_names(SideTree& tree, const std::string& path) {
  OwnerNames owners;
  UNIONFS_ASSIGN(const std::optional<InodeNumber> inode, tree.find(path));
  if (!inode) {
    return owners;
  }
  UNIONFS_ASSIGN(InodeRecord record, read_inode(tree.volume(), *inode));
  if (!record.is_regular() || record.size_bytes() > kMostBytes) {
    return owners;
  }
  FileReader reader(tree.volume(), std::move(record));
  std::string text(reader.size_bytes(), '\0');
  UNIONFS_TRY(reader.read(0, std::as_writable_bytes(std::span(text))));
  size_t begin = 0;
  while (begin < text.size()) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    take_line(std::string_view(text).substr(begin, end - begin), owners);
    begin = end + 1;
  }
  return owners;
}

std::optional<MovedOwner> moved_owner(const OwnerNames& before, const OwnerNames& after,
                                      uint32_t number) {
  const std::optional<std::string> old_name = before.name_of(number);
  if (!old_name) {
    return std::nullopt;
  }
  const std::optional<std::string> new_name = after.name_of(number);
  const std::optional<uint32_t> new_number = after.number_of(*old_name);
  const bool is_other_name = new_name && *new_name != *old_name && new_number != number;
  const bool is_elsewhere = new_number && *new_number != number;
  if (!is_other_name && !is_elsewhere) {
    return std::nullopt;
  }
  return MovedOwner{number, *old_name, new_name, new_number};
}

}  // namespace unionfs
