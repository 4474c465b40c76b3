/* SPDX-License-Identifier: MIT
**
** The program `custmem`: every command that works on a store, its answers for people and for
** programs, and every refusal. What the program says is held against the store that it left, read
** through the library.
*/
#define _XOPEN_SOURCE 700

#include "program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MANY   150 /* more than two pages of the program's */
#define NUMBER "209951326681432"

/* ---- Stores -------------------------------------------------------------------------------- */

/* A path where no store is yet. */
static const char *fresh(const char *name) {
  const char *path = scratch(name);
  char side[PATH_MAX];
  unlink(path);
  snprintf(side, sizeof side, "%s-wal", path);
  unlink(side);
  snprintf(side, sizeof side, "%s-shm", path);
  unlink(side);
  return path;
}

/* A store with two customers of marta, and one of jonas with the first one's number. */
static struct {
  const char *path;
  char anna[CUSTMEM_UUID_SIZE + 1], ben[CUSTMEM_UUID_SIZE + 1], theirs[CUSTMEM_UUID_SIZE + 1];
} inbox;

static custmem_actor marta(void) {
  custmem_actor actor = {CUSTMEM_ACTOR_HUMAN, "user-marta", "marta"};
  return actor;
}

static int make_inbox(void) {
  custmem *store;
  inbox.path = fresh("inbox.db");
  store = test_store(inbox.path);
  if (!CHECK(store != NULL)) return 0;
  snprintf(inbox.anna, sizeof inbox.anna, "%s", test_customer(store, "marta", "447700900111"));
  snprintf(inbox.ben, sizeof inbox.ben, "%s", test_customer(store, "marta", "447700900222"));
  snprintf(
    inbox.theirs, sizeof inbox.theirs, "%s", test_customer(store, "jonas", "447700900111")
  );
  return CHECK_INT(custmem_close(store), CUSTMEM_OK);
}

/* Whom a conversation of marta's is linked to; "" for nobody. Valid until the next call. */
static const char *linked_to(const char *conversation) {
  static custmem_resolution found;
  custmem *store = test_store(inbox.path);
  CHECK_INT(custmem_resolve(store, "marta", conversation, NULL, NULL, 0, &found), CUSTMEM_OK);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  return found.customer_id;
}

static int64_t events_of(const char *instructor) {
  custmem *store = test_store(inbox.path);
  custmem_head head = {-1, ""};
  CHECK_INT(custmem_audit_head(store, instructor, &head), CUSTMEM_OK);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  return head.count;
}

/* How many customers a store has, of everybody. */
static int64_t customers_in(const char *path) {
  sqlite3 *db = test_plain(path);
  int64_t count = test_sql_int(db, "SELECT count(*) FROM customers");
  sqlite3_close(db);
  return count;
}

/* The run has been refused with this name of the library's, and nothing else was printed. */
static void check_refused(int status, const char *name) {
  char start[64];
  snprintf(start, sizeof start, "custmem: %s: ", name);
  CHECK_INT(status, REFUSED);
  CHECK_TEXT(ran.out, "");
  CHECK_HAS(line_at(ran.err, 0), start);
}

/* ---- Store --------------------------------------------------------------------------------- */

TEST(init_makes_a_store_and_leaves_one_that_is_there) {
  const char *path = fresh("made.db");
  custmem_info info;
  custmem *store;
  struct stat file;
  uint64_t bytes;
  CHECK_INT(CUSTMEM("init", path), DONE);
  CHECK_TEXT(line_after(ran.out, "result   "), "made");
  CHECK_TEXT(ran.err, "");
  CHECK_INT(stat(path, &file), 0);
  CHECK_INT(file.st_mode & 0777, 0600);
  store = test_store(path);
  REQUIRE(store != NULL);
  CHECK_INT(custmem_store_info(store, &info), CUSTMEM_OK);
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  CHECK_TEXT(line_after(ran.out, "id       "), info.id);
  bytes = test_file_hash(path);
  CHECK_INT(CUSTMEM("init", path, "--json"), DONE);
  CHECK_TEXT(json(ran.out, "$.result"), "there already");
  CHECK_TEXT(json(ran.out, "$.store_id"), info.id);
  CHECK_TEXT(json(ran.out, "$.path"), path);
  CHECK(test_file_hash(path) == bytes);
  check_refused(CUSTMEM("init", scratch(".")), "CUSTMEM_NOT_A_FILE");
  check_refused(CUSTMEM("init", "/nonexistent/a.db"), "CUSTMEM_NO_PATH");
}

TEST(only_init_makes_a_store) {
  static const char CUSTOMER_ID[] = "01a21f88-ea9c-748d-b63a-17ab2d7356d1";
  const char *path = fresh("absent.db");
  const char *const commands[][12] = {
    {"customers", "create", path, "sms", "447700900111"},
    {"customers", "list", path},
    {"customers", "find", path, "sms", "447700900111"},
    {"customers", "show", path, CUSTOMER_ID},
    {"customers", "set-display", path, CUSTOMER_ID, "Anna"},
    {"customers", "conversations", path, CUSTOMER_ID},
    {"resolve", path, "c1"},
    {"link", path, "c1", CUSTOMER_ID, "--reason", "r"},
    {"relink", path, "c1", CUSTOMER_ID, CUSTOMER_ID, "--reason", "r"},
    {"unlink", path, "c1", CUSTOMER_ID, "--reason", "r"},
    {"inbox", path, ran.stream, "--number", NUMBER},
    {"history", path, "c1"},
    {"audit", "export", path},
    {"audit", "head", path},
    {"audit", "verify", path},
    {"check", path},
    {"backup", path, scratch("copy.db")},
  };
  size_t i;
  setenv("CUSTMEM_INSTRUCTOR", "marta", 1);
  setenv("CUSTMEM_ACTOR", "user-marta", 1);
  for (i = 0; i < COUNT_OF(commands); i++) {
    check_refused(run_words(TO_FILE, commands[i]), "CUSTMEM_NO_PATH");
    CHECK_INT(test_file_size(path), -1);
  }
  CHECK_INT(test_file_size(scratch("copy.db")), -1);
  unsetenv("CUSTMEM_INSTRUCTOR");
  unsetenv("CUSTMEM_ACTOR");
}

TEST(check_prints_what_there_is_for_people_and_programs) {
  REQUIRE(make_inbox());
  CHECK_INT(AS_MARTA("link", inbox.path, "c1", inbox.anna, "--reason", "She said so"), DONE);
  CHECK_INT(CUSTMEM("check", inbox.path), DONE);
  CHECK_TEXT(
    ran.out, "sound\ninstructors  1\ncustomers    3\nlinks        1\nevents       1\n"
  );
  CHECK_INT(CUSTMEM("check", inbox.path, "--json"), DONE);
  CHECK_TEXT(
    ran.out, "{\"instructors\":1,\"customers\":3,\"links\":1,\"events\":1,\"fault\":0,"
             "\"detail\":null,\"instructor_id\":null,\"seq\":0,\"subject\":null}\n"
  );
}

TEST(a_backup_is_the_whole_store_and_replaces_nothing) {
  const char *copy = fresh("copy.db");
  char size[32];
  uint64_t bytes;
  REQUIRE(make_inbox());
  CHECK_INT(AS_MARTA("link", inbox.path, "c1", inbox.anna, "--reason", "She said so"), DONE);
  CHECK_INT(CUSTMEM("backup", inbox.path, copy), DONE);
  snprintf(size, sizeof size, "%lld", (long long)test_file_size(copy));
  CHECK_TEXT(line_after(ran.out, "bytes   "), size);
  CHECK(test_rows(copy) == test_rows(inbox.path));
  CHECK_INT(CUSTMEM("check", copy), DONE);
  bytes = test_file_hash(copy);
  check_refused(CUSTMEM("backup", inbox.path, copy), "CUSTMEM_EXISTS");
  CHECK(test_file_hash(copy) == bytes);
  check_refused(CUSTMEM("backup", inbox.path, "/nonexistent/copy.db"), "CUSTMEM_NO_PATH");
  check_refused(CUSTMEM("backup", inbox.path, inbox.path), "CUSTMEM_EXISTS");
  CHECK_INT(CUSTMEM("backup", inbox.path, ":memory:"), USAGE);
}

