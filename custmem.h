/* SPDX-License-Identifier: MIT
**
** custmem: Customer Memory for an instructor's messaging inbox, as one embedded C library.
**
** It answers, for each conversation, "which customer is this?"; lets a human, and only a human,
** link, relink or unlink; and keeps an audit of who did so that nobody can quietly change. It
** owns one SQLite database file (or an in-memory one) and needs nothing but SQLite.
**
**     #include "custmem.h"
**     #include <stdio.h>
**
**     int main(void) {
**       custmem *store;
**       custmem_customer anna;
**       custmem_resolution found;
**       const custmem_actor me = {CUSTMEM_ACTOR_HUMAN, "user-7", "instructor-1"};
**       int rc = custmem_open("inbox.db", NULL, &store);
**       if (rc != CUSTMEM_OK) return fprintf(stderr, "%s\n", custmem_strerror(rc)), 1;
**       rc = custmem_customer_create(store, &me, "whatsapp", "+39 333 1234567", -1, "Anna", -1,
**                                    &anna, NULL);
**       if (rc == CUSTMEM_OK)
**         rc = custmem_link(store, &me, "conversation-1", anna.id, "She told me on the phone", -1,
**                           NULL, 0, NULL);
**       if (rc != CUSTMEM_OK && rc != CUSTMEM_ALREADY_LINKED)
**         fprintf(stderr, "%s: %s\n", custmem_code_name(rc), custmem_errmsg(store));
**       custmem_resolve(store, "instructor-1", "conversation-1", "whatsapp", "393331234567", -1,
**                       &found);
**       printf("%s\n", custmem_badge_label(custmem_badge(&found)));
**       return custmem_close(store);
**     }
**
** The rules are those of the design documents, cited as CM-1 (identifiers), CM-2.1 (resolution),
** CM-2.3 (safe writes), CM-2.4 (badge), CM-2.5 (audit), and T1 to T6 (the tickets of Phase 1).
**
**
** THE CONTRACT
**
** Codes. A call returns CUSTMEM_OK (0) or one of the codes below; each call lists those that can
** come back. Any call on a store can also return CUSTMEM_MISUSE (a NULL store, a closed one, a
** NULL where the text does not say "may be NULL", any call from inside its clock or random callback, a
** write or a close from inside its listener) and CUSTMEM_FORKED; any call that reads the file also
** CUSTMEM_BUSY, CUSTMEM_IO, CUSTMEM_NOMEM, CUSTMEM_CORRUPT, CUSTMEM_SCHEMA, CUSTMEM_INTERRUPTED and,
** where what a crash left must be recovered first, CUSTMEM_FULL (there is no room for it) and, by a
** read-only handle, CUSTMEM_READONLY (it may not). These are not repeated. custmem_errmsg() says in
** words which argument was wrong, and the limit.
**
** Outputs come last and are filled in whatever is returned; an output that has no value is zero
** and empty text. They are written when the inputs have been read, so that one struct may serve for
** both (what a refused link says of the current customer, for the relink); but no input may lie in an
** array that the call fills. An error leaves the store as it was.
**
** Text is UTF-8. A `const char *x` alone ends at its NUL. A `const char *x, int64_t x_size` has a
** size in bytes, or CUSTMEM_NUL_TERMINATED (-1): then it ends at its NUL. Text that is too long,
** is not UTF-8, or holds a NUL or a control character is refused, never cut or mended (reason and
** context may hold tabs and line breaks). Empty text is never a value: NULL means "none" where
** there may be none, and "" is refused. In a result, "" means none.
**
** Instructor scope. A read names its instructor; a write names an actor, who carries it. There is
** no other way to say whose data a call may see, and nothing of another instructor's is returned.
**
** Memory. Results are plain structs that the caller owns; lists fill the caller's array. Nothing
** needs freeing but the store. Pointers passed in are not kept after the call (but for the
** callbacks and their context). All allocation goes through SQLite's allocator.
**
** Threads. One store handle is used by one thread at a time. Any number of handles, in any number
** of threads and processes, may share a file; SQLite must then be built threadsafe (1 or 2).
** custmem_interrupt() alone may be called from any thread. A handle carried over fork() is
** refused with CUSTMEM_FORKED, even by custmem_close(): the child opens its own. (As with all that
** takes locks, not if another thread was inside of custmem or SQLite when the process forked.)
**
** Waiting. A call waits for another process's lock at most the store's busy timeout, and no longer once
** it is interrupted. One exception to both: where SQLite keeps losing the race for the WAL's index, it
** tries for ten seconds of its own.
**
** What the file cannot prevent: who can write the file can also drop a trigger, edit bytes, or put
** back an older copy. Opening refuses an altered schema; custmem_check() and custmem_audit_verify()
** show an altered event or link. A cut-off tail with its links, a chain made anew, or an older copy
** only shows against an anchor (custmem_head) that was kept outside the file. Nothing shows that a
** customer's key was changed to another well-formed one: that table has no triggers (T1).
**
** What is not in this file is not API.
*/
#ifndef CUSTMEM_H
#define CUSTMEM_H

#include <stddef.h>
#include <stdint.h>

#ifndef CUSTMEM_API
#define CUSTMEM_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define CUSTMEM_VERSION        "0.1.0"
#define CUSTMEM_VERSION_NUMBER 100 /* major * 10000 + minor * 100 + patch */

/* As the size of a text: it ends at its NUL. */
#define CUSTMEM_NUL_TERMINATED (-1)

