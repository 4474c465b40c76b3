/* SPDX-License-Identifier: MIT
**
** The command-line program `custmem`: the everyday use of a store, and the whole story told on a
** stream of WhatsApp webhooks. The parts, each standing only on those before it:
**
**   Text       UTF-8, what may be shown of it, and how wide a terminal shows it
**   Output     paragraphs, lines, tables and JSON: nothing is printed but through these
**   Trouble    messages on standard error, and the exit status that goes with each
**   JSON       SQLite's JSON functions, on a connection in memory
**   Listing    results by fields: a table or a record for people, JSON lines for programs
**   Mistyped   what was perhaps meant
**   Request    what was typed: options, arguments, who acts
**   Long work  progress on a terminal, and the interrupt
**   Stream     reads lines and webhooks, and keeps conversations as a host of custmem would
**   Demo       the story, a function a chapter
**   Inbox      the conversations of a stream with what custmem answers; the badge page
**   Commands   a function each: the store, identifiers and customers, resolution, links, audit
**   Table      the one table of commands, which all that follows is made from:
**              the words that were typed, the help, the completion and the manual page; main
**
** Data goes to standard output and words about trouble to standard error. The exit status is
** always one of enum status.
*/

/* POSIX: mkdtemp, wcwidth, localtime_r, sigaction. */
#define _XOPEN_SOURCE 700

#include "custmem.h"
#include "sqlite3.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <langinfo.h>
#include <limits.h>
#include <locale.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

