/* SPDX-License-Identifier: MIT
**
** A disk that is full loses nothing, and stops nobody from reading.
**
** A session makes a store, creates customers, links, relinks and unlinks conversations,
** checkpoints as the WAL grows, makes a backup and closes. It is run again and again, each
** time on a disk with room for a little more: until it comes to its end without an error, so
** that it was stopped at every place where it can be. Three kinds of disk are full:
**
**   the shim             every write from the Nth on fails with "full", whole or after its
**                        first half
**   a small file system  a tmpfs of N pages, mounted in a name space of the test's own; no root
**                        is needed
**   a size limit         no file may grow beyond N bytes (RLIMIT_FSIZE): what stands in for the
**                        small file system where nobody may mount one, and is run in any case
**
** Where a call fails, it says CUSTMEM_FULL; every row is what it was; resolutions, lists and the
** verification of the chains against their last heads go on; further writes are refused alike.
** Then either there is room again, and the same call succeeds on the same handle, and the
** session goes on; or the store is closed on the full disk, and whoever opens it later finds
** all that was acknowledged. A size limit is an I/O error to SQLite, and so to custmem.
**
** CUSTMEM_FAULTS=all visits every N, else a share that CUSTMEM_SEED (a number) picks.
*/
#define _GNU_SOURCE /* unshare */

#include "test.h"
#include "vfs_shim.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sched.h>
#include <sys/mount.h>
#endif

#define PATH_SIZE       512
#define PEOPLE          4
#define STEPS           26
#define INSTRUCTOR      "instructor-a"
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* ---- Small disks
** -------------------------------------------------------------------------------- */

/* set     makes the disk an empty one with room for n, where the store's directory is; 0: it
** cannot
** lift    there is room again
** clear   takes the disk away
** step    from one n to the next
** share   one n in so many is visited by default
** codes   what a call that finds no room may give; 0 ends the list
*/
typedef struct disk {
  const char *name;
  int (*set)(int64_t n);
  void (*lift)(void);
  void (*clear)(void);
  int64_t step;
  uint64_t share;
  int codes[4];
} disk;

static char directory[PATH_SIZE]; /* of the store */

static const char *in_directory(const char *name) {
  static char paths[4][PATH_SIZE + 64];
  static unsigned next;
  char *path = paths[next++ % COUNT_OF(paths)];
  snprintf(path, sizeof paths[0], "%s/%s", directory, name);
  return path;
}

static void remove_store(void) {
  static const char *const names[] = {"store.db",         "store.db-wal", "store.db-shm",
                                      "store.db-journal", "copy.db",      "copy.db-journal"};
  size_t i;
  for (i = 0; i < COUNT_OF(names); i++)
    unlink(in_directory(names[i]));
}

static int shim_done;

static int set_shim(int64_t n) {
  vfs_shim_fault fault = {
    VFS_SHIM_BIT(VFS_SHIM_WRITE), VFS_SHIM_ALL, n, 1, SQLITE_FULL, shim_done};
  remove_store();
  vfs_shim_fail(&fault);
  return 1;
}

static void lift_shim(void) {
  vfs_shim_fail(NULL);
}

static int set_whole_shim(int64_t n) {
  shim_done = VFS_SHIM_NOT_DONE;
  return set_shim(n);
}

static int set_half_shim(int64_t n) {
  shim_done = VFS_SHIM_HALF_DONE;
  return set_shim(n);
}

static int limit_files(rlim_t size) {
  struct rlimit limits;
  if (getrlimit(RLIMIT_FSIZE, &limits) != 0) return 0;
  limits.rlim_cur = size < limits.rlim_max ? size : limits.rlim_max;
  return setrlimit(RLIMIT_FSIZE, &limits) == 0;
}

static int set_size(int64_t n) {
  remove_store();
  return limit_files((rlim_t)n * 1024);
}

static void lift_size(void) {
  limit_files(RLIM_INFINITY);
}

#ifdef __linux__
static int set_file_system(int64_t n) {
  char options[64];
  snprintf(options, sizeof options, "size=%" PRId64 "k", n);
  return mount("tmpfs", directory, "tmpfs", MS_NOSUID | MS_NODEV, options) == 0;
}

