/* SPDX-License-Identifier: MIT
**
** A sequence of calls, decoded from bytes, beside a model. Each step takes an operation and its
** arguments from the input: three instructors, six conversations, a dozen identifiers, customers as
** they come; actors, reasons and texts that are right, or wrong in each way that there is. The model knows what
** is linked and what was written, and which codes may come back: none but these do. At the end the links
** are the folded events, each chain is sound and continues every head that was seen, the check
** finds nothing, and nobody sees another instructor's customer.
*/
#define _XOPEN_SOURCE 700

#include "../../custmem.h"
#include "../../sqlite3.h"
#include "../memory_vfs.h"
#include "../test.h"
#include "fuzz.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

enum {
  INSTRUCTORS = 3,
  CONVERSATIONS = 6,
  CUSTOMERS = 24,
  EVENTS = 64,
  STEPS = 60,
  NOBODY = -1,
  NAME_SIZE = 600
};

static const char *const INSTRUCTOR[INSTRUCTORS] = {"anna", "bert", "c\xc3\xa9line"};
static const char *const CONVERSATION[CONVERSATIONS] = {"c1", "c2", "c3", "c4", "c5", "c6"};

/* Identifiers, with the key that each makes; "" for one that is refused. */
static const struct {
  const char *channel, *raw, *key;
} IDENTIFIER[] = {
  {"whatsapp", "+39 333 1234567", "393331234567"},
  {"whatsapp", "393331234567@c.us", "393331234567"},
  {"whatsapp", "4915112345678", "4915112345678"},
  {"sms", "tel:+39 333 1234567", "393331234567"},
  {"whatsapp/77", "US.1349", "US.1349"},
  {"email", " Anna@Example.com", "anna@example.com"},
  {"telegram", "0042", "42"},
  {"webchat", "3F2504E0-4F89-11D3-9A0C-0305E82C3301", "3f2504e0-4f89-11d3-9a0c-0305e82c3301"},
  {"whatsapp", "12036304@g.us", ""},
  {"whatsapp", "ANONYMOUS", ""},
  {"fax", "393331234567", ""},
  {"sms", "12345", ""},
};

/* Texts, with the code that each is worth where it is a reason, and where it is a free text that there
** may not be. */
static const struct {
  const char *text;
  int64_t size;
  int as_reason, as_optional, as_display;
} TEXT[] = {
  {"she told me", -1, CUSTMEM_OK, CUSTMEM_OK, CUSTMEM_OK},
  {"\xe2\x9c\x93 ok", 6, CUSTMEM_OK, CUSTMEM_OK, CUSTMEM_OK},
  {NULL, 0, CUSTMEM_NO_REASON, CUSTMEM_OK, CUSTMEM_OK},
  {"", -1, CUSTMEM_NO_REASON, CUSTMEM_EMPTY, CUSTMEM_EMPTY},
  {" \t ", -1, CUSTMEM_NO_REASON, CUSTMEM_OK, CUSTMEM_BAD_TEXT},
  {"two\nlines", -1, CUSTMEM_OK, CUSTMEM_OK, CUSTMEM_BAD_TEXT},
  {"a\0b", 3, CUSTMEM_BAD_TEXT, CUSTMEM_BAD_TEXT, CUSTMEM_BAD_TEXT},
  {"\xff\xfe", -1, CUSTMEM_BAD_TEXT, CUSTMEM_BAD_TEXT, CUSTMEM_BAD_TEXT},
  {"x", INT64_C(1) << 40, CUSTMEM_TOO_LONG, CUSTMEM_TOO_LONG, CUSTMEM_TOO_LONG},
  {"x", -2, CUSTMEM_MISUSE, CUSTMEM_MISUSE, CUSTMEM_MISUSE},
  {"'); DROP TABLE customers; --", -1, CUSTMEM_OK, CUSTMEM_OK, CUSTMEM_OK},
};

typedef struct modelled_event {
  int conversation, previous, next;
  int reason, context;
  char hash[CUSTMEM_HASH_SIZE + 1];
} modelled_event;

