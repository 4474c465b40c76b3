/* SPDX-License-Identifier: MIT
**
** The program `custmem` at a terminal: colours, tables that line up, local times, progress, no
** questions, and what an interrupt leaves. And what helps to type it: completion and manual page.
*/
#define _XOPEN_SOURCE 700

#include "program.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NUMBER "209951326681432"

/* ---- Stores -------------------------------------------------------------------------------- */

/* Names that are wide, combine, turn, or are put together of several. */
#define EMOJI "\xf0\x9f\x8f\x84\xf0\x9f\x8f\xbd\xe2\x80\x8d\xe2\x99\x80\xef\xb8\x8f"

static const char *const NAMES[] = {
  "Anna",
  "\xe7\x8e\x8b\xe5\xb0\x8f\xe6\x98\x8e", /* three wide characters */
  "Zoe\xcc\x88",                          /* a mark that combines */
  "\xd9\x86\xd9\x88\xd8\xb1",             /* right to left */
  EMOJI,                                  /* one, of five code points */
  "\xe3\x82\xa2\xe3\x83\xb3\xe3\x83\x8a Bauer",
};

/* The columns that a terminal gives to each of them. */
static const int WIDTHS[] = {4, 6, 3, 3, 2, 12};

static const char *make_named(const char *name) {
  const char *path = scratch(name);
  custmem_actor actor = test_human("marta");
  custmem *store;
  size_t i;
  unlink(path);
  store = test_store(path);
  for (i = 0; store != NULL && i < COUNT_OF(NAMES); i++) {
    char phone[32];
    snprintf(phone, sizeof phone, "44770090011%d", (int)i);
    CHECK_INT(
      custmem_customer_create(store, &actor, "sms", phone, -1, NAMES[i], -1, NULL, NULL),
      CUSTMEM_OK
    );
  }
  CHECK_INT(custmem_close(store), CUSTMEM_OK);
  return path;
}

/* ---- For people ---------------------------------------------------------------------------- */

/* Every name has conversations whose columns begin where those of the others do. */
TEST(columns_line_up_whatever_the_names_are_written_in) {
  const char *path = make_named("named.db");
  char stream[8192], line[256];
  size_t i, used = 0;
  for (i = 0; i < COUNT_OF(NAMES); i++)
    used += (size_t)snprintf(
      stream + used, sizeof stream - used,
      "{\"object\":\"whatsapp_business_account\",\"entry\":[{\"id\":\"1\",\"changes\":[{"
      "\"field\":\"messages\",\"value\":{\"metadata\":{\"phone_number_id\":\"" NUMBER "\"},"
      "\"contacts\":[{\"profile\":{\"name\":\"%s\"},\"wa_id\":\"44770090020%d\"}],"
      "\"messages\":[{\"from\":\"44770090020%d\",\"id\":\"m%d\",\"type\":\"text\",\"text\":{"
      "\"body\":\"Hi\"}}]}}]}]}\n",
      NAMES[i], (int)i, (int)i, (int)i
    );
  type_in(stream);
  CHECK_INT(FOR_MARTA("inbox", path, "-", "--number", NUMBER), DONE);
  CHECK_INT(lines_of(ran.out), COUNT_OF(NAMES) + 2);
  for (i = 0; i < COUNT_OF(NAMES); i++) {
    const char *mark = i == 3 ? "\xe2\x80\x8e" : ""; /* ends right-to-left text */
    snprintf(
      line, sizeof line, "%s%s%*sHi                  " NUMBER ":44770090020%d", NAMES[i], mark,
      14 - WIDTHS[i], "", (int)i
    );
    CHECK_TEXT(line_at(ran.out, (int)(COUNT_OF(NAMES) + 1 - i)), line);
  }
}

