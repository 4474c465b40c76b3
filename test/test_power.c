/* SPDX-License-Identifier: MIT
**
** What custmem reported as done survives a power cut, wherever it comes.
**
** A life is that of one store on a simulated disk (power_vfs.h): it is made, customers are
** created, conversations linked, relinked and unlinked, all by a seeded random; checkpoints
** come by size and by call, the store is closed and opened again, backed up, and used by one
** process alone for a while. Before each write, sync, truncation, deletion and creation of a
** file, and between any two calls, the power is cut in nine ways. Each cut gives an image of
** the files, which is opened as the next process would, beside the life, which goes on. Now
** and then the machine really stops, and the life goes on from one such image; or a sync
** fails, and what it was to make durable is partly lost.
**
** An image is sound when
**
**   it opens, and says that it is the same store
**   each instructor's chain verifies against the head that the last acknowledged write returned
**   customers, their displays, links and heads are exactly those of all acknowledged writes;
**     or of these and the one that was under way (or is of unknown outcome)
**   of a share: custmem_check is content; the call that was under way can be repeated, and is
**     then done exactly once; it can be closed and opened again; an acknowledged backup is whole
**
** If it shows an earlier state of the store, something acknowledged is lost; if it shows any
** other, or does not open, it is inconsistent. A simulator that finds nothing must first show
** that it can: the same lives with SQLite's synchronous OFF, and on a disk that lies about
** sync, have to fail, and with synchronous NORMAL they have to lose writes and nothing else.
**
** The second half takes some of these images, and makes one allocation after another, and one
** call of the file system after another, fail while custmem_open recovers them.
**
** CUSTMEM_SEED (a number) picks another run, and CUSTMEM_LIFE (a number) the life that it
** begins with; CUSTMEM_FAULTS=all makes 100,000 images and visits every point of the recoveries.
*/
#define _XOPEN_SOURCE 700

#include "faults.h"
#include "memory_vfs.h"
#include "power_vfs.h"
#include "test.h"
#include "vfs_shim.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define IMAGES          100000
#define IMAGES_SHARE    2400
#define LIFE_SHARE      800
#define CONTROLS        4000
#define CONTROLS_SHARE  300
#define RECOVERIES      20
#define GATHERED        40 /* lives at most, to find so many images */
#define MEMORY_SHARE    193
#define DISK_SHARE      11
#define COMPLAINTS      5
#define TOO_MANY        200 /* complaints: there is no more to learn */
#define PATH_SIZE       512
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#define INSTRUCTORS   2
#define PEOPLE        6  /* of each instructor */
#define CONVERSATIONS 10 /* one instructor's and the other's in turn */
#define NEXT          8
#define HISTORY       256

static const char *const INSTRUCTOR[INSTRUCTORS] = {"instructor-a", "instructor-b"};

/* ---- What a store shows
** -------------------------------------------------------------------- */

/* The whole of a store, short enough to compare.
**
** id      of the store, "": not known yet
** heads   hash "": not known yet
** ids     of customers, "": not known yet
** shown   0: no such customer; 1: without a display; else the number of its display
** linked  0: nobody; else the number of the person, from 1
*/
typedef struct state {
  char id[CUSTMEM_UUID_SIZE + 1];
  custmem_head heads[INSTRUCTORS];
  char ids[INSTRUCTORS][PEOPLE][CUSTMEM_UUID_SIZE + 1];
  int shown[INSTRUCTORS][PEOPLE];
  int linked[CONVERSATIONS];
} state;

static int instructor_of(int conversation) {
  return conversation % INSTRUCTORS;
}

static const char *conversation_name(int conversation, char name[32]) {
  snprintf(name, 32, "conversation-%d", conversation);
  return name;
}

static const char *phone_of(int instructor, int person, char phone[32]) {
  snprintf(phone, 32, "+39 333 %d%06d", instructor, person);
  return phone;
}

/* Of all lengths up to the longest. */
static const char *display_of(int number, char display[CUSTMEM_DISPLAY_MAX + 1]) {
  int size = snprintf(display, CUSTMEM_DISPLAY_MAX + 1, "Somebody %d ", number);
  memset(display + size, 'x', (size_t)(number * 37 % (CUSTMEM_DISPLAY_MAX - size)));
  display[size + number * 37 % (CUSTMEM_DISPLAY_MAX - size)] = '\0';
  return display;
}

static int is_same_text(const char *got, const char *want) {
  return want[0] == '\0' || strcmp(got, want) == 0;
}

static int is_same(const state *got, const state *want) {
  int i, k;
  if (!is_same_text(got->id, want->id)) return 0;
  if (memcmp(got->shown, want->shown, sizeof got->shown) != 0) return 0;
  if (memcmp(got->linked, want->linked, sizeof got->linked) != 0) return 0;
  for (i = 0; i < INSTRUCTORS; i++) {
    if (got->heads[i].count != want->heads[i].count) return 0;
    if (!is_same_text(got->heads[i].hash, want->heads[i].hash)) return 0;
    for (k = 0; k < PEOPLE; k++)
      if (!is_same_text(got->ids[i][k], want->ids[i][k])) return 0;
  }
  return 1;
}

