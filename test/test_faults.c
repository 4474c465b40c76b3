/* SPDX-License-Identifier: MIT
**
** Nothing is lost, whatever fails: one allocation after another, and one call of the file system
** after another, is made to fail under every public call that takes a store or opens one.
**
** A scenario is a call on a store made for it. A sweep takes a scenario, a kind of fault and a mode
** (once; from there on; from there on until the store is closed), and makes the Nth occasion fail,
** N = 1, 2, … until none is left. Each of these points is a run of its own: a fresh copy of the
** files, the call under the fault, and then, the fault gone:
**
**   the code       one that custmem.h lists for the call, and that fits the fault
**   the answer     what it is without a fault, or what custmem.h says of an error
**   the handle     no transaction is open; it shows the write if, and only if, the call said OK
**   a crash        a copy of the files as they lie there recovers to the same; only after
**                  UNKNOWN_OUTCOME to either
**   the others     a second connection can write at once
**   again          the call, repeated, succeeds or is refused rightly
**   reopened       custmem_check is content, and what is stored is what was written
**   no leak        of memory, of files
**
** While a lasting fault is still there, resolutions give the right customer or none.
**
** By default a run visits a share of the points, always the same ones: those that CUSTMEM_SEED (a
** number) picks. CUSTMEM_FAULTS=all visits them all, with CUSTMEM_FAULTS_PART=8 one in eight;
** CUSTMEM_FAULTS_ONLY=text those whose description holds the text ("link, warm: fsync fails, once, n 1"
** is one).
*/
#define _XOPEN_SOURCE 700

#include "documented.h"
#include "faults.h"
#include "test.h"
#include "vfs_shim.h"

#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MEMORY_SHARE    97
#define DISK_SHARE      11
#define TEXT_SIZE       16384
#define PATH_SIZE       512
#define ROWS            32
#define COMPLAINTS      3 /* printed of a sweep; the others are counted */
#define BUSY_TIMEOUT_MS 1000
#define WAL_RETRIES_MS  10000 /* SQLite's own, on top, where a lock of the WAL's index is held */
#define MANY            120
#define LATE_POINTS     4
#define EARLY_POINTS    400
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* From there on, until the call returns; or until the store is closed. */
enum mode { ONCE, PERSISTENT, TO_THE_END, MODES };
static const char *const MODE_NAMES[MODES] = {"once", "persistent", "to the end"};

/* ---- Images of files ----------------------------------------------------------------------- */

/* A database with what may lie beside it. The -shm file is never copied: what is left of it after a
** crash is not read. */
static const char *const SUFFIXES[] = {"", "-wal", "-journal"};

typedef struct image {
  unsigned char *bytes[3];
  size_t size[3]; /* 0: no such file */
} image;

static int is_there(const char *path, const char *suffix) {
  return access(test_beside(path, suffix), F_OK) == 0;
}

/* Closing a file that SQLite has open drops this process's locks on it: here that harms nobody,
** since nobody but this process is there. */
static void load_image(image *files, const char *path) {
  size_t i;
  for (i = 0; i < COUNT_OF(SUFFIXES); i++) {
    size_t capacity = 0;
    free(files->bytes[i]);
    files->bytes[i] = NULL;
    files->size[i] =
      test_file_load(test_beside(path, SUFFIXES[i]), &files->bytes[i], &capacity);
  }
}

static void save_image(const image *files, const char *path) {
  size_t i;
  test_store_remove(path);
  for (i = 0; i < COUNT_OF(SUFFIXES); i++)
    if (files->size[i] > 0 && !test_file_write(test_beside(path, SUFFIXES[i]), files->bytes[i], files->size[i]))
      abort();
}

/* ---- The world ------------------------------------------------------------------------------
** Instructor A has three customers, conversations in every state, and events; instructor B has one
** of each. */

#define A "instructor-a"
#define B "instructor-b"

#define FREE        "conversation-free"        /* A's candidate: Anna writes, never linked */
#define LINKED      "conversation-linked"      /* A's, to Anna */
#define RELINKED    "conversation-relinked"    /* A's, from Anna to Bruno */
#define UNLINKED    "conversation-unlinked"    /* A's, linked to Anna once */
#define FOREIGN     "conversation-of-b"        /* B's, to Dora */
#define UNKNOWN     "conversation-of-a-nobody" /* nobody has this number */
#define ANNA_NUMBER "+39 333 1234567"

enum person { ANNA, BRUNO, CARLA, DORA, PEOPLE };

static struct {
  char path[PATH_SIZE], copy[PATH_SIZE], target[PATH_SIZE];
  char ids[PEOPLE][CUSTMEM_UUID_SIZE + 1];
  custmem_head anchor;
  image many;        /* with MANY customers: an index of several pages */
  image sound;       /* closed */
  image crashed;     /* the same, and more in a WAL that nobody has checkpointed */
  image full;        /* a WAL whose index has hardly room for another frame */
  image interrupted; /* a store half made, with a hot journal */
  image broken;      /* an audit event was altered */
  image stray;       /* a link that no event made */
  image torn;        /* a first page of garbage, and a WAL that has it whole */
  image unmarked;    /* half made: the mark is not on the disk yet */
  image other;       /* another application's database */

  custmem *store;
  sqlite3 *db;          /* the store's connection */
  int checkpoint_pages; /* how long a WAL makes a commit checkpoint; 0: none does */
  char answer[TEXT_SIZE];
  char open_message[CUSTMEM_MESSAGE_MAX + 1];
  int told;              /* how often the listener was told of an event */
  int64_t told_slept_us; /* in calls of its own */
  int told_wrong;
  int64_t memory;
  int64_t open_files;
  int next_descriptor;
} world;

static const char *const NAMES[PEOPLE] = {"Anna", "Bruno", "Carla", "Dora"};

static const char *name_of(const char *customer_id) {
  int person;
  for (person = 0; person < PEOPLE; person++)
    if (strcmp(world.ids[person], customer_id) == 0) return NAMES[person];
  return customer_id[0] == '\0' ? "nobody" : customer_id;
}

/* Appends to a text of TEXT_SIZE bytes. */
static void say(char *text, const char *format, ...) {
  size_t size = strlen(text);
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text + size, TEXT_SIZE - size, format, arguments);
  va_end(arguments);
}

static int meeting;

/* SQLite calls this for every connection that it opens. The first one that open_with makes it open is
** the store's; what comes after is for copying pages, and is closed again. */
static int meet_connection(sqlite3 *db, char **message, const void *api) {
  (void)message, (void)api;
  if (meeting) world.db = db;
  meeting = 0;
  return SQLITE_OK;
}

/* A clock and a random source that repeat; a store's own past is made of another row than what is done
** in a run. */
enum row { PAST, PRESENT };

static struct {
  int64_t clock_ms;
  uint64_t seed;
} sources;

static void reset_sources(enum row row) {
  sources.clock_ms = INT64_C(1750000000000) + row * INT64_C(1000000);
  sources.seed = (uint64_t)row;
}

static int64_t now_ms(void *ctx) {
  (void)ctx;
  return sources.clock_ms += 1000;
}

static int random_bytes(uint8_t *bytes, size_t size, void *ctx) {
  size_t i;
  (void)ctx;
  for (i = 0; i < size; i++)
    bytes[i] = (uint8_t)test_random(&sources.seed);
  return 0;
}

static int open_with(const char *path, int read_only, int exclusive, custmem **store) {
  custmem_options options;
  char *message = world.open_message;
  sqlite3 *kept = world.db; /* a copy's connection is not the one under test */
  int rc;
  strcpy(message, "stale");
  custmem_options_init(&options);
  options.now_ms = now_ms;
  options.random = random_bytes;
  options.read_only = read_only;
  options.exclusive = exclusive;
  options.message = message;
  options.message_size = sizeof world.open_message;
  meeting = 1;
  rc = custmem_open(path, &options, store);
  meeting = 0;
  if (*store != NULL) sqlite3_wal_autocheckpoint(world.db, world.checkpoint_pages);
  if (strcmp(path, world.path) != 0 && strcmp(path, ":memory:") != 0) world.db = kept;
  say(world.answer, "store %s\n", *store != NULL ? "open" : "NULL");
  say(
    world.answer, "message %s\n",
    strcmp(message, "stale") == 0 ? "not written"
    : message[0] != '\0'          ? "given"
                                  : "empty"
  );
  return rc;
}

static void close_store(void) {
  custmem *store = world.store;
  world.store = NULL;
  world.db = NULL;
  custmem_close(store);
}

