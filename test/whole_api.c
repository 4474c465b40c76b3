/* SPDX-License-Identifier: MIT
**
** What must hold, whatever the file is:
**
**   codes      each is one that the header documents for the call; none speaks of locks, memory, an
**              interrupt or a fault of custmem's own, since there is nothing of the kind here
**   outputs    filled in; empty after an error; every text ends within its field
**   refusals   a file that is refused as not being custmem's is left byte for byte; a reader changes
**              no byte of any file
**   ownership  nobody is given another instructor's customer, unless the row itself, in the table
**              customers, says that it is theirs (which the header says nothing can show)
**   answers    a resolution's customer is there, and is the instructor's; a candidate has the key;
**              it is the one of the time when the file was whole, unless the file's rows say otherwise
**   chain      where verify finds a chain sound, its events are the first that were written, or all
**              of them with an anchor, and each conversation is linked as those events say
**   check      where check finds the store sound, the lists agree with the resolutions, too
**   writes     OK means that it is there, an error that nothing changed; a sound store stays sound
**   after      close works, no memory and no file is left, and a sound store opens again
*/
#define _XOPEN_SOURCE 700

#include "whole_api.h"
#include "../sqlite3.h"
#include "memory_vfs.h"
#include "test.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#define PAGE 7 /* rows of a page of a list: so that there are several pages */
#define MADE 8 /* customers that are made here */

/* A store in use. */
typedef struct use {
  const known *truth;
  const image *bytes; /* what the file held */
  unsigned how;
  custmem *store;
  whole_api_report *report;
  custmem_event events[DAMAGE_INSTRUCTORS][DAMAGE_EVENTS + PAGE];
  int32_t event_count[DAMAGE_INSTRUCTORS];
  int is_sound[DAMAGE_INSTRUCTORS]; /* verify says so, and the events were read */
  char made[MADE][CUSTMEM_UUID_SIZE + 1];
  int made_by[MADE];
  int made_count;
} use;

/* ---- Saying what is broken ----------------------------------------------------------------- */

static void broken(use *in, const char *format, ...) {
  va_list arguments;
  if (in->report->broken[0] != '\0') return;
  va_start(arguments, format);
  vsnprintf(in->report->broken, sizeof in->report->broken, format, arguments);
  va_end(arguments);
}

static void hold(use *in, int holds, const char *call, const char *what) {
  if (!holds) broken(in, "%s: %s", call, what);
}

/* The codes that the header gives each call, beside those that any call can return. */
enum { END = -1 };
static const int READS[] = {END};
static const int GETS[] = {CUSTMEM_NO_CUSTOMER, END};
static const int WRITES[] = {
  CUSTMEM_READONLY, CUSTMEM_FULL, CUSTMEM_CONSTRAINT, CUSTMEM_UNKNOWN_OUTCOME, END};
static const int DISPLAYS[] = {CUSTMEM_READONLY,        CUSTMEM_FULL,        CUSTMEM_CONSTRAINT,
                               CUSTMEM_UNKNOWN_OUTCOME, CUSTMEM_NO_CUSTOMER, END};
static const int LINKS[] = {CUSTMEM_READONLY,         CUSTMEM_FULL,
                            CUSTMEM_CONSTRAINT,       CUSTMEM_UNKNOWN_OUTCOME,
                            CUSTMEM_OTHER_INSTRUCTOR, CUSTMEM_NO_CUSTOMER,
                            CUSTMEM_ALREADY_LINKED,   END};
static const int RELINKS[] = {CUSTMEM_READONLY,         CUSTMEM_FULL,
                              CUSTMEM_CONSTRAINT,       CUSTMEM_UNKNOWN_OUTCOME,
                              CUSTMEM_OTHER_INSTRUCTOR, CUSTMEM_NO_CUSTOMER,
                              CUSTMEM_NOT_LINKED,       CUSTMEM_CHANGED,
                              CUSTMEM_NO_CHANGE,        END};
static const int UNLINKS[] = {
  CUSTMEM_READONLY,         CUSTMEM_FULL,       CUSTMEM_CONSTRAINT, CUSTMEM_UNKNOWN_OUTCOME,
  CUSTMEM_OTHER_INSTRUCTOR, CUSTMEM_NOT_LINKED, CUSTMEM_CHANGED,    END};
static const int VERIFIES[] = {CUSTMEM_BROKEN, CUSTMEM_ANCHOR, END};
static const int CHECKS[] = {CUSTMEM_BROKEN, END};
static const int BACKUPS[] = {
  CUSTMEM_FULL, CUSTMEM_NO_PATH, CUSTMEM_PERMISSION, CUSTMEM_EXISTS, END};
static const int OPENS[] = {
  CUSTMEM_FULL,
  CUSTMEM_READONLY,
  CUSTMEM_PERMISSION,
  CUSTMEM_NOT_A_DATABASE,
  CUSTMEM_OTHER_APPLICATION,
  CUSTMEM_NEWER,
  CUSTMEM_RULES,
  END};

/* Whether the code may come back from a call on any file. */
static int code(use *in, const char *call, int rc, const int *own) {
  int known_code =
    rc == CUSTMEM_OK || rc == CUSTMEM_CORRUPT || rc == CUSTMEM_SCHEMA || rc == CUSTMEM_IO;
  for (; *own != END; own++)
    known_code = known_code || rc == *own;
  if (!known_code)
    broken(in, "%s: %s (%s)", call, custmem_code_name(rc), custmem_errmsg(in->store));
  return rc;
}

