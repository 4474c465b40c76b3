/* SPDX-License-Identifier: MIT
**
** What is durable of a file is a `node`; a name (enum power_vfs_file) leads to a node, in the
** running system to one and in the durable directory perhaps to another or to none. What is not
** durable stands in one log, in the order in which it was done: writes and truncations of
** nodes, and changes of names. A sync of a file applies the file's changes and takes them from
** the log; a sync of the directory does so with the names. A cut goes through the log on
** copies of the nodes.
**
** A file of this VFS is one of the VFS below, with a `tail` behind it; all methods but a few
** are those below, called directly.
*/
#include "power_vfs.h"
#include "../sqlite3.h"
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NODES     512
#define PATH_SIZE 600

/* The durable bytes of one file, whatever it is called. */
typedef struct node {
  unsigned char *bytes;
  int64_t size;
  int64_t capacity;
} node;

enum what { WRITTEN, TRUNCATED, NAMED };

/* node    of a write or a truncation: whose; of a name: what it leads to now, NULL: deleted
** file    of a name: which
** offset  of a write: where; of a truncation: the new size
** bytes   of a write, `size` of them
*/
typedef struct change {
  enum what what;
  int file;
  node *node;
  int64_t offset;
  int64_t size;
  unsigned char *bytes;
} change;

typedef struct tail {
  node *node; /* NULL: not recorded */
  int sync_directory;
} tail;

static struct {
  sqlite3_vfs vfs;
  sqlite3_vfs *below;
  sqlite3_io_methods methods;
  const sqlite3_io_methods *below_methods;
  int tail_at;
  char path[PATH_SIZE];
  power_vfs_disk disk;
  node nodes[NODES];
  int node_count;
  node *running[POWER_VFS_FILES];
  node *durable[POWER_VFS_FILES];
  change *log;
  size_t log_size, log_capacity;
} state;

static void *grown(void *block, int64_t size) {
  void *bigger = realloc(block, (size_t)size);
  if (bigger == NULL) abort();
  return bigger;
}

/* ---- Bytes
** --------------------------------------------------------------------------------- */

/* Makes the file at least so long, zeros behind what there was. */
static void reach(node *file, int64_t size) {
  if (size > file->capacity) {
    file->capacity = size + size / 2 + 4096;
    file->bytes = grown(file->bytes, file->capacity);
  }
  if (size <= file->size) return;
  memset(file->bytes + file->size, 0, (size_t)(size - file->size));
  file->size = size;
}

static void put(node *file, const unsigned char *bytes, int64_t size, int64_t offset) {
  reach(file, offset + size);
  memcpy(file->bytes + offset, bytes, (size_t)size);
}

static void set_size(node *file, int64_t size) {
  reach(file, size);
  file->size = size;
}

static void set_bytes(node *file, const unsigned char *bytes, int64_t size) {
  file->size = 0;
  if (size > 0) put(file, bytes, size, 0);
}

static void apply(const change *done, node *to) {
  if (done->what == WRITTEN)
    put(to, done->bytes, done->size, done->offset);
  else
    set_size(to, done->offset);
}

/* ---- The log
** ------------------------------------------------------------------------------- */

static change *log_change(enum what what, int file, node *of) {
  change *added;
  if (state.log_size == state.log_capacity) {
    state.log_capacity = 2 * state.log_capacity + 64;
    state.log = grown(state.log, (int64_t)(state.log_capacity * sizeof state.log[0]));
  }
  added = &state.log[state.log_size++];
  memset(added, 0, sizeof *added);
  added->what = what;
  added->file = file;
  added->node = of;
  return added;
}

/* Takes changes out of the log, and makes them durable or not: those of a node, with NULL
** those of names. */
static void settle(const node *of, int durable) {
  size_t i, left = 0;
  for (i = 0; i < state.log_size; i++) {
    change *at = &state.log[i];
    int is_of = of == NULL ? at->what == NAMED : at->what != NAMED && at->node == of;
    if (!is_of) {
      state.log[left++] = *at;
      continue;
    }
    if (durable && at->what == NAMED) state.durable[at->file] = at->node;
    if (durable && at->what != NAMED) apply(at, at->node);
    free(at->bytes);
  }
  state.log_size = left;
}

static node *make_node(void) {
  if (state.node_count == NODES) {
    fprintf(stderr, "power_vfs: more than %d files were made\n", NODES);
    abort();
  }
  return &state.nodes[state.node_count++];
}

