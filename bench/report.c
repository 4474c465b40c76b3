/* SPDX-License-Identifier: MIT
**
** What was measured, in five forms: lines on the terminal as they come, and at the end a JSON file,
** lines for scripts, a table that is put into README.md between its marks, and a plot (SVG) with
** two parts: the cost of a resolution against the number of customers, and for all pairs that
** something is asked of, how much of what is allowed was used up.
*/
#define _XOPEN_SOURCE 700

#include "bench.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#ifndef BENCH_FLAGS
#define BENCH_FLAGS "(not given)"
#endif
#ifndef BENCH_SQLITE_FLAGS
#define BENCH_SQLITE_FLAGS "(not given)"
#endif

#if defined(__clang__)
#define COMPILER "clang " __clang_version__
#elif defined(__GNUC__)
#define COMPILER "gcc " __VERSION__
#else
#define COMPILER "an unknown compiler"
#endif

#define RESULTS_MAX 64

static report_files files;
static row_result rows[RESULTS_MAX];
static size_result sizes[RESULTS_MAX];
static int row_count, size_count;
static char machine[512], date[32];

/* Text that grows. */
typedef struct text {
  char *bytes;
  size_t size;
} text;

__attribute__((format(printf, 2, 3))) static void add(text *to, const char *format, ...) {
  va_list arguments;
  int size;
  va_start(arguments, format);
  size = vsnprintf(NULL, 0, format, arguments);
  va_end(arguments);
  to->bytes = realloc(to->bytes, to->size + (size_t)size + 1);
  if (to->bytes == NULL) give_up("no memory");
  va_start(arguments, format);
  vsnprintf(to->bytes + to->size, (size_t)size + 1, format, arguments);
  va_end(arguments);
  to->size += (size_t)size;
}

/* Writes the text to a file, and frees it. */
static void write_out(text *from, const char *path) {
  FILE *file = fopen(path, "wb");
  if (file == NULL || fwrite(from->bytes, 1, from->size, file) != from->size || fclose(file) != 0)
    give_up("%s: cannot be written", path);
  free(from->bytes);
}

/* ---- Numbers for people -------------------------------------------------------------------- */

#define NUMBER_SIZE 48

static const char *time_text(double ns, char to[NUMBER_SIZE]) {
  static const char *const units[] = {"ns", "µs", "ms", "s"};
  size_t unit = 0;
  for (; ns >= 9999.5 && unit + 1 < COUNT_OF(units); unit++)
    ns /= 1000;
  snprintf(to, NUMBER_SIZE, ns < 99.95 ? "%.1f %s" : "%.0f %s", ns, units[unit]);
  return to;
}

static const char *times_text(double ratio, char to[NUMBER_SIZE]) {
  snprintf(to, NUMBER_SIZE, ratio < 9.995 ? "%.2f" : "%.0f", ratio);
  return to;
}

static const char *part_text(double ratio, char to[NUMBER_SIZE]) {
  snprintf(to, NUMBER_SIZE, "1/%.3g", 1 / ratio);
  return to;
}

/* A ratio; of a small one, how many times less. */
static const char *ratio_text(double ratio, char to[NUMBER_SIZE]) {
  return ratio < 0.2 ? part_text(ratio, to) : times_text(ratio, to);
}

static const char *verdict(double value, double to_reach) {
  return value <= to_reach ? "reached" : "missed";
}

static const char *spread_text(
  spread value,
  const char *(*text_of)(double, char *),
  char to[3 * NUMBER_SIZE]
) {
  char low[NUMBER_SIZE], middle[NUMBER_SIZE], high[NUMBER_SIZE];
  snprintf(
    to, (size_t)3 * NUMBER_SIZE, "%.40s (%.40s to %.40s)", text_of(value.median, middle),
    text_of(value.low, low), text_of(value.high, high)
  );
  return to;
}

/* All three as the median is written. */
static const char *ratios_text(spread ratio, char to[3 * NUMBER_SIZE]) {
  return spread_text(ratio, ratio.median < 0.2 ? part_text : times_text, to);
}

/* ---- The terminal -------------------------------------------------------------------------- */

