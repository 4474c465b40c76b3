/* SPDX-License-Identifier: MIT
**
** PostgreSQL, as a host beside a database server would have it: over a Unix socket, statements
** prepared once, indexes that cover. A page is asked for in two ways: a statement for each row (the
** usual "N+1"), and one statement for the whole page.
**
** The server is one of this run's own: a new cluster in a scratch directory, reached through a
** socket in it alone (no network), with PostgreSQL's defaults but for durability, which reads do
** not need. Run by root, it is started as the user `postgres` or `nobody`, since it refuses root.
** It is stopped at exit, by its process id.
*/
#define _XOPEN_SOURCE 700
#define _DEFAULT_SOURCE

#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define START_SECONDS 30
#define ROLE          "bench"

static struct {
  char directory[PATH_SIZE];
  char programs[PATH_SIZE]; /* where initdb and postgres are */
  pid_t server;
} cluster;

/* ---- The server ---------------------------------------------------------------------------- */

/* In a child: becomes a user that PostgreSQL accepts, if this one is root. */
static void leave_root(const struct passwd *user) {
  if (geteuid() != 0) return;
  if (setgroups(0, NULL) != 0 || setgid(user->pw_gid) != 0 || setuid(user->pw_uid) != 0)
    _exit(126);
}

static const struct passwd *server_user(void) {
  const struct passwd *user = getpwnam("postgres");
  if (user == NULL) user = getpwnam("nobody");
  if (user == NULL) give_up("there is no user postgres or nobody to run PostgreSQL as");
  return user;
}

/* Starts one of PostgreSQL's programs; what it says goes to a file in the cluster's directory. */
static pid_t start_program(const char *name, char *const *arguments) {
  const struct passwd *user = server_user();
  char path[2 * PATH_SIZE], log[2 * PATH_SIZE];
  pid_t child;
  snprintf(path, sizeof path, "%s/%s", cluster.programs, name);
  snprintf(log, sizeof log, "%s/log", cluster.directory);
  fflush(NULL);
  child = fork();
  if (child < 0) give_up("no process can be started");
  if (child > 0) return child;
  leave_root(user);
  if (chdir(cluster.directory) != 0 || freopen(log, "a", stdout) == NULL || dup2(STDOUT_FILENO, STDERR_FILENO) < 0)
    _exit(126);
  execv(path, arguments);
  _exit(127);
}

static void end_server(void) {
  int status;
  if (cluster.server > 0 && kill(cluster.server, SIGINT) == 0) /* "fast shutdown" */
    while (waitpid(cluster.server, &status, 0) < 0 && errno == EINTR)
      ;
  cluster.server = 0;
  if (cluster.directory[0] != '\0') remove_tree(cluster.directory);
  cluster.directory[0] = '\0';
}

/* Where the programs are: what libpq-dev's pg_config says. */
static void find_programs(void) {
  FILE *said = popen("pg_config --bindir", "r");
  char path[2 * PATH_SIZE];
  if (said == NULL || fgets(cluster.programs, sizeof cluster.programs, said) == NULL)
    give_up("pg_config does not say where PostgreSQL is (Debian: postgresql, libpq-dev)");
  pclose(said);
  cluster.programs[strcspn(cluster.programs, "\n")] = '\0';
  snprintf(path, sizeof path, "%s/initdb", cluster.programs);
  if (access(path, X_OK) != 0) give_up("%s is not there (Debian: postgresql)", path);
}

static void make_cluster(void) {
  char data[] = "data";
  char *const arguments[] = {"initdb", "-D", data,   "-U",         ROLE, "-A",
                             "trust",  "-E", "UTF8", "--locale=C", "-N", NULL};
  const char *where = getenv("TMPDIR");
  int status = 0;
  pid_t child;
  snprintf(
    cluster.directory, sizeof cluster.directory, "%s/custmem-bench-XXXXXX",
    where != NULL ? where : "/tmp"
  );
  if (mkdtemp(cluster.directory) == NULL) give_up("no directory for PostgreSQL can be made");
  atexit(end_server);
  if (geteuid() == 0)
    EXPECT(chown(cluster.directory, server_user()->pw_uid, server_user()->pw_gid) == 0);
  child = start_program("initdb", arguments);
  EXPECT(waitpid(child, &status, 0) == child);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) give_up("initdb failed");
}

static PGconn *connect_to(void) {
  char about[2 * PATH_SIZE];
  snprintf(about, sizeof about, "host='%s' user=" ROLE " dbname=postgres", cluster.directory);
  return PQconnectdb(about);
}