static void lift_file_system(void) {
  if (mount("tmpfs", directory, "tmpfs", MS_REMOUNT | MS_NOSUID | MS_NODEV, "size=64m") != 0)
    abort();
}

static void clear_file_system(void) {
  if (umount(directory) != 0) abort();
}

static int put_text(const char *path, const char *text) {
  int file = open(path, O_WRONLY | O_CLOEXEC);
  int good = file >= 0 && write(file, text, strlen(text)) == (ssize_t)strlen(text);
  if (file >= 0) close(file);
  return good;
}

/* A name space of this process's own, where it may mount: as a user may, or else as root
** does. */
static int may_mount(void) {
  char users[64], groups[64];
  snprintf(users, sizeof users, "0 %ld 1", (long)geteuid());
  snprintf(groups, sizeof groups, "0 %ld 1", (long)getegid());
  if (unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0) {
    put_text("/proc/self/setgroups", "deny");
    if (!put_text("/proc/self/uid_map", users) || !put_text("/proc/self/gid_map", groups))
      return 0;
  } else if (unshare(CLONE_NEWNS) != 0) {
    return 0;
  }
  if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 || !set_file_system(64)) return 0;
  clear_file_system();
  return 1;
}
#else
static int may_mount(void) {
  return 0;
}

static int set_file_system(int64_t n) {
  (void)n;
  return 0;
}

static void lift_file_system(void) {
}

static void clear_file_system(void) {
}
#endif

/* ---- The session
** --------------------------------------------------------------------------- */

static struct {
  const disk *disk;
  int64_t n;
  int closes; /* on the full disk; else there is room again */
  custmem *store;
  sqlite3 *db;
  char message[CUSTMEM_MESSAGE_MAX + 1];
  char ids[PEOPLE][CUSTMEM_UUID_SIZE + 1];
  int linked[STEPS]; /* by conversation: 0 nobody, else the number of the person, from 1 */
  custmem_head head;
  int is_backed_up;
  int is_lifted; /* there is room */
} run;

/* What came of many runs; it crosses from a child to its parent. */
static struct tally { int64_t places, stopped, opens, writes, backups, bad; } tally;

static int meet_connection(sqlite3 *db, char **message, const void *api) {
  const char *name = sqlite3_db_filename(db, "main");
  (void)message, (void)api;
  if (name != NULL && strstr(name, "store.db") != NULL) run.db = db;
  return SQLITE_OK;
}

/* Every check here passes through, so that a child can say how many did not hold. */
static int note(int holds) {
  if (!holds && tally.bad++ == 0)
    printf(
      "  (%s, room for %" PRId64 ", %s)\n", run.disk->name, run.n,
      run.closes ? "closed while full" : "then room again"
    );
  return holds;
}

static int open_store(void) {
  custmem_options options;
  int rc;
  test_options(&options);
  options.message = run.message;
  options.message_size = sizeof run.message;
  rc = custmem_open(in_directory("store.db"), &options, &run.store);
  /* A WAL of a few pages: a checkpoint, which writes too, comes in many a commit. */
  if (rc == CUSTMEM_OK) sqlite3_wal_autocheckpoint(run.db, 24);
  return rc;
}

static const char *conversation_name(int number) {
  static char names[4][32];
  static unsigned next;
  char *name = names[next++ % COUNT_OF(names)];
  snprintf(name, sizeof names[0], "conversation-%d", number);
  return name;
}

/* Each links a conversation; later ones relink and unlink the one before. Long texts: pages
** fill. */
static int write_link(int number) {
  static char reason[CUSTMEM_REASON_MAX], context[CUSTMEM_CONTEXT_MAX];
  custmem_actor actor = test_human(INSTRUCTOR);
  custmem_written written;
  int to = number % PEOPLE, of = number - number % 2, was = run.linked[of], rc;
  memset(reason, 'r', sizeof reason);
  memset(context, 'c', sizeof context);
  if (was == 0)
    rc = custmem_link(
      run.store, &actor, conversation_name(of), run.ids[to], reason, sizeof reason, context,
      sizeof context, &written
    );
  else if (number % 3 == 0)
    rc = custmem_unlink(
      run.store, &actor, conversation_name(of), run.ids[was - 1], reason, sizeof reason, NULL,
      0, &written
    );
  else
    rc = custmem_relink(
      run.store, &actor, conversation_name(of), run.ids[was - 1], run.ids[to], reason,
      sizeof reason, context, sizeof context, &written
    );
  if (rc != CUSTMEM_OK) return rc;
  run.head = written.head;
  run.linked[of] = was != 0 && number % 3 == 0 ? 0 : to + 1;
  return rc;
}

