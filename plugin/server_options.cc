// SPDX-License-Identifier: BSD-3-Clause
#include "plugin/server_options.h"

#include <fstream>

namespace unionfs {
namespace {

// nbdkit's short options that take an argument, which may follow in the same word.
constexpr const char* kWithArgument = "DegipPtuU";

// Of a word as -fr or -rU/socket.
bool has_short_r(const std::string& word) {
  for (size_t at = 1; at < word.size(); ++at) {
    if (word[at] == 'r') {
      return true;
    }
    if (std::string(kWithArgument).find(word[at]) != std::string::npos) {
      return false;
    }
  }
  return false;
}

}  // namespace

bool may_be_read_only(const std::vector<std::string>& arguments) {
  for (const std::string& word : arguments) {
    // A long option may be cut off where it is still the only one.
    if (word.rfind("--re", 0) == 0) {
      return true;
    }
    // An option's argument that looks like an option counts as one.
    if (word.size() > 1 && word[0] == '-' && word[1] != '-' && has_short_r(word)) {
      return true;
    }
  }
  return false;
}

bool may_server_be_read_only() {
  std::ifstream file("/proc/self/cmdline");
  std::vector<std::string> arguments;
  for (std::string word; std::getline(file, word, '\0');) {
    arguments.push_back(word);
  }
  return arguments.size() < 2 || may_be_read_only(arguments);
}

}  // namespace unionfs
