/* SPDX-License-Identifier: MIT
**
** Runs the program `custmem` as a user does: words in, exit status, standard output and standard
** error out; from files and pipes, or at a pseudo-terminal. And what its tests look at what it
** printed with.
**
** The environment variable CUSTMEM_SHELL says where the program is (else ./custmem). It runs with
** TZ=UTC, without CUSTMEM_INSTRUCTOR, CUSTMEM_ACTOR and NO_COLOR, and with nothing to read.
*/
#ifndef PROGRAM_H
#define PROGRAM_H

#include "test.h"

#include <limits.h>
#include <sys/types.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define KILLED          256 /* a status above: the number of the signal */

enum status { DONE = 0, REFUSED = 1, USAGE = 2, INPUT_OUTPUT = 3 };

/* Where the program's standard output goes. A pipe that nobody reads ends a program, but for one
** whose parent has it ignore that. */
enum output { TO_FILE, TO_CLOSED, TO_FULL, TO_BROKEN_PIPE, TO_BROKEN_PIPE_IGNORED };

/* What the last run left. */
struct ran {
  char shell[PATH_MAX];  /* the program, from whatever directory */
  char stream[PATH_MAX]; /* test/data/webhooks.jsonl */
  int status;
  char *out;
  size_t out_size;
  char *err;
  size_t err_size;
};

extern struct ran ran;

/* Finds the program and the stream, and sets the environment. 0, and it says so, if they are not
** there. To be called after test_init. */
int program_init(void);

/* A path in the scratch directory, the same text for the same name, and valid to the end. */
const char *scratch(const char *name);

char *read_all(const char *path, size_t *size);

/* Runs any program in a directory, words[0] being its path; its temporary files go to the scratch
** directory "tmp". */
int run_in(const char *directory, enum output output, const char *const *words);

/* Runs `custmem` with words up to NULL, in the scratch directory "cwd". */
int run_words(enum output output, const char *const *words);

#define CUSTMEM(...) run_words(TO_FILE, (const char *const[]){__VA_ARGS__, NULL})

/* The same, for the instructor "marta" by the actor "user-marta". */
#define AS_MARTA(...)  CUSTMEM(__VA_ARGS__, "--instructor", "marta", "--actor", "user-marta")
#define FOR_MARTA(...) CUSTMEM(__VA_ARGS__, "--instructor", "marta")

/* What the next run reads from standard input; after it, there is nothing to read again. */
void type_in(const char *text);

/* A program that is running, at a pseudo-terminal in part. */
enum { TERMINAL_IN = 1, TERMINAL_OUT = 2, TERMINAL_ERR = 4, TERMINAL_ALL = 7 };

struct session {
  pid_t child;
  int input;    /* its standard input, a pipe; -1 where that is the terminal */
  int terminal; /* the other end of the terminal */
  char *shown;  /* all that the terminal was given so far */
  size_t shown_size;
};

/* `which` of its standard files are the terminal; the others are a pipe and files. */
int session_start(struct session *session, int which, const char *const *words);

/* Waits until the terminal shows a text, or the file of standard output holds it. 0 after half a
** minute, or when the program has ended without. */
int session_shows(struct session *session, const char *text);
int session_prints(struct session *session, const char *text);

/* Has it ended? It is left to be waited for, by session_end. */
int session_has_ended(const struct session *session);

/* Waits for its end. ran.status, ran.out and ran.err are then as after run_words; what a terminal
** was given is in session->shown, which is freed by the next session_start. */
int session_end(struct session *session);

/* ---- Looking at what was printed */

/* Is it text that no terminal obeys: UTF-8, and no control character but the line feed? */
int is_harmless(const char *text, size_t size);

/* The rest of the line that begins with `start`; "" if none does. Valid until the next call. */
const char *line_after(const char *text, const char *start);

/* Line number `line`, from 0, without its end; "" if there is none. Valid until the eighth call
** after it. */
const char *line_at(const char *text, int line);
int lines_of(const char *text);

/* What is at a path of a line of JSON: "(none)" for nothing or null. Valid until the eighth call
** after it. */
const char *json(const char *line, const char *path);

/* The names in an object, in their order: "a,b,c"; "" if the line is not JSON. Valid until the next
** call. */
const char *json_names(const char *line);

/* Gives each command of the help's list to `look`, with its own help; how many there are. */
int each_command(void (*look)(const char *name, const char *help, void *ctx), void *ctx);

#endif
