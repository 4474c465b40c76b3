/* SPDX-License-Identifier: MIT
**
** Tampering: who can write the file changes it in every way that this file can think of, and each
** time it is asked what shows it: opening, custmem_audit_verify, custmem_check, an anchor that was
** kept outside the file, or nothing.
**
** A mutation is made on a plain connection, past the triggers, and past types and constraints too:
** the schema is taken down to bare columns through writable_schema and put back to the letter, so
** that the file opens. Each mutation says by itself, from what it did, where the first fault is;
** what the library reports must be that place. What verify and check cannot show, the anchors that
** were kept on the way must; what they cannot either is of one of the kinds in HIDDEN, which
** custmem.h lists, and is counted there.
**
** The forger here knows the encoding of the hashes: it is written a second time below, from the
** header alone.
**
** CUSTMEM_SEED sets the seed, CUSTMEM_FAULTS=all the full size. A failed mutation prints its attack
** and its number, which with the seed make it again.
*/
#include "test.h"
#include "vfs_shim.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))
#define STORE_ID        "0197a3b2-c4d5-7e6f-8a9b-0c1d2e3f4a5b"
#define TWIN_ID         "0197a3b2-c4d5-7e6f-8a9b-0c1d2e3f4a5c"
#define NO_CONTEXT      NULL

enum { A, B, C, D, INSTRUCTORS };
static const char *const INSTRUCTOR[] = {
  "instructor-a", "instructor-b", "instructor-c", "instructor-d"};

enum { STEPS = 36, CONVERSATIONS = 6, CUSTOMERS = 3, EVENTS = 64, NOBODY = -1 };

/* Whose step each is: A has 24 events, B 11, C one; D has customers and no event. */
static const char TURNS[STEPS + 1] = "aabaabaabacaabaabaabaaabababaaabaaab";

/* ---- The encoding, from custmem.h ---------------------------------------------------------- */

static uint32_t rotated(uint32_t x, int by) {
  return x >> by | x << (32 - by);
}

/* SHA-256's constants are the fractions of the square and cube roots of the first primes. */
static void sha_constants(uint32_t start[8], uint32_t k[64]) {
  int prime, found = 0, divisor;
  for (prime = 2; found < 64; prime++) {
    for (divisor = 2; prime % divisor != 0; divisor++) {
    }
    if (divisor != prime) continue;
    if (found < 8) start[found] = (uint32_t)(int64_t)ldexp(fmod(sqrt(prime), 1.0), 32);
    k[found++] = (uint32_t)(int64_t)ldexp(fmod(cbrt(prime), 1.0), 32);
  }
}

static void sha_round(uint32_t at[8], uint32_t word_and_k) {
  uint32_t a = at[0], e = at[4];
  uint32_t one = at[7] + (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)) +
                 ((e & at[5]) ^ (~e & at[6])) + word_and_k;
  uint32_t two = (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) +
                 ((a & at[1]) ^ (a & at[2]) ^ (at[1] & at[2]));
  memmove(at + 1, at, 7 * sizeof at[0]);
  at[4] += one;
  at[0] = one + two;
}

/* What is to be hashed, put together whole. */
struct message {
  unsigned char bytes[8192];
  size_t size;
};