static int is_zero(const void *bytes, size_t size) {
  const unsigned char *at = bytes;
  return at[0] == 0 && memcmp(at, at + 1, size - 1) == 0;
}

static int same_head(const custmem_head *one, const custmem_head *other) {
  return one->count == other->count && strcmp(one->hash, other->hash) == 0;
}

static int same_resolution(const custmem_resolution *one, const custmem_resolution *other) {
  return one->outcome == other->outcome && one->step == other->step && one->why == other->why &&
         one->refusal == other->refusal && one->rules_version == other->rules_version &&
         strcmp(one->customer_id, other->customer_id) == 0 &&
         strcmp(one->normalized_identifier, other->normalized_identifier) == 0 &&
         strcmp(one->event_name, other->event_name) == 0;
}

static int same_event(const custmem_event *one, const custmem_event *other) {
  return strcmp(one->instructor_id, other->instructor_id) == 0 && one->seq == other->seq &&
         strcmp(one->event_name, other->event_name) == 0 &&
         strcmp(one->conversation_id, other->conversation_id) == 0 &&
         strcmp(one->previous_customer_id, other->previous_customer_id) == 0 &&
         strcmp(one->new_customer_id, other->new_customer_id) == 0 &&
         one->actor_type == other->actor_type && strcmp(one->actor_id, other->actor_id) == 0 &&
         strcmp(one->reason, other->reason) == 0 && strcmp(one->context, other->context) == 0 &&
         one->created_at_ms == other->created_at_ms && strcmp(one->hash, other->hash) == 0;
}

static int ends(const char *field, size_t size) {
  return memchr(field, '\0', size) != NULL;
}

/* Whether to ask an instructor about this one: always about its own, now and then about another's. */
static int is_asked(const use *in, int instructor, int owner, int number) {
  return instructor == owner ||
         (number + instructor + (int)(in->how / WHOLE_API_TURN)) % 4 == 0;
}

/* ---- Ownership ----------------------------------------------------------------------------- */

static int has_bytes(const unsigned char *bytes, size_t size, const char *text) {
  size_t text_size = strlen(text), i;
  for (i = 0; i + text_size <= size; i++)
    if (bytes[i] == (unsigned char)text[0] && memcmp(bytes + i, text, text_size) == 0) return 1;
  return 0;
}

/* Whether SQLite alone finds a row, reading all of a table. A row may lie in pieces, on several pages. */
static int table_says(const use *in, const char *sql, const char *const texts[3]) {
  static const char name[] = "/judge.db", wal[] = "/judge.db-wal";
  sqlite3 *db = NULL;
  sqlite3_stmt *stmt = NULL;
  int found = 0, i;
  memory_vfs_put(name, in->bytes->db, in->bytes->db_size);
  if (in->bytes->has_wal) memory_vfs_put(wal, in->bytes->wal, in->bytes->wal_size);
  if (sqlite3_open(name, &db) == SQLITE_OK && sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) == SQLITE_OK) {
    for (i = 0; i < 3; i++)
      sqlite3_bind_text(stmt, i + 1, texts[i], -1, SQLITE_STATIC);
    found = sqlite3_step(stmt) == SQLITE_ROW;
  }
  sqlite3_finalize(stmt);
  sqlite3_close(db);
  memory_vfs_delete(name);
  memory_vfs_delete(wal);
  return found;
}

/* Whether the file holds a row that begins with these texts, one behind the other. */
static int file_says(const use *in, const char *sql, const char *const texts[3]) {
  char row[400];
  snprintf(row, sizeof row, "%s%s%s", texts[0], texts[1], texts[2]);
  return has_bytes(in->bytes->db, in->bytes->db_size, row) ||
         has_bytes(in->bytes->wal, in->bytes->wal_size, row) || table_says(in, sql, texts);
}

static int customer_row_says(const use *in, const char *customer, const char *instructor) {
  const char *const texts[] = {customer, instructor, ""};
  return file_says(in, "SELECT 1 FROM customers WHERE +id = ?1 AND +instructor_id = ?2", texts);
}

static int link_row_says(
  const use *in,
  const char *conversation,
  const char *instructor,
  const char *customer
) {
  const char *const texts[] = {conversation, instructor, customer};
  return file_says(
    in,
    "SELECT 1 FROM conversation_links"
    " WHERE +conversation_id = ?1 AND +instructor_id = ?2 AND +customer_id = ?3",
    texts
  );
}

/* The number of the instructor whose customer this truly is, -1 for an id that nobody was given. */
static int owner_of(const use *in, const char *customer_id) {
  int i, j;
  for (i = 0; i < in->truth->customer_count; i++)
    if (strcmp(in->truth->customers[i].id, customer_id) == 0)
      for (j = 0; j < in->truth->instructors; j++)
        if (strcmp(in->truth->instructor_ids[j], in->truth->customers[i].instructor_id) == 0)
          return j;
  for (i = 0; i < in->made_count; i++)
    if (strcmp(in->made[i], customer_id) == 0) return in->made_by[i];
  return -1;
}

static void given(use *in, int instructor, const char *customer_id, const char *call) {
  const char *id = in->truth->instructor_ids[instructor];
  int owner;
  if (customer_id[0] == '\0') return;
  owner = owner_of(in, customer_id);
  if (owner < 0 || owner == instructor || customer_row_says(in, customer_id, id)) return;
  broken(
    in, "%s: %s is given %s, who is %s's", call, id, customer_id,
    in->truth->instructor_ids[owner]
  );
}

