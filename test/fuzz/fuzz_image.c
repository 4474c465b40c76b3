/* SPDX-License-Identifier: MIT
**
** A damaged store file through the whole API. The first byte picks one of the four stores of damage.c, the second
** how it is used; then come damages of eight bytes each. An input is so a few dozen bytes and not a
** file, and the fuzzer looks for damages, not for SQLite's file format. What is held is what
** whole_api.c writes out.
*/
#define _XOPEN_SOURCE 700

#include "../damage.h"
#include "../memory_vfs.h"
#include "../whole_api.h"
#include "fuzz.h"

enum { DAMAGES_MAX = 12 };

static base *make_bases(void) {
  static base bases[DAMAGE_BASES];
  static int made;
  if (!made) {
    DEMAND(memory_vfs_install() == 0);
    DEMAND(damage_make_bases(fuzz_directory(), bases));
    made = 1;
  }
  return bases;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static image hurt;
  const base *from = make_bases();
  fuzz_input input = {data, size};
  whole_api_report report;
  unsigned how;
  int i;
  from += fuzz_next(&input) % DAMAGE_BASES;
  how = fuzz_next(&input);
  damage_copy(&hurt, damage_last(from));
  for (i = 0; i < DAMAGES_MAX && input.size >= DAMAGE_SIZE; i++) {
    damage_apply(&hurt, from, input.data);
    input.data += DAMAGE_SIZE;
    input.size -= DAMAGE_SIZE;
  }
  whole_api_use(fuzz_directory(), damage_last(from), &hurt, &from->truth, how, &report);
  if (report.broken[0] != '\0') fuzz_broken(from->name, (int)how, report.broken);
  return 0;
}
