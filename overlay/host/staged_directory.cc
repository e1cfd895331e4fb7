// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/host/staged_directory.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "overlay/host/file_names.h"
#include "overlay/host/scope_exit.h"

namespace unionfs {

Result<std::unique_ptr<StagedDirectory>> StagedDirectory::create_for(const std::string& path) {
  std::string name = path;
  while (name.size() > 1 && name.back() == '/') {
    name.pop_back();
  }
  UNIONFS_ASSIGN(std::string hidden, choose_hidden_path(name));
  if (::mkdir(hidden.c_str(), S_IRWXU) == -1) {
    return system_failure(errno, fmt::format("{}: cannot create", name));
  }
  return std::unique_ptr<StagedDirectory>(new StagedDirectory(std::move(name), std::move(hidden)));
}

StagedDirectory::~StagedDirectory() {
  if (!hidden_path_.empty()) {
    std::error_code ignored;
    std::filesystem::remove_all(hidden_path_, ignored);
  }
}

Result<void> StagedDirectory::publish() {
  const int opened = ::open(hidden_path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const ScopeExit close_it([opened] { ::close(opened); });
  if (opened == -1 || ::syncfs(opened) == -1) {
    return system_failure(errno, fmt::format("{}: cannot sync", path_));
  }
  if (rename_without_replacing(hidden_path_, path_) == -1) {
    return system_failure(errno, fmt::format("{}: cannot create", path_));
  }
  hidden_path_.clear();
  return sync_directory_of(path_);
}

}  // namespace unionfs
