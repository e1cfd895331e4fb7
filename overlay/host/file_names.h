// SPDX-License-Identifier: BSD-3-Clause
//
// Names of files in directories of the host: taking them, and making that durable.
#ifndef UNIONFS_OVERLAY_HOST_FILE_NAMES_H
#define UNIONFS_OVERLAY_HOST_FILE_NAMES_H

#include <dirent.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "fsparse/result.h"

namespace unionfs {

// "." for a path without a slash.
std::string directory_of(const std::string& path);
Result<void> sync_directory_of(const std::string& path);
// Calls visitor(entry) for each name in the directory, in no order.
Result<void> for_each_name_in(const std::string& directory,
                              const std::function<void(const dirent&)>& visitor);
// A name beside the file's that nobody else has: a dot, the file's name, `purpose`, and digits.
Result<std::string> choose_hidden_path(const std::string& path, std::string_view purpose = {});
// The same with these digits, of which `digits` are the value.
std::string hidden_path_of(const std::string& path, std::string_view purpose, uint64_t digits);
// The path of a file in the directory of `path` whose name is hidden, and ends in this purpose
// and these digits, whatever file it was for; nothing if there is none.
Result<std::optional<std::string>> find_hidden(const std::string& path, std::string_view purpose,
                                               uint64_t digits);
// Removes what a program that was killed has left under such names of this purpose, which must
// not be empty: files that nobody has locked.  The caller has locked the file itself.
Result<void> remove_leftovers(const std::string& path, std::string_view purpose);
// The same of all files of a directory whose names `is_meant` holds for.  Who made a file a moment
// ago and has not locked it yet loses its hidden name.
Result<void> remove_leftovers_in(const std::string& directory, std::string_view purpose,
                                 const std::function<bool(std::string_view)>& is_meant);
// As link(2), of a file that is open and may have no name.  Returns -1 and sets errno.
int link_open_file(int descriptor, const std::string& path);
// As rename(2), but fails with EEXIST when `to` is there.
int rename_without_replacing(const std::string& from, const std::string& to);

// How a file is kept when another one takes its name.
enum class KeepWay {
  kLink,      // it gets a second name first, so it has one at any moment
  kExchange,  // where the host has no hard links: the two change names
};

// What it is called from then on: its name with this behind it.  Where others have that name,
// ".2" and so on is added, up to `most`.
struct KeptName {
  const char* suffix;
  int most;
};
constexpr KeptName kBeforeImport{".before-import", 99};
constexpr KeptName kBeforeRebase{".before-rebase", 1};

// Whether another file can take the name at all.
Result<void> check_can_replace(const std::string& path);
// The way that the directory of `path` allows; finds out with files of its own, which it
// removes.  kSystem if there is none, or if no name is left that would say what is kept.
Result<KeepWay> find_keep_way(const std::string& path, const KeptName& kept);

// The new file, called `hidden`, takes the name `path`.  What had that name, which is the
// file open as `old`, has a kept name from then on, which is returned.  All of it is durable then.
//
// After a crash or an error `path` stands for one of the two, whole.  With kExchange the old
// one may then have the name that was hidden.  `hidden` is empty as soon as it is not the
// new file's name any more.
Result<std::string> replace_and_keep(std::string& hidden, const std::string& path, int old,
                                     KeepWay way, const KeptName& kept);
// The same, but the old file has no name of `path`'s any more.
Result<void> replace_without_keeping(std::string& hidden, const std::string& path);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_HOST_FILE_NAMES_H
