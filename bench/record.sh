#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Measures all that bench/README.md shows, and puts it there. Needs what bench-peers needs, and valgrind.
# Ten minutes on two processors with nothing else to do, and a minute more for each object of options.sh
# that is not built yet.
#
#   sh bench/record.sh                 all but the stores of ten million customers
#   sh bench/record.sh --ten-million   those alone: about ten minutes, 6 GB of disk, 4 GB of memory
set -eu
cd "$(dirname "$0")/.."
build=${BUILD:-build}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT INT TERM

# Lines of --tsv (row, side, operations, median, least) as a table, the median and its ratio.
table_of() {
  printf '| what | beside | median | custmem or by hand is × |\n|---|---|---|---|\n'
  awk -F '\t' '
    function time(ns) { return ns < 9999.5 ? sprintf("%.0f ns", ns) : sprintf("%.1f µs", ns / 1000) }
    $1 != row { row = $1; first = $4; printf "| %s | %s | %s | |\n", $1, $2, time($4); next }
    { printf "| | %s | %s | %.2f |\n", $2, time($4), first / $4 }' "$1"
}

if [ "${1:-}" = --ten-million ]; then
  make -s "$build/bench"
  "$build/bench" --customers 10000000 --effort 0.5 --tsv "$scratch/tsv" \
    'a page of 50, 10 M' 'one at a time, shared, 10 M'
  table_of "$scratch/tsv" | "$build/bench" --splice bench/README.md ten-million
  exit
fi

make -s BENCH_RECORD=1 BENCH_EFFORT="${BENCH_EFFORT:-0.6}" bench-peers
sh bench/instructions.sh --record "$build/bench-peers"
sh bench/options.sh --record "$build/options" 4
"$build/options/bench-mmap" --effort 0.5 --tsv "$scratch/tsv" 'page caches'
table_of "$scratch/tsv" | "$build/bench-peers" --splice bench/README.md mapped