/* Files may not grow here, as on a full disk. */
TEST(what_cannot_be_written_is_status_3_and_leaves_the_store_sound) {
  static const char LIMITED[] = "trap '' XFSZ; ulimit -f 8; exec \"$@\"";
  const char *copy = fresh("copy.db");
  uint64_t rows;
  REQUIRE(make_inbox());
  rows = test_rows(inbox.path);
  {
    const char *const create[] = {
      "/bin/sh",
      "-c",
      LIMITED,
      "sh",
      ran.shell,
      "customers",
      "create",
      inbox.path,
      "sms",
      "447700900333",
      "--instructor=marta",
      "--actor=user-marta",
      NULL};
    const char *const backup[] = {"/bin/sh", "-c",       LIMITED, "sh", ran.shell,
                                  "backup",  inbox.path, copy,    NULL};
    CHECK_INT(run_in("/", TO_FILE, create), INPUT_OUTPUT);
    CHECK_HAS(ran.err, "custmem: CUSTMEM_FULL: ");
    CHECK_TEXT(ran.out, "");
    CHECK_INT(run_in("/", TO_FILE, backup), INPUT_OUTPUT);
    CHECK_HAS(ran.err, "custmem: CUSTMEM_FULL: ");
    CHECK_INT(test_file_size(copy), -1);
  }
  CHECK(test_rows(inbox.path) == rows);
  CHECK_INT(CUSTMEM("check", inbox.path), DONE);
}

/* ---- Identifiers --------------------------------------------------------------------------- */

TEST(normalize_prints_the_key_alone_or_says_why_there_is_none) {
  CHECK_INT(CUSTMEM("normalize", "whatsapp", "+39 333 123-4567"), DONE);
  CHECK_TEXT(ran.out, "393331234567\n");
  CHECK_TEXT(ran.err, "");
  check_refused(CUSTMEM("normalize", "whatsapp", "123"), "CUSTMEM_BAD_IDENTIFIER");
  CHECK_HAS(ran.err, "too_few_digits: ");
  CHECK_INT(CUSTMEM("normalize", "email", "Anna@Example.COM", "--json"), DONE);
  CHECK_TEXT(
    ran.out,
    "{\"line\":null,\"channel\":\"email\",\"identifier\":\"Anna@Example.COM\","
    "\"normalized_identifier\":\"anna@example.com\",\"refusal\":null,\"message\":null}\n"
  );
  CHECK_INT(CUSTMEM("normalize", "email", "Anna", "--json"), REFUSED);
  CHECK_TEXT(json(ran.out, "$.refusal"), "malformed");
  CHECK_TEXT(json(ran.out, "$.normalized_identifier"), "(none)");
  CHECK_HAS(ran.err, "custmem: CUSTMEM_BAD_IDENTIFIER: malformed: ");
}

/* The help, the message about a mistyped one, and the completion name the same: all there are. */
TEST(every_channel_that_is_named_is_one) {
  char *list, *channel, *rest = NULL, words[256];
  size_t used = 0;
  int channels = 0;
  CHECK_INT(CUSTMEM("normalize", "nothing-near", "1"), USAGE);
  list = strstr(ran.err, "whatsapp");
  REQUIRE(list != NULL);
  list = strdup(list);
  list[strcspn(list, ";")] = '\0';
  for (channel = strtok_r(list, ", ", &rest); channel != NULL;
       channel = strtok_r(NULL, ", ", &rest)) {
    char account[64];
    int refusal = custmem_normalize(channel, "-", -1, NULL);
    snprintf(account, sizeof account, "%s/7", channel);
    CHECK(refusal != CUSTMEM_REFUSED_UNKNOWN_CHANNEL);
    CHECK_INT(custmem_normalize(account, "-", -1, NULL), refusal);
    used +=
      (size_t)snprintf(words + used, sizeof words - used, "%s%s", used > 0 ? " " : "", channel);
    channels++;
  }
  CHECK_INT(channels, 8);
  free(list);
  CHECK_INT(CUSTMEM("completion", "bash"), DONE);
  CHECK_HAS(ran.out, words);
  CHECK_INT(CUSTMEM("help", "normalize"), DONE);
  CHECK_HAS(ran.out, "whatsapp, sms, phone, email, telegram, messenger, instagram, webchat;");
}

TEST(normalize_reports_each_line_that_it_reads) {
  type_in("{\"channel\":\"sms\",\"identifier\":\"+44 7700 900111\"}\n"
          "\n"
          "{\"channel\":\"sms\",\"identifier\":\"12\"}\n"
          "{\"channel\":\"smss\",\"identifier\":\"447700900111\"}\n"
          "sms 447700900111\n"
          "{\"channel\":\"telegram\",\"identifier\":\"42\"}");
  CHECK_INT(CUSTMEM("normalize", "--json"), REFUSED);
  CHECK_INT(lines_of(ran.out), 5);
  CHECK_TEXT(json(line_at(ran.out, 0), "$.normalized_identifier"), "447700900111");
  CHECK_TEXT(json(line_at(ran.out, 1), "$.line"), "3");
  CHECK_TEXT(json(line_at(ran.out, 1), "$.refusal"), "too_few_digits");
  CHECK_TEXT(json(line_at(ran.out, 2), "$.refusal"), "unknown_channel");
  CHECK_HAS(json(line_at(ran.out, 2), "$.message"), "did you mean \"sms\"?");
  CHECK_TEXT(json(line_at(ran.out, 3), "$.refusal"), "BAD_LINE");
  CHECK_TEXT(json(line_at(ran.out, 4), "$.normalized_identifier"), "42");
  CHECK_TEXT(ran.err, "custmem: 3 of 5 lines were refused\n");
}

/* ---- Customers ----------------------------------------------------------------------------- */

TEST(a_customer_is_made_once_however_the_number_is_spelled) {
  const char *path = fresh("customers.db");
  char id[64];
  CHECK_INT(CUSTMEM("init", path), DONE);
  CHECK_INT(
    AS_MARTA(
      "customers", "create", path, "whatsapp", "+39 333 1234567", "--display", "Anna", "--json"
    ),
    DONE
  );
  CHECK_TEXT(json(ran.out, "$.result"), "made");
  CHECK_TEXT(json(ran.out, "$.normalized_identifier"), "393331234567");
  CHECK_TEXT(json(ran.out, "$.display_identifier"), "Anna");
  CHECK_TEXT(json(ran.out, "$.error"), "(none)");
  snprintf(id, sizeof id, "%s\n", json(ran.out, "$.id"));
  CHECK_INT(
    AS_MARTA("customers", "create", path, "whatsapp", "393331234567", "--display", "Bea"), DONE
  );
  CHECK_TEXT(line_after(ran.out, "result      "), "existing");
  CHECK_TEXT(line_after(ran.out, "display     "), "Anna");
  CHECK_INT(AS_MARTA("customers", "create", path, "whatsapp", "+393331234567", "--id"), DONE);
  CHECK_TEXT(ran.out, id);
  CHECK_INT(FOR_MARTA("customers", "find", path, "whatsapp", "39-333-1234567", "--id"), DONE);
  CHECK_TEXT(ran.out, id);
  CHECK_INT(customers_in(path), 1);
}

TEST(what_cannot_be_a_customer_is_refused_by_name) {
  char longest[CUSTMEM_DISPLAY_MAX + 2];
  REQUIRE(make_inbox());
  memset(longest, 'x', sizeof longest - 1);
  longest[sizeof longest - 1] = '\0';
  check_refused(
    AS_MARTA("customers", "create", inbox.path, "sms", "12"), "CUSTMEM_BAD_IDENTIFIER"
  );
  check_refused(
    AS_MARTA("customers", "create", inbox.path, "sms", "447700900333", "--display", longest),
    "CUSTMEM_TOO_LONG"
  );
  check_refused(
    AS_MARTA("customers", "create", inbox.path, "sms", "447700900333", "--display", "a\x1b"),
    "CUSTMEM_BAD_TEXT"
  );
  check_refused(
    AS_MARTA("customers", "create", inbox.path, "sms", "447700900333", "--display", ""),
    "CUSTMEM_EMPTY"
  );
  check_refused(
    CUSTMEM(
      "customers", "create", inbox.path, "sms", "447700900333", "--instructor=", "--actor=u"
    ),
    "CUSTMEM_NO_INSTRUCTOR"
  );
  check_refused(
    FOR_MARTA("customers", "find", inbox.path, "sms", "447700900333"), "CUSTMEM_NO_CUSTOMER"
  );
  check_refused(FOR_MARTA("customers", "show", inbox.path, "nobody"), "CUSTMEM_NO_CUSTOMER");
  check_refused(
    FOR_MARTA("customers", "show", inbox.path, inbox.theirs), "CUSTMEM_NO_CUSTOMER"
  );
  check_refused(
    FOR_MARTA("customers", "conversations", inbox.path, inbox.theirs), "CUSTMEM_NO_CUSTOMER"
  );
  check_refused(
    AS_MARTA("customers", "set-display", inbox.path, inbox.theirs, "x"), "CUSTMEM_NO_CUSTOMER"
  );
  CHECK_INT(customers_in(inbox.path), 3);
}