/* What must be in the store; and the store. */
static struct {
  custmem *store;
  int read_only;
  int clock_is_wrong;
  char path[NAME_SIZE];
  char copy[NAME_SIZE];
  int customers;
  int owner[CUSTOMERS];
  int identifier[CUSTOMERS];
  int display[CUSTOMERS];
  char id[CUSTOMERS][CUSTMEM_UUID_SIZE + 1];
  int linked_by[CONVERSATIONS]; /* the instructor, for ever; NOBODY before the first link */
  int linked_to[CONVERSATIONS];
  int events[INSTRUCTORS];
  modelled_event event[INSTRUCTORS][EVENTS];
  int64_t clock_ms;
  uint64_t seed;
} model;

/* ---- Codes --------------------------------------------------------------------------------- */

/* The faults that a call has, so any of these may come back, but no other code. */
typedef struct faults {
  int codes[12];
  int count;
} faults;

static void add_fault(faults *list, int holds, int fault) {
  if (holds && fault != CUSTMEM_OK && list->count < (int)COUNT_OF(list->codes))
    list->codes[list->count++] = fault;
}

static int has_fault(const faults *list, int fault) {
  int i;
  for (i = 0; i < list->count; i++)
    if (list->codes[i] == fault) return 1;
  return 0;
}

/* OK where there is no fault, else one of them. */
static void judge(const char *call, int rc, const faults *list) {
  if (list->count == 0 ? rc == CUSTMEM_OK : has_fault(list, rc)) return;
  fprintf(
    stderr, "%s: %s (%s); faults: %d\n", call, custmem_code_name(rc),
    custmem_errmsg(model.store), list->count
  );
  fuzz_broken(__FILE__, __LINE__, "a code that the call may give");
}

/* ---- Clock and store ----------------------------------------------------------------------- */

static int64_t clock_now(void *ctx) {
  (void)ctx;
  return model.clock_is_wrong ? -1 : (model.clock_ms += 7);
}

static int random_bytes(uint8_t *bytes, size_t size, void *ctx) {
  size_t i;
  (void)ctx;
  for (i = 0; i < size; i++)
    bytes[i] = (uint8_t)test_random(&model.seed);
  return 0;
}

static void open_store(unsigned how) {
  custmem_options options;
  custmem_options_init(&options);
  model.read_only = how % 4 == 3;
  options.read_only = model.read_only;
  options.exclusive = how % 4 == 2;
  options.now_ms = clock_now;
  options.random = random_bytes;
  model.clock_is_wrong = 0;
  DEMAND(custmem_open(model.path, &options, &model.store) == CUSTMEM_OK);
}

/* A store with nothing in it, made once. */
static void start(void) {
  static unsigned char *empty;
  static size_t empty_size;
  char path[NAME_SIZE], copy[NAME_SIZE];
  int i;
  snprintf(path, sizeof path, "%s/store.db", fuzz_directory());
  snprintf(copy, sizeof copy, "%s/copy.db", fuzz_directory());
  memset(&model, 0, sizeof model);
  strcpy(model.path, path);
  strcpy(model.copy, copy);
  model.clock_ms = INT64_C(1750000000000);
  for (i = 0; i < CONVERSATIONS; i++)
    model.linked_by[i] = model.linked_to[i] = NOBODY;
  if (empty == NULL) {
    const unsigned char *made;
    DEMAND(memory_vfs_install() == 0);
    open_store(0);
    DEMAND(custmem_close(model.store) == CUSTMEM_OK);
    made = memory_vfs_get(path, &empty_size);
    empty = malloc(empty_size);
    DEMAND(empty != NULL);
    memcpy(empty, made, empty_size);
  }
  memory_vfs_seed(1);
  memory_vfs_put(path, empty, empty_size);
  open_store(0);
}

/* ---- Arguments ----------------------------------------------------------------------------- */

