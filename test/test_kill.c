/* SPDX-License-Identifier: MIT
**
** kill -9 at any moment loses nothing that was acknowledged, and leaves nothing that was not asked.
**
** In each cycle five processes use one file: three writers, a reader and one that makes backups.
** They are killed, in an order and at a moment that a seed picks: while they open (and, in the
** first cycle of a store, make) the file, write, checkpoint, recover what the cycle before left,
** copy, close. Sometimes one is killed first and the others must go on. All report through a pipe:
** a writer says what it is about to call, then what the call came to; so a call without an answer
** is one that the kill cut short. Then the file is read:
**
**   every acknowledged write is there, at its seq, with its hash, and once
**   an event that nobody acknowledged is the one call that its writer had begun: one a writer at most
**   a refused call left nothing; previous is always the event before's new
**   the chain continues the one of the cycle before, and custmem_check is content
**   what the reader saw was the instructor's own (the ids of customers carry a mark of their
**   instructor's, which the random source of a test can give them: so nobody has to be asked)
**   a backup that was finished is sound, of one moment, and the store continues its chains; one
**   that was cut short is refused, or just as good
**
** Half of the readings are on a read-only handle, which leaves the WAL to the next cycle as the
** killed left it. After some cycles a new store is begun: so reading it all stays cheap.
**
** The plan follows from the seed (CUSTMEM_SEED); what the scheduler makes of it does not.
** CUSTMEM_FAULTS=all makes 2,000 cycles.
*/
#define _XOPEN_SOURCE 700

#include "test.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATH_SIZE 512
#define TEXT_SIZE 64

enum {
  CYCLES = 2000,
  FEW_CYCLES = 60,
  STORE_CYCLES = 40, /* then a new store */
  INSTRUCTORS = 2,
  PEOPLE = 3, /* customers of each; writer n sets the display identifier of the n-th alone */
  CONVERSATIONS = 6,
  CALLS_MOST = 400, /* of a writer in a cycle; then it waits to be killed */
  COPIES_MOST = 40, /* likewise */
  WANTED_MOST = 12, /* acknowledgements, before the killing begins */
  DELAY_MOST_US = 4000,
  EVENTS_AT_ONCE = 64,
  PATIENT_MS = 30000 /* longer than any cycle: who waits so long has been left to starve */
};

enum worker_number { WRITERS = 3, READER = WRITERS, COPIER, WORKERS };

enum call { CREATE, SET_DISPLAY, LINK, RELINK, UNLINK };

static const char *const INSTRUCTOR_IDS[INSTRUCTORS] = {"instructor-a", "instructor-b"};

/* ---- What is reported ---------------------------------------------------------------------- */

enum report_kind { CALLED, ACKNOWLEDGED, REFUSED, SEEN, COPYING, COPIED, WRONG };

/* One report; it is written whole, being shorter than PIPE_BUF.
**
** what     enum report_kind
** number   of the call or copy, counted by its worker from 0; SEEN: of answers; WRONG: the line
** seq, hash  ACKNOWLEDGED: of the event
** counts   COPYING, COPIED: of the chains, just before and just after
*/
typedef struct report {
  int32_t worker, what, number, rc;
  int32_t call, instructor, conversation, person;
  int64_t seq;
  int64_t counts[INSTRUCTORS];
  char from[CUSTMEM_UUID_SIZE + 1];
  char to[CUSTMEM_UUID_SIZE + 1];
  char hash[CUSTMEM_HASH_SIZE + 1];
} report;

typedef struct worker {
  int number;
  int cycle;
  int is_made; /* the store is known to be there */
  int pipe;
  int calls;
  int marked_for; /* the instructor whose customer is made now */
  uint64_t seed;
  custmem *store;
  const char *path;
  char ids[INSTRUCTORS][PEOPLE][CUSTMEM_UUID_SIZE + 1];
} worker;

static void send_report(const worker *me, report *message) {
  message->worker = me->number;
  if (write(me->pipe, message, sizeof *message) != (ssize_t)sizeof *message) _exit(3);
}

