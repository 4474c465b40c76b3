/* SPDX-License-Identifier: MIT
**
** Random calls, with faults among them, against a model in memory: the store and the model are equal
** throughout.
**
** A run is a row of stores, each used for some hundred calls drawn from a seed: by three handles, by
** one alone (exclusive), or in memory. The model says what each call must give, to every field: the
** code, the rows, the audit events, the heads. Some calls are wrong in one way, the clock goes back,
** stands still and jumps, and every so often an allocation or a call of the file system fails under
** a call, once or from there on. After such a fault
**
**   the code    is the one without a fault, or one that custmem.h lists for the call and that fits
**   the effect  is there if the code says so, and else not, on this handle; while the fault lasts,
**               resolutions give the right customer or none
**   the handle  has no transaction open, and goes on
**   reopened    custmem_check is content, and what is stored is what the model says; only after
**               UNKNOWN_OUTCOME it may be either
**   no leak     of memory, of files
**
** Each store has a seed of its own, made of CUSTMEM_SEED (a number) and its number: CUSTMEM_STORE (a
** number) makes again the one that a complaint names. CUSTMEM_FAULTS=all makes 1,000,000 calls.
*/
#define _XOPEN_SOURCE 700

#include "documented.h"
#include "faults.h"
#include "test.h"
#include "vfs_shim.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define PATH_SIZE       512
#define WORDS_SIZE      64
#define NOBODY_ID       "01977777-7777-7777-8777-777777777777"

enum {
  CALLS_ALL = 1000000,
  CALLS_FEW = 12000,
  CALLS_REPLAYED = 2000,
  STORE_CALLS_FEWEST = 60,
  STORE_CALLS_MOST = 700,
  FAULT_SHARE = 16,
  LOOK_SHARE = 32, /* how often the whole store is compared though nothing failed */
  INSTRUCTORS = 3,
  PEOPLE = 6, /* of each instructor */
  CONVERSATIONS = 10,
  HANDLES = 3,
  ROWS = 12,
  COMPLAINTS = 5
};

static const char *const INSTRUCTOR[INSTRUCTORS] = {"anna", "bruno", "carla"};

/* ---- The model ----------------------------------------------------------------------------- */

/* shown  the number of the display identifier; 0: none
** id     "" of one that was never made; "?" where a fault has hidden it so far */
typedef struct person {
  char id[CUSTMEM_UUID_SIZE + 1];
  int shown;
  int64_t made_ms, changed_ms;
} person;

/* owner, linked  -1: nobody */
typedef struct conversation {
  int owner;
  int linked;
  int64_t seq, changed_ms;
} conversation;

/* from, to  people of the instructor's; -1: nobody
** hash      "": a fault has hidden it so far */
typedef struct event {
  int conversation, from, to, number;
  int64_t made_ms;
  char hash[CUSTMEM_HASH_SIZE + 1];
} event;

typedef struct model {
  char id[CUSTMEM_UUID_SIZE + 1];
  person people[INSTRUCTORS][PEOPLE];
  conversation conversations[CONVERSATIONS];
  int events_of[INSTRUCTORS];
  event events[INSTRUCTORS][STORE_CALLS_MOST + 1]; /* from 1; [0].hash is that of no event */
} model;

enum kind {
  CREATE,
  SET_DISPLAY,
  LINK,
  RELINK,
  UNLINK,
  GET,
  GET_MANY,
  FIND,
  LIST,
  RESOLVE,
  RESOLVE_MANY,
  CONVERSATIONS_OF,
  HISTORY,
  AUDIT_READ,
  AUDIT_HEAD,
  VERIFY,
  CHECK_ALL,
  BACK_UP,
  REOPEN,
  KINDS
};

/* What each kind is called, and how often it is drawn. */
static const struct {
  enum documented_call call;
  int weight;
} CALLS_OF[KINDS] = {
  [CREATE] = {CALL_CREATE, 8},
  [SET_DISPLAY] = {CALL_SET_DISPLAY, 6},
  [LINK] = {CALL_LINK, 16},
  [RELINK] = {CALL_RELINK, 16},
  [UNLINK] = {CALL_UNLINK, 8},
  [GET] = {CALL_GET, 5},
  [GET_MANY] = {CALL_GET_MANY, 4},
  [FIND] = {CALL_FIND, 5},
  [LIST] = {CALL_LIST, 4},
  [RESOLVE] = {CALL_RESOLVE, 12},
  [RESOLVE_MANY] = {CALL_RESOLVE_MANY, 8},
  [CONVERSATIONS_OF] = {CALL_CONVERSATIONS, 5},
  [HISTORY] = {CALL_HISTORY, 5},
  [AUDIT_READ] = {CALL_AUDIT_READ, 4},
  [AUDIT_HEAD] = {CALL_AUDIT_HEAD, 4},
  [VERIFY] = {CALL_AUDIT_VERIFY, 2},
  [CHECK_ALL] = {CALL_STORE_CHECK, 1},
  [BACK_UP] = {CALL_BACKUP, 1},
  [REOPEN] = {CALL_OPEN, 2},
};

/* In what way a call is wrong. */
enum flaw {
  RIGHT,
  NO_INSTRUCTOR,
  NOT_HUMAN,
  NO_REASON,
  LONG_REASON,
  BAD_TEXT,
  BAD_IDENTIFIER,
  BAD_CHANNEL,
  FLAWS
};

/* A customer as a call names one: perhaps another instructor's, perhaps one that there is not. */
typedef struct named {
  int instructor, person;
} named;

/* One call.
**
** number    its own, from 1: what it writes is made from it
** named     the customer of the call; of relink, the new one
** current   relink, unlink: the customer named as the current one
** rows      RESOLVE_MANY, GET_MANY: what is asked for
** after     lists, histories; VERIFY: the anchor's count
** capacity  lists; VERIFY: 0 no anchor, 1 a false one, else a true one
** now_ms    the clock, as long as the call runs
*/
typedef struct operation {
  enum kind kind;
  enum flaw flaw;
  int handle, number, instructor, conversation;
  named named, current;
  int rows, row_conversation[ROWS], row_person[ROWS];
  int after, capacity;
  int64_t now_ms;
} operation;

static int is_write(const operation *op) {
  return op->kind <= UNLINK;
}

static int is_verb(const operation *op) {
  return op->kind >= LINK && op->kind <= UNLINK;
}

static int is_there(const model *m, named who) {
  return m->people[who.instructor][who.person].id[0] != '\0';
}

static int is_own(const model *m, const operation *op, named who) {
  return who.instructor == op->instructor && is_there(m, who);
}

static const char *id_of(const model *m, named who) {
  return is_there(m, who) ? m->people[who.instructor][who.person].id : NOBODY_ID;
}

static const char *id_of_own(const model *m, int instructor, int who) {
  return who < 0 ? "" : m->people[instructor][who].id;
}

static const char *conversation_name(int number, char text[WORDS_SIZE]) {
  snprintf(text, WORDS_SIZE, "conversation-%02d", number);
  return text;
}

