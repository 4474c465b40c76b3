/* SPDX-License-Identifier: MIT
**
** The floor: what somebody who knows SQLite well would write by hand for one program, on the same
** tables. Prepared statements, static bindings that are left bound, covering indexes, one
** transaction where one will do; identifiers come normalized, and nothing is validated, explained,
** chained or proved.
**
** There are two. "SQLite by hand" does the look-ups that custmem's rules ask for: a link is joined with
** the customer that it names, and whatever an index or a primary key found is compared with the row
** itself, so that a damaged file hands out no customer of another instructor ("+" makes SQLite compare,
** where it would believe the index). "SQLite by hand, trusting" takes the link's and the index's word
** for it, and for links has foreign keys switched off: what a host would have that checks nothing twice.
*/
#include "bench.h"

#include <stdlib.h>
#include <string.h>

typedef struct floor {
  sqlite3 *db;
  sqlite3_stmt *begin, *begin_immediate, *commit;
  sqlite3_stmt *either;
  sqlite3_stmt *next_seq, *insert_event, *put_link;
} floor;

#define RESOLVE_TRUSTING                                                                       \
  "SELECT customer_id, 1 FROM conversation_links WHERE conversation_id = ?2"                   \
  " AND instructor_id = ?1 AND customer_id IS NOT NULL"                                        \
  " UNION ALL SELECT id, 2 FROM customers WHERE normalized_identifier = ?4 AND channel = ?3"   \
  " AND instructor_id = ?1 LIMIT 1"

static void step_done(floor *self, sqlite3_stmt *stmt) {
  if (sqlite3_step(stmt) != SQLITE_DONE) give_up("%s", sqlite3_errmsg(self->db));
  sqlite3_reset(stmt);
}

static floor *prepare_floor(sqlite3 *db, int trusting) {
  floor *self = malloc(sizeof *self);
  if (self == NULL) give_up("no memory");
  self->db = db;
  self->begin = prepare_sql(db, "BEGIN");
  self->begin_immediate = prepare_sql(db, "BEGIN IMMEDIATE");
  self->commit = prepare_sql(db, "COMMIT");
  self->either = prepare_sql(db, trusting ? RESOLVE_TRUSTING : RESOLVE_BY_HAND);
  self->next_seq = prepare_sql(
    db, "SELECT 1 + coalesce(max(seq), 0) FROM audit_events WHERE instructor_id = ?1"
  );
  self->insert_event = prepare_sql(
    db, "INSERT INTO audit_events (instructor_id, seq, event_name, conversation_id,"
        " new_customer_id, actor_type, actor_id, reason, created_at, hash)"
        " VALUES (?1, ?2, 'conversation.customer_linked', ?3, ?4, 'human', ?5, ?6, ?7,"
        " x'00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff')"
  );
  self->put_link = prepare_sql(
    db, "INSERT INTO conversation_links (instructor_id, audit_seq, conversation_id,"
        " customer_id, updated_at) VALUES (?1, ?2, ?3, ?4, ?7)"
        " ON CONFLICT (conversation_id) DO UPDATE SET customer_id = excluded.customer_id,"
        " audit_seq = excluded.audit_seq, updated_at = excluded.updated_at"
  );
  return self;
}

static sqlite3 *open_db(const char *path) {
  sqlite3 *db;
  if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) != SQLITE_OK)
    give_up("%s: %s", path, sqlite3_errmsg(db));
  return db;
}

static void *open_floor(const data_set *set, enum access access, int trusting) {
  sqlite3 *db = open_db(set->path[0] != '\0' ? set->path : ":memory:");
  if (access == EXCLUSIVE) run_sql(db, "PRAGMA locking_mode = EXCLUSIVE");
  run_sql(db, "PRAGMA synchronous = FULL; PRAGMA mmap_size = 0");
  if (set->path[0] == '\0') run_sql(db, schema_text());
  if (access == WRITER) drop_link_triggers(db);
  if (set->path[0] == '\0') insert_customers(db, set);
  if (trusting) run_sql(db, "PRAGMA foreign_keys = OFF");
  return prepare_floor(db, trusting);
}

static void *open_contender(const data_set *set, enum access access) {
  return open_floor(set, access, 0);
}

static void *open_trusting(const data_set *set, enum access access) {
  return open_floor(set, access, 1);
}

static void close_contender(void *handle) {
  floor *self = handle;
  sqlite3_stmt *stmt;
  while ((stmt = sqlite3_next_stmt(self->db, NULL)) != NULL)
    sqlite3_finalize(stmt);
  EXPECT(sqlite3_close(self->db) == SQLITE_OK);
  free(self);
}

static void bind(sqlite3_stmt *stmt, int parameter, const char *text, int size) {
  sqlite3_bind_text(stmt, parameter, text, size, SQLITE_STATIC);
}

