/* SPDX-License-Identifier: MIT
**
** What every test file uses: checks that print both values, a scratch directory, stores whose clock
** and random source repeat, and a plain SQLite connection that knows nothing of custmem.
**
** A test file is one program:
**
**     TEST(link_refuses_a_second_link) { … CHECK_INT(rc, CUSTMEM_ALREADY_LINKED); … }
**     int main(void) { RUN(link_refuses_a_second_link, "CM-2.3 §4.3"); return test_report(); }
**
** A failed check prints file, line and both values, is counted, and the test goes on; REQUIRE ends
** the test function, for what the rest of it stands on.
*/
#ifndef TEST_H
#define TEST_H

#include "../custmem.h"
#include "../sqlite3.h"

#include <stddef.h>
#include <stdint.h>

#define TEST(name) static void name(void)

/* Runs a test; `rule` is the documents' rule it shows ("CM-2.3 §4.3; T4"), or "" for our own. With
** arguments, a test program runs only the tests named; --list prints each test and its rule. */
#define RUN(name, rule) test_run(#name, rule, name)

#define CHECK(condition) test_check(__FILE__, __LINE__, #condition, (condition) != 0)
#define CHECK_INT(got, want)                                                                   \
  test_check_int(__FILE__, __LINE__, #got, (int64_t)(got), (int64_t)(want))
#define CHECK_TEXT(got, want) test_check_text(__FILE__, __LINE__, #got, (got), (want))
#define CHECK_HAS(got, part)  test_check_has(__FILE__, __LINE__, #got, (got), (part))

#define REQUIRE(condition)                                                                     \
  do {                                                                                         \
    if (!CHECK(condition)) return;                                                             \
  } while (0)

/* The file under test takes the arguments of main through this, before the first RUN. */
void test_init(int argc, char **argv);
void test_run(const char *name, const char *rule, void (*test)(void));

/* Prints the line of this test program; its value is what main returns. */
int test_report(void);

int test_check(const char *file, int line, const char *what, int holds);
int test_check_int(const char *file, int line, const char *what, int64_t got, int64_t want);
int test_check_text(
  const char *file,
  int line,
  const char *what,
  const char *got,
  const char *want
);
int test_check_has(
  const char *file,
  int line,
  const char *what,
  const char *got,
  const char *part
);

/* How large a campaign is to be, and how it is drawn: CUSTMEM_FAULTS=all asks for its full size, else
** it is a share that fits into `make test`; CUSTMEM_SEED gives another seed. What it found is made again
** by the seed that it prints. */
int test_is_full(void);
uint64_t test_seed(void);

/* A variable of the environment as a number. */
uint64_t test_setting(const char *variable, uint64_t otherwise);

/* A path in this test's own scratch directory, which is removed at the end. Valid until the eighth
** call after it. */
const char *test_path(const char *name);

/* A clock that starts at 1,750,000,000,000 and steps by 1,000 ms, and a seeded generator: the same
** calls make the same bytes. test_options fills them in. */
void test_sources_reset(void);
void test_options(custmem_options *options);

/* Instead of that clock, one that shows what the test's variable holds. */
void test_clock(custmem_options *options, int64_t *now_ms);

/* Opens with test_options; NULL for ":memory:". On failure it prints why, and gives NULL. The second one
** has the test's own clock. */
custmem *test_store(const char *path);
custmem *test_store_at(const char *path, int64_t *now_ms);

/* Opens with the options, or as test_store does without any, and gives the connection too, which no caller
** of custmem has. NULL on failure. */
custmem *test_store_caught(const char *path, const custmem_options *options, sqlite3 **db);

/* Interrupts a connection once it has taken so many steps more, as custmem_interrupt does: SQLite looks for it
** where it looks for one. Then, whether the steps were so many. */
void test_interrupt_after(sqlite3 *db, int steps);
int test_was_interrupted(sqlite3 *db);

/* A human of an instructor, whose actor id is "human-of-<instructor>". */
custmem_actor test_human(const char *instructor_id);

/* Creates a WhatsApp customer and gives its id, valid until the sixteenth call after it. */
const char *test_customer(custmem *store, const char *instructor_id, const char *phone);

/* Links and unlinks as a human of the instructor; give custmem's code. */
int test_link(
  custmem *store,
  const char *instructor_id,
  const char *conversation_id,
  const char *customer_id
);
int test_unlink(
  custmem *store,
  const char *instructor_id,
  const char *conversation_id,
  const char *customer_id
);

/* The message of the last error, with the id that it speaks of made neutral. */
void test_message_about(custmem *store, const char *id, char *message, size_t size);

/* Whether two answers are the same in every field. */
int test_is_equal(const custmem_resolution *left, const custmem_resolution *right);

/* A plain connection to a file, as a stock sqlite3 shell's defaults make it: foreign keys off,
** recursive triggers off, no authorizer. The caller closes it. */
sqlite3 *test_plain(const char *path);

/* Runs SQL on a plain connection and gives its SQLite code; the message is in test_sql_error(). */
int test_sql(sqlite3 *db, const char *sql);
const char *test_sql_error(void);

/* Makes an index's entries the rows of a table `imposter`, which SQL can then write: as only damage, or
** somebody with time, would. Gives SQLite's code. */
int test_imposter(sqlite3 *db, const char *index, const char *columns);

/* The first column of the first row: as a number (-1 for no row or an error), and as text ("" for no
** row, an error or NULL; valid until the eighth call after it). */
int64_t test_sql_int(sqlite3 *db, const char *sql);
const char *test_sql_text(sqlite3 *db, const char *sql);

/* A hash of all the rows of all four tables of a store's file, read on a plain connection: equal
** before and after means nothing changed. */
uint64_t test_rows(const char *path);

/* A file's bytes: the size, or -1 where there is none; a hash, or 0. */
int64_t test_file_size(const char *path);
uint64_t test_file_hash(const char *path);
int test_file_write(const char *path, const void *bytes, size_t size);

/* Reads a file into a buffer that grows as it must, and gives the size; 0 where there is none. (To close
** a file that this process has open through SQLite drops its locks: only where nobody else is there.) */
size_t test_file_load(const char *path, unsigned char **bytes, size_t *capacity);

/* A database's neighbour: its path with "-wal", "-journal" … Valid until the fourth call after it. */
const char *test_beside(const char *path, const char *suffix);

/* Copies a database with its -wal and its -journal, as they lie there; not its -shm: what is left of that
** after a crash is not read. Removes it with all of these. */
void test_store_copy(const char *from, const char *to);
void test_store_remove(const char *path);

/* Repeatable random numbers: the same seed gives the same row. */
uint64_t test_random(uint64_t *seed);

#endif
