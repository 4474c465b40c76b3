/* SPDX-License-Identifier: MIT
**
** Each method asks first (`ask`): that counts the call, tells the watcher and says whether it is
** to fail. Then it calls the same method of the VFS below. A shim_file is followed, in the same
** allocation, by the file of the VFS below.
*/
#include "vfs_shim.h"
#include "../sqlite3.h"

#include <string.h>

typedef struct shim_file {
  sqlite3_file base;
  int kind;
} shim_file;

/* What the file below starts at must be aligned for anything. */
#define FILE_SIZE ((int)((sizeof(shim_file) + 15) & ~(size_t)15))

static struct {
  sqlite3_vfs vfs;
  sqlite3_vfs *below;
  int64_t calls[VFS_SHIM_OPS][VFS_SHIM_KINDS];
  int64_t open_files;
  vfs_shim_fault fault; /* nth 0: none */
  void (*instead)(void);
  int64_t seen; /* calls that counted towards fault.nth */
  int64_t fired;
  void (*watcher)(int op, int kind, void *ctx);
  void *watcher_ctx;
  int watching; /* inside the watcher */
  int hurry;
  int64_t slept_us;
} state;

/* ---- Counting and failing ------------------------------------------------------------------ */

/* SQLITE_OK, or the code that this call fails with. */
static int ask(int op, int kind) {
  if (state.watching) return SQLITE_OK;
  state.calls[op][kind]++;
  if (state.watcher != NULL) {
    state.watching = 1;
    state.watcher(op, kind, state.watcher_ctx);
    state.watching = 0;
  }
  if (state.fault.nth == 0 || !(state.fault.ops & VFS_SHIM_BIT(op)) || !(state.fault.kinds & VFS_SHIM_BIT(kind)))
    return SQLITE_OK;
  state.seen++;
  if (state.seen < state.fault.nth || (state.seen > state.fault.nth && !state.fault.persistent))
    return SQLITE_OK;
  state.fired++;
  if (state.instead == NULL) return state.fault.code;
  state.instead();
  return SQLITE_OK;
}

/* Whether the call below is to be made when `code` is what ask() said. */
static int is_made(int code) {
  return code == SQLITE_OK || state.fault.done == VFS_SHIM_DONE;
}

static int ends_in(const char *name, const char *end) {
  size_t size = strlen(name), end_size = strlen(end);
  return size >= end_size && strcmp(name + size - end_size, end) == 0;
}

static int kind_of_name(const char *name) {
  if (name == NULL) return VFS_SHIM_TEMPORARY;
  if (ends_in(name, "-wal")) return VFS_SHIM_WAL;
  return ends_in(name, "-journal") ? VFS_SHIM_JOURNAL : VFS_SHIM_DATABASE;
}

static int kind_of_flags(int flags) {
  if (flags & SQLITE_OPEN_MAIN_DB) return VFS_SHIM_DATABASE;
  if (flags & SQLITE_OPEN_WAL) return VFS_SHIM_WAL;
  if (flags & (SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_SUPER_JOURNAL)) return VFS_SHIM_JOURNAL;
  return VFS_SHIM_TEMPORARY;
}

static int kind_of(const sqlite3_file *file) {
  return ((const shim_file *)(const void *)file)->kind;
}

static sqlite3_file *below(sqlite3_file *file) {
  return (sqlite3_file *)(void *)((char *)file + FILE_SIZE);
}

/* ---- Methods of a file --------------------------------------------------------------------- */

static int shim_close(sqlite3_file *file) {
  state.open_files--;
  return below(file)->pMethods->xClose(below(file));
}

static int shim_read(sqlite3_file *file, void *bytes, int size, sqlite3_int64 offset) {
  int code = ask(VFS_SHIM_READ, kind_of(file));
  if (code != SQLITE_OK) {
    /* SQLite relies on zeros behind a short read; after any other failure nothing is read. */
    memset(bytes, 0, (size_t)size);
    return code;
  }
  return below(file)->pMethods->xRead(below(file), bytes, size, offset);
}

static int shim_write(sqlite3_file *file, const void *bytes, int size, sqlite3_int64 offset) {
  int code = ask(VFS_SHIM_WRITE, kind_of(file));
  int rc = SQLITE_OK;
  if (is_made(code))
    rc = below(file)->pMethods->xWrite(below(file), bytes, size, offset);
  else if (state.fault.done == VFS_SHIM_HALF_DONE && size > 1)
    rc = below(file)->pMethods->xWrite(below(file), bytes, size / 2, offset);
  return code != SQLITE_OK ? code : rc;
}

static int shim_truncate(sqlite3_file *file, sqlite3_int64 size) {
  int code = ask(VFS_SHIM_TRUNCATE, kind_of(file));
  int rc = is_made(code) ? below(file)->pMethods->xTruncate(below(file), size) : SQLITE_OK;
  return code != SQLITE_OK ? code : rc;
}

static int shim_sync(sqlite3_file *file, int flags) {
  int code = ask(VFS_SHIM_SYNC, kind_of(file));
  int rc = SQLITE_OK;
  if (is_made(code) && !state.hurry) rc = below(file)->pMethods->xSync(below(file), flags);
  return code != SQLITE_OK ? code : rc;
}

