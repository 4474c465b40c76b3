/* SPDX-License-Identifier: MIT
**
** Histories: eight workers, each with a handle of its own, call on one file at once; when every call
** began and returned, and what it gave, is put beside the audit's order.
**
**   a call that said OK is one event, at the seq and with the hash that it was given; one that failed
**   is none; one of unknown outcome is one or none
**   the customer before is always the one after the event before
**   a call that began after another had returned comes after it
**   a refusal, and a resolution, say whom the conversation was linked to at some moment between their
**   beginning and their end
**
** The workers are processes, of which every other one has a failing disk, now and then, under its own
** calls alone; and they are threads (which ThreadSanitizer can watch).
**
** What each worker asks for follows from CUSTMEM_SEED (a number); what the scheduler makes of it does
** not. CUSTMEM_FAULTS=all makes 10,000 calls of either kind.
*/
#define _GNU_SOURCE /* MAP_ANONYMOUS */

#include "faults.h"
#include "test.h"
#include "vfs_shim.h"

#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATH_SIZE 512
#define TEXT_SIZE 64

enum {
  WORKERS = 8,
  CALLS_ALL = 10000,
  CALLS_FEW = 640,
  INSTRUCTORS = 2,
  PEOPLE = 4,
  CONVERSATIONS = 2, /* one instructor's and the other's in turn */
  FAULT_SHARE = 2,
  FAULT_MOST = 3,     /* a write makes few calls of each kind */
  PATIENT_MS = 30000, /* longer than any run: who waits so long has been left to starve */
  NOBODY = -1
};

static const char *const INSTRUCTOR[INSTRUCTORS] = {"instructor-a", "instructor-b"};

enum kind { PROCESSES, THREADS };
enum verb { LINK, RELINK, UNLINK, RESOLVE };
enum outcome { PENDING, DONE, REFUSED, FAILED, UNKNOWN };

/* One call, from its beginning on; people are numbers, or NOBODY.
**
** seen  whom the answer says that the conversation is linked to
*/
typedef struct call {
  enum verb verb;
  enum outcome outcome;
  int rc, worker, number, conversation, from, to, seen;
  int64_t began_ns, returned_ns, seq;
  char hash[CUSTMEM_HASH_SIZE + 1];
  int is_found;
} call;

/* What the workers share, though they be processes. */
typedef struct stage {
  char path[PATH_SIZE];
  char ids[INSTRUCTORS][PEOPLE][CUSTMEM_UUID_SIZE + 1];
  int calls_of_each;
  int calls_of[WORKERS];
  int failed_at[WORKERS]; /* a line, or 0 */
  int64_t faults[WORKERS];
  call calls[WORKERS][CALLS_ALL / WORKERS];
} stage;

static stage *shared;
static custmem_event events[INSTRUCTORS][CALLS_ALL + 1];
static call *call_of[INSTRUCTORS][CALLS_ALL + 1]; /* of an event, by its seq - 1 */
static int event_count[INSTRUCTORS];

static int instructor_of(int conversation) {
  return conversation % INSTRUCTORS;
}

static int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static const char *conversation_name(int number, char text[TEXT_SIZE]) {
  snprintf(text, TEXT_SIZE, "conversation-%d", number);
  return text;
}

/* Said once, of one call. */
static const char *reason_of(int worker, int number, char text[TEXT_SIZE]) {
  snprintf(text, TEXT_SIZE, "worker %d, call %d", worker, number);
  return text;
}

static const char *id_of(int instructor, int person) {
  return person == NOBODY ? "" : shared->ids[instructor][person];
}

static int person_of(int instructor, const char *id) {
  int person;
  for (person = 0; person < PEOPLE; person++)
    if (strcmp(shared->ids[instructor][person], id) == 0) return person;
  return NOBODY;
}

/* ---- Workers ------------------------------------------------------------------------------- */

static custmem *open_patiently(void) {
  custmem_options options;
  custmem *store = NULL;
  custmem_options_init(&options);
  options.busy_timeout_ms = PATIENT_MS;
  return custmem_open(shared->path, &options, &store) == CUSTMEM_OK ? store : NULL;
}

