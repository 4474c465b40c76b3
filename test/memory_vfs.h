/* SPDX-License-Identifier: MIT
**
** An SQLite VFS that keeps whole files in memory: a test can put a database and its -wal there byte
** by byte, let them be used, and look at every byte afterwards, thousands of times a second.
**
**     memory_vfs_install();
**     memory_vfs_put(path, bytes, size);
**     … custmem_open(path, …), use it, close it …
**     left = memory_vfs_get(path, &size);
**     memory_vfs_clear();
**     memory_vfs_remove();
**
** Locks are always had: one thread alone uses a file, and no write of one connection is begun within a
** transaction of another. Nothing is ever synced or slept.
** custmem looks at a path in the real file system before SQLite does, so a real file of the same
** name has to lie there; of it only the name and the mode matter.
**
** SQLite's random numbers are made from a seed that is set here, so that the same calls write the
** same bytes, a WAL's salts included.
*/
#ifndef MEMORY_VFS_H
#define MEMORY_VFS_H

#include <stddef.h>
#include <stdint.h>

/* Makes it the default VFS; connections that are open keep their own. Returns an SQLite code. Remove
** it when no connection uses it: the default is then as before. */
int memory_vfs_install(void);
void memory_vfs_remove(void);

/* Restarts SQLite's random numbers from a seed. */
void memory_vfs_seed(uint64_t seed);

/* Makes a file, or replaces all of it. Not one that is open. */
void memory_vfs_put(const char *name, const void *bytes, size_t size);

/* A file's bytes, which a test may alter in place, or NULL where there is none. Valid until the file is
** written to or goes away. */
unsigned char *memory_vfs_get(const char *name, size_t *size);

/* Takes a file away, or all of them. Not one that is open. */
void memory_vfs_delete(const char *name);
void memory_vfs_clear(void);

/* How many files are open: one that is left open is a leak. */
int memory_vfs_open_files(void);

#endif
