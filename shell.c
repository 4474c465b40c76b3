/* SPDX-License-Identifier: MIT
**
** The command-line program `custmem`: looks into a store, and tells the whole story on a stream of
** WhatsApp webhooks. The parts, each standing only on those before it:
**
**   Text       UTF-8, what may be shown of it, and how wide a terminal shows it
**   Output     paragraphs, lines, tables and JSON: nothing is printed but through these
**   Trouble    messages on standard error, and the exit status that goes with each
**   JSON       SQLite's JSON functions, on a connection in memory
**   Check, verify, audit
**   Stream     reads webhooks, and keeps conversations as a host of custmem would
**   Demo       the story, a function a chapter
**   Commands   the one table: name, function, usage, help with an example; and main
**
** Data goes to standard output and words about trouble to standard error. The exit status is
** always one of enum status.
*/

/* POSIX: mkdtemp, wcwidth, gmtime_r, fcntl. */
#define _XOPEN_SOURCE 700

#include "custmem.h"
#include "sqlite3.h"

#include <errno.h>
#include <fcntl.h>
#include <langinfo.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

enum status {
  DONE = 0,
  REFUSED = 1, /* the store refused, or a step of the demo did not come out as told */
  USAGE = 2,
  INPUT_OUTPUT = 3 /* input cannot be read or used, output cannot be written */
};

/* As it was typed, so that the examples in the help can be pasted. */
static const char *program = "custmem";

/* There is nothing sensible to do without memory; and nothing here is left half done by stopping:
** a store is sound whenever its process ends. */
static void *need(void *memory) {
  if (memory == NULL) {
    fputs("custmem: out of memory\n", stderr);
    exit(INPUT_OUTPUT);
  }
  return memory;
}

/* ---- Text ---------------------------------------------------------------------------------- */

#define ZERO_WIDTH_JOINER  0x200d
#define LEFT_TO_RIGHT_MARK "\xe2\x80\x8e"

struct range {
  int32_t first, last;
};

static int in_ranges(int32_t code, const struct range *ranges, size_t count) {
  size_t i;
  for (i = 0; i < count; i++)
    if (code >= ranges[i].first && code <= ranges[i].last) return 1;
  return 0;
}

/* The next code point, or -1 for a byte that belongs to none (then one byte is taken). */
static int32_t next_code(const char **at, const char *end) {
  /* How many bytes a code point has, by the first four bits of the first. */
  static const unsigned char sizes[16] = {1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 2, 2, 3, 4};
  static const int32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const unsigned char *byte = (const unsigned char *)*at;
  int size = sizes[byte[0] >> 4];
  int32_t code = size == 1 ? byte[0] : byte[0] & (0x7f >> size);
  int i;
  (*at)++;
  if (size == 0 || byte[0] >= 0xf8 || end - (const char *)byte < size) return -1;
  for (i = 1; i < size; i++) {
    if ((byte[i] & 0xc0) != 0x80) return -1;
    code = code << 6 | (byte[i] & 0x3f);
  }
  if (code < smallest[size] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) return -1;
  *at = (const char *)byte + size;
  return code;
}

static int is_utf8(const char *text, size_t size) {
  const char *end = text + size;
  while (text < end)
    if (next_code(&text, end) < 0) return 0;
  return 1;
}

/* Code points that steer a terminal, or show text in an order or at a place that is not its own.
** Joiners and direction marks stay: names need them, and they move nothing but their neighbours. */
static int is_unsafe(int32_t code) {
  static const struct range ranges[] = {{0x00, 0x1f},     {0x7f, 0x9f},      {0x200b, 0x200b},
                                        {0x2028, 0x202e}, {0x2060, 0x206f},  {0xfeff, 0xfeff},
                                        {0xfff9, 0xfffb}, {0xe0000, 0xe00ff}};
  return in_ranges(code, ranges, COUNT_OF(ranges));
}

/* A copy of a text in which everything unsafe is spelled out, as in C. To be freed. */
static char *clean(const char *text, int64_t size) {
  const char *end = text + size;
  sqlite3_str *out = need(sqlite3_str_new(NULL));
  char *cleaned;
  int failed;
  while (text < end) {
    const char *from = text;
    int32_t code = next_code(&text, end);
    if (code == '\n' || code == '\t' || code == '\r')
      sqlite3_str_appendf(out, "\\%c", code == '\n' ? 'n' : code == '\t' ? 't' : 'r');
    else if (code < 0 || (code < 0x100 && is_unsafe(code)))
      sqlite3_str_appendf(out, "\\x%02x", code < 0 ? (unsigned char)*from : (unsigned)code);
    else if (is_unsafe(code))
      sqlite3_str_appendf(out, code > 0xffff ? "\\U%08x" : "\\u%04x", (unsigned)code);
    else
      sqlite3_str_append(out, from, (int)(text - from));
  }
  failed = sqlite3_str_errcode(out) != SQLITE_OK;
  cleaned = sqlite3_str_finish(out); /* NULL for an empty text, too */
  return need(cleaned != NULL || failed ? cleaned : sqlite3_mprintf(""));
}

/* Adds to a list in words: "one, two". */
static void note(sqlite3_str *list, const char *format, ...) {
  va_list arguments;
  if (sqlite3_str_length(list) > 0) sqlite3_str_appendall(list, ", ");
  va_start(arguments, format);
  sqlite3_str_vappendf(list, format, arguments);
  va_end(arguments);
}

/* How many columns a terminal gives to a code point. The platform knows; where its locale does not
** tell it that text is UTF-8, a short list of what is wide has to do. */
static int code_width(int32_t code) {
  static const struct range wide[] = {
    {0x1100, 0x115f},   {0x2e80, 0x303e},   {0x3041, 0xa4cf},   {0xac00, 0xd7a3},
    {0xf900, 0xfaff},   {0xfe30, 0xfe6f},   {0xff00, 0xff60},   {0xffe0, 0xffe6},
    {0x1f300, 0x1f64f}, {0x1f680, 0x1f6ff}, {0x1f900, 0x1faff}, {0x20000, 0x3fffd}};
  static const struct range zero[] = {{0x0300, 0x036f}, {0x0591, 0x05bd}, {0x064b, 0x065f},
                                      {0x1ab0, 0x1aff}, {0x200b, 0x200f}, {0x20d0, 0x20ff},
                                      {0xfe00, 0xfe0f}, {0xfe20, 0xfe2f}, {0xe0100, 0xe01ef}};
  int width = code < 0x80 ? 1 : wcwidth((wchar_t)code);
  if (width >= 0) return width;
  if (in_ranges(code, zero, COUNT_OF(zero))) return 0;
  return in_ranges(code, wide, COUNT_OF(wide)) ? 2 : 1;
}

/* Steps over what is shown as one sign, and gives its width: a base with its combining marks, an
** emoji with its skin tone, a sequence held together by joiners, a flag of two letters. */
static int next_sign(const char **at, const char *end) {
  int32_t code = next_code(at, end);
  int is_flag = code >= 0x1f1e6 && code <= 0x1f1ff;
  int width = code_width(code);
  while (*at < end) {
    const char *after = *at;
    int32_t next = next_code(&after, end);
    int is_tone = next >= 0x1f3fb && next <= 0x1f3ff && width == 2;
    if (is_flag && next >= 0x1f1e6 && next <= 0x1f1ff) {
      is_flag = 0;
      width = 2;
    } else if (next == 0xfe0f) {
      width = 2; /* asks for the emoji form of its base */
    } else if (next == ZERO_WIDTH_JOINER && after < end && width == 2) {
      next_code(&after, end);
    } else if (!is_tone && code_width(next) != 0) {
      break;
    }
    *at = after;
  }
  return width;
}

static int text_width(const char *text) {
  const char *end = text + strlen(text);
  int width = 0;
  while (text < end)
    width += next_sign(&text, end);
  return width;
}

/* Cuts a text to a width, in place of nothing smaller than a sign, and says so with dots. */
static void cut_to_width(char *text, int limit) {
  char *end = text + strlen(text);
  const char *at = text;
  char *cut = text;
  int width = 0;
  while (at < end) {
    width += next_sign(&at, end);
    if (width <= limit - 3) cut = text + (at - text);
    if (width > limit) {
      memcpy(cut, "...", 4);
      return;
    }
  }
}

/* Hebrew, Arabic and their like. A table ends such a cell with a direction mark, for else a
** terminal that reorders text takes two of them side by side for one, and swaps their columns. */
static int is_right_to_left(const char *text) {
  static const struct range ranges[] = {
    {0x0590, 0x08ff},
    {0xfb1d, 0xfdff},
    {0xfe70, 0xfeff},
    {0x10800, 0x10fff},
    {0x1e800, 0x1efff}};
  const char *end = text + strlen(text);
  while (text < end)
    if (in_ranges(next_code(&text, end), ranges, COUNT_OF(ranges))) return 1;
  return 0;
}

/* ---- Output -------------------------------------------------------------------------------- */

#define PAGE_WIDTH  96
#define MAX_COLUMNS 8

/* The error of the first write that failed; 0 while none has. */
static int output_error;

static int after_empty_line = 1;

/* Takes text that is already clean. */
static void put(const char *text) {
  after_empty_line = 0;
  if (fputs(text, stdout) == EOF && output_error == 0) output_error = errno;
}

static void put_spaces(int count) {
  while (count-- > 0)
    put(" ");
}

static char *clean_format(const char *format, va_list arguments) {
  char *text = need(sqlite3_vmprintf(format, arguments));
  char *cleaned = clean(text, (int64_t)strlen(text));
  sqlite3_free(text);
  return cleaned;
}

/* A line that is not broken, to be copied and pasted: a path, a command, a hash. */
static void put_line(int indent, const char *format, ...) {
  va_list arguments;
  char *text;
  va_start(arguments, format);
  text = clean_format(format, arguments);
  va_end(arguments);
  put_spaces(indent);
  put(text);
  put("\n");
  sqlite3_free(text);
}

/* Separates what comes before from what comes next, by one line. */
static void put_empty_line(void) {
  if (!after_empty_line) put("\n");
  after_empty_line = 1;
}

/* A paragraph, broken between words at the width of the page. */
static void put_paragraph(int indent, const char *format, ...) {
  va_list arguments;
  char *text, *word;
  int column = 0;
  va_start(arguments, format);
  text = clean_format(format, arguments);
  va_end(arguments);
  for (word = text; *word != '\0';) {
    char *end = word + strcspn(word, " ");
    char ending = *end;
    int width;
    *end = '\0';
    width = text_width(word);
    if (column > 0 && indent + column + 1 + width > PAGE_WIDTH) {
      put("\n");
      column = 0;
    }
    put_spaces(column > 0 ? 1 : indent);
    put(word);
    column += width + (column > 0);
    word = ending == '\0' ? end : end + 1;
  }
  put("\n");
  sqlite3_free(text);
}

static void put_heading(const char *title) {
  int width = text_width(title);
  put_empty_line();
  put_line(0, "%s", title);
  while (width-- > 0)
    put("-");
  put("\n");
  put_empty_line();
}

/* A table: its first row is the heading. Cells are cleaned, and cut to the limit of their column. */
struct table {
  int columns;
  int limits[MAX_COLUMNS];
  char **cells;
  int count;
  int capacity;
};

static void add_cell(struct table *table, const char *format, ...) {
  va_list arguments;
  char *cell;
  va_start(arguments, format);
  cell = clean_format(format, arguments);
  va_end(arguments);
  if (table->count == table->capacity) {
    table->capacity = table->capacity > 0 ? table->capacity * 2 : 64;
    table->cells =
      need(sqlite3_realloc64(table->cells, (sqlite3_uint64)table->capacity * sizeof cell));
  }
  cut_to_width(cell, table->limits[table->count % table->columns]);
  table->cells[table->count++] = cell;
}

static void add_heads(struct table *table, const char *const *heads, size_t count) {
  size_t i;
  for (i = 0; i < count; i++)
    add_cell(table, "%s", heads[i]);
}

/* Space is put before a cell and not after it: no line ends in spaces. */
static void put_row(const struct table *table, int row, const int *widths, int indent) {
  int space = indent;
  int column;
  for (column = 0; column < table->columns; column++) {
    const char *cell = table->cells[row * table->columns + column];
    if (cell[0] != '\0') {
      put_spaces(space);
      space = 0;
    }
    put(cell);
    if (is_right_to_left(cell)) put(LEFT_TO_RIGHT_MARK);
    space += widths[column] - text_width(cell) + 2;
  }
  put("\n");
}

/* The line under the heading. */
static void put_rule(const struct table *table, const int *widths, int indent) {
  int column, dashes;
  for (column = 0; column < table->columns && widths[column] > 0; column++) {
    put_spaces(column > 0 ? 2 : indent);
    for (dashes = 0; dashes < widths[column]; dashes++)
      put("-");
  }
  put("\n");
}

