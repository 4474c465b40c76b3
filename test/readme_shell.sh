#!/bin/sh
# The README's page of commands: each is run, one after the other, and prints what the README says
# it prints. Ids, hashes and times differ from run to run; they are compared by their form.
#
#   sh test/readme_shell.sh [PROGRAM]     PROGRAM: else ./custmem
set -eu
cd "$(dirname "$0")/.."
program=${1:-./custmem}
program=$(cd "$(dirname "$program")" && pwd)/$(basename "$program")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/bin"
ln -s "$program" "$scratch/bin/custmem"
ln -s "$PWD/test" "$scratch/test"

awk '/^## / { here = $0 == "## The program" }
     /^```/ { inside = here && $0 == "```console"; next }
     inside' README.md > "$scratch/readme"

# Each command is printed as it stands, and then run. A line that ends in a backslash goes on.
awk '/^\$ / || goes_on {
       shown = $0
       gsub(/\047/, "\047\\\047\047", shown)
       prompt = prompt "printf \"%s\\n\" \047" shown "\047\n"
       command = command (goes_on ? $0 : substr($0, 3)) "\n"
       goes_on = /\\$/
       if (goes_on) next
       printf "%s%s", prompt, command
       prompt = command = ""
     }' "$scratch/readme" > "$scratch/script"

form() {
  sed -E 's/[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}/ID/g
          s/[0-9a-f]{64}/HASH/g
          s/[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\+00:00/TIME/g
          s/"(created|updated)_at":[0-9]+/"\1_at":TIME/g' "$1"
}

unset CUSTMEM_INSTRUCTOR CUSTMEM_ACTOR
export TZ=UTC LC_ALL=C.UTF-8
(cd "$scratch" && PATH=$scratch/bin:$PATH sh script > printed 2>&1 < /dev/null) || true
form "$scratch/readme" > "$scratch/expected"
form "$scratch/printed" > "$scratch/got"
diff "$scratch/expected" "$scratch/got"
[ "$(grep -c '^\$ ' "$scratch/readme")" -ge 12 ]