/* An actor: mostly a human of one of the instructors. */
static custmem_actor take_actor(fuzz_input *input, int *instructor, faults *list) {
  static const char *const ids[] = {"user-1", NULL, "", "bad\x01", "user-2"};
  static const int codes[] = {
    CUSTMEM_OK, CUSTMEM_MISUSE, CUSTMEM_EMPTY, CUSTMEM_BAD_TEXT, CUSTMEM_OK};
  unsigned byte = fuzz_next(input), wrong = byte / INSTRUCTORS;
  custmem_actor actor = {CUSTMEM_ACTOR_HUMAN, ids[0], NULL};
  *instructor = (int)(byte % INSTRUCTORS);
  actor.instructor_id = INSTRUCTOR[*instructor];
  if (wrong < 70) return actor;
  if (wrong < 75) {
    actor.actor_id = ids[wrong - 70];
    add_fault(list, 1, codes[wrong - 70]);
  } else if (wrong < 78) {
    actor.type = wrong == 75 ? CUSTMEM_ACTOR_SYSTEM : (int32_t)wrong;
    add_fault(list, 1, CUSTMEM_NOT_HUMAN);
  } else {
    actor.instructor_id = wrong % 2 == 0 ? NULL : "";
    add_fault(list, 1, CUSTMEM_NO_INSTRUCTOR);
  }
  return actor;
}

/* A customer by number, of whichever instructor, or NOBODY: a well-formed id that is nobody's. */
static const char *take_customer(fuzz_input *input, int *customer) {
  unsigned byte = fuzz_next(input);
  *customer = NOBODY;
  if (model.customers == 0 || byte == 0xff) return "01977420-dfe8-71fe-808a-000000000000";
  *customer = (int)(byte % (unsigned)model.customers);
  return model.id[*customer];
}

static int is_theirs(int customer, int instructor) {
  return customer != NOBODY && model.owner[customer] == instructor;
}

static int find_customer(int instructor, unsigned identifier) {
  int i;
  for (i = 0; i < model.customers; i++)
    if (model.owner[i] == instructor && strcmp(IDENTIFIER[model.identifier[i]].channel, IDENTIFIER[identifier].channel) == 0 &&
        strcmp(IDENTIFIER[model.identifier[i]].key, IDENTIFIER[identifier].key) == 0)
      return i;
  return NOBODY;
}

static void add_identifier_fault(faults *list, unsigned identifier) {
  int refusal = custmem_normalize(
    IDENTIFIER[identifier].channel, IDENTIFIER[identifier].raw, CUSTMEM_NUL_TERMINATED, NULL
  );
  DEMAND((refusal == CUSTMEM_ACCEPTED) == (IDENTIFIER[identifier].key[0] != '\0'));
  if (refusal == CUSTMEM_ACCEPTED) return;
  add_fault(
    list, 1,
    refusal == CUSTMEM_REFUSED_UNKNOWN_CHANNEL ? CUSTMEM_BAD_CHANNEL : CUSTMEM_BAD_IDENTIFIER
  );
}

/* What a write meets in the store itself, arguments aside. */
static void add_store_faults(faults *list) {
  add_fault(list, model.read_only, CUSTMEM_READONLY);
  add_fault(list, model.clock_is_wrong, CUSTMEM_SOURCE);
}

/* ---- Customers ----------------------------------------------------------------------------- */

static const char *shown(int text) {
  return TEXT[text].text != NULL ? TEXT[text].text : "";
}

static void judge_customer(const custmem_customer *row, int customer) {
  int identifier = model.identifier[customer];
  const char *display = shown(model.display[customer]);
  DEMAND(strcmp(row->id, model.id[customer]) == 0);
  DEMAND(strcmp(row->instructor_id, INSTRUCTOR[model.owner[customer]]) == 0);
  DEMAND(strcmp(row->channel, IDENTIFIER[identifier].channel) == 0);
  DEMAND(strcmp(row->normalized_identifier, IDENTIFIER[identifier].key) == 0);
  DEMAND(strcmp(row->display_identifier, display) == 0);
}