/* Prints the table and empties it. */
static void put_table(struct table *table, int indent) {
  int widths[MAX_COLUMNS] = {0};
  int i;
  for (i = 0; i < table->count; i++) {
    int width = text_width(table->cells[i]);
    if (width > widths[i % table->columns]) widths[i % table->columns] = width;
  }
  for (i = 0; i < table->count / table->columns; i++) {
    put_row(table, i, widths, indent);
    if (i == 0) put_rule(table, widths, indent);
  }
  for (i = 0; i < table->count; i++)
    sqlite3_free(table->cells[i]);
  sqlite3_free(table->cells);
  table->cells = NULL;
  table->count = table->capacity = 0;
}

/* A line of JSON, which is UTF-8. What JSON lets stand inside a string but a terminal obeys is
** escaped, which any reader of JSON undoes. */
static void put_json(const char *json, int size) {
  const char *end = json + size;
  sqlite3_str *out = need(sqlite3_str_new(NULL));
  char *line;
  while (json < end) {
    const char *from = json;
    int32_t code = next_code(&json, end);
    if (code > 0xffff && is_unsafe(code))
      sqlite3_str_appendf(
        out, "\\u%04x\\u%04x", 0xd7c0 + ((unsigned)code >> 10),
        0xdc00 | ((unsigned)code & 0x3ff)
      );
    else if (is_unsafe(code))
      sqlite3_str_appendf(out, "\\u%04x", (unsigned)code);
    else
      sqlite3_str_append(out, from, (int)(json - from));
  }
  sqlite3_str_appendchar(out, 1, '\n');
  line = need(sqlite3_str_finish(out));
  put(line);
  sqlite3_free(line);
}

/* ---- Trouble ------------------------------------------------------------------------------- */

/* Says on standard error what is wrong; nothing of it is lost behind what is still to be shown. */
static void complain(const char *format, ...) {
  va_list arguments;
  char *text;
  va_start(arguments, format);
  text = clean_format(format, arguments);
  va_end(arguments);
  if (fflush(stdout) != 0 && output_error == 0) output_error = errno;
  fprintf(stderr, "custmem: %s\n", text);
  sqlite3_free(text);
}

static int refused(const custmem *store, int rc) {
  complain("%s: %s", custmem_code_name(rc), custmem_errmsg(store));
  return REFUSED;
}

/* A store that is only looked at is opened read-only: a mistyped path makes no new one. */
static int open_store(const char *path, int read_only, custmem **store) {
  char message[CUSTMEM_MESSAGE_MAX + 1];
  custmem_options options;
  int rc;
  custmem_options_init(&options);
  options.read_only = read_only;
  options.message = message;
  options.message_size = sizeof message;
  rc = custmem_open(path, &options, store);
  if (rc == CUSTMEM_OK) return DONE;
  complain("%s: %s", custmem_code_name(rc), message);
  return REFUSED;
}

/* ---- JSON ---------------------------------------------------------------------------------- */

/* A connection that has no file: all JSON is read and made by SQLite's functions on it. */
static sqlite3 *open_json(void) {
  sqlite3 *db;
  int rc = sqlite3_open(":memory:", &db);
  need(rc == SQLITE_OK ? db : NULL);
  return db;
}

/* The program's own SQL can only fail to be prepared for want of memory. */
static sqlite3_stmt *prepare(sqlite3 *db, const char *sql) {
  sqlite3_stmt *stmt = NULL;
  sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);
  return need(stmt);
}

/* The text is the caller's, who keeps it until the statement has been stepped. */
static void bind_text(sqlite3_stmt *stmt, int parameter, const char *text) {
  sqlite3_bind_text(stmt, parameter, text, -1, SQLITE_STATIC);
}

/* Prints the JSON that the statement makes of what is bound to it. 0, and nothing is printed, where
** that is not UTF-8: then it is not JSON, and bytes are neither changed nor left out. */
static int put_json_row(sqlite3_stmt *stmt) {
  int rc = sqlite3_step(stmt), size, good;
  const char *json = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(stmt, 0) : NULL;
  need(rc == SQLITE_ROW ? stmt : NULL);
  size = sqlite3_column_bytes(stmt, 0);
  good = is_utf8(json, (size_t)size);
  if (good) put_json(json, size);
  sqlite3_reset(stmt);
  return good;
}

/* ---- Check, verify, audit ------------------------------------------------------------------ */

#define PAGE_OF_EVENTS 64

/* Says what is wrong, and where, as far as the fault has a place. */
static int report_fault(const custmem *store, int rc, const custmem_report *report) {
  sqlite3_str *place = need(sqlite3_str_new(NULL));
  int status = refused(store, rc);
  if (report->instructor_id[0] != '\0') note(place, "instructor %s", report->instructor_id);
  if (report->seq > 0) note(place, "event %lld", (long long)report->seq);
  if (report->subject[0] != '\0') note(place, "%s", report->subject);
  if (report->fault != CUSTMEM_FAULT_NONE && sqlite3_str_length(place) > 0)
    complain("the first fault is at %s", sqlite3_str_value(place));
  sqlite3_free(sqlite3_str_finish(place));
  return status;
}

static int put_check(custmem *store) {
  custmem_report report;
  int rc = custmem_check(store, &report);
  if (rc != CUSTMEM_OK) return report_fault(store, rc, &report);
  put_line(0, "sound");
  put_line(0, "instructors  %lld", (long long)report.instructors);
  put_line(0, "customers    %lld", (long long)report.customers);
  put_line(0, "links        %lld", (long long)report.links);
  put_line(0, "events       %lld", (long long)report.events);
  return DONE;
}

static int run_check(int argc, char **argv) {
  custmem *store;
  int status = open_store(argv[0], 1, &store);
  (void)argc;
  if (status == DONE) status = put_check(store);
  custmem_close(store);
  return status;
}

/* An anchor as it is written down: a count in decimal, a hash in lower-case hexadecimal. */
static int read_anchor(const char *count, const char *hash, custmem_head *anchor) {
  char *end = NULL;
  errno = 0;
  anchor->count = strtoll(count, &end, 10);
  if (errno != 0 || strspn(count, "0123456789") != strlen(count) || count[0] == '\0') {
    complain("COUNT is a number of events, as it was noted: not \"%s\"", count);
    return USAGE;
  }
  if (strlen(hash) != CUSTMEM_HASH_SIZE || strspn(hash, "0123456789abcdef") != CUSTMEM_HASH_SIZE) {
    complain("HASH is %d digits, 0 to 9 and a to f: not \"%s\"", CUSTMEM_HASH_SIZE, hash);
    return USAGE;
  }
  memcpy(anchor->hash, hash, CUSTMEM_HASH_SIZE + 1);
  return DONE;
}

static int put_verification(
  custmem *store,
  const char *instructor,
  const custmem_head *anchor
) {
  custmem_report report;
  int rc = custmem_audit_verify(store, instructor, anchor, &report);
  if (rc != CUSTMEM_OK) return report_fault(store, rc, &report);
  put_line(0, anchor != NULL ? "sound, and it continues the anchor" : "sound");
  put_line(0, "events  %lld", (long long)report.events);
  put_line(0, "links   %lld", (long long)report.links);
  put_line(0, "head    %lld %s", (long long)report.head.count, report.head.hash);
  return DONE;
}

static int run_verify(int argc, char **argv) {
  custmem *store;
  custmem_head anchor;
  int status;
  if (argc == 4 && read_anchor(argv[2], argv[3], &anchor) != DONE) return USAGE;
  status = open_store(argv[0], 1, &store);
  if (status == DONE) status = put_verification(store, argv[1], argc == 4 ? &anchor : NULL);
  custmem_close(store);
  return status;
}

static int put_event(sqlite3_stmt *stmt, const custmem_event *event) {
  bind_text(stmt, 1, event->instructor_id);
  sqlite3_bind_int64(stmt, 2, event->seq);
  bind_text(stmt, 3, event->event_name);
  bind_text(stmt, 4, event->conversation_id);
  bind_text(stmt, 5, event->previous_customer_id);
  bind_text(stmt, 6, event->new_customer_id);
  bind_text(stmt, 7, event->actor_type == CUSTMEM_ACTOR_SYSTEM ? "system" : "human");
  bind_text(stmt, 8, event->actor_id);
  bind_text(stmt, 9, event->reason);
  bind_text(stmt, 10, event->context);
  sqlite3_bind_int64(stmt, 11, event->created_at_ms);
  bind_text(stmt, 12, event->hash);
  if (put_json_row(stmt)) return DONE;
  complain("event %lld holds text that is not UTF-8: see verify", (long long)event->seq);
  return REFUSED;
}

/* The events up to the head that the first line has named. Another process may add some meanwhile:
** they are left to the next export, so that the first line always describes what follows. */
static int put_events(
  custmem *store,
  const char *instructor,
  const custmem_head *head,
  sqlite3_stmt *stmt
) {
  static custmem_event events[PAGE_OF_EVENTS];
  int64_t after = 0;
  int status = DONE;
  while (status == DONE && after < head->count && output_error == 0) {
    int32_t count, i;
    int rc = custmem_audit_read(store, instructor, after, events, PAGE_OF_EVENTS, &count);
    if (rc != CUSTMEM_OK) return refused(store, rc);
    if (count == 0) return DONE;
    after = events[count - 1].seq;
    for (i = 0; status == DONE && i < count && events[i].seq <= head->count; i++)
      status = put_event(stmt, &events[i]);
  }
  return status;
}

static int put_trail(
  custmem *store,
  const char *instructor,
  sqlite3_stmt *first,
  sqlite3_stmt *event
) {
  custmem_info info;
  custmem_head head;
  int rc = custmem_store_info(store, &info);
  if (rc == CUSTMEM_OK) rc = custmem_audit_head(store, instructor, &head);
  if (rc != CUSTMEM_OK) return refused(store, rc);
  bind_text(first, 1, info.id);
  bind_text(first, 2, instructor);
  sqlite3_bind_int64(first, 3, head.count);
  bind_text(first, 4, head.hash);
  put_json_row(first);
  return put_events(store, instructor, &head, event);
}

static int run_audit(int argc, char **argv) {
  custmem *store;
  int status = open_store(argv[0], 1, &store);
  (void)argc;
  if (status == DONE) {
    sqlite3 *db = open_json();
    sqlite3_stmt *first = prepare(
      db, "SELECT json_object('store_id', ?1, 'instructor_id', ?2, 'count', ?3, 'head', ?4)"
    );
    sqlite3_stmt *event = prepare(
      db, "SELECT json_object('instructor_id', ?1, 'seq', ?2, 'event_name', ?3,"
          " 'conversation_id', ?4, 'previous_customer_id', nullif(?5, ''),"
          " 'new_customer_id', nullif(?6, ''), 'actor_type', ?7, 'actor_id', nullif(?8, ''),"
          " 'reason', ?9, 'context', nullif(?10, ''), 'created_at', ?11, 'hash', ?12)"
    );
    status = put_trail(store, argv[1], first, event);
    sqlite3_finalize(first);
    sqlite3_finalize(event);
    sqlite3_close(db);
  }
  custmem_close(store);
  return status;
}

/* ---- Stream --------------------------------------------------------------------------------
** What a host of custmem does with WhatsApp's webhooks. A payload has entries (one a business
** account), an entry has changes (one a business number), and a change carries messages, statuses
** of messages that were sent, or something else. Only messages matter here. Each belongs to the
** conversation of its business number and its sender, and is told from a repeated delivery by its
** id.
**
** Conversations and their ids are the host's, not custmem's: they live in memory, in tables of the
** host's own. */

#define MAX_PAYLOAD (4 << 20) /* more than any webhook is */
#define MAX_LAST    "200"     /* characters that are kept of a message */
#define INSTRUCTORS 2

enum host_statement {
  HOST_KIND,
  HOST_CHANGES,
  HOST_STATUSES,
  HOST_MESSAGES,
  HOST_SEEN,
  HOST_KEEP,
  HOST_MOVED,
  HOST_CONVERSATIONS,
  HOST_STATEMENTS
};

static const char HOST_TABLES[] =
  "CREATE TABLE seen (number TEXT, message TEXT, PRIMARY KEY (number, message)) WITHOUT ROWID;"
  "CREATE TABLE conversation ("
  "  id INTEGER PRIMARY KEY, instructor INTEGER, channel TEXT, sender TEXT,"
  "  name TEXT, last TEXT, moved_to TEXT, UNIQUE (instructor, channel, sender));";

/* clang-format off */

/* The string at a path of a JSON object; NULL where there is none, or something else. */
#define TEXT(json, path) \
  "iif(json_type(" json ", '" path "') = 'text', " json " ->> '" path "', NULL)"
#define FILLED(json, path) "nullif(" TEXT(json, path) ", '')"

/* An element of an array as an object: asking it for its fields never fails. */
#define OBJECT(each) "iif(" each ".type = 'object', " each ".value, '{}')"