TEST(times_are_local_with_the_offset_of_their_zone) {
  const char *path = make_named("zoned.db");
  setenv("TZ", "XYZ-5:30", 1);
  CHECK_INT(FOR_MARTA("customers", "find", path, "sms", "447700900110"), DONE);
  CHECK_HAS(line_after(ran.out, "made at     "), "+05:30");
  CHECK_HAS(line_after(ran.out, "made at     "), "2025-06-15T20:3");
  setenv("TZ", "XYZ+3", 1);
  CHECK_INT(FOR_MARTA("customers", "find", path, "sms", "447700900110"), DONE);
  CHECK_HAS(line_after(ran.out, "made at     "), "2025-06-15T12:0");
  CHECK_HAS(line_after(ran.out, "made at     "), "-03:00");
  CHECK_INT(FOR_MARTA("customers", "find", path, "sms", "447700900110", "--json"), DONE);
  CHECK_INT(strncmp(json(ran.out, "$.created_at"), "17500000", 8), 0);
  setenv("TZ", "UTC", 1);
}

/* What a command shows on a terminal that is standard output, or all three. */
static const char *at_terminal(int which, const char *const *words) {
  static struct session session;
  CHECK(session_start(&session, which, words));
  session_end(&session);
  return session.shown;
}

TEST(colours_are_for_a_terminal_and_not_for_those_who_want_none) {
  const char *path = make_named("coloured.db");
  const char *const words[] = {"inbox",    path,           ran.stream, "--number", NUMBER,
                               "--badges", "--instructor", "marta",    NULL};
  const char *shown = at_terminal(TERMINAL_OUT, words);
  CHECK_INT(ran.status, DONE);
  CHECK_HAS(shown, "\x1b[1mname\x1b[0m");
  CHECK_HAS(shown, "\x1b[2mUnlinked\x1b[0m");
  setenv("NO_COLOR", "", 1);
  CHECK_HAS(at_terminal(TERMINAL_ALL, words), "\x1b[1mname\x1b[0m");
  setenv("NO_COLOR", "1", 1);
  shown = at_terminal(TERMINAL_ALL, words);
  CHECK_HAS(shown, "name ");
  CHECK(strchr(shown, '\x1b') == NULL);
  unsetenv("NO_COLOR");
  setenv("TERM", "dumb", 1);
  CHECK(strchr(at_terminal(TERMINAL_ALL, words), '\x1b') == NULL);
  setenv("TERM", "xterm", 1);
  CHECK_INT(run_words(TO_FILE, words), DONE);
  CHECK(strchr(ran.out, '\x1b') == NULL);
  /* A terminal for the messages alone gives no colours to a file. */
  at_terminal(TERMINAL_ERR, words);
  CHECK_HAS(ran.out, "name ");
  CHECK(strchr(ran.out, '\x1b') == NULL);
}

TEST(nothing_is_asked_and_nobody_is_waited_for) {
  const char *path = make_named("asked.db");
  const char *const create[] = {"customers", "create",  path,         "--instructor",
                                "marta",     "--actor", "user-marta", NULL};
  const char *const resolve[] = {"resolve", path, "--instructor", "marta", NULL};
  const char *const normalize[] = {"normalize", NULL};
  const char *const link[] = {"link", path, "c1", "x", "--instructor", "marta", NULL};
  at_terminal(TERMINAL_IN, create);
  CHECK_INT(ran.status, USAGE);
  CHECK_HAS(ran.err, "CHANNEL is missing; or give JSON lines on standard input");
  at_terminal(TERMINAL_IN, resolve);
  CHECK_INT(ran.status, USAGE);
  CHECK_HAS(ran.err, "CONVERSATION is missing; or give JSON lines on standard input");
  at_terminal(TERMINAL_IN, normalize);
  CHECK_INT(ran.status, USAGE);
  at_terminal(TERMINAL_ALL, link);
  CHECK_INT(ran.status, USAGE);
}

/* ---- Long work ----------------------------------------------------------------------------- */

static const char ONE[] = "{\"channel\":\"sms\",\"identifier\":\"447700900501\"}\n";

static int write_to(const struct session *session, const char *text) {
  return CHECK_INT(write(session->input, text, strlen(text)), strlen(text));
}

