/* SPDX-License-Identifier: MIT
**
** Link, relink, unlink: by a human only, with a reason, of what the human saw, and with one audit
** event in the same transaction; or nothing at all.
**
** Every refusal is checked by the rows of the file, not by its code alone.
*/
#include "test.h"
#include "vfs_shim.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENDS            CUSTMEM_NUL_TERMINATED
#define A               "instructor-a"
#define B               "instructor-b"
#define MISSING         "01900000-0000-7000-8000-000000000000" /* a customer id of nobody */
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

enum verb { LINK, RELINK, UNLINK, VERBS };

/* One call of a verb. NULL actor_id and the like go through as they are. */
typedef struct attempt {
  int verb; /* enum verb */
  custmem_actor actor;
  const char *conversation_id;
  const char *current;  /* of relink and unlink */
  const char *customer; /* of link and relink */
  const char *reason;
  int64_t reason_size;
  const char *context;
  int64_t context_size;
} attempt;

static attempt attempt_of(
  int verb,
  const char *instructor_id,
  const char *conversation_id,
  const char *current,
  const char *customer
) {
  attempt call = {
    LINK, {CUSTMEM_ACTOR_HUMAN, "user-1", NULL}, NULL, NULL, NULL, "she told me", ENDS, NULL,
    0};
  call.verb = verb;
  call.actor.instructor_id = instructor_id;
  call.conversation_id = conversation_id;
  call.current = current;
  call.customer = customer;
  return call;
}

static int attempt_run(custmem *store, const attempt *call, custmem_written *written) {
  if (written != NULL) memset(written, 0xAA, sizeof *written);
  if (call->verb == LINK)
    return custmem_link(
      store, &call->actor, call->conversation_id, call->customer, call->reason,
      call->reason_size, call->context, call->context_size, written
    );
  if (call->verb == RELINK)
    return custmem_relink(
      store, &call->actor, call->conversation_id, call->current, call->customer, call->reason,
      call->reason_size, call->context, call->context_size, written
    );
  return custmem_unlink(
    store, &call->actor, call->conversation_id, call->current, call->reason, call->reason_size,
    call->context, call->context_size, written
  );
}

static int act(
  custmem *store,
  int verb,
  const char *instructor_id,
  const char *conversation_id,
  const char *current,
  const char *customer,
  custmem_written *written
) {
  attempt call = attempt_of(verb, instructor_id, conversation_id, current, customer);
  return attempt_run(store, &call, written);
}

/* ---- A world to act in --------------------------------------------------------------------- */

/* Two instructors with a client in common; talk-1 is linked to Anna. */
typedef struct world {
  custmem *store;
  const char *path;
  char anna[CUSTMEM_UUID_SIZE + 1];
  char bert[CUSTMEM_UUID_SIZE + 1];
  char others[CUSTMEM_UUID_SIZE + 1]; /* B's, with Anna's number */
} world;

static int world_open(world *w, const char *name) {
  w->path = test_path(name);
  w->store = test_store(w->path);
  if (w->store == NULL) return 0;
  strcpy(w->anna, test_customer(w->store, A, "+39 333 1234567"));
  strcpy(w->bert, test_customer(w->store, A, "+39 333 7654321"));
  strcpy(w->others, test_customer(w->store, B, "+39 333 1234567"));
  CHECK_INT(act(w->store, LINK, A, "talk-1", NULL, w->anna, NULL), CUSTMEM_OK);
  return 1;
}

static void world_close(world *w) {
  CHECK_INT(custmem_close(w->store), CUSTMEM_OK);
}

/* Who the conversation is linked to, as its instructor sees it: "" for nobody. */
static const char *linked_to(custmem *store, const char *instructor_id, const char *id) {
  static custmem_resolution resolution;
  CHECK_INT(custmem_resolve(store, instructor_id, id, NULL, NULL, 0, &resolution), CUSTMEM_OK);
  return resolution.customer_id;
}

static custmem_head head_of(custmem *store, const char *instructor_id) {
  custmem_head head;
  CHECK_INT(custmem_audit_head(store, instructor_id, &head), CUSTMEM_OK);
  return head;
}

static custmem_event event_at(custmem *store, const char *instructor_id, int64_t seq) {
  custmem_event event;
  int32_t count = 0;
  memset(&event, 0, sizeof event);
  CHECK_INT(custmem_audit_read(store, instructor_id, seq - 1, &event, 1, &count), CUSTMEM_OK);
  CHECK_INT(count, 1);
  CHECK_INT(event.seq, seq);
  return event;
}

static int is_equal_event(const custmem_event *left, const custmem_event *right) {
  return strcmp(left->instructor_id, right->instructor_id) == 0 && left->seq == right->seq &&
         strcmp(left->event_name, right->event_name) == 0 &&
         strcmp(left->conversation_id, right->conversation_id) == 0 &&
         strcmp(left->previous_customer_id, right->previous_customer_id) == 0 &&
         strcmp(left->new_customer_id, right->new_customer_id) == 0 &&
         left->actor_type == right->actor_type &&
         strcmp(left->actor_id, right->actor_id) == 0 &&
         strcmp(left->reason, right->reason) == 0 &&
         strcmp(left->context, right->context) == 0 &&
         left->created_at_ms == right->created_at_ms && strcmp(left->hash, right->hash) == 0;
}

static void check_sound(custmem *store) {
  custmem_report report;
  CHECK_INT(custmem_check(store, &report), CUSTMEM_OK);
  CHECK_INT(custmem_audit_verify(store, A, NULL, &report), CUSTMEM_OK);
  CHECK_INT(report.fault, CUSTMEM_FAULT_NONE);
}

/* What a refused write hands back, beside its code. */
static void check_nothing_written(
  int line,
  const custmem_written *written,
  const char *current_customer_id
) {
  test_check_text(__FILE__, line, "current", written->current_customer_id, current_customer_id);
  test_check_int(__FILE__, line, "seq", written->seq, 0);
  test_check_int(__FILE__, line, "created_at_ms", written->created_at_ms, 0);
  test_check_int(__FILE__, line, "head.count", written->head.count, 0);
  test_check_text(__FILE__, line, "head.hash", written->head.hash, "");
}

/* Runs a call that must be refused: with this code, this current customer, and nothing changed. */
static void check_refused(
  int line,
  const world *w,
  const attempt *call,
  int code,
  const char *current_customer_id
) {
  custmem_written written;
  uint64_t rows = test_rows(w->path);
  test_check_int(__FILE__, line, "code", attempt_run(w->store, call, &written), code);
  test_check(__FILE__, line, "a message", custmem_errmsg(w->store)[0] != '\0');
  check_nothing_written(line, &written, current_customer_id);
  test_check(__FILE__, line, "rows as before", test_rows(w->path) == rows);
}

#define CHECK_REFUSED(w, call, code, current) check_refused(__LINE__, w, call, code, current)

/* ---- The three verbs (CM-2.3 §3, §6) ------------------------------------------------------- */

/* A write that succeeded: its event, its link and its head say the same. */
static void check_written(
  const world *w,
  const char *conversation_id,
  const custmem_written *written,
  const char *event_name,
  const char *previous,
  const char *next
) {
  custmem_head head = head_of(w->store, A);
  custmem_event event = event_at(w->store, A, written->seq);
  char sql[256];
  sqlite3 *db = test_plain(w->path);
  CHECK_TEXT(written->current_customer_id, next);
  CHECK_INT(written->head.count, written->seq);
  CHECK_INT(head.count, written->head.count);
  CHECK_TEXT(head.hash, written->head.hash);
  CHECK_INT(strlen(head.hash), CUSTMEM_HASH_SIZE);
  CHECK_TEXT(event.hash, head.hash);
  CHECK_TEXT(event.instructor_id, A);
  CHECK_TEXT(event.event_name, event_name);
  CHECK_TEXT(event.conversation_id, conversation_id);
  CHECK_TEXT(event.previous_customer_id, previous);
  CHECK_TEXT(event.new_customer_id, next);
  CHECK_INT(event.actor_type, CUSTMEM_ACTOR_HUMAN);
  CHECK_TEXT(event.actor_id, "user-1");
  CHECK_TEXT(event.reason, "she told me");
  CHECK_TEXT(event.context, "");
  CHECK_INT(event.created_at_ms, written->created_at_ms);
  CHECK(written->created_at_ms >= INT64_C(1750000000000));
  CHECK_TEXT(linked_to(w->store, A, conversation_id), next);
  snprintf(
    sql, sizeof sql,
    "SELECT audit_seq FROM conversation_links WHERE conversation_id = '%s'"
    " AND instructor_id = '" A
    "' AND coalesce(customer_id, '') = '%s' AND updated_at = %" PRId64,
    conversation_id, next, written->created_at_ms
  );
  CHECK_INT(test_sql_int(db, sql), written->seq);
  CHECK_INT(test_sql_int(db, "SELECT max(seq) FROM audit_events"), written->seq);
  sqlite3_close(db);
}

TEST(link_relink_unlink_and_link_again_each_make_one_event) {
  custmem_written written;
  world w;
  REQUIRE(world_open(&w, "verbs.db"));
  CHECK_INT(head_of(w.store, A).count, 1);
  CHECK_INT(act(w.store, LINK, A, "talk-2", NULL, w.anna, &written), CUSTMEM_OK);
  CHECK_INT(written.seq, 2);
  check_written(&w, "talk-2", &written, "conversation.customer_linked", "", w.anna);
  CHECK_INT(act(w.store, RELINK, A, "talk-2", w.anna, w.bert, &written), CUSTMEM_OK);
  CHECK_INT(written.seq, 3);
  check_written(&w, "talk-2", &written, "conversation.customer_relinked", w.anna, w.bert);
  CHECK_INT(act(w.store, UNLINK, A, "talk-2", w.bert, NULL, &written), CUSTMEM_OK);
  CHECK_INT(written.seq, 4);
  check_written(&w, "talk-2", &written, "conversation.customer_unlinked", w.bert, "");
  CHECK_INT(act(w.store, LINK, A, "talk-2", NULL, w.bert, &written), CUSTMEM_OK);
  CHECK_INT(written.seq, 5);
  check_written(&w, "talk-2", &written, "conversation.customer_linked", "", w.bert);
  CHECK_TEXT(custmem_errmsg(w.store), "");
  CHECK_TEXT(custmem_errarg(w.store), "");
  CHECK_TEXT(linked_to(w.store, A, "talk-1"), w.anna);
  check_sound(w.store);
  world_close(&w);
}