static void given_row(use *in, int instructor, const custmem_customer *row, const char *call) {
  hold(
    in,
    ends(row->id, sizeof row->id) && ends(row->instructor_id, sizeof row->instructor_id) &&
      ends(row->channel, sizeof row->channel) &&
      ends(row->normalized_identifier, sizeof row->normalized_identifier) &&
      ends(row->display_identifier, sizeof row->display_identifier),
    call, "a text does not end"
  );
  hold(
    in, strcmp(row->instructor_id, in->truth->instructor_ids[instructor]) == 0, call,
    "a row of another instructor"
  );
  given(in, instructor, row->id, call);
}

/* ---- Customers ----------------------------------------------------------------------------- */

static void use_customer(use *in, int instructor, const custmem_customer *asked) {
  custmem_customer row, many[2];
  const char *id = in->truth->instructor_ids[instructor], *ids[2];
  int rc = code(in, "get", custmem_customer_get(in->store, id, asked->id, &row), GETS);
  int is_there = rc == CUSTMEM_OK;
  if (rc == CUSTMEM_OK) {
    given_row(in, instructor, &row, "get");
    hold(in, strcmp(row.id, asked->id) == 0, "get", "another customer than asked");
    is_there = strcmp(row.normalized_identifier, asked->normalized_identifier) == 0;
  } else {
    hold(in, is_zero(&row, sizeof row), "get", "an error, and a customer");
  }
  ids[0] = asked->id, ids[1] = "";
  rc = code(in, "get_many", custmem_customer_get_many(in->store, id, ids, 2, many), READS);
  hold(in, is_zero(&many[1], sizeof many[1]), "get_many", "a customer for no id");
  if (rc == CUSTMEM_OK && many[0].id[0] != '\0')
    given_row(in, instructor, &many[0], "get_many");
  if (rc != CUSTMEM_OK) hold(in, is_zero(many, sizeof many), "get_many", "an error, and rows");
  rc = code(
    in, "find",
    custmem_customer_find(
      in->store, id, asked->channel, asked->normalized_identifier, -1, &row
    ),
    GETS
  );
  if (rc != CUSTMEM_OK) {
    hold(in, is_zero(&row, sizeof row), "find", "an error, and a customer");
    hold(in, !is_there || !in->report->checked, "find", "not a sound store's customer");
    return;
  }
  given_row(in, instructor, &row, "find");
  hold(
    in,
    strcmp(row.channel, asked->channel) == 0 &&
      strcmp(row.normalized_identifier, asked->normalized_identifier) == 0,
    "find", "another key than asked"
  );
}

static void use_list(use *in, int instructor) {
  custmem_customer page[PAGE];
  char after[CUSTMEM_UUID_SIZE + 1] = "";
  const char *id = in->truth->instructor_ids[instructor];
  int32_t count = PAGE, i;
  int pages, listed = 0, theirs = 0, rc = CUSTMEM_OK;
  for (pages = 0; rc == CUSTMEM_OK && count == PAGE && pages < 99; pages++) {
    rc = code(
      in, "list",
      custmem_customer_list(in->store, id, after[0] != '\0' ? after : NULL, page, PAGE, &count),
      READS
    );
    if (rc != CUSTMEM_OK) {
      hold(in, count == 0 && is_zero(page, sizeof page), "list", "an error, and rows");
      return;
    }
    for (i = 0; i < count; i++) {
      given_row(in, instructor, &page[i], "list");
      hold(in, strcmp(page[i].id, after) > 0, "list", "rows out of order");
      strcpy(after, page[i].id);
    }
    listed += count;
  }
  hold(in, pages < 99, "list", "does not end");
  for (i = 0; in->report->checked && i < in->truth->customer_count; i++)
    theirs +=
      custmem_customer_get(in->store, id, in->truth->customers[i].id, page) == CUSTMEM_OK;
  hold(in, listed >= theirs, "list", "not all of a sound store's customers");
}

/* ---- Resolution ---------------------------------------------------------------------------- */

static int has_event(const use *in, int instructor, const char *conversation, const char *to) {
  int32_t i;
  for (i = 0; i < in->truth->event_count[instructor]; i++) {
    const custmem_event *event = &in->truth->events[instructor][i];
    if (strcmp(event->conversation_id, conversation) == 0 && strcmp(event->new_customer_id, to) == 0)
      return 1;
  }
  return 0;
}

static void judge_linked(
  use *in,
  int instructor,
  const char *conversation,
  const custmem_resolution *found
) {
  const char *id = in->truth->instructor_ids[instructor];
  if (owner_of(in, found->customer_id) < 0) return;
  if (has_event(in, instructor, conversation, found->customer_id)) return;
  if (!link_row_says(in, conversation, id, found->customer_id))
    broken(
      in, "resolve: %s of %s was never linked to %s, and no row says so", conversation, id,
      found->customer_id
    );
}

static void judge_candidate(
  use *in,
  int instructor,
  const custmem_customer *asked,
  const custmem_resolution *found
) {
  const char *id = in->truth->instructor_ids[instructor];
  custmem_customer row;
  int rc = custmem_customer_get(in->store, id, found->customer_id, &row);
  if (rc == CUSTMEM_NO_CUSTOMER)
    broken(in, "resolve: a candidate %s whom %s does not have", found->customer_id, id);
  if (rc != CUSTMEM_OK) return;
  if (strcmp(row.channel, asked->channel) != 0 || strcmp(row.normalized_identifier, asked->normalized_identifier) != 0)
    broken(
      in, "resolve: a candidate for %s whose key is %s", asked->normalized_identifier,
      row.normalized_identifier
    );
}