/* Longer than the program waits before it shows that it goes on. */
static void wait_two_ticks(void) {
  const struct timespec pause = {1, 200000000};
  nanosleep(&pause, NULL);
}

TEST(a_stream_shows_on_a_terminal_how_far_it_is) {
  const char *path = make_named("progress.db");
  const char *const words[] = {"customers",  "create", path, "--instructor", "marta", "--actor",
                               "user-marta", "--json", NULL};
  struct session session;
  REQUIRE(session_start(&session, TERMINAL_ERR, words));
  write_to(&session, ONE);
  CHECK(session_shows(&session, "\r\x1b[Kcustmem: customers create, "));
  CHECK(session_shows(&session, " s, line 1"));
  CHECK_INT(session_end(&session), DONE);
  CHECK_HAS(session.shown + session.shown_size - 4, "\r\x1b[K");
  CHECK_INT(lines_of(ran.out), 1);
  /* Not in a file, and not to somebody who sees the rows themselves. */
  REQUIRE(session_start(&session, 0, words));
  write_to(&session, ONE);
  CHECK(session_prints(&session, "existing"));
  wait_two_ticks();
  CHECK_INT(session_end(&session), DONE);
  CHECK_TEXT(ran.err, "");
  REQUIRE(session_start(&session, TERMINAL_OUT | TERMINAL_ERR, words));
  write_to(&session, ONE);
  CHECK(session_shows(&session, "existing"));
  wait_two_ticks();
  CHECK_INT(session_end(&session), DONE);
  CHECK(strstr(session.shown, "custmem:") == NULL);
}

TEST(an_interrupted_stream_has_reported_all_that_it_did) {
  static const int SIGNALS[] = {SIGINT, SIGTERM, SIGHUP};
  const char *const words[] = {"customers",    "create", scratch("stopped.db"),
                               "--instructor", "marta",  "--actor",
                               "user-marta",   "--json", NULL};
  size_t i;
  for (i = 0; i < COUNT_OF(SIGNALS); i++) {
    struct session session;
    custmem_report report;
    custmem *store;
    make_named("stopped.db");
    REQUIRE(session_start(&session, TERMINAL_ERR, words));
    write_to(&session, ONE);
    CHECK(session_prints(&session, "\"result\":\"made\""));
    CHECK_INT(kill(session.child, SIGNALS[i]), 0);
    CHECK_INT(session_end(&session), KILLED + SIGNALS[i]);
    CHECK_INT(lines_of(ran.out), 1);
    CHECK_HAS(session.shown, "custmem: stopped after line 1");
    store = test_store(scratch("stopped.db"));
    REQUIRE(store != NULL);
    CHECK_INT(custmem_check(store, &report), CUSTMEM_OK);
    CHECK_INT(report.customers, COUNT_OF(NAMES) + 1);
    CHECK_INT(custmem_close(store), CUSTMEM_OK);
  }
}

/* A store that takes a second or more to check, on whatever machine. */
static int make_slow(const char *path) {
  int64_t customers = 100000;
  clock_t took = 0;
  unlink(path);
  CHECK_INT(custmem_close(test_store(path)), CUSTMEM_OK);
  while (took < CLOCKS_PER_SEC) {
    sqlite3 *db = test_plain(path);
    custmem *store;
    custmem_report report;
    char sql[512];
    snprintf(
      sql, sizeof sql,
      "WITH RECURSIVE n(i) AS (SELECT (SELECT count(*) FROM customers) UNION ALL"
      " SELECT i + 1 FROM n WHERE i < %lld) INSERT INTO customers SELECT"
      " printf('01a21f88-ea9c-748d-b63a-%%012x', i), 'marta', 'sms',"
      " printf('4477%%08d', i), NULL, 1, 1 FROM n",
      (long long)customers
    );
    if (!CHECK_INT(test_sql(db, sql), SQLITE_OK)) return 0;
    sqlite3_close(db);
    store = test_store(path);
    took = clock();
    if (!CHECK_INT(custmem_check(store, &report), CUSTMEM_OK)) return 0;
    took = clock() - took;
    CHECK_INT(custmem_close(store), CUSTMEM_OK);
    customers *= 3;
  }
  return 1;
}

