/* SPDX-License-Identifier: MIT
**
** What no public call can show: custmem.c is included here, to look at its own functions.
**
**   the sum over rows   its key is drawn anew for each verify, so that callers see only whether two sums
**                       are equal; here the hash is SipHash-1-3 as published, and each row counts with
**                       all that it holds
**   SQLite's answers    a check whose own reads fail answers in English, with a number in it: every answer
**                       that there can be is told apart, the ones that no fault on this system makes, too
**   rows                each column of each row that is read, with what only a damaged file could have in it
**   no memory           where a row's text is NULL because there was none for it
**   shortcuts           what is known already is not looked for again, and is still right
**   opening             an older library, files that another thread is making, an image without memory
**
** A program by itself, since it defines what the others link. Prints what failed; test/run.sh runs it.
*/
#include "../../sqlite3.h"

/* The version of the SQLite that is linked, as opening asks for it. */
static int library_version(void);
#define sqlite3_libversion_number library_version
#ifndef CUSTMEM_C
#define CUSTMEM_C "../../custmem.c"
#endif
#include CUSTMEM_C /* NOLINT(bugprone-suspicious-include) */

#include <stdio.h>
#include <sys/wait.h>

static int failures;
static custmem *store;

static int version_of_library = SQLITE_VERSION_NUMBER;

static int library_version(void) {
  return version_of_library;
}

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

/* ---- Rows ---------------------------------------------------------------------------------- */

/* What a column holds. BYTES: any text; ACTOR: one of two words; OURS: the number 1. */
enum kind_of_column { WORDS, LINES, BYTES, ACTOR, NUMBER, HASH, OURS, KINDS };

enum { VALUES_MAX = 7 };

/* What may be in a column, and what may not: as SQL. */
static const char *const GOOD[KINDS][VALUES_MAX] = {
  [WORDS] = {"'x'"},
  [LINES] = {"'x'", "char(120, 9, 10, 13)"},
  [BYTES] = {"'x'", "char(120, 10)", "CAST(x'ff' AS TEXT)"},
  [ACTOR] = {"'human'", "'system'"},
  [NUMBER] = {"0", "-5", "9223372036854775807"},
  [HASH] = {"zeroblob(32)"},
  [OURS] = {"1"},
};
static const char *const BAD[KINDS][VALUES_MAX] = {
  [WORDS] = {"''", "5", "x'41'", "char(120, 10)", "char(1)", "CAST(x'ff' AS TEXT)"},
  [LINES] = {"''", "5", "x'41'", "char(1)", "CAST(x'ff' AS TEXT)"},
  [BYTES] = {"''", "5", "x'41'"},
  [ACTOR] = {"''", "5", "'humane'", "'huma'", "'systems'", "x'68756d616e'"},
  [NUMBER] = {"'5'", "5.0", "x'05'", "NULL"},
  [HASH] = {"zeroblob(31)", "zeroblob(33)", "zeroblob(0)", "hex(zeroblob(16))", "5", "NULL"},
  [OURS] = {"0", "2", "-1", "'1'", "1.0", "NULL"},
};

/* A column, and for a text its largest size. */
typedef struct column {
  enum kind_of_column kind;
  int size_max;
  int may_be_null;
} column;

/* A row, and what reads it where a statement stands on it; gives a code. */
typedef struct row_of {
  int (*read)(sqlite3_stmt *stmt);
  int count;
  column columns[12];
} row_of;

/* A text of a size: a letter, and zeros. */
static const char *sized(char *sql, int letter, int size) {
  sprintf(sql, "substr('%c' || hex(zeroblob(1000)), 1, %d)", letter, size);
  return sql;
}

static sqlite3_stmt *select_row(const char *sql) {
  sqlite3_stmt *stmt = NULL;
  CHECK(sqlite3_prepare_v2(store->db, sql, -1, &stmt, NULL) == SQLITE_OK);
  CHECK(sqlite3_step(stmt) == SQLITE_ROW);
  return stmt;
}

/* Reads a row whose columns are as large as they may be, but for one, which is a value in SQL. */
static int read_with(const row_of *row, int odd, const char *value) {
  char sql[2048] = "SELECT ", text_sql[128];
  sqlite3_stmt *stmt;
  int i, rc;
  for (i = 0; i < row->count; i++) {
    const column *of = &row->columns[i];
    if (i > 0) strcat(sql, ", ");
    if (i == odd)
      strcat(sql, value);
    else if (of->size_max > 0)
      strcat(sql, sized(text_sql, 'a' + i, of->size_max));
    else
      strcat(sql, GOOD[of->kind][0]);
  }
  stmt = select_row(sql);
  store->errmsg[0] = '\0';
  rc = row->read(stmt);
  CHECK((rc == CUSTMEM_OK) == (store->errmsg[0] == '\0'));
  sqlite3_finalize(stmt);
  return rc;
}

static void check_value(const row_of *row, int odd, const char *value, int is_good) {
  int rc = read_with(row, odd, value);
  if (rc == (is_good ? CUSTMEM_OK : CUSTMEM_CORRUPT)) return;
  printf("%s: column %d as %s is read with code %d\n", __FILE__, odd, value, rc);
  failures++;
}

static void check_columns(const row_of *row) {
  char sql[128];
  int i, k;
  for (i = 0; i < row->count; i++) {
    const column *of = &row->columns[i];
    for (k = 0; k < VALUES_MAX && GOOD[of->kind][k] != NULL; k++)
      check_value(row, i, GOOD[of->kind][k], 1);
    for (k = 0; k < VALUES_MAX && BAD[of->kind][k] != NULL; k++)
      check_value(row, i, BAD[of->kind][k], 0);
    if (of->size_max == 0) continue;
    check_value(row, i, sized(sql, 'x', of->size_max), 1);
    check_value(row, i, sized(sql, 'x', of->size_max + 1), 0);
    check_value(row, i, sized(sql, 'x', of->size_max + 2), 0);
    check_value(row, i, "NULL", of->may_be_null);
  }
}

