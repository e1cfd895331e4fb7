// SPDX-License-Identifier: BSD-3-Clause
//
// What the commands print: facts on the standard output, notes on stderr.
#ifndef UNIONFS_TOOLS_COMMAND_LINE_TEXT_H
#define UNIONFS_TOOLS_COMMAND_LINE_TEXT_H

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "fsparse/printable.h"

namespace unionfs::img {

using Json = nlohmann::ordered_json;

// A note to the user on stderr, on one line; never fails.
void note(const std::string& message);

void print_json(const Json& json);

class Spool;

// An array as print_json() prints it, but element by element, so that memory does not follow
// its length.  Refers to the spool, which must outlive it.
class JsonArrayPrinter {
 public:
  // `depth`: how many values it is inside of; only the outermost one ends its line.
  explicit JsonArrayPrinter(Spool& out, unsigned depth = 0) : out_(out), depth_(depth) {}

  void add(const Json& element);
  // After the last element.
  void end();

 private:
  Spool& out_;
  unsigned depth_;
  bool is_empty_ = true;
};

// "4.0 KiB"; below 1 KiB "17 bytes".
std::string human_size(uint64_t size_bytes);
// "drwxr-xr-x", as ls has it.
std::string mode_text(uint16_t mode);
// "directory", "file", ... for an ext2 file type of a directory entry.
const char* type_name(uint8_t file_type);

}  // namespace unionfs::img

#endif  // UNIONFS_TOOLS_COMMAND_LINE_TEXT_H
