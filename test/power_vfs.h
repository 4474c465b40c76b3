/* SPDX-License-Identifier: MIT
**
** An SQLite VFS over the default one that knows what a power cut would leave of a database.
**
** A disk keeps what was synced. What was written since may be there after a cut, or not, or in
** part, and in any order. So of each file two things are kept here: the bytes that are
** durable, and the changes since its last sync; and the same of the directory, whose names are
** durable once it was synced. From these, as many different images of the files can be made as
** there are ways to lose power, without disturbing who is writing:
**
**     memory_vfs_install();                          … where the running system's files are …
**     power_vfs_install();
**     power_vfs_start(path, &disk);                  … an empty directory …
**     … custmem_open(path, …), write …
**     power_vfs_cut(POWER_VFS_SUBSET, &seed, &image);
**     memory_vfs_put(other, image.bytes[0], image.size[0]);   … and so on: open it there …
**
** Only `path`, a backup at `path`.bak and what SQLite puts beside the two are recorded; all
** other files pass by. As SQLite does on Unix, the first sync of a new journal or WAL syncs
** the directory too. A file that has been made, or deleted, is so after a cut only if the
** directory was synced since; a sync of the file alone does not make its name durable.
**
** It wraps a VFS whose methods take nothing from the sqlite3_vfs that they are passed, and all
** of whose files have the same methods, as memory_vfs is.
*/
#ifndef POWER_VFS_H
#define POWER_VFS_H

#include <stdint.h>

/* The files, by what stands behind `path`. */
enum power_vfs_file {
  POWER_VFS_DATABASE,
  POWER_VFS_JOURNAL,
  POWER_VFS_WAL,
  POWER_VFS_BACKUP,
  POWER_VFS_BACKUP_JOURNAL,
  POWER_VFS_BACKUP_WAL,
  POWER_VFS_FILES
};

/* "" "-journal" "-wal" ".bak" … */
const char *power_vfs_suffix(int file);

/* What kind of disk it is.
**
** sector_size  what the disk writes at once, as it tells SQLite: 512 or 4096
** lies         not 0: a sync returns before anything is durable
*/
typedef struct power_vfs_disk {
  int sector_size;
  int lies;
} power_vfs_disk;

/* Which of the changes that were not yet durable are there after the cut. */
enum power_vfs_how {
  POWER_VFS_NOTHING,     /* none */
  POWER_VFS_EVERYTHING,  /* all: as if the process had been killed */
  POWER_VFS_PREFIX,      /* those before one of them, over all files: a disk that keeps order */
  POWER_VFS_WHOLE_FILES, /* of each file, all or none */
  POWER_VFS_SUBSET,      /* some of the writes, each one whole */
  POWER_VFS_SECTORS_512, /* some of the 512-byte sectors of the writes */
  POWER_VFS_SECTORS_4096,  /* some of the 4-KiB sectors of the writes */
  POWER_VFS_GARBAGE,       /* some of the sectors, and of others neither the old nor the new */
  POWER_VFS_ZERO_EXTENDED, /* some of the sectors; files are as long as they were to be */
  POWER_VFS_HOWS
};

/* The name of a how, for messages. Never NULL. */
const char *power_vfs_how_name(int how);

/* The files as a cut leaves them. size -1: no such file. The bytes are the caller's: they grow
** as they must, and are freed with power_vfs_free. */
typedef struct power_vfs_image {
  unsigned char *bytes[POWER_VFS_FILES];
  int64_t size[POWER_VFS_FILES];
  int64_t capacity[POWER_VFS_FILES];
} power_vfs_image;

int power_vfs_install(void);
void power_vfs_remove(void);

/* Begins with an empty directory and another disk; none of the files is open. */
void power_vfs_start(const char *path, const power_vfs_disk *disk);

/* Begins with the files of an image, all of it durable: what the machine finds when it starts
** again. The files of the VFS below must be the same; none is open. */
void power_vfs_boot(const power_vfs_image *image);

/* Makes the image of a cut at this moment. The seed decides what is there. */
void power_vfs_cut(int how, uint64_t *seed, power_vfs_image *image);
void power_vfs_copy(const power_vfs_image *from, power_vfs_image *to);
void power_vfs_free(power_vfs_image *image);

/* Two images with the same hash hold the same. */
uint64_t power_vfs_hash(const power_vfs_image *image);

/* After a sync that failed, on a system that calls a page clean although its write failed: of
** what was to become durable some is, and the rest never will be unless it is written again. */
void power_vfs_lose(uint64_t *seed);

#endif
