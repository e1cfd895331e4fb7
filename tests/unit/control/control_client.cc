// SPDX-License-Identifier: BSD-3-Clause
//
// What unionfs-img makes of answers; what it makes of servers is in tests/e2e/control.sh.
#include "tools/control/control_client.h"

#include <catch2/catch.hpp>

namespace unionfs::img {
namespace {

std::string message_of(std::string_view answer) {
  const auto body = body_of_answer("/run/s", answer);
  return body ? "no error" : body.error().message;
}

}  // namespace

TEST_CASE("an answer is a body, or an error in the server's words", "[control_client]") {
  const auto body = body_of_answer("/run/s", "HTTP/1.1 200 OK\r\nA: b\r\n\r\n{\"a\": 1}\n");
  REQUIRE(body);
  CHECK(*body == "{\"a\": 1}\n");
  const std::string refusal = "\r\n\r\n{\"error\":\"2 clients are connected\"}";
  CHECK(message_of("HTTP/1.1 409 Conflict" + refusal) == "/run/s: 2 clients are connected");
  CHECK(body_of_answer("", "HTTP/1.1 409 x" + refusal).error().error_number == EBUSY);
  CHECK(body_of_answer("", "HTTP/1.1 503 x" + refusal).error().error_number == EBUSY);
  CHECK(body_of_answer("", "HTTP/1.1 500 x" + refusal).error().error_number == EIO);
  CHECK(message_of("HTTP/1.1 500 x\r\n\r\n{\"error\":\"a\\u001b[m\"}") == "/run/s: a\\x1b[m");
}

TEST_CASE("what is no answer has a message, too", "[control_client]") {
  CHECK(message_of("") == "/run/s: the server has ended, or does not serve this user");
  for (const char* const answer : {"HTTP/1.1 200 OK\r\n", "HTTP/1.1 x\r\n\r\n", "NBDMAGIC",
                                   "HTTP/1.0 200 OK\r\n\r\n{}", "HTTP/1.1 \r\n\r\n"}) {
    INFO(answer);
    CHECK(message_of(answer) == "/run/s: this is no control socket");
  }
  for (const char* const body : {"", "{", "[]", "{\"error\":1}", "<html>"}) {
    INFO(body);
    CHECK(message_of(std::string("HTTP/1.1 404 x\r\n\r\n") + body) == "/run/s: answered with 404");
  }
}

}  // namespace unionfs::img
