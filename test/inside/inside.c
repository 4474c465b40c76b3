/* SPDX-License-Identifier: MIT
**
** What no public call can show: custmem.c is included here, to look at its own functions.
**
**   the sum over rows   its key is drawn anew for each verify, so that callers see only whether two sums
**                       are equal; here the hash is SipHash-1-3 as published, and each row counts with
**                       all that it holds
**   SQLite's answers    a check whose own reads fail answers in English, with a number in it: every answer
**                       that there can be is told apart, the ones that no fault on this system makes, too
**
** A program by itself, since it defines what the others link. Prints what failed; test/run.sh runs it.
*/
#ifndef CUSTMEM_C
#define CUSTMEM_C "../../custmem.c"
#endif
#include CUSTMEM_C /* NOLINT(bugprone-suspicious-include) */

#include <stdio.h>

static int failures;

#define CHECK(condition)                                                                       \
  do {                                                                                         \
    if (!(condition)) {                                                                        \
      printf("%s:%d: %s: %s\n", __FILE__, __LINE__, __func__, #condition);                     \
      failures++;                                                                              \
    }                                                                                          \
  } while (0)

/* The bytes 00, 01, 02 … are the key and the messages of SipHash's published vectors. A message's last
** word holds what is left of it, and its size in the highest byte. */
static const uint64_t KEY[2] = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};

static void the_hash_is_siphash_1_3(void) {
  static const uint64_t messages[][5] = {
    {UINT64_C(0)},
    {UINT64_C(0x0706050403020100), UINT64_C(0x0800000000000000)},
    {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908), UINT64_C(0x1000000000000000)},
    {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908), UINT64_C(0x1716151413121110),
     UINT64_C(0x1800000000000000)},
    {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908), UINT64_C(0x1716151413121110),
     UINT64_C(0x1f1e1d1c1b1a1918), UINT64_C(0x2000000000000000)},
  };
  static const uint64_t hashes[] = {
    UINT64_C(0xabac0158050fc4dc), UINT64_C(0x369095118d299a8e), UINT64_C(0xcc4fdd1a7d908b66),
    UINT64_C(0xf464aeb267349c8c), UINT64_C(0x81157b6c16a7b60d),
  };
  size_t i;
  for (i = 0; i < COUNT_OF(hashes); i++)
    CHECK(sip_hash(KEY, messages[i], i + 1) == hashes[i]);
  CHECK(sip_hash(KEY, messages[0], 0) == UINT64_C(0xb488fcf41c8cc5de));
}

static text text_or_none(const char *bytes) {
  return bytes != NULL ? text_of(bytes) : NO_TEXT;
}

/* A row's part of the sum, made from the words that add_row's comment describes. */
static uint64_t expected_row(const link_event *row) {
  const text texts[] = {row->conversation, row->previous, row->next};
  unsigned char bytes[256] = {0};
  uint64_t words[256 / 8 + 3];
  size_t size = 0, count, i;
  for (i = 0; i < COUNT_OF(texts); i++) {
    if (texts[i].size > 0) memcpy(bytes + size, texts[i].bytes, (size_t)texts[i].size);
    size += (size_t)texts[i].size + 1;
  }
  count = size / 8 + (size % 8 != 0);
  memcpy(words, bytes, 8 * count);
  words[count] = (uint64_t)row->seq;
  words[count + 1] = (uint64_t)row->created_at_ms;
  words[count + 2] = size;
  return sip_hash(KEY, words, count + 3);
}

/* Texts of every size that a conversation's id may have, so that they end at each place of a word. */
static void a_row_counts_with_all_that_it_holds(void) {
  static const char customer[] = "0197a3b2-c4d5-7e6f-8a9b-0c1d2e3f4a5b";
  static const char other[] = "0297a3b2-c4d5-7e6f-8a9b-0c1d2e3f4a5c";
  static const char *const pairs[][2] = {{NULL, customer}, {customer, NULL}, {customer, other}};
  char conversation[CUSTMEM_ID_MAX + 1];
  uint64_t expected = 5;
  row_sum sum = {{KEY[0], KEY[1]}, 5};
  size_t pair;
  int size;
  for (size = 1; size <= CUSTMEM_ID_MAX; size++) {
    memset(conversation, 'c', (size_t)size);
    conversation[size] = '\0';
    for (pair = 0; pair < COUNT_OF(pairs); pair++) {
      link_event row = {
        text_of(conversation), text_or_none(pairs[pair][0]), text_or_none(pairs[pair][1]),
        INT64_C(0x1122334455667788) + size, INT64_C(1764000000000) - size};
      expected += expected_row(&row);
      add_row(&sum, &row);
      CHECK(sum.sum == expected);
    }
  }
  CHECK(sum.key[0] == KEY[0] && sum.key[1] == KEY[1]);
}

static void a_check_that_could_not_read_is_told_from_damage(void) {
  CHECK(code_of_answer("unable to get the page. error code=7") == SQLITE_NOMEM);
  CHECK(code_of_answer("Tree 4: unable to get the page. error code=10\nmore") == SQLITE_IOERR);
  CHECK(code_of_answer("unable to get the page. error code=266") == SQLITE_IOERR_READ);
  CHECK(code_of_answer("unable to get the page. error code=522") == SQLITE_IOERR_SHORT_READ);
  CHECK(code_of_answer("unable to get the page. error code=3082") == SQLITE_IOERR_NOMEM);
  CHECK(code_of_answer("unable to get the page. error code=11") == SQLITE_CORRUPT);
  CHECK(code_of_answer("unable to get the page. error code=267") == SQLITE_CORRUPT);
  CHECK(code_of_answer("unable to get the page. error code=8") == SQLITE_CORRUPT);
  CHECK(code_of_answer("unable to get the page. error code=1") == SQLITE_CORRUPT);
  CHECK(code_of_answer("wrong # of entries in index customers_owner") == SQLITE_CORRUPT);
  CHECK(code_of_answer("row 266 missing from index customers_owner") == SQLITE_CORRUPT);
  CHECK(code_of_answer("") == SQLITE_CORRUPT);
}

int main(void) {
  the_hash_is_siphash_1_3();
  a_row_counts_with_all_that_it_holds();
  a_check_that_could_not_read_is_told_from_damage();
  return failures != 0;
}
