/* SPDX-License-Identifier: MIT */
#define _XOPEN_SOURCE 700

#include "program.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_WORDS     24
#define PATIENCE_MS   30000
#define POLL_MS       10
#define TERMINAL_ROOM 65536

struct ran ran;

/* What the next run reads; NULL: nothing. */
static const char *typed;

void type_in(const char *text) {
  typed = text;
}

char *read_all(const char *path, size_t *size) {
  FILE *file = fopen(path, "rb");
  int64_t bytes = test_file_size(path);
  char *text = calloc(1, bytes > 0 ? (size_t)bytes + 1 : 1);
  *size = file != NULL && text != NULL && bytes > 0 ? fread(text, 1, (size_t)bytes, file) : 0;
  if (file != NULL) fclose(file);
  return text;
}

const char *scratch(const char *name) {
  static struct {
    const char *name;
    char path[PATH_MAX];
  } known[64];
  size_t i = 0;
  while (known[i].name != NULL && strcmp(known[i].name, name) != 0)
    i++;
  if (known[i].name == NULL) {
    known[i].name = name;
    snprintf(known[i].path, sizeof known[i].path, "%s", test_path(name));
  }
  return known[i].path;
}

/* The shell leaves alone a signal that is ignored, and what runs the tests in the background may ignore some. */
static void take_signals(void) {
  signal(SIGINT, SIG_DFL);
  signal(SIGTERM, SIG_DFL);
  signal(SIGHUP, SIG_DFL);
}

int program_init(void) {
  const char *shell = getenv("CUSTMEM_SHELL");
  if (shell == NULL || shell[0] == '\0') shell = "./custmem";
  unsetenv("CUSTMEM_INSTRUCTOR");
  unsetenv("CUSTMEM_ACTOR");
  unsetenv("NO_COLOR");
  setenv("TZ", "UTC", 1);
  setenv("TERM", "xterm", 1);
  take_signals();
  if (realpath(shell, ran.shell) != NULL && realpath("test/data/webhooks.jsonl", ran.stream) != NULL)
    return 1;
  printf("%s or test/data/webhooks.jsonl is not there\n", shell);
  return 0;
}

/* ---- Running ------------------------------------------------------------------------------- */