static void name(int file, node *to) {
  state.running[file] = to;
  log_change(NAMED, file, to);
}

static int file_of_name(const char *path) {
  size_t size = strlen(state.path);
  int file;
  if (path == NULL || size == 0 || strncmp(path, state.path, size) != 0) return POWER_VFS_FILES;
  for (file = 0; file < POWER_VFS_FILES; file++)
    if (strcmp(path + size, power_vfs_suffix(file)) == 0) break;
  return file;
}

/* ---- Methods
** ------------------------------------------------------------------------------- */

static tail *tail_of(sqlite3_file *file) {
  return (tail *)(void *)((char *)file + state.tail_at);
}

static int power_write(sqlite3_file *file, const void *bytes, int size, sqlite3_int64 offset) {
  node *of = tail_of(file)->node;
  if (of != NULL) {
    change *done = log_change(WRITTEN, 0, of);
    done->offset = offset;
    done->size = size;
    done->bytes = grown(NULL, size);
    memcpy(done->bytes, bytes, (size_t)size);
  }
  return state.below_methods->xWrite(file, bytes, size, offset);
}

static int power_truncate(sqlite3_file *file, sqlite3_int64 size) {
  node *of = tail_of(file)->node;
  if (of != NULL) log_change(TRUNCATED, 0, of)->offset = size;
  return state.below_methods->xTruncate(file, size);
}

static int power_sync(sqlite3_file *file, int flags) {
  tail *end = tail_of(file);
  if (end->node != NULL && !state.disk.lies) {
    settle(end->node, 1);
    if (end->sync_directory) settle(NULL, 1);
    end->sync_directory = 0;
  }
  return state.below_methods->xSync(file, flags);
}

static int power_sector_size(sqlite3_file *file) {
  (void)file;
  return state.disk.sector_size;
}