static void sha_of(struct message *message, unsigned char hash[32]) {
  static uint32_t start[8], k[64];
  uint32_t state[8], word[64];
  uint64_t bits = (uint64_t)message->size * 8;
  size_t block;
  int i;
  if (k[0] == 0) sha_constants(start, k);
  memcpy(state, start, sizeof state);
  message->bytes[message->size++] = 0x80;
  while (message->size % 64 != 56)
    message->bytes[message->size++] = 0;
  for (i = 0; i < 8; i++)
    message->bytes[message->size++] = (unsigned char)(bits >> (56 - 8 * i));
  for (block = 0; block < message->size; block += 64) {
    uint32_t at[8];
    for (i = 0; i < 64; i++) {
      const unsigned char *from = message->bytes + block + (size_t)i % 16 * 4;
      if (i < 16)
        word[i] =
          (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
      else
        word[i] = word[i - 16] + word[i - 7] +
                  (rotated(word[i - 15], 7) ^ rotated(word[i - 15], 18) ^ word[i - 15] >> 3) +
                  (rotated(word[i - 2], 17) ^ rotated(word[i - 2], 19) ^ word[i - 2] >> 10);
    }
    memcpy(at, state, sizeof at);
    for (i = 0; i < 64; i++)
      sha_round(at, word[i] + k[i]);
    for (i = 0; i < 8; i++)
      state[i] += at[i];
  }
  for (i = 0; i < 32; i++)
    hash[i] = (unsigned char)(state[i / 4] >> (24 - 8 * (i % 4)));
}

static void add_number(struct message *message, uint64_t value, int bytes) {
  while (bytes-- > 0)
    message->bytes[message->size++] = (unsigned char)(value >> (8 * bytes));
}

static void add_field(struct message *message, int tag, const void *bytes, size_t size) {
  add_number(message, (uint64_t)tag, 1);
  add_number(message, bytes != NULL ? size : 0xffffffff, 4);
  if (bytes == NULL) return;
  memcpy(message->bytes + message->size, bytes, size);
  message->size += size;
}

static void add_words(struct message *message, int tag, const char *words) {
  add_field(message, tag, words, strlen(words));
}

/* The columns of a row of audit_events from instructor_id to created_at; tag 2 is the first. */
static void hash_event(sqlite3_stmt *row, unsigned char hash[32]) {
  struct message message;
  int column;
  message.size = 0;
  add_words(&message, 0, "custmem.audit.event.1");
  add_field(&message, 1, hash, 32);
  for (column = 0; column < 11; column++) {
    if (sqlite3_column_type(row, column) == SQLITE_INTEGER) {
      add_number(&message, (uint64_t)column + 2, 1);
      add_number(&message, 8, 4);
      add_number(&message, (uint64_t)sqlite3_column_int64(row, column), 8);
    } else {
      const void *text = sqlite3_column_text(row, column);
      add_field(&message, column + 2, text, (size_t)sqlite3_column_bytes(row, column));
    }
  }
  sha_of(&message, hash);
}

static void hash_of_none(const char *store_id, const char *instructor, unsigned char hash[32]) {
  struct message message;
  message.size = 0;
  add_words(&message, 0, "custmem.audit.chain.1");
  add_words(&message, 1, store_id);
  add_words(&message, 2, instructor);
  sha_of(&message, hash);
}

/* ---- The plain connection ------------------------------------------------------------------ */

static sqlite3 *db; /* the forger's, during a mutation */

static int sql(const char *format, ...) {
  va_list values;
  char *text;
  int rc;
  va_start(values, format);
  text = sqlite3_vmprintf(format, values);
  va_end(values);
  rc = test_sql(db, text);
  if (!CHECK_INT(rc, SQLITE_OK)) printf("  %s: %s\n", text, test_sql_error());
  sqlite3_free(text);
  return sqlite3_changes(db);
}

static int64_t number(const char *format, ...) {
  va_list values;
  char *text;
  int64_t value;
  va_start(values, format);
  text = sqlite3_vmprintf(format, values);
  va_end(values);
  value = test_sql_int(db, text);
  sqlite3_free(text);
  return value;
}

/* A plain connection that fires no trigger and heeds no CHECK. */
static sqlite3 *intruder(const char *path) {
  sqlite3 *plain = test_plain(path);
  CHECK_INT(
    sqlite3_db_config(plain, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, (int *)NULL), SQLITE_OK
  );
  CHECK_INT(
    test_sql(plain, "PRAGMA ignore_check_constraints=ON; PRAGMA synchronous=OFF"), SQLITE_OK
  );
  return plain;
}

#define BARE_EVENTS                                                                            \
  "(instructor_id, seq, event_name, conversation_id, previous_customer_id, new_customer_id,"   \
  " actor_type, actor_id, reason, context, created_at, hash, PRIMARY KEY (instructor_id, seq"

/* Takes the schema down to columns and keys of any type. A row of the same seq twice needs a wider
** key, which the rows are laid out for as well; its index is then made anew at the end. */
static void loosen(int wide) {
  sql("CREATE TEMP TABLE saved AS SELECT rowid AS id, * FROM main.sqlite_schema;"
      "PRAGMA writable_schema = ON; BEGIN;"
      "DELETE FROM main.sqlite_schema WHERE type = 'trigger';"
      "UPDATE main.sqlite_schema SET sql = replace(sql, 'UNIQUE ', '') WHERE type = 'index'");
  sql(
    "UPDATE main.sqlite_schema SET sql = 'CREATE TABLE ' || name || CASE name"
    " WHEN 'audit_events' THEN '" BARE_EVENTS "%s))'"
    " WHEN 'customers' THEN '(id PRIMARY KEY, instructor_id, channel, normalized_identifier,"
    " display_identifier, created_at, updated_at)'"
    " WHEN 'conversation_links' THEN '(conversation_id PRIMARY KEY, instructor_id,"
    " customer_id, audit_seq, updated_at)'"
    " ELSE '(singleton PRIMARY KEY, id, created_at, rules_version)' END || ' WITHOUT ROWID'"
    " WHERE type = 'table'",
    wide ? ", event_name, conversation_id" : ""
  );
  if (wide) sql("DELETE FROM main.sqlite_schema WHERE name = 'audit_events_conversation'");
  sql("COMMIT; PRAGMA writable_schema = RESET");
}

static void tighten(int wide) {
  sql("PRAGMA writable_schema = ON; BEGIN; DELETE FROM main.sqlite_schema;"
      "INSERT INTO main.sqlite_schema (rowid, type, name, tbl_name, rootpage, sql)"
      " SELECT id, type, name, tbl_name, rootpage, sql FROM temp.saved ORDER BY id;"
      "COMMIT; PRAGMA writable_schema = RESET; DROP TABLE temp.saved");
  if (wide) sql("REINDEX audit_events_conversation");
}

/* ---- The store, and what is known of it ---------------------------------------------------- */

struct image {
  char *bytes;
  size_t size;
};

static struct {
  char path[512];
  struct image after[STEPS + 1]; /* the file after each step; the last is the one to mutate */
  struct image twin;             /* the same story in a store with another id */
  custmem_head heads[INSTRUCTORS][EVENTS];
  int events[INSTRUCTORS][EVENTS]; /* the conversation of each, from 1 */
  int64_t count[INSTRUCTORS];
  int64_t count_after[STEPS + 1][INSTRUCTORS];
  char customers[INSTRUCTORS][CUSTOMERS][CUSTMEM_UUID_SIZE + 1];
} base;

/* Who is linked to each conversation, while a story is told. */
struct story {
  uint64_t seed;
  int linked[INSTRUCTORS][CONVERSATIONS];
  int happened[INSTRUCTORS];
};

static const char *conversation_name(int who, int conversation) {
  static char names[8][CUSTMEM_ID_MAX + 1];
  static unsigned next;
  char *name = names[next++ % 8];
  snprintf(name, sizeof names[0], "talk-%c%d", 'a' + who, conversation);
  return name;
}

static void take_image(const char *path, struct image *image) {
  FILE *file = fopen(path, "rb");
  int64_t size = test_file_size(path);
  image->size = size > 0 ? (size_t)size : 0;
  free(image->bytes);
  image->bytes = malloc(image->size + 1);
  if (file == NULL || image->bytes == NULL || fread(image->bytes, 1, image->size, file) != image->size) {
    printf("cannot read %s\n", path);
    exit(1);
  }
  fclose(file);
}

static void put_image(const struct image *image) {
  char name[600];
  snprintf(name, sizeof name, "%s-wal", base.path);
  remove(name);
  snprintf(name, sizeof name, "%s-shm", base.path);
  remove(name);
  CHECK(test_file_write(base.path, image->bytes, image->size));
}

/* The next thing that happens to a conversation of an instructor. */
static int act(custmem *store, int who, struct story *story, custmem_written *written) {
  static const char *const reasons[] = {"she said so", "the same person", "a mistake before"};
  custmem_actor actor = test_human(INSTRUCTOR[who]);
  int conversation = (int)(test_random(&story->seed) % CONVERSATIONS);
  int *linked = &story->linked[who][conversation];
  int was = *linked, next = (int)(test_random(&story->seed) % CUSTOMERS);
  const char *name = conversation_name(who, conversation);
  const char *reason = reasons[test_random(&story->seed) % 3];
  const char *context = test_random(&story->seed) % 2 ? "a word more" : NO_CONTEXT;
  if (was != NOBODY && test_random(&story->seed) % 3 == 0) next = NOBODY;
  if (next == was) next = (was + 1) % CUSTOMERS;
  *linked = next;
  base.events[who][++story->happened[who]] = conversation;
  if (was == NOBODY)
    return custmem_link(
      store, &actor, name, base.customers[who][next], reason, -1, context, -1, written
    );
  if (next == NOBODY)
    return custmem_unlink(
      store, &actor, name, base.customers[who][was], reason, -1, context, -1, written
    );
  return custmem_relink(
    store, &actor, name, base.customers[who][was], base.customers[who][next], reason, -1,
    context, -1, written
  );
}

static void start_store(const char *store_id) {
  custmem *store;
  int who, i;
  put_image(&(struct image){"", 0});
  test_sources_reset();
  store = test_store(base.path);
  for (who = 0; who < INSTRUCTORS; who++)
    for (i = 0; i < CUSTOMERS; i++) {
      char phone[32];
      snprintf(phone, sizeof phone, "39333%d%d12345", who, i);
      strcpy(base.customers[who][i], test_customer(store, INSTRUCTOR[who], phone));
    }
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  db = intruder(base.path);
  CHECK_INT(sql("UPDATE store SET id = %Q", store_id), 1);
  sqlite3_close(db);
}

/* Tells the story from step `from` on; with `keep` its heads and images are those of the base. */
static void tell(struct story *story, int from, int keep) {
  int step, who;
  for (step = from; step < STEPS; step++) {
    custmem *store = test_store(base.path);
    custmem_written written;
    who = TURNS[step] - 'a';
    for (int i = 0; keep && step == 0 && i < INSTRUCTORS; i++)
      CHECK_INT(custmem_audit_head(store, INSTRUCTOR[i], &base.heads[i][0]), CUSTMEM_OK);
    CHECK_INT(act(store, who, story, &written), CUSTMEM_OK);
    CHECK_INT(custmem_close(store), CUSTMEM_OK);
    if (!keep) continue;
    base.heads[who][written.seq] = written.head;
    base.count[who] = written.seq;
    memcpy(base.count_after[step + 1], base.count, sizeof base.count);
    take_image(base.path, &base.after[step + 1]);
  }
}

static struct story new_story(uint64_t seed) {
  struct story story;
  memset(&story, 0, sizeof story);
  memset(story.linked, 0xff, sizeof story.linked);
  story.seed = seed;
  return story;
}

static void make_base(void) {
  struct story story = new_story(test_seed());
  vfs_shim_hurry(1);
  snprintf(base.path, sizeof base.path, "%s", test_path("tampered.db"));
  start_store(TWIN_ID);
  tell(&story, 0, 0);
  take_image(base.path, &base.twin);
  story = new_story(test_seed());
  start_store(STORE_ID);
  take_image(base.path, &base.after[0]);
  tell(&story, 0, 1);
}

/* The last event of a conversation, up to and with `until`; 0: none. */
static int64_t last_of(int who, int conversation, int64_t until) {
  int64_t seq, last = 0;
  for (seq = 1; seq <= until; seq++)
    if (base.events[who][seq] == conversation) last = seq;
  return last;
}

/* ---- What is expected ---------------------------------------------------------------------- */

#define BIT(fault) (1U << CUSTMEM_FAULT_##fault)
#define CHANGED    (BIT(FIELD) | BIT(HASH))
#define ANYWHERE   (-1)

/* What a mutation says of itself.
**
** open        the code that opening gives
** who         whose chain is verified
** verify      the faults that verify may name; 0: it shows nothing
** seq         where, or ANYWHERE
** subject     which conversation, or "" for any
** perhaps     what verify may show as well as not: it looks there only where it must
** check       what check alone may name (verify's faults are always its own too); 0: nothing
** same_until  the chain is still the base's up to here: what an anchor must know
** ends        how many events the chain has
** hidden      what it is, where nothing shows it
*/
enum hidden {
  IN_SIGHT,
  KEY_CHANGED,
  DISPLAY_CHANGED,
  TIME_CHANGED,
  ID_CHANGED,
  CUSTOMER_DELETED,
  CUSTOMER_ADDED,
  STORE_TIME_CHANGED,
  HIDDEN_KINDS
};

struct expected {
  int open;
  int who;
  unsigned verify;
  unsigned perhaps;
  int64_t seq;
  char subject[CUSTMEM_ID_MAX + 1];
  unsigned check;
  int64_t same_until;
  int64_t ends;
  enum hidden hidden;
};

static void expect_nothing(struct expected *expected, int who) {
  memset(expected, 0, sizeof *expected);
  expected->who = who;
  expected->same_until = expected->ends = base.count[who];
}

static int shown(struct expected *expected, int who, unsigned faults, int64_t seq) {
  expect_nothing(expected, who);
  expected->verify = faults;
  expected->seq = seq;
  return 1;
}

/* A link that is not what the events up to `until` say. Where they know nothing of the
** conversation, no event is to be named. */
static int link_shown(struct expected *expected, int who, int conversation, int64_t until) {
  shown(expected, who, BIT(LINK), last_of(who, conversation, until));
  snprintf(
    expected->subject, sizeof expected->subject, "%s", conversation_name(who, conversation)
  );
  return 1;
}

static int only_anchor(struct expected *expected, int who, int64_t same_until, int64_t ends) {
  expect_nothing(expected, who);
  expected->same_until = same_until;
  expected->ends = ends;
  return 1;
}

static int is_placed(const custmem_report *report, const struct expected *expected) {
  return (expected->verify >> report->fault & 1) != 0 &&
         strcmp(report->instructor_id, INSTRUCTOR[expected->who]) == 0 &&
         (expected->seq == ANYWHERE || report->seq == expected->seq) &&
         (expected->subject[0] == '\0' || strcmp(report->subject, expected->subject) == 0);
}

/* What custmem.h says that nothing shows. */
static struct {
  const char *what;
  int done;
} HIDDEN[HIDDEN_KINDS] = {
  [KEY_CHANGED] = {"a customer's key changed to another well-formed one", 0},
  [DISPLAY_CHANGED] = {"a customer's display identifier changed", 0},
  [TIME_CHANGED] = {"a customer's times changed", 0},
  [ID_CHANGED] = {"the id changed of a customer to whom nobody is linked", 0},
  [CUSTOMER_DELETED] = {"a customer deleted to whom nobody is linked", 0},
  [CUSTOMER_ADDED] = {"a customer added", 0},
  [STORE_TIME_CHANGED] = {"the time of the store's making changed", 0},
};

/* ---- Asking the library -------------------------------------------------------------------- */

enum shown_by { BY_OPEN, BY_VERIFY, BY_CHECK, BY_ANCHOR, BY_NOTHING, WAYS };

static int verify_with(
  custmem *store,
  const struct expected *expected,
  int64_t at,
  custmem_report *report
) {
  memset(report, 0xAA, sizeof *report);
  return custmem_audit_verify(
    store, INSTRUCTOR[expected->who], at < 0 ? NULL : &base.heads[expected->who][at], report
  );
}

/* An anchor that was taken at `at`: continued, cut off, or another history. */
static int anchor_holds(custmem *store, const struct expected *expected, int64_t at) {
  custmem_report report;
  int rc = verify_with(store, expected, at, &report);
  if (at <= expected->same_until) return CHECK_INT(rc, CUSTMEM_OK);
  if (!CHECK_INT(rc, CUSTMEM_ANCHOR)) return 0;
  if (at > expected->ends)
    return CHECK_INT(report.fault, CUSTMEM_FAULT_ANCHOR_BEYOND) &
           CHECK_INT(report.seq, expected->ends);
  return CHECK_INT(report.fault, CUSTMEM_FAULT_ANCHOR_DIFFERS) & CHECK_INT(report.seq, at);
}

static int ask_verify(custmem *store, const struct expected *expected) {
  custmem_report report;
  int64_t count = base.count[expected->who], at;
  int good = 1, rc = verify_with(store, expected, -1, &report);
  if (expected->perhaps != 0 && rc == CUSTMEM_BROKEN)
    return CHECK((expected->perhaps >> report.fault & 1) != 0);
  if (expected->verify != 0) {
    good &= CHECK_INT(rc, CUSTMEM_BROKEN) && CHECK(is_placed(&report, expected));
    if (!good)
      printf(
        "  verify: fault %d at %" PRId64 " of \"%s\"; expected %x at %" PRId64 " of \"%s\"\n",
        report.fault, report.seq, report.subject, expected->verify, expected->seq,
        expected->subject
      );
    rc = verify_with(store, expected, count, &report);
    return good & CHECK_INT(rc, CUSTMEM_BROKEN) & CHECK(is_placed(&report, expected));
  }
  good &= CHECK_INT(rc, CUSTMEM_OK) & CHECK_INT(report.events, expected->ends);
  for (at = expected->same_until; at <= count && at <= expected->same_until + 1; at++)
    good &= anchor_holds(store, expected, at);
  return good & anchor_holds(store, expected, count) & anchor_holds(store, expected, 0);
}

static int ask_check(custmem *store, const struct expected *expected) {
  custmem_report report;
  int good, rc;
  memset(&report, 0xAA, sizeof report);
  rc = custmem_check(store, &report);
  if (expected->verify == 0 && expected->check == 0) return CHECK_INT(rc, CUSTMEM_OK);
  good = CHECK_INT(rc, CUSTMEM_BROKEN);
  /* SQLite's own check, and what it alone looks at, come before the chains. */
  if (report.fault != CUSTMEM_FAULT_DATABASE && !(expected->check >> report.fault & 1))
    good &= CHECK(expected->verify != 0 && is_placed(&report, expected));
  if (!good) printf("  check: fault %d: %s, %s\n", report.fault, report.subject, report.detail);
  return good;
}

/* Whoever the file names now: a resolution gives a customer of the instructor's own, or none. */
static int resolves_to_its_own(custmem *store) {
  custmem_resolution found;
  custmem_customer customer;
  int who, i, good = 1;
  for (who = 0; who < INSTRUCTORS; who++)
    for (i = 0; i < CONVERSATIONS; i++) {
      custmem_resolve(store, INSTRUCTOR[who], conversation_name(who, i), NULL, NULL, 0, &found);
      if (found.customer_id[0] == '\0') continue;
      /* It may be one that cannot be read. */
      good &= CHECK(
        custmem_customer_get(store, INSTRUCTOR[who], found.customer_id, &customer) !=
        CUSTMEM_NO_CUSTOMER
      );
    }
  return good;
}

/* Gives by what it was shown, or WAYS for a failed check. */
static int ask(const struct expected *expected) {
  custmem *store = NULL;
  custmem_options options;
  int good;
  test_options(&options);
  if (!CHECK_INT(custmem_open(base.path, &options, &store), expected->open)) {
    custmem_close(store);
    return WAYS;
  }
  if (store == NULL) return BY_OPEN;
  good = ask_verify(store, expected) & ask_check(store, expected) & resolves_to_its_own(store);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  if (!good) return WAYS;
  if (expected->verify != 0) return BY_VERIFY;
  if (expected->check != 0) return BY_CHECK;
  if (expected->same_until < base.count[expected->who]) return BY_ANCHOR;
  HIDDEN[expected->hidden].done++;
  return BY_NOTHING;
}

/* ---- Mutations: every field of every row --------------------------------------------------- */

struct value {
  int type;
  int size; /* of a text or a blob */
  int64_t integer;
  double real;
  char bytes[4096];
};

static void take_value(sqlite3_stmt *row, int column, struct value *value) {
  const void *bytes;
  memset(value, 0, sizeof *value);
  value->type = sqlite3_column_type(row, column);
  if (value->type == SQLITE_INTEGER) value->integer = sqlite3_column_int64(row, column);
  if (value->type == SQLITE_FLOAT) value->real = sqlite3_column_double(row, column);
  if (value->type != SQLITE_TEXT && value->type != SQLITE_BLOB) return;
  bytes = sqlite3_column_blob(row, column);
  value->size = sqlite3_column_bytes(row, column);
  if (value->size > 0) memcpy(value->bytes, bytes, (size_t)value->size);
}

static void bind_value(sqlite3_stmt *stmt, int parameter, const struct value *value) {
  int rc = SQLITE_OK;
  if (value->type == SQLITE_INTEGER)
    rc = sqlite3_bind_int64(stmt, parameter, value->integer);
  else if (value->type == SQLITE_FLOAT)
    rc = sqlite3_bind_double(stmt, parameter, value->real);
  else if (value->type == SQLITE_TEXT)
    rc = sqlite3_bind_text(stmt, parameter, value->bytes, value->size, SQLITE_STATIC);
  else if (value->type == SQLITE_BLOB)
    rc = sqlite3_bind_blob(stmt, parameter, value->bytes, value->size, SQLITE_STATIC);
  CHECK_INT(rc, SQLITE_OK);
}

static int is_same(const struct value *left, const struct value *right) {
  return left->type == right->type && left->size == right->size &&
         left->integer == right->integer && left->real == right->real &&
         memcmp(left->bytes, right->bytes, sizeof left->bytes) == 0;
}

/* The ways in which a value becomes another. */
enum change {
  TO_NULL,
  TO_EMPTY,
  TO_OTHER_TYPE,
  TO_NUMBER,
  TO_REAL,
  FLIPPED,
  LONGER,
  SHORTER,
  OTHER_CASE,
  WITH_NUL,
  WITH_CONTROL,
  NOT_UTF8,
  OF_OTHER_ROW,
  OF_OTHER_COLUMN,
  CHANGES
};

static void set_integer(struct value *value, int64_t integer) {
  memset(value, 0, sizeof *value);
  value->type = SQLITE_INTEGER;
  value->integer = integer;
}

static void set_real(struct value *value, double real) {
  memset(value, 0, sizeof *value);
  value->type = SQLITE_FLOAT;
  value->real = real;
}

static void change_integer(struct value *value, enum change how, uint64_t *seed) {
  int64_t was = value->integer;
  switch (how) {
  case TO_NULL:
    memset(value, 0, sizeof *value);
    value->type = SQLITE_NULL;
    break;
  case TO_EMPTY:
  case TO_OTHER_TYPE:
    memset(value, 0, sizeof *value);
    value->type = SQLITE_TEXT;
    if (how == TO_OTHER_TYPE)
      value->size = snprintf(value->bytes, sizeof value->bytes, "%" PRId64, was);
    break;
  case TO_REAL:
    set_real(value, (double)was + 0.5);
    break;
  case OTHER_CASE: /* the same number, as a real */
    set_real(value, (double)was);
    break;
  case FLIPPED:
    value->integer ^= INT64_C(1) << test_random(seed) % 63;
    break;
  case LONGER:
    value->integer = -was - 1;
    break;
  case SHORTER:
    value->integer = INT64_MIN;
    break;
  case WITH_NUL:
    value->integer = INT64_MAX;
    break;
  case WITH_CONTROL:
    value->integer = was + (INT64_C(1) << 48);
    break;
  case NOT_UTF8: /* the same in 32 bits */
    value->integer = was + (INT64_C(1) << 32);
    break;
  default:
    value->integer = was + 1;
  }
}

static void change_bytes(struct value *value, enum change how, uint64_t *seed) {
  int i;
  switch (how) {
  case TO_NULL:
    memset(value, 0, sizeof *value);
    value->type = SQLITE_NULL;
    break;
  case TO_EMPTY:
    memset(value->bytes, 0, sizeof value->bytes);
    value->size = 0;
    break;
  case TO_OTHER_TYPE:
    value->type = value->type == SQLITE_TEXT ? SQLITE_BLOB : SQLITE_TEXT;
    break;
  case TO_NUMBER:
    set_integer(value, (int64_t)(test_random(seed) % 1000));
    break;
  case TO_REAL:
    set_real(value, 1.5);
    break;
  case LONGER:
  case WITH_CONTROL:
  case NOT_UTF8:
    value->bytes[value->size++] = how == LONGER ? 'x' : how == NOT_UTF8 ? '\xff' : '\x01';
    break;
  case SHORTER:
    if (value->size > 0) value->bytes[--value->size] = '\0';
    break;
  case OTHER_CASE:
    for (i = 0; i < value->size && (value->bytes[i] < 'a' || value->bytes[i] > 'z'); i++) {
    }
    if (i < value->size) value->bytes[i] = (char)(value->bytes[i] - 'a' + 'A');
    break;
  case WITH_NUL:
    value->bytes[++value->size] = 'x';
    value->size++;
    break;
  default:
    if (value->size == 0) break;
    i = (int)(test_random(seed) % (uint64_t)value->size);
    value->bytes[i] = (char)(value->bytes[i] ^ 1 << test_random(seed) % 8);
  }
}

/* The tables, their keys, and how many columns they have. */
enum table { EVENTS_TABLE, LINKS_TABLE, CUSTOMERS_TABLE, STORE_TABLE, TABLES };
static const struct {
  const char *name, *key;
  int columns;
} TABLE[TABLES] = {
  {"audit_events", "instructor_id, seq", 12},
  {"conversation_links", "conversation_id", 5},
  {"customers", "id", 7},
  {"store", "singleton", 4},
};

/* One cell: its row before and after. */
struct cell {
  int column;
  struct value before[12];
  struct value after;
};

static int read_row(enum table table, int row, struct value *values) {
  char *text = sqlite3_mprintf(
    "SELECT * FROM %s ORDER BY %s LIMIT 1 OFFSET %d", TABLE[table].name, TABLE[table].key, row
  );
  sqlite3_stmt *stmt = NULL;
  int i, found;
  memset(values, 0, (size_t)TABLE[table].columns * sizeof *values);
  CHECK_INT(sqlite3_prepare_v2(db, text, -1, &stmt, NULL), SQLITE_OK);
  found = sqlite3_step(stmt) == SQLITE_ROW;
  for (i = 0; found && i < TABLE[table].columns; i++)
    take_value(stmt, i, &values[i]);
  sqlite3_finalize(stmt);
  sqlite3_free(text);
  return found;
}

static void name_column(enum table table, int column, char name[64]) {
  char text[128];
  snprintf(
    text, sizeof text, "SELECT name FROM pragma_table_info('%s') WHERE cid = %d",
    TABLE[table].name, column
  );
  snprintf(name, 64, "%.63s", test_sql_text(db, text));
}

/* Writes the changed cell. 0 where even a bare table refuses: a key that is NULL or taken. */
static int write_cell(enum table table, const struct cell *cell) {
  char name[64], *text;
  sqlite3_stmt *stmt = NULL;
  int rc;
  name_column(table, cell->column, name);
  text = sqlite3_mprintf(
    "UPDATE %s SET %s = ?1 WHERE (%s) = (%s)", TABLE[table].name, name, TABLE[table].key,
    table == EVENTS_TABLE ? "?2, ?3" : "?2"
  );
  CHECK_INT(sqlite3_prepare_v2(db, text, -1, &stmt, NULL), SQLITE_OK);
  bind_value(stmt, 1, &cell->after);
  bind_value(stmt, 2, &cell->before[0]);
  if (table == EVENTS_TABLE) bind_value(stmt, 3, &cell->before[1]);
  rc = sqlite3_step(stmt);
  sqlite3_finalize(stmt);
  sqlite3_free(text);
  CHECK(rc == SQLITE_DONE || rc == SQLITE_CONSTRAINT);
  return rc == SQLITE_DONE && CHECK_INT(sqlite3_changes(db), 1);
}

static int rows_of(enum table table) {
  return (int)number("SELECT count(*) FROM %s", TABLE[table].name);
}

/* Changes cell n of a table: n counts through all rows, columns and changes. */
static int change_cell(enum table table, int n, uint64_t *seed, struct cell *cell) {
  struct value other[12];
  enum change how = (enum change)(n % CHANGES);
  int row = n / CHANGES / TABLE[table].columns, changed;
  cell->column = n / CHANGES % TABLE[table].columns;
  if (!read_row(table, row, cell->before)) return 0;
  cell->after = cell->before[cell->column];
  if (how == OF_OTHER_ROW) {
    read_row(table, (int)(test_random(seed) % (uint64_t)rows_of(table)), other);
    cell->after = other[cell->column];
  } else if (how == OF_OTHER_COLUMN) {
    cell->after = cell->before[test_random(seed) % (uint64_t)TABLE[table].columns];
  } else if (cell->after.type == SQLITE_INTEGER) {
    change_integer(&cell->after, how, seed);
  } else {
    if (cell->after.type == SQLITE_NULL) cell->after.type = SQLITE_TEXT;
    change_bytes(&cell->after, how, seed);
  }
  if (is_same(&cell->after, &cell->before[cell->column])) return 0;
  loosen(0);
  changed = write_cell(table, cell);
  tighten(0);
  return changed;
}

static int instructor_of(const struct value *value) {
  int who;
  for (who = 0; who < INSTRUCTORS; who++)
    if (strcmp(value->bytes, INSTRUCTOR[who]) == 0) return who;
  return NOBODY;
}

/* Where an event with another seq is met: in its new place if that comes first, else it is missing
** in its old one. */
static int64_t place_of_seq(int64_t was, const struct value *now) {
  double at = now->type == SQLITE_INTEGER ? (double)now->integer : now->real;
  if (now->type != SQLITE_INTEGER && now->type != SQLITE_FLOAT) return was;
  if (at >= (double)was) return was;
  return at < 1 ? 1 : (int64_t)ceil(at);
}

/* A last event that is gone leaves a link of which the events do not know. */
static int tail_is_gone(struct expected *expected, int who, int64_t seq) {
  return link_shown(expected, who, base.events[who][seq], seq - 1);
}

static int field_of_event(int n, uint64_t *seed, struct expected *expected) {
  struct cell cell;
  int64_t seq;
  int who;
  if (!change_cell(EVENTS_TABLE, n, seed, &cell)) return 0;
  who = instructor_of(&cell.before[0]);
  seq = cell.before[1].integer;
  if (cell.column == 0) {
    if (seq == base.count[who])
      tail_is_gone(expected, who, seq);
    else
      shown(expected, who, BIT(SEQUENCE), seq);
    expected->check = BIT(SEQUENCE) | CHANGED; /* of the chain that it is in now */
    return 1;
  }
  if (cell.column == 1 && cell.after.type == SQLITE_INTEGER && cell.after.integer == INT64_MIN)
    return shown(expected, who, ~0U, ANYWHERE); /* no seq is before it: it is not walked */
  if (cell.column == 1)
    return shown(expected, who, BIT(SEQUENCE) | BIT(FIELD), place_of_seq(seq, &cell.after));
  return shown(expected, who, CHANGED, seq);
}

/* The conversation of a name that conversation_name gives. */
static int conversation_of(const struct value *name) {
  return name->bytes[6] - '0';
}

static int is_text_of(const struct value *value, int from, int to) {
  return value->type == SQLITE_TEXT && value->size >= from && value->size <= to;
}

static int has_nul(const struct value *value) {
  return value->type == SQLITE_TEXT && memchr(value->bytes, '\0', (size_t)value->size) != NULL;
}

/* Text as a call takes it for an id: UTF-8, no control characters. */
static int is_clean_id(const struct value *id) {
  custmem_customer customer;
  custmem *memory = test_store(NULL);
  int rc = custmem_customer_get(memory, "instructor", id->bytes, &customer);
  custmem_close(memory);
  return rc == CUSTMEM_NO_CUSTOMER;
}

static int field_of_link(int n, uint64_t *seed, struct expected *expected) {
  struct cell cell;
  int who, conversation;
  if (!change_cell(LINKS_TABLE, n, seed, &cell)) return 0;
  who = instructor_of(&cell.before[1]);
  conversation = conversation_of(&cell.before[0]);
  link_shown(expected, who, conversation, base.count[who]);
  /* A link that cannot be read may be said to be just that. */
  if (
    cell.column > 1 &&
    (cell.after.type != cell.before[cell.column].type || has_nul(&cell.after) ||
     (cell.after.type == SQLITE_TEXT &&
      (!is_text_of(&cell.after, 1, CUSTMEM_UUID_SIZE) || !is_clean_id(&cell.after))))
  ) {
    expected->verify |= BIT(DATABASE);
    expected->seq = ANYWHERE;
    expected->subject[0] = '\0';
  }
  expected->check = BIT(LINK) | BIT(DATABASE);
  return 1;
}

/* Whether SQLite's own check takes a customer's row for one: types, sizes. */
static int is_row_of_customer(const struct value row[7]) {
  return is_text_of(&row[0], 36, 36) && is_text_of(&row[1], 1, 64) &&
         is_text_of(&row[2], 1, 96) && is_text_of(&row[3], 1, 160) &&
         (row[4].type == SQLITE_NULL || is_text_of(&row[4], 1, 255)) &&
         row[5].type == SQLITE_INTEGER && row[6].type == SQLITE_INTEGER;
}

static int is_time(const struct value *value) {
  return value->integer >= 0 && value->integer < INT64_C(1) << 48;
}

/* A customer that some call could have made: a UUID, an id and a display identifier that are clean text, an
** identifier that custmem_normalize gives, and times of the clock. */
static int is_row_of_a_call(const struct value row[7]) {
  char key[CUSTMEM_IDENTIFIER_MAX + 1], uuid[CUSTMEM_IDENTIFIER_MAX + 1];
  const char *display = row[4].type == SQLITE_NULL ? NULL : row[4].bytes;
  custmem_actor actor = test_human(row[1].bytes);
  custmem_customer customer;
  custmem *memory = test_store(NULL);
  int rc = custmem_customer_get(memory, row[1].bytes, row[0].bytes, &customer);
  int is_clean = rc == CUSTMEM_NO_CUSTOMER;
  rc = custmem_customer_create(
    memory, &actor, row[2].bytes, row[3].bytes, -1, display, -1, &customer, NULL
  );
  custmem_close(memory);
  return is_clean && rc == CUSTMEM_OK && is_time(&row[5]) && is_time(&row[6]) &&
         custmem_normalize("webchat", row[0].bytes, -1, uuid) == CUSTMEM_ACCEPTED &&
         strcmp(uuid, row[0].bytes) == 0 &&
         custmem_normalize(row[2].bytes, row[3].bytes, -1, key) == CUSTMEM_ACCEPTED &&
         strcmp(key, row[3].bytes) == 0;
}

static int64_t links_to(const struct value *id) {
  return number("SELECT count(*) FROM conversation_links WHERE customer_id = '%q'", id->bytes);
}

/* customers has no triggers, and is not in the chain. custmem.h says what that comes to. */
static int field_of_customer(int n, uint64_t *seed, struct expected *expected) {
  static const enum hidden hidden[] = {ID_CHANGED,      KEY_CHANGED,  KEY_CHANGED, KEY_CHANGED,
                                       DISPLAY_CHANGED, TIME_CHANGED, TIME_CHANGED};
  struct cell cell;
  struct value row[7];
  int i, nul = 0;
  if (!change_cell(CUSTOMERS_TABLE, n, seed, &cell)) return 0;
  memcpy(row, cell.before, sizeof row);
  row[cell.column] = cell.after;
  expect_nothing(expected, instructor_of(&cell.before[1]));
  expected->hidden = hidden[cell.column];
  for (i = 0; i < 5; i++)
    nul |= has_nul(&row[i]);
  if (!is_row_of_customer(row) || nul || !is_row_of_a_call(row))
    expected->check |= BIT(DATABASE) | BIT(KEY);
  if (cell.column < 2 && links_to(&cell.before[0]) > 0) expected->check |= BIT(LINK);
  if (number("SELECT count(*) > 0 FROM customers GROUP BY instructor_id, channel,"
             " normalized_identifier HAVING count(*) > 1") == 1)
    expected->check |= BIT(DATABASE);
  return 1;
}

/* The row that says what the store is: opening reads it. */
static int field_of_store(int n, uint64_t *seed, struct expected *expected) {
  static const int type[] = {SQLITE_INTEGER, SQLITE_TEXT, SQLITE_INTEGER, SQLITE_INTEGER};
  int who = (int)(test_random(seed) % INSTRUCTORS);
  struct cell cell;
  if (!change_cell(STORE_TABLE, n, seed, &cell)) return 0;
  expect_nothing(expected, who);
  expected->hidden = STORE_TIME_CHANGED;
  if (cell.column == 0) {
    expected->check = BIT(DATABASE);
  } else if (cell.after.type != type[cell.column] || has_nul(&cell.after)) {
    expected->open = CUSTMEM_CORRUPT;
  } else if (cell.column == 3) {
    expected->open = CUSTMEM_RULES;
  } else if (cell.column == 1) {
    expected->same_until = -1;
    if (base.count[who] > 0) shown(expected, who, BIT(HASH), 1);
    expected->check = BIT(DATABASE) | BIT(HASH);
    if (cell.after.size == 0 || cell.after.size > CUSTMEM_UUID_SIZE)
      expected->open = CUSTMEM_CORRUPT;
  }
  return 1;
}

/* ---- Mutations: rows of events ------------------------------------------------------------- */

static int pick(uint64_t *seed, int64_t from, int64_t to) {
  return (int)(from + (int64_t)(test_random(seed) % (uint64_t)(to - from + 1)));
}

static int pick_who(uint64_t *seed) {
  return pick(seed, A, B);
}

#define OF_WHO " WHERE instructor_id = %Q"
#define AT     OF_WHO " AND seq = %d"

/* Moves all events behind `after` by `by`. */
static void shift(int who, int after, int by) {
  sql(
    "UPDATE audit_events SET seq = seq + 1000" OF_WHO " AND seq > %d;"
    "UPDATE audit_events SET seq = seq - 1000 + %d" OF_WHO " AND seq > 1000",
    INSTRUCTOR[who], after, by, INSTRUCTOR[who]
  );
}

/* Copies an event of `from` (a table) to another seq and, if need be, to another instructor. */
static void copy_event(const char *from, int of, int seq, int who, int to) {
  CHECK_INT(
    sql(
      "INSERT INTO main.audit_events SELECT %Q, %d, event_name, conversation_id,"
      " previous_customer_id, new_customer_id, actor_type, actor_id, reason, context,"
      " created_at, hash FROM %s" AT,
      INSTRUCTOR[who], to, from, INSTRUCTOR[of], seq
    ),
    1
  );
}

static int delete_events(int n, uint64_t *seed, struct expected *expected) {
  int who = pick_who(seed), count = (int)base.count[who];
  int from = pick(seed, 1, count - 1), to = pick(seed, from, count - 1);
  if (n % 2 == 0) to = from;
  sql(
    "DELETE FROM audit_events" OF_WHO " AND seq BETWEEN %d AND %d", INSTRUCTOR[who], from, to
  );
  return shown(expected, who, BIT(SEQUENCE), from);
}

/* The gap closed again: the next event stands where the hash of another belongs. */
static int delete_and_renumber(int n, uint64_t *seed, struct expected *expected) {
  int who = pick_who(seed), seq = pick(seed, 1, base.count[who] - 1);
  (void)n;
  sql("DELETE FROM audit_events" AT, INSTRUCTOR[who], seq);
  shift(who, seq, -1);
  return shown(expected, who, CHANGED, seq);
}

static int swap_events(int n, uint64_t *seed, struct expected *expected) {
  int who = pick_who(seed), count = (int)base.count[who];
  int one = pick(seed, 1, count - 1), two = pick(seed, one + 1, count);
  (void)n;
  sql(
    "UPDATE audit_events SET seq = 1000" AT ";UPDATE audit_events SET seq = %d" AT
    ";UPDATE audit_events SET seq = %d" AT,
    INSTRUCTOR[who], one, one, INSTRUCTOR[who], two, two, INSTRUCTOR[who], 1000
  );
  return shown(expected, who, CHANGED, one);
}

/* An event again, behind itself, in between, or at the end. */
static int repeat_event(int n, uint64_t *seed, struct expected *expected) {
  int who = pick_who(seed), count = (int)base.count[who];
  int seq = pick(seed, 1, count), to = n % 3 == 0 ? count + 1 : pick(seed, 1, count);
  copy_event("audit_events", who, seq, who, 500);
  shift(who, to - 1, 1);
  sql("UPDATE audit_events SET seq = %d" OF_WHO " AND seq = 501", to, INSTRUCTOR[who]);
  /* In its own place it is what was written; the second of the two is not. */
  return shown(expected, who, CHANGED, to == seq ? to + 1 : to);
}

static int open_gap(int n, uint64_t *seed, struct expected *expected) {
  int who = pick_who(seed), after = pick(seed, 0, base.count[who] - 1);
  shift(who, after, 1 + n % 5);
  return shown(expected, who, BIT(SEQUENCE), after + 1);
}

/* Two events of one seq, which only a wider key lets in. Whichever is met first. */
static int stand_twice(int n, uint64_t *seed, struct expected *expected) {
  int who = pick_who(seed), seq = pick(seed, 1, base.count[who]);
  loosen(1);
  sql(
    "INSERT INTO audit_events SELECT instructor_id, seq, event_name, %s,"
    " previous_customer_id, new_customer_id, actor_type, actor_id, reason, context,"
    " created_at, hash FROM audit_events" AT,
    n % 2 ? "conversation_id || '.'" : "'a ' || conversation_id", INSTRUCTOR[who], seq
  );
  tighten(1);
  shown(expected, who, CHANGED | BIT(SEQUENCE), n % 2 ? seq + 1 : seq);
  return 1;
}

/* An event invented at the end, its link with it, under a hash of nothing. */
static int invent_event(int n, uint64_t *seed, struct expected *expected) {
  int who = pick_who(seed), seq = (int)base.count[who] + 1;
  (void)n;
  sql(
    "INSERT INTO audit_events VALUES (%Q, %d, 'conversation.customer_linked', 'talk-new',"
    " NULL, %Q, 'human', 'h', 'forged', NULL, 1750000999000, randomblob(32));"
    "INSERT INTO conversation_links VALUES ('talk-new', %Q, %Q, %d, 1750000999000)",
    INSTRUCTOR[who], seq, base.customers[who][0], INSTRUCTOR[who], base.customers[who][0], seq
  );
  return shown(expected, who, BIT(HASH), seq);
}

/* The same seq of another store, in place; or all from there on. */
static int from_another_store(int n, uint64_t *seed, struct expected *expected) {
  int who = pick_who(seed), seq = pick(seed, 1, base.count[who]);
  sql(
    "DELETE FROM audit_events" OF_WHO " AND seq %s %d", INSTRUCTOR[who], n % 2 ? ">=" : "=", seq
  );
  sql(
    "INSERT INTO main.audit_events SELECT * FROM twin.audit_events" OF_WHO " AND seq %s %d",
    INSTRUCTOR[who], n % 2 ? ">=" : "=", seq
  );
  return shown(expected, who, BIT(HASH), seq);
}

/* Everything of another store but its id: customers, events, links. */
static int all_of_another_store(int n, uint64_t *seed, struct expected *expected) {
  static const char *const tables[] = {"conversation_links", "audit_events", "customers"};
  int who = pick(seed, A, C), i;
  (void)n;
  for (i = 0; i < COUNT_OF(tables); i++)
    sql(
      "DELETE FROM main.%s; INSERT INTO main.%s SELECT * FROM twin.%s", tables[i], tables[i],
      tables[i]
    );
  shown(expected, who, BIT(HASH), 1);
  expected->check = BIT(HASH); /* of whoever is the first */
  return 1;
}

static int from_another_instructor(int n, uint64_t *seed, struct expected *expected) {
  int who = pick_who(seed), other = who == A ? B : A;
  int seq = pick(seed, 1, base.count[other]), to = pick(seed, 1, base.count[who] + 1);
  (void)n;
  if (to <= base.count[who]) sql("DELETE FROM audit_events" AT, INSTRUCTOR[who], to);
  copy_event("audit_events", other, seq, who, to);
  return shown(expected, who, CHANGED, to);
}

/* A whole chain of another instructor under this one's name, links and all. */
static int chain_of_another_instructor(int n, uint64_t *seed, struct expected *expected) {
  int who = pick(seed, A, D), other = (who + 1) % C;
  (void)n;
  if (other == who) return 0;
  sql(
    "DELETE FROM audit_events" OF_WHO ";UPDATE audit_events SET instructor_id = %Q" OF_WHO,
    INSTRUCTOR[who], INSTRUCTOR[who], INSTRUCTOR[other]
  );
  sql(
    "DELETE FROM conversation_links" OF_WHO
    ";UPDATE conversation_links SET instructor_id = %Q" OF_WHO,
    INSTRUCTOR[who], INSTRUCTOR[who], INSTRUCTOR[other]
  );
  shown(expected, who, CHANGED, 1);
  expected->check = BIT(LINK);
  return 1;
}

/* Two events of one chain at once: the first is named. */
static int change_two(int n, uint64_t *seed, struct expected *expected) {
  static const char *const sets[] = {
    "reason = reason || '!'", "created_at = created_at + 1", "actor_id = 'another'",
    "context = coalesce(context || '.', 'x')", "hash = randomblob(32)"};
  int who = pick_who(seed), count = (int)base.count[who];
  int one = pick(seed, 1, count - 1), two = pick(seed, one + 1, count);
  sql(
    "UPDATE audit_events SET %s" AT ";UPDATE audit_events SET %s" AT, sets[n % COUNT_OF(sets)],
    INSTRUCTOR[who], one, sets[test_random(seed) % COUNT_OF(sets)], INSTRUCTOR[who], two
  );
  return shown(expected, who, BIT(HASH), one);
}

static int cut_off_tail(int n, uint64_t *seed, struct expected *expected) {
  int who = pick_who(seed), count = (int)base.count[who];
  int left = n % 2 ? pick(seed, 0, count - 1) : count - 1, first, conversation;
  sql("DELETE FROM audit_events" OF_WHO " AND seq > %d", INSTRUCTOR[who], left);
  /* The first conversation, in the order of their ids, whose last event is gone; but one that has
  ** no event left is looked for only at the end. */
  first = NOBODY;
  for (conversation = CONVERSATIONS - 1; conversation >= 0; conversation--)
    if (last_of(who, conversation, count) > left && last_of(who, conversation, left) > 0)
      first = conversation;
  if (first == NOBODY) return shown(expected, who, BIT(LINK), 0);
  return link_shown(expected, who, first, left);
}

/* ---- Mutations: links ---------------------------------------------------------------------- */

static int pick_linked(uint64_t *seed, int who) {
  int conversation = pick(seed, 0, CONVERSATIONS - 1);
  while (last_of(who, conversation, base.count[who]) == 0)
    conversation = (conversation + 1) % CONVERSATIONS;
  return conversation;
}

static int delete_link(int n, uint64_t *seed, struct expected *expected) {
  int who = pick_who(seed), conversation = pick_linked(seed, who);
  (void)n;
  sql(
    "DELETE FROM conversation_links WHERE conversation_id = %Q",
    conversation_name(who, conversation)
  );
  return link_shown(expected, who, conversation, base.count[who]);
}

/* All links of an instructor at once: the first of the conversations is named. */
static int delete_all_links(int n, uint64_t *seed, struct expected *expected) {
  int who = pick_who(seed), first = 0;
  (void)n;
  sql("DELETE FROM conversation_links" OF_WHO, INSTRUCTOR[who]);
  while (last_of(who, first, base.count[who]) == 0)
    first++;
  return link_shown(expected, who, first, base.count[who]);
}

static int add_link(int n, uint64_t *seed, struct expected *expected) {
  int who = pick(seed, A, D), seq = pick(seed, 1, 20);
  const char *name = n % 2 ? "talk-z" : "a talk";
  sql(
    "INSERT INTO conversation_links VALUES (%Q, %Q, %Q, %d, 1750000000000)", name,
    INSTRUCTOR[who], n % 3 ? base.customers[who][0] : NULL, seq
  );
  shown(expected, who, BIT(LINK), 0);
  strcpy(expected->subject, name);
  return 1;
}

/* Two links exchange what they say. */
static int swap_links(int n, uint64_t *seed, struct expected *expected) {
  int who = pick_who(seed), one = pick_linked(seed, who), two = pick_linked(seed, who);
  (void)n;
  if (one == two) return 0;
  sql(
    "CREATE TEMP TABLE pair AS SELECT * FROM conversation_links;"
    "UPDATE conversation_links SET (customer_id, audit_seq, updated_at) ="
    " (SELECT customer_id, audit_seq, updated_at FROM pair WHERE conversation_id = %Q)"
    " WHERE conversation_id = %Q",
    conversation_name(who, two), conversation_name(who, one)
  );
  sql(
    "UPDATE conversation_links SET (customer_id, audit_seq, updated_at) ="
    " (SELECT customer_id, audit_seq, updated_at FROM pair WHERE conversation_id = %Q)"
    " WHERE conversation_id = %Q",
    conversation_name(who, one), conversation_name(who, two)
  );
  return link_shown(expected, who, one < two ? one : two, base.count[who]);
}

/* A conversation that is given, with its link, to another instructor, who verifies. */
static int give_link(int n, uint64_t *seed, struct expected *expected) {
  int who = pick_who(seed), other = who == A ? B : A, conversation = pick_linked(seed, who);
  sql(
    "UPDATE conversation_links SET instructor_id = %Q, customer_id = %Q"
    " WHERE conversation_id = %Q",
    INSTRUCTOR[other], base.customers[other][0], conversation_name(who, conversation)
  );
  if (n % 2) {
    link_shown(expected, who, conversation, base.count[who]);
  } else {
    shown(expected, other, BIT(LINK), 0);
    strcpy(expected->subject, conversation_name(who, conversation));
  }
  expected->check = BIT(LINK); /* the two of them, in the order of their ids */
  return 1;
}

/* ---- Mutations: indexes and the store ------------------------------------------------------ */

/* An index that does not hold what its table holds, written as a table of its own. */
static int index_alone(int n, uint64_t *seed, struct expected *expected) {
  static const struct {
    const char *index, *columns, *set;
    unsigned verify, perhaps;
  } cases[] = {
    {"audit_events_conversation", "a, b, c, d, e, f", "f = f + 1", BIT(DATABASE) | BIT(LINK),
     0},
    {"audit_events_conversation", "a, b, c, d, e, f", "e = '" STORE_ID "'",
     BIT(DATABASE) | BIT(LINK) | BIT(PREVIOUS), 0},
    {"audit_events_conversation", "a, b, c, d, e, f", "c = c + 100",
     BIT(DATABASE) | BIT(LINK) | BIT(PREVIOUS), 0},
    {"audit_events_conversation", "a, b, c, d, e, f", NULL,
     BIT(DATABASE) | BIT(LINK) | BIT(PREVIOUS), 0},
    /* Asked only where links were not all walked over beside the events. */
    {"conversation_links_customer", "a, b, c", NULL, 0, BIT(DATABASE)},
    {"customers_identity", "a, b, c, d", NULL, 0, 0},
    {"customers_owner", "a, b", NULL, 0, 0},
    {"customers_identity", "a, b, c, d", "d = '" STORE_ID "'", 0, 0},
  };
  int which = n % COUNT_OF(cases), row;
  int root =
    (int)number("SELECT rootpage FROM sqlite_schema WHERE name = %Q", cases[which].index);
  sqlite3_test_control(SQLITE_TESTCTRL_IMPOSTER, db, "main", 1, root);
  sql(
    "CREATE TABLE imposter (%s, PRIMARY KEY (%s)) WITHOUT ROWID", cases[which].columns,
    cases[which].columns
  );
  sqlite3_test_control(SQLITE_TESTCTRL_IMPOSTER, db, "main", 0, 0);
  row = (int)(test_random(seed) % (uint64_t)number("SELECT count(*) FROM imposter"));
  expect_nothing(expected, A);
  if (cases[which].verify != 0) {
    row = (int)(test_random(seed) % (uint64_t)base.count[A]);
    shown(expected, A, cases[which].verify, ANYWHERE);
  } else
    expected->perhaps = cases[which].perhaps;
  expected->check = BIT(DATABASE);
  if (cases[which].set != NULL)
    return sql(
             "UPDATE imposter SET %s WHERE (%s) = (SELECT %s FROM imposter LIMIT 1 OFFSET %d)",
             cases[which].set, cases[which].columns, cases[which].columns, row
           ) == 1;
  return sql(
           "DELETE FROM imposter WHERE (%s) = (SELECT %s FROM imposter LIMIT 1 OFFSET %d)",
           cases[which].columns, cases[which].columns, row
         ) == 1;
}

/* A link written to its table alone, behind the back of the index by which an instructor's links
** are found. Whoever asks by the conversation meets it, as the events' conversations do; one that
** they do not know is left to the check of the whole store. */
static int link_behind_its_index(int n, uint64_t *seed, struct expected *expected) {
  int who = pick_who(seed), conversation = pick_linked(seed, who);
  const char *name = conversation_name(who, conversation);
  sql("CREATE TEMP TABLE saved AS SELECT rowid AS id, * FROM main.sqlite_schema;"
      "PRAGMA writable_schema = ON;"
      "DELETE FROM main.sqlite_schema WHERE name = 'conversation_links_customer';"
      "PRAGMA writable_schema = RESET");
  link_shown(expected, who, conversation, base.count[who]);
  if (n % 3 == 0) {
    sql("DELETE FROM conversation_links WHERE conversation_id = %Q", name);
  } else if (n % 3 == 1) {
    sql(
      "UPDATE conversation_links SET customer_id = %Q WHERE conversation_id = %Q",
      base.customers[(who + 1) % C][0], name
    );
  } else {
    sql(
      "INSERT INTO conversation_links VALUES ('talk-behind', %Q, %Q, 1, 1750000000000)",
      INSTRUCTOR[who], base.customers[who][0]
    );
    expect_nothing(expected, who);
    expected->perhaps = BIT(LINK) | BIT(DATABASE);
    expected->check = BIT(DATABASE);
  }
  tighten(0);
  return 1;
}

static int no_or_two_stores(int n, uint64_t *seed, struct expected *expected) {
  expect_nothing(expected, pick(seed, A, D));
  if (n % 2) {
    sql("INSERT INTO store VALUES (2, %Q, 1, 1)", TWIN_ID);
    expected->check = BIT(DATABASE) | BIT(STORE);
  } else {
    sql("DELETE FROM store");
    expected->open = CUSTMEM_CORRUPT;
  }
  return 1;
}

/* The schema and the marks of the file. */
static int mark_or_schema(int n, uint64_t *seed, struct expected *expected) {
  static const struct {
    const char *sql;
    int open;
  } cases[] = {
    {"PRAGMA application_id = 1668641646", CUSTMEM_OTHER_APPLICATION},
    {"PRAGMA application_id = 0", CUSTMEM_OTHER_APPLICATION},
    {"PRAGMA user_version = 2", CUSTMEM_NEWER},
    {"PRAGMA user_version = 0", CUSTMEM_SCHEMA},
    {"PRAGMA user_version = -1", CUSTMEM_NEWER},
    {"DROP TRIGGER audit_events_delete", CUSTMEM_SCHEMA},
    {"DROP INDEX customers_identity", CUSTMEM_SCHEMA},
    {"DROP TABLE conversation_links", CUSTMEM_SCHEMA},
    {"ALTER TABLE audit_events DROP COLUMN context", CUSTMEM_SCHEMA},
    {"ALTER TABLE customers RENAME TO people", CUSTMEM_SCHEMA},
    {"ALTER TABLE customers ADD COLUMN more TEXT", CUSTMEM_SCHEMA},
    {"CREATE VIEW v AS SELECT 1", CUSTMEM_SCHEMA},
    {"CREATE TRIGGER t AFTER INSERT ON customers BEGIN SELECT 1; END", CUSTMEM_SCHEMA},
  };
  int which = n % COUNT_OF(cases);
  (void)seed;
  /* No CHECK is to be in the way of ALTER. */
  sql(cases[which].sql);
  expect_nothing(expected, A);
  expected->open = cases[which].open;
  return 1;
}

/* ---- Mutations: customers ------------------------------------------------------------------ */

/* A second customer with a key that is there, behind the unique index. */
static int second_of_a_key(int n, uint64_t *seed, struct expected *expected) {
  int who = pick(seed, A, D);
  (void)n;
  loosen(0);
  sql(
    "INSERT INTO customers SELECT 'ffffffff-ffff-7fff-bfff-ffffffffffff', instructor_id,"
    " channel, normalized_identifier, NULL, 1, 1 FROM customers WHERE id = %Q",
    base.customers[who][pick(seed, 0, CUSTOMERS - 1)]
  );
  tighten(0);
  expect_nothing(expected, who);
  expected->check = BIT(DATABASE);
  return 1;
}

static int delete_customer(int n, uint64_t *seed, struct expected *expected) {
  int who = pick(seed, A, D);
  const char *id = base.customers[who][pick(seed, 0, CUSTOMERS - 1)];
  (void)n;
  expect_nothing(expected, who);
  expected->hidden = CUSTOMER_DELETED;
  if (number("SELECT count(*) FROM conversation_links WHERE customer_id = %Q", id) > 0)
    expected->check = BIT(LINK);
  sql("DELETE FROM customers WHERE id = %Q", id);
  return 1;
}

/* A customer whom nobody made, and whom nothing tells from one that was made. */
static int invent_customer(int n, uint64_t *seed, struct expected *expected) {
  int who = pick(seed, A, D);
  sql(
    "INSERT INTO customers VALUES ('0197a3b2-0000-7000-8000-%012d', %Q, 'whatsapp',"
    " '49151%07d', NULL, 1750000000000, 1750000000000)",
    n, INSTRUCTOR[who], n
  );
  expect_nothing(expected, who);
  expected->hidden = CUSTOMER_ADDED;
  return 1;
}

/* Two of an instructor's customers exchange their keys: each conversation is now linked to the
** other person. */
static int swap_keys(int n, uint64_t *seed, struct expected *expected) {
  int who = pick(seed, A, D);
  (void)n;
  sql(
    "CREATE TEMP TABLE pair AS SELECT * FROM customers;"
    "UPDATE customers SET normalized_identifier = '3933300000000' WHERE id = %Q;"
    "UPDATE customers SET normalized_identifier = (SELECT normalized_identifier FROM pair"
    " WHERE id = %Q) WHERE id = %Q",
    base.customers[who][0], base.customers[who][0], base.customers[who][1]
  );
  sql(
    "UPDATE customers SET normalized_identifier = (SELECT normalized_identifier FROM pair"
    " WHERE id = %Q) WHERE id = %Q",
    base.customers[who][1], base.customers[who][0]
  );
  expect_nothing(expected, who);
  expected->hidden = KEY_CHANGED;
  return 1;
}

/* ---- Mutations: what an anchor alone shows ------------------------------------------------- */

/* Makes the links what the events say. */
static void fold_links(int who) {
#define LAST(column)                                                                           \
  "(SELECT " column " FROM audit_events AS e"                                                  \
  " WHERE e.instructor_id = conversation_links.instructor_id"                                  \
  " AND e.conversation_id = conversation_links.conversation_id ORDER BY e.seq DESC LIMIT 1)"
  sql("DELETE FROM conversation_links" OF_WHO " AND NOT EXISTS " LAST("1"), INSTRUCTOR[who]);
  sql(
    "UPDATE conversation_links SET customer_id = " LAST("new_customer_id"
    ) ", updated_at = " LAST("created_at") ", audit_seq = " LAST("seq") OF_WHO,
    INSTRUCTOR[who]
  );
}

/* Makes the hashes anew from an event on, by the documented encoding. */
static void rehash(int who, int from, int to) {
  sqlite3_stmt *select = NULL, *update = NULL;
  unsigned char hash[32];
  hash_of_none(STORE_ID, INSTRUCTOR[who], hash);
  CHECK_INT(
    sqlite3_prepare_v2(
      db, "SELECT * FROM audit_events WHERE instructor_id = ?1 ORDER BY seq", -1, &select, NULL
    ),
    SQLITE_OK
  );
  CHECK_INT(
    sqlite3_prepare_v2(
      db, "UPDATE audit_events SET hash = ?3 WHERE instructor_id = ?1 AND seq = ?2", -1,
      &update, NULL
    ),
    SQLITE_OK
  );
  sqlite3_bind_text(select, 1, INSTRUCTOR[who], -1, SQLITE_STATIC);
  sqlite3_bind_text(update, 1, INSTRUCTOR[who], -1, SQLITE_STATIC);
  while (sqlite3_step(select) == SQLITE_ROW) {
    int seq = sqlite3_column_int(select, 1);
    const void *stored = sqlite3_column_blob(select, 11);
    if (seq < from) {
      memcpy(hash, stored, sizeof hash);
      continue;
    }
    hash_event(select, hash);
    if (seq > to) break;
    sqlite3_bind_int(update, 2, seq);
    sqlite3_bind_blob(update, 3, hash, (int)sizeof hash, SQLITE_STATIC);
    CHECK_INT(sqlite3_step(update), SQLITE_DONE);
    sqlite3_reset(update);
  }
  sqlite3_finalize(select);
  sqlite3_finalize(update);
}

static int cut_off_with_links(int n, uint64_t *seed, struct expected *expected) {
  int who = pick_who(seed), left = pick(seed, 0, base.count[who] - 1);
  (void)n;
  sql("DELETE FROM audit_events" OF_WHO " AND seq > %d", INSTRUCTOR[who], left);
  fold_links(who);
  return only_anchor(expected, who, left, left);
}

/* The whole file as it once was. */
static int put_back_older(int n, uint64_t *seed, struct expected *expected) {
  int step = n % STEPS, who = TURNS[step] - 'a';
  int64_t left = base.count_after[step][who];
  (void)seed;
  CHECK_INT(sqlite3_close(db), SQLITE_OK);
  put_image(&base.after[step]);
  db = intruder(base.path);
  return only_anchor(expected, who, left, left);
}

/* An older copy that then went its own way, by the rules. */
static int another_turn(int n, uint64_t *seed, struct expected *expected) {
  int step = n % (STEPS - 2), who = TURNS[step] - 'a';
  int64_t left = base.count_after[step][who];
  int saved[INSTRUCTORS][EVENTS];
  struct story story = new_story(*seed);
  custmem_head head;
  custmem *store;
  int i;
  CHECK_INT(sqlite3_close(db), SQLITE_OK);
  put_image(&base.after[step]);
  db = intruder(base.path);
  memcpy(saved, base.events, sizeof saved);
  for (i = 0; i < CONVERSATIONS; i++) {
    int j;
    for (j = 0; j < CUSTOMERS; j++)
      if (number("SELECT count(*) FROM conversation_links WHERE conversation_id = %Q AND"
                 " customer_id = %Q", conversation_name(who, i), base.customers[who][j]) == 1)
        story.linked[who][i] = j;
  }
  store = test_store(base.path);
  for (i = pick(seed, 1, 4); i > 0; i--) {
    custmem_written written;
    CHECK_INT(act(store, who, &story, &written), CUSTMEM_OK);
  }
  CHECK_INT(custmem_audit_head(store, INSTRUCTOR[who], &head), CUSTMEM_OK);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  memcpy(base.events, saved, sizeof saved);
  return only_anchor(expected, who, left, head.count);
}

/* An event changed to another that could have been written, and all hashes from it on made anew. */
static int forge_and_rehash(int n, uint64_t *seed, struct expected *expected) {
  static const char *const sets[] = {
    "reason = 'forged'",          "context = iif(context IS NULL, 'forged', NULL)",
    "actor_id = 'somebody-else'", "created_at = created_at + 1",
    "actor_type = 'system'",      "actor_type = 'system', actor_id = NULL"};
  int who = pick_who(seed), seq = pick(seed, 1, base.count[who]);
  CHECK_INT(
    sql("UPDATE audit_events SET %s" AT, sets[n % COUNT_OF(sets)], INSTRUCTOR[who], seq), 1
  );
  fold_links(who);
  rehash(who, seq, EVENTS);
  return only_anchor(expected, who, seq - 1, base.count[who]);
}

/* The same for the event alone: the one after it does not follow. */
static int rehash_one(int n, uint64_t *seed, struct expected *expected) {
  int who = pick_who(seed), seq = pick(seed, 1, base.count[who] - 1);
  (void)n;
  sql("UPDATE audit_events SET reason = 'forged'" AT, INSTRUCTOR[who], seq);
  rehash(who, seq, seq);
  return shown(expected, who, BIT(HASH), seq + 1);
}

/* An event that no write makes, under hashes that are right. */
static int impossible_and_rehash(int n, uint64_t *seed, struct expected *expected) {
  static const char *const sets[] = {
    "reason = ''",
    "reason = char(7)",
    "actor_id = NULL",
    "created_at = -1",
    "created_at = 1 << 48",
    "context = CAST(x'c328' AS TEXT)",
    "context = ''",
    "event_name = 'conversation.customer_merged'",
    "conversation_id = char(10)",
    "actor_type = 'robot'",
    "previous_customer_id = NULL, new_customer_id = NULL"};
  int who = pick_who(seed), seq = pick(seed, 1, base.count[who]);
  CHECK_INT(
    sql("UPDATE audit_events SET %s" AT, sets[n % COUNT_OF(sets)], INSTRUCTOR[who], seq), 1
  );
  rehash(who, seq, EVENTS);
  return shown(expected, who, BIT(FIELD), seq);
}

/* Another customer before than the one before: every event by itself is sound. */
static int previous_and_rehash(int n, uint64_t *seed, struct expected *expected) {
  int who = pick_who(seed), seq = pick(seed, 1, base.count[who]), i;
  (void)n;
  for (i = 0; i < CUSTOMERS; i++)
    if (sql("UPDATE audit_events SET previous_customer_id = %Q, event_name ="
            " iif(new_customer_id IS NULL, 'conversation.customer_unlinked',"
            " 'conversation.customer_relinked')" AT
            " AND previous_customer_id IS NOT %Q AND new_customer_id IS NOT %Q",
            base.customers[who][i], INSTRUCTOR[who], seq, base.customers[who][i],
            base.customers[who][i]) == 1)
      break;
  if (i == CUSTOMERS) return 0;
  rehash(who, seq, EVENTS);
  return shown(expected, who, BIT(PREVIOUS), seq);
}

/* A conversation's last event taken out, all behind it renumbered, and the hashes made anew. */
static int take_out_and_rehash(int n, uint64_t *seed, struct expected *expected) {
  int who = pick_who(seed), conversation = pick_linked(seed, who);
  int seq = (int)last_of(who, conversation, base.count[who]);
  (void)n;
  sql("DELETE FROM audit_events" AT, INSTRUCTOR[who], seq);
  shift(who, seq, -1);
  fold_links(who);
  rehash(who, seq, EVENTS);
  return only_anchor(expected, who, seq - 1, base.count[who] - 1);
}

/* ---- The campaign -------------------------------------------------------------------------- */

/* full, share: how many of each. */
static struct attack {
  const char *name;
  int (*mutate)(int n, uint64_t *seed, struct expected *expected);
  int full, share;
  int is_each; /* the full size is every cell, every change of it */
  int done;
  int by[WAYS];
} ATTACKS[] = {
  {"event: a field", field_of_event, 36 * 12 * CHANGES, 150, 1, 0, {0}},
  {"link: a field", field_of_link, 13 * 5 * CHANGES, 60, 1, 0, {0}},
  {"customer: a field", field_of_customer, 12 * 7 * CHANGES, 80, 1, 0, {0}},
  {"store: a field", field_of_store, 4 * CHANGES, 48, 1, 0, {0}},
  {"events: deleted", delete_events, 250, 6, 0, 0, {0}},
  {"events: deleted, renumbered", delete_and_renumber, 150, 4, 0, 0, {0}},
  {"events: swapped", swap_events, 300, 6, 0, 0, {0}},
  {"events: repeated", repeat_event, 250, 6, 0, 0, {0}},
  {"events: a gap", open_gap, 150, 4, 0, 0, {0}},
  {"events: a seq twice", stand_twice, 150, 4, 0, 0, {0}},
  {"events: invented", invent_event, 100, 2, 0, 0, {0}},
  {"events: another store's", from_another_store, 250, 6, 0, 0, {0}},
  {"events: all another store's", all_of_another_store, 30, 2, 0, 0, {0}},
  {"events: another instructor's", from_another_instructor, 250, 6, 0, 0, {0}},
  {"events: all another's", chain_of_another_instructor, 60, 3, 0, 0, {0}},
  {"events: two changed", change_two, 300, 6, 0, 0, {0}},
  {"events: tail cut off", cut_off_tail, 200, 6, 0, 0, {0}},
  {"link: deleted", delete_link, 100, 3, 0, 0, {0}},
  {"link: all deleted", delete_all_links, 10, 2, 0, 0, {0}},
  {"link: added", add_link, 100, 4, 0, 0, {0}},
  {"link: two swapped", swap_links, 150, 4, 0, 0, {0}},
  {"link: to another instructor", give_link, 100, 4, 0, 0, {0}},
  {"index alone", index_alone, 200, 8, 0, 0, {0}},
  {"link: behind its index", link_behind_its_index, 100, 6, 0, 0, {0}},
  {"store: no row, two rows", no_or_two_stores, 10, 2, 0, 0, {0}},
  {"schema, marks", mark_or_schema, 39, 13, 0, 0, {0}},
  {"customer: a second of a key", second_of_a_key, 60, 3, 0, 0, {0}},
  {"event: re-hashed alone", rehash_one, 150, 4, 0, 0, {0}},
  {"event: impossible, re-hashed", impossible_and_rehash, 250, 11, 0, 0, {0}},
  {"event: previous, re-hashed", previous_and_rehash, 150, 4, 0, 0, {0}},
  {"customer: deleted", delete_customer, 60, 4, 0, 0, {0}},
  {"customer: invented", invent_customer, 40, 2, 0, 0, {0}},
  {"customer: two keys swapped", swap_keys, 40, 2, 0, 0, {0}},
  {"events: tail cut off, links", cut_off_with_links, 250, 6, 0, 0, {0}},
  {"file: an older copy", put_back_older, 2 * STEPS, 6, 0, 0, {0}},
  {"file: took another turn", another_turn, 150, 5, 0, 0, {0}},
  {"event: forged, re-hashed", forge_and_rehash, 500, 12, 0, 0, {0}},
  {"event: out, re-hashed", take_out_and_rehash, 150, 4, 0, 0, {0}},
};

static void mutate_once(struct attack *attack, int n) {
  uint64_t seed = test_seed() + (uint64_t)(attack - ATTACKS) * UINT64_C(1000003) + (uint64_t)n;
  char attach[600];
  struct expected expected;
  int changed, by;
  put_image(&base.after[STEPS]);
  db = intruder(base.path);
  snprintf(attach, sizeof attach, "ATTACH '%s' AS twin", test_path("twin.db"));
  CHECK_INT(test_sql(db, attach), SQLITE_OK);
  test_random(&seed);
  changed = attack->mutate(n, &seed, &expected);
  CHECK_INT(sqlite3_close(db), SQLITE_OK);
  db = NULL;
  if (!changed) return;
  attack->done++;
  by = ask(&expected);
  if (by == WAYS)
    printf("  (%s, number %d, seed %" PRIu64 ")\n", attack->name, n, test_seed());
  else
    attack->by[by]++;
}

/* Of the classes that go through all cells, a share takes cells far apart. */
static void mutate_all_of(struct attack *attack) {
  uint64_t seed = test_seed() ^ (uint64_t)(attack - ATTACKS);
  int size = test_is_full() ? attack->full : attack->share, i;
  for (i = 0; i < size; i++)
    mutate_once(
      attack, !test_is_full() && attack->is_each
                ? (int)(test_random(&seed) % (uint64_t)attack->full)
                : i
    );
}

static void print_table(void) {
  int total[WAYS] = {0}, done = 0, i, j;
  for (i = 1; i < HIDDEN_KINDS; i++)
    printf("  shown by nothing: %6d %s\n", HIDDEN[i].done, HIDDEN[i].what);
  printf(
    "  %-30s %6s %6s %7s %6s %7s %8s\n", "tampering", "done", "open", "verify", "check",
    "anchor", "nothing"
  );
  for (i = 0; i < COUNT_OF(ATTACKS); i++) {
    const struct attack *attack = &ATTACKS[i];
    printf(
      "  %-30s %6d %6d %7d %6d %7d %8d\n", attack->name, attack->done, attack->by[BY_OPEN],
      attack->by[BY_VERIFY], attack->by[BY_CHECK], attack->by[BY_ANCHOR], attack->by[BY_NOTHING]
    );
    done += attack->done;
    for (j = 0; j < WAYS; j++)
      total[j] += attack->by[j];
  }
  printf(
    "  tampering: %d mutations, seed %" PRIu64 ": %d shown by opening, %d by verify at their"
    " place, %d by check, %d by an anchor alone, %d by nothing\n",
    done, test_seed(), total[BY_OPEN], total[BY_VERIFY], total[BY_CHECK], total[BY_ANCHOR],
    total[BY_NOTHING]
  );
}

/* Left alone, or opened up and closed again, nothing is found; and the second encoding, written from
** the header, makes the hashes that are there. What the rest stands on. */
TEST(an_untouched_store_is_sound_and_the_forger_knows_its_hashes) {
  struct expected expected;
  int who, round;
  for (round = 0; round < 4; round++) {
    put_image(&base.after[STEPS]);
    db = intruder(base.path);
    if (round == 1) loosen(0), tighten(0);
    if (round == 2) loosen(1), tighten(1);
    if (round == 3)
      for (who = A; who <= C; who++) {
        sql("UPDATE audit_events SET hash = zeroblob(32)" OF_WHO, INSTRUCTOR[who]);
        rehash(who, 1, EVENTS);
        fold_links(who);
      }
    sqlite3_close(db);
    for (who = 0; who < INSTRUCTORS; who++) {
      expect_nothing(&expected, who);
      CHECK_INT(ask(&expected), BY_NOTHING);
    }
    HIDDEN[IN_SIGHT].done = 0;
  }
  CHECK_INT(base.count[A], 24);
  CHECK_INT(base.count[B], 11);
  CHECK_INT(base.count[C], 1);
}

TEST(what_is_tampered_with_is_shown_where_it_is_or_is_listed_as_not_to_be_shown) {
  int i, done = 0;
  CHECK(test_file_write(test_path("twin.db"), base.twin.bytes, base.twin.size));
  for (i = 0; i < COUNT_OF(ATTACKS); i++) {
    mutate_all_of(&ATTACKS[i]);
    CHECK(ATTACKS[i].done > 0);
    done += ATTACKS[i].done;
  }
  /* What is hidden without a name would be news. */
  CHECK_INT(HIDDEN[IN_SIGHT].done, 0);
  if (test_is_full()) CHECK(done >= 10000);
  print_table();
}

int main(int argc, char **argv) {
  int i;
  test_init(argc, argv);
  vfs_shim_install();
  if (argc < 2 || strcmp(argv[1], "--list") != 0) make_base();
  RUN(an_untouched_store_is_sound_and_the_forger_knows_its_hashes, "CM-2.5; D-7");
  RUN(
    what_is_tampered_with_is_shown_where_it_is_or_is_listed_as_not_to_be_shown,
    "CM-2.3 §8; CM-2.5; T5; D-7; D-8"
  );
  for (i = 0; i <= STEPS; i++)
    free(base.after[i].bytes);
  free(base.twin.bytes);
  return test_report();
}
