/* SPDX-License-Identifier: MIT
**
** Faults to inject: an allocation that fails, or a call of the file system; one of them, or all from
** one on.
**
**     faults_install_allocator();          … before SQLite is used at all …
**     vfs_shim_install();
**     faults_arm(&FAULTS_DISK[i], n, 0);   … the nth occasion from here on fails …
**     rc = custmem_link(store, …);
**     faults_disarm();
**     … was there an nth?  faults_fired() …
**
** The allocator is one for all threads: only one of them may use SQLite while a fault is armed.
*/
#ifndef FAULTS_H
#define FAULTS_H

#include "vfs_shim.h"

#include <stddef.h>
#include <stdint.h>

/* ops    bits of vfs_shim_op; 0: an allocation
** code   what the file system's call returns, an SQLite code; SQLITE_INTERRUPT: it is interrupted
** done   enum vfs_shim_done: how much of it is done all the same
** codes  what may come of it: custmem's words for it, and no others; 0 ends the list
*/
typedef struct fault {
  const char *name;
  unsigned ops;
  int code;
  int done;
  unsigned char codes[3];
} fault;

enum faults_counts {
  FAULTS_MEMORY_COUNT = 1,
  FAULTS_DISK_COUNT = 23,
  FAULTS_INDEX_COUNT = 2,
  FAULTS_INTERRUPT_COUNT = 1
};

extern const fault FAULTS_MEMORY[FAULTS_MEMORY_COUNT];
extern const fault FAULTS_DISK[FAULTS_DISK_COUNT];

/* The index of the WAL, when it has to grow. */
extern const fault FAULTS_INDEX[FAULTS_INDEX_COUNT];

/* No call fails, but in the middle of one of them `interrupt` is called. */
extern const fault FAULTS_INTERRUPT[FAULTS_INTERRUPT_COUNT];
void faults_interrupt_by(void (*interrupt)(void));

/* Puts a failing allocator below SQLite, and switches lookaside off, so that every allocation is seen.
** Returns an SQLite code. */
int faults_install_allocator(void);

/* Sets all counts to zero, those of the VFS shim too, and lets the nth occasion fail, 1 for the next;
** lasts: and all after it. NULL: only count. */
void faults_arm(const fault *injected, int64_t nth, int lasts);

/* From here on nothing fails. The counts stay. */
void faults_disarm(void);

/* How often something failed since faults_arm. */
int64_t faults_fired(void);

/* What there has been since faults_arm that could have failed; and how many of these are occasions for
** this fault: the nth of them is the last one worth arming. */
typedef struct faults_tally {
  int64_t allocations;
  int64_t calls[VFS_SHIM_OPS];
} faults_tally;

void faults_count(faults_tally *tally);
int64_t faults_occasions(const fault *injected, const faults_tally *tally);

/* Whether custmem may return this code because of this fault. */
int faults_explain(const fault *injected, int code);

#endif
