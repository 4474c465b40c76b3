/* SPDX-License-Identifier: MIT
**
** LMDB: a key-value store in mapped memory, the fastest there is for this. It does the gets that a
** resolution needs and nothing else: a link by conversation, or a customer's id by the key (identifier,
** channel, instructor), and then the customer's record by its id, which is compared with what was asked
** for. Keys begin with what differs most, as SQLite's index here does. Answers are copied out of the map.
*/
#define _XOPEN_SOURCE 700

#include "bench.h"

#include <inttypes.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define KEY_SIZE (NAME_SIZE + 2 * ID_SIZE)

/* Of addresses, not of memory: ample room for a customer, and a file's least. */
#define MAP_SIZE_EACH  2048
#define MAP_SIZE_LEAST ((size_t)64 << 20)

typedef struct lmdb {
  MDB_env *env;
  MDB_txn *txn; /* read-only, renewed for each use */
  MDB_dbi links, customers, identities;
} lmdb;

static void expect_ok(int rc) {
  if (rc != MDB_SUCCESS) give_up("LMDB: %s", mdb_strerror(rc));
}

/* A key or a value made of texts, each with its NUL. */
typedef struct packed {
  char bytes[KEY_SIZE];
  MDB_val val;
} packed;

static MDB_val *pack(packed *to, const char *first, const char *second, const char *third) {
  const char *const texts[] = {first, second, third};
  size_t i, at = 0;
  for (i = 0; i < COUNT_OF(texts) && texts[i] != NULL; i++) {
    size_t size = strlen(texts[i]) + 1;
    EXPECT(at + size <= sizeof to->bytes);
    memcpy(to->bytes + at, texts[i], size);
    at += size;
  }
  to->val.mv_data = to->bytes;
  to->val.mv_size = at;
  return &to->val;
}

/* ---- Filling ------------------------------------------------------------------------------- */

static void put(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *value) {
  expect_ok(mdb_put(txn, dbi, key, value, MDB_NOOVERWRITE));
}

/* The handles outlive the transaction if it is committed. */
static void open_databases(lmdb *self, MDB_txn *txn, unsigned flags) {
  expect_ok(mdb_dbi_open(txn, "links", flags, &self->links));
  expect_ok(mdb_dbi_open(txn, "customers", flags, &self->customers));
  expect_ok(mdb_dbi_open(txn, "identities", flags, &self->identities));
}

static void fill(const lmdb *self, const data_set *set, MDB_txn *txn) {
  char id[ID_SIZE], conversation_id[ID_SIZE], instructor_id[NAME_SIZE], identifier[NAME_SIZE];
  packed key, value;
  int64_t i;
  for (i = 0; i < set->customers; i++) {
    customer_id_of(i, id);
    conversation_id_of(i, conversation_id);
    instructor_id_of(i % set->instructors, instructor_id);
    identifier_of(i, identifier);
    put(
      txn, self->customers, pack(&key, id, NULL, NULL),
      pack(&value, identifier, CHANNEL, instructor_id)
    );
    put(
      txn, self->identities, pack(&key, identifier, CHANNEL, instructor_id),
      pack(&value, id, NULL, NULL)
    );
    if (is_linked(set, i))
      put(
        txn, self->links, pack(&key, conversation_id, NULL, NULL),
        pack(&value, id, instructor_id, NULL)
      );
  }
}

static void *open_contender(const data_set *set, enum access access) {
  lmdb *self = calloc(1, sizeof *self);
  char name[NAME_SIZE], path[PATH_SIZE];
  MDB_txn *txn;
  int is_new;
  (void)access;
  if (self == NULL) give_up("no memory");
  snprintf(name, sizeof name, "lmdb-%" PRId64, set->customers);
  snprintf(path, sizeof path, "%s", data_path(name));
  is_new = mkdir(path, 0700) == 0;
  expect_ok(mdb_env_create(&self->env));
  expect_ok(mdb_env_set_maxdbs(self->env, 3));
  expect_ok(
    mdb_env_set_mapsize(self->env, MAP_SIZE_LEAST + (size_t)set->customers * MAP_SIZE_EACH)
  );
  expect_ok(mdb_env_open(self->env, path, MDB_NOSYNC, 0600));
  expect_ok(mdb_txn_begin(self->env, NULL, is_new ? 0 : MDB_RDONLY, &txn));
  open_databases(self, txn, is_new ? MDB_CREATE : 0);
  if (is_new) fill(self, set, txn);
  expect_ok(mdb_txn_commit(txn));
  expect_ok(mdb_txn_begin(self->env, NULL, MDB_RDONLY, &self->txn));
  mdb_txn_reset(self->txn);
  return self;
}

