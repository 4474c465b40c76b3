/* SPDX-License-Identifier: MIT
**
** Customers: one for each instructor, channel and normalized identifier, made by a human only.
**
** The stores of most tests are files, so that a plain connection can say what was really written.
*/
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENDS            CUSTMEM_NUL_TERMINATED
#define A               "instructor-a"
#define B               "instructor-b"
#define NOBODY          "01900000-0000-7000-8000-000000000000" /* a customer id that nobody has */
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* A clock that the test sets. */
static int64_t set_clock;

static int create(
  custmem *store,
  const char *instructor_id,
  const char *channel,
  const char *raw,
  const char *display,
  custmem_customer *customer,
  int32_t *created
) {
  custmem_actor actor = test_human(instructor_id);
  return custmem_customer_create(
    store, &actor, channel, raw, ENDS, display, ENDS, customer, created
  );
}

static int set_display(
  custmem *store,
  const char *instructor_id,
  const char *customer_id,
  const char *display,
  custmem_customer *customer
) {
  custmem_actor actor = test_human(instructor_id);
  return custmem_customer_set_display(store, &actor, customer_id, display, ENDS, customer);
}

static int find(
  custmem *store,
  const char *instructor_id,
  const char *raw,
  custmem_customer *customer
) {
  return custmem_customer_find(store, instructor_id, "whatsapp", raw, ENDS, customer);
}

static int equal_keys(const custmem_customer *left, const custmem_customer *right) {
  return strcmp(left->id, right->id) == 0 &&
         strcmp(left->instructor_id, right->instructor_id) == 0 &&
         strcmp(left->channel, right->channel) == 0 &&
         strcmp(left->normalized_identifier, right->normalized_identifier) == 0 &&
         left->created_at_ms == right->created_at_ms;
}

static int equal_customers(const custmem_customer *left, const custmem_customer *right) {
  return equal_keys(left, right) &&
         strcmp(left->display_identifier, right->display_identifier) == 0 &&
         left->updated_at_ms == right->updated_at_ms;
}

static int is_empty(const custmem_customer *customer) {
  return customer->id[0] == '\0' && customer->instructor_id[0] == '\0' &&
         customer->channel[0] == '\0' && customer->normalized_identifier[0] == '\0' &&
         customer->display_identifier[0] == '\0' && customer->created_at_ms == 0 &&
         customer->updated_at_ms == 0;
}

/* Whether the id is in the instructor's list. */
static int is_listed(custmem *store, const char *instructor_id, const char *customer_id) {
  custmem_customer page[32];
  int32_t count = 0, i;
  CHECK_INT(
    custmem_customer_list(store, instructor_id, NULL, page, COUNT_OF(page), &count), CUSTMEM_OK
  );
  for (i = 0; i < count; i++)
    if (strcmp(page[i].id, customer_id) == 0) return 1;
  return 0;
}

static int64_t rows_of(const char *path, const char *sql) {
  sqlite3 *db = test_plain(path);
  int64_t rows = test_sql_int(db, sql);
  sqlite3_close(db);
  return rows;
}

#define CUSTOMERS_IN(path) rows_of(path, "SELECT count(*) FROM customers")

/* ---- Creating ------------------------------------------------------------------------------ */

