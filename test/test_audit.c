/* SPDX-License-Identifier: MIT
**
** The audit trail: what is recorded, how it is read, and what its chain shows of an altered file.
**
** The hashes below were computed from the encoding that custmem.h documents by verify_trail.py, not
** by the library; test_trail.sh computes them again and looks for them here. The store's id, the
** customers' ids and the times of these chains are therefore set by hand.
**
** What a chain alone cannot show, and these tests say so: a tail that was cut off together with its
** links, a file put back to an older state, and events made anew with their hashes. Each is shown
** by an anchor kept outside the file.
*/
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))
#define PATH_SIZE       512
#define NOON            INT64_C(1750000000000)

#define STORE_ID       "0197a3b2-c4d5-7e6f-8a9b-0c1d2e3f4a5b"
#define OTHER_STORE_ID "0197a3b2-c4d5-7e6f-8a9b-0c1d2e3f4a5c"

/* Texts at their limits. */
#define X5(text)   text text text text text
#define SMILE      "\xf0\x9f\x98\x80"
#define LONG_NAME  "istruttrice-" X5(SMILE) X5(SMILE) SMILE SMILE SMILE
#define LONG_ACTOR X5("hhhhhhhhhhhh") "hhhh"
#define X500       X5(X5(X5("xxxx")))
#define Y2000      X5(X5(X5(X5("yyy") "y")))

enum { A, B, LONG, INSTRUCTORS };
static const char *const INSTRUCTOR[] = {"instructor-a", "instructor-b", LONG_NAME};
static const char *const ACTOR[] = {"user-7", "user-8", LONG_ACTOR};

/* One write: customers are 'A', 'B', 'C', or 0 for none. */
struct step {
  int who;
  char from;
  char to;
  const char *conversation;
  const char *reason;
  const char *context;
  int64_t at_ms;
  const char *hash; /* of the frozen chain */
};

/* NULL, empty and longest fields, quotes, and a clock that goes to both its ends and back. */
static const struct step FROZEN[] = {
  {A, 0, 'A', "conversation-1", "She told me on the phone", NULL, NOON,
   "f1fc1f559aac4de26f7a6ff091c012ecf9be8ae83180dc9cda2a1e1004548f4b"},
  {A, 0, 'B',
   "conversazione \xc2\xab"
   "due\xc2\xbb",
   "r", "a tab\there, a break\nthere", 0,
   "82bde42f1fb06cf70a0d86335b7dd1a4a8c84574fe3ff5e87c130454da3063b9"},
  {LONG, 0, 'A', "c", "na\xc3\xafve \xe4\xbd\xa0\xe5\xa5\xbd \xf0\x9f\x99\x82", NULL, 1,
   "e2824cae4c1331f808ef2a33eb7c9c2eac71487a635de4381853267c9dfc6d72"},
  {A, 'A', 'B', "conversation-1", X500, Y2000, INT64_C(281474976710655),
   "8ceed8f856bfa74c1cebe05cc1f92e5148d4b03239e686ef759122d914167f89"},
  {A, 'B', 0, "conversation-1", "'; DROP TABLE audit_events; --\" \\", NULL, NOON - 1,
   "cab29b67dcbb39db9e4556685280b130f970b228d580e9c3a4b282e05904d4a4"},
  {A, 0, 'A', "conversation-1", "again", "?", NOON - 1,
   "802d8a89639ed57eeaf48fdd0e466638063538135f127fb53b6f8be6f8bd8f98"},
};

/* Twelve events of instructor A over four conversations, with five of B's between them. */
static const struct step CHAIN[] = {
  {A, 0, 'A', "conversation-1", "one", NULL, NOON + 1, NULL},
  {A, 0, 'B', "conversation-2", "two", "seen at noon", NOON + 2, NULL},
  {B, 0, 'A', "conversation-5", "one", NULL, NOON + 3, NULL},
  {A, 'A', 'B', "conversation-1", "three", NULL, NOON + 4, NULL},
  {A, 0, 'C', "conversation-3", "four", NULL, NOON + 5, NULL},
  {B, 0, 'B', "conversation-6", "two", NULL, NOON + 6, NULL},
  {B, 'A', 'C', "conversation-5", "three", NULL, NOON + 7, NULL},
  {A, 'B', 0, "conversation-2", "five", NULL, NOON + 8, NULL},
  {A, 0, 'C', "conversation-2", "six", NULL, NOON + 9, NULL},
  {A, 'C', 'A', "conversation-3", "seven", "a second number", NOON + 10, NULL},
  {A, 0, 'A', "conversation-4", "eight", NULL, NOON + 11, NULL},
  {B, 'B', 0, "conversation-6", "four", NULL, NOON + 12, NULL},
  {A, 'A', 0, "conversation-4", "nine", NULL, NOON + 13, NULL},
  {A, 'B', 'C', "conversation-1", "ten", NULL, NOON + 14, NULL},
  {A, 'A', 0, "conversation-3", "eleven", NULL, NOON + 15, NULL},
  {B, 0, 'A', "conversation-6", "five", NULL, NOON + 16, NULL},
  {A, 0, 'B', "conversation-3", "twelve", NULL, NOON + 17, NULL},
};
enum { EVENTS_A = 12, LINKS_A = 4, EVENTS_B = 5, LINKS_B = 2 };

/* ---- Making stores and chains -------------------------------------------------------------- */

static int64_t clock_ms;

/* The id of an instructor's customer, "" for none. Valid until the eighth call after it. */
static const char *customer_id(int who, char letter) {
  static char ids[8][CUSTMEM_UUID_SIZE + 1];
  static unsigned next;
  char *id = ids[next++ % 8];
  if (letter == 0) return "";
  snprintf(id, sizeof ids[0], "0197a3b2-000%d-7000-8000-00000000000%c", who, letter | 0x20);
  return id;
}

/* A plain connection that fires no trigger and heeds no CHECK: one of the ways in which who can
** write the file can write anything, without a trace in the schema. */
static sqlite3 *intruder(const char *path) {
  sqlite3 *db = test_plain(path);
  CHECK_INT(sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, (int *)NULL), SQLITE_OK);
  CHECK_INT(
    test_sql(db, "PRAGMA ignore_check_constraints=ON; PRAGMA synchronous=OFF"), SQLITE_OK
  );
  return db;
}

/* Runs each statement of `sql` with n for its parameter. Gives the number of rows changed. */
static int run(sqlite3 *db, const char *sql, int n) {
  int before = sqlite3_total_changes(db);
  int rc = SQLITE_OK;
  while (rc == SQLITE_OK && *sql != '\0') {
    sqlite3_stmt *stmt = NULL;
    rc = sqlite3_prepare_v2(db, sql, -1, &stmt, &sql);
    if (rc == SQLITE_OK && sqlite3_bind_parameter_count(stmt) > 0)
      rc = sqlite3_bind_int(stmt, 1, n);
    if (rc == SQLITE_OK && stmt != NULL) {
      while (sqlite3_step(stmt) == SQLITE_ROW) {
      }
    }
    if (rc == SQLITE_OK) rc = sqlite3_finalize(stmt);
  }
  if (rc != SQLITE_OK) printf("%s\n", sqlite3_errmsg(db));
  CHECK_INT(rc, SQLITE_OK);
  return sqlite3_total_changes(db) - before;
}

static int intrude(const char *path, const char *sql) {
  sqlite3 *db = intruder(path);
  int changed = run(db, sql, 0);
  CHECK_INT(sqlite3_close(db), SQLITE_OK);
  return changed;
}

/* A store with a known id, and customers A, B and C of each instructor with known ids. */
static void make_store(char path[PATH_SIZE], const char *name, const char *store_id) {
  char sql[PATH_SIZE];
  int who, letter;
  sqlite3 *db;
  snprintf(path, PATH_SIZE, "%s", test_path(name));
  remove(path);
  clock_ms = NOON;
  custmem_close(test_store_at(path, &clock_ms));
  db = intruder(path);
  snprintf(sql, sizeof sql, "UPDATE store SET id = '%s'", store_id);
  CHECK_INT(run(db, sql, 0), 1);
  for (who = 0; who < INSTRUCTORS; who++)
    for (letter = 'A'; letter <= 'C'; letter++) {
      snprintf(
        sql, sizeof sql,
        "INSERT INTO customers VALUES ('%s','%s','whatsapp','39%d%d',NULL,0,0)",
        customer_id(who, (char)letter), INSTRUCTOR[who], who, 12345600 + letter
      );
      CHECK_INT(run(db, sql, 0), 1);
    }
  CHECK_INT(sqlite3_close(db), SQLITE_OK);
}

static int act(custmem *store, const struct step *step, custmem_written *written) {
  custmem_actor actor = {CUSTMEM_ACTOR_HUMAN, ACTOR[step->who], INSTRUCTOR[step->who]};
  const char *from = customer_id(step->who, step->from);
  const char *to = customer_id(step->who, step->to);
  memset(written, 0xAA, sizeof *written);
  clock_ms = step->at_ms;
  if (step->from == 0)
    return custmem_link(
      store, &actor, step->conversation, to, step->reason, -1, step->context, -1, written
    );
  if (step->to == 0)
    return custmem_unlink(
      store, &actor, step->conversation, from, step->reason, -1, step->context, -1, written
    );
  return custmem_relink(
    store, &actor, step->conversation, from, to, step->reason, -1, step->context, -1, written
  );
}

/* Does the steps from..to-1 and keeps each head by instructor and seq, the empty chain's too. */
struct heads {
  custmem_head of[INSTRUCTORS][32];
  int64_t count[INSTRUCTORS];
};

static void act_all(
  custmem *store,
  const struct step *steps,
  int from,
  int to,
  struct heads *heads
) {
  custmem_written written;
  int i;
  for (i = 0; i < INSTRUCTORS; i++)
    if (heads->count[i] == 0) custmem_audit_head(store, INSTRUCTOR[i], &heads->of[i][0]);
  for (i = from; i < to; i++) {
    int who = steps[i].who;
    CHECK_INT(act(store, &steps[i], &written), CUSTMEM_OK);
    heads->of[who][++heads->count[who]] = written.head;
  }
}

