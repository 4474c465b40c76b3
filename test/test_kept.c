/* SPDX-License-Identifier: MIT
**
** Kept answers: a page that is asked for again is not looked for again, as long as nothing is committed
** to the file; and whatever is committed, by whomever, the next page shows it.
**
** That an answer was looked for is seen on the connection: how often the statements of resolution ran.
*/
#include "test.h"
#include "vfs_shim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENDS            CUSTMEM_NUL_TERMINATED
#define A               "instructor-a"
#define B               "instructor-b"
#define NUMBER          "+39 333 1234567"
#define OTHER_NUMBER    "+39 333 7654321"
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* How often resolution looked into the tables on this connection; -1 where it is not known. */
static int lookups(sqlite3 *db) {
  sqlite3_stmt *stmt = NULL;
  int count = 0;
  if (db == NULL) return -1;
  while ((stmt = sqlite3_next_stmt(db, stmt)) != NULL)
    if (strstr(sqlite3_sql(stmt), "customers AS same") != NULL)
      count += sqlite3_stmt_status(stmt, SQLITE_STMTSTATUS_RUN, 0);
  return count;
}

static void relink_to(
  custmem *store,
  const char *conversation_id,
  const char *from_id,
  const char *to_id
) {
  custmem_actor actor = test_human(A);
  CHECK_INT(
    custmem_relink(
      store, &actor, conversation_id, from_id, to_id, "a mistake", ENDS, NULL, 0, NULL
    ),
    CUSTMEM_OK
  );
}

/* A page with every kind of answer. */
static const custmem_query PAGE[] = {
  {"linked", "whatsapp", NUMBER, ENDS},
  {"not-linked", "whatsapp", NUMBER, ENDS},
  {"nobodys", "whatsapp", "+15005550006", ENDS},
  {"theirs", "whatsapp", NUMBER, ENDS},
  {"refused", "whatsapp", "hello", ENDS},
  {"bare", NULL, NULL, 0},
  {"blank", "whatsapp", " ", ENDS},
  {"no-channel", "fax", NUMBER, ENDS},
  {"linked", NULL, NULL, 0},
  {"linked", "whatsapp", OTHER_NUMBER, ENDS},
  {"linked", "whatsapp", NUMBER, ENDS},
  {"linked", "whatsapp", "hello", ENDS}};
static const int WHYS[] = {
  CUSTMEM_WHY_EXPLICIT_LINK,    CUSTMEM_WHY_ONE_MATCH,     CUSTMEM_WHY_NO_MATCH,
  CUSTMEM_WHY_OTHER_INSTRUCTOR, CUSTMEM_WHY_REFUSED,       CUSTMEM_WHY_NO_IDENTIFIER,
  CUSTMEM_WHY_NO_IDENTIFIER,    CUSTMEM_WHY_BAD_CHANNEL,   CUSTMEM_WHY_EXPLICIT_LINK,
  CUSTMEM_WHY_EXPLICIT_LINK,    CUSTMEM_WHY_EXPLICIT_LINK, CUSTMEM_WHY_EXPLICIT_LINK};
enum { ROWS = COUNT_OF(PAGE) };

/* A store whose page has these answers, and its connection. */
typedef struct scene {
  custmem *store;
  sqlite3 *db;
  char path[512];
  int64_t memory_before;
  char anna[CUSTMEM_UUID_SIZE + 1];
  char bruno[CUSTMEM_UUID_SIZE + 1];
} scene;

static int scene_open(scene *me, const char *path, int exclusive) {
  custmem_actor other = test_human(B);
  custmem_options options;
  test_options(&options);
  options.exclusive = exclusive;
  snprintf(me->path, sizeof me->path, "%s", path);
  me->memory_before = sqlite3_memory_used();
  me->store = test_store_caught(path, &options, &me->db);
  if (me->store == NULL) return 0;
  if (path[0] == ':')
    me->db = NULL; /* a store in memory has had others, to copy its tables with */
  strcpy(me->anna, test_customer(me->store, A, NUMBER));
  strcpy(me->bruno, test_customer(me->store, A, OTHER_NUMBER));
  CHECK_INT(test_link(me->store, A, "linked", me->anna), CUSTMEM_OK);
  return CHECK_INT(
    custmem_link(
      me->store, &other, "theirs", test_customer(me->store, B, NUMBER), "r", ENDS, NULL, 0, NULL
    ),
    CUSTMEM_OK
  );
}

/* What was kept is gone. (The first store in memory leaves an image of its tables.) */
static void scene_close(scene *me) {
  CHECK_INT(custmem_close(me->store), CUSTMEM_OK);
  CHECK(sqlite3_memory_used() < me->memory_before + 150000);
}