/* ---- Limits ---------------------------------------------------------------------------------
** In bytes of UTF-8, without the NUL that the fields of results have in addition. At the limit
** works; one more is CUSTMEM_TOO_LONG (in custmem_normalize: CUSTMEM_REFUSED_TOO_LONG). */
enum custmem_limits {
  CUSTMEM_PATH_MAX = 480,       /* the path of a store, its directory resolved */
  CUSTMEM_ID_MAX = 64,          /* ids of instructors, conversations and actors */
  CUSTMEM_UUID_SIZE = 36,       /* ids of customers and of the store: exactly this */
  CUSTMEM_CHANNEL_MAX = 96,     /* name/account; the account at most 64 */
  CUSTMEM_RAW_MAX = 512,        /* an identifier as it arrives */
  CUSTMEM_IDENTIFIER_MAX = 160, /* a normalized identifier */
  CUSTMEM_DISPLAY_MAX = 255,    /* a display identifier */
  CUSTMEM_REASON_MAX = 500,     /* why a human linked */
  CUSTMEM_CONTEXT_MAX = 2000,   /* free text beside the reason */
  CUSTMEM_EVENT_NAME_MAX = 47,  /* the longest event name fits */
  CUSTMEM_HASH_SIZE = 64,       /* SHA-256 in lower-case hexadecimal: exactly this */
  CUSTMEM_MESSAGE_MAX = 255     /* custmem_errmsg, and the detail of a report */
};

/* ---- Codes ---------------------------------------------------------------------------------
** What a call returns. The values are fixed for ever.
**
** After CUSTMEM_UNKNOWN_OUTCOME this store does not show the write, but after a crash the file may
** hold it or not. Repeat the call: every verb names what it expects, so it is not done twice. */
enum custmem_code {
  CUSTMEM_OK = 0,

  /* The arguments: the caller's code or input is to be mended. */
  CUSTMEM_MISUSE = 1,         /* NULL, a closed handle, a size or a struct that cannot be */
  CUSTMEM_EMPTY = 2,          /* a text that must not be empty, is */
  CUSTMEM_TOO_LONG = 3,       /* a text is longer than its limit */
  CUSTMEM_BAD_TEXT = 4,       /* not UTF-8, or a NUL or a control character in it */
  CUSTMEM_BAD_CHANNEL = 5,    /* not name or name/account, or a name without a rule */
  CUSTMEM_BAD_IDENTIFIER = 6, /* custmem_normalize refuses it */

  /* The rules: the call was understood, and refused. */
  CUSTMEM_NO_INSTRUCTOR = 20,    /* no instructor in the call (CM-1 §4.2) */
  CUSTMEM_NOT_HUMAN = 21,        /* only a human may write (CM-2.3 §3.1) */
  CUSTMEM_NO_REASON = 22,        /* a reason is required, and never made up (CM-2.3 §6) */
  CUSTMEM_NO_CUSTOMER = 23,      /* no such customer of this instructor */
  CUSTMEM_OTHER_INSTRUCTOR = 24, /* the conversation is another instructor's (CM-2.3 §4.2) */
  CUSTMEM_ALREADY_LINKED = 25,   /* link: it has a customer; relink says so (CM-2.3 §5) */
  CUSTMEM_NOT_LINKED = 26,       /* relink, unlink: it has none */
  CUSTMEM_CHANGED = 27,          /* the customer named as current is not the current one */
  CUSTMEM_NO_CHANGE = 28,        /* relink to the same customer */
  CUSTMEM_CONSTRAINT = 29,       /* the database itself refused (an altered or damaged file) */

  /* The store's condition. */
  CUSTMEM_BUSY = 40,     /* another handle holds the lock; waited the busy timeout */
  CUSTMEM_FULL = 41,     /* no space left; nothing was written */
  CUSTMEM_READONLY = 42, /* the handle or the file is read-only */
  CUSTMEM_IO = 43,       /* the operating system reported an error; nothing was written */
  CUSTMEM_NOMEM = 44,    /* no memory; nothing was written */
  CUSTMEM_UNKNOWN_OUTCOME = 45, /* the commit failed half-way: see above */
  CUSTMEM_CORRUPT = 46,         /* what the file holds cannot be */
  CUSTMEM_FORKED = 47,          /* the handle was opened before a fork() */
  CUSTMEM_SOURCE = 48,          /* the clock or the random source failed, or gave nonsense */
  CUSTMEM_INTERRUPTED = 49,     /* custmem_interrupt(); nothing was written */
  CUSTMEM_INTERNAL = 50,        /* a fault of custmem's own: please report */

  /* Opening, and a backup's target. The file is left byte for byte as it was. */
  CUSTMEM_NO_PATH = 60,    /* no such directory, or (read-only) no such file */
  CUSTMEM_NOT_A_FILE = 61, /* a directory, a device, a pipe or a socket; or its -wal is one */
  CUSTMEM_SYMLINK = 62,    /* the last part of the path is a symbolic link */
  CUSTMEM_HARD_LINK = 63,  /* the file has a second name, and so a second WAL */
  CUSTMEM_PERMISSION = 64, /* the file or its directory may not be read, or not created */
  CUSTMEM_EXISTS =
    65, /* backup: the target is there already, or a -wal, -shm or -journal of it */
  CUSTMEM_NOT_A_DATABASE = 66,    /* not an SQLite database */
  CUSTMEM_OTHER_APPLICATION = 67, /* a database, but not custmem's */
  CUSTMEM_NEWER = 68,             /* written by a newer version of custmem */
  CUSTMEM_SCHEMA = 69,            /* its tables, indexes and triggers are not custmem's own */
  CUSTMEM_RULES = 70,             /* its keys were made by another rule set of normalization */
  CUSTMEM_OLD_SQLITE = 71,        /* linked to an SQLite older than 3.51.3 */

