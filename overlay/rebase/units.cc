// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/rebase/units.h"

#include <array>

namespace unionfs {
namespace {

struct KnownTree {
  const char* path;
  const char* text;
};

constexpr std::array<KnownTree, 4> kPackageDatabases = {
    {{"/var/lib/dpkg", "the database of dpkg; after a decision run: dpkg --configure -a"},
     {"/var/lib/rpm", "the database of rpm; after a decision run: rpm --rebuilddb"},
     {"/lib/apk/db", "the database of apk; after a decision run: apk fix"},
     {"/usr/lib/opkg", "the database of opkg"}}};

// A directory with such a file is a database.
constexpr std::array<KnownTree, 2> kDatabaseMarks = {
    {{"PG_VERSION", "a PostgreSQL data directory"}, {"ibdata1", "a MySQL data directory"}}};

constexpr std::array<KnownTree, 7> kKnownFiles = {
    {{"/etc/passwd", "the users; look whether ids are given twice, and run: pwck"},
     {"/etc/group", "the groups; look whether ids are given twice, and run: grpck"},
     {"/etc/shadow", "the passwords; it belongs to /etc/passwd: run pwck"},
     {"/etc/gshadow", "the group passwords; it belongs to /etc/group: run grpck"},
     {"/etc/subuid", "ranges of user ids"},
     {"/etc/subgid", "ranges of group ids"},
     {"/etc/ld.so.cache", "made of the libraries that are there: run ldconfig"}}};

Result<bool> has_name(const std::string& directory, const std::string& name,
                      std::span<SideTree* const> sides) {
  for (SideTree* side : sides) {
    UNIONFS_ASSIGN(const std::optional<InodeNumber> inode, side->find(directory));
    UNIONFS_ASSIGN(const auto found, inode ? side->child(*inode, name)
                                           : Result<std::optional<InodeNumber>>(std::nullopt));
    if (found) {
      return true;
    }
  }
  return false;
}

// A database file with companions; `path` is it or one of them.
Result<std::optional<RebaseUnit>> database_file(const std::string& path,
                                                std::span<SideTree* const> sides) {
  std::string main = path;
  bool is_companion = false;
  for (const char* suffix : kDatabaseSuffixes) {
    if (!is_companion && path.ends_with(suffix)) {
      main = path.substr(0, path.size() - std::string_view(suffix).size());
      is_companion = !main.ends_with('/');
    }
  }
  const auto [directory, name] = split_path(is_companion ? main : path);
  UNIONFS_ASSIGN(const bool has_main, has_name(directory, name, sides));
  bool has_companion = is_companion;
  for (const char* suffix : kDatabaseSuffixes) {
    UNIONFS_ASSIGN(const bool has_this,
                   has_companion ? Result<bool>(true) : has_name(directory, name + suffix, sides));
    has_companion = has_this;
  }
  if (!has_main || !has_companion) {
    return std::optional<RebaseUnit>();
  }
  return std::optional<RebaseUnit>({directory + "/" + name, false, "a database with its journal"});
}

}  // namespace

Result<std::optional<RebaseUnit>> unit_of(const std::string& path,
                                          std::span<SideTree* const> sides) {
  for (const KnownTree& known : kPackageDatabases) {
    if (is_at_or_below(path, known.path)) {
      return std::optional<RebaseUnit>({known.path, true, known.text});
    }
  }
  for (size_t end = path.find('/', 1); end != path.npos; end = path.find('/', end + 1)) {
    const std::string directory = path.substr(0, end);
    for (const KnownTree& mark : kDatabaseMarks) {
      UNIONFS_ASSIGN(const bool has_mark, has_name(directory, mark.path, sides));
      if (has_mark) {
        return std::optional<RebaseUnit>({directory, true, mark.text});
      }
    }
  }
  return database_file(path, sides);
}

std::string remedy_of(const std::string& path) {
  for (const KnownTree& known : kKnownFiles) {
    if (path == known.path) {
      return known.text;
    }
  }
  for (const KnownTree& known : kPackageDatabases) {
    if (is_at_or_below(path, known.path)) {
      return known.text;
    }
  }
  return "";
}

}  // namespace unionfs