/* Lines that make a customer, find one, and are refused for every reason there is. */
static const struct {
  const char *line, *result, *error, *says;
} LINES[] = {
  {"{\"channel\":\"sms\",\"identifier\":\"447700900501\",\"display\":\"Zo\xc3\xab\"}", "made",
   "(none)", "(none)"},
  {"{\"identifier\":\"+44 7700 900501\",\"channel\":\"sms\"}", "existing", "(none)", "(none)"},
  {"{\"channel\":\"email\",\"identifier\":\"a@b.example\",\"display\":null}", "made", "(none)",
   "(none)"},
  {"nonsense", "refused", "BAD_LINE", "it is not JSON"},
  {"{\"channel\":\"sms\",\"identifier\":\"4477", "refused", "BAD_LINE", "it is not JSON"},
  {"\xff", "refused", "BAD_LINE", "it is not JSON"},
  {"[]", "refused", "BAD_LINE", "it is not a JSON object"},
  {"[\"sms\"]", "refused", "BAD_LINE", "it is not a JSON object"},
  {"7", "refused", "BAD_LINE", "it is not a JSON object"},
  {"null", "refused", "BAD_LINE", "it is not a JSON object"},
  {"{}", "refused", "BAD_LINE", "the field \"channel\" is missing"},
  {"{\"channel\":\"sms\"}", "refused", "BAD_LINE", "the field \"identifier\" is missing"},
  {"{\"channel\":\"sms\",\"identifier\":null}", "refused", "BAD_LINE",
   "the field \"identifier\" is missing"},
  {"{\"channel\":\"sms\",\"identifier\":447700900502}", "refused", "BAD_LINE",
   "the field \"identifier\" is not a string"},
  {"{\"channel\":\"sms\",\"identifier\":\"447700900502\",\"dispaly\":\"x\"}", "refused",
   "BAD_LINE", "there is no field \"dispaly\""},
  {"{\"channel\":\"sms\",\"identifier\":\"447700900502\",\"channel\":\"sms\"}", "refused",
   "BAD_LINE", "the field \"channel\" stands twice"},
  {"{\"channel\":null,\"identifier\":\"447700900502\",\"channel\":\"sms\"}", "refused",
   "BAD_LINE", "the field \"channel\" stands twice"},
  {"{\"channel\\u0000x\":\"sms\",\"identifier\":\"447700900502\"}", "refused", "BAD_LINE",
   "the name of a field holds a NUL"},
  {"{\"channel\":\"sms\",\"identifier\":\"447700900502\\u0000\"}", "refused", "BAD_LINE",
   "the field \"identifier\" holds a NUL"},
  {"{\"channel\":\"sms\",\"identifier\":\"12\"}", "refused", "CUSTMEM_BAD_IDENTIFIER",
   "at least 7 digits"},
  {"{\"channel\":\"fax\",\"identifier\":\"447700900502\"}", "refused", "CUSTMEM_BAD_CHANNEL",
   "there is no channel \"fax\""},
  {"{\"channel\":\"smss\",\"identifier\":\"447700900502\"}", "refused", "CUSTMEM_BAD_CHANNEL",
   "did you mean \"sms\"?"},
  {"{\"channel\":\"sms\",\"identifier\":\"447700900502\",\"display\":\"\\u001b\"}", "refused",
   "CUSTMEM_BAD_TEXT", "control character"},
  {"{\"channel\":\"sms\",\"identifier\":\"447700900502\",\"display\":\"\\ud800\"}", "refused",
   "CUSTMEM_BAD_TEXT", "not UTF-8"},
  {"{\"channel\":\"sms\",\"identifier\":\"447700900502\",\"display\":\"\"}", "refused",
   "CUSTMEM_EMPTY", "empty"},
  {"{\"channel\":\"sms\",\"identifier\":\"447700900503\"}", "made", "(none)", "(none)"},
};

static void type_lines(char *text, size_t size) {
  size_t i, used = 0;
  for (i = 0; i < COUNT_OF(LINES); i++)
    used += (size_t)snprintf(text + used, size - used, "%s\n", LINES[i].line);
  CHECK(used < size);
  type_in(text);
}

TEST(each_line_is_done_and_reported_or_refused_and_reported) {
  const char *path = fresh("lines.db");
  char text[4096], summary[64];
  size_t i, refusals = 0;
  CHECK_INT(CUSTMEM("init", path), DONE);
  type_lines(text, sizeof text);
  CHECK_INT(AS_MARTA("customers", "create", path, "--json"), REFUSED);
  CHECK(is_harmless(ran.out, ran.out_size));
  CHECK_INT(lines_of(ran.out), COUNT_OF(LINES));
  for (i = 0; i < COUNT_OF(LINES); i++) {
    const char *line = line_at(ran.out, (int)i);
    int is_refused = strcmp(LINES[i].result, "refused") == 0;
    CHECK_INT(atoi(json(line, "$.line")), i + 1);
    CHECK_TEXT(json(line, "$.result"), LINES[i].result);
    CHECK_TEXT(json(line, "$.error"), LINES[i].error);
    CHECK_HAS(json(line, "$.message"), LINES[i].says);
    CHECK_INT(strcmp(json(line, "$.id"), "(none)") == 0, is_refused);
    refusals += (size_t)is_refused;
  }
  snprintf(
    summary, sizeof summary, "custmem: %d of %d lines were refused\n", (int)refusals,
    (int)COUNT_OF(LINES)
  );
  CHECK_TEXT(ran.err, summary);
  CHECK_TEXT(json(line_at(ran.out, 0), "$.id"), json(line_at(ran.out, 1), "$.id"));
  CHECK_INT(customers_in(path), 3);
  CHECK_INT(FOR_MARTA("customers", "find", path, "sms", "447700900503"), DONE);
  CHECK_INT(CUSTMEM("check", path), DONE);
}

TEST(lines_are_reported_to_people_in_a_table) {
  const char *path = fresh("table.db");
  char text[4096];
  CHECK_INT(CUSTMEM("init", path), DONE);
  type_lines(text, sizeof text);
  CHECK_INT(AS_MARTA("customers", "create", path), REFUSED);
  CHECK(is_harmless(ran.out, ran.out_size));
  CHECK_INT(lines_of(ran.out), COUNT_OF(LINES) + 2);
  CHECK_INT(strncmp(ran.out, "line    result    customer  ", 28), 0);
  CHECK_INT(strncmp(line_at(ran.out, 2), "1       made      ", 18), 0);
  CHECK_INT(strncmp(line_at(ran.out, 3), "2       existing  ", 18), 0);
  CHECK_INT(strncmp(line_at(ran.out, 5), "4       refused   ", 18), 0);
  CHECK_HAS(line_at(ran.out, 5), "  it is not JSON");
  CHECK(strstr(ran.out, " \n") == NULL);
}

TEST(a_store_that_fails_ends_the_stream_at_that_line) {
  const char *path = fresh("locked.db");
  sqlite3 *db;
  CHECK_INT(CUSTMEM("init", path), DONE);
  db = test_plain(path);
  CHECK_INT(test_sql(db, "BEGIN IMMEDIATE"), SQLITE_OK);
  type_in("{\"channel\":\"sms\",\"identifier\":\"447700900501\"}\n"
          "{\"channel\":\"sms\",\"identifier\":\"447700900502\"}\n");
  CHECK_INT(AS_MARTA("customers", "create", path, "--json"), REFUSED);
  CHECK_INT(test_sql(db, "ROLLBACK"), SQLITE_OK);
  sqlite3_close(db);
  CHECK_INT(lines_of(ran.out), 1);
  CHECK_TEXT(json(ran.out, "$.error"), "CUSTMEM_BUSY");
  CHECK_INT(customers_in(path), 0);
}