/* The first line of a file of Linux's that begins so; "" where there is none. */
static void find_line(const char *path, const char *start, char line[256]) {
  FILE *file = fopen(path, "r");
  int found = 0;
  while (file != NULL && !found && fgets(line, 256, file) != NULL)
    found = strncmp(line, start, strlen(start)) == 0;
  if (file != NULL) fclose(file);
  line[found ? strcspn(line, "\n") : 0] = '\0';
}

/* The processor's name where Linux says it; else what uname calls the machine. And how many others
** wanted it as the run began: a load above 1 is noise. */
static void find_machine(void) {
  char line[256] = "", load[256] = "";
  struct utsname about;
  uname(&about);
  find_line("/proc/cpuinfo", "model name", line);
  find_line("/proc/loadavg", "", load);
  snprintf(
    machine, sizeof machine, "%s, %ld processors, %s %.*s %s, load %.*s as it began",
    strchr(line, ':') != NULL ? strchr(line, ':') + 2 : "processor",
    sysconf(_SC_NPROCESSORS_ONLN), about.sysname, (int)strcspn(about.release, "-"),
    about.release, about.machine, (int)strcspn(load, " "), load
  );
}

void report_start(const report_files *where) {
  time_t now = time(NULL);
  files = *where;
  find_machine();
  strftime(date, sizeof date, "%Y-%m-%d %H:%M UTC", gmtime(&now));
  printf(
    "custmem %s, SQLite %s, %s\n%s\n%s, %s\nSQLite with %s\n\n", custmem_version(),
    sqlite3_libversion(), date, machine, COMPILER, BENCH_FLAGS, BENCH_SQLITE_FLAGS
  );
  printf(
    "For each operation: median (quartiles), and the first side's time as a multiple of it\n"
  );
  fflush(stdout);
}

static void print_side(const side_result *side, int is_first) {
  char ns[3 * NUMBER_SIZE], ratio[3 * NUMBER_SIZE], asked[NUMBER_SIZE];
  printf("  %-38s %-34s", side->name, spread_text(side->ns, time_text, ns));
  if (!is_first) printf("  × %-22s", ratios_text(side->ratio, ratio));
  if (side->to_reach > 0)
    printf(
      "  %s: at most %s", verdict(side->ratio.median, side->to_reach),
      ratio_text(side->to_reach, asked)
    );
  printf("\n");
}

void report_row(const row_result *row) {
  int s;
  EXPECT(row_count < RESULTS_MAX);
  rows[row_count++] = *row;
  printf("\n%s, each %s\n", row->what, row->unit);
  for (s = 0; s < row->count; s++)
    print_side(&row->sides[s], s == 0);
  fflush(stdout);
}

void report_size(const char *what, int64_t bytes, int64_t to_reach, const char *how) {
  size_result *size = &sizes[size_count];
  if (!is_wanted(what)) return;
  EXPECT(size_count++ < RESULTS_MAX);
  snprintf(size->what, sizeof size->what, "%s", what);
  snprintf(size->how, sizeof size->how, "%s", how);
  size->bytes = bytes;
  size->to_reach = to_reach;
  printf("\n%s (%s)\n  %" PRId64 " bytes", what, how, bytes);
  if (to_reach > 0)
    printf("  %s: at most %" PRId64, verdict((double)bytes, (double)to_reach), to_reach);
  printf("\n");
  fflush(stdout);
}

/* ---- JSON and lines ------------------------------------------------------------------------ */

static void json_text(text *to, const char *name, const char *value, const char *end) {
  add(to, "\"%s\": \"", name);
  for (; *value != '\0'; value++) {
    if (*value == '"' || *value == '\\') add(to, "\\");
    if ((unsigned char)*value >= ' ') add(to, "%c", *value);
  }
  add(to, "\"%s", end);
}

static void json_spread(text *to, const char *name, spread value) {
  add(
    to,
    ", \"%s\": {\"median\": %.6g, \"low\": %.6g, \"high\": %.6g, \"min\": %.6g, \"max\": %.6g}",
    name, value.median, value.low, value.high, value.min, value.max
  );
}

