/* SPDX-License-Identifier: MIT
**
** Bad input: every public call, with every argument wrong in every way that has a name. Two tables
** carry it: PARAMETERS says what is wrong for a parameter wherever it stands, CALLS which parameters
** and outputs a call has. After each refusal nothing was committed, each output is filled in, and
** the handle goes on.
*/
#define _XOPEN_SOURCE   700
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */

#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define COUNT_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))
#define PATH_SIZE       512
#define UNUSED_BYTE     0xAA
#define HUGE_SIZE       (INT64_C(1) << (test_is_full() ? 30 : 27))

#define OURS    "instructor-1"
#define THEIRS  "instructor-2"
#define NOBODYS "0197a3b2-0000-7000-8000-000000000000"

/* ---- Parameters ---------------------------------------------------------------------------- */

enum param {
  NO_PARAM,
  INSTRUCTOR_ID,
  ACTOR_ID,
  CONVERSATION_ID,
  CHANNEL,
  RAW_IDENTIFIER,
  DISPLAY,
  CUSTOMER_ID,
  CURRENT_CUSTOMER_ID,
  NEW_CUSTOMER_ID,
  AFTER_CUSTOMER_ID,
  AFTER_CONVERSATION_ID,
  REASON,
  CONTEXT,
  PATH,
  PARAMS
};

/* A text parameter wherever it stands: its limit, whether it has a size, what NULL and "" come to
** (OK: NULL means none), and whether it may hold tabs and line breaks. */
static const struct {
  const char *name;
  int limit;
  int sized;
  int null_code;
  int empty_code;
  int prose;
} PARAMETERS[PARAMS] = {
  [INSTRUCTOR_ID] =
    {"instructor_id", CUSTMEM_ID_MAX, 0, CUSTMEM_NO_INSTRUCTOR, CUSTMEM_NO_INSTRUCTOR, 0},
  [ACTOR_ID] = {"actor_id", CUSTMEM_ID_MAX, 0, CUSTMEM_MISUSE, CUSTMEM_EMPTY, 0},
  [CONVERSATION_ID] = {"conversation_id", CUSTMEM_ID_MAX, 0, CUSTMEM_MISUSE, CUSTMEM_EMPTY, 0},
  [CHANNEL] = {"channel", CUSTMEM_CHANNEL_MAX, 0, CUSTMEM_MISUSE, CUSTMEM_EMPTY, 0},
  [RAW_IDENTIFIER] = {"raw_identifier", CUSTMEM_RAW_MAX, 1, CUSTMEM_MISUSE, CUSTMEM_EMPTY, 0},
  [DISPLAY] = {"display", CUSTMEM_DISPLAY_MAX, 1, CUSTMEM_OK, CUSTMEM_EMPTY, 0},
  [CUSTOMER_ID] = {"customer_id", CUSTMEM_UUID_SIZE, 0, CUSTMEM_MISUSE, CUSTMEM_EMPTY, 0},
  [CURRENT_CUSTOMER_ID] =
    {"current_customer_id", CUSTMEM_UUID_SIZE, 0, CUSTMEM_MISUSE, CUSTMEM_EMPTY, 0},
  [NEW_CUSTOMER_ID] =
    {"new_customer_id", CUSTMEM_UUID_SIZE, 0, CUSTMEM_MISUSE, CUSTMEM_EMPTY, 0},
  [AFTER_CUSTOMER_ID] =
    {"after_customer_id", CUSTMEM_UUID_SIZE, 0, CUSTMEM_OK, CUSTMEM_EMPTY, 0},
  [AFTER_CONVERSATION_ID] =
    {"after_conversation_id", CUSTMEM_ID_MAX, 0, CUSTMEM_OK, CUSTMEM_EMPTY, 0},
  [REASON] = {"reason", CUSTMEM_REASON_MAX, 1, CUSTMEM_NO_REASON, CUSTMEM_NO_REASON, 1},
  [CONTEXT] = {"context", CUSTMEM_CONTEXT_MAX, 1, CUSTMEM_OK, CUSTMEM_EMPTY, 1},
  [PATH] = {"path", CUSTMEM_PATH_MAX, 0, CUSTMEM_MISUSE, CUSTMEM_EMPTY, 0},
};

/* The arguments of a call; each call takes those it has. */
struct args {
  struct {
    const char *text;
    int64_t size;
  } of[PARAMS];
  const custmem_actor *actor; /* NULL, or `made` with the texts above */
  custmem_actor made;
  int32_t capacity;
  int64_t after_seq;
  const custmem_head *anchor;
  int hidden_output; /* 1 + the index of the output that is passed as NULL; 0: none */
};

/* ---- Calls --------------------------------------------------------------------------------- */

enum { ROWS = 3 };

/* Where calls put what they give. */
struct results {
  custmem_customer customers[ROWS];
  custmem_conversation conversations[ROWS];
  custmem_event events[ROWS];
  custmem_resolution resolution;
  custmem_written written;
  custmem_head head;
  custmem_report report;
  custmem_info info;
  int32_t created;
  int32_t count;
};

struct output {
  const char *name;
  size_t offset;
  size_t size;
  int optional;
};

#define OUT(name, field, optional)                                                             \
  { name, offsetof(struct results, field), sizeof(((struct results *)0)->field), optional }

/* name       of the function, without its prefix
** run        passes the arguments; output i is at out[i], or NULL
** writes     it may change the store
** answers    for a resolution: every bad text but conversation_id is an answer, not an error
** params     its text parameters; ACTOR_ID stands for the whole actor, which carries the instructor
*/
struct call {
  const char *name;
  int (*run)(custmem *store, const struct args *args, void **out);
  int writes;
  int answers;
  const char *conversation; /* that of the good call */
  enum param params[6];
  struct output outputs[3];
};

#define TEXT(param)  args->of[param].text
#define SIZED(param) args->of[param].text, args->of[param].size

static int run_create(custmem *store, const struct args *args, void **out) {
  return custmem_customer_create(
    store, args->actor, TEXT(CHANNEL), SIZED(RAW_IDENTIFIER), SIZED(DISPLAY), out[0], out[1]
  );
}

static int run_get(custmem *store, const struct args *args, void **out) {
  return custmem_customer_get(store, TEXT(INSTRUCTOR_ID), TEXT(CUSTOMER_ID), out[0]);
}

static int run_find(custmem *store, const struct args *args, void **out) {
  return custmem_customer_find(
    store, TEXT(INSTRUCTOR_ID), TEXT(CHANNEL), SIZED(RAW_IDENTIFIER), out[0]
  );
}

static int run_list(custmem *store, const struct args *args, void **out) {
  return custmem_customer_list(
    store, TEXT(INSTRUCTOR_ID), TEXT(AFTER_CUSTOMER_ID), out[0], args->capacity, out[1]
  );
}

static int run_set_display(custmem *store, const struct args *args, void **out) {
  return custmem_customer_set_display(
    store, args->actor, TEXT(CUSTOMER_ID), SIZED(DISPLAY), out[0]
  );
}

static int run_resolve(custmem *store, const struct args *args, void **out) {
  return custmem_resolve(
    store, TEXT(INSTRUCTOR_ID), TEXT(CONVERSATION_ID), TEXT(CHANNEL), SIZED(RAW_IDENTIFIER),
    out[0]
  );
}

static int run_resolve_many(custmem *store, const struct args *args, void **out) {
  custmem_query query = {TEXT(CONVERSATION_ID), TEXT(CHANNEL), SIZED(RAW_IDENTIFIER)};
  return custmem_resolve_many(store, TEXT(INSTRUCTOR_ID), &query, 1, out[0]);
}

static int run_link(custmem *store, const struct args *args, void **out) {
  return custmem_link(
    store, args->actor, TEXT(CONVERSATION_ID), TEXT(CUSTOMER_ID), SIZED(REASON), SIZED(CONTEXT),
    out[0]
  );
}

static int run_relink(custmem *store, const struct args *args, void **out) {
  return custmem_relink(
    store, args->actor, TEXT(CONVERSATION_ID), TEXT(CURRENT_CUSTOMER_ID), TEXT(NEW_CUSTOMER_ID),
    SIZED(REASON), SIZED(CONTEXT), out[0]
  );
}

static int run_unlink(custmem *store, const struct args *args, void **out) {
  return custmem_unlink(
    store, args->actor, TEXT(CONVERSATION_ID), TEXT(CURRENT_CUSTOMER_ID), SIZED(REASON),
    SIZED(CONTEXT), out[0]
  );
}

static int run_conversations(custmem *store, const struct args *args, void **out) {
  return custmem_conversations(
    store, TEXT(INSTRUCTOR_ID), TEXT(CUSTOMER_ID), TEXT(AFTER_CONVERSATION_ID), out[0],
    args->capacity, out[1]
  );
}

static int run_audit_read(custmem *store, const struct args *args, void **out) {
  return custmem_audit_read(
    store, TEXT(INSTRUCTOR_ID), args->after_seq, out[0], args->capacity, out[1]
  );
}

static int run_history(custmem *store, const struct args *args, void **out) {
  return custmem_history(
    store, TEXT(INSTRUCTOR_ID), TEXT(CONVERSATION_ID), args->after_seq, out[0], args->capacity,
    out[1]
  );
}

static int run_head(custmem *store, const struct args *args, void **out) {
  return custmem_audit_head(store, TEXT(INSTRUCTOR_ID), out[0]);
}

static int run_verify(custmem *store, const struct args *args, void **out) {
  return custmem_audit_verify(store, TEXT(INSTRUCTOR_ID), args->anchor, out[0]);
}

static int run_info(custmem *store, const struct args *args, void **out) {
  (void)args;
  return custmem_store_info(store, out[0]);
}

static int run_check(custmem *store, const struct args *args, void **out) {
  (void)args;
  return custmem_check(store, out[0]);
}

static int run_backup(custmem *store, const struct args *args, void **out) {
  (void)out;
  return custmem_backup(store, TEXT(PATH));
}

static int run_set_listener(custmem *store, const struct args *args, void **out) {
  (void)args;
  (void)out;
  return custmem_set_listener(store, NULL, NULL);
}

#define WRITTEN                                                                                \
  { OUT("written", written, 1) }

static const struct call CALLS[] = {
  {"customer_create",
   run_create,
   1,
   0,
   NULL,
   {ACTOR_ID, CHANNEL, RAW_IDENTIFIER, DISPLAY},
   {OUT("customer", customers[0], 1), OUT("created", created, 1)}},
  {"customer_get",
   run_get,
   0,
   0,
   NULL,
   {INSTRUCTOR_ID, CUSTOMER_ID},
   {OUT("customer", customers[0], 0)}},
  {"customer_find",
   run_find,
   0,
   0,
   NULL,
   {INSTRUCTOR_ID, CHANNEL, RAW_IDENTIFIER},
   {OUT("customer", customers[0], 0)}},
  {"customer_list",
   run_list,
   0,
   0,
   NULL,
   {INSTRUCTOR_ID, AFTER_CUSTOMER_ID},
   {OUT("customers", customers, 0), OUT("count", count, 0)}},
  {"customer_set_display",
   run_set_display,
   1,
   0,
   NULL,
   {ACTOR_ID, CUSTOMER_ID, DISPLAY},
   {OUT("customer", customers[0], 1)}},
  {"resolve",
   run_resolve,
   0,
   1,
   "free",
   {INSTRUCTOR_ID, CONVERSATION_ID, CHANNEL, RAW_IDENTIFIER},
   {OUT("resolution", resolution, 0)}},
  {"resolve_many",
   run_resolve_many,
   0,
   1,
   "free",
   {INSTRUCTOR_ID, CONVERSATION_ID, CHANNEL, RAW_IDENTIFIER},
   {OUT("resolutions", resolution, 0)}},
  {"link",
   run_link,
   1,
   0,
   "free",
   {ACTOR_ID, CONVERSATION_ID, CUSTOMER_ID, REASON, CONTEXT},
   WRITTEN},
  {"relink",
   run_relink,
   1,
   0,
   "linked",
   {ACTOR_ID, CONVERSATION_ID, CURRENT_CUSTOMER_ID, NEW_CUSTOMER_ID, REASON, CONTEXT},
   WRITTEN},
  {"unlink",
   run_unlink,
   1,
   0,
   "linked",
   {ACTOR_ID, CONVERSATION_ID, CURRENT_CUSTOMER_ID, REASON, CONTEXT},
   WRITTEN},
  {"conversations",
   run_conversations,
   0,
   0,
   NULL,
   {INSTRUCTOR_ID, CUSTOMER_ID, AFTER_CONVERSATION_ID},
   {OUT("conversations", conversations, 0), OUT("count", count, 0)}},
  {"audit_read",
   run_audit_read,
   0,
   0,
   NULL,
   {INSTRUCTOR_ID},
   {OUT("events", events, 0), OUT("count", count, 0)}},
  {"history",
   run_history,
   0,
   0,
   "linked",
   {INSTRUCTOR_ID, CONVERSATION_ID},
   {OUT("events", events, 0), OUT("count", count, 0)}},
  {"audit_head", run_head, 0, 0, NULL, {INSTRUCTOR_ID}, {OUT("head", head, 0)}},
  {"audit_verify", run_verify, 0, 0, NULL, {INSTRUCTOR_ID}, {OUT("report", report, 0)}},
  {"store_info", run_info, 0, 0, NULL, {NO_PARAM}, {OUT("info", info, 0)}},
  {"check", run_check, 0, 0, NULL, {NO_PARAM}, {OUT("report", report, 0)}},
  {"backup", run_backup, 0, 0, NULL, {PATH}, {{NULL, 0, 0, 0}}},
  {"set_listener", run_set_listener, 1, 0, NULL, {NO_PARAM}, {{NULL, 0, 0, 0}}},
};

