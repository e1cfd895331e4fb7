// SPDX-License-Identifier: BSD-3-Clause
//
// What the commands of unionfs-img share: opening images, printing facts.
#ifndef UNIONFS_TOOLS_COMMAND_LINE_COMMON_H
#define UNIONFS_TOOLS_COMMAND_LINE_COMMON_H

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "overlay/disk.h"
#include "overlay/host/posix_file.h"
#include "overlay/merged/lower_image.h"

namespace unionfs::img {

using Json = nlohmann::ordered_json;

// Exit statuses, as in the manual.
constexpr int kExitSuccess = 0;
constexpr int kExitFailure = 1;
constexpr int kExitDamaged = 2;  // check only

// A command with its arguments, ready to run; gives the exit status.
using Command = std::function<Result<int>()>;

// Each adds its subcommand, which sets `chosen` once it is parsed.
void add_create(CLI::App& app, Command& chosen);
void add_info(CLI::App& app, Command& chosen);
void add_ls(CLI::App& app, Command& chosen);
void add_diff(CLI::App& app, Command& chosen);
void add_map(CLI::App& app, Command& chosen);
void add_check(CLI::App& app, Command& chosen);
void add_checkpoint(CLI::App& app, Command& chosen);
void add_convert(CLI::App& app, Command& chosen);

// ---- arguments -------------------------------------------------------------

// What nearly every command takes.
struct CommonArguments {
  std::string lower;  // empty: not given
  std::string upper;
  bool as_json = false;
};

enum class LowerArgument { kRequired, kOptional };

// Adds -b, --output and UPPER.
void add_common(CLI::App& command, CommonArguments& arguments, LowerArgument lower);
// "20G", "512M", "4096": bytes.  kInvalid when it is not that.
Result<uint64_t> parse_size(const std::string& text);

// kInvalid when there is something under this name.
Result<void> check_absent(const std::string& path);

// ---- images ----------------------------------------------------------------

// A lower and an upper opened for looking: nothing is written, others may look
// at the same time, servers and those who write are kept out.
class OpenDisk {
 public:
  static Result<std::unique_ptr<OpenDisk>> open(const CommonArguments& arguments);

  const Volume& lower() const { return lower_->volume(); }
  const PosixFile& upper_file() const { return *upper_file_; }
  Disk& disk() { return *disk_; }
  const Layout& merged() const { return disk_->geometry().merged(); }

 private:
  OpenDisk() = default;

  std::unique_ptr<PosixFile> lower_file_;
  std::unique_ptr<PosixFile> upper_file_;
  std::unique_ptr<LowerImage> lower_;
  std::unique_ptr<Disk> disk_;
};

// A note to the user on stderr, on one line; never fails.
void note(const std::string& message);
// Space the file takes on its disk.
uint64_t disk_bytes(const PosixFile& file);

// ---- text ------------------------------------------------------------------

void print_json(const Json& json);
// "4.0 KiB"; below 1 KiB "17 bytes".
std::string human_size(uint64_t size_bytes);
// A name that may hold any byte as printable UTF-8: backslash, control
// characters, those of Unicode among them, and what is not UTF-8 become "\\" and "\xNN".
std::string printable(std::string_view name);
// "drwxr-xr-x", as ls has it.
std::string mode_text(uint16_t mode);
// "directory", "file", ... for an ext2 file type of a directory entry.
const char* type_name(uint8_t file_type);

// A line on stderr, renewed in place; silent unless stderr is a terminal.
class Progress {
 public:
  Progress(std::string what, uint64_t total);
  ~Progress();
  void show(uint64_t done);

 private:
  std::string what_;
  uint64_t total_;
  bool is_terminal_;
  int last_per_mille_ = -1;
};

}  // namespace unionfs::img

#endif  // UNIONFS_TOOLS_COMMAND_LINE_COMMON_H
