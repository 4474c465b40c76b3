/* SPDX-License-Identifier: MIT */
#define _XOPEN_SOURCE 700

#include "test.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_SIZE  512
#define PATHS      8
#define CUSTOMERS  16
#define TEXT_SIZE  4096
#define FNV_OFFSET UINT64_C(14695981039346656037)
#define FNV_PRIME  UINT64_C(1099511628211)

static struct {
  const char *program;
  char **only;
  int only_count;
  int list;
  const char *running;
  int64_t tests, checks, failed_checks, failed_tests;
  char directory[PATH_SIZE / 2];
  char sql_error[512];
  int64_t clock_ms;
  uint64_t seed;
} state;

/* ---- Checks -------------------------------------------------------------------------------- */

static void failed(const char *file, int line) {
  state.failed_checks++;
  printf("%s:%d: %s: ", file, line, state.running);
}

int test_check(const char *file, int line, const char *what, int holds) {
  state.checks++;
  if (!holds) {
    failed(file, line);
    printf("does not hold: %s\n", what);
  }
  return holds;
}

int test_check_int(const char *file, int line, const char *what, int64_t got, int64_t want) {
  state.checks++;
  if (got != want) {
    failed(file, line);
    printf("%s is %" PRId64 ", not %" PRId64 "\n", what, got, want);
  }
  return got == want;
}

int test_check_text(
  const char *file,
  int line,
  const char *what,
  const char *got,
  const char *want
) {
  int equal = got != NULL && strcmp(got, want) == 0;
  state.checks++;
  if (!equal) {
    failed(file, line);
    printf("%s is \"%s\", not \"%s\"\n", what, got != NULL ? got : "(NULL)", want);
  }
  return equal;
}

int test_check_has(
  const char *file,
  int line,
  const char *what,
  const char *got,
  const char *part
) {
  int has = got != NULL && strstr(got, part) != NULL;
  state.checks++;
  if (!has) {
    failed(file, line);
    printf("%s is \"%s\", without \"%s\"\n", what, got != NULL ? got : "(NULL)", part);
  }
  return has;
}

/* ---- Running ------------------------------------------------------------------------------- */

void test_init(int argc, char **argv) {
  const char *slash = strrchr(argv[0], '/');
  setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
  state.program = slash != NULL ? slash + 1 : argv[0];
  state.list = argc > 1 && strcmp(argv[1], "--list") == 0;
  state.only = argv + 1;
  state.only_count = state.list ? 0 : argc - 1;
}

static int wanted(const char *name) {
  int i;
  for (i = 0; i < state.only_count; i++)
    if (strcmp(state.only[i], name) == 0) return 1;
  return state.only_count == 0;
}

void test_run(const char *name, const char *rule, void (*test)(void)) {
  int64_t failed_before = state.failed_checks;
  int64_t checks_before = state.checks;
  if (state.list) printf("%s\t%s\t%s\n", state.program, name, rule);
  if (state.list || !wanted(name)) return;
  state.running = name;
  test_sources_reset();
  test();
  state.tests++;
  if (state.checks == checks_before) {
    failed(__FILE__, __LINE__);
    printf("the test checked nothing\n");
  }
  if (state.failed_checks > failed_before) state.failed_tests++;
}

static void remove_directory(void) {
  char command[PATH_SIZE];
  snprintf(command, sizeof command, "rm -rf '%s'", state.directory);
  if (state.directory[0] != '\0' && system(command) != 0)
    fprintf(stderr, "%s is left\n", state.directory);
}

int test_report(void) {
  if (state.list) return 0;
  remove_directory();
  if (state.tests == 0) {
    printf("%s: no test of that name\n", state.program);
    return 1;
  }
  printf(
    "%-20s %4" PRId64 " passed, %" PRId64 " failed  (%" PRId64 " checks)\n", state.program,
    state.tests - state.failed_tests, state.failed_tests, state.checks
  );
  return state.failed_tests > 0;
}

/* ---- Campaigns ----------------------------------------------------------------------------- */

uint64_t test_setting(const char *variable, uint64_t otherwise) {
  const char *value = getenv(variable);
  return value != NULL && value[0] != '\0' ? strtoull(value, NULL, 10) : otherwise;
}

int test_is_full(void) {
  const char *size = getenv("CUSTMEM_FAULTS");
  return size != NULL && strcmp(size, "all") == 0;
}

