/* SPDX-License-Identifier: MIT
**
** The benchmark: custmem beside what it stands on, and beside what a host might have used instead.
**
**     make bench           needs a compiler and make; three minutes
**     make bench-peers     also LMDB and PostgreSQL
**     build/bench [OPTION …] [PART-OF-A-ROW'S-NAME …]
**
**     --quick           up to 100 k customers and events, not a million
**     --customers N     only stores of N customers (a row of ten million takes ten minutes)
**     --effort X        X times as many rounds
**     --json FILE, --svg FILE, --tsv FILE, --readme FILE   where the report goes
**     --object FILE     custmem.o compiled with -Os, to be measured
**     --object-with-tables FILE  the same, with the tables for unwinding the stack
**     --count           one round of each, for a tool that counts instructions in timed_run
**     --splice FILE MARK   puts the standard input between the marks of a file, and ends
**
** Each row gives its contenders the same keys in the same order, in turns (harness.c), and checks
** every answer: a wrong or empty one ends the run with exit status 1.
*/
#define _XOPEN_SOURCE 700

#include "bench.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The work that contenders share. */
enum work {
  PAGE,
  PAGE_AGAIN,
  ONE,
  ONE_AGAIN,
  ONE_EXCLUSIVE,
  ONE_EXCLUSIVE_AGAIN,
  BADGES,
  BADGES_AGAIN,
  LINK_IN_MEMORY,
  LINK_ON_DISK,
  OPEN_MEMORY,
  OPEN_FILE,
  WORKS
};

/* Who takes part, and how many times as long as it custmem may take at each work. NONE: it takes
** part, and nothing is asked; 0: it does not take part. */
#define NONE (-1)
typedef struct entrant {
  const contender *who;
  double to_reach[WORKS];
} entrant;

static const entrant ENTRANTS[] = {
  {&custmem_contender,
   {NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE}},
  {&sqlite_contender, {1.10, NONE, 1.10, NONE, NONE, NONE, 0, 0, 1.60, 1.05, 0.60, 3.0}},
  {&trusting_contender, {NONE, NONE, NONE, NONE, NONE, NONE, 0, 0, NONE, 0, 0, 0}},
#ifdef BENCH_PEERS
  {&lmdb_contender, {1.50, 1.50, NONE, NONE, 1.60, 1.60, 0, 0, 0, 0, 0, 0}},
  {&postgres_rows_contender, {0, 0, 0, 0, 0, 0, 1.0 / 80, 1.0 / 80, 0, 0, 0, 0}},
  {&postgres_page_contender, {0, 0, 0, 0, 0, 0, 1.0 / 8, 1.0 / 8, 0, 0, 0, 0}},
#endif
};

#define LINKS_IN_MEMORY 500
#define LINKS_ON_DISK   200 /* enough for a checkpoint in every round */
#define TOUCHES         20
#define RESOLUTIONS     ((int64_t)ROUND_PAGES * PAGE_ROWS)

/* Adds an entrant's side to a row, unless it does not take part. Its `self` is still to be set. */
static timed_side *add_side(
  bench_row *row,
  const entrant *entry,
  enum work work,
  void (*run)(void *)
) {
  timed_side *side = &row->sides[row->count];
  if (entry->to_reach[work] == 0) return NULL;
  EXPECT(row->count++ < SIDES_MAX);
  side->name = entry->who->name;
  side->run = run;
  side->to_reach = entry->to_reach[work] > 0 ? entry->to_reach[work] : 0;
  return side;
}

const char *count_text(int64_t count, char to[NAME_SIZE]) {
  int millions = count >= 1000000;
  snprintf(
    to, NAME_SIZE, "%" PRId64 " %c", count / (millions ? 1000000 : 1000), millions ? 'M' : 'k'
  );
  return to;
}

/* ---- Keys and answers ---------------------------------------------------------------------- */

void check_answer(const lookup *key, int step, const char *customer_id) {
  if (step != key->step || memcmp(customer_id, key->customer_id, ID_SIZE) != 0)
    give_up(
      "conversation %s: customer \"%s\" by step %d, not \"%s\" by step %d",
      key->conversation_id, customer_id, step, key->customer_id, key->step
    );
}