TEST(an_interrupted_check_or_backup_leaves_nothing_behind) {
  const char *path = scratch("slow.db"), *copy = scratch("slow_copy.db");
  const char *const check[] = {"check", path, NULL};
  const char *const backup[] = {"backup", path, copy, NULL};
  struct session session;
  uint64_t bytes;
  REQUIRE(make_slow(path));
  bytes = test_file_hash(path);
  REQUIRE(session_start(&session, TERMINAL_ERR, check));
  CHECK(session_shows(&session, "\r\x1b[Kcustmem: check, 0 s"));
  CHECK_INT(kill(session.child, SIGINT), 0);
  CHECK_INT(session_end(&session), KILLED + SIGINT);
  CHECK_HAS(session.shown, "\r\x1b[Kcustmem: CUSTMEM_INTERRUPTED: ");
  CHECK_TEXT(ran.out, "");
  unlink(copy);
  REQUIRE(session_start(&session, TERMINAL_ERR, backup));
  while (test_file_size(copy) < 0 && !session_has_ended(&session)) {
  }
  kill(session.child, SIGINT);
  session_end(&session);
  /* It may have been done before it was interrupted; half a copy is never left. */
  if (ran.status == DONE) {
    CHECK(test_rows(copy) == test_rows(path));
  } else {
    CHECK_INT(ran.status, KILLED + SIGINT);
    CHECK_INT(test_file_size(copy), -1);
    CHECK_TEXT(ran.out, "");
  }
  CHECK(test_file_hash(path) == bytes);
  CHECK_INT(CUSTMEM("check", path), DONE);
  CHECK_INT(strncmp(ran.out, "sound\n", 6), 0);
}

/* A signal that the parent has ignored, as nohup does, ends nothing. */
TEST(a_signal_that_is_ignored_stays_ignored) {
  const char *path = make_named("ignored.db");
  const char *const words[] = {"customers",  "create", path, "--instructor", "marta", "--actor",
                               "user-marta", "--json", NULL};
  struct session session;
  signal(SIGHUP, SIG_IGN);
  REQUIRE(session_start(&session, 0, words));
  signal(SIGHUP, SIG_DFL);
  write_to(&session, ONE);
  CHECK(session_prints(&session, "made"));
  CHECK_INT(kill(session.child, SIGHUP), 0);
  write_to(&session, ONE);
  CHECK_INT(session_end(&session), DONE);
  CHECK_INT(lines_of(ran.out), 2);
}

/* ---- Completion and manual page ------------------------------------------------------------ */

/* The options that the help of a command lists, in a row: "--help --json". */
static void options_in(const char *help, char *options, size_t size) {
  const char *at = strstr(help, "\noptions:\n"), *end;
  size_t used = (size_t)snprintf(options, size, "--help");
  if (at == NULL) return;
  end = strstr(at, "\n\n");
  for (at = strstr(at, "\n  --"); at != NULL && at < end; at = strstr(at + 1, "\n  --"))
    used +=
      (size_t)snprintf(options + used, size - used, " %.*s", (int)strcspn(at + 3, " "), at + 3);
}

/* The arguments of its usage, without brackets: "STORE CHANNEL IDENTIFIER". */
static void arguments_in(const char *help, char *arguments, size_t size) {
  const char *at = strstr(help, "\narguments:\n");
  size_t used = 0;
  arguments[0] = '\0';
  at = at != NULL ? at + 11 : NULL;
  while (at != NULL && strncmp(at, "\n  ", 3) == 0) {
    used += (size_t)snprintf(
      arguments + used, size - used, "%s%.*s", used > 0 ? " " : "", (int)strcspn(at + 3, " "),
      at + 3
    );
    at = strchr(at + 1, '\n');
  }
}

