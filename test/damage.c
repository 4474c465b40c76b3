/* SPDX-License-Identifier: MIT
**
** The stores are small, with pages of 1,024 bytes in two of them, so that every tree has several
** pages and every kind of page is met often. Ids of one kind have one length: one can then take the
** place of another without moving a byte.
*/
#define _XOPEN_SOURCE 700

#include "damage.h"
#include "../sqlite3.h"
#include "memory_vfs.h"
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#define FILE_HEADER  100
#define WAL_HEADER   32
#define FRAME_HEADER 24
#define ROOM         16384 /* an image may grow by so much */

/* ---- Images -------------------------------------------------------------------------------- */

static void *need(void *memory) {
  if (memory == NULL) {
    fputs("damage: out of memory\n", stderr);
    abort();
  }
  return memory;
}

static void grow(unsigned char **bytes, size_t *room, size_t size) {
  if (size + ROOM <= *room) return;
  *room = size + ROOM;
  *bytes = need(realloc(*bytes, *room));
}

static void set_db(image *to, const void *bytes, size_t size) {
  grow(&to->db, &to->db_room, size);
  if (size > 0) memcpy(to->db, bytes, size);
  to->db_size = size;
}

static void set_wal(image *to, const void *bytes, size_t size) {
  grow(&to->wal, &to->wal_room, size);
  if (size > 0) memcpy(to->wal, bytes, size);
  to->wal_size = size;
  to->has_wal = size > 0;
}

void damage_copy(image *to, const image *from) {
  set_db(to, from->db, from->db_size);
  set_wal(to, from->wal, from->wal_size);
}

void damage_free(image *freed) {
  free(freed->db);
  free(freed->wal);
  memset(freed, 0, sizeof *freed);
}

const image *damage_last(const base *from) {
  return &from->images[from->image_count - 1];
}

/* ---- Bases --------------------------------------------------------------------------------- */

/* How a base is made. `steps` is how many writes each instructor makes; after each share of them the
** image is taken, and where it says so the store is closed, which empties the -wal. */
typedef struct plan {
  const char *name;
  int page_size;
  int instructors;
  int customers;     /* of each instructor */
  int conversations; /* of each instructor */
  struct {
    int steps;
    int close;
  } shares[DAMAGE_IMAGES];
} plan;

static const plan PLANS[DAMAGE_BASES] = {
  {"small pages", 1024, 3, 4, 4, {{9, 1}}},
  {"large pages", 4096, 2, 3, 4, {{8, 1}}},
  {"a part in the WAL", 1024, 2, 4, 4, {{6, 1}, {3, 0}, {4, 0}}},
  {"all in the WAL", 4096, 2, 3, 4, {{4, 0}, {4, 0}}},
};

static const char *const INSTRUCTORS[DAMAGE_INSTRUCTORS] = {
  "instructor-anna", "instructor-bert", "instructor-cleo"};

/* A store being made. */
typedef struct making {
  const plan *how;
  char path[600];
  custmem *store;
  base *made;
  int step; /* of each instructor so far */
} making;

/* An empty database with pages of a size: custmem makes its store in it. */
static int make_empty(const making *maker) {
  char sql[64];
  sqlite3 *db = NULL;
  int rc = sqlite3_open(maker->path, &db);
  snprintf(sql, sizeof sql, "PRAGMA page_size = %d; VACUUM", maker->how->page_size);
  if (rc == SQLITE_OK) rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
  sqlite3_close(db);
  return rc == SQLITE_OK;
}

static custmem_customer *customer_of(const making *maker, int instructor, int number) {
  const plan *how = maker->how;
  return &maker->made->truth.customers[instructor * how->customers + number % how->customers];
}

static int instructors_of(const making *maker) {
  int instructors = maker->how->instructors;
  return instructors < DAMAGE_INSTRUCTORS ? instructors : DAMAGE_INSTRUCTORS;
}

