#!/bin/sh
# SPDX-License-Identifier: MIT
#
# What a store refuses by itself, shown with the real sqlite3 program on its defaults, which knows
# nothing of custmem. Each attack must be refused with the schema's own message, and leave a dump of
# the database as it was. Then the rollback, and up again.
#
#   test/stock_shell.sh                       a store made here by schema.sql and SQL alone and, where
#                                             ./custmem is built, the one that its demo makes
#   test/stock_shell.sh STORE [INSTRUCTOR…]   a copy of that store; without instructors: all it has
#
# CUSTMEM_TOP is the directory of schema.sql (default: the one above this script), SQLITE3 the
# program (default: sqlite3).
set -u

top=${CUSTMEM_TOP:-$(cd "$(dirname "$0")/.." && pwd)}
sqlite3=${SQLITE3:-sqlite3}
passed=0
failed=0
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT

command -v "$sqlite3" > /dev/null || {
  echo "stock_shell.sh: no program $sqlite3"
  exit 1
}

# ---- Checks ----

# report GOOD WHAT [OUTPUT]: a line, and the output where it is not good
report() {
  if [ "$1" -eq 0 ]; then
    passed=$((passed + 1))
    printf 'ok      %s\n' "$2"
  else
    failed=$((failed + 1))
    printf 'FAILED  %s\n' "$2"
    printf '%s\n' "${3-}" | sed 's/^/        /'
  fi
}

# The program on its defaults: without anybody's ~/.sqliterc. SQL on its standard input goes on after
# an error, as an attacker would.
shell() {
  HOME=$scratch XDG_CONFIG_HOME=$scratch "$sqlite3" "$@"
}

# Everything that a store holds, as one number. A temporary change would show as a change of the file,
# so it is read by a connection of its own.
state() {
  {
    shell "$store" .dump
    shell "$store" 'PRAGMA application_id; PRAGMA user_version'
  } | cksum
}

value() {
  shell "$store" "$1"
}

# refused WHAT SQL [MESSAGE]: fails, says so in the schema's words, and changes nothing
refused() {
  before=$(state)
  output=$(printf '%s;\n' "$2" | shell "$store" 2>&1)
  status=$?
  after=$(state)
  good=1
  case $output in
    *"${3-custmem: }"*) [ "$status" -ne 0 ] && [ "$before" = "$after" ] && good=0 ;;
  esac
  report "$good" "$name: $1" "$2 -> $status: $output"
}

# accepted WHAT SQL: succeeds, and changes something
accepted() {
  before=$(state)
  output=$(printf '%s;\n' "$2" | shell -bail "$store" 2>&1)
  status=$?
  good=1
  [ "$status" -eq 0 ] && [ "$before" != "$(state)" ] && good=0
  report "$good" "$name: $1" "$2 -> $status: $output"
}

# after SQL: runs it on a copy of the store as it was first, which opening and custmem's check then look at: sets $changed,
# $status and $output
after() {
  copy=$scratch/after.db
  rm -f "$copy" "$copy-wal" "$copy-shm" "$copy-journal"
  cp "$whole_store" "$copy"
  before=$(shell "$copy" .dump | sort | cksum)
  output=$(printf '%s;\n' "$1" | shell -bail "$copy" 2>&1) || {
    status=0
    output="the attack failed: $output"
    return
  }
  changed=$([ "$before" = "$(shell "$copy" .dump 2> /dev/null | sort | cksum)" ]; echo $?)
  output=$("$top/custmem" check "$copy" 2>&1)
  status=$?
}

# shown WHAT SQL: nothing in the database stands in its way, and opening or the check shows it
shown() {
  after "$2"
  good=1
  [ "$status" -eq 1 ] && good=0
  report "$good" "$name, shown: $1" "$2 -> $status: $output"
}

# harmless WHAT SQL: nothing stands in its way, and everything is as it was
harmless() {
  after "$2"
  good=1
  [ "$status" -eq 0 ] && [ "$changed" -eq 0 ] && good=0
  report "$good" "$name, harmless: $1" "$2 -> $status: $output"
}

# hidden WHAT SQL: what custmem.h says that nothing in the file can show
hidden() {
  after "$2"
  good=1
  [ "$status" -eq 0 ] && [ "$changed" -eq 1 ] && good=0
  report "$good" "$name, hidden: $1" "$2 -> $status: $output"
}

