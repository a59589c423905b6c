#!/usr/bin/env bash
# `cmake --install`: what it puts into a prefix works there, and elsewhere after a move, without the source and the build.
set -euo pipefail
source "$(dirname "$0")/common.sh" "$1"
build=$(cd "$build" && pwd -P)

cmake --install "$build" --prefix "$work/prefix" >"$work/install.log"
DESTDIR=$work/staged cmake --install "$build" --prefix "$work/usr" >"$work/staged.log"
[ ! -e "$work/usr" ] || expect "nothing" "$work/usr" "an install into DESTDIR writes outside it"
staged=$work/staged$work/usr
expect "$(cd "$work/prefix" && find . -type f | sort)" "$(cd "$staged" && find . -type f | sort)" "what a package gets"
mv "$staged" "$work/moved here"
rm -r "$work/prefix"
installed="$work/moved here"
for file in LICENSE NOTICE; do cmp "$source_dir/$file" "$installed/share/doc/fabra/$file"; done
expect "" "$(find "$installed" ! -type l -perm /022)" "files that others may write"

# Runs the program where the source and the build are gone. Where the system does not allow that, what it maps tells.
cat >"$work/elsewhere" <<RUN
#!/usr/bin/env bash
cd /
exec $(command -v unshare) -rm -- bash -c 'mount -t tmpfs none "\$1" && mount -t tmpfs none "\$2" && shift 2 && exec "\$@"' _ \
  "$build" "$source_dir" "$installed/bin/fabra" "\$@"
RUN
chmod +x "$work/elsewhere"
fabra=$work/elsewhere
if ! unshare -rm -- mount -t tmpfs none "$installed" 2>"$work/told"; then
  echo "NOT LOOKED AT: the program without source and build ($(cat "$work/told")); only what it maps is"
  fabra=$installed/bin/fabra
fi

expect "$("$build/fabra" version)" "$("$fabra" version)" "the version"
example="$installed/share/fabra/examples/support/store.lua"
expect 0 "$("$fabra" check "$example" >"$work/said" 2>&1; echo $?)" "the installed example is good"
serve "$example"
id=$(post /v1/context/chat_context '{"user_id":"user_123","query":"features"}' | json 'd["id"]')
contains '"valid":true' "$("$fabra" context verify "$id" 2>/dev/null)" "a record"
expect 200 "$(code "$url/docs")" "the page with the routes"
expect "[]" "$("$fabra" sql 'SELECT 1 AS x WHERE false')" "DuckDB"
open=$(cat "/proc/$server/maps")
contains "moved here/share/fabra/o200k_base.ranks" "$open" "the tables that it maps"
contains "moved here/lib/fabra/libduckdb.so" "$open" "the library that it maps"
case "$open" in
  *"$source_dir"/* | *"$build"/*) expect "nothing" "$(grep -F -e "$source_dir/" -e "$build/" <<<"$open" | head -n 3)" "mapped from source or build" ;;
esac
stop

mv "$installed/share/fabra/o200k_base.ranks" "$work/"
status=0
"$fabra" serve "$example" --port 0 >"$work/said" 2>&1 </dev/null || status=$?
expect 1 "$status" "a start without a table"
contains "share/fabra/o200k_base.ranks: No such file or directory; build or install again" "$(cat "$work/said")" "says which"
done_testing