/* As SQLite believes of every disk on Unix: a cut harms no bytes beside those being written. */
static int power_characteristics(sqlite3_file *file) {
  (void)file;
  return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

static int power_open(
  sqlite3_vfs *vfs,
  sqlite3_filename path,
  sqlite3_file *file,
  int flags,
  int *flags_out
) {
  const int journals = SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_SUPER_JOURNAL | SQLITE_OPEN_WAL;
  int number = file_of_name(path);
  int rc = state.below->xOpen(state.below, path, file, flags, flags_out);
  (void)vfs;
  if (rc != SQLITE_OK) return rc;
  if (state.below_methods == NULL) {
    state.below_methods = file->pMethods;
    state.methods = *file->pMethods;
    state.methods.xWrite = power_write;
    state.methods.xTruncate = power_truncate;
    state.methods.xSync = power_sync;
    state.methods.xSectorSize = power_sector_size;
    state.methods.xDeviceCharacteristics = power_characteristics;
  }
  file->pMethods = &state.methods;
  memset(tail_of(file), 0, sizeof(tail));
  if (number == POWER_VFS_FILES) return rc;
  if (state.running[number] == NULL) name(number, make_node());
  tail_of(file)->node = state.running[number];
  tail_of(file)->sync_directory = (flags & SQLITE_OPEN_CREATE) && (flags & journals);
  return rc;
}

static int power_delete(sqlite3_vfs *vfs, const char *path, int sync_directory) {
  int file = file_of_name(path);
  (void)vfs;
  if (file < POWER_VFS_FILES && state.running[file] != NULL) {
    name(file, NULL);
    if (sync_directory && !state.disk.lies) settle(NULL, 1);
  }
  return state.below->xDelete(state.below, path, sync_directory);
}

static int power_last_error(sqlite3_vfs *vfs, int size, char *text) {
  (void)vfs, (void)size, (void)text;
  return 0;
}

/* ---- Cuts
** ---------------------------------------------------------------------------------- */

/* kept_of_8  how likely a change is there, in eighths
** before     of a prefix: the changes before this one are there
** whole      of whole files: a bit for each node, by its place
*/
typedef struct cut {
  int how;
  uint64_t *seed;
  unsigned kept_of_8;
  size_t before;
  uint64_t whole;
} cut;

enum fate { LOST, KEPT, GARBAGE };

static enum fate toss(const cut *made) {
  return test_random(made->seed) % 8 < made->kept_of_8 ? KEPT : LOST;
}

/* What becomes of a whole change. */
static enum fate fate_of_change(const cut *made, size_t at) {
  switch (made->how) {
  case POWER_VFS_NOTHING:
    return LOST;
  case POWER_VFS_EVERYTHING:
    return KEPT;
  case POWER_VFS_PREFIX:
    return at < made->before ? KEPT : LOST;
  case POWER_VFS_WHOLE_FILES:
    return made->whole >> ((state.log[at].node - state.nodes) % 64) & 1 ? KEPT : LOST;
  default:
    return toss(made);
  }
}

/* 0: a write is whole or not there. */
static int64_t piece_size(const cut *made) {
  switch (made->how) {
  case POWER_VFS_SECTORS_512:
  case POWER_VFS_ZERO_EXTENDED:
    return 512;
  case POWER_VFS_SECTORS_4096:
    return 4096;
  case POWER_VFS_GARBAGE:
    return state.disk.sector_size;
  default:
    return 0;
  }
}

/* Neither the old nor the new: random bytes, zeros, or the new and then what was there. No
** disk tears a word of eight bytes. */
static void spoil(const cut *made, const change *done, node *to, int64_t from, int64_t end) {
  uint64_t kind = test_random(made->seed) % 4;
  int64_t words = 1 + (end - from) / 8;
  int64_t torn = from + 8 * (int64_t)(test_random(made->seed) % (uint64_t)words);
  int64_t i;
  if (kind == 0) {
    put(to, done->bytes + (from - done->offset), torn - from, from);
    return;
  }
  reach(to, end);
  for (i = from; i < end; i++)
    to->bytes[i] = kind == 1 ? 0 : (unsigned char)test_random(made->seed);
}

/* A write, piece by piece. */
static void cut_write(const cut *made, const change *done, node *to) {
  int64_t size = piece_size(made), end = done->offset + done->size, from, next;
  if (made->how == POWER_VFS_ZERO_EXTENDED) reach(to, end);
  for (from = done->offset; from < end; from = next) {
    enum fate fate = toss(made);
    next = from - from % size + size;
    if (next > end) next = end;
    if (made->how == POWER_VFS_GARBAGE && fate == LOST && test_random(made->seed) % 2 == 0)
      fate = GARBAGE;
    if (fate == KEPT) put(to, done->bytes + (from - done->offset), next - from, from);
    if (fate == GARBAGE) spoil(made, done, to, from, next);
  }
}

/* Which node each name leads to: the changes of one name come in their order, those of two
** names in any. */
static void cut_names(const cut *made, node *names[POWER_VFS_FILES]) {
  int stopped[POWER_VFS_FILES] = {0};
  size_t i;
  memcpy(names, state.durable, sizeof state.durable);
  for (i = 0; i < state.log_size; i++) {
    const change *at = &state.log[i];
    int is_kept;
    if (at->what != NAMED) continue;
    is_kept = made->how == POWER_VFS_WHOLE_FILES ? (int)(made->whole >> (56 + at->file) & 1)
                                                 : fate_of_change(made, i) == KEPT;
    if (!is_kept) stopped[at->file] = 1;
    if (!stopped[at->file]) names[at->file] = at->node;
  }
}

static void cut_file(const cut *made, const node *of, node *to) {
  size_t i;
  set_bytes(to, of->bytes, of->size);
  for (i = 0; i < state.log_size; i++) {
    const change *at = &state.log[i];
    if (at->what == NAMED || at->node != of) continue;
    if (at->what == WRITTEN && piece_size(made) > 0)
      cut_write(made, at, to);
    else if (fate_of_change(made, i) == KEPT)
      apply(at, to);
  }
}

void power_vfs_cut(int how, uint64_t *seed, power_vfs_image *image) {
  static const unsigned likely[] = {1, 4, 7};
  node *names[POWER_VFS_FILES];
  cut made;
  int file;
  made.how = how;
  made.seed = seed;
  made.kept_of_8 = likely[test_random(seed) % 3];
  made.before = (size_t)(test_random(seed) % (state.log_size + 1));
  made.whole = test_random(seed);
  cut_names(&made, names);
  for (file = 0; file < POWER_VFS_FILES; file++) {
    node to = {image->bytes[file], 0, image->capacity[file]};
    if (names[file] != NULL) cut_file(&made, names[file], &to);
    image->bytes[file] = to.bytes;
    image->capacity[file] = to.capacity;
    image->size[file] = names[file] != NULL ? to.size : -1;
  }
}

void power_vfs_copy(const power_vfs_image *from, power_vfs_image *to) {
  int file;
  for (file = 0; file < POWER_VFS_FILES; file++) {
    node copy = {to->bytes[file], 0, to->capacity[file]};
    set_bytes(&copy, from->bytes[file], from->size[file]);
    to->bytes[file] = copy.bytes;
    to->capacity[file] = copy.capacity;
    to->size[file] = from->size[file];
  }
}

void power_vfs_free(power_vfs_image *image) {
  int file;
  for (file = 0; file < POWER_VFS_FILES; file++)
    free(image->bytes[file]);
  memset(image, 0, sizeof *image);
}

static uint64_t mix(uint64_t hash, uint64_t word) {
  hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
  return hash ^ hash >> 32;
}

uint64_t power_vfs_hash(const power_vfs_image *image) {
  uint64_t hash = 1;
  int file;
  for (file = 0; file < POWER_VFS_FILES; file++) {
    int64_t at;
    hash = mix(hash, (uint64_t)image->size[file]);
    for (at = 0; at < image->size[file]; at += 8) {
      uint64_t word = 0;
      int64_t left = image->size[file] - at;
      memcpy(&word, image->bytes[file] + at, (size_t)(left < 8 ? left : 8));
      hash = mix(hash, word);
    }
  }
  return hash;
}

/* ---- What the header says
** ------------------------------------------------------------------ */

const char *power_vfs_suffix(int file) {
  static const char *const suffixes[POWER_VFS_FILES] = {"",     "-journal",     "-wal",
                                                        ".bak", ".bak-journal", ".bak-wal"};
  return file >= 0 && file < POWER_VFS_FILES ? suffixes[file] : "?";
}

const char *power_vfs_how_name(int how) {
  static const char *const names[POWER_VFS_HOWS] = {
    "nothing",       "everything", "a prefix",     "whole files",  "a subset",
    "512-byte ones", "4-KiB ones", "with garbage", "zero-extended"};
  return how >= 0 && how < POWER_VFS_HOWS ? names[how] : "?";
}

void power_vfs_lose(uint64_t *seed) {
  size_t i, left = 0;
  for (i = 0; i < state.log_size; i++) {
    change *at = &state.log[i];
    if (at->what == NAMED) {
      state.log[left++] = *at;
      continue;
    }
    if (test_random(seed) % 2 == 0) apply(at, at->node);
    free(at->bytes);
  }
  state.log_size = left;
}

void power_vfs_start(const char *path, const power_vfs_disk *disk) {
  int i;
  while (state.log_size > 0)
    free(state.log[--state.log_size].bytes);
  for (i = 0; i < state.node_count; i++)
    free(state.nodes[i].bytes);
  memset(state.nodes, 0, sizeof state.nodes);
  memset(state.running, 0, sizeof state.running);
  memset(state.durable, 0, sizeof state.durable);
  state.node_count = 0;
  if (path != NULL) snprintf(state.path, sizeof state.path, "%s", path);
  if (disk != NULL) state.disk = *disk;
}

void power_vfs_boot(const power_vfs_image *image) {
  int file;
  power_vfs_start(NULL, NULL);
  for (file = 0; file < POWER_VFS_FILES; file++)
    if (image->size[file] >= 0) {
      state.running[file] = state.durable[file] = make_node();
      set_bytes(state.running[file], image->bytes[file], image->size[file]);
    }
}

int power_vfs_install(void) {
  int rc = sqlite3_initialize();
  if (rc != SQLITE_OK) return rc;
  state.below = sqlite3_vfs_find(NULL);
  if (state.below == NULL) return SQLITE_ERROR;
  state.tail_at = (state.below->szOsFile + 15) & ~15;
  state.vfs = *state.below;
  state.vfs.pNext = NULL;
  state.vfs.zName = "power_vfs";
  state.vfs.szOsFile = state.tail_at + (int)sizeof(tail);
  state.vfs.xOpen = power_open;
  state.vfs.xDelete = power_delete;
  state.vfs.xGetLastError = power_last_error;
  state.below_methods = NULL;
  return sqlite3_vfs_register(&state.vfs, 1);
}

void power_vfs_remove(void) {
  sqlite3_vfs_unregister(&state.vfs);
  sqlite3_vfs_register(state.below, 1);
  power_vfs_start("", NULL);
  free(state.log);
  state.log = NULL;
  state.log_capacity = 0;
}