/* Makes a store with the chain of twelve. */
static void make_chain(
  char path[PATH_SIZE],
  const char *name,
  const char *store_id,
  struct heads *heads
) {
  custmem *store;
  make_store(path, name, store_id);
  store = test_store_at(path, &clock_ms);
  memset(heads, 0, sizeof *heads);
  act_all(store, CHAIN, 0, COUNT_OF(CHAIN), heads);
  custmem_close(store);
}

static int verify(custmem *store, int who, const custmem_head *anchor, custmem_report *report) {
  memset(report, 0xAA, sizeof *report);
  return custmem_audit_verify(store, INSTRUCTOR[who], anchor, report);
}

/* The same on a handle of its own, so that opening accepts the file as well. */
static int verify_file(
  const char *path,
  int who,
  const custmem_head *anchor,
  custmem_report *report
) {
  custmem *store = test_store_at(path, &clock_ms);
  int rc = verify(store, who, anchor, report);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  return rc;
}

static int check_file(const char *path, custmem_report *report) {
  custmem *store = test_store_at(path, &clock_ms);
  int rc;
  memset(report, 0xAA, sizeof *report);
  rc = custmem_check(store, report);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  return rc;
}

/* ---- Events are what was written ----------------------------------------------------------- */

static const char *name_of(const struct step *step) {
  if (step->from == 0) return "conversation.customer_linked";
  return step->to == 0 ? "conversation.customer_unlinked" : "conversation.customer_relinked";
}

static void check_event(const custmem_event *event, const struct step *step, int64_t seq) {
  CHECK_TEXT(event->instructor_id, INSTRUCTOR[step->who]);
  CHECK_INT(event->seq, seq);
  CHECK_TEXT(event->event_name, name_of(step));
  CHECK_TEXT(event->conversation_id, step->conversation);
  CHECK_TEXT(event->previous_customer_id, customer_id(step->who, step->from));
  CHECK_TEXT(event->new_customer_id, customer_id(step->who, step->to));
  CHECK_INT(event->actor_type, CUSTMEM_ACTOR_HUMAN);
  CHECK_TEXT(event->actor_id, ACTOR[step->who]);
  CHECK_TEXT(event->reason, step->reason);
  CHECK_TEXT(event->context, step->context != NULL ? step->context : "");
  CHECK_INT(event->created_at_ms, step->at_ms);
}

TEST(the_frozen_chain_has_the_documented_hashes) {
  char path[PATH_SIZE];
  custmem *store;
  custmem_written written;
  custmem_event event;
  custmem_head head;
  custmem_report report;
  int32_t count;
  int64_t seq[INSTRUCTORS] = {0, 0, 0};
  int i;
  make_store(path, "frozen.db", STORE_ID);
  store = test_store_at(path, &clock_ms);
  for (i = 0; i < COUNT_OF(FROZEN); i++) {
    const struct step *step = &FROZEN[i];
    CHECK_INT(act(store, step, &written), CUSTMEM_OK);
    seq[step->who]++;
    CHECK_TEXT(written.current_customer_id, customer_id(step->who, step->to));
    CHECK_INT(written.seq, seq[step->who]);
    CHECK_INT(written.created_at_ms, step->at_ms);
    CHECK_INT(written.head.count, seq[step->who]);
    CHECK_TEXT(written.head.hash, step->hash);
    memset(&event, 0xAA, sizeof event);
    CHECK_INT(
      custmem_audit_read(store, INSTRUCTOR[step->who], written.seq - 1, &event, 1, &count),
      CUSTMEM_OK
    );
    CHECK_INT(count, 1);
    check_event(&event, step, seq[step->who]);
    CHECK_TEXT(event.hash, step->hash);
    CHECK_INT(custmem_audit_head(store, INSTRUCTOR[step->who], &head), CUSTMEM_OK);
    CHECK_INT(head.count, seq[step->who]);
    CHECK_TEXT(head.hash, step->hash);
    CHECK_INT(verify(store, step->who, &written.head, &report), CUSTMEM_OK);
    CHECK_INT(report.events, seq[step->who]);
  }
  custmem_close(store);
}

TEST(what_is_not_there_is_null_in_the_file) {
  char path[PATH_SIZE];
  custmem *store;
  struct heads heads;
  sqlite3 *db;
  make_store(path, "null.db", STORE_ID);
  store = test_store_at(path, &clock_ms);
  memset(&heads, 0, sizeof heads);
  act_all(store, FROZEN, 0, COUNT_OF(FROZEN), &heads);
  db = test_plain(path);
  CHECK_TEXT(
    test_sql_text(
      db, "SELECT group_concat(instructor_id || seq || ' ' || (previous_customer_id IS NULL)"
          " || (new_customer_id IS NULL) || (actor_id IS NULL) || (context IS NULL), ',')"
          " FROM (SELECT * FROM audit_events WHERE instructor_id = 'instructor-a' ORDER BY seq)"
    ),
    "instructor-a1 1001,instructor-a2 1000,instructor-a3 0000,instructor-a4 0101,"
    "instructor-a5 1000"
  );
  CHECK_TEXT(
    test_sql_text(
      db, "SELECT group_concat(typeof(seq) || typeof(reason) || typeof(created_at) ||"
          " typeof(hash) || length(hash) || actor_type, ',') FROM audit_events"
          " WHERE instructor_id = 'instructor-a' AND seq = 3"
    ),
    "integertextintegerblob32human"
  );
  CHECK_INT(sqlite3_close(db), SQLITE_OK);
  custmem_close(store);
}

TEST(an_empty_chain_is_bound_to_the_store_and_the_instructor) {
  static const struct {
    const char *store_id;
    const char *hash[INSTRUCTORS];
  } cases[] = {
    {STORE_ID,
     {"97901630597f13bcde2755d2e71ceaea776bec26072036f47bd4bb93c3e5d26b",
      "7885a700c36693f5011be2a6f4571a4825def7e5979365b7a1d6b2db96c8f5f3",
      "e665722f17c3093ea87ecfc07762a87c77d0d5f7fa4258ccb5d457983f93b57a"}},
    {OTHER_STORE_ID,
     {"31e36ba1008c462015b960104ebae0d7113703bf11689184e767f62d9344f5f8",
      "163f315fd882b690382878ec19fb76eb9c10e8f4817361ad239e9eb768177b99",
      "bfc991cc361890cb6a141ebabff46eb55a76bdf0e299275e2c5fc0e3a3a92ece"}},
  };
  int i, who;
  for (i = 0; i < COUNT_OF(cases); i++) {
    char path[PATH_SIZE];
    custmem *store;
    make_store(path, i == 0 ? "empty-1.db" : "empty-2.db", cases[i].store_id);
    store = test_store_at(path, &clock_ms);
    for (who = 0; who < INSTRUCTORS; who++) {
      custmem_head head;
      custmem_report report;
      memset(&head, 0xAA, sizeof head);
      CHECK_INT(custmem_audit_head(store, INSTRUCTOR[who], &head), CUSTMEM_OK);
      CHECK_INT(head.count, 0);
      CHECK_TEXT(head.hash, cases[i].hash[who]);
      CHECK_INT(verify(store, who, &head, &report), CUSTMEM_OK);
      CHECK_INT(report.events, 0);
      CHECK_INT(report.links, 0);
      CHECK_TEXT(report.head.hash, cases[i].hash[who]);
    }
    custmem_close(store);
  }
}

/* Numbers of more than one byte: an encoding that cuts them would agree on all shorter chains. */
TEST(three_hundred_events_have_the_documented_hashes) {
  static const struct {
    int64_t seq;
    const char *hash;
  } known[] = {
    {255, "4d2a5e3850d042b529801d0955e3d8d877418782967c49c0f4f8dc09960afb3f"},
    {256, "459f54b737d186f19be78ad20b8724bd30441b544f3e67383c9a9cbbe78ae0f8"},
    {300, "e968e32d484d461bdb2366292e7f01bbe31878b87319dfa552c768eb1bb61fed"}};
  char path[PATH_SIZE];
  custmem *store;
  custmem_written written;
  custmem_report report;
  struct step step = {B, 0, 'A', "many", "n", NULL, NOON, NULL};
  int64_t seq;
  int met = 0;
  make_store(path, "many.db", STORE_ID);
  store = test_store_at(path, &clock_ms);
  for (seq = 1; seq <= 300; seq++) {
    step.at_ms = NOON + seq;
    CHECK_INT(act(store, &step, &written), CUSTMEM_OK);
    if (known[met].seq == seq) CHECK_TEXT(written.head.hash, known[met++].hash);
    step.from = step.to;
    step.to = step.from == 'A' ? 'B' : 'A';
  }
  CHECK_INT(met, COUNT_OF(known));
  CHECK_INT(verify(store, B, &written.head, &report), CUSTMEM_OK);
  CHECK_INT(report.events, 300);
  CHECK_INT(report.links, 1);
  custmem_close(store);
}

/* Events of 130 sizes, one after another: what is hashed ends at each byte of a block, and the last hash
** stands for all of them. */
TEST(events_of_every_size_have_the_documented_hashes) {
  enum { SIZES = 130 };
  char path[PATH_SIZE], longest[SIZES + 1] = "";
  custmem *store;
  custmem_written written;
  custmem_report report;
  struct step step = {B, 0, 'A', "sizes", longest, NULL, NOON, NULL};
  int size;
  memset(longest, 'r', SIZES);
  make_store(path, "sizes.db", STORE_ID);
  store = test_store_at(path, &clock_ms);
  for (size = 1; size <= SIZES; size++) {
    step.reason = longest + SIZES - size;
    CHECK_INT(act(store, &step, &written), CUSTMEM_OK);
    step.from = step.to;
    step.to = step.from == 'A' ? 'B' : 'A';
  }
  CHECK_TEXT(
    written.head.hash, "5270e2fb7c3bc6f577431d934296aab92b96e0ebfe7522f5e957358a28ec0dc5"
  );
  CHECK_INT(verify(store, B, &written.head, &report), CUSTMEM_OK);
  CHECK_INT(report.events, SIZES);
  custmem_close(store);
}

