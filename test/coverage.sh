#!/bin/sh
# Line and branch coverage of custmem.c from all of the tests, by gcov. Fails unless every line and every
# branch was taken, or stands in test/coverage.txt with its reason there.
#   sh test/coverage.sh                          all test programs
#   sh test/coverage.sh test_link test_audit     only these: what they alone cover
# Also: BUILD (build/coverage).
set -u
cd "$(dirname "$0")/.." || exit 1
BUILD=${BUILD:-build/coverage}
mkdir -p "$BUILD" || exit 1
start=$(date +%s)

# Lines are counted in custmem.c alone. A child that ends by _exit says what it ran, too.
cat > "$BUILD/flush.c" <<'END'
void __gcov_dump(void);
void __real__exit(int status);
void __wrap__exit(int status);
void __wrap__exit(int status) {
  __gcov_dump();
  __real__exit(status);
}
END
gcc -O1 -c "$BUILD/flush.c" -o "$BUILD/flush.o" || exit 1
gcc -O0 -g --coverage -fprofile-update=atomic -std=c11 -c custmem.c -o "$BUILD/custmem.o" || exit 1
if [ ! -f "$BUILD/sqlite3.o" ] && [ -f build/sqlite3.o ]; then cp build/sqlite3.o "$BUILD/"; fi

if [ $# -gt 0 ]; then tests=$*; else tests=$(cd test && ls test_*.c | sed 's/\.c$//'); fi
programs=
for test in $tests; do programs="$programs $BUILD/$test"; done
# shellcheck disable=SC2086
make -s CC=gcc BUILD="$BUILD" PROGRAM="$BUILD/custmem" CFLAGS='-O1 -g' \
  LDFLAGS="--coverage -Wl,--wrap=_exit $BUILD/flush.o" "$BUILD/custmem" $programs || exit 1

# The counts are kept where children that gave up their privileges can write them, too.
counts=$(mktemp -d) || exit 1
trap 'rm -rf "$counts"' EXIT
chmod 0777 "$counts"
export GCOV_PREFIX="$counts" GCOV_PREFIX_STRIP=99
first=${programs# }
(umask 0 && "${first%% *}" --list > /dev/null)
chmod 0666 "$counts/custmem.gcda" || exit 1

# The fault tests go through all of their points, beside the others.
run() { # PROGRAM [SHARE]
  CUSTMEM_SHELL="$BUILD/custmem" CUSTMEM_FAULTS="${2:-}" "$1" > "$1.log" 2>&1
  status=$?
  tail -n 1 "$1.log"
  if [ "$status" -ne 0 ]; then echo "${1##*/}: exit status $status"; fi
  return "$status"
}

bad=0
case " $programs " in *"/test_faults "*)
  run "$BUILD/test_faults" all &
  faults=$!
  ;;
esac
for program in $programs; do
  case $program in
    */test_faults) ;;
    *) run "$program" || bad=1 ;;
  esac
done
if [ -n "${faults:-}" ]; then wait "$faults" || bad=1; fi

rm -f "$BUILD/custmem.gcda"
cp "$counts/custmem.gcda" "$BUILD/" || exit 1
gcov -b -c -t -o "$BUILD/custmem.o" custmem.c 2> /dev/null |
  awk -v part="$([ "${CUSTMEM_FAULTS_PART:-1}" -eq 1 ] || echo 1)" -f test/coverage.awk \
    test/coverage.txt - || bad=1
echo "$(($(date +%s) - start)) s"
exit "$bad"