static int write_customer(int number) {
  custmem_actor actor = test_human(INSTRUCTOR);
  custmem_customer customer;
  char phone[32], display[CUSTMEM_DISPLAY_MAX];
  int rc;
  memset(display, 'd', sizeof display);
  snprintf(phone, sizeof phone, "+39 333 %07d", number);
  rc = custmem_customer_create(
    run.store, &actor, "whatsapp", phone, -1, display, sizeof display, &customer, NULL
  );
  if (rc == CUSTMEM_OK) strcpy(run.ids[number], customer.id);
  return rc;
}

static int write_backup(void) {
  int rc = custmem_backup(run.store, in_directory("copy.db"));
  run.is_backed_up = rc == CUSTMEM_OK;
  return rc;
}

static int take_step(int number) {
  if (number == 0) return open_store();
  if (number <= PEOPLE) return write_customer(number - 1);
  return number == STEPS - 1 ? write_backup() : write_link(number);
}

/* ---- What must hold on a full disk
** --------------------------------------------------------- */

static int is_refusal(int rc) {
  const int *code = run.disk->codes;
  while (*code != 0 && *code != rc)
    code++;
  return *code == rc && rc != CUSTMEM_OK;
}

/* All that was acknowledged can be read. */
static void check_reads(void) {
  custmem_customer customers[PEOPLE];
  custmem_resolution found;
  custmem_report report;
  int32_t count, i, people = 0;
  const custmem_head *anchor = run.head.count > 0 ? &run.head : NULL;
  while (people < PEOPLE && run.ids[people][0] != '\0')
    people++;
  note(CHECK_INT(
    custmem_customer_list(run.store, INSTRUCTOR, NULL, customers, PEOPLE, &count), CUSTMEM_OK
  ));
  note(CHECK_INT(count, people));
  for (i = 0; i < STEPS; i++) {
    const char *want = run.linked[i] > 0 ? run.ids[run.linked[i] - 1] : "";
    note(CHECK_INT(
      custmem_resolve(run.store, INSTRUCTOR, conversation_name(i), NULL, NULL, 0, &found),
      CUSTMEM_OK
    ));
    note(CHECK_TEXT(found.customer_id, want));
  }
  note(CHECK_INT(custmem_audit_verify(run.store, INSTRUCTOR, anchor, &report), CUSTMEM_OK));
  if (anchor != NULL) note(CHECK_TEXT(report.head.hash, run.head.hash));
}

/* Of an unknown outcome: whoever opens the file may find the event that this handle does not
** show. */
static void check_reopened(int is_unknown) {
  custmem_report report;
  custmem_head head;
  if (!note(CHECK_INT(open_store(), CUSTMEM_OK))) return;
  note(CHECK_INT(custmem_check(run.store, &report), CUSTMEM_OK));
  note(CHECK_INT(custmem_audit_head(run.store, INSTRUCTOR, &head), CUSTMEM_OK));
  if (is_unknown && head.count == run.head.count + 1)
    note(CHECK_INT(
      custmem_audit_verify(
        run.store, INSTRUCTOR, run.head.count > 0 ? &run.head : NULL, &report
      ),
      CUSTMEM_OK
    ));
  else if (!is_unknown)
    check_reads();
}

