/* SPDX-License-Identifier: MIT
**
** Webhook payloads into the shell: the input is the stream of `custmem demo FILE`, JSON lines that
** anyone on the internet may have made. The shell's own main is called, many times in one process.
** What is held: it returns, with the status of a story that came out as told or of a stream that has
** no story in it; never with that of a step that came out otherwise. What it prints is text that
** a terminal can be given: UTF-8, no control character but the end of a line, and none that turns the
** direction of what follows. No file stays open.
*/
#define _XOPEN_SOURCE 700

#include "../memory_vfs.h"
#include "fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

int shell_main(int argc, char **argv);

enum { DONE = 0, INPUT_OUTPUT = 3, NAME_SIZE = 600 };

static void write_file(const char *name, const uint8_t *data, size_t size) {
  FILE *file = fopen(name, "wb");
  DEMAND(file != NULL);
  DEMAND(fwrite(data, 1, size, file) == size);
  DEMAND(fclose(file) == 0);
}

/* Removes the directories that the demo has left for people to look into. */
static void remove_left(const char *directory) {
  char name[NAME_SIZE], file[2 * NAME_SIZE];
  const struct dirent *entry;
  DIR *all = opendir(directory);
  DEMAND(all != NULL);
  while ((entry = readdir(all)) != NULL) {
    static const char *const files[] = {"inbox.db", "inbox.db-wal", "inbox.db-shm"};
    size_t i;
    if (strncmp(entry->d_name, "custmem-demo-", 13) != 0) continue;
    snprintf(name, sizeof name, "%s/%.200s", directory, entry->d_name);
    for (i = 0; i < sizeof files / sizeof files[0]; i++) {
      snprintf(file, sizeof file, "%s/%s", name, files[i]);
      unlink(file);
    }
    rmdir(name);
  }
  closedir(all);
}

/* The code point at *at, which is moved behind it; -1 where there is none. */
static long next_code_point(const unsigned char **at, const unsigned char *end) {
  static const long least[] = {0, 0x80, 0x800, 0x10000};
  unsigned first = *(*at)++;
  int more = (first >= 0xc2) + (first >= 0xe0) + (first >= 0xf0), i;
  long code = (long)(more > 0 ? first & (0x3fu >> more) : first);
  if ((first >= 0x80 && more == 0) || first > 0xf4 || end - *at < more) return -1;
  for (i = 0; i < more; i++, (*at)++) {
    if ((**at & 0xc0) != 0x80) return -1;
    code = code << 6 | (**at & 0x3f);
  }
  return code < least[more] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ? -1 : code;
}

static int turns_direction(long code) {
  return (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
}

static void look_at_output(const char *name) {
  static unsigned char text[1 << 20];
  const unsigned char *at = text, *end;
  FILE *file = fopen(name, "rb");
  size_t size;
  DEMAND(file != NULL);
  size = fread(text, 1, sizeof text, file);
  fclose(file);
  /* A character may be cut where the buffer ends. */
  end = text + (size < sizeof text ? size : size - 4);
  while (at < end) {
    long code = next_code_point(&at, text + size);
    DEMAND(code >= 0);
    DEMAND(code >= 0x20 || code == '\n');
    DEMAND(code < 0x7f || code > 0x9f);
    DEMAND(!turns_direction(code));
  }
}

/* Calls the shell with its standard output in a file. */
static int run_shell(char *stream, const char *output) {
  char program[] = "custmem", command[] = "demo";
  char *words[] = {program, command, stream, NULL};
  int file = open(output, O_WRONLY | O_CREAT | O_TRUNC, 0600), before, status;
  DEMAND(file >= 0);
  fflush(stdout);
  before = dup(STDOUT_FILENO);
  dup2(file, STDOUT_FILENO);
  close(file);
  status = shell_main(3, words);
  fflush(stdout);
  if (before >= 0) dup2(before, STDOUT_FILENO);
  if (before >= 0) close(before);
  return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static int installed;
  char stream[NAME_SIZE], output[NAME_SIZE];
  const char *directory = fuzz_directory();
  int status;
  if (!installed) {
    installed = 1;
    DEMAND(memory_vfs_install() == 0);
    DEMAND(setenv("TMPDIR", directory, 1) == 0);
  }
  snprintf(stream, sizeof stream, "%s/stream.jsonl", directory);
  snprintf(output, sizeof output, "%s/output.txt", directory);
  write_file(stream, data, size);
  status = run_shell(stream, output);
  DEMAND(status == DONE || status == INPUT_OUTPUT);
  look_at_output(output);
  DEMAND(memory_vfs_open_files() == 0);
  memory_vfs_clear();
  remove_left(directory);
  return 0;
}