/* Says that something is not as it must be, and ends. */
static void wrong(const worker *me, int line, int rc) {
  report message;
  memset(&message, 0, sizeof message);
  message.what = WRONG;
  message.number = line;
  message.rc = rc;
  send_report(me, &message);
  _exit(2);
}

#define MUST(me, condition, rc)                                                                \
  do {                                                                                         \
    if (!(condition)) wrong(me, __LINE__, rc);                                                 \
  } while (0)

static uint64_t below(uint64_t *seed, uint64_t limit) {
  return test_random(seed) % limit;
}

static void wait_to_be_killed(void) {
  for (;;)
    pause();
}

/* ---- Workers ------------------------------------------------------------------------------- */

/* The last byte of a customer's id says whose customer it is. */
static int marked_bytes(uint8_t *bytes, size_t size, void *ctx) {
  worker *me = ctx;
  size_t i;
  for (i = 0; i < size; i++)
    bytes[i] = (uint8_t)test_random(&me->seed);
  bytes[size - 1] = (uint8_t)(0xc0 | me->marked_for);
  return 0;
}

/* Whether an id, as it stands in a result, is empty or of a customer of this instructor. */
static int is_own(const char *customer_id, int instructor) {
  const char *mark = instructor == 0 ? "c0" : "c1";
  size_t size = strlen(customer_id);
  return size == 0 || (size == CUSTMEM_UUID_SIZE && strcmp(customer_id + size - 2, mark) == 0);
}

static void open_as_worker(worker *me, int read_only) {
  custmem_options options;
  int rc;
  custmem_options_init(&options);
  options.busy_timeout_ms = PATIENT_MS;
  options.read_only = read_only;
  options.random = marked_bytes;
  options.source_ctx = me;
  rc = custmem_open(me->path, &options, &me->store);
  MUST(me, rc == CUSTMEM_OK, rc);
}

static void reopen_as_worker(worker *me, int read_only) {
  int rc = custmem_close(me->store);
  MUST(me, rc == CUSTMEM_OK, rc);
  open_as_worker(me, read_only);
}

static const char *phone_of(int instructor, int person, char text[TEXT_SIZE]) {
  /* Both instructors know the same people. */
  (void)instructor;
  snprintf(text, TEXT_SIZE, "+39 333 12345%02d", person);
  return text;
}

static const char *conversation_of(int conversation, char text[TEXT_SIZE]) {
  snprintf(text, TEXT_SIZE, "conversation-%d", conversation);
  return text;
}

/* Said once, of one call: the reason in the audit, or what a display identifier is set to. */
static const char *words_of(int writer, int cycle, int number, char text[TEXT_SIZE]) {
  snprintf(text, TEXT_SIZE, "writer %d, cycle %d, call %d", writer, cycle, number);
  return text;
}

static int is_expected(int call, int rc) {
  switch (rc) {
  case CUSTMEM_OK:
    return 1;
  case CUSTMEM_ALREADY_LINKED:
    return call == LINK;
  case CUSTMEM_CHANGED:
  case CUSTMEM_NOT_LINKED:
    return call == RELINK || call == UNLINK;
  case CUSTMEM_NO_CHANGE:
    return call == RELINK;
  case CUSTMEM_OTHER_INSTRUCTOR:
    return call >= LINK;
  default:
    return 0;
  }
}

static int make_call(worker *me, const report *asked, custmem_written *written, char *made_id) {
  custmem_actor actor = test_human(INSTRUCTOR_IDS[asked->instructor]);
  custmem_customer customer;
  char conversation[TEXT_SIZE], words[TEXT_SIZE], phone[TEXT_SIZE];
  int rc;
  memset(written, 0, sizeof *written);
  conversation_of(asked->conversation, conversation);
  words_of(me->number, me->cycle, asked->number, words);
  phone_of(asked->instructor, asked->person, phone);
  switch (asked->call) {
  case CREATE:
    me->marked_for = asked->instructor;
    rc = custmem_customer_create(
      me->store, &actor, "whatsapp", phone, -1, NULL, 0, &customer, NULL
    );
    strcpy(made_id, customer.id);
    return rc;
  case SET_DISPLAY:
    return custmem_customer_set_display(me->store, &actor, asked->to, words, -1, NULL);
  case LINK:
    return custmem_link(
      me->store, &actor, conversation, asked->to, words, -1, NULL, 0, written
    );
  case RELINK:
    return custmem_relink(
      me->store, &actor, conversation, asked->from, asked->to, words, -1, "with a context", -1,
      written
    );
  default:
    return custmem_unlink(
      me->store, &actor, conversation, asked->from, words, -1, NULL, 0, written
    );
  }
}

