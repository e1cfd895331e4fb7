// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/control/http_request.h"

#include <catch2/catch.hpp>

namespace unionfs {
namespace {

constexpr size_t kMost = 512;

HttpParsed parse(std::string_view received) {
  return parse_http_request(received, kMost);
}

// 0: unfinished; 200: whole; else the status of the refusal.
int status_of(std::string_view received) {
  const HttpParsed parsed = parse(received);
  if (std::holds_alternative<HttpUnfinished>(parsed)) {
    return 0;
  }
  const auto* refusal = std::get_if<HttpRefusal>(&parsed);
  return refusal == nullptr ? 200 : refusal->status;
}

// The same for a request with these headers.
int status_with(const std::string& headers, const std::string& body = "") {
  return status_of("POST /v1/flush HTTP/1.1\r\nHost: x\r\n" + headers + "\r\n" + body);
}

}  // namespace

TEST_CASE("a request is whole when its body is", "[http_request]") {
  const std::string bytes =
      "POST /v1/snapshot HTTP/1.1\r\nHost: disk\r\ncontent-LENGTH: \t5 \r\nX-y: "
      "caf\xc3\xa9\r\n\r\nabcde";
  for (size_t size = 0; size < bytes.size(); ++size) {
    INFO(size);
    REQUIRE(status_of(bytes.substr(0, size)) == 0);
  }
  const HttpParsed parsed = parse(bytes + "what follows");
  const auto& request = std::get<HttpRequest>(parsed);
  CHECK(request.method == "POST");
  CHECK(request.target == "/v1/snapshot");
  CHECK(request.body == "abcde");
  CHECK(status_of("GET / HTTP/1.0\r\n\r\n") == 200);
  CHECK(status_with("Content-Length: 0\r\n") == 200);
}

TEST_CASE("what is no request is refused as soon as that shows", "[http_request]") {
  using namespace std::string_literals;
  for (const std::string& bytes :
       {"\0"s, "\x16\x03\x01"s, "NBDMAGIC\0"s, "GET\t/"s, " GET"s, "G(T /"s, "hello\r\n\r\n"s,
        "\r\nGET / HTTP/1.1\r\n\r\n"s, "GET /\r\n\r\n"s, "GET / HTTP/2.0\r\n\r\n"s,
        "GET / HTTP/1.1 \r\nHost: x\r\n\r\n"s, "GET  / HTTP/1.1\r\nHost: x\r\n\r\n"s,
        "GET x HTTP/1.1\r\nHost: x\r\n\r\n"s, "GET /\x80 HTTP/1.1\r\n"s, "GET / HTTP/1.1\n"s}) {
    INFO(bytes);
    CHECK(status_of(bytes) == 400);
  }
  CHECK(status_of("GET / HTTP/1.1\r\n\r\n") == 400);  // no host
}

TEST_CASE("headers that could be understood in two ways are refused", "[http_request]") {
  using namespace std::string_literals;
  for (const std::string& headers :
       {"Host: y\r\n"s, "A : b\r\n"s, ": b\r\n"s, "A\r\n"s, " A: b\r\n"s, "A: b\r\n c\r\n"s,
        "A: b\0c\r\n"s, "A: b\rc\r\n"s, "A: b\nC: d\r\n"s, "Content-Length: \r\n"s,
        "Content-Length: -1\r\n"s, "Content-Length: +1\r\n"s, "Content-Length: 1, 1\r\n"s,
        "Content-Length: 0x1\r\n"s, "Content-Length: 1\r\nContent-Length: 1\r\n"s}) {
    INFO(headers);
    CHECK(status_with(headers, "a") == 400);
  }
  CHECK(status_with("Transfer-Encoding: chunked\r\n", "0\r\n\r\n") == 411);
  CHECK(status_with("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n", "a") == 411);
  CHECK(status_with("Expect: 100-continue\r\nContent-Length: 1\r\n") == 417);
}

TEST_CASE("head and body together have a bound", "[http_request]") {
  CHECK(status_of(std::string(kMost - 1, 'A')) == 0);
  CHECK(status_of(std::string(kMost, 'A')) == 431);
  CHECK(status_with(std::string(kMost, 'a') + ": b\r\n") == 431);
  CHECK(status_with("Content-Length: 18446744073709551616\r\n") == 413);
  CHECK(status_with("Content-Length: 18446744073709551615\r\n") == 413);
  const size_t head =
      std::string_view("POST /v1/flush HTTP/1.1\r\nHost: x\r\nContent-Length: 400\r\n\r\n").size();
  const size_t fits = kMost - head;
  CHECK(status_with("Content-Length: " + std::to_string(fits) + "\r\n") == 0);
  CHECK(status_with("Content-Length: " + std::to_string(fits) + "\r\n", std::string(fits, 'b')) ==
        200);
  CHECK(status_with("Content-Length: " + std::to_string(fits + 1) + "\r\n") == 413);
}

}  // namespace unionfs