/* The next descriptor that this process would be given, whoever opened the others. */
static int next_descriptor(void) {
  int descriptor = dup(STDOUT_FILENO);
  close(descriptor);
  return descriptor;
}

/* ---- What a store shows -------------------------------------------------------------------- */

static void say_resolution(char *text, const custmem_resolution *found) {
  say(
    text, "%s %s %s refusal %d step %d %s\n", custmem_outcome_name(found->outcome),
    custmem_why_name(found->why), name_of(found->customer_id), found->refusal, found->step,
    found->event_name
  );
}

/* Every kind of outcome, one a line. */
static void say_resolutions(custmem *store, char *text) {
  static const char *const conversations[] = {FREE,     LINKED,  RELINKED,
                                              UNLINKED, FOREIGN, UNKNOWN};
  size_t i;
  text[0] = '\0';
  for (i = 0; i < COUNT_OF(conversations); i++) {
    custmem_resolution found;
    int is_unknown = strcmp(conversations[i], UNKNOWN) == 0;
    custmem_resolve(
      store, A, conversations[i], "whatsapp", is_unknown ? "+39 333 7654321" : ANNA_NUMBER, -1,
      &found
    );
    say_resolution(text, &found);
  }
}

static void say_event(char *text, const custmem_event *event) {
  say(
    text, "%" PRId64 " %s %s %s>%s by %s: %s (%s)\n", event->seq, event->event_name,
    event->conversation_id, name_of(event->previous_customer_id),
    name_of(event->new_customer_id), event->actor_id, event->reason, event->context
  );
}

static int say_instructor(custmem *store, const char *instructor_id, char *text) {
  static custmem_customer customers[ROWS];
  static custmem_event events[ROWS];
  static custmem_conversation conversations[ROWS];
  int32_t count, links, i, k;
  int rc = custmem_customer_list(store, instructor_id, NULL, customers, ROWS, &count);
  for (i = 0; rc == CUSTMEM_OK && i < count; i++) {
    say(
      text, "%s %s (%s):", customers[i].channel, customers[i].normalized_identifier,
      customers[i].display_identifier
    );
    rc = custmem_conversations(
      store, instructor_id, customers[i].id, NULL, conversations, ROWS, &links
    );
    for (k = 0; k < links; k++)
      say(text, " %s", conversations[k].conversation_id);
    say(text, "\n");
  }
  if (rc == CUSTMEM_OK) rc = custmem_audit_read(store, instructor_id, 0, events, ROWS, &count);
  for (i = 0; rc == CUSTMEM_OK && i < count; i++)
    say_event(text, &events[i]);
  return rc;
}

/* All that is stored, but for times and made-up ids, which differ when a call is repeated. */
static void say_state(custmem *store, char *text) {
  int rc;
  say_resolutions(store, text);
  rc = say_instructor(store, A, text);
  if (rc == CUSTMEM_OK) rc = say_instructor(store, B, text);
  if (rc != CUSTMEM_OK) say(text, "%s: %s\n", custmem_code_name(rc), custmem_errmsg(store));
}

/* Whether each line is the expected one, or a resolution that says that it could not look. */
static int is_right_or_none(const char *got, const char *want) {
  while (*got != '\0') {
    size_t size = strcspn(got, "\n"), want_size = strcspn(want, "\n");
    static const char none[] = "unlinked lookup_failed nobody ";
    if ((size != want_size || memcmp(got, want, size) != 0) && strncmp(got, none, sizeof none - 1) != 0)
      return 0;
    got += size + 1;
    want += want_size + (want[want_size] != '\0');
  }
  return 1;
}

/* ---- The calls ------------------------------------------------------------------------------
** Each makes one public call on world.store, and says in world.answer what it was given. */

static int call_open(void) {
  return open_with(world.path, 0, 0, &world.store);
}

static int call_open_memory(void) {
  return open_with(":memory:", 0, 0, &world.store);
}

static int call_open_read_only(void) {
  return open_with(world.path, 1, 0, &world.store);
}

static int call_open_exclusive(void) {
  return open_with(world.path, 0, 1, &world.store);
}

static int call_close(void) {
  custmem *store = world.store;
  world.store = NULL;
  world.db = NULL;
  return custmem_close(store);
}

static int call_store_info(void) {
  custmem_info info;
  int rc = custmem_store_info(world.store, &info);
  say(
    world.answer, "%s %" PRId64 " %d %d\n", info.id, info.created_at_ms, info.schema_version,
    info.rules_version
  );
  return rc;
}

static void answer_customer(const custmem_customer *customer) {
  say(
    world.answer, "customer '%s' '%s' '%s' '%s' '%s' %" PRId64 " %" PRId64 "\n", customer->id,
    customer->instructor_id, customer->channel, customer->normalized_identifier,
    customer->display_identifier, customer->created_at_ms, customer->updated_at_ms
  );
}

#define NO_CUSTOMER_ANSWER "customer '' '' '' '' '' 0 0\n"

static int create(const char *phone) {
  custmem_actor actor = test_human(A);
  custmem_customer customer;
  int32_t created;
  int rc = custmem_customer_create(
    world.store, &actor, "whatsapp", phone, -1, "Somebody", -1, &customer, &created
  );
  answer_customer(&customer);
  say(world.answer, "created %d\n", created);
  return rc;
}

static int call_create_new(void) {
  return create("+39 333 1111111");
}

static int call_create_existing(void) {
  return create(ANNA_NUMBER);
}

static int get(int person) {
  custmem_customer customer;
  int rc = custmem_customer_get(world.store, A, world.ids[person], &customer);
  answer_customer(&customer);
  return rc;
}

static int call_get(void) {
  return get(BRUNO);
}

static int call_get_other(void) {
  return get(DORA);
}

static int call_get_many(void) {
  const char *ids[] = {world.ids[CARLA], NULL, world.ids[DORA], world.ids[ANNA]};
  custmem_customer customers[COUNT_OF(ids)];
  size_t i;
  int rc = custmem_customer_get_many(world.store, A, ids, (int32_t)COUNT_OF(ids), customers);
  for (i = 0; i < COUNT_OF(ids); i++)
    answer_customer(&customers[i]);
  return rc;
}

static int find(const char *phone) {
  custmem_customer customer;
  int rc = custmem_customer_find(world.store, A, "whatsapp", phone, -1, &customer);
  answer_customer(&customer);
  return rc;
}

static int call_find(void) {
  return find(ANNA_NUMBER);
}

static int call_find_nobody(void) {
  return find("+39 333 7654321");
}

static int call_list(void) {
  custmem_customer customers[ROWS];
  int32_t count, i;
  int rc = custmem_customer_list(world.store, A, world.ids[ANNA], customers, ROWS, &count);
  say(world.answer, "%d rows\n", count);
  for (i = 0; i < count; i++)
    answer_customer(&customers[i]);
  return rc;
}

static int call_set_display(void) {
  custmem_actor actor = test_human(A);
  custmem_customer customer;
  int rc = custmem_customer_set_display(
    world.store, &actor, world.ids[CARLA], "Carla (blue car)", -1, &customer
  );
  answer_customer(&customer);
  return rc;
}

static int resolve(const char *conversation_id, const char *raw) {
  custmem_resolution found;
  int rc = custmem_resolve(world.store, A, conversation_id, "whatsapp", raw, -1, &found);
  say_resolution(world.answer, &found);
  return rc;
}

static int call_resolve_linked(void) {
  return resolve(LINKED, ANNA_NUMBER);
}

static int call_resolve_candidate(void) {
  return resolve(FREE, ANNA_NUMBER);
}

static int call_resolve_unlinked(void) {
  return resolve(UNKNOWN, "+39 333 7654321");
}

static int call_resolve_foreign(void) {
  return resolve(FOREIGN, ANNA_NUMBER);
}

static int call_resolve_refused(void) {
  return resolve(FREE, "12345@g.us");
}

static int call_resolve_no_identifier(void) {
  return resolve(FREE, NULL);
}

static const char *phone_of(int number, char phone[16]) {
  snprintf(phone, 16, "+39340%07d", number);
  return phone;
}

static int call_resolve_many(void) {
  static const custmem_query queries[] = {
    {FREE, "whatsapp", ANNA_NUMBER, -1},
    {LINKED, "whatsapp", NULL, 0},
    {RELINKED, NULL, NULL, 0},
    {FOREIGN, "whatsapp", ANNA_NUMBER, -1},
    {UNKNOWN, "whatsapp", "+3933300000", -1},
    {UNLINKED, "whatsapp", ANNA_NUMBER, -1},
    {UNKNOWN, "no-channel", ANNA_NUMBER, -1},
  };
  custmem_resolution found[COUNT_OF(queries)];
  int rc = custmem_resolve_many(world.store, A, queries, (int32_t)COUNT_OF(queries), found);
  size_t i;
  for (i = 0; i < COUNT_OF(queries); i++)
    say_resolution(world.answer, &found[i]);
  return rc;
}