/* All instructors know the same people. */
static const char *phone_of(int number, char text[WORDS_SIZE]) {
  snprintf(text, WORDS_SIZE, "+39 333 12345%02d", number);
  return text;
}

static const char *key_of(int number, char text[WORDS_SIZE]) {
  snprintf(text, WORDS_SIZE, "3933312345%02d", number);
  return text;
}

static const char *display_of(int number, char text[WORDS_SIZE]) {
  text[0] = '\0';
  if (number > 0) snprintf(text, WORDS_SIZE, "Somebody, as call %d says", number);
  return text;
}

static const char *reason_of(int number, char text[WORDS_SIZE]) {
  snprintf(text, WORDS_SIZE, "Because of call %d", number);
  return text;
}

static const char *context_of(int number, char text[WORDS_SIZE]) {
  text[0] = '\0';
  if (number % 3 == 0) snprintf(text, WORDS_SIZE, "In the context of call %d", number);
  return text;
}

/* ---- What a call must give ----------------------------------------------------------------- */

static int code_of_verb(const model *m, const operation *op) {
  const conversation *to = &m->conversations[op->conversation];
  if (to->owner >= 0 && to->owner != op->instructor) return CUSTMEM_OTHER_INSTRUCTOR;
  if (op->kind == LINK && to->linked >= 0) return CUSTMEM_ALREADY_LINKED;
  if (op->kind != LINK) {
    if (to->linked < 0) return CUSTMEM_NOT_LINKED;
    if (op->current.instructor != op->instructor || op->current.person != to->linked)
      return CUSTMEM_CHANGED;
  }
  if (op->kind == UNLINK) return CUSTMEM_OK;
  if (op->kind == RELINK && op->named.instructor == op->instructor && op->named.person == to->linked)
    return CUSTMEM_NO_CHANGE;
  return is_own(m, op, op->named) ? CUSTMEM_OK : CUSTMEM_NO_CUSTOMER;
}

static int code_of_flaw(const operation *op) {
  switch (op->flaw) {
  case NO_INSTRUCTOR:
    return op->kind == RESOLVE || op->kind == RESOLVE_MANY ? CUSTMEM_OK : CUSTMEM_NO_INSTRUCTOR;
  case NOT_HUMAN:
    return CUSTMEM_NOT_HUMAN;
  case NO_REASON:
    return CUSTMEM_NO_REASON;
  case LONG_REASON:
    return CUSTMEM_TOO_LONG;
  case BAD_TEXT:
    return CUSTMEM_BAD_TEXT;
  case BAD_IDENTIFIER:
    return op->kind == RESOLVE ? CUSTMEM_OK : CUSTMEM_BAD_IDENTIFIER;
  case BAD_CHANNEL:
    return op->kind == RESOLVE ? CUSTMEM_OK : CUSTMEM_BAD_CHANNEL;
  default:
    return CUSTMEM_OK;
  }
}

static int code_of_verify(const model *m, const operation *op) {
  if (op->capacity == 0) return CUSTMEM_OK;
  if (op->capacity == 1 || op->after > m->events_of[op->instructor]) return CUSTMEM_ANCHOR;
  return CUSTMEM_OK;
}

static int code_of(const model *m, const operation *op, int read_only) {
  int rc = code_of_flaw(op);
  if (rc != CUSTMEM_OK) return rc;
  if (is_write(op) && read_only) return CUSTMEM_READONLY;
  if (is_verb(op)) return code_of_verb(m, op);
  switch (op->kind) {
  case SET_DISPLAY:
  case GET:
  case CONVERSATIONS_OF:
    return is_own(m, op, op->named) ? CUSTMEM_OK : CUSTMEM_NO_CUSTOMER;
  case FIND:
    return m->people[op->instructor][op->named.person].id[0] != '\0' ? CUSTMEM_OK
                                                                     : CUSTMEM_NO_CUSTOMER;
  case VERIFY:
    return code_of_verify(m, op);
  default:
    return CUSTMEM_OK;
  }
}

/* What the store holds after a write that was done. What a fault has hidden is learnt later. */
static void apply(model *m, const operation *op) {
  person *who = &m->people[op->instructor][op->named.person];
  conversation *to = &m->conversations[op->conversation];
  event *made;
  if (op->kind == CREATE) {
    if (who->id[0] != '\0') return;
    strcpy(who->id, "?");
    who->shown = op->number % 2 == 0 ? op->number : 0;
    who->made_ms = who->changed_ms = op->now_ms;
    return;
  }
  if (op->kind == SET_DISPLAY) {
    who->shown = op->number % 4 == 0 ? 0 : op->number;
    who->changed_ms = op->now_ms;
    return;
  }
  made = &m->events[op->instructor][++m->events_of[op->instructor]];
  made->conversation = op->conversation;
  made->from = to->linked;
  made->to = op->kind == UNLINK ? -1 : op->named.person;
  made->number = op->number;
  made->made_ms = op->now_ms;
  made->hash[0] = '\0';
  to->owner = op->instructor;
  to->linked = made->to;
  to->seq = m->events_of[op->instructor];
  to->changed_ms = op->now_ms;
}

/* ---- A store and its run ------------------------------------------------------------------- */

enum shape { SHARED, ALONE, IN_MEMORY, SHAPES };

static struct {
  int64_t number; /* of the store */
  enum shape shape;
  uint64_t seed;
  char path[PATH_SIZE], target[PATH_SIZE], crashed[PATH_SIZE];
  model model;
  custmem *handles[HANDLES];
  sqlite3 *dbs[HANDLES];
  int read_only[HANDLES];
  int handle_count;
  int64_t clock_ms;
  uint64_t random;
  sqlite3 *met;
  int meets;
  const fault *fault; /* of the call that runs; NULL: none */
  int64_t nth;
  int lasts;
  operation op;
  char message[CUSTMEM_MESSAGE_MAX + 1];
  int64_t memory; /* with nothing open */
  int told;
  int64_t told_seq;
} now;

static struct {
  int64_t calls, stores, done, refused, injected, failed, unknown, unknown_there, looks;
  int64_t complaints;
  uint64_t digest;
} total;

static void complain(const char *format, ...) {
  va_list arguments;
  if (total.complaints++ >= COMPLAINTS) return;
  printf(
    "  store %" PRId64 ", call %d, %s", now.number, now.op.number,
    documented_name(CALLS_OF[now.op.kind].call)
  );
  if (now.fault != NULL)
    printf(" (%s, n %" PRId64 "%s)", now.fault->name, now.nth, now.lasts ? " and on" : "");
  printf(": ");
  va_start(arguments, format);
  vprintf(format, arguments);
  va_end(arguments);
  printf("\n");
}

static uint64_t below(uint64_t limit) {
  return test_random(&now.seed) % limit;
}

static int64_t now_ms(void *ctx) {
  (void)ctx;
  return now.clock_ms;
}

static int random_bytes(uint8_t *bytes, size_t size, void *ctx) {
  size_t i;
  (void)ctx;
  for (i = 0; i < size; i++)
    bytes[i] = (uint8_t)test_random(&now.random);
  return 0;
}