static void step_create(fuzz_input *input) {
  faults list = {{0}, 0};
  custmem_customer row;
  int instructor, there, rc;
  int32_t created;
  custmem_actor actor = take_actor(input, &instructor, &list);
  unsigned identifier = fuzz_next(input) % COUNT_OF(IDENTIFIER);
  unsigned display = fuzz_next(input) % COUNT_OF(TEXT);
  if (model.customers == CUSTOMERS) return;
  there = find_customer(instructor, identifier);
  add_identifier_fault(&list, identifier);
  add_fault(&list, 1, TEXT[display].as_display);
  add_fault(&list, model.read_only, CUSTMEM_READONLY);
  add_fault(&list, model.clock_is_wrong && there == NOBODY, CUSTMEM_SOURCE);
  rc = custmem_customer_create(
    model.store, &actor, IDENTIFIER[identifier].channel, IDENTIFIER[identifier].raw, -1,
    TEXT[display].text, TEXT[display].size, &row, &created
  );
  judge("create", rc, &list);
  if (rc != CUSTMEM_OK) {
    DEMAND(created == 0 && row.id[0] == '\0' && row.instructor_id[0] == '\0');
    return;
  }
  DEMAND(created == (there == NOBODY));
  if (created) {
    there = model.customers++;
    model.owner[there] = instructor;
    model.identifier[there] = (int)identifier;
    model.display[there] = (int)display;
    strcpy(model.id[there], row.id);
  }
  judge_customer(&row, there);
}

static void step_display(fuzz_input *input) {
  faults list = {{0}, 0};
  custmem_customer row;
  int instructor, customer, rc;
  custmem_actor actor = take_actor(input, &instructor, &list);
  const char *id = take_customer(input, &customer);
  unsigned display = fuzz_next(input) % COUNT_OF(TEXT);
  add_fault(&list, 1, TEXT[display].as_display);
  add_fault(&list, !is_theirs(customer, instructor), CUSTMEM_NO_CUSTOMER);
  add_store_faults(&list);
  rc = custmem_customer_set_display(
    model.store, &actor, id, TEXT[display].text, TEXT[display].size, &row
  );
  judge("set_display", rc, &list);
  if (rc != CUSTMEM_OK) {
    DEMAND(row.id[0] == '\0');
    return;
  }
  model.display[customer] = (int)display;
  judge_customer(&row, customer);
}

static void step_get(fuzz_input *input) {
  faults list = {{0}, 0};
  custmem_customer row, many[3];
  int instructor = (int)(fuzz_next(input) % INSTRUCTORS), customer, other;
  const char *id = take_customer(input, &customer);
  const char *ids[3];
  int rc = custmem_customer_get(model.store, INSTRUCTOR[instructor], id, &row);
  add_fault(&list, !is_theirs(customer, instructor), CUSTMEM_NO_CUSTOMER);
  judge("get", rc, &list);
  if (rc == CUSTMEM_OK)
    judge_customer(&row, customer);
  else
    DEMAND(row.id[0] == '\0');
  ids[0] = id, ids[1] = NULL, ids[2] = take_customer(input, &other);
  rc = custmem_customer_get_many(model.store, INSTRUCTOR[instructor], ids, 3, many);
  DEMAND(rc == CUSTMEM_OK && many[1].id[0] == '\0');
  DEMAND((many[0].id[0] != '\0') == is_theirs(customer, instructor));
  DEMAND((many[2].id[0] != '\0') == is_theirs(other, instructor));
  if (many[2].id[0] != '\0') judge_customer(&many[2], other);
}

static void step_find(fuzz_input *input) {
  faults list = {{0}, 0};
  custmem_customer row;
  int instructor = (int)(fuzz_next(input) % INSTRUCTORS);
  unsigned identifier = fuzz_next(input) % COUNT_OF(IDENTIFIER);
  int there = find_customer(instructor, identifier);
  int rc = custmem_customer_find(
    model.store, INSTRUCTOR[instructor], IDENTIFIER[identifier].channel,
    IDENTIFIER[identifier].raw, -1, &row
  );
  add_identifier_fault(&list, identifier);
  add_fault(&list, list.count == 0 && there == NOBODY, CUSTMEM_NO_CUSTOMER);
  judge("find", rc, &list);
  if (rc == CUSTMEM_OK) judge_customer(&row, there);
}