/* A page of all of them, in the order of the index: the look for a second match comes to a page that
** nobody has read. */
static int call_resolve_all(void) {
  static char phones[MANY][16];
  static custmem_query queries[MANY];
  static custmem_resolution found[MANY];
  int i, rc;
  for (i = 0; i < MANY; i++) {
    queries[i].conversation_id = FREE;
    queries[i].channel = "whatsapp";
    queries[i].raw_identifier = phone_of(i, phones[i]);
    queries[i].raw_size = -1;
  }
  rc = custmem_resolve_many(world.store, A, queries, MANY, found);
  for (i = 0; i < MANY; i++)
    say_resolution(world.answer, &found[i]);
  return rc;
}

#define RESOLUTION_FAILED                                                                      \
  "unlinked lookup_failed nobody refusal 0 step 3 conversation.customer_resolution_skipped\n"

static int answer_written(int rc, const custmem_written *written) {
  say(
    world.answer, "seq %" PRId64 " at %" PRId64 " head %" PRId64 " '%s' told %d%s now %s\n",
    written->seq, written->created_at_ms, written->head.count, written->head.hash, world.told,
    world.told_wrong ? " wrong" : "", name_of(written->current_customer_id)
  );
  return rc;
}

#define NOTHING_WRITTEN "seq 0 at 0 head 0 '' told 0 now "

static int link_to(const char *conversation_id, int person) {
  custmem_written written;
  custmem_actor actor = test_human(A);
  int rc = custmem_link(
    world.store, &actor, conversation_id, world.ids[person], "She told me", -1, "by phone", -1,
    &written
  );
  return answer_written(rc, &written);
}

static int call_link(void) {
  return link_to(FREE, ANNA);
}

static int call_link_again(void) {
  return link_to(UNLINKED, CARLA);
}

static int call_link_linked(void) {
  return link_to(LINKED, BRUNO);
}

static int call_link_nobody(void) {
  return link_to(FREE, DORA);
}

static int call_link_foreign(void) {
  return link_to(FOREIGN, ANNA);
}

static int relink_from(int from, int to) {
  custmem_written written;
  custmem_actor actor = test_human(A);
  int rc = custmem_relink(
    world.store, &actor, LINKED, world.ids[from], world.ids[to], "It is her mother", -1, NULL,
    0, &written
  );
  return answer_written(rc, &written);
}

static int call_relink(void) {
  return relink_from(ANNA, CARLA);
}

static int call_relink_changed(void) {
  return relink_from(BRUNO, CARLA);
}

static int unlink_from(const char *conversation_id) {
  custmem_written written;
  custmem_actor actor = test_human(A);
  int rc = custmem_unlink(
    world.store, &actor, conversation_id, world.ids[ANNA], "A wrong number", -1, NULL, 0,
    &written
  );
  return answer_written(rc, &written);
}

static int call_unlink(void) {
  return unlink_from(LINKED);
}

static int call_unlink_unlinked(void) {
  return unlink_from(UNLINKED);
}

/* Reads what it is told of, as a host does, and a resolution. */
static void listen(const custmem_notice *notice, void *ctx) {
  static custmem_event events[ROWS];
  custmem_resolution found;
  int64_t slept_us = vfs_shim_slept_us();
  int32_t count;
  (void)ctx;
  if (notice->event == NULL) return;
  world.told++;
  if (custmem_audit_read(world.store, A, notice->event->seq - 1, events, ROWS, &count) == CUSTMEM_OK)
    world.told_wrong |= count != 1 || events[0].seq != notice->event->seq;
  custmem_resolve(world.store, A, LINKED, NULL, NULL, 0, &found);
  world.told_slept_us += vfs_shim_slept_us() - slept_us;
  world.told_wrong |=
    strcmp(name_of(found.customer_id), "Anna") != 0 && found.customer_id[0] != '\0';
}

static int call_set_listener(void) {
  return custmem_set_listener(world.store, listen, NULL);
}

static int call_link_listened(void) {
  int rc = custmem_set_listener(world.store, listen, NULL);
  world.told = world.told_wrong = 0;
  return rc == CUSTMEM_OK ? call_link() : rc;
}

static int call_conversations(void) {
  custmem_conversation conversations[ROWS];
  int32_t count, i;
  int rc =
    custmem_conversations(world.store, A, world.ids[ANNA], NULL, conversations, ROWS, &count);
  say(world.answer, "%d rows\n", count);
  for (i = 0; i < count; i++)
    say(
      world.answer, "%s %s %" PRId64 " %" PRId64 "\n", conversations[i].conversation_id,
      name_of(conversations[i].customer_id), conversations[i].audit_seq,
      conversations[i].updated_at_ms
    );
  return rc;
}

static int answer_events(int rc, const custmem_event *events, int32_t count) {
  int32_t i;
  say(world.answer, "%d rows\n", count);
  for (i = 0; i < count; i++) {
    say_event(world.answer, &events[i]);
    say(world.answer, "%" PRId64 " %s\n", events[i].created_at_ms, events[i].hash);
  }
  return rc;
}

static int call_history(void) {
  static custmem_event events[ROWS];
  int32_t count;
  int rc = custmem_history(world.store, A, RELINKED, 0, events, ROWS, &count);
  return answer_events(rc, events, count);
}

static int call_audit_read(void) {
  static custmem_event events[ROWS];
  int32_t count;
  int rc = custmem_audit_read(world.store, A, 1, events, ROWS, &count);
  return answer_events(rc, events, count);
}

static int call_audit_head(void) {
  custmem_head head;
  int rc = custmem_audit_head(world.store, A, &head);
  say(world.answer, "head %" PRId64 " '%s'\n", head.count, head.hash);
  return rc;
}

/* How far an interrupted walk came is not said; that it found nothing wrong is. */
static int answer_report(int rc, const custmem_report *report) {
  if (rc == CUSTMEM_OK)
    say(
      world.answer, "%" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " head %" PRId64 " '%s'\n",
      report->instructors, report->customers, report->links, report->events, report->head.count,
      report->head.hash
    );
  say(
    world.answer, "fault %d '%s' %" PRId64 " '%s' '%s'\n", report->fault, report->instructor_id,
    report->seq, report->subject, report->detail
  );
  return rc;
}

#define NO_FAULT "fault 0 '' 0 '' ''\n"

static int call_verify(void) {
  custmem_report report;
  int rc = custmem_audit_verify(world.store, A, &world.anchor, &report);
  return answer_report(rc, &report);
}

static int call_check(void) {
  custmem_report report;
  return answer_report(custmem_check(world.store, &report), &report);
}

static int call_backup(void) {
  return custmem_backup(world.store, world.target);
}

/* ---- Scenarios ----------------------------------------------------------------------------- */

/* What lies there before the call. */
enum start {
  NOTHING,
  SOUND,
  CRASHED,
  INTERRUPTED,
  BROKEN,
  STRAY,
  TORN,
  UNMARKED,
  OTHER,
  MEMORY,
  WITH_MANY,
  FULL_INDEX
};

enum flags {
  WRITES = 1,
  OPENS = 2,  /* the call opens world.store; for all others it is open */
  CLOSES = 4, /* the call closes it */
  READ_ONLY = 8,
  EXCLUSIVE = 16,
  CHECKPOINTS = 32, /* the write's commit makes a checkpoint */
  BACKS_UP = 64,
  LATE = 128,  /* only the last occasions are of interest, on a cold store */
  COLD = 256,  /* once warm it is another scenario */
  ALIKE = 512, /* cold, it allocates what another scenario does: without memory only warm */
  EARLY = 1024 /* only the first occasions: what comes then is another scenario */
};

/* want    the code without a fault
** again   and that of the same call made once more, after it was done
** none    the answer of a call that failed
** also    what may stand behind it: whom the conversation is linked to, where that was read
*/
typedef struct scenario {
  const char *name;
  enum start start;
  unsigned flags;
  int (*call)(void);
  enum documented_call documented;
  int want;
  int again;
  const char *none;
  const char *also;
} scenario;

#define OPEN_FAILED "store NULL\nmessage given\n"