/* The answer to one conversation, with the number and channel of a customer. */
static void judge(
  use *in,
  int instructor,
  const char *conversation,
  const custmem_customer *asked,
  const custmem_resolution *found
) {
  int has = found->customer_id[0] != '\0', badge = custmem_badge(found);
  hold(
    in,
    ends(found->customer_id, sizeof found->customer_id) &&
      ends(found->normalized_identifier, sizeof found->normalized_identifier) &&
      ends(found->event_name, sizeof found->event_name),
    "resolve", "a text does not end"
  );
  hold(
    in, has == (found->outcome != CUSTMEM_UNLINKED), "resolve", "outcome and customer differ"
  );
  hold(
    in,
    badge == (found->outcome == CUSTMEM_LINKED      ? CUSTMEM_BADGE_KNOWN
              : found->outcome == CUSTMEM_CANDIDATE ? CUSTMEM_BADGE_NEW
                                                    : CUSTMEM_BADGE_UNLINKED),
    "badge", "not the outcome's"
  );
  if (!has) return;
  given(in, instructor, found->customer_id, "resolve");
  if (found->outcome == CUSTMEM_LINKED)
    judge_linked(in, instructor, conversation, found);
  else
    judge_candidate(in, instructor, asked, found);
}

static void use_resolve(use *in, int instructor) {
  custmem_query queries[DAMAGE_CONVERSATIONS] = {{NULL, NULL, NULL, 0}};
  custmem_resolution single, many[DAMAGE_CONVERSATIONS];
  const char *id = in->truth->instructor_ids[instructor];
  int32_t count = in->truth->conversation_count, i;
  int rc, many_rc;
  for (i = 0; i < count; i++) {
    const custmem_customer *asked = &in->truth->customers[i % in->truth->customer_count];
    queries[i] = (custmem_query
    ){in->truth->conversations[i], asked->channel, asked->normalized_identifier, -1};
  }
  many_rc =
    code(in, "resolve_many", custmem_resolve_many(in->store, id, queries, count, many), READS);
  for (i = 0; i < count; i++) {
    const custmem_customer *asked = &in->truth->customers[i % in->truth->customer_count];
    judge(in, instructor, queries[i].conversation_id, asked, &many[i]);
    if (!is_asked(in, instructor, in->truth->conversation_owner[i], i)) continue;
    rc = code(
      in, "resolve",
      custmem_resolve(
        in->store, id, queries[i].conversation_id, queries[i].channel,
        queries[i].raw_identifier, -1, &single
      ),
      READS
    );
    hold(
      in, rc == CUSTMEM_OK || single.customer_id[0] == '\0', "resolve",
      "an error, and a customer"
    );
    /* Where damage is met is a matter of how it is read: an error on one way is none on the other. */
    if (!same_resolution(&single, &many[i]) && rc == CUSTMEM_OK && many_rc == CUSTMEM_OK && !(in->how & WHOLE_API_HURT_OPEN))
      broken(
        in, "resolve_many: %s is %s (%s), and alone %s (%s)", queries[i].conversation_id,
        custmem_outcome_name(many[i].outcome), custmem_why_name(many[i].why),
        custmem_outcome_name(single.outcome), custmem_why_name(single.why)
      );
  }
}

/* ---- Audit --------------------------------------------------------------------------------- */

static void judge_event(
  use *in,
  int instructor,
  const custmem_event *event,
  int64_t after,
  const char *call
) {
  hold(
    in,
    ends(event->instructor_id, sizeof event->instructor_id) &&
      ends(event->event_name, sizeof event->event_name) &&
      ends(event->conversation_id, sizeof event->conversation_id) &&
      ends(event->previous_customer_id, sizeof event->previous_customer_id) &&
      ends(event->new_customer_id, sizeof event->new_customer_id) &&
      ends(event->actor_id, sizeof event->actor_id) &&
      ends(event->reason, sizeof event->reason) &&
      ends(event->context, sizeof event->context) && ends(event->hash, sizeof event->hash),
    call, "a text does not end"
  );
  hold(
    in, strcmp(event->instructor_id, in->truth->instructor_ids[instructor]) == 0, call,
    "an event of another instructor"
  );
  hold(in, event->seq > after, call, "events out of order");
}

/* The whole trail, or that of a conversation; -1 where it cannot be read. */
static int32_t read_events(
  use *in,
  int instructor,
  const char *conversation,
  custmem_event *events
) {
  const char *id = in->truth->instructor_ids[instructor];
  const char *call = conversation != NULL ? "history" : "audit_read";
  int32_t read = 0, count = PAGE, i;
  int64_t after = 0;
  while (count == PAGE && read <= DAMAGE_EVENTS) {
    custmem_event *page = events + read;
    int rc;
    memset(page, 0, PAGE * sizeof *page);
    rc = conversation != NULL
           ? custmem_history(in->store, id, conversation, after, page, PAGE, &count)
           : custmem_audit_read(in->store, id, after, page, PAGE, &count);
    if (code(in, call, rc, READS) != CUSTMEM_OK) {
      hold(in, count == 0 && is_zero(page, PAGE * sizeof *page), call, "an error, and events");
      return -1;
    }
    for (i = 0; i < count; i++) {
      judge_event(in, instructor, &page[i], after, call);
      if (conversation != NULL)
        hold(
          in, strcmp(page[i].conversation_id, conversation) == 0, call,
          "an event of another conversation"
        );
      after = page[i].seq;
    }
    read += count;
    if (read + PAGE > DAMAGE_EVENTS + PAGE) break;
  }
  return read;
}

