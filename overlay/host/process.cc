// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/host/process.h"

#include <signal.h>
#include <sys/types.h>

#include <cerrno>
#include <charconv>
#include <fstream>

#include "fsparse/result.h"

namespace unionfs {

uint64_t process_start_time(int64_t process) {
  std::ifstream file(fmt::format("/proc/{}/stat", process));
  std::string line;
  std::getline(file, line, '\0');  // a name may have line ends
  return start_time_in(line);
}

uint64_t start_time_in(const std::string& stat_line) {
  // The second field is a name in brackets, which may have blanks and brackets itself.
  size_t at = stat_line.rfind(')');
  if (at == std::string::npos || at + 2 >= stat_line.size()) {
    return 0;
  }
  const char state = stat_line[at + 2];
  constexpr int kFieldsBehindTheName = 20;  // to the 22nd
  for (int field = 0; field < kFieldsBehindTheName && at != std::string::npos; ++field) {
    at = stat_line.find(' ', at + 1);
  }
  if (at == std::string::npos || state == 'Z' || state == 'X') {
    return 0;
  }
  uint64_t value = 0;
  const char* const end = stat_line.data() + stat_line.size();
  return std::from_chars(stat_line.data() + at + 1, end, value).ec == std::errc() ? value : 0;
}

bool is_process_gone(int64_t process, uint64_t start_time) {
  if (process <= 0) {
    return false;
  }
  const uint64_t now = process_start_time(process);
  if (now != 0 && start_time != 0) {
    return now != start_time;
  }
  if (::kill(static_cast<pid_t>(process), 0) == -1) {
    return errno == ESRCH;  // or it is another user's, and /proc hides those
  }
  return start_time != 0;  // it is dead and waited for
}

}  // namespace unionfs