static void ask(custmem *store, custmem_resolution *got) {
  memset(got, 0xAA, ROWS * sizeof *got);
  CHECK_INT(custmem_resolve_many(store, A, PAGE, ROWS, got), CUSTMEM_OK);
}

/* One conversation of another handle's that is open for this question alone: nothing is kept for it. */
static custmem_resolution ask_anew(
  const scene *me,
  const char *instructor_id,
  const custmem_query *query
) {
  custmem_resolution got;
  custmem *store = test_store(me->path);
  memset(&got, 0xAA, sizeof got);
  CHECK(store != NULL);
  CHECK_INT(
    custmem_resolve(
      store, instructor_id, query->conversation_id, query->channel, query->raw_identifier,
      query->raw_size, &got
    ),
    CUSTMEM_OK
  );
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  return got;
}

/* Changes none of the page's answers, but nothing is kept after it. */
static void commit_something(custmem *store) {
  static unsigned count;
  char number[24];
  snprintf(number, sizeof number, "+1500555%04u", ++count % 10000);
  test_customer(store, B, number);
}

/* Asks twice: the first time it is looked for, the second time it is not, and the answers are the same. */
static void check_page(const scene *me, custmem_resolution *got) {
  custmem_resolution again[ROWS];
  int before = lookups(me->db), once = before < 0 ? -1 : before + 1, i;
  ask(me->store, got);
  CHECK_INT(lookups(me->db), once);
  ask(me->store, again);
  CHECK_INT(lookups(me->db), once);
  for (i = 0; i < ROWS; i++)
    if (!CHECK(test_is_equal(&got[i], &again[i]))) printf("  (row %d)\n", i);
}

static void check_page_is_kept(const scene *me) {
  custmem_resolution got[ROWS];
  int before = lookups(me->db);
  ask(me->store, got);
  CHECK_INT(lookups(me->db), before);
}

static void check_page_against_others(const scene *me) {
  custmem_resolution got[ROWS];
  int i;
  check_page(me, got);
  for (i = 0; i < ROWS; i++) {
    custmem_resolution anew = ask_anew(me, A, &PAGE[i]);
    if (!CHECK(test_is_equal(&got[i], &anew))) printf("  (row %d)\n", i);
  }
}

TEST(a_page_asked_again_has_the_same_answers_and_is_not_looked_for) {
  static const int exclusive[] = {0, 1};
  size_t e;
  int i;
  for (e = 0; e < COUNT_OF(exclusive); e++) {
    scene me;
    custmem_resolution got[ROWS];
    REQUIRE(scene_open(&me, test_path(e == 0 ? "again.db" : "again-exclusive.db"), exclusive[e])
    );
    check_page(&me, got);
    for (i = 0; i < ROWS; i++)
      CHECK_INT(got[i].why, WHYS[i]);
    CHECK_TEXT(got[0].customer_id, me.anna);
    CHECK_TEXT(got[0].normalized_identifier, "");
    CHECK_TEXT(got[1].customer_id, me.anna);
    CHECK_TEXT(got[1].normalized_identifier, "393331234567");
    CHECK_TEXT(got[3].customer_id, "");
    CHECK_INT(got[4].refusal, CUSTMEM_REFUSED_MALFORMED);
    CHECK_INT(got[7].refusal, CUSTMEM_REFUSED_UNKNOWN_CHANNEL);
    scene_close(&me);
  }
}

/* Only some of a page are new: they are looked for, in their places. */
TEST(what_is_new_on_a_page_is_looked_for_beside_what_is_kept) {
  scene me;
  custmem_resolution got[ROWS], whole[ROWS];
  uint64_t seed = test_seed();
  int round, i;
  REQUIRE(scene_open(&me, test_path("beside.db"), 0));
  ask(me.store, whole);
  for (round = 0; round < 60; round++) {
    custmem_query some[ROWS];
    int rows[ROWS], count = 0;
    for (i = 0; i < ROWS; i++)
      if (test_random(&seed) % 2 == 0) {
        rows[count] = i;
        some[count++] = PAGE[i];
      }
    commit_something(me.store);
    CHECK_INT(custmem_resolve_many(me.store, A, some, count, got), CUSTMEM_OK);
    for (i = 0; i < count; i++)
      CHECK(test_is_equal(&got[i], &whole[rows[i]]));
    ask(me.store, got);
    for (i = 0; i < ROWS; i++)
      CHECK(test_is_equal(&got[i], &whole[i]));
  }
  scene_close(&me);
}

