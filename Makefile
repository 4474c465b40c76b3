# custmem: one C library, its program, its tests. Needs a C compiler and make.
#
#   make demo        build, and run the main job on real webhook payloads
#   make test        build, and run the tests
#   make             the program ./custmem and the library build/libcustmem.a
#   make help        the other targets

CC      = cc
AR      = ar
CFLAGS  = -O2 -g $(LEAN) $(SANITIZE)
WARN    = -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes
LDFLAGS =
LDLIBS  = -lpthread -lm
PREFIX  = /usr/local
DESTDIR =
BUILD   = build
PROGRAM = custmem

# The program as a command: PROGRAM may be a path from anywhere.
RUN_PROGRAM = '$(abspath $(PROGRAM))'

VERSION = $(shell sed -n 's/^.define CUSTMEM_VERSION  *"\(.*\)"/\1/p' custmem.h)

# Nothing unwinds the stack through C code but what debuggers and profilers do, and they have -g: without
# the tables for it the code is the same to the byte, custmem.o at -Os has 62 KiB instead of 71, and SQLite
# 876 instead of 968. (Sanitizers print their reports by these tables.)
LEAN = $(if $(SANITIZE),,-fno-asynchronous-unwind-tables)

# How SQLite is built here. custmem sets at run time whatever can be set there, so that it is as
# safe over an SQLite that was built otherwise; these make the file safe for other connections of
# the same program too, and leave out what is not used.
SQLITE_FLAGS = \
  -DSQLITE_THREADSAFE=2 \
  -DSQLITE_DQS=0 \
  -DSQLITE_TRUSTED_SCHEMA=0 \
  -DSQLITE_DEFAULT_FOREIGN_KEYS=1 \
  -DSQLITE_DEFAULT_RECURSIVE_TRIGGERS=1 \
  -DSQLITE_DEFAULT_WAL_SYNCHRONOUS=2 \
  -DSQLITE_DEFAULT_FILE_PERMISSIONS=0600 \
  -DSQLITE_MAX_MMAP_SIZE=0 \
  -DSQLITE_TEMP_STORE=3 \
  -DSQLITE_USE_URI=0 \
  -DSQLITE_LIKE_DOESNT_MATCH_BLOBS \
  -DSQLITE_OMIT_DEPRECATED \
  -DSQLITE_OMIT_LOAD_EXTENSION \
  -DSQLITE_OMIT_SHARED_CACHE \
  -DHAVE_USLEEP=1