static event_fields an_event;
static custmem_event a_next_event;
static events_asked events_wanted;
static unsigned char event_hash[HASH_BYTES];
static custmem_customer a_customer;
static customer_asked customer_wanted;
static custmem_conversation a_conversation;
static text customer_of_conversation;
static link_event a_link;

static int read_into_event(sqlite3_stmt *stmt) {
  return read_event(store, stmt, &an_event, event_hash);
}

static int read_into_next_event(sqlite3_stmt *stmt) {
  return read_next_event(store, stmt, &events_wanted, events_wanted.after_seq, &a_next_event);
}

static int read_into_customer(sqlite3_stmt *stmt) {
  return read_customer(store, stmt, &customer_wanted, &a_customer);
}

static int read_into_conversation(sqlite3_stmt *stmt) {
  return read_conversation(store, stmt, customer_of_conversation, &a_conversation);
}

static int read_into_linked(sqlite3_stmt *stmt) {
  return read_link_event(store, stmt, &a_link);
}

#define EVENT_ROW                                                                              \
  12, {                                                                                        \
    {WORDS, CUSTMEM_ID_MAX, 0}, {NUMBER, 0, 0}, {WORDS, CUSTMEM_EVENT_NAME_MAX, 0},            \
      {WORDS, CUSTMEM_ID_MAX, 0}, {WORDS, CUSTMEM_UUID_SIZE, 1},                               \
      {WORDS, CUSTMEM_UUID_SIZE, 1}, {ACTOR, 0, 0}, {WORDS, CUSTMEM_ID_MAX, 1},                \
      {LINES, CUSTMEM_REASON_MAX, 0}, {LINES, CUSTMEM_CONTEXT_MAX, 1}, {NUMBER, 0, 0},         \
      {HASH, 0, 0},                                                                            \
  }

static const row_of EVENT = {read_into_event, EVENT_ROW};
static const row_of NEXT_EVENT = {read_into_next_event, EVENT_ROW};
static const row_of CUSTOMER = {
  read_into_customer,
  7,
  {{WORDS, CUSTMEM_UUID_SIZE, 0},
   {WORDS, CUSTMEM_ID_MAX, 0},
   {WORDS, CUSTMEM_CHANNEL_MAX, 0},
   {WORDS, CUSTMEM_IDENTIFIER_MAX, 0},
   {WORDS, CUSTMEM_DISPLAY_MAX, 1},
   {NUMBER, 0, 0},
   {NUMBER, 0, 0}}};
static const row_of CONVERSATION = {
  read_into_conversation,
  5,
  {{WORDS, CUSTMEM_ID_MAX, 0},
   {WORDS, CUSTMEM_UUID_SIZE, 0},
   {NUMBER, 0, 0},
   {NUMBER, 0, 0},
   {OURS, 0, 0}}};
static const row_of LINKED = {
  read_into_linked,
  5,
  {{WORDS, CUSTMEM_ID_MAX, 0},
   {NUMBER, 0, 0},
   {BYTES, CUSTMEM_UUID_SIZE, 1},
   {BYTES, CUSTMEM_UUID_SIZE, 1},
   {NUMBER, 0, 0}}};

static void what_no_call_would_have_stored_is_damage_in_every_column(void) {
  check_columns(&EVENT);
  check_columns(&CUSTOMER);
  check_columns(&CONVERSATION);
  check_columns(&LINKED);
}

static void each_column_is_read_into_its_field(void) {
  CHECK(read_with(&EVENT, 1, "42") == CUSTMEM_OK);
  CHECK(an_event.seq == 42 && an_event.created_at_ms == 0);
  CHECK(
    an_event.instructor.size == CUSTMEM_ID_MAX && an_event.context.size == CUSTMEM_CONTEXT_MAX
  );
  CHECK(read_with(&EVENT, 10, "43") == CUSTMEM_OK);
  CHECK(an_event.seq == 0 && an_event.created_at_ms == 43);
  CHECK(read_with(&CUSTOMER, 5, "44") == CUSTMEM_OK);
  CHECK(a_customer.created_at_ms == 44 && a_customer.updated_at_ms == 0);
  CHECK(strlen(a_customer.id) == CUSTMEM_UUID_SIZE && a_customer.id[0] == 'a');
  CHECK(
    strlen(a_customer.instructor_id) == CUSTMEM_ID_MAX && a_customer.instructor_id[0] == 'b'
  );
  CHECK(strlen(a_customer.channel) == CUSTMEM_CHANNEL_MAX && a_customer.channel[0] == 'c');
  CHECK(strlen(a_customer.normalized_identifier) == CUSTMEM_IDENTIFIER_MAX);
  CHECK(strlen(a_customer.display_identifier) == CUSTMEM_DISPLAY_MAX);
  CHECK(read_with(&CUSTOMER, 6, "45") == CUSTMEM_OK);
  CHECK(a_customer.created_at_ms == 0 && a_customer.updated_at_ms == 45);
  CHECK(read_with(&CUSTOMER, 4, "NULL") == CUSTMEM_OK);
  CHECK(a_customer.display_identifier[0] == '\0');
}