/* Announces a call, makes it, and says what it came to. */
static void call_and_report(worker *me, report *message) {
  custmem_written written;
  char made_id[CUSTMEM_UUID_SIZE + 1] = "";
  if (me->calls >= CALLS_MOST) wait_to_be_killed();
  message->what = CALLED;
  message->number = me->calls++;
  send_report(me, message);
  message->rc = make_call(me, message, &written, made_id);
  MUST(me, is_expected(message->call, message->rc), message->rc);
  message->what = message->rc == CUSTMEM_OK ? ACKNOWLEDGED : REFUSED;
  message->seq = written.seq;
  strcpy(message->hash, written.head.hash);
  if (message->call == CREATE) strcpy(message->to, made_id);
  send_report(me, message);
  if (message->call == CREATE) strcpy(me->ids[message->instructor][message->person], made_id);
}

/* Looks whom a conversation is linked to, and changes that: the others may come in between. */
static void write_once(worker *me) {
  report message;
  custmem_resolution found;
  char conversation[TEXT_SIZE];
  int rc;
  memset(&message, 0, sizeof message);
  message.conversation = (int32_t)below(&me->seed, CONVERSATIONS);
  message.instructor = message.conversation % INSTRUCTORS;
  message.person = (int32_t)below(&me->seed, PEOPLE);
  strcpy(message.to, me->ids[message.instructor][message.person]);
  if (below(&me->seed, 8) == 0) {
    message.call = SET_DISPLAY;
    message.person = me->number;
    strcpy(message.to, me->ids[message.instructor][message.person]);
    call_and_report(me, &message);
    return;
  }
  conversation_of(message.conversation, conversation);
  rc = custmem_resolve(
    me->store, INSTRUCTOR_IDS[message.instructor], conversation, NULL, NULL, 0, &found
  );
  MUST(me, rc == CUSTMEM_OK, rc);
  strcpy(message.from, found.customer_id);
  message.call = LINK;
  if (found.outcome == CUSTMEM_LINKED) {
    message.call = below(&me->seed, 3) == 0 ? UNLINK : RELINK;
    if (below(&me->seed, 12) == 0) message.instructor = 1 - message.instructor;
  }
  if (message.call == UNLINK) message.to[0] = '\0';
  if (message.call != UNLINK) strcpy(message.to, me->ids[message.instructor][message.person]);
  call_and_report(me, &message);
}

static void write_on_and_on(worker *me) {
  int i;
  open_as_worker(me, 0);
  for (i = 0; i < INSTRUCTORS * PEOPLE; i++) {
    report message;
    memset(&message, 0, sizeof message);
    message.call = CREATE;
    message.instructor = i % INSTRUCTORS;
    message.person = i / INSTRUCTORS;
    call_and_report(me, &message);
  }
  for (;;) {
    write_once(me);
    if (below(&me->seed, 16) == 0) reopen_as_worker(me, 0);
  }
}