static const scenario OPENING[] = {
  {"open, new", NOTHING, OPENS, call_open, CALL_OPEN, 0, 0, OPEN_FAILED, NULL},
  {"open, there", SOUND, OPENS, call_open, CALL_OPEN, 0, 0, OPEN_FAILED, NULL},
  {"open, crashed", CRASHED, OPENS, call_open, CALL_OPEN, 0, 0, OPEN_FAILED, NULL},
  {"open, half made", INTERRUPTED, OPENS, call_open, CALL_OPEN, 0, 0, OPEN_FAILED, NULL},
  {"open, torn", TORN, OPENS | EARLY, call_open, CALL_OPEN, 0, 0, OPEN_FAILED, NULL},
  {"open, unmarked", UNMARKED, OPENS | EARLY, call_open, CALL_OPEN, 0, 0, OPEN_FAILED, NULL},
  {"open, another's", OTHER, OPENS, call_open, CALL_OPEN, CUSTMEM_OTHER_APPLICATION,
   CUSTMEM_OTHER_APPLICATION, OPEN_FAILED, NULL},
  {"open, in memory", MEMORY, OPENS, call_open_memory, CALL_OPEN, 0, 0, OPEN_FAILED, NULL},
  {"open, read-only", SOUND, OPENS | READ_ONLY, call_open_read_only, CALL_OPEN, 0, 0,
   OPEN_FAILED, NULL},
  {"open, read-only, crashed", CRASHED, OPENS | READ_ONLY, call_open_read_only, CALL_OPEN, 0, 0,
   OPEN_FAILED, NULL},
  {"open, exclusive", CRASHED, OPENS | EXCLUSIVE, call_open_exclusive, CALL_OPEN, 0, 0,
   OPEN_FAILED, NULL},
  {"close", SOUND, CLOSES, call_close, CALL_CLOSE, 0, 0, "", NULL},
  {"close, crashed", CRASHED, CLOSES, call_close, CALL_CLOSE, 0, 0, "", NULL},
  {"close, exclusive", CRASHED, CLOSES | EXCLUSIVE, call_close, CALL_CLOSE, 0, 0, "", NULL},
  {"close, read-only", CRASHED, CLOSES | READ_ONLY, call_close, CALL_CLOSE, 0, 0, "", NULL},
  {"close, in memory", MEMORY, CLOSES, call_close, CALL_CLOSE, 0, 0, "", NULL},
};

static const scenario READING[] = {
  {"store_info", SOUND, 0, call_store_info, CALL_STORE_INFO, 0, 0, "", NULL},
  {"set_listener", SOUND, 0, call_set_listener, CALL_SET_LISTENER, 0, 0, "", NULL},
  {"get", SOUND, 0, call_get, CALL_GET, 0, 0, NO_CUSTOMER_ANSWER, NULL},
  {"get, another's", SOUND, 0, call_get_other, CALL_GET, CUSTMEM_NO_CUSTOMER,
   CUSTMEM_NO_CUSTOMER, NO_CUSTOMER_ANSWER, NULL},
  {"get_many", SOUND, 0, call_get_many, CALL_GET_MANY, 0, 0,
   NO_CUSTOMER_ANSWER NO_CUSTOMER_ANSWER NO_CUSTOMER_ANSWER NO_CUSTOMER_ANSWER, NULL},
  {"find", SOUND, 0, call_find, CALL_FIND, 0, 0, NO_CUSTOMER_ANSWER, NULL},
  {"find, nobody", SOUND, 0, call_find_nobody, CALL_FIND, CUSTMEM_NO_CUSTOMER,
   CUSTMEM_NO_CUSTOMER, NO_CUSTOMER_ANSWER, NULL},
  {"list", SOUND, 0, call_list, CALL_LIST, 0, 0, "0 rows\n", NULL},
  {"conversations", SOUND, 0, call_conversations, CALL_CONVERSATIONS, 0, 0, "0 rows\n", NULL},
  {"history", SOUND, 0, call_history, CALL_HISTORY, 0, 0, "0 rows\n", NULL},
  {"audit_read", SOUND, 0, call_audit_read, CALL_AUDIT_READ, 0, 0, "0 rows\n", NULL},
  {"audit_head", SOUND, 0, call_audit_head, CALL_AUDIT_HEAD, 0, 0, "head 0 ''\n", NULL},
  {"get, in memory", MEMORY, 0, call_get_other, CALL_GET, CUSTMEM_NO_CUSTOMER,
   CUSTMEM_NO_CUSTOMER, NO_CUSTOMER_ANSWER, NULL},
};

static const scenario RESOLVING[] = {
  {"resolve, linked", SOUND, 0, call_resolve_linked, CALL_RESOLVE, 0, 0, RESOLUTION_FAILED,
   NULL},
  {"resolve, candidate", SOUND, 0, call_resolve_candidate, CALL_RESOLVE, 0, 0,
   RESOLUTION_FAILED, NULL},
  {"resolve, unlinked", SOUND, 0, call_resolve_unlinked, CALL_RESOLVE, 0, 0, RESOLUTION_FAILED,
   NULL},
  {"resolve, another's", SOUND, 0, call_resolve_foreign, CALL_RESOLVE, 0, 0, RESOLUTION_FAILED,
   NULL},
  {"resolve, refused", SOUND, 0, call_resolve_refused, CALL_RESOLVE, 0, 0, RESOLUTION_FAILED,
   NULL},
  {"resolve, no identifier", SOUND, 0, call_resolve_no_identifier, CALL_RESOLVE, 0, 0,
   RESOLUTION_FAILED, NULL},
  {"resolve, crashed", CRASHED, COLD, call_resolve_linked, CALL_RESOLVE, 0, 0,
   RESOLUTION_FAILED, NULL},
  {"resolve, read-only", CRASHED, READ_ONLY, call_resolve_linked, CALL_RESOLVE, 0, 0,
   RESOLUTION_FAILED, NULL},
  {"resolve_many", SOUND, 0, call_resolve_many, CALL_RESOLVE_MANY, 0, 0, NULL, NULL},
  {"resolve_many, many", WITH_MANY, 0, call_resolve_all, CALL_RESOLVE_MANY, 0, 0, NULL, NULL},
  {"resolve_many, exclusive", SOUND, EXCLUSIVE, call_resolve_many, CALL_RESOLVE_MANY, 0, 0,
   NULL, NULL},
};

static const scenario WRITING[] = {
  {"create", SOUND, WRITES, call_create_new, CALL_CREATE, 0, 0,
   NO_CUSTOMER_ANSWER "created 0\n", NULL},
  {"create, there", SOUND, WRITES, call_create_existing, CALL_CREATE, 0, 0,
   NO_CUSTOMER_ANSWER "created 0\n", NULL},
  {"set_display", SOUND, WRITES, call_set_display, CALL_SET_DISPLAY, 0, 0, NO_CUSTOMER_ANSWER,
   NULL},
  {"link", SOUND, WRITES, call_link, CALL_LINK, 0, CUSTMEM_ALREADY_LINKED, NOTHING_WRITTEN,
   "nobody\n"},
  {"link, once unlinked", SOUND, WRITES | ALIKE, call_link_again, CALL_LINK, 0,
   CUSTMEM_ALREADY_LINKED, NOTHING_WRITTEN, "nobody\n"},
  {"link, linked", SOUND, WRITES, call_link_linked, CALL_LINK, CUSTMEM_ALREADY_LINKED,
   CUSTMEM_ALREADY_LINKED, NOTHING_WRITTEN, "Anna\n"},
  {"link, to another's", SOUND, WRITES, call_link_nobody, CALL_LINK, CUSTMEM_NO_CUSTOMER,
   CUSTMEM_NO_CUSTOMER, NOTHING_WRITTEN, "nobody\n"},
  {"link, another's", SOUND, WRITES, call_link_foreign, CALL_LINK, CUSTMEM_OTHER_INSTRUCTOR,
   CUSTMEM_OTHER_INSTRUCTOR, NOTHING_WRITTEN, "nobody\n"},
  {"link, listened to", SOUND, WRITES | ALIKE, call_link_listened, CALL_LINK, 0,
   CUSTMEM_ALREADY_LINKED, NOTHING_WRITTEN, "nobody\n"},
  {"link, checkpoint", SOUND, WRITES | CHECKPOINTS | ALIKE, call_link, CALL_LINK, 0,
   CUSTMEM_ALREADY_LINKED, NOTHING_WRITTEN, "nobody\n"},
  {"link, crashed", CRASHED, WRITES | ALIKE, call_link, CALL_LINK, 0, CUSTMEM_ALREADY_LINKED,
   NOTHING_WRITTEN, "nobody\n"},
  {"link, exclusive", CRASHED, WRITES | EXCLUSIVE | ALIKE, call_link, CALL_LINK, 0,
   CUSTMEM_ALREADY_LINKED, NOTHING_WRITTEN, "nobody\n"},
  {"link, in memory", MEMORY, WRITES, call_link, CALL_LINK, 0, CUSTMEM_ALREADY_LINKED,
   NOTHING_WRITTEN, "nobody\n"},
  {"create, in memory", MEMORY, WRITES, call_create_new, CALL_CREATE, 0, 0,
   NO_CUSTOMER_ANSWER "created 0\n", NULL},
  {"link, read-only", SOUND, WRITES | READ_ONLY, call_link, CALL_LINK, CUSTMEM_READONLY,
   CUSTMEM_READONLY, NOTHING_WRITTEN, "nobody\n"},
  {"relink", SOUND, WRITES, call_relink, CALL_RELINK, 0, CUSTMEM_CHANGED, NOTHING_WRITTEN,
   "Anna\n"},
  {"relink, changed", SOUND, WRITES, call_relink_changed, CALL_RELINK, CUSTMEM_CHANGED,
   CUSTMEM_CHANGED, NOTHING_WRITTEN, "Anna\n"},
  {"unlink", SOUND, WRITES, call_unlink, CALL_UNLINK, 0, CUSTMEM_NOT_LINKED, NOTHING_WRITTEN,
   "Anna\n"},
  {"unlink, unlinked", SOUND, WRITES, call_unlink_unlinked, CALL_UNLINK, CUSTMEM_NOT_LINKED,
   CUSTMEM_NOT_LINKED, NOTHING_WRITTEN, "nobody\n"},
};