/* A store's connection is the first one that its custmem_open makes. */
static int meet_connection(sqlite3 *db, char **message, const void *api) {
  (void)message, (void)api;
  if (now.meets) now.met = db;
  now.meets = 0;
  return SQLITE_OK;
}

static void listen(const custmem_notice *notice, void *ctx) {
  (void)ctx;
  if (notice->event == NULL) return;
  now.told++;
  now.told_seq = notice->event->seq;
}

static int open_path(const char *path, int read_only, custmem **store) {
  custmem_options options;
  int rc;
  custmem_options_init(&options);
  options.read_only = read_only;
  options.exclusive = now.shape == ALONE;
  options.now_ms = now_ms;
  options.random = random_bytes;
  options.message = now.message;
  options.message_size = sizeof now.message;
  now.meets = 1;
  rc = custmem_open(path, &options, store);
  now.meets = 0;
  return rc;
}

static int open_handle(int handle, int read_only) {
  int rc =
    open_path(now.shape == IN_MEMORY ? ":memory:" : now.path, read_only, &now.handles[handle]);
  now.dbs[handle] = rc == CUSTMEM_OK ? now.met : NULL;
  now.read_only[handle] = read_only;
  if (rc == CUSTMEM_OK && custmem_set_listener(now.handles[handle], listen, NULL) != CUSTMEM_OK)
    complain("no listener can be set");
  return rc;
}

static void close_handles(void) {
  int i;
  for (i = 0; i < now.handle_count; i++) {
    if (custmem_close(now.handles[i]) != CUSTMEM_OK) complain("a handle cannot be closed");
    now.handles[i] = NULL;
  }
}

/* ---- The calls ----------------------------------------------------------------------------- */

/* Whatever a call gives. Filled with nonsense before it: every output must be filled in. */
static struct {
  int rc;
  custmem_customer customer;
  int32_t created;
  custmem_written written;
  int32_t count;
  custmem_customer customers[ROWS];
  custmem_resolution resolutions[ROWS];
  custmem_conversation conversations[ROWS];
  custmem_event events[ROWS];
  custmem_head head;
  custmem_report report;
} answer;

/* The texts of a call, right or wrong. */
typedef struct texts {
  const char *instructor;
  custmem_actor actor;
  const char *channel;
  char conversation[WORDS_SIZE], phone[WORDS_SIZE], display[WORDS_SIZE];
  char reason[CUSTMEM_REASON_MAX + 2], context[WORDS_SIZE];
} texts;

static void write_texts(const operation *op, texts *to) {
  to->instructor = op->flaw == NO_INSTRUCTOR ? NULL : INSTRUCTOR[op->instructor];
  to->actor.type = op->flaw == NOT_HUMAN ? CUSTMEM_ACTOR_SYSTEM : CUSTMEM_ACTOR_HUMAN;
  to->actor.actor_id = "somebody";
  to->actor.instructor_id = to->instructor;
  to->channel = op->flaw == BAD_CHANNEL ? "pigeon" : "whatsapp";
  conversation_name(op->conversation, to->conversation);
  phone_of(op->named.person, to->phone);
  if (op->flaw == BAD_IDENTIFIER) strcpy(to->phone, "12345@g.us");
  display_of(
    op->kind == CREATE && op->number % 2 != 0        ? 0
    : op->kind == SET_DISPLAY && op->number % 4 == 0 ? 0
                                                     : op->number,
    to->display
  );
  reason_of(op->number, to->reason);
  context_of(op->number, to->context);
  if (op->flaw == NO_REASON) strcpy(to->reason, op->number % 2 == 0 ? "" : " \n\t ");
  if (op->flaw == BAD_TEXT) strcpy(to->reason, "a bell\a"), strcpy(to->display, "\xff");
  if (op->flaw == LONG_REASON) {
    memset(to->reason, 'r', CUSTMEM_REASON_MAX + 1);
    to->reason[CUSTMEM_REASON_MAX + 1] = '\0';
  }
}

static const char *or_null(const char *text) {
  return text[0] != '\0' ? text : NULL;
}

static int call_write(custmem *store, const model *m, const operation *op, const texts *t) {
  const char *to = id_of(m, op->named), *from = id_of(m, op->current);
  switch (op->kind) {
  case CREATE:
    return custmem_customer_create(
      store, &t->actor, t->channel, t->phone, -1, or_null(t->display), -1, &answer.customer,
      &answer.created
    );
  case SET_DISPLAY:
    return custmem_customer_set_display(
      store, &t->actor, to, or_null(t->display), -1, &answer.customer
    );
  case LINK:
    return custmem_link(
      store, &t->actor, t->conversation, to, t->reason, -1, or_null(t->context), -1,
      &answer.written
    );
  case RELINK:
    return custmem_relink(
      store, &t->actor, t->conversation, from, to, t->reason, -1, or_null(t->context), -1,
      &answer.written
    );
  default:
    return custmem_unlink(
      store, &t->actor, t->conversation, from, t->reason, -1, or_null(t->context), -1,
      &answer.written
    );
  }
}

static int call_resolve_many(custmem *store, const operation *op, const texts *t) {
  static char names[ROWS][WORDS_SIZE], phones[ROWS][WORDS_SIZE];
  custmem_query queries[ROWS];
  int i;
  for (i = 0; i < op->rows; i++) {
    queries[i].conversation_id = conversation_name(op->row_conversation[i], names[i]);
    queries[i].channel = "whatsapp";
    queries[i].raw_identifier = phone_of(op->row_person[i], phones[i]);
    queries[i].raw_size = -1;
  }
  return custmem_resolve_many(store, t->instructor, queries, op->rows, answer.resolutions);
}

static int call_get_many(custmem *store, const model *m, const operation *op, const texts *t) {
  const char *ids[ROWS];
  int i;
  for (i = 0; i < op->rows; i++) {
    named who = {op->instructor, op->row_person[i]};
    if (op->row_conversation[i] == 0) who.instructor = (who.instructor + 1) % INSTRUCTORS;
    ids[i] = id_of(m, who);
  }
  return custmem_customer_get_many(store, t->instructor, ids, op->rows, answer.customers);
}

static int call_verify(custmem *store, const model *m, const operation *op, const texts *t) {
  custmem_head anchor;
  int known = op->after <= m->events_of[op->instructor] ? op->after : 0;
  anchor.count = op->after;
  strcpy(anchor.hash, m->events[op->instructor][known].hash);
  if (op->capacity == 1) anchor.hash[5] = anchor.hash[5] == 'a' ? 'b' : 'a';
  return custmem_audit_verify(
    store, t->instructor, op->capacity > 0 ? &anchor : NULL, &answer.report
  );
}