  /* The audit and the check. */
  CUSTMEM_BROKEN = 80, /* what is stored is not what was written: the report says where */
  CUSTMEM_ANCHOR = 81  /* the chain is sound, but does not continue the anchor */
};

/* A sentence for a code, without a store. Never NULL; static. */
CUSTMEM_API const char *custmem_strerror(int code);

/* The name of a code as it stands above ("CUSTMEM_BUSY"). Never NULL; static. */
CUSTMEM_API const char *custmem_code_name(int code);

/* ---- Lifecycle ----------------------------------------------------------------------------- */

/* One open store: a database connection and its prepared statements. */
typedef struct custmem custmem;

/* How to open. Zero means the default everywhere; custmem_options_init makes the defaults.
**
** size             sizeof(custmem_options): the caller's. A later version may add fields.
** read_only        not 0: every write is refused, no store is made, no checkpoint. Beside the file
**                  SQLite may leave its -shm and an empty -wal, where it may write.
** exclusive        not 0: this process alone uses the file; no lock calls are made for each
**                  transaction. A second open of the file is CUSTMEM_BUSY. Not with read_only.
** busy_timeout_ms  how long a call waits for a lock; 0: 1000; negative: not at all.
** now_ms           the clock: Unix milliseconds, 0 to 2^48-1. It may stand still or go back;
**                  nothing is ordered by it. NULL: the system's.
** random           fills `bytes` with `size` random bytes and returns 0. NULL: SQLite's.
** source_ctx       the last argument of both.
** message          may be NULL: where custmem_open writes why it failed (NUL-terminated, cut to
**                  message_size bytes only here).
**
** now_ms and random are called inside a write, on the calling thread; they must not call custmem.
*/
typedef struct custmem_options {
  uint32_t size;
  int32_t read_only;
  int32_t exclusive;
  int32_t busy_timeout_ms;
  int64_t (*now_ms)(void *ctx);
  int (*random)(uint8_t *bytes, size_t size, void *ctx);
  void *source_ctx;
  char *message;
  size_t message_size;
} custmem_options;

/* Sets every field to its default. options NULL: does nothing. */
CUSTMEM_API void custmem_options_init(custmem_options *options);

/* Opens a store, and makes it if there is none.
**
** The directory part of the path may hold symbolic links, its last part may not. A new file has
** mode 0600 under any umask. The file is in WAL mode, with synchronous=FULL: what a call reported
** as done survives a power cut. Two processes may open, and make, one file at once.
**
** A read-only handle on read-only media (a file system mounted so, or a file and a directory that
** nobody may write) works where no -wal file is left beside the file; with one that cannot be
** used it is refused, never ignored.
**
** Errors: MISUSE (options of an unknown size, which are not looked at any further, not even for
** `message`; read_only with exclusive), EMPTY, TOO_LONG and BAD_TEXT (the path), SOURCE,
** FULL, READONLY (the file may not be written and read_only was not asked), and the codes 60 to 71
** except EXISTS. On any, *store is NULL; a file that was to become a store may be left behind empty, and
** becomes one the next time.
*/
CUSTMEM_API int custmem_open(
  const char *path,               /* a file, or ":memory:" */
  const custmem_options *options, /* may be NULL: the defaults */
  custmem **store                 /* OUT: close it with custmem_close */
);

/* Closes a store and frees it. NULL is OK and does nothing. Errors: MISUSE, FORKED (then nothing
** is freed: the file belongs to the parent). */
CUSTMEM_API int custmem_close(custmem *store);

/* What the last call on this store had to say, "" after a success. Valid until the next call on
** it. With NULL or a closed handle, a static sentence. */
CUSTMEM_API const char *custmem_errmsg(const custmem *store);

/* The parameter that the last call on this store found fault with, as this file names it
** ("reason"), or "". Static. */
CUSTMEM_API const char *custmem_errarg(const custmem *store);

/* Makes the call that is running on this store, in another thread or in a callback, return
** CUSTMEM_INTERRUPTED soon. It does nothing to a call that begins later. */
CUSTMEM_API void custmem_interrupt(custmem *store);

/* What a store is.
**
** id              a UUID, made with the file. The audit chains are bound to it.
** created_at_ms   when, in Unix milliseconds.
** schema_version  the file's, PRAGMA user_version.
** rules_version   the rule set of custmem_normalize that its keys were made with.
*/
typedef struct custmem_info {
  char id[CUSTMEM_UUID_SIZE + 1];
  int64_t created_at_ms;
  int32_t schema_version;
  int32_t rules_version;
} custmem_info;

CUSTMEM_API int custmem_store_info(custmem *store, custmem_info *info);

/* CUSTMEM_VERSION and CUSTMEM_VERSION_NUMBER of the code that is linked. */
CUSTMEM_API const char *custmem_version(void);
CUSTMEM_API int32_t custmem_version_number(void);

/* For languages that cannot read this file: sizeof of a struct ("custmem_customer"), and the value
** of a limit ("CUSTMEM_ID_MAX"). 0 for a name that is none. */
CUSTMEM_API size_t custmem_sizeof(const char *struct_name);
CUSTMEM_API int32_t custmem_limit(const char *limit_name);

