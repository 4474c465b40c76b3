/* SPDX-License-Identifier: MIT */
#include "documented.h"

#include "../custmem.h"

#include <string.h>

/* codes: those that the call's own text lists; 0 ends the list */
typedef struct documented {
  const char *name;
  int reads_file;
  unsigned char codes[24];
} documented;

/* "Any call on a store", and "any call that reads the file". */
static const unsigned char OF_ANY[] = {CUSTMEM_MISUSE, CUSTMEM_FORKED, 0};
static const unsigned char OF_READERS[] = {
  CUSTMEM_BUSY,        CUSTMEM_IO, CUSTMEM_NOMEM, CUSTMEM_CORRUPT, CUSTMEM_SCHEMA,
  CUSTMEM_INTERRUPTED, 0};

#define OF_ALL_VERBS                                                                           \
  CUSTMEM_NO_INSTRUCTOR, CUSTMEM_NOT_HUMAN, CUSTMEM_NO_REASON, CUSTMEM_EMPTY,                  \
    CUSTMEM_TOO_LONG, CUSTMEM_BAD_TEXT, CUSTMEM_OTHER_INSTRUCTOR, CUSTMEM_READONLY,            \
    CUSTMEM_FULL, CUSTMEM_SOURCE, CUSTMEM_CONSTRAINT, CUSTMEM_UNKNOWN_OUTCOME