TEST(one_conversation_is_kept_as_those_of_a_page_are) {
  static const int exclusive[] = {0, 1};
  size_t e;
  for (e = 0; e < COUNT_OF(exclusive); e++) {
    scene me;
    custmem_resolution got, again, page[ROWS];
    int before, i;
    REQUIRE(scene_open(&me, test_path(e == 0 ? "one.db" : "one-exclusive.db"), exclusive[e]));
    before = lookups(me.db);
    for (i = 0; i < 3; i++) {
      CHECK_INT(
        custmem_resolve(me.store, A, "linked", NULL, NULL, 0, i == 0 ? &got : &again),
        CUSTMEM_OK
      );
      if (i > 0) CHECK(test_is_equal(&got, &again));
      CHECK_INT(lookups(me.db), before + 1);
    }
    CHECK_TEXT(got.customer_id, me.anna);
    /* What the page kept, the one is given. */
    ask(me.store, page);
    before = lookups(me.db);
    for (i = 0; i < ROWS; i++) {
      CHECK_INT(
        custmem_resolve(
          me.store, A, PAGE[i].conversation_id, PAGE[i].channel, PAGE[i].raw_identifier,
          PAGE[i].raw_size, &got
        ),
        CUSTMEM_OK
      );
      CHECK(test_is_equal(&got, &page[i]));
    }
    CHECK_INT(lookups(me.db), before);
    CHECK_INT(test_unlink(me.store, A, "linked", me.anna), CUSTMEM_OK);
    CHECK_INT(custmem_resolve(me.store, A, "linked", NULL, NULL, 0, &got), CUSTMEM_OK);
    CHECK_TEXT(got.customer_id, "");
    scene_close(&me);
  }
}

/* ---- What was asked, and nothing else ------------------------------------------------------- */

/* Names of which one begins as another, or runs on into the next part as another pair does. */
static const char *const NAMES[] = {"a", "aa", "aaa", "ab", "abc", "bc", "c"};
static const char *const CHANNELS[] = {"sms", "sms/a", "phone", "whatsapp"};
static const char *const NUMBERS[] = {"+393331234567", "+39333123456", "+3933312345678"};
enum { REQUESTS = COUNT_OF(NAMES) * COUNT_OF(CHANNELS) * COUNT_OF(NUMBERS) };

/* Customers of some instructors with some of the keys, and links of some conversations. */
static void fill_with_neighbours(custmem *store) {
  size_t i, c, n;
  for (i = 0; i < COUNT_OF(NAMES); i++) {
    custmem_actor actor = test_human(NAMES[i]);
    custmem_customer customer;
    for (c = 0; c < COUNT_OF(CHANNELS); c++)
      for (n = 0; n < COUNT_OF(NUMBERS); n++) {
        if ((i + c + n) % 3 == 0) continue;
        CHECK_INT(
          custmem_customer_create(
            store, &actor, CHANNELS[c], NUMBERS[n], ENDS, NULL, 0, &customer, NULL
          ),
          CUSTMEM_OK
        );
      }
    if (i % 3 == 0)
      CHECK_INT(
        custmem_link(store, &actor, NAMES[i], customer.id, "r", ENDS, NULL, 0, NULL), CUSTMEM_OK
      );
  }
}

static void fill_queries(custmem_query *queries) {
  size_t i;
  for (i = 0; i < REQUESTS; i++) {
    custmem_query query = {
      NAMES[i % COUNT_OF(NAMES)], CHANNELS[i / COUNT_OF(NAMES) % COUNT_OF(CHANNELS)],
      NUMBERS[i / COUNT_OF(NAMES) / COUNT_OF(CHANNELS)], ENDS};
    queries[i] = query;
  }
}