TEST(the_chain_grows_by_one_for_each_write_and_by_none_for_a_refusal) {
  world w;
  custmem_head before;
  int i;
  REQUIRE(world_open(&w, "grows.db"));
  before = head_of(w.store, A);
  for (i = 0; i < 20; i++) {
    const char *from = i % 2 == 0 ? w.anna : w.bert;
    const char *to = i % 2 == 0 ? w.bert : w.anna;
    custmem_head after;
    CHECK_INT(act(w.store, RELINK, A, "talk-1", to, from, NULL), CUSTMEM_CHANGED);
    after = head_of(w.store, A);
    CHECK_INT(after.count, before.count);
    CHECK_TEXT(after.hash, before.hash);
    CHECK_INT(act(w.store, RELINK, A, "talk-1", from, to, NULL), CUSTMEM_OK);
    after = head_of(w.store, A);
    CHECK_INT(after.count, before.count + 1);
    CHECK(strcmp(after.hash, before.hash) != 0);
    before = after;
  }
  CHECK_INT(head_of(w.store, B).count, 0);
  check_sound(w.store);
  world_close(&w);
}

TEST(a_write_counts_in_its_own_instructors_chain_only) {
  custmem_written written;
  custmem_head of_a;
  world w;
  REQUIRE(world_open(&w, "chains.db"));
  of_a = head_of(w.store, A);
  CHECK_INT(act(w.store, LINK, B, "talk-9", NULL, w.others, &written), CUSTMEM_OK);
  CHECK_INT(written.seq, 1);
  CHECK_INT(written.head.count, 1);
  CHECK_INT(head_of(w.store, A).count, of_a.count);
  CHECK_TEXT(head_of(w.store, A).hash, of_a.hash);
  CHECK_INT(act(w.store, LINK, A, "talk-2", NULL, w.anna, &written), CUSTMEM_OK);
  CHECK_INT(written.seq, 2);
  check_sound(w.store);
  world_close(&w);
}

TEST(what_a_write_hands_back_is_optional) {
  world w;
  REQUIRE(world_open(&w, "optional.db"));
  CHECK_INT(act(w.store, LINK, A, "talk-2", NULL, w.anna, NULL), CUSTMEM_OK);
  CHECK_INT(act(w.store, RELINK, A, "talk-2", w.anna, w.bert, NULL), CUSTMEM_OK);
  CHECK_INT(act(w.store, UNLINK, A, "talk-2", w.bert, NULL, NULL), CUSTMEM_OK);
  CHECK_INT(act(w.store, UNLINK, A, "talk-2", w.bert, NULL, NULL), CUSTMEM_NOT_LINKED);
  CHECK_INT(head_of(w.store, A).count, 4);
  world_close(&w);
}

/* ---- Who may write (CM-2.3 §3) ------------------------------------------------------------- */

/* One attempt of each verb that would succeed, for the tests that break one thing in it. */
static void good_attempts(const world *w, attempt calls[VERBS]) {
  calls[LINK] = attempt_of(LINK, A, "talk-2", NULL, w->bert);
  calls[RELINK] = attempt_of(RELINK, A, "talk-1", w->anna, w->bert);
  calls[UNLINK] = attempt_of(UNLINK, A, "talk-1", w->anna, NULL);
}

TEST(only_an_authenticated_human_of_an_instructor_writes) {
  static char past[CUSTMEM_ID_MAX + 2];
  static const struct {
    custmem_actor actor;
    int code;
  } cases[] = {
    {{CUSTMEM_ACTOR_SYSTEM, "job-1", A}, CUSTMEM_NOT_HUMAN},
    {{CUSTMEM_ACTOR_SYSTEM, NULL, A}, CUSTMEM_NOT_HUMAN},
    {{0, "user-1", A}, CUSTMEM_NOT_HUMAN},
    {{3, "user-1", A}, CUSTMEM_NOT_HUMAN},
    {{-1, "user-1", A}, CUSTMEM_NOT_HUMAN},
    {{CUSTMEM_ACTOR_HUMAN, NULL, A}, CUSTMEM_MISUSE},
    {{CUSTMEM_ACTOR_HUMAN, "", A}, CUSTMEM_EMPTY},
    {{CUSTMEM_ACTOR_HUMAN, past, A}, CUSTMEM_TOO_LONG},
    {{CUSTMEM_ACTOR_HUMAN, "us\xff", A}, CUSTMEM_BAD_TEXT},
    {{CUSTMEM_ACTOR_HUMAN, "us\ner", A}, CUSTMEM_BAD_TEXT},
    {{CUSTMEM_ACTOR_HUMAN, "user-1", NULL}, CUSTMEM_NO_INSTRUCTOR},
    {{CUSTMEM_ACTOR_HUMAN, "user-1", ""}, CUSTMEM_NO_INSTRUCTOR},
    {{CUSTMEM_ACTOR_HUMAN, "user-1", past}, CUSTMEM_TOO_LONG},
    {{CUSTMEM_ACTOR_HUMAN, "user-1", "in\xff"}, CUSTMEM_BAD_TEXT}};
  attempt calls[VERBS];
  world w;
  size_t i;
  int verb;
  memset(past, 'u', sizeof past - 1);
  REQUIRE(world_open(&w, "actor.db"));
  good_attempts(&w, calls);
  for (i = 0; i < COUNT_OF(cases); i++) {
    for (verb = LINK; verb < VERBS; verb++) {
      calls[verb].actor = cases[i].actor;
      CHECK_REFUSED(&w, &calls[verb], cases[i].code, "");
    }
  }
  CHECK_INT(
    custmem_link(w.store, NULL, "talk-2", w.bert, "why", ENDS, NULL, 0, NULL), CUSTMEM_MISUSE
  );
  CHECK_TEXT(custmem_errarg(w.store), "actor");
  world_close(&w);
}

TEST(actors_and_conversations_have_ids_up_to_their_limit) {
  char limit[CUSTMEM_ID_MAX + 1], event_id[CUSTMEM_ID_MAX + 1];
  attempt call;
  world w;
  REQUIRE(world_open(&w, "limit.db"));
  memset(limit, 'x', sizeof limit - 1);
  limit[sizeof limit - 1] = '\0';
  call = attempt_of(LINK, A, limit, NULL, w.bert);
  call.actor.actor_id = limit;
  CHECK_INT(attempt_run(w.store, &call, NULL), CUSTMEM_OK);
  strcpy(event_id, event_at(w.store, A, 2).actor_id);
  CHECK_TEXT(event_id, limit);
  strcpy(event_id, event_at(w.store, A, 2).conversation_id);
  CHECK_TEXT(event_id, limit);
  CHECK_TEXT(linked_to(w.store, A, limit), w.bert);
  world_close(&w);
}

/* ---- What must be named -------------------------------------------------------------------- */

TEST(ids_that_are_none_are_refused_by_name) {
  static char past_id[CUSTMEM_ID_MAX + 2], past_uuid[CUSTMEM_UUID_SIZE + 2];
  static const struct {
    const char *value;
    int code;
  } conversations[] =
    {{NULL, CUSTMEM_MISUSE},
     {"", CUSTMEM_EMPTY},
     {past_id, CUSTMEM_TOO_LONG},
     {"talk\xff", CUSTMEM_BAD_TEXT},
     {"talk\x1b", CUSTMEM_BAD_TEXT}},
    customers[] = {
      {NULL, CUSTMEM_MISUSE},
      {"", CUSTMEM_EMPTY},
      {past_uuid, CUSTMEM_TOO_LONG},
      {"\xed\xa0\x80", CUSTMEM_BAD_TEXT}};
  attempt calls[VERBS], call;
  world w;
  size_t i;
  int verb;
  memset(past_id, 'c', sizeof past_id - 1);
  memset(past_uuid, '0', sizeof past_uuid - 1);
  REQUIRE(world_open(&w, "names.db"));
  good_attempts(&w, calls);
  for (i = 0; i < COUNT_OF(conversations); i++) {
    for (verb = LINK; verb < VERBS; verb++) {
      call = calls[verb];
      call.conversation_id = conversations[i].value;
      CHECK_REFUSED(&w, &call, conversations[i].code, "");
      attempt_run(w.store, &call, NULL);
      CHECK_TEXT(custmem_errarg(w.store), "conversation_id");
    }
  }
  for (i = 0; i < COUNT_OF(customers); i++) {
    for (verb = LINK; verb < VERBS; verb++) {
      call = calls[verb];
      *(verb == LINK ? &call.customer : &call.current) = customers[i].value;
      CHECK_REFUSED(&w, &call, customers[i].code, "");
      attempt_run(w.store, &call, NULL);
      CHECK_TEXT(custmem_errarg(w.store), verb == LINK ? "customer_id" : "current_customer_id");
    }
    call = calls[RELINK];
    call.customer = customers[i].value;
    CHECK_REFUSED(&w, &call, customers[i].code, "");
    attempt_run(w.store, &call, NULL);
    CHECK_TEXT(custmem_errarg(w.store), "new_customer_id");
  }
  world_close(&w);
}

TEST(another_instructors_customer_is_no_customer_even_with_the_same_number) {
  char of_other[512], of_none[512];
  world w;
  attempt call;
  int verb;
  REQUIRE(world_open(&w, "other-customer.db"));
  for (verb = LINK; verb <= RELINK; verb++) {
    custmem_written other, none;
    uint64_t rows = test_rows(w.path);
    call = attempt_of(verb, A, verb == LINK ? "talk-2" : "talk-1", w.anna, w.others);
    CHECK_INT(attempt_run(w.store, &call, &other), CUSTMEM_NO_CUSTOMER);
    test_message_about(w.store, call.customer, of_other, sizeof of_other);
    call.customer = MISSING;
    CHECK_INT(attempt_run(w.store, &call, &none), CUSTMEM_NO_CUSTOMER);
    test_message_about(w.store, call.customer, of_none, sizeof of_none);
    CHECK(of_none[0] != '\0');
    CHECK_TEXT(of_other, of_none);
    /* relink: the current customer, or "" if it was not looked up yet; the same for both. */
    CHECK_TEXT(other.current_customer_id, none.current_customer_id);
    CHECK(
      other.current_customer_id[0] == '\0' ||
      (verb == RELINK && strcmp(other.current_customer_id, w.anna) == 0)
    );
    check_nothing_written(__LINE__, &other, none.current_customer_id);
    CHECK(test_rows(w.path) == rows);
  }
  CHECK_TEXT(linked_to(w.store, A, "talk-1"), w.anna);
  CHECK_TEXT(linked_to(w.store, A, "talk-2"), "");
  world_close(&w);
}

TEST(another_instructors_conversation_is_refused_and_not_shown) {
  world w;
  attempt call;
  REQUIRE(world_open(&w, "other-conversation.db"));
  call = attempt_of(LINK, B, "talk-1", NULL, w.others);
  CHECK_REFUSED(&w, &call, CUSTMEM_OTHER_INSTRUCTOR, "");
  call = attempt_of(RELINK, B, "talk-1", w.anna, w.others);
  CHECK_REFUSED(&w, &call, CUSTMEM_OTHER_INSTRUCTOR, "");
  call = attempt_of(UNLINK, B, "talk-1", w.anna, NULL);
  CHECK_REFUSED(&w, &call, CUSTMEM_OTHER_INSTRUCTOR, "");
  CHECK(strstr(custmem_errmsg(w.store), w.anna) == NULL);
  CHECK(strstr(custmem_errmsg(w.store), A) == NULL);
  /* It stays A's when A unlinks it. */
  CHECK_INT(act(w.store, UNLINK, A, "talk-1", w.anna, NULL, NULL), CUSTMEM_OK);
  call = attempt_of(LINK, B, "talk-1", NULL, w.others);
  CHECK_REFUSED(&w, &call, CUSTMEM_OTHER_INSTRUCTOR, "");
  CHECK_INT(act(w.store, LINK, A, "talk-1", NULL, w.bert, NULL), CUSTMEM_OK);
  CHECK_TEXT(linked_to(w.store, A, "talk-1"), w.bert);
  check_sound(w.store);
  world_close(&w);
}