uint64_t test_seed(void) {
  return test_setting("CUSTMEM_SEED", 20250615);
}

/* ---- Scratch files ------------------------------------------------------------------------- */

const char *test_path(const char *name) {
  static char paths[PATHS][PATH_SIZE];
  static unsigned next;
  char *path = paths[next++ % PATHS];
  if (state.directory[0] == '\0') {
    const char *parent = getenv("TMPDIR");
    snprintf(
      state.directory, sizeof state.directory, "%s/custmem-test-XXXXXX",
      parent != NULL ? parent : "/tmp"
    );
    if (mkdtemp(state.directory) == NULL) {
      perror("mkdtemp");
      exit(1);
    }
  }
  snprintf(path, PATH_SIZE, "%s/%s", state.directory, name);
  return path;
}

static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t size) {
  const unsigned char *at = bytes;
  size_t i;
  for (i = 0; i < size; i++)
    hash = (hash ^ at[i]) * FNV_PRIME;
  return hash;
}

int64_t test_file_size(const char *path) {
  struct stat status;
  return stat(path, &status) == 0 ? (int64_t)status.st_size : -1;
}

uint64_t test_file_hash(const char *path) {
  char buffer[65536];
  uint64_t hash = FNV_OFFSET;
  size_t got;
  FILE *file = fopen(path, "rb");
  if (file == NULL) return 0;
  while ((got = fread(buffer, 1, sizeof buffer, file)) > 0)
    hash = hash_bytes(hash, buffer, got);
  fclose(file);
  return hash;
}

int test_file_write(const char *path, const void *bytes, size_t size) {
  FILE *file = fopen(path, "wb");
  int good = file != NULL && fwrite(bytes, 1, size, file) == size;
  if (file != NULL && fclose(file) != 0) good = 0;
  return good;
}

size_t test_file_load(const char *path, unsigned char **bytes, size_t *capacity) {
  FILE *file = fopen(path, "rb");
  size_t size = 0, got;
  if (file == NULL) return 0;
  do {
    if (*capacity < size + 65536) {
      *capacity = 2 * size + 65536;
      *bytes = realloc(*bytes, *capacity);
      if (*bytes == NULL) abort();
    }
    got = fread(*bytes + size, 1, *capacity - size, file);
    size += got;
  } while (got > 0);
  fclose(file);
  return size;
}

const char *test_beside(const char *path, const char *suffix) {
  static char names[4][PATH_SIZE];
  static unsigned next;
  char *name = names[next++ % 4];
  snprintf(name, PATH_SIZE, "%s%s", path, suffix);
  return name;
}

void test_store_remove(const char *path) {
  unlink(path);
  unlink(test_beside(path, "-wal"));
  unlink(test_beside(path, "-journal"));
  unlink(test_beside(path, "-shm"));
}

void test_store_copy(const char *from, const char *to) {
  static const char *const suffixes[] = {"", "-wal", "-journal"};
  static unsigned char *bytes;
  static size_t capacity;
  size_t i;
  test_store_remove(to);
  for (i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
    const char *name = test_beside(from, suffixes[i]);
    size_t size = test_file_load(name, &bytes, &capacity);
    if (access(name, F_OK) == 0 && !test_file_write(test_beside(to, suffixes[i]), bytes, size))
      abort();
  }
}

/* ---- Stores -------------------------------------------------------------------------------- */

uint64_t test_random(uint64_t *seed) {
  uint64_t x = (*seed += UINT64_C(0x9e3779b97f4a7c15));
  x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
  return x ^ (x >> 31);
}

static int64_t clock_now(void *ctx) {
  (void)ctx;
  return state.clock_ms += 1000;
}

static int seeded_bytes(uint8_t *bytes, size_t size, void *ctx) {
  size_t i;
  (void)ctx;
  for (i = 0; i < size; i++)
    bytes[i] = (uint8_t)test_random(&state.seed);
  return 0;
}

void test_sources_reset(void) {
  state.clock_ms = INT64_C(1750000000000) - 1000;
  state.seed = 1;
}

void test_options(custmem_options *options) {
  custmem_options_init(options);
  options->now_ms = clock_now;
  options->random = seeded_bytes;
}

static int64_t clock_of(void *now_ms) {
  return *(const int64_t *)now_ms;
}