static int is_first_part(const use *in, int instructor) {
  int32_t count = in->event_count[instructor], i;
  if (count < 0 || count > in->truth->event_count[instructor]) return 0;
  for (i = 0; i < count; i++)
    if (!same_event(&in->events[instructor][i], &in->truth->events[instructor][i])) return 0;
  return 1;
}

static void judge_verified(use *in, int instructor, int rc, const custmem_report *report) {
  if (rc != CUSTMEM_OK) {
    if (rc == CUSTMEM_BROKEN)
      hold(in, report->fault != CUSTMEM_FAULT_NONE, "verify", "broken, and no fault");
    return;
  }
  /* What cannot be read page by page, by seeking, is not compared: that was an error. */
  if (in->event_count[instructor] < 0) return;
  if (!is_first_part(in, instructor)) {
    broken(in, "verify: a chain is sound that was never written");
    return;
  }
  in->is_sound[instructor] = 1;
}

static void use_audit(use *in, int instructor) {
  custmem_report report;
  custmem_head head;
  const custmem_head *anchor = &in->truth->heads[instructor];
  const char *id = in->truth->instructor_ids[instructor];
  int rc, anchored;
  in->event_count[instructor] = read_events(in, instructor, NULL, in->events[instructor]);
  rc = code(in, "audit_head", custmem_audit_head(in->store, id, &head), READS);
  if (rc != CUSTMEM_OK)
    hold(in, is_zero(&head, sizeof head), "audit_head", "an error, and a head");
  rc = code(in, "verify", custmem_audit_verify(in->store, id, NULL, &report), VERIFIES);
  judge_verified(in, instructor, rc, &report);
  anchored = code(in, "verify", custmem_audit_verify(in->store, id, anchor, &report), VERIFIES);
  in->report->verified &= rc == CUSTMEM_OK;
  in->report->anchored &= anchored == CUSTMEM_OK;
  if (rc != CUSTMEM_OK) {
    if (anchored == CUSTMEM_OK && rc == CUSTMEM_BROKEN)
      broken(in, "verify: %s, and OK with an anchor", custmem_code_name(rc));
    return;
  }
  if (report.events < in->truth->event_count[instructor]) {
    in->report->shortened = 1;
    hold(in, anchored == CUSTMEM_ANCHOR, "verify", "events are gone, and the anchor is silent");
    hold(in, report.fault == CUSTMEM_FAULT_ANCHOR_BEYOND, "verify", "not the anchor's fault");
  } else {
    hold(in, anchored == CUSTMEM_OK, "verify", "all is there, and the anchor says otherwise");
  }
}

/* Of a sound store: its end is that of the events that were read. */
static void judge_head(use *in, int instructor) {
  custmem_head head;
  int rc = custmem_audit_head(in->store, in->truth->instructor_ids[instructor], &head);
  hold(
    in, rc == CUSTMEM_OK && head.count == in->event_count[instructor], "audit_head",
    "not the end of a sound chain"
  );
}

/* Who the conversation is linked to by the events that were read, "" for nobody. */
static const char *folded(const use *in, int instructor, const char *conversation) {
  const char *customer = "";
  int32_t i;
  for (i = 0; i < in->event_count[instructor]; i++)
    if (strcmp(in->events[instructor][i].conversation_id, conversation) == 0)
      customer = in->events[instructor][i].new_customer_id;
  return customer;
}

/* Of a sound chain: history and link of one conversation are what its events say. */
static void judge_conversation(use *in, int instructor, const char *conversation) {
  static custmem_event history[DAMAGE_EVENTS + PAGE];
  const char *id = in->truth->instructor_ids[instructor];
  const char *customer = folded(in, instructor, conversation);
  custmem_resolution found;
  int32_t count = read_events(in, instructor, conversation, history), i, at = 0;
  int rc;
  if (!in->is_sound[instructor]) return;
  for (i = 0; in->report->checked && count >= 0 && i < in->event_count[instructor]; i++) {
    const custmem_event *event = &in->events[instructor][i];
    if (strcmp(event->conversation_id, conversation) != 0) continue;
    hold(
      in, at < count && same_event(event, &history[at]), "history",
      "not the events of the trail"
    );
    at++;
  }
  hold(
    in, !in->report->checked || count < 0 || at == count, "history",
    "more events than the trail"
  );
  rc = custmem_resolve(in->store, id, conversation, NULL, NULL, 0, &found);
  if (rc != CUSTMEM_OK) return;
  /* In a table that is out of order a look misses what a walk finds: nobody is given then, and check
  ** says that the file is damaged. */
  if (found.outcome != CUSTMEM_LINKED && !in->report->checked) return;
  if (strcmp(found.outcome == CUSTMEM_LINKED ? found.customer_id : "", customer) != 0)
    broken(
      in, "resolve: %s is linked to \"%s\", and by its sound events to \"%s\"", conversation,
      found.customer_id, customer
    );
}

/* ---- Conversations of a customer ----------------------------------------------------------- */