static void json_row(text *to, const row_result *row) {
  int s;
  add(to, "    {");
  json_text(to, "what", row->what, ", ");
  json_text(to, "unit", row->unit, ", ");
  add(
    to, "\"customers\": %" PRId64 ", \"rounds\": %d, \"operations\": %" PRId64 ", \"sides\": [",
    row->customers, row->rounds, row->operations
  );
  for (s = 0; s < row->count; s++) {
    const side_result *side = &row->sides[s];
    add(to, "%s\n      {", s > 0 ? "," : "");
    json_text(to, "with", side->name, "");
    json_spread(to, "ns", side->ns);
    if (s > 0) json_spread(to, "ratio", side->ratio);
    if (side->to_reach > 0)
      add(
        to, ", \"to_reach\": %.6g, \"reached\": %s", side->to_reach,
        side->ratio.median <= side->to_reach ? "true" : "false"
      );
    add(to, "}");
  }
  add(to, "]}");
}

static void write_json(void) {
  text to = {0};
  int i;
  add(&to, "{\n  ");
  json_text(&to, "custmem", custmem_version(), ",\n  ");
  json_text(&to, "sqlite", sqlite3_libversion(), ",\n  ");
  json_text(&to, "date", date, ",\n  ");
  json_text(&to, "machine", machine, ",\n  ");
  json_text(&to, "compiler", COMPILER, ",\n  ");
  json_text(&to, "flags", BENCH_FLAGS, ",\n  ");
  json_text(&to, "sqlite_flags", BENCH_SQLITE_FLAGS, ",\n  ");
  add(&to, "\"rows\": [\n");
  for (i = 0; i < row_count; i++) {
    json_row(&to, &rows[i]);
    add(&to, i + 1 < row_count ? ",\n" : "\n");
  }
  add(&to, "  ],\n  \"sizes\": [\n");
  for (i = 0; i < size_count; i++) {
    add(&to, "    {");
    json_text(&to, "what", sizes[i].what, ", ");
    json_text(&to, "how", sizes[i].how, ", ");
    add(&to, "\"bytes\": %" PRId64, sizes[i].bytes);
    if (sizes[i].to_reach > 0) add(&to, ", \"to_reach\": %" PRId64, sizes[i].to_reach);
    add(&to, i + 1 < size_count ? "},\n" : "}\n");
  }
  add(&to, "  ]\n}\n");
  write_out(&to, files.json);
}

static void write_tsv(void) {
  text to = {0};
  int i, s;
  for (i = 0; i < row_count; i++)
    for (s = 0; s < rows[i].count; s++)
      add(
        &to, "%s\t%s\t%" PRId64 "\t%.1f\t%.1f\n", rows[i].what, rows[i].sides[s].name,
        rows[i].operations, rows[i].sides[s].ns.median, rows[i].sides[s].ns.min
      );
  write_out(&to, files.tsv);
}

/* ---- The table of README.md ---------------------------------------------------------------- */

static char *whole_file(const char *path) {
  FILE *file = fopen(path, "rb");
  text to = {0};
  char part[4096];
  size_t size;
  if (file == NULL) give_up("%s: cannot be read", path);
  while ((size = fread(part, 1, sizeof part, file)) > 0)
    add(&to, "%.*s", (int)size, part);
  fclose(file);
  if (to.bytes == NULL) give_up("%s: is empty", path);
  return to.bytes;
}

void put_between_marks(const char *path, const char *mark, const char *between) {
  char first[WHAT_SIZE], last[WHAT_SIZE];
  char *old = whole_file(path), *start, *end;
  text to = {0};
  snprintf(first, sizeof first, "<!-- %s -->\n", mark);
  snprintf(last, sizeof last, "<!-- /%s -->\n", mark);
  start = strstr(old, first);
  end = start != NULL ? strstr(start, last) : NULL;
  if (end == NULL) give_up("%s: has no lines <!-- %s --> and <!-- /%s -->", path, mark, mark);
  start += strlen(first);
  add(&to, "%.*s%s%s", (int)(start - old), old, between, end);
  free(old);
  write_out(&to, path);
}