static void look_in_completion(const char *name, const char *help, void *script) {
  char wanted[512], options[256], arguments[128];
  options_in(help, options, sizeof options);
  arguments_in(help, arguments, sizeof arguments);
  snprintf(
    wanted, sizeof wanted, "    '%s')\n      flags='%s'\n      places='%s' ;;\n", name, options,
    arguments
  );
  CHECK_HAS(script, wanted);
}

static int occurrences(const char *text, const char *part) {
  int count = 0;
  for (text = strstr(text, part); text != NULL; text = strstr(text + strlen(part), part))
    count++;
  return count;
}

TEST(completion_offers_what_the_help_lists_and_nothing_else) {
  static const char *const SHELLS[] = {"bash", "zsh"};
  size_t i;
  for (i = 0; i < COUNT_OF(SHELLS); i++) {
    char *script;
    CHECK_INT(CUSTMEM("completion", SHELLS[i]), DONE);
    script = strdup(ran.out);
    CHECK_INT(each_command(look_in_completion, script), occurrences(script, "      flags='"));
    free(script);
  }
}

/* Without what roff writes in front of hyphens. */
static char *without_backslashes(const char *text) {
  char *copy = strdup(text), *from = copy, *to = copy;
  for (; *from != '\0'; from++)
    if (*from != '\\') *to++ = *from;
  *to = '\0';
  return copy;
}

/* A section of the manual, without those behind it. To be freed. */
static char *up_to_the_next(const char *section) {
  const char *next = strstr(section + 1, "\n.SS ");
  size_t size = next != NULL ? (size_t)(next - section) : strlen(section);
  char *own = malloc(size + 1);
  if (own == NULL) abort();
  memcpy(own, section, size);
  own[size] = '\0';
  return own;
}

static void look_in_manual(const char *name, const char *help, void *ctx) {
  const char *page = ctx;
  char heading[80], *end, *own;
  const char *section, *line;
  snprintf(heading, sizeof heading, "\n.SS %s\n.B custmem\n", name);
  section = strstr(page, heading);
  CHECK_HAS(page, heading);
  if (section == NULL) return;
  own = up_to_the_next(section);
  /* Every name that the help explains is explained: arguments, fields; and options, in their own
  ** section. */
  for (line = strchr(help, '\n'); line != NULL; line = strchr(line + 1, '\n')) {
    char item[80];
    if (strncmp(line, "\nexample", 8) == 0) break;
    if (strncmp(line, "\n  ", 3) != 0) continue;
    snprintf(item, sizeof item, "\n.B %.*s", (int)strcspn(line + 3, " "), line + 3);
    CHECK_HAS(strncmp(line + 3, "--", 2) == 0 ? page : own, item);
  }
  free(own);
  end = strstr(section, "\n.RE\n");
  CHECK(end != NULL);
}

TEST(the_manual_page_says_what_the_help_says) {
  char *page;
  CHECK_INT(CUSTMEM("man"), DONE);
  CHECK(is_harmless(ran.out, ran.out_size));
  page = without_backslashes(ran.out);
  CHECK_HAS(page, ".TH CUSTMEM 1 ");
  CHECK_HAS(page, "0 done, 1 the store refused, 2 wrong usage, 3 input or output failed");
  CHECK_HAS(page, "\n.B CUSTMEM_ACTOR\n");
  CHECK_INT(each_command(look_in_manual, page), occurrences(page, "\n.SS "));
  free(page);
}

/* Calls the completion script of a shell as the shell would (bash splits words at : and =); what it offers
** is printed. */
static const char BASH[] = "compopt() { :; }\n"
                           "source \"$1\" || exit 1\n"
                           "try() { local one IFS=$'\\n'; COMP_WORDS=();\n"
                           "  for one; do\n"
                           "    if [ -z \"$one\" ]; then COMP_WORDS+=(''); continue; fi\n"
                           "    COMP_WORDS+=($(sed 's/[:=]/\\n&\\n/g' <<< \"$one\"))\n"
                           "    case $one in *[:=]) COMP_WORDS+=('') ;; esac\n"
                           "  done\n"
                           "  IFS=$' \\t\\n' COMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n"
                           "  _custmem; echo \"${COMPREPLY[*]}\"; }\n";

