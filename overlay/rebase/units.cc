// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/rebase/units.h"

#include <array>
#include <string_view>

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

}  // namespace

Result<const std::set<std::string>*> UnitFinder::names_in(const std::string& directory) {
  const auto [known, is_new] = names_.try_emplace(directory);
  if (!is_new) {
    return &known->second;
  }
  for (SideTree* side : sides_) {
    UNIONFS_ASSIGN(const std::optional<InodeNumber> inode, side->find(directory));
    UNIONFS_ASSIGN(const bool is_directory,
                   inode ? side->is_directory(*inode) : Result<bool>(false));
    if (!is_directory) {
      continue;
    }
    UNIONFS_ASSIGN(const LowerNames::Names* names, side->names_of(*inode));
    for (const auto& [name, child] : *names) {
      known->second.insert(name);
    }
  }
  return &known->second;
}

Result<std::optional<RebaseUnit>> UnitFinder::tree_of(const std::string& directory) {
  if (directory.empty()) {
    return std::optional<RebaseUnit>();  // no database is the root
  }
  if (const auto known = trees_.find(directory); known != trees_.end()) {
    return known->second;
  }
  UNIONFS_ASSIGN(std::optional<RebaseUnit> unit, tree_of(split_path(directory).first));
  if (!unit) {
    UNIONFS_ASSIGN(const std::set<std::string>* names, names_in(directory));
    for (const KnownTree& mark : kDatabaseMarks) {
      if (!unit && names->contains(mark.path)) {
        unit = RebaseUnit{directory, true, mark.text};
      }
    }
  }
  trees_.emplace(directory, unit);
  return unit;
}

// A database file with companions; `path` is it or one of them.
Result<std::optional<RebaseUnit>> UnitFinder::database_file(const std::string& path) {
  const auto [directory, name] = split_path(path);
  std::string main = name;
  for (const char* suffix : kDatabaseSuffixes) {
    if (main == name && name.ends_with(suffix)) {
      main.resize(name.size() - std::string_view(suffix).size());
    }
  }
  UNIONFS_ASSIGN(const std::set<std::string>* names, names_in(directory));
  bool has_companion = main != name;
  for (const char* suffix : kDatabaseSuffixes) {
    has_companion = has_companion || names->contains(name + suffix);
  }
  if (main.empty() || !names->contains(main) || !has_companion) {
    return std::optional<RebaseUnit>();
  }
  return std::optional<RebaseUnit>({directory + "/" + main, false, "a database with its journal"});
}

Result<std::optional<RebaseUnit>> UnitFinder::unit_of(const std::string& path) {
  for (const KnownTree& known : kPackageDatabases) {
    if (is_at_or_below(path, known.path)) {
      return std::optional<RebaseUnit>({known.path, true, known.text});
    }
  }
  UNIONFS_ASSIGN(std::optional<RebaseUnit> unit, tree_of(split_path(path).first));
  return unit ? Result<std::optional<RebaseUnit>>(std::move(unit)) : database_file(path);
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