static void table_row(text *to, const row_result *row) {
  char own[NUMBER_SIZE], ns[3 * NUMBER_SIZE], ratio[3 * NUMBER_SIZE], asked[NUMBER_SIZE];
  int s;
  for (s = 1; s < row->count; s++) {
    const side_result *side = &row->sides[s];
    add(
      to, "| %s | %s | %s | %s | %s | ", s == 1 ? row->what : "",
      s == 1 ? time_text(row->sides[0].ns.median, own) : "", side->name,
      spread_text(side->ns, time_text, ns), ratios_text(side->ratio, ratio)
    );
    if (side->to_reach > 0)
      add(
        to, "≤ %s | %s |\n", ratio_text(side->to_reach, asked),
        side->ratio.median <= side->to_reach ? "reached" : "**missed**"
      );
    else
      add(to, "| |\n");
  }
}

static void write_aside(void) {
  char ns[3 * NUMBER_SIZE], ratio[3 * NUMBER_SIZE];
  text to = {0};
  int i, s;
  add(
    &to,
    "| | for one resolution it takes (quartiles) | less by × (quartiles) |\n|---|---|---|\n"
  );
  for (i = 0; i < row_count; i++) {
    if (!rows[i].is_aside) continue;
    add(&to, "| **%s** | | |\n", rows[i].what);
    for (s = 0; s < rows[i].count; s++) {
      const side_result *side = &rows[i].sides[s];
      add(
        &to, "| %s | %s | %s |\n", side->name, spread_text(side->ns, time_text, ns),
        s > 0 ? ratios_text(side->ratio, ratio) : ""
      );
    }
  }
  put_between_marks(files.readme, "beyond", to.bytes);
  free(to.bytes);
}

static void write_table(void) {
  text to = {0};
  int i;
  add(
    &to, "custmem %s, SQLite %s, %s, on %s. %s, `%s`; SQLite with `%s`.\n\n", custmem_version(),
    sqlite3_libversion(), date, machine, COMPILER, BENCH_FLAGS, BENCH_SQLITE_FLAGS
  );
  add(
    &to, "| what | custmem | beside | it takes (quartiles) | custmem is × (quartiles) | to "
         "reach | |\n"
  );
  add(&to, "|---|---|---|---|---|---|---|\n");
  for (i = 0; i < row_count; i++)
    if (!rows[i].is_aside) table_row(&to, &rows[i]);
  for (i = 0; i < size_count; i++) {
    add(
      &to, "| %s | %.1f KiB | | %s | | ", sizes[i].what, (double)sizes[i].bytes / 1024,
      sizes[i].how
    );
    if (sizes[i].to_reach > 0)
      add(
        &to, "≤ %.0f KiB | %s |\n", (double)sizes[i].to_reach / 1024,
        sizes[i].bytes <= sizes[i].to_reach ? "reached" : "**missed**"
      );
    else
      add(&to, "| |\n");
  }
  put_between_marks(files.readme, "results", to.bytes);
  free(to.bytes);
}

/* ---- The plot ------------------------------------------------------------------------------ */

#define PLOT_WIDTH  1200
#define PLOT_TOP    64
#define CURVE_LEFT  70
#define CURVE_WIDTH 370
#define BARS_LEFT   880
#define BAR_UNIT    120 /* as wide as all that is allowed */
#define BAR_HEIGHT  17
#define CUSTMEM_INK "#1f5fbf"
#define SQLITE_INK  "#5b636d"
#define OTHER_INK   "#b45309"

/* A curve: a side of the rows whose names begin so. */
typedef struct curve {
  const char *rows;
  const char *side;
  const char *ink;
  const char *dashes;
} curve;

static const curve CURVES[] = {
  {"resolve a page of 50, ", "custmem", CUSTMEM_INK, ""},
  {"resolve a page of 50, ", "SQLite by hand", SQLITE_INK, ""},
  {"resolve a page of 50, ", "LMDB", OTHER_INK, ""},
  {"resolve the same page of 50 again, ", "custmem", CUSTMEM_INK, "10 3 2 3"},
  {"resolve the same page of 50 again, ", "LMDB", OTHER_INK, "10 3 2 3"},
  {"resolve one at a time, exclusive, ", "custmem", CUSTMEM_INK, "6 4"},
  {"resolve one at a time, exclusive, ", "LMDB", OTHER_INK, "6 4"},
  {"resolve one at a time, shared, ", "custmem", CUSTMEM_INK, "2 3"},
  {"resolve one at a time, shared, ", "SQLite by hand", SQLITE_INK, "2 3"},
};

