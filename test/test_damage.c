/* SPDX-License-Identifier: MIT
**
** Damaged files: whatever became of a store's bytes, using it crashes nothing, hangs nowhere, and gives
** nobody a wrong customer or another instructor's.
**
** Four stores are made through custmem (damage.c), two of them with a -wal left over. Each image is
** a copy of one with one to three damages, drawn from a seed; it is then used through every call of
** the header, and every answer is held against what truly was written (whole_api.c). Everything lies
** in memory. The same seed and number make the same image:
**
**     CUSTMEM_SEED=20250615 CUSTMEM_FAULTS=all build/test_damage       (CUSTMEM_IMAGES=3000: so many)
**     CUSTMEM_SEED=20250615 CUSTMEM_IMAGE=4711 build/test_damage damaged_files_give_nobody_a_wrong_customer
*/
#define _XOPEN_SOURCE 700

#include "damage.h"
#include "memory_vfs.h"
#include "test.h"
#include "whole_api.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { IMAGES_ALL = 50000, IMAGES_FEW = 300, HANG_SECONDS = 60, SHOWN = 10 };

static base bases[DAMAGE_BASES];
static char directory[512];

/* ---- The campaign -------------------------------------------------------------------------- */

/* What became of a campaign's images. */
typedef struct tally {
  int64_t images;
  int64_t opened;
  int64_t refused;
  int64_t verify_told;
  int64_t anchor_told;
  int64_t check_told;
  int64_t shortened;
  int64_t broken;
} tally;

static int64_t images_of_campaign(void) {
  return (int64_t)test_setting("CUSTMEM_IMAGES", test_is_full() ? IMAGES_ALL : IMAGES_FEW);
}

static void hangs(int signal_number) {
  static const char message[] = "\ntest_damage: an image hangs\n";
  (void)signal_number;
  if (write(2, message, sizeof message - 1) < 0) _exit(2);
  _exit(1);
}

static void count(tally *sum, const whole_api_report *report) {
  sum->images++;
  sum->opened += report->opened;
  sum->refused += !report->opened;
  sum->verify_told += report->opened && !report->verified;
  sum->anchor_told += report->opened && !report->anchored;
  sum->check_told += report->opened && !report->checked;
  sum->shortened += report->shortened;
  sum->broken += report->broken[0] != '\0';
}

static void show_damage(int64_t number, const base *from, const uint8_t *damages, int used) {
  int i;
  printf("  image %" PRId64 " of \"%s\":", number, from->name);
  for (i = 0; i < used; i++) {
    const uint8_t *at = damages + (ptrdiff_t)i * DAMAGE_SIZE;
    printf(
      " %s(%d %d %d)", damage_name(at[0]), at[1], at[2] << 16 | at[3] << 8 | at[4],
      at[5] << 16 | at[6] << 8 | at[7]
    );
  }
  printf("\n");
}

/* How an image is used: mostly as it would be, and now and then otherwise. */
static unsigned draw_how(uint64_t *seed) {
  uint64_t drawn = test_random(seed);
  unsigned how = drawn % 8 < 4 ? WHOLE_API_WRITES : 0;
  if (drawn % 8 == 7) how = WHOLE_API_READ_ONLY;
  if (drawn / 8 % 8 == 0) how |= WHOLE_API_EXCLUSIVE;
  if (drawn / 64 % 8 == 0) how |= WHOLE_API_BACKUP;
  if (drawn / 512 % 4 == 0) how |= WHOLE_API_REOPEN;
  if (drawn / 2048 % 16 == 0) how |= WHOLE_API_HURT_OPEN;
  return how + WHOLE_API_TURN * (unsigned)(drawn / 32768 % 4);
}