TEST(customers_are_listed_page_after_page_and_each_once) {
  const char *path = fresh("many.db");
  sqlite3 *db;
  int i;
  {
    custmem *store = test_store(path);
    REQUIRE(store != NULL);
    for (i = 0; i < MANY; i++) {
      char phone[32];
      snprintf(phone, sizeof phone, "4477009%05d", i);
      test_customer(store, "marta", phone);
    }
    test_customer(store, "jonas", "447700900999");
    CHECK_INT(custmem_close(store), CUSTMEM_OK);
  }
  CHECK_INT(FOR_MARTA("customers", "list", path, "--json"), DONE);
  CHECK_INT(lines_of(ran.out), MANY);
  db = test_plain(path);
  for (i = 0; i < MANY; i += 37) {
    char sql[160], key[64];
    snprintf(key, sizeof key, "4477009%05d", i);
    snprintf(
      sql, sizeof sql, "SELECT id FROM customers WHERE normalized_identifier = '%s'", key
    );
    CHECK_TEXT(json(line_at(ran.out, i), "$.normalized_identifier"), key);
    CHECK_TEXT(json(line_at(ran.out, i), "$.id"), test_sql_text(db, sql));
  }
  sqlite3_close(db);
  CHECK_INT(FOR_MARTA("customers", "list", path), DONE);
  CHECK_INT(lines_of(ran.out), MANY + 2);
  CHECK(strstr(ran.out, "447700900999") == NULL);
  CHECK_INT(CUSTMEM("customers", "list", path, "--instructor", "nobody", "--json"), DONE);
  CHECK_TEXT(ran.out, "");
}

TEST(what_people_call_a_customer_is_set_and_removed) {
  REQUIRE(make_inbox());
  CHECK_INT(
    AS_MARTA("customers", "set-display", inbox.path, inbox.anna, "Anna B.", "--json"), DONE
  );
  CHECK_TEXT(json(ran.out, "$.display_identifier"), "Anna B.");
  CHECK_INT(FOR_MARTA("customers", "show", inbox.path, inbox.anna), DONE);
  CHECK_TEXT(line_after(ran.out, "display     "), "Anna B.");
  CHECK_TEXT(line_after(ran.out, "key         "), "447700900111");
  CHECK_INT(AS_MARTA("customers", "set-display", inbox.path, inbox.anna, "--remove"), DONE);
  CHECK_INT(FOR_MARTA("customers", "show", inbox.path, inbox.anna, "--json"), DONE);
  CHECK_TEXT(json(ran.out, "$.display_identifier"), "(none)");
  CHECK_TEXT(json(ran.out, "$.id"), inbox.anna);
}

TEST(the_conversations_of_a_customer_are_all_listed) {
  custmem_actor actor = marta();
  custmem *store;
  int i;
  REQUIRE(make_inbox());
  store = test_store(inbox.path);
  for (i = 0; i < MANY; i++) {
    char id[16];
    snprintf(id, sizeof id, "c%03d", i);
    CHECK_INT(
      custmem_link(store, &actor, id, inbox.anna, "She said so", -1, NULL, 0, NULL), CUSTMEM_OK
    );
  }
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  CHECK_INT(FOR_MARTA("customers", "conversations", inbox.path, inbox.anna, "--json"), DONE);
  CHECK_INT(lines_of(ran.out), MANY);
  CHECK_TEXT(json(line_at(ran.out, 149), "$.conversation_id"), "c149");
  CHECK_TEXT(json(line_at(ran.out, 149), "$.audit_seq"), "150");
  CHECK_TEXT(json(line_at(ran.out, 149), "$.customer_id"), inbox.anna);
  CHECK_INT(FOR_MARTA("customers", "conversations", inbox.path, inbox.ben, "--json"), DONE);
  CHECK_TEXT(ran.out, "");
}

/* ---- Resolution ---------------------------------------------------------------------------- */

TEST(resolve_says_who_is_writing_and_writes_nothing) {
  uint64_t bytes;
  REQUIRE(make_inbox());
  CHECK_INT(AS_MARTA("link", inbox.path, "c1", inbox.anna, "--reason", "She said so"), DONE);
  bytes = test_rows(inbox.path);
  CHECK_INT(FOR_MARTA("resolve", inbox.path, "c1"), DONE);
  CHECK_TEXT(line_after(ran.out, "badge         "), "Known customer");
  CHECK_TEXT(line_after(ran.out, "customer      "), inbox.anna);
  CHECK_INT(FOR_MARTA("resolve", inbox.path, "c2", "whatsapp", "+447700900222"), DONE);
  CHECK_TEXT(line_after(ran.out, "badge         "), "New customer");
  CHECK_TEXT(line_after(ran.out, "why           "), "one_match");
  CHECK_INT(FOR_MARTA("resolve", inbox.path, "c3", "whatsapp", "12", "--json"), DONE);
  CHECK_TEXT(json(ran.out, "$.outcome"), "unlinked");
  CHECK_TEXT(json(ran.out, "$.why"), "refused");
  CHECK_TEXT(json(ran.out, "$.refusal"), "too_few_digits");
  CHECK_TEXT(json(ran.out, "$.event_name"), "conversation.customer_unresolved");
  CHECK_INT(CUSTMEM("resolve", inbox.path, "c1", "--instructor", "jonas", "--json"), DONE);
  CHECK_TEXT(json(ran.out, "$.why"), "other_instructor");
  CHECK_TEXT(json(ran.out, "$.customer_id"), "(none)");
  check_refused(FOR_MARTA("resolve", inbox.path, ""), "CUSTMEM_EMPTY");
  CHECK(test_rows(inbox.path) == bytes);
}

TEST(resolve_answers_each_line_of_a_stream) {
  REQUIRE(make_inbox());
  type_in(
    "{\"conversation_id\":\"c1\",\"channel\":\"sms\",\"identifier\":\"447700900111\"}\n"
    "{\"conversation_id\":\"c2\",\"channel\":\"whatsapp\",\"identifier\":\"447700900111\"}\n"
    "{\"conversation_id\":\"c3\"}\n"
    "{\"conversation_id\":\"\"}\n"
    "{\"channel\":\"sms\"}\n"
  );
  CHECK_INT(FOR_MARTA("resolve", inbox.path, "--json"), REFUSED);
  CHECK_INT(lines_of(ran.out), 5);
  CHECK_TEXT(json(line_at(ran.out, 0), "$.why"), "no_match");
  CHECK_TEXT(json(line_at(ran.out, 1), "$.badge"), "New customer");
  CHECK_TEXT(json(line_at(ran.out, 1), "$.customer_id"), inbox.anna);
  CHECK_TEXT(json(line_at(ran.out, 2), "$.why"), "no_identifier");
  CHECK_TEXT(json(line_at(ran.out, 3), "$.error"), "CUSTMEM_EMPTY");
  CHECK_TEXT(
    json(line_at(ran.out, 4), "$.message"), "the field \"conversation_id\" is missing"
  );
  CHECK_TEXT(ran.err, "custmem: 2 of 5 lines were refused\n");
}

/* The answer to each webhook's message is what the library gives, row for row. */
TEST(resolve_answers_each_message_of_the_webhooks) {
  size_t size;
  char *stream;
  int i, lines;
  REQUIRE(make_inbox());
  CHECK_INT(
    AS_MARTA(
      "customers", "create", inbox.path, "whatsapp/108840215570321", "GB.4821907736650912",
      "--id"
    ),
    DONE
  );
  stream = read_all(ran.stream, &size);
  type_in(stream);
  CHECK_INT(FOR_MARTA("resolve", inbox.path, "--json", "--number", NUMBER), REFUSED);
  lines = lines_of(ran.out);
  CHECK_INT(lines, 24);
  for (i = 0; i < lines; i++) {
    const char *id = json(line_at(ran.out, i), "$.conversation_id");
    int is_scoped = strcmp(id, NUMBER "=108840215570321/GB.4821907736650912") == 0;
    if (strcmp(json(line_at(ran.out, i), "$.error"), "BAD_LINE") == 0) continue;
    CHECK_INT(strncmp(id, NUMBER, strlen(NUMBER)), 0);
    CHECK_TEXT(json(line_at(ran.out, i), "$.outcome"), is_scoped ? "candidate" : "unlinked");
    if (id[strlen(NUMBER)] == '/')
      CHECK_TEXT(json(line_at(ran.out, i), "$.why"), "no_identifier");
  }
  CHECK_TEXT(ran.err, "custmem: 3 of 36 lines were refused\n");
  type_in(stream);
  CHECK_INT(FOR_MARTA("resolve", inbox.path, "--json"), REFUSED);
  CHECK_INT(lines_of(ran.out), 34);
  free(stream);
}