TEST(each_write_makes_one_event_and_a_refused_one_none) {
  /* Each is refused after the first two of the chain: conversation-1 has A, -2 has B. */
  static const struct {
    struct step step;
    int code;
  } refused[] = {
    {{A, 0, 'B', "conversation-1", "r", NULL, NOON, NULL}, CUSTMEM_ALREADY_LINKED},
    {{A, 'C', 'B', "conversation-1", "r", NULL, NOON, NULL}, CUSTMEM_CHANGED},
    {{A, 'A', 'A', "conversation-1", "r", NULL, NOON, NULL}, CUSTMEM_NO_CHANGE},
    {{A, 'A', 0, "conversation-9", "r", NULL, NOON, NULL}, CUSTMEM_NOT_LINKED},
    {{A, 'A', 'B', "conversation-1", "", NULL, NOON, NULL}, CUSTMEM_NO_REASON},
    {{B, 0, 'A', "conversation-1", "r", NULL, NOON, NULL}, CUSTMEM_OTHER_INSTRUCTOR},
  };
  char path[PATH_SIZE];
  custmem *store;
  struct heads heads;
  custmem_written written;
  custmem_head head;
  uint64_t rows;
  int i;
  make_store(path, "one.db", STORE_ID);
  store = test_store_at(path, &clock_ms);
  memset(&heads, 0, sizeof heads);
  act_all(store, CHAIN, 0, 2, &heads);
  rows = test_rows(path);
  for (i = 0; i < COUNT_OF(refused); i++) {
    CHECK_INT(act(store, &refused[i].step, &written), refused[i].code);
    CHECK_INT(written.seq, 0);
    CHECK_INT(written.created_at_ms, 0);
    CHECK_INT(written.head.count, 0);
    CHECK_TEXT(written.head.hash, "");
    CHECK(test_rows(path) == rows);
  }
  act_all(store, CHAIN, 2, COUNT_OF(CHAIN), &heads);
  CHECK_INT(custmem_audit_head(store, INSTRUCTOR[A], &head), CUSTMEM_OK);
  CHECK_INT(head.count, EVENTS_A);
  CHECK_TEXT(head.hash, heads.of[A][EVENTS_A].hash);
  CHECK_INT(custmem_audit_head(store, INSTRUCTOR[B], &head), CUSTMEM_OK);
  CHECK_INT(head.count, EVENTS_B);
  CHECK_TEXT(head.hash, heads.of[B][EVENTS_B].hash);
  custmem_close(store);
}

/* ---- Reading ------------------------------------------------------------------------------- */

/* The chain's steps of one instructor, and of one of its conversations unless that is NULL. */
static int steps_of(
  int who,
  const char *conversation,
  const struct step **steps,
  int64_t *seqs
) {
  int64_t seq = 0;
  int i, count = 0;
  for (i = 0; i < COUNT_OF(CHAIN); i++) {
    if (CHAIN[i].who != who) continue;
    seq++;
    if (conversation != NULL && strcmp(CHAIN[i].conversation, conversation) != 0) continue;
    steps[count] = &CHAIN[i];
    seqs[count++] = seq;
  }
  return count;
}

static int read_page(
  custmem *store,
  int who,
  const char *conversation,
  int64_t after_seq,
  custmem_event *events,
  int32_t capacity,
  int32_t *count
) {
  memset(events, 0xAA, (size_t)capacity * sizeof *events);
  *count = -1;
  if (conversation == NULL)
    return custmem_audit_read(store, INSTRUCTOR[who], after_seq, events, capacity, count);
  return custmem_history(
    store, INSTRUCTOR[who], conversation, after_seq, events, capacity, count
  );
}

static int smaller(int a, int b) {
  return a < b ? a : b;
}

/* Every page size from every place, and from beyond the end. */
static void check_pages(custmem *store, int who, const char *conversation, int wanted) {
  custmem_event events[EVENTS_A + 2];
  const struct step *steps[EVENTS_A];
  int64_t seqs[EVENTS_A], after;
  int total = steps_of(who, conversation, steps, seqs);
  int32_t capacity, count;
  CHECK_INT(total, wanted);
  for (capacity = 1; capacity <= EVENTS_A + 2; capacity++)
    for (after = 0; after <= EVENTS_A + 1; after++) {
      int first = 0, left, i;
      while (first < total && seqs[first] <= after)
        first++;
      left = smaller(total - first, capacity);
      CHECK_INT(
        read_page(store, who, conversation, after, events, capacity, &count), CUSTMEM_OK
      );
      CHECK_INT(count, left);
      for (i = 0; i < count && i < left; i++)
        check_event(&events[i], steps[first + i], seqs[first + i]);
    }
  CHECK_INT(read_page(store, who, conversation, INT64_MAX, events, 1, &count), CUSTMEM_OK);
  CHECK_INT(count, 0);
}

TEST(a_trail_is_read_in_pages_of_any_size_from_anywhere) {
  char path[PATH_SIZE];
  struct heads heads;
  custmem *store;
  make_chain(path, "pages.db", STORE_ID, &heads);
  store = test_store_at(path, &clock_ms);
  check_pages(store, A, NULL, EVENTS_A);
  check_pages(store, B, NULL, EVENTS_B);
  check_pages(store, LONG, NULL, 0);
  custmem_close(store);
}

TEST(a_history_is_one_conversations_and_one_instructors) {
  static const struct {
    int who;
    int events;
    const char *conversation;
  } cases[] = {{A, 3, "conversation-1"}, {A, 3, "conversation-2"}, {A, 4, "conversation-3"},
               {A, 2, "conversation-4"}, {A, 0, "conversation-5"}, {A, 0, "conversation-"},
               {B, 2, "conversation-5"}, {B, 3, "conversation-6"}, {B, 0, "conversation-1"}};
  char path[PATH_SIZE];
  struct heads heads;
  custmem *store;
  int i;
  make_chain(path, "history.db", STORE_ID, &heads);
  store = test_store_at(path, &clock_ms);
  for (i = 0; i < COUNT_OF(cases); i++)
    check_pages(store, cases[i].who, cases[i].conversation, cases[i].events);
  custmem_close(store);
}

TEST(time_never_sorts) {
  static const int64_t times[] = {NOON, NOON - 1, 0, INT64_C(281474976710655), 5, 5, 5, NOON};
  char path[PATH_SIZE];
  custmem *store;
  custmem_written written;
  custmem_event events[COUNT_OF(times)];
  custmem_report report;
  int32_t count;
  struct step step = {A, 0, 'A', "conversation-1", "r", NULL, 0, NULL};
  int i;
  make_store(path, "time.db", STORE_ID);
  store = test_store_at(path, &clock_ms);
  for (i = 0; i < COUNT_OF(times); i++) {
    step.at_ms = times[i];
    CHECK_INT(act(store, &step, &written), CUSTMEM_OK);
    CHECK_INT(written.seq, i + 1);
    CHECK_INT(written.created_at_ms, times[i]);
    step.from = step.to;
    step.to = step.from == 'A' ? 'B' : 'A';
  }
  CHECK_INT(read_page(store, A, NULL, 0, events, COUNT_OF(times), &count), CUSTMEM_OK);
  CHECK_INT(count, COUNT_OF(times));
  for (i = 0; i < count; i++) {
    CHECK_INT(events[i].seq, i + 1);
    CHECK_INT(events[i].created_at_ms, times[i]);
  }
  CHECK_INT(verify(store, A, NULL, &report), CUSTMEM_OK);
  custmem_close(store);
}

/* ---- Verifying a sound store --------------------------------------------------------------- */

TEST(a_sound_chain_verifies_with_its_counts_and_head) {
  static const int events[] = {EVENTS_A, EVENTS_B, 0};
  static const int links[] = {LINKS_A, LINKS_B, 0};
  char path[PATH_SIZE];
  struct heads heads;
  custmem_report report;
  uint64_t rows;
  int who;
  make_chain(path, "sound.db", STORE_ID, &heads);
  rows = test_rows(path);
  for (who = 0; who < INSTRUCTORS; who++) {
    CHECK_INT(verify_file(path, who, NULL, &report), CUSTMEM_OK);
    CHECK_INT(report.fault, CUSTMEM_FAULT_NONE);
    CHECK_INT(report.events, events[who]);
    CHECK_INT(report.links, links[who]);
    CHECK_INT(report.head.count, events[who]);
    CHECK_TEXT(report.head.hash, heads.of[who][events[who]].hash);
    CHECK_INT(report.seq, 0);
    CHECK_TEXT(report.subject, "");
    CHECK_TEXT(report.detail, "");
  }
  CHECK_INT(check_file(path, &report), CUSTMEM_OK);
  CHECK_INT(report.fault, CUSTMEM_FAULT_NONE);
  CHECK_INT(report.instructors, 2);
  CHECK_INT(report.customers, 9);
  CHECK_INT(report.links, LINKS_A + LINKS_B);
  CHECK_INT(report.events, EVENTS_A + EVENTS_B);
  CHECK_INT(report.head.count, 0);
  CHECK_TEXT(report.head.hash, "");
  CHECK(test_rows(path) == rows);
}

TEST(every_earlier_head_is_continued) {
  char path[PATH_SIZE];
  struct heads heads;
  custmem_report report;
  int64_t seq;
  make_chain(path, "anchors.db", STORE_ID, &heads);
  for (seq = 0; seq <= EVENTS_A; seq++) {
    CHECK_INT(heads.of[A][seq].count, seq);
    CHECK_INT(verify_file(path, A, &heads.of[A][seq], &report), CUSTMEM_OK);
    CHECK_INT(report.head.count, EVENTS_A);
    CHECK_TEXT(report.head.hash, heads.of[A][EVENTS_A].hash);
  }
}