static int call_read(custmem *store, const model *m, const operation *op, const texts *t) {
  const char *who = id_of(m, op->named);
  named after = {op->instructor, op->after % PEOPLE};
  switch (op->kind) {
  case GET:
    return custmem_customer_get(store, t->instructor, who, &answer.customer);
  case GET_MANY:
    return call_get_many(store, m, op, t);
  case FIND:
    return custmem_customer_find(
      store, t->instructor, t->channel, t->phone, -1, &answer.customer
    );
  case LIST:
    return custmem_customer_list(
      store, t->instructor, op->after % 2 == 0 ? NULL : id_of(m, after), answer.customers,
      op->capacity, &answer.count
    );
  case RESOLVE:
    return custmem_resolve(
      store, t->instructor, t->conversation, t->channel, op->number % 8 == 0 ? NULL : t->phone,
      -1, &answer.resolutions[0]
    );
  case RESOLVE_MANY:
    return call_resolve_many(store, op, t);
  case CONVERSATIONS_OF:
    return custmem_conversations(
      store, t->instructor, who, NULL, answer.conversations, op->capacity, &answer.count
    );
  case HISTORY:
    return custmem_history(
      store, t->instructor, t->conversation, op->after, answer.events, op->capacity,
      &answer.count
    );
  case AUDIT_READ:
    return custmem_audit_read(
      store, t->instructor, op->after, answer.events, op->capacity, &answer.count
    );
  case AUDIT_HEAD:
    return custmem_audit_head(store, t->instructor, &answer.head);
  case VERIFY:
    return call_verify(store, m, op, t);
  case CHECK_ALL:
    return custmem_check(store, &answer.report);
  default:
    return custmem_backup(store, now.target);
  }
}

static int reopen(const operation *op) {
  if (custmem_close(now.handles[op->handle]) != CUSTMEM_OK)
    complain("a handle cannot be closed");
  now.handles[op->handle] = NULL;
  return open_handle(op->handle, op->capacity % 6 == 0 && now.shape == SHARED);
}

static void make_call(const model *m, const operation *op) {
  static texts t;
  memset(&answer, 0x55, sizeof answer);
  now.told = 0;
  write_texts(op, &t);
  if (op->kind == REOPEN)
    answer.rc = reopen(op);
  else if (is_write(op))
    answer.rc = call_write(now.handles[op->handle], m, op, &t);
  else
    answer.rc = call_read(now.handles[op->handle], m, op, &t);
}

/* ---- What a call gave, beside the model ---------------------------------------------------- */

/* An id that a fault has hidden is learnt from the first answer that has it. */
static int is_id(char *known, const char *got) {
  if (strcmp(known, "?") == 0 && strlen(got) == CUSTMEM_UUID_SIZE) strcpy(known, got);
  return strcmp(known, got) == 0;
}

static int is_hash(char *known, const char *got) {
  if (known[0] == '\0' && strlen(got) == CUSTMEM_HASH_SIZE) strcpy(known, got);
  return strcmp(known, got) == 0;
}

static int is_customer(model *m, int instructor, int number, const custmem_customer *got) {
  person *who = &m->people[instructor][number];
  char key[WORDS_SIZE], display[WORDS_SIZE];
  return is_id(who->id, got->id) && strcmp(got->instructor_id, INSTRUCTOR[instructor]) == 0 &&
         strcmp(got->channel, "whatsapp") == 0 &&
         strcmp(got->normalized_identifier, key_of(number, key)) == 0 &&
         strcmp(got->display_identifier, display_of(who->shown, display)) == 0 &&
         got->created_at_ms == who->made_ms && got->updated_at_ms == who->changed_ms;
}

static int is_empty_customer(const custmem_customer *got) {
  static const custmem_customer none;
  return memcmp(got, &none, sizeof none) == 0;
}

static int is_event(model *m, int instructor, int seq, const custmem_event *got) {
  event *made = &m->events[instructor][seq];
  const char *name = made->from < 0 ? "conversation.customer_linked"
                     : made->to < 0 ? "conversation.customer_unlinked"
                                    : "conversation.customer_relinked";
  char text[WORDS_SIZE];
  return got->seq == seq && strcmp(got->instructor_id, INSTRUCTOR[instructor]) == 0 &&
         strcmp(got->event_name, name) == 0 &&
         strcmp(got->conversation_id, conversation_name(made->conversation, text)) == 0 &&
         strcmp(got->previous_customer_id, id_of_own(m, instructor, made->from)) == 0 &&
         strcmp(got->new_customer_id, id_of_own(m, instructor, made->to)) == 0 &&
         got->actor_type == CUSTMEM_ACTOR_HUMAN && strcmp(got->actor_id, "somebody") == 0 &&
         strcmp(got->reason, reason_of(made->number, text)) == 0 &&
         strcmp(got->context, context_of(made->number, text)) == 0 &&
         got->created_at_ms == made->made_ms && is_hash(made->hash, got->hash);
}

/* number  the person whose number it comes from; -1: refused; -2: unknown channel; -3: none */
static int why_of(const model *m, int instructor, int conversation_number, int number) {
  const conversation *at = &m->conversations[conversation_number];
  if (instructor < 0) return CUSTMEM_WHY_NO_INSTRUCTOR;
  if (at->owner >= 0 && at->owner != instructor) return CUSTMEM_WHY_OTHER_INSTRUCTOR;
  if (at->linked >= 0) return CUSTMEM_WHY_EXPLICIT_LINK;
  if (number == -3) return CUSTMEM_WHY_NO_IDENTIFIER;
  if (number == -2) return CUSTMEM_WHY_BAD_CHANNEL;
  if (number == -1) return CUSTMEM_WHY_REFUSED;
  return m->people[instructor][number].id[0] != '\0' ? CUSTMEM_WHY_ONE_MATCH
                                                     : CUSTMEM_WHY_NO_MATCH;
}

static int is_resolution(
  const model *m,
  int instructor,
  int conversation_number,
  int number,
  const custmem_resolution *got
) {
  static const struct {
    int outcome, step;
    const char *event_name;
  } BY_WHY[] = {
    {CUSTMEM_LINKED, 1, "conversation.customer_resolved"},
    {CUSTMEM_CANDIDATE, 2, "conversation.customer_resolved"},
    {CUSTMEM_UNLINKED, 3, "conversation.customer_resolution_skipped"},
    {CUSTMEM_UNLINKED, 3, "conversation.customer_resolution_skipped"},
    {CUSTMEM_UNLINKED, 3, "conversation.customer_unresolved"},
    {CUSTMEM_UNLINKED, 3, "conversation.customer_unresolved"},
    {CUSTMEM_UNLINKED, 3, "conversation.customer_unresolved"},
    {CUSTMEM_UNLINKED, 3, "conversation.customer_unresolved"},
  };
  int why = why_of(m, instructor, conversation_number, number);
  const char *id = why == CUSTMEM_WHY_EXPLICIT_LINK
                     ? id_of_own(m, instructor, m->conversations[conversation_number].linked)
                   : why == CUSTMEM_WHY_ONE_MATCH ? id_of_own(m, instructor, number)
                                                  : "";
  int is_looked_up = why == CUSTMEM_WHY_ONE_MATCH || why == CUSTMEM_WHY_NO_MATCH;
  int refusal = why == CUSTMEM_WHY_REFUSED       ? CUSTMEM_REFUSED_NOT_A_PERSON
                : why == CUSTMEM_WHY_BAD_CHANNEL ? CUSTMEM_REFUSED_UNKNOWN_CHANNEL
                                                 : CUSTMEM_ACCEPTED;
  char key[WORDS_SIZE] = "";
  if (is_looked_up) key_of(number, key);
  return got->why == why && got->outcome == BY_WHY[why].outcome &&
         got->step == BY_WHY[why].step &&
         strcmp(got->event_name, BY_WHY[why].event_name) == 0 &&
         strcmp(got->customer_id, id) == 0 && strcmp(got->normalized_identifier, key) == 0 &&
         got->refusal == refusal && got->rules_version == CUSTMEM_RULES_VERSION;
}