/* Only the text that was asked for is taken in its place. */
static void check_asked(const row_of *row, int odd, text *wanted) {
  *wanted = text_of("asked for");
  CHECK(read_with(row, odd, "'asked for'") == CUSTMEM_OK);
  CHECK(read_with(row, odd, "'asked fox'") == CUSTMEM_CORRUPT);
  CHECK(read_with(row, odd, "'asked fo'") == CUSTMEM_CORRUPT);
  CHECK(read_with(row, odd, "'asked for it'") == CUSTMEM_CORRUPT);
  *wanted = NO_TEXT;
}

static void a_row_in_anothers_place_is_damage(void) {
  check_asked(&CUSTOMER, 1, &customer_wanted.instructor);
  check_asked(&CUSTOMER, 2, &customer_wanted.channel);
  check_asked(&CUSTOMER, 3, &customer_wanted.key);
  check_asked(&CONVERSATION, 1, &customer_of_conversation);
  events_wanted.after_seq = -1;
  check_asked(&NEXT_EVENT, 0, &events_wanted.instructor);
  check_asked(&NEXT_EVENT, 3, &events_wanted.conversation);
  events_wanted.after_seq = 7;
  CHECK(read_with(&NEXT_EVENT, 1, "8") == CUSTMEM_OK);
  CHECK(read_with(&NEXT_EVENT, 1, "7") == CUSTMEM_CORRUPT);
  CHECK(read_with(&NEXT_EVENT, 1, "6") == CUSTMEM_CORRUPT);
}

/* Ids come one behind the other: a longer one behind its beginning. */
static void a_list_out_of_order_is_damage(void) {
  text before = FROM_START;
  CHECK(follows(store, "b", &before) == CUSTMEM_OK && is_text(before, "b"));
  CHECK(follows(store, "ba", &before) == CUSTMEM_OK && is_text(before, "ba"));
  CHECK(follows(store, "bb", &before) == CUSTMEM_OK && is_text(before, "bb"));
  CHECK(follows(store, "c", &before) == CUSTMEM_OK && is_text(before, "c"));
  CHECK(follows(store, "c", &before) == CUSTMEM_CORRUPT);
  CHECK(follows(store, "bz", &before) == CUSTMEM_CORRUPT);
  before = text_of("ca");
  CHECK(follows(store, "c", &before) == CUSTMEM_CORRUPT);
  CHECK(follows(store, "\xc3\xa9", &before) == CUSTMEM_OK);
  CHECK(follows(store, "d", &before) == CUSTMEM_CORRUPT);
}

/* ---- No memory ----------------------------------------------------------------------------- */

/* Makes the connection's last failure one of memory. */
static void run_out_of_memory(void) {
  sqlite3_stmt *stmt = NULL;
  CHECK(
    sqlite3_prepare_v2(store->db, "SELECT zeroblob(1 << 19)", -1, &stmt, NULL) == SQLITE_OK
  );
  sqlite3_hard_heap_limit64(1);
  CHECK(sqlite3_step(stmt) == SQLITE_NOMEM);
  sqlite3_hard_heap_limit64(0);
  sqlite3_finalize(stmt);
  CHECK(sqlite3_errcode(store->db) == SQLITE_NOMEM);
}

static void forget_the_failure(void) {
  sqlite3_finalize(select_row("SELECT 1"));
}

static void memory_that_ran_out_is_not_taken_for_damage(void) {
  row_reader row = {NULL, 0, CUSTMEM_CORRUPT};
  sqlite3_stmt *stmt = select_row("SELECT 'conversation', 5");
  link_walk links = {stmt, 1, 0, ""};
  int is_there = 1;
  CHECK(row_code(store, &row, "a row") == CUSTMEM_CORRUPT);
  CHECK(strcmp(store->errmsg, "the store holds a row that cannot be") == 0);
  CHECK(
    is_at_link(store, &links, text_of("instructor"), text_of("conversation"), &is_there) ==
    CUSTMEM_OK
  );
  CHECK(!is_there);
  run_out_of_memory();
  CHECK(row_code(store, &row, "a row") == CUSTMEM_NOMEM);
  CHECK(strstr(store->errmsg, custmem_strerror(CUSTMEM_NOMEM)) == store->errmsg);
  CHECK(
    is_at_link(store, &links, text_of("instructor"), text_of("conversation"), &is_there) ==
    CUSTMEM_NOMEM
  );
  CHECK(!is_there);
  row.code = CUSTMEM_OK;
  CHECK(row_code(store, &row, "a row") == CUSTMEM_OK);
  sqlite3_finalize(stmt);
  forget_the_failure();
}

/* ---- What is found for a conversation -------------------------------------------------------- */

static custmem_query one_query = {"conversation", "sms", NULL, 0};
static custmem_resolution a_resolution;
static resolving one =
  {.queries = &one_query, .resolutions = &a_resolution, .count = 1, .errarg = ""};

/* Takes what a row says while the resolution has a why; gives whether that settles it. */
static int take_row(const char *sql, int why) {
  sqlite3_stmt *stmt = select_row(sql);
  int is_settled;
  memset(&a_resolution, 0, sizeof a_resolution);
  a_resolution.why = why;
  one.code = CUSTMEM_OK;
  is_settled = take_found(store, stmt, &one, 0);
  sqlite3_finalize(stmt);
  return is_settled;
}

