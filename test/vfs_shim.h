/* SPDX-License-Identifier: MIT
**
** An SQLite VFS around the default one: it counts what SQLite asks of the file system, by kind of
** call and kind of file, and can make the Nth of these calls fail, or all from the Nth on.
**
**     vfs_shim_install();                  … before the store is opened …
**     vfs_shim_reset();
**     custmem_resolve(store, …);
**     CHECK_INT(vfs_shim_changes(), 0);    … it wrote nothing …
**
**     vfs_shim_fault fault = {VFS_SHIM_BIT(VFS_SHIM_SYNC), VFS_SHIM_ALL, 1, 0,
**                             SQLITE_IOERR_FSYNC, VFS_SHIM_NOT_DONE};
**     vfs_shim_fail(&fault);               … the next fsync fails …
**     rc = custmem_link(store, …);
**     vfs_shim_fail(NULL);
**     CHECK_INT(vfs_shim_fired(), 1);
**
** A sweep arms n = 1, 2, 3 … until a run ends with vfs_shim_fired() == 0: then every call that the
** operation makes has failed once.
**
** Files are never mapped into memory, so every read and every write passes here. Closing and
** unlocking never fail: SQLite does not look at their codes, and the lock would stay. Everything
** here belongs to one thread; a child process of a fork() has its own copy.
*/
#ifndef VFS_SHIM_H
#define VFS_SHIM_H

#include <stdint.h>

/* The calls that are counted and can fail. An xOpen that may make the file is a CREATE whether
** or not the file is there; SQLite opens every -wal and journal so. */
enum vfs_shim_op {
  VFS_SHIM_OPEN,
  VFS_SHIM_CREATE,
  VFS_SHIM_READ,
  VFS_SHIM_WRITE,
  VFS_SHIM_TRUNCATE,
  VFS_SHIM_SYNC,
  VFS_SHIM_FILE_SIZE,
  VFS_SHIM_LOCK,
  VFS_SHIM_CHECK_LOCK,
  VFS_SHIM_SHM_MAP,
  VFS_SHIM_SHM_LOCK,
  VFS_SHIM_DELETE,
  VFS_SHIM_ACCESS,
  VFS_SHIM_FULL_PATH,
  VFS_SHIM_OPS
};

/* The kinds of file: by how SQLite opens it, or by the end of its name. The -shm file is the
** database's: SQLite reaches it through the database's own methods. */
enum vfs_shim_kind {
  VFS_SHIM_DATABASE,
  VFS_SHIM_WAL,
  VFS_SHIM_JOURNAL,
  VFS_SHIM_TEMPORARY,
  VFS_SHIM_KINDS
};

#define VFS_SHIM_BIT(value) (1u << (value))
#define VFS_SHIM_ALL        (~0u)

/* How much of a failing write, truncate, sync or delete is done all the same. Half of one that
** has no half is nothing; all other calls fail without being made. */
enum vfs_shim_done { VFS_SHIM_NOT_DONE, VFS_SHIM_HALF_DONE, VFS_SHIM_DONE };

/* What is to fail.
**
** ops, kinds   bits of the calls and of the files that count towards nth
** nth          1: the first such call after vfs_shim_fail
** persistent   not 0: and every such call after it, as a broken disk does
** code         what the call returns, an SQLite code
** done         enum vfs_shim_done
*/
typedef struct vfs_shim_fault {
  unsigned ops;
  unsigned kinds;
  int64_t nth;
  int persistent;
  int code;
  int done;
} vfs_shim_fault;

/* Makes the shim the default VFS, with everything at zero; connections that are open keep their own.
** Returns an SQLite code. Remove it when no connection uses it: the default is then as before. */
int vfs_shim_install(void);
void vfs_shim_remove(void);

/* Sets the counts to zero, and takes away the fault and the watcher. */
void vfs_shim_reset(void);

/* How many calls there were since the last reset, failed ones included: of one op and all kinds, of
** one op and kind, and of all that change a file (create, write, truncate, sync, delete). */
int64_t vfs_shim_calls(int op);
int64_t vfs_shim_calls_of(int op, int kind);
int64_t vfs_shim_changes(void);

/* How many files are open through the shim: one that is left open is a leak. */
int64_t vfs_shim_open_files(void);

/* Arms a fault, or with NULL disarms it; and how many calls it has made fail since it was armed. */
void vfs_shim_fail(const vfs_shim_fault *fault);
int64_t vfs_shim_fired(void);

/* What the armed fault does instead of failing: it calls this, and the call goes on. */
void vfs_shim_instead(void (*instead)(void));

/* In a hurry nothing is synced, and nobody sleeps, for real: what a test needs that makes thousands of
** runs and pulls no plug. Syncs are counted and fail as ever. */
void vfs_shim_hurry(int hurry);

/* How long SQLite has asked to sleep since the last reset, in microseconds. */
int64_t vfs_shim_slept_us(void);

/* Calls the watcher before each call that is counted, NULL: nobody. What the watcher itself makes
** SQLite do is neither watched, counted nor failed. */
void vfs_shim_watch(void (*watcher)(int op, int kind, void *ctx), void *ctx);

/* The names of an op ("sync") and of a kind ("wal"), for messages. Never NULL. */
const char *vfs_shim_op_name(int op);
const char *vfs_shim_kind_name(int kind);

#endif
