/* SPDX-License-Identifier: MIT
**
** The data. A file is filled by plain SQL in one transaction, with the triggers that check a link
** out of the way and put back to the letter: a million customers through custmem's own calls would
** take a transaction each. The chains are hashed here a second time, from custmem.h's description
** of the encoding alone; custmem_check and custmem_audit_verify then say whether all of it is what
** custmem itself would have written.
*/
#define _XOPEN_SOURCE 700

#include "bench.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CUSTOMERS_EACH 1000 /* of an instructor's, in a large data set */
#define HASH_SIZE      32
#define EVENT_SIZE     1024 /* no event here is longer, encoded */
#define PATHS          16

static char directory[PATH_SIZE / 2];

/* ---- Functions of an index ----------------------------------------------------------------- */

uint64_t next_random(uint64_t *state) {
  uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);
  x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
  return x ^ (x >> 31);
}

static void random_bytes(uint64_t seed, uint8_t *bytes, size_t size) {
  uint64_t value = 0;
  size_t i;
  for (i = 0; i < size; i++) {
    if (i % 8 == 0) value = next_random(&seed);
    bytes[i] = (uint8_t)(value >> (8 * (i % 8)));
  }
}

static void uuid_text(uint8_t bytes[16], int version, char id[ID_SIZE]) {
  static const char digits[] = "0123456789abcdef";
  int i, at = 0;
  bytes[6] = (uint8_t)(version << 4 | (bytes[6] & 0x0f));
  bytes[8] = (uint8_t)(0x80 | (bytes[8] & 0x3f));
  for (i = 0; i < 16; i++) {
    if (i == 4 || i == 6 || i == 8 || i == 10) id[at++] = '-';
    id[at++] = digits[bytes[i] >> 4];
    id[at++] = digits[bytes[i] & 15];
  }
  id[at] = '\0';
}

int64_t source_now_ms(void *i) {
  return FIRST_MS + *(const int64_t *)i;
}

int source_random(uint8_t *bytes, size_t size, void *i) {
  random_bytes((uint64_t) * (const int64_t *)i, bytes, size);
  return 0;
}

/* A UUIDv7 of the sources above. */
void customer_id_of(int64_t i, char id[ID_SIZE]) {
  uint8_t bytes[16];
  int b;
  for (b = 0; b < 6; b++)
    bytes[b] = (uint8_t)((FIRST_MS + i) >> (8 * (5 - b)));
  source_random(bytes + 6, 10, &i);
  uuid_text(bytes, 7, id);
}

/* A host's random UUID. */
void conversation_id_of(int64_t i, char id[ID_SIZE]) {
  uint8_t bytes[16];
  random_bytes((uint64_t)i ^ UINT64_C(0x636f6e7665727361), bytes, sizeof bytes);
  uuid_text(bytes, 4, id);
}

/* A WhatsApp id as it arrives: the digits of a phone number, and so its own key. No two are equal
** below a thousand million. */
void identifier_of(int64_t i, char identifier[NAME_SIZE]) {
  snprintf(identifier, NAME_SIZE, "393%09" PRId64, i % 1000000000 * 618033989 % 1000000000);
}

void instructor_id_of(int64_t i, char id[NAME_SIZE]) {
  snprintf(id, NAME_SIZE, "instructor-%06d", (int)i);
}

int is_linked(const data_set *set, int64_t i) {
  return i / set->instructors % 2 == 0;
}

/* ---- The scratch directory ----------------------------------------------------------------- */

void remove_tree(const char *path) {
  char command[PATH_SIZE + 16];
  snprintf(command, sizeof command, "rm -rf '%s'", path);
  if (system(command) != 0) fprintf(stderr, "%s is left\n", path);
}

static void data_end(void) {
  remove_tree(directory);
}

void data_start(void) {
  const char *where = getenv("TMPDIR");
  if (where == NULL) where = "/tmp";
  snprintf(directory, sizeof directory, "%s/custmem-bench-XXXXXX", where);
  if (mkdtemp(directory) == NULL) give_up("no scratch directory can be made in %s", where);
  atexit(data_end);
}

const char *data_path(const char *name) {
  static char paths[PATHS][PATH_SIZE];
  static unsigned next;
  char *path = paths[next++ % PATHS];
  snprintf(path, PATH_SIZE, "%s/%s", directory, name);
  return path;
}