static void what_is_found_is_taken_for_what_it_is(void) {
  enum { NO = CUSTMEM_WHY_NO_MATCH };
  CHECK(take_row("SELECT 0, 0, 'conversation', NULL", NO) == 1);
  CHECK(a_resolution.why == CUSTMEM_WHY_OTHER_INSTRUCTOR && one.code == CUSTMEM_OK);
  CHECK(take_row("SELECT 0, 1, 'conversation', NULL", NO) == 0);
  CHECK(a_resolution.why == CUSTMEM_WHY_NO_MATCH && one.code == CUSTMEM_OK);
  CHECK(take_row("SELECT 0, 2, 'conversation', 'customer'", NO) == 1);
  CHECK(a_resolution.why == CUSTMEM_WHY_EXPLICIT_LINK && one.code == CUSTMEM_OK);
  CHECK(strcmp(a_resolution.customer_id, "customer") == 0);
  CHECK(take_row("SELECT 0, 3, NULL, 'customer'", NO) == 0);
  CHECK(a_resolution.why == CUSTMEM_WHY_ONE_MATCH && one.code == CUSTMEM_OK);
  CHECK(take_row("SELECT 0, 3, NULL, 'customer'", CUSTMEM_WHY_ONE_MATCH) == 0);
  CHECK(a_resolution.why == CUSTMEM_WHY_MANY_MATCHES && one.code == CUSTMEM_OK);
  CHECK(take_row("SELECT 0, 3, NULL, 'customer'", CUSTMEM_WHY_MANY_MATCHES) == 0);
  CHECK(a_resolution.why == CUSTMEM_WHY_MANY_MATCHES && one.code == CUSTMEM_OK);
}

/* A failure is the row's and the call's, and settles it. */
static void check_refused(const char *sql, int is_settled, const char *message) {
  CHECK(take_row(sql, CUSTMEM_WHY_NO_MATCH) == is_settled);
  CHECK(a_resolution.why == CUSTMEM_WHY_LOOKUP_FAILED);
  CHECK(one.code == CUSTMEM_CORRUPT);
  CHECK(strcmp(one.errmsg, message) == 0);
}

static void what_is_found_in_anothers_place_is_damage(void) {
  static const char in_place[] = "the store holds a link in another's place that cannot be";
  check_refused("SELECT 0, 1, 'conversatiom', NULL", 1, in_place);
  check_refused("SELECT 0, 2, 'conversation2', 'customer'", 1, in_place);
  check_refused("SELECT 0, 2, 'conversation' || char(10), 'customer'", 1, in_place);
  check_refused("SELECT 0, 0, x'00', NULL", 1, in_place);
  check_refused("SELECT 0, 1, hex(zeroblob(33)), NULL", 1, in_place);
  check_refused(
    "SELECT 0, 2, 'conversation', NULL", 1, "the store holds a link to nobody that cannot be"
  );
  check_refused("SELECT 0, 3, NULL, NULL", 0, "the store holds a customer that cannot be");
  check_refused("SELECT 0, 3, NULL, 5", 0, "the store holds a customer that cannot be");
}

/* The first row's failure is the call's; of one row's the last. */
static void the_first_row_that_failed_says_why(void) {
  custmem_resolution resolutions[3] = {{.why = CUSTMEM_WHY_NO_MATCH}};
  resolving many = {.resolutions = resolutions, .count = 3, .errarg = ""};
  fail_row(store, &many, 1, fail(store, CUSTMEM_IO, "one", "first"));
  CHECK(many.code == CUSTMEM_IO && many.failed_row == 1 && strcmp(many.errmsg, "first") == 0);
  fail_row(store, &many, 2, fail(store, CUSTMEM_BUSY, "two", "second"));
  CHECK(many.code == CUSTMEM_IO && strcmp(many.errarg, "one") == 0);
  fail_row(store, &many, 1, fail(store, CUSTMEM_NOMEM, "three", "third"));
  CHECK(many.code == CUSTMEM_NOMEM && strcmp(many.errarg, "three") == 0);
  fail_row(store, &many, 0, fail(store, CUSTMEM_FULL, "four", "fourth"));
  CHECK(many.code == CUSTMEM_FULL && many.failed_row == 0);
  fail_row(store, &many, 1, fail(store, CUSTMEM_IO, "five", "fifth"));
  CHECK(many.code == CUSTMEM_FULL && strcmp(many.errmsg, "fourth") == 0);
  CHECK(resolutions[2].why == CUSTMEM_WHY_LOOKUP_FAILED);
}

static kept_answers answers;

/* Whether the request of a conversation is kept, as if its hash were what it is not. */
static int is_kept_at(const char *conversation, uint64_t hash, int keep_it) {
  custmem_resolution resolution = {.why = CUSTMEM_WHY_NO_MATCH};
  resolving asked = {.resolutions = &resolution, .kept = &answers, .errarg = ""};
  lookup wanted = {.why = CUSTMEM_WHY_NO_MATCH};
  asked.instructor = text_of("instructor");
  wanted.conversation = text_of(conversation);
  make_request(&asked, &wanted);
  CHECK(wanted.size == strlen(conversation) + strlen("instructor") + 4);
  CHECK(memcmp(wanted.request, conversation, strlen(conversation) + 1) == 0);
  wanted.hash = hash;
  if (keep_it) keep(&asked, &wanted);
  return recall(&asked, &wanted);
}