static int shim_file_size(sqlite3_file *file, sqlite3_int64 *size) {
  int code = ask(VFS_SHIM_FILE_SIZE, kind_of(file));
  return code != SQLITE_OK ? code : below(file)->pMethods->xFileSize(below(file), size);
}

static int shim_lock(sqlite3_file *file, int level) {
  int code = ask(VFS_SHIM_LOCK, kind_of(file));
  return code != SQLITE_OK ? code : below(file)->pMethods->xLock(below(file), level);
}

static int shim_unlock(sqlite3_file *file, int level) {
  return below(file)->pMethods->xUnlock(below(file), level);
}

static int shim_check_lock(sqlite3_file *file, int *reserved) {
  int code = ask(VFS_SHIM_CHECK_LOCK, kind_of(file));
  return code != SQLITE_OK ? code
                           : below(file)->pMethods->xCheckReservedLock(below(file), reserved);
}

static int shim_file_control(sqlite3_file *file, int op, void *arg) {
  return below(file)->pMethods->xFileControl(below(file), op, arg);
}

static int shim_sector_size(sqlite3_file *file) {
  return below(file)->pMethods->xSectorSize(below(file));
}

static int shim_characteristics(sqlite3_file *file) {
  return below(file)->pMethods->xDeviceCharacteristics(below(file));
}

static int shim_shm_map(
  sqlite3_file *file,
  int region,
  int size,
  int extend,
  void volatile **memory
) {
  int code = ask(VFS_SHIM_SHM_MAP, kind_of(file));
  if (code != SQLITE_OK) {
    *memory = NULL;
    return code;
  }
  return below(file)->pMethods->xShmMap(below(file), region, size, extend, memory);
}

static int shim_shm_lock(sqlite3_file *file, int offset, int count, int flags) {
  int code = flags & SQLITE_SHM_UNLOCK ? SQLITE_OK : ask(VFS_SHIM_SHM_LOCK, kind_of(file));
  return code != SQLITE_OK ? code
                           : below(file)->pMethods->xShmLock(below(file), offset, count, flags);
}

static void shim_shm_barrier(sqlite3_file *file) {
  below(file)->pMethods->xShmBarrier(below(file));
}

static int shim_shm_unmap(sqlite3_file *file, int remove) {
  return below(file)->pMethods->xShmUnmap(below(file), remove);
}

/* Version 2: shared memory for the WAL, but no memory-mapped reads. */
static const sqlite3_io_methods file_methods = {
  .iVersion = 2,
  .xClose = shim_close,
  .xRead = shim_read,
  .xWrite = shim_write,
  .xTruncate = shim_truncate,
  .xSync = shim_sync,
  .xFileSize = shim_file_size,
  .xLock = shim_lock,
  .xUnlock = shim_unlock,
  .xCheckReservedLock = shim_check_lock,
  .xFileControl = shim_file_control,
  .xSectorSize = shim_sector_size,
  .xDeviceCharacteristics = shim_characteristics,
  .xShmMap = shim_shm_map,
  .xShmLock = shim_shm_lock,
  .xShmBarrier = shim_shm_barrier,
  .xShmUnmap = shim_shm_unmap,
};

/* ---- Methods of the VFS -------------------------------------------------------------------- */

static int shim_open(
  sqlite3_vfs *vfs,
  sqlite3_filename name,
  sqlite3_file *file,
  int flags,
  int *flags_out
) {
  shim_file *shim = (shim_file *)(void *)file;
  int kind = kind_of_flags(flags);
  int code = ask(flags & SQLITE_OPEN_CREATE ? VFS_SHIM_CREATE : VFS_SHIM_OPEN, kind);
  (void)vfs;
  shim->base.pMethods = NULL;
  shim->kind = kind;
  if (code != SQLITE_OK) return code;
  code = state.below->xOpen(state.below, name, below(file), flags, flags_out);
  /* SQLite closes a file whose methods are set, even one that did not open. */
  if (below(file)->pMethods != NULL) {
    shim->base.pMethods = &file_methods;
    state.open_files++;
  }
  return code;
}

static int shim_delete(sqlite3_vfs *vfs, const char *name, int sync_directory) {
  int code = ask(VFS_SHIM_DELETE, kind_of_name(name));
  int rc = SQLITE_OK;
  (void)vfs;
  if (is_made(code))
    rc = state.below->xDelete(state.below, name, sync_directory && !state.hurry);
  return code != SQLITE_OK ? code : rc;
}

static int shim_access(sqlite3_vfs *vfs, const char *name, int flags, int *result) {
  int code = ask(VFS_SHIM_ACCESS, kind_of_name(name));
  (void)vfs;
  *result = 0;
  return code != SQLITE_OK ? code : state.below->xAccess(state.below, name, flags, result);
}

