// SPDX-License-Identifier: BSD-3-Clause
//
// Which paths a pattern means, and who decides.
#include "overlay/rebase/policy.h"

#include <catch2/catch.hpp>

using namespace unionfs;

TEST_CASE("Policy: what a pattern matches", "[rebase][policy]") {
  struct Row {
    const char* pattern;
    const char* path;
    bool matches;
  };
  const auto row = GENERATE(
      Row{"/etc/x", "/etc/x", true}, Row{"/etc/x", "/etc/xy", false},
      Row{"/etc/x", "/a/etc/x", false},
      // Stars and question marks stay inside a component.
      Row{"/etc/*", "/etc/x", true}, Row{"/etc/*", "/etc/", true}, Row{"/etc/*", "/etc/a/b", false},
      Row{"/*/x", "/etc/x", true}, Row{"/*/x", "/x", false}, Row{"/etc/?", "/etc/x", true},
      Row{"/etc?x", "/etc/x", false}, Row{"/etc/a*b*c", "/etc/a1b2c", true},
      Row{"/etc/a*b*c", "/etc/a1c2b", false},
      // Two stars cross them.
      Row{"/etc/**", "/etc/a/b", true}, Row{"/etc/**", "/etc", false},
      Row{"**", "/any/thing", true}, Row{"/**/x", "/x", false}, Row{"/**/x", "/a/b/x", true},
      Row{"/a**z", "/a/b/z", true},
      // Without a slash in front: in any directory.
      Row{"x", "/x", true}, Row{"x", "/a/b/x", true}, Row{"x", "/a/bx", false},
      Row{"*.conf", "/etc/a.conf", true}, Row{"*.conf", "/etc/a.conf/b", false},
      Row{"etc/x", "/srv/etc/x", true}, Row{"etc/x", "/srv/betc/x", false},
      // Sets.
      Row{"/[ab]", "/a", true}, Row{"/[ab]", "/c", false}, Row{"/[a-c]x", "/bx", true},
      Row{"/[!a-c]", "/d", true}, Row{"/[!a-c]", "/b", false}, Row{"/[^a]", "/a", false},
      Row{"/[]]", "/]", true}, Row{"/[a-]", "/-", true}, Row{"/a[!b]c", "/a/c", false},
      Row{"/[a", "/[a", true},
      // A backslash takes the next byte as it is.
      Row{R"(/\*)", "/*", true}, Row{R"(/\*)", "/x", false}, Row{R"(/a\\b)", R"(/a\b)", true},
      Row{R"(/x\)", R"(/x\)", true},
      // Bytes, whatever they mean.
      Row{"/\xff*", "/\xff\xfe", true}, Row{"/?", "/\xc3\xa9", false},
      Row{"/??", "/\xc3\xa9", true}, Row{"/a\nb", "/a\nb", true},
      Row{"/[\x80-\xff]", "/\x90", true});
  INFO("pattern " << row.pattern << ", path " << row.path);
  CHECK(matches_path(row.pattern, row.path) == row.matches);
}

TEST_CASE("Policy: no pattern takes long", "[rebase][policy]") {
  std::string pattern = "/";
  for (int i = 0; i < 500; ++i) {
    pattern += "**a*";
  }
  const std::string path = "/" + std::string(4000, 'a');
  CHECK_FALSE(matches_path(pattern + "b", path));
  CHECK(matches_path(pattern, path));
}

TEST_CASE("Policy: the first pattern that matches decides, then the rest", "[rebase][policy]") {
  RebasePolicy policy;
  CHECK((decide(policy, "/etc/x", "").resolution == Resolution::kNone));
  CHECK(decide(policy, "/etc/x", "").decided_by.empty());
  policy.conflicts = Resolution::kBoth;
  policy.patterns = {
      {"/etc/*", Resolution::kTheirs}, {"/etc/x", Resolution::kOurs}, {"/old", Resolution::kOurs}};
  CHECK((decide(policy, "/etc/x", "").resolution == Resolution::kTheirs));
  CHECK(decide(policy, "/etc/x", "").decided_by == "--theirs /etc/*");
  CHECK((decide(policy, "/srv/x", "").resolution == Resolution::kBoth));
  CHECK(decide(policy, "/srv/x", "").decided_by == "--conflicts=both");
  // The old path of what was renamed counts as well.
  CHECK((decide(policy, "/new", "/old").resolution == Resolution::kOurs));
  CHECK(decide(policy, "/new", "/old").decided_by == "--ours /old");
}