/* The first connection that the server accepts. */
static void start_server(void) {
  char sockets[PATH_SIZE + 32];
  char *const arguments[] = {"postgres", "-D",    "data", "-h",        "",
                             "-k",       sockets, "-c",   "fsync=off", NULL};
  const struct timespec pause = {0, 50000000};
  int tries;
  snprintf(sockets, sizeof sockets, "%s", cluster.directory);
  cluster.server = start_program("postgres", arguments);
  for (tries = 0; tries < START_SECONDS * 20; tries++) {
    PGconn *db = connect_to();
    int is_up = PQstatus(db) == CONNECTION_OK;
    PQfinish(db);
    if (is_up) return;
    nanosleep(&pause, NULL);
  }
  give_up("PostgreSQL did not start within %d seconds", START_SECONDS);
}

/* ---- Statements ---------------------------------------------------------------------------- */

static PGresult *expect_result(PGconn *db, PGresult *result, ExecStatusType status) {
  if (PQresultStatus(result) != status) give_up("PostgreSQL: %s", PQerrorMessage(db));
  return result;
}

static void run(PGconn *db, const char *sql) {
  PQclear(expect_result(db, PQexec(db, sql), PGRES_COMMAND_OK));
}

static void prepare(PGconn *db, const char *name, const char *sql) {
  PQclear(expect_result(db, PQprepare(db, name, sql, 0, NULL), PGRES_COMMAND_OK));
}

/* Sends a table's rows: `line` writes one of customer i, or nothing. */
static void copy_in(
  PGconn *db,
  const char *sql,
  const data_set *set,
  int (*line)(const data_set *set, int64_t i, char *to, size_t size)
) {
  char row[PATH_SIZE];
  int64_t i;
  PQclear(expect_result(db, PQexec(db, sql), PGRES_COPY_IN));
  for (i = 0; i < set->customers; i++) {
    int size = line(set, i, row, sizeof row);
    if (size > 0 && PQputCopyData(db, row, size) != 1) give_up("%s", PQerrorMessage(db));
  }
  if (PQputCopyEnd(db, NULL) != 1) give_up("%s", PQerrorMessage(db));
  PQclear(expect_result(db, PQgetResult(db), PGRES_COMMAND_OK));
  while (PQgetResult(db) != NULL)
    ;
}

static int customer_line(const data_set *set, int64_t i, char *to, size_t size) {
  char id[ID_SIZE], instructor_id[NAME_SIZE], identifier[NAME_SIZE];
  customer_id_of(i, id);
  instructor_id_of(i % set->instructors, instructor_id);
  identifier_of(i, identifier);
  return snprintf(
    to, size, "%s\t%s\t" CHANNEL "\t%s\t+%s\t%" PRId64 "\t%" PRId64 "\n", id, instructor_id,
    identifier, identifier, FIRST_MS + i, FIRST_MS + i
  );
}

static int link_line(const data_set *set, int64_t i, char *to, size_t size) {
  char id[ID_SIZE], instructor_id[NAME_SIZE], conversation_id[ID_SIZE];
  if (!is_linked(set, i)) return 0;
  customer_id_of(i, id);
  instructor_id_of(i % set->instructors, instructor_id);
  conversation_id_of(i, conversation_id);
  return snprintf(to, size, "%s\t%s\t%s\n", conversation_id, instructor_id, id);
}

static void fill(PGconn *db, const data_set *set) {
  run(
    db, "CREATE TABLE customers (id uuid PRIMARY KEY, instructor_id text NOT NULL,"
        " channel text NOT NULL, normalized_identifier text NOT NULL, display_identifier text,"
        " created_at bigint NOT NULL, updated_at bigint NOT NULL)"
  );
  run(
    db, "CREATE TABLE conversation_links (conversation_id text PRIMARY KEY,"
        " instructor_id text NOT NULL, customer_id uuid)"
  );
  copy_in(db, "COPY customers FROM STDIN", set, customer_line);
  copy_in(db, "COPY conversation_links FROM STDIN", set, link_line);
  run(
    db, "CREATE UNIQUE INDEX ON customers (normalized_identifier, channel, instructor_id)"
        " INCLUDE (id)"
  );
  run(db, "CREATE UNIQUE INDEX ON customers (instructor_id, id)");
  run(
    db, "ALTER TABLE conversation_links ADD FOREIGN KEY (instructor_id, customer_id)"
        " REFERENCES customers (instructor_id, id)"
  );
  run(db, "VACUUM (ANALYZE)");
}