/* In the child: 1 is what `output` says, 0 and 2 are files. The file of 2 is opened first, lest it
** take the place of 1. */
static void redirect(enum output output, const char *in, const char *out, const char *err) {
  int fds[2] = {-1, -1};
  int fd = open(err, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (fd >= 0) dup2(fd, 2);
  fd = open(in, O_RDONLY);
  if (fd >= 0) dup2(fd, 0);
  fd = -1;
  if (output == TO_FILE) fd = open(out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (output == TO_FULL) fd = open("/dev/full", O_WRONLY);
  signal(SIGPIPE, output == TO_BROKEN_PIPE_IGNORED ? SIG_IGN : SIG_DFL);
  if (output >= TO_BROKEN_PIPE && pipe(fds) == 0) {
    fd = fds[1];
    close(fds[0]);
  }
  if (fd >= 0) dup2(fd, 1);
  if (output == TO_CLOSED) close(1);
}

/* Takes up how the child ended, and what it printed. */
static int take_end(int status) {
  free(ran.out);
  free(ran.err);
  ran.out = read_all(scratch("out"), &ran.out_size);
  ran.err = read_all(scratch("err"), &ran.err_size);
  ran.status = WIFEXITED(status) ? WEXITSTATUS(status) : KILLED + WTERMSIG(status);
  return ran.status;
}

int run_in(const char *directory, enum output output, const char *const *words) {
  const char *in = "/dev/null", *out = scratch("out"), *err = scratch("err");
  const char *tmp = scratch("tmp");
  int status = 0;
  pid_t child;
  if (typed != NULL) in = scratch("in");
  if (typed != NULL) CHECK(test_file_write(in, typed, strlen(typed)));
  typed = NULL;
  unlink(out);
  mkdir(tmp, 0700);
  fflush(stdout);
  child = fork();
  if (child == 0) {
    redirect(output, in, out, err);
    if (chdir(directory) == 0 && setenv("TMPDIR", tmp, 1) == 0)
      execv(words[0], (char *const *)words);
    _exit(127);
  }
  if (child < 0 || waitpid(child, &status, 0) != child) return -1;
  return take_end(status);
}

/* The words of a command, behind the program. */
static void put_program_first(const char **all, const char *const *words) {
  int i;
  all[0] = ran.shell;
  for (i = 0; i < MAX_WORDS && words[i] != NULL; i++)
    all[i + 1] = words[i];
  all[i + 1] = NULL;
}

int run_words(enum output output, const char *const *words) {
  const char *all[MAX_WORDS + 2];
  put_program_first(all, words);
  mkdir(scratch("cwd"), 0700);
  return run_in(scratch("cwd"), output, all);
}

/* ---- At a terminal ------------------------------------------------------------------------- */

/* In the child: a terminal of its own, which sends it the signals that are typed. */
static void sit_down(int which, const char *terminal, int input) {
  int fd, out = open(scratch("out"), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  int err = open(scratch("err"), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  setsid();
  fd = open(terminal, O_RDWR);
  dup2(which & TERMINAL_IN ? fd : input, 0);
  dup2(which & TERMINAL_OUT ? fd : out, 1);
  dup2(which & TERMINAL_ERR ? fd : err, 2);
  for (fd = 3; fd < 64; fd++)
    close(fd);
}

int session_start(struct session *session, int which, const char *const *words) {
  static char *shown;
  const char *all[MAX_WORDS + 2], *name;
  int fds[2] = {-1, -1};
  free(shown);
  shown = calloc(1, TERMINAL_ROOM);
  memset(session, 0, sizeof *session);
  session->shown = shown;
  session->terminal = posix_openpt(O_RDWR | O_NOCTTY);
  put_program_first(all, words);
  mkdir(scratch("cwd"), 0700);
  unlink(scratch("out"));
  if (!CHECK(session->terminal >= 0 && grantpt(session->terminal) == 0)) return 0;
  if (!CHECK(unlockpt(session->terminal) == 0 && pipe(fds) == 0)) return 0;
  name = ptsname(session->terminal);
  fflush(stdout);
  session->child = fork();
  if (session->child == 0) {
    sit_down(which, name, fds[0]);
    if (chdir(scratch("cwd")) == 0) execv(all[0], (char *const *)all);
    _exit(127);
  }
  close(fds[0]);
  session->input = fds[1];
  if (which & TERMINAL_IN) {
    close(session->input);
    session->input = -1;
  }
  return CHECK(session->child > 0);
}

/* Takes what the terminal is given. 0 if, for a moment, that is nothing. */
static int take_shown(struct session *session) {
  const struct timespec moment = {0, POLL_MS * 1000000L};
  struct pollfd ready = {session->terminal, POLLIN, 0};
  char *at = session->shown + session->shown_size;
  ssize_t size = 0;
  if (poll(&ready, 1, POLL_MS) > 0)
    size = read(session->terminal, at, TERMINAL_ROOM - 1 - session->shown_size);
  /* When nobody holds its other end, the terminal says so at once, again and again. */
  if (size < 0) nanosleep(&moment, NULL);
  if (size > 0) session->shown_size += (size_t)size;
  return size > 0;
}

int session_has_ended(const struct session *session) {
  siginfo_t info;
  info.si_pid = 0;
  return waitid(P_PID, (id_t)session->child, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
         info.si_pid == session->child;
}

int session_shows(struct session *session, const char *text) {
  int waited = 0, goes_on = 1;
  while (waited < PATIENCE_MS && goes_on && strstr(session->shown, text) == NULL) {
    int ended = session_has_ended(session);
    if (take_shown(session)) continue;
    goes_on = !ended;
    waited += POLL_MS;
  }
  return strstr(session->shown, text) != NULL;
}

int session_prints(struct session *session, const char *text) {
  int waited, found = 0, ended = 0;
  for (waited = 0; waited < PATIENCE_MS && !found && !ended; waited += POLL_MS) {
    size_t size;
    char *out;
    ended = session_has_ended(session);
    out = read_all(scratch("out"), &size);
    found = strstr(out, text) != NULL;
    free(out);
    take_shown(session);
  }
  return found;
}

int session_end(struct session *session) {
  int status = 0, waited = 0, ended = 0;
  if (session->input >= 0) close(session->input);
  while (!ended) {
    ended = session_has_ended(session);
    while (take_shown(session)) {
    }
    waited += POLL_MS;
    if (waited > PATIENCE_MS) kill(session->child, SIGKILL);
  }
  close(session->terminal);
  if (waitpid(session->child, &status, 0) != session->child) return -1;
  return take_end(status);
}

/* ---- Looking at what was printed ----------------------------------------------------------- */

/* Is it text that no terminal obeys: UTF-8, and no control character but the line feed? SQLite's
** own decoder is no judge of UTF-8, so the bytes are looked at here. */
int is_harmless(const char *text, size_t size) {
  const unsigned char *at = (const unsigned char *)text, *end = at + size;
  while (at < end) {
    int more = *at < 0x80 ? 0 : *at < 0xc2 ? -1 : *at < 0xe0 ? 1 : *at < 0xf0 ? 2 : 3;
    if (more < 0 || *at > 0xf4 || end - at <= more) return 0;
    if ((*at < 0x20 && *at != '\n') || *at == 0x7f || (*at == 0xc2 && at[1] < 0xa0)) return 0;
    if (*at == 0xe2 && at[1] == 0x80 && at[2] >= 0xa8 && at[2] <= 0xae) return 0;
    for (at++; more > 0; more--, at++)
      if ((*at & 0xc0) != 0x80) return 0;
  }
  return 1;
}

const char *line_after(const char *text, const char *start) {
  static char line[1024];
  const char *at = text;
  line[0] = '\0';
  while (at != NULL && strncmp(at, start, strlen(start)) != 0) {
    at = strchr(at, '\n');
    at = at != NULL ? at + 1 : NULL;
  }
  if (at != NULL)
    snprintf(
      line, sizeof line, "%.*s", (int)strcspn(at + strlen(start), "\n"), at + strlen(start)
    );
  return line;
}

int lines_of(const char *text) {
  int lines = 0;
  for (; *text != '\0'; text++)
    lines += *text == '\n';
  return lines;
}

const char *line_at(const char *text, int line) {
  static char lines[8][4096];
  static unsigned next;
  char *at = lines[next++ % COUNT_OF(lines)];
  while (text != NULL && line-- > 0) {
    text = strchr(text, '\n');
    text = text != NULL ? text + 1 : NULL;
  }
  at[0] = '\0';
  if (text != NULL) snprintf(at, sizeof lines[0], "%.*s", (int)strcspn(text, "\n"), text);
  return at;
}

/* One value of SQL on a line of JSON. */
static void ask(const char *sql, const char *line, const char *path, char *text, size_t size) {
  sqlite3 *db = test_plain(":memory:");
  sqlite3_stmt *stmt = NULL;
  const char *value = NULL;
  if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) == SQLITE_OK) {
    sqlite3_bind_text(stmt, 1, line, -1, SQLITE_STATIC);
    sqlite3_bind_text(stmt, 2, path, -1, SQLITE_STATIC);
    if (sqlite3_step(stmt) == SQLITE_ROW) value = (const char *)sqlite3_column_text(stmt, 0);
  }
  snprintf(text, size, "%s", value != NULL ? value : "(none)");
  sqlite3_finalize(stmt);
  sqlite3_close(db);
}

const char *json(const char *line, const char *path) {
  static char texts[8][CUSTMEM_CONTEXT_MAX + 1];
  static unsigned next;
  char *text = texts[next++ % COUNT_OF(texts)];
  ask("SELECT iif(json_valid(?1), ?1 ->> ?2, 'not JSON')", line, path, text, sizeof texts[0]);
  return text;
}

const char *json_names(const char *line) {
  static char names[512];
  ask(
    "SELECT group_concat(key, ',') FROM json_each(iif(json_valid(?1), ?1, '[]'))"
    " WHERE json_type(?1) = 'object' AND ?2 = ''",
    line, "", names, sizeof names
  );
  return names;
}

int each_command(void (*look)(const char *name, const char *help, void *ctx), void *ctx) {
  char *list, *line, *rest = NULL;
  int commands = 0;
  CHECK_INT(CUSTMEM("help"), DONE);
  list = strdup(ran.out);
  for (line = strtok_r(list, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
    char name[64], first[64], *second, *help;
    if (strncmp(line, "  ", 2) != 0) continue;
    snprintf(name, sizeof name, "%.*s", (int)(strstr(line + 2, "  ") - line - 2), line + 2);
    snprintf(first, sizeof first, "%s", name);
    second = strchr(first, ' ');
    if (second != NULL) *second++ = '\0';
    CHECK_INT(second != NULL ? CUSTMEM("help", first, second) : CUSTMEM("help", first), DONE);
    help = strdup(ran.out);
    look(name, help, ctx);
    free(help);
    commands++;
  }
  free(list);
  return commands;
}
