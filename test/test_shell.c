/* SPDX-License-Identifier: MIT
**
** The program `custmem`: help, usage, the audit and the check, and the demo.
*/
#define _XOPEN_SOURCE 700

#include "program.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- Running the program ------------------------------------------------------------------- */

static int run(const char *a, const char *b, const char *c) {
  const char *words[] = {a, b, c, NULL};
  return run_words(TO_FILE, words);
}

/* An audit command, on a store, for an instructor. */
static int run_audit(const char *which, const char *store, const char *instructor) {
  return CUSTMEM("audit", which, store, "--instructor", instructor);
}

static int run_verify(const char *store, const char *instructor, const custmem_head *anchor) {
  char count[32];
  snprintf(count, sizeof count, "%lld", (long long)anchor->count);
  return CUSTMEM("audit", "verify", store, count, anchor->hash, "--instructor", instructor);
}

/* How many entries a directory has, and the name of the last of them. */
static int entries(const char *path, char *name, size_t size) {
  DIR *directory = opendir(path);
  struct dirent *entry;
  int count = 0;
  while (directory != NULL && (entry = readdir(directory)) != NULL)
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
      count++;
      if (name != NULL) snprintf(name, size, "%s", entry->d_name);
    }
  if (directory != NULL) closedir(directory);
  return count;
}

/* ---- Looking at what was printed ----------------------------------------------------------- */

/* What was printed, with every break and indentation as one space: sentences, however broken. */
static const char *flat(void) {
  char *from = ran.out, *to = ran.out;
  for (; *from != '\0'; from++) {
    int is_space = *from == ' ' || *from == '\n';
    if (!is_space || (to > ran.out && to[-1] != ' ')) *to++ = is_space ? ' ' : *from;
  }
  *to = '\0';
  return ran.out;
}

/* What stands between two texts; to be freed. */
static char *between(const char *text, const char *from, const char *to) {
  const char *start = strstr(text, from);
  const char *end = start != NULL ? strstr(start, to) : NULL;
  char *part = calloc(1, end != NULL ? (size_t)(end - start) + 1 : 1);
  if (end != NULL && part != NULL) memcpy(part, start, (size_t)(end - start));
  return part;
}

/* ---- A store to look into ------------------------------------------------------------------ */

#define STORE_EVENTS 70 /* more than one page of the export's */

/* Makes a store: STORE_EVENTS events of "anna" (links, relinks, unlinks, with and without context,
** text of every kind), one of "ben". Gives its path. */
static const char *make_store(const char *name) {
  static const char *const REASONS[] = {
    "Told me\non two lines\tand a tab", "Gr\xc3\xbc\xc3\x9f Gott \xf0\x9f\x8f\x84",
    "a \"quoted\" \\ reason", "a separator \xe2\x80\xa8 of lines"};
  const char *path = scratch(name);
  custmem_actor anna = test_human("anna"), ben = test_human("ben");
  custmem *store;
  const char *one, *two;
  int i;
  unlink(path);
  store = test_store(path);
  if (!CHECK(store != NULL)) return path;
  one = test_customer(store, "anna", "447700900111");
  two = test_customer(store, "anna", "447700900222");
  for (i = 0; i < STORE_EVENTS; i++) {
    const char *reason = REASONS[i % 4], *context = i % 2 == 0 ? "beside the reason" : NULL;
    char id[16];
    int rc;
    snprintf(id, sizeof id, "a%d", i / 3);
    rc = i % 3 == 0 ? custmem_link(store, &anna, id, one, reason, -1, context, -1, NULL)
         : i % 3 == 1
           ? custmem_relink(store, &anna, id, one, two, reason, -1, context, -1, NULL)
           : custmem_unlink(store, &anna, id, two, reason, -1, context, -1, NULL);
    CHECK_INT(rc, CUSTMEM_OK);
  }
  one = test_customer(store, "ben", "447700900111");
  CHECK_INT(custmem_link(store, &ben, "b0", one, "Known", -1, NULL, 0, NULL), CUSTMEM_OK);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  return path;
}

/* What a thorough forger does: takes a trigger out, changes a row, puts the trigger back. */
static void tamper(const char *path, const char *trigger, const char *sql) {
  sqlite3 *db = test_plain(path);
  char query[128], drop[128];
  const char *create;
  snprintf(query, sizeof query, "SELECT sql FROM sqlite_schema WHERE name = '%s'", trigger);
  snprintf(drop, sizeof drop, "DROP TRIGGER %s", trigger);
  create = test_sql_text(db, query);
  CHECK_INT(test_sql(db, drop), SQLITE_OK);
  CHECK_INT(test_sql(db, sql), SQLITE_OK);
  CHECK_INT(sqlite3_changes(db), 1);
  CHECK_INT(test_sql(db, create), SQLITE_OK);
  sqlite3_close(db);
}

/* ---- Help, version, usage ------------------------------------------------------------------ */

/* Every command there is: a test says so when the program has another. */
static const char *const COMMANDS[] = {
  "init",
  "normalize",
  "customers create",
  "customers list",
  "customers find",
  "customers show",
  "customers set-display",
  "customers conversations",
  "resolve",
  "link",
  "relink",
  "unlink",
  "inbox",
  "history",
  "audit export",
  "audit head",
  "audit verify",
  "check",
  "backup",
  "demo",
  "completion",
  "man",
  "help",
  "version",
};

/* Runs a command with one word more, or two: "audit head" is two words already. */
static int run_command(const char *before, const char *command, const char *after) {
  const char *words[5];
  char first[64], *second;
  int count = 0;
  snprintf(first, sizeof first, "%s", command);
  second = strchr(first, ' ');
  if (second != NULL) *second++ = '\0';
  if (before != NULL) words[count++] = before;
  words[count++] = first;
  if (second != NULL) words[count++] = second;
  if (after != NULL) words[count++] = after;
  words[count] = NULL;
  return run_words(TO_FILE, words);
}

TEST(version_names_custmem_and_sqlite) {
  char line[128];
  snprintf(
    line, sizeof line, "custmem %s (SQLite %s)\n", CUSTMEM_VERSION, sqlite3_libversion()
  );
  CHECK_INT(run("version", NULL, NULL), DONE);
  CHECK_TEXT(ran.out, line);
  CHECK_TEXT(ran.err, "");
  CHECK_INT(run("--version", NULL, NULL), DONE);
  CHECK_TEXT(ran.out, line);
}