void copy_file(const char *from, const char *to) {
  static char buffer[1 << 20];
  FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
  size_t size;
  if (in == NULL || out == NULL) give_up("%s cannot be copied to %s", from, to);
  while ((size = fread(buffer, 1, sizeof buffer, in)) > 0)
    if (fwrite(buffer, 1, size, out) != size) give_up("%s: no space", to);
  if (ferror(in) || fclose(in) != 0 || fclose(out) != 0) give_up("%s: cannot be copied", from);
}

const char *schema_text(void) {
  static char text[1 << 16];
  if (text[0] == '\0') {
    FILE *file = fopen("schema.sql", "rb");
    if (file == NULL || fread(text, 1, sizeof text - 1, file) == 0)
      give_up("schema.sql is not here: run from the directory that it is in");
    fclose(file);
  }
  return text;
}

/* ---- Plain SQL ----------------------------------------------------------------------------- */

void run_sql(sqlite3 *db, const char *sql) {
  if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
    give_up("%s: %s", sql, sqlite3_errmsg(db));
}

sqlite3_stmt *prepare_sql(sqlite3 *db, const char *sql) {
  sqlite3_stmt *stmt = NULL;
  if (sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt, NULL) != SQLITE_OK)
    give_up("%s: %s", sql, sqlite3_errmsg(db));
  return stmt;
}

/* Binds texts from parameter 1 on; NULL is NULL. */
static void bind_texts(sqlite3_stmt *stmt, const char *const *texts, int count) {
  int i;
  for (i = 0; i < count; i++)
    sqlite3_bind_text(stmt, i + 1, texts[i], -1, SQLITE_STATIC);
}

static void step_done(sqlite3 *db, sqlite3_stmt *stmt) {
  if (sqlite3_step(stmt) != SQLITE_DONE) give_up("%s", sqlite3_errmsg(db));
  sqlite3_reset(stmt);
}

void insert_customers(sqlite3 *db, const data_set *set) {
  sqlite3_stmt *stmt = prepare_sql(
    db,
    "INSERT INTO customers (id, instructor_id, channel, normalized_identifier,"
    " display_identifier, created_at, updated_at) VALUES (?1, ?2, ?3, ?4, '+' || ?4, ?5, ?5)"
  );
  char id[ID_SIZE], instructor_id[NAME_SIZE], identifier[NAME_SIZE];
  const char *const texts[] = {id, instructor_id, CHANNEL, identifier};
  int64_t i;
  for (i = 0; i < set->customers; i++) {
    customer_id_of(i, id);
    instructor_id_of(i % set->instructors, instructor_id);
    identifier_of(i, identifier);
    bind_texts(stmt, texts, COUNT_OF(texts));
    sqlite3_bind_int64(stmt, 5, FIRST_MS + i);
    step_done(db, stmt);
  }
  sqlite3_finalize(stmt);
}

#define LINK_TRIGGERS                                                                          \
  "name IN ('audit_events_insert', 'conversation_links_insert', 'conversation_links_update')"

void drop_link_triggers(sqlite3 *db) {
  run_sql(
    db, "DROP TRIGGER audit_events_insert; DROP TRIGGER conversation_links_insert;"
        "DROP TRIGGER conversation_links_update"
  );
}

/* ---- Chains -------------------------------------------------------------------------------- */

/* An event, encoded for its hash as custmem.h says, under Audit. */
typedef struct encoding {
  unsigned char bytes[EVENT_SIZE];
  size_t size;
} encoding;

static void put_number(encoding *to, uint64_t value, int size) {
  while (size-- > 0)
    to->bytes[to->size++] = (unsigned char)(value >> (8 * size));
}

static void put_field(encoding *to, uint64_t tag, const void *bytes, size_t size) {
  put_number(to, tag, 1);
  put_number(to, bytes != NULL ? size : UINT32_MAX, 4);
  if (bytes != NULL) {
    memcpy(to->bytes + to->size, bytes, size);
    to->size += size;
  }
}

static void put_text(encoding *to, uint64_t tag, const char *text) {
  put_field(to, tag, text, text != NULL ? strlen(text) : 0);
}

static void put_integer(encoding *to, uint64_t tag, int64_t value) {
  put_number(to, tag, 1);
  put_number(to, 8, 4);
  put_number(to, (uint64_t)value, 8);
}

/* An event to store. hash is that of the event before, and becomes this one's. */
typedef struct chain_event {
  const char *instructor_id;
  int64_t seq;
  const char *conversation_id;
  const char *previous_customer_id;
  const char *new_customer_id;
  unsigned char *hash;
} chain_event;