/* A step found no room. */
static void check_full(int number, int rc, uint64_t rows) {
  const char *message = run.store != NULL ? custmem_errmsg(run.store) : run.message;
  note(CHECK(is_refusal(rc)));
  if (!is_refusal(rc)) printf("  %s: %s\n", custmem_code_name(rc), message);
  note(CHECK(message[0] != '\0'));
  tally.stopped++;
  tally.opens += number == 0;
  tally.backups += number == STEPS - 1;
  tally.writes += number > 0 && number < STEPS - 1;
  if (number == 0) {
    note(CHECK(run.store == NULL));
    return;
  }
  note(CHECK(test_rows(in_directory("store.db")) == rows));
  check_reads();
  if (number == STEPS - 1) {
    note(CHECK_INT(test_file_size(in_directory("copy.db")), -1));
    note(CHECK_INT(test_file_size(in_directory("copy.db-journal")), -1));
  }
}

/* Once more while it is full: refused alike, or, where this one finds room, done. */
static int insist(int number, uint64_t rows) {
  int rc = take_step(number);
  if (rc == CUSTMEM_OK) return 1;
  note(CHECK(is_refusal(rc)));
  note(CHECK(test_rows(in_directory("store.db")) == rows));
  check_reads();
  return 0;
}

static void close_store(void) {
  note(CHECK_INT(custmem_close(run.store), CUSTMEM_OK));
  run.store = NULL;
}

/* On the full disk it is closed, and perhaps opened; then there is room. */
static void close_full(int is_unknown) {
  int rc;
  if (run.store != NULL) close_store();
  rc = open_store();
  if (rc == CUSTMEM_OK && !is_unknown) check_reads();
  if (rc == CUSTMEM_OK) close_store();
  note(CHECK(rc == CUSTMEM_OK || is_refusal(rc)));
  run.disk->lift();
  check_reopened(is_unknown);
}

/* A step found no room. Gives whether the session goes on. */
static int go_on(int number, int rc, uint64_t rows) {
  check_full(number, rc, rows);
  if (run.closes) {
    close_full(rc == CUSTMEM_UNKNOWN_OUTCOME);
    return 0;
  }
  if (number > 0 && number < STEPS - 1 && insist(number, rows)) return 1;
  run.disk->lift();
  run.is_lifted = 1;
  return note(CHECK_INT(take_step(number), CUSTMEM_OK));
}

/* Runs the session with room for n; says whether it was stopped. */
static int run_session(const disk *small, int64_t n, int closes) {
  int64_t stopped = tally.stopped;
  int number, goes_on = 1;
  memset(&run, 0, sizeof run);
  run.disk = small;
  run.n = n;
  run.closes = closes;
  if (!note(CHECK(small->set(n)))) return 0;
  for (number = 0; number < STEPS && goes_on; number++) {
    uint64_t rows = number > 0 ? test_rows(in_directory("store.db")) : 0;
    int rc = take_step(number);
    if (rc == CUSTMEM_OK) continue;
    goes_on = note(CHECK(!run.is_lifted)) && go_on(number, rc, rows);
  }
  if (run.store != NULL) close_store();
  small->lift();
  if (goes_on) {
    note(CHECK(run.is_backed_up));
    check_reopened(0);
    close_store();
  }
  small->clear();
  tally.places++;
  return tally.stopped > stopped;
}

static int is_visited(const disk *small, int64_t n) {
  uint64_t random = test_seed() + (uint64_t)n;
  return test_is_full() || test_random(&random) % small->share == 0;
}

/* With room for more and more, until there is room for all. */
static void sweep(const disk *small) {
  int64_t n;
  int closes, was_full = 1;
  memset(&tally, 0, sizeof tally);
  for (n = small->step; was_full && tally.bad == 0; n += small->step) {
    if (!is_visited(small, n)) continue;
    was_full = 0;
    for (closes = 0; closes < 2; closes++)
      was_full |= run_session(small, n, closes);
  }
}

static void print_tally(const char *name) {
  printf(
    "  disk full, %s: %" PRId64 " sessions, seed %" PRIu64 ", %" PRId64 " stopped: %" PRId64
    " at opening, %" PRId64 " at a write, %" PRId64 " at a backup; %" PRId64 " faults\n",
    name, tally.places, test_seed(), tally.stopped, tally.opens, tally.writes, tally.backups,
    tally.bad
  );
  CHECK_INT(tally.bad, 0);
  CHECK(tally.opens > 0);
  CHECK(tally.writes > 0);
  /* The last one had room for all. */
  CHECK(tally.stopped < tally.places);
}