static const char *const HOST_SQL[HOST_STATEMENTS] = {
  /* An enum kind: not JSON, JSON but not a webhook of WhatsApp's, or one. */
  [HOST_KIND] =
    "SELECT CASE WHEN NOT json_valid(?1) THEN 0"
    " WHEN ?1 ->> '$.object' IS NOT 'whatsapp_business_account' THEN 1"
    " WHEN json_type(?1, '$.entry') IS NOT 'array' THEN 1 ELSE 2 END",

  [HOST_CHANGES] =
    "SELECT " TEXT("entry.value", "$.id") ", " TEXT("change.value", "$.field") ","
    "  " TEXT("change.value", "$.value.metadata.phone_number_id") ", change.value"
    " FROM json_each(?1, '$.entry') AS entry,"
    "  json_each(" OBJECT("entry") ", '$.changes') AS change"
    " WHERE change.type = 'object'",

  [HOST_STATUSES] =
    "SELECT " TEXT(OBJECT("status"), "$.status") ", count(*)"
    " FROM json_each(?1, '$.value.statuses') AS status GROUP BY 1",

  /* A sender goes by a phone number or by a business-scoped id, and so does the contact with the
  ** name. Contacts are grouped first, so that many of them, in a payload with many messages, take
  ** no longer than they must. */
  [HOST_MESSAGES] =
    "WITH contact AS MATERIALIZED ("
    "  SELECT sender, max(name) AS name FROM ("
    "    SELECT " FILLED("value", "$.wa_id") " AS sender, "
    "      " FILLED("value", "$.profile.name") " AS name"
    "      FROM json_each(?1, '$.value.contacts') WHERE type = 'object'"
    "    UNION ALL"
    "    SELECT " FILLED("value", "$.user_id") ", " FILLED("value", "$.profile.name")
    "      FROM json_each(?1, '$.value.contacts') WHERE type = 'object')"
    "    WHERE sender IS NOT NULL GROUP BY sender),"
    " element AS MATERIALIZED ("
    "  SELECT key, " OBJECT("each") " AS json FROM json_each(?1, '$.value.messages') AS each),"
    " message AS MATERIALIZED ("
    "  SELECT key, json, " FILLED("json", "$.id") " AS id,"
    "    " FILLED("json", "$.from") " AS phone, " FILLED("json", "$.from_user_id") " AS scoped,"
    "    " FILLED("json", "$.group_id") " AS in_group,"
    "    ifnull(" TEXT("json", "$.type") ", '?') AS type FROM element)"
    "SELECT id, phone, scoped, in_group, name,"
    "  CASE type"
    "    WHEN 'interactive' THEN replace(ifnull(" TEXT("json", "$.interactive.type") ", type), '_', ' ')"
    "    WHEN 'button' THEN 'button reply'"
    "    WHEN 'contacts' THEN 'contact card'"
    "    WHEN 'audio' THEN 'voice message'"
    "    WHEN 'system' THEN 'notice'"
    "    ELSE substr(type, 1, 40) END,"
    "  substr(CASE type"
    "    WHEN 'text' THEN " TEXT("json", "$.text.body")
    "    WHEN 'interactive' THEN ifnull(" TEXT("json", "$.interactive.button_reply.title") ","
    "      " TEXT("json", "$.interactive.list_reply.title") ")"
    "    WHEN 'button' THEN " TEXT("json", "$.button.text")
    "    WHEN 'reaction' THEN " TEXT("json", "$.reaction.emoji")
    "    WHEN 'location' THEN " TEXT("json", "$.location.name")
    "    WHEN 'contacts' THEN " TEXT("json", "$.contacts[0].name.formatted_name")
    "    WHEN 'document' THEN " TEXT("json", "$.document.filename")
    "    WHEN 'image' THEN " TEXT("json", "$.image.caption")
    "    WHEN 'video' THEN " TEXT("json", "$.video.caption")
    "    WHEN 'system' THEN " TEXT("json", "$.system.body") " END, 1, " MAX_LAST "),"
    "  iif(type = 'system', " FILLED("json", "$.system.wa_id") ", NULL)"
    " FROM message LEFT JOIN contact ON contact.sender = ifnull(phone, scoped) ORDER BY key",

  [HOST_SEEN] = "INSERT OR IGNORE INTO seen VALUES (?1, ?2)",

  [HOST_KEEP] =
    "INSERT INTO conversation (instructor, channel, sender, name, last)"
    " VALUES (?1, ?2, ?3, ?4, ?5)"
    " ON CONFLICT DO UPDATE SET name = ifnull(excluded.name, name), last = excluded.last"
    " RETURNING ifnull(name, sender)",

  [HOST_MOVED] =
    "UPDATE conversation SET moved_to = ?4 WHERE instructor = ?1 AND channel = ?2 AND sender = ?3",

  /* In the order of their numbers, which are 1, 2, 3 and so on. */
  [HOST_CONVERSATIONS] =
    "SELECT id, instructor, channel, sender, ifnull(name, sender), last,"
    "  (SELECT id FROM conversation AS new WHERE new.instructor = one.instructor"
    "     AND new.channel = one.channel AND new.sender = one.moved_to),"
    "  (SELECT id FROM conversation AS other WHERE other.instructor = 1 - one.instructor"
    "     AND other.channel = one.channel AND other.sender = one.sender)"
    " FROM conversation AS one ORDER BY id",
};

/* clang-format on */

/* A conversation of an instructor's. A group has no channel and no sender: it is nobody, so there
** is nothing to find a customer by. */
struct conversation {
  char id[CUSTMEM_ID_MAX + 1];
  int instructor;
  char *channel;
  char *sender;
  int sender_size;
  char *name;
  char *last;
  int moved_to; /* the conversation, by number, that the sender goes on in; 0 for none */
  int shared;   /* the other instructor's with the same sender; 0 for none */
};

struct host {
  sqlite3 *db;
  sqlite3_stmt *stmts[HOST_STATEMENTS];
  char *numbers
    [INSTRUCTORS]; /* phone_number_id: the first two of the stream are the instructors' */
  struct conversation *conversations;
  int count;
  int capacity;
};

static const struct {
  const char *id, *actor, *name;
} INSTRUCTOR[INSTRUCTORS] = {
  {"marta", "user-marta", "Marta"},
  {"jonas", "user-jonas", "Jonas"}};

/* What becomes of a message: it is an instructor's, or left out. */
enum place { MARTA, JONAS, REPEATED, FOREIGN, INCOMPLETE, PLACES };

static const char *const PLACE[PLACES] = {
  "for Marta", "for Jonas", "delivered before", "for nobody here", "without id or sender"};

/* What one payload carried, in words, and how many messages of it went where. */
struct tally {
  sqlite3_str *carried;
  int messages[PLACES];
};

static void open_host(struct host *host) {
  int i;
  memset(host, 0, sizeof *host);
  host->db = open_json();
  need(sqlite3_exec(host->db, HOST_TABLES, NULL, NULL, NULL) == SQLITE_OK ? host->db : NULL);
  for (i = 0; i < HOST_STATEMENTS; i++)
    host->stmts[i] = prepare(host->db, HOST_SQL[i]);
}

static void close_host(struct host *host) {
  int i;
  for (i = 0; i < host->count; i++) {
    sqlite3_free(host->conversations[i].channel);
    sqlite3_free(host->conversations[i].sender);
    sqlite3_free(host->conversations[i].name);
    sqlite3_free(host->conversations[i].last);
  }
  sqlite3_free(host->conversations);
  for (i = 0; i < INSTRUCTORS; i++)
    sqlite3_free(host->numbers[i]);
  for (i = 0; i < HOST_STATEMENTS; i++)
    sqlite3_finalize(host->stmts[i]);
  sqlite3_close(host->db);
}

static int is_null(sqlite3_stmt *row, int column) {
  return sqlite3_column_type(row, column) == SQLITE_NULL;
}

/* A column fit to be shown, "" for NULL. To be freed. */
static char *shown(sqlite3_stmt *row, int column) {
  const char *text = (const char *)sqlite3_column_text(row, column);
  return clean(text != NULL ? text : "", sqlite3_column_bytes(row, column));
}

/* A column as it is, with its size; NULL for NULL. To be freed. */
static char *copied(sqlite3_stmt *row, int column, int *size) {
  const void *bytes = sqlite3_column_text(row, column);
  char *copy = NULL;
  *size = sqlite3_column_bytes(row, column);
  if (bytes != NULL) {
    copy = need(sqlite3_malloc(*size + 1));
    memcpy(copy, bytes, (size_t)*size + 1);
  }
  return copy;
}

/* Whose business number it is, or -1. A number not seen before is the next instructor's, as long
** as there is one. */
static int instructor_of(struct host *host, sqlite3_stmt *row, int column) {
  int size, i;
  char *number = copied(row, column, &size);
  for (i = 0; number != NULL && (int)strlen(number) == size && i < INSTRUCTORS; i++) {
    if (host->numbers[i] == NULL) {
      host->numbers[i] = number;
      return i;
    }
    if (strcmp(host->numbers[i], number) == 0) {
      sqlite3_free(number);
      return i;
    }
  }
  sqlite3_free(number);
  return -1;
}

enum { MESSAGE_ID, MESSAGE_PHONE, MESSAGE_SCOPED, MESSAGE_GROUP, MESSAGE_NAME, MESSAGE_KIND };
enum { MESSAGE_TEXT = MESSAGE_KIND + 1, MESSAGE_MOVED_TO };

/* A message as one line of the inbox: "[image] Look!". To be freed. */
static char *line_of(sqlite3_stmt *row) {
  char *kind = shown(row, MESSAGE_KIND), *text = shown(row, MESSAGE_TEXT);
  int is_text = strcmp(kind, "text") == 0;
  char *line =
    need(is_text ? sqlite3_mprintf("%s", text) : sqlite3_mprintf("[%s] %s", kind, text));
  sqlite3_free(kind);
  sqlite3_free(text);
  return line;
}

/* The sender has announced a new number. It is remembered, and merges nothing. */
static void keep_move(
  struct host *host,
  sqlite3_stmt *row,
  int instructor,
  const char *channel
) {
  sqlite3_stmt *moved = host->stmts[HOST_MOVED];
  sqlite3_bind_int(moved, 1, instructor);
  bind_text(moved, 2, channel);
  sqlite3_bind_value(moved, 3, sqlite3_column_value(row, MESSAGE_PHONE));
  sqlite3_bind_value(moved, 4, sqlite3_column_value(row, MESSAGE_MOVED_TO));
  sqlite3_step(moved);
  sqlite3_reset(moved);
}

/* Keeps a message that is new: its conversation, the name of the sender, the line for the inbox.
**
** A phone number is one person's wherever it turns up, so its channel is "whatsapp". A
** business-scoped user id is unique within one business only, and elsewhere the same text may be
** another person: so the account that it came to is a part of its channel, "whatsapp/ACCOUNT".
** (WhatsApp may give one id to several accounts of a business. Then one person has two keys here,
** which a human can put right; two people with one key nobody could.) Where a message has both, the
** phone number is taken. */
static void keep_message(
  struct host *host,
  sqlite3_stmt *row,
  const char *account,
  int instructor,
  struct tally *tally
) {
  sqlite3_stmt *keep = host->stmts[HOST_KEEP];
  int in_group = !is_null(row, MESSAGE_GROUP);
  int by_phone = !is_null(row, MESSAGE_PHONE);
  int sender = in_group ? MESSAGE_GROUP : by_phone ? MESSAGE_PHONE : MESSAGE_SCOPED;
  char *channel = need(sqlite3_mprintf(by_phone ? "whatsapp" : "whatsapp/%s", account));
  char *kind = shown(row, MESSAGE_KIND), *line = line_of(row), *name;
  sqlite3_bind_int(keep, 1, instructor);
  bind_text(keep, 2, in_group ? "" : channel);
  sqlite3_bind_value(keep, 3, sqlite3_column_value(row, sender));
  sqlite3_bind_value(keep, 4, sqlite3_column_value(row, MESSAGE_NAME));
  if (in_group) bind_text(keep, 4, "(a group)");
  bind_text(keep, 5, line);
  need(sqlite3_step(keep) == SQLITE_ROW ? keep : NULL);
  name = shown(keep, 0);
  sqlite3_reset(keep);
  note(tally->carried, in_group ? "%s in %s" : "%s from %s", kind, name);
  if (!is_null(row, MESSAGE_MOVED_TO) && by_phone && !in_group)
    keep_move(host, row, instructor, channel);
  sqlite3_free(channel);
  sqlite3_free(kind);
  sqlite3_free(line);
  sqlite3_free(name);
}

static int is_repeated(struct host *host, sqlite3_stmt *change, sqlite3_stmt *message) {
  sqlite3_stmt *seen = host->stmts[HOST_SEEN];
  sqlite3_bind_value(seen, 1, sqlite3_column_value(change, 2));
  sqlite3_bind_value(seen, 2, sqlite3_column_value(message, MESSAGE_ID));
  sqlite3_step(seen);
  sqlite3_reset(seen);
  return sqlite3_changes(host->db) == 0;
}

static enum place place_of(struct host *host, sqlite3_stmt *change, sqlite3_stmt *message) {
  int has_sender = !is_null(message, MESSAGE_PHONE) || !is_null(message, MESSAGE_SCOPED) ||
                   !is_null(message, MESSAGE_GROUP);
  int instructor;
  if (is_null(message, MESSAGE_ID) || !has_sender) return INCOMPLETE;
  instructor = instructor_of(host, change, 2);
  if (instructor < 0) return FOREIGN;
  if (is_repeated(host, change, message)) return REPEATED;
  return (enum place)instructor;
}

