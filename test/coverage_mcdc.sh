#!/bin/sh
# MC/DC of custmem.c from all of the tests, by clang-19: each condition of a decision has been seen to decide
# by itself. Prints the figure and every condition that was not shown. Fails below 95 %.
#   sh test/coverage_mcdc.sh                          all test programs
#   sh test/coverage_mcdc.sh test_link test_audit     only these
# Needs Debian's clang-19, llvm-19 and libclang-rt-19-dev. Also: BUILD (build/mcdc).
set -u
cd "$(dirname "$0")/.." || exit 1
BUILD=${BUILD:-build/mcdc}
mkdir -p "$BUILD" || exit 1
start=$(date +%s)

# A child that ends by _exit says what it ran, too.
cat > "$BUILD/flush.c" <<'END'
int __llvm_profile_write_file(void);
void __real__exit(int status);
void __wrap__exit(int status);
void __wrap__exit(int status) {
  __llvm_profile_write_file();
  __real__exit(status);
}
END
profile='-fprofile-instr-generate -fcoverage-mapping -fcoverage-mcdc'
clang-19 -O1 -c "$BUILD/flush.c" -o "$BUILD/flush.o" || exit 1
# shellcheck disable=SC2086
clang-19 -O0 -g $profile -fprofile-update=atomic -std=c11 -c custmem.c -o "$BUILD/custmem.o" || exit 1
if [ ! -f "$BUILD/sqlite3.o" ] && [ -f build/sqlite3.o ]; then cp build/sqlite3.o "$BUILD/"; fi

if [ $# -gt 0 ]; then tests=$*; else tests=$(cd test && ls test_*.c | sed 's/\.c$//'); fi
programs=
for test in $tests; do programs="$programs $BUILD/$test"; done
# shellcheck disable=SC2086
make -s CC=clang-19 BUILD="$BUILD" PROGRAM="$BUILD/custmem" CFLAGS='-O1 -g' \
  LDFLAGS="-fprofile-instr-generate -Wl,--wrap=_exit $BUILD/flush.o" "$BUILD/custmem" $programs || exit 1

# The counts are kept where children that gave up their privileges can write them, too.
counts=$(mktemp -d) || exit 1
trap 'rm -rf "$counts"' EXIT
chmod 0777 "$counts"
export LLVM_PROFILE_FILE="$counts/%m.profraw"
(umask 0 && for program in $programs "$BUILD/custmem"; do "$program" --list > /dev/null 2>&1; done)

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

llvm-profdata-19 merge "$counts"/*.profraw -o "$BUILD/custmem.profdata" || exit 1
llvm-cov-19 show "$BUILD/custmem" -instr-profile "$BUILD/custmem.profdata" -show-mcdc \
  -use-color=false custmem.c > "$BUILD/mcdc.txt" || exit 1
awk -v least=95 -f test/coverage_mcdc.awk custmem.c "$BUILD/mcdc.txt" || bad=1
echo "$(($(date +%s) - start)) s"
exit "$bad"