void test_clock(custmem_options *options, int64_t *now_ms) {
  options->now_ms = clock_of;
  options->source_ctx = now_ms;
}

static custmem *open_or_say(const char *path, custmem_options *options) {
  custmem *store = NULL;
  char message[CUSTMEM_MESSAGE_MAX + 1] = "";
  int rc;
  options->message = message;
  options->message_size = sizeof message;
  rc = custmem_open(path, options, &store);
  if (rc != CUSTMEM_OK) printf("cannot open: %s: %s\n", custmem_code_name(rc), message);
  return store;
}

custmem *test_store(const char *path) {
  custmem_options options;
  test_options(&options);
  return open_or_say(path != NULL ? path : ":memory:", &options);
}

custmem *test_store_at(const char *path, int64_t *now_ms) {
  custmem_options options;
  test_options(&options);
  test_clock(&options, now_ms);
  return open_or_say(path, &options);
}

static sqlite3 *caught;

static int catch_connection(
  sqlite3 *db,
  char **message,
  const struct sqlite3_api_routines *api
) {
  (void)message, (void)api;
  caught = db;
  return SQLITE_OK;
}

custmem *test_store_caught(const char *path, const custmem_options *options, sqlite3 **db) {
  custmem *store = NULL;
  sqlite3_auto_extension((void (*)(void))catch_connection);
  if (options == NULL)
    store = test_store(path);
  else
    custmem_open(path, options, &store);
  sqlite3_cancel_auto_extension((void (*)(void))catch_connection);
  *db = caught;
  return store;
}

static int steps_left;

static int interrupt_in_time(void *db) {
  if (steps_left-- == 0) sqlite3_interrupt(db);
  return 0;
}

void test_interrupt_after(sqlite3 *db, int steps) {
  steps_left = steps;
  sqlite3_progress_handler(db, 1, interrupt_in_time, db);
}

int test_was_interrupted(sqlite3 *db) {
  sqlite3_progress_handler(db, 0, NULL, NULL);
  return steps_left < 0;
}

custmem_actor test_human(const char *instructor_id) {
  static char ids[PATHS][CUSTMEM_ID_MAX + 1];
  static unsigned next;
  custmem_actor actor = {CUSTMEM_ACTOR_HUMAN, NULL, NULL};
  char *id = ids[next++ % PATHS];
  snprintf(id, sizeof ids[0], "human-of-%.50s", instructor_id);
  actor.actor_id = id;
  actor.instructor_id = instructor_id;
  return actor;
}

const char *test_customer(custmem *store, const char *instructor_id, const char *phone) {
  static custmem_customer customers[CUSTOMERS];
  static unsigned next;
  custmem_customer *customer = &customers[next++ % CUSTOMERS];
  custmem_actor actor = test_human(instructor_id);
  int rc = custmem_customer_create(
    store, &actor, "whatsapp", phone, CUSTMEM_NUL_TERMINATED, NULL, 0, customer, NULL
  );
  if (rc != CUSTMEM_OK) printf("cannot create: %s\n", custmem_errmsg(store));
  return customer->id;
}

int test_link(
  custmem *store,
  const char *instructor_id,
  const char *conversation_id,
  const char *customer_id
) {
  custmem_actor actor = test_human(instructor_id);
  return custmem_link(
    store, &actor, conversation_id, customer_id, "known to me", CUSTMEM_NUL_TERMINATED, NULL, 0,
    NULL
  );
}

int test_unlink(
  custmem *store,
  const char *instructor_id,
  const char *conversation_id,
  const char *customer_id
) {
  custmem_actor actor = test_human(instructor_id);
  return custmem_unlink(
    store, &actor, conversation_id, customer_id, "a mistake", CUSTMEM_NUL_TERMINATED, NULL, 0,
    NULL
  );
}

void test_message_about(custmem *store, const char *id, char *message, size_t size) {
  const char *text = custmem_errmsg(store);
  const char *at = strstr(text, id);
  if (at != NULL)
    snprintf(message, size, "%.*s<id>%s", (int)(at - text), text, at + strlen(id));
  else
    snprintf(message, size, "%s", text);
}

/* ---- A plain connection -------------------------------------------------------------------- */