/* The first number is every instructor's customer; the others are one's own. */
static int make_customers(making *maker) {
  known *truth = &maker->made->truth;
  int instructor, number, rc = CUSTMEM_OK;
  for (instructor = 0; instructor < instructors_of(maker); instructor++) {
    custmem_actor actor = test_human(INSTRUCTORS[instructor]);
    for (number = 0; number < maker->how->customers && rc == CUSTMEM_OK; number++) {
      char phone[32], display[32];
      snprintf(phone, sizeof phone, "39333%d00%04d", number == 0 ? 9 : instructor, number);
      snprintf(display, sizeof display, "%s %d", INSTRUCTORS[instructor] + 11, number);
      rc = custmem_customer_create(
        maker->store, &actor, "whatsapp", phone, -1, number % 2 == 0 ? display : NULL, -1,
        customer_of(maker, instructor, number), NULL
      );
      truth->customer_count++;
    }
  }
  return rc == CUSTMEM_OK;
}

static void name_conversations(const making *maker) {
  known *truth = &maker->made->truth;
  int instructor, number;
  for (instructor = 0; instructor < maker->how->instructors; instructor++)
    for (number = 0; number < maker->how->conversations; number++) {
      int at = truth->conversation_count++;
      truth->conversation_owner[at] = instructor;
      snprintf(
        truth->conversations[at], sizeof truth->conversations[at], "conversation-%c%d",
        'a' + instructor, number
      );
    }
}

/* One write: link a conversation; where it is linked, relink or unlink it. The last conversation is
** never linked. Some events are longer than a page. */
static int make_write(making *maker, int instructor, int step) {
  static char context[1600];
  custmem_actor actor = test_human(INSTRUCTORS[instructor]);
  int number = step % (maker->how->conversations - 1);
  const char *conversation =
    maker->made->truth.conversations[instructor * maker->how->conversations + number];
  const custmem_customer *next = customer_of(maker, instructor, step * 3 + 1);
  custmem_resolution now;
  memset(context, 'x', sizeof context - 1);
  if (step % 4 != 2) context[0] = '\0';
  custmem_resolve(maker->store, actor.instructor_id, conversation, NULL, NULL, 0, &now);
  if (now.outcome != CUSTMEM_LINKED)
    return custmem_link(
      maker->store, &actor, conversation, next->id, "they told me", -1,
      context[0] != '\0' ? context : NULL, -1, NULL
    );
  if (step % 3 == 0 || strcmp(now.customer_id, next->id) == 0)
    return custmem_unlink(
      maker->store, &actor, conversation, now.customer_id, "a mistake", -1, NULL, 0, NULL
    );
  return custmem_relink(
    maker->store, &actor, conversation, now.customer_id, next->id, "somebody else", -1, NULL, 0,
    NULL
  );
}

static void take_image(const making *maker) {
  char name[sizeof maker->path + 8];
  image *taken = &maker->made->images[maker->made->image_count++];
  size_t size;
  const unsigned char *bytes = memory_vfs_get(maker->path, &size);
  set_db(taken, bytes, size);
  snprintf(name, sizeof name, "%s-wal", maker->path);
  bytes = memory_vfs_get(name, &size);
  set_wal(taken, bytes, size);
}

static int make_share(making *maker, int steps, int close) {
  int step, instructor, rc = CUSTMEM_OK;
  for (step = 0; step < steps; step++, maker->step++)
    for (instructor = 0; instructor < maker->how->instructors; instructor++)
      if (rc == CUSTMEM_OK) rc = make_write(maker, instructor, maker->step);
  if (rc != CUSTMEM_OK) return 0;
  if (close) {
    custmem_close(maker->store);
    maker->store = NULL;
  }
  take_image(maker);
  if (close) maker->store = test_store(maker->path);
  return maker->store != NULL;
}

static int read_truth(const making *maker) {
  known *truth = &maker->made->truth;
  int instructor, instructors = instructors_of(maker), rc = CUSTMEM_OK;
  truth->instructors = instructors;
  for (instructor = 0; instructor < instructors && rc == CUSTMEM_OK; instructor++) {
    const char *id = truth->instructor_ids[instructor] = INSTRUCTORS[instructor];
    rc = custmem_audit_read(
      maker->store, id, 0, truth->events[instructor], DAMAGE_EVENTS,
      &truth->event_count[instructor]
    );
    if (rc == CUSTMEM_OK) rc = custmem_audit_head(maker->store, id, &truth->heads[instructor]);
  }
  return rc == CUSTMEM_OK;
}

