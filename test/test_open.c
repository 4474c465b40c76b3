/* SPDX-License-Identifier: MIT */

/* The life of a store's file: what opening refuses and leaves as it was, what it makes and with
** which rights, reading without writing, the sources, fork, backup and check.
**
** Where permissions matter, and where a process has to die, a forked child does it; a body that
** runs in a child returns whether all its checks held, since its counts die with it. */
#define _XOPEN_SOURCE 700

#include "test.h"
#include "vfs_shim.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define COUNT(array)  (sizeof(array) / sizeof((array)[0]))
#define NAME_SIZE     1024
#define ANNA_PHONE    "393331234567"
#define BEN_PHONE     "393339999999"
#define UNPRIVILEGED  65534
#define SHARED_SUFFIX "-shm"

/* ---- Files ------------------------------------------------------------------------------- */

/* A path in the scratch directory, for as long as a test needs it. */
static const char *scratch(const char *name) {
  static char paths[32][NAME_SIZE];
  static unsigned next;
  char *path = paths[next++ % COUNT(paths)];
  snprintf(path, NAME_SIZE, "%s", test_path(name));
  return path;
}

static const char *const beside[] = {"", "-wal", "-journal"};

/* The name of what stands beside a file; valid until the fourth call after it. */
static const char *with_suffix(const char *path, const char *suffix) {
  static char names[4][NAME_SIZE + 16];
  static unsigned next;
  char *name = names[next++ % COUNT(names)];
  snprintf(name, sizeof names[0], "%s%s", path, suffix);
  return name;
}

/* What must not change: a file and what SQLite would put beside it, each with its kind, size
** and bytes. The -shm file holds nothing that outlives the connections. */
struct kept {
  unsigned kind[COUNT(beside)];
  int64_t size[COUNT(beside)];
  uint64_t hash[COUNT(beside)];
};

static struct kept keep(const char *path) {
  struct kept kept;
  size_t i;
  memset(&kept, 0, sizeof kept);
  for (i = 0; i < COUNT(beside); i++) {
    const char *name = with_suffix(path, beside[i]);
    struct stat status;
    if (lstat(name, &status) != 0) continue;
    /* A reader may leave an empty WAL, which is as good as none. */
    if (i > 0 && S_ISREG(status.st_mode) && status.st_size == 0) continue;
    kept.kind[i] = (unsigned)status.st_mode;
    if (!S_ISREG(status.st_mode)) continue;
    kept.size[i] = (int64_t)status.st_size;
    kept.hash[i] = test_file_hash(name);
  }
  return kept;
}

/* Says what has changed. */
static int is_kept(const char *path, const struct kept *before) {
  struct kept now = keep(path);
  size_t i;
  int changes = 0;
  for (i = 0; i < COUNT(beside); i++) {
    const char *what = NULL;
    if (now.kind[i] != before->kind[i])
      what = before->kind[i] == 0 ? "was made" : "is gone, or another kind";
    else if (now.size[i] != before->size[i] || now.hash[i] != before->hash[i])
      what = "has other bytes";
    if (what != NULL) printf("  %s%s %s\n", path, beside[i], what);
    changes += what != NULL;
  }
  return changes == 0;
}

static int exists(const char *path) {
  struct stat status;
  return lstat(path, &status) == 0;
}

static int exists_beside(const char *path, const char *suffix) {
  return exists(with_suffix(path, suffix));
}

static unsigned mode_of(const char *path, const char *suffix) {
  struct stat status;
  return lstat(with_suffix(path, suffix), &status) == 0 ? (unsigned)status.st_mode & 07777 : 0;
}

static void remove_store(const char *path) {
  static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};
  size_t i;
  for (i = 0; i < COUNT(suffixes); i++)
    remove(with_suffix(path, suffixes[i]));
}

/* How many names a directory holds. */
static int names_in(const char *path) {
  DIR *directory = opendir(path);
  struct dirent *entry;
  int count = 0;
  if (directory == NULL) return -1;
  while ((entry = readdir(directory)) != NULL)
    count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
  closedir(directory);
  return count;
}

/* ---- Children ---------------------------------------------------------------------------- */

/* Runs `body` in a child, which ends as killed processes do: without closing anything. */
static int in_child(int (*body)(const char *path), const char *path, int unprivileged) {
  int status = 0;
  pid_t child;
  fflush(stdout);
  child = fork();
  if (child == 0) {
    int good = 1;
    if (unprivileged && geteuid() == 0)
      good = setgid(UNPRIVILEGED) == 0 && setuid(UNPRIVILEGED) == 0;
    good = good && body(path);
    fflush(stdout);
    _exit(good ? 0 : 1);
  }
  return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) &&
         WEXITSTATUS(status) == 0;
}

static int here(int (*body)(const char *path), const char *path) {
  return in_child(body, path, 0);
}

/* Runs SQL on a plain connection in a process that then dies, so that what it left beside the
** file stays there. */
static int die_after(const char *path, const char *sql) {
  int status = 0;
  pid_t child;
  fflush(stdout);
  child = fork();
  if (child == 0) {
    sqlite3 *db = test_plain(path);
    int good = test_sql(db, sql) == SQLITE_OK;
    if (!good) printf("%s: %s\n", sql, test_sql_error());
    fflush(stdout);
    _exit(good ? 0 : 1);
  }
  return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) &&
         WEXITSTATUS(status) == 0;
}

/* A directory that the unprivileged child owns. */
static const char *open_directory(const char *name) {
  const char *path = scratch(name);
  chmod(scratch("."), 0711);
  mkdir(path, 0700);
  if (geteuid() == 0 && chown(path, UNPRIVILEGED, UNPRIVILEGED) != 0) perror("chown");
  return path;
}

/* ---- Stores ------------------------------------------------------------------------------ */

/* Ada knows Anna and Ben, Bob knows Bea, and each has a linked conversation. */
static struct ids {
  char anna[CUSTMEM_UUID_SIZE + 1], ben[CUSTMEM_UUID_SIZE + 1], bea[CUSTMEM_UUID_SIZE + 1];
} ids;

/* Each test that opens the same file must be told of its customers anew: the ids come from the
** repeatable sources. */
static int fill(custmem *store) {
  if (store == NULL) return 0;
  strcpy(ids.anna, test_customer(store, "ada", ANNA_PHONE));
  strcpy(ids.ben, test_customer(store, "ada", BEN_PHONE));
  strcpy(ids.bea, test_customer(store, "bob", "393338888888"));
  return CHECK_INT(test_link(store, "ada", "c1", ids.anna), CUSTMEM_OK) &&
         CHECK_INT(test_link(store, "ada", "c2", ids.ben), CUSTMEM_OK) &&
         CHECK_INT(test_link(store, "bob", "d1", ids.bea), CUSTMEM_OK);
}