static const side_result *side_named(const row_result *row, const char *name) {
  int s;
  for (s = 0; s < row->count; s++)
    if (strcmp(row->sides[s].name, name) == 0) return &row->sides[s];
  return NULL;
}

/* A plot of curves: how high it is, and how many decades of time that are, from 100 ns on. */
typedef struct axes {
  double height;
  double decades;
} axes;

/* The curve's point that a row is, or NULL. */
static const side_result *point_of(const curve *which, const row_result *row) {
  return strncmp(row->what, which->rows, strlen(which->rows)) == 0
           ? side_named(row, which->side)
           : NULL;
}

static axes axes_for(double height) {
  axes to = {height, 2};
  size_t c;
  int i;
  for (c = 0; c < COUNT_OF(CURVES); c++)
    for (i = 0; i < row_count; i++) {
      const side_result *side = point_of(&CURVES[c], &rows[i]);
      if (side != NULL) to.decades = fmax(to.decades, ceil(log10(side->ns.median) - 2));
    }
  return to;
}

/* From 1 k to 1 M customers; both axes logarithmic. */
static double curve_x(double customers) {
  return CURVE_LEFT + CURVE_WIDTH * (log10(customers) - 3) / 3;
}

static double curve_y(double ns, const axes *in) {
  return PLOT_TOP + in->height * (in->decades + 2 - log10(ns)) / in->decades;
}

