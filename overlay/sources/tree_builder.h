// SPDX-License-Identifier: BSD-3-Clause
//
// Makes a tree of entries that come by their paths, in any order.
#ifndef UNIONFS_OVERLAY_SOURCES_TREE_BUILDER_H
#define UNIONFS_OVERLAY_SOURCES_TREE_BUILDER_H

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "overlay/sources/source_context.h"
#include "overlay/tree/file_tree.h"

namespace unionfs {

// The names on the way from the root; none: the root.
using EntryPath = std::vector<std::string>;

// "a/b", for messages.
std::string joined_path(const EntryPath& path);

// Cuts what an archive calls an entry, at its slashes; ones in front, "." and empty names say
// nothing.  kInvalid for "..", kUnsupported for names and paths beyond the limits.  `where` begins
// messages.
Result<EntryPath> parse_entry_path(std::string_view text, const SourceLimits& limits,
                                   std::string_view where);

// Files that no name leads to any more give their memory back, so it follows the names that there
// are, not the entries.  Not thread-safe.  Messages begin with `name`.
class TreeBuilder {
 public:
  TreeBuilder(std::string name, SourceContext& context);

  // Makes the path lead to this file, and returns it; the file's own names say nothing.  What was
  // there goes, but of a directory that another one takes the place of only its state.
  // Directories on the way that are missing are implied ones.  kInvalid where something on the way
  // is no directory, or the root is to be something else.
  Result<TreeFileId> put(const EntryPath& path, TreeFile file);
  // A hard link to what `target` leads to, now or else when all is there.
  Result<void> put_link(const EntryPath& path, const EntryPath& target);
  // A whiteout of that name.  What the tree has itself under it stays.
  Result<void> put_whiteout(const EntryPath& path);
  // The directory is opaque.
  Result<void> put_opaque(const EntryPath& directory);

  TreeFile& file(TreeFileId id) { return tree_.file(id); }
  // The file's content lies in the spool from `begin` to its end.  The spool forgets contents of
  // files that are gone, unless that of another one lies behind.
  void has_spooled(TreeFileId id, uint64_t begin);

  // kInvalid where a hard link leads to nothing.
  Result<FileTree> finish();

 private:
  struct LaterLink {
    std::string path;  // for messages
    EntryPath target;
  };
  struct Spooled {
    uint64_t begin = 0;
    bool is_gone = false;
  };
  using LinkEnds = std::map<TreeFileId, TreeFileId>;
  using LaterLinks = std::map<TreeFileId, LaterLink>;

  Result<void> count_entry(const EntryPath& path);
  Result<TreeFileId> add(TreeFile file, const EntryPath& path);
  Result<TreeFileId> implied_directory(const EntryPath& path);
  // The directory that holds the path's last name, made if it is missing.
  Result<TreeFileId> directory_of(const EntryPath& path);
  Result<TreeFileId> enter(TreeFileId directory, const EntryPath& path, size_t depth);
  // Nothing: there is no such name.
  const TreeName* find(const EntryPath& path) const;
  void lead(TreeFileId directory, const std::string& name, TreeFileId file);
  // One name less; without any, the file and all below it go.
  void release(TreeFileId file);
  void forget(TreeFileId file, std::vector<TreeFileId>& more);
  void forget_content(TreeFileId file);
  void apply_whiteouts();
  Failure link_failure(std::string_view path, const EntryPath& target, std::string_view why) const;
  Result<void> find_end(TreeFileId stand_in, LinkEnds& ends) const;
  Result<void> resolve_links();

  const std::string name_;
  SourceContext& context_;
  FileTree tree_;
  std::vector<uint32_t> links_;     // names of each file; of the root one more
  std::vector<TreeFileId> unused_;  // files that no name leads to
  std::map<TreeFileId, std::set<std::string>> whiteouts_;  // by directory
  LaterLinks later_links_;                                 // by the file that stands in for them
  std::vector<Spooled> spooled_;                           // ascending by place
  std::unordered_map<TreeFileId, size_t> spooled_of_;      // indexes them
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SOURCES_TREE_BUILDER_H
