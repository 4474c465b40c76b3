/* SPDX-License-Identifier: MIT
**
** custmem: Customer Memory over one SQLite file. custmem.h is the manual; this file follows its
** order. The parts, each standing only on those before it:
**
**   Schema         the text of schema.sql, paragraph by paragraph
**   Statements     every SQL statement, in one table
**   Types          the handle, and `text`: a string that has been checked
**   Errors         codes, names, the message of the last call
**   Text           UTF-8, and the one place where a caller's string becomes a `text`
**   SQLite         prepare, bind, step, read a row; transactions; entering and leaving a call
**   Sources        clock, random, UUIDs
**   SHA-256        and the audit's encoding
**   Lifecycle … Backup   the public calls, as in the header
**
** Two rules hold everywhere. A read statement is proved read-only when it is prepared, and a write
** statement runs only inside begin_write … end_write. And the instructor is parameter 1 of every
** statement that touches an instructor's rows, bound from the one `text` that take_instructor made.
*/

/* POSIX: realpath, lstat, fchmod, statvfs, pthread_atfork. */
#ifndef _XOPEN_SOURCE
#define _XOPEN_SOURCE 700
#endif

#include "custmem.h"
#include "sqlite3.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

/* The first release without the race that could corrupt a WAL when it was reset. */
#define OLDEST_SQLITE 3051003
#if SQLITE_VERSION_NUMBER < OLDEST_SQLITE
#error "custmem needs SQLite 3.51.3 or later"
#endif

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* ---- Schema -------------------------------------------------------------------------------- */

#define APPLICATION_ID 1668641645 /* "cusm", as in schema.sql */
#define SCHEMA_VERSION 1

/* clang-format off */
/* Made by `make schema` from schema.sql, a paragraph's statements to a string; do not edit here. */
static const char *const SCHEMA[] = {
/* schema.sql begins */
  "BEGIN IMMEDIATE;\n"
  ,
  "PRAGMA application_id = 1668641645;\n"
  ,
  "CREATE TABLE store (\n"
  "  -- One row: what this file is. The audit chains are bound to this id, so a trail cannot be\n"
  "  -- moved to another store; rules_version is the rule set of custmem_normalize that made the\n"
  "  -- keys, so a changed rule cannot silently make a second customer of a first.\n"
  "  singleton INTEGER NOT NULL PRIMARY KEY CHECK (singleton = 1),\n"
  "  id TEXT NOT NULL CHECK (length(CAST(id AS BLOB)) = 36),\n"
  "  created_at INTEGER NOT NULL,\n"
  "  rules_version INTEGER NOT NULL\n"
  ") STRICT, WITHOUT ROWID;\n"
  ,
  "CREATE TRIGGER store_insert BEFORE INSERT ON store\n"
  "WHEN EXISTS (SELECT 1 FROM store) BEGIN\n"
  "  -- Also what INSERT OR REPLACE and an upsert meet: the row is made once.\n"
  "  SELECT RAISE(ABORT, 'custmem: a store is made once');\n"
  "END;\n"
  ,
  "CREATE TRIGGER store_update BEFORE UPDATE ON store BEGIN\n"
  "  SELECT RAISE(ABORT, 'custmem: what a store is never changes');\n"
  "END;\n"
  ,
  "CREATE TRIGGER store_delete BEFORE DELETE ON store BEGIN\n"
  "  SELECT RAISE(ABORT, 'custmem: what a store is never changes');\n"
  "END;\n"
  ,
  "CREATE TABLE customers (\n"
  "  -- One row a customer of one instructor. The key (instructor, channel, normalized identifier)\n"
  "  -- is written once; only display_identifier and updated_at change. No triggers (ticket T1).\n"
  "  id TEXT NOT NULL PRIMARY KEY CHECK (length(CAST(id AS BLOB)) = 36),\n"
  "  instructor_id TEXT NOT NULL CHECK (length(CAST(instructor_id AS BLOB)) BETWEEN 1 AND 64),\n"
  "  channel TEXT NOT NULL CHECK (length(CAST(channel AS BLOB)) BETWEEN 1 AND 96),\n"
  "  normalized_identifier TEXT NOT NULL\n"
  "    CHECK (length(CAST(normalized_identifier AS BLOB)) BETWEEN 1 AND 160),\n"
  "  display_identifier TEXT CHECK (length(CAST(display_identifier AS BLOB)) BETWEEN 1 AND 255),\n"
  "  created_at INTEGER NOT NULL,\n"
  "  updated_at INTEGER NOT NULL\n"
  ") STRICT, WITHOUT ROWID;\n"
  ,
  "CREATE UNIQUE INDEX customers_identity\n"
  "  ON customers (normalized_identifier, channel, instructor_id);\n"
  ,
  "CREATE UNIQUE INDEX customers_owner ON customers (instructor_id, id);\n"
  ,
  "CREATE TABLE audit_events (\n"
  "  -- Append-only: who linked what, when and why; seq is 1, 2, 3 … for each instructor, without\n"
  "  -- gaps. No personal data by design: ids, never identifiers. hash is SHA-256 over the event\n"
  "  -- before and every field of this one, as custmem.h documents it.\n"
  "  instructor_id TEXT NOT NULL CHECK (length(CAST(instructor_id AS BLOB)) BETWEEN 1 AND 64),\n"
  "  seq INTEGER NOT NULL CHECK (seq >= 1),\n"
  "  event_name TEXT NOT NULL,\n"
  "  conversation_id TEXT NOT NULL CHECK (length(CAST(conversation_id AS BLOB)) BETWEEN 1 AND 64),\n"
  "  previous_customer_id TEXT CHECK (length(CAST(previous_customer_id AS BLOB)) = 36),\n"
  "  new_customer_id TEXT CHECK (length(CAST(new_customer_id AS BLOB)) = 36),\n"
  "  actor_type TEXT NOT NULL CHECK (actor_type IN ('human', 'system')),\n"
  "  actor_id TEXT CHECK (length(CAST(actor_id AS BLOB)) BETWEEN 1 AND 64),\n"
  "  reason TEXT NOT NULL CHECK (length(CAST(reason AS BLOB)) BETWEEN 1 AND 500),\n"
  "  context TEXT CHECK (length(CAST(context AS BLOB)) BETWEEN 1 AND 2000),\n"
  "  created_at INTEGER NOT NULL,\n"
  "  hash BLOB NOT NULL CHECK (length(hash) = 32),\n"
  "  PRIMARY KEY (instructor_id, seq),\n"
  "  CHECK (actor_type <> 'human' OR actor_id IS NOT NULL),\n"
  "  CHECK (event_name IS CASE\n"
  "    WHEN previous_customer_id IS NULL AND new_customer_id IS NOT NULL\n"
  "      THEN 'conversation.customer_linked'\n"
  "    WHEN previous_customer_id IS NOT NULL AND new_customer_id IS NULL\n"
  "      THEN 'conversation.customer_unlinked'\n"
  "    WHEN previous_customer_id <> new_customer_id\n"
  "      THEN 'conversation.customer_relinked' END)\n"
  ") STRICT, WITHOUT ROWID;\n"
  ,
  "CREATE INDEX audit_events_conversation ON audit_events\n"
  "  (instructor_id, conversation_id, seq, previous_customer_id, new_customer_id, created_at);\n"
  ,
  "CREATE TABLE conversation_links (\n"
  "  -- One row a conversation that has ever been linked: to whom now (NULL: unlinked), and by\n"
  "  -- which audit event. A conversation belongs to one instructor for ever. The composite key\n"
  "  -- makes a link to another instructor's customer unrepresentable.\n"
  "  conversation_id TEXT NOT NULL PRIMARY KEY\n"
  "    CHECK (length(CAST(conversation_id AS BLOB)) BETWEEN 1 AND 64),\n"
  "  instructor_id TEXT NOT NULL,\n"
  "  customer_id TEXT,\n"
  "  audit_seq INTEGER NOT NULL,\n"
  "  updated_at INTEGER NOT NULL,\n"
  "  FOREIGN KEY (instructor_id, customer_id) REFERENCES customers (instructor_id, id),\n"
  "  FOREIGN KEY (instructor_id, audit_seq) REFERENCES audit_events (instructor_id, seq)\n"
  ") STRICT, WITHOUT ROWID;\n"
  ,
  "CREATE INDEX conversation_links_customer ON conversation_links (instructor_id, customer_id);\n"
  ,
  "CREATE TRIGGER audit_events_insert BEFORE INSERT ON audit_events BEGIN\n"
  "  -- An event is its instructor's next one (so nothing is ever replaced), follows an event whose\n"
  "  -- link change was made, and says truly what the conversation is linked to now. The new\n"
  "  -- customer is the instructor's own.\n"
  "  SELECT CASE\n"
  "    WHEN NEW.seq IS NOT 1 + coalesce(\n"
  "      (SELECT max(seq) FROM audit_events WHERE instructor_id = NEW.instructor_id), 0)\n"
  "    THEN RAISE(ABORT, 'custmem: an audit event takes its instructor''s next seq')\n"
  "    WHEN EXISTS (\n"
  "      SELECT 1 FROM audit_events AS last\n"
  "       WHERE last.instructor_id = NEW.instructor_id AND last.seq = NEW.seq - 1\n"
  "         AND NOT EXISTS (\n"
  "           SELECT 1 FROM conversation_links AS link\n"
  "            WHERE link.conversation_id = last.conversation_id\n"
  "              AND link.instructor_id = last.instructor_id AND link.audit_seq = last.seq))\n"
  "    THEN RAISE(ABORT, 'custmem: the audit event before this one has no link change')\n"
  "    WHEN EXISTS (\n"
  "      SELECT 1 FROM conversation_links\n"
  "       WHERE conversation_id = NEW.conversation_id AND instructor_id <> NEW.instructor_id)\n"
  "    THEN RAISE(ABORT, 'custmem: the conversation belongs to another instructor')\n"
  "    WHEN NEW.previous_customer_id IS NOT (\n"
  "      SELECT customer_id FROM conversation_links WHERE conversation_id = NEW.conversation_id)\n"
  "    THEN RAISE(ABORT, 'custmem: previous_customer_id is not the current customer')\n"
  "    WHEN NEW.new_customer_id IS NOT NULL AND NOT EXISTS (\n"
  "      SELECT 1 FROM customers\n"
  "       WHERE id = NEW.new_customer_id AND instructor_id = NEW.instructor_id)\n"
  "    THEN RAISE(ABORT, 'custmem: the customer is not this instructor''s')\n"
  "  END;\n"
  "END;\n"
  ,
  "CREATE TRIGGER audit_events_update BEFORE UPDATE ON audit_events BEGIN\n"
  "  SELECT RAISE(ABORT, 'custmem: an audit event is never changed');\n"
  "END;\n"
  ,
  "CREATE TRIGGER audit_events_delete BEFORE DELETE ON audit_events BEGIN\n"
  "  SELECT RAISE(ABORT, 'custmem: an audit event is never deleted');\n"
  "END;\n"
  ,
  "CREATE TRIGGER conversation_links_insert BEFORE INSERT ON conversation_links BEGIN\n"
  "  -- A first link. A row that exists is updated, never replaced: REPLACE would delete it without\n"
  "  -- any delete trigger seeing it.\n"
  "  SELECT CASE\n"
  "    WHEN EXISTS (\n"
  "      SELECT 1 FROM conversation_links WHERE conversation_id = NEW.conversation_id)\n"
  "    THEN RAISE(ABORT, 'custmem: a link is updated, never replaced')\n"
  "    WHEN NOT EXISTS (\n"
  "      SELECT 1 FROM customers\n"
  "       WHERE id = NEW.customer_id AND instructor_id = NEW.instructor_id)\n"
  "    THEN RAISE(ABORT, 'custmem: the customer is not this instructor''s')\n"
  "    WHEN NOT EXISTS (\n"
  "      SELECT 1 FROM audit_events\n"
  "       WHERE instructor_id = NEW.instructor_id\n"
  "         AND seq = (SELECT max(seq) FROM audit_events WHERE instructor_id = NEW.instructor_id)\n"
  "         AND seq = NEW.audit_seq\n"
  "         AND conversation_id = NEW.conversation_id\n"
  "         AND previous_customer_id IS NULL\n"
  "         AND new_customer_id = NEW.customer_id\n"
  "         AND created_at = NEW.updated_at)\n"
  "    THEN RAISE(ABORT, 'custmem: the latest audit event does not say this link change')\n"
  "  END;\n"
  "END;\n"
  ,
  "CREATE TRIGGER conversation_links_update BEFORE UPDATE ON conversation_links BEGIN\n"
  "  -- Every change of a row, whichever columns it names, is the one that the instructor's latest\n"
  "  -- audit event says; and each event serves one change (audit_seq grows).\n"
  "  SELECT CASE\n"
  "    WHEN NEW.conversation_id IS NOT OLD.conversation_id\n"
  "      OR NEW.instructor_id IS NOT OLD.instructor_id\n"
  "    THEN RAISE(ABORT, 'custmem: a link keeps its conversation and its instructor')\n"
  "    WHEN NEW.customer_id IS NOT NULL AND NOT EXISTS (\n"
  "      SELECT 1 FROM customers\n"
  "       WHERE id = NEW.customer_id AND instructor_id = NEW.instructor_id)\n"
  "    THEN RAISE(ABORT, 'custmem: the customer is not this instructor''s')\n"
  "    WHEN NEW.audit_seq <= OLD.audit_seq OR NOT EXISTS (\n"
  "      SELECT 1 FROM audit_events\n"
  "       WHERE instructor_id = NEW.instructor_id\n"
  "         AND seq = (SELECT max(seq) FROM audit_events WHERE instructor_id = NEW.instructor_id)\n"
  "         AND seq = NEW.audit_seq\n"
  "         AND conversation_id = NEW.conversation_id\n"
  "         AND previous_customer_id IS OLD.customer_id\n"
  "         AND new_customer_id IS NEW.customer_id\n"
  "         AND created_at = NEW.updated_at)\n"
  "    THEN RAISE(ABORT, 'custmem: the latest audit event does not say this link change')\n"
  "  END;\n"
  "END;\n"
  ,
  "CREATE TRIGGER conversation_links_delete BEFORE DELETE ON conversation_links BEGIN\n"
  "  -- Unlinking sets customer_id to NULL: what a conversation was linked to is not forgotten.\n"
  "  SELECT RAISE(ABORT, 'custmem: a link is never deleted');\n"
  "END;\n"
  ,
  "INSERT INTO store (singleton, id, created_at, rules_version) VALUES (\n"
  "  1,\n"
  "  coalesce(:store_id, lower(\n"
  "    hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' ||\n"
  "    substr(hex(randomblob(2)), 2) || '-' || substr('89AB', 1 + (random() & 3), 1) ||\n"
  "    substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6)))),\n"
  "  coalesce(:created_at, CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)),\n"
  "  1);\n"
  ,
  "PRAGMA user_version = 1;\n"
  ,
  "COMMIT;\n"
/* schema.sql ends */
};
/* clang-format on */

/* ---- Statements ---------------------------------------------------------------------------- */

/* CONTROL is for begin_… and end_… alone. */
enum kind { CONTROL, READ, WRITE };

enum statement {
  BEGIN_WRITE,
  COMMIT,
  ROLLBACK,
  HOLD_WRITE,
  HOLD_READ,
  SELECT_APPLICATION_ID,
  SELECT_USER_VERSION,
  SELECT_SCHEMA,
  SELECT_STORE,
  INSERT_CUSTOMER,
  UPDATE_CUSTOMER_DISPLAY,
  SELECT_CUSTOMER,
  SELECT_CUSTOMER_BY_KEY,
  HAS_CUSTOMER,
  SELECT_CUSTOMERS,
  RESOLVE,
  RESOLVE_BATCH,
  SELECT_LINK,
  INSERT_LINK,
  UPDATE_LINK,
  SELECT_CONVERSATIONS,
  INSERT_EVENT,
  SELECT_EVENTS,
  SELECT_HISTORY,
  SELECT_LAST_EVENT,
  VERIFY_EVENTS,
  SELECT_LINKS_FROM,
  COUNT_LINKS,
  SELECT_STRAY_LINK,
  CHECK_DATABASE,
  CHECK_CUSTOMERS,
  CHECK_LINKED_CUSTOMERS,
  CHECK_NEXT_INSTRUCTOR,
  STATEMENT_COUNT
};

#define CUSTOMER_COLUMNS                                                                       \
  "customer.id, customer.instructor_id, customer.channel, customer.normalized_identifier,"     \
  " customer.display_identifier, customer.created_at, customer.updated_at"
#define EVENT_COLUMNS                                                                          \
  "event.instructor_id, event.seq, event.event_name, event.conversation_id,"                   \
  " event.previous_customer_id, event.new_customer_id, event.actor_type, event.actor_id,"      \
  " event.reason, event.context, event.created_at, event.hash"

/* The queries of a RESOLVE_BATCH, numbered 0 to 49; the parameters follow ?1, the instructor. */
enum { BATCH_QUERIES = 50, QUERY_PARAMETERS = 3 };
#define QUERY(number) "(" number ",?,?,?)"
#define FIVE_QUERIES(ten, a, b, c, d, e)                                                       \
  QUERY(ten a) "," QUERY(ten b) "," QUERY(ten c) "," QUERY(ten d) "," QUERY(ten e)
#define TEN_QUERIES(ten)                                                                       \
  FIVE_QUERIES(ten, "0", "1", "2", "3", "4") "," FIVE_QUERIES(ten, "5", "6", "7", "8", "9")

/* ?1 is the instructor wherever one is concerned. Tables are named main.…, so that no temporary table
** can stand in for them. INDEXED BY: without statistics SQLite would rather read all of an instructor's
** rows in the order of a primary key.
**
** An index only finds; the table's own row says what is so. A statement that looks in an index joins the
** row by its primary key, and compares it with what was asked, or the function that reads it does: in a
** damaged file the two may differ, and the index alone would hand out another instructor's customer.
** LEFT JOIN: a row that is not there is seen. "+": a comparison with the row itself, where a look in an
** index or a primary key would be believed; in a damaged one it may end at another row. (CAST: else
** SQLite would take the second comparison of a column with one parameter for the first.) */
/* clang-format off */
static const struct {
  enum kind kind;
  const char *sql;
} STATEMENTS[STATEMENT_COUNT] = {
  [BEGIN_WRITE] = {CONTROL, "BEGIN IMMEDIATE"},
  [COMMIT] = {CONTROL, "COMMIT"},
  [ROLLBACK] = {CONTROL, "ROLLBACK"},
  /* Left on their rows for the length of a transaction. SQLite forgets an interrupt when no statement
  ** runs: so one that comes between two statements is not lost. A write must not hold a reader's lock
  ** (its commit could then never checkpoint); a read takes it so, and is a transaction by that alone. */
  [HOLD_WRITE] = {CONTROL, "SELECT 1"},
  [HOLD_READ] = {CONTROL, "PRAGMA main.user_version"},

  [SELECT_APPLICATION_ID] = {READ, "PRAGMA main.application_id"},
  [SELECT_USER_VERSION] = {READ, "PRAGMA main.user_version"},
  [SELECT_SCHEMA] = {READ, "SELECT sql, name FROM main.sqlite_schema WHERE sql IS NOT NULL"},
  [SELECT_STORE] = {READ, "SELECT id, created_at, rules_version FROM main.store"},

  [INSERT_CUSTOMER] =
    {WRITE, "INSERT INTO main.customers (instructor_id, id, channel, normalized_identifier,"
            " display_identifier, created_at, updated_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)"},
  [UPDATE_CUSTOMER_DISPLAY] =
    {WRITE, "UPDATE main.customers SET display_identifier = ?3, updated_at = ?4"
            " WHERE id = CAST(?2 AS TEXT) AND +id = ?2 AND instructor_id = ?1"},
  [SELECT_CUSTOMER] =
    {READ, "SELECT " CUSTOMER_COLUMNS " FROM main.customers AS customer"
           " WHERE id = CAST(?2 AS TEXT) AND +id = ?2 AND +instructor_id = ?1"},
  [SELECT_CUSTOMER_BY_KEY] =
    {READ, "SELECT " CUSTOMER_COLUMNS " FROM main.customers AS same"
           " LEFT JOIN main.customers AS customer ON customer.id = same.id"
           " WHERE same.normalized_identifier = ?3 AND same.channel = ?2"
           " AND same.instructor_id = ?1"},
  [HAS_CUSTOMER] =
    {READ, "SELECT 1 FROM main.customers"
           " WHERE id = CAST(?2 AS TEXT) AND +id = ?2 AND +instructor_id = ?1"},
  [SELECT_CUSTOMERS] =
    {READ,
     "SELECT " CUSTOMER_COLUMNS " FROM main.customers AS listed INDEXED BY customers_owner"
     " LEFT JOIN main.customers AS customer ON customer.id = listed.id"
     " WHERE listed.instructor_id = ?1 AND listed.id > ?2"
     " ORDER BY listed.id LIMIT ?3"},

  /* For each query (its number, conversation, key and channel) what its conversation is linked to,
  ** and the customers with the key: number, `enum found`, conversation, customer. A second customer with
  ** the key is what tells "exactly one" from "more than one": BETWEEN, since SQLite looks for no second
  ** row where all columns of a unique index are equal. RESOLVE gives the link and the customers row by
  ** row: they are looked for only if they are stepped to. */
  [RESOLVE] =
    {READ, "SELECT 0, CASE WHEN link.instructor_id <> ?1 THEN 0"
           " WHEN link.customer_id IS NOT NULL THEN 2 ELSE 1 END,"
           " link.conversation_id, customer.id"
           " FROM main.conversation_links AS link"
           " LEFT JOIN main.customers AS customer ON customer.id = link.customer_id"
           " AND +customer.id = link.customer_id AND +customer.instructor_id = ?1"
           " WHERE link.conversation_id = ?2"
           " UNION ALL SELECT 0, 3, NULL, customer.id FROM main.customers AS same"
           " LEFT JOIN main.customers AS customer ON customer.id = same.id"
           " AND +customer.instructor_id = ?1"
           " AND +customer.normalized_identifier = ?3 AND +customer.channel = ?4"
           " WHERE same.normalized_identifier = ?3 AND same.channel = ?4"
           " AND same.instructor_id BETWEEN ?1 AND ?1"},
  [RESOLVE_BATCH] =
    {READ, "SELECT query.column1, CASE WHEN link.instructor_id <> ?1 THEN 0"
           " WHEN link.customer_id IS NOT NULL THEN 2 WHEN same.id IS NOT NULL THEN 3"
           " ELSE 1 END, link.conversation_id, customer.id"
           " FROM (VALUES " TEN_QUERIES("") "," TEN_QUERIES("1") "," TEN_QUERIES("2") ","
           TEN_QUERIES("3") "," TEN_QUERIES("4") ") AS query"
           " LEFT JOIN main.conversation_links AS link"
           " ON link.conversation_id = query.column2"
           " LEFT JOIN main.customers AS same ON same.normalized_identifier ="
           " CASE WHEN link.customer_id IS NULL THEN query.column3 END"
           " AND same.channel = query.column4 AND same.instructor_id BETWEEN ?1 AND ?1"
           " LEFT JOIN main.customers AS customer"
           " ON customer.id = coalesce(link.customer_id, same.id)"
           " AND +customer.instructor_id = ?1"
           " AND CASE WHEN same.id IS NULL THEN +customer.id = link.customer_id"
           " ELSE +customer.normalized_identifier = query.column3"
           " AND +customer.channel = query.column4 END"},

  [SELECT_LINK] =
    {READ, "SELECT link.instructor_id = ?1, link.customer_id IS NOT NULL, customer.id"
           " FROM main.conversation_links AS link"
           " LEFT JOIN main.customers AS customer ON customer.id = link.customer_id"
           " AND +customer.id = link.customer_id AND +customer.instructor_id = ?1"
           " WHERE link.conversation_id = CAST(?2 AS TEXT) AND +link.conversation_id = ?2"},
  [INSERT_LINK] =
    {WRITE, "INSERT INTO main.conversation_links (instructor_id, conversation_id,"
            " customer_id, audit_seq, updated_at) VALUES (?1, ?2, ?3, ?4, ?5)"},
  [UPDATE_LINK] =
    {WRITE, "UPDATE main.conversation_links"
            " SET customer_id = ?3, audit_seq = ?4, updated_at = ?5"
            " WHERE conversation_id = CAST(?2 AS TEXT) AND +conversation_id = ?2"
            " AND instructor_id = ?1"},
  [SELECT_CONVERSATIONS] =
    {READ, "SELECT link.conversation_id, link.customer_id, link.audit_seq, link.updated_at,"
           " +link.instructor_id = ?1"
           " FROM main.conversation_links AS listed INDEXED BY conversation_links_customer"
           " LEFT JOIN main.conversation_links AS link"
           " ON link.conversation_id = listed.conversation_id"
           " WHERE listed.instructor_id = ?1 AND listed.customer_id = ?2"
           " AND listed.conversation_id > ?3 ORDER BY listed.conversation_id LIMIT ?4"},

  [INSERT_EVENT] =
    {WRITE, "INSERT INTO main.audit_events (instructor_id, seq, event_name, conversation_id,"
            " previous_customer_id, new_customer_id, actor_type, actor_id, reason, context,"
            " created_at, hash)"
            " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)"},
  [SELECT_EVENTS] =
    {READ, "SELECT " EVENT_COLUMNS " FROM main.audit_events AS event"
           " WHERE instructor_id = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3"},
  [SELECT_HISTORY] =
    {READ, "SELECT " EVENT_COLUMNS
           " FROM main.audit_events AS listed INDEXED BY audit_events_conversation"
           " LEFT JOIN main.audit_events AS event"
           " ON event.instructor_id = ?1 AND event.seq = listed.seq"
           " WHERE listed.instructor_id = ?1 AND listed.conversation_id = ?2"
           " AND listed.seq > ?3 ORDER BY listed.seq LIMIT ?4"},
  [SELECT_LAST_EVENT] =
    {READ, "SELECT instructor_id, seq, hash FROM main.audit_events"
           " WHERE instructor_id = ?1 ORDER BY seq DESC LIMIT 1"},

  [VERIFY_EVENTS] =
    {READ, "SELECT conversation_id, seq, previous_customer_id, new_customer_id, created_at"
           " FROM main.audit_events INDEXED BY audit_events_conversation"
           " WHERE instructor_id = ?1 ORDER BY conversation_id, seq"},
  [SELECT_LINKS_FROM] =
    {READ, "SELECT conversation_id, instructor_id, audit_seq, customer_id, updated_at"
           " FROM main.conversation_links WHERE conversation_id >= ?1 ORDER BY conversation_id"},
  [COUNT_LINKS] =
    {READ, "SELECT count(*) FROM main.conversation_links WHERE instructor_id = ?1"},
  [SELECT_STRAY_LINK] =
    {READ, "SELECT conversation_id FROM main.conversation_links AS link"
           " WHERE instructor_id = ?1 AND NOT EXISTS (SELECT 1 FROM main.audit_events"
           " WHERE instructor_id = ?1 AND conversation_id = link.conversation_id) LIMIT 1"},

  [CHECK_DATABASE] = {READ, "PRAGMA main.integrity_check(1)"},
  [CHECK_CUSTOMERS] = {READ, "SELECT " CUSTOMER_COLUMNS " FROM main.customers AS customer"},
  [CHECK_LINKED_CUSTOMERS] =
    {READ, "SELECT instructor_id, conversation_id FROM main.conversation_links AS link"
           " WHERE instructor_id = '' OR customer_id IS NOT NULL AND NOT EXISTS ("
           "SELECT 1 FROM main.customers"
           " WHERE id = link.customer_id AND instructor_id = link.instructor_id) LIMIT 1"},
  [CHECK_NEXT_INSTRUCTOR] =
    {READ, "SELECT min(instructor_id) FROM ("
           "SELECT min(instructor_id) AS instructor_id FROM main.audit_events"
           " WHERE instructor_id > ?1 UNION ALL "
           "SELECT min(instructor_id) FROM main.conversation_links WHERE instructor_id > ?1)"},
};
/* clang-format on */

