/* SPDX-License-Identifier: MIT
**
** The badge page as text: what `custmem inbox STORE STREAM --html` prints, taken apart without a
** browser (test/page.sh looks at it in one). Every tag of the page is read and held against a list
** of what may be in it, so that a name that becomes markup is found whatever it becomes; and the
** hash in the page's policy is computed anew from the style sheet that is in it.
**
** The environment variable CUSTMEM_SHELL says where the program is (else ./custmem).
*/
#define _XOPEN_SOURCE 700

#include "test.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define NUMBER          "209951326681432"
#define MAX_WORDS       16

/* ---- Running the program, and its page ----------------------------------------------------- */

static struct {
  char shell[PATH_MAX];
  char store[PATH_MAX];
  char stream[PATH_MAX];
  char out[PATH_MAX];
} path;

/* Runs the program, with words up to NULL; what it prints goes to path.out. Gives its status. */
static int run(const char *const *words) {
  char *arguments[MAX_WORDS + 2] = {path.shell};
  int status = -1, i;
  pid_t child;
  for (i = 0; i < MAX_WORDS && words[i] != NULL; i++)
    arguments[i + 1] = (char *)words[i];
  fflush(stdout);
  child = fork();
  if (child == 0) {
    int fd = open(path.out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd >= 0 && dup2(fd, 1) == 1) execv(path.shell, arguments);
    _exit(127);
  }
  if (child < 0 || waitpid(child, &status, 0) != child) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Keeps a text, from malloc, until the 64th call after it. */
static char *kept(char *text) {
  static char *texts[64];
  static unsigned next;
  char **place = &texts[next++ % COUNT_OF(texts)];
  free(*place);
  *place = text;
  return text;
}

/* What the last run printed. */
static char *printed(void) {
  int64_t size = test_file_size(path.out);
  char *text = calloc(1, size > 0 ? (size_t)size + 1 : 1);
  FILE *file = fopen(path.out, "rb");
  if (text != NULL && file != NULL && size > 0 && fread(text, 1, (size_t)size, file) == 0)
    text[0] = '\0';
  if (file != NULL) fclose(file);
  return kept(text);
}

/* The page of an instructor. */
static char *page_of(const char *instructor, int badges) {
  const char *const words[] = {"inbox",    path.store,     path.stream,
                               "--html",   "--instructor", instructor,
                               "--number", NUMBER,         badges ? "--badges" : NULL,
                               NULL};
  CHECK_INT(run(words), 0);
  return printed();
}

/* Somebody who writes. name and text are as they stand in JSON; shown_name and shown_text as they
** are to stand in the page. */
struct person {
  const char *sender, *name, *text, *shown_name, *shown_text;
  enum { NOBODY, MADE, KNOWN } customer;
  const char *badge;
};

#define UNLINKED "<p class=\"badge unlinked\">"
#define NEW      "<p class=\"badge new\">"
#define KNOWN_   "<p class=\"badge known\">"

static const struct person PEOPLE[] = {
  {"447700900101", "Ada", "Hello", "Ada", "Hello", KNOWN, KNOWN_},
  {"447700900102", "Ben", "Hi", "Ben", "Hi", MADE, NEW},
  {"447700900103", "Cleo", "Ho", "Cleo", "Ho", NOBODY, UNLINKED},
  {"447700900104", "<script>alert(1)</script>", "<a href='//evil'>Link now</a>",
   "&lt;script&gt;alert(1)&lt;/script&gt;", "&lt;a href=&#39;//evil&#39;&gt;Link now&lt;/a&gt;",
   NOBODY, UNLINKED},
  {"447700900105", "\\\"></h3><button onclick=\\\"alert(1)\\\">x",
   "</p></li></ul></article>-->",
   "&quot;&gt;&lt;/h3&gt;&lt;button onclick=&quot;alert(1)&quot;&gt;x",
   "&lt;/p&gt;&lt;/li&gt;&lt;/ul&gt;&lt;/article&gt;--&gt;", MADE, NEW},
  {"447700900106", "</style></title><style>*{display:none}", "&lt;b&gt; &#60; &amp",
   "&lt;/style&gt;&lt;/title&gt;&lt;style&gt;*{display:none}",
   "&amp;lt;b&amp;gt; &amp;#60; &amp;amp", KNOWN, KNOWN_},
  {"447700900107", "gpj.\\u202eexe", "a\\u001b[31mb\\u0007", "gpj.\\u202eexe",
   "a\\x1b[31mb\\x07", NOBODY, UNLINKED},
  {"447700900108", "\\u0646\\u0648\\u0631", "one\\ntwo", "\xd9\x86\xd9\x88\xd8\xb1", "one\ntwo",
   NOBODY, UNLINKED},
  {"447700900109", "  ", "no name", NUMBER ":447700900109", "no name", NOBODY, UNLINKED},
};

#define PEOPLE_COUNT ((int)COUNT_OF(PEOPLE))

/* A minute a message, so that the page begins with the last of them. */
static int write_stream(int count) {
  FILE *file = fopen(path.stream, "wb");
  int i;
  for (i = 0; file != NULL && i < count; i++)
    fprintf(
      file,
      "{\"object\":\"whatsapp_business_account\",\"entry\":[{\"id\":\"1\",\"changes\":[{"
      "\"field\":"
      "\"messages\",\"value\":{\"metadata\":{\"phone_number_id\":\"" NUMBER
      "\"},\"contacts\":[{"
      "\"profile\":{\"name\":\"%s\"},\"wa_id\":\"%s\"}],\"messages\":[{\"from\":\"%s\",\"id\":"
      "\"wamid.%d\",\"timestamp\":\"%d\",\"type\":\"text\",\"text\":{\"body\":\"%s\"}}]}}]}]}"
      "\n",
      PEOPLE[i].name, PEOPLE[i].sender, PEOPLE[i].sender, i, 1781424097 + 60 * i, PEOPLE[i].text
    );
  return file != NULL && fclose(file) == 0;
}

/* A fresh store with the customers and links that PEOPLE name, made through the library. */
static int make_inbox(const char *instructor, int count) {
  custmem_actor actor = test_human(instructor);
  custmem *store;
  int i, is_made = write_stream(count);
  unlink(path.store);
  store = test_store(path.store);
  for (i = 0; store != NULL && i < count; i++) {
    custmem_customer customer;
    char conversation[CUSTMEM_ID_MAX + 1];
    if (PEOPLE[i].customer == NOBODY) continue;
    snprintf(conversation, sizeof conversation, NUMBER ":%s", PEOPLE[i].sender);
    is_made &= CHECK_INT(
      custmem_customer_create(
        store, &actor, "whatsapp", PEOPLE[i].sender, -1, NULL, 0, &customer, NULL
      ),
      CUSTMEM_OK
    );
    if (PEOPLE[i].customer == KNOWN)
      is_made &= CHECK_INT(
        custmem_link(store, &actor, conversation, customer.id, "said so", -1, NULL, 0, NULL),
        CUSTMEM_OK
      );
  }
  return CHECK_INT(custmem_close(store), CUSTMEM_OK) && store != NULL && is_made;
}

static int occurrences(const char *text, const char *part) {
  int count = 0;
  for (text = strstr(text, part); text != NULL; text = strstr(text + strlen(part), part))
    count++;
  return count;
}

/* The element number `i`, from 0, that begins with `start` and ends with `end`. */
static char *element(const char *page, const char *start, const char *end, int i) {
  const char *at = strstr(page, start), *stop;
  while (at != NULL && i-- > 0)
    at = strstr(at + strlen(start), start);
  stop = at != NULL ? strstr(at, end) : NULL;
  return kept(stop != NULL ? strndup(at, (size_t)(stop - at)) : calloc(1, 1));
}

/* ---- Badges -------------------------------------------------------------------------------- */

static const char *label_of(const char *badge) {
  if (strcmp(badge, KNOWN_) == 0) return "</span>Known customer</span>";
  return strcmp(badge, NEW) == 0 ? "</span>New customer</span>" : "</span>Unlinked</span>";
}

static const char *copy_of(const char *badge) {
  if (strcmp(badge, KNOWN_) == 0) return ">This customer is already known to you</span></p>";
  return strcmp(badge, NEW) == 0 ? ">First interaction with this customer</span></p>"
                                 : ">Customer not resolved</span></p>";
}

/* One row of the list, or one view: the right badge, and no second one. Gives the badge. */
static char *check_badge(const char *page, const char *start, const char *end, int i) {
  const struct person *person = &PEOPLE[PEOPLE_COUNT - 1 - i];
  char *row = element(page, start, end, i);
  char *badge = element(row, "<p class=\"badge ", "\n", 0);
  CHECK_HAS(row, person->shown_name);
  CHECK_INT(occurrences(row, "class=\"badge"), 1);
  CHECK_INT(occurrences(badge, person->badge), 1);
  CHECK_INT(occurrences(badge, label_of(person->badge)), 1);
  CHECK_INT(occurrences(badge, copy_of(person->badge)), 1);
  return badge;
}

TEST(each_conversation_has_its_one_badge_in_the_list_and_the_same_in_the_view) {
  char *page;
  int i;
  REQUIRE(make_inbox("marta", PEOPLE_COUNT));
  page = page_of("marta", 1);
  CHECK_INT(occurrences(page, "<li class=\"row\">"), PEOPLE_COUNT);
  CHECK_INT(occurrences(page, "<article "), PEOPLE_COUNT);
  CHECK_INT(occurrences(page, "class=\"badge"), 2 * PEOPLE_COUNT);
  for (i = 0; i < PEOPLE_COUNT; i++) {
    char *listed = check_badge(page, "<li class=\"row\">", "</li>\n<", i);
    char *viewed = check_badge(page, "<article ", "</article>", i);
    CHECK_TEXT(listed, viewed);
  }
}

TEST(without_the_flag_there_is_no_badge_and_the_page_is_otherwise_the_same) {
  static const char *const WORDS[] = {"Known customer", "New customer",      "Unlinked",
                                      "already known",  "First interaction", "not resolved",
                                      "class=\"badge"};
  char *with, *without, *body, *from, *to;
  size_t i;
  REQUIRE(make_inbox("marta", PEOPLE_COUNT));
  with = page_of("marta", 1);
  without = page_of("marta", 0);
  body = strstr(without, "<body>");
  CHECK(body != NULL);
  for (i = 0; body != NULL && i < COUNT_OF(WORDS); i++)
    CHECK_INT(occurrences(body, WORDS[i]), 0);
  for (from = strstr(with, "<p class=\"badge"); from != NULL;
       from = strstr(with, "<p class=\"badge")) {
    to = strchr(from, '\n');
    REQUIRE(to != NULL);
    memmove(from, to + 1, strlen(to + 1) + 1);
  }
  CHECK_TEXT(with, without);
}

/* ---- What is in the page ------------------------------------------------------------------- */

static int is_in(const char *const *list, const char *word, size_t size) {
  for (; *list != NULL; list++)
    if (strlen(*list) == size && strncmp(*list, word, size) == 0) return 1;
  return 0;
}

/* Reads a tag, from behind its '<' up to its '>': only known elements and attributes, every value
** in double quotes and of harmless characters. Gives what follows, or NULL. */
static const char *read_tag(const char *at) {
  static const char *const ELEMENTS[] = {
    "!DOCTYPE", "html",    "head",    "meta", "title", "style", "body", "header", "main",
    "footer",   "section", "article", "h1",   "h2",    "h3",    "ul",   "ol",     "li",
    "div",      "p",       "span",    "bdi",  "dl",    "dt",    "dd",   "time",   NULL};
  static const char *const ATTRIBUTES[] = {
    "lang", "charset", "http-equiv", "content",         "name",        "class", "dir",
    "id",   "role",    "datetime",   "aria-labelledby", "aria-hidden", NULL};
  static const char LETTERS[] =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-+/=:;,' ";
  size_t size;
  if (strncmp(at, "!DOCTYPE html>", 14) == 0) return at + 14;
  at += *at == '/';
  size = strcspn(at, " >");
  if (!is_in(ELEMENTS, at, size)) return NULL;
  for (at += size; *at == ' '; at++) {
    at++;
    size = strcspn(at, "=");
    if (!is_in(ATTRIBUTES, at, size) || at[size + 1] != '"') return NULL;
    at += size + 2;
    at += strspn(at, LETTERS);
    if (*at != '"') return NULL;
  }
  return *at == '>' ? at + 1 : NULL;
}

TEST(the_page_has_only_elements_that_do_nothing_whatever_the_names_say) {
  const char *page, *at, *next;
  int tags = 0;
  REQUIRE(make_inbox("marta", PEOPLE_COUNT));
  page = page_of("marta", 1);
  for (at = strchr(page, '<'); at != NULL; at = strchr(next, '<')) {
    next = read_tag(at + 1);
    if (next == NULL) {
      CHECK_TEXT(kept(strndup(at, 60)), "a tag that may be in the page");
      return;
    }
    tags++;
  }
  CHECK(tags > 20 * PEOPLE_COUNT);
}

TEST(names_and_messages_are_spelled_out_in_list_and_view) {
  char *page;
  int i;
  REQUIRE(make_inbox("marta", PEOPLE_COUNT));
  page = page_of("marta", 1);
  for (i = 0; i < PEOPLE_COUNT; i++) {
    char *row = element(page, "<li class=\"row\">", "</li>\n<", PEOPLE_COUNT - 1 - i);
    char *view = element(page, "<article ", "</article>", PEOPLE_COUNT - 1 - i);
    char name[256], text[256];
    snprintf(name, sizeof name, "dir=\"auto\">%s</", PEOPLE[i].shown_name);
    snprintf(text, sizeof text, "dir=\"auto\">%s</p>", PEOPLE[i].shown_text);
    CHECK_HAS(row, name);
    CHECK_HAS(row, text);
    CHECK_HAS(view, name);
    CHECK_HAS(view, text);
  }
}

TEST(an_instructors_name_is_spelled_out_wherever_it_stands) {
  char *page;
  REQUIRE(make_inbox("</title><b>\"'&", 1));
  page = page_of("</title><b>\"'&", 1);
  CHECK_HAS(page, "<title>Inbox of &lt;/title&gt;&lt;b&gt;&quot;&#39;&amp;</title>");
  CHECK_HAS(page, "<bdi>&lt;/title&gt;&lt;b&gt;&quot;&#39;&amp;</bdi>");
  CHECK_INT(occurrences(page, "<b>"), 0);
  CHECK_INT(occurrences(page, PEOPLE[0].badge), 2);
}

TEST(the_page_of_an_inbox_without_conversations_has_no_list) {
  char *page;
  REQUIRE(make_inbox("marta", 0));
  page = page_of("marta", 1);
  CHECK_HAS(page, "0 conversations");
  CHECK_HAS(page, "<main>\n</main>");
}

TEST(the_times_of_messages_are_local_and_say_which_zone) {
  char *page;
  REQUIRE(make_inbox("marta", 1));
  setenv("TZ", "XYZ-5:30", 1);
  page = page_of("marta", 1);
  setenv("TZ", "UTC", 1);
  CHECK_HAS(page, "<time datetime=\"2026-06-14T13:31:37+0530\">14 Jun, 13:31</time>");
  CHECK_HAS(page, "<p class=\"day\">Sunday, 14 June 2026, XYZ</p>");
  CHECK_HAS(page, "<time datetime=\"2026-06-14T13:31:37+0530\">13:31</time>");
}

TEST(making_the_page_leaves_the_store_as_it_was) {
  uint64_t rows, bytes;
  REQUIRE(make_inbox("marta", PEOPLE_COUNT));
  rows = test_rows(path.store);
  bytes = test_file_hash(path.store);
  page_of("marta", 1);
  page_of("marta", 0);
  CHECK(test_file_hash(path.store) == bytes);
  CHECK(test_rows(path.store) == rows);
}

/* ---- The policy ---------------------------------------------------------------------------- */

static uint32_t turned(uint32_t word, int by) {
  return word >> by | word << (32 - by);
}

/* The whole numbers next to root(p) * 2^32, without its whole part: the constants of SHA-256 come
** of the first primes' cube roots and, for the start, square roots. */
static uint32_t root_of_prime(int which, int power) {
  long double root;
  int prime = 1, i;
  while (which >= 0) {
    int is_prime = 1;
    prime++;
    for (i = 2; i * i <= prime; i++)
      is_prime &= prime % i != 0;
    which -= is_prime;
  }
  for (root = 1, i = 0; i < 60; i++) {
    long double p = power == 2 ? root : root * root;
    root -= (root * p - prime) / (power * p);
  }
  return (uint32_t)(uint64_t)((root - (long double)(int)root) * 4294967296.0L);
}

static void hash_block(uint32_t state[8], const unsigned char *block) {
  uint32_t w[64], v[8];
  int i, j;
  for (i = 0; i < 16; i++)
    for (w[i] = 0, j = 0; j < 4; j++)
      w[i] = w[i] << 8 | *block++;
  for (; i < 64; i++)
    w[i] = w[i - 16] + w[i - 7] +
           (turned(w[i - 15], 7) ^ turned(w[i - 15], 18) ^ w[i - 15] >> 3) +
           (turned(w[i - 2], 17) ^ turned(w[i - 2], 19) ^ w[i - 2] >> 10);
  memcpy(v, state, sizeof v);
  for (i = 0; i < 64; i++) {
    uint32_t a = v[7] + (turned(v[4], 6) ^ turned(v[4], 11) ^ turned(v[4], 25)) +
                 ((v[4] & v[5]) ^ (~v[4] & v[6])) + root_of_prime(i, 3) + w[i];
    uint32_t b = (turned(v[0], 2) ^ turned(v[0], 13) ^ turned(v[0], 22)) +
                 ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
    memmove(v + 1, v, 7 * sizeof v[0]);
    v[4] += a;
    v[0] = a + b;
  }
  for (i = 0; i < 8; i++)
    state[i] += v[i];
}

/* SHA-256 of a text, in base64 (44 characters). */
static void hash_text(const char *text, size_t size, char hash[45]) {
  static const char DIGITS[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  size_t padded = (size + 8) / 64 * 64 + 64, i;
  unsigned char *message = (unsigned char *)kept(calloc(1, padded)), bytes[33] = {0};
  uint32_t state[8];
  memcpy(message, text, size);
  message[size] = 0x80;
  for (i = 0; i < 8; i++) {
    message[padded - 1 - i] = (unsigned char)((uint64_t)size * 8 >> 8 * i);
    state[i] = root_of_prime((int)i, 2);
  }
  for (i = 0; i < padded; i += 64)
    hash_block(state, message + i);
  for (i = 0; i < 32; i++)
    bytes[i] = (unsigned char)(state[i / 4] >> (24 - 8 * (i % 4)));
  for (i = 0; i < 43; i++) {
    unsigned pair = (unsigned)bytes[i * 6 / 8] << 8 | bytes[i * 6 / 8 + 1];
    hash[i] = DIGITS[pair >> (10 - i * 6 % 8) & 63];
  }
  memcpy(hash + 43, "=", 2);
}

TEST(the_hash_of_this_test_is_sha_256) {
  static const char LONG[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
  char hash[45];
  hash_text("", 0, hash);
  CHECK_TEXT(hash, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
  hash_text("abc", 3, hash);
  CHECK_TEXT(hash, "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
  hash_text(LONG, strlen(LONG), hash);
  CHECK_TEXT(hash, "JI1qYdIGOLjlwCaTDD5gOaM85Flk/yFn9uzt1BnbBsE=");
}

TEST(the_policy_forbids_everything_but_this_style_sheet) {
  static const char *const FORBIDDEN[] = {"url(",   "@import", "@font-face", "expression",
                                          ":hover", ":target", "http",       "//"};
  char *page, *style, policy[256], hash[45];
  size_t i;
  REQUIRE(make_inbox("marta", 1));
  page = page_of("marta", 1);
  style = element(page, "<style>", "</style>", 0);
  REQUIRE(strlen(style) > 1000);
  hash_text(style + 7, strlen(style + 7), hash);
  snprintf(
    policy, sizeof policy,
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
    "'sha256-%s'; base-uri 'none'; form-action 'none'\">",
    hash
  );
  CHECK_HAS(page, policy);
  CHECK(strstr(page, policy) < strstr(page, "<style>"));
  CHECK_INT(occurrences(page, "<style>"), 1);
  for (i = 0; i < COUNT_OF(FORBIDDEN); i++)
    CHECK_INT(occurrences(style, FORBIDDEN[i]), 0);
}

int main(int argc, char **argv) {
  const char *shell = getenv("CUSTMEM_SHELL");
  test_init(argc, argv);
  if (realpath(shell != NULL ? shell : "./custmem", path.shell) == NULL) perror("custmem");
  snprintf(path.store, sizeof path.store, "%s", test_path("inbox.db"));
  snprintf(path.stream, sizeof path.stream, "%s", test_path("stream.jsonl"));
  snprintf(path.out, sizeof path.out, "%s", test_path("out"));
  setenv("TZ", "UTC", 1);
  RUN(
    each_conversation_has_its_one_badge_in_the_list_and_the_same_in_the_view,
    "CM-2.4; T6; Phase 1 §6; Phase 1 §8"
  );
  RUN(
    without_the_flag_there_is_no_badge_and_the_page_is_otherwise_the_same,
    "CM-2.4; T6; Phase 1 §6"
  );
  RUN(the_page_has_only_elements_that_do_nothing_whatever_the_names_say, "CM-2.4; T6");
  RUN(names_and_messages_are_spelled_out_in_list_and_view, "");
  RUN(an_instructors_name_is_spelled_out_wherever_it_stands, "");
  RUN(the_page_of_an_inbox_without_conversations_has_no_list, "");
  RUN(the_times_of_messages_are_local_and_say_which_zone, "");
  RUN(making_the_page_leaves_the_store_as_it_was, "CM-2.4; T6");
  RUN(the_hash_of_this_test_is_sha_256, "");
  RUN(the_policy_forbids_everything_but_this_style_sheet, "T6");
  return test_report();
}