/* What a resolution may be while the fault lasts: the right one, or that it could not look. */
static int is_right_or_none(
  const model *m,
  int instructor,
  int conversation_number,
  int number,
  const custmem_resolution *got
) {
  if (is_resolution(m, instructor, conversation_number, number, got)) return 1;
  return got->why == CUSTMEM_WHY_LOOKUP_FAILED && got->outcome == CUSTMEM_UNLINKED &&
         got->step == 3 && got->customer_id[0] == '\0' && got->normalized_identifier[0] == '\0';
}

static int instructor_asked(const operation *op) {
  return op->flaw == NO_INSTRUCTOR ? -1 : op->instructor;
}

static int number_asked(const operation *op) {
  if (op->number % 8 == 0) return op->flaw == BAD_CHANNEL ? -2 : -3;
  return op->flaw == BAD_IDENTIFIER ? -1 : op->flaw == BAD_CHANNEL ? -2 : op->named.person;
}

/* The people of an instructor in the order of their ids, from behind `after` on. */
static int people_after(const model *m, int instructor, const char *after, int people[PEOPLE]) {
  int count = 0, number, at;
  for (number = 0; number < PEOPLE; number++) {
    const char *id = m->people[instructor][number].id;
    if (id[0] == '\0' || strcmp(id, after) <= 0) continue;
    for (at = count++; at > 0 && strcmp(m->people[instructor][people[at - 1]].id, id) > 0; at--)
      people[at] = people[at - 1];
    people[at] = number;
  }
  return count;
}

static int is_list(model *m, const operation *op) {
  named after = {op->instructor, op->after % PEOPLE};
  int people[PEOPLE], i;
  int count =
    people_after(m, op->instructor, op->after % 2 == 0 ? "" : id_of(m, after), people);
  if (answer.count != (count < op->capacity ? count : op->capacity)) return 0;
  for (i = 0; i < answer.count; i++)
    if (!is_customer(m, op->instructor, people[i], &answer.customers[i])) return 0;
  return 1;
}

static int is_conversations(const model *m, const operation *op) {
  int row = 0, i;
  char name[WORDS_SIZE];
  for (i = 0; i < CONVERSATIONS && row < op->capacity; i++) {
    const conversation *at = &m->conversations[i];
    const custmem_conversation *got = &answer.conversations[row];
    if (at->owner != op->instructor || at->linked != op->named.person) continue;
    row++;
    if (strcmp(got->conversation_id, conversation_name(i, name)) != 0 || strcmp(got->customer_id, id_of(m, op->named)) != 0 || got->audit_seq != at->seq || got->updated_at_ms != at->changed_ms)
      return 0;
  }
  return answer.count == row;
}

/* of  a conversation, or -1: all events */
static int is_trail(model *m, const operation *op, int of) {
  int row = 0, seq;
  for (seq = op->after + 1; seq <= m->events_of[op->instructor] && row < op->capacity; seq++) {
    if (of >= 0 && m->events[op->instructor][seq].conversation != of) continue;
    if (!is_event(m, op->instructor, seq, &answer.events[row++])) return 0;
  }
  return answer.count == row;
}

static int is_many(model *m, const operation *op) {
  int i;
  for (i = 0; i < op->rows; i++) {
    const custmem_customer *got = &answer.customers[i];
    int number = op->row_person[i];
    int is_found =
      op->row_conversation[i] != 0 && m->people[op->instructor][number].id[0] != '\0';
    if (is_found ? !is_customer(m, op->instructor, number, got) : !is_empty_customer(got))
      return 0;
  }
  return 1;
}

static int is_page(
  const model *m,
  const operation *op,
  int (*is_good)(const model *, int, int, int, const custmem_resolution *)
) {
  int i;
  for (i = 0; i < op->rows; i++)
    if (!is_good(
          m, instructor_asked(op), op->row_conversation[i], op->row_person[i],
          &answer.resolutions[i]
        ))
      return 0;
  return 1;
}

static int is_head(model *m, int instructor, const custmem_head *got) {
  int count = m->events_of[instructor];
  return got->count == count && is_hash(m->events[instructor][count].hash, got->hash);
}

/* With the instructor's own counts, or with those of all. */
static int is_report(model *m, int first, int end) {
  int64_t customers = 0, events = 0, links = 0, instructors = 0;
  int i, number;
  for (i = first; i < end; i++) {
    int64_t own = 0;
    events += m->events_of[i];
    for (number = 0; number < PEOPLE; number++)
      customers += m->people[i][number].id[0] != '\0';
    for (number = 0; number < CONVERSATIONS; number++)
      own += m->conversations[number].owner == i;
    links += own;
    instructors += m->events_of[i] > 0 || end - first == 1;
  }
  if (end - first == 1) customers = 0;
  return answer.report.fault == CUSTMEM_FAULT_NONE && answer.report.events == events &&
         answer.report.links == links && answer.report.customers == customers &&
         answer.report.instructors == instructors;
}

static int is_verified(model *m, const operation *op) {
  int beyond_or_differs = op->after > m->events_of[op->instructor]
                            ? CUSTMEM_FAULT_ANCHOR_BEYOND
                            : CUSTMEM_FAULT_ANCHOR_DIFFERS;
  if (!is_head(m, op->instructor, &answer.report.head)) return 0;
  if (answer.rc == CUSTMEM_ANCHOR) return answer.report.fault == beyond_or_differs;
  return is_report(m, op->instructor, op->instructor + 1);
}

static int is_backup(void);

/* Whether the customer has just been made. */
static int is_hidden(const model *m, const operation *op) {
  return strcmp(m->people[op->instructor][op->named.person].id, "?") == 0;
}

/* After the model knows of the write. */
static int is_right_write(model *m, const operation *op) {
  const conversation *to = &m->conversations[op->conversation];
  if (op->kind == CREATE)
    return answer.created == is_hidden(m, op) &&
           is_customer(m, op->instructor, op->named.person, &answer.customer);
  if (op->kind == SET_DISPLAY)
    return is_customer(m, op->instructor, op->named.person, &answer.customer);
  return strcmp(answer.written.current_customer_id, id_of_own(m, op->instructor, to->linked)) ==
           0 &&
         answer.written.seq == to->seq && answer.written.created_at_ms == op->now_ms &&
         is_head(m, op->instructor, &answer.written.head) && now.told == 1 &&
         now.told_seq == to->seq;
}

