/* SPDX-License-Identifier: MIT */

/* schema.sql on its own, as an auditor meets it: what it makes, what it lets in, and what the
** database refuses by itself on a connection that knows nothing of custmem.
**
** The attacks are tables. An attack is one statement; it is run against two stores that hold
** the same story (one told by custmem, one by SQL alone), in each of the modes below (settings,
** transactions, TEMP triggers and views, shadowing TEMP tables, ATTACH …), and what counts is
** that every row of the store is afterwards what it was. */
#define _XOPEN_SOURCE 700

#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define SQL_SIZE     16384

/* ---- schema.sql -------------------------------------------------------------------------- */

static const char *schema_text(void) {
  static char text[32768];
  char path[1024];
  const char *top = getenv("CUSTMEM_TOP");
  size_t size = 0;
  FILE *file;
  if (text[0] != '\0') return text;
  snprintf(path, sizeof path, "%s/schema.sql", top != NULL ? top : ".");
  file = fopen(path, "rb");
  if (file != NULL) {
    size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
  }
  if (size == 0 || size == sizeof text - 1) {
    printf("cannot read %s: set CUSTMEM_TOP to the directory that it is in\n", path);
    exit(1);
  }
  text[size] = '\0';
  return text;
}

/* The lines of the rollback, without their mark. */
static const char *rollback_text(void) {
  static const char mark[] = "--rollback ";
  static char text[2048];
  const char *line = schema_text();
  text[0] = '\0';
  while (line != NULL && *line != '\0') {
    const char *end = strchr(line, '\n');
    size_t size = end != NULL ? (size_t)(end - line) + 1 : strlen(line);
    if (strncmp(line, mark, sizeof mark - 1) == 0)
      strncat(text, line + sizeof mark - 1, size - (sizeof mark - 1));
    line = end != NULL ? end + 1 : NULL;
  }
  return text;
}

/* A new file with nothing but what schema.sql makes. */
static sqlite3 *plain_schema(const char *path) {
  sqlite3 *db;
  remove(path);
  db = test_plain(path);
  if (test_sql(db, schema_text()) != SQLITE_OK) printf("schema.sql: %s\n", test_sql_error());
  return db;
}

/* ---- The story that both stores hold ----------------------------------------------------- */

enum { A1, A2, B1, B2, CUSTOMERS };

static const struct {
  const char *instructor, *phone, *id_of_sql;
} people[CUSTOMERS] = {
  [A1] = {"ada", "393331234567", "aaaaaaaa-0000-7000-8000-000000000001"},
  [A2] = {"ada", "393339999999", "aaaaaaaa-0000-7000-8000-000000000002"},
  [B1] = {"bob", "393331234567", "bbbbbbbb-0000-7000-8000-000000000001"},
  [B2] = {"bob", "393338888888", "bbbbbbbb-0000-7000-8000-000000000002"},
};

#define NOBODY (-1)

/* What happened, in order. Ada's events are 1 to 8 and Bob's 1 to 5. */
static const struct step {
  const char *instructor, *conversation;
  int previous, next;
} story[] = {
  {"ada", "c-linked", NOBODY, A1},   {"ada", "c-relinked", NOBODY, A1},
  {"ada", "c-relinked", A1, A2},     {"bob", "d-linked", NOBODY, B1},
  {"ada", "c-unlinked", NOBODY, A1}, {"ada", "c-unlinked", A1, NOBODY},
  {"bob", "d-relinked", NOBODY, B1}, {"bob", "d-relinked", B1, B2},
  {"ada", "c-again", NOBODY, A2},    {"ada", "c-again", A2, NOBODY},
  {"ada", "c-again", NOBODY, A1},    {"bob", "d-unlinked", NOBODY, B2},
  {"bob", "d-unlinked", B2, NOBODY},
};

struct world {
  const char *name;
  char path[256];
  char customers[CUSTOMERS][CUSTMEM_UUID_SIZE + 1];
};

static const char *quoted_customer(const struct world *world, int customer, char *text) {
  if (customer == NOBODY) return "NULL";
  snprintf(text, 48, "'%s'", world->customers[customer]);
  return text;
}

static const char *event_name(const struct step *step) {
  if (step->previous == NOBODY) return "conversation.customer_linked";
  return step->next == NOBODY ? "conversation.customer_unlinked"
                              : "conversation.customer_relinked";
}

/* The right sequence in SQL: event, then link, in one transaction. */
static int step_by_sql(sqlite3 *db, const struct world *world, const struct step *step) {
  char sql[2048], previous[48], next[48], query[128];
  long long seq;
  int rc;
  snprintf(
    query, sizeof query, "SELECT 1 + count(*) FROM audit_events WHERE instructor_id = '%s'",
    step->instructor
  );
  seq = test_sql_int(db, query);
  snprintf(
    sql, sizeof sql,
    "BEGIN IMMEDIATE;"
    "INSERT INTO audit_events VALUES ('%s', %lld, '%s', '%s', %s, %s, 'human', 'h', 'because', "
    "NULL, %lld, zeroblob(32));",
    step->instructor, seq, event_name(step), step->conversation,
    quoted_customer(world, step->previous, previous), quoted_customer(world, step->next, next),
    1000 + seq
  );
  rc = test_sql(db, sql);
  snprintf(
    query, sizeof query, "SELECT 1 FROM conversation_links WHERE conversation_id = '%s'",
    step->conversation
  );
  snprintf(
    sql, sizeof sql,
    test_sql_int(db, query) == 1
      ? "UPDATE conversation_links SET customer_id = %s, audit_seq = %lld, updated_at = %lld "
        "WHERE conversation_id = '%s'; COMMIT"
      : "INSERT INTO conversation_links (customer_id, audit_seq, updated_at, conversation_id, "
        "instructor_id) VALUES (%s, %lld, %lld, '%s', '%s'); COMMIT",
    quoted_customer(world, step->next, next), seq, 1000 + seq, step->conversation,
    step->instructor
  );
  return rc == SQLITE_OK ? test_sql(db, sql) : rc;
}

static int step_by_custmem(custmem *store, const struct world *world, const struct step *step) {
  custmem_actor actor = test_human(step->instructor);
  const char *previous = step->previous == NOBODY ? NULL : world->customers[step->previous];
  const char *next = step->next == NOBODY ? NULL : world->customers[step->next];
  if (previous == NULL)
    return custmem_link(store, &actor, step->conversation, next, "because", -1, NULL, 0, NULL);
  if (next == NULL)
    return custmem_unlink(
      store, &actor, step->conversation, previous, "because", -1, NULL, 0, NULL
    );
  return custmem_relink(
    store, &actor, step->conversation, previous, next, "because", -1, NULL, 0, NULL
  );
}

static void insert_customer(
  sqlite3 *db,
  const char *id,
  const char *instructor,
  const char *key
) {
  char sql[512];
  snprintf(
    sql, sizeof sql, "INSERT INTO customers VALUES ('%s', '%s', 'whatsapp', '%s', NULL, 1, 1)",
    id, instructor, key
  );
  CHECK_INT(test_sql(db, sql), SQLITE_OK);
}

static void make_by_sql(struct world *world) {
  sqlite3 *db = plain_schema(world->path);
  size_t i;
  for (i = 0; i < CUSTOMERS; i++) {
    strcpy(world->customers[i], people[i].id_of_sql);
    insert_customer(db, people[i].id_of_sql, people[i].instructor, people[i].phone);
  }
  for (i = 0; i < COUNT(story); i++)
    if (!CHECK_INT(step_by_sql(db, world, &story[i]), SQLITE_OK))
      printf("  step %d: %s\n", (int)i, test_sql_error());
  sqlite3_close(db);
}