TEST(a_customer_is_one_row_with_the_key_it_was_made_with) {
  const char *path = test_path("row.db");
  custmem *store = test_store(path);
  custmem_customer made, read;
  int32_t created = 7;
  sqlite3 *db;
  REQUIRE(store != NULL);
  CHECK_INT(
    create(store, A, "whatsapp", "+39 333 1234567", "Anna", &made, &created), CUSTMEM_OK
  );
  CHECK_INT(created, 1);
  CHECK_TEXT(made.instructor_id, A);
  CHECK_TEXT(made.channel, "whatsapp");
  CHECK_TEXT(made.normalized_identifier, "393331234567");
  CHECK_TEXT(made.display_identifier, "Anna");
  CHECK_INT(custmem_customer_get(store, A, made.id, &read), CUSTMEM_OK);
  CHECK(equal_customers(&made, &read));
  db = test_plain(path);
  CHECK_INT(test_sql_int(db, "SELECT count(*) FROM customers"), 1);
  CHECK_TEXT(test_sql_text(db, "SELECT id FROM customers"), made.id);
  CHECK_TEXT(
    test_sql_text(
      db, "SELECT instructor_id || '|' || channel || '|' || normalized_identifier || '|' ||"
          " display_identifier FROM customers"
    ),
    A "|whatsapp|393331234567|Anna"
  );
  CHECK_INT(test_sql_int(db, "SELECT created_at FROM customers"), made.created_at_ms);
  CHECK_INT(test_sql_int(db, "SELECT updated_at FROM customers"), made.updated_at_ms);
  sqlite3_close(db);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(creating_a_customer_again_gives_the_same_one_and_writes_nothing) {
  const char *path = test_path("again.db");
  custmem *store = test_store(path);
  custmem_customer first, again;
  int32_t created = 7;
  uint64_t rows;
  int64_t version;
  sqlite3 *db;
  REQUIRE(store != NULL);
  CHECK_INT(create(store, A, "whatsapp", "393331234567", "Anna", &first, NULL), CUSTMEM_OK);
  rows = test_rows(path);
  db = test_plain(path);
  version = test_sql_int(db, "PRAGMA data_version");
  CHECK_INT(
    create(store, A, "whatsapp", "393331234567", "Hanna", &again, &created), CUSTMEM_OK
  );
  CHECK_INT(created, 0);
  CHECK(equal_customers(&first, &again));
  CHECK_TEXT(again.display_identifier, "Anna");
  created = 7;
  CHECK_INT(create(store, A, "whatsapp", "393331234567", NULL, &again, &created), CUSTMEM_OK);
  CHECK_INT(created, 0);
  CHECK(equal_customers(&first, &again));
  CHECK(test_rows(path) == rows);
  CHECK_INT(test_sql_int(db, "PRAGMA data_version"), version);
  sqlite3_close(db);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(creating_one_customer_a_thousand_times_leaves_one_row) {
  static const char *const spellings[] = {
    "+39 333 1234567",
    "393331234567",
    "39-333-123.4567",
    "whatsapp:+393331234567",
    "393331234567@s.whatsapp.net",
    "(39) 333 1234567"};
  const char *path = test_path("thousand.db");
  custmem *store = test_store(path);
  custmem_customer first, again;
  int made = 0, i;
  REQUIRE(store != NULL);
  CHECK_INT(create(store, A, "whatsapp", spellings[0], NULL, &first, NULL), CUSTMEM_OK);
  for (i = 0; i < 1000; i++) {
    int32_t created = 7;
    int rc = create(
      store, A, "whatsapp", spellings[i % (int)COUNT_OF(spellings)], NULL, &again, &created
    );
    if (rc != CUSTMEM_OK || created != 0 || !equal_customers(&first, &again)) made++;
  }
  CHECK_INT(made, 0);
  CHECK_INT(CUSTOMERS_IN(path), 1);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(one_number_of_two_instructors_is_two_customers) {
  const char *path = test_path("two.db");
  custmem *store = test_store(path);
  custmem_customer of_a, of_b;
  int32_t created = 7;
  REQUIRE(store != NULL);
  CHECK_INT(create(store, A, "whatsapp", "393331234567", NULL, &of_a, NULL), CUSTMEM_OK);
  CHECK_INT(create(store, B, "whatsapp", "393331234567", NULL, &of_b, &created), CUSTMEM_OK);
  CHECK_INT(created, 1);
  CHECK(strcmp(of_a.id, of_b.id) != 0);
  CHECK_TEXT(of_a.normalized_identifier, of_b.normalized_identifier);
  CHECK_TEXT(of_b.instructor_id, B);
  CHECK_INT(CUSTOMERS_IN(path), 2);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(two_spellings_of_a_number_are_one_customer) {
  const char *path = test_path("spellings.db");
  custmem *store = test_store(path);
  custmem_customer first, second, found;
  int32_t created = 7;
  REQUIRE(store != NULL);
  CHECK_INT(create(store, A, "whatsapp", "+39 333 1234567", "first", &first, NULL), CUSTMEM_OK);
  CHECK_INT(
    create(store, A, "whatsapp", "393331234567", "second", &second, &created), CUSTMEM_OK
  );
  CHECK_INT(created, 0);
  CHECK(equal_customers(&first, &second));
  CHECK_INT(find(store, A, "+39-333-1234567", &found), CUSTMEM_OK);
  CHECK(equal_customers(&first, &found));
  CHECK_INT(CUSTOMERS_IN(path), 1);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(different_keys_are_different_customers) {
  static const struct {
    const char *channel, *raw;
  } keys[] = {
    {"whatsapp", "393331234567"},
    {"whatsapp", "393331234568"},
    {"whatsapp", "3331234567"},
    {"whatsapp/shop-1", "393331234567"},
    {"whatsapp/shop-2", "393331234567"},
    {"whatsapp", "393331234567@lid"},
    {"sms", "393331234567"},
    {"phone", "393331234567"},
    {"telegram", "393331234567"},
    {"messenger/page-1", "393331234567"},
    {"messenger/page-2", "393331234567"},
    {"email", "anna@example.com"},
    {"email", "anna+work@example.com"}};
  const char *path = test_path("keys.db");
  custmem *store = test_store(path);
  custmem_customer made[COUNT_OF(keys)];
  size_t i, j;
  REQUIRE(store != NULL);
  for (i = 0; i < COUNT_OF(keys); i++) {
    int32_t created = 0;
    CHECK_INT(
      create(store, A, keys[i].channel, keys[i].raw, NULL, &made[i], &created), CUSTMEM_OK
    );
    CHECK_INT(created, 1);
    CHECK_TEXT(made[i].channel, keys[i].channel);
    for (j = 0; j < i; j++)
      CHECK(strcmp(made[i].id, made[j].id) != 0);
  }
  CHECK_INT(CUSTOMERS_IN(path), (int64_t)COUNT_OF(keys));
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(one_number_in_two_conversations_is_one_customer_with_two_conversations) {
  custmem *store = test_store(NULL);
  custmem_customer first, second;
  custmem_actor actor = test_human(A);
  custmem_conversation conversations[4];
  int32_t count = 0;
  REQUIRE(store != NULL);
  CHECK_INT(create(store, A, "whatsapp", "+39 333 1234567", NULL, &first, NULL), CUSTMEM_OK);
  CHECK_INT(
    custmem_link(store, &actor, "talk-1", first.id, "hers", ENDS, NULL, 0, NULL), CUSTMEM_OK
  );
  CHECK_INT(create(store, A, "whatsapp", "393331234567", NULL, &second, NULL), CUSTMEM_OK);
  CHECK_TEXT(second.id, first.id);
  CHECK_INT(
    custmem_link(store, &actor, "talk-2", second.id, "hers", ENDS, NULL, 0, NULL), CUSTMEM_OK
  );
  CHECK_INT(
    custmem_conversations(store, A, first.id, NULL, conversations, 4, &count), CUSTMEM_OK
  );
  CHECK_INT(count, 2);
  CHECK_TEXT(conversations[0].conversation_id, "talk-1");
  CHECK_TEXT(conversations[1].conversation_id, "talk-2");
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(the_database_itself_keeps_keys_unique_for_each_instructor) {
  const char *path = test_path("unique.db");
  custmem *store = test_store(path);
  custmem_customer made;
  uint64_t rows;
  sqlite3 *db;
  REQUIRE(store != NULL);
  CHECK_INT(create(store, A, "whatsapp", "393331234567", NULL, &made, NULL), CUSTMEM_OK);
  rows = test_rows(path);
  db = test_plain(path);
  CHECK_INT(
    test_sql(
      db, "INSERT INTO customers SELECT '" NOBODY "', instructor_id, channel,"
          " normalized_identifier, NULL, 1, 1 FROM customers"
    ),
    SQLITE_CONSTRAINT
  );
  CHECK(test_rows(path) == rows);
  CHECK_INT(
    test_sql(
      db, "INSERT INTO customers SELECT '" NOBODY "', '" B "', channel,"
          " normalized_identifier, NULL, 1, 1 FROM customers"
    ),
    SQLITE_OK
  );
  CHECK_INT(test_sql_int(db, "SELECT count(*) FROM customers"), 2);
  CHECK_INT(
    test_sql_int(
      db, "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'customers'"
    ),
    0
  );
  sqlite3_close(db);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(a_customer_who_is_linked_cannot_be_deleted) {
  const char *path = test_path("orphan.db");
  custmem *store = test_store(path);
  custmem_actor actor = test_human(A);
  custmem_customer made;
  uint64_t rows;
  sqlite3 *db;
  REQUIRE(store != NULL);
  CHECK_INT(create(store, A, "whatsapp", "393331234567", NULL, &made, NULL), CUSTMEM_OK);
  CHECK_INT(
    custmem_link(store, &actor, "talk-1", made.id, "hers", ENDS, NULL, 0, NULL), CUSTMEM_OK
  );
  rows = test_rows(path);
  db = test_plain(path);
  CHECK_INT(test_sql(db, "PRAGMA foreign_keys=ON; DELETE FROM customers"), SQLITE_CONSTRAINT);
  CHECK(test_rows(path) == rows);
  sqlite3_close(db);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(nobody_is_created_but_by_create) {
  const char *path = test_path("never.db");
  custmem *store = test_store(path);
  custmem_actor actor = test_human(A);
  custmem_customer customer;
  custmem_resolution resolution;
  uint64_t rows;
  int i, wrong = 0;
  REQUIRE(store != NULL);
  rows = test_rows(path);
  for (i = 0; i < 1000; i++) {
    char raw[24], conversation[24];
    snprintf(raw, sizeof raw, "+39 333 %07d", i);
    snprintf(conversation, sizeof conversation, "talk-%d", i);
    wrong += custmem_resolve(store, A, conversation, "whatsapp", raw, ENDS, &resolution) != 0;
    wrong += resolution.why != CUSTMEM_WHY_NO_MATCH;
    wrong += find(store, A, raw, &customer) != CUSTMEM_NO_CUSTOMER;
  }
  CHECK_INT(wrong, 0);
  CHECK_INT(
    custmem_link(store, &actor, "talk-1", NOBODY, "why", ENDS, NULL, 0, NULL),
    CUSTMEM_NO_CUSTOMER
  );
  CHECK_INT(set_display(store, A, NOBODY, "Anna", NULL), CUSTMEM_NO_CUSTOMER);
  CHECK_INT(custmem_customer_get(store, A, NOBODY, &customer), CUSTMEM_NO_CUSTOMER);
  CHECK_INT(CUSTOMERS_IN(path), 0);
  CHECK(test_rows(path) == rows);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* ---- What is refused ----------------------------------------------------------------------- */

TEST(an_identifier_that_is_refused_makes_no_customer) {
  static const struct {
    const char *channel, *raw;
    int code;
  } cases[] = {
    {"whatsapp", "hello", CUSTMEM_BAD_IDENTIFIER},
    {"whatsapp", "120363025246125486@g.us", CUSTMEM_BAD_IDENTIFIER},
    {"whatsapp", "+44 (0)20 7946 0000", CUSTMEM_BAD_IDENTIFIER},
    {"whatsapp", "12345", CUSTMEM_BAD_IDENTIFIER},
    {"whatsapp", "1234567890123456", CUSTMEM_BAD_IDENTIFIER},
    {"whatsapp", "00393331234567", CUSTMEM_BAD_IDENTIFIER},
    {"sms", "ANONYMOUS", CUSTMEM_BAD_IDENTIFIER},
    {"telegram", "@anna", CUSTMEM_BAD_IDENTIFIER},
    {"email", "Anna <anna@example.com>", CUSTMEM_BAD_IDENTIFIER},
    {"whatsapp", "  \xc2\xa0\xe2\x80\x8b", CUSTMEM_BAD_IDENTIFIER}, /* blank */
    {"whatsapp", "", CUSTMEM_EMPTY},
    {"whatsapp", NULL, CUSTMEM_MISUSE},
    {"whatsapp", "393331234567\xff", CUSTMEM_BAD_TEXT},
    {"whatsapp", "393331234567\n", CUSTMEM_BAD_TEXT},
    {"WhatsApp", "393331234567", CUSTMEM_BAD_CHANNEL},
    {"fax", "393331234567", CUSTMEM_BAD_CHANNEL},
    {"whatsapp/", "393331234567", CUSTMEM_BAD_CHANNEL},
    {"", "393331234567", CUSTMEM_EMPTY},
    {NULL, "393331234567", CUSTMEM_MISUSE}};
  const char *path = test_path("refused.db");
  custmem *store = test_store(path);
  uint64_t rows;
  size_t i;
  REQUIRE(store != NULL);
  rows = test_rows(path);
  for (i = 0; i < COUNT_OF(cases); i++) {
    custmem_customer made;
    int32_t created = 7;
    int rc;
    memset(&made, 0xAA, sizeof made);
    rc = create(store, A, cases[i].channel, cases[i].raw, "Anna", &made, &created);
    CHECK_INT(rc, cases[i].code);
    CHECK(is_empty(&made));
    CHECK_INT(created, 0);
    CHECK(custmem_errmsg(store)[0] != '\0');
  }
  CHECK(test_rows(path) == rows);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(an_identifier_is_refused_by_its_size_and_its_bytes) {
  static const char with_nul[] = "393331234567\0";
  static char long_raw[CUSTMEM_RAW_MAX + 2];
  const char *path = test_path("sizes.db");
  custmem *store = test_store(path);
  custmem_actor actor = test_human(A);
  custmem_customer made;
  uint64_t rows;
  REQUIRE(store != NULL);
  rows = test_rows(path);
  CHECK_INT(
    custmem_customer_create(
      store, &actor, "whatsapp", with_nul, sizeof with_nul - 1, NULL, 0, &made, NULL
    ),
    CUSTMEM_BAD_TEXT
  );
  /* A number with blanks around it: only the size is wrong. */
  snprintf(long_raw, sizeof long_raw, "%-*s", CUSTMEM_RAW_MAX + 1, "393331234567");
  CHECK_INT(create(store, A, "whatsapp", long_raw, NULL, &made, NULL), CUSTMEM_TOO_LONG);
  CHECK_INT(
    custmem_customer_create(
      store, &actor, "whatsapp", "393331234567", -2, NULL, 0, &made, NULL
    ),
    CUSTMEM_MISUSE
  );
  CHECK(test_rows(path) == rows);
  CHECK_INT(
    custmem_customer_create(
      store, &actor, "whatsapp", long_raw, CUSTMEM_RAW_MAX, NULL, 0, &made, NULL
    ),
    CUSTMEM_OK
  );
  CHECK_TEXT(made.normalized_identifier, "393331234567");
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* Each call that has an instructor, without one. */
static void check_no_instructor(custmem *store, const char *instructor_id, const char *id) {
  custmem_actor actor = {CUSTMEM_ACTOR_HUMAN, "user-1", NULL};
  custmem_customer customer;
  int32_t count = 7, created = 7;
  actor.instructor_id = instructor_id;
  memset(&customer, 0xAA, sizeof customer);
  CHECK_INT(
    custmem_customer_create(
      store, &actor, "whatsapp", "393331234567", ENDS, NULL, 0, &customer, &created
    ),
    CUSTMEM_NO_INSTRUCTOR
  );
  CHECK(is_empty(&customer));
  CHECK_INT(created, 0);
  CHECK_INT(
    custmem_customer_set_display(store, &actor, id, "Eve", ENDS, &customer),
    CUSTMEM_NO_INSTRUCTOR
  );
  memset(&customer, 0xAA, sizeof customer);
  CHECK_INT(custmem_customer_get(store, instructor_id, id, &customer), CUSTMEM_NO_INSTRUCTOR);
  CHECK(is_empty(&customer));
  memset(&customer, 0xAA, sizeof customer);
  CHECK_INT(find(store, instructor_id, "393331234567", &customer), CUSTMEM_NO_INSTRUCTOR);
  CHECK(is_empty(&customer));
  CHECK_INT(
    custmem_customer_list(store, instructor_id, NULL, &customer, 1, &count),
    CUSTMEM_NO_INSTRUCTOR
  );
  CHECK_INT(count, 0);
}

TEST(without_an_instructor_there_is_nobody_and_nothing_is_guessed) {
  const char *path = test_path("no-instructor.db");
  custmem *store = test_store(path);
  custmem_customer made;
  uint64_t rows;
  REQUIRE(store != NULL);
  CHECK_INT(create(store, A, "whatsapp", "393331234567", "Anna", &made, NULL), CUSTMEM_OK);
  rows = test_rows(path);
  check_no_instructor(store, NULL, made.id);
  check_no_instructor(store, "", made.id);
  CHECK(test_rows(path) == rows);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(only_a_human_writes_a_customer) {
  static const struct {
    const char *actor_id;
    int32_t type;
    int code;
  } cases[] = {
    {"job-1", CUSTMEM_ACTOR_SYSTEM, CUSTMEM_NOT_HUMAN},
    {NULL, CUSTMEM_ACTOR_SYSTEM, CUSTMEM_NOT_HUMAN},
    {"user-1", 0, CUSTMEM_NOT_HUMAN},
    {"user-1", 3, CUSTMEM_NOT_HUMAN},
    {"user-1", -1, CUSTMEM_NOT_HUMAN},
    {NULL, CUSTMEM_ACTOR_HUMAN, CUSTMEM_MISUSE},
    {"", CUSTMEM_ACTOR_HUMAN, CUSTMEM_EMPTY},
    {"user\xc3", CUSTMEM_ACTOR_HUMAN, CUSTMEM_BAD_TEXT}};
  const char *path = test_path("human.db");
  custmem *store = test_store(path);
  custmem_customer made;
  uint64_t rows;
  size_t i;
  REQUIRE(store != NULL);
  CHECK_INT(create(store, A, "whatsapp", "393331234567", "Anna", &made, NULL), CUSTMEM_OK);
  rows = test_rows(path);
  for (i = 0; i < COUNT_OF(cases); i++) {
    custmem_actor actor = {0, NULL, A};
    custmem_customer other;
    actor.type = cases[i].type;
    actor.actor_id = cases[i].actor_id;
    memset(&other, 0xAA, sizeof other);
    CHECK_INT(
      custmem_customer_create(
        store, &actor, "whatsapp", "393337654321", ENDS, NULL, 0, &other, NULL
      ),
      cases[i].code
    );
    CHECK(is_empty(&other));
    CHECK_INT(
      custmem_customer_set_display(store, &actor, made.id, "Eve", ENDS, &other), cases[i].code
    );
  }
  CHECK_INT(
    custmem_customer_create(store, NULL, "whatsapp", "393337654321", ENDS, NULL, 0, NULL, NULL),
    CUSTMEM_MISUSE
  );
  CHECK_INT(
    custmem_customer_set_display(store, NULL, made.id, "Eve", ENDS, NULL), CUSTMEM_MISUSE
  );
  CHECK(test_rows(path) == rows);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(ids_work_at_their_limit_and_not_one_past_it) {
  char limit[CUSTMEM_ID_MAX + 1], past[CUSTMEM_ID_MAX + 2];
  char channel[CUSTMEM_CHANNEL_MAX + 2], long_id[CUSTMEM_UUID_SIZE + 2];
  custmem *store = test_store(NULL);
  custmem_customer made, read;
  int32_t count = 7;
  int rc;
  REQUIRE(store != NULL);
  memset(limit, 'i', sizeof limit - 1);
  limit[sizeof limit - 1] = '\0';
  memset(past, 'i', sizeof past - 1);
  past[sizeof past - 1] = '\0';
  memset(channel, 'c', sizeof channel);
  memcpy(channel, "whatsapp/", 9);
  channel[9 + 64] = '\0';
  CHECK_INT(create(store, limit, channel, "393331234567", NULL, &made, NULL), CUSTMEM_OK);
  CHECK_TEXT(made.instructor_id, limit);
  CHECK_TEXT(made.channel, channel);
  CHECK_INT(custmem_customer_get(store, limit, made.id, &read), CUSTMEM_OK);
  CHECK(equal_customers(&made, &read));
  channel[9 + 64] = 'c';
  channel[9 + 65] = '\0';
  CHECK_INT(
    create(store, limit, channel, "393331234567", NULL, &made, NULL), CUSTMEM_BAD_CHANNEL
  );
  memset(channel, 'c', sizeof channel - 1);
  channel[sizeof channel - 1] = '\0';
  rc = create(store, limit, channel, "393331234567", NULL, &made, NULL);
  CHECK(rc == CUSTMEM_TOO_LONG || rc == CUSTMEM_BAD_CHANNEL);
  CHECK_INT(
    create(store, past, "whatsapp", "393331234567", NULL, &made, NULL), CUSTMEM_TOO_LONG
  );
  CHECK_INT(custmem_customer_get(store, past, NOBODY, &read), CUSTMEM_TOO_LONG);
  CHECK_INT(find(store, past, "393331234567", &read), CUSTMEM_TOO_LONG);
  CHECK_INT(custmem_customer_list(store, past, NULL, &read, 1, &count), CUSTMEM_TOO_LONG);
  CHECK_INT(custmem_customer_list(store, "in\xff", NULL, &read, 1, &count), CUSTMEM_BAD_TEXT);
  snprintf(long_id, sizeof long_id, "%s0", NOBODY);
  CHECK_INT(custmem_customer_get(store, A, long_id, &read), CUSTMEM_TOO_LONG);
  CHECK_TEXT(custmem_errarg(store), "customer_id");
  CHECK_INT(custmem_customer_get(store, A, "", &read), CUSTMEM_EMPTY);
  CHECK_INT(custmem_customer_get(store, A, NULL, &read), CUSTMEM_MISUSE);
  CHECK_INT(custmem_customer_get(store, A, "\xc0\xaf", &read), CUSTMEM_BAD_TEXT);
  CHECK_INT(custmem_customer_get(store, A, "no-id", &read), CUSTMEM_NO_CUSTOMER);
  CHECK_INT(custmem_customer_list(store, A, long_id, &read, 1, &count), CUSTMEM_TOO_LONG);
  CHECK_INT(custmem_customer_list(store, A, "", &read, 1, &count), CUSTMEM_EMPTY);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(a_clock_or_a_random_source_that_gives_nonsense_makes_no_customer) {
  static const int64_t times[] = {-1, INT64_C(1) << 48, INT64_MIN, INT64_MAX};
  const char *path = test_path("nonsense.db");
  custmem *store;
  custmem_customer made;
  uint64_t rows;
  size_t i;
  set_clock = 1;
  store = test_store_at(path, &set_clock);
  REQUIRE(store != NULL);
  rows = test_rows(path);
  for (i = 0; i < COUNT_OF(times); i++) {
    set_clock = times[i];
    CHECK_INT(create(store, A, "whatsapp", "393331234567", NULL, &made, NULL), CUSTMEM_SOURCE);
    CHECK(is_empty(&made));
  }
  CHECK(test_rows(path) == rows);
  set_clock = (INT64_C(1) << 48) - 1;
  CHECK_INT(create(store, A, "whatsapp", "393331234567", NULL, &made, NULL), CUSTMEM_OK);
  CHECK_INT(made.created_at_ms, set_clock);
  set_clock = 0;
  CHECK_INT(create(store, A, "whatsapp", "393331234568", NULL, &made, NULL), CUSTMEM_OK);
  CHECK_INT(made.created_at_ms, 0);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

static int random_fails;

static int same_bytes(uint8_t *bytes, size_t size, void *ctx) {
  (void)ctx;
  memset(bytes, 0x5a, size);
  return random_fails;
}

TEST(a_random_source_that_repeats_itself_never_mixes_two_customers_up) {
  const char *path = test_path("repeats.db");
  custmem *store = NULL;
  custmem_options options;
  custmem_customer first, second, read;
  int rc;
  set_clock = 1750000000000;
  random_fails = 0;
  test_options(&options);
  test_clock(&options, &set_clock);
  options.random = same_bytes;
  REQUIRE(custmem_open(path, &options, &store) == CUSTMEM_OK);
  CHECK_INT(create(store, A, "whatsapp", "393331234567", "Anna", &first, NULL), CUSTMEM_OK);
  rc = create(store, A, "whatsapp", "393337654321", "Bert", &second, NULL);
  if (rc == CUSTMEM_OK) {
    CHECK(strcmp(first.id, second.id) != 0);
    CHECK_TEXT(second.normalized_identifier, "393337654321");
  } else {
    CHECK(rc == CUSTMEM_CONSTRAINT || rc == CUSTMEM_SOURCE);
    CHECK(is_empty(&second));
  }
  CHECK_INT(custmem_customer_get(store, A, first.id, &read), CUSTMEM_OK);
  CHECK(equal_customers(&first, &read));
  random_fails = 1;
  set_clock++;
  CHECK_INT(create(store, A, "whatsapp", "393330000000", NULL, &second, NULL), CUSTMEM_SOURCE);
  CHECK(is_empty(&second));
  CHECK_INT(find(store, A, "393330000000", &read), CUSTMEM_NO_CUSTOMER);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(a_read_only_store_reads_customers_and_makes_none) {
  const char *path = test_path("read-only.db");
  custmem *store = test_store(path);
  custmem_options options;
  custmem_customer made, read;
  uint64_t rows;
  REQUIRE(store != NULL);
  CHECK_INT(create(store, A, "whatsapp", "393331234567", "Anna", &made, NULL), CUSTMEM_OK);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  rows = test_rows(path);
  test_options(&options);
  options.read_only = 1;
  REQUIRE(custmem_open(path, &options, &store) == CUSTMEM_OK);
  CHECK_INT(custmem_customer_get(store, A, made.id, &read), CUSTMEM_OK);
  CHECK(equal_customers(&made, &read));
  CHECK_INT(create(store, A, "whatsapp", "393337654321", NULL, &read, NULL), CUSTMEM_READONLY);
  CHECK(is_empty(&read));
  CHECK_INT(set_display(store, A, made.id, "Eve", &read), CUSTMEM_READONLY);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  CHECK(test_rows(path) == rows);
}

/* ---- Ids and times ------------------------------------------------------------------------- */

/* The 48 bits of time of a version 7 UUID in lower case, or -1 for what is none. */
static int64_t uuid_time(const char *id) {
  static const char hex[] = "0123456789abcdef";
  int64_t time = 0;
  int i, digits = 0;
  if (strlen(id) != CUSTMEM_UUID_SIZE) return -1;
  for (i = 0; i < CUSTMEM_UUID_SIZE; i++) {
    int is_dash = i == 8 || i == 13 || i == 18 || i == 23;
    const char *digit = strchr(hex, id[i]);
    if (is_dash ? id[i] != '-' : digit == NULL) return -1;
    if (!is_dash && digits++ < 12) time = time * 16 + (digit - hex);
  }
  return id[14] == '7' && strchr("89ab", id[19]) != NULL ? time : -1;
}

TEST(ids_are_version_7_uuids_of_the_clocks_time) {
  static const int64_t times[] = {INT64_C(1750000000123), INT64_C(1750000000123), 0, 1,
                                  (INT64_C(1) << 48) - 1, INT64_C(1750000000122)};
  custmem *store;
  custmem_customer made[COUNT_OF(times)];
  size_t i, j;
  set_clock = times[0];
  store = test_store_at(":memory:", &set_clock);
  REQUIRE(store != NULL);
  for (i = 0; i < COUNT_OF(times); i++) {
    char raw[24];
    snprintf(raw, sizeof raw, "+3933312345%02d", (int)i);
    set_clock = times[i];
    CHECK_INT(create(store, A, "whatsapp", raw, NULL, &made[i], NULL), CUSTMEM_OK);
    CHECK_INT(uuid_time(made[i].id), times[i]);
    for (j = 0; j < i; j++)
      CHECK(strcmp(made[i].id, made[j].id) != 0);
  }
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* The bytes of a random source: each has its own value, then all bits, then none. */
static int random_turn;

static int told_bytes(uint8_t *bytes, size_t size, void *ctx) {
  static const uint8_t fill[] = {0x00, 0xff};
  size_t i;
  (void)ctx;
  CHECK_INT(size, 10);
  for (i = 0; i < size; i++)
    bytes[i] = random_turn == 0 ? (uint8_t)(0x4b + 0x11 * i) : fill[random_turn % 2];
  random_turn++;
  return 0;
}

TEST(the_random_bits_of_an_id_are_all_of_the_sources) {
  static const char *const ids[] = {
    "01234567-89ab-7b5c-ad7e-8fa0b1c2d3e4", "01234567-89ab-7fff-bfff-ffffffffffff",
    "01234567-89ab-7000-8000-000000000000"};
  custmem *store = NULL;
  custmem_options options;
  custmem_info info;
  custmem_customer made;
  test_options(&options);
  test_clock(&options, &set_clock);
  options.random = told_bytes;
  set_clock = INT64_C(0x0123456789ab);
  random_turn = 0;
  REQUIRE(custmem_open(":memory:", &options, &store) == CUSTMEM_OK);
  CHECK_INT(custmem_store_info(store, &info), CUSTMEM_OK);
  CHECK_TEXT(info.id, ids[0]);
  CHECK_INT(create(store, A, "whatsapp", "393331234567", NULL, &made, NULL), CUSTMEM_OK);
  CHECK_TEXT(made.id, ids[1]);
  CHECK_INT(create(store, A, "whatsapp", "393331234568", NULL, &made, NULL), CUSTMEM_OK);
  CHECK_TEXT(made.id, ids[2]);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(a_customer_keeps_when_it_was_made_and_says_when_it_changed) {
  custmem *store;
  custmem_customer made, changed, read;
  set_clock = INT64_C(1750000000000);
  store = test_store_at(":memory:", &set_clock);
  REQUIRE(store != NULL);
  set_clock = INT64_C(1750000001000);
  CHECK_INT(create(store, A, "whatsapp", "393331234567", "Anna", &made, NULL), CUSTMEM_OK);
  CHECK_INT(made.created_at_ms, INT64_C(1750000001000));
  CHECK_INT(made.updated_at_ms, INT64_C(1750000001000));
  set_clock = INT64_C(1750000002000);
  CHECK_INT(create(store, A, "whatsapp", "393331234567", "Hanna", &read, NULL), CUSTMEM_OK);
  CHECK(equal_customers(&made, &read));
  CHECK_INT(set_display(store, A, made.id, "Hanna", &changed), CUSTMEM_OK);
  CHECK_INT(changed.created_at_ms, INT64_C(1750000001000));
  CHECK_INT(changed.updated_at_ms, INT64_C(1750000002000));
  CHECK_INT(custmem_customer_get(store, A, made.id, &read), CUSTMEM_OK);
  CHECK(equal_customers(&changed, &read));
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* ---- Display identifier -------------------------------------------------------------------- */

TEST(a_display_identifier_is_kept_to_the_byte_or_refused) {
  static const char with_nul[] = "An\0na";
  static const struct {
    const char *text;
    int64_t size;
    int code;
  } cases[] = {
    {"O'Neil \"Nan\" -- ; %s", ENDS, CUSTMEM_OK},
    {"\xd7\xa2\xd7\xa0\xd7\x94 \xf0\x9f\x8f\x84", ENDS, CUSTMEM_OK}, /* right to left; emoji */
    {"Anna and more", 4, CUSTMEM_OK},
    {"", ENDS, CUSTMEM_EMPTY},
    {"Anna", 0, CUSTMEM_EMPTY},
    {"Anna", -2, CUSTMEM_MISUSE},
    {with_nul, sizeof with_nul - 1, CUSTMEM_BAD_TEXT},
    {"An\tna", ENDS, CUSTMEM_BAD_TEXT},
    {"An\nna", ENDS, CUSTMEM_BAD_TEXT},
    {"An\x7fna", ENDS, CUSTMEM_BAD_TEXT},
    {"An\xc3", ENDS, CUSTMEM_BAD_TEXT},          /* cut off */
    {"\xed\xa0\x80", ENDS, CUSTMEM_BAD_TEXT},    /* a surrogate */
    {"\xc1\x81", ENDS, CUSTMEM_BAD_TEXT},        /* longer than need be */
    {"\xf4\x90\x80\x80", ENDS, CUSTMEM_BAD_TEXT} /* past the last code point */
  };
  const char *path = test_path("display.db");
  custmem *store = test_store(path);
  custmem_actor actor = test_human(A);
  size_t i;
  REQUIRE(store != NULL);
  for (i = 0; i < COUNT_OF(cases); i++) {
    custmem_customer made;
    char want[64], raw[24];
    uint64_t rows = test_rows(path);
    snprintf(raw, sizeof raw, "+3933312345%02d", (int)i);
    CHECK_INT(
      custmem_customer_create(
        store, &actor, "whatsapp", raw, ENDS, cases[i].text, cases[i].size, &made, NULL
      ),
      cases[i].code
    );
    if (cases[i].code == CUSTMEM_OK) {
      snprintf(
        want, sizeof want, "%.*s", cases[i].size < 0 ? 63 : (int)cases[i].size, cases[i].text
      );
      CHECK_TEXT(made.display_identifier, want);
    } else {
      CHECK_TEXT(custmem_errarg(store), "display");
      CHECK(is_empty(&made));
      CHECK(test_rows(path) == rows);
    }
  }
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(a_display_identifier_works_at_its_limit_and_not_one_past_it) {
  char text[CUSTMEM_DISPLAY_MAX + 2];
  const char *path = test_path("display-limit.db");
  custmem *store = test_store(path);
  custmem_customer made, read;
  uint64_t rows;
  REQUIRE(store != NULL);
  memset(text, 'x', sizeof text - 1);
  text[sizeof text - 1] = '\0';
  rows = test_rows(path);
  CHECK_INT(create(store, A, "whatsapp", "393331234567", text, &made, NULL), CUSTMEM_TOO_LONG);
  CHECK_TEXT(custmem_errarg(store), "display");
  CHECK_HAS(custmem_errmsg(store), "255");
  CHECK(test_rows(path) == rows);
  text[CUSTMEM_DISPLAY_MAX] = '\0';
  CHECK_INT(create(store, A, "whatsapp", "393331234567", text, &made, NULL), CUSTMEM_OK);
  CHECK_TEXT(made.display_identifier, text);
  text[0] = 'y';
  CHECK_INT(set_display(store, A, made.id, text, &read), CUSTMEM_OK);
  CHECK_TEXT(read.display_identifier, text);
  text[CUSTMEM_DISPLAY_MAX] = 'x';
  rows = test_rows(path);
  CHECK_INT(set_display(store, A, made.id, text, &read), CUSTMEM_TOO_LONG);
  CHECK(is_empty(&read));
  CHECK(test_rows(path) == rows);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(a_display_identifier_is_set_and_removed_and_the_key_never_changes) {
  static const char *const displays[] = {"Anna", "Anna (surf, 2pm)", NULL, "Anna again", NULL};
  const char *path = test_path("set.db");
  custmem *store = test_store(path);
  custmem_customer made, changed, read;
  sqlite3 *db = NULL;
  size_t i;
  REQUIRE(store != NULL);
  CHECK_INT(create(store, A, "whatsapp", "393331234567", NULL, &made, NULL), CUSTMEM_OK);
  CHECK_TEXT(made.display_identifier, "");
  db = test_plain(path);
  CHECK_INT(test_sql_int(db, "SELECT display_identifier IS NULL FROM customers"), 1);
  for (i = 0; i < COUNT_OF(displays); i++) {
    CHECK_INT(set_display(store, A, made.id, displays[i], &changed), CUSTMEM_OK);
    CHECK(equal_keys(&made, &changed));
    CHECK_TEXT(changed.display_identifier, displays[i] != NULL ? displays[i] : "");
    CHECK_INT(custmem_customer_get(store, A, made.id, &read), CUSTMEM_OK);
    CHECK(equal_customers(&changed, &read));
    CHECK_INT(find(store, A, "393331234567", &read), CUSTMEM_OK);
    CHECK(equal_customers(&changed, &read));
    CHECK_INT(
      test_sql_int(db, "SELECT display_identifier IS NULL FROM customers"), displays[i] == NULL
    );
  }
  CHECK_INT(test_sql_int(db, "SELECT count(*) FROM customers"), 1);
  CHECK_INT(test_sql_int(db, "SELECT count(*) FROM audit_events"), 0);
  sqlite3_close(db);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(a_display_identifier_is_never_used_to_match) {
  custmem *store = test_store(NULL);
  custmem_customer made, read;
  custmem_resolution resolution;
  REQUIRE(store != NULL);
  CHECK_INT(
    create(store, A, "whatsapp", "393331234567", "393337654321", &made, NULL), CUSTMEM_OK
  );
  CHECK_INT(find(store, A, "393337654321", &read), CUSTMEM_NO_CUSTOMER);
  CHECK_INT(
    custmem_resolve(store, A, "talk-1", "whatsapp", "393337654321", ENDS, &resolution),
    CUSTMEM_OK
  );
  CHECK_INT(resolution.why, CUSTMEM_WHY_NO_MATCH);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* ---- Scope --------------------------------------------------------------------------------- */

TEST(another_instructors_customer_is_not_to_be_seen) {
  const char *path = test_path("isolation.db");
  custmem *store = test_store(path);
  custmem_customer of_a, read;
  custmem_conversation conversation;
  int32_t count = 7;
  uint64_t rows;
  REQUIRE(store != NULL);
  CHECK_INT(create(store, A, "whatsapp", "393331234567", "Anna", &of_a, NULL), CUSTMEM_OK);
  rows = test_rows(path);
  memset(&read, 0xAA, sizeof read);
  CHECK_INT(custmem_customer_get(store, B, of_a.id, &read), CUSTMEM_NO_CUSTOMER);
  CHECK(is_empty(&read));
  memset(&read, 0xAA, sizeof read);
  CHECK_INT(find(store, B, "393331234567", &read), CUSTMEM_NO_CUSTOMER);
  CHECK(is_empty(&read));
  memset(&read, 0xAA, sizeof read);
  CHECK_INT(set_display(store, B, of_a.id, "mine", &read), CUSTMEM_NO_CUSTOMER);
  CHECK(is_empty(&read));
  CHECK_INT(custmem_customer_list(store, B, NULL, &read, 1, &count), CUSTMEM_OK);
  CHECK_INT(count, 0);
  count = 7;
  CHECK_INT(
    custmem_conversations(store, B, of_a.id, NULL, &conversation, 1, &count),
    CUSTMEM_NO_CUSTOMER
  );
  CHECK_INT(count, 0);
  CHECK(is_listed(store, A, of_a.id));
  CHECK(!is_listed(store, B, of_a.id));
  CHECK(test_rows(path) == rows);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(scope_is_by_the_whole_instructor_id) {
  static const char *const others[] = {"instructor",    "instructor-a ", "instructor-A",
                                       "instructor-a%", "instructor-_",  "instructor-aa"};
  custmem *store = test_store(NULL);
  custmem_customer of_a, read;
  size_t i;
  REQUIRE(store != NULL);
  CHECK_INT(create(store, A, "whatsapp", "393331234567", NULL, &of_a, NULL), CUSTMEM_OK);
  for (i = 0; i < COUNT_OF(others); i++) {
    CHECK_INT(custmem_customer_get(store, others[i], of_a.id, &read), CUSTMEM_NO_CUSTOMER);
    CHECK_INT(find(store, others[i], "393331234567", &read), CUSTMEM_NO_CUSTOMER);
    CHECK(!is_listed(store, others[i], of_a.id));
  }
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(another_instructors_customer_and_none_give_the_same_answer) {
  char of_other[512] = "", of_none[512] = "";
  custmem *store = test_store(NULL);
  custmem_customer of_a, read;
  custmem_conversation conversation;
  int32_t count;
  const char *ids[2];
  char *messages[2];
  int call, i;
  REQUIRE(store != NULL);
  CHECK_INT(create(store, A, "whatsapp", "393331234567", NULL, &of_a, NULL), CUSTMEM_OK);
  ids[0] = of_a.id;
  ids[1] = NOBODY;
  messages[0] = of_other;
  messages[1] = of_none;
  for (call = 0; call < 3; call++) {
    for (i = 0; i < 2; i++) {
      int rc = call == 0 ? custmem_customer_get(store, B, ids[i], &read)
               : call == 1
                 ? set_display(store, B, ids[i], "mine", &read)
                 : custmem_conversations(store, B, ids[i], NULL, &conversation, 1, &count);
      CHECK_INT(rc, CUSTMEM_NO_CUSTOMER);
      test_message_about(store, ids[i], messages[i], sizeof of_none);
      CHECK_TEXT(custmem_errarg(store), "customer_id");
    }
    CHECK(of_none[0] != '\0');
    CHECK_TEXT(of_other, of_none);
  }
  CHECK_INT(find(store, B, "393331234567", &read), CUSTMEM_NO_CUSTOMER);
  test_message_about(store, "393331234567", of_other, sizeof of_other);
  CHECK_INT(find(store, B, "393330000000", &read), CUSTMEM_NO_CUSTOMER);
  test_message_about(store, "393330000000", of_none, sizeof of_none);
  CHECK_TEXT(of_other, of_none);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* ---- Outputs ------------------------------------------------------------------------------- */

TEST(outputs_that_may_be_null_are_optional) {
  const char *path = test_path("null.db");
  custmem *store = test_store(path);
  custmem_customer read;
  int32_t created = 7, count = 7;
  REQUIRE(store != NULL);
  CHECK_INT(create(store, A, "whatsapp", "393331234567", "Anna", NULL, NULL), CUSTMEM_OK);
  CHECK_INT(create(store, A, "whatsapp", "393331234567", "Anna", NULL, &created), CUSTMEM_OK);
  CHECK_INT(created, 0);
  CHECK_INT(find(store, A, "393331234567", &read), CUSTMEM_OK);
  CHECK_INT(set_display(store, A, read.id, NULL, NULL), CUSTMEM_OK);
  CHECK_INT(find(store, A, "393331234567", &read), CUSTMEM_OK);
  CHECK_TEXT(read.display_identifier, "");
  CHECK_INT(CUSTOMERS_IN(path), 1);
  /* These outputs are what the calls are for. */
  CHECK_INT(custmem_customer_get(store, A, read.id, NULL), CUSTMEM_MISUSE);
  CHECK_TEXT(custmem_errarg(store), "customer");
  CHECK_INT(find(store, A, "393331234567", NULL), CUSTMEM_MISUSE);
  CHECK_INT(custmem_customer_list(store, A, NULL, NULL, 1, &count), CUSTMEM_MISUSE);
  CHECK_INT(count, 0);
  CHECK_INT(custmem_customer_list(store, A, NULL, &read, 1, NULL), CUSTMEM_MISUSE);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(without_a_store_outputs_are_filled_in_all_the_same) {
  custmem_customer customer;
  int32_t created = 7, count = 7;
  memset(&customer, 0xAA, sizeof customer);
  CHECK_INT(
    create(NULL, A, "whatsapp", "393331234567", NULL, &customer, &created), CUSTMEM_MISUSE
  );
  CHECK(is_empty(&customer));
  CHECK_INT(created, 0);
  memset(&customer, 0xAA, sizeof customer);
  CHECK_INT(custmem_customer_get(NULL, A, NOBODY, &customer), CUSTMEM_MISUSE);
  CHECK(is_empty(&customer));
  memset(&customer, 0xAA, sizeof customer);
  CHECK_INT(find(NULL, A, "393331234567", &customer), CUSTMEM_MISUSE);
  CHECK(is_empty(&customer));
  memset(&customer, 0xAA, sizeof customer);
  CHECK_INT(set_display(NULL, A, NOBODY, "Anna", &customer), CUSTMEM_MISUSE);
  CHECK(is_empty(&customer));
  CHECK_INT(custmem_customer_list(NULL, A, NULL, &customer, 1, &count), CUSTMEM_MISUSE);
  CHECK_INT(count, 0);
}

/* ---- Lists --------------------------------------------------------------------------------- */

#define MANY 1000

static int compare_ids(const void *left, const void *right) {
  return strcmp(left, right);
}

/* Reads the whole list in pages; how many customers, and how many were not the ones expected: all
** of `ids`, which are sorted, once and in order. */
static int32_t read_list(
  custmem *store,
  const char (*ids)[CUSTMEM_UUID_SIZE + 1],
  int32_t expected,
  int32_t page_size,
  int32_t *wrong
) {
  custmem_customer *page = calloc((size_t)page_size, sizeof *page);
  char after[CUSTMEM_UUID_SIZE + 1] = "";
  int32_t total = 0, count = page_size, i;
  *wrong = page == NULL;
  while (page != NULL && count == page_size) {
    const char *from = after[0] != '\0' ? after : NULL;
    int rc = custmem_customer_list(store, A, from, page, page_size, &count);
    *wrong += rc != CUSTMEM_OK || count < 0 || count > page_size;
    if (*wrong > 0) break;
    for (i = 0; i < count; i++, total++)
      *wrong += total >= expected || strcmp(page[i].id, ids[total]) != 0 ||
                strcmp(page[i].instructor_id, A) != 0;
    if (count > 0) strcpy(after, page[count - 1].id);
  }
  free(page);
  return total;
}

TEST(pages_of_a_list_are_together_all_customers_once_and_in_order) {
  static char ids[MANY][CUSTMEM_UUID_SIZE + 1];
  static const int32_t sizes[] = {0, 1, 9, 10, 11, 20, MANY};
  static const int32_t pages[] = {1, 10, 333, MANY - 1, MANY, MANY + 1};
  custmem *store = test_store(NULL);
  int32_t made = 0, wrong, s, p;
  REQUIRE(store != NULL);
  for (s = 0; s < (int32_t)COUNT_OF(sizes); s++) {
    for (; made < sizes[s]; made++) {
      custmem_customer customer;
      char raw[24];
      snprintf(raw, sizeof raw, "+39 333 %07d", (int)made);
      if (create(store, A, "whatsapp", raw, NULL, &customer, NULL) != CUSTMEM_OK) break;
      strcpy(ids[made], customer.id);
      /* The other instructor's lie between them. */
      if (create(store, B, "whatsapp", raw, NULL, NULL, NULL) != CUSTMEM_OK) break;
    }
    REQUIRE(made == sizes[s]);
    qsort(ids, (size_t)made, sizeof ids[0], compare_ids);
    for (p = 0; p < (int32_t)COUNT_OF(pages); p++) {
      CHECK_INT(
        read_list(store, (const char(*)[CUSTMEM_UUID_SIZE + 1]) ids, made, pages[p], &wrong),
        made
      );
      CHECK_INT(wrong, 0);
    }
  }
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(a_list_goes_on_after_any_id_and_wants_room_for_one) {
  custmem *store = test_store(NULL);
  custmem_customer page[2];
  int32_t count = 7;
  REQUIRE(store != NULL);
  CHECK_INT(create(store, A, "whatsapp", "393331234567", NULL, NULL, NULL), CUSTMEM_OK);
  CHECK_INT(create(store, A, "whatsapp", "393337654321", NULL, NULL, NULL), CUSTMEM_OK);
  CHECK_INT(
    custmem_customer_list(store, A, "00000000-0000-7000-8000-000000000000", page, 2, &count),
    CUSTMEM_OK
  );
  CHECK_INT(count, 2);
  CHECK(strcmp(page[0].id, page[1].id) < 0);
  CHECK_INT(
    custmem_customer_list(store, A, "ffffffff-ffff-7fff-bfff-ffffffffffff", page, 2, &count),
    CUSTMEM_OK
  );
  CHECK_INT(count, 0);
  count = 7;
  CHECK_INT(custmem_customer_list(store, A, NULL, page, 0, &count), CUSTMEM_MISUSE);
  CHECK_INT(count, 0);
  CHECK_TEXT(custmem_errarg(store), "capacity");
  CHECK_INT(custmem_customer_list(store, A, NULL, page, -1, &count), CUSTMEM_MISUSE);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(customers_are_the_same_after_reopening) {
  const char *path = test_path("reopen.db");
  custmem *store = test_store(path);
  custmem_customer made, read;
  int32_t created = 7;
  REQUIRE(store != NULL);
  CHECK_INT(create(store, A, "whatsapp", "393331234567", "Anna", &made, NULL), CUSTMEM_OK);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  store = test_store(path);
  REQUIRE(store != NULL);
  CHECK_INT(custmem_customer_get(store, A, made.id, &read), CUSTMEM_OK);
  CHECK(equal_customers(&made, &read));
  CHECK_INT(create(store, A, "whatsapp", "+393331234567", NULL, &read, &created), CUSTMEM_OK);
  CHECK_INT(created, 0);
  CHECK(equal_customers(&made, &read));
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(two_handles_that_create_one_customer_get_the_same_one) {
  const char *path = test_path("handles.db");
  custmem *first = test_store(path), *second = test_store(path);
  custmem_customer by_first, by_second;
  int32_t created = 7;
  REQUIRE(first != NULL && second != NULL);
  CHECK_INT(find(second, A, "393331234567", &by_second), CUSTMEM_NO_CUSTOMER);
  CHECK_INT(create(first, A, "whatsapp", "393331234567", "Anna", &by_first, NULL), CUSTMEM_OK);
  CHECK_INT(
    create(second, A, "whatsapp", "393331234567", "Hanna", &by_second, &created), CUSTMEM_OK
  );
  CHECK_INT(created, 0);
  CHECK(equal_customers(&by_first, &by_second));
  CHECK_INT(CUSTOMERS_IN(path), 1);
  CHECK_INT(custmem_close(first), CUSTMEM_OK);
  CHECK_INT(custmem_close(second), CUSTMEM_OK);
}

static void run_creating(void) {
  RUN(a_customer_is_one_row_with_the_key_it_was_made_with, "CM-1 §2.1; T1");
  RUN(
    creating_a_customer_again_gives_the_same_one_and_writes_nothing,
    "CM-1 §2.3, §4.1, §4.2, §6 zero silent duplicates; D-8"
  );
  RUN(
    creating_one_customer_a_thousand_times_leaves_one_row,
    "CM-1 §3.2, §6 zero silent duplicates, §6 normalization consistency"
  );
  RUN(one_number_of_two_instructors_is_two_customers, "CM-1 §2.1, §3.2; T1");
  RUN(two_spellings_of_a_number_are_one_customer, "CM-1 §2.3, §3.2, §4.3");
  RUN(
    different_keys_are_different_customers,
    "CM-1 §3.3, §6 different numbers, different customers; D-3"
  );
  RUN(
    one_number_in_two_conversations_is_one_customer_with_two_conversations,
    "CM-1 §6 same normalized number, same customer"
  );
  RUN(
    the_database_itself_keeps_keys_unique_for_each_instructor,
    "CM-1 §2.1, §4.1, §6 zero silent duplicates; T1"
  );
  RUN(a_customer_who_is_linked_cannot_be_deleted, "CM-1 §2.4, §4.3; D-1");
  RUN(nobody_is_created_but_by_create, "CM-2.1 §4; D-1");
}

static void run_refusals(void) {
  RUN(an_identifier_that_is_refused_makes_no_customer, "CM-1 §3.2, §4.2; T2");
  RUN(an_identifier_is_refused_by_its_size_and_its_bytes, "CM-1 §4.2; T2");
  RUN(without_an_instructor_there_is_nobody_and_nothing_is_guessed, "CM-1 §4.1, §4.2");
  RUN(only_a_human_writes_a_customer, "CM-2.3 §3.2; D-1");
  RUN(ids_work_at_their_limit_and_not_one_past_it, "D-8");
  RUN(a_clock_or_a_random_source_that_gives_nonsense_makes_no_customer, "D-8");
  RUN(a_random_source_that_repeats_itself_never_mixes_two_customers_up, "CM-1 §4.2");
  RUN(a_read_only_store_reads_customers_and_makes_none, "D-8");
}

static void run_ids_and_display(void) {
  RUN(ids_are_version_7_uuids_of_the_clocks_time, "CM-1 §2.1; D-2");
  RUN(the_random_bits_of_an_id_are_all_of_the_sources, "CM-1 §2.1; D-2");
  RUN(a_customer_keeps_when_it_was_made_and_says_when_it_changed, "CM-1 §2.1, §2.4; T1");
  RUN(a_display_identifier_is_kept_to_the_byte_or_refused, "CM-1 §2.1; D-8");
  RUN(a_display_identifier_works_at_its_limit_and_not_one_past_it, "CM-1 §2.1; D-8");
  RUN(
    a_display_identifier_is_set_and_removed_and_the_key_never_changes, "CM-1 §2.1, §2.3, §2.4"
  );
  RUN(a_display_identifier_is_never_used_to_match, "CM-1 §2.1, §4.3");
}

static void run_scope(void) {
  RUN(
    another_instructors_customer_is_not_to_be_seen,
    "CM-1 §4.1, §4.3, §6 instructor isolation; CM-2.1 §6"
  );
  RUN(scope_is_by_the_whole_instructor_id, "CM-1 §4.1, §6 instructor isolation");
  RUN(another_instructors_customer_and_none_give_the_same_answer, "CM-1 §4.3; D-5");
}

static void run_outputs_and_lists(void) {
  RUN(outputs_that_may_be_null_are_optional, "D-8");
  RUN(without_a_store_outputs_are_filled_in_all_the_same, "D-8");
  RUN(pages_of_a_list_are_together_all_customers_once_and_in_order, "CM-1 §5.1, §5.3; D-8");
  RUN(a_list_goes_on_after_any_id_and_wants_room_for_one, "CM-1 §5.3; D-8");
  RUN(customers_are_the_same_after_reopening, "CM-1 §2.3");
  RUN(two_handles_that_create_one_customer_get_the_same_one, "CM-1 §4.2; D-8");
}

/* What an inbox page needs: a name for each row, in one call. */
TEST(the_customers_of_a_page_are_read_in_one_call) {
  custmem *store = test_store(NULL);
  custmem_customer rows[6], one;
  const char *ids[6] = {NULL, "", "0190a5b0-0000-7000-8000-000000000000", NULL, NULL, NULL};
  char long_id[CUSTMEM_UUID_SIZE + 2];
  int i;
  REQUIRE(store != NULL);
  ids[0] = test_customer(store, "ada", "393331234567");
  ids[3] = test_customer(store, "bob", "393331234567"); /* another's */
  ids[5] = test_customer(store, "ada", "393337654321");
  memset(rows, 0xAA, sizeof rows);
  CHECK_INT(custmem_customer_get_many(store, "ada", ids, 6, rows), CUSTMEM_OK);
  for (i = 0; i < 6; i += 5) {
    CHECK_INT(custmem_customer_get(store, "ada", ids[i], &one), CUSTMEM_OK);
    CHECK(memcmp(&rows[i], &one, sizeof one) == 0);
    CHECK_INT(
      one.display_identifier[CUSTMEM_DISPLAY_MAX], '\0'
    ); /* nothing of ours behind a text */
  }
  memset(&one, 0, sizeof one);
  for (i = 1; i < 5; i++)
    CHECK(memcmp(&rows[i], &one, sizeof one) == 0);
  CHECK_INT(custmem_customer_get_many(store, "ada", NULL, 0, NULL), CUSTMEM_OK);
  memset(&one, 0xAA, sizeof one);
  CHECK_INT(custmem_customer_get_many(NULL, "ada", ids, 1, &one), CUSTMEM_MISUSE);
  CHECK(is_empty(&one));
  /* One bad id, and no row is filled in. */
  memset(long_id, 'x', sizeof long_id);
  long_id[CUSTMEM_UUID_SIZE + 1] = '\0';
  ids[1] = long_id;
  memset(rows, 0xAA, sizeof rows);
  CHECK_INT(custmem_customer_get_many(store, "ada", ids, 6, rows), CUSTMEM_TOO_LONG);
  CHECK_TEXT(custmem_errarg(store), "customer_ids");
  CHECK(memcmp(&rows[0], &one, sizeof one) == 0);
  CHECK_INT(custmem_customer_get_many(store, "ada", ids, -1, rows), CUSTMEM_MISUSE);
  CHECK_INT(custmem_customer_get_many(store, NULL, ids, 1, rows), CUSTMEM_NO_INSTRUCTOR);
  CHECK_INT(custmem_customer_get_many(store, "ada", NULL, 1, rows), CUSTMEM_MISUSE);
  CHECK_INT(custmem_customer_get_many(store, "ada", ids, 1, NULL), CUSTMEM_MISUSE);
  CHECK_INT(custmem_customer_get_many(NULL, "ada", ids, 1, rows), CUSTMEM_MISUSE);
  CHECK(rows[0].id[0] == '\0');
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* An address of the greatest size: 64 bytes before the sign, 95 behind it. */
TEST(a_key_at_its_limit_is_kept_whole) {
  char address[CUSTMEM_IDENTIFIER_MAX + 1];
  custmem_actor ada = test_human("ada");
  custmem_customer made, found;
  custmem_report report;
  custmem *store = test_store(NULL);
  REQUIRE(store != NULL);
  memset(address, 'a', CUSTMEM_IDENTIFIER_MAX);
  address[CUSTMEM_IDENTIFIER_MAX] = '\0';
  address[64] = '@';
  address[64 + 50] = '.';
  CHECK_INT(custmem_normalize("email", address, -1, NULL), CUSTMEM_ACCEPTED);
  CHECK_INT(
    custmem_customer_create(store, &ada, "email", address, -1, NULL, 0, &made, NULL), CUSTMEM_OK
  );
  CHECK_TEXT(made.normalized_identifier, address);
  CHECK_INT(custmem_customer_find(store, "ada", "email", address, -1, &found), CUSTMEM_OK);
  CHECK_TEXT(found.id, made.id);
  CHECK_INT(custmem_check(store, &report), CUSTMEM_OK);
  CHECK_INT(report.customers, 1);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  run_creating();
  run_refusals();
  run_ids_and_display();
  run_scope();
  run_outputs_and_lists();
  RUN(the_customers_of_a_page_are_read_in_one_call, "CM-1 §4.1, §5.3; D-8");
  RUN(a_key_at_its_limit_is_kept_whole, "CM-1 §2.1; D-1");
  return test_report();
}
