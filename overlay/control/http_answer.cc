// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/control/http_answer.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "fsparse/printable.h"

namespace unionfs {
namespace {

// RFC 9110, section 15, and RFC 6585.
const char* reason_of(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 411:
      return "Length Required";
    case 413:
      return "Content Too Large";
    case 417:
      return "Expectation Failed";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 503:
      return "Service Unavailable";
    default:
      return "";
  }
}

}  // namespace

std::string http_answer(int status, std::string_view type, std::string_view body,
                        std::string_view more_headers) {
  return fmt::format(
      "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n{}\r\n{}",
      status, reason_of(status), type, body.size(), more_headers, body);
}

std::string http_error(int status, std::string_view message, std::string_view more_headers) {
  const nlohmann::json json{{"error", printable_line(message)}};
  return http_answer(status, kJsonType, json.dump() + "\n", more_headers);
}

}  // namespace unionfs
