/* SPDX-License-Identifier: MIT
**
** A table of a few files, each a growing array of bytes; one that has no name is deleted when it is
** closed. A database's shared memory is a list of regions that live as long as its connection.
*/
#include "memory_vfs.h"
#include "../sqlite3.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILES     16
#define NAME_SIZE 600
#define REGIONS   64 /* of 32 KiB: more than any image of a test needs */

typedef struct stored {
  char name[NAME_SIZE]; /* "": a free place, unless it is open */
  unsigned char *bytes;
  size_t size;
  size_t capacity;
  int open;
  void *regions[REGIONS];
} stored;

typedef struct memory_file {
  sqlite3_file base;
  stored *file;
} memory_file;

static struct {
  sqlite3_vfs vfs;
  sqlite3_vfs *before;
  uint64_t seed;
  stored files[FILES];
} state;

/* ---- Files --------------------------------------------------------------------------------- */

static stored *find(const char *name) {
  size_t i;
  for (i = 0; i < FILES; i++)
    if (state.files[i].name[0] != '\0' && strcmp(state.files[i].name, name) == 0)
      return &state.files[i];
  return NULL;
}

static stored *make(const char *name) {
  size_t i;
  for (i = 0; i < FILES; i++) {
    stored *file = &state.files[i];
    if (file->name[0] != '\0' || file->open > 0) continue;
    snprintf(file->name, sizeof file->name, "%s", name);
    file->size = 0;
    return file;
  }
  return NULL;
}

/* Makes the file at least so long, zeros behind what there was. */
static int reach(stored *file, size_t size) {
  if (size > file->capacity) {
    size_t capacity = size + size / 2 + 4096;
    unsigned char *bytes = realloc(file->bytes, capacity);
    if (bytes == NULL) return 0;
    file->bytes = bytes;
    file->capacity = capacity;
  }
  if (size > file->size) {
    memset(file->bytes + file->size, 0, size - file->size);
    file->size = size;
  }
  return 1;
}

void memory_vfs_put(const char *name, const void *bytes, size_t size) {
  stored *file = find(name);
  if (file == NULL) file = make(name);
  if (file == NULL || !reach(file, size)) {
    fprintf(stderr, "memory_vfs: no place for %s\n", name);
    abort();
  }
  if (size > 0) memcpy(file->bytes, bytes, size);
  file->size = size;
}

unsigned char *memory_vfs_get(const char *name, size_t *size) {
  stored *file = find(name);
  *size = file != NULL ? file->size : 0;
  if (file != NULL && file->bytes == NULL) reach(file, 0);
  return file != NULL ? file->bytes : NULL;
}

static void forget(stored *file) {
  file->name[0] = '\0';
  file->size = 0;
}

void memory_vfs_delete(const char *name) {
  stored *file = find(name);
  if (file != NULL) forget(file);
}

void memory_vfs_clear(void) {
  size_t i;
  for (i = 0; i < FILES; i++) {
    free(state.files[i].bytes);
    memset(&state.files[i], 0, sizeof state.files[i]);
  }
}

int memory_vfs_open_files(void) {
  int open = 0;
  size_t i;
  for (i = 0; i < FILES; i++)
    open += state.files[i].open;
  return open;
}

/* ---- Methods of a file --------------------------------------------------------------------- */

static stored *file_of(sqlite3_file *file) {
  return ((memory_file *)(void *)file)->file;
}

static int memory_close(sqlite3_file *file) {
  stored *closed = file_of(file);
  size_t i;
  closed->open--;
  for (i = 0; closed->open == 0 && i < REGIONS; i++) {
    free(closed->regions[i]);
    closed->regions[i] = NULL;
  }
  return SQLITE_OK;
}

static int memory_read(sqlite3_file *file, void *bytes, int size, sqlite3_int64 offset) {
  const stored *from = file_of(file);
  size_t wanted = (size_t)size, there = 0;
  if ((size_t)offset < from->size) there = from->size - (size_t)offset;
  if (there > wanted) there = wanted;
  if (there > 0) memcpy(bytes, from->bytes + offset, there);
  memset((char *)bytes + there, 0, wanted - there);
  return there == wanted ? SQLITE_OK : SQLITE_IOERR_SHORT_READ;
}

static int memory_write(sqlite3_file *file, const void *bytes, int size, sqlite3_int64 offset) {
  stored *to = file_of(file);
  if (!reach(to, (size_t)offset + (size_t)size)) return SQLITE_FULL;
  memcpy(to->bytes + offset, bytes, (size_t)size);
  return SQLITE_OK;
}

static int memory_truncate(sqlite3_file *file, sqlite3_int64 size) {
  stored *cut = file_of(file);
  if ((size_t)size < cut->size) cut->size = (size_t)size;
  return SQLITE_OK;
}

static int memory_sync(sqlite3_file *file, int flags) {
  (void)file, (void)flags;
  return SQLITE_OK;
}

static int memory_file_size(sqlite3_file *file, sqlite3_int64 *size) {
  *size = (sqlite3_int64)file_of(file)->size;
  return SQLITE_OK;
}

static int memory_lock(sqlite3_file *file, int level) {
  (void)file, (void)level;
  return SQLITE_OK;
}

static int memory_check_lock(sqlite3_file *file, int *locked) {
  (void)file;
  *locked = 0;
  return SQLITE_OK;
}

static int memory_control(sqlite3_file *file, int op, void *argument) {
  (void)file, (void)op, (void)argument;
  return SQLITE_NOTFOUND;
}

static int memory_sector_size(sqlite3_file *file) {
  (void)file;
  return 512;
}