static void use_conversations(use *in, int instructor, const custmem_customer *asked) {
  custmem_conversation page[DAMAGE_CONVERSATIONS + 1];
  const char *id = in->truth->instructor_ids[instructor];
  int32_t count, i;
  int linked = 0, rc;
  rc = code(
    in, "conversations",
    custmem_conversations(
      in->store, id, asked->id, NULL, page, DAMAGE_CONVERSATIONS + 1, &count
    ),
    GETS
  );
  if (rc != CUSTMEM_OK) {
    hold(in, count == 0 && is_zero(page, sizeof page), "conversations", "an error, and rows");
    return;
  }
  given(in, instructor, asked->id, "conversations");
  for (i = 0; i < count; i++) {
    hold(
      in, ends(page[i].conversation_id, sizeof page[i].conversation_id), "conversations",
      "a text does not end"
    );
    hold(
      in, strcmp(page[i].customer_id, asked->id) == 0, "conversations", "another customer's"
    );
  }
  if (!in->report->checked || !in->is_sound[instructor]) return;
  for (i = 0; i < in->truth->conversation_count; i++)
    linked += strcmp(folded(in, instructor, in->truth->conversations[i]), asked->id) == 0;
  hold(in, count == linked, "conversations", "not as many as the events say");
}

/* ---- Writes -------------------------------------------------------------------------------- */

/* What a write could change, as far as it can be read. */
typedef struct seen {
  int resolved;
  custmem_resolution link;
  int headed;
  custmem_head head;
} seen;

static seen look(use *in, int instructor, const char *conversation) {
  const char *id = in->truth->instructor_ids[instructor];
  seen now;
  memset(&now, 0, sizeof now);
  now.resolved = custmem_resolve(in->store, id, conversation, NULL, NULL, 0, &now.link);
  now.headed = custmem_audit_head(in->store, id, &now.head);
  return now;
}

/* SQLite looks at the cells of a page only when it first reads it: what was an error may be an answer
** later, and the other way round where the page was dropped. Two answers must be equal. */
static int changed_between(const seen *before, const seen *after) {
  int links = before->resolved == CUSTMEM_OK && after->resolved == CUSTMEM_OK;
  int heads = before->headed == CUSTMEM_OK && after->headed == CUSTMEM_OK;
  return (links && !same_resolution(&before->link, &after->link)) ||
         (heads && !same_head(&before->head, &after->head));
}

static void judge_write(
  use *in,
  int instructor,
  const char *conversation,
  const char *next,
  const char *call,
  int rc,
  const seen *before,
  const custmem_written *written
) {
  seen after = look(in, instructor, conversation);
  given(in, instructor, written->current_customer_id, call);
  hold(
    in, !(in->how & WHOLE_API_READ_ONLY) || rc != CUSTMEM_OK, call, "a read-only store wrote"
  );
  if (rc != CUSTMEM_OK) {
    if (changed_between(before, &after))
      broken(
        in, "%s: %s; before %s %s %d, after %s %s %d", call, custmem_code_name(rc),
        custmem_code_name(before->resolved), before->link.customer_id, (int)before->head.count,
        custmem_code_name(after.resolved), after.link.customer_id, (int)after.head.count
      );
    hold(
      in, written->seq == 0 && is_zero(&written->head, sizeof written->head), call,
      "an error, and an event"
    );
    return;
  }
  if (!in->report->checked) return;
  hold(
    in,
    after.headed == CUSTMEM_OK && after.head.count == before->head.count + 1 &&
      same_head(&after.head, &written->head),
    call, "OK, and the chain is not one longer"
  );
  hold(
    in, strcmp(after.link.outcome == CUSTMEM_LINKED ? after.link.customer_id : "", next) == 0,
    call, "OK, and the conversation is not linked so"
  );
}

static void use_links(use *in, int instructor, const char *conversation) {
  const known *truth = in->truth;
  custmem_actor actor = test_human(truth->instructor_ids[instructor]);
  const custmem_customer *one =
    &truth->customers[instructor * truth->customer_count / truth->instructors];
  const char *current,
    *foreign =
      truth
        ->customers
          [(one - truth->customers + truth->customer_count / 2) % truth->customer_count]
        .id;
  custmem_written written;
  seen before = look(in, instructor, conversation);
  int rc = code(
    in, "link",
    custmem_link(in->store, &actor, conversation, one->id, "why", -1, NULL, 0, &written), LINKS
  );
  judge_write(in, instructor, conversation, one->id, "link", rc, &before, &written);
  before = look(in, instructor, conversation);
  current = before.link.customer_id[0] != '\0' ? before.link.customer_id : one->id;
  rc = code(
    in, "relink",
    custmem_relink(
      in->store, &actor, conversation, current, one[1].id, "why", -1, "context", -1, &written
    ),
    RELINKS
  );
  judge_write(in, instructor, conversation, one[1].id, "relink", rc, &before, &written);
  before = look(in, instructor, conversation);
  current = before.link.customer_id[0] != '\0' ? before.link.customer_id : one->id;
  rc = code(
    in, "relink",
    custmem_relink(
      in->store, &actor, conversation, current, foreign, "why", -1, NULL, 0, &written
    ),
    RELINKS
  );
  judge_write(in, instructor, conversation, foreign, "relink", rc, &before, &written);
  before = look(in, instructor, conversation);
  current = before.link.customer_id[0] != '\0' ? before.link.customer_id : one->id;
  rc = code(
    in, "unlink",
    custmem_unlink(in->store, &actor, conversation, current, "why", -1, NULL, 0, &written),
    UNLINKS
  );
  judge_write(in, instructor, conversation, "", "unlink", rc, &before, &written);
}