# equal WHAT GOT WANTED
equal() {
  good=1
  [ "$2" = "$3" ] && good=0
  report "$good" "$name: $1" "$2, not $3"
}

# ---- Attacks ----

quoted() {
  printf "'%s'" "$(printf '%s' "$1" | sed "s/'/''/g")"
}

# event SEQ PREVIOUS NEW CONVERSATION NAME [REASON]: the values of an audit event of $i
event() {
  printf "(%s, %s, 'conversation.customer_%s', %s, %s, %s, 'human', 'shell', %s, NULL, 77, zeroblob(32))" \
    "$i" "$1" "$5" "$4" "$2" "$3" "${6-'because'}"
}

# Sets $i and what it has: a linked conversation $c, its customer $u, the next seq $n. Customers that
# are not to be had: another instructor's $other (or, with one instructor only, nobody's).
look_at() {
  i=$(quoted "$1")
  c=$(value "SELECT quote(min(conversation_id)) FROM conversation_links
             WHERE instructor_id = $i AND customer_id IS NOT NULL")
  u=$(value "SELECT quote(customer_id) FROM conversation_links WHERE conversation_id = $c")
  n=$(value "SELECT 1 + coalesce(max(seq), 0) FROM audit_events WHERE instructor_id = $i")
  other=$(value "SELECT quote(coalesce((SELECT min(id) FROM customers WHERE instructor_id <> $i),
                 '00000000-0000-7000-8000-000000000000'))")
}

attack_events() {
  one="instructor_id = $i AND seq = 1"
  refused 'change an event' "UPDATE audit_events SET reason = 'forged' WHERE $one"
  refused 'change all events' "UPDATE OR REPLACE audit_events SET actor_id = 'somebody'"
  refused 'change an event to itself' "UPDATE OR IGNORE audit_events SET seq = seq WHERE $one"
  refused 'change events from a query' \
    "UPDATE audit_events SET reason = new.r FROM (SELECT 'forged' AS r) AS new"
  refused 'delete an event' "DELETE FROM audit_events WHERE $one"
  refused 'delete all events' 'DELETE FROM audit_events'
  refused 'replace events with themselves' 'REPLACE INTO audit_events SELECT * FROM audit_events'
  refused 'replace the last event' "INSERT OR REPLACE INTO audit_events VALUES
    $(event "$((n - 1))" NULL "$u" "'new'" linked "'forged'")"
  refused 'repeat an event, or ignore it' \
    'INSERT OR IGNORE INTO audit_events SELECT * FROM audit_events'
  refused 'repeat an event, or roll back' \
    'INSERT OR ROLLBACK INTO audit_events SELECT * FROM audit_events'
  refused 'delete an event and read it' "DELETE FROM audit_events WHERE $one RETURNING seq"
  refused 'change an event by its place in a query' \
    'UPDATE audit_events SET created_at = 0 WHERE seq IN (SELECT min(seq) FROM audit_events)'
  refused 'change the hash of an event' "UPDATE audit_events SET hash = zeroblob(32) WHERE $one"
  refused 'renumber events' "UPDATE audit_events SET seq = seq + 1 WHERE instructor_id = $i"
  refused 'give events to another' "UPDATE audit_events SET instructor_id = 'somebody' WHERE $one"
  refused 'upsert an event' "INSERT INTO audit_events SELECT * FROM audit_events WHERE true
    ON CONFLICT (instructor_id, seq) DO UPDATE SET reason = 'forged'"
  for seq in 0 -1 1 "$((n + 1))" NULL; do
    refused "an event with seq $seq" \
      "INSERT OR REPLACE INTO audit_events VALUES $(event "$seq" NULL "$u" "'new'" linked)"
  done
  refused 'a link event for a linked conversation' \
    "INSERT INTO audit_events VALUES $(event "$n" NULL "$u" "$c" linked)"
  refused 'an unlink event for an unlinked conversation' \
    "INSERT INTO audit_events VALUES $(event "$n" "$u" NULL "'new'" unlinked)"
  refused 'an event with a customer of others' \
    "INSERT INTO audit_events VALUES $(event "$n" NULL "$other" "'new'" linked)"
  refused 'a second event before the first has its link' "BEGIN;
    INSERT INTO audit_events VALUES $(event "$n" NULL "$u" "'new'" linked);
    INSERT INTO audit_events VALUES $(event "$((n + 1))" NULL "$u" "'newer'" linked);
    ROLLBACK"
  refused 'an event without a reason' \
    "INSERT INTO audit_events VALUES $(event "$n" NULL "$u" "'new'" linked "''")" CHECK
  refused 'an event with the wrong name' \
    "INSERT INTO audit_events VALUES $(event "$n" NULL "$u" "'new'" relinked)" CHECK
}