static void step_list(fuzz_input *input) {
  custmem_customer page[CUSTOMERS];
  char after[CUSTMEM_UUID_SIZE + 1] = "";
  int instructor = (int)(fuzz_next(input) % INSTRUCTORS), listed = 0, theirs = 0, i;
  int32_t capacity = (int32_t)(1 + fuzz_next(input) % CUSTOMERS), count = capacity;
  while (count == capacity) {
    DEMAND(
      custmem_customer_list(
        model.store, INSTRUCTOR[instructor], after[0] != '\0' ? after : NULL, page, capacity,
        &count
      ) == CUSTMEM_OK
    );
    for (i = 0; i < count; i++) {
      DEMAND(strcmp(page[i].instructor_id, INSTRUCTOR[instructor]) == 0);
      DEMAND(strcmp(page[i].id, after) > 0);
      strcpy(after, page[i].id);
    }
    listed += count;
  }
  for (i = 0; i < model.customers; i++)
    theirs += model.owner[i] == instructor;
  DEMAND(listed == theirs);
}

/* ---- Links --------------------------------------------------------------------------------- */

static void judge_refused(
  int instructor,
  int conversation,
  int rc,
  const custmem_written *written
) {
  int current = model.linked_to[conversation];
  const char *named = written->current_customer_id;
  int is_ours = model.linked_by[conversation] == instructor;
  DEMAND(written->seq == 0 && written->head.count == 0 && written->head.hash[0] == '\0');
  if (named[0] != '\0')
    DEMAND(is_ours && current != NOBODY && strcmp(named, model.id[current]) == 0);
  if (rc == CUSTMEM_ALREADY_LINKED || rc == CUSTMEM_CHANGED || rc == CUSTMEM_NO_CHANGE)
    DEMAND(named[0] != '\0');
}

static void keep_event(
  int instructor,
  const modelled_event *made,
  const custmem_written *written
) {
  int count = ++model.events[instructor];
  modelled_event *kept = &model.event[instructor][count - 1];
  const char *next = made->next != NOBODY ? model.id[made->next] : "";
  DEMAND(written->seq == count && written->head.count == count);
  DEMAND(strlen(written->head.hash) == CUSTMEM_HASH_SIZE);
  DEMAND(strcmp(written->current_customer_id, next) == 0);
  DEMAND(written->created_at_ms == model.clock_ms);
  *kept = *made;
  strcpy(kept->hash, written->head.hash);
  model.linked_by[made->conversation] = instructor;
  model.linked_to[made->conversation] = made->next;
}

/* The faults of a verb that names, where it does, the current and the next customer. */
static void add_link_faults(
  faults *list,
  int verb,
  int instructor,
  const modelled_event *made
) {
  int owner = model.linked_by[made->conversation],
      current = model.linked_to[made->conversation];
  add_fault(list, owner != NOBODY && owner != instructor, CUSTMEM_OTHER_INSTRUCTOR);
  add_fault(list, verb != 2 && !is_theirs(made->next, instructor), CUSTMEM_NO_CUSTOMER);
  add_fault(list, verb == 0 && current != NOBODY, CUSTMEM_ALREADY_LINKED);
  add_fault(list, verb != 0 && current == NOBODY, CUSTMEM_NOT_LINKED);
  add_fault(list, verb != 0 && current != NOBODY && made->previous != current, CUSTMEM_CHANGED);
  add_fault(
    list, verb == 1 && current != NOBODY && made->next == current && made->previous == current,
    CUSTMEM_NO_CHANGE
  );
  add_fault(list, 1, TEXT[made->reason].as_reason);
  add_fault(list, 1, TEXT[made->context].as_optional);
  add_store_faults(list);
}

