/* SPDX-License-Identifier: MIT
**
** Resolution and badge: which customer is this conversation, and what does the inbox show? Always
** an answer, never a write.
**
** The VFS shim stands below every store here: it counts what would change a file, and breaks reads.
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
#define KEY             "393331234567"
#define SECOND          "ffffffff-ffff-7fff-bfff-ffffffffffff"
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* What follows from each why: nothing else does. */
static const struct meaning {
  int why, outcome, step, badge;
  const char *event_name, *name;
} meanings[] = {
  {CUSTMEM_WHY_EXPLICIT_LINK, CUSTMEM_LINKED, 1, CUSTMEM_BADGE_KNOWN,
   "conversation.customer_resolved", "explicit_link"},
  {CUSTMEM_WHY_ONE_MATCH, CUSTMEM_CANDIDATE, 2, CUSTMEM_BADGE_NEW,
   "conversation.customer_resolved", "one_match"},
  {CUSTMEM_WHY_NO_INSTRUCTOR, CUSTMEM_UNLINKED, 3, CUSTMEM_BADGE_UNLINKED,
   "conversation.customer_resolution_skipped", "no_instructor"},
  {CUSTMEM_WHY_OTHER_INSTRUCTOR, CUSTMEM_UNLINKED, 3, CUSTMEM_BADGE_UNLINKED,
   "conversation.customer_resolution_skipped", "other_instructor"},
  {CUSTMEM_WHY_NO_IDENTIFIER, CUSTMEM_UNLINKED, 3, CUSTMEM_BADGE_UNLINKED,
   "conversation.customer_unresolved", "no_identifier"},
  {CUSTMEM_WHY_REFUSED, CUSTMEM_UNLINKED, 3, CUSTMEM_BADGE_UNLINKED,
   "conversation.customer_unresolved", "refused"},
  {CUSTMEM_WHY_BAD_CHANNEL, CUSTMEM_UNLINKED, 3, CUSTMEM_BADGE_UNLINKED,
   "conversation.customer_unresolved", "bad_channel"},
  {CUSTMEM_WHY_NO_MATCH, CUSTMEM_UNLINKED, 3, CUSTMEM_BADGE_UNLINKED,
   "conversation.customer_unresolved", "no_match"},
  {CUSTMEM_WHY_MANY_MATCHES, CUSTMEM_UNLINKED, 3, CUSTMEM_BADGE_UNLINKED,
   "conversation.customer_unresolved", "many_matches"},
  {CUSTMEM_WHY_LOOKUP_FAILED, CUSTMEM_UNLINKED, 3, CUSTMEM_BADGE_UNLINKED,
   "conversation.customer_resolution_skipped", "lookup_failed"}};

/* Garbage that no answer may be left with: no text here has such a byte. */
#define GARBAGE 0xAA

static void spoil(custmem_resolution *resolutions, size_t count) {
  memset(resolutions, GARBAGE, count * sizeof *resolutions);
}

/* Whether nothing was written to it. */
static int is_spoiled(const custmem_resolution *resolution) {
  const unsigned char *bytes = (const unsigned char *)resolution;
  size_t i;
  for (i = 0; i < sizeof *resolution; i++)
    if (bytes[i] != GARBAGE) return 0;
  return 1;
}

/* Whether every byte of every field was written. */
static int is_filled(const custmem_resolution *got) {
  int32_t garbage;
  memset(&garbage, GARBAGE, sizeof garbage);
  return got->outcome != garbage && got->step != garbage && got->why != garbage &&
         got->refusal != garbage && got->rules_version == CUSTMEM_RULES_VERSION &&
         memchr(got->customer_id, GARBAGE, sizeof got->customer_id) == NULL &&
         memchr(got->normalized_identifier, GARBAGE, sizeof got->normalized_identifier) ==
           NULL &&
         memchr(got->event_name, GARBAGE, sizeof got->event_name) == NULL &&
         got->customer_id[sizeof got->customer_id - 1] == '\0' &&
         got->normalized_identifier[sizeof got->normalized_identifier - 1] == '\0' &&
         got->event_name[sizeof got->event_name - 1] == '\0';
}

static void check_answer(
  int line,
  const custmem_resolution *got,
  int why,
  int refusal,
  const char *customer_id,
  const char *normalized
) {
  const struct meaning *meaning = &meanings[why];
  test_check_int(__FILE__, line, "why", got->why, why);
  test_check_int(__FILE__, line, "outcome", got->outcome, meaning->outcome);
  test_check_int(__FILE__, line, "step", got->step, meaning->step);
  test_check_int(__FILE__, line, "refusal", got->refusal, refusal);
  test_check_text(__FILE__, line, "event_name", got->event_name, meaning->event_name);
  test_check_text(__FILE__, line, "customer_id", got->customer_id, customer_id);
  test_check_text(__FILE__, line, "normalized", got->normalized_identifier, normalized);
  test_check_int(__FILE__, line, "custmem_badge", custmem_badge(got), meaning->badge);
  test_check(__FILE__, line, "every byte of the answer is filled in", is_filled(got));
}

#define CHECK_ANSWER(got, why, refusal, customer_id, normalized)                               \
  check_answer(__LINE__, got, why, refusal, customer_id, normalized)

static int resolve(
  custmem *store,
  const char *instructor_id,
  const char *conversation_id,
  const char *channel,
  const char *raw,
  custmem_resolution *resolution
) {
  spoil(resolution, 1);
  return custmem_resolve(store, instructor_id, conversation_id, channel, raw, ENDS, resolution);
}

/* After a commit of any kind nothing is kept of the answers before. */
static void forget_what_was_asked(custmem *store, const char *customer_id) {
  custmem_actor actor = test_human(A);
  CHECK_INT(
    custmem_customer_set_display(store, &actor, customer_id, "Anna", ENDS, NULL), CUSTMEM_OK
  );
}

/* ---- The path (CM-2.1 §3) ------------------------------------------------------------------ */