static int memory_characteristics(sqlite3_file *file) {
  (void)file;
  return 0;
}

static int memory_shm_map(
  sqlite3_file *file,
  int region,
  int size,
  int extend,
  void volatile **mapped
) {
  stored *of = file_of(file);
  *mapped = NULL;
  if (region >= REGIONS) return SQLITE_IOERR_SHMMAP;
  if (of->regions[region] == NULL && extend) {
    of->regions[region] = calloc(1, (size_t)size);
    if (of->regions[region] == NULL) return SQLITE_NOMEM;
  }
  *mapped = of->regions[region];
  return SQLITE_OK;
}

static int memory_shm_lock(sqlite3_file *file, int offset, int count, int flags) {
  (void)file, (void)offset, (void)count, (void)flags;
  return SQLITE_OK;
}

static void memory_shm_barrier(sqlite3_file *file) {
  (void)file;
}

static int memory_shm_unmap(sqlite3_file *file, int delete_it) {
  (void)file, (void)delete_it;
  return SQLITE_OK;
}

static const sqlite3_io_methods METHODS = {
  .iVersion = 2,
  .xClose = memory_close,
  .xRead = memory_read,
  .xWrite = memory_write,
  .xTruncate = memory_truncate,
  .xSync = memory_sync,
  .xFileSize = memory_file_size,
  .xLock = memory_lock,
  .xUnlock = memory_lock,
  .xCheckReservedLock = memory_check_lock,
  .xFileControl = memory_control,
  .xSectorSize = memory_sector_size,
  .xDeviceCharacteristics = memory_characteristics,
  .xShmMap = memory_shm_map,
  .xShmLock = memory_shm_lock,
  .xShmBarrier = memory_shm_barrier,
  .xShmUnmap = memory_shm_unmap,
};

/* ---- Methods of the VFS -------------------------------------------------------------------- */

/* A temporary file gets a name that no path is. */
static int memory_open(
  sqlite3_vfs *vfs,
  const char *name,
  sqlite3_file *file,
  int flags,
  int *flags_out
) {
  static unsigned next;
  char temporary[32];
  stored *opened;
  (void)vfs;
  file->pMethods = NULL;
  if (name == NULL) {
    snprintf(temporary, sizeof temporary, "temporary-%u", next++);
    name = temporary;
  }
  opened = find(name);
  if (opened == NULL && (flags & SQLITE_OPEN_CREATE)) opened = make(name);
  /* The real file that custmem made beside, for a backup, is an empty one here. */
  if (opened == NULL && (flags & SQLITE_OPEN_MAIN_DB) && (flags & SQLITE_OPEN_READWRITE))
    opened = make(name);
  if (opened == NULL) return SQLITE_CANTOPEN;
  opened->open++;
  ((memory_file *)(void *)file)->file = opened;
  file->pMethods = &METHODS;
  if (flags_out != NULL) *flags_out = flags;
  return SQLITE_OK;
}

static int memory_delete(sqlite3_vfs *vfs, const char *name, int sync) {
  stored *file = find(name);
  (void)vfs, (void)sync;
  if (file == NULL) return SQLITE_IOERR_DELETE_NOENT;
  forget(file);
  return SQLITE_OK;
}

static int memory_access(sqlite3_vfs *vfs, const char *name, int flags, int *there) {
  const stored *file = find(name);
  (void)vfs;
  /* As on Unix: an empty file does not exist, when SQLite asks whether a journal does. */
  *there = file != NULL && (flags != SQLITE_ACCESS_EXISTS || file->size > 0);
  return SQLITE_OK;
}

static int memory_full_path(sqlite3_vfs *vfs, const char *name, int size, char *full) {
  (void)vfs;
  sqlite3_snprintf(size, full, "%s", name);
  return SQLITE_OK;
}

static int memory_randomness(sqlite3_vfs *vfs, int size, char *bytes) {
  int i;
  (void)vfs;
  for (i = 0; i < size; i++) {
    state.seed = state.seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    bytes[i] = (char)(state.seed >> 56);
  }
  return size;
}

static int memory_sleep(sqlite3_vfs *vfs, int microseconds) {
  (void)vfs;
  return microseconds;
}

static int memory_time(sqlite3_vfs *vfs, sqlite3_int64 *now) {
  (void)vfs;
  *now = INT64_C(212608800000000); /* some noon of the year 2025 */
  return SQLITE_OK;
}

void memory_vfs_seed(uint64_t seed) {
  state.seed = seed;
  sqlite3_randomness(0, NULL);
}

int memory_vfs_install(void) {
  int rc = sqlite3_initialize();
  if (rc != SQLITE_OK) return rc;
  state.before = sqlite3_vfs_find(NULL);
  memset(&state.vfs, 0, sizeof state.vfs);
  state.vfs.iVersion = 2;
  state.vfs.szOsFile = (int)sizeof(memory_file);
  state.vfs.mxPathname = NAME_SIZE - 1;
  state.vfs.zName = "memory_vfs";
  state.vfs.xOpen = memory_open;
  state.vfs.xDelete = memory_delete;
  state.vfs.xAccess = memory_access;
  state.vfs.xFullPathname = memory_full_path;
  state.vfs.xRandomness = memory_randomness;
  state.vfs.xSleep = memory_sleep;
  state.vfs.xCurrentTimeInt64 = memory_time;
  rc = sqlite3_vfs_register(&state.vfs, 1);
  memory_vfs_seed(1);
  return rc;
}

void memory_vfs_remove(void) {
  sqlite3_vfs_unregister(&state.vfs);
  if (state.before != NULL) sqlite3_vfs_register(state.before, 1);
  memory_vfs_clear();
}