TEST(what_is_no_customer_id_is_never_taken_for_one) {
  /* A sender, an identifier, a key, an id of another case or cut: none is authoritative. */
  const char *sources[] = {
    "+39 333 1234567", "393331234567", "whatsapp:+393331234567", "Anna", "talk-1", NULL, NULL};
  char upper[CUSTMEM_UUID_SIZE + 1], cut[CUSTMEM_UUID_SIZE + 1];
  attempt call;
  world w;
  size_t i;
  REQUIRE(world_open(&w, "sources.db"));
  strcpy(upper, w.anna);
  for (i = 0; upper[i] != '\0'; i++)
    if (upper[i] >= 'a' && upper[i] <= 'f') upper[i] = (char)(upper[i] - 'a' + 'A');
  CHECK(strcmp(upper, w.anna) != 0);
  strcpy(cut, w.anna);
  cut[CUSTMEM_UUID_SIZE - 1] = '\0';
  sources[5] = upper;
  sources[6] = cut;
  for (i = 0; i < COUNT_OF(sources); i++) {
    call = attempt_of(LINK, A, "talk-2", NULL, sources[i]);
    CHECK_REFUSED(&w, &call, CUSTMEM_NO_CUSTOMER, "");
  }
  world_close(&w);
}

/* ---- Overwriting (CM-2.3 §4.3, §5) --------------------------------------------------------- */

TEST(a_linked_conversation_is_never_linked_again_and_the_answer_says_to_whom_it_is) {
  world w;
  attempt call;
  REQUIRE(world_open(&w, "linked.db"));
  call = attempt_of(LINK, A, "talk-1", NULL, w.bert);
  CHECK_REFUSED(&w, &call, CUSTMEM_ALREADY_LINKED, w.anna);
  call = attempt_of(LINK, A, "talk-1", NULL, w.anna);
  CHECK_REFUSED(&w, &call, CUSTMEM_ALREADY_LINKED, w.anna);
  CHECK_TEXT(linked_to(w.store, A, "talk-1"), w.anna);
  world_close(&w);
}

TEST(relink_replaces_only_the_customer_that_it_names) {
  world w;
  attempt call;
  REQUIRE(world_open(&w, "relink.db"));
  call = attempt_of(RELINK, A, "talk-1", w.bert, w.anna);
  CHECK_REFUSED(&w, &call, CUSTMEM_CHANGED, w.anna);
  call = attempt_of(RELINK, A, "talk-1", MISSING, w.bert);
  CHECK_REFUSED(&w, &call, CUSTMEM_CHANGED, w.anna);
  call = attempt_of(RELINK, A, "talk-1", w.others, w.bert);
  CHECK_REFUSED(&w, &call, CUSTMEM_CHANGED, w.anna);
  call = attempt_of(RELINK, A, "talk-1", w.anna, w.anna);
  CHECK_REFUSED(&w, &call, CUSTMEM_NO_CHANGE, w.anna);
  call = attempt_of(RELINK, A, "talk-2", w.anna, w.bert);
  CHECK_REFUSED(&w, &call, CUSTMEM_NOT_LINKED, "");
  CHECK_INT(act(w.store, UNLINK, A, "talk-1", w.anna, NULL, NULL), CUSTMEM_OK);
  call = attempt_of(RELINK, A, "talk-1", w.anna, w.bert);
  CHECK_REFUSED(&w, &call, CUSTMEM_NOT_LINKED, "");
  world_close(&w);
}

TEST(unlink_removes_only_the_customer_that_it_names) {
  world w;
  attempt call;
  REQUIRE(world_open(&w, "unlink.db"));
  call = attempt_of(UNLINK, A, "talk-1", w.bert, NULL);
  CHECK_REFUSED(&w, &call, CUSTMEM_CHANGED, w.anna);
  call = attempt_of(UNLINK, A, "talk-1", MISSING, NULL);
  CHECK_REFUSED(&w, &call, CUSTMEM_CHANGED, w.anna);
  call = attempt_of(UNLINK, A, "talk-2", w.anna, NULL);
  CHECK_REFUSED(&w, &call, CUSTMEM_NOT_LINKED, "");
  CHECK_INT(act(w.store, UNLINK, A, "talk-1", w.anna, NULL, NULL), CUSTMEM_OK);
  call = attempt_of(UNLINK, A, "talk-1", w.anna, NULL);
  CHECK_REFUSED(&w, &call, CUSTMEM_NOT_LINKED, "");
  world_close(&w);
}

TEST(a_retry_after_a_success_is_refused_and_changes_nothing) {
  world w;
  attempt call;
  REQUIRE(world_open(&w, "retry.db"));
  call = attempt_of(LINK, A, "talk-2", NULL, w.anna);
  CHECK_INT(attempt_run(w.store, &call, NULL), CUSTMEM_OK);
  CHECK_REFUSED(&w, &call, CUSTMEM_ALREADY_LINKED, w.anna);
  call = attempt_of(RELINK, A, "talk-2", w.anna, w.bert);
  CHECK_INT(attempt_run(w.store, &call, NULL), CUSTMEM_OK);
  CHECK_REFUSED(&w, &call, CUSTMEM_CHANGED, w.bert);
  call = attempt_of(UNLINK, A, "talk-2", w.bert, NULL);
  CHECK_INT(attempt_run(w.store, &call, NULL), CUSTMEM_OK);
  CHECK_REFUSED(&w, &call, CUSTMEM_NOT_LINKED, "");
  CHECK_INT(head_of(w.store, A).count, 4);
  world_close(&w);
}

TEST(nobody_overwrites_what_another_handle_did_in_between) {
  world w;
  custmem *second;
  custmem_written written;
  REQUIRE(world_open(&w, "between.db"));
  second = test_store(w.path);
  REQUIRE(second != NULL);
  CHECK_TEXT(linked_to(second, A, "talk-1"), w.anna);
  CHECK_INT(act(w.store, RELINK, A, "talk-1", w.anna, w.bert, NULL), CUSTMEM_OK);
  CHECK_INT(act(second, UNLINK, A, "talk-1", w.anna, NULL, &written), CUSTMEM_CHANGED);
  check_nothing_written(__LINE__, &written, w.bert);
  CHECK_INT(act(w.store, LINK, A, "talk-2", NULL, w.anna, NULL), CUSTMEM_OK);
  CHECK_INT(act(second, LINK, A, "talk-2", NULL, w.bert, &written), CUSTMEM_ALREADY_LINKED);
  check_nothing_written(__LINE__, &written, w.anna);
  CHECK_INT(act(second, RELINK, A, "talk-1", w.bert, w.anna, &written), CUSTMEM_OK);
  CHECK_INT(written.seq, 4);
  CHECK_TEXT(linked_to(w.store, A, "talk-1"), w.anna);
  CHECK_INT(custmem_close(second), CUSTMEM_OK);
  check_sound(w.store);
  world_close(&w);
}

/* ---- Reason and context (CM-2.3 §6) -------------------------------------------------------- */

TEST(a_reason_is_required_and_blanks_are_none) {
  static const struct {
    const char *reason;
    int64_t size;
  } cases[] = {
    {NULL, ENDS},
    {NULL, 0},
    {NULL, 4},
    {"", ENDS},
    {"because", 0},
    {" ", ENDS},
    {"   \t  ", ENDS},
    {"\n\r\n", ENDS},
    {"\xc2\xa0", ENDS},                  /* no-break space */
    {" \xc2\xa0 \xe2\x80\xaf ", ENDS},   /* and the narrow one */
    {"\xe2\x80\x8b", ENDS},              /* zero-width space */
    {"\xe2\x80\x8c\xe2\x80\x8d", ENDS},  /* zero-width non-joiner and joiner */
    {"\xef\xbb\xbf", ENDS},              /* zero-width no-break space */
    {"\xe2\x81\xa0", ENDS},              /* word joiner */
    {"\xe2\x80\x8e\xe2\x80\x8f ", ENDS}, /* direction marks */
    {"\xe2\x80\x83\xe3\x80\x80", ENDS},  /* em space, ideographic space */
    {"     because", 5}};
  attempt calls[VERBS];
  world w;
  size_t i;
  int verb;
  REQUIRE(world_open(&w, "blank.db"));
  good_attempts(&w, calls);
  for (i = 0; i < COUNT_OF(cases); i++) {
    for (verb = LINK; verb < VERBS; verb++) {
      calls[verb].reason = cases[i].reason;
      calls[verb].reason_size = cases[i].size;
      CHECK_REFUSED(&w, &calls[verb], CUSTMEM_NO_REASON, "");
      attempt_run(w.store, &calls[verb], NULL);
      CHECK_TEXT(custmem_errarg(w.store), "reason");
    }
  }
  world_close(&w);
}

TEST(a_reason_and_a_context_that_are_no_text_are_refused) {
  static const struct {
    const char *text;
    int64_t size;
    int code;
  } cases[] = {
    {"be\0cause", 8, CUSTMEM_BAD_TEXT},    {"because\0", 8, CUSTMEM_BAD_TEXT},
    {"cause\x01", ENDS, CUSTMEM_BAD_TEXT}, {"be\x1b[31m", ENDS, CUSTMEM_BAD_TEXT},
    {"cause\x7f", ENDS, CUSTMEM_BAD_TEXT}, {"because\xc3", ENDS, CUSTMEM_BAD_TEXT},
    {"cause\xff", ENDS, CUSTMEM_BAD_TEXT}, {"\xed\xa0\x80", ENDS, CUSTMEM_BAD_TEXT},
    {"\xc1\x81", ENDS, CUSTMEM_BAD_TEXT},  {"\xf4\x90\x80\x80", ENDS, CUSTMEM_BAD_TEXT},
    {"caf\xc3\xa9", 4, CUSTMEM_BAD_TEXT}, /* the size cuts a character */
    {"because", -2, CUSTMEM_MISUSE}};
  attempt calls[VERBS], call;
  world w;
  size_t i;
  int verb;
  REQUIRE(world_open(&w, "no-text.db"));
  good_attempts(&w, calls);
  for (i = 0; i < COUNT_OF(cases); i++) {
    for (verb = LINK; verb < VERBS; verb++) {
      call = calls[verb];
      call.reason = cases[i].text;
      call.reason_size = cases[i].size;
      CHECK_REFUSED(&w, &call, cases[i].code, "");
      attempt_run(w.store, &call, NULL);
      CHECK_HAS(custmem_errarg(w.store), "reason");
      call = calls[verb];
      call.context = cases[i].text;
      call.context_size = cases[i].size;
      CHECK_REFUSED(&w, &call, cases[i].code, "");
      attempt_run(w.store, &call, NULL);
      CHECK_HAS(custmem_errarg(w.store), "context");
    }
  }
  call = calls[LINK];
  call.context = "";
  call.context_size = ENDS;
  CHECK_REFUSED(&w, &call, CUSTMEM_EMPTY, "");
  call.context = "because";
  call.context_size = 0;
  CHECK_REFUSED(&w, &call, CUSTMEM_EMPTY, "");
  world_close(&w);
}