/* Requests that share their places: eight have room, the ninth takes the last one's; the next version's are
** put in the first. Places go round at the end of the table. */
static void a_request_has_eight_places(void) {
  char name[] = "talk-0";
  const uint64_t home = KEPT_ANSWERS - 3;
  int i;
  answers.version = 7;
  for (i = 0; i < KEPT_PLACES; i++) {
    name[5] = (char)('0' + i);
    CHECK(!is_kept_at(name, home, 0));
    CHECK(is_kept_at(name, home, 1));
  }
  CHECK(is_kept_at("talk-8", home, 1));
  CHECK(!is_kept_at("talk-7", home, 0));
  for (i = 0; i < KEPT_PLACES - 1; i++) {
    name[5] = (char)('0' + i);
    CHECK(is_kept_at(name, home, 0));
    CHECK(is_kept_at(name, home + KEPT_ANSWERS, 0));
    CHECK(answers.answers[(KEPT_ANSWERS - 3 + i) % KEPT_ANSWERS].request[0] != 0);
  }
  CHECK(answers.answers[KEPT_ANSWERS - 4].version == 0 && answers.answers[5].version == 0);
  answers.version = 8;
  for (i = 0; i <= KEPT_PLACES; i++) {
    name[5] = (char)('0' + i);
    CHECK(!is_kept_at(name, home, 0));
  }
  CHECK(is_kept_at("talk-5", home, 1));
  CHECK(answers.answers[KEPT_ANSWERS - 3].version == 8);
  CHECK(answers.answers[KEPT_ANSWERS - 2].version == 7);
}

/* The size of the request of texts that are so long, and of an instructor's id of ten bytes; 0 where it is
** not kept. */
static size_t size_of_request(int conversation_size, int key_size) {
  static const char letters[] =
    "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz"
    "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz"
    "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz";
  resolving asked = {.kept = &answers, .errarg = ""};
  lookup wanted = {.why = CUSTMEM_WHY_NO_MATCH};
  text conversation = {letters, conversation_size}, key = {letters + 1, key_size};
  asked.instructor = text_of("instructor");
  wanted.conversation = conversation;
  wanted.channel = text_of("phone");
  wanted.key = key;
  make_request(&asked, &wanted);
  if (wanted.size > 0) CHECK(memcmp(wanted.request, letters, (size_t)conversation_size) == 0);
  return wanted.size;
}

static void a_request_that_is_too_long_is_not_kept(void) {
  int size;
  for (size = 1; size <= CUSTMEM_ID_MAX; size++) {
    size_t all = (size_t)size + strlen("instructor") + strlen("phone") + 4;
    CHECK(size_of_request(size, REQUEST_SIZE_MAX - (int)all) == REQUEST_SIZE_MAX);
    CHECK(size_of_request(size, REQUEST_SIZE_MAX - (int)all - 1) == REQUEST_SIZE_MAX - 1);
    CHECK(size_of_request(size, REQUEST_SIZE_MAX - (int)all + 1) == 0);
  }
}

/* Requests of the greatest size beside each other. */
static void a_kept_request_ends_where_the_next_answer_begins(void) {
  char conversation[REQUEST_SIZE_MAX - sizeof "instructor" - 3 + 1];
  int i, round;
  answers.version = 9;
  memset(conversation, 'x', sizeof conversation - 1);
  conversation[sizeof conversation - 1] = '\0';
  for (round = 0; round < 2; round++)
    for (i = KEPT_PLACES - 1; i >= 0; i--) {
      conversation[0] = (char)('a' + i);
      CHECK(is_kept_at(conversation, (uint64_t)i, 1));
    }
  for (i = 0; i < KEPT_PLACES; i++) {
    conversation[0] = (char)('a' + i);
    CHECK(is_kept_at(conversation, (uint64_t)i, 0));
  }
}

static void a_channels_rule_is_kept_for_the_next_one_of_its_name(void) {
  resolving many = {.errarg = ""};
  CHECK(take_channel(&many, NULL) == CUSTMEM_REFUSED_BAD_CHANNEL);
  CHECK(many.channel == NULL);
  CHECK(take_channel(&many, "phone/y") == CUSTMEM_ACCEPTED);
  CHECK(
    many.normalize == normalize_phone && many.channel != NULL &&
    strcmp(many.channel, "phone/y") == 0
  );
  CHECK(take_channel(&many, "phone/y") == CUSTMEM_ACCEPTED);
  CHECK(take_channel(&many, "phone/z") == CUSTMEM_ACCEPTED);
  CHECK(take_channel(&many, "phone/{") == CUSTMEM_REFUSED_BAD_CHANNEL && many.channel == NULL);
  CHECK(take_channel(&many, "phone/z") == CUSTMEM_ACCEPTED);
  CHECK(take_channel(&many, "phone/z{") == CUSTMEM_REFUSED_BAD_CHANNEL);
  CHECK(take_channel(&many, "emaik") == CUSTMEM_REFUSED_UNKNOWN_CHANNEL);
  CHECK(take_channel(&many, "email") == CUSTMEM_ACCEPTED && many.normalize == normalize_email);
  CHECK(
    take_channel(&many, "emaim") == CUSTMEM_REFUSED_UNKNOWN_CHANNEL && many.channel == NULL
  );
}

/* ---- Verifying ----------------------------------------------------------------------------- */