static void read_messages(struct host *host, sqlite3_stmt *change, struct tally *tally) {
  sqlite3_stmt *row = host->stmts[HOST_MESSAGES];
  char *account = shown(change, 0);
  sqlite3_bind_value(row, 1, sqlite3_column_value(change, 3));
  while (sqlite3_step(row) == SQLITE_ROW) {
    enum place place = place_of(host, change, row);
    tally->messages[place]++;
    if (place < INSTRUCTORS) {
      keep_message(host, row, account, (int)place, tally);
    } else {
      char *kind = shown(row, MESSAGE_KIND), *name = shown(row, MESSAGE_NAME);
      note(tally->carried, name[0] != '\0' ? "%s from %s" : "%s", kind, name);
      sqlite3_free(kind);
      sqlite3_free(name);
    }
  }
  sqlite3_reset(row);
  sqlite3_free(account);
}

/* Statuses tell how messages fared that were sent: they are nobody's words, and name no customer
** that a conversation could be about. */
static void read_change(struct host *host, sqlite3_stmt *change, struct tally *tally) {
  sqlite3_stmt *row = host->stmts[HOST_STATUSES];
  int before = sqlite3_str_length(tally->carried);
  read_messages(host, change, tally);
  sqlite3_bind_value(row, 1, sqlite3_column_value(change, 3));
  while (sqlite3_step(row) == SQLITE_ROW) {
    char *status = shown(row, 0);
    int count = sqlite3_column_int(row, 1);
    if (strcmp(status, "read") == 0)
      note(tally->carried, "read receipt");
    else
      note(tally->carried, "status: %s", status);
    if (count > 1) sqlite3_str_appendf(tally->carried, " x%d", count);
    sqlite3_free(status);
  }
  sqlite3_reset(row);
  if (sqlite3_str_length(tally->carried) == before) {
    char *field = shown(change, 1);
    note(tally->carried, "%s", field[0] != '\0' ? field : "nothing");
    sqlite3_free(field);
  }
}

enum kind { NOT_JSON, NOT_WEBHOOK, WEBHOOK, TOO_LONG };

static enum kind kind_of(struct host *host, const char *payload, size_t size) {
  sqlite3_stmt *stmt = host->stmts[HOST_KIND];
  enum kind kind = NOT_JSON;
  if (size > MAX_PAYLOAD) return TOO_LONG;
  if (memchr(payload, '\0', size) != NULL || !is_utf8(payload, size)) return NOT_JSON;
  sqlite3_bind_text64(stmt, 1, payload, size, SQLITE_STATIC, SQLITE_UTF8);
  if (sqlite3_step(stmt) == SQLITE_ROW) kind = (enum kind)sqlite3_column_int(stmt, 0);
  sqlite3_reset(stmt);
  return kind;
}

/* Reads one payload, and tells it in a row of the table. */
static void read_payload(
  struct host *host,
  const char *payload,
  size_t size,
  int line,
  struct table *table,
  struct tally *tally
) {
  static const char *const NOT_ONE[] = {
    [NOT_JSON] = "(not JSON)",
    [NOT_WEBHOOK] = "(JSON, but not a WhatsApp webhook)",
    [TOO_LONG] = "(longer than any webhook)"};
  sqlite3_stmt *change = host->stmts[HOST_CHANGES];
  enum kind kind = kind_of(host, payload, size);
  sqlite3_str *effect = need(sqlite3_str_new(NULL));
  int i;
  memset(tally, 0, sizeof *tally);
  tally->carried = need(sqlite3_str_new(NULL));
  if (kind == WEBHOOK) {
    sqlite3_bind_text64(change, 1, payload, size, SQLITE_STATIC, SQLITE_UTF8);
    while (sqlite3_step(change) == SQLITE_ROW)
      read_change(host, change, tally);
    sqlite3_reset(change);
    if (sqlite3_str_length(tally->carried) == 0) note(tally->carried, "nothing");
  } else {
    note(tally->carried, "%s", NOT_ONE[kind]);
  }
  for (i = 0; i < PLACES; i++)
    if (tally->messages[i] > 0) note(effect, "%d %s", tally->messages[i], PLACE[i]);
  if (sqlite3_str_length(effect) == 0)
    note(effect, kind == WEBHOOK ? "no customer in it" : "left out");
  add_cell(table, "%d", line);
  add_cell(table, "%s", need(sqlite3_str_value(tally->carried)));
  add_cell(table, "%s", need(sqlite3_str_value(effect)));
  sqlite3_free(sqlite3_str_finish(effect));
  sqlite3_free(sqlite3_str_finish(tally->carried));
  tally->carried = NULL;
}

/* Reads up to the end of a line, of which at most MAX_PAYLOAD + 1 bytes are kept. 0 at the end of
** the file. */
static int read_line(FILE *file, char *line, size_t *size) {
  int byte;
  *size = 0;
  while ((byte = getc(file)) != EOF && byte != '\n')
    if (*size <= MAX_PAYLOAD) line[(*size)++] = (char)byte;
  return byte != EOF || *size > 0;
}

static int is_blank(const char *line, size_t size) {
  while (size > 0 && strchr(" \t\r", line[size - 1]) != NULL && line[size - 1] != '\0')
    size--;
  return size == 0;
}

/* The conversations as the stream has left them. */
static void load_conversations(struct host *host) {
  sqlite3_stmt *row = host->stmts[HOST_CONVERSATIONS];
  int unused;
  while (sqlite3_step(row) == SQLITE_ROW) {
    struct conversation *conversation;
    if (host->count == host->capacity) {
      host->capacity = host->capacity > 0 ? host->capacity * 2 : 64;
      host->conversations = need(sqlite3_realloc64(
        host->conversations, (sqlite3_uint64)host->capacity * sizeof *conversation
      ));
    }
    conversation = &host->conversations[host->count++];
    memset(conversation, 0, sizeof *conversation);
    snprintf(conversation->id, sizeof conversation->id, "c%d", sqlite3_column_int(row, 0));
    conversation->instructor = sqlite3_column_int(row, 1);
    if (sqlite3_column_bytes(row, 2) > 0) {
      conversation->channel = copied(row, 2, &unused);
      conversation->sender = copied(row, 3, &conversation->sender_size);
    }
    conversation->name = shown(row, 4);
    conversation->last = shown(row, 5);
    conversation->moved_to = sqlite3_column_int(row, 6);
    conversation->shared = sqlite3_column_int(row, 7);
  }
  sqlite3_reset(row);
}

/* ---- Demo ----------------------------------------------------------------------------------
** Two instructors, a stream of webhooks, a store in a fresh directory. Each chapter tells what it
** does, does it, and compares what came of it with what was told. */

#define DEMO_STREAM "test/data/webhooks.jsonl"
#define DEMO_EVENTS 32

/* The people of the story: conversations that the stream brought, and the customers made of them.
** client wrote to both instructors, other to Marta alone; the rest need not be there. */
struct demo {
  struct host host;
  custmem *store;
  sqlite3 *plain; /* a connection that knows nothing of custmem */
  char *directory;
  char *path;
  const struct conversation *client, *other, *theirs, *scoped, *group, *moved, *moved_to;
  custmem_customer client_customer, other_customer, their_customer, moved_customer;
  custmem_head noted;
};

static custmem_actor human(int instructor) {
  custmem_actor actor = {CUSTMEM_ACTOR_HUMAN, NULL, NULL};
  actor.actor_id = INSTRUCTOR[instructor].actor;
  actor.instructor_id = INSTRUCTOR[instructor].id;
  return actor;
}

static int as_told(int holds, const char *what) {
  if (!holds) complain("this did not come out as told: %s", what);
  return holds;
}

static int done(struct demo *demo, int rc, const char *what) {
  if (rc == CUSTMEM_OK) return 1;
  complain("%s: %s: %s", what, custmem_code_name(rc), custmem_errmsg(demo->store));
  return 0;
}

/* Grows when another connection has written to the file. */
static int64_t data_version(sqlite3 *db) {
  sqlite3_stmt *stmt = prepare(db, "PRAGMA data_version");
  int64_t version = sqlite3_step(stmt) == SQLITE_ROW ? sqlite3_column_int64(stmt, 0) : -1;
  sqlite3_finalize(stmt);
  return version;
}

static const char *label(const custmem_customer *customer) {
  return customer->display_identifier[0] != '\0' ? customer->display_identifier
                                                 : customer->normalized_identifier;
}

/* What an instructor sees: each of their conversations with its badge, all of one moment. */
static int show_inbox(struct demo *demo, int instructor) {
  static const char *const HEADS[] = {"id", "name", "last message", "badge", ""};
  struct table table = {5, {8, 17, 21, 14, 37}, NULL, 0, 0};
  const struct host *host = &demo->host;
  size_t room = (size_t)host->count + 1;
  custmem_query *queries = need(sqlite3_malloc64(room * sizeof *queries));
  custmem_resolution *found = need(sqlite3_malloc64(room * sizeof *found));
  int32_t *rows = need(sqlite3_malloc64(room * sizeof *rows));
  int32_t count = 0, i;
  int rc;
  for (i = 0; i < host->count; i++) {
    const struct conversation *conversation = &host->conversations[i];
    if (conversation->instructor != instructor) continue;
    rows[count] = i;
    queries[count].conversation_id = conversation->id;
    queries[count].channel = conversation->channel;
    queries[count].raw_identifier = conversation->sender;
    queries[count++].raw_size = conversation->sender_size;
  }
  rc = custmem_resolve_many(demo->store, INSTRUCTOR[instructor].id, queries, count, found);
  put_line(0, "%s's inbox", INSTRUCTOR[instructor].name);
  put_empty_line();
  add_heads(&table, HEADS, COUNT_OF(HEADS));
  for (i = 0; i < count; i++) {
    const struct conversation *conversation = &host->conversations[rows[i]];
    int badge = custmem_badge(&found[i]);
    add_cell(&table, "%s", conversation->id);
    add_cell(&table, "%s", conversation->name);
    add_cell(&table, "%s", conversation->last);
    add_cell(&table, "%s", custmem_badge_label(badge));
    add_cell(&table, "%s", custmem_badge_copy(badge));
  }
  put_table(&table, 0);
  put_empty_line();
  sqlite3_free(queries);
  sqlite3_free(found);
  sqlite3_free(rows);
  return done(demo, rc, "resolving the inbox");
}

static int badge_of(struct demo *demo, const struct conversation *conversation, int viewer) {
  custmem_resolution found;
  custmem_resolve(
    demo->store, INSTRUCTOR[viewer].id, conversation->id, conversation->channel,
    conversation->sender, conversation->sender_size, &found
  );
  return custmem_badge(&found);
}

static int has_badge(struct demo *demo, const struct conversation *conversation, int badge) {
  return as_told(
    badge_of(demo, conversation, conversation->instructor) == badge, custmem_badge_label(badge)
  );
}

/* ---- The steps that write */

enum verb { LINK, RELINK, UNLINK };

/* What somebody tries, what custmem is to answer, and what the inbox is to show afterwards. */
struct step {
  enum verb verb;
  custmem_actor actor;
  const struct conversation *conversation;
  const char *current; /* the customer to be replaced: relink, unlink */
  const char *customer;
  const char *reason;
  int expected;
  int badge;
};

static struct step linking(
  int who,
  const struct conversation *conversation,
  const char *customer,
  const char *reason
) {
  struct step step = {LINK, human(who), conversation, NULL, customer, reason, 0, 0};
  step.expected = CUSTMEM_OK;
  step.badge = CUSTMEM_BADGE_KNOWN;
  return step;
}

static struct step relinking(
  int who,
  const struct conversation *conversation,
  const char *current,
  const char *customer,
  const char *reason
) {
  struct step step = linking(who, conversation, customer, reason);
  step.verb = RELINK;
  step.current = current;
  return step;
}

static struct step unlinking(
  int who,
  const struct conversation *conversation,
  const char *current,
  const char *reason
) {
  struct step step = relinking(who, conversation, current, NULL, reason);
  step.verb = UNLINK;
  step.badge = CUSTMEM_BADGE_NEW;
  return step;
}

static int try_step(struct demo *demo, const struct step *step, custmem_written *written) {
  const char *id = step->conversation->id;
  const int64_t size = CUSTMEM_NUL_TERMINATED;
  if (step->verb == LINK)
    return custmem_link(
      demo->store, &step->actor, id, step->customer, step->reason, size, NULL, 0, written
    );
  if (step->verb == RELINK)
    return custmem_relink(
      demo->store, &step->actor, id, step->current, step->customer, step->reason, size, NULL, 0,
      written
    );
  return custmem_unlink(
    demo->store, &step->actor, id, step->current, step->reason, size, NULL, 0, written
  );
}

/* A refusal that concerns the current customer names it, so that the caller can show it. */
static int names_current(struct demo *demo, const struct step *step, const char *current) {
  custmem_resolution found;
  if (step->expected != CUSTMEM_ALREADY_LINKED && step->expected != CUSTMEM_CHANGED) return 1;
  custmem_resolve(
    demo->store, step->actor.instructor_id, step->conversation->id, NULL, NULL, 0, &found
  );
  return found.outcome == CUSTMEM_LINKED && strcmp(found.customer_id, current) == 0;
}