/* ---- The tests
** ----------------------------------------------------------------------------- */

static void use_directory(const char *name) {
  strcpy(directory, test_path(name));
  if (mkdir(directory, 0700) != 0 && errno != EEXIST) abort();
}

static void sweep_shim(const disk *small) {
  use_directory("shim");
  CHECK_INT(vfs_shim_install(), SQLITE_OK);
  vfs_shim_hurry(1);
  sweep(small);
  vfs_shim_remove();
  print_tally(small->name);
}

TEST(a_write_that_finds_the_disk_full_changes_nothing_and_reads_go_on) {
  static const disk whole = {
    .name = "by shim",
    .set = set_whole_shim,
    .lift = lift_shim,
    .clear = remove_store,
    .step = 1,
    .share = 23,
    .codes = {CUSTMEM_FULL, 0},
  };
  sweep_shim(&whole);
}

TEST(a_write_that_is_half_done_when_the_disk_is_full_changes_nothing) {
  static const disk half = {
    .name = "by shim, half a write",
    .set = set_half_shim,
    .lift = lift_shim,
    .clear = remove_store,
    .step = 1,
    .share = 23,
    .codes = {CUSTMEM_FULL, 0},
  };
  sweep_shim(&half);
}

/* In a child of its own: what it limits is its own. Gives whether it could. */
static int sweep_in_child(const disk *small, int (*prepare)(void)) {
  int ends[2], status = 0, got = 0;
  pid_t child;
  fflush(stdout);
  if (!CHECK_INT(pipe(ends), 0)) return 0;
  child = fork();
  if (child == 0) {
    int able = prepare();
    if (able) {
      sweep(small);
      able = write(ends[1], &tally, sizeof tally) == (ssize_t)sizeof tally;
    }
    fflush(stdout);
    _exit(able ? 0 : 77);
  }
  close(ends[1]);
  got = read(ends[0], &tally, sizeof tally) == (ssize_t)sizeof tally;
  close(ends[0]);
  CHECK_INT(waitpid(child, &status, 0), child);
  CHECK(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 77));
  return got;
}

static int ignore_size_signal(void) {
  return signal(SIGXFSZ, SIG_IGN) != SIG_ERR;
}

/* SQLite takes "file too large" for an I/O error, and custmem a commit that ended so for
** unknown. */
static const disk SIZE = {
  .name = "by a limit of file sizes",
  .set = set_size,
  .lift = lift_size,
  .clear = remove_store,
  .step = 4,
  .share = 5,
  .codes = {CUSTMEM_IO, CUSTMEM_UNKNOWN_OUTCOME, CUSTMEM_FULL, 0},
};

TEST(a_file_that_may_not_grow_changes_nothing_and_reads_go_on) {
  use_directory("size");
  CHECK(sweep_in_child(&SIZE, ignore_size_signal));
  print_tally(SIZE.name);
}

TEST(a_small_file_system_that_is_full_loses_nothing_and_reads_go_on) {
  static const disk small = {
    .name = "on a small tmpfs",
    .set = set_file_system,
    .lift = lift_file_system,
    .clear = clear_file_system,
    .step = 4,
    .share = 5,
    .codes = {CUSTMEM_FULL, 0},
  };
  use_directory("tmpfs");
  if (sweep_in_child(&small, may_mount)) {
    print_tally(small.name);
    return;
  }
  printf("  disk full, on a small tmpfs: nobody may mount one here; instead:\n");
  CHECK(sweep_in_child(&SIZE, ignore_size_signal));
  print_tally(SIZE.name);
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  if (sqlite3_auto_extension((void (*)(void))meet_connection) != SQLITE_OK) return 1;
  RUN(a_write_that_finds_the_disk_full_changes_nothing_and_reads_go_on, "CM-2.3 §7; CM-2.1 §5");
  RUN(a_write_that_is_half_done_when_the_disk_is_full_changes_nothing, "CM-2.3 §7");
  RUN(a_file_that_may_not_grow_changes_nothing_and_reads_go_on, "CM-2.3 §7");
  RUN(a_small_file_system_that_is_full_loses_nothing_and_reads_go_on, "CM-2.3 §7; CM-2.1 §5");
  return test_report();
}