TEST(the_inbox_shows_each_conversation_once_with_its_badge) {
  static const char *const BADGES[] = {"New customer", "Unlinked", "Unlinked",      "Unlinked",
                                       "Unlinked",     "Unlinked", "Known customer"};
  uint64_t rows;
  char id[64];
  int i;
  REQUIRE(make_inbox());
  CHECK_INT(
    AS_MARTA("customers", "create", inbox.path, "whatsapp", "12025550117", "--display", "Tom"),
    DONE
  );
  snprintf(id, sizeof id, NUMBER ":447700900123");
  CHECK_INT(AS_MARTA("link", inbox.path, id, inbox.anna, "--reason", "She said so"), DONE);
  rows = test_rows(inbox.path);
  CHECK_INT(
    FOR_MARTA("inbox", inbox.path, ran.stream, "--number", NUMBER, "--json", "--badges"), DONE
  );
  CHECK_INT(lines_of(ran.out), COUNT_OF(BADGES));
  for (i = 0; i < (int)COUNT_OF(BADGES); i++)
    CHECK_TEXT(json(line_at(ran.out, i), "$.badge"), BADGES[i]);
  CHECK_TEXT(json(line_at(ran.out, 0), "$.customer"), "Tom");
  CHECK_TEXT(json(line_at(ran.out, 0), "$.messages"), "5");
  CHECK_TEXT(json(line_at(ran.out, 0), "$.last_text"), "Bringing two friends, ok?");
  CHECK_TEXT(json(line_at(ran.out, 4), "$.channel"), "(none)");
  CHECK_TEXT(json(line_at(ran.out, 5), "$.channel"), "whatsapp/108840215570321");
  CHECK_TEXT(json(line_at(ran.out, 6), "$.customer_id"), inbox.anna);
  CHECK_TEXT(json(line_at(ran.out, 6), "$.conversation_id"), id);
  CHECK_INT(FOR_MARTA("inbox", inbox.path, ran.stream, "--number", NUMBER, "--badges"), DONE);
  CHECK_HAS(ran.out, "Known customer  This customer is already known to you  447700900111");
  CHECK_HAS(ran.out, "2026-06-14T08:26:07+00:00");
  CHECK(test_rows(inbox.path) == rows);
}

TEST(without_the_flag_the_inbox_says_nothing_of_customers) {
  static const char *const WORDS[] = {"customer", "Customer", "badge", "Unlinked"};
  size_t i, size;
  char *stream;
  REQUIRE(make_inbox());
  stream = read_all(ran.stream, &size);
  type_in(stream);
  CHECK_INT(FOR_MARTA("inbox", inbox.path, "-", "--number", NUMBER), DONE);
  free(stream);
  CHECK_INT(lines_of(ran.out), 9);
  CHECK_HAS(
    ran.out, "Amelia Stone  Can my brother come a...  2026-06-14T08:26:07+00:00  " NUMBER
             ":447700900123\n"
  );
  for (i = 0; i < COUNT_OF(WORDS); i++)
    CHECK(strstr(ran.out, WORDS[i]) == NULL);
}

TEST(an_inbox_that_cannot_be_read_is_status_3) {
  REQUIRE(make_inbox());
  CHECK_INT(FOR_MARTA("inbox", inbox.path, scratch("none"), "--number", NUMBER), INPUT_OUTPUT);
  CHECK_TEXT(ran.out, "");
  CHECK_HAS(ran.err, "none: No such file or directory\n");
  CHECK_INT(FOR_MARTA("inbox", inbox.path, scratch("."), "--number", NUMBER), INPUT_OUTPUT);
  CHECK_HAS(ran.err, ": Is a directory\n");
}

#define TOO_LONG(digit)                                                                        \
  "{\"from_user_id\":\"GB.0123456789012345678901234567890123456789012345678" digit             \
  "\",\"id\":\"m" digit "\",\"type\":\"text\",\"text\":{\"body\":\"Hi\"}}"

/* One payload, with two conversations whose ids custmem cannot take, and one as any other. */
static const char TOO_LONG_IDS[] =
  "{\"object\":\"whatsapp_business_account\",\"entry\":[{\"id\":\"1\",\"changes\":[{"
  "\"field\":\"messages\",\"value\":{\"metadata\":{\"phone_number_id\":\"" NUMBER "\"},"
  "\"messages\":[" TOO_LONG("1") "," TOO_LONG("2"
  ) ",{\"from\":\"447700900111\",\"id\":"
    "\"n\",\"type\":\"text\",\"text\":{\"body\":\"Ho\"}}]}}]}]}\n";

TEST(a_conversation_with_too_long_an_id_is_unlinked_and_told) {
  REQUIRE(make_inbox());
  type_in(TOO_LONG_IDS);
  CHECK_INT(FOR_MARTA("inbox", inbox.path, "-", "--number", NUMBER, "--json"), REFUSED);
  CHECK_HAS(ran.err, "custmem: CUSTMEM_TOO_LONG: ");
  CHECK_INT(lines_of(ran.out), 3);
  CHECK_TEXT(json(line_at(ran.out, 0), "$.badge"), "New customer");
  CHECK_TEXT(json(line_at(ran.out, 1), "$.badge"), "Unlinked");
  type_in(TOO_LONG_IDS);
  CHECK_INT(FOR_MARTA("resolve", inbox.path, "--json"), REFUSED);
  CHECK_INT(lines_of(ran.out), 3);
  CHECK_TEXT(json(line_at(ran.out, 0), "$.error"), "CUSTMEM_TOO_LONG");
  CHECK_TEXT(json(line_at(ran.out, 2), "$.badge"), "New customer");
  CHECK_TEXT(ran.err, "custmem: 1 of 1 lines were refused\n");
}

#define SAID_BY(field, sender, id)                                                             \
  "{\"" field "\":\"" sender "\",\"id\":\"" id                                                 \
  "\",\"type\":\"text\",\"text\":{\"body\":\"Hi\"}}"

/* Senders of whom each has a conversation of its own, however alike they look: a mark in a number, the same
** spelled out, and an account's user whose id is a number. */
static const char ALIKE[] =
  "{\"object\":\"whatsapp_business_account\",\"entry\":[{\"id\":\"1\",\"changes\":[{"
  "\"field\":\"messages\",\"value\":{\"metadata\":{\"phone_number_id\":\"" NUMBER "\"},"
  "\"messages\":[" SAID_BY("from", "4477\\u200b00900111", "a") "," SAID_BY(
    "from",
    "4477\\\\u200b00900111",
    "b"
  ) "," SAID_BY("from", "447700900111", "c") "," SAID_BY("from_user_id", "447700900111", "d") "]}}]}]}\n";

TEST(no_two_senders_have_one_conversation) {
  static const char *const IDS[] = {
    NUMBER ":4477\\u200b00900111", NUMBER ":4477\\x5cu200b00900111", NUMBER ":447700900111",
    NUMBER "=1/447700900111"};
  static const char *const BADGES[] = {
    "Known customer", "Unlinked", "New customer", "Unlinked"};
  size_t i;
  REQUIRE(make_inbox());
  CHECK_INT(AS_MARTA("link", inbox.path, IDS[0], inbox.anna, "--reason", "It is"), DONE);
  type_in(ALIKE);
  CHECK_INT(FOR_MARTA("resolve", inbox.path, "--json"), DONE);
  CHECK_INT(lines_of(ran.out), COUNT_OF(IDS));
  for (i = 0; i < COUNT_OF(IDS); i++) {
    CHECK_TEXT(json(line_at(ran.out, (int)i), "$.conversation_id"), IDS[i]);
    CHECK_TEXT(json(line_at(ran.out, (int)i), "$.badge"), BADGES[i]);
  }
  type_in(ALIKE);
  CHECK_INT(
    FOR_MARTA("inbox", inbox.path, "-", "--number", NUMBER, "--json", "--badges"), DONE
  );
  CHECK_INT(lines_of(ran.out), COUNT_OF(IDS));
}