static enum outcome outcome_of(int rc) {
  switch (rc) {
  case CUSTMEM_OK:
    return DONE;
  case CUSTMEM_ALREADY_LINKED:
  case CUSTMEM_NOT_LINKED:
  case CUSTMEM_CHANGED:
  case CUSTMEM_NO_CHANGE:
    return REFUSED;
  case CUSTMEM_UNKNOWN_OUTCOME:
    return UNKNOWN;
  default:
    return FAILED;
  }
}

static int make_call(custmem *store, call *made, custmem_written *written) {
  int instructor = instructor_of(made->conversation), rc;
  custmem_actor actor = {CUSTMEM_ACTOR_HUMAN, "somebody", INSTRUCTOR[instructor]};
  custmem_resolution found;
  char name[TEXT_SIZE], reason[TEXT_SIZE];
  const char *from = id_of(instructor, made->from), *to = id_of(instructor, made->to);
  conversation_name(made->conversation, name);
  reason_of(made->worker, made->number, reason);
  memset(written, 0, sizeof *written);
  switch (made->verb) {
  case LINK:
    return custmem_link(store, &actor, name, to, reason, -1, NULL, 0, written);
  case RELINK:
    return custmem_relink(store, &actor, name, from, to, reason, -1, NULL, 0, written);
  case UNLINK:
    return custmem_unlink(store, &actor, name, from, reason, -1, NULL, 0, written);
  default:
    rc = custmem_resolve(store, INSTRUCTOR[instructor], name, NULL, NULL, 0, &found);
    strcpy(written->current_customer_id, found.customer_id);
    return rc;
  }
}

static void call_once(custmem *store, call *made) {
  custmem_written written;
  made->began_ns = now_ns();
  made->rc = make_call(store, made, &written);
  made->returned_ns = now_ns();
  made->seen = person_of(instructor_of(made->conversation), written.current_customer_id);
  made->seq = written.seq;
  strcpy(made->hash, written.head.hash);
  made->outcome = outcome_of(made->rc);
}

/* Mostly what would be right if nobody came in between. */
static void draw_call(uint64_t *seed, int linked, call *drawn) {
  uint64_t dice = test_random(seed) % 16;
  drawn->from = linked;
  drawn->to = (int)(test_random(seed) % PEOPLE);
  drawn->verb = dice == 0                  ? LINK
                : linked == NOBODY         ? LINK
                : dice < 5                 ? UNLINK
                : dice == 5                ? RESOLVE
                : drawn->to == drawn->from ? UNLINK
                                           : RELINK;
  if (drawn->verb == UNLINK) drawn->to = NOBODY;
  if (drawn->verb == LINK) drawn->from = NOBODY;
}

static void arm(uint64_t *seed) {
  faults_arm(
    &FAULTS_DISK[test_random(seed) % FAULTS_DISK_COUNT], 1 + (int64_t)(test_random(seed) % 24),
    0
  );
}

/* Looks whom a conversation is linked to, and then changes that: two calls. */
static int work(int worker, int has_faults) {
  uint64_t seed = test_seed() * 1000 + (uint64_t)worker;
  custmem *store = open_patiently();
  int number;
  if (store == NULL) return __LINE__;
  for (number = 0; number < shared->calls_of_each;) {
    call *look = &shared->calls[worker][number];
    look->verb = RESOLVE;
    look->worker = worker;
    look->number = number++;
    look->conversation = (int)(test_random(&seed) % CONVERSATIONS);
    call_once(store, look);
    if (look->outcome != DONE) return __LINE__;
    if (number < shared->calls_of_each) {
      call *change = &shared->calls[worker][number];
      change->worker = worker;
      change->number = number++;
      change->conversation = look->conversation;
      draw_call(&seed, look->seen, change);
      sched_yield(); /* let somebody come in between */
      if (has_faults && test_random(&seed) % FAULT_SHARE == 0) arm(&seed);
      call_once(store, change);
      if (has_faults) {
        shared->faults[worker] += faults_fired() > 0;
        faults_arm(NULL, 0, 0);
      }
    }
    shared->calls_of[worker] = number;
  }
  return custmem_close(store) == CUSTMEM_OK ? 0 : __LINE__;
}

static void *work_as_thread(void *ctx) {
  int worker = *(const int *)ctx;
  shared->failed_at[worker] = work(worker, 0);
  return NULL;
}

