#!/bin/sh
# MC/DC of custmem.c from all of the tests, by clang-19: each condition of a decision has been seen to decide
# by itself. Prints the figure and every condition that was not shown. Fails below 95 %.
#   sh test/coverage_mcdc.sh                          all test programs
#   sh test/coverage_mcdc.sh test_link test_audit     only these
# Needs Debian's clang-19, llvm-19 and libclang-rt-19-dev. Also: BUILD (build/mcdc).
set -u
cd "$(dirname "$0")/.." || exit 1
BUILD=${BUILD:-build/mcdc}
. test/coverage_run.sh

clang-19 -O0 -g -fprofile-instr-generate -fcoverage-mapping -fcoverage-mcdc -fprofile-update=atomic -std=c11 \
  -c custmem.c -o "$BUILD/custmem.o" || exit 1
link_programs clang-19 __llvm_profile_write_file -fprofile-instr-generate

export LLVM_PROFILE_FILE="$counts/%m.profraw"
(umask 0 && for program in $programs "$BUILD/custmem"; do "$program" --list > /dev/null 2>&1; done)
run_programs

llvm-profdata-19 merge "$counts"/*.profraw -o "$BUILD/custmem.profdata" || exit 1
llvm-cov-19 show "$BUILD/custmem" -instr-profile "$BUILD/custmem.profdata" -show-mcdc \
  -use-color=false custmem.c > "$BUILD/mcdc.txt" || exit 1
awk -v least=95 -f test/coverage_mcdc.awk custmem.c "$BUILD/mcdc.txt" || bad=1
echo "$(($(date +%s) - start)) s"
exit "$bad"