void check_badge(const lookup *key, const char *label, const char *copy) {
  const char *expected = key->step == 1 ? "Known customer" : "New customer";
  if (strcmp(label, expected) != 0 || copy[0] == '\0')
    give_up("conversation %s: the badge \"%s\"", key->conversation_id, label);
}

static void fill_key(lookup *key, const data_set *set, int64_t i) {
  conversation_id_of(i, key->conversation_id);
  identifier_of(i, key->identifier);
  key->identifier_size = (int)strlen(key->identifier);
  customer_id_of(i, key->customer_id);
  key->step = is_linked(set, i) ? 1 : 2;
}

/* A page of an instructor's conversations, drawn at random. */
static void fill_page(inbox_page *page, const data_set *set, uint64_t *seed) {
  int64_t each = set->customers / set->instructors;
  int64_t instructor = (int64_t)(next_random(seed) % (uint64_t)set->instructors);
  int r;
  instructor_id_of(instructor, page->instructor_id);
  page->instructor_size = (int)strlen(page->instructor_id);
  for (r = 0; r < PAGE_ROWS; r++) {
    lookup *key = &page->keys[r];
    custmem_query *query = &page->queries[r];
    int64_t one = (int64_t)(next_random(seed) % (uint64_t)each);
    fill_key(key, set, instructor + one * set->instructors);
    query->conversation_id = key->conversation_id;
    query->channel = CHANNEL;
    query->raw_identifier = key->identifier;
    query->raw_size = key->identifier_size;
  }
}

void fill_pages(inbox_page *pages, int count, const data_set *set, uint64_t seed) {
  int p;
  for (p = 0; p < count; p++)
    fill_page(&pages[p], set, &seed);
}

/* ---- Resolution ---------------------------------------------------------------------------- */

/* What a side of a resolution row works on: a contender's store, and the round's pages. */
typedef struct page_reader {
  const contender *who;
  void *store;
  const inbox_page *pages;
} page_reader;

/* A row's data set, its pages, and its readers. */
typedef struct resolution_row {
  data_set set;
  inbox_page pages[ROUND_PAGES];
  page_reader readers[SIDES_MAX];
} resolution_row;

static void prepare_pages(void *context, int round) {
  resolution_row *self = context;
  fill_pages(self->pages, ROUND_PAGES, &self->set, (uint64_t)(round + 2) << 32);
}

/* The same pages in each round: what inboxes ask for at each refresh. */
static void prepare_pages_again(void *context, int round) {
  resolution_row *self = context;
  (void)round;
  fill_pages(self->pages, ROUND_PAGES, &self->set, UINT64_C(1) << 32);
}

static void run_pages(void *side) {
  const page_reader *self = side;
  int p;
  for (p = 0; p < ROUND_PAGES; p++)
    self->who->resolve_page(self->store, &self->pages[p]);
}

static void run_ones(void *side) {
  const page_reader *self = side;
  int p;
  for (p = 0; p < ROUND_PAGES; p++)
    self->who->resolve_one(self->store, &self->pages[p]);
}

static void run_badges(void *side) {
  const page_reader *self = side;
  int p;
  for (p = 0; p < ROUND_PAGES; p++)
    self->who->badge_page(self->store, &self->pages[p]);
}

/* Opens side number `at`. An exclusive one has a copy of the file to itself. */
static page_reader *open_reader(
  resolution_row *self,
  int at,
  const contender *who,
  enum access access
) {
  page_reader *reader = &self->readers[at];
  data_set set = self->set;
  if (access == EXCLUSIVE && !who->fills_its_own) {
    char name[NAME_SIZE];
    snprintf(name, sizeof name, "exclusive-%d.db", at);
    snprintf(set.path, sizeof set.path, "%s", data_path(name));
    copy_file(self->set.path, set.path);
  }
  reader->who = who;
  reader->store = who->open(&set, access);
  reader->pages = self->pages;
  return reader;
}

static void close_readers(const bench_row *row, resolution_row *self) {
  int s;
  for (s = 0; s < row->count; s++)
    self->readers[s].who->close(self->readers[s].store);
}