/* Everything that a conversation and its instructor show. */
static void read_conversation(worker *me, int instructor, int conversation, int64_t *count) {
  const char *who = INSTRUCTOR_IDS[instructor];
  char name[TEXT_SIZE], phone[TEXT_SIZE];
  custmem_resolution found[2];
  custmem_customer customers[PEOPLE + 1];
  custmem_head head;
  custmem_query page[2] = {{NULL, "whatsapp", NULL, -1}, {"conversation-new", NULL, NULL, -1}};
  int32_t listed, i;
  int rc;
  page[0].conversation_id = conversation_of(conversation, name);
  page[0].raw_identifier = page[1].raw_identifier = phone_of(instructor, 0, phone);
  page[1].channel = page[0].channel;
  rc = custmem_resolve_many(me->store, who, page, 2, found);
  MUST(me, rc == CUSTMEM_OK, rc);
  MUST(me, is_own(found[0].customer_id, instructor), found[0].outcome);
  MUST(me, is_own(found[1].customer_id, instructor), found[1].outcome);
  MUST(me, found[1].outcome != CUSTMEM_LINKED, found[1].outcome);
  rc = custmem_resolve(me->store, who, name, "whatsapp", phone, -1, &found[1]);
  MUST(me, rc == CUSTMEM_OK, rc);
  MUST(me, is_own(found[1].customer_id, instructor), found[1].outcome);
  rc = custmem_customer_list(me->store, who, NULL, customers, PEOPLE + 1, &listed);
  MUST(me, rc == CUSTMEM_OK && listed <= PEOPLE, rc);
  for (i = 0; i < listed; i++)
    MUST(me, is_own(customers[i].id, instructor), listed);
  rc = custmem_audit_head(me->store, who, &head);
  MUST(me, rc == CUSTMEM_OK && head.count >= *count, rc); /* what was seen stays */
  *count = head.count;
}

static void read_events(worker *me, int instructor, int64_t after) {
  custmem_event events[8];
  int32_t count, i;
  int rc = custmem_audit_read(me->store, INSTRUCTOR_IDS[instructor], after, events, 8, &count);
  MUST(me, rc == CUSTMEM_OK, rc);
  for (i = 0; i < count; i++) {
    MUST(me, is_own(events[i].previous_customer_id, instructor), count);
    MUST(me, is_own(events[i].new_customer_id, instructor), count);
    MUST(me, events[i].seq == after + 1 + i, count);
  }
}

static void read_on_and_on(worker *me) {
  int64_t counts[INSTRUCTORS] = {0, 0};
  open_as_worker(me, me->is_made && below(&me->seed, 2) == 0);
  for (;;) {
    report message;
    int instructor, conversation;
    memset(&message, 0, sizeof message);
    message.what = SEEN;
    for (instructor = 0; instructor < INSTRUCTORS; instructor++) {
      for (conversation = 0; conversation < CONVERSATIONS; conversation++)
        read_conversation(me, instructor, conversation, &counts[instructor]);
      read_events(me, instructor, counts[instructor] > 8 ? counts[instructor] - 8 : 0);
    }
    message.number = 3 * INSTRUCTORS * CONVERSATIONS;
    send_report(me, &message);
    if (below(&me->seed, 16) == 0)
      reopen_as_worker(me, me->is_made && below(&me->seed, 2) == 0);
  }
}

static void read_counts(worker *me, int64_t counts[INSTRUCTORS]) {
  custmem_head head;
  int i;
  for (i = 0; i < INSTRUCTORS; i++) {
    int rc = custmem_audit_head(me->store, INSTRUCTOR_IDS[i], &head);
    MUST(me, rc == CUSTMEM_OK, rc);
    counts[i] = head.count;
  }
}

static const char *copy_path(const char *path, int number, char text[PATH_SIZE]) {
  snprintf(text, PATH_SIZE, "%.400s-copy-%d", path, number);
  return text;
}

static void copy_on_and_on(worker *me) {
  char path[PATH_SIZE];
  int number;
  open_as_worker(me, 0);
  for (number = 0; number < COPIES_MOST; number++) {
    report message;
    memset(&message, 0, sizeof message);
    message.what = COPYING;
    message.number = number;
    read_counts(me, message.counts);
    send_report(me, &message);
    message.rc = custmem_backup(me->store, copy_path(me->path, number, path));
    MUST(me, message.rc == CUSTMEM_OK, message.rc);
    read_counts(me, message.counts);
    message.what = COPIED;
    send_report(me, &message);
  }
  wait_to_be_killed();
}

/* ---- A cycle ------------------------------------------------------------------------------- */

typedef struct call_record {
  report called;
  report answer; /* what WRONG: none came */
  int claimed;   /* its event was found */
} call_record;