OURS  = -std=c11 $(WARN)
TESTS = $(patsubst test/%.c,%,$(sort $(wildcard test/test_*.c)))
TEST_OBJECTS = $(patsubst test/%.c,$(BUILD)/%.o,$(filter-out test/test_%,$(wildcard test/*.c)))

.PHONY: all demo test schema verify-sqlite format install install-lib install-pc \
  uninstall dist clean help
.SECONDARY:

all: $(PROGRAM) $(BUILD)/libcustmem.a

demo: $(PROGRAM)
	@$(RUN_PROGRAM) demo

help:
	@awk '/^##? +make/ { sub(/^##? +/, ""); gap = match($$0, /  +/); \
	    printf "  %-19s %s\n", substr($$0, 1, gap - 1), substr($$0, gap + RLENGTH); next } \
	  /^## / { sub(/^## +/, ""); printf "%22s%s\n", "", $$0 }' Makefile

$(BUILD):
	@mkdir -p $@

# Half a minute, once: kept until sqlite3.c or the Makefile changes. (After other flags: make clean.)
$(BUILD)/sqlite3.o: sqlite3.c sqlite3.h Makefile | $(BUILD)
	$(CC) $(CFLAGS) $(SQLITE_FLAGS) -c sqlite3.c -o $@

$(BUILD)/custmem.o: custmem.c custmem.h sqlite3.h | $(BUILD)
	$(CC) $(CFLAGS) $(OURS) -c custmem.c -o $@

$(BUILD)/shell.o: shell.c custmem.h sqlite3.h | $(BUILD)
	$(CC) $(CFLAGS) $(OURS) -c shell.c -o $@

$(BUILD)/libcustmem.a: $(BUILD)/custmem.o $(BUILD)/sqlite3.o
	@rm -f $@
	$(AR) rcs $@ $^

$(PROGRAM): $(BUILD)/shell.o $(BUILD)/custmem.o $(BUILD)/sqlite3.o
	$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LDLIBS) -o $@

## make shared       build/libcustmem.so: for other languages; SQLite's own symbols stay hidden in it
.PHONY: shared
shared: $(BUILD)/libcustmem.so
$(BUILD)/libcustmem.so: custmem.c custmem.h sqlite3.c sqlite3.h Makefile | $(BUILD)
	$(CC) $(CFLAGS) $(LDFLAGS) -std=c11 -fPIC -shared -fvisibility=hidden $(SQLITE_FLAGS) \
	  '-DCUSTMEM_API=__attribute__((visibility("default")))' custmem.c sqlite3.c $(LDLIBS) -o $@

# ---- Tests: one program a file; each can be run alone ----

$(BUILD)/%.o: test/%.c $(wildcard test/*.h) custmem.h sqlite3.h | $(BUILD)
	$(CC) $(CFLAGS) $(OURS) -c $< -o $@

$(BUILD)/test_%: $(BUILD)/test_%.o $(TEST_OBJECTS) $(BUILD)/custmem.o $(BUILD)/sqlite3.o
	$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LDLIBS) -o $@

# The fuzz targets, which all have one name: here each has its file's. And the shell that one calls.
$(BUILD)/%.o: test/fuzz/%.c test/fuzz/fuzz.h $(wildcard test/*.h) custmem.h sqlite3.h | $(BUILD)
	$(CC) $(CFLAGS) $(OURS) -DLLVMFuzzerTestOneInput=$* -c $< -o $@

$(BUILD)/fuzz_shell.o: shell.c custmem.h sqlite3.h | $(BUILD)
	$(CC) $(CFLAGS) $(OURS) -Dmain=shell_main -c shell.c -o $@

$(BUILD)/test_corpus: $(BUILD)/fuzz_shell.o \
  $(patsubst test/fuzz/%.c,$(BUILD)/%.o,$(wildcard test/fuzz/*.c))

test: $(PROGRAM) $(TESTS:%=$(BUILD)/%)
	@CC='$(CC)' SANITIZE='$(SANITIZE)' BUILD=$(BUILD) CUSTMEM_SHELL=$(RUN_PROGRAM) sh test/run.sh $(TESTS:%=$(BUILD)/%)

## make fuzz         fuzz each target for a minute, from the corpora that are kept (clang's libFuzzer)
.PHONY: fuzz
fuzz:
	BUILD=$(BUILD) sh test/fuzz.sh 60

# ---- Fault campaigns: test/README.md has what each shows, and the last results ----

## make test-faults  every campaign at its full size, and under the sanitizers (a quarter of an hour)
.PHONY: test-faults
test-faults:
	@BUILD=$(BUILD) sh test/campaigns.sh

## make test_audit   build and run one test file (any of test/test_*.c)
.PHONY: $(TESTS)
$(TESTS): %: $(PROGRAM) $(BUILD)/%
	@CUSTMEM_SHELL=$(RUN_PROGRAM) $(BUILD)/$@

# ---- Measuring the tests ----

## make coverage     every line and branch of custmem.c is taken by the tests, or listed with a reason (gcov)
## make mcdc         each condition of custmem.c decides by itself: how many the tests show (clang-19)
## make test-mutants  small changes to custmem.c that no test notices: an hour (Python 3, clang)
.PHONY: coverage mcdc test-mutants
coverage:
	sh test/coverage.sh
mcdc:
	sh test/coverage_mcdc.sh
test-mutants:
	python3 test/mutants.py

# ---- Benchmark ----
# bench/README.md has the method and the last results. BENCH_QUICK=1: smaller; BENCH_EFFORT=2: twice as
# many rounds; BENCH_RECORD=1: the results go into bench/, not build/.

PEERS      = bench/with_lmdb.c bench/with_postgres.c
BENCH_C    = $(filter-out $(PEERS),$(wildcard bench/*.c))
BENCH_SAYS = '-DBENCH_FLAGS="$(strip $(CFLAGS))"' '-DBENCH_SQLITE_FLAGS="$(strip $(SQLITE_FLAGS))"'
BENCH_LINK = $(CC) $(CFLAGS) $(OURS) $(BENCH_SAYS) $(LDFLAGS) $(filter %.c %.o,$^)
BENCH_RUN  = $(if $(BENCH_QUICK),--quick) $(if $(BENCH_EFFORT),--effort $(BENCH_EFFORT)) \
  --object $(BUILD)/custmem_os.o --object-with-tables $(BUILD)/custmem_tables.o \
  $(if $(BENCH_RECORD),--json bench/results.json --svg bench/results.svg --readme bench/README.md,\
  --json $(BUILD)/bench.json --svg $(BUILD)/bench.svg)

$(BUILD)/custmem_os.o: custmem.c custmem.h sqlite3.h | $(BUILD)
	$(CC) -Os $(LEAN) $(OURS) -c custmem.c -o $@

$(BUILD)/custmem_tables.o: custmem.c custmem.h sqlite3.h | $(BUILD)
	$(CC) -Os $(OURS) -c custmem.c -o $@

$(BUILD)/bench: $(BENCH_C) bench/bench.h $(BUILD)/custmem.o $(BUILD)/sqlite3.o
	$(BENCH_LINK) $(LDLIBS) -o $@

$(BUILD)/bench-peers: $(BENCH_C) $(PEERS) bench/bench.h $(BUILD)/custmem.o $(BUILD)/sqlite3.o
	$(BENCH_LINK) -DBENCH_PEERS -I"$$(pg_config --includedir)" -llmdb -lpq $(LDLIBS) -o $@

## make bench        custmem beside SQLite by hand, and what it may cost (three minutes)
.PHONY: bench bench-peers
bench: $(BUILD)/bench $(BUILD)/custmem_os.o $(BUILD)/custmem_tables.o
	$(BUILD)/bench $(BENCH_RUN)

## make bench-peers  the same, with LMDB and PostgreSQL beside it: says first what it needs
bench-peers:
	@echo 'bench-peers needs, from Debian: liblmdb-dev libpq-dev postgresql'
	@echo '#include <lmdb.h>' | $(CC) -E - > /dev/null 2>&1 || \
	  { echo 'lmdb.h is missing: install liblmdb-dev' >&2; exit 1; }
	@pg_config --includedir > /dev/null 2>&1 && test -f "$$(pg_config --includedir)/libpq-fe.h" || \
	  { echo 'libpq-fe.h or pg_config is missing: install libpq-dev' >&2; exit 1; }
	@test -x "$$(pg_config --bindir)/initdb" || \
	  { echo "$$(pg_config --bindir)/initdb is missing: install postgresql" >&2; exit 1; }
	@$(MAKE) -s $(BUILD)/bench-peers $(BUILD)/custmem_os.o $(BUILD)/custmem_tables.o
	$(BUILD)/bench-peers $(BENCH_RUN)

## make bench-record  measure all that bench/README.md shows, and put it there (ten minutes)
.PHONY: bench-record
bench-record:
	@BUILD=$(BUILD) CC='$(CC)' sh bench/record.sh

# ---- Keeping the parts equal ----

## make schema       put schema.sql into custmem.c
schema: | $(BUILD)
	awk -f test/embed_schema.awk schema.sql custmem.c > $(BUILD)/custmem.c.new
	mv $(BUILD)/custmem.c.new custmem.c

## make verify-sqlite  sqlite3.c and sqlite3.h are SQLite's own, unmodified
verify-sqlite:
	@printf '%s  %s\n' \
	  b1dd5d74ec7f29055a6684fa06fb3c2f6821c87dd38f9a458dfd2e8a1db28189 sqlite3.c \
	  919e7f2e8ed1d8f56ac17b412b8971c76aa5d1a879752cc6058f75e7d5910e1d sqlite3.h \
	  | sha256sum -c

## make format       lay out our sources with clang-format
format:
	clang-format -i custmem.c custmem.h shell.c test/*.c test/*.h test/fuzz/*.[ch] test/inside/*.c \
	  bench/*.[ch]

# ---- Installing ----

# Each may hold spaces.
BIN             = '$(DESTDIR)$(PREFIX)/bin'
LIB             = '$(DESTDIR)$(PREFIX)/lib'
INCLUDE         = '$(DESTDIR)$(PREFIX)/include'
BASH_COMPLETION = '$(DESTDIR)$(PREFIX)/share/bash-completion/completions'
ZSH_COMPLETION  = '$(DESTDIR)$(PREFIX)/share/zsh/site-functions'
MAN             = '$(DESTDIR)$(PREFIX)/share/man/man1'

## make install      the program with its manual page and completion, the library, the header and a
##                   pkg-config file, under PREFIX
install: install-lib install-pc $(PROGRAM)
	mkdir -p $(BIN) $(MAN) $(BASH_COMPLETION) $(ZSH_COMPLETION)
	cp $(PROGRAM) $(BIN)/custmem
	$(RUN_PROGRAM) man > $(MAN)/custmem.1
	$(RUN_PROGRAM) completion bash > $(BASH_COMPLETION)/custmem
	$(RUN_PROGRAM) completion zsh > $(ZSH_COMPLETION)/_custmem

install-lib: $(BUILD)/libcustmem.a
	mkdir -p $(LIB) $(INCLUDE)
	cp $(BUILD)/libcustmem.a $(LIB)/
	cp custmem.h $(INCLUDE)/

install-pc:
	mkdir -p $(LIB)/pkgconfig
	printf 'prefix=%s\nName: custmem\nDescription: %s\nVersion: %s\nCflags: %s\nLibs: %s\n' \
	  '$(PREFIX)' "Customer Memory for instructors' messaging inboxes" '$(VERSION)' \
	  '-I"$${prefix}/include"' '-L"$${prefix}/lib" -lcustmem $(LDLIBS)' \
	  > $(LIB)/pkgconfig/custmem.pc

## make uninstall    remove them again
uninstall:
	rm -f $(BIN)/custmem $(LIB)/libcustmem.a $(LIB)/pkgconfig/custmem.pc $(INCLUDE)/custmem.h
	rm -f $(MAN)/custmem.1 $(BASH_COMPLETION)/custmem $(ZSH_COMPLETION)/_custmem

## make dist         a source archive of the committed tree
dist:
	git archive --prefix=custmem-$(VERSION)/ -o custmem-$(VERSION).tar.gz HEAD

## make clean        remove what was built
clean:
	rm -rf $(BUILD) $(PROGRAM) custmem-*.tar.gz
