/* SPDX-License-Identifier: MIT
**
** What might be saved below the floor, measured outside custmem: a single resolution by hand pays
** for its read lock, and a page is often asked again with nothing changed.
**
** Three ways to know that nothing was committed since: to hold the read transaction (and so to know
** nothing newer, and to keep a checkpoint from starting the WAL anew), to ask PRAGMA data_version
** (which takes a read lock of its own), and to look at the header of the WAL index. That header is
** the first 96 bytes of the shared memory, twice the same 48; a commit becomes visible to readers
** by a writer's changing it, and a reader that finds both equal to the ones it knows would get the
** same snapshot again (SQLite's walTryBeginRead compares the same bytes). The memory is reached
** through SQLite's own VFS methods, as they are; what the bytes mean is SQLite's file format
** ("The WAL-Index File Format"), what a host may rely on is not said there.
*/
#define _XOPEN_SOURCE 700

#include "bench.h"

#include <stdio.h>
#include <string.h>

#define HEADER_SIZE 48
#define SHARED_SIZE 32768
#define SLOTS       4096
#define OPERATIONS  ((int64_t)ROUND_PAGES * PAGE_ROWS)

/* A resolution as a cache keeps it: all that was asked, and the answer. */
typedef struct cached {
  char instructor_id[NAME_SIZE];
  char conversation_id[ID_SIZE];
  char identifier[NAME_SIZE];
  char customer_id[ID_SIZE];
  int step;
} cached;

typedef struct beyond {
  data_set set;
  inbox_page pages[ROUND_PAGES];
  sqlite3 *db;
  sqlite3_stmt *begin, *commit, *either, *data_version;
  const volatile unsigned char *shared;
  unsigned char known[HEADER_SIZE];
  int64_t known_version;
  cached slots[SLOTS];
} beyond;

/* ---- Knowing that nothing was committed ---------------------------------------------------- */

/* Maps the WAL index of an open connection that has read before. */
static void map_header(beyond *self) {
  sqlite3_file *file = NULL;
  volatile void *shared = NULL;
  EXPECT(sqlite3_file_control(self->db, "main", SQLITE_FCNTL_FILE_POINTER, &file) == SQLITE_OK);
  EXPECT(file->pMethods->xShmMap(file, 0, SHARED_SIZE, 0, &shared) == SQLITE_OK);
  EXPECT(shared != NULL);
  self->shared = shared;
}

static void copy_header(const beyond *self, size_t at, unsigned char to[HEADER_SIZE]) {
  memcpy(to, (const unsigned char *)self->shared + at, HEADER_SIZE);
  __sync_synchronize();
}

static int is_unchanged(const beyond *self) {
  unsigned char first[HEADER_SIZE], second[HEADER_SIZE];
  copy_header(self, 0, first);
  copy_header(self, HEADER_SIZE, second);
  return memcmp(first, self->known, HEADER_SIZE) == 0 &&
         memcmp(second, self->known, HEADER_SIZE) == 0;
}

static int64_t version_of(const beyond *self) {
  int64_t version;
  EXPECT(sqlite3_step(self->data_version) == SQLITE_ROW);
  version = sqlite3_column_int64(self->data_version, 0);
  sqlite3_reset(self->data_version);
  return version;
}

/* ---- A resolution, and a cache of them ----------------------------------------------------- */

static void run_control(sqlite3_stmt *stmt) {
  EXPECT(sqlite3_step(stmt) == SQLITE_DONE);
  sqlite3_reset(stmt);
}

static void resolve_by(sqlite3_stmt *stmt, const inbox_page *page, const lookup *key) {
  sqlite3_bind_text(stmt, 1, page->instructor_id, page->instructor_size, SQLITE_STATIC);
  sqlite3_bind_text(stmt, 2, key->conversation_id, ID_SIZE - 1, SQLITE_STATIC);
  sqlite3_bind_text(stmt, 3, CHANNEL, sizeof CHANNEL - 1, SQLITE_STATIC);
  sqlite3_bind_text(stmt, 4, key->identifier, key->identifier_size, SQLITE_STATIC);
  EXPECT(sqlite3_step(stmt) == SQLITE_ROW);
  check_answer(key, sqlite3_column_int(stmt, 1), (const char *)sqlite3_column_text(stmt, 0));
  sqlite3_reset(stmt);
}

static void resolve(beyond *self, const inbox_page *page, const lookup *key) {
  resolve_by(self->either, page, key);
}

/* The slot for a conversation, by FNV-1a. */
static cached *slot_of(beyond *self, const lookup *key) {
  uint64_t hash = UINT64_C(0xcbf29ce484222325);
  const char *at = key->conversation_id;
  for (; *at != '\0'; at++)
    hash = (hash ^ (unsigned char)*at) * UINT64_C(0x100000001b3);
  return &self->slots[hash % SLOTS];
}