TEST(help_lists_every_command_and_the_exit_status) {
  const char *at;
  size_t i, listed = 0;
  CHECK_INT(run("help", NULL, NULL), DONE);
  CHECK_TEXT(ran.err, "");
  CHECK_HAS(
    ran.out, "exit status: 0 done, 1 the store refused, 2 wrong usage, 3 input or output"
  );
  for (i = 0; i < COUNT_OF(COMMANDS); i++) {
    char line[32];
    snprintf(line, sizeof line, "\n  %s  ", COMMANDS[i]);
    CHECK_HAS(ran.out, line);
  }
  for (at = strstr(ran.out, "\n  "); at != NULL; at = strstr(at + 1, "\n  "))
    listed++;
  CHECK_INT(listed, COUNT_OF(COMMANDS));
  CHECK_INT(run("--help", NULL, NULL), DONE);
  CHECK_HAS(ran.out, "usage: ");
}

TEST(help_of_a_command_has_usage_and_an_example) {
  size_t i;
  for (i = 0; i < COUNT_OF(COMMANDS); i++) {
    char usage[PATH_MAX + 64], example[PATH_MAX + 64];
    char *asked;
    snprintf(usage, sizeof usage, "usage: %s %s", ran.shell, COMMANDS[i]);
    snprintf(example, sizeof example, "%s %s", ran.shell, COMMANDS[i]);
    CHECK_INT(run_command("help", COMMANDS[i], NULL), DONE);
    CHECK_TEXT(ran.err, "");
    CHECK_INT(strncmp(ran.out, usage, strlen(usage)), 0);
    asked = strstr(ran.out, "\nexample:\n  ");
    CHECK_HAS(asked != NULL ? asked : "", example);
    asked = ran.out;
    ran.out = NULL;
    CHECK_INT(run_command(NULL, COMMANDS[i], "--help"), DONE);
    CHECK_TEXT(ran.out, asked);
    free(asked);
  }
}

TEST(help_of_a_group_lists_its_commands) {
  char *asked;
  CHECK_INT(run("help", "audit", NULL), DONE);
  CHECK_HAS(ran.out, "audit: the record");
  CHECK_HAS(ran.out, "\n  audit head  ");
  CHECK_INT(lines_of(ran.out), 5);
  asked = ran.out;
  ran.out = NULL;
  CHECK_INT(run("audit", "--help", NULL), DONE);
  CHECK_TEXT(ran.out, asked);
  free(asked);
}