/* ---- Types --------------------------------------------------------------------------------- */

#define STORE_MAGIC             0x63757374u
#define DEFAULT_BUSY_TIMEOUT_MS 1000
#define HASH_BYTES              32

/* A string that has been checked: UTF-8, of a known size, within its limit. bytes NULL: none. Only
** the functions named take_… make one of what a caller passes. */
typedef struct text {
  const char *bytes;
  int size;
} text;

static const text NO_TEXT = {NULL, 0};

static text text_of(const char *string) {
  text value = {string, (int)strlen(string)};
  return value;
}

/* What resolutions of before found: see Resolution. */
typedef struct kept_answers kept_answers;

/* magic, forks     that the handle is one, is open, and is this process's
** db, statements   the connection; each statement is prepared when it is first used
** writing          between begin_write and end_write
** in_call          a call is running: what a clock or random callback must not do again
** in_listener      the listener is running: it may read, and is not told of that
** waited_ms        for the lock that is waited for now
** kept             NULL until a page is resolved, and after damage was found
** errmsg, errarg   what the last call said
*/
struct custmem {
  uint32_t magic;
  unsigned forks;
  sqlite3 *db;
  sqlite3_stmt *statements[STATEMENT_COUNT];
  int writing;
  int in_call;
  int in_listener;
  int read_only;
  int exclusive;
  int busy_timeout_ms;
  int waited_ms;
  int64_t (*now_ms)(void *ctx);
  int (*random)(uint8_t *bytes, size_t size, void *ctx);
  void *source_ctx;
  void (*listener)(const custmem_notice *notice, void *ctx);
  void *listener_ctx;
  custmem_info info;
  kept_answers *kept;
  const char *errarg;
  char errmsg[CUSTMEM_MESSAGE_MAX + 1];
};

/* ---- Errors -------------------------------------------------------------------------------- */

/* A constant of the header as a language without it sees it; the last row is for a value that is
** none of them. */
typedef struct named {
  int value;
  const char *name;
  const char *sentence;
} named;

static const named CODES[] = {
  {CUSTMEM_OK, "CUSTMEM_OK", "done"},
  {CUSTMEM_MISUSE, "CUSTMEM_MISUSE", "the call itself is wrong"},
  {CUSTMEM_EMPTY, "CUSTMEM_EMPTY", "a text that must not be empty is empty"},
  {CUSTMEM_TOO_LONG, "CUSTMEM_TOO_LONG", "a text is longer than its limit"},
  {CUSTMEM_BAD_TEXT, "CUSTMEM_BAD_TEXT",
   "a text is not UTF-8, or holds a NUL or a control character"},
  {CUSTMEM_BAD_CHANNEL, "CUSTMEM_BAD_CHANNEL", "there is no such channel"},
  {CUSTMEM_BAD_IDENTIFIER, "CUSTMEM_BAD_IDENTIFIER",
   "the identifier is none that the channel accepts"},
  {CUSTMEM_NO_INSTRUCTOR, "CUSTMEM_NO_INSTRUCTOR", "no instructor was given"},
  {CUSTMEM_NOT_HUMAN, "CUSTMEM_NOT_HUMAN", "only a human may write"},
  {CUSTMEM_NO_REASON, "CUSTMEM_NO_REASON", "a reason is required"},
  {CUSTMEM_NO_CUSTOMER, "CUSTMEM_NO_CUSTOMER", "the instructor has no such customer"},
  {CUSTMEM_OTHER_INSTRUCTOR, "CUSTMEM_OTHER_INSTRUCTOR",
   "the conversation belongs to another instructor"},
  {CUSTMEM_ALREADY_LINKED, "CUSTMEM_ALREADY_LINKED", "the conversation has a customer already"},
  {CUSTMEM_NOT_LINKED, "CUSTMEM_NOT_LINKED", "the conversation has no customer"},
  {CUSTMEM_CHANGED, "CUSTMEM_CHANGED", "the conversation's customer is not the one named"},
  {CUSTMEM_NO_CHANGE, "CUSTMEM_NO_CHANGE", "the conversation has this customer already"},
  {CUSTMEM_CONSTRAINT, "CUSTMEM_CONSTRAINT", "the database refused the write"},
  {CUSTMEM_BUSY, "CUSTMEM_BUSY", "the store is locked by another handle"},
  {CUSTMEM_FULL, "CUSTMEM_FULL", "there is no space left"},
  {CUSTMEM_READONLY, "CUSTMEM_READONLY", "the store is read-only"},
  {CUSTMEM_IO, "CUSTMEM_IO", "the operating system reported an error"},
  {CUSTMEM_NOMEM, "CUSTMEM_NOMEM", "there is no memory left"},
  {CUSTMEM_UNKNOWN_OUTCOME, "CUSTMEM_UNKNOWN_OUTCOME",
   "the commit failed half-way: resolve to see, and repeat"},
  {CUSTMEM_CORRUPT, "CUSTMEM_CORRUPT", "the store is damaged"},
  {CUSTMEM_FORKED, "CUSTMEM_FORKED", "the handle was opened before a fork"},
  {CUSTMEM_SOURCE, "CUSTMEM_SOURCE", "the clock or the random source failed"},
  {CUSTMEM_INTERRUPTED, "CUSTMEM_INTERRUPTED", "the call was interrupted"},
  {CUSTMEM_INTERNAL, "CUSTMEM_INTERNAL", "a fault of custmem's own"},
  {CUSTMEM_NO_PATH, "CUSTMEM_NO_PATH", "there is no such file or directory"},
  {CUSTMEM_NOT_A_FILE, "CUSTMEM_NOT_A_FILE", "the path is not a file's"},
  {CUSTMEM_SYMLINK, "CUSTMEM_SYMLINK", "the path is a symbolic link"},
  {CUSTMEM_HARD_LINK, "CUSTMEM_HARD_LINK", "the file has more than one name"},
  {CUSTMEM_PERMISSION, "CUSTMEM_PERMISSION", "the path may not be used so"},
  {CUSTMEM_EXISTS, "CUSTMEM_EXISTS", "there is a file already"},
  {CUSTMEM_NOT_A_DATABASE, "CUSTMEM_NOT_A_DATABASE", "the file is not an SQLite database"},
  {CUSTMEM_OTHER_APPLICATION, "CUSTMEM_OTHER_APPLICATION",
   "the database is another application's"},
  {CUSTMEM_NEWER, "CUSTMEM_NEWER", "the store is of a newer version of custmem"},
  {CUSTMEM_SCHEMA, "CUSTMEM_SCHEMA", "the store's schema is not custmem's"},
  {CUSTMEM_RULES, "CUSTMEM_RULES", "the store's keys were made by another rule set"},
  {CUSTMEM_OLD_SQLITE, "CUSTMEM_OLD_SQLITE", "SQLite is older than 3.51.3"},
  {CUSTMEM_BROKEN, "CUSTMEM_BROKEN", "what is stored is not what was written"},
  {CUSTMEM_ANCHOR, "CUSTMEM_ANCHOR", "the audit does not continue the anchor"},
  {-1, "CUSTMEM_UNKNOWN", "an unknown code"},
};

static const named *find_named(const named *table, size_t count, int value) {
  size_t i = 0;
  while (i < count - 1 && table[i].value != value)
    i++;
  return &table[i];
}

const char *custmem_strerror(int code) {
  return find_named(CODES, COUNT_OF(CODES), code)->sentence;
}

const char *custmem_code_name(int code) {
  return find_named(CODES, COUNT_OF(CODES), code)->name;
}

static int fail(custmem *store, int code, const char *arg, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  sqlite3_vsnprintf((int)sizeof store->errmsg, store->errmsg, format, arguments);
  va_end(arguments);
  store->errarg = arg;
  return code;
}

/* The code stands here once more, for an analyzer that follows NULL to where it is refused. */
static int fail_null(custmem *store, const char *arg) {
  fail(store, CUSTMEM_MISUSE, arg, "%s is NULL", arg);
  return CUSTMEM_MISUSE;
}

static int fail_negative(custmem *store) {
  return fail(store, CUSTMEM_MISUSE, "count", "count is negative");
}

static int code_of_sqlite(int rc) {
  switch (rc & 0xff) {
  case SQLITE_BUSY:
  case SQLITE_LOCKED:
  case SQLITE_PROTOCOL:
    return CUSTMEM_BUSY;
  case SQLITE_FULL:
    return CUSTMEM_FULL;
  case SQLITE_READONLY:
    return CUSTMEM_READONLY;
  case SQLITE_IOERR:
    if (rc == SQLITE_IOERR_SHMSIZE) return CUSTMEM_FULL; /* the WAL's index cannot grow */
    return rc == SQLITE_IOERR_NOMEM ? CUSTMEM_NOMEM : CUSTMEM_IO;
  case SQLITE_CANTOPEN:
    return CUSTMEM_IO;
  case SQLITE_PERM:
    return CUSTMEM_PERMISSION;
  case SQLITE_NOMEM:
    return CUSTMEM_NOMEM;
  case SQLITE_CORRUPT:
  case SQLITE_TOOBIG: /* no write makes anything near SQLite's limits */
    return CUSTMEM_CORRUPT;
  case SQLITE_NOTADB:
    return CUSTMEM_NOT_A_DATABASE;
  case SQLITE_CONSTRAINT:
    return CUSTMEM_CONSTRAINT;
  case SQLITE_INTERRUPT:
    return CUSTMEM_INTERRUPTED;
  case SQLITE_ERROR: /* the statements are fixed: what they name is not there any more … */
  case SQLITE_AUTH:  /* … or would do more than it did */
  case SQLITE_SCHEMA:
    return CUSTMEM_SCHEMA;
  default:
    return CUSTMEM_INTERNAL;
  }
}

/* A wait for a lock that was interrupted ends as if it had taken too long. */
static int fail_sqlite(custmem *store, int rc) {
  int code = code_of_sqlite(rc);
  int was_store = store->info.id[0] != '\0';
  if (code == CUSTMEM_NOT_A_DATABASE && was_store) code = CUSTMEM_CORRUPT;
  if (code == CUSTMEM_BUSY && sqlite3_is_interrupted(store->db)) code = CUSTMEM_INTERRUPTED;
  return fail(
    store, code, "", "%s: %s", custmem_strerror(code),
    sqlite3_errcode(store->db) != SQLITE_OK ? sqlite3_errmsg(store->db) : sqlite3_errstr(rc)
  );
}

const char *custmem_errmsg(const custmem *store) {
  return store != NULL && store->magic == STORE_MAGIC ? store->errmsg : "not an open store";
}

const char *custmem_errarg(const custmem *store) {
  return store != NULL && store->magic == STORE_MAGIC ? store->errarg : "";
}

/* ---- Text ---------------------------------------------------------------------------------- */

/* How a text may be laid out: no control character in a LINE, line breaks and tabs in PROSE. Of ANY
** nothing is asked: it is compared with what is known. */
enum layout { LINE, PROSE, ANY };

#define NOT_UTF8 UINT32_MAX

/* The code point at *at, which moves past it; NOT_UTF8 for bytes that are none: overlong forms,
** surrogates, beyond U+10FFFF, or cut off. */
static uint32_t next_code_point(const char **at, const char *end) {
  static const uint32_t smallest[] = {0, 0x80, 0x800, 0x10000};
  const unsigned char *byte = (const unsigned char *)*at;
  uint32_t code_point = byte[0];
  int more, i;
  if (code_point < 0x80) {
    (*at)++;
    return code_point;
  }
  more = code_point >= 0xf0 ? 3 : code_point >= 0xe0 ? 2 : 1;
  if (code_point < 0xc0 || code_point > 0xf4 || end - *at <= more) return NOT_UTF8;
  code_point &= 0x3fu >> more;
  for (i = 1; i <= more; i++) {
    if ((byte[i] & 0xc0) != 0x80) return NOT_UTF8;
    code_point = code_point << 6 | (byte[i] & 0x3fu);
  }
  if (code_point < smallest[more] || code_point > 0x10ffff) return NOT_UTF8;
  if (code_point >= 0xd800 && code_point <= 0xdfff) return NOT_UTF8;
  *at += more + 1;
  return code_point;
}

static int is_control(uint32_t c) {
  return c < 0x20 || (c >= 0x7f && c <= 0x9f);
}