/* ---- Identifiers (CM-1 §2.3, T2) -------------------------------------------------------------
** A channel is `name` or `name/account`, of lower-case ASCII letters, digits, `_` and `-` (name at
** most 31 bytes, account at most 64). The name picks the rule. The whole text is part of the key:
** page-scoped and business-scoped ids are unique within one account only.
**
**   whatsapp   a phone number; DIGITS[:device]@s.whatsapp.net or @c.us; a business-scoped user id
**              (two capitals, '.', perhaps "ENT.", 1 to 128 letters and digits: kept as it is);
**              DIGITS[:device]@lid (at most 20 digits, kept with @lid). A device has 1 to 5 digits.
**              `whatsapp:` may stand before a phone number and a business-scoped id.
**   sms, phone a phone number; `sms:` and `tel:` may stand before it.
**   email      one address, in ASCII lower case; dots and +tags are kept. At most 64 bytes before
**              the @, and 63 in each part of the domain.
**   telegram   a user id, 1 to 2^52.
**   messenger, instagram   a page- or app-scoped id, up to 32 digits.
**   webchat    a UUID.
**
** A phone number is 7 to 15 ASCII digits, the first not 0. One '+' (or U+FF0B) may come before the
** first digit; '-', '.', '/' between digits; pairs of parentheses around digits; spaces, no-break
** spaces, and zero-width and direction marks anywhere. It normalizes to its digits. A missing
** country code is never guessed: "3331234567" and "+39 333 1234567" are two keys.
**
** What does not match is refused. There is no fallback: no customer is better than the wrong one.
*/

/* The version of these rules; a store keeps the one that made its keys. */
#define CUSTMEM_RULES_VERSION 1

/* Why an identifier is refused. The values are fixed for ever. */
enum custmem_refusal {
  CUSTMEM_ACCEPTED = 0,
  CUSTMEM_REFUSED_MISSING = 1,     /* NULL, empty or blank */
  CUSTMEM_REFUSED_TOO_LONG = 2,    /* more than CUSTMEM_RAW_MAX or CUSTMEM_IDENTIFIER_MAX */
  CUSTMEM_REFUSED_NOT_TEXT = 3,    /* not UTF-8, a NUL or control character, a negative size */
  CUSTMEM_REFUSED_BAD_CHANNEL = 4, /* the channel is not name or name/account */
  CUSTMEM_REFUSED_UNKNOWN_CHANNEL = 5, /* no rule has that name */
  CUSTMEM_REFUSED_MALFORMED = 6,       /* none of the channel's forms */
  CUSTMEM_REFUSED_TOO_FEW_DIGITS = 7,  /* a phone number of less than 7: a short code? */
  CUSTMEM_REFUSED_TOO_MANY_DIGITS = 8, /* a number longer than its form allows */
  CUSTMEM_REFUSED_LEADING_ZERO = 9,    /* a national or 00 prefix: the country is not known */
  CUSTMEM_REFUSED_TRUNK_ZERO = 10,     /* "(0)": dialled or not, depending on where from */
  CUSTMEM_REFUSED_EXTENSION = 11,      /* ;ext=, x12, #: one line of many people */
  CUSTMEM_REFUSED_WITHHELD = 12,       /* the caller's number was not given */
  CUSTMEM_REFUSED_NOT_A_PERSON = 13, /* a group, a broadcast list, a newsletter, a system id */
  CUSTMEM_REFUSED_MUTABLE = 14,      /* a handle, which its owner can give to another */
  CUSTMEM_REFUSED_OUT_OF_RANGE = 15  /* a number that cannot be an id of this channel */
};

/* The one normalization: raw identifier to key, or a refusal. Pure: no store, no locale, no
** allocation, from any thread. The same bytes give the same bytes, and its output fed back gives
** itself (CM-1 §4.1, T2).
**
** Returns CUSTMEM_ACCEPTED (0) or why not; then `normalized` is "".
*/
CUSTMEM_API int custmem_normalize(
  const char *channel, /* NULL: CUSTMEM_REFUSED_BAD_CHANNEL */
  const char *raw,     /* may be NULL: CUSTMEM_REFUSED_MISSING */
  int64_t raw_size,
  char *normalized /* OUT: CUSTMEM_IDENTIFIER_MAX + 1 bytes; may be NULL: only ask */
);

/* The name of a refusal ("too_few_digits"), and a sentence. Never NULL; static. */
CUSTMEM_API const char *custmem_refusal_name(int refusal);
CUSTMEM_API const char *custmem_refusal_text(int refusal);

/* ---- Customers (CM-1 §2.1, T1) --------------------------------------------------------------- */

enum custmem_actor_type {
  CUSTMEM_ACTOR_HUMAN = 1,
  CUSTMEM_ACTOR_SYSTEM = 2 /* known to the schema, refused by every call (CM-2.3 §3.2) */
};

/* Who writes. The host has authenticated them (CM-2.3 §3.1) before it fills this in.
**
** type           CUSTMEM_ACTOR_HUMAN
** actor_id       who: the host's id of the person, kept in the audit
** instructor_id  for whom they are authenticated: the scope of the call
*/
typedef struct custmem_actor {
  int32_t type;
  const char *actor_id;
  const char *instructor_id;
} custmem_actor;

/* A customer of one instructor. id, instructor_id, channel and normalized_identifier never change.
** display_identifier is for people, is not used for matching, and may be "". */
typedef struct custmem_customer {
  char id[CUSTMEM_UUID_SIZE + 1];
  char instructor_id[CUSTMEM_ID_MAX + 1];
  char channel[CUSTMEM_CHANNEL_MAX + 1];
  char normalized_identifier[CUSTMEM_IDENTIFIER_MAX + 1];
  char display_identifier[CUSTMEM_DISPLAY_MAX + 1];
  int64_t created_at_ms;
  int64_t updated_at_ms;
} custmem_customer;