attack_links() {
  here="conversation_id = $c"
  refused 'unlink without an event' "UPDATE conversation_links SET customer_id = NULL WHERE $here"
  refused 'relink without an event' \
    "UPDATE OR REPLACE conversation_links SET customer_id = $other WHERE $here"
  refused 'change every link' 'UPDATE conversation_links SET customer_id = NULL, audit_seq = 1'
  refused 'move a link to another conversation' \
    "UPDATE conversation_links SET conversation_id = 'moved' WHERE $here"
  refused 'move a link to another instructor' \
    "UPDATE conversation_links SET instructor_id = 'somebody' WHERE $here"
  refused 'change when a link was made' "UPDATE conversation_links SET updated_at = 0 WHERE $here"
  refused 'change the event of a link' "UPDATE conversation_links SET audit_seq = 1 WHERE $here"
  refused 'repeat a link, or ignore it' \
    "INSERT OR IGNORE INTO conversation_links SELECT conversation_id, instructor_id, NULL, audit_seq, 1
     FROM conversation_links"
  refused 'delete a link and read it' "DELETE FROM conversation_links WHERE $here RETURNING customer_id"
  refused 'delete a link' "DELETE FROM conversation_links WHERE $here"
  refused 'delete all links' 'DELETE FROM conversation_links'
  refused 'replace links with themselves' \
    'REPLACE INTO conversation_links SELECT * FROM conversation_links'
  refused 'upsert a link' "INSERT INTO conversation_links SELECT * FROM conversation_links WHERE true
    ON CONFLICT (conversation_id) DO UPDATE SET customer_id = NULL"
  refused 'a link without an event' \
    "INSERT INTO conversation_links VALUES ('new', $i, $u, $n, 77)"
  refused 'a link by an event that is used' \
    "INSERT INTO conversation_links VALUES ('new', $i, $u, $((n - 1)), 77)"
  refused 'a link by the event of another conversation' "BEGIN;
    INSERT INTO audit_events VALUES $(event "$n" NULL "$u" "'new'" linked);
    INSERT INTO conversation_links VALUES ('newer', $i, $u, $n, 77);
    ROLLBACK"
  refused 'a link to a customer of others' "BEGIN;
    INSERT INTO audit_events VALUES $(event "$n" NULL "$u" "'new'" linked);
    INSERT INTO conversation_links VALUES ('new', $i, $other, $n, 77);
    ROLLBACK"
  refused 'an unlink that was said of another conversation' "BEGIN;
    INSERT INTO audit_events VALUES $(event "$n" "$u" NULL "$c" unlinked);
    UPDATE conversation_links SET customer_id = NULL, audit_seq = $n, updated_at = 77
      WHERE instructor_id = $i AND conversation_id <> $c;
    DELETE FROM conversation_links WHERE $here;
    ROLLBACK"
}

attack_store() {
  refused 'change what the store is' 'UPDATE store SET rules_version = 2'
  refused 'delete what the store is' 'DELETE FROM store'
  refused 'replace what the store is' 'REPLACE INTO store SELECT * FROM store'
  refused 'a second store row' "INSERT INTO store SELECT 2, id, 1, 1 FROM store"
  refused 'upsert the store row' "INSERT INTO store SELECT * FROM store WHERE true
    ON CONFLICT (singleton) DO UPDATE SET id = 'x'"
}