static int look_at_customers(custmem *store, int instructor, state *found) {
  custmem_customer customers[PEOPLE + 1];
  char phone[32], key[CUSTMEM_IDENTIFIER_MAX + 1], display[CUSTMEM_DISPLAY_MAX + 1];
  int32_t count, i;
  int rc =
    custmem_customer_list(store, INSTRUCTOR[instructor], NULL, customers, PEOPLE + 1, &count);
  for (i = 0; rc == CUSTMEM_OK && i < count; i++) {
    int person = 0, number = 1;
    do {
      custmem_normalize("whatsapp", phone_of(instructor, person, phone), -1, key);
    } while (strcmp(key, customers[i].normalized_identifier) != 0 && ++person < PEOPLE);
    if (person == PEOPLE || found->shown[instructor][person] != 0) return CUSTMEM_BROKEN;
    if (sscanf(customers[i].display_identifier, "Somebody %d", &number) == 1 &&
        strcmp(display_of(number, display), customers[i].display_identifier) != 0)
      return CUSTMEM_BROKEN;
    found->shown[instructor][person] = number;
    strcpy(found->ids[instructor][person], customers[i].id);
  }
  return rc;
}

static int look_at_links(custmem *store, state *found) {
  custmem_query queries[CONVERSATIONS];
  custmem_resolution resolutions[CONVERSATIONS];
  char names[CONVERSATIONS][32];
  int instructor, i, k, rc = CUSTMEM_OK;
  memset(queries, 0, sizeof queries);
  for (i = 0; i < CONVERSATIONS; i++)
    queries[i].conversation_id = conversation_name(i, names[i]);
  for (instructor = 0; instructor < INSTRUCTORS && rc == CUSTMEM_OK; instructor++) {
    rc =
      custmem_resolve_many(store, INSTRUCTOR[instructor], queries, CONVERSATIONS, resolutions);
    for (i = instructor; i < CONVERSATIONS; i += INSTRUCTORS)
      for (k = 0; k < PEOPLE && resolutions[i].outcome == CUSTMEM_LINKED; k++)
        if (strcmp(found->ids[instructor][k], resolutions[i].customer_id) == 0)
          found->linked[i] = k + 1;
  }
  return rc;
}

/* Reads all of it, and verifies the chains. An anchor whose count is 0 and whose hash is "" is
** none. What a chain has lost of its anchor is counted, and is no fault of the chain. */
static int look(custmem *store, const custmem_head *anchors, state *found, int *cut_off) {
  custmem_report report;
  custmem_info info;
  int i, rc = custmem_store_info(store, &info);
  memset(found, 0, sizeof *found);
  *cut_off = 0;
  strcpy(found->id, info.id);
  for (i = 0; i < INSTRUCTORS && rc == CUSTMEM_OK; i++) {
    const custmem_head *anchor = anchors[i].hash[0] != '\0' ? &anchors[i] : NULL;
    rc = custmem_audit_verify(store, INSTRUCTOR[i], anchor, &report);
    if (rc == CUSTMEM_ANCHOR) {
      ++*cut_off;
      rc = CUSTMEM_OK;
    }
    found->heads[i] = report.head;
    if (rc == CUSTMEM_OK) rc = look_at_customers(store, i, found);
  }
  return rc == CUSTMEM_OK ? look_at_links(store, found) : rc;
}

/* ---- Operations
** ---------------------------------------------------------------------------- */

enum kind { CREATE, SET_DISPLAY, LINK, RELINK, UNLINK };
static const char *const KINDS[] = {"create", "set_display", "link", "relink", "unlink"};

/* number  its own: what it writes is made from it
** person  the customer created, shown or linked to
** before  relink and unlink: the current one
*/
typedef struct operation {
  enum kind kind;
  int number;
  int instructor;
  int conversation;
  int person;
  int before;
} operation;

static int64_t fill(char *text, size_t size, int number, const char *what) {
  size_t start = (size_t)snprintf(text, size, "%s %d ", what, number);
  size_t length = start + (size_t)number * 211 % (size - start);
  memset(text + start, 'y', length - start);
  return (int64_t)length;
}

/* Makes the call; the head is of a verb that succeeded. */
static int perform(
  custmem *store,
  const operation *op,
  const state *known,
  custmem_head *head
) {
  char name[32], phone[32], display[CUSTMEM_DISPLAY_MAX + 1];
  char reason[CUSTMEM_REASON_MAX], context[CUSTMEM_CONTEXT_MAX];
  custmem_actor actor = test_human(INSTRUCTOR[op->instructor]);
  const char *to = known->ids[op->instructor][op->person];
  const char *from = known->ids[op->instructor][op->before];
  int64_t reason_size = fill(reason, sizeof reason, op->number, "Reason");
  int64_t context_size = fill(context, sizeof context, op->number, "Context");
  const char *given = op->number % 3 == 0 ? context : NULL;
  custmem_written written;
  int rc = CUSTMEM_INTERNAL;
  memset(&written, 0, sizeof written);
  conversation_name(op->conversation, name);
  display_of(op->number, display);
  phone_of(op->instructor, op->person, phone);
  switch (op->kind) {
  case CREATE:
    rc = custmem_customer_create(
      store, &actor, "whatsapp", phone, -1, op->number % 2 == 0 ? NULL : display, -1, NULL, NULL
    );
    break;
  case SET_DISPLAY:
    rc = custmem_customer_set_display(store, &actor, to, display, -1, NULL);
    break;
  case LINK:
    rc =
      custmem_link(store, &actor, name, to, reason, reason_size, given, context_size, &written);
    break;
  case RELINK:
    rc = custmem_relink(
      store, &actor, name, from, to, reason, reason_size, given, context_size, &written
    );
    break;
  case UNLINK:
    rc = custmem_unlink(
      store, &actor, name, from, reason, reason_size, given, context_size, &written
    );
    break;
  }
  *head = written.head;
  return rc;
}

