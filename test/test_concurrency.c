/* SPDX-License-Identifier: MIT
**
** Several processes and several threads on one file, each with a handle of its own: reads go on,
** no update is lost, waiting ends, and what was acknowledged survives a killed writer.
**
** Each worker runs as a process and as a thread. A worker checks nothing itself: it appends what it
** met to a log, and gives 0 or the number of the line it failed at; the test looks at both when all
** are done.
*/
#define _XOPEN_SOURCE 700

#include "test.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define COUNT_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))
#define PATH_SIZE       512
#define INSTRUCTOR      "instructor-1"
#define CONVERSATION    "conversation-1"

enum {
  WORKERS = 4,
  CUSTOMERS = 5,
  ATTEMPTS = 30,
  CONVERSATIONS = 10,
  MOST_EVENTS = 2000,
  PATIENT_MS =
    30000 /* longer than any test: a worker that waits so long has been left to starve */
};

enum kind { PROCESSES, THREADS, KINDS };

struct worker {
  const char *path;
  char (*customers)[CUSTMEM_UUID_SIZE + 1];
  int (*work)(const struct worker *);
  int number;
  int log; /* a file open for appending */
  pid_t process;
  pthread_t thread;
  int failed_at;
};

/* What one call of a worker came to. */
struct record {
  int32_t worker, attempt, rc, created;
  int64_t seq;
  char from[CUSTMEM_UUID_SIZE + 1];
  char to[CUSTMEM_UUID_SIZE + 1];
  char current[CUSTMEM_UUID_SIZE + 1];
};

static const custmem_actor ME = {CUSTMEM_ACTOR_HUMAN, "user-7", INSTRUCTOR};

static int64_t elapsed_ms(const struct timespec *since) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)(now.tv_sec - since->tv_sec) * 1000 +
         (now.tv_nsec - since->tv_nsec) / 1000000;
}

/* ---- Workers ------------------------------------------------------------------------------- */

static custmem *open_waiting(const char *path, int32_t busy_timeout_ms) {
  custmem_options options;
  custmem *store = NULL;
  custmem_options_init(&options);
  options.busy_timeout_ms = busy_timeout_ms;
  return custmem_open(path, &options, &store) == CUSTMEM_OK ? store : NULL;
}

static void *as_thread(void *worker) {
  struct worker *me = worker;
  me->failed_at = me->work(me);
  return NULL;
}

static void start(enum kind kind, struct worker *worker) {
  if (kind == THREADS) {
    CHECK_INT(pthread_create(&worker->thread, NULL, as_thread, worker), 0);
    return;
  }
  worker->process = fork();
  if (worker->process == 0) _exit(worker->work(worker) == 0 ? 0 : 1);
  CHECK(worker->process > 0);
}

static void finish(enum kind kind, struct worker *worker) {
  int status = 1;
  if (kind == THREADS) {
    CHECK_INT(pthread_join(worker->thread, NULL), 0);
    CHECK_INT(worker->failed_at, 0);
    return;
  }
  CHECK_INT(waitpid(worker->process, &status, 0), worker->process);
  CHECK_INT(status, 0);
}

/* Runs workers side by side until all are done. work[i % kinds] is the work of worker i. */
static void run_all(
  enum kind kind,
  struct worker *workers,
  int count,
  int (*const *work)(const struct worker *),
  int kinds
) {
  int i;
  for (i = 0; i < count; i++) {
    workers[i].number = i;
    workers[i].work = work[i < kinds ? i : kinds - 1];
    start(kind, &workers[i]);
  }
  for (i = 0; i < count; i++)
    finish(kind, &workers[i]);
}

static int note(const struct worker *me, const struct record *record) {
  return write(me->log, record, sizeof *record) == (ssize_t)sizeof *record;
}

/* ---- The stage ----------------------------------------------------------------------------- */

/* A store whose one conversation is linked to the first of its customers. */
struct stage {
  char path[PATH_SIZE];
  char customers[CUSTOMERS][CUSTMEM_UUID_SIZE + 1];
  int log;
  struct worker workers[WORKERS];
};

static void make_stage(struct stage *stage, const char *name) {
  char phone[32];
  custmem *store;
  int i;
  memset(stage, 0, sizeof *stage);
  snprintf(stage->path, sizeof stage->path, "%s", test_path(name));
  store = test_store(stage->path);
  for (i = 0; i < CUSTOMERS; i++) {
    snprintf(phone, sizeof phone, "+39 333 12345%02d", i);
    strcpy(stage->customers[i], test_customer(store, INSTRUCTOR, phone));
  }
  CHECK_INT(
    custmem_link(store, &ME, CONVERSATION, stage->customers[0], "first", -1, NULL, 0, NULL),
    CUSTMEM_OK
  );
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  snprintf(phone, sizeof phone, "%.20s.log", name);
  stage->log = open(test_path(phone), O_RDWR | O_CREAT | O_TRUNC | O_APPEND, 0600);
  CHECK(stage->log >= 0);
  for (i = 0; i < WORKERS; i++) {
    stage->workers[i].path = stage->path;
    stage->workers[i].customers = stage->customers;
    stage->workers[i].log = stage->log;
  }
}

static int read_log(const struct stage *stage, struct record *records, int most) {
  ssize_t got = 0;
  CHECK_INT(lseek(stage->log, 0, SEEK_SET), 0);
  got = read(stage->log, records, (size_t)most * sizeof *records);
  CHECK(got >= 0 && got % (ssize_t)sizeof *records == 0);
  return got > 0 ? (int)(got / (ssize_t)sizeof *records) : 0;
}