# The strongest few, in every way of saying them that a shell offers.
attack_by_other_ways() {
  for setting in 'recursive_triggers = ON' 'foreign_keys = ON' 'ignore_check_constraints = ON' \
    'defer_foreign_keys = ON' 'trusted_schema = OFF'; do
    refused "replace events, PRAGMA $setting" \
      "PRAGMA $setting; REPLACE INTO audit_events SELECT * FROM audit_events"
    refused "unlink without an event, PRAGMA $setting" \
      "PRAGMA $setting; UPDATE conversation_links SET customer_id = NULL"
  done
  refused 'delete events, then commit' 'BEGIN; DELETE FROM audit_events; COMMIT'
  refused 'delete events in a savepoint' 'SAVEPOINT s; DELETE FROM audit_events; RELEASE s'
  refused 'delete events with WITH' 'WITH a AS (SELECT 1) DELETE FROM audit_events'
  refused 'delete events by a TEMP trigger' "CREATE TEMP TABLE lever (x);
    CREATE TEMP TRIGGER pull AFTER INSERT ON lever BEGIN DELETE FROM audit_events; END;
    INSERT INTO lever VALUES (1)"
  refused 'delete links by a TEMP view' "CREATE TEMP VIEW lever AS SELECT 1 AS x;
    CREATE TEMP TRIGGER pull INSTEAD OF DELETE ON lever BEGIN DELETE FROM conversation_links; END;
    DELETE FROM lever"
  refused 'unlink behind shadowing TEMP tables' "
    CREATE TEMP TABLE audit_events AS SELECT * FROM main.audit_events WHERE false;
    CREATE TEMP TABLE conversation_links AS SELECT * FROM main.conversation_links WHERE false;
    UPDATE main.conversation_links SET customer_id = NULL"
  before=$(state)
  output=$(shell :memory: "ATTACH $(quoted "$store") AS other; DELETE FROM other.audit_events" 2>&1)
  good=1
  case $output in *'custmem: '*) [ "$before" = "$(state)" ] && good=0 ;; esac
  report "$good" "$name: delete events of an attached store" "$output"
}

# put_back TRIGGER SQL: takes a trigger away, does it, and puts the trigger back to the letter
put_back() {
  printf 'DROP TRIGGER %s; %s; %s' "$1" "$2" \
    "$(value "SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND name = '$1'")"
}

# Who can write the file can take the schema down; nothing inside the file can prevent that.
show_what_is_done_behind_the_triggers() {
  shown 'no trigger on events' 'DROP TRIGGER audit_events_update'
  shown 'no table of events' 'DROP TABLE audit_events'
  shown 'no table of links' 'DROP TABLE conversation_links'
  shown 'another table instead' "ALTER TABLE audit_events RENAME TO old_events;
    CREATE TABLE audit_events AS SELECT * FROM old_events"
  shown 'one column more' 'ALTER TABLE customers ADD COLUMN note TEXT'
  shown 'one column renamed' 'ALTER TABLE customers RENAME COLUMN channel TO way'
  shown 'one table more' 'CREATE TABLE more (x)'
  shown 'one index more' 'CREATE INDEX more ON audit_events (reason)'
  shown 'one view more' 'CREATE VIEW more AS SELECT * FROM customers'
  shown 'one trigger more' "CREATE TRIGGER more AFTER INSERT ON audit_events
    BEGIN SELECT 1; END"
  shown 'statistics' 'ANALYZE'
  shown 'another application' 'PRAGMA application_id = 1'
  shown 'no application' 'PRAGMA application_id = 0'
  shown 'a newer version' 'PRAGMA user_version = 99'
  shown 'no version' 'PRAGMA user_version = 0'
  shown 'triggers deleted from the schema' "PRAGMA writable_schema = ON;
    DELETE FROM sqlite_schema WHERE type = 'trigger'"
  shown 'the schema altered in place' "PRAGMA writable_schema = ON;
    UPDATE sqlite_schema SET sql = replace(sql, 'NOT NULL', '') WHERE name = 'audit_events'"
  shown 'two tables exchanged' "PRAGMA writable_schema = ON;
    UPDATE sqlite_schema SET rootpage = (SELECT sum(rootpage) FROM sqlite_schema
      WHERE name IN ('audit_events', 'customers')) - rootpage
      WHERE name IN ('audit_events', 'customers')"
  shown 'an event changed, and the trigger put back' \
    "$(put_back audit_events_update "UPDATE audit_events SET reason = 'forged' WHERE seq = 1")"
  shown 'an event deleted, and the trigger put back' \
    "$(put_back audit_events_delete 'DELETE FROM audit_events WHERE seq = 1')"
  shown 'all events deleted, and the trigger put back' \
    "$(put_back audit_events_delete 'DELETE FROM audit_events')"
  shown 'a link changed, and the trigger put back' \
    "$(put_back conversation_links_update 'UPDATE conversation_links SET customer_id = NULL')"
  shown 'a link deleted, and the trigger put back' \
    "$(put_back conversation_links_delete 'DELETE FROM conversation_links')"
  shown 'another store id, and the trigger put back' "$(put_back store_update \
    "UPDATE store SET id = '00000000-0000-7000-8000-000000000000'")"
}

