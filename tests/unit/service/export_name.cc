// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/service/export_name.h"

#include "tests/unit/support/expect.h"

using namespace unionfs;
using namespace unionfs::testing;

TEST_CASE("Export names: what a client may ask for", "[export_name]") {
  for (const std::string& name : {std::string("a"), std::string("job 12"), std::string("a.img"),
                                  std::string("back\\slash"), std::string("\xc3\xa4\xe2\x82\xac"),
                                  std::string(220, 'x'), std::string("-r"), std::string("a:b")}) {
    INFO(name);
    expect_success(check_export_name(name));
    CHECK(export_of_file(export_file_of(name)) == name);
  }
}

TEST_CASE("Export names: what leaves the directory, or is no text, is refused", "[export_name]") {
  struct Refused {
    std::string name;
    std::string why;
  };
  const std::string zero("a\0b", 3);
  for (const Refused& refused : {Refused{"", "empty name"},
                                 {std::string(221, 'x'), "220 bytes"},
                                 {std::string(4000, 'x'), "220 bytes"},
                                 {".", "dot"},
                                 {"..", "dot"},
                                 {".hidden", "dot"},
                                 {"a/b", "slash"},
                                 {"/etc/passwd", "slash"},
                                 {"a/../../b", "slash"},
                                 {"a\nb", "plain text"},
                                 {zero, "plain text"},
                                 {"\x1b[2J", "plain text"},
                                 {"\xff", "plain text"},
                                 {"\xc0\xaf", "plain text"},
                                 {"a\xe2\x80\xae", "plain text"}}) {
    const Result<void> checked = check_export_name(refused.name);
    CHECK(expect_error(checked, {refused.why}) == ErrorKind::kInvalid);
    CHECK(checked.error().message.size() < 200);
    CHECK(export_of_file(refused.name + ".img") == std::nullopt);
  }
}

TEST_CASE("Export names: files that are no exports", "[export_name]") {
  for (const char* file : {"", ".img", "a", "a.IMG", "a.img.before-import", "..img", ".a.img"}) {
    INFO(file);
    CHECK(export_of_file(file) == std::nullopt);
  }
  CHECK(has_export_suffix("a\\b\n.img"));  // though no client can ask for it
  CHECK_FALSE(has_export_suffix("a.IMG"));
}