/* Links with these texts and checks that the audit has them, to the byte. */
static void check_verbatim(world *w, const char *reason, const char *context) {
  char conversation[32], hex[CUSTMEM_REASON_MAX * 2 + 1];
  custmem_head head = head_of(w->store, A);
  custmem_event event;
  attempt call;
  sqlite3 *db;
  size_t i;
  snprintf(conversation, sizeof conversation, "verbatim-%d", (int)head.count);
  call = attempt_of(LINK, A, conversation, NULL, w->anna);
  call.reason = reason;
  call.context = context;
  call.context_size = ENDS;
  CHECK_INT(attempt_run(w->store, &call, NULL), CUSTMEM_OK);
  event = event_at(w->store, A, head.count + 1);
  CHECK_TEXT(event.reason, reason);
  CHECK_TEXT(event.context, context != NULL ? context : "");
  for (i = 0; reason[i] != '\0'; i++)
    snprintf(hex + 2 * i, 3, "%02X", (unsigned)(unsigned char)reason[i]);
  db = test_plain(w->path);
  CHECK_TEXT(test_sql_text(db, "SELECT hex(reason) FROM audit_events ORDER BY seq DESC"), hex);
  CHECK_INT(
    test_sql_int(db, "SELECT context IS NULL FROM audit_events ORDER BY seq DESC"),
    context == NULL
  );
  sqlite3_close(db);
}

TEST(reason_and_context_are_kept_to_the_byte) {
  static const char *const texts[] = {
    "x",
    "  she said: \"it's me\"  ",
    "'); DROP TABLE audit_events; --",
    "first line\n\tsecond line\r\nthird",
    "\xf0\x9f\x8f\x84\xe2\x80\x8d\xe2\x99\x80\xef\xb8\x8f surfs", /* an emoji of four parts */
    "\xd7\xa2\xd7\xa0\xd7\x94 \xe2\x80\x8f(\xd7\x92\xd7\x9c\xd7\xa9)", /* right to left */
    "e\xcc\x81 is not \xc3\xa9",                                       /* no normalization */
    "%s %n \\ ?1 :x @y"};
  world w;
  size_t i;
  REQUIRE(world_open(&w, "verbatim.db"));
  for (i = 0; i < COUNT_OF(texts); i++)
    check_verbatim(&w, texts[i], texts[COUNT_OF(texts) - 1 - i]);
  check_verbatim(&w, "no context", NULL);
  check_verbatim(&w, "blank context", "  ");
  check_sound(w.store);
  world_close(&w);
}

TEST(reason_and_context_work_at_their_limit_and_not_one_past_it) {
  static char reason[CUSTMEM_REASON_MAX + 2], context[CUSTMEM_CONTEXT_MAX + 2];
  attempt calls[VERBS], call;
  world w;
  int verb;
  REQUIRE(world_open(&w, "text-limit.db"));
  memset(reason, 'r', sizeof reason - 1);
  memset(context, 'c', sizeof context - 1);
  good_attempts(&w, calls);
  for (verb = LINK; verb < VERBS; verb++) {
    call = calls[verb];
    call.reason = reason;
    CHECK_REFUSED(&w, &call, CUSTMEM_TOO_LONG, "");
    attempt_run(w.store, &call, NULL);
    CHECK_TEXT(custmem_errarg(w.store), "reason");
    CHECK_HAS(custmem_errmsg(w.store), "500");
    call = calls[verb];
    call.context = context;
    call.context_size = ENDS;
    CHECK_REFUSED(&w, &call, CUSTMEM_TOO_LONG, "");
    attempt_run(w.store, &call, NULL);
    CHECK_TEXT(custmem_errarg(w.store), "context");
    CHECK_HAS(custmem_errmsg(w.store), "2000");
    call.context_size = INT64_MAX;
    CHECK_REFUSED(&w, &call, CUSTMEM_TOO_LONG, "");
  }
  /* With the size given, no NUL is looked for. */
  call = calls[LINK];
  call.reason = reason;
  call.reason_size = CUSTMEM_REASON_MAX;
  call.context = context;
  call.context_size = CUSTMEM_CONTEXT_MAX;
  CHECK_INT(attempt_run(w.store, &call, NULL), CUSTMEM_OK);
  reason[CUSTMEM_REASON_MAX] = '\0';
  context[CUSTMEM_CONTEXT_MAX] = '\0';
  CHECK_TEXT(event_at(w.store, A, 2).reason, reason);
  CHECK_TEXT(event_at(w.store, A, 2).context, context);
  /* The limit is of bytes: 250 characters of two. */
  memcpy(reason + CUSTMEM_REASON_MAX - 2, "\xc3\xa9", 2);
  check_verbatim(&w, reason, context);
  check_sound(w.store);
  world_close(&w);
}

TEST(identifiers_never_get_into_the_audit) {
  static const char *const tables[] = {"audit_events", "conversation_links"};
  world w;
  custmem_actor actor = test_human(A);
  sqlite3 *db;
  size_t i;
  REQUIRE(world_open(&w, "personal.db"));
  CHECK_INT(
    custmem_customer_set_display(w.store, &actor, w.anna, "Anna +39 333 1234567", ENDS, NULL),
    CUSTMEM_OK
  );
  CHECK_INT(act(w.store, RELINK, A, "talk-1", w.anna, w.bert, NULL), CUSTMEM_OK);
  CHECK_INT(act(w.store, UNLINK, A, "talk-1", w.bert, NULL, NULL), CUSTMEM_OK);
  db = test_plain(w.path);
  for (i = 0; i < COUNT_OF(tables); i++) {
    char sql[1024];
    const char *columns =
      i == 0 ? "instructor_id || '|' || event_name || '|' || conversation_id || '|'"
               " || coalesce(previous_customer_id, '') || '|' ||"
               " coalesce(new_customer_id, '') || '|' || actor_type || '|' ||"
               " actor_id || '|' || reason || '|' || coalesce(context, '')"
             : "conversation_id || '|' || instructor_id || '|' ||"
               " coalesce(customer_id, '')";
    const char *all;
    snprintf(sql, sizeof sql, "SELECT group_concat(%s) FROM %s", columns, tables[i]);
    all = test_sql_text(db, sql);
    CHECK_HAS(all, "talk-1");
    CHECK(strstr(all, "1234567") == NULL);
    CHECK(strstr(all, "7654321") == NULL);
    CHECK(strstr(all, "Anna") == NULL);
    CHECK(strstr(all, "whatsapp") == NULL);
  }
  sqlite3_close(db);
  world_close(&w);
}

/* ---- The record is part of the write (CM-2.3 §6 "no audit, no write") ---------------------- */

TEST(without_its_audit_event_a_link_is_not_made_and_without_its_link_no_event) {
  static const char *const breaks[] = {
    "CREATE TRIGGER no BEFORE INSERT ON audit_events BEGIN SELECT RAISE(ABORT, 'no'); END",
    "CREATE TRIGGER no BEFORE INSERT ON conversation_links BEGIN SELECT RAISE(ABORT, 'no'); "
    "END",
    "CREATE TRIGGER no BEFORE UPDATE ON conversation_links BEGIN SELECT RAISE(ABORT, 'no'); "
    "END"};
  attempt calls[VERBS];
  world w;
  sqlite3 *db;
  size_t i;
  int verb;
  REQUIRE(world_open(&w, "no-audit.db"));
  good_attempts(&w, calls);
  db = test_plain(w.path);
  for (i = 0; i < COUNT_OF(breaks); i++) {
    CHECK_INT(test_sql(db, breaks[i]), SQLITE_OK);
    for (verb = LINK; verb < VERBS; verb++)
      /* The second concerns a first link only, the third all but that. */
      if (i == 0 || (i == 1) == (verb == LINK))
        CHECK_REFUSED(&w, &calls[verb], CUSTMEM_CONSTRAINT, verb == LINK ? "" : w.anna);
    CHECK_INT(test_sql(db, "DROP TRIGGER no"), SQLITE_OK);
  }
  check_sound(w.store);
  for (verb = LINK; verb <= RELINK; verb++)
    CHECK_INT(attempt_run(w.store, &calls[verb], NULL), CUSTMEM_OK);
  check_sound(w.store);
  sqlite3_close(db);
  world_close(&w);
}

TEST(with_the_audit_table_gone_nothing_is_linked) {
  world w;
  sqlite3 *db;
  custmem_written written;
  REQUIRE(world_open(&w, "no-table.db"));
  db = test_plain(w.path);
  CHECK_INT(test_sql(db, "ALTER TABLE audit_events RENAME TO hidden"), SQLITE_OK);
  CHECK_INT(act(w.store, LINK, A, "talk-2", NULL, w.bert, &written), CUSTMEM_SCHEMA);
  check_nothing_written(__LINE__, &written, written.current_customer_id);
  CHECK_INT(act(w.store, UNLINK, A, "talk-1", w.anna, NULL, &written), CUSTMEM_SCHEMA);
  CHECK_INT(
    test_sql_int(db, "SELECT count(*) FROM conversation_links WHERE customer_id IS NOT NULL"), 1
  );
  CHECK_INT(test_sql_int(db, "SELECT count(*) FROM conversation_links"), 1);
  CHECK_INT(test_sql_int(db, "SELECT count(*) FROM hidden"), 1);
  sqlite3_close(db);
  world_close(&w);
}

/* ---- A write that cannot happen (CM-2.3 §7) ------------------------------------------------ */