static void check_sound(const char *path) {
  custmem *store = open_waiting(path, 0);
  custmem_report report;
  REQUIRE(store != NULL);
  CHECK_INT(custmem_check(store, &report), CUSTMEM_OK);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* ---- No lost update ------------------------------------------------------------------------ */

/* Again and again reads whom the conversation is linked to, and replaces that customer. */
static int relink_often(const struct worker *me) {
  custmem *store = open_waiting(me->path, PATIENT_MS);
  int attempt;
  if (store == NULL) return __LINE__;
  for (attempt = 0; attempt < ATTEMPTS; attempt++) {
    struct record record;
    custmem_resolution found;
    custmem_written written;
    char reason[64];
    int to = (attempt + me->number) % CUSTOMERS;
    memset(&record, 0, sizeof record);
    if (custmem_resolve(store, INSTRUCTOR, CONVERSATION, NULL, NULL, 0, &found) != CUSTMEM_OK)
      return __LINE__;
    if (found.outcome != CUSTMEM_LINKED) return __LINE__;
    if (strcmp(found.customer_id, me->customers[to]) == 0) to = (to + 1) % CUSTOMERS;
    sched_yield(); /* let somebody come in between */
    snprintf(reason, sizeof reason, "worker %d, attempt %d", me->number, attempt);
    record.rc = custmem_relink(
      store, &ME, CONVERSATION, found.customer_id, me->customers[to], reason, -1, NULL, 0,
      &written
    );
    record.worker = me->number;
    record.attempt = attempt;
    record.seq = written.seq;
    strcpy(record.from, found.customer_id);
    strcpy(record.to, me->customers[to]);
    strcpy(record.current, written.current_customer_id);
    if (!note(me, &record)) return __LINE__;
  }
  return custmem_close(store) == CUSTMEM_OK ? 0 : __LINE__;
}

/* Each event follows the one before; the first is the stage's own. */
static int read_events(const char *path, custmem_event *events, int most) {
  custmem *store = open_waiting(path, 0);
  int32_t count = 0;
  int i;
  CHECK_INT(
    custmem_audit_read(store, INSTRUCTOR, 0, events, (int32_t)most, &count), CUSTMEM_OK
  );
  for (i = 0; i < count; i++)
    CHECK_INT(events[i].seq, i + 1);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  return count;
}

static void no_update_is_lost(enum kind kind, const char *name) {
  static int (*const work[])(const struct worker *) = {relink_often};
  static struct record records[WORKERS * ATTEMPTS + 1];
  static custmem_event events[WORKERS * ATTEMPTS + 2];
  struct stage stage;
  int done = 0, logged, count, i;
  make_stage(&stage, name);
  run_all(kind, stage.workers, WORKERS, work, 1);
  logged = read_log(&stage, records, COUNT_OF(records));
  CHECK_INT(close(stage.log), 0);
  count = read_events(stage.path, events, COUNT_OF(events));
  CHECK_INT(logged, WORKERS * ATTEMPTS);
  for (i = 1; i < count; i++)
    CHECK_TEXT(events[i].previous_customer_id, events[i - 1].new_customer_id);
  for (i = 0; i < logged; i++) {
    const struct record *record = &records[i];
    char reason[64];
    if (record->rc == CUSTMEM_CHANGED) {
      CHECK_INT(record->seq, 0);
      CHECK(strcmp(record->current, record->from) != 0);
      continue;
    }
    done++;
    if (!CHECK_INT(record->rc, CUSTMEM_OK)) continue;
    if (!CHECK(record->seq >= 2 && record->seq <= count)) continue;
    snprintf(reason, sizeof reason, "worker %d, attempt %d", record->worker, record->attempt);
    /* A reason is said once: so no two records can claim one event. */
    CHECK_TEXT(events[record->seq - 1].reason, reason);
    CHECK_TEXT(events[record->seq - 1].previous_customer_id, record->from);
    CHECK_TEXT(events[record->seq - 1].new_customer_id, record->to);
    CHECK_TEXT(record->current, record->to);
  }
  /* As many events as were acknowledged: so no refused call has made one. */
  CHECK_INT(count - 1, done);
  CHECK(done >= ATTEMPTS); /* somebody always gets through */
  check_sound(stage.path);
}

TEST(no_update_is_lost_between_processes) {
  no_update_is_lost(PROCESSES, "lost-processes");
}

TEST(no_update_is_lost_between_threads) {
  no_update_is_lost(THREADS, "lost-threads");
}

/* ---- The first wins ------------------------------------------------------------------------ */

/* Creates the same customers and links the same new conversations as all the others do. */
static int create_and_link(const struct worker *me) {
  custmem *store = open_waiting(me->path, PATIENT_MS);
  int i;
  if (store == NULL) return __LINE__;
  for (i = 0; i < CONVERSATIONS; i++) {
    struct record record;
    custmem_customer customer;
    custmem_written written;
    char text[64];
    memset(&record, 0, sizeof record);
    record.worker = me->number;
    record.attempt = i;
    snprintf(text, sizeof text, "+44 7700 9000%02d", i);
    if (custmem_customer_create(store, &ME, "whatsapp", text, -1, NULL, 0, &customer, &record.created) != CUSTMEM_OK)
      return __LINE__;
    strcpy(record.from, customer.id);
    snprintf(text, sizeof text, "new-%d", i);
    strcpy(record.to, me->customers[me->number]);
    record.rc = custmem_link(store, &ME, text, record.to, "I was first", -1, NULL, 0, &written);
    record.seq = written.seq;
    strcpy(record.current, written.current_customer_id);
    if (!note(me, &record)) return __LINE__;
  }
  return custmem_close(store) == CUSTMEM_OK ? 0 : __LINE__;
}

static void the_first_wins(enum kind kind, const char *name) {
  static int (*const work[])(const struct worker *) = {create_and_link};
  static struct record records[WORKERS * CONVERSATIONS + 1];
  struct stage stage;
  int logged, i, j;
  make_stage(&stage, name);
  run_all(kind, stage.workers, WORKERS, work, 1);
  logged = read_log(&stage, records, COUNT_OF(records));
  CHECK_INT(close(stage.log), 0);
  CHECK_INT(logged, WORKERS * CONVERSATIONS);
  for (i = 0; i < CONVERSATIONS; i++) {
    const struct record *winner = NULL;
    int created = 0, linked = 0;
    for (j = 0; j < logged; j++) {
      if (records[j].attempt != i) continue;
      created += records[j].created;
      linked += records[j].rc == CUSTMEM_OK;
      if (records[j].rc == CUSTMEM_OK) winner = &records[j];
    }
    CHECK_INT(created, 1);
    CHECK_INT(linked, 1);
    for (j = 0; winner != NULL && j < logged; j++) {
      if (records[j].attempt != i) continue;
      CHECK_TEXT(records[j].from, winner->from); /* the one customer */
      CHECK_TEXT(records[j].current, winner->to);
      if (&records[j] != winner) CHECK_INT(records[j].rc, CUSTMEM_ALREADY_LINKED);
    }
  }
  check_sound(stage.path);
}

TEST(one_of_many_processes_creates_or_links_and_the_others_are_told) {
  the_first_wins(PROCESSES, "first-processes");
}

TEST(one_of_many_threads_creates_or_links_and_the_others_are_told) {
  the_first_wins(THREADS, "first-threads");
}

/* Makes the store, or finds it made: whose is not said. Logs what opening came to, and its id. */
static int open_first(const struct worker *me) {
  struct record record;
  custmem_options options;
  custmem_info info;
  custmem *store = NULL;
  memset(&record, 0, sizeof record);
  custmem_options_init(&options);
  options.busy_timeout_ms = PATIENT_MS;
  record.rc = custmem_open(me->path, &options, &store);
  if (record.rc == CUSTMEM_OK) {
    if (custmem_store_info(store, &info) != CUSTMEM_OK) return __LINE__;
    strcpy(record.current, info.id);
    if (custmem_close(store) != CUSTMEM_OK) return __LINE__;
  }
  return note(me, &record) ? 0 : __LINE__;
}

TEST(many_may_make_one_store_at_once) {
  static int (*const work[])(const struct worker *) = {open_first};
  struct stage stage;
  int round, i;
  make_stage(&stage, "make");
  for (round = 0; round < 20; round++) {
    struct record records[WORKERS + 1];
    char name[32];
    memset(records, 0, sizeof records);
    snprintf(name, sizeof name, "made-%d.db", round);
    snprintf(stage.path, sizeof stage.path, "%s", test_path(name));
    CHECK_INT(ftruncate(stage.log, 0), 0);
    run_all(round % 2 == 0 ? PROCESSES : THREADS, stage.workers, WORKERS, work, 1);
    CHECK_INT(read_log(&stage, records, COUNT_OF(records)), WORKERS);
    for (i = 0; i < WORKERS; i++) {
      CHECK_INT(records[i].rc, CUSTMEM_OK);
      CHECK_TEXT(records[i].current, records[0].current);
    }
    check_sound(stage.path);
  }
  CHECK_INT(close(stage.log), 0);
}

static void *commit_soon(void *plain) {
  const struct timespec a_moment = {0, 100000000};
  nanosleep(&a_moment, NULL);
  return sqlite3_exec(plain, "COMMIT", NULL, NULL, NULL) == SQLITE_OK ? plain : NULL;
}

/* As a store is for a moment when others are making it, or for ever when schema.sql made it: not in
** WAL mode yet, and in use. Whoever opens it changes that, and waits for whoever is in the way. */
static void opening_waits_for(const char *name, const char *others_sql) {
  struct stage stage;
  custmem *store;
  sqlite3 *plain;
  pthread_t thread;
  void *done = NULL;
  make_stage(&stage, name);
  CHECK_INT(close(stage.log), 0);
  plain = test_plain(stage.path);
  CHECK_TEXT(test_sql_text(plain, "PRAGMA journal_mode = DELETE"), "delete");
  CHECK_INT(test_sql(plain, others_sql), SQLITE_OK);
  CHECK_INT(pthread_create(&thread, NULL, commit_soon, plain), 0);
  store = open_waiting(stage.path, PATIENT_MS);
  CHECK(store != NULL);
  CHECK_INT(pthread_join(thread, &done), 0);
  CHECK(done == plain);
  CHECK_INT(sqlite3_close(plain), SQLITE_OK);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  check_sound(stage.path);
}

TEST(opening_waits_for_a_reader_that_keeps_wal_mode_away) {
  opening_waits_for("not-wal-read", "BEGIN; SELECT * FROM store");
}

TEST(opening_waits_for_a_writer_that_keeps_wal_mode_away) {
  opening_waits_for("not-wal-write", "BEGIN IMMEDIATE");
}

/* ---- Reads go on --------------------------------------------------------------------------- */

enum { RELINKS = 150, READERS = 2 };

/* The writer waits until every reader has begun, goes to and fro between the first two customers,
** and says that it is done by a link. */
static int relink_to_and_fro(const struct worker *me) {
  custmem *store = open_waiting(me->path, PATIENT_MS);
  struct timespec start_time;
  int i, rc;
  if (store == NULL) return __LINE__;
  clock_gettime(CLOCK_MONOTONIC, &start_time);
  while (lseek(me->log, 0, SEEK_END) < READERS * (off_t)sizeof(struct record)) {
    if (elapsed_ms(&start_time) > PATIENT_MS) return __LINE__;
    sched_yield();
  }
  for (i = 0; i < RELINKS; i++) {
    rc = custmem_relink(
      store, &ME, CONVERSATION, me->customers[i % 2], me->customers[(i + 1) % 2], "to and fro",
      -1, NULL, 0, NULL
    );
    if (rc != CUSTMEM_OK) return __LINE__;
  }
  rc = custmem_link(store, &ME, "done", me->customers[0], "done", -1, NULL, 0, NULL);
  if (rc != CUSTMEM_OK) return __LINE__;
  return custmem_close(store) == CUSTMEM_OK ? 0 : __LINE__;
}

static int is_either(const struct worker *me, const custmem_resolution *found) {
  return found->outcome == CUSTMEM_LINKED &&
         (strcmp(found->customer_id, me->customers[0]) == 0 ||
          strcmp(found->customer_id, me->customers[1]) == 0);
}

/* The page that is asked for again and again: the one conversation twice, and whether the writer is
** done. Answers of one moment are equal. */
static const custmem_query PAGE[] = {
  {CONVERSATION, NULL, NULL, 0},
  {"done", NULL, NULL, 0},
  {CONVERSATION, NULL, NULL, 0}};

/* Whom the conversation is linked to after so many events: a link, and relinks to and fro. */
static const char *customer_after(const struct worker *me, int64_t count) {
  int64_t changes = count > RELINKS + 1 ? RELINKS : count - 1;
  return me->customers[changes % 2];
}

/* A page and one conversation between two looks at the chain's head. Where nothing was committed between
** these, there is one answer only: an older one was kept too long. *exact counts how often that was so. */
static int read_page(const struct worker *me, custmem *store, int64_t *exact, int *done) {
  custmem_resolution found[COUNT_OF(PAGE)], one;
  custmem_head before, after;
  if (custmem_audit_head(store, INSTRUCTOR, &before) != CUSTMEM_OK) return __LINE__;
  if (custmem_resolve_many(store, INSTRUCTOR, PAGE, COUNT_OF(PAGE), found) != CUSTMEM_OK)
    return __LINE__;
  if (custmem_resolve(store, INSTRUCTOR, CONVERSATION, NULL, NULL, 0, &one) != CUSTMEM_OK)
    return __LINE__;
  if (custmem_audit_head(store, INSTRUCTOR, &after) != CUSTMEM_OK) return __LINE__;
  if (!is_either(me, &found[0])) return __LINE__;
  if (strcmp(found[0].customer_id, found[2].customer_id) != 0) return __LINE__;
  *done = found[1].outcome == CUSTMEM_LINKED;
  if (before.count != after.count) return 0;
  ++*exact;
  if (*done != (after.count == RELINKS + 2)) return __LINE__;
  if (strcmp(one.customer_id, customer_after(me, after.count)) != 0) return __LINE__;
  return strcmp(found[0].customer_id, customer_after(me, after.count)) == 0 ? 0 : __LINE__;
}

/* One conversation, the chain's head, and the page: what was seen once is never unseen. */
static int read_once(
  const struct worker *me,
  custmem *store,
  int64_t *count,
  int64_t *exact,
  int *done
) {
  custmem_resolution found;
  custmem_head head;
  if (custmem_resolve(store, INSTRUCTOR, CONVERSATION, NULL, NULL, 0, &found) != CUSTMEM_OK)
    return __LINE__;
  if (!is_either(me, &found)) return __LINE__;
  if (custmem_audit_head(store, INSTRUCTOR, &head) != CUSTMEM_OK) return __LINE__;
  if (head.count < *count) return __LINE__;
  *count = head.count;
  return read_page(me, store, exact, done);
}

/* A reader never waits: it has no busy timeout at all, and no call of its is refused. (The handle
** that may wait is for opening alone: while it stays, nobody closes the file as the last.) */
static int read_until_done(const struct worker *me) {
  custmem *patient = open_waiting(me->path, PATIENT_MS);
  custmem *store = open_waiting(me->path, -1);
  struct record record;
  struct timespec start_time;
  int64_t count = 0, exact = 0;
  int done = 0, failed_at = 0;
  memset(&record, 0, sizeof record);
  record.worker = me->number;
  if (patient == NULL || store == NULL) return __LINE__;
  clock_gettime(CLOCK_MONOTONIC, &start_time);
  for (; !done && failed_at == 0; record.seq++) {
    if (elapsed_ms(&start_time) > PATIENT_MS) return __LINE__; /* the writer has died */
    failed_at = read_once(me, store, &count, &exact, &done);
    if (record.seq == 0 && !note(me, &record)) return __LINE__;
  }
  if (failed_at != 0) return failed_at;
  if (exact == 0) return __LINE__;
  if (!note(me, &record)) return __LINE__;
  if (custmem_close(store) != CUSTMEM_OK) return __LINE__;
  return custmem_close(patient) == CUSTMEM_OK ? 0 : __LINE__;
}

static void reads_go_on(enum kind kind, const char *name) {
  static int (*const work[])(const struct worker *) = {relink_to_and_fro, read_until_done};
  struct stage stage;
  struct record records[2 * READERS + 1];
  custmem_event events[RELINKS + 3];
  int i;
  make_stage(&stage, name);
  run_all(kind, stage.workers, 1 + READERS, work, COUNT_OF(work));
  CHECK_INT(read_log(&stage, records, COUNT_OF(records)), 2 * READERS);
  CHECK_INT(close(stage.log), 0);
  for (i = 0; i < READERS; i++) /* before the writer began, and until it was done */
    CHECK(records[i].seq == 0 && records[READERS + i].seq > 1);
  CHECK_INT(read_events(stage.path, events, COUNT_OF(events)), RELINKS + 2);
  check_sound(stage.path);
}

TEST(reads_go_on_while_another_process_writes) {
  reads_go_on(PROCESSES, "reads-processes");
}

TEST(reads_go_on_while_another_thread_writes) {
  reads_go_on(THREADS, "reads-threads");
}

/* ---- Waiting ends -------------------------------------------------------------------------- */

enum write_call { CREATE, SET_DISPLAY, LINK, RELINK, UNLINK, WRITE_CALLS };

static int do_write(custmem *store, const struct stage *stage, enum write_call call) {
  const char *customer = stage->customers[0], *other = stage->customers[1];
  switch (call) {
  case CREATE:
    return custmem_customer_create(store, &ME, "sms", "+15005550006", -1, NULL, 0, NULL, NULL);
  case SET_DISPLAY:
    return custmem_customer_set_display(store, &ME, customer, "Anna", -1, NULL);
  case LINK:
    return custmem_link(store, &ME, "conversation-2", customer, "r", -1, NULL, 0, NULL);
  case RELINK:
    return custmem_relink(store, &ME, CONVERSATION, customer, other, "r", -1, NULL, 0, NULL);
  default:
    return custmem_unlink(store, &ME, CONVERSATION, other, "r", -1, NULL, 0, NULL);
  }
}

/* Every kind of read, on a handle that never waits. */
static void check_reads(custmem *store, const struct stage *stage) {
  custmem_resolution found;
  custmem_customer customers[CUSTOMERS + 1];
  custmem_conversation conversation;
  custmem_event events[2];
  custmem_report report;
  int32_t count;
  CHECK_INT(
    custmem_resolve(store, INSTRUCTOR, CONVERSATION, "whatsapp", "393331234500", -1, &found),
    CUSTMEM_OK
  );
  CHECK_TEXT(found.customer_id, stage->customers[0]);
  CHECK_INT(
    custmem_resolve(store, INSTRUCTOR, "another", "whatsapp", "393331234502", -1, &found),
    CUSTMEM_OK
  );
  CHECK_INT(found.outcome, CUSTMEM_CANDIDATE);
  CHECK_TEXT(found.customer_id, stage->customers[2]);
  CHECK_INT(
    custmem_customer_list(store, INSTRUCTOR, NULL, customers, CUSTOMERS + 1, &count), CUSTMEM_OK
  );
  CHECK_INT(count, CUSTOMERS);
  CHECK_TEXT(customers[0].display_identifier, "");
  CHECK_INT(
    custmem_conversations(
      store, INSTRUCTOR, stage->customers[0], NULL, &conversation, 1, &count
    ),
    CUSTMEM_OK
  );
  CHECK_INT(count, 1);
  CHECK_INT(custmem_history(store, INSTRUCTOR, CONVERSATION, 0, events, 2, &count), CUSTMEM_OK);
  CHECK_INT(count, 1);
  CHECK_INT(custmem_audit_verify(store, INSTRUCTOR, NULL, &report), CUSTMEM_OK);
  CHECK_INT(custmem_check(store, &report), CUSTMEM_OK);
}

/* -1: not at all; 50: a moment. The bound is generous: it says that waiting ends, not how soon. */
TEST(a_write_that_cannot_happen_is_busy_within_its_bound_and_reads_go_on) {
  static const int32_t timeouts_ms[] = {-1, 50};
  struct stage stage;
  sqlite3 *db;
  uint64_t rows;
  int i, call;
  make_stage(&stage, "busy");
  close(stage.log);
  rows = test_rows(stage.path);
  db = test_plain(stage.path);
  CHECK_INT(
    test_sql(db, "BEGIN IMMEDIATE; UPDATE customers SET display_identifier = 'uncommitted'"),
    SQLITE_OK
  );
  for (i = 0; i < COUNT_OF(timeouts_ms); i++) {
    custmem *store = open_waiting(stage.path, timeouts_ms[i]);
    REQUIRE(store != NULL);
    for (call = 0; call < WRITE_CALLS; call++) {
      struct timespec start_time;
      clock_gettime(CLOCK_MONOTONIC, &start_time);
      CHECK_INT(do_write(store, &stage, (enum write_call)call), CUSTMEM_BUSY);
      CHECK(elapsed_ms(&start_time) < 5000);
      CHECK(custmem_errmsg(store)[0] != '\0');
    }
    check_reads(store, &stage);
    CHECK_INT(custmem_close(store), CUSTMEM_OK);
  }
  CHECK_INT(test_sql(db, "ROLLBACK"), SQLITE_OK);
  CHECK(test_rows(stage.path) == rows);
  CHECK_INT(sqlite3_close(db), SQLITE_OK);
}

TEST(a_busy_handle_writes_when_the_lock_is_gone) {
  struct stage stage;
  custmem *store;
  sqlite3 *db;
  int call;
  make_stage(&stage, "free");
  close(stage.log);
  store = open_waiting(stage.path, -1);
  REQUIRE(store != NULL);
  db = test_plain(stage.path);
  for (call = 0; call < WRITE_CALLS; call++) {
    CHECK_INT(test_sql(db, "BEGIN IMMEDIATE"), SQLITE_OK);
    CHECK_INT(do_write(store, &stage, (enum write_call)call), CUSTMEM_BUSY);
    CHECK_INT(test_sql(db, "ROLLBACK"), SQLITE_OK);
    CHECK_INT(do_write(store, &stage, (enum write_call)call), CUSTMEM_OK);
  }
  CHECK_INT(test_sql_int(db, "SELECT count(*) FROM audit_events"), 4);
  CHECK_INT(sqlite3_close(db), SQLITE_OK);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  check_sound(stage.path);
}

/* ---- A killed writer ----------------------------------------------------------------------- */

enum { KILLS = 20, WRITERS = 2, ACKNOWLEDGED_MOST = 25 };

/* Relinks its own conversation until it is killed; reports each event that was acknowledged. */
static int write_until_killed(const struct worker *me) {
  custmem *store = open_waiting(me->path, PATIENT_MS);
  custmem_resolution found;
  char conversation[32], reason[32];
  int i;
  snprintf(conversation, sizeof conversation, "killed-%d", me->number);
  snprintf(reason, sizeof reason, "writer %d", me->number);
  if (store == NULL) return __LINE__;
  if (custmem_resolve(store, INSTRUCTOR, conversation, NULL, NULL, 0, &found) != CUSTMEM_OK)
    return __LINE__;
  i = strcmp(found.customer_id, me->customers[0]) == 0 ? 0 : 1;
  for (;; i = 1 - i) {
    struct record record;
    custmem_written written;
    memset(&record, 0, sizeof record);
    if (custmem_relink(store, &ME, conversation, me->customers[i], me->customers[1 - i], reason, -1, NULL, 0, &written) != CUSTMEM_OK)
      return __LINE__;
    record.worker = me->number;
    record.seq = written.seq;
    strcpy(record.to, me->customers[1 - i]);
    if (!note(me, &record)) return __LINE__;
  }
}

/* Looks for an acknowledged event on a plain connection. */
static void check_acknowledged(sqlite3 *db, const struct record *record) {
  char sql[256];
  snprintf(
    sql, sizeof sql,
    "SELECT conversation_id || new_customer_id || reason FROM audit_events WHERE seq = %d",
    (int)record->seq
  );
  CHECK_HAS(test_sql_text(db, sql), record->to);
  snprintf(sql + 200, 50, "writer %d", record->worker);
  CHECK_HAS(test_sql_text(db, sql), sql + 200);
}

static int events_of(sqlite3 *db, int writer) {
  char sql[128];
  snprintf(
    sql, sizeof sql, "SELECT count(*) FROM audit_events WHERE conversation_id = 'killed-%d'",
    writer
  );
  return (int)test_sql_int(db, sql);
}

/* Starts the writers, lets so many events be acknowledged, kills, and gives how many were. */
static int kill_in_mid_stream(struct stage *stage, int acknowledged, struct record *records) {
  int ends[2], i, got = 0, killed = 0;
  ssize_t size;
  CHECK_INT(pipe(ends), 0);
  for (i = 0; i < WRITERS; i++) {
    stage->workers[i].number = i;
    stage->workers[i].log = ends[1];
    stage->workers[i].work = write_until_killed;
    start(PROCESSES, &stage->workers[i]);
  }
  close(ends[1]);
  while ((size = read(ends[0], &records[got], sizeof *records)) > 0) {
    CHECK_INT(size, sizeof *records);
    if (got < MOST_EVENTS - 1) got++;
    if (got < acknowledged || killed++) continue; /* the rest was under way already */
    for (i = 0; i < WRITERS; i++)
      CHECK_INT(kill(stage->workers[i].process, SIGKILL), 0);
  }
  close(ends[0]);
  for (i = 0; i < WRITERS; i++) {
    int status = 0;
    CHECK_INT(waitpid(stage->workers[i].process, &status, 0), stage->workers[i].process);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  }
  return got;
}

TEST(what_was_acknowledged_survives_a_killed_writer) {
  static struct record records[MOST_EVENTS];
  struct stage stage;
  uint64_t seed = 42;
  int before[WRITERS] = {1, 1};
  int round, i, writer;
  custmem *store;
  make_stage(&stage, "killed");
  close(stage.log);
  store = test_store(stage.path);
  for (writer = 0; writer < WRITERS; writer++) {
    char name[32];
    snprintf(name, sizeof name, "killed-%d", writer);
    CHECK_INT(
      custmem_link(store, &ME, name, stage.customers[0], "start", -1, NULL, 0, NULL), CUSTMEM_OK
    );
  }
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  for (round = 0; round < KILLS; round++) {
    int wanted = 1 + (int)(test_random(&seed) % ACKNOWLEDGED_MOST);
    int got = kill_in_mid_stream(&stage, wanted, records);
    sqlite3 *db;
    check_sound(stage.path);
    db = test_plain(stage.path);
    CHECK(got >= wanted);
    for (writer = 0; writer < WRITERS; writer++) {
      int acknowledged = 0, there = events_of(db, writer);
      for (i = 0; i < got; i++)
        acknowledged += records[i].worker == writer;
      CHECK(there - before[writer] >= acknowledged);
      CHECK(there - before[writer] <= acknowledged + 1);
      before[writer] = there;
    }
    for (i = 0; i < got; i++)
      check_acknowledged(db, &records[i]);
    CHECK_INT(sqlite3_close(db), SQLITE_OK);
  }
}

/* ---- Interrupting -------------------------------------------------------------------------- */

struct interrupter {
  custmem *store;
  atomic_int stop;
};

static void *interrupt_on_and_on(void *ctx) {
  struct interrupter *me = ctx;
  while (!atomic_load(&me->stop)) {
    custmem_interrupt(me->store);
    sched_yield();
  }
  return NULL;
}

enum { INTERRUPTIONS = 20 };

/* Calls until so many of the calls were interrupted: where one is met is the scheduler's. None may
** leave the handle unable to go on. */
static void check_interrupted(custmem *store, int whole_store) {
  struct interrupter interrupter;
  pthread_t thread;
  custmem_report report;
  int tries, interrupted = 0, rc = CUSTMEM_OK;
  interrupter.store = store;
  atomic_init(&interrupter.stop, 0);
  CHECK_INT(pthread_create(&thread, NULL, interrupt_on_and_on, &interrupter), 0);
  for (tries = 0; tries < 5000 && interrupted < INTERRUPTIONS; tries++) {
    rc = whole_store ? custmem_check(store, &report)
                     : custmem_audit_verify(store, INSTRUCTOR, NULL, &report);
    interrupted += rc == CUSTMEM_INTERRUPTED;
    if (rc != CUSTMEM_OK && rc != CUSTMEM_INTERRUPTED) break;
  }
  atomic_store(&interrupter.stop, 1);
  CHECK_INT(pthread_join(thread, NULL), 0);
  CHECK_INT(rc, CUSTMEM_INTERRUPTED);
  CHECK_INT(interrupted, INTERRUPTIONS);
  rc = whole_store ? custmem_check(store, &report)
                   : custmem_audit_verify(store, INSTRUCTOR, NULL, &report);
  if (!CHECK_INT(rc, CUSTMEM_OK)) printf("  (%s)\n", custmem_errmsg(store)); /* no later call */
  CHECK(report.events > RELINKS);
}

TEST(another_thread_interrupts_a_long_call_and_the_handle_goes_on) {
  custmem *store = test_store(NULL);
  char customers[2][CUSTMEM_UUID_SIZE + 1];
  custmem_written written;
  int i, rc;
  REQUIRE(store != NULL);
  strcpy(customers[0], test_customer(store, INSTRUCTOR, "+393331234567"));
  strcpy(customers[1], test_customer(store, INSTRUCTOR, "+393331234568"));
  rc = custmem_link(store, &ME, CONVERSATION, customers[0], "r", -1, NULL, 0, NULL);
  for (i = 0; i < 3000 && rc == CUSTMEM_OK; i++)
    rc = custmem_relink(
      store, &ME, CONVERSATION, customers[i % 2], customers[(i + 1) % 2], "r", -1, NULL, 0, NULL
    );
  CHECK_INT(rc, CUSTMEM_OK);
  check_interrupted(store, 0);
  check_interrupted(store, 1);
  custmem_interrupt(store);
  CHECK_INT(
    custmem_relink(
      store, &ME, CONVERSATION, customers[0], customers[1], "r", -1, NULL, 0, &written
    ),
    CUSTMEM_OK
  );
  CHECK_INT(written.seq, 3002);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* It would wait for a minute. */
TEST(an_interrupt_ends_the_wait_for_a_lock) {
  struct stage stage;
  struct interrupter interrupter;
  custmem_report report;
  pthread_t thread;
  custmem *store;
  sqlite3 *db;
  uint64_t rows;
  make_stage(&stage, "waiting");
  close(stage.log);
  store = open_waiting(stage.path, 60000);
  REQUIRE(store != NULL);
  db = test_plain(stage.path);
  rows = test_rows(stage.path);
  CHECK_INT(test_sql(db, "BEGIN IMMEDIATE"), SQLITE_OK);
  interrupter.store = store;
  atomic_init(&interrupter.stop, 0);
  CHECK_INT(pthread_create(&thread, NULL, interrupt_on_and_on, &interrupter), 0);
  CHECK_INT(do_write(store, &stage, LINK), CUSTMEM_INTERRUPTED);
  atomic_store(&interrupter.stop, 1);
  CHECK_INT(pthread_join(thread, NULL), 0);
  CHECK_INT(test_sql(db, "ROLLBACK"), SQLITE_OK);
  sqlite3_close(db);
  CHECK(test_rows(stage.path) == rows);
  CHECK_INT(do_write(store, &stage, LINK), CUSTMEM_OK);
  CHECK_INT(custmem_check(store, &report), CUSTMEM_OK);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* Closing writes the WAL back into the file and takes it away: what an interrupt would keep it from. */
TEST(an_interrupt_of_nothing_does_nothing_to_what_comes) {
  struct stage stage;
  custmem *store;
  make_stage(&stage, "interrupted-idle");
  close(stage.log);
  store = open_waiting(stage.path, PATIENT_MS);
  REQUIRE(store != NULL);
  CHECK_INT(do_write(store, &stage, LINK), CUSTMEM_OK);
  custmem_interrupt(store);
  CHECK_INT(custmem_backup(store, test_path("interrupted-copy.db")), CUSTMEM_OK);
  custmem_interrupt(store);
  CHECK_INT(do_write(store, &stage, RELINK), CUSTMEM_OK);
  CHECK(test_file_size(test_beside(stage.path, "-wal")) > 0);
  custmem_interrupt(store);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  CHECK_INT(test_file_size(test_beside(stage.path, "-wal")), -1);
}

/* The clock runs inside the write: so this interrupt comes while it does, every time. */
static custmem *interrupted_by_clock;

static int64_t interrupting_clock(void *ctx) {
  (void)ctx;
  custmem_interrupt(interrupted_by_clock);
  return 1750000000000;
}

TEST(an_interrupted_write_writes_nothing) {
  struct stage stage;
  custmem_options options;
  custmem *store = NULL;
  uint64_t rows;
  int call;
  make_stage(&stage, "interrupted");
  close(stage.log);
  rows = test_rows(stage.path);
  custmem_options_init(&options);
  options.now_ms = interrupting_clock;
  interrupted_by_clock = NULL;
  CHECK_INT(custmem_open(stage.path, &options, &store), CUSTMEM_OK);
  for (call = 0; call < UNLINK; call++) {
    interrupted_by_clock = store;
    CHECK_INT(do_write(store, &stage, (enum write_call)call), CUSTMEM_INTERRUPTED);
    CHECK(test_rows(stage.path) == rows);
    interrupted_by_clock = NULL;
    check_reads(store, &stage);
  }
  CHECK_INT(do_write(store, &stage, RELINK), CUSTMEM_OK);
  CHECK(test_rows(stage.path) != rows);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  check_sound(stage.path);
}

/* ---- Fork ---------------------------------------------------------------------------------- */

static int calls_after_fork(custmem *store, const struct stage *stage) {
  custmem_resolution found;
  custmem_report report;
  custmem_info info;
  int call;
  for (call = 0; call < WRITE_CALLS; call++)
    if (do_write(store, stage, (enum write_call)call) != CUSTMEM_FORKED) return __LINE__;
  if (custmem_resolve(store, INSTRUCTOR, CONVERSATION, NULL, NULL, 0, &found) != CUSTMEM_FORKED)
    return __LINE__;
  if (found.outcome != CUSTMEM_UNLINKED || found.customer_id[0] != '\0') return __LINE__;
  if (custmem_store_info(store, &info) != CUSTMEM_FORKED) return __LINE__;
  if (custmem_check(store, &report) != CUSTMEM_FORKED) return __LINE__;
  if (custmem_close(store) != CUSTMEM_FORKED) return __LINE__;
  store = open_waiting(stage->path, PATIENT_MS); /* its own is welcome */
  if (store == NULL) return __LINE__;
  if (do_write(store, stage, LINK) != CUSTMEM_OK) return __LINE__;
  return custmem_close(store) == CUSTMEM_OK ? 0 : __LINE__;
}

TEST(a_handle_carried_over_a_fork_is_refused_and_the_parents_goes_on) {
  struct stage stage;
  custmem *store;
  pid_t child;
  int status = 1;
  make_stage(&stage, "forked");
  close(stage.log);
  store = open_waiting(stage.path, PATIENT_MS);
  REQUIRE(store != NULL);
  child = fork();
  if (child == 0) _exit(calls_after_fork(store, &stage) == 0 ? 0 : 1);
  CHECK_INT(waitpid(child, &status, 0), child);
  CHECK_INT(status, 0);
  CHECK_INT(do_write(store, &stage, LINK), CUSTMEM_ALREADY_LINKED);
  CHECK_INT(do_write(store, &stage, RELINK), CUSTMEM_OK);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  check_sound(stage.path);
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  RUN(no_update_is_lost_between_processes, "CM-2.3 §4.3; CM-2.3 §5; CM-2.3 §9; D-5; D-8");
  RUN(no_update_is_lost_between_threads, "CM-2.3 §4.3; CM-2.3 §5; CM-2.3 §9; D-5; D-8");
  RUN(
    one_of_many_processes_creates_or_links_and_the_others_are_told,
    "CM-1 §4.1; CM-1 §4.2; CM-1 §6; CM-2.3 §4.3; D-8"
  );
  RUN(
    one_of_many_threads_creates_or_links_and_the_others_are_told,
    "CM-1 §4.1; CM-1 §4.2; CM-1 §6; CM-2.3 §4.3; D-8"
  );
  RUN(many_may_make_one_store_at_once, "D-8");
  RUN(opening_waits_for_a_reader_that_keeps_wal_mode_away, "CM-2.3 §7; D-5; D-8");
  RUN(opening_waits_for_a_writer_that_keeps_wal_mode_away, "CM-2.3 §7; D-5; D-8");
  RUN(reads_go_on_while_another_process_writes, "CM-2.3 §7; CM-2.1 §6; D-4; D-8");
  RUN(reads_go_on_while_another_thread_writes, "CM-2.3 §7; CM-2.1 §6; D-4; D-8");
  RUN(
    a_write_that_cannot_happen_is_busy_within_its_bound_and_reads_go_on, "CM-2.3 §7; D-5; D-8"
  );
  RUN(a_busy_handle_writes_when_the_lock_is_gone, "CM-2.3 §7; D-5");
  RUN(what_was_acknowledged_survives_a_killed_writer, "CM-2.3 §6; T5; D-5");
  RUN(another_thread_interrupts_a_long_call_and_the_handle_goes_on, "CM-2.3 §7; D-8");
  RUN(an_interrupt_ends_the_wait_for_a_lock, "CM-2.3 §7; D-5; D-8");
  RUN(an_interrupt_of_nothing_does_nothing_to_what_comes, "D-8");
  RUN(an_interrupted_write_writes_nothing, "CM-2.3 §7; D-5");
  RUN(a_handle_carried_over_a_fork_is_refused_and_the_parents_goes_on, "D-8");
  return test_report();
}