/* What the store is to show after it. */
static void apply(const operation *op, state *to) {
  int has_display = op->kind == SET_DISPLAY || (op->kind == CREATE && op->number % 2 != 0);
  if (op->kind == CREATE || op->kind == SET_DISPLAY) {
    to->shown[op->instructor][op->person] = has_display ? op->number : 1;
    return;
  }
  to->linked[op->conversation] = op->kind == UNLINK ? 0 : op->person + 1;
  to->heads[op->instructor].count++;
  to->heads[op->instructor].hash[0] = '\0';
}

/* What the same call gives when it was done already. */
static int code_when_done(enum kind kind) {
  switch (kind) {
  case LINK:
    return CUSTMEM_ALREADY_LINKED;
  case RELINK:
    return CUSTMEM_CHANGED;
  case UNLINK:
    return CUSTMEM_NOT_LINKED;
  default:
    return CUSTMEM_OK;
  }
}

/* ---- A life
** -------------------------------------------------------------------------------- */

enum mode { FULL, NORMAL, OFF, LIES, GATHER };
static const char *const MODES[] = {"FULL", "NORMAL", "OFF", "lying disk", "gather"};

enum verdict { SOUND, LOST, INCONSISTENT, VERDICTS };

/* model    all acknowledged writes
** next     what may be there besides: of unknown outcome, and last the one that is under way
** history  every model of this life
** points   places where the power was cut; at stop_at the machine stops
*/
static struct {
  char path[PATH_SIZE], image[PATH_SIZE], walled[PATH_SIZE];
  enum mode mode;
  uint64_t seed;
  int64_t number;
  power_vfs_disk disk;
  int checkpoint_pages;
  custmem *store;
  sqlite3 *db;
  state model;
  state next[NEXT];
  int next_count;
  state history[HISTORY];
  int history_count;
  const operation *flight;
  int operations;
  int64_t points, stop_at;
  int stopped;
  int is_cut;           /* what the store's files are used for now is an image */
  int is_weak;          /* a sync is to fail */
  power_vfs_image left; /* what it stopped with */
  power_vfs_image cut;
  int has_backup;
  state backup;
  const char *doing;
  char message[CUSTMEM_MESSAGE_MAX + 1];
} life;

static struct {
  uint64_t seed;
  int is_all;
  int64_t verdicts[VERDICTS];
  int64_t images, points, lives, stops, failed_syncs, unknown, repeated, checked, backups;
  int64_t files[POWER_VFS_FILES];
  int64_t wanted, first;
  int complaints;
} total;

static int one_in(uint64_t count) {
  return test_random(&life.seed) % count == 0;
}

static void complain(const char *how, const char *format, ...) {
  va_list arguments;
  if (total.complaints++ >= COMPLAINTS) return;
  printf(
    "life %" PRId64 " (%s), point %" PRId64 ", %s%s%s, cut: %s: ", life.number,
    MODES[life.mode], life.points, life.doing, life.flight != NULL ? " " : "",
    life.flight != NULL ? KINDS[life.flight->kind] : "", how
  );
  va_start(arguments, format);
  vprintf(format, arguments);
  va_end(arguments);
  printf("\n");
}

static const char *beside(const char *path, int file, char name[PATH_SIZE + 16]) {
  snprintf(name, PATH_SIZE + 16, "%s%s", path, power_vfs_suffix(file));
  return name;
}

/* Puts the files of an image where they can be opened. */
static void put_files(const power_vfs_image *image, const char *path) {
  char name[PATH_SIZE + 16];
  int file;
  for (file = 0; file < POWER_VFS_FILES; file++) {
    beside(path, file, name);
    memory_vfs_delete(name);
    if (image->size[file] >= 0)
      memory_vfs_put(name, image->bytes[file], (size_t)image->size[file]);
  }
}

static void remove_files(const char *path) {
  static const power_vfs_image none = {{NULL}, {-1, -1, -1, -1, -1, -1}, {0}};
  put_files(&none, path);
}

static int open_store(const char *path, int exclusive, custmem **store) {
  custmem_options options;
  test_options(&options);
  options.exclusive = exclusive;
  options.message = life.message;
  options.message_size = sizeof life.message;
  return custmem_open(path, &options, store);
}

/* ---- Images
** -------------------------------------------------------------------------------- */

/* Where an image is opened: custmem looks for a -wal in the real file system, to know whether
** it may be another's. */
static const char *image_path(const power_vfs_image *image) {
  return image->size[POWER_VFS_WAL] >= 0 ? life.walled : life.image;
}

static enum verdict judge(custmem *store, const char *how, state *found) {
  int i, cut_off, rc = look(store, life.model.heads, found, &cut_off);
  if (rc != CUSTMEM_OK) {
    if (life.mode == FULL)
      complain(how, "%s: %s", custmem_code_name(rc), custmem_errmsg(store));
    return INCONSISTENT;
  }
  if (cut_off == 0 && is_same(found, &life.model)) return SOUND;
  for (i = 0; cut_off == 0 && i < life.next_count; i++)
    if (is_same(found, &life.next[i])) return SOUND;
  for (i = life.history_count - 1; i >= 0; i--)
    if (is_same(found, &life.history[i])) {
      int fewer = 0, k;
      for (k = 0; k < INSTRUCTORS; k++)
        fewer += found->heads[k].count < life.model.heads[k].count;
      /* The anchor shows each chain that was cut off. */
      if (fewer == cut_off) {
        if (life.mode == FULL) complain(how, "acknowledged writes are lost");
        return LOST;
      }
    }
  if (life.mode == FULL)
    complain(
      how,
      "a state that never was: %" PRId64 " and %" PRId64 " events, not %" PRId64
      " and %" PRId64,
      found->heads[0].count, found->heads[1].count, life.model.heads[0].count,
      life.model.heads[1].count
    );
  return INCONSISTENT;
}