static void use_create(use *in, int instructor, const char *phone) {
  custmem_actor actor = test_human(in->truth->instructor_ids[instructor]);
  custmem_customer row, shown;
  int32_t created;
  int rc = code(
    in, "create",
    custmem_customer_create(
      in->store, &actor, "whatsapp", phone, -1, "made", -1, &row, &created
    ),
    WRITES
  );
  if (rc != CUSTMEM_OK) {
    hold(in, created == 0 && is_zero(&row, sizeof row), "create", "an error, and a customer");
    return;
  }
  if (created && in->made_count < MADE) {
    in->made_by[in->made_count] = instructor;
    strcpy(in->made[in->made_count++], row.id);
  }
  given_row(in, instructor, &row, "create");
  hold(in, strcmp(row.normalized_identifier, phone) == 0, "create", "another key than asked");
  rc = code(
    in, "set_display",
    custmem_customer_set_display(in->store, &actor, row.id, "shown", -1, &shown), DISPLAYS
  );
  if (rc == CUSTMEM_OK) given_row(in, instructor, &shown, "set_display");
  if (rc != CUSTMEM_OK)
    hold(in, is_zero(&shown, sizeof shown), "set_display", "an error, and a customer");
}

static void use_writes(use *in) {
  const known *truth = in->truth;
  custmem_report report;
  int instructor, was_sound = in->report->checked, rc;
  for (instructor = 0; instructor < truth->instructors; instructor++) {
    int own = instructor * truth->conversation_count / truth->instructors;
    use_create(in, instructor, truth->customers[instructor * 2 + 1].normalized_identifier);
    use_create(in, instructor, "4915112345678");
    use_links(in, instructor, truth->conversations[own]);
    use_links(in, instructor, truth->conversations[(own + 9) % truth->conversation_count]);
  }
  if (!was_sound) return;
  rc = code(in, "check", custmem_check(in->store, &report), CHECKS);
  hold(
    in, rc == CUSTMEM_OK || (in->how & WHOLE_API_HURT_OPEN), "check",
    "a sound store is not sound after writes"
  );
}

/* ---- Files --------------------------------------------------------------------------------- */

#define NAME_SIZE 600

static void name_file(char *name, const char *directory, const char *file) {
  snprintf(name, NAME_SIZE, "%s/%s", directory, file);
}

/* An empty real file; custmem looks for it before SQLite sees the one in memory. */
static void touch(const char *name) {
  int file = open(name, O_CREAT | O_WRONLY, 0600);
  if (file < 0) return;
  if (write(file, "x", 1) != 1) perror(name);
  close(file);
}

/* A name for each way that an image can lie, so that no real file is made twice. */
static void put_image(const char *directory, const image *bytes, char *path) {
  static char made_for[NAME_SIZE] = "";
  char wal[NAME_SIZE + 8];
  if (strcmp(made_for, directory) != 0) {
    static const char *const files[] = {"alone.db", "with.db", "with.db-wal"};
    size_t i;
    for (i = 0; i < COUNT_OF(files); i++) {
      name_file(path, directory, files[i]);
      touch(path);
    }
    snprintf(made_for, sizeof made_for, "%s", directory);
  }
  name_file(path, directory, bytes->has_wal ? "with.db" : "alone.db");
  snprintf(wal, sizeof wal, "%s-wal", path);
  memory_vfs_delete(wal);
  memory_vfs_put(path, bytes->db, bytes->db_size);
  if (bytes->has_wal) memory_vfs_put(wal, bytes->wal, bytes->wal_size);
}

void whole_api_clean(const char *directory) {
  static const char *const files[] = {"alone.db", "with.db", "with.db-wal", "copy.db"};
  char name[NAME_SIZE];
  size_t i;
  for (i = 0; i < COUNT_OF(files); i++) {
    name_file(name, directory, files[i]);
    unlink(name);
  }
}

/* Whether file and -wal hold, byte for byte, what was put there; an empty -wal is none. */
static int is_as_it_was(const char *path, const image *bytes) {
  char wal[NAME_SIZE + 8];
  size_t size;
  const unsigned char *now = memory_vfs_get(path, &size);
  if (size != bytes->db_size || (size > 0 && memcmp(now, bytes->db, size) != 0)) return 0;
  snprintf(wal, sizeof wal, "%s-wal", path);
  now = memory_vfs_get(wal, &size);
  return size == bytes->wal_size && (size == 0 || memcmp(now, bytes->wal, size) == 0);
}

/* Other times and ids than those of the bases, so that no customer made here has the id of one there. */
static struct {
  int64_t clock_ms;
  uint64_t seed;
} sources;

static int64_t clock_now(void *ctx) {
  (void)ctx;
  return sources.clock_ms += 1000;
}

static int seeded_bytes(uint8_t *bytes, size_t size, void *ctx) {
  size_t i;
  (void)ctx;
  for (i = 0; i < size; i++)
    bytes[i] = (uint8_t)test_random(&sources.seed);
  return 0;
}

static int open_path(use *in, const char *path, unsigned how) {
  custmem_options options;
  char message[64];
  custmem_options_init(&options);
  options.now_ms = clock_now;
  options.random = seeded_bytes;
  options.read_only = (how & WHOLE_API_READ_ONLY) != 0;
  options.exclusive = !options.read_only && (how & WHOLE_API_EXCLUSIVE) != 0;
  options.message = message;
  options.message_size = sizeof message;
  return custmem_open(path, &options, &in->store);
}