/* What is known of a store: what every cycle so far has left. */
typedef struct ledger {
  char path[PATH_SIZE];
  int cycle; /* of the run */
  int age;   /* in cycles */
  custmem_head heads[INSTRUCTORS];
  char links[CONVERSATIONS][CUSTMEM_UUID_SIZE + 1];
  char ids[INSTRUCTORS][PEOPLE][CUSTMEM_UUID_SIZE + 1];
  char displays[INSTRUCTORS][PEOPLE][TEXT_SIZE];
} ledger;

static struct {
  ledger store;
  pid_t processes[WORKERS];
  int killed[WORKERS];
  int pipe;
  int acknowledged; /* in this cycle, so far */
  int calls[WRITERS];
  call_record records[WRITERS][CALLS_MOST];
  int copies;
  report copying[COPIES_MOST], copied[COPIES_MOST];
} now;

static struct {
  int64_t acknowledged, lost, surplus, refused, answers, wrong;
  int64_t copies, cut_short, cut_short_but_whole;
} total;

static void take_report(const report *message) {
  switch (message->what) {
  case CALLED:
    now.records[message->worker][message->number].called = *message;
    now.records[message->worker][message->number].answer.what = WRONG;
    now.records[message->worker][message->number].claimed = 0;
    now.calls[message->worker] = message->number + 1;
    break;
  case ACKNOWLEDGED:
  case REFUSED:
    now.records[message->worker][message->number].answer = *message;
    now.acknowledged += message->what == ACKNOWLEDGED;
    total.refused += message->what == REFUSED;
    break;
  case SEEN:
    total.answers += message->number;
    break;
  case COPYING:
    now.copying[message->number] = *message;
    now.copied[message->number].what = WRONG;
    now.copies = message->number + 1;
    break;
  case COPIED:
    now.copied[message->number] = *message;
    break;
  default:
    total.wrong++;
    CHECK_INT(message->what, CALLED); /* never */
    printf(
      "  cycle %d: worker %d is not content at line %d: %s\n", now.store.cycle, message->worker,
      message->number, custmem_code_name(message->rc)
    );
  }
}

/* Takes reports until `acknowledged` of this cycle, or the end of the pipe. 0: it came to its end. */
static int take_reports_until(int acknowledged) {
  while (now.acknowledged < acknowledged) {
    struct pollfd ready = {now.pipe, POLLIN, 0};
    report message;
    ssize_t size;
    if (!CHECK(poll(&ready, 1, PATIENT_MS) > 0)) return 0;
    size = read(now.pipe, &message, sizeof message);
    if (size == 0) return 0;
    if (!CHECK_INT(size, sizeof message)) return 0;
    take_report(&message);
  }
  return 1;
}

static void start_workers(uint64_t seed) {
  static void (*const works[WORKERS])(worker *) = {
    write_on_and_on, write_on_and_on, write_on_and_on, read_on_and_on, copy_on_and_on};
  int ends[2], i;
  if (pipe(ends) != 0) abort();
  for (i = 0; i < WORKERS; i++) {
    static worker me;
    pid_t process;
    memset(&me, 0, sizeof me);
    me.number = i;
    me.cycle = now.store.cycle;
    me.is_made = now.store.age > 0;
    me.pipe = ends[1];
    me.seed = seed + (uint64_t)i * 1000003;
    me.path = now.store.path;
    process = fork();
    if (process < 0) abort();
    if (process == 0) {
      close(ends[0]);
      works[i](&me);
      _exit(4);
    }
    now.processes[i] = process;
    now.killed[i] = 0;
  }
  close(ends[1]);
  now.pipe = ends[0];
}

static void kill_worker(int number) {
  if (now.killed[number]) return;
  now.killed[number] = 1;
  CHECK_INT(kill(now.processes[number], SIGKILL), 0);
}

static void sleep_us(uint64_t microseconds) {
  struct timespec left;
  left.tv_sec = 0;
  left.tv_nsec = (long)microseconds * 1000;
  nanosleep(&left, NULL);
}