static void add_label(text *to, double x, double y, const char *anchor, const char *label) {
  add(to, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n", x, y, anchor, label);
}

static void add_line(text *to, double x1, double y1, double x2, double y2, const char *ink) {
  add(
    to, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>\n", x1, y1, x2,
    y2, ink
  );
}

static void add_axes(text *to, const axes *in) {
  static const int marks[] = {1, 2, 5};
  static const char *const customers[] = {"1 k", "10 k", "100 k", "1 M"};
  char label[NUMBER_SIZE];
  double height = in->height;
  size_t i;
  for (i = 0; i <= 3 * (size_t)in->decades; i++) {
    double ns = marks[i % 3] * pow(10, 2 + (double)(i / 3)), y = curve_y(ns, in);
    add_line(to, CURVE_LEFT, y, CURVE_LEFT + CURVE_WIDTH, y, "#dddddd");
    snprintf(
      label, sizeof label, ns < 1000 ? "%.0f ns" : "%.0f µs", ns < 1000 ? ns : ns / 1000
    );
    add_label(to, CURVE_LEFT - 6, y + 4, "end", label);
  }
  for (i = 0; i < COUNT_OF(customers); i++) {
    double x = curve_x(pow(10, 3 + (double)i));
    add_line(to, x, PLOT_TOP, x, PLOT_TOP + height, "#dddddd");
    add_label(to, x, PLOT_TOP + height + 16, "middle", customers[i]);
  }
  add_label(to, CURVE_LEFT + CURVE_WIDTH / 2.0, PLOT_TOP + height + 34, "middle", "customers");
}

/* Returns whether there was anything to draw. */
static int add_curve(text *to, const curve *which, const axes *in) {
  int i, points = 0;
  for (i = 0; i < row_count; i++) {
    const side_result *side = point_of(which, &rows[i]);
    double x, y;
    if (side == NULL) continue;
    x = curve_x((double)rows[i].customers);
    y = curve_y(side->ns.median, in);
    if (points++ == 0)
      add(
        to,
        "<polyline fill=\"none\" stroke-width=\"2\" stroke=\"%s\" stroke-dasharray=\"%s\" "
        "points=\"",
        which->ink, which->dashes
      );
    add(to, "%.1f,%.1f ", x, y);
  }
  if (points > 0) add(to, "\"/>\n");
  return points > 0;
}

static void add_curves(text *to, double height) {
  char label[2 * WHAT_SIZE];
  const axes in = axes_for(height);
  double y = PLOT_TOP + height + 60;
  size_t i;
  add_label(to, CURVE_LEFT, PLOT_TOP - 14, "start", "One resolution, median");
  add_axes(to, &in);
  for (i = 0; i < COUNT_OF(CURVES); i++) {
    if (!add_curve(to, &CURVES[i], &in)) continue;
    add(
      to,
      "<line x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\" stroke=\"%s\" stroke-width=\"2\" "
      "stroke-dasharray=\"%s\"/>\n",
      CURVE_LEFT, y - 4, CURVE_LEFT + 40, y - 4, CURVES[i].ink, CURVES[i].dashes
    );
    snprintf(label, sizeof label, "%s%s", CURVES[i].rows, CURVES[i].side);
    add_label(to, CURVE_LEFT + 48, y, "start", label);
    y += 18;
  }
}

/* A bar of `used` times what is allowed, cut at twice that. */
static void add_bar(text *to, int at, const char *label, double used, const char *value) {
  double y = PLOT_TOP + at * BAR_HEIGHT, shown = used < 2 ? used : 2;
  add(
    to, "<rect x=\"%d\" y=\"%.1f\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>\n", BARS_LEFT, y,
    shown * BAR_UNIT, BAR_HEIGHT - 5, used <= 1 ? CUSTMEM_INK : OTHER_INK
  );
  add_label(to, BARS_LEFT - 6, y + 10, "end", label);
  add_label(to, BARS_LEFT + shown * BAR_UNIT + 4, y + 10, "start", value);
}

static int add_bars(text *to) {
  char label[3 * WHAT_SIZE], value[NUMBER_SIZE], ratio[NUMBER_SIZE];
  int i, s, bars = 0;
  for (i = 0; i < row_count; i++)
    for (s = 1; s < rows[i].count; s++) {
      const side_result *side = &rows[i].sides[s];
      if (side->to_reach <= 0) continue;
      snprintf(label, sizeof label, "%.79s: %.79s", rows[i].what, side->name);
      snprintf(value, sizeof value, "× %.40s", ratio_text(side->ratio.median, ratio));
      add_bar(to, bars++, label, side->ratio.median / side->to_reach, value);
    }
  for (i = 0; i < size_count; i++) {
    if (sizes[i].to_reach <= 0) continue;
    snprintf(value, sizeof value, "%.0f KiB", (double)sizes[i].bytes / 1024);
    add_bar(
      to, bars++, sizes[i].what, (double)sizes[i].bytes / (double)sizes[i].to_reach, value
    );
  }
  add_label(to, BARS_LEFT, PLOT_TOP - 30, "start", "custmem: share of what is allowed");
  add_label(to, BARS_LEFT + BAR_UNIT, PLOT_TOP - 12, "middle", "all of it");
  add_line(
    to, BARS_LEFT + BAR_UNIT, PLOT_TOP - 8, BARS_LEFT + BAR_UNIT, PLOT_TOP + bars * BAR_HEIGHT,
    "#333333"
  );
  return bars;
}

static void write_svg(void) {
  text bars = {0}, to = {0};
  int count = add_bars(&bars), height = PLOT_TOP + count * BAR_HEIGHT + 20;
  double curve_height = 300;
  if (height < 580) height = 580;
  add(
    &to,
    "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d "
    "%d\" "
    "font-family=\"sans-serif\" font-size=\"12\" fill=\"#222222\">\n"
    "<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n",
    PLOT_WIDTH, height, PLOT_WIDTH, height
  );
  add(
    &to, "<text x=\"%d\" y=\"22\" font-weight=\"bold\">custmem %s, %s</text>\n", CURVE_LEFT,
    custmem_version(), date
  );
  add_curves(&to, curve_height);
  add(&to, "%s</svg>\n", bars.bytes);
  free(bars.bytes);
  write_out(&to, files.svg);
}

void report_end(void) {
  if (row_count + size_count == 0) give_up("no row has such a name");
  if (files.json != NULL) write_json();
  if (files.tsv != NULL) write_tsv();
  if (files.readme != NULL) write_table(), write_aside();
  if (files.svg != NULL) write_svg();
}