static void bench_resolution(enum work work, int64_t customers) {
  static resolution_row self;
  static const struct {
    const char *name;
    void (*run)(void *);
    void (*prepare)(void *, int);
    enum access access;
  } kinds[] = {
    [PAGE] = {"resolve a page of 50", run_pages, prepare_pages, SHARED},
    [PAGE_AGAIN] =
      {"resolve the same page of 50 again", run_pages, prepare_pages_again, SHARED},
    [ONE] = {"resolve one at a time, shared", run_ones, prepare_pages, SHARED},
    [ONE_EXCLUSIVE] = {"resolve one at a time, exclusive", run_ones, prepare_pages, EXCLUSIVE},
    [ONE_AGAIN] = {"shared: the same one by one again", run_ones, prepare_pages_again, SHARED},
    [ONE_EXCLUSIVE_AGAIN] =
      {"exclusive: the same one by one again", run_ones, prepare_pages_again, EXCLUSIVE},
    [BADGES] = {"a page of 50 with badges", run_badges, prepare_pages, SHARED},
    [BADGES_AGAIN] =
      {"the same page of 50 with badges again", run_badges, prepare_pages_again, SHARED},
  };
  int has_badges = work == BADGES || work == BADGES_AGAIN;
  bench_row row = {
    .unit = has_badges ? "conversation" : "resolution",
    .customers = customers,
    .operations = RESOLUTIONS,
    .rounds = rounds_of(has_badges ? 41 : 401),
    .prepare = kinds[work].prepare,
    .context = &self};
  char what[WHAT_SIZE], count[NAME_SIZE];
  size_t e;
  snprintf(
    what, sizeof what, "%s, %s customers", kinds[work].name, count_text(customers, count)
  );
  row.what = what;
  if (!is_wanted(what)) return;
  make_data_set(&self.set, customers, customers <= 10000);
  for (e = 0; e < COUNT_OF(ENTRANTS); e++) {
    timed_side *side = add_side(&row, &ENTRANTS[e], work, kinds[work].run);
    if (side != NULL)
      side->self = open_reader(&self, row.count - 1, ENTRANTS[e].who, kinds[work].access);
  }
  measure(&row);
  close_readers(&row, &self);
}

/* Names a growth row and its two sides: custmem in a large store and in a small one. */
typedef struct growth_names {
  char what[WHAT_SIZE];
  char sides[2][WHAT_SIZE];
} growth_names;

static void name_growth(growth_names *names, const char *work, const int64_t customers[2]) {
  char large[NAME_SIZE], small[NAME_SIZE];
  count_text(customers[0], large);
  count_text(customers[1], small);
  snprintf(names->what, WHAT_SIZE, "growth: %s, %s customers", work, large);
  snprintf(names->sides[0], WHAT_SIZE, "custmem, %s customers", large);
  snprintf(names->sides[1], WHAT_SIZE, "custmem, %s customers", small);
}

static void prepare_both(void *context, int round) {
  resolution_row *selves = context;
  prepare_pages(&selves[0], round);
  prepare_pages(&selves[1], round);
}

static void prepare_both_again(void *context, int round) {
  resolution_row *selves = context;
  prepare_pages_again(&selves[0], round);
  prepare_pages_again(&selves[1], round);
}

/* The same work in a large store and in a small one: each side has keys of its own. */
static void bench_resolution_growth(int64_t large, int64_t small, int is_again) {
  static resolution_row selves[2];
  const int64_t customers[] = {large, small};
  growth_names names;
  bench_row row = {
    .unit = "resolution",
    .operations = RESOLUTIONS,
    .rounds = rounds_of(201),
    .prepare = is_again ? prepare_both_again : prepare_both,
    .context = selves,
    .count = 2};
  int s;
  name_growth(&names, is_again ? "the same page of 50 again" : "a page of 50", customers);
  row.what = names.what;
  if (!is_wanted(row.what)) return;
  for (s = 0; s < 2; s++) {
    make_data_set(&selves[s].set, customers[s], 0);
    row.sides[s].name = names.sides[s];
    row.sides[s].run = run_pages;
    row.sides[s].self = open_reader(&selves[s], 0, &custmem_contender, SHARED);
  }
  row.sides[1].to_reach = 4;
  measure(&row);
  for (s = 0; s < 2; s++)
    selves[s].readers[0].who->close(selves[s].readers[0].store);
}

