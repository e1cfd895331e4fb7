// SPDX-License-Identifier: BSD-3-Clause
//
// One request of HTTP/1.1 (RFC 9112), as much of it as the control socket needs: a body has
// a length or there is none, and of the headers only those count that could change where a
// request ends.
#ifndef UNIONFS_OVERLAY_CONTROL_HTTP_REQUEST_H
#define UNIONFS_OVERLAY_CONTROL_HTTP_REQUEST_H

#include <cstddef>
#include <string>
#include <string_view>
#include <variant>

namespace unionfs {

struct HttpRequest {
  std::string method;
  std::string target;  // begins with a slash; visible ASCII
  std::string body;
};

// The request is not whole yet.
struct HttpUnfinished {};

// It never will be one.
struct HttpRefusal {
  int status;           // of the answer, from 400 on
  std::string message;  // one line of harmless text
};

using HttpParsed = std::variant<HttpUnfinished, HttpRequest, HttpRefusal>;

// `received` are the bytes of a connection so far.  Head and body together have at most
// `most_bytes`; what follows a whole request is not looked at.  Thread-safe.
HttpParsed parse_http_request(std::string_view received, size_t most_bytes);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CONTROL_HTTP_REQUEST_H