/* Asks, copies the customer's id out, and readies the statement for its next use. */
static void check_either(floor *self, const lookup *key) {
  char customer_id[ID_SIZE] = "";
  int found_by = 3, rc = sqlite3_step(self->either);
  if (rc == SQLITE_ROW) {
    const unsigned char *id = sqlite3_column_text(self->either, 0);
    EXPECT(sqlite3_column_bytes(self->either, 0) == ID_SIZE - 1);
    memcpy(customer_id, id, ID_SIZE);
    found_by = sqlite3_column_int(self->either, 1);
  } else if (rc != SQLITE_DONE) {
    give_up("%s", sqlite3_errmsg(self->db));
  }
  sqlite3_reset(self->either);
  check_answer(key, found_by, customer_id);
}

/* Both steps of a row in one statement: the second part of its UNION runs only if the first gave
** nothing. (Two statements, stepped one after the other, take as many instructions.) */
static void resolve_page(void *handle, const inbox_page *page) {
  floor *self = handle;
  int i;
  step_done(self, self->begin);
  bind(self->either, 1, page->instructor_id, page->instructor_size);
  bind(self->either, 3, CHANNEL, sizeof CHANNEL - 1);
  for (i = 0; i < PAGE_ROWS; i++) {
    const lookup *key = &page->keys[i];
    bind(self->either, 2, key->conversation_id, ID_SIZE - 1);
    bind(self->either, 4, key->identifier, key->identifier_size);
    check_either(self, key);
  }
  step_done(self, self->commit);
}

/* The statement is a read transaction of its own. */
static void resolve_one(void *handle, const inbox_page *page) {
  floor *self = handle;
  int i;
  for (i = 0; i < PAGE_ROWS; i++) {
    const lookup *key = &page->keys[i];
    bind(self->either, 1, page->instructor_id, page->instructor_size);
    bind(self->either, 2, key->conversation_id, ID_SIZE - 1);
    bind(self->either, 3, CHANNEL, sizeof CHANNEL - 1);
    bind(self->either, 4, key->identifier, key->identifier_size);
    check_either(self, key);
  }
}

static void make_links(void *handle, const link_order *orders, int count) {
  floor *self = handle;
  int i;
  for (i = 0; i < count; i++) {
    const link_order *order = &orders[i];
    int instructor_size = (int)strlen(order->instructor_id);
    int64_t seq;
    step_done(self, self->begin_immediate);
    bind(self->next_seq, 1, order->instructor_id, instructor_size);
    if (sqlite3_step(self->next_seq) != SQLITE_ROW) give_up("%s", sqlite3_errmsg(self->db));
    seq = sqlite3_column_int64(self->next_seq, 0);
    sqlite3_reset(self->next_seq);
    bind(self->insert_event, 1, order->instructor_id, instructor_size);
    sqlite3_bind_int64(self->insert_event, 2, seq);
    bind(self->insert_event, 3, order->conversation_id, ID_SIZE - 1);
    bind(self->insert_event, 4, order->customer_id, ID_SIZE - 1);
    bind(self->insert_event, 5, ACTOR_ID, sizeof ACTOR_ID - 1);
    bind(self->insert_event, 6, REASON, sizeof REASON - 1);
    sqlite3_bind_int64(self->insert_event, 7, FIRST_MS + seq);
    step_done(self, self->insert_event);
    bind(self->put_link, 1, order->instructor_id, instructor_size);
    sqlite3_bind_int64(self->put_link, 2, seq);
    bind(self->put_link, 3, order->conversation_id, ID_SIZE - 1);
    bind(self->put_link, 4, order->customer_id, ID_SIZE - 1);
    sqlite3_bind_int64(self->put_link, 7, FIRST_MS + seq);
    step_done(self, self->put_link);
    step_done(self, self->commit);
    EXPECT(sqlite3_changes(self->db) == 1);
  }
}

static void touch(const char *path) {
  sqlite3 *db = open_db(path);
  sqlite3_stmt *stmt = prepare_sql(db, "SELECT id, created_at, rules_version FROM store");
  EXPECT(sqlite3_step(stmt) == SQLITE_ROW && sqlite3_column_bytes(stmt, 0) == ID_SIZE - 1);
  sqlite3_finalize(stmt);
  EXPECT(sqlite3_close(db) == SQLITE_OK);
}

static void touch_memory(void) {
  sqlite3 *db = open_db(":memory:");
  run_sql(db, schema_text());
  EXPECT(sqlite3_close(db) == SQLITE_OK);
}

const contender sqlite_contender = {
  .name = "SQLite by hand",
  .open = open_contender,
  .close = close_contender,
  .resolve_page = resolve_page,
  .resolve_one = resolve_one,
  .link = make_links,
  .touch = touch,
  .touch_memory = touch_memory,
};

const contender trusting_contender = {
  .name = "SQLite by hand, trusting",
  .open = open_trusting,
  .close = close_contender,
  .resolve_page = resolve_page,
  .resolve_one = resolve_one,
  .link = make_links,
};