static const documented DOCUMENTED[CALLS] = {
  [CALL_OPEN] =
    {"custmem_open",
     1,
     {CUSTMEM_MISUSE, CUSTMEM_EMPTY, CUSTMEM_TOO_LONG, CUSTMEM_BAD_TEXT, CUSTMEM_SOURCE,
      CUSTMEM_FULL, CUSTMEM_READONLY, CUSTMEM_NO_PATH, CUSTMEM_NOT_A_FILE, CUSTMEM_SYMLINK,
      CUSTMEM_HARD_LINK, CUSTMEM_PERMISSION, CUSTMEM_NOT_A_DATABASE, CUSTMEM_OTHER_APPLICATION,
      CUSTMEM_NEWER, CUSTMEM_SCHEMA, CUSTMEM_RULES, CUSTMEM_OLD_SQLITE, 0}},
  [CALL_CLOSE] = {"custmem_close", 0, {CUSTMEM_MISUSE, CUSTMEM_FORKED, 0}},
  [CALL_STORE_INFO] = {"custmem_store_info", 0, {0}},
  [CALL_SET_LISTENER] = {"custmem_set_listener", 0, {0}},
  [CALL_CREATE] =
    {"custmem_customer_create",
     1,
     {CUSTMEM_NO_INSTRUCTOR, CUSTMEM_NOT_HUMAN, CUSTMEM_EMPTY, CUSTMEM_TOO_LONG,
      CUSTMEM_BAD_TEXT, CUSTMEM_BAD_CHANNEL, CUSTMEM_BAD_IDENTIFIER, CUSTMEM_READONLY,
      CUSTMEM_FULL, CUSTMEM_SOURCE, CUSTMEM_CONSTRAINT, CUSTMEM_UNKNOWN_OUTCOME, 0}},
  [CALL_GET] =
    {"custmem_customer_get",
     1,
     {CUSTMEM_NO_INSTRUCTOR, CUSTMEM_EMPTY, CUSTMEM_TOO_LONG, CUSTMEM_BAD_TEXT,
      CUSTMEM_NO_CUSTOMER, 0}},
  [CALL_GET_MANY] =
    {"custmem_customer_get_many",
     1,
     {CUSTMEM_NO_INSTRUCTOR, CUSTMEM_TOO_LONG, CUSTMEM_BAD_TEXT, 0}},
  [CALL_FIND] =
    {"custmem_customer_find",
     1,
     {CUSTMEM_NO_INSTRUCTOR, CUSTMEM_EMPTY, CUSTMEM_TOO_LONG, CUSTMEM_BAD_TEXT,
      CUSTMEM_BAD_CHANNEL, CUSTMEM_BAD_IDENTIFIER, CUSTMEM_NO_CUSTOMER, 0}},
  [CALL_LIST] =
    {"custmem_customer_list",
     1,
     {CUSTMEM_NO_INSTRUCTOR, CUSTMEM_EMPTY, CUSTMEM_TOO_LONG, CUSTMEM_BAD_TEXT, 0}},
  [CALL_SET_DISPLAY] =
    {"custmem_customer_set_display",
     1,
     {CUSTMEM_NO_INSTRUCTOR, CUSTMEM_NOT_HUMAN, CUSTMEM_EMPTY, CUSTMEM_TOO_LONG,
      CUSTMEM_BAD_TEXT, CUSTMEM_NO_CUSTOMER, CUSTMEM_READONLY, CUSTMEM_FULL, CUSTMEM_SOURCE,
      CUSTMEM_CONSTRAINT, CUSTMEM_UNKNOWN_OUTCOME, 0}},
  [CALL_RESOLVE] =
    {"custmem_resolve", 1, {CUSTMEM_EMPTY, CUSTMEM_TOO_LONG, CUSTMEM_BAD_TEXT, 0}},
  [CALL_RESOLVE_MANY] =
    {"custmem_resolve_many", 1, {CUSTMEM_EMPTY, CUSTMEM_TOO_LONG, CUSTMEM_BAD_TEXT, 0}},
  [CALL_LINK] =
    {"custmem_link", 1, {OF_ALL_VERBS, CUSTMEM_NO_CUSTOMER, CUSTMEM_ALREADY_LINKED, 0}},
  [CALL_RELINK] =
    {"custmem_relink",
     1,
     {OF_ALL_VERBS, CUSTMEM_NO_CUSTOMER, CUSTMEM_NOT_LINKED, CUSTMEM_CHANGED, CUSTMEM_NO_CHANGE,
      0}},
  [CALL_UNLINK] = {"custmem_unlink", 1, {OF_ALL_VERBS, CUSTMEM_NOT_LINKED, CUSTMEM_CHANGED, 0}},
  [CALL_CONVERSATIONS] =
    {"custmem_conversations",
     1,
     {CUSTMEM_NO_INSTRUCTOR, CUSTMEM_EMPTY, CUSTMEM_TOO_LONG, CUSTMEM_BAD_TEXT,
      CUSTMEM_NO_CUSTOMER, 0}},
  [CALL_AUDIT_READ] =
    {"custmem_audit_read", 1, {CUSTMEM_NO_INSTRUCTOR, CUSTMEM_TOO_LONG, CUSTMEM_BAD_TEXT, 0}},
  [CALL_HISTORY] =
    {"custmem_history",
     1,
     {CUSTMEM_NO_INSTRUCTOR, CUSTMEM_EMPTY, CUSTMEM_TOO_LONG, CUSTMEM_BAD_TEXT, 0}},
  [CALL_AUDIT_HEAD] =
    {"custmem_audit_head", 1, {CUSTMEM_NO_INSTRUCTOR, CUSTMEM_TOO_LONG, CUSTMEM_BAD_TEXT, 0}},
  [CALL_AUDIT_VERIFY] =
    {"custmem_audit_verify",
     1,
     {CUSTMEM_NO_INSTRUCTOR, CUSTMEM_TOO_LONG, CUSTMEM_BAD_TEXT, CUSTMEM_MISUSE, CUSTMEM_BROKEN,
      CUSTMEM_ANCHOR, 0}},
  [CALL_STORE_CHECK] = {"custmem_check", 1, {CUSTMEM_BROKEN, 0}},
  [CALL_BACKUP] =
    {"custmem_backup",
     1,
     {CUSTMEM_EMPTY, CUSTMEM_TOO_LONG, CUSTMEM_BAD_TEXT, CUSTMEM_FULL, CUSTMEM_NO_PATH,
      CUSTMEM_NOT_A_FILE, CUSTMEM_PERMISSION, CUSTMEM_EXISTS, 0}},
};

static int is_listed(const unsigned char *codes, int code) {
  return code > 0 && code < 256 && strchr((const char *)codes, code) != NULL;
}

const char *documented_name(enum documented_call call) {
  return DOCUMENTED[call].name;
}

int documented_code(enum documented_call call, int code) {
  return is_listed(OF_ANY, code) ||
         (DOCUMENTED[call].reads_file && is_listed(OF_READERS, code)) ||
         is_listed(DOCUMENTED[call].codes, code);
}
