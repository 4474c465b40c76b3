/* SPDX-License-Identifier: MIT
**
** custmem_normalize on any channel and any bytes. The first byte picks the channel, or says that it
** comes from the input, too, up to a NUL; the rest is the raw identifier. What is held: a key or a refusal,
** never both; the same answer twice, and without asking for the key; the key is in its channel's
** grammar, as custmem.h has it, is not longer than it may be, and gives itself (CM-1 §4.1, T2).
*/
#define _XOPEN_SOURCE 700

#include "../../custmem.h"
#include "fuzz.h"

#include <string.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static const char DIGITS[] = "0123456789";
static const char WORD[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

static const char *const CHANNELS[] = {
  "whatsapp",  "whatsapp/1023",    "sms",       "phone",   "email",    "telegram", "webchat",
  "messenger", "messenger/12-a_b", "instagram", "whatsap", "Whatsapp",
};

/* The rule that a channel's name picks, without its account. */
static int is_of(const char *channel, const char *name) {
  size_t size = strlen(name);
  return strncmp(channel, name, size) == 0 && (channel[size] == '\0' || channel[size] == '/');
}

static int is_number(const char *key, size_t size, size_t least, size_t most) {
  return size >= least && size <= most && strspn(key, DIGITS) >= size;
}

static int is_phone(const char *key, size_t size) {
  return is_number(key, size, 7, 15) && key[0] != '0';
}

static int is_business_id(const char *key, size_t size) {
  if (size < 4 || key[0] < 'A' || key[0] > 'Z' || key[1] < 'A' || key[1] > 'Z' || key[2] != '.')
    return 0;
  if (size > 7 && strncmp(key + 3, "ENT.", 4) == 0) key += 4;
  key += 3;
  size = strlen(key);
  return size >= 1 && size <= 128 && strspn(key, WORD) == size;
}

static int is_whatsapp(const char *key, size_t size) {
  const char *at = strchr(key, '@');
  if (at != NULL) return strcmp(at, "@lid") == 0 && is_number(key, (size_t)(at - key), 1, 128);
  return is_phone(key, size) || is_business_id(key, size);
}

static int is_email(const char *key, size_t size) {
  const char *at = strchr(key, '@');
  size_t i;
  for (i = 0; i < size; i++)
    if (key[i] <= ' ' || key[i] > '~' || (key[i] >= 'A' && key[i] <= 'Z') || strchr("()<>,;:\\\"[]", key[i]) != NULL)
      return 0;
  return at != NULL && at != key && strchr(at + 1, '@') == NULL && strchr(at, '.') != NULL;
}

static int is_telegram(const char *key, size_t size) {
  return is_number(key, size, 1, 16) && key[0] != '0' && strtoull(key, NULL, 10) <= 1ull << 52;
}

static int is_uuid(const char *key, size_t size) {
  size_t i;
  for (i = 0; i < size; i++)
    if (i == 8 || i == 13 || i == 18 || i == 23 ? key[i] != '-' : strchr("0123456789abcdef", key[i]) == NULL)
      return 0;
  return size == 36;
}

static int is_in_grammar(const char *channel, const char *key) {
  size_t size = strlen(key);
  if (is_of(channel, "whatsapp")) return is_whatsapp(key, size);
  if (is_of(channel, "sms") || is_of(channel, "phone")) return is_phone(key, size);
  if (is_of(channel, "email")) return is_email(key, size);
  if (is_of(channel, "telegram")) return is_telegram(key, size);
  if (is_of(channel, "messenger") || is_of(channel, "instagram"))
    return is_number(key, size, 1, 32);
  return is_of(channel, "webchat") && is_uuid(key, size);
}

/* A buffer of exactly the size that the header asks for: a byte more is found. */
static int normalize(const char *channel, const char *raw, int64_t size, char **key) {
  *key = malloc(CUSTMEM_IDENTIFIER_MAX + 1);
  DEMAND(*key != NULL);
  memset(*key, '?', CUSTMEM_IDENTIFIER_MAX + 1);
  return custmem_normalize(channel, raw, size, *key);
}

static void use(const char *channel, const char *raw, int64_t size) {
  char *key, *again;
  int refusal = normalize(channel, raw, size, &key);
  DEMAND(refusal >= CUSTMEM_ACCEPTED && refusal <= CUSTMEM_REFUSED_OUT_OF_RANGE);
  DEMAND(memchr(key, '\0', CUSTMEM_IDENTIFIER_MAX + 1) != NULL);
  DEMAND((refusal == CUSTMEM_ACCEPTED) == (key[0] != '\0'));
  DEMAND(normalize(channel, raw, size, &again) == refusal && strcmp(key, again) == 0);
  free(again);
  DEMAND(custmem_normalize(channel, raw, size, NULL) == refusal);
  if (refusal == CUSTMEM_ACCEPTED) {
    DEMAND(is_in_grammar(channel, key));
    DEMAND(normalize(channel, key, CUSTMEM_NUL_TERMINATED, &again) == CUSTMEM_ACCEPTED);
    DEMAND(strcmp(key, again) == 0);
    free(again);
  }
  free(key);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char own[CUSTMEM_CHANNEL_MAX + 8] = "";
  const char *channel;
  char *raw;
  size_t used = 1;
  if (size == 0) return 0;
  channel = CHANNELS[data[0] % COUNT_OF(CHANNELS)];
  if (data[0] >= 0xf0) {
    while (used < size && data[used] != '\0' && used < sizeof own) {
      own[used - 1] = (char)data[used];
      used++;
    }
    own[used - 1] = '\0';
    if (used < size) used++;
    channel = own;
  }
  /* Exactly as many bytes as there are, so that one read behind them is found. */
  raw = malloc(size - used + 1);
  DEMAND(raw != NULL);
  memcpy(raw, data + used, size - used);
  raw[size - used] = '\0';
  use(channel, raw, CUSTMEM_NUL_TERMINATED);
  free(raw);
  raw = malloc(size > used ? size - used : 1);
  DEMAND(raw != NULL);
  memcpy(raw, data + used, size - used);
  use(channel, raw, (int64_t)(size - used));
  free(raw);
  return 0;
}
