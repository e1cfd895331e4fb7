// SPDX-License-Identifier: BSD-3-Clause
#include "fsparse/printable.h"

#include <catch2/catch.hpp>

#include "fsparse/result.h"

namespace unionfs {

TEST_CASE("ordinary names stay as they are", "[printable]") {
  for (const char* name : {"etc", "with space", "it's", "\xc3\xa9t\xc3\xa9", "\xe2\x82\xac",
                           "\xf0\x9f\x90\xa7", "\xef\xbf\xbd"}) {
    CHECK(printable(name) == name);
    CHECK(quoted_name(name) == "\"" + std::string(name) + "\"");
    CHECK(printable_line(name) == name);
  }
}

TEST_CASE("what steers a terminal or is not seen is escaped", "[printable]") {
  CHECK(printable("\x1b[2J\x1b]0;PQ\x07\n") == R"(\x1b[2J\x1b]0;PQ\x07\x0a)");
  CHECK(printable(std::string_view("a\0b", 3)) == R"(a\x00b)");
  CHECK(printable("\x7f") == R"(\x7f)");
  CHECK(printable("\xc2\x9b") == R"(\xc2\x9b)");                  // C1: CSI
  CHECK(printable("\xc2\xad") == R"(\xc2\xad)");                  // soft hyphen
  CHECK(printable("\xd8\x9c") == R"(\xd8\x9c)");                  // Arabic letter mark
  CHECK(printable("\xe2\x80\x8b") == R"(\xe2\x80\x8b)");          // zero width space
  CHECK(printable("\xe2\x80\x8f") == R"(\xe2\x80\x8f)");          // right-to-left mark
  CHECK(printable("\xe2\x80\xa8") == R"(\xe2\x80\xa8)");          // line separator
  CHECK(printable("\xe2\x80\xae") == R"(\xe2\x80\xae)");          // right-to-left override
  CHECK(printable("\xe2\x81\xa6") == R"(\xe2\x81\xa6)");          // left-to-right isolate
  CHECK(printable("\xef\xbb\xbf") == R"(\xef\xbb\xbf)");          // byte order mark
  CHECK(printable("\xf3\xa0\x81\x81") == R"(\xf3\xa0\x81\x81)");  // a tag
}

TEST_CASE("what is not UTF-8 is escaped byte by byte", "[printable]") {
  CHECK(printable("a\xff z") == R"(a\xff z)");
  CHECK(printable("\x80") == R"(\x80)");
  CHECK(printable("\xc3") == R"(\xc3)");                          // cut short
  CHECK(printable("\xc3(") == R"(\xc3()");                        // not continued
  CHECK(printable("\xc0\xaf") == R"(\xc0\xaf)");                  // longer than needed
  CHECK(printable("\xe0\x80\xaf") == R"(\xe0\x80\xaf)");          // the same
  CHECK(printable("\xed\xa0\x80") == R"(\xed\xa0\x80)");          // a surrogate
  CHECK(printable("\xf4\x90\x80\x80") == R"(\xf4\x90\x80\x80)");  // beyond Unicode
}

TEST_CASE("names can be got back, and messages are escaped once", "[printable]") {
  CHECK(printable(R"(a\x0a)") == R"(a\\x0a)");
  CHECK(quoted_name("a\"b\n") == R"("a\x22b\x0a")");
  CHECK(printable_line(quoted_name("\\\n")) == quoted_name("\\\n"));
}

TEST_CASE("names can be typed into a shell", "[printable]") {
  CHECK(shell_word("/a/b-1_2.img") == "/a/b-1_2.img");
  CHECK(shell_word("") == "''");
  CHECK(shell_word("a b") == "'a b'");
  CHECK(shell_word("$(x)") == "'$(x)'");
  CHECK(shell_word("it's") == R"($'it\x27s')");
  CHECK(shell_word("a\\b\n\xff") == R"($'a\\b\x0a\xff')");
}

TEST_CASE("a message is one line, whatever was put into it", "[printable]") {
  const std::string path = "up\x1b[31mper\n.img";
  for (const Error& error :
       {corrupt("{}: block {}", path, 7).value(), unsupported("{}: block {}", path, 7).value(),
        invalid("{}: block {}", path, 7).value()}) {
    CHECK(error.message == R"(up\x1b[31mper\x0a.img: block 7)");
  }
  CHECK(system_failure(EIO, path).value().message ==
        R"(up\x1b[31mper\x0a.img: Input/output error)");
}

}  // namespace unionfs