/* The call that was under way, once more: it is done, exactly once, and stays so. */
static int repeat(custmem **store, const char *path, const char *how, const state *found) {
  const state *next = &life.next[life.next_count - 1];
  int was_done = is_same(found, next), cut_off, rc, want;
  custmem_head head;
  state now;
  if (!was_done && !is_same(found, &life.model)) return 1;
  want = was_done ? code_when_done(life.flight->kind) : CUSTMEM_OK;
  rc = perform(*store, life.flight, found, &head);
  if (rc != want) {
    complain(how, "once more gives %s, not %s", custmem_code_name(rc), custmem_code_name(want));
    return 0;
  }
  custmem_close(*store);
  rc = open_store(path, 0, store);
  if (rc == CUSTMEM_OK) rc = look(*store, life.model.heads, &now, &cut_off);
  if (rc != CUSTMEM_OK || cut_off != 0 || !is_same(&now, next)) {
    complain(how, "once more, and then reopened: %s", custmem_code_name(rc));
    return 0;
  }
  total.repeated++;
  return 1;
}

/* What custmem_backup reported as done is a store of its own, whatever happened to this one. */
static int check_backup(const char *path, const char *how) {
  char name[PATH_SIZE + 16];
  custmem *store = NULL;
  state found;
  int cut_off, rc = open_store(beside(path, POWER_VFS_BACKUP, name), 0, &store);
  if (rc == CUSTMEM_OK) rc = look(store, life.backup.heads, &found, &cut_off);
  custmem_close(store);
  if (rc == CUSTMEM_OK && cut_off == 0 && is_same(&found, &life.backup)) {
    total.backups++;
    return 1;
  }
  complain(how, "the backup is not what was reported: %s", custmem_code_name(rc));
  return 0;
}

static enum verdict check_image(const power_vfs_image *image, const char *how) {
  const char *path = image_path(image);
  enum verdict verdict = INCONSISTENT;
  custmem *store = NULL;
  custmem_report report;
  state found;
  int is_tried, rc;
  put_files(image, path);
  rc = open_store(path, 0, &store);
  if (rc == CUSTMEM_OK)
    verdict = judge(store, how, &found);
  else if (life.mode == FULL)
    complain(how, "it does not open: %s: %s", custmem_code_name(rc), life.message);
  if (verdict != INCONSISTENT && (life.mode != FULL || one_in(8))) {
    total.checked++;
    if (custmem_check(store, &report) != CUSTMEM_OK) {
      if (life.mode == FULL) complain(how, "custmem_check: %s", report.detail);
      verdict = INCONSISTENT;
    }
  }
  is_tried = verdict == SOUND && life.mode == FULL;
  if (is_tried && life.flight != NULL && one_in(8))
    is_tried = repeat(&store, path, how, &found);
  custmem_close(store);
  if (is_tried && life.has_backup && one_in(4)) is_tried = check_backup(path, how);
  if (verdict == SOUND && life.mode == FULL && !is_tried) verdict = INCONSISTENT;
  remove_files(path);
  return verdict;
}

/* Remembers what was seen, so that in a life an image counts once for what is expected of it. */
static uint64_t seen[1 << 18];

static int is_new(uint64_t hash) {
  enum { PLACES = COUNT_OF(seen) };
  size_t at = (size_t)(hash % PLACES);
  while (seen[at] != 0 && seen[at] != hash)
    at = (at + 1) % PLACES;
  if (seen[at] == hash) return 0;
  seen[at] = hash;
  return 1;
}

static uint64_t hash_of_cut(void) {
  uint64_t hash = power_vfs_hash(&life.cut);
  hash ^= (uint64_t)(life.history_count * 16 + life.next_count) * UINT64_C(0xff51afd7ed558ccd);
  return hash | 1;
}

/* files   what a cut left
** states  what may be found in it
*/
typedef struct crash {
  power_vfs_image files;
  state states[NEXT + 1];
  int state_count;
} crash;

static struct {
  crash crashes[RECOVERIES];
  int count;
  int kinds[3]; /* with a WAL; with a hot journal; with neither, or both */
  int64_t points, fired, counted;
} recovery;

/* Takes some of the cuts of lives that are not looked at otherwise: most of them with a WAL. */
static void gather(void) {
  static const int wanted[] = {RECOVERIES - 7, 5, 2};
  int has_wal = life.cut.size[POWER_VFS_WAL] > 0;
  int has_journal = life.cut.size[POWER_VFS_JOURNAL] > 0;
  int kind = has_wal == has_journal ? 2 : has_journal;
  crash *taken = &recovery.crashes[recovery.count];
  if (recovery.kinds[kind] == wanted[kind] || !one_in(60)) return;
  recovery.kinds[kind]++;
  recovery.count++;
  power_vfs_copy(&life.cut, &taken->files);
  taken->states[0] = life.model;
  memcpy(&taken->states[1], life.next, sizeof life.next);
  taken->state_count = 1 + life.next_count;
}