static const char ZSH[] =
  "compadd() { shift; for one; do case $one in \"$words[CURRENT]\"*) shown+=($one);; esac; "
  "done }\n"
  "_files() { for one in *; do compadd -- $one; done }\n"
  "_describe() { local one; for one in ${(P)2}; do compadd -- ${one%%:*}; done }\n"
  "script=$1\n"
  "complete_() { source $script }\n"
  "try() { shown=(); words=(\"$@\"); CURRENT=$#words; complete_; print -r -- \"$shown\" }\n";

static const char TRIES[] = "try custmem cus\n"
                            "try custmem audit ''\n"
                            "try custmem customers cr\n"
                            "try custmem customers create fi\n"
                            "try custmem customers create fields.db wh\n"
                            "try custmem customers create --instructor me --json fields.db in\n"
                            "try custmem customers create fields.db sms ''\n"
                            "try custmem link --re\n"
                            "try custmem link fields.db --reason ''\n"
                            "try custmem resolve fields.db 2099:1202 wh\n"
                            "try custmem resolve fields.db 2099=1/US.13 wh\n"
                            "try custmem customers create --instructor=me fields.db wh\n"
                            "try custmem customers create fields.db --actor=s\n"
                            "try custmem completion ''\n"
                            "try custmem help unl\n"
                            "try custmem nonsense ''\n";

static const char OFFERED[] = "customers\n"
                              "export head verify\n"
                              "create\n"
                              "fields.db\n"
                              "whatsapp\n"
                              "instagram\n"
                              "\n"
                              "--reason\n"
                              "\n"
                              "whatsapp\n"
                              "whatsapp\n"
                              "whatsapp\n"
                              "\n"
                              "bash zsh\n"
                              "unlink\n"
                              "\n";

static void try_completion(const char *shell, const char *path, const char *start) {
  char text[4096];
  const char *script = scratch("completion"), *tries = scratch("tries"),
             *cwd = scratch("offers");
  const char *const words[] = {path, tries, script, NULL};
  if (access(path, X_OK) != 0) {
    printf("        %s is not here: its completion is not tried\n", path);
    return;
  }
  mkdir(cwd, 0700);
  CHECK(test_file_write(test_path("offers/fields.db"), "", 0));
  CHECK_INT(CUSTMEM("completion", shell), DONE);
  CHECK(test_file_write(script, ran.out, ran.out_size));
  snprintf(text, sizeof text, "%s%s", start, TRIES);
  CHECK(test_file_write(tries, text, strlen(text)));
  CHECK_INT(run_in(cwd, TO_FILE, words), DONE);
  CHECK_TEXT(ran.err, "");
  CHECK_TEXT(ran.out, OFFERED);
}

TEST(completion_works_in_the_shells_that_are_here) {
  try_completion("bash", "/bin/bash", BASH);
  try_completion("zsh", "/bin/zsh", ZSH);
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  if (!program_init()) return 1;
  RUN(columns_line_up_whatever_the_names_are_written_in, "T6");
  RUN(times_are_local_with_the_offset_of_their_zone, "");
  RUN(colours_are_for_a_terminal_and_not_for_those_who_want_none, "");
  RUN(nothing_is_asked_and_nobody_is_waited_for, "");
  RUN(a_stream_shows_on_a_terminal_how_far_it_is, "");
  RUN(an_interrupted_stream_has_reported_all_that_it_did, "CM-2.3 §7");
  RUN(an_interrupted_check_or_backup_leaves_nothing_behind, "D-8");
  RUN(a_signal_that_is_ignored_stays_ignored, "");
  RUN(completion_offers_what_the_help_lists_and_nothing_else, "");
  RUN(the_manual_page_says_what_the_help_says, "");
  RUN(completion_works_in_the_shells_that_are_here, "");
  return test_report();
}