/* A closed store that holds something. */
static int make_store(const char *path) {
  custmem *store;
  remove_store(path);
  store = test_store(path);
  return fill(store) & CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

static void check_same_store(const custmem_info *got, const custmem_info *want) {
  CHECK_TEXT(got->id, want->id);
  CHECK_INT(got->created_at_ms, want->created_at_ms);
  CHECK_INT(got->schema_version, want->schema_version);
  CHECK_INT(got->rules_version, want->rules_version);
}

static int open_with(
  const char *path,
  custmem_options *options,
  char message[CUSTMEM_MESSAGE_MAX + 1],
  custmem **store
) {
  memset(message, '#', CUSTMEM_MESSAGE_MAX + 1);
  options->message = message;
  options->message_size = CUSTMEM_MESSAGE_MAX + 1;
  return custmem_open(path, options, store);
}

/* Opening gives one of two codes, says why, and changes nothing. */
static int refused_as(const char *path, custmem_options *options, int code, int other) {
  char message[CUSTMEM_MESSAGE_MAX + 1];
  custmem *store = (custmem *)message; /* must become NULL */
  custmem_options defaults;
  struct kept before = keep(path);
  int rc, good;
  test_options(&defaults);
  rc = open_with(path, options != NULL ? options : &defaults, message, &store);
  good = rc == other || CHECK_INT(rc, code);
  good = CHECK(store == NULL) && good;
  good = CHECK(memchr(message, '\0', sizeof message) != NULL && message[0] != '\0') && good;
  good = CHECK(is_kept(path, &before)) && good;
  if (!good) printf("  %s: %s, \"%.200s\"\n", path, custmem_code_name(rc), message);
  if (store != NULL && store != (custmem *)message) custmem_close(store);
  return good;
}

/* What opening says, to the letter. */
static int says(const char *path, const char *wanted) {
  char message[CUSTMEM_MESSAGE_MAX + 1];
  custmem *store = NULL;
  custmem_options options;
  test_options(&options);
  CHECK(open_with(path, &options, message, &store) != CUSTMEM_OK);
  custmem_close(store);
  return CHECK_TEXT(message, wanted);
}

static int refused(const char *path, custmem_options *options, int code) {
  return refused_as(path, options, code, code);
}

static int refused_read_only(const char *path, int code) {
  custmem_options options;
  test_options(&options);
  options.read_only = 1;
  return refused(path, &options, code);
}

/* By both kinds of handle: to read is no reason to take what is not custmem's. */
static int refused_by_all(const char *path, int code) {
  int good = refused(path, NULL, code);
  return refused_read_only(path, code) && good;
}

static custmem *open_read_only(const char *path) {
  char message[CUSTMEM_MESSAGE_MAX + 1];
  custmem *store = NULL;
  custmem_options options;
  test_options(&options);
  options.read_only = 1;
  if (!CHECK_INT(open_with(path, &options, message, &store), CUSTMEM_OK))
    printf("  %s: %s\n", path, message);
  else {
    CHECK_TEXT(message, "");
    CHECK_TEXT(custmem_errmsg(store), "");
    CHECK_TEXT(custmem_errarg(store), "");
  }
  return store;
}

/* ---- Refused: not a store ---------------------------------------------------------------- */

TEST(what_is_not_a_database_is_refused) {
  static const char text[] = "This is a text of several lines,\nand no database.\n";
  const char *path = scratch("not.db");
  const char *header = scratch("header.db");
  unsigned char noise[512];
  uint64_t seed = 7;
  size_t i;
  for (i = 0; i < sizeof noise; i++)
    noise[i] = (unsigned char)test_random(&seed);
  REQUIRE(test_file_write(path, text, sizeof text - 1));
  refused_by_all(path, CUSTMEM_NOT_A_DATABASE);
  REQUIRE(test_file_write(path, "S", 1));
  refused_by_all(path, CUSTMEM_NOT_A_DATABASE);
  REQUIRE(test_file_write(path, "", 1)); /* one NUL */
  refused_by_all(path, CUSTMEM_NOT_A_DATABASE);
  REQUIRE(test_file_write(path, noise, sizeof noise));
  refused_by_all(path, CUSTMEM_NOT_A_DATABASE);
  REQUIRE(test_file_write(path, "SQLite format 3", 16));
  refused_by_all(path, CUSTMEM_NOT_A_DATABASE);
  memset(noise, 0, sizeof noise);
  memcpy(noise, "SQLite format 3x", 16);
  REQUIRE(test_file_write(path, noise, sizeof noise));
  refused_by_all(path, CUSTMEM_NOT_A_DATABASE);
  /* The first bytes of a real store, and nothing behind them. */
  REQUIRE(make_store(path));
  {
    FILE *file = fopen(path, "rb");
    REQUIRE(file != NULL);
    REQUIRE(fread(noise, 1, sizeof noise, file) == sizeof noise);
    fclose(file);
  }
  REQUIRE(test_file_write(header, noise, sizeof noise));
  refused_as(header, NULL, CUSTMEM_NOT_A_DATABASE, CUSTMEM_CORRUPT);
}

#define MANY_ROWS                                                                              \
  "CREATE TABLE other (x); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "    \
  "WHERE i < 4000) INSERT INTO other SELECT zeroblob(200) FROM n;"

TEST(another_applications_database_is_refused) {
  static const char *const cases[] = {
    "CREATE TABLE other (x)",
    "PRAGMA application_id = 1; CREATE TABLE other (x)",
    "PRAGMA application_id = 1",
    "PRAGMA user_version = 7",
    "PRAGMA user_version = 1; CREATE TABLE customers (id)",
    "PRAGMA journal_mode = WAL; CREATE TABLE other (x)",
    "PRAGMA journal_mode = WAL; PRAGMA application_id = 1; CREATE TABLE other (x)",
    "PRAGMA page_size = 65536; CREATE TABLE other (x)",
    "PRAGMA encoding = 'UTF-16be'; CREATE TABLE other (x)",
  };
  const char *path = scratch("other.db");
  size_t i;
  for (i = 0; i < COUNT(cases); i++) {
    sqlite3 *db;
    remove_store(path);
    db = test_plain(path);
    CHECK_INT(test_sql(db, cases[i]), SQLITE_OK);
    sqlite3_close(db);
    if (!refused_by_all(path, CUSTMEM_OTHER_APPLICATION)) printf("  %s\n", cases[i]);
  }
}

/* What a process that died left beside its file is its own to recover, not ours: neither
** checkpoint nor rollback. */
TEST(another_applications_wal_is_left_alone) {
  static const char *const cases[] = {
    "PRAGMA journal_mode = WAL; CREATE TABLE other (x)",
    "PRAGMA journal_mode = WAL; PRAGMA application_id = 1; CREATE TABLE other (x)",
    "PRAGMA application_id = 1; PRAGMA journal_mode = WAL; CREATE TABLE other (x)",
    "CREATE TABLE other (x); PRAGMA journal_mode = WAL; INSERT INTO other VALUES (1)",
  };
  const char *path = scratch("wal.db");
  size_t i;
  for (i = 0; i < COUNT(cases); i++) {
    remove_store(path);
    REQUIRE(die_after(path, cases[i]));
    REQUIRE(exists_beside(path, "-wal"));
    if (!refused_by_all(path, CUSTMEM_OTHER_APPLICATION)) printf("  %s\n", cases[i]);
  }
}

/* What the file's own first page says is enough: the WAL beside it is not so much as indexed. */
TEST(what_the_first_page_says_is_refused_before_a_wal_is_looked_at) {
  static const struct {
    const char *first_page;
    int code;
  } cases[] = {
    {"CREATE TABLE other (x)", CUSTMEM_OTHER_APPLICATION},
    {"PRAGMA application_id = 1", CUSTMEM_OTHER_APPLICATION},
    {"PRAGMA user_version = 1", CUSTMEM_OTHER_APPLICATION},
    {"PRAGMA application_id = 1668641645; PRAGMA user_version = 2", CUSTMEM_NEWER},
    {"PRAGMA application_id = 1668641645; PRAGMA user_version = 3", CUSTMEM_NEWER},
    {"PRAGMA application_id = 1668641645; PRAGMA encoding = 'UTF-16le'; CREATE TABLE x (y)",
     CUSTMEM_SCHEMA},
  };
  const char *path = scratch("first.db");
  size_t i;
  for (i = 0; i < COUNT(cases); i++) {
    sqlite3 *db;
    remove_store(path);
    db = test_plain(path);
    CHECK_INT(test_sql(db, cases[i].first_page), SQLITE_OK);
    CHECK_INT(test_sql(db, "PRAGMA journal_mode = WAL"), SQLITE_OK);
    sqlite3_close(db);
    REQUIRE(die_after(path, "CREATE TABLE in_the_wal (x)"));
    REQUIRE(exists_beside(path, "-wal"));
    CHECK_INT(unlink(with_suffix(path, "-shm")), 0);
    if (!refused_by_all(path, cases[i].code)) printf("  %s\n", cases[i].first_page);
    CHECK(!exists_beside(path, "-shm"));
  }
}

/* A first page that is no leaf, or one with cells, has tables: bytes 100 (its kind), 103 and 104. */
TEST(a_first_page_with_tables_is_another_applications) {
  static const struct {
    size_t at;
    unsigned char byte;
  } changes[] = {{100, 5}, {100, 2}, {100, 0}, {103, 1}, {103, 128}, {104, 1}, {104, 255}};
  const char *path = scratch("cells.db");
  size_t i;
  for (i = 0; i < COUNT(changes); i++) {
    unsigned char *bytes = NULL;
    size_t size, capacity = 0;
    sqlite3 *db;
    remove_store(path);
    db = test_plain(path);
    CHECK_INT(test_sql(db, "CREATE TABLE x (y); DROP TABLE x; VACUUM"), SQLITE_OK);
    sqlite3_close(db);
    size = test_file_load(path, &bytes, &capacity);
    REQUIRE(size > 104);
    CHECK_INT(bytes[100], 13);
    CHECK_INT(bytes[103] | bytes[104], 0);
    bytes[changes[i].at] = changes[i].byte;
    CHECK(test_file_write(path, bytes, size));
    free(bytes);
    if (!refused_by_all(path, CUSTMEM_OTHER_APPLICATION))
      printf("  byte %d is %d\n", (int)changes[i].at, changes[i].byte);
  }
}

TEST(another_applications_hot_journal_is_left_alone) {
  static const char *const before[] = {MANY_ROWS, "PRAGMA application_id = 1;" MANY_ROWS};
  const char *path = scratch("hot.db");
  size_t i;
  for (i = 0; i < COUNT(before); i++) {
    uint64_t hash;
    sqlite3 *db;
    remove_store(path);
    db = test_plain(path);
    CHECK_INT(test_sql(db, before[i]), SQLITE_OK);
    sqlite3_close(db);
    hash = test_file_hash(path);
    /* A cache of a few pages spills into the file in the middle of the transaction. */
    REQUIRE(
      die_after(path, "PRAGMA cache_size = 2; BEGIN; UPDATE other SET x = randomblob(200)")
    );
    REQUIRE(test_file_hash(path) != hash);
    REQUIRE(exists_beside(path, "-journal"));
    refused_by_all(path, CUSTMEM_OTHER_APPLICATION);
  }
}

/* ---- Refused: a store, but not one that this code may use -------------------------------- */

/* Runs SQL with a trigger away, and puts the trigger back to the letter. */
static int without_trigger(sqlite3 *db, const char *trigger, const char *sql) {
  char query[256], text[4096];
  int good;
  snprintf(query, sizeof query, "SELECT sql FROM sqlite_schema WHERE name = '%s'", trigger);
  snprintf(text, sizeof text, "%s", test_sql_text(db, query));
  snprintf(query, sizeof query, "DROP TRIGGER %s", trigger);
  good = CHECK_INT(test_sql(db, query), SQLITE_OK);
  if (!CHECK_INT(test_sql(db, sql), SQLITE_OK)) printf("  %s: %s\n", sql, test_sql_error());
  return CHECK_INT(test_sql(db, text), SQLITE_OK) && good;
}

static void altered(const char *path, const char *sql) {
  sqlite3 *db;
  REQUIRE(make_store(path));
  db = test_plain(path);
  if (!CHECK_INT(test_sql(db, sql), SQLITE_OK)) printf("  %s: %s\n", sql, test_sql_error());
  sqlite3_close(db);
}

TEST(a_newer_version_is_refused) {
  static const char *const cases[] = {
    "PRAGMA user_version = 2",
    "PRAGMA user_version = 2147483647",
    "PRAGMA user_version = 2; CREATE TABLE merges (x)",
  };
  const char *path = scratch("newer.db");
  size_t i;
  for (i = 0; i < COUNT(cases); i++) {
    altered(path, cases[i]);
    if (!refused_by_all(path, CUSTMEM_NEWER)) printf("  %s\n", cases[i]);
  }
  says(path, "the store has schema version 2; this custmem knows 1");
}

#define RECREATED(body)                                                                        \
  ("DROP TRIGGER audit_events_delete; CREATE TRIGGER audit_events_delete BEFORE DELETE ON "    \
   "audit_events BEGIN" body " END")

TEST(an_altered_schema_is_refused) {
  static const char *const cases[] = {
    "DROP TRIGGER audit_events_update",
    "DROP TRIGGER conversation_links_delete",
    "DROP TRIGGER store_insert",
    "DROP INDEX customers_owner",
    "DROP TABLE conversation_links",
    "CREATE TABLE extra (x)",
    "CREATE VIEW extra AS SELECT 1",
    "CREATE INDEX extra ON customers (display_identifier)",
    "CREATE TRIGGER extra AFTER INSERT ON customers BEGIN SELECT 1; END",
    "ALTER TABLE customers ADD COLUMN extra TEXT",
    "ALTER TABLE customers RENAME COLUMN display_identifier TO shown",
    RECREATED(" SELECT 1;"),
    RECREATED("  SELECT RAISE(ABORT, 'custmem: an audit event is never deleted');"
    ), /* a space */
    "DROP INDEX customers_owner; CREATE INDEX customers_owner ON customers (instructor_id, id)",
    ("DROP TRIGGER audit_events_delete;"
     "CREATE TRIGGER \"\" AFTER INSERT ON customers BEGIN SELECT 1; END"
    ), /* 17, one without a name */
    "DROP TRIGGER audit_events_update; CREATE TABLE \"\" (x)",
    ("DROP TRIGGER audit_events_update; CREATE TABLE \"\" (x);"
     "DROP TRIGGER audit_events_delete; CREATE TABLE extra (x)"),
    "ANALYZE",
    "PRAGMA user_version = 0",
  };
  const char *path = scratch("altered.db");
  size_t i;
  for (i = 0; i < COUNT(cases); i++) {
    altered(path, cases[i]);
    if (!refused_by_all(path, CUSTMEM_SCHEMA)) printf("  %s\n", cases[i]);
  }
}

/* A name is shown whole up to 64 bytes, and their beginning of a longer one. */
TEST(what_is_strange_in_a_schema_is_named) {
  static const char longest[] =
    "a-name-of-sixty-four-bytes-that-no-schema-of-custmem-would-have-";
  const char *path = scratch("strange.db");
  char sql[256], wanted[256];
  altered(path, "CREATE TABLE extra (x)");
  says(path, "the schema is altered: see \"extra\"");
  snprintf(wanted, sizeof wanted, "the schema is altered: see \"%s\"", longest);
  snprintf(sql, sizeof sql, "CREATE TABLE \"%s\" (x)", longest);
  altered(path, sql);
  says(path, wanted);
  snprintf(sql, sizeof sql, "CREATE TABLE \"%s-at-all\" (x)", longest);
  altered(path, sql);
  says(path, wanted);
  altered(path, "CREATE TABLE \"\" (x)");
  says(path, "the schema is altered: see \"\"");
  altered(path, "DROP INDEX customers_owner");
  says(path, "the schema is altered: 16 objects of 17");
}

/* The next opening would refuse the file. */
TEST(marks_that_go_while_a_store_is_open_are_found_by_check) {
  static const char *const changes[] = {"PRAGMA user_version = 7", "PRAGMA application_id = 9"};
  const char *path = scratch("unmarked.db");
  size_t i;
  for (i = 0; i < COUNT(changes); i++) {
    custmem_report report;
    custmem *store;
    sqlite3 *db;
    remove_store(path);
    store = test_store(path);
    REQUIRE(fill(store));
    CHECK_INT(custmem_check(store, &report), CUSTMEM_OK);
    db = test_plain(path);
    CHECK_INT(test_sql(db, changes[i]), SQLITE_OK);
    sqlite3_close(db);
    CHECK_INT(custmem_check(store, &report), CUSTMEM_BROKEN);
    CHECK_INT(report.fault, CUSTMEM_FAULT_SCHEMA);
    CHECK_TEXT(report.detail, "the file no longer says that it is a store of this schema");
    CHECK_INT(custmem_close(store), CUSTMEM_OK);
  }
}

TEST(a_store_that_lost_its_mark_is_another_applications) {
  const char *path = scratch("mark.db");
  altered(path, "PRAGMA application_id = 0");
  refused_by_all(path, CUSTMEM_OTHER_APPLICATION);
}

TEST(the_mark_alone_makes_no_store) {
  const char *path = scratch("mark.db");
  sqlite3 *db;
  remove_store(path);
  db = test_plain(path);
  CHECK_INT(test_sql(db, "PRAGMA application_id = 1668641645"), SQLITE_OK);
  CHECK_INT(test_sql(db, "PRAGMA user_version = 1"), SQLITE_OK);
  sqlite3_close(db);
  refused_by_all(path, CUSTMEM_SCHEMA);
}

TEST(another_rule_set_is_refused) {
  static const char *const cases[] = {
    "UPDATE store SET rules_version = 2", "UPDATE store SET rules_version = 0",
    "UPDATE store SET rules_version = 4294967297"}; /* 1, to who reads 32 bits */
  const char *path = scratch("rules.db");
  size_t i;
  for (i = 0; i < COUNT(cases); i++) {
    sqlite3 *db;
    REQUIRE(make_store(path));
    db = test_plain(path);
    without_trigger(db, "store_update", cases[i]);
    sqlite3_close(db);
    refused_by_all(path, CUSTMEM_RULES);
  }
  says(path, "the store's keys follow rule set 4294967297; this custmem's is 1");
}

TEST(a_store_that_does_not_say_what_it_is_is_refused) {
  static const struct {
    const char *trigger, *sql, *message;
  } cases[] = {
    {"store_delete", "DELETE FROM store", "the store does not say what it is"},
    {"store_update", "UPDATE store SET id = id || 'x'",
     "the store holds a description of itself that cannot be"},
    {"store_update", "UPDATE store SET id = ''",
     "the store holds a description of itself that cannot be"},
  };
  const char *path = scratch("nameless.db");
  size_t i;
  for (i = 0; i < COUNT(cases); i++) {
    sqlite3 *db;
    REQUIRE(make_store(path));
    db = test_plain(path);
    CHECK_INT(test_sql(db, "PRAGMA ignore_check_constraints = ON"), SQLITE_OK);
    without_trigger(db, cases[i].trigger, cases[i].sql);
    sqlite3_close(db);
    refused_by_all(path, CUSTMEM_CORRUPT);
    says(path, cases[i].message);
  }
}

/* The same schema to the letter, but its texts would be compared and measured as UTF-16. */
TEST(an_empty_database_in_utf16_is_refused) {
  const char *path = scratch("wide-empty.db");
  sqlite3 *db;
  remove_store(path);
  db = test_plain(path);
  CHECK_INT(
    test_sql(db, "PRAGMA encoding = 'UTF-16le'; CREATE TABLE x (a); DROP TABLE x"), SQLITE_OK
  );
  sqlite3_close(db);
  refused_by_all(path, CUSTMEM_SCHEMA);
}

TEST(a_utf16_store_is_refused) {
  const char *path = scratch("wide.db"), *model = scratch("model.db");
  sqlite3 *db, *from;
  sqlite3_stmt *stmt = NULL;
  remove_store(path);
  REQUIRE(make_store(model));
  from = test_plain(model);
  db = test_plain(path);
  CHECK_INT(test_sql(db, "PRAGMA encoding = 'UTF-16le'"), SQLITE_OK);
  REQUIRE(
    sqlite3_prepare_v2(
      from, "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid", -1, &stmt,
      NULL
    ) == SQLITE_OK
  );
  while (sqlite3_step(stmt) == SQLITE_ROW)
    CHECK_INT(test_sql(db, (const char *)sqlite3_column_text(stmt, 0)), SQLITE_OK);
  sqlite3_finalize(stmt);
  CHECK_INT(
    test_sql(
      db, "PRAGMA ignore_check_constraints = ON; INSERT INTO store VALUES (1, "
          "'00000000-0000-4000-8000-000000000000', 1, 1);"
          "PRAGMA application_id = 1668641645; PRAGMA user_version = 1"
    ),
    SQLITE_OK
  );
  CHECK_TEXT(test_sql_text(db, "PRAGMA encoding"), "UTF-16le");
  sqlite3_close(from);
  sqlite3_close(db);
  refused_by_all(path, CUSTMEM_SCHEMA);
}

/* ---- Refused: the path ------------------------------------------------------------------- */

TEST(what_is_not_a_file_is_refused) {
  const char *directory = scratch("directory"), *fifo = scratch("fifo");
  const char *socket_path = scratch("socket");
  char slash[NAME_SIZE];
  struct sockaddr_un address;
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  memset(&address, 0, sizeof address);
  address.sun_family = AF_UNIX;
  snprintf(address.sun_path, sizeof address.sun_path, "%s", socket_path);
  REQUIRE(mkdir(directory, 0700) == 0);
  REQUIRE(mkfifo(fifo, 0600) == 0);
  CHECK_INT(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
  refused_by_all(directory, CUSTMEM_NOT_A_FILE);
  refused_by_all(fifo, CUSTMEM_NOT_A_FILE);
  refused_by_all(socket_path, CUSTMEM_NOT_A_FILE);
  refused_by_all("/dev/null", CUSTMEM_NOT_A_FILE);
  snprintf(slash, sizeof slash, "%s/", directory);
  refused_by_all(slash, CUSTMEM_NOT_A_FILE);
  CHECK_INT(names_in(directory), 0);
  close(fd);
}

TEST(a_symbolic_link_is_refused) {
  const char *target = scratch("target.db"), *link_path = scratch("link.db");
  const char *dangling = scratch("dangling.db"), *nowhere = scratch("nowhere.db");
  struct kept before;
  REQUIRE(make_store(target));
  REQUIRE(symlink(target, link_path) == 0);
  REQUIRE(symlink(nowhere, dangling) == 0);
  before = keep(target);
  refused_by_all(link_path, CUSTMEM_SYMLINK);
  refused_by_all(dangling, CUSTMEM_SYMLINK);
  CHECK(is_kept(target, &before));
  CHECK(!exists(nowhere));
  CHECK(!exists_beside(link_path, SHARED_SUFFIX));
}

TEST(a_hard_link_is_refused) {
  const char *first = scratch("first.db"), *second = scratch("second.db");
  REQUIRE(make_store(first));
  REQUIRE(link(first, second) == 0);
  refused_by_all(first, CUSTMEM_HARD_LINK);
  refused_by_all(second, CUSTMEM_HARD_LINK);
  REQUIRE(unlink(second) == 0);
  CHECK_INT(custmem_close(test_store(first)), CUSTMEM_OK);
}

TEST(a_path_that_leads_nowhere_is_refused) {
  const char *missing = scratch("missing/store.db"), *file = scratch("file");
  const char *through = scratch("file/store.db"), *absent = scratch("absent.db");
  REQUIRE(test_file_write(file, "x", 1));
  refused_by_all(missing, CUSTMEM_NO_PATH);
  refused_by_all(through, CUSTMEM_NO_PATH);
  CHECK(!exists(scratch("missing")));
  CHECK_INT(test_file_size(file), 1);
  refused_read_only(absent, CUSTMEM_NO_PATH);
  CHECK(!exists(absent));
  CHECK(!exists_beside(absent, SHARED_SUFFIX));
}

/* Reading makes nothing, not even out of an empty file. */
TEST(a_read_only_handle_makes_no_store) {
  const char *empty = scratch("empty.db");
  char message[CUSTMEM_MESSAGE_MAX + 1];
  custmem *store = NULL;
  custmem_options options;
  struct kept before;
  REQUIRE(test_file_write(empty, "", 0));
  before = keep(empty);
  test_options(&options);
  options.read_only = 1;
  CHECK_INT(open_with(empty, &options, message, &store), CUSTMEM_OTHER_APPLICATION);
  CHECK_TEXT(message, "the file is empty: no store yet");
  CHECK(store == NULL);
  CHECK(is_kept(empty, &before));
}

TEST(a_path_that_is_no_text_is_refused) {
  char longest[CUSTMEM_PATH_MAX + 2], name[300];
  custmem *store = (custmem *)longest;
  custmem_options options;
  memset(longest, 'x', sizeof longest);
  longest[0] = '/';
  longest[sizeof longest - 1] = '\0'; /* one byte more than the limit */
  refused_by_all(longest, CUSTMEM_TOO_LONG);
  memset(name, 'n', sizeof name);
  name[sizeof name - 1] = '\0'; /* more than file systems take */
  refused_by_all(name, CUSTMEM_TOO_LONG);
  refused_by_all("", CUSTMEM_EMPTY);
  refused_by_all("/tmp/\xff.db", CUSTMEM_BAD_TEXT);
  refused_by_all("/tmp/a\nb.db", CUSTMEM_BAD_TEXT);
  CHECK_INT(custmem_open(NULL, NULL, &store), CUSTMEM_MISUSE);
  CHECK(store == NULL);
  CHECK_INT(custmem_open(scratch("x.db"), NULL, NULL), CUSTMEM_MISUSE);
  CHECK(!exists(scratch("x.db")));
  test_options(&options);
  CHECK_INT(custmem_open(NULL, &options, &store), CUSTMEM_MISUSE);
}

/* At the limit, with the directory resolved, a path works. */
TEST(a_path_at_the_limit_works) {
  char path[NAME_SIZE], resolved[NAME_SIZE * 5];
  size_t size, want = CUSTMEM_PATH_MAX - 20;
  custmem *store;
  REQUIRE(realpath(scratch("."), resolved) != NULL);
  REQUIRE(strlen(resolved) < want);
  strcpy(path, resolved);
  for (size = strlen(path); size < want; size = strlen(path)) {
    size_t more = want - size > 100 ? 100 : want - size;
    memset(path + size, 'd', more + 1); /* a name of at least one letter */
    path[size] = '/';
    path[size + more + 1] = '\0';
    CHECK_INT(mkdir(path, 0700), 0);
  }
  size = strlen(path);
  memset(path + size, 'f', sizeof path - size);
  path[size] = '/';
  path[CUSTMEM_PATH_MAX] = '\0';
  store = test_store(path);
  CHECK(store != NULL && fill(store));
  /* What lies beside a target with so long a path is seen, too. */
  path[CUSTMEM_PATH_MAX - 1] = 'c';
  REQUIRE(test_file_write(test_beside(path, "-journal"), "mine", 4));
  CHECK_INT(custmem_backup(store, path), CUSTMEM_EXISTS);
  CHECK_INT(unlink(test_beside(path, "-journal")), 0);
  CHECK_INT(custmem_backup(store, path), CUSTMEM_OK);
  path[CUSTMEM_PATH_MAX - 1] = 'f';
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  CHECK(exists(path));
  path[CUSTMEM_PATH_MAX] = 'f';
  path[CUSTMEM_PATH_MAX + 1] = '\0';
  refused_by_all(path, CUSTMEM_TOO_LONG);
}

TEST(options_of_an_unknown_size_are_refused) {
  static const uint32_t sizes[] = {
    0, 1, sizeof(uint32_t), sizeof(custmem_options) - 1, UINT32_MAX};
  const char *path = scratch("sizes.db");
  struct {
    custmem_options known;
    unsigned char unknown[64];
  } later;
  custmem *store = NULL;
  size_t i;
  for (i = 0; i < COUNT(sizes); i++) {
    custmem_options options;
    test_options(&options);
    options.size = sizes[i];
    store = (custmem *)&options;
    CHECK_INT(custmem_open(path, &options, &store), CUSTMEM_MISUSE);
    CHECK(store == NULL);
  }
  /* A later version's field that is set asks for something that this one cannot do. */
  memset(&later, 0, sizeof later);
  test_options(&later.known);
  later.known.size = (uint32_t)sizeof later;
  later.unknown[8] = 1;
  CHECK_INT(custmem_open(path, &later.known, &store), CUSTMEM_MISUSE);
  CHECK(!exists(path));
}

TEST(a_message_is_cut_to_its_buffer) {
  char message[16];
  custmem_options options;
  custmem *store = NULL;
  test_options(&options);
  options.message = message;
  options.message_size = 8;
  memset(message, '#', sizeof message);
  CHECK_INT(custmem_open("", &options, &store), CUSTMEM_EMPTY);
  CHECK_INT(strlen(message), 7);
  CHECK(message[8] == '#');
  options.message_size = 0;
  memset(message, '#', sizeof message);
  CHECK_INT(custmem_open("", &options, &store), CUSTMEM_EMPTY);
  CHECK(message[0] == '#');
  options.message = NULL;
  options.message_size = sizeof message;
  CHECK_INT(custmem_open("", &options, &store), CUSTMEM_EMPTY);
}

/* ---- Refused: permissions ---------------------------------------------------------------- */

static int body_of_permissions(const char *directory) {
  char path[NAME_SIZE], inside[NAME_SIZE], wanted[NAME_SIZE + 80];
  int good;
  snprintf(path, sizeof path, "%s/store.db", directory);
  snprintf(inside, sizeof inside, "%s/absent.db", directory);
  good = make_store(path);

  good = CHECK_INT(chmod(path, 0000), 0) && good;
  good = refused(path, NULL, CUSTMEM_PERMISSION) && good;
  good = refused_read_only(path, CUSTMEM_PERMISSION) && good;

  good = CHECK_INT(chmod(path, 0400), 0) && good;
  good = refused(path, NULL, CUSTMEM_READONLY) && good;

  good = CHECK_INT(chmod(path, 0600), 0) && CHECK_INT(chmod(directory, 0500), 0) && good;
  good = refused(path, NULL, CUSTMEM_READONLY) && good;
  snprintf(
    wanted, sizeof wanted,
    "%s: the file or its directory may not be written: open it with read_only", path
  );
  good = says(path, wanted) && good;
  good = refused(inside, NULL, CUSTMEM_PERMISSION) && good;
  good = CHECK(!exists(inside)) && good;

  good = CHECK_INT(chmod(directory, 0000), 0) && good;
  good = refused(path, NULL, CUSTMEM_PERMISSION) && good;
  good = refused_read_only(path, CUSTMEM_PERMISSION) && good;
  return CHECK_INT(chmod(directory, 0700), 0) && good;
}

TEST(missing_permissions_are_refused) {
  CHECK(in_child(body_of_permissions, open_directory("rights"), 1));
}

/* ---- Works ------------------------------------------------------------------------------- */

static int works_at(const char *path) {
  custmem *store = test_store(path);
  custmem_info made, again;
  int good = CHECK(store != NULL) && fill(store);
  if (!good) return 0;
  good = CHECK_INT(custmem_store_info(store, &made), CUSTMEM_OK) && good;
  good = CHECK_INT(custmem_close(store), CUSTMEM_OK) && good;
  store = test_store(path);
  good = CHECK_INT(custmem_store_info(store, &again), CUSTMEM_OK) && good;
  good = CHECK_TEXT(again.id, made.id) && good;
  good = CHECK_INT(custmem_close(store), CUSTMEM_OK) && good;
  return CHECK(!exists_beside(path, "-wal")) && CHECK(!exists_beside(path, "-journal")) && good;
}

/* Names that SQLite would take for a URI or a special file, or that SQL would trip over. */
TEST(a_path_is_taken_literally) {
  static const char *const names[] = {
    "with a space.db",
    "100%41.db",
    "what?mode=memory",
    "sharp#1.db",
    "it's.db",
    "\"quoted\".db",
    "caff\xc3\xa8-\xe6\x97\xa5\xe6\x9c\xac.db",
    "-dash.db",
    ":memory: ",
    "file:x.db",
    "back\\slash.db",
    "noextension",
    ".hidden",
    "a.db-wal"};
  size_t i;
  for (i = 0; i < COUNT(names); i++) {
    char directory[64], path[NAME_SIZE];
    snprintf(directory, sizeof directory, "literal-%d", (int)i);
    REQUIRE(mkdir(scratch(directory), 0700) == 0);
    snprintf(path, sizeof path, "%s/%s", scratch(directory), names[i]);
    if (!works_at(path) || !CHECK(exists(path)) || !CHECK_INT(names_in(scratch(directory)), 1))
      printf("  %s\n", names[i]);
  }
}

/* Relative paths: of the directory that is current as the store is opened, and only then. */
static int body_of_relative(const char *directory) {
  custmem_resolution found;
  custmem *store;
  int good = CHECK_INT(chdir(directory), 0);
  good = works_at("relative.db") && works_at("./dotted.db") && works_at("sub/../up.db") && good;
  good =
    works_at("file:uri.db?mode=memory") && CHECK(exists("file:uri.db?mode=memory")) && good;
  store = test_store("relative.db");
  good = CHECK(store != NULL) && CHECK_INT(chdir("/"), 0) && good;
  custmem_resolve(store, "ada", "c1", NULL, NULL, 0, &found);
  good = CHECK_INT(found.outcome, CUSTMEM_LINKED) && good;
  good = CHECK_INT(test_link(store, "ada", "c3", found.customer_id), CUSTMEM_OK) && good;
  return CHECK_INT(custmem_close(store), CUSTMEM_OK) && good;
}

TEST(a_relative_path_works) {
  const char *directory = scratch("relative");
  REQUIRE(mkdir(directory, 0700) == 0);
  REQUIRE(mkdir(scratch("relative/sub"), 0700) == 0);
  CHECK(here(body_of_relative, directory));
  CHECK_INT(names_in(directory), 5);
}

TEST(a_directory_may_be_a_symbolic_link) {
  REQUIRE(mkdir(scratch("real"), 0700) == 0);
  REQUIRE(symlink(scratch("real"), scratch("alias")) == 0);
  works_at(scratch("alias/store.db"));
  CHECK(exists(scratch("real/store.db")));
  /* Both names are one file: what is written by one is read by the other. */
  {
    custmem *one = test_store(scratch("alias/store.db"));
    custmem *two = test_store(scratch("real/store.db"));
    custmem_resolution found;
    REQUIRE(one != NULL && two != NULL);
    CHECK_INT(test_link(one, "ada", "c3", ids.anna), CUSTMEM_OK);
    custmem_resolve(two, "ada", "c3", NULL, NULL, 0, &found);
    CHECK_TEXT(found.customer_id, ids.anna);
    CHECK_INT(custmem_close(one), CUSTMEM_OK);
    CHECK_INT(custmem_close(two), CUSTMEM_OK);
  }
}

TEST(an_empty_file_becomes_a_store) {
  const char *path = scratch("empty.db");
  REQUIRE(test_file_write(path, "", 0));
  works_at(path);
}

static int body_of_modes(const char *path) {
  static const mode_t masks[] = {0, 022, 077, 0777};
  size_t i;
  int good = 1;
  for (i = 0; i < COUNT(masks); i++) {
    custmem *store;
    remove_store(path);
    umask(masks[i]);
    store = test_store(path);
    good = CHECK(store != NULL) && fill(store) && good;
    good = CHECK_INT(mode_of(path, ""), 0600) && good;
    good = CHECK_INT(mode_of(path, "-wal"), 0600) && good;
    good = CHECK_INT(mode_of(path, SHARED_SUFFIX), 0600) && good;
    good = CHECK_INT(custmem_close(store), CUSTMEM_OK) && good;
    good = CHECK_INT(mode_of(path, ""), 0600) && good;
    if (!good) printf("  umask %03o\n", (unsigned)masks[i]);
  }
  return good;
}

TEST(the_files_are_the_owners_alone_under_any_umask) {
  char path[NAME_SIZE];
  CHECK(here(body_of_modes, scratch("mode.db")));
  snprintf(path, sizeof path, "%s/mode.db", open_directory("modes"));
  CHECK(in_child(body_of_modes, path, 1));
}

/* The first store in memory runs schema.sql, and those after it copy its pages: by their backups,
** they and a store in a file are of one schema, and each is one of its own. */
TEST(every_store_in_memory_is_as_schema_sql_makes_it) {
  static const char *const copies[] = {"1st-copy.db", "2nd-copy.db", "3rd-copy.db"};
  custmem_info info[3];
  sqlite3 *plain;
  int i;
  for (i = 0; i < 3; i++) {
    custmem *store = test_store(i < 2 ? NULL : scratch("beside-memory.db"));
    REQUIRE(store != NULL);
    CHECK_INT(custmem_store_info(store, &info[i]), CUSTMEM_OK);
    CHECK_INT(custmem_backup(store, scratch(copies[i])), CUSTMEM_OK);
    CHECK_INT(custmem_close(store), CUSTMEM_OK);
  }
  CHECK(strcmp(info[0].id, info[1].id) != 0 && strcmp(info[1].id, info[2].id) != 0);
  plain = test_plain(scratch(copies[1]));
  CHECK_INT(test_sql_int(plain, "SELECT count(*) FROM store"), 1);
  CHECK_INT(test_sql_int(plain, "PRAGMA user_version"), 1);
  CHECK_INT(test_sql_int(plain, "PRAGMA application_id"), 1668641645);
  for (i = 0; i < 3; i += 2) {
    char attach[NAME_SIZE + 32];
    snprintf(attach, sizeof attach, "ATTACH '%s' AS other", scratch(copies[i]));
    CHECK_INT(test_sql(plain, attach), SQLITE_OK);
    CHECK_INT(
      test_sql_int(
        plain,
        "SELECT count(*) FROM main.sqlite_schema AS ours JOIN other.sqlite_schema AS theirs"
        " USING (type, name, tbl_name) WHERE ours.sql IS theirs.sql"
      ),
      test_sql_int(plain, "SELECT max(count(*), 15) FROM main.sqlite_schema")
    );
    CHECK_INT(test_sql(plain, "DETACH other"), SQLITE_OK);
  }
  sqlite3_close(plain);
}

TEST(memory_stores_are_apart_and_make_no_file) {
  custmem *one = test_store(NULL), *two = test_store(":memory:");
  custmem_info first, second;
  custmem_resolution found;
  custmem_report report;
  REQUIRE(one != NULL && two != NULL);
  fill(one);
  CHECK_INT(custmem_store_info(one, &first), CUSTMEM_OK);
  CHECK_INT(custmem_store_info(two, &second), CUSTMEM_OK);
  CHECK(strcmp(first.id, second.id) != 0);
  custmem_resolve(two, "ada", "c1", "whatsapp", ANNA_PHONE, -1, &found);
  CHECK_INT(found.outcome, CUSTMEM_UNLINKED);
  custmem_resolve(one, "ada", "c1", "whatsapp", ANNA_PHONE, -1, &found);
  CHECK_INT(found.outcome, CUSTMEM_LINKED);
  CHECK_INT(custmem_check(one, &report), CUSTMEM_OK);
  CHECK_INT(custmem_close(one), CUSTMEM_OK);
  CHECK_INT(custmem_close(two), CUSTMEM_OK);
  CHECK(!exists(":memory:"));
  remove_store(":memory:"); /* what a failed check tells of stays in nobody's way */
}

/* The file as it is made: what the connections find when they read it back. */
TEST(a_new_store_is_a_wal_database_of_its_own_kind) {
  const char *path = scratch("new.db");
  custmem *store = test_store(path);
  custmem_info info;
  sqlite3 *db;
  REQUIRE(store != NULL);
  CHECK_INT(custmem_store_info(store, &info), CUSTMEM_OK);
  CHECK_INT(strlen(info.id), CUSTMEM_UUID_SIZE);
  CHECK_INT(info.created_at_ms, INT64_C(1750000000000));
  CHECK_INT(info.schema_version, 1);
  CHECK_INT(info.rules_version, CUSTMEM_RULES_VERSION);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  db = test_plain(path);
  CHECK_TEXT(test_sql_text(db, "PRAGMA journal_mode"), "wal");
  CHECK_TEXT(test_sql_text(db, "PRAGMA encoding"), "UTF-8");
  CHECK_INT(test_sql_int(db, "PRAGMA application_id"), 0x6375736d);
  CHECK_INT(test_sql_int(db, "SELECT created_at FROM store"), INT64_C(1750000000000));
  CHECK_TEXT(test_sql_text(db, "SELECT id FROM store"), info.id);
  sqlite3_close(db);
}

static int body_of_killed_writer(const char *path) {
  return fill(test_store(path));
}

/* Enough customers for new pages: the first page says how many there are, and so is in the WAL. */
static int body_of_growing_writer(const char *path) {
  custmem *store = test_store(path);
  int good = fill(store), i;
  for (i = 0; i < 100; i++) {
    char phone[32];
    snprintf(phone, sizeof phone, "+39 333 %07d", i);
    good = good && test_customer(store, "ada", phone)[0] != '\0';
  }
  return good;
}

/* What a power cut in the middle of a checkpoint leaves: a first page of which a part is garbage, and the
** WAL that has it whole. */
TEST(a_torn_first_page_is_recovered_from_the_wal) {
  static const size_t torn[] = {16, 100, 512, 4096};
  const char *path = scratch("torn.db");
  custmem_report report;
  custmem *store;
  size_t i;
  for (i = 0; i < COUNT(torn); i++) {
    unsigned char *bytes = NULL;
    size_t size, room = 0;
    remove_store(path);
    REQUIRE(here(body_of_growing_writer, path));
    REQUIRE(exists_beside(path, "-wal"));
    size = test_file_load(path, &bytes, &room);
    REQUIRE(size >= torn[i]);
    memset(bytes, 0xA5, torn[i]);
    REQUIRE(test_file_write(path, bytes, size));
    free(bytes);
    store = test_store(path);
    REQUIRE(store != NULL);
    CHECK_INT(custmem_check(store, &report), CUSTMEM_OK);
    CHECK_INT(report.events, 3);
    CHECK_INT(custmem_close(store), CUSTMEM_OK);
  }
}

/* A file that was cut off to nothing is no new store: SQLite would delete the WAL, which has all of
** it. */
TEST(an_empty_file_beside_a_wal_is_refused) {
  const char *path = scratch("cutoff.db");
  REQUIRE(here(body_of_killed_writer, path));
  REQUIRE(exists_beside(path, "-wal"));
  REQUIRE(test_file_write(path, "", 0));
  refused_by_all(path, CUSTMEM_NOT_A_DATABASE);
  REQUIRE(test_file_write(path, "x", 1));
  refused_by_all(path, CUSTMEM_NOT_A_DATABASE);
  CHECK(exists_beside(path, "-wal"));
}

/* What another process leaves, which makes the store and closes it, between two looks at its -wal. */
static struct {
  unsigned char *bytes;
  size_t size, capacity;
  const char *path;
  int times;
} finished;

static void finish_before_the_wal_is_opened(int op, int kind, void *ctx) {
  (void)ctx;
  if (op != VFS_SHIM_OPEN || kind != VFS_SHIM_WAL) return;
  CHECK(test_file_write(finished.path, finished.bytes, finished.size));
  CHECK_INT(unlink(with_suffix(finished.path, "-wal")), 0);
  finished.times++;
}

TEST(a_store_that_is_finished_while_its_wal_is_looked_at_is_opened) {
  const char *path = scratch("finished.db");
  custmem *store;
  REQUIRE(make_store(path));
  finished.path = path;
  finished.size = test_file_load(path, &finished.bytes, &finished.capacity);
  REQUIRE(test_file_write(path, "", 0));
  REQUIRE(test_file_write(with_suffix(path, "-wal"), "x", 1));
  REQUIRE(vfs_shim_install() == SQLITE_OK);
  vfs_shim_watch(finish_before_the_wal_is_opened, NULL);
  store = test_store(path);
  vfs_shim_watch(NULL, NULL);
  CHECK_INT(finished.times, 1);
  CHECK(store != NULL && test_link(store, "ada", "c1", ids.ben) == CUSTMEM_ALREADY_LINKED);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  vfs_shim_remove();
  free(finished.bytes);
}

/* Nor where the WAL cannot be looked at: that it is there is not known then, and SQLite must not find out. */
TEST(an_empty_file_is_refused_where_its_wal_cannot_be_looked_at) {
  const char *path = scratch("unlooked.db");
  uint64_t wal;
  int fired = 1, n;
  REQUIRE(here(body_of_killed_writer, path));
  REQUIRE(exists_beside(path, "-wal"));
  REQUIRE(test_file_write(path, "", 0));
  wal = test_file_hash(with_suffix(path, "-wal"));
  REQUIRE(vfs_shim_install() == SQLITE_OK);
  for (n = 1; fired; n++) {
    char message[CUSTMEM_MESSAGE_MAX + 1];
    vfs_shim_fault fault = {VFS_SHIM_ALL,      VFS_SHIM_BIT(VFS_SHIM_WAL), n, 0,
                            SQLITE_IOERR_READ, VFS_SHIM_NOT_DONE};
    custmem_options options;
    custmem *store = NULL;
    test_options(&options);
    vfs_shim_fail(&fault);
    CHECK(open_with(path, &options, message, &store) != CUSTMEM_OK);
    fired = vfs_shim_fired() > 0;
    vfs_shim_fail(NULL);
    CHECK(store == NULL);
    custmem_close(store);
    CHECK(test_file_hash(with_suffix(path, "-wal")) == wal);
    CHECK_INT(test_file_size(path), 0);
  }
  CHECK(n > 3);
  vfs_shim_remove();
}

/* What lies beside it is too short to be a WAL or a journal: nothing says that this was a store. */
TEST(garbage_beside_a_short_wal_or_journal_is_no_database) {
  static const char *const suffixes[] = {"-wal", "-journal"};
  const char *path = scratch("short.db");
  size_t i;
  for (i = 0; i < COUNT(suffixes); i++) {
    remove_store(path);
    REQUIRE(test_file_write(path, "This is no database, and never was.", 35));
    REQUIRE(test_file_write(test_beside(path, suffixes[i]), "\x37\x7f\x06", 3));
    refused_by_all(path, CUSTMEM_NOT_A_DATABASE);
    CHECK_INT(test_file_size(test_beside(path, suffixes[i])), 3);
  }
}

TEST(a_killed_process_loses_nothing) {
  const char *path = scratch("killed.db");
  custmem_report report;
  custmem_resolution found;
  custmem *store;
  REQUIRE(here(body_of_killed_writer, path));
  REQUIRE(exists_beside(path, "-wal"));
  store = test_store(path);
  REQUIRE(store != NULL);
  CHECK_INT(custmem_check(store, &report), CUSTMEM_OK);
  CHECK_INT(report.customers, 3);
  CHECK_INT(report.events, 3);
  CHECK_INT(report.links, 3);
  custmem_resolve(store, "ada", "c1", NULL, NULL, 0, &found);
  CHECK_INT(found.outcome, CUSTMEM_LINKED);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  CHECK(!exists_beside(path, "-wal"));
}

TEST(reopening_keeps_everything) {
  const char *path = scratch("again.db");
  custmem_info first, again;
  custmem_head head, head_again;
  custmem_report report;
  uint64_t rows;
  custmem *store = test_store(path);
  REQUIRE(fill(store));
  CHECK_INT(custmem_store_info(store, &first), CUSTMEM_OK);
  CHECK_INT(custmem_audit_head(store, "ada", &head), CUSTMEM_OK);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  rows = test_rows(path);
  store = test_store(path);
  REQUIRE(store != NULL);
  CHECK_INT(custmem_store_info(store, &again), CUSTMEM_OK);
  check_same_store(&again, &first);
  CHECK_INT(custmem_audit_head(store, "ada", &head_again), CUSTMEM_OK);
  CHECK_INT(head_again.count, 2);
  CHECK_TEXT(head_again.hash, head.hash);
  CHECK_INT(custmem_check(store, &report), CUSTMEM_OK);
  CHECK(test_rows(path) == rows);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* ---- Several handles --------------------------------------------------------------------- */

enum { ROUNDS = 20, PROCESSES = 4 };

/* Opens the file that the others are opening, as soon as `go` ends, and tells which store it
** got. */
static int open_in_race(const char *path, int number, int go, int answer) {
  char instructor[32], nothing, message[CUSTMEM_MESSAGE_MAX + 1];
  custmem *store = NULL;
  custmem_options options;
  custmem_info info;
  int good;
  if (read(go, &nothing, 1) != 0) return 0;
  custmem_options_init(&options); /* the system's sources: these processes are not to agree */
  options.busy_timeout_ms = 30000;
  if (!CHECK_INT(open_with(path, &options, message, &store), CUSTMEM_OK)) {
    printf("  process %d: %s\n", number, message);
    return 0;
  }
  snprintf(instructor, sizeof instructor, "instructor-%d", number);
  good = CHECK_INT(strlen(test_customer(store, instructor, ANNA_PHONE)), CUSTMEM_UUID_SIZE);
  good = CHECK_INT(custmem_store_info(store, &info), CUSTMEM_OK) && good;
  good = CHECK_INT(custmem_close(store), CUSTMEM_OK) && good;
  return write(answer, info.id, CUSTMEM_UUID_SIZE) == CUSTMEM_UUID_SIZE && good;
}

static void race(const char *path) {
  char ids_got[PROCESSES][CUSTMEM_UUID_SIZE] = {{0}};
  int go[2] = {-1, -1}, answer[2] = {-1, -1}, status = 0, i;
  pid_t children[PROCESSES] = {0};
  REQUIRE(pipe(go) == 0 && pipe(answer) == 0);
  fflush(stdout);
  for (i = 0; i < PROCESSES; i++) {
    children[i] = fork();
    if (children[i] == 0) {
      close(go[1]);
      close(answer[0]);
      _exit(open_in_race(path, i, go[0], answer[1]) ? 0 : 1);
    }
  }
  close(go[0]);
  close(go[1]);
  close(answer[1]);
  for (i = 0; i < PROCESSES; i++)
    CHECK(waitpid(children[i], &status, 0) == children[i] && status == 0);
  for (i = 0; i < PROCESSES; i++)
    CHECK_INT(read(answer[0], ids_got[i], CUSTMEM_UUID_SIZE), CUSTMEM_UUID_SIZE);
  close(answer[0]);
  for (i = 1; i < PROCESSES; i++)
    CHECK(memcmp(ids_got[i], ids_got[0], CUSTMEM_UUID_SIZE) == 0);
}

TEST(processes_that_make_one_file_at_once_get_one_store) {
  const char *path = scratch("race.db");
  int round;
  for (round = 0; round < ROUNDS; round++) {
    custmem *store;
    custmem_report report;
    remove_store(path);
    race(path);
    store = test_store(path);
    REQUIRE(store != NULL);
    CHECK_INT(custmem_check(store, &report), CUSTMEM_OK);
    CHECK_INT(report.customers, PROCESSES);
    CHECK_INT(custmem_close(store), CUSTMEM_OK);
  }
}

static custmem *open_exclusive(const char *path, int *rc) {
  char message[CUSTMEM_MESSAGE_MAX + 1];
  custmem *store = NULL;
  custmem_options options;
  test_options(&options);
  options.exclusive = 1;
  options.busy_timeout_ms = -1;
  *rc = open_with(path, &options, message, &store);
  return store;
}

static int body_of_shut_out(const char *path) {
  custmem_options options;
  custmem *store = NULL;
  int good;
  test_options(&options);
  options.busy_timeout_ms = -1;
  good = CHECK_INT(custmem_open(path, &options, &store), CUSTMEM_BUSY) && CHECK(store == NULL);
  custmem_close(store); /* in case it was let in */
  return good;
}

TEST(an_exclusive_store_shuts_others_out) {
  const char *path = scratch("exclusive.db");
  custmem *store, *other;
  custmem_report report;
  int rc;
  store = open_exclusive(path, &rc);
  REQUIRE(rc == CUSTMEM_OK);
  CHECK(fill(store));
  CHECK(here(body_of_shut_out, path));
  CHECK(body_of_shut_out(path));
  CHECK_INT(custmem_check(store, &report), CUSTMEM_OK);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  /* And the other way round: a file in use cannot be had for oneself. */
  other = test_store(path);
  REQUIRE(other != NULL);
  CHECK_INT(custmem_check(other, &report), CUSTMEM_OK);
  CHECK_INT(report.events, 3);
  store = open_exclusive(path, &rc);
  CHECK_INT(rc, CUSTMEM_BUSY);
  CHECK(store == NULL);
  custmem_close(store); /* in case it was let in */
  CHECK_INT(custmem_close(other), CUSTMEM_OK);
  store = open_exclusive(path, &rc);
  CHECK_INT(rc, CUSTMEM_OK);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

static int64_t now_in_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static custmem *open_waiting(const char *path, int32_t busy_timeout_ms) {
  char message[CUSTMEM_MESSAGE_MAX + 1];
  custmem *store = NULL;
  custmem_options options;
  test_options(&options);
  options.busy_timeout_ms = busy_timeout_ms;
  CHECK_INT(open_with(path, &options, message, &store), CUSTMEM_OK);
  return store;
}

/* A lock that is never released: each call comes back, says so, and changed nothing; reads go
** on. */
TEST(a_lock_that_stays_is_busy_within_the_timeout) {
  static const int32_t timeouts[] = {-1, 0, 20};
  const char *path = scratch("busy.db");
  uint64_t rows;
  sqlite3 *db;
  size_t i;
  REQUIRE(make_store(path));
  rows = test_rows(path);
  db = test_plain(path);
  CHECK_INT(test_sql(db, "BEGIN IMMEDIATE"), SQLITE_OK);
  for (i = 0; i < COUNT(timeouts); i++) {
    custmem_actor ada = test_human("ada");
    custmem_resolution found;
    custmem_written written;
    custmem *store = open_waiting(path, timeouts[i]);
    int64_t start = now_in_ms();
    REQUIRE(store != NULL);
    CHECK_INT(test_link(store, "ada", "c3", ids.anna), CUSTMEM_BUSY);
    CHECK(custmem_errmsg(store)[0] != '\0');
    CHECK_INT(
      custmem_unlink(store, &ada, "c1", ids.anna, "because", -1, NULL, 0, &written),
      CUSTMEM_BUSY
    );
    CHECK_INT(written.seq, 0);
    CHECK_INT(
      custmem_customer_create(store, &ada, "whatsapp", "393330000000", -1, NULL, 0, NULL, NULL),
      CUSTMEM_BUSY
    );
    CHECK(now_in_ms() - start < 60000);
    custmem_resolve(store, "ada", "c1", NULL, NULL, 0, &found);
    CHECK_TEXT(found.customer_id, ids.anna);
    CHECK_INT(custmem_close(store), CUSTMEM_OK);
  }
  CHECK_INT(test_sql(db, "ROLLBACK"), SQLITE_OK);
  sqlite3_close(db);
  CHECK(test_rows(path) == rows);
}

/* The time that SQLite asks to sleep is counted, and nobody sleeps: to the millisecond, on any machine. */
TEST(a_lock_that_stays_is_waited_for_as_long_as_the_options_say) {
  static const struct {
    int32_t timeout_ms;
    int64_t slept_ms;
  } cases[] = {{0, 1000}, {-1, 0}, {INT32_MIN, 0}, {1, 1}, {2, 2}, {250, 250}, {60000, 60000}};
  const char *path = scratch("waits.db");
  uint64_t rows;
  sqlite3 *db;
  size_t i;
  REQUIRE(make_store(path));
  REQUIRE(vfs_shim_install() == SQLITE_OK);
  vfs_shim_hurry(1);
  rows = test_rows(path);
  for (i = 0; i <= COUNT(cases); i++) { /* the last: no options at all */
    custmem *store = NULL;
    db = test_plain(path);
    if (i < COUNT(cases))
      store = open_waiting(path, cases[i].timeout_ms);
    else
      CHECK_INT(custmem_open(path, NULL, &store), CUSTMEM_OK);
    REQUIRE(store != NULL);
    CHECK_INT(test_sql(db, "BEGIN IMMEDIATE"), SQLITE_OK);
    vfs_shim_reset();
    CHECK_INT(test_link(store, "ada", "c3", ids.anna), CUSTMEM_BUSY);
    CHECK_INT(vfs_shim_slept_us(), 1000 * (i < COUNT(cases) ? cases[i].slept_ms : 1000));
    CHECK_INT(test_sql(db, "ROLLBACK"), SQLITE_OK);
    sqlite3_close(db);
    CHECK_INT(custmem_close(store), CUSTMEM_OK);
  }
  CHECK(test_rows(path) == rows);
  vfs_shim_remove();
}

/* Opening waits as long, too: for a store that another has for itself, and to change a file to WAL mode
** beside a reader, for which custmem waits by itself, 5 ms at a time. */
static void opens_late(const char *path, int read_only, int32_t timeout_ms, int64_t slept_ms) {
  char message[CUSTMEM_MESSAGE_MAX + 1];
  custmem *store = NULL;
  custmem_options options;
  test_options(&options);
  options.read_only = read_only;
  options.busy_timeout_ms = timeout_ms;
  vfs_shim_reset();
  CHECK_INT(open_with(path, &options, message, &store), CUSTMEM_BUSY);
  CHECK_HAS(message, "locked");
  CHECK(store == NULL);
  CHECK_INT(vfs_shim_slept_us(), 1000 * slept_ms);
}

TEST(opening_waits_as_long_as_the_options_say) {
  const char *path = scratch("late.db");
  custmem *store;
  sqlite3 *db;
  int rc;
  REQUIRE(make_store(path));
  REQUIRE(vfs_shim_install() == SQLITE_OK);
  vfs_shim_hurry(1);
  store = open_exclusive(path, &rc);
  REQUIRE(rc == CUSTMEM_OK);
  CHECK_INT(test_link(store, "ada", "c3", ids.anna), CUSTMEM_OK);
  opens_late(path, 1, 250, 250);
  opens_late(path, 0, 250, 250);
  opens_late(path, 1, -1, 0);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  db = test_plain(path);
  CHECK_INT(test_sql(db, "PRAGMA journal_mode = DELETE"), SQLITE_OK);
  CHECK_INT(test_sql(db, "BEGIN; SELECT * FROM store"), SQLITE_OK);
  opens_late(path, 0, 50, 50);
  opens_late(path, 0, 51, 55);
  opens_late(path, 0, -1, 0);
  CHECK_INT(test_sql(db, "COMMIT"), SQLITE_OK);
  sqlite3_close(db);
  vfs_shim_reset();
  store = test_store(path);
  CHECK(store != NULL);
  CHECK_INT(vfs_shim_slept_us(), 0);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  vfs_shim_remove();
}

/* A lock that goes away in time is waited for, however long that takes on this machine. */
TEST(a_lock_that_goes_away_is_waited_for) {
  const char *path = scratch("wait.db");
  int locked[2], status = 0;
  char byte = 0;
  custmem *store;
  pid_t child;
  REQUIRE(make_store(path));
  REQUIRE(pipe(locked) == 0);
  fflush(stdout);
  child = fork();
  if (child == 0) {
    const struct timespec pause = {0, 200000000};
    sqlite3 *db = test_plain(path);
    int good = test_sql(db, "BEGIN IMMEDIATE") == SQLITE_OK && write(locked[1], "l", 1) == 1;
    nanosleep(&pause, NULL);
    good = test_sql(db, "COMMIT") == SQLITE_OK && good;
    _exit(good && sqlite3_close(db) == SQLITE_OK ? 0 : 1);
  }
  CHECK_INT(read(locked[0], &byte, 1), 1);
  store = open_waiting(path, 60000);
  REQUIRE(store != NULL);
  CHECK_INT(test_link(store, "ada", "c3", ids.anna), CUSTMEM_OK);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  close(locked[0]);
  close(locked[1]);
}

/* Somebody is making something of the empty file: not now. */
TEST(a_locked_empty_file_is_busy) {
  const char *path = scratch("locked.db");
  custmem *store = NULL;
  custmem_options options;
  sqlite3 *db;
  REQUIRE(test_file_write(path, "", 0));
  db = test_plain(path);
  CHECK_INT(test_sql(db, "BEGIN EXCLUSIVE"), SQLITE_OK);
  test_options(&options);
  options.busy_timeout_ms = -1;
  CHECK_INT(custmem_open(path, &options, &store), CUSTMEM_BUSY);
  CHECK(store == NULL);
  CHECK_INT(test_file_size(path), 0);
  CHECK_INT(test_sql(db, "ROLLBACK"), SQLITE_OK);
  sqlite3_close(db);
  CHECK_INT(custmem_close(test_store(path)), CUSTMEM_OK);
}

/* ---- Read-only --------------------------------------------------------------------------- */

/* Every read there is. Ada's Anna must be linked to c1. */
static int read_everything(custmem *store) {
  custmem_customer customers[8];
  custmem_conversation conversations[8];
  static custmem_event events[8];
  custmem_resolution found, many[2];
  const custmem_query page[2] = {
    {"c1", NULL, NULL, 0}, {"c9", "whatsapp", BEN_PHONE, CUSTMEM_NUL_TERMINATED}};
  custmem_report report;
  custmem_head head;
  custmem_info info;
  int32_t count;
  int good = CHECK_INT(custmem_resolve(store, "ada", "c1", NULL, NULL, 0, &found), CUSTMEM_OK);
  good = CHECK_INT(found.outcome, CUSTMEM_LINKED) && good;
  good = CHECK_INT(custmem_resolve_many(store, "ada", page, 2, many), CUSTMEM_OK) && good;
  good = CHECK_INT(many[1].outcome, CUSTMEM_CANDIDATE) && good;
  good =
    CHECK_INT(custmem_customer_list(store, "ada", NULL, customers, 8, &count), CUSTMEM_OK) &&
    CHECK_INT(count, 2) && good;
  good =
    CHECK_INT(
      custmem_customer_find(store, "ada", "whatsapp", ANNA_PHONE, -1, customers), CUSTMEM_OK
    ) &&
    CHECK_TEXT(customers[0].id, found.customer_id) && good;
  good =
    CHECK_INT(
      custmem_conversations(store, "ada", found.customer_id, NULL, conversations, 8, &count),
      CUSTMEM_OK
    ) &&
    CHECK_INT(count, 1) && good;
  good = CHECK_INT(custmem_history(store, "ada", "c1", 0, events, 8, &count), CUSTMEM_OK) &&
         CHECK_INT(count, 1) && good;
  good = CHECK_INT(custmem_audit_read(store, "ada", 0, events, 8, &count), CUSTMEM_OK) &&
         CHECK_INT(count, 2) && good;
  good = CHECK_INT(custmem_audit_head(store, "ada", &head), CUSTMEM_OK) && good;
  good = CHECK_INT(custmem_audit_verify(store, "ada", &head, &report), CUSTMEM_OK) && good;
  good = CHECK_INT(custmem_store_info(store, &info), CUSTMEM_OK) && good;
  return CHECK_INT(custmem_check(store, &report), CUSTMEM_OK) && good;
}

static int every_write_is_refused(custmem *store) {
  custmem_actor ada = test_human("ada");
  custmem_resolution found;
  custmem_written written;
  const char *anna = found.customer_id;
  int good;
  custmem_resolve(store, "ada", "c1", NULL, NULL, 0, &found);
  good = CHECK_INT(
    custmem_link(store, &ada, "c3", anna, "because", -1, NULL, 0, &written), CUSTMEM_READONLY
  );
  good = CHECK(custmem_errmsg(store)[0] != '\0') && good;
  good = CHECK_INT(
           custmem_unlink(store, &ada, "c1", anna, "because", -1, NULL, 0, &written),
           CUSTMEM_READONLY
         ) &&
         good;
  good = CHECK_INT(
           custmem_relink(
             store, &ada, "c1", anna, "00000000-0000-7000-8000-000000000000", "because", -1,
             NULL, 0, &written
           ),
           CUSTMEM_READONLY
         ) &&
         good;
  good = CHECK_INT(written.seq, 0) && good;
  good =
    CHECK_INT(
      custmem_customer_create(store, &ada, "whatsapp", "393330000000", -1, NULL, 0, NULL, NULL),
      CUSTMEM_READONLY
    ) &&
    good;
  return CHECK_INT(
           custmem_customer_set_display(store, &ada, anna, "Anna", -1, NULL), CUSTMEM_READONLY
         ) &&
         good;
}

static void read_only_leaves(const char *path, int rounds) {
  struct kept before = keep(path);
  int round;
  for (round = 0; round < rounds; round++) {
    custmem *store = open_read_only(path);
    REQUIRE(store != NULL);
    read_everything(store);
    every_write_is_refused(store);
    CHECK_INT(custmem_close(store), CUSTMEM_OK);
    if (!CHECK(is_kept(path, &before))) return;
  }
}

TEST(a_read_only_handle_reads_and_changes_no_byte) {
  const char *path = scratch("read.db");
  REQUIRE(make_store(path));
  read_only_leaves(path, 20);
  CHECK(test_file_size(with_suffix(path, "-wal")) <= 0);
}

/* The last one to close is a reader, and leaves to a writer the checkpoint that it may not
** make. */
TEST(a_read_only_handle_reads_a_left_over_wal_and_leaves_it) {
  const char *path = scratch("readwal.db");
  REQUIRE(here(body_of_killed_writer, path));
  REQUIRE(exists_beside(path, "-wal"));
  read_only_leaves(path, 5);
  CHECK_INT(custmem_close(test_store(path)), CUSTMEM_OK);
  CHECK(!exists_beside(path, "-wal"));
}

TEST(a_read_only_handle_sees_what_a_writer_writes) {
  const char *path = scratch("follow.db");
  custmem *writer = test_store(path), *reader;
  custmem_resolution found;
  struct kept before;
  REQUIRE(fill(writer));
  reader = open_read_only(path);
  REQUIRE(reader != NULL);
  custmem_resolve(reader, "ada", "c3", NULL, NULL, 0, &found);
  CHECK_INT(found.outcome, CUSTMEM_UNLINKED);
  CHECK_INT(test_link(writer, "ada", "c3", ids.ben), CUSTMEM_OK);
  before = keep(path);
  custmem_resolve(reader, "ada", "c3", NULL, NULL, 0, &found);
  CHECK_TEXT(found.customer_id, ids.ben);
  every_write_is_refused(reader);
  CHECK_INT(custmem_close(reader), CUSTMEM_OK);
  CHECK(is_kept(path, &before));
  CHECK_INT(custmem_close(writer), CUSTMEM_OK);
}

/* The WAL's index, open for writing as a reader that may not write it has it not. */
static int index_file = -1;

static int flip_in_index(void) {
  enum { IN_ITS_HEADER = 8 };
  unsigned char byte = 0;
  int good = pread(index_file, &byte, 1, IN_ITS_HEADER) == 1;
  byte ^= 1;
  return good && pwrite(index_file, &byte, 1, IN_ITS_HEADER) == 1;
}

/* In another process: keeps a store open until the pipe ends. (A child of ours would share SQLite's files
** with us, whatever it may open.) */
static pid_t start_writer(const char *path, int until[2]) {
  int ready[2];
  char byte = 0;
  pid_t child;
  if (pipe(ready) != 0 || pipe(until) != 0) return -1;
  fflush(stdout);
  child = fork();
  if (child == 0) {
    custmem *store = test_store(path);
    close(until[1]);
    if (test_link(store, "ada", "c3", ids.ben) != CUSTMEM_OK) _exit(1);
    if (write(ready[1], &byte, 1) != 1 || read(until[0], &byte, 1) != 0) _exit(1);
    _exit(0);
  }
  close(ready[1]);
  close(until[0]);
  if (read(ready[0], &byte, 1) != 1) child = -1;
  close(ready[0]);
  return child;
}

/* A writer was killed while it wrote the head of the WAL's index: who comes next makes it anew, but for a
** reader that may not write it. */
TEST(a_reader_that_may_not_recover_says_so) {
  char path[NAME_SIZE], index[NAME_SIZE + 8];
  uid_t privileged = geteuid();
  custmem_resolution found;
  custmem_head head;
  custmem *reader;
  int until[2], status = 1;
  pid_t writer;
  snprintf(path, sizeof path, "%s/x.db", open_directory("unrecovered"));
  snprintf(index, sizeof index, "%s-shm", path);
  REQUIRE(make_store(path));
  writer = start_writer(path, until);
  REQUIRE(writer > 0);
  index_file = open(index, O_RDWR);
  CHECK(index_file >= 0 && chmod(index, 0444) == 0);
  CHECK(chmod(path, 0444) == 0 && chmod(with_suffix(path, "-wal"), 0444) == 0);
  if (privileged == 0) CHECK_INT(seteuid(UNPRIVILEGED), 0);
  reader = open_read_only(path);
  CHECK_INT(custmem_resolve(reader, "ada", "c3", NULL, NULL, 0, &found), CUSTMEM_OK);
  CHECK_TEXT(found.customer_id, ids.ben);
  CHECK(flip_in_index());
  CHECK_INT(custmem_audit_head(reader, "ada", &head), CUSTMEM_READONLY);
  CHECK_INT(custmem_resolve(reader, "ada", "c3", NULL, NULL, 0, &found), CUSTMEM_READONLY);
  CHECK_INT(found.why, CUSTMEM_WHY_LOOKUP_FAILED);
  CHECK(flip_in_index());
  CHECK_INT(custmem_resolve(reader, "ada", "c3", NULL, NULL, 0, &found), CUSTMEM_OK);
  CHECK_TEXT(found.customer_id, ids.ben);
  CHECK_INT(custmem_close(reader), CUSTMEM_OK);
  if (privileged == 0) CHECK_INT(seteuid(privileged), 0);
  close(until[1]);
  close(index_file);
  CHECK(waitpid(writer, &status, 0) == writer && status == 0);
}

static int set_read_only_media(const char *directory, const char *path, int yes) {
  static const char *const suffixes[] = {"-wal", "-shm"};
  size_t i;
  int good;
  if (!yes) return CHECK_INT(chmod(directory, 0755), 0);
  for (i = 0; i < COUNT(suffixes); i++)
    if (exists_beside(path, suffixes[i])) chmod(with_suffix(path, suffixes[i]), 0444);
  good = CHECK_INT(chmod(path, 0444), 0);
  return CHECK_INT(chmod(directory, 0555), 0) && good;
}

static int body_of_read_only_media(const char *directory) {
  char path[NAME_SIZE];
  struct kept before;
  custmem *store;
  int good;
  snprintf(path, sizeof path, "%s/store.db", directory);
  good = make_store(path) && set_read_only_media(directory, path, 1);
  before = keep(path);
  store = open_read_only(path);
  if (!CHECK(store != NULL)) return 0;
  good = read_everything(store) && every_write_is_refused(store) && good;
  good = CHECK_INT(custmem_close(store), CUSTMEM_OK) && good;
  good = CHECK(is_kept(path, &before)) && good;
  good = CHECK_INT(names_in(directory), 1) && good;
  good = refused(path, NULL, CUSTMEM_READONLY) && good;
  return set_read_only_media(directory, path, 0) && good;
}

TEST(a_read_only_handle_works_on_read_only_media) {
  CHECK(in_child(body_of_read_only_media, open_directory("media"), 1));
}

/* Of a -wal that cannot be used, two answers are right: what it holds, or a refusal. To show
** the state before it would be to forget what was acknowledged. */
static int wal_is_not_ignored(const char *directory, int with_shared) {
  char path[NAME_SIZE], message[CUSTMEM_MESSAGE_MAX + 1];
  custmem_options options;
  custmem_resolution found;
  custmem *store = NULL;
  struct kept before;
  int rc, good;
  snprintf(path, sizeof path, "%s/store-%d.db", directory, with_shared);
  good = CHECK(in_child(body_of_killed_writer, path, 0)) && CHECK(exists_beside(path, "-wal"));
  if (!with_shared) remove(with_suffix(path, SHARED_SUFFIX));
  good = set_read_only_media(directory, path, 1) && good;
  before = keep(path);
  test_options(&options);
  options.read_only = 1;
  rc = open_with(path, &options, message, &store);
  if (rc == CUSTMEM_OK) {
    custmem_resolve(store, "ada", "c1", NULL, NULL, 0, &found);
    good = CHECK_INT(found.outcome, CUSTMEM_LINKED) && good;
    good = CHECK_INT(custmem_close(store), CUSTMEM_OK) && good;
  } else {
    good = CHECK(store == NULL) && CHECK(message[0] != '\0') && good;
    good = CHECK(rc != CUSTMEM_INTERNAL && rc != CUSTMEM_MISUSE) && good;
  }
  good = CHECK(is_kept(path, &before)) && good;
  return set_read_only_media(directory, path, 0) && good;
}

static int body_of_left_over_wal(const char *directory) {
  int good = wal_is_not_ignored(directory, 1);
  return wal_is_not_ignored(directory, 0) && good;
}

TEST(a_left_over_wal_on_read_only_media_is_never_ignored) {
  CHECK(in_child(body_of_left_over_wal, open_directory("mediawal"), 1));
}

/* ---- Symbolic links where SQLite puts its own files -------------------------------------- */

/* Somebody who may write the directory puts a link to a file of the victim's where SQLite is
** going to write. Whether the store opens or is refused: the victim's file stays what it is. */
static void planted(const char *suffix, int on_new_file, int dangling) {
  static const char precious[] = "precious bytes of another file";
  const char *path = scratch("planted.db"), *victim = scratch("victim");
  custmem *store = NULL;
  custmem_actor cai = test_human("cai");
  custmem_options options;
  struct kept before;
  remove_store(path);
  remove(victim);
  if (!on_new_file) REQUIRE(make_store(path));
  if (!dangling) REQUIRE(test_file_write(victim, precious, sizeof precious));
  before = keep(victim);
  REQUIRE(symlink(victim, with_suffix(path, suffix)) == 0);
  test_options(&options);
  if (custmem_open(path, &options, &store) == CUSTMEM_OK) {
    custmem_customer_create(store, &cai, "whatsapp", ANNA_PHONE, -1, NULL, 0, NULL, NULL);
    custmem_close(store);
  }
  if (!CHECK(is_kept(victim, &before)))
    printf("  %s, new %d, dangling %d\n", suffix, on_new_file, dangling);
  remove(with_suffix(path, suffix));
}

TEST(a_planted_link_is_never_written_through) {
  static const char *const suffixes[] = {"-wal", "-shm", "-journal"};
  size_t i;
  int variant;
  for (i = 0; i < COUNT(suffixes); i++)
    for (variant = 0; variant < 4; variant++)
      planted(suffixes[i], variant & 1, variant >> 1);
}

/* What may lie in the place of a -wal, a -shm or a journal that is none. */
enum plant { EMPTY_FILE, GARBAGE, DIRECTORY, FIFO, PLANTS };

static void plant_there(const char *name, enum plant plant) {
  static unsigned char garbage[3 * 4096];
  uint64_t seed = 7;
  size_t i;
  for (i = 0; i < sizeof garbage; i++)
    garbage[i] = (unsigned char)test_random(&seed);
  if (plant == EMPTY_FILE) CHECK(test_file_write(name, "", 0));
  if (plant == GARBAGE) CHECK(test_file_write(name, garbage, sizeof garbage));
  if (plant == DIRECTORY) CHECK_INT(mkdir(name, 0700), 0);
  if (plant == FIFO) CHECK_INT(mkfifo(name, 0600), 0);
}

/* In a child, which is killed where it hangs: the store is used as ever, or refused. */
static int use_beside_a_plant(const char *path) {
  custmem *store = NULL;
  custmem_actor cai = test_human("cai");
  custmem_report report;
  int rc, good;
  alarm(20);
  rc = custmem_open(path, NULL, &store);
  good = rc == CUSTMEM_OK || rc == CUSTMEM_NOT_A_FILE;
  if (rc == CUSTMEM_OK) {
    good &= CHECK_INT(custmem_check(store, &report), CUSTMEM_OK);
    rc = custmem_customer_create(store, &cai, "whatsapp", BEN_PHONE, -1, NULL, 0, NULL, NULL);
    good &= rc == CUSTMEM_OK || rc == CUSTMEM_IO;
    good &= CHECK_INT(custmem_close(store), CUSTMEM_OK);
  }
  if (!good) printf("  %s\n", custmem_code_name(rc));
  return good;
}

TEST(a_planted_file_in_the_place_of_a_wal_hides_nothing) {
  static const char *const suffixes[] = {"-wal", "-shm", "-journal"};
  const char *path = scratch("plant.db");
  custmem_report report;
  custmem *store;
  size_t i;
  int plant;
  for (i = 0; i < COUNT(suffixes); i++)
    for (plant = 0; plant < PLANTS; plant++) {
      const char *name = with_suffix(path, suffixes[i]);
      int64_t events;
      REQUIRE(make_store(path));
      store = test_store(path);
      CHECK_INT(custmem_check(store, &report), CUSTMEM_OK);
      events = report.events;
      CHECK_INT(custmem_close(store), CUSTMEM_OK);
      plant_there(name, (enum plant)plant);
      if (!CHECK(here(use_beside_a_plant, path)))
        printf("  %s, plant %d\n", suffixes[i], plant);
      if (plant == DIRECTORY) rmdir(name);
      if (plant == FIFO) unlink(name);
      store = test_store(path);
      REQUIRE(store != NULL);
      CHECK_INT(custmem_check(store, &report), CUSTMEM_OK);
      CHECK_INT(report.events, events);
      CHECK_INT(custmem_close(store), CUSTMEM_OK);
      remove_store(path);
    }
}

/* ---- The clock and the random source ----------------------------------------------------- */

static int64_t given_clock(void *ctx) {
  return *(const int64_t *)ctx;
}

/* Any time that 48 bits can say will do; the order is the events' number. */
TEST(a_clock_may_stand_still_go_back_and_jump) {
  static const int64_t times[] = {INT64_C(1750000000000), INT64_C(1750000000000),
                                  INT64_C(1600000000000), 0,
                                  (INT64_C(1) << 48) - 1, 1};
  const char *path = scratch("clock.db");
  int64_t time_now = times[0];
  custmem *store = NULL;
  custmem_options options;
  custmem_report report;
  static custmem_event events[8];
  int32_t count, i;
  test_options(&options);
  options.now_ms = given_clock;
  options.source_ctx = &time_now;
  REQUIRE(custmem_open(path, &options, &store) == CUSTMEM_OK);
  for (i = 0; i < (int32_t)COUNT(times); i++) {
    char conversation[32], phone[32];
    const char *customer;
    custmem_actor ada = test_human("ada");
    custmem_written written;
    time_now = times[i];
    snprintf(conversation, sizeof conversation, "c%d", (int)i);
    snprintf(phone, sizeof phone, "39333000000%d", (int)i);
    customer = test_customer(store, "ada", phone);
    CHECK_INT(
      custmem_link(store, &ada, conversation, customer, "because", -1, NULL, 0, &written),
      CUSTMEM_OK
    );
    CHECK_INT(written.created_at_ms, times[i]);
    CHECK_INT(written.seq, i + 1);
  }
  CHECK_INT(custmem_audit_read(store, "ada", 0, events, 8, &count), CUSTMEM_OK);
  CHECK_INT(count, (int)COUNT(times));
  for (i = 0; i < count; i++)
    CHECK_INT(events[i].created_at_ms, times[i]);
  CHECK_INT(custmem_check(store, &report), CUSTMEM_OK);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(a_clock_that_gives_nonsense_stops_the_write) {
  static const int64_t times[] = {-1, INT64_MIN, INT64_C(1) << 48, INT64_MAX};
  const char *path = scratch("clock.db"), *fresh = scratch("fresh.db");
  int64_t time_now = INT64_C(1750000000000);
  custmem *store = NULL, *other;
  custmem_options options;
  uint64_t rows;
  size_t i;
  remove_store(path);
  remove_store(fresh);
  test_options(&options);
  options.now_ms = given_clock;
  options.source_ctx = &time_now;
  REQUIRE(custmem_open(path, &options, &store) == CUSTMEM_OK);
  CHECK(fill(store));
  rows = test_rows(path);
  for (i = 0; i < COUNT(times); i++) {
    custmem_actor ada = test_human("ada");
    /* Read through source_ctx. */
    time_now = times[i]; /* cppcheck-suppress redundantAssignment */
    CHECK_INT(test_link(store, "ada", "c3", ids.anna), CUSTMEM_SOURCE);
    CHECK(custmem_errmsg(store)[0] != '\0');
    CHECK_INT(
      custmem_unlink(store, &ada, "c1", ids.anna, "because", -1, NULL, 0, NULL), CUSTMEM_SOURCE
    );
    CHECK_INT(
      custmem_customer_create(store, &ada, "whatsapp", "393330000000", -1, NULL, 0, NULL, NULL),
      CUSTMEM_SOURCE
    );
    CHECK_INT(
      custmem_customer_set_display(store, &ada, ids.anna, "Anna", -1, NULL), CUSTMEM_SOURCE
    );
    CHECK(test_rows(path) == rows);
    CHECK_INT(custmem_open(fresh, &options, &other), CUSTMEM_SOURCE);
    CHECK(other == NULL);
    CHECK(test_file_size(fresh) <= 0);
  }
  time_now = 5; /* cppcheck-suppress redundantAssignment */
  CHECK_INT(test_link(store, "ada", "c3", ids.anna), CUSTMEM_OK);
  CHECK_INT(custmem_open(fresh, &options, &other), CUSTMEM_OK);
  CHECK_INT(custmem_close(other), CUSTMEM_OK);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* `ctx` is what every byte is; below 0 the source fails. */
static int given_bytes(uint8_t *bytes, size_t size, void *ctx) {
  int byte = *(const int *)ctx;
  memset(bytes, byte, size);
  return byte < 0;
}

static int64_t still_clock(void *ctx) {
  (void)ctx;
  return INT64_C(1750000000000);
}

TEST(a_random_source_that_fails_stops_the_write) {
  const char *path = scratch("random.db"), *fresh = scratch("fresh.db");
  int byte = 7;
  custmem_actor ada = test_human("ada");
  custmem *store = NULL, *other;
  custmem_options options;
  uint64_t rows;
  remove_store(fresh);
  test_options(&options);
  options.random = given_bytes;
  options.source_ctx = &byte;
  REQUIRE(custmem_open(path, &options, &store) == CUSTMEM_OK);
  rows = test_rows(path);
  byte = -1;
  CHECK_INT(
    custmem_customer_create(store, &ada, "whatsapp", ANNA_PHONE, -1, NULL, 0, NULL, NULL),
    CUSTMEM_SOURCE
  );
  CHECK(test_rows(path) == rows);
  CHECK_INT(custmem_open(fresh, &options, &other), CUSTMEM_SOURCE);
  CHECK(other == NULL);
  CHECK(test_file_size(fresh) <= 0);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* A source that always gives the same makes the same id again: no customer is overwritten by
** it. */
TEST(a_random_source_that_repeats_itself_overwrites_nobody) {
  const char *path = scratch("constant.db");
  int byte = 7;
  custmem_actor ada = test_human("ada");
  custmem *store = NULL;
  custmem_customer customer;
  custmem_options options;
  uint64_t rows;
  int32_t created = -1;
  int rc;
  test_options(&options);
  options.random = given_bytes;
  options.now_ms = still_clock;
  options.source_ctx = &byte;
  REQUIRE(custmem_open(path, &options, &store) == CUSTMEM_OK);
  test_customer(store, "ada", ANNA_PHONE);
  rows = test_rows(path);
  rc = custmem_customer_create(
    store, &ada, "whatsapp", BEN_PHONE, -1, NULL, 0, &customer, &created
  );
  CHECK(rc == CUSTMEM_SOURCE || rc == CUSTMEM_CONSTRAINT);
  CHECK_TEXT(customer.id, "");
  CHECK_INT(created, 0);
  CHECK(test_rows(path) == rows);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* ---- fork() ------------------------------------------------------------------------------ */

static int every_call_is_refused_after_fork(custmem *store) {
  custmem_actor ada = test_human("ada");
  custmem_customer customers[2];
  custmem_conversation conversation;
  static custmem_event event;
  custmem_resolution found;
  const custmem_query query = {"c1", NULL, NULL, 0};
  custmem_report report;
  custmem_written written;
  custmem_head head;
  custmem_info info;
  int32_t count;
  int rcs[] = {
    custmem_store_info(store, &info),
    custmem_customer_create(
      store, &ada, "whatsapp", ANNA_PHONE, -1, NULL, 0, customers, &count
    ),
    custmem_customer_get(store, "ada", ids.anna, customers),
    custmem_customer_find(store, "ada", "whatsapp", ANNA_PHONE, -1, customers),
    custmem_customer_list(store, "ada", NULL, customers, 2, &count),
    custmem_customer_set_display(store, &ada, ids.anna, "Anna", -1, customers),
    custmem_resolve(store, "ada", "c1", "whatsapp", ANNA_PHONE, -1, &found),
    custmem_resolve_many(store, "ada", &query, 1, &found),
    custmem_link(store, &ada, "c3", ids.anna, "because", -1, NULL, 0, &written),
    custmem_relink(store, &ada, "c1", ids.anna, ids.ben, "because", -1, NULL, 0, &written),
    custmem_unlink(store, &ada, "c1", ids.anna, "because", -1, NULL, 0, &written),
    custmem_conversations(store, "ada", ids.anna, NULL, &conversation, 1, &count),
    custmem_history(store, "ada", "c1", 0, &event, 1, &count),
    custmem_audit_read(store, "ada", 0, &event, 1, &count),
    custmem_audit_head(store, "ada", &head),
    custmem_audit_verify(store, "ada", NULL, &report),
    custmem_set_listener(store, NULL, NULL),
    custmem_check(store, &report),
    custmem_backup(store, scratch("forked.db")),
    custmem_close(store),
    custmem_close(store), /* it did not close it */
  };
  size_t i;
  int good = 1;
  for (i = 0; i < COUNT(rcs); i++)
    if (!CHECK_INT(rcs[i], CUSTMEM_FORKED)) {
      printf("  call %d\n", (int)i);
      good = 0;
    }
  good = CHECK_INT(found.outcome, CUSTMEM_UNLINKED) && good;
  good = CHECK_INT(found.why, CUSTMEM_WHY_LOOKUP_FAILED) && good;
  custmem_interrupt(store);
  return CHECK(!exists(scratch("forked.db"))) && good;
}

TEST(a_handle_is_refused_after_fork) {
  const char *path = scratch("fork.db");
  custmem *store = test_store(path);
  custmem_report report;
  int status = 0;
  pid_t child;
  REQUIRE(fill(store));
  fflush(stdout);
  child = fork();
  if (child == 0) {
    int good = every_call_is_refused_after_fork(store);
    custmem *own = test_store(path); /* the child opens its own */
    good = CHECK(own != NULL) && good;
    good = CHECK_INT(test_link(own, "ada", "c4", ids.anna), CUSTMEM_OK) && good;
    good = CHECK_INT(custmem_close(own), CUSTMEM_OK) && good;
    fflush(stdout);
    _exit(good ? 0 : 1);
  }
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  CHECK_INT(test_link(store, "ada", "c3", ids.anna), CUSTMEM_OK);
  CHECK_INT(custmem_check(store, &report), CUSTMEM_OK);
  CHECK_INT(report.events, 5);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(closing_nothing_is_fine_and_nothing_has_a_message) {
  CHECK_INT(custmem_close(NULL), CUSTMEM_OK);
  CHECK(custmem_errmsg(NULL) != NULL && custmem_errmsg(NULL)[0] != '\0');
  CHECK_TEXT(custmem_errarg(NULL), "");
  custmem_interrupt(NULL);
}

/* ---- Backup ------------------------------------------------------------------------------ */

/* A copy is one file, of the owner's alone, with the same rows. */
static void check_copy(const char *copy, const char *original) {
  custmem *one = open_read_only(copy), *two = test_store(original);
  custmem_info info, info_of_original;
  custmem_report report;
  unsigned char header[20] = {0};
  FILE *file = fopen(copy, "rb");
  REQUIRE(one != NULL && two != NULL && file != NULL);
  CHECK_INT(fread(header, 1, sizeof header, file), sizeof header);
  fclose(file);
  CHECK_INT(header[18], 1); /* a rollback-mode file: it needs nothing beside it to be read */
  CHECK_INT(header[19], 1);
  CHECK_INT(custmem_check(one, &report), CUSTMEM_OK);
  CHECK_INT(custmem_store_info(one, &info), CUSTMEM_OK);
  CHECK_INT(custmem_store_info(two, &info_of_original), CUSTMEM_OK);
  check_same_store(&info, &info_of_original);
  CHECK_INT(custmem_close(one), CUSTMEM_OK);
  CHECK_INT(custmem_close(two), CUSTMEM_OK);
  CHECK_INT(mode_of(copy, ""), 0600);
  CHECK(!exists_beside(copy, "-wal"));
  CHECK(!exists_beside(copy, "-journal"));
  CHECK(test_rows(copy) == test_rows(original));
}

TEST(a_backup_is_a_complete_store) {
  const char *path = scratch("original.db"), *copy = scratch("copy.db");
  const char *second = scratch("second-copy.db");
  custmem *store = test_store(path);
  custmem_resolution found;
  mode_t mask = umask(0);
  REQUIRE(fill(store));
  CHECK_INT(custmem_backup(store, copy), CUSTMEM_OK);
  umask(0777);
  CHECK_INT(custmem_backup(store, second), CUSTMEM_OK);
  umask(mask);
  CHECK_INT(mode_of(second, ""), 0600);
  check_copy(copy, path);
  check_copy(second, path);
  /* The store goes on, and the copy stays what it was. */
  CHECK_INT(test_link(store, "ada", "c3", ids.anna), CUSTMEM_OK);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  store = test_store(copy);
  REQUIRE(store != NULL);
  custmem_resolve(store, "ada", "c3", NULL, NULL, 0, &found);
  CHECK_INT(found.outcome, CUSTMEM_UNLINKED);
  CHECK_INT(test_link(store, "ada", "c9", ids.ben), CUSTMEM_OK);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* Every kind of handle can be copied from. */
TEST(any_handle_can_be_backed_up) {
  const char *path = scratch("any.db");
  custmem *store;
  custmem_report report;
  int rc;
  REQUIRE(make_store(path));
  store = open_read_only(path);
  CHECK_INT(custmem_backup(store, scratch("of-reader.db")), CUSTMEM_OK);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  check_copy(scratch("of-reader.db"), path);
  store = open_exclusive(path, &rc);
  CHECK_INT(custmem_backup(store, scratch("of-exclusive.db")), CUSTMEM_OK);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  check_copy(scratch("of-exclusive.db"), path);
  store = test_store(NULL);
  REQUIRE(fill(store));
  CHECK_INT(custmem_backup(store, scratch("of-memory.db")), CUSTMEM_OK);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  store = open_read_only(scratch("of-memory.db"));
  CHECK(read_everything(store));
  CHECK_INT(custmem_check(store, &report), CUSTMEM_OK);
  CHECK_INT(report.customers, 3);
  CHECK_INT(report.events, 3);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

static int body_of_copy_on_read_only_media(const char *directory) {
  char path[NAME_SIZE], copy[NAME_SIZE];
  custmem *store;
  int good;
  snprintf(path, sizeof path, "%s/store.db", directory);
  snprintf(copy, sizeof copy, "%s/copy.db", directory);
  store = test_store(path);
  good = fill(store) && CHECK_INT(custmem_backup(store, copy), CUSTMEM_OK);
  good = CHECK_INT(custmem_close(store), CUSTMEM_OK) && good;
  remove_store(path);
  good = set_read_only_media(directory, copy, 1) && good;
  store = open_read_only(copy);
  good = CHECK(store != NULL) && read_everything(store) && good;
  good = CHECK_INT(custmem_close(store), CUSTMEM_OK) && good;
  good = CHECK_INT(names_in(directory), 1) && good;
  return set_read_only_media(directory, copy, 0) && good;
}

TEST(a_backup_opens_where_it_lies_on_read_only_media) {
  CHECK(in_child(body_of_copy_on_read_only_media, open_directory("mediacopy"), 1));
}

static void backup_refused(custmem *store, const char *target, int code, int other) {
  struct kept before = keep(target);
  int rc = custmem_backup(store, target);
  if ((rc != other && !CHECK_INT(rc, code)) || !CHECK(is_kept(target, &before)))
    printf("  %s: %s\n", target, custmem_errmsg(store));
  CHECK(custmem_errmsg(store)[0] != '\0');
}

TEST(a_backup_overwrites_nothing) {
  static const char *const suffixes[] = {"-wal", "-shm", "-journal"};
  size_t i;
  const char *path = scratch("source.db"), *there = scratch("there");
  const char *pointer = scratch("pointer"), *loose = scratch("loose");
  const char *nowhere = scratch("nothing-here"), *other = scratch("other-store.db");
  char too_long[CUSTMEM_PATH_MAX + 2];
  custmem *store;
  struct kept before;
  REQUIRE(make_store(other));
  store = test_store(path);
  REQUIRE(fill(store));
  REQUIRE(test_file_write(there, "there", 5));
  REQUIRE(symlink(there, pointer) == 0);
  REQUIRE(symlink(nowhere, loose) == 0);
  REQUIRE(mkdir(scratch("target"), 0700) == 0);
  before = keep(there);
  backup_refused(store, there, CUSTMEM_EXISTS, CUSTMEM_EXISTS);
  backup_refused(store, other, CUSTMEM_EXISTS, CUSTMEM_EXISTS);
  backup_refused(store, path, CUSTMEM_EXISTS, CUSTMEM_EXISTS);
  backup_refused(store, pointer, CUSTMEM_EXISTS, CUSTMEM_SYMLINK);
  backup_refused(store, loose, CUSTMEM_EXISTS, CUSTMEM_SYMLINK);
  backup_refused(store, scratch("target"), CUSTMEM_EXISTS, CUSTMEM_NOT_A_FILE);
  REQUIRE(mkfifo(scratch("piped.db-journal"), 0600) == 0);
  backup_refused(store, scratch("piped.db"), CUSTMEM_NOT_A_FILE, CUSTMEM_NOT_A_FILE);
  /* SQLite would take what lies there for the copy's own, or the copy for the store's. */
  for (i = 0; i < COUNT(suffixes); i++) {
    char near[NAME_SIZE], own[NAME_SIZE];
    snprintf(near, sizeof near, "%s%s", scratch("beside.db"), suffixes[i]);
    snprintf(own, sizeof own, "%s%s", path, suffixes[i]);
    REQUIRE(test_file_write(near, "mine", 4));
    backup_refused(store, scratch("beside.db"), CUSTMEM_EXISTS, CUSTMEM_EXISTS);
    CHECK_INT(test_file_size(near), 4);
    unlink(near);
    backup_refused(store, own, CUSTMEM_EXISTS, CUSTMEM_EXISTS);
  }
  CHECK_INT(custmem_backup(store, scratch("beside.db")), CUSTMEM_OK);
  backup_refused(store, scratch("target/"), CUSTMEM_NOT_A_FILE, CUSTMEM_NOT_A_FILE);
  backup_refused(store, scratch("no/copy.db"), CUSTMEM_NO_PATH, CUSTMEM_NO_PATH);
  backup_refused(store, scratch("there/copy.db"), CUSTMEM_NO_PATH, CUSTMEM_NO_PATH);
  backup_refused(store, "", CUSTMEM_EMPTY, CUSTMEM_EMPTY);
  backup_refused(store, "/tmp/\xff", CUSTMEM_BAD_TEXT, CUSTMEM_BAD_TEXT);
  memset(too_long, 'x', sizeof too_long);
  too_long[sizeof too_long - 1] = '\0';
  backup_refused(store, too_long, CUSTMEM_TOO_LONG, CUSTMEM_TOO_LONG);
  CHECK_INT(custmem_backup(store, NULL), CUSTMEM_MISUSE);
  CHECK_TEXT(custmem_errarg(store), "path");
  CHECK_INT(custmem_backup(NULL, scratch("none.db")), CUSTMEM_MISUSE);
  CHECK(!exists(scratch("none.db")));
  CHECK(!exists(nowhere));
  CHECK(is_kept(there, &before));
  CHECK(read_everything(store));
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

static int body_of_backup_rights(const char *directory) {
  char target[NAME_SIZE];
  custmem *store = test_store(NULL);
  int good = fill(store) && CHECK_INT(chmod(directory, 0500), 0);
  snprintf(target, sizeof target, "%s/copy.db", directory);
  good = CHECK_INT(custmem_backup(store, target), CUSTMEM_PERMISSION) && good;
  good = CHECK(!exists(target)) && good;
  good = CHECK_INT(custmem_close(store), CUSTMEM_OK) && good;
  return CHECK_INT(chmod(directory, 0700), 0) && good;
}

TEST(a_backup_needs_permission) {
  CHECK(in_child(body_of_backup_rights, open_directory("backup-rights"), 1));
}

/* Relinks one conversation to and fro until it is killed. */
static void write_for_ever(const char *path) {
  custmem *store = open_waiting(path, 30000);
  custmem_actor ada = test_human("ada");
  const char *current = ids.anna, *next = ids.ben;
  while (custmem_relink(store, &ada, "c1", current, next, "because", -1, NULL, 0, NULL) ==
         CUSTMEM_OK) {
    const char *was = current;
    current = next;
    next = was;
  }
  _exit(1);
}

/* The copy is a store of its own, and its trail is the beginning of the original's. */
static int64_t copy_while_written(custmem *store, const char *copy) {
  static custmem_event event;
  custmem_report report;
  custmem_head head;
  custmem *reader;
  int32_t count = 0;
  remove_store(copy);
  if (!CHECK_INT(custmem_backup(store, copy), CUSTMEM_OK)) return -1;
  reader = open_read_only(copy);
  if (reader == NULL) return -1;
  CHECK_INT(custmem_check(reader, &report), CUSTMEM_OK);
  CHECK_INT(custmem_audit_head(reader, "ada", &head), CUSTMEM_OK);
  CHECK_INT(custmem_close(reader), CUSTMEM_OK);
  CHECK_INT(custmem_audit_read(store, "ada", head.count - 1, &event, 1, &count), CUSTMEM_OK);
  CHECK_INT(event.seq, head.count);
  CHECK_TEXT(event.hash, head.hash);
  return head.count;
}

TEST(a_backup_while_others_write_is_of_one_moment) {
  const char *path = scratch("busy-source.db"), *copy = scratch("busy-copy.db");
  const struct timespec pause = {0, 5000000};
  custmem *store = test_store(path);
  custmem_head head = {0, ""};
  int64_t first = 0, last = 0;
  int i, status;
  pid_t writer;
  REQUIRE(fill(store));
  fflush(stdout);
  writer = fork();
  if (writer == 0) write_for_ever(path);
  for (i = 0; i < 5; i++) {
    int64_t want = last + 20;
    int tries;
    /* Only that the writer is writing is waited for; 5 ms each, a minute in all. */
    for (tries = 0; tries < 12000 && head.count < want; tries++) {
      CHECK_INT(custmem_audit_head(store, "ada", &head), CUSTMEM_OK);
      if (head.count < want) nanosleep(&pause, NULL);
    }
    last = copy_while_written(store, copy);
    if (i == 0) first = last;
  }
  CHECK(last > first);
  CHECK(waitpid(writer, &status, WNOHANG) == 0); /* it was writing all the while */
  kill(writer, SIGKILL);
  CHECK(waitpid(writer, &status, 0) == writer);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* ---- Check ------------------------------------------------------------------------------- */

TEST(a_sound_store_is_counted) {
  const char *path = scratch("sound.db");
  custmem *store;
  custmem_report report;
  custmem_actor ada = test_human("ada");
  memset(&report, '#', sizeof report);
  store = test_store(path);
  REQUIRE(store != NULL);
  CHECK_INT(custmem_check(store, &report), CUSTMEM_OK);
  CHECK_INT(report.instructors, 0);
  CHECK_INT(report.customers, 0);
  CHECK_INT(report.links, 0);
  CHECK_INT(report.events, 0);
  CHECK_INT(report.fault, CUSTMEM_FAULT_NONE);
  CHECK_TEXT(report.detail, "");
  CHECK(fill(store));
  CHECK_INT(
    custmem_unlink(store, &ada, "c1", ids.anna, "because", -1, NULL, 0, NULL), CUSTMEM_OK
  );
  CHECK_INT(custmem_check(store, &report), CUSTMEM_OK);
  CHECK_INT(report.instructors, 2);
  CHECK_INT(report.customers, 3);
  CHECK_INT(report.links, 3); /* rows: an unlinked conversation keeps its own */
  CHECK_INT(report.events, 4);
  CHECK_INT(report.fault, CUSTMEM_FAULT_NONE);
  CHECK_TEXT(report.instructor_id, "");
  CHECK_TEXT(report.subject, "");
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* What somebody did to the file, with `trigger` away, and what the check says of it. */
static const struct tamper {
  const char *what, *trigger, *sql;
  int fault;
  const char *instructor;
  int64_t seq;
  const char *subject; /* "anna": her id */
} tampers[] = {
  {"dropped trigger", NULL, "DROP TRIGGER audit_events_update", CUSTMEM_FAULT_SCHEMA, "", 0,
   ""},
  {"added table", NULL, "CREATE TABLE extra (x)", CUSTMEM_FAULT_SCHEMA, "", 0, ""},
  {"weaker trigger", NULL,
   "DROP TRIGGER store_delete; CREATE TRIGGER store_delete BEFORE DELETE ON store BEGIN SELECT "
   "1; END",
   CUSTMEM_FAULT_SCHEMA, "", 0, ""},
  {"no store row", "store_delete", "DELETE FROM store", CUSTMEM_FAULT_STORE, "", 0, ""},
  {"other rules", "store_update", "UPDATE store SET rules_version = 2", CUSTMEM_FAULT_STORE, "",
   0, ""},
  {"unnormalized key", NULL,
   "UPDATE customers SET normalized_identifier = '+39 333 1234567' WHERE "
   "normalized_identifier = '" ANNA_PHONE "'",
   CUSTMEM_FAULT_KEY, "ada", 0, "anna"},
  {"refused key", NULL,
   "UPDATE customers SET normalized_identifier = '0393331234567' WHERE normalized_identifier = "
   "'" ANNA_PHONE "'",
   CUSTMEM_FAULT_KEY, "ada", 0, "anna"},
  {"unknown channel", NULL,
   "UPDATE customers SET channel = 'pigeon' WHERE normalized_identifier = '" ANNA_PHONE "'",
   CUSTMEM_FAULT_KEY, "ada", 0, "anna"},
  {"key cut by a NUL", NULL,
   "UPDATE customers SET normalized_identifier = normalized_identifier || char(0) || '9' WHERE "
   "normalized_identifier = '" ANNA_PHONE "'",
   CUSTMEM_FAULT_KEY, "ada", 0, "anna"},
  {"deleted customer", NULL,
   "DELETE FROM customers WHERE normalized_identifier = '" ANNA_PHONE "'", CUSTMEM_FAULT_LINK,
   "ada", 0, "c1"},
  {"customer of another", NULL,
   "UPDATE customers SET instructor_id = 'bob' WHERE normalized_identifier = '" ANNA_PHONE "'",
   CUSTMEM_FAULT_LINK, "ada", 0, "c1"},
  {"link to another's customer", "conversation_links_update",
   "UPDATE conversation_links SET customer_id = (SELECT id FROM customers WHERE instructor_id "
   "= "
   "'bob') WHERE conversation_id = 'c1'",
   CUSTMEM_FAULT_LINK, "ada", 0, "c1"},
  {"link to another of hers", "conversation_links_update",
   "UPDATE conversation_links SET customer_id = (SELECT customer_id FROM conversation_links "
   "WHERE conversation_id = 'c2') WHERE conversation_id = 'c1'",
   CUSTMEM_FAULT_LINK, "ada", 1, "c1"},
  {"link moved to another instructor", "conversation_links_update",
   "UPDATE conversation_links SET instructor_id = 'bob' WHERE conversation_id = 'c1'",
   CUSTMEM_FAULT_LINK, "bob", 0, "c1"},
  {"unlinked without an event", "conversation_links_update",
   "UPDATE conversation_links SET customer_id = NULL WHERE conversation_id = 'c1'",
   CUSTMEM_FAULT_LINK, "ada", 1, "c1"},
  {"link of another event", "conversation_links_update",
   "UPDATE conversation_links SET audit_seq = 2 WHERE conversation_id = 'c1'",
   CUSTMEM_FAULT_LINK, "ada", 1, "c1"},
  {"deleted link", "conversation_links_delete",
   "DELETE FROM conversation_links WHERE conversation_id = 'c1'", CUSTMEM_FAULT_LINK, "ada", 1,
   "c1"},
  {"link without an event", "conversation_links_insert",
   "INSERT INTO conversation_links SELECT 'c9', instructor_id, customer_id, audit_seq, "
   "updated_at FROM conversation_links WHERE conversation_id = 'c1'",
   CUSTMEM_FAULT_LINK, "ada", 0, "c9"},
  {"link of an instructor without events", "conversation_links_insert",
   "INSERT INTO conversation_links VALUES ('c9', 'cai', NULL, 1, 1)", CUSTMEM_FAULT_LINK, "cai",
   0, "c9"},
  {"link of an instructor whose name is too long", "conversation_links_insert",
   "INSERT INTO conversation_links VALUES ('c9', hex(zeroblob(33)), NULL, 1, 1)",
   CUSTMEM_FAULT_DATABASE, "", 0, ""},
  {"changed event", "audit_events_update",
   "UPDATE audit_events SET reason = 'forged' WHERE instructor_id = 'ada' AND seq = 2",
   CUSTMEM_FAULT_HASH, "ada", 2, NULL},
  {"deleted event", "audit_events_delete",
   "DELETE FROM audit_events WHERE instructor_id = 'ada' AND seq = 1", CUSTMEM_FAULT_SEQUENCE,
   "ada", 1, NULL},
  {"cut-off event", "audit_events_delete",
   "DELETE FROM audit_events WHERE instructor_id = 'ada' AND seq = 2", CUSTMEM_FAULT_LINK,
   "ada", 0, "c2"},
};

/* The rows as they are; the fault's place as far as the table names it. */
static void check_says(custmem *store, const struct tamper *tamper) {
  const char *subject = tamper->subject;
  custmem_report report, again;
  int good;
  if (subject != NULL && strcmp(subject, "anna") == 0) subject = ids.anna;
  good = CHECK_INT(custmem_check(store, &report), CUSTMEM_BROKEN);
  good = CHECK_INT(report.fault, tamper->fault) && good;
  good = CHECK_TEXT(report.instructor_id, tamper->instructor) && good;
  good = CHECK_INT(report.seq, tamper->seq) && good;
  if (subject != NULL) good = CHECK_TEXT(report.subject, subject) && good;
  good = CHECK(report.detail[0] != '\0') && good;
  good = CHECK_TEXT(custmem_errmsg(store), report.detail) && good;
  CHECK_INT(custmem_check(store, &again), CUSTMEM_BROKEN);
  good =
    CHECK_INT(again.fault, report.fault) && CHECK_TEXT(again.detail, report.detail) && good;
  good = CHECK_INT(again.seq, report.seq) && CHECK_TEXT(again.subject, report.subject) && good;
  if (!good) printf("  %s: \"%s\"\n", tamper->what, report.detail);
}

/* Found by the handle that was open all the while and, where opening lets the file pass, by one
** that comes to it later. */
TEST(the_check_finds_what_was_tampered_with) {
  const char *path = scratch("tampered.db");
  size_t i;
  for (i = 0; i < COUNT(tampers); i++) {
    const struct tamper *tamper = &tampers[i];
    custmem_report report;
    custmem *store;
    sqlite3 *db;
    remove_store(path);
    store = test_store(path);
    REQUIRE(fill(store));
    CHECK_INT(custmem_check(store, &report), CUSTMEM_OK);
    db = test_plain(path);
    if (tamper->trigger != NULL)
      without_trigger(db, tamper->trigger, tamper->sql);
    else if (!CHECK_INT(test_sql(db, tamper->sql), SQLITE_OK))
      printf("  %s: %s\n", tamper->what, test_sql_error());
    sqlite3_close(db);
    check_says(store, tamper);
    CHECK_INT(custmem_close(store), CUSTMEM_OK);
    if (tamper->fault == CUSTMEM_FAULT_SCHEMA || tamper->fault == CUSTMEM_FAULT_STORE) continue;
    store = test_store(path);
    REQUIRE(store != NULL);
    check_says(store, tamper);
    CHECK_INT(custmem_close(store), CUSTMEM_OK);
  }
}

/* STRICT tables take any bytes for text. */
TEST(the_check_finds_a_customer_that_no_call_makes) {
  static const char *const changes[] = {
    "UPDATE customers SET display_identifier = CAST(x'41ff' AS TEXT)",
    "UPDATE customers SET display_identifier = CAST(x'410042' AS TEXT)",
    "UPDATE customers SET normalized_identifier = '+' || normalized_identifier"};
  const char *path = scratch("text.db");
  custmem_report report;
  size_t i;
  for (i = 0; i < COUNT(changes); i++) {
    custmem *store;
    sqlite3 *db;
    REQUIRE(make_store(path));
    db = test_plain(path);
    CHECK_INT(test_sql(db, changes[i]), SQLITE_OK);
    sqlite3_close(db);
    store = test_store(path);
    REQUIRE(store != NULL);
    CHECK_INT(custmem_check(store, &report), CUSTMEM_BROKEN);
    CHECK_INT(report.fault, CUSTMEM_FAULT_KEY);
    CHECK_INT(report.seq, 0);
    CHECK_INT(custmem_close(store), CUSTMEM_OK);
  }
}

/* An index that lacks a row: a lookup by it finds nobody. */
TEST(the_check_finds_a_damaged_index) {
  const char *path = scratch("index.db");
  custmem_report report;
  custmem *store;
  sqlite3 *db;
  REQUIRE(make_store(path));
  db = test_plain(path);
  CHECK_INT(test_imposter(db, "customers_identity", "key, channel, instructor, id"), SQLITE_OK);
  CHECK_INT(test_sql(db, "DELETE FROM imposter WHERE key = '" ANNA_PHONE "'"), SQLITE_OK);
  CHECK_INT(sqlite3_changes(db), 1);
  sqlite3_close(db);
  store = test_store(path);
  REQUIRE(store != NULL);
  CHECK_INT(custmem_check(store, &report), CUSTMEM_BROKEN);
  CHECK_INT(report.fault, CUSTMEM_FAULT_DATABASE);
  CHECK_INT(report.seq, 0);
  CHECK(report.detail[0] != '\0');
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* Without a check of the database, too: verify proves that the indexes hold what their tables hold. (Bob's link
** lies between Ada's, so that hers are searched for, and counted.) */
TEST(verify_finds_an_index_that_lacks_a_row) {
  static const struct {
    const char *index, *columns, *lacks, *detail;
  } cases[] = {
    {"conversation_links_customer", "instructor, customer, conversation",
     "DELETE FROM imposter WHERE conversation = 'c3'",
     "the index conversation_links_customer does not hold what its table holds"},
    {"audit_events_conversation", "instructor, conversation, seq, previous, next, created",
     "DELETE FROM imposter WHERE conversation = 'c3'",
     "the index audit_events_conversation does not hold what its table holds"},
  };
  const char *path = scratch("lacks.db");
  size_t i;
  for (i = 0; i < COUNT(cases); i++) {
    custmem_report report;
    custmem *store;
    sqlite3 *db;
    REQUIRE(make_store(path));
    store = test_store(path);
    REQUIRE(store != NULL);
    CHECK_INT(test_link(store, "bob", "c2b", ids.bea), CUSTMEM_OK);
    CHECK_INT(test_link(store, "ada", "c3", ids.anna), CUSTMEM_OK);
    CHECK_INT(custmem_audit_verify(store, "ada", NULL, &report), CUSTMEM_OK);
    CHECK_INT(custmem_close(store), CUSTMEM_OK);
    db = test_plain(path);
    CHECK_INT(test_imposter(db, cases[i].index, cases[i].columns), SQLITE_OK);
    CHECK_INT(test_sql(db, cases[i].lacks), SQLITE_OK);
    CHECK_INT(sqlite3_changes(db), 1);
    sqlite3_close(db);
    store = test_store(path);
    REQUIRE(store != NULL);
    CHECK_INT(custmem_audit_verify(store, "ada", NULL, &report), CUSTMEM_BROKEN);
    CHECK_INT(report.fault, CUSTMEM_FAULT_DATABASE);
    CHECK_TEXT(report.instructor_id, "ada");
    CHECK_INT(report.seq, 0);
    CHECK_TEXT(report.subject, "");
    CHECK_TEXT(report.detail, cases[i].detail);
    CHECK_INT(custmem_close(store), CUSTMEM_OK);
  }
}

/* ---- Where the operating system fails ---------------------------------------------------- */

/* The calls that custmem makes itself, not through SQLite's file system, stand here in the place of the C
** library's, so that they can fail.
**
** fchmod_error   what fchmod fails with; 0: it works
** absent         how many times lstat says that nothing is there
** no_volume      statvfs fails
** read_only      statvfs says that the file system is mounted read-only
** no_clock       timespec_get fails
** no_status      the nth stat from now on fails; 0: none
** link           the next file that lstat finds, or fchmod is for, becomes a symbolic link to this one
*/
static struct meddle {
  int fchmod_error;
  int absent;
  int no_volume;
  int read_only;
  int no_clock;
  int no_status;
  const char *link;
} meddle;

static const struct meddle NO_MEDDLING = {0, 0, 0, 0, 0, 0, NULL};

static void put_link(const char *path) {
  const char *target = meddle.link;
  meddle.link = NULL;
  CHECK_INT(unlink(path), 0);
  CHECK_INT(symlink(target, path), 0);
}

/* The file is its owner's alone from the moment at which it is made, and no program that another thread
** starts inherits it. */
int fchmod(int file, mode_t mode) {
  char name[32], path[NAME_SIZE] = "";
  struct stat status;
  CHECK_INT(fstat(file, &status), 0);
  CHECK_INT(status.st_mode & 07177, 0);
  CHECK((fcntl(file, F_GETFD) & FD_CLOEXEC) != 0);
  snprintf(name, sizeof name, "/dev/fd/%d", file);
  errno = meddle.fchmod_error;
  if (errno != 0 || chmod(name, mode) != 0) return -1;
  if (meddle.link != NULL && readlink(name, path, sizeof path - 1) > 0) put_link(path);
  return 0;
}

int lstat(const char *restrict path, struct stat *restrict status) {
  int rc = fstatat(AT_FDCWD, path, status, AT_SYMLINK_NOFOLLOW);
  if (meddle.absent > 0) {
    meddle.absent--;
    errno = ENOENT;
    return -1;
  }
  if (rc == 0 && meddle.link != NULL && S_ISREG(status->st_mode)) put_link(path);
  return rc;
}

int stat(const char *restrict path, struct stat *restrict status) {
  if (meddle.no_status == 0 || --meddle.no_status > 0)
    return fstatat(AT_FDCWD, path, status, 0);
  errno = EACCES;
  return -1;
}

int statvfs(const char *restrict path, struct statvfs *restrict volume) {
  int file = open(path, O_RDONLY | O_CLOEXEC), rc = -1;
  if (file >= 0 && !meddle.no_volume) rc = fstatvfs(file, volume);
  if (file >= 0) close(file);
  if (meddle.read_only) volume->f_flag |= ST_RDONLY;
  return rc;
}

int timespec_get(struct timespec *now, int base) {
  return clock_gettime(CLOCK_REALTIME, now) != 0 || meddle.no_clock ? 0 : base;
}

TEST(what_the_system_says_of_a_new_file_is_told_apart) {
  static const struct {
    int error, code;
  } cases[] = {
    {EACCES, CUSTMEM_PERMISSION}, {EPERM, CUSTMEM_PERMISSION}, {EROFS, CUSTMEM_PERMISSION},
    {ENOSPC, CUSTMEM_FULL},       {EDQUOT, CUSTMEM_FULL},      {ENOENT, CUSTMEM_NO_PATH},
    {ENOTDIR, CUSTMEM_NO_PATH},   {EIO, CUSTMEM_IO},           {EMFILE, CUSTMEM_IO},
  };
  const char *path = scratch("system.db");
  size_t i;
  for (i = 0; i < COUNT(cases); i++) {
    char message[CUSTMEM_MESSAGE_MAX + 1];
    custmem_options options;
    custmem *store = NULL;
    test_options(&options);
    meddle.fchmod_error = cases[i].error;
    CHECK_INT(open_with(path, &options, message, &store), cases[i].code);
    meddle = NO_MEDDLING;
    CHECK(store == NULL);
    CHECK_HAS(message, path);
    CHECK(test_file_size(path) <= 0);
    CHECK(make_store(path));
    remove_store(path);
  }
}

/* Between the look at a file and SQLite's opening it, somebody puts a link in its place. */
TEST(a_link_that_is_put_in_between_is_not_followed) {
  static const int readers[] = {0, 1};
  const char *path = scratch("swapped.db"), *theirs = scratch("theirs.db");
  struct kept before;
  custmem *store;
  size_t i;
  REQUIRE(make_store(theirs));
  before = keep(theirs);
  for (i = 0; i < COUNT(readers); i++) {
    char message[CUSTMEM_MESSAGE_MAX + 1];
    custmem_options options;
    store = NULL;
    REQUIRE(make_store(path));
    test_options(&options);
    options.read_only = readers[i];
    meddle.link = theirs;
    CHECK_INT(open_with(path, &options, message, &store), CUSTMEM_IO);
    CHECK(meddle.link == NULL && store == NULL);
    meddle = NO_MEDDLING;
    CHECK(is_kept(theirs, &before));
    custmem_close(store);
    CHECK_INT(unlink(path), 0);
  }
  REQUIRE(make_store(path));
  store = test_store(path);
  meddle.link = theirs;
  CHECK(custmem_backup(store, scratch("swapped-copy.db")) != CUSTMEM_OK);
  CHECK(meddle.link == NULL);
  meddle = NO_MEDDLING;
  CHECK(is_kept(theirs, &before));
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* Between the look and the making, another process made the store: it is opened, and kept. */
TEST(a_store_that_appears_in_between_is_opened) {
  const char *path = scratch("between.db");
  custmem_info made, found;
  custmem *store = test_store(path);
  REQUIRE(store != NULL);
  CHECK_INT(custmem_store_info(store, &made), CUSTMEM_OK);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  meddle.absent = 1;
  store = test_store(path);
  CHECK_INT(meddle.absent, 0);
  meddle = NO_MEDDLING;
  REQUIRE(store != NULL);
  CHECK_INT(custmem_store_info(store, &found), CUSTMEM_OK);
  check_same_store(&found, &made);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* And likewise between the look at an empty file and the lock: whoever has the lock first makes it. */
static int64_t clock_that_makes(void *ctx) {
  const char *path = ctx;
  if (test_file_size(path) == 0) {
    custmem *other = test_store(path);
    CHECK(fill(other));
    CHECK_INT(custmem_close(other), CUSTMEM_OK);
  }
  return INT64_C(1750000000000);
}

TEST(a_store_that_is_made_before_the_lock_is_had_is_kept) {
  char path[NAME_SIZE];
  custmem *store = NULL;
  custmem_options options;
  custmem_report report;
  snprintf(path, sizeof path, "%s", scratch("overtaken.db"));
  test_options(&options);
  options.now_ms = clock_that_makes;
  options.source_ctx = path;
  CHECK_INT(custmem_open(path, &options, &store), CUSTMEM_OK);
  REQUIRE(store != NULL);
  CHECK_INT(custmem_check(store, &report), CUSTMEM_OK);
  CHECK_INT(report.customers, 3);
  CHECK_INT(report.events, 3);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

static int64_t unix_ms(void) {
  struct timespec now = {0, 0};
  CHECK_INT(timespec_get(&now, TIME_UTC), TIME_UTC);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Several times, since the milliseconds of one may be 0. */
TEST(the_systems_clock_is_told_in_unix_milliseconds) {
  custmem_actor actor = test_human("ada");
  custmem_customer customer;
  custmem *store = NULL;
  int i;
  REQUIRE(custmem_open(":memory:", NULL, &store) == CUSTMEM_OK);
  for (i = 0; i < 8; i++) {
    char phone[16];
    int64_t before = unix_ms();
    snprintf(phone, sizeof phone, "3933312345%02d", i);
    CHECK_INT(
      custmem_customer_create(store, &actor, "sms", phone, -1, NULL, 0, &customer, NULL),
      CUSTMEM_OK
    );
    CHECK(before <= customer.created_at_ms && customer.created_at_ms <= unix_ms());
    sqlite3_sleep(3);
  }
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(the_systems_clock_may_fail) {
  char message[CUSTMEM_MESSAGE_MAX + 1];
  custmem *store = NULL;
  custmem_options options;
  custmem_info info;
  custmem_options_init(&options);
  meddle.no_clock = 1;
  CHECK_INT(open_with(":memory:", &options, message, &store), CUSTMEM_SOURCE);
  meddle = NO_MEDDLING;
  CHECK(store == NULL);
  CHECK_HAS(message, "-1");
  CHECK_INT(open_with(":memory:", &options, message, &store), CUSTMEM_OK);
  CHECK_INT(custmem_store_info(store, &info), CUSTMEM_OK);
  CHECK(info.created_at_ms / 1000 <= (int64_t)time(NULL));
  CHECK(info.created_at_ms / 1000 >= (int64_t)time(NULL) - 600);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

static int not_sealed(const char *path) {
  char message[CUSTMEM_MESSAGE_MAX + 1];
  custmem_options options;
  custmem *store = NULL;
  int rc;
  test_options(&options);
  options.read_only = 1;
  rc = open_with(path, &options, message, &store);
  if (store != NULL) custmem_close(store);
  return CHECK_INT(rc, CUSTMEM_PERMISSION) && CHECK(store == NULL);
}

/* Whichever of the questions about the file goes unanswered: then it is not known to be sealed. SQLite asks,
** too; so the first ones that fail are its own. */
static int fails_without_status(const char *path) {
  int n, rc = CUSTMEM_PERMISSION, refused_times = 0;
  for (n = 1; rc != CUSTMEM_OK && n < 40; n++) {
    char message[CUSTMEM_MESSAGE_MAX + 1];
    custmem_options options;
    custmem *store = NULL;
    test_options(&options);
    options.read_only = 1;
    meddle.no_status = n;
    rc = open_with(path, &options, message, &store);
    refused_times += rc == CUSTMEM_PERMISSION;
    if (meddle.no_status == 0 && rc == CUSTMEM_OK)
      rc = CUSTMEM_IO; /* one that did not matter */
    meddle = NO_MEDDLING;
    if (store != NULL) custmem_close(store);
  }
  return CHECK(refused_times >= 2) && CHECK_INT(rc, CUSTMEM_OK);
}

/* Only where nobody can write is a file read without its -wal: the mount says so, or the modes do. */
static int body_of_sealed(const char *directory) {
  char path[NAME_SIZE];
  custmem *store;
  sqlite3_int64 memory;
  int good;
  snprintf(path, sizeof path, "%s/100%%?#store.db", directory);
  good = make_store(path) && set_read_only_media(directory, path, 1);
  meddle.no_volume = 1;
  good = not_sealed(path) && good;
  meddle = NO_MEDDLING;
  good = fails_without_status(path) && good;
  good = CHECK_INT(chmod(path, 0644), 0) && good;
  good = not_sealed(path) && good;
  meddle.read_only = 1;
  store = open_read_only(path);
  meddle = NO_MEDDLING;
  if (!CHECK(store != NULL)) return 0;
  good = read_everything(store) && good;
  good = CHECK_INT(custmem_close(store), CUSTMEM_OK) && good;
  good = CHECK_INT(chmod(path, 0444), 0) && good;
  memory = sqlite3_memory_used();
  store = open_read_only(path);
  if (!CHECK(store != NULL)) return 0;
  good = read_everything(store) && every_write_is_refused(store) && good;
  good = CHECK_INT(custmem_close(store), CUSTMEM_OK) && good;
  good = CHECK_INT(sqlite3_memory_used(), memory) && good;
  good = CHECK_INT(names_in(directory), 1) && good;
  return set_read_only_media(directory, path, 0) && good;
}

TEST(only_what_nobody_can_write_is_read_without_its_wal) {
  CHECK(in_child(body_of_sealed, open_directory("sealed"), 1));
}

/* Also a damaged one, whose name needs escaping: the second try tells the truth, too. */
static int body_of_sealed_text(const char *directory) {
  char path[NAME_SIZE];
  sqlite3 *db;
  int good;
  snprintf(path, sizeof path, "%s/altered.db", directory);
  good = make_store(path);
  db = test_plain(path);
  good = CHECK_INT(test_sql(db, "CREATE TABLE extra (x)"), SQLITE_OK) && good;
  sqlite3_close(db);
  good = set_read_only_media(directory, path, 1) && good;
  good = refused_read_only(path, CUSTMEM_SCHEMA) && good;
  return set_read_only_media(directory, path, 0) && good;
}

/* A path of the greatest size whose name has `name_size` bytes, made of one byte; its directories are made. */
static void make_longest(
  char path[CUSTMEM_PATH_MAX + 1],
  const char *directory,
  char byte,
  size_t name_size
) {
  size_t end = CUSTMEM_PATH_MAX - name_size, size; /* of the directory, with its '/' */
  snprintf(path, CUSTMEM_PATH_MAX + 1, "%s", directory);
  CHECK(mkdir(path, 0700) == 0 || errno == EEXIST);
  for (size = strlen(path); size < end - 1;) {
    size_t left = end - 1 - size, more = left > 202 ? 101 : left > 101 ? left - 50 : left;
    path[size] = '/';
    memset(path + size + 1, byte, more - 1);
    size += more;
    path[size] = '\0';
    CHECK(mkdir(path, 0700) == 0 || errno == EEXIST);
  }
  path[size] = '/';
  memset(path + end, byte, name_size);
  path[CUSTMEM_PATH_MAX] = '\0';
}

/* The directory is as long as it may be, or the name is; every byte is escaped in the URI of a sealed file. */
TEST(a_path_at_its_limit_is_as_good_as_any) {
  static const size_t sizes[] = {1, 60};
  static const vfs_shim_fault no_wal = {
    VFS_SHIM_BIT(VFS_SHIM_CREATE) | VFS_SHIM_BIT(VFS_SHIM_OPEN),
    VFS_SHIM_BIT(VFS_SHIM_WAL),
    1,
    1,
    SQLITE_CANTOPEN,
    VFS_SHIM_NOT_DONE};
  static const vfs_shim_fault full = {
    VFS_SHIM_BIT(VFS_SHIM_WRITE),
    VFS_SHIM_BIT(VFS_SHIM_DATABASE),
    1,
    1,
    SQLITE_FULL,
    VFS_SHIM_NOT_DONE};
  char path[CUSTMEM_PATH_MAX + 1];
  size_t i;
  REQUIRE(vfs_shim_install() == SQLITE_OK);
  for (i = 0; i < COUNT(sizes); i++) {
    custmem *store = test_store(NULL);
    CHECK(fill(store));
    make_longest(path, scratch("longest"), '%', sizes[i]);
    vfs_shim_fail(&full);
    CHECK_INT(custmem_backup(store, path), CUSTMEM_FULL);
    vfs_shim_fail(NULL);
    CHECK(!exists(path));
    CHECK(!exists_beside(path, "-journal"));
    CHECK_INT(custmem_backup(store, path), CUSTMEM_OK);
    CHECK_INT(custmem_close(store), CUSTMEM_OK);
    store = test_store(path);
    CHECK(store != NULL && read_everything(store));
    CHECK_INT(custmem_close(store), CUSTMEM_OK);
    meddle.read_only = 1;
    vfs_shim_fail(&no_wal);
    store = open_read_only(path);
    CHECK(store != NULL && read_everything(store));
    CHECK_INT(custmem_close(store), CUSTMEM_OK);
    CHECK(test_file_write(with_suffix(path, "-wal"), "left", 4)
    ); /* the file alone is not all of the store */
    refused_read_only(path, CUSTMEM_IO);
    vfs_shim_fail(NULL);
    meddle = NO_MEDDLING;
    remove_store(path);
  }
  vfs_shim_remove();
}

/* Where a WAL cannot be made beside such a file, whatever the system says of it, the file alone is read. */
TEST(what_nobody_can_write_is_read_whatever_a_wal_fails_with) {
  static const int codes[] = {SQLITE_CANTOPEN, SQLITE_READONLY_DIRECTORY, SQLITE_IOERR_ACCESS};
  const char *path = scratch("sealed-nowal.db");
  struct kept before;
  size_t i;
  REQUIRE(make_store(path));
  before = keep(path);
  REQUIRE(vfs_shim_install() == SQLITE_OK);
  for (i = 0; i < COUNT(codes); i++) {
    vfs_shim_fault fault = {
      VFS_SHIM_BIT(VFS_SHIM_CREATE) | VFS_SHIM_BIT(VFS_SHIM_OPEN),
      VFS_SHIM_BIT(VFS_SHIM_WAL),
      1,
      1,
      SQLITE_OK,
      VFS_SHIM_NOT_DONE};
    custmem *store;
    fault.code = codes[i];
    meddle.read_only = 1;
    vfs_shim_fail(&fault);
    store = open_read_only(path);
    CHECK(vfs_shim_fired() > 0);
    CHECK(store != NULL && read_everything(store));
    CHECK_INT(custmem_close(store), CUSTMEM_OK);
    vfs_shim_fail(NULL);
    meddle = NO_MEDDLING;
    CHECK(is_kept(path, &before));
  }
  vfs_shim_remove();
}

TEST(an_altered_store_on_read_only_media_is_refused) {
  CHECK(in_child(body_of_sealed_text, open_directory("sealedtext"), 1));
}

/* ---- Paths and headers at their edges ---------------------------------------------------- */

/* A directory is refused as one by its name alone; so is it as a place for a copy. */
static void is_a_directory(custmem *store, const char *path) {
  char wanted[NAME_SIZE + 16];
  refused_by_all(path, CUSTMEM_NOT_A_FILE);
  snprintf(wanted, sizeof wanted, "%s: a directory", path);
  says(path, wanted);
  CHECK_INT(custmem_backup(store, path), CUSTMEM_NOT_A_FILE);
  CHECK_TEXT(custmem_errmsg(store), wanted);
}

TEST(a_directory_is_no_store_however_it_is_called) {
  const char *directory = scratch("called");
  char path[NAME_SIZE];
  custmem *store = test_store(NULL);
  REQUIRE(store != NULL);
  REQUIRE(mkdir(directory, 0700) == 0);
  snprintf(path, sizeof path, "%s/.", directory);
  is_a_directory(store, path);
  snprintf(path, sizeof path, "%s/..", directory);
  is_a_directory(store, path);
  is_a_directory(store, ".");
  is_a_directory(store, "..");
  is_a_directory(store, "/");
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  snprintf(path, sizeof path, "%s/...", directory);
  CHECK(make_store(path));
  CHECK_INT(names_in(directory), 1);
}

TEST(a_file_of_the_root_directory_has_one_slash) {
  static const char path[] = "/no-such-custmem-store";
  char message[CUSTMEM_MESSAGE_MAX + 1];
  custmem *store = NULL;
  custmem_options options;
  test_options(&options);
  options.read_only = 1;
  CHECK_INT(open_with(path, &options, message, &store), CUSTMEM_NO_PATH);
  CHECK_TEXT(message, "/no-such-custmem-store: no such file");
  CHECK(store == NULL);
  CHECK_INT(test_file_size(path), -1);
  unlink(path); /* what a failed check tells of stays in nobody's way */
}

/* A short name in a directory whose own path is as long as it may be. */
static int body_of_deep_directory(const char *directory) {
  char here_now[NAME_SIZE], name[NAME_SIZE];
  size_t size = 0;
  custmem *store;
  int good = CHECK_INT(chdir(directory), 0);
  while (good && size < CUSTMEM_PATH_MAX - 4) {
    size_t want, more;
    good = CHECK(getcwd(here_now, sizeof here_now) != NULL);
    size = strlen(here_now);
    want = CUSTMEM_PATH_MAX - 4 - size; /* with its slash */
    more = want > 120 ? 100 : want - 1;
    if (want == 0) break;
    memset(name, 'd', more);
    name[more] = '\0';
    good = good && CHECK_INT(mkdir(name, 0700), 0) && CHECK_INT(chdir(name), 0);
  }
  good = CHECK_INT(size, CUSTMEM_PATH_MAX - 4) && good;
  good = refused("four", NULL, CUSTMEM_TOO_LONG) && CHECK(!exists("four")) && good;
  good = says("four", "path is longer than 480 bytes") && good;
  store = test_store("new");
  good = CHECK(store != NULL) && good;
  return CHECK_INT(custmem_close(store), CUSTMEM_OK) && CHECK(exists("new")) && good;
}

TEST(a_relative_path_is_as_long_as_the_whole_one) {
  const char *directory = scratch("deep");
  REQUIRE(mkdir(directory, 0700) == 0);
  CHECK(here(body_of_deep_directory, directory));
}

TEST(a_name_may_be_of_one_character_and_begin_with_dots) {
  static const char *const names[] = {"s", "-", ".s", "..s", "..."};
  size_t i;
  for (i = 0; i < COUNT(names); i++) {
    custmem *store = test_store(scratch(names[i]));
    REQUIRE(store != NULL);
    CHECK_INT(custmem_close(store), CUSTMEM_OK);
    CHECK(test_file_size(scratch(names[i])) > 0);
  }
}

static int count_descriptors(void) {
  int count = 0, fd;
  for (fd = 0; fd < 256; fd++)
    count += fcntl(fd, F_GETFD) != -1;
  return count;
}

/* The first file that is made gets descriptor 0, which SQLite then keeps occupied. */
static int body_without_input(const char *path) {
  char name[NAME_SIZE], message[CUSTMEM_MESSAGE_MAX + 1];
  custmem_options options;
  custmem *store = NULL;
  int good = 1, descriptors = 0, i;
  test_options(&options);
  for (i = 0; i < 3; i++) {
    snprintf(name, sizeof name, "%s-%d", path, i);
    if (i == 0) close(0);
    good = CHECK_INT(open_with(name, &options, message, &store), CUSTMEM_OK) && good;
    good = CHECK_INT(custmem_close(store), CUSTMEM_OK) && good;
    if (i == 0) descriptors = count_descriptors();
    good = CHECK_INT(count_descriptors(), descriptors) && good;
  }
  close(0);
  meddle.fchmod_error = EIO;
  snprintf(name, sizeof name, "%s-%d", path, i);
  good = CHECK_INT(open_with(name, &options, message, &store), CUSTMEM_IO) && good;
  good = CHECK_INT(count_descriptors(), descriptors - 1) && good;
  return CHECK_INT(test_file_size(name), -1) && good;
}

TEST(a_process_without_an_input_makes_stores_and_no_descriptor_is_left) {
  CHECK(here(body_without_input, scratch("daemon.db")));
}

/* The file may have this name; what SQLite would put beside it may not. */
TEST(a_name_that_leaves_no_room_for_a_wal_is_refused) {
  char name[256];
  const char *path;
  memset(name, 'n', sizeof name);
  name[253] = '\0';
  path = scratch(name);
  REQUIRE(test_file_write(path, "", 0));
  CHECK(refused_as(path, NULL, CUSTMEM_IO, CUSTMEM_TOO_LONG));
  CHECK_INT(test_file_size(path), 0);
}

TEST(a_reader_keeps_nobody_out) {
  const char *path = scratch("alone.db");
  custmem_options options;
  REQUIRE(make_store(path));
  test_options(&options);
  options.read_only = options.exclusive = 1;
  CHECK(refused(path, &options, CUSTMEM_MISUSE));
}

/* 256 objects on one page: the number's low byte is 0. */
TEST(a_database_of_256_tables_is_another_applications) {
  const char *path = scratch("many.db");
  sqlite3 *db = test_plain(path);
  char sql[64];
  int i;
  CHECK_INT(test_sql(db, "PRAGMA page_size = 65536; BEGIN"), SQLITE_OK);
  for (i = 0; i < 256; i++) {
    snprintf(sql, sizeof sql, "CREATE TABLE t%d (x)", i);
    CHECK_INT(test_sql(db, sql), SQLITE_OK);
  }
  CHECK_INT(test_sql(db, "COMMIT"), SQLITE_OK);
  sqlite3_close(db);
  CHECK(refused_by_all(path, CUSTMEM_OTHER_APPLICATION));
}

/* The header of the file is of the version before; its WAL has the newer one. */
TEST(a_newer_version_in_the_wal_is_refused) {
  const char *path = scratch("newer-wal.db");
  REQUIRE(make_store(path));
  CHECK(die_after(path, "PRAGMA user_version = 2"));
  CHECK(exists_beside(path, "-wal"));
  CHECK(refused(path, NULL, CUSTMEM_NEWER));
  CHECK(die_after(path, "PRAGMA user_version = 0"));
  CHECK(refused(path, NULL, CUSTMEM_SCHEMA));
  CHECK(die_after(path, "PRAGMA application_id = 7; PRAGMA user_version = 1"));
  CHECK(refused(path, NULL, CUSTMEM_OTHER_APPLICATION));
  CHECK(die_after(path, "PRAGMA application_id = 0; PRAGMA user_version = 5"));
  CHECK(refused(path, NULL, CUSTMEM_OTHER_APPLICATION));
}

/* A file system without shared memory, such as some network ones: no WAL, but for one who is alone. */
static int (*open_with_memory)(sqlite3_vfs *, const char *, sqlite3_file *, int, int *);
static sqlite3_io_methods without_memory;

static int open_without_memory(
  sqlite3_vfs *vfs,
  const char *name,
  sqlite3_file *file,
  int flags,
  int *out_flags
) {
  int rc = open_with_memory(vfs, name, file, flags, out_flags);
  if (rc == SQLITE_OK && (flags & SQLITE_OPEN_MAIN_DB) != 0) {
    without_memory = *file->pMethods;
    without_memory.iVersion = 1;
    file->pMethods = &without_memory;
  }
  return rc;
}

TEST(a_file_system_without_wal_is_refused) {
  const char *path = scratch("nowal.db");
  char message[CUSTMEM_MESSAGE_MAX + 1];
  sqlite3_vfs *original = sqlite3_vfs_find(NULL), vfs = *original;
  custmem *store = NULL;
  custmem_options options;
  open_with_memory = original->xOpen;
  vfs.zName = "without-memory";
  vfs.xOpen = open_without_memory;
  REQUIRE(sqlite3_vfs_register(&vfs, 1) == SQLITE_OK);
  test_options(&options);
  CHECK_INT(open_with(path, &options, message, &store), CUSTMEM_IO);
  CHECK_TEXT(message, "the file system does not support WAL");
  CHECK(store == NULL);
  options.exclusive = 1;
  CHECK_INT(open_with(path, &options, message, &store), CUSTMEM_OK);
  CHECK(fill(store));
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  CHECK_INT(sqlite3_vfs_unregister(&vfs), SQLITE_OK);
}

/* ---- What the sources make of a store ---------------------------------------------------- */

TEST(a_store_has_the_id_and_the_time_that_its_sources_give) {
  static const char *const paths[] = {NULL, "sources.db"};
  custmem_info infos[2];
  size_t i;
  for (i = 0; i < COUNT(paths); i++) {
    custmem *store;
    test_sources_reset();
    store = test_store(paths[i] != NULL ? scratch(paths[i]) : NULL);
    REQUIRE(store != NULL);
    CHECK_INT(custmem_store_info(store, &infos[i]), CUSTMEM_OK);
    CHECK_INT(custmem_close(store), CUSTMEM_OK);
    CHECK_INT(infos[i].created_at_ms, INT64_C(1750000000000));
    CHECK_INT(infos[i].id[14], '7');
    CHECK_INT(strncmp(infos[i].id, "01977420-dc00-7", 15), 0); /* the time, in 48 bits */
  }
  CHECK_TEXT(infos[1].id, infos[0].id);
}

/* The second try at a sealed file may fail, too; each file that is opened, in its turn. */
static int body_of_failing_sealed(const char *directory) {
  char path[NAME_SIZE];
  int good, fired = 1, n;
  snprintf(path, sizeof path, "%s/store.db", directory);
  good = make_store(path) && set_read_only_media(directory, path, 1);
  good = CHECK_INT(vfs_shim_install(), SQLITE_OK) && good;
  for (n = 1; fired && n < 20; n++) {
    char message[CUSTMEM_MESSAGE_MAX + 1];
    vfs_shim_fault fault = {
      VFS_SHIM_BIT(VFS_SHIM_OPEN) | VFS_SHIM_BIT(VFS_SHIM_CREATE),
      VFS_SHIM_ALL,
      1,
      0,
      SQLITE_PERM,
      0};
    custmem_options options;
    custmem *store = NULL;
    int rc;
    fault.nth = n;
    test_options(&options);
    options.read_only = 1;
    vfs_shim_fail(&fault);
    rc = open_with(path, &options, message, &store);
    fired = vfs_shim_fired() > 0;
    vfs_shim_fail(NULL);
    if (store != NULL) good = read_everything(store) && good;
    if (store != NULL) custmem_close(store);
    good = CHECK(rc == CUSTMEM_OK || (fired && rc == CUSTMEM_PERMISSION)) && good;
    good = CHECK((rc == CUSTMEM_OK) == (store != NULL)) && good;
    good = CHECK_INT(vfs_shim_open_files(), 0) && good;
  }
  good = CHECK(!fired && n > 3) && good;
  vfs_shim_remove();
  return set_read_only_media(directory, path, 0) && good;
}

TEST(a_sealed_file_that_cannot_be_opened_is_refused) {
  CHECK(in_child(body_of_failing_sealed, open_directory("sealedfail"), 1));
}

/* A copy is our own file: what SQLite says of it is what the store's pages are, or what the disk did. */
TEST(a_backup_whose_copy_fails_says_why_and_leaves_nothing) {
  static const struct {
    int sqlite, code;
  } cases[] = {
    {SQLITE_READONLY, CUSTMEM_CORRUPT},
    {SQLITE_NOTADB, CUSTMEM_CORRUPT},
    {SQLITE_FULL, CUSTMEM_FULL},
    {SQLITE_PERM, CUSTMEM_PERMISSION},
  };
  const char *path = scratch("copied.db"), *copy = scratch("failed-copy.db");
  custmem *store;
  size_t i;
  REQUIRE(vfs_shim_install() == SQLITE_OK);
  store = test_store(path);
  CHECK(fill(store));
  for (i = 0; i < COUNT(cases); i++) {
    vfs_shim_fault fault = {
      VFS_SHIM_BIT(VFS_SHIM_OPEN) | VFS_SHIM_BIT(VFS_SHIM_CREATE), VFS_SHIM_ALL, 1, 0, 0, 0};
    fault.code = cases[i].sqlite;
    vfs_shim_fail(&fault);
    CHECK_INT(custmem_backup(store, copy), cases[i].code);
    CHECK_INT(vfs_shim_fired(), 1);
    vfs_shim_fail(NULL);
    CHECK(!exists(copy));
  }
  meddle.fchmod_error = EIO;
  CHECK_INT(custmem_backup(store, copy), CUSTMEM_IO);
  meddle = NO_MEDDLING;
  CHECK(!exists(copy));
  CHECK_INT(custmem_backup(store, copy), CUSTMEM_OK);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  vfs_shim_remove();
}

/* ---- What SQLite may say ----------------------------------------------------------------- */

TEST(every_code_of_sqlite_has_one_of_custmem) {
  static const struct {
    int sqlite, code;
  } cases[] = {
    {SQLITE_BUSY, CUSTMEM_BUSY},
    {SQLITE_LOCKED, CUSTMEM_BUSY},
    {SQLITE_PROTOCOL, CUSTMEM_BUSY},
    {SQLITE_BUSY_RECOVERY, CUSTMEM_BUSY},
    {SQLITE_FULL, CUSTMEM_FULL},
    {SQLITE_READONLY, CUSTMEM_READONLY},
    {SQLITE_IOERR, CUSTMEM_IO},
    {SQLITE_IOERR_NOMEM, CUSTMEM_NOMEM},
    {SQLITE_CANTOPEN, CUSTMEM_IO},
    {SQLITE_PERM, CUSTMEM_PERMISSION},
    {SQLITE_NOMEM, CUSTMEM_NOMEM},
    {SQLITE_CORRUPT, CUSTMEM_CORRUPT},
    {SQLITE_TOOBIG, CUSTMEM_CORRUPT},
    {SQLITE_NOTADB, CUSTMEM_NOT_A_DATABASE},
    {SQLITE_CONSTRAINT, CUSTMEM_CONSTRAINT},
    {SQLITE_INTERRUPT, CUSTMEM_INTERRUPTED},
    {SQLITE_ERROR, CUSTMEM_SCHEMA},
    {SQLITE_SCHEMA, CUSTMEM_SCHEMA},
    {SQLITE_NOLFS, CUSTMEM_INTERNAL},
  };
  const char *path = scratch("codes.db");
  size_t i;
  REQUIRE(make_store(path));
  REQUIRE(vfs_shim_install() == SQLITE_OK);
  for (i = 0; i < COUNT(cases); i++) {
    vfs_shim_fault fault = {
      VFS_SHIM_BIT(VFS_SHIM_OPEN) | VFS_SHIM_BIT(VFS_SHIM_CREATE), VFS_SHIM_ALL, 1, 0, 0, 0};
    fault.code = cases[i].sqlite;
    vfs_shim_fail(&fault);
    if (!CHECK(refused(path, NULL, cases[i].code))) printf("  code %d\n", cases[i].sqlite);
    CHECK_INT(vfs_shim_fired(), 1);
    vfs_shim_fail(NULL);
  }
  {
    vfs_shim_fault no_size = {
      VFS_SHIM_BIT(VFS_SHIM_FILE_SIZE), VFS_SHIM_ALL, 1, 0, SQLITE_IOERR_FSTAT, 0};
    vfs_shim_fail(&no_size);
    CHECK(refused(path, NULL, CUSTMEM_IO));
    CHECK_INT(vfs_shim_fired(), 1);
    vfs_shim_fail(NULL);
  }
  vfs_shim_remove();
  CHECK_INT(custmem_close(test_store(path)), CUSTMEM_OK);
}

TEST(without_any_memory_opening_says_so) {
  char message[CUSTMEM_MESSAGE_MAX + 1];
  custmem *store = (custmem *)message;
  custmem_options options;
  sqlite3_int64 limit = sqlite3_hard_heap_limit64(1);
  test_options(&options);
  CHECK_INT(open_with(":memory:", &options, message, &store), CUSTMEM_NOMEM);
  CHECK_TEXT(message, custmem_strerror(CUSTMEM_NOMEM));
  CHECK(store == NULL);
  CHECK_INT(custmem_open(":memory:", NULL, &store), CUSTMEM_NOMEM);
  sqlite3_hard_heap_limit64(limit);
  CHECK_INT(open_with(":memory:", &options, message, &store), CUSTMEM_OK);
  CHECK_TEXT(message, "");
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* The heap's limit is raised step by step, until a second store in memory (which copies the first one's
** pages) can be opened: each time before it is refused, and nothing is left. */
TEST(a_second_store_in_memory_opens_or_says_that_there_is_no_memory) {
  enum { STEP = 256, STEPS = 8192 };
  sqlite3_int64 used, limit = sqlite3_hard_heap_limit64(-1);
  custmem *first = test_store(NULL), *second = NULL;
  custmem_options options;
  int step, rc = CUSTMEM_NOMEM;
  test_options(&options);
  used = sqlite3_memory_used();
  for (step = 0; step < STEPS && rc == CUSTMEM_NOMEM; step++) {
    sqlite3_hard_heap_limit64(used + 1 + (sqlite3_int64)step * STEP);
    rc = custmem_open(":memory:", &options, &second);
    if (rc != CUSTMEM_OK) CHECK_INT(sqlite3_memory_used(), used);
  }
  sqlite3_hard_heap_limit64(limit);
  CHECK_INT(rc, CUSTMEM_OK);
  CHECK(step > 20);
  CHECK(fill(second));
  CHECK_INT(custmem_close(second), CUSTMEM_OK);
  CHECK_INT(custmem_close(first), CUSTMEM_OK);
}

/* ---- A store that becomes another one while it is open ----------------------------------- */

/* Whoever can write the file takes the trigger away, changes the row, and puts the trigger back. */
static void change_store_row(const char *path, const char *change) {
  sqlite3 *db = test_plain(path);
  char trigger[512];
  snprintf(
    trigger, sizeof trigger, "%s",
    test_sql_text(db, "SELECT sql FROM sqlite_schema WHERE name = 'store_update'")
  );
  CHECK_INT(test_sql(db, "BEGIN; DROP TRIGGER store_update"), SQLITE_OK);
  CHECK_INT(test_sql(db, change), SQLITE_OK);
  CHECK_INT(test_sql(db, trigger), SQLITE_OK);
  CHECK_INT(test_sql(db, "COMMIT"), SQLITE_OK);
  sqlite3_close(db);
}

TEST(a_store_that_says_that_it_is_another_one_is_found_by_the_check) {
  static const char *const changes[] = {
    "UPDATE store SET id = '00000000-0000-4000-8000-000000000000'",
    "UPDATE store SET created_at = created_at + 1",
    "UPDATE store SET rules_version = rules_version + 1",
  };
  const char *path = scratch("another.db");
  size_t i;
  for (i = 0; i < COUNT(changes); i++) {
    custmem_report report;
    custmem *store;
    REQUIRE(make_store(path));
    store = test_store(path);
    REQUIRE(store != NULL);
    CHECK_INT(custmem_check(store, &report), CUSTMEM_OK);
    change_store_row(path, changes[i]);
    CHECK_INT(custmem_check(store, &report), CUSTMEM_BROKEN);
    CHECK_INT(report.fault, CUSTMEM_FAULT_STORE);
    CHECK_INT(report.seq, 0);
    CHECK_INT(custmem_close(store), CUSTMEM_OK);
  }
}

/* ---- A backup of many pages -------------------------------------------------------------- */

static struct {
  custmem *store;
  int64_t reads;
} interrupted;

static void interrupt_on_read(int op, int kind, void *ctx) {
  (void)kind, (void)ctx;
  if (op == VFS_SHIM_READ && ++interrupted.reads == 100) custmem_interrupt(interrupted.store);
}

/* An interrupt is looked for between two portions of pages; what was copied goes away. */
TEST(a_long_backup_can_be_interrupted) {
  const char *path = scratch("long.db"), *copy = scratch("long-copy.db");
  char context[CUSTMEM_CONTEXT_MAX + 1];
  custmem_actor ada = test_human("ada");
  custmem_report report;
  custmem *store;
  int i, rc = CUSTMEM_OK;
  memset(context, 'x', CUSTMEM_CONTEXT_MAX);
  context[CUSTMEM_CONTEXT_MAX] = '\0';
  REQUIRE(vfs_shim_install() == SQLITE_OK);
  vfs_shim_hurry(1);
  store = test_store(path);
  CHECK(fill(store));
  for (i = 0; i < 400 && rc == CUSTMEM_OK; i++)
    rc = custmem_relink(
      store, &ada, "c1", i % 2 == 0 ? ids.anna : ids.ben, i % 2 == 0 ? ids.ben : ids.anna,
      "because", -1, context, -1, NULL
    );
  CHECK_INT(rc, CUSTMEM_OK);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  store = test_store(path); /* whose pages are still to be read */
  REQUIRE(store != NULL);
  interrupted.store = store;
  interrupted.reads = 0;
  vfs_shim_watch(interrupt_on_read, NULL);
  CHECK_INT(custmem_backup(store, copy), CUSTMEM_INTERRUPTED);
  CHECK_TEXT(custmem_errmsg(store), "the call was interrupted: interrupted");
  vfs_shim_watch(NULL, NULL);
  CHECK(interrupted.reads >= 100 && interrupted.reads < 300);
  CHECK(!exists(copy));
  CHECK(!exists_beside(copy, "-journal"));
  CHECK_INT(custmem_backup(store, copy), CUSTMEM_OK);
  CHECK(test_file_size(copy) > INT64_C(256) * 4096);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  store = open_read_only(copy);
  CHECK_INT(custmem_check(store, &report), CUSTMEM_OK);
  CHECK_INT(report.events, 403);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  vfs_shim_hurry(0);
  vfs_shim_remove();
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  RUN(what_is_not_a_database_is_refused, "D-2; D-8");
  RUN(another_applications_database_is_refused, "D-2; D-8");
  RUN(another_applications_wal_is_left_alone, "D-2; D-8");
  RUN(a_first_page_with_tables_is_another_applications, "D-8");
  RUN(what_the_first_page_says_is_refused_before_a_wal_is_looked_at, "D-8");
  RUN(another_applications_hot_journal_is_left_alone, "D-2; D-8");
  RUN(a_newer_version_is_refused, "D-2; D-8");
  RUN(an_altered_schema_is_refused, "D-2; D-8");
  RUN(what_is_strange_in_a_schema_is_named, "D-8");
  RUN(marks_that_go_while_a_store_is_open_are_found_by_check, "D-2; D-8");
  RUN(a_store_that_lost_its_mark_is_another_applications, "D-2; D-8");
  RUN(the_mark_alone_makes_no_store, "D-2; D-8");
  RUN(another_rule_set_is_refused, "D-1; D-2; CM-1 §4.1");
  RUN(a_store_that_does_not_say_what_it_is_is_refused, "D-8");
  RUN(an_empty_database_in_utf16_is_refused, "D-2; D-8");
  RUN(a_utf16_store_is_refused, "D-2; D-8");
  RUN(what_is_not_a_file_is_refused, "D-8");
  RUN(a_symbolic_link_is_refused, "D-8");
  RUN(a_hard_link_is_refused, "D-8");
  RUN(a_path_that_leads_nowhere_is_refused, "D-8");
  RUN(a_read_only_handle_makes_no_store, "D-8");
  RUN(a_path_that_is_no_text_is_refused, "D-8");
  RUN(a_path_at_the_limit_works, "D-8");
  RUN(options_of_an_unknown_size_are_refused, "D-8");
  RUN(a_message_is_cut_to_its_buffer, "D-8");
  RUN(missing_permissions_are_refused, "D-8");
  RUN(a_path_is_taken_literally, "D-8");
  RUN(a_relative_path_works, "D-8");
  RUN(a_directory_may_be_a_symbolic_link, "D-8");
  RUN(an_empty_file_becomes_a_store, "D-8");
  RUN(the_files_are_the_owners_alone_under_any_umask, "D-8");
  RUN(every_store_in_memory_is_as_schema_sql_makes_it, "D-2; D-8");
  RUN(memory_stores_are_apart_and_make_no_file, "D-8");
  RUN(a_new_store_is_a_wal_database_of_its_own_kind, "D-2; D-8");
  RUN(a_torn_first_page_is_recovered_from_the_wal, "D-8");
  RUN(an_empty_file_beside_a_wal_is_refused, "D-8");
  RUN(a_store_that_is_finished_while_its_wal_is_looked_at_is_opened, "D-8");
  RUN(an_empty_file_is_refused_where_its_wal_cannot_be_looked_at, "D-8");
  RUN(garbage_beside_a_short_wal_or_journal_is_no_database, "D-8");
  RUN(a_killed_process_loses_nothing, "D-8; CM-2.3 §6");
  RUN(reopening_keeps_everything, "D-8");
  RUN(processes_that_make_one_file_at_once_get_one_store, "D-2; D-8");
  RUN(an_exclusive_store_shuts_others_out, "D-8");
  RUN(a_lock_that_stays_is_busy_within_the_timeout, "D-5; CM-2.3 §7");
  RUN(a_lock_that_stays_is_waited_for_as_long_as_the_options_say, "D-5; D-8");
  RUN(opening_waits_as_long_as_the_options_say, "D-8");
  RUN(a_lock_that_goes_away_is_waited_for, "D-5; CM-2.3 §7");
  RUN(a_locked_empty_file_is_busy, "D-5; D-8");
  RUN(a_read_only_handle_reads_and_changes_no_byte, "D-8; CM-2.1 §3; T3");
  RUN(a_read_only_handle_reads_a_left_over_wal_and_leaves_it, "D-8");
  RUN(a_read_only_handle_sees_what_a_writer_writes, "D-8");
  RUN(a_reader_that_may_not_recover_says_so, "CM-2.1 §5; D-8");
  RUN(a_read_only_handle_works_on_read_only_media, "D-8");
  RUN(a_left_over_wal_on_read_only_media_is_never_ignored, "D-8; CM-2.1 §5");
  RUN(a_planted_link_is_never_written_through, "D-8");
  RUN(a_planted_file_in_the_place_of_a_wal_hides_nothing, "D-8");
  RUN(a_clock_may_stand_still_go_back_and_jump, "D-7; D-8");
  RUN(a_clock_that_gives_nonsense_stops_the_write, "D-8; CM-2.3 §7");
  RUN(a_random_source_that_fails_stops_the_write, "D-8; CM-2.3 §7");
  RUN(a_random_source_that_repeats_itself_overwrites_nobody, "D-8; CM-1 §4.1");
  RUN(a_handle_is_refused_after_fork, "D-8");
  RUN(closing_nothing_is_fine_and_nothing_has_a_message, "D-8");
  RUN(a_backup_is_a_complete_store, "D-8");
  RUN(any_handle_can_be_backed_up, "D-8");
  RUN(a_backup_opens_where_it_lies_on_read_only_media, "D-8");
  RUN(a_backup_overwrites_nothing, "D-8");
  RUN(a_backup_needs_permission, "D-8");
  RUN(a_backup_while_others_write_is_of_one_moment, "D-8");
  RUN(a_sound_store_is_counted, "D-8");
  RUN(
    the_check_finds_what_was_tampered_with,
    "D-7; D-8; CM-1 §4.1; CM-2.3 §4.2; CM-2.3 §9; CM-2.5"
  );
  RUN(the_check_finds_a_damaged_index, "D-8");
  RUN(verify_finds_an_index_that_lacks_a_row, "CM-2.5; D-7; D-8");
  RUN(the_check_finds_a_customer_that_no_call_makes, "D-8; CM-1 §2.1");
  RUN(what_the_system_says_of_a_new_file_is_told_apart, "D-8");
  RUN(a_link_that_is_put_in_between_is_not_followed, "D-8");
  RUN(a_store_that_appears_in_between_is_opened, "D-8");
  RUN(a_store_that_is_made_before_the_lock_is_had_is_kept, "D-8");
  RUN(the_systems_clock_is_told_in_unix_milliseconds, "D-2; D-8");
  RUN(the_systems_clock_may_fail, "D-8");
  RUN(only_what_nobody_can_write_is_read_without_its_wal, "D-8");
  RUN(a_path_at_its_limit_is_as_good_as_any, "D-8");
  RUN(what_nobody_can_write_is_read_whatever_a_wal_fails_with, "D-8");
  RUN(an_altered_store_on_read_only_media_is_refused, "D-8");
  RUN(a_directory_is_no_store_however_it_is_called, "D-8");
  RUN(a_file_of_the_root_directory_has_one_slash, "D-8");
  RUN(a_relative_path_is_as_long_as_the_whole_one, "D-8");
  RUN(a_name_may_be_of_one_character_and_begin_with_dots, "D-8");
  RUN(a_process_without_an_input_makes_stores_and_no_descriptor_is_left, "D-8");
  RUN(a_name_that_leaves_no_room_for_a_wal_is_refused, "D-8");
  RUN(a_reader_keeps_nobody_out, "D-8");
  RUN(a_database_of_256_tables_is_another_applications, "D-8");
  RUN(a_newer_version_in_the_wal_is_refused, "D-8");
  RUN(a_file_system_without_wal_is_refused, "D-8");
  RUN(a_store_has_the_id_and_the_time_that_its_sources_give, "D-8");
  RUN(a_sealed_file_that_cannot_be_opened_is_refused, "D-8");
  RUN(a_backup_whose_copy_fails_says_why_and_leaves_nothing, "D-8");
  RUN(every_code_of_sqlite_has_one_of_custmem, "D-8");
  RUN(without_any_memory_opening_says_so, "D-8");
  RUN(a_second_store_in_memory_opens_or_says_that_there_is_no_memory, "D-8");
  RUN(a_store_that_says_that_it_is_another_one_is_found_by_the_check, "D-2; D-8");
  RUN(a_long_backup_can_be_interrupted, "D-8");
  return test_report();
}