TEST(an_answer_is_kept_for_its_own_request_alone) {
  static custmem_query queries[REQUESTS];
  static custmem_resolution expected[COUNT_OF(NAMES)][REQUESTS], got[REQUESTS];
  const char *path = test_path("neighbours.db");
  custmem *store = test_store(path), *plain = test_store(path);
  int round, wrong = 0, outcomes[3] = {0, 0, 0};
  size_t i, r;
  REQUIRE(store != NULL && plain != NULL);
  fill_with_neighbours(store);
  fill_queries(queries);
  for (i = 0; i < COUNT_OF(NAMES); i++)
    for (r = 0; r < REQUESTS; r++) {
      CHECK_INT(
        custmem_resolve(
          plain, NAMES[i], queries[r].conversation_id, queries[r].channel,
          queries[r].raw_identifier, ENDS, &expected[i][r]
        ),
        CUSTMEM_OK
      );
      outcomes[expected[i][r].outcome]++;
    }
  CHECK(outcomes[0] > 0 && outcomes[1] > 0 && outcomes[2] > 0);
  for (round = 0; round < 3; round++)
    for (i = 0; i < COUNT_OF(NAMES); i++) {
      CHECK_INT(custmem_resolve_many(store, NAMES[i], queries, REQUESTS, got), CUSTMEM_OK);
      for (r = 0; r < REQUESTS; r++)
        wrong += !test_is_equal(&got[r], &expected[i][r]);
    }
  CHECK_INT(wrong, 0);
  CHECK_INT(custmem_close(plain), CUSTMEM_OK);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* Texts of every size. What is too long to be kept is looked for each time. */
TEST(a_request_of_any_size_is_answered) {
  char instructor[CUSTMEM_ID_MAX + 1], conversations[2][CUSTMEM_ID_MAX + 1];
  char number[] = "393331234567", channel[CUSTMEM_CHANNEL_MAX + 1];
  custmem_query queries[2];
  custmem_resolution got[2];
  custmem_actor actor;
  sqlite3 *db;
  custmem *store = test_store_caught(test_path("sizes.db"), NULL, &db);
  int size, before, kept = 0;
  REQUIRE(store != NULL);
  memset(instructor, 'i', sizeof instructor);
  instructor[CUSTMEM_ID_MAX] = '\0';
  sprintf(channel, "whatsapp/%047d", 0);
  actor = test_human(A);
  actor.instructor_id = instructor;
  for (size = 1; size <= CUSTMEM_ID_MAX; size++) {
    custmem_customer made;
    int i, request = CUSTMEM_ID_MAX + size + (int)strlen(channel) + (int)strlen(number) + 4;
    for (i = 0; i < 2; i++) {
      custmem_query query = {conversations[i], channel, number, ENDS};
      memset(conversations[i], 'a' + i, (size_t)size);
      conversations[i][size] = '\0';
      queries[i] = query;
    }
    number[11] = (char)('0' + size % 10);
    number[10] = (char)('0' + size / 10);
    CHECK_INT(
      custmem_customer_create(store, &actor, channel, number, ENDS, NULL, 0, &made, NULL),
      CUSTMEM_OK
    );
    CHECK_INT(
      custmem_link(store, &actor, conversations[0], made.id, "r", ENDS, NULL, 0, NULL),
      CUSTMEM_OK
    );
    before = lookups(db);
    for (i = 0; i < 2; i++) {
      CHECK_INT(custmem_resolve_many(store, instructor, queries, 2, got), CUSTMEM_OK);
      CHECK_INT(got[0].why, CUSTMEM_WHY_EXPLICIT_LINK);
      CHECK_INT(got[1].why, CUSTMEM_WHY_ONE_MATCH);
      CHECK_TEXT(got[0].customer_id, made.id);
      CHECK_TEXT(got[1].customer_id, made.id);
    }
    kept += lookups(db) == before + 1;
    CHECK_INT(lookups(db), before + (request <= 192 ? 1 : 2));
  }
  CHECK(kept > 0 && kept < CUSTMEM_ID_MAX);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* More conversations than are kept, in any order, some of them twice on a page. */
enum { MANY = 2600, MANY_PAGE = 50 };

typedef struct crowd {
  custmem *store;
  char customers[2][CUSTMEM_UUID_SIZE + 1];
  char names[MANY][16];
  int linked[MANY];
} crowd;

static void crowd_link(crowd *me, int i) {
  if (me->linked[i] < 0)
    CHECK_INT(test_link(me->store, A, me->names[i], me->customers[i % 2]), CUSTMEM_OK);
  else
    relink_to(
      me->store, me->names[i], me->customers[me->linked[i]], me->customers[!me->linked[i]]
    );
  me->linked[i] = me->linked[i] < 0 ? i % 2 : !me->linked[i];
}

static int crowd_page(crowd *me, uint64_t *seed, int among) {
  custmem_query queries[MANY_PAGE];
  custmem_resolution got[MANY_PAGE];
  int rows[MANY_PAGE], wrong = 0, r;
  for (r = 0; r < MANY_PAGE; r++) {
    custmem_query query = {NULL, NULL, NULL, 0};
    rows[r] = (int)(test_random(seed) % (uint64_t)among);
    query.conversation_id = me->names[rows[r]];
    queries[r] = query;
  }
  CHECK_INT(custmem_resolve_many(me->store, A, queries, MANY_PAGE, got), CUSTMEM_OK);
  for (r = 0; r < MANY_PAGE; r++) {
    int linked = me->linked[rows[r]];
    wrong += strcmp(got[r].customer_id, linked < 0 ? "" : me->customers[linked]) != 0;
  }
  return wrong;
}

TEST(more_conversations_than_are_kept_have_each_its_own_answer) {
  static crowd me;
  static const int among[] = {MANY, 20, MANY, 900};
  uint64_t seed = test_seed();
  int i, wrong = 0;
  me.store = test_store(NULL);
  REQUIRE(me.store != NULL);
  strcpy(me.customers[0], test_customer(me.store, A, NUMBER));
  strcpy(me.customers[1], test_customer(me.store, A, OTHER_NUMBER));
  for (i = 0; i < MANY; i++) {
    sprintf(me.names[i], "talk-%d", i);
    me.linked[i] = -1;
    if (i % 5 != 0) crowd_link(&me, i);
  }
  for (i = 0; i < 1600; i++) {
    wrong += crowd_page(&me, &seed, among[i / 400]);
    if (i % 20 == 19) crowd_link(&me, (int)(test_random(&seed) % (uint64_t)among[i / 400]));
  }
  CHECK_INT(wrong, 0);
  CHECK_INT(custmem_close(me.store), CUSTMEM_OK);
}

/* ---- Whatever is committed ------------------------------------------------------------------ */

/* Every change that makes another answer of one of the page's. */
enum { CHANGES = 5 };

static void commit(const scene *me, custmem *by, int change) {
  switch (change) {
  case 0:
    relink_to(by, "linked", me->anna, me->bruno);
    break;
  case 1:
    CHECK_INT(test_unlink(by, A, "linked", me->bruno), CUSTMEM_OK);
    break;
  case 2:
    CHECK_INT(test_link(by, A, "not-linked", me->bruno), CUSTMEM_OK);
    break;
  case 3:
    test_customer(by, A, "+15005550006");
    break;
  default:
    CHECK_INT(test_link(by, A, "bare", me->anna), CUSTMEM_OK);
  }
}

static void check_all_changes_made(const scene *me) {
  custmem_resolution got[ROWS];
  ask(me->store, got);
  CHECK_INT(got[0].why, CUSTMEM_WHY_ONE_MATCH);
  CHECK_TEXT(got[0].customer_id, me->anna);
  CHECK_INT(got[1].why, CUSTMEM_WHY_EXPLICIT_LINK);
  CHECK_TEXT(got[1].customer_id, me->bruno);
  CHECK_INT(got[2].why, CUSTMEM_WHY_ONE_MATCH);
  CHECK_INT(got[5].why, CUSTMEM_WHY_EXPLICIT_LINK);
  CHECK_TEXT(got[5].customer_id, me->anna);
  CHECK_INT(got[8].why, CUSTMEM_WHY_NO_IDENTIFIER);
}

TEST(what_the_handle_and_another_commit_is_shown_by_the_next_page) {
  static const char *const names[] = {"itself.db", "another.db"};
  size_t n;
  for (n = 0; n < COUNT_OF(names); n++) {
    scene me;
    custmem *other;
    int change;
    REQUIRE(scene_open(&me, test_path(names[n]), 0));
    other = test_store(me.path);
    check_page_against_others(&me);
    for (change = 0; change < CHANGES; change++) {
      commit(&me, n == 0 ? me.store : other, change);
      check_page_against_others(&me);
    }
    check_all_changes_made(&me);
    CHECK_INT(custmem_close(other), CUSTMEM_OK);
    scene_close(&me);
  }
}

TEST(what_a_program_without_custmem_commits_is_shown_by_the_next_page) {
  static const char *const statements[] = {
    "UPDATE customers SET display_identifier = 'x'",
    "UPDATE customers SET channel = 'sms' WHERE normalized_identifier = '393331234567'",
    "DELETE FROM customers WHERE normalized_identifier = '393337654321'"};
  scene me;
  custmem_resolution got[ROWS];
  size_t i;
  REQUIRE(scene_open(&me, test_path("plain.db"), 0));
  check_page_against_others(&me);
  for (i = 0; i < COUNT_OF(statements); i++) {
    sqlite3 *plain = test_plain(me.path);
    CHECK_INT(test_sql(plain, statements[i]), SQLITE_OK);
    CHECK_INT(sqlite3_close(plain), SQLITE_OK);
    check_page_against_others(&me);
  }
  ask(me.store, got);
  CHECK_INT(got[1].why, CUSTMEM_WHY_NO_MATCH);
  scene_close(&me);
}

TEST(what_a_store_of_its_own_commits_is_shown_by_the_next_page) {
  static const char *const names[] = {"own.db", ":memory:"};
  size_t n;
  for (n = 0; n < COUNT_OF(names); n++) {
    scene me;
    custmem_resolution got[ROWS];
    int change;
    REQUIRE(scene_open(&me, n == 0 ? test_path(names[n]) : names[n], n == 0));
    check_page(&me, got);
    for (change = 0; change < CHANGES; change++) {
      commit(&me, me.store, change);
      check_page(&me, got);
    }
    check_all_changes_made(&me);
    scene_close(&me);
  }
}

/* A write that is refused, and one that fails as it is written or as it is committed. */
TEST(what_was_not_committed_is_not_shown) {
  static const int ops[] = {VFS_SHIM_WRITE, VFS_SHIM_SYNC};
  custmem_actor actor = test_human(A);
  scene me;
  custmem_resolution before[ROWS], after[ROWS];
  size_t o;
  int i;
  CHECK_INT(vfs_shim_install(), SQLITE_OK);
  REQUIRE(scene_open(&me, test_path("not-committed.db"), 0));
  ask(me.store, before);
  CHECK_INT(
    custmem_relink(me.store, &actor, "linked", me.bruno, me.anna, "r", ENDS, NULL, 0, NULL),
    CUSTMEM_CHANGED
  );
  ask(me.store, after);
  for (i = 0; i < ROWS; i++)
    CHECK(test_is_equal(&before[i], &after[i]));
  for (o = 0; o < COUNT_OF(ops); o++) {
    vfs_shim_fault fault = {VFS_SHIM_BIT(0),    VFS_SHIM_ALL,     1, 0,
                            SQLITE_IOERR_WRITE, VFS_SHIM_NOT_DONE};
    fault.ops = VFS_SHIM_BIT(ops[o]);
    vfs_shim_fail(&fault);
    CHECK(
      custmem_relink(me.store, &actor, "linked", me.anna, me.bruno, "r", ENDS, NULL, 0, NULL) !=
      CUSTMEM_OK
    );
    CHECK(vfs_shim_fired() > 0);
    vfs_shim_fail(NULL);
    ask(me.store, after);
    for (i = 0; i < ROWS; i++)
      CHECK(test_is_equal(&before[i], &after[i]));
  }
  relink_to(me.store, "linked", me.anna, me.bruno);
  ask(me.store, after);
  CHECK_TEXT(after[0].customer_id, me.bruno);
  scene_close(&me);
  vfs_shim_remove();
}

/* The listener of a link asks for the page: the link is there. */
static void ask_as_told(const custmem_notice *notice, void *ctx) {
  scene *me = ctx;
  custmem_resolution got[ROWS];
  if (notice->event == NULL) return;
  ask(me->store, got);
  CHECK_TEXT(got[1].customer_id, me->bruno);
  CHECK_INT(got[1].why, CUSTMEM_WHY_EXPLICIT_LINK);
}

TEST(a_listener_that_asks_is_shown_what_it_is_told_of) {
  scene me;
  custmem_resolution got[ROWS];
  REQUIRE(scene_open(&me, test_path("told.db"), 0));
  ask(me.store, got);
  CHECK_INT(custmem_set_listener(me.store, ask_as_told, &me), CUSTMEM_OK);
  CHECK_INT(test_link(me.store, A, "not-linked", me.bruno), CUSTMEM_OK);
  CHECK_INT(custmem_set_listener(me.store, NULL, NULL), CUSTMEM_OK);
  ask(me.store, got);
  CHECK_TEXT(got[1].customer_id, me.bruno);
  scene_close(&me);
}

/* ---- Damage and need ------------------------------------------------------------------------- */

/* A link to nobody: its row has failed, and is asked for again each time. What was read of the file
** before is not relied on any more. */
TEST(what_failed_is_not_kept_and_after_damage_nothing_is) {
  scene me;
  custmem_resolution got[ROWS];
  custmem_report report;
  sqlite3 *plain;
  int i, before;
  REQUIRE(scene_open(&me, test_path("damage.db"), 0));
  plain = test_plain(me.path);
  CHECK_INT(
    test_sql(
      plain, "CREATE TEMP TABLE saved AS SELECT * FROM customers;"
             "DELETE FROM customers WHERE normalized_identifier = '393331234567'"
    ),
    SQLITE_OK
  );
  for (i = 0; i < 3; i++) {
    before = lookups(me.db);
    memset(got, 0xAA, sizeof got);
    CHECK_INT(custmem_resolve_many(me.store, A, PAGE, ROWS, got), CUSTMEM_CORRUPT);
    CHECK(lookups(me.db) > before);
    CHECK_INT(got[0].why, CUSTMEM_WHY_LOOKUP_FAILED);
    CHECK_TEXT(got[0].customer_id, "");
    CHECK_INT(got[1].why, CUSTMEM_WHY_NO_MATCH);
    CHECK_INT(got[4].why, CUSTMEM_WHY_REFUSED);
    CHECK_INT(got[8].why, CUSTMEM_WHY_LOOKUP_FAILED);
  }
  CHECK_INT(test_sql(plain, "INSERT OR IGNORE INTO customers SELECT * FROM saved"), SQLITE_OK);
  check_page(&me, got);
  CHECK_TEXT(got[0].customer_id, me.anna);
  /* An event that is altered is found by verify; the page is then looked for anew. */
  CHECK_INT(
    test_sql(
      plain, "DROP TRIGGER audit_events_update; UPDATE audit_events SET reason = 'another'"
    ),
    SQLITE_OK
  );
  CHECK_INT(sqlite3_close(plain), SQLITE_OK);
  ask(me.store, got); /* prepares anew for the changed schema */
  check_page_is_kept(&me);
  before = lookups(me.db);
  CHECK(custmem_audit_verify(me.store, A, NULL, &report) != CUSTMEM_OK);
  CHECK_INT(report.fault, CUSTMEM_FAULT_HASH);
  ask(me.store, got);
  CHECK_INT(lookups(me.db), before + 1);
  scene_close(&me);
}

/* A cell of a page of links is damaged: it points into the page's head. SQLite sees that when it reads the
** page, and not again. */
static int damage_link(const char *path, const char *conversation_id) {
  enum { PAGE_SIZE = 4096, LEAF_OF_INDEX = 10, HEAD = 8 };
  unsigned char *file = NULL;
  size_t room = 0, size = test_file_load(path, &file, &room), at;
  int found = 0, i;
  for (at = PAGE_SIZE; at < size && !found; at += PAGE_SIZE) {
    unsigned char *page = file + at;
    int cells = page[3] << 8 | page[4];
    for (i = 1; page[0] == LEAF_OF_INDEX && i < cells && !found; i++) {
      const unsigned char *cell = page + (page[HEAD + 2 * i] << 8 | page[HEAD + 2 * i + 1]);
      /* after the size of the cell, its header and six types; then comes the instructor */
      found = memcmp(cell + 7, conversation_id, strlen(conversation_id)) == 0 &&
              memcmp(cell + 7 + strlen(conversation_id), A, strlen(A)) == 0;
      if (found) page[HEAD + 2 * i - 2] = 0, page[HEAD + 2 * i - 1] = 4;
    }
  }
  found = found && test_file_write(path, file, size);
  free(file);
  return found;
}

/* A listener that asks for the same conversation as the page that it is told of. */
typedef struct asker {
  custmem *store;
  int codes[4];
  int count;
} asker;

static void ask_again(const custmem_notice *notice, void *ctx) {
  asker *me = ctx;
  custmem_resolution got;
  (void)notice;
  if (me->count < 4)
    me->codes[me->count++] =
      custmem_resolve(me->store, A, "talk-100", "whatsapp", "39333000000100", ENDS, &got);
}

/* Whatever the page's code is, damage in it is remembered by nobody as sound: or a link would be made where
** one is. */
TEST(damage_behind_another_failure_is_found_again) {
  static const custmem_query page[] = {
    {"", NULL, NULL, 0}, {"talk-100", "whatsapp", "39333000000100", ENDS}};
  const char *path = test_path("masked.db"), *customer_id;
  char name[24];
  custmem_resolution got[COUNT_OF(page)];
  custmem *store = test_store(path);
  asker listener;
  int i, rc = CUSTMEM_OK;
  REQUIRE(store != NULL);
  customer_id = test_customer(store, A, NUMBER);
  for (i = 0; i < 300 && rc == CUSTMEM_OK; i++) {
    snprintf(name, sizeof name, "talk-%03d", i);
    rc = test_link(store, A, name, customer_id);
  }
  CHECK_INT(rc, CUSTMEM_OK);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  REQUIRE(damage_link(path, "talk-100"));
  store = test_store(path);
  REQUIRE(store != NULL);
  memset(&listener, 0, sizeof listener);
  listener.store = store;
  for (i = 0; i < 2; i++) {
    CHECK_INT(custmem_resolve_many(store, A, page, COUNT_OF(page), got), CUSTMEM_EMPTY);
    CHECK_INT(got[1].why, CUSTMEM_WHY_LOOKUP_FAILED);
  }
  CHECK_INT(test_link(store, A, "talk-100", customer_id), CUSTMEM_CORRUPT);
  CHECK_INT(test_unlink(store, A, "talk-100", customer_id), CUSTMEM_CORRUPT);
  CHECK_INT(custmem_set_listener(store, ask_again, &listener), CUSTMEM_OK);
  CHECK_INT(custmem_resolve_many(store, A, page + 1, 1, got), CUSTMEM_CORRUPT);
  CHECK_INT(listener.count, 1);
  CHECK_INT(listener.codes[0], CUSTMEM_CORRUPT);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* Rows up to one are answered, and the rest says that it failed. Gives how many failed. */
static int check_part(const custmem_resolution *got, const custmem_resolution *expected) {
  int failed = 0, r;
  for (r = 0; r < ROWS; r++) {
    failed += got[r].why == CUSTMEM_WHY_LOOKUP_FAILED;
    CHECK(
      failed > 0 ? got[r].why == CUSTMEM_WHY_LOOKUP_FAILED
                 : test_is_equal(&got[r], &expected[r])
    );
    CHECK(failed == 0 || got[r].customer_id[0] == '\0');
  }
  return failed;
}

/* Half of a page is kept, and the other half is interrupted at each of its steps: what was not found
** in time is found the next time, and was not kept as nobody's. */
TEST(what_an_interrupt_left_unanswered_is_not_kept) {
  scene me;
  custmem_resolution expected[ROWS], got[ROWS];
  int steps, partly = 0, was_interrupted = 1, i;
  REQUIRE(scene_open(&me, test_path("interrupted.db"), 0));
  ask(me.store, expected);
  for (steps = 0; was_interrupted && steps < 3000; steps++) {
    custmem_query half[ROWS / 2];
    int rc, failed;
    commit_something(me.store);
    for (i = 0; i < ROWS / 2; i++)
      half[i] = PAGE[2 * i + steps % 2];
    CHECK_INT(custmem_resolve_many(me.store, A, half, ROWS / 2, got), CUSTMEM_OK);
    memset(got, 0xAA, sizeof got);
    test_interrupt_after(me.db, steps);
    rc = custmem_resolve_many(me.store, A, PAGE, ROWS, got);
    was_interrupted = test_was_interrupted(me.db);
    failed = check_part(got, expected);
    CHECK_INT(rc == CUSTMEM_OK, failed == 0);
    /* The first row that failed is one that was looked for. */
    if (failed > 0 && failed < ROWS) CHECK((ROWS - failed) % 2 != steps % 2);
    partly += failed > 0 && failed < ROWS;
    ask(me.store, got);
    for (i = 0; i < ROWS; i++)
      CHECK(test_is_equal(&got[i], &expected[i]));
  }
  CHECK(steps > ROWS && steps < 3000 && partly > ROWS);
  scene_close(&me);
}

/* The room for them is a quarter of a megabyte. Where it cannot be had, the answers are the same. */
TEST(without_memory_to_keep_them_in_the_answers_are_the_same) {
  scene me;
  custmem_resolution expected[ROWS], got[ROWS];
  int64_t used, room;
  int i, r, before;
  REQUIRE(scene_open(&me, test_path("no-memory.db"), 0));
  for (i = 0; i < ROWS; i++)
    expected[i] = ask_anew(&me, A, &PAGE[i]);
  used = sqlite3_memory_used();
  sqlite3_hard_heap_limit64(used + 150000);
  for (i = 0; i < 3; i++) {
    before = lookups(me.db);
    ask(me.store, got);
    for (r = 0; r < ROWS; r++)
      CHECK(test_is_equal(&got[r], &expected[r]));
    CHECK_INT(lookups(me.db), before + 1);
  }
  sqlite3_hard_heap_limit64(0);
  used = sqlite3_memory_used();
  check_page(&me, got);
  room = sqlite3_memory_used() - used;
  CHECK(room > 200000 && room < 260000);
  for (r = 0; r < ROWS; r++)
    CHECK(test_is_equal(&got[r], &expected[r]));
  scene_close(&me);
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  RUN(a_page_asked_again_has_the_same_answers_and_is_not_looked_for, "CM-2.1 §6, §8; T3");
  RUN(what_is_new_on_a_page_is_looked_for_beside_what_is_kept, "CM-2.1 §6, §8; CM-1 §5.3");
  RUN(one_conversation_is_kept_as_those_of_a_page_are, "CM-2.1 §6, §8");
  RUN(
    an_answer_is_kept_for_its_own_request_alone,
    "CM-1 §4.2 instructor scope; CM-2.1 §5 core rule"
  );
  RUN(a_request_of_any_size_is_answered, "CM-2.1 §6");
  RUN(more_conversations_than_are_kept_have_each_its_own_answer, "CM-2.1 §5 core rule");
  RUN(
    what_the_handle_and_another_commit_is_shown_by_the_next_page, "CM-2.1 §3, §6; CM-2.3 §4.3"
  );
  RUN(what_a_program_without_custmem_commits_is_shown_by_the_next_page, "CM-2.1 §3, §6");
  RUN(what_a_store_of_its_own_commits_is_shown_by_the_next_page, "CM-2.1 §3, §6; CM-2.3 §4.3");
  RUN(what_was_not_committed_is_not_shown, "CM-2.1 §6; CM-2.3 §6");
  RUN(a_listener_that_asks_is_shown_what_it_is_told_of, "CM-2.1 §7; CM-2.5; D-7");
  RUN(what_failed_is_not_kept_and_after_damage_nothing_is, "CM-2.1 §5 core rule");
  RUN(damage_behind_another_failure_is_found_again, "CM-2.1 §5 core rule; CM-2.3 §4.3");
  RUN(what_an_interrupt_left_unanswered_is_not_kept, "CM-2.1 §5 core rule");
  RUN(without_memory_to_keep_them_in_the_answers_are_the_same, "CM-2.1 §6");
  return test_report();
}