/* ---- The scene ----------------------------------------------------------------------------- */

/* A store in which every call of CALLS succeeds with good_args, and a plain connection that sees
** whether anything was committed. */
struct scene {
  char path[PATH_SIZE];
  char backup[PATH_SIZE];
  char anna[CUSTMEM_UUID_SIZE + 1];
  char bruno[CUSTMEM_UUID_SIZE + 1];
  char theirs[CUSTMEM_UUID_SIZE + 1];
  custmem *store;
  sqlite3 *plain;
  int64_t data_version;
};

static void make_scene(struct scene *scene, const char *name) {
  char backup[64];
  memset(scene, 0, sizeof *scene);
  snprintf(scene->path, PATH_SIZE, "%s", test_path(name));
  snprintf(backup, sizeof backup, "%.40s-backup", name);
  snprintf(scene->backup, PATH_SIZE, "%s", test_path(backup));
  scene->store = test_store(scene->path);
  strcpy(scene->anna, test_customer(scene->store, OURS, "+39 333 1234567"));
  strcpy(scene->bruno, test_customer(scene->store, OURS, "+39 333 1234568"));
  strcpy(scene->theirs, test_customer(scene->store, THEIRS, "+39 333 1234569"));
  CHECK_INT(test_link(scene->store, OURS, "linked", scene->anna), CUSTMEM_OK);
  CHECK_INT(test_link(scene->store, THEIRS, "theirs", scene->theirs), CUSTMEM_OK);
  scene->plain = test_plain(scene->path);
  scene->data_version = test_sql_int(scene->plain, "PRAGMA data_version");
}

static void end_scene(struct scene *scene) {
  CHECK_INT(sqlite3_close(scene->plain), SQLITE_OK);
  CHECK_INT(custmem_close(scene->store), CUSTMEM_OK);
}

static void good_args(const struct scene *scene, const struct call *call, struct args *args) {
  int i;
  memset(args, 0, sizeof *args);
  for (i = 0; i < PARAMS; i++)
    args->of[i].size = CUSTMEM_NUL_TERMINATED;
  args->of[INSTRUCTOR_ID].text = OURS;
  args->of[ACTOR_ID].text = "user-7";
  args->of[CONVERSATION_ID].text = call->conversation;
  args->of[CHANNEL].text = "whatsapp";
  args->of[RAW_IDENTIFIER].text = "+39 333 1234567";
  args->of[CUSTOMER_ID].text = scene->anna;
  args->of[CURRENT_CUSTOMER_ID].text = scene->anna;
  args->of[NEW_CUSTOMER_ID].text = scene->bruno;
  args->of[REASON].text = "because";
  args->of[PATH].text = scene->backup;
  args->capacity = ROWS;
  args->made.type = CUSTMEM_ACTOR_HUMAN;
  args->actor = &args->made;
}

static struct results results;

/* Makes a call, its outputs filled with what must not be left there. */
static int run(custmem *store, const struct call *call, struct args *args) {
  void *out[COUNT_OF(call->outputs)];
  int i;
  memset(&results, UNUSED_BYTE, sizeof results);
  for (i = 0; i < COUNT_OF(call->outputs); i++)
    out[i] = args->hidden_output == i + 1 ? NULL : (char *)&results + call->outputs[i].offset;
  args->made.actor_id = args->of[ACTOR_ID].text;
  args->made.instructor_id = args->of[INSTRUCTOR_ID].text;
  return call->run(store, args, out);
}

static void *allocate(size_t size) {
  void *bytes = malloc(size);
  if (bytes == NULL) {
    perror("malloc");
    exit(1);
  }
  return bytes;
}

static int is_filled_with(const void *bytes, size_t size, unsigned char value) {
  const unsigned char *at = bytes;
  size_t i;
  for (i = 0; i < size; i++)
    if (at[i] != value) return 0;
  return 1;
}

static int is_unlinked(const custmem_resolution *resolution) {
  return resolution->outcome == CUSTMEM_UNLINKED && resolution->step == 3 &&
         resolution->customer_id[0] == '\0' &&
         resolution->rules_version == CUSTMEM_RULES_VERSION &&
         strncmp(resolution->event_name, "conversation.customer_", 22) == 0;
}

static int is_list(const struct call *call) {
  return call->outputs[1].offset == offsetof(struct results, count);
}

/* Outputs of a refused call: zero and empty; of a resolution UNLINKED; of a list its count, which
** says that no row is one (what the rows hold then has a test of its own). */
static int are_filled_in(const struct call *call, const struct args *args) {
  int i, good = 1;
  for (i = 0; i < COUNT_OF(call->outputs) && call->outputs[i].name != NULL; i++) {
    const char *at = (const char *)&results + call->outputs[i].offset;
    if (args->hidden_output == i + 1 || (i == 0 && is_list(call))) continue;
    if (call->answers)
      good &= CHECK(is_unlinked(&results.resolution));
    else
      good &= CHECK(is_filled_with(at, call->outputs[i].size, 0));
  }
  return good;
}

static int nothing_was_committed(struct scene *scene) {
  return CHECK_INT(test_sql_int(scene->plain, "PRAGMA data_version"), scene->data_version);
}

static int goes_on(struct scene *scene) {
  custmem_resolution found;
  return CHECK_INT(
           custmem_resolve(scene->store, OURS, "linked", NULL, NULL, 0, &found), CUSTMEM_OK
         ) &
         CHECK_TEXT(found.customer_id, scene->anna) &
         CHECK_TEXT(custmem_errmsg(scene->store), "") &
         CHECK_TEXT(custmem_errarg(scene->store), "");
}

/* A call that must be refused with a code that finds fault with an argument. `number` is what the
** message must say beside the argument's name. */
static void check_refused(
  struct scene *scene,
  const struct call *call,
  struct args *args,
  int code,
  const char *argument,
  const char *number,
  const char *what
) {
  int good = CHECK_INT(run(scene->store, call, args), code);
  good &= CHECK_TEXT(custmem_errarg(scene->store), argument);
  good &= CHECK_HAS(custmem_errmsg(scene->store), argument);
  good &= CHECK_HAS(custmem_errmsg(scene->store), number);
  good &= CHECK(strlen(custmem_errmsg(scene->store)) <= CUSTMEM_MESSAGE_MAX);
  good &= are_filled_in(call, args) & nothing_was_committed(scene) & goes_on(scene);
  if (!good) printf("  (custmem_%s, %s: %s)\n", call->name, argument, what);
}

/* A resolution that finds nobody, and says so without an error. */
static void check_answered(
  struct scene *scene,
  const struct call *call,
  struct args *args,
  const char *what
) {
  int good = CHECK_INT(run(scene->store, call, args), CUSTMEM_OK);
  good &= CHECK(is_unlinked(&results.resolution));
  good &= CHECK(results.resolution.why >= CUSTMEM_WHY_NO_INSTRUCTOR);
  good &= CHECK_TEXT(custmem_errmsg(scene->store), "");
  good &= nothing_was_committed(scene) & goes_on(scene);
  if (!good) printf("  (custmem_%s: %s)\n", call->name, what);
}

/* A text that must not pass, in the place of a good one. The size is of its bytes. */
static void check_bad_text(
  struct scene *scene,
  const struct call *call,
  enum param param,
  const char *bytes,
  int64_t size,
  int code,
  const char *what
) {
  struct args args;
  char limit[16] = "";
  good_args(scene, call, &args);
  args.of[param].text = bytes;
  args.of[param].size = size;
  if (code == CUSTMEM_TOO_LONG) snprintf(limit, sizeof limit, "%d", PARAMETERS[param].limit);
  if (call->answers && param != CONVERSATION_ID)
    check_answered(scene, call, &args, what);
  else
    check_refused(scene, call, &args, code, PARAMETERS[param].name, limit, what);
}

/* Calls `each` for every text parameter of every call; the actor carries the instructor too. */
static void for_each_text(
  struct scene *scene,
  void (*each)(struct scene *scene, const struct call *call, enum param param)
) {
  int i, j;
  for (i = 0; i < COUNT_OF(CALLS); i++)
    for (j = 0; j < COUNT_OF(CALLS[i].params) && CALLS[i].params[j] != NO_PARAM; j++) {
      each(scene, &CALLS[i], CALLS[i].params[j]);
      if (CALLS[i].params[j] == ACTOR_ID) each(scene, &CALLS[i], INSTRUCTOR_ID);
    }
}

static void with_every_text(
  const char *name,
  void (*each)(struct scene *scene, const struct call *call, enum param param)
) {
  struct scene scene;
  uint64_t rows;
  make_scene(&scene, name);
  rows = test_rows(scene.path);
  for_each_text(&scene, each);
  CHECK(test_rows(scene.path) == rows);
  CHECK_INT(test_file_size(scene.backup), -1);
  end_scene(&scene);
}

/* ---- The calls as they should be ----------------------------------------------------------- */

/* What the refusals below stand on: with nothing wrong, every call succeeds. */
TEST(every_call_succeeds_with_good_arguments) {
  int i, j;
  for (i = 0; i < COUNT_OF(CALLS); i++) {
    struct scene scene;
    struct args args;
    char name[64];
    snprintf(name, sizeof name, "good-%d.db", i);
    make_scene(&scene, name);
    good_args(&scene, &CALLS[i], &args);
    CHECK_INT(run(scene.store, &CALLS[i], &args), CUSTMEM_OK);
    CHECK_TEXT(custmem_errmsg(scene.store), "");
    CHECK_TEXT(custmem_errarg(scene.store), "");
    for (j = 0; j < COUNT_OF(CALLS[i].outputs) && CALLS[i].outputs[j].name != NULL; j++)
      CHECK(!is_filled_with(
        (char *)&results + CALLS[i].outputs[j].offset, CALLS[i].outputs[j].size, UNUSED_BYTE
      ));
    end_scene(&scene);
  }
}

/* ---- Texts --------------------------------------------------------------------------------- */

static void check_null_and_empty(
  struct scene *scene,
  const struct call *call,
  enum param param
) {
  struct args args;
  if (PARAMETERS[param].null_code != CUSTMEM_OK)
    check_bad_text(scene, call, param, NULL, -1, PARAMETERS[param].null_code, "NULL");
  else if (!call->writes) {
    good_args(scene, call, &args);
    args.of[param].text = NULL;
    CHECK_INT(run(scene->store, call, &args), CUSTMEM_OK);
  }
  check_bad_text(scene, call, param, "", -1, PARAMETERS[param].empty_code, "empty");
  if (PARAMETERS[param].sized)
    check_bad_text(
      scene, call, param, "x", 0, PARAMETERS[param].empty_code, "empty by its size"
    );
}

TEST(null_and_empty_texts_are_refused) {
  with_every_text("null.db", check_null_and_empty);
}

static void check_one_past_the_limit(
  struct scene *scene,
  const struct call *call,
  enum param param
) {
  size_t limit = (size_t)PARAMETERS[param].limit;
  char *text = allocate(limit + 2);
  memset(text, 'a', limit + 1);
  text[limit + 1] = '\0';
  check_bad_text(scene, call, param, text, -1, CUSTMEM_TOO_LONG, "one past the limit");
  if (PARAMETERS[param].sized)
    check_bad_text(
      scene, call, param, text, (int64_t)limit + 1, CUSTMEM_TOO_LONG, "one past, by its size"
    );
  /* The limit is in bytes: fewer characters than it do not help. */
  for (size_t i = 0; i + 1 < limit + 1; i += 2)
    memcpy(text + i, "\xc3\xa9", 2);
  check_bad_text(
    scene, call, param, text, -1, CUSTMEM_TOO_LONG, "one past in two-byte characters"
  );
  free(text);
}