/* The power is cut here, in every way. */
static void cut_here(void) {
  int how, file;
  life.points++;
  total.points++;
  life.is_cut = 1;
  for (how = 0; how < POWER_VFS_HOWS; how++) {
    power_vfs_cut(how, &life.seed, &life.cut);
    if (!is_new(hash_of_cut())) continue;
    if (life.mode == GATHER) {
      gather();
      continue;
    }
    total.images++;
    for (file = 0; file < POWER_VFS_FILES; file++)
      total.files[file] += life.cut.size[file] > 0;
    total.verdicts[check_image(&life.cut, power_vfs_how_name(how))]++;
  }
  life.is_cut = 0;
}

/* Nothing more reaches the disk, and no call succeeds. */
static void stop_machine(void) {
  const vfs_shim_fault dead = {VFS_SHIM_ALL, VFS_SHIM_ALL,     1, 1,
                               SQLITE_IOERR, VFS_SHIM_NOT_DONE};
  power_vfs_cut((int)(test_random(&life.seed) % POWER_VFS_HOWS), &life.seed, &life.left);
  vfs_shim_fail(&dead);
  life.stopped = 1;
  total.stops++;
}

static void watch(int op, int kind, void *ctx) {
  (void)kind, (void)ctx;
  if (life.stopped || life.is_cut) return;
  switch (op) {
  case VFS_SHIM_CREATE:
  case VFS_SHIM_WRITE:
  case VFS_SHIM_TRUNCATE:
  case VFS_SHIM_SYNC:
  case VFS_SHIM_DELETE:
    cut_here();
    if (life.points >= life.stop_at && life.mode == FULL) stop_machine();
    break;
  default:
    break;
  }
}

/* ---- Living
** -------------------------------------------------------------------------------- */

/* SQLite calls this for every connection that it opens. */
static int meet_connection(sqlite3 *db, char **message, const void *api) {
  const char *name = sqlite3_db_filename(db, "main");
  (void)message, (void)api;
  if (name != NULL && strcmp(name, life.path) == 0) life.db = db;
  return SQLITE_OK;
}

/* As SQLite itself weakens it: custmem's own setting is undone on its own connection. */
static void weaken(sqlite3 *db) {
  const char *sql =
    life.mode == OFF ? "PRAGMA main.synchronous = OFF" : "PRAGMA main.synchronous = NORMAL";
  if (life.mode != OFF && life.mode != NORMAL) return;
  sqlite3_set_authorizer(db, NULL, NULL);
  CHECK_INT(test_sql(db, sql), SQLITE_OK);
  CHECK_INT(test_sql_int(db, "PRAGMA main.synchronous"), life.mode == OFF ? 0 : 1);
}

/* The real files that custmem looks at: as the disk has them. */
static void show_real_files(void) {
  char name[PATH_SIZE + 16];
  size_t size;
  if (memory_vfs_get(life.path, &size) == NULL) unlink(life.path);
  if (memory_vfs_get(beside(life.path, POWER_VFS_WAL, name), &size) == NULL)
    unlink(name);
  else
    test_file_write(name, "", 0);
}

/* The machine starts again, with what the cut has left. */
static void start_again(void) {
  custmem_close(life.store);
  life.store = NULL;
  vfs_shim_fail(NULL);
  put_files(&life.left, life.path);
  power_vfs_boot(&life.left);
  life.has_backup = life.has_backup && life.left.size[POWER_VFS_BACKUP] >= 0;
  life.flight = NULL;
  life.stopped = life.is_weak = 0;
  life.stop_at = life.points + 20 + (int64_t)(test_random(&life.seed) % 400);
}

/* What is there now is what was there, or may be: from here on it is what was acknowledged. */
static int take_stock(void) {
  state found;
  int i, cut_off, rc, known;
  vfs_shim_watch(NULL, NULL);
  rc = look(life.store, life.model.heads, &found, &cut_off);
  vfs_shim_watch(watch, NULL);
  if (!CHECK_INT(rc, CUSTMEM_OK)) return 0;
  known = is_same(&found, &life.model);
  for (i = 0; i < life.next_count; i++)
    known |= is_same(&found, &life.next[i]);
  CHECK_INT(cut_off, 0);
  life.model = found;
  return CHECK(known);
}

static void remember_model(void) {
  if (life.history_count == HISTORY) abort();
  life.history[life.history_count++] = life.model;
}

/* Opens the store; where the machine stops meanwhile, again. */
static int open_life(void) {
  int rc;
  life.doing = "open";
  for (;;) {
    show_real_files();
    rc = open_store(life.path, one_in(4), &life.store);
    if (!life.stopped) break;
    start_again();
  }
  if (!CHECK_INT(rc, CUSTMEM_OK) || !take_stock()) return 0;
  remember_model();
  sqlite3_wal_autocheckpoint(life.db, life.checkpoint_pages);
  weaken(life.db);
  cut_here();
  return 1;
}

static int random_person(int instructor, int is_shown) {
  int start = (int)(test_random(&life.seed) % PEOPLE), i;
  for (i = 0; i < PEOPLE; i++) {
    int person = (start + i) % PEOPLE;
    if ((life.model.shown[instructor][person] != 0) == is_shown) return person;
  }
  return -1;
}