TEST(an_explicit_link_decides_and_nothing_else_is_looked_at) {
  custmem *store = test_store(NULL);
  custmem_resolution got;
  const char *anna, *bert;
  REQUIRE(store != NULL);
  anna = test_customer(store, A, NUMBER);
  bert = test_customer(store, A, "+39 333 7654321");
  CHECK_INT(test_link(store, A, "talk-1", bert), CUSTMEM_OK);
  /* The identifier is Anna's; a human said Bert. */
  CHECK_INT(resolve(store, A, "talk-1", "whatsapp", NUMBER, &got), CUSTMEM_OK);
  CHECK_ANSWER(&got, CUSTMEM_WHY_EXPLICIT_LINK, 0, bert, "");
  CHECK_INT(resolve(store, A, "talk-2", "whatsapp", NUMBER, &got), CUSTMEM_OK);
  CHECK_ANSWER(&got, CUSTMEM_WHY_ONE_MATCH, 0, anna, KEY);
  /* What would be refused at step 2 is not even looked at. */
  CHECK_INT(resolve(store, A, "talk-1", NULL, NULL, &got), CUSTMEM_OK);
  CHECK_ANSWER(&got, CUSTMEM_WHY_EXPLICIT_LINK, 0, bert, "");
  CHECK_INT(resolve(store, A, "talk-1", "Fax!", "no number", &got), CUSTMEM_OK);
  CHECK_ANSWER(&got, CUSTMEM_WHY_EXPLICIT_LINK, 0, bert, "");
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(one_customer_with_the_key_is_a_candidate_however_it_is_spelled) {
  static const char *const spellings[] = {
    "+39 333 1234567",
    "393331234567",
    "whatsapp:+393331234567",
    "393331234567@s.whatsapp.net",
    "393331234567:12@s.whatsapp.net",
    "39-333-1234567"};
  custmem *store = test_store(NULL);
  custmem_resolution got;
  const char *anna;
  size_t i;
  REQUIRE(store != NULL);
  anna = test_customer(store, A, NUMBER);
  for (i = 0; i < COUNT_OF(spellings); i++) {
    CHECK_INT(resolve(store, A, "talk-1", "whatsapp", spellings[i], &got), CUSTMEM_OK);
    CHECK_ANSWER(&got, CUSTMEM_WHY_ONE_MATCH, 0, anna, KEY);
  }
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(nobody_with_the_key_is_no_resolution) {
  static const struct {
    const char *instructor_id, *channel, *raw, *key;
  } cases[] = {
    {A, "whatsapp", "+39 333 1234568", "393331234568"},
    {A, "whatsapp", "3331234567", "3331234567"}, /* a country code is never guessed */
    {A, "whatsapp/shop-1", NUMBER, KEY},
    {A, "sms", NUMBER, KEY},
    {A, "telegram", KEY, KEY},
    {A, "whatsapp", "393331234567@lid", "393331234567@lid"},
    {B, "whatsapp", NUMBER, KEY}};
  custmem *store = test_store(NULL);
  custmem_resolution got;
  size_t i;
  REQUIRE(store != NULL);
  test_customer(store, A, NUMBER);
  for (i = 0; i < COUNT_OF(cases); i++) {
    CHECK_INT(
      resolve(store, cases[i].instructor_id, "talk-1", cases[i].channel, cases[i].raw, &got),
      CUSTMEM_OK
    );
    CHECK_ANSWER(&got, CUSTMEM_WHY_NO_MATCH, 0, "", cases[i].key);
  }
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* Gives the file what its unique index makes impossible: a second customer with Anna's key. */
static void duplicate_customer(const char *path, const char *customer_id) {
  char sql[512];
  sqlite3 *db = test_plain(path);
  snprintf(
    sql, sizeof sql,
    "DROP INDEX customers_identity;"
    "INSERT INTO customers SELECT '" SECOND "', instructor_id, channel, normalized_identifier,"
    " NULL, 1, 1 FROM customers WHERE id = '%s';",
    customer_id
  );
  CHECK_INT(test_sql(db, sql), SQLITE_OK);
  sqlite3_close(db);
}

TEST(more_than_one_customer_with_the_key_is_no_resolution) {
  const char *path = test_path("many.db");
  custmem *store = test_store(path);
  custmem_resolution got;
  const char *anna;
  REQUIRE(store != NULL);
  anna = test_customer(store, A, NUMBER);
  CHECK_INT(test_link(store, A, "talk-1", anna), CUSTMEM_OK);
  CHECK_INT(resolve(store, A, "talk-2", "whatsapp", NUMBER, &got), CUSTMEM_OK);
  CHECK_ANSWER(&got, CUSTMEM_WHY_ONE_MATCH, 0, anna, KEY);
  duplicate_customer(path, anna);
  CHECK_INT(resolve(store, A, "talk-2", "whatsapp", NUMBER, &got), CUSTMEM_OK);
  CHECK_ANSWER(&got, CUSTMEM_WHY_MANY_MATCHES, 0, "", KEY);
  /* A human's word stands over the confusion. */
  CHECK_INT(resolve(store, A, "talk-1", "whatsapp", NUMBER, &got), CUSTMEM_OK);
  CHECK_ANSWER(&got, CUSTMEM_WHY_EXPLICIT_LINK, 0, anna, "");
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* Resolves a page, or its first conversation alone, and stops SQLite after some of its steps. An answer is
** the right one or none, and behind one that failed all have. */
static int resolve_in_steps(
  custmem *store,
  sqlite3 *db,
  const char *customer_id,
  int32_t count,
  int steps
) {
  static const custmem_query queries[] = {
    {"talk-2", "whatsapp", NUMBER, ENDS},
    {"talk-1", "whatsapp", NUMBER, ENDS},
    {"talk-3", "whatsapp", NUMBER, ENDS},
    {"talk-4", "whatsapp", "393339999999", ENDS},
    {"talk-5", "whatsapp", NUMBER, ENDS}};
  static const int wanted[] = {
    CUSTMEM_WHY_MANY_MATCHES, CUSTMEM_WHY_EXPLICIT_LINK, CUSTMEM_WHY_MANY_MATCHES,
    CUSTMEM_WHY_NO_MATCH, CUSTMEM_WHY_MANY_MATCHES};
  custmem_resolution got[COUNT_OF(queries)];
  int32_t i;
  int failed = 0, was_interrupted, rc;
  forget_what_was_asked(store, customer_id);
  test_interrupt_after(db, steps);
  rc = custmem_resolve_many(store, A, queries, count, got);
  was_interrupted = test_was_interrupted(db);
  for (i = 0; i < count; i++) {
    failed = failed || got[i].why == CUSTMEM_WHY_LOOKUP_FAILED;
    CHECK_INT(got[i].why, failed ? CUSTMEM_WHY_LOOKUP_FAILED : wanted[i]);
    CHECK((got[i].customer_id[0] != '\0') == (got[i].why == CUSTMEM_WHY_EXPLICIT_LINK));
  }
  CHECK_INT(rc, failed ? CUSTMEM_INTERRUPTED : CUSTMEM_OK);
  return was_interrupted;
}

/* An inbox may show "Unlinked" for a row that cannot be asked about; not for all that was not asked. */
TEST(what_ends_a_page_is_told_before_what_is_wrong_with_a_row) {
  static const custmem_query queries[] = {
    {"", "whatsapp", NUMBER, ENDS}, {"talk-1", "whatsapp", NUMBER, ENDS}};
  custmem_resolution got[COUNT_OF(queries)];
  sqlite3 *db;
  custmem *store = test_store_caught(test_path("ended.db"), NULL, &db);
  REQUIRE(store != NULL);
  test_customer(store, A, NUMBER);
  CHECK_INT(custmem_resolve_many(store, A, queries, COUNT_OF(queries), got), CUSTMEM_EMPTY);
  CHECK_INT(got[1].why, CUSTMEM_WHY_ONE_MATCH);
  forget_what_was_asked(store, got[1].customer_id);
  test_interrupt_after(db, 10);
  CHECK_INT(
    custmem_resolve_many(store, A, queries, COUNT_OF(queries), got), CUSTMEM_INTERRUPTED
  );
  CHECK(test_was_interrupted(db));
  CHECK_HAS(custmem_errmsg(store), "interrupted");
  CHECK_TEXT(custmem_errarg(store), "");
  CHECK_INT(got[0].why, CUSTMEM_WHY_LOOKUP_FAILED);
  CHECK_INT(got[1].why, CUSTMEM_WHY_LOOKUP_FAILED);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* One match that was seen is no "exactly one" while the search for a second has not ended. */
TEST(two_matches_are_never_one_wherever_the_search_is_stopped) {
  static const int32_t counts[] = {1, 2, 5};
  const char *path = test_path("matches.db"), *anna;
  sqlite3 *db;
  custmem *store = test_store_caught(path, NULL, &db);
  size_t i;
  REQUIRE(store != NULL);
  anna = test_customer(store, A, NUMBER);
  CHECK_INT(test_link(store, A, "talk-1", anna), CUSTMEM_OK);
  duplicate_customer(path, anna);
  for (i = 0; i < COUNT_OF(counts); i++) {
    int steps = 0;
    while (resolve_in_steps(store, db, anna, counts[i], steps))
      steps += counts[i] == 5 ? 3 : 1;
    CHECK(steps > 20);
  }
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* Gives the file a second customer with Anna's key behind the index that forbids it: the index is
** taken for a plain one while the row is written. Afterwards the schema is what it was to the letter,
** and SQLite, who trusts it, looks for no second row where all columns of the index are equal. */
static void hide_duplicate(const char *path, const char *customer_id) {
  char sql[1024];
  sqlite3 *db = test_plain(path);
  snprintf(
    sql, sizeof sql,
    "PRAGMA writable_schema = ON;"
    "UPDATE sqlite_schema SET sql = replace(sql, 'UNIQUE ', '')"
    " WHERE name = 'customers_identity';"
    "PRAGMA writable_schema = RESET;"
    "INSERT INTO customers SELECT '" SECOND "', instructor_id, channel, normalized_identifier,"
    " NULL, 1, 1 FROM customers WHERE id = '%s';"
    "PRAGMA writable_schema = ON;"
    "UPDATE sqlite_schema SET sql = replace(sql, 'CREATE INDEX', 'CREATE UNIQUE INDEX')"
    " WHERE name = 'customers_identity';"
    "PRAGMA writable_schema = RESET;",
    customer_id
  );
  CHECK_INT(test_sql(db, sql), SQLITE_OK);
  CHECK_INT(test_sql_int(db, "SELECT count(*) FROM customers"), 2);
  sqlite3_close(db);
}

static void check_hidden_duplicate(custmem *store, const char *anna) {
  static const custmem_query queries[3] = {
    {"talk-2", "whatsapp", NUMBER, ENDS},
    {"talk-1", "whatsapp", NUMBER, ENDS},
    {"talk-3", "whatsapp", KEY, ENDS}};
  custmem_resolution got[3];
  CHECK_INT(resolve(store, A, "talk-2", "whatsapp", NUMBER, &got[0]), CUSTMEM_OK);
  CHECK_ANSWER(&got[0], CUSTMEM_WHY_MANY_MATCHES, 0, "", KEY);
  spoil(got, 3);
  CHECK_INT(custmem_resolve_many(store, A, queries, 3, got), CUSTMEM_OK);
  CHECK_ANSWER(&got[0], CUSTMEM_WHY_MANY_MATCHES, 0, "", KEY);
  CHECK_ANSWER(&got[1], CUSTMEM_WHY_EXPLICIT_LINK, 0, anna, "");
  CHECK_ANSWER(&got[2], CUSTMEM_WHY_MANY_MATCHES, 0, "", KEY);
}

TEST(a_second_match_that_a_unique_index_hides_is_no_resolution) {
  const char *path = test_path("hidden.db");
  custmem *store = test_store(path);
  custmem_report report;
  char anna[CUSTMEM_UUID_SIZE + 1];
  REQUIRE(store != NULL);
  strcpy(anna, test_customer(store, A, NUMBER));
  CHECK_INT(test_link(store, A, "talk-1", anna), CUSTMEM_OK);
  hide_duplicate(path, anna);
  check_hidden_duplicate(store, anna);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  /* The file opens, and check says what it holds. */
  store = test_store(path);
  REQUIRE(store != NULL);
  check_hidden_duplicate(store, anna);
  CHECK_INT(custmem_check(store, &report), CUSTMEM_BROKEN);
  CHECK_INT(report.fault, CUSTMEM_FAULT_DATABASE);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(without_an_identifier_there_is_no_resolution) {
  static const char *const blanks[] = {"", " ", "   ", "\xc2\xa0", "\xe2\x80\x8b", NULL};
  custmem *store = test_store(NULL);
  custmem_resolution got;
  size_t i;
  REQUIRE(store != NULL);
  test_customer(store, A, NUMBER);
  for (i = 0; i < COUNT_OF(blanks); i++) {
    int refusal = custmem_normalize("whatsapp", blanks[i], ENDS, NULL);
    CHECK_INT(resolve(store, A, "talk-1", "whatsapp", blanks[i], &got), CUSTMEM_OK);
    CHECK_INT(refusal, CUSTMEM_REFUSED_MISSING);
    CHECK_ANSWER(&got, CUSTMEM_WHY_NO_IDENTIFIER, 0, "", "");
  }
  spoil(&got, 1);
  CHECK_INT(custmem_resolve(store, A, "talk-1", "whatsapp", NUMBER, 0, &got), CUSTMEM_OK);
  CHECK_ANSWER(&got, CUSTMEM_WHY_NO_IDENTIFIER, 0, "", "");
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(an_identifier_that_cannot_be_normalized_is_no_resolution_and_says_why) {
  static char too_long[CUSTMEM_RAW_MAX + 2];
  static const struct {
    const char *channel, *raw;
    int64_t size;
    int refusal;
  } cases[] = {
    {"whatsapp", too_long, ENDS, CUSTMEM_REFUSED_TOO_LONG},
    {"whatsapp", "393331234567\xff", ENDS, CUSTMEM_REFUSED_NOT_TEXT},
    {"whatsapp", "393331234567\0", 13, CUSTMEM_REFUSED_NOT_TEXT},
    {"whatsapp", "393331234567\x01", ENDS, CUSTMEM_REFUSED_NOT_TEXT},
    {"whatsapp", "hello", ENDS, CUSTMEM_REFUSED_MALFORMED},
    {"whatsapp", "++393331234567", ENDS, CUSTMEM_REFUSED_MALFORMED},
    {"email", "anna", ENDS, CUSTMEM_REFUSED_MALFORMED},
    {"sms", "12345", ENDS, CUSTMEM_REFUSED_TOO_FEW_DIGITS},
    {"whatsapp", "1234567890123456", ENDS, CUSTMEM_REFUSED_TOO_MANY_DIGITS},
    {"whatsapp", "00393331234567", ENDS, CUSTMEM_REFUSED_LEADING_ZERO},
    {"whatsapp", "+44 (0)20 7946 0000", ENDS, CUSTMEM_REFUSED_TRUNK_ZERO},
    {"phone", "tel:+393331234567;ext=5", ENDS, CUSTMEM_REFUSED_EXTENSION},
    {"sms", "ANONYMOUS", ENDS, CUSTMEM_REFUSED_WITHHELD},
    {"whatsapp", "120363025246125486@g.us", ENDS, CUSTMEM_REFUSED_NOT_A_PERSON},
    {"telegram", "@anna", ENDS, CUSTMEM_REFUSED_MUTABLE},
    {"telegram", "4503599627370497", ENDS, CUSTMEM_REFUSED_OUT_OF_RANGE}};
  custmem *store = test_store(NULL);
  custmem_resolution got;
  size_t i;
  REQUIRE(store != NULL);
  test_customer(store, A, NUMBER);
  snprintf(too_long, sizeof too_long, "%-*s", CUSTMEM_RAW_MAX + 1, KEY);
  for (i = 0; i < COUNT_OF(cases); i++) {
    spoil(&got, 1);
    CHECK_INT(
      custmem_resolve(store, A, "talk-1", cases[i].channel, cases[i].raw, cases[i].size, &got),
      CUSTMEM_OK
    );
    CHECK_ANSWER(&got, CUSTMEM_WHY_REFUSED, cases[i].refusal, "", "");
    CHECK_INT(
      custmem_normalize(cases[i].channel, cases[i].raw, cases[i].size, NULL), cases[i].refusal
    );
  }
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(a_channel_that_is_none_is_no_resolution_and_says_why) {
  static const struct {
    const char *channel;
    int refusal;
  } cases[] = {
    {NULL, CUSTMEM_REFUSED_BAD_CHANNEL},        {"", CUSTMEM_REFUSED_BAD_CHANNEL},
    {"WhatsApp", CUSTMEM_REFUSED_BAD_CHANNEL},  {"whatsapp/", CUSTMEM_REFUSED_BAD_CHANNEL},
    {"/shop", CUSTMEM_REFUSED_BAD_CHANNEL},     {"whatsapp/a/b", CUSTMEM_REFUSED_BAD_CHANNEL},
    {"what sapp", CUSTMEM_REFUSED_BAD_CHANNEL}, {"wh\xff", CUSTMEM_REFUSED_BAD_CHANNEL},
    {"fax", CUSTMEM_REFUSED_UNKNOWN_CHANNEL},   {"fax/shop", CUSTMEM_REFUSED_UNKNOWN_CHANNEL}};
  custmem *store = test_store(NULL);
  custmem_resolution got;
  size_t i;
  REQUIRE(store != NULL);
  test_customer(store, A, NUMBER);
  for (i = 0; i < COUNT_OF(cases); i++) {
    CHECK_INT(resolve(store, A, "talk-1", cases[i].channel, NUMBER, &got), CUSTMEM_OK);
    CHECK_ANSWER(&got, CUSTMEM_WHY_BAD_CHANNEL, cases[i].refusal, "", "");
  }
  CHECK_INT(resolve(store, A, "talk-1", "fax", NULL, &got), CUSTMEM_OK);
  CHECK_ANSWER(&got, CUSTMEM_WHY_BAD_CHANNEL, CUSTMEM_REFUSED_UNKNOWN_CHANNEL, "", "");
  /* Where neither is given, nobody named a channel that is none. */
  CHECK_INT(resolve(store, A, "talk-1", NULL, NULL, &got), CUSTMEM_OK);
  CHECK_ANSWER(&got, CUSTMEM_WHY_NO_IDENTIFIER, 0, "", "");
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* ---- Scope --------------------------------------------------------------------------------- */

TEST(without_an_instructor_nothing_is_resolved) {
  static char too_long[CUSTMEM_ID_MAX + 2];
  const char *const none[] = {NULL, "", too_long, "in\xff", "in\x01"};
  custmem *store = test_store(NULL);
  custmem_resolution got;
  size_t i;
  REQUIRE(store != NULL);
  memset(too_long, 'i', sizeof too_long - 1);
  CHECK_INT(test_link(store, A, "talk-1", test_customer(store, A, NUMBER)), CUSTMEM_OK);
  for (i = 0; i < COUNT_OF(none); i++) {
    CHECK_INT(resolve(store, none[i], "talk-1", "whatsapp", NUMBER, &got), CUSTMEM_OK);
    CHECK_ANSWER(&got, CUSTMEM_WHY_NO_INSTRUCTOR, 0, "", "");
    CHECK_INT(resolve(store, none[i], "talk-2", "whatsapp", NUMBER, &got), CUSTMEM_OK);
    CHECK_ANSWER(&got, CUSTMEM_WHY_NO_INSTRUCTOR, 0, "", "");
  }
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(another_instructors_conversation_is_not_resolved_at_all) {
  custmem *store = test_store(NULL);
  custmem_resolution got;
  const char *of_a, *of_b;
  REQUIRE(store != NULL);
  of_a = test_customer(store, A, NUMBER);
  of_b = test_customer(store, B, NUMBER);
  CHECK_INT(test_link(store, A, "talk-1", of_a), CUSTMEM_OK);
  /* B has a customer with that very number, and still the conversation is A's. */
  CHECK_INT(resolve(store, B, "talk-1", "whatsapp", NUMBER, &got), CUSTMEM_OK);
  CHECK_ANSWER(&got, CUSTMEM_WHY_OTHER_INSTRUCTOR, 0, "", "");
  CHECK_INT(test_unlink(store, A, "talk-1", of_a), CUSTMEM_OK);
  CHECK_INT(resolve(store, B, "talk-1", "whatsapp", NUMBER, &got), CUSTMEM_OK);
  CHECK_ANSWER(&got, CUSTMEM_WHY_OTHER_INSTRUCTOR, 0, "", "");
  CHECK_INT(resolve(store, B, "talk-1", NULL, NULL, &got), CUSTMEM_OK);
  CHECK_ANSWER(&got, CUSTMEM_WHY_OTHER_INSTRUCTOR, 0, "", "");
  CHECK_INT(resolve(store, A, "talk-1", "whatsapp", NUMBER, &got), CUSTMEM_OK);
  CHECK_ANSWER(&got, CUSTMEM_WHY_ONE_MATCH, 0, of_a, KEY);
  CHECK_INT(resolve(store, B, "talk-2", "whatsapp", NUMBER, &got), CUSTMEM_OK);
  CHECK_ANSWER(&got, CUSTMEM_WHY_ONE_MATCH, 0, of_b, KEY);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(a_damaged_link_never_hands_out_another_instructors_customer) {
  const char *path = test_path("damaged.db");
  custmem *store = test_store(path);
  custmem_resolution got;
  custmem_written written;
  custmem_actor actor = test_human(A);
  const char *of_a, *of_b;
  char sql[256];
  sqlite3 *db;
  REQUIRE(store != NULL);
  of_a = test_customer(store, A, NUMBER);
  of_b = test_customer(store, B, NUMBER);
  CHECK_INT(test_link(store, A, "talk-1", of_a), CUSTMEM_OK);
  db = test_plain(path);
  CHECK_INT(test_sql(db, "DROP TRIGGER conversation_links_update"), SQLITE_OK);
  snprintf(sql, sizeof sql, "UPDATE conversation_links SET customer_id = '%s'", of_b);
  CHECK_INT(test_sql(db, sql), SQLITE_OK);
  sqlite3_close(db);
  CHECK_INT(resolve(store, A, "talk-1", "whatsapp", NUMBER, &got), CUSTMEM_CORRUPT);
  CHECK_ANSWER(&got, CUSTMEM_WHY_LOOKUP_FAILED, 0, "", "");
  /* Nor does a write that is refused say who it is. */
  memset(&written, 0xAA, sizeof written);
  CHECK_INT(
    custmem_link(store, &actor, "talk-1", of_a, "r", ENDS, NULL, 0, &written), CUSTMEM_CORRUPT
  );
  CHECK_TEXT(written.current_customer_id, "");
  CHECK(strstr(custmem_errmsg(store), of_b) == NULL);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* Makes the index by which keys are looked up say that A's key is B's customer. The table says what is
** so; SQLite asks it only where it must. */
static void damage_index(const char *path, const char *of_a, const char *of_b) {
  char sql[256];
  sqlite3 *db = test_plain(path);
  CHECK_INT(test_imposter(db, "customers_identity", "key, channel, instructor, id"), SQLITE_OK);
  snprintf(sql, sizeof sql, "UPDATE imposter SET id = '%s' WHERE id = '%s'", of_b, of_a);
  CHECK_INT(test_sql(db, sql), SQLITE_OK);
  CHECK_INT(sqlite3_changes(db), 1);
  sqlite3_close(db);
}

TEST(a_damaged_index_never_hands_out_another_instructors_customer) {
  static const custmem_query queries[2] = {
    {"talk-1", "whatsapp", NUMBER, ENDS}, {"talk-2", "whatsapp", "+39 333 7654321", ENDS}};
  const char *path = test_path("index.db");
  custmem *store = test_store(path);
  custmem_resolution got, page[2];
  custmem_customer customer;
  custmem_actor actor = test_human(A);
  const char *of_a, *of_b, *sound;
  REQUIRE(store != NULL);
  of_a = test_customer(store, A, NUMBER);
  sound = test_customer(store, A, "+39 333 7654321");
  of_b = test_customer(store, B, NUMBER);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  damage_index(path, of_a, of_b);
  store = test_store(path);
  REQUIRE(store != NULL);
  CHECK_INT(resolve(store, A, "talk-1", "whatsapp", NUMBER, &got), CUSTMEM_CORRUPT);
  CHECK_ANSWER(&got, CUSTMEM_WHY_LOOKUP_FAILED, 0, "", "");
  CHECK_INT(custmem_resolve_many(store, A, queries, 2, page), CUSTMEM_CORRUPT);
  CHECK_ANSWER(&page[0], CUSTMEM_WHY_LOOKUP_FAILED, 0, "", "");
  CHECK_ANSWER(&page[1], CUSTMEM_WHY_ONE_MATCH, 0, sound, "393337654321");
  CHECK_INT(
    custmem_customer_find(store, A, "whatsapp", NUMBER, ENDS, &customer), CUSTMEM_CORRUPT
  );
  CHECK_TEXT(customer.id, "");
  CHECK_INT(
    custmem_customer_create(store, &actor, "whatsapp", NUMBER, ENDS, NULL, 0, &customer, NULL),
    CUSTMEM_CORRUPT
  );
  CHECK_TEXT(customer.id, "");
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* ---- Human in control (CM-2.1 §6, §8) ------------------------------------------------------ */

TEST(two_conversations_with_one_identifier_stay_unlinked_until_a_human_links_each) {
  const char *path = test_path("stay.db");
  custmem *store = test_store(path);
  custmem_resolution got;
  const char *anna;
  sqlite3 *db;
  int i;
  REQUIRE(store != NULL);
  anna = test_customer(store, A, NUMBER);
  for (i = 0; i < 100; i++) {
    CHECK_INT(resolve(store, A, "talk-1", "whatsapp", NUMBER, &got), CUSTMEM_OK);
    CHECK_ANSWER(&got, CUSTMEM_WHY_ONE_MATCH, 0, anna, KEY);
    CHECK_INT(resolve(store, A, "talk-2", "whatsapp", NUMBER, &got), CUSTMEM_OK);
    CHECK_ANSWER(&got, CUSTMEM_WHY_ONE_MATCH, 0, anna, KEY);
  }
  db = test_plain(path);
  CHECK_INT(test_sql_int(db, "SELECT count(*) FROM conversation_links"), 0);
  CHECK_INT(test_link(store, A, "talk-1", anna), CUSTMEM_OK);
  CHECK_INT(resolve(store, A, "talk-1", "whatsapp", NUMBER, &got), CUSTMEM_OK);
  CHECK_ANSWER(&got, CUSTMEM_WHY_EXPLICIT_LINK, 0, anna, "");
  CHECK_INT(resolve(store, A, "talk-2", "whatsapp", NUMBER, &got), CUSTMEM_OK);
  CHECK_ANSWER(&got, CUSTMEM_WHY_ONE_MATCH, 0, anna, KEY);
  CHECK_INT(test_sql_int(db, "SELECT count(*) FROM conversation_links"), 1);
  sqlite3_close(db);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(a_conversation_keeps_its_customer_whatever_else_happens) {
  custmem *store = test_store(NULL);
  custmem_actor actor = test_human(A);
  custmem_resolution got;
  const char *anna, *bert;
  REQUIRE(store != NULL);
  anna = test_customer(store, A, NUMBER);
  CHECK_INT(test_link(store, A, "talk-1", anna), CUSTMEM_OK);
  bert = test_customer(store, A, "+39 333 7654321");
  test_customer(store, B, NUMBER);
  CHECK_INT(test_link(store, A, "talk-2", bert), CUSTMEM_OK);
  CHECK_INT(resolve(store, A, "talk-1", "whatsapp", "+39 333 7654321", &got), CUSTMEM_OK);
  CHECK_ANSWER(&got, CUSTMEM_WHY_EXPLICIT_LINK, 0, anna, "");
  CHECK_INT(resolve(store, B, "talk-1", "whatsapp", NUMBER, &got), CUSTMEM_OK);
  CHECK_INT(
    custmem_customer_set_display(store, &actor, bert, "393331234567", ENDS, NULL), CUSTMEM_OK
  );
  CHECK_INT(
    custmem_link(store, &actor, "talk-1", bert, "no", ENDS, NULL, 0, NULL),
    CUSTMEM_ALREADY_LINKED
  );
  CHECK_INT(resolve(store, A, "talk-1", "whatsapp", "+39 333 7654321", &got), CUSTMEM_OK);
  CHECK_ANSWER(&got, CUSTMEM_WHY_EXPLICIT_LINK, 0, anna, "");
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(a_message_with_an_unparseable_sender_never_stops_the_inbox) {
  custmem *store = test_store(NULL);
  custmem_customer customer;
  custmem_actor actor = test_human(A);
  custmem_resolution got;
  const char *anna;
  REQUIRE(store != NULL);
  anna = test_customer(store, A, NUMBER);
  /* As an ingestion would: no customer can be made, the conversation goes on without one. */
  CHECK_INT(
    custmem_customer_create(
      store, &actor, "whatsapp", "status@broadcast", ENDS, NULL, 0, &customer, NULL
    ),
    CUSTMEM_BAD_IDENTIFIER
  );
  CHECK_INT(resolve(store, A, "talk-1", "whatsapp", "status@broadcast", &got), CUSTMEM_OK);
  CHECK_ANSWER(&got, CUSTMEM_WHY_REFUSED, CUSTMEM_REFUSED_NOT_A_PERSON, "", "");
  /* A human can still assign it. */
  CHECK_INT(test_link(store, A, "talk-1", anna), CUSTMEM_OK);
  CHECK_INT(resolve(store, A, "talk-1", "whatsapp", "status@broadcast", &got), CUSTMEM_OK);
  CHECK_ANSWER(&got, CUSTMEM_WHY_EXPLICIT_LINK, 0, anna, "");
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* ---- Arguments ----------------------------------------------------------------------------- */

TEST(a_conversation_id_that_is_none_is_an_error_and_unlinked) {
  static char limit[CUSTMEM_ID_MAX + 1], past[CUSTMEM_ID_MAX + 2];
  static const struct {
    const char *id;
    int code;
  } cases[] = {{NULL, CUSTMEM_MISUSE},      {"", CUSTMEM_EMPTY},
               {past, CUSTMEM_TOO_LONG},    {"a\xc3", CUSTMEM_BAD_TEXT},
               {"a\x02", CUSTMEM_BAD_TEXT}, {"a\tb", CUSTMEM_BAD_TEXT}};
  custmem *store = test_store(NULL);
  custmem_resolution got;
  const char *anna;
  size_t i;
  REQUIRE(store != NULL);
  anna = test_customer(store, A, NUMBER);
  memset(limit, 'c', sizeof limit - 1);
  memset(past, 'c', sizeof past - 1);
  for (i = 0; i < COUNT_OF(cases); i++) {
    CHECK_INT(resolve(store, A, cases[i].id, "whatsapp", NUMBER, &got), cases[i].code);
    CHECK_TEXT(custmem_errarg(store), "conversation_id");
    CHECK_ANSWER(&got, CUSTMEM_WHY_LOOKUP_FAILED, 0, "", "");
  }
  CHECK_INT(resolve(store, A, limit, "whatsapp", NUMBER, &got), CUSTMEM_OK);
  CHECK_ANSWER(&got, CUSTMEM_WHY_ONE_MATCH, 0, anna, KEY);
  CHECK_INT(
    custmem_resolve(store, A, "talk-1", "whatsapp", NUMBER, ENDS, NULL), CUSTMEM_MISUSE
  );
  spoil(&got, 1);
  custmem_resolve(store, A, "talk-1", "whatsapp", NUMBER, -2, &got);
  CHECK(is_filled(&got));
  CHECK_INT(got.outcome, CUSTMEM_UNLINKED);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(without_a_store_the_answer_is_unlinked) {
  static const custmem_query queries[2] = {
    {"talk-1", "whatsapp", NUMBER, ENDS}, {"talk-2", NULL, NULL, 0}};
  custmem_resolution got, many[2];
  int i;
  CHECK_INT(resolve(NULL, A, "talk-1", "whatsapp", NUMBER, &got), CUSTMEM_MISUSE);
  CHECK_ANSWER(&got, CUSTMEM_WHY_LOOKUP_FAILED, 0, "", "");
  spoil(many, 2);
  CHECK_INT(custmem_resolve_many(NULL, A, queries, 2, many), CUSTMEM_MISUSE);
  for (i = 0; i < 2; i++)
    CHECK_ANSWER(&many[i], CUSTMEM_WHY_LOOKUP_FAILED, 0, "", "");
}

/* ---- A lookup that fails ------------------------------------------------------------------- */

TEST(a_table_that_is_gone_is_unlinked_and_never_a_guess) {
  static const char *const tables[] = {"customers", "conversation_links"};
  size_t i;
  for (i = 0; i < COUNT_OF(tables); i++) {
    const char *path = test_path(tables[i]);
    custmem *store = test_store(path);
    custmem_resolution got, many[2];
    custmem_query queries[2] = {
      {"talk-1", "whatsapp", NUMBER, ENDS}, {"talk-2", "whatsapp", NUMBER, ENDS}};
    char sql[64];
    sqlite3 *db;
    REQUIRE(store != NULL);
    CHECK_INT(test_link(store, A, "talk-1", test_customer(store, A, NUMBER)), CUSTMEM_OK);
    db = test_plain(path);
    snprintf(sql, sizeof sql, "DROP TABLE %s", tables[i]);
    CHECK_INT(test_sql(db, sql), SQLITE_OK);
    sqlite3_close(db);
    CHECK_INT(resolve(store, A, "talk-1", "whatsapp", NUMBER, &got), CUSTMEM_SCHEMA);
    CHECK_ANSWER(&got, CUSTMEM_WHY_LOOKUP_FAILED, 0, "", "");
    /* Without the links nobody knows that talk-2 has none: a candidate would be a guess. */
    CHECK_INT(resolve(store, A, "talk-2", "whatsapp", NUMBER, &got), CUSTMEM_SCHEMA);
    CHECK_INT(got.why, CUSTMEM_WHY_LOOKUP_FAILED);
    CHECK_INT(got.outcome, CUSTMEM_UNLINKED);
    CHECK(is_filled(&got));
    spoil(many, 2);
    CHECK_INT(custmem_resolve_many(store, A, queries, 2, many), CUSTMEM_SCHEMA);
    CHECK_INT(many[0].why, CUSTMEM_WHY_LOOKUP_FAILED);
    CHECK_INT(many[1].why, CUSTMEM_WHY_LOOKUP_FAILED);
    CHECK(is_filled(&many[0]) && is_filled(&many[1]));
    CHECK_INT(custmem_close(store), CUSTMEM_OK);
  }
}

/* A store whose next read must go to the file: another connection has just changed it. */
typedef struct cold_store {
  custmem *store;
  sqlite3 *db;
  char anna[CUSTMEM_UUID_SIZE + 1];
} cold_store;

static int cold_open(cold_store *cold, const char *path) {
  memset(cold, 0, sizeof *cold);
  cold->store = test_store(path);
  if (cold->store == NULL) return 0;
  cold->db = test_plain(path);
  strcpy(cold->anna, test_customer(cold->store, A, NUMBER));
  CHECK_INT(test_link(cold->store, A, "linked", cold->anna), CUSTMEM_OK);
  return 1;
}

static void cool(cold_store *cold) {
  CHECK_INT(test_sql(cold->db, "UPDATE customers SET updated_at = updated_at + 1"), SQLITE_OK);
}

static void cold_close(cold_store *cold) {
  sqlite3_close(cold->db);
  CHECK_INT(custmem_close(cold->store), CUSTMEM_OK);
}

TEST(a_read_that_fails_is_unlinked_with_its_code_and_the_store_lives_on) {
  static const struct {
    int code, want;
  } cases[] = {
    {SQLITE_IOERR_READ, CUSTMEM_IO},
    {SQLITE_IOERR_NOMEM, CUSTMEM_NOMEM},
    {SQLITE_CORRUPT, CUSTMEM_CORRUPT}};
  static const char *const conversations[] = {"linked", "not-linked"};
  cold_store cold;
  size_t i, j;
  CHECK_INT(vfs_shim_install(), SQLITE_OK);
  REQUIRE(cold_open(&cold, test_path("read.db")));
  for (i = 0; i < COUNT_OF(cases); i++) {
    for (j = 0; j < COUNT_OF(conversations); j++) {
      vfs_shim_fault fault = {
        VFS_SHIM_BIT(VFS_SHIM_READ), VFS_SHIM_ALL, 1, 1, SQLITE_OK, VFS_SHIM_NOT_DONE};
      custmem_resolution got;
      fault.code = cases[i].code;
      cool(&cold);
      vfs_shim_fail(&fault);
      CHECK_INT(
        resolve(cold.store, A, conversations[j], "whatsapp", NUMBER, &got), cases[i].want
      );
      vfs_shim_fail(NULL);
      CHECK(vfs_shim_fired() > 0);
      CHECK(custmem_errmsg(cold.store)[0] != '\0');
      CHECK_ANSWER(&got, CUSTMEM_WHY_LOOKUP_FAILED, 0, "", "");
      CHECK_INT(resolve(cold.store, A, conversations[j], "whatsapp", NUMBER, &got), CUSTMEM_OK);
      CHECK_TEXT(got.customer_id, cold.anna);
    }
  }
  cold_close(&cold);
  CHECK_INT(vfs_shim_open_files(), 0);
  vfs_shim_remove();
}

/* The page of the first, the middle and the last of many customers, whose rows are far apart. Before any row is
** read, its transaction reads two pages to begin. */
enum { MANY = 300, FAR = 3, BEGINNING = 2 };

static void resolve_far(custmem *store, custmem_resolution got[FAR], int *rc) {
  static const custmem_query queries[FAR] = {
    {"far-0", NULL, NULL, 0}, {"far-1", NULL, NULL, 0}, {"far-2", NULL, NULL, 0}};
  spoil(got, FAR);
  *rc = custmem_resolve_many(store, A, queries, FAR, got);
}

/* A read that finds damage costs one conversation its answer, whichever it is; any other failure, and those
** behind it, too. */
TEST(damage_in_one_place_leaves_the_rest_of_a_page_resolved) {
  static const int codes[] = {SQLITE_CORRUPT, SQLITE_IOERR_READ};
  char customers[FAR][CUSTMEM_UUID_SIZE + 1], phone[16], conversation[8];
  custmem_resolution got[FAR];
  cold_store cold;
  size_t i;
  int k, rc;
  CHECK_INT(vfs_shim_install(), SQLITE_OK);
  vfs_shim_hurry(1);
  REQUIRE(cold_open(&cold, test_path("far.db")));
  for (k = 0; k < MANY; k++) {
    const char *customer;
    snprintf(phone, sizeof phone, "39333%07d", k);
    customer = test_customer(cold.store, A, phone);
    if (k % (MANY / 2 - 1) == 0) strcpy(customers[k / (MANY / 2 - 1)], customer);
  }
  for (k = 0; k < FAR; k++) {
    snprintf(conversation, sizeof conversation, "far-%d", k);
    CHECK_INT(test_link(cold.store, A, conversation, customers[k]), CUSTMEM_OK);
  }
  for (i = 0; i < COUNT_OF(codes); i++) {
    int64_t failed[FAR] = {0}, n;
    for (n = 1;; n++) {
      vfs_shim_fault fault = {
        VFS_SHIM_BIT(VFS_SHIM_READ), VFS_SHIM_ALL, n, 0, codes[i], VFS_SHIM_NOT_DONE};
      int first = FAR;
      cool(&cold);
      vfs_shim_fail(&fault);
      resolve_far(cold.store, got, &rc);
      vfs_shim_fail(NULL);
      if (vfs_shim_fired() == 0) break;
      if (n <= BEGINNING) continue;
      CHECK_INT(rc, codes[i] == SQLITE_CORRUPT ? CUSTMEM_CORRUPT : CUSTMEM_IO);
      for (k = FAR - 1; k >= 0; k--)
        if (got[k].why == CUSTMEM_WHY_LOOKUP_FAILED) first = k;
      for (k = 0; k < FAR; k++) {
        int is_lost = k == first || (k > first && codes[i] != SQLITE_CORRUPT);
        CHECK_TEXT(got[k].customer_id, is_lost ? "" : customers[k]);
      }
      if (first < FAR) failed[first]++;
    }
    for (k = 0; k < FAR; k++)
      CHECK(failed[k] > 0);
  }
  cold_close(&cold);
  vfs_shim_remove();
}

/* Resolves with the nth call of the file system failing. Gives whether one did fail. */
static int resolve_with_fault(cold_store *cold, int batch, int64_t nth, int persistent) {
  static const custmem_query queries[2] = {
    {"linked", "whatsapp", NUMBER, ENDS}, {"not-linked", "whatsapp", NUMBER, ENDS}};
  vfs_shim_fault fault = {VFS_SHIM_ALL, VFS_SHIM_ALL, 1, 0, SQLITE_IOERR, VFS_SHIM_NOT_DONE};
  custmem_resolution got[2];
  int rc, i;
  cool(cold);
  spoil(got, 2);
  vfs_shim_reset();
  fault.nth = nth;
  fault.persistent = persistent;
  vfs_shim_fail(&fault);
  rc = batch ? custmem_resolve_many(cold->store, A, queries, 2, got)
             : custmem_resolve(cold->store, A, "linked", "whatsapp", NUMBER, ENDS, &got[0]);
  vfs_shim_fail(NULL);
  CHECK_INT(vfs_shim_changes(), 0);
  CHECK(rc == CUSTMEM_OK || rc == CUSTMEM_IO);
  for (i = 0; i <= batch; i++) {
    int want = i == 0 ? CUSTMEM_WHY_EXPLICIT_LINK : CUSTMEM_WHY_ONE_MATCH;
    CHECK(is_filled(&got[i]));
    if (rc == CUSTMEM_OK) CHECK_INT(got[i].why, want);
    if (got[i].why == want)
      CHECK_TEXT(got[i].customer_id, cold->anna);
    else
      CHECK_ANSWER(&got[i], CUSTMEM_WHY_LOOKUP_FAILED, 0, "", got[i].normalized_identifier);
  }
  CHECK_INT(resolve(cold->store, A, "linked", "whatsapp", NUMBER, &got[0]), CUSTMEM_OK);
  CHECK_ANSWER(&got[0], CUSTMEM_WHY_EXPLICIT_LINK, 0, cold->anna, "");
  return vfs_shim_fired() > 0;
}

TEST(wherever_the_file_system_fails_the_answer_is_right_or_unlinked) {
  cold_store cold;
  int batch, persistent;
  CHECK_INT(vfs_shim_install(), SQLITE_OK);
  REQUIRE(cold_open(&cold, test_path("sweep.db")));
  for (batch = 0; batch <= 1; batch++) {
    for (persistent = 0; persistent <= 1; persistent++) {
      int64_t nth = 1;
      while (nth < 1000 && resolve_with_fault(&cold, batch, nth, persistent))
        nth++;
      CHECK(nth > 2 && nth < 1000);
    }
  }
  cold_close(&cold);
  CHECK_INT(vfs_shim_open_files(), 0);
  vfs_shim_remove();
}

static void interrupt(int op, int kind, void *ctx) {
  (void)op;
  (void)kind;
  custmem_interrupt(ctx);
}

TEST(an_interrupted_resolution_is_right_or_unlinked) {
  cold_store cold;
  custmem_resolution got;
  int rc;
  CHECK_INT(vfs_shim_install(), SQLITE_OK);
  REQUIRE(cold_open(&cold, test_path("interrupt.db")));
  cool(&cold);
  vfs_shim_watch(interrupt, cold.store);
  rc = resolve(cold.store, A, "linked", "whatsapp", NUMBER, &got);
  vfs_shim_watch(NULL, NULL);
  CHECK(rc == CUSTMEM_OK || rc == CUSTMEM_INTERRUPTED);
  if (rc == CUSTMEM_OK)
    CHECK_ANSWER(&got, CUSTMEM_WHY_EXPLICIT_LINK, 0, cold.anna, "");
  else
    CHECK_ANSWER(&got, CUSTMEM_WHY_LOOKUP_FAILED, 0, "", "");
  CHECK_INT(resolve(cold.store, A, "linked", "whatsapp", NUMBER, &got), CUSTMEM_OK);
  CHECK_ANSWER(&got, CUSTMEM_WHY_EXPLICIT_LINK, 0, cold.anna, "");
  cold_close(&cold);
  vfs_shim_remove();
}

/* ---- A generated inbox --------------------------------------------------------------------- */

#define INBOX     2000
#define CUSTOMERS 24

/* The kinds of conversation in it, each with the why that it must come out with. */
enum kind {
  KIND_LINKED,
  KIND_LINKED_ELSEWHERE, /* to another customer than its identifier's */
  KIND_LINKED_BARE,      /* without an identifier */
  KIND_UNLINKED_AGAIN,   /* with an identifier that matches */
  KIND_OTHERS,
  KIND_OTHERS_UNLINKED,
  KIND_RARE, /* the kinds above are written, and so made rarely */
  KIND_CANDIDATE = KIND_RARE,
  KIND_NO_MATCH,
  KIND_MISSING,
  KIND_REFUSED,
  KIND_BAD_CHANNEL,
  KIND_UNKNOWN_CHANNEL,
  KIND_NO_CHANNEL,
  KINDS
};

static const int whys[KINDS] = {
  CUSTMEM_WHY_EXPLICIT_LINK, CUSTMEM_WHY_EXPLICIT_LINK,    CUSTMEM_WHY_EXPLICIT_LINK,
  CUSTMEM_WHY_ONE_MATCH,     CUSTMEM_WHY_OTHER_INSTRUCTOR, CUSTMEM_WHY_OTHER_INSTRUCTOR,
  CUSTMEM_WHY_ONE_MATCH,     CUSTMEM_WHY_NO_MATCH,         CUSTMEM_WHY_NO_IDENTIFIER,
  CUSTMEM_WHY_REFUSED,       CUSTMEM_WHY_BAD_CHANNEL,      CUSTMEM_WHY_BAD_CHANNEL,
  CUSTMEM_WHY_BAD_CHANNEL};

typedef struct inbox {
  custmem *store;
  char of_a[CUSTOMERS][CUSTMEM_UUID_SIZE + 1];
  char of_b[CUSTOMERS][CUSTMEM_UUID_SIZE + 1];
  char ids[INBOX][16];
  char raws[INBOX][40];
  custmem_query queries[INBOX];
  enum kind kinds[INBOX];
  const char *customers[INBOX]; /* who it is, "" for nobody */
} inbox;

static void number_of(int who, char *raw, size_t size) {
  snprintf(raw, size, "+39 333 %07d", who);
}

/* What a conversation of this kind says of itself. */
static void describe(inbox *box, int i, int who) {
  custmem_query *query = &box->queries[i];
  enum kind kind = box->kinds[i];
  char *raw = box->raws[i];
  snprintf(box->ids[i], sizeof box->ids[i], "talk-%d", i);
  number_of(kind == KIND_NO_MATCH ? who + CUSTOMERS : who, raw, sizeof box->raws[i]);
  if (kind == KIND_REFUSED) strcat(raw, "@g.us");
  if (kind == KIND_LINKED_ELSEWHERE) number_of((who + 1) % CUSTOMERS, raw, sizeof box->raws[i]);
  query->conversation_id = box->ids[i];
  query->channel = kind == KIND_BAD_CHANNEL       ? "WhatsApp"
                   : kind == KIND_UNKNOWN_CHANNEL ? "fax"
                   : kind == KIND_NO_CHANNEL      ? NULL
                                                  : "whatsapp";
  query->raw_identifier = kind == KIND_MISSING || kind == KIND_LINKED_BARE ? NULL : raw;
  query->raw_size = i % 2 == 0 ? ENDS : (int64_t)strlen(raw);
  box->customers[i] =
    whys[kind] == CUSTMEM_WHY_EXPLICIT_LINK || whys[kind] == CUSTMEM_WHY_ONE_MATCH
      ? box->of_a[who]
      : "";
}

/* The same inbox for the same path; NULL where it could not be made. */
static inbox *inbox_make(const char *path) {
  inbox *box = calloc(1, sizeof *box);
  uint64_t seed = 20240;
  int i;
  if (box != NULL) box->store = test_store(path);
  if (box == NULL || box->store == NULL) {
    free(box);
    return NULL;
  }
  for (i = 0; i < CUSTOMERS; i++) {
    char raw[40];
    number_of(i, raw, sizeof raw);
    strcpy(box->of_a[i], test_customer(box->store, A, raw));
    strcpy(box->of_b[i], test_customer(box->store, B, raw));
  }
  for (i = 0; i < INBOX; i++) {
    int who = (int)(test_random(&seed) % CUSTOMERS);
    int is_rare = test_random(&seed) % 8 == 0;
    enum kind kind = is_rare
                       ? (enum kind)(test_random(&seed) % KIND_RARE)
                       : (enum kind)(KIND_RARE + test_random(&seed) % (KINDS - KIND_RARE));
    int is_others = kind == KIND_OTHERS || kind == KIND_OTHERS_UNLINKED;
    const char *instructor_id = is_others ? B : A;
    const char *customer_id = is_others ? box->of_b[who] : box->of_a[who];
    box->kinds[i] = kind;
    describe(box, i, who);
    if (kind < KIND_RARE)
      CHECK_INT(test_link(box->store, instructor_id, box->ids[i], customer_id), CUSTMEM_OK);
    if (kind == KIND_UNLINKED_AGAIN || kind == KIND_OTHERS_UNLINKED)
      CHECK_INT(test_unlink(box->store, instructor_id, box->ids[i], customer_id), CUSTMEM_OK);
  }
  return box;
}

static void inbox_free(inbox *box) {
  CHECK_INT(custmem_close(box->store), CUSTMEM_OK);
  free(box);
}

static int resolve_at(const inbox *box, custmem *store, int i, custmem_resolution *resolution) {
  const custmem_query *query = &box->queries[i];
  spoil(resolution, 1);
  return custmem_resolve(
    store, A, query->conversation_id, query->channel, query->raw_identifier, query->raw_size,
    resolution
  );
}

/* Resolves the whole inbox, one by one or in batches; how many answers were wrong. */
static int resolve_inbox(const inbox *box, custmem *store, custmem_resolution *got, int batch) {
  int wrong = 0, i;
  spoil(got, INBOX);
  if (batch == 0)
    for (i = 0; i < INBOX; i++)
      wrong += resolve_at(box, store, i, &got[i]) != CUSTMEM_OK;
  else
    for (i = 0; i < INBOX; i += batch)
      wrong += custmem_resolve_many(
                 store, A, &box->queries[i], INBOX - i < batch ? INBOX - i : batch, &got[i]
               ) != CUSTMEM_OK;
  for (i = 0; i < INBOX; i++)
    wrong += !is_filled(&got[i]) || got[i].why != whys[box->kinds[i]] ||
             strcmp(got[i].customer_id, box->customers[i]) != 0 ||
             custmem_badge(&got[i]) != meanings[got[i].why].badge;
  return wrong;
}

TEST(a_batch_gives_what_single_calls_give) {
  static custmem_resolution single[INBOX], batch[INBOX];
  static const int sizes[] = {1, 2, 7, 49, 50, 51, 99, 100, 101, 151, INBOX};
  inbox *box = inbox_make(NULL);
  int seen[KINDS] = {0};
  size_t s;
  int i;
  REQUIRE(box != NULL);
  for (i = 0; i < INBOX; i++)
    seen[box->kinds[i]]++;
  for (i = 0; i < KINDS; i++)
    CHECK(seen[i] >= 10);
  CHECK_INT(resolve_inbox(box, box->store, single, 0), 0);
  for (s = 0; s < COUNT_OF(sizes); s++) {
    int different = 0;
    forget_what_was_asked(box->store, box->of_a[0]);
    CHECK_INT(resolve_inbox(box, box->store, batch, sizes[s]), 0);
    for (i = 0; i < INBOX; i++)
      different += !test_is_equal(&single[i], &batch[i]);
    CHECK_INT(different, 0);
  }
  inbox_free(box);
}

TEST(a_batch_of_none_and_of_bad_arguments) {
  static const custmem_query queries[] = {
    {"linked", "whatsapp", NUMBER, ENDS},
    {"", "whatsapp", NUMBER, ENDS},
    {"not-linked", "whatsapp", NUMBER, ENDS},
    {NULL, "whatsapp", NUMBER, ENDS},
    {"bare", NULL, NULL, 0}};
  custmem *store = test_store(NULL);
  custmem_resolution got[COUNT_OF(queries)];
  const char *anna;
  size_t i;
  REQUIRE(store != NULL);
  anna = test_customer(store, A, NUMBER);
  CHECK_INT(test_link(store, A, "linked", anna), CUSTMEM_OK);
  spoil(got, 1);
  CHECK_INT(custmem_resolve_many(store, A, queries, 0, got), CUSTMEM_OK);
  CHECK(is_spoiled(got));
  CHECK_INT(custmem_resolve_many(store, A, queries, -1, got), CUSTMEM_MISUSE);
  CHECK(is_spoiled(got));
  CHECK_INT(custmem_resolve_many(store, A, queries, 1, NULL), CUSTMEM_MISUSE);
  spoil(got, COUNT_OF(got));
  CHECK_INT(custmem_resolve_many(store, A, NULL, 2, got), CUSTMEM_MISUSE);
  CHECK_ANSWER(&got[0], CUSTMEM_WHY_LOOKUP_FAILED, 0, "", "");
  CHECK_ANSWER(&got[1], CUSTMEM_WHY_LOOKUP_FAILED, 0, "", "");
  /* The first error is what it returns; the others are resolved all the same. */
  spoil(got, COUNT_OF(got));
  CHECK_INT(
    custmem_resolve_many(store, A, queries, (int32_t)COUNT_OF(queries), got), CUSTMEM_EMPTY
  );
  CHECK_ANSWER(&got[0], CUSTMEM_WHY_EXPLICIT_LINK, 0, anna, "");
  CHECK_ANSWER(&got[1], CUSTMEM_WHY_LOOKUP_FAILED, 0, "", "");
  CHECK_ANSWER(&got[2], CUSTMEM_WHY_ONE_MATCH, 0, anna, KEY);
  CHECK_ANSWER(&got[3], CUSTMEM_WHY_LOOKUP_FAILED, 0, "", "");
  CHECK_INT(got[4].outcome, CUSTMEM_UNLINKED);
  CHECK(is_filled(&got[4]));
  spoil(got, COUNT_OF(got));
  custmem_resolve_many(store, NULL, queries, (int32_t)COUNT_OF(queries), got);
  for (i = 0; i < COUNT_OF(queries); i++)
    CHECK(is_filled(&got[i]) && got[i].outcome == CUSTMEM_UNLINKED);
  CHECK_ANSWER(&got[0], CUSTMEM_WHY_NO_INSTRUCTOR, 0, "", "");
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(resolution_is_deterministic_and_repeatable) {
  static custmem_resolution first[INBOX], again[INBOX];
  const char *path = test_path("repeat.db");
  inbox *box = inbox_make(path);
  int i, different = 0;
  REQUIRE(box != NULL);
  CHECK_INT(resolve_inbox(box, box->store, first, 0), 0);
  for (i = 0; i < 1000; i++) {
    custmem_resolution got;
    resolve_at(box, box->store, i % 40, &got);
    different += !test_is_equal(&first[i % 40], &got);
  }
  CHECK_INT(different, 0);
  for (i = 0; i < KINDS; i++) {
    /* One of each kind, a thousand times over. */
    int at = 0, times;
    while (box->kinds[at] != (enum kind)i)
      at++;
    for (times = 0; times < 1000; times++) {
      custmem_resolution got;
      resolve_at(box, box->store, at, &got);
      different += !test_is_equal(&first[at], &got);
    }
  }
  CHECK_INT(different, 0);
  CHECK_INT(custmem_close(box->store), CUSTMEM_OK);
  box->store = test_store(path);
  CHECK_INT(resolve_inbox(box, box->store, again, 50), 0);
  for (i = 0; i < INBOX; i++)
    different += !test_is_equal(&first[i], &again[i]);
  CHECK_INT(different, 0);
  inbox_free(box);
}

/* ---- Nothing is written (CM-2.1 §6, T3) ---------------------------------------------------- */

/* Everything of a store that a write would change. */
typedef struct evidence {
  uint64_t rows, file, wal;
  int64_t file_size, wal_size, data_version, schema_version;
} evidence;

static evidence evidence_of(const char *path, const char *wal, sqlite3 *watcher) {
  evidence now;
  now.rows = test_rows(path);
  now.file = test_file_hash(path);
  now.wal = test_file_hash(wal);
  now.file_size = test_file_size(path);
  now.wal_size = test_file_size(wal);
  now.data_version = test_sql_int(watcher, "PRAGMA data_version");
  now.schema_version = test_sql_int(watcher, "PRAGMA schema_version");
  return now;
}

/* Resolves and badges the inbox, again and again, on one handle. */
static void check_writes_nothing(const inbox *box, custmem *store, const char *path) {
  static custmem_resolution got[INBOX];
  char wal[512];
  sqlite3 *watcher = test_plain(path);
  evidence before, after;
  int round, i;
  snprintf(wal, sizeof wal, "%s-wal", path);
  before = evidence_of(path, wal, watcher);
  vfs_shim_reset();
  for (round = 0; round < 3; round++) {
    CHECK_INT(resolve_inbox(box, store, got, 0), 0);
    CHECK_INT(resolve_inbox(box, store, got, 50), 0);
    for (i = 0; i < INBOX; i++) {
      int badge = custmem_badge(&got[i]);
      CHECK(custmem_badge_label(badge)[0] != '\0' && custmem_badge_copy(badge)[0] != '\0');
    }
    for (i = 0; i < INBOX; i += 16) {
      custmem_resolution bad;
      custmem_resolve(store, NULL, box->ids[i], "whatsapp", NUMBER, ENDS, &bad);
      custmem_resolve(store, A, "", "whatsapp", NUMBER, ENDS, &bad);
      custmem_resolve(store, B, box->ids[i], "whatsapp", NUMBER, ENDS, &bad);
    }
  }
  CHECK_INT(vfs_shim_calls(VFS_SHIM_WRITE), 0);
  CHECK_INT(vfs_shim_calls(VFS_SHIM_TRUNCATE), 0);
  CHECK_INT(vfs_shim_calls(VFS_SHIM_SYNC), 0);
  CHECK_INT(vfs_shim_calls(VFS_SHIM_DELETE), 0);
  CHECK_INT(vfs_shim_changes(), 0);
  after = evidence_of(path, wal, watcher);
  CHECK(before.rows == after.rows);
  CHECK(before.file == after.file);
  CHECK(before.wal == after.wal);
  CHECK_INT(after.file_size, before.file_size);
  CHECK_INT(after.wal_size, before.wal_size);
  CHECK_INT(after.data_version, before.data_version);
  CHECK_INT(after.schema_version, before.schema_version);
  sqlite3_close(watcher);
}

TEST(resolutions_and_badges_write_nothing) {
  const char *path = test_path("nothing.db");
  custmem_options options;
  custmem *reader = NULL;
  inbox *box;
  CHECK_INT(vfs_shim_install(), SQLITE_OK);
  box = inbox_make(path);
  REQUIRE(box != NULL);
  check_writes_nothing(box, box->store, path);
  /* The same of a handle that could not write if it wanted to. */
  test_options(&options);
  options.read_only = 1;
  CHECK_INT(custmem_open(path, &options, &reader), CUSTMEM_OK);
  check_writes_nothing(box, reader, path);
  CHECK_INT(custmem_close(reader), CUSTMEM_OK);
  /* The shim does count: a link is seen by it. */
  vfs_shim_reset();
  CHECK_INT(test_link(box->store, A, "one-more", box->of_a[0]), CUSTMEM_OK);
  CHECK(vfs_shim_calls_of(VFS_SHIM_WRITE, VFS_SHIM_WAL) > 0);
  CHECK(vfs_shim_calls_of(VFS_SHIM_SYNC, VFS_SHIM_WAL) > 0);
  inbox_free(box);
  CHECK_INT(vfs_shim_open_files(), 0);
  vfs_shim_remove();
}

TEST(a_read_only_handle_alone_resolves_and_leaves_the_file_as_it_is) {
  const char *path = test_path("alone.db");
  custmem_options options;
  static custmem_resolution got[INBOX];
  uint64_t bytes;
  inbox *box;
  CHECK_INT(vfs_shim_install(), SQLITE_OK);
  box = inbox_make(path);
  REQUIRE(box != NULL);
  CHECK_INT(custmem_close(box->store), CUSTMEM_OK);
  bytes = test_file_hash(path);
  vfs_shim_reset();
  test_options(&options);
  options.read_only = 1;
  REQUIRE(custmem_open(path, &options, &box->store) == CUSTMEM_OK);
  CHECK_INT(resolve_inbox(box, box->store, got, 0), 0);
  CHECK_INT(resolve_inbox(box, box->store, got, INBOX), 0);
  CHECK_INT(vfs_shim_calls(VFS_SHIM_WRITE), 0);
  CHECK_INT(vfs_shim_calls(VFS_SHIM_TRUNCATE), 0);
  CHECK_INT(vfs_shim_calls(VFS_SHIM_SYNC), 0);
  inbox_free(box);
  CHECK_INT(vfs_shim_calls_of(VFS_SHIM_WRITE, VFS_SHIM_DATABASE), 0);
  CHECK_INT(vfs_shim_calls_of(VFS_SHIM_TRUNCATE, VFS_SHIM_DATABASE), 0);
  CHECK(test_file_hash(path) == bytes);
  vfs_shim_remove();
}

/* ---- One moment ---------------------------------------------------------------------------- */

TEST(a_batch_sees_what_another_handle_wrote_before_it) {
  const char *path = test_path("before.db");
  static const custmem_query queries[2] = {
    {"talk-1", NULL, NULL, 0}, {"talk-2", NULL, NULL, 0}};
  custmem *reader = test_store(path), *writer = test_store(path);
  custmem_resolution got[2];
  const char *anna;
  REQUIRE(reader != NULL && writer != NULL);
  anna = test_customer(writer, A, NUMBER);
  CHECK_INT(custmem_resolve_many(reader, A, queries, 2, got), CUSTMEM_OK);
  CHECK_TEXT(got[0].customer_id, "");
  CHECK_TEXT(got[1].customer_id, "");
  CHECK_INT(test_link(writer, A, "talk-1", anna), CUSTMEM_OK);
  CHECK_INT(custmem_resolve_many(reader, A, queries, 2, got), CUSTMEM_OK);
  CHECK_TEXT(got[0].customer_id, anna);
  CHECK_TEXT(got[1].customer_id, "");
  CHECK_INT(test_link(writer, A, "talk-2", anna), CUSTMEM_OK);
  CHECK_INT(test_unlink(writer, A, "talk-1", anna), CUSTMEM_OK);
  CHECK_INT(custmem_resolve_many(reader, A, queries, 2, got), CUSTMEM_OK);
  CHECK_TEXT(got[0].customer_id, "");
  CHECK_TEXT(got[1].customer_id, anna);
  CHECK_INT(custmem_close(reader), CUSTMEM_OK);
  CHECK_INT(custmem_close(writer), CUSTMEM_OK);
}

/* A writer that strikes in the middle of a reader's call: at its first read from the file. */
typedef struct intruder {
  custmem *writer;
  const char *customer_id;
  int struck;
} intruder;

static void strike(int op, int kind, void *ctx) {
  intruder *me = ctx;
  (void)kind;
  if (op != VFS_SHIM_READ || me->struck) return;
  me->struck = 1;
  CHECK_INT(test_link(me->writer, A, "talk-1", me->customer_id), CUSTMEM_OK);
  CHECK_INT(test_link(me->writer, A, "talk-2", me->customer_id), CUSTMEM_OK);
}

TEST(all_answers_of_a_batch_are_of_one_moment) {
  static const custmem_query queries[2] = {
    {"talk-1", NULL, NULL, 0}, {"talk-2", NULL, NULL, 0}};
  intruder me = {NULL, NULL, 0};
  cold_store cold;
  custmem_resolution got[2];
  const char *path = test_path("moment.db");
  CHECK_INT(vfs_shim_install(), SQLITE_OK);
  REQUIRE(cold_open(&cold, path));
  me.writer = test_store(path);
  REQUIRE(me.writer != NULL);
  me.customer_id = cold.anna;
  cool(&cold);
  vfs_shim_watch(strike, &me);
  CHECK_INT(custmem_resolve_many(cold.store, A, queries, 2, got), CUSTMEM_OK);
  vfs_shim_watch(NULL, NULL);
  CHECK_INT(me.struck, 1);
  /* Both links stood before the second answer; the moment of the first holds for both. */
  CHECK_TEXT(got[0].customer_id, "");
  CHECK_TEXT(got[1].customer_id, "");
  CHECK_INT(custmem_resolve_many(cold.store, A, queries, 2, got), CUSTMEM_OK);
  CHECK_TEXT(got[0].customer_id, cold.anna);
  CHECK_TEXT(got[1].customer_id, cold.anna);
  CHECK_INT(custmem_close(me.writer), CUSTMEM_OK);
  cold_close(&cold);
  vfs_shim_remove();
}

/* A page whose answers lie on pages of the file that are far apart, and a writer that changes all of
** them at the reader's nth read, which then fails. */
enum { PAGE = 6, PAGE_STRIDE = 40 };

typedef struct turner {
  custmem *writer;
  char customers[2][CUSTMEM_UUID_SIZE + 1];
  int now; /* whom the page's conversations are linked to */
  int64_t nth, reads;
} turner;

static const char *page_name(int conversation) {
  static char names[8][CUSTMEM_ID_MAX + 1];
  static unsigned next;
  char *name = names[next++ % COUNT_OF(names)];
  snprintf(name, sizeof names[0], "%060d", conversation);
  return name;
}

static void turn(turner *me) {
  custmem_actor actor = test_human(A);
  int i, was = me->now;
  me->now = !was;
  for (i = 0; i < PAGE; i++)
    CHECK_INT(
      custmem_relink(
        me->writer, &actor, page_name(i * PAGE_STRIDE), me->customers[was],
        me->customers[me->now], "turned", ENDS, NULL, 0, NULL
      ),
      CUSTMEM_OK
    );
}

static void strike_at_nth(int op, int kind, void *ctx) {
  turner *me = ctx;
  (void)kind;
  if (op == VFS_SHIM_READ && ++me->reads == me->nth) turn(me);
}

static int turner_open(turner *me, const char *path) {
  int i;
  memset(me, 0, sizeof *me);
  me->writer = test_store(path);
  if (me->writer == NULL) return 0;
  strcpy(me->customers[0], test_customer(me->writer, A, NUMBER));
  strcpy(me->customers[1], test_customer(me->writer, A, "+39 333 7654321"));
  for (i = 0; i < PAGE * PAGE_STRIDE; i++)
    CHECK_INT(test_link(me->writer, A, page_name(i), me->customers[0]), CUSTMEM_OK);
  return 1;
}

/* Whether the answers are of one moment, and the rest says that it failed. Gives how many failed. */
static int check_moment(turner *me, const custmem_resolution *got) {
  const char *customer_id = "";
  int i, failed = 0;
  for (i = 0; i < PAGE; i++) {
    if (got[i].why != CUSTMEM_WHY_EXPLICIT_LINK) {
      failed++;
      CHECK_ANSWER(&got[i], CUSTMEM_WHY_LOOKUP_FAILED, 0, "", got[i].normalized_identifier);
      continue;
    }
    if (customer_id[0] == '\0') customer_id = got[i].customer_id;
    if (!CHECK_TEXT(got[i].customer_id, customer_id))
      printf("  (row %d; the read that failed was number %d)\n", i, (int)me->nth);
    CHECK(
      strcmp(customer_id, me->customers[0]) == 0 || strcmp(customer_id, me->customers[1]) == 0
    );
  }
  return failed;
}

/* On a handle that has just been opened, so that the page is read from the file. Gives whether a
** read failed; *partly counts the pages that have answers as well. */
static int page_with_fault(turner *me, const char *path, int code, int *partly) {
  vfs_shim_fault fault = {
    VFS_SHIM_BIT(VFS_SHIM_READ), VFS_SHIM_ALL, 1, 0, SQLITE_OK, VFS_SHIM_NOT_DONE};
  custmem_query queries[PAGE];
  custmem_resolution got[PAGE];
  custmem *reader = test_store(path);
  int rc, fired, failed, i;
  for (i = 0; i < PAGE; i++) {
    custmem_query query = {page_name(i * PAGE_STRIDE), "whatsapp", NUMBER, ENDS};
    queries[i] = query;
  }
  spoil(got, PAGE);
  fault.nth = me->nth;
  fault.code = code;
  me->reads = 0;
  vfs_shim_watch(strike_at_nth, me);
  vfs_shim_fail(&fault);
  rc = custmem_resolve_many(reader, A, queries, PAGE, got);
  vfs_shim_fail(NULL);
  vfs_shim_watch(NULL, NULL);
  fired = vfs_shim_fired() > 0;
  failed = check_moment(me, got);
  CHECK_INT(failed > 0, rc != CUSTMEM_OK);
  if (rc != CUSTMEM_OK) CHECK_INT(rc, code == SQLITE_IOERR_NOMEM ? CUSTMEM_NOMEM : CUSTMEM_IO);
  *partly += failed > 0 && failed < PAGE;
  /* The handle goes on, and sees what is there now. */
  CHECK_INT(custmem_resolve_many(reader, A, queries, PAGE, got), CUSTMEM_OK);
  CHECK_INT(check_moment(me, got), 0);
  CHECK_TEXT(got[0].customer_id, me->customers[me->now]);
  CHECK_INT(custmem_close(reader), CUSTMEM_OK);
  return fired;
}

/* SQLite ends the transaction of a read that failed. What is asked after that would be of another
** moment: such rows say that they failed. */
TEST(after_a_read_that_fails_the_answers_of_a_page_are_still_of_one_moment) {
  static const int codes[] = {SQLITE_IOERR_READ, SQLITE_IOERR_NOMEM};
  const char *path = test_path("one-moment.db");
  turner me;
  size_t i;
  int partly = 0;
  CHECK_INT(vfs_shim_install(), SQLITE_OK);
  vfs_shim_hurry(1);
  REQUIRE(turner_open(&me, path));
  for (i = 0; i < COUNT_OF(codes); i++) {
    me.nth = 1;
    while (me.nth < 200 && page_with_fault(&me, path, codes[i], &partly))
      me.nth++;
    CHECK(me.nth > PAGE && me.nth < 200);
  }
  CHECK(partly > 0); /* else no read failed in the middle of a page */
  CHECK_INT(custmem_close(me.writer), CUSTMEM_OK);
  CHECK_INT(vfs_shim_open_files(), 0);
  vfs_shim_remove();
}

/* As above, but the customer appears between step 1 and step 2 of one resolution. */
static void strike_with_customer(int op, int kind, void *ctx) {
  intruder *me = ctx;
  (void)kind;
  if (op != VFS_SHIM_READ || me->struck) return;
  me->struck = 1;
  CHECK_INT(
    test_link(me->writer, A, "talk-1", test_customer(me->writer, A, "+39 333 7654321")),
    CUSTMEM_OK
  );
}

TEST(both_steps_of_a_resolution_are_of_one_moment) {
  intruder me = {NULL, NULL, 0};
  cold_store cold;
  custmem_resolution got;
  const char *path = test_path("steps.db");
  CHECK_INT(vfs_shim_install(), SQLITE_OK);
  REQUIRE(cold_open(&cold, path));
  me.writer = test_store(path);
  REQUIRE(me.writer != NULL);
  cool(&cold);
  vfs_shim_watch(strike_with_customer, &me);
  CHECK_INT(resolve(cold.store, A, "talk-1", "whatsapp", "393337654321", &got), CUSTMEM_OK);
  vfs_shim_watch(NULL, NULL);
  CHECK_INT(me.struck, 1);
  /* Unlinked and nobody, or linked: a candidate would be half of each moment. */
  CHECK_ANSWER(&got, CUSTMEM_WHY_NO_MATCH, 0, "", "393337654321");
  CHECK_INT(resolve(cold.store, A, "talk-1", "whatsapp", "393337654321", &got), CUSTMEM_OK);
  CHECK_INT(got.why, CUSTMEM_WHY_EXPLICIT_LINK);
  CHECK_INT(custmem_close(me.writer), CUSTMEM_OK);
  cold_close(&cold);
  vfs_shim_remove();
}

/* ---- Badge --------------------------------------------------------------------------------- */

TEST(each_outcome_has_exactly_one_badge_with_its_words) {
  static const struct {
    int outcome, badge;
    const char *label, *copy;
  } badges[] = {
    {CUSTMEM_LINKED, CUSTMEM_BADGE_KNOWN, "Known customer",
     "This customer is already known to you"},
    {CUSTMEM_CANDIDATE, CUSTMEM_BADGE_NEW, "New customer",
     "First interaction with this customer"},
    {CUSTMEM_UNLINKED, CUSTMEM_BADGE_UNLINKED, "Unlinked", "Customer not resolved"}};
  size_t i;
  for (i = 0; i < COUNT_OF(badges); i++) {
    custmem_resolution resolution;
    int why;
    memset(&resolution, 0, sizeof resolution);
    resolution.outcome = badges[i].outcome;
    CHECK_INT(custmem_badge(&resolution), badges[i].badge);
    CHECK_TEXT(custmem_badge_label(badges[i].badge), badges[i].label);
    CHECK_TEXT(custmem_badge_copy(badges[i].badge), badges[i].copy);
    /* Nothing but the outcome has a say: no inference. */
    for (why = 0; why < (int)COUNT_OF(meanings); why++) {
      resolution.why = why;
      resolution.step = why % 4;
      resolution.refusal = why;
      strcpy(resolution.customer_id, why % 2 ? SECOND : "");
      CHECK_INT(custmem_badge(&resolution), badges[i].badge);
    }
  }
}

TEST(a_badge_of_nothing_is_unlinked_and_its_words_are_never_null) {
  static const int32_t outcomes[] = {-1, 3, 99, INT32_MAX, INT32_MIN};
  size_t i;
  CHECK_INT(custmem_badge(NULL), CUSTMEM_BADGE_UNLINKED);
  for (i = 0; i < COUNT_OF(outcomes); i++) {
    custmem_resolution resolution;
    memset(&resolution, 0, sizeof resolution);
    resolution.outcome = outcomes[i];
    CHECK_INT(custmem_badge(&resolution), CUSTMEM_BADGE_UNLINKED);
    CHECK(custmem_badge_label(outcomes[i]) != NULL);
    CHECK(custmem_badge_copy(outcomes[i]) != NULL);
    CHECK(custmem_outcome_name(outcomes[i]) != NULL);
    CHECK(custmem_why_name(outcomes[i]) != NULL);
  }
}

TEST(outcomes_and_whys_have_their_names) {
  size_t i;
  CHECK_TEXT(custmem_outcome_name(CUSTMEM_UNLINKED), "unlinked");
  CHECK_TEXT(custmem_outcome_name(CUSTMEM_CANDIDATE), "candidate");
  CHECK_TEXT(custmem_outcome_name(CUSTMEM_LINKED), "linked");
  for (i = 0; i < COUNT_OF(meanings); i++) {
    CHECK_INT(meanings[i].why, (int)i);
    CHECK_TEXT(custmem_why_name((int)i), meanings[i].name);
  }
}

TEST(a_conversation_goes_through_all_three_badges) {
  custmem *store = test_store(NULL);
  custmem_resolution got;
  const char *anna;
  REQUIRE(store != NULL);
  resolve(store, A, "talk-1", "whatsapp", NUMBER, &got);
  CHECK_TEXT(custmem_badge_label(custmem_badge(&got)), "Unlinked");
  anna = test_customer(store, A, NUMBER);
  resolve(store, A, "talk-1", "whatsapp", NUMBER, &got);
  CHECK_TEXT(custmem_badge_label(custmem_badge(&got)), "New customer");
  CHECK_INT(test_link(store, A, "talk-1", anna), CUSTMEM_OK);
  resolve(store, A, "talk-1", "whatsapp", NUMBER, &got);
  CHECK_TEXT(custmem_badge_label(custmem_badge(&got)), "Known customer");
  CHECK_INT(test_unlink(store, A, "talk-1", anna), CUSTMEM_OK);
  resolve(store, A, "talk-1", NULL, NULL, &got);
  CHECK_TEXT(custmem_badge_label(custmem_badge(&got)), "Unlinked");
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* ---- Listener ------------------------------------------------------------------------------ */

typedef struct heard {
  custmem *store;
  int notices, wrong;
  int32_t count;
  custmem_resolution resolutions[8];
  int reads_inside, refused_inside;
} heard;

static void hear(const custmem_notice *notice, void *ctx) {
  heard *me = ctx;
  int32_t i;
  me->notices++;
  me->wrong += notice->event != NULL || notice->resolutions == NULL || notice->count > 8;
  me->count = notice->count;
  for (i = 0; notice->resolutions != NULL && i < notice->count && i < 8; i++)
    me->resolutions[i] = notice->resolutions[i];
}

TEST(a_listener_is_told_once_for_each_call_with_all_its_answers) {
  static const custmem_query queries[3] = {
    {"linked", "whatsapp", NUMBER, ENDS},
    {"not-linked", "whatsapp", NUMBER, ENDS},
    {"bare", NULL, NULL, 0}};
  custmem *store = test_store(NULL);
  heard me;
  custmem_resolution got[3];
  int i;
  REQUIRE(store != NULL);
  CHECK_INT(test_link(store, A, "linked", test_customer(store, A, NUMBER)), CUSTMEM_OK);
  memset(&me, 0, sizeof me);
  CHECK_INT(custmem_set_listener(store, hear, &me), CUSTMEM_OK);
  CHECK_INT(resolve(store, A, "linked", "whatsapp", NUMBER, &got[0]), CUSTMEM_OK);
  CHECK_INT(me.notices, 1);
  CHECK_INT(me.count, 1);
  CHECK(test_is_equal(&me.resolutions[0], &got[0]));
  CHECK_INT(resolve(store, NULL, "linked", "whatsapp", NUMBER, &got[0]), CUSTMEM_OK);
  CHECK_INT(me.notices, 2);
  CHECK(test_is_equal(&me.resolutions[0], &got[0]));
  CHECK_INT(custmem_resolve_many(store, A, queries, 3, got), CUSTMEM_OK);
  CHECK_INT(me.notices, 3);
  CHECK_INT(me.count, 3);
  for (i = 0; i < 3; i++)
    CHECK(test_is_equal(&me.resolutions[i], &got[i]));
  CHECK_INT(me.wrong, 0);
  CHECK_INT(custmem_set_listener(store, NULL, NULL), CUSTMEM_OK);
  CHECK_INT(resolve(store, A, "linked", "whatsapp", NUMBER, &got[0]), CUSTMEM_OK);
  CHECK_INT(me.notices, 3);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

static void hear_and_act(const custmem_notice *notice, void *ctx) {
  heard *me = ctx;
  custmem_actor actor = test_human(A);
  custmem_resolution got;
  hear(notice, ctx);
  if (me->notices > 1) return; /* acts once */
  me->reads_inside += resolve(me->store, A, "linked", "whatsapp", NUMBER, &got) == CUSTMEM_OK &&
                      got.outcome == CUSTMEM_LINKED;
  me->refused_inside +=
    custmem_unlink(me->store, &actor, "linked", got.customer_id, "no", ENDS, NULL, 0, NULL) ==
    CUSTMEM_MISUSE;
  me->refused_inside +=
    custmem_customer_create(
      me->store, &actor, "whatsapp", "393337654321", ENDS, NULL, 0, NULL, NULL
    ) == CUSTMEM_MISUSE;
  me->refused_inside += custmem_close(me->store) == CUSTMEM_MISUSE;
  me->refused_inside += custmem_set_listener(me->store, NULL, NULL) == CUSTMEM_MISUSE;
}

static void hear_and_read(const custmem_notice *notice, void *ctx) {
  heard *me = ctx;
  custmem_head head;
  hear(notice, ctx);
  me->reads_inside += custmem_audit_head(me->store, A, &head) == CUSTMEM_OK;
}

TEST(what_a_listener_reads_leaves_the_message_of_its_call) {
  custmem *store = test_store(NULL);
  custmem_resolution got;
  heard me;
  REQUIRE(store != NULL);
  memset(&me, 0, sizeof me);
  me.store = store;
  CHECK_INT(custmem_set_listener(store, hear_and_read, &me), CUSTMEM_OK);
  CHECK_INT(resolve(store, A, "", "whatsapp", NUMBER, &got), CUSTMEM_EMPTY);
  CHECK_INT(me.reads_inside, 1);
  CHECK_TEXT(custmem_errmsg(store), "conversation_id is empty");
  CHECK_TEXT(custmem_errarg(store), "conversation_id");
  CHECK_INT(resolve(store, A, "talk-1", "whatsapp", NUMBER, &got), CUSTMEM_OK);
  CHECK_TEXT(custmem_errmsg(store), "");
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(a_listener_may_read_and_can_change_nothing) {
  const char *path = test_path("listener.db");
  custmem *store = test_store(path);
  heard me;
  custmem_resolution got;
  uint64_t rows;
  REQUIRE(store != NULL);
  CHECK_INT(test_link(store, A, "linked", test_customer(store, A, NUMBER)), CUSTMEM_OK);
  rows = test_rows(path);
  memset(&me, 0, sizeof me);
  me.store = store;
  CHECK_INT(custmem_set_listener(store, hear_and_act, &me), CUSTMEM_OK);
  CHECK_INT(resolve(store, A, "not-linked", "whatsapp", NUMBER, &got), CUSTMEM_OK);
  CHECK_INT(got.why, CUSTMEM_WHY_ONE_MATCH);
  CHECK_INT(me.notices, 1); /* not of its own reading */
  CHECK_INT(me.reads_inside, 1);
  CHECK_INT(me.refused_inside, 4);
  CHECK(test_rows(path) == rows);
  CHECK_INT(resolve(store, A, "not-linked", "whatsapp", NUMBER, &got), CUSTMEM_OK);
  CHECK_INT(me.notices, 2);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

static void run_path(void) {
  RUN(
    an_explicit_link_decides_and_nothing_else_is_looked_at,
    "CM-2.1 §3 step 1, §6 explicit links override, §7; T3"
  );
  RUN(
    one_customer_with_the_key_is_a_candidate_however_it_is_spelled,
    "CM-2.1 §3 step 2; CM-1 §2.3, §6 same normalized number, same customer; T3"
  );
  RUN(
    nobody_with_the_key_is_no_resolution,
    "CM-2.1 §3 step 2, step 3, §5 customer not found, §6 no cross-instructor access, §7; T3"
  );
  RUN(
    more_than_one_customer_with_the_key_is_no_resolution,
    "CM-2.1 §3 step 2, step 3, §5 core rule, §6 explicit links override; CM-1 §3.2"
  );
  RUN(what_ends_a_page_is_told_before_what_is_wrong_with_a_row, "CM-2.1 §5; D-4");
  RUN(
    two_matches_are_never_one_wherever_the_search_is_stopped,
    "CM-2.1 §3 step 2, §5 core rule, §5 database or lookup error; D-4"
  );
  RUN(
    a_second_match_that_a_unique_index_hides_is_no_resolution,
    "CM-2.1 §3 step 2, step 3, §5 core rule; D-4"
  );
  RUN(without_an_identifier_there_is_no_resolution, "CM-2.1 §3 step 3; D-4");
  RUN(
    an_identifier_that_cannot_be_normalized_is_no_resolution_and_says_why,
    "CM-2.1 §3 step 3, §5 identifier invalid; CM-1 §4.2; T2; D-4"
  );
  RUN(a_channel_that_is_none_is_no_resolution_and_says_why, "CM-2.1 §3 step 3, §5; D-4");
  RUN(
    without_an_instructor_nothing_is_resolved,
    "CM-2.1 §2 instructor-scoped, §3 step 3, §5, §7, §8; CM-1 §4.2 missing instructor"
  );
  RUN(
    another_instructors_conversation_is_not_resolved_at_all,
    "CM-2.1 §2 instructor-scoped, §6 no cross-instructor access; CM-1 §4.1, §4.3; D-4"
  );
  RUN(
    a_damaged_link_never_hands_out_another_instructors_customer,
    "CM-2.1 §5 core rule, §6 no cross-instructor access; D-4"
  );
  RUN(
    a_damaged_index_never_hands_out_another_instructors_customer,
    "CM-2.1 §5 core rule, §6 no cross-instructor access; CM-1 §4.1; D-4"
  );
  RUN(
    two_conversations_with_one_identifier_stay_unlinked_until_a_human_links_each,
    "CM-2.1 §2 human-in-control, §4, §8 may remain unlinked; T3"
  );
  RUN(
    a_conversation_keeps_its_customer_whatever_else_happens,
    "CM-2.1 §2 zero silent overwrite, §6, §8 never changes without explicit action"
  );
  RUN(
    a_message_with_an_unparseable_sender_never_stops_the_inbox,
    "CM-1 §3.2, §4.2, §6 graceful missing customer; CM-2.1 §2 safe fallback"
  );
}

static void run_failures(void) {
  RUN(a_conversation_id_that_is_none_is_an_error_and_unlinked, "CM-2.1 §5; D-4; D-8");
  RUN(without_a_store_the_answer_is_unlinked, "CM-2.1 §5; D-4");
  RUN(
    a_table_that_is_gone_is_unlinked_and_never_a_guess,
    "CM-2.1 §5 database or lookup error, core rule; D-4"
  );
  RUN(
    a_read_that_fails_is_unlinked_with_its_code_and_the_store_lives_on,
    "CM-2.1 §5 database or lookup error; D-4"
  );
  RUN(
    wherever_the_file_system_fails_the_answer_is_right_or_unlinked,
    "CM-2.1 §5 database or lookup error, core rule, §6 no writes; D-4"
  );
  RUN(
    damage_in_one_place_leaves_the_rest_of_a_page_resolved,
    "CM-2.1 §5 database or lookup error; D-4"
  );
  RUN(an_interrupted_resolution_is_right_or_unlinked, "CM-2.1 §5; D-4");
}

static void run_inbox(void) {
  RUN(a_batch_gives_what_single_calls_give, "CM-1 §5.3; CM-2.1 §6; D-4");
  RUN(a_batch_of_none_and_of_bad_arguments, "CM-1 §5.3; D-4");
  RUN(
    resolution_is_deterministic_and_repeatable,
    "CM-2.1 §3, §6, §8 deterministic and repeatable; T3 idempotent"
  );
  RUN(
    resolutions_and_badges_write_nothing,
    "CM-2.1 §2, §3, §4, §6, §8 zero writes; CM-2.3 §4.1, §8, §9; CM-2.4; T3; T6; D-4; D-6"
  );
  RUN(
    a_read_only_handle_alone_resolves_and_leaves_the_file_as_it_is,
    "CM-2.1 §6 no writes; CM-2.3 §4.1; T3; D-4"
  );
  RUN(a_batch_sees_what_another_handle_wrote_before_it, "CM-1 §5.3; D-4");
  RUN(all_answers_of_a_batch_are_of_one_moment, "CM-1 §5.3; D-4");
  RUN(
    after_a_read_that_fails_the_answers_of_a_page_are_still_of_one_moment,
    "CM-1 §5.3; CM-2.1 §5 core rule; D-4"
  );
  RUN(both_steps_of_a_resolution_are_of_one_moment, "CM-2.1 §3, §5 core rule; D-4");
}

static void run_badge(void) {
  RUN(each_outcome_has_exactly_one_badge_with_its_words, "CM-2.4; T6; D-6");
  RUN(a_badge_of_nothing_is_unlinked_and_its_words_are_never_null, "CM-2.4; T6; D-6");
  RUN(outcomes_and_whys_have_their_names, "CM-2.1 §7; D-4");
  RUN(a_conversation_goes_through_all_three_badges, "CM-2.4; T6; D-6");
}

static void run_listener(void) {
  RUN(
    a_listener_is_told_once_for_each_call_with_all_its_answers, "CM-2.1 §7; CM-2.5; D-4; D-7"
  );
  RUN(what_a_listener_reads_leaves_the_message_of_its_call, "D-7; D-8");
  RUN(a_listener_may_read_and_can_change_nothing, "CM-2.1 §7; CM-2.3 §4.1; CM-2.5; D-7");
}

/* The audit says what was decided; it decides nothing. */
TEST(an_altered_audit_changes_no_answer) {
  const char *path = test_path("audit-decides-nothing.db");
  custmem *store = test_store(path);
  custmem_actor ada = test_human("ada");
  custmem_resolution before[2], after[2];
  custmem_query queries[2] = {
    {"linked", "whatsapp", "393331234567", -1}, {"candidate", "whatsapp", "393331234567", -1}};
  const char *anna;
  sqlite3 *plain;
  REQUIRE(store != NULL);
  anna = test_customer(store, "ada", "393331234567");
  CHECK_INT(custmem_link(store, &ada, "linked", anna, "r", -1, NULL, 0, NULL), CUSTMEM_OK);
  CHECK_INT(custmem_resolve_many(store, "ada", queries, 2, before), CUSTMEM_OK);
  plain = test_plain(path);
  CHECK_INT(
    test_sql(
      plain, "DROP TRIGGER audit_events_delete; DROP TRIGGER audit_events_update;"
             "DELETE FROM audit_events;"
    ),
    SQLITE_OK
  );
  sqlite3_close(plain);
  CHECK_INT(custmem_resolve_many(store, "ada", queries, 2, after), CUSTMEM_OK);
  CHECK_INT(after[0].outcome, CUSTMEM_LINKED);
  CHECK_INT(after[1].outcome, CUSTMEM_CANDIDATE);
  CHECK_TEXT(after[0].customer_id, before[0].customer_id);
  CHECK_TEXT(after[1].customer_id, before[1].customer_id);
  CHECK_TEXT(after[1].event_name, before[1].event_name);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  run_path();
  run_failures();
  run_inbox();
  run_badge();
  run_listener();
  RUN(an_altered_audit_changes_no_answer, "CM-2.5 never read to decide; CM-2.1 §3; D-7");
  return test_report();
}