# Customers have no triggers (T1), and an event may say what it likes but for what it hashes to.
show_what_no_trigger_forbids() {
  shown 'a well-formed event with a false hash, and its link' "BEGIN;
    INSERT INTO audit_events VALUES $(event "$n" "$u" NULL "$c" unlinked);
    UPDATE conversation_links SET customer_id = NULL, audit_seq = $n, updated_at = 77
      WHERE conversation_id = $c; COMMIT"
  shown 'an event without its link' \
    "INSERT INTO audit_events VALUES $(event "$n" "$u" NULL "$c" unlinked)"
  shown 'a linked customer deleted' "DELETE FROM customers WHERE id = $u"
  shown 'a linked customer given away' "UPDATE customers SET instructor_id = 'somebody' WHERE id = $u"
  shown 'a linked customer under another id' \
    "UPDATE customers SET id = '00000000-0000-7000-8000-000000000000' WHERE id = $u"
  shown 'a key that no normalization makes' \
    "UPDATE customers SET normalized_identifier = '+39 333' WHERE id = $u"
  shown 'a channel that there is not' "UPDATE customers SET channel = 'pigeon' WHERE id = $u"
  shown 'a table that does not say what it holds, past its checks' "
    PRAGMA ignore_check_constraints = ON; UPDATE customers SET display_identifier = '' WHERE id = $u"
  hidden 'a key that is well-formed' \
    "UPDATE customers SET normalized_identifier = '4915112345678' WHERE id = $u"
}

leave_what_changes_nothing() {
  harmless 'vacuum' 'VACUUM'
  harmless 'reindex' 'REINDEX'
  harmless 'another journal' 'PRAGMA journal_mode = DELETE'
  harmless 'a checkpoint' 'PRAGMA wal_checkpoint(TRUNCATE)'
  harmless 'nothing but a transaction' 'BEGIN EXCLUSIVE; COMMIT'
  harmless 'a change of customers, rolled back' 'BEGIN; DELETE FROM customers; ROLLBACK'
  harmless 'another schema number' 'PRAGMA schema_version = 77'
}

# What is right must go through, or the refusals would prove nothing.
allow_what_is_right() {
  accepted 'an event and its unlink' "BEGIN;
    INSERT INTO audit_events VALUES $(event "$n" "$u" NULL "$c" unlinked);
    UPDATE conversation_links SET customer_id = NULL, audit_seq = $n, updated_at = 77
      WHERE conversation_id = $c;
    COMMIT"
  accepted 'an event and its link' "BEGIN;
    INSERT INTO audit_events VALUES $(event "$((n + 1))" NULL "$u" "$c" linked);
    UPDATE conversation_links SET customer_id = $u, audit_seq = $((n + 1)), updated_at = 77
      WHERE conversation_id = $c;
    COMMIT"
}