/* Takes a step that has been told, and checks everything that it may have changed. */
static int take(struct demo *demo, const struct step *step) {
  const char *instructor = step->actor.instructor_id;
  custmem_head before = {0, ""}, after = {0, ""};
  custmem_written written;
  int rc, made, moved;
  custmem_audit_head(demo->store, instructor, &before);
  rc = try_step(demo, step, &written);
  made = rc == CUSTMEM_OK;
  if (made)
    put_paragraph(
      4, "-> done: audit event %lld; the badge of %s is now \"%s\"", (long long)written.seq,
      step->conversation->id, custmem_badge_label(step->badge)
    );
  else
    put_paragraph(4, "-> refused, %s: %s", custmem_code_name(rc), custmem_errmsg(demo->store));
  custmem_audit_head(demo->store, instructor, &after);
  moved = strcmp(before.hash, after.hash) != 0;
  return as_told(rc == step->expected, custmem_code_name(step->expected)) &&
         as_told(after.count - before.count == made && moved == made, "an event for a write") &&
         as_told(names_current(demo, step, written.current_customer_id), "who is current") &&
         has_badge(demo, step->conversation, step->badge);
}

static int succeeds(struct demo *demo, struct step step, const char *format, ...) {
  va_list arguments;
  char *told;
  va_start(arguments, format);
  told = need(sqlite3_vmprintf(format, arguments));
  va_end(arguments);
  put_paragraph(0, "%s: \"%s\"", told, step.reason);
  sqlite3_free(told);
  return take(demo, &step);
}

static int is_refused(struct demo *demo, struct step step, int code, const char *told) {
  put_paragraph(0, "%s", told);
  step.expected = code;
  return take(demo, &step);
}

/* Makes a customer of a conversation's sender by `raw`, the sender as somebody spells it. */
static int make_customer(
  struct demo *demo,
  const struct conversation *conversation,
  const char *raw,
  int expected, /* 1: made now; 0: was there */
  custmem_customer *customer
) {
  custmem_actor actor = human(conversation->instructor);
  const int64_t size = CUSTMEM_NUL_TERMINATED;
  const char *channel = conversation->channel;
  int32_t created = 0;
  int rc = custmem_customer_create(
    demo->store, &actor, channel, raw, size, conversation->name, size, customer, &created
  );
  /* A name that cannot be a display identifier: the customer goes by the number. */
  if (rc == CUSTMEM_BAD_TEXT || rc == CUSTMEM_TOO_LONG)
    rc = custmem_customer_create(
      demo->store, &actor, channel, raw, size, NULL, 0, customer, &created
    );
  put_paragraph(
    0, "%s makes a customer of %s, %s: %s, %s", INSTRUCTOR[conversation->instructor].name,
    conversation->id, conversation->name, channel, raw
  );
  if (!done(demo, rc, "making a customer")) return 0;
  put_paragraph(4, "-> %s: %s", created ? "made" : "there already", customer->id);
  return as_told(created == expected, "one customer for one identifier");
}

/* ---- The chapters. All but the first give 1 to go on, 0 to end the demo */

/* The errno of a read that failed, or 0. */
static int tell_stream(struct demo *demo, FILE *file, const char *name) {
  static const char *const HEADS[] = {"line", "carries", "new messages"};
  struct table table = {3, {6, 58, 32}, NULL, 0, 0};
  char *line = need(sqlite3_malloc(MAX_PAYLOAD + 1));
  int number, i, error, payloads = 0, messages[PLACES] = {0};
  size_t size;
  put_heading("1. The stream");
  put_paragraph(
    0,
    "What WhatsApp delivers, line by line, from %s. A new message goes to a conversation of "
    "the instructor whose business number it was sent to. Status updates, read receipts, "
    "what was delivered before and what is no webhook at all are recognised, and touch "
    "nothing.",
    name
  );
  put_empty_line();
  add_heads(&table, HEADS, COUNT_OF(HEADS));
  for (number = 1; read_line(file, line, &size); number++) {
    struct tally tally;
    if (is_blank(line, size)) continue;
    read_payload(&demo->host, line, size, number, &table, &tally);
    for (i = 0; i < PLACES; i++)
      messages[i] += tally.messages[i];
    payloads++;
  }
  error = ferror(file) ? errno : 0;
  sqlite3_free(line);
  put_table(&table, 0);
  put_empty_line();
  load_conversations(&demo->host);
  put_paragraph(
    0,
    "%d payloads. %d new messages, %d for Marta and %d for Jonas, in %d conversations; %d "
    "repeated.",
    payloads, messages[MARTA] + messages[JONAS], messages[MARTA], messages[JONAS],
    demo->host.count, messages[REPEATED]
  );
  return error;
}

static int tell_first_inbox(struct demo *demo) {
  int64_t before = data_version(demo->plain), after;
  custmem_report report;
  int rc, i;
  put_heading("2. Who is writing?");
  put_paragraph(
    0, "custmem is asked about each conversation. It looks for a link that a human has made, "
       "then for the one customer who has the sender's identifier; if there is neither, the "
       "answer is \"nobody\". It does not guess: no customer is better than the wrong one."
  );
  put_empty_line();
  if (!show_inbox(demo, MARTA) || !show_inbox(demo, JONAS)) return 0;
  for (i = 0; i < demo->host.count; i++)
    if (!has_badge(demo, &demo->host.conversations[i], CUSTMEM_BADGE_UNLINKED)) return 0;
  after = data_version(demo->plain);
  rc = custmem_check(demo->store, &report);
  put_paragraph(
    0,
    "Asking wrote nothing: a second connection, which watches the file, saw no change "
    "(version %lld before, %lld after), and the store holds %lld customers, %lld links and "
    "%lld audit events.",
    (long long)before, (long long)after, (long long)report.customers, (long long)report.links,
    (long long)report.events
  );
  return done(demo, rc, "checking the store") &&
         as_told(before == after, "nothing was written") &&
         as_told(report.customers + report.links + report.events == 0, "an empty store");
}

/* Marta's customers, and Jonas's one. */
static int make_customers(struct demo *demo) {
  const struct conversation *client = demo->client, *scoped = demo->scoped;
  char *spelled = need(sqlite3_mprintf("+%s", client->sender));
  custmem_customer again, other;
  int good = make_customer(demo, client, client->sender, 1, &demo->client_customer) &&
             make_customer(demo, client, spelled, 0, &again) &&
             make_customer(demo, demo->other, demo->other->sender, 1, &demo->other_customer);
  sqlite3_free(spelled);
  if (good && demo->moved != NULL)
    good = make_customer(demo, demo->moved, demo->moved->sender, 1, &demo->moved_customer);
  if (good && scoped != NULL) good = make_customer(demo, scoped, scoped->sender, 1, &other);
  return good && make_customer(demo, demo->theirs, client->sender, 1, &demo->their_customer) &&
         as_told(strcmp(again.id, demo->client_customer.id) == 0, "the same customer") &&
         as_told(strcmp(demo->their_customer.id, again.id) != 0, "a customer of each") &&
         (scoped == NULL || has_badge(demo, scoped, CUSTMEM_BADGE_NEW));
}

static int tell_customers(struct demo *demo) {
  put_heading("3. A human makes customers");
  put_paragraph(
    0,
    "Nothing else does: no message makes anybody a customer. One identifier is one customer, "
    "however it is spelled. A business-scoped user id (no phone number) is unique within one "
    "business account only, so its channel names the account. A group is not a person, and "
    "has no identifier at all."
  );
  put_empty_line();
  if (!make_customers(demo)) return 0;
  put_empty_line();
  put_paragraph(
    0,
    "%s writes to both from one number, and is now a customer of each: two customers, and "
    "neither instructor sees the other's.",
    demo->client->name
  );
  put_empty_line();
  return show_inbox(demo, MARTA) && show_inbox(demo, JONAS) &&
         has_badge(demo, demo->client, CUSTMEM_BADGE_NEW) &&
         has_badge(demo, demo->other, CUSTMEM_BADGE_NEW) &&
         has_badge(demo, demo->theirs, CUSTMEM_BADGE_NEW) &&
         (demo->group == NULL || has_badge(demo, demo->group, CUSTMEM_BADGE_UNLINKED));
}

static int tell_links(struct demo *demo) {
  const char *client = demo->client_customer.id, *name = label(&demo->client_customer);
  struct step right = linking(MARTA, demo->client, client, "Gave the name on the phone");
  struct step wrong = linking(MARTA, demo->other, client, "Same course, I think");
  int rc;
  put_heading("4. A human links");
  put_paragraph(
    0, "\"New customer\" only means that somebody has this identifier. Marta knows who is "
       "writing, and says so; her reason is required, and kept."
  );
  put_empty_line();
  if (!succeeds(demo, right, "Marta links %s to %s", demo->client->id, name) ||
      !succeeds(demo, wrong, "She links %s to %s too, by mistake", demo->other->id, name))
    return 0;
  put_empty_line();
  if (!show_inbox(demo, MARTA)) return 0;
  rc = custmem_audit_head(demo->store, INSTRUCTOR[MARTA].id, &demo->noted);
  put_paragraph(
    0, "She notes, outside the file, where her audit stands: how many events, and the hash of "
       "the last. This is the anchor for later:"
  );
  put_line(4, "%lld %s", (long long)demo->noted.count, demo->noted.hash);
  return done(demo, rc, "reading the head");
}

static int tell_refusals(struct demo *demo) {
  const struct conversation *other = demo->other;
  const char *wrong = demo->client_customer.id, *right = demo->other_customer.id;
  const char *reason = "I picked the wrong line";
  struct step again = linking(MARTA, other, right, reason);
  struct step blind = relinking(MARTA, other, right, wrong, reason);
  struct step silent = relinking(MARTA, other, wrong, right, "  ");
  struct step machine = relinking(MARTA, other, wrong, right, "The numbers match");
  machine.actor.type = CUSTMEM_ACTOR_SYSTEM;
  put_heading("5. What is refused");
  put_paragraph(
    0,
    "%s should be linked to %s. Four ways in which this does not work; each leaves everything "
    "as it was.",
    other->id, label(&demo->other_customer)
  );
  put_empty_line();
  return is_refused(
           demo, again, CUSTMEM_ALREADY_LINKED,
           "Marta links it again, to the right one. But nothing is overwritten silently: "
           "link is for a conversation without a customer, and the answer names the one that "
           "it has."
         ) &&
         is_refused(
           demo, blind, CUSTMEM_CHANGED,
           "She relinks it, but names a customer that it is not linked to: so she has not seen "
           "what she would overwrite."
         ) &&
         is_refused(
           demo, silent, CUSTMEM_NO_REASON,
           "She relinks it without a reason. None is made up for her."
         ) &&
         is_refused(
           demo, machine, CUSTMEM_NOT_HUMAN,
           "The inbox program relinks it by itself. Only a human may."
         );
}

/* Somebody has changed their number: two numbers, two conversations, and nothing merges them. */
static int tell_new_number(struct demo *demo) {
  const char *id = demo->moved_customer.id, *name = label(&demo->moved_customer);
  struct step old = linking(MARTA, demo->moved, id, "An old friend of the house");
  struct step new = linking(MARTA, demo->moved_to, id, "Told me about the new number");
  custmem_conversation conversations[4];
  int32_t count = 0;
  int rc;
  put_empty_line();
  put_paragraph(
    0,
    "%s has a new number. WhatsApp says so, but custmem merges nobody: %s is a conversation of "
    "its own, and Unlinked. Marta knows better, and may say so.",
    name, demo->moved_to->id
  );
  put_empty_line();
  if (!has_badge(demo, demo->moved_to, CUSTMEM_BADGE_UNLINKED) ||
      !succeeds(demo, old, "Marta links %s to %s", demo->moved->id, name) ||
      !succeeds(demo, new, "She links %s to the same customer", demo->moved_to->id))
    return 0;
  rc = custmem_conversations(
    demo->store, INSTRUCTOR[MARTA].id, id, NULL, conversations, COUNT_OF(conversations), &count
  );
  put_paragraph(4, "-> %s now has %d conversations", name, (int)count);
  return done(demo, rc, "reading a customer's conversations") && as_told(count == 2, "two");
}

static int tell_repairs(struct demo *demo) {
  const char *wrong = demo->client_customer.id, *right = demo->other_customer.id;
  struct step relink = relinking(MARTA, demo->other, wrong, right, "I picked the wrong line");
  struct step unlink = unlinking(MARTA, demo->client, wrong, "A relative has this phone now");
  put_heading("6. Put right, by a human");
  if (!succeeds(
        demo, relink, "Marta relinks %s from %s, which she names, to %s", demo->other->id,
        label(&demo->client_customer), label(&demo->other_customer)
      ) ||
      !succeeds(demo, unlink, "She unlinks %s", demo->client->id) ||
      (demo->moved != NULL && !tell_new_number(demo)))
    return 0;
  put_empty_line();
  return show_inbox(demo, MARTA);
}