static void make_by_custmem(struct world *world) {
  custmem *store;
  size_t i;
  remove(world->path);
  store = test_store(world->path);
  for (i = 0; i < CUSTOMERS; i++)
    strcpy(world->customers[i], test_customer(store, people[i].instructor, people[i].phone));
  for (i = 0; i < COUNT(story); i++)
    if (!CHECK_INT(step_by_custmem(store, world, &story[i]), CUSTMEM_OK))
      printf("  step %d: %s\n", (int)i, custmem_errmsg(store));
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

enum { WORLDS = 2 };

static const struct {
  const char *name;
  void (*make)(struct world *world);
} makers[WORLDS] = {{"made by custmem", make_by_custmem}, {"made by SQL", make_by_sql}};

/* While it is open, no attacker is the last to close, who has to checkpoint and clean up: that
** takes longer than the attack. */
static sqlite3 *keeper;

static void leave_world(void) {
  sqlite3_close(keeper);
  keeper = NULL;
}

static void make_world(struct world *world, int which) {
  leave_world();
  world->name = makers[which].name;
  snprintf(world->path, sizeof world->path, "%s", test_path(which == 0 ? "c.db" : "s.db"));
  makers[which].make(world);
  keeper = test_plain(world->path);
  CHECK_INT(test_sql_int(keeper, "SELECT count(*) FROM customers"), CUSTOMERS);
}

/* ---- How an attack is carried out -------------------------------------------------------- */

/* What the settings do not touch happens in autocommit mode, unless `begin` says otherwise.
** `frame` is what surrounds the attack, with {attack} for it; {db} is what it puts before a
** table. */
static const struct mode {
  const char *name, *settings, *begin, *frame, *db;
  int attached;
} modes[] = {
  {"defaults", "", "", "{attack}", "", 0},
  {"main.", "", "", "{attack}", "main.", 0},
  {"recursive triggers", "PRAGMA recursive_triggers = ON", "", "{attack}", "", 0},
  {"foreign keys", "PRAGMA foreign_keys = ON", "", "{attack}", "", 0},
  {"both", "PRAGMA foreign_keys = ON; PRAGMA recursive_triggers = ON", "", "{attack}", "", 0},
  {"deferred keys", "PRAGMA foreign_keys = ON", "BEGIN; PRAGMA defer_foreign_keys = ON",
   "{attack}", "", 0},
  {"no checks", "PRAGMA ignore_check_constraints = ON", "", "{attack}", "", 0},
  {"transaction", "", "BEGIN EXCLUSIVE", "SELECT 1; {attack}; SELECT 2", "", 0},
  {"savepoint", "", "SAVEPOINT s1; SAVEPOINT s2", "SAVEPOINT s3; {attack}; RELEASE s3", "", 0},
  {"WITH", "", "", "WITH unused AS (SELECT 1) {attack}", "", 0},
  {"TEMP trigger", "CREATE TEMP TABLE lever (x)", "",
   "CREATE TEMP TRIGGER pull AFTER INSERT ON lever BEGIN {attack}; END;"
   "INSERT INTO lever VALUES (1)",
   "", 0},
  {"TEMP view", "CREATE TEMP VIEW lever AS SELECT 1 AS x", "",
   "CREATE TEMP TRIGGER pull INSTEAD OF UPDATE ON lever BEGIN {attack}; END;"
   "UPDATE lever SET x = 2",
   "", 0},
  {"TEMP tables shadow",
   "CREATE TEMP TABLE store AS SELECT * FROM main.store WHERE false;"
   "CREATE TEMP TABLE customers AS SELECT * FROM main.customers;"
   "CREATE TEMP TABLE audit_events AS SELECT * FROM main.audit_events WHERE false;"
   "CREATE TEMP TABLE conversation_links AS SELECT * FROM main.conversation_links WHERE false;"
   "INSERT INTO temp.customers VALUES ('{none}', 'ada', 'whatsapp', '1', NULL, 1, 1)",
   "", "{attack}", "main.", 0},
  {"attached", "", "", "{attack}", "other.", 1},
};

/* `first` is what must succeed before it, in the same transaction (an event for a link); NULL:
** nothing. `error` is a part of the message; NULL: any result, as long as nothing changes. */
struct attack {
  const char *what, *first, *sql, *error;
};

/* The message of a CHECK or NOT NULL constraint; what begins otherwise comes from a trigger. */
#define IS_CHECK     "CHECK constraint failed"
#define IS_NOT_NULL  "NOT NULL constraint failed"
#define IS_NEXT      "custmem: an audit event takes its instructor's next seq"
#define IS_PENDING   "custmem: the audit event before this one has no link change"
#define IS_OTHERS    "custmem: the conversation belongs to another instructor"
#define IS_PREVIOUS  "custmem: previous_customer_id is not the current customer"
#define IS_OWNER     "custmem: the customer is not this instructor's"
#define IS_UNCHANGED "custmem: an audit event is never changed"
#define IS_KEPT      "custmem: an audit event is never deleted"
#define IS_REPLACED  "custmem: a link is updated, never replaced"
#define IS_NOT_SAID  "custmem: the latest audit event does not say this link change"
#define IS_MOVED     "custmem: a link keeps its conversation and its instructor"
#define IS_LINK_KEPT "custmem: a link is never deleted"
#define IS_ONCE      "custmem: a store is made once"
#define IS_STORE     "custmem: what a store is never changes"
#define IS_TEXT      "cannot store TEXT value in"
#define IS_BLOB      "cannot store BLOB value in TEXT column"
#define IS_REAL      "cannot store REAL value in INTEGER column"

/* Copies `text` with each {name} replaced. */
static void expand(
  const struct world *world,
  const char *db,
  const char *attack,
  const char *text,
  char *out
) {
  const struct {
    const char *name, *value;
  } names[] = {
    {"{db}", db},
    {"{attack}", attack},
    {"{a1}", world->customers[A1]},
    {"{a2}", world->customers[A2]},
    {"{b1}", world->customers[B1]},
    {"{b2}", world->customers[B2]},
    {"{none}", "cccccccc-0000-7000-8000-000000000009"},
  };
  size_t size = 0;
  while (*text != '\0') {
    size_t i = 0;
    while (i < COUNT(names) && strncmp(text, names[i].name, strlen(names[i].name)) != 0)
      i++;
    if (i < COUNT(names)) {
      size += (size_t)snprintf(out + size, SQL_SIZE - size, "%s", names[i].value);
      text += strlen(names[i].name);
    } else {
      out[size++] = *text++;
    }
    if (size >= SQL_SIZE - 1) {
      printf("SQL_SIZE is too small\n");
      exit(1);
    }
  }
  out[size] = '\0';
}

static sqlite3 *open_for(const struct world *world, const struct mode *mode) {
  char sql[512];
  sqlite3 *db;
  if (!mode->attached) return test_plain(world->path);
  db = test_plain(":memory:");
  snprintf(sql, sizeof sql, "ATTACH '%s' AS other", world->path);
  CHECK_INT(test_sql(db, sql), SQLITE_OK);
  return db;
}

/* What prepares the ground must succeed, or the attack would prove nothing. */
static int prepared(
  sqlite3 *db,
  const struct world *world,
  const struct mode *mode,
  const char *sql
) {
  char text[SQL_SIZE];
  expand(world, mode->db, "", sql, text);
  if (CHECK_INT(test_sql(db, text), SQLITE_OK)) return 1;
  printf("  %s: %s\n", text, test_sql_error());
  return 0;
}

/* Runs one attack in one mode: refused with the message it should have (where it should have
** one), and every row is what it was, even if the attacker then commits. */
static void attempt(
  const struct world *world,
  const struct mode *mode,
  const struct attack *attack
) {
  char inner[SQL_SIZE], whole[SQL_SIZE];
  uint64_t before = test_rows(world->path);
  sqlite3 *db = open_for(world, mode);
  int good =
    prepared(db, world, mode, mode->settings) && prepared(db, world, mode, mode->begin);
  if (good && attack->first != NULL) {
    if (sqlite3_get_autocommit(db)) good = prepared(db, world, mode, "BEGIN");
    good = good && prepared(db, world, mode, attack->first);
  }
  if (good) {
    int rc;
    expand(world, mode->db, "", attack->sql, inner);
    expand(world, mode->db, inner, mode->frame, whole);
    rc = test_sql(db, whole);
    if (attack->error != NULL) {
      good = CHECK(rc != SQLITE_OK) && CHECK_HAS(test_sql_error(), attack->error);
    }
    /* An event that stands first would be a change of its own: it is taken back. */
    if (!sqlite3_get_autocommit(db))
      test_sql(db, attack->first != NULL ? "ROLLBACK" : "COMMIT");
  }
  sqlite3_close(db);
  good = CHECK(test_rows(world->path) == before) && good;
  if (!good)
    printf("  attack \"%s\", %s, %s\n  %s\n", attack->what, mode->name, world->name, whole);
}

static int is_mode(const struct mode *mode, const char *name) {
  return strcmp(mode->name, name) == 0;
}

static int begins(const char *text, const char *with) {
  return text != NULL && strncmp(text, with, strlen(with)) == 0;
}

/* Runs one attack in every mode. With ignore_check_constraints a CHECK does not refuse: what
** that lets in is another test's. */
static void attempt_in_modes(const struct world *world, const struct attack *attack) {
  size_t i;
  for (i = 0; i < COUNT(modes); i++)
    if (!is_mode(&modes[i], "no checks") || !begins(attack->error, IS_CHECK))
      attempt(world, &modes[i], attack);
}

static void attempt_all(const struct attack *attacks, size_t count) {
  int which;
  for (which = 0; which < WORLDS; which++) {
    struct world world;
    size_t i;
    make_world(&world, which);
    for (i = 0; i < count; i++)
      attempt_in_modes(&world, &attacks[i]);
  }
}

/* ---- Inserts: a good row with something wrong in it -------------------------------------- */

/* The ways to say INSERT. The suffix is an upsert on the table's key. */
static const struct {
  const char *prefix, *event_suffix, *link_suffix;
  int ignores;
} verbs[] = {
  {"INSERT INTO", "", "", 0},
  {"INSERT OR REPLACE INTO", "", "", 0},
  {"REPLACE INTO", "", "", 0},
  {"INSERT OR IGNORE INTO", "", "", 1},
  {"INSERT OR ROLLBACK INTO", "", "", 0},
  {"INSERT OR FAIL INTO", "", "", 0},
  {"INSERT OR ABORT INTO", "", "", 0},
  {"INSERT INTO", " ON CONFLICT DO NOTHING", " ON CONFLICT DO NOTHING", 0},
  {"INSERT INTO", " ON CONFLICT (instructor_id, seq) DO UPDATE SET reason = 'forged'",
   " ON CONFLICT (conversation_id) DO UPDATE SET customer_id = excluded.customer_id,"
   " audit_seq = excluded.audit_seq, updated_at = excluded.updated_at",
   0},
};

enum {
  INSTRUCTOR,
  SEQ,
  NAME,
  CONVERSATION,
  PREVIOUS,
  NEW,
  ACTOR_TYPE,
  ACTOR_ID,
  REASON,
  CONTEXT,
  CREATED,
  HASH,
  EVENT_COLUMNS
};

#define LINKED   "'conversation.customer_linked'"
#define UNLINKED "'conversation.customer_unlinked'"
#define RELINKED "'conversation.customer_relinked'"

/* Ada's next event: a first link. */
static const char *const good_event[EVENT_COLUMNS] = {
  "'ada'",   "9",   LINKED,      "'c-new'",   "NULL", "'{a1}'",
  "'human'", "'h'", "'because'", "'context'", "77",   "zeroblob(32)"};

enum { L_CONVERSATION, L_INSTRUCTOR, L_CUSTOMER, L_SEQ, L_UPDATED, LINK_COLUMNS };

/* The link that it is followed by. */
static const char *const good_link[LINK_COLUMNS] = {"'c-new'", "'ada'", "'{a1}'", "9", "77"};

#define FIRST_LINK                                                                             \
  "INSERT INTO {db}audit_events VALUES ('ada', 9, " LINKED                                     \
  ", 'c-new', NULL, '{a1}', 'human', 'h', 'because', 'context', 77, zeroblob(32))"
#define RELINK                                                                                 \
  "INSERT INTO {db}audit_events VALUES ('ada', 9, " RELINKED                                   \
  ", 'c-linked', '{a1}', '{a2}', 'human', 'h', 'because', NULL, 77, zeroblob(32))"
#define UNLINK                                                                                 \
  "INSERT INTO {db}audit_events VALUES ('ada', 9, " UNLINKED                                   \
  ", 'c-linked', '{a1}', NULL, 'human', 'h', 'because', NULL, 77, zeroblob(32))"

struct cell {
  int column;
  const char *value;
};

struct wrong {
  const char *what, *error;
  struct cell cells[4]; /* ends where value is NULL */
};

static void row_values(
  const char *const *good,
  int columns,
  const struct cell *cells,
  char *values
) {
  size_t size = 0;
  int column, i;
  for (column = 0; column < columns; column++) {
    const char *value = good[column];
    for (i = 0; i < 4 && cells[i].value != NULL; i++)
      if (cells[i].column == column) value = cells[i].value;
    size +=
      (size_t)snprintf(values + size, SQL_SIZE - size, "%s%s", column == 0 ? "" : ", ", value);
  }
}

static void attempt_insert(
  const struct world *world,
  const struct wrong *wrong,
  const char *first,
  int is_event
) {
  static char values[SQL_SIZE], sql[SQL_SIZE + 512];
  size_t i;
  row_values(
    is_event ? good_event : good_link, is_event ? EVENT_COLUMNS : LINK_COLUMNS, wrong->cells,
    values
  );
  for (i = 0; i < COUNT(verbs); i++) {
    struct attack attack;
    int is_silent =
      verbs[i].ignores && (begins(wrong->error, IS_CHECK) || begins(wrong->error, IS_NOT_NULL));
    snprintf(
      sql, sizeof sql, "%s {db}%s VALUES (%s)%s", verbs[i].prefix,
      is_event ? "audit_events" : "conversation_links", values,
      is_event ? verbs[i].event_suffix : verbs[i].link_suffix
    );
    attack.what = wrong->what;
    attack.first = first;
    attack.sql = sql;
    attack.error = is_silent ? NULL : wrong->error;
    /* Every way of saying it on the defaults; every mode for the one that replaces. */
    if (i == 1 && (is_event || first != NULL))
      attempt_in_modes(world, &attack);
    else
      attempt(world, &modes[0], &attack);
  }
}

/* Texts of so many bytes; and of so many euro signs, which have three bytes each. */
#define LONG(bytes) "printf('%.*c', " #bytes ", 'x')"
#define EUROS(n)    "replace(printf('%.*c', " #n ", 'x'), 'x', '€')"

static const struct wrong wrong_events[] = {
  {"seq 0", IS_NEXT, {{SEQ, "0"}}},
  {"seq negative", IS_NEXT, {{SEQ, "-1"}}},
  {"a gap", IS_NEXT, {{SEQ, "10"}}},
  {"the first again", IS_NEXT, {{SEQ, "1"}}},
  {"the last again", IS_NEXT, {{SEQ, "8"}}},
  {"the largest seq", IS_NEXT, {{SEQ, "9223372036854775807"}}},
  {"seq NULL", IS_NEXT, {{SEQ, "NULL"}}},
  {"seq text", IS_TEXT, {{SEQ, "'nine'"}}},
  {"seq real", IS_REAL, {{SEQ, "9.5"}}},
  {"seq BLOB", "cannot store BLOB value in INTEGER column", {{SEQ, "x'39'"}}},
  {"another's seq", IS_NEXT, {{INSTRUCTOR, "'bob'"}, {NEW, "'{b1}'"}}},
  {"a new instructor not from 1", IS_NEXT, {{INSTRUCTOR, "'cai'"}}},
  {"a new instructor from 0", IS_NEXT, {{INSTRUCTOR, "'cai'"}, {SEQ, "0"}}},
  {"instructor NULL", IS_NEXT, {{INSTRUCTOR, "NULL"}}},
  {"previous where there is none", IS_PREVIOUS, {{NAME, RELINKED}, {PREVIOUS, "'{a2}'"}}},
  {"unlink where there is none",
   IS_PREVIOUS,
   {{NAME, UNLINKED}, {PREVIOUS, "'{a1}'"}, {NEW, "NULL"}}},
  {"silent overwrite", IS_PREVIOUS, {{CONVERSATION, "'c-linked'"}, {NEW, "'{a2}'"}}},
  {"silent overwrite with the same", IS_PREVIOUS, {{CONVERSATION, "'c-linked'"}}},
  {"relink from another than the current",
   IS_PREVIOUS,
   {{NAME, RELINKED}, {CONVERSATION, "'c-linked'"}, {PREVIOUS, "'{a2}'"}}},
  {"relink from the one before the current",
   IS_PREVIOUS,
   {{NAME, RELINKED}, {CONVERSATION, "'c-relinked'"}, {PREVIOUS, "'{a1}'"}, {NEW, "'{a2}'"}}},
  {"relink from the one before the unlink",
   IS_PREVIOUS,
   {{NAME, RELINKED}, {CONVERSATION, "'c-unlinked'"}, {PREVIOUS, "'{a1}'"}, {NEW, "'{a2}'"}}},
  {"unlink another than the current",
   IS_PREVIOUS,
   {{NAME, UNLINKED}, {CONVERSATION, "'c-linked'"}, {PREVIOUS, "'{a2}'"}, {NEW, "NULL"}}},
  {"unlink twice",
   IS_PREVIOUS,
   {{NAME, UNLINKED}, {CONVERSATION, "'c-unlinked'"}, {PREVIOUS, "'{a1}'"}, {NEW, "NULL"}}},
  {"another's customer", IS_OWNER, {{NEW, "'{b1}'"}}},
  {"nobody's customer", IS_OWNER, {{NEW, "'{none}'"}}},
  {"relink to another's customer",
   IS_OWNER,
   {{NAME, RELINKED}, {CONVERSATION, "'c-linked'"}, {PREVIOUS, "'{a1}'"}, {NEW, "'{b1}'"}}},
  {"a new instructor's event with another's customer",
   IS_OWNER,
   {{INSTRUCTOR, "'cai'"}, {SEQ, "1"}}},
  {"another's conversation", IS_OTHERS, {{CONVERSATION, "'d-linked'"}}},
  {"another's conversation, though unlinked", IS_OTHERS, {{CONVERSATION, "'d-unlinked'"}}},
  {"another's conversation, named truly",
   IS_OTHERS,
   {{NAME, UNLINKED}, {CONVERSATION, "'d-linked'"}, {PREVIOUS, "'{b1}'"}, {NEW, "NULL"}}},
  {"the name of an unlink", IS_CHECK, {{NAME, UNLINKED}}},
  {"the name of a relink", IS_CHECK, {{NAME, RELINKED}}},
  {"another name", IS_CHECK, {{NAME, "'conversation.customer_resolved'"}}},
  {"a name in capitals", IS_CHECK, {{NAME, "upper(" LINKED ")"}}},
  {"no name", IS_CHECK, {{NAME, "''"}}},
  {"a link's name for a relink",
   IS_CHECK,
   {{CONVERSATION, "'c-linked'"}, {PREVIOUS, "'{a1}'"}, {NEW, "'{a2}'"}}},
  {"an unlink's name for a relink",
   IS_CHECK,
   {{NAME, UNLINKED}, {CONVERSATION, "'c-linked'"}, {PREVIOUS, "'{a1}'"}, {NEW, "'{a2}'"}}},
  {"a relink's name for an unlink",
   IS_CHECK,
   {{NAME, RELINKED}, {CONVERSATION, "'c-linked'"}, {PREVIOUS, "'{a1}'"}, {NEW, "NULL"}}},
  {"relink to the same",
   IS_CHECK,
   {{NAME, RELINKED}, {CONVERSATION, "'c-linked'"}, {PREVIOUS, "'{a1}'"}}},
  {"nobody after nobody", IS_CHECK, {{NEW, "NULL"}}},
  {"unlink of the unlinked",
   IS_CHECK,
   {{NAME, UNLINKED}, {CONVERSATION, "'c-unlinked'"}, {NEW, "NULL"}}},
  {"name NULL", IS_NOT_NULL, {{NAME, "NULL"}}},
  {"conversation NULL", IS_NOT_NULL, {{CONVERSATION, "NULL"}}},
  {"a human without an id", IS_CHECK, {{ACTOR_ID, "NULL"}}},
  {"actor id empty", IS_CHECK, {{ACTOR_ID, "''"}}},
  {"another actor type", IS_CHECK, {{ACTOR_TYPE, "'robot'"}}},
  {"actor type in capitals", IS_CHECK, {{ACTOR_TYPE, "'HUMAN'"}}},
  {"actor type empty", IS_CHECK, {{ACTOR_TYPE, "''"}}},
  {"actor type NULL", IS_NOT_NULL, {{ACTOR_TYPE, "NULL"}}},
  {"reason NULL", IS_NOT_NULL, {{REASON, "NULL"}}},
  {"reason empty", IS_CHECK, {{REASON, "''"}}},
  {"conversation empty", IS_CHECK, {{CONVERSATION, "''"}}},
  {"context empty", IS_CHECK, {{CONTEXT, "''"}}},
  {"actor id too long", IS_CHECK, {{ACTOR_ID, LONG(65)}}},
  {"conversation too long", IS_CHECK, {{CONVERSATION, LONG(65)}}},
  {"conversation too long in bytes", IS_CHECK, {{CONVERSATION, EUROS(22)}}},
  {"reason too long", IS_CHECK, {{REASON, LONG(501)}}},
  {"reason too long in bytes", IS_CHECK, {{REASON, EUROS(167)}}},
  {"context too long", IS_CHECK, {{CONTEXT, LONG(2001)}}},
  {"instructor too long", IS_OWNER, {{INSTRUCTOR, LONG(65)}, {SEQ, "1"}}},
  {"created NULL", IS_NOT_NULL, {{CREATED, "NULL"}}},
  {"created text", IS_TEXT, {{CREATED, "'today'"}}},
  {"hash NULL", IS_NOT_NULL, {{HASH, "NULL"}}},
  {"hash too short", IS_CHECK, {{HASH, "zeroblob(31)"}}},
  {"hash too long", IS_CHECK, {{HASH, "zeroblob(33)"}}},
  {"hash empty", IS_CHECK, {{HASH, "x''"}}},
  {"hash as text", IS_TEXT, {{HASH, "'12345678901234567890123456789012'"}}},
  {"instructor BLOB", IS_BLOB, {{INSTRUCTOR, "x'616461'"}}},
  {"name BLOB", IS_BLOB, {{NAME, "CAST(" LINKED " AS BLOB)"}}},
  {"conversation BLOB", IS_BLOB, {{CONVERSATION, "x'63'"}}},
  {"customer BLOB", IS_BLOB, {{NEW, "CAST('{a1}' AS BLOB)"}}},
  {"actor type BLOB", IS_BLOB, {{ACTOR_TYPE, "CAST('human' AS BLOB)"}}},
  {"actor id BLOB", IS_BLOB, {{ACTOR_ID, "x'68'"}}},
  {"reason BLOB", IS_BLOB, {{REASON, "x'68'"}}},
  {"context BLOB", IS_BLOB, {{CONTEXT, "x'68'"}}},
};

TEST(wrong_events_are_refused) {
  int which;
  for (which = 0; which < WORLDS; which++) {
    struct world world;
    size_t i;
    make_world(&world, which);
    for (i = 0; i < COUNT(wrong_events); i++)
      attempt_insert(&world, &wrong_events[i], NULL, 1);
  }
}

static const struct wrong wrong_links[] = {
  {"another conversation than the event's", IS_NOT_SAID, {{L_CONVERSATION, "'c-other'"}}},
  {"conversation NULL", IS_NOT_SAID, {{L_CONVERSATION, "NULL"}}},
  {"conversation empty", IS_NOT_SAID, {{L_CONVERSATION, "''"}}},
  {"conversation BLOB", IS_BLOB, {{L_CONVERSATION, "x'63'"}}},
  {"another instructor", IS_OWNER, {{L_INSTRUCTOR, "'bob'"}}},
  {"another instructor and his customer",
   IS_NOT_SAID,
   {{L_INSTRUCTOR, "'bob'"}, {L_CUSTOMER, "'{b1}'"}}},
  {"another instructor, his customer, his last event",
   IS_NOT_SAID,
   {{L_INSTRUCTOR, "'bob'"}, {L_CUSTOMER, "'{b1}'"}, {L_SEQ, "5"}}},
  {"instructor NULL", IS_OWNER, {{L_INSTRUCTOR, "NULL"}}},
  {"another customer of hers", IS_NOT_SAID, {{L_CUSTOMER, "'{a2}'"}}},
  {"another instructor's customer", IS_OWNER, {{L_CUSTOMER, "'{b1}'"}}},
  {"nobody's customer", IS_OWNER, {{L_CUSTOMER, "'{none}'"}}},
  {"no customer", IS_OWNER, {{L_CUSTOMER, "NULL"}}},
  {"customer BLOB", IS_BLOB, {{L_CUSTOMER, "CAST('{a1}' AS BLOB)"}}},
  {"an older event", IS_NOT_SAID, {{L_SEQ, "8"}}},
  {"an older event of the same customer", IS_NOT_SAID, {{L_SEQ, "1"}}},
  {"an event that is not there", IS_NOT_SAID, {{L_SEQ, "10"}}},
  {"event 0", IS_NOT_SAID, {{L_SEQ, "0"}}},
  {"event -9", IS_NOT_SAID, {{L_SEQ, "-9"}}},
  {"event NULL", IS_NOT_SAID, {{L_SEQ, "NULL"}}},
  {"event text", IS_TEXT, {{L_SEQ, "'last'"}}},
  {"event real", IS_REAL, {{L_SEQ, "9.5"}}},
  {"another time", IS_NOT_SAID, {{L_UPDATED, "78"}}},
  {"time NULL", IS_NOT_SAID, {{L_UPDATED, "NULL"}}},
  {"over a linked conversation", IS_REPLACED, {{L_CONVERSATION, "'c-linked'"}}},
  {"over an unlinked conversation", IS_REPLACED, {{L_CONVERSATION, "'c-unlinked'"}}},
  {"over another's conversation", IS_REPLACED, {{L_CONVERSATION, "'d-linked'"}}},
  {"over a linked conversation, with its own row",
   IS_REPLACED,
   {{L_CONVERSATION, "'c-linked'"}, {L_SEQ, "1"}}},
};

/* With the event that says another link, and with no event at all: neither lets these in. */
TEST(wrong_links_are_refused) {
  static const struct wrong no_event = {"no event for it", IS_NOT_SAID, {{0, NULL}}};
  static const struct wrong used_event = {
    "an event that another link has used", IS_NOT_SAID, {{L_SEQ, "8"}, {L_UPDATED, "1008"}}};
  int which;
  for (which = 0; which < WORLDS; which++) {
    struct world world;
    size_t i;
    make_world(&world, which);
    for (i = 0; i < COUNT(wrong_links); i++) {
      attempt_insert(&world, &wrong_links[i], FIRST_LINK, 0);
      attempt_insert(&world, &wrong_links[i], NULL, 0);
    }
    attempt_insert(&world, &no_event, NULL, 0);
    attempt_insert(&world, &used_event, NULL, 0);
  }
}

/* A link insert that the latest event says, but of an event that is not a first link's. */
TEST(a_link_row_is_only_inserted_by_a_link_event) {
  static const struct attack attacks[] = {
    {"an insert beside a relink", RELINK,
     "INSERT INTO {db}conversation_links VALUES ('c-linked', 'ada', '{a2}', 9, 77)",
     IS_REPLACED},
    {"a replace for a relink", RELINK,
     "REPLACE INTO {db}conversation_links VALUES ('c-linked', 'ada', '{a2}', 9, 77)",
     IS_REPLACED},
    {"an upsert for a relink", RELINK,
     "INSERT INTO {db}conversation_links VALUES ('c-linked', 'ada', '{a2}', 9, 77) ON CONFLICT "
     "(conversation_id) DO UPDATE SET customer_id = '{a2}', audit_seq = 9, updated_at = 77",
     IS_REPLACED},
    {"an unlinked row", UNLINK,
     "INSERT OR REPLACE INTO {db}conversation_links VALUES ('c-linked', 'ada', NULL, 9, 77)",
     IS_REPLACED},
    {"two rows for one event", FIRST_LINK,
     "INSERT INTO {db}conversation_links VALUES ('c-new', 'ada', '{a1}', 9, 77), "
     "('c-newer', 'ada', '{a1}', 9, 77)",
     IS_NOT_SAID},
    {"two rows for one event, the first kept", FIRST_LINK,
     "INSERT OR FAIL INTO {db}conversation_links VALUES ('c-new', 'ada', '{a1}', 9, 77), "
     "('c-new', 'ada', '{a1}', 9, 77)",
     IS_REPLACED},
  };
  attempt_all(attacks, COUNT(attacks));
}

/* ---- Updates, deletes, replaces ---------------------------------------------------------- */

#define OF_LINKED   " WHERE conversation_id = 'c-linked'"
#define A2_BY_9     "customer_id = '{a2}', audit_seq = 9, updated_at = 77"
#define CHANGE(set) "UPDATE {db}conversation_links SET " set OF_LINKED
#define RELINK_DONE RELINK "; " CHANGE(A2_BY_9)

/* An event of Ada's from before, with its own time: what is wrong is only that it has been
** used. */
#define REPLAY(customer, seq, conversation)                                                    \
  "UPDATE {db}conversation_links SET customer_id = '" customer "', audit_seq = " #seq          \
  ", updated_at = (SELECT created_at FROM {db}audit_events WHERE instructor_id = 'ada' AND "   \
  "seq = " #seq ") WHERE conversation_id = '" conversation "'"

static const struct attack link_attacks[] = {
  {"without an event", NULL, CHANGE("customer_id = '{a2}'"), IS_NOT_SAID},
  {"without an event, naming the next", NULL, CHANGE(A2_BY_9), IS_NOT_SAID},
  {"unlink without an event", NULL, CHANGE("customer_id = NULL"), IS_NOT_SAID},
  {"every row at once", NULL, "UPDATE {db}conversation_links SET customer_id = NULL",
   IS_NOT_SAID},
  {"to its own older event", NULL, REPLAY("{a1}", 2, "c-relinked"), IS_NOT_SAID},
  {"its own older link once more", NULL, REPLAY("{a1}", 4, "c-unlinked"), IS_NOT_SAID},
  {"to another's link event", NULL, REPLAY("{a1}", 8, "c-unlinked"), IS_NOT_SAID},
  {"the last event once more", NULL,
   "UPDATE {db}conversation_links SET audit_seq = 8 WHERE conversation_id = 'c-again'",
   IS_NOT_SAID},
  {"the time alone", NULL, CHANGE("updated_at = 5"), IS_NOT_SAID},
  {"nothing", NULL, "UPDATE {db}conversation_links SET customer_id = customer_id", IS_NOT_SAID},
  {"not naming the event", RELINK, CHANGE("customer_id = '{a2}', updated_at = 77"),
   IS_NOT_SAID},
  {"not naming the time", RELINK, CHANGE("customer_id = '{a2}', audit_seq = 9"), IS_NOT_SAID},
  {"naming the event alone", RELINK, CHANGE("audit_seq = 9, updated_at = 77"), IS_NOT_SAID},
  {"another row", RELINK,
   "UPDATE {db}conversation_links SET " A2_BY_9 " WHERE conversation_id = 'c-again'",
   IS_NOT_SAID},
  {"another's row", RELINK,
   "UPDATE {db}conversation_links SET " A2_BY_9 " WHERE conversation_id = 'd-linked'",
   IS_OWNER},
  {"every row", RELINK, "UPDATE {db}conversation_links SET " A2_BY_9, IS_NOT_SAID},
  {"to another's customer", RELINK,
   CHANGE("customer_id = '{b1}', audit_seq = 9, updated_at = 77"), IS_OWNER},
  {"to nobody's customer", RELINK,
   CHANGE("customer_id = '{none}', audit_seq = 9, updated_at = 77"), IS_OWNER},
  {"unlink, where the event says relink", RELINK,
   CHANGE("customer_id = NULL, audit_seq = 9, updated_at = 77"), IS_NOT_SAID},
  {"relink, where the event says unlink", UNLINK, CHANGE(A2_BY_9), IS_NOT_SAID},
  {"with the event's number too high", RELINK,
   CHANGE("customer_id = '{a2}', audit_seq = 10, updated_at = 77"), IS_NOT_SAID},
  {"with no event's number", RELINK,
   CHANGE("customer_id = '{a2}', audit_seq = NULL, updated_at = 77"), IS_NOT_SAID},
  {"moving it to another conversation", RELINK,
   CHANGE("conversation_id = 'c-moved', customer_id = '{a2}', audit_seq = 9, updated_at = 77"),
   IS_MOVED},
  {"moving it over another conversation", RELINK,
   "UPDATE OR REPLACE {db}conversation_links SET conversation_id = 'c-again', customer_id = "
   "'{a2}', audit_seq = 9, updated_at = 77" OF_LINKED,
   IS_MOVED},
  {"moving another row over it", RELINK,
   "UPDATE OR REPLACE {db}conversation_links SET conversation_id = 'c-linked', customer_id = "
   "'{a2}', audit_seq = 9, updated_at = 77 WHERE conversation_id = 'c-again'",
   IS_MOVED},
  {"moving it to another instructor", NULL, CHANGE("instructor_id = 'bob'"), IS_MOVED},
  {"moving it to no instructor", NULL, CHANGE("instructor_id = NULL"), IS_MOVED},
  {"moving it with a customer", NULL,
   CHANGE("instructor_id = 'bob', customer_id = '{b1}', audit_seq = 5"), IS_MOVED},
  {"OR REPLACE", RELINK,
   "UPDATE OR REPLACE {db}conversation_links SET customer_id = '{a2}'" OF_LINKED, IS_NOT_SAID},
  {"OR IGNORE", RELINK,
   "UPDATE OR IGNORE {db}conversation_links SET customer_id = '{a2}'" OF_LINKED, IS_NOT_SAID},
  {"OR FAIL", RELINK,
   "UPDATE OR FAIL {db}conversation_links SET customer_id = '{a2}'" OF_LINKED, IS_NOT_SAID},
  {"OR ROLLBACK", RELINK,
   "UPDATE OR ROLLBACK {db}conversation_links SET customer_id = '{a2}'" OF_LINKED, IS_NOT_SAID},
  {"UPDATE FROM", NULL,
   "UPDATE {db}conversation_links SET customer_id = source.customer_id, audit_seq = "
   "source.audit_seq FROM (SELECT * FROM {db}conversation_links) AS source WHERE "
   "source.conversation_id = 'c-relinked' AND {db}conversation_links.conversation_id = "
   "'c-linked'",
   IS_NOT_SAID},
  {"row values", NULL, CHANGE("(customer_id, audit_seq) = (SELECT '{a2}', 9)"), IS_NOT_SAID},
  {"the same event twice", RELINK_DONE, CHANGE(A2_BY_9), IS_NOT_SAID},
  {"back, on the same event", RELINK_DONE, CHANGE("customer_id = '{a1}'"), IS_NOT_SAID},
  {"back to the first event", RELINK_DONE, CHANGE("customer_id = '{a1}', audit_seq = 1"),
   IS_NOT_SAID},
  {"delete one", NULL, "DELETE FROM {db}conversation_links" OF_LINKED, IS_LINK_KEPT},
  {"delete an unlinked one", NULL,
   "DELETE FROM {db}conversation_links WHERE conversation_id = 'c-unlinked'", IS_LINK_KEPT},
  {"delete beside an unlink", UNLINK, "DELETE FROM {db}conversation_links" OF_LINKED,
   IS_LINK_KEPT},
  {"delete all", NULL, "DELETE FROM {db}conversation_links", IS_LINK_KEPT},
  {"delete where true", NULL, "DELETE FROM {db}conversation_links WHERE true", IS_LINK_KEPT},
  {"replace with itself", NULL,
   "REPLACE INTO {db}conversation_links SELECT * FROM {db}conversation_links", IS_REPLACED},
  {"replace by another's", NULL,
   "INSERT OR REPLACE INTO {db}conversation_links SELECT conversation_id, 'bob', '{b1}', 5, "
   "updated_at FROM {db}conversation_links" OF_LINKED,
   IS_REPLACED},
  {"upsert", NULL,
   "INSERT INTO {db}conversation_links SELECT * FROM {db}conversation_links WHERE true ON "
   "CONFLICT (conversation_id) DO UPDATE SET customer_id = NULL",
   IS_REPLACED},
};

TEST(link_changes_without_their_event_are_refused) {
  attempt_all(link_attacks, COUNT(link_attacks));
}

static const struct attack event_attacks[] = {
  {"change one", NULL,
   "UPDATE {db}audit_events SET reason = 'forged' WHERE instructor_id = 'ada' AND seq = 1",
   IS_UNCHANGED},
  {"change all", NULL, "UPDATE {db}audit_events SET actor_id = 'somebody'", IS_UNCHANGED},
  {"change nothing", NULL, "UPDATE {db}audit_events SET reason = reason", IS_UNCHANGED},
  {"change the one just made", FIRST_LINK,
   "UPDATE {db}audit_events SET reason = 'forged' WHERE instructor_id = 'ada' AND seq = 9",
   IS_UNCHANGED},
  {"move over another", NULL,
   "UPDATE OR REPLACE {db}audit_events SET seq = 1 WHERE instructor_id = 'ada' AND seq = 8",
   IS_UNCHANGED},
  {"OR IGNORE", NULL, "UPDATE OR IGNORE {db}audit_events SET reason = 'forged'", IS_UNCHANGED},
  {"OR FAIL", NULL, "UPDATE OR FAIL {db}audit_events SET reason = 'forged'", IS_UNCHANGED},
  {"OR ROLLBACK", NULL, "UPDATE OR ROLLBACK {db}audit_events SET reason = 'forged'",
   IS_UNCHANGED},
  {"UPDATE FROM", NULL,
   "UPDATE {db}audit_events SET reason = new.reason FROM (SELECT 'forged' AS reason) AS new",
   IS_UNCHANGED},
  {"row values", NULL,
   "UPDATE {db}audit_events SET (reason, hash) = (SELECT 'forged', zeroblob(32))",
   IS_UNCHANGED},
  {"delete the last", NULL,
   "DELETE FROM {db}audit_events WHERE instructor_id = 'ada' AND seq = 8", IS_KEPT},
  {"delete the one just made", FIRST_LINK,
   "DELETE FROM {db}audit_events WHERE instructor_id = 'ada' AND seq = 9", IS_KEPT},
  {"delete all", NULL, "DELETE FROM {db}audit_events", IS_KEPT},
  {"delete where true", NULL, "DELETE FROM {db}audit_events WHERE true", IS_KEPT},
  {"replace with itself", NULL, "REPLACE INTO {db}audit_events SELECT * FROM {db}audit_events",
   IS_NEXT},
  {"replace the last", NULL,
   "INSERT OR REPLACE INTO {db}audit_events SELECT instructor_id, seq, event_name, "
   "conversation_id, previous_customer_id, new_customer_id, actor_type, 'somebody', 'forged', "
   "context, created_at, hash FROM {db}audit_events WHERE instructor_id = 'ada' AND seq = 8",
   IS_NEXT},
  {"replace the one just made", FIRST_LINK,
   "INSERT OR REPLACE INTO {db}audit_events VALUES ('ada', 9, " LINKED
   ", 'c-new', NULL, '{a2}', "
   "'human', 'h', 'because', NULL, 77, zeroblob(32))",
   IS_NEXT},
  {"upsert", NULL,
   "INSERT INTO {db}audit_events SELECT * FROM {db}audit_events WHERE true ON CONFLICT "
   "(instructor_id, seq) DO UPDATE SET reason = 'forged'",
   IS_NEXT},
  {"a second event before the first one's link", FIRST_LINK,
   "INSERT INTO {db}audit_events VALUES ('ada', 10, " LINKED ", 'c-newer', NULL, '{a1}', "
   "'human', 'h', 'because', NULL, 77, zeroblob(32))",
   IS_PENDING},
  {"a second event of the same conversation", FIRST_LINK,
   "INSERT INTO {db}audit_events VALUES ('ada', 10, " LINKED
   ", 'c-new', NULL, '{a2}', 'human', "
   "'h', 'because', NULL, 77, zeroblob(32))",
   IS_PENDING},
  {"a second event, replacing", FIRST_LINK,
   "INSERT OR REPLACE INTO {db}audit_events VALUES ('ada', 10, " LINKED ", 'c-new', NULL, "
   "'{a2}', 'human', 'h', 'because', NULL, 77, zeroblob(32))",
   IS_PENDING},
  {"two events in one statement", NULL,
   "INSERT INTO {db}audit_events VALUES ('ada', 9, " LINKED ", 'c-new', NULL, '{a1}', 'human', "
   "'h', 'because', NULL, 77, zeroblob(32)), ('ada', 10, " LINKED ", 'c-newer', NULL, '{a1}', "
   "'human', 'h', 'because', NULL, 77, zeroblob(32))",
   IS_PENDING},
  {"two events in one statement, the first kept", NULL,
   "INSERT OR FAIL INTO {db}audit_events VALUES ('ada', 9, " LINKED ", 'c-new', NULL, '{a1}', "
   "'human', 'h', 'because', NULL, 77, zeroblob(32)), ('ada', 10, " LINKED ", 'c-newer', NULL, "
   "'{a1}', 'human', 'h', 'because', NULL, 77, zeroblob(32))",
   IS_PENDING},
  {"two events with one seq", NULL,
   "INSERT OR REPLACE INTO {db}audit_events VALUES ('ada', 9, " LINKED ", 'c-new', NULL, "
   "'{a1}', 'human', 'h', 'because', NULL, 77, zeroblob(32)), ('ada', 9, " LINKED
   ", 'c-newer', "
   "NULL, '{a1}', 'human', 'h', 'because', NULL, 77, zeroblob(32))",
   IS_NEXT},
};

TEST(an_event_is_never_changed_deleted_or_replaced) {
  attempt_all(event_attacks, COUNT(event_attacks));
}

TEST(the_store_row_is_made_once) {
  static const struct attack attacks[] = {
    {"a second", NULL, "INSERT INTO {db}store VALUES (2, '{none}', 1, 1)", IS_ONCE},
    {"another", NULL, "INSERT INTO {db}store VALUES (1, '{none}', 1, 1)", IS_ONCE},
    {"replace", NULL, "REPLACE INTO {db}store VALUES (1, '{none}', 1, 1)", IS_ONCE},
    {"replace with itself", NULL, "INSERT OR REPLACE INTO {db}store SELECT * FROM {db}store",
     IS_ONCE},
    {"ignore", NULL, "INSERT OR IGNORE INTO {db}store VALUES (1, '{none}', 1, 1)", IS_ONCE},
    {"upsert", NULL,
     "INSERT INTO {db}store VALUES (1, '{none}', 1, 1) ON CONFLICT (singleton) DO UPDATE SET "
     "id "
     "= excluded.id",
     IS_ONCE},
    {"change the id", NULL, "UPDATE {db}store SET id = '{none}'", IS_STORE},
    {"change the time", NULL, "UPDATE {db}store SET created_at = 0", IS_STORE},
    {"change the rules", NULL, "UPDATE {db}store SET rules_version = rules_version + 1",
     IS_STORE},
    {"change nothing", NULL, "UPDATE OR REPLACE {db}store SET singleton = 1", IS_STORE},
    {"delete", NULL, "DELETE FROM {db}store", IS_STORE},
    {"delete where", NULL, "DELETE FROM {db}store WHERE singleton = 1", IS_STORE},
  };
  attempt_all(attacks, COUNT(attacks));
}

/* A TEMP trigger on the store's own tables acts in the middle of another statement. What it
** does must itself be allowed; it cannot stand between a guard and the row that the guard let
** in. */
TEST(temp_triggers_on_the_tables_change_nothing_else) {
  static const struct attack attacks[] = {
    {"replace the event of a link made meanwhile",
     "CREATE TEMP TRIGGER sneak BEFORE INSERT ON main.audit_events WHEN NEW.reason = 'outer' "
     "BEGIN INSERT INTO audit_events VALUES ('ada', 9, " LINKED ", 'c-new', NULL, '{a1}', "
     "'human', 'h', 'inner', NULL, 77, zeroblob(32)); INSERT INTO conversation_links VALUES "
     "('c-new', 'ada', '{a1}', 9, 77); END",
     "INSERT OR REPLACE INTO audit_events VALUES ('ada', 9, " LINKED
     ", 'c-newer', NULL, '{a2}', "
     "'human', 'h', 'outer', NULL, 77, zeroblob(32))",
     IS_NEXT},
    {"replace the event just let in",
     "CREATE TEMP TRIGGER sneak AFTER INSERT ON main.audit_events BEGIN INSERT OR REPLACE INTO "
     "audit_events VALUES (NEW.instructor_id, NEW.seq, NEW.event_name, NEW.conversation_id, "
     "NULL, NEW.new_customer_id, 'human', 'h', 'forged', NULL, 77, zeroblob(32)); END",
     FIRST_LINK, IS_NEXT},
    {"change the link while it is updated",
     "CREATE TEMP TRIGGER sneak BEFORE UPDATE ON main.conversation_links BEGIN DELETE FROM "
     "conversation_links WHERE conversation_id = OLD.conversation_id; END;" RELINK,
     "UPDATE conversation_links SET " A2_BY_9 OF_LINKED, IS_LINK_KEPT},
    {"change another link beside",
     "CREATE TEMP TRIGGER sneak AFTER UPDATE ON main.conversation_links BEGIN UPDATE "
     "conversation_links SET customer_id = NULL, audit_seq = 9 WHERE conversation_id = "
     "'c-again'; END;" RELINK,
     "UPDATE conversation_links SET " A2_BY_9 OF_LINKED, IS_NOT_SAID},
    {"pass over the guard",
     "CREATE TEMP TRIGGER quiet BEFORE DELETE ON main.audit_events BEGIN SELECT RAISE(IGNORE); "
     "END",
     "DELETE FROM audit_events", NULL},
    {"pass over the guard of links",
     "CREATE TEMP TRIGGER quiet BEFORE UPDATE ON main.conversation_links BEGIN SELECT "
     "RAISE(IGNORE); END",
     "UPDATE conversation_links SET customer_id = NULL", NULL},
    {"delete events as a customer comes",
     "CREATE TEMP TRIGGER sneak AFTER INSERT ON main.customers BEGIN DELETE FROM audit_events; "
     "END",
     "INSERT INTO customers VALUES ('{none}', 'ada', 'whatsapp', '1', NULL, 1, 1)", IS_KEPT},
  };
  int which;
  for (which = 0; which < WORLDS; which++) {
    struct world world;
    size_t i;
    make_world(&world, which);
    for (i = 0; i < COUNT(attacks); i++)
      attempt(&world, &modes[0], &attacks[i]);
  }
}

/* ---- Every column of every row ----------------------------------------------------------- */

static const struct {
  const char *table, *key, *error;
} guarded[] = {
  {"audit_events", "instructor_id, seq", IS_UNCHANGED},
  {"conversation_links", "conversation_id", "custmem: "},
  {"store", "singleton", IS_STORE},
};

/* Writes `column` of the row at `offset`, with every verb and a value of every type. */
static void write_cell(sqlite3 *db, size_t which, const char *column, int offset) {
  static const char *const update[] = {
    "UPDATE", "UPDATE OR REPLACE", "UPDATE OR IGNORE", "UPDATE OR FAIL"};
  static const char *const values[] = {"NULL", "0", "1e9", "'x'", "x'00'", "zeroblob(32)"};
  size_t verb, value;
  for (verb = 0; verb < COUNT(update); verb++)
    for (value = 0; value <= COUNT(values); value++) {
      int is_itself = value == COUNT(values);
      char sql[512];
      snprintf(
        sql, sizeof sql,
        "%s %s SET %s = %s WHERE (%s) = (SELECT %s FROM %s ORDER BY %s LIMIT 1 OFFSET %d)",
        update[verb], guarded[which].table, column, is_itself ? column : values[value],
        guarded[which].key, guarded[which].key, guarded[which].table, guarded[which].key, offset
      );
      if (!CHECK(test_sql(db, sql) != SQLITE_OK) ||
          (is_itself && !CHECK_HAS(test_sql_error(), guarded[which].error)))
        printf("  %s\n", sql);
    }
}

static void write_table(const struct world *world, sqlite3 *db, size_t which) {
  char sql[256];
  int column, offset, rows, columns;
  snprintf(sql, sizeof sql, "SELECT count(*) FROM %s", guarded[which].table);
  rows = (int)test_sql_int(db, sql);
  snprintf(
    sql, sizeof sql, "SELECT count(*) FROM pragma_table_info('%s')", guarded[which].table
  );
  columns = (int)test_sql_int(db, sql);
  CHECK(rows > 0 && columns > 0);
  for (column = 0; column < columns; column++) {
    const char *name;
    snprintf(
      sql, sizeof sql, "SELECT name FROM pragma_table_info('%s') WHERE cid = %d",
      guarded[which].table, column
    );
    name = test_sql_text(db, sql);
    for (offset = 0; offset < rows; offset++) {
      uint64_t before = test_rows(world->path);
      write_cell(db, which, name, offset);
      if (!CHECK(test_rows(world->path) == before))
        printf("  %s.%s\n", guarded[which].table, name);
    }
  }
}

TEST(no_column_of_any_row_can_be_written) {
  int which_world;
  for (which_world = 0; which_world < WORLDS; which_world++) {
    struct world world;
    sqlite3 *db;
    size_t which;
    make_world(&world, which_world);
    db = test_plain(world.path);
    for (which = 0; which < COUNT(guarded); which++)
      write_table(&world, db, which);
    sqlite3_close(db);
  }
}

/* Each row deleted and each row replaced with itself, one by one. */
TEST(no_row_can_be_deleted_or_replaced) {
  int which_world;
  for (which_world = 0; which_world < WORLDS; which_world++) {
    struct world world;
    sqlite3 *db;
    size_t which;
    uint64_t before;
    make_world(&world, which_world);
    before = test_rows(world.path);
    db = test_plain(world.path);
    for (which = 0; which < COUNT(guarded); which++) {
      const char *table = guarded[which].table, *key = guarded[which].key;
      char sql[512];
      int offset, rows;
      snprintf(sql, sizeof sql, "SELECT count(*) FROM %s", table);
      rows = (int)test_sql_int(db, sql);
      for (offset = 0; offset < rows; offset++) {
        snprintf(
          sql, sizeof sql,
          "DELETE FROM %s WHERE (%s) = (SELECT %s FROM %s ORDER BY %s LIMIT 1 OFFSET %d)",
          table, key, key, table, key, offset
        );
        CHECK(test_sql(db, sql) != SQLITE_OK);
        CHECK_HAS(test_sql_error(), "custmem: ");
        snprintf(
          sql, sizeof sql,
          "INSERT OR REPLACE INTO %s SELECT * FROM %s ORDER BY %s LIMIT 1 OFFSET %d", table,
          table, key, offset
        );
        CHECK(test_sql(db, sql) != SQLITE_OK);
        CHECK_HAS(test_sql_error(), "custmem: ");
      }
    }
    sqlite3_close(db);
    CHECK(test_rows(world.path) == before);
  }
}

/* ---- What is let in ---------------------------------------------------------------------- */

/* The whole story, told by SQL alone under each setting: each step is accepted, and the link is
** afterwards what the step says. */
TEST(event_then_link_is_accepted) {
  static const char *const settings[] = {
    "", "PRAGMA foreign_keys = ON", "PRAGMA recursive_triggers = ON; PRAGMA foreign_keys = ON"};
  size_t s, i;
  for (s = 0; s < COUNT(settings); s++) {
    struct world world = {"by SQL", "", {""}};
    sqlite3 *db = plain_schema(test_path("right.db"));
    CHECK_INT(test_sql(db, settings[s]), SQLITE_OK);
    for (i = 0; i < CUSTOMERS; i++) {
      strcpy(world.customers[i], people[i].id_of_sql);
      insert_customer(db, people[i].id_of_sql, people[i].instructor, people[i].phone);
    }
    for (i = 0; i < COUNT(story); i++) {
      char query[256];
      if (!CHECK_INT(step_by_sql(db, &world, &story[i]), SQLITE_OK))
        printf("  step %d: %s\n", (int)i, test_sql_error());
      snprintf(
        query, sizeof query,
        "SELECT coalesce(customer_id, 'nobody') FROM conversation_links WHERE conversation_id "
        "= "
        "'%s' AND instructor_id = '%s'",
        story[i].conversation, story[i].instructor
      );
      CHECK_TEXT(
        test_sql_text(db, query),
        story[i].next == NOBODY ? "nobody" : people[story[i].next].id_of_sql
      );
    }
    CHECK_INT(test_sql_int(db, "SELECT count(*) FROM audit_events"), (int)COUNT(story));
    CHECK_INT(test_sql_int(db, "SELECT count(*) FROM conversation_links"), 7);
    CHECK_INT(test_sql_int(db, "SELECT count(*) FROM pragma_foreign_key_check"), 0);
    CHECK_TEXT(test_sql_text(db, "PRAGMA integrity_check"), "ok");
    sqlite3_close(db);
  }
}

/* Several changes may share a transaction; one that is refused takes none of the others with
** it, and does not come in with them. */
TEST(a_transaction_keeps_only_what_was_allowed) {
  struct world world;
  char sql[SQL_SIZE];
  sqlite3 *db;
  make_world(&world, 1);
  db = test_plain(world.path);
  expand(
    &world, "", "",
    "BEGIN;" RELINK "; UPDATE conversation_links SET " A2_BY_9 OF_LINKED ";"
    "INSERT INTO audit_events VALUES ('ada', 10, " UNLINKED
    ", 'c-linked', '{a2}', NULL, 'human', 'h', 'because', NULL, 78, zeroblob(32));"
    "UPDATE conversation_links SET customer_id = NULL, audit_seq = 10, updated_at = "
    "78" OF_LINKED,
    sql
  );
  CHECK_INT(test_sql(db, sql), SQLITE_OK);
  CHECK_INT(
    test_sql(
      db, "UPDATE conversation_links SET audit_seq = 9 WHERE conversation_id = 'c-again'"
    ),
    SQLITE_CONSTRAINT
  );
  CHECK_INT(test_sql(db, "DELETE FROM audit_events WHERE seq = 10"), SQLITE_CONSTRAINT);
  CHECK_INT(test_sql(db, "COMMIT"), SQLITE_OK);
  CHECK_INT(
    test_sql_int(db, "SELECT count(*) FROM audit_events WHERE instructor_id = 'ada'"), 10
  );
  CHECK_INT(
    test_sql_int(
      db, "SELECT audit_seq FROM conversation_links WHERE conversation_id = 'c-again'"
    ),
    8
  );
  CHECK_INT(
    test_sql_int(
      db,
      "SELECT customer_id IS NULL FROM conversation_links WHERE conversation_id = 'c-linked'"
    ),
    1
  );
  sqlite3_close(db);
}

/* `system` is known to the schema; it is custmem's calls that refuse it. */
TEST(a_system_event_without_an_actor_id_is_accepted) {
  struct world world;
  char sql[SQL_SIZE];
  sqlite3 *db;
  make_world(&world, 1);
  db = test_plain(world.path);
  expand(
    &world, "", "",
    "INSERT INTO audit_events VALUES ('ada', 9, " LINKED
    ", 'c-new', NULL, '{a1}', 'system', NULL, 'because', NULL, 77, zeroblob(32))",
    sql
  );
  CHECK_INT(test_sql(db, sql), SQLITE_OK);
  CHECK_INT(
    test_sql_int(db, "SELECT count(*) FROM audit_events WHERE actor_type = 'system'"), 1
  );
  sqlite3_close(db);
}

/* Each text at its limit in bytes, of one-byte and of three-byte letters. */
TEST(texts_at_their_limits_are_accepted) {
  static const struct {
    const char *table, *column, *value;
  } cases[] = {
    {"audit_events", "conversation_id", LONG(64)},
    {"audit_events", "actor_id", LONG(64)},
    {"audit_events", "reason", LONG(500)},
    {"audit_events", "reason", EUROS(166)},
    {"audit_events", "context", LONG(2000)},
    {"audit_events", "context", EUROS(666)},
    {"customers", "instructor_id", LONG(64)},
    {"customers", "channel", LONG(96)},
    {"customers", "normalized_identifier", LONG(160)},
    {"customers", "display_identifier", LONG(255)},
    {"customers", "display_identifier", EUROS(85)},
  };
  struct world world;
  size_t i;
  make_world(&world, 1);
  for (i = 0; i < COUNT(cases); i++) {
    char sql[1024];
    sqlite3 *db = test_plain(world.path);
    CHECK_INT(test_sql(db, "BEGIN"), SQLITE_OK);
    if (strcmp(cases[i].table, "customers") == 0) {
      snprintf(
        sql, sizeof sql, "INSERT INTO customers SELECT '%036d', %s, %s, %s, %s, 1, 1", 7,
        strcmp(cases[i].column, "instructor_id") == 0 ? cases[i].value : "'ada'",
        strcmp(cases[i].column, "channel") == 0 ? cases[i].value : "'whatsapp'",
        strcmp(cases[i].column, "normalized_identifier") == 0 ? cases[i].value : "'1'",
        strcmp(cases[i].column, "display_identifier") == 0 ? cases[i].value : "NULL"
      );
    } else {
      snprintf(
        sql, sizeof sql,
        "INSERT INTO audit_events VALUES ('ada', 9, " LINKED
        ", %s, NULL, '%s', 'human', %s, %s, %s, 77, zeroblob(32))",
        strcmp(cases[i].column, "conversation_id") == 0 ? cases[i].value : "'c-new'",
        world.customers[A1], strcmp(cases[i].column, "actor_id") == 0 ? cases[i].value : "'h'",
        strcmp(cases[i].column, "reason") == 0 ? cases[i].value : "'because'",
        strcmp(cases[i].column, "context") == 0 ? cases[i].value : "NULL"
      );
    }
    if (!CHECK_INT(test_sql(db, sql), SQLITE_OK))
      printf("  %s.%s: %s\n", cases[i].table, cases[i].column, test_sql_error());
    sqlite3_close(db);
  }
}

/* ---- What only the chain and the check show ---------------------------------------------- */

static int check_of(const char *path, custmem_report *report) {
  custmem *store = test_store(path);
  int rc = custmem_check(store, report);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  return rc;
}

/* SQL alone can follow the rules, but not make the chain: the event is found by its hash. */
TEST(an_event_made_by_sql_alone_is_shown_by_the_chain) {
  struct world world;
  custmem_report report;
  sqlite3 *db;
  const struct step more = {"ada", "c-new", NOBODY, A2};
  make_world(&world, 0);
  CHECK_INT(check_of(world.path, &report), CUSTMEM_OK);
  db = test_plain(world.path);
  CHECK_INT(step_by_sql(db, &world, &more), SQLITE_OK);
  sqlite3_close(db);
  CHECK_INT(check_of(world.path, &report), CUSTMEM_BROKEN);
  CHECK_INT(report.fault, CUSTMEM_FAULT_HASH);
  CHECK_TEXT(report.instructor_id, "ada");
  CHECK_INT(report.seq, 9);
}

/* An event may be committed without its link. Then nothing of that instructor's follows it, by
** SQL or by custmem, and the check says so. Another instructor is not touched. */
TEST(an_event_without_its_link_is_the_last) {
  struct world world;
  custmem_report report;
  custmem *store;
  char sql[SQL_SIZE];
  uint64_t before;
  sqlite3 *db;
  const struct step hers = {"ada", "c-newer", NOBODY, A2};
  const struct step his = {"bob", "d-new", NOBODY, B1};
  make_world(&world, 0);
  db = test_plain(world.path);
  expand(&world, "", "", FIRST_LINK, sql);
  CHECK_INT(test_sql(db, sql), SQLITE_OK);
  before = test_rows(world.path);
  CHECK_INT(step_by_sql(db, &world, &hers), SQLITE_CONSTRAINT);
  CHECK_HAS(test_sql_error(), IS_PENDING);
  sqlite3_close(db);
  store = test_store(world.path);
  REQUIRE(store != NULL);
  CHECK_INT(step_by_custmem(store, &world, &hers), CUSTMEM_CONSTRAINT);
  CHECK(test_rows(world.path) == before);
  CHECK_INT(step_by_custmem(store, &world, &his), CUSTMEM_OK);
  CHECK_INT(custmem_check(store, &report), CUSTMEM_BROKEN);
  CHECK_TEXT(report.instructor_id, "ada");
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* What ignore_check_constraints lets in (the triggers still hold, see the modes) the check
** finds. */
TEST(what_the_checks_would_refuse_is_shown_by_the_check) {
  static const struct wrong cases[] = {
    {"reason empty", NULL, {{REASON, "''"}}},
    {"a human without an id", NULL, {{ACTOR_ID, "NULL"}}},
    {"another name", NULL, {{NAME, "'conversation.customer_merged'"}}},
    {"another actor type", NULL, {{ACTOR_TYPE, "'robot'"}}},
    {"reason too long", NULL, {{REASON, LONG(501)}}},
    {"hash too short", NULL, {{HASH, "zeroblob(31)"}}},
  };
  size_t i;
  for (i = 0; i < COUNT(cases); i++) {
    static char values[SQL_SIZE], sql[SQL_SIZE + 512], expanded[SQL_SIZE];
    struct world world;
    custmem_report report;
    sqlite3 *db;
    make_world(&world, 0);
    row_values(good_event, EVENT_COLUMNS, cases[i].cells, values);
    snprintf(
      sql, sizeof sql,
      "PRAGMA ignore_check_constraints = ON; BEGIN; INSERT INTO audit_events VALUES (%s); "
      "INSERT INTO conversation_links VALUES ('c-new', 'ada', '{a1}', 9, 77); COMMIT",
      values
    );
    expand(&world, "", "", sql, expanded);
    db = test_plain(world.path);
    CHECK_INT(test_sql(db, expanded), SQLITE_OK);
    sqlite3_close(db);
    if (!CHECK_INT(check_of(world.path, &report), CUSTMEM_BROKEN))
      printf("  %s\n", cases[i].what);
  }
}

/* Ticket T1 forbids triggers on customers, so a linked one is guarded by the foreign key alone,
** and that only where it is on (custmem sets it on). With a shell's default a customer can be
** deleted; nothing can be linked to it again, and the check says what is missing. */
TEST(deleting_a_linked_customer_is_refused_with_foreign_keys_on) {
  static const char *const attacks[] = {
    "DELETE FROM customers WHERE id = '{a1}'",
    "DELETE FROM customers",
    "UPDATE customers SET id = '{none}' WHERE id = '{a1}'",
    "UPDATE customers SET instructor_id = 'bob' WHERE id = '{a2}'",
    "INSERT OR REPLACE INTO customers VALUES ('{a1}', 'bob', 'sms', '1', NULL, 1, 1)",
    "UPDATE OR REPLACE customers SET id = '{a2}' WHERE id = '{a1}'",
  };
  int which;
  size_t i;
  for (which = 0; which < WORLDS; which++) {
    struct world world;
    make_world(&world, which);
    for (i = 0; i < COUNT(attacks); i++) {
      const struct attack attack = {
        attacks[i], NULL, attacks[i], "FOREIGN KEY constraint failed"};
      attempt(&world, &modes[3], &attack);
      attempt(&world, &modes[4], &attack);
    }
  }
}

TEST(a_customer_deleted_with_foreign_keys_off_is_shown_by_the_check) {
  struct world world;
  custmem_report report;
  custmem_resolution found;
  custmem *store;
  char sql[SQL_SIZE];
  sqlite3 *db;
  make_world(&world, 0);
  db = test_plain(world.path);
  expand(&world, "", "", "DELETE FROM customers WHERE id = '{b1}'", sql);
  CHECK_INT(test_sql(db, sql), SQLITE_OK);
  sqlite3_close(db);
  store = test_store(world.path);
  REQUIRE(store != NULL);
  CHECK_INT(custmem_check(store, &report), CUSTMEM_BROKEN);
  CHECK_INT(report.fault, CUSTMEM_FAULT_LINK);
  CHECK_TEXT(report.instructor_id, "bob");
  CHECK_TEXT(report.subject, "d-linked");
  custmem_resolve(store, "bob", "d-linked", "whatsapp", "393331234567", -1, &found);
  CHECK_INT(found.outcome, CUSTMEM_UNLINKED);
  CHECK_TEXT(found.customer_id, "");
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* ---- customers --------------------------------------------------------------------------- */

TEST(customers_is_the_table_of_the_ticket) {
  sqlite3 *db = plain_schema(test_path("t1.db"));
  CHECK_TEXT(
    test_sql_text(
      db,
      "SELECT group_concat(name || ' ' || type || iif(\"notnull\", '', ' NULL'), ', ') FROM "
      "pragma_table_info('customers')"
    ),
    "id TEXT, instructor_id TEXT, channel TEXT, normalized_identifier TEXT, "
    "display_identifier TEXT NULL, created_at INTEGER, updated_at INTEGER"
  );
  CHECK_TEXT(
    test_sql_text(db, "SELECT name FROM pragma_table_info('customers') WHERE pk = 1"), "id"
  );
  CHECK_INT(
    test_sql_int(
      db, "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'customers'"
    ),
    0
  );
  CHECK_INT(test_sql_int(db, "SELECT count(*) FROM pragma_foreign_key_list('customers')"), 0);
  CHECK_INT(
    test_sql_int(
      db,
      "SELECT count(*) FROM pragma_table_list WHERE schema = 'main' AND strict = 0 AND name "
      "NOT LIKE 'sqlite_%'"
    ),
    0
  );
  CHECK_INT(test_sql_int(db, "SELECT count(*) FROM customers"), 0);
  CHECK_INT(test_sql_int(db, "SELECT count(*) FROM conversation_links"), 0);
  CHECK_INT(test_sql_int(db, "SELECT count(*) FROM audit_events"), 0);
  CHECK_INT(test_sql_int(db, "SELECT count(*) FROM store"), 1);
  sqlite3_close(db);
}

TEST(a_key_is_one_customer_of_an_instructor) {
#define ROW(id, instructor, channel, key)                                                      \
  "('aaaaaaaa-0000-7000-8000-00000000000" id "', '" instructor "', '" channel "', '" key       \
  "', NULL, 1, 1)"
  sqlite3 *db = plain_schema(test_path("t1.db"));
  uint64_t before;
  CHECK_INT(
    test_sql(db, "INSERT INTO customers VALUES " ROW("1", "ada", "whatsapp", "393331234567")),
    SQLITE_OK
  );
  before = test_rows(test_path("t1.db"));
  CHECK_INT(
    test_sql(db, "INSERT INTO customers VALUES " ROW("2", "ada", "whatsapp", "393331234567")),
    SQLITE_CONSTRAINT
  );
  CHECK_HAS(test_sql_error(), "UNIQUE constraint failed");
  CHECK_INT(
    test_sql(db, "INSERT INTO customers VALUES " ROW("1", "ada", "whatsapp", "393330000000")),
    SQLITE_CONSTRAINT
  );
  CHECK_INT(
    test_sql(
      db, "INSERT OR IGNORE INTO customers VALUES " ROW("2", "ada", "whatsapp", "393331234567")
    ),
    SQLITE_OK
  );
  CHECK(test_rows(test_path("t1.db")) == before);
  CHECK_INT(
    test_sql(db, "INSERT INTO customers VALUES " ROW("3", "bob", "whatsapp", "393331234567")),
    SQLITE_OK
  );
  CHECK_INT(
    test_sql(db, "INSERT INTO customers VALUES " ROW("4", "ada", "sms", "393331234567")),
    SQLITE_OK
  );
  CHECK_INT(
    test_sql(db, "INSERT INTO customers VALUES " ROW("5", "ada", "whatsapp", "393330000000")),
    SQLITE_OK
  );
  CHECK_INT(
    test_sql(
      db,
      "UPDATE customers SET normalized_identifier = '393331234567' WHERE instructor_id = 'ada'"
    ),
    SQLITE_CONSTRAINT
  );
  CHECK_INT(test_sql_int(db, "SELECT count(DISTINCT id) FROM customers"), 4);
  sqlite3_close(db);
#undef ROW
}

TEST(a_wrong_customer_is_refused) {
  static const char *const good[] = {
    "'cccccccc-0000-7000-8000-000000000009'", "'ada'", "'whatsapp'", "'1'", "NULL", "1", "1"};
  enum { C_ID, C_INSTRUCTOR, C_CHANNEL, C_KEY, C_DISPLAY, C_CREATED, C_UPDATED, C_COLUMNS };
  static const struct wrong cases[] = {
    {"id NULL", IS_NOT_NULL, {{C_ID, "NULL"}}},
    {"id short", IS_CHECK, {{C_ID, "'1'"}}},
    {"id long", IS_CHECK, {{C_ID, LONG(37)}}},
    {"id BLOB", IS_BLOB, {{C_ID, "zeroblob(36)"}}},
    {"instructor NULL", IS_NOT_NULL, {{C_INSTRUCTOR, "NULL"}}},
    {"instructor empty", IS_CHECK, {{C_INSTRUCTOR, "''"}}},
    {"instructor long", IS_CHECK, {{C_INSTRUCTOR, LONG(65)}}},
    {"channel NULL", IS_NOT_NULL, {{C_CHANNEL, "NULL"}}},
    {"channel empty", IS_CHECK, {{C_CHANNEL, "''"}}},
    {"channel long", IS_CHECK, {{C_CHANNEL, LONG(97)}}},
    {"key NULL", IS_NOT_NULL, {{C_KEY, "NULL"}}},
    {"key empty", IS_CHECK, {{C_KEY, "''"}}},
    {"key long", IS_CHECK, {{C_KEY, LONG(161)}}},
    {"key BLOB", IS_BLOB, {{C_KEY, "x'31'"}}},
    {"display empty", IS_CHECK, {{C_DISPLAY, "''"}}},
    {"display long", IS_CHECK, {{C_DISPLAY, LONG(256)}}},
    {"created NULL", IS_NOT_NULL, {{C_CREATED, "NULL"}}},
    {"updated text", IS_TEXT, {{C_UPDATED, "'now'"}}},
  };
  struct world world;
  size_t i;
  make_world(&world, 1);
  for (i = 0; i < COUNT(cases); i++) {
    static char values[SQL_SIZE], sql[SQL_SIZE + 64];
    const struct attack attack = {cases[i].what, NULL, sql, cases[i].error};
    row_values(good, C_COLUMNS, cases[i].cells, values);
    snprintf(sql, sizeof sql, "INSERT INTO {db}customers VALUES (%s)", values);
    attempt_in_modes(&world, &attack);
  }
}

/* ---- The schema as a whole --------------------------------------------------------------- */

#define IS_UUID         "length(id) = 36 AND id NOT GLOB '*[^-0-9a-f]*'"
#define OBJECTS(schema) "SELECT type, name, tbl_name, sql FROM " schema ".sqlite_schema"

static void attach(sqlite3 *db, const char *path, const char *name) {
  char sql[600];
  snprintf(sql, sizeof sql, "ATTACH '%s' AS %s", path, name);
  CHECK_INT(test_sql(db, sql), SQLITE_OK);
}

TEST(schema_sql_makes_what_custmem_open_makes) {
  const char *by_sql = test_path("by-sql.db"), *by_open = test_path("by-open.db");
  sqlite3 *db;
  sqlite3_close(plain_schema(by_sql));
  CHECK_INT(custmem_close(test_store(by_open)), CUSTMEM_OK);
  db = test_plain(by_sql);
  attach(db, by_open, "opened");
  CHECK_INT(
    test_sql_int(db, "SELECT count(*) FROM (" OBJECTS("main") " EXCEPT " OBJECTS("opened") ")"),
    0
  );
  CHECK_INT(
    test_sql_int(db, "SELECT count(*) FROM (" OBJECTS("opened") " EXCEPT " OBJECTS("main") ")"),
    0
  );
  CHECK_INT(
    test_sql_int(db, "SELECT count(*) FROM main.sqlite_schema WHERE type = 'table'"), 4
  );
  CHECK_INT(test_sql_int(db, "PRAGMA main.application_id"), 0x6375736d);
  CHECK_INT(test_sql_int(db, "PRAGMA opened.application_id"), 0x6375736d);
  CHECK_INT(test_sql_int(db, "PRAGMA main.user_version"), 1);
  CHECK_INT(test_sql_int(db, "PRAGMA opened.user_version"), 1);
  CHECK_INT(test_sql_int(db, "SELECT rules_version FROM main.store"), CUSTMEM_RULES_VERSION);
  CHECK_INT(test_sql_int(db, "SELECT rules_version FROM opened.store"), CUSTMEM_RULES_VERSION);
  CHECK_INT(test_sql_int(db, "SELECT " IS_UUID " FROM main.store"), 1);
  CHECK_INT(test_sql_int(db, "SELECT " IS_UUID " FROM opened.store"), 1);
  CHECK_INT(
    test_sql_int(db, "SELECT abs(created_at / 1000 - unixepoch()) < 86400 FROM main.store"), 1
  );
  sqlite3_close(db);
}

/* Two stores that a shell makes must not have one id: the chains are bound to it. */
TEST(every_store_made_by_schema_sql_has_its_own_id) {
  sqlite3 *first = plain_schema(test_path("first.db"));
  sqlite3 *second = plain_schema(test_path("second.db"));
  CHECK(
    strcmp(
      test_sql_text(first, "SELECT id FROM store"),
      test_sql_text(second, "SELECT id FROM store")
    ) != 0
  );
  CHECK_INT(
    test_sql_int(
      first, "SELECT id = lower(id) AND substr(id, 15, 1) = '4' AND substr(id, 20, 1) IN ('8', "
             "'9', 'a', 'b') FROM store"
    ),
    1
  );
  sqlite3_close(first);
  sqlite3_close(second);
}

TEST(custmem_works_on_a_store_made_by_schema_sql) {
  const char *path = test_path("work.db");
  sqlite3 *db = plain_schema(path);
  char id[CUSTMEM_UUID_SIZE + 1];
  const char *anna;
  custmem_actor ada = test_human("ada");
  custmem_report report;
  custmem_info info;
  custmem *store;
  snprintf(id, sizeof id, "%s", test_sql_text(db, "SELECT id FROM store"));
  sqlite3_close(db);
  store = test_store(path);
  REQUIRE(store != NULL);
  CHECK_INT(custmem_store_info(store, &info), CUSTMEM_OK);
  CHECK_TEXT(info.id, id);
  CHECK_INT(info.schema_version, 1);
  CHECK_INT(info.rules_version, CUSTMEM_RULES_VERSION);
  anna = test_customer(store, "ada", "393331234567");
  CHECK_INT(custmem_link(store, &ada, "c", anna, "because", -1, NULL, 0, NULL), CUSTMEM_OK);
  CHECK_INT(custmem_check(store, &report), CUSTMEM_OK);
  CHECK_INT(report.events, 1);
  CHECK_INT(report.links, 1);
  CHECK_INT(report.customers, 1);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(the_schema_is_not_made_twice) {
  struct world world;
  uint64_t before;
  sqlite3 *db;
  make_world(&world, 1);
  before = test_rows(world.path);
  db = test_plain(world.path);
  CHECK(test_sql(db, schema_text()) != SQLITE_OK);
  CHECK_HAS(test_sql_error(), "already exists");
  sqlite3_close(db);
  CHECK(test_rows(world.path) == before);
}

static void check_is_empty(sqlite3 *db) {
  CHECK_INT(test_sql_int(db, "SELECT count(*) FROM sqlite_schema"), 0);
  CHECK_INT(test_sql_int(db, "PRAGMA user_version"), 0);
  CHECK_INT(test_sql_int(db, "PRAGMA application_id"), 0);
}

TEST(the_rollback_goes_down_and_up_again) {
  int which;
  for (which = 0; which < WORLDS; which++) {
    struct world world;
    custmem_report report;
    custmem *store;
    sqlite3 *db;
    make_world(&world, which);
    db = test_plain(world.path);
    if (!CHECK_INT(test_sql(db, rollback_text()), SQLITE_OK))
      printf("  %s\n", test_sql_error());
    check_is_empty(db);
    CHECK_INT(test_sql(db, schema_text()), SQLITE_OK);
    CHECK_INT(test_sql_int(db, "SELECT count(*) FROM customers"), 0);
    CHECK_INT(test_sql_int(db, "SELECT count(*) FROM store"), 1);
    CHECK_INT(test_sql(db, rollback_text()), SQLITE_OK);
    check_is_empty(db);
    sqlite3_close(db);
    store = test_store(world.path);
    REQUIRE(store != NULL);
    test_customer(store, "ada", "393331234567");
    CHECK_INT(custmem_check(store, &report), CUSTMEM_OK);
    CHECK_INT(report.customers, 1);
    CHECK_INT(report.events, 0);
    CHECK_INT(custmem_close(store), CUSTMEM_OK);
  }
}

/* The rollback is one transaction too: foreign keys on or off, and nothing of it half-way. */
TEST(the_rollback_is_one_transaction) {
  struct world world;
  uint64_t before;
  sqlite3 *db;
  make_world(&world, 1);
  before = test_rows(world.path);
  db = test_plain(world.path);
  CHECK_INT(test_sql(db, "PRAGMA foreign_keys = ON"), SQLITE_OK);
  CHECK_INT(strncmp(rollback_text(), "BEGIN", 5), 0);
  CHECK_INT(
    test_sql(db, "CREATE TEMP TRIGGER t AFTER INSERT ON main.store BEGIN SELECT 1; END"),
    SQLITE_OK
  );
  CHECK_INT(test_sql(db, "BEGIN"), SQLITE_OK);
  CHECK(test_sql(db, rollback_text()) != SQLITE_OK); /* a transaction within a transaction */
  CHECK_INT(test_sql(db, "ROLLBACK"), SQLITE_OK);
  CHECK(test_rows(world.path) == before);
  CHECK_INT(test_sql(db, rollback_text()), SQLITE_OK);
  check_is_empty(db);
  sqlite3_close(db);
}

/* ---- Query plans ------------------------------------------------------------------------- */

static void plan_of(sqlite3 *db, const char *sql, char *plan, size_t size) {
  char explain[1024];
  sqlite3_stmt *stmt = NULL;
  plan[0] = '\0';
  snprintf(explain, sizeof explain, "EXPLAIN QUERY PLAN %s", sql);
  CHECK_INT(sqlite3_prepare_v2(db, explain, -1, &stmt, NULL), SQLITE_OK);
  while (sqlite3_step(stmt) == SQLITE_ROW) {
    size_t used = strlen(plan);
    snprintf(plan + used, size - used, "%s; ", (const char *)sqlite3_column_text(stmt, 3));
  }
  sqlite3_finalize(stmt);
}

TEST(every_lookup_is_served_by_an_index) {
  static const struct {
    const char *what, *sql, *part;
  } cases[] = {
    {"identity",
     "SELECT id FROM customers WHERE instructor_id = ? AND channel = ? AND "
     "normalized_identifier = ?",
     "SEARCH customers USING COVERING INDEX customers_identity (normalized_identifier=? AND "
     "channel=? AND instructor_id=?)"},
    {"customers of an instructor",
     "SELECT * FROM customers WHERE instructor_id = ? AND id > ? ORDER BY id LIMIT ?",
     "SEARCH customers USING INDEX customers_owner (instructor_id=? AND id>?)"},
    {"explicit link", "SELECT * FROM conversation_links WHERE conversation_id = ?",
     "SEARCH conversation_links USING PRIMARY KEY (conversation_id=?)"},
    {"conversations of a customer",
     "SELECT * FROM conversation_links WHERE instructor_id = ? AND customer_id = ? AND "
     "conversation_id > ? ORDER BY conversation_id LIMIT ?",
     "INDEX conversation_links_customer (instructor_id=? AND customer_id=? AND "
     "conversation_id>?)"},
    {"history",
     "SELECT * FROM audit_events INDEXED BY audit_events_conversation WHERE instructor_id = ? "
     "AND conversation_id = ? AND seq > ? ORDER BY seq LIMIT ?",
     "INDEX audit_events_conversation (instructor_id=? AND conversation_id=? AND seq>?)"},
    {"what the links' verification reads",
     "SELECT conversation_id, seq, previous_customer_id, new_customer_id FROM audit_events "
     "WHERE "
     "instructor_id = ? ORDER BY conversation_id, seq",
     "SEARCH audit_events USING COVERING INDEX audit_events_conversation (instructor_id=?)"},
    {"trail",
     "SELECT * FROM audit_events WHERE instructor_id = ? AND seq > ? ORDER BY seq LIMIT ?",
     "SEARCH audit_events USING PRIMARY KEY (instructor_id=? AND seq>?)"},
  };
  sqlite3 *db = plain_schema(test_path("plan.db"));
  size_t i;
  for (i = 0; i < COUNT(cases); i++) {
    char plan[1024];
    plan_of(db, cases[i].sql, plan, sizeof plan);
    if (!CHECK_HAS(plan, cases[i].part)) printf("  %s\n", cases[i].what);
    CHECK(strstr(plan, "SCAN") == NULL);
    CHECK(strstr(plan, "TEMP B-TREE") == NULL);
  }
  sqlite3_close(db);
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  RUN(customers_is_the_table_of_the_ticket, "T1; CM-1 §2.1; D-2");
  RUN(
    a_key_is_one_customer_of_an_instructor,
    "T1; CM-1 §2.1; CM-1 §3.2; CM-1 §4.1; CM-1 §4.3; CM-1 §6"
  );
  RUN(a_wrong_customer_is_refused, "CM-1 §2.1; CM-1 §4.2; D-2");
  RUN(event_then_link_is_accepted, "CM-1 §2.2; CM-2.3 §8; CM-2.5; D-2");
  RUN(a_transaction_keeps_only_what_was_allowed, "CM-2.3 §6; D-2");
  RUN(a_system_event_without_an_actor_id_is_accepted, "CM-2.3 §6; D-1");
  RUN(texts_at_their_limits_are_accepted, "D-8");
  RUN(wrong_events_are_refused, "CM-2.3 §4.2; CM-2.3 §4.3; CM-2.3 §6; CM-2.5; D-2");
  RUN(wrong_links_are_refused, "CM-2.3 §4.2; CM-2.3 §4.3; CM-2.3 §6; CM-2.3 §8; D-2");
  RUN(a_link_row_is_only_inserted_by_a_link_event, "CM-2.3 §4.3; CM-2.3 §6; D-2");
  RUN(
    link_changes_without_their_event_are_refused,
    "CM-1 §4.1; CM-2.3 §4.2; CM-2.3 §4.3; CM-2.3 §5; CM-2.3 §6; CM-2.3 §9; D-2"
  );
  RUN(an_event_is_never_changed_deleted_or_replaced, "T5; CM-1 §2.4; CM-2.5; D-2; D-7");
  RUN(the_store_row_is_made_once, "D-2");
  RUN(temp_triggers_on_the_tables_change_nothing_else, "D-2");
  RUN(no_column_of_any_row_can_be_written, "T5; CM-2.3 §4.3; CM-2.5; D-2");
  RUN(no_row_can_be_deleted_or_replaced, "T5; CM-2.5; D-2");
  RUN(an_event_made_by_sql_alone_is_shown_by_the_chain, "CM-2.5; D-7");
  RUN(an_event_without_its_link_is_the_last, "CM-2.3 §6; D-2; D-8");
  RUN(what_the_checks_would_refuse_is_shown_by_the_check, "CM-2.3 §6; D-8");
  RUN(deleting_a_linked_customer_is_refused_with_foreign_keys_on, "CM-1 §4.3; D-1");
  RUN(a_customer_deleted_with_foreign_keys_off_is_shown_by_the_check, "T1; CM-1 §4.3; D-8");
  RUN(schema_sql_makes_what_custmem_open_makes, "T1; D-2");
  RUN(every_store_made_by_schema_sql_has_its_own_id, "D-2; D-7");
  RUN(custmem_works_on_a_store_made_by_schema_sql, "T1; D-2");
  RUN(the_schema_is_not_made_twice, "T1");
  RUN(the_rollback_goes_down_and_up_again, "T1");
  RUN(the_rollback_is_one_transaction, "T1");
  RUN(every_lookup_is_served_by_an_index, "CM-1 §5.1; CM-1 §5.2; D-2");
  leave_world();
  return test_report();
}