/* An operation that will succeed. */
static operation choose_operation(void) {
  operation op;
  int nobody;
  memset(&op, 0, sizeof op);
  op.number = ++life.operations + 1;
  op.conversation = (int)(test_random(&life.seed) % CONVERSATIONS);
  op.instructor = instructor_of(op.conversation);
  op.person = random_person(op.instructor, 1);
  op.before = life.model.linked[op.conversation] - 1;
  nobody = random_person(op.instructor, 0);
  if (op.person < 0 || (nobody >= 0 && one_in(6))) {
    op.kind = CREATE;
    op.person = nobody;
    op.before = 0;
  } else if (one_in(8)) {
    op.kind = SET_DISPLAY;
    op.before = 0;
  } else if (op.before < 0) {
    op.kind = LINK;
    op.before = 0;
  } else {
    op.kind = op.person == op.before || one_in(3) ? UNLINK : RELINK;
  }
  return op;
}

/* Whether a sync has failed since weaken_sync; from now on none does. */
static int sync_failed(void) {
  int failed = life.is_weak && vfs_shim_fired() > 0 && !life.stopped;
  if (life.is_weak && !life.stopped) vfs_shim_fail(NULL);
  life.is_weak = 0;
  if (failed) power_vfs_lose(&life.seed);
  total.failed_syncs += failed;
  return failed;
}

/* Now and then one of the next syncs is to fail. */
static void weaken_sync(void) {
  vfs_shim_fault once = {VFS_SHIM_BIT(VFS_SHIM_SYNC), VFS_SHIM_ALL,     1, 0,
                         SQLITE_IOERR_FSYNC,          VFS_SHIM_NOT_DONE};
  once.nth = 1 + (int64_t)(test_random(&life.seed) % 2);
  if (life.mode == FULL && life.number % 3 == 2 && one_in(12)) {
    vfs_shim_fail(&once);
    life.is_weak = 1;
  }
}

/* What the store shows of an operation whose outcome is unknown, and of those acknowledged
** later. */
static void write_once(void) {
  operation op = choose_operation();
  custmem_head head;
  state *after = &life.next[life.next_count];
  int rc, failed;
  *after = life.model;
  apply(&op, after);
  life.next_count++;
  life.flight = &op;
  life.doing = "in";
  weaken_sync();
  rc = perform(life.store, &op, &life.model, &head);
  life.flight = NULL;
  failed = sync_failed();
  if (life.stopped) return;
  life.doing = "after";
  if (rc == CUSTMEM_UNKNOWN_OUTCOME && failed && life.next_count < NEXT) {
    total.unknown++;
    cut_here();
    return;
  }
  CHECK_INT(rc, CUSTMEM_OK);
  if (op.kind != CREATE && op.kind != SET_DISPLAY) after->heads[op.instructor] = head;
  if (op.kind == CREATE) {
    char phone[32];
    custmem_customer customer;
    rc = custmem_customer_find(
      life.store, INSTRUCTOR[op.instructor], "whatsapp",
      phone_of(op.instructor, op.person, phone), -1, &customer
    );
    CHECK_INT(rc, CUSTMEM_OK);
    strcpy(after->ids[op.instructor][op.person], customer.id);
  }
  life.model = *after;
  life.next_count = 0;
  remember_model();
  cut_here();
}

static void checkpoint(void) {
  static const int modes[] = {
    SQLITE_CHECKPOINT_PASSIVE, SQLITE_CHECKPOINT_FULL, SQLITE_CHECKPOINT_RESTART,
    SQLITE_CHECKPOINT_TRUNCATE};
  int rc;
  life.doing = "checkpoint";
  weaken_sync();
  rc =
    sqlite3_wal_checkpoint_v2(life.db, "main", modes[test_random(&life.seed) % 4], NULL, NULL);
  if (!sync_failed() && !life.stopped) CHECK_INT(rc, SQLITE_OK);
}

static void reopen(void) {
  life.doing = "close";
  /* Not twice: frames that a failed sync has lost, and that the next to open finds in the
  ** system's cache all the same, are a gap that SQLite does not see, whatever is written
  ** behind them. */
  if (life.next_count == 0) weaken_sync();
  CHECK_INT(custmem_close(life.store), CUSTMEM_OK);
  life.store = NULL;
  sync_failed();
  if (!life.stopped) cut_here();
  if (life.stopped) start_again();
  open_life();
}

/* One for each machine start: its name is free. */
static void back_up(void) {
  char name[PATH_SIZE + 16];
  int rc;
  if (life.has_backup || life.left.size[POWER_VFS_BACKUP] >= 0) return;
  beside(life.path, POWER_VFS_BACKUP, name);
  life.doing = "backup";
  rc = custmem_backup(life.store, name);
  if (life.stopped) return;
  CHECK_INT(rc, CUSTMEM_OK);
  life.has_backup = rc == CUSTMEM_OK;
  life.left.size[POWER_VFS_BACKUP] = 0;
  life.backup = life.model;
  cut_here();
}

static void step(void) {
  uint64_t dice = test_random(&life.seed) % 24;
  if (dice == 0)
    checkpoint();
  else if (dice == 1)
    reopen();
  else if (dice == 2)
    back_up();
  else
    write_once();
  if (life.stopped) {
    start_again();
    open_life();
  }
}

static void begin_life(enum mode mode, int64_t number) {
  static const int pages[] = {1000, 8, 20, 40};
  static const power_vfs_disk disks[] = {{4096, 0}, {512, 0}};
  char name[PATH_SIZE + 16];
  remove_files(life.path);
  unlink(beside(life.path, POWER_VFS_BACKUP, name));
  life.mode = mode;
  life.number = number;
  life.seed = total.seed * 1000003 + (uint64_t)number;
  memory_vfs_seed(life.seed);
  test_sources_reset();
  memset(seen, 0, sizeof seen);
  life.disk = disks[test_random(&life.seed) % COUNT_OF(disks)];
  life.disk.lies = mode == LIES;
  life.checkpoint_pages = pages[test_random(&life.seed) % COUNT_OF(pages)];
  memset(&life.model, 0, sizeof life.model);
  life.next_count = life.history_count = life.operations = 0;
  life.points = 0;
  life.stop_at = 20 + (int64_t)(test_random(&life.seed) % 900);
  life.has_backup = 0;
  life.left.size[POWER_VFS_BACKUP] = -1;
  power_vfs_start(life.path, &life.disk);
}