/* Starts the workers, kills them as the seed says, and takes what they still had to say. */
static void run_cycle(uint64_t *seed) {
  int wanted = (int)below(seed, WANTED_MOST), first = (int)below(seed, WORKERS);
  int is_one_first = below(seed, 3) == 0, i;
  now.acknowledged = now.copies = 0;
  memset(now.calls, 0, sizeof now.calls);
  start_workers(test_random(seed));
  take_reports_until(wanted);
  sleep_us(below(seed, DELAY_MOST_US));
  kill_worker(first);
  /* The others are not held up by a dead one. */
  if (is_one_first) take_reports_until(now.acknowledged + 3);
  for (i = 1; i < WORKERS; i++) {
    if (below(seed, 4) == 0) sleep_us(below(seed, DELAY_MOST_US / 8));
    kill_worker((first + i) % WORKERS);
  }
  take_reports_until(INT32_MAX);
  close(now.pipe);
  for (i = 0; i < WORKERS; i++) {
    int status = 0;
    CHECK_INT(waitpid(now.processes[i], &status, 0), now.processes[i]);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  }
}

/* ---- What the file holds then -------------------------------------------------------------- */

static custmem *open_to_judge(const char *path, int read_only, int *rc) {
  custmem_options options;
  custmem *store = NULL;
  custmem_options_init(&options);
  options.busy_timeout_ms = PATIENT_MS;
  options.read_only = read_only;
  *rc = custmem_open(path, &options, &store);
  return store;
}

/* The call whose words a new event has, or NULL. */
static call_record *call_of_event(const custmem_event *event) {
  int writer, number;
  for (writer = 0; writer < WRITERS; writer++)
    for (number = 0; number < now.calls[writer]; number++) {
      char words[TEXT_SIZE];
      if (now.records[writer][number].claimed) continue;
      if (strcmp(event->reason, words_of(writer, now.store.cycle, number, words)) == 0)
        return &now.records[writer][number];
    }
  return NULL;
}

/* One event that this cycle has made. */
static void judge_event(int instructor, const custmem_event *event, int surplus[WRITERS]) {
  custmem_head *head = &now.store.heads[instructor];
  call_record *record = call_of_event(event);
  char *link, conversation[TEXT_SIZE];
  REQUIRE(record != NULL);
  record->claimed = 1;
  link = now.store.links[record->called.conversation];
  CHECK_INT(event->seq, head->count + 1);
  CHECK_INT(instructor, record->called.instructor);
  CHECK_TEXT(
    event->conversation_id, conversation_of(record->called.conversation, conversation)
  );
  CHECK_TEXT(event->previous_customer_id, link);
  CHECK_TEXT(event->previous_customer_id, record->called.from);
  CHECK_TEXT(event->new_customer_id, record->called.to);
  CHECK(record->answer.what == ACKNOWLEDGED || record->answer.what == WRONG);
  if (record->answer.what == ACKNOWLEDGED) {
    CHECK_INT(event->seq, record->answer.seq);
    CHECK_TEXT(event->hash, record->answer.hash);
  } else {
    surplus[record->called.worker]++;
    total.surplus++;
  }
  strcpy(link, event->new_customer_id);
  head->count = event->seq;
  strcpy(head->hash, event->hash);
}

static void judge_events(custmem *store, int instructor, int surplus[WRITERS]) {
  static custmem_event events[EVENTS_AT_ONCE];
  int32_t count = EVENTS_AT_ONCE, i;
  while (count == EVENTS_AT_ONCE) {
    int64_t after = now.store.heads[instructor].count;
    int rc = custmem_audit_read(
      store, INSTRUCTOR_IDS[instructor], after, events, EVENTS_AT_ONCE, &count
    );
    REQUIRE(CHECK_INT(rc, CUSTMEM_OK));
    for (i = 0; i < count; i++)
      judge_event(instructor, &events[i], surplus);
    REQUIRE(CHECK_INT(now.store.heads[instructor].count, after + count));
  }
}