/* Spaces and marks that people and phones put around and into numbers without meaning anything:
** space, no-break spaces, zero-width and direction marks. */
static int is_space_or_mark(uint32_t c) {
  return c == ' ' || c == 0xa0 || c == 0x2007 || c == 0x202f || /* spaces */
         (c >= 0x200b && c <= 0x200f) || c == 0x2060 || c == 0xfeff || c == 0x61c ||
         (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

/* What leaves a reason without one: every character that shows nothing. */
static int is_blank(uint32_t c) {
  return is_space_or_mark(c) || is_control(c) || (c >= 0x2000 && c <= 0x200a) || c == 0xad ||
         c == 0x34f || c == 0x115f || c == 0x1160 || c == 0x1680 ||
         (c >= 0x17b4 && c <= 0x17b5) || (c >= 0x180b && c <= 0x180f) ||
         (c >= 0x2028 && c <= 0x2029) || (c >= 0x205f && c <= 0x206f) || c == 0x2800 ||
         c == 0x3000 || c == 0x3164 || (c >= 0xfe00 && c <= 0xfe0f) || c == 0xffa0 ||
         (c >= 0xfff0 && c <= 0xfffb) || (c >= 0x1bca0 && c <= 0x1bca3) ||
         (c >= 0x1d173 && c <= 0x1d17a) || (c >= 0xe0000 && c <= 0xe0fff);
}

static int is_all_blank(text value) {
  const char *at = value.bytes, *end = value.bytes + value.size;
  while (at < end)
    if (!is_blank(next_code_point(&at, end))) return 0;
  return 1;
}

/* Whether eight bytes are all ASCII that shows or a space, as nearly every text's are: none has its
** high bit set, falls below 0 without 0x20, or reaches 0x80 with one more. */
static int are_plain(const char *bytes) {
  const uint64_t ones = UINT64_C(0x0101010101010101);
  uint64_t eight;
  memcpy(&eight, bytes, sizeof eight);
  return ((eight | (eight - 0x20 * ones) | (eight + ones)) & (0x80 * ones)) == 0;
}

/* Eight bytes at a time, the last eight perhaps twice. */
static int is_plain(text value) {
  int i;
  if (value.size < 8) return 0;
  for (i = 0; i + 8 < value.size; i += 8)
    if (!are_plain(value.bytes + i)) return 0;
  return are_plain(value.bytes + value.size - 8);
}

static int is_clean(text value, enum layout layout) {
  const char *at = value.bytes, *end = value.bytes + value.size;
  if (layout == ANY || is_plain(value)) return 1;
  while (at < end) {
    uint32_t c = next_code_point(&at, end);
    int breaks = layout == PROSE && (c == '\t' || c == '\n' || c == '\r');
    if (c == NOT_UTF8 || (is_control(c) && !breaks)) return 0;
  }
  return 1;
}

/* The size of a caller's text, at most one past the limit: what is beyond is not looked at. */
static int measure(const char *bytes, int64_t size, int limit) {
  const char *nul;
  if (size >= 0) return size <= limit ? (int)size : limit + 1;
  nul = memchr(bytes, '\0', (size_t)limit + 1);
  return nul != NULL ? (int)(nul - bytes) : limit + 1;
}

static int is_text(text value, const char *word) {
  return (size_t)value.size == strlen(word) && memcmp(value.bytes, word, strlen(word)) == 0;
}

static int are_equal(text a, text b) {
  return a.size == b.size && (a.size == 0 || memcmp(a.bytes, b.bytes, (size_t)a.size) == 0);
}

/* A caller's string, checked. `name` is the parameter's, for the message. */
static int take_text(
  custmem *store,
  const char *name,
  const char *bytes,
  int64_t size,
  int limit,
  enum layout layout,
  text *out
) {
  *out = NO_TEXT;
  if (bytes == NULL) return fail_null(store, name);
  if (size < CUSTMEM_NUL_TERMINATED)
    return fail(store, CUSTMEM_MISUSE, name, "the size of %s is negative", name);
  out->bytes = bytes;
  out->size = measure(bytes, size, limit);
  if (out->size == 0) return fail(store, CUSTMEM_EMPTY, name, "%s is empty", name);
  if (out->size > limit)
    return fail(store, CUSTMEM_TOO_LONG, name, "%s is longer than %d bytes", name, limit);
  if (!is_clean(*out, layout))
    return fail(
      store, CUSTMEM_BAD_TEXT, name,
      "%s (at most %d bytes) is not UTF-8, or holds a NUL or a control character", name, limit
    );
  return CUSTMEM_OK;
}

static int take_id(custmem *store, const char *name, const char *id, text *out) {
  return take_text(store, name, id, CUSTMEM_NUL_TERMINATED, CUSTMEM_ID_MAX, LINE, out);
}

static int take_customer_id(custmem *store, const char *name, const char *id, text *out) {
  return take_text(store, name, id, CUSTMEM_NUL_TERMINATED, CUSTMEM_UUID_SIZE, LINE, out);
}

/* A text that may be NULL: none. */
static int take_optional(
  custmem *store,
  const char *name,
  const char *bytes,
  int64_t size,
  int limit,
  enum layout layout,
  text *out
) {
  *out = NO_TEXT;
  return bytes == NULL ? CUSTMEM_OK : take_text(store, name, bytes, size, limit, layout, out);
}

/* The scope of a call: whose rows it may see. The only place that makes one. */
static int take_instructor(custmem *store, const char *instructor_id, text *out) {
  *out = NO_TEXT;
  if (instructor_id == NULL || instructor_id[0] == '\0')
    return fail(
      store, CUSTMEM_NO_INSTRUCTOR, "instructor_id", "no instructor_id (1 to %d bytes)",
      CUSTMEM_ID_MAX
    );
  return take_id(store, "instructor_id", instructor_id, out);
}

/* Who writes: a human (CM-2.3 §3.1), for an instructor. */
static int take_actor(
  custmem *store,
  const custmem_actor *actor,
  text *instructor,
  text *actor_id
) {
  int rc;
  *instructor = *actor_id = NO_TEXT;
  if (actor == NULL) return fail_null(store, "actor");
  rc = take_instructor(store, actor->instructor_id, instructor);
  if (rc == CUSTMEM_OK && actor->type != CUSTMEM_ACTOR_HUMAN)
    rc = fail(store, CUSTMEM_NOT_HUMAN, "actor", "only a human may write (CM-2.3 §3.1)");
  if (rc == CUSTMEM_OK) rc = take_id(store, "actor_id", actor->actor_id, actor_id);
  return rc;
}

/* ---- SQLite -------------------------------------------------------------------------------- */

/* A prepared statement, ready to bind. What the table calls READ is proved to be one; a WRITE is
** had only inside begin_write … end_write. */
static int prepared(custmem *store, enum statement id, sqlite3_stmt **out) {
  sqlite3_stmt **slot = &store->statements[id];
  enum kind kind = STATEMENTS[id].kind;
  int rc = SQLITE_OK;
  *out = NULL;
  if (*slot == NULL)
    rc = sqlite3_prepare_v3(
      store->db, STATEMENTS[id].sql, -1, SQLITE_PREPARE_PERSISTENT, slot, NULL
    );
  if (rc != SQLITE_OK) return fail_sqlite(store, rc);
  if ((kind == READ && !sqlite3_stmt_readonly(*slot)) || (kind == WRITE && !store->writing))
    return fail(store, CUSTMEM_INTERNAL, "", "statement %d in the wrong place", (int)id);
  *out = *slot;
  return CUSTMEM_OK;
}

/* Makes a statement ready for its next use, and forgets the caller's pointers. */
static void release(sqlite3_stmt *stmt) {
  if (stmt == NULL) return;
  sqlite3_reset(stmt);
  sqlite3_clear_bindings(stmt);
}

/* Prepares a statement and binds its parameters in order, one letter each: t a text (NULL for
** none), i an int64_t, h the HASH_BYTES of a hash. What is bound must last until release. */
static int statement(
  custmem *store,
  enum statement id,
  sqlite3_stmt **stmt,
  const char *types,
  ...
) {
  int rc = prepared(store, id, stmt), sqlite_rc = SQLITE_OK, i;
  va_list values;
  va_start(values, types);
  for (i = 1; rc == CUSTMEM_OK && sqlite_rc == SQLITE_OK && *types != '\0'; i++, types++) {
    if (*types == 't') {
      text value = va_arg(values, text);
      sqlite_rc = sqlite3_bind_text(*stmt, i, value.bytes, value.size, SQLITE_STATIC);
    } else if (*types == 'i') {
      sqlite_rc = sqlite3_bind_int64(*stmt, i, va_arg(values, int64_t));
    } else {
      const unsigned char *hash = va_arg(values, const unsigned char *);
      sqlite_rc = sqlite3_bind_blob(*stmt, i, hash, HASH_BYTES, SQLITE_STATIC);
    }
  }
  va_end(values);
  if (sqlite_rc != SQLITE_OK) rc = fail_sqlite(store, sqlite_rc);
  return rc;
}

/* Steps once; *row says whether there is one. */
static int step(custmem *store, sqlite3_stmt *stmt, int *row) {
  int rc = sqlite3_step(stmt);
  *row = rc == SQLITE_ROW;
  return *row || rc == SQLITE_DONE ? CUSTMEM_OK : fail_sqlite(store, rc);
}

/* Steps a statement that has no rows, and releases it. */
static int step_done(custmem *store, sqlite3_stmt *stmt) {
  int row, rc = step(store, stmt, &row);
  release(stmt);
  return rc;
}

/* Writes a row. A trigger of somebody else's may swallow it, without a word. */
static int write_row(custmem *store, sqlite3_stmt *stmt) {
  int rc = step_done(store, stmt);
  if (rc == CUSTMEM_OK && sqlite3_changes64(store->db) != 1)
    rc =
      fail(store, CUSTMEM_SCHEMA, "", "a row that was written is not there: see the triggers");
  return rc;
}

/* Reads a row's columns from left to right into fixed fields. The file is not trusted: a value of
** another type, a text that no call would have taken, or one that does not fit is CORRUPT, never cut.
** (SQLite calls what sqlite3_column_value gives unprotected: it is one thread's, as a handle is.) */
typedef struct row_reader {
  sqlite3_stmt *stmt;
  int column;
  int code;
} row_reader;

static row_reader read_row(sqlite3_stmt *stmt) {
  row_reader row = {stmt, 0, CUSTMEM_OK};
  return row;
}

/* A text where it stands in the row, until the next step; NO_TEXT for NULL. */
static text read_view(row_reader *row, enum layout layout, size_t size_max) {
  sqlite3_value *cell = sqlite3_column_value(row->stmt, row->column++);
  int type = sqlite3_value_type(cell);
  text value;
  if (type == SQLITE_NULL) return NO_TEXT;
  value.bytes = (const char *)sqlite3_value_text(cell);
  value.size = sqlite3_value_bytes(cell);
  if (type == SQLITE_TEXT && value.bytes != NULL && value.size > 0 && (size_t)value.size <= size_max && is_clean(value, layout))
    return value;
  row->code = CUSTMEM_CORRUPT;
  return NO_TEXT;
}

/* The same, of a column that has a value. */
static text read_value(row_reader *row, enum layout layout, size_t size_max) {
  text value = read_view(row, layout, size_max);
  if (value.size == 0) row->code = CUSTMEM_CORRUPT;
  return value;
}

static void put_text(char *field, text value) {
  if (value.bytes != NULL) memcpy(field, value.bytes, (size_t)value.size);
  field[value.size] = '\0';
}

/* A text, or "" for NULL. */
static void read_nullable_text(row_reader *row, char *field, size_t field_size) {
  put_text(field, read_view(row, LINE, field_size - 1));
}

/* A field that has a value. */
static void need_value(row_reader *row, const char *field) {
  if (field[0] == '\0') row->code = CUSTMEM_CORRUPT;
}

static void read_text(row_reader *row, char *field, size_t field_size) {
  read_nullable_text(row, field, field_size);
  need_value(row, field);
}

/* A field that must be what was asked for; NO_TEXT asks for nothing. */
static void need_text(row_reader *row, const char *field, text asked) {
  if (asked.bytes != NULL && !is_text(asked, field)) row->code = CUSTMEM_CORRUPT;
}

static int64_t read_int(row_reader *row) {
  sqlite3_value *cell = sqlite3_column_value(row->stmt, row->column++);
  if (sqlite3_value_type(cell) != SQLITE_INTEGER) row->code = CUSTMEM_CORRUPT;
  return sqlite3_value_int64(cell);
}

static void read_hash(row_reader *row, unsigned char hash[HASH_BYTES]) {
  sqlite3_value *cell = sqlite3_column_value(row->stmt, row->column++);
  const void *bytes = sqlite3_value_blob(cell);
  if (sqlite3_value_type(cell) == SQLITE_BLOB && bytes != NULL && sqlite3_value_bytes(cell) == HASH_BYTES)
    memcpy(hash, bytes, HASH_BYTES);
  else
    row->code = CUSTMEM_CORRUPT;
}

/* What reading the row came to. Memory that ran out looks like a NULL text, so it is told apart. */
static int row_code(custmem *store, const row_reader *row, const char *what) {
  if (row->code == CUSTMEM_OK) return CUSTMEM_OK;
  if (sqlite3_errcode(store->db) == SQLITE_NOMEM) return fail_sqlite(store, SQLITE_NOMEM);
  return fail(store, row->code, "", "the store holds %s that cannot be", what);
}

static int run_control(custmem *store, enum statement id) {
  sqlite3_stmt *stmt;
  int rc = prepared(store, id, &stmt);
  return rc == CUSTMEM_OK ? step_done(store, stmt) : rc;
}

/* Ends whatever transaction is open, without a trace; the message of what failed is kept. An
** interrupt that comes while it does so is for the call, and does not keep it from ending. */
static void roll_back(custmem *store) {
  sqlite3_stmt *stmt = store->statements[ROLLBACK];
  int rc = SQLITE_INTERRUPT;
  release(store->statements[HOLD_WRITE]);
  while (rc == SQLITE_INTERRUPT && !sqlite3_get_autocommit(store->db)) {
    rc = sqlite3_step(stmt);
    release(stmt);
  }
}

static int hold(custmem *store, enum statement id) {
  sqlite3_stmt *stmt;
  int row, rc = prepared(store, id, &stmt);
  return rc == CUSTMEM_OK ? step(store, stmt, &row) : rc;
}

/* Until end_read, which ends it also where it could not begin. */
static int begin_read(custmem *store) {
  return hold(store, HOLD_READ);
}

static void end_read(custmem *store) {
  release(store->statements[HOLD_READ]);
}

static int begin_write(custmem *store) {
  int rc;
  if (store->read_only)
    return fail(store, CUSTMEM_READONLY, "store", "the store was opened read-only");
  rc = run_control(store, BEGIN_WRITE);
  if (rc == CUSTMEM_OK) rc = hold(store, HOLD_WRITE);
  if (rc != CUSTMEM_OK) roll_back(store);
  store->writing = rc == CUSTMEM_OK;
  return rc;
}

/* Commits if all went well, else leaves no trace. A commit that failed may yet be found by whoever
** recovers the file (its record was written, and what came after it failed): that is said, and
** nothing else is. A full disk, a lock and an interrupt fail before the record is complete. */
static int end_write(custmem *store, int rc) {
  if (rc == CUSTMEM_OK) {
    rc = run_control(store, COMMIT);
    if (rc != CUSTMEM_OK && rc != CUSTMEM_FULL && rc != CUSTMEM_BUSY && rc != CUSTMEM_INTERRUPTED)
      rc = fail(store, CUSTMEM_UNKNOWN_OUTCOME, "", "%s", sqlite3_errmsg(store->db));
  }
  roll_back(store);
  store->writing = 0;
  return rc;
}

/* How many fork() calls lie between the program's start and this process. getpid() would tell too, but
** is a system call: a twentieth of a resolution. */
static atomic_uint forks;

/* An interrupt that came when no call was running: SQLite forgets it when it begins a statement and has no
** other, which is not the first thing that every call does. */
static void forget_interrupt(custmem *store) {
  sqlite3_stmt *stmt = store->statements[HOLD_WRITE];
  if (!sqlite3_is_interrupted(store->db)) return;
  sqlite3_step(stmt);
  release(stmt);
}

/* Every public call on a store begins and ends here. */
static int enter(custmem *store) {
  if (store == NULL || store->magic != STORE_MAGIC) return CUSTMEM_MISUSE;
  if (store->forks != atomic_load_explicit(&forks, memory_order_relaxed))
    return fail(store, CUSTMEM_FORKED, "store", "the store was opened before a fork()");
  if (store->in_call)
    return fail(store, CUSTMEM_MISUSE, "store", "a clock or random callback called custmem");
  forget_interrupt(store);
  store->in_call = 1;
  store->errarg = "";
  store->errmsg[0] = '\0';
  return CUSTMEM_OK;
}

/* The same for a call that changes something: not from inside the listener. */
static int enter_write(custmem *store) {
  int rc = enter(store);
  if (rc != CUSTMEM_OK || !store->in_listener) return rc;
  store->in_call = 0;
  return fail(store, CUSTMEM_MISUSE, "store", "a listener may read, and do nothing else");
}

static void forget_answers(custmem *store) {
  sqlite3_free(store->kept);
  store->kept = NULL;
}

/* SQLite checks a page when it reads it, and not again as long as the page is cached: what was found
** damaged would pass for sound the next time. What was read of such a file before is not relied on. */
static void distrust(custmem *store) {
  sqlite3_db_release_memory(store->db);
  forget_answers(store);
}

static int leave(custmem *store, int rc) {
  store->in_call = 0;
  if (rc == CUSTMEM_CORRUPT || rc == CUSTMEM_BROKEN) distrust(store);
  if (rc == CUSTMEM_OK) {
    store->errarg = "";
    store->errmsg[0] = '\0';
  }
  return rc;
}

/* The page of a list that a call fills. */
typedef struct page {
  const char *name;
  void *rows;
  size_t row_size;
  int32_t capacity;
  int32_t *count;
} page;

/* A page that failed is no page: no rows, and nothing in their places. */
static void blank_page(const page *list) {
  if (list->count != NULL) *list->count = 0;
  if (list->rows != NULL && list->capacity > 0)
    memset(list->rows, 0, (size_t)list->capacity * list->row_size);
}

static int leave_list(custmem *store, const page *list, int rc) {
  if (rc != CUSTMEM_OK) blank_page(list);
  return leave(store, rc);
}

/* The same as enter, for a call that fills a page. */
static int enter_list(custmem *store, const page *list) {
  int rc = enter(store);
  if (list->count != NULL) *list->count = 0;
  if (rc != CUSTMEM_OK) {
    blank_page(list);
    return rc;
  }
  if (list->rows == NULL)
    rc = fail_null(store, list->name);
  else if (list->count == NULL)
    rc = fail_null(store, "count");
  else if (list->capacity < 1)
    rc =
      fail(store, CUSTMEM_MISUSE, "capacity", "capacity is %d, not at least 1", list->capacity);
  return rc == CUSTMEM_OK ? rc : leave_list(store, list, rc);
}

/* Tells the listener, after all is done: the call's outcome is settled, and stays what it is, with its
** message, whatever the listener reads. */
static void tell(custmem *store, const custmem_notice *notice) {
  const char *errarg = store->errarg;
  char errmsg[sizeof store->errmsg];
  if (store->listener == NULL || store->in_listener) return;
  memcpy(errmsg, store->errmsg, sizeof errmsg);
  store->in_listener = 1;
  store->in_call = 0;
  store->listener(notice, store->listener_ctx);
  store->in_call = 1;
  store->in_listener = 0;
  store->errarg = errarg;
  memcpy(store->errmsg, errmsg, sizeof errmsg);
}

/* ---- Sources: clock, random, UUIDs --------------------------------------------------------- */

#define CLOCK_LIMIT (INT64_C(1) << 48) /* what a UUIDv7 holds */

static int is_time(int64_t ms) {
  return ms >= 0 && ms < CLOCK_LIMIT;
}

static int64_t system_now_ms(void *ctx) {
  struct timespec now;
  (void)ctx;
  if (timespec_get(&now, TIME_UTC) != TIME_UTC) return -1;
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int sqlite_random(uint8_t *bytes, size_t size, void *ctx) {
  (void)ctx;
  sqlite3_randomness((int)size, bytes);
  return 0;
}

static int take_now(custmem *store, int64_t *now_ms) {
  *now_ms = store->now_ms(store->source_ctx);
  if (is_time(*now_ms)) return CUSTMEM_OK;
  return fail(
    store, CUSTMEM_SOURCE, "now_ms", "the clock says %lld, not 0 to 2^48-1 ms",
    (long long)*now_ms
  );
}

static void to_hex(const unsigned char *bytes, size_t size, char *hex) {
  static const char digits[] = "0123456789abcdef";
  size_t i;
  for (i = 0; i < size; i++) {
    hex[2 * i] = digits[bytes[i] >> 4];
    hex[2 * i + 1] = digits[bytes[i] & 15];
  }
  hex[2 * size] = '\0';
}

/* A UUIDv7 (RFC 9562): 48 bits of time, version, variant, 74 random bits. */
static int make_uuid(custmem *store, int64_t now_ms, char uuid[CUSTMEM_UUID_SIZE + 1]) {
  uint8_t bytes[16];
  char hex[33];
  int i;
  if (store->random(bytes + 6, sizeof bytes - 6, store->source_ctx) != 0)
    return fail(store, CUSTMEM_SOURCE, "random", "the random source failed");
  for (i = 0; i < 6; i++)
    bytes[i] = (uint8_t)(now_ms >> (8 * (5 - i)));
  bytes[6] = (uint8_t)(0x70 | (bytes[6] & 0x0f));
  bytes[8] = (uint8_t)(0x80 | (bytes[8] & 0x3f));
  to_hex(bytes, sizeof bytes, hex);
  sqlite3_snprintf(
    CUSTMEM_UUID_SIZE + 1, uuid, "%.8s-%.4s-%.4s-%.4s-%s", hex, hex + 8, hex + 12, hex + 16,
    hex + 20
  );
  return CUSTMEM_OK;
}

/* ---- SHA-256 (FIPS 180-4) ------------------------------------------------------------------ */

enum { SHA256_BLOCK = 64 };

static uint32_t rotate_right(uint32_t x, int bits) {
  return x >> bits | x << (32 - bits);
}

/* Each word of the schedule from the words 15, 2, 16 and 7 before it. */
static uint32_t sha256_word(const uint32_t *w) {
  uint32_t x = w[1], y = w[14];
  return w[0] + w[9] + (rotate_right(x, 7) ^ rotate_right(x, 18) ^ x >> 3) +
         (rotate_right(y, 17) ^ rotate_right(y, 19) ^ y >> 10);
}

/* The variables change places from round to round, so that none is copied. What a and b differ in is
** what b and c will in the next round: their majority is had by one operation less. Each round also
** makes the word of sixteen rounds later: its sums do not wait for the round's. */
#define SHA256_ROUND(a, b, c, d, e, f, g, h, i, ab, bc)                                        \
  do {                                                                                         \
    h += (rotate_right(e, 6) ^ rotate_right(e, 11) ^ rotate_right(e, 25)) +                    \
         (g ^ (e & (f ^ g))) + k[i] + w[i];                                                    \
    d += h;                                                                                    \
    ab = a ^ b;                                                                                \
    h += (rotate_right(a, 2) ^ rotate_right(a, 13) ^ rotate_right(a, 22)) + (b ^ (ab & bc));   \
    if (has_more) w[(i) + 16] = sha256_word(w + (i));                                          \
  } while (0)

static void sha256_block(uint32_t state[8], const unsigned char *block) {
  static const uint32_t k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
    0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
    0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
    0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
    0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
    0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
    0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
    0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
    0xc67178f2};
  uint32_t w[64], a = state[0], b = state[1], c = state[2], d = state[3], e = state[4],
                  f = state[5], g = state[6], h = state[7], x, y = b ^ c;
  size_t i;
  for (i = 0; i < 16; i++)
    w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 |
           (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
  for (i = 0; i < 64; i += 8) {
    int has_more = i < 48;
    SHA256_ROUND(a, b, c, d, e, f, g, h, i, x, y);
    SHA256_ROUND(h, a, b, c, d, e, f, g, i + 1, y, x);
    SHA256_ROUND(g, h, a, b, c, d, e, f, i + 2, x, y);
    SHA256_ROUND(f, g, h, a, b, c, d, e, i + 3, y, x);
    SHA256_ROUND(e, f, g, h, a, b, c, d, i + 4, x, y);
    SHA256_ROUND(d, e, f, g, h, a, b, c, i + 5, y, x);
    SHA256_ROUND(c, d, e, f, g, h, a, b, i + 6, x, y);
    SHA256_ROUND(b, c, d, e, f, g, h, a, i + 7, y, x);
  }
  state[0] += a, state[1] += b, state[2] += c, state[3] += d;
  state[4] += e, state[5] += f, state[6] += g, state[7] += h;
}

static void put_big_endian(unsigned char *bytes, uint64_t value, int size) {
  int i;
  for (i = 0; i < size; i++)
    bytes[i] = (unsigned char)(value >> (8 * (size - 1 - i)));
}

/* The last bytes are followed by 0x80, zeros, and the number of bits at the end of a block. */
static void sha256(const unsigned char *bytes, size_t size, unsigned char hash[HASH_BYTES]) {
  uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                       0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  unsigned char tail[2 * SHA256_BLOCK] = {0};
  size_t rest = size % SHA256_BLOCK, whole = size - rest, i;
  size_t tail_size = rest < SHA256_BLOCK - 8 ? SHA256_BLOCK : 2 * SHA256_BLOCK;
  for (i = 0; i < whole; i += SHA256_BLOCK)
    sha256_block(state, bytes + i);
  memcpy(tail, bytes + whole, rest);
  tail[rest] = 0x80;
  put_big_endian(tail + tail_size - 8, (uint64_t)size * 8, 8);
  for (i = 0; i < tail_size; i += SHA256_BLOCK)
    sha256_block(state, tail + i);
  for (i = 0; i < 8; i++)
    put_big_endian(hash + 4 * i, state[i], 4);
}

/* ---- SipHash ------------------------------------------------------------------------------- */

static uint64_t rotate_left(uint64_t x, int bits) {
  return x << bits | x >> (64 - bits);
}

static void sip_round(uint64_t v[4]) {
  v[0] += v[1], v[2] += v[3];
  v[1] = rotate_left(v[1], 13) ^ v[0], v[3] = rotate_left(v[3], 16) ^ v[2];
  v[0] = rotate_left(v[0], 32);
  v[2] += v[1], v[0] += v[3];
  v[1] = rotate_left(v[1], 17) ^ v[2], v[3] = rotate_left(v[3], 21) ^ v[0];
  v[2] = rotate_left(v[2], 32);
}

/* SipHash-1-3 of whole words; its padding, which tells sizes apart, is the caller's. The three rounds
** at its end are those of three words that are zero. */
static uint64_t sip_hash(const uint64_t key[2], const uint64_t *words, size_t count) {
  uint64_t v[4];
  size_t i;
  v[0] = key[0] ^ UINT64_C(0x736f6d6570736575);
  v[1] = key[1] ^ UINT64_C(0x646f72616e646f6d);
  v[2] = key[0] ^ UINT64_C(0x6c7967656e657261);
  v[3] = key[1] ^ UINT64_C(0x7465646279746573);
  for (i = 0; i < count + 3; i++) {
    uint64_t word = i < count ? words[i] : 0;
    if (i == count) v[2] ^= 0xff;
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
  }
  return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* Texts are packed one after another, each with a NUL. How many bytes that are, and how many words. */
static size_t packed_size(const text *texts, size_t count) {
  size_t size = count, i;
  for (i = 0; i < count; i++)
    size += (size_t)texts[i].size;
  return size;
}

static size_t words_in(size_t bytes) {
  return (bytes + 7) / 8;
}

/* The last word is filled up with zeros. */
static void pack_texts(uint64_t *words, const text *texts, size_t count) {
  char *bytes = (char *)words;
  size_t i;
  words[words_in(packed_size(texts, count)) - 1] = 0;
  for (i = 0; i < count; i++) {
    put_text(bytes, texts[i]);
    bytes += texts[i].size + 1;
  }
}

/* ---- The audit's encoding -------------------------------------------------------------------
** Documented in custmem.h, under Audit: each field as tag, length, bytes, so that no two different
** events can be the same bytes. */

#define CHAIN_DOMAIN "custmem.audit.chain.1"
#define EVENT_DOMAIN "custmem.audit.event.1"

/* Room for an event: its fields, a tag and a length for each, the domain and the hash before it. */
typedef struct encoding {
  size_t size;
  unsigned char bytes[sizeof(custmem_event) + 256];
} encoding;

static void add_field(encoding *out, int tag, const void *bytes, size_t size) {
  unsigned char *at = out->bytes + out->size;
  uint32_t told = bytes != NULL ? (uint32_t)size : UINT32_MAX;
  at[0] = (unsigned char)tag;
  at[1] = (unsigned char)(told >> 24), at[2] = (unsigned char)(told >> 16);
  at[3] = (unsigned char)(told >> 8), at[4] = (unsigned char)told;
  out->size += 5;
  if (bytes == NULL) return;
  memcpy(at + 5, bytes, size);
  out->size += size;
}

static void add_text(encoding *out, int tag, text value) {
  add_field(out, tag, value.bytes, (size_t)value.size);
}

static void add_int(encoding *out, int tag, int64_t value) {
  unsigned char bytes[8];
  put_big_endian(bytes, (uint64_t)value, 8);
  add_field(out, tag, bytes, sizeof bytes);
}

#define HUMAN  "human"
#define SYSTEM "system"

/* The hash of no event: the chain belongs to this store and this instructor. */
static void hash_of_empty_chain(
  const char *store_id,
  text instructor,
  unsigned char hash[HASH_BYTES]
) {
  encoding out;
  out.size = 0;
  add_text(&out, 0, text_of(CHAIN_DOMAIN));
  add_text(&out, 1, text_of(store_id));
  add_text(&out, 2, instructor);
  sha256(out.bytes, out.size, hash);
}

/* An event's fields, in the order of their encoding. Whose the texts are, whoever fills it in says. */
typedef struct event_fields {
  text instructor;
  int64_t seq;
  text name;
  text conversation;
  text previous;
  text next;
  text actor_type;
  text actor_id;
  text reason;
  text context;
  int64_t created_at_ms;
} event_fields;

/* Replaces the hash of the event before by that of this event. */
static void hash_of_event(const event_fields *event, unsigned char hash[HASH_BYTES]) {
  encoding out;
  out.size = 0;
  add_text(&out, 0, text_of(EVENT_DOMAIN));
  add_field(&out, 1, hash, HASH_BYTES);
  add_text(&out, 2, event->instructor);
  add_int(&out, 3, event->seq);
  add_text(&out, 4, event->name);
  add_text(&out, 5, event->conversation);
  add_text(&out, 6, event->previous);
  add_text(&out, 7, event->next);
  add_text(&out, 8, event->actor_type);
  add_text(&out, 9, event->actor_id);
  add_text(&out, 10, event->reason);
  add_text(&out, 11, event->context);
  add_int(&out, 12, event->created_at_ms);
  sha256(out.bytes, out.size, hash);
}

/* The same as callers see it, but for its hash. */
static void put_event(const event_fields *from, custmem_event *event) {
  put_text(event->instructor_id, from->instructor);
  event->seq = from->seq;
  put_text(event->event_name, from->name);
  put_text(event->conversation_id, from->conversation);
  put_text(event->previous_customer_id, from->previous);
  put_text(event->new_customer_id, from->next);
  event->actor_type =
    is_text(from->actor_type, HUMAN) ? CUSTMEM_ACTOR_HUMAN : CUSTMEM_ACTOR_SYSTEM;
  put_text(event->actor_id, from->actor_id);
  put_text(event->reason, from->reason);
  put_text(event->context, from->context);
  event->created_at_ms = from->created_at_ms;
}

static void make_head(int64_t count, const unsigned char hash[HASH_BYTES], custmem_head *head) {
  head->count = count;
  to_hex(hash, HASH_BYTES, head->hash);
}

/* ---- Lifecycle ------------------------------------------------------------------------------
** Opening, in this order, so that a file that is not custmem's is never written, recovered or
** checkpointed:
**
**   1. the path: its directory resolved, its last part a plain file with one name, or free
**   2. a new file is made here, with mode 0600, before SQLite sees it
**   3. connect; nothing is read yet; closing must not checkpoint a WAL that was left
**   4. peek at the header's 108 bytes without a lock: somebody else's file is refused here, unless what
**      lies beside it says that a power cut has torn its first page and recovery will replace it
**   5. settings that do not depend on the file, then identify it under a lock, or make the schema
**   6. compare every object of the schema; read what the store is
**   7. WAL; the authorizer last: from here on the connection can do what STATEMENTS does, only
*/

/* Where a store is, as the path was found. */
enum place { NOWHERE, MEMORY, EMPTY_FILE, FULL_FILE };

#define HEADER_SIZE 108 /* of the file, and of its first page, as far as it is looked at */

void custmem_options_init(custmem_options *options) {
  if (options == NULL) return;
  memset(options, 0, sizeof *options);
  options->size = (uint32_t)sizeof *options;
}

/* Options of this version, or of a later one that asks for nothing that this one lacks. */
static int options_known(const custmem_options *options) {
  const unsigned char *bytes = (const unsigned char *)options;
  size_t i;
  if (options->size < sizeof *options || options->size > 4096) return 0;
  for (i = sizeof *options; i < options->size; i++)
    if (bytes[i] != 0) return 0;
  return 1;
}

static int take_options(custmem *store, const custmem_options *options) {
  store->busy_timeout_ms = DEFAULT_BUSY_TIMEOUT_MS;
  store->now_ms = system_now_ms;
  store->random = sqlite_random;
  if (options == NULL) return CUSTMEM_OK;
  if (options->read_only != 0 && options->exclusive != 0)
    return fail(
      store, CUSTMEM_MISUSE, "options",
      "read_only and exclusive do not go together: a reader "
      "cannot keep others out"
    );
  store->read_only = options->read_only != 0;
  store->exclusive = options->exclusive != 0;
  if (options->busy_timeout_ms != 0)
    store->busy_timeout_ms = options->busy_timeout_ms > 0 ? options->busy_timeout_ms : 0;
  if (options->now_ms != NULL) store->now_ms = options->now_ms;
  if (options->random != NULL) store->random = options->random;
  store->source_ctx = options->source_ctx;
  return CUSTMEM_OK;
}

static int fail_path(custmem *store, const char *path) {
  switch (errno) {
  case ENOENT:
  case ENOTDIR:
    return fail(store, CUSTMEM_NO_PATH, "path", "%s: no such file or directory", path);
  case EEXIST:
    return fail(store, CUSTMEM_EXISTS, "path", "%s: is there already", path);
  case EACCES:
  case EPERM:
  case EROFS:
    return fail(store, CUSTMEM_PERMISSION, "path", "%s: not permitted", path);
  case ENOSPC:
  case EDQUOT:
    return fail(store, CUSTMEM_FULL, "path", "%s: no space left", path);
  case ENAMETOOLONG:
    return fail(
      store, CUSTMEM_TOO_LONG, "path", "path is longer than %d bytes", CUSTMEM_PATH_MAX
    );
  default:
    return fail(store, CUSTMEM_IO, "path", "%s: error %d", path, errno);
  }
}

/* The path as SQLite gets it: absolute, with its directory's symbolic links resolved, since SQLite
** is told to follow none. */
static int resolve_path(custmem *store, const char *path, char full[CUSTMEM_PATH_MAX + 1]) {
  char directory[CUSTMEM_PATH_MAX + 1], resolved[PATH_MAX];
  const char *name;
  text checked;
  size_t size;
  int rc =
    take_text(store, "path", path, CUSTMEM_NUL_TERMINATED, CUSTMEM_PATH_MAX, LINE, &checked);
  if (rc != CUSTMEM_OK) return rc;
  name = strrchr(path, '/');
  name = name != NULL ? name + 1 : path;
  if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
    return fail(store, CUSTMEM_NOT_A_FILE, "path", "%s: a directory", path);
  size = (size_t)(name - path);
  memcpy(directory, path, size);
  strcpy(directory + size, ".");
  if (realpath(directory, resolved) == NULL) return fail_path(store, path);
  if (strcmp(resolved, "/") == 0) resolved[0] = '\0';
  if (strlen(resolved) + 1 + strlen(name) > CUSTMEM_PATH_MAX) {
    errno = ENAMETOOLONG;
    return fail_path(store, path);
  }
  sqlite3_snprintf(CUSTMEM_PATH_MAX + 1, full, "%s/%s", resolved, name);
  return CUSTMEM_OK;
}

/* The directory of an absolute path. */
static void parent_of(const char *full, char directory[CUSTMEM_PATH_MAX + 1]) {
  char *slash;
  strcpy(directory, full);
  slash = strrchr(directory, '/');
  slash[slash == directory] = '\0';
}

/* POSIX drops all of a process's locks on a file when any of its descriptors for it is closed. So
** while one thread makes a file and closes it, no other thread may find it there and lock it. */
static atomic_flag making_file = ATOMIC_FLAG_INIT;

static void lock_files(void) {
  while (atomic_flag_test_and_set(&making_file))
    sqlite3_sleep(1);
}

static void unlock_files(void) {
  atomic_flag_clear(&making_file);
}

/* In the child: the thread that may have locked the files is not there any more. */
static void begin_child(void) {
  atomic_fetch_add(&forks, 1);
  unlock_files();
}

static int cannot_see_forks;

static void see_forks(void) {
  cannot_see_forks = pthread_atfork(NULL, NULL, begin_child);
}

/* Whether there is a plain file with one name; or nothing yet. */
static int look_at_path(custmem *store, const char *full, enum place *place) {
  char directory[CUSTMEM_PATH_MAX + 1];
  struct stat status;
  int found;
  *place = NOWHERE;
  lock_files();
  found = lstat(full, &status) == 0;
  unlock_files();
  if (!found) return errno == ENOENT ? CUSTMEM_OK : fail_path(store, full);
  *place = status.st_size == 0 ? EMPTY_FILE : FULL_FILE;
  if (S_ISLNK(status.st_mode))
    return fail(store, CUSTMEM_SYMLINK, "path", "%s: a symbolic link", full);
  if (!S_ISREG(status.st_mode))
    return fail(store, CUSTMEM_NOT_A_FILE, "path", "%s: not a plain file", full);
  if (status.st_nlink > 1)
    return fail(
      store, CUSTMEM_HARD_LINK, "path", "%s: has %d names (hard links)", full,
      (int)status.st_nlink
    );
  if (access(full, R_OK) != 0) return fail_path(store, full);
  parent_of(full, directory);
  if (!store->read_only && (access(full, W_OK) != 0 || access(directory, W_OK) != 0))
    return fail(
      store, CUSTMEM_READONLY, "path",
      "%s: the file or its directory may not be written: open it with read_only", full
    );
  return CUSTMEM_OK;
}

/* What SQLite would open beside the file must be a plain file too: it would wait for ever for a pipe. */
static int look_beside(custmem *store, const char *full) {
  static const char *const suffixes[] = {"-wal", "-shm", "-journal"};
  char name[CUSTMEM_PATH_MAX + sizeof "-journal"];
  struct stat status;
  size_t i;
  for (i = 0; i < COUNT_OF(suffixes); i++) {
    sqlite3_snprintf((int)sizeof name, name, "%s%s", full, suffixes[i]);
    if (stat(name, &status) == 0 && !S_ISREG(status.st_mode))
      return fail(store, CUSTMEM_NOT_A_FILE, "path", "%s: not a plain file", name);
  }
  return CUSTMEM_OK;
}

/* Makes an empty file that only its owner may use, whatever the umask. */
static int create_file(custmem *store, const char *full) {
  int file, rc = CUSTMEM_OK;
  lock_files();
  file = open(full, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (file < 0 || fchmod(file, 0600) != 0) rc = fail_path(store, full);
  if (file >= 0) close(file);
  if (file >= 0 && rc != CUSTMEM_OK) unlink(full);
  unlock_files();
  return rc;
}

/* Whether closing may checkpoint. Not a reader's, and not while it is open whose file it is, unless
** there is no WAL yet: then closing only takes away the empty one that looking at the file made. */
static void allow_checkpoint(custmem *store, int allowed) {
  sqlite3_db_config(store->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, !allowed, (int *)NULL);
}

/* As SQLite waits for a lock, in pauses that grow, up to the busy timeout; but an interrupt ends it. */
static int wait_for_lock(void *ctx, int pauses) {
  enum { LONGEST_MS = 32 };
  custmem *waiting = ctx;
  int pause_ms = pauses < 5 ? 1 << pauses : LONGEST_MS, left_ms, slept_ms;
  if (pauses == 0) waiting->waited_ms = 0;
  left_ms = waiting->busy_timeout_ms - waiting->waited_ms;
  if (left_ms <= 0 || sqlite3_is_interrupted(waiting->db)) return 0;
  if (pause_ms > left_ms) pause_ms = left_ms;
  slept_ms = sqlite3_sleep(pause_ms); /* whole seconds, where SQLite knows no shorter ones */
  waiting->waited_ms += slept_ms > pause_ms ? slept_ms : pause_ms;
  return 1;
}

static int connect(custmem *store, const char *name, int flags) {
  static const struct {
    int option, value;
  } settings[] = {
    {SQLITE_DBCONFIG_DEFENSIVE, 1},
    {SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0},
    {SQLITE_DBCONFIG_ENABLE_FKEY, 1},
    {SQLITE_DBCONFIG_ENABLE_TRIGGER, 1},
    {SQLITE_DBCONFIG_ENABLE_VIEW, 0},
    {SQLITE_DBCONFIG_DQS_DML, 0},
    {SQLITE_DBCONFIG_DQS_DDL, 0},
    {SQLITE_DBCONFIG_ENABLE_ATTACH_CREATE, 0},
    {SQLITE_DBCONFIG_ENABLE_ATTACH_WRITE, 0},
    {SQLITE_DBCONFIG_ENABLE_QPSG, 1},
  };
  size_t i;
  int rc = sqlite3_open_v2(
    name, &store->db,
    flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_NOFOLLOW |
      SQLITE_OPEN_EXRESCODE,
    NULL
  );
  for (i = 0; i < COUNT_OF(settings) && rc == SQLITE_OK; i++)
    rc = sqlite3_db_config(store->db, settings[i].option, settings[i].value, (int *)NULL);
  if (rc == SQLITE_OK) rc = sqlite3_busy_handler(store->db, wait_for_lock, store);
  if (rc != SQLITE_OK) return fail_sqlite(store, rc);
  sqlite3_limit(store->db, SQLITE_LIMIT_LENGTH, 1000000);
  sqlite3_limit(store->db, SQLITE_LIMIT_ATTACHED, 0);
  return CUSTMEM_OK;
}

static uint32_t get_big_endian(const unsigned char *bytes) {
  return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 |
         bytes[3];
}

static int fail_other_application(custmem *store) {
  return fail(
    store, CUSTMEM_OTHER_APPLICATION, "path", "the database is another application's"
  );
}

static int fail_newer(custmem *store, int64_t version) {
  return fail(
    store, CUSTMEM_NEWER, "path", "the store has schema version %lld; this custmem knows %d",
    (long long)version, SCHEMA_VERSION
  );
}

enum { BESIDE_SIZE = 20 };

/* Reads the first bytes of a journal or a WAL; zeros where there are none. */
static int read_beside(
  custmem *store,
  sqlite3_filename name,
  int flags,
  unsigned char bytes[BESIDE_SIZE]
) {
  sqlite3_file *file = NULL;
  sqlite3_vfs *vfs = NULL;
  int there = 0, rc;
  memset(bytes, 0, BESIDE_SIZE);
  rc = sqlite3_file_control(store->db, "main", SQLITE_FCNTL_VFS_POINTER, &vfs);
  if (rc == SQLITE_OK) rc = vfs->xAccess(vfs, name, SQLITE_ACCESS_EXISTS, &there);
  if (rc != SQLITE_OK || !there) return rc == SQLITE_OK ? CUSTMEM_OK : fail_sqlite(store, rc);
  file = sqlite3_malloc64((sqlite3_uint64)vfs->szOsFile);
  if (file == NULL) return fail_sqlite(store, SQLITE_NOMEM);
  memset(file, 0, (size_t)vfs->szOsFile);
  rc = vfs->xOpen(vfs, name, file, flags | SQLITE_OPEN_READONLY, NULL);
  if (rc == SQLITE_OK) rc = file->pMethods->xRead(file, bytes, BESIDE_SIZE, 0);
  if (file->pMethods != NULL) file->pMethods->xClose(file);
  sqlite3_free(file);
  /* Whoever made the store meanwhile took it away when they closed it. */
  if ((rc & 0xff) == SQLITE_CANTOPEN && vfs->xAccess(vfs, name, SQLITE_ACCESS_EXISTS, &there) == SQLITE_OK && !there)
    return CUSTMEM_OK;
  return rc == SQLITE_OK || rc == SQLITE_IOERR_SHORT_READ ? CUSTMEM_OK : fail_sqlite(store, rc);
}

/* What a hot journal will do to a first page that a power cut has left half written. */
enum undoing { NOT_UNDONE, RESTORED, EMPTIED };

static int read_journal(custmem *store, enum undoing *undoing) {
  static const unsigned char magic[] = {0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7};
  enum { PAGES_BEFORE = 16 };
  unsigned char bytes[BESIDE_SIZE];
  sqlite3_filename name = sqlite3_filename_journal(sqlite3_db_filename(store->db, "main"));
  int rc = read_beside(store, name, SQLITE_OPEN_MAIN_JOURNAL, bytes);
  *undoing = NOT_UNDONE;
  if (rc == CUSTMEM_OK && memcmp(bytes, magic, sizeof magic) == 0)
    *undoing = get_big_endian(bytes + PAGES_BEFORE) == 0 ? EMPTIED : RESTORED;
  return rc;
}

/* Whether there is a WAL with something in it. */
static int read_wal(custmem *store, int *has_frames) {
  enum { WAL_MAGIC = 0x377f0682 };
  unsigned char bytes[BESIDE_SIZE];
  sqlite3_filename name = sqlite3_filename_wal(sqlite3_db_filename(store->db, "main"));
  int rc = read_beside(store, name, SQLITE_OPEN_WAL, bytes);
  *has_frames = rc == CUSTMEM_OK && (get_big_endian(bytes) | 1) == (WAL_MAGIC | 1);
  return rc;
}

/* A first page that is none is refused, unless SQLite's recovery will replace it. Beside a file without
** a byte SQLite would not recover a WAL, but delete it. */
static int peek_beside_torn(custmem *store, int is_empty) {
  enum undoing undoing = NOT_UNDONE;
  int has_frames, rc = read_wal(store, &has_frames);
  if (has_frames && !is_empty) return CUSTMEM_OK;
  if (rc == CUSTMEM_OK) rc = read_journal(store, &undoing);
  if (rc == CUSTMEM_OK && undoing == NOT_UNDONE)
    rc = fail(store, CUSTMEM_NOT_A_DATABASE, "path", "the file is not an SQLite database");
  return rc;
}

/* Without custmem's mark it is another application's, unless it is the torn beginning of a file that a
** journal says was empty. */
static int peek_beside_unmarked(custmem *store) {
  enum undoing undoing;
  int rc = read_journal(store, &undoing);
  return rc == CUSTMEM_OK && undoing != EMPTIED ? fail_other_application(store) : rc;
}

/* Looks at the file's first bytes through SQLite's own descriptor (another one, closed, would drop
** this process's locks) and without a lock or a recovery. An empty file, or a database without a
** table, may become a store; else it must say that it is one. */
static int peek(custmem *store, int is_empty) {
  unsigned char header[HEADER_SIZE] = {0};
  sqlite3_file *file = NULL;
  sqlite3_int64 size = 0;
  enum { UTF8 = 1 };
  uint32_t application, version, text_encoding;
  int has_tables, is_new, has_frames = 0;
  int rc = is_empty ? read_wal(store, &has_frames) : CUSTMEM_OK;
  if (rc != CUSTMEM_OK) return rc;
  rc = sqlite3_file_control(store->db, "main", SQLITE_FCNTL_FILE_POINTER, &file);
  if (rc == SQLITE_OK) rc = file->pMethods->xFileSize(file, &size);
  /* SQLite says that a file of one byte has none. It would delete a WAL beside it, with all that the
  ** file has lost. (The WAL was looked for first: whoever makes the store now makes it last.) */
  if (rc == SQLITE_OK && size == 0 && is_empty)
    return !has_frames ? CUSTMEM_OK
                       : fail(
                           store, CUSTMEM_NOT_A_DATABASE, "path",
                           "the file is empty, and its -wal is not: the file was cut off"
                         );
  if (rc == SQLITE_OK) rc = file->pMethods->xRead(file, header, HEADER_SIZE, 0);
  if (rc != SQLITE_OK && rc != SQLITE_IOERR_SHORT_READ) return fail_sqlite(store, rc);
  if (rc == SQLITE_IOERR_SHORT_READ || memcmp(header, "SQLite format 3", 16) != 0)
    return peek_beside_torn(store, size == 0);
  application = get_big_endian(header + 68);
  version = get_big_endian(header + 60);
  text_encoding = get_big_endian(header + 56);
  /* The first page is a leaf (13), or more, with a number of cells: one for each object. */
  has_tables = header[100] != 13 || header[103] != 0 || header[104] != 0;
  is_new = application == 0 && version == 0 && !has_tables;
  if (!is_new && application != APPLICATION_ID) return peek_beside_unmarked(store);
  if (version > SCHEMA_VERSION) return fail_newer(store, version);
  if (text_encoding != UTF8 && !(is_new && text_encoding == 0))
    return fail(store, CUSTMEM_SCHEMA, "path", "the database is not encoded in UTF-8");
  return CUSTMEM_OK;
}

static int run(custmem *store, const char *sql) {
  int rc = sqlite3_exec(store->db, sql, NULL, NULL, NULL);
  return rc == SQLITE_OK ? CUSTMEM_OK : fail_sqlite(store, rc);
}

/* fullfsync is what makes FULL true on macOS; elsewhere it does nothing. */
static int configure(custmem *store) {
  int rc = CUSTMEM_OK;
  if (store->exclusive) rc = run(store, "PRAGMA main.locking_mode = EXCLUSIVE");
  if (rc == CUSTMEM_OK)
    rc = run(
      store, "PRAGMA main.synchronous = FULL; PRAGMA fullfsync = ON;"
             "PRAGMA checkpoint_fullfsync = ON; PRAGMA recursive_triggers = ON;"
             "PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY; PRAGMA mmap_size = 0"
    );
  return rc;
}

/* The CREATE statement of a paragraph of schema.sql, NULL where it has none. */
static const char *create_statement(const char *paragraph) {
  return strstr(paragraph, "CREATE ");
}

/* Whether schema.sql makes this object. SQLite keeps the text of a CREATE statement to the letter,
** but for its semicolon. */
static int is_in_schema(const char *sql) {
  size_t i, size = strlen(sql);
  for (i = 0; i < COUNT_OF(SCHEMA); i++) {
    const char *create = create_statement(SCHEMA[i]);
    if (create != NULL && strncmp(create, sql, size) == 0 && strcmp(create + size, ";\n") == 0)
      return 1;
  }
  return 0;
}

static int64_t objects_in_schema(void) {
  int64_t objects = 0;
  size_t i;
  for (i = 0; i < COUNT_OF(SCHEMA); i++)
    objects += create_statement(SCHEMA[i]) != NULL;
  return objects;
}

/* The file's objects: how many they are, how many of them schema.sql does not make, and the name of the
** last of these, which may be "". */
typedef struct schema_found {
  int64_t objects;
  int64_t strange;
  char name[CUSTMEM_ID_MAX + 1];
} schema_found;

static int read_schema(custmem *store, schema_found *found) {
  sqlite3_stmt *stmt;
  int rc = statement(store, SELECT_SCHEMA, &stmt, ""), row = 1;
  memset(found, 0, sizeof *found);
  while (rc == CUSTMEM_OK && row) {
    rc = step(store, stmt, &row);
    if (rc == CUSTMEM_OK && row) {
      const char *sql = (const char *)sqlite3_column_text(stmt, 0);
      found->objects++;
      if (sql == NULL || !is_in_schema(sql)) {
        found->strange++;
        sqlite3_snprintf(
          (int)sizeof found->name, found->name, "%s", (const char *)sqlite3_column_text(stmt, 1)
        );
      }
    }
  }
  release(stmt);
  return rc;
}

/* Names are unique, so as many objects as schema.sql makes, each to the letter, are all of them. */
static int check_schema(custmem *store) {
  schema_found found;
  int rc = read_schema(store, &found);
  if (rc == CUSTMEM_OK && found.strange > 0)
    rc = fail(store, CUSTMEM_SCHEMA, "path", "the schema is altered: see \"%s\"", found.name);
  if (rc == CUSTMEM_OK && found.objects != objects_in_schema())
    rc = fail(
      store, CUSTMEM_SCHEMA, "path", "the schema is altered: %lld objects of %lld",
      (long long)found.objects, (long long)objects_in_schema()
    );
  return rc;
}

/* Reads a pragma that is a number. */
static int read_number(custmem *store, enum statement id, int64_t *number) {
  sqlite3_stmt *stmt;
  int row, rc = statement(store, id, &stmt, "");
  *number = 0;
  if (rc == CUSTMEM_OK) rc = step(store, stmt, &row);
  if (rc == CUSTMEM_OK) *number = sqlite3_column_int64(stmt, 0);
  release(stmt);
  return rc;
}

/* Runs one statement of schema.sql, with the two values that a shell would make itself. */
static int run_schema_statement(
  custmem *store,
  sqlite3_stmt *stmt,
  const char *store_id,
  int64_t now_ms
) {
  int row, rc = SQLITE_OK;
  int id_parameter = sqlite3_bind_parameter_index(stmt, ":store_id");
  int time_parameter = sqlite3_bind_parameter_index(stmt, ":created_at");
  if (id_parameter > 0) rc = sqlite3_bind_text(stmt, id_parameter, store_id, -1, SQLITE_STATIC);
  if (rc == SQLITE_OK && time_parameter > 0)
    rc = sqlite3_bind_int64(stmt, time_parameter, now_ms);
  return rc == SQLITE_OK ? step(store, stmt, &row) : fail_sqlite(store, rc);
}

/* Runs the paragraphs of schema.sql from `first` to before `end`. */
static int run_schema(
  custmem *store,
  size_t first,
  size_t end,
  const char *store_id,
  int64_t now_ms
) {
  int rc = CUSTMEM_OK;
  size_t i;
  for (i = first; i < end && rc == CUSTMEM_OK; i++) {
    const char *sql = SCHEMA[i];
    while (rc == CUSTMEM_OK && sql[0] != '\0') {
      sqlite3_stmt *stmt = NULL;
      int sqlite_rc = sqlite3_prepare_v2(store->db, sql, -1, &stmt, &sql);
      if (sqlite_rc != SQLITE_OK) rc = fail_sqlite(store, sqlite_rc);
      if (stmt != NULL) rc = run_schema_statement(store, stmt, store_id, now_ms);
      sqlite3_finalize(stmt);
    }
  }
  return rc;
}

/* What schema.sql makes up to the row that says which store it is: the pages of a database in memory.
** The first store in memory that a process makes leaves them here; the others copy them, in less
** than half the time that the SQL takes. */
enum image_state { NO_IMAGE, MAKING_IMAGE, IMAGE };
static atomic_int image_state = NO_IMAGE;
static unsigned char image[16 * 4096];
static sqlite3_int64 image_size;

/* Best effort: without an image every store in memory runs all of schema.sql. */
static void keep_image(custmem *store) {
  int expected = NO_IMAGE;
  unsigned char *pages;
  if (!atomic_compare_exchange_strong(&image_state, &expected, MAKING_IMAGE)) return;
  pages = sqlite3_serialize(store->db, "main", &image_size, 0);
  if (pages != NULL && image_size <= (sqlite3_int64)sizeof image) {
    memcpy(image, pages, (size_t)image_size);
    atomic_store(&image_state, IMAGE);
  } else {
    atomic_store(&image_state, NO_IMAGE);
  }
  sqlite3_free(pages);
}

static int copy_image(custmem *store) {
  sqlite3 *from = NULL;
  sqlite3_backup *backup = NULL;
  int rc =
    sqlite3_open_v2(":memory:", &from, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
  if (rc == SQLITE_OK)
    rc = sqlite3_deserialize(
      from, "main", image, image_size, image_size, SQLITE_DESERIALIZE_READONLY
    );
  if (rc == SQLITE_OK) {
    backup = sqlite3_backup_init(store->db, "main", from, "main");
    if (backup != NULL) sqlite3_backup_step(backup, -1);
    rc = backup != NULL ? sqlite3_backup_finish(backup) : sqlite3_errcode(store->db);
  }
  sqlite3_close(from);
  return rc == SQLITE_OK ? CUSTMEM_OK : fail_sqlite(store, rc);
}

static size_t paragraph_with(const char *words) {
  size_t i = 0;
  while (strstr(SCHEMA[i], words) == NULL)
    i++;
  return i;
}

/* Runs schema.sql, which takes the write lock first and commits last. Whoever else made the store,
** or anything, before the lock was had keeps what they made. */
static int create_schema(custmem *store, enum place place) {
  char store_id[CUSTMEM_UUID_SIZE + 1];
  schema_found found = {0, 0, ""};
  int64_t now_ms;
  size_t locked = paragraph_with("BEGIN IMMEDIATE") + 1, row = paragraph_with(":store_id");
  int copied = place == MEMORY && atomic_load(&image_state) == IMAGE;
  int rc = take_now(store, &now_ms);
  if (rc == CUSTMEM_OK) rc = make_uuid(store, now_ms, store_id);
  if (rc == CUSTMEM_OK && copied) rc = copy_image(store);
  if (rc == CUSTMEM_OK) rc = run_schema(store, 0, locked, store_id, now_ms);
  if (rc == CUSTMEM_OK && !copied) {
    rc = read_schema(store, &found);
    if (rc == CUSTMEM_OK && found.objects == 0)
      rc = run_schema(store, locked, row, store_id, now_ms);
    if (rc == CUSTMEM_OK && place == MEMORY) keep_image(store);
  }
  if (rc == CUSTMEM_OK && found.objects == 0)
    rc = run_schema(store, row, COUNT_OF(SCHEMA), store_id, now_ms);
  roll_back(store);
  return rc;
}

/* How the file says that it is a store, and of which schema. */
static int read_marks(custmem *store, int64_t *application, int64_t *version) {
  int rc = read_number(store, SELECT_APPLICATION_ID, application);
  return rc == CUSTMEM_OK ? read_number(store, SELECT_USER_VERSION, version) : rc;
}

/* Whose file this is, under a lock: what the header said may be older than the WAL. *is_new is set
** for a database with nothing in it. */
static int identify(custmem *store, int *is_new) {
  schema_found found = {0, 0, ""};
  int64_t application = 0, version = 0;
  int rc = begin_read(store);
  if (rc == CUSTMEM_OK) rc = read_marks(store, &application, &version);
  if (rc == CUSTMEM_OK) rc = read_schema(store, &found);
  end_read(store);
  *is_new = application == 0 && version == 0 && found.objects == 0;
  if (rc != CUSTMEM_OK || *is_new) return rc;
  if (application != APPLICATION_ID) return fail_other_application(store);
  if (version > SCHEMA_VERSION) return fail_newer(store, version);
  if (version != SCHEMA_VERSION)
    return fail(
      store, CUSTMEM_SCHEMA, "path", "the schema says that it is of version %lld",
      (long long)version
    );
  return CUSTMEM_OK;
}

/* A database with nothing in it becomes a store; what is one is compared with schema.sql. */
static int have_schema(custmem *store, enum place place) {
  int is_new, rc = identify(store, &is_new);
  if (rc == CUSTMEM_OK && is_new && store->read_only)
    rc = fail(store, CUSTMEM_OTHER_APPLICATION, "path", "the file is empty: no store yet");
  else if (rc == CUSTMEM_OK && is_new)
    rc = create_schema(store, place);
  return rc == CUSTMEM_OK ? check_schema(store) : rc;
}

static int read_store(custmem *store, custmem_info *info) {
  sqlite3_stmt *stmt;
  int64_t rules_version = 0;
  int row = 0, rc = statement(store, SELECT_STORE, &stmt, "");
  memset(info, 0, sizeof *info);
  if (rc == CUSTMEM_OK) rc = step(store, stmt, &row);
  if (rc == CUSTMEM_OK && !row)
    rc = fail(store, CUSTMEM_CORRUPT, "", "the store does not say what it is");
  if (rc == CUSTMEM_OK) {
    row_reader reader = read_row(stmt);
    read_text(&reader, info->id, sizeof info->id);
    info->created_at_ms = read_int(&reader);
    rules_version = read_int(&reader);
    info->schema_version = SCHEMA_VERSION;
    rc = row_code(store, &reader, "a description of itself");
  }
  release(stmt);
  if (rc == CUSTMEM_OK && rules_version != CUSTMEM_RULES_VERSION)
    rc = fail(
      store, CUSTMEM_RULES, "path",
      "the store's keys follow rule set %lld; this custmem's is %d", (long long)rules_version,
      CUSTMEM_RULES_VERSION
    );
  info->rules_version = rc == CUSTMEM_OK ? CUSTMEM_RULES_VERSION : 0;
  return rc;
}

/* Asks once for WAL mode; gives SQLite's code. */
static int ask_for_wal(custmem *store, int *is_wal) {
  sqlite3_stmt *stmt = NULL;
  int rc = sqlite3_prepare_v2(store->db, "PRAGMA main.journal_mode = WAL", -1, &stmt, NULL);
  *is_wal = 0;
  if (rc == SQLITE_OK) rc = sqlite3_step(stmt);
  if (rc == SQLITE_ROW)
    *is_wal = strcmp((const char *)sqlite3_column_text(stmt, 0), "wal") == 0;
  sqlite3_finalize(stmt);
  return rc == SQLITE_ROW ? SQLITE_OK : rc;
}

/* Memory databases have no WAL, and a reader takes what there is. SQLite waits for some, but not all,
** of the locks that the first change to WAL takes; so where several make a store at once, all of the
** waiting is done here, and SQLite does none. */
static int use_wal(custmem *store, enum place place) {
  enum { PAUSE_MS = 5 };
  int is_wal, waited_ms, rc;
  if (place == MEMORY || store->read_only) return CUSTMEM_OK;
  sqlite3_busy_handler(store->db, NULL, NULL);
  rc = ask_for_wal(store, &is_wal);
  for (waited_ms = 0; (rc & 0xff) == SQLITE_BUSY && waited_ms < store->busy_timeout_ms;) {
    waited_ms += sqlite3_sleep(PAUSE_MS);
    rc = ask_for_wal(store, &is_wal);
  }
  sqlite3_busy_handler(store->db, wait_for_lock, store);
  if (rc != SQLITE_OK) return fail_sqlite(store, rc);
  if (!is_wal) return fail(store, CUSTMEM_IO, "path", "the file system does not support WAL");
  /* The first read makes the WAL's index, for which there must be room: now, so that reads go on when
  ** the disk is full later. */
  return read_store(store, &store->info);
}

/* The connection's last word: whatever a damaged file made SQLite compile, it does no more than
** STATEMENTS needs. Customers' keys, and all of an audit event, are written once; a trigger of ours
** refuses, and never writes. */
static int authorize(
  void *ctx,
  int action,
  const char *table,
  const char *column,
  const char *database,
  const char *trigger
) {
  static const char *const insertable[] = {"customers", "audit_events", "conversation_links"};
  static const char *const updatable[][2] = {
    {"customers", "display_identifier"},   {"customers", "updated_at"},
    {"conversation_links", "customer_id"}, {"conversation_links", "audit_seq"},
    {"conversation_links", "updated_at"},
  };
  size_t i;
  (void)ctx, (void)database;
  if (trigger != NULL && (action == SQLITE_INSERT || action == SQLITE_UPDATE))
    return SQLITE_DENY;
  switch (action) {
  case SQLITE_SELECT:
  case SQLITE_READ:
  case SQLITE_FUNCTION:
  case SQLITE_TRANSACTION:
    return SQLITE_OK;
  case SQLITE_INSERT:
    for (i = 0; i < COUNT_OF(insertable); i++)
      if (strcmp(table, insertable[i]) == 0) return SQLITE_OK;
    return SQLITE_DENY;
  case SQLITE_UPDATE:
    for (i = 0; i < COUNT_OF(updatable); i++)
      if (strcmp(table, updatable[i][0]) == 0 && strcmp(column, updatable[i][1]) == 0)
        return SQLITE_OK;
    return SQLITE_DENY;
  case SQLITE_PRAGMA: /* the "table" is the pragma's name, the "column" what it is set to */
    if (strcmp(table, "integrity_check") == 0) return SQLITE_OK;
    return column == NULL &&
               (strcmp(table, "user_version") == 0 || strcmp(table, "application_id") == 0)
             ? SQLITE_OK
             : SQLITE_DENY;
  default:
    return SQLITE_DENY;
  }
}

static int prepare_control(custmem *store) {
  static const enum statement control[] = {
    BEGIN_WRITE, COMMIT, ROLLBACK, HOLD_WRITE, HOLD_READ};
  sqlite3_stmt *stmt;
  size_t i;
  int rc = CUSTMEM_OK;
  for (i = 0; i < COUNT_OF(control) && rc == CUSTMEM_OK; i++)
    rc = prepared(store, control[i], &stmt);
  return rc;
}

static void finalize_statements(custmem *store) {
  size_t i;
  for (i = 0; i < STATEMENT_COUNT; i++) {
    sqlite3_finalize(store->statements[i]);
    store->statements[i] = NULL;
  }
}

/* Last of all: the authorizer, like any setting, expires what was prepared before it. The statements that end a
** transaction are prepared anew here, since they must work when there is no memory left. */
static int guard(custmem *store) {
  finalize_statements(store);
  sqlite3_set_authorizer(store->db, authorize, NULL);
  return prepare_control(store);
}

static void disconnect(custmem *store) {
  forget_answers(store);
  finalize_statements(store);
  sqlite3_close(store->db);
  store->db = NULL;
}

/* Steps 4 to 7 on a connected file. */
static int establish(custmem *store, enum place place) {
  int rc = place == MEMORY ? CUSTMEM_OK : peek(store, place == EMPTY_FILE);
  if (rc == CUSTMEM_OK) rc = configure(store);
  if (rc == CUSTMEM_OK) rc = prepare_control(store);
  if (rc == CUSTMEM_OK) rc = have_schema(store, place);
  if (rc == CUSTMEM_OK) rc = read_store(store, &store->info);
  if (rc == CUSTMEM_OK) rc = use_wal(store, place);
  if (rc == CUSTMEM_OK) allow_checkpoint(store, !store->read_only);
  return rc == CUSTMEM_OK ? guard(store) : rc;
}

/* Whether a -wal lies beside the file, or may. */
static int has_wal(const char *full) {
  char wal[CUSTMEM_PATH_MAX + sizeof "-wal"];
  struct stat status;
  sqlite3_snprintf((int)sizeof wal, wal, "%s-wal", full);
  return lstat(wal, &status) == 0 || errno != ENOENT;
}

/* Whether nobody can be writing: the file system is mounted read-only, or neither the file nor its
** directory, where a WAL would appear, may be written by anyone; and no WAL is there. */
static int is_sealed(const char *full) {
  char directory[CUSTMEM_PATH_MAX + 1];
  struct statvfs volume;
  struct stat file, parent;
  parent_of(full, directory);
  if (has_wal(full)) return 0;
  if (stat(full, &file) != 0 || stat(directory, &parent) != 0 || statvfs(full, &volume) != 0)
    return 0;
  return (volume.f_flag & ST_RDONLY) != 0 || ((file.st_mode | parent.st_mode) & 0222) == 0;
}

/* "file:" URI of a path, its special characters escaped. */
static void make_immutable_uri(const char *full, char *uri) {
  static const char query[] = "?immutable=1";
  char hex[3];
  strcpy(uri, "file:");
  uri += strlen(uri);
  for (; *full != '\0'; full++) {
    unsigned char byte = (unsigned char)*full;
    if (strchr("%?#", byte) != NULL) {
      to_hex(&byte, 1, hex);
      *uri++ = '%', *uri++ = hex[0], *uri++ = hex[1];
    } else {
      *uri++ = (char)byte;
    }
  }
  memcpy(uri, query, sizeof query);
}

/* A WAL file wants its -wal and -shm beside it. Where they cannot be made because nothing can be
** written there, and none was left, the file alone is the store and cannot change. */
static int open_read_only(custmem *store, const char *full, enum place place) {
  char uri[3 * CUSTMEM_PATH_MAX + 32];
  int rc = connect(store, full, SQLITE_OPEN_READONLY);
  if (rc != CUSTMEM_OK) return rc;
  allow_checkpoint(store, 0);
  rc = establish(store, place);
  if ((rc == CUSTMEM_IO || rc == CUSTMEM_READONLY) && is_sealed(full)) {
    disconnect(store);
    make_immutable_uri(full, uri);
    rc = connect(store, uri, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI);
    if (rc == CUSTMEM_OK) rc = establish(store, place);
  }
  if (rc == CUSTMEM_READONLY)
    rc = fail(
      store, CUSTMEM_PERMISSION, "path",
      "%s: its -wal cannot be used from here: copy the store with custmem_backup", full
    );
  return rc;
}

static int open_read_write(custmem *store, const char *full, enum place place) {
  int left_wal = has_wal(full);
  int rc = connect(store, full, SQLITE_OPEN_READWRITE);
  if (rc != CUSTMEM_OK) return rc;
  allow_checkpoint(store, !left_wal);
  return establish(store, place);
}

static int open_file(custmem *store, const char *path) {
  char full[CUSTMEM_PATH_MAX + 1];
  enum place place = NOWHERE;
  int rc = resolve_path(store, path, full);
  if (rc == CUSTMEM_OK) rc = look_at_path(store, full, &place);
  if (rc == CUSTMEM_OK) rc = look_beside(store, full);
  if (rc == CUSTMEM_OK && place == NOWHERE) {
    if (store->read_only) return fail(store, CUSTMEM_NO_PATH, "path", "%s: no such file", full);
    rc = create_file(store, full);
    /* Another process may have made it in between. */
    if (rc == CUSTMEM_OK || rc == CUSTMEM_EXISTS) rc = look_at_path(store, full, &place);
  }
  if (rc != CUSTMEM_OK) return rc;
  return store->read_only ? open_read_only(store, full, place)
                          : open_read_write(store, full, place);
}

static int open_store(custmem *store, const char *path, const custmem_options *options) {
  int rc = take_options(store, options);
  if (rc == CUSTMEM_OK && sqlite3_libversion_number() < OLDEST_SQLITE)
    rc = fail(
      store, CUSTMEM_OLD_SQLITE, "", "SQLite is %s; 3.51.3 is needed", sqlite3_libversion()
    );
  if (rc == CUSTMEM_OK && path == NULL) rc = fail_null(store, "path");
  if (rc != CUSTMEM_OK) return rc;
  if (strcmp(path, ":memory:") == 0) {
    rc = connect(store, path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
    if (rc == CUSTMEM_OK) rc = establish(store, MEMORY);
    return rc;
  }
  return open_file(store, path);
}

/* Why opening failed, for a caller who gets no store to ask. */
static void put_message(const custmem_options *options, const char *message) {
  size_t size = strlen(message);
  if (options == NULL || options->message == NULL || options->message_size == 0) return;
  if (size >= options->message_size) size = options->message_size - 1;
  memcpy(options->message, message, size);
  options->message[size] = '\0';
}

int custmem_open(const char *path, const custmem_options *options, custmem **store) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  custmem *opened = NULL;
  int rc;
  if (store != NULL) *store = NULL;
  if (options != NULL && !options_known(options)) return CUSTMEM_MISUSE;
  pthread_once(&once, see_forks);
  if (!cannot_see_forks) opened = sqlite3_malloc64(sizeof *opened);
  if (opened == NULL) {
    put_message(options, custmem_strerror(CUSTMEM_NOMEM));
    return CUSTMEM_NOMEM;
  }
  memset(opened, 0, sizeof *opened);
  opened->magic = STORE_MAGIC;
  opened->forks = atomic_load(&forks);
  opened->errarg = "";
  rc = store != NULL ? open_store(opened, path, options) : fail_null(opened, "store");
  if (rc == CUSTMEM_OK) opened->errmsg[0] = '\0';
  put_message(options, opened->errmsg);
  if (rc == CUSTMEM_OK) {
    *store = opened;
  } else {
    disconnect(opened);
    sqlite3_free(opened);
  }
  return rc;
}

int custmem_close(custmem *store) {
  int rc;
  if (store == NULL) return CUSTMEM_OK;
  rc = enter_write(store);
  if (rc != CUSTMEM_OK) return rc;
  disconnect(store);
  store->magic = 0;
  sqlite3_free(store);
  return CUSTMEM_OK;
}

void custmem_interrupt(custmem *store) {
  if (store != NULL && store->magic == STORE_MAGIC) sqlite3_interrupt(store->db);
}

int custmem_store_info(custmem *store, custmem_info *info) {
  int rc;
  if (info != NULL) memset(info, 0, sizeof *info);
  rc = enter(store);
  if (rc != CUSTMEM_OK) return rc;
  if (info == NULL) return leave(store, fail_null(store, "info"));
  *info = store->info;
  return leave(store, CUSTMEM_OK);
}

const char *custmem_version(void) {
  return CUSTMEM_VERSION;
}

int32_t custmem_version_number(void) {
  return CUSTMEM_VERSION_NUMBER;
}

/* A size or a limit, by its name. */
typedef struct quantity {
  const char *name;
  size_t value;
} quantity;

static size_t find_quantity(const quantity *table, size_t count, const char *name) {
  size_t i;
  for (i = 0; name != NULL && i < count; i++)
    if (strcmp(table[i].name, name) == 0) return table[i].value;
  return 0;
}

size_t custmem_sizeof(const char *struct_name) {
  static const quantity sizes[] = {
    {"custmem_options", sizeof(custmem_options)},
    {"custmem_info", sizeof(custmem_info)},
    {"custmem_actor", sizeof(custmem_actor)},
    {"custmem_customer", sizeof(custmem_customer)},
    {"custmem_query", sizeof(custmem_query)},
    {"custmem_resolution", sizeof(custmem_resolution)},
    {"custmem_head", sizeof(custmem_head)},
    {"custmem_written", sizeof(custmem_written)},
    {"custmem_conversation", sizeof(custmem_conversation)},
    {"custmem_event", sizeof(custmem_event)},
    {"custmem_report", sizeof(custmem_report)},
    {"custmem_notice", sizeof(custmem_notice)},
  };
  return find_quantity(sizes, COUNT_OF(sizes), struct_name);
}

int32_t custmem_limit(const char *limit_name) {
  static const quantity limits[] = {
    {"CUSTMEM_PATH_MAX", CUSTMEM_PATH_MAX},
    {"CUSTMEM_ID_MAX", CUSTMEM_ID_MAX},
    {"CUSTMEM_UUID_SIZE", CUSTMEM_UUID_SIZE},
    {"CUSTMEM_CHANNEL_MAX", CUSTMEM_CHANNEL_MAX},
    {"CUSTMEM_RAW_MAX", CUSTMEM_RAW_MAX},
    {"CUSTMEM_IDENTIFIER_MAX", CUSTMEM_IDENTIFIER_MAX},
    {"CUSTMEM_DISPLAY_MAX", CUSTMEM_DISPLAY_MAX},
    {"CUSTMEM_REASON_MAX", CUSTMEM_REASON_MAX},
    {"CUSTMEM_CONTEXT_MAX", CUSTMEM_CONTEXT_MAX},
    {"CUSTMEM_EVENT_NAME_MAX", CUSTMEM_EVENT_NAME_MAX},
    {"CUSTMEM_HASH_SIZE", CUSTMEM_HASH_SIZE},
    {"CUSTMEM_MESSAGE_MAX", CUSTMEM_MESSAGE_MAX},
  };
  return (int32_t)find_quantity(limits, COUNT_OF(limits), limit_name);
}

/* ---- Identifiers ----------------------------------------------------------------------------
** Each rule is a small grammar over bytes that are known to be UTF-8 without control characters. It
** writes the key to `key` (CUSTMEM_IDENTIFIER_MAX + 1 bytes) or gives a refusal.
**
** "Strip everything but digits" would be one line, and wrong: "…@lid", "x12", ":12@", "US.1349",
** "-100…" and ANONYMOUS all leave digits that look like somebody's number.
*/

#define PHONE_DIGITS_MIN    7
#define PHONE_DIGITS_MAX    15
#define LID_DIGITS_MAX      20
#define DEVICE_DIGITS_MAX   5
#define SCOPED_DIGITS_MAX   32
#define BUSINESS_ID_MAX     128
#define CHANNEL_NAME_MAX    31
#define CHANNEL_ACCOUNT_MAX 64
#define TELEGRAM_ID_MAX     (INT64_C(1) << 52)

typedef int rule(text raw, char *key);

static const named REFUSALS[] = {
  {CUSTMEM_ACCEPTED, "accepted", "the identifier is accepted"},
  {CUSTMEM_REFUSED_MISSING, "missing", "there is no identifier"},
  {CUSTMEM_REFUSED_TOO_LONG, "too_long", "the identifier is too long"},
  {CUSTMEM_REFUSED_NOT_TEXT, "not_text",
   "the identifier is not UTF-8, or holds a control character"},
  {CUSTMEM_REFUSED_BAD_CHANNEL, "bad_channel", "the channel is not name or name/account"},
  {CUSTMEM_REFUSED_UNKNOWN_CHANNEL, "unknown_channel", "no rule is known for the channel"},
  {CUSTMEM_REFUSED_MALFORMED, "malformed", "the identifier has none of the channel's forms"},
  {CUSTMEM_REFUSED_TOO_FEW_DIGITS, "too_few_digits", "a phone number has at least 7 digits"},
  {CUSTMEM_REFUSED_TOO_MANY_DIGITS, "too_many_digits", "the number has too many digits"},
  {CUSTMEM_REFUSED_LEADING_ZERO, "leading_zero",
   "the number begins with 0: its country is not known"},
  {CUSTMEM_REFUSED_TRUNK_ZERO, "trunk_zero", "\"(0)\" may or may not be part of the number"},
  {CUSTMEM_REFUSED_EXTENSION, "extension", "an extension is a line that many people share"},
  {CUSTMEM_REFUSED_WITHHELD, "withheld", "the caller's number was withheld"},
  {CUSTMEM_REFUSED_NOT_A_PERSON, "not_a_person",
   "a group, a broadcast list or a system id is nobody"},
  {CUSTMEM_REFUSED_MUTABLE, "mutable", "a handle can pass to somebody else"},
  {CUSTMEM_REFUSED_OUT_OF_RANGE, "out_of_range", "the number cannot be an id of this channel"},
  {-1, "unknown", "an unknown refusal"},
};

const char *custmem_refusal_name(int refusal) {
  return find_named(REFUSALS, COUNT_OF(REFUSALS), refusal)->name;
}

const char *custmem_refusal_text(int refusal) {
  return find_named(REFUSALS, COUNT_OF(REFUSALS), refusal)->sentence;
}

static int is_digit(char c) {
  return c >= '0' && c <= '9';
}

static int is_upper(char c) {
  return c >= 'A' && c <= 'Z';
}

static char to_lower(char c) {
  return is_upper(c) ? (char)(c - 'A' + 'a') : c;
}

static int is_letter(char c) {
  return to_lower(c) >= 'a' && to_lower(c) <= 'z';
}

static int is_letter_or_digit(char c) {
  return is_letter(c) || is_digit(c);
}

static text part_of(text whole, int from, int size) {
  text part = {whole.bytes + from, size};
  return part;
}

static text rest_of(text whole, int from) {
  return part_of(whole, from, whole.size - from);
}

/* How many bytes at the start are of a kind. */
static int count_while(text value, int (*is_kind)(char)) {
  int size = 0;
  while (size < value.size && is_kind(value.bytes[size]))
    size++;
  return size;
}

/* Where a byte first stands; the size where it does not. */
static int index_of(text value, char byte) {
  const char *found = memchr(value.bytes, byte, (size_t)value.size);
  return found != NULL ? (int)(found - value.bytes) : value.size;
}

/* Whether it begins with an ASCII word (in lower case), in any case of letters. */
static int has_prefix(text value, const char *word) {
  int i;
  for (i = 0; word[i] != '\0'; i++)
    if (i >= value.size || to_lower(value.bytes[i]) != word[i]) return 0;
  return 1;
}

/* A byte that is a character by itself, and shows. */
static int is_graphic(char c) {
  return c > ' ' && c <= '~';
}

/* Without the spaces and marks on both sides. */
static text trim(text value) {
  const char *at = value.bytes, *end = at + value.size, *first = end, *last = end;
  if (value.size > 0 && is_graphic(at[0]) && is_graphic(end[-1])) return value;
  while (at < end) {
    const char *start = at;
    if (!is_space_or_mark(next_code_point(&at, end))) {
      if (first == end) first = start;
      last = at;
    }
  }
  value.bytes = first;
  value.size = (int)(last - first);
  return value;
}

static void put_key(char *key, text value) {
  memcpy(key, value.bytes, (size_t)value.size);
  key[value.size] = '\0';
}

/* The digits of a phone number, whatever stood between them. ANONYMOUS typed on a keypad is what
** some carriers send for a caller who withholds the number. */
static int phone_digits(text digits, char *key) {
  if (digits.bytes[0] == '0') return CUSTMEM_REFUSED_LEADING_ZERO;
  if (digits.size < PHONE_DIGITS_MIN) return CUSTMEM_REFUSED_TOO_FEW_DIGITS;
  if (digits.size > PHONE_DIGITS_MAX) return CUSTMEM_REFUSED_TOO_MANY_DIGITS;
  if (is_text(digits, "266696687")) return CUSTMEM_REFUSED_WITHHELD;
  put_key(key, digits);
  return CUSTMEM_ACCEPTED;
}

/* A phone number being read from left to right.
**
** digits, count  the digits so far
** plus           a plus sign was seen
** group          the count at the open parenthesis; -1 outside
** waiting        a separator was seen, and no digit after it
*/
typedef struct phone_reader {
  char digits[CUSTMEM_RAW_MAX];
  int count;
  int plus;
  int group;
  int waiting;
} phone_reader;

static int read_parenthesis(phone_reader *phone, uint32_t c) {
  int size = phone->count - phone->group;
  if ((c == '(') != (phone->group < 0)) return CUSTMEM_REFUSED_MALFORMED;
  if (c == '(') {
    phone->group = phone->count;
    return CUSTMEM_ACCEPTED;
  }
  if (size == 1 && phone->digits[phone->group] == '0') return CUSTMEM_REFUSED_TRUNK_ZERO;
  phone->group = -1;
  return size > 0 ? CUSTMEM_ACCEPTED : CUSTMEM_REFUSED_MALFORMED;
}

/* What a phone number's character is that is no part of one. */
static int refuse_phone_rest(const phone_reader *phone, text rest) {
  static const char *const extensions[] = {"x", "ext", ";ext", "#", ","};
  size_t i;
  for (i = 0; phone->count > 0 && i < COUNT_OF(extensions); i++)
    if (has_prefix(rest, extensions[i])) return CUSTMEM_REFUSED_EXTENSION;
  return CUSTMEM_REFUSED_MALFORMED;
}

static int read_phone_character(phone_reader *phone, uint32_t c, text rest) {
  if (is_space_or_mark(c)) return CUSTMEM_ACCEPTED;
  if (c == '(' || c == ')') return read_parenthesis(phone, c);
  if (c >= '0' && c <= '9') {
    phone->digits[phone->count++] = (char)c;
    phone->waiting = 0;
    return CUSTMEM_ACCEPTED;
  }
  if ((c == '+' || c == 0xff0b) && !phone->plus && phone->count == 0) {
    phone->plus = 1;
    return CUSTMEM_ACCEPTED;
  }
  if ((c == '-' || c == '.' || c == '/') && phone->count > 0 && !phone->waiting) {
    phone->waiting = 1;
    return CUSTMEM_ACCEPTED;
  }
  return refuse_phone_rest(phone, rest);
}

static int is_withheld(text raw) {
  static const char *const words[] = {
    "anonymous", "restricted", "unknown", "unavailable", "blocked"};
  size_t i;
  raw = trim(raw);
  for (i = 0; i < COUNT_OF(words); i++)
    if ((size_t)raw.size == strlen(words[i]) && has_prefix(raw, words[i])) return 1;
  return 0;
}

static int phone_number(text raw, char *key) {
  phone_reader phone;
  text digits;
  const char *at = raw.bytes, *end = raw.bytes + raw.size;
  if (count_while(raw, is_digit) == raw.size && raw.size > 0) return phone_digits(raw, key);
  phone.count = phone.plus = phone.waiting = 0;
  phone.group = -1;
  if (is_withheld(raw)) return CUSTMEM_REFUSED_WITHHELD;
  while (at < end) {
    text rest = {at, (int)(end - at)};
    int refusal = read_phone_character(&phone, next_code_point(&at, end), rest);
    if (refusal != CUSTMEM_ACCEPTED) return refusal;
  }
  if (phone.count == 0 || phone.group >= 0 || phone.waiting) return CUSTMEM_REFUSED_MALFORMED;
  digits.bytes = phone.digits;
  digits.size = phone.count;
  return phone_digits(digits, key);
}

static int normalize_phone(text raw, char *key) {
  if (has_prefix(raw, "sms:") || has_prefix(raw, "tel:")) raw = rest_of(raw, 4);
  return phone_number(raw, key);
}

/* DIGITS[:device]@server: a phone number, or the linked id that hides one. A linked id keeps its
** @lid, without which it would pass for a phone number. */
static int whatsapp_address(text raw, char *key) {
  int at_sign = index_of(raw, '@');
  text user = part_of(raw, 0, at_sign), server = rest_of(raw, at_sign + 1);
  text digits = part_of(user, 0, count_while(user, is_digit));
  text device = rest_of(user, digits.size);
  int is_lid = is_text(server, "lid");
  if (is_text(server, "g.us") || is_text(server, "broadcast") || is_text(server, "newsletter"))
    return CUSTMEM_REFUSED_NOT_A_PERSON;
  if (!is_lid && !is_text(server, "s.whatsapp.net") && !is_text(server, "c.us"))
    return CUSTMEM_REFUSED_MALFORMED;
  if (is_text(user, "0")) return CUSTMEM_REFUSED_NOT_A_PERSON;
  if (device.size > 0) {
    text number = rest_of(device, 1);
    if (
      device.bytes[0] != ':' || number.size == 0 || number.size > DEVICE_DIGITS_MAX ||
      count_while(number, is_digit) != number.size
    )
      return CUSTMEM_REFUSED_MALFORMED;
  }
  if (digits.size == 0) return CUSTMEM_REFUSED_MALFORMED;
  if (!is_lid) return phone_digits(digits, key);
  if (digits.bytes[0] == '0') return CUSTMEM_REFUSED_LEADING_ZERO;
  if (digits.size > LID_DIGITS_MAX) return CUSTMEM_REFUSED_TOO_MANY_DIGITS;
  put_key(key, digits);
  memcpy(key + digits.size, "@lid", sizeof "@lid");
  return CUSTMEM_ACCEPTED;
}

/* "US.1349…" or "US.ENT.1349…": the size of what stands before the id's own letters and digits; 0
** where it is no business-scoped user id. */
static int business_scope_size(text raw) {
  int scope = 3;
  if (raw.size < scope || !is_upper(raw.bytes[0]) || !is_upper(raw.bytes[1])) return 0;
  if (raw.bytes[2] != '.') return 0;
  if (raw.size >= 7 && memcmp(raw.bytes + 3, "ENT.", 4) == 0) scope = 7;
  return scope;
}

static int normalize_whatsapp(text raw, char *key) {
  int is_prefixed = has_prefix(raw, "whatsapp:"), scope;
  if (is_prefixed) raw = rest_of(raw, 9);
  scope = business_scope_size(raw);
  if (scope > 0) {
    text id = rest_of(raw, scope);
    if (id.size == 0 || id.size > BUSINESS_ID_MAX || count_while(id, is_letter_or_digit) != id.size)
      return CUSTMEM_REFUSED_MALFORMED;
    put_key(key, raw);
    return CUSTMEM_ACCEPTED;
  }
  if (!is_prefixed && index_of(raw, '@') < raw.size) return whatsapp_address(raw, key);
  return phone_number(raw, key);
}

static int is_atom(char c) {
  return is_letter_or_digit(c) || (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

static int is_label(char c) {
  return is_letter_or_digit(c) || c == '-';
}

/* Parts of 1 to `size_max` bytes of a kind, with single dots between them: how many, 0 if not. */
static int count_dotted(text value, int (*is_kind)(char), int size_max) {
  int parts = 0;
  for (;;) {
    int size = count_while(value, is_kind);
    if (size == 0 || size > size_max) return 0;
    parts++;
    if (size == value.size) return parts;
    if (value.bytes[size] != '.') return 0;
    value = rest_of(value, size + 1);
  }
}

/* No label of a domain begins or ends with a hyphen, and the last one is no number. */
static int are_labels(text domain) {
  int i;
  for (i = 0; i < domain.size; i++) {
    int edge = i == 0 || domain.bytes[i - 1] == '.' || i + 1 == domain.size ||
               domain.bytes[i + 1] == '.';
    if (edge && domain.bytes[i] == '-') return 0;
  }
  i = domain.size;
  while (is_digit(domain.bytes[i - 1]))
    i--;
  return domain.bytes[i - 1] != '.';
}

static int normalize_email(text raw, char *key) {
  text local, domain;
  int at_sign, i;
  raw = trim(raw);
  at_sign = index_of(raw, '@');
  local = part_of(raw, 0, at_sign);
  if (at_sign == raw.size) return CUSTMEM_REFUSED_MALFORMED;
  domain = rest_of(raw, at_sign + 1);
  if (local.size > 64 || count_dotted(local, is_atom, 64) == 0)
    return CUSTMEM_REFUSED_MALFORMED;
  if (count_dotted(domain, is_label, 63) < 2 || !are_labels(domain))
    return CUSTMEM_REFUSED_MALFORMED;
  if (raw.size > CUSTMEM_IDENTIFIER_MAX) return CUSTMEM_REFUSED_TOO_LONG;
  for (i = 0; i < raw.size; i++)
    key[i] = to_lower(raw.bytes[i]);
  key[raw.size] = '\0';
  return CUSTMEM_ACCEPTED;
}

static int is_handle_character(char c) {
  return is_letter_or_digit(c) || c == '.' || c == '_';
}

/* What an id is that is not all digits: @name or name is a handle. */
static int refuse_scoped(text raw) {
  int at_sign = raw.size > 1 && raw.bytes[0] == '@';
  text handle = rest_of(raw, at_sign);
  if (count_while(handle, is_handle_character) == handle.size) return CUSTMEM_REFUSED_MUTABLE;
  return CUSTMEM_REFUSED_MALFORMED;
}

static int is_zero(char c) {
  return c == '0';
}

static int normalize_telegram(text raw, char *key) {
  int64_t id = 0;
  int i;
  text digits;
  if (raw.size > 1 && raw.bytes[0] == '-') {
    text group = rest_of(raw, 1);
    if (count_while(group, is_digit) == group.size) return CUSTMEM_REFUSED_NOT_A_PERSON;
  }
  if (count_while(raw, is_digit) != raw.size) return refuse_scoped(raw);
  digits = rest_of(raw, count_while(raw, is_zero));
  for (i = 0; i < digits.size && id <= TELEGRAM_ID_MAX; i++)
    id = id * 10 + (digits.bytes[i] - '0');
  if (id < 1 || id > TELEGRAM_ID_MAX) return CUSTMEM_REFUSED_OUT_OF_RANGE;
  put_key(key, digits);
  return CUSTMEM_ACCEPTED;
}

static int normalize_scoped(text raw, char *key) {
  if (count_while(raw, is_digit) != raw.size) return refuse_scoped(raw);
  if (raw.size > SCOPED_DIGITS_MAX) return CUSTMEM_REFUSED_TOO_MANY_DIGITS;
  if (count_while(raw, is_zero) == raw.size) return CUSTMEM_REFUSED_OUT_OF_RANGE;
  put_key(key, raw);
  return CUSTMEM_ACCEPTED;
}

static int is_hex_digit(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'f');
}

static int normalize_webchat(text raw, char *key) {
  static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
  int i, zeros = 0;
  if (raw.size != CUSTMEM_UUID_SIZE) return CUSTMEM_REFUSED_MALFORMED;
  for (i = 0; i < CUSTMEM_UUID_SIZE; i++) {
    char c = to_lower(raw.bytes[i]);
    if (form[i] == '-' ? c != '-' : !is_hex_digit(c)) return CUSTMEM_REFUSED_MALFORMED;
    zeros += c == '0';
    key[i] = c;
  }
  key[CUSTMEM_UUID_SIZE] = '\0';
  return zeros < 32 ? CUSTMEM_ACCEPTED : CUSTMEM_REFUSED_OUT_OF_RANGE;
}

static int is_channel_character(char c) {
  return (c >= 'a' && c <= 'z') || is_digit(c) || c == '_' || c == '-';
}

/* The rule of a channel, by its name. */
static int find_rule(const char *channel, rule **found) {
  static const struct {
    const char *name;
    rule *normalize;
  } rules[] = {
    {"whatsapp", normalize_whatsapp}, {"sms", normalize_phone},
    {"phone", normalize_phone},       {"email", normalize_email},
    {"telegram", normalize_telegram}, {"messenger", normalize_scoped},
    {"instagram", normalize_scoped},  {"webchat", normalize_webchat},
  };
  text whole, name;
  size_t i;
  whole.bytes = channel;
  whole.size = measure(channel, CUSTMEM_NUL_TERMINATED, CUSTMEM_CHANNEL_MAX);
  name = part_of(whole, 0, count_while(whole, is_channel_character));
  if (name.size == 0 || name.size > CHANNEL_NAME_MAX) return CUSTMEM_REFUSED_BAD_CHANNEL;
  if (name.size < whole.size) {
    text account = rest_of(whole, name.size + 1);
    if (
      whole.bytes[name.size] != '/' || account.size == 0 || account.size > CHANNEL_ACCOUNT_MAX ||
      count_while(account, is_channel_character) != account.size
    )
      return CUSTMEM_REFUSED_BAD_CHANNEL;
  }
  for (i = 0; i < COUNT_OF(rules); i++) {
    *found = rules[i].normalize;
    if (is_text(name, rules[i].name)) return CUSTMEM_ACCEPTED;
  }
  return CUSTMEM_REFUSED_UNKNOWN_CHANNEL;
}

/* A raw identifier that a rule may look at: text, and not only spaces. */
static int take_raw(const char *raw, int64_t raw_size, text *out) {
  if (raw == NULL || raw_size == 0) return CUSTMEM_REFUSED_MISSING;
  if (raw_size < CUSTMEM_NUL_TERMINATED) return CUSTMEM_REFUSED_NOT_TEXT;
  out->bytes = raw;
  out->size = measure(raw, raw_size, CUSTMEM_RAW_MAX);
  if (out->size > CUSTMEM_RAW_MAX) return CUSTMEM_REFUSED_TOO_LONG;
  if (!is_clean(*out, LINE)) return CUSTMEM_REFUSED_NOT_TEXT;
  return trim(*out).size == 0 ? CUSTMEM_REFUSED_MISSING : CUSTMEM_ACCEPTED;
}

/* By a rule that was found. */
static int normalize_by(rule *normalize, const char *raw, int64_t raw_size, char *normalized) {
  text checked;
  int refusal = take_raw(raw, raw_size, &checked);
  if (refusal == CUSTMEM_ACCEPTED) refusal = normalize(checked, normalized);
  if (refusal != CUSTMEM_ACCEPTED) normalized[0] = '\0';
  return refusal;
}

int custmem_normalize(
  const char *channel,
  const char *raw,
  int64_t raw_size,
  char *normalized
) {
  char key[CUSTMEM_IDENTIFIER_MAX + 1] = "";
  rule *normalize = NULL;
  int refusal = channel != NULL ? find_rule(channel, &normalize) : CUSTMEM_REFUSED_BAD_CHANNEL;
  if (refusal == CUSTMEM_ACCEPTED) refusal = normalize_by(normalize, raw, raw_size, key);
  if (normalized != NULL) strcpy(normalized, key);
  return refusal;
}

/* ---- Customers ----------------------------------------------------------------------------- */

/* What a customer is looked for by: NO_TEXT where it is not by that. */
typedef struct customer_asked {
  text instructor;
  text channel;
  text key;
} customer_asked;

/* The key that a caller's channel and raw identifier make, in the caller's buffer. */
static int take_key(
  custmem *store,
  const char *channel,
  const char *raw,
  int64_t raw_size,
  char key[CUSTMEM_IDENTIFIER_MAX + 1],
  customer_asked *asked
) {
  text checked_raw;
  int refusal, rc = take_text(
                 store, "channel", channel, CUSTMEM_NUL_TERMINATED, CUSTMEM_CHANNEL_MAX, LINE,
                 &asked->channel
               );
  if (rc == CUSTMEM_OK)
    rc = take_text(store, "raw_identifier", raw, raw_size, CUSTMEM_RAW_MAX, LINE, &checked_raw);
  if (rc != CUSTMEM_OK) return rc;
  refusal = custmem_normalize(channel, raw, raw_size, key);
  if (refusal == CUSTMEM_REFUSED_BAD_CHANNEL || refusal == CUSTMEM_REFUSED_UNKNOWN_CHANNEL)
    return fail(
      store, CUSTMEM_BAD_CHANNEL, "channel", "channel: %s", custmem_refusal_text(refusal)
    );
  if (refusal != CUSTMEM_ACCEPTED)
    return fail(
      store, CUSTMEM_BAD_IDENTIFIER, "raw_identifier", "raw_identifier: %s",
      custmem_refusal_text(refusal)
    );
  asked->key = text_of(key);
  return CUSTMEM_OK;
}

static int read_customer(
  custmem *store,
  sqlite3_stmt *stmt,
  const customer_asked *asked,
  custmem_customer *customer
) {
  row_reader row = read_row(stmt);
  memset(customer, 0, sizeof *customer);
  read_text(&row, customer->id, sizeof customer->id);
  read_text(&row, customer->instructor_id, sizeof customer->instructor_id);
  need_text(&row, customer->instructor_id, asked->instructor);
  read_text(&row, customer->channel, sizeof customer->channel);
  need_text(&row, customer->channel, asked->channel);
  read_text(&row, customer->normalized_identifier, sizeof customer->normalized_identifier);
  need_text(&row, customer->normalized_identifier, asked->key);
  read_nullable_text(&row, customer->display_identifier, sizeof customer->display_identifier);
  customer->created_at_ms = read_int(&row);
  customer->updated_at_ms = read_int(&row);
  return row_code(store, &row, "a customer");
}

/* Steps a statement that selects a customer, and releases it. */
static int step_customer(
  custmem *store,
  sqlite3_stmt *stmt,
  const customer_asked *asked,
  custmem_customer *customer,
  int *found
) {
  int rc = step(store, stmt, found);
  if (rc == CUSTMEM_OK && *found) rc = read_customer(store, stmt, asked, customer);
  release(stmt);
  return rc;
}

static int fail_no_customer(custmem *store, const char *arg) {
  return fail(store, CUSTMEM_NO_CUSTOMER, arg, "%s: the instructor has no such customer", arg);
}

static int find_by_key(
  custmem *store,
  const customer_asked *asked,
  custmem_customer *customer,
  int *found
) {
  sqlite3_stmt *stmt;
  int rc = statement(
    store, SELECT_CUSTOMER_BY_KEY, &stmt, "ttt", asked->instructor, asked->channel, asked->key
  );
  return rc == CUSTMEM_OK ? step_customer(store, stmt, asked, customer, found) : rc;
}

static int select_by_id(
  custmem *store,
  text instructor,
  text id,
  custmem_customer *customer,
  int *found
) {
  const customer_asked asked = {instructor, NO_TEXT, NO_TEXT};
  sqlite3_stmt *stmt;
  int rc = statement(store, SELECT_CUSTOMER, &stmt, "tt", instructor, id);
  return rc == CUSTMEM_OK ? step_customer(store, stmt, &asked, customer, found) : rc;
}

/* The customer of this id, or NO_CUSTOMER: the same answer for another instructor's and for none. */
static int find_by_id(
  custmem *store,
  const char *arg,
  text instructor,
  text id,
  custmem_customer *customer
) {
  int found = 0, rc = select_by_id(store, instructor, id, customer, &found);
  if (rc == CUSTMEM_OK && !found) rc = fail_no_customer(store, arg);
  return rc;
}

static int has_customer(custmem *store, const char *arg, text instructor, text id) {
  sqlite3_stmt *stmt;
  int found = 0, rc = statement(store, HAS_CUSTOMER, &stmt, "tt", instructor, id);
  if (rc == CUSTMEM_OK) rc = step(store, stmt, &found);
  release(stmt);
  if (rc == CUSTMEM_OK && !found) rc = fail_no_customer(store, arg);
  return rc;
}

static int insert_customer(custmem *store, const customer_asked *asked, text display) {
  sqlite3_stmt *stmt;
  char uuid[CUSTMEM_UUID_SIZE + 1];
  text id = {uuid, CUSTMEM_UUID_SIZE};
  int64_t now_ms;
  int rc = take_now(store, &now_ms);
  if (rc == CUSTMEM_OK) rc = make_uuid(store, now_ms, uuid);
  if (rc == CUSTMEM_OK)
    rc = statement(
      store, INSERT_CUSTOMER, &stmt, "ttttti", asked->instructor, id, asked->channel,
      asked->key, display, now_ms
    );
  return rc == CUSTMEM_OK ? write_row(store, stmt) : rc;
}

/* Within the transaction: the customer of the key, who is made if there is none. */
static int find_or_insert(
  custmem *store,
  const customer_asked *asked,
  text display,
  custmem_customer *customer,
  int *is_new
) {
  int found = 0, rc = find_by_key(store, asked, customer, &found);
  *is_new = !found;
  if (rc != CUSTMEM_OK || found) return rc;
  rc = insert_customer(store, asked, display);
  if (rc == CUSTMEM_OK) rc = find_by_key(store, asked, customer, &found);
  if (rc == CUSTMEM_OK && !found)
    rc = fail(store, CUSTMEM_CORRUPT, "", "the store does not find what it was given");
  return rc;
}

/* What a call came to, for its caller: last of all, since what was passed may stand in it. */
static void give_customer(int rc, const custmem_customer *row, custmem_customer *customer) {
  if (customer == NULL) return;
  if (rc == CUSTMEM_OK)
    *customer = *row;
  else
    memset(customer, 0, sizeof *customer);
}

int custmem_customer_create(
  custmem *store,
  const custmem_actor *actor,
  const char *channel,
  const char *raw_identifier,
  int64_t raw_size,
  const char *display,
  int64_t display_size,
  custmem_customer *customer,
  int32_t *created
) {
  custmem_customer row;
  char key[CUSTMEM_IDENTIFIER_MAX + 1];
  customer_asked asked = {NO_TEXT, NO_TEXT, NO_TEXT};
  text actor_id, checked_display;
  int is_new = 0, rc = enter_write(store);
  if (rc == CUSTMEM_OK) {
    rc = take_actor(store, actor, &asked.instructor, &actor_id);
    if (rc == CUSTMEM_OK) rc = take_key(store, channel, raw_identifier, raw_size, key, &asked);
    if (rc == CUSTMEM_OK)
      rc = take_optional(
        store, "display", display, display_size, CUSTMEM_DISPLAY_MAX, LINE, &checked_display
      );
    if (rc == CUSTMEM_OK) rc = begin_write(store);
    if (rc == CUSTMEM_OK)
      rc = end_write(store, find_or_insert(store, &asked, checked_display, &row, &is_new));
    rc = leave(store, rc);
  }
  give_customer(rc, &row, customer);
  if (created != NULL) *created = rc == CUSTMEM_OK && is_new;
  return rc;
}

int custmem_customer_get(
  custmem *store,
  const char *instructor_id,
  const char *customer_id,
  custmem_customer *customer
) {
  custmem_customer row;
  text instructor, id;
  int rc = enter(store);
  if (rc == CUSTMEM_OK) {
    if (customer == NULL) rc = fail_null(store, "customer");
    if (rc == CUSTMEM_OK) rc = take_instructor(store, instructor_id, &instructor);
    if (rc == CUSTMEM_OK) rc = take_customer_id(store, "customer_id", customer_id, &id);
    if (rc == CUSTMEM_OK) rc = find_by_id(store, "customer_id", instructor, id, &row);
    rc = leave(store, rc);
  }
  give_customer(rc, &row, customer);
  return rc;
}

/* One customer of a page; an empty row where there is none. */
static int get_into(
  custmem *store,
  text instructor,
  const char *customer_id,
  custmem_customer *customer
) {
  custmem_customer row;
  text id;
  int found, rc = CUSTMEM_OK;
  memset(&row, 0, sizeof row);
  if (customer_id != NULL && customer_id[0] != '\0') {
    rc = take_customer_id(store, "customer_ids", customer_id, &id);
    if (rc == CUSTMEM_OK) rc = select_by_id(store, instructor, id, &row, &found);
  }
  *customer = row;
  return rc;
}

int custmem_customer_get_many(
  custmem *store,
  const char *instructor_id,
  const char *const *customer_ids,
  int32_t count,
  custmem_customer *customers
) {
  int32_t returned = count;
  const page list = {"customers", customers, sizeof *customers, count, &returned};
  text instructor;
  int32_t i;
  int rc = enter(store);
  if (rc != CUSTMEM_OK) {
    blank_page(&list);
    return rc;
  }
  if (count == 0) return leave(store, CUSTMEM_OK);
  if (count < 0)
    rc = fail_negative(store);
  else if (customer_ids == NULL)
    rc = fail_null(store, "customer_ids");
  else if (customers == NULL)
    rc = fail_null(store, "customers");
  else
    rc = take_instructor(store, instructor_id, &instructor);
  if (rc == CUSTMEM_OK) rc = begin_read(store);
  for (i = 0; rc == CUSTMEM_OK && i < count; i++)
    rc = get_into(store, instructor, customer_ids[i], &customers[i]);
  end_read(store);
  return leave_list(store, &list, rc);
}

int custmem_customer_find(
  custmem *store,
  const char *instructor_id,
  const char *channel,
  const char *raw_identifier,
  int64_t raw_size,
  custmem_customer *customer
) {
  custmem_customer row;
  char key[CUSTMEM_IDENTIFIER_MAX + 1];
  customer_asked asked = {NO_TEXT, NO_TEXT, NO_TEXT};
  int found = 0, rc = enter(store);
  if (rc == CUSTMEM_OK) {
    if (customer == NULL) rc = fail_null(store, "customer");
    if (rc == CUSTMEM_OK) rc = take_instructor(store, instructor_id, &asked.instructor);
    if (rc == CUSTMEM_OK) rc = take_key(store, channel, raw_identifier, raw_size, key, &asked);
    if (rc == CUSTMEM_OK) rc = find_by_key(store, &asked, &row, &found);
    if (rc == CUSTMEM_OK && !found) rc = fail_no_customer(store, "raw_identifier");
    rc = leave(store, rc);
  }
  give_customer(rc, &row, customer);
  return rc;
}

/* From the start of a list that is ordered by a text: "" is before every id. */
static const text FROM_START = {"", 0};

/* Whether an id that was read comes behind the one before it, whose place it then takes. */
static int follows(custmem *store, const char *id, text *before) {
  int shared = before->size, order;
  text after = text_of(id);
  if (after.size < shared) shared = after.size;
  order = memcmp(after.bytes, before->bytes, (size_t)shared);
  if (order == 0) order = after.size - before->size;
  *before = after;
  return order > 0 ? CUSTMEM_OK : fail(store, CUSTMEM_CORRUPT, "", "a list is out of order");
}

int custmem_customer_list(
  custmem *store,
  const char *instructor_id,
  const char *after_customer_id,
  custmem_customer *customers,
  int32_t capacity,
  int32_t *count
) {
  sqlite3_stmt *stmt = NULL;
  customer_asked asked = {NO_TEXT, NO_TEXT, NO_TEXT};
  text after = FROM_START;
  const page list = {"customers", customers, sizeof *customers, capacity, count};
  int row = 1, rc = enter_list(store, &list);
  if (rc != CUSTMEM_OK) return rc;
  rc = take_instructor(store, instructor_id, &asked.instructor);
  if (rc == CUSTMEM_OK && after_customer_id != NULL)
    rc = take_customer_id(store, "after_customer_id", after_customer_id, &after);
  if (rc == CUSTMEM_OK)
    rc = statement(
      store, SELECT_CUSTOMERS, &stmt, "tti", asked.instructor, after, (int64_t)capacity
    );
  while (rc == CUSTMEM_OK && row) {
    rc = step(store, stmt, &row);
    if (rc == CUSTMEM_OK && row) rc = read_customer(store, stmt, &asked, &customers[*count]);
    if (rc == CUSTMEM_OK && row) rc = follows(store, customers[(*count)++].id, &after);
  }
  release(stmt);
  return leave_list(store, &list, rc);
}

/* Within the transaction. */
static int update_display(
  custmem *store,
  text instructor,
  text id,
  text display,
  custmem_customer *customer
) {
  sqlite3_stmt *stmt;
  int64_t now_ms;
  int rc = take_now(store, &now_ms);
  if (rc == CUSTMEM_OK) rc = has_customer(store, "customer_id", instructor, id);
  if (rc == CUSTMEM_OK)
    rc =
      statement(store, UPDATE_CUSTOMER_DISPLAY, &stmt, "ttti", instructor, id, display, now_ms);
  if (rc == CUSTMEM_OK) rc = write_row(store, stmt);
  if (rc == CUSTMEM_OK) rc = find_by_id(store, "customer_id", instructor, id, customer);
  return rc;
}

int custmem_customer_set_display(
  custmem *store,
  const custmem_actor *actor,
  const char *customer_id,
  const char *display,
  int64_t display_size,
  custmem_customer *customer
) {
  custmem_customer row;
  text instructor, actor_id, id, checked_display;
  int rc = enter_write(store);
  if (rc == CUSTMEM_OK) {
    rc = take_actor(store, actor, &instructor, &actor_id);
    if (rc == CUSTMEM_OK) rc = take_customer_id(store, "customer_id", customer_id, &id);
    if (rc == CUSTMEM_OK)
      rc = take_optional(
        store, "display", display, display_size, CUSTMEM_DISPLAY_MAX, LINE, &checked_display
      );
    if (rc == CUSTMEM_OK) rc = begin_write(store);
    if (rc == CUSTMEM_OK)
      rc = end_write(store, update_display(store, instructor, id, checked_display, &row));
    rc = leave(store, rc);
  }
  give_customer(rc, &row, customer);
  return rc;
}

/* ---- Resolution ---------------------------------------------------------------------------- */

static const named OUTCOMES[] = {
  {CUSTMEM_UNLINKED, "unlinked", ""},
  {CUSTMEM_CANDIDATE, "candidate", ""},
  {CUSTMEM_LINKED, "linked", ""},
  {-1, "unknown", ""},
};

#define RESOLVED   "conversation.customer_resolved"
#define UNRESOLVED "conversation.customer_unresolved"
#define SKIPPED    "conversation.customer_resolution_skipped"

/* What each why says of a resolution: the step that it ends, the outcome, whether the identifier
** had a part in it, and the conceptual event. */
static const struct {
  const char *name;
  int step;
  int outcome;
  int by_identifier;
  const char *event_name;
} WHYS[] = {
  [CUSTMEM_WHY_EXPLICIT_LINK] = {"explicit_link", 1, CUSTMEM_LINKED, 0, RESOLVED},
  [CUSTMEM_WHY_ONE_MATCH] = {"one_match", 2, CUSTMEM_CANDIDATE, 1, RESOLVED},
  [CUSTMEM_WHY_NO_INSTRUCTOR] = {"no_instructor", 3, CUSTMEM_UNLINKED, 0, SKIPPED},
  [CUSTMEM_WHY_OTHER_INSTRUCTOR] = {"other_instructor", 3, CUSTMEM_UNLINKED, 0, SKIPPED},
  [CUSTMEM_WHY_NO_IDENTIFIER] = {"no_identifier", 3, CUSTMEM_UNLINKED, 1, UNRESOLVED},
  [CUSTMEM_WHY_REFUSED] = {"refused", 3, CUSTMEM_UNLINKED, 1, UNRESOLVED},
  [CUSTMEM_WHY_BAD_CHANNEL] = {"bad_channel", 3, CUSTMEM_UNLINKED, 1, UNRESOLVED},
  [CUSTMEM_WHY_NO_MATCH] = {"no_match", 3, CUSTMEM_UNLINKED, 1, UNRESOLVED},
  [CUSTMEM_WHY_MANY_MATCHES] = {"many_matches", 3, CUSTMEM_UNLINKED, 1, UNRESOLVED},
  [CUSTMEM_WHY_LOOKUP_FAILED] = {"lookup_failed", 3, CUSTMEM_UNLINKED, 0, SKIPPED},
};

const char *custmem_outcome_name(int outcome) {
  return find_named(OUTCOMES, COUNT_OF(OUTCOMES), outcome)->name;
}

const char *custmem_why_name(int why) {
  return why >= 0 && why < (int)COUNT_OF(WHYS) ? WHYS[why].name : "unknown";
}

/* Makes a resolution of its why. Only LINKED and CANDIDATE keep a customer. */
static void conclude(custmem_resolution *resolution) {
  int why = resolution->why;
  resolution->step = WHYS[why].step;
  resolution->outcome = WHYS[why].outcome;
  resolution->rules_version = CUSTMEM_RULES_VERSION;
  strcpy(resolution->event_name, WHYS[why].event_name);
  if (resolution->outcome == CUSTMEM_UNLINKED)
    memset(resolution->customer_id, 0, sizeof resolution->customer_id);
  if (!WHYS[why].by_identifier) {
    memset(resolution->normalized_identifier, 0, sizeof resolution->normalized_identifier);
    resolution->refusal = 0;
  }
}

/* The answers from `first` on, where nothing was looked up. */
static void answer_all(custmem_resolution *resolutions, int32_t first, int32_t count, int why) {
  int32_t i;
  for (i = first; resolutions != NULL && i < count; i++) {
    memset(&resolutions[i], 0, sizeof resolutions[i]);
    resolutions[i].why = why;
    conclude(&resolutions[i]);
  }
}

/* What was found for a request, as long as nothing is committed to the file, by whomever: an inbox asks
** for the same conversations at each refresh.
**
** version  of the file, when it was asked
** why      NO_MATCH where nobody was found, for whatever reason: that is the request's own
** request  its four texts, packed, each with its NUL: no request is the beginning of another
*/
enum { KEPT_ANSWERS = 1024, KEPT_PLACES = 8, REQUEST_SIZE_MAX = 192 };

typedef struct kept_answer {
  unsigned version;
  int why;
  char customer_id[CUSTMEM_UUID_SIZE + 1];
  uint64_t request[(REQUEST_SIZE_MAX + 7) / 8];
} kept_answer;

/* version  of the file now. SQLite counts it, each time that anything was committed in between. */
struct kept_answers {
  unsigned version;
  kept_answer answers[KEPT_ANSWERS];
};

/* Conversations that are being resolved.
**
** kept        NULL where none may be used
** channel     the last one's, mostly the next one's too, and its rule; NULL where it has none
** failed_row  the first one that failed: its failure is the call's, if no failure ends the page
** is_damaged  whether damage was found, whatever the call's failure is
*/
typedef struct resolving {
  text instructor;
  const custmem_query *queries;
  custmem_resolution *resolutions;
  int32_t count;
  kept_answers *kept;
  const char *channel;
  rule *normalize;
  int32_t failed_row;
  int is_damaged;
  int code;
  const char *errarg;
  char errmsg[CUSTMEM_MESSAGE_MAX + 1];
} resolving;

/* A conversation that is to be looked for, in its place among those of a statement.
**
** row      of the page
** why      what it is as long as no customer is found
** request  what its answer is kept for, packed, of `size` bytes; 0: it is not kept
** hash     where
*/
typedef struct lookup {
  int32_t row;
  int why;
  text conversation;
  text key;
  text channel;
  size_t size;
  uint64_t hash;
  uint64_t request[(REQUEST_SIZE_MAX + 7) / 8];
} lookup;

static void fail_row(custmem *store, resolving *asked, int32_t row, int code) {
  asked->resolutions[row].why = CUSTMEM_WHY_LOOKUP_FAILED;
  if (code == CUSTMEM_CORRUPT) asked->is_damaged = 1;
  if (asked->code != CUSTMEM_OK && asked->failed_row < row) return;
  asked->failed_row = row;
  asked->code = code;
  asked->errarg = store->errarg;
  memcpy(asked->errmsg, store->errmsg, sizeof asked->errmsg);
}

static int take_channel(resolving *asked, const char *channel) {
  int refusal = CUSTMEM_REFUSED_BAD_CHANNEL;
  if (channel == NULL) return refusal;
  if (asked->channel != NULL && strcmp(channel, asked->channel) == 0) return CUSTMEM_ACCEPTED;
  refusal = find_rule(channel, &asked->normalize);
  asked->channel = refusal == CUSTMEM_ACCEPTED ? channel : NULL;
  return refusal;
}

/* The key of a query, if it has one, and what its why is as long as no customer is found. */
static int take_identifier(
  resolving *asked,
  const custmem_query *query,
  custmem_resolution *resolution,
  text *key
) {
  char *normalized = resolution->normalized_identifier;
  int refusal;
  if (query->channel == NULL && query->raw_identifier == NULL) return CUSTMEM_WHY_NO_IDENTIFIER;
  refusal = take_channel(asked, query->channel);
  if (refusal != CUSTMEM_ACCEPTED) {
    resolution->refusal = refusal;
    return CUSTMEM_WHY_BAD_CHANNEL;
  }
  refusal = normalize_by(asked->normalize, query->raw_identifier, query->raw_size, normalized);
  if (refusal == CUSTMEM_REFUSED_MISSING) return CUSTMEM_WHY_NO_IDENTIFIER;
  if (refusal != CUSTMEM_ACCEPTED) {
    resolution->refusal = refusal;
    return CUSTMEM_WHY_REFUSED;
  }
  *key = text_of(normalized);
  return CUSTMEM_WHY_NO_MATCH;
}

/* The answers that are kept, and the file's version now: for a caller who knows that nothing can be
** committed before its call ends, since it holds a read transaction or the store is exclusive. NULL
** where there is no memory for them. */
static kept_answers *have_kept(custmem *store) {
  int rc;
  if (store->kept == NULL) {
    store->kept = sqlite3_malloc64(sizeof *store->kept);
    if (store->kept == NULL) return NULL;
    memset(store->kept, 0, sizeof *store->kept);
  }
  rc =
    sqlite3_file_control(store->db, "main", SQLITE_FCNTL_DATA_VERSION, &store->kept->version);
  return rc == SQLITE_OK ? store->kept : NULL;
}

/* Makes the request that an answer is kept for, if it is not too long. */
static void make_request(const resolving *asked, lookup *wanted) {
  static const uint64_t no_key[2];
  const text texts[] = {wanted->conversation, asked->instructor, wanted->channel, wanted->key};
  size_t size = packed_size(texts, COUNT_OF(texts));
  wanted->size = 0;
  if (asked->kept == NULL || size > REQUEST_SIZE_MAX) return;
  wanted->size = size;
  pack_texts(wanted->request, texts, COUNT_OF(texts));
  wanted->hash = sip_hash(no_key, wanted->request, words_in((size_t)wanted->conversation.size));
}

/* The place of a request: where its answer is kept, or else the first of its few that is free, or else
** the last. */
static kept_answer *place_of(kept_answers *kept, const lookup *wanted, int *is_kept) {
  kept_answer *place = NULL;
  size_t i;
  *is_kept = 0;
  for (i = 0; i < KEPT_PLACES && !*is_kept; i++) {
    place = &kept->answers[(wanted->hash + i) % KEPT_ANSWERS];
    if (place->version != kept->version) break;
    *is_kept = memcmp(place->request, wanted->request, wanted->size) == 0;
  }
  return place;
}

/* Whether the answer was kept; it is then the resolution's. */
static int recall(const resolving *asked, const lookup *wanted) {
  custmem_resolution *resolution = &asked->resolutions[wanted->row];
  const kept_answer *place;
  int is_kept;
  if (wanted->size == 0) return 0;
  place = place_of(asked->kept, wanted, &is_kept);
  if (!is_kept) return 0;
  if (place->why != CUSTMEM_WHY_NO_MATCH) resolution->why = place->why;
  memcpy(resolution->customer_id, place->customer_id, sizeof place->customer_id);
  return 1;
}

static void keep(const resolving *asked, const lookup *answered) {
  const custmem_resolution *resolution = &asked->resolutions[answered->row];
  kept_answer *place;
  int is_kept;
  if (answered->size == 0 || resolution->why == CUSTMEM_WHY_LOOKUP_FAILED) return;
  place = place_of(asked->kept, answered, &is_kept);
  place->version = asked->kept->version;
  place->why = resolution->why != answered->why ? resolution->why : CUSTMEM_WHY_NO_MATCH;
  memcpy(place->customer_id, resolution->customer_id, sizeof place->customer_id);
  memcpy(place->request, answered->request, answered->size);
}

/* Whether a conversation is to be looked for: its arguments are sound, and its answer was not kept. */
static int take_query(custmem *store, resolving *asked, int32_t row, lookup *wanted) {
  const custmem_query *query = &asked->queries[row];
  custmem_resolution *resolution = &asked->resolutions[row];
  int rc = take_id(store, "conversation_id", query->conversation_id, &wanted->conversation);
  if (rc != CUSTMEM_OK) {
    fail_row(store, asked, row, rc);
    return 0;
  }
  wanted->row = row;
  wanted->key = wanted->channel = NO_TEXT;
  wanted->why = resolution->why = take_identifier(asked, query, resolution, &wanted->key);
  if (wanted->key.size > 0) wanted->channel = text_of(query->channel);
  make_request(asked, wanted);
  return !recall(asked, wanted);
}

static int bind_text(custmem *store, sqlite3_stmt *stmt, int parameter, text value) {
  int rc = sqlite3_bind_text(stmt, parameter, value.bytes, value.size, SQLITE_STATIC);
  return rc == SQLITE_OK ? CUSTMEM_OK : fail_sqlite(store, rc);
}

/* What cannot be looked for is bound as NULL, which no row has. */
static int bind_lookup(
  custmem *store,
  sqlite3_stmt *stmt,
  int parameter,
  const lookup *wanted
) {
  int rc = bind_text(store, stmt, parameter, wanted->conversation);
  if (rc == CUSTMEM_OK) rc = bind_text(store, stmt, parameter + 1, wanted->key);
  if (rc == CUSTMEM_OK) rc = bind_text(store, stmt, parameter + 2, wanted->channel);
  return rc;
}

/* What a row of RESOLVE says of a conversation: it is another instructor's, not linked, or linked;
** or here is a customer with the key. */
enum found { FOUND_OTHERS, FOUND_UNLINKED, FOUND_LINK, FOUND_KEY };

/* Whether that settles it. */
static int take_found(custmem *store, sqlite3_stmt *stmt, resolving *asked, int32_t row) {
  custmem_resolution *resolution = &asked->resolutions[row];
  int rc, found = sqlite3_column_int(stmt, 1);
  row_reader reader = read_row(stmt);
  text conversation;
  reader.column = 2;
  conversation = read_view(&reader, LINE, CUSTMEM_ID_MAX);
  need_text(&reader, asked->queries[row].conversation_id, conversation);
  rc = row_code(store, &reader, "a link in another's place");
  if (rc != CUSTMEM_OK) {
    fail_row(store, asked, row, rc);
    return 1;
  }
  if (found == FOUND_UNLINKED) return 0;
  if (found == FOUND_OTHERS) {
    resolution->why = CUSTMEM_WHY_OTHER_INSTRUCTOR;
    return 1;
  }
  read_text(&reader, resolution->customer_id, sizeof resolution->customer_id);
  rc = row_code(store, &reader, found == FOUND_LINK ? "a link to nobody" : "a customer");
  if (rc != CUSTMEM_OK)
    fail_row(store, asked, row, rc);
  else if (found == FOUND_LINK)
    resolution->why = CUSTMEM_WHY_EXPLICIT_LINK;
  else
    resolution->why = resolution->why == CUSTMEM_WHY_NO_MATCH ? CUSTMEM_WHY_ONE_MATCH
                                                              : CUSTMEM_WHY_MANY_MATCHES;
  return found == FOUND_LINK;
}

/* Looks for conversations by one statement. *last is the last of them that it had a row of, -1 before the
** first. */
static int look_for(
  custmem *store,
  resolving *asked,
  const lookup *lookups,
  int count,
  int *last
) {
  sqlite3_stmt *stmt;
  int row = 1, i;
  int rc =
    statement(store, count == 1 ? RESOLVE : RESOLVE_BATCH, &stmt, "t", asked->instructor);
  *last = -1;
  for (i = 0; rc == CUSTMEM_OK && i < count; i++)
    rc = bind_lookup(store, stmt, 2 + i * QUERY_PARAMETERS, &lookups[i]);
  while (rc == CUSTMEM_OK && row) {
    int number;
    rc = step(store, stmt, &row);
    if (rc != CUSTMEM_OK || !row) break;
    number = sqlite3_column_int(stmt, 0);
    if (number >= count) break; /* a place of the batch that was not bound */
    *last = number;
    if (take_found(store, stmt, asked, lookups[number].row)) row = number < count - 1;
  }
  release(stmt);
  return rc;
}

/* Resolves conversations from `first` on, as many as one statement takes; *next is the first that is
** left. One customer is "exactly one" only when the search for a second has ended well. */
static int resolve_batch(custmem *store, resolving *asked, int32_t first, int32_t *next) {
  lookup lookups[BATCH_QUERIES];
  int32_t size = asked->count - first, i;
  int count = 0, last = 0, rc = CUSTMEM_OK;
  if (size > BATCH_QUERIES) size = BATCH_QUERIES;
  memset(&asked->resolutions[first], 0, (size_t)size * sizeof *asked->resolutions);
  for (i = first; i < first + size; i++)
    count += take_query(store, asked, i, &lookups[count]);
  *next = first + size;
  if (count > 0) rc = look_for(store, asked, lookups, count, &last);
  if (rc != CUSTMEM_OK) {
    int is_whole =
      last < 0 || asked->resolutions[lookups[last].row].why != CUSTMEM_WHY_ONE_MATCH;
    if (is_whole && last < count - 1) last++;
    fail_row(store, asked, lookups[last].row, rc);
    *next = lookups[last].row + 1;
    count = last + 1;
  }
  for (i = 0; i < count; i++)
    keep(asked, &lookups[i]);
  for (i = first; i < *next; i++)
    conclude(&asked->resolutions[i]);
  return rc;
}

/* What is wrong with one row, its id or damage, leaves the rest to be resolved; any other failure is that
** of all the rest, and the call's. */
static int resolve_all(custmem *store, resolving *asked, int32_t *answered) {
  int rc = CUSTMEM_OK;
  *answered = 0;
  while (*answered < asked->count && (rc == CUSTMEM_OK || rc == CUSTMEM_CORRUPT))
    rc = resolve_batch(store, asked, *answered, answered);
  if (rc != CUSTMEM_OK && rc != CUSTMEM_CORRUPT) return rc;
  return asked->code == CUSTMEM_OK
           ? CUSTMEM_OK
           : fail(store, asked->code, asked->errarg, "%s", asked->errmsg);
}

/* One statement on a file that nobody else commits to needs no transaction but its own. */
static int resolve_page(
  custmem *store,
  const char *instructor_id,
  const custmem_query *queries,
  int32_t count,
  custmem_resolution *resolutions
) {
  custmem_notice notice = {NULL, resolutions, count};
  resolving asked = {NO_TEXT, queries, resolutions, count,      NULL, NULL,
                     NULL,    0,       0,           CUSTMEM_OK, "",   ""};
  int32_t answered = 0;
  int rc = CUSTMEM_OK, why = CUSTMEM_WHY_NO_INSTRUCTOR,
      is_alone = count == 1 && store->exclusive;
  if (take_instructor(store, instructor_id, &asked.instructor) == CUSTMEM_OK) {
    why = CUSTMEM_WHY_LOOKUP_FAILED;
    if (!is_alone) rc = begin_read(store);
    if (rc == CUSTMEM_OK) {
      asked.kept = have_kept(store);
      rc = resolve_all(store, &asked, &answered);
    }
    if (!is_alone) end_read(store);
    if (asked.is_damaged) distrust(store);
  }
  answer_all(resolutions, answered, count, why);
  tell(store, &notice);
  return rc;
}

/* A page that is refused is answered all the same. */
static int refuse_page(custmem_resolution *resolutions, int32_t count, int rc) {
  answer_all(resolutions, 0, count, CUSTMEM_WHY_LOOKUP_FAILED);
  return rc;
}

int custmem_resolve(
  custmem *store,
  const char *instructor_id,
  const char *conversation_id,
  const char *channel,
  const char *raw_identifier,
  int64_t raw_size,
  custmem_resolution *resolution
) {
  custmem_query query = {conversation_id, channel, raw_identifier, raw_size};
  custmem_resolution found;
  int rc = enter(store);
  if (rc != CUSTMEM_OK) return refuse_page(resolution, 1, rc);
  if (resolution == NULL) return leave(store, fail_null(store, "resolution"));
  rc = resolve_page(store, instructor_id, &query, 1, &found);
  *resolution = found;
  return leave(store, rc);
}

int custmem_resolve_many(
  custmem *store,
  const char *instructor_id,
  const custmem_query *queries,
  int32_t count,
  custmem_resolution *resolutions
) {
  int rc = enter(store);
  if (rc != CUSTMEM_OK) return refuse_page(resolutions, count, rc);
  if (count < 0)
    rc = fail_negative(store);
  else if (count > 0 && queries == NULL)
    rc = fail_null(store, "queries");
  else if (count > 0 && resolutions == NULL)
    rc = fail_null(store, "resolutions");
  if (rc != CUSTMEM_OK || count == 0) return leave(store, refuse_page(resolutions, count, rc));
  return leave(store, resolve_page(store, instructor_id, queries, count, resolutions));
}

/* ---- Badge --------------------------------------------------------------------------------- */

/* A badge's label and copy. The last row is for a value that is none: no claim is made. */
static const named BADGES[] = {
  {CUSTMEM_BADGE_NEW, "New customer", "First interaction with this customer"},
  {CUSTMEM_BADGE_KNOWN, "Known customer", "This customer is already known to you"},
  {CUSTMEM_BADGE_UNLINKED, "Unlinked", "Customer not resolved"},
};

int custmem_badge(const custmem_resolution *resolution) {
  int outcome = resolution != NULL ? resolution->outcome : CUSTMEM_UNLINKED;
  switch (outcome) {
  case CUSTMEM_LINKED:
    return CUSTMEM_BADGE_KNOWN;
  case CUSTMEM_CANDIDATE:
    return CUSTMEM_BADGE_NEW;
  default:
    return CUSTMEM_BADGE_UNLINKED;
  }
}

const char *custmem_badge_label(int badge) {
  return find_named(BADGES, COUNT_OF(BADGES), badge)->name;
}

const char *custmem_badge_copy(int badge) {
  return find_named(BADGES, COUNT_OF(BADGES), badge)->sentence;
}

/* ---- Links ----------------------------------------------------------------------------------
** One write, whichever verb asks for it, in one BEGIN IMMEDIATE transaction:
**
**   read the link as it stands      refuse, if it is not what the verb expects
**   read the new customer           refuse, if it is not this instructor's
**   read the end of the chain       its seq and hash
**   insert the audit event          the database checks seq and previous customer once more
**   insert or update the link       the database refuses what the event does not say
**   commit                          then, and only then, tell the listener
*/

enum verb { LINK, RELINK, UNLINK };

/* A verb's arguments, as they were passed: `current` is none for LINK, `next` none for UNLINK. */
typedef struct request {
  enum verb verb;
  const custmem_actor *actor;
  const char *conversation_id;
  const char *current;
  const char *next;
  const char *reason;
  int64_t reason_size;
  const char *context;
  int64_t context_size;
} request;

/* The same, checked. */
typedef struct change {
  enum verb verb;
  text instructor;
  text actor_id;
  text conversation;
  text current;
  text next;
  text reason;
  text context;
} change;

/* The link as it stands. */
typedef struct link_row {
  int exists;
  int is_ours;
  char customer_id[CUSTMEM_UUID_SIZE + 1];
} link_row;

static int take_reason(custmem *store, const char *reason, int64_t reason_size, text *out) {
  int rc;
  *out = NO_TEXT;
  if (reason == NULL || reason_size == 0 || (reason_size < 0 && reason[0] == '\0'))
    return fail(
      store, CUSTMEM_NO_REASON, "reason", "no reason (1 to %d bytes)", CUSTMEM_REASON_MAX
    );
  rc = take_text(store, "reason", reason, reason_size, CUSTMEM_REASON_MAX, PROSE, out);
  if (rc == CUSTMEM_OK && is_all_blank(*out))
    rc = fail(store, CUSTMEM_NO_REASON, "reason", "the reason is blank");
  return rc;
}

/* The name of the parameter that has the new customer. */
static const char *next_name(enum verb verb) {
  return verb == LINK ? "customer_id" : "new_customer_id";
}

static int take_request(custmem *store, const request *passed, change *asked) {
  enum verb verb = passed->verb;
  int rc = take_actor(store, passed->actor, &asked->instructor, &asked->actor_id);
  asked->verb = verb;
  asked->current = asked->next = NO_TEXT;
  if (rc == CUSTMEM_OK)
    rc = take_id(store, "conversation_id", passed->conversation_id, &asked->conversation);
  if (rc == CUSTMEM_OK && verb != LINK)
    rc = take_customer_id(store, "current_customer_id", passed->current, &asked->current);
  if (rc == CUSTMEM_OK && verb != UNLINK)
    rc = take_customer_id(store, next_name(verb), passed->next, &asked->next);
  if (rc == CUSTMEM_OK)
    rc = take_reason(store, passed->reason, passed->reason_size, &asked->reason);
  if (rc == CUSTMEM_OK)
    rc = take_optional(
      store, "context", passed->context, passed->context_size, CUSTMEM_CONTEXT_MAX, PROSE,
      &asked->context
    );
  return rc;
}

static int read_link(custmem *store, const change *asked, link_row *link) {
  sqlite3_stmt *stmt;
  int rc = statement(store, SELECT_LINK, &stmt, "tt", asked->instructor, asked->conversation);
  memset(link, 0, sizeof *link);
  if (rc == CUSTMEM_OK) rc = step(store, stmt, &link->exists);
  if (rc == CUSTMEM_OK && link->exists) {
    row_reader row = read_row(stmt);
    int is_linked;
    link->is_ours = read_int(&row) != 0;
    is_linked = read_int(&row) != 0;
    read_nullable_text(&row, link->customer_id, sizeof link->customer_id);
    if (link->is_ours && is_linked) need_value(&row, link->customer_id);
    rc = row_code(store, &row, "a link");
  }
  release(stmt);
  return rc;
}

/* Whether the conversation stands as the verb expects (CM-2.3 §4.3, §5). */
static int judge(custmem *store, const change *asked, const link_row *link) {
  if (link->exists && !link->is_ours)
    return fail(
      store, CUSTMEM_OTHER_INSTRUCTOR, "conversation_id",
      "the conversation belongs to another instructor"
    );
  if (asked->verb == LINK && link->customer_id[0] != '\0')
    return fail(
      store, CUSTMEM_ALREADY_LINKED, "conversation_id",
      "the conversation is linked to %s: relink names the customer it replaces",
      link->customer_id
    );
  if (asked->verb == LINK) return CUSTMEM_OK;
  if (link->customer_id[0] == '\0')
    return fail(
      store, CUSTMEM_NOT_LINKED, "conversation_id", "the conversation has no customer"
    );
  if (!is_text(asked->current, link->customer_id))
    return fail(
      store, CUSTMEM_CHANGED, "current_customer_id",
      "the conversation is linked to %s, not to the customer named", link->customer_id
    );
  if (asked->verb == RELINK && is_text(asked->next, link->customer_id))
    return fail(
      store, CUSTMEM_NO_CHANGE, "new_customer_id", "the conversation has this customer already"
    );
  return CUSTMEM_OK;
}

/* The end of an instructor's chain: seq 0, and the hash of no event, where there is none. */
static int read_chain_end(
  custmem *store,
  text instructor,
  int64_t *seq,
  unsigned char hash[HASH_BYTES]
) {
  sqlite3_stmt *stmt;
  int row = 0, rc = statement(store, SELECT_LAST_EVENT, &stmt, "t", instructor);
  *seq = 0;
  if (rc == CUSTMEM_OK) rc = step(store, stmt, &row);
  if (rc == CUSTMEM_OK && row) {
    char instructor_id[CUSTMEM_ID_MAX + 1];
    row_reader reader = read_row(stmt);
    read_text(&reader, instructor_id, sizeof instructor_id);
    need_text(&reader, instructor_id, instructor);
    *seq = read_int(&reader);
    if (*seq < 1 || *seq == INT64_MAX) reader.code = CUSTMEM_CORRUPT;
    read_hash(&reader, hash);
    rc = row_code(store, &reader, "a last audit event");
  } else {
    hash_of_empty_chain(store->info.id, instructor, hash);
  }
  release(stmt);
  return rc;
}

static const char *event_name(int has_previous, int has_new) {
  if (!has_previous) return "conversation.customer_linked";
  return has_new ? "conversation.customer_relinked" : "conversation.customer_unlinked";
}

/* The event of a change, as it will be stored and hashed: the texts are the change's. */
static int make_event(custmem *store, const change *asked, int64_t seq, event_fields *event) {
  event->instructor = asked->instructor;
  event->seq = seq;
  event->name = text_of(event_name(asked->verb != LINK, asked->verb != UNLINK));
  event->conversation = asked->conversation;
  event->previous = asked->current;
  event->next = asked->next;
  event->actor_type = text_of(HUMAN);
  event->actor_id = asked->actor_id;
  event->reason = asked->reason;
  event->context = asked->context;
  return take_now(store, &event->created_at_ms);
}

/* Inserts the event, chained to `hash`, which becomes its own. */
static int insert_event(
  custmem *store,
  const event_fields *event,
  unsigned char hash[HASH_BYTES]
) {
  sqlite3_stmt *stmt;
  int rc;
  hash_of_event(event, hash);
  rc = statement(
    store, INSERT_EVENT, &stmt, "tittttttttih", event->instructor, event->seq, event->name,
    event->conversation, event->previous, event->next, event->actor_type, event->actor_id,
    event->reason, event->context, event->created_at_ms, hash
  );
  return rc == CUSTMEM_OK ? write_row(store, stmt) : rc;
}

/* Makes the link what the event says. */
static int write_link(custmem *store, const link_row *link, const event_fields *event) {
  sqlite3_stmt *stmt;
  int rc = statement(
    store, link->exists ? UPDATE_LINK : INSERT_LINK, &stmt, "tttii", event->instructor,
    event->conversation, event->next, event->seq, event->created_at_ms
  );
  return rc == CUSTMEM_OK ? write_row(store, stmt) : rc;
}

/* Within the transaction: everything but its beginning and its end. */
static int make_change(
  custmem *store,
  const change *asked,
  link_row *link,
  event_fields *event,
  unsigned char hash[HASH_BYTES]
) {
  int64_t seq;
  int rc = read_link(store, asked, link);
  if (rc == CUSTMEM_OK) rc = judge(store, asked, link);
  if (rc == CUSTMEM_OK && asked->verb != UNLINK)
    rc = has_customer(store, next_name(asked->verb), asked->instructor, asked->next);
  if (rc == CUSTMEM_OK) rc = read_chain_end(store, asked->instructor, &seq, hash);
  if (rc == CUSTMEM_OK) rc = make_event(store, asked, seq + 1, event);
  if (rc == CUSTMEM_OK) rc = insert_event(store, event, hash);
  if (rc == CUSTMEM_OK) rc = write_link(store, link, event);
  return rc;
}

/* Tells the listener of an event that was committed. */
static void tell_event(custmem *store, const event_fields *committed, const char *hash) {
  custmem_event event;
  custmem_notice notice = {&event, NULL, 0};
  if (store->listener == NULL) return;
  memset(&event, 0, sizeof event);
  put_event(committed, &event);
  strcpy(event.hash, hash);
  tell(store, &notice);
}

static int commit_change(custmem *store, const change *asked, custmem_written *written) {
  unsigned char hash[HASH_BYTES];
  event_fields event;
  link_row link;
  int rc = begin_write(store);
  if (rc != CUSTMEM_OK) return rc;
  rc = end_write(store, make_change(store, asked, &link, &event, hash));
  if (rc == CUSTMEM_OK) {
    put_text(written->current_customer_id, event.next);
    written->seq = event.seq;
    written->created_at_ms = event.created_at_ms;
    make_head(event.seq, hash, &written->head);
    tell_event(store, &event, written->head.hash);
  } else if (link.is_ours) {
    strcpy(written->current_customer_id, link.customer_id);
  }
  return rc;
}

/* The caller's `written` is filled last: it may be what the current customer was named from. */
static int write_request(custmem *store, const request *passed, custmem_written *written) {
  change asked;
  custmem_written made;
  int rc = enter_write(store);
  memset(&made, 0, sizeof made);
  if (rc == CUSTMEM_OK) {
    rc = take_request(store, passed, &asked);
    if (rc == CUSTMEM_OK) rc = commit_change(store, &asked, &made);
    rc = leave(store, rc);
  }
  if (written != NULL) *written = made;
  return rc;
}

int custmem_link(
  custmem *store,
  const custmem_actor *actor,
  const char *conversation_id,
  const char *customer_id,
  const char *reason,
  int64_t reason_size,
  const char *context,
  int64_t context_size,
  custmem_written *written
) {
  const request asked = {LINK,   actor,       conversation_id, NULL,        customer_id,
                         reason, reason_size, context,         context_size};
  return write_request(store, &asked, written);
}

int custmem_relink(
  custmem *store,
  const custmem_actor *actor,
  const char *conversation_id,
  const char *current_customer_id,
  const char *new_customer_id,
  const char *reason,
  int64_t reason_size,
  const char *context,
  int64_t context_size,
  custmem_written *written
) {
  const request asked = {RELINK,          actor,  conversation_id, current_customer_id,
                         new_customer_id, reason, reason_size,     context,
                         context_size};
  return write_request(store, &asked, written);
}

int custmem_unlink(
  custmem *store,
  const custmem_actor *actor,
  const char *conversation_id,
  const char *current_customer_id,
  const char *reason,
  int64_t reason_size,
  const char *context,
  int64_t context_size,
  custmem_written *written
) {
  const request asked = {UNLINK, actor,       conversation_id, current_customer_id, NULL,
                         reason, reason_size, context,         context_size};
  return write_request(store, &asked, written);
}

static int read_conversation(
  custmem *store,
  sqlite3_stmt *stmt,
  text customer,
  custmem_conversation *conversation
) {
  row_reader row = read_row(stmt);
  read_text(&row, conversation->conversation_id, sizeof conversation->conversation_id);
  read_text(&row, conversation->customer_id, sizeof conversation->customer_id);
  need_text(&row, conversation->customer_id, customer);
  conversation->audit_seq = read_int(&row);
  conversation->updated_at_ms = read_int(&row);
  if (read_int(&row) != 1) row.code = CUSTMEM_CORRUPT; /* another instructor's */
  return row_code(store, &row, "a link");
}

int custmem_conversations(
  custmem *store,
  const char *instructor_id,
  const char *customer_id,
  const char *after_conversation_id,
  custmem_conversation *conversations,
  int32_t capacity,
  int32_t *count
) {
  sqlite3_stmt *stmt = NULL;
  custmem_customer customer;
  text instructor, id, after = FROM_START;
  const page list = {"conversations", conversations, sizeof *conversations, capacity, count};
  int row = 1, rc = enter_list(store, &list);
  if (rc != CUSTMEM_OK) return rc;
  rc = take_instructor(store, instructor_id, &instructor);
  if (rc == CUSTMEM_OK) rc = take_customer_id(store, "customer_id", customer_id, &id);
  if (rc == CUSTMEM_OK && after_conversation_id != NULL)
    rc = take_id(store, "after_conversation_id", after_conversation_id, &after);
  if (rc == CUSTMEM_OK) rc = begin_read(store);
  if (rc == CUSTMEM_OK) rc = find_by_id(store, "customer_id", instructor, id, &customer);
  if (rc == CUSTMEM_OK)
    rc = statement(
      store, SELECT_CONVERSATIONS, &stmt, "ttti", instructor, id, after, (int64_t)capacity
    );
  while (rc == CUSTMEM_OK && row) {
    rc = step(store, stmt, &row);
    if (rc == CUSTMEM_OK && row)
      rc = read_conversation(store, stmt, id, &conversations[*count]);
    if (rc == CUSTMEM_OK && row)
      rc = follows(store, conversations[(*count)++].conversation_id, &after);
  }
  release(stmt);
  end_read(store);
  return leave_list(store, &list, rc);
}

/* ---- Audit --------------------------------------------------------------------------------- */

/* What events are read: of one conversation, or with NO_TEXT of all. */
typedef struct events_asked {
  text instructor;
  text conversation;
  int64_t after_seq;
} events_asked;

/* Reads an event strictly, where it stands in its row; `hash` gets what the file says. */
static int read_event(
  custmem *store,
  sqlite3_stmt *stmt,
  event_fields *event,
  unsigned char hash[HASH_BYTES]
) {
  row_reader row = read_row(stmt);
  event->instructor = read_value(&row, LINE, CUSTMEM_ID_MAX);
  event->seq = read_int(&row);
  event->name = read_value(&row, LINE, CUSTMEM_EVENT_NAME_MAX);
  event->conversation = read_value(&row, LINE, CUSTMEM_ID_MAX);
  event->previous = read_view(&row, LINE, CUSTMEM_UUID_SIZE);
  event->next = read_view(&row, LINE, CUSTMEM_UUID_SIZE);
  event->actor_type = read_value(&row, ANY, CUSTMEM_ID_MAX);
  event->actor_id = read_view(&row, LINE, CUSTMEM_ID_MAX);
  event->reason = read_value(&row, PROSE, CUSTMEM_REASON_MAX);
  event->context = read_view(&row, PROSE, CUSTMEM_CONTEXT_MAX);
  event->created_at_ms = read_int(&row);
  read_hash(&row, hash);
  if (!is_text(event->actor_type, HUMAN) && !is_text(event->actor_type, SYSTEM))
    row.code = CUSTMEM_CORRUPT;
  return row_code(store, &row, "an audit event");
}

/* The next event of a page, which must be one that was asked for. */
static int read_next_event(
  custmem *store,
  sqlite3_stmt *stmt,
  const events_asked *asked,
  int64_t after_seq,
  custmem_event *event
) {
  unsigned char hash[HASH_BYTES];
  event_fields fields;
  row_reader row = read_row(stmt);
  int rc = read_event(store, stmt, &fields, hash);
  if (rc != CUSTMEM_OK) return rc;
  put_event(&fields, event);
  to_hex(hash, HASH_BYTES, event->hash);
  need_text(&row, event->instructor_id, asked->instructor);
  need_text(&row, event->conversation_id, asked->conversation);
  if (event->seq <= after_seq) row.code = CUSTMEM_CORRUPT;
  return row_code(store, &row, "an audit event in a place");
}

/* Fills a page of events from a bound statement, and releases it. */
static int read_events(
  custmem *store,
  sqlite3_stmt *stmt,
  const events_asked *asked,
  custmem_event *events,
  int32_t *count
) {
  int64_t after_seq = asked->after_seq;
  int row = 1, rc = CUSTMEM_OK;
  while (rc == CUSTMEM_OK && row) {
    rc = step(store, stmt, &row);
    if (rc == CUSTMEM_OK && row) {
      rc = read_next_event(store, stmt, asked, after_seq, &events[*count]);
      after_seq = events[(*count)++].seq;
    }
  }
  release(stmt);
  return rc;
}

int custmem_audit_read(
  custmem *store,
  const char *instructor_id,
  int64_t after_seq,
  custmem_event *events,
  int32_t capacity,
  int32_t *count
) {
  sqlite3_stmt *stmt;
  events_asked asked = {NO_TEXT, NO_TEXT, after_seq};
  const page list = {"events", events, sizeof *events, capacity, count};
  int rc = enter_list(store, &list);
  if (rc != CUSTMEM_OK) return rc;
  rc = take_instructor(store, instructor_id, &asked.instructor);
  if (rc == CUSTMEM_OK)
    rc = statement(
      store, SELECT_EVENTS, &stmt, "tii", asked.instructor, after_seq, (int64_t)capacity
    );
  if (rc == CUSTMEM_OK) rc = read_events(store, stmt, &asked, events, count);
  return leave_list(store, &list, rc);
}

int custmem_history(
  custmem *store,
  const char *instructor_id,
  const char *conversation_id,
  int64_t after_seq,
  custmem_event *events,
  int32_t capacity,
  int32_t *count
) {
  sqlite3_stmt *stmt;
  events_asked asked = {NO_TEXT, NO_TEXT, after_seq};
  const page list = {"events", events, sizeof *events, capacity, count};
  int rc = enter_list(store, &list);
  if (rc != CUSTMEM_OK) return rc;
  rc = take_instructor(store, instructor_id, &asked.instructor);
  if (rc == CUSTMEM_OK)
    rc = take_id(store, "conversation_id", conversation_id, &asked.conversation);
  if (rc == CUSTMEM_OK)
    rc = statement(
      store, SELECT_HISTORY, &stmt, "ttii", asked.instructor, asked.conversation, after_seq,
      (int64_t)capacity
    );
  if (rc == CUSTMEM_OK) rc = read_events(store, stmt, &asked, events, count);
  return leave_list(store, &list, rc);
}

int custmem_audit_head(custmem *store, const char *instructor_id, custmem_head *head) {
  unsigned char hash[HASH_BYTES];
  text instructor;
  int64_t count = 0;
  int rc;
  if (head != NULL) memset(head, 0, sizeof *head);
  rc = enter(store);
  if (rc != CUSTMEM_OK) return rc;
  if (head == NULL) return leave(store, fail_null(store, "head"));
  rc = take_instructor(store, instructor_id, &instructor);
  if (rc == CUSTMEM_OK) rc = read_chain_end(store, instructor, &count, hash);
  if (rc == CUSTMEM_OK) make_head(count, hash, head);
  return leave(store, rc);
}

/* A sum over rows that is equal for equal sets of rows, whatever their order, and for nothing else
** that a file could have been prepared to hold: SipHash-1-3 under a key drawn after the file was
** written. It proves that an index holds what its table holds, in no memory. */
typedef struct row_sum {
  uint64_t key[2];
  uint64_t sum;
} row_sum;

/* What of an event the links depend on. */
typedef struct link_event {
  text conversation;
  text previous;
  text next;
  int64_t seq;
  int64_t created_at_ms;
} link_event;

/* The texts in as many words as they take; then the numbers, and how many bytes the texts are. */
static void add_row(row_sum *sum, const link_event *event) {
  uint64_t words[(CUSTMEM_ID_MAX + 1 + 2 * (CUSTMEM_UUID_SIZE + 1)) / 8 + 4];
  const text texts[] = {event->conversation, event->previous, event->next};
  size_t size = packed_size(texts, COUNT_OF(texts)), count = words_in(size);
  pack_texts(words, texts, COUNT_OF(texts));
  words[count++] = (uint64_t)event->seq;
  words[count++] = (uint64_t)event->created_at_ms;
  words[count++] = size;
  sum->sum += sip_hash(sum->key, words, count);
}

/* Notes the first fault, and fails the call with it. */
static int report_fault(
  custmem *store,
  custmem_report *report,
  int fault,
  const char *instructor_id,
  int64_t seq,
  const char *subject,
  const char *detail
) {
  int is_anchor = fault == CUSTMEM_FAULT_ANCHOR_BEYOND || fault == CUSTMEM_FAULT_ANCHOR_DIFFERS;
  report->fault = fault;
  sqlite3_snprintf(
    (int)sizeof report->instructor_id, report->instructor_id, "%s", instructor_id
  );
  report->seq = seq;
  sqlite3_snprintf((int)sizeof report->subject, report->subject, "%s", subject);
  sqlite3_snprintf((int)sizeof report->detail, report->detail, "%s", detail);
  return fail(store, is_anchor ? CUSTMEM_ANCHOR : CUSTMEM_BROKEN, "", "%s", report->detail);
}

/* What could not be read is a fault too: these calls are there to say so. */
static int report_damage(custmem *store, custmem_report *report, const char *instructor_id) {
  return report_fault(
    store, report, CUSTMEM_FAULT_DATABASE, instructor_id, 0, "", store->errmsg
  );
}

/* A chain being walked: where it stands, and what the rows of the table add up to. */
typedef struct chain {
  text instructor;
  const char *instructor_id;
  int64_t seq;
  unsigned char hash[HASH_BYTES];
  row_sum sum;
} chain;

/* Whether a write could have made this event, whatever its hash says. Its texts were checked as they
** were read. */
static int is_sound(const event_fields *event) {
  int has_previous = event->previous.size > 0, has_next = event->next.size > 0;
  return is_text(event->name, event_name(has_previous, has_next)) &&
         !are_equal(event->previous, event->next) &&
         (!is_text(event->actor_type, HUMAN) || event->actor_id.size > 0) &&
         is_time(event->created_at_ms);
}

/* Judges an event by the chain before it, which it becomes a part of. Returns a fault and what to say
** of it. */
static int judge_event(
  chain *walked,
  const event_fields *event,
  const unsigned char stored[HASH_BYTES],
  const char **detail
) {
  if (event->seq != walked->seq) {
    *detail = "an audit event is missing";
    return CUSTMEM_FAULT_SEQUENCE;
  }
  hash_of_event(event, walked->hash);
  if (memcmp(walked->hash, stored, HASH_BYTES) != 0) {
    *detail = "an audit event is not the one that was written";
    return CUSTMEM_FAULT_HASH;
  }
  *detail = "an audit event says what no write makes";
  return is_sound(event) ? CUSTMEM_FAULT_NONE : CUSTMEM_FAULT_FIELD;
}

/* One event against the chain before it. */
static int verify_event(
  custmem *store,
  sqlite3_stmt *stmt,
  chain *walked,
  custmem_report *report
) {
  event_fields event;
  link_event row;
  unsigned char stored[HASH_BYTES];
  char conversation_id[CUSTMEM_ID_MAX + 1] = "";
  const char *detail = "an audit event cannot be read";
  int fault = CUSTMEM_FAULT_FIELD, rc = read_event(store, stmt, &event, stored);
  if (rc != CUSTMEM_OK && rc != CUSTMEM_CORRUPT) return rc;
  walked->seq++;
  if (rc == CUSTMEM_OK) fault = judge_event(walked, &event, stored, &detail);
  if (fault != CUSTMEM_FAULT_NONE) {
    if (rc == CUSTMEM_OK && fault != CUSTMEM_FAULT_SEQUENCE)
      put_text(conversation_id, event.conversation);
    return report_fault(
      store, report, fault, walked->instructor_id, walked->seq, conversation_id, detail
    );
  }
  report->events++;
  row.conversation = event.conversation;
  row.previous = event.previous;
  row.next = event.next;
  row.seq = event.seq;
  row.created_at_ms = event.created_at_ms;
  add_row(&walked->sum, &row);
  return CUSTMEM_OK;
}

/* Walks all of a chain. *differs is set where it passes the anchor with another hash. */
static int verify_chain(
  custmem *store,
  text instructor,
  const custmem_head *anchor,
  chain *walked,
  int *differs,
  custmem_report *report
) {
  sqlite3_stmt *stmt;
  custmem_head head;
  int row = 1;
  int rc = statement(store, SELECT_EVENTS, &stmt, "tii", instructor, INT64_MIN, (int64_t)-1);
  *differs = 0;
  walked->seq = 0;
  hash_of_empty_chain(store->info.id, instructor, walked->hash);
  while (rc == CUSTMEM_OK && row) {
    if (anchor != NULL && anchor->count == walked->seq) {
      make_head(walked->seq, walked->hash, &head);
      *differs = strcmp(anchor->hash, head.hash) != 0;
    }
    rc = step(store, stmt, &row);
    if (rc == CUSTMEM_OK && row) rc = verify_event(store, stmt, walked, report);
  }
  release(stmt);
  return rc;
}

/* A conversation whose events are folded in their order, and what they have come to. */
typedef struct fold {
  text conversation; /* in conversation_id; of no size before the first */
  text customer;     /* in customer_id */
  int64_t seq;
  int64_t created_at_ms;
  char conversation_id[CUSTMEM_ID_MAX + 1];
  char customer_id[CUSTMEM_UUID_SIZE + 1];
} fold;

static text keep_text(char *field, text value) {
  text kept = {field, value.size};
  put_text(field, value);
  return kept;
}

/* Links that are read beside the events, both in the order of their conversations.
**
** row         whether the statement stands on a link
** has_jumped  whether a link was searched for: then there may be some that were not seen
** from        the conversation that was last searched for
*/
typedef struct link_walk {
  sqlite3_stmt *stmt;
  int row;
  int has_jumped;
  char from[CUSTMEM_ID_MAX + 1];
} link_walk;

/* Whether the walk stands on the link of the instructor's conversation. If not, what it stands on is
** no concern of ours, as damaged as it may be. */
static int is_at_link(
  custmem *store,
  const link_walk *links,
  text instructor,
  text conversation,
  int *is_there
) {
  row_reader row = read_row(links->stmt);
  *is_there = links->row && are_equal(read_view(&row, LINE, CUSTMEM_ID_MAX), conversation) &&
              are_equal(read_view(&row, LINE, CUSTMEM_ID_MAX), instructor);
  if (row.code == CUSTMEM_OK || sqlite3_errcode(store->db) != SQLITE_NOMEM) return CUSTMEM_OK;
  return fail_sqlite(store, SQLITE_NOMEM);
}

/* Starts the walk at a conversation. */
static int walk_links_from(custmem *store, link_walk *links, text conversation) {
  int rc;
  release(links->stmt);
  rc = statement(
    store, SELECT_LINKS_FROM, &links->stmt, "t", keep_text(links->from, conversation)
  );
  return rc == CUSTMEM_OK ? step(store, links->stmt, &links->row) : rc;
}

/* Moves to a conversation's link. In a store of one instructor it is the next row; where it once was
** not, others' links lie between, and each is searched for. */
static int move_to_link(
  custmem *store,
  link_walk *links,
  text instructor,
  text conversation,
  int *is_there
) {
  int rc = CUSTMEM_OK;
  *is_there = 0;
  if (!links->has_jumped) {
    if (links->stmt == NULL)
      rc = walk_links_from(store, links, FROM_START);
    else
      rc = step(store, links->stmt, &links->row);
    if (rc == CUSTMEM_OK) rc = is_at_link(store, links, instructor, conversation, is_there);
    if (rc != CUSTMEM_OK || *is_there) return rc;
  }
  links->has_jumped = 1;
  rc = walk_links_from(store, links, conversation);
  return rc == CUSTMEM_OK ? is_at_link(store, links, instructor, conversation, is_there) : rc;
}

/* Compares what a conversation's events come to with its link. */
static int verify_fold(
  custmem *store,
  const chain *walked,
  const fold *folded,
  link_walk *links,
  custmem_report *report
) {
  int is_there, is_so = 0;
  int rc = move_to_link(store, links, walked->instructor, folded->conversation, &is_there);
  if (rc == CUSTMEM_OK && is_there) {
    row_reader row = read_row(links->stmt);
    row.column = 2;
    is_so = read_int(&row) == folded->seq;
    is_so &= are_equal(read_view(&row, LINE, CUSTMEM_UUID_SIZE), folded->customer);
    is_so &= read_int(&row) == folded->created_at_ms;
    rc = row_code(store, &row, "a link");
  }
  if (rc != CUSTMEM_OK) return rc;
  if (!is_so)
    return report_fault(
      store, report, CUSTMEM_FAULT_LINK, walked->instructor_id, folded->seq,
      folded->conversation_id, "a conversation is not linked as its last audit event says"
    );
  report->links++;
  return CUSTMEM_OK;
}

/* A row of VERIFY_EVENTS: the sum compares its texts with those that were read from the table. */
static int read_link_event(custmem *store, sqlite3_stmt *stmt, link_event *event) {
  row_reader row = read_row(stmt);
  event->conversation = read_value(&row, LINE, CUSTMEM_ID_MAX);
  event->seq = read_int(&row);
  event->previous = read_view(&row, ANY, CUSTMEM_UUID_SIZE);
  event->next = read_view(&row, ANY, CUSTMEM_UUID_SIZE);
  event->created_at_ms = read_int(&row);
  return row_code(store, &row, "an audit event");
}

/* Adds an event to its conversation's fold, or begins the next conversation's, when that of the one
** before has been compared with its link. */
static int fold_event(
  custmem *store,
  const chain *walked,
  const link_event *event,
  fold *folded,
  link_walk *links,
  custmem_report *report
) {
  int rc = CUSTMEM_OK;
  if (!are_equal(event->conversation, folded->conversation)) {
    if (folded->conversation.size > 0) rc = verify_fold(store, walked, folded, links, report);
    if (rc != CUSTMEM_OK) return rc;
    folded->conversation = keep_text(folded->conversation_id, event->conversation);
    folded->customer = NO_TEXT;
  }
  if (!are_equal(event->previous, folded->customer))
    return report_fault(
      store, report, CUSTMEM_FAULT_PREVIOUS, walked->instructor_id, event->seq,
      folded->conversation_id, "an audit event's previous customer is not the one before it"
    );
  folded->customer = keep_text(folded->customer_id, event->next);
  folded->seq = event->seq;
  folded->created_at_ms = event->created_at_ms;
  return CUSTMEM_OK;
}

/* The event on which VERIFY_EVENTS stands, into the fold and into the sum. */
static int verify_link_event(
  custmem *store,
  sqlite3_stmt *stmt,
  const chain *walked,
  fold *folded,
  link_walk *links,
  row_sum *sum,
  custmem_report *report
) {
  link_event event;
  int rc = read_link_event(store, stmt, &event);
  if (rc == CUSTMEM_OK) rc = fold_event(store, walked, &event, folded, links, report);
  if (rc == CUSTMEM_OK) add_row(sum, &event);
  return rc;
}

/* Folds each conversation's events in their order, and compares what comes out with its link. The
** order comes from an index: the sum proves that it holds the events that the chain was walked over.
** *is_complete is set if there is no other link. */
static int verify_links(
  custmem *store,
  text instructor,
  const chain *walked,
  int *is_complete,
  custmem_report *report
) {
  sqlite3_stmt *stmt;
  fold folded = {NO_TEXT, NO_TEXT, 0, 0, "", ""};
  link_walk links = {NULL, 0, 0, ""};
  row_sum sum = walked->sum;
  int row = 1, rc = statement(store, VERIFY_EVENTS, &stmt, "t", instructor);
  sum.sum = 0;
  while (rc == CUSTMEM_OK && row) {
    rc = step(store, stmt, &row);
    if (rc == CUSTMEM_OK && row)
      rc = verify_link_event(store, stmt, walked, &folded, &links, &sum, report);
  }
  release(stmt);
  if (rc == CUSTMEM_OK && folded.conversation.size > 0)
    rc = verify_fold(store, walked, &folded, &links, report);
  if (rc == CUSTMEM_OK && links.row && !links.has_jumped)
    rc = step(store, links.stmt, &links.row);
  *is_complete = links.stmt != NULL && !links.row && !links.has_jumped;
  release(links.stmt);
  if (rc == CUSTMEM_OK && sum.sum != walked->sum.sum)
    rc = report_fault(
      store, report, CUSTMEM_FAULT_DATABASE, walked->instructor_id, 0, "",
      "the index audit_events_conversation does not hold what its table holds"
    );
  return rc;
}

/* As many links as conversations that the events know: none was added. Only where the counts differ
** is the one looked for that is too many. */
static int verify_link_count(
  custmem *store,
  text instructor,
  int64_t links,
  const char *instructor_id,
  custmem_report *report
) {
  sqlite3_stmt *stmt;
  char stray[CUSTMEM_ID_MAX + 1] = "";
  int64_t stored = 0;
  int row, rc = statement(store, COUNT_LINKS, &stmt, "t", instructor);
  if (rc == CUSTMEM_OK) rc = step(store, stmt, &row);
  if (rc == CUSTMEM_OK) stored = sqlite3_column_int64(stmt, 0);
  release(stmt);
  if (rc != CUSTMEM_OK || stored == links) return rc;
  rc = statement(store, SELECT_STRAY_LINK, &stmt, "t", instructor);
  if (rc == CUSTMEM_OK) rc = step(store, stmt, &row);
  if (rc == CUSTMEM_OK && row) {
    row_reader reader = read_row(stmt);
    read_text(&reader, stray, sizeof stray);
  }
  release(stmt);
  if (rc != CUSTMEM_OK) return rc;
  if (!row)
    return report_fault(
      store, report, CUSTMEM_FAULT_DATABASE, instructor_id, 0, "",
      "the index conversation_links_customer does not hold what its table holds"
    );
  return report_fault(
    store, report, CUSTMEM_FAULT_LINK, instructor_id, 0, stray,
    "a conversation has a link that no audit event made"
  );
}

/* One instructor's chain and links, within the caller's read transaction. What was counted before is
** kept. */
static int walk_instructor(
  custmem *store,
  text instructor,
  const char *instructor_id,
  const custmem_head *anchor,
  custmem_report *report
) {
  chain walked;
  int64_t links_before = report->links;
  int differs = 0, is_complete, rc;
  walked.instructor = instructor;
  walked.instructor_id = instructor_id;
  walked.sum.sum = 0;
  sqlite3_randomness((int)sizeof walked.sum.key, walked.sum.key);
  rc = verify_chain(store, instructor, anchor, &walked, &differs, report);
  if (rc == CUSTMEM_OK) rc = verify_links(store, instructor, &walked, &is_complete, report);
  if (rc == CUSTMEM_OK && !is_complete)
    rc =
      verify_link_count(store, instructor, report->links - links_before, instructor_id, report);
  if (rc != CUSTMEM_OK) return rc;
  report->instructors++;
  make_head(walked.seq, walked.hash, &report->head);
  if (anchor == NULL) return CUSTMEM_OK;
  if (anchor->count > walked.seq)
    return report_fault(
      store, report, CUSTMEM_FAULT_ANCHOR_BEYOND, instructor_id, walked.seq, "",
      "the audit ends before the anchor: it was cut off, or an older copy was put back"
    );
  if (differs)
    return report_fault(
      store, report, CUSTMEM_FAULT_ANCHOR_DIFFERS, instructor_id, anchor->count, "",
      "the audit is not the one that the anchor was taken from"
    );
  return CUSTMEM_OK;
}

static int verify_instructor(
  custmem *store,
  text instructor,
  const char *instructor_id,
  const custmem_head *anchor,
  custmem_report *report
) {
  int rc = walk_instructor(store, instructor, instructor_id, anchor, report);
  return rc == CUSTMEM_CORRUPT ? report_damage(store, report, instructor_id) : rc;
}

static int take_anchor(custmem *store, const custmem_head *anchor) {
  text hash;
  if (anchor == NULL) return CUSTMEM_OK;
  hash.bytes = anchor->hash;
  hash.size = CUSTMEM_HASH_SIZE;
  if (anchor->count < 0 || count_while(hash, is_hex_digit) != CUSTMEM_HASH_SIZE || anchor->hash[CUSTMEM_HASH_SIZE] != '\0')
    return fail(
      store, CUSTMEM_MISUSE, "anchor",
      "anchor is not a head: a count, and %d hexadecimal digits", CUSTMEM_HASH_SIZE
    );
  return CUSTMEM_OK;
}

int custmem_audit_verify(
  custmem *store,
  const char *instructor_id,
  const custmem_head *anchor,
  custmem_report *report
) {
  custmem_report found;
  text instructor;
  int rc = enter(store);
  memset(&found, 0, sizeof found);
  if (rc == CUSTMEM_OK) {
    if (report == NULL) rc = fail_null(store, "report");
    if (rc == CUSTMEM_OK) rc = take_instructor(store, instructor_id, &instructor);
    if (rc == CUSTMEM_OK) rc = take_anchor(store, anchor);
    if (rc == CUSTMEM_OK) rc = begin_read(store);
    if (rc == CUSTMEM_OK)
      rc = verify_instructor(store, instructor, instructor_id, anchor, &found);
    end_read(store);
    rc = leave(store, rc);
  }
  if (report != NULL) *report = found;
  return rc;
}

int custmem_set_listener(
  custmem *store,
  void (*listener)(const custmem_notice *notice, void *ctx),
  void *ctx
) {
  int rc = enter_write(store);
  if (rc != CUSTMEM_OK) return rc;
  store->listener = listener;
  store->listener_ctx = ctx;
  return leave(store, CUSTMEM_OK);
}

/* ---- The whole store ----------------------------------------------------------------------- */

/* SQLite's check reports a page that it could not read, or had no memory for, as if it were damage:
** "unable to get the page. error code=266". Then the code is told, not the damage. */
static int code_of_answer(const char *answer) {
  static const char mark[] = "error code=";
  const char *found = strstr(answer, mark);
  int rc = found != NULL ? (int)strtol(found + sizeof mark - 1, NULL, 10) : SQLITE_CORRUPT;
  return rc == SQLITE_NOMEM || (rc & 0xff) == SQLITE_IOERR ? rc : SQLITE_CORRUPT;
}

static int check_database(custmem *store, custmem_report *report) {
  sqlite3_stmt *stmt;
  char answer[CUSTMEM_MESSAGE_MAX + 1] = "";
  int row, failure, rc = statement(store, CHECK_DATABASE, &stmt, "");
  if (rc == CUSTMEM_OK) rc = step(store, stmt, &row);
  if (rc == CUSTMEM_OK)
    sqlite3_snprintf(
      (int)sizeof answer, answer, "%s", (const char *)sqlite3_column_text(stmt, 0)
    );
  release(stmt);
  if (rc != CUSTMEM_OK || strcmp(answer, "ok") == 0) return rc;
  failure = code_of_answer(answer);
  if (failure != SQLITE_CORRUPT) return fail(store, code_of_sqlite(failure), "", "%s", answer);
  return report_fault(store, report, CUSTMEM_FAULT_DATABASE, "", 0, "", answer);
}

/* What was true when the store was opened, once more. */
static int check_identity(custmem *store, custmem_report *report) {
  custmem_info info;
  int64_t application, version;
  int rc = check_schema(store);
  if (rc == CUSTMEM_OK) rc = read_marks(store, &application, &version);
  if (rc == CUSTMEM_OK && (application != APPLICATION_ID || version != SCHEMA_VERSION))
    rc = fail(
      store, CUSTMEM_SCHEMA, "", "the file no longer says that it is a store of this schema"
    );
  if (rc == CUSTMEM_SCHEMA)
    return report_fault(store, report, CUSTMEM_FAULT_SCHEMA, "", 0, "", store->errmsg);
  if (rc == CUSTMEM_OK) rc = read_store(store, &info);
  if (rc == CUSTMEM_CORRUPT || rc == CUSTMEM_RULES || (rc == CUSTMEM_OK && (strcmp(info.id, store->info.id) != 0 || info.created_at_ms != store->info.created_at_ms)))
    rc = report_fault(
      store, report, CUSTMEM_FAULT_STORE, "", 0, "", "the store says that it is another one"
    );
  return rc;
}

/* Whether a call would have made the row: a UUID, the key that normalizing gives, and times of the clock. */
static int is_customer(const custmem_customer *customer) {
  char key[CUSTMEM_IDENTIFIER_MAX + 1];
  custmem_normalize("webchat", customer->id, CUSTMEM_NUL_TERMINATED, key);
  if (strcmp(key, customer->id) != 0) return 0;
  custmem_normalize(
    customer->channel, customer->normalized_identifier, CUSTMEM_NUL_TERMINATED, key
  );
  return strcmp(key, customer->normalized_identifier) == 0 &&
         is_time(customer->created_at_ms) && is_time(customer->updated_at_ms);
}

static int check_customers(custmem *store, custmem_report *report) {
  sqlite3_stmt *stmt;
  custmem_customer customer;
  const customer_asked anybody = {NO_TEXT, NO_TEXT, NO_TEXT};
  int row = 1, rc = statement(store, CHECK_CUSTOMERS, &stmt, "");
  while (rc == CUSTMEM_OK && row) {
    rc = step(store, stmt, &row);
    if (rc == CUSTMEM_OK && row) {
      rc = read_customer(store, stmt, &anybody, &customer);
      if (rc == CUSTMEM_CORRUPT || (rc == CUSTMEM_OK && !is_customer(&customer)))
        rc = report_fault(
          store, report, CUSTMEM_FAULT_KEY, customer.instructor_id, 0, customer.id,
          "a customer's row is not one that a call makes"
        );
      report->customers += rc == CUSTMEM_OK;
    }
  }
  release(stmt);
  return rc;
}

/* Links whose customer is not there, or is another instructor's; and links of no instructor, which no walk
** over an instructor's audit meets. */
static int check_linked_customers(custmem *store, custmem_report *report) {
  sqlite3_stmt *stmt;
  char instructor_id[CUSTMEM_ID_MAX + 1] = "", conversation_id[CUSTMEM_ID_MAX + 1] = "";
  int row, rc = statement(store, CHECK_LINKED_CUSTOMERS, &stmt, "");
  if (rc == CUSTMEM_OK) rc = step(store, stmt, &row);
  if (rc == CUSTMEM_OK && row) {
    row_reader reader = read_row(stmt);
    read_text(&reader, instructor_id, sizeof instructor_id);
    read_text(&reader, conversation_id, sizeof conversation_id);
    rc = report_fault(
      store, report, CUSTMEM_FAULT_LINK, instructor_id, 0, conversation_id,
      "a conversation is linked to a customer that its instructor does not have"
    );
  }
  release(stmt);
  return rc;
}

/* The first instructor after another, in the order of their ids; "" where there is none. */
static int read_next_instructor(custmem *store, char instructor_id[CUSTMEM_ID_MAX + 1]) {
  sqlite3_stmt *stmt;
  text after = text_of(instructor_id);
  int row, rc = statement(store, CHECK_NEXT_INSTRUCTOR, &stmt, "t", after);
  if (rc == CUSTMEM_OK) rc = step(store, stmt, &row);
  if (rc == CUSTMEM_OK) {
    char next[CUSTMEM_ID_MAX + 1];
    row_reader reader = read_row(stmt);
    read_nullable_text(&reader, next, sizeof next);
    rc = row_code(store, &reader, "an instructor");
    release(stmt);
    strcpy(instructor_id, next);
    return rc;
  }
  release(stmt);
  return rc;
}

static int check_instructors(custmem *store, custmem_report *report) {
  char instructor_id[CUSTMEM_ID_MAX + 1] = "";
  int rc = read_next_instructor(store, instructor_id);
  while (rc == CUSTMEM_OK && instructor_id[0] != '\0') {
    text instructor = text_of(instructor_id);
    rc = verify_instructor(store, instructor, instructor_id, NULL, report);
    if (rc == CUSTMEM_OK) rc = read_next_instructor(store, instructor_id);
  }
  memset(&report->head, 0, sizeof report->head);
  return rc;
}

int custmem_check(custmem *store, custmem_report *report) {
  int rc;
  if (report != NULL) memset(report, 0, sizeof *report);
  rc = enter(store);
  if (rc != CUSTMEM_OK) return rc;
  if (report == NULL) return leave(store, fail_null(store, "report"));
  rc = begin_read(store);
  if (rc == CUSTMEM_OK) rc = check_identity(store, report);
  if (rc == CUSTMEM_OK) rc = check_database(store, report);
  if (rc == CUSTMEM_OK) rc = check_customers(store, report);
  if (rc == CUSTMEM_OK) rc = check_linked_customers(store, report);
  if (rc == CUSTMEM_OK) rc = check_instructors(store, report);
  if (rc == CUSTMEM_CORRUPT) rc = report_damage(store, report, "");
  end_read(store);
  return leave(store, rc);
}

/* How many pages are copied before an interrupt is looked for. */
#define BACKUP_PAGES 256

/* Copies within the read transaction that is open, so that all pages are of one moment. */
static int copy_pages(custmem *store, sqlite3 *target) {
  sqlite3_backup *backup = sqlite3_backup_init(target, "main", store->db, "main");
  int rc = backup != NULL ? SQLITE_OK : sqlite3_errcode(target);
  while (rc == SQLITE_OK) {
    rc = sqlite3_backup_step(backup, BACKUP_PAGES);
    if (rc == SQLITE_OK && sqlite3_is_interrupted(store->db)) rc = SQLITE_INTERRUPT;
  }
  sqlite3_backup_finish(backup);
  return rc;
}

/* The copy leaves WAL: it is then one file, and can be read where nothing can be written. */
static int write_copy(custmem *store, const char *full) {
  sqlite3 *target = NULL;
  int code, rc = sqlite3_open_v2(
              full, &target,
              SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE |
                SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_EXRESCODE,
              NULL
            );
  if (rc == SQLITE_OK)
    rc = sqlite3_exec(
      target, "PRAGMA synchronous = FULL; PRAGMA fullfsync = ON", NULL, NULL, NULL
    );
  if (rc == SQLITE_OK) rc = copy_pages(store, target);
  if (rc == SQLITE_DONE)
    rc = sqlite3_exec(target, "PRAGMA journal_mode = DELETE", NULL, NULL, NULL);
  code = rc == SQLITE_OK ? CUSTMEM_OK : code_of_sqlite(rc);
  /* The copy is our own file: it is only refused for what the store's pages made of it. */
  if (code == CUSTMEM_NOT_A_DATABASE || code == CUSTMEM_READONLY) code = CUSTMEM_CORRUPT;
  if (rc != SQLITE_OK)
    fail(store, code, "path", "%s: %s", custmem_strerror(code), sqlite3_errstr(rc));
  sqlite3_close(target);
  return code;
}

/* A copy that failed, and what SQLite left beside it. Nobody else knows its name yet. */
static void remove_copy(const char *full) {
  static const char *const suffixes[] = {"", "-journal", "-wal", "-shm"};
  char name[CUSTMEM_PATH_MAX + sizeof "-journal"];
  size_t i;
  for (i = 0; i < COUNT_OF(suffixes); i++) {
    sqlite3_snprintf((int)sizeof name, name, "%s%s", full, suffixes[i]);
    unlink(name);
  }
}

/* Whether SQLite would take the copy, or what lies beside it, for a part of another database, and delete
** or overwrite it. */
static int look_around(custmem *store, const char *full) {
  static const char *const suffixes[] = {"-wal", "-shm", "-journal"};
  char name[CUSTMEM_PATH_MAX + sizeof "-journal"];
  const char *own = sqlite3_db_filename(store->db, "main"); /* "" in memory */
  struct stat status;
  size_t i;
  for (i = 0; i < COUNT_OF(suffixes); i++) {
    sqlite3_snprintf((int)sizeof name, name, "%s%s", own, suffixes[i]);
    if (strcmp(name, full) == 0)
      return fail(store, CUSTMEM_EXISTS, "path", "%s: a name that the store itself uses", full);
    sqlite3_snprintf((int)sizeof name, name, "%s%s", full, suffixes[i]);
    if (lstat(name, &status) == 0)
      return fail(store, CUSTMEM_EXISTS, "path", "%s: there already, beside the target", name);
  }
  return CUSTMEM_OK;
}

int custmem_backup(custmem *store, const char *path) {
  char full[CUSTMEM_PATH_MAX + 1];
  int rc = enter(store);
  if (rc != CUSTMEM_OK) return rc;
  rc = resolve_path(store, path, full);
  if (rc == CUSTMEM_OK) rc = begin_read(store);
  if (rc == CUSTMEM_OK) rc = look_beside(store, full);
  if (rc == CUSTMEM_OK) rc = look_around(store, full);
  if (rc == CUSTMEM_OK) rc = create_file(store, full);
  if (rc == CUSTMEM_OK) {
    rc = write_copy(store, full);
    if (rc != CUSTMEM_OK) remove_copy(full);
  }
  end_read(store);
  return leave(store, rc);
}