/* A commit writes its frames, and may then find no room for them in the WAL's index. */
static const scenario COMMITTING[] = {
  {"link, index full", FULL_INDEX, WRITES | LATE, call_link, CALL_LINK, 0,
   CUSTMEM_ALREADY_LINKED, NOTHING_WRITTEN, "nobody\n"},
};

static const scenario CHECKING[] = {
  {"audit_verify", SOUND, 0, call_verify, CALL_AUDIT_VERIFY, 0, 0, NO_FAULT, NULL},
  {"audit_verify, broken", BROKEN, 0, call_verify, CALL_AUDIT_VERIFY, CUSTMEM_BROKEN,
   CUSTMEM_BROKEN, NO_FAULT, NULL},
  {"audit_verify, stray link", STRAY, 0, call_verify, CALL_AUDIT_VERIFY, CUSTMEM_BROKEN,
   CUSTMEM_BROKEN, NO_FAULT, NULL},
  {"check", SOUND, 0, call_check, CALL_STORE_CHECK, 0, 0, NO_FAULT, NULL},
  {"check, crashed", CRASHED, COLD, call_check, CALL_STORE_CHECK, 0, 0, NO_FAULT, NULL},
  {"check, broken", BROKEN, 0, call_check, CALL_STORE_CHECK, CUSTMEM_BROKEN, CUSTMEM_BROKEN,
   NO_FAULT, NULL},
  {"backup", SOUND, BACKS_UP, call_backup, CALL_BACKUP, 0, CUSTMEM_EXISTS, "", NULL},
  {"backup, crashed", CRASHED, BACKS_UP | COLD, call_backup, CALL_BACKUP, 0, CUSTMEM_EXISTS, "",
   NULL},
  {"backup, in memory", MEMORY, BACKS_UP, call_backup, CALL_BACKUP, 0, CUSTMEM_EXISTS, "",
   NULL},
};

/* ---- A point: one run with one fault ------------------------------------------------------- */

/* What the scenario does when nothing fails, and how many occasions it gives to fail: until the call
** returns, and until the store is closed. */
typedef struct reference {
  char answer[TEXT_SIZE], before[TEXT_SIZE], after[TEXT_SIZE];
  faults_tally seen[2];
} reference;

static struct {
  const scenario *scenario;
  const fault *fault; /* NULL: none */
  enum mode mode;
  int warm;
  int64_t n;
  char description[256];

  int rc;
  int64_t fired;
  int waited_ms;
  char message[CUSTMEM_MESSAGE_MAX + 1];
  char armed[TEXT_SIZE]; /* resolutions while the fault was still there */
  int complaints;        /* of this sweep */
} point;

static struct {
  uint64_t seed;
  int is_all;
  uint64_t part; /* of all, one in so many */
  const char *only;
  int64_t counted; /* points met, visited or not */
  int64_t visited, fired;
  int64_t complaints;
} total;

static void complain(const char *format, ...) {
  va_list arguments;
  total.complaints++;
  if (point.complaints++ >= COMPLAINTS) return;
  printf("%s: ", point.description);
  va_start(arguments, format);
  vprintf(format, arguments);
  va_end(arguments);
  printf("\n");
}

/* The first line that differs. */
static void complain_text(const char *what, const char *got, const char *want) {
  size_t start = 0, i;
  for (i = 0; got[i] == want[i] && got[i] != '\0'; i++)
    if (got[i] == '\n') start = i + 1;
  complain(
    "%s, but %s shows \"%.*s\", not \"%.*s\"", custmem_code_name(point.rc), what,
    (int)strcspn(got + start, "\n"), got + start, (int)strcspn(want + start, "\n"), want + start
  );
}

/* If the library crashes, this is the only word about where. */
static void crash(int signal_number) {
  static const char text[] = "\ncrashed at: ";
  ssize_t ignored = write(STDOUT_FILENO, text, sizeof text - 1);
  ignored += write(STDOUT_FILENO, point.description, strlen(point.description));
  ignored += write(STDOUT_FILENO, "\n", 1);
  (void)ignored;
  signal(signal_number, SIG_DFL);
  raise(signal_number);
}

static void describe(void) {
  snprintf(
    point.description, sizeof point.description, "%s%s: %s, %s, n %" PRId64,
    point.scenario->name, point.warm ? ", warm" : "",
    point.fault != NULL ? point.fault->name : "no fault", MODE_NAMES[point.mode], point.n
  );
}

static int has(unsigned flag) {
  return (point.scenario->flags & flag) != 0;
}

static int is_in_memory(void) {
  return point.scenario->start == MEMORY;
}

/* The store as the scenario finds it. */
static void furnish(custmem *store) {
  static const char *const phones[PEOPLE] = {
    ANNA_NUMBER, "+39 333 2222222", "+39 333 3333333", "+39 333 4444444"};
  custmem_actor a = test_human(A), b = test_human(B);
  int person;
  for (person = 0; person < PEOPLE; person++)
    strcpy(world.ids[person], test_customer(store, person == DORA ? B : A, phones[person]));
  custmem_link(store, &a, LINKED, world.ids[ANNA], "Said so", -1, NULL, 0, NULL);
  custmem_link(store, &a, RELINKED, world.ids[ANNA], "Thought so", -1, NULL, 0, NULL);
  custmem_link(store, &b, FOREIGN, world.ids[DORA], "Knows her", -1, NULL, 0, NULL);
  custmem_relink(
    store, &a, RELINKED, world.ids[ANNA], world.ids[BRUNO], "Her husband", -1, "same phone", -1,
    NULL
  );
  custmem_link(store, &a, UNLINKED, world.ids[ANNA], "Hoped so", -1, NULL, 0, NULL);
  custmem_unlink(store, &a, UNLINKED, world.ids[ANNA], "Was not", -1, NULL, 0, NULL);
}

/* Uses every statement once, so that what follows finds them prepared and the pages read. Writes come last:
** what was resolved before them is looked for again. */
static void warm_up(void) {
  static char text[TEXT_SIZE];
  custmem_actor a = test_human(A);
  custmem_report report;
  static const char warm[] = "conversation-warm";
  text[0] = '\0';
  say_state(world.store, text);
  find(ANNA_NUMBER);
  get(ANNA);
  call_history();
  call_audit_head();
  call_resolve_many();
  custmem_check(world.store, &report);
  if (!has(READ_ONLY)) {
    create("+39 333 5555555");
    custmem_customer_set_display(world.store, &a, world.ids[ANNA], "Anna", -1, NULL);
    custmem_link(world.store, &a, warm, world.ids[ANNA], "Warm", -1, NULL, 0, NULL);
    custmem_relink(
      world.store, &a, warm, world.ids[ANNA], world.ids[BRUNO], "Warmer", -1, NULL, 0, NULL
    );
    custmem_unlink(world.store, &a, warm, world.ids[BRUNO], "Warmest", -1, NULL, 0, NULL);
  }
}