/* Creates the customer with this key, or finds the one that has it: never a second one (CM-1
** §6). An existing customer is returned as it is; its display identifier is not touched. This is
** the only way that a customer comes to be (CM-2.1 §4).
**
** Errors: NO_INSTRUCTOR, NOT_HUMAN, EMPTY, TOO_LONG, BAD_TEXT, BAD_CHANNEL, BAD_IDENTIFIER
** (custmem_normalize says which refusal), READONLY, FULL, SOURCE, CONSTRAINT, UNKNOWN_OUTCOME.
*/
CUSTMEM_API int custmem_customer_create(
  custmem *store,
  const custmem_actor *actor,
  const char *channel,
  const char *raw_identifier,
  int64_t raw_size,
  const char *display, /* may be NULL: none */
  int64_t display_size,
  custmem_customer *customer, /* OUT: may be NULL */
  int32_t *created            /* OUT: 1 made now, 0 was there; may be NULL */
);

/* Reads one customer by id. Errors: NO_INSTRUCTOR, EMPTY, TOO_LONG, BAD_TEXT, NO_CUSTOMER (also for
** another instructor's: the two cannot be told apart). */
CUSTMEM_API int custmem_customer_get(
  custmem *store,
  const char *instructor_id,
  const char *customer_id,
  custmem_customer *customer /* OUT */
);

/* Reads the customers of a page of an inbox, all of one moment (CM-1 §5.3: no fetch for each row). An
** id that is NULL, "" or no customer of this instructor's gives an empty row, in its place. Errors:
** NO_INSTRUCTOR, TOO_LONG and BAD_TEXT (an id), MISUSE (a negative count); then all rows are empty. */
CUSTMEM_API int custmem_customer_get_many(
  custmem *store,
  const char *instructor_id,
  const char *const *customer_ids,
  int32_t count,              /* 0 or more */
  custmem_customer *customers /* OUT: `count` of them, in the order of the ids */
);

/* Reads one customer by channel and raw identifier (CM-1 §5.2 "customer by phone"). Errors:
** NO_INSTRUCTOR, EMPTY, TOO_LONG, BAD_TEXT, BAD_CHANNEL, BAD_IDENTIFIER, NO_CUSTOMER. */
CUSTMEM_API int custmem_customer_find(
  custmem *store,
  const char *instructor_id,
  const char *channel,
  const char *raw_identifier,
  int64_t raw_size,
  custmem_customer *customer /* OUT */
);

/* Reads a page of an instructor's customers, ordered by id, which is about the order of their
** making. A page that is not full is the last. Errors: NO_INSTRUCTOR, EMPTY, TOO_LONG, BAD_TEXT. */
CUSTMEM_API int custmem_customer_list(
  custmem *store,
  const char *instructor_id,
  const char *after_customer_id, /* the last id of the page before; NULL: from the start */
  custmem_customer *customers,   /* OUT: `capacity` of them */
  int32_t capacity,              /* at least 1 */
  int32_t *count                 /* OUT */
);

/* Sets or, with NULL, removes a customer's display identifier. Errors: NO_INSTRUCTOR, NOT_HUMAN,
** EMPTY, TOO_LONG, BAD_TEXT, NO_CUSTOMER, READONLY, FULL, SOURCE, CONSTRAINT, UNKNOWN_OUTCOME. */
CUSTMEM_API int custmem_customer_set_display(
  custmem *store,
  const custmem_actor *actor,
  const char *customer_id,
  const char *display, /* may be NULL: none */
  int64_t display_size,
  custmem_customer *customer /* OUT: as it is now; may be NULL */
);

/* ---- Resolution (CM-2.1, T3) -----------------------------------------------------------------
** Which customer is this conversation? In this order (CM-2.1 §3):
**
**   1. The conversation has an explicit link of this instructor's: LINKED. Stop.
**   2. Exactly one customer has the key (instructor, channel, normalized identifier): CANDIDATE.
**      It is shown, and written nowhere.
**   3. Else UNLINKED, and why.
**
** It never writes and creates nobody. It never fails its caller: whatever goes wrong is UNLINKED,
** so to ignore the code that it returns is safe.
*/

enum custmem_outcome { CUSTMEM_UNLINKED = 0, CUSTMEM_CANDIDATE = 1, CUSTMEM_LINKED = 2 };

/* Why a resolution came out as it did. The values are fixed for ever. */
enum custmem_why {
  CUSTMEM_WHY_EXPLICIT_LINK = 0,    /* LINKED */
  CUSTMEM_WHY_ONE_MATCH = 1,        /* CANDIDATE */
  CUSTMEM_WHY_NO_INSTRUCTOR = 2,    /* skipped: no usable instructor in the call */
  CUSTMEM_WHY_OTHER_INSTRUCTOR = 3, /* skipped: the conversation is another instructor's */
  CUSTMEM_WHY_NO_IDENTIFIER = 4,    /* NULL, empty or blank */
  CUSTMEM_WHY_REFUSED = 5,          /* custmem_normalize refused it: see `refusal` */
  CUSTMEM_WHY_BAD_CHANNEL = 6,      /* none, or no such channel, beside it: see `refusal` */
  CUSTMEM_WHY_NO_MATCH = 7,         /* nobody has that key */
  CUSTMEM_WHY_MANY_MATCHES = 8,     /* more than one has (a damaged file) */
  CUSTMEM_WHY_LOOKUP_FAILED = 9     /* skipped: the store could not be asked; see the code */
};

