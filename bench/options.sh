#!/bin/sh
# SPDX-License-Identifier: MIT
#
# How SQLite's and the compiler's options were chosen: builds SQLite once with the Makefile's present
# ones and once with each candidate (a minute of processor time each, kept in the directory), links
# the same benchmark and the same custmem.o to each, and runs them in turns, in an order that is
# another one in each pass. Printed is custmem's least time of all rounds of all passes as a share of
# the present build's: what disturbs a run can only make it longer. "same-again" is the present build
# once more, under another name: what it differs from 1 by is noise.
#
#   sh bench/options.sh [--record] [DIRECTORY [PASSES]]
#
# With valgrind, the instructions of each are counted too (instructions.sh says how). --record puts
# the table into bench/README.md.
set -eu
cd "$(dirname "$0")/.."
record=
[ "${1:-}" != --record ] || { record=1; shift; }
directory=${1:-build/options}
passes=${2:-5}
CC=${CC:-cc}
mkdir -p "$directory"

# name | compiler | flags of the compiler | what is taken out of the present options | what is added
candidates() {
  cat << 'END'
present|cc|-O2 -g||
same-again|cc|-O2 -g||
O3|cc|-O3 -g||
Os|cc|-Os -g||
clang|clang|-O2||
no-options|cc|-O2 -g|.*|-DSQLITE_THREADSAFE=2
threadsafe-1|cc|-O2 -g|-DSQLITE_THREADSAFE=2|-DSQLITE_THREADSAFE=1
threadsafe-0|cc|-O2 -g|-DSQLITE_THREADSAFE=2|-DSQLITE_THREADSAFE=0
memstatus-0|cc|-O2 -g||-DSQLITE_DEFAULT_MEMSTATUS=0
expr-depth-0|cc|-O2 -g||-DSQLITE_MAX_EXPR_DEPTH=0
omit-progress|cc|-O2 -g||-DSQLITE_OMIT_PROGRESS_CALLBACK
use-alloca|cc|-O2 -g||-DSQLITE_USE_ALLOCA
mmap|cc|-O2 -g|-DSQLITE_MAX_MMAP_SIZE=0|
END
}

present=$(sed -n '/^SQLITE_FLAGS/,/[^\\]$/p' Makefile | grep -o -- '-D[^ ]*')

options_of() { # what is taken out, what is added
  for option in $present; do
    # shellcheck disable=SC2254
    if [ -n "$1" ] && printf '%s\n' "$option" | grep -qx -- "$1"; then continue; fi
    printf '%s ' "$option"
  done
  printf '%s\n' "$2"
}

# The objects that all share.
sources='bench/bench.c bench/beyond.c bench/data.c bench/harness.c bench/report.c bench/sha256.c
  bench/with_custmem.c bench/with_sqlite.c'
$CC -O2 -g -std=c11 -c custmem.c -o "$directory/custmem.o"

candidates | while IFS='|' read -r name compiler flags without with; do
  command -v "$compiler" > /dev/null || continue
  if [ "$name" = same-again ]; then
    cp "$directory/present.o" "$directory/$name.o"
  else
    build="$compiler $flags $(options_of "$without" "$with") $(cksum < sqlite3.c)"
    if [ "$build" != "$(cat "$directory/$name.built" 2> /dev/null)" ]; then
      echo "building $name" >&2
      # shellcheck disable=SC2086
      ${build% * *} -c sqlite3.c -o "$directory/$name.o"
      printf '%s\n' "$build" > "$directory/$name.built"
    fi
  fi
  # shellcheck disable=SC2086
  $CC -O2 -g -std=c11 -I. $sources "$directory/custmem.o" "$directory/$name.o" -lpthread -lm \
    -o "$directory/bench-$name"
  echo "$name"
done > "$directory/names"

rows='a page of 50, 10 k|shared, 10 k|exclusive, 10 k|in memory, 1 k|existing file'
run() { # program, then options
  program=$1
  shift
  (IFS='|' && exec "$directory/bench-$program" --quick "$@" $rows) > "$directory/log" ||
    { cat "$directory/log"; exit 1; }
}

: > "$directory/times"
pass=0
while [ "$pass" -lt "$passes" ]; do
  pass=$((pass + 1))
  for name in $(sort -R "$directory/names"); do
    run "$name" --effort 0.3 --tsv "$directory/tsv"
    awk -F '\t' -v n="$name" -v p="$pass" '$2 == "custmem" { print p "\t" n "\t" $1 "\t" $5 }' \
      "$directory/tsv" >> "$directory/times"
  done
  echo "pass $pass of $passes" >&2
done

# Instructions of one resolution of a page: the first side of the first row.
: > "$directory/counts"
if command -v valgrind > /dev/null; then
  while read -r name; do
    valgrind -q --tool=callgrind --toggle-collect=timed_run --dump-after=timed_run \
      --callgrind-out-file="$directory/callgrind" "$directory/bench-$name" --quick --count \
      'resolve a page of 50, 10 k' > /dev/null 2>&1 &&
      printf '%s\t%s\n' "$name" "$(sed -n 's/^summary: //p' "$directory/callgrind.1")" \
        >> "$directory/counts" || echo "instructions of $name cannot be counted" >&2
    rm -f "$directory"/callgrind*
  done < "$directory/names"
fi

{
  printf '| candidate | page of 50 | one, shared | one, exclusive | link, memory | open a file | instructions of a page'"'"'s resolution |\n'
  printf '|---|---|---|---|---|---|---|\n'
  awk -F '\t' '
    FILENAME ~ /counts$/ { count[$1] = $2 / 500; next }
    FILENAME ~ /names$/ { names[++n] = $1; next }
    { if (!(($2, $3) in least) || $4 < least[$2, $3]) least[$2, $3] = $4
      if (!($3 in seen)) { seen[$3] = 1; rows[++r] = $3 } }
    END {
      for (i = 1; i <= n; i++) {
        printf "| %s |", names[i]
        for (j = 1; j <= r; j++) 
          printf " %.2f |", least[names[i], rows[j]] / least["present", rows[j]]
        printf " %s |\n", names[i] in count ? sprintf("%.0f", count[names[i]]) : ""
      }
    }' "$directory/counts" "$directory/names" "$directory/times"
} > "$directory/table"
cat "$directory/table"
[ -z "$record" ] || "$directory/bench-present" --splice bench/README.md options < "$directory/table"
