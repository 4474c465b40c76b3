#!/bin/sh
# Runs test programs, and the checks that need no more than the compiler; a line each, and the sum.
#   sh test/run.sh build/test_audit …
set -u
cd "$(dirname "$0")/.." || exit 1
CC=${CC:-cc}
passed=0
failed=0
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT

# One check: its name, and a command that is silent and succeeds.
check() {
  name=$1
  shift
  if "$@" > "$log" 2>&1; then
    printf '%-20s    1 passed, 0 failed\n' "$name"
    passed=$((passed + 1))
  else
    cat "$log"
    printf '%-20s    0 passed, 1 failed\n' "$name"
    failed=$((failed + 1))
  fi
}

# The C library's own limit on warnings is the strictest that a user may set.
header_is_c99() {
  "$CC" -std=c99 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -x c custmem.h
}

strict_c11() {
  "$CC" -std=c11 -pedantic-errors -Wall -Wextra -Werror -fsyntax-only custmem.c
}

schema_is_embedded() {
  awk -f test/embed_schema.awk schema.sql custmem.c | cmp - custmem.c
}

check header_is_c99 header_is_c99
check strict_c11 strict_c11
check schema_is_embedded schema_is_embedded

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