static int is_wanted(void) {
  if (life.mode == GATHER) return recovery.count < RECOVERIES;
  return total.images < total.wanted && total.complaints < TOO_MANY;
}

static void live(enum mode mode, int64_t number) {
  int64_t until = total.is_all ? INT64_MAX : total.images + LIFE_SHARE;
  int steps;
  begin_life(mode, number);
  remember_model();
  vfs_shim_watch(watch, NULL);
  steps = 20 + (int)(test_random(&life.seed) % 50);
  /* Where a new file cannot be opened, the next life's could not be either. */
  if (!open_life()) total.complaints = TOO_MANY;
  while (steps-- > 0 && life.store != NULL && is_wanted() && total.images < until)
    step();
  life.doing = "close";
  custmem_close(life.store);
  life.store = NULL;
  vfs_shim_watch(NULL, NULL);
  vfs_shim_fail(NULL);
  life.stopped = 0;
  remove_files(life.path);
  total.lives++;
}

/* ---- The tests of cuts
** --------------------------------------------------------------------- */

static void live_until(enum mode mode, int64_t images) {
  uint64_t seed = total.seed;
  int64_t first = total.first;
  int is_all = total.is_all;
  memset(&total, 0, sizeof total);
  total.first = first;
  total.seed = seed;
  total.is_all = is_all;
  total.wanted = images;
  while (is_wanted())
    live(mode, total.first + total.lives);
  printf(
    "  power loss, %s: %" PRId64 " images, seed %" PRIu64 ": %" PRId64 " lost, %" PRId64
    " inconsistent\n",
    MODES[mode], total.images, total.seed, total.verdicts[LOST], total.verdicts[INCONSISTENT]
  );
}

TEST(what_was_acknowledged_survives_every_power_cut) {
  live_until(FULL, total.is_all ? IMAGES : IMAGES_SHARE);
  printf(
    "    %" PRId64 " lives cut at %" PRId64 " points; %" PRId64 " machine stops, %" PRId64
    " failed syncs, %" PRId64 " unknown outcomes, %" PRId64 " calls repeated, %" PRId64
    " full checks, %" PRId64 " backups\n",
    total.lives, total.points, total.stops, total.failed_syncs, total.unknown, total.repeated,
    total.checked, total.backups
  );
  CHECK_INT(total.verdicts[LOST], 0);
  CHECK_INT(total.verdicts[INCONSISTENT], 0);
  /* There was something to lose: images with a WAL, with a journal, of calls under way. */
  CHECK(total.verdicts[SOUND] >= (total.is_all ? IMAGES : IMAGES_SHARE));
  CHECK(total.files[POWER_VFS_WAL] > total.images / 4);
  CHECK(total.files[POWER_VFS_JOURNAL] > total.images / 100);
  CHECK(total.repeated > 0);
  CHECK(total.checked > 0);
}

static int64_t controls(void) {
  return total.is_all ? CONTROLS : CONTROLS_SHARE;
}

TEST(the_cuts_find_what_synchronous_off_loses) {
  live_until(OFF, controls());
  CHECK(total.verdicts[LOST] > 0);
  CHECK(total.verdicts[INCONSISTENT] > 0);
}

TEST(the_cuts_find_what_a_lying_disk_loses) {
  live_until(LIES, controls());
  CHECK(total.verdicts[LOST] > 0);
  CHECK(total.verdicts[INCONSISTENT] > 0);
}

/* So they tell what is lost from what is broken. */
TEST(synchronous_normal_loses_acknowledged_writes_and_stays_consistent) {
  live_until(NORMAL, controls());
  CHECK(total.verdicts[LOST] > 0);
  CHECK_INT(total.verdicts[INCONSISTENT], 0);
}

/* ---- Crashed stores
** ------------------------------------------------------------------------ */

static int is_of(const crash *crashed, const state *found) {
  int i;
  for (i = 0; i < crashed->state_count; i++)
    if (is_same(found, &crashed->states[i])) return 1;
  return 0;
}

/* How often there is something to fail while an image is opened. */
static int64_t occasions(const crash *crashed, const char *path, const fault *failing) {
  faults_tally tally;
  custmem *store = NULL;
  put_files(&crashed->files, path);
  faults_arm(NULL, 0, 0);
  CHECK_INT(open_store(path, 0, &store), CUSTMEM_OK);
  faults_count(&tally);
  custmem_close(store);
  remove_files(path);
  return faults_occasions(failing, &tally);
}

/* All that was acknowledged is there. */
static int is_found(const crash *crashed, custmem *store, int in_full) {
  custmem_report report;
  state found;
  int cut_off;
  if (look(store, crashed->states[0].heads, &found, &cut_off) != CUSTMEM_OK) return 0;
  if (cut_off != 0 || !is_of(crashed, &found)) return 0;
  return !in_full || custmem_check(store, &report) == CUSTMEM_OK;
}