TEST(while_another_writes_reads_go_on_and_a_link_is_busy) {
  custmem_options options;
  custmem *impatient = NULL;
  custmem_written written;
  custmem_resolution got;
  custmem_conversation conversation;
  custmem_event event;
  int32_t count;
  uint64_t rows;
  sqlite3 *db;
  world w;
  attempt call;
  REQUIRE(world_open(&w, "busy.db"));
  rows = test_rows(w.path);
  test_options(&options);
  options.busy_timeout_ms = 20;
  REQUIRE(custmem_open(w.path, &options, &impatient) == CUSTMEM_OK);
  db = test_plain(w.path);
  CHECK_INT(test_sql(db, "BEGIN IMMEDIATE"), SQLITE_OK);
  call = attempt_of(LINK, A, "talk-2", NULL, w.bert);
  CHECK_INT(attempt_run(impatient, &call, &written), CUSTMEM_BUSY);
  check_nothing_written(__LINE__, &written, "");
  CHECK_INT(act(impatient, UNLINK, A, "talk-1", w.anna, NULL, NULL), CUSTMEM_BUSY);
  /* Ingestion and the inbox do not notice. */
  CHECK_INT(
    custmem_resolve(impatient, A, "talk-1", "whatsapp", "+39 333 1234567", ENDS, &got),
    CUSTMEM_OK
  );
  CHECK_TEXT(got.customer_id, w.anna);
  CHECK_INT(
    custmem_resolve(impatient, A, "talk-2", "whatsapp", "+39 333 7654321", ENDS, &got),
    CUSTMEM_OK
  );
  CHECK_INT(got.why, CUSTMEM_WHY_ONE_MATCH);
  CHECK_INT(
    custmem_conversations(impatient, A, w.anna, NULL, &conversation, 1, &count), CUSTMEM_OK
  );
  CHECK_INT(count, 1);
  CHECK_INT(custmem_history(impatient, A, "talk-1", 0, &event, 1, &count), CUSTMEM_OK);
  CHECK_INT(count, 1);
  CHECK_INT(test_sql(db, "ROLLBACK"), SQLITE_OK);
  CHECK(test_rows(w.path) == rows);
  CHECK_INT(attempt_run(impatient, &call, &written), CUSTMEM_OK);
  CHECK_TEXT(linked_to(w.store, A, "talk-2"), w.bert);
  sqlite3_close(db);
  CHECK_INT(custmem_close(impatient), CUSTMEM_OK);
  check_sound(w.store);
  world_close(&w);
}

TEST(a_store_that_does_not_wait_is_busy_at_once) {
  custmem_options options;
  custmem *impatient = NULL;
  sqlite3 *db;
  world w;
  REQUIRE(world_open(&w, "at-once.db"));
  test_options(&options);
  options.busy_timeout_ms = -1;
  REQUIRE(custmem_open(w.path, &options, &impatient) == CUSTMEM_OK);
  db = test_plain(w.path);
  CHECK_INT(test_sql(db, "BEGIN IMMEDIATE"), SQLITE_OK);
  CHECK_INT(act(impatient, LINK, A, "talk-2", NULL, w.bert, NULL), CUSTMEM_BUSY);
  CHECK_INT(test_sql(db, "ROLLBACK"), SQLITE_OK);
  CHECK_TEXT(linked_to(w.store, A, "talk-2"), "");
  sqlite3_close(db);
  CHECK_INT(custmem_close(impatient), CUSTMEM_OK);
  world_close(&w);
}

TEST(a_read_only_store_links_nothing) {
  custmem_options options;
  custmem *reader = NULL;
  custmem_written written;
  attempt calls[VERBS];
  uint64_t rows;
  world w;
  int verb;
  REQUIRE(world_open(&w, "read-only.db"));
  rows = test_rows(w.path);
  test_options(&options);
  options.read_only = 1;
  REQUIRE(custmem_open(w.path, &options, &reader) == CUSTMEM_OK);
  good_attempts(&w, calls);
  for (verb = LINK; verb < VERBS; verb++) {
    CHECK_INT(attempt_run(reader, &calls[verb], &written), CUSTMEM_READONLY);
    check_nothing_written(__LINE__, &written, "");
  }
  CHECK_TEXT(linked_to(reader, A, "talk-1"), w.anna);
  CHECK_INT(custmem_close(reader), CUSTMEM_OK);
  CHECK(test_rows(w.path) == rows);
  world_close(&w);
}

TEST(without_a_store_a_write_hands_back_nothing) {
  custmem_written written;
  int verb;
  for (verb = LINK; verb < VERBS; verb++) {
    CHECK_INT(act(NULL, verb, A, "talk-1", MISSING, MISSING, &written), CUSTMEM_MISUSE);
    check_nothing_written(__LINE__, &written, "");
  }
}

static int64_t now_ms;