TEST(a_text_one_past_its_limit_is_too_long) {
  with_every_text("long.db", check_one_past_the_limit);
}

static void check_at_the_limit(struct scene *scene, const struct call *call, enum param param) {
  struct args args;
  size_t limit = (size_t)PARAMETERS[param].limit;
  char *text, *exact;
  int rc;
  if (param == PATH) return; /* its limit is that of the whole path: see below */
  text = allocate(limit + 1);
  exact = allocate(limit);
  memset(text, '9', limit);
  text[limit] = '\0';
  memcpy(exact, text, limit);
  good_args(scene, call, &args);
  args.of[param].text = text;
  rc = run(scene->store, call, &args);
  if (!CHECK(rc != CUSTMEM_TOO_LONG && rc != CUSTMEM_BAD_TEXT && rc != CUSTMEM_MISUSE))
    printf("  (custmem_%s, %s: %d)\n", call->name, PARAMETERS[param].name, rc);
  if (PARAMETERS[param].sized) { /* no NUL follows: a sanitizer sees who looks for it */
    args.of[param].text = exact;
    args.of[param].size = (int64_t)limit;
    rc = run(scene->store, call, &args);
    CHECK(rc != CUSTMEM_TOO_LONG && rc != CUSTMEM_BAD_TEXT && rc != CUSTMEM_MISUSE);
  }
  free(text);
  free(exact);
}

TEST(a_text_at_its_limit_is_not_refused_for_its_length) {
  struct scene scene;
  make_scene(&scene, "limit.db");
  for_each_text(&scene, check_at_the_limit);
  end_scene(&scene);
}

static const char *const NOT_UTF8[] = {
  "\xc0\x80",
  "\xc1\xbf",
  "\xe0\x80\xaf",
  "\xe0\x9f\xbf",
  "\xf0\x80\x80\xaf",
  "\xf0\x8f\xbf\xbf", /* overlong */
  "\xed\xa0\x80",
  "\xed\xaf\xbf",
  "\xed\xb0\x80",
  "\xed\xbf\xbf", /* surrogates */
  "\xf4\x90\x80\x80",
  "\xf7\xbf\xbf\xbf", /* beyond U+10FFFF */
  "\xf8\x88\x80\x80",
  "\xfc\x84\x80\x80",
  "\xfe",
  "\xff", /* never a first byte */
  "\x80",
  "\xbf",
  "\xc3\xa9\xa9", /* a continuation alone */
  "\xc3",
  "\xe2\x82",
  "\xf0\x9f\x98", /* cut off */
  "\xc3(",
  "\xe2(\xa1",
  "\xe2\x82(",
  "\xf0\x9f(\x80",
};

static void check_not_utf8(struct scene *scene, const struct call *call, enum param param) {
  char text[16], what[64];
  int i;
  for (i = 0; i < COUNT_OF(NOT_UTF8); i++) {
    snprintf(what, sizeof what, "invalid sequence %d at the end", i);
    snprintf(text, sizeof text, "ok%s", NOT_UTF8[i]);
    check_bad_text(scene, call, param, text, -1, CUSTMEM_BAD_TEXT, what);
    snprintf(what, sizeof what, "invalid sequence %d in between", i);
    snprintf(text, sizeof text, "ok%sok", NOT_UTF8[i]);
    check_bad_text(scene, call, param, text, -1, CUSTMEM_BAD_TEXT, what);
  }
  /* Cut off by the size, not by the text's own end: what lies beyond is not the text's. */
  if (PARAMETERS[param].sized)
    check_bad_text(
      scene, call, param, "\xf0\x9f\x98\x80", 3, CUSTMEM_BAD_TEXT, "cut off by its size"
    );
}

TEST(a_text_that_is_not_utf8_is_refused) {
  with_every_text("utf8.db", check_not_utf8);
}

static int is_break(unsigned char byte) {
  return byte == '\t' || byte == '\n' || byte == '\r';
}

static void check_controls(struct scene *scene, const struct call *call, enum param param) {
  static const char *const c1[] = {"\x7f", "\xc2\x80", "\xc2\x85", "\xc2\x9f"};
  char text[8], what[64];
  int i;
  for (i = 1; i < 0x20; i++) {
    if (PARAMETERS[param].prose && is_break((unsigned char)i)) continue;
    snprintf(what, sizeof what, "control character %d", i);
    snprintf(text, sizeof text, "ok%cok", i);
    check_bad_text(scene, call, param, text, -1, CUSTMEM_BAD_TEXT, what);
  }
  for (i = 0; i < COUNT_OF(c1); i++) {
    snprintf(text, sizeof text, "ok%sok", c1[i]);
    check_bad_text(scene, call, param, text, -1, CUSTMEM_BAD_TEXT, "DEL, or a C1 control");
  }
}

TEST(a_control_character_is_refused) {
  with_every_text("control.db", check_controls);
}

static void check_sizes(struct scene *scene, const struct call *call, enum param param) {
  static const int64_t impossible[] = {-2, -3, INT32_MIN, INT64_MIN};
  static const struct {
    const char *bytes;
    int64_t size;
  } with_nul[] = {{"ok\0ok", 5}, {"ok\0", 3}, {"\0ok", 3}, {"\0", 1}};
  int i;
  if (!PARAMETERS[param].sized) return;
  for (i = 0; i < COUNT_OF(impossible); i++)
    check_bad_text(
      scene, call, param, "ok", impossible[i], CUSTMEM_MISUSE, "an impossible size"
    );
  for (i = 0; i < COUNT_OF(with_nul); i++)
    check_bad_text(
      scene, call, param, with_nul[i].bytes, with_nul[i].size, CUSTMEM_BAD_TEXT, "a NUL inside"
    );
}

TEST(an_impossible_size_or_an_embedded_nul_is_refused) {
  with_every_text("sizes.db", check_sizes);
}

static char *huge;

static void check_huge(struct scene *scene, const struct call *call, enum param param) {
  check_bad_text(scene, call, param, huge, -1, CUSTMEM_TOO_LONG, "far too long");
  if (PARAMETERS[param].sized)
    check_bad_text(
      scene, call, param, huge, HUGE_SIZE, CUSTMEM_TOO_LONG, "far too long by its size"
    );
}

TEST(a_text_of_up_to_a_gigabyte_is_refused_as_too_long) {
  char key[CUSTMEM_IDENTIFIER_MAX + 1];
  custmem *store = NULL;
  huge = allocate((size_t)HUGE_SIZE + 1);
  memset(huge, 'a', (size_t)HUGE_SIZE);
  huge[HUGE_SIZE] = '\0';
  with_every_text("huge.db", check_huge);
  CHECK_INT(custmem_open(huge, NULL, &store), CUSTMEM_TOO_LONG);
  CHECK(store == NULL);
  CHECK_INT(custmem_normalize(huge, "393331234567", -1, key), CUSTMEM_REFUSED_BAD_CHANNEL);
  CHECK_INT(custmem_normalize("whatsapp", huge, -1, key), CUSTMEM_REFUSED_TOO_LONG);
  CHECK_INT(custmem_normalize("whatsapp", huge, HUGE_SIZE, key), CUSTMEM_REFUSED_TOO_LONG);
  CHECK_TEXT(key, "");
  CHECK_INT(custmem_sizeof(huge), 0);
  CHECK_INT(custmem_limit(huge), 0);
  free(huge);
}

static void check_blank(struct scene *scene, const struct call *call, enum param param) {
  static const char *const blank[] = {" ",        "\t",           "\n",          " \r\n\t ",
                                      "\xc2\xa0", "\xe2\x80\x8b", "\xe3\x80\x80"};
  int i;
  for (i = 0; param == REASON && i < COUNT_OF(blank); i++)
    check_bad_text(scene, call, param, blank[i], -1, CUSTMEM_NO_REASON, "a blank reason");
}

TEST(a_blank_reason_is_none) {
  with_every_text("blank.db", check_blank);
}

/* The characters that show nothing, from the Unicode Character Database: controls (Cc), spaces (Zs, Zl,
** Zp), what is ignorable by default, interlinear marks, and a letter of Braille without a dot. */
static int shows_nothing(uint32_t c) {
  static const struct {
    uint32_t first, last;
  } ranges[] = {
    {0x00, 0x20},       {0x7f, 0xa0},       {0xad, 0xad},     {0x34f, 0x34f},
    {0x61c, 0x61c},     {0x115f, 0x1160},   {0x1680, 0x1680}, {0x17b4, 0x17b5},
    {0x180b, 0x180f},   {0x2000, 0x200f},   {0x2028, 0x202f}, {0x205f, 0x206f},
    {0x2800, 0x2800},   {0x3000, 0x3000},   {0x3164, 0x3164}, {0xfe00, 0xfe0f},
    {0xfeff, 0xfeff},   {0xffa0, 0xffa0},   {0xfff0, 0xfffb}, {0x1bca0, 0x1bca3},
    {0x1d173, 0x1d17a}, {0xe0000, 0xe0fff},
  };
  int i;
  for (i = 0; i < COUNT_OF(ranges); i++)
    if (c >= ranges[i].first && c <= ranges[i].last) return 1;
  return 0;
}

static int put_utf8(char *text, uint32_t c) {
  if (c < 0x80) {
    text[0] = (char)c;
    return 1;
  }
  if (c < 0x800) {
    text[0] = (char)(0xc0 | c >> 6);
    text[1] = (char)(0x80 | (c & 0x3f));
    return 2;
  }
  if (c < 0x10000) {
    text[0] = (char)(0xe0 | c >> 12);
    text[1] = (char)(0x80 | (c >> 6 & 0x3f));
    text[2] = (char)(0x80 | (c & 0x3f));
    return 3;
  }
  text[0] = (char)(0xf0 | c >> 18);
  text[1] = (char)(0x80 | (c >> 12 & 0x3f));
  text[2] = (char)(0x80 | (c >> 6 & 0x3f));
  text[3] = (char)(0x80 | (c & 0x3f));
  return 4;
}

/* What a reason comes to that is only this character: a context of an impossible size is refused after it. */
static int reason_code(custmem *store, const char *reason, int size) {
  custmem_actor ours = test_human(OURS);
  return custmem_link(store, &ours, "alone", NOBODYS, reason, size, "x", -2, NULL);
}

