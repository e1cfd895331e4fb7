// SPDX-License-Identifier: BSD-3-Clause
//
// Bytes of images for people: names and messages on one line, that neither steer a terminal
// nor look like something else.
#ifndef UNIONFS_FSPARSE_PRINTABLE_H
#define UNIONFS_FSPARSE_PRINTABLE_H

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace unionfs {

// A name that may hold any byte, as printable UTF-8.  Each byte becomes "\xNN" of control
// characters (C0, DEL, C1), of characters that end a line, change the direction of the text
// or are invisible, and of what is not UTF-8.  A backslash becomes "\\", so that the name can
// be got back.
std::string printable(std::string_view name);

// The same in quotation marks, for messages; one inside of the name becomes "\x22".
std::string quoted_name(std::string_view name);

// The same as one word of a command line that can be typed into bash.
std::string shell_word(std::string_view name);

// A whole message.  As printable(), but backslashes stay, because the names in it were made
// printable before.  The last guard: whoever makes an Error or writes a line of a log sends
// the text through it.
std::string printable_line(std::string_view message);

// Two digits for each byte, as digests and numbers that were drawn are shown.
std::string hex_text(std::span<const uint8_t> bytes);

}  // namespace unionfs

#endif  // UNIONFS_FSPARSE_PRINTABLE_H