# attack NAME STORE [INSTRUCTOR…]
attack() {
  name=$1
  store=$2
  shift 2
  [ "$#" -gt 0 ] || {
    value 'SELECT DISTINCT instructor_id FROM audit_events' > "$scratch/instructors"
    set --
    while IFS= read -r instructor; do set -- "$@" "$instructor"; done < "$scratch/instructors"
  }
  # What a check shows can be told where it shows nothing without the attack.
  whole_store=$scratch/whole.db
  rm -f "$whole_store"
  shell "$store" ".backup '$whole_store'"
  is_sound=1
  if [ -x "$top/custmem" ] && "$top/custmem" check "$whole_store" > "$scratch/check" 2>&1; then is_sound=0; fi
  whole=$name
  for instructor; do
    name="$whole, $instructor"
    look_at "$instructor"
    if [ "$c" = NULL ]; then
      report 1 "$name: has a linked conversation to attack"
      continue
    fi
    attack_events
    attack_links
    if [ "$is_sound" -eq 0 ]; then show_what_no_trigger_forbids; fi
    allow_what_is_right
  done
  name=$whole
  if [ "$is_sound" -eq 0 ]; then
    show_what_is_done_behind_the_triggers
    leave_what_changes_nothing
  fi
  attack_store
  attack_by_other_ways
  roll_back
}

objects="SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name"

roll_back() {
  up=$(value "$objects")
  sed -n 's/^--rollback //p' "$top/schema.sql" > "$scratch/rollback.sql"
  for round in first second; do
    output=$(shell -bail "$store" < "$scratch/rollback.sql" 2>&1)
    equal "the $round rollback says nothing" "$output" ''
    equal "the $round rollback leaves nothing" \
      "$(value 'SELECT count(*) FROM sqlite_schema; PRAGMA application_id; PRAGMA user_version' |
        tr '\n' ' ')" '0 0 0 '
    output=$(shell -bail "$store" < "$top/schema.sql" 2>&1)
    equal "up again after the $round rollback says nothing" "$output" ''
    equal "up again after the $round rollback makes the same" "$(value "$objects")" "$up"
    equal "up again after the $round rollback makes one empty store" \
      "$(value 'SELECT (SELECT count(*) FROM store), (SELECT count(*) FROM customers)')" '1|0'
  done
}

# ---- Stores ----

# make_by_hand: a store of two instructors, by the schema and SQL alone
make_by_hand() {
  store=$scratch/by-hand.db
  name='made by hand'
  output=$(shell -bail "$store" < "$top/schema.sql" 2>&1)
  equal 'schema.sql says nothing' "$output" ''
  equal 'application_id and user_version' \
    "$(value 'PRAGMA application_id; PRAGMA user_version' | tr '\n' ' ')" '1668641645 1 '
  equal 'integrity' "$(value 'PRAGMA integrity_check')" ok
  for instructor in ada bob; do
    i=$(quoted "$instructor")
    u="'$instructor-000-7000-8000-0000-0000-00000000'"
    accepted "a customer of $instructor" \
      "INSERT INTO customers VALUES ($u, $i, 'whatsapp', '393331234567', NULL, 1, 1)"
    for n in 1 2; do
      c="'$instructor-$n'"
      accepted "event and link $n of $instructor" "BEGIN;
        INSERT INTO audit_events VALUES $(event "$n" NULL "$u" "$c" linked);
        INSERT INTO conversation_links VALUES ($c, $i, $u, $n, 77);
        COMMIT"
    done
  done
  refused 'a second customer with the same key' \
    "INSERT INTO customers SELECT 'x' || substr(id, 2), instructor_id, channel,
     normalized_identifier, NULL, 1, 1 FROM customers" UNIQUE
  refused 'schema.sql a second time' "$(cat "$top/schema.sql"); ROLLBACK" 'already exists'
}

echo "sqlite3 $("$sqlite3" --version | cut -d ' ' -f 1), foreign keys and recursive triggers" \
  "$(shell :memory: 'PRAGMA foreign_keys; PRAGMA recursive_triggers' | tr '\n' ' ')"

if [ "$#" -gt 0 ]; then
  given=$1
  shift
  shell "$given" ".backup '$scratch/copy.db'" || exit 1
  attack 'given store' "$scratch/copy.db" "$@"
else
  make_by_hand
  attack 'made by hand' "$store"
  if [ -x "$top/custmem" ]; then
    demo=$(cd "$top" && TMPDIR=$scratch ./custmem demo | sed -n 's/^The store is //p')
    store=$demo name='demo'
    equal 'the demo says where its store is' "$([ -f "$demo" ] && echo file)" file
    [ -f "$demo" ] && attack 'made by the demo' "$demo"
  else
    echo "        $top/custmem is not built: its demo's store is left out"
  fi
fi

echo
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