static void keep(beyond *self, const inbox_page *page, const lookup *key) {
  cached *slot = slot_of(self, key);
  memcpy(slot->instructor_id, page->instructor_id, sizeof slot->instructor_id);
  memcpy(slot->conversation_id, key->conversation_id, sizeof slot->conversation_id);
  memcpy(slot->identifier, key->identifier, sizeof slot->identifier);
  memcpy(slot->customer_id, key->customer_id, sizeof slot->customer_id);
  slot->step = key->step;
}

/* From the cache, or (two conversations of one slot) from the store. */
static void look_up(beyond *self, const inbox_page *page, const lookup *key) {
  const cached *slot = slot_of(self, key);
  if (strcmp(slot->conversation_id, key->conversation_id) == 0 &&
      strcmp(slot->instructor_id, page->instructor_id) == 0 &&
      strcmp(slot->identifier, key->identifier) == 0) {
    char customer_id[ID_SIZE];
    memcpy(customer_id, slot->customer_id, ID_SIZE);
    check_answer(key, slot->step, customer_id);
  } else {
    resolve(self, page, key);
  }
}

static void prepare_round(void *context, int round) {
  beyond *self = context;
  int i;
  fill_pages(self->pages, ROUND_PAGES, &self->set, (uint64_t)(round + 2) << 32);
  for (i = 0; i < OPERATIONS; i++) {
    const inbox_page *page = &self->pages[i / PAGE_ROWS];
    keep(self, page, &page->keys[i % PAGE_ROWS]);
  }
}

/* ---- The sides ----------------------------------------------------------------------------- */

static void for_each_key(
  beyond *self,
  void (*act)(beyond *self, const inbox_page *page, const lookup *key)
) {
  int i;
  for (i = 0; i < OPERATIONS; i++) {
    const inbox_page *page = &self->pages[i / PAGE_ROWS];
    act(self, page, &page->keys[i % PAGE_ROWS]);
  }
}

static void look_and_resolve(beyond *self, const inbox_page *page, const lookup *key) {
  EXPECT(is_unchanged(self));
  resolve(self, page, key);
}

static void ask_and_look_up(beyond *self, const inbox_page *page, const lookup *key) {
  EXPECT(version_of(self) == self->known_version);
  look_up(self, page, key);
}

static void look_and_look_up(beyond *self, const inbox_page *page, const lookup *key) {
  EXPECT(is_unchanged(self));
  look_up(self, page, key);
}

static void run_own(void *side) {
  for_each_key(side, resolve);
}

static void run_version(void *side) {
  const beyond *self = side;
  int i;
  for (i = 0; i < OPERATIONS; i++)
    EXPECT(version_of(self) == self->known_version);
}

static void run_look(void *side) {
  const beyond *self = side;
  int i;
  for (i = 0; i < OPERATIONS; i++)
    EXPECT(is_unchanged(self));
}

static void run_kept(void *side) {
  const beyond *self = side;
  run_control(self->begin);
  for_each_key(side, resolve);
  run_control(self->commit);
}

static void run_kept_looking(void *side) {
  const beyond *self = side;
  run_control(self->begin);
  for_each_key(side, look_and_resolve);
  run_control(self->commit);
}

static void run_cache_by_version(void *side) {
  for_each_key(side, ask_and_look_up);
}

static void run_cache_looking(void *side) {
  for_each_key(side, look_and_look_up);
}

/* The look must see another connection's commit, or its price says nothing. */
static void prove_look(beyond *self) {
  sqlite3 *other;
  EXPECT(is_unchanged(self));
  EXPECT(sqlite3_open(self->set.path, &other) == SQLITE_OK);
  run_sql(other, "PRAGMA user_version = 1");
  EXPECT(!is_unchanged(self));
  EXPECT(sqlite3_close(other) == SQLITE_OK);
  copy_header(self, 0, self->known);
  EXPECT(is_unchanged(self));
}

static void open_beyond(beyond *self) {
  data_set made = self->set;
  snprintf(self->set.path, sizeof self->set.path, "%s", data_path("beyond.db"));
  copy_file(made.path, self->set.path);
  EXPECT(sqlite3_open(self->set.path, &self->db) == SQLITE_OK);
  run_sql(self->db, "PRAGMA mmap_size = 0");
  self->begin = prepare_sql(self->db, "BEGIN");
  self->commit = prepare_sql(self->db, "COMMIT");
  self->data_version = prepare_sql(self->db, "PRAGMA data_version");
  self->either = prepare_sql(self->db, RESOLVE_BY_HAND);
  version_of(self);
  map_header(self);
  copy_header(self, 0, self->known);
  prove_look(self);
  self->known_version = version_of(self);
}

static void close_beyond(beyond *self) {
  sqlite3_finalize(self->begin);
  sqlite3_finalize(self->commit);
  sqlite3_finalize(self->data_version);
  sqlite3_finalize(self->either);
  EXPECT(sqlite3_close(self->db) == SQLITE_OK);
  remove_tree(self->set.path);
}