int test_sql(sqlite3 *db, const char *sql) {
  char *message = NULL;
  int rc = sqlite3_exec(db, sql, NULL, NULL, &message);
  snprintf(state.sql_error, sizeof state.sql_error, "%s", message != NULL ? message : "");
  sqlite3_free(message);
  return rc;
}

const char *test_sql_error(void) {
  return state.sql_error;
}

int test_is_equal(const custmem_resolution *left, const custmem_resolution *right) {
  return left->outcome == right->outcome && left->step == right->step &&
         left->why == right->why && left->refusal == right->refusal &&
         left->rules_version == right->rules_version &&
         strcmp(left->customer_id, right->customer_id) == 0 &&
         strcmp(left->normalized_identifier, right->normalized_identifier) == 0 &&
         strcmp(left->event_name, right->event_name) == 0;
}

sqlite3 *test_plain(const char *path) {
  sqlite3 *db = NULL;
  if (sqlite3_open(path, &db) != SQLITE_OK || test_sql(db, "PRAGMA foreign_keys=OFF; PRAGMA recursive_triggers=OFF;") != SQLITE_OK || sqlite3_busy_timeout(db, 5000) != SQLITE_OK) {
    printf("cannot open %s plainly: %s\n", path, sqlite3_errmsg(db));
    exit(1);
  }
  return db;
}

int64_t test_sql_int(sqlite3 *db, const char *sql) {
  sqlite3_stmt *stmt = NULL;
  int64_t value = -1;
  if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) == SQLITE_OK && sqlite3_step(stmt) == SQLITE_ROW)
    value = sqlite3_column_int64(stmt, 0);
  sqlite3_finalize(stmt);
  return value;
}

int test_imposter(sqlite3 *db, const char *index, const char *columns) {
  char sql[512];
  int root, rc;
  snprintf(sql, sizeof sql, "SELECT rootpage FROM sqlite_schema WHERE name = '%s'", index);
  root = (int)test_sql_int(db, sql);
  snprintf(
    sql, sizeof sql, "CREATE TABLE imposter (%s, PRIMARY KEY (%s)) WITHOUT ROWID", columns,
    columns
  );
  sqlite3_test_control(SQLITE_TESTCTRL_IMPOSTER, db, "main", 1, root);
  rc = test_sql(db, sql);
  sqlite3_test_control(SQLITE_TESTCTRL_IMPOSTER, db, "main", 0, 0);
  return rc;
}

const char *test_sql_text(sqlite3 *db, const char *sql) {
  static char texts[PATHS][TEXT_SIZE];
  static unsigned next;
  char *text = texts[next++ % PATHS];
  sqlite3_stmt *stmt = NULL;
  const char *column = NULL;
  if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) == SQLITE_OK && sqlite3_step(stmt) == SQLITE_ROW)
    column = (const char *)sqlite3_column_text(stmt, 0);
  snprintf(text, TEXT_SIZE, "%s", column != NULL ? column : "");
  sqlite3_finalize(stmt);
  return text;
}

uint64_t test_rows(const char *path) {
  static const char *const tables[] = {
    "SELECT * FROM store", "SELECT * FROM customers ORDER BY id",
    "SELECT * FROM conversation_links ORDER BY conversation_id",
    "SELECT * FROM audit_events ORDER BY instructor_id, seq"};
  sqlite3 *db = test_plain(path);
  uint64_t hash = FNV_OFFSET;
  size_t i;
  for (i = 0; i < sizeof tables / sizeof tables[0]; i++) {
    sqlite3_stmt *stmt = NULL;
    hash = hash_bytes(hash, tables[i], strlen(tables[i]));
    if (sqlite3_prepare_v2(db, tables[i], -1, &stmt, NULL) != SQLITE_OK)
      printf("cannot read %s: %s\n", path, sqlite3_errmsg(db));
    while (sqlite3_step(stmt) == SQLITE_ROW) {
      int column;
      for (column = 0; column < sqlite3_column_count(stmt); column++) {
        int type = sqlite3_column_type(stmt, column);
        const void *bytes = sqlite3_column_blob(stmt, column);
        int size = sqlite3_column_bytes(stmt, column);
        hash = hash_bytes(hash, &type, sizeof type);
        hash = hash_bytes(hash, &size, sizeof size);
        if (size > 0) hash = hash_bytes(hash, bytes, (size_t)size);
      }
    }
    sqlite3_finalize(stmt);
  }
  sqlite3_close(db);
  return hash;
}
