#!/bin/bash
# The verifier on docs/records.md, as it stands there, must accept a good record and refuse a changed one.
# usage: records_snippet.sh SOURCE_DIR
source_dir=$1
python3 -c '' 2>/dev/null || exit 77
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
sed -n '/^```python$/,/^```$/{/^```/!p}' "$source_dir/docs/records.md" > "$work/verify.py"
[ -s "$work/verify.py" ] || { echo "no program on docs/records.md"; exit 1; }
good=$source_dir/tests/fuzz/corpus/fuzz_record/chat_json

python3 "$work/verify.py" "$good" || { echo "a good record was refused"; exit 1; }
refuse() {
	sed "$1" "$good" > "$work/changed.json"
	cmp -s "$good" "$work/changed.json" && { echo "$1 changed nothing"; exit 1; }
	KEY=$2 python3 "$work/verify.py" "$work/changed.json" && { echo "$1 was accepted"; exit 1; }
	return 0
}
refuse 's/premium/premiun/'
refuse 's/4000/4001/'
refuse 's/"previous_context_id": null/"previous_context_id": "ctx_x"/'
refuse 's/"signature": null/"signature": "hmac-sha256:00"/' some-key
