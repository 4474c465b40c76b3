#!/bin/sh
# Runs test programs, and the checks that need no more than the compiler; a line each, and the sum.
#   sh test/run.sh build/test_audit …
set -u
cd "$(dirname "$0")/.." || exit 1
CC=${CC:-cc}
BUILD=${BUILD:-build}
passed=0
failed=0
scratch=$(mktemp -d) || exit 1
log=$scratch/log
trap 'rm -rf "$scratch"' EXIT

# One check: its name is a function's, which succeeds.
check() {
  if "$1" > "$log" 2>&1; then
    printf '%-20s    1 passed, 0 failed\n' "$1"
    passed=$((passed + 1))
  else
    cat "$log"
    printf '%-20s    0 passed, 1 failed\n' "$1"
    failed=$((failed + 1))
  fi
}

header_is_c99() {
  "$CC" -std=c99 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -x c custmem.h
}

strict_c11() {
  "$CC" -std=c11 -pedantic-errors -Wall -Wextra -Werror -fsyntax-only custmem.c
}

schema_is_embedded() {
  awk -f test/embed_schema.awk schema.sql custmem.c | cmp - custmem.c
}

# Against an older sqlite3.h it does not compile; over an older library it does not open.
old_sqlite_refused() {
  sed 's/^#define SQLITE_VERSION_NUMBER .*/#define SQLITE_VERSION_NUMBER 3051002/' sqlite3.h \
    > "$scratch/sqlite3.h"
  cp custmem.c custmem.h "$scratch" || return 1
  if "$CC" -std=c11 -fsyntax-only "$scratch/custmem.c" 2> "$scratch/error"; then return 1; fi
  grep 'custmem needs SQLite 3.51.3' "$scratch/error" || return 1
  cat > "$scratch/old.c" <<'END'
#include "custmem.h"
#include <string.h>
int old_sqlite(void);
int old_sqlite(void) { return 3051002; }
int main(void) {
  char message[256] = "";
  custmem_options options;
  custmem *store = (custmem *)message;
  custmem_options_init(&options);
  options.message = message;
  options.message_size = sizeof message;
  return !(custmem_open(":memory:", &options, &store) == CUSTMEM_OLD_SQLITE && store == NULL &&
           strstr(message, "3.51.3") != NULL);
}
END
  "$CC" -std=c11 -I. -Dsqlite3_libversion_number=old_sqlite custmem.c "$scratch/old.c" \
    "$BUILD/sqlite3.o" ${SANITIZE:-} -lpthread -lm -o "$scratch/old" && "$scratch/old"
}

# All allocation goes through SQLite's allocator, and nothing prints or ends the process.
calls_only_sqlite() {
  nm -u "$BUILD/custmem.o" > "$scratch/symbols" && grep -q sqlite3_malloc64 "$scratch/symbols" ||
    return 1
  ! grep -wE 'malloc|calloc|realloc|free|strdup|printf|fprintf|puts|exit|abort|__assert_fail' \
    "$scratch/symbols"
}

# Some of custmem.c's own functions, which no public call shows.
own_functions() {
  "$CC" -std=c11 test/inside/inside.c "$BUILD/sqlite3.o" ${SANITIZE:-} -lpthread -lm \
    -o "$scratch/inside" && "$scratch/inside"
}

# The first C program of the README, compiled and run; it prints what the README says it prints.
readme_program() {
  awk '/^```c$/ { inside = 1; next } /^```$/ { if (inside) exit } inside' README.md \
    > "$scratch/readme.c"
  awk '/^```c$/ { seen = 1 } seen && /^```text$/ { inside = 1; next }
       /^```$/ { if (inside) exit } inside' README.md > "$scratch/expected"
  grep -q 'int main' "$scratch/readme.c" && [ -s "$scratch/expected" ] || return 1
  "$CC" -std=c11 -Wall -Wextra -I. "$scratch/readme.c" "$BUILD/custmem.o" "$BUILD/sqlite3.o" \
    ${SANITIZE:-} -lpthread -lm -o "$scratch/readme" || return 1
  mkdir "$scratch/empty" && (cd "$scratch/empty" && ../readme) > "$scratch/printed" && diff "$scratch/expected" "$scratch/printed"
}

readme_shell() {
  sh test/readme_shell.sh "${CUSTMEM_SHELL:-./custmem}"
}

# Every test that the README's table of rules names is there, and the table has all its parts.
readme_rules() {
  for program in "$BUILD"/test_*; do
    case $program in *.o) ;; *) "$program" --list ;; esac
  done | cut -f 1,2 | tr '\t' ' ' | sort -u > "$scratch/tests"
  sed -n '/^## The rules and their tests/,$p' README.md > "$scratch/rules"
  [ "$(grep -c '^| CM-\|^| T[1-6]\|^| Phase' "$scratch/rules")" -ge 130 ] || return 1
  grep -o '`test_[a-z_]*`: [a-z0-9_, ]*' "$scratch/rules" | tr -d '`:,' |
    awk '{ for (i = 2; i <= NF; i++) print $1, $i }' | sort -u > "$scratch/named"
  [ -s "$scratch/named" ] || return 1
  comm -23 "$scratch/named" "$scratch/tests" > "$scratch/missing"
  cat "$scratch/missing"
  [ ! -s "$scratch/missing" ]
}

# The program at the top of custmem.h likewise.
header_program() {
  sed -n 's/^\*\*     //p' custmem.h | sed '/^}$/q' > "$scratch/header.c"
  grep -q 'int main' "$scratch/header.c" || return 1
  "$CC" -std=c11 -Wall -Wextra -I. "$scratch/header.c" "$BUILD/custmem.o" "$BUILD/sqlite3.o" \
    ${SANITIZE:-} -lpthread -lm -o "$scratch/header" || return 1
  [ "$(cd "$scratch" && ./header)" = 'Known customer' ]
}

check header_is_c99
check strict_c11
check schema_is_embedded
check old_sqlite_refused
check calls_only_sqlite
check own_functions
check header_program
check readme_program
check readme_shell
check readme_rules

for program in "$@"; do
  "$program" > "$log" 2>&1
  status=$?
  cat "$log"
  line=$(grep -E '[0-9]+ passed, [0-9]+ failed' "$log" | tail -n 1)
  if [ -z "$line" ]; then
    printf '%-20s    0 passed, 1 failed  (exit status %d)\n' "${program##*/}" "$status"
    failed=$((failed + 1))
    continue
  fi
  passed=$((passed + $(printf '%s\n' "$line" | sed 's/.* \([0-9]*\) passed.*/\1/')))
  bad=$(printf '%s\n' "$line" | sed 's/.*, \([0-9]*\) failed.*/\1/')
  if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi
  failed=$((failed + bad))
done

echo
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
