// SPDX-License-Identifier: BSD-3-Clause
//
// A directory of the host that gets its name when all is in it.
#ifndef UNIONFS_OVERLAY_HOST_STAGED_DIRECTORY_H
#define UNIONFS_OVERLAY_HOST_STAGED_DIRECTORY_H

#include <memory>
#include <string>

#include "fsparse/result.h"

namespace unionfs {

// Not thread-safe.
class StagedDirectory {
 public:
  // A new empty directory beside `path`, under a hidden name.
  static Result<std::unique_ptr<StagedDirectory>> create_for(const std::string& path);
  // Removes it with all that is in it, unless it was published.
  ~StagedDirectory();
  StagedDirectory(const StagedDirectory&) = delete;
  StagedDirectory& operator=(const StagedDirectory&) = delete;

  const std::string& hidden_path() const { return hidden_path_; }
  // Makes contents durable, gives the directory its name without replacing anything, and makes
  // that durable.
  Result<void> publish();

 private:
  StagedDirectory(std::string path, std::string hidden_path)
      : path_(std::move(path)), hidden_path_(std::move(hidden_path)) {}

  std::string path_;
  std::string hidden_path_;  // empty: published
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_HOST_STAGED_DIRECTORY_H