/* What a sender can do to the time and the memory of who reads it: many changes in one entry, which took the
** square of their number; and one long name for many messages, which took their product. */
TEST(a_hostile_line_takes_what_its_size_takes) {
  static char line[1 << 20];
  size_t used = 0;
  int i;
  REQUIRE(make_inbox());
  used += (size_t)sprintf(
    line, "{\"object\":\"whatsapp_business_account\",\"entry\":[{\"id\":\"1\",\"changes\":[{}"
  );
  for (i = 0; i < 40000; i++)
    used += (size_t)sprintf(line + used, ",{}");
  sprintf(line + used, "]}]}\n");
  type_in(line);
  CHECK_INT(FOR_MARTA("resolve", inbox.path, "--json"), DONE);
  CHECK_TEXT(ran.out, "");
  used = (size_t)sprintf(
    line,
    "{\"object\":\"whatsapp_business_account\",\"entry\":[{\"id\":\"1\",\"changes\":[{"
    "\"field\":"
    "\"messages\",\"value\":{\"metadata\":{\"phone_number_id\":\"" NUMBER "\"},\"contacts\":[{"
    "\"wa_id\":\"447700900111\",\"profile\":{\"name\":\"Nora"
  );
  memset(line + used, 'a', 400000);
  used += 400000;
  used += (size_t)sprintf(line + used, "\"}}],\"messages\":[");
  for (i = 0; i < 1000; i++)
    used += (size_t)sprintf(
      line + used,
      "%s{\"from\":\"447700900111\",\"id\":\"%d\",\"type\":\"text\",\"text\":{\"body\":\"Hi\"}"
      "}",
      i > 0 ? "," : "", i
    );
  sprintf(line + used, "]}}]}]}\n");
  type_in(line);
  CHECK_INT(FOR_MARTA("inbox", inbox.path, "-", "--number", NUMBER, "--json"), DONE);
  CHECK_INT(lines_of(ran.out), 1);
  CHECK_INT(strncmp(json(ran.out, "$.name"), "Noraaa", 6), 0);
  CHECK_INT(strlen(json(ran.out, "$.name")), 200 + strlen("…"));
  CHECK_TEXT(json(ran.out, "$.messages"), "1000");
}

TEST(a_message_is_shown_to_its_end_whatever_is_in_it) {
  REQUIRE(make_inbox());
  type_in("{\"object\":\"whatsapp_business_account\",\"entry\":[{\"id\":\"1\",\"changes\":[{"
          "\"field\":"
          "\"messages\",\"value\":{\"metadata\":{\"phone_number_id\":\"" NUMBER
          "\"},\"messages\":["
          "{\"from\":\"447700900111\",\"id\":\"m\",\"type\":\"text\",\"text\":{\"body\":"
          "\"be\\u0000fore\"}}"
          "]}}]}]}\n");
  CHECK_INT(FOR_MARTA("inbox", inbox.path, "-", "--number", NUMBER, "--json"), DONE);
  CHECK_TEXT(json(ran.out, "$.last_text"), "be\\x00fore");
}

/* ESC in a display identifier, which no call would take: the others keep their names. */
TEST(a_damaged_customer_does_not_take_the_others_names) {
  static const char id[] = NUMBER ":447700900123";
  sqlite3 *db;
  REQUIRE(make_inbox());
  CHECK_INT(
    AS_MARTA("customers", "create", inbox.path, "whatsapp", "12025550117", "--display", "Tom"),
    DONE
  );
  CHECK_INT(AS_MARTA("link", inbox.path, id, inbox.anna, "--reason", "So"), DONE);
  db = test_plain(inbox.path);
  CHECK_INT(
    test_sql(
      db,
      "UPDATE customers SET display_identifier = char(27) WHERE display_identifier IS NOT 'Tom'"
    ),
    SQLITE_OK
  );
  sqlite3_close(db);
  CHECK_INT(
    FOR_MARTA("inbox", inbox.path, ran.stream, "--number", NUMBER, "--json", "--badges"),
    REFUSED
  );
  CHECK_HAS(ran.err, "CUSTMEM_CORRUPT");
  CHECK_TEXT(json(line_at(ran.out, 0), "$.customer"), "Tom");
}

/* What the run could not print is said, whatever else it has to say. */
TEST(output_that_fails_behind_a_refusal_is_status_3) {
  static const char SCRIPT[] =
    "printf 'bad\\n{\"channel\":\"email\",\"identifier\":\"x@y.co\"}\\n' |"
    " \"$0\" customers create \"$1\" --instructor marta --actor u > /dev/full";
  const char *path = fresh("full.db");
  const char *const run[] = {"/bin/sh", "-c", SCRIPT, ran.shell, path, NULL};
  CHECK_INT(CUSTMEM("init", path), DONE);
  CHECK_INT(run_in("/", TO_FILE, run), INPUT_OUTPUT);
  CHECK_HAS(ran.err, "cannot write the output");
}

TEST(an_empty_file_is_no_store_yet) {
  const char *path = fresh("empty.db");
  REQUIRE(test_file_write(path, "", 0));
  check_refused(AS_MARTA("customers", "create", path, "email", "a@b.co"), "CUSTMEM_NO_PATH");
  CHECK_INT(test_file_size(path), 0);
  CHECK_INT(CUSTMEM("init", path), DONE);
  CHECK_TEXT(line_after(ran.out, "result   "), "made");
  CHECK_INT(CUSTMEM("init", path), DONE);
  CHECK_TEXT(line_after(ran.out, "result   "), "there already");
}

/* ---- Links --------------------------------------------------------------------------------- */

TEST(link_relink_and_unlink_each_make_one_event) {
  char head[128];
  REQUIRE(make_inbox());
  CHECK_INT(AS_MARTA("link", inbox.path, "c1", inbox.anna, "--reason", "She said so"), DONE);
  CHECK_TEXT(line_after(ran.out, "now           "), inbox.anna);
  CHECK_TEXT(line_after(ran.out, "event         "), "1");
  CHECK_TEXT(linked_to("c1"), inbox.anna);
  CHECK_INT(
    AS_MARTA(
      "relink", inbox.path, "c1", inbox.anna, inbox.ben, "--reason", "Wrong line", "--json",
      "--context", "on the phone"
    ),
    DONE
  );
  CHECK_TEXT(json(ran.out, "$.previous_customer_id"), inbox.anna);
  CHECK_TEXT(json(ran.out, "$.customer_id"), inbox.ben);
  CHECK_TEXT(json(ran.out, "$.seq"), "2");
  CHECK_TEXT(linked_to("c1"), inbox.ben);
  CHECK_INT(AS_MARTA("unlink", inbox.path, "c1", inbox.ben, "--reason", "Gone"), DONE);
  CHECK_TEXT(line_after(ran.out, "before        "), inbox.ben);
  CHECK_TEXT(line_after(ran.out, "now "), "");
  CHECK_TEXT(linked_to("c1"), "");
  snprintf(head, sizeof head, "%s\n", line_after(ran.out, "head          "));
  CHECK_INT(FOR_MARTA("audit", "head", inbox.path), DONE);
  CHECK_TEXT(ran.out, head);
  CHECK_INT(events_of("marta"), 3);
}

