/* SPDX-License-Identifier: MIT
**
** The inputs that the fuzzer found worth keeping (test/fuzz/corpus), replayed without it: each target is
** compiled into this program under the name of its file. Every target runs in a child process, which a
** broken promise ends; the child says before each input which one it is, so that the last one said is the
** one that did it.
*/
#define _XOPEN_SOURCE 700

#include "test.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int fuzz_normalize(const uint8_t *data, size_t size);
int fuzz_image(const uint8_t *data, size_t size);
int fuzz_calls(const uint8_t *data, size_t size);
int fuzz_payload(const uint8_t *data, size_t size);

enum { NAME_SIZE = 1000, HANG_SECONDS = 120 };

typedef int target(const uint8_t *data, size_t size);

/* What a child says of its work, through a pipe. */
typedef struct progress {
  int inputs;
  char last[NAME_SIZE];
} progress;

static int by_name(const void *one, const void *other) {
  return strcmp(*(char *const *)one, *(char *const *)other);
}

/* The names of a directory's inputs, in their order; to be freed, each and all. */
static char **list_inputs(const char *directory, size_t *count) {
  char **names = NULL;
  const struct dirent *entry;
  DIR *all = opendir(directory);
  *count = 0;
  while (all != NULL && (entry = readdir(all)) != NULL) {
    char **more;
    if (entry->d_name[0] == '.') continue;
    more = realloc(names, (*count + 1) * sizeof *names);
    if (more == NULL) break;
    names = more;
    names[*count] = malloc(NAME_SIZE);
    if (names[*count] == NULL) break;
    snprintf(names[(*count)++], NAME_SIZE, "%.600s/%.300s", directory, entry->d_name);
  }
  if (all != NULL) closedir(all);
  if (*count > 0) qsort(names, *count, sizeof *names, by_name);
  return names;
}

/* A file's bytes in a block of exactly that size, so that a byte read behind it is found. */
static uint8_t *read_input(const char *name, size_t *size) {
  int64_t there = test_file_size(name);
  FILE *file = fopen(name, "rb");
  uint8_t *bytes = malloc(there > 0 ? (size_t)there : 1);
  *size = 0;
  if (file != NULL && bytes != NULL && there > 0) *size = fread(bytes, 1, (size_t)there, file);
  if (file != NULL) fclose(file);
  return bytes;
}

/* The child: all inputs, one after the other. What the shell has to say goes nowhere, a broken promise to
** the file beside. */
static void replay(
  target *use,
  char **names,
  size_t count,
  int pipe_end,
  const char *directory,
  const char *said
) {
  progress now = {0, ""};
  size_t i, size;
  int file = open(said, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (file >= 0) dup2(file, STDERR_FILENO);
  setenv("TMPDIR", directory, 1);
  alarm(HANG_SECONDS);
  for (i = 0; i < count; i++) {
    uint8_t *bytes = read_input(names[i], &size);
    now.inputs = (int)i + 1;
    snprintf(now.last, sizeof now.last, "%s", names[i]);
    if (write(pipe_end, &now, sizeof now) != (ssize_t)sizeof now) _exit(2);
    use(bytes, size);
    free(bytes);
  }
  exit(0);
}

static void show(const char *said) {
  char line[1000];
  FILE *file = fopen(said, "rb");
  while (file != NULL && fgets(line, sizeof line, file) != NULL)
    fputs(line, stdout);
  if (file != NULL) fclose(file);
}

static void replay_all(const char *name, target *use) {
  char directory[NAME_SIZE], scratch[NAME_SIZE], said[NAME_SIZE];
  progress now = {0, ""}, last = {0, ""};
  int ends[2], status = -1;
  size_t count, i;
  const char *corpus = getenv("CUSTMEM_CORPUS");
  char **names;
  pid_t child;
  snprintf(
    directory, sizeof directory, "%s/%s", corpus != NULL ? corpus : "test/fuzz/corpus", name
  );
  snprintf(scratch, sizeof scratch, "%s", test_path(""));
  scratch[strlen(scratch) - 1] = '\0';
  snprintf(said, sizeof said, "%s", test_path("said"));
  names = list_inputs(directory, &count);
  CHECK(count > 0);
  fflush(stdout);
  if (CHECK_INT(pipe(ends), 0) && (child = fork()) >= 0) {
    if (child == 0) replay(use, names, count, ends[1], scratch, said);
    close(ends[1]);
    while (read(ends[0], &now, sizeof now) == (ssize_t)sizeof now)
      last = now;
    close(ends[0]);
    waitpid(child, &status, 0);
  }
  CHECK_INT(last.inputs, count);
  if (!CHECK_INT(status, 0)) {
    printf("  the input was %s\n", last.last);
    show(said);
  }
  printf("  %s: %d inputs replayed\n", name, last.inputs);
  for (i = 0; i < count; i++)
    free(names[i]);
  free(names);
}

TEST(normalization_keeps_its_promises_on_every_kept_input) {
  replay_all("normalize", fuzz_normalize);
}

TEST(damaged_images_keep_all_promises_on_every_kept_input) {
  replay_all("image", fuzz_image);
}

TEST(sequences_of_calls_agree_with_the_model_on_every_kept_input) {
  replay_all("calls", fuzz_calls);
}

TEST(payloads_into_the_shell_come_out_as_told_on_every_kept_input) {
  replay_all("payload", fuzz_payload);
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  RUN(normalization_keeps_its_promises_on_every_kept_input, "CM-1 §2.3, §4.1; T2");
  RUN(damaged_images_keep_all_promises_on_every_kept_input, "CM-2.1 §2, §5; CM-2.3 §8; CM-2.5");
  RUN(
    sequences_of_calls_agree_with_the_model_on_every_kept_input, "CM-2.3 §3.1, §4.3, §5, §6; T4"
  );
  RUN(payloads_into_the_shell_come_out_as_told_on_every_kept_input, "CM-2.1 §4; Phase 1 §8");
  return test_report();
}