/* What is stored of a customer is what was acknowledged last, or the call that was cut short. */
static void judge_display(custmem *store, int instructor, int person) {
  char *known = now.store.displays[instructor][person], words[TEXT_SIZE], begun[TEXT_SIZE] = "";
  custmem_customer customer;
  int number;
  for (number = 0; number < now.calls[person]; number++) {
    const call_record *record = &now.records[person][number];
    if (record->called.call != SET_DISPLAY || record->called.instructor != instructor) continue;
    words_of(person, now.store.cycle, number, words);
    strcpy(record->answer.what == ACKNOWLEDGED ? known : begun, words);
  }
  CHECK_INT(
    custmem_customer_get(
      store, INSTRUCTOR_IDS[instructor], now.store.ids[instructor][person], &customer
    ),
    CUSTMEM_OK
  );
  if (begun[0] != '\0' && strcmp(customer.display_identifier, begun) == 0) strcpy(known, begun);
  CHECK_TEXT(customer.display_identifier, known);
}

/* A customer whose making was acknowledged has kept its id; any other is found or not. */
static void judge_customer(custmem *store, int instructor, int person) {
  char *known = now.store.ids[instructor][person], phone[TEXT_SIZE];
  custmem_customer customer;
  int rc = custmem_customer_find(
    store, INSTRUCTOR_IDS[instructor], "whatsapp", phone_of(instructor, person, phone), -1,
    &customer
  );
  CHECK(rc == CUSTMEM_OK || (known[0] == '\0' && rc == CUSTMEM_NO_CUSTOMER));
  if (rc != CUSTMEM_OK) return;
  if (known[0] == '\0') strcpy(known, customer.id);
  CHECK_TEXT(customer.id, known);
  CHECK(is_own(customer.id, instructor));
  judge_display(store, instructor, person);
}

/* Every call that was acknowledged has left what it said. */
static void judge_calls(void) {
  int writer, number;
  for (writer = 0; writer < WRITERS; writer++)
    for (number = 0; number < now.calls[writer]; number++) {
      call_record *record = &now.records[writer][number];
      char *known = now.store.ids[record->called.instructor][record->called.person];
      if (record->answer.what != ACKNOWLEDGED) {
        /* Only the last one can have been cut short. */
        CHECK(record->answer.what == REFUSED || number == now.calls[writer] - 1);
        continue;
      }
      total.acknowledged++;
      if (record->called.call == CREATE) {
        if (known[0] == '\0') strcpy(known, record->answer.to);
        CHECK_TEXT(record->answer.to, known);
      }
      if (record->called.call < LINK) continue;
      total.lost += !record->claimed;
      CHECK(record->claimed);
    }
}

static void judge_links(custmem *store) {
  int conversation, instructor;
  for (conversation = 0; conversation < CONVERSATIONS; conversation++)
    for (instructor = 0; instructor < INSTRUCTORS; instructor++) {
      char name[TEXT_SIZE];
      custmem_resolution found;
      CHECK_INT(
        custmem_resolve(
          store, INSTRUCTOR_IDS[instructor], conversation_of(conversation, name), NULL, NULL, 0,
          &found
        ),
        CUSTMEM_OK
      );
      CHECK_TEXT(
        found.customer_id,
        conversation % INSTRUCTORS == instructor ? now.store.links[conversation] : ""
      );
    }
}

/* A backup: finished, or what a killed one has left. */
static void judge_copy(custmem *store, int number) {
  const report *before = &now.copying[number], *after = &now.copied[number];
  char path[PATH_SIZE];
  custmem_report found;
  int is_finished = after->what == COPIED, rc, i;
  custmem *copy = open_to_judge(copy_path(now.store.path, number, path), 1, &rc);
  if (is_finished) CHECK_INT(rc, CUSTMEM_OK);
  total.copies += is_finished;
  total.cut_short += !is_finished;
  total.cut_short_but_whole += !is_finished && rc == CUSTMEM_OK;
  if (rc == CUSTMEM_OK) {
    CHECK_INT(custmem_check(copy, &found), CUSTMEM_OK);
    for (i = 0; i < INSTRUCTORS; i++) {
      custmem_head head;
      CHECK_INT(custmem_audit_head(copy, INSTRUCTOR_IDS[i], &head), CUSTMEM_OK);
      CHECK(head.count >= before->counts[i]);
      CHECK(!is_finished || head.count <= after->counts[i]);
      CHECK_INT(custmem_audit_verify(store, INSTRUCTOR_IDS[i], &head, &found), CUSTMEM_OK);
    }
    CHECK_INT(custmem_close(copy), CUSTMEM_OK);
  }
  test_store_remove(path);
}