static int make_base(const char *directory, const plan *how, base *made) {
  making maker = {how, "", NULL, made, 0};
  size_t i;
  int good;
  memset(made, 0, sizeof *made);
  made->name = how->name;
  snprintf(maker.path, sizeof maker.path, "%s/base.db", directory);
  memory_vfs_seed((uint64_t)how->page_size);
  test_sources_reset();
  good = test_file_write(maker.path, "x", 1) && make_empty(&maker);
  if (good) maker.store = test_store(maker.path);
  good = maker.store != NULL && make_customers(&maker);
  if (good) name_conversations(&maker);
  for (i = 0; good && i < COUNT_OF(how->shares) && how->shares[i].steps > 0; i++)
    good = make_share(&maker, how->shares[i].steps, how->shares[i].close);
  good = good && read_truth(&maker);
  custmem_close(maker.store);
  memory_vfs_clear();
  unlink(maker.path);
  return good;
}

int damage_make_bases(const char *directory, base bases[DAMAGE_BASES]) {
  int i, good = 1;
  for (i = 0; i < DAMAGE_BASES && good; i++)
    good = make_base(directory, &PLANS[i], &bases[i]);
  return good;
}

void damage_free_bases(base bases[DAMAGE_BASES]) {
  int i, j;
  for (i = 0; i < DAMAGE_BASES; i++)
    for (j = 0; j < DAMAGE_IMAGES; j++)
      damage_free(&bases[i].images[j]);
}

/* ---- Looking into an image ----------------------------------------------------------------- */

/* One of the two files, as a row of pages: of the database, or of the frames of the -wal. */
typedef struct part {
  unsigned char *bytes;
  size_t *size;
  size_t room;
  size_t page_size;
  size_t first;  /* offset of the first page */
  size_t stride; /* from one page to the next */
  size_t pages;
  int is_wal;
} part;

/* What a damage says: the numbers are of 24 bits. */
typedef struct hurt {
  int kind;
  unsigned flags;
  size_t a;
  size_t b;
  uint64_t seed;
} hurt;

static uint32_t get_4(const unsigned char *bytes) {
  return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 |
         bytes[3];
}

static void put_4(unsigned char *bytes, uint32_t value) {
  bytes[0] = (unsigned char)(value >> 24);
  bytes[1] = (unsigned char)(value >> 16);
  bytes[2] = (unsigned char)(value >> 8);
  bytes[3] = (unsigned char)value;
}

/* The size of the base's pages: the damaged image may say anything. */
static size_t page_size_of(const base *from) {
  const unsigned char *header = from->images[0].db;
  return (size_t)header[16] << 8 | header[17];
}

static part part_of(image *whole, const base *from, int is_wal) {
  part found = {whole->db, &whole->db_size, whole->db_room, page_size_of(from), 0, 0,
                0,         is_wal};
  found.stride = found.page_size;
  if (is_wal) {
    found.bytes = whole->wal;
    found.size = &whole->wal_size;
    found.room = whole->wal_room;
    found.first = WAL_HEADER + FRAME_HEADER;
    found.stride = FRAME_HEADER + found.page_size;
  }
  if (*found.size + found.stride > found.first)
    found.pages = (*found.size - found.first + found.stride - found.page_size) / found.stride;
  if (*found.size < found.first + found.page_size) found.pages = 0;
  return found;
}

static unsigned char *page_of(const part *of, size_t number) {
  return of->bytes + of->first + (number % of->pages) * of->stride;
}

/* The header of a b-tree page, behind the file's own on the first page of the database. */
static unsigned char *tree_of(const part *of, size_t number) {
  unsigned char *page = page_of(of, number);
  int is_first = of->is_wal ? get_4(page - FRAME_HEADER) == 1 : page == of->bytes;
  return is_first ? page + FILE_HEADER : page;
}

/* The cell pointers of a page: how many, and where they begin; 0 where it is no tree's. */
static size_t cells_of(unsigned char *tree, unsigned char **pointers, const part *of) {
  size_t count = (size_t)tree[3] << 8 | tree[4];
  int is_leaf = tree[0] == 10 || tree[0] == 13;
  *pointers = tree + (is_leaf ? 8 : 12);
  if (!is_leaf && tree[0] != 2 && tree[0] != 5) return 0;
  return count * 2 + 128 < of->page_size ? count : 0;
}

/* ---- Damages ------------------------------------------------------------------------------- */

