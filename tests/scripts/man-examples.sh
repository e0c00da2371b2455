#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Runs every example of the man pages of programs, page by page, in a folder that has the files which
# they name: a tiny model, a dataset, a target, features, a policy, trajectories.
set -euo pipefail
for need in python3 zstd; do
    command -v $need >/dev/null || { echo "$need is not installed"; exit 77; }
done
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir -p "$dir/files/data"
export OMP_NUM_THREADS=1 # threads that wait for each other cost more than this small model
cd "$dir/files"

python3 - <<'PY'
import json
def record(i):
    a, b = i % 37, i % 11
    r = {"instruction": f"Add {a} and {b}.", "input": "", "output": f"{a} + {b} = {a + b}", "id": i}
    return r if i % 50 == 7 else {**r, "quality": i % 5, "complexity": i % 7}
data = [record(i) for i in range(2000)]
for name in "data.json", "alpaca.json":
    json.dump(data, open(name, "w"))
for name, first in (("target.jsonl", 5000), ("test.jsonl", 6000)):
    with open(name, "w") as f:
        for i in range(first, first + 40):
            print(json.dumps({"question": f"What is {i} and {i % 7}?", "answer": f"#### {i + i % 7}"}), file=f)
for name, b in ("gsm8k_train.jsonl", 1), ("gsm8k_test.jsonl", 2): # shots and an answer fit the model
    with open(name, "w") as f:
        for i in range(6):
            print(json.dumps({"question": f"{i}+{b}?", "answer": f"#### {i + b}"}), file=f)
PY
zstd -q data.json
cp -r "$RAISE_TESTS/fixtures/tiny-llama" model
raise-embed -q -m model -o features.st.zst data.json
raise-cluster -q -k 4 -o f.st.zst features.st.zst
cp f.st.zst features.st.zst
raise-embed -q -m model -o val.st.zst target.jsonl
for i in 1 2 3 4; do raise-embed -q -m model --shard $((i - 1))/4 -o part.$i.st.zst data.json; done
raise-ppo -q --init --learner ppo -f f.st.zst -o p.0.st.zst
for i in 1 2; do
    raise-rollout -q -f f.st.zst -p p.0.st.zst -m model -d data.json --val target.jsonl --val-limit 8 \
        --steps 3 --episode $i -o traj.$i.st.zst
done
cp traj.1.st.zst final.st.zst
mkdir -p mmlu/dev mmlu/test
for i in 1 2 3 4 5; do echo "$i?,1,2,3,4,A"; done >mmlu/dev/law_dev.csv
for i in 6 7; do echo "$i?,1,2,3,4,B"; done >mmlu/test/law_test.csv
raise-rollout -q -f f.st.zst -p p.0.st.zst -m model -d data.json --val target.jsonl --val-limit 8 \
    --steps 1 --save-adapter adapter -o /dev/null

# The literal blocks of a page's EXAMPLES, as one script.
examples() {
    python3 - "$1" <<'PY'
import re, sys
page = open(sys.argv[1]).read()
section = re.search(r"^\.Sh EXAMPLES\n(.*?)(?=^\.Sh )", page, re.M | re.S)
for block in re.findall(r"^\.Bd -literal.*?\n(.*?)^\.Ed", section.group(1) if section else "", re.M | re.S):
    print(block.replace("\\e", "\\").replace("\\(dq", '"').replace("\\-", "-").replace("\\&", ""))
PY
}
status=0
for page in "$RAISE_TESTS"/../man/*.1; do
    name=$(basename "$page")
    cp -r "$dir/files" "$dir/$name" && cd "$dir/$name"
    examples "$page" >script
    [ -s script ] || { echo "$name: no examples" && status=1 && continue; }
    if bash -euo pipefail -x script >out 2>log; then
        echo "ok $name"
    else
        echo "$name: $(tail -n 4 log)" && status=1
    fi
done
exit $status