/* Of a call that gave the code that it should. */
static int is_right(model *m, const operation *op) {
  switch (op->kind) {
  case GET:
  case FIND:
    return is_customer(m, op->instructor, op->named.person, &answer.customer);
  case GET_MANY:
    return is_many(m, op);
  case LIST:
    return is_list(m, op);
  case RESOLVE:
    return is_resolution(
      m, instructor_asked(op), op->conversation, number_asked(op), &answer.resolutions[0]
    );
  case RESOLVE_MANY:
    return is_page(m, op, is_resolution);
  case CONVERSATIONS_OF:
    return is_conversations(m, op);
  case HISTORY:
    return m->conversations[op->conversation].owner == op->instructor
             ? is_trail(m, op, op->conversation)
             : answer.count == 0;
  case AUDIT_READ:
    return is_trail(m, op, -1);
  case AUDIT_HEAD:
    return is_head(m, op->instructor, &answer.head);
  case VERIFY:
    return is_verified(m, op);
  case CHECK_ALL:
    return is_report(m, 0, INSTRUCTORS);
  case BACK_UP:
    return is_backup();
  case REOPEN:
    return 1;
  default:
    return is_right_write(m, op);
  }
}

/* Of a call that was refused, or that failed: whom the conversation is linked to may be said. */
static int is_blank(const model *m, const operation *op) {
  const conversation *at = &m->conversations[op->conversation];
  custmem_written none;
  switch (op->kind) {
  case CREATE:
    return answer.created == 0 && is_empty_customer(&answer.customer);
  case SET_DISPLAY:
  case GET:
  case FIND:
    return is_empty_customer(&answer.customer);
  case LINK:
  case RELINK:
  case UNLINK:
    memset(&none, 0, sizeof none);
    if (at->owner == op->instructor && answer.written.current_customer_id[0] != '\0')
      strcpy(none.current_customer_id, id_of_own(m, op->instructor, at->linked));
    return strcmp(answer.written.current_customer_id, none.current_customer_id) == 0 &&
           answer.written.seq == 0 && answer.written.created_at_ms == 0 &&
           answer.written.head.count == 0 && answer.written.head.hash[0] == '\0' &&
           now.told == 0;
  case GET_MANY:
    return op->rows == 0 || is_empty_customer(&answer.customers[op->rows - 1]);
  case LIST:
  case CONVERSATIONS_OF:
  case HISTORY:
  case AUDIT_READ:
    return answer.count == 0;
  case RESOLVE:
    return is_right_or_none(
      m, instructor_asked(op), op->conversation, number_asked(op), &answer.resolutions[0]
    );
  case RESOLVE_MANY:
    return is_page(m, op, is_right_or_none);
  case AUDIT_HEAD:
    return answer.head.count == 0 && answer.head.hash[0] == '\0';
  case VERIFY:
  case CHECK_ALL:
    return answer.report.fault == CUSTMEM_FAULT_NONE;
  case BACK_UP:
    return access(now.target, F_OK) != 0;
  default:
    return now.handles[op->handle] == NULL && now.message[0] != '\0';
  }
}

/* ---- The whole of a store, beside the model ------------------------------------------------ */

static int is_instructor(custmem *store, model *m, int instructor) {
  operation op;
  texts t;
  int i;
  memset(&op, 0, sizeof op);
  op.instructor = instructor;
  op.capacity = ROWS;
  op.rows = CONVERSATIONS;
  for (i = 0; i < CONVERSATIONS; i++) {
    op.row_conversation[i] = i;
    op.row_person[i] = i % PEOPLE;
  }
  write_texts(&op, &t);
  op.kind = LIST;
  if (call_read(store, m, &op, &t) != CUSTMEM_OK || !is_list(m, &op)) return 0;
  op.kind = AUDIT_HEAD;
  if (call_read(store, m, &op, &t) != CUSTMEM_OK || !is_head(m, instructor, &answer.head))
    return 0;
  op.kind = RESOLVE_MANY;
  if (call_read(store, m, &op, &t) != CUSTMEM_OK || !is_page(m, &op, is_resolution)) return 0;
  op.kind = AUDIT_READ;
  op.after = m->events_of[instructor] > ROWS ? m->events_of[instructor] - ROWS : 0;
  return call_read(store, m, &op, &t) == CUSTMEM_OK && is_trail(m, &op, -1);
}

/* Every customer, link and head, and the last events. It does not disturb the answer of a call. */
static int is_model(custmem *store, model *m) {
  custmem_info info;
  int i, good;
  good = custmem_store_info(store, &info) == CUSTMEM_OK && strcmp(info.id, m->id) == 0;
  for (i = 0; i < INSTRUCTORS && good; i++)
    good = is_instructor(store, m, i);
  total.looks++;
  return good;
}

static int is_checked(custmem *store, model *m) {
  return custmem_check(store, &answer.report) == CUSTMEM_OK && is_report(m, 0, INSTRUCTORS);
}

static int is_backup(void) {
  custmem *copy = NULL;
  int good = open_path(now.target, 1, &copy) == CUSTMEM_OK && is_model(copy, &now.model) &&
             is_checked(copy, &now.model);
  custmem_close(copy);
  test_store_remove(now.target); /* with what a fault may have left beside it */
  return good;
}

/* ---- After a fault ------------------------------------------------------------------------- */

static void check_no_transaction(void) {
  sqlite3 *db = now.dbs[now.op.handle];
  if (now.handles[now.op.handle] == NULL) return;
  if (!sqlite3_get_autocommit(db) || sqlite3_txn_state(db, NULL) != SQLITE_TXN_NONE)
    complain("%s, but a transaction is left open", custmem_code_name(answer.rc));
}

static int open_all(void) {
  int i, rc = CUSTMEM_OK;
  for (i = 0; i < now.handle_count && rc == CUSTMEM_OK; i++)
    rc = open_handle(i, now.read_only[i]);
  if (rc != CUSTMEM_OK)
    complain("cannot be opened: %s: %s", custmem_code_name(rc), now.message);
  return rc == CUSTMEM_OK;
}

/* With all handles closed nothing is left; opened again the store is the model, or, where the
** outcome was unknown, the model after the write. */
static int check_reopened(int rc) {
  static model after;
  int is_same;
  /* After an unknown outcome the process dies, and leaves the files as they are. */
  if (rc == CUSTMEM_UNKNOWN_OUTCOME) test_store_copy(now.path, now.crashed);
  close_handles();
  if (rc == CUSTMEM_UNKNOWN_OUTCOME) test_store_copy(now.crashed, now.path);
  if (sqlite3_memory_used() != now.memory)
    complain(
      "%s, and %" PRId64 " bytes are left", custmem_code_name(rc),
      (int64_t)sqlite3_memory_used() - now.memory
    );
  if (vfs_shim_open_files() != 0)
    complain("%s, and files are left open", custmem_code_name(rc));
  if (!open_all()) return 0;
  is_same = is_model(now.handles[0], &now.model);
  if (!is_same && rc == CUSTMEM_UNKNOWN_OUTCOME) {
    after = now.model;
    apply(&after, &now.op);
    is_same = is_model(now.handles[0], &after);
    if (is_same) now.model = after;
    total.unknown_there += is_same;
  }
  if (!is_same) complain("%s, and reopened it is not the model", custmem_code_name(rc));
  if (!is_checked(now.handles[0], &now.model))
    complain("%s, and the check says: %s", custmem_code_name(rc), answer.report.detail);
  return is_same;
}