TEST(a_refused_write_says_why_and_leaves_everything_as_it_was) {
  const char *path, *anna = inbox.anna, *ben = inbox.ben;
  static char reason[CUSTMEM_REASON_MAX + 2], id[CUSTMEM_ID_MAX + 2];
  uint64_t rows;
  REQUIRE(make_inbox());
  path = inbox.path;
  memset(reason, 'x', sizeof reason - 1);
  memset(id, 'x', sizeof id - 1);
  CHECK_INT(AS_MARTA("link", path, "c1", anna, "--reason", "She said so"), DONE);
  rows = test_rows(path);
  check_refused(AS_MARTA("link", path, "c1", ben, "--reason", "r"), "CUSTMEM_ALREADY_LINKED");
  CHECK_HAS(ran.err, anna);
  check_refused(AS_MARTA("relink", path, "c1", ben, anna, "--reason", "r"), "CUSTMEM_CHANGED");
  CHECK_HAS(ran.err, anna);
  check_refused(AS_MARTA("unlink", path, "c1", ben, "--reason", "r"), "CUSTMEM_CHANGED");
  check_refused(
    AS_MARTA("relink", path, "c1", anna, anna, "--reason", "r"), "CUSTMEM_NO_CHANGE"
  );
  check_refused(AS_MARTA("unlink", path, "c2", anna, "--reason", "r"), "CUSTMEM_NOT_LINKED");
  check_refused(
    AS_MARTA("relink", path, "c2", anna, ben, "--reason", "r"), "CUSTMEM_NOT_LINKED"
  );
  check_refused(
    AS_MARTA("link", path, "c2", inbox.theirs, "--reason", "r"), "CUSTMEM_NO_CUSTOMER"
  );
  check_refused(AS_MARTA("link", path, "c2", "Anna", "--reason", "r"), "CUSTMEM_NO_CUSTOMER");
  check_refused(AS_MARTA("link", path, "c2", anna, "--reason", " \t"), "CUSTMEM_NO_REASON");
  check_refused(AS_MARTA("link", path, "c2", anna, "--reason="), "CUSTMEM_NO_REASON");
  check_refused(AS_MARTA("link", path, "c2", anna, "--reason", reason), "CUSTMEM_TOO_LONG");
  check_refused(AS_MARTA("link", path, id, anna, "--reason", "r"), "CUSTMEM_TOO_LONG");
  check_refused(AS_MARTA("link", path, "", anna, "--reason", "r"), "CUSTMEM_EMPTY");
  check_refused(AS_MARTA("link", path, "c\x01", anna, "--reason", "r"), "CUSTMEM_BAD_TEXT");
  check_refused(AS_MARTA("link", path, "c2", anna, "--reason", "\xff"), "CUSTMEM_BAD_TEXT");
  check_refused(
    CUSTMEM("link", path, "c1", inbox.theirs, "--reason=r", "--instructor=jonas", "--actor=j"),
    "CUSTMEM_OTHER_INSTRUCTOR"
  );
  check_refused(
    CUSTMEM("link", path, "c2", anna, "--reason=r", "--instructor=marta", "--actor="),
    "CUSTMEM_EMPTY"
  );
  check_refused(
    CUSTMEM("link", path, "c2", anna, "--reason=r", "--instructor=", "--actor=user-marta"),
    "CUSTMEM_NO_INSTRUCTOR"
  );
  CHECK(test_rows(path) == rows);
  CHECK_INT(events_of("marta"), 1);
}

TEST(a_store_that_another_program_holds_is_busy) {
  sqlite3 *db;
  REQUIRE(make_inbox());
  db = test_plain(inbox.path);
  CHECK_INT(test_sql(db, "BEGIN IMMEDIATE"), SQLITE_OK);
  check_refused(
    AS_MARTA("link", inbox.path, "c1", inbox.anna, "--reason", "She said so"), "CUSTMEM_BUSY"
  );
  CHECK_INT(FOR_MARTA("resolve", inbox.path, "c1"), DONE);
  CHECK_INT(test_sql(db, "ROLLBACK"), SQLITE_OK);
  sqlite3_close(db);
  CHECK_TEXT(linked_to("c1"), "");
}

TEST(who_acts_is_said_and_never_guessed_from_the_login) {
  REQUIRE(make_inbox());
  setenv("USER", "root", 1);
  setenv("LOGNAME", "root", 1);
  CHECK_INT(CUSTMEM("link", inbox.path, "c1", inbox.anna, "--reason", "r"), USAGE);
  CHECK_HAS(ran.err, "link: --instructor is missing");
  setenv("CUSTMEM_INSTRUCTOR", "marta", 1);
  CHECK_INT(CUSTMEM("link", inbox.path, "c1", inbox.anna, "--reason", "r"), USAGE);
  CHECK_HAS(ran.err, "link: --actor is missing");
  setenv("CUSTMEM_ACTOR", "", 1);
  CHECK_INT(CUSTMEM("link", inbox.path, "c1", inbox.anna, "--reason", "r"), USAGE);
  CHECK_INT(events_of("marta"), 0);
  setenv("CUSTMEM_ACTOR", "user-env", 1);
  CHECK_INT(CUSTMEM("link", inbox.path, "c1", inbox.anna, "--reason", "r"), DONE);
  CHECK_INT(
    CUSTMEM("link", inbox.path, "c2", inbox.anna, "--reason", "r", "--actor", "user-said"), DONE
  );
  CHECK_INT(CUSTMEM("audit", "export", inbox.path), DONE);
  CHECK_TEXT(json(line_at(ran.out, 1), "$.actor_id"), "user-env");
  CHECK_TEXT(json(line_at(ran.out, 2), "$.actor_id"), "user-said");
  CHECK_INT(CUSTMEM("audit", "head", inbox.path, "--instructor", "jonas", "--json"), DONE);
  CHECK_TEXT(json(ran.out, "$.count"), "0");
  CHECK_TEXT(json(ran.out, "$.instructor_id"), "jonas");
  unsetenv("CUSTMEM_INSTRUCTOR");
  unsetenv("CUSTMEM_ACTOR");
}

/* ---- History and audit --------------------------------------------------------------------- */

TEST(history_tells_who_linked_a_conversation_when_and_why) {
  custmem_actor actor = marta();
  custmem *store;
  int i;
  REQUIRE(make_inbox());
  CHECK_INT(AS_MARTA("customers", "set-display", inbox.path, inbox.anna, "Anna"), DONE);
  store = test_store(inbox.path);
  for (i = 0; i < MANY; i++)
    CHECK_INT(
      i % 2 == 0
        ? custmem_link(store, &actor, "c1", inbox.anna, "said\nso", -1, "x", -1, NULL)
        : custmem_unlink(store, &actor, "c1", inbox.anna, "took it back", -1, NULL, 0, NULL),
      CUSTMEM_OK
    );
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  CHECK_INT(FOR_MARTA("history", inbox.path, "c1"), DONE);
  CHECK_INT(lines_of(ran.out), MANY + 2);
  CHECK_HAS(line_at(ran.out, 2), "  linked    -     Anna  user-marta  said\\nso");
  CHECK_HAS(line_at(ran.out, 151), "  unlinked  Anna  -     user-marta  took it back");
  CHECK_INT(FOR_MARTA("history", inbox.path, "c1", "--json"), DONE);
  CHECK_INT(lines_of(ran.out), MANY);
  CHECK_TEXT(json(line_at(ran.out, 149), "$.seq"), "150");
  CHECK_TEXT(json(line_at(ran.out, 148), "$.reason"), "said\nso");
  CHECK_TEXT(json(line_at(ran.out, 148), "$.context"), "x");
  CHECK_TEXT(json(line_at(ran.out, 149), "$.new_customer_id"), "(none)");
  CHECK_INT(FOR_MARTA("history", inbox.path, "c2", "--json"), DONE);
  CHECK_TEXT(ran.out, "");
  CHECK_INT(CUSTMEM("history", inbox.path, "c1", "--instructor=jonas", "--json"), DONE);
  CHECK_TEXT(ran.out, "");
}

TEST(a_head_that_was_noted_is_an_anchor_for_ever) {
  custmem_head head;
  char count[32];
  REQUIRE(make_inbox());
  CHECK_INT(AS_MARTA("link", inbox.path, "c1", inbox.anna, "--reason", "r"), DONE);
  CHECK_INT(FOR_MARTA("audit", "head", inbox.path, "--json"), DONE);
  head.count = atoi(json(ran.out, "$.count"));
  snprintf(head.hash, sizeof head.hash, "%s", json(ran.out, "$.head"));
  snprintf(count, sizeof count, "%d", (int)head.count);
  CHECK_INT(AS_MARTA("unlink", inbox.path, "c1", inbox.anna, "--reason", "r"), DONE);
  CHECK_INT(FOR_MARTA("audit", "verify", inbox.path, count, head.hash, "--json"), DONE);
  CHECK_TEXT(json(ran.out, "$.events"), "2");
  CHECK_TEXT(json(ran.out, "$.count"), "2");
  check_refused(FOR_MARTA("audit", "verify", inbox.path, "2", head.hash), "CUSTMEM_ANCHOR");
}

/* ---- The help's promises ------------------------------------------------------------------- */