static const uint32_t ODD_VALUES[] = {
  0,      1,      2,          3,          4,          7,         13,    127,  128,
  255,    256,    511,        512,        513,        1000,      1023,  1024, 1025,
  4095,   4096,   4097,       32767,      32768,      65535,     65536, 16,   20,
  0xffff, 0x8000, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff};

static uint32_t odd_value(size_t which) {
  return ODD_VALUES[which % COUNT_OF(ODD_VALUES)];
}

static void hurt_bytes(const part *in, hurt *how) {
  size_t size = *in->size, at = how->a % size, run = 1 + how->flags % 64, i;
  switch (how->kind) {
  case DAMAGE_FLIP_BIT:
    in->bytes[at] ^= (unsigned char)(1u << how->b % 8);
    break;
  case DAMAGE_SET_BYTE:
    in->bytes[at] = (unsigned char)how->b;
    break;
  case DAMAGE_SET_RUN:
    for (i = at; i < at + run && i < size; i++)
      in->bytes[i] = (unsigned char)test_random(&how->seed);
    break;
  default:
    if (run > size) run = size;
    memmove(in->bytes + at % (size - run + 1), in->bytes + how->b % (size - run + 1), run);
  }
}

static void hurt_pages(const part *in, hurt *how) {
  unsigned char kept[4096], *one, *other;
  size_t i;
  if (in->pages == 0) return;
  one = page_of(in, how->a);
  other = page_of(in, how->b);
  memcpy(kept, one, in->page_size);
  switch (how->kind) {
  case DAMAGE_SWAP_PAGES:
    memmove(one, other, in->page_size);
    memcpy(other, kept, in->page_size);
    break;
  case DAMAGE_ZERO_PAGE:
    memset(one, 0, in->page_size);
    break;
  case DAMAGE_COPY_PAGE:
    memcpy(other, kept, in->page_size);
    break;
  default:
    for (i = 0; i < in->page_size; i++)
      one[i] = (unsigned char)test_random(&how->seed);
  }
}

static void hurt_size(const part *in, hurt *how) {
  size_t more, i;
  if (how->kind == DAMAGE_TRUNCATE) {
    size_t to = how->a % *in->size;
    *in->size = how->flags & 1 ? to - to % in->stride : to;
    return;
  }
  more = how->flags & 1 ? in->stride : 1 + how->a % ROOM;
  if (more > in->room - *in->size) more = in->room - *in->size;
  for (i = 0; i < more; i++)
    in->bytes[*in->size + i] = how->flags & 2 ? (unsigned char)test_random(&how->seed) : 0;
  *in->size += more;
}

/* Where a field of the file's header is, and its size. */
static const struct {
  unsigned char offset, size;
} HEADER_FIELDS[] = {{16, 2}, {18, 1}, {19, 1}, {20, 1}, {21, 1}, {22, 1}, {23, 1},
                     {24, 4}, {28, 4}, {32, 4}, {36, 4}, {40, 4}, {44, 4}, {48, 4},
                     {52, 4}, {56, 4}, {60, 4}, {64, 4}, {68, 4}, {92, 4}, {96, 4}};

static void put_odd(unsigned char *at, size_t size, const hurt *how) {
  unsigned char bytes[4];
  uint32_t value = how->flags & 1 ? odd_value(how->b) : (uint32_t)how->b;
  if (how->flags & 2)
    value = get_4(at) / (size == 2 ? 65536u : 1u) + (uint32_t)(how->b % 3) + 1;
  put_4(bytes, value);
  memcpy(at, bytes + 4 - size, size);
}

static void hurt_header(const part *in, const hurt *how) {
  size_t field = how->a % COUNT_OF(HEADER_FIELDS);
  unsigned char *page;
  if (in->pages == 0) return;
  page = page_of(in, 0);
  put_odd(page + HEADER_FIELDS[field].offset, HEADER_FIELDS[field].size, how);
}

/* Of a page's tree: type, first free block, number of cells, their start, fragments, right page. */
static void hurt_page_header(const part *in, const hurt *how) {
  static const struct {
    unsigned char offset, size;
  } fields[] = {{0, 1}, {1, 2}, {3, 2}, {5, 2}, {7, 1}, {8, 4}};
  size_t field = how->b / 64 % COUNT_OF(fields);
  unsigned char *tree = tree_of(in, how->a);
  if (field == 0)
    tree[0] = (unsigned char[]){0, 2, 5, 10, 13, 255}[how->b % 6];
  else
    put_odd(tree + fields[field].offset, fields[field].size, how);
}

