/* SPDX-License-Identifier: MIT */
#include "faults.h"

#include "../custmem.h"
#include "../sqlite3.h"

#include <string.h>

#define OP(name) VFS_SHIM_BIT(VFS_SHIM_##name)
#define OF_MEMORY                                                                              \
  { CUSTMEM_NOMEM, CUSTMEM_UNKNOWN_OUTCOME, 0 }
#define OF_IO                                                                                  \
  { CUSTMEM_IO, CUSTMEM_UNKNOWN_OUTCOME, 0 }
#define OF_FULL                                                                                \
  { CUSTMEM_FULL, 0 }
#define OF_BUSY                                                                                \
  { CUSTMEM_BUSY, 0 }

const fault FAULTS_MEMORY[FAULTS_MEMORY_COUNT] = {
  {"no memory", 0, SQLITE_NOMEM, VFS_SHIM_NOT_DONE, OF_MEMORY},
};

const fault FAULTS_DISK[FAULTS_DISK_COUNT] = {
  {"read EIO", OP(READ), SQLITE_IOERR_READ, VFS_SHIM_NOT_DONE, OF_IO},
  {"read without memory", OP(READ), SQLITE_IOERR_NOMEM, VFS_SHIM_NOT_DONE, {CUSTMEM_NOMEM, 0}},
  {"write EIO", OP(WRITE), SQLITE_IOERR_WRITE, VFS_SHIM_NOT_DONE, OF_IO},
  {"short write, EIO", OP(WRITE), SQLITE_IOERR_WRITE, VFS_SHIM_HALF_DONE, OF_IO},
  {"whole write, EIO", OP(WRITE), SQLITE_IOERR_WRITE, VFS_SHIM_DONE, OF_IO},
  {"write FULL", OP(WRITE), SQLITE_FULL, VFS_SHIM_NOT_DONE, OF_FULL},
  {"short write, FULL", OP(WRITE), SQLITE_FULL, VFS_SHIM_HALF_DONE, OF_FULL},
  {"fsync fails", OP(SYNC), SQLITE_IOERR_FSYNC, VFS_SHIM_NOT_DONE, OF_IO},
  {"truncate fails", OP(TRUNCATE), SQLITE_IOERR_TRUNCATE, VFS_SHIM_NOT_DONE, OF_IO},
  {"half a truncate", OP(TRUNCATE), SQLITE_IOERR_TRUNCATE, VFS_SHIM_HALF_DONE, OF_IO},
  {"delete fails", OP(DELETE), SQLITE_IOERR_DELETE, VFS_SHIM_NOT_DONE, OF_IO},
  {"cannot open", OP(OPEN) | OP(CREATE), SQLITE_CANTOPEN, VFS_SHIM_NOT_DONE, OF_IO},
  {"file size fails", OP(FILE_SIZE), SQLITE_IOERR_FSTAT, VFS_SHIM_NOT_DONE, OF_IO},
  {"access fails", OP(ACCESS), SQLITE_IOERR_ACCESS, VFS_SHIM_NOT_DONE, OF_IO},
  {"no full path", OP(FULL_PATH), SQLITE_CANTOPEN, VFS_SHIM_NOT_DONE, OF_IO},
  {"lock BUSY", OP(LOCK), SQLITE_BUSY, VFS_SHIM_NOT_DONE, OF_BUSY},
  {"lock EIO", OP(LOCK), SQLITE_IOERR_LOCK, VFS_SHIM_NOT_DONE, OF_IO},
  {"check lock EIO", OP(CHECK_LOCK), SQLITE_IOERR_CHECKRESERVEDLOCK, VFS_SHIM_NOT_DONE, OF_IO},
  {"shm map EIO", OP(SHM_MAP), SQLITE_IOERR_SHMMAP, VFS_SHIM_NOT_DONE, OF_IO},
  {"shm cannot open", OP(SHM_MAP), SQLITE_CANTOPEN, VFS_SHIM_NOT_DONE, OF_IO},
  {"shm lock BUSY", OP(SHM_LOCK), SQLITE_BUSY, VFS_SHIM_NOT_DONE, OF_BUSY},
  {"shm lock EIO", OP(SHM_LOCK), SQLITE_IOERR_SHMLOCK, VFS_SHIM_NOT_DONE, OF_IO},
  {"any call EIO", VFS_SHIM_ALL, SQLITE_IOERR, VFS_SHIM_NOT_DONE, OF_IO},
};

