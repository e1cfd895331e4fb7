// SPDX-License-Identifier: BSD-3-Clause
//
// Telling a process from a later one of its number.
#include "overlay/host/process.h"

#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/support/expect.h"

using namespace unionfs;

TEST_CASE("Process: when it was started", "[process]") {
  const std::string numbers = " R 1 2 3 4 5 64 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21";
  CHECK(start_time_in("12 (nbdfuse)" + numbers) == 4711);
  CHECK(start_time_in("12 (a ) R 9 (b)" + numbers) == 4711);
  CHECK(start_time_in("12 (dead) Z" + numbers.substr(2)) == 0);
  CHECK(start_time_in("12 (ends) R 1 2 3 4 5 68" + numbers.substr(15)) == 0);
  CHECK(start_time_in("12 (cut) R 1 2 3") == 0);
  CHECK(start_time_in("12 (cut)") == 0);
  CHECK(start_time_in("") == 0);
}

TEST_CASE("Process: whether one is gone", "[process]") {
  const uint64_t mine = process_start_time(::getpid());
  CHECK(mine != 0);
  CHECK_FALSE(is_process_gone(::getpid(), mine));
  CHECK_FALSE(is_process_gone(::getpid(), 0));
  CHECK(is_process_gone(::getpid(), mine + 1));  // another one had that number
  CHECK_FALSE(is_process_gone(-1, 0));
  const pid_t child = ::fork();
  if (child == 0) {
    ::_exit(0);
  }
  REQUIRE(child > 0);
  siginfo_t info;
  REQUIRE(::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT) == 0);
  CHECK(is_process_gone(child, mine));  // nobody has waited for it yet
  REQUIRE(::waitpid(child, nullptr, 0) == child);
  CHECK(is_process_gone(child, mine));
  CHECK(process_start_time(child) == 0);
}