enum status {
  DONE = 0,
  REFUSED = 1, /* the store refused, or a step of the demo did not come out as told */
  USAGE = 2,
  INPUT_OUTPUT = 3 /* input cannot be read or used, output or the store cannot be written */
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

/* Bytes that are no UTF-8, and NUL. */
static int is_no_text(int32_t code) {
  return code <= 0;
}

/* A copy of a text in which some code points are spelled out, as in C. To be freed. */
static char *spell(const char *text, int64_t size, int (*is_spelled)(int32_t code)) {
  const char *end = text + size;
  sqlite3_str *out = need(sqlite3_str_new(NULL));
  char *spelled;
  int failed;
  while (text < end) {
    const char *from = text;
    int32_t code = next_code(&text, end);
    if (code >= 0 && !is_spelled(code))
      sqlite3_str_append(out, from, (int)(text - from));
    else if (code == '\n' || code == '\t' || code == '\r')
      sqlite3_str_appendf(out, "\\%c", code == '\n' ? 'n' : code == '\t' ? 't' : 'r');
    else if (code < 0x100)
      sqlite3_str_appendf(out, "\\x%02x", code < 0 ? (unsigned char)*from : (unsigned)code);
    else
      sqlite3_str_appendf(out, code > 0xffff ? "\\U%08x" : "\\u%04x", (unsigned)code);
  }
  failed = sqlite3_str_errcode(out) != SQLITE_OK;
  spelled = sqlite3_str_finish(out); /* NULL for an empty text, too */
  return need(spelled != NULL || failed ? spelled : sqlite3_mprintf(""));
}

/* A copy that may be shown: everything unsafe is spelled out. To be freed. */
static char *clean(const char *text, int64_t size) {
  return spell(text, size, is_unsafe);
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
#define MAX_COLUMNS 12

/* The error of the first write that failed; 0 while none has. */
static int output_error;

static int after_empty_line = 1;

/* Colours are for people: at a terminal, and unless they have said that they want none. */
static int use_colour;

static int may_use_colour(void) {
  const char *none = getenv("NO_COLOR"), *terminal = getenv("TERM");
  return isatty(STDOUT_FILENO) && (none == NULL || none[0] == '\0') &&
         (terminal == NULL || strcmp(terminal, "dumb") != 0);
}

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

/* A table: its first row is the heading. Cells are cleaned, and cut to the limit of their column.
** A table may be printed in parts: a later part can only make the columns wider. */
struct table {
  int columns;
  int limits[MAX_COLUMNS];
  char **cells;
  int count;
  int capacity;
  int widths[MAX_COLUMNS];
  int is_headed;    /* its heading has been printed, or it has none */
  int badge_column; /* the one whose cells are badges' labels, from 1; 0 for none */
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

/* How a cell stands out on a terminal: headings are bold, badges have a colour each, none of which
** says good or bad. */
static const char *style_of(const struct table *table, int is_heading, int cell) {
  static const char *const BADGES[] = {
    [CUSTMEM_BADGE_UNLINKED] = "2", [CUSTMEM_BADGE_NEW] = "35", [CUSTMEM_BADGE_KNOWN] = "34"};
  int is_badge = cell % table->columns + 1 == table->badge_column, i;
  if (!use_colour) return NULL;
  if (is_heading) return "1";
  for (i = 0; is_badge && i < (int)COUNT_OF(BADGES); i++)
    if (strcmp(table->cells[cell], custmem_badge_label(i)) == 0) return BADGES[i];
  return NULL;
}

static void put_cell(const char *cell, const char *style) {
  if (style != NULL) {
    put("\x1b[");
    put(style);
    put("m");
  }
  put(cell);
  if (style != NULL) put("\x1b[0m");
  if (is_right_to_left(cell)) put(LEFT_TO_RIGHT_MARK);
}

/* Space is put before a cell and not after it: no line ends in spaces. */
static void put_row(const struct table *table, int row, int indent) {
  int is_heading = row == 0 && !table->is_headed;
  int space = indent;
  int column;
  for (column = 0; column < table->columns; column++) {
    int at = row * table->columns + column;
    const char *cell = table->cells[at];
    if (cell[0] != '\0') {
      put_spaces(space);
      space = 0;
      put_cell(cell, style_of(table, is_heading, at));
    }
    space += table->widths[column] - text_width(cell) + 2;
  }
  put("\n");
}

/* The line under the heading. */
static void put_rule(const struct table *table, int indent) {
  int column, dashes;
  for (column = 0; column < table->columns && table->widths[column] > 0; column++) {
    put_spaces(column > 0 ? 2 : indent);
    for (dashes = 0; dashes < table->widths[column]; dashes++)
      put("-");
  }
  put("\n");
}

static void empty_table(struct table *table) {
  int i;
  for (i = 0; i < table->count; i++)
    sqlite3_free(table->cells[i]);
  table->count = 0;
}

/* Prints the rows that the table has, and takes them out of it. */
static void put_rows(struct table *table, int indent) {
  int i;
  for (i = 0; i < table->count; i++) {
    int width = text_width(table->cells[i]);
    int *widest = &table->widths[i % table->columns];
    if (width > *widest) *widest = width;
  }
  for (i = 0; i < table->count / table->columns; i++) {
    put_row(table, i, indent);
    if (i > 0 || table->is_headed) continue;
    put_rule(table, indent);
    table->is_headed = 1;
  }
  empty_table(table);
}

/* Prints the table and empties it. */
static void put_table(struct table *table, int indent) {
  if (table->count > 0) put_rows(table, indent);
  sqlite3_free(table->cells);
  table->cells = NULL;
  table->capacity = 0;
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

/* The exit status that goes with a code: what was refused, and what could not be read or written. */
static int status_of(int rc) {
  switch (rc) {
  case CUSTMEM_OK:
    return DONE;
  case CUSTMEM_FULL:
  case CUSTMEM_IO:
  case CUSTMEM_NOMEM:
  case CUSTMEM_UNKNOWN_OUTCOME:
    return INPUT_OUTPUT;
  default:
    return REFUSED;
  }
}

static int refused(const custmem *store, int rc) {
  complain("%s: %s", custmem_code_name(rc), custmem_errmsg(store));
  return status_of(rc);
}

#define IN_MEMORY ":memory:"

/* What custmem_open takes for no file would be gone when the command ends. */
static int is_file(const char *path) {
  if (strcmp(path, IN_MEMORY) != 0) return 1;
  complain("\"%s\" is no file: a file of that name is ./%s", path, path);
  return 0;
}

/* A store that is only looked at is opened read-only: a mistyped path makes no new one. */
static int open_store(const char *path, int read_only, custmem **store) {
  char message[CUSTMEM_MESSAGE_MAX + 1];
  custmem_options options;
  int rc;
  if (!is_file(path)) return USAGE;
  custmem_options_init(&options);
  options.read_only = read_only;
  options.message = message;
  options.message_size = sizeof message;
  rc = custmem_open(path, &options, store);
  if (rc == CUSTMEM_OK) return DONE;
  complain("%s: %s", custmem_code_name(rc), message);
  return status_of(rc);
}

/* ---- JSON ---------------------------------------------------------------------------------- */

/* A connection that has no file: all JSON is read and made by SQLite's functions on it. */
static sqlite3 *open_json(void) {
  sqlite3 *db;
  int rc = sqlite3_open(IN_MEMORY, &db);
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

/* Prints the JSON that the statement makes of what is bound to it. */
static void put_json_row(sqlite3_stmt *stmt) {
  int rc = sqlite3_step(stmt);
  need(rc == SQLITE_ROW ? stmt : NULL);
  put_json((const char *)sqlite3_column_text(stmt, 0), sqlite3_column_bytes(stmt, 0));
  sqlite3_reset(stmt);
}

/* A flat object of strings, as a line of it is read.
**
** names     the names that it may have; the first `required` of them it must have
** values    what they hold, NULL for null and for what is not there; none holds a NUL
** seen      a bit for each that stood there, if only with null
** message   why it could not be read; "" if it could */
#define MAX_NAMES 4

struct object {
  const char *names[MAX_NAMES];
  int count;
  int required;
  char *values[MAX_NAMES];
  unsigned seen;
  char message[CUSTMEM_MESSAGE_MAX + 1];
};

static void free_values(struct object *object) {
  int i;
  for (i = 0; i < object->count; i++) {
    sqlite3_free(object->values[i]);
    object->values[i] = NULL;
  }
}

/* A text of a row as it is, with its size; NULL for NULL. To be freed. */
static char *copied(sqlite3_stmt *row, int column, int64_t *size) {
  const void *bytes = sqlite3_column_text(row, column);
  char *copy = NULL;
  *size = sqlite3_column_bytes(row, column);
  if (bytes != NULL) {
    copy = need(sqlite3_malloc64((sqlite3_uint64)*size + 1));
    memcpy(copy, bytes, (size_t)*size + 1);
  }
  return copy;
}

static void spoil(struct object *object, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  sqlite3_vsnprintf((int)sizeof object->message, object->message, format, arguments);
  va_end(arguments);
}

/* Takes one field of the object. A name that is not known, or stands twice, is not passed over: it
** may be a mistyped one. */
static void read_field(struct object *object, sqlite3_stmt *row) {
  const char *name = (const char *)sqlite3_column_text(row, 0);
  const char *type = (const char *)sqlite3_column_text(row, 1);
  const char *value = (const char *)sqlite3_column_text(row, 2);
  unsigned was_seen;
  int i = 0;
  while (i < object->count && strcmp(object->names[i], name) != 0)
    i++;
  was_seen = object->seen & 1u << i;
  object->seen |= 1u << i;
  if ((int)strlen(name) != sqlite3_column_bytes(row, 0))
    spoil(object, "the name of a field holds a NUL");
  else if (i == object->count)
    spoil(object, "there is no field \"%.64s\"", name);
  else if (was_seen)
    spoil(object, "the field \"%s\" stands twice", name);
  else if (strcmp(type, "null") == 0)
    return;
  else if (strcmp(type, "text") != 0)
    spoil(object, "the field \"%s\" is not a string", name);
  else if ((int)strlen(value) != sqlite3_column_bytes(row, 2))
    spoil(object, "the field \"%s\" holds a NUL", name);
  else
    object->values[i] = need(sqlite3_mprintf("%s", value));
}

static const char READ_OBJECT[] =
  "SELECT key, type, atom FROM json_each("
  "  iif(json_valid(?1) AND json_type(iif(json_valid(?1), ?1, '0')) = 'object', ?1, '0'))";

/* Reads a line, by a statement of READ_OBJECT. 1 if it is such an object; else the message says
** why not. The values are to be freed in either case. */
static int read_object(
  struct object *object,
  sqlite3_stmt *stmt,
  const char *line,
  size_t size
) {
  int i;
  object->seen = 0;
  object->message[0] = '\0';
  sqlite3_bind_text64(stmt, 1, line, size, SQLITE_STATIC, SQLITE_UTF8);
  while (object->message[0] == '\0' && sqlite3_step(stmt) == SQLITE_ROW) {
    if (sqlite3_column_type(stmt, 0) == SQLITE_TEXT)
      read_field(object, stmt);
    else
      spoil(object, "it is not a JSON object");
  }
  sqlite3_reset(stmt);
  for (i = 0; i < object->required && object->message[0] == '\0'; i++)
    if (object->values[i] == NULL)
      spoil(object, "the field \"%s\" is missing", object->names[i]);
  return object->message[0] == '\0';
}

/* ---- Listing -------------------------------------------------------------------------------
** What a command answers is rows of fields. The command's entry in the table says which, so that
** the same words are in the table, in the JSON and in the help. A listing is printed as a table; or,
** where the answer is one, as a record, a field a line; or as JSON, an object a line. */

enum field_kind {
  IS_TEXT,
  IS_OPTIONAL, /* text; "" is null in JSON */
  IS_NUMBER,
  IS_ORDINAL, /* a number from 1; 0 is null in JSON, and not shown */
  IS_TIME,    /* Unix milliseconds; 0 as with IS_ORDINAL. People see local time */
  IS_BADGE    /* text: the label of a badge */
};

/* name     in JSON, for ever; NULL: for people only
** width    in a table, at most; 0: only in a record
** heading  in a table or a record; NULL: for programs only
** meaning  in the help */
struct field {
  const char *name;
  enum field_kind kind;
  int width;
  const char *heading;
  const char *meaning;
};

#define MAX_FIELDS   20
#define ROWS_AT_ONCE 256

/* What most cells of a column fit into, but for customers' ids. */
#define MOSTLY_WITHIN 16

enum layout { AS_TABLE, AS_RECORD };

struct listing {
  struct field fields[MAX_FIELDS];
  int count;
  int next; /* the field that the next value is for */
  enum layout layout;
  int shows_each; /* a row is printed as soon as it is complete */
  sqlite3 *db;    /* JSON; NULL for people */
  sqlite3_stmt *stmt;
  struct table table;
};

static int is_in_table(const struct field *field) {
  return field->heading != NULL && field->width > 0;
}

/* The value of a field, in SQL, that is null in JSON; NULL: none is. */
static const char *null_value(enum field_kind kind) {
  if (kind == IS_OPTIONAL || kind == IS_BADGE) return "''";
  return kind == IS_ORDINAL || kind == IS_TIME ? "0" : NULL;
}

/* SELECT json_object('name', ?1, …) */
static sqlite3_stmt *prepare_object(sqlite3 *db, const struct field *fields, int count) {
  sqlite3_str *sql = need(sqlite3_str_new(db));
  sqlite3_stmt *stmt;
  char *text;
  int i;
  for (i = 0; i < count; i++) {
    const char *null = null_value(fields[i].kind);
    if (fields[i].name == NULL) continue;
    note(sql, null != NULL ? "%Q, nullif(?%d, %s)" : "%Q, ?%d", fields[i].name, i + 1, null);
  }
  text = need(sqlite3_mprintf("SELECT json_object(%s)", need(sqlite3_str_value(sql))));
  stmt = prepare(db, text);
  sqlite3_free(text);
  sqlite3_free(sqlite3_str_finish(sql));
  return stmt;
}

static void start_table(struct listing *listing) {
  struct table *table = &listing->table;
  const struct field *field;
  table->is_headed = listing->layout == AS_RECORD;
  if (listing->layout == AS_RECORD) {
    table->columns = 2;
    table->limits[0] = table->limits[1] = INT_MAX;
    return;
  }
  for (field = listing->fields; field < listing->fields + listing->count; field++) {
    if (!is_in_table(field)) continue;
    if (field->kind == IS_BADGE) table->badge_column = table->columns + 1;
    table->limits[table->columns++] = field->width;
  }
  for (field = listing->fields; field < listing->fields + listing->count; field++)
    if (is_in_table(field)) add_cell(table, "%s", field->heading);
}

static void open_fields(
  struct listing *listing,
  const struct field *fields,
  int count,
  enum layout layout,
  int is_json
) {
  memset(listing, 0, sizeof *listing);
  assert(count > 0 && count <= MAX_FIELDS);
  memcpy(listing->fields, fields, (size_t)count * sizeof *fields);
  listing->count = count;
  listing->layout = layout;
  if (!is_json) {
    start_table(listing);
    return;
  }
  listing->db = open_json();
  listing->stmt = prepare_object(listing->db, fields, count);
}

/* Where each row is shown as soon as it is complete, the columns have to be wide enough before their
** cells are known: as wide as a cell mostly is. */
static void show_each_row(struct listing *listing) {
  struct table *table = &listing->table;
  int column;
  listing->shows_each = 1;
  for (column = 0; column + 1 < table->columns; column++) {
    int limit = table->limits[column];
    table->widths[column] =
      limit > MOSTLY_WITHIN && limit != CUSTMEM_UUID_SIZE ? MOSTLY_WITHIN : limit;
  }
}

static void end_row(struct listing *listing) {
  listing->next = 0;
  if (listing->db != NULL)
    put_json_row(listing->stmt);
  else if (listing->shows_each || listing->table.count > ROWS_AT_ONCE * listing->table.columns)
    put_rows(&listing->table, 0);
  if (listing->shows_each && fflush(stdout) != 0 && output_error == 0) output_error = errno;
}

/* One more value for people: a cell of the table or, if there is a value, a line of the record. */
static void show_value(struct listing *listing, const struct field *field, const char *text) {
  if (listing->layout == AS_RECORD && field->heading != NULL && text[0] != '\0') {
    add_cell(&listing->table, "%s", field->heading);
    add_cell(&listing->table, "%s", text);
  }
  if (listing->layout == AS_TABLE && is_in_table(field)) add_cell(&listing->table, "%s", text);
}

/* Text that is not UTF-8, as a path may be, is spelled out: JSON has no other way to say it. */
static void give_text(struct listing *listing, const char *text) {
  const struct field *field = &listing->fields[listing->next++];
  assert(field->kind == IS_TEXT || field->kind == IS_OPTIONAL || field->kind == IS_BADGE);
  if (listing->db == NULL) {
    show_value(listing, field, text);
  } else if (field->name != NULL) {
    char *spelled = spell(text, (int64_t)strlen(text), is_no_text);
    sqlite3_bind_text(listing->stmt, listing->next, spelled, -1, sqlite3_free);
  }
  if (listing->next == listing->count) end_row(listing);
}

/* Local time, with the offset of its zone: 2026-06-14T13:31:37+05:30. */
static void write_time(char *text, size_t size, int64_t at_ms) {
  time_t seconds = (time_t)(at_ms / 1000);
  char zone[8];
  struct tm when;
  size_t used;
  text[0] = '\0';
  if (at_ms == 0 || localtime_r(&seconds, &when) == NULL) return;
  used = strftime(text, size, "%Y-%m-%dT%H:%M:%S", &when);
  if (used > 0 && strftime(zone, sizeof zone, "%z", &when) == 5)
    snprintf(text + used, size - used, "%.3s:%s", zone, zone + 3);
}

static void give_number(struct listing *listing, int64_t number) {
  const struct field *field = &listing->fields[listing->next++];
  char text[48] = "";
  assert(field->kind == IS_NUMBER || field->kind == IS_ORDINAL || field->kind == IS_TIME);
  if (field->kind == IS_TIME)
    write_time(text, sizeof text, number);
  else if (field->kind == IS_NUMBER || number != 0)
    snprintf(text, sizeof text, "%lld", (long long)number);
  if (listing->db == NULL)
    show_value(listing, field, text);
  else if (field->name != NULL)
    sqlite3_bind_int64(listing->stmt, listing->next, number);
  if (listing->next == listing->count) end_row(listing);
}

/* Prints what has not been printed yet; of a table without rows, nothing. */
static void close_listing(struct listing *listing) {
  struct table *table = &listing->table;
  assert(listing->next == 0);
  if (!table->is_headed && table->count == table->columns) empty_table(table);
  put_table(table, 0);
  sqlite3_finalize(listing->stmt);
  sqlite3_close(listing->db);
}

/* ---- Mistyped words ------------------------------------------------------------------------ */

static char in_lower_case(char letter) {
  return letter >= 'A' && letter <= 'Z' ? (char)(letter - 'A' + 'a') : letter;
}

/* How many single-letter mistakes (one too many, one missing, another, two exchanged) lie between
** two words, in whatever case; words too long to be a mistyped name are far from all. */
static int distance(const char *a, const char *b) {
  enum { LONGEST = 16 };
  int d[LONGEST + 1][LONGEST + 1];
  char x[LONGEST + 1], y[LONGEST + 1];
  int a_size = (int)strlen(a), b_size = (int)strlen(b);
  int i, j;
  if (a_size > LONGEST || b_size > LONGEST) return LONGEST;
  for (i = 0; i < a_size; i++)
    x[i] = in_lower_case(a[i]);
  for (i = 0; i < b_size; i++)
    y[i] = in_lower_case(b[i]);
  for (i = 0; i <= a_size; i++) {
    for (j = 0; j <= b_size; j++) {
      int best = i == 0 ? j : i;
      if (i > 0 && j > 0) {
        int is_swap = i > 1 && j > 1 && x[i - 1] == y[j - 2] && x[i - 2] == y[j - 1];
        best = d[i - 1][j - 1] + (x[i - 1] != y[j - 1]);
        if (d[i - 1][j] + 1 < best) best = d[i - 1][j] + 1;
        if (d[i][j - 1] + 1 < best) best = d[i][j - 1] + 1;
        if (is_swap && d[i - 2][j - 2] + 1 < best) best = d[i - 2][j - 2] + 1;
      }
      d[i][j] = best;
    }
  }
  return d[a_size][b_size];
}

/* Looks for the name nearest to a word, among names that are offered one by one. */
struct search {
  const char *word;
  const char *found; /* what to suggest; NULL: nothing is near */
  int mistakes;
};

static void offer(struct search *search, const char *name, const char *suggestion) {
  int mistakes = distance(search->word, name);
  if (2 * mistakes > (int)strlen(name) + 1) return;
  if (search->found != NULL && mistakes >= search->mistakes) return;
  search->found = suggestion;
  search->mistakes = mistakes;
}

static const char *const CHANNELS[] = {"whatsapp", "sms",       "phone",     "email",
                                       "telegram", "messenger", "instagram", "webchat"};

#define CHANNEL_MEANING                                                                        \
  "whatsapp, sms, phone, email, telegram, messenger, instagram, webchat; or NAME/ACCOUNT"

/* What is wrong with a channel, and which was perhaps meant; NULL if nothing is. To be freed. */
static char *channel_fault(const char *channel) {
  int refusal = custmem_normalize(channel, "-", CUSTMEM_NUL_TERMINATED, NULL);
  char *name, *fault;
  struct search search;
  size_t i;
  if (refusal != CUSTMEM_REFUSED_UNKNOWN_CHANNEL && refusal != CUSTMEM_REFUSED_BAD_CHANNEL)
    return NULL;
  name = need(sqlite3_mprintf("%.*s", (int)strcspn(channel, "/"), channel));
  search.word = name;
  search.found = NULL;
  for (i = 0; i < COUNT_OF(CHANNELS); i++)
    offer(&search, CHANNELS[i], CHANNELS[i]);
  if (search.found != NULL && strcmp(search.found, name) != 0)
    fault = sqlite3_mprintf(
      "there is no channel \"%s\"; did you mean \"%s%s\"?", channel, search.found,
      channel + strlen(name)
    );
  else
    fault = sqlite3_mprintf("there is no channel \"%s\": %s", channel, CHANNEL_MEANING);
  sqlite3_free(name);
  return need(fault);
}

/* ---- Request -------------------------------------------------------------------------------
** What was typed, after it was held against the command's entry in the table. */

enum option {
  OPT_INSTRUCTOR,
  OPT_ACTOR,
  OPT_REASON,
  OPT_CONTEXT,
  OPT_DISPLAY,
  OPT_REMOVE,
  OPT_NUMBER,
  OPT_BADGES,
  OPT_HTML,
  OPT_ID,
  OPT_JSON,
  OPTIONS
};

#define HAS(option) (1u << (option))

/* value        what it takes, as the help names it; NULL: it takes nothing
** environment  the variable that stands in for it; NULL: none */
static const struct {
  const char *name, *value, *environment, *meaning;
} OPTION[OPTIONS] = {
  [OPT_INSTRUCTOR] =
    {"instructor", "ID", "CUSTMEM_INSTRUCTOR", "whose data: the instructor's id"},
  [OPT_ACTOR] = {"actor", "ID", "CUSTMEM_ACTOR", "who acts: the id of a person"},
  [OPT_REASON] = {"reason", "TEXT", NULL, "why, in your own words; kept in the audit"},
  [OPT_CONTEXT] = {"context", "TEXT", NULL, "more for a reader; nothing is decided by it"},
  [OPT_DISPLAY] = {"display", "TEXT", NULL, "what people call the customer"},
  [OPT_REMOVE] = {"remove", NULL, NULL, "remove what people call the customer"},
  [OPT_NUMBER] =
    {"number", "NUMBER", NULL, "the business number (phone_number_id) whose messages count"},
  [OPT_BADGES] = {"badges", NULL, NULL, "show the badges"},
  [OPT_HTML] = {"html", NULL, NULL, "print one HTML page"},
  [OPT_ID] = {"id", NULL, NULL, "print nothing but the customer's id"},
  [OPT_JSON] = {"json", NULL, NULL, "print JSON, an object a line"},
};

struct request {
  const struct command *command;
  int argc;
  char **argv;
  const char *options[OPTIONS]; /* NULL: not given */
};

enum access { NO_STORE, READS, WRITES };

/* run        gets its store open, as `access` says; the store is then the first argument
** check      may be NULL: what can be said about the request without the store; 0 if it is wrong
** arguments  how many there are: each '[' begins a group that is given whole or not at all
** required, allowed  sets of options */
struct command {
  const char *name; /* one word, or two: of a group */
  int (*run)(const struct request *request, custmem *store);
  int (*check)(const struct request *request);
  enum access access;
  int field_count;
  const struct field *fields;
  const char *arguments;
  unsigned required, allowed;
  const char *summary;
  const char *help;
  const char *example;
};

static custmem_actor actor_of(const struct request *request) {
  custmem_actor actor = {CUSTMEM_ACTOR_HUMAN, NULL, NULL};
  actor.actor_id = request->options[OPT_ACTOR];
  actor.instructor_id = request->options[OPT_INSTRUCTOR];
  return actor;
}

/* An empty file is no store yet. What cannot be looked at may be one: opening it says what is wrong. */
static int is_there(const char *path) {
  struct stat file;
  if (stat(path, &file) != 0) return errno != ENOENT;
  return !S_ISREG(file.st_mode) || file.st_size > 0;
}

/* Only init makes a store: a mistyped path makes none. */
static int open_to_write(const struct request *request, custmem **store) {
  const char *path = request->argv[0];
  *store = NULL;
  if (is_there(path)) return open_store(path, 0, store);
  complain(
    "%s: there is no store %s; %s init makes one", custmem_code_name(CUSTMEM_NO_PATH), path,
    program
  );
  return REFUSED;
}

static void open_listing(
  struct listing *listing,
  const struct request *request,
  enum layout layout
) {
  const struct command *command = request->command;
  int is_json = request->options[OPT_JSON] != NULL;
  open_fields(listing, command->fields, command->field_count, layout, is_json);
}

/* ---- Long work -----------------------------------------------------------------------------
** Checks, backups and streams may take long. Meanwhile a terminal is told twice a second that it goes
** on, and a signal to stop interrupts the call that is running; then the command ends, with the
** store as sound as ever, and main lets the signal have its way. A second signal has it at once.
** What runs in a handler is async-signal-safe: custmem_interrupt only sets a flag. */

static struct {
  custmem *volatile store;
  volatile sig_atomic_t signal; /* the one that asked to stop; 0: none */
  volatile sig_atomic_t lines;  /* of a stream */
  volatile sig_atomic_t ticks;  /* that have been shown */
  const char *what;
  const char *target; /* a file that grows to `target_size` */
  int64_t target_size;
  int is_shown; /* on a terminal */
} work;

static void on_stop(int number) {
  work.signal = number;
  custmem_interrupt(work.store);
}

static char *write_number(char *at, int64_t number) {
  char digits[24];
  int count = 0;
  do
    digits[count++] = (char)('0' + number % 10);
  while ((number /= 10) > 0);
  while (count > 0)
    *at++ = digits[--count];
  return at;
}

static char *write_word(char *at, const char *word) {
  while (*word != '\0')
    *at++ = *word++;
  return at;
}

#define TICKS_A_SECOND 2

/* "custmem: backup, 3 s, 45%" in the place of the one before. */
static void on_tick(int number) {
  char line[128], *at = write_word(line, "\r\x1b[Kcustmem: ");
  struct stat file;
  int error = errno;
  (void)number;
  at = write_word(write_word(at, work.what), ", ");
  at = write_word(write_number(at, ++work.ticks / TICKS_A_SECOND), " s");
  if (work.lines > 0) at = write_number(write_word(at, ", line "), work.lines);
  if (work.target_size > 0 && stat(work.target, &file) == 0 && file.st_size <= work.target_size) {
    at = write_number(write_word(at, ", "), (int64_t)file.st_size * 100 / work.target_size);
    at = write_word(at, "%");
  }
  if (write(STDERR_FILENO, line, (size_t)(at - line)) < 0) work.ticks = 0;
  errno = error;
}

/* A signal that is ignored stays so: that is how work is left to itself in the background. */
static void on_signal(int number, void (*handler)(int), int flags) {
  struct sigaction action, before;
  memset(&action, 0, sizeof action);
  sigemptyset(&action.sa_mask);
  action.sa_handler = handler;
  action.sa_flags = flags;
  if (sigaction(number, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
    sigaction(number, &action, NULL);
}

static const int STOPS[] = {SIGINT, SIGTERM, SIGHUP};

/* `what` is a word or two. Who looks at rows as they come needs no progress beside them. */
static void begin_work(custmem *store, const char *what, int shows_rows) {
  const suseconds_t pause = 1000000 / TICKS_A_SECOND;
  const struct itimerval tick = {{0, pause}, {0, pause}};
  size_t i;
  memset(&work, 0, sizeof work);
  work.store = store;
  work.what = what;
  for (i = 0; i < COUNT_OF(STOPS); i++)
    on_signal(STOPS[i], on_stop, (int)SA_RESETHAND);
  work.is_shown = isatty(STDERR_FILENO) && !(shows_rows && isatty(STDOUT_FILENO));
  if (!work.is_shown) return;
  on_signal(SIGALRM, on_tick, SA_RESTART);
  setitimer(ITIMER_REAL, &tick, NULL);
}

static void end_work(void) {
  const struct itimerval never = {{0, 0}, {0, 0}};
  size_t i;
  work.store = NULL;
  if (work.is_shown) {
    setitimer(ITIMER_REAL, &never, NULL);
    on_signal(SIGALRM, SIG_DFL, 0);
    if (work.ticks > 0) fputs("\r\x1b[K", stderr);
    work.is_shown = 0;
  }
  for (i = 0; i < COUNT_OF(STOPS); i++)
    on_signal(STOPS[i], SIG_DFL, 0);
}

static int is_stopped(void) {
  return work.signal != 0;
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
#define MAX_LAST    200       /* characters that the demo keeps of a message */
#define INSTRUCTORS 2

enum host_statement {
  HOST_KIND,
  HOST_CHANGES,
  HOST_STATUSES,
  HOST_MESSAGES,
  HOST_SEEN,
  HOST_KEEP,
  HOST_SAY,
  HOST_MOVED,
  HOST_CONVERSATIONS,
  HOST_THREADS,
  HOST_SAID,
  HOST_STATEMENTS
};

static const char HOST_TABLES[] =
  "CREATE TABLE seen (number TEXT, message TEXT, PRIMARY KEY (number, message)) WITHOUT ROWID;"
  "CREATE TABLE conversation ("
  "  id INTEGER PRIMARY KEY, instructor INTEGER, channel TEXT, sender TEXT,"
  "  name TEXT, last TEXT, moved_to TEXT, UNIQUE (instructor, channel, sender));"
  "CREATE TABLE said (id INTEGER PRIMARY KEY, conversation INTEGER, kind TEXT, text TEXT,"
  "  at_ms INTEGER);"
  "CREATE INDEX said_by ON said (conversation);";

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

  /* An entry is looked at once, however many changes it has. */
  [HOST_CHANGES] =
    "WITH element AS MATERIALIZED ("
    "  SELECT " OBJECT("each") " AS json FROM json_each(?1, '$.entry') AS each),"
    " entry AS MATERIALIZED (SELECT json, " TEXT("json", "$.id") " AS id FROM element)"
    "SELECT entry.id, " TEXT("change.value", "$.field") ","
    "  " TEXT("change.value", "$.value.metadata.phone_number_id") ", change.value"
    " FROM entry CROSS JOIN json_each(entry.json, '$.changes') AS change"
    " WHERE change.type = 'object'",

  [HOST_STATUSES] =
    "SELECT " TEXT(OBJECT("status"), "$.status") ", count(*)"
    " FROM json_each(?1, '$.value.statuses') AS status GROUP BY 1",

  /* A sender goes by a phone number or by a business-scoped id, and so does the contact with the
  ** name. Contacts are grouped first, so that many of them, in a payload with many messages, take
  ** no longer than they must; and a name that is none, of many thousand letters, is cut, since each message
  ** would have it. */
  [HOST_MESSAGES] =
    "WITH contact AS MATERIALIZED ("
    "  SELECT sender, max(iif(length(CAST(name AS BLOB)) > 1000, substr(name, 1, 200) || '…', name))"
    "    AS name FROM ("
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
    "    ifnull(" TEXT("json", "$.type") ", '?') AS type FROM element),"
    " worded AS MATERIALIZED ("
    "  SELECT *, CASE type"
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
    "    WHEN 'system' THEN " TEXT("json", "$.system.body") " END AS words FROM message)"
    "SELECT id, phone, scoped, in_group, name,"
    "  CASE type"
    "    WHEN 'interactive' THEN replace(ifnull(" TEXT("json", "$.interactive.type") ", type), '_', ' ')"
    "    WHEN 'button' THEN 'button reply'"
    "    WHEN 'contacts' THEN 'contact card'"
    "    WHEN 'audio' THEN 'voice message'"
    "    WHEN 'system' THEN 'notice'"
    "    ELSE substr(type, 1, 40) END,"
    /* substr would end them at a NUL. */
    "  iif(?2 < 2147483647, substr(words, 1, ?2), words),"
    "  iif(type = 'system', " FILLED("json", "$.system.wa_id") ", NULL),"
    /* Seconds, as a string; what is no number is no time. */
    "  iif(" TEXT("json", "$.timestamp") " NOT GLOB '*[^0-9]*'"
    "      AND length(" TEXT("json", "$.timestamp") ") BETWEEN 1 AND 11,"
    "    1000 * CAST(" TEXT("json", "$.timestamp") " AS INTEGER), 0)"
    " FROM worded LEFT JOIN contact ON contact.sender = ifnull(phone, scoped) ORDER BY key",

  [HOST_SEEN] = "INSERT OR IGNORE INTO seen VALUES (?1, ?2)",

  [HOST_KEEP] =
    "INSERT INTO conversation (instructor, channel, sender, name, last)"
    " VALUES (?1, ?2, ?3, ?4, ?5)"
    " ON CONFLICT DO UPDATE SET name = ifnull(excluded.name, name), last = excluded.last"
    " RETURNING ifnull(name, sender), id",

  [HOST_SAY] = "INSERT INTO said (conversation, kind, text, at_ms) VALUES (?1, ?2, ?3, ?4)",

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

  /* The one that was written to last comes first. */
  [HOST_THREADS] =
    "SELECT conversation.id, channel, sender, ifnull(name, sender), messages FROM conversation"
    " JOIN (SELECT conversation, count(*) AS messages, max(id) AS last FROM said GROUP BY 1)"
    "   AS thread ON thread.conversation = conversation.id ORDER BY thread.last DESC",

  [HOST_SAID] = "SELECT kind, text, at_ms FROM said WHERE conversation = ?1 ORDER BY id",
};

/* clang-format on */

/* A conversation of an instructor's. A group has no channel and no sender: it is nobody, so there
** is nothing to find a customer by. */
struct conversation {
  char id[CUSTMEM_ID_MAX + 1];
  int instructor;
  char *channel;
  char *sender;
  int64_t sender_size;
  char *name;
  char *last;
  int moved_to; /* the conversation, by number, that the sender goes on in; 0 for none */
  int shared;   /* the other instructor's with the same sender; 0 for none */
};

/* numbers      phone_number_id, of the instructors: the first that the stream has
** instructors  how many there are
** is_inbox     messages are kept in full, not only the last line of each conversation */
struct host {
  sqlite3 *db;
  sqlite3_stmt *stmts[HOST_STATEMENTS];
  char *numbers[INSTRUCTORS];
  int instructors;
  int is_inbox;
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
  host->instructors = INSTRUCTORS;
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

/* A column as text that ends at its NUL, "" for NULL; no byte of it is lost. To be freed. */
static char *as_text(sqlite3_stmt *row, int column) {
  const char *text = (const char *)sqlite3_column_text(row, column);
  return spell(text != NULL ? text : "", sqlite3_column_bytes(row, column), is_no_text);
}

/* Whose business number it is, or -1. A number not seen before is the next instructor's, as long
** as there is one. */
static int instructor_of(struct host *host, sqlite3_stmt *row, int column) {
  int64_t size;
  char *number = copied(row, column, &size);
  int i;
  for (i = 0; number != NULL && (int64_t)strlen(number) == size && i < host->instructors; i++) {
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
enum { MESSAGE_TEXT = MESSAGE_KIND + 1, MESSAGE_MOVED_TO, MESSAGE_AT };

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

/* Where a message comes from: the column of it that says who its sender is, and the channel.
**
** A phone number is one person's wherever it turns up, so its channel is "whatsapp". A
** business-scoped user id is unique within one business only, and elsewhere the same text may be
** another person: so the account that it came to is a part of its channel, "whatsapp/ACCOUNT".
** (WhatsApp may give one id to several accounts of a business. Then one person has two keys here,
** which a human can put right; two people with one key nobody could.) Where a message has both, the
** phone number is taken. A group is nobody: its channel is "". */
struct origin {
  int sender;
  int is_group;
  char *channel; /* to be freed */
};

static struct origin origin_of(sqlite3_stmt *row, const char *account) {
  struct origin origin;
  int by_phone = !is_null(row, MESSAGE_PHONE);
  origin.is_group = !is_null(row, MESSAGE_GROUP);
  origin.sender = origin.is_group ? MESSAGE_GROUP : by_phone ? MESSAGE_PHONE : MESSAGE_SCOPED;
  origin.channel = need(
    origin.is_group ? sqlite3_mprintf("")
    : by_phone      ? sqlite3_mprintf("whatsapp")
                    : sqlite3_mprintf("whatsapp/%s", account)
  );
  return origin;
}

/* What is spelled out must not look like what was so from the beginning. */
static int is_ambiguous(int32_t code) {
  return code == '\\' || is_unsafe(code);
}

/* The id of a sender's or a group's conversation with a business number: NUMBER:PHONE, NUMBER=ACCOUNT/USER or
** NUMBER/GROUP. No two have the same, whatever the text of a sender is (number and account are WhatsApp's
** own, and digits). To be freed. */
static char *conversation_id(
  const char *number,
  const char *channel,
  const char *sender,
  int64_t sender_size
) {
  char *spelled = spell(sender, sender_size, is_ambiguous);
  const char *account = strchr(channel, '/');
  char *id = need(
    account != NULL ? sqlite3_mprintf("%s=%s/%s", number, account + 1, spelled)
                    : sqlite3_mprintf("%s%c%s", number, channel[0] == '\0' ? '/' : ':', spelled)
  );
  sqlite3_free(spelled);
  return id;
}

/* Keeps what was said, of a conversation by its number. */
static void keep_words(struct host *host, sqlite3_stmt *row, int64_t conversation) {
  sqlite3_stmt *say = host->stmts[HOST_SAY];
  sqlite3_bind_int64(say, 1, conversation);
  sqlite3_bind_value(say, 2, sqlite3_column_value(row, MESSAGE_KIND));
  sqlite3_bind_value(say, 3, sqlite3_column_value(row, MESSAGE_TEXT));
  sqlite3_bind_value(say, 4, sqlite3_column_value(row, MESSAGE_AT));
  need(sqlite3_step(say) == SQLITE_DONE ? say : NULL);
  sqlite3_reset(say);
}

/* Notes a message, as long as there is room in the cell that it is for; an inbox has none. */
static void carry(
  const struct host *host,
  struct tally *tally,
  const char *format,
  const char *kind,
  const char *name
) {
  enum { ROOM = 400 };
  if (!host->is_inbox && sqlite3_str_length(tally->carried) < ROOM)
    note(tally->carried, format, kind, name);
}

/* Keeps a message that is new: its conversation, the name of the sender, the line for the inbox. */
static void keep_message(
  struct host *host,
  sqlite3_stmt *row,
  const char *account,
  int instructor,
  struct tally *tally
) {
  sqlite3_stmt *keep = host->stmts[HOST_KEEP];
  struct origin origin = origin_of(row, account);
  char *kind = shown(row, MESSAGE_KIND), *line = line_of(row), *name;
  sqlite3_bind_int(keep, 1, instructor);
  bind_text(keep, 2, origin.channel);
  sqlite3_bind_value(keep, 3, sqlite3_column_value(row, origin.sender));
  sqlite3_bind_value(keep, 4, sqlite3_column_value(row, MESSAGE_NAME));
  if (origin.is_group) bind_text(keep, 4, "(a group)");
  bind_text(keep, 5, line);
  need(sqlite3_step(keep) == SQLITE_ROW ? keep : NULL);
  name = shown(keep, 0);
  if (host->is_inbox) keep_words(host, row, sqlite3_column_int64(keep, 1));
  sqlite3_reset(keep);
  carry(host, tally, origin.is_group ? "%s in %!.60s" : "%s from %!.60s", kind, name);
  if (!is_null(row, MESSAGE_MOVED_TO) && origin.sender == MESSAGE_PHONE)
    keep_move(host, row, instructor, origin.channel);
  sqlite3_free(origin.channel);
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
  sqlite3_bind_int(row, 2, host->is_inbox ? INT_MAX : MAX_LAST);
  while (!is_stopped() && sqlite3_step(row) == SQLITE_ROW) {
    enum place place = place_of(host, change, row);
    tally->messages[place]++;
    if (place < INSTRUCTORS) {
      keep_message(host, row, account, (int)place, tally);
    } else {
      char *kind = shown(row, MESSAGE_KIND), *name = shown(row, MESSAGE_NAME);
      carry(host, tally, name[0] != '\0' ? "%s from %!.60s" : "%s", kind, name);
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

/* Reads one payload: what its messages leave is kept, and told in the tally. */
static enum kind read_payload(
  struct host *host,
  const char *payload,
  size_t size,
  struct tally *tally
) {
  static const char *const NOT_ONE[] = {
    [NOT_JSON] = "(not JSON)",
    [NOT_WEBHOOK] = "(JSON, but not a WhatsApp webhook)",
    [TOO_LONG] = "(longer than any webhook)"};
  sqlite3_stmt *change = host->stmts[HOST_CHANGES];
  enum kind kind = kind_of(host, payload, size);
  memset(tally, 0, sizeof *tally);
  tally->carried = need(sqlite3_str_new(NULL));
  if (kind == WEBHOOK) {
    sqlite3_bind_text64(change, 1, payload, size, SQLITE_STATIC, SQLITE_UTF8);
    while (!is_stopped() && sqlite3_step(change) == SQLITE_ROW)
      read_change(host, change, tally);
    sqlite3_reset(change);
    if (sqlite3_str_length(tally->carried) == 0) note(tally->carried, "nothing");
  } else {
    note(tally->carried, "%s", NOT_ONE[kind]);
  }
  return kind;
}

/* Reads up to the end of a line, of which at most MAX_PAYLOAD + 1 bytes are kept. 0 at the end of
** the file. */
static int read_line(FILE *file, char *line, size_t *size) {
  int byte = EOF;
  *size = 0;
  while (!is_stopped() && (byte = getc(file)) != EOF && byte != '\n')
    if (*size <= MAX_PAYLOAD) line[(*size)++] = (char)byte;
  return byte != EOF || *size > 0;
}

static int is_blank(const char *line, size_t size) {
  while (size > 0 && strchr(" \t\r", line[size - 1]) != NULL && line[size - 1] != '\0')
    size--;
  return size == 0;
}

/* Gives each line that is not blank to `use`, as long as that gives 1, somebody reads what is printed
** and nobody has asked to stop. The errno of a read that failed, or 0. */
static int each_line(
  FILE *file,
  int (*use)(void *ctx, const char *line, size_t size, int number),
  void *ctx
) {
  char *line = need(sqlite3_malloc(MAX_PAYLOAD + 1));
  int number, goes_on = 1, error;
  size_t size;
  errno = 0;
  for (number = 1; goes_on && !is_stopped() && read_line(file, line, &size); number++) {
    if (is_stopped() || ferror(file)) break; /* it may be half a line */
    work.lines = number;
    if (!is_blank(line, size)) goes_on = use(ctx, line, size, number) && output_error == 0;
  }
  error = ferror(file) && !is_stopped() ? errno : 0;
  sqlite3_free(line);
  return error;
}

/* The conversations as the stream has left them. */
static void load_conversations(struct host *host) {
  sqlite3_stmt *row = host->stmts[HOST_CONVERSATIONS];
  int64_t unused;
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
    conversation->name = as_text(row, 4);
    conversation->last = as_text(row, 5);
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
  struct table table = {.columns = 5, .limits = {8, 17, 21, 14, 37}};
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

/* What came of the stream, line by line and in all. */
struct reading {
  struct host *host;
  struct table table;
  int payloads;
  int messages[PLACES];
};

static int tell_payload(void *ctx, const char *line, size_t size, int number) {
  struct reading *reading = ctx;
  sqlite3_str *effect = need(sqlite3_str_new(NULL));
  struct tally tally;
  enum kind kind = read_payload(reading->host, line, size, &tally);
  int i;
  for (i = 0; i < PLACES; i++) {
    if (tally.messages[i] > 0) note(effect, "%d %s", tally.messages[i], PLACE[i]);
    reading->messages[i] += tally.messages[i];
  }
  if (sqlite3_str_length(effect) == 0)
    note(effect, kind == WEBHOOK ? "no customer in it" : "left out");
  add_cell(&reading->table, "%d", number);
  add_cell(&reading->table, "%s", need(sqlite3_str_value(tally.carried)));
  add_cell(&reading->table, "%s", need(sqlite3_str_value(effect)));
  sqlite3_free(sqlite3_str_finish(effect));
  sqlite3_free(sqlite3_str_finish(tally.carried));
  reading->payloads++;
  return 1;
}

/* The errno of a read that failed, or 0. */
static int tell_stream(struct demo *demo, FILE *file, const char *name) {
  static const char *const HEADS[] = {"line", "carries", "new messages"};
  struct reading reading = {
    .host = &demo->host, .table = {.columns = 3, .limits = {6, 58, 32}}};
  const int *messages = reading.messages;
  int error;
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
  add_heads(&reading.table, HEADS, COUNT_OF(HEADS));
  error = each_line(file, tell_payload, &reading);
  put_table(&reading.table, 0);
  put_empty_line();
  load_conversations(&demo->host);
  put_paragraph(
    0,
    "%d payload%s. %d new messages, %d for Marta and %d for Jonas, in %d conversations; %d "
    "repeated.",
    reading.payloads, reading.payloads == 1 ? "" : "s", messages[MARTA] + messages[JONAS],
    messages[MARTA], messages[JONAS], demo->host.count, messages[REPEATED]
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
  struct table table = {.columns = 7, .limits = {6, 20, 10, 13, 13, 10, 24}};
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
    } else if (demo->moved == NULL && next != NULL && next != one && next != demo->client && next != demo->other && has_phone(next)) {
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
      4, "%s audit verify %s %lld %s --instructor %s", self, path, (long long)demo->noted.count,
      demo->noted.hash, INSTRUCTOR[MARTA].id
    );
  put_line(4, "%s audit export %s --instructor %s", self, path, INSTRUCTOR[MARTA].id);
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
** raw       the sender as it came, with its size: it may be no text at all
** customer  of LINKED and CANDIDATE: how the customer is called in the store; else ""
** messages  at least one, in the order of the stream */
struct inbox_row {
  char *conversation_id;
  char *name;
  char *channel;
  char *raw;
  int64_t raw_size;
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
  int badges;      /* the feature flag (T6): without it no badge is shown at all */
  int is_resolved; /* custmem has answered, about every row that can be asked about */
};

/* A row of HOST_THREADS, with all that was said in it. */
static void load_row(struct host *host, sqlite3_stmt *thread, struct inbox_row *row) {
  sqlite3_stmt *said = host->stmts[HOST_SAID];
  const char *channel = (const char *)sqlite3_column_text(thread, 1);
  int i;
  memset(row, 0, sizeof *row);
  row->raw = copied(thread, 2, &row->raw_size);
  row->conversation_id = conversation_id(host->numbers[0], channel, row->raw, row->raw_size);
  row->name = as_text(thread, 3);
  if (channel[0] != '\0') row->channel = as_text(thread, 1);
  row->message_count = sqlite3_column_int(thread, 4);
  row->messages = need(sqlite3_malloc64((size_t)row->message_count * sizeof *row->messages));
  sqlite3_bind_int64(said, 1, sqlite3_column_int64(thread, 0));
  for (i = 0; i < row->message_count && sqlite3_step(said) == SQLITE_ROW; i++) {
    row->messages[i].kind = as_text(said, 0);
    row->messages[i].text = as_text(said, 1);
    row->messages[i].at_ms = sqlite3_column_int64(said, 2);
  }
  sqlite3_reset(said);
}

static void load_inbox(struct host *host, struct inbox *inbox) {
  sqlite3_stmt *thread = host->stmts[HOST_THREADS];
  int capacity = 0;
  while (sqlite3_step(thread) == SQLITE_ROW) {
    if (inbox->count == capacity) {
      capacity = capacity > 0 ? capacity * 2 : 64;
      inbox->rows =
        need(sqlite3_realloc64(inbox->rows, (sqlite3_uint64)capacity * sizeof *inbox->rows));
    }
    load_row(host, thread, &inbox->rows[inbox->count++]);
  }
  sqlite3_reset(thread);
}

static void free_inbox(struct inbox *inbox) {
  int i, j;
  for (i = 0; i < inbox->count; i++) {
    struct inbox_row *row = &inbox->rows[i];
    for (j = 0; j < row->message_count; j++) {
      sqlite3_free(row->messages[j].kind);
      sqlite3_free(row->messages[j].text);
    }
    sqlite3_free(row->messages);
    sqlite3_free(row->conversation_id);
    sqlite3_free(row->name);
    sqlite3_free(row->channel);
    sqlite3_free(row->raw);
  }
  sqlite3_free(inbox->rows);
}

/* One that is damaged does not take the others' names away. */
static void get_each(custmem *store, const struct inbox *inbox, custmem_customer *customers) {
  int i;
  for (i = 0; i < inbox->count; i++)
    if (inbox->rows[i].found.customer_id[0] != '\0')
      custmem_customer_get(
        store, inbox->instructor, inbox->rows[i].found.customer_id, &customers[i]
      );
}

/* How the customers of the rows are called in the store. */
static int name_customers(custmem *store, struct inbox *inbox) {
  size_t room = (size_t)inbox->count + 1;
  const char **ids = need(sqlite3_malloc64(room * sizeof *ids));
  custmem_customer *customers = need(sqlite3_malloc64(room * sizeof *customers));
  int i, rc;
  for (i = 0; i < inbox->count; i++)
    ids[i] = inbox->rows[i].found.customer_id;
  rc = custmem_customer_get_many(store, inbox->instructor, ids, inbox->count, customers);
  if (rc == CUSTMEM_CORRUPT) get_each(store, inbox, customers);
  for (i = 0; i < inbox->count; i++)
    snprintf(
      inbox->rows[i].customer, sizeof inbox->rows[i].customer, "%s", label(&customers[i])
    );
  sqlite3_free(ids);
  sqlite3_free(customers);
  return rc;
}

/* Does the code say that some row cannot be asked about or is damaged, while the others have their
** answers? */
static int is_about_a_row(int rc) {
  return rc == CUSTMEM_EMPTY || rc == CUSTMEM_TOO_LONG || rc == CUSTMEM_BAD_TEXT ||
         rc == CUSTMEM_CORRUPT;
}

/* Asks about all rows, as of one moment. A conversation that cannot be asked about, because its id
** is too long for custmem, is Unlinked; the status says that there is one. Where the store could not
** be asked at all, nothing is to be shown: "Unlinked" would not be true. */
static int resolve_inbox(custmem *store, struct inbox *inbox) {
  size_t room = (size_t)inbox->count + 1;
  custmem_query *queries = need(sqlite3_malloc64(room * sizeof *queries));
  custmem_resolution *found = need(sqlite3_malloc64(room * sizeof *found));
  int i, rc, status;
  for (i = 0; i < inbox->count; i++) {
    queries[i].conversation_id = inbox->rows[i].conversation_id;
    queries[i].channel = inbox->rows[i].channel;
    queries[i].raw_identifier = inbox->rows[i].channel != NULL ? inbox->rows[i].raw : NULL;
    queries[i].raw_size = inbox->rows[i].raw_size;
  }
  rc = custmem_resolve_many(store, inbox->instructor, queries, inbox->count, found);
  status = rc == CUSTMEM_OK ? DONE : refused(store, rc);
  inbox->is_resolved = rc == CUSTMEM_OK || is_about_a_row(rc);
  for (i = 0; i < inbox->count; i++) {
    inbox->rows[i].found = found[i];
    inbox->rows[i].badge = custmem_badge(&found[i]);
  }
  if (inbox->is_resolved) rc = name_customers(store, inbox);
  if (inbox->is_resolved && rc != CUSTMEM_OK) status = refused(store, rc);
  sqlite3_free(queries);
  sqlite3_free(found);
  return status;
}

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
static void write_page(const struct inbox *inbox) {
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
}

/* ---- Commands: the store ------------------------------------------------------------------- */

#define PAGE_SIZE 64 /* rows that are asked for at a time */

static const struct field STORE_FIELDS[] = {
  {"path", IS_TEXT, 0, "store", "the file"},
  {"result", IS_TEXT, 0, "result", "made, or there already"},
  {"store_id", IS_TEXT, 0, "id", "the store's own id; its audit is bound to it"},
  {"created_at", IS_TIME, 0, "made at", "when it was made"},
  {"schema_version", IS_NUMBER, 0, "schema", "the version of its tables"},
  {"rules_version", IS_NUMBER, 0, "rules",
   "the version of the rules that its keys were made by"},
};

static int run_init(const struct request *request, custmem *none) {
  const char *path = request->argv[0];
  int was_there = is_there(path);
  struct listing listing;
  custmem_info info;
  custmem *store;
  int rc, status = open_store(path, 0, &store);
  (void)none;
  if (status != DONE) return status;
  rc = custmem_store_info(store, &info);
  if (rc == CUSTMEM_OK) {
    open_listing(&listing, request, AS_RECORD);
    give_text(&listing, path);
    give_text(&listing, was_there ? "there already" : "made");
    give_text(&listing, info.id);
    give_number(&listing, info.created_at_ms);
    give_number(&listing, info.schema_version);
    give_number(&listing, info.rules_version);
    close_listing(&listing);
  } else {
    status = refused(store, rc);
  }
  custmem_close(store);
  return status;
}

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

static int is_for_people(const struct request *request) {
  return request->options[OPT_JSON] == NULL;
}

/* Whether what was found is to be printed: that all is sound, or to a program, where it is not. */
static int has_result(const struct request *request, int rc, const custmem_report *report) {
  return rc == CUSTMEM_OK || (!is_for_people(request) && report->fault != CUSTMEM_FAULT_NONE);
}

/* For programs; people are told in words. */
#define FAULT_FIELDS                                                                           \
  {"fault", IS_NUMBER, 0, NULL,                                                                \
   "the kind of the first fault, enum custmem_fault; 0 if sound"},                             \
    {"detail", IS_OPTIONAL, 0, NULL, "the same, as a sentence"},                               \
    {"instructor_id", IS_OPTIONAL, 0, NULL, "where it is: whose"},                             \
    {"seq", IS_NUMBER, 0, NULL, "the event; 0 for none"}, {                                    \
    "subject", IS_OPTIONAL, 0, NULL, "the id of the conversation or of the customer"           \
  }

static void give_fault(struct listing *listing, const custmem_report *report) {
  give_number(listing, report->fault);
  give_text(listing, report->detail);
  give_text(listing, report->instructor_id);
  give_number(listing, report->seq);
  give_text(listing, report->subject);
}

static const struct field CHECK_FIELDS[] = {
  {"instructors", IS_NUMBER, 0, "instructors", "how many were found sound"},
  {"customers", IS_NUMBER, 0, "customers", "how many were found sound"},
  {"links", IS_NUMBER, 0, "links", "how many were found sound"},
  {"events", IS_NUMBER, 0, "events", "how many were found sound"},
  FAULT_FIELDS,
};

static int run_check(const struct request *request, custmem *store) {
  struct listing listing;
  custmem_report report;
  int rc, status = DONE;
  begin_work(store, "check", 0);
  rc = custmem_check(store, &report);
  end_work();
  if (rc != CUSTMEM_OK) status = report_fault(store, rc, &report);
  if (!has_result(request, rc, &report)) return status;
  if (is_for_people(request)) put_line(0, "sound");
  open_listing(&listing, request, AS_RECORD);
  give_number(&listing, report.instructors);
  give_number(&listing, report.customers);
  give_number(&listing, report.links);
  give_number(&listing, report.events);
  give_fault(&listing, &report);
  close_listing(&listing);
  return status;
}

static const struct field BACKUP_FIELDS[] = {
  {"path", IS_TEXT, 0, "backup", "the copy"},
  {"bytes", IS_NUMBER, 0, "bytes", "its size"},
};

static int64_t file_size(const char *path) {
  struct stat file;
  return stat(path, &file) == 0 ? (int64_t)file.st_size : 0;
}

static int run_backup(const struct request *request, custmem *store) {
  const char *target = request->argv[1];
  struct listing listing;
  int rc;
  if (!is_file(target)) return USAGE;
  begin_work(store, "backup", 0);
  work.target = target;
  work.target_size = file_size(request->argv[0]);
  rc = custmem_backup(store, target);
  end_work();
  if (rc != CUSTMEM_OK) return refused(store, rc);
  open_listing(&listing, request, AS_RECORD);
  give_text(&listing, target);
  give_number(&listing, file_size(target));
  close_listing(&listing);
  return DONE;
}

/* ---- Commands: a line each ----------------------------------------------------------------- */

/* Work on the lines of standard input, with a row for each of them.
**
** reader        a statement of READ_OBJECT
** status        DONE until a line is refused or the store fails
** refused       how many lines came to nothing, if only in part
** refused_last  the number of the last of them */
struct stream {
  const struct request *request;
  custmem *store;
  struct host host;
  sqlite3_stmt *reader;
  struct listing listing;
  int status;
  int lines;
  int refused;
  int refused_last;
};

/* Nobody is asked for anything: who types a command without its arguments is told so. */
static int has_lines(const struct request *request, const char *missing) {
  if (!isatty(STDIN_FILENO)) return 1;
  complain(
    "%s: %s is missing; or give JSON lines on standard input", request->command->name, missing
  );
  return 0;
}

/* Gives the lines of standard input to `use`, and says at the end what became of them. */
static int run_lines(
  const struct request *request,
  custmem *store,
  int (*use)(void *ctx, const char *line, size_t size, int number)
) {
  struct stream stream;
  int error;
  memset(&stream, 0, sizeof stream);
  stream.request = request;
  stream.store = store;
  open_host(&stream.host);
  stream.reader = prepare(stream.host.db, READ_OBJECT);
  open_listing(&stream.listing, request, AS_TABLE);
  show_each_row(&stream.listing);
  begin_work(store, request->command->name, 1);
  error = each_line(stdin, use, &stream);
  end_work();
  close_listing(&stream.listing);
  sqlite3_finalize(stream.reader);
  close_host(&stream.host);
  if (stream.refused > 0) complain("%d of %d lines were refused", stream.refused, stream.lines);
  if (is_stopped()) complain("stopped after line %d", (int)work.lines);
  if (error != 0) complain("cannot read standard input: %s", strerror(error));
  return error != 0 ? INPUT_OUTPUT : stream.status;
}

/* Counts a line that came to nothing. The others are still looked at, unless it is the store that
** fails: then they would fare no better. */
static int refuse_line(struct stream *stream, int rc) {
  int is_about_the_line = rc < CUSTMEM_BUSY;
  stream->refused += stream->refused_last != work.lines;
  stream->refused_last = work.lines;
  stream->status = is_about_the_line ? REFUSED : status_of(rc);
  return is_about_the_line;
}

/* Reads a line of JSON that is an object. 0, and the object's message says why, if it is none. */
static int read_json_line(
  struct stream *stream,
  struct object *object,
  const char *line,
  size_t size
) {
  enum kind kind = kind_of(&stream->host, line, size);
  if (kind == TOO_LONG)
    spoil(object, "it is longer than any line may be");
  else if (kind == NOT_JSON)
    spoil(object, "it is not JSON");
  else
    return read_object(object, stream->reader, line, size);
  return 0;
}

/* Why an identifier on a line is no key: the library's word, or the channel that was meant. */
static void explain(struct object *object, const char *channel, const char *message) {
  char *fault = channel_fault(channel);
  spoil(object, "%s", fault != NULL ? fault : message);
  sqlite3_free(fault);
}

/* What a line that cannot be read is called in the place of a code of the library's. */
static const char BAD_LINE[] = "BAD_LINE";

#define LINE_FIELD                                                                             \
  { "line", IS_ORDINAL, 6, "line", "its line on standard input" }
#define ERROR_FIELDS                                                                           \
  {"error", IS_OPTIONAL, 0, NULL, "the code of a refusal, or BAD_LINE"}, {                     \
    "message", IS_OPTIONAL, INT_MAX, "message", "why it was refused"                           \
  }

/* ---- Commands: identifiers and customers --------------------------------------------------- */

static const struct field NORMALIZE_FIELDS[] = {
  LINE_FIELD,
  {"channel", IS_OPTIONAL, 24, "channel", "the channel"},
  {"identifier", IS_OPTIONAL, 32, "identifier", "as it was given"},
  {"normalized_identifier", IS_OPTIONAL, 24, "key", "the key; null if it is refused"},
  {"refusal", IS_OPTIONAL, 16, "refusal", "what it is refused for, or BAD_LINE"},
  {"message", IS_OPTIONAL, INT_MAX, "message", "the same, as a sentence"},
};

static void give_key(
  struct listing *listing,
  int line,
  const char *channel,
  const char *raw,
  const char *key,
  const char *refusal,
  const char *message
) {
  give_number(listing, line);
  give_text(listing, channel);
  give_text(listing, raw);
  give_text(listing, key);
  give_text(listing, refusal);
  give_text(listing, message);
}

static int normalize_line(void *ctx, const char *line, size_t size, int number) {
  struct stream *stream = ctx;
  struct object object = {.names = {"channel", "identifier"}, .count = 2, .required = 2};
  struct listing *listing = &stream->listing;
  const char *channel, *raw;
  char key[CUSTMEM_IDENTIFIER_MAX + 1];
  int refusal = CUSTMEM_ACCEPTED, is_read;
  stream->lines++;
  is_read = read_json_line(stream, &object, line, size);
  channel = object.values[0];
  raw = object.values[1];
  if (is_read) refusal = custmem_normalize(channel, raw, CUSTMEM_NUL_TERMINATED, key);
  if (!is_read) {
    give_key(listing, number, "", "", "", BAD_LINE, object.message);
  } else if (refusal == CUSTMEM_ACCEPTED) {
    give_key(listing, number, channel, raw, key, "", "");
  } else {
    explain(&object, channel, custmem_refusal_text(refusal));
    give_key(listing, number, channel, raw, "", custmem_refusal_name(refusal), object.message);
  }
  free_values(&object);
  return (is_read && refusal == CUSTMEM_ACCEPTED) ||
         refuse_line(stream, CUSTMEM_BAD_IDENTIFIER);
}

static int check_normalize(const struct request *request) {
  return request->argc > 0 || has_lines(request, "CHANNEL");
}

/* For people and for scripts it prints the key alone. */
static int run_normalize(const struct request *request, custmem *none) {
  const char *channel, *raw, *name = "", *text = "";
  char key[CUSTMEM_IDENTIFIER_MAX + 1];
  struct listing listing;
  int refusal;
  if (request->argc == 0) return run_lines(request, none, normalize_line);
  channel = request->argv[0];
  raw = request->argv[1];
  refusal = custmem_normalize(channel, raw, CUSTMEM_NUL_TERMINATED, key);
  if (refusal != CUSTMEM_ACCEPTED) {
    name = custmem_refusal_name(refusal);
    text = custmem_refusal_text(refusal);
    complain("%s: %s: %s", custmem_code_name(CUSTMEM_BAD_IDENTIFIER), name, text);
  }
  if (!is_for_people(request)) {
    open_listing(&listing, request, AS_RECORD);
    give_key(&listing, 0, channel, raw, key, name, text);
    close_listing(&listing);
  } else if (refusal == CUSTMEM_ACCEPTED) {
    put_line(0, "%s", key);
  }
  return refusal == CUSTMEM_ACCEPTED ? DONE : REFUSED;
}

#define CUSTOMER_FIELDS                                                                        \
  {"id", IS_OPTIONAL, 36, "customer", "the customer's id"},                                    \
    {"channel", IS_OPTIONAL, 24, "channel", "the channel"},                                    \
    {"normalized_identifier", IS_OPTIONAL, 40, "key", "the key, by which it is found"},        \
    {"display_identifier", IS_OPTIONAL, 40, "display", "what people call it; may be null"},    \
    {"created_at", IS_TIME, 0, "made at", "when it was made"}, {                               \
    "updated_at", IS_TIME, 0, "changed at", "when it was last changed"                         \
  }

static void give_customer(struct listing *listing, const custmem_customer *customer) {
  give_text(listing, customer->id);
  give_text(listing, customer->channel);
  give_text(listing, customer->normalized_identifier);
  give_text(listing, customer->display_identifier);
  give_number(listing, customer->created_at_ms);
  give_number(listing, customer->updated_at_ms);
}

static const struct field CUSTOMER[] = {CUSTOMER_FIELDS};

/* One customer: the id alone, if that was asked for. */
static int put_customer(const struct request *request, const custmem_customer *customer) {
  struct listing listing;
  if (request->options[OPT_ID] != NULL) {
    put_line(0, "%s", customer->id);
    return DONE;
  }
  open_listing(&listing, request, AS_RECORD);
  give_customer(&listing, customer);
  close_listing(&listing);
  return DONE;
}

static int run_list(const struct request *request, custmem *store) {
  static custmem_customer customers[PAGE_SIZE];
  const char *instructor = request->options[OPT_INSTRUCTOR];
  char after[CUSTMEM_UUID_SIZE + 1] = "";
  struct listing listing;
  int32_t count = PAGE_SIZE, i;
  int rc = CUSTMEM_OK;
  open_listing(&listing, request, AS_TABLE);
  while (rc == CUSTMEM_OK && count == PAGE_SIZE && output_error == 0) {
    rc = custmem_customer_list(
      store, instructor, after[0] != '\0' ? after : NULL, customers, PAGE_SIZE, &count
    );
    for (i = 0; i < count; i++)
      give_customer(&listing, &customers[i]);
    if (count > 0) memcpy(after, customers[count - 1].id, sizeof after);
  }
  close_listing(&listing);
  return rc == CUSTMEM_OK ? DONE : refused(store, rc);
}

static const struct field CREATE_FIELDS[] = {
  LINE_FIELD,
  {"result", IS_TEXT, 8, "result", "made, existing (it is returned as it is) or refused"},
  CUSTOMER_FIELDS,
  ERROR_FIELDS,
};

static void give_created(
  struct listing *listing,
  int line,
  const char *result,
  const custmem_customer *customer,
  const char *error,
  const char *message
) {
  give_number(listing, line);
  give_text(listing, result);
  give_customer(listing, customer);
  give_text(listing, error);
  give_text(listing, message);
}

/* Each line is a transaction of its own: done and reported, or refused and reported. */
static int create_line(void *ctx, const char *line, size_t size, int number) {
  struct stream *stream = ctx;
  struct object object = {
    .names = {"channel", "identifier", "display"}, .count = 3, .required = 2};
  const int64_t whole = CUSTMEM_NUL_TERMINATED;
  custmem_actor actor = actor_of(stream->request);
  custmem_customer customer;
  int32_t created = 0;
  int rc = CUSTMEM_BAD_TEXT, is_read = read_json_line(stream, &object, line, size);
  stream->lines++;
  memset(&customer, 0, sizeof customer);
  if (is_read)
    rc = custmem_customer_create(
      stream->store, &actor, object.values[0], object.values[1], whole, object.values[2], whole,
      &customer, &created
    );
  if (is_read && rc != CUSTMEM_OK)
    explain(&object, object.values[0], custmem_errmsg(stream->store));
  give_created(
    &stream->listing, number,
    rc != CUSTMEM_OK ? "refused"
    : created        ? "made"
                     : "existing",
    &customer,
    rc == CUSTMEM_OK ? ""
    : is_read        ? custmem_code_name(rc)
                     : BAD_LINE,
    object.message
  );
  free_values(&object);
  return rc == CUSTMEM_OK || refuse_line(stream, rc);
}

static int check_create(const struct request *request) {
  if (request->argc > 1) return 1;
  if (request->options[OPT_DISPLAY] == NULL && request->options[OPT_ID] == NULL)
    return has_lines(request, "CHANNEL");
  complain("%s: --display and --id go with CHANNEL and IDENTIFIER", request->command->name);
  return 0;
}

static int run_create(const struct request *request, custmem *store) {
  const char *display = request->options[OPT_DISPLAY];
  custmem_actor actor = actor_of(request);
  custmem_customer customer;
  struct listing listing;
  int32_t created;
  int rc;
  if (request->argc == 1) return run_lines(request, store, create_line);
  rc = custmem_customer_create(
    store, &actor, request->argv[1], request->argv[2], CUSTMEM_NUL_TERMINATED, display,
    CUSTMEM_NUL_TERMINATED, &customer, &created
  );
  if (rc != CUSTMEM_OK) return refused(store, rc);
  if (request->options[OPT_ID] != NULL) return put_customer(request, &customer);
  open_listing(&listing, request, AS_RECORD);
  give_created(&listing, 0, created ? "made" : "existing", &customer, "", "");
  close_listing(&listing);
  return DONE;
}

static int run_find(const struct request *request, custmem *store) {
  custmem_customer customer;
  int rc = custmem_customer_find(
    store, request->options[OPT_INSTRUCTOR], request->argv[1], request->argv[2],
    CUSTMEM_NUL_TERMINATED, &customer
  );
  return rc == CUSTMEM_OK ? put_customer(request, &customer) : refused(store, rc);
}

static int run_show(const struct request *request, custmem *store) {
  custmem_customer customer;
  int rc =
    custmem_customer_get(store, request->options[OPT_INSTRUCTOR], request->argv[1], &customer);
  return rc == CUSTMEM_OK ? put_customer(request, &customer) : refused(store, rc);
}

/* To leave the text out does not remove it: it may have been forgotten. */
static int check_set_display(const struct request *request) {
  if ((request->argc > 2) != (request->options[OPT_REMOVE] != NULL)) return 1;
  complain("%s: give either DISPLAY or --remove", request->command->name);
  return 0;
}

static int run_set_display(const struct request *request, custmem *store) {
  const char *display = request->argc > 2 ? request->argv[2] : NULL;
  custmem_actor actor = actor_of(request);
  custmem_customer customer;
  int rc = custmem_customer_set_display(
    store, &actor, request->argv[1], display, CUSTMEM_NUL_TERMINATED, &customer
  );
  return rc == CUSTMEM_OK ? put_customer(request, &customer) : refused(store, rc);
}

static const struct field CONVERSATION_FIELDS[] = {
  {"conversation_id", IS_TEXT, 64, "conversation", "the conversation's id"},
  {"customer_id", IS_TEXT, 0, NULL, "the customer that it is linked to"},
  {"audit_seq", IS_NUMBER, 10, "event", "the audit event that linked it"},
  {"updated_at", IS_TIME, 25, "linked at", "when it was linked"},
};

static int run_conversations(const struct request *request, custmem *store) {
  static custmem_conversation page[PAGE_SIZE];
  const char *instructor = request->options[OPT_INSTRUCTOR], *customer = request->argv[1];
  char after[CUSTMEM_ID_MAX + 1] = "";
  struct listing listing;
  int32_t count = PAGE_SIZE, i;
  int rc = CUSTMEM_OK;
  open_listing(&listing, request, AS_TABLE);
  while (rc == CUSTMEM_OK && count == PAGE_SIZE && output_error == 0) {
    rc = custmem_conversations(
      store, instructor, customer, after[0] != '\0' ? after : NULL, page, PAGE_SIZE, &count
    );
    for (i = 0; i < count; i++) {
      give_text(&listing, page[i].conversation_id);
      give_text(&listing, page[i].customer_id);
      give_number(&listing, page[i].audit_seq);
      give_number(&listing, page[i].updated_at_ms);
    }
    if (count > 0) memcpy(after, page[count - 1].conversation_id, sizeof after);
  }
  close_listing(&listing);
  return rc == CUSTMEM_OK ? DONE : refused(store, rc);
}

/* ---- Commands: who is writing? ------------------------------------------------------------- */

static const struct field RESOLVE_FIELDS[] = {
  LINE_FIELD,
  {"badge", IS_BADGE, 14, "badge", "the badge's label"},
  {"outcome", IS_OPTIONAL, 0, "outcome", "linked, candidate or unlinked"},
  {"why", IS_OPTIONAL, 16, "why", "why it came out so"},
  {"refusal", IS_OPTIONAL, 0, "refusal", "why the identifier was refused"},
  {"normalized_identifier", IS_OPTIONAL, 24, "key", "what was looked for"},
  {"customer_id", IS_OPTIONAL, 36, "customer", "the customer, if there is one"},
  {"conversation_id", IS_OPTIONAL, 64, "conversation", "the conversation's id"},
  {"step", IS_ORDINAL, 0, "step", "the step that decided: 1, 2 or 3"},
  {"rules_version", IS_ORDINAL, 0, NULL, "the version of the rules of normalization"},
  {"event_name", IS_OPTIONAL, 0, "event", "the conceptual event"},
  ERROR_FIELDS,
};

static void give_resolution(
  struct listing *listing,
  int line,
  const char *conversation,
  const custmem_resolution *found /* NULL: the line was refused */
) {
  const custmem_resolution none = {0}, *it = found != NULL ? found : &none;
  int is_answer = found != NULL;
  give_number(listing, line);
  give_text(listing, is_answer ? custmem_badge_label(custmem_badge(it)) : "");
  give_text(listing, is_answer ? custmem_outcome_name(it->outcome) : "");
  give_text(listing, is_answer ? custmem_why_name(it->why) : "");
  give_text(listing, it->refusal != 0 ? custmem_refusal_name(it->refusal) : "");
  give_text(listing, it->normalized_identifier);
  give_text(listing, it->customer_id);
  give_text(listing, conversation);
  give_number(listing, it->step);
  give_number(listing, it->rules_version);
  give_text(listing, it->event_name);
}

/* Resolves, and gives a row. 1 to go on. */
static int resolve_one(struct stream *stream, int line, const custmem_query *query) {
  custmem_resolution found;
  int rc = custmem_resolve(
    stream->store, stream->request->options[OPT_INSTRUCTOR], query->conversation_id,
    query->channel, query->raw_identifier, query->raw_size, &found
  );
  give_resolution(
    &stream->listing, line, query->conversation_id, rc == CUSTMEM_OK ? &found : NULL
  );
  give_text(&stream->listing, rc == CUSTMEM_OK ? "" : custmem_code_name(rc));
  give_text(&stream->listing, rc == CUSTMEM_OK ? "" : custmem_errmsg(stream->store));
  return rc == CUSTMEM_OK || refuse_line(stream, rc);
}

/* Resolves the sender of a message. One that has no sender, or was sent to another number, is
** nobody's here. */
static int resolve_message(
  struct stream *stream,
  int line,
  sqlite3_stmt *change,
  sqlite3_stmt *message
) {
  char *account = shown(change, 0), *number = shown(change, 2), *raw;
  const char *wanted = stream->request->options[OPT_NUMBER];
  struct origin origin = origin_of(message, account);
  custmem_query query;
  int goes_on = 1;
  raw = copied(message, origin.sender, &query.raw_size);
  if (raw != NULL && number[0] != '\0' && (wanted == NULL || strcmp(wanted, number) == 0)) {
    char *id = conversation_id(number, origin.channel, raw, query.raw_size);
    query.conversation_id = id;
    query.channel = origin.is_group ? NULL : origin.channel;
    query.raw_identifier = origin.is_group ? NULL : raw;
    goes_on = resolve_one(stream, line, &query);
    sqlite3_free(id);
  }
  sqlite3_free(account);
  sqlite3_free(number);
  sqlite3_free(raw);
  sqlite3_free(origin.channel);
  return goes_on;
}

static int resolve_payload(struct stream *stream, int line, const char *payload, size_t size) {
  sqlite3_stmt *change = stream->host.stmts[HOST_CHANGES];
  sqlite3_stmt *message = stream->host.stmts[HOST_MESSAGES];
  int goes_on = 1;
  sqlite3_bind_text64(change, 1, payload, size, SQLITE_STATIC, SQLITE_UTF8);
  while (goes_on && !is_stopped() && sqlite3_step(change) == SQLITE_ROW) {
    sqlite3_bind_value(message, 1, sqlite3_column_value(change, 3));
    sqlite3_bind_int(message, 2, 0);
    while (goes_on && !is_stopped() && sqlite3_step(message) == SQLITE_ROW)
      goes_on = resolve_message(stream, line, change, message);
    sqlite3_reset(message);
  }
  sqlite3_reset(change);
  return goes_on;
}

/* A line is a webhook, with a row for each message, or names one conversation. */
static int resolve_line(void *ctx, const char *line, size_t size, int number) {
  struct stream *stream = ctx;
  struct object object = {
    .names = {"conversation_id", "channel", "identifier"}, .count = 3, .required = 1};
  int goes_on;
  stream->lines++;
  if (kind_of(&stream->host, line, size) == WEBHOOK)
    return resolve_payload(stream, number, line, size);
  if (read_json_line(stream, &object, line, size)) {
    custmem_query query = {
      object.values[0], object.values[1], object.values[2], CUSTMEM_NUL_TERMINATED};
    goes_on = resolve_one(stream, number, &query);
  } else {
    give_resolution(&stream->listing, number, "", NULL);
    give_text(&stream->listing, BAD_LINE);
    give_text(&stream->listing, object.message);
    goes_on = refuse_line(stream, CUSTMEM_BAD_TEXT);
  }
  free_values(&object);
  return goes_on;
}

static int check_resolve(const struct request *request) {
  return request->argc > 1 || has_lines(request, "CONVERSATION");
}

static int run_resolve(const struct request *request, custmem *store) {
  custmem_resolution found;
  struct listing listing;
  int rc;
  if (request->argc == 1) return run_lines(request, store, resolve_line);
  rc = custmem_resolve(
    store, request->options[OPT_INSTRUCTOR], request->argv[1],
    request->argc > 2 ? request->argv[2] : NULL, request->argc > 2 ? request->argv[3] : NULL,
    CUSTMEM_NUL_TERMINATED, &found
  );
  if (rc != CUSTMEM_OK) return refused(store, rc);
  open_listing(&listing, request, AS_RECORD);
  give_resolution(&listing, 0, request->argv[1], &found);
  give_text(&listing, "");
  give_text(&listing, "");
  close_listing(&listing);
  return DONE;
}

enum { INBOX_BADGE = 3, INBOX_COPY, INBOX_CUSTOMER };

static const struct field INBOX_FIELDS[] = {
  {"name", IS_TEXT, 20, "name", "of who writes, as they call themselves"},
  {NULL, IS_TEXT, 24, "last message", ""},
  {"last_at", IS_TIME, 25, "when", "when the last message was sent"},
  [INBOX_BADGE] = {"badge", IS_BADGE, 14, "badge", "the badge's label"},
  [INBOX_COPY] = {"badge_copy", IS_TEXT, 37, "", "the words beside it"},
  [INBOX_CUSTOMER] =
    {"customer", IS_OPTIONAL, 20, "customer", "what the store calls the customer"},
  {"conversation_id", IS_TEXT, INT_MAX, "conversation", "the conversation's id"},
  {"customer_id", IS_OPTIONAL, 0, NULL, "the customer, if there is one"},
  {"outcome", IS_TEXT, 0, NULL, "linked, candidate or unlinked"},
  {"why", IS_TEXT, 0, NULL, "why it came out so"},
  {"channel", IS_OPTIONAL, 0, NULL, "the channel; null for a group"},
  {"identifier", IS_OPTIONAL, 0, NULL, "of who writes, as it came; null for a group"},
  {"messages", IS_NUMBER, 0, NULL, "how many there are"},
  {"last_kind", IS_TEXT, 0, NULL, "what the last message is: text, image, ..."},
  {"last_text", IS_OPTIONAL, 0, NULL, "its text or caption"},
};

static void give_inbox_row(struct listing *listing, const struct inbox_row *row) {
  const struct message *last = &row->messages[row->message_count - 1];
  int is_plain = strcmp(last->kind, "text") == 0;
  char *line = need(
    is_plain ? sqlite3_mprintf("%s", last->text)
             : sqlite3_mprintf("[%s] %s", last->kind, last->text)
  );
  char *raw = spell(row->raw, row->raw_size, is_no_text);
  give_text(listing, row->name);
  give_text(listing, line);
  give_number(listing, last->at_ms);
  give_text(listing, custmem_badge_label(row->badge));
  give_text(listing, custmem_badge_copy(row->badge));
  give_text(listing, row->customer);
  give_text(listing, row->conversation_id);
  give_text(listing, row->found.customer_id);
  give_text(listing, custmem_outcome_name(row->found.outcome));
  give_text(listing, custmem_why_name(row->found.why));
  give_text(listing, row->channel != NULL ? row->channel : "");
  give_text(listing, row->channel != NULL ? raw : "");
  give_number(listing, row->message_count);
  give_text(listing, last->kind);
  give_text(listing, last->text);
  sqlite3_free(line);
  sqlite3_free(raw);
}

/* As a table or as JSON. Without the flag, a table says nothing about customers. */
static void put_inbox(const struct request *request, const struct inbox *inbox) {
  struct listing listing;
  struct field fields[COUNT_OF(INBOX_FIELDS)];
  int i;
  memcpy(fields, INBOX_FIELDS, sizeof fields);
  for (i = INBOX_BADGE; i <= INBOX_CUSTOMER && !inbox->badges; i++)
    fields[i].heading = NULL;
  open_fields(&listing, fields, COUNT_OF(fields), AS_TABLE, !is_for_people(request));
  for (i = 0; i < inbox->count; i++)
    give_inbox_row(&listing, &inbox->rows[i]);
  close_listing(&listing);
}

static int keep_payload(void *ctx, const char *line, size_t size, int number) {
  struct tally tally;
  (void)number;
  read_payload(ctx, line, size, &tally);
  sqlite3_free(sqlite3_str_finish(tally.carried));
  return 1;
}

/* Reads the stream of one business number. */
static int read_stream(struct host *host, const char *name, const char *number) {
  FILE *file = strcmp(name, "-") == 0 ? stdin : fopen(name, "rb");
  int error = file == NULL ? errno : 0;
  host->is_inbox = 1;
  host->instructors = 1;
  host->numbers[0] = need(sqlite3_mprintf("%s", number));
  if (error == 0) error = each_line(file, keep_payload, host);
  if (file != NULL && file != stdin) fclose(file);
  if (error == 0 || is_stopped()) return DONE;
  complain("cannot read %s: %s", name, strerror(error));
  return INPUT_OUTPUT;
}

static int check_inbox(const struct request *request) {
  if (request->options[OPT_HTML] == NULL || is_for_people(request)) return 1;
  complain("%s: give --html or --json, not both", request->command->name);
  return 0;
}

static int run_inbox(const struct request *request, custmem *store) {
  struct inbox inbox = {.instructor = request->options[OPT_INSTRUCTOR]};
  struct host host;
  int status;
  inbox.badges = request->options[OPT_BADGES] != NULL;
  open_host(&host);
  begin_work(store, "inbox", 0);
  status = read_stream(&host, request->argv[1], request->options[OPT_NUMBER]);
  if (status == DONE && !is_stopped()) {
    load_inbox(&host, &inbox);
    status = resolve_inbox(store, &inbox);
  }
  end_work();
  if (inbox.is_resolved && request->options[OPT_HTML] != NULL)
    write_page(&inbox);
  else if (inbox.is_resolved)
    put_inbox(request, &inbox);
  free_inbox(&inbox);
  close_host(&host);
  return status;
}

/* ---- Commands: links ----------------------------------------------------------------------- */

/* A head as it is noted down, to be an anchor later: "6 ab12…". */
static void write_head(char *text, size_t size, const custmem_head *head) {
  snprintf(text, size, "%lld %s", (long long)head->count, head->hash);
}

#define HEAD_TEXT_SIZE (CUSTMEM_HASH_SIZE + 24)

#define HEAD_FIELDS                                                                            \
  {NULL, IS_TEXT, 0, "head", ""},                                                              \
    {"count", IS_NUMBER, 0, NULL, "how many events the instructor's audit has"}, {             \
    "head", IS_TEXT, 0, NULL, "the hash of the last; with count it is the anchor for later"    \
  }

static void give_head(struct listing *listing, const custmem_head *head) {
  char text[HEAD_TEXT_SIZE];
  write_head(text, sizeof text, head);
  give_text(listing, text);
  give_number(listing, head->count);
  give_text(listing, head->hash);
}

static const struct field WRITTEN_FIELDS[] = {
  {"conversation_id", IS_TEXT, 0, "conversation", "the conversation's id"},
  {"previous_customer_id", IS_OPTIONAL, 0, "before", "the customer before; null for none"},
  {"customer_id", IS_OPTIONAL, 0, "now", "the customer now; null for none"},
  {"seq", IS_NUMBER, 0, "event", "the audit event that this is"},
  {"created_at", IS_TIME, 0, "when", "when"},
  HEAD_FIELDS,
};

static int put_written(
  const struct request *request,
  const custmem *store,
  int rc,
  const char *before,
  const custmem_written *written
) {
  struct listing listing;
  if (rc != CUSTMEM_OK) return refused(store, rc);
  open_listing(&listing, request, AS_RECORD);
  give_text(&listing, request->argv[1]);
  give_text(&listing, before);
  give_text(&listing, written->current_customer_id);
  give_number(&listing, written->seq);
  give_number(&listing, written->created_at_ms);
  give_head(&listing, &written->head);
  close_listing(&listing);
  return DONE;
}

static int run_link(const struct request *request, custmem *store) {
  const int64_t size = CUSTMEM_NUL_TERMINATED;
  custmem_actor actor = actor_of(request);
  custmem_written written;
  int rc = custmem_link(
    store, &actor, request->argv[1], request->argv[2], request->options[OPT_REASON], size,
    request->options[OPT_CONTEXT], size, &written
  );
  return put_written(request, store, rc, "", &written);
}

static int run_relink(const struct request *request, custmem *store) {
  const int64_t size = CUSTMEM_NUL_TERMINATED;
  custmem_actor actor = actor_of(request);
  custmem_written written;
  int rc = custmem_relink(
    store, &actor, request->argv[1], request->argv[2], request->argv[3],
    request->options[OPT_REASON], size, request->options[OPT_CONTEXT], size, &written
  );
  return put_written(request, store, rc, request->argv[2], &written);
}

static int run_unlink(const struct request *request, custmem *store) {
  const int64_t size = CUSTMEM_NUL_TERMINATED;
  custmem_actor actor = actor_of(request);
  custmem_written written;
  int rc = custmem_unlink(
    store, &actor, request->argv[1], request->argv[2], request->options[OPT_REASON], size,
    request->options[OPT_CONTEXT], size, &written
  );
  return put_written(request, store, rc, request->argv[2], &written);
}

/* ---- Commands: history and audit ----------------------------------------------------------- */

/* People see customers by name, programs by id. */
static const struct field EVENT_FIELDS[] = {
  {NULL, IS_NUMBER, 8, "event", ""},
  {NULL, IS_TIME, 25, "when", ""},
  {NULL, IS_TEXT, 10, "what", ""},
  {NULL, IS_TEXT, 16, "from", ""},
  {NULL, IS_TEXT, 16, "to", ""},
  {NULL, IS_TEXT, 16, "by", ""},
  {NULL, IS_TEXT, INT_MAX, "reason", ""},
  {"instructor_id", IS_TEXT, 0, NULL, "whose it is"},
  {"seq", IS_NUMBER, 0, NULL, "1, 2, 3 and so on"},
  {"event_name", IS_TEXT, 0, NULL,
   "conversation.customer_linked, ..._relinked or ..._unlinked"},
  {"conversation_id", IS_TEXT, 0, NULL, "the conversation's id"},
  {"previous_customer_id", IS_OPTIONAL, 0, NULL, "the customer before; null for none"},
  {"new_customer_id", IS_OPTIONAL, 0, NULL, "the customer after; null for none"},
  {"actor_type", IS_TEXT, 0, NULL, "human"},
  {"actor_id", IS_OPTIONAL, 0, NULL, "who"},
  {"reason", IS_TEXT, 0, NULL, "why"},
  {"context", IS_OPTIONAL, 0, NULL, "more for a reader; may be null"},
  {"created_at", IS_NUMBER, 0, NULL, "when, in Unix milliseconds"},
  {"hash", IS_TEXT, 0, NULL, "of this event and all before it"},
};

static void give_customer_name(
  struct listing *listing,
  custmem *store,
  const char *instructor,
  const char *id
) {
  custmem_customer customer;
  int is_asked = id[0] != '\0' && listing->db == NULL;
  int is_known =
    is_asked && custmem_customer_get(store, instructor, id, &customer) == CUSTMEM_OK;
  give_text(listing, id[0] == '\0' ? "-" : is_known ? label(&customer) : id);
}

static void give_event(struct listing *listing, custmem *store, const custmem_event *event) {
  const char *what = strrchr(event->event_name, '_');
  give_number(listing, event->seq);
  give_number(listing, event->created_at_ms);
  give_text(listing, what != NULL ? what + 1 : event->event_name);
  give_customer_name(listing, store, event->instructor_id, event->previous_customer_id);
  give_customer_name(listing, store, event->instructor_id, event->new_customer_id);
  give_text(listing, event->actor_id);
  give_text(listing, event->reason);
  give_text(listing, event->instructor_id);
  give_number(listing, event->seq);
  give_text(listing, event->event_name);
  give_text(listing, event->conversation_id);
  give_text(listing, event->previous_customer_id);
  give_text(listing, event->new_customer_id);
  give_text(listing, event->actor_type == CUSTMEM_ACTOR_SYSTEM ? "system" : "human");
  give_text(listing, event->actor_id);
  give_text(listing, event->reason);
  give_text(listing, event->context);
  give_number(listing, event->created_at_ms);
  give_text(listing, event->hash);
}

static int run_history(const struct request *request, custmem *store) {
  static custmem_event events[PAGE_SIZE];
  const char *instructor = request->options[OPT_INSTRUCTOR];
  struct listing listing;
  int64_t after = 0;
  int32_t count = PAGE_SIZE, i;
  int rc = CUSTMEM_OK;
  open_listing(&listing, request, AS_TABLE);
  while (rc == CUSTMEM_OK && count == PAGE_SIZE && output_error == 0) {
    rc = custmem_history(store, instructor, request->argv[1], after, events, PAGE_SIZE, &count);
    for (i = 0; i < count; i++)
      give_event(&listing, store, &events[i]);
    if (count > 0) after = events[count - 1].seq;
  }
  close_listing(&listing);
  return rc == CUSTMEM_OK ? DONE : refused(store, rc);
}

static const struct field TRAIL_FIELDS[] = {
  {"store_id", IS_TEXT, 0, NULL, "the store's own id"},
  {"instructor_id", IS_TEXT, 0, NULL, "whose audit it is"},
  {"count", IS_NUMBER, 0, NULL, "how many events there are"},
  {"head", IS_TEXT, 0, NULL, "the hash of the last; with count it is the anchor for later"},
};

/* Reads where the chain stands. For people it is one line to be noted down, for programs JSON. */
static int put_trail_head(
  const struct request *request,
  custmem *store,
  int is_json,
  custmem_head *head
) {
  const char *instructor = request->options[OPT_INSTRUCTOR];
  struct listing listing;
  custmem_info info;
  int rc = custmem_store_info(store, &info);
  if (rc == CUSTMEM_OK) rc = custmem_audit_head(store, instructor, head);
  if (rc != CUSTMEM_OK) return refused(store, rc);
  if (!is_json) {
    put_line(0, "%lld %s", (long long)head->count, head->hash);
    return DONE;
  }
  open_fields(&listing, TRAIL_FIELDS, COUNT_OF(TRAIL_FIELDS), AS_TABLE, 1);
  give_text(&listing, info.id);
  give_text(&listing, instructor);
  give_number(&listing, head->count);
  give_text(&listing, head->hash);
  close_listing(&listing);
  return DONE;
}

static int run_head(const struct request *request, custmem *store) {
  custmem_head head;
  return put_trail_head(request, store, !is_for_people(request), &head);
}

/* The events up to the head that the first line has named. Another process may add some meanwhile:
** they are left to the next export, so that the first line always describes what follows. */
static int put_trail(
  const struct request *request,
  custmem *store,
  const custmem_head *head,
  struct listing *listing
) {
  static custmem_event events[PAGE_SIZE];
  const char *instructor = request->options[OPT_INSTRUCTOR];
  int64_t after = 0;
  while (after < head->count && output_error == 0) {
    int32_t count, i;
    int rc = custmem_audit_read(store, instructor, after, events, PAGE_SIZE, &count);
    if (rc != CUSTMEM_OK) return refused(store, rc);
    if (count == 0) return DONE;
    for (i = 0; i < count && events[i].seq <= head->count; i++)
      give_event(listing, store, &events[i]);
    after = events[count - 1].seq;
  }
  return DONE;
}

static int run_export(const struct request *request, custmem *store) {
  struct listing listing;
  custmem_head head;
  int status = put_trail_head(request, store, 1, &head);
  if (status != DONE) return status;
  open_fields(&listing, EVENT_FIELDS, COUNT_OF(EVENT_FIELDS), AS_TABLE, 1);
  status = put_trail(request, store, &head, &listing);
  close_listing(&listing);
  return status;
}

/* An anchor as it is written down: a count in decimal, a hash in lower-case hexadecimal. */
static int read_count(const char *word, int64_t *count) {
  errno = 0;
  *count = strtoll(word, NULL, 10);
  if (errno == 0 && word[0] != '\0' && strspn(word, "0123456789") == strlen(word)) return 1;
  complain("COUNT is a number of events, as it was noted: not \"%s\"", word);
  return 0;
}

static int is_hash(const char *word) {
  size_t digits = strspn(word, "0123456789abcdef");
  if (digits == CUSTMEM_HASH_SIZE && word[digits] == '\0') return 1;
  complain("HASH is %d digits, 0 to 9 and a to f: not \"%s\"", CUSTMEM_HASH_SIZE, word);
  return 0;
}

static const struct field VERIFY_FIELDS[] = {
  {"events", IS_NUMBER, 0, "events", "how many were found sound"},
  {"links", IS_NUMBER, 0, "links", "how many were found to be what the events say"},
  HEAD_FIELDS,
  FAULT_FIELDS,
};

static int run_verify(const struct request *request, custmem *store) {
  const char *instructor = request->options[OPT_INSTRUCTOR];
  int has_anchor = request->argc > 1;
  custmem_head anchor;
  custmem_report report;
  struct listing listing;
  int rc, status = DONE;
  if (has_anchor) {
    read_count(request->argv[1], &anchor.count);
    memcpy(anchor.hash, request->argv[2], sizeof anchor.hash);
  }
  begin_work(store, "audit verify", 0);
  rc = custmem_audit_verify(store, instructor, has_anchor ? &anchor : NULL, &report);
  end_work();
  if (rc != CUSTMEM_OK) status = report_fault(store, rc, &report);
  if (!has_result(request, rc, &report)) return status;
  if (is_for_people(request))
    put_line(0, has_anchor ? "sound, and it continues the anchor" : "sound");
  open_listing(&listing, request, AS_RECORD);
  give_number(&listing, report.events);
  give_number(&listing, report.links);
  give_head(&listing, &report.head);
  give_fault(&listing, &report);
  close_listing(&listing);
  return status;
}

/* ---- Table --------------------------------------------------------------------------------- */

static int run_demo_on(const struct request *request, custmem *none) {
  (void)none;
  return run_demo(request->argc, request->argv);
}

static int run_help(const struct request *request, custmem *none);
static int run_version(const struct request *request, custmem *none);
static int run_completion(const struct request *request, custmem *none);
static int run_man(const struct request *request, custmem *none);

/* What the arguments are, by the names that they have in the table. */
enum argument_kind { A_WORD, A_FILE, A_CHANNEL, A_COUNT, A_HASH, A_SHELL, A_COMMAND };

static const struct argument {
  const char *name;
  enum argument_kind kind;
  const char *meaning;
} ARGUMENTS[] = {
  {"STORE", A_FILE, "the file of a store"},
  {"TARGET", A_FILE, "the file to be made; it must not be there"},
  {"STREAM", A_FILE, "a file of JSON lines, a WhatsApp webhook each; - is standard input"},
  {"FILE", A_FILE, "a file of JSON lines, a WhatsApp webhook each"},
  {"CHANNEL", A_CHANNEL, CHANNEL_MEANING},
  {"IDENTIFIER", A_WORD,
   "who it is on that channel, as it arrives: a number, an address, an id"},
  {"CUSTOMER", A_WORD, "a customer's id"},
  {"CURRENT", A_WORD, "the id of the customer that it is linked to now"},
  {"NEW", A_WORD, "the id of the customer that it is to be linked to"},
  {"CONVERSATION", A_WORD, "a conversation's id"},
  {"DISPLAY", A_WORD, "what people call the customer"},
  {"COUNT", A_COUNT, "how many events there were when the head was noted"},
  {"HASH", A_HASH, "the hash that was noted"},
  {"SHELL", A_SHELL, "bash or zsh"},
  {"COMMAND", A_COMMAND, "the name of a command"},
  {"SUBCOMMAND", A_WORD, "its second word, if it has two"},
};

static const char *const SHELLS[] = {"bash", "zsh"};

/* The commands of two words, by their first. */
static const struct group {
  const char *name, *summary;
} GROUPS[] = {
  {"customers", "the customers of an instructor"},
  {"audit", "the record of who linked whom"},
};

#define FIELDS(array) .fields = (array), .field_count = (int)COUNT_OF(array)
#define READER        HAS(OPT_INSTRUCTOR)
#define WRITER        (HAS(OPT_INSTRUCTOR) | HAS(OPT_ACTOR))
#define HUMAN_WRITER  (WRITER | HAS(OPT_REASON))

/* The examples can be pasted one after the other, in this order. */
static const struct command COMMANDS[] = {
  {.name = "init",
   .run = run_init,
   .arguments = "STORE",
   .allowed = HAS(OPT_JSON),
   FIELDS(STORE_FIELDS),
   .summary = "make a store",
   .help =
     "Makes the file, readable by its owner alone. Where there is a store already, it is left "
     "as it is. No other command makes a store.",
   .example = "custmem init inbox.db"},
  {.name = "normalize",
   .run = run_normalize,
   .check = check_normalize,
   .arguments = "[CHANNEL IDENTIFIER]",
   .allowed = HAS(OPT_JSON),
   FIELDS(NORMALIZE_FIELDS),
   .summary = "print the key that an identifier has, or why it has none",
   .help =
     "Prints the key, by which customers are found however the identifier is spelled. Needs "
     "no store. Without arguments it reads JSON lines from standard input, objects with "
     "channel and identifier, and prints a row for each.",
   .example = "custmem normalize whatsapp '+39 333 1234567'"},
  {.name = "customers create",
   .run = run_create,
   .access = WRITES,
   .check = check_create,
   .arguments = "STORE [CHANNEL IDENTIFIER]",
   .required = WRITER,
   .allowed = HAS(OPT_DISPLAY) | HAS(OPT_ID) | HAS(OPT_JSON),
   FIELDS(CREATE_FIELDS),
   .summary = "make a customer, or many",
   .help =
     "Makes a customer with this identifier, or finds the one who has it: never a second one. "
     "Without CHANNEL and IDENTIFIER it reads JSON lines from standard input, objects with "
     "channel, identifier and perhaps display, and prints a row for each. A line is done and "
     "reported, or refused and reported; those after a refused one are still read, and the "
     "exit "
     "status is 1.",
   .example = "custmem customers create inbox.db whatsapp '+39 333 1234567' --display Anna \\\n"
              "  --instructor marta --actor user-marta"},
  {.name = "customers list",
   .run = run_list,
   .access = READS,
   .arguments = "STORE",
   .required = READER,
   .allowed = HAS(OPT_JSON),
   FIELDS(CUSTOMER),
   .summary = "list an instructor's customers",
   .help = "About in the order in which they were made.",
   .example = "custmem customers list inbox.db --instructor marta"},
  {.name = "customers find",
   .run = run_find,
   .access = READS,
   .arguments = "STORE CHANNEL IDENTIFIER",
   .required = READER,
   .allowed = HAS(OPT_ID) | HAS(OPT_JSON),
   FIELDS(CUSTOMER),
   .summary = "find the customer with an identifier",
   .help = "However it is spelled: it is normalized first.",
   .example = "custmem customers find inbox.db whatsapp +393331234567 --instructor marta"},
  {.name = "customers show",
   .run = run_show,
   .access = READS,
   .arguments = "STORE CUSTOMER",
   .required = READER,
   .allowed = HAS(OPT_ID) | HAS(OPT_JSON),
   FIELDS(CUSTOMER),
   .summary = "show a customer by id",
   .help = "Another instructor's customer is no customer here.",
   .example =
     "anna=$(custmem customers find inbox.db whatsapp 393331234567 --instructor marta --id)\n"
     "custmem customers show inbox.db \"$anna\" --instructor marta"},
  {.name = "customers set-display",
   .run = run_set_display,
   .access = WRITES,
   .check = check_set_display,
   .arguments = "STORE CUSTOMER [DISPLAY]",
   .required = WRITER,
   .allowed = HAS(OPT_REMOVE) | HAS(OPT_JSON),
   FIELDS(CUSTOMER),
   .summary = "set or remove what people call a customer",
   .help = "It is for people to read, and never used to find anybody.",
   .example =
     "anna=$(custmem customers find inbox.db whatsapp 393331234567 --instructor marta --id)\n"
     "custmem customers set-display inbox.db \"$anna\" 'Anna B.' --instructor marta \\\n"
     "  --actor user-marta"},
  {.name = "customers conversations",
   .run = run_conversations,
   .access = READS,
   .arguments = "STORE CUSTOMER",
   .required = READER,
   .allowed = HAS(OPT_JSON),
   FIELDS(CONVERSATION_FIELDS),
   .summary = "list the conversations that are linked to a customer",
   .help = "Ordered by the conversation's id.",
   .example =
     "anna=$(custmem customers find inbox.db whatsapp 393331234567 --instructor marta --id)\n"
     "custmem customers conversations inbox.db \"$anna\" --instructor marta"},
  {.name = "resolve",
   .run = run_resolve,
   .access = READS,
   .check = check_resolve,
   .arguments = "STORE [CONVERSATION [CHANNEL IDENTIFIER]]",
   .required = READER,
   .allowed = HAS(OPT_NUMBER) | HAS(OPT_JSON),
   FIELDS(RESOLVE_FIELDS),
   .summary = "say which customer a conversation is, writing nothing",
   .help =
     "By the link that a human has made, else by the one customer who has the identifier, "
     "else nobody. Without CONVERSATION it reads lines from standard input and prints a row "
     "for each: JSON objects with conversation_id and perhaps channel and identifier, or "
     "WhatsApp webhooks, whose messages each belong to the conversation NUMBER:SENDER of the "
     "business number and the sender's phone number (NUMBER=ACCOUNT/SENDER where WhatsApp "
     "gives only a "
     "business-scoped user id, and of a group NUMBER/GROUP).",
   .example =
     "custmem resolve inbox.db conversation-1 whatsapp '+39 333 1234567' --instructor marta"},
  {.name = "link",
   .run = run_link,
   .access = WRITES,
   .arguments = "STORE CONVERSATION CUSTOMER",
   .required = HUMAN_WRITER,
   .allowed = HAS(OPT_CONTEXT) | HAS(OPT_JSON),
   FIELDS(WRITTEN_FIELDS),
   .summary = "link a conversation that has no customer",
   .help = "Refused if it has one: relink replaces it.",
   .example =
     "anna=$(custmem customers find inbox.db whatsapp 393331234567 --instructor marta --id)\n"
     "custmem link inbox.db conversation-1 \"$anna\" --instructor marta \\\n"
     "  --actor user-marta --reason 'She told me on the phone'"},
  {.name = "relink",
   .run = run_relink,
   .access = WRITES,
   .arguments = "STORE CONVERSATION CURRENT NEW",
   .required = HUMAN_WRITER,
   .allowed = HAS(OPT_CONTEXT) | HAS(OPT_JSON),
   FIELDS(WRITTEN_FIELDS),
   .summary = "replace the customer of a conversation",
   .help = "Refused unless it is linked to CURRENT: nobody replaces what they did not see.",
   .example =
     "export CUSTMEM_INSTRUCTOR=marta CUSTMEM_ACTOR=user-marta\n"
     "anna=$(custmem customers find inbox.db whatsapp 393331234567 --id)\n"
     "ben=$(custmem customers create inbox.db email ben@example.com --id)\n"
     "custmem relink inbox.db conversation-1 \"$anna\" \"$ben\" --reason 'Wrong line'"},
  {.name = "unlink",
   .run = run_unlink,
   .access = WRITES,
   .arguments = "STORE CONVERSATION CURRENT",
   .required = HUMAN_WRITER,
   .allowed = HAS(OPT_CONTEXT) | HAS(OPT_JSON),
   FIELDS(WRITTEN_FIELDS),
   .summary = "remove the customer of a conversation",
   .help = "Refused unless it is linked to CURRENT.",
   .example =
     "ben=$(custmem customers find inbox.db email ben@example.com --instructor marta --id)\n"
     "custmem unlink inbox.db conversation-1 \"$ben\" --instructor marta \\\n"
     "  --actor user-marta --reason 'Somebody else has this phone now'"},
  {.name = "inbox",
   .run = run_inbox,
   .access = READS,
   .check = check_inbox,
   .arguments = "STORE STREAM",
   .required = READER | HAS(OPT_NUMBER),
   .allowed = HAS(OPT_BADGES) | HAS(OPT_HTML) | HAS(OPT_JSON),
   FIELDS(INBOX_FIELDS),
   .summary = "show the conversations of a stream, with badges, as a table or a page",
   .help = "Reads what was sent to one business number. The conversation of a phone number is "
           "NUMBER:SENDER, of a business-scoped user id NUMBER=ACCOUNT/SENDER, of a group "
           "NUMBER/GROUP. With --html it prints one page that needs no "
           "other file. Without --badges neither table nor page says anything about customers.",
   .example = "custmem inbox inbox.db " DEMO_STREAM " --instructor marta \\\n"
              "  --number 209951326681432 --badges --html > inbox.html"},
  {.name = "history",
   .run = run_history,
   .access = READS,
   .arguments = "STORE CONVERSATION",
   .required = READER,
   .allowed = HAS(OPT_JSON),
   FIELDS(EVENT_FIELDS),
   .summary = "tell who linked a conversation, when, and why",
   .help = "The audit events of one conversation, in their order.",
   .example = "custmem history inbox.db conversation-1 --instructor marta"},
  {.name = "audit export",
   .run = run_export,
   .access = READS,
   .arguments = "STORE",
   .required = READER,
   FIELDS(EVENT_FIELDS),
   .summary = "export an instructor's audit as JSON lines",
   .help =
     "The first line is an object with store_id, instructor_id, count and head; then comes "
     "an object an event. The export is not verified: see audit verify.",
   .example = "custmem audit export inbox.db --instructor marta > marta.jsonl"},
  {.name = "audit head",
   .run = run_head,
   .access = READS,
   .arguments = "STORE",
   .required = READER,
   .allowed = HAS(OPT_JSON),
   FIELDS(TRAIL_FIELDS),
   .summary = "print where an instructor's audit stands, to be noted elsewhere",
   .help =
     "Prints COUNT and HASH, on one line: the anchor for audit verify. Kept outside the store, "
     "it shows later whether history was cut off or exchanged.",
   .example = "custmem audit head inbox.db --instructor marta > marta.head"},
  {.name = "audit verify",
   .run = run_verify,
   .access = READS,
   .arguments = "STORE [COUNT HASH]",
   .required = READER,
   .allowed = HAS(OPT_JSON),
   FIELDS(VERIFY_FIELDS),
   .summary = "verify an instructor's audit, perhaps against a head that was noted",
   .help =
     "Every event, every hash, and every link against the events. With COUNT and HASH also "
     "that the audit continues what was noted: only so does a history show that was cut off "
     "or exchanged. Prints \"sound\" and the head as it is now.",
   .example = "custmem audit verify inbox.db $(cat marta.head) --instructor marta"},
  {.name = "check",
   .run = run_check,
   .access = READS,
   .arguments = "STORE",
   .allowed = HAS(OPT_JSON),
   FIELDS(CHECK_FIELDS),
   .summary = "check everything in a store",
   .help =
     "SQLite's own integrity, the schema, every customer's key, every instructor's audit "
     "and links. Prints \"sound\" and how many there are of each, or says where the first "
     "fault is.",
   .example = "custmem check inbox.db"},
  {.name = "backup",
   .run = run_backup,
   .access = READS,
   .arguments = "STORE TARGET",
   .allowed = HAS(OPT_JSON),
   FIELDS(BACKUP_FIELDS),
   .summary = "copy a store as it is at one moment, while others use it",
   .help = "The copy is one file, complete in itself. An interrupt or an error leaves none.",
   .example = "custmem backup inbox.db backup.db"},
  {.name = "demo",
   .run = run_demo_on,
   .arguments = "[FILE]",
   .summary = "tell the whole story on a stream of WhatsApp webhooks",
   .help =
     "Reads FILE (without it: " DEMO_STREAM "). Shows what it carries and the inboxes that it "
     "makes, then tells what custmem allows and what it refuses, on a store in a fresh "
     "directory under $TMPDIR or /tmp. The store is left there to be looked into.",
   .example = "custmem demo " DEMO_STREAM},
  {.name = "completion",
   .run = run_completion,
   .arguments = "SHELL",
   .summary = "print what makes a shell complete commands, options and files",
   .help = "For bash, to be read by source; for zsh, a file _custmem in a directory of $fpath.",
   .example = "custmem completion bash > custmem.bash"},
  {.name = "man",
   .run = run_man,
   .arguments = "",
   .summary = "print the manual page",
   .help = "In the language of man: everything that the help says, on one page.",
   .example = "custmem man > custmem.1"},
  {.name = "help",
   .run = run_help,
   .arguments = "[COMMAND [SUBCOMMAND]]",
   .summary = "say what there is, or how to use a command",
   .help = "Without COMMAND, lists the commands and the exit status.",
   .example = "custmem help audit verify"},
  {.name = "version",
   .run = run_version,
   .arguments = "",
   .summary = "print the versions of custmem and of SQLite",
   .help = "The versions of the code that this program is made of.",
   .example = "custmem version"},
};

/* ---- Which command? ------------------------------------------------------------------------ */

/* Does a command's name begin with these words, and what follows? NULL: it does not. */
static const char *rest_of_name(const struct command *command, const char *group) {
  size_t size = strlen(group);
  if (strncmp(command->name, group, size) != 0 || command->name[size] != ' ') return NULL;
  return command->name + size + 1;
}

static const struct group *find_group(const char *name) {
  size_t i;
  for (i = 0; i < COUNT_OF(GROUPS); i++)
    if (strcmp(name, GROUPS[i].name) == 0) return &GROUPS[i];
  return NULL;
}

static void complain_of_command(const char *group, const char *word) {
  struct search search = {word, NULL, 0};
  const char *space = group[0] != '\0' ? " " : "";
  size_t i;
  for (i = 0; i < COUNT_OF(COMMANDS); i++) {
    const char *name = COMMANDS[i].name, *second = strchr(name, ' ');
    const char *rest = group[0] != '\0' ? rest_of_name(&COMMANDS[i], group) : name;
    if (group[0] == '\0' && second != NULL) rest = second + 1;
    if (rest != NULL) offer(&search, rest, name);
  }
  for (i = 0; group[0] == '\0' && i < COUNT_OF(GROUPS); i++)
    offer(&search, GROUPS[i].name, GROUPS[i].name);
  if (search.found != NULL)
    complain(
      "there is no command \"%s%s%s\"; did you mean \"%s\"?", group, space, word, search.found
    );
  else
    complain("there is no command \"%s%s%s\"; %s help lists them", group, space, word, program);
}

/* The command that the first words name, and how many of them they are. If there is none it says
** so, and which it may have been. */
static const struct command *find_command(int argc, char **argv, int *used) {
  const struct group *group = find_group(argv[0]);
  size_t i;
  *used = group != NULL ? 2 : 1;
  for (i = 0; i < COUNT_OF(COMMANDS); i++) {
    const char *name = COMMANDS[i].name;
    const char *rest = group != NULL ? rest_of_name(&COMMANDS[i], group->name) : name;
    if (rest != NULL && argc >= *used && strcmp(argv[*used - 1], rest) == 0)
      return &COMMANDS[i];
  }
  if (group != NULL && argc < 2) {
    sqlite3_str *names = need(sqlite3_str_new(NULL));
    for (i = 0; i < COUNT_OF(COMMANDS); i++)
      if (rest_of_name(&COMMANDS[i], group->name) != NULL)
        note(names, "%s", rest_of_name(&COMMANDS[i], group->name));
    complain("%s: SUBCOMMAND is missing: %s", group->name, need(sqlite3_str_value(names)));
    sqlite3_free(sqlite3_str_finish(names));
  } else {
    complain_of_command(group != NULL ? group->name : "", argv[*used - 1]);
  }
  return NULL;
}

/* ---- Arguments ----------------------------------------------------------------------------- */

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

static const struct argument *argument_at(const struct command *command, int place) {
  int size;
  const char *name = argument_name(command, place, &size);
  size_t i;
  for (i = 0; size > 0 && i < COUNT_OF(ARGUMENTS); i++)
    if (strncmp(ARGUMENTS[i].name, name, (size_t)size) == 0 && ARGUMENTS[i].name[size] == '\0')
      return &ARGUMENTS[i];
  assert(size == 0);
  return NULL;
}

static unsigned options_of(const struct command *command) {
  return command->required | command->allowed;
}

/* Everything that a command takes, in one line; to be freed. */
static char *usage_of(const struct command *command) {
  sqlite3_str *usage = need(sqlite3_str_new(NULL));
  int i;
  sqlite3_str_appendall(usage, command->name);
  if (command->arguments[0] != '\0') sqlite3_str_appendf(usage, " %s", command->arguments);
  for (i = 0; i < OPTIONS; i++) {
    int is_required = (command->required & HAS(i)) != 0;
    if ((options_of(command) & HAS(i)) == 0) continue;
    sqlite3_str_appendf(usage, is_required ? " --%s" : " [--%s", OPTION[i].name);
    if (OPTION[i].value != NULL) sqlite3_str_appendf(usage, " %s", OPTION[i].value);
    if (!is_required) sqlite3_str_appendall(usage, "]");
  }
  return need(sqlite3_str_finish(usage));
}

static int complain_of_usage(const struct command *command) {
  char *usage = usage_of(command);
  complain("usage: %s %s", program, usage);
  sqlite3_free(usage);
  return USAGE;
}

/* Are there as many arguments as the command takes? If not it says which is missing, or too much. */
static int fits(const struct request *request) {
  const struct command *command = request->command;
  const char *bracket;
  int all = 0, size;
  const char *name = argument_name(command, 0, &size);
  for (; size > 0; name = argument_name(command, all, &size)) {
    for (bracket = name; bracket > command->arguments && strchr(" [", bracket[-1]) != NULL;)
      bracket--;
    if (all == request->argc && memchr(bracket, '[', (size_t)(name - bracket)) != NULL)
      return 1;
    all++;
  }
  if (request->argc == all) return 1;
  name = argument_name(command, request->argc, &size);
  if (request->argc > all)
    complain("%s: \"%s\" is one argument too many", command->name, request->argv[all]);
  else
    complain("%s: %.*s is missing", command->name, size, name);
  return 0;
}

static int is_channel(const char *channel) {
  char *fault = channel_fault(channel);
  int is_good = fault == NULL;
  if (!is_good) complain("%s", fault);
  sqlite3_free(fault);
  return is_good;
}

static int is_shell(const char *name) {
  size_t i;
  for (i = 0; i < COUNT_OF(SHELLS); i++)
    if (strcmp(name, SHELLS[i]) == 0) return 1;
  complain("SHELL is bash or zsh: not \"%s\"", name);
  return 0;
}

/* Can the argument be what its place wants? Only what can be known without a store is asked. */
static int is_argument(enum argument_kind kind, const char *word) {
  custmem_head head;
  switch (kind) {
  case A_CHANNEL:
    return is_channel(word);
  case A_COUNT:
    return read_count(word, &head.count);
  case A_HASH:
    return is_hash(word);
  case A_SHELL:
    return is_shell(word);
  default:
    return 1;
  }
}

/* ---- Options ------------------------------------------------------------------------------- */

/* The option of a word "--name" or "--name=value"; -1, and it says why, if the command has none. */
static int find_option(const struct command *command, const char *word) {
  struct search search;
  char *name = need(sqlite3_mprintf("%.*s", (int)strcspn(word, "="), word));
  int i, found = -1;
  search.word = name + (strncmp(name, "--", 2) == 0 ? 2 : 1);
  search.found = NULL;
  for (i = 0; i < OPTIONS; i++) {
    if ((options_of(command) & HAS(i)) != 0) offer(&search, OPTION[i].name, OPTION[i].name);
    if (strncmp(name, "--", 2) == 0 && strcmp(name + 2, OPTION[i].name) == 0) found = i;
  }
  if (found >= 0 && (options_of(command) & HAS(found)) == 0) {
    complain("%s takes no option --%s", command->name, OPTION[found].name);
    found = -1;
  } else if (found < 0 && search.found != NULL) {
    complain(
      "%s: there is no option \"%s\"; did you mean \"--%s\"?", command->name, name, search.found
    );
  } else if (found < 0) {
    complain("%s: there is no option \"%s\"", command->name, name);
  }
  sqlite3_free(name);
  return found;
}

/* Takes the option at argv[*at], with its value, which may be the word after it. */
static int read_option(struct request *request, int argc, char **argv, int *at) {
  const char *name = request->command->name, *word = argv[*at];
  const char *value = strchr(word, '=');
  int option = find_option(request->command, word);
  if (option < 0) return 0;
  if (request->options[option] != NULL) {
    complain("%s: --%s is given twice", name, OPTION[option].name);
    return 0;
  }
  if (OPTION[option].value == NULL) {
    if (value != NULL) complain("%s: --%s takes no value", name, OPTION[option].name);
    request->options[option] = "";
    return value == NULL;
  }
  if (value == NULL && *at + 1 == argc) {
    complain("%s: --%s needs %s", name, OPTION[option].name, OPTION[option].value);
    return 0;
  }
  request->options[option] = value != NULL ? value + 1 : argv[++*at];
  return 1;
}

/* The environment stands in for what was not given. What is still missing is said. */
static int has_options(struct request *request) {
  const struct command *command = request->command;
  int i;
  for (i = 0; i < OPTIONS; i++) {
    const char *variable = OPTION[i].environment;
    const char *value = variable != NULL ? getenv(variable) : NULL;
    if ((command->required & HAS(i)) == 0 || request->options[i] != NULL) continue;
    if (value != NULL && value[0] != '\0') {
      request->options[i] = value;
      continue;
    }
    complain(
      variable != NULL ? "%s: --%s is missing: %s (or set %s)" : "%s: --%s is missing: %s",
      command->name, OPTION[i].name, OPTION[i].meaning, variable
    );
    return 0;
  }
  return 1;
}

static int asks_for_help(const char *word) {
  return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

/* Sorts the words behind the command into options and arguments, and holds both against the table.
** "--" ends the options. */
static int read_words(struct request *request, int argc, char **argv, int *wants_help) {
  int i, has_ended = 0;
  request->argc = 0;
  request->argv = argv;
  for (i = 0; i < argc; i++) {
    int is_option = !has_ended && argv[i][0] == '-' && argv[i][1] != '\0';
    if (is_option && strcmp(argv[i], "--") == 0) {
      has_ended = 1;
    } else if (is_option && asks_for_help(argv[i])) {
      *wants_help = 1;
      return 1;
    } else if (!is_option) {
      argv[request->argc++] = argv[i];
    } else if (!read_option(request, argc, argv, &i)) {
      return 0;
    }
  }
  if (!fits(request)) return 0;
  for (i = 0; i < request->argc; i++)
    if (!is_argument(argument_at(request->command, i)->kind, argv[i])) return 0;
  return has_options(request) &&
         (request->command->check == NULL || request->command->check(request));
}

/* ---- Help ---------------------------------------------------------------------------------- */

static int run_version(const struct request *request, custmem *none) {
  (void)request, (void)none;
  put_line(0, "custmem %s (SQLite %s)", custmem_version(), sqlite3_libversion());
  return DONE;
}

static const char EXIT_STATUS[] =
  "0 done, 1 the store refused, 2 wrong usage, 3 input or output failed";

static void put_commands(const char *group) {
  size_t i;
  for (i = 0; i < COUNT_OF(COMMANDS); i++)
    if (group == NULL || rest_of_name(&COMMANDS[i], group) != NULL)
      put_line(2, "%-23s  %s", COMMANDS[i].name, COMMANDS[i].summary);
}

static void put_overview(void) {
  put_line(0, "custmem: which customer is writing, and who said so");
  put_line(0, "usage: %s COMMAND [ARGUMENT ...] [--OPTION ...]", program);
  put_empty_line();
  put_commands(NULL);
  put_empty_line();
  put_line(0, "%s help COMMAND says more, with an example.", program);
  put_line(0, "exit status: %s", EXIT_STATUS);
}

/* An example, as it can be pasted: the program goes by the name by which it was called. */
static void put_example(const struct command *command) {
  const char *line = command->example;
  char *self = quoted(program);
  put_line(0, "example:");
  while (*line != '\0') {
    int size = (int)strcspn(line, "\n");
    sqlite3_str *text = need(sqlite3_str_new(NULL));
    const char *end = line + size;
    while (line < end) {
      int is_program = strncmp(line, "custmem ", 8) == 0;
      sqlite3_str_append(text, is_program ? self : line, is_program ? (int)strlen(self) : 1);
      line += is_program ? 7 : 1;
    }
    put_line(2, "%s", need(sqlite3_str_value(text)));
    sqlite3_free(sqlite3_str_finish(text));
    line += *line == '\n';
  }
  sqlite3_free(self);
}

/* A list of what a name means, under a heading of its own. */
static void start_list(struct table *list, const char *heading) {
  memset(list, 0, sizeof *list);
  list->columns = 2;
  list->limits[0] = list->limits[1] = INT_MAX;
  list->is_headed = 1;
  put_empty_line();
  put_line(0, "%s:", heading);
}

static void put_arguments(const struct command *command) {
  struct table list;
  int i;
  if (command->arguments[0] == '\0') return;
  start_list(&list, "arguments");
  for (i = 0; argument_at(command, i) != NULL; i++) {
    add_cell(&list, "%s", argument_at(command, i)->name);
    add_cell(&list, "%s", argument_at(command, i)->meaning);
  }
  put_table(&list, 2);
}

static void put_options(const struct command *command) {
  struct table list;
  int i;
  if (options_of(command) == 0) return;
  start_list(&list, "options");
  for (i = 0; i < OPTIONS; i++) {
    const char *value = OPTION[i].value, *variable = OPTION[i].environment;
    if ((options_of(command) & HAS(i)) == 0) continue;
    add_cell(&list, value != NULL ? "--%s %s" : "--%s", OPTION[i].name, value);
    add_cell(&list, variable != NULL ? "%s; else %s" : "%s", OPTION[i].meaning, variable);
  }
  put_table(&list, 2);
}

static void put_fields(const struct command *command) {
  struct table list;
  int i;
  if (command->field_count == 0) return;
  start_list(&list, "fields of the JSON (times are Unix milliseconds)");
  for (i = 0; i < command->field_count; i++) {
    if (command->fields[i].name == NULL) continue;
    add_cell(&list, "%s", command->fields[i].name);
    add_cell(&list, "%s", command->fields[i].meaning);
  }
  put_table(&list, 2);
}

static void put_help(const struct command *command) {
  char *usage = usage_of(command);
  put_paragraph(0, "usage: %s %s", program, usage);
  sqlite3_free(usage);
  put_empty_line();
  put_paragraph(0, "%s", command->help);
  put_arguments(command);
  put_options(command);
  put_fields(command);
  put_empty_line();
  put_example(command);
}

static int run_help(const struct request *request, custmem *none) {
  const struct command *command;
  int used;
  (void)none;
  if (request->argc == 0) {
    put_overview();
    return DONE;
  }
  if (request->argc == 1 && find_group(request->argv[0]) != NULL) {
    put_line(0, "%s: %s", request->argv[0], find_group(request->argv[0])->summary);
    put_empty_line();
    put_commands(request->argv[0]);
    return DONE;
  }
  command = find_command(request->argc, request->argv, &used);
  if (command == NULL) return USAGE;
  if (request->argc > used) {
    complain("help: \"%s\" is one argument too many", request->argv[used]);
    return USAGE;
  }
  put_help(command);
  return DONE;
}

/* ---- Completion ---------------------------------------------------------------------------- */

/* Text of the program's own, which needs no cleaning. */
static void put_text(const char *format, ...) {
  va_list arguments;
  char *text;
  va_start(arguments, format);
  text = need(sqlite3_vmprintf(format, arguments));
  va_end(arguments);
  put(text);
  sqlite3_free(text);
}

static void put_words(const char *const *words, size_t count) {
  size_t i;
  for (i = 0; i < count; i++)
    put_text(i > 0 ? " %s" : "%s", words[i]);
}

/* The commands' first words, or the second ones of a group. */
static void put_names(const char *group) {
  size_t i;
  const char *space = "";
  for (i = 0; i < COUNT_OF(COMMANDS); i++) {
    const char *name = COMMANDS[i].name;
    const char *rest = group != NULL ? rest_of_name(&COMMANDS[i], group) : name;
    if (rest == NULL || strchr(rest, ' ') != NULL) continue;
    put_text("%s%s", space, rest);
    space = " ";
  }
  for (i = 0; group == NULL && i < COUNT_OF(GROUPS); i++)
    put_text(" %s", GROUPS[i].name);
}

/* The words of the case that follows are the same in both shells: which words stand where, for
** each command. */
static void put_cases(const char *indent) {
  size_t i;
  int j;
  for (i = 0; i < COUNT_OF(COMMANDS); i++) {
    const struct command *command = &COMMANDS[i];
    put_text("%s'%s')\n%s  flags='--help", indent, command->name, indent);
    for (j = 0; j < OPTIONS; j++)
      if ((options_of(command) & HAS(j)) != 0) put_text(" --%s", OPTION[j].name);
    put_text("'\n%s  places='", indent);
    for (j = 0; argument_at(command, j) != NULL; j++)
      put_text(j > 0 ? " %s" : "%s", argument_at(command, j)->name);
    put_text("' ;;\n");
  }
}

/* A pattern of the options that take a value: "--actor|--reason". */
static void put_value_pattern(void) {
  const char *bar = "";
  int i;
  for (i = 0; i < OPTIONS; i++) {
    if (OPTION[i].value == NULL) continue;
    put_text("%s--%s", bar, OPTION[i].name);
    bar = "|";
  }
}

static void put_argument_pattern(enum argument_kind kind) {
  const char *bar = "";
  size_t i;
  for (i = 0; i < COUNT_OF(ARGUMENTS); i++) {
    if (ARGUMENTS[i].kind != kind) continue;
    put_text("%s%s", bar, ARGUMENTS[i].name);
    bar = "|";
  }
}

/* What can stand at the place that is to be completed, in words of each shell's own. */
static void put_kinds(const char *file, const char *words_start, const char *words_end) {
  put_text("    ");
  put_argument_pattern(A_FILE);
  put_text(") %s ;;\n    ", file);
  put_argument_pattern(A_CHANNEL);
  put_text(") %s", words_start);
  put_words(CHANNELS, COUNT_OF(CHANNELS));
  put_text("%s ;;\n    ", words_end);
  put_argument_pattern(A_SHELL);
  put_text(") %s", words_start);
  put_words(SHELLS, COUNT_OF(SHELLS));
  put_text("%s ;;\n    ", words_end);
  put_argument_pattern(A_COMMAND);
  put_text(") %s", words_start);
  put_names(NULL);
  put_text("%s ;;\n", words_end);
}

static void put_group_cases(const char *indent) {
  size_t i;
  for (i = 0; i < COUNT_OF(GROUPS); i++) {
    put_text("%s%s) words='", indent, GROUPS[i].name);
    put_names(GROUPS[i].name);
    put_text("' ;;\n");
  }
}

static void put_bash_completion(void) {
  put(
    "# bash completion for custmem, made by: custmem completion bash\n"
    "_custmem() {\n"
    "  local typed=() glue='' first=2 words='' flags='' places='' last word before command i\n"
    "  # Bash has split the words at : and =, which ids and options have in them.\n"
    "  for ((i = 0; i <= COMP_CWORD; i++)); do\n"
    "    case ${COMP_WORDS[i]} in\n"
    "      [:=]*) glue=yes ;;\n"
    "    esac\n"
    "    if [ -n \"$glue\" ] && [ ${#typed[@]} -gt 0 ]; then\n"
    "      typed[${#typed[@]} - 1]+=${COMP_WORDS[i]}\n"
    "    else\n"
    "      typed+=(\"${COMP_WORDS[i]}\")\n"
    "    fi\n"
    "    case ${COMP_WORDS[i]} in\n"
    "      [:=]*) ;;\n"
    "      *) glue='' ;;\n"
    "    esac\n"
    "  done\n"
    "  last=$((${#typed[@]} - 1)) command=${typed[1]}\n"
    "  word=${typed[last]} before=${typed[last - 1]}\n"
    "  COMPREPLY=()\n"
    "  if [ \"$last\" -eq 1 ]; then\n"
    "    COMPREPLY=($(compgen -W '"
  );
  put_names(NULL);
  put(" --help --version' -- \"$word\"))\n"
      "    return\n"
      "  fi\n"
      "  case $command in\n");
  put_group_cases("    ");
  put("  esac\n"
      "  if [ -n \"$words\" ]; then\n"
      "    if [ \"$last\" -eq 2 ]; then\n"
      "      COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
      "      return\n"
      "    fi\n"
      "    command=\"$command ${typed[2]}\" first=3\n"
      "  fi\n"
      "  case $command in\n");
  put_cases("    ");
  put("  esac\n"
      "  case $before in\n    ");
  put_value_pattern();
  put(") return ;;\n"
      "  esac\n"
      "  case $word in\n"
      "    -*)\n"
      "      COMPREPLY=($(compgen -W \"$flags\" -- \"$word\"))\n"
      "      return ;;\n"
      "  esac\n"
      "  set -- $places\n"
      "  for ((i = first; i < last; i++)); do\n"
      "    case ${typed[i]} in\n      ");
  put_value_pattern();
  put(") i=$((i + 1)) ;;\n"
      "      -?*) ;;\n"
      "      *) shift ;;\n"
      "    esac\n"
      "  done\n"
      "  case $1 in\n");
  put_kinds(
    "compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- \"$word\")",
    "COMPREPLY=($(compgen -W '", "' -- \"$word\"))"
  );
  put("  esac\n"
      "  COMPREPLY=(\"${COMPREPLY[@]#\"${word%\"${COMP_WORDS[COMP_CWORD]}\"}\"}\")\n"
      "}\n"
      "complete -F _custmem custmem\n");
}

/* A name and what it means, as _describe takes them: one word to the shell. */
static void put_described_name(const char *indent, const char *name, const char *summary) {
  char *described = need(sqlite3_mprintf("%s:%s", name, summary)), *word = quoted(described);
  put_text("%s%s\n", indent, word);
  sqlite3_free(described);
  sqlite3_free(word);
}

/* The first words with their summaries, or the second ones of a group. */
static void put_described(const char *group, const char *indent) {
  size_t i;
  for (i = 0; i < COUNT_OF(COMMANDS); i++) {
    const char *rest = group != NULL ? rest_of_name(&COMMANDS[i], group) : COMMANDS[i].name;
    if (rest != NULL && strchr(rest, ' ') == NULL)
      put_described_name(indent, rest, COMMANDS[i].summary);
  }
  for (i = 0; group == NULL && i < COUNT_OF(GROUPS); i++)
    put_described_name(indent, GROUPS[i].name, GROUPS[i].summary);
}

static void put_zsh_completion(void) {
  size_t i;
  put("#compdef custmem\n"
      "# zsh completion for custmem, made by: custmem completion zsh\n"
      "_custmem() {\n"
      "  local command=$words[2] flags= places= i\n"
      "  local -i first=3 place=1\n"
      "  local -a names wanted\n"
      "  if (( CURRENT == 2 )); then\n"
      "    names=(\n");
  put_described(NULL, "      ");
  put("    )\n"
      "    _describe command names\n"
      "    return\n"
      "  fi\n"
      "  case $command in\n");
  for (i = 0; i < COUNT_OF(GROUPS); i++) {
    put_text("    %s)\n      names=(\n", GROUPS[i].name);
    put_described(GROUPS[i].name, "        ");
    put("      ) ;;\n");
  }
  put("  esac\n"
      "  if (( $#names )); then\n"
      "    if (( CURRENT == 3 )); then\n"
      "      _describe subcommand names\n"
      "      return\n"
      "    fi\n"
      "    command=\"$command $words[3]\" first=4\n"
      "  fi\n"
      "  case $command in\n");
  put_cases("    ");
  put("  esac\n"
      "  wanted=(${=places})\n"
      "  case $words[CURRENT-1] in\n    ");
  put_value_pattern();
  put(") return ;;\n"
      "  esac\n"
      "  case $words[CURRENT] in\n"
      "    -*)\n"
      "      compadd -- ${=flags}\n"
      "      return ;;\n"
      "  esac\n"
      "  for (( i = first; i < CURRENT; i++ )); do\n"
      "    case $words[i] in\n      ");
  put_value_pattern();
  put(") (( i++ )) ;;\n"
      "      -?*) ;;\n"
      "      *) (( place++ )) ;;\n"
      "    esac\n"
      "  done\n"
      "  case $wanted[place] in\n");
  put_kinds("_files", "compadd -- ", "");
  put("  esac\n"
      "}\n"
      "_custmem \"$@\"\n");
}

static int run_completion(const struct request *request, custmem *none) {
  (void)none;
  if (strcmp(request->argv[0], "bash") == 0)
    put_bash_completion();
  else
    put_zsh_completion();
  return DONE;
}

/* ---- Manual page --------------------------------------------------------------------------- */

/* Text as roff takes it: no letter of it is an instruction. */
static void put_roff(const char *text) {
  int starts_line = 1;
  for (; *text != '\0'; text++) {
    char letter[2] = {*text, '\0'};
    if (starts_line && (*text == '.' || *text == '\'')) put("\\&");
    put(*text == '\\' ? "\\e" : *text == '-' ? "\\-" : letter);
    starts_line = *text == '\n';
  }
}

static void put_roff_item(const char *term, const char *value, const char *meaning) {
  put(".TP\n.B ");
  put_roff(term);
  if (value != NULL) {
    put(" \\fI");
    put_roff(value);
    put("\\fR");
  }
  put("\n");
  put_roff(meaning);
  put("\n");
}

static void put_roff_command(const struct command *command) {
  char *usage = usage_of(command);
  int is_first = 1, i;
  put(".SS ");
  put_roff(command->name);
  put("\n.B custmem\n");
  put_roff(usage);
  sqlite3_free(usage);
  put("\n.PP\n");
  put_roff(command->help);
  put("\n");
  for (i = 0; argument_at(command, i) != NULL; i++)
    put_roff_item(argument_at(command, i)->name, NULL, argument_at(command, i)->meaning);
  for (i = 0; i < command->field_count; i++) {
    if (command->fields[i].name == NULL) continue;
    if (is_first) put(".PP\nFields of the JSON (times are Unix milliseconds):\n");
    is_first = 0;
    put_roff_item(command->fields[i].name, NULL, command->fields[i].meaning);
  }
  put(".PP\nExample:\n.PP\n.nf\n.RS\n");
  put_roff(command->example);
  put("\n.RE\n.fi\n");
}

static int run_man(const struct request *request, custmem *none) {
  size_t i;
  int j;
  (void)request, (void)none;
  put_text(".TH CUSTMEM 1 \"\" \"custmem %s\" \"User commands\"\n", custmem_version());
  put(
    ".SH NAME\ncustmem \\- which customer is writing, and who said so\n"
    ".SH SYNOPSIS\n.B custmem\n\\fICOMMAND\\fR [\\fIARGUMENT\\fR ...] [\\fB\\-\\-OPTION\\fR "
    "...]\n"
    ".SH DESCRIPTION\nThe everyday use of a store of custmem: a file that knows, for each "
    "conversation of an inbox, which customer is writing, and keeps who said so. Data goes to "
    "standard output, words about trouble to standard error.\n"
    ".SH COMMANDS\n"
  );
  for (i = 0; i < COUNT_OF(COMMANDS); i++)
    put_roff_command(&COMMANDS[i]);
  put(".SH OPTIONS\n");
  for (j = 0; j < OPTIONS; j++) {
    char *name = need(sqlite3_mprintf("--%s", OPTION[j].name));
    put_roff_item(name, OPTION[j].value, OPTION[j].meaning);
    sqlite3_free(name);
  }
  put_roff_item("--help", NULL, "say how to use the command");
  put(".SH EXIT STATUS\n");
  put_roff(EXIT_STATUS);
  put(".\nAn interrupt ends the program as the signal does, and leaves the store sound.\n"
      ".SH ENVIRONMENT\n");
  for (j = 0; j < OPTIONS; j++) {
    char *meaning = need(sqlite3_mprintf("stands in for --%s", OPTION[j].name));
    if (OPTION[j].environment != NULL) put_roff_item(OPTION[j].environment, NULL, meaning);
    sqlite3_free(meaning);
  }
  put_roff_item("NO_COLOR", NULL, "if it is set and not empty, there are no colours");
  put_roff_item("TZ", NULL, "the zone of the times that people see");
  return DONE;
}

/* ---- Main ---------------------------------------------------------------------------------- */

/* Runs a command, with its store open. */
static int run(const struct command *command, int argc, char **argv) {
  struct request request;
  custmem *store = NULL;
  int wants_help = 0, status = DONE;
  memset(&request, 0, sizeof request);
  request.command = command;
  if (!read_words(&request, argc, argv, &wants_help)) return complain_of_usage(command);
  if (wants_help) {
    put_help(command);
    return DONE;
  }
  if (command->access == READS) status = open_store(request.argv[0], 1, &store);
  if (command->access == WRITES) status = open_to_write(&request, &store);
  if (status == DONE) status = command->run(&request, store);
  custmem_close(store);
  return status;
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
  static char help[] = "help", version[] = "version";
  const struct command *command;
  int used;
  if (argc == 0) {
    complain("no command was given; %s help lists them", program);
    return USAGE;
  }
  if (asks_for_help(argv[0])) argv[0] = help;
  if (strcmp(argv[0], "--version") == 0) argv[0] = version;
  if (argc == 2 && find_group(argv[0]) != NULL && asks_for_help(argv[1])) {
    argv[1] = argv[0];
    argv[0] = help;
  }
  command = find_command(argc, argv, &used);
  return command != NULL ? run(command, argc - used, argv + used) : USAGE;
}

int main(int argc, char **argv) {
  int status;
  if (!hold_standard_files()) return INPUT_OUTPUT;
  if (argc > 0) program = argv[0];
  choose_locale();
  tzset();
  use_colour = may_use_colour();
  status = argc > 0 ? run_words(argc - 1, argv + 1) : USAGE;
  if (fflush(stdout) != 0 && output_error == 0) output_error = errno;
  /* What was asked to stop ends as who asked expects it to. */
  if (is_stopped()) raise(work.signal);
  if (output_error == 0) return status;
  /* Who closed the pipe has seen enough, and needs no message. */
  if (output_error != EPIPE) complain("cannot write the output: %s", strerror(output_error));
  return INPUT_OUTPUT;
}