static int tell_other_instructor(struct demo *demo) {
  const char *mine = demo->their_customer.id, *hers = demo->client_customer.id;
  struct step touch = linking(JONAS, demo->other, mine, "Mine now");
  struct step reach = linking(JONAS, demo->theirs, hers, "The same person");
  struct step own = linking(JONAS, demo->theirs, mine, "We met at the boat show");
  int badge = badge_of(demo, demo->other, JONAS);
  reach.badge = CUSTMEM_BADGE_NEW;
  put_heading("7. The other instructor");
  put_paragraph(
    0,
    "Jonas and Marta share a client and a database file, and nothing else. Asked by Jonas "
    "about Marta's %s, custmem answers \"%s\".",
    demo->other->id, custmem_badge_label(badge)
  );
  put_empty_line();
  return as_told(badge == CUSTMEM_BADGE_UNLINKED, "Unlinked") &&
         is_refused(
           demo, touch, CUSTMEM_OTHER_INSTRUCTOR,
           "Jonas links Marta's conversation to a customer of his."
         ) &&
         is_refused(
           demo, reach, CUSTMEM_NO_CUSTOMER,
           "He links his own to Marta's customer. To him there is no such customer."
         ) &&
         succeeds(demo, own, "He links %s to his own", demo->theirs->id);
}

static int tell_raw_sql(struct demo *demo) {
  static const char *const STATEMENTS[] = {
    "UPDATE audit_events SET reason = 'It was not me'",
    "DELETE FROM audit_events WHERE seq = 2",
    "INSERT OR REPLACE INTO audit_events SELECT * FROM audit_events WHERE seq = 1",
    "UPDATE conversation_links SET customer_id = NULL",
    "DELETE FROM conversation_links",
  };
  int64_t before = data_version(demo->plain);
  size_t i;
  put_heading("8. Behind custmem's back");
  put_paragraph(
    0, "The same file, opened with plain SQLite: no custmem in between, foreign keys off. The "
       "database itself refuses to lose or change history, or a link without it."
  );
  put_empty_line();
  for (i = 0; i < COUNT_OF(STATEMENTS); i++) {
    int rc = sqlite3_exec(demo->plain, STATEMENTS[i], NULL, NULL, NULL);
    put_line(0, "%s;", STATEMENTS[i]);
    put_paragraph(
      4, "-> %s: %s", rc == SQLITE_OK ? "done" : "refused", sqlite3_errmsg(demo->plain)
    );
    if (!as_told(rc == SQLITE_CONSTRAINT, "the database refuses")) return 0;
  }
  return as_told(sqlite3_total_changes(demo->plain) == 0, "no row was changed") &&
         as_told(data_version(demo->plain) == before, "nothing was written");
}

/* A customer as people know them, or "-" for none. */
static void add_customer(struct table *table, struct demo *demo, const char *id) {
  custmem_customer customer;
  int rc = custmem_customer_get(demo->store, INSTRUCTOR[MARTA].id, id, &customer);
  add_cell(table, "%s", id[0] == '\0' ? "-" : rc == CUSTMEM_OK ? label(&customer) : id);
}

static void add_event(struct table *table, struct demo *demo, const custmem_event *event) {
  const char *what = strrchr(event->event_name, '_');
  time_t seconds = (time_t)(event->created_at_ms / 1000);
  char when[32] = "";
  struct tm utc;
  if (gmtime_r(&seconds, &utc) != NULL) strftime(when, sizeof when, "%Y-%m-%d %H:%M:%SZ", &utc);
  add_cell(table, "%lld", (long long)event->seq);
  add_cell(table, "%s", when);
  add_cell(table, "%s", what != NULL ? what + 1 : event->event_name);
  add_customer(table, demo, event->previous_customer_id);
  add_customer(table, demo, event->new_customer_id);
  add_cell(table, "%s", event->actor_id);
  add_cell(table, "%s", event->reason);
}

static int tell_history(struct demo *demo) {
  struct table table = {7, {6, 20, 10, 13, 13, 10, 24}, NULL, 0, 0};
  static const char *const HEADS[] = {"event", "when", "what", "from", "to", "by", "reason"};
  custmem_event events[DEMO_EVENTS];
  int32_t count = 0, i;
  int rc = custmem_history(
    demo->store, INSTRUCTOR[MARTA].id, demo->other->id, 0, events, DEMO_EVENTS, &count
  );
  put_heading("9. The record");
  put_paragraph(0, "The history of %s: who said what, when, and why.", demo->other->id);
  put_empty_line();
  add_heads(&table, HEADS, COUNT_OF(HEADS));
  for (i = 0; i < count; i++)
    add_event(&table, demo, &events[i]);
  put_table(&table, 0);
  put_empty_line();
  return done(demo, rc, "reading the history") && as_told(count == 2, "linked, then relinked");
}

static int tell_verification(struct demo *demo) {
  const char *marta = INSTRUCTOR[MARTA].id;
  custmem_head forged = demo->noted;
  custmem_report report;
  int rc = custmem_audit_verify(demo->store, marta, NULL, &report);
  if (!done(demo, rc, "verifying the audit")) return 0;
  put_paragraph(
    0,
    "Each event's hash covers the event and the hash before it, so none can be changed or left "
    "out unseen. Marta's chain, verified: %lld events and %lld links, sound. Its head:",
    (long long)report.events, (long long)report.links
  );
  put_line(4, "%lld %s", (long long)report.head.count, report.head.hash);
  rc = custmem_audit_verify(demo->store, marta, &demo->noted, &report);
  if (!done(demo, rc, "verifying against the anchor")) return 0;
  put_paragraph(
    0,
    "Against the anchor that she noted after %lld events: the chain continues it. Nobody has "
    "put back an older file, or another history.",
    (long long)demo->noted.count
  );
  forged.hash[0] = forged.hash[0] == '0' ? '1' : '0';
  rc = custmem_audit_verify(demo->store, marta, &forged, &report);
  put_paragraph(
    0, "Against an anchor of another history: %s, %s", custmem_code_name(rc),
    custmem_errmsg(demo->store)
  );
  return as_told(rc == CUSTMEM_ANCHOR, "another history is recognised");
}

static int tell_check(struct demo *demo) {
  custmem_report report;
  int rc = custmem_check(demo->store, &report);
  put_heading("10. The whole store");
  if (!done(demo, rc, "checking the store")) return 0;
  put_paragraph(
    0,
    "SQLite's own integrity, the schema, every key, every chain, every link: sound. %lld "
    "instructors, %lld customers, %lld links, %lld audit events.",
    (long long)report.instructors, (long long)report.customers, (long long)report.links,
    (long long)report.events
  );
  return as_told(report.instructors == INSTRUCTORS, "both instructors were looked at");
}

static int tell_story(struct demo *demo) {
  return tell_customers(demo) && tell_links(demo) && tell_refusals(demo) &&
         tell_repairs(demo) && tell_other_instructor(demo) && tell_raw_sql(demo) &&
         tell_history(demo) && tell_verification(demo) && tell_check(demo);
}

/* ---- Casting, opening and closing */

/* Does the sender go by an identifier that custmem takes, on a channel that is, or is not, of one
** business account only? */
static int goes_by(const struct conversation *conversation, int of_an_account) {
  const char *channel = conversation->channel, *sender = conversation->sender;
  return channel != NULL && (strchr(channel, '/') != NULL) == of_an_account &&
         custmem_normalize(channel, sender, conversation->sender_size, NULL) ==
           CUSTMEM_ACCEPTED;
}

/* Is it a phone number as WhatsApp writes one: digits, and nothing else? */
static int has_phone(const struct conversation *conversation) {
  return goes_by(conversation, 0) &&
         strspn(conversation->sender, "0123456789") == (size_t)conversation->sender_size;
}

static const struct conversation *numbered(const struct host *host, int number) {
  return number > 0 ? &host->conversations[number - 1] : NULL;
}

/* Gives Marta's conversations their parts in the story: to each the first that fits. Is there a
** story to be told? */
static int cast_story(struct demo *demo) {
  const struct host *host = &demo->host;
  int i;
  for (i = 0; i < host->count; i++) {
    const struct conversation *one = &host->conversations[i];
    const struct conversation *next = numbered(host, one->moved_to);
    if (one->instructor != MARTA) continue;
    if (demo->group == NULL && one->channel == NULL) demo->group = one;
    if (demo->scoped == NULL && goes_by(one, 1)) demo->scoped = one;
    if (!has_phone(one) || one == demo->moved_to) continue;
    if (demo->client == NULL && one->shared > 0) {
      demo->client = one;
    } else if (demo->moved == NULL && next != NULL && next != demo->client && next != demo->other && has_phone(next)) {
      demo->moved = one;
      demo->moved_to = next;
    } else if (demo->other == NULL) {
      demo->other = one;
    }
  }
  if (demo->client != NULL) demo->theirs = numbered(host, demo->client->shared);
  return demo->client != NULL && demo->other != NULL;
}