/* ---- Links --------------------------------------------------------------------------------- */

/* A side of a link row. Conversations are new ones in every round, so that each is a first link. */
typedef struct writer {
  const contender *who;
  void *store;
  data_set set;
  int count;
  link_order orders[LINKS_IN_MEMORY];
} writer;

typedef struct link_row {
  writer writers[SIDES_MAX];
  int count;
} link_row;

static void prepare_orders(void *context, int round) {
  link_row *self = context;
  int s, o;
  for (s = 0; s < self->count; s++) {
    writer *to = &self->writers[s];
    uint64_t seed = (uint64_t)(round + 2) << 32;
    for (o = 0; o < to->count; o++) {
      link_order *order = &to->orders[o];
      int64_t i = (int64_t)(next_random(&seed) % (uint64_t)to->set.customers);
      instructor_id_of(i % to->set.instructors, order->instructor_id);
      customer_id_of(i, order->customer_id);
      conversation_id_of(
        INT64_C(1000000000) + (int64_t)(round + 1) * LINKS_IN_MEMORY + o, order->conversation_id
      );
    }
  }
}

static void run_links(void *side) {
  writer *self = side;
  self->who->link(self->store, self->orders, self->count);
}

/* Opens a store to write to: a copy of the set's file, or (set->path empty) one in memory. */
static writer *open_writer(link_row *self, const contender *who, const data_set *set) {
  writer *to = &self->writers[self->count++];
  to->who = who;
  to->set = *set;
  to->count = set->path[0] == '\0' ? LINKS_IN_MEMORY : LINKS_ON_DISK;
  if (set->path[0] != '\0') {
    char name[NAME_SIZE];
    snprintf(name, sizeof name, "writer-%d.db", self->count);
    snprintf(to->set.path, sizeof to->set.path, "%s", data_path(name));
    copy_file(set->path, to->set.path);
  }
  to->store = who->open(&to->set, WRITER);
  return to;
}

static void close_writers(link_row *self) {
  int s;
  for (s = 0; s < self->count; s++)
    self->writers[s].who->close(self->writers[s].store);
}

static void bench_links(const char *what, int64_t customers, enum work work) {
  static link_row self;
  data_set set = {customers, 1, ""};
  bench_row row = {
    .what = what,
    .unit = "link",
    .rounds = rounds_of(work == LINK_IN_MEMORY ? 51 : 151), /* an fsync takes what it takes */
    .prepare = prepare_orders,
    .context = &self};
  size_t e;
  if (!is_wanted(what)) return;
  self.count = 0;
  if (work == LINK_ON_DISK) make_data_set(&set, customers, 1);
  for (e = 0; e < COUNT_OF(ENTRANTS); e++) {
    timed_side *side = add_side(&row, &ENTRANTS[e], work, run_links);
    if (side != NULL) side->self = open_writer(&self, ENTRANTS[e].who, &set);
  }
  row.operations = self.writers[0].count;
  measure(&row);
  close_writers(&self);
}

static void bench_link_growth(int64_t large, int64_t small) {
  static link_row self;
  const int64_t customers[] = {large, small};
  growth_names names;
  bench_row row = {
    .unit = "link",
    .operations = LINKS_ON_DISK,
    .rounds = rounds_of(31),
    .prepare = prepare_orders,
    .context = &self,
    .count = 2};
  int s;
  name_growth(&names, "link on disk", customers);
  row.what = names.what;
  if (!is_wanted(row.what)) return;
  self.count = 0;
  for (s = 0; s < 2; s++) {
    data_set set;
    make_data_set(&set, customers[s], 0);
    row.sides[s].name = names.sides[s];
    row.sides[s].run = run_links;
    row.sides[s].self = open_writer(&self, &custmem_contender, &set);
  }
  row.sides[1].to_reach = 2;
  measure(&row);
  close_writers(&self);
}

/* ---- Opening ------------------------------------------------------------------------------- */