static void step_link(fuzz_input *input, int verb) {
  faults list = {{0}, 0};
  custmem_written written;
  modelled_event made = {0, NOBODY, NOBODY, 0, 0, ""};
  int instructor, rc;
  custmem_actor actor = take_actor(input, &instructor, &list);
  const char *current = NULL, *next = NULL, *conversation;
  made.conversation = (int)(fuzz_next(input) % CONVERSATIONS);
  conversation = CONVERSATION[made.conversation];
  if (verb != 0) current = take_customer(input, &made.previous);
  if (verb != 2) next = take_customer(input, &made.next);
  made.reason = (int)(fuzz_next(input) % COUNT_OF(TEXT));
  made.context = (int)(fuzz_next(input) % COUNT_OF(TEXT));
  if (model.events[instructor] == EVENTS) return;
  add_link_faults(&list, verb, instructor, &made);
  if (verb == 0)
    rc = custmem_link(
      model.store, &actor, conversation, next, TEXT[made.reason].text, TEXT[made.reason].size,
      TEXT[made.context].text, TEXT[made.context].size, &written
    );
  else if (verb == 1)
    rc = custmem_relink(
      model.store, &actor, conversation, current, next, TEXT[made.reason].text,
      TEXT[made.reason].size, TEXT[made.context].text, TEXT[made.context].size, &written
    );
  else
    rc = custmem_unlink(
      model.store, &actor, conversation, current, TEXT[made.reason].text,
      TEXT[made.reason].size, TEXT[made.context].text, TEXT[made.context].size, &written
    );
  judge(verb == 0 ? "link" : verb == 1 ? "relink" : "unlink", rc, &list);
  if (rc == CUSTMEM_OK)
    keep_event(instructor, &made, &written);
  else
    judge_refused(instructor, made.conversation, rc, &written);
}

/* ---- Reading ------------------------------------------------------------------------------- */

static void judge_resolution(
  int instructor,
  int conversation,
  unsigned identifier,
  const custmem_resolution *found
) {
  int owner = model.linked_by[conversation], current = model.linked_to[conversation];
  int candidate = find_customer(instructor, identifier);
  if (owner != NOBODY && owner != instructor) {
    DEMAND(found->outcome == CUSTMEM_UNLINKED && found->why == CUSTMEM_WHY_OTHER_INSTRUCTOR);
  } else if (current != NOBODY) {
    DEMAND(found->outcome == CUSTMEM_LINKED);
    DEMAND(strcmp(found->customer_id, model.id[current]) == 0);
  } else if (IDENTIFIER[identifier].key[0] != '\0' && candidate != NOBODY) {
    DEMAND(found->outcome == CUSTMEM_CANDIDATE);
    DEMAND(strcmp(found->customer_id, model.id[candidate]) == 0);
  } else {
    DEMAND(found->outcome == CUSTMEM_UNLINKED);
  }
  DEMAND((found->outcome == CUSTMEM_UNLINKED) == (found->customer_id[0] == '\0'));
}

static void step_resolve(fuzz_input *input) {
  custmem_query queries[2];
  custmem_resolution found, many[2];
  int instructor = (int)(fuzz_next(input) % INSTRUCTORS);
  int conversation = (int)(fuzz_next(input) % CONVERSATIONS);
  unsigned identifier = fuzz_next(input) % COUNT_OF(IDENTIFIER);
  DEMAND(
    custmem_resolve(
      model.store, INSTRUCTOR[instructor], CONVERSATION[conversation],
      IDENTIFIER[identifier].channel, IDENTIFIER[identifier].raw, -1, &found
    ) == CUSTMEM_OK
  );
  judge_resolution(instructor, conversation, identifier, &found);
  queries[0] = (custmem_query
  ){CONVERSATION[conversation], IDENTIFIER[identifier].channel, IDENTIFIER[identifier].raw, -1};
  queries[1] = (custmem_query
  ){CONVERSATION[(conversation + 1) % CONVERSATIONS], IDENTIFIER[0].channel, IDENTIFIER[0].raw,
    -1};
  DEMAND(
    custmem_resolve_many(model.store, INSTRUCTOR[instructor], queries, 2, many) == CUSTMEM_OK
  );
  judge_resolution(instructor, conversation, identifier, &many[0]);
  DEMAND(many[0].why == found.why && many[0].refusal == found.refusal);
  DEMAND(strcmp(many[0].normalized_identifier, found.normalized_identifier) == 0);
  judge_resolution(instructor, (conversation + 1) % CONVERSATIONS, 0, &many[1]);
}