static void run_threads(void) {
  pthread_t threads[WORKERS];
  int numbers[WORKERS], i;
  for (i = 0; i < WORKERS; i++) {
    numbers[i] = i;
    CHECK_INT(pthread_create(&threads[i], NULL, work_as_thread, &numbers[i]), 0);
  }
  for (i = 0; i < WORKERS; i++)
    CHECK_INT(pthread_join(threads[i], NULL), 0);
}

static void run_processes(void) {
  pid_t processes[WORKERS];
  int i;
  for (i = 0; i < WORKERS; i++) {
    processes[i] = fork();
    if (processes[i] < 0) abort();
    if (processes[i] == 0) {
      int has_faults = i % 2 == 0;
      if (has_faults && vfs_shim_install() != SQLITE_OK) _exit(1);
      shared->failed_at[i] = work(i, has_faults);
      _exit(0);
    }
  }
  for (i = 0; i < WORKERS; i++) {
    int status = 1;
    CHECK_INT(waitpid(processes[i], &status, 0), processes[i]);
    CHECK_INT(status, 0);
  }
}

/* ---- The stage ----------------------------------------------------------------------------- */

static void make_stage(const char *name) {
  custmem *store;
  int instructor, person;
  char phone[TEXT_SIZE];
  memset(shared, 0, sizeof *shared);
  strcpy(shared->path, test_path(name));
  shared->calls_of_each = (test_is_full() ? CALLS_ALL : CALLS_FEW) / WORKERS;
  test_store_remove(shared->path);
  store = test_store(shared->path);
  for (instructor = 0; instructor < INSTRUCTORS; instructor++)
    for (person = 0; person < PEOPLE; person++) {
      snprintf(phone, sizeof phone, "+39 333 12345%02d", person);
      strcpy(
        shared->ids[instructor][person], test_customer(store, INSTRUCTOR[instructor], phone)
      );
    }
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

static void read_events(void) {
  custmem *store = open_patiently();
  custmem_report report;
  int instructor;
  REQUIRE(store != NULL);
  CHECK_INT(custmem_check(store, &report), CUSTMEM_OK);
  for (instructor = 0; instructor < INSTRUCTORS; instructor++) {
    int32_t count = 0;
    CHECK_INT(
      custmem_audit_read(
        store, INSTRUCTOR[instructor], 0, events[instructor], CALLS_ALL + 1, &count
      ),
      CUSTMEM_OK
    );
    event_count[instructor] = count;
  }
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* ---- The history, beside the audit --------------------------------------------------------- */

static struct {
  int64_t counts[UNKNOWN + 1];
  int64_t unknown_there, calls, in_order, answers;
} seen;

static call *find_call(const custmem_event *event) {
  int worker, number;
  if (sscanf(event->reason, "worker %d, call %d", &worker, &number) != 2) return NULL;
  if (worker < 0 || worker >= WORKERS || number < 0 || number >= shared->calls_of[worker])
    return NULL;
  return &shared->calls[worker][number];
}

/* Each event is of one call that may have made it, and follows the one before. */
static void check_events(int instructor) {
  int linked[CONVERSATIONS], i;
  for (i = 0; i < CONVERSATIONS; i++)
    linked[i] = NOBODY;
  for (i = 0; i < event_count[instructor]; i++) {
    const custmem_event *event = &events[instructor][i];
    call *made = find_call(event);
    char name[TEXT_SIZE];
    call_of[instructor][i] = made;
    CHECK(made != NULL);
    if (made == NULL) continue;
    CHECK(!made->is_found);
    made->is_found = 1;
    CHECK(made->outcome == DONE || made->outcome == UNKNOWN);
    seen.unknown_there += made->outcome == UNKNOWN;
    CHECK_INT(event->seq, i + 1);
    CHECK_INT(instructor, instructor_of(made->conversation));
    CHECK_TEXT(event->conversation_id, conversation_name(made->conversation, name));
    CHECK_TEXT(event->previous_customer_id, id_of(instructor, made->from));
    CHECK_TEXT(event->new_customer_id, id_of(instructor, made->to));
    CHECK_INT(made->from, linked[made->conversation]);
    linked[made->conversation] = made->to;
    if (made->outcome != DONE) continue;
    CHECK_INT(made->seq, event->seq);
    CHECK_TEXT(made->hash, event->hash);
  }
}

/* No event stands before one whose call had returned before its own began. */
static void check_order(int instructor) {
  int64_t first_return_ns = INT64_MAX;
  int i;
  for (i = event_count[instructor] - 1; i >= 0; i--) {
    const call *made = call_of[instructor][i];
    if (made == NULL || made->outcome != DONE) continue;
    CHECK(made->began_ns < first_return_ns);
    if (made->returned_ns < first_return_ns) first_return_ns = made->returned_ns;
    seen.in_order++;
  }
}

/* Whether the conversation was linked so at a moment between the call's beginning and its end: after
** every event that had returned before it, and before every one that began after it. */
static int is_of_its_time(const call *answered) {
  int instructor = instructor_of(answered->conversation), linked = NOBODY, i;
  int is_possible = answered->seen == NOBODY;
  for (i = 0; i < event_count[instructor]; i++) {
    const call *made = call_of[instructor][i];
    if (made == NULL || made->conversation != answered->conversation) continue;
    if (made->outcome == DONE && made->began_ns > answered->returned_ns) break;
    linked = made->to;
    if (made->outcome == DONE && made->returned_ns < answered->began_ns) is_possible = 0;
    is_possible |= linked == answered->seen;
  }
  return is_possible;
}

static void check_call(const call *made) {
  seen.counts[made->outcome]++;
  seen.calls++;
  CHECK(made->outcome != PENDING);
  if (made->outcome == DONE && made->verb != RESOLVE) CHECK(made->is_found);
  if (made->outcome == REFUSED || made->outcome == FAILED) CHECK(!made->is_found);
  if (made->outcome == REFUSED || (made->outcome == DONE && made->verb == RESOLVE)) {
    seen.answers++;
    if (!CHECK(is_of_its_time(made)))
      printf(
        "  worker %d, call %d, %s\n", made->worker, made->number, custmem_code_name(made->rc)
      );
  }
}

static void check_history(enum kind kind) {
  int64_t faults = 0;
  int worker, number, instructor;
  memset(&seen, 0, sizeof seen);
  read_events();
  for (instructor = 0; instructor < INSTRUCTORS; instructor++) {
    check_events(instructor);
    check_order(instructor);
  }
  for (worker = 0; worker < WORKERS; worker++) {
    CHECK_INT(shared->failed_at[worker], 0);
    faults += shared->faults[worker];
    for (number = 0; number < shared->calls_of[worker]; number++)
      check_call(&shared->calls[worker][number]);
  }
  printf(
    "  histories, %d %s: %" PRId64 " calls, seed %" PRIu64 ": %" PRId64 " done (%" PRId64
    " events in order), %" PRId64 " refused, %" PRId64 " failed, %" PRId64 " unknown (%" PRId64
    " there); %" PRId64 " answers of their time; %" PRId64 " faults\n",
    WORKERS, kind == PROCESSES ? "processes" : "threads", seen.calls, test_seed(),
    seen.counts[DONE], seen.in_order, seen.counts[REFUSED], seen.counts[FAILED],
    seen.counts[UNKNOWN], seen.unknown_there, seen.answers, faults
  );
  CHECK_INT(seen.calls, shared->calls_of_each * WORKERS);
  CHECK(seen.counts[REFUSED] > 0);
  if (kind == PROCESSES) CHECK(faults > 0 && seen.counts[FAILED] + seen.counts[UNKNOWN] > 0);
}

/* ---- The tests ----------------------------------------------------------------------------- */

/* On a machine with much else to do most writes find the store busy: then it is played again. */
static void play(enum kind kind, const char *file, void (*run)(void)) {
  int tries = 0;
  do {
    make_stage(file);
    run();
    check_history(kind);
  } while (seen.in_order <= seen.calls / 8 && ++tries < 10);
  CHECK(seen.in_order > seen.calls / 8);
}

TEST(what_processes_were_told_is_what_the_audit_says) {
  play(PROCESSES, "processes.db", run_processes);
}

TEST(what_threads_were_told_is_what_the_audit_says) {
  play(THREADS, "threads.db", run_threads);
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  shared =
    mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return 1;
  RUN(
    what_processes_were_told_is_what_the_audit_says,
    "CM-2.3 §4.3, §5, §6, §9; CM-2.5; T5; D-5; D-7; D-8"
  );
  RUN(
    what_threads_were_told_is_what_the_audit_says,
    "CM-2.3 §4.3, §5, §6, §9; CM-2.5; T5; D-5; D-7; D-8"
  );
  munmap(shared, sizeof *shared);
  return test_report();
}
