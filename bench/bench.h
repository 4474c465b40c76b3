/* SPDX-License-Identifier: MIT
**
** What the parts of the benchmark share.
**
**   bench.c        the rows: what is measured against what
**   beyond.c       rows apart: what might be saved below the floor, measured outside custmem
**   harness.c      rounds, medians, ratios
**   report.c       the printed table, the JSON, the table of README.md, the plot
**   data.c         the data: pure functions of an index, and files filled with them
**   sha256.c       a second SHA-256, written for speed in plain C
**   with_….c       the contenders: each does the same work in its own way
**
** A further contender is one more file with_….c and one more entry in ENTRANTS of bench.c.
*/
#ifndef BENCH_H
#define BENCH_H

#include "../custmem.h"
#include "../sqlite3.h"

#include <stddef.h>
#include <stdint.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* ---- The harness --------------------------------------------------------------------------- */

/* Ends the run with exit status 1: a wrong answer is no measurement. */
void give_up(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* What a wrong answer is checked with: prints the condition and ends the run, if it does not hold. */
#define EXPECT(condition)                                                                      \
  ((condition) ? (void)0 : give_up("%s:%d: does not hold: %s", __FILE__, __LINE__, #condition))

/* One thing that is timed. run does `operations` of its row, and checks each answer.
**
** to_reach   custmem may take at most this many times as long as this side; 0: nothing is asked
*/
typedef struct timed_side {
  const char *name;
  void (*run)(void *self);
  void *self;
  double to_reach;
} timed_side;

#define SIDES_MAX 8
#define WHAT_SIZE 80

/* One row of the table: the same work, done by each side in every round, in turns.
**
** what, unit   its name, and what one operation is
** customers    in the store; 0 where that says nothing. The plot's x
** operations   in one run of a side
** rounds       how many; prepare, if any, is called before each, untimed: it sets up the keys
** is_aside     it is not about custmem: the report has it apart
** sides        the ratio of the first one, custmem, to each other is taken
*/
typedef struct bench_row {
  const char *what;
  const char *unit;
  int64_t customers;
  int64_t operations;
  int is_aside;
  int rounds;
  void (*prepare)(void *context, int round);
  void *context;
  timed_side sides[SIDES_MAX];
  int count;
} bench_row;

/* What is run: names of rows, or parts of them; none: all. effort multiplies the rounds. counting:
** one round of each, for a tool that counts instructions. */
typedef struct bench_choice {
  char **wanted;
  int wanted_count;
  double effort;
  int counting;
} bench_choice;

void choose(const bench_choice *choice);

/* Whether the command line asks for a row. */
int is_wanted(const char *what);

/* The number of rounds, made more or fewer by the effort. At least 3. */
int rounds_of(int usual);

/* Measures a row and reports it, unless it is not wanted. */
void measure(const bench_row *row);

/* ---- The report ---------------------------------------------------------------------------- */

/* Of a value over all rounds: low and high are the quartiles. */
typedef struct spread {
  double min, low, median, high, max;
} spread;

/* A side's cost in ns an operation, and what custmem's is divided by it. */
typedef struct side_result {
  char name[WHAT_SIZE];
  spread ns;
  spread ratio;
  double to_reach;
} side_result;

typedef struct row_result {
  char what[WHAT_SIZE];
  char unit[WHAT_SIZE];
  int64_t customers;
  int64_t operations;
  int is_aside;
  int rounds;
  int count;
  side_result sides[SIDES_MAX];
} row_result;

/* A size: one number, what may not be exceeded (0: nothing is asked), and how it was had. */
typedef struct size_result {
  char what[WHAT_SIZE];
  char how[WHAT_SIZE];
  int64_t bytes;
  int64_t to_reach;
} size_result;

/* Where the report goes beside the terminal. Each may be NULL. */
typedef struct report_files {
  const char *json;
  const char *svg;
  const char *readme; /* tables are put between its marks "results" and "beyond" */
  const char *tsv;    /* row, side, operations, median, least: for scripts */
} report_files;

void report_start(const report_files *files);
void report_row(const row_result *row);
void report_size(const char *what, int64_t bytes, int64_t to_reach, const char *how);

/* Writes the files. */
void report_end(void);

/* Puts text between the lines "<!-- mark -->" and "<!-- /mark -->" of a file. */
void put_between_marks(const char *path, const char *mark, const char *text);

/* ---- The data ------------------------------------------------------------------------------
** Customer i, its conversation i, and so on are functions of i alone: whoever fills a store makes
** the same ones, and every answer can be checked without a copy of them. */

#define PATH_SIZE   512
#define ID_SIZE     37 /* a UUID and its NUL: customers and conversations */
#define NAME_SIZE   32
#define CHANNEL     "whatsapp"
#define ACTOR_ID    "user-7"
#define REASON      "She wrote from her new phone and said so"
#define FIRST_MS    INT64_C(1750000000000)
#define PAGE_ROWS   50 /* of an inbox: one call */
#define ROUND_PAGES 10

void customer_id_of(int64_t i, char id[ID_SIZE]);
void conversation_id_of(int64_t i, char id[ID_SIZE]);
void identifier_of(int64_t i, char identifier[NAME_SIZE]);
void instructor_id_of(int64_t i, char id[NAME_SIZE]);

/* Repeatable random numbers: the same state gives the same row. */
uint64_t next_random(uint64_t *state);

/* Sources for custmem_options with which customer *i gets the id of customer_id_of. */
int64_t source_now_ms(void *i);
int source_random(uint8_t *bytes, size_t size, void *i);

/* A file of `customers` customers of `instructors` instructors. Customer i is of instructor
** i % instructors, and so is conversation i, which is linked to it if is_linked says so: half of an
** instructor's are. */
typedef struct data_set {
  int64_t customers;
  int64_t instructors;
  char path[PATH_SIZE];
} data_set;

int is_linked(const data_set *set, int64_t i);

/* A scratch directory of this run's own, removed at exit; data_path gives a name in it, valid until
** the sixteenth call after it. */
void data_start(void);
void remove_tree(const char *path);
const char *data_path(const char *name);

/* Makes the file. custmem_check is called on it where `check` says so. */
void make_data_set(data_set *set, int64_t customers, int check);

/* A copy of the file, without what a run wrote to it. */
void copy_file(const char *from, const char *to);

/* An instructor's chain of `events` links and relinks over half as many conversations.
**
** bytes, starts   what each event's hash is made of: event n from starts[n-1] to starts[n]
** head            the hash of the last event, in hexadecimal
*/
typedef struct chain_data {
  data_set set;
  int64_t events;
  unsigned char *bytes;
  size_t *starts;
  char head[CUSTMEM_HASH_SIZE + 1];
} chain_data;

void make_chain(chain_data *chain, int64_t events);
void free_chain(chain_data *chain);

void sha256_of(const unsigned char *bytes, size_t size, unsigned char hash[32]);

/* Runs SQL that must succeed. */
void run_sql(sqlite3 *db, const char *sql);
sqlite3_stmt *prepare_sql(sqlite3 *db, const char *sql);

/* schema.sql, read once. */
const char *schema_text(void);

/* Inserts customers [0, set->customers) by plain SQL, and drops the triggers that check a link. */
void insert_customers(sqlite3 *db, const data_set *set);
void drop_link_triggers(sqlite3 *db);

/* ---- The floor ---------------------------------------------------------------------------- */

/* A resolution by hand: ?1 instructor, ?2 conversation, ?3 channel, ?4 identifier; customer and step. Its
** second part runs only if the first gave nothing. What an index or a primary key found is compared
** with the row itself ("+", and a CAST that keeps SQLite from taking two comparisons for one). */
#define RESOLVE_BY_HAND                                                                        \
  "SELECT customer.id, 1 FROM conversation_links AS link JOIN customers AS customer"           \
  " ON customer.id = link.customer_id AND +customer.id = link.customer_id"                     \
  " AND +customer.instructor_id = ?1 WHERE link.conversation_id = CAST(?2 AS TEXT)"            \
  " AND +link.conversation_id = ?2 AND link.instructor_id = ?1"                                \
  " UNION ALL SELECT customer.id, 2 FROM customers AS same JOIN customers AS customer"         \
  " ON customer.id = same.id AND +customer.instructor_id = ?1"                                 \
  " AND +customer.normalized_identifier = ?4 AND +customer.channel = ?3"                       \
  " WHERE same.normalized_identifier = ?4 AND same.channel = ?3"                               \
  " AND same.instructor_id = ?1 LIMIT 1"

/* ---- Contenders ---------------------------------------------------------------------------- */

/* One conversation to resolve, and what must come out: the customer, by step 1 if linked, else by
** step 2. */
typedef struct lookup {
  char conversation_id[ID_SIZE];
  char identifier[NAME_SIZE];
  int identifier_size;
  char customer_id[ID_SIZE];
  int step;
} lookup;

/* An inbox page of one instructor. `queries` point into `keys`. */
typedef struct inbox_page {
  char instructor_id[NAME_SIZE];
  int instructor_size;
  lookup keys[PAGE_ROWS];
  custmem_query queries[PAGE_ROWS];
} inbox_page;

/* Pages drawn at random from `seed`: the same seed gives the same pages. */
void fill_pages(inbox_page *pages, int count, const data_set *set, uint64_t seed);

/* Checks an answer: the customer's id, and the step that found it. */
void check_answer(const lookup *key, int step, const char *customer_id);

/* Checks a badge. */
void check_badge(const lookup *key, const char *label, const char *copy);

/* A link to make: of a new conversation, to a customer. */
typedef struct link_order {
  char instructor_id[NAME_SIZE];
  char conversation_id[ID_SIZE];
  char customer_id[ID_SIZE];
} link_order;

/* SHARED: with others, to read. EXCLUSIVE: the file is its own, and there are no lock calls. WRITER:
** the file is its own, to write to as to a shared one. */
enum access { SHARED, EXCLUSIVE, WRITER };

/* name           as it is printed
** fills_its_own  it does not read the data set's file, but makes a store of its own kind
** open           a data set's file, or (set->path empty) a store in memory with its customers
** resolve_page   a page in one transaction
** resolve_one    each row of a page in a transaction of its own
** badge_page     a page, and each row's badge
** link           links, each in a transaction of its own
** touch          opens a store's file, reads from it, and closes it
** touch_memory   makes a store in memory, and closes it
** A member that is NULL is what the contender does not do.
*/
typedef struct contender {
  const char *name;
  int fills_its_own;
  void *(*open)(const data_set *set, enum access access);
  void (*close)(void *self);
  void (*resolve_page)(void *self, const inbox_page *page);
  void (*resolve_one)(void *self, const inbox_page *page);
  void (*badge_page)(void *self, const inbox_page *page);
  void (*link)(void *self, const link_order *orders, int count);
  void (*touch)(const char *path);
  void (*touch_memory)(void);
} contender;

extern const contender custmem_contender, sqlite_contender, trusting_contender;
extern const contender lmdb_contender, postgres_rows_contender, postgres_page_contender;

/* "10 k", "10 M". */
const char *count_text(int64_t count, char to[NAME_SIZE]);

/* The rows of beyond.c. */
void bench_beyond(int64_t customers);
void bench_caches(int64_t customers);

#endif
