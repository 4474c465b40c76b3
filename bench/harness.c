/* SPDX-License-Identifier: MIT
**
** Rounds and statistics.
**
** In every round each side does the same work once, one after another, in an order drawn anew: so
** what disturbs the machine for longer than a round disturbs all sides alike, and none always has
** the processor's caches as the same other one left them. A ratio is taken within a round, and the middle one of all rounds is reported; it is much steadier than the
** two medians that it seems to be made of.
*/
#define _XOPEN_SOURCE 700

#include "bench.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS_MIN 3
#define ROUNDS_MAX 1000

static bench_choice chosen;
static volatile sig_atomic_t stopped;

void give_up(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fflush(stdout);
  fputs("bench: ", stderr);
  vfprintf(stderr, format, arguments);
  fputs("\n", stderr);
  va_end(arguments);
  exit(1);
}

static void stop(int signal_number) {
  stopped = signal_number;
}

void choose(const bench_choice *choice) {
  struct sigaction action;
  chosen = *choice;
  memset(&action, 0, sizeof action);
  action.sa_handler = stop;
  action.sa_flags = (int)SA_RESETHAND; /* the second one ends it at once */
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
}

int is_wanted(const char *what) {
  int i;
  for (i = 0; i < chosen.wanted_count; i++)
    if (strstr(what, chosen.wanted[i]) != NULL) return 1;
  return chosen.wanted_count == 0;
}

int rounds_of(int usual) {
  int rounds = (int)(usual * chosen.effort);
  if (chosen.counting) return 1;
  return rounds < ROUNDS_MIN ? ROUNDS_MIN : rounds > ROUNDS_MAX ? ROUNDS_MAX : rounds;
}

static int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int compare_doubles(const void *left, const void *right) {
  double a = *(const double *)left, b = *(const double *)right;
  return (a > b) - (a < b);
}

/* The value at a share of the way through sorted ones. */
static double at_share(const double *values, int count, double share) {
  double place = share * (count - 1);
  int below = (int)place, above = below + 1 < count ? below + 1 : below;
  return values[below] + (values[above] - values[below]) * (place - below);
}

/* Sorts the values. */
static spread spread_of(double *values, int count) {
  spread result;
  qsort(values, (size_t)count, sizeof *values, compare_doubles);
  result.min = values[0];
  result.low = at_share(values, count, 0.25);
  result.median = at_share(values, count, 0.5);
  result.high = at_share(values, count, 0.75);
  result.max = values[count - 1];
  return result;
}

/* costs[s * rounds + r] is what side s took in round r, in ns an operation. */
static void report_costs(const bench_row *row, double *costs) {
  double ratios[ROUNDS_MAX];
  row_result result;
  int s, r;
  memset(&result, 0, sizeof result);
  snprintf(result.what, sizeof result.what, "%s", row->what);
  snprintf(result.unit, sizeof result.unit, "%s", row->unit);
  result.customers = row->customers;
  result.operations = row->operations;
  result.is_aside = row->is_aside;
  result.rounds = row->rounds;
  result.count = row->count;
  for (s = 0; s < row->count; s++) {
    for (r = 0; r < row->rounds; r++)
      ratios[r] = costs[r] / costs[s * row->rounds + r];
    snprintf(result.sides[s].name, sizeof result.sides[s].name, "%s", row->sides[s].name);
    result.sides[s].to_reach = row->sides[s].to_reach;
    result.sides[s].ratio = spread_of(ratios, row->rounds);
  }
  for (s = 0; s < row->count; s++)
    result.sides[s].ns = spread_of(&costs[(ptrdiff_t)s * row->rounds], row->rounds);
  report_row(&result);
}

/* What is timed, and nothing else: a tool that counts instructions is told this name (and so the call
** in it is not its last act, which a compiler would make a jump). */
static volatile int runs;
__attribute__((noinline)) void timed_run(const timed_side *side);
void timed_run(const timed_side *side) {
  side->run(side->self);
  runs = runs + 1;
}

/* The sides' numbers, shuffled; where instructions are counted, as they are. */
static void draw_order(int order[SIDES_MAX], int count, uint64_t seed) {
  int i;
  for (i = 0; i < count; i++)
    order[i] = i;
  for (i = chosen.counting ? 0 : count; i-- > 1;) {
    int with = (int)(next_random(&seed) % ((uint64_t)i + 1)), moved = order[i];
    order[i] = order[with];
    order[with] = moved;
  }
}

void measure(const bench_row *row) {
  double *costs;
  int order[SIDES_MAX], r, turn;
  if (!is_wanted(row->what)) return;
  EXPECT(row->rounds <= ROUNDS_MAX && row->count <= SIDES_MAX);
  costs = malloc(sizeof *costs * (size_t)(row->rounds * row->count));
  if (costs == NULL) give_up("no memory");
  for (r = -1; r < row->rounds; r++) { /* round -1 warms up, and is not counted */
    if (row->prepare != NULL) row->prepare(row->context, r);
    draw_order(order, row->count, (uint64_t)r);
    for (turn = 0; turn < row->count; turn++) {
      int s = order[turn];
      int64_t start = now_ns();
      if (r < 0)
        row->sides[s].run(row->sides[s].self);
      else
        timed_run(&row->sides[s]);
      if (r >= 0)
        costs[s * row->rounds + r] = (double)(now_ns() - start) / (double)row->operations;
      if (stopped) give_up("stopped by signal %d", (int)stopped);
    }
  }
  report_costs(row, costs);
  free(costs);
}
