#!/bin/sh
# The badge page in a real browser: makes stores and pages with the program's public commands, and
# checks the pages in headless Chromium. Needs chromium, node and npm; axe-core comes by npm ci.
#
#   sh test/page.sh [PROGRAM]         PROGRAM: else ./custmem
#
# CHROMIUM     the browser; else chromium
# SCREENSHOTS  where the pictures go; else build/page
set -eu
cd "$(dirname "$0")/.."
program=${1:-./custmem}
[ -x "$program" ] || { echo "page.sh: there is no program $program: make first" >&2; exit 1; }
program=$(cd "$(dirname "$program")" && pwd)/$(basename "$program")
chromium=${CHROMIUM:-chromium}
command -v "$chromium" > /dev/null || { echo "page.sh: there is no $chromium" >&2; exit 1; }
screenshots=${SCREENSHOTS:-build/page}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export TZ=UTC LC_ALL=C.UTF-8

# Kept between runs, as long as the lock file does not change.
lock=test/page/package-lock.json
installed=test/page/node_modules/.package-lock.json
if [ ! -e "$installed" ] || [ "$lock" -nt "$installed" ]; then
  npm ci --prefix test/page --ignore-scripts --no-audit --no-fund > "$scratch/npm" 2>&1 ||
    { cat "$scratch/npm" >&2; exit 1; }
fi

number=209951326681432
marta=marta
hostile='mar<b>ta</b> "&amp;'\''</title>'

# customer STORE INSTRUCTOR CHANNEL IDENTIFIER: makes one, and prints its id.
customer() {
  "$program" customers create "$1" "$3" "$4" --instructor "$2" --actor user-1 --id
}

# known STORE INSTRUCTOR IDENTIFIER: makes a customer of it, and links the conversation.
known() {
  "$program" link "$1" "$number:$3" "$(customer "$1" "$2" whatsapp "$3")" --instructor "$2" \
    --actor user-1 --reason 'They told me' > /dev/null
}

# page STORE INSTRUCTOR STREAM [--badges]
page() {
  store=$1 instructor=$2 stream=$3
  shift 3
  "$program" inbox "$store" "$stream" --instructor "$instructor" --number "$number" --html "$@"
}

# The stores are left alone from here on; the browser's checks compare all files of this folder.
folder=$scratch/pages
mkdir "$folder"
store=$folder/inbox.db
"$program" init "$store" > /dev/null
known "$store" $marta 447700900123
known "$store" $marta 447700900789
customer "$store" $marta whatsapp 12025550117 > /dev/null
customer "$store" $marta whatsapp/108840215570321 GB.4821907736650912 > /dev/null
page "$store" $marta test/data/webhooks.jsonl --badges > "$folder/inbox.html"
page "$store" $marta test/data/webhooks.jsonl > "$folder/plain.html"
: > "$scratch/nothing.jsonl"
page "$store" $marta "$scratch/nothing.jsonl" --badges > "$folder/empty.html"
cp test/page/inbox.json "$folder"

store=$folder/hostile.db
"$program" init "$store" > /dev/null
node test/page/hostile.mjs "$scratch/hostile.jsonl" "$scratch/customers" "$folder/hostile.json"
while read -r sender what; do
  case $what in
    link) known "$store" "$hostile" "$sender" ;;
    make) customer "$store" "$hostile" whatsapp "$sender" > /dev/null ;;
  esac
done < "$scratch/customers"
page "$store" "$hostile" "$scratch/hostile.jsonl" --badges > "$folder/hostile.html"

node test/page/page.mjs "$chromium" "$folder" "$screenshots" "$hostile"