static void check_anchor(const char *path, int who, const custmem_head *anchor, int fault) {
  custmem_report report;
  CHECK_INT(verify_file(path, who, anchor, &report), CUSTMEM_ANCHOR);
  CHECK_INT(report.fault, fault);
  CHECK_TEXT(report.instructor_id, INSTRUCTOR[who]);
  CHECK(report.detail[0] != '\0');
  CHECK(report.head.hash[0] != '\0'); /* the chain itself is sound */
  /* Where: at the anchor, or where the chain ends before it. */
  CHECK_INT(
    report.seq, fault == CUSTMEM_FAULT_ANCHOR_DIFFERS ? anchor->count : report.head.count
  );
}

TEST(a_head_of_another_chain_is_not_continued) {
  char path[PATH_SIZE], other[PATH_SIZE];
  struct heads heads, others;
  custmem_head beyond;
  int64_t seq;
  make_chain(path, "ours.db", STORE_ID, &heads);
  make_chain(other, "theirs.db", OTHER_STORE_ID, &others);
  for (seq = 0; seq <= EVENTS_A; seq++)
    check_anchor(path, A, &others.of[A][seq], CUSTMEM_FAULT_ANCHOR_DIFFERS);
  for (seq = 0; seq <= EVENTS_B; seq++) {
    check_anchor(path, A, &heads.of[B][seq], CUSTMEM_FAULT_ANCHOR_DIFFERS);
    check_anchor(path, B, &heads.of[A][seq], CUSTMEM_FAULT_ANCHOR_DIFFERS);
  }
  check_anchor(path, B, &heads.of[A][EVENTS_A], CUSTMEM_FAULT_ANCHOR_BEYOND);
  check_anchor(path, LONG, &heads.of[A][1], CUSTMEM_FAULT_ANCHOR_BEYOND);
  check_anchor(path, LONG, &heads.of[A][0], CUSTMEM_FAULT_ANCHOR_DIFFERS);
  beyond = heads.of[A][EVENTS_A];
  beyond.count = INT64_MAX;
  check_anchor(path, A, &beyond, CUSTMEM_FAULT_ANCHOR_BEYOND);
}

TEST(a_malformed_anchor_is_misuse) {
  char path[PATH_SIZE];
  struct heads heads;
  custmem *store;
  custmem_report report;
  custmem_head anchor;
  int at;
  make_chain(path, "malformed.db", STORE_ID, &heads);
  store = test_store_at(path, &clock_ms);
  anchor = heads.of[A][3];
  anchor.count = -1;
  CHECK_INT(verify(store, A, &anchor, &report), CUSTMEM_MISUSE);
  CHECK_TEXT(custmem_errarg(store), "anchor");
  CHECK_TEXT(custmem_errmsg(store), "anchor is not a head: a count, and 64 hexadecimal digits");
  anchor.count = INT64_MIN;
  CHECK_INT(verify(store, A, &anchor, &report), CUSTMEM_MISUSE);
  for (at = 0; at < CUSTMEM_HASH_SIZE; at += 9) {
    static const char wrong[] = {'\0', 'g', 'A', ' ', '\x80', '/', ':', '`', 'G'};
    int i;
    for (i = 0; i < COUNT_OF(wrong); i++) {
      anchor = heads.of[A][3];
      anchor.hash[at] = wrong[i];
      CHECK_INT(verify(store, A, &anchor, &report), CUSTMEM_MISUSE);
      CHECK_INT(report.fault, CUSTMEM_FAULT_NONE);
      CHECK_INT(report.events, 0);
      CHECK_TEXT(report.head.hash, "");
    }
  }
  anchor = heads.of[A][3];
  anchor.hash[CUSTMEM_HASH_SIZE] = '0'; /* no NUL: 65 digits, or no end at all */
  CHECK_INT(verify(store, A, &anchor, &report), CUSTMEM_MISUSE);
  CHECK_INT(verify(store, A, &heads.of[A][3], &report), CUSTMEM_OK);
  custmem_close(store);
}

/* ---- Verifying an altered one -------------------------------------------------------------- */

#define BIT(fault) (1U << CUSTMEM_FAULT_##fault)

/* An alteration, done for each n of first..last, which is ?1 in its SQL. The fault must be one of
** `faults`, at seq n + at, or at the one seq `only` where that is not 0. */
struct attack {
  const char *name;
  const char *sql;
  int first, last;
  unsigned faults;
  int at, only;
  const char *subject; /* NULL: not looked at */
};

#define ROW       " WHERE instructor_id = 'instructor-a' AND seq = ?1;"
#define SET(what) "UPDATE audit_events SET " what ROW
#define CUSTOMER  "0197a3b2-0000-7000-8000-00000000000"
#define CHANGED   (BIT(FIELD) | BIT(HASH))

/* Every column of every row, to another value that could stand there and to some that could not. */
static const struct attack FIELDS[] = {
  {"instructor", SET("instructor_id = 'instructor-x'"), 1, 11, BIT(SEQUENCE), 0, 0, NULL},
  {"seq", SET("seq = seq + 100"), 1, 12, BIT(SEQUENCE), 0, 0, NULL},
  {"seq 0", SET("seq = 0"), 1, 12, BIT(SEQUENCE), 0, 1, NULL},
  {"seq negative", SET("seq = -seq"), 1, 12, BIT(SEQUENCE), 0, 1, NULL},
  {"event_name",
   SET("event_name = CASE substr(event_name, 23) WHEN 'linked' THEN"
       " 'conversation.customer_relinked' ELSE 'conversation.customer_linked' END"),
   1, 12, CHANGED, 0, 0, NULL},
  {"event_name case", SET("event_name = upper(event_name)"), 1, 12, CHANGED, 0, 0, NULL},
  {"event_name longer", SET("event_name = event_name || event_name"), 1, 12, CHANGED, 0, 0,
   NULL},
  {"event_name empty", SET("event_name = ''"), 1, 12, CHANGED, 0, 0, NULL},
  {"conversation",
   SET("conversation_id = 'conversation-' || (5 - substr(conversation_id, 14))"), 1, 12,
   CHANGED, 0, 0, NULL},
  {"conversation case", SET("conversation_id = upper(conversation_id)"), 1, 12, CHANGED, 0, 0,
   NULL},
  {"conversation too long", SET("conversation_id = conversation_id || hex(zeroblob(26))"), 1,
   12, CHANGED, 0, 0, NULL},
  {"previous",
   SET("previous_customer_id = CASE WHEN previous_customer_id IS '" CUSTOMER "a'"
       " THEN '" CUSTOMER "b' ELSE '" CUSTOMER "a' END"),
   1, 12, CHANGED, 0, 0, NULL},
  {"previous NULL or empty",
   SET("previous_customer_id = iif(previous_customer_id IS NULL, '', NULL)"), 1, 12, CHANGED, 0,
   0, NULL},
  {"new",
   SET("new_customer_id = CASE WHEN new_customer_id IS '" CUSTOMER "a'"
       " THEN '" CUSTOMER "b' ELSE '" CUSTOMER "a' END"),
   1, 12, CHANGED, 0, 0, NULL},
  {"new of the other instructor",
   SET("new_customer_id = '0197a3b2-0001-7000-8000-00000000000a'"), 1, 12, CHANGED, 0, 0, NULL},
  {"new NULL or empty", SET("new_customer_id = iif(new_customer_id IS NULL, '', NULL)"), 1, 12,
   CHANGED, 0, 0, NULL},
  {"actor_type", SET("actor_type = 'system'"), 1, 12, CHANGED, 0, 0, NULL},
  {"actor_type unknown", SET("actor_type = 'Human'"), 1, 12, CHANGED, 0, 0, NULL},
  {"actor", SET("actor_id = 'user-8'"), 1, 12, CHANGED, 0, 0, NULL},
  {"actor NULL", SET("actor_id = NULL"), 1, 12, CHANGED, 0, 0, NULL},
  {"actor longer", SET("actor_id = actor_id || ' '"), 1, 12, CHANGED, 0, 0, NULL},
  {"reason", SET("reason = reason || '.'"), 1, 12, CHANGED, 0, 0, NULL},
  {"reason case", SET("reason = upper(reason)"), 1, 12, CHANGED, 0, 0, NULL},
  {"reason empty", SET("reason = ''"), 1, 12, CHANGED, 0, 0, NULL},
  {"reason with a NUL", SET("reason = reason || char(0) || 'x'"), 1, 12, CHANGED, 0, 0, NULL},
  {"reason not UTF-8", SET("reason = CAST(x'ff' AS TEXT)"), 1, 12, CHANGED, 0, 0, NULL},
  {"context NULL or not", SET("context = iif(context IS NULL, 'x', NULL)"), 1, 12, CHANGED, 0,
   0, NULL},
  {"context empty", SET("context = ''"), 1, 12, CHANGED, 0, 0, NULL},
  {"reason into context", SET("context = reason, reason = coalesce(context, 'x')"), 1, 12,
   CHANGED, 0, 0, NULL},
  {"time", SET("created_at = created_at + 1"), 1, 12, CHANGED, 0, 0, NULL},
  {"time negative", SET("created_at = -created_at"), 1, 12, CHANGED, 0, 0, NULL},
  {"time beyond", SET("created_at = created_at + (1 << 48)"), 1, 12, CHANGED, 0, 0, NULL},
  {"hash of another event",
   SET("hash = (SELECT hash FROM clean.audit_events WHERE instructor_id = 'instructor-b'"
       " AND seq = 1)"),
   1, 12, CHANGED, 0, 0, NULL},
  {"hash zero", SET("hash = zeroblob(32)"), 1, 12, CHANGED, 0, 0, NULL},
  {"hash shorter", SET("hash = CAST(substr(hash, 1, 31) AS BLOB)"), 1, 12, CHANGED, 0, 0, NULL},
  {"hash longer", SET("hash = CAST(hash || x'00' AS BLOB)"), 1, 12, CHANGED, 0, 0, NULL},
};

#define SHIFT                                                                                  \
  "UPDATE audit_events SET seq = seq + 1000"                                                   \
  " WHERE instructor_id = 'instructor-a' AND seq > ?1;"
#define UNSHIFT(by)                                                                            \
  "UPDATE audit_events SET seq = seq - " by                                                    \
  " WHERE instructor_id = 'instructor-a' AND seq > 1000;"