/* The fault is still there. */
static void resolve_under_fault(void) {
  operation op = now.op;
  texts t;
  int i;
  if (now.handles[op.handle] == NULL) return;
  op.kind = RESOLVE_MANY;
  op.flaw = RIGHT;
  op.rows = CONVERSATIONS;
  for (i = 0; i < CONVERSATIONS; i++) {
    op.row_conversation[i] = i;
    op.row_person[i] = i % PEOPLE;
  }
  write_texts(&op, &t);
  call_read(now.handles[op.handle], &now.model, &op, &t);
  if (!is_page(&now.model, &op, is_right_or_none)) complain("resolved wrongly under the fault");
}

/* Gives whether the run can go on. */
static int check_after_fault(int rc) {
  custmem *store = now.handles[now.op.handle];
  total.failed++;
  check_no_transaction();
  if (now.lasts) resolve_under_fault();
  faults_disarm();
  check_no_transaction();
  if (store != NULL && !is_model(store, &now.model)) {
    complain("%s, and the handle does not show the model", custmem_code_name(rc));
    return 0;
  }
  if (now.shape != IN_MEMORY) return check_reopened(rc);
  if (store == NULL || is_checked(store, &now.model)) return 1;
  complain("%s, and the check says: %s", custmem_code_name(rc), answer.report.detail);
  return 0;
}

/* ---- A call -------------------------------------------------------------------------------- */

static int draw_capacity(enum kind kind) {
  return kind == VERIFY ? (int)below(3) : 1 + (int)below(ROWS);
}

static enum flaw draw_flaw(enum kind kind) {
  static const unsigned flaws[KINDS] = {
    [CREATE] = 1u << NO_INSTRUCTOR | 1u << NOT_HUMAN | 1u << BAD_IDENTIFIER | 1u << BAD_CHANNEL,
    [SET_DISPLAY] = 1u << NO_INSTRUCTOR | 1u << NOT_HUMAN,
    [LINK] = 1u << NO_INSTRUCTOR | 1u << NOT_HUMAN | 1u << NO_REASON | 1u << LONG_REASON |
             1u << BAD_TEXT,
    [RELINK] = 1u << NO_INSTRUCTOR | 1u << NOT_HUMAN | 1u << NO_REASON | 1u << LONG_REASON |
               1u << BAD_TEXT,
    [UNLINK] = 1u << NO_INSTRUCTOR | 1u << NOT_HUMAN | 1u << NO_REASON | 1u << LONG_REASON |
               1u << BAD_TEXT,
    [GET] = 1u << NO_INSTRUCTOR,
    [FIND] = 1u << NO_INSTRUCTOR | 1u << BAD_IDENTIFIER | 1u << BAD_CHANNEL,
    [RESOLVE] = 1u << NO_INSTRUCTOR | 1u << BAD_IDENTIFIER | 1u << BAD_CHANNEL,
    [RESOLVE_MANY] = 1u << NO_INSTRUCTOR,
    [HISTORY] = 1u << NO_INSTRUCTOR,
    [VERIFY] = 1u << NO_INSTRUCTOR,
  };
  enum flaw flaw = (enum flaw)(1 + below(FLAWS - 1));
  return below(6) == 0 && (flaws[kind] & 1u << flaw) ? flaw : RIGHT;
}

static enum kind draw_kind(void) {
  uint64_t sum = 0, at;
  int kind;
  for (kind = 0; kind < KINDS; kind++)
    sum += (uint64_t)CALLS_OF[kind].weight;
  at = below(sum);
  for (kind = 0; at >= (uint64_t)CALLS_OF[kind].weight; kind++)
    at -= (uint64_t)CALLS_OF[kind].weight;
  return (enum kind)kind;
}

/* Mostly the instructor's own. */
static named draw_named(int instructor) {
  named who = {instructor, (int)below(PEOPLE)};
  if (below(16) == 0) who.instructor = (int)below(INSTRUCTORS);
  return who;
}

/* Mostly a conversation that nobody has, or that is the instructor's; and mostly its customer is named. */
static operation draw_operation(int number) {
  operation op;
  int i;
  memset(&op, 0, sizeof op);
  op.kind = draw_kind();
  op.number = number;
  op.handle = (int)below((uint64_t)now.handle_count);
  if (op.kind == REOPEN && now.shape == IN_MEMORY) op.kind = CHECK_ALL;
  if (op.kind == BACK_UP && now.shape == ALONE) op.kind = CHECK_ALL;
  op.flaw = draw_flaw(op.kind);
  op.conversation = (int)below(CONVERSATIONS);
  op.instructor = now.model.conversations[op.conversation].owner;
  if (op.instructor < 0 || below(12) == 0) op.instructor = (int)below(INSTRUCTORS);
  op.named = draw_named(op.instructor);
  op.current = draw_named(op.instructor);
  if (below(5) != 0 && now.model.conversations[op.conversation].linked >= 0)
    op.current.person = now.model.conversations[op.conversation].linked;
  op.capacity = draw_capacity(op.kind);
  op.after = (int)below((uint64_t)now.model.events_of[op.instructor] + 3);
  op.rows = (int)below(ROWS + 1);
  for (i = 0; i < op.rows; i++) {
    op.row_conversation[i] = (int)below(CONVERSATIONS);
    op.row_person[i] = (int)below(PEOPLE);
  }
  /* The clock steps, stands still, goes back, or jumps by years. */
  i = (int)below(16);
  now.clock_ms += i < 12   ? (int64_t)below(5000)
                  : i < 14 ? 0
                  : i < 15 ? -(int64_t)below(100000000)
                           : (int64_t)below(100000000000);
  if (now.clock_ms < 0 || now.clock_ms >= INT64_C(1) << 47) now.clock_ms = 1750000000000;
  op.now_ms = now.clock_ms;
  return op;
}

static void arm(void) {
  now.fault = NULL;
  if (below(FAULT_SHARE) != 0) return;
  now.fault = below(2) == 0 ? FAULTS_MEMORY : &FAULTS_DISK[below(FAULTS_DISK_COUNT)];
  now.nth = 1 + (int64_t)below(UINT64_C(1) << below(6));
  now.lasts = below(2) == 0;
  total.injected++;
  faults_arm(now.fault, now.nth, now.lasts);
}

static void check_code(int want) {
  enum documented_call call = CALLS_OF[now.op.kind].call;
  if (now.fault == NULL || faults_fired() == 0 || !documented_code(call, answer.rc) || !faults_explain(now.fault, answer.rc))
    complain("%s, not %s", custmem_code_name(answer.rc), custmem_code_name(want));
  else if (!is_blank(&now.model, &now.op))
    complain("%s, but with an answer", custmem_code_name(answer.rc));
}