static void judge_event(const custmem_event *event, int instructor, int64_t seq) {
  const modelled_event *made = &model.event[instructor][seq - 1];
  DEMAND(event->seq == seq && strcmp(event->hash, made->hash) == 0);
  DEMAND(strcmp(event->instructor_id, INSTRUCTOR[instructor]) == 0);
  DEMAND(strcmp(event->conversation_id, CONVERSATION[made->conversation]) == 0);
  DEMAND(
    strcmp(
      event->previous_customer_id, made->previous != NOBODY ? model.id[made->previous] : ""
    ) == 0
  );
  DEMAND(strcmp(event->new_customer_id, made->next != NOBODY ? model.id[made->next] : "") == 0);
  DEMAND(strcmp(event->reason, shown(made->reason)) == 0);
  DEMAND(strcmp(event->context, shown(made->context)) == 0);
}

static void step_trail(fuzz_input *input) {
  static custmem_event page[EVENTS];
  int instructor = (int)(fuzz_next(input) % INSTRUCTORS);
  int64_t after = fuzz_next(input) % (EVENTS + 2), seq;
  int32_t capacity = (int32_t)(1 + fuzz_next(input) % EVENTS), count, i;
  int conversation = (int)(fuzz_next(input) % CONVERSATIONS), events = model.events[instructor];
  DEMAND(
    custmem_audit_read(model.store, INSTRUCTOR[instructor], after, page, capacity, &count) ==
    CUSTMEM_OK
  );
  DEMAND(
    count == (events <= after             ? 0
              : events - after < capacity ? events - after
                                          : capacity)
  );
  for (i = 0; i < count; i++)
    judge_event(&page[i], instructor, after + 1 + i);
  DEMAND(
    custmem_history(
      model.store, INSTRUCTOR[instructor], CONVERSATION[conversation], after, page, EVENTS,
      &count
    ) == CUSTMEM_OK
  );
  for (i = 0, seq = after + 1; seq <= events; seq++)
    if (model.event[instructor][seq - 1].conversation == conversation) {
      DEMAND(i < count);
      judge_event(&page[i++], instructor, seq);
    }
  DEMAND(i == count);
}

/* Every head that was seen is one that today's chain continues; a changed one is not. */
static void judge_chain(int instructor, unsigned at, unsigned change) {
  custmem_head anchor, head;
  custmem_report report;
  int events = model.events[instructor];
  const char *id = INSTRUCTOR[instructor];
  DEMAND(custmem_audit_head(model.store, id, &head) == CUSTMEM_OK);
  DEMAND(head.count == events);
  if (events == 0) return;
  at %= (unsigned)events;
  anchor.count = (int64_t)at + 1;
  strcpy(anchor.hash, model.event[instructor][at].hash);
  DEMAND(custmem_audit_verify(model.store, id, &anchor, &report) == CUSTMEM_OK);
  DEMAND(report.events == events && report.head.count == head.count);
  DEMAND(strcmp(report.head.hash, head.hash) == 0);
  DEMAND(strcmp(head.hash, model.event[instructor][events - 1].hash) == 0);
  if (change == 0) return;
  anchor.hash[change % CUSTMEM_HASH_SIZE] =
    anchor.hash[change % CUSTMEM_HASH_SIZE] == '0' ? '1' : '0';
  DEMAND(custmem_audit_verify(model.store, id, &anchor, &report) == CUSTMEM_ANCHOR);
  DEMAND(report.fault == CUSTMEM_FAULT_ANCHOR_DIFFERS);
  anchor.count = events + (int64_t)change;
  DEMAND(custmem_audit_verify(model.store, id, &anchor, &report) == CUSTMEM_ANCHOR);
  DEMAND(report.fault == CUSTMEM_FAULT_ANCHOR_BEYOND);
}

static void step_verify(fuzz_input *input) {
  int instructor = (int)(fuzz_next(input) % INSTRUCTORS);
  unsigned at = fuzz_next(input);
  judge_chain(instructor, at, fuzz_next(input));
}

static void judge_store(void) {
  custmem_report report;
  int i, links = 0, events = 0;
  DEMAND(custmem_check(model.store, &report) == CUSTMEM_OK);
  for (i = 0; i < CONVERSATIONS; i++)
    links += model.linked_by[i] != NOBODY;
  for (i = 0; i < INSTRUCTORS; i++)
    events += model.events[i];
  DEMAND(report.customers == model.customers);
  DEMAND(report.events == events && report.links == links);
}