/* One database, filled anew when another set is asked for. */
static void make_database(const data_set *set) {
  static int64_t filled;
  PGconn *db;
  if (cluster.server == 0) {
    find_programs();
    make_cluster();
    start_server();
  }
  if (filled == set->customers) return;
  db = connect_to();
  run(db, "SET client_min_messages = warning");
  run(db, "DROP TABLE IF EXISTS conversation_links, customers");
  fill(db, set);
  PQfinish(db);
  filled = set->customers;
}

static void *open_contender(const data_set *set, enum access access) {
  PGconn *db;
  (void)access;
  make_database(set);
  db = connect_to();
  if (PQstatus(db) != CONNECTION_OK) give_up("PostgreSQL: %s", PQerrorMessage(db));
  prepare(
    db, "row",
    "SELECT customer.id, 1 FROM conversation_links AS link JOIN customers AS customer"
    " ON customer.id = link.customer_id AND customer.instructor_id = link.instructor_id"
    " WHERE link.conversation_id = $2 AND link.instructor_id = $1"
    " UNION ALL SELECT id, 2 FROM customers WHERE normalized_identifier = $4 AND channel = $3"
    " AND instructor_id = $1 LIMIT 1"
  );
  prepare(
    db, "page",
    "SELECT coalesce(owner.id, customer.id), CASE WHEN owner.id IS NULL THEN 2 ELSE 1 END"
    " FROM unnest($2::text[], $4::text[]) WITH ORDINALITY AS asked(conversation, identifier, "
    "place)"
    " LEFT JOIN conversation_links AS link"
    " ON link.conversation_id = asked.conversation AND link.instructor_id = $1"
    " LEFT JOIN customers AS owner"
    " ON owner.id = link.customer_id AND owner.instructor_id = link.instructor_id"
    " LEFT JOIN customers AS customer ON owner.id IS NULL"
    " AND customer.normalized_identifier = asked.identifier AND customer.channel = $3"
    " AND customer.instructor_id = $1 ORDER BY asked.place"
  );
  return db;
}

static void close_contender(void *self) {
  PQfinish(self);
}

/* ---- Pages --------------------------------------------------------------------------------- */

static void check_row(const PGresult *result, int row, const lookup *key) {
  char customer_id[ID_SIZE] = "";
  int step = (int)strtol(PQgetvalue(result, row, 1), NULL, 10);
  snprintf(customer_id, sizeof customer_id, "%s", PQgetvalue(result, row, 0));
  check_answer(key, step, customer_id);
  check_badge(
    key, step == 1 ? "Known customer" : "New customer",
    step == 1 ? "This customer is already known to you" : "First interaction with this customer"
  );
}

static PGresult *ask(PGconn *db, const char *name, const char *const values[4], int rows) {
  PGresult *result = PQexecPrepared(db, name, 4, values, NULL, NULL, 0);
  expect_result(db, result, PGRES_TUPLES_OK);
  if (PQntuples(result) != rows) give_up("PostgreSQL: %d rows", PQntuples(result));
  return result;
}

static void page_by_rows(void *self, const inbox_page *page) {
  int i;
  for (i = 0; i < PAGE_ROWS; i++) {
    const lookup *key = &page->keys[i];
    const char *const values[] = {
      page->instructor_id, key->conversation_id, CHANNEL, key->identifier};
    PGresult *result = ask(self, "row", values, 1);
    check_row(result, 0, key);
    PQclear(result);
  }
}

static void page_at_once(void *self, const inbox_page *page) {
  char conversations[PAGE_ROWS * (ID_SIZE + 1) + 2] = "", *c = conversations;
  char identifiers[PAGE_ROWS * (NAME_SIZE + 1) + 2] = "", *d = identifiers;
  const char *const values[] = {page->instructor_id, conversations, CHANNEL, identifiers};
  PGresult *result;
  int i;
  for (i = 0; i < PAGE_ROWS; i++) {
    c += snprintf(c, ID_SIZE + 1, "%c%s", i == 0 ? '{' : ',', page->keys[i].conversation_id);
    d += snprintf(d, NAME_SIZE + 1, "%c%s", i == 0 ? '{' : ',', page->keys[i].identifier);
  }
  memcpy(c, "}", 2);
  memcpy(d, "}", 2);
  result = ask(self, "page", values, PAGE_ROWS);
  for (i = 0; i < PAGE_ROWS; i++)
    check_row(result, i, &page->keys[i]);
  PQclear(result);
}

const contender postgres_rows_contender = {
  .name = "PostgreSQL, N+1",
  .fills_its_own = 1,
  .open = open_contender,
  .close = close_contender,
  .badge_page = page_by_rows,
};

const contender postgres_page_contender = {
  .name = "PostgreSQL, one statement",
  .fills_its_own = 1,
  .open = open_contender,
  .close = close_contender,
  .badge_page = page_at_once,
};