/* The list under a heading of the help, each line's first word: "a,b,c". */
static void listed(const char *help, const char *heading, char *names, size_t size) {
  const char *at = strstr(help, heading);
  size_t used = 0;
  names[0] = '\0';
  at = at != NULL ? strchr(at, '\n') : NULL;
  while (at != NULL && strncmp(at, "\n  ", 3) == 0) {
    int word = (int)strcspn(at + 3, " \n");
    used +=
      (size_t)snprintf(names + used, size - used, "%s%.*s", used > 0 ? "," : "", word, at + 3);
    at = strchr(at + 1, '\n');
  }
}

/* Of the inbox that is there, from the first command to the last. */
static void check_fields_of_every_command(void) {
  char anna[CUSTMEM_UUID_SIZE + 1], lines[] = "{\"conversation_id\":\"c1\"}\n";
  const char *copy = fresh("fields.db");
  const char *const commands[][10] = {
    {"init", inbox.path, "--json"},
    {"normalize", "sms", "447700900111", "--json"},
    {"customers", "create", inbox.path, "sms", "447700900777", "--json"},
    {"customers", "list", inbox.path, "--json"},
    {"customers", "find", inbox.path, "whatsapp", "447700900111", "--json"},
    {"customers", "show", inbox.path, anna, "--json"},
    {"customers", "set-display", inbox.path, anna, "Anna", "--json"},
    {"link", inbox.path, "c1", anna, "--reason", "r", "--json"},
    {"customers", "conversations", inbox.path, anna, "--json"},
    {"resolve", inbox.path, "c1", "--json"},
    {"resolve", inbox.path, "--json"},
    {"relink", inbox.path, "c1", anna, inbox.ben, "--reason", "r", "--json"},
    {"unlink", inbox.path, "c1", inbox.ben, "--reason", "r", "--json"},
    {"inbox", inbox.path, ran.stream, "--number", NUMBER, "--json"},
    {"history", inbox.path, "c1", "--json"},
    {"audit", "head", inbox.path, "--json"},
    {"audit", "verify", inbox.path, "--json"},
    {"check", inbox.path, "--json"},
    {"backup", inbox.path, copy, "--json"},
  };
  size_t i;
  memcpy(anna, inbox.anna, sizeof anna);
  setenv("CUSTMEM_INSTRUCTOR", "marta", 1);
  setenv("CUSTMEM_ACTOR", "user-marta", 1);
  for (i = 0; i < COUNT_OF(commands); i++) {
    const char *const *words = commands[i];
    int is_group = strcmp(words[0], "customers") == 0 || strcmp(words[0], "audit") == 0;
    const char *const help[] = {"help", words[0], is_group ? words[1] : NULL, NULL};
    char names[1024], given[1024];
    type_in(lines);
    CHECK_INT(run_words(TO_FILE, words), DONE);
    snprintf(given, sizeof given, "%s", json_names(line_at(ran.out, 0)));
    CHECK_INT(run_words(TO_FILE, help), DONE);
    listed(ran.out, "fields of the JSON", names, sizeof names);
    CHECK_TEXT(given, names);
    CHECK(strchr(names, ',') != NULL);
  }
  unsetenv("CUSTMEM_INSTRUCTOR");
  unsetenv("CUSTMEM_ACTOR");
}

TEST(the_fields_of_the_json_are_those_that_the_help_lists) {
  REQUIRE(make_inbox());
  check_fields_of_every_command();
}

static void paste_example(const char *name, const char *help, void *directory) {
  const char *at = strstr(help, "\nexample:\n");
  const char *const paste[] = {"/bin/sh", "-ec", at != NULL ? at + 10 : "false", NULL};
  (void)name;
  CHECK_INT(run_in(directory, TO_FILE, paste), DONE);
  CHECK_TEXT(ran.err, "");
}

/* Pasted one after the other, as the help gives them, in the order of its list. */
TEST(every_example_of_the_help_works_when_it_is_pasted) {
  char directory[PATH_MAX], setup[4 * PATH_MAX + 64];
  const char *const prepare[] = {"/bin/sh", "-c", setup, NULL};
  snprintf(directory, sizeof directory, "%s", scratch("examples"));
  snprintf(
    setup, sizeof setup, "rm -rf '%s' && mkdir -p '%s/test/data' && cp '%s' '%s/test/data'",
    directory, directory, ran.stream, directory
  );
  CHECK_INT(run_in("/", TO_FILE, prepare), DONE);
  CHECK_INT(each_command(paste_example, directory), 24);
  snprintf(directory, sizeof directory, "%s/examples/inbox.db", scratch("."));
  CHECK_INT(CUSTMEM("check", directory, "--json"), DONE);
  CHECK_TEXT(
    ran.out, "{\"instructors\":1,\"customers\":2,\"links\":1,\"events\":3,\"fault\":0,"
             "\"detail\":null,\"instructor_id\":null,\"seq\":0,\"subject\":null}\n"
  );
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  if (!program_init()) return 1;
  RUN(init_makes_a_store_and_leaves_one_that_is_there, "D-8");
  RUN(only_init_makes_a_store, "D-8");
  RUN(check_prints_what_there_is_for_people_and_programs, "");
  RUN(a_backup_is_the_whole_store_and_replaces_nothing, "D-8");
  RUN(what_cannot_be_written_is_status_3_and_leaves_the_store_sound, "CM-2.3 §7");
  RUN(normalize_prints_the_key_alone_or_says_why_there_is_none, "CM-1 §2.3; T2");
  RUN(every_channel_that_is_named_is_one, "CM-1 §2.3");
  RUN(normalize_reports_each_line_that_it_reads, "T2");
  RUN(a_customer_is_made_once_however_the_number_is_spelled, "CM-1 §6");
  RUN(what_cannot_be_a_customer_is_refused_by_name, "CM-1 §4.1, §4.2");
  RUN(each_line_is_done_and_reported_or_refused_and_reported, "CM-1 §4.2");
  RUN(lines_are_reported_to_people_in_a_table, "");
  RUN(a_store_that_fails_ends_the_stream_at_that_line, "");
  RUN(customers_are_listed_page_after_page_and_each_once, "CM-1 §5.2");
  RUN(what_people_call_a_customer_is_set_and_removed, "CM-1 §2.4");
  RUN(the_conversations_of_a_customer_are_all_listed, "CM-1 §5.2");
  RUN(resolve_says_who_is_writing_and_writes_nothing, "CM-2.1 §3; T3");
  RUN(resolve_answers_each_line_of_a_stream, "CM-2.1 §3; T3");
  RUN(resolve_answers_each_message_of_the_webhooks, "CM-2.1 §3, §4; T3");
  RUN(the_inbox_shows_each_conversation_once_with_its_badge, "CM-2.4; T6; Phase 1 §8");
  RUN(without_the_flag_the_inbox_says_nothing_of_customers, "T6; Phase 1 §6");
  RUN(an_inbox_that_cannot_be_read_is_status_3, "");
  RUN(a_conversation_with_too_long_an_id_is_unlinked_and_told, "CM-2.1 §5");
  RUN(no_two_senders_have_one_conversation, "CM-1 §4.3; CM-2.1 §5; T3");
  RUN(a_hostile_line_takes_what_its_size_takes, "D-8");
  RUN(a_message_is_shown_to_its_end_whatever_is_in_it, "T6; D-6");
  RUN(a_damaged_customer_does_not_take_the_others_names, "CM-2.1 §5; T6");
  RUN(output_that_fails_behind_a_refusal_is_status_3, "D-8");
  RUN(an_empty_file_is_no_store_yet, "D-8");
  RUN(link_relink_and_unlink_each_make_one_event, "CM-2.3 §5, §6; T4");
  RUN(a_refused_write_says_why_and_leaves_everything_as_it_was, "CM-2.3 §4, §7; T4");
  RUN(a_store_that_another_program_holds_is_busy, "CM-2.3 §7");
  RUN(who_acts_is_said_and_never_guessed_from_the_login, "CM-2.3 §3.1");
  RUN(history_tells_who_linked_a_conversation_when_and_why, "CM-2.3 §6; CM-2.5");
  RUN(a_head_that_was_noted_is_an_anchor_for_ever, "CM-2.5; D-7");
  RUN(the_fields_of_the_json_are_those_that_the_help_lists, "");
  RUN(every_example_of_the_help_works_when_it_is_pasted, "");
  return test_report();
}
