// SPDX-License-Identifier: BSD-3-Clause
//
// Preloaded behind libasan into a program that is not instrumented, as nbdkit.
// libasan sets itself up at the first malloc.  In nbdkit that is one inside
// newlocale, which libp11-kit calls before libasan's own turn has come; newlocale
// then gives back a lock that it does not hold any more, and after the next
// message with an errno the exit waits for that lock for ever.  This library is
// linked to be set up before all others (-z initfirst), and allocates.
#include <stdlib.h>

namespace {

__attribute__((constructor)) void allocate_first() {
  void* volatile memory = malloc(1);
  free(memory);
}

}  // namespace