static const char *name_of(const chain_event *event) {
  return event->previous_customer_id == NULL ? "conversation.customer_linked"
                                             : "conversation.customer_relinked";
}

static void encode_event(const chain_event *event, encoding *to) {
  to->size = 0;
  put_text(to, 0, "custmem.audit.event.1");
  put_field(to, 1, event->hash, HASH_SIZE);
  put_text(to, 2, event->instructor_id);
  put_integer(to, 3, event->seq);
  put_text(to, 4, name_of(event));
  put_text(to, 5, event->conversation_id);
  put_text(to, 6, event->previous_customer_id);
  put_text(to, 7, event->new_customer_id);
  put_text(to, 8, "human");
  put_text(to, 9, ACTOR_ID);
  put_text(to, 10, REASON);
  put_text(to, 11, NULL);
  put_integer(to, 12, FIRST_MS + event->seq);
}

static void start_hash(const char *store_id, const char *instructor_id, unsigned char *hash) {
  encoding start;
  start.size = 0;
  put_text(&start, 0, "custmem.audit.chain.1");
  put_text(&start, 1, store_id);
  put_text(&start, 2, instructor_id);
  sha256_of(start.bytes, start.size, hash);
}

/* The statements that fill a file, while its link triggers are not there. */
typedef struct loader {
  sqlite3 *db;
  sqlite3_stmt *insert_event;
  sqlite3_stmt *put_link;
  char store_id[ID_SIZE];
  char *triggers; /* the CREATE statements, to put back */
} loader;

/* Stores an event and the link that it makes; `encoded` gets what was hashed. */
static void load_event(loader *to, const chain_event *event, encoding *encoded) {
  const char *const texts[] = {
    event->instructor_id,
    name_of(event),
    event->conversation_id,
    event->previous_customer_id,
    event->new_customer_id,
    ACTOR_ID,
    REASON};
  const char *const link[] = {
    event->conversation_id, event->instructor_id, event->new_customer_id};
  encode_event(event, encoded);
  sha256_of(encoded->bytes, encoded->size, event->hash);
  bind_texts(to->insert_event, texts, COUNT_OF(texts));
  sqlite3_bind_int64(to->insert_event, 8, event->seq);
  sqlite3_bind_int64(to->insert_event, 9, FIRST_MS + event->seq);
  sqlite3_bind_blob(to->insert_event, 10, event->hash, HASH_SIZE, SQLITE_STATIC);
  step_done(to->db, to->insert_event);
  bind_texts(to->put_link, link, COUNT_OF(link));
  sqlite3_bind_int64(to->put_link, 4, event->seq);
  sqlite3_bind_int64(to->put_link, 5, FIRST_MS + event->seq);
  step_done(to->db, to->put_link);
}

/* Makes an empty store by custmem, and opens it for loading. */
static void start_load(loader *to, const char *path) {
  custmem *store;
  custmem_info info;
  sqlite3_stmt *stmt;
  if (custmem_open(path, NULL, &store) != CUSTMEM_OK) give_up("%s: no store", path);
  EXPECT(custmem_store_info(store, &info) == CUSTMEM_OK);
  memcpy(to->store_id, info.id, sizeof to->store_id);
  custmem_close(store);
  if (sqlite3_open(path, &to->db) != SQLITE_OK) give_up("%s: %s", path, sqlite3_errmsg(to->db));
  run_sql(
    to->db, "PRAGMA foreign_keys = OFF; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
            "PRAGMA cache_size = -4000000; BEGIN"
  );
  stmt = prepare_sql(
    to->db, "SELECT group_concat(sql, ';') FROM sqlite_schema WHERE " LINK_TRIGGERS
  );
  EXPECT(sqlite3_step(stmt) == SQLITE_ROW);
  to->triggers = sqlite3_mprintf("%s", (const char *)sqlite3_column_text(stmt, 0));
  sqlite3_finalize(stmt);
  drop_link_triggers(to->db);
  to->insert_event = prepare_sql(
    to->db, "INSERT INTO audit_events (instructor_id, event_name, conversation_id,"
            " previous_customer_id, new_customer_id, actor_id, reason, seq, created_at, hash,"
            " actor_type) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 'human')"
  );
  to->put_link = prepare_sql(
    to->db, "INSERT INTO conversation_links (conversation_id, instructor_id, customer_id,"
            " audit_seq, updated_at) VALUES (?1, ?2, ?3, ?4, ?5)"
            " ON CONFLICT (conversation_id) DO UPDATE SET customer_id = excluded.customer_id,"
            " audit_seq = excluded.audit_seq, updated_at = excluded.updated_at"
  );
}