TEST(a_clock_that_goes_back_changes_no_order_and_one_that_lies_writes_nothing) {
  const char *path = test_path("clock.db");
  custmem *store;
  custmem_written written;
  char anna[CUSTMEM_UUID_SIZE + 1];
  uint64_t rows;
  int i;
  now_ms = INT64_C(1750000000000);
  store = test_store_at(path, &now_ms);
  REQUIRE(store != NULL);
  strcpy(anna, test_customer(store, A, "+39 333 1234567"));
  for (i = 0; i < 10; i++) {
    char conversation[24];
    snprintf(conversation, sizeof conversation, "talk-%d", i);
    now_ms -= 1000;
    CHECK_INT(act(store, LINK, A, conversation, NULL, anna, &written), CUSTMEM_OK);
    CHECK_INT(written.seq, i + 1);
    CHECK_INT(written.created_at_ms, now_ms);
    CHECK_INT(event_at(store, A, i + 1).created_at_ms, now_ms);
  }
  rows = test_rows(path);
  now_ms = -1;
  CHECK_INT(act(store, UNLINK, A, "talk-0", anna, NULL, &written), CUSTMEM_SOURCE);
  CHECK_INT(written.seq, 0);
  now_ms = INT64_C(1) << 48;
  CHECK_INT(act(store, UNLINK, A, "talk-0", anna, NULL, &written), CUSTMEM_SOURCE);
  CHECK(test_rows(path) == rows);
  now_ms = 0;
  CHECK_INT(act(store, UNLINK, A, "talk-0", anna, NULL, &written), CUSTMEM_OK);
  CHECK_INT(written.created_at_ms, 0);
  check_sound(store);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* ---- A commit that fails half-way (D-5) ---------------------------------------------------- */

static int copy_file(const char *from, const char *to) {
  char buffer[65536];
  FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
  int good = in != NULL && out != NULL;
  size_t got;
  while (good && (got = fread(buffer, 1, sizeof buffer, in)) > 0)
    good = fwrite(buffer, 1, got, out) == got;
  if (in != NULL) fclose(in);
  if (out != NULL && fclose(out) != 0) good = 0;
  return good;
}

/* The store as another process finds it if this one is killed now: the database and its WAL, without
** what only this process's shared memory knows. */
static custmem *open_as_after_a_crash(const char *path) {
  char crashed[512], from[512], to[512];
  snprintf(crashed, sizeof crashed, "%s.crashed", path);
  snprintf(from, sizeof from, "%s-wal", path);
  snprintf(to, sizeof to, "%s.crashed-wal", path);
  CHECK(copy_file(path, crashed));
  CHECK(copy_file(from, to));
  return test_store(crashed);
}

TEST(a_commit_whose_fsync_fails_is_unknown_and_may_be_repeated) {
  static const vfs_shim_fault fault = {VFS_SHIM_BIT(VFS_SHIM_SYNC), VFS_SHIM_ALL,     1, 0,
                                       SQLITE_IOERR_FSYNC,          VFS_SHIM_NOT_DONE};
  custmem *crashed;
  custmem_written written;
  world w;
  CHECK_INT(vfs_shim_install(), SQLITE_OK);
  REQUIRE(world_open(&w, "fsync.db"));
  vfs_shim_fail(&fault);
  CHECK_INT(act(w.store, LINK, A, "talk-2", NULL, w.bert, &written), CUSTMEM_UNKNOWN_OUTCOME);
  vfs_shim_fail(NULL);
  CHECK_INT(vfs_shim_fired(), 1);
  check_nothing_written(__LINE__, &written, "");
  CHECK_TEXT(linked_to(w.store, A, "talk-2"), "");
  CHECK_INT(head_of(w.store, A).count, 1);
  /* After a crash it is there: to repeat the call is refused, and nothing is done twice. */
  crashed = open_as_after_a_crash(w.path);
  REQUIRE(crashed != NULL);
  CHECK_INT(head_of(crashed, A).count, 2);
  CHECK_INT(act(crashed, LINK, A, "talk-2", NULL, w.bert, &written), CUSTMEM_ALREADY_LINKED);
  check_nothing_written(__LINE__, &written, w.bert);
  check_sound(crashed);
  CHECK_INT(custmem_close(crashed), CUSTMEM_OK);
  /* Without a crash it is not: to repeat the call does it. */
  CHECK_INT(act(w.store, LINK, A, "talk-2", NULL, w.bert, &written), CUSTMEM_OK);
  CHECK_INT(written.seq, 2);
  check_sound(w.store);
  world_close(&w);
  CHECK_INT(vfs_shim_open_files(), 0);
  vfs_shim_remove();
}

/* Links until the WAL's index needs another page and cannot have it: that is asked for after the
** commit record is in the WAL. */
static void check_commit_without_index(const char *name, int code) {
  vfs_shim_fault fault = {
    VFS_SHIM_BIT(VFS_SHIM_SHM_MAP), VFS_SHIM_ALL, 1, 1, SQLITE_OK, VFS_SHIM_NOT_DONE};
  custmem *crashed;
  sqlite3 *reader, *filler;
  int64_t count;
  int rc = CUSTMEM_OK, i;
  world w;
  REQUIRE(world_open(&w, name));
  /* A reader's old moment keeps the WAL from starting over; most of the first page is filled. */
  reader = test_plain(w.path);
  CHECK_INT(test_sql(reader, "BEGIN; SELECT count(*) FROM customers"), SQLITE_OK);
  filler = test_plain(w.path);
  CHECK_INT(test_sql(filler, "PRAGMA synchronous=OFF; PRAGMA wal_autocheckpoint=0"), SQLITE_OK);
  for (i = 0; i < 3900 && rc == SQLITE_OK; i++)
    rc = test_sql(filler, "UPDATE customers SET updated_at = updated_at + 1");
  CHECK_INT(rc, SQLITE_OK);
  sqlite3_close(filler);
  fault.code = code;
  vfs_shim_fail(&fault);
  for (i = 0; i < 5000 && rc == CUSTMEM_OK; i++) {
    char conversation[24];
    snprintf(conversation, sizeof conversation, "index-%d", i);
    rc = act(w.store, LINK, A, conversation, NULL, w.anna, NULL);
  }
  vfs_shim_fail(NULL);
  CHECK(vfs_shim_fired() > 0);
  count = head_of(w.store, A).count;
  crashed = open_as_after_a_crash(w.path);
  REQUIRE(crashed != NULL);
  /* It is in the file: any other code would say that nothing was written. */
  CHECK_INT(head_of(crashed, A).count, count + 1);
  CHECK_INT(rc, CUSTMEM_UNKNOWN_OUTCOME);
  check_sound(crashed);
  CHECK_INT(custmem_close(crashed), CUSTMEM_OK);
  CHECK_INT(test_sql(reader, "ROLLBACK"), SQLITE_OK);
  sqlite3_close(reader);
  world_close(&w);
}

TEST(a_commit_that_fails_after_its_record_is_in_the_wal_is_unknown) {
  CHECK_INT(vfs_shim_install(), SQLITE_OK);
  check_commit_without_index("index-io.db", SQLITE_IOERR_SHMMAP);
  check_commit_without_index("index-nomem.db", SQLITE_NOMEM);
  CHECK_INT(vfs_shim_open_files(), 0);
  vfs_shim_remove();
}

/* ---- Reading links and histories ----------------------------------------------------------- */

/* Reads a customer's conversations in pages; how many, and how many of them are not as `talk`
** numbers and orders them. */
static int32_t read_conversations(
  const world *w,
  const char *customer_id,
  int32_t page_size,
  int32_t *wrong
) {
  custmem_conversation page[32];
  char after[CUSTMEM_ID_MAX + 1] = "";
  int32_t total = 0, count = page_size, i;
  *wrong = 0;
  while (count == page_size && *wrong == 0) {
    const char *from = after[0] != '\0' ? after : NULL;
    int rc = custmem_conversations(w->store, A, customer_id, from, page, page_size, &count);
    *wrong += rc != CUSTMEM_OK || count < 0 || count > page_size;
    if (*wrong > 0) break;
    for (i = 0; i < count; i++, total++) {
      custmem_event event = event_at(w->store, A, page[i].audit_seq);
      char want[24];
      snprintf(want, sizeof want, "page-%03d", (int)total);
      *wrong += strcmp(page[i].conversation_id, want) != 0 ||
                strcmp(page[i].customer_id, customer_id) != 0 ||
                strcmp(event.conversation_id, want) != 0 ||
                event.created_at_ms != page[i].updated_at_ms;
    }
    if (count > 0) strcpy(after, page[count - 1].conversation_id);
  }
  return total;
}

TEST(pages_of_conversations_are_together_all_of_them_once_and_in_order) {
  static const int32_t sizes[] = {0, 1, 9, 10, 11, 20};
  static const int32_t pages[] = {1, 3, 10, 32};
  int32_t made = 0, wrong, s, p;
  char conversation[24];
  world w;
  REQUIRE(world_open(&w, "pages.db"));
  for (s = 0; s < (int32_t)COUNT_OF(sizes); s++) {
    for (; made < sizes[s]; made++) {
      snprintf(conversation, sizeof conversation, "page-%03d", (int)made);
      CHECK_INT(act(w.store, LINK, A, conversation, NULL, w.bert, NULL), CUSTMEM_OK);
      /* Those of others lie between them. */
      snprintf(conversation, sizeof conversation, "page-%03d-a", (int)made);
      CHECK_INT(act(w.store, LINK, A, conversation, NULL, w.anna, NULL), CUSTMEM_OK);
      snprintf(conversation, sizeof conversation, "page-%03d-b", (int)made);
      CHECK_INT(act(w.store, LINK, B, conversation, NULL, w.others, NULL), CUSTMEM_OK);
    }
    for (p = 0; p < (int32_t)COUNT_OF(pages); p++) {
      CHECK_INT(read_conversations(&w, w.bert, pages[p], &wrong), made);
      CHECK_INT(wrong, 0);
    }
  }
  world_close(&w);
}

TEST(conversations_are_those_linked_now_and_the_instructors_own) {
  custmem_conversation page[4];
  int32_t count = 7;
  world w;
  REQUIRE(world_open(&w, "now.db"));
  CHECK_INT(custmem_conversations(w.store, A, w.anna, NULL, page, 4, &count), CUSTMEM_OK);
  CHECK_INT(count, 1);
  CHECK_TEXT(page[0].conversation_id, "talk-1");
  CHECK_INT(page[0].audit_seq, 1);
  CHECK_INT(act(w.store, RELINK, A, "talk-1", w.anna, w.bert, NULL), CUSTMEM_OK);
  CHECK_INT(custmem_conversations(w.store, A, w.anna, NULL, page, 4, &count), CUSTMEM_OK);
  CHECK_INT(count, 0);
  CHECK_INT(custmem_conversations(w.store, A, w.bert, NULL, page, 4, &count), CUSTMEM_OK);
  CHECK_INT(count, 1);
  CHECK_INT(page[0].audit_seq, 2);
  CHECK_INT(act(w.store, UNLINK, A, "talk-1", w.bert, NULL, NULL), CUSTMEM_OK);
  CHECK_INT(custmem_conversations(w.store, A, w.bert, NULL, page, 4, &count), CUSTMEM_OK);
  CHECK_INT(count, 0);
  count = 7;
  CHECK_INT(
    custmem_conversations(w.store, A, w.others, NULL, page, 4, &count), CUSTMEM_NO_CUSTOMER
  );
  CHECK_INT(count, 0);
  CHECK_INT(
    custmem_conversations(w.store, B, w.anna, NULL, page, 4, &count), CUSTMEM_NO_CUSTOMER
  );
  CHECK_INT(
    custmem_conversations(w.store, NULL, w.anna, NULL, page, 4, &count), CUSTMEM_NO_INSTRUCTOR
  );
  CHECK_INT(custmem_conversations(w.store, A, w.anna, NULL, page, 0, &count), CUSTMEM_MISUSE);
  CHECK_INT(custmem_conversations(w.store, A, w.anna, "", page, 4, &count), CUSTMEM_EMPTY);
  CHECK_INT(custmem_conversations(w.store, A, w.anna, NULL, NULL, 4, &count), CUSTMEM_MISUSE);
  CHECK_INT(custmem_conversations(w.store, A, w.anna, NULL, page, 4, NULL), CUSTMEM_MISUSE);
  world_close(&w);
}

TEST(a_history_is_one_conversations_and_its_instructors_only) {
  custmem_event events[8], event;
  int32_t count = 7, i;
  world w;
  REQUIRE(world_open(&w, "history.db"));
  CHECK_INT(act(w.store, LINK, A, "talk-2", NULL, w.bert, NULL), CUSTMEM_OK);
  CHECK_INT(act(w.store, RELINK, A, "talk-1", w.anna, w.bert, NULL), CUSTMEM_OK);
  CHECK_INT(act(w.store, LINK, B, "talk-3", NULL, w.others, NULL), CUSTMEM_OK);
  CHECK_INT(act(w.store, UNLINK, A, "talk-1", w.bert, NULL, NULL), CUSTMEM_OK);
  CHECK_INT(custmem_history(w.store, A, "talk-1", 0, events, 8, &count), CUSTMEM_OK);
  CHECK_INT(count, 3);
  for (i = 0; i < count && i < 3; i++) {
    static const int64_t seqs[] = {1, 3, 4};
    CHECK_INT(events[i].seq, seqs[i]);
    event = event_at(w.store, A, seqs[i]);
    CHECK(is_equal_event(&events[i], &event));
  }
  CHECK_INT(custmem_history(w.store, A, "talk-1", 1, events, 1, &count), CUSTMEM_OK);
  CHECK_INT(count, 1);
  CHECK_INT(events[0].seq, 3);
  CHECK_INT(custmem_history(w.store, A, "talk-1", 4, events, 8, &count), CUSTMEM_OK);
  CHECK_INT(count, 0);
  count = 7;
  CHECK_INT(custmem_history(w.store, B, "talk-1", 0, events, 8, &count), CUSTMEM_OK);
  CHECK_INT(count, 0);
  count = 7;
  CHECK_INT(custmem_history(w.store, A, "talk-3", 0, events, 8, &count), CUSTMEM_OK);
  CHECK_INT(count, 0);
  CHECK_INT(custmem_history(w.store, B, "talk-3", 0, events, 8, &count), CUSTMEM_OK);
  CHECK_INT(count, 1);
  CHECK_INT(
    custmem_history(w.store, NULL, "talk-1", 0, events, 8, &count), CUSTMEM_NO_INSTRUCTOR
  );
  CHECK_INT(count, 0);
  CHECK_INT(custmem_history(w.store, A, "", 0, events, 8, &count), CUSTMEM_EMPTY);
  CHECK_INT(custmem_history(w.store, A, "talk-1", 0, events, 0, &count), CUSTMEM_MISUSE);
  world_close(&w);
}

/* ---- Telling (CM-2.5, T5) ------------------------------------------------------------------ */

typedef struct heard {
  custmem *store, *second;
  const char *anna, *bert;
  int notices, wrong;
  custmem_event event;
  int reads_inside, refused_inside, visible_inside;
} heard;

static void hear(const custmem_notice *notice, void *ctx) {
  heard *me = ctx;
  me->notices++;
  me->wrong += notice->event == NULL || notice->resolutions != NULL || notice->count != 0;
  if (notice->event != NULL) me->event = *notice->event;
  if (me->store == NULL) return;
  me->wrong += custmem_errmsg(me->store)[0] != '\0' || custmem_errarg(me->store)[0] != '\0';
}

TEST(a_listener_is_told_of_each_write_once_and_of_no_refusal) {
  heard me;
  custmem_event event;
  world w;
  REQUIRE(world_open(&w, "told.db"));
  memset(&me, 0, sizeof me);
  me.store = w.store;
  CHECK_INT(custmem_set_listener(w.store, hear, &me), CUSTMEM_OK);
  CHECK_INT(act(w.store, LINK, A, "talk-2", NULL, w.anna, NULL), CUSTMEM_OK);
  CHECK_INT(me.notices, 1);
  CHECK_TEXT(me.event.event_name, "conversation.customer_linked");
  event = event_at(w.store, A, 2);
  CHECK(is_equal_event(&me.event, &event));
  CHECK_INT(act(w.store, LINK, A, "talk-2", NULL, w.bert, NULL), CUSTMEM_ALREADY_LINKED);
  CHECK_INT(act(w.store, LINK, B, "talk-2", NULL, w.others, NULL), CUSTMEM_OTHER_INSTRUCTOR);
  CHECK_INT(act(w.store, LINK, A, "talk-3", NULL, MISSING, NULL), CUSTMEM_NO_CUSTOMER);
  CHECK_INT(act(w.store, UNLINK, A, "talk-2", w.bert, NULL, NULL), CUSTMEM_CHANGED);
  CHECK_INT(me.notices, 1);
  CHECK_INT(act(w.store, RELINK, A, "talk-2", w.anna, w.bert, NULL), CUSTMEM_OK);
  CHECK_TEXT(me.event.event_name, "conversation.customer_relinked");
  CHECK_INT(act(w.store, UNLINK, A, "talk-2", w.bert, NULL, NULL), CUSTMEM_OK);
  CHECK_INT(me.notices, 3);
  CHECK_TEXT(me.event.event_name, "conversation.customer_unlinked");
  event = event_at(w.store, A, 4);
  CHECK(is_equal_event(&me.event, &event));
  CHECK_INT(me.wrong, 0);
  world_close(&w);
}

TEST(a_write_needs_no_listener_and_what_was_missed_can_be_read) {
  heard me;
  custmem_event events[8];
  int32_t count;
  world w;
  REQUIRE(world_open(&w, "missed.db"));
  memset(&me, 0, sizeof me);
  CHECK_INT(custmem_set_listener(w.store, hear, &me), CUSTMEM_OK);
  CHECK_INT(act(w.store, LINK, A, "talk-2", NULL, w.anna, NULL), CUSTMEM_OK);
  CHECK_INT(custmem_set_listener(w.store, NULL, NULL), CUSTMEM_OK);
  CHECK_INT(act(w.store, RELINK, A, "talk-2", w.anna, w.bert, NULL), CUSTMEM_OK);
  CHECK_INT(act(w.store, UNLINK, A, "talk-2", w.bert, NULL, NULL), CUSTMEM_OK);
  CHECK_INT(me.notices, 1);
  CHECK_INT(custmem_audit_read(w.store, A, me.event.seq, events, 8, &count), CUSTMEM_OK);
  CHECK_INT(count, 2);
  CHECK_TEXT(events[0].event_name, "conversation.customer_relinked");
  CHECK_TEXT(events[1].event_name, "conversation.customer_unlinked");
  CHECK_INT(head_of(w.store, A).count, 4);
  world_close(&w);
}

/* A listener that tries everything that it must not, and reads with both handles. */
static void hear_and_act(const custmem_notice *notice, void *ctx) {
  heard *me = ctx;
  custmem_actor actor = test_human(A);
  custmem_event event;
  int32_t count = 0;
  int verb;
  hear(notice, ctx);
  if (me->notices > 1) return; /* told of its own reading */
  for (verb = LINK; verb < VERBS; verb++)
    me->refused_inside +=
      act(me->store, verb, A, "talk-2", me->anna, me->bert, NULL) == CUSTMEM_MISUSE;
  me->refused_inside +=
    custmem_customer_create(
      me->store, &actor, "whatsapp", "393330000000", ENDS, NULL, 0, NULL, NULL
    ) == CUSTMEM_MISUSE;
  me->refused_inside +=
    custmem_customer_set_display(me->store, &actor, me->anna, "Eve", ENDS, NULL) ==
    CUSTMEM_MISUSE;
  me->refused_inside += custmem_close(me->store) == CUSTMEM_MISUSE;
  me->refused_inside += custmem_set_listener(me->store, NULL, NULL) == CUSTMEM_MISUSE;
  me->reads_inside +=
    custmem_audit_read(me->store, A, me->event.seq - 1, &event, 1, &count) == CUSTMEM_OK &&
    count == 1 && is_equal_event(&event, &me->event);
  me->reads_inside += strcmp(linked_to(me->store, A, "talk-2"), me->anna) == 0;
  me->visible_inside +=
    custmem_audit_read(me->second, A, me->event.seq - 1, &event, 1, &count) == CUSTMEM_OK &&
    count == 1 && is_equal_event(&event, &me->event);
  me->visible_inside += strcmp(linked_to(me->second, A, "talk-2"), me->anna) == 0;
}

TEST(a_listener_comes_after_the_commit_and_can_only_read) {
  heard me;
  custmem_written written;
  world w;
  REQUIRE(world_open(&w, "after.db"));
  memset(&me, 0, sizeof me);
  me.store = w.store;
  me.second = test_store(w.path);
  me.anna = w.anna;
  me.bert = w.bert;
  REQUIRE(me.second != NULL);
  CHECK_INT(custmem_set_listener(w.store, hear_and_act, &me), CUSTMEM_OK);
  CHECK_INT(act(w.store, LINK, A, "talk-2", NULL, w.anna, &written), CUSTMEM_OK);
  CHECK_INT(me.notices, 1); /* not of what it read */
  CHECK_INT(me.wrong, 0);
  CHECK_INT(me.refused_inside, 7);
  CHECK_INT(me.reads_inside, 2);
  CHECK_INT(me.visible_inside, 2);
  /* The write's own answer is not disturbed by what the listener did. */
  CHECK_INT(written.seq, me.event.seq);
  CHECK_TEXT(written.head.hash, me.event.hash);
  CHECK_TEXT(written.current_customer_id, w.anna);
  CHECK_TEXT(custmem_errmsg(w.store), "");
  CHECK_INT(head_of(w.store, A).count, 2);
  CHECK_INT(custmem_close(me.second), CUSTMEM_OK);
  check_sound(w.store);
  world_close(&w);
}

static void hear_and_interrupt(const custmem_notice *notice, void *ctx) {
  heard *me = ctx;
  hear(notice, ctx);
  custmem_interrupt(me->store);
}

TEST(a_listener_cannot_undo_a_write_by_interrupting_it) {
  heard me;
  world w;
  REQUIRE(world_open(&w, "undo.db"));
  memset(&me, 0, sizeof me);
  me.store = w.store;
  CHECK_INT(custmem_set_listener(w.store, hear_and_interrupt, &me), CUSTMEM_OK);
  CHECK_INT(act(w.store, LINK, A, "talk-2", NULL, w.anna, NULL), CUSTMEM_OK);
  CHECK_INT(me.notices, 1);
  /* The next call is another one: it is not interrupted. */
  CHECK_TEXT(linked_to(w.store, A, "talk-2"), w.anna);
  CHECK_INT(act(w.store, LINK, A, "talk-3", NULL, w.bert, NULL), CUSTMEM_OK);
  CHECK_TEXT(linked_to(w.store, A, "talk-3"), w.bert);
  CHECK_INT(head_of(w.store, A).count, 3);
  world_close(&w);
}

/* ---- Reopening ----------------------------------------------------------------------------- */

TEST(links_and_their_audit_are_the_same_after_reopening) {
  custmem_head head;
  custmem_written written;
  world w;
  REQUIRE(world_open(&w, "reopen.db"));
  CHECK_INT(act(w.store, RELINK, A, "talk-1", w.anna, w.bert, &written), CUSTMEM_OK);
  world_close(&w);
  w.store = test_store(w.path);
  REQUIRE(w.store != NULL);
  CHECK_TEXT(linked_to(w.store, A, "talk-1"), w.bert);
  head = head_of(w.store, A);
  CHECK_INT(head.count, written.head.count);
  CHECK_TEXT(head.hash, written.head.hash);
  CHECK_INT(act(w.store, UNLINK, A, "talk-1", w.bert, NULL, &written), CUSTMEM_OK);
  CHECK_INT(written.seq, 3);
  check_sound(w.store);
  world_close(&w);
}

/* ---- A random sequence against a model ----------------------------------------------------- */

#define OPERATIONS    20000
#define CONVERSATIONS 30
#define NUMBERS       12

/* What the store must hold. Nobody is -1. */
typedef struct model {
  struct {
    int owner; /* instructor, from the first link on for ever */
    int customer;
    int64_t events;
  } conversations[CONVERSATIONS];
  char customers[2][NUMBERS][CUSTMEM_UUID_SIZE + 1]; /* "" for one not created yet */
  int64_t counts[2];
  custmem_head heads[2];
} model;

static const char *const instructors[2] = {A, B};

/* Who a conversation is linked to, as an instructor may see it: "" for nobody. */
static const char *customer_of(const model *m, int conversation, int instructor) {
  int customer = m->conversations[conversation].customer;
  if (m->conversations[conversation].owner != instructor || customer < 0) return "";
  return m->customers[instructor][customer];
}

/* One random operation: who, on which conversation, naming whom. */
typedef struct operation {
  int verb; /* enum verb */
  int instructor, conversation;
  const char *current, *customer;
  char conversation_id[24];
} operation;

/* A customer id to name: mostly one of the instructor's own, sometimes another's, or nobody's. */
static const char *random_customer(const model *m, int instructor, uint64_t *seed) {
  uint64_t die = test_random(seed) % 16;
  const char *id =
    m->customers[die == 0 ? !instructor : instructor][test_random(seed) % NUMBERS];
  return die == 1 || id[0] == '\0' ? MISSING : id;
}

static operation random_operation(const model *m, uint64_t *seed) {
  operation op;
  const char *current;
  int owner;
  op.verb = (int)(test_random(seed) % VERBS);
  op.conversation = (int)(test_random(seed) % CONVERSATIONS);
  op.instructor = (int)(test_random(seed) % 2);
  /* Mostly the conversation's own instructor, and mostly the right current customer. */
  owner = m->conversations[op.conversation].owner;
  if (owner >= 0 && test_random(seed) % 8 != 0) op.instructor = owner;
  op.current = random_customer(m, op.instructor, seed);
  current = customer_of(m, op.conversation, owner);
  if (current[0] != '\0' && test_random(seed) % 4 != 0) op.current = current;
  op.customer = random_customer(m, op.instructor, seed);
  if (test_random(seed) % 16 == 0) op.customer = op.current;
  snprintf(op.conversation_id, sizeof op.conversation_id, "talk-%d", op.conversation);
  return op;
}

/* Which of an instructor's customers has this id, or -1. */
static int number_of(const model *m, int instructor, const char *id) {
  int i;
  for (i = 0; i < NUMBERS; i++)
    if (m->customers[instructor][i][0] != '\0' && strcmp(m->customers[instructor][i], id) == 0)
      return i;
  return -1;
}

/* Whether the model has a reason for this code. With several reasons the documents do not say
** which comes first; with none it must be OK. */
static int is_expected(const model *m, const operation *op, int code) {
  int owner = m->conversations[op->conversation].owner;
  const char *customer = customer_of(m, op->conversation, op->instructor);
  int is_others = owner >= 0 && owner != op->instructor;
  int is_linked = customer[0] != '\0';
  int is_current = is_linked && strcmp(customer, op->current) == 0;
  int names_nobody = op->verb != UNLINK && number_of(m, op->instructor, op->customer) < 0;
  int is_same = op->verb == RELINK && strcmp(op->current, op->customer) == 0;
  int is_unlinked = !is_others && !is_linked && op->verb != LINK;
  int is_already = is_linked && op->verb == LINK;
  int is_changed = is_linked && !is_current && op->verb != LINK;
  switch (code) {
  case CUSTMEM_OTHER_INSTRUCTOR:
    return is_others;
  case CUSTMEM_NO_CUSTOMER:
    return names_nobody;
  case CUSTMEM_ALREADY_LINKED:
    return is_already;
  case CUSTMEM_NOT_LINKED:
    return is_unlinked;
  case CUSTMEM_CHANGED:
    return is_changed;
  case CUSTMEM_NO_CHANGE:
    return is_same;
  case CUSTMEM_OK:
    return !is_others && !names_nobody && !is_already && !is_unlinked && !is_changed &&
           !is_same;
  default:
    return 0;
  }
}

/* Whether what was handed back is what the model knows, after the operation is in it. */
static int is_answer(
  const model *m,
  const operation *op,
  int code,
  const custmem_written *written
) {
  const char *current = customer_of(m, op->conversation, op->instructor);
  int must_tell =
    code == CUSTMEM_OK || code == CUSTMEM_ALREADY_LINKED || code == CUSTMEM_CHANGED;
  int tells = strcmp(written->current_customer_id, current) == 0;
  if (!tells && (must_tell || written->current_customer_id[0] != '\0')) return 0;
  if (code != CUSTMEM_OK)
    return written->seq == 0 && written->created_at_ms == 0 && written->head.count == 0 &&
           written->head.hash[0] == '\0';
  return written->seq == m->counts[op->instructor] && written->head.count == written->seq;
}

/* Whether both instructors see of a conversation what the model holds. */
static int is_state(custmem *store, const model *m, int conversation) {
  int viewer;
  for (viewer = 0; viewer < 2; viewer++) {
    int owner = m->conversations[conversation].owner;
    const char *want = customer_of(m, conversation, viewer);
    custmem_resolution got;
    char id[24];
    snprintf(id, sizeof id, "talk-%d", conversation);
    if (custmem_resolve(store, instructors[viewer], id, "whatsapp", NULL, 0, &got) != CUSTMEM_OK)
      return 0;
    if (strcmp(got.customer_id, want) != 0) return 0;
    if ((got.why == CUSTMEM_WHY_OTHER_INSTRUCTOR) != (owner >= 0 && owner != viewer)) return 0;
  }
  return 1;
}

/* Creates a customer in both; whether the store said what the model knows. */
static int create_in_both(custmem *store, model *m, uint64_t *seed) {
  int instructor = (int)(test_random(seed) % 2);
  int number = (int)(test_random(seed) % NUMBERS);
  char *known = m->customers[instructor][number];
  custmem_actor actor = test_human(instructors[instructor]);
  custmem_customer customer;
  int32_t created;
  char raw[24];
  snprintf(raw, sizeof raw, "+39 333 %07d", number);
  if (custmem_customer_create(store, &actor, "whatsapp", raw, ENDS, NULL, 0, &customer, &created) != CUSTMEM_OK)
    return 0;
  if (created != (known[0] == '\0')) return 0;
  if (created) strcpy(known, customer.id);
  return strcmp(known, customer.id) == 0;
}

/* Does one random operation in both; whether code, answer and state agree. */
static int operate_in_both(custmem *store, model *m, uint64_t *seed, int64_t *done) {
  operation op = random_operation(m, seed);
  custmem_written written;
  int rc = act(
    store, op.verb, instructors[op.instructor], op.conversation_id, op.current, op.customer,
    &written
  );
  if (!is_expected(m, &op, rc)) return 0;
  if (rc == CUSTMEM_OK) {
    m->conversations[op.conversation].owner = op.instructor;
    m->conversations[op.conversation].customer =
      op.verb == UNLINK ? -1 : number_of(m, op.instructor, op.customer);
    m->conversations[op.conversation].events++;
    m->counts[op.instructor]++;
    m->heads[op.instructor] = written.head;
    *done += 1;
  }
  return is_answer(m, &op, rc, &written) && is_state(store, m, op.conversation);
}

/* Whether every conversation, every history and both chains are as in the model. */
static int is_all(custmem *store, const model *m) {
  static custmem_event events[OPERATIONS / CONVERSATIONS];
  int i, good = 1;
  for (i = 0; i < CONVERSATIONS; i++) {
    int owner = m->conversations[i].owner;
    int32_t count = 0;
    char id[24];
    snprintf(id, sizeof id, "talk-%d", i);
    good &= is_state(store, m, i);
    if (owner < 0) continue;
    good &= custmem_history(
              store, instructors[owner], id, 0, events, (int32_t)COUNT_OF(events), &count
            ) == CUSTMEM_OK;
    good &= count == m->conversations[i].events;
    good &= custmem_history(store, instructors[!owner], id, 0, events, 1, &count) == CUSTMEM_OK;
    good &= count == 0;
  }
  for (i = 0; i < 2; i++) {
    custmem_head head = head_of(store, instructors[i]);
    good &= head.count == m->counts[i];
    good &= m->counts[i] == 0 || strcmp(head.hash, m->heads[i].hash) == 0;
  }
  return good;
}

TEST(a_random_sequence_agrees_with_a_model_at_every_step) {
  static model m;
  custmem *store = test_store(NULL);
  custmem_report report;
  uint64_t seed = 23;
  int64_t done = 0;
  int i;
  REQUIRE(store != NULL);
  memset(&m, 0, sizeof m);
  for (i = 0; i < CONVERSATIONS; i++)
    m.conversations[i].owner = m.conversations[i].customer = -1;
  for (i = 0; i < OPERATIONS; i++) {
    int is_create = test_random(&seed) % 20 == 0;
    if (is_create ? !create_in_both(store, &m, &seed) : !operate_in_both(store, &m, &seed, &done))
      break;
    if (i % 1000 == 999 && !is_all(store, &m)) break;
  }
  /* Where they first differ, if they do. */
  CHECK_INT(i, OPERATIONS);
  CHECK(done > OPERATIONS / 5 && done < OPERATIONS * 4 / 5);
  CHECK_INT(m.counts[0] + m.counts[1], done);
  for (i = 0; i < 2; i++) {
    CHECK_INT(custmem_audit_verify(store, instructors[i], &m.heads[i], &report), CUSTMEM_OK);
    CHECK_INT(report.events, m.counts[i]);
  }
  CHECK_INT(custmem_check(store, &report), CUSTMEM_OK);
  CHECK_INT(report.events, done);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

static void run_verbs(void) {
  RUN(
    link_relink_unlink_and_link_again_each_make_one_event,
    "CM-2.3 §2, §3.1, §6, §9 all writes generate audit events; T4; T5; D-5; D-7"
  );
  RUN(
    the_chain_grows_by_one_for_each_write_and_by_none_for_a_refusal,
    "CM-2.3 §6, §8, §9; T5 one event for each write; D-7"
  );
  RUN(a_write_counts_in_its_own_instructors_chain_only, "CM-2.3 §2, §9 instructor-scoped; D-7");
  RUN(what_a_write_hands_back_is_optional, "D-5; D-8");
  RUN(
    only_an_authenticated_human_of_an_instructor_writes,
    "CM-2.3 §3.1, §3.2, §8 no link without instructor; CM-1 §4.2; T4 no system actor"
  );
  RUN(actors_and_conversations_have_ids_up_to_their_limit, "D-2; D-8");
}

static void run_refusals(void) {
  RUN(ids_that_are_none_are_refused_by_name, "CM-2.3 §7; D-5; D-8");
  RUN(
    another_instructors_customer_is_no_customer_even_with_the_same_number,
    "CM-2.3 §3.1, §4.2, §8, §9; CM-1 §4.3; T4 customer ownership; D-5"
  );
  RUN(
    another_instructors_conversation_is_refused_and_not_shown,
    "CM-2.3 §3.1, §4.2, §9; CM-1 §4.1; T4 instructor ownership; D-5"
  );
  RUN(what_is_no_customer_id_is_never_taken_for_one, "CM-2.3 §4.4; T4 no heuristics");
  RUN(
    a_linked_conversation_is_never_linked_again_and_the_answer_says_to_whom_it_is,
    "CM-2.3 §3.1, §4.3, §5, §8; T4 overwrite only when requested; D-5"
  );
  RUN(
    relink_replaces_only_the_customer_that_it_names,
    "CM-2.3 §4.3, §5, §9 overwrites are explicit; T4; D-5"
  );
  RUN(unlink_removes_only_the_customer_that_it_names, "CM-2.3 §2, §4.3, §5; D-5");
  RUN(a_retry_after_a_success_is_refused_and_changes_nothing, "CM-2.3 §4.3, §7; D-5");
  RUN(nobody_overwrites_what_another_handle_did_in_between, "CM-2.3 §4.3, §5; T4; D-1; D-5");
}

static void run_texts(void) {
  RUN(a_reason_is_required_and_blanks_are_none, "CM-2.3 §6 reason; D-5");
  RUN(a_reason_and_a_context_that_are_no_text_are_refused, "CM-2.3 §6; D-5; D-8");
  RUN(reason_and_context_are_kept_to_the_byte, "CM-2.3 §6 explicit, not inferred; D-5");
  RUN(reason_and_context_work_at_their_limit_and_not_one_past_it, "CM-2.3 §6; D-8");
  RUN(identifiers_never_get_into_the_audit, "CM-2.3 §6; D-2 no personal data");
}

static void run_failures(void) {
  RUN(
    without_its_audit_event_a_link_is_not_made_and_without_its_link_no_event,
    "CM-2.3 §6 no audit, no write, §7; D-1; D-2"
  );
  RUN(with_the_audit_table_gone_nothing_is_linked, "CM-2.3 §6 no audit, no write, §7");
  RUN(
    while_another_writes_reads_go_on_and_a_link_is_busy,
    "CM-2.3 §7 write failure never blocks ingestion; D-5 waiting is bounded"
  );
  RUN(a_store_that_does_not_wait_is_busy_at_once, "CM-2.3 §7; D-5");
  RUN(a_read_only_store_links_nothing, "CM-2.3 §7; D-5");
  RUN(without_a_store_a_write_hands_back_nothing, "D-8");
  RUN(
    a_clock_that_goes_back_changes_no_order_and_one_that_lies_writes_nothing,
    "CM-2.3 §6 timestamp, §7; D-7; D-8"
  );
  RUN(
    a_commit_whose_fsync_fails_is_unknown_and_may_be_repeated,
    "CM-2.3 §4.3, §7; D-5 outcome unknown"
  );
  RUN(
    a_commit_that_fails_after_its_record_is_in_the_wal_is_unknown,
    "CM-2.3 §7; D-5 outcome unknown"
  );
}

static void run_reads(void) {
  RUN(
    pages_of_conversations_are_together_all_of_them_once_and_in_order, "CM-1 §5.2, §5.3; D-8"
  );
  RUN(conversations_are_those_linked_now_and_the_instructors_own, "CM-1 §4.1, §5.2; CM-2.3 §8");
  RUN(
    a_history_is_one_conversations_and_its_instructors_only, "CM-2.3 §9 traceable; CM-2.5; D-7"
  );
}

static void run_listener(void) {
  RUN(a_listener_is_told_of_each_write_once_and_of_no_refusal, "CM-2.5; T5; D-7");
  RUN(
    a_write_needs_no_listener_and_what_was_missed_can_be_read,
    "CM-2.5; T5 write succeeds even if emission fails; D-1; D-7"
  );
  RUN(
    a_listener_comes_after_the_commit_and_can_only_read,
    "CM-2.5; T5 audit failure must not block the write; D-1; D-7"
  );
  RUN(
    a_listener_cannot_undo_a_write_by_interrupting_it,
    "CM-2.5; T5 write succeeds even if emission fails; D-7"
  );
}

static void run_whole(void) {
  RUN(links_and_their_audit_are_the_same_after_reopening, "CM-2.3 §2, §6");
  RUN(
    a_random_sequence_agrees_with_a_model_at_every_step,
    "CM-2.3 §3.1, §4.2, §4.3, §5, §6, §8, §9; CM-1 §4.1, §6; T4; T5; D-5; D-7"
  );
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  run_verbs();
  run_refusals();
  run_texts();
  run_failures();
  run_reads();
  run_listener();
  run_whole();
  return test_report();
}