static int open_demo(struct demo *demo) {
  const char *parent = getenv("TMPDIR");
  if (parent == NULL || parent[0] == '\0') parent = "/tmp";
  demo->directory = need(sqlite3_mprintf("%s/custmem-demo-XXXXXX", parent));
  if (mkdtemp(demo->directory) == NULL) {
    complain("cannot make a directory in %s: %s", parent, strerror(errno));
    return INPUT_OUTPUT;
  }
  demo->path = need(sqlite3_mprintf("%s/inbox.db", demo->directory));
  if (open_store(demo->path, 0, &demo->store) != DONE) return REFUSED;
  if (sqlite3_open_v2(demo->path, &demo->plain, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK ||
      sqlite3_exec(demo->plain, "PRAGMA foreign_keys = OFF", NULL, NULL, NULL) != SQLITE_OK) {
    complain("cannot open %s with plain SQLite: %s", demo->path, sqlite3_errmsg(demo->plain));
    return INPUT_OUTPUT;
  }
  return DONE;
}

/* A word as a shell takes it. To be freed. */
static char *quoted(const char *word) {
  static const char PLAIN[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._-+";
  sqlite3_str *out;
  if (word[0] != '\0' && strspn(word, PLAIN) == strlen(word))
    return need(sqlite3_mprintf("%s", word));
  out = need(sqlite3_str_new(NULL));
  sqlite3_str_appendall(out, "'");
  for (; *word != '\0'; word++)
    sqlite3_str_append(out, *word == '\'' ? "'\\''" : word, *word == '\'' ? 4 : 1);
  sqlite3_str_appendall(out, "'");
  return need(sqlite3_str_finish(out));
}

static void tell_where(const struct demo *demo) {
  char *self = quoted(program), *path = quoted(demo->path),
       *directory = quoted(demo->directory);
  put_heading("Look for yourself");
  put_line(0, "The store is %s", demo->path);
  put_empty_line();
  put_line(4, "%s check %s", self, path);
  if (demo->noted.count > 0)
    put_line(
      4, "%s verify %s %s %lld %s", self, path, INSTRUCTOR[MARTA].id,
      (long long)demo->noted.count, demo->noted.hash
    );
  put_line(4, "%s audit %s %s", self, path, INSTRUCTOR[MARTA].id);
  put_line(4, "sqlite3 %s .schema", path);
  put_empty_line();
  put_line(0, "When you have seen enough: rm -r %s", directory);
  sqlite3_free(self);
  sqlite3_free(path);
  sqlite3_free(directory);
}

static void close_demo(struct demo *demo) {
  sqlite3_close(demo->plain);
  custmem_close(demo->store);
  close_host(&demo->host);
  sqlite3_free(demo->directory);
  sqlite3_free(demo->path);
}

/* The demo, on a store and a stream that are open. */
static int tell_all(struct demo *demo, FILE *file, const char *name) {
  int error;
  put_line(0, "custmem %s: who is writing, and who said so?", custmem_version());
  put_empty_line();
  put_paragraph(
    0, "Marta and Jonas teach sailing. Their clients write to them on WhatsApp, to a business "
       "number of each, and a program with custmem in it shows each an inbox. For each "
       "conversation custmem answers which customer is writing. Only a human decides that, and "
       "every decision is kept in an audit that nobody can quietly change. This is one day of "
       "theirs. Every step is checked: should one not come out as told, the demo says so and "
       "ends with exit status 1."
  );
  error = tell_stream(demo, file, name);
  if (error != 0) {
    complain("cannot read %s: %s", name, strerror(error));
    return INPUT_OUTPUT;
  }
  if (!tell_first_inbox(demo)) return REFUSED;
  if (cast_story(demo)) return tell_story(demo) ? DONE : REFUSED;
  complain(
    "%s: the story needs a client who wrote to two business numbers, and a second client of "
    "the first number; they are not in this stream",
    name
  );
  return INPUT_OUTPUT;
}

static int run_demo(int argc, char **argv) {
  const char *name = argc > 0 ? argv[0] : DEMO_STREAM;
  FILE *file = fopen(name, "rb");
  struct demo demo;
  int status;
  if (file == NULL && argc == 0) {
    complain(
      "cannot read %s: %s. Run the demo in the top directory of the source, or name a stream: "
      "%s demo FILE",
      name, strerror(errno), program
    );
    return INPUT_OUTPUT;
  }
  if (file == NULL) {
    complain("cannot read %s: %s", name, strerror(errno));
    return INPUT_OUTPUT;
  }
  memset(&demo, 0, sizeof demo);
  open_host(&demo.host);
  status = open_demo(&demo);
  if (status == DONE) {
    status = tell_all(&demo, file, name);
    tell_where(&demo);
  }
  close_demo(&demo);
  fclose(file);
  return status;
}

/* ---- Inbox ---------------------------------------------------------------------------------
** What `custmem inbox` shows: a row for each conversation, with its messages and what custmem
** answers about it. All text in it is UTF-8 and ends at its NUL; but it is text as it came, so
** that whoever shows it makes it harmless there: put_line and add_cell do that for a terminal, the
** badge page for HTML. */

/* A message. kind is "text" or what else it was ("image", "voice message"); then text is its
** caption, and may be "". */
struct message {
  char *kind;
  char *text;
  int64_t at_ms; /* Unix milliseconds; 0 where the stream does not say */
};

/* A conversation.
**
** name      of who writes, as the stream has it; else the identifier
** channel   NULL for a group: then there is no identifier either
** raw       the identifier as it came, with its size: it may be no text at all
** customer  of LINKED and CANDIDATE: how the customer is called in the store; else ""
** messages  at least one, in the order of the stream */
struct inbox_row {
  char *conversation_id;
  char *name;
  char *channel;
  char *raw;
  int raw_size;
  struct message *messages;
  int message_count;
  custmem_resolution found;
  int badge; /* enum custmem_badge_state */
  char customer[CUSTMEM_DISPLAY_MAX + 1];
};

/* The rows, the one that was written to last first. */
struct inbox {
  const char *instructor;
  struct inbox_row *rows;
  int count;
  int badges; /* the feature flag (T6): without it no badge is shown at all */
};

/* ---- The badge page ------------------------------------------------------------------------
** An inbox as one HTML file that needs no other: the list of the conversations, then each
** conversation in full, with the badge in both (CM-2.4). Both take it from put_badge, so that its
** words and its looks cannot differ.
**
** The page shows and does nothing. There is no script, form, button or link in it, and nothing to
** fetch: the policy in its head forbids all of that to the browser, and allows this one style
** sheet by its hash. So list and view stand side by side, and nothing has to lead from one to the
** other. What comes from outside is cleaned, escaped, and stands between tags only, never in an
** attribute. A direction of its own (dir="auto", bdi) keeps right-to-left text in its place. */

/* clang-format off */

/* Whoever changes a letter of it changes STYLE_SHEET_HASH too: test_page says what it is to be. The
** colours of the badge are three greys of the page with a touch of blue, violet and brown: none of
** them says that something is good or bad. */
static const char *const STYLE_SHEET[] = {
  "\n",
  ":root {\n",
  "  color-scheme: light dark;\n",
  "  --paper: #f7f6f3; --card: #fffefc; --bubble: #f1efea; --line: #e3e0d9;\n",
  "  --ink: #22211f; --quiet: #63605a;\n",
  "  --known: #e4e8ef; --known-ink: #333f55;\n",
  "  --new: #ebe6f0; --new-ink: #4c4061;\n",
  "  --unlinked: #ebe9e4; --unlinked-ink: #55524c;\n",
  "}\n",
  "@media (prefers-color-scheme: dark) {\n",
  "  :root {\n",
  "    --paper: #161718; --card: #1d1e20; --bubble: #282a2d; --line: #303235;\n",
  "    --ink: #e8e6e1; --quiet: #a5a29b;\n",
  "    --known: #2b3340; --known-ink: #c9d3e4;\n",
  "    --new: #342d3f; --new-ink: #d5c9e5;\n",
  "    --unlinked: #2d2d2d; --unlinked-ink: #c5c2bb;\n",
  "  }\n",
  "}\n",
  "* { box-sizing: border-box; margin: 0; padding: 0; }\n",
  "html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }\n",
  "body {\n",
  "  background: var(--paper); color: var(--ink); list-style: none; overflow-wrap: anywhere;\n",
  "  font: 1rem/1.5 system-ui, -apple-system, \"Segoe UI\", Roboto, \"Noto Sans\", sans-serif;\n",
  "  padding: 2rem 1.25rem 3rem;\n",
  "}\n",
  "header, main, footer { margin: 0 auto; max-width: 70rem; }\n",
  "h1, h3, .name {\n",
  "  font-family: Charter, \"Bitstream Charter\", \"Iowan Old Style\", Palatino, Georgia,\n",
  "    \"Noto Serif\", serif;\n",
  "  font-weight: 600; letter-spacing: -0.006em; line-height: 1.35; text-align: left;\n",
  "}\n",
  "h1 { font-size: 2rem; line-height: 1.25; }\n",
  "h2 { color: var(--quiet); font-size: 0.8125rem; font-weight: 600; padding-bottom: 0.625rem; }\n",
  /* Accents piled up on a letter are cut off at the line, and not laid over the badge. */
  "h3 { font-size: 1.375rem; overflow: clip; padding-bottom: 0.125rem; }\n",
  "header { padding-bottom: 2rem; }\n",
  ".quiet { color: var(--quiet); font-size: 0.875rem; }\n",
  "main { display: grid; gap: 2.5rem; grid-template-columns: minmax(0, 1fr); }\n",
  "ul, ol { list-style: none; }\n",
  "ul { border-top: 1px solid var(--line); }\n",
  ".row {\n",
  "  border-bottom: 1px solid var(--line); overflow: clip; padding: 0.9375rem 0 1rem;\n",
  "}\n",
  ".top { align-items: baseline; display: flex; gap: 1rem; justify-content: space-between; }\n",
  ".top > * { min-width: 0; }\n",
  "time { color: var(--quiet); font-size: 0.8125rem; font-variant-numeric: tabular-nums; }\n",
  "time { flex: none; }\n",
  ".name { font-size: 1.0625rem; }\n",
  ".last { color: var(--quiet); font-size: 0.9375rem; line-height: 1.45; text-align: left; }\n",
  /* Two lines of a long text are enough for the list: the view has it in full. */
  ".name, .last {\n",
  "  display: -webkit-box; overflow: clip; -webkit-box-orient: vertical; -webkit-line-clamp: 2;\n",
  "}\n",
  "article {\n",
  "  background: var(--card); border: 1px solid var(--line); border-radius: 0.75rem;\n",
  "  overflow: clip; padding: 1.25rem;\n",
  "}\n",
  "article + article { margin-top: 1rem; }\n",
  ".day { color: var(--quiet); font-size: 0.8125rem; padding: 1.125rem 0 0.125rem; }\n",
  ".said { align-items: last baseline; display: flex; gap: 0.75rem; padding-top: 0.5rem; }\n",
  ".message {\n",
  "  background: var(--bubble); border-radius: 0.25rem 1rem 1rem; max-width: 32rem;\n",
  "  min-width: 0; overflow: clip; padding: 0.5rem 0.9375rem; white-space: pre-line;\n",
  "}\n",
  ".kind { font-style: italic; }\n",
  ".message .kind { color: var(--quiet); }\n",
  "dl { display: flex; flex-wrap: wrap; font-size: 0.8125rem; gap: 0.25rem 1.5rem; }\n",
  "dl { margin-top: 1.25rem; }\n",
  "dl div { column-gap: 0.375rem; display: flex; flex-wrap: wrap; min-width: 0; }\n",
  "dt { color: var(--quiet); }\n",
  "dd { font-variant-numeric: tabular-nums; min-width: 0; }\n",
  ".badge {\n",
  "  display: block; font-size: 0.8125rem; line-height: 1.4; margin: 0.4375rem 0 0.5rem;\n",
  "  max-width: 100%; width: 16rem;\n",
  "}\n",
  /* The border shows only where a reader has colours of their own forced upon the page. */
  ".label {\n",
  "  align-items: center; border: 1px solid transparent; border-radius: 1rem; display: flex;\n",
  "  font-weight: 600; gap: 0.4375rem; padding: 0.0625rem 0.625rem 0.0625rem 0.5rem;\n",
  "  width: fit-content;\n",
  "}\n",
  ".icon { border: 2px solid; border-radius: 50%; height: 0.625rem; width: 0.625rem; }\n",
  ".copy { color: var(--quiet); display: block; padding-top: 0.1875rem; }\n",
  ".known .label { background: var(--known); color: var(--known-ink); }\n",
  ".known .icon { border-width: 0.3125rem; }\n",
  ".new .label { background: var(--new); color: var(--new-ink); }\n",
  ".unlinked .label { background: var(--unlinked); color: var(--unlinked-ink); }\n",
  ".unlinked .icon { border-style: dashed; border-width: 1.5px; }\n",
  "footer { padding-top: 2.5rem; }\n",
  "@media (min-width: 56rem) {\n",
  "  body { padding: 3.5rem 2.5rem 4rem; }\n",
  "  main { gap: 3.5rem; grid-template-columns: 21rem minmax(0, 1fr); }\n",
  "  article { padding: 1.75rem 2rem; }\n",
  "}\n",
  "@media print {\n",
  "  body { padding: 0; }\n",
  "  .row, .said { break-inside: avoid; }\n",
  "}\n",
};

/* clang-format on */

#define STYLE_SHEET_HASH "29BlBFyw65TYzwuwfbRioiWPVjqpBl/ND+kKuciHVPs="

/* Puts text with the five signs spelled out that HTML could take for its own; it uses the text up. */
static void put_escaped(char *text) {
  static const char SIGNS[] = "&<>\"'";
  static const char *const SPELLED[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"};
  for (;;) {
    char *sign = text + strcspn(text, SIGNS);
    const char *which = *sign != '\0' ? strchr(SIGNS, *sign) : NULL;
    *sign = '\0';
    put(text);
    if (which == NULL) return;
    put(SPELLED[which - SIGNS]);
    text = sign + 1;
  }
}

/* Puts text that came from outside, cleaned and escaped. Its line breaks stay: to HTML they are
** space, and in a message, where the style says so, the ends of lines. */
static void put_foreign(const char *text, int64_t size) {
  const char *end = text + size;
  while (text < end) {
    const char *stop = memchr(text, '\n', (size_t)(end - text));
    const char *line_end = stop != NULL ? stop : end;
    char *line = clean(text, line_end - text);
    put_escaped(line);
    sqlite3_free(line);
    if (stop != NULL) put("\n");
    text = stop != NULL ? stop + 1 : end;
  }
}

static void put_element(const char *start, const char *text, const char *end) {
  put(start);
  put_foreign(text, (int64_t)strlen(text));
  put(end);
}

/* A line of its own, so that a page with badges is the page without them and some lines more. */
static void put_badge(int badge) {
  static const char *const STARTS[] = {
    [CUSTMEM_BADGE_UNLINKED] = "<p class=\"badge unlinked\"><span class=\"label\">",
    [CUSTMEM_BADGE_NEW] = "<p class=\"badge new\"><span class=\"label\">",
    [CUSTMEM_BADGE_KNOWN] = "<p class=\"badge known\"><span class=\"label\">"};
  put(STARTS[badge]);
  put_element(
    "<span class=\"icon\" aria-hidden=\"true\"></span>", custmem_badge_label(badge), "</span> "
  );
  put_element("<span class=\"copy\">", custmem_badge_copy(badge), "</span></p>\n");
}

/* The local time of a message. 0 where the stream does not say when it was, or nonsense. */
static int time_of(const struct message *message, struct tm *when) {
  time_t seconds = (time_t)(message->at_ms / 1000);
  return message->at_ms > 0 && localtime_r(&seconds, when) != NULL;
}

/* Puts the time of a message, if it has one: for people in the format, for programs in full. */
static void put_time(const struct message *message, const char *format) {
  char shown_time[64], full[64];
  struct tm when;
  if (!time_of(message, &when)) return;
  if (strftime(shown_time, sizeof shown_time, format, &when) == 0) return;
  if (strftime(full, sizeof full, "%Y-%m-%dT%H:%M:%S%z", &when) == 0) return;
  put_element("<time datetime=\"", full, "\">");
  put_element("", shown_time, "</time>");
}

static void put_message(const struct message *message) {
  int is_plain = strcmp(message->kind, "text") == 0;
  if (!is_plain) put_element("<span class=\"kind\">", message->kind, "</span>");
  if (!is_plain && message->text[0] != '\0') put(" ");
  put_element("", message->text, "");
}

/* A heading without a word is none: who has only blanks for a name goes by the conversation. */
static const char *row_name(const struct inbox_row *row) {
  return row->name[strspn(row->name, " \t\r\n")] != '\0' ? row->name : row->conversation_id;
}

static void put_in_list(const struct inbox_row *row, int badges) {
  const struct message *last = &row->messages[row->message_count - 1];
  put_element(
    "<li class=\"row\">\n<div class=\"top\"><p class=\"name\" dir=\"auto\">", row_name(row),
    "</p>"
  );
  put_time(last, "%e %b, %H:%M");
  put("</div>\n");
  if (badges) put_badge(row->badge);
  put("<p class=\"last\" dir=\"auto\">");
  put_message(last);
  put("</p>\n</li>\n");
}

/* All messages, a list for each day; those without a time stand in a list without a heading. */
static void put_messages(const struct inbox_row *row) {
  char day[64] = "", next[64];
  int i;
  for (i = 0; i < row->message_count; i++) {
    const struct message *message = &row->messages[i];
    struct tm when;
    int has_day =
      time_of(message, &when) && strftime(next, sizeof next, "%A, %e %B %Y, %Z", &when) > 0;
    if (!has_day) next[0] = '\0';
    if (i == 0 || strcmp(day, next) != 0) {
      if (i > 0) put("</ol>\n");
      if (has_day) put_element("<p class=\"day\">", next, "</p>\n");
      put("<ol role=\"list\">\n");
      memcpy(day, next, sizeof day);
    }
    put("<li class=\"said\"><p class=\"message\" dir=\"auto\">");
    put_message(message);
    put("</p>");
    put_time(message, "%H:%M");
    put("</li>\n");
  }
  put("</ol>\n");
}

static void put_detail(const char *what, const char *text, int64_t size) {
  put_element("<div><dt>", what, "</dt> <dd><bdi>");
  put_foreign(text, size);
  put("</bdi></dd></div>\n");
}

/* The heading's id is a number: an id of the host's could be any text. */
static void put_in_full(const struct inbox_row *row, int number, int badges) {
  char *start = need(sqlite3_mprintf(
    "<article aria-labelledby=\"view-%d\">\n<h3 id=\"view-%d\" dir=\"auto\">", number, number
  ));
  put_element(start, row_name(row), "</h3>\n");
  sqlite3_free(start);
  if (badges) put_badge(row->badge);
  put_messages(row);
  put("<dl>\n");
  if (row->channel != NULL) {
    put_detail("From", row->raw, row->raw_size);
    put_detail("Channel", row->channel, (int64_t)strlen(row->channel));
  }
  put_detail("Conversation", row->conversation_id, (int64_t)strlen(row->conversation_id));
  put("</dl>\n</article>\n");
}

/* Telephones make links of what looks like a number or a date, unless they are told not to. */
static void put_head(const char *instructor) {
  size_t i;
  put("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none';"
      " style-src 'sha256-" STYLE_SHEET_HASH "'; base-uri 'none'; form-action 'none'\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta name=\"color-scheme\" content=\"light dark\">\n"
      "<meta name=\"format-detection\""
      " content=\"telephone=no, date=no, address=no, email=no\">\n"
      "<meta name=\"referrer\" content=\"no-referrer\">\n");
  put_element("<title>Inbox of ", instructor, "</title>\n<style>");
  for (i = 0; i < COUNT_OF(STYLE_SHEET); i++)
    put(STYLE_SHEET[i]);
  put("</style>\n</head>\n");
}

static void put_conversations(const struct inbox *inbox) {
  int i;
  put("<section aria-labelledby=\"list\">\n<h2 id=\"list\">Conversations</h2>\n"
      "<ul role=\"list\">\n");
  for (i = 0; i < inbox->count; i++)
    put_in_list(&inbox->rows[i], inbox->badges);
  put("</ul>\n</section>\n<section aria-labelledby=\"views\">\n<h2 id=\"views\">In full</h2>\n"
  );
  for (i = 0; i < inbox->count; i++)
    put_in_full(&inbox->rows[i], i + 1, inbox->badges);
  put("</section>\n");
}

/* Prints the page. */
static int write_page(const struct inbox *inbox) {
  const char *plural = inbox->count == 1 ? "" : "s";
  char *total = need(sqlite3_mprintf("%d conversation%s", inbox->count, plural));
  put_head(inbox->instructor);
  put_element("<body>\n<header>\n<h1>Inbox of <bdi>", inbox->instructor, "</bdi></h1>\n");
  put_element("<p class=\"quiet\">", total, "</p>\n</header>\n<main>\n");
  if (inbox->count > 0) put_conversations(inbox);
  put_element(
    "</main>\n<footer class=\"quiet\"><p>A page to read, made by custmem ", custmem_version(),
    "</p></footer>\n</body>\n</html>\n"
  );
  sqlite3_free(total);
  return DONE;
}

/* ---- Commands ------------------------------------------------------------------------------ */

/* `arguments` says how many there are: first those that are required, then, in brackets, those
** that are given all or not at all. `run` is called with as many as it says. */
struct command {
  const char *name;
  int (*run)(int argc, char **argv);
  const char *arguments;
  const char *summary;
  const char *help;
  const char *example;
};

static int run_help(int argc, char **argv);
static int run_version(int argc, char **argv);

static const struct command COMMANDS[] = {
  {"demo", run_demo, "[FILE]", "tell the whole story on a stream of WhatsApp webhooks",
   "Reads FILE, JSON lines of a webhook payload each (without FILE: " DEMO_STREAM "). "
   "Shows what they carry and the inboxes that they make, then tells what custmem allows and "
   "what it refuses, on a store in a fresh directory under $TMPDIR or /tmp. The store is left "
   "there to be looked into.",
   "demo " DEMO_STREAM},
  {"check", run_check, "STORE", "check everything in a store",
   "SQLite's own integrity, the schema, every customer's key, every instructor's audit chain "
   "and links. Prints \"sound\" and how many there are of each, or says where the first fault "
   "is. The store is opened read-only.",
   "check inbox.db"},
  {"audit", run_audit, "STORE INSTRUCTOR", "export an instructor's audit trail as JSON lines",
   "The first line is an object with store_id, instructor_id, count and head. Then comes an "
   "object an event, with the columns of the table audit_events: instructor_id, seq, "
   "event_name, conversation_id, previous_customer_id, new_customer_id, actor_type, actor_id, "
   "reason, context, created_at (Unix milliseconds) and hash (hexadecimal). What is not there "
   "is null. The export is not verified: see verify.",
   "audit inbox.db marta"},
  {"verify", run_verify, "STORE INSTRUCTOR [COUNT HASH]", "verify an instructor's audit chain",
   "Every event, every hash, and every link against the events. With COUNT and HASH, a head "
   "that was noted outside the store, also that the chain continues it: only so does a history "
   "show that was cut off or exchanged. Prints \"sound\" and the head as it is now.",
   "verify inbox.db marta"},
  {"help", run_help, "[COMMAND]", "say what there is, or how to use a command",
   "Without COMMAND, lists the commands and the exit status.", "help verify"},
  {"version", run_version, "", "print the versions of custmem and of SQLite",
   "The versions of the code that this program is made of.", "version"},
};

/* How many single-letter mistakes (one too many, one missing, another, two exchanged) lie between
** two words; words too long to be a mistyped command are far from all. */
static int distance(const char *a, const char *b) {
  enum { LONGEST = 16 };
  int d[LONGEST + 1][LONGEST + 1];
  int a_size = (int)strlen(a), b_size = (int)strlen(b);
  int i, j;
  if (a_size > LONGEST || b_size > LONGEST) return LONGEST;
  for (i = 0; i <= a_size; i++) {
    for (j = 0; j <= b_size; j++) {
      int best = i == 0 ? j : i;
      if (i > 0 && j > 0) {
        best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
        if (d[i - 1][j] + 1 < best) best = d[i - 1][j] + 1;
        if (d[i][j - 1] + 1 < best) best = d[i][j - 1] + 1;
        if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && d[i - 2][j - 2] + 1 < best)
          best = d[i - 2][j - 2] + 1;
      }
      d[i][j] = best;
    }
  }
  return d[a_size][b_size];
}

/* The command of that name. If there is none it says so, and which it may have been. */
static const struct command *find_command(const char *name) {
  const struct command *nearest = NULL;
  int least = 0;
  size_t i;
  for (i = 0; i < COUNT_OF(COMMANDS); i++) {
    int mistakes = distance(name, COMMANDS[i].name);
    if (strcmp(name, COMMANDS[i].name) == 0) return &COMMANDS[i];
    int close_enough = 2 * mistakes <= (int)strlen(COMMANDS[i].name) + 1;
    if (close_enough && (nearest == NULL || mistakes < least)) {
      nearest = &COMMANDS[i];
      least = mistakes;
    }
  }
  if (nearest != NULL)
    complain("there is no command \"%s\"; did you mean \"%s\"?", name, nearest->name);
  else
    complain("there is no command \"%s\"; %s help lists them", name, program);
  return NULL;
}

static int run_version(int argc, char **argv) {
  (void)argc, (void)argv;
  put_line(0, "custmem %s (SQLite %s)", custmem_version(), sqlite3_libversion());
  return DONE;
}

static void put_usage(const struct command *command) {
  const char *space = command->arguments[0] != '\0' ? " " : "";
  put_line(0, "usage: %s %s%s%s", program, command->name, space, command->arguments);
}

static void put_overview(void) {
  size_t i;
  put_line(0, "custmem: which customer is writing, and who said so");
  put_line(0, "usage: %s COMMAND [ARGUMENT ...]", program);
  put_empty_line();
  for (i = 0; i < COUNT_OF(COMMANDS); i++)
    put_line(2, "%-8s %-29s %s", COMMANDS[i].name, COMMANDS[i].arguments, COMMANDS[i].summary);
  put_empty_line();
  put_line(0, "%s help COMMAND says more, with an example.", program);
  put_line(
    0, "exit status: 0 done, 1 the store refused, 2 wrong usage, 3 input or output failed"
  );
}

static int put_help(const struct command *command) {
  put_usage(command);
  put_empty_line();
  put_paragraph(0, "%s", command->help);
  put_empty_line();
  put_line(0, "example: %s %s", program, command->example);
  return DONE;
}

static int run_help(int argc, char **argv) {
  const struct command *command = argc > 0 ? find_command(argv[0]) : NULL;
  if (argc == 0) put_overview();
  if (command != NULL) put_help(command);
  return argc == 0 || command != NULL ? DONE : USAGE;
}

/* The word at a place of a command's arguments, without brackets; its size is 0 behind the last. */
static const char *argument_name(const struct command *command, int place, int *size) {
  const char *at = command->arguments;
  for (;;) {
    at += strspn(at, " []");
    *size = (int)strcspn(at, " []");
    if (place-- == 0 || *size == 0) return at;
    at += *size;
  }
}

/* Are there as many arguments as the command takes? If not it says which is missing, or too much. */
static int fits(const struct command *command, int argc, char **argv) {
  const char *optional = strchr(command->arguments, '[');
  int required = 0, all = 0, size;
  const char *name = argument_name(command, 0, &size);
  for (; size > 0; name = argument_name(command, ++all, &size))
    required += optional == NULL || name < optional;
  if (argc == required || argc == all) return 1;
  name = argument_name(command, argc, &size);
  if (argc > all)
    complain("%s: \"%s\" is one argument too many", command->name, argv[all]);
  else
    complain("%s: %.*s is missing", command->name, size, name);
  complain("usage: %s %s %s", program, command->name, command->arguments);
  return 0;
}

/* Runs a command. "--" ends the options, of which there is only one so far. */
static int run(const struct command *command, int argc, char **argv) {
  int i, j;
  for (i = 0; i < argc; i++) {
    if (argv[i][0] != '-' || argv[i][1] == '\0') continue;
    if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) return put_help(command);
    if (strcmp(argv[i], "--") != 0) {
      complain("%s: there is no option \"%s\"", command->name, argv[i]);
      return USAGE;
    }
    for (j = i; j + 1 < argc; j++)
      argv[j] = argv[j + 1];
    argc--;
    break;
  }
  return fits(command, argc, argv) ? command->run(argc, argv) : USAGE;
}

/* Standard input, output and error are there, even if only to fail: else a file that is opened
** later could take the place of one, and be written to in its stead. */
static int hold_standard_files(void) {
  int fd;
  for (fd = 0; fd <= 2; fd++)
    if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDONLY) != fd) return 0;
  return 1;
}