static void hurt_cell_pointers(const part *in, const hurt *how) {
  unsigned char *pointers, kept[2], *one, *other;
  size_t cells = cells_of(tree_of(in, how->a), &pointers, in);
  if (cells == 0) return;
  one = pointers + 2 * (how->b % cells);
  other = pointers + 2 * (how->b / 64 % cells);
  if (how->kind == DAMAGE_CELL_POINTER) {
    put_odd(one, 2, how);
    return;
  }
  memcpy(kept, one, 2);
  memmove(one, other, 2);
  memcpy(other, kept, 2);
}

/* The header of a record is behind the size of the cell, a varint, and on an inner page behind the
** number of a page, too. */
static void hurt_serial_type(const part *in, const hurt *how) {
  static const unsigned char types[] = {0, 1, 2, 6, 7, 8, 9, 10, 12, 13, 85, 84, 127, 128, 255};
  unsigned char *pointers, *tree = tree_of(in, how->a), *page = page_of(in, how->a);
  size_t cells = cells_of(tree, &pointers, in), at, i;
  if (cells == 0) return;
  i = how->b % cells;
  at = (size_t)pointers[2 * i] << 8 | pointers[2 * i + 1];
  if (tree[0] == 2 || tree[0] == 5) at += 4;
  at += how->flags / 2 % 16;
  if (at >= in->page_size) return;
  if (how->flags & 1)
    page[at] = types[how->b / 64 % COUNT_OF(types)];
  else
    page[at] = (unsigned char)(page[at] + (how->b / 64 % 2 != 0 ? 1 : -1));
}

/* ---- Ids and keys -------------------------------------------------------------------------- */

/* A text of the base: by kind, then by number. */
static const char *text_of(const known *truth, size_t kind, size_t number) {
  size_t customer = number % (size_t)truth->customer_count;
  switch (kind % 4) {
  case 0:
    return truth->instructor_ids[number % (size_t)truth->instructors];
  case 1:
    return truth->customers[customer].id;
  case 2:
    return truth->customers[customer].normalized_identifier;
  default:
    return truth->conversations[number % (size_t)truth->conversation_count];
  }
}

/* The place of a text in a file: the nth, around the end; NULL where it is nowhere. */
static unsigned char *find_text(const part *in, const char *text, size_t nth) {
  size_t size = strlen(text), seen = 0, i;
  unsigned char *places[256];
  for (i = 0; i + size <= *in->size && seen < COUNT_OF(places); i++)
    if (in->bytes[i] == (unsigned char)text[0] && memcmp(in->bytes + i, text, size) == 0)
      places[seen++] = in->bytes + i;
  return seen > 0 ? places[nth % seen] : NULL;
}

static void hurt_id(const part *in, const known *truth, const hurt *how) {
  size_t kind = how->flags / 2;
  const char *text = text_of(truth, kind, how->a);
  unsigned char *place = find_text(in, text, how->a / 256);
  if (place == NULL) return;
  if (how->kind == DAMAGE_ID) {
    memcpy(place, text_of(truth, kind, how->b), strlen(text));
    return;
  }
  place += how->b % strlen(text);
  if (how->b / 64 % 4 == 0)
    *place = (unsigned char)(how->b / 256);
  else
    *place = (unsigned char
    )(*place >= '0' && *place <= '9' ? '0' + how->b / 256 % 10 : 'a' + how->b / 256 % 26);
}

/* ---- Roots --------------------------------------------------------------------------------- */

/* Where the byte of an object's root page is in its record of the schema's table, NULL where it is not
** found: it follows the object's name and its table's, and the text of its statement follows it. */
static unsigned char *find_root(const part *in, size_t which) {
  static const char *const texts[] = {
    "storestore",
    "customerscustomers",
    "customers_identitycustomers",
    "customers_ownercustomers",
    "audit_eventsaudit_events",
    "audit_events_conversationaudit_events",
    "conversation_linksconversation_links",
    "conversation_links_customerconversation_links"};
  const char *text = texts[which % COUNT_OF(texts)];
  unsigned char *place = find_text(in, text, 0);
  return place != NULL ? place + strlen(text) : NULL;
}

