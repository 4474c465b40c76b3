#!/bin/sh
# SPDX-License-Identifier: MIT
#
# How many instructions an operation takes: what can be counted again to the last digit, where
# times cannot. Needs valgrind.
#
#   sh bench/instructions.sh [--record] [PROGRAM [PART-OF-A-ROW'S-NAME …]]
#
# Each side of each row runs once to warm up and once under callgrind's count, which is on inside
# timed_run only and written out each time that it returns. So the n-th file that callgrind leaves
# is the n-th side. Instructions are those of the process: what the kernel does for it is not in.
# --record puts the table into bench/README.md.
set -eu
cd "$(dirname "$0")/.."
record=
[ "${1:-}" != --record ] || { record=1; shift; }
program=${1:-build/bench}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- 'resolve a page of 50, 1 k' 'resolve a page of 50, 10 k' \
  'shared, 10 k' 'exclusive, 10 k' 'in memory' 'existing file' 'past the floor, 10 k'
command -v valgrind > /dev/null || { echo 'instructions.sh: needs valgrind' >&2; exit 1; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT INT TERM

valgrind -q --tool=callgrind --toggle-collect=timed_run --dump-after=timed_run \
  --callgrind-out-file="$scratch/counts" "$program" --quick --count --tsv "$scratch/sides" \
  "$@" > "$scratch/log" 2>&1 || { cat "$scratch/log"; exit 1; }

side=0
: > "$scratch/counted"
while IFS= read -r line; do
  side=$((side + 1))
  printf '%s\t%s\n' "$line" "$(sed -n 's/^summary: //p' "$scratch/counts.$side")" \
    >> "$scratch/counted"
done < "$scratch/sides"

{
  printf '| what | side | instructions each | the first side is × |\n|---|---|---|---|\n'
  awk -F '\t' '
    { each = $6 / $3
      if ($1 != row) { first = each; row = $1; what = $1 } else what = ""
      printf "| %s | %s | %.0f | %s |\n", what, $2, each,
        each == first ? "" : sprintf("%.2f", first / each) }' "$scratch/counted"
} > "$scratch/table"
cat "$scratch/table"
[ -z "$record" ] || "$program" --splice bench/README.md instructions < "$scratch/table"