/* Widths of characters are asked of the locale. Where it is not one of UTF-8, which all text here
** is, that of the language C with UTF-8 will do, if there is one. */
static void choose_locale(void) {
  if (setlocale(LC_CTYPE, "") == NULL || strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
    setlocale(LC_CTYPE, "C.UTF-8");
}

static int run_words(int argc, char **argv) {
  const struct command *command;
  const char *name = argc > 0 ? argv[0] : NULL;
  if (name == NULL) {
    complain("no command was given; %s help lists them", program);
    return USAGE;
  }
  if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) name = "help";
  if (strcmp(name, "--version") == 0) name = "version";
  command = find_command(name);
  return command != NULL ? run(command, argc - 1, argv + 1) : USAGE;
}

int main(int argc, char **argv) {
  int status;
  if (!hold_standard_files()) return INPUT_OUTPUT;
  if (argc > 0) program = argv[0];
  choose_locale();
  status = run_words(argc - 1, argv + 1);
  if (fflush(stdout) != 0 && output_error == 0) output_error = errno;
  if (output_error == 0 || status != DONE) return status;
  /* Who closed the pipe has seen enough, and needs no message. */
  if (output_error != EPIPE) complain("cannot write the output: %s", strerror(output_error));
  return INPUT_OUTPUT;
}