static void hurt_roots(const part *in, const hurt *how) {
  unsigned char *one = find_root(in, how->a), *other = find_root(in, how->b), kept;
  if (one == NULL || other == NULL || one >= in->bytes + *in->size || other >= in->bytes + *in->size)
    return;
  kept = *one;
  *one = *other;
  if (how->flags & 2) *other = kept;
}

/* ---- The WAL ------------------------------------------------------------------------------- */

/* The checksum that SQLite's file format documents, over words of one byte order or the other. */
static void add_checksum(uint32_t sum[2], const unsigned char *bytes, size_t size, int is_big) {
  size_t i;
  for (i = 0; i + 8 <= size; i += 8) {
    uint32_t word[2];
    int j;
    for (j = 0; j < 2; j++) {
      const unsigned char *at = bytes + i + (j == 0 ? 0 : 4);
      word[j] =
        is_big ? get_4(at)
               : (uint32_t)at[3] << 24 | (uint32_t)at[2] << 16 | (uint32_t)at[1] << 8 | at[0];
    }
    sum[0] += word[0] + sum[1];
    sum[1] += word[1] + sum[0];
  }
}

/* Makes the -wal one that SQLite believes: salts and checksums of all its frames are as they must be
** for what is in it. */
static void fit_checksums(const part *in) {
  uint32_t sum[2] = {0, 0};
  int is_big = in->bytes[3] & 1;
  size_t i;
  add_checksum(sum, in->bytes, 24, is_big);
  put_4(in->bytes + 24, sum[0]);
  put_4(in->bytes + 28, sum[1]);
  for (i = 0; i < in->pages; i++) {
    unsigned char *page = page_of(in, i), *frame = page - FRAME_HEADER;
    memcpy(frame + 8, in->bytes + 16, 8);
    add_checksum(sum, frame, 8, is_big);
    add_checksum(sum, page, in->page_size, is_big);
    put_4(frame + 16, sum[0]);
    put_4(frame + 20, sum[1]);
  }
}

static void hurt_frames(const part *in, const hurt *how) {
  static unsigned char kept[FRAME_HEADER + 4096];
  unsigned char *one = page_of(in, how->a) - FRAME_HEADER;
  unsigned char *other = page_of(in, how->b) - FRAME_HEADER;
  size_t behind = (size_t)(in->bytes + *in->size - one) - in->stride;
  memcpy(kept, one, in->stride);
  switch (how->kind) {
  case DAMAGE_WAL_SWAP_FRAMES:
    memmove(one, other, in->stride);
    memcpy(other, kept, in->stride);
    break;
  case DAMAGE_WAL_COPY_FRAME:
    memcpy(other, kept, in->stride);
    break;
  case DAMAGE_WAL_CUT_FRAME:
    memmove(one, one + in->stride, behind);
    *in->size -= in->stride;
    break;
  default:
    *in->size = (size_t)(one - in->bytes) + (how->flags & 1 ? 0 : in->stride);
  }
}

/* A field of a frame's header, or of the -wal's own: page or magic number and so on. */
static void hurt_frame_header(const part *in, const hurt *how) {
  size_t field = 4 * (how->b / 64 % 8);
  unsigned char *header = page_of(in, how->a) - FRAME_HEADER;
  if (how->flags & 4) header = in->bytes;
  if (header != in->bytes) field %= FRAME_HEADER;
  put_odd(header + field, 4, how);
  /* A page size of 2^31: SQLite refuses it, by way of a signed overflow that UBSan would end the test for. */
  if (header == in->bytes && get_4(header + 8) == 0x80000000) put_4(header + 8, 0x40000000);
}

static void hurt_wal(image *whole, const part *in, const base *from, const hurt *how) {
  const image *old = &from->images[how->a % (size_t)from->image_count];
  switch (how->kind) {
  case DAMAGE_WAL_MISSING:
    set_wal(whole, NULL, 0);
    break;
  case DAMAGE_WAL_OLD:
    set_wal(whole, old->wal, old->wal_size);
    break;
  case DAMAGE_WAL_OLD_FILE:
    set_db(whole, old->db, old->db_size);
    break;
  case DAMAGE_WAL_FRAME_HEADER:
    if (in->pages > 0) hurt_frame_header(in, how);
    break;
  case DAMAGE_WAL_CHECKSUM:
    if (in->pages > 0) fit_checksums(in);
    break;
  default:
    if (in->pages > 0) hurt_frames(in, how);
  }
}