static void end_load(loader *to) {
  sqlite3_finalize(to->insert_event);
  sqlite3_finalize(to->put_link);
  run_sql(to->db, to->triggers);
  run_sql(to->db, "COMMIT; PRAGMA journal_mode = WAL");
  sqlite3_free(to->triggers);
  EXPECT(sqlite3_close(to->db) == SQLITE_OK);
}

/* Links each instructor's conversations, in the order of their customers' making. */
static void load_links(loader *to, const data_set *set) {
  unsigned char *hashes = malloc((size_t)set->instructors * HASH_SIZE);
  char instructor_id[NAME_SIZE], conversation_id[ID_SIZE], customer_id[ID_SIZE];
  encoding encoded;
  int64_t i;
  if (hashes == NULL) give_up("no memory");
  for (i = 0; i < set->customers; i++) {
    int64_t instructor = i % set->instructors;
    chain_event event = {instructor_id, i / set->instructors / 2 + 1,   conversation_id, NULL,
                         customer_id,   hashes + instructor * HASH_SIZE};
    if (!is_linked(set, i)) continue;
    instructor_id_of(instructor, instructor_id);
    conversation_id_of(i, conversation_id);
    customer_id_of(i, customer_id);
    if (event.seq == 1) start_hash(to->store_id, instructor_id, event.hash);
    load_event(to, &event, &encoded);
  }
  free(hashes);
}

static void check_store(const char *path) {
  custmem *store;
  static custmem_report found;
  EXPECT(custmem_open(path, NULL, &store) == CUSTMEM_OK);
  if (custmem_check(store, &found) != CUSTMEM_OK)
    give_up("%s is no sound store: %s", path, found.detail);
  custmem_close(store);
}

void make_data_set(data_set *set, int64_t customers, int check) {
  loader to;
  char name[NAME_SIZE];
  snprintf(name, sizeof name, "%" PRId64 ".db", customers);
  snprintf(set->path, sizeof set->path, "%s", data_path(name));
  set->customers = customers;
  set->instructors = (customers + CUSTOMERS_EACH - 1) / CUSTOMERS_EACH;
  if (access(set->path, F_OK) == 0) return; /* by an earlier row */
  start_load(&to, set->path);
  insert_customers(to.db, set);
  load_links(&to, set);
  end_load(&to);
  if (check) check_store(set->path);
}

/* ---- One long chain ------------------------------------------------------------------------ */

void make_chain(chain_data *chain, int64_t events) {
  enum { CUSTOMERS = 1000 };
  loader to;
  unsigned char hash[HASH_SIZE];
  char instructor_id[NAME_SIZE], conversation_id[ID_SIZE], first[ID_SIZE], second[ID_SIZE];
  encoding encoded;
  int64_t seq;
  int i;
  chain->set.customers = CUSTOMERS;
  chain->set.instructors = 1;
  chain->events = events;
  chain->bytes = malloc((size_t)events * EVENT_SIZE / 2);
  chain->starts = malloc(sizeof *chain->starts * (size_t)(events + 1));
  if (chain->bytes == NULL || chain->starts == NULL) give_up("no memory");
  chain->starts[0] = 0;
  snprintf(chain->set.path, sizeof chain->set.path, "%s", data_path("chain.db"));
  start_load(&to, chain->set.path);
  insert_customers(to.db, &chain->set);
  instructor_id_of(0, instructor_id);
  start_hash(to.store_id, instructor_id, hash);
  for (seq = 1; seq <= events; seq++) {
    int64_t conversation = (seq - 1) % (events / 2);
    chain_event event = {instructor_id, seq, conversation_id, NULL, first, hash};
    conversation_id_of(conversation, conversation_id);
    customer_id_of(conversation % CUSTOMERS, first);
    customer_id_of((conversation + 1) % CUSTOMERS, second);
    if (seq > events / 2) event.previous_customer_id = first, event.new_customer_id = second;
    load_event(&to, &event, &encoded);
    memcpy(chain->bytes + chain->starts[seq - 1], encoded.bytes, encoded.size);
    chain->starts[seq] = chain->starts[seq - 1] + encoded.size;
  }
  end_load(&to);
  for (i = 0; i < HASH_SIZE; i++)
    snprintf(&chain->head[(size_t)i * 2], 3, "%02x", hash[i]);
}

void free_chain(chain_data *chain) {
  free(chain->bytes);
  free(chain->starts);
}