/* One event after the chain's `seq`, made well but for one column: the fault, and what it is said of. */
static void check_event(
  int odd,
  const char *value,
  int64_t seq,
  int fault,
  const char *subject,
  const char *detail
) {
  chain walked = {text_of("instructor"), "instructor", 0, {0}, {{0, 0}, 0}};
  custmem_report report;
  char sql[1024], hex[CUSTMEM_HASH_SIZE + 1];
  static const char *const made[] = {
    "'instructor'",   "8",       "'conversation.customer_linked'",
    "'conversation'", "NULL",    "'customer'",
    "'human'",        "'actor'", "'reason'",
    "NULL",           "5",       NULL};
  event_fields fields = {
    text_of("instructor"),
    8,
    text_of("conversation.customer_linked"),
    text_of("conversation"),
    NO_TEXT,
    text_of("customer"),
    text_of("human"),
    text_of("actor"),
    text_of("reason"),
    NO_TEXT,
    5};
  unsigned char hash[HASH_BYTES] = {0};
  sqlite3_stmt *stmt;
  int i, rc;
  hash_of_event(&fields, hash);
  to_hex(hash, sizeof hash, hex);
  strcpy(sql, "SELECT ");
  for (i = 0; made[i] != NULL; i++) {
    strcat(sql, i == odd ? value : made[i]);
    strcat(sql, ", ");
  }
  sprintf(sql + strlen(sql), "x'%s'", hex);
  memset(&report, 0, sizeof report);
  walked.seq = seq;
  stmt = select_row(sql);
  rc = verify_event(store, stmt, &walked, &report);
  sqlite3_finalize(stmt);
  CHECK(rc == (fault == CUSTMEM_FAULT_NONE ? CUSTMEM_OK : CUSTMEM_BROKEN));
  CHECK(report.fault == fault);
  CHECK(report.seq == (fault == CUSTMEM_FAULT_NONE ? 0 : seq + 1));
  CHECK(report.events == (fault == CUSTMEM_FAULT_NONE));
  CHECK(strcmp(report.subject, subject) == 0);
  CHECK(strcmp(report.detail, detail) == 0);
  CHECK(strcmp(report.instructor_id, fault == CUSTMEM_FAULT_NONE ? "" : "instructor") == 0);
}

static void a_fault_in_a_chain_names_what_it_is_of(void) {
  check_event(8, "'reason'", 7, CUSTMEM_FAULT_NONE, "", "");
  check_event(1, "9", 7, CUSTMEM_FAULT_SEQUENCE, "", "an audit event is missing");
  check_event(8, "'reason'", 6, CUSTMEM_FAULT_SEQUENCE, "", "an audit event is missing");
  check_event(
    8, "'another'", 7, CUSTMEM_FAULT_HASH, "conversation",
    "an audit event is not the one that was written"
  );
  check_event(3, "char(1)", 7, CUSTMEM_FAULT_FIELD, "", "an audit event cannot be read");
}

/* What no write makes, though its hash is right; and ids of one character, which are as good as any. */
static void what_no_write_makes_is_no_sound_event(void) {
  event_fields made = {
    text_of("i"),
    1,
    text_of("conversation.customer_relinked"),
    text_of("c"),
    text_of("p"),
    text_of("n"),
    text_of("human"),
    text_of("a"),
    text_of("r"),
    NO_TEXT,
    5};
  unsigned char stored[HASH_BYTES] = {0};
  chain walked = {text_of("i"), "i", 1, {0}, {{0, 0}, 0}};
  const char *detail = NULL;
  CHECK(is_sound(&made));
  made.next = NO_TEXT;
  CHECK(!is_sound(&made));
  made.name = text_of("conversation.customer_unlinked");
  CHECK(is_sound(&made));
  made.next = text_of("n"), made.previous = NO_TEXT;
  CHECK(!is_sound(&made));
  made.name = text_of("conversation.customer_linked");
  CHECK(is_sound(&made));
  made.actor_id = NO_TEXT;
  CHECK(!is_sound(&made));
  made.actor_type = text_of("system");
  CHECK(is_sound(&made));
  made.created_at_ms = CLOCK_LIMIT - 1;
  CHECK(is_sound(&made));
  made.created_at_ms = 0;
  CHECK(is_sound(&made));
  made.created_at_ms = CLOCK_LIMIT;
  CHECK(!is_sound(&made));
  made.created_at_ms = -1;
  CHECK(!is_sound(&made));
  hash_of_event(&made, stored);
  CHECK(judge_event(&walked, &made, stored, &detail) == CUSTMEM_FAULT_FIELD);
  CHECK(detail != NULL && strcmp(detail, "an audit event says what no write makes") == 0);
}

static void an_event_that_there_is_no_memory_for_is_no_fault(void) {
  sqlite3_stmt *stmt = select_row("SELECT NULL, 1, '', '', '', '', '', '', '', '', '', ''");
  chain walked = {text_of("instructor"), "instructor", 0, {0}, {{0, 0}, 0}};
  custmem_report report;
  memset(&report, 0, sizeof report);
  run_out_of_memory();
  CHECK(verify_event(store, stmt, &walked, &report) == CUSTMEM_NOMEM);
  CHECK(report.fault == CUSTMEM_FAULT_NONE && report.events == 0 && walked.seq == 0);
  sqlite3_finalize(stmt);
  forget_the_failure();
}

/* ---- Calls --------------------------------------------------------------------------------- */

static int cached_bytes(const custmem *of) {
  int now = 0, most = 0;
  CHECK(sqlite3_db_status(of->db, SQLITE_DBSTATUS_CACHE_USED, &now, &most, 0) == SQLITE_OK);
  return now;
}

/* Pages that were found damaged are read anew: they may have passed for sound, being cached. */
static void damage_leaves_no_page_cached(void) {
  char directory[256] = "/tmp/custmem-inside-XXXXXX", path[300];
  custmem *file = NULL;
  int full;
  CHECK(mkdtemp(directory) != NULL);
  sprintf(path, "%s/store.db", directory);
  CHECK(custmem_open(path, NULL, &file) == CUSTMEM_OK);
  if (file == NULL) return;
  full = cached_bytes(file);
  CHECK(leave(file, CUSTMEM_OK) == CUSTMEM_OK && cached_bytes(file) == full);
  CHECK(leave(file, CUSTMEM_NO_CUSTOMER) == CUSTMEM_NO_CUSTOMER && cached_bytes(file) == full);
  CHECK(leave(file, CUSTMEM_CORRUPT) == CUSTMEM_CORRUPT && cached_bytes(file) < full);
  CHECK(check_schema(file) == CUSTMEM_OK);
  full = cached_bytes(file);
  CHECK(leave(file, CUSTMEM_BROKEN) == CUSTMEM_BROKEN && cached_bytes(file) < full);
  custmem_close(file);
  unlink(path);
  CHECK(rmdir(directory) == 0);
}