static void prepare(void) {
  const image *images[] = {
    [SOUND] = &world.sound,    [CRASHED] = &world.crashed, [INTERRUPTED] = &world.interrupted,
    [WITH_MANY] = &world.many, [FULL_INDEX] = &world.full, [BROKEN] = &world.broken,
    [STRAY] = &world.stray,    [TORN] = &world.torn,       [UNMARKED] = &world.unmarked,
    [OTHER] = &world.other};
  enum start start = point.scenario->start;
  reset_sources(PAST);
  world.checkpoint_pages = has(CHECKPOINTS) ? 1 : start == FULL_INDEX ? 0 : 1000;
  world.told = world.told_wrong = 0;
  world.told_slept_us = 0;
  test_store_remove(world.path);
  test_store_remove(world.copy);
  test_store_remove(world.target);
  if (start != NOTHING && start != MEMORY) save_image(images[start], world.path);
  if (!has(OPENS)) {
    int rc = open_with(
      is_in_memory() ? ":memory:" : world.path, has(READ_ONLY), has(EXCLUSIVE), &world.store
    );
    if (rc != CUSTMEM_OK) complain("cannot be prepared: %s", custmem_code_name(rc));
    if (is_in_memory()) furnish(world.store);
    reset_sources(PRESENT);
    if (point.warm) warm_up();
  }
  world.answer[0] = point.armed[0] = '\0';
}

static void arm(void) {
  faults_arm(point.fault, point.n, point.mode != ONCE);
}

static void finish(void) {
  close_store();
  if (sqlite3_memory_used() != world.memory)
    complain(
      "%" PRId64 " bytes of memory are left", (int64_t)sqlite3_memory_used() - world.memory
    );
  world.memory = sqlite3_memory_used();
  if (vfs_shim_open_files() != world.open_files)
    complain("%" PRId64 " files are left open", vfs_shim_open_files() - world.open_files);
  world.open_files = vfs_shim_open_files();
  if (next_descriptor() != world.next_descriptor) complain("descriptors are left open");
  world.next_descriptor = next_descriptor();
}

/* ---- What must hold after a fault ---------------------------------------------------------- */

static void check_code(void) {
  const scenario *s = point.scenario;
  int limit_ms = 3 * BUSY_TIMEOUT_MS / 2;
  if (point.fault->ops == VFS_SHIM_BIT(VFS_SHIM_SHM_LOCK)) limit_ms += WAL_RETRIES_MS;
  if (point.waited_ms > limit_ms)
    complain(
      "%s waited %d ms with a busy timeout of %d", documented_name(s->documented),
      point.waited_ms, BUSY_TIMEOUT_MS
    );
  if (point.rc == s->want) return;
  if (!documented_code(s->documented, point.rc))
    complain(
      "%s gave %s, which custmem.h does not list", documented_name(s->documented),
      custmem_code_name(point.rc)
    );
  if (point.fired == 0 || !faults_explain(point.fault, point.rc))
    complain(
      "%s gave %s: %s", documented_name(s->documented), custmem_code_name(point.rc),
      point.message
    );
  else if (world.store != NULL && point.message[0] == '\0')
    complain(
      "%s gave %s without a message", documented_name(s->documented),
      custmem_code_name(point.rc)
    );
}

/* Whether the answer is one that a failed call may give. */
static int is_none(const scenario *s, const reference *ref) {
  if (s->none == NULL) return is_right_or_none(world.answer, ref->answer);
  if (s->also == NULL) return strcmp(world.answer, s->none) == 0;
  if (strncmp(world.answer, s->none, strlen(s->none)) != 0) return 0;
  return strcmp(world.answer + strlen(s->none), "nobody\n") == 0 ||
         strcmp(world.answer + strlen(s->none), s->also) == 0;
}

static void check_answer(const reference *ref) {
  const scenario *s = point.scenario;
  if (point.rc == s->want && strcmp(world.answer, ref->answer) != 0)
    complain_text("the answer", world.answer, ref->answer);
  if (point.rc != s->want && !is_none(s, ref))
    complain_text("the answer", world.answer, s->none != NULL ? s->none : ref->answer);
  if (point.armed[0] != '\0' && !is_right_or_none(point.armed, point.rc == s->want ? ref->after : ref->before))
    complain_text(
      "what was resolved under the fault", point.armed,
      point.rc == s->want ? ref->after : ref->before
    );
}

/* What may be found: the write if the call said so, or nothing of it. */
static void check_state(
  custmem *store,
  const char *where,
  const reference *ref,
  int may_be_either
) {
  static char state[TEXT_SIZE];
  const char *want = point.rc == point.scenario->want ? ref->after : ref->before;
  if (has(OPENS)) want = ref->after;
  state[0] = '\0';
  say_state(store, state);
  if (strcmp(state, want) == 0) return;
  if (may_be_either && point.rc == CUSTMEM_UNKNOWN_OUTCOME && strcmp(state, ref->after) == 0)
    return;
  complain_text(where, state, want);
}

/* Opens a store's files as the next process does, and looks at all of it. */
static custmem *check_files(const char *path, const char *where) {
  custmem *store;
  custmem_report report;
  enum start start = point.scenario->start;
  int want = start == BROKEN || start == STRAY ? CUSTMEM_BROKEN : CUSTMEM_OK;
  int rc = open_with(path, 0, 0, &store);
  if (rc != CUSTMEM_OK) {
    complain(
      "%s, but %s does not open: %s", custmem_code_name(point.rc), where, custmem_code_name(rc)
    );
    return NULL;
  }
  rc = custmem_check(store, &report);
  if (rc != want)
    complain(
      "%s, but the check of %s gives %s: %s", custmem_code_name(point.rc), where,
      custmem_code_name(rc), report.detail
    );
  return store;
}

static uint64_t mix(uint64_t hash, uint64_t word) {
  hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
  return hash ^ (hash >> 29);
}

/* Of what a judgement of these files depends on: their bytes, and what may be found in them. */
static uint64_t hash_of_judgement(const char *path) {
  static unsigned char *bytes;
  static size_t capacity;
  uint64_t hash = mix((uint64_t)(uintptr_t)point.scenario, (uint64_t)point.warm), word;
  size_t i, at;
  hash = mix(hash, (uint64_t)point.rc);
  for (i = 0; i < COUNT_OF(SUFFIXES); i++) {
    size_t size = test_file_load(test_beside(path, SUFFIXES[i]), &bytes, &capacity);
    hash = mix(hash, size);
    for (at = 0; at + sizeof word <= size; at += sizeof word) {
      memcpy(&word, bytes + at, sizeof word);
      hash = mix(hash, word);
    }
    for (; at < size; at++)
      hash = mix(hash, bytes[at]);
  }
  return hash;
}

/* Most faults leave the very files that another has left: they are judged once. (Where two judgements
** want the same place, the later one has it.) */
static int is_judged(const char *path) {
  static uint64_t judged[4096];
  uint64_t hash = hash_of_judgement(path);
  uint64_t *place = &judged[hash % COUNT_OF(judged)];
  int is_known = *place == hash;
  *place = hash;
  return is_known;
}

/* As if the process had died as the call returned. */
static void check_crash(const reference *ref) {
  custmem *store;
  enum start start = point.scenario->start;
  if (!has(WRITES | OPENS) || start == MEMORY || start == OTHER) return;
  if (is_judged(world.path)) return;
  test_store_copy(world.path, world.copy);
  store = check_files(world.copy, "a copy after a crash");
  if (store != NULL) check_state(store, "a copy after a crash", ref, 1);
  custmem_close(store);
  test_store_remove(world.copy);
}

static void check_second_writer(void) {
  sqlite3 *db = NULL;
  int rc = sqlite3_open_v2(world.path, &db, SQLITE_OPEN_READWRITE, NULL);
  if (rc == SQLITE_OK)
    rc = sqlite3_exec(
      db, "BEGIN IMMEDIATE; UPDATE customers SET updated_at = updated_at + 1; COMMIT", NULL,
      NULL, NULL
    );
  if (rc != SQLITE_OK) complain("a second connection cannot write: %s", sqlite3_errmsg(db));
  sqlite3_close(db);
}