static int64_t run_point(const crash *crashed, const fault *failing, int64_t n, int lasts) {
  const char *path = image_path(&crashed->files);
  int64_t used = sqlite3_memory_used(), fired;
  custmem *store = NULL;
  int rc, good = 1;
  put_files(&crashed->files, path);
  faults_arm(failing, n, lasts);
  rc = open_store(path, 0, &store);
  fired = faults_fired();
  faults_disarm();
  if (rc == CUSTMEM_OK)
    good &= CHECK(is_found(crashed, store, 0));
  else
    good &=
      CHECK_INT(rc, failing->codes[0]) & CHECK(store == NULL) & CHECK(life.message[0] != '\0');
  custmem_close(store);
  good &= CHECK_INT(sqlite3_memory_used(), used) & CHECK_INT(vfs_shim_open_files(), 0);
  rc = open_store(path, 0, &store);
  good &= CHECK_INT(rc, CUSTMEM_OK) && CHECK(is_found(crashed, store, n % 16 == 0));
  custmem_close(store);
  remove_files(path);
  if (!good)
    printf(
      "  crash %d: %s, n %" PRId64 ", %s\n", (int)(crashed - recovery.crashes), failing->name,
      n, lasts ? "from there on" : "once"
    );
  recovery.points++;
  recovery.fired += fired > 0;
  return fired;
}

static int is_visited(const fault *failing) {
  uint64_t random = total.seed + (uint64_t)recovery.counted++;
  uint64_t share = failing->ops == 0 ? MEMORY_SHARE : DISK_SHARE;
  return total.is_all || test_random(&random) % share == 0;
}

/* Every n, up to one at which nothing fails. */
static void sweep(const crash *crashed, const fault *failing) {
  int64_t count = occasions(crashed, image_path(&crashed->files), failing), n;
  int lasts;
  for (lasts = 0; lasts < 2; lasts++) {
    int64_t fired = 1;
    for (n = 1; n <= count || (total.is_all && count > 0 && fired > 0); n++)
      if (is_visited(failing)) fired = run_point(crashed, failing, n, lasts);
  }
}

static void recover(const char *what, const fault *faults, size_t fault_count) {
  size_t k;
  int i;
  recovery.points = recovery.fired = recovery.counted = 0;
  for (i = 0; i < GATHERED && recovery.count < RECOVERIES; i++)
    live(GATHER, i);
  CHECK_INT(recovery.count, RECOVERIES);
  for (i = 0; i < recovery.count; i++)
    for (k = 0; k < fault_count; k++)
      sweep(&recovery.crashes[i], &faults[k]);
  printf(
    "  recovery, %s: %d images, %" PRId64 " points of %" PRId64 ", seed %" PRIu64 ": %" PRId64
    " with a fault\n",
    what, recovery.count, recovery.points, recovery.counted, total.seed, recovery.fired
  );
  CHECK(recovery.fired > recovery.points / 2);
}

TEST(a_crashed_store_recovers_whenever_memory_fails_meanwhile) {
  recover("no memory", FAULTS_MEMORY, FAULTS_MEMORY_COUNT);
}

TEST(a_crashed_store_recovers_whenever_the_disk_fails_meanwhile) {
  recover("failing disk", FAULTS_DISK, FAULTS_DISK_COUNT);
}

/* ---- Running
** ------------------------------------------------------------------------------- */

static void make_paths(void) {
  char name[PATH_SIZE + 16];
  strcpy(life.path, test_path("life.db"));
  strcpy(life.image, test_path("image.db"));
  strcpy(life.walled, test_path("walled.db"));
  test_file_write(life.image, "", 0);
  test_file_write(beside(life.image, POWER_VFS_BACKUP, name), "", 0);
  test_file_write(life.walled, "", 0);
  test_file_write(beside(life.walled, POWER_VFS_WAL, name), "", 0);
  test_file_write(beside(life.walled, POWER_VFS_BACKUP, name), "", 0);
}

static void start_world(void) {
  int rc;
  total.seed = test_seed();
  total.first = (int64_t)test_setting("CUSTMEM_LIFE", 0);
  total.is_all = test_is_full();
  make_paths();
  rc = memory_vfs_install();
  if (rc == SQLITE_OK) rc = power_vfs_install();
  if (rc == SQLITE_OK) rc = vfs_shim_install();
  if (rc == SQLITE_OK) rc = sqlite3_auto_extension((void (*)(void))meet_connection);
  if (rc != SQLITE_OK) abort();
}

static void end_world(void) {
  int i;
  for (i = 0; i < recovery.count; i++)
    power_vfs_free(&recovery.crashes[i].files);
  power_vfs_free(&life.cut);
  power_vfs_free(&life.left);
  sqlite3_reset_auto_extension();
  vfs_shim_remove();
  power_vfs_remove();
  memory_vfs_remove();
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  if (faults_install_allocator() != SQLITE_OK) return 1;
  start_world();
  RUN(what_was_acknowledged_survives_every_power_cut, "CM-2.3 §6, §9; CM-2.5; Phase 1 §4");
  RUN(the_cuts_find_what_synchronous_off_loses, "");
  RUN(the_cuts_find_what_a_lying_disk_loses, "");
  RUN(synchronous_normal_loses_acknowledged_writes_and_stays_consistent, "");
  RUN(a_crashed_store_recovers_whenever_memory_fails_meanwhile, "CM-2.3 §7; CM-2.5");
  RUN(a_crashed_store_recovers_whenever_the_disk_fails_meanwhile, "CM-2.3 §7; CM-2.5");
  end_world();
  return test_report();
}
