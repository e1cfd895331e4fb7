// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/remote/nbd_uri.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <string_view>

namespace unionfs {
namespace {

constexpr std::array<std::string_view, 6> kNbdSchemes = {
    "nbd://", "nbds://", "nbd+unix://", "nbds+unix://", "nbd+vsock://", "nbds+vsock://"};
constexpr std::array<std::string_view, 3> kNamesOfFiles = {
    "socket=", "tls-certificates=", "tls-psk-file="};

// What means something in a query is escaped.
std::string escaped_for_query(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    const bool is_plain = std::isalnum(static_cast<unsigned char>(c)) != 0 ||
                          std::string_view("/-._~").find(c) != std::string_view::npos;
    escaped += is_plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return escaped;
}

// One "name=value" of the query.
std::string absolute_part(std::string_view part, const std::string& directory) {
  const auto* const name = std::ranges::find_if(
      kNamesOfFiles, [&](std::string_view known) { return part.starts_with(known); });
  if (name == kNamesOfFiles.end()) {
    return std::string(part);
  }
  const std::string_view value = part.substr(name->size());
  const bool is_absolute =
      value.empty() || value.front() == '/' || value.starts_with("%2F") || value.starts_with("%2f");
  return is_absolute ? std::string(part)
                     : fmt::format("{}{}/{}", *name, escaped_for_query(directory), value);
}

}  // namespace

bool is_nbd_uri(const std::string& text) {
  return std::ranges::any_of(kNbdSchemes,
                             [&](std::string_view scheme) { return text.starts_with(scheme); });
}

std::string absolute_nbd_uri(const std::string& uri, const std::string& directory) {
  const size_t query = uri.find('?');
  if (query == std::string::npos) {
    return uri;
  }
  std::string absolute = uri.substr(0, query);
  char separator = '?';
  for (size_t begin = query + 1; begin <= uri.size();) {
    const size_t end = std::min(uri.find('&', begin), uri.size());
    absolute += separator;
    absolute += absolute_part(std::string_view(uri).substr(begin, end - begin), directory);
    separator = '&';
    begin = end + 1;
  }
  return absolute;
}

std::string shown_nbd_uri(const std::string& uri) {
  const size_t query = std::min(uri.find_first_of("?#"), uri.size());
  std::string shown = uri.substr(0, query);
  const size_t user = shown.find("://") + std::string_view("://").size();
  const size_t host = shown.substr(0, shown.find('/', user)).rfind('@');
  const size_t password = shown.find(':', user);
  if (host != std::string::npos && password < host) {
    shown.erase(password, host - password);
  }
  char separator = '?';
  const size_t fragment = std::min(uri.find('#', query), uri.size());
  for (size_t begin = query + 1; begin <= fragment;) {
    const size_t end = std::min(uri.find('&', begin), fragment);
    const std::string part = uri.substr(begin, end - begin);
    if (std::ranges::any_of(kNamesOfFiles, [&](auto known) { return part.starts_with(known); })) {
      shown += separator + part;
      separator = '&';
    }
    begin = end + 1;
  }
  return shown;
}

std::string shown_level(const std::string& path_or_uri) {
  return is_nbd_uri(path_or_uri) ? shown_nbd_uri(path_or_uri) : path_or_uri;
}

std::string with_shown_uri(std::string message, const std::string& uri) {
  const std::string shown = shown_nbd_uri(uri);
  for (size_t at = 0; !uri.empty() && (at = message.find(uri, at)) != std::string::npos;
       at += shown.size()) {
    message.replace(at, uri.size(), shown);
  }
  return message;
}

}  // namespace unionfs
