// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/host/process.h"

#include <malloc.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/types.h>

#include <cerrno>
#include <charconv>
#include <fstream>

#include "fsparse/result.h"

namespace unionfs {

namespace {

constexpr int kNameField = 2;

// So many fields behind the one that ends at `at`; 0 if there is none.
uint64_t number_behind(const std::string& line, size_t at, int fields) {
  for (int field = 0; field < fields && at != std::string::npos; ++field) {
    at = line.find(' ', at + 1);
  }
  uint64_t value = 0;
  if (at != std::string::npos) {
    (void)std::from_chars(line.data() + at + 1, line.data() + line.size(), value);
  }
  return value;
}

}  // namespace

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
  // proc(5): the 9th field is the kernel's flags, the 22nd the time of the start.
  constexpr uint64_t kExiting = 0x4;  // PF_EXITING: it gives back its memory, and then its files
  const uint64_t flags = number_behind(stat_line, at, 9 - kNameField);
  if (state == 'Z' || state == 'X' || (flags & kExiting) != 0) {
    return 0;
  }
  return number_behind(stat_line, at, 22 - kNameField);
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

void raise_open_file_limit() {
  rlimit limit = {};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    (void)::setrlimit(RLIMIT_NOFILE, &limit);
  }
}

void give_back_memory() {
#ifdef __GLIBC__
  (void)::malloc_trim(0);
#endif
}

}  // namespace unionfs