static void a_call_that_ends_well_leaves_no_message(void) {
  store->in_call = 1;
  fail(store, CUSTMEM_BUSY, "argument", "message");
  CHECK(leave(store, CUSTMEM_BUSY) == CUSTMEM_BUSY && !store->in_call);
  CHECK(strcmp(store->errarg, "argument") == 0 && strcmp(store->errmsg, "message") == 0);
  CHECK(leave(store, CUSTMEM_OK) == CUSTMEM_OK);
  CHECK(strcmp(store->errarg, "") == 0 && strcmp(store->errmsg, "") == 0);
}

/* ---- Opening ------------------------------------------------------------------------------- */

static void an_older_library_is_refused(void) {
  custmem_options options;
  custmem *opened = NULL;
  char message[CUSTMEM_MESSAGE_MAX + 1];
  custmem_options_init(&options);
  options.message = message;
  options.message_size = sizeof message;
  version_of_library = OLDEST_SQLITE - 1;
  CHECK(custmem_open(":memory:", &options, &opened) == CUSTMEM_OLD_SQLITE && opened == NULL);
  CHECK(strstr(message, "3.51.3 is needed") != NULL);
  version_of_library = OLDEST_SQLITE;
  CHECK(custmem_open(":memory:", &options, &opened) == CUSTMEM_OK && message[0] == '\0');
  custmem_close(opened);
  version_of_library = SQLITE_VERSION_NUMBER;
}

static int sleeps;

/* Sleeps for the one who waits, and lets go what is waited for. */
static int sleep_and_let_go(sqlite3_vfs *vfs, int microseconds) {
  (void)vfs;
  sleeps++;
  unlock_files();
  return microseconds;
}

/* While a thread makes a file and closes it, no other one looks for files or makes one. */
static void files_are_looked_for_and_made_by_one_thread_at_a_time(void) {
  sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
  int (*sleep_of_the_system)(sqlite3_vfs *, int) = vfs->xSleep;
  char directory[256] = "/tmp/custmem-inside-XXXXXX", path[300];
  enum place place;
  CHECK(mkdtemp(directory) != NULL);
  sprintf(path, "%s/made", directory);
  vfs->xSleep = sleep_and_let_go;
  lock_files();
  CHECK(sleeps == 0);
  CHECK(look_at_path(store, path, &place) == CUSTMEM_OK && place == NOWHERE);
  CHECK(sleeps == 1);
  lock_files();
  CHECK(sleeps == 1);
  CHECK(create_file(store, path) == CUSTMEM_OK);
  CHECK(sleeps == 2);
  CHECK(look_at_path(store, path, &place) == CUSTMEM_OK && place == EMPTY_FILE);
  CHECK(create_file(store, path) == CUSTMEM_EXISTS);
  lock_files();
  CHECK(sleeps == 2);
  unlock_files();
  vfs->xSleep = sleep_of_the_system;
  unlink(path);
  CHECK(rmdir(directory) == 0);
}