TEST(usage_errors_say_what_is_wrong) {
  static const char HASH[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
  static const struct {
    const char *words[10];
    const char *says;
  } WRONG[] = {
    {{NULL}, "no command was given"},
    {{""}, "there is no command \"\""},
    {{"chek"}, "there is no command \"chek\"; did you mean \"check\"?"},
    {{"adit"}, "did you mean \"audit\"?"},
    {{"hlep"}, "did you mean \"help\"?"},
    {{"Demo"}, "did you mean \"demo\"?"},
    {{"INBOX"}, "did you mean \"inbox\"?"},
    {{"verify", "a"}, "there is no command \"verify\"; did you mean \"audit verify\"?"},
    {{"list"}, "did you mean \"customers list\"?"},
    {{"xyzzy"}, "there is no command \"xyzzy\""},
    {{"\x1b[31mred"}, "there is no command \"\\x1b[31mred\""},
    {{"audit"}, "audit: SUBCOMMAND is missing: export, head, verify"},
    {{"audit", "haed"}, "there is no command \"audit haed\"; did you mean \"audit head\"?"},
    {{"customers", "a.db"}, "there is no command \"customers a.db\""},
    {{"help", "chek"}, "did you mean \"check\"?"},
    {{"help", "audit", "veryfi"}, "did you mean \"audit verify\"?"},
    {{"help", "check", "audit"}, "help: \"audit\" is one argument too many"},
    {{"version", "1"}, "version: \"1\" is one argument too many"},
    {{"demo", "a", "b"}, "demo: \"b\" is one argument too many"},
    {{"check"}, "check: STORE is missing"},
    {{"check", "a", "b"}, "check: \"b\" is one argument too many"},
    {{"check", "--quick", "a"}, "check: there is no option \"--quick\""},
    {{"check", "-q"}, "check: there is no option \"-q\""},
    {{"check", "-json", "a"}, "check: there is no option \"-json\"; did you mean \"--json\"?"},
    {{"check", "a", "--jsno"},
     "check: there is no option \"--jsno\"; did you mean \"--json\"?"},
    {{"check", "a", "--reason", "b"}, "check takes no option --reason"},
    {{"check", "a", "--json=yes"}, "check: --json takes no value"},
    {{"check", "a", "--json", "--json"}, "check: --json is given twice"},
    {{"audit", "head", "a", "--instructor"}, "audit head: --instructor needs ID"},
    {{"audit", "head", "a"}, "audit head: --instructor is missing: whose data"},
    {{"audit", "head", "a"}, "(or set CUSTMEM_INSTRUCTOR)"},
    {{"audit", "export", "a", "c"}, "audit export: \"c\" is one argument too many"},
    {{"audit", "verify", "a", "3"}, "audit verify: HASH is missing"},
    {{"audit", "verify", "a", "", HASH}, "COUNT is a number of events"},
    {{"audit", "verify", "a", "+1", HASH}, "COUNT is a number of events"},
    {{"audit", "verify", "a", "1x", HASH}, "COUNT is a number of events"},
    {{"audit", "verify", "a", "99999999999999999999", HASH}, "COUNT is a number of events"},
    {{"audit", "verify", "a", "1", "00"}, "HASH is 64 digits"},
    {{"audit", "verify", "a", "1", "0123456789ABCDEF"}, "HASH is 64 digits"},
    {{"normalize", "whatsap", "1"},
     "there is no channel \"whatsap\"; did you mean \"whatsapp\"?"},
    {{"normalize", "Messenger/7", "1"}, "did you mean \"messenger/7\"?"},
    {{"normalize", "fax", "1"}, "there is no channel \"fax\": whatsapp, sms, phone"},
    {{"normalize", "sms/", "1"}, "there is no channel \"sms/\""},
    {{"normalize", "sms"}, "normalize: IDENTIFIER is missing"},
    {{"resolve", "a", "c", "sms"}, "resolve: IDENTIFIER is missing"},
    {{"link", "a", "b"}, "link: CUSTOMER is missing"},
    {{"link", "a", "b", "c", "--instructor", "i"}, "link: --actor is missing: who acts"},
    {{"link", "a", "b", "c", "--instructor=i", "--actor=a"}, "link: --reason is missing: why"},
    {{"relink", "a", "b", "c"}, "relink: NEW is missing"},
    {{"unlink", "a", "b"}, "unlink: CURRENT is missing"},
    {{"customers", "set-display", "a", "b", "--instructor=i", "--actor=a"},
     "customers set-display: give either DISPLAY or --remove"},
    {{"customers", "set-display", "a", "b", "c", "--remove", "--instructor=i", "--actor=a"},
     "customers set-display: give either DISPLAY or --remove"},
    {{"customers", "create", "a", "--id", "--instructor=i", "--actor=a"},
     "customers create: --display and --id go with CHANNEL and IDENTIFIER"},
    {{"init", ":memory:"}, "\":memory:\" is no file: a file of that name is ./:memory:"},
    {{"check", ":memory:"}, "\":memory:\" is no file"},
    {{"inbox", "a", "b", "--instructor=i"}, "inbox: --number is missing"},
    {{"inbox", "a", "b", "--instructor=i", "--number=1", "--json", "--html"},
     "inbox: give --html or --json, not both"},
    {{"completion", "fish"}, "SHELL is bash or zsh: not \"fish\""},
  };
  size_t i;
  for (i = 0; i < COUNT_OF(WRONG); i++) {
    CHECK_INT(run_words(TO_FILE, WRONG[i].words), USAGE);
    CHECK_TEXT(ran.out, "");
    CHECK_HAS(ran.err, WRONG[i].says);
    CHECK(is_harmless(ran.err, ran.err_size));
    CHECK_INT(strncmp(ran.err, "custmem: ", 9), 0);
  }
}

TEST(nothing_is_suggested_that_is_not_near) {
  CHECK_INT(run("xyzzy", NULL, NULL), USAGE);
  CHECK(strstr(ran.err, "did you mean") == NULL);
}

/* ---- Check, verify, audit ------------------------------------------------------------------ */

TEST(a_store_that_is_not_there_is_refused_and_not_made) {
  static const char *const READERS[] = {"check", "export", "verify"};
  const char *path = scratch("absent.db");
  size_t i;
  for (i = 0; i < COUNT_OF(READERS); i++) {
    CHECK_INT(i == 0 ? run("check", path, NULL) : run_audit(READERS[i], path, "anna"), REFUSED);
    CHECK_TEXT(ran.out, "");
    CHECK_HAS(ran.err, "custmem: CUSTMEM_NO_PATH: ");
    CHECK_INT(test_file_size(path), -1);
  }
}

TEST(what_is_no_store_is_refused_by_its_name) {
  const char *text = scratch("text.db");
  sqlite3 *db;
  CHECK(test_file_write(
    text,
    "not a database, but longer than a header of one; really longer "
    "than one hundred bytes, which is what it takes",
    110
  ));
  CHECK_INT(run("check", text, NULL), REFUSED);
  CHECK_HAS(ran.err, "CUSTMEM_NOT_A_DATABASE");
  CHECK_INT(run("check", scratch("."), NULL), REFUSED);
  CHECK_HAS(ran.err, "CUSTMEM_NOT_A_FILE");
  db = test_plain(scratch("other.db"));
  CHECK_INT(test_sql(db, "CREATE TABLE t (a); PRAGMA application_id = 7"), SQLITE_OK);
  sqlite3_close(db);
  CHECK_INT(run_audit("export", scratch("other.db"), "anna"), REFUSED);
  CHECK_HAS(ran.err, "CUSTMEM_OTHER_APPLICATION");
  CHECK_TEXT(ran.out, "");
}

TEST(options_end_at_two_dashes) {
  CHECK_INT(run("check", "--", "--odd.db"), REFUSED);
  CHECK_HAS(ran.err, "CUSTMEM_NO_PATH");
  CHECK_HAS(ran.err, "--odd.db");
}

TEST(check_counts_and_leaves_the_store_as_it_is) {
  const char *path = make_store("checked.db");
  uint64_t bytes = test_file_hash(path);
  CHECK_INT(run("check", path, NULL), DONE);
  CHECK_TEXT(
    ran.out, "sound\ninstructors  2\ncustomers    3\nlinks        25\nevents       71\n"
  );
  CHECK_TEXT(ran.err, "");
  CHECK(test_file_hash(path) == bytes);
}

TEST(verify_prints_the_head_as_it_is) {
  const char *path = make_store("verified.db");
  uint64_t bytes = test_file_hash(path);
  custmem *store = test_store(path);
  custmem_head head;
  char line[128];
  CHECK_INT(custmem_audit_head(store, "anna", &head), CUSTMEM_OK);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  snprintf(line, sizeof line, "%lld %s", (long long)head.count, head.hash);
  CHECK_INT(run_audit("verify", path, "anna"), DONE);
  CHECK_INT(strncmp(ran.out, "sound\n", 6), 0);
  CHECK_TEXT(line_after(ran.out, "events  "), "70");
  CHECK_TEXT(line_after(ran.out, "links   "), "24");
  CHECK_TEXT(line_after(ran.out, "head    "), line);
  CHECK_TEXT(ran.err, "");
  CHECK(test_file_hash(path) == bytes);
  CHECK_INT(run_audit("verify", path, "nobody"), DONE);
  CHECK_TEXT(line_after(ran.out, "events  "), "0");
  CHECK_INT(run_audit("verify", path, ""), REFUSED);
  CHECK_HAS(ran.err, "CUSTMEM_NO_INSTRUCTOR");
}

TEST(verify_compares_with_an_anchor) {
  const char *path = make_store("anchored.db");
  custmem *store = test_store(path);
  custmem_event event;
  custmem_head anchor = {0, ""};
  int32_t count;
  CHECK_INT(custmem_audit_read(store, "anna", 9, &event, 1, &count), CUSTMEM_OK);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  anchor.count = event.seq;
  memcpy(anchor.hash, event.hash, sizeof anchor.hash);
  CHECK_INT(run_verify(path, "anna", &anchor), DONE);
  CHECK_HAS(ran.out, "sound, and it continues the anchor\n");
  anchor.count++;
  CHECK_INT(run_verify(path, "anna", &anchor), REFUSED);
  CHECK_TEXT(ran.out, "");
  CHECK_HAS(ran.err, "CUSTMEM_ANCHOR: ");
  anchor.count = STORE_EVENTS + 1;
  CHECK_INT(run_verify(path, "anna", &anchor), REFUSED);
  CHECK_HAS(ran.err, "CUSTMEM_ANCHOR: ");
}

TEST(a_changed_event_is_named_by_check_and_verify) {
  const char *path = make_store("tampered.db");
  const char *sql = "UPDATE audit_events SET reason = 'It was not me'"
                    " WHERE instructor_id = 'anna' AND seq = 7";
  tamper(path, "audit_events_update", sql);
  CHECK_INT(run("check", path, NULL), REFUSED);
  CHECK_TEXT(ran.out, "");
  CHECK_HAS(ran.err, "custmem: CUSTMEM_BROKEN: ");
  CHECK_HAS(ran.err, "custmem: the first fault is at instructor anna, event 7, a2\n");
  CHECK_INT(run("check", path, "--json"), REFUSED);
  CHECK_HAS(ran.err, "custmem: the first fault is at instructor anna, event 7, a2\n");
  CHECK_HAS(
    ran.out, "\"events\":6,\"fault\":7,\"detail\":\"an audit event is not the one that was"
  );
  CHECK_HAS(ran.out, "\"instructor_id\":\"anna\",\"seq\":7,\"subject\":\"a2\"}\n");
  CHECK_INT(run_audit("verify", path, "anna"), REFUSED);
  CHECK_TEXT(ran.out, "");
  CHECK_HAS(ran.err, "custmem: CUSTMEM_BROKEN: ");
  CHECK_HAS(ran.err, "custmem: the first fault is at instructor anna, event 7, a2\n");
  CHECK_INT(run_audit("verify", path, "ben"), DONE);
  CHECK_TEXT(ran.err, "");
}

TEST(a_changed_link_is_named_by_check_and_verify) {
  const char *path = make_store("relinked.db");
  tamper(
    path, "conversation_links_update",
    "UPDATE conversation_links SET customer_id = (SELECT min(id) FROM customers"
    " WHERE instructor_id = 'anna') WHERE conversation_id = 'a3'"
  );
  CHECK_INT(run("check", path, NULL), REFUSED);
  CHECK_HAS(ran.err, "CUSTMEM_BROKEN");
  CHECK_HAS(ran.err, ", a3\n");
  CHECK_INT(run_audit("verify", path, "anna"), REFUSED);
  CHECK_HAS(ran.err, ", a3\n");
}

TEST(an_event_that_is_not_text_is_not_exported) {
  const char *path = make_store("not_text.db");
  tamper(
    path, "audit_events_update",
    "UPDATE audit_events SET reason = CAST(x'41ff9b42' AS TEXT)"
    " WHERE instructor_id = 'anna' AND seq = 3"
  );
  CHECK_INT(run_audit("export", path, "anna"), REFUSED);
  CHECK(is_harmless(ran.out, ran.out_size));
  CHECK_HAS(ran.err, "custmem: CUSTMEM_CORRUPT: ");
  CHECK(strstr(ran.out, "\"seq\":3,") == NULL);
}

static const char *or_none(const char *text) {
  return text[0] != '\0' ? text : "(none)";
}

static void check_exported(const char *line, const custmem_event *event) {
  char seq[32], created[32];
  snprintf(seq, sizeof seq, "%lld", (long long)event->seq);
  snprintf(created, sizeof created, "%lld", (long long)event->created_at_ms);
  CHECK_TEXT(
    json_names(line),
    "instructor_id,seq,event_name,conversation_id,previous_customer_id,new_customer_id,"
    "actor_type,actor_id,reason,context,created_at,hash"
  );
  CHECK_TEXT(json(line, "$.instructor_id"), event->instructor_id);
  CHECK_TEXT(json(line, "$.seq"), seq);
  CHECK_TEXT(json(line, "$.event_name"), event->event_name);
  CHECK_TEXT(json(line, "$.conversation_id"), event->conversation_id);
  CHECK_TEXT(json(line, "$.previous_customer_id"), or_none(event->previous_customer_id));
  CHECK_TEXT(json(line, "$.new_customer_id"), or_none(event->new_customer_id));
  CHECK_TEXT(json(line, "$.actor_type"), "human");
  CHECK_TEXT(json(line, "$.actor_id"), event->actor_id);
  CHECK_TEXT(json(line, "$.reason"), event->reason);
  CHECK_TEXT(json(line, "$.context"), or_none(event->context));
  CHECK_TEXT(json(line, "$.created_at"), created);
  CHECK_TEXT(json(line, "$.hash"), event->hash);
}

TEST(audit_exports_exactly_what_audit_read_gives) {
  static custmem_event events[STORE_EVENTS + 1];
  const char *path = make_store("exported.db");
  custmem *store = test_store(path);
  custmem_info info;
  custmem_head head;
  char *line;
  int32_t count, i;
  REQUIRE(store != NULL);
  CHECK_INT(custmem_store_info(store, &info), CUSTMEM_OK);
  CHECK_INT(custmem_audit_head(store, "anna", &head), CUSTMEM_OK);
  CHECK_INT(custmem_audit_read(store, "anna", 0, events, COUNT_OF(events), &count), CUSTMEM_OK);
  CHECK_INT(count, STORE_EVENTS);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  CHECK_INT(run_audit("export", path, "anna"), DONE);
  CHECK_TEXT(ran.err, "");
  CHECK(is_harmless(ran.out, ran.out_size));
  line = strtok(ran.out, "\n");
  REQUIRE(line != NULL);
  CHECK_TEXT(json_names(line), "store_id,instructor_id,count,head");
  CHECK_TEXT(json(line, "$.store_id"), info.id);
  CHECK_TEXT(json(line, "$.instructor_id"), "anna");
  CHECK_TEXT(json(line, "$.count"), "70");
  CHECK_TEXT(json(line, "$.head"), head.hash);
  for (i = 0; (line = strtok(NULL, "\n")) != NULL && i < count; i++)
    check_exported(line, &events[i]);
  CHECK_INT(i, STORE_EVENTS);
  CHECK(line == NULL);
}

TEST(audit_of_an_instructor_without_events_is_the_first_line) {
  const char *path = make_store("empty_trail.db");
  CHECK_INT(
    run_audit(
      "export", path,
      "no\xe2\x80\xa8"
      "body"
    ),
    DONE
  );
  CHECK(is_harmless(ran.out, ran.out_size));
  CHECK_TEXT(json_names(ran.out), "store_id,instructor_id,count,head");
  CHECK_TEXT(
    json(ran.out, "$.instructor_id"), "no\xe2\x80\xa8"
                                      "body"
  );
  CHECK_TEXT(json(ran.out, "$.count"), "0");
  CHECK(strchr(ran.out, '\n') == ran.out + ran.out_size - 1);
}

TEST(output_that_cannot_be_written_is_status_3_or_a_quiet_end) {
  const char *path = make_store("unwritten.db");
  const char *const commands[][6] = {
    {"version"},
    {"help"},
    {"man"},
    {"completion", "bash"},
    {"check", path},
    {"audit", "export", path, "--instructor", "anna"},
    {"demo", ran.stream}};
  size_t i;
  for (i = 0; i < COUNT_OF(commands); i++) {
    CHECK_INT(run_words(TO_CLOSED, commands[i]), INPUT_OUTPUT);
    CHECK_HAS(ran.err, "custmem: cannot write the output: ");
    if (access("/dev/full", W_OK) == 0) {
      CHECK_INT(run_words(TO_FULL, commands[i]), INPUT_OUTPUT);
      CHECK_HAS(ran.err, "custmem: cannot write the output: ");
    }
    CHECK_INT(run_words(TO_BROKEN_PIPE, commands[i]), KILLED + SIGPIPE);
    CHECK_TEXT(ran.err, "");
    CHECK_INT(run_words(TO_BROKEN_PIPE_IGNORED, commands[i]), INPUT_OUTPUT);
    CHECK_TEXT(ran.err, "");
  }
  CHECK_INT(run("check", path, NULL), DONE);
}

/* ---- Demo ---------------------------------------------------------------------------------- */

/* Empties the directory for temporary files, runs the demo on a stream. */
static int run_demo(const char *stream) {
  const char *clean[] = {"/bin/rm", "-rf", scratch("tmp"), scratch("cwd"), NULL};
  run_in("/", TO_FILE, clean);
  return run("demo", stream, NULL);
}

TEST(the_demo_tells_every_chapter) {
  static const char *const SENTENCES[] = {
    "1. The stream ---",
    "36 payloads. 28 new messages, 19 for Marta and 9 for Jonas, in 12 conversations;",
    "2 repeated.",
    "2. Who is writing? ---",
    "the store holds 0 customers, 0 links and 0 audit events.",
    "3. A human makes customers ---",
    "Marta makes a customer of c1, Amelia Stone: whatsapp, 447700900123 -> made: ",
    "Marta makes a customer of c1, Amelia Stone: whatsapp, +447700900123 -> there already: ",
    ": whatsapp/108840215570321, GB.4821907736650912 -> made: ",
    "New customer First interaction with this customer",
    "4. A human links ---",
    "-> done: audit event 2; the badge of c2 is now \"Known customer\"",
    "Known customer This customer is already known to you",
    "5. What is refused ---",
    "-> refused, CUSTMEM_ALREADY_LINKED: ",
    "-> refused, CUSTMEM_CHANGED: ",
    "-> refused, CUSTMEM_NO_REASON: ",
    "-> refused, CUSTMEM_NOT_HUMAN: ",
    "6. Put right, by a human ---",
    "-> done: audit event 3; the badge of c2 is now \"Known customer\"",
    "-> done: audit event 4; the badge of c1 is now \"New customer\"",
    "-> Liam Webb now has 2 conversations",
    "7. The other instructor ---",
    "-> refused, CUSTMEM_OTHER_INSTRUCTOR: ",
    "-> refused, CUSTMEM_NO_CUSTOMER: ",
    "8. Behind custmem's back ---",
    "-> refused: custmem: an audit event is never changed ",
    "-> refused: custmem: an audit event is never deleted ",
    "-> refused: custmem: an audit event takes its instructor's next seq ",
    "-> refused: custmem: the latest audit event does not say this link change ",
    "-> refused: custmem: a link is never deleted ",
    "9. The record ---",
    " linked - Amelia Stone user-marta Same course, I think ",
    "user-marta I picked the wrong line ",
    "6 events and 4 links, sound. Its head: 6 ",
    "the chain continues it.",
    "CUSTMEM_ANCHOR",
    "10. The whole store ---",
    "sound. 2 instructors, 5 customers, 5 links, 7 audit events.",
    "Look for yourself ---",
    " The store is ",
  };
  const char *at;
  size_t i;
  CHECK_INT(run_demo(ran.stream), DONE);
  CHECK_TEXT(ran.err, "");
  for (at = flat(), i = 0; i < COUNT_OF(SENTENCES); i++) {
    const char *next = strstr(at, SENTENCES[i]);
    CHECK_HAS(at, SENTENCES[i]);
    at = next != NULL ? next : at;
  }
}

TEST(the_demo_is_laid_out_for_a_terminal) {
  const char *line;
  CHECK_INT(run_demo(ran.stream), DONE);
  CHECK(is_harmless(ran.out, ran.out_size));
  CHECK(strstr(ran.out, "\n\n\n") == NULL);
  CHECK(strstr(ran.out, " \n") == NULL);
  for (line = ran.out; line != NULL && *line != '\0'; line = strchr(line, '\n')) {
    size_t size, i, signs = 0;
    line += *line == '\n';
    size = strcspn(line, "\n");
    for (i = 0; i < size; i++)
      signs += (line[i] & 0xc0) != 0x80;
    if (strncmp(line, "    ", 4) != 0 && signs > 104) CHECK_TEXT(line, "a line that fits");
  }
}

TEST(the_demo_tells_what_each_payload_carried) {
  static const struct {
    int line;
    const char *carries, *means;
  } PAYLOADS[] = {
    {1, "text from Amelia Stone", "1 for Marta"},
    {3, "status: sent", "no customer in it"},
    {5, "read receipt", "no customer in it"},
    {6, "image from Amelia Stone", "1 for Marta"},
    {7, "text from Amelia Stone", "1 for Jonas"},
    {9, "reaction from Tom\xc3\xa1s Rey", "1 for Marta"},
    {10, "text from Amelia Stone", "1 delivered before"},
    {12, "button reply from Amelia Stone", "1 for Marta"},
    {13,
     "list reply from Linn\xc3\xa9"
     "a \xc3\x85kesson",
     "1 for Jonas"},
    {14, "contact card from Tom\xc3\xa1s Rey", "1 for Marta"},
    {15, "voice message from ", "1 for Jonas"},
    {17, "", "3 for Marta"},
    {18,
     "text from Amelia Stone, text from Linn\xc3\xa9"
     "a \xc3\x85kesson",
     "1 for Marta, 1 for Jonas"},
    {19, "image from ", "1 for Jonas"},
    {20, "text from Priya ", "1 for Marta"},
    {22, "text in (a group)", "1 for Marta"},
    {23, "notice from Liam Webb", "1 for Marta"},
    {25, "(not JSON)", "left out"},
    {26, "(JSON, but not a WhatsApp webhook)", "left out"},
    {27, "(JSON, but not a WhatsApp webhook)", "left out"},
    {28, "text from Bob \\x1b[31m<b>red</b>\\u202egnp.exe", "1 for Jonas"},
    {32, "status: failed", "no customer in it"},
    {33, "text from Tom\xc3\xa1s Rey", "1 for Marta, 1 delivered before"},
    {34, "read receipt", "no customer in it"},
    {35, "message_template_status_update", "no customer in it"},
    {36,
     "text from Linn\xc3\xa9"
     "a \xc3\x85kesson",
     "1 for nobody here"},
  };
  size_t i;
  CHECK_INT(run_demo(ran.stream), DONE);
  for (i = 0; i < COUNT_OF(PAYLOADS); i++) {
    char start[16];
    const char *line;
    snprintf(start, sizeof start, "%-6d", PAYLOADS[i].line);
    line = line_after(ran.out, start);
    CHECK_INT(strncmp(line, PAYLOADS[i].carries, strlen(PAYLOADS[i].carries)), 0);
    CHECK_HAS(line, PAYLOADS[i].means);
    CHECK(
      strlen(line) >= strlen(PAYLOADS[i].means) &&
      strcmp(line + strlen(line) - strlen(PAYLOADS[i].means), PAYLOADS[i].means) == 0
    );
  }
}

/* Rows as a terminal lines them up: a wide character is two columns, a mark that combines none, an
** emoji of several code points two. After right-to-left text stands a mark of no width. */
TEST(the_inbox_is_lined_up_for_every_script) {
  static const char *const ROWS[] = {
    "\nc1   Amelia Stone  Can my brother com...  Unlinked  Customer not resolved\n",
    "\nc2   Tom\xc3\xa1s Rey \xf0\x9f\x8c\x8a  Bringing two frien...  Unlinked  Customer",
    "\nc4   \xd9\x86\xd9\x88\xd8\xb1 \xd8\xa7\xd9\x84\xd9\x87\xd8\xaf\xd9\x89\xe2\x80\x8e"
    "     [unsupported]          Unlinked  Customer",
    "\nc9   Priya \xf0\x9f\x8f\x84\xf0\x9f\x8f\xbd\xe2\x80\x8d\xe2\x99\x80\xef\xb8\x8f"
    "      Hello! Found you b...  Unlinked  Customer",
    "\nc6   \xe7\x8e\x8b\xe5\xb0\x8f\xe6\x98\x8e             [image]                Unlinked",
    "\nc12  Bob \\x1b[31m<b...  line one\\nline two...  Unlinked  Customer not resolved\n",
  };
  size_t i;
  CHECK_INT(run_demo(ran.stream), DONE);
  for (i = 0; i < COUNT_OF(ROWS); i++)
    CHECK_HAS(ran.out, ROWS[i]);
}

TEST(the_demo_leaves_one_store_and_nothing_else) {
  char directory[256] = "", file[256] = "", path[1024];
  CHECK_INT(run_demo(ran.stream), DONE);
  CHECK_INT(entries(scratch("cwd"), NULL, 0), 0);
  CHECK_INT(entries(scratch("tmp"), directory, sizeof directory), 1);
  snprintf(path, sizeof path, "%s/%s", scratch("tmp"), directory);
  CHECK_INT(entries(path, file, sizeof file), 1);
  CHECK_TEXT(file, "inbox.db");
  CHECK_HAS(line_after(ran.out, "The store is "), path);
}

TEST(the_commands_that_the_demo_ends_with_work) {
  char *out;
  const char *at;
  int commands = 0;
  CHECK_INT(run_demo(ran.stream), DONE);
  out = between(ran.out, "Look for yourself", "When you have seen enough");
  for (at = strstr(out, "\n    "); at != NULL; at = strstr(at, "\n    ")) {
    char command[1024];
    const char *const words[] = {"/bin/sh", "-c", command, NULL};
    at += 5;
    snprintf(command, sizeof command, "%.*s", (int)strcspn(at, "\n"), at);
    if (strncmp(command, "sqlite3 ", 8) == 0) continue; /* is perhaps not installed */
    CHECK_INT(run_in(scratch("cwd"), TO_FILE, words), DONE);
    CHECK_TEXT(ran.err, "");
    commands++;
  }
  CHECK_INT(commands, 3);
  free(out);
}

TEST(the_store_of_the_demo_holds_what_was_told) {
  custmem *store;
  custmem_event events[8];
  custmem_report report;
  int32_t count;
  CHECK_INT(run_demo(ran.stream), DONE);
  store = test_store(line_after(ran.out, "The store is "));
  REQUIRE(store != NULL);
  CHECK_INT(custmem_check(store, &report), CUSTMEM_OK);
  CHECK_INT(report.instructors, 2);
  CHECK_INT(report.customers, 5);
  CHECK_INT(report.links, 5);
  CHECK_INT(report.events, 7);
  CHECK_INT(custmem_audit_read(store, "marta", 0, events, 8, &count), CUSTMEM_OK);
  CHECK_INT(count, 6);
  CHECK_TEXT(events[2].event_name, "conversation.customer_relinked");
  CHECK_TEXT(events[3].event_name, "conversation.customer_unlinked");
  CHECK_TEXT(events[2].previous_customer_id, events[1].new_customer_id);
  CHECK_INT(custmem_audit_read(store, "jonas", 0, events, 8, &count), CUSTMEM_OK);
  CHECK_INT(count, 1);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

TEST(without_a_file_the_demo_reads_the_one_of_the_source) {
  const char *words[] = {ran.shell, "demo", NULL};
  char top[PATH_MAX];
  snprintf(
    top, sizeof top, "%.*s", (int)(strlen(ran.stream) - strlen("/test/data/webhooks.jsonl")),
    ran.stream
  );
  CHECK_INT(run_in(top, TO_FILE, words), DONE);
  CHECK_HAS(ran.out, "from test/data/webhooks.jsonl.");
  CHECK_INT(run("demo", NULL, NULL), INPUT_OUTPUT);
  CHECK_TEXT(ran.out, "");
  CHECK_HAS(ran.err, "cannot read test/data/webhooks.jsonl: No such file or directory.");
  CHECK_HAS(ran.err, "demo FILE");
}

TEST(a_stream_that_cannot_be_read_is_status_3) {
  CHECK_INT(run_demo(scratch("absent.jsonl")), INPUT_OUTPUT);
  CHECK_TEXT(ran.out, "");
  CHECK_HAS(ran.err, "absent.jsonl: No such file or directory");
  CHECK_INT(run_demo(scratch(".")), INPUT_OUTPUT);
  CHECK_HAS(ran.err, ": Is a directory");
}

TEST(a_temporary_directory_that_is_not_there_is_status_3) {
  const char *words[] = {
    "/usr/bin/env", "TMPDIR=/nonexistent/tmp", ran.shell, "demo", ran.stream, NULL};
  CHECK_INT(run_in("/", TO_FILE, words), INPUT_OUTPUT);
  CHECK_TEXT(ran.out, "");
  CHECK_HAS(ran.err, "cannot make a directory in /nonexistent/tmp: No such file");
}

/* Streams that nobody would send. None makes a conversation that has an identifier. */
#define WEBHOOK(entry) "{\"object\":\"whatsapp_business_account\",\"entry\":" entry "}"
#define MESSAGES(messages)                                                                     \
  WEBHOOK("[{\"id\":\"1\",\"changes\":[{\"field\":\"messages\",\"value\":{\"metadata\":{"      \
          "\"phone_number_id\":\"209951326681432\"}," messages "}}]}]")

#define TEXT_FROM(phone, text)                                                                 \
  MESSAGES("\"messages\":[{\"id\":\"m" phone "\",\"from\":\"" phone                            \
           "\",\"type\":\"text\",\"text\":{\"body\":\"" text "\"}}]")

static const char *const HOSTILE[] = {
  TEXT_FROM("447700900996", "\xc3("),
  TEXT_FROM("447700900995", "\xed\xa0\x80"),
  TEXT_FROM("447700900994", "\x1b[2J"),
  "",
  "\n\n \t \r\n\n",
  "{",
  "[]",
  "null",
  "0",
  "\"text\"",
  "\xff\xfe\xc0\x80",
  "{\"a\":\"\xc3(\"}",
  "\xef\xbb\xbf{}",
  "{\"object\":\"whatsapp_business_account\"}",
  WEBHOOK("null"),
  WEBHOOK("{}"),
  WEBHOOK("[null,1,\"a\",[],{}]"),
  WEBHOOK("[{\"id\":7,\"changes\":\"none\"}]"),
  WEBHOOK("[{\"changes\":[null,1.5,\"x\",[[]],{\"value\":3},{\"value\":[]},{\"field\":{}}]}]"),
  MESSAGES("\"messages\":{\"a\":1}"),
  MESSAGES("\"messages\":[null,1,\"x\",[],{}]"),
  MESSAGES("\"messages\":[{\"id\":1,\"from\":2,\"type\":3,\"text\":4}]"),
  MESSAGES("\"messages\":[{\"id\":\"m\",\"from\":[],\"type\":{}}]"),
  MESSAGES("\"messages\":[{\"id\":\"m\",\"from\":\"\",\"type\":\"\\u001b]0;x\\u0007\"}]"),
  MESSAGES("\"statuses\":[null,7,{\"status\":{}},{\"status\":\"\\u0000\\u001b[2J\"}]"),
  MESSAGES("\"contacts\":7,\"messages\":[{\"id\":\"m\",\"text\":{\"body\":[]}}]"),
};

/* A line of a megabyte, one longer than any webhook, one with NUL bytes, and nesting without end. */
static void write_monsters(FILE *file) {
  static const char NUL_INSIDE[] = TEXT_FROM("447700900997", "a\0b") "\n";
  int i;
  fputs("{\"a\":\"", file);
  for (i = 0; i < 1000000; i++)
    fputc('x', file);
  fputs("\"}\n", file);
  for (i = 0; i < 5000000; i++)
    fputc('x', file);
  fputc('\n', file);
  fwrite(NUL_INSIDE, 1, sizeof NUL_INSIDE - 1, file);
  for (i = 0; i < 200000; i++)
    fputc('[', file);
  fputs("\n", file);
}

TEST(hostile_streams_end_in_words) {
  size_t i;
  for (i = 0; i <= COUNT_OF(HOSTILE); i++) {
    const char *path = scratch("hostile.jsonl");
    FILE *file = fopen(path, "wb");
    REQUIRE(file != NULL);
    if (i < COUNT_OF(HOSTILE))
      fputs(HOSTILE[i], file);
    else
      write_monsters(file);
    fclose(file);
    CHECK_INT(run_demo(path), INPUT_OUTPUT);
    CHECK_HAS(ran.out, " 0 new messages, 0 for Marta and 0 for Jonas, in 0 conversations;");
    CHECK_HAS(ran.err, "they are not in this stream\n");
    CHECK(is_harmless(ran.out, ran.out_size));
    CHECK(is_harmless(ran.err, ran.err_size));
    CHECK_INT(run("check", line_after(ran.out, "The store is "), NULL), DONE);
    CHECK_HAS(ran.out, "customers    0\n");
  }
}

TEST(hostile_lines_change_nothing_of_the_rest) {
  const char *path = scratch("mixed.jsonl");
  FILE *file = fopen(path, "wb");
  size_t i, size;
  char *stream, *plain, *mixed;
  REQUIRE(file != NULL);
  stream = read_all(ran.stream, &size);
  for (i = 0; i < COUNT_OF(HOSTILE); i++)
    fprintf(file, "%s\n", HOSTILE[i]);
  write_monsters(file);
  fwrite(stream, 1, size, file);
  for (i = 0; i < COUNT_OF(HOSTILE); i++)
    fprintf(file, "%s\n", HOSTILE[i]);
  fclose(file);
  CHECK_INT(run_demo(ran.stream), DONE);
  plain = between(ran.out, "2. Who is writing?", "3. A human");
  CHECK_INT(run_demo(path), DONE);
  mixed = between(ran.out, "2. Who is writing?", "3. A human");
  CHECK_HAS(ran.out, "(longer than any webhook) ");
  CHECK(strlen(plain) > 1000);
  CHECK_TEXT(mixed, plain);
  free(stream);
  free(plain);
  free(mixed);
}

TEST(a_stream_delivered_twice_is_a_stream_delivered_once) {
  const char *path = scratch("twice.jsonl");
  FILE *file = fopen(path, "wb");
  size_t size;
  char *stream;
  REQUIRE(file != NULL);
  stream = read_all(ran.stream, &size);
  fwrite(stream, 1, size, file);
  fwrite(stream, 1, size, file);
  fclose(file);
  free(stream);
  CHECK_INT(run_demo(path), DONE);
  CHECK_HAS(
    ran.out, "72 payloads. 28 new messages, 19 for Marta and 9 for Jonas, in 12 "
             "conversations; 32 repeated."
  );
}

/* One sender, in names and text that hold everything; the conversation is there, and harmless. */
TEST(what_a_message_says_is_shown_harmlessly) {
  static const char STREAM[] = MESSAGES(
    "\"contacts\":[{\"wa_id\":\"447700900999\\u0000\",\"profile\":{\"name\":"
    "\"A\\u0000\\u0085B\"}}],"
    "\"messages\":[{\"id\":\"1\\u0000\",\"from\":\"447700900999\\u0000\",\"type\":\"text\","
    "\"text\":{\"body\":\"\\ud800\\u2028\\u202e\\u007f\\r\\u001b[2J\"}}]"
  );
  const char *path = scratch("odd.jsonl");
  CHECK(test_file_write(path, STREAM, strlen(STREAM)));
  CHECK_INT(run_demo(path), INPUT_OUTPUT);
  CHECK(is_harmless(ran.out, ran.out_size));
  CHECK_HAS(ran.out, "in 1 conversations;");
  CHECK_HAS(ran.out, "c1  A\\x00\\x85B  ");
  CHECK_HAS(ran.out, "Unlinked  Customer not resolved\n");
}

/* ---- All ----------------------------------------------------------------------------------- */

int main(int argc, char **argv) {
  test_init(argc, argv);
  if (!program_init()) return 1;
  RUN(version_names_custmem_and_sqlite, "");
  RUN(help_lists_every_command_and_the_exit_status, "");
  RUN(help_of_a_command_has_usage_and_an_example, "");
  RUN(help_of_a_group_lists_its_commands, "");
  RUN(usage_errors_say_what_is_wrong, "");
  RUN(nothing_is_suggested_that_is_not_near, "");
  RUN(a_store_that_is_not_there_is_refused_and_not_made, "D-8");
  RUN(what_is_no_store_is_refused_by_its_name, "D-2; D-8");
  RUN(options_end_at_two_dashes, "");
  RUN(check_counts_and_leaves_the_store_as_it_is, "D-8");
  RUN(verify_prints_the_head_as_it_is, "D-7");
  RUN(verify_compares_with_an_anchor, "D-7");
  RUN(a_changed_event_is_named_by_check_and_verify, "CM-2.3 §6; T5; D-7");
  RUN(a_changed_link_is_named_by_check_and_verify, "CM-2.3 §6; D-7");
  RUN(an_event_that_is_not_text_is_not_exported, "CM-2.3 §6; D-7");
  RUN(audit_exports_exactly_what_audit_read_gives, "CM-2.3 §6; T5; D-7");
  RUN(audit_of_an_instructor_without_events_is_the_first_line, "D-7");
  RUN(output_that_cannot_be_written_is_status_3_or_a_quiet_end, "");
  RUN(
    the_demo_tells_every_chapter,
    "CM-1 §6; CM-2.1 §3, §8; CM-2.3 §3.1, §4, §5, §6, §9; T4; T5; T6"
  );
  RUN(the_demo_is_laid_out_for_a_terminal, "");
  RUN(the_demo_tells_what_each_payload_carried, "CM-1 §1.2; CM-2.1 §4");
  RUN(the_inbox_is_lined_up_for_every_script, "T6");
  RUN(the_demo_leaves_one_store_and_nothing_else, "");
  RUN(the_commands_that_the_demo_ends_with_work, "");
  RUN(the_store_of_the_demo_holds_what_was_told, "CM-2.3 §6, §9; T5");
  RUN(without_a_file_the_demo_reads_the_one_of_the_source, "");
  RUN(a_stream_that_cannot_be_read_is_status_3, "");
  RUN(a_temporary_directory_that_is_not_there_is_status_3, "");
  RUN(hostile_streams_end_in_words, "CM-1 §4.2; CM-2.1 §4, §5");
  RUN(hostile_lines_change_nothing_of_the_rest, "CM-1 §4.2; CM-2.1 §4, §5");
  RUN(a_stream_delivered_twice_is_a_stream_delivered_once, "CM-2.1 §8");
  RUN(what_a_message_says_is_shown_harmlessly, "CM-1 §4.2");
  free(ran.out);
  free(ran.err);
  return test_report();
}