/* A text that begins where memory begins, and one that ends where it ends: to look at a byte more ends the
** program. */
TEST(not_a_byte_beside_a_text_is_looked_at) {
  enum { LONGEST = 40 };
  static const char email[] = {'a', '@', 'b', '.', 'c', 'o'};
  size_t page = (size_t)sysconf(_SC_PAGESIZE), size;
  char *pages = mmap(NULL, 3 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  char *first = pages + page, *last = first + page, key[CUSTMEM_IDENTIFIER_MAX + 1];
  custmem *store = test_store(NULL);
  REQUIRE(store != NULL && pages != MAP_FAILED);
  REQUIRE(mprotect(first, page, PROT_READ | PROT_WRITE) == 0);
  for (size = 1; size <= LONGEST; size++) {
    char *texts[] = {first, last - size};
    int i;
    for (i = 0; i < COUNT_OF(texts); i++) {
      memset(texts[i], 'r', size);
      CHECK_INT(reason_code(store, texts[i], (int)size), CUSTMEM_MISUSE);
      texts[i][size - 1] = '\x01';
      CHECK_INT(reason_code(store, texts[i], (int)size), CUSTMEM_BAD_TEXT);
      memset(texts[i], '7', size);
      CHECK(custmem_normalize("sms", texts[i], (int64_t)size, key) >= CUSTMEM_ACCEPTED);
    }
  }
  memcpy(last - sizeof email, email, sizeof email);
  CHECK_INT(
    custmem_normalize("email", last - sizeof email, sizeof email, key), CUSTMEM_ACCEPTED
  );
  CHECK_INT(munmap(pages, 3 * page), 0);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* Likewise the queries and the answers of a page, which fills a part of a statement's places. */
TEST(not_a_query_behind_a_page_is_looked_at) {
  enum { QUERIES = 3 };
  static const custmem_query query = {"c1", "whatsapp", "393331234567", -1};
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  char *pages = mmap(NULL, 4 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  custmem_query *queries = (custmem_query *)(void *)(pages + page) - QUERIES;
  custmem_resolution *answers = (custmem_resolution *)(void *)(pages + 3 * page) - QUERIES;
  custmem *store = test_store(NULL);
  const char *anna;
  int count, i;
  REQUIRE(store != NULL && pages != MAP_FAILED && sizeof *answers * QUERIES <= page);
  REQUIRE(mprotect(pages, page, PROT_READ | PROT_WRITE) == 0);
  REQUIRE(mprotect(pages + 2 * page, page, PROT_READ | PROT_WRITE) == 0);
  anna = test_customer(store, OURS, "393331234567");
  for (i = 0; i < QUERIES; i++)
    queries[i] = query;
  for (count = 1; count <= QUERIES; count++) {
    const int first = QUERIES - count;
    CHECK_INT(
      custmem_resolve_many(store, OURS, queries + first, count, answers + first), CUSTMEM_OK
    );
    for (i = first; i < QUERIES; i++)
      CHECK_TEXT(answers[i].customer_id, anna);
  }
  CHECK_INT(munmap(pages, 4 * page), 0);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(every_character_alone_is_a_reason_or_shows_nothing) {
  custmem *store = test_store(NULL);
  uint32_t c;
  int wrong = 0;
  REQUIRE(store != NULL);
  for (c = 1; c <= 0x10ffff; c++) {
    char text[8];
    int size, rc, want;
    if (c >= 0xd800 && c <= 0xdfff) continue;
    size = put_utf8(text, c);
    rc = reason_code(store, text, size);
    if (c < 0xa0 && (c < 0x20 || c >= 0x7f) && c != '\t' && c != '\n' && c != '\r')
      want = CUSTMEM_BAD_TEXT;
    else
      want = shows_nothing(c) ? CUSTMEM_NO_REASON : CUSTMEM_MISUSE;
    if (rc != want && wrong++ < 5) printf("  U+%04X: %s\n", (unsigned)c, custmem_code_name(rc));
  }
  CHECK_INT(wrong, 0);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* Every lead byte with every second byte, completed: exactly the encodings of code points are text (those of
** U+0080 to U+009F are control characters). */
TEST(every_pair_of_leading_bytes_is_text_or_not) {
  custmem *store = test_store(NULL);
  int lead, second, wrong = 0;
  REQUIRE(store != NULL);
  for (lead = 0x80; lead <= 0xff; lead++)
    for (second = 1; second <= 0xff; second++) {
      char text[8] = "xx";
      int continues = second >= 0x80 && second <= 0xbf;
      int more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1, size = 2 + 1 + more, rc;
      int want = continues && lead >= 0xc2 && lead <= 0xf4 &&
                 (lead != 0xc2 || second >= 0xa0) && (lead != 0xe0 || second >= 0xa0) &&
                 (lead != 0xed || second <= 0x9f) && (lead != 0xf0 || second >= 0x90) &&
                 (lead != 0xf4 || second <= 0x8f);
      text[2] = (char)lead, text[3] = (char)second;
      text[4] = text[5] = (char)0x80;
      rc = reason_code(store, text, size);
      if ((rc == CUSTMEM_MISUSE) != want && wrong++ < 5) printf("  %02x %02x\n", lead, second);
      text[size] = (char)0x80; /* is no part of it */
      if (want) CHECK_INT(reason_code(store, text, size - 1), CUSTMEM_BAD_TEXT);
      text[size - 1] = 'x'; /* does not continue */
      if (more > 1) CHECK_INT(reason_code(store, text, size), CUSTMEM_BAD_TEXT);
    }
  CHECK_INT(wrong, 0);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* Everything at its limit, kept and given back to the byte. */
static const char *repeat(char *text, const char *part, size_t size) {
  size_t at;
  for (at = 0; at + strlen(part) <= size; at += strlen(part))
    memcpy(text + at, part, strlen(part));
  while (at < size)
    text[at++] = '.';
  text[size] = '\0';
  return text;
}

static void check_round_trip(custmem *store, const char *part) {
  char instructor[CUSTMEM_ID_MAX + 1], who[CUSTMEM_ID_MAX + 1],
    conversation[CUSTMEM_ID_MAX + 1];
  char display[CUSTMEM_DISPLAY_MAX + 1], reason[CUSTMEM_REASON_MAX + 1];
  char context[CUSTMEM_CONTEXT_MAX + 1], raw[CUSTMEM_RAW_MAX + 1], channel[80];
  custmem_actor actor = {
    CUSTMEM_ACTOR_HUMAN, repeat(who, part, CUSTMEM_ID_MAX),
    repeat(instructor, part, CUSTMEM_ID_MAX)};
  custmem_customer made, got;
  custmem_conversation linked;
  custmem_event event;
  int32_t created, count;
  snprintf(channel, sizeof channel, "whatsapp/%064d", 7);
  snprintf(raw, sizeof raw, "+39%*s", CUSTMEM_RAW_MAX - 3, "3331234567");
  repeat(conversation, part, CUSTMEM_ID_MAX);
  repeat(display, part, CUSTMEM_DISPLAY_MAX);
  repeat(reason, part, CUSTMEM_REASON_MAX);
  repeat(context, part, CUSTMEM_CONTEXT_MAX);
  CHECK_INT(
    custmem_customer_create(
      store, &actor, channel, raw, CUSTMEM_RAW_MAX, display, CUSTMEM_DISPLAY_MAX, &made,
      &created
    ),
    CUSTMEM_OK
  );
  CHECK_INT(created, 1);
  CHECK_INT(custmem_customer_find(store, instructor, channel, raw, -1, &got), CUSTMEM_OK);
  CHECK_TEXT(got.id, made.id);
  CHECK_TEXT(got.instructor_id, instructor);
  CHECK_TEXT(got.channel, channel);
  CHECK_TEXT(got.normalized_identifier, "393331234567");
  CHECK_TEXT(got.display_identifier, display);
  CHECK_INT(
    custmem_link(
      store, &actor, conversation, made.id, reason, CUSTMEM_REASON_MAX, context,
      CUSTMEM_CONTEXT_MAX, NULL
    ),
    CUSTMEM_OK
  );
  CHECK_INT(custmem_history(store, instructor, conversation, 0, &event, 1, &count), CUSTMEM_OK);
  CHECK_INT(count, 1);
  CHECK_TEXT(event.instructor_id, instructor);
  CHECK_TEXT(event.conversation_id, conversation);
  CHECK_TEXT(event.new_customer_id, made.id);
  CHECK_TEXT(event.actor_id, who);
  CHECK_TEXT(event.reason, reason);
  CHECK_TEXT(event.context, context);
  CHECK_INT(
    custmem_conversations(store, instructor, made.id, NULL, &linked, 1, &count), CUSTMEM_OK
  );
  CHECK_INT(count, 1);
  CHECK_TEXT(linked.conversation_id, conversation);
}

/* The first and the last of each size of character, and what must not be taken for syntax. */
TEST(every_text_at_its_limit_is_kept_to_the_byte) {
  static const char *const parts[] = {
    "a",
    "'",
    "\"; DROP TABLE customers; --",
    "%s%n?1:x\\",
    "\xc2\xa1",
    "\xdf\xbf",
    "\xe0\xa0\x80",
    "\xed\x9f\xbf",
    "\xee\x80\x80",
    "\xef\xbf\xbf",
    "\xf0\x90\x80\x80",
    "\xf4\x8f\xbf\xbf",
  };
  custmem *store = test_store(NULL);
  custmem_report report;
  int i;
  REQUIRE(store != NULL);
  for (i = 0; i < COUNT_OF(parts); i++)
    check_round_trip(store, parts[i]);
  CHECK_INT(custmem_check(store, &report), CUSTMEM_OK);
  CHECK_INT(report.events, COUNT_OF(parts));
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(a_size_ends_a_text_and_only_prose_has_line_breaks) {
  struct scene scene;
  custmem_actor actor = test_human(OURS);
  custmem_event event;
  custmem_customer customer;
  int32_t count;
  make_scene(&scene, "ends.db");
  CHECK_INT(
    custmem_link(
      scene.store, &actor, "free", scene.anna, "one\ttwo\r\nthree four", 14,
      "five\nsix and more", 8, NULL
    ),
    CUSTMEM_OK
  );
  CHECK_INT(custmem_history(scene.store, OURS, "free", 0, &event, 1, &count), CUSTMEM_OK);
  CHECK_TEXT(event.reason, "one\ttwo\r\nthree");
  CHECK_TEXT(event.context, "five\nsix");
  CHECK_INT(
    custmem_customer_set_display(scene.store, &actor, scene.anna, "Anna Bianchi", 4, &customer),
    CUSTMEM_OK
  );
  CHECK_TEXT(customer.display_identifier, "Anna");
  end_scene(&scene);
}

/* ---- Ids of nobody and of others ----------------------------------------------------------- */

enum id { UNKNOWN, OF_OTHERS, CUT_SHORT, UPPER_CASE, IDS };

static const char *id_of(const struct scene *scene, enum param param, enum id id) {
  static char made[CUSTMEM_UUID_SIZE + 1];
  int is_customer = param != CONVERSATION_ID;
  int i;
  if (id == UNKNOWN) return is_customer ? NOBODYS : "unknown";
  if (id == OF_OTHERS) return is_customer ? scene->theirs : "theirs";
  snprintf(made, sizeof made, "%s", is_customer ? scene->anna : "linked");
  if (id == CUT_SHORT) made[strlen(made) - 1] = '\0';
  for (i = 0; id == UPPER_CASE && made[i] != '\0'; i++)
    if (made[i] >= 'a' && made[i] <= 'z') made[i] = (char)(made[i] - 'a' + 'A');
  return made;
}

/* What each kind of id comes to: unknown, of others, cut short, in upper case. */
static const struct {
  const char *call;
  enum param param;
  int code[IDS];
} IDS_REFUSED[] = {
#define NO_ONE                                                                                 \
  { CUSTMEM_NO_CUSTOMER, CUSTMEM_NO_CUSTOMER, CUSTMEM_NO_CUSTOMER, CUSTMEM_NO_CUSTOMER }
#define STALE                                                                                  \
  { CUSTMEM_CHANGED, CUSTMEM_CHANGED, CUSTMEM_CHANGED, CUSTMEM_CHANGED }
#define NONE                                                                                   \
  { CUSTMEM_NOT_LINKED, CUSTMEM_OTHER_INSTRUCTOR, CUSTMEM_NOT_LINKED, CUSTMEM_NOT_LINKED }
  {"customer_get", CUSTOMER_ID, NO_ONE},  {"customer_set_display", CUSTOMER_ID, NO_ONE},
  {"conversations", CUSTOMER_ID, NO_ONE}, {"link", CUSTOMER_ID, NO_ONE},
  {"relink", NEW_CUSTOMER_ID, NO_ONE},    {"relink", CURRENT_CUSTOMER_ID, STALE},
  {"unlink", CURRENT_CUSTOMER_ID, STALE}, {"relink", CONVERSATION_ID, NONE},
  {"unlink", CONVERSATION_ID, NONE},
};

static const struct call *call_named(const char *name) {
  int i;
  for (i = 0; i < COUNT_OF(CALLS); i++)
    if (strcmp(CALLS[i].name, name) == 0) return &CALLS[i];
  CHECK(0);
  return &CALLS[0];
}

TEST(an_id_of_nobody_and_an_id_of_others_are_refused_alike) {
  struct scene scene;
  uint64_t rows;
  int i, id;
  make_scene(&scene, "ids.db");
  rows = test_rows(scene.path);
  for (i = 0; i < COUNT_OF(IDS_REFUSED); i++) {
    const struct call *call = call_named(IDS_REFUSED[i].call);
    enum param param = IDS_REFUSED[i].param;
    char said[CUSTMEM_MESSAGE_MAX + 1] = "";
    for (id = 0; id < IDS; id++) {
      struct args args;
      int linked = param != CONVERSATION_ID && strcmp(call->name, "link") != 0;
      good_args(&scene, call, &args);
      args.of[param].text = id_of(&scene, param, (enum id)id);
      CHECK_INT(run(scene.store, call, &args), IDS_REFUSED[i].code[id]);
      CHECK_TEXT(custmem_errarg(scene.store), PARAMETERS[param].name);
      /* Two that cannot be told apart have one message. */
      if (id == UNKNOWN) strcpy(said, custmem_errmsg(scene.store));
      if (id == OF_OTHERS && param != CONVERSATION_ID)
        CHECK_TEXT(custmem_errmsg(scene.store), said);
      CHECK(strstr(custmem_errmsg(scene.store), scene.theirs) == NULL);
      if (call->outputs[0].offset == offsetof(struct results, written)) {
        CHECK_TEXT(results.written.current_customer_id, linked ? scene.anna : "");
        CHECK_INT(results.written.seq, 0);
        CHECK_TEXT(results.written.head.hash, "");
      } else {
        are_filled_in(call, &args);
      }
      nothing_was_committed(&scene);
      goes_on(&scene);
    }
  }
  CHECK(test_rows(scene.path) == rows);
  end_scene(&scene);
}

/* Reads that find nothing of others, and say no more than that. */
TEST(what_is_of_others_is_not_found) {
  struct scene scene;
  custmem_actor actor = test_human(OURS);
  custmem_customer customers[ROWS];
  custmem_event events[ROWS];
  custmem_resolution found;
  custmem_written written;
  int32_t count, i;
  make_scene(&scene, "others.db");
  CHECK_INT(
    custmem_customer_find(scene.store, OURS, "whatsapp", "393331234569", -1, &customers[0]),
    CUSTMEM_NO_CUSTOMER
  );
  CHECK_TEXT(customers[0].id, "");
  CHECK_INT(
    custmem_customer_list(scene.store, OURS, NULL, customers, ROWS, &count), CUSTMEM_OK
  );
  CHECK_INT(count, 2);
  for (i = 0; i < count; i++)
    CHECK_TEXT(customers[i].instructor_id, OURS);
  CHECK_INT(
    custmem_customer_list(scene.store, OURS, NOBODYS, customers, ROWS, &count), CUSTMEM_OK
  );
  CHECK_INT(custmem_history(scene.store, OURS, "theirs", 0, events, ROWS, &count), CUSTMEM_OK);
  CHECK_INT(count, 0);
  CHECK_INT(custmem_audit_read(scene.store, OURS, 0, events, ROWS, &count), CUSTMEM_OK);
  CHECK_INT(count, 1);
  CHECK_TEXT(events[0].instructor_id, OURS);
  CHECK_INT(custmem_audit_read(scene.store, "nobody", 0, events, ROWS, &count), CUSTMEM_OK);
  CHECK_INT(count, 0);
  CHECK_INT(
    custmem_resolve(scene.store, OURS, "theirs", "whatsapp", "393331234567", -1, &found),
    CUSTMEM_OK
  );
  CHECK(is_unlinked(&found));
  CHECK_INT(found.why, CUSTMEM_WHY_OTHER_INSTRUCTOR);
  CHECK_INT(
    custmem_link(scene.store, &actor, "theirs", scene.anna, "r", -1, NULL, 0, &written),
    CUSTMEM_OTHER_INSTRUCTOR
  );
  CHECK_TEXT(written.current_customer_id, "");
  CHECK(strstr(custmem_errmsg(scene.store), scene.theirs) == NULL);
  end_scene(&scene);
}

/* ---- Everything that is not a text --------------------------------------------------------- */

TEST(an_output_that_may_not_be_null_is_asked_for) {
  struct scene scene;
  int i, j;
  make_scene(&scene, "outputs.db");
  for (i = 0; i < COUNT_OF(CALLS); i++)
    for (j = 0; j < COUNT_OF(CALLS[i].outputs) && CALLS[i].outputs[j].name != NULL; j++) {
      struct args args;
      good_args(&scene, &CALLS[i], &args);
      args.hidden_output = j + 1;
      if (!CALLS[i].outputs[j].optional)
        check_refused(
          &scene, &CALLS[i], &args, CUSTMEM_MISUSE, CALLS[i].outputs[j].name, "", "NULL"
        );
    }
  end_scene(&scene);
}

TEST(an_output_that_may_be_null_may_be) {
  int i, j;
  for (i = 0; i < COUNT_OF(CALLS); i++)
    for (j = 0; j < COUNT_OF(CALLS[i].outputs) && CALLS[i].outputs[j].optional; j++) {
      struct scene scene;
      struct args args;
      make_scene(&scene, "optional.db");
      good_args(&scene, &CALLS[i], &args);
      args.hidden_output = j + 1;
      CHECK_INT(run(scene.store, &CALLS[i], &args), CUSTMEM_OK);
      args.of[ACTOR_ID].text = NULL; /* and of a call that is refused */
      CHECK_INT(run(scene.store, &CALLS[i], &args), CUSTMEM_MISUSE);
      end_scene(&scene);
      remove(scene.path);
    }
}

/* One struct may hold what is passed and take what comes back. */
TEST(an_output_may_be_where_the_inputs_stand) {
  struct scene scene;
  custmem_actor human = test_human(OURS);
  custmem_customer customer, *page;
  custmem_resolution found;
  custmem_written written;
  const char *ids[2];
  char key[CUSTMEM_IDENTIFIER_MAX + 1] = "+39 333 1234567";
  int32_t created;
  make_scene(&scene, "alias.db");
  memset(&written, 0, sizeof written);
  CHECK_INT(
    custmem_link(scene.store, &human, "linked", scene.bruno, "r", -1, NULL, 0, &written),
    CUSTMEM_ALREADY_LINKED
  );
  CHECK_INT(
    custmem_relink(
      scene.store, &human, "linked", written.current_customer_id, scene.bruno, "r", -1, NULL, 0,
      &written
    ),
    CUSTMEM_OK
  );
  CHECK_TEXT(written.current_customer_id, scene.bruno);
  CHECK_INT(
    custmem_unlink(
      scene.store, &human, "linked", written.current_customer_id, "r", -1, NULL, 0, &written
    ),
    CUSTMEM_OK
  );
  CHECK_TEXT(written.current_customer_id, "");

  CHECK_INT(custmem_customer_get(scene.store, OURS, scene.anna, &customer), CUSTMEM_OK);
  CHECK_INT(
    custmem_customer_get(scene.store, customer.instructor_id, customer.id, &customer),
    CUSTMEM_OK
  );
  CHECK_INT(
    custmem_customer_set_display(
      scene.store, &human, customer.id, customer.normalized_identifier, -1, &customer
    ),
    CUSTMEM_OK
  );
  CHECK_TEXT(customer.display_identifier, customer.normalized_identifier);
  CHECK_INT(
    custmem_customer_find(
      scene.store, customer.instructor_id, customer.channel, customer.normalized_identifier, -1,
      &customer
    ),
    CUSTMEM_OK
  );
  CHECK_INT(
    custmem_customer_create(
      scene.store, &human, customer.channel, customer.normalized_identifier, -1,
      customer.display_identifier, -1, &customer, &created
    ),
    CUSTMEM_OK
  );
  CHECK_INT(created, 0);
  CHECK_TEXT(customer.id, scene.anna);

  CHECK_INT(
    custmem_resolve(
      scene.store, customer.instructor_id, "free", customer.channel,
      customer.normalized_identifier, -1, &found
    ),
    CUSTMEM_OK
  );
  CHECK_INT(
    custmem_resolve(
      scene.store, OURS, "free", "whatsapp", found.normalized_identifier, -1, &found
    ),
    CUSTMEM_OK
  );
  CHECK_TEXT(found.customer_id, scene.anna);
  CHECK_INT(custmem_normalize("whatsapp", key, -1, key), CUSTMEM_ACCEPTED);
  CHECK_TEXT(key, "393331234567");

  page = calloc(2, sizeof *page);
  REQUIRE(page != NULL);
  strcpy(page[0].id, scene.bruno);
  strcpy(page[1].id, scene.anna);
  ids[0] = page[0].id;
  ids[1] = page[1].id;
  CHECK_INT(custmem_customer_get_many(scene.store, OURS, ids, 2, page), CUSTMEM_OK);
  CHECK_TEXT(page[0].id, scene.bruno);
  CHECK_TEXT(page[1].id, scene.anna);
  CHECK_TEXT(page[1].display_identifier, "393331234567");
  free(page);
  end_scene(&scene);
}

TEST(a_list_needs_room_for_at_least_one) {
  static const int32_t capacities[] = {0, -1, INT32_MIN};
  struct scene scene;
  int i, j;
  make_scene(&scene, "capacity.db");
  for (i = 0; i < COUNT_OF(CALLS); i++)
    for (j = 0; j < COUNT_OF(capacities); j++) {
      struct args args;
      if (!is_list(&CALLS[i])) continue;
      good_args(&scene, &CALLS[i], &args);
      args.capacity = capacities[j];
      CHECK_INT(run(scene.store, &CALLS[i], &args), CUSTMEM_MISUSE);
      CHECK_TEXT(custmem_errarg(scene.store), "capacity");
      CHECK_HAS(custmem_errmsg(scene.store), "capacity");
      CHECK_INT(results.count, 0);
      /* There is no room to fill in. */
      CHECK(is_filled_with(
        (char *)&results + CALLS[i].outputs[0].offset, CALLS[i].outputs[0].size, UNUSED_BYTE
      ));
      goes_on(&scene);
    }
  end_scene(&scene);
}

/* "Outputs are filled in whatever is returned; an output that has no value is zero." */
TEST(the_rows_of_a_refused_list_are_empty) {
  struct scene scene;
  int i;
  make_scene(&scene, "rows.db");
  for (i = 0; i < COUNT_OF(CALLS); i++) {
    struct args args;
    if (!is_list(&CALLS[i])) continue;
    good_args(&scene, &CALLS[i], &args);
    args.of[INSTRUCTOR_ID].text = NULL;
    CHECK_INT(run(scene.store, &CALLS[i], &args), CUSTMEM_NO_INSTRUCTOR);
    CHECK_INT(results.count, 0);
    CHECK(
      is_filled_with((char *)&results + CALLS[i].outputs[0].offset, CALLS[i].outputs[0].size, 0)
    );
  }
  end_scene(&scene);
}

TEST(a_page_to_resolve_has_a_count_and_both_its_arrays) {
  static const struct {
    int32_t count;
    int queries, resolutions;
    const char *argument; /* NULL: it is in order */
  } cases[] = {{-1, 1, 1, "count"},      {INT32_MIN, 1, 1, "count"},
               {1, 0, 1, "queries"},     {2, 0, 1, "queries"},
               {1, 1, 0, "resolutions"}, {2, 1, 0, "resolutions"},
               {0, 1, 1, NULL},          {0, 0, 0, NULL},
               {2, 1, 1, NULL}};
  static const custmem_query queries[] = {{"linked", NULL, NULL, 0}, {"free", NULL, NULL, 0}};
  struct scene scene;
  int i;
  make_scene(&scene, "page.db");
  for (i = 0; i < COUNT_OF(cases); i++) {
    custmem_resolution found[2];
    int rc;
    memset(found, UNUSED_BYTE, sizeof found);
    rc = custmem_resolve_many(
      scene.store, OURS, cases[i].queries ? queries : NULL, cases[i].count,
      cases[i].resolutions ? found : NULL
    );
    CHECK_INT(rc, cases[i].argument == NULL ? CUSTMEM_OK : CUSTMEM_MISUSE);
    CHECK_TEXT(custmem_errarg(scene.store), cases[i].argument != NULL ? cases[i].argument : "");
    if (cases[i].argument != NULL && cases[i].resolutions && cases[i].count > 0)
      CHECK(is_unlinked(&found[0]) && is_unlinked(&found[cases[i].count - 1]));
    if (cases[i].count <= 0) CHECK(is_filled_with(found, sizeof found, UNUSED_BYTE));
    goes_on(&scene);
  }
  end_scene(&scene);
}

/* One bad query is the call's error, and takes nothing from the others. */
TEST(one_bad_query_of_a_page_leaves_the_others_their_answers) {
  static const custmem_query queries[] = {
    {"linked", NULL, NULL, 0},
    {"", NULL, NULL, 0},
    {NULL, NULL, NULL, 0},
    {"free", "whatsapp", "393331234568", -1}};
  struct scene scene;
  custmem_resolution found[COUNT_OF(queries)];
  make_scene(&scene, "bad-query.db");
  memset(found, UNUSED_BYTE, sizeof found);
  CHECK_INT(
    custmem_resolve_many(scene.store, OURS, queries, COUNT_OF(queries), found), CUSTMEM_EMPTY
  );
  CHECK_TEXT(custmem_errarg(scene.store), "conversation_id");
  CHECK_TEXT(found[0].customer_id, scene.anna);
  CHECK(is_unlinked(&found[1]) && is_unlinked(&found[2]));
  CHECK_INT(found[3].outcome, CUSTMEM_CANDIDATE);
  CHECK_TEXT(found[3].customer_id, scene.bruno);
  end_scene(&scene);
}

TEST(only_a_human_writes_and_only_with_an_actor) {
  static const int32_t types[] = {CUSTMEM_ACTOR_SYSTEM, 0, 3, -1, INT32_MAX, INT32_MIN};
  struct scene scene;
  uint64_t rows;
  int i, j;
  make_scene(&scene, "actors.db");
  rows = test_rows(scene.path);
  for (i = 0; i < COUNT_OF(CALLS); i++) {
    struct args args;
    if (CALLS[i].params[0] != ACTOR_ID) continue;
    good_args(&scene, &CALLS[i], &args);
    args.actor = NULL;
    check_refused(&scene, &CALLS[i], &args, CUSTMEM_MISUSE, "actor", "", "NULL");
    for (j = 0; j < COUNT_OF(types); j++) {
      good_args(&scene, &CALLS[i], &args);
      args.made.type = types[j];
      CHECK_INT(run(scene.store, &CALLS[i], &args), CUSTMEM_NOT_HUMAN);
      CHECK_TEXT(custmem_errarg(scene.store), "actor");
      CHECK_HAS(custmem_errmsg(scene.store), "human");
      are_filled_in(&CALLS[i], &args);
      nothing_was_committed(&scene);
    }
  }
  CHECK(test_rows(scene.path) == rows);
  goes_on(&scene);
  end_scene(&scene);
}

TEST(a_place_to_read_on_from_may_be_any_number) {
  static const struct {
    int64_t after;
    int32_t count;
  } cases[] = {{0, 1}, {1, 0}, {INT64_MAX, 0}};
  struct scene scene;
  struct args args;
  int i;
  make_scene(&scene, "after.db");
  for (i = 0; i < COUNT_OF(cases); i++) {
    good_args(&scene, call_named("audit_read"), &args);
    args.after_seq = cases[i].after;
    CHECK_INT(run(scene.store, call_named("audit_read"), &args), CUSTMEM_OK);
    CHECK_INT(results.count, cases[i].count);
    good_args(&scene, call_named("history"), &args);
    args.after_seq = cases[i].after;
    CHECK_INT(run(scene.store, call_named("history"), &args), CUSTMEM_OK);
    CHECK_INT(results.count, cases[i].count);
  }
  end_scene(&scene);
}

/* ---- Handles that are none ----------------------------------------------------------------- */

/* Every call on what is not a store, which itself is not written to. */
static void check_no_store(struct scene *scene, custmem *store) {
  int i;
  for (i = 0; i < COUNT_OF(CALLS); i++) {
    struct args args;
    int good;
    good_args(scene, &CALLS[i], &args);
    good = CHECK_INT(run(store, &CALLS[i], &args), CUSTMEM_MISUSE);
    good &= are_filled_in(&CALLS[i], &args);
    if (!good) printf("  (custmem_%s)\n", CALLS[i].name);
  }
  CHECK(custmem_errmsg(store) != NULL && custmem_errmsg(store)[0] != '\0');
  CHECK_TEXT(custmem_errarg(store), "");
  custmem_interrupt(store);
}

/* "A page that failed is no page": whatever its array held before. */
TEST(the_rows_of_a_list_without_a_store_are_empty) {
  struct scene scene;
  int i;
  make_scene(&scene, "norows.db");
  for (i = 0; i < COUNT_OF(CALLS); i++) {
    struct args args;
    if (!is_list(&CALLS[i])) continue;
    good_args(&scene, &CALLS[i], &args);
    CHECK_INT(run(NULL, &CALLS[i], &args), CUSTMEM_MISUSE);
    CHECK_INT(results.count, 0);
    CHECK(
      is_filled_with((char *)&results + CALLS[i].outputs[0].offset, CALLS[i].outputs[0].size, 0)
    );
  }
  end_scene(&scene);
}

TEST(a_null_or_wrong_handle_is_misuse_and_is_not_touched) {
  static const unsigned char fills[] = {0, UNUSED_BYTE, 0xff};
  static union {
    unsigned char bytes[4096];
    int64_t aligned;
    void *pointer;
  } block;
  struct scene scene;
  int i;
  make_scene(&scene, "handles.db");
  check_no_store(&scene, NULL);
  CHECK_INT(custmem_close(NULL), CUSTMEM_OK);
  for (i = 0; i < COUNT_OF(fills); i++) {
    memset(&block, fills[i], sizeof block);
    check_no_store(&scene, (custmem *)(void *)&block);
    CHECK_INT(custmem_close((custmem *)(void *)&block), CUSTMEM_MISUSE);
    CHECK(is_filled_with(&block, sizeof block, fills[i]));
  }
  nothing_was_committed(&scene);
  end_scene(&scene);
}

/* ---- Calls from inside callbacks ----------------------------------------------------------- */

static struct {
  struct scene *scene;
  int armed; /* a callback calls back */
  int in_listener;
  int called;  /* callbacks that did */
  int refused; /* of their calls */
  int allowed;
} back;

/* From inside one of the store's own callbacks: every call there is. */
static void call_back(void) {
  int i;
  if (!back.armed) return;
  back.armed = 0; /* a read that the listener makes must not end up here again */
  back.called++;
  for (i = 0; i < COUNT_OF(CALLS); i++) {
    struct args args;
    int rc;
    if (strcmp(CALLS[i].name, "backup") == 0 && back.in_listener) continue;
    good_args(back.scene, &CALLS[i], &args);
    rc = run(back.scene->store, &CALLS[i], &args);
    if (back.in_listener && !CALLS[i].writes) {
      back.allowed += CHECK_INT(rc, CUSTMEM_OK);
      continue;
    }
    if (!CHECK_INT(rc, CUSTMEM_MISUSE)) printf("  (custmem_%s)\n", CALLS[i].name);
    back.refused += are_filled_in(&CALLS[i], &args);
  }
  CHECK_INT(custmem_close(back.scene->store), CUSTMEM_MISUSE);
}

static int64_t clock_that_calls(void *ctx) {
  (void)ctx;
  if (!back.in_listener) call_back();
  return INT64_C(1750000000000);
}

static int random_that_calls(uint8_t *bytes, size_t size, void *ctx) {
  (void)ctx;
  if (!back.in_listener) call_back();
  sqlite3_randomness((int)size, bytes);
  return 0;
}

static void listener_that_calls(const custmem_notice *notice, void *ctx) {
  (void)ctx;
  (void)notice;
  call_back();
}

/* Opens the scene's file again with callbacks that call back once they are armed. */
static void call_back_on(struct scene *scene, int with_clock, int with_listener) {
  custmem_options options;
  CHECK_INT(custmem_close(scene->store), CUSTMEM_OK);
  custmem_options_init(&options);
  if (with_clock)
    options.now_ms = clock_that_calls;
  else
    options.random = random_that_calls;
  memset(&back, 0, sizeof back);
  back.scene = scene;
  back.in_listener = with_listener;
  CHECK_INT(custmem_open(scene->path, &options, &scene->store), CUSTMEM_OK);
  if (with_listener)
    CHECK_INT(custmem_set_listener(scene->store, listener_that_calls, NULL), CUSTMEM_OK);
}

/* The writes that ask the clock, and the one that asks for random bytes; then the listener. */
TEST(a_call_from_inside_a_callback_is_misuse_and_the_outer_call_is_done) {
  static const struct {
    const char *call;
    int with_clock, with_listener;
  } cases[] = {
    {"customer_create", 1, 0},
    {"customer_create", 0, 0},
    {"customer_set_display", 1, 0},
    {"link", 1, 0},
    {"relink", 1, 0},
    {"unlink", 1, 0},
    {"link", 1, 1},
    {"relink", 1, 1},
    {"unlink", 1, 1},
    {"resolve", 1, 1},
    {"resolve_many", 1, 1}};
  int i;
  for (i = 0; i < COUNT_OF(cases); i++) {
    const struct call *call = call_named(cases[i].call);
    struct scene scene;
    struct args args;
    int rc;
    make_scene(&scene, "callbacks.db");
    call_back_on(&scene, cases[i].with_clock, cases[i].with_listener);
    good_args(&scene, call, &args);
    args.of[RAW_IDENTIFIER].text = "+39 333 7654321";
    back.armed = 1;
    rc = run(scene.store, call, &args);
    CHECK_INT(rc, CUSTMEM_OK);
    CHECK_TEXT(custmem_errmsg(scene.store), "");
    CHECK_INT(back.called, 1);
    CHECK(back.refused > 0);
    CHECK(cases[i].with_listener ? back.allowed > 0 : back.allowed == 0);
    back.armed = 0;
    if (call->writes)
      CHECK(test_sql_int(scene.plain, "PRAGMA data_version") != scene.data_version);
    CHECK_INT(
      test_sql_int(scene.plain, "SELECT count(*) FROM audit_events"),
      2 + (call->outputs[0].offset == offsetof(struct results, written))
    );
    end_scene(&scene);
    remove(scene.path);
  }
}

/* What a handle is before a call that must set it: no store, and not NULL. */
static custmem_options no_store;
#define NO_STORE ((custmem *)(void *)&no_store)

/* ---- Options ------------------------------------------------------------------------------- */

TEST(the_options_that_init_makes_are_the_zero_defaults) {
  custmem_options made, zero;
  memset(&made, UNUSED_BYTE, sizeof made);
  memset(&zero, 0, sizeof zero);
  zero.size = (uint32_t)sizeof zero;
  custmem_options_init(&made);
  CHECK_INT(made.size, sizeof made);
  CHECK_INT(made.read_only, zero.read_only);
  CHECK_INT(made.exclusive, zero.exclusive);
  CHECK_INT(made.busy_timeout_ms, zero.busy_timeout_ms);
  CHECK(made.now_ms == NULL && made.random == NULL && made.source_ctx == NULL);
  CHECK(made.message == NULL && made.message_size == 0);
  CHECK(memcmp(&made, &zero, sizeof made) == 0);
  custmem_options_init(NULL);
}

/* NULL, init's and zero's options open alike, and the file can be written through each. */
TEST(null_options_open_as_the_defaults_do) {
  char path[PATH_SIZE];
  custmem_options options;
  custmem_actor actor = test_human(OURS);
  int i;
  snprintf(path, sizeof path, "%s", test_path("defaults.db"));
  custmem_options_init(&options);
  for (i = 0; i < 2; i++) {
    custmem *store = NULL;
    int32_t created;
    CHECK_INT(custmem_open(path, i == 0 ? NULL : &options, &store), CUSTMEM_OK);
    REQUIRE(store != NULL);
    CHECK_INT(
      custmem_customer_create(
        store, &actor, "whatsapp", "393331234567", -1, NULL, 0, NULL, &created
      ),
      CUSTMEM_OK
    );
    CHECK_INT(created, i == 0);
    CHECK_INT(custmem_close(store), CUSTMEM_OK);
  }
}

TEST(options_of_a_later_version_are_accepted_if_they_ask_for_nothing_new) {
  struct {
    custmem_options options;
    unsigned char later[64];
  } larger;
  static const uint32_t unknown[] = {0, 1, 4, sizeof(custmem_options) - 1, UINT32_MAX};
  size_t size;
  custmem *store;
  int i;
  for (size = 0; size <= sizeof larger.later; size += 8) {
    memset(&larger, 0, sizeof larger);
    larger.options.size = (uint32_t)(sizeof larger.options + size);
    memset(
      larger.later + size, 0xff, sizeof larger.later - size
    ); /* beyond it: not looked at */
    CHECK_INT(custmem_open(":memory:", &larger.options, &store), CUSTMEM_OK);
    CHECK_INT(custmem_close(store), CUSTMEM_OK);
    if (size == 0) continue;
    larger.later[size - 1] = 1;
    store = NO_STORE;
    CHECK_INT(custmem_open(":memory:", &larger.options, &store), CUSTMEM_MISUSE);
    CHECK(store == NULL);
    larger.later[size - 1] = 0;
    larger.later[0] = 1;
    CHECK_INT(custmem_open(":memory:", &larger.options, &store), CUSTMEM_MISUSE);
  }
  for (i = 0; i < COUNT_OF(unknown); i++) {
    memset(&larger, 0, sizeof larger);
    larger.options.size = unknown[i];
    store = NO_STORE;
    CHECK_INT(custmem_open(":memory:", &larger.options, &store), CUSTMEM_MISUSE);
    CHECK(store == NULL);
  }
}

TEST(options_of_up_to_4096_bytes_may_be_of_a_later_version) {
  static union {
    custmem_options options;
    unsigned char bytes[4100];
  } large;
  custmem *store = NULL;
  large.options.size = 4096;
  large.bytes[4096] = 1; /* beyond it */
  CHECK_INT(custmem_open(":memory:", &large.options, &store), CUSTMEM_OK);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  large.bytes[4096] = 0;
  large.options.size = 4097;
  CHECK_INT(custmem_open(":memory:", &large.options, &store), CUSTMEM_MISUSE);
  CHECK(store == NULL);
  custmem_options_init(NULL);
}

/* ---- Opening ------------------------------------------------------------------------------- */

static int open_with_message(const char *path, char *message, size_t size, custmem **store) {
  custmem_options options;
  custmem_options_init(&options);
  options.message = message;
  options.message_size = size;
  *store = NO_STORE;
  return custmem_open(path, &options, store);
}

static void check_path(const char *path, int code, const char *number) {
  char message[CUSTMEM_MESSAGE_MAX + 1];
  custmem *store;
  memset(message, UNUSED_BYTE, sizeof message);
  CHECK_INT(open_with_message(path, message, sizeof message, &store), code);
  CHECK(store == NULL);
  CHECK(memchr(message, '\0', sizeof message) != NULL);
  message[sizeof message - 1] = '\0';
  CHECK_HAS(message, "path");
  CHECK_HAS(message, number);
}

TEST(a_bad_path_is_refused_with_a_message) {
  char longest[CUSTMEM_PATH_MAX + 2], limit[16];
  int i;
  check_path(NULL, CUSTMEM_MISUSE, "");
  check_path("", CUSTMEM_EMPTY, "");
  snprintf(limit, sizeof limit, "%d", CUSTMEM_PATH_MAX);
  repeat(longest, "/.", CUSTMEM_PATH_MAX + 1);
  check_path(longest, CUSTMEM_TOO_LONG, limit);
  for (i = 0; i < COUNT_OF(NOT_UTF8); i++) {
    char path[64];
    snprintf(path, sizeof path, "/nowhere/%s", NOT_UTF8[i]);
    check_path(path, CUSTMEM_BAD_TEXT, "");
  }
  check_path("/nowhere/a\nb", CUSTMEM_BAD_TEXT, "");
  CHECK_INT(custmem_open(":memory:", NULL, NULL), CUSTMEM_MISUSE);
}

/* What is asked for is said with its limit. */
TEST(what_is_missing_is_asked_for_with_its_limit) {
  custmem_actor ada = test_human("ada");
  custmem *store = test_store(NULL);
  custmem_customer customer;
  const char *anna;
  REQUIRE(store != NULL);
  anna = test_customer(store, "ada", "+393331234567");
  CHECK_INT(custmem_customer_get(store, "", anna, &customer), CUSTMEM_NO_INSTRUCTOR);
  CHECK_TEXT(custmem_errmsg(store), "no instructor_id (1 to 64 bytes)");
  CHECK_INT(custmem_link(store, &ada, "c1", anna, NULL, 0, NULL, 0, NULL), CUSTMEM_NO_REASON);
  CHECK_TEXT(custmem_errmsg(store), "no reason (1 to 500 bytes)");
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* A path at its limit: a directory as deep as it takes. What lies beside it is looked at by its whole name. */
TEST(a_path_at_its_limit_is_opened) {
  static const char *const suffixes[] = {"-wal", "-shm", "-journal"};
  char path[CUSTMEM_PATH_MAX + 16];
  size_t i;
  custmem *store = NULL;
  custmem_report report;
  size_t size;
  snprintf(path, sizeof path, "%s", test_path("x"));
  size = strlen(path) - 1;                /* up to the scratch directory's '/' */
  while (CUSTMEM_PATH_MAX - size > 200) { /* file names have a limit of their own */
    char command[CUSTMEM_PATH_MAX + 64];
    memset(path + size, 'd', 100);
    path[size + 100] = '\0';
    snprintf(command, sizeof command, "mkdir '%s'", path);
    CHECK_INT(system(command), 0);
    path[size + 100] = '/';
    size += 101;
  }
  memset(path + size, 'f', CUSTMEM_PATH_MAX - size);
  path[CUSTMEM_PATH_MAX] = '\0';
  CHECK_INT(custmem_open(path, NULL, &store), CUSTMEM_OK);
  CHECK_INT(custmem_check(store, &report), CUSTMEM_OK);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  CHECK(test_file_size(path) > 0);
  for (i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
    strcpy(path + CUSTMEM_PATH_MAX, suffixes[i]);
    CHECK_INT(mkdir(path, 0700), 0);
    path[CUSTMEM_PATH_MAX] = '\0';
    CHECK_INT(custmem_open(path, NULL, &store), CUSTMEM_NOT_A_FILE);
    strcpy(path + CUSTMEM_PATH_MAX, suffixes[i]);
    CHECK_INT(rmdir(path), 0);
    path[CUSTMEM_PATH_MAX] = '\0';
  }
  strcat(path, "f");
  CHECK_INT(custmem_open(path, NULL, &store), CUSTMEM_TOO_LONG);
  CHECK(store == NULL);
  CHECK_INT(test_file_size(path), -1);
}

TEST(the_message_of_open_is_cut_to_its_size_and_empty_after_success) {
  char whole[CUSTMEM_MESSAGE_MAX + 1], message[CUSTMEM_MESSAGE_MAX + 1];
  char path[CUSTMEM_PATH_MAX + 1], longer[2 * CUSTMEM_MESSAGE_MAX];
  custmem *store;
  size_t size;
  CHECK_INT(open_with_message("", whole, sizeof whole, &store), CUSTMEM_EMPTY);
  REQUIRE(strlen(whole) > 4);
  for (size = 0; size <= strlen(whole) + 1; size++) {
    memset(message, UNUSED_BYTE, sizeof message);
    CHECK_INT(open_with_message("", message, size, &store), CUSTMEM_EMPTY);
    if (size > 0) {
      CHECK_INT(strlen(message), size - 1);
      CHECK(strncmp(message, whole, size - 1) == 0);
    }
    CHECK(is_filled_with(message + size, sizeof message - size, UNUSED_BYTE));
  }
  CHECK_INT(open_with_message("", NULL, 100, &store), CUSTMEM_EMPTY);
  repeat(
    path, "/nowhere", CUSTMEM_PATH_MAX
  ); /* said in the message, of which it leaves no byte */
  CHECK_INT(open_with_message(path, longer, sizeof longer, &store), CUSTMEM_NO_PATH);
  CHECK_INT(strlen(longer), CUSTMEM_MESSAGE_MAX);
  CHECK(strncmp(longer, path, CUSTMEM_MESSAGE_MAX) == 0);
  CHECK_INT(open_with_message(":memory:", message, sizeof message, &store), CUSTMEM_OK);
  CHECK_TEXT(message, "");
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* ---- Normalize ----------------------------------------------------------------------------- */

TEST(normalize_refuses_bad_arguments_and_says_which) {
  static const struct {
    const char *channel, *raw;
    int64_t size;
    int refusal; /* -1: any */
  } cases[] = {
    {NULL, "393331234567", -1, CUSTMEM_REFUSED_BAD_CHANNEL},
    {"", "393331234567", -1, CUSTMEM_REFUSED_BAD_CHANNEL},
    {"whatsapp", NULL, -1, CUSTMEM_REFUSED_MISSING},
    {"whatsapp", NULL, 5, CUSTMEM_REFUSED_MISSING},
    {"whatsapp", "", -1, CUSTMEM_REFUSED_MISSING},
    {"whatsapp", "393331234567", 0, CUSTMEM_REFUSED_MISSING},
    {"whatsapp", "393331234567", -2, -1},
    {"whatsapp", "393331234567", INT64_MIN, -1},
    {"whatsapp", "39333\0001234567", 13, CUSTMEM_REFUSED_NOT_TEXT},
    {"whatsapp", "393331234567\0", 13, CUSTMEM_REFUSED_NOT_TEXT},
    {"whatsapp", "39333\n1234567", -1, CUSTMEM_REFUSED_NOT_TEXT},
    {"whatsapp\xff", "393331234567", -1, CUSTMEM_REFUSED_BAD_CHANNEL}};
  char key[CUSTMEM_IDENTIFIER_MAX + 1], raw[32];
  int i;
  for (i = 0; i < COUNT_OF(cases); i++) {
    int refusal;
    memset(key, UNUSED_BYTE, sizeof key);
    refusal = custmem_normalize(cases[i].channel, cases[i].raw, cases[i].size, key);
    if (cases[i].refusal >= 0) CHECK_INT(refusal, cases[i].refusal);
    CHECK(refusal != CUSTMEM_ACCEPTED);
    CHECK_TEXT(key, "");
    CHECK_INT(custmem_normalize(cases[i].channel, cases[i].raw, cases[i].size, NULL), refusal);
  }
  for (i = 0; i < COUNT_OF(NOT_UTF8); i++) {
    snprintf(raw, sizeof raw, "39333%s1234567", NOT_UTF8[i]);
    CHECK_INT(custmem_normalize("whatsapp", raw, -1, key), CUSTMEM_REFUSED_NOT_TEXT);
  }
}

TEST(normalize_takes_a_raw_identifier_and_an_account_at_their_limits) {
  char raw[CUSTMEM_RAW_MAX + 2], key[CUSTMEM_IDENTIFIER_MAX + 1], channel[128];
  snprintf(raw, sizeof raw, "+39%*s", CUSTMEM_RAW_MAX - 3, "3331234567");
  CHECK_INT(strlen(raw), CUSTMEM_RAW_MAX);
  CHECK_INT(custmem_normalize("whatsapp", raw, -1, key), CUSTMEM_ACCEPTED);
  CHECK_TEXT(key, "393331234567");
  CHECK_INT(custmem_normalize("whatsapp", raw, CUSTMEM_RAW_MAX, NULL), CUSTMEM_ACCEPTED);
  strcat(raw, " ");
  CHECK_INT(custmem_normalize("whatsapp", raw, -1, key), CUSTMEM_REFUSED_TOO_LONG);
  CHECK_TEXT(key, "");
  CHECK_INT(
    custmem_normalize("whatsapp", raw, CUSTMEM_RAW_MAX + 1, key), CUSTMEM_REFUSED_TOO_LONG
  );
  CHECK_INT(custmem_normalize("whatsapp", raw, CUSTMEM_RAW_MAX, key), CUSTMEM_ACCEPTED);
  snprintf(channel, sizeof channel, "whatsapp/%064d", 7);
  CHECK_INT(custmem_normalize(channel, "393331234567", -1, key), CUSTMEM_ACCEPTED);
  snprintf(channel, sizeof channel, "whatsapp/%065d", 7);
  CHECK_INT(custmem_normalize(channel, "393331234567", -1, key), CUSTMEM_REFUSED_BAD_CHANNEL);
  snprintf(channel, sizeof channel, "%031d", 7);
  CHECK_INT(custmem_normalize(channel, "1", -1, key), CUSTMEM_REFUSED_UNKNOWN_CHANNEL);
  snprintf(channel, sizeof channel, "%032d", 7);
  CHECK_INT(custmem_normalize(channel, "1", -1, key), CUSTMEM_REFUSED_BAD_CHANNEL);
}

/* ---- Names, sizes, limits ------------------------------------------------------------------ */

static const struct {
  int value;
  const char *name;
} CODES[] = {
#define CODE(name)                                                                             \
  { CUSTMEM_##name, "CUSTMEM_" #name }
  CODE(OK),
  CODE(MISUSE),
  CODE(EMPTY),
  CODE(TOO_LONG),
  CODE(BAD_TEXT),
  CODE(BAD_CHANNEL),
  CODE(BAD_IDENTIFIER),
  CODE(NO_INSTRUCTOR),
  CODE(NOT_HUMAN),
  CODE(NO_REASON),
  CODE(NO_CUSTOMER),
  CODE(OTHER_INSTRUCTOR),
  CODE(ALREADY_LINKED),
  CODE(NOT_LINKED),
  CODE(CHANGED),
  CODE(NO_CHANGE),
  CODE(CONSTRAINT),
  CODE(BUSY),
  CODE(FULL),
  CODE(READONLY),
  CODE(IO),
  CODE(NOMEM),
  CODE(UNKNOWN_OUTCOME),
  CODE(CORRUPT),
  CODE(FORKED),
  CODE(SOURCE),
  CODE(INTERRUPTED),
  CODE(INTERNAL),
  CODE(NO_PATH),
  CODE(NOT_A_FILE),
  CODE(SYMLINK),
  CODE(HARD_LINK),
  CODE(PERMISSION),
  CODE(EXISTS),
  CODE(NOT_A_DATABASE),
  CODE(OTHER_APPLICATION),
  CODE(NEWER),
  CODE(SCHEMA),
  CODE(RULES),
  CODE(OLD_SQLITE),
  CODE(BROKEN),
  CODE(ANCHOR),
};

/* The names that are not the constants' own are their last words in lower case. */
static const char *const REFUSALS[] = {
  "accepted",        "missing",         "too_long",   "not_text",
  "bad_channel",     "unknown_channel", "malformed",  "too_few_digits",
  "too_many_digits", "leading_zero",    "trunk_zero", "extension",
  "withheld",        "not_a_person",    "mutable",    "out_of_range"};
static const char *const OUTCOMES[] = {"unlinked", "candidate", "linked"};
static const char *const WHYS[] = {
  "explicit_link", "one_match",   "no_instructor", "other_instructor", "no_identifier",
  "refused",       "bad_channel", "no_match",      "many_matches",     "lookup_failed"};

static const char *code_of(int value) {
  int i;
  for (i = 0; i < COUNT_OF(CODES); i++)
    if (CODES[i].value == value) return CODES[i].name;
  return NULL;
}

/* Known values have their own names; all others share one that is none of them. */
static void check_names(const char *(*name_of)(int), const char *const *names, int count) {
  int value, other;
  for (value = -5; value <= 200; value++) {
    int known = value >= 0 && value < count;
    CHECK(name_of(value) != NULL && name_of(value)[0] != '\0');
    if (known && names != NULL) CHECK_TEXT(name_of(value), names[value]);
    for (other = 0; other < count; other++)
      if (other != value) CHECK(strcmp(name_of(value), name_of(other)) != 0);
  }
}

TEST(every_value_has_a_name_and_every_known_one_its_own) {
  int value, i;
  for (value = -5; value <= 200; value++) {
    const char *known = code_of(value);
    CHECK(custmem_code_name(value) != NULL && custmem_strerror(value) != NULL);
    CHECK(custmem_code_name(value)[0] != '\0' && custmem_strerror(value)[0] != '\0');
    if (known != NULL) CHECK_TEXT(custmem_code_name(value), known);
    for (i = 0; i < COUNT_OF(CODES); i++) {
      if (CODES[i].value == value) continue;
      CHECK(strcmp(custmem_code_name(value), CODES[i].name) != 0);
      CHECK(strcmp(custmem_strerror(value), custmem_strerror(CODES[i].value)) != 0);
    }
  }
  check_names(custmem_refusal_name, REFUSALS, COUNT_OF(REFUSALS));
  check_names(custmem_refusal_text, NULL, COUNT_OF(REFUSALS));
  check_names(custmem_outcome_name, OUTCOMES, COUNT_OF(OUTCOMES));
  check_names(custmem_why_name, WHYS, COUNT_OF(WHYS));
  CHECK_INT(CUSTMEM_REFUSED_OUT_OF_RANGE, COUNT_OF(REFUSALS) - 1);
  CHECK_INT(CUSTMEM_LINKED, COUNT_OF(OUTCOMES) - 1);
  CHECK_INT(CUSTMEM_WHY_LOOKUP_FAILED, COUNT_OF(WHYS) - 1);
}

TEST(a_badge_of_no_known_state_claims_nothing) {
  int value;
  custmem_resolution resolution;
  memset(&resolution, 0, sizeof resolution);
  CHECK_INT(custmem_badge(NULL), CUSTMEM_BADGE_UNLINKED);
  for (value = -5; value <= 200; value++) {
    resolution.outcome = value;
    if (value < CUSTMEM_UNLINKED || value > CUSTMEM_LINKED)
      CHECK_INT(custmem_badge(&resolution), CUSTMEM_BADGE_UNLINKED);
    if (value >= CUSTMEM_BADGE_UNLINKED && value <= CUSTMEM_BADGE_KNOWN) continue;
    CHECK_TEXT(custmem_badge_label(value), custmem_badge_label(CUSTMEM_BADGE_UNLINKED));
    CHECK_TEXT(custmem_badge_copy(value), custmem_badge_copy(CUSTMEM_BADGE_UNLINKED));
  }
}

TEST(sizes_and_limits_can_be_asked_for_by_name) {
  static const struct {
    const char *name;
    size_t size;
  } sizes[] = {
#define SIZE(name) {#name, sizeof(name)}
    SIZE(custmem_options),  SIZE(custmem_info),       SIZE(custmem_actor),
    SIZE(custmem_customer), SIZE(custmem_resolution), SIZE(custmem_query),
    SIZE(custmem_head),     SIZE(custmem_written),    SIZE(custmem_conversation),
    SIZE(custmem_event),    SIZE(custmem_report),     SIZE(custmem_notice)};
  static const struct {
    const char *name;
    int32_t value;
  } limits[] = {
#define LIMIT(name) {#name, name}
    LIMIT(CUSTMEM_PATH_MAX),       LIMIT(CUSTMEM_ID_MAX),     LIMIT(CUSTMEM_UUID_SIZE),
    LIMIT(CUSTMEM_CHANNEL_MAX),    LIMIT(CUSTMEM_RAW_MAX),    LIMIT(CUSTMEM_IDENTIFIER_MAX),
    LIMIT(CUSTMEM_DISPLAY_MAX),    LIMIT(CUSTMEM_REASON_MAX), LIMIT(CUSTMEM_CONTEXT_MAX),
    LIMIT(CUSTMEM_EVENT_NAME_MAX), LIMIT(CUSTMEM_HASH_SIZE),  LIMIT(CUSTMEM_MESSAGE_MAX)};
  static const char *const none[] = {
    "",
    "custmem",
    "custmem_inf",
    "custmem_infos",
    "CUSTMEM_ID",
    "CUSTMEM_ID_MAXX",
    "custmem_id_max",
    "\xff",
    " custmem_info"};
  int i;
  for (i = 0; i < COUNT_OF(sizes); i++) {
    CHECK_INT(custmem_sizeof(sizes[i].name), sizes[i].size);
    CHECK_INT(custmem_limit(sizes[i].name), 0);
  }
  for (i = 0; i < COUNT_OF(limits); i++) {
    CHECK_INT(custmem_limit(limits[i].name), limits[i].value);
    CHECK_INT(custmem_sizeof(limits[i].name), 0);
  }
  for (i = 0; i < COUNT_OF(none); i++) {
    CHECK_INT(custmem_sizeof(none[i]), 0);
    CHECK_INT(custmem_limit(none[i]), 0);
  }
  CHECK_INT(custmem_sizeof(NULL), 0);
  CHECK_INT(custmem_limit(NULL), 0);
}

TEST(the_limits_are_those_of_the_design) {
  CHECK_INT(CUSTMEM_ID_MAX, 64);
  CHECK_INT(CUSTMEM_CHANNEL_MAX, 96);
  CHECK_INT(CUSTMEM_IDENTIFIER_MAX, 160);
  CHECK_INT(CUSTMEM_DISPLAY_MAX, 255);
  CHECK_INT(CUSTMEM_REASON_MAX, 500);
  CHECK_INT(CUSTMEM_CONTEXT_MAX, 2000);
  CHECK_INT(
    CUSTMEM_EVENT_NAME_MAX >= (int)strlen("conversation.customer_resolution_skipped"), 1
  );
}

TEST(the_version_is_that_of_the_header) {
  char text[32];
  CHECK_TEXT(custmem_version(), CUSTMEM_VERSION);
  CHECK_INT(custmem_version_number(), CUSTMEM_VERSION_NUMBER);
  snprintf(
    text, sizeof text, "%d.%d.%d", CUSTMEM_VERSION_NUMBER / 10000,
    CUSTMEM_VERSION_NUMBER / 100 % 100, CUSTMEM_VERSION_NUMBER % 100
  );
  CHECK_TEXT(text, CUSTMEM_VERSION);
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  RUN(every_call_succeeds_with_good_arguments, "D-8");
  RUN(null_and_empty_texts_are_refused, "CM-1 §4.2; CM-2.3 §7; D-8");
  RUN(a_text_one_past_its_limit_is_too_long, "CM-1 §4.2; CM-2.3 §7; D-8");
  RUN(a_text_at_its_limit_is_not_refused_for_its_length, "D-8");
  RUN(every_text_at_its_limit_is_kept_to_the_byte, "CM-2.3 §6; D-8");
  RUN(a_text_that_is_not_utf8_is_refused, "CM-1 §4.2; CM-2.3 §7; D-2; D-8");
  RUN(a_control_character_is_refused, "CM-1 §4.2; CM-2.3 §7; D-2; D-8");
  RUN(an_impossible_size_or_an_embedded_nul_is_refused, "CM-1 §4.2; CM-2.3 §7; D-2; D-8");
  RUN(a_text_of_up_to_a_gigabyte_is_refused_as_too_long, "CM-1 §4.2; CM-2.3 §7; D-8");
  RUN(not_a_byte_beside_a_text_is_looked_at, "D-8");
  RUN(not_a_query_behind_a_page_is_looked_at, "D-4; D-8");
  RUN(every_character_alone_is_a_reason_or_shows_nothing, "CM-2.3 §3.1, §6");
  RUN(every_pair_of_leading_bytes_is_text_or_not, "");
  RUN(a_blank_reason_is_none, "CM-2.3 §6; D-5");
  RUN(a_size_ends_a_text_and_only_prose_has_line_breaks, "D-8");
  RUN(
    an_id_of_nobody_and_an_id_of_others_are_refused_alike, "CM-1 §4.1; CM-1 §4.3; CM-2.3 §4.2"
  );
  RUN(what_is_of_others_is_not_found, "CM-1 §4.1; CM-1 §4.3; CM-1 §6; CM-2.1 §6; CM-2.3 §4.2");
  RUN(an_output_that_may_not_be_null_is_asked_for, "CM-2.3 §7; D-8");
  RUN(an_output_that_may_be_null_may_be, "D-8");
  RUN(an_output_may_be_where_the_inputs_stand, "CM-2.3 §5; D-8");
  RUN(a_list_needs_room_for_at_least_one, "D-8");
  RUN(the_rows_of_a_refused_list_are_empty, "D-8");
  RUN(a_page_to_resolve_has_a_count_and_both_its_arrays, "D-4; D-8");
  RUN(one_bad_query_of_a_page_leaves_the_others_their_answers, "CM-1 §6; CM-2.1 §5; D-4");
  RUN(only_a_human_writes_and_only_with_an_actor, "CM-2.3 §3.1; CM-2.3 §3.2; T4; D-5");
  RUN(a_place_to_read_on_from_may_be_any_number, "D-7; D-8");
  RUN(the_rows_of_a_list_without_a_store_are_empty, "");
  RUN(a_null_or_wrong_handle_is_misuse_and_is_not_touched, "CM-2.1 §5; CM-2.3 §7; D-8");
  RUN(a_call_from_inside_a_callback_is_misuse_and_the_outer_call_is_done, "T5; D-7; D-8");
  RUN(the_options_that_init_makes_are_the_zero_defaults, "D-8");
  RUN(null_options_open_as_the_defaults_do, "D-8");
  RUN(options_of_a_later_version_are_accepted_if_they_ask_for_nothing_new, "D-8");
  RUN(options_of_up_to_4096_bytes_may_be_of_a_later_version, "D-8");
  RUN(a_bad_path_is_refused_with_a_message, "D-8");
  RUN(what_is_missing_is_asked_for_with_its_limit, "CM-1 §4.1; CM-2.3 §6; D-8");
  RUN(a_path_at_its_limit_is_opened, "D-8");
  RUN(the_message_of_open_is_cut_to_its_size_and_empty_after_success, "D-8");
  RUN(normalize_refuses_bad_arguments_and_says_which, "CM-1 §4.2; T2; D-3");
  RUN(normalize_takes_a_raw_identifier_and_an_account_at_their_limits, "CM-1 §4.2; T2; D-8");
  RUN(every_value_has_a_name_and_every_known_one_its_own, "D-8");
  RUN(a_badge_of_no_known_state_claims_nothing, "CM-2.4; T6; D-6");
  RUN(sizes_and_limits_can_be_asked_for_by_name, "D-8");
  RUN(the_limits_are_those_of_the_design, "D-8");
  RUN(the_version_is_that_of_the_header, "D-8");
  return test_report();
}