/* A copy that was written is whole in itself. */
static void use_backup(use *in, const char *directory) {
  char name[NAME_SIZE];
  custmem *original = in->store;
  custmem_report report;
  int rc;
  name_file(name, directory, "copy.db");
  unlink(name);
  memory_vfs_delete(name);
  rc = code(in, "backup", custmem_backup(in->store, name), BACKUPS);
  if (rc != CUSTMEM_OK) {
    hold(in, access(name, F_OK) != 0, "backup", "an error, and a file");
  } else if (in->report->checked) {
    rc = open_path(in, name, WHOLE_API_READ_ONLY);
    hold(in, rc == CUSTMEM_OK, "backup", "the copy of a sound store does not open");
    if (rc == CUSTMEM_OK) {
      hold(
        in, custmem_check(in->store, &report) == CUSTMEM_OK, "backup",
        "the copy of a sound store is not sound"
      );
      custmem_close(in->store);
    }
    in->store = original;
  }
  unlink(name);
  memory_vfs_delete(name);
}

/* ---- All of it ----------------------------------------------------------------------------- */

static void use_reads(use *in) {
  const known *truth = in->truth;
  custmem_info info;
  custmem_report report;
  int i, j, rc;
  code(in, "store_info", custmem_store_info(in->store, &info), READS);
  for (i = 0; i < truth->instructors; i++)
    use_audit(in, i);
  rc = code(in, "check", custmem_check(in->store, &report), CHECKS);
  in->report->checked = rc == CUSTMEM_OK;
  if (rc == CUSTMEM_BROKEN)
    hold(
      in, report.fault != CUSTMEM_FAULT_NONE && report.detail[0] != '\0', "check",
      "broken, and no fault"
    );
  hold(in, rc != CUSTMEM_OK || in->report->verified, "check", "sound, and a chain is not");
  for (i = 0; i < truth->instructors; i++) {
    if (in->report->checked) judge_head(in, i);
    use_resolve(in, i);
    use_list(in, i);
    for (j = 0; j < truth->conversation_count; j++)
      if (is_asked(in, i, truth->conversation_owner[j], j))
        judge_conversation(in, i, truth->conversations[j]);
    for (j = 0; j < truth->customer_count; j++) {
      if (!is_asked(in, i, j * truth->instructors / truth->customer_count, j)) continue;
      use_customer(in, i, &truth->customers[j]);
      use_conversations(in, i, &truth->customers[j]);
    }
  }
}

static void reopen(use *in, const char *path) {
  custmem_report report;
  int rc = open_path(in, path, in->how & WHOLE_API_EXCLUSIVE);
  hold(in, rc == CUSTMEM_OK, "open", "a sound store does not open again");
  if (rc != CUSTMEM_OK) return;
  rc = code(in, "check", custmem_check(in->store, &report), CHECKS);
  hold(in, rc == CUSTMEM_OK, "check", "a sound store is not sound when it is opened again");
  custmem_close(in->store);
}

static void use_open_store(use *in, const char *directory, const char *path) {
  in->report->opened = in->report->verified = in->report->anchored = 1;
  if (in->how & WHOLE_API_HURT_OPEN) {
    size_t size;
    unsigned char *db = memory_vfs_get(path, &size);
    memcpy(db, in->bytes->db, size < in->bytes->db_size ? size : in->bytes->db_size);
  }
  use_reads(in);
  if (in->how & WHOLE_API_BACKUP) use_backup(in, directory);
  if (in->how & (WHOLE_API_WRITES | WHOLE_API_READ_ONLY)) use_writes(in);
  hold(in, custmem_close(in->store) == CUSTMEM_OK, "close", "not OK");
  if ((in->how & WHOLE_API_REOPEN) && in->report->checked && in->report->broken[0] == '\0' && !(in->how & (WHOLE_API_HURT_OPEN | WHOLE_API_READ_ONLY)))
    reopen(in, path);
}

void whole_api_use(
  const char *directory,
  const image *whole,
  const image *hurt,
  const known *truth,
  unsigned how,
  whole_api_report *report
) {
  static use in;
  char path[NAME_SIZE];
  int64_t memory = sqlite3_memory_used();
  memset(&in, 0, sizeof in);
  memset(report, 0, sizeof *report);
  in.truth = truth;
  in.bytes = hurt;
  in.how = how;
  in.report = report;
  put_image(directory, how & WHOLE_API_HURT_OPEN ? whole : hurt, path);
  sources.clock_ms = INT64_C(1760000000000);
  sources.seed = 2;
  report->code = code(&in, "open", open_path(&in, path, how), OPENS);
  if (report->code == CUSTMEM_OK) {
    use_open_store(&in, directory, path);
  } else {
    hold(&in, in.store == NULL, "open", "an error, and a store");
    if (report->code >= CUSTMEM_NO_PATH && report->code <= CUSTMEM_OLD_SQLITE)
      hold(&in, is_as_it_was(path, hurt), "open", "refused, and the file is not as it was");
  }
  if ((how & WHOLE_API_READ_ONLY) && !(how & WHOLE_API_HURT_OPEN))
    hold(&in, is_as_it_was(path, hurt), "a reader", "changed the file");
  hold(&in, sqlite3_memory_used() == memory, "close", "memory is left");
  hold(&in, memory_vfs_open_files() == 0, "close", "a file is left open");
}