#define COPY(seq, from, where)                                                                 \
  "INSERT INTO audit_events SELECT 'instructor-a', " seq                                       \
  ", event_name, conversation_id, previous_customer_id, new_customer_id, actor_type,"          \
  " actor_id, reason, context, created_at, hash FROM " from " WHERE " where ";"
#define DELETE_ROW           "DELETE FROM audit_events" ROW
#define CHANGE_LINK(n, what) "UPDATE conversation_links SET " what LINK_OF(n)
#define LINK_OF(n)           " WHERE conversation_id = 'conversation-" n "';"

/* Whole rows. An event that should stand at a seq and does not is missing at that seq. */
static const struct attack ROWS[] = {
  {"delete", DELETE_ROW, 1, 11, BIT(SEQUENCE), 0, 0, NULL},
  {"delete the last", DELETE_ROW, 12, 12, BIT(LINK), 0, 11, "conversation-3"},
  {"the last to another instructor", SET("instructor_id = 'instructor-x'"), 12, 12, BIT(LINK),
   0, 11, "conversation-3"},
  {"swap two",
   "UPDATE audit_events SET seq = 1000" ROW
   "UPDATE audit_events SET seq = ?1 WHERE instructor_id = 'instructor-a' AND seq = ?1 + 1;"
   "UPDATE audit_events SET seq = ?1 + 1 WHERE instructor_id = 'instructor-a' AND seq = 1000;",
   1, 11, CHANGED, 0, 0, NULL},
  {"again at the end",
   COPY("13", "audit_events", "instructor_id = 'instructor-a' AND seq = ?1"), 1, 12, CHANGED, 0,
   13, NULL},
  {"again in between",
   SHIFT UNSHIFT("999")
     COPY("?1 + 1", "clean.audit_events", "instructor_id = 'instructor-a' AND seq = ?1"),
   1, 12, CHANGED, 1, 0, NULL},
  {"again before all numbers",
   COPY("-9223372036854775807", "audit_events", "instructor_id = 'instructor-a' AND seq = ?1"),
   1, 2, BIT(SEQUENCE), 0, 1, NULL},
  {"a gap", SHIFT UNSHIFT("999"), 1, 11, BIT(SEQUENCE), 1, 0, NULL},
  {"a gap before all", SHIFT UNSHIFT("999"), 0, 0, BIT(SEQUENCE), 1, 0, NULL},
  {"out, and the gap closed", DELETE_ROW SHIFT UNSHIFT("1001"), 1, 11, CHANGED, 0, 0, NULL},
  {"another instructor's in its place",
   DELETE_ROW COPY("?1", "audit_events", "instructor_id = 'instructor-b' AND seq = ?1"), 1, 5,
   CHANGED, 0, 0, NULL},
  {"another instructor's at the end",
   COPY("13", "audit_events", "instructor_id = 'instructor-b' AND seq = ?1"), 1, 5, CHANGED, 0,
   13, NULL},
  {"another store's in its place",
   DELETE_ROW COPY("?1", "other.audit_events", "instructor_id = 'instructor-a' AND seq = ?1"),
   1, 12, CHANGED, 0, 0, NULL},
  {"another store's, from here on",
   "DELETE FROM audit_events WHERE instructor_id = 'instructor-a' AND seq >= ?1;" COPY(
     "seq",
     "other.audit_events",
     "instructor_id = 'instructor-a' AND seq >= ?1"
   ),
   1, 12, CHANGED, 0, 0, NULL},
  {"the first of two faults",
   SET("reason = 'x'") "UPDATE audit_events SET reason = 'x' WHERE seq = 12;", 1, 11, CHANGED,
   0, 0, NULL},
};

/* Links: each conversation's last event is the seq that is named. */
static const struct attack LINKS[] = {
  {"to another customer", CHANGE_LINK("1", "customer_id = '" CUSTOMER "b'"), 0, 0, BIT(LINK), 0,
   10, "conversation-1"},
  {"to another instructor's",
   CHANGE_LINK("1", "customer_id = '0197a3b2-0001-7000-8000-00000000000c'"), 0, 0, BIT(LINK), 0,
   10, "conversation-1"},
  {"to nobody", CHANGE_LINK("2", "customer_id = NULL"), 0, 0, BIT(LINK), 0, 6,
   "conversation-2"},
  {"from nobody", CHANGE_LINK("4", "customer_id = '" CUSTOMER "a'"), 0, 0, BIT(LINK), 0, 9,
   "conversation-4"},
  {"an earlier event of its own", CHANGE_LINK("1", "audit_seq = 3"), 0, 0, BIT(LINK), 0, 10,
   "conversation-1"},
  {"another conversation's event", CHANGE_LINK("1", "audit_seq = 12"), 0, 0, BIT(LINK), 0, 10,
   "conversation-1"},
  {"an event that is not there", CHANGE_LINK("3", "audit_seq = 99"), 0, 0, BIT(LINK), 0, 12,
   "conversation-3"},
  {"another time", CHANGE_LINK("2", "updated_at = updated_at + 1"), 0, 0, BIT(LINK), 0, 6,
   "conversation-2"},
  {"deleted", "DELETE FROM conversation_links WHERE conversation_id = 'conversation-' || ?1;",
   4, 4, BIT(LINK), 0, 9, "conversation-4"},
  {"deleted, the first", "DELETE FROM conversation_links" LINK_OF("1"), 0, 0, BIT(LINK), 0, 10,
   "conversation-1"},
  {"given to the other instructor", CHANGE_LINK("1", "instructor_id = 'instructor-b'"), 0, 0,
   BIT(LINK), 0, 10, "conversation-1"},
  {"without an event",
   "INSERT INTO conversation_links VALUES ('conversation-9', 'instructor-a', '" CUSTOMER
   "a', 12, 1);",
   0, 0, BIT(LINK), 0, 0, "conversation-9"},
  {"without an event, between others",
   "INSERT INTO conversation_links VALUES ('conversation-1a', 'instructor-a', NULL, 1, 1);", 0,
   0, BIT(LINK), 0, 0, "conversation-1a"},
  {"without an event, the first of all",
   "INSERT INTO conversation_links VALUES ('c', 'instructor-a', NULL, 1, 1);", 0, 0, BIT(LINK),
   0, 0, "c"},
};

#define PUT_BACK                                                                               \
  "DELETE FROM audit_events; INSERT INTO audit_events SELECT * FROM clean.audit_events;"       \
  "DELETE FROM conversation_links;"                                                            \
  "INSERT INTO conversation_links SELECT * FROM clean.conversation_links;"

static void check_report(
  const custmem_report *report,
  const struct attack *attack,
  unsigned faults
) {
  CHECK(report->fault > 0 && report->fault < 32 && (faults >> report->fault & 1));
  CHECK(report->detail[0] != '\0' && strlen(report->detail) <= CUSTMEM_MESSAGE_MAX);
  CHECK_INT(report->head.count, 0);
  CHECK_TEXT(report->head.hash, "");
  if (attack->subject != NULL) CHECK_TEXT(report->subject, attack->subject);
}

/* Does an attack, sees it found by verify and by check, and gone when the rows are put back. check
** looks at more, in another order: it may find what is no sound row to SQLite before it walks the
** chain, and a link to another instructor's customer on that one's side. */
static void check_attack(custmem *store, sqlite3 *db, const struct attack *attack, int n) {
  int64_t seq = attack->only != 0 ? attack->only : n + attack->at;
  custmem_report report;
  int good;
  CHECK(run(db, attack->sql, n) > 0);
  good = CHECK_INT(verify(store, A, NULL, &report), CUSTMEM_BROKEN);
  check_report(&report, attack, attack->faults);
  good &= CHECK_TEXT(report.instructor_id, INSTRUCTOR[A]) & CHECK_INT(report.seq, seq);
  if (attack->subject == NULL) CHECK_INT(report.events, seq - 1);
  memset(&report, 0xAA, sizeof report);
  good &= CHECK_INT(custmem_check(store, &report), CUSTMEM_BROKEN);
  check_report(&report, attack, attack->faults | BIT(DATABASE));
  if (attack->subject == NULL && report.fault != CUSTMEM_FAULT_DATABASE)
    good &= CHECK_TEXT(report.instructor_id, INSTRUCTOR[A]) & CHECK_INT(report.seq, seq);
  CHECK(run(db, PUT_BACK, 0) > 0);
  good &= CHECK_INT(verify(store, A, NULL, &report), CUSTMEM_OK);
  CHECK_INT(report.events, EVENTS_A);
  if (!good) printf("  (%s, %d)\n", attack->name, n);
}

static void check_attacks(const struct attack *attacks, int count) {
  char path[PATH_SIZE], clean[PATH_SIZE], other[PATH_SIZE], sql[3 * PATH_SIZE];
  struct heads heads;
  custmem_report report;
  custmem *store;
  sqlite3 *db;
  int i, n;
  make_chain(path, "attacked.db", STORE_ID, &heads);
  make_chain(clean, "clean.db", STORE_ID, &heads);
  make_chain(other, "other.db", OTHER_STORE_ID, &heads);
  db = intruder(path);
  snprintf(sql, sizeof sql, "ATTACH '%s' AS clean; ATTACH '%s' AS other", clean, other);
  CHECK_INT(test_sql(db, sql), SQLITE_OK);
  store = test_store_at(path, &clock_ms);
  CHECK_INT(verify(store, A, NULL, &report), CUSTMEM_OK);
  for (i = 0; i < count; i++)
    for (n = attacks[i].first; n <= attacks[i].last; n++)
      check_attack(store, db, &attacks[i], n);
  CHECK_INT(custmem_check(store, &report), CUSTMEM_OK);
  CHECK_INT(report.events, EVENTS_A + EVENTS_B);
  custmem_close(store);
  CHECK_INT(sqlite3_close(db), SQLITE_OK);
}

TEST(every_altered_field_of_every_event_is_found) {
  check_attacks(FIELDS, COUNT_OF(FIELDS));
}