static int shim_full_path(sqlite3_vfs *vfs, const char *name, int size, char *path) {
  int code = ask(VFS_SHIM_FULL_PATH, kind_of_name(name));
  (void)vfs;
  return code != SQLITE_OK ? code : state.below->xFullPathname(state.below, name, size, path);
}

static int shim_randomness(sqlite3_vfs *vfs, int size, char *bytes) {
  (void)vfs;
  return state.below->xRandomness(state.below, size, bytes);
}

static int shim_sleep(sqlite3_vfs *vfs, int microseconds) {
  (void)vfs;
  state.slept_us += microseconds;
  return state.hurry ? microseconds : state.below->xSleep(state.below, microseconds);
}

static int shim_current_time(sqlite3_vfs *vfs, double *days) {
  (void)vfs;
  return state.below->xCurrentTime(state.below, days);
}

static int shim_current_time_int64(sqlite3_vfs *vfs, sqlite3_int64 *milliseconds) {
  (void)vfs;
  return state.below->xCurrentTimeInt64(state.below, milliseconds);
}

static int shim_last_error(sqlite3_vfs *vfs, int size, char *text) {
  (void)vfs;
  return state.below->xGetLastError(state.below, size, text);
}

/* ---- What the header says ------------------------------------------------------------------ */

void vfs_shim_reset(void) {
  memset(state.calls, 0, sizeof state.calls);
  state.slept_us = state.fired = 0;
  vfs_shim_fail(NULL);
  vfs_shim_watch(NULL, NULL);
}

int vfs_shim_install(void) {
  sqlite3_vfs *vfs = &state.vfs;
  int rc = sqlite3_initialize();
  if (rc != SQLITE_OK) return rc;
  vfs_shim_remove();
  vfs_shim_reset();
  state.open_files = 0;
  state.hurry = 0;
  state.below = sqlite3_vfs_find(NULL);
  if (state.below == NULL || state.below->iVersion < 2) return SQLITE_ERROR;
  memset(vfs, 0, sizeof *vfs);
  vfs->iVersion = 2;
  vfs->szOsFile = FILE_SIZE + state.below->szOsFile;
  vfs->mxPathname = state.below->mxPathname;
  vfs->zName = "custmem-test-shim";
  vfs->xOpen = shim_open;
  vfs->xDelete = shim_delete;
  vfs->xAccess = shim_access;
  vfs->xFullPathname = shim_full_path;
  vfs->xRandomness = shim_randomness;
  vfs->xSleep = shim_sleep;
  vfs->xCurrentTime = shim_current_time;
  vfs->xCurrentTimeInt64 = shim_current_time_int64;
  vfs->xGetLastError = shim_last_error;
  /* The xDl methods stay NULL: nothing here loads an extension. */
  return sqlite3_vfs_register(vfs, 1);
}

void vfs_shim_remove(void) {
  if (state.below != NULL) sqlite3_vfs_unregister(&state.vfs);
  state.below = NULL;
}

int64_t vfs_shim_calls_of(int op, int kind) {
  return state.calls[op][kind];
}

int64_t vfs_shim_calls(int op) {
  int64_t calls = 0;
  int kind;
  for (kind = 0; kind < VFS_SHIM_KINDS; kind++)
    calls += state.calls[op][kind];
  return calls;
}

int64_t vfs_shim_changes(void) {
  return vfs_shim_calls(VFS_SHIM_CREATE) + vfs_shim_calls(VFS_SHIM_WRITE) +
         vfs_shim_calls(VFS_SHIM_TRUNCATE) + vfs_shim_calls(VFS_SHIM_SYNC) +
         vfs_shim_calls(VFS_SHIM_DELETE);
}

int64_t vfs_shim_open_files(void) {
  return state.open_files;
}

void vfs_shim_fail(const vfs_shim_fault *fault) {
  static const vfs_shim_fault none = {0, 0, 0, 0, SQLITE_OK, VFS_SHIM_NOT_DONE};
  state.fault = fault != NULL ? *fault : none;
  state.instead = NULL;
  state.seen = 0;
  if (fault != NULL) state.fired = 0;
}

int64_t vfs_shim_fired(void) {
  return state.fired;
}

void vfs_shim_instead(void (*instead)(void)) {
  state.instead = instead;
}

void vfs_shim_hurry(int hurry) {
  state.hurry = hurry;
}

int64_t vfs_shim_slept_us(void) {
  return state.slept_us;
}

void vfs_shim_watch(void (*watcher)(int op, int kind, void *ctx), void *ctx) {
  state.watcher = watcher;
  state.watcher_ctx = ctx;
}

const char *vfs_shim_op_name(int op) {
  static const char *const names[VFS_SHIM_OPS] = {
    "open", "create",     "read",    "write",    "truncate", "sync",   "file size",
    "lock", "check lock", "shm map", "shm lock", "delete",   "access", "full path"};
  return op >= 0 && op < VFS_SHIM_OPS ? names[op] : "?";
}

const char *vfs_shim_kind_name(int kind) {
  static const char *const names[VFS_SHIM_KINDS] = {"database", "wal", "journal", "temporary"};
  return kind >= 0 && kind < VFS_SHIM_KINDS ? names[kind] : "?";
}
