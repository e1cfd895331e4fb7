// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/control/http_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

namespace unionfs {
namespace {

constexpr std::string_view kLineEnd = "\r\n";
constexpr std::string_view kHeadEnd = "\r\n\r\n";

bool is_visible(char character) {
  return character > ' ' && character < '\x7f';
}

bool is_letter_or_digit(char character) {
  return (character >= 'a' && character <= 'z') || (character >= 'A' && character <= 'Z') ||
         (character >= '0' && character <= '9');
}

bool is_token(std::string_view text) {
  static constexpr std::string_view kOthers = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char character) {
    return is_letter_or_digit(character) || kOthers.find(character) != std::string_view::npos;
  });
}

// Bytes from 0x80 on may be in a value; nobody looks at them.
bool is_field_value(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char character) {
    return character == ' ' || character == '\t' || is_visible(character) ||
           static_cast<unsigned char>(character) >= 0x80;
  });
}

std::string_view trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) {
    return {};
  }
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

bool is_same_name(std::string_view left, std::string_view right) {
  return std::equal(left.begin(), left.end(), right.begin(), right.end(), [](char a, char b) {
    const auto lower = [](char character) {
      return character >= 'A' && character <= 'Z' ? static_cast<char>(character + 32) : character;
    };
    return lower(a) == lower(b);
  });
}

std::optional<HttpRefusal> no_request() {
  return HttpRefusal{400, "this is no HTTP/1.1 request"};
}

// What the headers say of the body.
struct BodyFacts {
  std::optional<size_t> length_bytes;
  bool has_host = false;
};

std::optional<HttpRefusal> read_length(std::string_view value, BodyFacts& facts) {
  size_t length = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), length);
  if (error == std::errc::result_out_of_range) {
    return HttpRefusal{413, "the body is too large"};
  }
  const bool is_number = error == std::errc() && end == value.data() + value.size();
  if (!is_number || facts.length_bytes) {
    return HttpRefusal{400, "Content-Length must be one number"};
  }
  facts.length_bytes = length;
  return std::nullopt;
}

std::optional<HttpRefusal> read_header(std::string_view line, BodyFacts& facts) {
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos || !is_token(line.substr(0, colon)) ||
      !is_field_value(line.substr(colon + 1))) {
    return HttpRefusal{400, "a header is malformed"};
  }
  const std::string_view name = line.substr(0, colon);
  const std::string_view value = trim(line.substr(colon + 1));
  if (is_same_name(name, "Content-Length")) {
    return read_length(value, facts);
  }
  if (is_same_name(name, "Transfer-Encoding")) {
    return HttpRefusal{411, "a body needs a Content-Length; chunked bodies are not taken"};
  }
  if (is_same_name(name, "Expect")) {
    return HttpRefusal{417, "Expect is not supported"};
  }
  if (is_same_name(name, "Host")) {
    if (facts.has_host) {
      return HttpRefusal{400, "Host is given twice"};
    }
    facts.has_host = true;
  }
  return std::nullopt;
}

// "GET /v1/info HTTP/1.1"; it may lack its end.
std::optional<HttpRefusal> read_request_line(std::string_view line, HttpRequest& request) {
  const size_t first = line.find(' ');
  const size_t second = first == std::string_view::npos ? first : line.find(' ', first + 1);
  if (second == std::string_view::npos || !is_token(line.substr(0, first))) {
    return no_request();
  }
  request.method = line.substr(0, first);
  request.target = line.substr(first + 1, second - first - 1);
  const std::string_view version = line.substr(second + 1);
  if (request.target.empty() || request.target[0] != '/' ||
      !std::all_of(request.target.begin(), request.target.end(), is_visible)) {
    return no_request();
  }
  if (version == "HTTP/1.1" || version == "HTTP/1.0") {
    return std::nullopt;
  }
  return no_request();
}

// Whether what came of the first line may become one: who speaks another protocol shall not
// have to wait.
bool may_become_request(std::string_view received) {
  const size_t line_end = received.find(kLineEnd);
  if (line_end != std::string_view::npos) {
    HttpRequest request;
    return !read_request_line(received.substr(0, line_end), request);
  }
  const std::string_view text =
      received.substr(0, received.size() - (received.ends_with('\r') ? 1 : 0));
  const bool is_text = std::all_of(text.begin(), text.end(), [](char character) {
    return character == ' ' || is_visible(character);
  });
  return is_text && (text.empty() || is_token(text.substr(0, text.find(' '))));
}

// `head` is without the empty line.
std::optional<HttpRefusal> read_head(std::string_view head, HttpRequest& request,
                                     BodyFacts& facts) {
  const size_t first_end = head.find(kLineEnd);
  if (auto refused = read_request_line(head.substr(0, first_end), request)) {
    return refused;
  }
  const bool is_1_1 = head.substr(0, first_end).ends_with('1');
  for (size_t begin = first_end; begin != std::string_view::npos;) {
    begin += kLineEnd.size();
    const size_t end = head.find(kLineEnd, begin);
    if (auto refused = read_header(head.substr(begin, end - begin), facts)) {
      return refused;
    }
    begin = end;
  }
  if (is_1_1 && !facts.has_host) {
    return HttpRefusal{400, "Host is missing"};
  }
  return std::nullopt;
}

}  // namespace

HttpParsed parse_http_request(std::string_view received, size_t most_bytes) {
  if (!may_become_request(received)) {
    return *no_request();
  }
  const size_t head_size = received.find(kHeadEnd);
  if (head_size == std::string_view::npos || head_size + kHeadEnd.size() > most_bytes) {
    if (received.size() >= most_bytes) {
      return HttpRefusal{431, fmt::format("a request has at most {} bytes", most_bytes)};
    }
    return HttpUnfinished{};
  }
  HttpRequest request;
  BodyFacts facts;
  if (auto refused = read_head(received.substr(0, head_size), request, facts)) {
    return *refused;
  }
  const size_t body_begin = head_size + kHeadEnd.size();
  const size_t length = facts.length_bytes.value_or(0);
  if (length > most_bytes - body_begin) {
    return HttpRefusal{413, fmt::format("a request has at most {} bytes", most_bytes)};
  }
  if (received.size() - body_begin < length) {
    return HttpUnfinished{};
  }
  request.body = received.substr(body_begin, length);
  return request;
}

}  // namespace unionfs