TEST(a_deleted_swapped_added_or_transplanted_event_is_found) {
  check_attacks(ROWS, COUNT_OF(ROWS));
}

TEST(a_link_that_the_events_do_not_say_is_found) {
  check_attacks(LINKS, COUNT_OF(LINKS));
}

/* No walk over an instructor's audit meets it, and nobody could ever link the conversation. */
TEST(a_link_of_no_instructor_is_found_by_check) {
  char path[PATH_SIZE];
  struct heads heads;
  custmem_report report;
  make_chain(path, "nobodys.db", STORE_ID, &heads);
  CHECK_INT(
    intrude(path, "INSERT INTO conversation_links VALUES ('conversation-9', '', NULL, 1, 5)"), 1
  );
  CHECK_INT(check_file(path, &report), CUSTMEM_BROKEN);
  CHECK_INT(report.fault, CUSTMEM_FAULT_LINK);
}

/* Its id is no text that can be shown: the fault is still the link, not the index. */
TEST(a_stray_link_with_a_strange_id_is_a_fault_of_the_link) {
  char path[PATH_SIZE];
  struct heads heads;
  custmem_report report;
  make_chain(path, "strange-id.db", STORE_ID, &heads);
  CHECK_INT(
    intrude(
      path,
      "INSERT INTO conversation_links SELECT 'talk' || char(10), instructor_id, NULL, 1, 5"
      " FROM conversation_links WHERE conversation_id = 'conversation-1'"
    ),
    1
  );
  CHECK_INT(verify_file(path, A, NULL, &report), CUSTMEM_BROKEN);
  CHECK_INT(report.fault, CUSTMEM_FAULT_LINK);
  CHECK_TEXT(report.detail, "a conversation has a link that no audit event made");
}

TEST(a_customer_that_no_call_makes_is_found_by_check) {
  static const char *const changes[] = {
    "id = 'zzzzzzzz-zzzz-zzzz-zzzz-zzzzzzzzzzzz'", "id = upper(id)",
    "id = '00000000-0000-0000-0000-000000000000'", "created_at = -1",
    "updated_at = 281474976710656"};
  char path[PATH_SIZE], sql[PATH_SIZE];
  struct heads heads;
  custmem_report report;
  size_t i;
  for (i = 0; i < sizeof changes / sizeof changes[0]; i++) {
    make_chain(path, "customer.db", STORE_ID, &heads);
    CHECK_INT(
      intrude(
        path,
        "INSERT INTO customers VALUES ('01977420-dfe8-71fe-808a-a83b63f1ee08', 'nobody', 'sms',"
        " '393330000001', NULL, 1, 1)"
      ),
      1
    );
    CHECK_INT(check_file(path, &report), CUSTMEM_OK);
    snprintf(
      sql, sizeof sql, "UPDATE customers SET %s WHERE instructor_id = 'nobody'", changes[i]
    );
    CHECK_INT(intrude(path, sql), 1);
    CHECK_INT(check_file(path, &report), CUSTMEM_BROKEN);
    if (!CHECK_INT(report.fault, CUSTMEM_FAULT_KEY)) printf("  %s\n", changes[i]);
  }
}

/* Nothing can follow it: there is no next number, or it is none of a chain. */
TEST(a_chain_that_ends_where_no_chain_ends_is_damage) {
  static const char *const last[] = {"9223372036854775807", "0", "-1"};
  char path[PATH_SIZE], sql[PATH_SIZE];
  struct heads heads;
  custmem *store;
  size_t i;
  for (i = 0; i < sizeof last / sizeof last[0]; i++) {
    make_chain(path, "last.db", STORE_ID, &heads);
    snprintf(
      sql, sizeof sql,
      "DELETE FROM audit_events WHERE instructor_id = '%s' AND seq < %d;"
      "UPDATE audit_events SET seq = %s WHERE instructor_id = '%s'",
      INSTRUCTOR[A], EVENTS_A, last[i], INSTRUCTOR[A]
    );
    CHECK_INT(intrude(path, sql), EVENTS_A);
    store = test_store_at(path, &clock_ms);
    CHECK_INT(
      test_link(store, INSTRUCTOR[A], "a-new-one", customer_id(A, 'A')), CUSTMEM_CORRUPT
    );
    CHECK_INT(custmem_close(store), CUSTMEM_OK);
  }
}