void bench_beyond(int64_t customers) {
  static beyond self;
  char what[WHAT_SIZE], count[NAME_SIZE];
  bench_row row = {
    .what = what,
    .unit = "resolution",
    .customers = customers,
    .operations = OPERATIONS,
    .is_aside = 1,
    .rounds = rounds_of(201),
    .prepare = prepare_round,
    .context = &self,
    .count = 7,
    .sides = {
      {"by hand, a read transaction each", run_own, &self, 0},
      {"PRAGMA data_version alone", run_version, &self, 0},
      {"a look at the WAL index alone", run_look, &self, 0},
      {"in a kept read transaction", run_kept, &self, 0},
      {"the same, after a look each", run_kept_looking, &self, 0},
      {"a cache, after data_version each", run_cache_by_version, &self, 0},
      {"a cache, after a look each", run_cache_looking, &self, 0},
    }};
  snprintf(what, sizeof what, "past the floor, %s customers", count_text(customers, count));
  if (!is_wanted(what)) return;
  make_data_set(&self.set, customers, 0);
  open_beyond(&self);
  measure(&row);
  close_beyond(&self);
}

/* ---- Page caches --------------------------------------------------------------------------- */

/* A connection whose page cache has one size. */
typedef struct cache_side {
  sqlite3 *db;
  sqlite3_stmt *begin, *commit, *either;
  const inbox_page *pages;
} cache_side;

typedef struct cache_row {
  data_set set;
  inbox_page pages[ROUND_PAGES];
  cache_side sides[SIDES_MAX];
} cache_row;

static void prepare_caches(void *context, int round) {
  cache_row *self = context;
  fill_pages(self->pages, ROUND_PAGES, &self->set, (uint64_t)(round + 2) << 32);
}

static void run_cached_pages(void *side) {
  const cache_side *self = side;
  int p, i;
  for (p = 0; p < ROUND_PAGES; p++) {
    run_control(self->begin);
    for (i = 0; i < PAGE_ROWS; i++)
      resolve_by(self->either, &self->pages[p], &self->pages[p].keys[i]);
    run_control(self->commit);
  }
}

#define MAP_THE_FILE "PRAGMA mmap_size = 1099511627776"

/* Whether SQLite was built to map files at all: the Makefile's is not, options.sh has one that is. */
static int maps_files(sqlite3 *db) {
  sqlite3_stmt *stmt = prepare_sql(db, "PRAGMA mmap_size");
  int does = sqlite3_step(stmt) == SQLITE_ROW && sqlite3_column_int64(stmt, 0) > 0;
  sqlite3_finalize(stmt);
  return does;
}

/* What a larger or a smaller page cache than SQLite's default of 2 MB would mean for a page of 50. */
void bench_caches(int64_t customers) {
  static const struct {
    const char *name;
    const char *pragma;
  } caches[] = {
    {"by hand, a cache of 2 MB", "PRAGMA cache_size = -2000"},
    {"a cache of 512 KB", "PRAGMA cache_size = -512"},
    {"a cache of 8 MB", "PRAGMA cache_size = -8000"},
    {"a cache of 64 MB", "PRAGMA cache_size = -64000"},
    {"a cache of 512 MB", "PRAGMA cache_size = -512000"},
    {"the file mapped, a cache of 2 MB", MAP_THE_FILE},
  };
  static cache_row self;
  char what[WHAT_SIZE], count[NAME_SIZE];
  size_t c;
  bench_row row = {
    .what = what,
    .unit = "resolution",
    .customers = customers,
    .operations = OPERATIONS,
    .is_aside = 1,
    .rounds = rounds_of(201),
    .prepare = prepare_caches,
    .context = &self};
  snprintf(what, sizeof what, "page caches, %s customers", count_text(customers, count));
  if (!is_wanted(what)) return;
  make_data_set(&self.set, customers, 0);
  for (c = 0; c < COUNT_OF(caches); c++) {
    cache_side *side = &self.sides[row.count];
    EXPECT(sqlite3_open(self.set.path, &side->db) == SQLITE_OK);
    run_sql(side->db, caches[c].pragma);
    if (strcmp(caches[c].pragma, MAP_THE_FILE) == 0 && !maps_files(side->db)) {
      EXPECT(sqlite3_close(side->db) == SQLITE_OK);
      continue;
    }
    side->begin = prepare_sql(side->db, "BEGIN");
    side->commit = prepare_sql(side->db, "COMMIT");
    side->either = prepare_sql(side->db, RESOLVE_BY_HAND);
    side->pages = self.pages;
    row.sides[row.count++] = (timed_side){caches[c].name, run_cached_pages, side, 0};
  }
  measure(&row);
  while (row.count-- > 0) {
    sqlite3_finalize(self.sides[row.count].begin);
    sqlite3_finalize(self.sides[row.count].commit);
    sqlite3_finalize(self.sides[row.count].either);
    EXPECT(sqlite3_close(self.sides[row.count].db) == SQLITE_OK);
  }
}