static void step_conversations(fuzz_input *input) {
  custmem_conversation page[CONVERSATIONS];
  faults list = {{0}, 0};
  int instructor = (int)(fuzz_next(input) % INSTRUCTORS), customer, linked = 0, i, rc;
  const char *id = take_customer(input, &customer);
  int32_t count;
  rc = custmem_conversations(
    model.store, INSTRUCTOR[instructor], id, NULL, page, CONVERSATIONS, &count
  );
  add_fault(&list, !is_theirs(customer, instructor), CUSTMEM_NO_CUSTOMER);
  judge("conversations", rc, &list);
  for (i = 0; i < CONVERSATIONS; i++)
    if (rc == CUSTMEM_OK && model.linked_to[i] == customer && model.linked_by[i] == instructor) {
      DEMAND(linked < count && strcmp(page[linked].conversation_id, CONVERSATION[i]) == 0);
      linked++;
    }
  DEMAND(count == linked);
}

/* ---- The store as a whole ------------------------------------------------------------------ */

static void step_reopen(fuzz_input *input) {
  DEMAND(custmem_close(model.store) == CUSTMEM_OK);
  open_store(fuzz_next(input));
}

static void step_backup(void) {
  custmem *original = model.store, *copy = NULL;
  custmem_options options;
  int rc;
  custmem_options_init(&options);
  options.read_only = 1;
  rc = custmem_backup(model.store, model.copy);
  DEMAND(rc == CUSTMEM_OK);
  DEMAND(custmem_backup(model.store, model.copy) == CUSTMEM_EXISTS);
  DEMAND(custmem_open(model.copy, &options, &copy) == CUSTMEM_OK);
  model.store = copy;
  judge_store();
  DEMAND(custmem_close(copy) == CUSTMEM_OK);
  model.store = original;
  memory_vfs_delete(model.copy);
  unlink(model.copy);
}

/* The clock goes back, jumps, or says what no clock says. */
static void step_clock(fuzz_input *input) {
  static const int64_t times[] = {0, 1750000000000, 281474976710000, 86400000, 1};
  unsigned byte = fuzz_next(input);
  model.clock_is_wrong = byte % 8 == 7;
  model.clock_ms = times[byte % COUNT_OF(times)];
}

static void take_step(fuzz_input *input) {
  switch (fuzz_next(input) % 16) {
  case 0:
  case 1:
    step_create(input);
    break;
  case 2:
  case 3:
    step_link(input, 0);
    break;
  case 4:
    step_link(input, 1);
    break;
  case 5:
    step_link(input, 2);
    break;
  case 6:
    step_resolve(input);
    break;
  case 7:
    step_display(input);
    break;
  case 8:
    step_get(input);
    break;
  case 9:
    step_find(input);
    break;
  case 10:
    step_list(input);
    break;
  case 11:
    step_trail(input);
    break;
  case 12:
    step_verify(input);
    break;
  case 13:
    step_conversations(input);
    break;
  case 14:
    step_reopen(input);
    break;
  default:
    if (fuzz_next(input) % 4 == 0)
      step_backup();
    else
      step_clock(input);
  }
}

static void finish(void) {
  custmem_resolution found;
  int i, j;
  for (i = 0; i < INSTRUCTORS; i++) {
    judge_chain(i, (unsigned)model.events[i], 0);
    for (j = 0; j < CONVERSATIONS; j++) {
      DEMAND(
        custmem_resolve(
          model.store, INSTRUCTOR[i], CONVERSATION[j], IDENTIFIER[2].channel, IDENTIFIER[2].raw,
          -1, &found
        ) == CUSTMEM_OK
      );
      judge_resolution(i, j, 2, &found);
    }
  }
  judge_store();
  DEMAND(custmem_close(model.store) == CUSTMEM_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static int64_t memory = -1;
  fuzz_input input = {data, size};
  int i;
  if (memory < 0) {
    start();
    DEMAND(custmem_close(model.store) == CUSTMEM_OK);
    memory = sqlite3_memory_used();
  }
  start();
  for (i = 0; i < STEPS && input.size > 0; i++)
    take_step(&input);
  finish();
  DEMAND(sqlite3_memory_used() == memory);
  DEMAND(memory_vfs_open_files() == 0);
  return 0;
}
