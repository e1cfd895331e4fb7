// SPDX-License-Identifier: BSD-3-Clause
//
// What tests of sources share: archives made in memory, and trees as text.
#ifndef UNIONFS_TESTS_UNIT_SOURCES_SOURCES_FIXTURE_H
#define UNIONFS_TESTS_UNIT_SOURCES_SOURCES_FIXTURE_H

#include <string>
#include <vector>

#include "overlay/sources/tar_source.h"
#include "tests/unit/support/expect.h"
#include "tests/unit/support/real_image.h"

namespace unionfs::testing {

constexpr char kHardLink = '1';
constexpr char kSymlink = '2';
constexpr char kCharDevice = '3';
constexpr char kDirectory = '5';

struct TarEntry {
  std::string name = {};
  char type = '0';  // typeflag
  std::string content = {};
  std::string target = {};
  uint32_t mode = 0644;
  uint64_t user_id = 0;
  uint64_t group_id = 0;
  uint64_t modified = 1000;
  uint32_t device_major = 0;
  uint32_t device_minor = 0;
  std::vector<std::pair<std::string, std::string>> pax = {};  // keys and values
};

// The entries as a ustar archive with pax headers, and the zeros at its end.  Names and targets of
// more than 100 bytes become pax records.
std::string tar_of(const std::vector<TarEntry>& entries);
constexpr size_t kTarEndBytes = 1024;

// Reads archives with what warnings they give.
struct TarTest {
  TarTest();

  Result<FileTree> read(const std::string& bytes, TarRules rules = TarRules::kPlain);

  SourceContext context;
  std::vector<std::string> warnings;
};

// A line for each name, in the order of a walk: path, type, mode, owner, time, and what else it
// has.  Hard links say the path of the first name.
std::string tree_text(const FileTree& tree);
std::string content_text(FileBytes& bytes);

// Runs the script in bash with strict mode, in the directory; throws if it fails.
void run_in(const ScratchDirectory& directory, const std::string& script);

}  // namespace unionfs::testing

#endif  // UNIONFS_TESTS_UNIT_SOURCES_SOURCES_FIXTURE_H