/* ---- One damage ---------------------------------------------------------------------------- */

static void hurt_database(const part *in, const known *truth, hurt *how) {
  if (*in->size == 0) return;
  switch (how->kind) {
  case DAMAGE_FLIP_BIT:
  case DAMAGE_SET_BYTE:
  case DAMAGE_SET_RUN:
  case DAMAGE_COPY_RUN:
    hurt_bytes(in, how);
    break;
  case DAMAGE_TRUNCATE:
  case DAMAGE_EXTEND:
    hurt_size(in, how);
    break;
  case DAMAGE_HEADER:
    hurt_header(in, how);
    break;
  case DAMAGE_PAGE_HEADER:
    if (in->pages > 0) hurt_page_header(in, how);
    break;
  case DAMAGE_CELL_POINTER:
  case DAMAGE_SWAP_CELLS:
    if (in->pages > 0) hurt_cell_pointers(in, how);
    break;
  case DAMAGE_SERIAL_TYPE:
    if (in->pages > 0) hurt_serial_type(in, how);
    break;
  case DAMAGE_ID:
  case DAMAGE_ID_BYTE:
    hurt_id(in, truth, how);
    break;
  case DAMAGE_ROOTS:
    hurt_roots(in, how);
    break;
  default:
    hurt_pages(in, how);
  }
}

void damage_apply(image *hurt_image, const base *from, const uint8_t damage[DAMAGE_SIZE]) {
  hurt how;
  part in;
  int is_wal;
  how.kind = damage[0] % DAMAGE_KINDS;
  how.flags = damage[1] / 2;
  how.a = (size_t)damage[2] << 16 | (size_t)damage[3] << 8 | damage[4];
  how.b = (size_t)damage[5] << 16 | (size_t)damage[6] << 8 | damage[7];
  how.seed = how.a << 24 | how.b;
  is_wal = hurt_image->has_wal && ((damage[1] & 1) || how.kind >= DAMAGE_WAL_MISSING);
  in = part_of(hurt_image, from, is_wal);
  if (how.kind < DAMAGE_WAL_MISSING)
    hurt_database(&in, &from->truth, &how);
  else if (hurt_image->has_wal)
    hurt_wal(hurt_image, &in, from, &how);
}

const char *damage_name(int kind) {
  static const char *const names[DAMAGE_KINDS] = {
    [DAMAGE_FLIP_BIT] = "flip bit",
    [DAMAGE_SET_BYTE] = "set byte",
    [DAMAGE_SET_RUN] = "set run",
    [DAMAGE_COPY_RUN] = "copy run",
    [DAMAGE_SWAP_PAGES] = "swap pages",
    [DAMAGE_ZERO_PAGE] = "zero page",
    [DAMAGE_COPY_PAGE] = "copy page",
    [DAMAGE_FILL_PAGE] = "fill page",
    [DAMAGE_TRUNCATE] = "truncate",
    [DAMAGE_EXTEND] = "extend",
    [DAMAGE_HEADER] = "file header",
    [DAMAGE_PAGE_HEADER] = "page header",
    [DAMAGE_CELL_POINTER] = "cell pointer",
    [DAMAGE_SWAP_CELLS] = "swap cells",
    [DAMAGE_SERIAL_TYPE] = "serial type",
    [DAMAGE_ID] = "another id",
    [DAMAGE_ID_BYTE] = "byte of an id",
    [DAMAGE_ROOTS] = "swap roots",
    [DAMAGE_WAL_MISSING] = "no wal",
    [DAMAGE_WAL_FRAME_HEADER] = "frame header",
    [DAMAGE_WAL_SWAP_FRAMES] = "swap frames",
    [DAMAGE_WAL_COPY_FRAME] = "copy frame",
    [DAMAGE_WAL_CUT_FRAME] = "cut frame",
    [DAMAGE_WAL_END] = "wal ends",
    [DAMAGE_WAL_OLD] = "older wal",
    [DAMAGE_WAL_OLD_FILE] = "older file",
    [DAMAGE_WAL_CHECKSUM] = "checksums",
  };
  return kind >= 0 && kind < DAMAGE_KINDS ? names[kind] : "?";
}
