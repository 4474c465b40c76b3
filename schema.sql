-- custmem, schema version 1: the whole of a store, readable on its own.
--
-- Make a store by hand:    sqlite3 -bail store.db < schema.sql     (SQLite 3.37 or later)
-- Roll the migration back: sed -n 's/^--rollback //p' schema.sql | sqlite3 -bail store.db
--   (it removes every customer, link and audit event: back the store up first)
--
-- custmem.c carries these statements, a paragraph (up to an empty line) to a string, and refuses
-- a file whose tables, indexes and triggers are not these to the letter, comments inside of them
-- included. So a change there is a new schema version, with its own migration.
--
-- Times are Unix milliseconds, UTC. Sizes are bytes of UTF-8. Ids of instructors and
-- conversations are the host's; ids of customers are UUIDv7, made by custmem.
--
-- Every table is WITHOUT ROWID: its key is its order on disk, and an index carries the key
-- with it, so that one look in the index finds the row.

BEGIN IMMEDIATE;

-- "cusm": how a file says that it is a store.
PRAGMA application_id = 1668641645;

CREATE TABLE store (
  -- One row: what this file is. The audit chains are bound to this id, so a trail cannot be
  -- moved to another store; rules_version is the rule set of custmem_normalize that made the
  -- keys, so a changed rule cannot silently make a second customer of a first.
  singleton INTEGER NOT NULL PRIMARY KEY CHECK (singleton = 1),
  id TEXT NOT NULL CHECK (length(CAST(id AS BLOB)) = 36),
  created_at INTEGER NOT NULL,
  rules_version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER store_insert BEFORE INSERT ON store
WHEN EXISTS (SELECT 1 FROM store) BEGIN
  -- Also what INSERT OR REPLACE and an upsert meet: the row is made once.
  SELECT RAISE(ABORT, 'custmem: a store is made once');
END;

CREATE TRIGGER store_update BEFORE UPDATE ON store BEGIN
  SELECT RAISE(ABORT, 'custmem: what a store is never changes');
END;

CREATE TRIGGER store_delete BEFORE DELETE ON store BEGIN
  SELECT RAISE(ABORT, 'custmem: what a store is never changes');
END;

CREATE TABLE customers (
  -- One row a customer of one instructor. The key (instructor, channel, normalized identifier)
  -- is written once; only display_identifier and updated_at change. No triggers (ticket T1).
  id TEXT NOT NULL PRIMARY KEY CHECK (length(CAST(id AS BLOB)) = 36),
  instructor_id TEXT NOT NULL CHECK (length(CAST(instructor_id AS BLOB)) BETWEEN 1 AND 64),
  channel TEXT NOT NULL CHECK (length(CAST(channel AS BLOB)) BETWEEN 1 AND 96),
  normalized_identifier TEXT NOT NULL
    CHECK (length(CAST(normalized_identifier AS BLOB)) BETWEEN 1 AND 160),
  display_identifier TEXT CHECK (length(CAST(display_identifier AS BLOB)) BETWEEN 1 AND 255),
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One customer for each instructor, channel and normalized identifier. Led by the column that
-- differs most: a lookup compares one column where leading with the instructor compares three.
-- It ends in the customer's id, by which the row itself is then asked: an index only finds. An
-- inline UNIQUE would guarantee the same, but is not used as a covering index on a WITHOUT ROWID
-- table, and the row would be looked for twice.
CREATE UNIQUE INDEX customers_identity
  ON customers (normalized_identifier, channel, instructor_id);

-- What a link's foreign key points at, and the list of an instructor's customers.
CREATE UNIQUE INDEX customers_owner ON customers (instructor_id, id);

CREATE TABLE audit_events (
  -- Append-only: who linked what, when and why; seq is 1, 2, 3 … for each instructor, without
  -- gaps. No personal data by design: ids, never identifiers. hash is SHA-256 over the event
  -- before and every field of this one, as custmem.h documents it.
  instructor_id TEXT NOT NULL CHECK (length(CAST(instructor_id AS BLOB)) BETWEEN 1 AND 64),
  seq INTEGER NOT NULL CHECK (seq >= 1),
  event_name TEXT NOT NULL,
  conversation_id TEXT NOT NULL CHECK (length(CAST(conversation_id AS BLOB)) BETWEEN 1 AND 64),
  previous_customer_id TEXT CHECK (length(CAST(previous_customer_id AS BLOB)) = 36),
  new_customer_id TEXT CHECK (length(CAST(new_customer_id AS BLOB)) = 36),
  actor_type TEXT NOT NULL CHECK (actor_type IN ('human', 'system')),
  actor_id TEXT CHECK (length(CAST(actor_id AS BLOB)) BETWEEN 1 AND 64),
  reason TEXT NOT NULL CHECK (length(CAST(reason AS BLOB)) BETWEEN 1 AND 500),
  context TEXT CHECK (length(CAST(context AS BLOB)) BETWEEN 1 AND 2000),
  created_at INTEGER NOT NULL,
  hash BLOB NOT NULL CHECK (length(hash) = 32),
  PRIMARY KEY (instructor_id, seq),
  CHECK (actor_type <> 'human' OR actor_id IS NOT NULL),
  CHECK (event_name IS CASE
    WHEN previous_customer_id IS NULL AND new_customer_id IS NOT NULL
      THEN 'conversation.customer_linked'
    WHEN previous_customer_id IS NOT NULL AND new_customer_id IS NULL
      THEN 'conversation.customer_unlinked'
    WHEN previous_customer_id <> new_customer_id
      THEN 'conversation.customer_relinked' END)
) STRICT, WITHOUT ROWID;

-- A conversation's history; and, when the links are verified, each conversation's events in order
-- without a look at the table.
CREATE INDEX audit_events_conversation ON audit_events
  (instructor_id, conversation_id, seq, previous_customer_id, new_customer_id, created_at);

CREATE TABLE conversation_links (
  -- One row a conversation that has ever been linked: to whom now (NULL: unlinked), and by
  -- which audit event. A conversation belongs to one instructor for ever. The composite key
  -- makes a link to another instructor's customer unrepresentable.
  conversation_id TEXT NOT NULL PRIMARY KEY
    CHECK (length(CAST(conversation_id AS BLOB)) BETWEEN 1 AND 64),
  instructor_id TEXT NOT NULL,
  customer_id TEXT,
  audit_seq INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  FOREIGN KEY (instructor_id, customer_id) REFERENCES customers (instructor_id, id),
  FOREIGN KEY (instructor_id, audit_seq) REFERENCES audit_events (instructor_id, seq)
) STRICT, WITHOUT ROWID;

-- The conversations of a customer, and the links of an instructor.
CREATE INDEX conversation_links_customer ON conversation_links (instructor_id, customer_id);

CREATE TRIGGER audit_events_insert BEFORE INSERT ON audit_events BEGIN
  -- An event is its instructor's next one (so nothing is ever replaced), follows an event whose
  -- link change was made, and says truly what the conversation is linked to now. The new
  -- customer is the instructor's own.
  SELECT CASE
    WHEN NEW.seq IS NOT 1 + coalesce(
      (SELECT max(seq) FROM audit_events WHERE instructor_id = NEW.instructor_id), 0)
    THEN RAISE(ABORT, 'custmem: an audit event takes its instructor''s next seq')
    WHEN EXISTS (
      SELECT 1 FROM audit_events AS last
       WHERE last.instructor_id = NEW.instructor_id AND last.seq = NEW.seq - 1
         AND NOT EXISTS (
           SELECT 1 FROM conversation_links AS link
            WHERE link.conversation_id = last.conversation_id
              AND link.instructor_id = last.instructor_id AND link.audit_seq = last.seq))
    THEN RAISE(ABORT, 'custmem: the audit event before this one has no link change')
    WHEN EXISTS (
      SELECT 1 FROM conversation_links
       WHERE conversation_id = NEW.conversation_id AND instructor_id <> NEW.instructor_id)
    THEN RAISE(ABORT, 'custmem: the conversation belongs to another instructor')
    WHEN NEW.previous_customer_id IS NOT (
      SELECT customer_id FROM conversation_links WHERE conversation_id = NEW.conversation_id)
    THEN RAISE(ABORT, 'custmem: previous_customer_id is not the current customer')
    WHEN NEW.new_customer_id IS NOT NULL AND NOT EXISTS (
      SELECT 1 FROM customers
       WHERE id = NEW.new_customer_id AND instructor_id = NEW.instructor_id)
    THEN RAISE(ABORT, 'custmem: the customer is not this instructor''s')
  END;
END;

CREATE TRIGGER audit_events_update BEFORE UPDATE ON audit_events BEGIN
  SELECT RAISE(ABORT, 'custmem: an audit event is never changed');
END;

CREATE TRIGGER audit_events_delete BEFORE DELETE ON audit_events BEGIN
  SELECT RAISE(ABORT, 'custmem: an audit event is never deleted');
END;

CREATE TRIGGER conversation_links_insert BEFORE INSERT ON conversation_links BEGIN
  -- A first link. A row that exists is updated, never replaced: REPLACE would delete it without
  -- any delete trigger seeing it.
  SELECT CASE
    WHEN EXISTS (
      SELECT 1 FROM conversation_links WHERE conversation_id = NEW.conversation_id)
    THEN RAISE(ABORT, 'custmem: a link is updated, never replaced')
    WHEN NOT EXISTS (
      SELECT 1 FROM customers
       WHERE id = NEW.customer_id AND instructor_id = NEW.instructor_id)
    THEN RAISE(ABORT, 'custmem: the customer is not this instructor''s')
    WHEN NOT EXISTS (
      SELECT 1 FROM audit_events
       WHERE instructor_id = NEW.instructor_id
         AND seq = (SELECT max(seq) FROM audit_events WHERE instructor_id = NEW.instructor_id)
         AND seq = NEW.audit_seq
         AND conversation_id = NEW.conversation_id
         AND previous_customer_id IS NULL
         AND new_customer_id = NEW.customer_id
         AND created_at = NEW.updated_at)
    THEN RAISE(ABORT, 'custmem: the latest audit event does not say this link change')
  END;
END;

CREATE TRIGGER conversation_links_update BEFORE UPDATE ON conversation_links BEGIN
  -- Every change of a row, whichever columns it names, is the one that the instructor's latest
  -- audit event says; and each event serves one change (audit_seq grows).
  SELECT CASE
    WHEN NEW.conversation_id IS NOT OLD.conversation_id
      OR NEW.instructor_id IS NOT OLD.instructor_id
    THEN RAISE(ABORT, 'custmem: a link keeps its conversation and its instructor')
    WHEN NEW.customer_id IS NOT NULL AND NOT EXISTS (
      SELECT 1 FROM customers
       WHERE id = NEW.customer_id AND instructor_id = NEW.instructor_id)
    THEN RAISE(ABORT, 'custmem: the customer is not this instructor''s')
    WHEN NEW.audit_seq <= OLD.audit_seq OR NOT EXISTS (
      SELECT 1 FROM audit_events
       WHERE instructor_id = NEW.instructor_id
         AND seq = (SELECT max(seq) FROM audit_events WHERE instructor_id = NEW.instructor_id)
         AND seq = NEW.audit_seq
         AND conversation_id = NEW.conversation_id
         AND previous_customer_id IS OLD.customer_id
         AND new_customer_id IS NEW.customer_id
         AND created_at = NEW.updated_at)
    THEN RAISE(ABORT, 'custmem: the latest audit event does not say this link change')
  END;
END;

CREATE TRIGGER conversation_links_delete BEFORE DELETE ON conversation_links BEGIN
  -- Unlinking sets customer_id to NULL: what a conversation was linked to is not forgotten.
  SELECT RAISE(ABORT, 'custmem: a link is never deleted');
END;

-- custmem binds the two parameters; a shell leaves them unbound (NULL), and gets a random
-- version 4 UUID and the time of day.
INSERT INTO store (singleton, id, created_at, rules_version) VALUES (
  1,
  coalesce(:store_id, lower(
    hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' ||
    substr(hex(randomblob(2)), 2) || '-' || substr('89AB', 1 + (random() & 3), 1) ||
    substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6)))),
  coalesce(:created_at, CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)),
  1);

PRAGMA user_version = 1;

COMMIT;

-- The rollback: run the lines below without their mark.
--rollback BEGIN IMMEDIATE;
--rollback DROP TABLE conversation_links;
--rollback DROP TABLE audit_events;
--rollback DROP TABLE customers;
--rollback DROP TABLE store;
--rollback PRAGMA user_version = 0;
--rollback PRAGMA application_id = 0;
--rollback COMMIT;