/* What a resolution found; every field is always filled in.
**
** outcome                enum custmem_outcome
** step                   1, 2 or 3: the step that decided
** why                    enum custmem_why
** refusal                enum custmem_refusal, where why is REFUSED or BAD_CHANNEL; else 0
** rules_version          CUSTMEM_RULES_VERSION
** customer_id            of LINKED and CANDIDATE; else ""
** normalized_identifier  what step 2 looked for, "" where it did not
** event_name             the conceptual event (CM-2.1 §7): conversation.customer_resolved,
**                        ….customer_unresolved (nobody was found, or there was no identifier to look
**                        by), or ….customer_resolution_skipped (the whys that say "skipped")
*/
typedef struct custmem_resolution {
  int32_t outcome;
  int32_t step;
  int32_t why;
  int32_t refusal;
  int32_t rules_version;
  char customer_id[CUSTMEM_UUID_SIZE + 1];
  char normalized_identifier[CUSTMEM_IDENTIFIER_MAX + 1];
  char event_name[CUSTMEM_EVENT_NAME_MAX + 1];
} custmem_resolution;

/* One conversation of a page to resolve. channel and raw_identifier may be NULL: then only an
** explicit link is found. */
typedef struct custmem_query {
  const char *conversation_id;
  const char *channel;
  const char *raw_identifier;
  int64_t raw_size;
} custmem_query;

/* Resolves one conversation. Errors, with `resolution` UNLINKED all the same: EMPTY, TOO_LONG and
** BAD_TEXT of conversation_id. A refused identifier, an unknown channel or a missing instructor is
** not an error: it is an answer. */
CUSTMEM_API int custmem_resolve(
  custmem *store,
  const char *instructor_id, /* may be NULL: UNLINKED */
  const char *conversation_id,
  const char *channel,        /* may be NULL: UNLINKED, but for an explicit link */
  const char *raw_identifier, /* may be NULL: the same */
  int64_t raw_size,
  custmem_resolution *resolution /* OUT */
);

/* Resolves a page of an inbox within one read transaction: all answers are of one moment, and each
** is what custmem_resolve would give. Errors: as custmem_resolve. After a conversation_id that is refused,
** or a damaged row, the others are still resolved; any other failure (I/O, memory, an interrupt) leaves
** those after it UNLINKED, LOOKUP_FAILED: what could be found then would be of another moment. Such a
** failure is returned before any other, else the first one, by its row.
**
** An inbox asks for the same page at each refresh. A store keeps the answers of 1,024 requests of
** either call (a quarter of a megabyte, had by the first, given back by custmem_close; without it, the answers
** are the same), and uses one as long as nothing at all has been committed to the file since, by this handle,
** another, or another program: each call asks SQLite for that, within its transaction. */
CUSTMEM_API int custmem_resolve_many(
  custmem *store,
  const char *instructor_id, /* may be NULL: all UNLINKED */
  const custmem_query *queries,
  int32_t count,                  /* 0 or more */
  custmem_resolution *resolutions /* OUT: `count` of them */
);

/* The names of an outcome ("candidate") and of a why ("no_match"). Never NULL; static. */
CUSTMEM_API const char *custmem_outcome_name(int outcome);
CUSTMEM_API const char *custmem_why_name(int why);

/* ---- Badge (CM-2.4, T6) ----------------------------------------------------------------------
** What an inbox shows beside a conversation: exactly one state, a function of the resolution and
** of nothing else. It reflects, it does not interpret, and has nothing to click. */

enum custmem_badge_state {
  CUSTMEM_BADGE_UNLINKED = 0, /* "Unlinked"       "Customer not resolved" */
  CUSTMEM_BADGE_NEW = 1,      /* "New customer"   "First interaction with this customer" */
  CUSTMEM_BADGE_KNOWN = 2     /* "Known customer" "This customer is already known to you" */
};

/* The badge of a resolution. NULL: CUSTMEM_BADGE_UNLINKED. */
CUSTMEM_API int custmem_badge(const custmem_resolution *resolution);

/* Its label, and the secondary copy that is always visible beside it. Never NULL; static. */
CUSTMEM_API const char *custmem_badge_label(int badge);
CUSTMEM_API const char *custmem_badge_copy(int badge);

/* ---- Links (CM-2.3, T4) ----------------------------------------------------------------------
** Three verbs, one for each event. Each says what it expects the conversation to be linked to, and
** is refused if it is not, with the current customer in the answer: nobody overwrites what they
** did not see (CM-2.3 §4.3, §5). The audit event and the link are one transaction (CM-2.3 §6).
**
** reason   required: why, in the human's words. Never made up, not blank (CM-2.3 §6).
** context  may be NULL: free text that helps a reader; nothing is decided by it.
**
** Errors of all three: NO_INSTRUCTOR, NOT_HUMAN, NO_REASON, EMPTY, TOO_LONG, BAD_TEXT,
** OTHER_INSTRUCTOR, READONLY, FULL, SOURCE, CONSTRAINT, UNKNOWN_OUTCOME, and each one's own below.
*/

/* Where an instructor's audit chain stands: how many events, and the last one's hash. With no
** event, the hash binds the store's id and the instructor's. Kept outside the file, it is the
** anchor that shows a cut-off or an exchanged history. */
typedef struct custmem_head {
  int64_t count;
  char hash[CUSTMEM_HASH_SIZE + 1];
} custmem_head;