/* The backup is whole, or there is nothing of it. */
static void check_backup(int rc, const reference *ref) {
  static char state[TEXT_SIZE];
  custmem *store;
  if (rc != CUSTMEM_OK && rc != CUSTMEM_EXISTS) {
    if (is_there(world.target, ""))
      complain("%s, but the target is there", custmem_code_name(rc));
    if (is_there(world.target, "-journal") || is_there(world.target, "-wal") || is_there(world.target, "-shm"))
      complain("%s, but something is left beside the target", custmem_code_name(rc));
    return;
  }
  store = check_files(world.target, "the backup");
  if (store == NULL) return;
  state[0] = '\0';
  say_state(store, state);
  if (strcmp(state, ref->after) != 0) complain_text("the backup", state, ref->after);
  custmem_close(store);
}

/* The call once more, with nothing in its way. */
static void call_again(const reference *ref) {
  const scenario *s = point.scenario;
  int want = point.rc == s->want ? s->again : s->want;
  int rc;
  if (has(OPENS)) close_store();
  if (has(CLOSES) && world.store == NULL) call_open();
  world.told = 0;
  rc = s->call();
  if (rc != want)
    complain(
      "%s, and then, once more, %s: %s", custmem_code_name(point.rc), custmem_code_name(rc),
      custmem_errmsg(world.store)
    );
  if (has(BACKS_UP)) check_backup(rc == CUSTMEM_EXISTS ? CUSTMEM_OK : rc, ref);
  point.rc = s->want;
  if (world.store != NULL)
    check_state(world.store, "the handle, after the call once more,", ref, 0);
}

static void check_handle(const reference *ref) {
  if (!sqlite3_get_autocommit(world.db) || sqlite3_txn_state(world.db, NULL) != SQLITE_TXN_NONE)
    complain("%s, but a transaction is left open", custmem_code_name(point.rc));
  check_state(world.store, "the handle", ref, 0);
  /* Memory that failed holds no lock: no transaction is open. */
  if (point.fault->ops != 0 && !is_in_memory() && !has(EXCLUSIVE)) check_second_writer();
}

static void check_reopened(const reference *ref) {
  int is_repeated = point.mode == TO_THE_END && point.fired > 0 && !has(OPENS | CLOSES);
  if (is_in_memory()) return;
  if (point.scenario->start == OTHER) {
    if (test_file_size(world.path) != (int64_t)world.other.size[0])
      complain("the file is not what it was");
    return;
  }
  if (!is_repeated && is_judged(world.path)) return;
  world.store = check_files(world.path, "the store, reopened,");
  if (world.store == NULL) return;
  check_state(world.store, "the store, reopened,", ref, 1);
  if (is_repeated) {
    static char state[TEXT_SIZE];
    state[0] = '\0';
    say_state(world.store, state);
    if (point.rc == CUSTMEM_UNKNOWN_OUTCOME && strcmp(state, ref->after) == 0)
      point.rc = point.scenario->want;
    call_again(ref);
  }
}

static void check_point(const reference *ref) {
  check_code();
  check_answer(ref);
  if (has(BACKS_UP)) check_backup(point.rc, ref);
  check_crash(ref);
  if (point.mode != TO_THE_END) {
    if (world.store != NULL) check_handle(ref);
    call_again(ref);
    close_store();
  }
  check_reopened(ref);
}

static void run_point(const reference *ref) {
  describe();
  prepare();
  arm();
  point.rc = point.scenario->call();
  point.waited_ms = (int)((vfs_shim_slept_us() - world.told_slept_us) / 1000);
  strcpy(point.message, has(OPENS) ? world.open_message : custmem_errmsg(world.store));
  point.fired = faults_fired();
  if (point.mode == PERSISTENT && world.store != NULL && !has(OPENS))
    say_resolutions(world.store, point.armed);
  if (point.mode == TO_THE_END) {
    close_store();
    point.fired = faults_fired();
  }
  faults_disarm();
  check_point(ref);
  finish();
}

/* ---- Sweeps -------------------------------------------------------------------------------- */

/* Runs the scenario without a fault, three times: looking at the state changes what the call finds
** prepared and read. */
static void refer(reference *ref) {
  memset(ref, 0, sizeof *ref);
  point.fault = NULL;
  point.mode = ONCE;
  point.n = point.fired = 0;
  describe();
  prepare();
  arm();
  point.rc = point.scenario->call();
  strcpy(ref->answer, world.answer);
  faults_count(&ref->seen[0]);
  if (has(CHECKPOINTS)) CHECK(vfs_shim_calls_of(VFS_SHIM_WRITE, VFS_SHIM_DATABASE) > 0);
  close_store();
  faults_count(&ref->seen[1]);
  CHECK_INT(point.rc, point.scenario->want);
  finish();
  prepare();
  if (world.store != NULL) say_state(world.store, ref->before);
  finish();
  prepare();
  point.scenario->call();
  if (world.store != NULL)
    say_state(world.store, ref->after);
  else
    strcpy(ref->after, ref->before);
  finish();
}

/* Whether this point is in the share that is visited. */
static int is_visited(void) {
  uint64_t random = total.seed + (uint64_t)total.counted++;
  uint64_t share = total.is_all            ? total.part
                   : point.fault->ops == 0 ? MEMORY_SHARE
                                           : DISK_SHARE;
  describe();
  if (total.only != NULL && strstr(point.description, total.only) == NULL) return 0;
  if (has(LATE)) return 1;
  return test_random(&random) % share == 0;
}

/* Every N of one scenario, fault and mode; a run in which nothing fails is the last. */
static void sweep_faults(const reference *ref) {
  int64_t count = faults_occasions(point.fault, &ref->seen[point.mode == TO_THE_END]),
          fired = 1;
  point.complaints = 0;
  if (has(EARLY) && count > EARLY_POINTS) count = EARLY_POINTS;
  point.n = has(LATE) && count > LATE_POINTS ? count - LATE_POINTS + 1 : 1;
  for (; point.n <= count || (fired && total.is_all && count > 0 && !has(EARLY)); point.n++) {
    if (!is_visited()) {
      fired = 0;
      continue;
    }
    run_point(ref);
    fired = point.fired > 0;
    total.visited++;
    total.fired += fired;
  }
  if (point.complaints > COMPLAINTS)
    printf("… and %d more of these\n", point.complaints - COMPLAINTS);
  CHECK_INT(point.complaints, 0);
}

/* Whether the fault and the mode tell anything more for this scenario. */
static int is_swept(void) {
  int only_warm = has(ALIKE) && point.fault->ops == 0;
  if (only_warm && !point.warm) return 0;
  return point.mode != TO_THE_END || (has(WRITES) && (!point.warm || only_warm));
}

static void sweep(
  const scenario *scenarios,
  size_t count,
  const fault *faults,
  size_t fault_count
) {
  static reference ref;
  size_t i, k;
  for (i = 0; i < count; i++) {
    int warmths;
    point.scenario = &scenarios[i];
    warmths = has(OPENS | LATE | COLD) ? 1 : 2;
    for (point.warm = 0; point.warm < warmths; point.warm++) {
      refer(&ref);
      for (k = 0; k < fault_count; k++)
        for (point.mode = ONCE; point.mode < MODES; point.mode++) {
          point.fault = &faults[k];
          if (is_swept()) sweep_faults(&ref);
        }
    }
  }
}

/* ---- The images ---------------------------------------------------------------------------- */

/* Where the header of a database has these. */
enum header { USER_VERSION = 60, APPLICATION = 68, CELLS = 103 };

/* At the second write to a new store's file its journal is on the disk, and its first page too. */
static void catch_interrupted(int op, int kind, void *ctx) {
  int *writes = ctx;
  if (op == VFS_SHIM_WRITE && kind == VFS_SHIM_DATABASE && ++*writes == 2)
    load_image(&world.interrupted, world.path);
}

static void make_interrupted(void) {
  custmem *store;
  int writes = 0;
  vfs_shim_watch(catch_interrupted, &writes);
  open_with(world.path, 0, 0, &store);
  vfs_shim_watch(NULL, NULL);
  custmem_close(store);
  save_image(&world.interrupted, world.path);
  load_image(&world.unmarked, world.path);
  memset(world.unmarked.bytes[0] + USER_VERSION, 0, 4);
  memset(world.unmarked.bytes[0] + APPLICATION, 0, 4);
  test_store_remove(world.path);
}

