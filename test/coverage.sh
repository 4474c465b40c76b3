#!/bin/sh
# Line and branch coverage of custmem.c from all of the tests, by gcov. Fails unless every line and every
# branch was taken, or stands in test/coverage.txt with its reason there.
#   sh test/coverage.sh                          all test programs
#   sh test/coverage.sh test_link test_audit     only these: what they alone cover
# Also: BUILD (build/coverage).
set -u
cd "$(dirname "$0")/.." || exit 1
BUILD=${BUILD:-build/coverage}
. test/coverage_run.sh

# Lines are counted in custmem.c alone.
gcc -O0 -g --coverage -fprofile-update=atomic -std=c11 -c custmem.c -o "$BUILD/custmem.o" || exit 1
link_programs gcc __gcov_dump --coverage

export GCOV_PREFIX="$counts" GCOV_PREFIX_STRIP=99
first=${programs# }
(umask 0 && "${first%% *}" --list > /dev/null)
chmod 0666 "$counts/custmem.gcda" || exit 1
run_programs

rm -f "$BUILD/custmem.gcda"
cp "$counts/custmem.gcda" "$BUILD/" || exit 1
gcov -b -c -t -o "$BUILD/custmem.o" custmem.c 2> /dev/null |
  awk -f test/coverage.awk test/coverage.txt - || bad=1
echo "$(($(date +%s) - start)) s"
exit "$bad"