/* What a write did or, when refused, what it met.
**
** current_customer_id  what the conversation is linked to as the call returns; "" for nobody, for
**                      another instructor's conversation, and where it was not looked up
** seq                  of the audit event made; 0 where none was
** created_at_ms        when, in Unix milliseconds; 0 where none was
** head                 the chain after the write; empty where none was made
*/
typedef struct custmem_written {
  char current_customer_id[CUSTMEM_UUID_SIZE + 1];
  int64_t seq;
  int64_t created_at_ms;
  custmem_head head;
} custmem_written;

/* Links a conversation that has no customer. Own errors: NO_CUSTOMER, ALREADY_LINKED. */
CUSTMEM_API int custmem_link(
  custmem *store,
  const custmem_actor *actor,
  const char *conversation_id,
  const char *customer_id,
  const char *reason,
  int64_t reason_size,
  const char *context, /* may be NULL */
  int64_t context_size,
  custmem_written *written /* OUT: may be NULL */
);

/* Replaces the customer of a conversation: `current_customer_id` by `new_customer_id`. Own errors:
** NO_CUSTOMER, NOT_LINKED, CHANGED, NO_CHANGE. */
CUSTMEM_API int custmem_relink(
  custmem *store,
  const custmem_actor *actor,
  const char *conversation_id,
  const char *current_customer_id,
  const char *new_customer_id,
  const char *reason,
  int64_t reason_size,
  const char *context, /* may be NULL */
  int64_t context_size,
  custmem_written *written /* OUT: may be NULL */
);

/* Removes the customer of a conversation. Own errors: NOT_LINKED, CHANGED. */
CUSTMEM_API int custmem_unlink(
  custmem *store,
  const custmem_actor *actor,
  const char *conversation_id,
  const char *current_customer_id,
  const char *reason,
  int64_t reason_size,
  const char *context, /* may be NULL */
  int64_t context_size,
  custmem_written *written /* OUT: may be NULL */
);

/* A conversation that is linked: by which audit event, and when (Unix milliseconds). */
typedef struct custmem_conversation {
  char conversation_id[CUSTMEM_ID_MAX + 1];
  char customer_id[CUSTMEM_UUID_SIZE + 1];
  int64_t audit_seq;
  int64_t updated_at_ms;
} custmem_conversation;

/* Reads a page of the conversations linked to a customer, ordered by id (CM-1 §5.2). A page that
** is not full is the last. Errors: NO_INSTRUCTOR, EMPTY, TOO_LONG, BAD_TEXT, NO_CUSTOMER. */
CUSTMEM_API int custmem_conversations(
  custmem *store,
  const char *instructor_id,
  const char *customer_id,
  const char *after_conversation_id,   /* the last of the page before; NULL: from the start */
  custmem_conversation *conversations, /* OUT: `capacity` of them */
  int32_t capacity,                    /* at least 1 */
  int32_t *count                       /* OUT */
);

/* ---- Audit (CM-2.5, T5) ----------------------------------------------------------------------
** An event for every write of a link, in the same transaction, never edited, never deleted, never
** read to decide anything. Each instructor's events are numbered 1, 2, 3 … and form a chain: the
** hash of an event is SHA-256 over the hash before it and every field of its own. To check an
** exported trail takes the store's id and a short script (test/verify_trail.py is one):
**
**   field(tag, bytes) = tag (1 byte), number of bytes (4 bytes, big-endian), the bytes
**   field(tag, NULL)  = tag (1 byte), FF FF FF FF
**
**   hash of no event = SHA-256( field(0, "custmem.audit.chain.1"), field(1, store id),
**                               field(2, instructor_id) )
**   hash of event n  = SHA-256( field(0, "custmem.audit.event.1"), field(1, hash of event n-1),
**                               field(2, instructor_id), field(3, seq), field(4, event_name),
**                               field(5, conversation_id), field(6, previous_customer_id),
**                               field(7, new_customer_id), field(8, actor_type),
**                               field(9, actor_id), field(10, reason), field(11, context),
**                               field(12, created_at) )
**
** Hashes are their 32 bytes, seq and created_at (Unix milliseconds) 8 bytes big-endian two's
** complement, texts their UTF-8. A customer id, an actor id or a context that is not there is NULL.
*/

/* One audit event. Texts that are NULL in the file are "" here.
**
** event_name  conversation.customer_linked, ….customer_unlinked or ….customer_relinked
** actor_type  enum custmem_actor_type ("human" and "system" in the file)
** hash        lower-case hexadecimal
*/
typedef struct custmem_event {
  char instructor_id[CUSTMEM_ID_MAX + 1];
  int64_t seq;
  char event_name[CUSTMEM_EVENT_NAME_MAX + 1];
  char conversation_id[CUSTMEM_ID_MAX + 1];
  char previous_customer_id[CUSTMEM_UUID_SIZE + 1];
  char new_customer_id[CUSTMEM_UUID_SIZE + 1];
  int32_t actor_type;
  char actor_id[CUSTMEM_ID_MAX + 1];
  char reason[CUSTMEM_REASON_MAX + 1];
  char context[CUSTMEM_CONTEXT_MAX + 1];
  int64_t created_at_ms;
  char hash[CUSTMEM_HASH_SIZE + 1];
} custmem_event;