typedef struct store_opener {
  const contender *who;
  const char *path; /* NULL: in memory */
} store_opener;

static void run_touches(void *side) {
  const store_opener *self = side;
  int i;
  for (i = 0; i < TOUCHES; i++) {
    if (self->path != NULL)
      self->who->touch(self->path);
    else
      self->who->touch_memory();
  }
}

static void bench_open(const char *what, enum work work) {
  static store_opener openers[SIDES_MAX];
  data_set set;
  bench_row row = {
    .what = what, .unit = "open and close", .operations = TOUCHES, .rounds = rounds_of(101)};
  size_t e;
  if (!is_wanted(what)) return;
  if (work == OPEN_FILE) make_data_set(&set, 10000, 1);
  for (e = 0; e < COUNT_OF(ENTRANTS); e++) {
    timed_side *side = add_side(&row, &ENTRANTS[e], work, run_touches);
    store_opener *opener = &openers[e];
    if (side == NULL) continue;
    opener->who = ENTRANTS[e].who;
    opener->path = work == OPEN_FILE ? set.path : NULL;
    side->self = opener;
  }
  measure(&row);
}

/* ---- Verification -------------------------------------------------------------------------- */

typedef struct verification {
  chain_data chain;
  custmem *store;
  sqlite3 *db;
  sqlite3_stmt *events, *links;
} verification;

static void run_verify(void *side) {
  static custmem_report found;
  verification *self = side;
  char instructor_id[NAME_SIZE];
  instructor_id_of(0, instructor_id);
  if (custmem_audit_verify(self->store, instructor_id, NULL, &found) != CUSTMEM_OK)
    give_up("the chain is not sound: %s", found.detail);
  EXPECT(found.events == self->chain.events && found.links == self->chain.events / 2);
  EXPECT(strcmp(found.head.hash, self->chain.head) == 0);
}

/* Hashes the bytes that the chain's hashes are made of: each event holds that of the one before. */
static void run_hashes(void *side) {
  const verification *self = side;
  const size_t *starts = self->chain.starts;
  const size_t hash_at = 5 + sizeof "custmem.audit.event.1" - 1 + 5;
  unsigned char hash[32];
  int64_t n;
  for (n = 0; n < self->chain.events; n++) {
    EXPECT(n == 0 || memcmp(self->chain.bytes + starts[n] + hash_at, hash, sizeof hash) == 0);
    sha256_of(self->chain.bytes + starts[n], starts[n + 1] - starts[n], hash);
  }
}

/* Reads every column of every row, as cheaply as can be, and looks at none. */
static int64_t read_rows(sqlite3_stmt *stmt) {
  int64_t rows = 0, sum = 0;
  int columns = sqlite3_column_count(stmt), c;
  while (sqlite3_step(stmt) == SQLITE_ROW) {
    for (c = 0; c < columns; c++) {
      int type = sqlite3_column_type(stmt, c);
      if (type == SQLITE_INTEGER)
        sum |= sqlite3_column_int64(stmt, c);
      else if (type == SQLITE_TEXT)
        EXPECT(sqlite3_column_text(stmt, c)[0] != '\0');
      else if (type == SQLITE_BLOB)
        EXPECT(sqlite3_column_blob(stmt, c) != NULL && sqlite3_column_bytes(stmt, c) > 0);
    }
    rows++;
  }
  EXPECT(sum != 0);
  EXPECT(sqlite3_reset(stmt) == SQLITE_OK);
  return rows;
}

static void run_rows(void *side) {
  verification *self = side;
  EXPECT(read_rows(self->events) == self->chain.events);
  EXPECT(read_rows(self->links) == self->chain.events / 2);
}

static void run_hashes_and_rows(void *side) {
  run_hashes(side);
  run_rows(side);
}