static void close_contender(void *handle) {
  lmdb *self = handle;
  mdb_txn_abort(self->txn);
  mdb_env_close(self->env);
  free(self);
}

/* ---- Resolving ----------------------------------------------------------------------------- */

static int get(const lmdb *self, MDB_dbi dbi, MDB_val *key, MDB_val *value) {
  int rc = mdb_get(self->txn, dbi, key, value);
  if (rc != MDB_NOTFOUND) expect_ok(rc);
  return rc == MDB_SUCCESS;
}

/* What pack makes of the three, their sizes being known. */
static void pack_identity(packed *to, const inbox_page *page, const lookup *lookup_key) {
  size_t identifier_size = (size_t)lookup_key->identifier_size + 1;
  char *channel = to->bytes + identifier_size, *instructor = channel + sizeof CHANNEL;
  memcpy(to->bytes, lookup_key->identifier, identifier_size);
  memcpy(channel, CHANNEL, sizeof CHANNEL);
  memcpy(instructor, page->instructor_id, (size_t)page->instructor_size + 1);
  to->val.mv_size = identifier_size + sizeof CHANNEL + (size_t)page->instructor_size + 1;
}

/* Whether the record of the customer with the id is of the instructor and, if there is one, the key. */
static int is_confirmed(
  const lmdb *self,
  const inbox_page *page,
  MDB_val *id,
  const MDB_val *identity
) {
  size_t instructor_size = (size_t)page->instructor_size + 1;
  MDB_val record;
  if (!get(self, self->customers, id, &record)) return 0;
  if (identity != NULL)
    return record.mv_size == identity->mv_size &&
           memcmp(record.mv_data, identity->mv_data, record.mv_size) == 0;
  return record.mv_size > instructor_size &&
         memcmp(
           (char *)record.mv_data + record.mv_size - instructor_size, page->instructor_id,
           instructor_size
         ) == 0;
}

/* A link's value is the customer's id and the instructor's; a record's is the key of `identities`. */
static void resolve(const lmdb *self, const inbox_page *page, const lookup *lookup_key) {
  char customer_id[ID_SIZE] = "";
  size_t instructor_size = (size_t)page->instructor_size + 1;
  packed key;
  MDB_val value;
  int step = 1, is_found;
  key.val = (MDB_val){ID_SIZE, key.bytes};
  memcpy(key.bytes, lookup_key->conversation_id, ID_SIZE);
  if (get(self, self->links, &key.val, &value) &&
      value.mv_size == ID_SIZE + instructor_size &&
      memcmp((char *)value.mv_data + ID_SIZE, page->instructor_id, instructor_size) == 0) {
    value.mv_size = ID_SIZE;
    is_found = is_confirmed(self, page, &value, NULL);
  } else {
    step = 2;
    pack_identity(&key, page, lookup_key);
    is_found = get(self, self->identities, &key.val, &value) &&
               is_confirmed(self, page, &value, &key.val);
  }
  if (is_found) memcpy(customer_id, value.mv_data, ID_SIZE);
  check_answer(lookup_key, step, customer_id);
}

static void resolve_page(void *handle, const inbox_page *page) {
  const lmdb *self = handle;
  int i;
  expect_ok(mdb_txn_renew(self->txn));
  for (i = 0; i < PAGE_ROWS; i++)
    resolve(self, page, &page->keys[i]);
  mdb_txn_reset(self->txn);
}

static void resolve_one(void *handle, const inbox_page *page) {
  const lmdb *self = handle;
  int i;
  for (i = 0; i < PAGE_ROWS; i++) {
    expect_ok(mdb_txn_renew(self->txn));
    resolve(self, page, &page->keys[i]);
    mdb_txn_reset(self->txn);
  }
}

const contender lmdb_contender = {
  .name = "LMDB",
  .fills_its_own = 1,
  .open = open_contender,
  .close = close_contender,
  .resolve_page = resolve_page,
  .resolve_one = resolve_one,
};