/* Reads a page of an instructor's events, in order of seq: the whole trail, or what a listener has
** missed. A page that is not full is the last. Errors: NO_INSTRUCTOR, TOO_LONG, BAD_TEXT. */
CUSTMEM_API int custmem_audit_read(
  custmem *store,
  const char *instructor_id,
  int64_t after_seq,     /* the last seq of the page before; 0: from the start */
  custmem_event *events, /* OUT: `capacity` of them */
  int32_t capacity,      /* at least 1 */
  int32_t *count         /* OUT */
);

/* The same, of one conversation. Another instructor's conversation has no events here. Errors:
** NO_INSTRUCTOR, EMPTY, TOO_LONG, BAD_TEXT. */
CUSTMEM_API int custmem_history(
  custmem *store,
  const char *instructor_id,
  const char *conversation_id,
  int64_t after_seq,
  custmem_event *events, /* OUT: `capacity` of them */
  int32_t capacity,      /* at least 1 */
  int32_t *count         /* OUT */
);

/* Reads where an instructor's chain stands. Errors: NO_INSTRUCTOR, TOO_LONG, BAD_TEXT. */
CUSTMEM_API int custmem_audit_head(
  custmem *store,
  const char *instructor_id,
  custmem_head *head /* OUT */
);

/* What a verification or a check found wrong first. The values are fixed for ever. */
enum custmem_fault {
  CUSTMEM_FAULT_NONE = 0,
  CUSTMEM_FAULT_DATABASE = 1,       /* SQLite's integrity check, or what cannot be read */
  CUSTMEM_FAULT_SCHEMA = 2,         /* a table, index or trigger is not custmem's own */
  CUSTMEM_FAULT_STORE = 3,          /* the row that says what this store is */
  CUSTMEM_FAULT_KEY = 4,            /* a customer whose row is not one that a call makes */
  CUSTMEM_FAULT_SEQUENCE = 5,       /* an event is missing, or stands twice */
  CUSTMEM_FAULT_FIELD = 6,          /* an event holds what no write makes */
  CUSTMEM_FAULT_HASH = 7,           /* an event is not the one that was written */
  CUSTMEM_FAULT_PREVIOUS = 8,       /* an event's previous customer is not the one before it */
  CUSTMEM_FAULT_LINK = 9,           /* a link is not what its conversation's events say */
  CUSTMEM_FAULT_ANCHOR_BEYOND = 10, /* the chain ends before the anchor: cut off */
  CUSTMEM_FAULT_ANCHOR_DIFFERS = 11 /* at the anchor the chain has another hash */
};

/* What was looked at, and the first fault.
**
** instructors, customers, links, events  how many were found sound
** fault                                  enum custmem_fault
** instructor_id, seq, subject            where: as far as the fault has one; subject is the id of
**                                        a conversation or of a customer
** detail                                 in words
** head                                   verify only: the chain as it was found, "" if broken
*/
typedef struct custmem_report {
  int64_t instructors;
  int64_t customers;
  int64_t links;
  int64_t events;
  int32_t fault;
  char instructor_id[CUSTMEM_ID_MAX + 1];
  int64_t seq;
  char subject[CUSTMEM_ID_MAX + 1];
  char detail[CUSTMEM_MESSAGE_MAX + 1];
  custmem_head head;
} custmem_report;

/* Walks an instructor's chain: every seq, every field, every hash; then every link against what
** the events say; then, with an anchor, that the chain continues it. Time grows with the
** instructor's events. The instructor's links are found by an index: one of a conversation without
** events, left out of that index, only shows in custmem_check.
**
** Errors: NO_INSTRUCTOR, TOO_LONG, BAD_TEXT, MISUSE (an anchor whose count is negative or
** whose hash is not one), BROKEN, ANCHOR. */
CUSTMEM_API int custmem_audit_verify(
  custmem *store,
  const char *instructor_id,
  const custmem_head *anchor, /* may be NULL: none. Kept outside the file; see custmem_head */
  custmem_report *report      /* OUT */
);

/* What a listener is told.
**
** event        after a link, relink or unlink was committed; else NULL
** resolutions  after a resolution: `count` of them, in the order asked; else NULL
** The pointers are valid until the listener returns.
*/
typedef struct custmem_notice {
  const custmem_event *event;
  const custmem_resolution *resolutions;
  int32_t count;
} custmem_notice;

/* Sets who is told, or with NULL nobody. Telling is not recording: it comes after the commit, at
** most once a call, on the calling thread, and nothing about it can undo or delay the commit. What
** was missed is read with custmem_audit_read. The listener may read from the store (it is not told
** of that); its writes, custmem_close and custmem_set_listener are refused with CUSTMEM_MISUSE. */
CUSTMEM_API int custmem_set_listener(
  custmem *store,
  void (*listener)(const custmem_notice *notice, void *ctx), /* may be NULL */
  void *ctx
);

/* ---- The whole store ------------------------------------------------------------------------- */

/* Checks everything: SQLite's own integrity, the schema, every customer's row, every instructor's
** chain and links, within one read transaction. Time grows with the store. Errors: BROKEN. */
CUSTMEM_API int custmem_check(custmem *store, custmem_report *report /* OUT */);

/* Writes a copy of the store as it is at one moment, while others go on writing, to a new file of
** mode 0600. The copy is one file, complete in itself, and can be opened where it lies, read-only
** media included. On an error the target is removed.
**
** Errors: EMPTY, TOO_LONG and BAD_TEXT (the path), FULL, NO_PATH, NOT_A_FILE, PERMISSION, EXISTS (also
** where the path is a name that SQLite gives to a part of this store). */
CUSTMEM_API int custmem_backup(custmem *store, const char *path);

#ifdef __cplusplus
}
#endif

#endif