/* Draws the damages of an image and does them. of_wal: to the -wal; in half of these its checksums are
** then made to fit, so that SQLite believes what it holds. */
static int draw_damage(
  uint64_t *seed,
  int of_wal,
  const base *from,
  image *hurt,
  uint8_t *drawn
) {
  int damages = 1 + (int)(test_random(seed) % 8 / 3), i, j;
  for (i = 0; i < damages; i++) {
    uint8_t *damage = drawn + (ptrdiff_t)i * DAMAGE_SIZE;
    for (j = 0; j < DAMAGE_SIZE; j++)
      damage[j] = (uint8_t)test_random(seed);
    damage[0] = (uint8_t)(damage[0] % (of_wal ? DAMAGE_WAL_CHECKSUM : DAMAGE_WAL_MISSING));
    damage[1] = (uint8_t)((damage[1] & 0xfe) | of_wal);
  }
  if (of_wal && test_random(seed) % 2 == 0) {
    memset(drawn + (ptrdiff_t)damages * DAMAGE_SIZE, 0, DAMAGE_SIZE);
    drawn[(ptrdiff_t)damages * DAMAGE_SIZE] = DAMAGE_WAL_CHECKSUM;
    damages++;
  }
  for (i = 0; i < damages; i++)
    damage_apply(hurt, from, drawn + (ptrdiff_t)i * DAMAGE_SIZE);
  return damages;
}

static void use_image(int64_t number, int of_wal, image *hurt, tally *sum) {
  uint8_t drawn[5 * DAMAGE_SIZE];
  whole_api_report report;
  uint64_t seed = test_seed() * UINT64_C(1000003) + (uint64_t)number * 2 + (uint64_t)of_wal;
  const base *from = &bases[of_wal ? 2 + number % 2 : number % DAMAGE_BASES];
  unsigned how = draw_how(&seed);
  int used;
  damage_copy(hurt, damage_last(from));
  used = draw_damage(&seed, of_wal, from, hurt, drawn);
  alarm(HANG_SECONDS);
  whole_api_use(directory, damage_last(from), hurt, &from->truth, how, &report);
  alarm(0);
  count(sum, &report);
  if (report.broken[0] != '\0' && sum->broken <= SHOWN) {
    show_damage(number, from, drawn, used);
    CHECK_TEXT(report.broken, "");
  }
}

static tally campaign(const char *what, int of_wal) {
  image hurt = {0};
  tally sum = {0};
  int64_t number = (int64_t)test_setting("CUSTMEM_IMAGE", 0);
  int64_t end = getenv("CUSTMEM_IMAGE") != NULL ? number + 1 : images_of_campaign();
  signal(SIGALRM, hangs);
  for (; number < end; number++)
    use_image(number, of_wal, &hurt, &sum);
  damage_free(&hurt);
  printf(
    "  %s: %" PRId64 " images, seed %" PRIu64 ": %" PRId64 " opened; of these %" PRId64
    " shown by verify, %" PRId64 " with an anchor, %" PRId64 " by check; %" PRId64
    " lost the end of a chain; %" PRId64 " broke a promise\n",
    what, sum.images, test_seed(), sum.opened, sum.verify_told, sum.anchor_told, sum.check_told,
    sum.shortened, sum.broken
  );
  CHECK_INT(sum.broken, 0);
  return sum;
}

TEST(damaged_files_give_nobody_a_wrong_customer) {
  tally sum = campaign("damaged files", 0);
  if (getenv("CUSTMEM_IMAGE") != NULL) return;
  CHECK(sum.opened > sum.images / 4);
  CHECK(sum.refused > sum.images / 50);
  CHECK(sum.check_told > sum.opened / 4);
  CHECK(sum.check_told < sum.opened);
}

TEST(damaged_wals_give_nobody_a_wrong_customer) {
  tally sum = campaign("damaged WALs", 1);
  if (getenv("CUSTMEM_IMAGE") != NULL) return;
  CHECK(sum.opened > sum.images / 4);
  CHECK(sum.shortened > 0);
  CHECK(sum.anchor_told >= sum.verify_told + sum.shortened / 2);
}

/* ---- What needs no chance ------------------------------------------------------------------ */

