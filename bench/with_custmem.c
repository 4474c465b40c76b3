/* SPDX-License-Identifier: MIT
**
** custmem as a host uses it: raw identifiers in, the public calls, every code checked.
*/
#include "bench.h"

#include <stdlib.h>
#include <string.h>

static void expect_ok(custmem *store, int rc) {
  if (rc != CUSTMEM_OK) give_up("%s: %s", custmem_code_name(rc), custmem_errmsg(store));
}

static custmem *open_store(const char *path, const custmem_options *options) {
  custmem *store;
  int rc = custmem_open(path, options, &store);
  if (rc != CUSTMEM_OK) give_up("%s: %s", path, custmem_strerror(rc));
  return store;
}

/* A store in memory, with customers that have the same ids as in every other store. */
static custmem *open_filled(const data_set *set) {
  custmem_options options;
  custmem_customer customer;
  custmem *store;
  char instructor_id[NAME_SIZE], identifier[NAME_SIZE], expected[ID_SIZE];
  static int64_t i;
  custmem_options_init(&options);
  options.now_ms = source_now_ms;
  options.random = source_random;
  options.source_ctx = &i;
  i = 0;
  store = open_store(":memory:", &options);
  for (i = 0; i < set->customers; i++) {
    const custmem_actor actor = {CUSTMEM_ACTOR_HUMAN, ACTOR_ID, instructor_id};
    instructor_id_of(i % set->instructors, instructor_id);
    identifier_of(i, identifier);
    customer_id_of(i, expected);
    expect_ok(
      store,
      custmem_customer_create(store, &actor, CHANNEL, identifier, -1, NULL, 0, &customer, NULL)
    );
    EXPECT(strcmp(customer.id, expected) == 0);
  }
  return store;
}

static void *open_contender(const data_set *set, enum access access) {
  custmem_options options;
  if (set->path[0] == '\0') return open_filled(set);
  custmem_options_init(&options);
  options.exclusive = access == EXCLUSIVE;
  return open_store(set->path, &options);
}

static void close_contender(void *self) {
  EXPECT(custmem_close(self) == CUSTMEM_OK);
}

static void resolve_page(void *self, const inbox_page *page) {
  custmem_resolution found[PAGE_ROWS];
  int i;
  expect_ok(
    self, custmem_resolve_many(self, page->instructor_id, page->queries, PAGE_ROWS, found)
  );
  for (i = 0; i < PAGE_ROWS; i++)
    check_answer(&page->keys[i], found[i].step, found[i].customer_id);
}

static void badge_page(void *self, const inbox_page *page) {
  custmem_resolution found[PAGE_ROWS];
  int i;
  expect_ok(
    self, custmem_resolve_many(self, page->instructor_id, page->queries, PAGE_ROWS, found)
  );
  for (i = 0; i < PAGE_ROWS; i++) {
    int badge = custmem_badge(&found[i]);
    check_answer(&page->keys[i], found[i].step, found[i].customer_id);
    check_badge(&page->keys[i], custmem_badge_label(badge), custmem_badge_copy(badge));
  }
}

static void resolve_one(void *self, const inbox_page *page) {
  custmem_resolution found;
  int i;
  for (i = 0; i < PAGE_ROWS; i++) {
    const custmem_query *query = &page->queries[i];
    expect_ok(
      self, custmem_resolve(
              self, page->instructor_id, query->conversation_id, query->channel,
              query->raw_identifier, query->raw_size, &found
            )
    );
    check_answer(&page->keys[i], found.step, found.customer_id);
  }
}

static void make_links(void *self, const link_order *orders, int count) {
  custmem_written written;
  int i;
  for (i = 0; i < count; i++) {
    const custmem_actor actor = {CUSTMEM_ACTOR_HUMAN, ACTOR_ID, orders[i].instructor_id};
    expect_ok(
      self, custmem_link(
              self, &actor, orders[i].conversation_id, orders[i].customer_id, REASON,
              (int64_t)strlen(REASON), NULL, 0, &written
            )
    );
    EXPECT(written.seq > 0 && strcmp(written.current_customer_id, orders[i].customer_id) == 0);
  }
}

static void touch(const char *path) {
  custmem_info info;
  custmem *store = open_store(path, NULL);
  EXPECT(custmem_store_info(store, &info) == CUSTMEM_OK && info.id[0] != '\0');
  close_contender(store);
}

static void touch_memory(void) {
  touch(":memory:");
}

const contender custmem_contender = {
  .name = "custmem",
  .open = open_contender,
  .close = close_contender,
  .resolve_page = resolve_page,
  .resolve_one = resolve_one,
  .badge_page = badge_page,
  .link = make_links,
  .touch = touch,
  .touch_memory = touch_memory,
};