static void judge_cycle(int read_only) {
  int surplus[WRITERS] = {0, 0, 0}, i, rc;
  custmem_head before[INSTRUCTORS];
  custmem_report found;
  custmem *store = open_to_judge(now.store.path, read_only, &rc);
  REQUIRE(CHECK_INT(rc, CUSTMEM_OK));
  CHECK_INT(custmem_check(store, &found), CUSTMEM_OK);
  for (i = 0; i < INSTRUCTORS; i++) {
    before[i] = now.store.heads[i];
    judge_events(store, i, surplus);
    if (before[i].count > 0)
      CHECK_INT(custmem_audit_verify(store, INSTRUCTOR_IDS[i], &before[i], &found), CUSTMEM_OK);
  }
  CHECK_INT(found.fault, CUSTMEM_FAULT_NONE);
  for (i = 0; i < WRITERS; i++)
    CHECK(surplus[i] <= 1);
  judge_calls();
  for (i = 0; i < INSTRUCTORS * PEOPLE; i++)
    judge_customer(store, i % INSTRUCTORS, i / INSTRUCTORS);
  judge_links(store);
  for (i = 0; i < now.copies; i++)
    judge_copy(store, i);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* ---- The test ------------------------------------------------------------------------------ */

static void begin_store(int cycle) {
  char name[TEXT_SIZE];
  memset(&now.store, 0, sizeof now.store);
  snprintf(name, sizeof name, "store-%d.db", cycle / STORE_CYCLES);
  strcpy(now.store.path, test_path(name));
}

/* Whether every kind of work got its turn. */
static int has_seen_all(int cycles) {
  return total.acknowledged > cycles && total.answers > cycles && total.copies > 0 &&
         total.cut_short > 0;
}

/* When a process is killed is the scheduler's: on a machine with much else to do more cycles are needed
** until readers answer, a backup ends in time, and another does not. */
static int is_enough(int cycle, int cycles) {
  return cycle >= cycles && (has_seen_all(cycles) || cycle >= 20 * cycles);
}

TEST(what_was_acknowledged_survives_kill_9_and_what_was_not_asked_is_not_there) {
  uint64_t seed = test_seed();
  int cycles = test_is_full() ? CYCLES : FEW_CYCLES, cycle;
  for (cycle = 0; !is_enough(cycle, cycles); cycle++) {
    if (cycle % STORE_CYCLES == 0) begin_store(cycle);
    now.store.cycle = cycle;
    run_cycle(&seed);
    /* The first time, the store may not be made yet. */
    judge_cycle(now.store.age > 0 && below(&seed, 2) == 0);
    now.store.age++;
  }
  printf(
    "  kill -9: %d cycles, seed %" PRIu64 ": %" PRId64 " acknowledged, %" PRId64
    " lost; %" PRId64 " surplus, one a writer at most; %" PRId64 " refused; %" PRId64
    " answers, %" PRId64 " wrong; %" PRId64 " backups sound; %" PRId64 " cut short, %" PRId64
    " of them whole\n",
    cycle, test_seed(), total.acknowledged, total.lost, total.surplus, total.refused,
    total.answers, total.wrong, total.copies, total.cut_short, total.cut_short_but_whole
  );
  CHECK(has_seen_all(cycles));
  CHECK_INT(total.wrong, 0);
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  RUN(
    what_was_acknowledged_survives_kill_9_and_what_was_not_asked_is_not_there,
    "CM-1 §4.3; CM-2.1 §5; CM-2.3 §4.2, §4.3, §6, §9; CM-2.5; T4; T5; D-5; D-7; D-8"
  );
  return test_report();
}