static void bench_verify(int64_t events) {
  static verification self;
  char what[WHAT_SIZE], count[NAME_SIZE];
  bench_row row = {
    .what = what,
    .unit = "event",
    .operations = events,
    .rounds = rounds_of(5),
    .count = 4,
    .sides = {
      {"custmem", run_verify, &self, 0},
      {"SHA-256 and the rows", run_hashes_and_rows, &self, 1.3},
      {"SHA-256 alone", run_hashes, &self, 0},
      {"the rows alone", run_rows, &self, 0},
    }};
  snprintf(what, sizeof what, "verify a chain of %s events", count_text(events, count));
  if (!is_wanted(what)) return;
  make_chain(&self.chain, events);
  EXPECT(custmem_open(self.chain.set.path, NULL, &self.store) == CUSTMEM_OK);
  EXPECT(sqlite3_open(self.chain.set.path, &self.db) == SQLITE_OK);
  self.events = prepare_sql(self.db, "SELECT * FROM audit_events ORDER BY instructor_id, seq");
  self.links = prepare_sql(self.db, "SELECT * FROM conversation_links");
  measure(&row);
  sqlite3_finalize(self.events);
  sqlite3_finalize(self.links);
  sqlite3_close(self.db);
  custmem_close(self.store);
  free_chain(&self.chain);
}

/* ---- Sizes --------------------------------------------------------------------------------- */

/* What SQLite's allocator has given to one store, since there was none: once it has been opened and asked
** for a page, and after it has resolved, linked and verified. custmem allocates nowhere else. */
static void measure_heap(
  resolution_row *self,
  sqlite3_int64 before,
  const char *opened,
  const char *used,
  const char *how
) {
  static link_row links;
  static custmem_report found;
  char instructor_id[NAME_SIZE];
  writer *to;
  int p;
  instructor_id_of(0, instructor_id);
  links.count = 0;
  to = open_writer(&links, &custmem_contender, &self->set);
  prepare_orders(&links, 0);
  custmem_contender.resolve_page(to->store, &self->pages[0]);
  if (opened != NULL) report_size(opened, sqlite3_memory_used() - before, 1 << 20, how);
  run_links(to);
  for (p = 0; p < ROUND_PAGES; p++) {
    custmem_contender.resolve_page(to->store, &self->pages[p]);
    custmem_contender.resolve_one(to->store, &self->pages[p]);
  }
  EXPECT(custmem_audit_verify(to->store, instructor_id, NULL, &found) == CUSTMEM_OK);
  report_size(used, sqlite3_memory_used() - before, 1 << 20, how);
  close_writers(&links);
}

/* As it comes; and where the host has told SQLite how much it may take. */
static void bench_heap(int64_t customers) {
  static const char *const opened = "heap of a store, opened and asked once";
  static const char *const used = "heap of a store, after much use";
  static const char *const held =
    "heap of a store, after much use, where the host holds SQLite to 900 kB";
  enum { HELD_TO = 900000 };
  static resolution_row self;
  sqlite3_int64 before;
  if (!is_wanted(opened) && !is_wanted(used) && !is_wanted(held)) return;
  make_data_set(&self.set, customers, 1);
  prepare_pages(&self, 0);
  before = sqlite3_memory_used();
  measure_heap(&self, before, opened, used, "sqlite3_memory_used()");
  sqlite3_soft_heap_limit64(before + HELD_TO);
  measure_heap(&self, before, NULL, held, "sqlite3_soft_heap_limit64(900000)");
  sqlite3_soft_heap_limit64(0);
}

/* What `size` says of an object: code and constants, and the tables for unwinding if it has them. */
static void bench_text(
  const char *object,
  const char *what,
  const char *how,
  int64_t to_reach
) {
  char command[PATH_SIZE], line[256] = "";
  FILE *size;
  if (object == NULL || !is_wanted(what)) return;
  snprintf(command, sizeof command, "size '%s'", object);
  size = popen(command, "r");
  while (size != NULL && fgets(line, sizeof line, size) != NULL)
    ;
  if (size == NULL || pclose(size) != 0 || line[0] == '\0') give_up("%s: no answer", command);
  report_size(what, strtoll(line, NULL, 10), to_reach, how);
}

/* ---- The table ----------------------------------------------------------------------------- */

/* smallest, largest   customers of the stores that are resolved in; times ten from one to the next
** object              custmem.o at -Os, or NULL; without tables for unwinding the stack, and with them
*/
typedef struct command {
  int64_t smallest, largest;
  const char *object, *object_with_tables;
  bench_choice choice;
  report_files files;
} command;