/* A child of a fork has one thread, which waits for none that its parent has. */
static void files_that_were_locked_at_a_fork_are_not_in_the_child(void) {
  int status = 1;
  pid_t child;
  lock_files();
  child = fork();
  if (child == 0) {
    alarm(10);
    lock_files();
    _exit(0);
  }
  unlock_files();
  CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static void a_child_begins_without_its_parents_lock_and_handles(void) {
  custmem_info info;
  lock_files();
  begin_child();
  CHECK(!atomic_flag_test_and_set(&making_file));
  unlock_files();
  CHECK(custmem_store_info(store, &info) == CUSTMEM_FORKED);
  atomic_fetch_sub(&forks, 1);
  CHECK(custmem_store_info(store, &info) == CUSTMEM_OK);
}

static int pauses_taken[16];
static int longer_ms;

static int sleep_in_no_time(sqlite3_vfs *vfs, int microseconds) {
  (void)vfs;
  if (sleeps < (int)COUNT_OF(pauses_taken)) pauses_taken[sleeps++] = microseconds / 1000;
  return microseconds + longer_ms * 1000;
}

/* Until wait_for_lock gives up; how often it slept. */
static int wait_in_no_time(int busy_timeout_ms, int longer) {
  int pauses = 0;
  sleeps = 0;
  longer_ms = longer;
  store->busy_timeout_ms = busy_timeout_ms;
  while (wait_for_lock(store, pauses) && pauses < 100)
    pauses++;
  CHECK(sleeps == pauses);
  return pauses;
}

/* In pauses that grow, and to the millisecond; a system that sleeps longer than it is asked to waits no longer. */
static void a_lock_is_waited_for_in_pauses_that_grow(void) {
  static const int pauses_ms[] = {1, 2, 4, 8, 16, 32, 32, 5};
  sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
  int (*sleep_of_the_system)(sqlite3_vfs *, int) = vfs->xSleep;
  int before_ms = store->busy_timeout_ms;
  vfs->xSleep = sleep_in_no_time;
  CHECK(wait_in_no_time(100, 0) == (int)COUNT_OF(pauses_ms));
  CHECK(memcmp(pauses_taken, pauses_ms, sizeof pauses_ms) == 0);
  CHECK(wait_in_no_time(1, 0) == 1);
  CHECK(wait_in_no_time(0, 0) == 0);
  CHECK(wait_in_no_time(100, 999) == 1);
  CHECK(wait_in_no_time(5000, 999) == 5);
  CHECK(wait_in_no_time(100, -1000) == (int)COUNT_OF(pauses_ms));
  sqlite3_interrupt(store->db);
  CHECK(wait_in_no_time(100, 0) == 0);
  vfs->xSleep = sleep_of_the_system;
  store->busy_timeout_ms = before_ms;
}

static void an_interrupt_of_nothing_is_forgotten_and_leaves_nothing(void) {
  sqlite3_interrupt(store->db);
  CHECK(prepare_control(store) == CUSTMEM_OK);
  forget_interrupt(store);
  CHECK(!sqlite3_is_interrupted(store->db));
  CHECK(!sqlite3_stmt_busy(store->statements[HOLD_WRITE]));
}

/* Without memory there is no image, and the next store in memory makes one. */
static void an_image_that_there_is_no_memory_for_is_made_later(void) {
  sqlite3_set_authorizer(store->db, NULL, NULL); /* as it is while a store is made */
  atomic_store(&image_state, NO_IMAGE);
  sqlite3_hard_heap_limit64(1);
  keep_image(store);
  sqlite3_hard_heap_limit64(0);
  CHECK(atomic_load(&image_state) == NO_IMAGE);
  keep_image(store);
  CHECK(atomic_load(&image_state) == IMAGE);
  CHECK(memcmp(image, "SQLite format 3", 16) == 0);
  memset(image, 0, sizeof image);
  keep_image(store);
  CHECK(atomic_load(&image_state) == IMAGE && image[0] == 0);
  atomic_store(&image_state, MAKING_IMAGE);
  keep_image(store);
  CHECK(atomic_load(&image_state) == MAKING_IMAGE && image[0] == 0);
  CHECK(guard(store) == CUSTMEM_OK);
}

/* A write that cannot be held has not begun. */
static void a_write_that_cannot_be_held_is_ended(void) {
  sqlite3_stmt **held = &store->statements[HOLD_WRITE];
  sqlite3_finalize(*held);
  CHECK(sqlite3_prepare_v2(store->db, "SELECT json('{')", -1, held, NULL) == SQLITE_OK);
  CHECK(begin_write(store) != CUSTMEM_OK && !store->writing);
  CHECK(sqlite3_txn_state(store->db, "main") == SQLITE_TXN_NONE);
  sqlite3_finalize(*held);
  *held = NULL;
}

/* A read is a transaction as long as it is held; what a write alone may do is not had in it. */
static void a_transaction_lasts_as_long_as_it_is_held(void) {
  CHECK(hold(store, INSERT_LINK) == CUSTMEM_INTERNAL);
  CHECK(sqlite3_txn_state(store->db, "main") == SQLITE_TXN_NONE);
  CHECK(begin_read(store) == CUSTMEM_OK);
  CHECK(sqlite3_txn_state(store->db, "main") == SQLITE_TXN_READ);
  end_read(store);
  CHECK(sqlite3_txn_state(store->db, "main") == SQLITE_TXN_NONE);
  CHECK(begin_write(store) == CUSTMEM_OK && store->writing);
  CHECK(sqlite3_txn_state(store->db, "main") == SQLITE_TXN_WRITE);
  CHECK(end_write(store, CUSTMEM_NO_CHANGE) == CUSTMEM_NO_CHANGE && !store->writing);
  CHECK(sqlite3_txn_state(store->db, "main") == SQLITE_TXN_NONE);
}

static void sql_that_fails_is_said_to_fail(void) {
  CHECK(run(store, "SELECT 1") == CUSTMEM_OK);
  CHECK(run(store, "SELECT nothing") == CUSTMEM_SCHEMA);
  CHECK(strstr(store->errmsg, "nothing") != NULL);
}

int main(void) {
  if (custmem_open(":memory:", NULL, &store) != CUSTMEM_OK) return 1;
  the_hash_is_siphash_1_3();
  a_row_counts_with_all_that_it_holds();
  a_check_that_could_not_read_is_told_from_damage();
  what_no_call_would_have_stored_is_damage_in_every_column();
  each_column_is_read_into_its_field();
  a_row_in_anothers_place_is_damage();
  a_list_out_of_order_is_damage();
  memory_that_ran_out_is_not_taken_for_damage();
  what_is_found_is_taken_for_what_it_is();
  what_is_found_in_anothers_place_is_damage();
  the_first_row_that_failed_says_why();
  a_request_has_eight_places();
  a_request_that_is_too_long_is_not_kept();
  a_kept_request_ends_where_the_next_answer_begins();
  a_channels_rule_is_kept_for_the_next_one_of_its_name();
  a_fault_in_a_chain_names_what_it_is_of();
  what_no_write_makes_is_no_sound_event();
  an_event_that_there_is_no_memory_for_is_no_fault();
  damage_leaves_no_page_cached();
  a_call_that_ends_well_leaves_no_message();
  an_older_library_is_refused();
  files_are_looked_for_and_made_by_one_thread_at_a_time();
  files_that_were_locked_at_a_fork_are_not_in_the_child();
  a_child_begins_without_its_parents_lock_and_handles();
  a_lock_is_waited_for_in_pauses_that_grow();
  an_interrupt_of_nothing_is_forgotten_and_leaves_nothing();
  an_image_that_there_is_no_memory_for_is_made_later();
  a_write_that_cannot_be_held_is_ended();
  a_transaction_lasts_as_long_as_it_is_held();
  sql_that_fails_is_said_to_fail();
  custmem_close(store);
  return failures != 0;
}
