/* SPDX-License-Identifier: MIT */

/* The statements that custmem prepares, as SQLite has them: each call is made once, and the
** statements that the connection then holds are looked at. The connection is caught as it opens. */
#include "test.h"
#include "vfs_shim.h"

#include <stdio.h>
#include <string.h>

static sqlite3 *caught;

/* How many objects a connection makes, from when it opens. */
static int creates;

static int count_creates(unsigned mask, void *ctx, void *stmt, void *sql) {
  (void)mask, (void)ctx, (void)stmt;
  creates += strstr(sql, "CREATE ") != NULL;
  return 0;
}

static int catch_creates(sqlite3 *db, char **message, const struct sqlite3_api_routines *api) {
  (void)message, (void)api;
  return sqlite3_trace_v2(db, SQLITE_TRACE_STMT, count_creates, NULL);
}

static int creates_of(const char *path, custmem_info *info) {
  custmem *store;
  custmem_report report;
  memset(info, 0, sizeof *info);
  creates = 0;
  sqlite3_auto_extension((void (*)(void))catch_creates);
  store = test_store(path);
  sqlite3_cancel_auto_extension((void (*)(void))catch_creates);
  if (store == NULL) return -1;
  CHECK_INT(custmem_store_info(store, info), CUSTMEM_OK);
  CHECK_INT(custmem_check(store, &report), CUSTMEM_OK);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  return creates;
}

/* Before any other test: the first store in memory is the process's first. */
TEST(a_store_in_memory_copies_what_the_first_one_made) {
  custmem_info file, first, second, again;
  int objects = creates_of(test_path("made.db"), &file);
  CHECK(objects > 12);
  CHECK_INT(creates_of(NULL, &first), objects);
  CHECK_INT(creates_of(NULL, &second), 0);
  CHECK_INT(creates_of(NULL, &again), 0);
  CHECK_INT(creates_of(test_path("made-2.db"), &file), objects);
  CHECK(strcmp(first.id, second.id) != 0);
  CHECK(strcmp(second.id, again.id) != 0);
  CHECK_INT(again.schema_version, file.schema_version);
}

/* Every call that prepares a statement, once. */
static void call_everything(custmem *store) {
  custmem_actor ada = test_human("ada");
  custmem_customer customer;
  custmem_resolution found[2];
  custmem_conversation conversation;
  custmem_event event;
  custmem_head head;
  custmem_report report;
  custmem_query queries[2] = {
    {"c1", "whatsapp", "393331234567", -1}, {"c2", "whatsapp", "393337654321", -1}};
  const char *anna = test_customer(store, "ada", "393331234567");
  const char *ben = test_customer(store, "ada", "393337654321");
  int32_t count;
  CHECK_INT(custmem_customer_get(store, "ada", anna, &customer), CUSTMEM_OK);
  CHECK_INT(custmem_customer_list(store, "ada", NULL, &customer, 1, &count), CUSTMEM_OK);
  CHECK_INT(custmem_customer_set_display(store, &ada, anna, "Anna", -1, NULL), CUSTMEM_OK);
  CHECK_INT(custmem_link(store, &ada, "c1", anna, "r", -1, NULL, 0, NULL), CUSTMEM_OK);
  CHECK_INT(custmem_relink(store, &ada, "c1", anna, ben, "r", -1, NULL, 0, NULL), CUSTMEM_OK);
  CHECK_INT(custmem_resolve_many(store, "ada", queries, 2, found), CUSTMEM_OK);
  CHECK_INT(found[0].outcome, CUSTMEM_LINKED);
  CHECK_INT(found[1].outcome, CUSTMEM_CANDIDATE);
  CHECK_INT(
    custmem_conversations(store, "ada", ben, NULL, &conversation, 1, &count), CUSTMEM_OK
  );
  CHECK_INT(custmem_history(store, "ada", "c1", 0, &event, 1, &count), CUSTMEM_OK);
  CHECK_INT(custmem_audit_read(store, "ada", 0, &event, 1, &count), CUSTMEM_OK);
  CHECK_INT(custmem_audit_head(store, "ada", &head), CUSTMEM_OK);
  CHECK_INT(custmem_check(store, &report), CUSTMEM_OK);
}