/* The harness itself: on whole files it finds nothing, whichever way it uses them. */
TEST(a_whole_file_breaks_no_promise_and_is_found_sound) {
  whole_api_report report;
  unsigned how;
  int i;
  for (i = 0; i < DAMAGE_BASES; i++) {
    const image *whole = damage_last(&bases[i]);
    for (how = 0; how < WHOLE_API_TURN; how++) {
      whole_api_use(directory, whole, whole, &bases[i].truth, how, &report);
      CHECK_TEXT(report.broken, "");
      CHECK(report.opened && report.verified && report.anchored && report.checked);
      CHECK_INT(report.shortened, 0);
    }
  }
}

/* Cut off behind each of its frames, and at some bytes within each, a -wal gives an earlier time of the
** store: sound in itself, and shown by the anchor alone. */
TEST(a_wal_that_ends_early_is_an_earlier_time_which_only_an_anchor_shows) {
  int64_t images = 0, sound = 0, lost = 0;
  int i;
  for (i = 2; i < DAMAGE_BASES; i++) {
    const image *whole = damage_last(&bases[i]);
    image cut = {0};
    whole_api_report report;
    size_t size;
    for (size = 0; size < whole->wal_size; size += 509) {
      damage_copy(&cut, whole);
      cut.wal_size = size;
      cut.has_wal = size > 0;
      whole_api_use(directory, whole, &cut, &bases[i].truth, 0, &report);
      CHECK_TEXT(report.broken, "");
      CHECK(report.opened && report.verified && report.checked);
      CHECK_INT(report.shortened, !report.anchored);
      images++;
      sound += report.checked;
      lost += report.shortened;
    }
    damage_free(&cut);
  }
  printf(
    "  cut WALs: %" PRId64 " images: %" PRId64 " sound in themselves, %" PRId64
    " of them shown by the anchor\n",
    images, sound, lost
  );
  CHECK(lost > images / 2);
}

/* The same file at every earlier time, and the -wal of another time beside it. */
TEST(an_older_file_or_wal_is_shown_by_an_anchor_or_is_refused) {
  int i, file, wal;
  for (i = 2; i < DAMAGE_BASES; i++)
    for (file = 0; file < bases[i].image_count; file++)
      for (wal = 0; wal < bases[i].image_count; wal++) {
        const image *newest = damage_last(&bases[i]);
        image mixed = {0};
        whole_api_report report;
        damage_copy(&mixed, &bases[i].images[wal]);
        mixed.db = memcpy(
          realloc(mixed.db, bases[i].images[file].db_size), bases[i].images[file].db,
          bases[i].images[file].db_size
        );
        mixed.db_size = bases[i].images[file].db_size;
        whole_api_use(directory, newest, &mixed, &bases[i].truth, WHOLE_API_WRITES, &report);
        CHECK_TEXT(report.broken, "");
        if (wal != bases[i].image_count - 1) CHECK(!report.anchored);
        damage_free(&mixed);
      }
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  snprintf(directory, sizeof directory, "%s", test_path(""));
  directory[strlen(directory) - 1] = '\0';
  if (memory_vfs_install() != 0 || !damage_make_bases(directory, bases)) {
    printf("the stores to be damaged cannot be made\n");
    return 1;
  }
  RUN(a_whole_file_breaks_no_promise_and_is_found_sound, "");
  RUN(damaged_files_give_nobody_a_wrong_customer, "CM-2.1 §2, §5; CM-2.3 §3.1, §8; CM-2.5");
  RUN(damaged_wals_give_nobody_a_wrong_customer, "CM-2.1 §2, §5; CM-2.3 §3.1, §8; CM-2.5");
  RUN(a_wal_that_ends_early_is_an_earlier_time_which_only_an_anchor_shows, "CM-2.5");
  RUN(an_older_file_or_wal_is_shown_by_an_anchor_or_is_refused, "CM-2.5");
  whole_api_clean(directory);
  damage_free_bases(bases);
  memory_vfs_remove();
  return test_report();
}