/* Who can write the file can drop the trigger that forbids it, and put it back. */
static void tamper(image *files, const char *trigger, const char *sql) {
  static char text[4096], question[256];
  sqlite3 *db;
  save_image(&world.sound, world.path);
  db = test_plain(world.path);
  snprintf(
    question, sizeof question, "SELECT sql FROM sqlite_schema WHERE name = '%s'", trigger
  );
  strcpy(text, test_sql_text(db, question));
  snprintf(question, sizeof question, "DROP TRIGGER %s", trigger);
  CHECK_INT(test_sql(db, question), SQLITE_OK);
  CHECK_INT(test_sql(db, sql), SQLITE_OK);
  CHECK_INT(test_sql(db, text), SQLITE_OK);
  sqlite3_close(db);
  load_image(files, world.path);
}

static void make_broken(void) {
  tamper(
    &world.broken, "audit_events_update",
    "UPDATE audit_events SET reason = 'Never said so' WHERE seq = 1"
  );
}

static void make_stray(void) {
  tamper(
    &world.stray, "conversation_links_insert",
    "INSERT INTO conversation_links SELECT 'conversation-stray', instructor_id, customer_id,"
    " audit_seq, updated_at FROM conversation_links WHERE conversation_id = '" LINKED "'"
  );
}

static void make_other(void) {
  sqlite3 *db;
  test_store_remove(world.path);
  db = test_plain(world.path);
  test_sql(db, "CREATE TABLE recipes (name TEXT)");
  sqlite3_close(db);
  load_image(&world.other, world.path);
}

static void make_crashed(void) {
  custmem *store;
  custmem_actor a = test_human(A);
  save_image(&world.sound, world.path);
  open_with(world.path, 0, 0, &store);
  custmem_customer_set_display(store, &a, world.ids[BRUNO], "Bruno", -1, NULL);
  custmem_link(store, &a, "conversation-before", world.ids[CARLA], "Wrote", -1, NULL, 0, NULL);
  load_image(&world.crashed, world.path);
  custmem_close(store);
}

/* One-frame commits, until a write of custmem's is the one that fills the first page of the index. */
static void make_full(void) {
  enum { FRAMES = 4060, FRAME = 4096 + 24, HEADER = 32 };
  sqlite3 *db;
  int rc = SQLITE_OK;
  save_image(&world.sound, world.path);
  db = test_plain(world.path);
  CHECK_INT(sqlite3_wal_autocheckpoint(db, 0), SQLITE_OK);
  CHECK_INT(test_sql_int(db, "PRAGMA page_size"), FRAME - 24);
  while (rc == SQLITE_OK &&
         test_file_size(test_beside(world.path, "-wal")) < HEADER + FRAMES * FRAME)
    rc = test_sql(
      db, "UPDATE customers SET updated_at = updated_at + 1 WHERE instructor_id = '" B "'"
    );
  CHECK_INT(rc, SQLITE_OK);
  load_image(&world.full, world.path);
  sqlite3_close(db);
}

static void make_many(void) {
  custmem *store;
  char phone[16];
  int i;
  save_image(&world.sound, world.path);
  reset_sources(PRESENT);
  open_with(world.path, 0, 0, &store);
  for (i = 0; i < MANY; i++)
    test_customer(store, A, phone_of(i, phone));
  load_image(&world.torn, world.path);
  memset(world.torn.bytes[0], 0xA5, 512);
  custmem_close(store);
  load_image(&world.many, world.path);
}

static void make_images(void) {
  custmem *store;
  world.checkpoint_pages = 1000;
  reset_sources(PAST);
  test_store_remove(world.path);
  make_interrupted();
  reset_sources(PAST);
  open_with(world.path, 0, 0, &store);
  furnish(store);
  custmem_audit_head(store, A, &world.anchor);
  custmem_close(store);
  load_image(&world.sound, world.path);
  make_crashed();
  make_many();
  make_broken();
  make_stray();
  make_other();
}

/* ---- The tests ----------------------------------------------------------------------------- */

/* The images are what they are taken for: else the sweeps would show nothing. */
TEST(the_images_are_what_they_are_taken_for) {
  CHECK(world.sound.size[0] > 0);
  CHECK_INT(world.sound.size[1], 0);
  CHECK(world.crashed.size[1] > 0);
  CHECK(world.interrupted.size[0] > 0);
  CHECK(world.interrupted.size[2] > 0);
  CHECK(world.unmarked.size[2] > 0);
  CHECK(world.unmarked.bytes[0][CELLS] != 0 || world.unmarked.bytes[0][CELLS + 1] != 0);
  CHECK(world.torn.size[1] > 0);
  CHECK(world.other.size[0] > 0);
  CHECK_INT(world.anchor.count, 5);
}

#define SWEEP(scenarios, faults)                                                               \
  sweep(scenarios, COUNT_OF(scenarios), FAULTS_##faults, FAULTS_##faults##_COUNT)

TEST(opening_and_closing_without_memory) {
  SWEEP(OPENING, MEMORY);
}

TEST(reading_without_memory) {
  SWEEP(READING, MEMORY);
}

TEST(resolving_without_memory) {
  SWEEP(RESOLVING, MEMORY);
}

TEST(writing_without_memory) {
  SWEEP(WRITING, MEMORY);
}

TEST(checking_and_backup_without_memory) {
  SWEEP(CHECKING, MEMORY);
}

TEST(opening_and_closing_on_a_failing_disk) {
  SWEEP(OPENING, DISK);
}

TEST(reading_on_a_failing_disk) {
  SWEEP(READING, DISK);
}

TEST(resolving_on_a_failing_disk) {
  SWEEP(RESOLVING, DISK);
}

TEST(writing_on_a_failing_disk) {
  SWEEP(WRITING, DISK);
}

TEST(checking_and_backup_on_a_failing_disk) {
  SWEEP(CHECKING, DISK);
}

TEST(a_commit_that_finds_no_room_in_the_index_is_of_unknown_outcome) {
  make_full();
  SWEEP(COMMITTING, INDEX);
  SWEEP(COMMITTING, MEMORY);
}

static void interrupt_store(void) {
  custmem_interrupt(world.store);
}

TEST(an_interrupt_at_any_moment_leaves_all_or_nothing) {
  faults_interrupt_by(interrupt_store);
  SWEEP(READING, INTERRUPT);
  SWEEP(RESOLVING, INTERRUPT);
  SWEEP(WRITING, INTERRUPT);
  SWEEP(CHECKING, INTERRUPT);
}

static void start_world(void) {
  strcpy(world.path, test_path("store.db"));
  strcpy(world.copy, test_path("copy.db"));
  strcpy(world.target, test_path("backup.db"));
  total.seed = test_seed();
  total.is_all = test_is_full();
  total.part = test_setting("CUSTMEM_FAULTS_PART", 1);
  total.only = getenv("CUSTMEM_FAULTS_ONLY");
  signal(SIGSEGV, crash);
  signal(SIGABRT, crash);
  if (vfs_shim_install() != SQLITE_OK || sqlite3_auto_extension((void (*)(void))meet_connection) != SQLITE_OK)
    abort();
  vfs_shim_hurry(1);
  make_images();
  world.memory = sqlite3_memory_used();
  world.next_descriptor = next_descriptor();
}

static void report_points(void) {
  printf(
    "  faults: seed %" PRIu64 ", %s: %" PRId64 " points of %" PRId64 ", %" PRId64
    " with a fault; %" PRId64 " complaints\n",
    total.seed, total.is_all && total.part == 1 ? "all" : "a share", total.visited,
    total.counted, total.fired, total.complaints
  );
}

int main(int argc, char **argv) {
  int failed;
  test_init(argc, argv);
  if (faults_install_allocator() != SQLITE_OK) return 1;
  start_world();
  RUN(the_images_are_what_they_are_taken_for, "");
  RUN(opening_and_closing_without_memory, "D-8");
  RUN(reading_without_memory, "D-8");
  RUN(resolving_without_memory, "CM-2.1 §3; D-4");
  RUN(writing_without_memory, "CM-2.3 §6; D-5; D-8");
  RUN(checking_and_backup_without_memory, "D-8");
  RUN(opening_and_closing_on_a_failing_disk, "D-8");
  RUN(reading_on_a_failing_disk, "D-8");
  RUN(resolving_on_a_failing_disk, "CM-2.1 §3; D-4");
  RUN(writing_on_a_failing_disk, "CM-2.3 §6; D-5; D-8");
  RUN(checking_and_backup_on_a_failing_disk, "D-8");
  RUN(an_interrupt_at_any_moment_leaves_all_or_nothing, "CM-2.3 §6; D-5; D-8");
  RUN(a_commit_that_finds_no_room_in_the_index_is_of_unknown_outcome, "CM-2.3 §6; D-5");
  if (total.visited > 0) report_points();
  failed = test_report();
  sqlite3_shutdown();
  return failed;
}
