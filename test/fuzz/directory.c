/* SPDX-License-Identifier: MIT
**
** The directory of the fuzz targets.
*/
#define _XOPEN_SOURCE 700

#include "fuzz.h"

#include <stdlib.h>

static char path[400];

static void remove_directory(void) {
  char command[500];
  snprintf(command, sizeof command, "rm -rf '%s'", path);
  if (system(command) != 0) fprintf(stderr, "%s is left\n", path);
}

const char *fuzz_directory(void) {
  const char *parent = getenv("TMPDIR");
  if (path[0] != '\0') return path;
  if (parent == NULL || parent[0] == '\0') parent = "/tmp";
  snprintf(path, sizeof path, "%s/custmem-fuzz-XXXXXX", parent);
  if (mkdtemp(path) == NULL || atexit(remove_directory) != 0) {
    perror(path);
    exit(1);
  }
  return path;
}
