/* SPDX-License-Identifier: MIT
**
** Uses a store file, whatever is in it, through every call of custmem.h, and holds what comes back
** against the header's promises and against what truly was written. Shared by test_damage and by the
** fuzzer's image target. What it holds is written out in whole_api.c.
*/
#ifndef WHOLE_API_H
#define WHOLE_API_H

#include "damage.h"

enum whole_api_how {
  WHOLE_API_READ_ONLY = 1,
  WHOLE_API_EXCLUSIVE = 2,
  WHOLE_API_WRITES = 4,
  WHOLE_API_BACKUP = 8,
  WHOLE_API_REOPEN = 16,
  WHOLE_API_HURT_OPEN = 32, /* the file is damaged while it is open, not before */
  WHOLE_API_TURN = 64       /* times 0 to 3: which of the others' things are asked about */
};

/* What happened.
**
** broken     the first promise that was not kept, "" for none
** opened     whether the store opened; code is what custmem_open said
** verified   custmem_audit_verify without an anchor found every chain and link sound
** anchored   and so it did with the anchors of what truly was written
** checked    custmem_check found everything sound
** shortened  the chains are sound, and events that were written are gone
*/
typedef struct whole_api_report {
  char broken[400];
  int code;
  int opened;
  int verified;
  int anchored;
  int checked;
  int shortened;
} whole_api_report;

/* With memory_vfs as the default VFS, and a directory of the real file system. `hurt` may be `whole`:
** only HURT_OPEN asks for a damage of it while it is open. */
void whole_api_use(
  const char *directory,
  const image *whole,
  const image *hurt,
  const known *truth,
  unsigned how,
  whole_api_report *report
);

/* Removes what it has made in the directory. */
void whole_api_clean(const char *directory);

#endif
