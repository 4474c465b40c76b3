/* SPDX-License-Identifier: MIT
**
** What the fuzz targets share. A target is one file with one function, which is given bytes and ends the
** process if a promise is not kept:
**
**     sh test/fuzz.sh 60      grows each corpus for a minute, with clang's libFuzzer
**     make test_corpus        replays the corpora that are kept, with any C compiler; there each
**                             function is compiled under the name of its file
*/
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DEMAND(condition) ((condition) ? (void)0 : fuzz_broken(__FILE__, __LINE__, #condition))

static inline void fuzz_broken(const char *file, int line, const char *what) {
  fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
  abort();
}

/* The bytes of an input, one after the other; zeros behind their end. */
typedef struct fuzz_input {
  const uint8_t *data;
  size_t size;
} fuzz_input;

static inline unsigned fuzz_next(fuzz_input *input) {
  unsigned byte;
  if (input->size == 0) return 0;
  byte = *input->data++;
  input->size--;
  return byte;
}

/* A directory of the real file system for a target's own files; it is removed when the process ends
** as it should. */
const char *fuzz_directory(void);

#endif
