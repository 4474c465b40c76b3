/* SPDX-License-Identifier: MIT
**
** Store files whose every byte is known, and ways to damage them. Shared by test_damage, which draws
** the damage from a seed, and by the fuzzer's image target, which decodes it from its input.
**
** A base is a store that was made through custmem itself, with what truly was written into it. Its
** last image is the whole of it; the images before are the same file at earlier times. A damage
** is eight bytes, so that any eight bytes are one: a kind, where it applies, and two numbers that
** each kind reads as it needs.
*/
#ifndef DAMAGE_H
#define DAMAGE_H

#include "../custmem.h"

#include <stddef.h>
#include <stdint.h>

#define DAMAGE_SIZE 8

enum damage_limits {
  DAMAGE_BASES = 4,
  DAMAGE_IMAGES = 3,
  DAMAGE_INSTRUCTORS = 3,
  DAMAGE_CUSTOMERS = 24,
  DAMAGE_CONVERSATIONS = 24,
  DAMAGE_EVENTS = 24 /* of one instructor */
};

/* The first half makes sense in both files, or in the database alone; what begins with WAL changes
** that file's own structure. */
enum damage_kind {
  DAMAGE_FLIP_BIT,
  DAMAGE_SET_BYTE,
  DAMAGE_SET_RUN,
  DAMAGE_COPY_RUN,
  DAMAGE_SWAP_PAGES,
  DAMAGE_ZERO_PAGE,
  DAMAGE_COPY_PAGE,
  DAMAGE_FILL_PAGE,
  DAMAGE_TRUNCATE,
  DAMAGE_EXTEND,
  DAMAGE_HEADER,       /* a field of the file's header */
  DAMAGE_PAGE_HEADER,  /* a field of a b-tree page's header */
  DAMAGE_CELL_POINTER, /* points elsewhere */
  DAMAGE_SWAP_CELLS,   /* two pointers exchanged: the order on the page is wrong */
  DAMAGE_SERIAL_TYPE,  /* a byte of a record's header: the column's type or size is another */
  DAMAGE_ID,           /* an id or a key, once, becomes another one that there is */
  DAMAGE_ID_BYTE,      /* one byte of an id or a key becomes another of its kind */
  DAMAGE_ROOTS,        /* the roots of two tables or indexes are exchanged */
  DAMAGE_WAL_MISSING,
  DAMAGE_WAL_FRAME_HEADER,
  DAMAGE_WAL_SWAP_FRAMES,
  DAMAGE_WAL_COPY_FRAME,
  DAMAGE_WAL_CUT_FRAME,
  DAMAGE_WAL_END,      /* cut off behind a frame */
  DAMAGE_WAL_OLD,      /* the -wal of an earlier time beside the database */
  DAMAGE_WAL_OLD_FILE, /* the database of an earlier time beside the -wal */
  DAMAGE_WAL_CHECKSUM, /* all checksums are made to fit what is there */
  DAMAGE_KINDS
};

/* A database file and, perhaps, its -wal; room: how far each may grow. */
typedef struct image {
  unsigned char *db;
  size_t db_size;
  size_t db_room;
  unsigned char *wal;
  size_t wal_size;
  size_t wal_room;
  int has_wal;
} image;

/* What was written, in the order that the library read it back when the file was whole.
**
** conversations  each with the number of its instructor; some have never been linked
** events, heads  of each instructor
*/
typedef struct known {
  int instructors;
  const char *instructor_ids[DAMAGE_INSTRUCTORS];
  custmem_customer customers[DAMAGE_CUSTOMERS];
  int customer_count;
  char conversations[DAMAGE_CONVERSATIONS][CUSTMEM_ID_MAX + 1];
  int conversation_owner[DAMAGE_CONVERSATIONS];
  int conversation_count;
  custmem_event events[DAMAGE_INSTRUCTORS][DAMAGE_EVENTS];
  int32_t event_count[DAMAGE_INSTRUCTORS];
  custmem_head heads[DAMAGE_INSTRUCTORS];
} known;

typedef struct base {
  const char *name;
  image images[DAMAGE_IMAGES];
  int image_count;
  known truth;
} base;

/* Makes all the bases, the same bytes each time, with memory_vfs as the default VFS; directory is
** one of the real file system. Returns 0 where custmem did not do what a base needs. */
int damage_make_bases(const char *directory, base bases[DAMAGE_BASES]);
void damage_free_bases(base bases[DAMAGE_BASES]);

/* The whole file of a base. */
const image *damage_last(const base *from);

void damage_copy(image *to, const image *from);
void damage_free(image *freed);

/* Does one damage to an image of a base. On an image that has nothing of the kind it does nothing. */
void damage_apply(image *hurt, const base *from, const uint8_t damage[DAMAGE_SIZE]);

/* The name of a kind, for messages. Never NULL. */
const char *damage_name(int kind);

#endif