const fault FAULTS_INDEX[FAULTS_INDEX_COUNT] = {
  {"shm map EIO", OP(SHM_MAP), SQLITE_IOERR_SHMMAP, VFS_SHIM_NOT_DONE, OF_IO},
  {"shm map, no memory", OP(SHM_MAP), SQLITE_NOMEM, VFS_SHIM_NOT_DONE, OF_MEMORY},
};

const fault FAULTS_INTERRUPT[FAULTS_INTERRUPT_COUNT] = {
  {"interrupt", VFS_SHIM_ALL, SQLITE_INTERRUPT, VFS_SHIM_NOT_DONE, {CUSTMEM_INTERRUPTED, 0}},
};

static void (*interrupter)(void);

void faults_interrupt_by(void (*interrupt)(void)) {
  interrupter = interrupt;
}

static struct {
  sqlite3_mem_methods below;
  int64_t calls;
  int64_t nth; /* 0: none fails */
  int lasts;
  int64_t fired;
} memory;

static int memory_fails(void) {
  memory.calls++;
  if (memory.nth == 0 || memory.calls < memory.nth) return 0;
  if (memory.calls > memory.nth && !memory.lasts) return 0;
  memory.fired++;
  return 1;
}

static void *failing_malloc(int size) {
  return memory_fails() ? NULL : memory.below.xMalloc(size);
}

static void *failing_realloc(void *block, int size) {
  return memory_fails() ? NULL : memory.below.xRealloc(block, size);
}

int faults_install_allocator(void) {
  sqlite3_mem_methods methods;
  int rc = sqlite3_config(SQLITE_CONFIG_GETMALLOC, &memory.below);
  methods = memory.below;
  methods.xMalloc = failing_malloc;
  methods.xRealloc = failing_realloc;
  if (rc == SQLITE_OK) rc = sqlite3_config(SQLITE_CONFIG_MALLOC, &methods);
  if (rc == SQLITE_OK) rc = sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0);
  return rc;
}

void faults_arm(const fault *injected, int64_t nth, int lasts) {
  vfs_shim_fault disk = {0, VFS_SHIM_ALL, nth, lasts, 0, 0};
  vfs_shim_reset();
  memory.calls = memory.fired = memory.nth = 0;
  memory.lasts = lasts;
  if (injected == NULL) return;
  disk.ops = injected->ops;
  disk.code = injected->code;
  disk.done = injected->done;
  if (disk.ops == 0) {
    memory.nth = nth;
    vfs_shim_fail(NULL);
  } else {
    vfs_shim_fail(&disk);
    if (disk.code == SQLITE_INTERRUPT) vfs_shim_instead(interrupter);
  }
}

void faults_disarm(void) {
  vfs_shim_fail(NULL);
  memory.nth = 0;
}

int64_t faults_fired(void) {
  return memory.fired + vfs_shim_fired();
}

void faults_count(faults_tally *tally) {
  int op;
  tally->allocations = memory.calls;
  for (op = 0; op < VFS_SHIM_OPS; op++)
    tally->calls[op] = vfs_shim_calls(op);
}

int64_t faults_occasions(const fault *injected, const faults_tally *tally) {
  int64_t count = 0;
  int op;
  if (injected->ops == 0) return tally->allocations;
  for (op = 0; op < VFS_SHIM_OPS; op++)
    if (injected->ops & VFS_SHIM_BIT(op)) count += tally->calls[op];
  return count;
}

int faults_explain(const fault *injected, int code) {
  return code > 0 && code < 256 && strchr((const char *)injected->codes, code) != NULL;
}
