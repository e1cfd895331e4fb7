// SPDX-License-Identifier: BSD-3-Clause
//
// What nbdkit's command line says about writing.
#include "plugin/server_options.h"

#include "tests/unit/support/expect.h"

using namespace unionfs;

namespace {

using Words = std::vector<std::string>;

std::optional<Access> access_of(Words words) {
  words.insert(words.begin(), "nbdkit");
  return access_by(words);
}

}  // namespace

TEST_CASE("Server options: -r, in all its ways", "[server_options]") {
  for (const Words& words :
       {Words{"-r", "plugin"}, Words{"plugin", "lower", "-r"}, Words{"-fr", "plugin"},
        Words{"-rU", "-", "plugin"}, Words{"-rUsocket", "plugin"}, Words{"--readonly", "plugin"},
        Words{"--read-only", "plugin"}, Words{"--rea", "plugin"},
        Words{"-U", "-", "plugin", "lower", "--run", "true", "-r"}}) {
    CAPTURE(words);
    CHECK((access_of(words) == Access::kReadOnly));
  }
}

TEST_CASE("Server options: what only looks like -r", "[server_options]") {
  for (const Words& words :
       {Words{"plugin"}, Words{"-U", "-r", "plugin"}, Words{"-Ur", "plugin"},
        Words{"--run", "-r", "plugin"}, Words{"--run=-r", "plugin"}, Words{"--", "plugin", "-r"},
        Words{"-fvUr", "plugin"}, Words{"-D", "unionfs.route=1", "plugin", "-"},
        Words{"--pid", "-r", "plugin"}, Words{"plugin", "lower", "upper", "size=1G"}}) {
    CAPTURE(words);
    CHECK((access_of(words) == Access::kReadWrite));
  }
}

TEST_CASE("Server options: what cannot be told", "[server_options]") {
  for (const Words& words : {Words{"--novelty", "-r", "plugin"}, Words{"-Zr", "plugin"},
                             Words{"-r", "-Z", "plugin"}, Words{"--r", "plugin"}}) {
    CAPTURE(words);
    CHECK_FALSE(access_of(words).has_value());
  }
  CHECK_FALSE(access_by({}).has_value());
}