/* One report, from one verification to the next. */
TEST(a_report_may_hold_the_anchor_of_the_next_verification) {
  char path[PATH_SIZE];
  struct heads heads;
  custmem_report report;
  custmem *store;
  make_chain(path, "again.db", STORE_ID, &heads);
  store = test_store_at(path, &clock_ms);
  CHECK_INT(custmem_audit_verify(store, INSTRUCTOR[A], NULL, &report), CUSTMEM_OK);
  CHECK_INT(custmem_audit_verify(store, INSTRUCTOR[A], &report.head, &report), CUSTMEM_OK);
  CHECK_INT(report.events, EVENTS_A);
  strcpy(report.instructor_id, INSTRUCTOR[B]);
  CHECK_INT(custmem_audit_verify(store, report.instructor_id, NULL, &report), CUSTMEM_OK);
  CHECK_INT(report.events, EVENTS_B);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* A link that holds no id at all is damage, not another link. */
TEST(a_link_to_what_cannot_be_an_id_is_damage) {
  static const char *const ids[] = {
    "substr(customer_id, 2) || char(10)", "customer_id || 'x'", "''"};
  char path[PATH_SIZE], sql[PATH_SIZE];
  struct heads heads;
  custmem_report report;
  int i;
  for (i = 0; i < COUNT_OF(ids); i++) {
    make_chain(path, "no-id.db", STORE_ID, &heads);
    snprintf(
      sql, sizeof sql, "UPDATE conversation_links SET customer_id = %s" LINK_OF("1"), ids[i]
    );
    CHECK_INT(intrude(path, sql), 1);
    CHECK_INT(verify_file(path, A, NULL, &report), CUSTMEM_BROKEN);
    CHECK_INT(report.fault, CUSTMEM_FAULT_DATABASE);
    CHECK_TEXT(report.instructor_id, INSTRUCTOR[A]);
    CHECK_INT(report.seq, 0);
    CHECK_TEXT(report.subject, "");
    CHECK_TEXT(report.detail, "the store holds a link that cannot be");
  }
}

/* What a fault is said of is said whole, up to the greatest size of a name. */
TEST(names_at_their_limit_are_reported_whole) {
#define X62 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
  static const char instructor[] = "i" X62 "i", first[] = "a" X62 "a", second[] = "z" X62 "z";
  static const struct {
    const char *sql;
    int fault, seq;
    const char *subject;
  } cases[] = {
    {"UPDATE audit_events SET reason = 'forged' WHERE seq = 2", CUSTMEM_FAULT_HASH, 2, second},
    {"UPDATE conversation_links SET updated_at = 1 WHERE audit_seq = 1", CUSTMEM_FAULT_LINK, 1,
     first},
    {"UPDATE conversation_links SET updated_at = 1 WHERE audit_seq = 2", CUSTMEM_FAULT_LINK, 2,
     second},
    {"INSERT INTO conversation_links SELECT 'm" X62 "m', instructor_id, NULL, 1, 1"
     " FROM conversation_links WHERE audit_seq = 1",
     CUSTMEM_FAULT_LINK, 0, "m" X62 "m"},
    {"UPDATE customers SET id = 'f' || substr(id, 2)", CUSTMEM_FAULT_LINK, 0, first},
  };
  custmem_actor human = test_human(instructor);
  custmem_report report;
  int i;
  human.actor_id = "h";
  for (i = 0; i < COUNT_OF(cases); i++) {
    const char *path = test_path("names.db"), *customer;
    custmem *store;
    test_store_remove(path);
    store = test_store(path);
    REQUIRE(store != NULL);
    customer = test_customer(store, instructor, "393331234567");
    CHECK_INT(custmem_link(store, &human, first, customer, "r", 1, NULL, 0, NULL), CUSTMEM_OK);
    CHECK_INT(custmem_link(store, &human, second, customer, "r", 1, NULL, 0, NULL), CUSTMEM_OK);
    CHECK_INT(custmem_check(store, &report), CUSTMEM_OK);
    CHECK_INT(custmem_close(store), CUSTMEM_OK);
    CHECK(intrude(path, cases[i].sql) > 0);
    CHECK_INT(check_file(path, &report), CUSTMEM_BROKEN);
    CHECK_INT(report.fault, cases[i].fault);
    CHECK_TEXT(report.instructor_id, instructor);
    CHECK_INT(report.seq, cases[i].seq);
    CHECK_TEXT(report.subject, cases[i].subject);
  }
}

/* The frozen chain in a store of its own. */
static void make_frozen(char path[PATH_SIZE], const char *name, struct heads *heads) {
  custmem *store;
  make_store(path, name, STORE_ID);
  store = test_store_at(path, &clock_ms);
  memset(heads, 0, sizeof *heads);
  act_all(store, FROZEN, 0, COUNT_OF(FROZEN), heads);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* The last event of the frozen chain, as it was written. */
#define AS_WRITTEN                                                                             \
  "event_name = 'conversation.customer_linked', previous_customer_id = NULL,"                  \
  " new_customer_id = '" CUSTOMER "a', actor_id = 'user-7', reason = 'again',"                 \
  " context = '?', created_at = 1749999999999"

/* Makes that event another, under the hash that it then has, and lets its link follow. */
static void forge(const char *path, const char *set, const char *hash) {
  char sql[2048];
  snprintf(
    sql, sizeof sql,
    "UPDATE audit_events SET %s, hash = x'%s' WHERE instructor_id = 'instructor-a' AND seq = 5;"
    "UPDATE conversation_links SET (customer_id, updated_at) ="
    " (SELECT new_customer_id, created_at FROM audit_events WHERE hash = x'%s')"
    " WHERE conversation_id = 'conversation-1'",
    set, hash, hash
  );
  CHECK_INT(intrude(path, sql), 2);
}

/* The hash is right in each of these: only what the event says is wrong. */
TEST(an_event_that_no_write_makes_is_found_though_its_hash_is_right) {
  static const struct {
    const char *set;
    const char *hash;
    int fault;
  } cases[] = {
    {"event_name = 'conversation.customer_relinked', previous_customer_id = '" CUSTOMER "b'",
     "d4d877e5017f89c25d6113e161e294ca8c005519ef0877d7cbb96eab4444a0b7",
     CUSTMEM_FAULT_PREVIOUS},
    {"reason = char(1)", "f04c2a9f0071c0de7713a67901940273399faf06323e470226e5c06672b69451",
     CUSTMEM_FAULT_FIELD},
    {"context = CAST(x'ff' AS TEXT)",
     "9bd6714338fe4b53f5482d8beb3264c407caa6cff41a28decd76fdcd59970e2a", CUSTMEM_FAULT_FIELD},
    {"created_at = -1", "119ce73a40b5970257cb08202f08ddd2d012f9e34eef7dcd1807584fd8d2e946",
     CUSTMEM_FAULT_FIELD},
    {"created_at = 1 << 48", "615af4651f2ba007e7fcf2338dd67bf989df0248a2d16688df97853d10c3a71c",
     CUSTMEM_FAULT_FIELD},
    {"event_name = 'conversation.customer_relinked'",
     "1533f04a45164bcd30372cdcc99be9a8cf015646aeae203dc0c7ea9cddc3fa9a", CUSTMEM_FAULT_FIELD},
    {"context = ''", "e0c1afaa1d3533acdff3c9eeb01482b7018a77bf41dd4f95144e242eaefd29f8",
     CUSTMEM_FAULT_FIELD},
    {"reason = '" X500 "x'", "80f22de28e3a9e621be18178416287c480e9f6023fda0e24836faa3e9b74d204",
     CUSTMEM_FAULT_FIELD},
    {"new_customer_id = NULL",
     "18995cfe699c315d1d017c2ca300283ab42846da91f45e376c260f7d1e821be5", CUSTMEM_FAULT_FIELD},
    {"actor_id = NULL", "d81cb5282befd28bd48deb233776202170775f6564baa2bc28485e19126aab8c",
     CUSTMEM_FAULT_FIELD},
  };
  struct heads heads;
  custmem_report report;
  char path[PATH_SIZE];
  int i;
  make_frozen(path, "forged.db", &heads);
  for (i = 0; i < COUNT_OF(cases); i++) {
    forge(path, AS_WRITTEN, FROZEN[COUNT_OF(FROZEN) - 1].hash);
    CHECK_INT(verify_file(path, A, &heads.of[A][5], &report), CUSTMEM_OK);
    forge(path, cases[i].set, cases[i].hash);
    CHECK_INT(verify_file(path, A, NULL, &report), CUSTMEM_BROKEN);
    if (!CHECK_INT(report.fault, cases[i].fault)) printf("  (%s)\n", cases[i].set);
    CHECK_INT(report.seq, 5);
  }
}

TEST(a_hash_of_another_size_is_damage_to_every_reader) {
  static const char *const hashes[] = {
    "x'00'", "CAST(hash || x'00' AS BLOB)", "substr(hash, 2)", "zeroblob(0)"};
  struct heads heads;
  custmem_event events[8];
  custmem_head head;
  char path[PATH_SIZE], sql[PATH_SIZE];
  int32_t count;
  size_t i;
  for (i = 0; i < COUNT_OF(hashes); i++) {
    custmem *store;
    make_frozen(path, "short-hash.db", &heads);
    snprintf(
      sql, sizeof sql,
      "UPDATE audit_events SET hash = %s WHERE instructor_id = '%s' AND seq = %d", hashes[i],
      INSTRUCTOR[A], (int)heads.of[A][5].count
    );
    CHECK_INT(intrude(path, sql), 1);
    store = test_store_at(path, &clock_ms);
    CHECK_INT(custmem_audit_head(store, INSTRUCTOR[A], &head), CUSTMEM_CORRUPT);
    CHECK_INT(head.count, 0);
    CHECK_TEXT(head.hash, "");
    CHECK_INT(
      custmem_audit_read(store, INSTRUCTOR[A], heads.of[A][5].count - 1, events, 8, &count),
      CUSTMEM_CORRUPT
    );
    CHECK_INT(count, 0);
    custmem_close(store);
  }
}

TEST(an_event_made_anew_with_its_hash_is_found_by_an_anchor_alone) {
  struct heads heads;
  custmem_report report;
  char path[PATH_SIZE];
  make_frozen(path, "anew.db", &heads);
  forge(
    path, "reason = 'forged'",
    "e3b3c59fe57b5722cc3c6fb45ee64ad74c004a05d55624fb1dc868495216fe78"
  );
  CHECK_INT(verify_file(path, A, NULL, &report), CUSTMEM_OK);
  CHECK_INT(report.events, 5);
  CHECK_INT(check_file(path, &report), CUSTMEM_OK);
  CHECK_INT(verify_file(path, A, &heads.of[A][4], &report), CUSTMEM_OK);
  check_anchor(path, A, &heads.of[A][5], CUSTMEM_FAULT_ANCHOR_DIFFERS);
}

TEST(a_store_under_another_id_is_found_at_the_first_event) {
  char path[PATH_SIZE];
  struct heads heads;
  custmem_report report;
  make_chain(path, "renamed.db", STORE_ID, &heads);
  CHECK_INT(intrude(path, "UPDATE store SET id = '" OTHER_STORE_ID "'"), 1);
  CHECK_INT(verify_file(path, A, NULL, &report), CUSTMEM_BROKEN);
  CHECK_INT(report.fault, CUSTMEM_FAULT_HASH);
  CHECK_INT(report.seq, 1);
  CHECK_INT(report.events, 0);
  CHECK_INT(verify_file(path, B, NULL, &report), CUSTMEM_BROKEN);
  CHECK_INT(report.seq, 1);
  CHECK_INT(check_file(path, &report), CUSTMEM_BROKEN);
  CHECK_INT(report.fault, CUSTMEM_FAULT_HASH);
  CHECK_TEXT(report.instructor_id, INSTRUCTOR[A]);
  /* Without an event there is nothing that could show it, but an anchor. */
  CHECK_INT(verify_file(path, LONG, NULL, &report), CUSTMEM_OK);
  check_anchor(path, LONG, &heads.of[LONG][0], CUSTMEM_FAULT_ANCHOR_DIFFERS);
  CHECK_INT(intrude(path, "UPDATE store SET id = '" STORE_ID "'"), 1);
  CHECK_INT(check_file(path, &report), CUSTMEM_OK);
}

TEST(another_instructors_broken_chain_is_not_held_against_this_one) {
  char path[PATH_SIZE];
  struct heads heads;
  custmem_report report;
  make_chain(path, "scoped.db", STORE_ID, &heads);
  CHECK_INT(
    intrude(
      path, "UPDATE audit_events SET reason = 'x' WHERE instructor_id = 'instructor-b'"
            " AND seq = 3"
    ),
    1
  );
  CHECK_INT(verify_file(path, A, &heads.of[A][EVENTS_A], &report), CUSTMEM_OK);
  CHECK_INT(verify_file(path, B, NULL, &report), CUSTMEM_BROKEN);
  CHECK_INT(report.seq, 3);
  CHECK_INT(verify_file(path, LONG, NULL, &report), CUSTMEM_OK);
  CHECK_INT(check_file(path, &report), CUSTMEM_BROKEN);
  CHECK_INT(report.fault, CUSTMEM_FAULT_HASH);
  CHECK_TEXT(report.instructor_id, INSTRUCTOR[B]);
  CHECK_INT(report.seq, 3);
}

/* ---- What a chain alone cannot show -------------------------------------------------------- */

/* Drops every trigger, runs the SQL, and makes the triggers again to the letter: what is left of it
** is only what the rows say. */
static void alter_past_the_triggers(const char *path, const char *sql, int n) {
  sqlite3 *db = test_plain(path);
  sqlite3_stmt *stmt = NULL;
  char drop[4096] = "";
  char *make = sqlite3_mprintf("%s", "");
  CHECK_INT(
    sqlite3_prepare_v2(
      db, "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'", -1, &stmt, NULL
    ),
    SQLITE_OK
  );
  while (sqlite3_step(stmt) == SQLITE_ROW) {
    make = sqlite3_mprintf("%z%s;\n", make, (const char *)sqlite3_column_text(stmt, 1));
    snprintf(
      drop + strlen(drop), sizeof drop - strlen(drop), "DROP TRIGGER %s;",
      (const char *)sqlite3_column_text(stmt, 0)
    );
  }
  CHECK_INT(sqlite3_finalize(stmt), SQLITE_OK);
  CHECK(drop[0] != '\0');
  CHECK_INT(test_sql(db, drop), SQLITE_OK);
  run(db, sql, n);
  CHECK_INT(test_sql(db, make), SQLITE_OK);
  sqlite3_free(make);
  CHECK_INT(sqlite3_close(db), SQLITE_OK);
}

#define CUT "DELETE FROM audit_events WHERE instructor_id = 'instructor-a' AND seq > ?1;"
#define LAST_OF_LINK                                                                           \
  "FROM audit_events AS e WHERE e.instructor_id = 'instructor-a'"                              \
  " AND e.conversation_id = conversation_links.conversation_id ORDER BY e.seq DESC LIMIT 1)"
#define FOLD_LINKS                                                                             \
  "UPDATE conversation_links SET customer_id = (SELECT new_customer_id " LAST_OF_LINK          \
  ", updated_at = (SELECT created_at " LAST_OF_LINK                                            \
  ", audit_seq = coalesce((SELECT seq " LAST_OF_LINK                                           \
  ", 0) WHERE instructor_id = 'instructor-a' AND EXISTS (SELECT 1 " LAST_OF_LINK ";"           \
  "DELETE FROM conversation_links WHERE instructor_id = 'instructor-a'"                        \
  " AND NOT EXISTS (SELECT 1 " LAST_OF_LINK ";"

TEST(a_tail_cut_off_with_its_links_is_found_by_an_anchor_alone) {
  char path[PATH_SIZE];
  struct heads heads;
  custmem_report report;
  int left, anchor;
  make_chain(path, "cut.db", STORE_ID, &heads);
  for (left = EVENTS_A - 1; left >= 0; left--) {
    alter_past_the_triggers(path, CUT FOLD_LINKS, left);
    CHECK_INT(verify_file(path, A, NULL, &report), CUSTMEM_OK);
    CHECK_INT(report.events, left);
    CHECK_TEXT(report.head.hash, heads.of[A][left].hash);
    CHECK_INT(check_file(path, &report), CUSTMEM_OK);
    for (anchor = 0; anchor <= left; anchor++)
      CHECK_INT(verify_file(path, A, &heads.of[A][anchor], &report), CUSTMEM_OK);
    check_anchor(path, A, &heads.of[A][left + 1], CUSTMEM_FAULT_ANCHOR_BEYOND);
    check_anchor(path, A, &heads.of[A][EVENTS_A], CUSTMEM_FAULT_ANCHOR_BEYOND);
  }
}

TEST(a_tail_cut_off_without_its_links_is_found) {
  char path[PATH_SIZE];
  struct heads heads;
  custmem_report report;
  int left;
  make_chain(path, "cut-links.db", STORE_ID, &heads);
  alter_past_the_triggers(
    path, "", 0
  ); /* the control: dropping and making again alone is sound */
  CHECK_INT(check_file(path, &report), CUSTMEM_OK);
  for (left = EVENTS_A - 1; left >= 0; left--) {
    alter_past_the_triggers(path, CUT, left);
    CHECK_INT(verify_file(path, A, NULL, &report), CUSTMEM_BROKEN);
    CHECK_INT(report.fault, CUSTMEM_FAULT_LINK);
    CHECK_INT(check_file(path, &report), CUSTMEM_BROKEN);
    CHECK_INT(report.fault, CUSTMEM_FAULT_LINK);
    CHECK_INT(verify_file(path, B, &heads.of[B][EVENTS_B], &report), CUSTMEM_OK);
  }
}

TEST(a_history_that_took_another_turn_is_found_by_an_anchor_alone) {
  char path[PATH_SIZE], fork[PATH_SIZE];
  struct heads heads, forked;
  struct step turn = {A, 'B', 'A', "conversation-1", "another turn", NULL, NOON, NULL};
  custmem_report report;
  custmem *store;
  int64_t seq;
  make_store(path, "fork-1.db", STORE_ID);
  store = test_store_at(path, &clock_ms);
  memset(&heads, 0, sizeof heads);
  act_all(store, CHAIN, 0, 9, &heads);
  snprintf(fork, sizeof fork, "%s", test_path("fork-2.db"));
  CHECK_INT(custmem_backup(store, fork), CUSTMEM_OK);
  forked = heads;
  act_all(store, CHAIN, 9, COUNT_OF(CHAIN), &heads);
  custmem_close(store);
  store = test_store_at(fork, &clock_ms);
  act_all(store, &turn, 0, 1, &forked);
  custmem_close(store);
  for (seq = 0; seq < forked.count[A]; seq++) {
    CHECK_INT(verify_file(path, A, &forked.of[A][seq], &report), CUSTMEM_OK);
    CHECK_INT(verify_file(fork, A, &heads.of[A][seq], &report), CUSTMEM_OK);
  }
  check_anchor(path, A, &forked.of[A][forked.count[A]], CUSTMEM_FAULT_ANCHOR_DIFFERS);
  check_anchor(fork, A, &heads.of[A][forked.count[A]], CUSTMEM_FAULT_ANCHOR_DIFFERS);
  check_anchor(fork, A, &heads.of[A][EVENTS_A], CUSTMEM_FAULT_ANCHOR_BEYOND);
}

/* A later version's own doing, as the schema has it: read as what it is, never made here. */
/* Ids of one character differ in it. */
TEST(a_link_that_was_given_to_another_is_found_however_short_the_ids) {
  const char *path = test_path("short.db");
  custmem *store = test_store(path);
  custmem_actor a = test_human("a");
  custmem_report report;
  const char *customer;
  sqlite3 *db;
  REQUIRE(store != NULL);
  customer = test_customer(store, "a", "393331234567");
  CHECK_INT(custmem_link(store, &a, "c", customer, "r", 1, NULL, 0, NULL), CUSTMEM_OK);
  CHECK_INT(custmem_link(store, &a, "d", customer, "r", 1, NULL, 0, NULL), CUSTMEM_OK);
  CHECK_INT(custmem_audit_verify(store, "a", NULL, &report), CUSTMEM_OK);
  db = test_plain(path);
  CHECK_INT(test_sql(db, "DROP TRIGGER conversation_links_update"), SQLITE_OK);
  CHECK_INT(
    test_sql(
      db, "UPDATE conversation_links SET instructor_id = 'b' WHERE conversation_id = 'c'"
    ),
    SQLITE_OK
  );
  CHECK_INT(sqlite3_close(db), SQLITE_OK);
  CHECK_INT(custmem_audit_verify(store, "a", NULL, &report), CUSTMEM_BROKEN);
  CHECK_INT(report.fault, CUSTMEM_FAULT_LINK);
  CHECK_TEXT(report.subject, "c");
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(an_event_of_the_system_is_read_as_one) {
  const char *path = test_path("system.db");
  char sql[1024];
  const char *anna;
  custmem *store = test_store(path);
  static custmem_event events[2];
  int32_t count;
  sqlite3 *db;
  REQUIRE(store != NULL);
  anna = test_customer(store, "ada", "393331234567");
  db = test_plain(path);
  snprintf(
    sql, sizeof sql,
    "BEGIN; INSERT INTO audit_events VALUES ('ada', 1, 'conversation.customer_linked', 'c1', "
    "NULL, '%s',"
    " 'system', NULL, 'because', NULL, 5, zeroblob(32));"
    "INSERT INTO conversation_links VALUES ('c1', 'ada', '%s', 1, 5); COMMIT",
    anna, anna
  );
  CHECK_INT(test_sql(db, sql), SQLITE_OK);
  sqlite3_close(db);
  CHECK_INT(custmem_audit_read(store, "ada", 0, events, 2, &count), CUSTMEM_OK);
  CHECK_INT(count, 1);
  CHECK_INT(events[0].actor_type, CUSTMEM_ACTOR_SYSTEM);
  CHECK_TEXT(events[0].actor_id, "");
  CHECK_TEXT(events[0].new_customer_id, anna);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  RUN(the_frozen_chain_has_the_documented_hashes, "CM-2.5; CM-2.3 §6; D-7");
  RUN(three_hundred_events_have_the_documented_hashes, "CM-2.5; D-7");
  RUN(events_of_every_size_have_the_documented_hashes, "CM-2.5; D-7");
  RUN(an_empty_chain_is_bound_to_the_store_and_the_instructor, "CM-2.5; D-7");
  RUN(what_is_not_there_is_null_in_the_file, "CM-2.3 §6; D-2; D-7");
  RUN(each_write_makes_one_event_and_a_refused_one_none, "CM-2.3 §6; CM-2.3 §8; CM-2.3 §9; T5");
  RUN(a_trail_is_read_in_pages_of_any_size_from_anywhere, "CM-2.5; CM-1 §4.1; D-7");
  RUN(a_history_is_one_conversations_and_one_instructors, "CM-2.5; CM-1 §4.3; D-8");
  RUN(time_never_sorts, "D-2; D-7");
  RUN(a_sound_chain_verifies_with_its_counts_and_head, "CM-2.5; CM-2.3 §8; D-7");
  RUN(every_earlier_head_is_continued, "CM-2.5; D-7");
  RUN(a_head_of_another_chain_is_not_continued, "CM-2.5; D-7");
  RUN(a_malformed_anchor_is_misuse, "D-7; D-8");
  RUN(every_altered_field_of_every_event_is_found, "CM-2.5; CM-2.3 §8; T5; D-7");
  RUN(a_deleted_swapped_added_or_transplanted_event_is_found, "CM-2.5; CM-2.3 §8; T5; D-7");
  RUN(a_link_that_the_events_do_not_say_is_found, "CM-2.5; CM-2.3 §9; D-7");
  RUN(names_at_their_limit_are_reported_whole, "CM-2.5; D-7");
  RUN(a_link_of_no_instructor_is_found_by_check, "CM-2.3 §6; CM-2.5; D-7");
  RUN(a_stray_link_with_a_strange_id_is_a_fault_of_the_link, "CM-2.5; D-7");
  RUN(a_customer_that_no_call_makes_is_found_by_check, "CM-1 §4.1; D-8");
  RUN(a_chain_that_ends_where_no_chain_ends_is_damage, "CM-2.5; D-7");
  RUN(a_report_may_hold_the_anchor_of_the_next_verification, "CM-2.5; D-7; D-8");
  RUN(a_link_to_what_cannot_be_an_id_is_damage, "CM-2.5; D-7");
  RUN(an_event_that_no_write_makes_is_found_though_its_hash_is_right, "CM-2.5; D-7");
  RUN(a_hash_of_another_size_is_damage_to_every_reader, "CM-2.5");
  RUN(an_event_made_anew_with_its_hash_is_found_by_an_anchor_alone, "CM-2.5; D-7");
  RUN(a_store_under_another_id_is_found_at_the_first_event, "CM-2.5; D-7");
  RUN(another_instructors_broken_chain_is_not_held_against_this_one, "CM-2.5; CM-1 §4.1; D-7");
  RUN(a_tail_cut_off_with_its_links_is_found_by_an_anchor_alone, "CM-2.5; D-7");
  RUN(a_tail_cut_off_without_its_links_is_found, "CM-2.5; D-7");
  RUN(a_history_that_took_another_turn_is_found_by_an_anchor_alone, "CM-2.5; D-7");
  RUN(a_link_that_was_given_to_another_is_found_however_short_the_ids, "CM-2.3 §4.2; D-7");
  RUN(an_event_of_the_system_is_read_as_one, "CM-2.5; CM-2.3 §3.2");
  return test_report();
}