/* The code, the answer and the effect. */
static void judge(int want) {
  int names_current =
    want == CUSTMEM_ALREADY_LINKED || want == CUSTMEM_CHANGED || want == CUSTMEM_NO_CHANGE;
  if (answer.rc != want) {
    check_code(want);
    return;
  }
  total.done += want == CUSTMEM_OK;
  total.refused += want != CUSTMEM_OK;
  if (want == CUSTMEM_OK && is_write(&now.op)) apply(&now.model, &now.op);
  if (want == CUSTMEM_OK || want == CUSTMEM_ANCHOR) {
    if (!is_right(&now.model, &now.op))
      complain("%s, with a wrong answer", custmem_code_name(want));
  } else if (!is_blank(&now.model, &now.op) || (names_current && answer.written.current_customer_id[0] == '\0')) {
    complain("%s, with a wrong answer", custmem_code_name(want));
  }
}

static void remember(uint64_t word) {
  total.digest = (total.digest ^ word) * UINT64_C(0x9e3779b97f4a7c15);
  total.digest ^= total.digest >> 29;
}

/* Gives whether the run can go on. */
static int run_call(int number) {
  int64_t complaints = total.complaints;
  int want, rc, fired, goes_on = 1;
  now.op = draw_operation(number);
  want = code_of(&now.model, &now.op, now.read_only[now.op.handle]);
  if (now.op.kind == REOPEN) now.read_only[now.op.handle] = 0;
  arm();
  make_call(&now.model, &now.op);
  rc = answer.rc;
  fired = now.fault != NULL && faults_fired() > 0;
  if (now.op.kind == BACK_UP) faults_disarm(); /* the copy is looked at by reading it */
  judge(want);
  total.unknown += rc == CUSTMEM_UNKNOWN_OUTCOME;
  if (fired) goes_on = check_after_fault(rc);
  faults_disarm();
  if (goes_on && below(LOOK_SHARE) == 0 && !is_model(now.handles[now.op.handle], &now.model))
    complain("the store is not the model");
  remember((uint64_t)now.op.kind << 32 | (uint64_t)rc << 8 | (uint64_t)fired);
  total.calls++;
  return goes_on && total.complaints == complaints;
}

/* ---- A store ------------------------------------------------------------------------------- */

static void learn_beginning(void) {
  custmem_info info;
  custmem_head head;
  int i;
  for (i = 0; i < CONVERSATIONS; i++)
    now.model.conversations[i].owner = now.model.conversations[i].linked = -1;
  CHECK_INT(custmem_store_info(now.handles[0], &info), CUSTMEM_OK);
  strcpy(now.model.id, info.id);
  for (i = 0; i < INSTRUCTORS; i++) {
    CHECK_INT(custmem_audit_head(now.handles[0], INSTRUCTOR[i], &head), CUSTMEM_OK);
    strcpy(now.model.events[i][0].hash, head.hash);
  }
}

static void run_store(int64_t number, int64_t calls_left) {
  int calls, i;
  memset(&now.model, 0, sizeof now.model);
  now.number = number;
  now.seed = test_seed() * UINT64_C(1000003) + (uint64_t)number;
  now.random = now.seed;
  now.clock_ms = 1750000000000;
  now.shape = (enum shape)(below(8) < 6 ? SHARED : 1 + below(SHAPES - 1));
  now.handle_count = now.shape == SHARED ? HANDLES : 1;
  memset(now.read_only, 0, sizeof now.read_only);
  memset(&now.op, 0, sizeof now.op);
  now.fault = NULL;
  calls = STORE_CALLS_FEWEST + (int)below(STORE_CALLS_MOST - STORE_CALLS_FEWEST);
  test_store_remove(now.path);
  if (open_all()) {
    learn_beginning();
    for (i = 1; i <= calls && i <= calls_left && run_call(i); i++) {
    }
  }
  close_handles();
  test_store_remove(now.path);
  total.stores++;
}

static void run_until(int64_t calls) {
  while (total.calls < calls && total.complaints < COMPLAINTS)
    run_store(total.stores, calls - total.calls);
}

/* ---- The tests ----------------------------------------------------------------------------- */

/* A process of its own runs so many calls, and gives the digest of all that they gave. */
static uint64_t digest_of_child(int64_t calls) {
  uint64_t digest = 0;
  int ends[2], status = 1;
  pid_t child;
  fflush(stdout);
  if (!CHECK_INT(pipe(ends), 0)) return 0;
  child = fork();
  if (child == 0) {
    memset(&total, 0, sizeof total);
    run_until(calls);
    _exit(write(ends[1], &total.digest, sizeof digest) != (ssize_t)sizeof digest);
  }
  close(ends[1]);
  CHECK_INT(read(ends[0], &digest, sizeof digest), sizeof digest);
  close(ends[0]);
  CHECK_INT(waitpid(child, &status, 0), child);
  CHECK_INT(status, 0);
  return digest;
}

TEST(the_same_seed_makes_the_same_run) {
  uint64_t first = digest_of_child(CALLS_REPLAYED);
  CHECK(first != 0);
  CHECK(digest_of_child(CALLS_REPLAYED) == first);
  CHECK(digest_of_child(CALLS_REPLAYED - 1) != first);
}

TEST(random_calls_with_faults_leave_the_store_equal_to_the_model) {
  int64_t only = (int64_t)test_setting("CUSTMEM_STORE", UINT64_MAX);
  memset(&total, 0, sizeof total);
  if (only >= 0)
    run_store(only, CALLS_ALL);
  else
    run_until(test_is_full() ? CALLS_ALL : CALLS_FEW);
  printf(
    "  model: %" PRId64 " calls on %" PRId64 " stores, seed %" PRIu64 ": %" PRId64
    " done, %" PRId64 " refused; %" PRId64 " faults armed, %" PRId64 " of them met, %" PRId64
    " unknown outcomes (%" PRId64 " there); the whole store compared %" PRId64
    " times; %" PRId64 " complaints\n",
    total.calls, total.stores, test_seed(), total.done, total.refused, total.injected,
    total.failed, total.unknown, total.unknown_there, total.looks, total.complaints
  );
  CHECK_INT(total.complaints, 0);
  if (only >= 0) return;
  CHECK(total.done > total.calls / 2);
  CHECK(total.refused > total.calls / 20);
  CHECK(total.failed > total.calls / 100);
}

int main(int argc, char **argv) {
  int failed;
  test_init(argc, argv);
  if (faults_install_allocator() != SQLITE_OK || vfs_shim_install() != SQLITE_OK || sqlite3_auto_extension((void (*)(void))meet_connection) != SQLITE_OK)
    return 1;
  vfs_shim_hurry(1);
  now.memory = sqlite3_memory_used();
  strcpy(now.path, test_path("store.db"));
  strcpy(now.target, test_path("copy.db"));
  strcpy(now.crashed, test_path("crashed.db"));
  RUN(the_same_seed_makes_the_same_run, "");
  RUN(
    random_calls_with_faults_leave_the_store_equal_to_the_model,
    "CM-1 §4.1; CM-2.1 §3, §5; CM-2.3 §3.1, §4.3, §5, §6, §9; CM-2.5; D-4; D-5; D-7; D-8"
  );
  failed = test_report();
  sqlite3_reset_auto_extension();
  sqlite3_shutdown();
  return failed;
}