static void run_all(const command *asked) {
  static const enum work resolutions[] = {PAGE,      PAGE_AGAIN,    ONE,
                                          ONE_AGAIN, ONE_EXCLUSIVE, ONE_EXCLUSIVE_AGAIN};
  int64_t customers;
  size_t i;
  for (i = 0; i < COUNT_OF(resolutions); i++)
    for (customers = asked->smallest; customers <= asked->largest; customers *= 10)
      bench_resolution(resolutions[i], customers);
  if (asked->smallest != 1000) return;
#ifdef BENCH_PEERS
  for (customers = 1000; customers <= 100000; customers *= 10)
    bench_resolution(BADGES, customers);
  for (customers = 1000; customers <= 100000; customers *= 10)
    bench_resolution(BADGES_AGAIN, customers);
#endif
  bench_links("link with audit in memory, 1 k customers", 1000, LINK_IN_MEMORY);
  bench_links("link with audit, on disk at FULL, 10 k customers", 10000, LINK_ON_DISK);
  bench_open("open and close in memory, schema included", OPEN_MEMORY);
  bench_open("open and close an existing file", OPEN_FILE);
  bench_verify(asked->largest);
  bench_resolution_growth(asked->largest, 1000, 0);
  bench_resolution_growth(asked->largest, 1000, 1);
  bench_link_growth(asked->largest, 1000);
  bench_heap(10000);
  bench_text(
    asked->object, "text of custmem.o at -Os", "size, -Os -fno-asynchronous-unwind-tables",
    64 << 10
  );
  bench_text(
    asked->object_with_tables, "text of custmem.o at -Os, with tables for unwinding",
    "size, -Os", 0
  );
  bench_beyond(10000);
  bench_beyond(asked->largest);
  bench_caches(10000);
  bench_caches(asked->largest);
}

/* Puts the standard input between the marks of a file. */
static int splice(const char *path, const char *mark) {
  static char input[1 << 20];
  size_t size = fread(input, 1, sizeof input - 1, stdin);
  input[size] = '\0';
  put_between_marks(path, mark, input);
  return 0;
}

/* Takes one option, and its value if it has one. Returns how many arguments that was. */
static int take_option(command *asked, char **argv) {
  const struct {
    const char *name;
    const char **to;
  } texts[] = {
    {"--json", &asked->files.json}, {"--svg", &asked->files.svg},
    {"--tsv", &asked->files.tsv},   {"--readme", &asked->files.readme},
    {"--object", &asked->object},   {"--object-with-tables", &asked->object_with_tables},
  };
  size_t t;
  if (strcmp(argv[0], "--quick") == 0) return asked->largest = 100000, 1;
  if (strcmp(argv[0], "--count") == 0) return asked->choice.counting = 1;
  if (argv[1] == NULL) give_up("%s: no such option, or its value is missing", argv[0]);
  if (strcmp(argv[0], "--customers") == 0)
    return asked->smallest = asked->largest = strtoll(argv[1], NULL, 10), 2;
  if (strcmp(argv[0], "--effort") == 0) return asked->choice.effort = strtod(argv[1], NULL), 2;
  for (t = 0; t < COUNT_OF(texts); t++)
    if (strcmp(argv[0], texts[t].name) == 0) return *texts[t].to = argv[1], 2;
  give_up("%s: no such option", argv[0]);
}

int main(int argc, char **argv) {
  command asked = {.smallest = 1000, .largest = 1000000, .choice = {.effort = 1}};
  int i = 1;
  if (argc == 4 && strcmp(argv[1], "--splice") == 0) return splice(argv[2], argv[3]);
  while (i < argc && strncmp(argv[i], "--", 2) == 0)
    i += take_option(&asked, argv + i);
  if (asked.smallest < 1000) give_up("fewer than 1000 customers are not measured");
  asked.choice.wanted = argv + i;
  asked.choice.wanted_count = argc - i;
  choose(&asked.choice);
  data_start();
  report_start(&asked.files);
  run_all(&asked);
  report_end();
  return 0;
}