static custmem *store_with_statements(const char *path) {
  custmem *store = test_store_caught(path, NULL, &caught);
  if (store != NULL) call_everything(store);
  return store;
}

/* What may read all of a table: it is asked for all, or checks what an index might hide. */
static int may_scan(const char *sql) {
  static const char *const all[] = {
    "FROM main.store",
    "FROM main.sqlite_schema",
    "updated_at FROM main.customers AS customer",
    "EXISTS (SELECT 1 FROM main.customers",
  };
  size_t i;
  for (i = 0; i < sizeof all / sizeof all[0]; i++) {
    const char *found = strstr(sql, all[i]);
    if (found != NULL && (i != 2 || strcmp(found, all[i]) == 0)) return 1;
  }
  return 0;
}

TEST(no_statement_reads_a_table_where_an_index_serves) {
  const char *path = test_path("plans.db");
  custmem *store = store_with_statements(path);
  sqlite3 *plain = test_plain(path);
  sqlite3_stmt *stmt = NULL;
  int statements = 0;
  REQUIRE(store != NULL);
  while ((stmt = sqlite3_next_stmt(caught, stmt)) != NULL) {
    char sql[2048];
    sqlite3_stmt *plan = NULL;
    snprintf(sql, sizeof sql, "EXPLAIN QUERY PLAN %s", sqlite3_sql(stmt));
    if (!CHECK_INT(sqlite3_prepare_v2(plain, sql, -1, &plan, NULL), SQLITE_OK))
      printf("%s\n", sql);
    while (sqlite3_step(plan) == SQLITE_ROW) {
      const char *step = (const char *)sqlite3_column_text(plan, 3);
      int scans = strncmp(step, "SCAN ", 5) == 0 && strstr(step, "CONSTANT") == NULL &&
                  strstr(step, "VALUES CLAUSE") == NULL && strstr(step, "subquery") == NULL;
      if (!CHECK(!scans || may_scan(sqlite3_sql(stmt))) || !CHECK(strstr(step, "TEMP") == NULL))
        printf("  %s\n  %s\n", step, sql);
    }
    sqlite3_finalize(plan);
    statements++;
  }
  CHECK(statements >= 25);
  sqlite3_close(plain);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(a_statement_either_reads_or_writes_what_it_must) {
  custmem *store = store_with_statements(test_path("kinds.db"));
  sqlite3_stmt *stmt = NULL;
  int writes = 0;
  REQUIRE(store != NULL);
  while ((stmt = sqlite3_next_stmt(caught, stmt)) != NULL) {
    const char *sql = sqlite3_sql(stmt);
    int is_write = strncmp(sql, "INSERT INTO main.", 17) == 0 ||
                   strncmp(sql, "UPDATE main.", 12) == 0 || strcmp(sql, "BEGIN IMMEDIATE") == 0;
    if (!CHECK_INT(sqlite3_stmt_readonly(stmt) == 0, is_write)) printf("  %s\n", sql);
    CHECK(strstr(sql, "DELETE") == NULL && strstr(sql, "REPLACE") == NULL);
    CHECK_INT(sqlite3_stmt_busy(stmt), 0);
    writes += is_write;
  }
  CHECK_INT(writes, 6);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* SQLite would look into the size of a page that is bound to a LIMIT, and plan anew for each. */
TEST(no_statement_is_prepared_twice_whatever_it_is_bound_to) {
  custmem_customer customers[7];
  custmem *store = store_with_statements(test_path("once.db"));
  sqlite3_stmt *stmt = NULL;
  int32_t count;
  REQUIRE(store != NULL);
  CHECK_INT(custmem_customer_list(store, "ada", NULL, customers, 7, &count), CUSTMEM_OK);
  CHECK_INT(count, 2);
  while ((stmt = sqlite3_next_stmt(caught, stmt)) != NULL)
    if (!CHECK_INT(sqlite3_stmt_status(stmt, SQLITE_STMTSTATUS_REPREPARE, 0), 0))
      printf("  %s\n", sqlite3_sql(stmt));
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* ?1, where a table of an instructor's rows is read or written. */
TEST(every_statement_on_an_instructors_rows_names_the_instructor) {
  static const char *const whole_store[] = {
    "SELECT customer.id, customer.instructor_id, customer.channel,"
    " customer.normalized_identifier, customer.display_identifier, customer.created_at,"
    " customer.updated_at FROM main.customers AS customer",
    "SELECT instructor_id, conversation_id FROM main.conversation_links AS link WHERE "
    "instructor_id = ''"};
  custmem *store = store_with_statements(test_path("scope.db"));
  sqlite3_stmt *stmt = NULL;
  int scoped = 0;
  REQUIRE(store != NULL);
  while ((stmt = sqlite3_next_stmt(caught, stmt)) != NULL) {
    const char *sql = sqlite3_sql(stmt);
    int is_scoped = strstr(sql, "?1") != NULL && strstr(sql, "instructor_id") != NULL;
    if (strcmp(sql, whole_store[0]) == 0 || strncmp(sql, whole_store[1], strlen(whole_store[1])) == 0)
      continue;
    if (strstr(sql, "main.customers") == NULL && strstr(sql, "main.conversation_links") == NULL && strstr(sql, "main.audit_events") == NULL)
      continue;
    if (!CHECK(is_scoped)) printf("  %s\n", sql);
    scoped += is_scoped;
  }
  CHECK(scoped >= 15);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* The connection itself, were custmem to be made to run other SQL, would refuse it. */
TEST(the_connection_can_do_nothing_that_no_statement_does) {
  static const char *const attempts[] = {
    "DELETE FROM audit_events",
    "UPDATE audit_events SET reason = 'x'",
    "UPDATE customers SET normalized_identifier = 'x'",
    "DELETE FROM customers",
    "UPDATE customers SET instructor_id = 'x'",
    "DELETE FROM conversation_links",
    "UPDATE conversation_links SET conversation_id = 'x'",
    "INSERT INTO store VALUES (2, '', 1, 1)",
    "UPDATE store SET rules_version = 2",
    "DROP TRIGGER audit_events_delete",
    "DROP TABLE customers",
    "CREATE TABLE x (y)",
    "CREATE TEMP TABLE x (y)",
    "ATTACH ':memory:' AS other",
    "PRAGMA writable_schema = ON",
    "PRAGMA foreign_keys = OFF",
    "PRAGMA user_version = 2",
    "PRAGMA user_version = 0",
    "PRAGMA application_id = 1",
    "PRAGMA foreign_keys",
    "PRAGMA journal_mode = DELETE",
    "VACUUM",
    "SAVEPOINT s",
    "ALTER TABLE customers ADD COLUMN x",
  };
  const char *path = test_path("authorizer.db");
  custmem *store = store_with_statements(path);
  uint64_t before = test_rows(path);
  size_t i;
  REQUIRE(store != NULL);
  for (i = 0; i < sizeof attempts / sizeof attempts[0]; i++)
    if (!CHECK_INT(test_sql(caught, attempts[i]) & 0xff, SQLITE_AUTH))
      printf("  %s\n", attempts[i]);
  CHECK(test_rows(path) == before);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* What is put into the schema while the store is open is seen at the next opening or check. Until then it
** may stop a call, and make it write nothing. */
TEST(a_trigger_of_somebody_elses_writes_nothing) {
  static const char *const triggers[] = {
    "CREATE TRIGGER other AFTER UPDATE ON customers BEGIN"
    " UPDATE conversation_links SET customer_id = NULL; END",
    "CREATE TRIGGER other AFTER UPDATE ON customers BEGIN"
    " INSERT INTO customers VALUES (hex(randomblob(18)), 'ada', 'sms', '39', NULL, 1, 1); END",
    "CREATE TRIGGER other AFTER UPDATE ON customers BEGIN DELETE FROM store; END",
  };
  const char *path = test_path("trigger.db");
  custmem *store = store_with_statements(path);
  custmem_actor ada = test_human("ada");
  custmem_customer read;
  const char *anna;
  size_t i;
  REQUIRE(store != NULL);
  anna = test_customer(store, "ada", "393331234567");
  for (i = 0; i < sizeof triggers / sizeof triggers[0]; i++) {
    sqlite3 *db = test_plain(path);
    uint64_t before;
    custmem_report report;
    CHECK_INT(test_sql(db, triggers[i]), SQLITE_OK);
    before = test_rows(path);
    CHECK_INT(
      custmem_customer_set_display(store, &ada, anna, "Bruno", -1, NULL), CUSTMEM_SCHEMA
    );
    CHECK(test_rows(path) == before);
    CHECK_INT(custmem_check(store, &report), CUSTMEM_BROKEN);
    CHECK_INT(report.fault, CUSTMEM_FAULT_SCHEMA);
    CHECK_INT(test_sql(db, "DROP TRIGGER other"), SQLITE_OK);
    sqlite3_close(db);
    CHECK_INT(
      custmem_customer_get(store, "ada", anna, &read), CUSTMEM_OK
    ); /* sees that it is gone */
    CHECK_TEXT(read.display_identifier, "Anna");
    CHECK_INT(custmem_customer_set_display(store, &ada, anna, "Anna", -1, NULL), CUSTMEM_OK);
  }
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* A trigger that swallows a row leaves no error; but a call that wrote nothing does not say that it did. */
TEST(a_write_that_a_trigger_swallows_has_not_been_done) {
  static const char *const swallowed[] = {
    "INSERT ON customers", "UPDATE ON customers", "INSERT ON audit_events",
    "INSERT ON conversation_links", "UPDATE ON conversation_links"};
  const char *path = test_path("swallowed.db"), *anna, *ben;
  custmem *store = store_with_statements(path);
  custmem_actor ada = test_human("ada");
  custmem_customer read;
  int i;
  REQUIRE(store != NULL);
  anna = test_customer(store, "ada", "393331234567");
  ben = test_customer(store, "ada", "393337654321");
  CHECK_INT(test_link(store, "ada", "talk-7", anna), CUSTMEM_OK);
  for (i = 0; i < 5; i++) {
    sqlite3 *db = test_plain(path);
    char sql[120];
    uint64_t before;
    int rc;
    snprintf(
      sql, sizeof sql, "CREATE TRIGGER other BEFORE %s BEGIN SELECT RAISE(IGNORE); END",
      swallowed[i]
    );
    CHECK_INT(test_sql(db, sql), SQLITE_OK);
    before = test_rows(path);
    if (i == 0)
      rc = custmem_customer_create(store, &ada, "sms", "15005550006", -1, NULL, 0, NULL, NULL);
    else if (i == 1)
      rc = custmem_customer_set_display(store, &ada, anna, "Anna!", -1, NULL);
    else if (i < 4)
      rc = test_link(store, "ada", "talk-8", anna);
    else
      rc = custmem_relink(store, &ada, "talk-7", anna, ben, "r", -1, NULL, 0, NULL);
    if (!CHECK_INT(rc, CUSTMEM_SCHEMA)) printf("  %s\n", swallowed[i]);
    CHECK(test_rows(path) == before);
    CHECK_INT(test_sql(db, "DROP TRIGGER other"), SQLITE_OK);
    sqlite3_close(db);
    CHECK_INT(custmem_customer_get(store, "ada", anna, &read), CUSTMEM_OK);
  }
  CHECK_INT(test_link(store, "ada", "talk-8", anna), CUSTMEM_OK);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* The settings stand behind each other: most attacks that one of them stops another would, too. */
TEST(the_connection_has_every_setting_that_is_to_guard_it) {
  static const struct {
    int option, value;
  } settings[] = {
    {SQLITE_DBCONFIG_DEFENSIVE, 1},
    {SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0},
    {SQLITE_DBCONFIG_ENABLE_FKEY, 1},
    {SQLITE_DBCONFIG_ENABLE_TRIGGER, 1},
    {SQLITE_DBCONFIG_ENABLE_VIEW, 0},
    {SQLITE_DBCONFIG_DQS_DML, 0},
    {SQLITE_DBCONFIG_DQS_DDL, 0},
    {SQLITE_DBCONFIG_ENABLE_ATTACH_CREATE, 0},
    {SQLITE_DBCONFIG_ENABLE_ATTACH_WRITE, 0},
    {SQLITE_DBCONFIG_ENABLE_QPSG, 1},
    {SQLITE_DBCONFIG_WRITABLE_SCHEMA, 0},
  };
  custmem *store = store_with_statements(test_path("settings.db"));
  size_t i;
  REQUIRE(store != NULL);
  for (i = 0; i < sizeof settings / sizeof settings[0]; i++) {
    int value = -1;
    CHECK_INT(sqlite3_db_config(caught, settings[i].option, -1, &value), SQLITE_OK);
    if (!CHECK_INT(value, settings[i].value)) printf("  setting %d\n", settings[i].option);
  }
  CHECK_INT(sqlite3_limit(caught, SQLITE_LIMIT_LENGTH, -1), 1000000);
  CHECK_INT(sqlite3_limit(caught, SQLITE_LIMIT_ATTACHED, -1), 0);
  CHECK_INT(sqlite3_set_authorizer(caught, NULL, NULL), SQLITE_OK); /* who keeps pragmas out */
  CHECK_INT(test_sql_int(caught, "PRAGMA synchronous"), 2);
  CHECK_INT(test_sql_int(caught, "PRAGMA fullfsync"), 1);
  CHECK_INT(test_sql_int(caught, "PRAGMA checkpoint_fullfsync"), 1);
  CHECK_INT(test_sql_int(caught, "PRAGMA recursive_triggers"), 1);
  CHECK_INT(test_sql_int(caught, "PRAGMA cell_size_check"), 1);
  CHECK_INT(test_sql_int(caught, "PRAGMA temp_store"), 2);
  CHECK_TEXT(test_sql_text(caught, "PRAGMA journal_mode"), "wal");
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* The caller's texts are bound where they stand, and may be gone after the call. */
TEST(no_statement_keeps_what_the_caller_passed) {
  custmem *store = store_with_statements(test_path("forgets.db"));
  sqlite3_stmt *stmt = NULL;
  int statements = 0;
  REQUIRE(store != NULL);
  while ((stmt = sqlite3_next_stmt(caught, stmt)) != NULL) {
    char *sql = sqlite3_expanded_sql(stmt);
    REQUIRE(sql != NULL);
    if (!CHECK(strstr(sql, "'ada'") == NULL)) printf("  %s\n", sql);
    sqlite3_free(sql);
    statements++;
  }
  CHECK(statements > 20);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(a_readers_connection_cannot_write) {
  const char *path = test_path("reader.db");
  int read_only;
  for (read_only = 0; read_only < 2; read_only++) {
    custmem_options options;
    custmem *store;
    test_options(&options);
    options.read_only = read_only;
    store = test_store_caught(path, &options, &caught);
    REQUIRE(store != NULL);
    CHECK_INT(sqlite3_db_readonly(caught, "main"), read_only);
    CHECK_INT(custmem_close(store), CUSTMEM_OK);
  }
}

/* ---- Transactions ------------------------------------------------------------------------- */

enum { CONVERSATIONS = 60, CUSTOMERS = 3 };

/* A store with Ada's three customers, the first of them linked to conversation c0, whose connection is
** caught, and that knows its schema. */
static custmem *open_caught(const char *path, char ids[CUSTOMERS][CUSTMEM_UUID_SIZE + 1]) {
  static const char *const phones[] = {"+393330000001", "+393330000002", "+393330000003"};
  custmem_actor ada = test_human("ada");
  custmem_report report;
  custmem *store = test_store_caught(path, NULL, &caught);
  int i;
  if (store == NULL) return NULL;
  for (i = 0; i < CUSTOMERS; i++)
    strcpy(ids[i], test_customer(store, "ada", phones[i]));
  CHECK_INT(custmem_link(store, &ada, "c0", ids[0], "because", -1, NULL, 0, NULL), CUSTMEM_OK);
  CHECK_INT(custmem_check(store, &report), CUSTMEM_OK);
  return store;
}

enum reading { GET, GET_MANY, RESOLVE_MANY, LIST_CONVERSATIONS, VERIFY, CHECK_ALL, READINGS };

/* Makes one of the calls that only read. */
static int read_by(
  custmem *store,
  enum reading how,
  char ids[CUSTOMERS][CUSTMEM_UUID_SIZE + 1]
) {
  const char *const wanted[] = {ids[0], ids[1], ids[2]};
  custmem_query queries[CONVERSATIONS];
  custmem_resolution resolutions[CONVERSATIONS];
  custmem_customer customers[CUSTOMERS];
  custmem_conversation conversations[2];
  custmem_report report;
  int32_t count;
  int i;
  for (i = 0; i < CONVERSATIONS; i++) {
    custmem_query query = {"c0", "whatsapp", "393330000002", -1};
    queries[i] = query;
  }
  switch (how) {
  case GET:
    return custmem_customer_get(store, "ada", ids[0], customers);
  case GET_MANY:
    return custmem_customer_get_many(store, "ada", wanted, CUSTOMERS, customers);
  case RESOLVE_MANY:
    return custmem_resolve_many(store, "ada", queries, CONVERSATIONS, resolutions);
  case LIST_CONVERSATIONS:
    return custmem_conversations(store, "ada", ids[0], NULL, conversations, 2, &count);
  case VERIFY:
    return custmem_audit_verify(store, "ada", NULL, &report);
  default:
    return custmem_check(store, &report);
  }
}

/* Whoever reads twice could see two moments: the lock is taken once, and kept. */
TEST(a_call_that_reads_more_than_once_reads_at_one_moment) {
  char ids[CUSTOMERS][CUSTMEM_UUID_SIZE + 1];
  int64_t once = 0;
  custmem *store;
  int how;
  REQUIRE(vfs_shim_install() == SQLITE_OK);
  store = open_caught(test_path("moment.db"), ids);
  REQUIRE(store != NULL);
  for (how = GET; how < READINGS; how++) {
    vfs_shim_reset();
    CHECK_INT(read_by(store, (enum reading)how, ids), CUSTMEM_OK);
    if (how == GET) once = vfs_shim_calls(VFS_SHIM_SHM_LOCK);
    if (!CHECK_INT(vfs_shim_calls(VFS_SHIM_SHM_LOCK), once)) printf("  call %d\n", how);
  }
  CHECK(once > 0);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  vfs_shim_remove();
}

/* SQLite's check tells of a page that it cannot read as it does of damage. */
TEST(a_check_that_cannot_read_says_so_and_finds_no_damage) {
  char ids[CUSTOMERS][CUSTMEM_UUID_SIZE + 1];
  int failed = 0, fired = 1;
  custmem *store;
  int64_t n;
  REQUIRE(vfs_shim_install() == SQLITE_OK);
  store = open_caught(test_path("unread.db"), ids);
  REQUIRE(store != NULL);
  for (n = 2; fired; n++) { /* each read once, and from there on */
    vfs_shim_fault fault = {VFS_SHIM_BIT(VFS_SHIM_READ), VFS_SHIM_ALL,     n / 2, (int)(n % 2),
                            SQLITE_IOERR_READ,           VFS_SHIM_NOT_DONE};
    custmem_report report;
    int rc;
    CHECK_INT(sqlite3_db_release_memory(caught), SQLITE_OK);
    vfs_shim_fail(&fault);
    rc = custmem_check(store, &report);
    fired = vfs_shim_fired() > 0;
    vfs_shim_fail(NULL);
    CHECK_INT(rc, fired ? CUSTMEM_IO : CUSTMEM_OK);
    CHECK_INT(report.fault, CUSTMEM_FAULT_NONE);
    failed += fired;
  }
  CHECK(failed > 12);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  vfs_shim_remove();
}

static int writes_seen, writes_outside;

static void see_write(int op, int kind, void *ctx) {
  (void)kind, (void)ctx;
  if (op != VFS_SHIM_WRITE) return;
  writes_seen++;
  writes_outside += sqlite3_txn_state(caught, "main") != SQLITE_TXN_READ;
}

TEST(a_backup_writes_while_the_store_is_held_at_one_moment) {
  char ids[CUSTOMERS][CUSTMEM_UUID_SIZE + 1];
  custmem *store;
  REQUIRE(vfs_shim_install() == SQLITE_OK);
  store = open_caught(test_path("held.db"), ids);
  REQUIRE(store != NULL);
  vfs_shim_reset();
  vfs_shim_watch(see_write, NULL);
  CHECK_INT(custmem_backup(store, test_path("held-copy.db")), CUSTMEM_OK);
  vfs_shim_watch(NULL, NULL);
  CHECK(writes_seen > 10);
  CHECK_INT(writes_outside, 0);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  vfs_shim_remove();
}

/* A transaction whose lock is not to be had is none: nothing of it is left for the next call. */
TEST(a_transaction_that_cannot_begin_is_not_left_open) {
  static const vfs_shim_fault fault = {
    VFS_SHIM_BIT(VFS_SHIM_SHM_LOCK), VFS_SHIM_ALL, 1, 1, SQLITE_IOERR_SHMLOCK, 0};
  static const custmem_query queries[] = {
    {"c0", "whatsapp", "393330000002", -1}, {"c1", "whatsapp", "393330000002", -1}};
  char ids[CUSTOMERS][CUSTMEM_UUID_SIZE + 1];
  custmem_resolution resolutions[2];
  custmem_actor ada = test_human("ada");
  custmem *store;
  int how;
  REQUIRE(vfs_shim_install() == SQLITE_OK);
  store = open_caught(test_path("begin.db"), ids);
  REQUIRE(store != NULL);
  vfs_shim_fail(&fault);
  CHECK_INT(custmem_resolve_many(store, "ada", queries, 2, resolutions), CUSTMEM_IO);
  vfs_shim_fail(NULL);
  CHECK_INT(resolutions[0].why, CUSTMEM_WHY_LOOKUP_FAILED);
  CHECK_INT(resolutions[1].why, CUSTMEM_WHY_LOOKUP_FAILED);
  for (how = GET; how < READINGS; how++) {
    vfs_shim_fail(&fault);
    CHECK_INT(read_by(store, (enum reading)how, ids), CUSTMEM_IO);
    CHECK(vfs_shim_fired() > 0);
    vfs_shim_fail(NULL);
    CHECK(sqlite3_get_autocommit(caught));
    CHECK_INT(read_by(store, (enum reading)how, ids), CUSTMEM_OK);
  }
  vfs_shim_fail(&fault);
  CHECK_INT(custmem_link(store, &ada, "c1", ids[1], "because", -1, NULL, 0, NULL), CUSTMEM_IO);
  vfs_shim_fail(NULL);
  CHECK(sqlite3_get_autocommit(caught));
  CHECK_INT(custmem_link(store, &ada, "c1", ids[1], "because", -1, NULL, 0, NULL), CUSTMEM_OK);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  vfs_shim_remove();
}

/* An interrupt comes at each of a write's steps, the first and the last among them: the write is made, or it is
** not, as the call says. */
TEST(a_write_that_is_interrupted_at_any_step_is_made_or_not_as_it_says) {
  char ids[CUSTOMERS][CUSTMEM_UUID_SIZE + 1];
  custmem_actor ada = test_human("ada");
  custmem_head head;
  int64_t events = 1;
  int steps, is_over = 0, interrupted = 0;
  custmem *store = open_caught(test_path("stopped.db"), ids);
  REQUIRE(store != NULL);
  for (steps = 0; !is_over; steps++) {
    int rc;
    test_interrupt_after(caught, steps);
    rc = custmem_relink(
      store, &ada, "c0", ids[events % 2 == 0], ids[events % 2], "because", -1, NULL, 0, NULL
    );
    is_over = !test_was_interrupted(caught);
    CHECK(rc == CUSTMEM_OK || rc == CUSTMEM_INTERRUPTED);
    CHECK(sqlite3_get_autocommit(caught));
    events += rc == CUSTMEM_OK;
    interrupted += rc == CUSTMEM_INTERRUPTED;
    CHECK_INT(custmem_audit_head(store, "ada", &head), CUSTMEM_OK);
    CHECK_INT(head.count, events);
  }
  CHECK(interrupted > 100 && events > 1);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* The WAL's index is made while the store is opened: a disk that is full later stops no read. */
TEST(an_open_store_has_all_that_reading_takes) {
  custmem_resolution resolution;
  custmem *store;
  int i;
  REQUIRE(vfs_shim_install() == SQLITE_OK);
  for (i = 0; i < 2; i++) { /* a new one, and one that was there */
    store = test_store(test_path("ready.db"));
    REQUIRE(store != NULL);
    vfs_shim_reset();
    CHECK_INT(
      custmem_resolve(store, "ada", "c1", "whatsapp", "393330000001", -1, &resolution),
      CUSTMEM_OK
    );
    CHECK_INT(vfs_shim_calls(VFS_SHIM_SHM_MAP), 0);
    CHECK_INT(vfs_shim_changes(), 0);
    CHECK_INT(custmem_close(store), CUSTMEM_OK);
  }
  vfs_shim_remove();
}

/* SQLite checkpoints when a commit finds 1,000 pages in the WAL, unless the writer holds a reader's lock. */
TEST(a_writer_does_not_keep_its_own_wal_from_being_checkpointed) {
  enum { PAGE = 4096, PAGES = 1000, WRITES = 1000 };
  char ids[CUSTOMERS][CUSTMEM_UUID_SIZE + 1];
  const char *path = test_path("wal.db");
  custmem_actor ada = test_human("ada");
  int64_t changes;
  custmem *store;
  int i;
  REQUIRE(vfs_shim_install() == SQLITE_OK);
  vfs_shim_hurry(1);
  store = open_caught(path, ids);
  REQUIRE(store != NULL);
  vfs_shim_reset();
  for (i = 0; i < WRITES; i++)
    CHECK_INT(
      custmem_relink(
        store, &ada, "c0", ids[i % 2], ids[1 - i % 2], "because", -1, NULL, 0, NULL
      ),
      CUSTMEM_OK
    );
  changes = vfs_shim_calls_of(VFS_SHIM_WRITE, VFS_SHIM_WAL);
  CHECK(changes > INT64_C(6) * PAGES); /* a frame is two writes */
  CHECK(vfs_shim_calls_of(VFS_SHIM_WRITE, VFS_SHIM_DATABASE) > 0);
  CHECK(test_file_size(test_beside(path, "-wal")) < INT64_C(2) * PAGES * PAGE);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  vfs_shim_remove();
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  RUN(a_store_in_memory_copies_what_the_first_one_made, "D-8");
  RUN(no_statement_reads_a_table_where_an_index_serves, "CM-1 §5.1, §5.2, §5.3; D-2");
  RUN(a_statement_either_reads_or_writes_what_it_must, "CM-2.3 §4.1, §8; T3; D-4; D-8");
  RUN(no_statement_is_prepared_twice_whatever_it_is_bound_to, "D-8");
  RUN(
    every_statement_on_an_instructors_rows_names_the_instructor,
    "CM-1 §2.1, §4.1; CM-2.1 §2; CM-2.3 §2, §9; D-5"
  );
  RUN(a_trigger_of_somebody_elses_writes_nothing, "CM-2.3 §6; CM-2.5; D-8");
  RUN(a_write_that_a_trigger_swallows_has_not_been_done, "CM-2.3 §6, §7; D-8");
  RUN(the_connection_has_every_setting_that_is_to_guard_it, "D-8");
  RUN(no_statement_keeps_what_the_caller_passed, "D-8");
  RUN(the_connection_can_do_nothing_that_no_statement_does, "CM-1 §2.3, §2.4; CM-2.5; D-8");
  RUN(a_readers_connection_cannot_write, "D-8");
  RUN(a_call_that_reads_more_than_once_reads_at_one_moment, "D-8");
  RUN(a_check_that_cannot_read_says_so_and_finds_no_damage, "D-8");
  RUN(a_backup_writes_while_the_store_is_held_at_one_moment, "D-8");
  RUN(a_transaction_that_cannot_begin_is_not_left_open, "D-8");
  RUN(a_write_that_is_interrupted_at_any_step_is_made_or_not_as_it_says, "CM-2.3 §7; D-8");
  RUN(an_open_store_has_all_that_reading_takes, "D-8");
  RUN(a_writer_does_not_keep_its_own_wal_from_being_checkpointed, "D-8");
  return test_report();
}
